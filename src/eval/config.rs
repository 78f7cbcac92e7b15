//! How targets are ranked.

use super::metrics::{Metric, TieRule};
use crate::data::Group;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Settings under `eval.`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// What a target is ranked among.
    #[schemars(with = "String")]
    pub protocol: Protocol,
    /// Seed of sampled negatives and of batches, kept apart so that runs of several seeds are judged on the same.
    #[schemars(range(max = 9223372036854775807u64))]
    pub seed: u64,
    /// Leave the items of the history out of a full ranking.
    pub mask_history: bool,
    /// The rank of a target among items of the same score.
    pub ties: TieRule,
    /// Which targets are ranked.
    pub targets: Group,
    /// What the best epoch is best in.
    #[schemars(with = "String")]
    pub metric: Metric,
    /// Epochs between evaluations.
    #[schemars(range(min = 1))]
    pub every: u64,
    /// Users a batch.
    #[schemars(range(min = 1, max = 1073741824))]
    pub batch: usize,
}

impl Default for EvalConfig {
    fn default() -> EvalConfig {
        EvalConfig {
            protocol: Protocol::Full,
            seed: 1,
            mask_history: true,
            ties: TieRule::Average,
            targets: Group::All,
            metric: Metric::Ndcg(10),
            every: 1,
            batch: 256,
        }
    }
}

impl EvalConfig {
    /// The number of sampled negatives, and their seed.
    pub fn sampled(&self) -> Option<(usize, u64)> {
        match self.protocol {
            Protocol::Sampled(n) => Some((n, self.seed)),
            _ => None,
        }
    }

    /// The number of users whose targets are ranked among each other, and the seed that draws them.
    pub fn grouped(&self) -> Option<(usize, u64)> {
        match self.protocol {
            Protocol::Batch(n) => Some((n, self.seed)),
            _ => None,
        }
    }

    /// Whether all items are ranked, those of the history too.
    pub fn ranks_all(&self) -> bool {
        self.protocol == Protocol::Full && !self.mask_history
    }
}

/// What a target is ranked among. Written `full`, `sampled:999` or `batch:1024`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Protocol {
    /// All items.
    #[default]
    Full,
    /// This number of items, drawn once, without replacement, from those outside the user's history.
    Sampled(usize),
    /// The targets of this number of users, of a batch drawn once, outside the user's history.
    Batch(usize),
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::Full => f.write_str("full"),
            Protocol::Sampled(n) => write!(f, "sampled:{n}"),
            Protocol::Batch(n) => write!(f, "batch:{n}"),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Protocol, String> {
        const EXPECTED: &str = "expected full, sampled:N with N of at least 1, or batch:N with N from 2 to 65536";
        let number = |n: &str| n.parse::<usize>().ok();
        match text.split_once(':') {
            None if text == "full" => Some(Protocol::Full),
            Some(("sampled", n)) => number(n).filter(|&n| n > 0).map(Protocol::Sampled),
            Some(("batch", n)) => number(n).filter(|n| (2..=65536).contains(n)).map(Protocol::Batch),
            _ => None,
        }
        .ok_or_else(|| format!("found {text:?}; {EXPECTED}"))
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> String {
        protocol.to_string()
    }
}

impl TryFrom<String> for Protocol {
    type Error = String;

    fn try_from(text: String) -> Result<Protocol, String> {
        text.parse()
    }
}
