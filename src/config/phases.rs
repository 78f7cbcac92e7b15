//! Settings of single phases, over those of all.

use super::{Config, TrainConfig};
use crate::error::{Error, Result};
use crate::models::Phase;
use crate::settings::{self, Schema};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Settings of [`TrainConfig`] that a phase has instead of `train`'s: those that are given, checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct Overrides(Map<String, Value>);

impl TryFrom<Map<String, Value>> for Overrides {
    type Error = serde_json::Error;

    fn try_from(given: Map<String, Value>) -> Result<Overrides, serde_json::Error> {
        // As their types write them, so that 1 and 1.0 are the same.
        let typed: TrainConfig = serde_json::from_value(Value::Object(given.clone()))?;
        let mut all = fields(&typed);
        all.retain(|key, _| given.contains_key(key));
        Ok(Overrides(all))
    }
}

impl Overrides {
    /// The setting `key` of [`TrainConfig`] has this value.
    pub(super) fn set(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_string(), value);
    }
}

/// The settings as plain data.
pub(super) fn fields(config: &TrainConfig) -> Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields,
        other => unreachable!("settings are a table: {other:?}"),
    }
}

impl Config {
    /// The settings of `train` in the phase called `name`.
    pub fn train_of(&self, name: &str) -> TrainConfig {
        let Some(Overrides(own)) = self.phase.get(name) else { return self.train.clone() };
        let mut all = fields(&self.train);
        all.extend(own.clone());
        serde_json::from_value(Value::Object(all)).expect("overrides are checked when they are read")
    }

    /// Whether the setting `key` of `train` is another in the phase called `phase`.
    pub fn overrides(&self, phase: &str, key: &str) -> bool {
        self.phase.get(phase).is_some_and(|Overrides(own)| own.contains_key(key))
    }

    /// The names of those of `phases` that are run, in order.
    pub fn chosen<'a>(&self, phases: &'a [Phase]) -> Vec<&'a str> {
        let runs = |phase: &&Phase| match (&self.phases, &self.from) {
            (Some(names), _) => names.contains(&phase.name),
            (None, Some(_)) => !phase.takes.is_empty(),
            (None, None) => true,
        };
        phases.iter().filter(runs).map(|phase| phase.name.as_str()).collect()
    }

    /// Checks what is said of phases by those that the model has.
    pub(super) fn check_phases(&self) -> Result<()> {
        let (phases, model) = (self.model.phases(true)?, self.model.name());
        let names: Vec<&str> = phases.iter().map(|phase| phase.name.as_str()).collect();
        if let ([_], Some(key)) = (&names[..], self.key_of_phases()) {
            return Err(Error::Usage(format!("{key} is set, but {model} is trained in one phase")));
        }
        let unknown = |name: &&String| !names.contains(&name.as_str());
        let expected = || format!("a phase of {model}: {}", names.join(", "));
        if let Some(name) = self.phase.keys().find(unknown) {
            return Err(Error::Usage(format!("phase.{name}: expected {}", expected())));
        }
        if let Some(name) =
            self.phase.keys().find(|name| phases.iter().any(|phase| phase.name == **name && phase.untrained))
        {
            let trained = phases.iter().filter(|phase| !phase.untrained).map(|phase| phase.name.as_str());
            let trained = trained.collect::<Vec<_>>().join(", ");
            return Err(Error::Usage(format!("phase.{name}: nothing is trained in it; expected one of {trained}")));
        }
        for (name, Overrides(own)) in &self.phase {
            let section = format!("phase.{name}");
            let schema = self.schema();
            for (key, value) in own {
                let schema = settings::find(&schema, &format!("train.{key}")).expect("overrides have keys of train");
                settings::check(schema, value).map_err(|e| Error::Usage(format!("{section}.{key}: {e}")))?;
            }
            self.train_of(name).check(&section)?;
        }
        let listed = self.phases.as_deref().unwrap_or_default();
        if let Some(name) = listed.iter().find(unknown) {
            return Err(Error::Usage(format!("phases: found {name:?}; expected {}", expected())));
        }
        if self.phases.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::Usage(format!("phases: found none; expected {}", expected())));
        }
        let chosen = self.chosen(&phases);
        let taken = |phase: &&Phase| {
            let from_elsewhere = phase.takes.iter().any(|take| !chosen.contains(&take.phase.as_str()));
            chosen.contains(&phase.name.as_str()) && from_elsewhere
        };
        match self.from.is_some() && !phases.iter().any(|phase| taken(&phase)) {
            true => Err(Error::Usage(format!(
                "from is set, but phases are {}, which take nothing from another run; expected one of the two",
                chosen.join(", ")
            ))),
            false => Ok(()),
        }
    }

    /// Checks that the data called `name`, on which the model has `phases`, allow what is said of phases.
    pub(crate) fn check_phases_on(&self, phases: &[Phase], name: &str) -> Result<()> {
        match (phases, self.key_of_phases()) {
            ([_], Some(key)) => {
                let model = self.model.name();
                Err(Error::Usage(format!("{key} is set, but {name} has no behaviours: {model} has one phase then")))
            }
            _ => Ok(()),
        }
    }

    /// A setting that only a training of several phases has, if one is set.
    fn key_of_phases(&self) -> Option<String> {
        let set = [("from", self.from.is_some()), ("phases", self.phases.is_some())];
        let own = self.phase.keys().next().map(|name| format!("phase.{name}"));
        set.iter().find(|(_, set)| *set).map(|(key, _)| key.to_string()).or(own)
    }
}

/// The key of a phase's setting that an unknown one was meant for, if it is one of a phase's.
pub(super) fn nearest(key: &str, schema: &Schema) -> Option<String> {
    let (name, own) = key.strip_prefix("phase.")?.split_once('.')?;
    let meant = super::nearest(&format!("train.{own}"), schema)?;
    Some(format!("phase.{name}.{}", meant.strip_prefix("train.")?))
}
