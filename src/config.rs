//! All settings of a run, in layers: defaults or a preset, then a file, then `--set key=value`.
//!
//! Every key is known: another one is an error that names the nearest, and a value of the wrong type or out of range is an
//! error that names the key, what was found and what is expected. The resolved settings are kept in the run folder and read
//! back to the same.

use crate::data::DataConfig;
use crate::data::synth::{DomainName, WorldConfig};
use crate::error::{Error, Result};
use crate::eval::EvalConfig;
use crate::models::{LossConfig, MODELS, ModelConfig};
use crate::settings::{self, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

mod earlier;
mod kept;
mod layers;
mod manual;
mod names;
mod phases;
mod presets;
mod recbole;
mod tasks;
mod training;
mod used;
mod yaml;

use earlier::Earlier;
pub use manual::{Row, markdown};
use names::nearest;
pub use phases::Overrides;
pub use recbole::Line;
pub use tasks::TaskFile;
pub use training::{Keep, TrainConfig};
use yaml::Yaml;

/// The format of run folders: raised when a setting or a file changes its name or meaning. Format 1 does not say so.
pub const FORMAT: i64 = 2;

/// Every setting of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Seed of initial values, batches, negatives and dropout.
    #[schemars(range(max = 9223372036854775807u64))]
    pub seed: u64,
    /// What computes: `auto`, `cpu`, `gpu` or `gpu:N`.
    pub device: String,
    /// What a training's activations are stored as.
    pub precision: Precision,
    /// Seed of the embedded world, kept apart so that runs of several seeds learn from the same data.
    #[schemars(range(max = 9223372036854775807u64))]
    pub world_seed: u64,
    /// Phases of the training that are run. Not given: all of them, or with `from` those that take parameters.
    pub phases: Option<Vec<String>>,
    /// The run from which parameters of earlier phases are taken, where it is another one.
    pub from: Option<PathBuf>,
    pub data: DataConfig,
    pub model: ModelConfig,
    pub loss: LossConfig,
    /// Every phase of the training.
    pub train: TrainConfig,
    /// Settings of `train` that are others in the phase of this name.
    #[schemars(with = "BTreeMap<String, TrainConfig>")]
    pub phase: BTreeMap<String, Overrides>,
    pub eval: EvalConfig,
    pub log: LogConfig,
    /// The embedded world, for when `data.path` is not set.
    pub world: WorldConfig,
}

/// Storage of activations, their gradients, and the copies of tables that products read, in training. Arithmetic, parameters,
/// moments and evaluation are f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// In single precision.
    #[default]
    F32,
    /// With loss scaling; on a GPU that has it.
    F16,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Steps between two readings of the loss, each of which waits for the device.
    #[schemars(range(min = 1))]
    pub every: u64,
    /// Programs that are given the loss, the metrics and the settings while a run is trained: `tensorboard`, `mlflow`.
    pub to: Vec<LogTo>,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { every: 50, to: vec![] }
    }
}

/// A program that shows trainings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogTo {
    /// An event file in the run folder, in `tensorboard`.
    Tensorboard,
    /// A run in MLflow's file store `mlruns`, next to the run folder.
    Mlflow,
}

impl Config {
    /// The defaults of the model called `name`.
    ///
    /// # Errors
    /// An unknown name, with the nearest.
    pub fn of(name: &str) -> Result<Config> {
        Ok(Config::with_model(ModelConfig::of(name)?))
    }

    /// The defaults, with this model.
    pub fn with_model(model: ModelConfig) -> Config {
        Config {
            seed: 1,
            device: "auto".to_string(),
            precision: Precision::F32,
            world_seed: 1,
            phases: None,
            from: None,
            data: DataConfig::default(),
            loss: LossConfig { temperature: model.spec().temperature(), ..LossConfig::default() },
            model,
            train: TrainConfig::default(),
            phase: BTreeMap::new(),
            eval: EvalConfig::default(),
            log: LogConfig::default(),
            world: WorldConfig::default(),
        }
    }

