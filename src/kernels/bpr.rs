//! Bayesian personalised ranking (Rendle et al., UAI 2009): the mean of -log sigmoid(positive - negative).

use super::example::{Example, Fill, Scale, UNIT};
use super::launch::{TREE, WORKGROUP, group_size, turns_of};
use super::real::Real;
use super::sums::{add_up, sum_chunks};
use super::{Args, Caps, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes};
use crate::error::Result;
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// positive \[B\], negative \[B, n\], weight \[B\]: sum_b w_b mean_j softplus(negative_bj - positive_b) / sum_b w_b, a scalar;
/// 0 where all weights are 0.
#[derive(Debug, Clone, Copy)]
pub struct Bpr;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    batch: u32,
    n: u32,
}

impl Params {
    fn of(s: &Shapes) -> Params {
        Params { batch: s.input("negative")[0] as u32, n: s.input("negative")[1] as u32 }
    }
}

fn total_weight<T: Real>(weight: &[T]) -> T {
    let sum = sum_chunks(weight.len(), |r| add_up(&weight[r]));
    if sum <= T::ZERO { T::ONE } else { sum }
}

impl Bpr {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (positive, negative, weight) = (a.f("positive"), a.f("negative"), a.f("weight"));
        let n = a.shape("negative")[1];
        let total = sum_chunks(positive.len(), |r| {
            r.map(|b| {
                let loss = |&x: &T| {
                    let x = x - positive[b];
                    x.max(T::ZERO) + (-x.abs()).exp().ln_1p()
                };
                let losses = sum_chunks(n, |r| negative[b * n..][r].iter().map(loss).sum());
                weight[b] * losses / T::of(n as f64)
            })
            .sum::<T>()
        });
        a.out("loss")[0] = total / total_weight(weight);
    }
}

impl Op for Bpr {
    fn name(&self) -> &'static str {
        "bpr"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("positive", "b").f32("negative", "b n").f32("weight", "b").out_f32("loss", "")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if x.extent("n") == 0 {
            return x.fail("no negatives");
        }
        Ok(x.declared())
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let [positive, negative, weight] = [node.input("positive"), node.input("negative"), node.input("weight")];
        if node.wants("weight") {
            return Ok(Grads::not_differentiable());
        }
        let dx = weight.graph().try_push(BprBackward, &[positive, negative, weight, node.dy("loss")])?;
        Ok(Grads::to([("positive", dx[0]), ("negative", dx[1])]))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let size = group_size(usize::MAX, caps);
        let [rows, n] = [s.input("negative")[0].div_ceil(size), s.input("negative")[1]];
        let launch = Launch::of("bpr", "forward")
            .params(Params::of(s))
            .turns(turns_of(rows, turns_of(n, 0)) + turns_of(rows, 0) + 2 * TREE);
        Ok(vec![launch.groups(1, size, caps)?])
    }
}

/// Inputs positive, negative, weight, dloss; outputs dpositive \[B\], dnegative \[B, n\].
#[derive(Debug, Clone, Copy)]
pub struct BprBackward;

impl BprBackward {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (positive, negative, weight, dloss) = (a.f("positive"), a.f("negative"), a.f("weight"), a.f("dloss")[0]);
        let n = a.shape("negative")[1];
        let scale = dloss / (total_weight(weight) * T::of(n as f64));
        let (dpositive, dnegative) = (a.out("dpositive"), a.out("dnegative"));
        for b in 0..positive.len() {
            for j in b * n..(b + 1) * n {
                let x = negative[j] - positive[b];
                let e = (-x.abs()).exp();
                let sigmoid = if x < T::ZERO { e } else { T::ONE } / (T::ONE + e);
                dnegative[j] = weight[b] * scale * sigmoid;
            }
            dpositive[b] = -sum_chunks(n, |r| add_up(&dnegative[b * n..][r]));
        }
    }
}

impl Op for BprBackward {
    fn name(&self) -> &'static str {
        "bpr backward"
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("positive", "b")
            .f32("negative", "b n")
            .f32("weight", "b")
            .f32("dloss", "")
            .out_f32("dpositive", "b")
            .out_f32("dnegative", "b n")
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [batch, n] = [s.input("negative")[0], s.input("negative")[1]];
        let launch = Launch::of("bpr", "backward").params(Params::of(s));
        Ok(vec![launch.turns(turns_of(batch.div_ceil(WORKGROUP), 0) + TREE + turns_of(n, 0)).threads(batch, caps)?])
    }
}

/// A batch, and its gradients.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [b, n] = scale.pick([1 << 16, 8], [77, 3]);
    Example::new("bpr", format!("{b}x{n}"), |g, x| Ok(vec![g.push(Bpr, x)]))
        .f32([b], UNIT)
        .f32([b, n], UNIT)
        .f32([b], Fill::Positive)
        .both(&[0, 1], &["bpr backward"])
}
