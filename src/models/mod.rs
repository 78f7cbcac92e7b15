//! The models. What they share (loading, batches, losses, ranking, training, checkpoints) is not here.

use crate::data::samples::Prefix;
use crate::device::Store;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::Params;
use crate::tensor::Tensor;
use std::sync::Arc;

pub mod asks;
pub mod batch;
pub mod cosine;
pub mod history;
pub mod inputs;
pub mod interests;
pub mod items;
pub mod loss;
pub mod phase;
pub mod scores;
pub mod shown;
pub mod spec;
pub mod tasks;
pub mod transfer;

/// Declares the module of each model and lists their declarations.
macro_rules! models {
    ($($model:ident,)*) => {
        $(pub mod $model;)*

        /// All models.
        pub static MODELS: &[&ModelSpec] = &[$(&$model::SPEC),*];
    };
}

models! {
    pomrec,
    comirec,
    mind,
    miner,
    timirec,
    mcprn,
    rdrsr,
    dpcpl,
    ant,
    unisrec,
    pcl,
    mtl,
    teracon,
    sasrec,
    nova,
    fdsa,
    gru4rec,
    bert4rec,
    fmlp,
    fpmc,
    hgn,
    stamp,
    caser,
    npe,
    nearest,
    ease,
    pop,
}

pub use crate::data::samples::{Padding, Reads, Samples, Views};
pub use batch::Batch;
pub use history::History;
pub use inputs::Inputs;
pub use items::ItemSettings;
pub use loss::{Loss, LossConfig, LossKind};
pub use phase::Phase;
pub use scores::{Candidates, Output};
pub use shown::{Interests, Weights};
pub use spec::{FeatureCounts, ModelConfig, ModelSpec, Shared, Task};
pub use tasks::TaskShape;

/// What a model computes from a batch.
pub struct Trained<'g> {
    /// The rows whose targets the loss is of, \[R, d\].
    pub rows: Var<'g>,
    /// Scalars that are added to the loss of the targets, with their weights.
    pub terms: Vec<Var<'g>>,
    /// Scalars that say how the training goes (an entropy, a share, a norm), each a mean over the rows of a batch by their weight:
    /// their means over an epoch are kept with its loss.
    pub reported: Vec<(String, Var<'g>)>,
}

impl<'g> Trained<'g> {
    /// Rows, and no more.
    pub fn rows(rows: Var<'g>) -> Trained<'g> {
        Trained { rows, terms: vec![], reported: vec![] }
    }
}

/// A recommender: a representation of each history, and scores of items by it.
pub trait Model: Send + Sync {
    fn name(&self) -> &'static str;

    fn params(&self) -> &Params;

    fn padding(&self) -> Padding {
        Padding::Left
    }

    /// What it reads of a history in addition to its items.
    fn reads(&self) -> Reads {
        Reads::default()
    }

    /// What a training sample is.
    fn samples(&self) -> Arc<dyn Samples> {
        Arc::new(Prefix)
    }

    /// Whether row items + 1 of the item table is a hidden item.
    fn hides(&self) -> bool {
        false
    }

    /// Views of each history that are compared in training.
    fn views(&self) -> Option<Views> {
        None
    }

    /// Products that must fit in 32 bits for a batch of this size, in addition to rows times widths: the settings to lower
    /// when they do not, and the factors.
    fn counted(&self, _batch: usize, _window: usize) -> Option<(&'static str, Vec<usize>)> {
        None
    }

    /// The largest width of a value that it computes for each event of a window.
    fn widest(&self) -> usize {
        self.params().iter().map(|p| p.shape.last().copied().unwrap_or(1)).max().unwrap_or(1)
    }

    /// The table that histories are gathered from, \[items + 1, d\], or one more where items are hidden; row 0 is
    /// padding.
    fn item_table<'g>(&self, graph: &'g Graph) -> Var<'g>;