    /// This configuration, with what a run without data starts from: the embedded world is small, and a first run should take a
    /// minute or two.
    ///
    /// A model that is pre-trained on other data learns from domains A to D and is adapted to E.
    pub fn embedded(mut self) -> Config {
        self.data.max_len = 20;
        if self.model.all_phases().iter().any(|phase| phase.auxiliary) {
            self.world.domain = DomainName::E;
            self.train.batch = 64;
        }
        if self.model.spec().loss.is_some() {
            self.train.epochs = 30;
        }
        self
    }

    /// The schema of all settings, those of the model among them.
    pub fn schema(&self) -> Schema {
        static SHARED: LazyLock<Schema> = LazyLock::new(settings::schema_of::<Config>);
        let mut schema = SHARED.clone();
        schema["properties"]["model"] = self.model.schema();
        schema
    }

    /// This configuration with the settings of a file over it: TOML, or by its ending YAML, where they can be RecBole's too (see
    /// [`Config::translation`]).
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Input`] with line and column for what is neither; [`Error::Usage`] for a setting.
    pub fn with_file(self, path: &Path) -> Result<Config> {
        if yaml::is_yaml(path) {
            return Ok(Yaml::read(path)?.over(self)?.0);
        }
        let (text, mut table) = read_toml(path)?;
        take_format(path, &mut table)?;
        self.with_table("", table, &|key| place(path, &text, key))
    }

    /// The settings that a run was started with, from its folder. `trained`: the model that the folder's other files name.
    /// The settings of a run before 0.2 do not name the model; they list the settings of all models.
    ///
    /// # Errors
    /// Those of [`Config::with_file`]; a run with nothing that names the model.
    pub(crate) fn of_run(path: &Path, trained: impl FnOnce() -> Option<String>) -> Result<Config> {
        let (text, mut table) = read_toml(path)?;
        let source = |key: &str| place(path, &text, key);
        let earlier = (take_format(path, &mut table)? < FORMAT).then(|| Earlier::take(&mut table));
        let mut model = table.get_mut("model").and_then(toml::Value::as_table_mut);
        let named = model.as_deref().and_then(|model| model.get("name")?.as_str().map(str::to_string));
        let old = named.is_none();
        let name = named.or_else(trained).ok_or_else(|| {
            let problem =
                "model.name is missing; expected the model of this run, as in name = \"sasrec\" under [model]";
            Error::Usage(format!("{}: {problem}", path.display()))
        })?;
        let config = Config::of(&name)?;
        if let (true, Some(model)) = (old, &mut model) {
            model.retain(|key, _| config.model.spec().has(key));
        }
        let config = config.with_table("", table, &source)?;
        earlier.map_or(Ok(config.clone()), |earlier| earlier.put_over(config, &source))
    }

    /// The model that a file of settings is for, where it says so.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Input`] with line and column for what is no TOML.
    pub fn model_of_file(path: &Path) -> Result<Option<String>> {
        if yaml::is_yaml(path) {
            return Ok(Yaml::read(path)?.model());
        }
        let (_, table) = read_toml(path)?;
        Ok(table.get("model").and_then(|model| model.get("name")?.as_str().map(str::to_string)))
    }

    /// This configuration with one setting changed: `key=value`, the value in TOML or a bare word.
    pub fn with_setting(self, setting: &str) -> Result<Config> {
        self.with_setting_of(setting, &format!("--set {setting}"))
    }

    /// As [`Config::with_setting`], a setting that errors call `source`.
    pub fn with_setting_of(self, setting: &str, source: &str) -> Result<Config> {
        let of = |_: &str| source.to_string();
        let (key, text) = setting
            .split_once('=')
            .map(|(key, text)| (key.trim(), text.trim()))
            .ok_or_else(|| Error::Usage(format!("{source}: expected key=value")))?;
        let word = || toml::Value::String(text.to_string());
        let typed = toml::from_str::<toml::Table>(&format!("value = {text}")).ok().and_then(|mut t| t.remove("value"));
        match typed {
            None => self.with_value(key, word(), &of),
            // A number or a date can still be a name.
            Some(value) => {
                self.clone().with_value(key, value, &of).or_else(|e| self.with_value(key, word(), &of).map_err(|_| e))
            }
        }
    }

    /// `source` says where a key is.
    pub(crate) fn with_table(
        mut self,
        prefix: &str,
        table: toml::Table,
        source: &dyn Fn(&str) -> String,
    ) -> Result<Config> {
        for (name, value) in table {
            self = self.with_value(&format!("{prefix}{name}"), value, source)?;
        }
        Ok(self)
    }

    /// Sets one key and reads the whole back, so that an error is known to be of this key.
    pub(crate) fn with_value(self, key: &str, value: toml::Value, source: &dyn Fn(&str) -> String) -> Result<Config> {
        let at = |problem: String| Error::Usage(format!("{}: {key}: {problem}", source(key)));
        let schema = match (self.schema_of(key, source), &value) {
            (Ok(schema), _) => schema,
            // The first setting in a section that there is not says more than the section.
            (Err(e), toml::Value::Table(table)) => match table.iter().next() {
                Some((name, inner)) => return self.with_value(&format!("{key}.{name}"), inner.clone(), source),
                None => return Err(e),
            },
            (Err(e), _) => return Err(e),
        };
        earlier::check(key, &value).map_err(at)?;
        match (settings::is_section(&schema), value) {
            (true, toml::Value::Table(table)) => self.with_table(&format!("{key}."), table, source),
            (true, value) => Err(at(format!("found {value}; expected a table of settings"))),
            (false, toml::Value::Float(x)) if !x.is_finite() => Err(at(format!("found {x}; expected a finite number"))),
            (false, value) => {
                let value = serde_json::to_value(value).expect("TOML is plain data");
                settings::check(&schema, &value).map_err(at)?;
                let mut all = serde_json::to_value(&self).expect("settings are plain data");
                put(&mut all, key, value);
                serde_json::from_value(all).map_err(|e| at(e.to_string()))
            }
        }
    }

    /// The schema of a setting or section.
    ///
    /// # Errors
    /// A key that there is not, with the models that have it or the nearest.
    pub(crate) fn schema_of(&self, key: &str, source: &dyn Fn(&str) -> String) -> Result<Schema> {
        let schema = self.schema();
        settings::find(&schema, key).cloned().ok_or_else(|| {
            if let Some(problem) = earlier::renamed(key) {
                return Error::Usage(format!("{}: {key}: {problem}", source(key)));
            }
            let own = key.strip_prefix("model.").unwrap_or_default();
            let others: Vec<&str> = MODELS.iter().filter(|spec| spec.has(own)).map(|spec| spec.name).collect();
            let problem = match others.is_empty() {
                true => {
                    let called = names::called(key, &schema).map(|k| format!("; here it is {k}"));
                    let meant = || phases::nearest(key, &schema).or_else(|| nearest(key, &schema));
                    let meant = called.or_else(|| meant().map(|k| format!("; did you mean {k}?"))).unwrap_or_default();
                    format!("there is no setting {key:?}{meant}")
                }
                false => format!("{} has no setting {key:?}; it is one of {}", self.model.name(), others.join(", ")),
            };
            Error::Usage(format!("{}: {problem}", source(key)))
        })
    }

    /// The value of a setting, or a section as an object; those of a phase as they are in effect. None of a key that there is not.
    pub fn value(&self, key: &str) -> Option<Value> {
        self.in_effect().pointer(&pointer(key)).cloned()
    }

    /// Checks all settings, which a program may have set as fields; the error names the first one that is out of range.
    pub fn check(&self) -> Result<()> {
        let all = serde_json::to_value(self).expect("settings are plain data");
        for (key, schema) in settings::leaves(&self.schema()) {
            let value = all.pointer(&pointer(&key)).unwrap_or(&Value::Null);
            settings::check(schema, value).map_err(|problem| Error::Usage(format!("{key}: {problem}")))?;
        }
        let table = toml::Value::try_from(self).expect("settings are a TOML table");
        if let Some((key, x)) = not_finite("", &table) {
            return Err(Error::Usage(format!("{key}: found {x}; expected a finite number")));
        }
        self.train.check("train")?;
        if let Some(kind) = self.train.loss_kind {
            let problem = format!(
                "train.loss_kind: found {kind}; expected loss.kind, or phase.NAME.loss_kind for one of several"
            );
            return Err(Error::Usage(problem));
        }
        self.check_phases()?;
        if self.data.path.is_some() && self.world != WorldConfig::default() {
            let message = "world.* is set, and data.path too; expected one of them: the world is for runs without data";
            return Err(Error::Usage(message.to_string()));
        }
        self.world.check().map_err(|e| match e {
            Error::Usage(problem) => Error::Usage(format!("world.{problem}")),
            other => other,
        })?;
        self.model.check()
    }

    /// The settings that a run uses as TOML, which [`Config::with_file`] reads back to the same.
    pub fn to_toml(&self) -> String {
        let all = serde_json::to_value(self).expect("settings are plain data");
        toml::to_string(&settings::Given(&self.used(all))).expect("settings are a TOML table")
    }
}

