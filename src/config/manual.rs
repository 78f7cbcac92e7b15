//! The settings as people read them: `wgrec models NAME`, docs/settings.md and the JSON schema for editors.

use super::Config;
use crate::models::{MODELS, ModelConfig, ModelSpec};
use crate::settings::{self, Schema};
use serde_json::{Map, Value, json};
use std::fmt::Write;

/// A setting in a table.
pub struct Row {
    /// With dots.
    pub key: String,
    /// As TOML has it; empty where it is not given.
    pub default: String,
    /// Type and range, or the words that it can be.
    pub expected: String,
    /// What it does, and what each of its words means.
    pub meaning: String,
}

impl Row {
    /// Whether all models that are trained have the setting.
    fn is_shared(&self) -> bool {
        self.key.strip_prefix("model.").is_some_and(ModelSpec::is_shared)
    }
}

impl Config {
    /// Every setting in the section `name`, with its value here.
    pub fn rows(&self, name: &str) -> Vec<Row> {
        let schema = self.schema();
        settings::leaves(&schema)
            .into_iter()
            .filter(|(key, _)| key.strip_prefix(name).is_some_and(|rest| name.is_empty() || rest.starts_with('.')))
            .map(|(key, schema)| Row {
                default: self.value(&key).map(|value| as_toml(&value)).unwrap_or_default(),
                expected: settings::expected(schema),
                meaning: meaning(schema),
                key,
            })
            .collect()
    }

    /// The JSON schema of a TOML or YAML file of settings for this model, with these settings as defaults, for editors.
    pub fn editor_schema(&self) -> Schema {
        let mut schema = self.schema();
        for (key, _) in settings::leaves(&self.schema()) {
            let setting = settings::find_mut(&mut schema, &key).expect("a key of this schema");
            if let (Some(value), Some(setting)) = (self.value(&key).filter(|v| !v.is_null()), setting.as_object_mut()) {
                setting.insert("default".to_string(), value);
            }
        }
        settings::sections_mut(&mut schema, &|section| {
            section.remove("required");
            section.insert("additionalProperties".to_string(), json!(false));
        });
        let mut whole = Map::new();
        whole.insert("$schema".to_string(), json!("https://json-schema.org/draft/2020-12/schema"));
        whole.insert("title".to_string(), json!(format!("wgrec: settings of a run of {}", self.model.name())));
        whole.extend(
            schema
                .as_object_mut()
                .map(std::mem::take)
                .unwrap_or_default()
                .into_iter()
                .filter(|(key, _)| key != "title"),
        );
        Value::Object(whole)
    }
}

/// A value as a TOML file has it.
fn as_toml(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        value => toml::Value::try_from(settings::Given(value)).map(|value| value.to_string()).unwrap_or_default(),
    }
}

