//! Batches: windows of histories with their targets, negatives and scatter segments, made by background threads.
//!
//! What is in a batch depends on the data, the seed, the epoch and the step, never on a thread: every random stream is keyed
//! by them. So an epoch can be entered at any step, and the number of threads does not show.

use super::features::Features;
use super::views::Event;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

mod evaluation;
mod training;

pub use evaluation::{EvalBatch, EvalBatches, EvalSpec};
pub use training::{Batch, BatchSpec, TrainBatches};

/// Where a window that is shorter than `max_len` is filled with zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    #[default]
    Left,
    Right,
}

/// What a training sample is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Objective {
    /// A prefix of a user's training part, and the item after it.
    #[default]
    Last,
    /// A window, and at each of its places the item after it. Windows of a user lie side by side, from the end on.
    Next,
    /// A window with a share of its places hidden, and the items that stood there; one window in ten hides its last place
    /// alone, as a prediction does.
    /// [`Objective::targets`] places are hidden at most, which is all that are drawn in 99.8% of the windows.
    Cloze { share: f32 },
}

impl Objective {
    /// Targets of a row of a batch.
    pub fn targets(self, max_len: usize) -> usize {
        match self {
            Objective::Last => 1,
            Objective::Next => max_len,
            // Three standard deviations over the mean.
            Objective::Cloze { share } => {
                let (n, p) = (max_len as f64, share as f64);
                ((n * p + 3.0 * (n * p * (1.0 - p)).sqrt()).ceil() as usize).clamp(1, max_len)
            }
        }
    }

    /// The id that stands for a hidden place, with `items` items.
    pub fn hidden(items: usize) -> u32 {
        items as u32 + 1
    }

    /// Samples of a training part of `len` items, of which all but the first are targets.
    fn samples(self, len: usize, max_len: usize) -> usize {
        match self {
            Objective::Last => len.saturating_sub(1),
            Objective::Next => len.saturating_sub(1).div_ceil(max_len),
            Objective::Cloze { .. } => {
                if len < 2 {
                    0
                } else {
                    len.div_ceil(max_len)
                }
            }
        }
    }

    /// Where sample `number` of a training part of `len` items ends, behind its last target.
    fn end(self, len: usize, number: usize, max_len: usize) -> usize {
        match self {
            Objective::Last => number + 2,
            _ => len - number * max_len,
        }
    }

    /// Places of the sample that ends at `end` which can have a target.
    fn span(self, end: usize, max_len: usize) -> std::ops::Range<usize> {
        match self {
            Objective::Last => end - 1..end,
            Objective::Next => end.saturating_sub(max_len).max(1)..end,
            Objective::Cloze { .. } => end.saturating_sub(max_len)..end,
        }
    }

    /// Places of the events in the window of the sample that ends at `end`.
    fn window(self, end: usize, max_len: usize) -> std::ops::Range<usize> {
        let end = if matches!(self, Objective::Cloze { .. }) { end } else { end - 1 };
        end.saturating_sub(max_len)..end
    }
}

/// Which gathers of a step need sorted segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gathers {
    /// Histories, targets and negatives, all from one table.
    #[default]
    All,
    /// Histories from one table, targets and negatives from another.
    Apart,
    /// Histories alone: the loss is over all items.
    Histories,
}

/// Batches that a thread makes ahead.
const AHEAD: usize = 4;

/// What is read of histories besides their items; empty where nothing is.
#[derive(Clone, Debug, Default)]
pub struct Besides {
    /// The behaviour of each item of the windows, from 1 in their configured order, padded with 0: \[B, M\].
    pub behaviours: Vec<u32>,
    /// Rows of the table of features, which tell what came before the target: \[B, F\].
    pub features: Vec<u32>,
}

/// Windows of V views of each of B samples, view v of sample b being number v B + b; empty where there are none.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// Oldest first, padded with 0: \[V B, M\].
    pub history: Vec<u32>,
    /// Events in each: \[V B\].
    pub lengths: Vec<u32>,
    /// As [`Besides::behaviours`], 0 of a hidden event too: \[V B, M\]; empty where they are not read.
    pub behaviours: Vec<u32>,
}

