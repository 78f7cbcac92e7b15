//! Bayesian personalised ranking (Rendle et al., UAI 2009): the mean of -log sigmoid(positive - negative).

use super::args::{Args, sum_chunks};
use super::launch::lanes;
use super::real::Real;
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
    let sum = sum_chunks(weight.len(), |r| weight[r].iter().copied().sum());
    if sum > T::ZERO { sum } else { T::ONE }
}

impl Bpr {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (positive, negative, weight) = (a.f(0), a.f(1), a.f(2));
        let n = a.shape(1)[1];
        let total = sum_chunks(positive.len(), |r| {
            r.map(|b| {
                let losses = negative[b * n..][..n].iter().map(|&x| {
                    let x = x - positive[b];
                    x.max(T::ZERO) + (-x.abs()).exp().ln_1p()
                });
                weight[b] * losses.sum::<T>() / T::of(n as f64)
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
        let launch = Launch::of("bpr", "forward").params(Params::of(s));
        Ok(vec![launch.groups(1, lanes(usize::MAX, caps), caps)?])
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
            let mut sum = T::ZERO;
            for j in b * n..(b + 1) * n {
                let x = negative[j] - positive[b];
                let e = (-x.abs()).exp();
                let sigmoid = if x < T::ZERO { e } else { T::ONE } / (T::ONE + e);
                dnegative[j] = weight[b] * scale * sigmoid;
                sum += dnegative[j];
            }
            dpositive[b] = -sum;
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
        Ok(vec![Launch::of("bpr", "backward").params(Params::of(s)).threads(s.input(0)[0], caps)?])
    }

    fn operands(&self) -> Operands {
        Operands {
            inputs: &["positive", "negative", "weight", "dloss"],
            outputs: &["dpositive", "dnegative"],
            scratch: &[],
        }
    }
}
