//! The tasks of a model in its settings, and files of tasks: what `--task FILE` reads.

use super::{Config, read_toml};
use crate::data::tasks::ABOUT;
use crate::error::{Error, Result, nearest};
use crate::eval::Protocol;
use crate::models::tasks::TaskConfig;
use crate::settings;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// A file with a list of `[[task]]`, and where in it each is.
pub struct TaskFile {
    path: PathBuf,
    text: String,
    pub tasks: Vec<TaskConfig>,
}

impl TaskFile {
    /// # Errors
    /// [`Error::Io`]; [`Error::Input`] with line and column for what is no TOML. With file, line and key: anything but tasks, a key that
    /// a task does not have, a value that does not fit.
    pub fn read(path: &Path) -> Result<TaskFile> {
        let (text, mut table) = read_toml(path)?;
        let mut file = TaskFile { path: path.to_path_buf(), text, tasks: vec![] };
        let found = table.remove("task");
        if let Some(key) = table.keys().next() {
            return Err(file.wrong(None, key, format!("found the key {key:?}; expected only [[task]]")));
        }
        let Some(toml::Value::Array(found)) = found else {
            return Err(file.wrong(None, "task", "found no [[task]]; expected one or more".to_string()));
        };
        for (at, task) in found.into_iter().enumerate() {
            let Value::Object(task) = serde_json::to_value(task).expect("TOML is plain data") else {
                return Err(file.wrong(Some(at), "", "found no table; expected [[task]]".to_string()));
            };
            let task = file.task(at, task)?;
            if file.tasks.iter().any(|other| other.name.eq_ignore_ascii_case(&task.name)) {
                let problem =
                    format!("task {}: name: found two tasks that are called so; expected each name once", task.name);
                return Err(file.wrong(Some(at), "name", problem));
            }
            file.tasks.push(task);
        }
        Ok(file)
    }

    /// Task number `at`, each key by itself, so that an error is known to be of it.
    fn task(&self, at: usize, given: Map<String, Value>) -> Result<TaskConfig> {
        let schema = settings::schema_of::<TaskConfig>();
        let keys = || schema["properties"].as_object().into_iter().flat_map(Map::keys).filter(|key| *key != "known");
        for (key, value) in &given {
            let Some(known) = settings::find(&schema, key).filter(|_| key != "known") else {
                let meant = nearest(key, keys().map(String::as_str)).map(|n| format!("; did you mean {n}?"));
                let all = keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let problem = format!("found the key {key:?}; a task has {all}{}", meant.unwrap_or_default());
                return Err(self.wrong(Some(at), key, problem));
            };
            settings::check(known, value).map_err(|problem| self.wrong(Some(at), key, format!("{key}: {problem}")))?;
            let mut alone = json!({"name": "task", "label": "item"});
            alone[key] = value.clone();
            let read = serde_json::from_value::<TaskConfig>(alone);
            read.map_err(|e| self.wrong(Some(at), key, format!("{key}: {e}")))?;
        }
        serde_json::from_value(Value::Object(given)).map_err(|e| self.wrong(Some(at), "", e.to_string()))
    }

    /// An error about a task, of which it says so, with its place in the file.
    pub fn placed(&self, e: Error) -> Error {
        let Error::Usage(text) = &e else { return e };
        let about = text.strip_prefix(ABOUT).and_then(|rest| rest.split_once(": "));
        let Some((name, rest)) = about else { return e };
        let Some(at) = self.tasks.iter().rposition(|task| task.name == name) else { return e };
        let key = rest.split_once(": ").map_or("", |(key, _)| key);
        self.wrong(Some(at), key, text.clone())
    }

    fn wrong(&self, at: Option<usize>, key: &str, problem: String) -> Error {
        let path = self.path.display();
        match self.line(at, key) {
            Some(line) => Error::Usage(format!("{path}:{line}: {problem}")),
            None => Error::Usage(format!("{path}: {problem}")),
        }
    }

