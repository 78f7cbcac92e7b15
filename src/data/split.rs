//! Which events are learned from, and which are asked for.

use super::cache::Dataset;
use super::readers::Clock;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How histories are cut. Written `leave-one-out`, `ratio:80,10,10` or `time:0.8,0.1,0.1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum SplitKind {
    /// A user's last event is the test, the one before it the validation.
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
        let percent = |s: &f64| (s * 1e8).round() / 1e6;
        let list = |shares: &[f64; 3]| shares.iter().map(|s| percent(s).to_string()).collect::<Vec<_>>().join(",");
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
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

/// Every history cut in three: training, validation, test. What is asked for in a part is known from everything before it.
#[derive(Clone, Debug)]
pub struct Split {
    kind: SplitKind,
    /// Events of each user in the training part.
    train: Vec<u32>,
    /// Events of each user in the training and validation parts.
    valid: Vec<u32>,
    /// Users of whom nothing is asked.
    left_out: usize,
}

impl Split {
    /// # Errors
    /// A split by time of data without one; a split that leaves nothing to learn from.
    pub fn new(data: &Dataset, kind: SplitKind) -> Result<Split> {
        let users = 0..data.users() as u32;
        let (train, valid): (Vec<u32>, Vec<u32>) = match kind {
            SplitKind::LeaveOneOut => users
                .map(|u| match data.history(u).len() as u32 {
                    n @ 0..3 => (n, n),
                    n => (n - 2, n - 1),
                })
                .unzip(),
            SplitKind::Ratio([train, valid, _]) => users
                .map(|u| {
                    let n = data.history(u).len() as f64;
                    let up_to = |share: f64| (n * share + 1e-9).floor() as u32;
                    // Nothing can be asked of a user of whom nothing is known.
                    (up_to(train).max(1), up_to(train + valid).max(1))
                })
                .unzip(),
            SplitKind::Time([train, valid, _]) => {
                if data.clock() == Clock::Order {
                    return Err(Error::Usage(format!(
                        "split \"{kind}\": this data set has no times, only an order; use leave-one-out or ratio"
                    )));
                }
                let mut times = data.all_times().to_vec();
                times.sort_unstable();
                let cut = |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)];
                let (first, second) = (cut(train), cut(train + valid));
                let before = |u: u32, cut: i64| data.times(u).partition_point(|&time| time < cut) as u32;
                users.map(|u| (before(u, first), before(u, second))).unzip()
            }
        };
        if train.iter().all(|&n| n < 2) {
            return Err(Error::Usage(format!(
                "split \"{kind}\": no user has two events in the training part ({} users, {} events in all)",
                data.users(),
                data.interactions()
            )));
        }
        let mut split = Split { kind, train, valid, left_out: 0 };
        split.left_out = (0..data.users() as u32)
            .filter(|&u| [Part::Valid, Part::Test].iter().all(|&p| split.positions(data, u, p).is_empty()))
            .count();
        Ok(split)
    }

    pub fn kind(&self) -> SplitKind {
        self.kind
    }

    /// Number of the user's events in the training part.
    pub fn train_len(&self, user: u32) -> usize {
        self.train[user as usize] as usize
    }

    /// The user's training part.
    pub fn train<'a>(&self, data: &'a Dataset, user: u32) -> &'a [u32] {
        &data.history(user)[..self.train_len(user)]
    }

    /// The training parts of all users.
    pub fn training<'a>(&self, data: &'a Dataset) -> Vec<&'a [u32]> {
        (0..data.users() as u32).map(|user| self.train(data, user)).collect()
    }

    /// What is asked of the user in `part`: positions in the history, each with something before it.
    fn positions(&self, data: &Dataset, user: u32, part: Part) -> std::ops::Range<u32> {
        let (train, valid) = (self.train[user as usize], self.valid[user as usize]);
        let (start, end) = match part {
            Part::Valid => (train, valid),
            Part::Test => (valid, data.history(user).len() as u32),
        };
        start.max(1)..end.max(start.max(1))
    }

    /// All (user, position of the target in the user's history) of `part`, by user and position. The events before the
    /// position, validation events included, are the target's history.
    pub fn targets<'a>(&'a self, data: &'a Dataset, part: Part) -> impl Iterator<Item = (u32, u32)> + 'a {
        (0..data.users() as u32).flat_map(move |u| self.positions(data, u, part).map(move |position| (u, position)))
    }

    /// How often each item occurs in the training part: \[items + 1\], 0 for padding.
    pub fn popularity(&self, data: &Dataset) -> Vec<u32> {
        let mut counts = vec![0; data.items() + 1];
        for user in 0..data.users() as u32 {
            self.train(data, user).iter().for_each(|&item| counts[item as usize] += 1);
        }
        counts
    }

    /// One line for people: the kind, the users evaluated and those left out, and why.
    pub fn describe(&self) -> String {
        let evaluated = thousands((self.train.len() - self.left_out) as u64);
        let why = match self.kind {
            SplitKind::LeaveOneOut => "fewer than 3 events",
            SplitKind::Ratio(_) => "too few events for a target",
            SplitKind::Time(_) => "no event after the first cut, or none before it",
        };
        format!("{}: {evaluated} users evaluated, {} left out ({why})", self.kind, thousands(self.left_out as u64))
    }
}

/// `1234567` as `1,234,567`.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::cache::tests::{dataset, interactions};
    use crate::data::filter::Ties;

    fn cut(data: &Dataset, kind: &str) -> Split {
        Split::new(data, kind.parse().unwrap()).unwrap()
    }

    fn targets(split: &Split, data: &Dataset, part: Part) -> Vec<(u32, u32)> {
        split.targets(data, part).collect()
    }

    #[test]
    fn leave_one_out() {
        let data = dataset(&[vec![1, 2, 3, 4], vec![1], vec![1, 2], vec![4, 3, 2]]);
        let split = cut(&data, "leave-one-out");
        assert_eq!(targets(&split, &data, Part::Valid), [(0, 2), (3, 1)]);
        assert_eq!(targets(&split, &data, Part::Test), [(0, 3), (3, 2)]);
        let trained: Vec<&[u32]> = (0..4).map(|u| split.train(&data, u)).collect();
        assert_eq!(trained, [&[1, 2][..], &[1], &[1, 2], &[4]]);
        assert_eq!(split.describe(), "leave-one-out: 2 users evaluated, 2 left out (fewer than 3 events)");
        assert_eq!(split.popularity(&data), [0, 3, 2, 0, 1]);
    }

    #[test]
    fn ratio() {
        let data = dataset(&[(1..=10).collect(), vec![1, 2], vec![1]]);
        let split = cut(&data, "ratio:80,10,10");
        assert_eq!((split.train_len(0), split.train_len(1), split.train_len(2)), (8, 1, 1));
        assert_eq!(targets(&split, &data, Part::Valid), [(0, 8)]);
        assert_eq!(targets(&split, &data, Part::Test), [(0, 9), (1, 1)]);
        let split = cut(&data, "ratio:.5,.2,.3");
        assert_eq!(targets(&split, &data, Part::Valid), [(0, 5), (0, 6)]);
        assert_eq!(targets(&split, &data, Part::Test), [(0, 7), (0, 8), (0, 9), (1, 1)]);
    }

    #[test]
    fn time() {
        let mut data = interactions(&[vec![1, 2, 3, 4, 5], vec![1, 2, 3], vec![1, 2]]);
        data.time = [10, 20, 30, 40, 50, 15, 80, 90, 85, 95].map(|t| t * 10_000_000).to_vec();
        let set = Dataset::from_interactions(&data, Ties::File, vec![]).unwrap();
        let split = cut(&set, "time:0.6,0.2,0.2"); // cuts before 80 and before 90
        assert_eq!((0..3).map(|u| split.train_len(u)).collect::<Vec<_>>(), [5, 1, 0]);
        assert_eq!(targets(&split, &set, Part::Valid), [(1, 1)]); // user 2's event at 85 has nothing before it
        assert_eq!(targets(&split, &set, Part::Test), [(1, 2), (2, 1)]);
        data.clock = Clock::Order;
        let set = Dataset::from_interactions(&data, Ties::File, vec![]).unwrap();
        let message = Split::new(&set, "time:0.6,0.2,0.2".parse().unwrap()).unwrap_err().to_string();
        assert!(message.contains("no times, only an order"), "{message}");
    }

    #[test]
    fn nothing_to_learn_from() {
        let data = dataset(&[vec![1], vec![2], vec![1, 2, 3]]);
        let message = Split::new(&data, SplitKind::LeaveOneOut).unwrap_err().to_string();
        assert!(
            message.contains("no user has two events in the training part (3 users, 5 events in all)"),
            "{message}"
        );
    }

    #[test]
    fn written_and_read() {
        for text in ["leave-one-out", "ratio:80,10,10", "time:60,20,20"] {
            assert_eq!(text.parse::<SplitKind>().unwrap().to_string(), text);
        }
        assert_eq!("time:0.8,0.1,0.1".parse::<SplitKind>().unwrap().to_string(), "time:80,10,10");
        for wrong in [
            "",
            "loo",
            "ratio:80,10",
            "ratio:80,10,20",
            "ratio:0,50,50",
            "ratio:nan,1,1",
            "time:1,1,1",
            "week:80,10,10",
        ] {
            let message = wrong.parse::<SplitKind>().unwrap_err();
            assert!(message.starts_with(&format!("split {wrong:?}: expected ")), "{message}");
        }
    }

    #[test]
    fn grouped_digits() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
    }
}
