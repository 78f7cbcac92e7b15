//! Drawn negatives: column `negative`.

use super::{Column, Fill, Part, Sample, Sizes, Source, Values};
use crate::data::negatives::{Negatives, Pool, Sampler};
use crate::error::Result;
use crate::tensor::philox::Stream;
use std::sync::Arc;

/// Negatives of each target: items outside the user's training part, \[B T, n\]. Shared: the same n for a whole batch, drawn
/// from all items, \[n\].
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    /// Negatives a target, n.
    pub each: usize,
    pub shared: bool,
    pub sampler: Sampler,
    /// Whether items are drawn that do not occur in the training part.
    pub cold: bool,
}

impl Drawn {
    /// Which items are drawn.
    pub fn pool(&self) -> Pool {
        Pool { sampler: self.sampler, cold: self.cold }
    }
}

impl Default for Drawn {
    /// One for each target, drawn uniformly from all items.
    fn default() -> Drawn {
        Drawn { each: 1, shared: false, sampler: Sampler::Uniform, cold: true }
    }
}

impl Part for Drawn {
    fn columns(&self, &Sizes { batch, targets, .. }: &Sizes) -> Vec<Column> {
        vec![match self.shared {
            true => Column::u32("negative", [self.each]),
            false => Column::u32("negative", [batch * targets, self.each]),
        }]
    }

    fn open(&self, sizes: &Sizes, source: &Arc<Source>) -> Result<Box<dyn Fill>> {
        Ok(Box::new(Filler { of: *self, targets: sizes.targets, negatives: source.negatives(self.pool()) }))
    }
}

struct Filler {
    of: Drawn,
    targets: usize,
    negatives: Arc<Negatives>,
}

impl Fill for Filler {
    fn stream(&self) -> &'static str {
        "negatives"
    }

    fn fill(&self, sample: &Sample, row: usize, columns: &mut [Values], stream: &mut Stream) {
        if self.of.shared {
            return;
        }
        let n = self.of.each;
        for target in sample.targets {
            let at = row * self.targets + target.slot;
            let drawn = &mut columns[0].u32()[at * n..(at + 1) * n];
            drawn.iter_mut().for_each(|item| *item = self.negatives.draw(sample.user, stream));
        }
    }

    fn finish(&self, columns: &mut [Values], _: f32, stream: &mut Stream) {
        if self.of.shared {
            columns[0].u32().iter_mut().for_each(|item| *item = self.negatives.draw_any(stream));
        }
    }
}