/// Takes the format out of a run's config.toml; 1 where it does not say any.
///
/// # Errors
/// A format of a later version.
fn take_format(path: &Path, table: &mut toml::Table) -> Result<i64> {
    match table.remove("format") {
        None => Ok(1),
        Some(toml::Value::Integer(format)) if (1..=FORMAT).contains(&format) => Ok(format),
        Some(format) => Err(Error::Usage(format!(
            "{}: format: found {format}; expected at most {FORMAT}, of wgrec {}: the run is a later version's; read it with that",
            path.display(),
            env!("CARGO_PKG_VERSION")
        ))),
    }
}

/// Puts a setting into the tree of all.
fn put(all: &mut Value, key: &str, value: Value) {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let section = section.split('.').filter(|name| !name.is_empty()).fold(all, |tree, name| &mut tree[name]);
    section[name] = value;
}

/// The way to `key` in JSON.
fn pointer(key: &str) -> String {
    format!("/{}", key.replace('.', "/"))
}

/// The first number that is not finite, with its key.
fn not_finite(key: &str, value: &toml::Value) -> Option<(String, f64)> {
    let below = |name: &str| if key.is_empty() { name.to_string() } else { format!("{key}.{name}") };
    match value {
        toml::Value::Float(x) => (!x.is_finite()).then(|| (key.to_string(), *x)),
        toml::Value::Table(table) => table.iter().find_map(|(name, inner)| not_finite(&below(name), inner)),
        toml::Value::Array(list) => list.iter().find_map(|inner| not_finite(key, inner)),
        _ => None,
    }
}

