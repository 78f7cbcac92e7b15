//! Which events are learned from, and which are asked for.

use super::dataset::Dataset;
use super::tasks::Places;
use crate::error::{Error, Result};
use crate::tensor::philox::Stream;
use crate::text::percent;
use indicatif::HumanCount;
use std::sync::{Arc, OnceLock};

mod spec;

pub use spec::{Cut, CutBy, Group, Learn, Part, SplitKind, SplitSpec};

/// Events of the target behaviour in the training part of a user who is cold, at most.
pub const COLD: usize = 2;

/// About the number of users that pre-training is validated on.
const EARLIER_VALID: f64 = 2000.0;

/// Every history cut in three: training, validation, test. What is asked for in a part is known from everything before it.
///
/// Data that comes cut in files, for training, validation and test, keeps that cut unless another is asked for.
///
/// Where a behaviour is the target, a user's last event of it is the test target and the one before it the validation target
/// (leave-one-out). Training sees neither, nor anything later. Where there is a cut, both come after it, or the user is not
/// evaluated.
#[derive(Clone, Debug)]
pub struct Split {
    spec: SplitSpec,
    /// Events of each user before the first that is learned to predict.
    first: Option<Vec<u32>>,
    /// Events of each user in the training part.
    train: Vec<u32>,
    /// Events of each user in the training and validation parts.
    valid: Vec<u32>,
    /// Users without a target, and other users without a target of the group that is ranked.
    left_out: usize,
    outside: usize,
    /// What a task asks for and learns from, if the split is one of a task.
    task: Option<Arc<Places>>,
    /// Whether each item is cold, once it is asked for: \[items + 1\].
    cold: OnceLock<Vec<bool>>,
}

impl Split {
    /// # Errors
    /// A split or a cut by time of data without one; a target behaviour of data without behaviours; a split that leaves nothing
    /// to learn from.
    pub fn new(data: &Dataset, spec: impl Into<SplitSpec>) -> Result<Split> {
        let spec = spec.into();
        let SplitSpec { kind, target, .. } = spec;
        if let (Some(_), Some(None)) = (target, (data.users() > 0).then(|| data.behaviours(0))) {
            return Err(Error::Usage("data.target is set, but the data has no behaviours".to_string()));
        }
        if let Some(found) = spec.users.filter(|users| *users > data.users()) {
            let there = data.users();
            return Err(Error::Usage(format!("data.learn_users: found {found}; the data have {there} users")));
        }
        let users = 0..data.users() as u32;
        let length = |user: u32| data.history(user).len() as u32;
        let cut: Option<Vec<u32>> = match spec.cut {
            None => None,
            Some(Cut { share, by: CutBy::User }) => {
                Some(users.clone().map(|u| first(length(u) as usize, share) as u32).collect())
            }
            Some(Cut { share, by: CutBy::Time }) => {
                let cut = time_cuts(data, "data.cut", &[share])?[0];
                Some(users.clone().map(|u| before(data, u, cut)).collect())
            }
        };
        let cut_of = |user: u32| cut.as_ref().map_or(0, |cut| cut[user as usize]);
        let (mut train, mut valid): (Vec<u32>, Vec<u32>) = match kind {
            SplitKind::LeaveOneOut if data.has_parts() => {
                let up_to = |u: u32, part: u8| {
                    data.parts(u).unwrap_or_default().partition_point(|&of_event| of_event <= part) as u32
                };
                users.map(|u| (up_to(u, 0), up_to(u, 1))).unzip()
            }
            SplitKind::LeaveOneOut => users
                .map(|u| match last_two(data, u, target) {
                    // Something is known of a user before anything is asked, and both targets are later ones.
                    Some(place) if place > 0 && place >= cut_of(u) => (place, place + 1),
                    _ => (length(u), length(u)),
                })
                .unzip(),
            SplitKind::Ratio([train, valid, _]) => users
                .map(|u| {
                    let up_to = |share: f64| first(length(u) as usize, share) as u32;
                    // Nothing can be asked of a user of whom nothing is known.
                    (up_to(train).max(1), up_to(train + valid).max(1))
                })
                .unzip(),
            SplitKind::Time([train, valid, _]) => {
                let cuts = time_cuts(data, &format!("split \"{kind}\""), &[train, train + valid])?;
                users.map(|u| (before(data, u, cuts[0]), before(data, u, cuts[1]))).unzip()
            }
        };
        if let Some(cut) = &cut {
            // Whatever the kind, the targets come after the cut.
            train.iter_mut().zip(cut).for_each(|(train, &cut)| *train = (*train).max(cut));
            valid.iter_mut().zip(&train).for_each(|(valid, &train)| *valid = (*valid).max(train));
        }
        let mut first = None;
        match (spec.learn, &cut) {
            (Learn::Targets | Learn::Any, _) => {}
            (Learn::Later, Some(cut)) => first = Some(cut.clone()),
            (Learn::Earlier, Some(cut)) => {
                (train, valid) = earlier(&train, cut);
            }
            (learn, None) => {
                let learn = serde_json::to_value(learn).expect("a name");
                return Err(Error::Usage(format!("data.learn={learn} needs a data.cut")));
            }
        }
        let spec = match spec.learn {
            // Pre-training predicts every behaviour, of every user.
            Learn::Earlier => SplitSpec { target: None, only: Group::All, ..spec },
            _ => spec,
        };
        let cold = OnceLock::new();
        let mut split = Split { spec, first, train, valid, left_out: 0, outside: 0, task: None, cold };
        let learns = |user: u32| (1..split.train[user as usize]).any(|place| split.learns(data, user, place));
        if !(0..data.users() as u32).any(learns) {
            let what = match split.learns_all() {
                true => "two events in the training part",
                false => "an event to learn to predict after another in the training part",
            };
            return Err(Error::Usage(format!(
                "split \"{kind}\": no user has {what} ({} users, {} events in all)",
                data.users(),
                data.interactions()
            )));
        }
        let asked = |group: Group| {
            let of_user = |&user: &u32| [Part::Valid, Part::Test].iter().any(|&p| split.has(data, user, p, group));
            (0..data.users() as u32).filter(of_user).count()
        };
        let (all, inside) = (asked(Group::All), asked(split.spec.only));
        (split.left_out, split.outside) = (data.users() - all, all - inside);
        Ok(split)
    }

