//! Histories: the one input that all models share, in training and in evaluation.

use super::Inputs;
use crate::graph::Var;
use crate::nn::Params;
use crate::tensor::Tensor;

/// Histories, as a model sees them.
#[derive(Clone, Copy)]
pub struct History<'g> {
    /// \[B, M\] u32, 0 = padding.
    pub items: Var<'g>,
    /// \[B, M\] u32: distance from the end of the history, the most recent item 1; 0 = padding.
    pub recency: Var<'g>,
    /// \[B, K\] u32: the positions that have a target, filled up with M. None: every position has one.
    pub targets: Option<Var<'g>>,
    /// \[B, M\] u32: the behaviour of each event, from 1 in their configured order; 0 = padding. Of a model that reads them.
    pub behaviours: Option<Var<'g>>,
    /// \[B\] u32: whose history it is, from 1; 0: an unknown user. Only for models that read users.
    pub users: Option<Var<'g>>,
    /// \[B, F\] u32: for each feature of the user its row in a table of all of them. Of a model that reads them.
    pub features: Option<Var<'g>>,
    /// \[1\]: the share of the epoch that is done with the batch, in training. Of a model that reads it.
    pub progress: Option<Var<'g>>,
    /// Whether dropout is on.
    pub training: bool,
}

impl<'g> History<'g> {
    /// Histories of items only, as in evaluation.
    pub fn new(items: Var<'g>, recency: Var<'g>) -> History<'g> {
        History {
            items,
            recency,
            targets: None,
            behaviours: None,
            users: None,
            features: None,
            progress: None,
            training: false,
        }
    }

    /// The histories of a batch: of its columns, those that [`crate::data::samples::history`] declares.
    pub fn of(inputs: &Inputs<'g>, training: bool) -> History<'g> {
        History {
            targets: inputs.find("positions"),
            behaviours: inputs.find("behaviours"),
            users: inputs.find("users"),
            features: inputs.find("features"),
            progress: inputs.find("progress"),
            training,
            ..History::new(inputs.get("history"), inputs.get("recency"))
        }
    }

    /// The views of a batch's histories, where it has some.
    pub fn views(inputs: &Inputs<'g>) -> Option<History<'g>> {
        let history = History::new(inputs.find("views.history")?, inputs.get("views.recency"));
        Some(History { behaviours: inputs.find("views.behaviours"), training: true, ..history })
    }

    /// Histories, padded on the left, with one more event after them, the oldest gone where there is no room: a
    /// `hidden` item, to be found. Of behaviour `target`, or the most recent event's.
    pub fn with_hidden(&self, hidden: u32, target: Option<u32>) -> History<'g> {
        let (g, b, m) = (self.items.graph(), self.items.shape()[0], self.items.shape()[1]);
        let moved = |x: Var<'g>, last| if m > 1 { g.concat(1, &[x.slice(1, 1, m - 1), last]) } else { last };
        let same = |id: u32| g.constant(Tensor::u32([b, 1], vec![id; b]));
        let behaviours = self.behaviours.map(|behaviours| {
            let last = target.map_or_else(|| behaviours.slice(1, m - 1, 1), same);
            moved(behaviours, last)
        });
        History { items: moved(self.items, same(hidden)), behaviours, ..*self }
    }

    /// The rows of the positions that have a target, \[B, K, d\], of `positions` \[B, M, d\]; zeros for none.
    ///
    /// # Panics
    /// If `targets` is not given.
    pub fn at_targets(&self, positions: Var<'g>) -> Var<'g> {
        let (targets, m) = (self.targets.expect("a history with targets at some positions"), positions.shape()[1]);
        let [b, k] = [targets.shape()[0], targets.shape()[1]];
        let all = positions.graph().constant(Tensor::u32([1, 1, m], (0..m as u32).collect()));
        targets.reshape([b, k, 1]).equal(all).matmul(positions)
    }

    /// The rows of `table` at each position, zeros where padded: \[B, M, d\].
    pub fn embed(&self, table: Var<'g>) -> Var<'g> {
        let [b, m] = [self.items.shape()[0], self.items.shape()[1]];
        table.gather(self.items) * self.items.nonzero().reshape([b, m, 1])
    }

    /// As [`History::embed`], with the rows of `positions` \[M, d\] added.
    pub fn embed_with(&self, table: Var<'g>, positions: Var<'g>) -> Var<'g> {
        let [b, m] = [self.items.shape()[0], self.items.shape()[1]];
        (table.gather(self.items) + positions) * self.items.nonzero().reshape([b, m, 1])
    }

    /// The row of `user_embedding` of each user, 0 where the user is unknown: \[B, d\].
    ///
    /// # Panics
    /// If users are not given.
    pub fn of_users(&self, params: &Params) -> Var<'g> {
        let users = self.users.expect("a history with its user");
        let table = params.var(users.graph(), "user_embedding");
        table.gather(users) * users.nonzero().reshape([users.shape()[0], 1])
    }

    /// `x` \[B, M, d\] with the row of `behaviour_embedding` of each event added, if behaviours are given.
    pub fn add_behaviours(&self, params: &Params, x: Var<'g>) -> Var<'g> {
        let Some(behaviours) = self.behaviours else { return x };
        x + params.var(x.graph(), "behaviour_embedding").gather(behaviours)
    }

    /// The row of the most recent item of each history, \[B, d\], of `positions` \[B, M, d\].
    pub fn most_recent(&self, positions: Var<'g>) -> Var<'g> {
        let [b, m, d] = [positions.shape()[0], positions.shape()[1], positions.shape()[2]];
        let one = positions.constant_like(1.0);
        self.recency.equal(one).reshape([b, 1, m]).matmul(positions).reshape([b, d])
    }
}
