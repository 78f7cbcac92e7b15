//! Data sets that are read in addition to the one that a training is for.

use super::DataConfig;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// A data set, and what is another setting there than for the data themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Auxiliary {
    /// By its path or name alone.
    Path(PathBuf),
    /// Settings as under `data.`, with a path, and a `name` if it is not to be called as the last part of its path.
    Settings(Map<String, Value>),
}

/// Settings of data that are about the files of one data set.
const OF_FILES: [&str; 11] = [
    "format",
    "columns",
    "items",
    "item_id",
    "text_columns",
    "text",
    "image",
    "images",
    "price",
    "price_column",
    "currency",
];

impl Auxiliary {
    /// What the data set is called, and its settings: those of the data themselves but of their files, and its own over them.
    ///
    /// # Errors
    /// A table without a path, or with a setting that is none of data.
    pub fn of(&self, data: &DataConfig) -> Result<(String, DataConfig)> {
        let own = match self {
            Auxiliary::Path(path) => Map::from_iter([("path".to_string(), serde_json::json!(path))]),
            Auxiliary::Settings(own) => own.clone(),
        };
        let plain = |data: &DataConfig| serde_json::to_value(data).expect("settings are plain data");
        let (mut all, usual) = (plain(data), plain(&DataConfig::default()));
        for key in OF_FILES.into_iter().chain(["path", "auxiliary"]) {
            all[key] = usual[key].clone();
        }
        let mut name = None;
        for (key, value) in own {
            match (key.as_str(), value) {
                ("name", Value::String(own)) => name = Some(own),
                (key, value) => all[key] = value,
            }
        }
        let wrong = |why: String| Error::Usage(format!("data.auxiliary: {why}"));
        let data: DataConfig = serde_json::from_value(all).map_err(|e| wrong(e.to_string()))?;
        let path =
            data.path.clone().ok_or_else(|| wrong("a table without a path; expected path = \"..\"".to_string()))?;
        let last = || path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let name = name.unwrap_or_else(last);
        Ok((name, data))
    }
}
