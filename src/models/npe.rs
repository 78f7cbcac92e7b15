//! NPE: Nguyen, Takasu, "NPE: neural personalized embedding for collaborative filtering" (IJCAI 2018). An item's score is its
//! product with the user's preference and with the context, the rectified sum of the embeddings of the items chosen before.
//!
//! The published model has a table of users for the preference. Models here are functions of only the history, so that they
//! serve users who were not trained on: the context is all there is. Items are read from the table that they are scored by, and
//! scored as they are: the paper rectifies them too. Start values: N(0, .01).

use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{History, LossKind, Model};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::{Init, Params};
use serde::{Deserialize, Serialize};

/// Settings of NPE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Share of the context that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64, dropout: 0.2 }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Npe::new(self.clone(), task)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "npe",
    title: "the rectified sum of the items before",
    paper: "Nguyen, Takasu, \"NPE: neural personalized embedding for collaborative filtering\" (IJCAI 2018)",
    loss: Some(LossKind::Bce),
    presets: &[Preset { name: "paper", settings: &["loss.kind=bce"] }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Npe {
    settings: Settings,
    params: Params,
}

impl Npe {
    pub fn new(settings: Settings, task: &Task) -> Npe {
        let mut params = task.params();
        params.add("item_embedding", [task.items + 1, settings.dim], Init::Normal(0.01));
        Npe { settings, params }
    }
}

impl Model for Npe {
    fn name(&self) -> &'static str {
        "npe"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        g.scope("context", || {
            let context = history.embed(self.item_table(g)).sum(1).relu();
            if history.training { context.dropout(self.settings.dropout) } else { context }
        })
    }
}
