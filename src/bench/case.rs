//! A case: operands of given sizes and the nodes computed from them. First checked against the f64 device, then timed.

use super::{Report, Row, Scale, Spread};
use crate::device::check::ALLOWED;
use crate::device::{Device, Precision, RunOptions, Runner, Store, cpu};
use crate::error::{Error, Result};
use crate::graph::plan::{Options, Plan};
use crate::graph::{Gradient, Graph, Step, Var};
use crate::kernels::{Args, Caps, Cost, Grid, Inputs, Launch, Op, Operands, Outputs, Real, Shapes};
use crate::tensor::segments::Segments;
use crate::tensor::{DType, Spec, Tensor};
use crate::train::fit::bytes;
use crate::twin;
use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// What an operand holds.
#[derive(Clone, Debug)]
pub enum Fill {
    /// Uniform in \[-1, 1\], times this.
    Float(f32),
    /// Uniform in \[0, 1\].
    Positive,
    /// Eighths in \[-1, 1\]: sums of their products are exact, so that ranks are.
    Eighths,
    /// Uniform in 1..n.
    Below(u32),
    /// 1, 2, 3, ...
    Ascending,
    Ones,
    Given(Vec<u32>),
}

type Build = dyn for<'g> Fn(&'g Graph, &[Var<'g>]) -> Result<Vec<Var<'g>>> + Send + Sync;

/// The extents \[m, n, k\] of a matrix product, and whether its factors lie transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    pub extents: [usize; 3],
    pub transposed: [bool; 2],
}

/// One line of the table.
#[derive(Clone)]
pub struct Case {
    /// What it is chosen by: `softmax` for `softmax backward`.
    pub kernel: &'static str,
    pub name: String,
    /// As they are read: `1048576x64`.
    pub sizes: String,
    operands: Vec<(Spec, Fill)>,
    /// The table and the list of indices into it whose sorted segments the plan is given.
    segments: Option<[usize; 2]>,
    build: Arc<Build>,
    /// Operands whose gradients are computed; none: the values themselves are.
    by: Vec<usize>,
    /// Nodes that count; none: all.
    timed: &'static [&'static str],
    /// Of operands stored as f16, for GPUs that can.
    half: bool,
    pub(super) product: Option<Product>,
}

impl Case {
    pub fn new(
        kernel: &'static str,
        sizes: impl Into<String>,
        build: impl for<'g> Fn(&'g Graph, &[Var<'g>]) -> Result<Vec<Var<'g>>> + Send + Sync + 'static,
    ) -> Case {
        Case {
            kernel,
            name: kernel.into(),
            sizes: sizes.into(),
            operands: vec![],
            segments: None,
            build: Arc::new(build),
            by: vec![],
            timed: &[],
            half: false,
            product: None,
        }
    }

    pub fn named(mut self, name: impl Into<String>) -> Case {
        self.name = name.into();
        self
    }

    pub fn f32<const N: usize>(mut self, shape: [usize; N], fill: Fill) -> Case {
        self.operands.push((Spec::f32(shape), fill));
        self
    }

    pub fn u32<const N: usize>(mut self, shape: [usize; N], fill: Fill) -> Case {
        self.operands.push((Spec::u32(shape), fill));
        self
    }

    pub fn segments(mut self, table: usize, list: usize) -> Case {
        self.segments = Some([table, list]);
        self
    }

    /// Judged by the gemm crate at the same extents.
    pub fn product(mut self, extents: [usize; 3], transposed: [bool; 2]) -> Case {
        self.product = Some(Product { extents, transposed });
        self
    }

    /// The nodes called `timed`, of operands stored as f16: what rounds them is not counted.
    pub fn halves(self, timed: &'static [&'static str]) -> Case {
        Case { half: true, timed, ..self }
    }

    pub fn runs_on(&self, device: &Device) -> bool {
        !self.half || matches!(device, Device::Gpu(gpu) if gpu.caps().f16)
    }

