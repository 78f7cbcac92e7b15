//! Is a difference more than chance? Paired tests over the same targets ranked by two models.

use crate::error::{Error, Result};
use serde::Serialize;
use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// What rounding may leave of the difference of two equal means, as a share of the larger one: a mean of n gains is off by at
/// most n times 1.1e-16 of itself.
const ROUNDING: f64 = 1e-12;

/// The differences `b - a` of paired values. Differences that only rounding makes count as none.
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
        let rounding: Vec<f64> = a.iter().zip(b).map(|(a, b)| ROUNDING * a.abs().max(b.abs())).collect();
        let difference = |((a, b), rounding): ((&f64, &f64), &f64)| if (b - a).abs() > *rounding { b - a } else { 0.0 };
        let differences: Vec<f64> = a.iter().zip(b).zip(&rounding).map(difference).collect();
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
        let p_wilcoxon = wilcoxon(&differences, &rounding);
        Ok(Comparison { pairs: differences.len(), mean, low: mean - half, high: mean + half, p_t, p_wilcoxon })
    }
}

/// Two-sided p of the signed-rank test by its normal approximation, zeros dropped, ties at average ranks, their variance
/// corrected, half a step for continuity: what `wilcoxon` of R and SciPy (`method="approx", correction=True`) compute.
/// Sizes that `rounding`, of each difference, may have set apart are ties.
fn wilcoxon(differences: &[f64], rounding: &[f64]) -> f64 {
    struct Size {
        value: f64,
        rounding: f64,
        up: bool,
    }
    let size = |(&d, &rounding): (&f64, &f64)| Size { value: d.abs(), rounding, up: d > 0.0 };
    let mut sizes: Vec<Size> = differences.iter().zip(rounding).map(size).filter(|size| size.value > 0.0).collect();
    sizes.sort_by(|a, b| a.value.total_cmp(&b.value));
    let n = sizes.len() as f64;
    if sizes.is_empty() {
        return 1.0;
    }
    let (mut before, mut positive, mut ties) = (0.0, 0.0, 0.0);
    for run in sizes.chunk_by(|a, b| b.value - a.value <= a.rounding + b.rounding) {
        let len = run.len() as f64;
        let rank = before + (len + 1.0) / 2.0;
        positive += rank * run.iter().filter(|size| size.up).count() as f64;
        ties += len.powi(3) - len;
        before += len;
    }
    let off = positive - n * (n + 1.0) / 4.0;
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties / 48.0;
    let z = (off.abs() - 0.5).max(0.0) / variance.sqrt();
    (2.0 * Normal::standard().sf(z)).min(1.0)
}

/// p of several tests, corrected so that at most one in 1/p families of this size has a false finding at all (Holm, Scandinavian
/// Journal of Statistics 1979): in ascending order the i-th of n times n - i + 1, and no less than the one before it.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut least = 0f64;
    let steps = order.iter().enumerate().map(|(before, &at)| {
        least = least.max((p.len() - before) as f64 * p[at]).min(1.0);
        (at, least)
    });
    scattered(p.len(), steps)
}

/// p of several tests, corrected so that at most this share of those found is expected to be false (Benjamini and Hochberg, Journal
/// of the Royal Statistical Society B 1995): in ascending order the i-th of n times n / i, and no more than the one after it.
pub fn benjamini_hochberg(p: &[f64]) -> Vec<f64> {
    let order = ascending(p);
    let mut most = 1f64;
    let steps = order.iter().enumerate().rev().map(|(before, &at)| {
        most = most.min(p.len() as f64 * p[at] / (before + 1) as f64);
        (at, most)
    });
    scattered(p.len(), steps)
}

/// The positions of `p`, the least first.
fn ascending(p: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    order
}

