//! Tasks: what is asked of each user, and on which side of a user's cut it is learned, validated and tested.
//!
//! | label | asked of | classes |
//! |---|---|---|
//! | `item` | an event that fits: which item it is | the items |
//! | `category` | an event that fits: the first category of its item | the categories |
//! | the name of an attribute | a user, once | the attribute's values |
//!
//! There is one cut a user for all tasks of events. Of the events that fit a task the last is its test and the one before it its
//! validation, and the cut lies before the earliest validation of any task. No task learns from an event after it, or reads one,
//! but for the events before a target that is evaluated. Users are split by shares for a task of users, and what is read of a user
//! ends at the cut.

use super::attributes::Attributes;
use super::categories::Categories;
use super::dataset::Dataset;
use crate::error::{Error, Result, nearest};
use crate::tensor::philox::Stream;
use serde::{Deserialize, Serialize};

mod condition;
mod summary;

pub use condition::Condition;
pub use summary::TaskSummary;

/// What the message of an error about a task begins with: its name, a colon, and as a rule the key follow.
pub const ABOUT: &str = "task ";

/// Shares of the users of a task of users: for training, validation and test, of any sum. Written `users:80,10,10`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct UserShares([f64; 3]);

impl Default for UserShares {
    fn default() -> UserShares {
        UserShares([80.0, 10.0, 10.0])
    }
}

impl UserShares {
    /// Shares of all users that are in training, and in training or validation.
    fn parts(self) -> [f64; 2] {
        let UserShares([train, valid, test]) = self;
        let sum = train + valid + test;
        [train / sum, (train + valid) / sum]
    }
}

impl TryFrom<String> for UserShares {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<UserShares, String> {
        let wrong = || format!("found {text:?}; expected shares of the users that are above 0, as in users:80,10,10");
        let shares = text.strip_prefix("users:").ok_or_else(wrong)?;
        let shares: Option<Vec<f64>> = shares.split(',').map(|share| share.trim().parse().ok()).collect();
        let shares: [f64; 3] = shares.and_then(|shares| shares.try_into().ok()).ok_or_else(wrong)?;
        let sensible = shares.iter().all(|share| *share > 0.0) && shares.iter().sum::<f64>().is_finite();
        if sensible { Ok(UserShares(shares)) } else { Err(wrong()) }
    }
}

impl From<UserShares> for String {
    fn from(UserShares(shares): UserShares) -> String {
        format!("users:{}", shares.map(|share| share.to_string()).join(","))
    }
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum Label {
    /// An item.
    #[default]
    Item,
    /// The first category of an item.
    Category,
    /// An attribute of the user.
    Attribute(String),
}

impl From<String> for Label {
    fn from(text: String) -> Label {
        match &*text {
            "item" => Label::Item,
            "category" => Label::Category,
            _ => Label::Attribute(text),
        }
    }
}

impl From<Label> for String {
    fn from(label: Label) -> String {
        match label {
            Label::Item => "item".to_string(),
            Label::Category => "category".to_string(),
            Label::Attribute(name) => name,
        }
    }
}

/// A task, as far as it is about data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// What the task is called.
    pub name: String,
    /// The events that fit.
    pub fits: Condition,
    pub label: Label,
    /// Of a task of users.
    pub shares: UserShares,
    /// Whether only the last fitting event before the cut is learned, instead of all in the window.
    pub last: bool,
    /// The number of a user's last events before the cut of which those that fit are learned. None: all.
    pub window: Option<usize>,
    /// Seed of the split of users.
    pub seed: u64,
}

impl Asked {
    /// Whether the task is of events, and not of users.
    pub fn of_events(&self) -> bool {
        !matches!(self.label, Label::Attribute(_))
    }
}

/// What labels are made from, as far as a task needs it.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub categories: Option<Categories>,
    pub attributes: Option<Attributes>,
}

/// Classes in place of items.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    of: Of,
    /// The number of classes; they count from 1.
    pub classes: usize,
}

/// The class of each, 0 where there is none.
#[derive(Clone, Debug, PartialEq)]
enum Of {
    /// \[items + 1\].
    Items(Vec<u32>),
    /// \[users\].
    Users(Vec<u32>),
}

impl Labels {
    /// None: the labels are items.
    ///
    /// # Errors
    /// A label that the data do not have, with the nearest.
    pub fn of(task: &Asked, data: &Dataset, sources: &Sources) -> Result<Option<Labels>> {
        let Sources { categories, attributes } = sources;
        let wrong = |why: String| Error::Usage(format!("{ABOUT}{}: label: {why}", task.name));
        match (&task.label, categories) {
            (Label::Item, _) => Ok(None),
            (Label::Category, None) => Err(wrong("found category, but no table of items has categories".to_string())),
            (Label::Category, Some(categories)) => {
                Ok(Some(Labels { of: Of::Items(firsts(categories, data.items())), classes: categories.count }))
            }
            (Label::Attribute(name), _) => {
                let attributes = attributes.as_ref();
                let names: Vec<&str> = attributes.iter().flat_map(|a| a.names.iter().map(String::as_str)).collect();
                let Some((at, attributes)) = names.iter().position(|own| own == name).zip(attributes) else {
                    let all: Vec<&str> = ["item", "category"].into_iter().chain(names).collect();
                    let meant = nearest(name, all.iter().copied()).map(|n| format!("; did you mean {n}?"));
                    let expected = format!("expected one of {}{}", all.join(", "), meant.unwrap_or_default());
                    return Err(wrong(format!("found {name:?}; {expected}")));
                };
                let of = |user| attributes.of(user).map_or(0, |values| values[at]);
                let of = Of::Users((0..data.users() as u32).map(of).collect());
                Ok(Some(Labels { of, classes: attributes.sizes[at] as usize - 1 }))
            }
        }
    }

