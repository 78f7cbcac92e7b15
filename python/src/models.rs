//! The models and their settings.

use crate::errors::raised;
use pyo3::{PyResult, pyfunction};
use serde_json::json;
use wgrec::config::{Config, Row};
use wgrec::models::spec::{Behaviours, find};
use wgrec::models::{MODELS, ModelConfig};

/// The models in JSON; of one that is named, all of its settings.
#[pyfunction]
pub fn models(model: Option<&str>) -> PyResult<String> {
    let Some(model) = model else {
        let models = MODELS.iter().map(|spec| {
            let behaviours = match spec.behaviours {
                Behaviours::Ignored => "ignored",
                Behaviours::Optional => "optional",
                Behaviours::Always => "always",
            };
            let presets: Vec<&str> = spec.presets.iter().map(|preset| preset.name).collect();
            let (name, title, paper) = (spec.name, spec.title, spec.paper);
            json!({"model": name, "title": title, "paper": paper, "behaviours": behaviours, "presets": presets})
        });
        return Ok(json!(models.collect::<Vec<_>>()).to_string());
    };
    let config = Config::with_model(ModelConfig::default_of(find(model).map_err(raised)?));
    let row = |Row { key, default, expected, meaning }| json!({"setting": key, "default": default, "expected": expected, "meaning": meaning});
    Ok(json!(config.rows("").into_iter().map(row).collect::<Vec<_>>()).to_string())
}