fn scattered(n: usize, values: impl Iterator<Item = (usize, f64)>) -> Vec<f64> {
    let mut all = vec![0.0; n];
    values.for_each(|(at, value)| all[at] = value);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::Metric;

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

    /// Means over 1 to 7 targets a user tie as fractions, and not as floats. The p of Wilcoxon is that of SciPy 1.17.1, `wilcoxon(d,
    /// correction=True, method="asymptotic")`, of the differences as whole numbers (of `ndcg@10`, rounded to 12 digits); of the
    /// floats themselves it gives 0.8502, 0.6271 and 0.2751 for the first three. The others are those of `ttest_rel`.
    #[test]
    fn means_that_rounding_sets_apart_are_ties() {
        let mut state = 7u32;
        let mut rank = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (1 + (state >> 16) % 12) as f64
        };
        let mut ranks = |user: usize| -> Vec<f64> { (0..1 + user % 7).map(|_| rank()).collect() };
        let users: Vec<[Vec<f64>; 2]> = (0..60).map(|user| [ranks(user), ranks(user)]).collect();
        for (metric, mean, low, high, p_t, p_wilcoxon) in [
            ("recall@5", 0.018015873, -0.0953756501, 0.1314073961, 0.7516665212, 0.8387186323),
            ("mrr", 0.001703073822, -0.06961852998, 0.07302467762, 0.9620518725, 0.6244524246),
            ("precision@10", 0.005718253968, -0.004130425987, 0.01556693392, 0.2499950452, 0.2710002350),
            ("ndcg@10", 0.01746660042, -0.05707574445, 0.0920089453, 0.6408912545, 0.3671618039),
        ] {
            let metric: Metric = metric.parse().unwrap();
            let [a, b] = [0, 1].map(|side| users.iter().map(|user| metric.mean(&user[side])).collect::<Vec<f64>>());
            let c = Comparison::of(&a, &b).unwrap();
            for (got, want) in [(c.mean, mean), (c.low, low), (c.high, high), (c.p_t, p_t), (c.p_wilcoxon, p_wilcoxon)]
            {
                assert!((got - want).abs() <= 1e-9, "{metric}: {got} is not {want}");
            }
        }
        let thirds = |order: [f64; 3]| order.iter().map(|x| x / 3.0).sum::<f64>();
        let [a, b] = [thirds([0.1, 0.2, 0.3]), thirds([0.3, 0.2, 0.1])];
        assert_ne!(a, b);
        let same = Comparison::of(&[a, a, 1.0], &[b, b, 1.0]).unwrap();
        assert_eq!((same.mean, same.p_t, same.p_wilcoxon), (0.0, 1.0, 1.0));
    }

    /// What statsmodels 0.15.0 gives: `multipletests(p, method="holm")[1]` and `method="fdr_bh"`.
    #[test]
    fn corrections_are_those_of_statsmodels() {
        let mixed = [0.01, 0.04, 0.03, 0.005, 0.55, 0.03, 1.0, 1e-9];
        let mixed_bh = [0.02666666666666667, 0.05333333333333334, 0.048, 0.02, 0.6285714285714287, 0.048, 1.0, 8e-9];
        for (p, by_holm, by_bh) in [
            (&mixed[..], &[0.06, 0.15, 0.15, 0.035, 1.0, 0.15, 1.0, 8e-9][..], &mixed_bh[..]),
            (&[0.2], &[0.2], &[0.2]),
            (&[0.04, 0.04, 0.04], &[0.12, 0.12, 0.12], &[0.04, 0.04, 0.04]),
            (&[0.5, 0.9, 0.7, 0.02], &[1.0, 1.0, 1.0, 0.08], &[0.9, 0.9, 0.9, 0.08]),
            (&[], &[], &[]),
        ] {
            for (got, want) in [(holm(p), by_holm), (benjamini_hochberg(p), by_bh)] {
                assert_eq!(got.len(), want.len());
                got.iter().zip(want).for_each(|(got, want)| near(*got, *want, 1e-15));
            }
        }
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
