//! What a model can show of a user: its interests, with the positions of the history that each comes from.

use super::History;
use crate::graph::Var;
use crate::nn::extractor::{Extractor, Prompts};

/// How interests count in a user's score of an item.
#[derive(Clone, Copy)]
pub enum Weights<'g> {
    /// The best alone counts: the score is the largest vector . item.
    Best,
    /// \[B, K\], the same for all items: the score is the sum over interests of weight x vector . item.
    Same(Var<'g>),
    /// As `Same`, with other weights for each item: [`super::Model::interest_weights`].
    ByItem,
}

/// The interests of each user of a batch. A user's score of an item is, before the item's bias, made of the products of their
/// vectors with the item's, as `weights` says.
#[derive(Clone, Copy)]
pub struct Interests<'g> {
    /// \[B, K, d\]: what items are compared with.
    pub vectors: Var<'g>,
    pub weights: Weights<'g>,
    /// \[B, K, d\]: where each interest lies among the embedded events.
    pub centres: Var<'g>,
    /// \[B, K, d\]: standard deviations around the centres, if the model computes them.
    pub dispersions: Option<Var<'g>>,
    /// \[B, M, K\]: how much each position of the history contributes to each interest, 0 where padded. By attention the positions
    /// of an interest sum to 1, or to less where prompts contribute too; by routing the interests of a position do.
    pub attention: Option<Var<'g>>,
    /// \[B, K\]: 0 where a user has fewer than K interests, else 1. None: all users have K.
    pub used: Option<Var<'g>>,
}

impl<'g> Interests<'g> {
    /// Interests of which the best counts, and no more.
    pub fn best(vectors: Var<'g>, centres: Var<'g>) -> Interests<'g> {
        Interests { vectors, weights: Weights::Best, centres, dispersions: None, attention: None, used: None }
    }

    /// The interests that an [`Extractor`] makes of `h` \[B, T, d\], a history with `prompts`, by its attention `a` \[B, T, K\],
    /// without weights.
    pub fn extracted([h, a]: [Var<'g>; 2], prompts: &Prompts, history: &History<'g>, dispersion: f64) -> Interests<'g> {
        let [centres, deviations] = Extractor::moments(a, h);
        Interests {
            dispersions: (dispersion != 0.0).then_some(deviations),
            attention: Some(prompts.without(a, history.items.shape()[1])),
            ..Interests::best(Extractor::interests(a, h, dispersion), centres)
        }
    }
}
