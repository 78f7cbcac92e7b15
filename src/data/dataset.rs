//! A data set: for every user the items in order of time (CSR arrays), and the ids that users and items have outside.

use super::filter::{Ties, histories};
use super::readers::{Clock, Interactions, Names};
use crate::error::{Error, Result, nearest};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

/// Which items a data set has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Catalogue {
    /// Those that interactions have.
    #[default]
    Interactions,
    /// Also those that only files of items have.
    Features,
}

/// Interactions as histories: for every user the items in order of time.
///
/// Users count from 0; items from 1, since 0 is padding.
pub struct Dataset {
    /// \[users + 1\]
    pub(super) offsets: Vec<u64>,
    /// \[interactions\], as are the columns below.
    pub(super) items: Vec<u32>,
    pub(super) times: Vec<i64>,
    pub(super) values: Option<Vec<f32>>,
    pub(super) behaviours: Option<Vec<u8>>,
    pub(super) parts: Option<Vec<u8>>,
    pub(super) user_names: Names,
    pub(super) item_names: Names,
    pub(super) behaviour_names: Vec<String>,
    pub(super) clock: Clock,
    pub(super) notes: Vec<String>,
    pub(super) fingerprint: String,
    /// The data sets that it is joined from; empty if it is one.
    pub(super) sets: Vec<Set>,
    pub(super) held_out: Option<HeldOut>,
}

/// One of the data sets that another is joined from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pub name: String,
    pub users: Range<u32>,
    /// From 1.
    pub items: Range<u32>,
}

/// Items that a data set has only as the last events of histories, which are test targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldOut {
    /// Ascending.
    pub(super) items: Vec<u32>,
    /// Fingerprint of the data with all events.
    pub of: String,
}

impl HeldOut {
    pub fn has(&self, item: u32) -> bool {
        self.items.binary_search(&item).is_ok()
    }
}

impl Dataset {
    /// Builds the histories of `data`. `notes` says what was read, for people. Each column of `data` goes as soon as its copy
    /// in the new order is there.
    pub fn new(data: Interactions, ties: Ties, notes: Vec<String>) -> Dataset {
        let (order, offsets) = histories(&data, ties);
        let Interactions { user, item, time, value, behaviour, behaviours, parts, .. } = data;
        let (user_names, item_names, clock) = (data.user_names, data.item_names, data.clock);
        drop(user);
        let mut dataset = Dataset {
            offsets,
            items: gather(&order, item, |item| item + 1),
            times: gather(&order, time, |time| time),
            values: value.map(|value| gather(&order, value, |value| value)),
            behaviours: behaviour.map(|behaviour| gather(&order, behaviour, |behaviour| behaviour)),
            parts: parts.map(|parts| gather(&order, parts, |part| part)),
            user_names,
            item_names,
            behaviour_names: behaviours,
            clock,
            notes,
            fingerprint: String::new(),
            sets: vec![],
            held_out: None,
        };
        dataset.fingerprint = dataset.hash();
        dataset
    }

    /// Data sets as one, each with users and items of its own, whose ids begin with the name of the set. Only histories and their
    /// times are kept.
    pub fn joined(sets: &[(String, Arc<Dataset>)]) -> Dataset {
        let (mut offsets, mut items, mut times) = (vec![0], vec![], vec![]);
        let (mut user_names, mut item_names, mut notes) = (Names::default(), Names::default(), vec![]);
        let mut ranges: Vec<Set> = vec![];
        for (name, set) in sets {
            let (users, first, events) = (user_names.len() as u32, item_names.len() as u32, items.len() as u64);
            offsets.extend(set.offsets[1..].iter().map(|end| events + end));
            items.extend(set.items.iter().map(|item| first + item));
            times.extend_from_slice(&set.times);
            set.user_names.iter().for_each(|user| user_names.push(&format!("{name}:{user}")));
            set.item_names.iter().for_each(|item| item_names.push(&format!("{name}:{item}")));
            notes.extend(set.notes.iter().map(|note| format!("{name}: {note}")));
            let ends = (user_names.len() as u32, item_names.len() as u32);
            ranges.push(Set { name: name.clone(), users: users..ends.0, items: first + 1..ends.1 + 1 });
        }
        let mut dataset = Dataset {
            offsets,
            items,
            times,
            values: None,
            behaviours: None,
            parts: None,
            user_names,
            item_names,
            behaviour_names: vec![],
            clock: sets.first().map_or(Clock::Seconds, |(_, set)| set.clock),
            notes,
            fingerprint: String::new(),
            sets: ranges,
            held_out: None,
        };
        dataset.fingerprint = dataset.hash();
        dataset
    }

