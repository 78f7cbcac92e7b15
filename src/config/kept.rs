//! What stays as it is when a run is resumed, or when another run takes parameters from it.

use super::Config;
use crate::error::{Error, Result};
use crate::models::Phase;
use crate::models::phase::Take;
use crate::optim::{Schedule, matches};
use serde_json::Value;
use std::path::Path;

/// Settings of how a run is computed, not of what; those of `train` in every phase.
const CHANGES_NO_RESULT: [&str; 5] = ["device", "train.threads", "train.checkpoint_seconds", "log.every", "log.to"];

/// Settings that a run works out from its data where they are not given.
const WORKED_OUT: [&str; 3] = ["data.behaviours", "data.target", "data.cut"];

impl Config {
    /// Checks that the run in `path`, which was started with the settings `was`, can have these: a run that is resumed keeps
    /// what decided over what was done so far, and one that is `finished` what decided over its result.
    ///
    /// # Errors
    /// The first setting that should have stayed.
    pub fn check_kept(&self, was: &Config, path: &Path, finished: bool) -> Result<()> {
        let phases = self.model.phases(true)?;
        let trained = phases.iter().rfind(|phase| !phase.untrained).or(phases.last());
        let last = trained.expect("a training has a phase");
        // A schedule goes by the length of the whole training.
        let length_counts = finished || was.train_of(&last.name).schedule != Schedule::Constant;
        let untrained =
            |phase: &Phase, key: &str| phase.untrained && key.starts_with(&format!("phase.{}.", phase.name));
        let free = |key: &str| {
            if phases.iter().any(|phase| untrained(phase, key)) {
                return true;
            }
            let (own, of_phase) = (key.strip_prefix(&format!("phase.{}.", last.name)), key.strip_prefix("phase."));
            let of_train = own.or(of_phase.and_then(|key| Some(key.split_once('.')?.1)));
            let key = of_train.map_or(key.to_string(), |own| format!("train.{own}"));
            // An earlier phase is over, or what comes after it depends on its end.
            let later = of_phase.is_none() || own.is_some();
            CHANGES_NO_RESULT.contains(&key.as_str())
                || key == "data.path" && !finished
                || key == "train.patience" && !finished && later
                || ["train.epochs", "train.max_steps"].contains(&key.as_str()) && !length_counts && later
        };
        match was.differences(self).into_iter().find(|(key, _, is)| !free(key) && !not_given(key, is)) {
            None => Ok(()),
            Some((key, was, is)) => Err(Error::Usage(format!(
                "{key} is {was} in the run in {}, not {is}: a run that is resumed keeps its settings; give the new ones a new --out",
                path.display()
            ))),
        }
    }

    /// Checks that parameters which were trained with the settings `was`, in `path`, can be taken by these: data, split and
    /// network are the same, unless the data are `other_data`.
    ///
    /// # Errors
    /// The first setting that is another.
    pub fn check_taken(&self, was: &Config, path: &Path, take: &Take, other_data: bool) -> Result<()> {
        let free = ["data.path", "data.target", "data.learn", "data.attributes", "data.bins"];
        let fixed = |key: &str| match key.strip_prefix("model.") {
            Some(own) => !take.free.iter().any(|pattern| matches(pattern, own)),
            None => !other_data && ["data.", "world"].iter().any(|of| key.starts_with(of)) && !free.contains(&key),
        };
        match was.differences(self).into_iter().find(|(key, _, is)| fixed(key) && !not_given(key, is)) {
            None => Ok(()),
            Some((key, was, is)) => Err(Error::Usage(format!(
                "{key} is {was} in {}, whose phase {} is taken, not {is}: parameters go with their data, split and network",
                path.display(),
                take.phase
            ))),
        }
    }

    /// The number of phases at the start of a training that are the same under both settings, except the last: these differ
    /// only in what later phases read.
    pub fn shared_phases(&self, other: &Config) -> usize {
        let Ok(phases) = self.model.phases(true) else { return 0 };
        let differences = self.differences(other);
        let reads = |at: usize, phase: &Phase, key: &str| match (key.strip_prefix("phase."), key.strip_prefix("model."))
        {
            (Some(own), _) => phases[..=at].iter().any(|phase| own.starts_with(&format!("{}.", phase.name))),
            (_, Some(own)) => !phase.unread.iter().any(|pattern| matches(pattern, own)),
            _ => !key.starts_with("train."),
        };
        let same = |(at, phase): &(usize, &Phase)| differences.iter().all(|(key, ..)| !reads(*at, phase, key));
        phases[..phases.len() - 1].iter().enumerate().take_while(same).count()
    }

    /// Every key whose value differs, with both values; of a training in several phases, those of each phase as they are in
    /// effect. A section that only one of them uses is no difference: what it goes by is one.
    pub fn differences(&self, other: &Config) -> Vec<(String, Value, Value)> {
        let trees = [self, other].map(|config| config.used(config.in_effect()));
        let used = |key: &str| trees.iter().all(|tree| tree.get(key.split('.').next().unwrap_or(key)).is_some());
        let [a, b] = [&trees[0], &trees[1]].map(leaves);
        let value = |list: &[(String, Value)], key: &str| {
            list.iter().find(|(k, _)| k == key).map_or(Value::Null, |(_, v)| v.clone())
        };
        let mut keys: Vec<&String> = a.iter().chain(&b).map(|(key, _)| key).collect();
        keys.sort();
        keys.dedup();
        keys.retain(|key| used(key));
        let both = keys.into_iter().map(|key| (key.clone(), value(&a, key), value(&b, key)));
        both.filter(|(_, a, b)| a != b).collect()
    }

    /// Every setting that a run uses, by its key; null where it is not given.
    pub fn in_use(&self) -> Vec<(String, Value)> {
        leaves(&self.used(self.in_effect()))
    }

    /// Whether a run with these settings would be the one with the settings `was`, wherever its data are.
    pub fn repeats(&self, was: &Config) -> bool {
        let differences = was.differences(self);
        differences.iter().all(|(key, ..)| CHANGES_NO_RESULT.contains(&key.as_str()) || key == "data.path")
    }

    /// All settings as plain data, those of each phase as they are in effect.
    pub(crate) fn in_effect(&self) -> Value {
        let mut all = serde_json::to_value(self).expect("settings are plain data");
        let phases = self.model.phases(true).unwrap_or_default();
        let several = phases.iter().filter(|_| phases.len() > 1);
        let of_phase = |phase: &Phase| {
            let train = serde_json::to_value(self.train_of(&phase.name)).expect("settings are plain data");
            (phase.name.clone(), train)
        };
        all["phase"] = Value::Object(several.map(of_phase).collect());
        all
    }
}

/// Whether a setting is one that is worked out, and left to that.
fn not_given(key: &str, value: &Value) -> bool {
    WORKED_OUT.contains(&key) && (value.is_null() || value.as_array().is_some_and(Vec::is_empty))
}

/// All settings of a tree of them, with dotted keys.
pub(super) fn leaves(tree: &Value) -> Vec<(String, Value)> {
    fn walk(prefix: &str, tree: &Value, out: &mut Vec<(String, Value)>) {
        match tree {
            Value::Object(fields) => {
                let dot = if prefix.is_empty() { "" } else { "." };
                fields.iter().for_each(|(name, value)| walk(&format!("{prefix}{dot}{name}"), value, out));
            }
            value => out.push((prefix.to_string(), value.clone())),
        }
    }
    let mut out = vec![];
    walk("", tree, &mut out);
    out
}
