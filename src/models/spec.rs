//! What a model says of itself: its name, its settings, and how it is built. One line of `models` lists it; nothing else in the
//! program knows a model by name.

use super::MODELS;
use super::cosine::Cosine;
use super::items::ItemSettings;
use super::phase::Phase;
use super::tasks::TaskShape;
use super::{LossKind, Model};
use crate::error::{Error, Result, nearest};
use crate::graph::Graph;
use crate::kernels::embedding::GatherGradDense;
use crate::nn::tower::Known;
use crate::nn::{Params, Tower};
use crate::settings::{self, Given, Schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::sync::Arc;

/// A model's declaration.
pub struct ModelSpec {
    pub name: &'static str,
    /// One line for tables.
    pub title: &'static str,
    /// Authors, title, venue and year.
    pub paper: &'static str,
    /// The loss that serves users best by docs/quality.md; `loss.kind` changes it. None: the model has no training step.
    pub loss: Option<LossKind>,
    /// Other settings to start from, by name: `paper` are the published ones, the loss among them.
    pub presets: &'static [Preset],
    pub behaviours: Behaviours,
    pub settings: SettingsType,
}

/// Settings under one name, which `--preset` puts over the defaults.
pub struct Preset {
    pub name: &'static str,
    /// `key=value`, as `--set` takes them.
    pub settings: &'static [&'static str],
}

/// What a model does with the behaviours of events (click, cart, buy).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviours {
    Ignored,
    /// Read with `model.behaviours=true`.
    Optional,
    /// Read wherever the data have them.
    Always,
}

/// A type of settings, without its type: what [`ModelSpec`] needs of it.
pub struct SettingsType {
    default: fn() -> Value,
    shared: fn() -> Shared,
    temperature: fn() -> f64,
    schema: fn() -> Schema,
    /// All settings, from those that are given.
    parse: fn(Value) -> Result<Value, serde_json::Error>,
    check: fn(&Value) -> Result<()>,
    phases: fn(&Value, bool) -> Result<Vec<Phase>>,
    build: fn(&Value, &Task) -> Result<Box<dyn Model>>,
}

impl SettingsType {
    pub const fn of<S: Settings>() -> SettingsType {
        SettingsType {
            default: || serde_json::to_value(S::default()).expect("settings are plain data"),
            shared: S::shared,
            temperature: S::temperature,
            schema: settings::schema_of::<S>,
            parse: |values| serde_json::to_value(serde_json::from_value::<S>(values)?),
            check: |values| read::<S>(values).check(),
            phases: |values, behaviours| read::<S>(values).phases(behaviours),
            build: |values, task| read::<S>(values).build(task),
        }
    }
}

fn read<S: Settings>(values: &Value) -> S {
    serde_json::from_value(values.clone()).expect("values of this type of settings, checked when they were set")
}

/// The settings of one model: each is a field with its documentation, default and range.
pub trait Settings: Clone + Default + Serialize + DeserializeOwned + schemars::JsonSchema + 'static {
    /// Checks what is more than the range of a single setting; the error names the setting.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Defaults of the settings that all models share, where the model has others.
    fn shared() -> Shared {
        Shared::default()
    }

    /// The default of `loss.temperature`.
    fn temperature() -> f64 {
        1.0
    }

    /// The phases of a training, in order. `behaviours`: whether the data have behaviours in use.
    ///
    /// # Errors
    /// Settings that ask for phases which such data do not allow.
    fn phases(&self, _behaviours: bool) -> Result<Vec<Phase>> {
        Ok(vec![Phase::default()])
    }

    /// The model for a task.
    ///
    /// # Errors
    /// Settings that do not fit the task; more items than the model can hold in memory.
    fn build(&self, task: &Task) -> Result<Box<dyn Model>>;
}

