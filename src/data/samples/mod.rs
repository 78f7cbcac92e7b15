//! Samples: what a model is trained on and evaluated by, as batches of named columns.
//!
//! | what | where |
//! |---|---|
//! | which samples a user's training part has, and which of their positions are targets ([`Samples`]) | [`prefix`], [`window`], [`cloze`] |
//! | the columns of a batch, each part of a sample its own ([`Part`]) | [`history`], [`targets`], [`negatives`], [`views`] |
//! | batches, made by background threads | [`TrainBatches`], [`EvalBatches`] |
//!
//! What is in a batch depends on the data, the seed, the epoch and the step, never on a thread: every random stream is keyed
//! by them. So an epoch can be entered at any step, and the number of threads does not show.

use super::dataset::Dataset;
use super::split::Split;
use crate::error::{Error, Result};
use crate::tensor::philox::Stream;
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

pub mod cloze;
mod column;
mod evaluation;
pub mod history;
pub mod negatives;
mod ordered;
pub mod prefix;
mod progress;
mod shuffle;
mod source;
pub mod targets;
mod training;
pub mod views;
mod visits;
pub mod window;

pub use cloze::Cloze;
pub use column::{Column, Columns, Values};
pub use evaluation::{EvalBatch, EvalBatches, EvalSpec, Until};
pub use ordered::Ordered;
pub use prefix::Prefix;
pub use shuffle::Order;
pub use source::Source;
pub use training::{Batch, BatchSpec, Gathered, Listed, TrainBatches};
pub use views::Views;
pub use visits::{Visit, Visits};
pub use window::Window;

/// Where a window that is shorter than `max_len` is filled with zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Padding {
    #[default]
    Left,
    Right,
}

impl Padding {
    /// The positions of `len` events in a window of `max_len`.
    pub fn place(self, len: usize, max_len: usize) -> Range<usize> {
        let start = if self == Padding::Left { max_len - len } else { 0 };
        start..start + len
    }
}

/// What a model reads of a history in addition to its items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The behaviour of each event.
    pub behaviours: bool,
    /// Whose history it is, by the numbers of this many known users; 0: it is not read.
    pub users: usize,
    /// The number of features of the user.
    pub features: usize,
    /// In training, the share of the epoch that is done with a batch.
    pub progress: bool,
}

/// Sizes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Samples, B.
    pub batch: usize,
    /// Events of a window, M.
    pub max_len: usize,
    /// Targets of a sample, T.
    pub targets: usize,
    pub padding: Padding,
}

/// The id of a hidden item, with `items` items.
pub fn hidden(items: usize) -> u32 {
    items as u32 + 1
}

/// Which samples a training part has, and what their targets are.
pub trait Samples: Debug + Send + Sync {
    /// Targets of a sample, at most.
    fn targets(&self, max_len: usize) -> usize;

    /// Whether targets are at positions of the window, each scored by the representation there.
    fn per_position(&self) -> bool {
        true
    }

    /// Whether the targets are hidden in the window that the model reads.
    fn hides(&self) -> bool {
        false
    }

    /// Samples of a training part of `len` items. All items except the first are targets.
    fn count(&self, len: usize, max_len: usize) -> usize;

    /// Where sample `number` of a training part of `len` items ends: after its last target.
    fn end(&self, len: usize, number: usize, max_len: usize) -> usize;

    /// Positions in the history, of the sample that ends at `end`, that can be targets.
    fn span(&self, end: usize, max_len: usize) -> Range<usize>;

    /// Positions in the history of the events that the model reads, of the sample that ends at `end`.
    fn read(&self, end: usize, max_len: usize) -> Range<usize> {
        (end - 1).saturating_sub(max_len)..end - 1
    }

    /// Adds the targets of the sample that ends at `end` among the positions that are `learned`.
    fn choose(
        &self,
        end: usize,
        sizes: &Sizes,
        learned: &dyn Fn(usize) -> bool,
        stream: &mut Stream,
        out: &mut Vec<Target>,
    );
}

/// A target of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its number among the T of the sample.
    pub slot: usize,
    /// Its position in the history.
    pub position: usize,
}

/// A sample: a user's events, and which of them are read and predicted.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// Among all of an epoch.
    pub number: u64,
    pub user: u32,
    pub items: &'a [u32],
    /// As many as there are items, or none.
    pub behaviours: &'a [u8],
    /// Positions of the events that are read.
    pub read: Range<usize>,
    /// Events before the first position that can be a target.
    pub before: usize,
    pub targets: &'a [Target],
    /// The id of the targets in the window, if they are hidden.
    pub hidden: Option<u32>,
}

/// Columns of a batch that belong together.
pub trait Part: Debug + Send + Sync {
    fn columns(&self, sizes: &Sizes) -> Vec<Column>;

    /// What fills the columns of [`Part::columns`].
    ///
    /// # Errors
    /// Data that does not have what the columns are filled from.
    fn open(&self, sizes: &Sizes, source: &Arc<Source>) -> Result<Box<dyn Fill>>;
}

/// Fills the columns of a [`Part`], in the order in which it declares them.
pub trait Fill: Send + Sync {
    /// The name of its random numbers.
    fn stream(&self) -> &'static str {
        ""
    }

    /// Fills row `row` of a batch.
    fn fill(&self, sample: &Sample, row: usize, columns: &mut [Values], stream: &mut Stream);

    /// Fills what a batch has once; `progress`: the share of the epoch that is done with it.
    fn finish(&self, _columns: &mut [Values], _progress: f32, _stream: &mut Stream) {}
}

fn positive(name: &str, value: usize) -> Result<()> {
    match value {
        0 => Err(Error::Usage(format!("{name} is 0; expected at least 1"))),
        _ => Ok(()),
    }
}

/// A user's training items and their behaviours, if the data have behaviours.
fn training_part<'a>(data: &'a Dataset, split: &Split, user: u32) -> (&'a [u32], &'a [u8]) {
    let items = split.train(data, user);
    (items, data.behaviours(user).map_or(&[], |own| &own[..items.len()]))
}

#[cfg(test)]
mod tests;