    /// Of data sets that were joined in this order, each split by itself.
    ///
    /// # Errors
    /// Those of [`Split::new`], with the name of the data set.
    pub fn joined(sets: &[(String, Arc<Dataset>)], spec: impl Into<SplitSpec>) -> Result<Split> {
        let spec = spec.into();
        let cold = OnceLock::new();
        let mut all =
            Split { spec, first: None, train: vec![], valid: vec![], left_out: 0, outside: 0, task: None, cold };
        for (name, set) in sets {
            let split = Split::new(set, spec).map_err(|e| e.of(name))?;
            all.spec = split.spec;
            all.train.extend(split.train);
            all.valid.extend(split.valid);
            if let Some(first) = split.first {
                all.first.get_or_insert_default().extend(first);
            }
            all.left_out += split.left_out;
            all.outside += split.outside;
        }
        Ok(all)
    }

    /// Histories without targets, of which nothing is held out, to recommend from. `target`: the number of the behaviour that is
    /// recommended.
    pub fn whole(data: &Dataset, target: Option<u8>) -> Split {
        let all: Vec<u32> = (0..data.users() as u32).map(|user| data.history(user).len() as u32).collect();
        let spec = SplitSpec { target, ..SplitSpec::default() };
        let cold = OnceLock::new();
        Split {
            spec,
            first: None,
            train: all.clone(),
            valid: all,
            left_out: data.users(),
            outside: 0,
            task: None,
            cold,
        }
    }

    /// Of a task: `places` by user, of whom the events before `cuts` are read in training.
    pub fn of_task(places: Places, cuts: &[u32]) -> Split {
        let train: Vec<u32> = cuts.iter().map(|&cut| places.end(cut)).collect();
        let asked = |user: usize| places.valid()[user].is_some() || places.test()[user].is_some();
        let left_out = (0..cuts.len()).filter(|&user| !asked(user)).count();
        let (valid, spec, cold) = (train.clone(), SplitSpec::default(), OnceLock::new());
        Split { spec, first: None, train, valid, left_out, outside: 0, task: Some(Arc::new(places)), cold }
    }

