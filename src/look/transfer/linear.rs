//! Logistic regression by Newton's method, to tell two classes of as many rows apart.

use faer::prelude::*;
use faer::{Mat, Side};
use serde::Serialize;

/// The share of rows that a classifier tells right, of those that it was not trained on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    pub value: f64,
    /// The 95% interval of a share (Wilson, 1927).
    pub low: f64,
    pub high: f64,
    /// Rows that were told.
    pub rows: usize,
}

/// Shares of the rows to train on, and to choose the penalty by.
const TRAIN: f64 = 0.7;
const VALID: f64 = 0.1;

/// Penalties that are tried, for each row.
const PENALTIES: [f64; 5] = [1e-4, 1e-3, 1e-2, 1e-1, 1.0];

/// A linear function of standardised rows: weights, the last one constant.
struct Classifier {
    weights: Vec<f64>,
}

/// How well the rows of two classes are told apart by a linear classifier: 70% are trained on, 10% choose the penalty, 20% are told.
/// Rows are in random order, equally many of both.
pub fn tell(classes: [Vec<Vec<f64>>; 2]) -> Accuracy {
    let n = classes[0].len();
    let (train, valid) = ((TRAIN * n as f64).round() as usize, ((TRAIN + VALID) * n as f64).round() as usize);
    let part = |range: std::ops::Range<usize>| -> Vec<(&[f64], f64)> {
        let of = |label: usize| classes[label][range.clone()].iter().map(move |row| (&row[..], label as f64));
        of(0).chain(of(1)).collect()
    };
    let (train, valid, test) = (part(0..train), part(train..valid), part(valid..n));
    let scale = Scale::of(&train);
    let [train, valid, test] = [train, valid, test].map(|rows| scale.scaled(&rows));
    let fitted = PENALTIES.map(|penalty| Classifier::fit(&train, penalty));
    let right = |classifier: &Classifier, rows: &Rows| {
        (0..rows.y.len()).filter(|&row| (classifier.score(&rows.x, row) > 0.0) == (rows.y[row] > 0.5)).count()
    };
    // Of equally good ones the one with the greatest penalty.
    let best = fitted.iter().max_by_key(|classifier| right(classifier, &valid)).expect("some penalty");
    Accuracy::of(right(best, &test), test.y.len())
}

impl Accuracy {
    fn of(right: usize, rows: usize) -> Accuracy {
        const Z: f64 = 1.959963984540054;
        let (n, value) = (rows as f64, right as f64 / rows as f64);
        let middle = (value + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (value * (1.0 - value) / n + Z * Z / (4.0 * n * n)).sqrt();
        Accuracy { value, low: (middle - half).max(0.0), high: (middle + half).min(1.0), rows }
    }
}

/// Rows with a constant at their end, and their classes.
struct Rows {
    x: Mat<f64>,
    y: Vec<f64>,
}

/// Means and standard deviations of columns.
struct Scale {
    mean: Vec<f64>,
    spread: Vec<f64>,
}

impl Scale {
    fn of(rows: &[(&[f64], f64)]) -> Scale {
        let (n, width) = (rows.len() as f64, rows[0].0.len());
        let column = |at: usize| rows.iter().map(move |(row, _)| row[at]);
        let mean: Vec<f64> = (0..width).map(|at| column(at).sum::<f64>() / n).collect();
        let spread = |at: usize| (column(at).map(|x| (x - mean[at]).powi(2)).sum::<f64>() / n).sqrt();
        // A column that is constant says nothing.
        let spread = (0..width).map(|at| if spread(at) > 1e-12 { spread(at) } else { f64::INFINITY }).collect();
        Scale { mean, spread }
    }

    fn scaled(&self, rows: &[(&[f64], f64)]) -> Rows {
        let width = self.mean.len();
        let value = |row: usize, at: usize| match at == width {
            true => 1.0,
            false => (rows[row].0[at] - self.mean[at]) / self.spread[at],
        };
        Rows { x: Mat::from_fn(rows.len(), width + 1, value), y: rows.iter().map(|(_, y)| *y).collect() }
    }
}

impl Classifier {
    /// Least mean loss plus `penalty` / 2 times the squares of the weights, the constant's too.
    fn fit(rows: &Rows, penalty: f64) -> Classifier {
        let (n, width) = (rows.x.nrows(), rows.x.ncols());
        let mut classifier = Classifier { weights: vec![0.0; width] };
        for _ in 0..STEPS {
            let p: Vec<f64> = (0..n).map(|row| sigmoid(classifier.score(&rows.x, row))).collect();
            let weighted = Mat::from_fn(n, width, |row, at| rows.x[(row, at)] * p[row] * (1.0 - p[row]) / n as f64);
            let mut hessian = rows.x.transpose() * &weighted;
            (0..width).for_each(|at| hessian[(at, at)] += penalty);
            let residual = Mat::from_fn(n, 1, |row, _| (p[row] - rows.y[row]) / n as f64);
            let mut gradient = rows.x.transpose() * &residual;
            (0..width).for_each(|at| gradient[(at, 0)] += penalty * classifier.weights[at]);
            let Ok(factor) = hessian.llt(Side::Lower) else { break };
            let step = factor.solve(&gradient);
            let mut most = 0.0f64;
            for (at, weight) in classifier.weights.iter_mut().enumerate() {
                *weight -= step[(at, 0)];
                most = most.max(step[(at, 0)].abs());
            }
            if most < 1e-8 {
                break;
            }
        }
        classifier
    }

    fn score(&self, x: &Mat<f64>, row: usize) -> f64 {
        self.weights.iter().enumerate().map(|(at, weight)| weight * x[(row, at)]).sum()
    }
}

/// Newton's steps, at most: with a penalty a few are enough.
const STEPS: usize = 30;

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::philox::Stream;

    /// Rows of two normal distributions whose means are `apart`.
    fn classes(apart: f64, n: usize) -> [Vec<Vec<f64>>; 2] {
        let mut stream = Stream::new(3, "classes", 0);
        [0.0, apart].map(|mean| (0..n).map(|_| (0..4).map(|_| mean + stream.normal()).collect()).collect())
    }

    #[test]
    fn what_is_apart_is_told_and_what_is_not_is_not() {
        // In four dimensions means that are 1 apart are 2 standard deviations apart: 84% can be told.
        let found = tell(classes(1.0, 4000));
        assert!((found.value - 0.8413).abs() < 0.02 && found.rows == 1600, "{found:?}");
        assert!(found.low < found.value && found.value < found.high);
        let none = tell(classes(0.0, 4000));
        assert!(none.low < 0.5 && none.high > 0.5, "{none:?}");
        assert_eq!(tell(classes(20.0, 100)).value, 1.0);
    }
}
