//! From what a file says to what is learned from: thresholds, duplicates, minimum counts, dense ids, order in time.

use super::readers::Interactions;
use crate::error::{Error, Result};
use crate::tensor::philox::Stream;
use serde::{Deserialize, Serialize};

/// Which repeated interactions are dropped; the first in the file stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Dedup {
    /// None.
    None,
    /// Those of the same user, item, time and behaviour.
    #[default]
    Event,
    /// Those of the same user, item and behaviour.
    Pair,
}

/// The order of a user's interactions of equal time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Ties {
    /// As in the file.
    #[default]
    File,
    /// By the external id of the item, numbers by their value.
    Item,
    /// At random, always the same way.
    Random,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Filter {
    /// Behaviours that are kept, in the order in which they are numbered. None named: all, from the lightest to the gravest where
    /// all are known (click, favourite, cart, buy, and other words for them), else as they come in the file.
    pub behaviours: Vec<String>,
    /// Interactions of a smaller value are dropped.
    pub min_value: Option<f32>,
    pub dedup: Dedup,
    /// Users with fewer interactions are dropped.
    pub min_user: u32,
    /// Items with fewer interactions are dropped.
    pub min_item: u32,
    pub ties: Ties,
    /// Whether events stay in the parts of the split that their files are, each part after the one before it. Not where
    /// histories are cut again.
    pub parts: bool,
}

/// Words for behaviours, the lightest first.
const FUNNEL: [&[&str]; 4] = [
    &["click", "clicks", "pv", "view", "browse", "clk"],
    &["favourite", "favorite", "fav", "like", "collect"],
    &["cart", "carts", "add_to_cart", "addtocart", "add-to-cart"],
    &["buy", "purchase", "order", "orders", "transaction", "pay"],
];

impl Filter {
    /// # Errors
    /// A behaviour or a value is named that `data` does not have.
    pub fn check(&self, data: &Interactions) -> Result<()> {
        if self.min_value.is_some() && data.value.is_none() {
            return Err(Error::Usage("data.min_value is set, but there are no values".to_string()));
        }
        for (i, name) in self.behaviours.iter().enumerate() {
            if !data.behaviours.contains(name) {
                let there = match data.behaviours.is_empty() {
                    true => "the data has none".to_string(),
                    false => format!("expected some of {}", data.behaviours.join(", ")),
                };
                return Err(Error::Usage(format!("data.behaviours: found {name:?}; {there}")));
            }
            if self.behaviours[..i].contains(name) {
                return Err(Error::Usage(format!("data.behaviours: found {name:?} twice; expected each once")));
            }
        }
        Ok(())
    }

    /// Drops behaviours that are not wanted and numbers the others.
    fn order_behaviours(&self, data: &mut Interactions) -> Option<String> {
        let numbers = data.behaviour.as_ref()?;
        let stage = |name: &String| FUNNEL.iter().position(|words| words.contains(&name.to_lowercase().as_str()));
        let mut order = if self.behaviours.is_empty() { data.behaviours.clone() } else { self.behaviours.clone() };
        if self.behaviours.is_empty() && order.iter().all(|name| stage(name).is_some()) {
            order.sort_by_key(stage);
        }
        let number: Vec<Option<u8>> =
            data.behaviours.iter().map(|name| order.iter().position(|o| o == name).map(|n| n as u8)).collect();
        let keep: Vec<bool> = numbers.iter().map(|&b| number[b as usize].is_some()).collect();
        let gone = retain(data, &keep);
        let numbers = data.behaviour.iter_mut().flatten();
        numbers.for_each(|b| *b = number[*b as usize].expect("only those are left"));
        data.behaviours = order;
        (gone > 0).then(|| format!("behaviours other than {}: {gone} interactions dropped", data.behaviours.join(", ")))
    }

    /// Applies the filter in place and returns a line for the log of each step that did something.
    ///
    /// The filter must have passed [`Filter::check`]. What is left is renumbered: users and items from 0 in the order of
    /// their first interaction that is kept.
    pub fn apply(&self, data: &mut Interactions) -> Vec<String> {
        data.parts = data.parts.take().filter(|_| self.parts);
        let mut log: Vec<String> = self.order_behaviours(data).into_iter().collect();
        if let (Some(min), Some(value)) = (self.min_value, &data.value) {
            let keep: Vec<bool> = value.iter().map(|&v| v >= min).collect();
            let gone = retain(data, &keep);
            log.push(format!("values below {min}: {gone} interactions dropped"));
        }
        if self.dedup != Dedup::None {
            let keep = first_of_each(data, self.dedup);
            let gone = retain(data, &keep);
            if gone > 0 {
                let what = if self.dedup == Dedup::Event { "user, item, time" } else { "user, item" };
                log.push(format!("duplicates ({what}): {gone} interactions dropped"));
            }
        }
        if self.min_user > 1 || self.min_item > 1 {
            log.push(self.min_counts(data));
        }
        renumber(&mut data.user, &mut data.user_names);
        renumber(&mut data.item, &mut data.item_names);
        log
    }