    /// Whether labels are classes in place of items.
    pub fn has_classes(&self) -> bool {
        self.task.as_ref().is_some_and(|task| task.labels.is_some())
    }

    /// The number of items, or of the classes in place of them: their ids count from 1.
    pub fn classes(&self, data: &Dataset) -> usize {
        self.task.as_ref().map_or(data.items(), |task| task.classes(data.items()))
    }

    /// The number of items, or of the classes in place of them, that compete for a user.
    pub fn competing(&self, data: &Dataset, user: u32) -> usize {
        if self.has_classes() { self.classes(data) } else { data.competing(user).len() }
    }

    /// What is to be found at a position of a user's history: its item, or the class of the item or the user.
    pub fn label(&self, data: &Dataset, user: u32, position: u32) -> u32 {
        match &self.task {
            Some(task) => task.label(data, user, position),
            None => data.history(user)[position as usize],
        }
    }

    /// The labels that are learned of each user.
    pub fn learned_labels(&self, data: &Dataset) -> Vec<Vec<u32>> {
        let of = |user: u32| {
            let learned = (1..self.train[user as usize]).filter(|&place| self.learns(data, user, place));
            learned.map(|place| self.label(data, user, place)).collect()
        };
        (0..data.users() as u32).map(of).collect()
    }

    pub fn kind(&self) -> SplitKind {
        self.spec.kind
    }

    /// Number of the behaviour that is asked for, where it is one.
    pub fn target(&self) -> Option<u8> {
        self.spec.target
    }

    /// Whether every event of the training part but a user's first is learned to predict.
    pub fn learns_all(&self) -> bool {
        self.first.is_none()
            && self.task.is_none()
            && self.spec.users.is_none()
            && (self.spec.target.is_none() || self.spec.learn == Learn::Any)
    }

    /// Whether the user is learned from.
    fn is_learned(&self, user: u32) -> bool {
        self.spec.users.is_none_or(|users| (user as usize) < users)
    }

    /// Whether the event at `position` of the user's training part is learned to predict. It is not a user's first.
    pub fn learns(&self, data: &Dataset, user: u32, position: u32) -> bool {
        if let Some(task) = &self.task {
            return task.learns(user, position);
        }
        let late = self.first.as_ref().is_none_or(|first| position >= first[user as usize]);
        late && self.is_learned(user) && (self.spec.learn == Learn::Any || self.is_target(data, user, position))
    }

    /// Whether the event is of the behaviour that is asked for.
    pub fn is_target(&self, data: &Dataset, user: u32, position: u32) -> bool {
        let behaviour = || data.behaviours(user).map(|behaviours| behaviours[position as usize]);
        self.spec.target.is_none() || behaviour() == self.spec.target
    }

    /// Number of positions in the user's training part: its events, and in a task of users the place of the user's label.
    pub fn train_len(&self, user: u32) -> usize {
        self.train[user as usize] as usize
    }

