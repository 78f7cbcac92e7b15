//! What a data set holds, in a few lines: `wgrec data inspect`.

use super::dataset::Dataset;
use super::readers::Clock;
use super::split::{Split, SplitKind};
use indicatif::HumanCount;
use std::fmt;

/// Counts and shares of a data set. Its `Display` is a table of one line each.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    pub users: usize,
    pub items: usize,
    pub interactions: usize,
    /// Interactions of a user: minimum, 5%, 25%, median, 75%, 95%, maximum.
    pub lengths: [u32; 7],
    /// Interactions of an item, likewise.
    pub popularity: [u32; 7],
    /// First and last time.
    pub time: (i64, i64),
    pub clock: Clock,
    /// Share of the events, of those with one before them, at the same time as the one before.
    pub ties: f64,
    /// Share of the users, of those with two events, whose last two events have the same time.
    pub last_ties: f64,
    /// Share of the events whose item the user had before.
    pub repeats: f64,
    /// Smallest, mean and largest value, if there are any.
    pub values: Option<[f32; 3]>,
    /// Name and number of events of each behaviour.
    pub behaviours: Vec<(String, u64)>,
    /// What the split makes of it.
    pub split: String,
    notes: Vec<String>,
    fingerprint: String,
}

impl Summary {
    pub fn of(data: &Dataset, split: SplitKind) -> Summary {
        let (mut followers, mut ties, mut pairs, mut last_ties, mut repeats) = (0, 0, 0, 0, 0);
        let mut popularity = vec![0u32; data.items() + 1];
        let mut seen_by = vec![u32::MAX; data.items() + 1];
        let mut behaviours = vec![0; data.behaviour_names().len()];
        let (mut low, mut high, mut sum) = (f32::INFINITY, f32::NEG_INFINITY, 0.0);
        for user in 0..data.users() as u32 {
            let times = data.times(user);
            followers += times.len().saturating_sub(1);
            ties += times.windows(2).filter(|pair| pair[0] == pair[1]).count();
            if let [.., a, b] = times {
                pairs += 1;
                last_ties += (a == b) as usize;
            }
            for &item in data.history(user) {
                popularity[item as usize] += 1;
                repeats += (std::mem::replace(&mut seen_by[item as usize], user) == user) as usize;
            }
            for &value in data.values(user).unwrap_or_default() {
                (low, high, sum) = (low.min(value), high.max(value), sum + value as f64);
            }
            data.behaviours(user).unwrap_or_default().iter().for_each(|&b| behaviours[b as usize] += 1);
        }
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        let times = data.all_times();
        let n = data.interactions();
        Summary {
            users: data.users(),
            items: data.items(),
            interactions: n,
            lengths: quantiles((0..data.users() as u32).map(|user| data.history(user).len() as u32).collect()),
            popularity: quantiles(popularity.split_off(1)),
            time: (times.iter().min().copied().unwrap_or(0), times.iter().max().copied().unwrap_or(0)),
            clock: data.clock(),
            ties: share(ties, followers),
            last_ties: share(last_ties, pairs),
            repeats: share(repeats, n),
            values: low.is_finite().then(|| [low, (sum / n as f64) as f32, high]),
            behaviours: data.behaviour_names().iter().cloned().zip(behaviours).collect(),
            split: Split::new(data, split).map_or_else(|e| e.to_string(), |split| split.describe(data)),
            notes: data.notes().to_vec(),
            fingerprint: data.fingerprint().to_string(),
        }
    }
}

/// Minimum, 5%, 25%, median, 75%, 95% and maximum; zeros for nothing.
fn quantiles(mut numbers: Vec<u32>) -> [u32; 7] {
    numbers.sort_unstable();
    let last = numbers.len().saturating_sub(1);
    [0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0]
        .map(|q| numbers.get((q * last as f64).round() as usize).copied().unwrap_or(0))
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |n: usize| HumanCount(n as u64);
        for (i, note) in self.notes.iter().enumerate() {
            writeln!(f, "{:<14}{note}", if i == 0 { "read as" } else { "" })?;
        }
        writeln!(f, "{:<14}{}", "users", count(self.users))?;
        writeln!(f, "{:<14}{}", "items", count(self.items))?;
        writeln!(f, "{:<14}{}", "interactions", count(self.interactions))?;
        let cells = self.users as f64 * self.items as f64;
        writeln!(f, "{:<14}{:.3}%", "density", 100.0 * self.interactions as f64 / cells.max(1.0))?;
        let header = ["min", "5%", "25%", "50%", "75%", "95%", "max"];
        writeln!(f, "{:<14}{}", "", header.map(|name| format!("{name:>9}")).concat())?;
        for (name, row) in [("per user", self.lengths), ("per item", self.popularity)] {
            writeln!(f, "{name:<14}{}", row.map(|n| format!("{:>9}", HumanCount(n as u64).to_string())).concat())?;
        }
        if let Some([low, mean, high]) = self.values {
            writeln!(f, "{:<14}{low} to {high}, mean {mean:.3}", "values")?;
        }
        for (i, (name, n)) in self.behaviours.iter().enumerate() {
            writeln!(f, "{:<14}{name} {}", if i == 0 { "behaviours" } else { "" }, HumanCount(*n))?;
        }
        let [first, last] = [self.time.0, self.time.1].map(|time| self.clock.show(time));
        let unit = self.clock.name();
        match self.clock {
            Clock::File => writeln!(f, "{:<14}none: the order of the file", "time")?,
            Clock::Order => writeln!(f, "{:<14}none: positions, only their order counts", "time")?,
            _ => writeln!(f, "{:<14}{first} to {last} UTC, in {unit}", "time")?,
        }
        let percent = |share: f64| 100.0 * share;
        writeln!(
            f,
            "{:<14}{:.1}% of the events at the time of the user's event before; {:.1}% of the users in their last two",
            "equal times",
            percent(self.ties),
            percent(self.last_ties)
        )?;
        writeln!(
            f,
            "{:<14}{:.1}% of the events of an item that the user had before",
            "repeats",
            percent(self.repeats)
        )?;
        writeln!(f, "{:<14}{}", "split", self.split)?;
        writeln!(f, "{:<14}{}", "fingerprint", &self.fingerprint[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::tests::interactions;
    use crate::data::filter::Ties;

    #[test]
    fn counts_and_shares() {
        let mut data = interactions(&[vec![1, 2, 1, 3], vec![2], vec![2, 3]]);
        data.time = [10, 20, 20, 30, 50, 60, 60].map(|t| t * 100_000_000).to_vec();
        data.value = Some(vec![1.0, 2.0, 3.0, 4.0, 5.0, 1.0, 5.0]);
        let data = Dataset::new(data, Ties::File, vec!["csv".to_string()]);
        let summary = Summary::of(&data, SplitKind::LeaveOneOut);
        assert_eq!((summary.users, summary.items, summary.interactions), (3, 3, 7));
        assert_eq!((summary.lengths, summary.popularity), ([1, 1, 2, 2, 4, 4, 4], [2, 2, 2, 2, 3, 3, 3]));
        assert_eq!((summary.ties, summary.last_ties, summary.repeats), (0.5, 0.5, 1.0 / 7.0));
        assert_eq!(summary.values, Some([1.0, 3.0, 5.0]));
        let text = summary.to_string();
        for part in
            ["read as       csv", "density       77.778%", "split         leave-one-out: 1 users evaluated, 2 left out"]
        {
            assert!(text.contains(part), "{text}");
        }
    }
}
