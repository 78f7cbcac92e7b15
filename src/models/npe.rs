//! NPE: Nguyen, Takasu, "NPE: neural personalized embedding for collaborative filtering" (IJCAI 2018). An item's score is its
//! product with the user's preference and with the context, the rectified sum of the embeddings of the items chosen before.
//!
//! The published model has a table of users for the preference. Models here are functions of the history alone, so that they
//! serve users who were not trained on: the context is all there is. Items are read from the table that they are scored by, and
//! scored as they are: the paper rectifies them too. Start values: N(0, .01).

use super::{History, LossKind, Model};
use crate::graph::{Graph, Var};
use crate::nn::{Init, Params};

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub items: usize,
    pub dim: usize,
    /// Of the context.
    pub dropout: f64,
}

pub struct Npe {
    settings: Settings,
    params: Params,
}

impl Npe {
    pub fn new(settings: Settings) -> Npe {
        let mut params = Params::new();
        params.add("item_embedding", [settings.items + 1, settings.dim], Init::Normal(0.01));
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

    fn published_loss(&self) -> LossKind {
        LossKind::Bce
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
