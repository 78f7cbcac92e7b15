//! Popularity: every user gets the most frequent items of the training part. The floor that every model must clear.

use super::spec::{self, Behaviours, ModelSpec, SettingsType, Task};
use super::{History, Model};
use crate::device::Store;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::{Init, Params};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Popularity has no settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Pop::new(task.items)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "pop",
    title: "the most frequent items; no training",
    paper: "",
    loss: None,
    presets: &[],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

/// Scores are counts; there is nothing to train.
pub struct Pop {
    params: Params,
    items: usize,
}

impl Pop {
    const COUNTS: &str = "popularity";

    pub fn new(items: usize) -> Pop {
        let mut params = Params::new();
        params.add(Pop::COUNTS, [items + 1, 1], Init::Constant(0.0));
        Pop { params, items }
    }
}

impl Model for Pop {
    fn name(&self) -> &'static str {
        "pop"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn item_table<'g>(&self, graph: &'g Graph) -> Var<'g> {
        self.params.var(graph, Pop::COUNTS)
    }

    fn user<'g>(&self, graph: &'g Graph, history: &History<'g>) -> Var<'g> {
        graph.scalar(1.0).expand([history.items.shape()[0], 1])
    }

    fn counts(&self) -> bool {
        true
    }

    fn count(&self, store: &mut Store, training: &[&[u32]]) -> Result<()> {
        let mut counts = vec![0.0; self.items + 1];
        training.iter().copied().flatten().for_each(|&item| counts[item as usize] += 1.0);
        self.params.write(store, Pop::COUNTS, &Tensor::f32([self.items + 1, 1], counts))
    }
}
