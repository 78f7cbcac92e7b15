use crate::harness::Case;
use crate::harness::recipe::normal;
use wgrec::kernels::complex_linear::ComplexLinear;
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    // [B, F, k, a, b]: less than a tile of rows and several, several parts of the weight's gradient, blocks of one channel.
    let shapes =
        [[1, 1, 1, 1, 1], [2, 4, 3, 1, 2], [2, 5, 2, 4, 4], [3, 7, 4, 5, 3], [40, 26, 2, 8, 7], [9, 2, 1, 33, 20]];
    let affine = Case::grid("affine", shapes, |c, [batch, f, k, a, b]| {
        c.input(normal([batch, f, 2, k * a]))
            .parameter(normal([k, 2, a, b]).scale(1.0 / (2.0 * a as f64).sqrt()))
            .parameter(normal([2, k * b]))
            .op(|g, x| g.push(ComplexLinear { affine: true, relu: false }, &[x[0], x[1], x[2]]))
            .reference(|x| vec![reference(&x[0], &x[1], Some(&x[2]))])
            .tolerance(1e-5, 1e-5)
    });
    let plain = Case::grid("plain", [[3, 7, 4, 5, 3]], |c, [batch, f, k, a, b]| {
        c.input(normal([batch, f, 2, k * a]))
            .parameter(normal([k, 2, a, b]))
            .op(|g, x| g.push(ComplexLinear { affine: false, relu: false }, &[x[0], x[1]]))
            .reference(|x| vec![reference(&x[0], &x[1], None)])
            .tolerance(1e-5, 1e-5)
    });
    // Whole numbers and a half: no sum is near the kink.
    let relu = Case::grid("relu", [[3, 7, 4, 5, 3], [2, 26, 2, 8, 8]], |c, [batch, f, k, a, b]| {
        c.input(normal([batch, f, 2, k * a]).map(f64::round))
            .parameter(normal([k, 2, a, b]).map(f64::round))
            .parameter(normal([2, k * b]).map(|x| x.round() + 0.5))
            .op(|g, x| g.push(ComplexLinear { affine: true, relu: true }, &[x[0], x[1], x[2]]))
            .reference(|x| vec![reference(&x[0], &x[1], Some(&x[2])).into_iter().map(|y| y.max(0.0)).collect()])
            .tolerance(1e-5, 1e-5)
    });
    [affine, plain, relu].concat()
}

fn reference(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Vec<f64> {
    let ([k, a, b], rows) = ([0, 2, 3].map(|i| weight.shape[i]), x.shape[0] * x.shape[1]);
    let (x, weight, bias) = (x.to_f64(), weight.to_f64(), bias.map(|b| b.to_f64()));
    let mut y = vec![0.0; rows * 2 * k * b];
    for r in 0..rows {
        for c in 0..k * b {
            let (n, j) = (c / b, c % b);
            let (mut re, mut im) = bias.as_ref().map_or((0.0, 0.0), |bias| (bias[c], bias[k * b + c]));
            for i in 0..a {
                let [xr, xi] = [0, 1].map(|part| x[(r * 2 + part) * k * a + n * a + i]);
                let [wr, wi] = [0, 1].map(|part| weight[((n * 2 + part) * a + i) * b + j]);
                re += xr * wr - xi * wi;
                im += xr * wi + xi * wr;
            }
            (y[r * 2 * k * b + c], y[(r * 2 + 1) * k * b + c]) = (re, im);
        }
    }
    y
}
