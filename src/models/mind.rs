//! MIND: Li, Liu, Wu et al., "Multi-interest network with dynamic routing for recommendation at Tmall" (CIKM 2019).
//!
//! | of the paper | function |
//! |---|---|
//! | behaviour-to-interest dynamic routing, one map for all interests | `route`, [`crate::nn::routing`] |
//! | the number of a user's interests, max(1, min(K, log2 n)) of n items | `used` |
//! | label-aware attention | [`super::interests`] |
//! | an item's score is its largest over interests | [`super::Output`] |
//!
//! The logits that routing starts from are drawn from N(0, 1), once for each seed, interest and position: they are constants of the
//! model, in training and in evaluation, which follow from the run's seed and are not among its parameters. (Public ports draw others at each call, in evaluation too.) log2 n is rounded down. The
//! power of the label-aware attention is infinite by default: the interest nearest to the target is trained. Profiles of users, and
//! the layers that join them to interests, are left out. Start values: N(0, .01) for items, N(0, 1 / d) for the map.

use super::interests::{Choice, masked, repeated, used_by_length};
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{Batch, History, Interests, LossKind, Model};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::routing::{Votes, centres, route};
use crate::nn::{Init, Params};
use crate::tensor::Tensor;
use crate::tensor::philox::Stream;
use serde::{Deserialize, Serialize};

/// Settings of MIND.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// The most interests of a user, K.
    #[schemars(range(min = 1, max = 65536))]
    pub interests: usize,
    /// Give a user with n items in the window max(1, min(K, log2 n)) interests, as published, instead of K.
    pub adaptive: bool,
    /// Rounds of the routing.
    #[schemars(range(min = 1, max = 100))]
    pub rounds: usize,
    /// Power p of the label-aware attention by which a user's interests are trained. Not given: the interest nearest to the target
    /// is trained, the limit of large p.
    #[schemars(range(min = 0.1, max = 100))]
    pub power: Option<f64>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64, interests: 4, adaptive: true, rounds: 3, power: None }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Mind::new(self.clone(), task)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "mind",
    title: "several interests of a user, by dynamic routing",
    paper: "Li, Liu, Wu et al., \"Multi-interest network with dynamic routing for recommendation at Tmall\" (CIKM 2019)",
    loss: Some(LossKind::Softmax),
    presets: &[Preset { name: "paper", settings: &["loss.kind=softmax"] }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Mind {
    settings: Settings,
    choice: Choice,
    /// What routing starts from, \[K, M\].
    logits: Tensor,
    params: Params,
}

impl Mind {
    pub fn new(settings: Settings, task: &Task) -> Mind {
        let logits = first_logits(task.seed, settings.interests, task.max_len);
        Mind::with_logits(settings, task, logits)
    }

    /// With other first logits of the routing, \[K, M\].
    pub fn with_logits(settings: Settings, task: &Task, logits: Tensor) -> Mind {
        let dim = settings.dim;
        let mut params = task.params();
        params.add("item_embedding", [task.items + 1, dim], Init::Normal(0.01));
        params.add("routing.map", [dim, dim], Init::Normal(1.0 / (dim as f64).sqrt()));
        let choice = Choice { power: settings.power, cosine: task.cosine };
        Mind { settings, choice, logits, params }
    }

    /// 1 for each interest that a user has, else 0, \[B, K\].
    fn used<'g>(&self, history: &History<'g>) -> Var<'g> {
        let (b, k) = (history.items.shape()[0], self.settings.interests);
        match self.settings.adaptive {
            true => used_by_length(history, k),
            false => history.items.graph().scalar(1.0).expand([b, k]),
        }
    }

    /// Where a user has fewer interests than K, the first one stands for the others: the largest score stays the same.
    fn interests<'g>(&self, g: &'g Graph, history: &History<'g>) -> Interests<'g> {
        let x = g.scope("embed", || history.embed(self.item_table(g)));
        g.scope("routing", || {
            let ([b, m], k) = ([x.shape()[0], x.shape()[1]], self.settings.interests);
            let votes = Votes::Mapped { x, map: self.params.var(g, "routing.map") };
            let (logits, used) = (g.constant(self.logits.clone()).reshape([1, k, m]), self.used(history));
            let routed = route(votes, masked(logits, used.reshape([b, k, 1])), self.settings.rounds);
            let vectors = repeated(routed.interests, used);
            let shares = routed.shares(history.items);
            Interests { attention: Some(shares), used: Some(used), ..Interests::best(vectors, centres(shares, x)) }
        })
    }
}

/// N(0, 1) for each interest and each distance from the end of the history: \[K, M\], the most recent position last.
fn first_logits(seed: u64, interests: usize, max_len: usize) -> Tensor {
    let draw =
        |k: usize, recency: usize| Stream::new(seed, "mind.logits", (k as u64) << 32 | recency as u64).normal() as f32;
    let values = (0..interests).flat_map(|k| (1..=max_len).rev().map(move |recency| draw(k, recency)));
    Tensor::f32([interests, max_len], values.collect())
}

impl Model for Mind {
    fn name(&self) -> &'static str {
        "mind"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn widest(&self) -> usize {
        self.settings.interests.max(self.settings.dim)
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn own_table<'g>(&self, g: &'g Graph, column: &str) -> Option<Var<'g>> {
        (column == "positive" && self.settings.power.is_some()).then(|| self.item_table(g))
    }

    /// \[B, K, d\].
    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.interests(g, history).vectors
    }

    fn shown<'g>(&self, g: &'g Graph, history: &History<'g>) -> Option<Interests<'g>> {
        Some(self.interests(g, history))
    }

    fn scored<'g>(&self, g: &'g Graph, batch: &Batch<'g>) -> Var<'g> {
        let Interests { vectors, used, .. } = self.interests(g, &batch.history);
        g.scope("choice", || {
            let target = self.item_table(g).gather(batch.positive);
            self.choice.row(vectors, target, used)
        })
    }
}
