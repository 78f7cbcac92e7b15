//! How far an epoch is: column `progress`.

use super::{Column, Fill, Part, Sample, Sizes, Source, Values};
use crate::error::Result;
use crate::tensor::philox::Stream;
use std::sync::Arc;

/// The share of the epoch's batches that are done with this one, \[1\]: above 0, and 1 in the last.
#[derive(Clone, Copy, Debug)]
pub struct Progress;

impl Part for Progress {
    fn columns(&self, _: &Sizes) -> Vec<Column> {
        vec![Column::f32("progress", [1])]
    }

    fn open(&self, _: &Sizes, _: &Arc<Source>) -> Result<Box<dyn Fill>> {
        Ok(Box::new(*self))
    }
}

impl Fill for Progress {
    fn fill(&self, _: &Sample, _: usize, _: &mut [Values], _: &mut Stream) {}

    fn finish(&self, columns: &mut [Values], progress: f32, _: &mut Stream) {
        columns[0].f32()[0] = progress;
    }
}
