//! A sweep's file, and the trials that it asks for.

use crate::config::Config;
use crate::config::{place, read_toml};
use crate::error::{Error, Result, nearest};
use crate::eval::Metric;
use crate::settings;
use crate::tensor::philox::Stream;
use crate::train::RunFolder;
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The most trials whose settings can be checked one by one before the first is trained.
const MOST_TRIALS: usize = 10_000;

/// What file systems take.
const LONGEST_NAME: usize = 255;

/// A sweep's file, read and checked; see [`crate::sweep`] for what is in it.
pub struct Sweep {
    path: PathBuf,
    text: String,
    pub model: String,
    /// Of the model.
    defaults: Config,
    metric: Option<Metric>,
    seeds: Option<Vec<u64>>,
    settings: toml::Table,
    pub(super) search: Search,
    pub(super) varied: Vec<Varied>,
}

/// How the values of several settings are combined.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Search {
    Grid,
    Curves,
    Random { trials: usize, seed: u64 },
}

impl Search {
    const TABLES: [&str; 3] = ["grid", "curves", "random"];

    /// Whether there are trials that differ in only one setting.
    pub fn is_joined(self) -> bool {
        matches!(self, Search::Grid | Search::Curves)
    }
}

/// A setting that is varied.
#[derive(Clone)]
pub(super) struct Varied {
    pub key: String,
    pub choice: Choice,
}

#[derive(Clone)]
pub(super) enum Choice {
    List(Vec<toml::Value>),
    Range { min: f64, max: f64, log: bool, whole: bool },
}

/// One training of a sweep.
pub struct Trial {
    /// Values of the varied settings.
    pub values: Vec<Value>,
    pub config: Config,
    /// The folder in the sweep's: the varied settings and the seed, `dim=32,layers=2,seed=1`.
    pub name: String,
}

impl Trial {
    /// The number of phases that are the same in `other`, another one.
    pub(super) fn shares(&self, other: &Trial) -> usize {
        if self.name == other.name { 0 } else { self.config.shared_phases(&other.config) }
    }

    /// The settings by which its run in `folder` is resumed: of the later phases, where another of `all` has trained the earlier ones.
    ///
    /// # Errors
    /// A run of another model, or one that was started with other settings.
    pub(super) fn kept(&self, folder: &RunFolder, all: &[Trial]) -> Result<Config> {
        let (kept, mut config) = (folder.config()?, self.config.clone());
        let [found, expected] = [&kept, &config].map(|config| config.model.name());
        if found != expected {
            let (found, expected) = (format!("{found:?}"), format!("a run of {expected}"));
            return Err(Error::Input { path: folder.config_file(), line: None, column: None, found, expected });
        }
        // By name, since the sweep's folder may have been moved.
        let lent = |from: &PathBuf| {
            let named = |other: &&Trial| from.file_name().is_some_and(|name| name == other.name.as_str());
            all.iter().find(named).is_some_and(|other| other.shares(self) > 0)
        };
        if let (None, Some(from)) = (&config.from, &kept.from) {
            if !lent(from) {
                let (path, from) = (folder.path().display(), from.display());
                return Err(Error::Usage(format!(
                    "{path}: took its first phase from {from}, which is no trial of this sweep that shares it; leave that one in the \
                     sweep, or give another --out"
                )));
            }
            (config.phases, config.from) = (kept.phases.clone(), Some(from.clone()));
        }
        config.check_kept(&kept, folder.path(), folder.result_file().is_file())?;
        Ok(config)
    }