/// What a model is built for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    /// Users of the training.
    pub users: usize,
    pub items: usize,
    /// Items of a window.
    pub max_len: usize,
    /// Behaviours that the model reads: their ids are 1 to this; 0: none.
    pub behaviours: usize,
    /// The id of the behaviour that is predicted, where it is one.
    pub target: Option<u32>,
    /// Features of a user: attributes first, then statistics.
    pub features: FeatureCounts,
    /// The number of classes that are predicted in place of items; 0: items are.
    pub classes: usize,
    /// The first category of each item, from 1, where a task reads them: \[items + 1\].
    pub categories: Arc<Vec<u32>>,
    /// The tasks that share a model's parameters, this one among them: those that are trained as one, or all up to this.
    pub together: Arc<Vec<TaskShape>>,
    /// Seed of the training, for what a model draws once and keeps.
    pub seed: u64,
    /// Users and items are scored with length 1 (`model.cosine`).
    pub cosine: bool,
    /// What is known of the items, where `model.features` names some of it.
    pub known: Arc<Vec<Known>>,
    /// What computes the items from that.
    pub tower: Option<Tower>,
    /// Items that are set against nothing in training.
    pub cold: Arc<Vec<u32>>,
    pub phase: Phase,
}

impl Task {
    /// What the task of the phase needs.
    pub fn shape(&self) -> TaskShape {
        let name = self.phase.task.as_deref().map_or_else(String::new, |task| task.config.name.clone());
        TaskShape { name, classes: self.classes, categories: self.categories.clone() }
    }

    /// Parameters to add those of a model to. That of items is called `item_embedding`.
    pub fn params(&self) -> Params {
        Params::with_tower(self.tower.clone())
    }

    /// The number of behaviours that a model reads which is asked to (`model.behaviours`).
    ///
    /// # Errors
    /// Data without behaviours, or with more than a model tells apart.
    pub fn behaviours_if(&self, read: bool) -> Result<usize> {
        if read && self.behaviours == 0 {
            let problem = "model.behaviours: found true; expected false: the data's events have no behaviours in use";
            return Err(Error::Usage(problem.to_string()));
        }
        let (read, most) = (if read { self.behaviours } else { 0 }, GatherGradDense::MAX_ROWS - 1);
        if read > most {
            return Err(Error::Usage(format!("data.behaviours: found {read} in use; expected at most {most}")));
        }
        Ok(read)
    }
}

/// Features of a user, by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureCounts {
    pub attributes: usize,
    pub statistics: usize,
    /// Rows of the table that all of them are gathered from.
    pub rows: usize,
}

/// Settings of every model that is trained, under `model.` like its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct Shared {
    /// Users and items are scaled to length 1 before they are scored.
    pub cosine: bool,
    #[serde(flatten)]
    pub items: ItemSettings,
}

/// A model and its settings: what is under `model.`.
#[derive(Clone)]
pub struct ModelConfig {
    spec: &'static ModelSpec,
    /// All settings of the model, as plain data of their types.
    values: Value,
    shared: Shared,
}

impl ModelConfig {
    /// The defaults of the model called `name`.
    ///
    /// # Errors
    /// An unknown name, with the nearest.
    pub fn of(name: &str) -> Result<ModelConfig> {
        find(name).map(ModelConfig::default_of)
    }

    /// The defaults of a model.
    pub fn default_of(spec: &'static ModelSpec) -> ModelConfig {
        ModelConfig { spec, values: (spec.settings.default)(), shared: (spec.settings.shared)() }
    }

    /// A model by its declaration, with these settings.
    ///
    /// # Panics
    /// If the settings are of another model.
    pub fn new<S: Settings>(spec: &'static ModelSpec, settings: S) -> ModelConfig {
        let values = serde_json::to_value(settings).expect("settings are plain data");
        assert!((spec.settings.schema)() == settings::schema_of::<S>(), "settings of another model than {}", spec.name);
        ModelConfig { spec, values, shared: (spec.settings.shared)() }
    }

