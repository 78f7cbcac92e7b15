//! Convolution over time: one kernel forward, one for the gradient by the input; that by the weights is a matrix product.

use super::example::{Example, Fill, Scale, UNIT};
use super::launch::turns_of;
use super::parallel::par_rows;
use super::real::Real;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::graph::Var;
use crate::tensor::{Shape, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// y\[b, t, f\] = bias\[f\] + sum_i sum_c x\[b, t + i, c\] weight\[f, i, c\]: x \[B, T, d\], weight \[n, h, d\], bias \[n\]; y
/// \[B, T - h + 1, n\].
#[derive(Debug, Clone, Copy)]
pub struct Conv;

#[derive(Debug, Clone, Copy)]
struct Dims {
    batch: usize,
    t: usize,
    d: usize,
    n: usize,
    h: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    batch: u32,
    t: u32,
    d: u32,
    n: u32,
    h: u32,
}

impl Dims {
    fn of(x: &Shape, weight: &Shape) -> Dims {
        Dims { batch: x[0], t: x[1], d: x[2], n: weight[0], h: weight[1] }
    }

    /// Positions of the output.
    fn positions(self) -> usize {
        self.t - self.h + 1
    }

    fn flops(self) -> u64 {
        (2 * self.batch * self.positions() * self.n * self.h * self.d) as u64
    }

    fn launch(self, entry: &'static str, elements: usize, turns: usize, caps: &Caps) -> Result<Vec<Launch>> {
        let [batch, t, d, n, h] = [self.batch, self.t, self.d, self.n, self.h].map(|x| x as u32);
        Ok(vec![Launch::of("conv", entry).params(Params { batch, t, d, n, h }).turns(turns).threads(elements, caps)?])
    }
}

/// Sequences that the fast forms take through a position together: one product for all.
const BLOCK: usize = 32;

impl Conv {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (x, weight, bias) = (a.f("x"), a.f("weight"), a.f("bias"));
        let s = Dims::of(a.shape("x"), a.shape("weight"));
        let len = s.h * s.d;
        par_rows(a.out("y"), s.n, s.n * len, |place, y| {
            let x = &x[(place / s.positions() * s.t + place % s.positions()) * s.d..][..len];
            for ((y, filter), &bias) in y.iter_mut().zip(weight.chunks_exact(len)).zip(bias) {
                *y = bias + x.iter().zip(filter).map(|(&x, &w)| x * w).sum();
            }
        });
    }
}

impl Op for Conv {
    fn name(&self) -> &'static str {
        "conv"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "b t d").f32("weight", "n h d").f32("bias", "n").out("y")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let s = Dims::of(x.shape("x"), x.shape("weight"));
        if s.d == 0 {
            return x.fail("no channels");
        }
        if s.h == 0 || s.h > s.t {
            return x.fail(format!("filters of height {} over {} positions", s.h, s.t));
        }
        Ok(Outputs::one(Spec::f32([s.batch, s.positions(), s.n])))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let (x, weight, dy) = (node.input("x"), node.input("weight"), node.dy("y"));
        let s = Dims::of(&x.shape(), &weight.shape());
        let flat = |v: Var<'g>| v.reshape([v.shape().rows(), v.shape().last_dim()]);
        let mut to = vec![];
        if node.wants("x") {
            to.push(("x", dy.graph().push(ConvBackward, &[weight, dy])));
        }
        if node.wants("weight") {
            // What each position of y saw, side by side: then a product over all positions.
            let seen: Vec<Var> = (0..s.h).map(|i| x.slice(1, i, s.positions())).collect();
            let seen = dy.graph().concat(2, &seen);
            to.push(("weight", flat(dy).t_matmul(flat(seen)).reshape(weight.shape())));
        }
        if node.wants("bias") {
            to.push(("bias", flat(dy).sum(0)));
        }
        Ok(Grads::to(to))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let (x, weight, bias) = (a.f("x"), a.f("weight"), a.f("bias"));
        let s = Dims::of(a.shape("x"), a.shape("weight"));
        let (len, own) = (s.h * s.d, s.positions() * s.n);
        assert!(weight.len() == s.n * len);
        par_rows(a.out("y"), BLOCK.min(s.batch) * own, BLOCK * own * len / 4, |block, y| {
            let sequences = y.len() / own;
            let x = &x[block * BLOCK * s.t * s.d..][..sequences * s.t * s.d];
            y.chunks_exact_mut(s.n).for_each(|y| y.copy_from_slice(bias));
            for t in 0..s.positions() {
                // SAFETY: row r of the product ends at (r T + t + h) d in x, at (r positions + t + 1) n in y: within both.
                unsafe {
                    f32::gemm(
                        sequences,
                        s.n,
                        len,
                        y[t * s.n..].as_mut_ptr(),
                        [own as isize, 1],
                        true,
                        x[t * s.d..].as_ptr(),
                        [(s.t * s.d) as isize, 1],
                        weight.as_ptr(),
                        [1, len as isize],
                    );
                }
            }
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let dims = Dims::of(s.input("x"), s.input("weight"));
        dims.launch("forward", s.output("y").elements(), turns_of(dims.h * dims.d, 0), caps)
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("x")[0], ["x"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: Dims::of(s.input("x"), s.input("weight")).flops() }
    }
}