    /// An error in the settings, with the trial that has them.
    pub(super) fn named(&self, e: Error) -> Error {
        match e {
            Error::Usage(problem) => Error::Usage(format!("trial {}: {problem}", self.name)),
            other => other,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    min: toml::Value,
    max: toml::Value,
    #[serde(default)]
    log: bool,
}

impl Sweep {
    /// Reads a sweep's file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Input`] for what is no TOML; [`Error::Usage`], with the line, for a key, model or setting that
    /// there is not, a value of the wrong type, an empty list, none or several of the tables grid, curves and random.
    pub fn read(path: &Path) -> Result<Sweep> {
        let (text, mut table) = read_toml(path)?;
        const KEYS: [&str; 4] = ["model", "metric", "seeds", "settings"];
        let known = || KEYS.into_iter().chain(Search::TABLES);
        if let Some(key) = table.keys().find(|key| !known().any(|k| k == key.as_str())) {
            let meant = nearest(key, known()).map(|k| format!("; did you mean {k}?")).unwrap_or_default();
            let settings = "settings of the runs stand under [settings]";
            return Err(Error::Usage(format!(
                "{}: there is no {key:?} in a sweep{meant} ({settings})",
                place(path, &text, key)
            )));
        }
        let at = |key: &str, found: &str, expected: &str| {
            Error::Usage(format!("{}: model: found {found}; expected {expected}", place(path, &text, key)))
        };
        let model = match table.remove("model") {
            Some(toml::Value::String(name)) => name,
            Some(other) => return Err(at("model", &other.to_string(), "the name of a model")),
            None => return Err(at("", "nothing", "the name of a model, as in model = \"sasrec\"")),
        };
        let defaults = Config::of(&model).map_err(|e| Error::Usage(format!("{}: {e}", place(path, &text, "model"))))?;
        let file = File { path, text: &text, defaults: &defaults };
        let metric = table.remove("metric").map(|value| {
            let metric = value.as_str().unwrap_or_default().parse();
            metric.map_err(|e: String| Error::Usage(format!("{}: metric: {e}", file.place("metric"))))
        });
        let seeds = table.remove("seeds").map(|value| match value.clone().try_into::<Vec<u64>>() {
            Ok(seeds) if !seeds.is_empty() => Ok(seeds),
            _ => Err(file.wrong("seeds", "seeds", &value, "a list of whole numbers of at least 0, one at least")),
        });
        let settings = match table.remove("settings") {
            None => toml::Table::new(),
            Some(toml::Value::Table(settings)) => settings,
            Some(other) => return Err(file.wrong("settings", "settings", &other, "a table of settings")),
        };
        let (search, varied) = file.search(table)?;
        let (metric, seeds) = (metric.transpose()?, seeds.transpose()?);
        let (path, model) = (path.to_path_buf(), model);
        let sweep = Sweep {
            path,
            text: text.clone(),
            model,
            defaults: defaults.clone(),
            metric,
            seeds,
            settings,
            search,
            varied,
        };
        sweep.check_settings()?;
        Ok(sweep)
    }

    /// The sweep's settings over `base`.
    pub fn over(&self, base: Config) -> Result<Config> {
        base.with_table("", self.settings.clone(), &|key| self.file().place(&format!("settings.{key}")))
    }

    /// The metric that trials over `base` are compared by.
    pub fn metric(&self, base: &Config) -> Metric {
        self.metric.unwrap_or(base.eval.metric)
    }

    /// Whether the trials decide over the setting `key`, or one in the section of this name, whatever else it is set to.
    pub fn decides(&self, key: &str) -> bool {
        let seed = self.seeds.iter().map(|_| "seed");
        let varied = self.varied.iter().map(|v| v.key.as_str()).filter(|_| self.search != Search::Curves);
        let inside = |k: &str| k.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        seed.chain(varied).any(inside)
    }

    /// All trials over `base`, in order; those of the same settings are one.
    ///
    /// # Errors
    /// A setting that is out of range in a trial, with both; a metric that a trial does not report; a folder's name that is too
    /// long, or two trials'; more than 10,000 trials.
    pub fn trials(&self, base: &Config) -> Result<Vec<Trial>> {
        let mut points = self.points(base)?;
        let mut seen = HashSet::new();
        points.retain(|point| seen.insert(point.in_effect().to_string()));
        let (metric, mut seeds) = (self.metric(base), self.seeds.clone().unwrap_or(vec![base.seed]));
        seeds.sort_unstable();
        seeds.dedup();
        let mut trials: Vec<Trial> = vec![];
        for point in &points {
            for &seed in &seeds {
                let trial = self.trial(Config { seed, ..point.clone() });
                trial.config.check().map_err(|e| trial.named(e))?;
                if !Metric::REPORTED.contains(&metric) && metric != trial.config.eval.metric {
                    let problem = format!("found metric {metric}, which it does not report; set eval.metric to it");
                    return Err(trial.named(Error::Usage(problem)));
                }
                if trial.name.len() > LONGEST_NAME {
                    let (name, bytes) = (&trial.name, trial.name.len());
                    return Err(Error::Usage(format!(
                        "trial {name}: its folder's name has {bytes} bytes; expected at most {LONGEST_NAME}: vary fewer settings"
                    )));
                }
                if let Some(other) = trials.iter().find(|other| other.name == trial.name) {
                    let name = &other.name;
                    return Err(Error::Usage(format!(
                        "two trials of different settings would have one folder, {name}"
                    )));
                }
                trials.push(trial);
            }
        }
        Ok(trials)
    }

    /// The settings of each trial except the seed.
    fn points(&self, base: &Config) -> Result<Vec<Config>> {
        let set = |config: &Config, v: &Varied, value: toml::Value| {
            config.clone().with_value(&v.key, value, &|key| self.file().place(&format!("{}.{key}", self.search_name())))
        };
        let sizes = self.varied.iter().map(|v| v.list().len());
        let count = match self.search {
            Search::Grid => sizes.fold(1usize, |a, b| a.saturating_mul(b)),
            Search::Curves => sizes.sum(),
            Search::Random { trials, .. } => trials,
        };
        let count = count.saturating_mul(self.seeds.as_ref().map_or(1, Vec::len));
        if count > MOST_TRIALS {
            let (path, most) = (self.path.display(), MOST_TRIALS);
            return Err(Error::Usage(format!("{path}: found {count} trials; expected at most {most}")));
        }
        let mut points = vec![];
        match self.search {
            Search::Grid => {
                points.push(base.clone());
                for v in &self.varied {
                    let each =
                        points.iter().flat_map(|point| v.list().iter().map(|value| set(point, v, value.clone())));
                    points = each.collect::<Result<_>>()?;
                }
            }
            Search::Curves => {
                for v in &self.varied {
                    for value in v.list() {
                        points.push(set(base, v, value.clone())?);
                    }
                }
            }
            Search::Random { trials, seed } => {
                for trial in 0..trials as u64 {
                    let drawn =
                        self.varied.iter().try_fold(base.clone(), |point, v| set(&point, v, v.draw(seed, trial)));
                    points.push(drawn?);
                }
            }
        }
        Ok(points)
    }

    fn trial(&self, config: Config) -> Trial {
        let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_string();
        let keys: Vec<&str> = self.varied.iter().map(|v| v.key.as_str()).collect();
        let short = |key: &str| match keys.iter().filter(|k| last(k) == last(key)).count() {
            1 => last(key),
            _ => key.to_string(),
        };
        let values: Vec<Value> = keys.iter().map(|key| config.value(key).unwrap_or_default()).collect();
        let mut name: String =
            keys.iter().zip(&values).map(|(key, v)| format!("{}={},", short(key), shown(v))).collect();
        name += &format!("seed={}", config.seed);
        let plain = |c: char| if c.is_alphanumeric() || "=,.+-_".contains(c) { c } else { '-' };
        Trial { name: name.chars().map(plain).collect(), values, config }
    }

    /// A setting is set in only one place.
    fn check_settings(&self) -> Result<()> {
        let mut keys = vec![];
        flatten("", self.settings.clone(), &self.defaults, &mut keys);
        match keys.iter().find(|(key, _)| self.decides(key)) {
            None => Ok(()),
            Some((key, _)) => {
                let place = self.file().place(&format!("settings.{key}"));
                Err(Error::Usage(format!("{place}: {key} is varied below; expected it in one place")))
            }
        }
    }

    fn file(&self) -> File<'_> {
        File { path: &self.path, text: &self.text, defaults: &self.defaults }
    }

    fn search_name(&self) -> &'static str {
        match self.search {
            Search::Grid => "grid",
            Search::Curves => "curves",
            Search::Random { .. } => "random",
        }
    }
}

