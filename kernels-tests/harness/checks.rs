//! The checks that every case goes through without being asked.

use super::case::Case;
use super::compare::{Tolerance, close, same};
use super::run::{self, Compiled, Observed};
use super::{devices, nan};
use half::f16;
use libtest_mimic::{Failed, Trial};
use wgrec::device::Device;
use wgrec::device::cpu::{Cpu, Precision};
use wgrec::device::gpu::GpuOptions;
use wgrec::graph::plan::{Options, Plan};
use wgrec::tensor::philox::Stream;
use wgrec::tensor::{DType, Data, Tensor};

/// A device that poisons every value with NaN and looks for writes outside it.
pub const GUARDED: GpuOptions = GpuOptions {
    reverse: false,
    checked: true,
    guard: true,
    immediates: true,
    subgroups: true,
    cooperative: true,
    limited: false,
    inexact: false,
    probe: true,
};

/// A device that does what is allowed, and what drivers rarely do.
const WEAKEST: GpuOptions = GpuOptions {
    reverse: true,
    checked: false,
    guard: false,
    immediates: false,
    subgroups: true,
    cooperative: true,
    limited: true,
    inexact: true,
    probe: true,
};

/// An error says what is wrong with the case's kernels.
pub type Check = fn(&Case) -> Result<(), Failed>;

pub fn trials(kernel: &str, case: Case) -> Vec<Trial> {
    let checks: [(&str, Check, bool); 7] = [
        ("reference", reference, case.reference.is_some()),
        ("cpu", cpu, true),
        ("gradient", gradient, case.is_differentiable()),
        ("repeat", repeat, true),
        ("gpu", gpu, true),
        ("f16", half, !case.needs_f32 && has_halves(&case)),
        ("nan", nan::check, nan::applies(kernel, &case)),
    ];
    let trial = |(check, f, _): (&str, Check, bool)| {
        let case = case.clone();
        Trial::test(format!("{kernel}::{}::{check}", case.name), move || f(&case))
    };
    checks.into_iter().filter(|(_, _, applies)| *applies).map(trial).collect()
}

fn on_cpu(precision: Precision) -> Device {
    Device::Cpu(Cpu::new(precision))
}

/// The twin in f64: what all else is judged by.
pub fn oracle(case: &Case) -> Result<Observed, Failed> {
    Ok(run::run(case, &on_cpu(Precision::F64))?)
}

/// The twin in f64 is the formula.
pub fn reference(case: &Case) -> Result<(), Failed> {
    let got = oracle(case)?.outputs;
    let want = case.reference.as_ref().expect("checked by the caller")(&case.tensors());
    if got.len() != want.len() {
        return Err(format!("{} outputs, and the reference has {}", got.len(), want.len()).into());
    }
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let want = match got.dtype() {
            DType::U32 => Tensor::u32(got.shape.clone(), want.iter().map(|&x| x as u32).collect()),
            _ => Tensor::f64(got.shape.clone(), want),
        };
        close(&format!("output {i}"), got, &want, Tolerance { absolute: 1e-12, relative: 1e-10 })?;
    }
    Ok(())
}

/// Outputs, gradients and states of both f32 forms are within tolerance of the twin in f64.
pub fn cpu(case: &Case) -> Result<(), Failed> {
    let want = oracle(case)?;
    for (form, precision) in [("twin in f32", Precision::F32Twins), ("fast form", Precision::F32)] {
        agrees(form, case, &run::run(case, &on_cpu(precision))?, &want)?;
    }
    Ok(())
}

/// `got` is within the case's tolerance of `want`.
pub fn agrees(form: &str, case: &Case, got: &Observed, want: &Observed) -> Result<(), Failed> {
    for ((name, got), (_, want)) in got.all().zip(want.all()) {
        let t = if name.starts_with("gradient") { case.gradient_tolerance() } else { case.tolerance };
        close(&format!("{form}: {name}"), got, want, t)?;
    }
    Ok(())
}

/// `got` equals `want` to the bit.
pub fn equals(form: &str, got: &Observed, want: &Observed) -> Result<(), Failed> {
    for ((name, got), (_, want)) in got.all().zip(want.all()) {
        same(&format!("{form}: {name}"), got, want)?;
    }
    Ok(())
}

