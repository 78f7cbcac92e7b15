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
    /// Seed of the sampled negatives, kept apart so that runs of several seeds are judged on the same.
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
            Protocol::Full => None,
            Protocol::Sampled(n) => Some((n, self.seed)),
        }
    }

    /// Whether all items are ranked, those of the history too.
    pub fn ranks_all(&self) -> bool {
        self.protocol == Protocol::Full && !self.mask_history
    }
}

/// What a target is ranked among. Written `full` or `sampled:999`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Protocol {
    /// All items.
    #[default]
    Full,
    /// This number of items, drawn once, without replacement, from those outside the user's history.
    Sampled(usize),
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::Full => f.write_str("full"),
            Protocol::Sampled(n) => write!(f, "sampled:{n}"),
        }
    }
}

impl FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Protocol, String> {
        let sampled = |n: &str| n.parse().ok().filter(|&n| n > 0).map(Protocol::Sampled);
        match text.strip_prefix("sampled:") {
            None if text == "full" => Some(Protocol::Full),
            None => None,
            Some(n) => sampled(n),
        }
        .ok_or_else(|| format!("found {text:?}; expected full, or sampled:N with N of at least 1"))
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