    /// The class of the user, or of the user's event at `position`.
    fn get(&self, data: &Dataset, user: u32, position: u32) -> u32 {
        match &self.of {
            Of::Items(of) => of[data.history(user)[position as usize] as usize],
            Of::Users(of) => of[user as usize],
        }
    }
}

/// The first category of each item, from 1: \[items + 1\], 0 of an item without one.
pub fn firsts(categories: &Categories, items: usize) -> Vec<u32> {
    (0..=items as u32).map(|item| categories.first_of(item).map_or(0, |category| category + 1)).collect()
}

/// The events of each user before the cut: those before the earliest validation of any of `tasks`, of those of events.
///
/// # Errors
/// A condition that the data do not allow.
pub fn cuts(data: &Dataset, tasks: &[(Asked, Option<Labels>)]) -> Result<Vec<u32>> {
    let mut cuts: Vec<u32> = (0..data.users() as u32).map(|user| data.history(user).len() as u32).collect();
    for (task, labels) in tasks.iter().filter(|(task, _)| task.of_events()) {
        let fits = Fitting::new(task, labels.as_ref(), data)?;
        for (user, cut) in cuts.iter_mut().enumerate() {
            if let Some([valid, _]) = fits.last_two(user as u32, 0) {
                *cut = valid.min(*cut);
            }
        }
    }
    Ok(cuts)
}

/// The events that fit a task and have a label.
struct Fitting<'a> {
    data: &'a Dataset,
    labels: Option<&'a Labels>,
    fits: condition::Test<'a>,
}

impl<'a> Fitting<'a> {
    fn new(task: &'a Asked, labels: Option<&'a Labels>, data: &'a Dataset) -> Result<Fitting<'a>> {
        let wrong = |problem: String| Error::Usage(format!("{ABOUT}{}: where: {problem}", task.name));
        Ok(Fitting { data, labels, fits: task.fits.test(data).map_err(wrong)? })
    }

    fn has(&self, user: u32, position: u32) -> bool {
        let labelled = || self.labels.is_none_or(|labels| labels.get(self.data, user, position) != 0);
        self.fits.fits(user, position as usize) && labelled()
    }

    /// The last two, if both come after the first `cut` events.
    fn last_two(&self, user: u32, cut: u32) -> Option<[u32; 2]> {
        let mut from_end = (cut..self.data.history(user).len() as u32).rev().filter(|&at| self.has(user, at));
        let test = from_end.next()?;
        Some([from_end.next()?, test])
    }
}

/// What a task asks of each user, and learns from: positions in the history, or right after what is read of it.
#[derive(Clone, Debug)]
pub struct Places {
    pub labels: Option<Labels>,
    /// By user, ascending.
    learned: Vec<Vec<u32>>,
    /// By user; none: nothing is asked.
    valid: Vec<Option<u32>>,
    test: Vec<Option<u32>>,
    /// Whether the places are those of users, at the cut.
    of_users: bool,
}

impl Places {
    /// Of users whose histories are cut after `cuts` events.
    ///
    /// # Errors
    /// A condition that the data do not allow; nothing to learn from; a class that is asked for and never learned.
    pub fn new(data: &Dataset, cuts: &[u32], task: &Asked, labels: Option<Labels>) -> Result<Places> {
        let mut places = match task.of_events() {
            true => Places::of_events(data, cuts, task, labels)?,
            false => Places::of_users(cuts, task, labels.expect("an attribute is a class")),
        };
        // Something is known of a user before anything is asked.
        for (valid, test) in places.valid.iter_mut().zip(&mut places.test) {
            if [*valid, *test].contains(&Some(0)) {
                (*valid, *test) = (None, None);
            }
        }
        places.check(data, &task.name)?;
        Ok(places)
    }