    /// With users and items of length 1, or not.
    pub fn with_cosine(self, cosine: bool) -> ModelConfig {
        ModelConfig { shared: Shared { cosine, ..self.shared }, ..self }
    }

    /// With an item tower of these settings.
    pub fn with_items(self, items: ItemSettings) -> ModelConfig {
        ModelConfig { shared: Shared { items, ..self.shared }, ..self }
    }

    /// Settings of the item tower.
    pub fn items(&self) -> &ItemSettings {
        &self.shared.items
    }

    /// The same model with its defaults.
    pub fn defaults(&self) -> ModelConfig {
        ModelConfig::default_of(self.spec)
    }

    /// The settings of the model.
    ///
    /// # Panics
    /// If `S` is the type of another model's settings.
    pub fn settings<S: Settings>(&self) -> S {
        read(&self.values)
    }

    pub fn spec(&self) -> &'static ModelSpec {
        self.spec
    }

    pub fn name(&self) -> &'static str {
        self.spec.name
    }

    /// The schema of the model's settings.
    pub fn schema(&self) -> Schema {
        self.spec.schema()
    }

    /// Checks what is more than the range of a single setting; the error names the setting.
    pub fn check(&self) -> Result<()> {
        self.shared.items.check()?;
        (self.spec.settings.check)(&self.values)
    }

    /// Whether the model reads behaviours where the data have some.
    pub fn reads_behaviours(&self) -> bool {
        match self.spec.behaviours {
            Behaviours::Ignored => false,
            Behaviours::Optional => self.values["behaviours"] == true,
            Behaviours::Always => true,
        }
    }

    /// The phases of a training, in order. `behaviours`: whether the data have behaviours in use.
    ///
    /// # Errors
    /// Settings that ask for phases which such data do not allow.
    pub fn phases(&self, behaviours: bool) -> Result<Vec<Phase>> {
        (self.spec.settings.phases)(&self.values, behaviours)
    }

    /// Every phase that a training of the model can have, whatever the data: of several phases those of data with behaviours
    /// come first.
    pub fn all_phases(&self) -> Vec<Phase> {
        [true, false].into_iter().flat_map(|behaviours| self.phases(behaviours).unwrap_or_default()).collect()
    }

    /// The model for a task, of whose behaviours it takes those that it reads.
    ///
    /// # Errors
    /// Settings that do not fit the task; more items than the model can hold in memory.
    pub fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        self.check()?;
        let cosine = self.shared.cosine && self.spec.loss.is_some();
        let tower = self.shared.items.tower(&task.known, task.items)?.filter(|_| self.spec.loss.is_some());
        let model = (self.spec.settings.build)(&self.values, &Task { cosine, tower, ..task.clone() })?;
        if !cosine {
            return Ok(model);
        }
        if model.output(&Graph::new()).is_none() {
            let name = self.spec.name;
            let problem = format!("model.cosine: found true; expected false: the scores of {name} are no dot products");
            return Err(Error::Usage(problem));
        }
        Ok(Box::new(Cosine(model)))
    }

    /// Name and settings in one table.
    fn table(&self) -> Value {
        let mut table = serde_json::Map::from_iter([("name".to_string(), self.spec.name.into())]);
        table.extend(self.values.as_object().cloned().unwrap_or_default());
        if self.spec.loss.is_some() {
            let shared = serde_json::to_value(&self.shared).expect("settings are plain data");
            table.extend(shared.as_object().cloned().unwrap_or_default());
        }
        Value::Object(table)
    }
}

impl PartialEq for ModelConfig {
    fn eq(&self, other: &ModelConfig) -> bool {
        self.table() == other.table()
    }
}

impl std::fmt::Debug for ModelConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.table())
    }
}

