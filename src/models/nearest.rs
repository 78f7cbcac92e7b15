//! The rule of the nearest text: items by the cosine of their text and that of the last item, or the mean of those of the history. What
//! a model has learned of items that nobody has chosen yet is what it gains over that.
//!
//! Each text counts alike in the mean: embeddings are taken with length 1. An item without a text has a cosine of 0 to all.

use super::spec::{self, Behaviours, ModelSpec, SettingsType, Shared, Task};
use super::{History, ItemSettings, Model};
use crate::data::items::Modality;
use crate::device::{Store, Words};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::Params;
use crate::nn::tower::Known;
use crate::tensor::Spec;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What texts are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum To {
    /// The text of the last item.
    #[default]
    Last,
    /// The mean of the texts of the window.
    Mean,
}

/// Settings of the rule.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What texts are compared with.
    pub to: To,
}

impl spec::Settings for Settings {
    fn shared() -> Shared {
        let features = vec![Modality::Text];
        Shared { cosine: false, items: ItemSettings { features, ..ItemSettings::default() } }
    }

    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        let known = task.known.iter().find(|known| known.name == Modality::Text.name());
        let texts = known.ok_or_else(|| Modality::Text.absent())?.of_rows(task.items + 1);
        Ok(Box::new(Nearest::new(self.to, &texts)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "nearest",
    title: "the items whose text is nearest to that of the history; no training",
    paper: "",
    loss: None,
    presets: &[],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Nearest {
    to: To,
    /// \[items + 1, width\].
    shape: [usize; 2],
    params: Params,
}

impl Nearest {
    /// Texts of length 1, a row for each item.
    const TEXTS: &str = "texts";

    fn new(to: To, texts: &Known) -> Nearest {
        let shape = [texts.features.rows, texts.features.width];
        let unit = |row: &[f32]| {
            let length = row.iter().map(|&x| (x as f64).powi(2)).sum::<f64>().sqrt();
            let scale = if length > 0.0 { 1.0 / length } else { 0.0 };
            row.iter().map(|&x| ((x as f64 * scale) as f32).to_bits()).collect::<Vec<u32>>()
        };
        let words = texts.words.is_some().then(|| {
            let all = texts.floats();
            Arc::new(all[..shape[0] * shape[1]].chunks(shape[1]).flat_map(unit).collect::<Vec<u32>>()) as Words
        });
        let mut params = Params::new();
        params.lend(Nearest::TEXTS, shape[0] * shape[1], words);
        Nearest { to, shape, params }
    }
}

impl Model for Nearest {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        g.state(Nearest::TEXTS, Nearest::TEXTS, 0, Spec::f32(self.shape))
    }

    /// A score is a cosine, times a number of the user's.
    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let texts = self.item_table(g).gather(history.items);
        match self.to {
            To::Last => history.most_recent(texts),
            To::Mean => texts.sum(1),
        }
    }

    fn counts(&self) -> bool {
        true
    }

    /// Nothing is counted: texts are known.
    fn count(&self, _store: &mut Store, _training: &[&[u32]]) -> Result<()> {
        Ok(())
    }
}