    fn of_events(data: &Dataset, cuts: &[u32], task: &Asked, labels: Option<Labels>) -> Result<Places> {
        let fitting = Fitting::new(task, labels.as_ref(), data)?;
        let (mut learned, mut valid, mut test) = (vec![], vec![], vec![]);
        for (user, &cut) in cuts.iter().enumerate() {
            let user = user as u32;
            let first =
                task.window.map_or(0, |window| cut.saturating_sub(u32::try_from(window).unwrap_or(u32::MAX))).max(1);
            let mut own: Vec<u32> = (first..cut).filter(|&at| fitting.has(user, at)).collect();
            if task.last {
                own = own.pop().into_iter().collect();
            }
            learned.push(own);
            let two = fitting.last_two(user, cut);
            valid.push(two.map(|[valid, _]| valid));
            test.push(two.map(|[_, test]| test));
        }
        Ok(Places { labels, learned, valid, test, of_users: false })
    }

    fn of_users(cuts: &[u32], task: &Asked, labels: Labels) -> Places {
        let Of::Users(classes) = &labels.of else { unreachable!("an attribute is one of users") };
        let known = |user: usize| classes[user] != 0 && cuts[user] > 0;
        let mut users: Vec<usize> = (0..cuts.len()).filter(|&user| known(user)).collect();
        // In the order of a random number each.
        let number = |user: usize| Stream::new(task.seed, "users of a task", user as u64).uniform();
        users.sort_by(|&a, &b| number(a).total_cmp(&number(b)).then(a.cmp(&b)));
        let [train, valid] = task.shares.parts().map(|share| (users.len() as f64 * share).round() as usize);
        let (learned, none) = (vec![vec![]; cuts.len()], vec![None; cuts.len()]);
        let mut places = Places { labels: None, learned, valid: none.clone(), test: none, of_users: true };
        for (at, &user) in users.iter().enumerate() {
            match at {
                _ if at < train => places.learned[user].push(cuts[user]),
                _ if at < valid => places.valid[user] = Some(cuts[user]),
                _ => places.test[user] = Some(cuts[user]),
            }
        }
        Places { labels: Some(labels), ..places }
    }

    fn check(&self, data: &Dataset, name: &str) -> Result<()> {
        let wrong = |why: String| Err(Error::Usage(format!("{ABOUT}{name}: {why}")));
        if self.samples() == 0 {
            return wrong(
                "no event or user to learn from before the cut; expected another `where` or label".to_string(),
            );
        }
        let Some(labels) = &self.labels else { return Ok(()) };
        let mut learned = vec![false; labels.classes + 1];
        for (own, user) in self.learned.iter().zip(0..) {
            own.iter().for_each(|&at| learned[labels.get(data, user, at) as usize] = true);
        }
        let asked = self.valid.iter().zip(&self.test).zip(0u32..);
        let asked = asked.flat_map(|((valid, test), user)| valid.iter().chain(test).map(move |&at| (user, at)));
        let never = asked.filter(|&(user, at)| !learned[labels.get(data, user, at) as usize]).count();
        match never {
            0 => Ok(()),
            n => wrong(format!(
                "label: {n} of those that are asked for are of classes that nobody who is learned from has; expected classes of more \
                 users"
            )),
        }
    }

    /// Whether the position is learned.
    pub fn learns(&self, user: u32, position: u32) -> bool {
        self.learned[user as usize].binary_search(&position).is_ok()
    }

    /// The number of training samples.
    pub fn samples(&self) -> usize {
        self.learned.iter().map(Vec::len).sum()
    }

    /// The position that is asked of each user in validation.
    pub fn valid(&self) -> &[Option<u32>] {
        &self.valid
    }

    /// The position that is asked of each user in the test.
    pub fn test(&self) -> &[Option<u32>] {
        &self.test
    }

    /// Positions of a user's training part: up to the `cut`, which is itself the place of a user's label.
    pub fn end(&self, cut: u32) -> u32 {
        cut + self.of_users as u32
    }

    /// The number of labels that are told apart, in data of `items`.
    pub fn classes(&self, items: usize) -> usize {
        self.labels.as_ref().map_or(items, |labels| labels.classes)
    }

    /// The label at a position of a user's history, or right after it.
    pub fn label(&self, data: &Dataset, user: u32, position: u32) -> u32 {
        match &self.labels {
            Some(labels) => labels.get(data, user, position),
            None => data.history(user)[position as usize],
        }
    }
}

/// Tasks that share a cut, on data; and which of them a split is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Tasks {
    /// Those that the cut is made by come first.
    pub all: Vec<Asked>,
    /// How many make the cut.
    pub cutting: usize,
    pub at: usize,
}

impl Tasks {
    pub fn this(&self) -> &Asked {
        &self.all[self.at]
    }

    /// Where this task's samples and targets are, and the events of each user before the cut.
    ///
    /// # Errors
    /// Those of [`Labels::of`], [`cuts`] and [`Places::new`].
    pub fn places(&self, data: &Dataset, sources: &Sources) -> Result<(Places, Vec<u32>)> {
        let labelled = |task: &Asked| Ok((task.clone(), Labels::of(task, data, sources)?));
        let cutting = self.all[..self.cutting].iter().map(labelled).collect::<Result<Vec<_>>>()?;
        let cuts = cuts(data, &cutting)?;
        let (task, labels) = labelled(self.this())?;
        Ok((Places::new(data, &cuts, &task, labels)?, cuts))
    }
}
