//! FDSA: Zhang, Zhao, Liu, Sheng, Xu, Wang, Liu, Zhou, "Feature-level deeper self-attention network for sequential
//! recommendation" (IJCAI 2019).
//!
//! | of the paper | function |
//! |---|---|
//! | vanilla attention over the features of an item | `features` |
//! | item-based and feature-based self-attention | `stream` |
//! | fully connected layer over both, and dot products | `user` |
//!
//! A feature is relu(W x + b) of each kind that `model.features` names; the attention over them is softmax(w2 relu(W1 f + b1)),
//! without the second bias, which leaves it as it is. As in the public code, one norm serves both streams' inputs and the output,
//! and both have the same positions. Without `model.features` there is the stream of items alone. Start values: N(0, .02).

use super::sasrec::Positions;
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{History, LossKind, Model, Padding, Samples};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::nn::encoder::{Encoder, Norm, Places, declare_norm};
use crate::nn::{Init, Params, Tower};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Settings of FDSA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Blocks of each stream.
    #[schemars(range(min = 1, max = 256))]
    pub layers: usize,
    /// Attention heads; a divisor of `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub heads: usize,
    /// Width inside a feed-forward. Not given: 4 `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub inner: Option<usize>,
    /// Width inside the attention over features. Not given: `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub attention_dim: Option<usize>,
    /// Share of the embeddings, the attention weights and the outputs of each half of a block that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// Which positions of a window have a target in training.
    pub positions: Positions,
}

impl Default for Settings {
    fn default() -> Settings {
        let positions = Positions::All;
        Settings { dim: 64, layers: 2, heads: 2, inner: None, attention_dim: None, dropout: 0.2, positions }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Fdsa::new(self, task)?))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "fdsa",
    title: "self-attention over the items of a history, and over their features",
    paper: "Zhang, Zhao, Liu, Sheng, Xu, Wang, Liu, Zhou, \"Feature-level deeper self-attention network for sequential recommendation\" (IJCAI 2019)",
    loss: Some(LossKind::Softmax),
    presets: &[
        Preset { name: "paper", settings: &["loss.kind=bce", "model.dim=100"] },
        Preset {
            name: "recbole",
            settings: &["loss.kind=softmax", "model.inner=256", "model.dropout=0.5", "model.positions=last"],
        },
    ],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

/// Features of items as the model reads them.
pub struct Features<'g> {
    /// \[items + 1, d\].
    pub vectors: Var<'g>,
    /// The share of each kind in them, \[items + 1, kinds\], where there are several.
    pub weights: Option<Var<'g>>,
}

pub struct Fdsa {
    /// Of the stream of items, and of features.
    encoders: Vec<Encoder>,
    /// Features that are read.
    tower: Option<Tower>,
    positions: Positions,
    params: Params,
}

impl Fdsa {
    /// # Errors
    /// Heads that do not divide the width; settings of a tower that computes the items.
    pub fn new(settings: &Settings, task: &Task) -> Result<Fdsa> {
        let Settings { dim, layers, heads, inner, attention_dim, dropout, positions } = *settings;
        let tower = task.tower.clone().map(|tower| tower.apart(dim)).transpose()?;
        let encoder = Encoder::new(Norm::Post, true, (dim, layers, heads), inner, dropout)?;
        let streams = if tower.is_some() { &["encoder", "features.encoder"][..] } else { &["encoder"] };
        let encoders: Vec<Encoder> = streams.iter().map(|name| Encoder { name, ..encoder }).collect();
        let init = Init::Normal(0.02);
        let mut params = Params::new();
        params.add("item_embedding", [task.items + 1, dim], init);
        params.add("position_embedding", [task.max_len, dim], init);
        declare_norm(&mut params, "norm", dim);
        for encoder in &encoders {
            (0..layers).for_each(|l| encoder.declare_block(l, &mut params, init));
        }
        let bias = |params: &mut Params, name: &str, width| params.add(name, [width], Init::Constant(0.0));
        params.add("output.weight", [dim, encoders.len() * dim], init);
        bias(&mut params, "output.bias", dim);
        if let Some(tower) = &tower {
            tower.declare(&mut params, init);
            for known in tower.known.iter() {
                bias(&mut params, &format!("features.{}.bias", known.name), dim);
            }
            if tower.known.len() > 1 {
                let inner = attention_dim.unwrap_or(dim);
                params.add("features.attention.0.weight", [inner, dim], init);
                bias(&mut params, "features.attention.0.bias", inner);
                params.add("features.attention.1.weight", [1, inner], init);
            }
        }
        Ok(Fdsa { encoders, tower, positions, params })
    }

