//! The inputs of a graph that carry a batch.

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
