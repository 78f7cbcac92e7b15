//! Several interests of a user, of which a training row is made by its target. Ranking knows no target: there every item is scored
//! by the interest that scores it highest ([`super::Output::scores`]).

use crate::graph::Var;
use crate::tensor::Tensor;

/// A training row \[R, d\] for each user's `interests` \[R, K, d\] and target \[R, d\]: the interest nearest to the target, or their
/// mean by [`label_aware`] attention with this power, over those where `used` \[R, K\] is 1 and not 0; all without it. Interests
/// that are not used repeat the first.
pub fn row<'g>(interests: Var<'g>, target: Var<'g>, power: Option<f64>, used: Option<Var<'g>>) -> Var<'g> {
    let [r, k, d] = [0, 1, 2].map(|axis| interests.shape()[axis]);
    let products = (interests * target.reshape([r, 1, d])).sum(2);
    let weights = match power {
        None => nearest(products),
        Some(power) => label_aware(products, power, used),
    };
    weights.reshape([r, 1, k]).matmul(interests).reshape([r, d])
}

/// 1 where the products \[R, K\] of a target with interests are largest, and 0 elsewhere; of equals the first has it. No gradient
/// passes through it.
pub fn nearest<'g>(products: Var<'g>) -> Var<'g> {
    let g = products.graph();
    let [r, k] = [products.shape()[0], products.shape()[1]];
    // Ranks that fall from interest to interest tell equals apart.
    let ranks = g.constant(Tensor::f32([1, k], (0..k).map(|i| (k - i) as f32).collect()));
    let first = |v: Var<'g>| v.max_over(1).reshape([r, 1]);
    let best = products.equal(first(products)) * ranks;
    g.keep_exact(best);
    best.equal(first(best))
}

/// MIND's label-aware attention, \[R, K\]: softmax over k of (v_k . target)^`power`, as printed and as released; a negative product
/// keeps its sign, where such a power may have no value.
fn label_aware<'g>(products: Var<'g>, power: f64, used: Option<Var<'g>>) -> Var<'g> {
    let g = products.graph();
    let logits = products.sign() * products.abs().log().scale(power).min(g.scalar(LARGEST)).exp();
    let logits = used.map_or(logits, |used| masked(logits, used));
    logits.softmax(1, None)
}

/// The logarithm of the largest logit of [`label_aware`]: far above any share that a softmax tells apart, far below what
/// [`masked`] subtracts.
const LARGEST: f64 = 8.0;

/// `logits`, and so much less where `used` is 0 and not 1 that a softmax has exactly 0 there. It fits in an f16.
pub fn masked<'g>(logits: Var<'g>, used: Var<'g>) -> Var<'g> {
    logits - (used.constant_like(1.0) - used).scale(3e4)
}