    /// The line, from 1, of a key of task number `at`, or of the task if it has no such key; without a number, of a key of the file.
    fn line(&self, at: Option<usize>, key: &str) -> Option<usize> {
        let document = toml::de::DeTable::parse(&self.text).ok()?;
        let of_file = document.get_ref();
        let place = |table: &toml::de::DeTable, key: &str| {
            table.iter().find(|(name, _)| name.get_ref() == key).map(|(name, _)| name.span().start)
        };
        let start = match at {
            None => place(of_file, key)?,
            Some(at) => {
                let (_, all) = of_file.iter().find(|(name, _)| name.get_ref() == "task")?;
                let task = all.get_ref().as_array()?.get(at)?;
                let own = task.get_ref().as_table();
                own.and_then(|own| place(own, key).or(place(own, "name"))).unwrap_or(task.span().start)
            }
        };
        Some(self.text[..start].matches('\n').count() + 1)
    }
}

impl Config {
    /// With these tasks in place of the model's.
    ///
    /// # Errors
    /// A model that is not trained by tasks.
    pub fn with_tasks(mut self, tasks: &[TaskConfig]) -> Result<Config> {
        if self.tasks().is_none() {
            let model = self.model.name();
            return Err(Error::Usage(format!(
                "--task: {model} is not trained by tasks; expected a model that is, such as pcl"
            )));
        }
        let mut all = serde_json::to_value(&self.model).expect("settings are plain data");
        all["task"] = serde_json::to_value(tasks).expect("tasks are plain data");
        self.model = serde_json::from_value(all).expect("the model has tasks");
        Ok(self)
    }

    /// With the vectors of tasks that `other` names: those of earlier tasks are kept with them.
    pub fn with_vectors_of(self, other: &Config) -> Result<Config> {
        let all = serde_json::to_value(&other.model).expect("settings are plain data");
        match all["vectors"].as_str() {
            Some(path) => self.with_setting(&format!("model.vectors={path}")),
            None => Ok(self),
        }
    }

    /// Ranks targets by `protocol`, those of tasks too that have another of their own.
    pub fn rank_by(&mut self, protocol: Protocol) -> Result<()> {
        self.eval.protocol = protocol;
        if let Some(tasks) = self.tasks() {
            let tasks: Vec<TaskConfig> = tasks.into_iter().map(|task| TaskConfig { protocol: None, ..task }).collect();
            *self = self.clone().with_tasks(&tasks)?;
        }
        Ok(())
    }

    /// Ranks by `protocol` so that a full ranking counts all items, from which it can be masked too.
    ///
    /// # Errors
    /// Those of [`Config::rank_by`].
    pub fn rank_unmasked_by(&mut self, protocol: Protocol) -> Result<()> {
        self.eval.mask_history = false;
        self.rank_by(protocol)
    }

    /// Chooses one of the tasks that the run of these settings was trained by.
    ///
    /// # Errors
    /// A model that is not trained by tasks; a name that none has.
    pub fn choose_task(&mut self, name: &str) -> Result<()> {
        let names: Vec<String> = self.tasks().into_iter().flatten().map(|task| task.name).collect();
        if !names.iter().any(|own| own == name) {
            let expected = match names.is_empty() {
                true => format!("none: {} is not trained by tasks", self.model.name()),
                false => format!("one of {}", names.join(", ")),
            };
            return Err(Error::Usage(format!("--task: found {name:?}; expected {expected}")));
        }
        // What it takes from another run is in its own folder.
        (self.phases, self.from) = (Some(vec![name.to_string()]), None);
        Ok(())
    }

    /// The tasks of the model, if it is trained by tasks.
    pub fn tasks(&self) -> Option<Vec<TaskConfig>> {
        let all = serde_json::to_value(&self.model).expect("settings are plain data");
        Some(serde_json::from_value(all.get("task")?.clone()).expect("tasks of a model are TaskConfig"))
    }
}
