use super::fft;
use crate::harness::Case;
use crate::harness::recipe::normal;
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    // [B, T, d]: parts of the weight's gradient of one sequence and of several, tiles of channels, the longest.
    let shapes = [
        [1, 1, 1],
        [3, 10, 6],
        [2, 7, 5],
        [9, 13, 3],
        [2, 50, 8],
        [130, 4, 2],
        [2, 200, 45],
        [1, 131, 2],
        [3, 2048, 2],
        [65_537, 1, 1],
    ];
    Case::grid("filter", shapes, |c, [b, t, d]| {
        // The sum over a batch of thousands is of thousands of roundings.
        let absolute = 1e-5 * (b as f64 / 100.0).max(1.0).sqrt();
        c.input(normal([b, t, d]))
            .parameter(normal([t / 2 + 1, 2, d]))
            .op(|_, x| x[0].filter(x[1]))
            .reference(|x| vec![reference(&x[0], &x[1])])
            .tolerance(absolute, 1e-5)
    })
}

/// By the definitions of both transforms.
fn reference(x: &Tensor, weight: &Tensor) -> Vec<f64> {
    let [batch, t, d] = [0, 1, 2].map(|i| x.shape[i]);
    let (mut z, weight) = (fft::spectra(x), weight.to_f64());
    for (row, z) in z.chunks_exact_mut(2 * d).enumerate() {
        let w = &weight[row % (t / 2 + 1) * 2 * d..][..2 * d];
        for c in 0..d {
            [z[c], z[d + c]] = [z[c] * w[c] - z[d + c] * w[d + c], z[c] * w[d + c] + z[d + c] * w[c]];
        }
    }
    fft::sequences(&Tensor::f64([batch, t / 2 + 1, 2, d], z), t)
}
