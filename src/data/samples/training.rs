//! Training batches: samples in a random order, with the scatter segments of what is gathered by them.

use super::history::History;
use super::negatives::Drawn;
use super::progress::Progress;
use super::shuffle::{Order, Walk};
use super::targets::{TargetBehaviours, Targets};
use super::views::{Viewed, Views};
use super::{
    Column, Columns, Fill, Ordered, Padding, Part, Prefix, Reads, Sample, Samples, Sizes, Source, hidden, positive,
    training_part,
};
use crate::data::dataset::Dataset;
use crate::data::features::Features;
use crate::data::negatives::LeftOut;
use crate::data::split::Split;
use crate::error::{Error, Result};
use crate::tensor::philox::Stream;
use crate::tensor::segments::Segments;
use std::sync::Arc;

/// What training batches are like.
#[derive(Clone, Debug)]
pub struct BatchSpec {
    /// Samples a batch, B.
    pub batch: usize,
    /// Events a window, M.
    pub max_len: usize,
    pub padding: Padding,
    pub samples: Arc<dyn Samples>,
    pub reads: Reads,
    /// What the features come from, where some are read.
    pub features: Option<Arc<Features>>,
    /// Views of each window that are made in addition.
    pub views: Option<Views>,
    /// Negatives that are drawn.
    pub negatives: Option<Drawn>,
    /// Tables that rows are gathered from by the values of columns.
    pub gathered: Vec<Gathered>,
    pub order: Order,
    pub seed: u64,
    /// Background threads; 0 makes each batch when it is asked for.
    pub threads: usize,
}

/// A table whose rows are gathered by the values of columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// The name of the inputs that carry the segments.
    pub name: String,
    /// Rows of the table.
    pub rows: usize,
    pub columns: Vec<&'static str>,
    /// The table has rows for those alone that the columns name. The columns hold their numbers in a list of them, from 1 on.
    pub listed: Option<Listed>,
}

/// The list of the rows that columns name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name of the input that carries it: 0, the rows in ascending order, and 0 up to its length.
    pub name: &'static str,
    pub len: usize,
    /// Another table is gathered from by the list: the name of the inputs that carry its segments.
    pub segments: Option<String>,
}

impl Default for BatchSpec {
    /// Prefixes padded on the left, a target and a negative each; made when asked for.
    fn default() -> BatchSpec {
        BatchSpec {
            batch: 256,
            max_len: 50,
            padding: Padding::Left,
            samples: Arc::new(Prefix),
            reads: Reads::default(),
            features: None,
            views: None,
            negatives: Some(Drawn::default()),
            gathered: vec![],
            order: Order::Samples,
            seed: 1,
            threads: 0,
        }
    }
}

impl BatchSpec {
    pub fn sizes(&self) -> Sizes {
        let BatchSpec { batch, max_len, padding, .. } = *self;
        Sizes { batch, max_len, targets: self.samples.targets(max_len), padding }
    }

    /// What the columns are made by.
    fn parts(&self) -> Vec<Box<dyn Part>> {
        let mut parts: Vec<Box<dyn Part>> =
            vec![Box::new(History { reads: self.reads, features: self.features.clone() })];
        if let Some(views) = self.views {
            parts.push(Box::new(Viewed { views, behaviours: self.reads.behaviours }));
        }
        parts.push(Box::new(Targets { hidden: self.samples.hides() }));
        if self.reads.behaviours {
            parts.push(Box::new(TargetBehaviours));
        }
        if let Some(drawn) = self.negatives {
            parts.push(Box::new(drawn));
        }
        if self.reads.progress {
            parts.push(Box::new(Progress));
        }
        parts
    }

    /// The columns of a batch.
    pub fn columns(&self) -> Vec<Column> {
        let sizes = self.sizes();
        self.parts().iter().flat_map(|part| part.columns(&sizes)).collect()
    }
}

/// A training batch. The last one of an epoch may be short: it is filled with empty rows of weight 0.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub columns: Columns,
    /// Of each table that is gathered from, by name: of its columns, concatenated in their order.
    pub segments: Vec<(String, Segments)>,
    /// The rows that columns name, by the name of their input: see [`Listed`].
    pub lists: Vec<(&'static str, Vec<u32>)>,
    /// Rows that do not only fill the batch.
    pub samples: usize,
}

impl Batch {
    /// A batch with these columns.
    pub fn new(mut columns: Columns, samples: usize, gathered: &[Gathered]) -> Batch {
        let (mut segments, mut lists) = (vec![], vec![]);
        for Gathered { name, rows, columns: names, listed } in gathered {
            let mut own = segments_of(&columns, names, *rows);
            if let Some(Listed { name: list_name, len, segments: by_list }) = listed {
                let list = columns.number(names, &own, *len);
                own = segments_of(&columns, names, *len);
                if let Some(name) = by_list {
                    let mut by_list = Segments::default();
                    by_list.build(&[&list], *rows);
                    segments.push((name.clone(), by_list));
                }
                lists.push((*list_name, list));
            }
            segments.push((name.clone(), own));
        }
        Batch { columns, segments, lists, samples }
    }
}

