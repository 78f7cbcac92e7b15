//! MCPRN: Wang, Hu, Wang, Sheng, Orgun, Cao, "Modeling multi-purpose sessions for next-item recommendations via mixture-channel
//! purpose routing networks" (IJCAI 2019). Each item is routed to the channels whose purpose it serves; each channel is a recurrent
//! network that an item updates by as much as it is routed there.
//!
//! | of the paper | function |
//! |---|---|
//! | purpose router: softmax(W v / tau) over the channels, 0 below a least share | `gates`, `cut` |
//! | a GRU for each channel, its update gate times the router's: h <- h + g z (n - h) | `states`, [`Var::weighted_gru`] |
//! | the score of an item: v . sum_k g_k(v) h_k | `scores` |
//! | -log sigmoid of the target, plus the sum over negatives of -log sigmoid of minus theirs | [`super::loss`], kind `gbce` with `loss.t=0` and `loss.prior=false` |
//!
//! The text of the paper was not at hand. The equations are those of a public port, and these are readings: states start at 0 (there
//! at random), positions of padding update nothing (there they do), and the gates of an item that is scored are cut as those of the
//! history are; `model.candidates=whole` leaves them as they are, as the port does. What is cut has no gradient, and the other gates
//! are not scaled up for it. `gbce` divides the loss by the number of negatives plus 1, which does not change Adam's updates (without weight decay or clipping). As
//! published the loss takes long to leave popularity: `loss.prior=true` adds a constant to the scores, which changes no ranking, and
//! learns faster (docs/log.md). Start values: N(0, 2 / (rows + columns)) (Glorot), biases 0.

use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{Candidates, History, Interests, LossKind, Model, Output, Weights};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::embedding::GatherDot;
use crate::kernels::matmul::Activation;
use crate::nn::routing::centres;
use crate::nn::{Init, Params};
use serde::{Deserialize, Serialize};

/// The gates of an item that is scored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CandidateGates {
    /// As those of the history: 0 below `cut`.
    #[default]
    Cut,
    /// As the softmax gives them.
    Whole,
}

/// Settings of MCPRN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings and of the channels' states, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Channels, each for a purpose, K.
    #[schemars(range(min = 1, max = 256))]
    pub channels: usize,
    /// Temperature of the softmax that routes items to channels, tau.
    #[schemars(range(min = 1e-4, max = 1e6))]
    pub temperature: f64,
    /// Shares of an item below this are 0.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub cut: f64,
    /// The gates of an item that is scored.
    pub candidates: CandidateGates,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64, channels: 3, temperature: 0.1, cut: 0.01, candidates: CandidateGates::Cut }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Mcprn::new(self.clone(), task)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "mcprn",
    title: "items routed to several recurrent networks, one for each purpose",
    paper: "Wang, Hu, Wang, Sheng, Orgun, Cao, \"Modeling multi-purpose sessions for next-item recommendations via mixture-channel purpose routing networks\" (IJCAI 2019)",
    loss: Some(LossKind::InBatch),
    presets: &[Preset {
        name: "paper",
        settings: &["loss.kind=gbce", "loss.t=0", "loss.prior=false", "train.negatives=99"],
    }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Mcprn {
    settings: Settings,
    params: Params,
}

impl Mcprn {
    pub fn new(settings: Settings, task: &Task) -> Mcprn {
        let Settings { dim, channels, .. } = settings;
        let mut params = task.params();
        let mut weight = |name: &str, rows: usize, columns: usize| {
            params.add(name, [rows, columns], Init::Normal((2.0 / (rows + columns) as f64).sqrt()));
        };
        weight("item_embedding", task.items + 1, dim);
        weight("router.weight", channels, dim);
        for k in 0..channels {
            weight(&format!("channel.{k}.input.weight"), 3 * dim, dim);
            weight(&format!("channel.{k}.state.weight"), 3 * dim, dim);
        }
        for k in 0..channels {
            params.add(&format!("channel.{k}.input.bias"), [3 * dim], Init::Constant(0.0));
            params.add(&format!("channel.{k}.state.bias"), [3 * dim], Init::Constant(0.0));
        }
        Mcprn { settings, params }
    }

    /// The share of each channel in items `v` \[.., d\], \[.., K\].
    fn gates<'g>(&self, v: Var<'g>) -> Var<'g> {
        let logits = v.linear(self.params.var(v.graph(), "router.weight"), None, Activation::None);
        logits.scale(1.0 / self.settings.temperature).softmax(v.shape().len() - 1, None)
    }

    /// `gates`, 0 below the least share.
    fn cut<'g>(&self, gates: Var<'g>) -> Var<'g> {
        let below = gates.constant_like(self.settings.cut).greater(gates);
        gates * (gates.constant_like(1.0) - below)
    }

    /// As [`Mcprn::gates`], of items that are scored.
    fn candidate_gates<'g>(&self, v: Var<'g>) -> Var<'g> {
        match self.settings.candidates {
            CandidateGates::Cut => self.cut(self.gates(v)),
            CandidateGates::Whole => self.gates(v),
        }
    }

    /// The events of histories, \[B, M, d\], and their gates, 0 where padded, \[B, M, K\].
    fn routed<'g>(&self, g: &'g Graph, history: &History<'g>) -> [Var<'g>; 2] {
        let x = g.scope("embed", || self.item_table(g).gather(history.items));
        let real = history.items.nonzero().reshape([x.shape()[0], x.shape()[1], 1]);
        g.scope("router", || [x, self.cut(self.gates(x)) * real])
    }

    /// The last state of each channel, \[B, K, d\].
    fn states<'g>(&self, g: &'g Graph, [x, gates]: [Var<'g>; 2]) -> Var<'g> {
        let [b, m] = [x.shape()[0], x.shape()[1]];
        let state = |k: usize| {
            g.scope(&format!("channel.{k}"), || {
                let var = |name: &str| self.params.var(g, &format!("channel.{k}.{name}"));
                let x = x.linear(var("input.weight"), Some(var("input.bias")), Activation::None);
                let gate = gates.slice(2, k, 1).reshape([b, m]);
                x.weighted_gru(var("state.weight"), var("state.bias"), gate).slice(1, m - 1, 1)
            })
        };
        g.concat(1, &(0..self.settings.channels).map(state).collect::<Vec<_>>())
    }

    /// Items `v` \[W, d\] as each channel sees them, g_k(v) v side by side: \[W, K d\]. Their products with the states side by side
    /// are the scores.
    fn by_channel<'g>(&self, v: Var<'g>) -> Var<'g> {
        let ([w, d], k) = ([v.shape()[0], v.shape()[1]], self.settings.channels);
        (self.candidate_gates(v).reshape([w, k, 1]) * v.reshape([w, 1, d])).reshape([w, k * d])
    }
}

