//! A batch as models see it.

use super::History;
use crate::data::samples::Column;
use crate::graph::{Graph, Var};

/// The inputs that carry the columns of a batch.
#[derive(Clone, Default)]
pub struct Inputs<'g>(Vec<(&'static str, Var<'g>)>);

impl<'g> Inputs<'g> {
    /// Adds an input for each column.
    pub fn declare(g: &'g Graph, columns: &[Column]) -> Inputs<'g> {
        Inputs(columns.iter().map(|column| (column.name, g.input(column.name, column.spec.clone()))).collect())
    }

    /// The column called `name`, if there is one.
    pub fn find(&self, name: &str) -> Option<Var<'g>> {
        self.0.iter().find(|(own, _)| *own == name).map(|(_, var)| *var)
    }

    /// # Panics
    /// If there is no column of that name.
    pub fn get(&self, name: &str) -> Var<'g> {
        self.find(name).unwrap_or_else(|| panic!("the batch has no column {name:?}"))
    }

    /// Names and inputs.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, Var<'g>)> {
        self.0.iter().copied()
    }
}

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