    /// The user's training part.
    pub fn train<'a>(&self, data: &'a Dataset, user: u32) -> &'a [u32] {
        let history = data.history(user);
        &history[..self.train_len(user).min(history.len())]
    }

    /// The training parts of all users, empty where nothing is learned from one.
    pub fn training<'a>(&self, data: &'a Dataset) -> Vec<&'a [u32]> {
        let of_user = |user| if self.is_learned(user) { self.train(data, user) } else { &[] };
        (0..data.users() as u32).map(of_user).collect()
    }

    /// What is asked of the user in `part`, of a group: positions in the history, each with something before it.
    fn positions<'a>(
        &'a self,
        data: &'a Dataset,
        user: u32,
        part: Part,
        group: Group,
    ) -> impl Iterator<Item = u32> + 'a {
        let of_task = self.task.as_ref().map(|task| if part == Part::Valid { task.valid() } else { task.test() });
        let (train, valid) = (self.train[user as usize], self.valid[user as usize]);
        let range = match (part, self.spec.learn) {
            _ if of_task.is_some() => 0..0,
            (Part::Valid, _) => train.max(1)..valid,
            (Part::Test, Learn::Earlier) => 0..0,
            (Part::Test, _) => valid.max(1)..data.history(user).len() as u32,
        };
        let range =
            range.filter(move |&place| self.is_target(data, user, place) && self.is_in(data, group, user, place));
        range.chain(of_task.and_then(|asked| asked[user as usize]))
    }

    /// Whether something of the group is asked of the user in `part`.
    fn has(&self, data: &Dataset, user: u32, part: Part, group: Group) -> bool {
        self.positions(data, user, part, group).next().is_some()
    }

    /// Whether a target is in a group.
    pub fn is_in(&self, data: &Dataset, group: Group, user: u32, position: u32) -> bool {
        let cold = || {
            let targets = (0..self.train[user as usize]).filter(|&place| self.is_target(data, user, place));
            targets.count() <= COLD
        };
        let (history, position) = (data.history(user), position as usize);
        let seen = || {
            let before = (0..position).filter(|&place| history[place] == history[position]);
            before.into_iter().any(|place| self.spec.target.is_none() || !self.is_target(data, user, place as u32))
        };
        match group {
            Group::All => true,
            Group::Cold => cold(),
            Group::Warm => !cold(),
            Group::Seen => seen(),
            Group::New => !seen(),
            Group::ColdItems => self.is_cold(data, history[position]),
            Group::WarmItems => !self.is_cold(data, history[position]),
        }
    }

    /// All (user, position of the target in the user's history) of `part`, by user and position. The events before the
    /// position, validation events included, are the target's history.
    pub fn targets<'a>(&'a self, data: &'a Dataset, part: Part) -> impl Iterator<Item = (u32, u32)> + 'a {
        let of_user = move |u| self.positions(data, u, part, self.spec.only).map(move |position| (u, position));
        (0..data.users() as u32).flat_map(of_user)
    }

    /// Events of the user that sampled candidates are drawn outside of: all, except those after the cut in pre-training, which
    /// must not know of them.
    pub fn known(&self, data: &Dataset, user: u32) -> usize {
        match self.spec.learn {
            Learn::Earlier => self.valid[user as usize] as usize,
            _ => data.history(user).len(),
        }
    }

    /// The items of the first `len` events of the user that are no candidates any more: those under the target behaviour, or all.
    pub fn done<'a>(&'a self, data: &'a Dataset, user: u32, len: usize) -> impl Iterator<Item = u32> + 'a {
        // Every class can come again.
        let len = if self.has_classes() { 0 } else { len };
        let items = data.history(user)[..len].iter().zip(0u32..);
        items.filter(move |&(_, place)| self.is_target(data, user, place)).map(|(&item, _)| item)
    }

    /// How often each item occurs in the training part: \[items + 1\], 0 for padding.
    pub fn popularity(&self, data: &Dataset) -> Vec<u32> {
        let mut counts = vec![0; data.items() + 1];
        for part in self.training(data) {
            part.iter().for_each(|&item| counts[item as usize] += 1);
        }
        counts
    }

    /// Whether an item does not occur in the training part.
    pub fn is_cold(&self, data: &Dataset, item: u32) -> bool {
        let cold = || self.popularity(data).into_iter().map(|count| count == 0).collect();
        self.cold.get_or_init(cold)[item as usize]
    }

    /// The items that do not occur in the training part, ascending.
    pub fn cold_items(&self, data: &Dataset) -> Vec<u32> {
        (1..=data.items() as u32).filter(|&item| self.is_cold(data, item)).collect()
    }

    /// One line for people: the kind, the users evaluated and those left out, and why.
    pub fn describe(&self, data: &Dataset) -> String {
        if let Some(task) = &self.task {
            let counts = [task.samples(), task.valid().iter().flatten().count(), task.test().iter().flatten().count()];
            let [samples, valid, test] = counts.map(|n| HumanCount(n as u64));
            return format!("{samples} labels learned, {valid} users validated, {test} tested");
        }
        let SplitSpec { kind, target, cut, learn, users, only } = self.spec;
        let name = target.map(|b| data.behaviour_names()[b as usize].as_str());
        let event = || name.map_or("event".to_string(), |name| format!("{name} event"));
        let after = cut.map(|cut| format!(" after the first {}%", percent(cut.share))).unwrap_or_default();
        let cut_in_files = kind == SplitKind::LeaveOneOut && data.has_parts();
        let why = match (kind, learn, name) {
            (_, Learn::Earlier, _) => "not drawn, or fewer than 3 events before the cut".to_string(),
            (SplitKind::LeaveOneOut, ..) if cut_in_files => {
                format!("no {} in the files for validation and test, or nothing before it", event())
            }
            (SplitKind::LeaveOneOut, _, Some(name)) => {
                format!("fewer than 2 {name} events{after}, or nothing before them")
            }
            (SplitKind::LeaveOneOut, ..) => {
                format!("fewer than 3 events{}", if cut.is_some() { ", or not 2" } else { "" }) + &after
            }
            (SplitKind::Ratio([train, ..]), _, Some(name)) => {
                format!("no {name} event in the last {}%{after}, or nothing before it", percent(1.0 - train))
            }
            (SplitKind::Ratio(_), ..) => format!("too few events for a target{after}"),
            (SplitKind::Time(_), ..) => {
                format!("no {} after the first cut{after}, or nothing before it", event())
            }
        };
        let of = name.map(|name| format!(" of {name}")).unwrap_or_default();
        let count = |users: usize| HumanCount(users as u64);
        let left_out = match self.left_out {
            0 => "0 left out".to_string(),
            n => format!("{} left out ({why})", count(n)),
        };
        let (only, outside) = match only {
            Group::All => Default::default(),
            group => (format!(", {group} alone"), format!(", {} without a {group} target", count(self.outside))),
        };
        let kind = if cut_in_files { "as the files are cut".to_string() } else { kind.to_string() };
        let evaluated = count(self.train.len() - self.left_out - self.outside);
        let learned = users.map(|users| format!(", learned from the first {} alone", count(users))).unwrap_or_default();
        format!("{kind}{of}{only}: {evaluated} users evaluated, {left_out}{outside}{learned}")
    }
}

