//! Settings of run folders in format 1, which knew two phases, `pretrain` and `tune`, with the sections `pretrain` and `train`.

use super::phases::fields;
use super::{Config, TrainConfig};
use crate::error::Result;

/// What a config.toml in format 1 says of phases.
pub(super) struct Earlier {
    /// The section of the first phase.
    pretrain: Option<toml::Value>,
    /// The phase that was run, if one alone.
    phase: Option<toml::Value>,
}

impl Earlier {
    /// Takes it out of all settings.
    pub fn take(table: &mut toml::Table) -> Earlier {
        Earlier { pretrain: table.remove("pretrain"), phase: table.remove("phase") }
    }

    /// The same in today's words, over the other settings.
    pub fn put_over(self, config: Config, source: &dyn Fn(&str) -> String) -> Result<Config> {
        // A run in two phases wrote its target down.
        if config.model.phases(true)?.len() < 2 || config.data.target.is_none() {
            return Ok(config);
        }
        let mut config = match self.pretrain {
            Some(toml::Value::Table(own)) => config.with_table("phase.pretrain.", own, source)?,
            _ => config,
        };
        if let Some(phase) = self.phase {
            config = config.with_value("phases", toml::Value::Array(vec![phase]), source)?;
        }
        // The first phase had its own settings alone: what it has not given, the second one has for itself.
        let (second, none) = (fields(&config.train), fields(&TrainConfig::default()));
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