impl Besides {
    /// Room for `rows` windows of `max_len`.
    fn zeros(rows: usize, max_len: usize, behaviours: bool, features: Option<&Features>) -> Besides {
        let width = features.map_or(0, |features| features.sizes().len());
        Besides { behaviours: vec![0; if behaviours { rows * max_len } else { 0 }], features: vec![0; rows * width] }
    }
}

impl Windows {
    /// Room for `rows` windows of `max_len`.
    fn zeros(rows: usize, max_len: usize, behaviours: bool) -> Windows {
        let behaviours = vec![0; if behaviours { rows * max_len } else { 0 }];
        Windows { history: vec![0; rows * max_len], lengths: vec![0; rows], behaviours }
    }

    /// Makes window `row` that of `events`, at most `max_len`.
    fn fill(&mut self, row: usize, max_len: usize, events: &[Event], padding: Padding) {
        let (items, behaviours): (Vec<u32>, Vec<u32>) = events.iter().copied().unzip();
        let window = row * max_len..(row + 1) * max_len;
        self.lengths[row] = fill(&mut self.history[window.clone()], &items, padding);
        if !self.behaviours.is_empty() {
            fill(&mut self.behaviours[window], &behaviours, padding);
        }
    }
}

/// Copies the last behaviours into a window of zeros, as [`fill`] does items; ids count from 1.
fn fill_behaviours(window: &mut [u32], behaviours: &[u8], padding: Padding) {
    let n = behaviours.len().min(window.len());
    let start = if padding == Padding::Left { window.len() - n } else { 0 };
    let own = window[start..start + n].iter_mut().zip(&behaviours[behaviours.len() - n..]);
    own.for_each(|(id, &behaviour)| *id = behaviour as u32 + 1);
}

fn positive(name: &str, value: usize) -> Result<()> {
    match value {
        0 => Err(Error::Usage(format!("{name} is 0; expected at least 1"))),
        _ => Ok(()),
    }
}

/// Copies the last items into a window of zeros; returns how many.
fn fill(window: &mut [u32], items: &[u32], padding: Padding) -> u32 {
    let n = items.len().min(window.len());
    let start = if padding == Padding::Left { window.len() - n } else { 0 };
    window[start..start + n].copy_from_slice(&items[items.len() - n..]);
    n as u32
}

/// Values made for the steps of a range, by background threads, given out in order. Thread t of T makes every T-th value and
/// waits when it is a few ahead. Without threads the caller makes them. Dropping it ends the threads.
pub struct Ordered<T> {
    steps: std::ops::Range<usize>,
    inline: Option<Box<dyn FnMut(usize) -> T + Send>>,
    lanes: Vec<(Receiver<T>, JoinHandle<()>)>,
    next: usize,
}

impl<T: Send + 'static> Ordered<T> {
    /// `maker` gives each thread its function from step to value.
    fn new<F>(threads: usize, steps: std::ops::Range<usize>, maker: impl Fn() -> F) -> Ordered<T>
    where
        F: FnMut(usize) -> T + Send + 'static,
    {
        let threads = threads.min(steps.len().max(1));
        let lanes = (0..threads).map(|thread| {
            let (send, receive) = sync_channel(AHEAD);
            let (own, mut make) = (steps.clone().skip(thread).step_by(threads), maker());
            let work = move || {
                for step in own {
                    if send.send(make(step)).is_err() {
                        return;
                    }
                }
            };
            let name = format!("batches {thread}");
            Ok((receive, std::thread::Builder::new().name(name).spawn(work)?))
        });
        // Values are the same whoever makes them: where the system has no thread left, the caller does.
        let lanes: Vec<_> = lanes.collect::<io::Result<_>>().unwrap_or_default();
        let inline: Option<Box<dyn FnMut(usize) -> T + Send>> =
            if lanes.is_empty() { Some(Box::new(maker())) } else { None };
        Ordered { lanes, steps, inline, next: 0 }
    }
}

impl<T> Iterator for Ordered<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let step = self.steps.next()?;
        if let Some(make) = &mut self.inline {
            return Some(make(step));
        }
        let lane = self.next % self.lanes.len();
        self.next += 1;
        Some(self.lanes[lane].0.recv().expect("a batch thread panicked"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.steps.size_hint()
    }
}

impl<T> ExactSizeIterator for Ordered<T> {}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        for (receive, thread) in self.lanes.drain(..) {
            drop(receive);
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
