//! An example on a device: checked against the f64 device, then timed.

use super::{Report, Row, Scale, Spread};
use crate::device::check::{check_example, write};
use crate::device::{Device, RunOptions, Runner};
use crate::error::{Error, Result};
use crate::graph::plan::Options;
use crate::graph::{Graph, Inputs, Outputs};
use crate::kernels::example::{Example, Fill, Product, floats};
use crate::kernels::{Args, Caps, Grid, Launch, Op, Operands, Real, Shapes};
use crate::memory;
use crate::tensor::Spec;
use crate::twin;
use indicatif::DecimalBytes;
use rayon::prelude::*;
use std::collections::HashMap;
use std::time::Instant;

/// Whether `example` can run on `device`: halves only where a GPU has f16.
pub fn runs_on(example: &Example, device: &Device) -> bool {
    !example.half || matches!(device, Device::Gpu(gpu) if gpu.caps().f16)
}

/// # Errors
/// A device that cannot hold it.
pub fn fits(example: &Example, device: &Device) -> Result<()> {
    let plan = example.plan(false, example.half)?;
    let sizes = plan.states.iter().map(|(_, n)| n * 4).chain(plan.inputs.iter().map(|(_, spec)| spec.bytes()));
    let largest = sizes.chain(plan.pool.iter().copied()).max().unwrap_or(0);
    let (needed, has, what) = match device {
        Device::Gpu(gpu) => (largest, Some(gpu.caps().binding_bytes as usize), "in one binding; this adapter allows"),
        // The host's copy of an operand in addition to it.
        Device::Cpu(_) => (plan.peak_bytes() + largest, memory::available(), "of memory; free are"),
    };
    match has.filter(|&has| needed > has) {
        None => Ok(()),
        Some(has) => Err(Error::Device(format!(
            "{} of {} needs {} {what} {}: pass --quick, or name another kernel",
            example.name,
            example.sizes,
            DecimalBytes(needed as u64),
            DecimalBytes(has as u64)
        ))),
    }
}

/// Drives the caches out between two runs.
enum Flush {
    /// A walk over more than the last-level cache holds.
    Cpu(Vec<u64>),
    /// A plan that fills a large buffer.
    Gpu(Box<Runner>),
}

impl Flush {
    fn new(device: &Device, scale: Scale) -> Result<Flush> {
        match device {
            Device::Cpu(_) => Ok(Flush::Cpu(vec![1; 2 * last_level_cache().clamp(8 << 20, 512 << 20) / 8])),
            Device::Gpu(gpu) => {
                let n = scale.pick(64 << 20, 1 << 20).min(gpu.caps().binding_bytes as usize / 4);
                let g = Graph::new();
                let state = g.state("flush", "flush", 0, Spec::f32([n]));
                g.assign(state, g.input("value", Spec::f32([1])).expand([n]));
                let runner = device.compile(
                    &device.plan(&g, Options::default())?,
                    &device.store(&[("flush".into(), n)])?,
                    RunOptions::default(),
                )?;
                Ok(Flush::Gpu(Box::new(runner)))
            }
        }
    }

    fn run(&mut self) -> Result<()> {
        match self {
            Flush::Cpu(words) => {
                words.par_chunks_mut(1 << 16).for_each(|chunk| chunk.iter_mut().for_each(|w| *w = w.wrapping_add(1)));
                Ok(())
            }
            Flush::Gpu(runner) => runner.run(),
        }
    }
}

/// Bytes; 64 MiB where the system does not say.
fn last_level_cache() -> usize {
    let size = |level: usize| {
        let text = std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/index{level}/size")).ok()?;
        text.trim().strip_suffix('K')?.parse::<usize>().ok().map(|kib| kib << 10)
    };
    (2..=4).filter_map(size).max().unwrap_or(64 << 20)
}

/// What the device does at most: measured once, before the cases.
pub struct Ceilings {
    /// Bytes a second that a copy moves, read and written both counted.
    pub copy: f64,
    /// Operations a second of a square matrix product.
    pub product: f64,
}

/// Checks and times cases on one device.
pub struct Bench {
    device: Device,
    scale: Scale,
    flush: Flush,
    pub ceilings: Ceilings,
    /// Median seconds of the gemm crate.
    products: HashMap<Product, f64>,
}

impl Bench {
    /// Measures the ceilings.
    pub fn new(device: &Device, scale: Scale) -> Result<Bench> {
        let flush = Flush::new(device, scale)?;
        let ceilings = Ceilings { copy: 0.0, product: 0.0 };
        let mut bench = Bench { device: device.clone(), scale, flush, ceilings, products: HashMap::new() };
        let copy = copy(scale);
        fits(&copy, device)?;
        bench.ceilings.copy = copy.cost()?.bytes as f64 / bench.time(&copy)?.median;
        let n = scale.pick(if matches!(device, Device::Gpu(_)) { 4096 } else { 1024 }, 256);
        let square = Product { extents: [n; 3], transposed: [false; 2] };
        let seconds = match device {
            Device::Cpu(_) => bench.gemm(square)?,
            Device::Gpu(_) => {
                let case = Example::new("matmul", "", |_, x| Ok(vec![x[0].matmul(x[1])]));
                let case = case.f32([n, n], Fill::Float(1.0)).f32([n, n], Fill::Float(1.0));
                bench.time(&case)?.median
            }
        };
        bench.ceilings.product = 2.0 * (n * n * n) as f64 / seconds;
        Ok(bench)
    }

