//! BERT4Rec: Sun et al., "BERT4Rec: sequential recommendation with bidirectional encoder representations from Transformer"
//! (CIKM 2019). Places of a window are hidden at random (`model.hidden_share`) and found from both sides; to predict, a hidden
//! position is put after the history. Post-norm blocks, and before the output a linear layer with GELU and a norm; items are
//! scored by the table they are read from and a bias each. Where behaviours are read, a position that is hidden in training keeps its
//! event's. Start values: N(0, .02).

use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{History, LossKind, Model, Output, Padding, Reads};
use crate::data::samples::{self, Cloze, Samples};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::nn::encoder::{Encoder, Norm, Places};
use crate::nn::{Init, Params};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Settings of BERT4Rec.
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
    /// Width inside a feed-forward. Not given: 4 `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub inner: Option<usize>,
    /// Share of the embeddings, the attention weights and the outputs of each half of a block that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// Share of the positions that are hidden in training.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0.0))]
    pub hidden_share: f64,
    /// Read the behaviour of each event.
    pub behaviours: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64, layers: 2, heads: 2, inner: None, dropout: 0.2, hidden_share: 0.2, behaviours: false }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        let Settings { dim, layers, heads, inner, dropout, hidden_share, .. } = *self;
        let Task { items, max_len, target, .. } = *task;
        let encoder = Encoder::new(Norm::Post, false, (dim, layers, heads), inner, dropout)?;
        let behaviours = task.behaviours_if(self.behaviours)?;
        Ok(Box::new(Bert4Rec::new(Parts { items, max_len, encoder, hidden_share, behaviours, target }, task.params())))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "bert4rec",
    title: "self-attention from both sides, by hidden items",
    paper: "Sun et al., \"BERT4Rec: sequential recommendation with bidirectional encoder representations from Transformer\" (CIKM 2019)",
    loss: Some(LossKind::Softmax),
    presets: &[
        Preset {
            name: "paper",
            settings: &["loss.kind=softmax", "train.lr=1e-4", "train.weight_decay=0.01", "train.decoupled=true"],
        },
        Preset { name: "recbole", settings: &["loss.kind=softmax", "model.inner=256"] },
    ],
    behaviours: Behaviours::Optional,
    settings: SettingsType::of::<Settings>(),
};

/// The parts of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    pub items: usize,
    pub max_len: usize,
    pub encoder: Encoder,
    /// Share of the positions that are hidden in training.
    pub hidden_share: f64,
    /// Behaviours whose embeddings are added to those of items; 0: none.
    pub behaviours: usize,
    /// The behaviour of a hidden position after a history. None: that of the most recent event.
    pub target: Option<u32>,
}

pub struct Bert4Rec {
    parts: Parts,
    params: Params,
}

impl Bert4Rec {
    /// `params`: as [`Task::params`] gives them.
    pub fn new(parts: Parts, mut params: Params) -> Bert4Rec {
        let Parts { items, max_len, encoder, behaviours, .. } = parts;
        let d = encoder.dim;
        // Row items + 1 is a hidden position.
        params.add("item_embedding", [items + 2, d], Init::Normal(0.02));
        params.add("item_bias", [items + 2, 1], Init::Constant(0.0));
        params.add("position_embedding", [max_len, d], Init::Normal(0.02));
        if behaviours > 0 {
            params.add("behaviour_embedding", [behaviours + 1, d], Init::Normal(0.02));
        }
        encoder.declare(&mut params, Init::Normal(0.02));
        params.add("output.weight", [d, d], Init::Normal(0.02));
        params.add("output.bias", [d], Init::Constant(0.0));
        params.add("output_norm.gain", [d], Init::Constant(1.0));
        params.add("output_norm.bias", [d], Init::Constant(0.0));
        Bert4Rec { parts, params }
    }
}

impl Model for Bert4Rec {
    fn name(&self) -> &'static str {
        "bert4rec"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn padding(&self) -> Padding {
        Padding::Left
    }

    fn reads(&self) -> Reads {
        Reads { behaviours: self.parts.behaviours > 0, ..Reads::default() }
    }

    fn hides(&self) -> bool {
        true
    }

    fn samples(&self) -> Arc<dyn Samples> {
        Arc::new(Cloze { share: self.parts.hidden_share as f32 })
    }

    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        self.parts.encoder.counted(batch, window)
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn output<'g>(&self, g: &'g Graph) -> Option<Output<'g>> {
        let bias = Some(self.params.var(g, "item_bias"));
        Some(Output { table: self.item_table(g), bias, classes: 1..self.parts.items + 1, cosine: false })
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let [b, m] = [history.items.shape()[0], history.items.shape()[1]];
        let history = history.with_hidden(samples::hidden(self.parts.items), self.parts.target);
        let x = self.embed(g, &history);
        let pick = |x: Var<'g>| x.slice(1, m - 1, 1);
        let last = Places::Last(&pick);
        let last = self.parts.encoder.encode_at(last, &self.params, x, history.items, history.training);
        self.transformed(g, last).reshape([b, self.parts.encoder.dim])
    }

    fn positions<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let x = self.embed(g, history);
        let at_targets = |x: Var<'g>| history.at_targets(x);
        let positions = if history.targets.is_some() { Places::Some(&at_targets) } else { Places::All };
        let encoder = &self.parts.encoder;
        self.transformed(g, encoder.encode_at(positions, &self.params, x, history.items, history.training))
    }
}

impl Bert4Rec {
    fn embed<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        g.scope("embed", || {
            let x = self.item_table(g).gather(history.items) + self.params.var(g, "position_embedding");
            history.add_behaviours(&self.params, x)
        })
    }

    /// The layer between the encoder and the scores.
    fn transformed<'g>(&self, g: &'g Graph, x: Var<'g>) -> Var<'g> {
        let var = |name: &str| self.params.var(g, name);
        g.scope("output", || {
            let y = x.linear(var("output.weight"), Some(var("output.bias")), Activation::None).gelu();
            y.layer_norm(var("output_norm.gain"), var("output_norm.bias"), self.parts.encoder.eps)
        })
    }
}
