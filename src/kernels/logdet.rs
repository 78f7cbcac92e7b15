//! The logarithm of the determinant of small symmetric positive definite matrices.

use super::example::{Example, Scale, UNIT};
use super::launch::{group_size, turns_of};
use super::parallel::par_rows2;
use super::real::Real;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::tensor::Shape;
use crate::tensor::Tensor;
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// y = log det A = 2 sum_i log l_ii by Cholesky's A = L L^T, of each A \[.., n, n\], symmetric and positive definite, n at most
/// 64. Outputs y \[..\] and the inverses \[.., n, n\], for the backward pass alone: dA = dy A^-1. Only the lower triangle of A is
/// read. The results for a matrix that is not positive definite mean nothing.
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

    fn twin<T: Real>(&self, args: &Args<T>) {
        let (a, n) = (args.f("a"), args.shape("a").last_dim());
        par_rows2((args.out("y"), 1), (args.out("inverse"), n * n), n * n * n, |b, y, inverse| {
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
            // The inverse X of L: x_ij at (j, i), above the diagonal.
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

    fn operands(&self) -> Operands {
        Operands::new().f32("a", ".. n n").out_f32("y", "..").out_f32("inverse", ".. n n")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if !(1..=LogDet::LARGEST).contains(&x.extent("n")) {
            return x.fail(format!("matrices of {}, not of 1 to {}", x.extent("n"), LogDet::LARGEST));
        }
        Ok(x.declared())
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        if node.grad("inverse").is_some() {
            return Ok(Grads::not_differentiable());
        }
        let (dy, inverse) = (node.dy("y"), node.output("inverse"));
        let mut shape = dy.shape().to_vec();
        shape.extend([1, 1]);
        Ok(Grads::to([("a", inverse * dy.reshape(Shape::from(&shape[..])))]))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (count, n) = (s.output("y").elements(), s.input("a").last_dim());
        let params = Params { count: count as u32, n: n as u32 };
        let launch = Launch::of("logdet", "forward").params(params).constant("SIZE", (n * n) as u32);
        let size = group_size(n, caps);
        let [rows, elements] = [n.div_ceil(size), (n * n).div_ceil(size)];
        // Copy; Cholesky column by column; logarithms; an invocation's columns of X; its elements of the inverse.
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

    fn split(&self, s: &Shapes) -> Option<Split> {
        if s.input("a").len() > 2 { s.rows(s.input("a")[0], ["a"]) } else { None }
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: (s.output("inverse").elements() * s.input("a").last_dim()) as u64 }
    }
}

/// Small matrices; by their gradient, which is their inverse, those of the products that they are made of.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [b, n] = scale.pick([4096, 16], [5, 6]);
    Example::new("log det", format!("{b}x{n}x{n}"), move |g, x| {
        let one = Tensor::f32([n, n], (0..n * n).map(|i| (i % (n + 1) == 0) as u32 as f32).collect());
        Ok(vec![(x[0].matmul_t(x[0]) + g.constant(one)).log_det()])
    })
    .f32([b, n, n], UNIT)
    .timed(&["log det"])
    .both(&[0], &["elementwise", "matmul"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::infer;
    use crate::tensor::{Shape, Spec};

    #[test]
    fn wrong_shapes_are_refused_with_all_of_them() {
        let refused = |shape: &[usize]| {
            let specs = [Spec::f32(Shape::from(shape))];
            infer(&LogDet, "log det", &specs).unwrap_err().to_string()
        };
        assert!(refused(&[3, 5, 4]).contains("a is [3, 5, 4], expected [.., n, n]"));
        assert!(refused(&[2, 65, 65]).contains("matrices of 65, not of 1 to 64"));
    }
}
