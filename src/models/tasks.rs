//! Tasks that a user writes down, as phases of a training: one after the other, each with its own labels.

use super::LossKind;
use crate::data::tasks::{ABOUT, Asked, Condition, Label, Sources, Tasks, UserShares, firsts};
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskConfig {
    /// What the task is called: its files begin with it.
    pub name: String,
    /// What the task is, in words that `wgrec encode text --task` makes a vector of. Not given: its name, what is read and predicted,
    /// and the metric.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The events that it is about: none given, all; a behaviour; or a comparison of the event's value, as in `rating >= 4`.
    #[serde(default, rename = "where", skip_serializing_if = "is_usual")]
    #[schemars(with = "String")]
    pub fits: Condition,
    /// What is predicted: `item`, `category` (the first category of the next item), or an attribute of the user.
    #[schemars(with = "String")]
    pub label: Label,
    /// Shares of the users of a task of users.
    #[serde(default, skip_serializing_if = "is_usual")]
    #[schemars(with = "String")]
    pub split: UserShares,
    /// Not given: of items the model's, of classes `softmax`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossKind>,
    /// What the best epoch is best in. Not given: of items recall@10, of classes recall@1, which is the accuracy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// What a target item is ranked among: see eval.protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// A vector for the first category of each event is added to that of its item, and learned.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub categories: bool,
    /// The number of tasks that were known when this one was first trained: set by the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<usize>,
}

/// The tasks on the embedded world: items, the category of an item, attributes of users.
pub fn usual() -> Vec<TaskConfig> {
    vec![
        TaskConfig::new("next", "", "item"),
        TaskConfig::new("rated-4", "rating = 4", "item"),
        TaskConfig::new("rated-5", "rating = 5", "item"),
        TaskConfig { categories: true, ..TaskConfig::new("genre", "", "category") },
        TaskConfig::new("age", "", "age"),
        TaskConfig::new("gender", "", "gender"),
        TaskConfig::new("occupation", "", "occupation"),
    ]
}

fn is_usual<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What of the tasks' data all of them share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// Whether only the last label of a user is learned.
    pub last: bool,
    /// A user's events before the cut of which labels are learned. None: all.
    pub window: Option<usize>,
    /// Seed of the split of users.
    pub seed: u64,
}

/// Which labels of a user are learned in the tasks after the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LabelsLearned {
    /// That of each fitting event in the window before the cut.
    #[default]
    All,
    /// Only the last.
    Last,
}

/// The map of a task's last vector to its classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Adapter {
    /// One linear map.
    #[default]
    Linear,
    /// With a hidden layer of width `dim` and ReLU.
    Mlp,
}

impl Learning {
    /// By settings of a model; a `window` of 0 is none.
    pub fn of(labels: LabelsLearned, window: usize, seed: u64) -> Learning {
        Learning { last: labels == LabelsLearned::Last, window: (window > 0).then_some(window), seed }
    }
}

impl Default for Learning {
    /// All labels of a user's last 50 events.
    fn default() -> Learning {
        Learning { last: false, window: Some(50), seed: 1 }
    }
}

/// What the tasks ask for and learn; the first is chosen.
pub fn learned(all: &[TaskConfig], learning: Learning) -> Tasks {
    let asked = all.iter().enumerate().map(|(at, task)| task.asked(learning, at == 0)).collect();
    Tasks { all: asked, cutting: known_first(all).len(), at: 0 }
}

/// Those that were known from the first on: by them users' events are cut.
fn known_first(all: &[TaskConfig]) -> &[TaskConfig] {
    let known = |task: &TaskConfig| task.known.unwrap_or(all.len());
    &all[..all.iter().take_while(|task| known(task) == known(&all[0])).count()]
}

/// What a task needs of a model that several are trained with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskShape {
    pub name: String,
    /// Classes that are predicted in place of items; 0: items are.
    pub classes: usize,
    /// The first category of each item, from 1, where they are read: \[items + 1\].
    pub categories: Arc<Vec<u32>>,
}

/// The task of a phase.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskPhase {
    pub config: TaskConfig,
    pub tasks: Tasks,
    /// The number of tasks that are known in it.
    pub known: usize,
}