    /// The nodes called `timed` of the gradients by operands `by`. They run after the forward pass in one plan, as they do in a
    /// training step.
    pub fn backward(&self, by: &[usize], timed: &'static [&'static str]) -> Case {
        let name = format!("{} backward", self.name);
        Case { name, by: by.to_vec(), timed, product: None, ..self.clone() }
    }

    /// The case, and its backward.
    pub fn both(self, by: &[usize], timed: &'static [&'static str]) -> Vec<Case> {
        let backward = self.backward(by, timed);
        vec![self, backward]
    }

    /// `dense`: gradients of rows are spread over the table, so that no row is undefined.
    fn graph(&self, dense: bool) -> Result<Graph> {
        let g = Graph::new();
        self.trace(&g, dense)?;
        Ok(g)
    }

    fn trace(&self, g: &Graph, dense: bool) -> Result<()> {
        let operand = |(i, (spec, _)): (usize, &(Spec, Fill))| {
            let name = format!("x{i}");
            if spec.dtype == DType::U32 { g.input(&name, spec.clone()) } else { g.state(&name, &name, 0, spec.clone()) }
        };
        let vars: Vec<Var> = self.operands.iter().enumerate().map(operand).collect();
        if let Some([table, list]) = self.segments {
            g.segments("segments", vars[table], &[vars[list]]);
        }
        let outputs = (self.build)(g, &vars)?;
        if self.by.is_empty() {
            outputs.iter().enumerate().for_each(|(i, y)| g.result(&format!("y{i}"), *y));
            return Ok(());
        }
        let weighted = outputs.iter().enumerate().map(|(i, y)| {
            let name = format!("dy{i}");
            (*y * g.state(&name, &name, 0, Spec::f32(y.shape()))).sum_all()
        });
        let loss = weighted.reduce(|a, b| a + b).expect("a case has outputs");
        let wanted: Vec<Var> = self.by.iter().map(|&i| vars[i]).collect();
        for (i, (gradient, x)) in g.gradients(loss, &wanted)?.into_iter().zip(wanted).enumerate() {
            let gradient = match gradient {
                Gradient::Rows(rows) if !dense => rows.values,
                gradient => gradient.dense(x),
            };
            g.result(&format!("dx{i}"), gradient);
        }
        Ok(())
    }

    /// Node after node, each on all threads: what is measured is a kernel alone.
    pub fn plan(&self, dense: bool, half: bool) -> Result<Plan> {
        Plan::new(&self.graph(dense)?, Options { half, ..Options::default() })
    }

    fn counts(&self, kernel: &str) -> bool {
        self.timed.is_empty() || self.timed.contains(&kernel)
    }

    /// Of what is timed.
    pub fn cost(&self) -> Result<Cost> {
        let plan = self.plan(false, self.half)?;
        let nodes = plan.nodes.iter().filter(|n| self.counts(n.op.name())).map(|n| n.cost());
        Ok(nodes.fold(Cost::default(), |a, b| Cost { bytes: a.bytes + b.bytes, flops: a.flops + b.flops }))
    }

    /// # Errors
    /// A device that cannot hold it.
    pub fn fits(&self, device: &Device) -> Result<()> {
        let plan = self.plan(false, self.half)?;
        let sizes = plan.states.iter().map(|(_, n)| n * 4).chain(plan.inputs.iter().map(|(_, spec)| spec.bytes()));
        let largest = sizes.chain(plan.pool.iter().copied()).max().unwrap_or(0);
        let (needed, has, what) = match device {
            Device::Gpu(gpu) => {
                (largest, Some(gpu.caps().binding_bytes as usize), "in one binding; this adapter allows")
            }
            // The host's copy of an operand beside it.
            Device::Cpu(_) => (plan.peak_bytes() + largest, cpu::available_bytes(), "of memory; free are"),
        };
        match has.filter(|&has| needed > has) {
            None => Ok(()),
            Some(has) => Err(Error::Device(format!(
                "{} of {} needs {} {what} {}: pass --quick, or name another kernel",
                self.name,
                self.sizes,
                bytes(needed as f64),
                bytes(has as f64)
            ))),
        }
    }

    /// Writes the operands of input set `set` and the gradients that reach the outputs.
    fn write(&self, set: u32, plan: &Plan, store: &mut Store, runner: &mut Runner) -> Result<()> {
        for (i, (spec, fill)) in self.operands.iter().enumerate() {
            let name = format!("x{i}");
            if spec.dtype == DType::U32 {
                runner.write_u32(&name, &integers(spec, fill, seed(set, i)))?;
            } else if plan.states.iter().any(|(state, _)| *state == name) {
                store.write(&name, 0, &floats(spec, fill, seed(set, i)))?;
            }
        }
        for (name, n) in plan.states.iter().filter(|(name, _)| name.starts_with("dy")) {
            store.write(name, 0, &floats(&Spec::f32([*n]), &Fill::Float(1.0), seed(set, 99)))?;
        }
        if let Some([table, list]) = self.segments {
            let (spec, fill) = &self.operands[list];
            let mut segments = Segments::default();
            segments.build(&[&integers(spec, fill, seed(set, list))], self.operands[table].0.shape[0]);
            runner.write_segments("segments", &segments)?;
        }
        runner.write(Step::NAME, &Step::at(1, 9, 1e-3, [0.9, 0.999]).tensor())
    }

    /// All results of one run, by name.
    fn results(&self, device: &Device) -> Result<Vec<(String, Tensor)>> {
        let half = self.half && matches!(device, Device::Gpu(_));
        let plan = self.plan(true, half)?;
        let mut store = device.store(&plan.states)?;
        let mut runner = device.compile(&plan, &store, RunOptions::default())?;
        self.write(0, &plan, &mut store, &mut runner)?;
        runner.run()?;
        plan.results.iter().map(|(name, _)| Ok((name.clone(), runner.read(name)?))).collect()
    }

    /// How far the worst element is from the f64 device's, as |got - want| / (1 + |want|).
    ///
    /// # Errors
    /// More than [`ALLOWED`], or a NaN.
    pub fn check(&self, device: &Device) -> Result<f64> {
        let oracle = Device::Cpu(cpu::Cpu::new(Precision::F64));
        let mut worst = 0.0;
        for ((name, got), (_, want)) in self.results(device)?.into_iter().zip(self.results(&oracle)?) {
            for (i, (got, want)) in got.to_f64().into_iter().zip(want.to_f64()).enumerate() {
                let off = (got - want).abs() / (1.0 + want.abs());
                // Not `off > ALLOWED`: that is false of a NaN.
                if !matches!(off.partial_cmp(&ALLOWED), Some(std::cmp::Ordering::Less)) {
                    return Err(Error::Failed(format!(
                        "{} of {} computes something wrong on {}: element {i} of {name} is {got}, not {want}",
                        self.name,
                        self.sizes,
                        device.describe()
                    )));
                }
                worst = f64::max(worst, off);
            }
        }
        Ok(worst)
    }
}

