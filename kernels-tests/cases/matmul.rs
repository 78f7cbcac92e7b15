use crate::harness::Case;
use crate::harness::recipe::{Recipe, normal};
use wgrec::kernels::matmul::{Activation, MatMul};
use wgrec::tensor::Tensor;

const TRANSPOSITIONS: [(bool, bool, &str); 4] =
    [(false, false, "nn"), (false, true, "nt"), (true, false, "tn"), (true, true, "tt")];

pub fn cases() -> Vec<Case> {
    // [batch, m, n, k]
    let batched = [[1, 1, 1, 1], [3, 7, 5, 11], [5, 20, 2, 13], [2, 33, 31, 67]];
    let shared = [[1, 1, 1, 1], [4, 6, 5, 3], [3, 17, 65, 33]];
    let flat = [[1, 1, 257, 3], [1, 129, 65, 37], [1, 64, 64, 64], [1, 255, 3, 17]];
    let mut all = vec![];
    for (ta, tb, name) in TRANSPOSITIONS {
        let op = MatMul::new(ta, tb);
        all.extend(Case::grid(&format!("batched_{name}"), batched, |c, s| product(c, op, s, true)));
        all.extend(Case::grid(&format!("shared_{name}"), shared, |c, s| product(c, op, s, false)));
        all.extend(Case::grid(&format!("flat_{name}"), flat, |c, [_, m, n, k]| {
            let (a, b) = (if ta { [k, m] } else { [m, k] }, if tb { [n, k] } else { [k, n] });
            finish(c.input(normal(a)).input(normal(b)), op, k)
        }));
        // Enough outputs for the wider tiles.
        all.extend(Case::grid(
            &format!("large_{name}"),
            [[29, 257, 258, 11], [67, 131, 127, 18]],
            |c, [batch, m, n, k]| {
                let (a, b) =
                    (if ta { [batch, k, m] } else { [batch, m, k] }, if tb { [batch, n, k] } else { [batch, k, n] });
                finish(c.fixed(normal(a)).fixed(normal(b)), op, k)
            },
        ));
    }
    // A weight's gradient: few outputs, a sum over the whole batch.
    let long = MatMul::new(true, false);
    all.extend(Case::grid("long_sum_tn", [[2049, 3, 5], [5000, 8, 16]], |c, [k, m, n]| {
        finish(c.input(normal([k, m])).input(normal([k, n])), long, k).tolerance(3e-4, 1e-5)
    }));
    for activation in [Activation::None, Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
        let op = MatMul { activation, bias: true, ..MatMul::new(false, true) };
        all.extend(Case::grid(
            &format!("linear_{activation:?}"),
            [[1, 1, 1, 1], [2, 3, 5, 4], [3, 9, 33, 8]],
            |c, [b, m, n, k]| {
                // Sums are odd multiples of 1/32: none is near the kink of relu.
                let coarse = |x: Recipe| x.map(|v| (v * 4.0).round() / 4.0);
                let bias = coarse(normal([n])).map(|v| v + 1.0 / 32.0);
                finish(c.input(coarse(normal([b, m, k]))).input(coarse(normal([n, k]))).input(bias), op, k)
            },
        ));
    }
    all
}

fn product(c: Case, op: MatMul, [batch, m, n, k]: [usize; 4], batched_b: bool) -> Case {
    let a = if op.transpose_a { [batch, k, m] } else { [batch, m, k] };
    let b = if op.transpose_b { vec![n, k] } else { vec![k, n] };
    let b = if batched_b { [vec![batch], b].concat() } else { b };
    finish(c.input(normal(a)).input(normal(b)), op, k)
}

pub(super) fn finish(c: Case, op: MatMul, k: usize) -> Case {
    c.op(move |g, x| g.push(op, x)).reference(move |x| vec![reference(op, x)]).tolerance(2e-6 * (k as f64).sqrt(), 1e-5)
}

fn reference(op: MatMul, x: &[Tensor]) -> Vec<f64> {
    let (a, b) = (x[0].to_f64(), x[1].to_f64());
    let dims = |t: &Tensor| (t.shape[t.shape.len() - 2], t.shape[t.shape.len() - 1]);
    let ((ra, ca), (rb, cb)) = (dims(&x[0]), dims(&x[1]));
    let (m, k) = if op.transpose_a { (ca, ra) } else { (ra, ca) };
    let n = if op.transpose_b { rb } else { cb };
    let shared = x[1].shape.len() == 2;
    let mut y = vec![];
    for batch in 0..a.len() / (m * k) {
        let a = &a[batch * m * k..];
        let b = &b[if shared { 0 } else { batch * k * n }..];
        for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
            let left = |l: usize| a[if op.transpose_a { l * m + i } else { i * k + l }];
            let right = |l: usize| b[if op.transpose_b { j * k + l } else { l * n + j }];
            let sum: f64 = (0..k).map(|l| left(l) * right(l)).sum();
            let z = sum + if op.bias { x[2].to_f64()[j] } else { 0.0 };
            y.push(match op.activation {
                Activation::None => z,
                Activation::Relu => z.max(0.0),
                Activation::Tanh => z.tanh(),
                Activation::Sigmoid => 1.0 / (1.0 + (-z).exp()),
            });
        }
    }
    y
}
