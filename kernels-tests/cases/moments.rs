use crate::harness::Case;
use crate::harness::recipe::{Recipe, fill, normal, uniform};
use wgrec::kernels::moments::Moments;
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    // [B, T, K, d]
    let shapes = [[1, 1, 1, 1], [3, 24, 2, 64], [2, 7, 3, 17], [1, 257, 1, 5], [2, 5, 1, 257], [65, 3, 2, 4]];
    // Weights that add up to about 1, as a softmax gives them, but not exactly: the rule must not rely on it.
    let any = Case::grid("any_weights", shapes, |c, [b, t, k, d]| {
        moments(c, uniform([b, t, k], 0.0, 2.0 / t as f64), normal([b, t, d]))
    });
    // A small spread around a large mean: E[h^2] - E[h]^2 would have no digit left.
    let far = Case::grid("large_mean", [[2, 16, 2, 16]], |c, [b, t, k, d]| {
        moments(c, fill([b, t, k], 1.0 / t as f64), normal([b, t, d]).map(|x| 1000.0 + x))
            .tolerance(1e-4, 2e-4)
            .needs_f32()
    });
    [any, far].concat()
}

fn moments(c: Case, a: Recipe, h: Recipe) -> Case {
    c.input(a)
        .input(h)
        .ops(|g, x| g.try_push(Moments, x).expect("the shapes fit"))
        .reference(|x| reference(&x[0], &x[1]))
        .tolerance(2e-6, 1e-5)
}

fn reference(a: &Tensor, h: &Tensor) -> Vec<Vec<f64>> {
    let ([b, t, k], d) = ([a.shape[0], a.shape[1], a.shape[2]], h.shape[2]);
    let (a, h) = (a.to_f64(), h.to_f64());
    let (mut means, mut variances) = (vec![], vec![]);
    for place in 0..b * k * d {
        let (batch, j, c) = (place / (k * d), place / d % k, place % d);
        let (weight, value) = (|s: usize| a[(batch * t + s) * k + j], |s: usize| h[(batch * t + s) * d + c]);
        let mean: f64 = (0..t).map(|s| weight(s) * value(s)).sum();
        means.push(mean);
        variances.push((0..t).map(|s| weight(s) * (value(s) - mean).powi(2)).sum());
    }
    vec![means, variances]
}
