//! Which files describe the items of a data set: those that the settings name, else those next to the interactions.

use super::index::Index;
use super::join::Join;
use super::table::Table;
use super::{Modality, array};
use crate::data::readers::{beside, beside_inter, unpacked_name};
use crate::data::{DataConfig, Dataset, known};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The files of items of a data set.
pub(super) struct Found<'a> {
    config: &'a DataConfig,
    /// The file or folder of interactions.
    data: PathBuf,
}

impl<'a> Found<'a> {
    /// None for the embedded world.
    pub fn new(config: &'a DataConfig) -> Result<Option<Found<'a>>> {
        let data = config.path.as_ref().map(|path| known::resolve(path)).transpose()?;
        Ok(data.map(|data| Found { config, data }))
    }

    /// Those of the interactions in `path`.
    pub fn at(config: &'a DataConfig, path: &Path) -> Found<'a> {
        Found { config, data: path.to_path_buf() }
    }

    /// The folder of the interactions.
    fn folder(&self) -> &Path {
        let folder = if self.data.is_dir() { &self.data } else { self.data.parent().unwrap_or(Path::new(".")) };
        if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
    }

    /// The file that belongs to the interactions; or, where none belongs to their file, to another one in the folder.
    fn beside(&self, belongs: impl Fn(&str, &str) -> bool) -> Result<Option<PathBuf>> {
        let own = unpacked_name(&self.data);
        let to_own = if self.data.is_dir() {
            None
        } else {
            beside(&self.data, |name, other| other == own && belongs(name, other))?
        };
        if to_own.is_some() { Ok(to_own) } else { beside(&self.data, belongs) }
    }

    /// The table of items.
    pub fn table(&self) -> Result<Option<PathBuf>> {
        if let Some(path) = &self.config.items {
            return Ok(Some(path.clone()));
        }
        // The interactions may be called items.csv themselves.
        let own = if self.data.is_file() { unpacked_name(&self.data) } else { String::new() };
        self.beside(|name, other| name != own && belongs(name, other))
    }

    /// The table of texts: `X.text`, else the table of items.
    pub fn texts(&self) -> Result<Option<PathBuf>> {
        if self.config.items.is_none()
            && let Some(path) = self.beside(|name, other| stem_of(name, ".text", other))?
        {
            return Ok(Some(path));
        }
        self.table()
    }

    pub fn open(&self, path: &Path) -> Result<Table> {
        Table::open(path, self.config.item_id.as_deref())
    }

    /// The items of the data by the ids of these files.
    pub fn join(&self, data: &Dataset) -> Result<Join> {
        let index = self.beside(|name, other| stem_of(name, ".item2index", other))?;
        Join::new(data, index.map(|path| Index::read(&path)).transpose()?)
    }

    /// The file of ready embeddings of `modality`, or of its numbers.
    ///
    /// # Errors
    /// Several such files next to the interactions.
    pub fn array(&self, modality: Modality) -> Result<Option<PathBuf>> {
        let named = match modality {
            Modality::Text => &self.config.text,
            Modality::Image => &self.config.image,
            Modality::Price => &self.config.price,
            Modality::TextDropped => &self.config.text_dropped,
            Modality::Category => return Ok(None),
        };
        if let Some(path) = named {
            return Ok(Some(path.clone()));
        }
        let name = modality.name();
        let usual = [format!("{name}.safetensors"), format!("{name}.npy")].map(|name| self.folder().join(name));
        let mut found: Vec<PathBuf> = usual.into_iter().filter(|path| path.is_file()).collect();
        let features = self.folder().join("features.safetensors");
        if features.is_file() && array::has(&features, name)? {
            found.push(features);
        }
        let raw = match modality {
            Modality::Text => Some(".feat1cls"),
            Modality::Image => Some(".feat3cls"),
            Modality::Price | Modality::Category | Modality::TextDropped => None,
        };
        if let Some(ending) = raw {
            found.extend(self.beside(|name, other| stem_of(name, ending, other))?);
        }
        match &found[..] {
            [] => Ok(None),
            [only] => Ok(Some(only.clone())),
            [first, second, ..] => Err(Error::Usage(format!(
                "data.{name} is not set, and both {} and {} may be meant; name one",
                first.display(),
                second.display()
            ))),
        }
    }

    /// The width of a vector in a raw file, where it is given.
    pub fn width(&self, modality: Modality) -> Option<usize> {
        self.config.image_width.filter(|_| modality == Modality::Image)
    }

    /// The folder of image files, and whether it was named.
    pub fn images(&self) -> (PathBuf, bool) {
        match &self.config.images {
            Some(folder) => (folder.clone(), true),
            None => (self.folder().join("images"), false),
        }
    }
}

/// The file of interactions must be the one that these items belong to; `items.*` has no such name.
fn belongs(name: &str, interactions: &str) -> bool {
    match name {
        "movies.dat" => interactions == "ratings.dat",
        "movies.csv" => interactions == "ratings.csv",
        "u.item" => interactions == "u.data",
        "items.csv" | "items.tsv" | "items.json" | "items.jsonl" | "items.parquet" => interactions != name,
        _ => stem_of(name, ".item", interactions) || is_metadata_of(name, interactions),
    }
}

/// Whether `name` and `other` are one stem, the one with this ending and the other `X.inter` or a part of it.
fn stem_of(name: &str, ending: &str, other: &str) -> bool {
    let parts = ["train", "valid", "test"].map(|part| format!(".{part}.inter"));
    let part = parts
        .iter()
        .any(|part| name.strip_suffix(ending).is_some_and(|stem| other.strip_suffix(part.as_str()) == Some(stem)));
    part || beside_inter(name, ending, other)
}

/// Whether `meta_X.json` or `meta_X.jsonl` goes with Amazon's reviews or ratings of X: `X_5.json`, `reviews_X.json`, `ratings_X.csv`.
fn is_metadata_of(name: &str, interactions: &str) -> bool {
    let ending = |name: &str| [".json", ".jsonl"].iter().find_map(|ending| name.strip_suffix(ending).map(String::from));
    let Some(category) = ending(name).and_then(|stem| stem.strip_prefix("meta_").map(String::from)) else {
        return false;
    };
    let Some(stem) = ending(interactions).or_else(|| interactions.strip_suffix(".csv").map(String::from)) else {
        return false;
    };
    let stem = ["reviews_", "ratings_"].iter().find_map(|prefix| stem.strip_prefix(prefix)).unwrap_or(&stem);
    stem == category
        || stem
            .rsplit_once('_')
            .is_some_and(|(stem, core)| stem == category && core.bytes().all(|b| b.is_ascii_digit()))
}
