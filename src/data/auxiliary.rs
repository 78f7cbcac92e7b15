//! Data sets that are read in addition to the one that a training is for.

use super::DataConfig;
use crate::error::{Error, Result};
use crate::settings;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use std::path::PathBuf;

/// A data set, with the settings that differ from those of the data themselves.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
#[serde(untagged)]
pub enum Auxiliary {
    /// Only its path or name.
    Path(PathBuf),
    /// Settings as under `data.`, with a path, and a `name` if it is not to be called by the last part of its path.
    Settings(Map<String, Value>),
}

/// Settings of the files of one data set. Another set does not inherit them.
const OF_FILES: [&str; 13] = [
    "format",
    "columns",
    "items",
    "item_id",
    "text_columns",
    "text",
    "text_dropped",
    "image",
    "image_width",
    "images",
    "price",
    "price_column",
    "currency",
];

/// Settings of how a data set is read and filtered. Another set inherits them; the split and the window are the same for all.
const OF_READING: [&str; 9] =
    ["skip_bad", "min_user", "min_item", "min_value", "dedup", "ties", "catalogue", "price_scale", "price_clip"];

impl<'de> Deserialize<'de> for Auxiliary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Auxiliary, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(path) if !path.is_empty() => Ok(Auxiliary::Path(path.into())),
            Value::Object(table) => Ok(Auxiliary::Settings(table)),
            other => Err(D::Error::custom(format!("found {other} in the list; expected a path, or a table with one"))),
        }
    }
}

impl Auxiliary {
    /// The data set's name, and its settings: those of the data themselves except for their files, and its own over them.
    ///
    /// # Errors
    /// A table without a path; an unknown key, or one that a data set cannot have for itself; a value out of range.
    pub fn of(&self, data: &DataConfig) -> Result<(String, DataConfig)> {
        let wrong = |why: String| Error::Usage(format!("data.auxiliary: {why}"));
        let mut own = match self {
            Auxiliary::Path(path) => Map::from_iter([("path".to_string(), serde_json::json!(path))]),
            Auxiliary::Settings(own) => own.clone(),
        };
        let name = match own.remove("name") {
            None => None,
            Some(Value::String(name)) if !name.is_empty() => Some(name),
            Some(other) => return Err(wrong(format!("name: found {other}; expected a text"))),
        };
        let plain = |data: &DataConfig| serde_json::to_value(data).expect("settings are plain data");
        let (mut all, usual) = (plain(data), plain(&DataConfig::default()));
        for key in OF_FILES.into_iter().chain(["path", "auxiliary", "hold_out_items", "hold_out_seed"]) {
            all[key] = usual[key].clone();
        }
        let schema = settings::schema_of::<DataConfig>();
        for (key, value) in own {
            if key != "path" && !OF_FILES.contains(&&*key) && !OF_READING.contains(&&*key) {
                let expected = [&["name", "path"], &OF_FILES[..], &OF_READING].concat().join(", ");
                return Err(wrong(format!("found the key {key:?}; a data set can have {expected}")));
            }
            let known = settings::find(&schema, &key).expect("a setting of data");
            settings::check(known, &value).map_err(|problem| wrong(format!("{key}: {problem}")))?;
            all[&key] = value;
        }
        let data: DataConfig = serde_json::from_value(all).map_err(|e| wrong(e.to_string()))?;
        let path = data.path.as_ref().filter(|path| !path.as_os_str().is_empty());
        let path = path.ok_or_else(|| wrong("found a table without a path; expected path = \"..\"".to_string()))?;
        let last = || path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok((name.unwrap_or_else(last), data))
    }
}