    fn linear<'g>(&self, g: &'g Graph, x: Var<'g>, name: &str, activation: Activation) -> Var<'g> {
        let [weight, bias] = ["weight", "bias"].map(|part| self.params.var(g, &format!("{name}.{part}")));
        x.linear(weight, Some(bias), activation)
    }

    fn norm<'g>(&self, g: &'g Graph, x: Var<'g>) -> Var<'g> {
        let [gain, bias] = ["gain", "bias"].map(|part| self.params.var(g, &format!("norm.{part}")));
        x.layer_norm(gain, bias, self.encoders[0].eps)
    }

    /// The features of all items, where some are read.
    pub fn features<'g>(&self, g: &'g Graph) -> Option<Features<'g>> {
        let tower = self.tower.as_ref()?;
        let kinds = tower.known.iter().zip(tower.kinds(&self.params, g)).map(|(known, z)| {
            let bias = self.params.var(g, &format!("features.{}.bias", known.name));
            (z + bias).relu()
        });
        let kinds: Vec<Var> = kinds.collect();
        let [rows, d] = [kinds[0].shape()[0], kinds[0].shape()[1]];
        let [only] = kinds[..] else {
            let f = kinds.iter().map(|f| f.reshape([rows, 1, d])).collect::<Vec<_>>();
            let f = g.concat(1, &f);
            let hidden = self.linear(g, f, "features.attention.0", Activation::Relu);
            let weight = self.params.var(g, "features.attention.1.weight");
            let weights = hidden.linear(weight, None, Activation::None).reshape([rows, kinds.len()]).softmax(1, None);
            let vectors = (f * weights.reshape([rows, kinds.len(), 1])).sum(1);
            return Some(Features { vectors, weights: Some(weights) });
        };
        Some(Features { vectors: only, weights: None })
    }

    /// One stream over rows of `table`: the `places` of a history that are asked for.
    fn stream<'g>(
        &self,
        encoder: &Encoder,
        table: Var<'g>,
        places: Places<'_, 'g>,
        g: &'g Graph,
        history: &History<'g>,
    ) -> Var<'g> {
        let dropout = if history.training { encoder.dropout } else { 0.0 };
        let encoder = Encoder { dropout, ..*encoder };
        let x = g.scope(encoder.name, || {
            let x = self.norm(g, table.gather(history.items) + self.params.var(g, "position_embedding"));
            if dropout == 0.0 { x } else { x.dropout(dropout) }
        });
        (0..encoder.layers).fold(x, |x, l| encoder.block(l, places, &self.params, g, x, history.items))
    }

    /// Both streams at the `places` of a history, joined: \[B, K, d\].
    fn encode<'g>(&self, places: Places<'_, 'g>, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let tables = [Some(self.item_table(g)), self.second_table(g)].into_iter().flatten();
        let streams = self.encoders.iter().zip(tables);
        let streams = streams.map(|(encoder, table)| self.stream(encoder, table, places, g, history));
        let streams: Vec<Var> = streams.collect();
        self.norm(g, self.linear(g, g.concat(2, &streams), "output", Activation::None))
    }
}

impl Model for Fdsa {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn padding(&self) -> Padding {
        Padding::Right
    }

    fn samples(&self) -> Arc<dyn Samples> {
        self.positions.samples()
    }

    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        self.encoders[0].counted(batch, window)
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    /// Features of items.
    fn second_table<'g>(&self, g: &'g Graph) -> Option<Var<'g>> {
        self.tower.as_ref()?;
        Some(g.prepared("features", || self.features(g).expect("some are read").vectors))
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let [b, m] = [history.items.shape()[0], history.items.shape()[1]];
        let pick = |x: Var<'g>| history.most_recent(x).reshape([b, 1, x.shape().last_dim()]);
        let last = self.encode(Places::Last(&pick), g, history);
        // An empty history has no most recent item, and is 0.
        last.reshape([b, last.shape().last_dim()]) * history.most_recent(history.items.nonzero().reshape([b, m, 1]))
    }

    fn positions<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.encode(Places::All, g, history)
    }
}
