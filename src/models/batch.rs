//! A batch as models see it.

use super::{History, Inputs};
use crate::graph::Var;

/// A training batch. R rows: one for each history, or one for each position of each.
#[derive(Clone)]
pub struct Batch<'g> {
    /// All columns.
    pub inputs: Inputs<'g>,
    pub history: History<'g>,
    /// \[V B, M\]: the views of each history, view v of history b being number v B + b.
    pub views: Option<History<'g>>,
    /// \[R\] u32.
    pub positive: Var<'g>,
    /// \[R\]: 0 in rows that only fill the batch, and at positions without a target.
    pub weight: Var<'g>,
    /// \[R, n\] u32, or \[n\]: the same for all rows. Only for losses that draw negatives.
    pub negative: Option<Var<'g>>,
}

impl<'g> Batch<'g> {
    /// Targets of each history.
    pub fn targets(&self) -> usize {
        self.positive.shape()[0] / self.history.items.shape()[0]
    }

    /// # Panics
    /// If a column is missing that every training batch has.
    pub fn of(inputs: Inputs<'g>) -> Batch<'g> {
        Batch {
            history: History::of(&inputs, true),
            views: History::views(&inputs),
            positive: inputs.get("positive"),
            weight: inputs.get("weight"),
            negative: inputs.find("negative"),
            inputs,
        }
    }
}
