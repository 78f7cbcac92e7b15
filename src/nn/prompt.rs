//! The prompt factor gate of DPCPL (papers/dpcpl, equations 5 to 9): from m vectors that tell of a user, prompt tokens for each layer
//! of a network. Factors are averages of the vectors; a layer's prompt is an average of its own N factors and N that all share.

use crate::graph::Var;

/// Equations 5 and 6: K factors of q \[B, m, d\], by weight \[K m, m d\]. The weights of the vectors in each, A \[B, K, m\], and the
/// factors E = A q, \[B, K, d\].
pub fn factors<'g>(q: Var<'g>, weight: Var<'g>) -> [Var<'g>; 2] {
    let [b, m, d] = [0, 1, 2].map(|i| q.shape()[i]);
    let shares = q.reshape([b, m * d]).matmul_t(weight).reshape([b, weight.shape()[0] / m, m]).softmax(2, None);
    [shares, shares.matmul(q)]
}

/// Equations 7 and 8: one layer's prompt, of its own factors and the shared ones, N each, `phi` \[B, 2 N, d\], by weight
/// \[2 N, 2 N d\]. The shares beta \[B, 2 N\] and the prompt p, \[B, d\].
pub fn gate<'g>(phi: Var<'g>, weight: Var<'g>) -> [Var<'g>; 2] {
    let [b, n, d] = [0, 1, 2].map(|i| phi.shape()[i]);
    let shares = phi.reshape([b, n * d]).matmul_t(weight).softmax(1, None);
    [shares, shares.reshape([b, 1, n]).matmul(phi).reshape([b, d])]
}

/// Equation 9: C tokens \[B, C, d\] of a prompt p \[B, d\], by weight \[C d, d\].
pub fn tokens<'g>(p: Var<'g>, weight: Var<'g>) -> Var<'g> {
    let [b, d] = [0, 1].map(|i| p.shape()[i]);
    p.matmul_t(weight).reshape([b, weight.shape()[0] / d, d])
}
