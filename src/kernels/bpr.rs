//! Bayesian personalised ranking (Rendle et al., UAI 2009): the mean of -log sigmoid(positive - negative).

use super::args::Args;
use super::launch::{TREE, WORKGROUP, lanes, turns_of};
use super::real::Real;
use super::sums::{add_up, sum_chunks};
use super::{Caps, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes};
use crate::error::Result;
use crate::tensor::Spec;
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
        Params { batch: s.input(1)[0] as u32, n: s.input(1)[1] as u32 }
    }
}

fn total_weight<T: Real>(weight: &[T]) -> T {
    let sum = sum_chunks(weight.len(), |r| add_up(&weight[r]));
    if sum <= T::ZERO { T::ONE } else { sum }
}

impl Bpr {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (positive, negative, weight) = (a.f(0), a.f(1), a.f(2));
        let n = a.shape(1)[1];
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
        a.out(0)[0] = total / total_weight(weight);
    }
}

impl Op for Bpr {
    fn name(&self) -> &'static str {
        "bpr"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(3)?;
        x.rank(0, 1)?;
        x.rank(1, 2)?;
        x.is_shape(1, &[x.shape(0)[0], x.shape(1)[1]])?;
        x.is_shape(2, x.shape(0))?;
        if x.shape(1)[1] == 0 {
            return x.fail("no negatives");
        }
        Ok(Outputs::one(Spec::f32([])))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let [positive, negative, weight] = [node.inputs[0], node.inputs[1], node.inputs[2]];
        if node.wanted[2] {
            return Ok(Grads::not_differentiable());
        }
        let dx = weight.graph().try_push(BprBackward, &[positive, negative, weight, node.dy(0)])?;
        Ok(Grads::to([(0, dx[0]), (1, dx[1])]))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let size = lanes(usize::MAX, caps);
        let [rows, n] = [s.input(1)[0].div_ceil(size), s.input(1)[1]];
        let launch = Launch::of("bpr", "forward")
            .params(Params::of(s))
            .turns(turns_of(rows, turns_of(n, 0)) + turns_of(rows, 0) + 2 * TREE);
        Ok(vec![launch.groups(1, size, caps)?])
    }

    fn operands(&self) -> Operands {
        Operands { inputs: &["positive", "negative", "weight"], outputs: &["loss"], scratch: &[] }
    }
}

/// Inputs positive, negative, weight, dloss; outputs dpositive \[B\], dnegative \[B, n\].
#[derive(Debug, Clone, Copy)]
pub struct BprBackward;

impl BprBackward {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (positive, negative, weight, dloss) = (a.f(0), a.f(1), a.f(2), a.f(3)[0]);
        let n = a.shape(1)[1];
        let scale = dloss / (total_weight(weight) * T::of(n as f64));
        let (dpositive, dnegative) = (a.out(0), a.out(1));
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

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(4)?;
        Ok(Outputs::many([x.specs[0].clone(), x.specs[1].clone()]))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [batch, n] = [s.input(1)[0], s.input(1)[1]];
        let launch = Launch::of("bpr", "backward").params(Params::of(s));
        Ok(vec![launch.turns(turns_of(batch.div_ceil(WORKGROUP), 0) + TREE + turns_of(n, 0)).threads(batch, caps)?])
    }

    fn operands(&self) -> Operands {
        Operands {
            inputs: &["positive", "negative", "weight", "dloss"],
            outputs: &["dpositive", "dnegative"],
            scratch: &[],
        }
    }
}
