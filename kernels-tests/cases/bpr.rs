use crate::harness::Case;
use crate::harness::recipe::{Recipe, fill, normal, uniform};
use wgrec::kernels::bpr::Bpr;
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    let shapes = [[1, 1], [7, 3], [255, 1], [256, 2], [257, 1], [3, 257], [5003, 1]];
    let plain = Case::grid("weighted", shapes, |c, s| bpr(c, s, normal([s[0]]), uniform([s[0]], 0.1, 2.0)));
    // The last batch of an epoch is short: its missing rows weigh nothing, whatever their scores are.
    let short = Case::grid("short_batch", [[37, 2]], |c, s| {
        bpr(c, s, normal([37]).outliers(5), uniform([37], 0.0, 1.0).map(|w| if w < 0.5 { 0.0 } else { 1.0 }))
    });
    let empty = Case::grid("no_weight", [[5, 2]], |c, s| bpr(c, s, normal([s[0]]), fill([s[0]], 0.0)));
    // Differences of 100: e^100 is infinite in f32.
    let far = Case::grid("far_apart", [[65, 1]], |c, s| bpr(c, s, normal([s[0]]).scale(100.0), fill([s[0]], 1.0)));
    [plain, short, empty, far].concat()
}

fn bpr(c: Case, [b, n]: [usize; 2], positive: Recipe, weight: Recipe) -> Case {
    c.input(positive).input(normal([b, n])).fixed(weight).op(|g, x| g.push(Bpr, x)).reference(|x| vec![vec![loss(x)]])
}

fn loss(x: &[Tensor]) -> f64 {
    let (positive, negative, weight) = (x[0].to_f64(), x[1].to_f64(), x[2].to_f64());
    let n = negative.len() / positive.len();
    let softplus = |d: f64| if d > 30.0 { d + (-d).exp() } else { d.exp().ln_1p() };
    let row = |b: usize| (0..n).map(|j| softplus(negative[b * n + j] - positive[b])).sum::<f64>() / n as f64;
    let total: f64 = (0..positive.len()).map(|b| weight[b] * row(b)).sum();
    let weights: f64 = weight.iter().sum();
    if weights == 0.0 { 0.0 } else { total / weights }
}
