//! The models. What they share (loading, batches, losses, ranking, training, checkpoints) is not here.

use crate::device::Store;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::embedding::GatherDot;
use crate::nn::Params;
use std::ops::Range;

pub mod bert4rec;
pub mod caser;
pub mod cosine;
pub mod dpcpl;
pub mod ease;
pub mod fmlp;
pub mod gru4rec;
pub mod history;
pub mod loss;
pub mod npe;
pub mod pomrec;
pub mod pop;
pub mod pretext;
pub mod registry;
pub mod sasrec;
pub mod spec;
pub mod stamp;

pub use bert4rec::Bert4Rec;
pub use caser::Caser;
pub use dpcpl::Dpcpl;
pub use ease::Ease;
pub use fmlp::Fmlp;
pub use gru4rec::Gru4Rec;
pub use history::History;
pub use loss::{Loss, LossConfig, LossKind};
pub use npe::Npe;
pub use pomrec::PomRec;
pub use pop::Pop;
pub use pretext::{PreTrained, PretextConfig, PretextTask};
pub use registry::MODELS;
pub use sasrec::SasRec;
pub use spec::{FeatureCounts, ModelConfig, ModelSpec, Phase, Task};
pub use stamp::Stamp;

pub use crate::data::Views;
/// Which end of a history's window its padding is at; what a training sample is.
pub use crate::data::batches::{Objective, Padding};

/// What a model reads of a history besides its items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// The behaviour of each event.
    pub behaviours: bool,
    /// Features of the user, so many.
    pub features: usize,
}

/// One training batch, as a model and a loss see it. R rows: one a history, or one a place of each.
#[derive(Clone, Copy)]
pub struct Batch<'g> {
    pub history: History<'g>,
    /// \[V B, M\]: those of [`Model::views`], view v of history b being number v B + b.
    pub views: Option<History<'g>>,
    /// \[R\] u32.
    pub positive: Var<'g>,
    /// \[R, n\] u32, or \[n\]: the same for all rows.
    pub negative: Var<'g>,
    /// \[R\]: 0 in rows that only fill the batch, and at places without a target.
    pub weight: Var<'g>,
    /// The behaviour of each target and one of the others, \[R\] u32 from 1. Of a model that reads behaviours.
    pub behaviours: Option<[Var<'g>; 2]>,
}

/// What rows are scored against: the items of a table.
#[derive(Clone)]
pub struct Output<'g> {
    /// \[rows, d\].
    pub table: Var<'g>,
    /// \[rows, 1\], a parameter.
    pub bias: Option<Var<'g>>,
    /// The rows of the table that are items.
    pub classes: Range<usize>,
    /// Rows of the table are taken with length 1.
    pub cosine: bool,
}

impl<'g> Output<'g> {
    /// `v`, rows of the table, as they are scored.
    pub fn normalised(&self, v: Var<'g>) -> Var<'g> {
        if self.cosine { loss::unit(v) } else { v }
    }

    /// The rows of `ids`, \[ids.., d\].
    pub fn gather(&self, ids: Var<'g>) -> Var<'g> {
        self.normalised(self.table.gather(ids))
    }

    /// `scores`, of any shape that ends as `ids` does, with the biases of `ids`.
    pub fn add_bias(&self, scores: Var<'g>, ids: Var<'g>) -> Var<'g> {
        let Some(bias) = self.bias else { return scores };
        scores + bias.gather(ids).reshape(ids.shape())
    }
}

/// A recommender whose score is a user's representation against each item.
pub trait Model: Send + Sync {
    fn name(&self) -> &'static str;

    fn params(&self) -> &Params;

    fn padding(&self) -> Padding {
        Padding::Left
    }

    /// What it reads of a history besides its items.
    fn reads(&self) -> Reads {
        Reads::default()
    }

    /// What a training sample is.
    fn objective(&self) -> Objective {
        Objective::Last
    }

    /// Whether row items + 1 of the item table stands for a hidden item.
    fn hides(&self) -> bool {
        false
    }

