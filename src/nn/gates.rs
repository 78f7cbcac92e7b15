//! Experts that tasks share, each by a gate of its own: Ma et al., "Modeling task relationships in multi-task learning with
//! multi-gate mixture-of-experts" (KDD 2018).

use crate::graph::Var;
use crate::kernels::matmul::Activation;

/// The experts' outputs relu(W_e x + b_e) of rows \[R, d\], \[R, E, j\]; `weight` \[E j, d\] and `bias` \[E j\] hold one after the other.
pub fn experts<'g>(rows: Var<'g>, weight: Var<'g>, bias: Var<'g>, count: usize) -> Var<'g> {
    let j = weight.shape()[0] / count;
    rows.linear(weight, Some(bias), Activation::Relu).reshape([rows.shape()[0], count, j])
}

/// A task's shares of the experts, softmax(`gate` x) \[R, E\], without bias, and the mean of their `outputs` \[R, E, j\] by these,
/// \[R, j\].
pub fn mixed<'g>(rows: Var<'g>, outputs: Var<'g>, gate: Var<'g>) -> [Var<'g>; 2] {
    let [r, count] = [0, 1].map(|axis| outputs.shape()[axis]);
    let shares = rows.matmul_t(gate).softmax(1, None);
    [shares, (outputs * shares.reshape([r, count, 1])).sum(1)]
}