    /// Checks `case`, or `small`, the same at sizes for the f64 device, where it is too large for that; then times it.
    pub fn run(&mut self, case: &Example, small: &Example) -> Result<Row> {
        let cost = case.cost()?;
        let checked = if cost.flops < 1 << 29 && cost.bytes < 1 << 26 { case } else { small };
        let worst = check_example(&self.device, checked)?;
        let seconds = self.time(case)?;
        let (by_copy, by_product) = (cost.bytes as f64 / self.ceilings.copy, cost.flops as f64 / self.ceilings.product);
        let (least, ceiling) = match (case.product, &self.device) {
            (Some(product), Device::Cpu(_)) => (self.gemm(product)?, "gemm"),
            _ if by_copy > by_product => (by_copy, "copy"),
            _ => (by_product, "product"),
        };
        Ok(Row {
            name: case.name.clone(),
            sizes: case.sizes.clone(),
            seconds,
            bytes: cost.bytes,
            flops: cost.flops,
            ceiling: Some(ceiling.into()),
            share: Some(least / seconds.median),
            worst: Some(worst),
            checked_at: Some(checked.sizes.clone()),
        })
    }

    fn time(&mut self, case: &Example) -> Result<Spread> {
        let plan = case.plan(false, case.half)?;
        let mut store = self.device.store(&plan.states)?;
        let mut runner = self.device.compile(&plan, &store, RunOptions { profile: true, check_finite: false })?;
        let sets = self.scale.pick(3, 2);
        let mut all = vec![];
        for set in 0..sets {
            write(case, set, &plan, &mut store, &mut runner)?;
            let mut once = || -> Result<f64> {
                let spent = |runner: &mut Runner| -> Result<f64> {
                    let timings = runner.timings()?;
                    Ok(timings.iter().filter(|t| case.counts(t.kernel)).map(|t| t.seconds).sum())
                };
                let before = spent(&mut runner)?;
                self.flush.run()?;
                runner.run()?;
                Ok(spent(&mut runner)? - before)
            };
            once()?;
            all.extend(self.scale.repeat(once)?);
        }
        Ok(Spread::of(all))
    }

    /// Median seconds of the gemm crate by itself, on all threads.
    fn gemm(&mut self, product: Product) -> Result<f64> {
        if let Some(&seconds) = self.products.get(&product) {
            return Ok(seconds);
        }
        let [m, n, k] = product.extents;
        let factor = |n: usize, seed| floats(&Spec::f32([n]), &Fill::Float(1.0), seed).to_f32();
        let (a, b, mut c) = (factor(m * k, 0), factor(k * n, 1), vec![0.0f32; m * n]);
        let strides = |transposed: bool, rows: usize, columns: usize| -> [isize; 2] {
            if transposed { [1, rows as isize] } else { [columns as isize, 1] }
        };
        let ([a_row, a_col], [b_row, b_col]) =
            (strides(product.transposed[0], m, k), strides(product.transposed[1], k, n));
        let threads = gemm::Parallelism::Rayon(rayon::current_num_threads());
        let flush = &mut self.flush;
        let mut once = || -> Result<f64> {
            flush.run()?;
            let start = Instant::now();
            // SAFETY: the strides are those of matrices of the lengths above; c is exclusive.
            unsafe {
                gemm::gemm(
                    m,
                    n,
                    k,
                    c.as_mut_ptr(),
                    1,
                    n as isize,
                    false,
                    a.as_ptr(),
                    a_col,
                    a_row,
                    b.as_ptr(),
                    b_col,
                    b_row,
                    0.0,
                    1.0,
                    false,
                    false,
                    false,
                    threads,
                )
            };
            Ok(start.elapsed().as_secs_f64())
        };
        once()?;
        let seconds = Spread::of([self.scale.repeat(&mut once)?, self.scale.repeat(&mut once)?].concat()).median;
        self.products.insert(product, seconds);
        Ok(seconds)
    }

    /// An empty report with the ceilings in it.
    pub fn report(&self, what: &str) -> Report {
        let mut report = Report::new(what, &self.device);
        if let Device::Gpu(gpu) = &self.device {
            report.facts.insert("device_timestamps".into(), gpu.timestamps() as u8 as f64);
        }
        report.facts.insert("copy_bytes_per_second".into(), self.ceilings.copy);
        report.facts.insert("product_flops_per_second".into(), self.ceilings.product);
        report
    }
}

/// The copy that memory-bound kernels are compared with: 256 MiB from one buffer to another.
fn copy(scale: Scale) -> Example {
    let n = scale.pick(64 << 20, 4 << 20);
    Example::new("copy", n.to_string(), |g, x| Ok(vec![g.push(CopyAll, x)])).f32([n], Fill::Float(1.0))
}

/// y = x, as fast as the device can: on a CPU the library's copy, one piece a thread.
#[derive(Debug)]
struct CopyAll;

const COPY: &str = "
struct Params { n: u32, across: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(256)
fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.y * p.across + id.x;
    if i < p.n { y[i] = x[i]; }
}";

impl CopyAll {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (x, y) = (a.f("x"), a.out("y"));
        let piece = x.len().div_ceil(rayon::current_num_threads()).max(1);
        y.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(y, x)| y.copy_from_slice(x));
    }
}

impl Op for CopyAll {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "n").out_f32("y", "n")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if !x.extent("n").is_multiple_of(4) {
            return x.fail("copies four elements at a time");
        }
        Ok(x.declared())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let n = s.input("x").elements() / 4;
        let grid = Grid::threads(n, 256, caps)?;
        let params = [n as u32, grid.0[0] * 256];
        let launch = Launch::generated(COPY.into(), "forward").params(params).grid(grid);
        // SAFETY: x and y have n vectors of four each, and the shader stops there.
        Ok(vec![unsafe { launch.unchecked() }])
    }
}
