//! Sum, mean and maximum over one axis, and the sum of squares that gradient clipping needs.

use super::args::{Args, rows, sum_chunks};
use super::launch::lanes;
use super::real::Real;
use super::{Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::tensor::{DType, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    Sum,
    Mean,
    Max,
}

/// `x` without `axis`: the sum, mean or maximum over it.
#[derive(Debug, Clone, Copy)]
pub struct Reduce {
    pub kind: Reduction,
    pub axis: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    outer: u32,
    n: u32,
    inner: u32,
    chunks: u32,
}

impl Params {
    fn new(outer: usize, n: usize, inner: usize, chunks: usize) -> Params {
        Params { outer: outer as u32, n: n as u32, inner: inner as u32, chunks: chunks as u32 }
    }
}

/// Partial values of each output, in a launch of their own: more than 1 where one launch would have few invocations with a
/// long way each.
fn chunks(outer: usize, n: usize, inner: usize) -> usize {
    if n >= 1024 && outer * inner <= 1024 { (n / 64).min(256) } else { 1 }
}

impl Reduce {
    pub fn new(kind: Reduction, axis: usize) -> Reduce {
        Reduce { kind, axis }
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let (outer, n, inner) = a.shape(0).around(self.axis);
        let x = a.f(0);
        let scale = if self.kind == Reduction::Mean { T::ONE / T::of(n as f64) } else { T::ONE };
        let fold = |y: &mut [T], x: &[T]| match self.kind {
            Reduction::Max => y.iter_mut().zip(x).for_each(|(y, &x)| *y = y.max(x)),
            _ => y.iter_mut().zip(x).for_each(|(y, &x)| *y += x),
        };
        let start = if self.kind == Reduction::Max { T::of(f32::NEG_INFINITY as f64) } else { T::ZERO };
        if outer == 1 && n >= 512 {
            // A long column sum (bias gradients): fixed chunks of rows, added in order.
            const CHUNK: usize = 256;
            let chunks = n.div_ceil(CHUNK);
            let mut parts = vec![start; chunks * inner];
            rows(&mut parts, inner, CHUNK * inner, |c, part| {
                for row in x[c * CHUNK * inner..n.min((c + 1) * CHUNK) * inner].chunks(inner) {
                    fold(part, row);
                }
            });
            let y = a.out(0);
            y.fill(start);
            parts.chunks(inner).for_each(|part| fold(y, part));
            y.iter_mut().for_each(|v| *v *= scale);
            return;
        }
        rows(a.out(0), inner, n * inner, |o, y| {
            let x = &x[o * n * inner..][..n * inner];
            if inner == 1 && self.kind != Reduction::Max {
                y[0] = sum_chunks(n, |r| x[r].iter().copied().sum::<T>()) * scale;
                return;
            }
            y.fill(start);
            x.chunks(inner).for_each(|row| fold(y, row));
            y.iter_mut().for_each(|v| *v *= scale);
        });
    }
}

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            Reduction::Sum => "sum",
            Reduction::Mean => "mean",
            Reduction::Max => "max",
        }
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(1)?;
        x.dtype(0, DType::F32)?;
        x.axis(0, self.axis)?;
        if x.shape(0)[self.axis] == 0 {
            return x.fail("nothing to reduce over");
        }
        let y = Outputs::one(Spec::f32(x.shape(0).without(self.axis)));
        let (outer, n, inner) = x.shape(0).around(self.axis);
        let chunks = chunks(outer, n, inner);
        Ok(if chunks > 1 { y.with_scratch(Spec::f32([outer, chunks, inner])) } else { y })
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let (x, y, dy) = (node.inputs[0], node.outputs[0], node.dy(0));
        let shape = x.shape();
        let kept = shape.with(self.axis, 1);
        let dx = match self.kind {
            Reduction::Sum => dy.reshape(kept).expand(shape),
            Reduction::Mean => dy.reshape(kept).scale(1.0 / shape[self.axis] as f64).expand(shape),
            Reduction::Max => dy.graph().push(MaxBackward { axis: self.axis }, &[x, y, dy]),
        };
        Ok(Grads::to([(0, dx)]))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (outer, n, inner) = s.input(0).around(self.axis);
        let chunks = chunks(outer, n, inner);
        let launch = |entry| {
            Launch::of("reduce", entry)
                .params(Params::new(outer, n, inner, chunks))
                .constant("KIND", self.kind as u32)
                .constant("COUNTED", 0)
        };
        Ok(if chunks > 1 {
            vec![launch("parts").threads(outer * chunks * inner, caps)?, launch("join").threads(outer * inner, caps)?]
        } else if inner == 1 && n >= 32 {
            vec![launch("slices").groups(outer, lanes(n, caps), caps)?]
        } else {
            vec![launch("columns").threads(outer * inner, caps)?]
        })
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        match (self.axis, self.kind) {
            (0, Reduction::Sum) => Split::sum(s.input(0)[0], 0b1, s.output(0)),
            (0, _) => None,
            _ => Split::rows(s.input(0)[0], 0b1),
        }
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let bytes = s.inputs.iter().chain(s.outputs).map(|x| x.bytes() as u64).sum();
        Cost { bytes, flops: s.input(0).elements() as u64 }
    }

    fn operands(&self) -> Operands {
        Operands { inputs: &["x"], outputs: &["y"], scratch: &["partial"] }
    }
}

