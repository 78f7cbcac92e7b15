//! Named columns: the one layout of a batch, from the thread that fills it to the inputs of a graph.

use crate::device::Runner;
use crate::error::Result;
use crate::tensor::{DType, Spec};
use std::sync::Arc;

/// A column of a batch: one tensor, by the name of the graph's input that it is written to.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: &'static str,
    /// [`DType::U32`] or [`DType::F32`], and the shape in a whole batch.
    pub spec: Spec,
    /// The value where nothing was filled in, for a column of u32.
    pub empty: u32,
}

impl Column {
    pub fn u32<const N: usize>(name: &'static str, shape: [usize; N]) -> Column {
        Column { name, spec: Spec::u32(shape), empty: 0 }
    }

    pub fn f32<const N: usize>(name: &'static str, shape: [usize; N]) -> Column {
        Column { name, spec: Spec::f32(shape), empty: 0 }
    }

    /// This column, with `empty` where nothing is filled in.
    pub fn or(self, empty: u32) -> Column {
        Column { empty, ..self }
    }
}

/// The values of a column.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    U32(Vec<u32>),
    F32(Vec<f32>),
}

impl Values {
    fn empty(column: &Column) -> Values {
        let n = column.spec.shape.elements();
        match column.spec.dtype {
            DType::U32 => Values::U32(vec![column.empty; n]),
            _ => Values::F32(vec![0.0; n]),
        }
    }

    /// # Panics
    /// If these are f32.
    pub fn u32(&mut self) -> &mut [u32] {
        match self {
            Values::U32(values) => values,
            Values::F32(_) => panic!("a column of u32"),
        }
    }

    /// # Panics
    /// If these are u32.
    pub fn f32(&mut self) -> &mut [f32] {
        match self {
            Values::F32(values) => values,
            Values::U32(_) => panic!("a column of f32"),
        }
    }
}

/// Columns with their values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Columns {
    list: Arc<[Column]>,
    values: Vec<Values>,
}

impl Columns {
    /// Nothing is filled in.
    pub fn empty(list: Arc<[Column]>) -> Columns {
        let values = list.iter().map(Values::empty).collect();
        Columns { list, values }
    }

    fn get(&self, name: &str) -> &Values {
        let found = self.list.iter().position(|column| column.name == name);
        &self.values[found.unwrap_or_else(|| panic!("the batch has no column {name:?}"))]
    }

    /// # Panics
    /// If there is no column of u32 of that name.
    pub fn u32(&self, name: &str) -> &[u32] {
        match self.get(name) {
            Values::U32(values) => values,
            Values::F32(_) => panic!("{name:?} is a column of f32"),
        }
    }

    /// # Panics
    /// If there is no column of f32 of that name.
    pub fn f32(&self, name: &str) -> &[f32] {
        match self.get(name) {
            Values::F32(values) => values,
            Values::U32(_) => panic!("{name:?} is a column of u32"),
        }
    }

    pub fn has(&self, name: &str) -> bool {
        self.list.iter().any(|column| column.name == name)
    }

    /// # Panics
    /// If there is no column of that name.
    pub fn get_mut(&mut self, name: &str) -> &mut Values {
        let found = self.list.iter().position(|column| column.name == name);
        &mut self.values[found.unwrap_or_else(|| panic!("the batch has no column {name:?}"))]
    }

    /// The values, in the order of the columns.
    pub fn values_mut(&mut self) -> &mut [Values] {
        &mut self.values
    }

    /// Writes each column to the input of its name.
    pub fn write(&self, runner: &mut Runner) -> Result<()> {
        self.list.iter().zip(&self.values).try_for_each(|(column, values)| match values {
            Values::U32(values) => runner.write_u32(column.name, values),
            Values::F32(values) => runner.write_f32(column.name, values),
        })
    }
}