/// Inputs: weight, dy \[B, T - h + 1, n\]; output dx\[b, s, c\] = sum_i sum_f dy\[b, s - i, f\] weight\[f, i, c\].
#[derive(Debug, Clone, Copy)]
pub struct ConvBackward;

impl ConvBackward {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (weight, dy) = (a.f("weight"), a.f("dy"));
        let s = Dims::of(a.out_shape("dx"), a.shape("weight"));
        par_rows(a.out("dx"), s.d, s.h * s.n * s.d, |place, dx| {
            let (b, place) = (place / s.t, place % s.t);
            dx.fill(T::ZERO);
            for i in (0..s.h).filter(|&i| i <= place && place - i < s.positions()) {
                let dy = &dy[(b * s.positions() + place - i) * s.n..][..s.n];
                for (f, &dy) in dy.iter().enumerate() {
                    let filter = &weight[(f * s.h + i) * s.d..][..s.d];
                    dx.iter_mut().zip(filter).for_each(|(dx, &w)| *dx += dy * w);
                }
            }
        });
    }
}

impl Op for ConvBackward {
    fn name(&self) -> &'static str {
        "conv backward"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("weight", "n h d").f32("dy", "b positions n").out("dx")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let t = x.extent("positions") + x.extent("h") - 1;
        Ok(Outputs::one(Spec::f32([x.extent("b"), t, x.extent("d")])))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let (weight, dy) = (a.f("weight"), a.f("dy"));
        let s = Dims::of(a.out_shape("dx"), a.shape("weight"));
        let (len, own) = (s.h * s.d, s.positions() * s.n);
        assert!(weight.len() == s.n * len);
        par_rows(a.out("dx"), BLOCK.min(s.batch) * s.t * s.d, BLOCK * own * len / 4, |block, dx| {
            let sequences = dx.len() / (s.t * s.d);
            let dy = &dy[block * BLOCK * own..][..sequences * own];
            dx.fill(0.0);
            for t in 0..s.positions() {
                // SAFETY: row r of the product ends at (r T + t + h) d in dx, at (r positions + t + 1) n in dy: within both.
                unsafe {
                    f32::gemm(
                        sequences,
                        len,
                        s.n,
                        dx[t * s.d..].as_mut_ptr(),
                        [(s.t * s.d) as isize, 1],
                        true,
                        dy[t * s.n..].as_ptr(),
                        [own as isize, 1],
                        weight.as_ptr(),
                        [len as isize, 1],
                    );
                }
            }
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let dims = Dims::of(s.output("dx"), s.input("weight"));
        dims.launch("backward", s.output("dx").elements(), turns_of(dims.h, turns_of(dims.n, 0)), caps)
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("dy")[0], ["dy"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: Dims::of(s.output("dx"), s.input("weight")).flops() }
    }
}

/// Filters of four positions over a batch.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [b, t, d, height, n] = scale.pick([256, 50, 64, 4, 64], [5, 11, 20, 4, 6]);
    Example::new("conv", format!("{b}x{t}x{d}, {n} of {height}"), |_, x| Ok(vec![x[0].conv(x[1], x[2])]))
        .f32([b, t, d], UNIT)
        .f32([n, height, d], Fill::Float(0.1))
        .f32([n], UNIT)
        .both(&[0, 1, 2], &["conv backward", "slice", "concat", "matmul", "sum"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::infer;

    #[test]
    fn wrong_shapes_are_refused_with_all_of_them() {
        let infer = |weight: [usize; 3]| {
            let specs = [Spec::f32([2, 3, 5]), Spec::f32(weight), Spec::f32([4])];
            infer(&Conv, "conv", &specs).map(|y| y.values[0].shape.clone()).map_err(|e| e.to_string())
        };
        assert_eq!(infer([4, 2, 5]).unwrap()[..], [2, 2, 4]);
        let message = infer([4, 4, 5]).unwrap_err();
        assert!(message.contains("filters of height 4 over 3 positions") && message.contains("[4, 4, 5]"), "{message}");
        assert!(infer([4, 2, 6]).unwrap_err().contains("weight is [4, 2, 6], expected [n, h, d]"));
        assert!(infer([3, 2, 5]).unwrap_err().contains("bias is [4], expected [n] = [3]"));
    }
}
