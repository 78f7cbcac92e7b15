use crate::harness::Case;
use crate::harness::recipe::normal;
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    // [B, T, d, n, h]
    let shapes = [
        [1, 1, 1, 1, 1],
        [3, 5, 7, 4, 2],
        [2, 20, 64, 16, 5],
        [40, 6, 8, 3, 6],
        [33, 4, 65, 7, 1],
        [70, 2, 3, 2, 2],
        [2, 257, 3, 2, 9],
    ];
    Case::grid("over_time", shapes, |c, [b, t, d, n, h]| {
        c.input(normal([b, t, d]))
            .input(normal([n, h, d]).scale(1.0 / ((h * d) as f64).sqrt()))
            .input(normal([n]))
            .op(|_, x| x[0].conv(x[1], x[2]))
            .reference(|x| vec![reference(&x[0], &x[1], &x[2])])
            .tolerance(2e-6, 1e-5)
    })
}

fn reference(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Vec<f64> {
    let ([batch, t, d], [n, h]) = ([x.shape[0], x.shape[1], x.shape[2]], [weight.shape[0], weight.shape[1]]);
    let (x, weight, bias) = (x.to_f64(), weight.to_f64(), bias.to_f64());
    let mut y = vec![];
    for b in 0..batch {
        for place in 0..t + 1 - h {
            for f in 0..n {
                let terms = (0..h * d).map(|e| (e / d, e % d));
                let term = |(i, c)| x[(b * t + place + i) * d + c] * weight[(f * h + i) * d + c];
                y.push(bias[f] + terms.map(term).sum::<f64>());
            }
        }
    }
    y
}