/// The segments of columns, one after the other, of a table of `rows` rows.
fn segments_of(columns: &Columns, names: &[&'static str], rows: usize) -> Segments {
    let lists: Vec<&[u32]> = names.iter().map(|name| columns.u32(name)).collect();
    let mut segments = Segments::default();
    segments.build(&lists, rows);
    segments
}

impl Columns {
    /// Gives the rows that columns name, in order, the numbers from 1 on, and the columns these instead: the list of the rows, filled
    /// up with 0 to `len`. `segments` are those of the columns.
    fn number(&mut self, names: &[&'static str], segments: &Segments, len: usize) -> Vec<u32> {
        let count = segments.counts[0] as usize;
        let mut all: Vec<u32> = vec![0; names.iter().map(|name| self.u32(name).len()).sum()];
        for row in 0..count {
            segments.entries(row).iter().for_each(|&at| all[at as usize] = row as u32 + 1);
        }
        let mut rest = &all[..];
        for name in names {
            let column = self.get_mut(name).u32();
            let (own, others) = rest.split_at(column.len());
            column.copy_from_slice(own);
            rest = others;
        }
        let mut list = vec![0; len];
        list[1..=count].copy_from_slice(&segments.rows[..count]);
        list
    }
}

/// The training samples of a split, in batches.
#[derive(Clone)]
pub struct TrainBatches(Arc<Training>);

struct Training {
    source: Arc<Source>,
    spec: BatchSpec,
    sizes: Sizes,
    columns: Arc<[Column]>,
    /// What fills the columns: each part its own, by their number.
    fillers: Vec<(usize, Box<dyn Fill>)>,
}

impl TrainBatches {
    /// Users who have every item are left out where negatives are drawn for each: there are none.
    ///
    /// # Errors
    /// A batch or window of length 0; no negative for any user; features that the data does not have.
    pub fn new(data: Arc<Dataset>, split: Arc<Split>, spec: BatchSpec) -> Result<TrainBatches> {
        positive("train.batch", spec.batch)?;
        positive("data.max_len", spec.max_len)?;
        let own_negatives = spec.negatives.filter(|drawn| !drawn.shared).map(|drawn| drawn.pool());
        let source = Source::new(data, split, spec.samples.clone(), spec.max_len, own_negatives);
        if source.is_empty() && source.left_out.targets > 0 {
            return Err(Error::Usage(format!(
                "no negative is left for any user: all that have something to learn have each of the {} items; take a loss over \
                 all items (loss.kind=softmax)",
                source.data.items()
            )));
        }
        let (source, sizes, columns) = (Arc::new(source), spec.sizes(), spec.columns().into());
        let filler = |part: Box<dyn Part>| Ok((part.columns(&sizes).len(), part.open(&sizes, &source)?));
        let fillers = spec.parts().into_iter().map(filler).collect::<Result<_>>()?;
        Ok(TrainBatches(Arc::new(Training { source, spec, sizes, columns, fillers })))
    }

    /// Targets that would be learned, if a negative for them existed.
    pub fn left_out(&self) -> LeftOut {
        self.0.source.left_out
    }

    /// Samples an epoch.
    pub fn samples(&self) -> u64 {
        self.0.source.len()
    }

    pub fn batches_per_epoch(&self) -> usize {
        self.samples().div_ceil(self.0.spec.batch as u64) as usize
    }

    /// The batches of an epoch from `first_step` on, in order.
    pub fn epoch(&self, epoch: u64, first_step: usize) -> Ordered<Batch> {
        let steps = self.batches_per_epoch();
        let BatchSpec { order, seed, .. } = self.0.spec;
        let (all, walk) = (self.clone(), Walk::new(order, &self.0.source, seed, epoch));
        Ordered::new(self.0.spec.threads, first_step..steps, move || {
            let (all, walk) = (all.clone(), walk.clone());
            move |step| all.make(&walk, epoch, step)
        })
    }

    /// The batch of one step of an epoch.
    fn make(&self, walk: &Walk, epoch: u64, step: usize) -> Batch {
        let Training { source, spec, sizes, columns, fillers } = &*self.0;
        let Source { data, split, .. } = &**source;
        let first = step as u64 * spec.batch as u64;
        let samples = (self.samples() - first).min(spec.batch as u64) as usize;
        let entity = epoch * self.batches_per_epoch() as u64 + step as u64;
        let stream = |name| Stream::new(spec.seed, name, entity);
        let mut hiding = stream("hidden places");
        let mut streams: Vec<Stream> = fillers.iter().map(|(_, filler)| stream(filler.stream())).collect();
        let mut columns = Columns::empty(columns.clone());
        let hidden = spec.samples.hides().then(|| hidden(data.items()));
        let mut targets = vec![];
        for row in 0..samples {
            let number = walk.at(first + row as u64);
            let (user, end) = source.sample(number);
            let (items, behaviours) = training_part(data, split, user);
            targets.clear();
            spec.samples.choose(end, sizes, &|position| source.learns(user, position), &mut hiding, &mut targets);
            let (read, before) = (spec.samples.read(end, spec.max_len), spec.samples.span(end, spec.max_len).start);
            let sample = Sample { number, user, items, behaviours, read, before, targets: &targets, hidden };
            let mut values = columns.values_mut();
            for ((count, filler), stream) in fillers.iter().zip(&mut streams) {
                let (own, others) = values.split_at_mut(*count);
                filler.fill(&sample, row, own, stream);
                values = others;
            }
        }
        let progress = (step + 1) as f32 / self.batches_per_epoch() as f32;
        let mut values = columns.values_mut();
        for ((count, filler), stream) in fillers.iter().zip(&mut streams) {
            let (own, others) = values.split_at_mut(*count);
            filler.finish(own, progress, stream);
            values = others;
        }
        Batch::new(columns, samples, &spec.gathered)
    }
}