impl Model for Mcprn {
    fn name(&self) -> &'static str {
        "mcprn"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn counted(&self, batch: usize, _window: usize) -> Option<(&'static str, Vec<usize>)> {
        let Settings { dim, channels, .. } = self.settings;
        Some(("train.batch x model.channels x model.dim", vec![batch, channels, dim]))
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn own_table<'g>(&self, g: &'g Graph, column: &str) -> Option<Var<'g>> {
        ["positive", "negative"].contains(&column).then(|| self.item_table(g))
    }

    fn output<'g>(&self, _g: &'g Graph) -> Option<Output<'g>> {
        None
    }

    /// The states of the channels, \[B, K, d\].
    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.states(g, self.routed(g, history))
    }

    fn shown<'g>(&self, g: &'g Graph, history: &History<'g>) -> Option<Interests<'g>> {
        let [x, gates] = self.routed(g, history);
        let vectors = self.states(g, [x, gates]);
        Some(Interests {
            weights: Weights::ByItem,
            attention: Some(gates),
            ..Interests::best(vectors, centres(gates, x))
        })
    }

    fn interest_weights<'g>(&self, g: &'g Graph, users: Var<'g>, items: Var<'g>) -> Var<'g> {
        let gates = self.candidate_gates(self.item_table(g).gather(items));
        let [w, k] = [gates.shape()[0], gates.shape()[1]];
        gates.reshape([1, w, k]).expand([users.shape()[0], w, k])
    }

    /// Of items that all rows share, and of listed ones, no product with a channel is stored.
    fn scores<'g>(&self, g: &'g Graph, rows: Var<'g>, candidates: Candidates<'g>) -> Var<'g> {
        let [r, k, d] = [0, 1, 2].map(|axis| rows.shape()[axis]);
        let (table, side_by_side) = (self.item_table(g), rows.reshape([r, k * d]));
        // Of items v [R, C, d], each row's own.
        let own = |v: Var<'g>| (v.matmul_t(rows) * self.candidate_gates(v)).sum(2);
        match candidates {
            Candidates::Shared(ids) => side_by_side.matmul_t(self.by_channel(table.gather(ids))),
            Candidates::Each(ids) => own(table.gather(ids).reshape([r, 1, d])).reshape([r]),
            Candidates::Own(ids) => own(table.gather(ids)),
            Candidates::Listed(ids) => {
                let items = g.prepared("items_by_channel", || self.by_channel(table));
                g.push(GatherDot, &[side_by_side, items, ids])
            }
        }
    }
}