impl TaskPhase {
    /// Task number `at` of all.
    pub fn of(all: &[TaskConfig], at: usize, learning: Learning) -> TaskPhase {
        let config = all[at].clone();
        TaskPhase { known: config.known.unwrap_or(all.len()), tasks: Tasks { at, ..learned(all, learning) }, config }
    }

    /// What the task needs of a model that has others too.
    ///
    /// # Errors
    /// Those of [`TaskPhase::split`] and [`TaskPhase::categories`].
    pub fn shape(&self, data: &Dataset, sources: &Sources) -> Result<TaskShape> {
        let split = self.split(data, sources)?;
        let classes = if split.has_classes() { split.classes(data) } else { 0 };
        let categories = Arc::new(self.categories(data, sources)?);
        Ok(TaskShape { name: self.config.name.clone(), classes, categories })
    }

    /// The split of the task.
    ///
    /// # Errors
    /// Labels or a condition that the data do not have; nothing to learn from; a class that is asked for and never learned.
    pub fn split(&self, data: &Dataset, sources: &Sources) -> Result<Split> {
        let (places, cuts) = self.tasks.places(data, sources)?;
        Ok(Split::of_task(places, &cuts))
    }

    /// The first category of each item, \[items + 1\], if the task reads them; else nothing.
    ///
    /// # Errors
    /// Items without categories.
    pub fn categories(&self, data: &Dataset, sources: &Sources) -> Result<Vec<u32>> {
        match (self.config.categories, &sources.categories) {
            (false, _) => Ok(vec![]),
            (true, Some(categories)) => Ok(firsts(categories, data.items())),
            (true, None) => {
                let why = "categories: found true, but no table of items has categories";
                Err(Error::Usage(format!("{ABOUT}{}: {why}", self.config.name)))
            }
        }
    }
}

