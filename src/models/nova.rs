//! NOVA: Liu, Li, Cai, Dong, Zhu, Shang, "Non-invasive self-attention for side information fusion in sequential recommendation"
//! (AAAI 2021), in the arrangement that ANT compares with.
//!
//! | of the paper | here |
//! |---|---|
//! | fusion of id and side information | one linear map of an item's own vector and its features: the item table |
//! | non-invasive self-attention: fused queries and keys, values of ids alone | `block` |
//!
//! The fused input is the same in every block, with a norm of its own; positions are added to it and to the ids. A block is
//! k = norm(fused), v = norm(x), a = norm(v + attention(k, k, v)), x = a + feed-forward(a) with GELU. A history is scored against
//! the fused items, by cosines over a temperature of .07. Without `model.features` queries and keys are of ids too. Start values: N(0, .02).

use super::sasrec::Positions;
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Shared, Task};
use super::{History, LossKind, Model, Padding, Samples};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::nn::encoder::{Encoder, Norm, declare_norm};
use crate::nn::{Init, Params, Tower};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Settings of NOVA.
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
    /// Share of the attention weights and the outputs of each half of a block that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// Which positions of a window have a target in training.
    pub positions: Positions,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64, layers: 2, heads: 2, inner: None, dropout: 0.2, positions: Positions::All }
    }
}

impl spec::Settings for Settings {
    fn shared() -> Shared {
        Shared { cosine: true, ..Shared::default() }
    }

    fn temperature() -> f64 {
        0.07
    }

    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Nova::new(self, task)?))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "nova",
    title: "attention whose queries and keys know features of items, and whose values do not",
    paper: "Liu, Li, Cai, Dong, Zhu, Shang, \"Non-invasive self-attention for side information fusion in sequential recommendation\" (AAAI 2021)",
    loss: Some(LossKind::Softmax),
    presets: &[Preset {
        name: "paper",
        settings: &[
            "loss.kind=softmax",
            "model.dim=256",
            "model.inner=256",
            "model.dropout=0.5",
            "model.positions=last",
            "train.batch=2048",
        ],
    }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Nova {
    encoder: Encoder,
    positions: Positions,
    params: Params,
}

impl Nova {
    /// # Errors
    /// Heads that do not divide the width; items without vectors of their own.
    pub fn new(settings: &Settings, task: &Task) -> Result<Nova> {
        let Settings { dim, layers, heads, inner, dropout, positions } = *settings;
        if task.tower.as_ref().is_some_and(|tower| !tower.config.own) {
            let problem = "model.own_embedding: found false; expected true: the values of nova are items' own vectors";
            return Err(Error::Usage(problem.to_string()));
        }
        let encoder = Encoder::new(Norm::Post, true, (dim, layers, heads), inner, dropout)?;
        let encoder = Encoder { eps: 1e-8, ..encoder };
        let init = Init::Normal(0.02);
        let mut params = Params::with_tower(task.tower.clone().map(Tower::mapping_own));
        params.add(Tower::ITEMS, [task.items + 1, dim], init);
        params.add("position_embedding", [task.max_len, dim], init);
        for l in 0..layers {
            let attention = ["query", "key", "value", "output"].map(|part| (format!("attention.{part}"), dim, dim));
            let inner = [("feed_forward.0", encoder.inner, dim), ("feed_forward.1", dim, encoder.inner)];
            let inner = inner.map(|(part, out, width)| (part.to_string(), out, width));
            for (part, out, width) in attention.into_iter().chain(inner) {
                params.add(&format!("encoder.{l}.{part}.weight"), [out, width], init);
                params.add(&format!("encoder.{l}.{part}.bias"), [out], Init::Constant(0.0));
            }
            for part in ["key_norm", "value_norm", "feed_forward_norm"] {
                declare_norm(&mut params, &format!("encoder.{l}.{part}"), dim);
            }
        }
        Ok(Nova { encoder, positions, params })
    }

    /// Block `l`: x \[B, M, d\] with what `fused` \[B, M, d\] attends to.
    fn block<'g>(&self, l: usize, g: &'g Graph, fused: Var<'g>, x: Var<'g>, history: &History<'g>) -> Var<'g> {
        let Encoder { heads, eps, .. } = self.encoder;
        let dropout = if history.training { self.encoder.dropout } else { 0.0 };
        let both =
            |part: &str, names: [&str; 2]| names.map(|name| self.params.var(g, &format!("encoder.{l}.{part}.{name}")));
        let linear = |x: Var<'g>, part: &str| {
            let [weight, bias] = both(part, ["weight", "bias"]);
            x.linear(weight, Some(bias), Activation::None)
        };
        let norm = |part: &str| both(part, ["gain", "bias"]);
        let [gain, bias] = norm("key_norm");
        let keys = fused.layer_norm(gain, bias, eps);
        let [gain, bias] = norm("value_norm");
        let values = x.layer_norm(gain, bias, eps);
        let (q, k, v) =
            (linear(keys, "attention.query"), linear(keys, "attention.key"), linear(values, "attention.value"));
        let attended = g.scope("attention", || q.attention(k, v, history.items, heads, true, dropout));
        let [gain, bias] = norm("feed_forward_norm");
        let a = values.add_layer_norm(linear(attended, "attention.output"), dropout, gain, bias, eps)[0];
        let inner = linear(linear(a, "feed_forward.0").gelu(), "feed_forward.1");
        a + if dropout == 0.0 { inner } else { g.scope("feed_forward", || inner.dropout(dropout)) }
    }
}

impl Model for Nova {
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
        self.encoder.counted(batch, window)
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, Tower::ITEMS)
    }

    /// Items' own vectors, where the item table is more than they.
    fn second_table<'g>(&self, g: &'g Graph) -> Option<Var<'g>> {
        self.params.tower().map(|_| self.params.stored(g, Tower::ITEMS))
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        history.most_recent(self.positions(g, history))
    }

    fn positions<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let positions = self.params.var(g, "position_embedding");
        let of = |table: Var<'g>| table.gather(history.items) + positions;
        let fused = g.scope("embed", || of(self.item_table(g)));
        let x = self.second_table(g).map_or(fused, |ids| g.scope("embed.ids", || of(ids)));
        g.scope("encoder", || {
            (0..self.encoder.layers).fold(x, |x, l| g.scope(&l.to_string(), || self.block(l, g, fused, x, history)))
        })
    }
}
