//! The settings that a run uses, out of all.

use super::{Config, kept::leaves};
use serde_json::{Map, Value};

/// What only the training of a model reads.
const OF_TRAINING: &[&str] = &["loss", "train", "precision", "log"];

impl Config {
    /// The keys of settings that are others than the defaults, but of a training, which the model does not have.
    pub fn without_effect(&self) -> Vec<String> {
        let of_training = |config: &Config| {
            let mut all = serde_json::to_value(config).expect("settings are plain data");
            let sections = all.as_object_mut().expect("settings are a table");
            sections.retain(|name, _| OF_TRAINING.contains(&name.as_str()));
            leaves(&all)
        };
        if self.model.spec().loss.is_some() {
            return vec![];
        }
        let (own, defaults) = (of_training(self), of_training(&Config::with_model(self.model.defaults())));
        own.into_iter().filter(|setting| !defaults.contains(setting)).map(|(key, _)| key).collect()
    }

    /// Those of `all` that a run uses: none of the world where there are data, none of a training where the model has none;
    /// the loss by name, also where it is the model's own.
    pub(super) fn used(&self, mut all: Value) -> Value {
        let loss = self.model.spec().loss;
        // One of several phases can have a loss of its own.
        if self.loss.kind.is_none() && self.model.phases(true).is_ok_and(|phases| phases.len() == 1) {
            all["loss"]["kind"] = serde_json::to_value(loss).expect("settings are plain data");
        }
        let unused = [
            (self.data.path.is_some(), &["world", "world_seed"][..]),
            (all["phase"].as_object().is_none_or(Map::is_empty), &["phase"]),
            (loss.is_none(), OF_TRAINING),
        ];
        let sections = all.as_object_mut().expect("settings are a table");
        sections.retain(|name, _| !unused.iter().any(|(is, names)| *is && names.contains(&name.as_str())));
        all
    }
}