    /// The data sets that it is joined from; empty if it is one.
    pub fn sets(&self) -> &[Set] {
        &self.sets
    }

    /// The items that are held out of it, where some are.
    pub fn held_out(&self) -> Option<&HeldOut> {
        self.held_out.as_ref()
    }

    /// The items that compete for a user: those of the user's own data set.
    pub fn competing(&self, user: u32) -> Range<u32> {
        let own = self.sets.iter().find(|set| set.users.contains(&user));
        own.map_or(1..self.items() as u32 + 1, |set| set.items.clone())
    }

    /// The arrays, as bytes, under their names in images and in the fingerprint.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let [users, items] = [&self.user_names, &self.item_names];
        let all = [
            Some(("offsets", bytemuck::cast_slice(&self.offsets))),
            Some(("items", bytemuck::cast_slice(&self.items))),
            Some(("times", bytemuck::cast_slice(&self.times))),
            self.values.as_ref().map(|values| ("values", bytemuck::cast_slice(values))),
            self.behaviours.as_ref().map(|behaviours| ("behaviours", &behaviours[..])),
            self.parts.as_ref().map(|parts| ("parts", &parts[..])),
            Some(("user_bytes", users.bytes())),
            Some(("user_ends", bytemuck::cast_slice(users.ends()))),
            Some(("item_bytes", items.bytes())),
            Some(("item_ends", bytemuck::cast_slice(items.ends()))),
        ];
        all.into_iter().flatten()
    }

    /// What [`Dataset::fingerprint`] gives. Runs keep it: it must stay what it was for the same data.
    pub(super) fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for (name, bytes) in self.sections() {
            hash.update(name);
            hash.update(bytes);
            hash.update((bytes.len() as u64).to_le_bytes());
        }
        hash.update(self.behaviour_names.join("\n"));
        hex(&hash.finalize())
    }

    /// Adds items that no interaction has, after the others: their ids, of which those that are there already count once.
    /// Returns their number. The data set is another one then.
    pub(super) fn add_items<S: AsRef<str>>(&mut self, ids: impl IntoIterator<Item = S>) -> usize {
        let before = self.items();
        let mut known: HashSet<String> = self.item_names.iter().map(str::to_string).collect();
        for id in ids {
            if known.insert(id.as_ref().to_string()) {
                self.item_names.push(id.as_ref());
            }
        }
        if self.items() > before {
            self.fingerprint = self.hash();
        }
        self.items() - before
    }

    /// Adds a line to [`Dataset::notes`].
    pub(super) fn note(&mut self, line: String) {
        self.notes.push(line);
    }

    /// Where each user's interactions begin, and the end of the last's: \[users + 1\].
    pub fn offsets(&self) -> &[u64] {
        &self.offsets
    }

    /// Length of the longest history.
    pub fn longest(&self) -> usize {
        self.offsets.windows(2).map(|ends| (ends[1] - ends[0]) as usize).max().unwrap_or(0)
    }

    /// The histories of all users, one after the other: \[interactions\].
    pub fn all_items(&self) -> &[u32] {
        &self.items
    }

    /// The times of [`Dataset::all_items`].
    pub fn all_times(&self) -> &[i64] {
        &self.times
    }

    pub fn users(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Number of items without padding: the largest item id.
    pub fn items(&self) -> usize {
        self.item_names.len()
    }

    pub fn interactions(&self) -> usize {
        self.items.len()
    }

    fn of(&self, user: u32) -> Range<usize> {
        self.offsets[user as usize] as usize..self.offsets[user as usize + 1] as usize
    }

    /// The user's items, oldest first.
    pub fn history(&self, user: u32) -> &[u32] {
        &self.items[self.of(user)]
    }

    /// The times of the user's items, in units of [`Dataset::clock`].
    pub fn times(&self, user: u32) -> &[i64] {
        &self.times[self.of(user)]
    }

    /// The values (ratings) of the user's items, if the file has them.
    pub fn values(&self, user: u32) -> Option<&[f32]> {
        self.values.as_ref().map(|values| &values[self.of(user)])
    }

    /// The behaviours of the user's items as numbers in [`Dataset::behaviour_names`], if the file has them.
    pub fn behaviours(&self, user: u32) -> Option<&[u8]> {
        self.behaviours.as_ref().map(|behaviours| &behaviours[self.of(user)])
    }

    /// The part of the split (0 training, 1 validation, 2 test) of each of the user's items, in this order, where the data
    /// comes cut in files.
    pub fn parts(&self, user: u32) -> Option<&[u8]> {
        self.parts.as_ref().map(|parts| &parts[self.of(user)])
    }

    /// Whether the data comes cut in files: see [`Dataset::parts`].
    pub fn has_parts(&self) -> bool {
        self.parts.is_some()
    }

    /// The names of the behaviours that the events have; none where they have no behaviours.
    pub fn behaviours_in_use(&self) -> &[String] {
        if self.behaviours.is_some() { &self.behaviour_names } else { &[] }
    }

    pub fn behaviour_names(&self) -> &[String] {
        &self.behaviour_names
    }

    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// What was read and what was left out, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The id that the user has in the file.
    pub fn user_name(&self, user: u32) -> &str {
        self.user_names.get(user)
    }

    /// The id that the item has in the file. `item` counts from 1.
    pub fn item_name(&self, item: u32) -> &str {
        self.item_names.get(item - 1)
    }

    /// The users of these ids, in this order.
    ///
    /// # Errors
    /// If an id does not occur.
    pub fn users_named<S: AsRef<str>>(&self, names: &[S]) -> Result<Vec<u32>> {
        let mut wanted: HashMap<&str, Option<u32>> = names.iter().map(|name| (name.as_ref(), None)).collect();
        for user in 0..self.users() as u32 {
            if let Some(found) = wanted.get_mut(self.user_name(user)) {
                *found = Some(user);
            }
        }
        names
            .iter()
            .map(|name| {
                let unknown = || self.unknown_user(name.as_ref());
                wanted[name.as_ref()].ok_or_else(unknown)
            })
            .collect()
    }

    /// The error for an id that no user has, with the nearest one.
    fn unknown_user(&self, name: &str) -> Error {
        let near = nearest_id(name, (0..self.users() as u32).map(|user| self.user_name(user)));
        let meant = near.map(|near| format!("; the nearest id is {near:?}")).unwrap_or_default();
        Error::Usage(format!("no user {name:?} in this data set{meant}"))
    }

    /// A hash, in hex, of histories, times and ids: equal for equal data, whatever file they came from.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (users, items, interactions) = (self.users(), self.items(), self.interactions());
        write!(f, "Dataset {{ {users} users, {items} items, {interactions} interactions }}")
    }
}