/// The position of the last but one event of behaviour `target`, or of any; without a target a third one must come before it.
fn last_two(data: &Dataset, user: u32, target: Option<u8>) -> Option<u32> {
    match (target, data.behaviours(user)) {
        (Some(target), Some(behaviours)) => {
            let places = (0..behaviours.len()).rev().filter(|&place| behaviours[place] == target);
            places.map(|place| place as u32).nth(1)
        }
        _ => (data.history(user).len() as u32).checked_sub(2),
    }
}

/// The times before which the given shares of all events lie.
fn time_cuts(data: &Dataset, what: &str, shares: &[f64]) -> Result<Vec<i64>> {
    if !data.clock().is_time() {
        return Err(Error::Usage(format!(
            "{what}: this data set has no times, only an order; use leave-one-out or ratio, and data.cut_by=user"
        )));
    }
    let mut times = data.all_times().to_vec();
    times.sort_unstable();
    let cut = |share: f64| times[first(times.len(), share).min(times.len() - 1)];
    Ok(shares.iter().map(|&share| cut(share)).collect())
}

/// How many of `n` events are the first `share` of them, rounded down. Exact for shares of few decimals: 0.7 + 0.1 of ten events
/// are eight, though their sum in floating point is below 0.8. What a share lost when it was rounded to 12 digits is given back,
/// so that a third of three is one.
fn first(n: usize, share: f64) -> usize {
    const WHOLE: f64 = 1e12;
    let share = (share * WHOLE).round() as u128;
    ((2 * share + 1) * n as u128 / (2 * WHOLE as u128)) as usize
}

/// Events of the user before a time.
fn before(data: &Dataset, user: u32, cut: i64) -> u32 {
    data.times(user).partition_point(|&time| time < cut) as u32
}

/// Training and validation within the earlier events: of some users the last one is held out.
fn earlier(train: &[u32], cut: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let ends: Vec<u32> = train.iter().zip(cut).map(|(&train, &cut)| train.min(cut)).collect();
    let enough = ends.iter().filter(|&&end| end >= 3).count();
    let share = EARLIER_VALID / enough.max(1) as f64;
    let drawn = |user: usize| Stream::new(0, "validation of pre-training", user as u64).uniform() < share;
    let part = |(user, &end): (usize, &u32)| if end >= 3 && drawn(user) { (end - 1, end) } else { (end, end) };
    ends.iter().enumerate().map(part).unzip()
}

#[cfg(test)]
mod tests;