/// The text of a TOML file, and what is in it.
///
/// # Errors
/// [`Error::Io`]; [`Error::Input`] with line and column for what is no TOML.
pub(crate) fn read_toml(path: &Path) -> Result<(String, toml::Table)> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    let table = toml::from_str(&text).map_err(|e| {
        let before = &text[..e.span().map_or(0, |s| s.start)];
        Error::Input {
            path: path.to_path_buf(),
            line: Some(before.matches('\n').count() as u64 + 1),
            column: Some(before.chars().rev().take_while(|&c| c != '\n').count() as u64 + 1),
            found: e.message().to_string(),
            expected: "TOML".to_string(),
        }
    })?;
    Ok((text, table))
}

/// Where `key` is in the TOML `text` of a file: `run.toml:3`.
pub(crate) fn place(path: &Path, text: &str, key: &str) -> String {
    match line_of(text, key) {
        Some(line) => format!("{}:{line}", path.display()),
        None => path.display().to_string(),
    }
}

/// The line of a TOML `text`, from 1, that has `key`.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let document = toml::de::DeTable::parse(text).ok()?;
    // What is left of the key after a name, which can itself have dots: "model.dim" = 3.
    let after = |rest: &str, name: &str| match rest.strip_prefix(name)? {
        "" => Some(String::new()),
        more => more.strip_prefix('.').map(str::to_string),
    };
    let (mut table, mut rest, mut start) = (document.get_ref(), key.to_string(), None);
    while !rest.is_empty() {
        let names = table.iter().map(|(name, value)| (name, value, after(&rest, name.get_ref())));
        let (name, value, left) = names.into_iter().find_map(|(name, value, left)| Some((name, value, left?)))?;
        start = Some(name.span().start);
        match value.get_ref().as_table() {
            Some(inner) => (table, rest) = (inner, left),
            None => break,
        }
    }
    start.map(|at| text[..at].matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::negatives::Sampler;
    use crate::eval::Protocol;
    use crate::models::sasrec;

    fn defaults() -> Config {
        Config::of("sasrec").unwrap()
    }

    fn error(settings: &[&str]) -> String {
        let mut config = Ok(defaults());
        for setting in settings {
            config = config.and_then(|c: Config| c.with_setting(setting));
        }
        config.and_then(|c| c.check()).expect_err("it should fail").to_string()
    }

    #[test]
    fn layers() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "seed = 7\n[train]\nlr = 1\nbatch = 32\n[data]\nsplit = \"ratio:80,10,10\"\n").unwrap();
        let config = defaults().with_file(&file).unwrap();
        let config = config.with_setting("train.batch=64").unwrap().with_setting("eval.protocol = sampled:99").unwrap();
        assert_eq!((config.seed, config.train.lr, config.train.batch), (7, 1.0, 64));
        assert_eq!(config.eval.protocol, Protocol::Sampled(99));
        assert_eq!(config.train.epochs, TrainConfig::default().epochs);
        config.check().unwrap();

        let again = folder.path().join("b.toml");
        std::fs::write(&again, config.to_toml()).unwrap();
        let again = defaults().with_file(&again).unwrap();
        assert_eq!(again.differences(&config), []);
        assert_eq!(again, Config { loss: again.loss.clone(), ..config });
    }

    #[test]
    fn a_word_a_path_and_a_table() {
        let config = defaults().with_setting("data.path=2024").unwrap();
        assert_eq!(config.data.path.unwrap().to_str(), Some("2024"));
        let config = defaults().with_setting("train={lr = 0.5, batch = 8}").unwrap();
        assert_eq!((config.train.lr, config.train.batch), (0.5, 8));
        let config = defaults().with_setting("train.sampler={popularity = 0.75}").unwrap();
        assert_eq!(config.train.sampler, Sampler::Popularity(0.75));
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        for (key, meant) in [
            ("train.epoch", "train.epochs"),
            ("train_epochs", "train.epochs"),
            ("train.lrr", "train.lr"),
            ("lr", "train.lr"),
            ("model.dims", "model.dim"),
            ("dim", "model.dim"),
            ("trian.batch", "train.batch"),
            ("train.max_len", "data.max_len"),
            ("learning_rate", "train.lr"),
            ("sed", "seed"),
        ] {
            let message = error(&[&format!("{key}=1")]);
            assert!(message.contains(&format!("no setting {key:?}")), "{message}");
            let named = [format!("did you mean {meant}?"), format!("here it is {meant}")];
            assert!(named.iter().any(|named| message.contains(named)), "{message}");
        }
        for far in ["qqqqqqq", "foo.bar", "train.foo", "x", "train.qux"] {
            let message = error(&[&format!("{far}=1")]);
            assert!(!message.contains("did you mean"), "{message}");
        }
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (setting, expected) in [
            (
                "train.batch=many",
                "train.batch: found \"many\"; expected a whole number of at least 1 and at most 1073741824",
            ),
            ("train.batch=-1", "train.batch: found -1; expected a whole number of at least 1"),
            ("train.batch=1.5", "train.batch: found 1.5; expected a whole number of at least 1"),
            ("train.lr=fast", "train.lr: found \"fast\"; expected a number above 0"),
            ("train.lr=nan", "train.lr: found NaN; expected a finite number"),
            ("train.lr=inf", "train.lr: found inf; expected a finite number"),
            ("train.lr=-inf", "train.lr: found -inf; expected a finite number"),
            ("train={lr = nan}", "train.lr: found NaN; expected a finite number"),
            ("train.sampler={popularity = nan}", "train.sampler: "),
            ("train.temperature=inf", "train.temperature: found inf; expected a finite number"),
            ("data.min_value=nan", "data.min_value: found NaN; expected a finite number"),
            ("data.min_value=1e39", "data.min_value: found 1e39; expected a number that fits in 32 bits"),
            ("model.dropout=inf", "model.dropout: found inf; expected a finite number"),
            ("train.lr=0", "train.lr: found 0; expected a number above 0"),
            ("train.lr=-1e-3", "train.lr: found -0.001; expected a number above 0"),
            ("train.decoupled=1", "train.decoupled: found 1; expected true or false"),
            ("train.batch=0", "train.batch: found 0; expected a whole number of at least 1"),
            ("train.max_steps=0", "train.max_steps: found 0; expected a whole number of at least 1"),
            ("train.patience=-1", "train.patience: found -1; expected a whole number of at least 0"),
            ("data.max_len=0", "data.max_len: found 0; expected a whole number of at least 1"),
            (
                "eval.metric=auc",
                "eval.metric: found \"auc\"; expected recall@K (or hit@K), ndcg@K, precision@K, map@K, mrr@K or mrr",
            ),
            ("eval.protocol=sampled:0", "eval.protocol: found \"sampled:0\"; expected full, sampled:N"),
            ("eval.ties=luck", "eval.ties: found \"luck\"; expected "),
            ("data.split=half", "expected \"leave-one-out\""),
            ("seed=-1", "seed: found -1; expected"),
            (
                "seed=9223372036854775808",
                "seed: found 9223372036854775808; expected a whole number of at least 0 and at most 9223372036854775807",
            ),
            (
                "eval.seed=99999999999999999999",
                "eval.seed: found 99999999999999999999; expected a whole number of at least 0 and at most 9223372036854775807",
            ),
            ("train=3", "train: found 3; expected a table of settings"),
            ("train.lr", "expected key=value"),
        ] {
            let message = error(&[setting]);
            assert!(message.contains(expected), "{setting}: {message}");
        }
    }

    #[test]
    fn a_setting_of_another_model_names_those_that_have_it() {
        for (setting, expected) in [
            ("model.ridge=3", "sasrec has no setting \"model.ridge\"; it is one of ease"),
            ("model.hidden=3", "sasrec has no setting \"model.hidden\"; it is one of gru4rec"),
            ("model.prompt.tokens=3", "sasrec has no setting \"model.prompt.tokens\"; it is one of dpcpl"),
            ("model.name=ease", "model.name: found \"ease\"; expected sasrec"),
            ("model.heads=0", "model.heads: found 0; expected a whole number of at least 1"),
            ("model.dropout=1", "model.dropout: found 1; expected a number of at least 0 and below 1"),
            ("model.norm=between", "model.norm: found \"between\"; expected pre or post"),
        ] {
            let message = error(&[setting]);
            assert!(message.contains(expected), "{setting}: {message}");
        }
    }

    /// A program sets fields, which no schema has seen.
    #[test]
    fn fields_are_checked_too() {
        let mut config = defaults();
        config.train.lr = f64::NAN;
        let message = config.check().unwrap_err().to_string();
        assert!(message.contains("train.lr"), "{message}");
        let settings = sasrec::Settings { dropout: 1.0, ..sasrec::Settings::default() };
        let message = Config::with_model(ModelConfig::new(&sasrec::SPEC, settings)).check().unwrap_err().to_string();
        assert!(message.contains("model.dropout: found 1.0; expected a number of at least 0 and below 1"), "{message}");
    }

    #[test]
    fn a_broken_file_is_located() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "seed = 7\n[train\n").unwrap();
        let message = defaults().with_file(&file).unwrap_err().to_string();
        assert!(message.contains("a.toml:2:"), "{message}");
        for text in ["[train]\nlearning_rate = 7\n", "seed = 1\n\"train.learning_rate\" = 7\n"] {
            std::fs::write(&file, text).unwrap();
            let message = defaults().with_file(&file).unwrap_err().to_string();
            assert!(message.contains("a.toml:2: there is no setting \"train.learning_rate\""), "{message}");
        }
    }

    #[test]
    fn differences_are_named() {
        let a = defaults();
        let b = a.clone().with_setting("train.lr=0.5").unwrap().with_setting("data.path=x").unwrap();
        let keys: Vec<String> = a.differences(&b).into_iter().map(|d| d.0).collect();
        assert_eq!(keys, ["data.path", "train.lr"]);
    }
}
