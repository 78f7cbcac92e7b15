use crate::harness::Case;
use crate::harness::recipe::{distinct, keep, normal};
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    let rows = [[1, 1], [7, 257], [5, 256], [3, 255], [2, 4099], [65_537, 2]];
    let plain = Case::grid("last_axis", rows, |c, s| {
        c.input(normal(s).outliers(3)).op(|_, x| x[0].softmax(1, None)).reference(|x| softmax(x, 1))
    });
    let masked = Case::grid("masked", [[1, 1], [7, 257], [31, 20], [2, 4099]], |c, s| {
        c.input(normal(s).outliers(3))
            .fixed(keep(s, 0.6))
            .op(|_, x| x[0].softmax(1, Some(x[1])))
            .reference(|x| softmax(x, 1))
    });
    let empty = Case::grid("nothing_kept", [[1, 1], [5, 257], [3, 20]], |c, s| {
        c.input(normal(s)).fixed(keep(s, 0.0)).op(|_, x| x[0].softmax(1, Some(x[1]))).reference(|x| softmax(x, 1))
    });
    // Over time, one mask for all interests: a \[B, T, K\], keep \[B, T\].
    let over_time = Case::grid("middle_axis", [[1, 1, 1], [3, 24, 2], [2, 257, 3], [5, 7, 64]], |c, [b, t, k]| {
        c.input(normal([b, t, k]).outliers(2))
            .fixed(keep([b, t], 0.5))
            .op(|_, x| x[0].softmax(1, Some(x[1])))
            .reference(|x| softmax(x, 1))
    });
    let full_mask = Case::grid("middle_axis_full_mask", [[3, 5, 7], [2, 257, 3]], |c, s| {
        c.input(normal(s)).fixed(keep(s, 0.5)).op(|_, x| x[0].softmax(1, Some(x[1]))).reference(|x| softmax(x, 1))
    });
    let first = Case::grid("first_axis", [[257, 3], [20, 1]], |c, s| {
        c.input(distinct(s)).op(|_, x| x[0].softmax(0, None)).reference(|x| softmax(x, 0))
    });
    // All logits far from 0: only what subtracts the maximum survives.
    let far = Case::grid("far_from_zero", [[3, 67]], |c, s| {
        c.input(normal(s).map(|x| x - 5000.0))
            .op(|_, x| x[0].softmax(1, None))
            .reference(|x| softmax(x, 1))
            .tolerance(1e-6, 1e-4)
    });
    [plain, masked, empty, over_time, full_mask, first, far].concat()
}

fn softmax(x: &[Tensor], axis: usize) -> Vec<Vec<f64>> {
    let (outer, n, inner) = x[0].shape.around(axis);
    let logits = x[0].to_f64();
    let kept = |o: usize, c: usize, i: usize| match x.get(1) {
        None => true,
        Some(k) if k.shape == x[0].shape => k.as_u32()[(o * n + c) * inner + i] != 0,
        Some(k) => k.as_u32()[o * n + c] != 0,
    };
    let mut y = vec![0.0; logits.len()];
    for (o, i) in (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))) {
        let places: Vec<usize> = (0..n).filter(|&c| kept(o, c, i)).map(|c| (o * n + c) * inner + i).collect();
        let largest = places.iter().map(|&p| logits[p]).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = places.iter().map(|&p| (logits[p] - largest).exp()).sum();
        places.iter().for_each(|&p| y[p] = (logits[p] - largest).exp() / sum);
    }
    vec![y]
}