/// Inputs x, y = max over `axis`, dy: the gradient goes to the first element that equals the maximum.
#[derive(Debug, Clone, Copy)]
pub struct MaxBackward {
    pub axis: usize,
}

impl MaxBackward {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (_, n, inner) = a.shape(0).around(self.axis);
        let (x, y, dy) = (a.f(0), a.f(1), a.f(2));
        rows(a.out(0), n * inner, n * inner, |o, dx| {
            let x = &x[o * n * inner..];
            dx.fill(T::ZERO);
            for i in 0..inner {
                let max = y[o * inner + i];
                if let Some(c) = (0..n).find(|&c| x[c * inner + i] == max) {
                    dx[c * inner + i] = dy[o * inner + i];
                }
            }
        });
    }
}

impl Op for MaxBackward {
    fn name(&self) -> &'static str {
        "max backward"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(3)?;
        x.axis(0, self.axis)?;
        x.is_shape(1, &x.shape(0).without(self.axis))?;
        x.is_shape(2, x.shape(1))?;
        Ok(Outputs::one(x.specs[0].clone()))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (outer, n, inner) = s.input(0).around(self.axis);
        let launch = Launch::of("reduce", "max_backward").params(Params::new(outer, n, inner, 1));
        Ok(vec![launch.constant("KIND", Reduction::Max as u32).constant("COUNTED", 0).threads(outer * inner, caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        if self.axis == 0 { None } else { Split::rows(s.input(0)[0], 0b111) }
    }

    fn operands(&self) -> Operands {
        Operands { inputs: &["x", "largest", "dy"], outputs: &["dx"], scratch: &[] }
    }
}

/// The sum of squares of `x`, a scalar; with a second input `counts`, only of the first `counts[0]` rows of `x`.
#[derive(Debug, Clone, Copy)]
pub struct SumSquares;

impl SumSquares {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let x = a.f(0);
        let n = if a.len() == 2 { a.u(1)[0] as usize * a.shape(0).last_dim() } else { x.len() };
        a.out(0)[0] = sum_chunks(n, |r| x[r].iter().map(|&v| v * v).sum());
    }
}

impl Op for SumSquares {
    fn name(&self) -> &'static str {
        "sum of squares"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if x.len() == 2 {
            x.dtype(1, DType::U32)?;
            x.rank(0, 2)?;
        }
        Ok(Outputs::one(Spec::f32([])).with_scratch(Spec::f32([SumSquares::GROUPS])))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let counted = s.inputs.len() == 2;
        let size = lanes(usize::MAX, caps);
        let launch = |entry| {
            Launch::of("reduce", entry)
                .params(Params::new(1, s.input(0).elements(), s.input(0).last_dim(), SumSquares::GROUPS))
                .constant("KIND", Reduction::Sum as u32)
                .constant("COUNTED", counted as u32)
        };
        let squares = launch("squares").groups(SumSquares::GROUPS, size, caps)?;
        Ok(vec![
            if counted { squares } else { squares.bind("counts", 0) },
            launch("total_squares").groups(1, size, caps)?,
        ])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let bytes = s.inputs.iter().chain(s.outputs).map(|x| x.bytes() as u64).sum();
        Cost { bytes, flops: 2 * s.input(0).elements() as u64 }
    }

    fn operands(&self) -> Operands {
        Operands { inputs: &["x", "counts"], outputs: &["total"], scratch: &["partial"] }
    }
}

impl SumSquares {
    /// Workgroups of the first launch, each leaving one partial sum.
    pub const GROUPS: usize = 256;
}