/// The documentation of a setting in one paragraph, and that of each of its words.
fn meaning(schema: &Schema) -> String {
    let text = |schema: &Schema| {
        let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let words: Vec<String> = settings::described(schema)
        .into_iter()
        .map(|(word, schema)| (word, text(schema)))
        .filter(|(_, meaning)| !meaning.is_empty())
        .map(|(word, meaning)| format!("{word}: {}", meaning.trim_end_matches('.')))
        .collect();
    match words.is_empty() {
        true => text(schema),
        false => format!("{} {}.", text(schema), words.join("; ")).trim_start().to_string(),
    }
}

/// Sections that all models share, with their headings; the first holds what is in no section.
const SHARED: [(&str, &str); 6] = [
    ("data", "Data"),
    ("loss", "Loss"),
    ("train", "Training"),
    ("eval", "Evaluation"),
    ("log", "Log"),
    ("world", "The embedded world"),
];

/// docs/settings.md: every setting of every model.
pub fn markdown() -> String {
    let mut text = "# Settings\n\n\
        Every setting of a run, its default, what it can be and what it does. This page is made by `wgrec models --markdown > \
        docs/settings.md`.\n\n\
        Settings come in layers, each over the one before: the model's defaults, a preset (`--preset NAME`), a file (`--config \
        FILE`, TOML or YAML), single settings (`--set key=value`). `config.toml` in a run folder holds those that the run \
        used.\n"
        .to_string();
    let any = Config::with_model(ModelConfig::default_of(MODELS[0]));
    let own: Vec<Row> = any.rows("").into_iter().filter(|row| !row.key.contains('.')).collect();
    section(&mut text, "The run", &own, "");
    for (name, heading) in SHARED {
        section(&mut text, &format!("{heading}: `[{name}]`"), &any.rows(name), name);
    }
    let shared: Vec<Row> = any.rows("model").into_iter().filter(Row::is_shared).collect();
    section(&mut text, "Every model that is trained: `[model]`", &shared, "model");
    for spec in MODELS {
        of_model(&mut text, spec);
    }
    text
}

fn of_model(text: &mut String, spec: &'static ModelSpec) {
    let rows = |spec| Config::with_model(ModelConfig::default_of(spec)).rows("model").into_iter();
    // Of the settings that models share, those of which this one has other defaults.
    let usual: Vec<(String, String)> = rows(MODELS[0]).map(|row| (row.key, row.default)).collect();
    let own =
        |row: &Row| !row.is_shared() || usual.iter().any(|(key, default)| *key == row.key && *default != row.default);
    let rows: Vec<Row> = rows(spec).filter(|row| row.key != "model.name" && own(row)).collect();
    section(text, &format!("Model: {}", spec.name), &rows, "model");
    let paper = if spec.paper.is_empty() { String::new() } else { format!(" {}.", spec.paper) };
    let temperature = match spec.temperature() {
        1.0 => String::new(),
        temperature => format!(", `loss.temperature={temperature}`"),
    };
    let loss = spec.loss.map_or("It has no training.".to_string(), |loss| format!("Loss: `{loss}`{temperature}."));
    let mut about = format!("{}.{paper} {loss}", sentence(spec.title));
    for preset in spec.presets {
        let settings: Vec<String> = preset.settings.iter().map(|setting| format!("`{setting}`")).collect();
        let _ = write!(about, " Preset `{}`: {}.", preset.name, settings.join(", "));
    }
    let heading = format!("## Model: {}\n\n", spec.name);
    let at = text.rfind(&heading).expect("it was just written") + heading.len();
    text.insert_str(at, &format!("{about}\n\n"));
}

/// A heading, and a table of settings whose keys are shown without `prefix`.
fn section(text: &mut String, heading: &str, rows: &[Row], prefix: &str) {
    let _ = writeln!(text, "\n## {heading}\n");
    if rows.is_empty() {
        let _ = writeln!(text, "It has no settings.");
        return;
    }
    let _ = writeln!(text, "| setting | default | expected | meaning |\n|---|---|---|---|");
    let cell = |text: &str| text.replace('|', "\\|");
    for row in rows {
        let key = row.key.strip_prefix(prefix).unwrap_or(&row.key).trim_start_matches('.');
        let default = if row.default.is_empty() { String::new() } else { format!("`{}`", cell(&row.default)) };
        let _ = writeln!(text, "| `{key}` | {default} | {} | {} |", cell(&row.expected), cell(&row.meaning));
    }
}

/// `text` with a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_and_every_word_says_what_it_means() {
        for spec in MODELS {
            let schema = Config::with_model(ModelConfig::default_of(spec)).schema();
            for (key, setting) in settings::leaves(&schema) {
                let missing = format!("{}: {key} is not documented", spec.name);
                assert!(setting.get("description").is_some(), "{missing}");
                // Formats are names of their own.
                let (words, described) = (settings::words(setting), settings::described(setting));
                let meant = |word: &&str| described.iter().any(|(w, s)| w == word && s.get("description").is_some());
                let plain = ["data.format", "model.name"].contains(&key.as_str());
                assert!(plain || words.iter().all(meant), "{missing}: {words:?}");
            }
        }
    }
}
