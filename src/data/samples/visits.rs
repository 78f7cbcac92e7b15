//! Batches of histories that come with a request, of people who need not be in any data set.

use super::evaluation::{EvalBatch, EvalSpec};
use super::history::{Filler, History};
use super::{Column, Part, Sample, Sizes};
use crate::error::Result;
use std::sync::Arc;

/// Someone to recommend to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visit {
    /// The number in the training, of one whom it knows.
    pub user: Option<u32>,
    /// Oldest first.
    pub items: Vec<u32>,
    /// As many as there are items, or none where the model reads none.
    pub behaviours: Vec<u8>,
    /// Items that are not recommended.
    pub excluded: Vec<u32>,
}

/// Batches of one size.
pub struct Visits {
    batch: usize,
    max_len: usize,
    columns: Arc<[Column]>,
    history: Filler,
    exclude_cap: usize,
}

impl Visits {
    /// Batches of `spec.batch` rows, of which none excludes more than `excluded` items.
    ///
    /// # Errors
    /// A model that reads features, where there are none.
    pub fn new(spec: &EvalSpec, excluded: usize) -> Result<Visits> {
        let EvalSpec { batch, max_len, padding, reads, ref features, .. } = *spec;
        let sizes = Sizes { batch, max_len, targets: 0, padding };
        let history = History { reads, features: features.clone() };
        let columns = history.columns(&sizes).into();
        Ok(Visits { batch, max_len, columns, history: history.filler(&sizes)?, exclude_cap: batch * excluded.max(1) })
    }

    /// Rows of a batch.
    pub fn size(&self) -> usize {
        self.batch
    }

    /// Length of `exclude_items` in every batch.
    pub fn exclude_cap(&self) -> usize {
        self.exclude_cap
    }

    /// The batch of at most [`Visits::size`] visits.
    pub fn batch<'a>(&self, visits: impl IntoIterator<Item = &'a Visit>) -> EvalBatch {
        let mut batch = EvalBatch::empty(self.columns.clone());
        for (number, visit) in visits.into_iter().enumerate() {
            let Visit { user, items, behaviours, excluded } = visit;
            let sample = Sample {
                number: number as u64,
                user: user.unwrap_or(u32::MAX),
                items,
                behaviours,
                read: items.len().saturating_sub(self.max_len)..items.len(),
                before: items.len(),
                targets: &[],
                hidden: None,
            };
            batch.push(&self.history, &sample, 0, &mut excluded.clone());
        }
        batch.fill(self.batch, self.exclude_cap);
        batch
    }
}
