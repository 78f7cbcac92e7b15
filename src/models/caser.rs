//! Caser: Tang, Wang, "Personalized top-N sequential recommendation via convolutional sequence embedding" (WSDM 2018).
//!
//! | of the paper | function |
//! |---|---|
//! | embedding look-up: the last L items as an image E | `image` |
//! | horizontal filters of heights 1 to L, the maximum over time: o | `horizontal` |
//! | vertical filters, weighted sums over the L positions: o~ | `vertical` |
//! | fully connected layers: z | `user` |
//! | their last, a table W' and a bias b' of the output's own | `output` |
//!
//! The published model adds a table of users to the fully connected layer. Models here are functions of only the history, so
//! that they serve users who were not trained on: it is left out. Start values: N(0, 1 / d) for embeddings, N(0, 2 / (rows +
//! columns)) for weights, biases 0.

use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{History, LossKind, Model, Output};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::nn::{Init, Params};
use serde::{Deserialize, Serialize};

/// Settings of Caser.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Items of a history that are read, the last ones, L; at most `data.max_len`.
    #[schemars(range(min = 1, max = 65536))]
    pub window: usize,
    /// Horizontal filters of each height, n_h.
    #[schemars(range(min = 1, max = 65536))]
    pub horizontal_filters: usize,
    /// Vertical filters, n_v.
    #[schemars(range(min = 1, max = 65536))]
    pub vertical_filters: usize,
    /// Share of what the filters give that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64, window: 5, horizontal_filters: 16, vertical_filters: 4, dropout: 0.2 }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Caser::new(self.clone(), task)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "caser",
    title: "convolutions over the last items as an image",
    paper: "Tang, Wang, \"Personalized top-N sequential recommendation via convolutional sequence embedding\" (WSDM 2018)",
    loss: Some(LossKind::Bce),
    presets: &[Preset {
        name: "paper",
        settings: &[
            "loss.kind=bce",
            "model.dim=50",
            "model.dropout=0.5",
            "train.batch=512",
            "train.weight_decay=1e-6",
            "train.negatives=3",
        ],
    }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Caser {
    settings: Settings,
    items: usize,
    params: Params,
}

impl Caser {
    pub fn new(settings: Settings, task: &Task) -> Caser {
        let settings = Settings { window: settings.window.min(task.max_len), ..settings };
        let Settings { dim, window, horizontal_filters: horizontal, vertical_filters: vertical, .. } = settings;
        let items = task.items;
        let mut params = task.params();
        let glorot = |rows: usize, columns: usize| Init::Normal((2.0 / (rows + columns) as f64).sqrt());
        for name in ["item_embedding", "output_embedding"] {
            params.add(name, [items + 1, dim], Init::Normal(1.0 / (dim as f64).sqrt()));
        }
        params.add("output_bias", [items + 1, 1], Init::Constant(0.0));
        for height in 1..=window {
            params.add(
                &format!("horizontal.{height}.weight"),
                [horizontal, height, dim],
                glorot(horizontal, height * dim),
            );
            params.add(&format!("horizontal.{height}.bias"), [horizontal], Init::Constant(0.0));
        }
        params.add("vertical.weight", [window, vertical], glorot(window, vertical));
        let width = window * horizontal + vertical * dim;
        params.add("full.weight", [dim, width], glorot(dim, width));
        params.add("full.bias", [dim], Init::Constant(0.0));
        Caser { settings, items, params }
    }

    /// The last L items, \[B, L, d\].
    fn image<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let (m, window) = (history.items.shape()[1], self.settings.window);
        history.embed(self.item_table(g)).slice(1, m - window, window)
    }

    /// For each height and filter the largest of its values over time, rectified: \[B, L n_h\]. (A ReLU before the maximum gives
    /// the same.)
    fn horizontal<'g>(&self, g: &'g Graph, image: Var<'g>) -> Var<'g> {
        let filters = (1..=self.settings.window).map(|height| {
            let var = |name: &str| self.params.var(g, &format!("horizontal.{height}.{name}"));
            image.conv(var("weight"), var("bias")).max_over(1)
        });
        g.concat(1, &filters.collect::<Vec<_>>()).relu()
    }

    /// \[B, n_v d\].
    fn vertical<'g>(&self, g: &'g Graph, image: Var<'g>) -> Var<'g> {
        let [b, d] = [image.shape()[0], self.settings.dim];
        let sums = image.t_matmul(self.params.var(g, "vertical.weight"));
        sums.reshape([b, d * self.settings.vertical_filters])
    }
}

impl Model for Caser {
    fn name(&self) -> &'static str {
        "caser"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn output<'g>(&self, g: &'g Graph) -> Option<Output<'g>> {
        let (table, bias) = (self.params.var(g, "output_embedding"), self.params.var(g, "output_bias"));
        Some(Output { table, bias: Some(bias), classes: 1..self.items + 1, cosine: false })
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let image = g.scope("embed", || self.image(g, history));
        let horizontal = g.scope("horizontal", || self.horizontal(g, image));
        let vertical = g.scope("vertical", || self.vertical(g, image));
        g.scope("full", || {
            let x = g.concat(1, &[horizontal, vertical]);
            let x = if history.training { x.dropout(self.settings.dropout) } else { x };
            x.linear(self.params.var(g, "full.weight"), Some(self.params.var(g, "full.bias")), Activation::Relu)
        })
    }
}
