//! What is predicted: columns `positive`, `weight`, `positions`, and the behaviours of targets.

use super::{Column, Fill, Part, Sample, Sizes, Source, Values};
use crate::data::dataset::Dataset;
use crate::data::split::Split;
use crate::error::Result;
use crate::tensor::philox::Stream;
use std::sync::Arc;

/// The targets of a sample.
///
/// | column | shape | |
/// |---|---|---|
/// | `positive` | \[B T\] | the item, or its class; 0 where there is no target |
/// | `weight` | \[B T\] f32 | 1; 0 where there is no target |
/// | `positions` | \[B, T\] | the position of the target in the window, M without a target; only for hidden targets |
#[derive(Clone, Copy, Debug)]
pub struct Targets {
    /// Targets are hidden in the window.
    pub hidden: bool,
}

impl Part for Targets {
    fn columns(&self, &Sizes { batch, max_len, targets, .. }: &Sizes) -> Vec<Column> {
        let mut columns = vec![Column::u32("positive", [batch * targets]), Column::f32("weight", [batch * targets])];
        columns.extend(self.hidden.then(|| Column::u32("positions", [batch, targets]).or(max_len as u32)));
        columns
    }

    fn open(&self, sizes: &Sizes, source: &Arc<Source>) -> Result<Box<dyn Fill>> {
        Ok(Box::new(Filler { sizes: *sizes, data: source.data.clone(), split: source.split.clone() }))
    }
}

struct Filler {
    sizes: Sizes,
    data: Arc<Dataset>,
    split: Arc<Split>,
}

impl Fill for Filler {
    fn fill(&self, sample: &Sample, row: usize, columns: &mut [Values], _: &mut Stream) {
        let Sizes { max_len, targets, padding, .. } = self.sizes;
        let start = padding.place(sample.read.len(), max_len).start;
        for target in sample.targets {
            let at = row * targets + target.slot;
            columns[0].u32()[at] = self.split.label(&self.data, sample.user, target.position as u32);
            columns[1].f32()[at] = 1.0;
            if let Some(positions) = columns.get_mut(2) {
                positions.u32()[at] = (start + target.position - sample.read.start) as u32;
            }
        }
    }
}

/// The behaviour of each target, and one of the others: columns `positive_behaviour` and `negative_behaviour`, \[B T\], from 1.
#[derive(Clone, Copy, Debug)]
pub struct TargetBehaviours;

impl Part for TargetBehaviours {
    fn columns(&self, &Sizes { batch, targets, .. }: &Sizes) -> Vec<Column> {
        ["positive_behaviour", "negative_behaviour"].map(|name| Column::u32(name, [batch * targets])).to_vec()
    }

    fn open(&self, sizes: &Sizes, source: &Arc<Source>) -> Result<Box<dyn Fill>> {
        Ok(Box::new(BehaviourFiller { targets: sizes.targets, behaviours: source.data.behaviour_names().len() as u32 }))
    }
}

struct BehaviourFiller {
    targets: usize,
    behaviours: u32,
}

impl Fill for BehaviourFiller {
    fn stream(&self) -> &'static str {
        "other behaviours"
    }

    fn fill(&self, sample: &Sample, row: usize, columns: &mut [Values], stream: &mut Stream) {
        let n = self.behaviours;
        for target in sample.targets {
            let Some(&own) = sample.behaviours.get(target.position) else { continue };
            let own = own as u32 + 1;
            let other = (own + if n > 1 { stream.below(n - 1) } else { 0 }) % n + 1;
            let at = row * self.targets + target.slot;
            columns[0].u32()[at] = own;
            columns[1].u32()[at] = other;
        }
    }
}
