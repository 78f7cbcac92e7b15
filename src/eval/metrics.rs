//! Ranks and their metrics.
//!
//! One item is asked for at a time, the target, and all candidates are ordered by score. With `rank` the target's position,
//! from 1, and the mean over all targets:
//!
//! - Recall@k = mean of \[rank <= k\], which is HR@k, since a target is all that there is to recall;
//! - NDCG@k = mean of \[rank <= k\] / log2(rank + 1): the best possible order has the target first and a gain of 1;
//! - Precision@k = mean of \[rank <= k\] / k, since k items are shown;
//! - MAP@k = mean of \[rank <= k\] / rank: the precision down to the one target;
//! - MRR = mean of 1 / rank; MRR@k leaves out ranks beyond k, as MAP@k does: with one target they are the same number.
//!
//! The position of a target whose score others share is a choice, see [`TieRule`].

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where a target stands among candidates of its own score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum TieRule {
    /// In the middle, possibly at half a position: a model of constant scores gets chance.
    #[default]
    Average,
    /// Before them: a model of constant scores gets perfection.
    Optimistic,
    /// After them.
    Pessimistic,
}

impl TieRule {
    pub const ALL: [TieRule; 3] = [TieRule::Average, TieRule::Optimistic, TieRule::Pessimistic];

    /// The ranks of targets, each with the numbers of candidates above it and of others of its score.
    pub fn ranks(self, counts: &[(u32, u32)]) -> Vec<f64> {
        counts.iter().map(|&(greater, equal)| self.rank(greater, equal)).collect()
    }

    /// The rank, from 1, of a target with `greater` candidates above it and `equal` others of its score.
    pub fn rank(self, greater: u32, equal: u32) -> f64 {
        1.0 + greater as f64
            + match self {
                TieRule::Average => equal as f64 / 2.0,
                TieRule::Optimistic => 0.0,
                TieRule::Pessimistic => equal as f64,
            }
    }
}

impl fmt::Display for TieRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TieRule::Average => "average",
            TieRule::Optimistic => "optimistic",
            TieRule::Pessimistic => "pessimistic",
        })
    }
}

/// What a list of ranks is summed up by. Written `recall@10` (or `hit@10`, `hr@10`), `ndcg@10`, `precision@10`, `map@10`,
/// `mrr@10`, `mrr`, in any case. More is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Metric {
    Recall(u32),
    Ndcg(u32),
    Precision(u32),
    Map(u32),
    /// Reciprocal rank within the first k.
    MrrAt(u32),
    Mrr,
}

impl Metric {
    /// What is always reported.
    pub const REPORTED: [Metric; 9] = [
        Metric::Recall(5),
        Metric::Recall(10),
        Metric::Recall(20),
        Metric::Ndcg(5),
        Metric::Ndcg(10),
        Metric::Ndcg(20),
        Metric::Precision(10),
        Metric::Map(10),
        Metric::Mrr,
    ];

    /// The gain of one target at `rank`.
    pub fn of(self, rank: f64) -> f64 {
        match self {
            Metric::Recall(k) if rank <= k as f64 => 1.0,
            Metric::Ndcg(k) if rank <= k as f64 => 1.0 / (rank + 1.0).log2(),
            Metric::Precision(k) if rank <= k as f64 => 1.0 / k as f64,
            Metric::Map(k) | Metric::MrrAt(k) if rank <= k as f64 => 1.0 / rank,
            Metric::Recall(_) | Metric::Ndcg(_) | Metric::Precision(_) | Metric::Map(_) | Metric::MrrAt(_) => 0.0,
            Metric::Mrr => 1.0 / rank,
        }
    }

    /// The mean gain of all targets; 0 of none.
    pub fn mean(self, ranks: &[f64]) -> f64 {
        ranks.iter().map(|&rank| self.of(rank)).sum::<f64>() / ranks.len().max(1) as f64
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Metric::Recall(k) => write!(f, "recall@{k}"),
            Metric::Ndcg(k) => write!(f, "ndcg@{k}"),
            Metric::Precision(k) => write!(f, "precision@{k}"),
            Metric::Map(k) => write!(f, "map@{k}"),
            Metric::MrrAt(k) => write!(f, "mrr@{k}"),
            Metric::Mrr => f.write_str("mrr"),
        }
    }
}

impl FromStr for Metric {
    type Err = String;