/// Elements of each operand whose derivative is taken one by one. The random direction sees all; these say which is wrong.
const ALONE: usize = 4;
const H: f64 = 1e-3;

/// The gradients of the twin in f64 are its four-point central differences: along a random direction in each operand,
/// which sees every element, and for a few elements alone, which says where it is wrong.
pub fn gradient(case: &Case) -> Result<(), Failed> {
    let device = on_cpu(Precision::F64);
    let gradients = run::run(case, &device)?.gradients;
    let mut forward = Compiled::new(case, &device, false, Options::default())?;
    let operands = (0..case.operands.len()).filter(|&i| case.operands[i].differentiable);
    for (operand, gradient) in operands.zip(gradients) {
        let (start, g) = (forward.tensors[operand].to_f64(), gradient.to_f64());
        let largest = g.iter().fold(1.0f64, |m, x| m.max(x.abs()));
        let mut stream = Stream::new(3, &case.name, operand as u64);
        let direction: Vec<f64> = (0..g.len()).map(|_| stream.normal()).collect();
        let mut ways = vec![("along a random direction".to_string(), direction)];
        for _ in 0..ALONE.min(g.len()) {
            let at = stream.below(g.len() as u32) as usize;
            let mut unit = vec![0.0; g.len()];
            unit[at] = 1.0;
            ways.push((format!("by element {at}"), unit));
        }
        for (way, direction) in ways {
            let got: f64 = g.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let scale = g.iter().zip(&direction).map(|(g, d)| (g * d).powi(2)).sum::<f64>().sqrt();
            let want = along(case, &mut forward, operand, &start, &direction)?;
            let allowed = 1e-8 * (largest + scale);
            if (got - want).is_nan() || (got - want).abs() > allowed {
                return Err(format!(
                    "gradient by operand {operand} {} {way}: the rule gives {got:e}, differences give {want:e}: {:e} \
                     apart, {allowed:e} allowed",
                    gradient.shape,
                    (got - want).abs()
                )
                .into());
            }
        }
        forward.tensors[operand] = Tensor::f64(gradient.shape.clone(), start);
    }
    Ok(())
}

/// The derivative of the weighted outputs where `operand` moves from `start` along `direction`. Differences are taken of
/// each output before they are summed, so that a large sum does not hide them.
fn along(case: &Case, f: &mut Compiled, operand: usize, start: &[f64], direction: &[f64]) -> Result<f64, Failed> {
    let mut total = 0.0;
    let shape = f.tensors[operand].shape.clone();
    for (steps, factor) in [(1.0, 8.0), (2.0, -1.0)] {
        let mut at = |h: f64| {
            let moved = start.iter().zip(direction).map(|(x, d)| x + h * d).collect();
            f.tensors[operand] = Tensor::f64(shape.clone(), moved);
            f.run()
        };
        let (plus, minus) = (at(steps * H)?, at(-steps * H)?);
        for (i, (p, m)) in plus.outputs.iter().zip(&minus.outputs).enumerate() {
            if p.dtype() != DType::U32 {
                let w = run::weights(case, i, &p.spec()).to_f64();
                let terms = w.iter().zip(p.to_f64()).zip(m.to_f64()).map(|((w, p), m)| w * (p - m));
                total += factor * terms.sum::<f64>();
            }
        }
    }
    Ok(total / (12.0 * H))
}

/// The same bits in a second run, and on one and two threads.
pub fn repeat(case: &Case) -> Result<(), Failed> {
    for precision in [Precision::F32, Precision::F32Twins] {
        let device = on_cpu(precision);
        let mut compiled = Compiled::new(case, &device, case.is_differentiable(), Options::default())?;
        let on_threads = |n: usize, compiled: &mut Compiled| -> Result<Observed, Failed> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build()?;
            Ok(pool.install(|| compiled.run())?)
        };
        let first = on_threads(1, &mut compiled)?;
        equals("second run", &on_threads(1, &mut compiled)?, &first)?;
        equals("two threads", &on_threads(2, &mut compiled)?, &first)?;
    }
    Ok(())
}