impl Varied {
    /// The listed values; none of a range.
    fn list(&self) -> &[toml::Value] {
        match &self.choice {
            Choice::List(values) => values,
            Choice::Range { .. } => &[],
        }
    }

    /// The value in a random trial. It depends on nothing else, so that more trials, or another setting that is varied, leave
    /// it as it is.
    fn draw(&self, seed: u64, trial: u64) -> toml::Value {
        let mut stream = Stream::new(seed, &self.key, trial);
        match &self.choice {
            Choice::List(values) => values[stream.below(values.len() as u32) as usize].clone(),
            &Choice::Range { min, max, log, whole } => {
                // A whole number has the numbers up to the next one.
                let (end, part) = (if whole { max + 1.0 } else { max }, stream.uniform());
                let x = if log { min * (end / min).powf(part) } else { min + part * (end - min) };
                if whole {
                    return toml::Value::Integer(x.floor().clamp(min, max) as i64);
                }
                // Digits that fit into a folder's name.
                let short: f64 = format!("{x:.3e}").parse().expect("a number");
                toml::Value::Float(short.clamp(min, max))
            }
        }
    }
}

/// A value as it is shown and as it is in names.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(word) => word.clone(),
        Value::Null => "none".to_string(),
        other => other.to_string(),
    }
}

