//! Watch over a training's loss. The device keeps the number of the first step whose loss is not finite, so that the host
//! need not read the loss of each.

use super::example::{Example, Fill, Scale, UNIT};
use super::real::Real;
use super::{Args, Caps, Cost, Inputs, Launch, Op, Operands, Outputs, Shapes};
use crate::error::Result;
use crate::graph::Step;
use crate::twin;

/// Inputs: the loss, the part of it that the targets have, and the `scale` of the update's gradients, a number each; the
/// [`Step`]; the state `first` \[1\]. Outputs: `first` in place, the mark of the first step whose loss was not finite, 0 for
/// none; and what the host reads, \[3\]: loss, part, `first`. Where `scale` is 0 the update is left out, so that it is no
/// fault: a mark of this step, which an earlier batch of the update may have left, is 0 again.
#[derive(Debug, Clone, Copy)]
pub struct Watch;

impl Watch {
    /// The state.
    pub const FIRST: &'static str = "first_fault";
    /// Marks count from 1 to this and again: f32 holds them exactly.
    const PERIOD: u64 = 1 << 24;

    /// The step that `mark` stands for, the last one up to step `now`; None for the mark 0.
    pub fn step(mark: f64, now: u64) -> Option<u64> {
        let low = (mark as u64).checked_sub(1)?;
        Some(now.checked_sub(now.wrapping_sub(low) % Watch::PERIOD).unwrap_or(low))
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let (loss, part, scale, step) = (a.f("loss")[0], a.f("part")[0], a.f("scale")[0], a.u("step"));
        let (first, mark) = (&mut a.out("first")[0], T::of((step[Step::STEP] as u64 % Watch::PERIOD + 1) as f64));
        if scale == T::ZERO {
            *first = if *first == mark { T::ZERO } else { *first };
        } else if *first == T::ZERO && !loss.is_finite() {
            *first = mark;
        }
        a.out("seen").copy_from_slice(&[loss, part, *first]);
    }
}

impl Op for Watch {
    fn name(&self) -> &'static str {
        "watch"
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("loss", "*")
            .f32("part", "*")
            .f32("scale", "*")
            .u32("step", "8")
            .f32("first", "1")
            .out_f32("first", "1")
            .out_f32("seen", "3")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if let Some(name) = ["loss", "part", "scale"].into_iter().find(|&name| x.shape(name).elements() != 1) {
            return x.fail(format!("{name} must be one number"));
        }
        Ok(x.declared())
    }

    twin!();

    fn gpu(&self, _s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        Ok(vec![Launch::of("watch", "watch").threads(1, caps)?])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 4)]
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: (s.spec("step").bytes() + 32) as u64, flops: 0 }
    }
}

/// One step.
pub fn examples(_scale: Scale) -> Vec<Example> {
    let watch = Example::new("watch", "1", |g, x| g.try_push(Watch, &[x[0], x[1], x[2], g.step(), x[3]]));
    vec![watch.f32([1], UNIT).f32([1], UNIT).f32([1], Fill::Ones).f32([1], Fill::Float(0.0))]
}

#[cfg(test)]
mod tests {
    use super::Watch;

    #[test]
    fn marks_are_of_the_last_step_that_has_them() {
        assert_eq!(Watch::step(0.0, 100), None);
        let period = Watch::PERIOD;
        for step in [0, 1, 99, period - 1, period, 5 * period - 1, 7 * period + 3] {
            let mark = (step % period + 1) as f32 as f64;
            for now in [step, step + 1, step + 49, step + period - 1] {
                assert_eq!(Watch::step(mark, now), Some(step), "{now}");
            }
        }
        // A mark of another training over the same states.
        assert_eq!(Watch::step(8.0, 3), Some(7));
    }
}