/// On the GPU: every value is poisoned with NaN before, and its end is guarded, so that what is not written, or written outside
/// its own memory, is found; twice; with workgroups and invocations in reverse, since a driver that runs them in order hides a
/// missing barrier, loops ended after the turns that their launches name, parameters in a uniform buffer, and functions as
/// inexact as WGSL lets them be; and in each variant that the adapter has.
pub fn gpu(case: &Case) -> Result<(), Failed> {
    let want = oracle(case)?;
    let on = |options: GpuOptions| -> Result<_, Failed> {
        let gpu = devices::gpu(options)?;
        Ok((Device::Gpu(gpu.clone()), gpu.caps().clone()))
    };
    let (device, caps) = on(GUARDED)?;
    let mut compiled = Compiled::new(case, &device, case.is_differentiable(), Options::default())?;
    let first = compiled.run()?;
    compiled.check_guards()?;
    agrees("gpu", case, &first, &want)?;
    equals("gpu, second run", &compiled.run()?, &first)?;

    let (reversed, _) = on(WEAKEST)?;
    // Another text, whose products and sums a compiler may contract otherwise: within tolerance, not to the bit.
    agrees(
        "gpu, invocations in reverse, bounded loops, no immediates, inexact functions",
        case,
        &run::run(case, &reversed)?,
        &want,
    )?;

    let (device, without) = on(GpuOptions { subgroups: false, ..GUARDED })?;
    let launches = |caps| {
        run::launches(case, caps, Options::default())
            .map(|l| l.into_iter().map(|(_, l)| l.constants().to_vec()).collect::<Vec<_>>())
    };
    if launches(&caps)? != launches(&without)? {
        let mut compiled = Compiled::new(case, &device, case.is_differentiable(), Options::default())?;
        agrees("gpu without subgroups", case, &compiled.run()?, &want)?;
        compiled.check_guards()?;
    }
    Ok(())
}

/// On the GPU, with activations stored as f16: outputs and gradients as a whole are near those of the twin in f64, from inputs
/// that f16 holds. What is wrong in a conversion is wrong by far.
pub fn half(case: &Case) -> Result<(), Failed> {
    let options = HALVES;
    let device = Device::Gpu(devices::gpu(GUARDED)?);
    // Numbers beyond the range of f16.
    let rounded: Vec<Tensor> = case.tensors().into_iter().map(rounded).collect();
    let fits = |t: &Tensor| t.to_f64().iter().all(|x| x.abs() <= f16::MAX.to_f64());
    if !rounded.iter().all(fits) {
        return Ok(());
    }
    let observe = |device: &Device, options: Options| -> Result<Observed, Failed> {
        let mut compiled = Compiled::new(case, device, case.is_differentiable(), options)?;
        compiled.tensors = rounded.clone();
        let observed = compiled.run()?;
        compiled.check_guards()?;
        Ok(observed)
    };
    let (got, want) = (observe(&device, options)?, observe(&on_cpu(Precision::F64), Options::default())?);
    for ((name, got), (_, want)) in got.all().zip(want.all()) {
        let (got, want) = (got.to_f64(), want.to_f64());
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let apart = norm(&mut got.iter().zip(&want).map(|(g, w)| g - w));
        let allowed = 4e-3 * norm(&mut want.iter().copied()) + 2e-4 * (want.len() as f64).sqrt();
        if apart.is_nan() || apart > allowed {
            return Err(format!("{name}: {apart:e} apart, {allowed:e} allowed").into());
        }
    }
    Ok(())
}

const HALVES: Options = Options { half: true, no_fuse: true, no_reuse: false, threads: 0, tile: 0 };

/// Whether anything of `case` is as wide as a row of features, and so stored as f16.
fn has_halves(case: &Case) -> bool {
    let graph = run::graph(case, case.is_differentiable(), true).and_then(|g| Plan::new(&g, HALVES));
    // What cannot be planned is for the trial to say.
    graph.map_or(true, |plan| plan.nodes.iter().flat_map(|n| &n.outputs).any(|s| s.spec.dtype == DType::F16))
}

/// Floats to the nearest f16.
fn rounded(tensor: Tensor) -> Tensor {
    match &tensor.data {
        Data::U32(_) => tensor,
        _ => Tensor::f64(tensor.shape.clone(), tensor.to_f64().iter().map(|&x| f16::from_f64(x).to_f64()).collect()),
    }
}
