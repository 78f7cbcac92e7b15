//! The settings that a run uses, out of all.

use super::Config;
use serde_json::{Map, Value};

impl Config {
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
            (loss.is_none(), &["loss", "train", "precision", "log"]),
        ];
        let sections = all.as_object_mut().expect("settings are a table");
        sections.retain(|name, _| !unused.iter().any(|(is, names)| *is && names.contains(&name.as_str())));
        all
    }
}
