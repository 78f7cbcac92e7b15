//! Results that are known before the device makes them: what is wrong here would pass for a trained model later.

use super::Shared;
use super::executor::Runner;
use super::memory::Store;
use crate::device::RunOptions;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::launch::turns_of;
use crate::graph::plan::{Options, Plan};
use crate::kernels::{Args, Caps, Launch, Op, Operands, Real, Shapes};
use crate::tensor::{Spec, Tensor};
use crate::twin;
use std::sync::Arc;

/// Turns of a loop: twice as many as the drivers that end loops are known to allow.
const TURNS: u32 = 1 << 17;
const INVOCATIONS: usize = 64;

/// Input seeds u32 \[64\]; output \[64, 2\]: each seed after this number of steps of a generator of random numbers, whose result no
/// compiler knows without taking them, and the number of steps that were taken.
#[derive(Debug)]
struct Steps;

const SHADER: &str = "
var<immediate> turns: u32;
@group(0) @binding(0) var<storage, read> seeds: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(64)
fn forward(@builtin(local_invocation_index) local: u32) {
    var state = seeds[local];
    var taken = 0u;
    for (var turn = 0u; turn < turns; turn++) {
        state = state * 1664525u + 1013904223u;
        taken += 1u;
    }
    y[2u * local] = state;
    y[2u * local + 1u] = taken;
}
";

/// `seed` after `steps` steps.
fn after(seed: u32, steps: u32) -> u32 {
    (0..steps).fold(seed, |state, _| state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223))
}

fn seeds() -> Vec<u32> {
    (0..INVOCATIONS as u32).map(|local| local.wrapping_mul(2_654_435_761)).collect()
}

impl Steps {
    fn twin<T: Real>(&self, a: &Args<T>) {
        for (y, &seed) in a.out_u("y").chunks_exact_mut(2).zip(a.u("seeds")) {
            y.copy_from_slice(&[after(seed, TURNS), TURNS]);
        }
    }
}

impl Op for Steps {
    fn name(&self) -> &'static str {
        "steps"
    }

    fn operands(&self) -> Operands {
        Operands::new().u32("seeds", "n").out_u32("y", "n 2")
    }

    twin!();

    fn gpu(&self, _s: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        let launch = Launch::generated(SHADER.into(), "forward").params(TURNS).turns(turns_of(TURNS as usize, 0));
        // SAFETY: one workgroup of 64 reads 64 seeds. What the driver makes of that many turns is what is asked.
        Ok(vec![unsafe { launch.unchecked() }])
    }
}

/// Runs one dispatch whose result is known. Returns the turns after which the driver ends a loop; `u64::MAX`: it does not.
///
/// # Errors
/// [`Error::Failed`] where the device computed something else.
pub(super) fn turns(shared: &Arc<Shared>) -> Result<u64> {
    let g = Graph::new();
    g.result("y", g.push(Steps, &[g.input("seeds", Spec::u32([INVOCATIONS]))]));
    let y = run(shared, &g, Options::default(), |runner| runner.write_u32("seeds", &seeds()))?;
    judge(y.as_u32()).ok_or_else(|| {
        Error::Failed(format!(
            "{} computes something wrong: a kernel whose results are known made {:?} of {:?}; update its driver, or use \
             --device cpu (`wgrec devices` checks every kernel)",
            super::describe(&shared.info),
            &y.as_u32()[..4],
            [after(seeds()[0], TURNS), TURNS, after(seeds()[1], TURNS), TURNS],
        ))
    })
}

/// The turns that a loop makes, by what [`Steps`] gave; None: that is wrong.
fn judge(y: &[u32]) -> Option<u64> {
    let taken = y[1];
    // A driver that ended loops much sooner than llvmpipe could run no kernel.
    let right = (TURNS / 4..=TURNS).contains(&taken)
        && y.chunks_exact(2).zip(seeds()).all(|(y, seed)| *y == [after(seed, taken), taken]);
    right.then_some(if taken == TURNS { u64::MAX } else { taken as u64 })
}

/// Whether products by cooperative matrices come out right. Tried once.
pub(super) fn multiplies(shared: &Arc<Shared>) -> bool {
    let product = || -> Result<(), String> {
        let (m, n, k) = (40, 68, 36);
        // Factors that f16 holds exactly, of the same sign; sums that f32 does.
        let factors = |count: usize, step: usize| (0..count).map(|i| (i * step % 17) as f32 / 8.0).collect::<Vec<_>>();
        let (a, b) = (factors(m * k, 5), factors(k * n, 7));
        let g = Graph::new();
        // Only values of the plan are stored as f16.
        let of = |shape: [usize; 2], values: &[f32]| g.constant(Tensor::f32(shape, values.to_vec())).abs();
        g.result("y", of([m, k], &a).matmul(of([k, n], &b)));
        let y = run(shared, &g, Options { half: true, ..Options::default() }, |_| Ok(())).map_err(|e| e.to_string())?;
        for (at, got) in y.to_f64().into_iter().enumerate() {
            let want: f64 = (0..k).map(|l| (a[at / n * k + l] * b[l * n + at % n]) as f64).sum();
            if (got - want).is_nan() || (got - want).abs() > 1e-3 * want {
                return Err(format!("a product of theirs gave {got} for {want}"));
            }
        }
        Ok(())
    };
    shared.multiplies.get_or_init(product).is_ok()
}

/// The result `y` of one run of `g`, after `write`.
fn run(shared: &Arc<Shared>, g: &Graph, options: Options, write: impl Fn(&mut Runner) -> Result<()>) -> Result<Tensor> {
    let store = Store::new(shared, &[])?;
    let plan = Plan::new(g, options)?;
    let mut runner = Runner::new(&shared.caps, shared, &plan, &store, RunOptions::default())?;
    write(&mut runner)?;
    runner.run()?;
    runner.read("y")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(taken: u32) -> Vec<u32> {
        seeds().into_iter().flat_map(|seed| [after(seed, taken), taken]).collect()
    }

    #[test]
    fn what_computes_nothing_or_something_else_is_told_from_what_ends_loops() {
        assert_eq!(judge(&made(TURNS)), Some(u64::MAX));
        assert_eq!(judge(&made(65_535)), Some(65_535));
        assert_eq!(judge(&vec![0; 2 * INVOCATIONS]), None);
        let poisoned = vec![0x7fc0_dead; 2 * INVOCATIONS];
        assert_eq!(judge(&poisoned), None);
        let mut one_lane = made(TURNS);
        one_lane[77] ^= 1;
        assert_eq!(judge(&one_lane), None);
        let untouched: Vec<u32> = seeds().into_iter().flat_map(|seed| [seed, 0]).collect();
        assert_eq!(judge(&untouched), None);
    }
}
