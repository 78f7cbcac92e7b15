//! Measuring: kernels against what the device can do, whole steps, evaluations, and the way from a file to a batch.
//!
//! [`kernels`] is the table of cases; [`case`] checks one and times it; [`whole`] times what a user waits for; [`report`]
//! prints, keeps and compares. A figure is a median with its spread, and a share of what the same device was measured to
//! do at most in the same run, since machines are shared and their clocks change.

pub mod case;
pub mod kernels;
pub mod report;
pub mod whole;

pub use crate::kernels::example::Scale;
pub use report::{Report, Row};

use crate::error::Result;
use serde::{Deserialize, Serialize};

/// Seconds of one thing that was run several times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub runs: usize,
    pub median: f64,
    /// The 10th percentile.
    pub low: f64,
    /// The 90th percentile.
    pub high: f64,
}

impl Spread {
    /// # Panics
    /// If there are none.
    pub fn of(mut seconds: Vec<f64>) -> Spread {
        seconds.sort_by(f64::total_cmp);
        let at = |q| quantile(&seconds, q);
        Spread { runs: seconds.len(), median: at(0.5), low: at(0.1), high: at(0.9) }
    }

    /// Whether both medians lie outside the other's spread.
    pub fn differs(&self, other: &Spread) -> bool {
        let outside = |a: &Spread, b: &Spread| a.median < b.low || a.median > b.high;
        outside(self, other) && outside(other, self)
    }
}

/// Of ascending values, linear between neighbours.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = q * (sorted.len() - 1) as f64;
    let (below, part) = (place as usize, place.fract());
    let above = sorted[(below + 1).min(sorted.len() - 1)];
    sorted[below] + part * (above - sorted[below])
}

impl Scale {
    /// Calls `run`, which gives the seconds that count, until they add up to half a second or there are 30 of them.
    fn repeat(self, mut run: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
        let (least, most, enough) = self.pick((4, 30, 0.5), (2, 5, 0.02));
        let mut all = vec![];
        while all.len() < least || all.len() < most && all.iter().sum::<f64>() < enough {
            all.push(run()?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_spread_lie_between_neighbours() {
        let even = Spread::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!((even.runs, even.median), (4, 2.5));
        assert!((even.low - 1.3).abs() < 1e-12 && (even.high - 3.7).abs() < 1e-12, "{even:?}");
        let eleven = Spread::of((0..11).rev().map(f64::from).collect());
        assert_eq!((eleven.low, eleven.median, eleven.high), (1.0, 5.0, 9.0));
        assert_eq!(Spread::of(vec![7.0]), Spread { runs: 1, median: 7.0, low: 7.0, high: 7.0 });
    }

    #[test]
    fn only_what_lies_outside_both_spreads_differs() {
        let spread = |low, median, high| Spread { runs: 9, median, low, high };
        let base = spread(0.9, 1.0, 1.1);
        assert!(!base.differs(&spread(0.95, 1.05, 1.2)));
        // Narrow, but within the other's spread.
        assert!(!spread(0.5, 1.0, 2.0).differs(&spread(1.49, 1.5, 1.51)));
        assert!(base.differs(&spread(1.15, 1.2, 1.3)) && spread(1.15, 1.2, 1.3).differs(&base));
    }

    #[test]
    fn runs_end_by_number_or_by_time() {
        let count = |seconds| Scale::Full.repeat(|| Ok(seconds)).unwrap().len();
        assert_eq!([count(1e-6), count(0.1), count(9.0)], [30, 5, 4]);
    }
}
