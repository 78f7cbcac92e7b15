//! A device's self-check: the examples of every kernel against the twins in f64. The tests do this thoroughly; this is for a
//! driver that they have never seen.

use super::{Device, Precision, RunOptions, Runner, Store, cpu};
use crate::error::{Error, Result};
use crate::graph::Step;
use crate::graph::plan::{Options, Plan};
use crate::kernels::KERNELS;
use crate::kernels::example::{Example, Fill, Scale, floats};
use crate::tensor::segments::Segments;
use crate::tensor::{DType, Spec, Tensor};

/// How far a kernel's worst element is from f64's, as |got - want| / (1 + |want|); more than [`ALLOWED`] is wrong.
pub struct Checked {
    pub kernel: &'static str,
    pub worst: f64,
}

/// f32 arithmetic over sums of some hundred terms, and the least accurate tanh and log of a driver that were met.
pub const ALLOWED: f64 = 1e-4;

impl Checked {
    pub fn passed(&self) -> bool {
        self.worst <= ALLOWED
    }
}

/// What WGSL leaves to the driver: NaN stays NaN. Each result is 0 then, and a number near 2 where it did not.
fn nan() -> Example {
    Example::new("nan", "7x6", |g, _| {
        let x = g.constant(Tensor::f32([7, 6], vec![f32::NAN; 42]));
        let one = g.scalar(1.0);
        let each = [x + one, x.scale(0.5), x.exp(), x.log(), x.sqrt(), x.sin(), x.tanh(), x.sigmoid(), x.softplus()];
        let chosen = [x.relu(), x.max(one), one.min(x), x.sign(), x.greater(one), x.equal(one), x.nonzero()];
        let rows = [x.softmax(1, None), x.max_over(1), x.sum(1), x.matmul_t(x)];
        Ok([&each[..], &chosen, &rows].concat().into_iter().map(|y| (y + g.scalar(2.0)).finite_or_zero()).collect())
    })
}

/// What is checked, by kernel.
fn examples() -> Vec<(&'static str, Example)> {
    let of_kernels = KERNELS.iter().flat_map(|k| (k.examples)(Scale::Quick).into_iter().map(|e| (k.name, e)));
    of_kernels.chain([("nan", nan())]).collect()
}

/// Checks every kernel on `device`.
///
/// # Errors
/// Errors of compiling and running; a kernel that computes something wrong is in the list instead.
pub fn check(device: &Device) -> Result<Vec<Checked>> {
    let mut all: Vec<Checked> = vec![];
    for (kernel, example) in examples() {
        let worst = apart(device, &example)?.into_iter().map(|a| a.by).fold(0.0, f64::max);
        match all.last_mut().filter(|last| last.kernel == kernel) {
            Some(last) => last.worst = last.worst.max(worst),
            None => all.push(Checked { kernel, worst }),
        }
    }
    Ok(all)
}

/// What [`check`] runs on `device`, a plan an example.
pub fn plans(device: &Device) -> Result<Vec<Plan>> {
    examples().iter().map(|(_, example)| plan(device, example)).collect()
}

fn plan(device: &Device, example: &Example) -> Result<Plan> {
    let half = example.half && matches!(device, Device::Gpu(gpu) if gpu.caps().f16);
    device.plan(&example.graph(true)?, Options { half, ..Options::default() })
}

/// Writes input set `set` of `example`, and the gradients that reach its outputs.
pub fn write(example: &Example, set: u32, plan: &Plan, store: &mut Store, runner: &mut Runner) -> Result<()> {
    for (i, (spec, _)) in example.operands.iter().enumerate() {
        let name = format!("x{i}");
        if spec.dtype == DType::U32 {
            runner.write(&name, &example.tensor(i, set))?;
        } else if plan.states.iter().any(|(state, _)| *state == name) {
            store.write(&name, 0, &example.tensor(i, set))?;
        }
    }
    for (name, n) in plan.states.iter().filter(|(name, _)| name.starts_with("dy")) {
        store.write(name, 0, &floats(&Spec::f32([*n]), &Fill::Float(1.0), set * 100 + 99))?;
    }
    if let Some([table, list]) = example.segments {
        let mut segments = Segments::default();
        segments.build(&[example.tensor(list, set).as_u32()], example.operands[table].0.shape[0]);
        runner.write_segments("segments", &segments)?;
    }
    runner.write(Step::NAME, &Step::at(1, 9, 1e-3, [0.9, 0.999]).tensor())
}

/// The worst element of a result.
struct Apart {
    result: String,
    element: usize,
    got: f64,
    want: f64,
    by: f64,
}

/// The worst element of each result of `example` on `device`, by its distance from the f64 device's.
fn apart(device: &Device, example: &Example) -> Result<Vec<Apart>> {
    let oracle = Device::Cpu(cpu::Cpu::new(Precision::F64));
    let results = |device: &Device| -> Result<Vec<(String, Tensor)>> {
        let plan = plan(device, example)?;
        let mut store = device.store(&plan.states)?;
        let mut runner = device.compile(&plan, &store, RunOptions::default())?;
        write(example, 0, &plan, &mut store, &mut runner)?;
        runner.run()?;
        plan.results.iter().map(|(name, _)| Ok((name.clone(), runner.read(name)?))).collect()
    };
    let worst = |((result, got), (_, want)): ((String, Tensor), (String, Tensor))| {
        let each = got.to_f64().into_iter().zip(want.to_f64()).enumerate().map(|(element, (got, want))| {
            let by = if got.is_finite() { (got - want).abs() / (1.0 + want.abs()) } else { f64::INFINITY };
            Apart { result: result.clone(), element, got, want, by }
        });
        each.max_by(|a, b| a.by.total_cmp(&b.by))
    };
    Ok(results(device)?.into_iter().zip(results(&oracle)?).filter_map(worst).collect())
}

/// How far the worst element of `example` is from the f64 device's, as |got - want| / (1 + |want|).
///
/// # Errors
/// More than [`ALLOWED`], or a NaN.
pub fn check_example(device: &Device, example: &Example) -> Result<f64> {
    let mut most = 0.0;
    for Apart { result, element, got, want, by } in apart(device, example)? {
        if by > ALLOWED {
            return Err(Error::Failed(format!(
                "{} of {} computes something wrong on {}: element {element} of {result} is {got}, not {want}",
                example.name,
                example.sizes,
                device.describe()
            )));
        }
        most = f64::max(most, by);
    }
    Ok(most)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_cpu_passes_and_every_kernel_is_checked() {
        let (device, _) = super::Device::open("cpu").unwrap();
        let checked = super::check(&device).unwrap();
        for c in &checked {
            assert!(c.passed(), "{}: {:e}", c.kernel, c.worst);
        }
        for kernel in super::KERNELS {
            assert!(checked.iter().any(|c| c.kernel == kernel.name), "{} has no example", kernel.name);
        }
    }
}