    /// Views of each history that are compared in training.
    fn views(&self) -> Option<Views> {
        None
    }

    /// Of a batch of so many windows: what a kernel of the model counts in 32 bits besides rows and widths, by the settings that
    /// it is the product of, and its factors.
    fn counted(&self, _batch: usize, _window: usize) -> Option<(&'static str, Vec<usize>)> {
        None
    }

    /// The loss that a phase of the model calls for, where that is not its specification's.
    fn own_loss(&self) -> Option<LossKind> {
        None
    }

    /// The largest width of a value that it makes for each item of a window.
    fn widest(&self) -> usize {
        self.params().iter().map(|p| p.shape.last().copied().unwrap_or(1)).max().unwrap_or(1)
    }

    /// The table that histories are gathered from, \[items + 1, d\], or one more where items are hidden; row 0 is
    /// padding.
    fn item_table<'g>(&self, graph: &'g Graph) -> Var<'g>;

    /// What users are scored against: as a rule the item table.
    fn output<'g>(&self, graph: &'g Graph) -> Output<'g> {
        let table = self.item_table(graph);
        Output { table, bias: None, classes: 1..table.shape()[0] - self.hides() as usize, cosine: false }
    }

    /// Each user's representation, \[B, d\].
    fn user<'g>(&self, graph: &'g Graph, history: &History<'g>) -> Var<'g>;

    /// The representation at each place of a history, \[B, M, d\], of a model whose [`Model::objective`] has a target at each.
    fn places<'g>(&self, _graph: &'g Graph, _history: &History<'g>) -> Var<'g> {
        unreachable!("{} trains on the end of a history alone", self.name())
    }

    /// The table that features of the user are gathered from. Of a model that reads some.
    fn feature_table<'g>(&self, _graph: &'g Graph) -> Var<'g> {
        unreachable!("{} reads no features", self.name())
    }

    /// The rows of a batch that are scored in training, \[R, d\].
    fn scored<'g>(&self, graph: &'g Graph, batch: &Batch<'g>) -> Var<'g> {
        match self.objective() {
            Objective::Last => self.user(graph, &batch.history),
            _ => {
                let places = self.places(graph, &batch.history);
                places.reshape([batch.weight.shape()[0], places.shape().last_dim()])
            }
        }
    }

    /// As [`Model::scored`], and what is minimised besides the loss of their targets, a scalar.
    fn trained<'g>(&self, graph: &'g Graph, batch: &Batch<'g>) -> (Var<'g>, Option<Var<'g>>) {
        (self.scored(graph, batch), None)
    }

    /// Whether the model counts instead of learning, and so has no training step.
    fn counts(&self) -> bool {
        false
    }

    /// Sets the parameters of a model that counts, from each user's training part.
    fn count(&self, _store: &mut Store, _training: &[&[u32]]) -> Result<()> {
        unreachable!("{} learns", self.name())
    }

    /// Whether histories are read whole, whatever `data.max_len` (only of a model that is not trained).
    fn reads_whole(&self) -> bool {
        false
    }

    /// Items of a history that are read, where the longest has `longest`.
    fn window(&self, max_len: usize, longest: usize) -> usize {
        if self.reads_whole() { longest } else { max_len }
    }

    /// Scores \[B, W\] of the items `ids` \[W\].
    fn scores<'g>(&self, graph: &'g Graph, user: Var<'g>, ids: Var<'g>) -> Var<'g> {
        let output = self.output(graph);
        output.add_bias(user.matmul_t(output.gather(ids)), ids)
    }

    /// Scores \[B, C\] of each user's own items `ids` \[B, C\].
    fn listed_scores<'g>(&self, graph: &'g Graph, user: Var<'g>, ids: Var<'g>) -> Var<'g> {
        let output = self.output(graph);
        let table = output.normalised(output.table);
        output.add_bias(graph.push(GatherDot, &[user, table, ids]), ids)
    }
}