/// The id that was most likely meant by `wanted`: of numbers the nearest, else the most similar, if one is near.
pub(crate) fn nearest_id<'a>(wanted: &str, ids: impl Iterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let by_number = || {
        let wanted: u64 = wanted.parse().ok()?;
        ids.clone().filter_map(|id| Some((id.parse::<u64>().ok()?.abs_diff(wanted), id))).min()
    };
    by_number().map(|(_, id)| id).or_else(|| nearest(wanted, ids.clone()))
}

/// A column in the given order; the column itself goes.
fn gather<T: Copy>(order: &[u32], column: Vec<T>, to: impl Fn(T) -> T) -> Vec<T> {
    order.iter().map(|&at| to(column[at as usize])).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Interactions of users "0", "1", ... with items named by their numbers; each event a second after the one before.
    pub(crate) fn interactions(histories: &[Vec<u32>]) -> Interactions {
        let mut items = crate::data::readers::Interner::default();
        let pairs =
            || histories.iter().zip(0u32..).flat_map(|(history, user)| history.iter().map(move |&item| (user, item)));
        let item: Vec<u32> = pairs().map(|(_, item)| items.intern(item.to_string().as_bytes()).unwrap()).collect();
        Interactions {
            user: pairs().map(|(user, _)| user).collect(),
            time: (0..item.len() as i64).map(|i| 1_000_000_000 + i).collect(),
            item,
            value: None,
            behaviour: None,
            behaviours: vec![],
            parts: None,
            user_names: (0..histories.len()).map(|user| user.to_string()).collect(),
            item_names: items.names,
            clock: Clock::Seconds,
            unended: false,
            notes: vec![],
        }
    }

    pub(crate) fn dataset(histories: &[Vec<u32>]) -> Dataset {
        Dataset::new(interactions(histories), Ties::File, vec![])
    }

    #[test]
    fn histories_and_names() {
        let mut data = interactions(&[vec![30, 10], vec![], vec![10, 20, 10]]);
        data.value = Some(vec![1.0, 2.0, 3.0, 4.0, 5.0]);
        data.behaviour = Some(vec![0, 1, 0, 1, 1]);
        data.behaviours = vec!["click".to_string(), "buy".to_string()];
        data.time = vec![5, 4, 3, 2, 1];
        let set = Dataset::new(data.clone(), Ties::File, vec!["note".to_string()]);
        assert_eq!((set.users(), set.items(), set.interactions()), (3, 3, 5));
        assert_eq!((set.history(0), set.history(1), set.history(2)), (&[2, 1][..], &[][..], &[2, 3, 2][..]));
        assert_eq!(
            (set.times(2), set.values(2), set.behaviours(2)),
            (&[1, 2, 3][..], Some(&[5.0, 4.0, 3.0][..]), Some(&[1, 1, 0][..]))
        );
        assert_eq!((set.item_name(1), set.item_name(3), set.user_name(2)), ("30", "20", "2"));
        assert_eq!((set.notes(), set.behaviour_names()), (&["note".to_string()][..], &data.behaviours[..]));
        assert_eq!(set.users_named(&["2", "0"]).unwrap(), [2, 0]);
        assert!(set.users_named(&["3"]).unwrap_err().to_string().contains("no user \"3\""));
    }

    #[test]
    fn joined_sets_have_users_and_items_of_their_own() {
        let sets = [("a", [vec![30, 10], vec![10]]), ("b", [vec![10, 20], vec![20, 30]])];
        let sets = sets.map(|(name, histories)| (name.to_string(), Arc::new(dataset(&histories))));
        let joined = Dataset::joined(&sets);
        assert_eq!((joined.users(), joined.items(), joined.interactions()), (4, 5, 7));
        assert_eq!((joined.history(0), joined.history(2), joined.history(3)), (&[1, 2][..], &[3, 4][..], &[4, 5][..]));
        assert_eq!((joined.user_name(2), joined.item_name(2), joined.item_name(3)), ("b:0", "a:10", "b:10"));
        assert_eq!((joined.competing(1), joined.competing(2)), (1..3, 3..6));
        assert_ne!(joined.fingerprint(), Dataset::joined(&sets[..1]).fingerprint());
    }

    #[test]
    fn items_without_interactions_come_last() {
        let mut set = dataset(&[vec![30, 10], vec![10]]);
        let before = set.fingerprint().to_string();
        assert_eq!(set.add_items(["10"]), 0);
        assert_eq!(set.fingerprint(), before);
        assert_eq!(set.add_items(["x", "10", "y", "x"]), 2);
        assert_eq!((set.items(), set.item_name(3), set.item_name(4)), (4, "x", "y"));
        assert_ne!(set.fingerprint(), before);
        assert_eq!(set.history(0), [1, 2]);
    }

    #[test]
    fn the_fingerprint_is_that_of_the_data() {
        let data = interactions(&[vec![1, 2, 3], vec![2, 3]]);
        let print = |data: &Interactions| Dataset::new(data.clone(), Ties::File, vec![]).fingerprint().to_string();
        assert_eq!(print(&data), print(&data.clone()));
        let mut other = data.clone();
        other.time[4] += 1;
        assert_ne!(print(&data), print(&other));
        let mut other = data.clone();
        other.item.swap(0, 1);
        assert_ne!(print(&data), print(&other));
        let mut other = data.clone();
        other.user_names = ["0", "x"].iter().collect();
        assert_ne!(print(&data), print(&other));
    }

    /// Old runs must know their data again: this is what the first versions gave for it.
    #[test]
    fn the_fingerprint_stays_what_it_was() {
        let mut data = interactions(&[vec![1, 2, 3], vec![2, 3]]);
        data.behaviour = Some(vec![0, 1, 0, 1, 1]);
        data.behaviours = vec!["click".to_string(), "buy".to_string()];
        let print = Dataset::new(data, Ties::File, vec![]).fingerprint().to_string();
        assert_eq!(print, "25b74b12e09ef7a52f90765376a313b80480df3ae220fbb533bfbbb8abcf5571");
    }
}