/// All settings of a table, with dotted keys.
fn flatten(prefix: &str, table: toml::Table, defaults: &Config, out: &mut Vec<(String, toml::Value)>) {
    let schema = defaults.schema();
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            toml::Value::Table(inner) if settings::find(&schema, &key).is_some_and(settings::is_section) => {
                flatten(&format!("{key}."), inner, defaults, out)
            }
            value => out.push((key, value)),
        }
    }
}

/// What errors are placed in.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    defaults: &'a Config,
}

impl File<'_> {
    fn place(&self, key: &str) -> String {
        place(self.path, self.text, key)
    }

    /// `at` is the key's position in the file.
    fn wrong(&self, at: &str, key: &str, found: impl std::fmt::Display, expected: &str) -> Error {
        Error::Usage(format!("{}: {key}: found {found}; expected {expected}", self.place(at)))
    }

    /// What is varied, and how, by the one table that says so.
    fn search(&self, table: toml::Table) -> Result<(Search, Vec<Varied>)> {
        if table.len() != 1 {
            let found = if table.is_empty() {
                "none".to_string()
            } else {
                table.keys().map(String::as_str).collect::<Vec<_>>().join(" and ")
            };
            let path = self.path.display();
            return Err(Error::Usage(format!("{path}: found {found}; expected one of [grid], [curves] and [random]")));
        }
        let (name, value) = table.into_iter().next().expect("there is one");
        let toml::Value::Table(mut keys) = value else {
            return Err(self.wrong(&name, &name, &value, "a table of settings"));
        };
        let search = match name.as_str() {
            "grid" => Search::Grid,
            "curves" => Search::Curves,
            _ => {
                let mut number = |key: &str, default: Option<i64>, range: std::ops::RangeInclusive<i64>| {
                    let (least, most) = (range.start(), range.end());
                    let expected = format!("a whole number from {least} to {most}");
                    match keys.remove(key).or(default.map(toml::Value::Integer)) {
                        Some(toml::Value::Integer(n)) if range.contains(&n) => Ok(n),
                        Some(other) => Err(self.wrong(&format!("random.{key}"), key, &other, &expected)),
                        None => Err(self.wrong("random", key, "nothing", &expected)),
                    }
                };
                let trials = number("trials", None, 1..=MOST_TRIALS as i64)? as usize;
                Search::Random { trials, seed: number("seed", Some(1), 0..=i64::MAX)? as u64 }
            }
        };
        let mut list = vec![];
        flatten("", keys, self.defaults, &mut list);
        // As if all were written one way: 'model.dim' = .. comes apart from model.layers = .. otherwise.
        list.sort_by(|a, b| a.0.cmp(&b.0));
        if list.is_empty() {
            return Err(self.wrong(&name, &name, "nothing", "settings to vary, as in model.dim = [32, 64]"));
        }
        let choice = |(key, value): (String, _)| {
            let choice = self.choice(&format!("{name}.{key}"), &key, value, matches!(search, Search::Random { .. }))?;
            Ok(Varied { key, choice })
        };
        Ok((search, list.into_iter().map(choice).collect::<Result<_>>()?))
    }

    /// The values that the setting `key`, which is `at` a position of the file, can take.
    fn choice(&self, at: &str, key: &str, value: toml::Value, random: bool) -> Result<Choice> {
        // Of the right type and of a known key: what they are worth is known when all else is set too.
        let check = |value: &toml::Value| self.defaults.clone().with_value(key, value.clone(), &|_| self.place(at));
        let expected = match random {
            true => "a list of values, one at least, or { min = .., max = .., log = true or false }",
            false => "a list of values, one at least",
        };
        self.defaults.schema_of(key, &|_| self.place(at))?;
        if key == "seed" {
            return Err(self.wrong(at, key, &value, "other settings; seeds = [..] above them varies this one"));
        }
        match &value {
            toml::Value::Array(values) if !values.is_empty() => {
                values.iter().try_for_each(|value| check(value).map(drop))?;
                Ok(Choice::List(values.clone()))
            }
            toml::Value::Table(_) if random => {
                let range: Range = value.clone().try_into().map_err(|_| self.wrong(at, key, &value, expected))?;
                let [min, max] = [check(&range.min)?, check(&range.max)?].map(|c| c.value(key).unwrap_or_default());
                let whole = min.is_u64() || min.is_i64();
                match (min.as_f64(), max.as_f64()) {
                    (Some(min), Some(max)) if min < max && (min > 0.0 || !range.log) => {
                        Ok(Choice::Range { min, max, log: range.log, whole })
                    }
                    _ => Err(self.wrong(at, key, &value, "numbers, min below max, and above 0 where log = true")),
                }
            }
            other => Err(self.wrong(at, key, other, expected)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::sasrec;

    fn trials(text: &str) -> Vec<Trial> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sweep.toml");
        std::fs::write(&path, text).unwrap();
        let sweep = Sweep::read(&path).unwrap();
        sweep.trials(&sweep.over(Config::of(&sweep.model).unwrap()).unwrap()).unwrap()
    }

    fn names(text: &str) -> Vec<String> {
        trials(text).into_iter().map(|trial| trial.name).collect()
    }

    #[test]
    fn a_grid_is_all_combinations() {
        let text = "model = 'sasrec'\nseeds = [2, 1]\n[grid]\n'model.dim' = [32, 64]\nloss.kind = ['bce', 'softmax']";
        let found = names(text);
        assert_eq!(found[..3], ["kind=bce,dim=32,seed=1", "kind=bce,dim=32,seed=2", "kind=bce,dim=64,seed=1"]);
        assert_eq!((found.len(), found[7].as_str()), (8, "kind=softmax,dim=64,seed=2"));
    }

    #[test]
    fn curves_vary_one_setting_and_meet_in_the_centre() {
        let text = "model = 'sasrec'\n[settings]\nmodel = { dim = 32, layers = 1 }\n\
                    [curves]\nmodel.dim = [32, 64]\nmodel.layers = [1, 2, 3]";
        let expected = ["dim=32,layers=1", "dim=64,layers=1", "dim=32,layers=2", "dim=32,layers=3"];
        assert_eq!(names(text), expected.map(|name| format!("{name},seed=1")));
    }

    #[test]
    fn names_tell_settings_apart() {
        let text = "model = 'sasrec'\n[grid]\neval.every = [1]\nlog.every = [2]\neval.protocol = ['sampled:9']";
        assert_eq!(names(text), ["eval.every=1,protocol=sampled-9,log.every=2,seed=1"]);
    }

    #[test]
    fn random_draws_stay_in_range_and_stay_as_they_are() {
        let file = |trials: u32, more: &str| {
            format!(
                "model = 'sasrec'\n[random]\ntrials = {trials}\nseed = 7\nmodel.layers = {{ min = 1, max = 3 }}\n\
                 train.lr = {{ min = 1e-4, max = 1e-2, log = true }}\nmodel.dropout = {{ min = 0, max = 0.9 }}\n{more}"
            )
        };
        let all = trials(&file(300, ""));
        let value = |trial: &Trial| {
            let model: sasrec::Settings = trial.config.model.settings();
            (model.layers, trial.config.train.lr, model.dropout)
        };
        let mut counts = [0; 4];
        for (layers, lr, dropout) in all.iter().map(value) {
            counts[layers] += 1;
            assert!((1e-4..=1e-2).contains(&lr) && (0.0..=0.9).contains(&dropout), "{lr} {dropout}");
        }
        // A third of 300 each, and half of the rates below the middle of the exponents: 5 standard deviations.
        assert!(counts[0] == 0 && counts[1..].iter().all(|n: &i32| n.abs_diff(100) < 41), "{counts:?}");
        let low = all.iter().filter(|trial| trial.config.train.lr < 1e-3).count();
        assert!(low.abs_diff(150) < 44, "{low}");
        assert!(all.iter().any(|trial| value(trial).2.fract() != 0.0), "a real setting is drawn as one");

        let fewer = trials(&file(3, "model.dim = [8, 16]"));
        assert_eq!(fewer.iter().map(value).collect::<Vec<_>>(), all[..3].iter().map(value).collect::<Vec<_>>());
    }
}
