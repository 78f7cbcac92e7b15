//! Do two numbers rise together? Spearman's rank correlation over users, with an interval.

use crate::tensor::philox::Stream;
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// A rank correlation, and its 95% interval over the things that were counted: percentiles of the correlations of resamples,
/// drawn with replacement (Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics, 1979).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Correlation {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Correlation {
    const RESAMPLES: usize = 1000;

    /// Of two counts of each thing. None: all things have the same of one count, so that no correlation is defined; resamples
    /// of that kind are left out of the interval. Resamples are drawn by `seed`.
    ///
    /// # Panics
    /// If the lists are not of the same things.
    pub fn of(a: &[usize], b: &[usize], seed: u64) -> Option<Correlation> {
        assert_eq!(a.len(), b.len(), "two counts of each thing");
        // A resample is the number of times that it has each pair.
        let mut numbers = HashMap::new();
        let mut pairs = vec![];
        let mut number = |pair| {
            *numbers.entry(pair).or_insert_with(|| {
                pairs.push(pair);
                pairs.len() - 1
            })
        };
        let cells: Vec<usize> = a.iter().copied().zip(b.iter().copied()).map(&mut number).collect();
        let correlation = |drawn: &mut dyn Iterator<Item = usize>| {
            let mut times = vec![0; pairs.len()];
            drawn.for_each(|thing| times[cells[thing]] += 1);
            of_pairs(&pairs, &times)
        };
        let value = correlation(&mut (0..a.len()))?;
        let resampled = |resample: usize| {
            let mut stream = Stream::new(seed, "eval.correlation", resample as u64);
            correlation(&mut (0..a.len()).map(|_| stream.below(a.len() as u32) as usize))
        };
        let mut resamples: Vec<f64> = (0..Correlation::RESAMPLES).into_par_iter().filter_map(resampled).collect();
        resamples.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| resamples.get((share * resamples.len() as f64) as usize).copied().unwrap_or(value);
        Some(Correlation { value, low: at(0.025), high: at(0.975) })
    }
}

/// The rank correlation of the pairs that occur `times`. None where one side is constant.
fn of_pairs(pairs: &[(usize, usize)], times: &[usize]) -> Option<f64> {
    let sides = [pairs.iter().map(|pair| pair.0).collect::<Vec<_>>(), pairs.iter().map(|pair| pair.1).collect()];
    let [a, b] = sides.map(|values| {
        let ranks = ranks(values.iter().copied().zip(times.iter().copied()));
        values.iter().map(|value| ranks[value]).collect::<Vec<f64>>()
    });
    let n: usize = times.iter().sum();
    let mean = (n + 1) as f64 / 2.0;
    let product = |x: &[f64], y: &[f64]| -> f64 {
        x.iter().zip(y).zip(times).map(|((x, y), &times)| times as f64 * (x - mean) * (y - mean)).sum()
    };
    let spread = product(&a, &a) * product(&b, &b);
    (spread > 0.0).then(|| product(&a, &b) / spread.sqrt())
}

/// The ranks of values from 1, given how often each occurs; equal values share the mean of their ranks.
pub fn ranks(values: impl Iterator<Item = (usize, usize)>) -> BTreeMap<usize, f64> {
    let mut times: BTreeMap<usize, usize> = BTreeMap::new();
    values.for_each(|(value, more)| *times.entry(value).or_default() += more);
    let below = times.into_iter().scan(0, |below, (value, own)| {
        let rank = *below as f64 + (own + 1) as f64 / 2.0;
        *below += own;
        Some((value, rank))
    });
    below.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of SciPy 1.13.1: `print(repr(float(scipy.stats.spearmanr(a, b)[0])))`.
    #[test]
    fn as_scipy_has_it() {
        let cases: [(&[usize], &[usize], f64); 6] = [
            (&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], 0.9999999999999999),
            (&[1, 2, 3, 4], &[4, 3, 2, 1], -1.0),
            (&[1, 1, 2, 2], &[1, 2, 1, 2], 0.0),
            (&[3, 1, 4, 1, 5, 9, 2, 6, 5, 3], &[2, 7, 1, 8, 2, 8, 1, 8, 2, 8], 0.13471506281091267),
            (&[1, 2, 2, 3, 3, 3, 4, 4, 1, 2, 3, 4], &[0, 1, 1, 2, 1, 3, 2, 2, 1, 0, 2, 3], 0.7909730757347451),
            (&[0, 0, 0, 0, 0, 7], &[1, 2, 3, 1, 2, 3], 0.5477225575051663),
        ];
        for (a, b, value) in cases {
            for (a, b) in [(a, b), (b, a)] {
                let found = Correlation::of(a, b, 1).unwrap().value;
                assert!((found - value).abs() < 1e-12, "{a:?} {b:?}: {found}, not {value}");
            }
        }
    }

    /// `scipy.stats.bootstrap((a, b), lambda a, b: spearmanr(a, b)[0], paired=True, vectorized=False, method="percentile",
    /// n_resamples=20000, random_state=1)` of the same lists; 1,000 resamples come within 0.02 of it.
    #[test]
    fn the_interval_is_that_of_scipy() {
        let a: Vec<usize> = (0..200).map(|i| (7 * i * i + 3 * i) % 5).collect();
        let b: Vec<usize> = a.iter().enumerate().map(|(i, a)| (a + i * i * i % 4) % 6).collect();
        let found = Correlation::of(&a, &b, 1).unwrap();
        assert!((found.value - 0.6494351952364253).abs() < 1e-12, "{found:?}");
        assert!((found.low - 0.5523721).abs() < 0.02 && (found.high - 0.7336437).abs() < 0.02, "{found:?}");
        assert_eq!(Correlation::of(&a, &b, 1), Some(found));
    }

    #[test]
    fn a_constant_has_no_correlation() {
        assert_eq!(Correlation::of(&[3, 3, 3], &[1, 2, 3], 1), None);
        assert_eq!(Correlation::of(&[1, 2, 3], &[3, 3, 3], 1), None);
        assert_eq!(Correlation::of(&[], &[], 1), None);
        // Half of the resamples have one of the two things twice.
        let two = Correlation::of(&[1, 2], &[5, 6], 1).unwrap();
        assert_eq!((two.value, two.low, two.high), (1.0, 1.0, 1.0));
    }
}
