//! Settings in YAML: this program's own, in sections, or those of RecBole in its words.

use super::Config;
use super::names::nearest_word;
use super::recbole::{Line, Words};
use crate::error::{Error, Result};
use crate::models::spec;
use crate::settings;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What is in a file.
pub(super) struct Yaml {
    path: PathBuf,
    text: String,
    values: Map<String, Value>,
}

/// Whether a file is YAML by its name.
pub(super) fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml")
}

impl Yaml {
    /// # Errors
    /// [`Error::Io`]; [`Error::Input`] with line and column for what is no YAML, or no table.
    pub fn read(path: &Path) -> Result<Yaml> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
        let wrong = |line: Option<u64>, column: Option<u64>, found: String, expected: &str| {
            let (path, expected) = (path.to_path_buf(), expected.to_string());
            Error::Input { path, line, column, found, expected }
        };
        let whole: Value = serde_saphyr::from_str(&text).map_err(|e| {
            let at = e.location();
            let found = e.without_snippet().to_string();
            wrong(at.map(|at| at.line()), at.map(|at| at.column()), found, "YAML")
        })?;
        match whole {
            Value::Object(values) => Ok(Yaml { path: path.to_path_buf(), text, values }),
            Value::Null => Ok(Yaml { path: path.to_path_buf(), text, values: Map::new() }),
            other => Err(wrong(Some(1), None, other.to_string(), "settings, as in train: {lr: 0.001}")),
        }
    }

    /// The model that it is for, where it says so.
    pub fn model(&self) -> Option<String> {
        match self.values.get("model")? {
            Value::String(name) => Some(name.to_lowercase()),
            section => section.get("name")?.as_str().map(str::to_string),
        }
    }

    /// Its settings over `config`, and what its words of RecBole's have become.
    pub fn over(&self, mut config: Config) -> Result<(Config, Vec<Line>)> {
        let (schema, spec) = (config.schema(), config.model.spec());
        // `model: SASRec` is RecBole's, `model: {dim: 64}` is not; what both have means the same.
        let is_own =
            |key: &str, value: &Value| settings::find(&schema, key).is_some() && !(key == "model" && value.is_string());
        if let Some(Value::String(name)) = self.values.get("model")
            && name.to_lowercase() != spec.name
        {
            let known = spec::find(&name.to_lowercase()).err().map(|e| format!(" ({e})")).unwrap_or_default();
            let (place, model) = (self.place("model"), spec.name);
            return Err(Error::Usage(format!("{place}: model: found {name:?}; expected {model}{known}")));
        }
        let words = Words { all: &self.values, spec };
        let foreign = self.values.iter().any(|(key, value)| !is_own(key, value) && Words::has(key));
        let mut lines: Vec<Line> = vec![];
        for (key, value) in &self.values {
            if is_own(key, value) {
                if foreign {
                    lines.push(Line::same(key, value));
                }
                let value = as_toml(value).map_err(|problem| self.wrong(key, &problem))?;
                if let Some(value) = value {
                    config = config.with_value(key, value, &|key| self.place(key))?;
                }
                continue;
            }
            // What nearly is a word of either is a slip, and so is all else in a file of this program's own.
            match (Words::has(key), foreign, nearest_word(key)) {
                (true, ..) | (false, true, None) => {}
                (false, true, Some(word)) => {
                    let place = self.place(key);
                    return Err(Error::Usage(format!("{place}: there is no setting {key:?}; did you mean {word}?")));
                }
                (false, false, _) => {
                    let value = as_toml(value).map_err(|problem| self.wrong(key, &problem))?;
                    let value = value.unwrap_or(toml::Value::Boolean(false));
                    return config.with_value(key, value, &|key| self.place(key)).map(|config| (config, vec![]));
                }
            }
            for line in words.translate(key) {
                for (setting, value) in &line.settings {
                    if let Some(other) = lines.iter().find(|other| other.contradicts(setting, value)) {
                        let (place, word) = (self.place(key), &line.word);
                        let problem = format!("{word} and {} are both {setting} here; expected one value", other.word);
                        return Err(Error::Usage(format!("{place}: {problem}")));
                    }
                    let place = |_: &str| format!("{}: {}", self.place(key), line.word);
                    let value = as_toml(value).map_err(|problem| self.wrong(key, &problem))?;
                    // Null is what is not given.
                    if let Some(value) = value {
                        config = config.with_value(setting, value, &place)?;
                    }
                }
                lines.push(line);
            }
        }
        if foreign {
            lines.extend(words.not_given());
        }
        Ok((config, lines))
    }

    fn wrong(&self, key: &str, problem: &str) -> Error {
        Error::Usage(format!("{}: {key}: {problem}", self.place(key)))
    }

    /// Where a key is: `run.yaml:3`.
    fn place(&self, key: &str) -> String {
        match line_of(&self.text, key) {
            Some(line) => format!("{}:{line}", self.path.display()),
            None => self.path.display().to_string(),
        }
    }
}

impl Config {
    /// What the words of a RecBole configuration in `path` become over these settings; empty for a file of this program's own
    /// settings.
    ///
    /// # Errors
    /// Those of [`Config::with_file`].
    pub fn translation(&self, path: &Path) -> Result<Vec<Line>> {
        if is_yaml(path) { Ok(Yaml::read(path)?.over(self.clone())?.1) } else { Ok(vec![]) }
    }
}

/// The same in TOML; None for null, which is a setting that is not given.
fn as_toml(value: &Value) -> Result<Option<toml::Value>, String> {
    match value {
        Value::Null => Ok(None),
        value => {
            let wrong =
                |_| format!("found {value}; expected no null in lists, and whole numbers of at most {}", i64::MAX);
            toml::Value::try_from(settings::Given(value)).map(Some).map_err(wrong)
        }
    }
}

/// The line, from 1, of a key with dots: for each of its names, the next line that begins with it.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let begins = |line: &str, name: &str| {
        let line = line.trim_start().trim_start_matches(['"', '\'']);
        let rest = line.strip_prefix(name).map(|rest| rest.trim_start_matches(['"', '\'']).trim_start());
        rest.is_some_and(|rest| rest.starts_with(':'))
    };
    let lines: Vec<&str> = text.lines().collect();
    if let Some(whole) = lines.iter().position(|line| begins(line, key)) {
        return Some(whole + 1);
    }
    let mut found = None;
    for name in key.split('.') {
        let from = found.unwrap_or(0);
        match lines[from..].iter().position(|line| begins(line, name)) {
            Some(at) => found = Some(from + at + 1),
            // Within braces on the line of its section.
            None => break,
        }
    }
    found
}
