use crate::harness::Case;
use crate::harness::recipe::{indices, normal, uniform};
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    let shapes = [
        [1, 2, 1],
        [7, 257, 5],
        [33, 70, 20],
        [64, 33, 64],
        [3, 31, 129],
        [129, 5, 3],
        [2, 65_537, 4],
        [16_400, 5, 3],
        [80, 60, 512],
    ];
    let plain = Case::grid("rows_items_width", shapes, |c, s| over(c, s, 0..s[1], false));
    let biased =
        Case::grid("bias", [[1, 2, 1], [33, 70, 20], [40, 257, 65], [5, 9001, 3]], |c, s| over(c, s, 0..s[1], true));
    // Padding and mask tokens are rows of the table but no classes; targets among them weigh nothing.
    let some =
        Case::grid("some_classes", [[37, 41, 9], [5, 300, 17], [1030, 4100, 2]], |c, s| over(c, s, 1..s[1] - 1, true));
    let empty = Case::grid("no_weight", [[5, 7, 3]], |c, s| {
        c.input(normal([s[0], s[2]]))
            .input(normal([s[1], s[2]]))
            .fixed(indices([s[0]], s[1]))
            .fixed(uniform([s[0]], 0.0, 1.0).map(|_| 0.0))
            .op(|_, x| x[0].softmax_loss(x[1], None, x[2], x[3], 0..7))
            .reference(|_| vec![vec![0.0]])
    });
    let far = Case::grid("far_apart", [[9, 50, 8]], |c, s| {
        c.input(normal([s[0], s[2]]).scale(6.0))
            .input(normal([s[1], s[2]]).scale(6.0))
            .fixed(indices([s[0]], s[1]))
            .fixed(uniform([s[0]], 0.1, 2.0))
            .op(|_, x| x[0].softmax_loss(x[1], None, x[2], x[3], 0..50))
            .reference(|x| vec![vec![loss(x, 0..50)]])
    });
    [plain, biased, some, empty, far].concat()
}

fn over(c: Case, [rows, items, d]: [usize; 3], classes: std::ops::Range<usize>, bias: bool) -> Case {
    let c = c
        .input(normal([rows, d]))
        .input(normal([items, d]))
        .fixed(indices([rows], items))
        .fixed(uniform([rows], 0.1, 2.0).map(|w| if w < 0.5 { 0.0 } else { w }));
    let c = if bias { c.input(normal([items])) } else { c };
    let of = classes.clone();
    c.op(move |_, x| x[0].softmax_loss(x[1], x.get(4).copied(), x[2], x[3], of.clone()))
        .reference(move |x| vec![vec![loss(x, classes.clone())]])
}

fn loss(x: &[Tensor], classes: std::ops::Range<usize>) -> f64 {
    let (rows, table, targets, weight) = (x[0].to_f64(), x[1].to_f64(), x[2].as_u32(), x[3].to_f64());
    let bias = x.get(4).map(Tensor::to_f64);
    let d = x[0].shape[1];
    let (mut sum, mut total) = (0.0, 0.0);
    for (r, &target) in targets.iter().enumerate().filter(|(_, t)| classes.contains(&(**t as usize))) {
        let logit = |j: usize| {
            (0..d).map(|c| rows[r * d + c] * table[j * d + c]).sum::<f64>() + bias.as_ref().map_or(0.0, |b| b[j])
        };
        let m = classes.clone().map(logit).fold(f64::NEG_INFINITY, f64::max);
        let log_sum = m + classes.clone().map(|j| (logit(j) - m).exp()).sum::<f64>().ln();
        sum += weight[r] * (log_sum - logit(target as usize));
        total += weight[r];
    }
    if total == 0.0 { 0.0 } else { sum / total }
}
