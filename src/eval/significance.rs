//! Is a difference more than chance? Paired tests over the same targets ranked by two models.

use crate::error::{Error, Result};
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// The differences `b - a` of paired values.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Comparison {
    pub pairs: usize,
    /// Mean difference.
    pub mean: f64,
    /// 95% interval of the mean difference, by Student's t.
    pub low: f64,
    pub high: f64,
    /// Two-sided p of the paired t-test.
    pub p_t: f64,
    /// Two-sided p of Wilcoxon's signed-rank test.
    pub p_wilcoxon: f64,
}

impl Comparison {
    /// # Errors
    /// Lists of different lengths, or fewer than two pairs.
    pub fn of(a: &[f64], b: &[f64]) -> Result<Comparison> {
        if a.len() != b.len() || a.len() < 2 {
            let message = format!("a paired test needs two pairs or more; found {} and {} values", a.len(), b.len());
            return Err(Error::Usage(message));
        }
        let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
        let n = differences.len() as f64;
        let mean = differences.iter().sum::<f64>() / n;
        let variance = differences.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let error = (variance / n).sqrt();
        let student = StudentsT::new(0.0, 1.0, n - 1.0).expect("at least one degree of freedom");
        let half = student.inverse_cdf(0.975) * error;
        let p_t = match error {
            0.0 if mean == 0.0 => 1.0,
            0.0 => 0.0,
            _ => 2.0 * student.sf((mean / error).abs()),
        };
        let p_wilcoxon = wilcoxon(&differences);
        Ok(Comparison { pairs: differences.len(), mean, low: mean - half, high: mean + half, p_t, p_wilcoxon })
    }
}

/// Two-sided p of the signed-rank test by its normal approximation, zeros dropped, ties at average ranks, their variance
/// corrected, half a step for continuity: what `wilcoxon` of R and SciPy (`method="approx", correction=True`) compute.
fn wilcoxon(differences: &[f64]) -> f64 {
    let mut sizes: Vec<(f64, bool)> = differences.iter().filter(|&&d| d != 0.0).map(|d| (d.abs(), *d > 0.0)).collect();
    sizes.sort_by(|a, b| a.0.total_cmp(&b.0));
    let n = sizes.len() as f64;
    if sizes.is_empty() {
        return 1.0;
    }
    let (mut before, mut positive, mut ties) = (0.0, 0.0, 0.0);
    for run in sizes.chunk_by(|a, b| a.0 == b.0) {
        let len = run.len() as f64;
        let rank = before + (len + 1.0) / 2.0;
        positive += rank * run.iter().filter(|(_, up)| *up).count() as f64;
        ties += len.powi(3) - len;
        before += len;
    }
    let off = positive - n * (n + 1.0) / 4.0;
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
    let z = (off.abs() - 0.5).max(0.0) / variance.sqrt();
    (2.0 * Normal::standard().sf(z)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() <= tolerance, "{a} is not {b}");
    }

    /// Student's sleep data, as R's `t.test(extra ~ group, paired = TRUE)` prints it.
    #[test]
    fn t_test_of_the_sleep_data() {
        let first = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let second = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let c = Comparison::of(&first, &second).unwrap();
        near(c.mean, 1.58, 1e-12);
        near(c.low, 0.7001142, 1e-6);
        near(c.high, 2.4598858, 1e-6);
        near(c.p_t, 0.002833, 1e-6);
    }

    /// The depression data of R's `?wilcox.test`: V = 40 of 9 pairs, z = 17 / sqrt(71.25).
    #[test]
    #[allow(clippy::approx_constant)]
    fn signed_ranks_of_the_depression_data() {
        let x = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30];
        let y = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29];
        near(Comparison::of(&y, &x).unwrap().p_wilcoxon, 0.04401, 1e-5);
    }

    #[test]
    fn equal_and_constant_differences() {
        let same = Comparison::of(&[1.0, 2.0], &[1.0, 2.0]).unwrap();
        assert_eq!((same.mean, same.p_t, same.p_wilcoxon), (0.0, 1.0, 1.0));
        let shifted = Comparison::of(&[1.0, 2.0], &[2.0, 3.0]).unwrap();
        assert_eq!((shifted.low, shifted.high, shifted.p_t), (1.0, 1.0, 0.0));
        assert!(Comparison::of(&[1.0], &[1.0]).is_err());
        assert!(Comparison::of(&[1.0, 2.0], &[1.0]).is_err());
    }
}
