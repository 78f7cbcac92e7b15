//! HGN: Ma, Kang, Liu, "Hierarchical gating networks for sequential recommendation" (KDD 2019).
//!
//! | of the paper | function |
//! |---|---|
//! | equation 2, feature gating | `features` |
//! | equations 4 to 6, instance gating and pooling | `pool` |
//! | equation 7, the score: user, pooled items and the sum of items against an item | `user`, `output_embedding` |
//!
//! Left open by the paper: padded positions, which take no part in the mean and are 0 to the maximum. The bias of an item that the
//! paper's code has is left out, as in RecBole. A user whom the training did not have is 0. Start values: N(0, 1 / d^2) for
//! embeddings, N(0, 2 / (rows + columns)) (Glorot) for weights; biases 0.

use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{History, LossKind, Model, Output, Reads};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::nn::{Init, Params};
use serde::{Deserialize, Serialize};

/// How gated items are pooled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Pooling {
    /// The mean, weighted by the instance gates.
    #[default]
    Average,
    /// The largest value of each channel.
    Max,
}

/// Settings of HGN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// How gated items are pooled.
    pub pooling: Pooling,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64, pooling: Pooling::Average }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Hgn::new(self.clone(), task)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "hgn",
    title: "gates by the user over features and items of the history",
    paper: "Ma, Kang, Liu, \"Hierarchical gating networks for sequential recommendation\" (KDD 2019)",
    loss: Some(LossKind::Bpr),
    presets: &[Preset {
        name: "paper",
        settings: &["loss.kind=bpr", "model.dim=50", "data.max_len=5", "train.batch=4096", "train.weight_decay=1e-3"],
    }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Hgn {
    settings: Settings,
    users: usize,
    items: usize,
    params: Params,
}

impl Hgn {
    pub fn new(settings: Settings, task: &Task) -> Hgn {
        let (&Task { users, items, max_len, .. }, d) = (task, settings.dim);
        let mut params = task.params();
        for (name, rows) in [("user", users), ("item", items), ("output", items)] {
            params.add(&format!("{name}_embedding"), [rows + 1, d], Init::Normal(1.0 / d as f64));
        }
        let weights = [("feature.item", d), ("feature.user", d), ("instance.item", 1), ("instance.user", max_len)];
        for (name, rows) in weights {
            params.add(&format!("{name}.weight"), [rows, d], Init::Normal((2.0 / (rows + d) as f64).sqrt()));
        }
        params.add("feature.bias", [d], Init::Constant(0.0));
        Hgn { settings, users, items, params }
    }

    fn linear<'g>(&self, x: Var<'g>, name: &str, bias: Option<Var<'g>>) -> Var<'g> {
        x.linear(self.params.var(x.graph(), &format!("{name}.weight")), bias, Activation::None)
    }

    /// Equation 2: items `x` \[B, M, d\], gated by themselves and the user \[B, d\].
    fn features<'g>(&self, x: Var<'g>, user: Var<'g>) -> Var<'g> {
        let [b, d] = [x.shape()[0], self.settings.dim];
        let bias = self.params.var(x.graph(), "feature.bias");
        let of_user = self.linear(user, "feature.user", Some(bias)).reshape([b, 1, d]);
        x * (self.linear(x, "feature.item", None) + of_user).sigmoid()
    }

    /// Equations 4 to 6: gated items `x`, 0 where `real` \[B, M, 1\] is, pooled: \[B, d\].
    fn pool<'g>(&self, x: Var<'g>, user: Var<'g>, real: Var<'g>) -> Var<'g> {
        let [b, m] = [x.shape()[0], x.shape()[1]];
        let of_user = self.linear(user, "instance.user", None).reshape([b, m, 1]);
        let gates = (self.linear(x, "instance.item", None) + of_user).sigmoid() * real;
        match self.settings.pooling {
            Pooling::Average => (x * gates).sum(1) / gates.sum(1).max(x.graph().scalar(1e-9)),
            Pooling::Max => (x * gates).max_over(1),
        }
    }
}

impl Model for Hgn {
    fn name(&self) -> &'static str {
        "hgn"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn reads(&self) -> Reads {
        Reads { users: self.users, ..Reads::default() }
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn output<'g>(&self, g: &'g Graph) -> Option<Output<'g>> {
        let table = self.params.var(g, "output_embedding");
        Some(Output { table, bias: None, classes: 1..self.items + 1, cosine: false })
    }

    /// Equation 7: what is multiplied with an item.
    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let x = g.scope("embed", || history.embed(self.item_table(g)));
        let user = history.of_users(&self.params);
        let real = history.items.nonzero().reshape([x.shape()[0], x.shape()[1], 1]);
        let gated = g.scope("feature", || self.features(x, user));
        user + g.scope("instance", || self.pool(gated, user, real)) + x.sum(1)
    }
}
