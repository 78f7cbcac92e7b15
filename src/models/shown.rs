//! What a model can show of a user: its interests, with the positions of the history that each comes from.

use crate::graph::Var;

/// The interests of each user of a batch.
///
/// A user's score of an item is, before the item's bias, the sum over interests of weight x vector . item where the model
/// weights its interests, and the largest vector . item where it does not.
#[derive(Clone, Copy)]
pub struct Interests<'g> {
    /// \[B, K, d\]: what items are compared with.
    pub vectors: Var<'g>,
    /// \[B, K\]: weights of the interests in a score. None: the best interest alone counts.
    pub weights: Option<Var<'g>>,
    /// \[B, K, d\]: where each interest lies among the embedded events.
    pub centres: Var<'g>,
    /// \[B, K, d\]: standard deviations around the centres, if the model computes them.
    pub dispersions: Option<Var<'g>>,
    /// \[B, M, K\]: how much each position of the history contributes to each interest, 0 where padded. The positions of an
    /// interest sum to less than 1 where prompts contribute too.
    pub attention: Option<Var<'g>>,
    /// \[B, K\]: 0 where a user has fewer than K interests, else 1. None: all users have K.
    pub used: Option<Var<'g>>,
}