    fn from_str(text: &str) -> Result<Metric, String> {
        let at = |k: &str| k.parse().ok().filter(|&k| k > 0);
        let lower = text.to_ascii_lowercase();
        match lower.split_once('@') {
            Some(("recall" | "hit" | "hr", k)) => at(k).map(Metric::Recall),
            Some(("ndcg", k)) => at(k).map(Metric::Ndcg),
            Some(("precision", k)) => at(k).map(Metric::Precision),
            Some(("map", k)) => at(k).map(Metric::Map),
            Some(("mrr", k)) => at(k).map(Metric::MrrAt),
            None if lower == "mrr" => Some(Metric::Mrr),
            _ => None,
        }
        .ok_or_else(|| {
            format!("found {text:?}; expected recall@K (or hit@K), ndcg@K, precision@K, map@K, mrr@K or mrr")
        })
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> String {
        metric.to_string()
    }
}

impl TryFrom<String> for Metric {
    type Error = String;

    fn try_from(text: String) -> Result<Metric, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_tie_rules() {
        assert_eq!(TieRule::Average.rank(3, 2), 5.0);
        assert_eq!(TieRule::Average.rank(0, 1), 1.5);
        assert_eq!(TieRule::Optimistic.rank(3, 2), 4.0);
        assert_eq!(TieRule::Pessimistic.rank(3, 2), 6.0);
    }

    #[test]
    fn gains() {
        let ranks = [1.0, 2.0, 5.5, 11.0];
        assert_eq!(Metric::Recall(5).mean(&ranks), 0.5);
        assert_eq!(Metric::Recall(10).mean(&ranks), 0.75);
        assert_eq!(Metric::Ndcg(1).mean(&ranks), 0.25);
        assert_eq!(Metric::Ndcg(5).mean(&ranks), (1.0 + 1.0 / 3f64.log2()) / 4.0);
        assert_eq!(Metric::Precision(5).mean(&ranks), 2.0 / 5.0 / 4.0);
        assert_eq!(Metric::Map(5).mean(&ranks), (1.0 + 0.5) / 4.0);
        assert_eq!(Metric::Map(10).mean(&ranks), (1.0 + 0.5 + 1.0 / 5.5) / 4.0);
        assert_eq!(Metric::Mrr.mean(&ranks), (1.0 + 0.5 + 1.0 / 5.5 + 1.0 / 11.0) / 4.0);
        assert_eq!(Metric::MrrAt(5).mean(&ranks), (1.0 + 0.5) / 4.0);
        assert_eq!(Metric::MrrAt(20).mean(&ranks), Metric::Mrr.mean(&ranks));
        assert_eq!(Metric::Mrr.mean(&[]), 0.0);
    }

    /// What NumPy computes from the same 1,000 ranks from 1 to 30.5, half positions among them.
    #[test]
    #[allow(clippy::approx_constant)]
    fn means_are_those_of_numpy() {
        let mut state = 11u32;
        let mut rank = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            1.0 + ((state >> 16) % 60) as f64 / 2.0
        };
        let ranks: Vec<f64> = (0..1000).map(|_| rank()).collect();
        for (metric, want) in [
            ("recall@5", 0.141),
            ("ndcg@5", 0.08419618878785659),
            ("precision@5", 0.0282),
            ("map@5", 0.06544206349206348),
            ("recall@10", 0.318),
            ("ndcg@10", 0.14188198128338336),
            ("precision@10", 0.0318),
            ("map@10", 0.08952695923787254),
            ("recall@20", 0.66),
            ("ndcg@20", 0.22771460194603213),
            ("mrr", 0.12630225005864146),
        ] {
            let got = metric.parse::<Metric>().unwrap().mean(&ranks);
            assert!((got - want).abs() < 1e-12, "{metric}: {got} is not {want}");
        }
    }

    /// Constant scores over 1 + 99 candidates: chance at k is about k / 100, not 1.
    #[test]
    fn constant_scores_get_no_credit() {
        let rank = TieRule::Average.rank(0, 99);
        assert_eq!(rank, 50.5);
        assert_eq!(Metric::Recall(20).of(rank), 0.0);
    }

    #[test]
    fn names_read_back() {
        for metric in Metric::REPORTED {
            assert_eq!(metric.to_string().parse(), Ok(metric));
        }
        for (text, metric) in [
            ("NDCG@10", Metric::Ndcg(10)),
            ("hit@5", Metric::Recall(5)),
            ("HR@5", Metric::Recall(5)),
            ("MRR@10", Metric::MrrAt(10)),
            ("mrr@10", Metric::MrrAt(10)),
            ("Mrr", Metric::Mrr),
        ] {
            assert_eq!(text.parse(), Ok(metric));
        }
        for wrong in ["", "ndcg", "ndcg@", "ndcg@0", "recall@-1", "mrr@0", "map@0", "auc@5", "precision", "auc"] {
            assert!(wrong.parse::<Metric>().unwrap_err().contains("expected recall@K"), "{wrong}");
        }
    }
}