    /// Drops users and items with too few interactions until none is left; returns the log line.
    fn min_counts(&self, data: &mut Interactions) -> String {
        let mut users = counts(&data.user, data.user_names.len());
        let mut items = counts(&data.item, data.item_names.len());
        let present = |counts: &[u32]| counts.iter().filter(|&&n| n > 0).count();
        let (users_before, items_before) = (present(&users), present(&items));
        let mut keep = vec![true; data.len()];
        let mut rounds = 0;
        loop {
            // A round judges all by the counts at its start: which falls first does not matter for the fixpoint.
            let (user_counts, item_counts) = (users.clone(), items.clone());
            let mut changed = false;
            for (at, keep) in keep.iter_mut().enumerate().filter(|(_, keep)| **keep) {
                let (user, item) = (data.user[at] as usize, data.item[at] as usize);
                if user_counts[user] < self.min_user || item_counts[item] < self.min_item {
                    *keep = false;
                    changed = true;
                    users[user] -= 1;
                    items[item] -= 1;
                }
            }
            if !changed {
                break;
            }
            rounds += 1;
        }
        let gone = retain(data, &keep);
        format!(
            "at least {} interactions a user and {} an item: {} users, {} items and {gone} interactions dropped in {rounds} rounds",
            self.min_user,
            self.min_item,
            users_before - present(&users),
            items_before - present(&items),
        )
    }
}

fn counts(ids: &[u32], len: usize) -> Vec<u32> {
    let mut counts = vec![0; len];
    ids.iter().for_each(|&id| counts[id as usize] += 1);
    counts
}

/// Keeps the marked interactions, in place; returns how many went.
fn retain(data: &mut Interactions, keep: &[bool]) -> usize {
    fn column<T>(column: &mut Vec<T>, keep: &[bool]) {
        let mut keep = keep.iter();
        column.retain(|_| *keep.next().expect("one mark for each interaction"));
    }
    let before = data.len();
    column(&mut data.user, keep);
    column(&mut data.item, keep);
    column(&mut data.time, keep);
    data.value.as_mut().map(|value| column(value, keep)).unwrap_or_default();
    data.behaviour.as_mut().map(|behaviour| column(behaviour, keep)).unwrap_or_default();
    data.parts.as_mut().map(|parts| column(parts, keep)).unwrap_or_default();
    before - data.len()
}

fn first_of_each(data: &Interactions, dedup: Dedup) -> Vec<bool> {
    let mut keep = vec![true; data.len()];
    let (mut order, offsets) = by_user(data);
    for user in offsets.windows(2) {
        let events = &mut order[user[0] as usize..user[1] as usize];
        let key = |at: u32| {
            let at = at as usize;
            let time = if dedup == Dedup::Event { data.time[at] } else { 0 };
            (data.item[at], data.behaviour.as_ref().map(|b| b[at]), time)
        };
        events.sort_unstable_by_key(|&at| (key(at), at));
        for pair in events.windows(2) {
            keep[pair[1] as usize] = key(pair[0]) != key(pair[1]);
        }
    }
    keep
}

/// Numbers without gaps, in the order of first use; names that are no longer used go.
fn renumber(ids: &mut [u32], names: &mut super::readers::Names) {
    const UNUSED: u32 = u32::MAX;
    let mut number = vec![UNUSED; names.len()];
    let mut kept = super::readers::Names::default();
    for id in ids.iter_mut() {
        let new = &mut number[*id as usize];
        if *new == UNUSED {
            *new = kept.len() as u32;
            kept.push(names.get(*id));
        }
        *id = *new;
    }
    *names = kept;
}

/// Positions of the interactions grouped by user, in file order within a user, and where each user's begin: \[users + 1\].
fn by_user(data: &Interactions) -> (Vec<u32>, Vec<u64>) {
    let users = data.user_names.len();
    let mut offsets = vec![0u64; users + 1];
    data.user.iter().for_each(|&user| offsets[user as usize + 1] += 1);
    for user in 0..users {
        offsets[user + 1] += offsets[user];
    }
    let mut next = offsets.clone();
    let mut order = vec![0u32; data.len()];
    for (at, &user) in data.user.iter().enumerate() {
        let next = &mut next[user as usize];
        order[*next as usize] = at as u32;
        *next += 1;
    }
    (order, offsets)
}

/// Positions of the interactions, by user and within a user by part, by time and then as `ties` says; and where each user's
/// begin.
pub(crate) fn histories(data: &Interactions, ties: Ties) -> (Vec<u32>, Vec<u64>) {
    let (mut order, offsets) = by_user(data);
    let rank = if ties == Ties::Item { item_ranks(data) } else { vec![] };
    for (user, bounds) in offsets.windows(2).enumerate() {
        let events = &mut order[bounds[0] as usize..bounds[1] as usize];
        match ties {
            Ties::File => {}
            Ties::Item => events.sort_by_key(|&at| rank[data.item[at as usize] as usize]),
            Ties::Random => Stream::new(0, "ties", user as u64).shuffle(events),
        }
        match &data.parts {
            None => events.sort_by_key(|&at| data.time[at as usize]),
            Some(parts) => events.sort_by_key(|&at| (parts[at as usize], data.time[at as usize])),
        }
    }
    (order, offsets)
}

