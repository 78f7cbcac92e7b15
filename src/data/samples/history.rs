//! What is read of a history: columns `history`, `recency`, and `behaviours`, `users` and `features` where they are read.

use super::{Column, Fill, Part, Reads, Sample, Sizes, Source, Values};
use crate::data::features::Features;
use crate::error::{Error, Result};
use crate::tensor::philox::Stream;
use std::sync::Arc;

/// The window of a history.
///
/// | column | shape | |
/// |---|---|---|
/// | `history` | \[B, M\] | items, oldest first; 0 = padding |
/// | `recency` | \[B, M\] | distance from the end of the history, the most recent event 1; 0 = padding |
/// | `behaviours` | \[B, M\] | the behaviour of each event, from 1 in their configured order; 0 = padding |
/// | `users` | \[B\] | number of the user, from 1; 0 of one that is not known, and in rows that only fill the batch |
/// | `features` | \[B, F\] | for each feature of the user, before the first target, its row in a table of all of them |
#[derive(Clone, Debug)]
pub struct History {
    pub reads: Reads,
    /// What `features` come from. None where only the columns are asked for.
    pub features: Option<Arc<Features>>,
}

impl Part for History {
    fn columns(&self, &Sizes { batch, max_len, .. }: &Sizes) -> Vec<Column> {
        let Reads { behaviours, users, features, .. } = self.reads;
        let mut columns = vec![Column::u32("history", [batch, max_len]), Column::u32("recency", [batch, max_len])];
        columns.extend(behaviours.then(|| Column::u32("behaviours", [batch, max_len])));
        columns.extend((users > 0).then(|| Column::u32("users", [batch])));
        columns.extend((features > 0).then(|| Column::u32("features", [batch, features])));
        columns
    }

    fn open(&self, sizes: &Sizes, _: &Arc<Source>) -> Result<Box<dyn Fill>> {
        Ok(Box::new(self.filler(sizes)?))
    }
}

impl History {
    /// What fills the columns, of training and of evaluation.
    pub(super) fn filler(&self, sizes: &Sizes) -> Result<Filler> {
        if self.reads.features > 0 && self.features.is_none() {
            return Err(Error::Usage("the model reads features of users, but the data has none".to_string()));
        }
        Ok(Filler { of: self.clone(), sizes: *sizes })
    }
}

pub(super) struct Filler {
    of: History,
    sizes: Sizes,
}

impl Fill for Filler {
    fn fill(&self, sample: &Sample, row: usize, columns: &mut [Values], _: &mut Stream) {
        let Sizes { max_len: m, padding, .. } = self.sizes;
        let read = sample.read.clone();
        let place = padding.place(read.len(), m);
        let at = row * m + place.start..row * m + place.end;
        let mut columns = columns.iter_mut();
        let mut next = || columns.next().expect("a declared column").u32();
        let window = &mut next()[at.clone()];
        window.copy_from_slice(&sample.items[read.clone()]);
        if let Some(hidden) = sample.hidden {
            sample.targets.iter().for_each(|target| window[target.position - read.start] = hidden);
        }
        write_recency(&mut next()[at.clone()]);
        let Reads { behaviours, users, features, .. } = self.of.reads;
        if behaviours {
            write_behaviours(&mut next()[at], sample.behaviours.get(read).unwrap_or_default());
        }
        if users > 0 {
            next()[row] = if (sample.user as usize) < users { sample.user + 1 } else { 0 };
        }
        if let (Some(source), true) = (&self.of.features, features > 0) {
            let behaviours = sample.behaviours.get(..sample.before).unwrap_or_default();
            let row = &mut next()[row * features..(row + 1) * features];
            source.write(sample.user, &sample.items[..sample.before], behaviours, row);
        }
    }
}

/// Numbers a window of events from its end.
pub(super) fn write_recency(window: &mut [u32]) {
    let n = window.len() as u32;
    window.iter_mut().zip((1..=n).rev()).for_each(|(recency, from_end)| *recency = from_end);
}

/// Writes behaviours as their ids, which count from 1.
pub(super) fn write_behaviours(window: &mut [u32], behaviours: &[u8]) {
    window.iter_mut().zip(behaviours).for_each(|(id, &behaviour)| *id = behaviour as u32 + 1);
}
