//! Several interests of a user, of which a training row is made by its target. Ranking knows no target: there every item is scored
//! by the interest that scores it highest ([`super::Output::scores`]).

use super::History;
use super::scores::unit;
use crate::graph::Var;
use crate::tensor::Tensor;

/// What a training row is of a user's interests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// None: the interest nearest to the target. Else the mean of all, by MIND's label-aware attention with this power.
    pub power: Option<f64>,
    /// Interests and items are scored with length 1.
    pub cosine: bool,
}

impl Choice {
    /// The rows \[R, d\] of `interests` \[R, K, d\] for the targets \[R, d\]. `used` \[R, K\] is 0 at an interest that a user does not
    /// have, which repeats the first one, else 1. None: all users have all.
    pub fn row<'g>(&self, interests: Var<'g>, target: Var<'g>, used: Option<Var<'g>>) -> Var<'g> {
        let [interests, target] = [interests, target].map(|v| if self.cosine { unit(v) } else { v });
        let [r, d] = [target.shape()[0], target.shape()[1]];
        let products = (interests * target.reshape([r, 1, d])).sum(2);
        let weights = match self.power {
            None => nearest(products),
            Some(power) => label_aware(products, power, used),
        };
        weighted_sum(interests, weights)
    }
}

/// The sum of `interests` \[R, K, d\] by `weights` \[R, K\]: \[R, d\].
pub fn weighted_sum<'g>(interests: Var<'g>, weights: Var<'g>) -> Var<'g> {
    let [r, k, d] = [0, 1, 2].map(|axis| interests.shape()[axis]);
    weights.reshape([r, 1, k]).matmul(interests).reshape([r, d])
}

/// `interests` \[R, K, d\] with the first one also where `used` \[R, K\] is 0 and not 1, and they are 0: the largest product with an
/// item is then that of the interests that a user has.
pub fn repeated<'g>(interests: Var<'g>, used: Var<'g>) -> Var<'g> {
    let [r, k] = [0, 1].map(|axis| interests.shape()[axis]);
    let unused = (used.constant_like(1.0) - used).reshape([r, k, 1]);
    interests + interests.slice(1, 0, 1) * unused
}

/// MIND's number of interests, max(1, min(K, log2 n)) of n items, log2 n rounded down: 1 for each interest that a user has, else 0,
/// \[B, K\]. Number k, counted from 1, takes 2^k items; the first takes none.
pub fn used_by_length<'g>(history: &History<'g>, k: usize) -> Var<'g> {
    let items = history.items.nonzero().sum(1).reshape([history.items.shape()[0], 1]);
    let least = (1..=k).map(|k| if k == 1 { 0.0 } else { (k.min(64) as f32).exp2() });
    items.greater(items.graph().constant(Tensor::f32([1, k], least.map(|least| least - 0.5).collect())))
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
    let r = products.shape()[0];
    // Taken apart from the largest, so that a bound on that one leaves their order, and their shares, as they are.
    let logs = products.abs().max(g.scalar(SMALLEST)).log().scale(power);
    let most = logs.max_over(1).reshape([r, 1]);
    let logits = products.sign() * (logs - most).exp() * most.min(g.scalar(LARGEST)).exp();
    let logits = used.map_or(logits, |used| masked(logits, used));
    logits.softmax(1, None)
}

/// The logarithm of the largest logit of [`label_aware`]: far below what [`masked`] subtracts.
const LARGEST: f64 = 8.0;

/// Products are taken to be as far from 0, where a logarithm has no value.
const SMALLEST: f64 = 1e-30;

/// `logits`, and so much less where `used` is 0 and not 1 that a softmax has exactly 0 there. It fits in an f16.
pub fn masked<'g>(logits: Var<'g>, used: Var<'g>) -> Var<'g> {
    logits - (used.constant_like(1.0) - used).scale(3e4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Device, RunOptions};
    use crate::graph::Graph;
    use crate::graph::plan::Options;

    /// The row of a user with three interests by a target; of the third interest, the user has none.
    fn row(choice: Choice, interests: [f32; 6], target: [f32; 2]) -> Vec<f64> {
        let g = Graph::new();
        let used = g.constant(Tensor::f32([1, 3], vec![1.0, 1.0, 0.0]));
        let [interests, target] = [Tensor::f32([1, 3, 2], interests.to_vec()), Tensor::f32([1, 2], target.to_vec())];
        g.result("row", choice.row(g.constant(interests), g.constant(target), Some(used)));
        let (device, _) = Device::open("cpu").unwrap();
        let store = device.store(&[]).unwrap();
        let plan = device.plan(&g, Options::default()).unwrap();
        let mut runner = device.compile(&plan, &store, RunOptions::default()).unwrap();
        runner.run().unwrap();
        runner.read("row").unwrap().to_f64()
    }

    #[test]
    fn the_nearest_is_the_first_of_equals_and_by_cosine_where_scores_are() {
        let by = |cosine, interests| row(Choice { power: None, cosine }, interests, [1.0, 0.0]);
        assert_eq!(by(false, [1.0, 7.0, 1.0, 2.0, 1.0, 7.0]), [1.0, 7.0]);
        assert_eq!(by(false, [3.0, 4.0, 2.0, 0.0, 3.0, 4.0]), [3.0, 4.0]);
        let near = by(true, [3.0, 4.0, 2.0, 0.0, 3.0, 4.0]);
        assert!((near[0] - 1.0).abs() < 1e-6 && near[1].abs() < 1e-6, "{near:?}");
    }

    #[test]
    fn label_aware_attention_leaves_out_what_a_user_has_not_and_keeps_signs() {
        // Products 2 and -1: softmax of 4 and -1 by power 2.
        let soft =
            |power| row(Choice { power: Some(power), cosine: false }, [2.0, 0.0, -1.0, 5.0, 2.0, 0.0], [1.0, 0.0]);
        let share = 1.0 / (1.0 + (-5.0f64).exp());
        let (got, want) = (soft(2.0), [3.0 * share - 1.0, 5.0 - 5.0 * share]);
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-5), "{got:?} {want:?}");
        // The nearest is the limit of a large power, and no power overflows.
        assert_eq!(soft(100.0), [2.0, 0.0]);
        // Among products whose powers are all too large too, and where all are 0.
        let of = |products: [f32; 2], power| {
            let interests = [products[0], 1.0, products[1], 2.0, products[0], 1.0];
            row(Choice { power: Some(power), cosine: false }, interests, [1.0, 0.0])
        };
        assert_eq!(of([60.0, 70.0], 2.0), [70.0, 2.0]);
        assert_eq!(of([1.5, 1.2], 100.0), [1.5, 1.0]);
        assert_eq!(of([0.0, 0.0], 2.0), [0.0, 1.5]);
    }
}