fn seed(set: u32, operand: usize) -> u32 {
    set * 100 + operand as u32
}

/// A well-mixed word for each `i`: the finaliser of MurmurHash3.
fn word(seed: u32, i: usize) -> u32 {
    let mut h = (i as u32).wrapping_add((seed + 1).wrapping_mul(0x9E37_79B9));
    h = (h ^ h >> 16).wrapping_mul(0x85EB_CA6B);
    h = (h ^ h >> 13).wrapping_mul(0xC2B2_AE35);
    h ^ h >> 16
}

fn floats(spec: &Spec, fill: &Fill, seed: u32) -> Tensor {
    let unit = |i| (word(seed, i) >> 8) as f32 / (1 << 24) as f32;
    let value = |i| match fill {
        Fill::Float(scale) => (2.0 * unit(i) - 1.0) * scale,
        Fill::Positive => unit(i),
        Fill::Eighths => (word(seed, i) % 17) as f32 / 8.0 - 1.0,
        Fill::Ones => 1.0,
        fill => unreachable!("{fill:?} is for integers"),
    };
    Tensor::f32(spec.shape.clone(), (0..spec.shape.elements()).into_par_iter().map(value).collect())
}

fn integers(spec: &Spec, fill: &Fill, seed: u32) -> Vec<u32> {
    let n = spec.shape.elements();
    match fill {
        Fill::Below(end) => (0..n).into_par_iter().map(|i| 1 + word(seed, i) % (end - 1)).collect(),
        Fill::Ascending => (1..=n as u32).collect(),
        Fill::Ones => vec![1; n],
        Fill::Given(values) => values.clone(),
        fill => unreachable!("{fill:?} is for floats"),
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
        copy.fits(device)?;
        bench.ceilings.copy = copy.cost()?.bytes as f64 / bench.time(&copy)?.median;
        let n = scale.pick(if matches!(device, Device::Gpu(_)) { 4096 } else { 1024 }, 256);
        let square = Product { extents: [n; 3], transposed: [false; 2] };
        let seconds = match device {
            Device::Cpu(_) => bench.gemm(square)?,
            Device::Gpu(_) => {
                let case = Case::new("matmul", "", |_, x| Ok(vec![x[0].matmul(x[1])]));
                let case = case.f32([n, n], Fill::Float(1.0)).f32([n, n], Fill::Float(1.0));
                bench.time(&case)?.median
            }
        };
        bench.ceilings.product = 2.0 * (n * n * n) as f64 / seconds;
        Ok(bench)
    }

    /// Checks `case`, or `small`, the same at sizes for the f64 device, where it is too large for that; then times it.
    pub fn run(&mut self, case: &Case, small: &Case) -> Result<Row> {
        let cost = case.cost()?;
        let checked = if cost.flops < 1 << 29 && cost.bytes < 1 << 26 { case } else { small };
        let worst = checked.check(&self.device)?;
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

    fn time(&mut self, case: &Case) -> Result<Spread> {
        let plan = case.plan(false, case.half)?;
        let mut store = self.device.store(&plan.states)?;
        let mut runner = self.device.compile(&plan, &store, RunOptions { profile: true, check_finite: false })?;
        let sets = self.scale.pick(3, 2);
        let mut all = vec![];
        for set in 0..sets {
            case.write(set, &plan, &mut store, &mut runner)?;
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

    /// Median seconds of the gemm crate alone, on all threads.
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

/// The copy that memory-bound kernels are judged by: 256 MiB from one place to another.
fn copy(scale: Scale) -> Case {
    let n = scale.pick(64 << 20, 4 << 20);
    Case::new("copy", n.to_string(), |g, x| Ok(vec![g.push(Copy, x)])).f32([n], Fill::Float(1.0))
}

/// y = x, as fast as the device can: on a CPU the library's copy, one piece a thread.
#[derive(Debug)]
struct Copy;

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

impl Copy {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (x, y) = (a.f("x"), a.out("y"));
        let piece = x.len().div_ceil(rayon::current_num_threads()).max(1);
        y.par_chunks_mut(piece).zip(x.par_chunks(piece)).for_each(|(y, x)| y.copy_from_slice(x));
    }
}

impl Op for Copy {
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
        Ok(vec![Launch::generated(COPY.into(), "forward").params(params).grid(grid)])
    }
}
