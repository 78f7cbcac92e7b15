//! The coding rate of a set of vectors (Yu et al., NeurIPS 2020), DPCPL's measure of how diverse prompts are.

use crate::graph::Var;
use crate::tensor::Tensor;

/// 1/2 log det(I + d / (`count` `eps2`) E E^T) of each E \[n, d\] of `e` \[B, n, d\]: \[B\] (papers/dpcpl, equations 10 and 11). E E^T
/// and E^T E have the same determinant then, and the smaller one is taken: at most 64 of n or d may be.
pub fn coding_rate(e: Var, count: f64, eps2: f64) -> Var {
    let [_, n, d] = [0, 1, 2].map(|i| e.shape()[i]);
    let gram = if n <= d { e.matmul_t(e) } else { e.t_matmul(e) };
    let size = n.min(d);
    let one = (0..size * size).map(|i| if i % (size + 1) == 0 { 1.0 } else { 0.0 }).collect();
    let one = e.graph().constant(Tensor::f32([size, size], one));
    (one + gram.scale(d as f64 / (count * eps2))).log_det().scale(0.5)
}
