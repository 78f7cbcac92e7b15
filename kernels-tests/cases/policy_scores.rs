use crate::harness::Case;
use crate::harness::recipe::{Recipe, normal};
use wgrec::graph::{Graph, Var};
use wgrec::kernels::policy_scores::{PolicyChoice, PolicyScores};
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    // [rows, interests, items, width]
    let shapes =
        [[1, 1, 1, 1], [5, 3, 37, 10], [3, 4, 16, 64], [2, 7, 33, 65], [70, 2, 17, 3], [2, 2, 300, 5], [4, 9, 5, 2]];
    let score = |own: bool| {
        move |c: Case, s: [usize; 4]| {
            case(c, s, own, |g, x| g.push(PolicyScores, x), |(_, score)| score).tolerance(2e-6, 1e-5)
        }
    };
    let choice = |c: Case, s: [usize; 4]| {
        case(c, s, false, |g, x| g.push(PolicyChoice, x), |(interest, _)| interest as f64).hides_nan()
    };
    [
        Case::grid("shared", shapes, score(false)),
        Case::grid("own", shapes, score(true)),
        Case::grid("choice", shapes, choice),
    ]
    .concat()
}

fn case(
    c: Case,
    [r, k, n, w]: [usize; 4],
    own: bool,
    op: impl for<'g> Fn(&'g Graph, &[Var<'g>]) -> Var<'g> + Clone + Send + Sync + 'static,
    take: fn((usize, f64)) -> f64,
) -> Case {
    // Biases that decide, so that no two logits are nearly equal. Row r has none, or the interests 0, 1 + r, 2 (1 + r), ..
    let exactly = |shape: &[usize], value: &dyn Fn(usize) -> f64| {
        Recipe::exactly(Tensor::f64(shape, (0..shape.iter().product()).map(value).collect()))
    };
    let bias = exactly(&[k], &|j| 40.0 * ((j * 5 + 2) % 7) as f64);
    let used = exactly(&[r, k], &|i| (i / k % 4 != 3 && i % k % (1 + i / k) == 0) as u32 as f64);
    let items = if own { vec![r, n, w] } else { vec![n, w] };
    c.fixed(normal([r, k, n]))
        .fixed(normal([r, k, w]))
        .fixed(normal(items))
        .fixed(normal([w, k]).scale(1.0 / (w as f64).sqrt()))
        .fixed(bias)
        .fixed(normal([r, k]))
        .fixed(used)
        .op(op)
        .reference(move |x| {
            let x: Vec<Vec<f64>> = x.iter().map(Tensor::to_f64).collect();
            let of = |row: usize, item: usize| {
                let has: Vec<usize> = (0..k).filter(|j| x[6][row * k + j] != 0.0).collect();
                let product = |j: usize| x[0][(row * k + j) * n + item];
                let total: f64 = has.iter().map(|&j| product(j).exp()).sum();
                let hidden = |l: usize| {
                    let context: f64 =
                        has.iter().map(|&j| product(j).exp() / total * x[1][(row * k + j) * w + l]).sum();
                    (context + x[2][(if own { row * n } else { 0 } + item) * w + l]).max(0.0)
                };
                let logit = |j: usize| x[4][j] + (0..w).map(|l| hidden(l) * x[3][l * k + j]).sum::<f64>();
                let best = has.iter().copied().reduce(|a, b| if logit(b) > logit(a) { b } else { a });
                best.map_or((k, 0.0), |j| (j, product(j) + x[5][row * k + j]))
            };
            vec![(0..r * n).map(|i| take(of(i / n, i % n))).collect()]
        })
}
