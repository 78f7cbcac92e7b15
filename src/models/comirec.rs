//! ComiRec: Cen, Zhang, Zou, Zhou, Yang, Tang, "Controllable multi-interest framework for recommendation" (KDD 2020).
//!
//! | of the paper | function |
//! |---|---|
//! | self-attentive extraction, ComiRec-SA: A = softmax(W2 tanh(W1 H)), interests H A | `attend`, [`crate::nn::extractor`] |
//! | dynamic routing, ComiRec-DR | `route`, [`crate::nn::routing`] |
//! | the interest nearest to the target, in training | [`super::interests`] |
//! | greedy inference: an item's score is its largest over interests | [`super::Output`] |
//!
//! The released code differs from the text, and is the default: its attention reads positions, which are no part of what is summed,
//! and has biases. Its routing has a map W for each position and interest, which counts positions from the most recent item here
//! (there from the first), and logits that start from 0. Width inside the attention: 8, by which the number of parameters is that of
//! PoMRec's Table 3 (released: 4 d). The controllable aggregation for diversity is left out. Start values: N(0, .01), and
//! N(0, 1 / d) for maps.

use super::interests::Choice;
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{Batch, History, Interests, LossKind, Model};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::extractor::Extractor;
use crate::nn::routing::{Votes, centres, route};
use crate::nn::{Init, Params};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// How interests are extracted from a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Extraction {
    /// Self-attention with a head for each interest (ComiRec-SA).
    #[default]
    Attention,
    /// Dynamic routing (ComiRec-DR).
    Routing,
}

/// What the attention of ComiRec-SA reads and sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Variant {
    /// The published code: attention over items with positions, by weights with biases; sums of items alone.
    #[default]
    Released,
    /// The text of the paper: items with positions in both, no biases.
    Paper,
}

/// Settings of ComiRec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Interests of a user, K.
    #[schemars(range(min = 1, max = 65536))]
    pub interests: usize,
    /// How interests are extracted from a history.
    pub extractor: Extraction,
    /// What the attention computes: the arithmetic of the released code, or that of the paper's text.
    pub variant: Variant,
    /// Width inside the attention, d_a.
    #[schemars(range(min = 1, max = 65536))]
    pub attention_dim: usize,
    /// Rounds of the routing.
    #[schemars(range(min = 1, max = 100))]
    pub rounds: usize,
    /// Power p of a label-aware attention, as MIND has it, by which a user's interests are trained. Not given: the interest nearest
    /// to the target is trained.
    #[schemars(range(min = 0.1, max = 100))]
    pub power: Option<f64>,
}

impl Default for Settings {
    fn default() -> Settings {
        let (extractor, variant) = (Extraction::default(), Variant::default());
        Settings { dim: 64, interests: 4, extractor, variant, attention_dim: 8, rounds: 3, power: None }
    }
}

impl Settings {
    fn released(&self) -> bool {
        self.variant == Variant::Released
    }

    /// The attention of ComiRec-SA.
    fn heads(&self) -> Extractor {
        let Settings { dim, attention_dim, interests, .. } = *self;
        Extractor { name: "extractor", dim, attention_dim, interests, biases: self.released() }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(ComiRec::new(self.clone(), task)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "comirec",
    title: "several interests of a user, by attention or dynamic routing",
    paper: "Cen, Zhang, Zou, Zhou, Yang, Tang, \"Controllable multi-interest framework for recommendation\" (KDD 2020)",
    loss: Some(LossKind::Softmax),
    presets: &[Preset { name: "paper", settings: &["loss.kind=softmax", "model.variant=paper"] }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct ComiRec {
    settings: Settings,
    choice: Choice,
    params: Params,
}

impl ComiRec {
    pub fn new(settings: Settings, task: &Task) -> ComiRec {
        let Task { items, max_len, .. } = *task;
        let Settings { dim, interests, extractor, .. } = settings;
        let mut params = task.params();
        let init = Init::Normal(0.01);
        params.add("item_embedding", [items + 1, dim], init);
        match extractor {
            Extraction::Attention => {
                params.add("position_embedding", [max_len, dim], init);
                settings.heads().declare(&mut params, init);
            }
            Extraction::Routing => {
                params.add("routing.maps", [max_len, interests, dim, dim], Init::Normal(1.0 / (dim as f64).sqrt()));
            }
        }
        let choice = Choice { power: settings.power, cosine: task.cosine };
        ComiRec { settings, choice, params }
    }

    /// ComiRec-SA, of embedded histories `x` \[B, M, d\].
    fn attend<'g>(&self, g: &'g Graph, x: Var<'g>, history: &History<'g>) -> Interests<'g> {
        let h = x + self.params.var(g, "position_embedding");
        let attention = self.settings.heads().attend(&self.params, g, h, history.items);
        let summed = if self.settings.released() { x } else { h };
        let vectors = Extractor::interests(attention, summed, 0.0);
        Interests { attention: Some(attention), ..Interests::best(vectors, vectors) }
    }

    /// ComiRec-DR, likewise.
    fn route<'g>(&self, g: &'g Graph, x: Var<'g>, history: &History<'g>) -> Interests<'g> {
        let ([b, m, d], k) = ([0, 1, 2].map(|axis| x.shape()[axis]), self.settings.interests);
        let maps = self.params.var(g, "routing.maps").reshape([m, k * d, d]);
        let votes = x.permute(&[1, 0, 2]).matmul_t(maps).reshape([m, b, k, d]).permute(&[1, 2, 0, 3]);
        let logits = g.constant(Tensor::zeros([1, 1, 1])).expand([b, k, m]);
        let routed = route(Votes::Own(votes), logits, self.settings.rounds);
        let shares = routed.shares(history.items);
        Interests { attention: Some(shares), ..Interests::best(routed.interests, centres(shares, x)) }
    }

    fn interests<'g>(&self, g: &'g Graph, history: &History<'g>) -> Interests<'g> {
        let x = g.scope("embed", || history.embed(self.item_table(g)));
        match self.settings.extractor {
            Extraction::Attention => g.scope("attention", || self.attend(g, x, history)),
            Extraction::Routing => g.scope("routing", || self.route(g, x, history)),
        }
    }
}

impl Model for ComiRec {
    fn name(&self) -> &'static str {
        "comirec"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    /// Votes, or attention, of all interests.
    fn widest(&self) -> usize {
        self.settings.interests.saturating_mul(self.settings.dim).max(self.settings.attention_dim)
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
        let interests = self.user(g, &batch.history);
        g.scope("choice", || {
            let target = self.item_table(g).gather(batch.positive);
            self.choice.row(interests, target, None)
        })
    }
}