/// The tasks of events by which a user's events are cut, in words, in one order.
pub fn cutting(tasks: &[TaskConfig]) -> Vec<String> {
    let of_events = known_first(tasks).iter().filter(|task| !matches!(task.label, Label::Attribute(_)));
    let mut all: Vec<String> = of_events
        .map(|task| format!("{} where {:?}", String::from(task.label.clone()), String::from(task.fits.clone())))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Checks that a model which was trained on the first of the tasks `was` can be taken by a training of the tasks `is`.
///
/// # Errors
/// Another first task; other tasks of events by which a user's events are cut.
pub fn check_taken(was: &[TaskConfig], is: &[TaskConfig]) -> Result<()> {
    let plain = |task: &TaskConfig| TaskConfig { known: None, ..task.clone() };
    if was.first().map(plain) != is.first().map(plain) {
        return Err(Error::Usage("the first task is another than that of the run that it is taken from".to_string()));
    }
    let cut = [cutting(was), cutting(is)];
    match cut[0] == cut[1] {
        true => Ok(()),
        false => Err(Error::Usage(format!(
            "the tasks of events are {}, but the run that the first one is taken from cut users' events by {}, and has learned events \
             that would be asked for; expected the same, in any order, or continue it by --continue",
            cut[1].join("; "),
            cut[0].join("; ")
        ))),
    }
}

impl TaskConfig {
    /// A task of these events and this label.
    pub fn new(name: &str, fits: &str, label: &str) -> TaskConfig {
        TaskConfig {
            name: name.to_string(),
            description: None,
            fits: Condition::try_from(fits.to_string()).expect("a condition"),
            label: Label::from(label.to_string()),
            split: UserShares::default(),
            loss: None,
            metric: None,
            protocol: None,
            categories: false,
            known: None,
        }
    }

    /// The task in words: name, input, output and metric, as in PCL.
    pub fn described(&self) -> String {
        let fits = String::from(self.fits.clone());
        let among = if fits.is_empty() { String::new() } else { format!(" of those with {fits}") };
        let (output, metric) = match &self.label {
            Label::Item => (format!("the next item{among}"), "hit rate"),
            Label::Category => (format!("the category of the next item{among}"), "accuracy"),
            Label::Attribute(name) => (format!("the user's {name}"), "accuracy"),
        };
        let usual = || {
            let input = "the items of a user's history, in order";
            format!("{}. Input: {input}. Output: {output}. Metric: {metric}.", self.name)
        };
        self.description.clone().unwrap_or_else(usual)
    }

    /// Whether its labels are classes in place of items.
    pub fn has_classes(&self) -> bool {
        self.label != Label::Item
    }

    fn asked(&self, learning: Learning, first: bool) -> Asked {
        let Learning { last, window, seed } = learning;
        let (name, fits, label) = (self.name.clone(), self.fits.clone(), self.label.clone());
        Asked { name, fits, label, shares: self.split, last: last && !first, window, seed }
    }
}

/// The tasks of a training that continues one of `old` tasks with `more`, which may name old ones again: all, and how many are new.
///
/// # Errors
/// An old task that is another one now.
pub fn extended(old: &[TaskConfig], more: &[TaskConfig]) -> Result<(Vec<TaskConfig>, usize)> {
    let known = |task: &TaskConfig, of: usize| TaskConfig { known: Some(task.known.unwrap_or(of)), ..task.clone() };
    let mut new = vec![];
    for task in more {
        match old.iter().find(|other| other.name == task.name) {
            None => new.push(task.clone()),
            Some(other) if TaskConfig { known: task.known, ..other.clone() } == *task => {}
            Some(other) => {
                return Err(Error::Usage(format!(
                    "{ABOUT}{}: it is not what was trained, which is {}; expected the same, or a new name",
                    task.name,
                    serde_json::to_string(other).expect("a task is plain data")
                )));
            }
        }
    }
    let total = old.len() + new.len();
    let old = old.iter().map(|task| known(task, old.len()));
    Ok((old.chain(new.iter().map(|task| known(task, total))).collect(), new.len()))
}

/// Checks a list of tasks.
///
/// # Errors
/// No task, or a first one that is not of items; two of a name; a name that is no file's; a loss or a protocol that classes do not
/// have; numbers of known tasks that no training has written.
pub fn check(tasks: &[TaskConfig]) -> Result<()> {
    let Some(first) = tasks.first() else {
        return Err(Error::Usage("model.task: found no task; expected one or more".to_string()));
    };
    let wrong = |task: &TaskConfig, why: String| Err(Error::Usage(format!("{ABOUT}{}: {why}", task.name)));
    if first.has_classes() {
        let label = String::from(first.label.clone());
        return wrong(first, format!("label: found {label:?} in the first task; expected item"));
    }
    if first.categories {
        let why = "categories: found true in the first task; expected false: it is trained at every position, the others at the end";
        return wrong(first, why.to_string());
    }
    for (at, task) in tasks.iter().enumerate() {
        let TaskConfig { name, loss, protocol, known, .. } = task;
        let fit = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if !(1..=LONGEST).contains(&name.len()) || !name.chars().all(fit) || RESERVED.contains(&name.as_str()) {
            let reserved = RESERVED.join(", ");
            return wrong(
                task,
                format!(
                    "name: found {name:?}; expected up to {LONGEST} letters, digits, - and _, and none of {reserved}"
                ),
            );
        }
        if tasks[..at].iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
            return wrong(task, "name: found two tasks that are called so; expected each name once".to_string());
        }
        if task.has_classes() && !matches!(loss, None | Some(LossKind::Softmax)) {
            return wrong(
                task,
                format!("loss: found {}; expected softmax, over all classes", loss.unwrap_or_default()),
            );
        }
        if task.has_classes() && protocol.as_ref().is_some_and(|protocol| protocol != "full") {
            let why = "expected full: a user is ranked among all classes";
            return wrong(task, format!("protocol: found {}; {why}", protocol.clone().unwrap_or_default()));
        }
        if matches!(task.label, Label::Attribute(_)) && task.fits != Condition::All {
            let found = String::from(task.fits.clone());
            return wrong(task, format!("where: found {found:?}; expected none: the label is one of the user"));
        }
        let before = at.checked_sub(1).and_then(|at| tasks[at].known);
        let grows = known.is_none_or(|known| known > at && known <= tasks.len()) && (at == 0 || before <= *known);
        if !grows {
            return wrong(task, format!("known: found {known:?}; expected what the program writes, or nothing"));
        }
    }
    Ok(())
}

/// Bytes of a name at most: files are called by it.
const LONGEST: usize = 64;

/// Names of other files of a run.
const RESERVED: [&str; 5] = ["metrics", "config", "model", "last", "tasks"];
