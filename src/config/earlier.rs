//! Settings of run folders in format 1, which knew two phases, `pretrain` and `tune`, with the sections `pretrain` and `train`.

use super::phases::fields;
use super::presets::published_loss;
use super::{Config, TrainConfig};
use crate::error::Result;

/// What a config.toml in format 1 says of phases.
pub(super) struct Earlier {
    /// The section of the first phase.
    pretrain: Option<toml::Value>,
    /// The phase that was run, if it was only one.
    phase: Option<toml::Value>,
}

impl Earlier {
    /// Takes it out of all settings.
    pub fn take(table: &mut toml::Table) -> Earlier {
        Earlier { pretrain: table.remove("pretrain"), phase: table.remove("phase") }
    }

    /// The same in today's words, over the other settings.
    pub fn put_over(self, config: Config, source: &dyn Fn(&str) -> String) -> Result<Config> {
        // Not given, the loss was the one that the model was published with.
        let paper = published_loss(config.model.spec()).filter(|_| config.loss.kind.is_none());
        let paper = paper.map(|kind| toml::Value::String(kind.to_string()));
        let phases = config.model.phases(true)?;
        // A run in two phases wrote its target down.
        if phases.len() < 2 || config.data.target.is_none() {
            return paper.map_or(Ok(config.clone()), |kind| config.with_value("loss.kind", kind, source));
        }
        let mut config = match self.pretrain {
            Some(toml::Value::Table(own)) => config.with_table("phase.pretrain.", own, source)?,
            _ => config,
        };
        if let Some(phase) = self.phase {
            config = config.with_value("phases", toml::Value::Array(vec![phase]), source)?;
        }
        // The first phase had only its own settings: what it has not given, the second one has for itself.
        let (second, none) = (fields(&config.train), fields(&TrainConfig::default()));
        for (phase, kind) in phases.iter().flat_map(|phase| paper.clone().map(|kind| (phase, kind))) {
            let kind = phase.loss.map_or(kind, |own| toml::Value::String(own.to_string()));
            config = config.with_value(&format!("phase.{}.loss_kind", phase.name), kind, source)?;
        }
        let tune = config.phase.entry("tune".to_string()).or_default();
        for (key, value) in second.iter().filter(|(key, value)| none[*key].is_null() && !value.is_null()) {
            tune.set(key, value.clone());
        }
        config.train = TrainConfig { only: None, max_steps: None, temperature: None, ..config.train };
        Ok(config)
    }
}

/// What a key of format 1 is called today.
pub(super) fn renamed(key: &str) -> Option<String> {
    let own = key.strip_prefix("pretrain")?;
    let own = own.strip_prefix('.').or(own.is_empty().then_some("KEY"))?;
    Some(format!("it is phase.pretrain.{own} now; what is not set there is as in train"))
}

/// An error where `phase` names a phase, as it did in format 1.
pub(super) fn check(key: &str, value: &toml::Value) -> Result<(), String> {
    match (key, value) {
        ("phase", toml::Value::String(name)) => {
            Err(format!("the phases to run are named by phases, as in phases=[{name:?}]"))
        }
        _ => Ok(()),
    }
}
