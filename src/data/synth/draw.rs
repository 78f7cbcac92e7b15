//! Distributions over a [`Stream`].

use crate::tensor::philox::Stream;

/// Exponential with mean 1.
pub fn exponential(stream: &mut Stream) -> f64 {
    -(1.0 - stream.uniform()).ln()
}

/// Gamma(`shape`, 1): Marsaglia and Tsang, "A simple method for generating gamma variables", TOMS 2000.
pub fn gamma(stream: &mut Stream, shape: f64) -> f64 {
    if shape < 1.0 {
        let u = 1.0 - stream.uniform();
        return gamma(stream, shape + 1.0) * u.powf(1.0 / shape);
    }
    let d = shape - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = stream.normal();
        let v = (1.0 + c * x).powi(3);
        let u = 1.0 - stream.uniform();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return d * v;
        }
    }
}

/// `n` weights from a symmetric Dirichlet.
pub fn dirichlet(stream: &mut Stream, n: usize, concentration: f64) -> Vec<f64> {
    let mut weights: Vec<f64> = (0..n).map(|_| gamma(stream, concentration)).collect();
    normalise(&mut weights);
    weights
}

/// An index with probability proportional to its weight. The weights must not all be 0.
pub fn choose(stream: &mut Stream, weights: &[f64]) -> usize {
    let mut left = stream.uniform() * weights.iter().sum::<f64>();
    for (i, w) in weights.iter().enumerate() {
        left -= w;
        if left < 0.0 {
            return i;
        }
    }
    // Rounding can leave a remainder after the last positive weight.
    weights.iter().rposition(|w| *w > 0.0).expect("some weight is positive")
}

/// Scales weights to sum to 1.
pub fn normalise(weights: &mut [f64]) {
    let total: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= total);
}

/// `n` normals.
pub fn normals(stream: &mut Stream, n: usize) -> Vec<f64> {
    (0..n).map(|_| stream.normal()).collect()
}
