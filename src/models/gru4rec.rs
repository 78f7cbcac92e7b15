//! GRU4Rec: Hidasi, Karatzoglou, Baltrunas, Tikk, "Session-based recommendations with recurrent neural networks" (ICLR 2016),
//! in the form of Tan, Xu, Liu (2016) that is compared with today: trained on whole windows, an embedding before the GRU and one
//! linear layer after it back to the width of the embedding, so that items are scored by the table they are read from.
//! Start values: N(0, 2 / (rows + columns)) (Glorot), biases 0.

use super::sasrec::Positions;
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{History, LossKind, Model, Reads, Samples};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::nn::{Init, Params};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Settings of GRU4Rec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Width of the recurrent state.
    #[schemars(range(min = 1, max = 65536))]
    pub hidden: usize,
    /// Recurrent layers.
    #[schemars(range(min = 1, max = 256))]
    pub layers: usize,
    /// Share of the embeddings that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// Which positions of a window have a target in training.
    pub positions: Positions,
    /// Read the behaviour of each event.
    pub behaviours: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        let positions = Positions::All;
        Settings { dim: 64, hidden: 128, layers: 1, dropout: 0.2, positions, behaviours: false }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        let behaviours = task.behaviours_if(self.behaviours)?;
        Ok(Box::new(Gru4Rec::new(self.clone(), &Task { behaviours, ..task.clone() })))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "gru4rec",
    title: "a recurrent network over the history",
    paper: "Hidasi, Karatzoglou, Baltrunas, Tikk, \"Session-based recommendations with recurrent neural networks\" (ICLR 2016)",
    loss: Some(LossKind::Softmax),
    presets: &[
        Preset { name: "paper", settings: &["loss.kind=top1-max", "model.hidden=100"] },
        Preset {
            name: "recbole",
            settings: &["loss.kind=softmax", "model.hidden=128", "model.dropout=0.3", "model.positions=last"],
        },
    ],
    behaviours: Behaviours::Optional,
    settings: SettingsType::of::<Settings>(),
};

pub struct Gru4Rec {
    settings: Settings,
    /// Behaviours whose embeddings are added to those of items; 0: none.
    behaviours: usize,
    params: Params,
}

impl Gru4Rec {
    /// Reads all behaviours of `task`, whatever the settings say.
    pub fn new(settings: Settings, task: &Task) -> Gru4Rec {
        let Settings { dim, hidden, layers, .. } = settings;
        let Task { items, behaviours, .. } = *task;
        let mut params = task.params();
        let mut weight = |name: &str, rows: usize, columns: usize| {
            params.add(name, [rows, columns], Init::Normal((2.0 / (rows + columns) as f64).sqrt()));
        };
        weight("item_embedding", items + 1, dim);
        if behaviours > 0 {
            weight("behaviour_embedding", behaviours + 1, dim);
        }
        for l in 0..layers {
            weight(&format!("gru.{l}.input.weight"), 3 * hidden, if l == 0 { dim } else { hidden });
            weight(&format!("gru.{l}.state.weight"), 3 * hidden, hidden);
        }
        weight("output.weight", dim, hidden);
        for l in 0..layers {
            params.add(&format!("gru.{l}.input.bias"), [3 * hidden], Init::Constant(0.0));
            params.add(&format!("gru.{l}.state.bias"), [3 * hidden], Init::Constant(0.0));
        }
        params.add("output.bias", [dim], Init::Constant(0.0));
        Gru4Rec { settings, behaviours, params }
    }
}

impl Model for Gru4Rec {
    fn name(&self) -> &'static str {
        "gru4rec"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn reads(&self) -> Reads {
        Reads { behaviours: self.behaviours > 0, ..Reads::default() }
    }

    fn samples(&self) -> Arc<dyn Samples> {
        self.settings.positions.samples()
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let [b, m] = [history.items.shape()[0], history.items.shape()[1]];
        // Padding carries the state on, so that the last position holds the last state.
        let state = self.states(g, history).slice(1, m - 1, 1).reshape([b, self.settings.hidden]);
        self.output_layer(g, state)
    }

    fn positions<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.output_layer(g, self.states(g, history))
    }
}

impl Gru4Rec {
    /// The states of the last GRU, \[B, M, hidden\].
    fn states<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let var = |name: String| self.params.var(g, &name);
        let mut x = g.scope("embed", || {
            let x = history.add_behaviours(&self.params, self.item_table(g).gather(history.items));
            if history.training && self.settings.dropout > 0.0 { x.dropout(self.settings.dropout) } else { x }
        });
        for l in 0..self.settings.layers {
            x = g.scope(&format!("gru.{l}"), || {
                let (weight, bias) = (var(format!("gru.{l}.input.weight")), var(format!("gru.{l}.input.bias")));
                let gates = x.linear(weight, Some(bias), Activation::None);
                gates.gru(var(format!("gru.{l}.state.weight")), var(format!("gru.{l}.state.bias")), history.items)
            });
        }
        x
    }

    fn output_layer<'g>(&self, g: &'g Graph, state: Var<'g>) -> Var<'g> {
        let (weight, bias) = (self.params.var(g, "output.weight"), self.params.var(g, "output.bias"));
        state.linear(weight, Some(bias), Activation::None)
    }
}
