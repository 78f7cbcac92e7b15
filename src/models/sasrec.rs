//! SASRec: Kang, McAuley, "Self-attentive sequential recommendation" (ICDM 2018), as published (`model.norm = "pre"`) or in the
//! arrangement of RecBole and ANT (`"post"`): see [`crate::nn::encoder`].
//!
//! | of the paper | function |
//! |---|---|
//! | equation 1, embeddings and positions | `embed` |
//! | equations 2 to 5, blocks | [`Encoder`] |
//! | equation 6, relevance | [`Model::scores`] |
//! | equation 7, cross entropy at each position | [`super::loss`], kind `bce` |
//!
//! `pre` scales item embeddings by sqrt(d), pads on the left and reads padded positions as zeros that are not attended to; `post`
//! pads on the right, except for the pretext task `mask`. Behaviours of events, where they are read, are added as positions are.
//! Training looks at every position of
//! a window at once, or (`model.positions = "last"`) only at its end. Start values: N(0, .02).

use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{History, LossKind, Model, Padding, Phase, Reads};
use crate::data::samples::{Prefix, Samples, Window};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::encoder::{Encoder, Norm, Places};
use crate::nn::{Init, Params};
use attributes::Attributes;
use pretext::{PreTrained, PretextConfig, PretextTask};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub mod attributes;
pub mod pretext;

/// Which positions of a window have a target in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Positions {
    /// Every position: the item after it.
    #[default]
    All,
    /// Only the last position, with a sample for each prefix of a history.
    Last,
}

impl Positions {
    pub fn samples(self) -> Arc<dyn Samples> {
        if self == Positions::All { Arc::new(Window) } else { Arc::new(Prefix) }
    }
}

/// Settings of SASRec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Blocks.
    #[schemars(range(min = 1, max = 256))]
    pub layers: usize,
    /// Attention heads; a divisor of `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub heads: usize,
    /// Width inside a feed-forward. Not given: `dim` with `norm = "pre"`, else 4 `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub inner: Option<usize>,
    /// Share of the embeddings, the attention weights and the outputs of each half of a block that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// Where the norms of a block are.
    pub norm: Norm,
    /// Which positions of a window have a target in training.
    pub positions: Positions,
    /// Share of the positions that pre-training by `mask` hides.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0.0))]
    pub hidden_share: f64,
    /// Read the behaviour of each event.
    pub behaviours: bool,
    /// Pre-training.
    pub pretext: PretextConfig,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dim: 64,
            layers: 2,
            heads: 1,
            inner: None,
            dropout: 0.2,
            norm: Norm::Pre,
            positions: Positions::All,
            hidden_share: 0.2,
            behaviours: false,
            pretext: PretextConfig::default(),
        }
    }
}

impl spec::Settings for Settings {
    fn check(&self) -> Result<()> {
        self.pretext.check()
    }

    fn phases(&self, behaviours: bool) -> Result<Vec<Phase>> {
        self.pretext.phases(behaviours)
    }

    /// A SASRec, or in a phase with a term of its pretext one that is pre-trained.
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        let Settings { dim, layers, heads, inner, dropout, norm, positions, hidden_share, .. } = *self;
        let pretext = self.pretext.of_phase(&task.phase, hidden_share);
        let causal = !pretext.is_some_and(|pretext| pretext.is_mask());
        let parts = Parts {
            items: task.items,
            max_len: task.max_len,
            encoder: Encoder::new(norm, causal, (dim, layers, heads), inner, dropout)?,
            positions,
            behaviours: task.behaviours_if(self.behaviours)?,
            hides: self.pretext.hides(),
        };
        let sasrec = SasRec::new(parts, if self.pretext.attributes { Params::new() } else { task.params() });
        let sasrec = match self.pretext.task {
            // A hidden position is put after the history.
            Some(PretextTask::Mask) => sasrec.padded(Padding::Left),
            _ => sasrec,
        };
        Ok(match pretext {
            Some(pretext) => {
                let attributes = pretext
                    .attribute_weights(&task.phase)
                    .map(|weights| Attributes::new(task.tower.as_ref(), dim, weights, self.pretext.released));
                Box::new(PreTrained::new(sasrec, pretext, attributes.transpose()?))
            }
            None => Box::new(sasrec),
        })
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "sasrec",
    title: "self-attention over the history",
    paper: "Kang, McAuley, \"Self-attentive sequential recommendation\" (ICDM 2018)",
    loss: Some(LossKind::Softmax),
    presets: &[
        Preset { name: "paper", settings: &["loss.kind=bce", "model.dim=50", "train.batch=128"] },
        Preset {
            name: "s3rec",
            settings: &[
                "model.norm=post",
                "model.heads=2",
                "model.inner=256",
                "model.pretext.task=mask",
                "model.pretext.released=true",
                "model.pretext.attribute_weight=5",
                "model.pretext.hidden_attribute_weight=5",
                "model.pretext.segment_weight=2.5",
            ],
        },
        Preset {
            name: "recbole",
            settings: &[
                "loss.kind=softmax",
                "model.norm=post",
                "model.heads=2",
                "model.inner=256",
                "model.positions=last",
                "model.dropout=0.5",
            ],
        },
    ],
    behaviours: Behaviours::Optional,
    settings: SettingsType::of::<Settings>(),
};

