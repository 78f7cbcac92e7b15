//! What a split can be, as settings and the command line name it.

use crate::text::percent;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How histories are cut. Written `leave-one-out`, `ratio:80,10,10` or `time:0.8,0.1,0.1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum SplitKind {
    /// A user's last event is the test, the one before it the validation. Data that comes cut in files (RecBole's
    /// `X.train.inter`, `X.valid.inter`, `X.test.inter`) is split as those are.
    #[default]
    LeaveOneOut,
    /// Shares of each user's history (training, validation, test; they sum to 1), oldest first.
    Ratio([f64; 3]),
    /// Shares of all events, cut at two points in time for all users alike.
    Time([f64; 3]),
}

impl FromStr for SplitKind {
    type Err = String;

    fn from_str(text: &str) -> Result<SplitKind, String> {
        let wrong = || {
            format!(
                "split {text:?}: expected \"leave-one-out\", \"ratio:80,10,10\" or \"time:0.8,0.1,0.1\" (shares of training, \
                 validation and test)"
            )
        };
        if text == "leave-one-out" {
            return Ok(SplitKind::LeaveOneOut);
        }
        let (kind, shares) = text.split_once(':').ok_or_else(wrong)?;
        let shares: Vec<f64> =
            shares.split(',').map(|s| s.trim().parse().ok()).collect::<Option<_>>().ok_or_else(wrong)?;
        let [train, valid, test] = shares[..] else { return Err(wrong()) };
        let sum = train + valid + test;
        let sensible =
            train > 0.0 && valid >= 0.0 && test >= 0.0 && ((sum - 1.0).abs() < 1e-6 || (sum - 100.0).abs() < 1e-6);
        let shares = [train / sum, valid / sum, test / sum];
        match kind {
            "ratio" if sensible => Ok(SplitKind::Ratio(shares)),
            "time" if sensible => Ok(SplitKind::Time(shares)),
            "ratio" | "time" => {
                Err(format!("split {text:?}: expected shares that sum to 1 or to 100, the first above 0"))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for SplitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |shares: &[f64; 3]| shares.map(|s| percent(s).to_string()).join(",");
        match self {
            SplitKind::LeaveOneOut => f.write_str("leave-one-out"),
            SplitKind::Ratio(shares) => write!(f, "ratio:{}", list(shares)),
            SplitKind::Time(shares) => write!(f, "time:{}", list(shares)),
        }
    }
}

impl From<SplitKind> for String {
    fn from(kind: SplitKind) -> String {
        kind.to_string()
    }
}

impl TryFrom<String> for SplitKind {
    type Error = String;

    fn try_from(text: String) -> Result<SplitKind, String> {
        text.parse()
    }
}

/// A part that is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Part {
    Valid,
    Test,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Part::Valid => "valid",
            Part::Test => "test",
        })
    }
}

/// One cut through all histories, before which events are earlier ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cut {
    /// Of the events that are earlier.
    pub share: f64,
    pub by: CutBy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CutBy {
    /// At one point in time for all users.
    #[default]
    Time,
    /// At the same share of each user's history.
    User,
}

/// Which events of the training part are learned to predict. Whatever came before one is its history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Learn {
    /// Those of the target behaviour; all if there is no target.
    #[default]
    Targets,
    /// Those of all behaviours.
    Any,
    /// Those of the target behaviour after the cut.
    Later,
    /// Those of all behaviours before the cut, on which the validation is made too: pre-training.
    Earlier,
}

/// Which of the targets of a part are ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Group {
    /// All of them.
    #[default]
    All,
    /// Of users with at most 2 events of the target behaviour in the training part.
    Cold,
    /// Of the other users.
    Warm,
    /// Items that came in the user's history before, under another behaviour.
    Seen,
    /// Items that did not.
    New,
    /// Items that do not occur in the training part.
    #[serde(rename = "cold-items")]
    ColdItems,
    /// Items that do.
    #[serde(rename = "warm-items")]
    WarmItems,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Group::All => "all",
            Group::Cold => "cold",
            Group::Warm => "warm",
            Group::Seen => "seen",
            Group::New => "new",
            Group::ColdItems => "cold-items",
            Group::WarmItems => "warm-items",
        })
    }
}

/// Which events are held out, which are asked for, and which are learned to predict.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SplitSpec {
    pub kind: SplitKind,
    /// Number of the behaviour whose events are asked for. None: all are.
    pub target: Option<u8>,
    pub cut: Option<Cut>,
    pub learn: Learn,
    /// The number of users that are learned from, the first ones. None: all.
    pub users: Option<usize>,
    pub only: Group,
}

impl From<SplitKind> for SplitSpec {
    fn from(kind: SplitKind) -> SplitSpec {
        SplitSpec { kind, ..SplitSpec::default() }
    }
}