    /// Another table with a row for each item that histories are gathered from.
    fn second_table<'g>(&self, _graph: &'g Graph) -> Option<Var<'g>> {
        None
    }

    /// The table whose rows the values of a batch's column are, where the model gathers them. Its gradient is then computed
    /// by sorted segments; the gradient of any other table that rows are gathered from is dense, and the table has at most 64
    /// rows.
    fn table<'g>(&self, graph: &'g Graph, column: &str) -> Option<Var<'g>> {
        let own = self.own_table(graph, column);
        if own.is_some() {
            return own;
        }
        match column {
            "history" | "views.history" => Some(self.item_table(graph)),
            "users" => Some(self.params().var(graph, "user_embedding")),
            "positive" | "negative" => self.output(graph).map(|output| output.table),
            _ => None,
        }
    }

    /// As [`Model::table`], for columns that only this model gathers by.
    fn own_table<'g>(&self, _graph: &'g Graph, _column: &str) -> Option<Var<'g>> {
        None
    }

    /// Another table with a row for each item, made like the item table, that a training step gathers its targets from.
    fn target_table<'g>(&self, _graph: &'g Graph) -> Option<Var<'g>> {
        None
    }

    /// What rows are scored against by dot products: as a rule the item table. None: [`Model::scores`] is the model's own, and
    /// no loss takes all items at once.
    fn output<'g>(&self, graph: &'g Graph) -> Option<Output<'g>> {
        let table = self.item_table(graph);
        Some(Output { table, bias: None, classes: 1..table.shape()[0] - self.hides() as usize, cosine: false })
    }

    /// Each user's representation, \[B, ..\].
    fn user<'g>(&self, graph: &'g Graph, history: &History<'g>) -> Var<'g>;

    /// The interests of each user in an evaluation. None: the model represents a user by one vector.
    fn shown<'g>(&self, _graph: &'g Graph, _history: &History<'g>) -> Option<Interests<'g>> {
        None
    }

    /// The weights of the interests of `users` \[B, K, ..\] in the scores of `items`, ids \[W\]: \[B, W, K\]. Only for models
    /// whose interests are weighted by the item ([`Weights::ByItem`]).
    fn interest_weights<'g>(&self, _graph: &'g Graph, _users: Var<'g>, _items: Var<'g>) -> Var<'g> {
        unreachable!("{} weights its interests for all items alike", self.name())
    }

    /// The representation at each position of a history, \[B, M, d\]. Only for models whose samples have targets at each.
    fn positions<'g>(&self, _graph: &'g Graph, _history: &History<'g>) -> Var<'g> {
        unreachable!("{} trains on the end of a history alone", self.name())
    }

    /// The rows of a batch that are scored in training, \[R, d\].
    fn scored<'g>(&self, graph: &'g Graph, batch: &Batch<'g>) -> Var<'g> {
        if !self.samples().per_position() {
            return self.user(graph, &batch.history);
        }
        let positions = self.positions(graph, &batch.history);
        positions.reshape([batch.weight.shape()[0], positions.shape().last_dim()])
    }

    /// What a training step is of.
    fn trained<'g>(&self, graph: &'g Graph, batch: &Batch<'g>) -> Trained<'g> {
        Trained::rows(self.scored(graph, batch))
    }

    /// Scores of `candidates` by rows of representations: users \[B, ..\] in ranking, [`Trained::rows`] in training.
    fn scores<'g>(&self, graph: &'g Graph, rows: Var<'g>, candidates: Candidates<'g>) -> Var<'g> {
        self.output(graph).expect("a model that scores by itself has scores").scores(rows, candidates)
    }

    /// Parameters that come from outside, by name: they take the place of initial values.
    fn given(&self) -> Result<Vec<(&'static str, Tensor)>> {
        Ok(vec![])
    }

    /// Whether the model is not trained: it is set by [`Model::count`] and has no training step.
    fn counts(&self) -> bool {
        false
    }

    /// Sets the parameters of a model that counts, from each user's training part.
    fn count(&self, _store: &mut Store, _training: &[&[u32]]) -> Result<()> {
        unreachable!("{} learns", self.name())
    }

    /// Whether histories are read whole, whatever `data.max_len` (only for models that are not trained).
    fn reads_whole(&self) -> bool {
        false
    }

    /// Items of a history that are read, where the longest has `longest`.
    fn window(&self, max_len: usize, longest: usize) -> usize {
        if self.reads_whole() { longest } else { max_len }
    }
}

#[cfg(test)]
mod tests {
    /// The names of the functions that `code` declares.
    fn functions(code: &str) -> Vec<&str> {
        let declared = code.lines().filter_map(|line| line.strip_prefix("    fn "));
        declared.map(|rest| rest.split(['(', '<']).next().unwrap_or_default()).collect()
    }

    fn between<'a>(code: &'a str, start: &str, end: &str) -> &'a str {
        code.split_once(start).and_then(|(_, rest)| rest.split_once(end)).expect("both are in the code").0
    }

    /// A model around another one hands on every function of [`super::Model`], or stands here with the ones whose default is
    /// right: they ask functions that are handed on, or are of models that are not trained.
    #[test]
    fn models_around_another_hand_on_every_function() {
        let all = functions(between(include_str!("mod.rs"), "pub trait Model", "\n}\n"));
        assert!(all.len() > 15 && all.contains(&"user"), "{all:?}");
        let untrained = ["counts", "count", "reads_whole", "window"];
        for (code, right) in [
            (include_str!("cosine.rs"), &["scores"][..]),
            (include_str!("sasrec/pretext.rs"), &["scored", "widest"][..]),
        ] {
            let own = functions(code);
            let missing =
                all.iter().filter(|name| !own.contains(name) && !right.contains(name) && !untrained.contains(name));
            let missing: Vec<_> = missing.collect();
            assert!(missing.is_empty(), "not handed on: {missing:?}");
        }
    }
}