/// The parts of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    pub items: usize,
    /// Items of a history that are read.
    pub max_len: usize,
    pub encoder: Encoder,
    pub positions: Positions,
    /// Behaviours whose embeddings are added to those of items; 0: none.
    pub behaviours: usize,
    /// The item table has a row for a hidden item, as pre-training needs it (see [`pretext`]).
    pub hides: bool,
}

pub struct SasRec {
    parts: Parts,
    padding: Padding,
    params: Params,
    /// What the names of its parameters begin with.
    prefix: &'static str,
}

impl SasRec {
    /// `params`: as [`Task::params`] gives them.
    pub fn new(parts: Parts, params: Params) -> SasRec {
        SasRec::called("", parts, params)
    }

    /// As [`SasRec::new`], with parameters whose names begin with `prefix`, as that of the encoder in `parts` does.
    pub fn called(prefix: &'static str, parts: Parts, mut params: Params) -> SasRec {
        let Parts { items, max_len, encoder, behaviours, hides, .. } = parts;
        params.add(&format!("{prefix}item_embedding"), [items + 1 + hides as usize, encoder.dim], Init::Normal(0.02));
        params.add(&format!("{prefix}position_embedding"), [max_len, encoder.dim], Init::Normal(0.02));
        if behaviours > 0 {
            params.add("behaviour_embedding", [behaviours + 1, encoder.dim], Init::Normal(0.02));
        }
        encoder.declare(&mut params, Init::Normal(0.02));
        let padding = if encoder.norm == Norm::Pre { Padding::Left } else { Padding::Right };
        SasRec { parts, padding, params, prefix }
    }

    /// With the padding at this end.
    pub fn padded(self, padding: Padding) -> SasRec {
        SasRec { padding, ..self }
    }

    /// Width of items and positions, d.
    pub fn dim(&self) -> usize {
        self.parts.encoder.dim
    }

    /// Blocks.
    pub fn layers(&self) -> usize {
        self.parts.encoder.layers
    }

    /// Items of a history that are read, M.
    pub fn max_len(&self) -> usize {
        self.parts.max_len
    }

    /// What blocks read of `items`, the vectors of a history's items: both \[B, M, d\].
    fn embed<'g>(&self, g: &'g Graph, history: &History<'g>, items: Var<'g>) -> Var<'g> {
        let Encoder { norm, dim, .. } = self.parts.encoder;
        let items = if norm == Norm::Pre { items.scale((dim as f64).sqrt()) } else { items };
        history.add_behaviours(&self.params, items + self.params.var(g, &format!("{}position_embedding", self.prefix)))
    }

    /// As [`Model::user`], with these vectors of the history's items, \[B, M, d\].
    pub fn user_of<'g>(&self, g: &'g Graph, history: &History<'g>, items: Var<'g>) -> Var<'g> {
        self.user_masked(g, history, items, &[])
    }

    /// As [`SasRec::user_of`], with [the masks](Encoder::encode_masked) of its blocks.
    pub fn user_masked<'g>(&self, g: &'g Graph, history: &History<'g>, items: Var<'g>, masks: &[Var<'g>]) -> Var<'g> {
        let x = g.scope("embed", || self.embed(g, history, items));
        let [b, d] = [x.shape()[0], self.parts.encoder.dim];
        let pick = |x: Var<'g>| history.most_recent(x).reshape([b, 1, x.shape().last_dim()]);
        let last = Places::Last(&pick);
        let encoder = &self.parts.encoder;
        let last = encoder.encode_masked(masks, last, &self.params, x, history.items, history.training);
        // An empty history has no most recent item, and is 0.
        last.reshape([b, d]) * history.most_recent(history.items.nonzero().reshape([b, x.shape()[1], 1]))
    }

    /// The vectors of a history's items, \[B, M, d\].
    fn items<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        g.scope("embed", || self.item_table(g).gather(history.items))
    }
}

impl Model for SasRec {
    fn name(&self) -> &'static str {
        "sasrec"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn padding(&self) -> Padding {
        self.padding
    }

    fn reads(&self) -> Reads {
        Reads { behaviours: self.parts.behaviours > 0, ..Reads::default() }
    }

    fn samples(&self) -> Arc<dyn Samples> {
        self.parts.positions.samples()
    }

    fn hides(&self) -> bool {
        self.parts.hides
    }

    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        self.parts.encoder.counted(batch, window)
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, &format!("{}item_embedding", self.prefix))
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.user_of(g, history, self.items(g, history))
    }

    fn positions<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.positions_masked(g, history, &[])
    }
}

impl SasRec {
    /// As [`Model::positions`], with [the masks](Encoder::encode_masked) of its blocks.
    pub fn positions_masked<'g>(&self, g: &'g Graph, history: &History<'g>, masks: &[Var<'g>]) -> Var<'g> {
        let items = self.items(g, history);
        let x = g.scope("embed", || self.embed(g, history, items));
        let at_targets = |x: Var<'g>| history.at_targets(x);
        let positions = if history.targets.is_some() { Places::Some(&at_targets) } else { Places::All };
        let encoder = &self.parts.encoder;
        encoder.encode_masked(masks, positions, &self.params, x, history.items, history.training)
    }
}