impl Serialize for ModelConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        Given(&self.table()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<ModelConfig, D::Error> {
        let mut table = serde_json::Map::deserialize(deserializer)?;
        let name = table.remove("name").ok_or_else(|| D::Error::missing_field("name"))?;
        let spec = find(name.as_str().unwrap_or_default()).map_err(D::Error::custom)?;
        let mut shared = serde_json::to_value((spec.settings.shared)()).expect("settings are plain data");
        for (key, value) in shared.as_object_mut().filter(|_| spec.loss.is_some()).into_iter().flatten() {
            *value = table.remove(key).unwrap_or(value.take());
        }
        let shared = serde_json::from_value(shared).map_err(D::Error::custom)?;
        let values = (spec.settings.parse)(Value::Object(table)).map_err(D::Error::custom)?;
        Ok(ModelConfig { spec, values, shared })
    }
}

impl schemars::JsonSchema for ModelConfig {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Model".into()
    }

    /// A section whose settings are those of the model that is named; see [`ModelSpec::schema`].
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "object", "properties": {} })
    }
}

impl ModelSpec {
    /// The settings of a preset, as `--set` takes them.
    ///
    /// # Errors
    /// An unknown name, with those that there are.
    pub fn preset(&self, name: &str) -> Result<&'static [&'static str]> {
        let names = || self.presets.iter().map(|preset| preset.name);
        let found = self.presets.iter().find(|preset| preset.name == name);
        found.map(|preset| preset.settings).ok_or_else(|| {
            let meant = nearest(name, names()).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
            let expected = match self.presets {
                [] => format!("none: {} has no presets", self.name),
                _ => format!("a preset of {}: {}", self.name, names().collect::<Vec<_>>().join(", ")),
            };
            Error::Usage(format!("--preset: found {name:?}; expected {expected}{meant}"))
        })
    }

    /// The paper in a few words: who, where and when.
    pub fn reference(&self) -> String {
        let authors = self.paper.split(", \"").next().unwrap_or_default();
        let venue = self.paper.rfind(" (").map_or("", |at| &self.paper[at..]);
        match authors.split(", ").collect::<Vec<_>>()[..] {
            [first, _, _, ..] => format!("{first} et al.{venue}"),
            _ => format!("{authors}{venue}"),
        }
    }

    /// The schema of the model's settings, its name among them.
    pub fn schema(&self) -> Schema {
        let mut schema = (self.settings.schema)();
        let name = serde_json::json!({ "description": "The model.", "const": self.name });
        let shared = self.loss.map(|_| settings::schema_of::<Shared>());
        let more = shared.iter().flat_map(|schema| schema["properties"].as_object()).flatten();
        let properties = schema["properties"].as_object_mut().expect("settings are a table");
        let name = ("name".to_string(), name);
        for (key, schema) in more.map(|(key, schema)| (key.clone(), schema.clone())).chain([name]) {
            assert!(
                properties.insert(key.clone(), schema).is_none(),
                "model.{key} is a setting of all models, not of one"
            );
        }
        schema
    }

    /// The default of `loss.temperature`.
    pub fn temperature(&self) -> f64 {
        (self.settings.temperature)()
    }

    /// Whether the setting with this key under `model.` is one that all models have which are trained.
    pub fn is_shared(key: &str) -> bool {
        settings::find(&settings::schema_of::<Shared>(), key).is_some()
    }

    /// Whether the model has the setting with this key under `model.`.
    pub fn has(&self, key: &str) -> bool {
        settings::find(&self.schema(), key).is_some()
    }
}

/// The declaration of the model called `name`.
///
/// # Errors
/// An unknown name, with the nearest.
pub fn find(name: &str) -> Result<&'static ModelSpec> {
    MODELS.iter().find(|spec| spec.name == name).copied().ok_or_else(|| {
        let names: Vec<&str> = MODELS.iter().map(|spec| spec.name).collect();
        let nearest = nearest(name, names.iter().copied()).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
        Error::Usage(format!("no model is called {name:?}; expected one of {}{nearest}", names.join(", ")))
    })
}