/// The rank of each item among the external ids: by value where they are numbers, else by their letters.
fn item_ranks(data: &Interactions) -> Vec<u32> {
    let names = &data.item_names;
    let mut sorted: Vec<u32> = (0..names.len() as u32).collect();
    sorted
        .sort_by_cached_key(|&item| (names.get(item).parse::<u64>().unwrap_or(u64::MAX), names.get(item).to_string()));
    let mut rank = vec![0; sorted.len()];
    sorted.iter().zip(0..).for_each(|(&item, at)| rank[item as usize] = at);
    rank
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::readers::Clock;

    /// (user, item, time, value) by the letters and numbers of the fixture.
    pub fn fixture(rows: &[(&str, &str, i64, f32)]) -> Interactions {
        let mut users = crate::data::readers::Interner::default();
        let mut items = crate::data::readers::Interner::default();
        Interactions {
            user: rows.iter().map(|r| users.intern(r.0.as_bytes()).unwrap()).collect(),
            item: rows.iter().map(|r| items.intern(r.1.as_bytes()).unwrap()).collect(),
            time: rows.iter().map(|r| r.2).collect(),
            value: Some(rows.iter().map(|r| r.3).collect()),
            behaviour: None,
            behaviours: vec![],
            parts: None,
            user_names: users.names,
            item_names: items.names,
            clock: Clock::Order,
            unended: false,
            notes: vec![],
        }
    }

    fn filter() -> Filter {
        let behaviours = vec![];
        Filter {
            behaviours,
            min_value: None,
            dedup: Dedup::None,
            min_user: 0,
            min_item: 0,
            ties: Ties::File,
            parts: true,
        }
    }

    fn pairs(data: &Interactions) -> Vec<String> {
        let name = |at: usize| format!("{}{}", data.user_names.get(data.user[at]), data.item_names.get(data.item[at]));
        (0..data.len()).map(name).collect()
    }

    #[test]
    fn thresholds_and_duplicates() {
        let rows = [("a", "1", 1, 5.0), ("a", "1", 1, 4.0), ("a", "1", 2, 4.0), ("b", "2", 1, 1.0)];
        let mut data = fixture(&rows);
        let log = Filter { dedup: Dedup::Event, ..filter() }.apply(&mut data);
        assert_eq!(pairs(&data), ["a1", "a1", "b2"]);
        assert_eq!(data.value, Some(vec![5.0, 4.0, 1.0]));
        assert_eq!(log, ["duplicates (user, item, time): 1 interactions dropped"]);

        let mut data = fixture(&rows);
        Filter { dedup: Dedup::Pair, min_value: Some(2.0), ..filter() }.apply(&mut data);
        assert_eq!(pairs(&data), ["a1"]);
        assert_eq!((data.user_names.len(), data.item_names.len()), (1, 1));
    }

    #[test]
    fn minimum_counts_reach_the_fixpoint() {
        // c falls for its single event; that leaves item 3 with one, whose fall leaves b with one, ...
        let mut data = fixture(&[
            ("a", "1", 0, 0.0),
            ("a", "2", 0, 0.0),
            ("d", "1", 0, 0.0),
            ("d", "2", 0, 0.0),
            ("b", "2", 0, 0.0),
            ("b", "3", 0, 0.0),
            ("c", "3", 0, 0.0),
        ]);
        let log = Filter { min_user: 2, min_item: 2, ..filter() }.apply(&mut data);
        assert_eq!(pairs(&data), ["a1", "a2", "d1", "d2"]);
        assert!(log[0].ends_with("2 users, 1 items and 3 interactions dropped in 3 rounds"), "{log:?}");
        let mut nothing = fixture(&[("a", "1", 0, 0.0)]);
        Filter { min_user: 2, ..filter() }.apply(&mut nothing);
        assert!(nothing.is_empty() && nothing.user_names.is_empty());
    }

    #[test]
    fn equal_times() {
        let data = fixture(&[("a", "30", 1, 0.0), ("b", "9", 9, 0.0), ("a", "4", 1, 0.0), ("a", "9", 0, 0.0)]);
        assert_eq!(histories(&data, Ties::File), (vec![3, 0, 2, 1], vec![0, 3, 4]));
        assert_eq!(histories(&data, Ties::Item).0, [3, 2, 0, 1]);
        assert_eq!(histories(&data, Ties::Random).0[0], 3);
        assert_eq!(histories(&data, Ties::Random), histories(&data, Ties::Random));
    }
}
