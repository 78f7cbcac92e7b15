//! The models. What they share (loading, batches, ranking, training, checkpoints) is not here.

use crate::device::Store;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::embedding::GatherDot;
use crate::nn::Params;

pub mod config;
pub mod pomrec;
pub mod pop;

pub use config::{LossConfig, LossKind, ModelConfig, build};
pub use pomrec::PomRec;
pub use pop::Pop;

/// Histories, as a model sees them.
#[derive(Clone, Copy)]
pub struct History<'g> {
    /// \[B, M\] u32, 0 = padding.
    pub items: Var<'g>,
    /// \[B, M\] u32: distance from the end of the history, the newest item 1; 0 = padding.
    pub recency: Var<'g>,
}

/// One training batch, as a model sees it.
#[derive(Clone, Copy)]
pub struct Batch<'g> {
    pub history: History<'g>,
    /// \[B\] u32.
    pub positive: Var<'g>,
    /// \[B, n\] u32.
    pub negative: Var<'g>,
    /// \[B\]: 0 in rows that only fill the batch.
    pub weight: Var<'g>,
}

/// Which end of a history's window its padding is at.
pub use crate::data::batches::Padding;

/// A recommender whose score is a user's representation against each item.
pub trait Model: Send + Sync {
    fn name(&self) -> &'static str;

    fn params(&self) -> &Params;

    fn padding(&self) -> Padding {
        Padding::Left
    }

    /// The table that histories, positives and negatives are gathered from, \[items + 1, d\].
    fn item_table<'g>(&self, graph: &'g Graph) -> Var<'g>;

    /// Each user's representation, \[B, d\].
    fn user<'g>(&self, graph: &'g Graph, history: &History<'g>) -> Var<'g>;

    /// The training loss, a scalar; padded rows weigh nothing.
    fn loss<'g>(&self, graph: &'g Graph, batch: &Batch<'g>) -> Var<'g>;

    /// Sets the parameters of a model that counts instead of learning; false where the model is one to be trained.
    /// `counts[i]` says how often item i occurs in the training part.
    fn count(&self, _store: &mut Store, _counts: &[u32]) -> Result<bool> {
        Ok(false)
    }

    /// Scores \[B, W\] of the items `ids` \[W\].
    fn scores<'g>(&self, graph: &'g Graph, user: Var<'g>, ids: Var<'g>) -> Var<'g> {
        user.matmul_t(self.item_table(graph).gather(ids))
    }

    /// Scores \[B, C\] of each user's own items `ids` \[B, C\].
    fn listed_scores<'g>(&self, graph: &'g Graph, user: Var<'g>, ids: Var<'g>) -> Var<'g> {
        graph.push(GatherDot, &[user, self.item_table(graph), ids])
    }
}
