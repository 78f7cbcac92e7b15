//! STAMP: Liu, Zeng, Mokhosi, Zhang, "STAMP: short-term attention/memory priority model for session-based recommendation"
//! (KDD 2018).
//!
//! | of the paper | function |
//! |---|---|
//! | general interest m_s and attention by it and the last item x_t: m_a | `attend` |
//! | MLP cells A and B, h_s and h_t, and their part of the trilinear score | `user` |
//!
//! The weights of the attention are not normalised. The sigmoid about the scores is left out, as in the released code, whose
//! softmax is over the scores themselves. Start values as published: N(0, .002) for the items, N(0, .05) for weights; biases 0.

use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{History, LossKind, Model};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::nn::{Init, Params};
use serde::{Deserialize, Serialize};

/// Settings of STAMP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64 }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Stamp::new(self.clone(), task)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "stamp",
    title: "attention by the last item and the mean of a session",
    paper: "Liu, Zeng, Mokhosi, Zhang, \"STAMP: short-term attention/memory priority model for session-based recommendation\" (KDD 2018)",
    loss: Some(LossKind::Softmax),
    presets: &[Preset {
        name: "paper",
        settings: &["loss.kind=softmax", "model.dim=100", "train.batch=512", "train.lr=5e-3"],
    }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Stamp {
    settings: Settings,
    params: Params,
}

impl Stamp {
    pub fn new(settings: Settings, task: &Task) -> Stamp {
        let (items, dim) = (task.items, settings.dim);
        let mut params = task.params();
        params.add("item_embedding", [items + 1, dim], Init::Normal(0.002));
        for part in ["attention.item", "attention.last", "attention.mean", "mlp.history", "mlp.last"] {
            params.add(&format!("{part}.weight"), [dim, dim], Init::Normal(0.05));
        }
        params.add("attention.output.weight", [1, dim], Init::Normal(0.05));
        for part in ["attention", "mlp.history", "mlp.last"] {
            params.add(&format!("{part}.bias"), [dim], Init::Constant(0.0));
        }
        Stamp { settings, params }
    }

    /// sum_i a_i x_i with a_i = W0 sigmoid(W1 x_i + W2 last + W3 mean + b), \[B, d\].
    fn attend<'g>(&self, g: &'g Graph, x: Var<'g>, last: Var<'g>, items: Var<'g>) -> Var<'g> {
        let [b, d] = [x.shape()[0], self.settings.dim];
        let var = |name: &str| self.params.var(g, &format!("attention.{name}"));
        let length = items.nonzero().sum(1).max(g.scalar(1.0)).reshape([b, 1]);
        let mean = x.sum(1) / length;
        let context = last.linear(var("last.weight"), Some(var("bias")), Activation::None)
            + mean.linear(var("mean.weight"), None, Activation::None);
        let hidden = x.linear(var("item.weight"), None, Activation::None) + context.reshape([b, 1, d]);
        let weights = hidden.sigmoid().linear(var("output.weight"), None, Activation::None);
        weights.t_matmul(x).reshape([b, d])
    }
}

impl Model for Stamp {
    fn name(&self) -> &'static str {
        "stamp"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let x = g.scope("embed", || history.embed(self.item_table(g)));
        let last = history.most_recent(x);
        let mlp = |part: &str, x: Var<'g>| {
            let var = |name: &str| self.params.var(g, &format!("mlp.{part}.{name}"));
            x.linear(var("weight"), Some(var("bias")), Activation::Tanh)
        };
        let attended = g.scope("attention", || self.attend(g, x, last, history.items));
        g.scope("mlp", || mlp("history", attended) * mlp("last", last))
    }
}
