//! The logarithm of the determinant of small symmetric positive definite matrices.

use super::args::{Args, rows2};
use super::launch::{lanes, turns_of};
use super::real::Real;
use super::{Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::tensor::{DType, Shape, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// y = log det A = 2 sum_i log l_ii by Cholesky's A = L L^T, of each A \[.., n, n\], symmetric and positive definite, n at most
/// 64. Outputs y \[..\] and the inverses \[.., n, n\], for the backward pass alone: dA = dy A^-1. Only the lower triangle of A is
/// read. Of a matrix that is not positive definite the results mean nothing.
#[derive(Debug, Clone, Copy)]
pub struct LogDet;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    count: u32,
    n: u32,
}

impl LogDet {
    /// The largest n: a matrix in a workgroup's 16 KiB.
    pub const LARGEST: usize = 64;

    fn shape_of_results(a: &Shape) -> Shape {
        Shape::from(&a[..a.len() - 2])
    }

    fn twin<T: Real>(&self, args: &Args<T>) {
        let (a, n) = (args.f(0), args.shape(0).last_dim());
        rows2((args.out(0), 1), (args.out(1), n * n), n * n * n, |b, y, inverse| {
            // L below the diagonal and on it.
            let mut l = a[b * n * n..][..n * n].to_vec();
            for j in 0..n {
                l[j * n + j] = l[j * n + j].sqrt();
                for i in j + 1..n {
                    l[i * n + j] = l[i * n + j] / l[j * n + j];
                }
                for i in j + 1..n {
                    for k in j + 1..=i {
                        let term = l[i * n + j] * l[k * n + j];
                        l[i * n + k] -= term;
                    }
                }
            }
            y[0] = T::of(2.0) * (0..n).map(|j| l[j * n + j].ln()).sum();
            // The inverse X of L: x_ij in place (j, i), above the diagonal.
            let diagonal = |l: &[T], i: usize| T::ONE / l[i * n + i];
            for j in 0..n {
                for i in j + 1..n {
                    let mut sum = l[i * n + j] * diagonal(&l, j);
                    for k in j + 1..i {
                        sum += l[i * n + k] * l[j * n + k];
                    }
                    l[j * n + i] = -sum * diagonal(&l, i);
                }
            }
            // X^T X.
            let x = |k: usize, i: usize| if k == i { diagonal(&l, i) } else { l[i * n + k] };
            for (i, row) in inverse.chunks_exact_mut(n).enumerate() {
                for (j, to) in row.iter_mut().enumerate() {
                    *to = (i.max(j)..n).map(|k| x(k, i) * x(k, j)).sum();
                }
            }
        });
    }
}

impl Op for LogDet {
    fn name(&self) -> &'static str {
        "log det"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(1)?;
        x.dtype(0, DType::F32)?;
        let a = x.shape(0);
        if a.len() < 2 || a.last_dim() != a[a.len() - 2] {
            return x.fail("not of square matrices");
        }
        if !(1..=LogDet::LARGEST).contains(&a.last_dim()) {
            return x.fail(format!("matrices of {}, not of 1 to {}", a.last_dim(), LogDet::LARGEST));
        }
        Ok(Outputs::many([Spec::f32(LogDet::shape_of_results(a)), x.specs[0].clone()]))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        if node.grads[1].is_some() {
            return Ok(Grads::not_differentiable());
        }
        let (dy, inverse) = (node.dy(0), node.outputs[1]);
        let mut shape = dy.shape().to_vec();
        shape.extend([1, 1]);
        Ok(Grads::to([(0, inverse * dy.reshape(Shape::from(&shape[..])))]))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (count, n) = (s.output(0).elements(), s.input(0).last_dim());
        let params = Params { count: count as u32, n: n as u32 };
        let launch = Launch::of("logdet", "forward").params(params).constant("SIZE", (n * n) as u32);
        let size = lanes(n, caps);
        let [rows, elements] = [n.div_ceil(size), (n * n).div_ceil(size)];
        // Copy; Cholesky column by column; logarithms; a lane's columns of X; its elements of the inverse.
        let along = turns_of(n, 0);
        let cholesky = turns_of(n, turns_of(rows, 0) + turns_of(elements, 0));
        let inverse = turns_of(rows, turns_of(n, along)) + turns_of(elements, along);
        let turns = turns_of(elements, 0) + cholesky + along + inverse;
        Ok(vec![launch.turns(turns).groups(count, size, caps)?])
    }

    // The inverse.
    fn exact_outputs(&self) -> &[usize] {
        &[1]
    }

    fn operands(&self) -> Operands {
        Operands { inputs: &["a"], outputs: &["y", "inverse"], scratch: &[] }
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        if s.input(0).len() > 2 { Split::rows(s.input(0)[0], 0b1) } else { None }
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let bytes = s.inputs.iter().chain(s.outputs).map(|x| x.bytes() as u64).sum();
        Cost { bytes, flops: (s.output(1).elements() * s.input(0).last_dim()) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_shapes_are_refused_with_all_of_them() {
        let refused = |shape: &[usize]| {
            let specs = [Spec::f32(Shape::from(shape))];
            LogDet.infer(&Inputs { op: "log det", specs: &specs }).unwrap_err().to_string()
        };
        assert!(refused(&[3, 5, 4]).contains("square") && refused(&[3, 5, 4]).contains("[3, 5, 4]"));
        assert!(refused(&[2, 65, 65]).contains("matrices of 65, not of 1 to 64"));
    }
}
