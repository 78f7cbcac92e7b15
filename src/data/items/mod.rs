//! What is known of a data set's items: texts, image files, prices and ready embeddings, joined by item id.
//!
//! Tables of items (any that [`crate::data::readers`] can read row by row) and files of numbers are named in the settings or found
//! next to the interactions. Whatever a file does not have of an item is missing.

mod array;
mod columns;
mod descriptions;
mod found;
mod header;
mod images;
mod index;
mod join;
mod layout;
mod named;
mod price;
mod prices;
mod rows;
mod summary;
mod table;
mod text;
mod vectors;

pub use descriptions::{Description, Descriptions};
pub use images::{Images, MOST_IMAGES};
pub use named::vectors_of;
pub use prices::{PriceScale, Prices};
pub use summary::ItemSummary;
pub use text::Texts;
pub use vectors::{Numbers, Vectors};

use super::synth::{Domain, Item};
use super::{Cache, DataConfig, Dataset};
use crate::error::{Error, Result};
use array::Array;
use found::Found;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A kind of features of items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Modality {
    /// Embeddings of texts.
    Text,
    /// Embeddings of images.
    Image,
    /// Prices.
    Price,
    /// Categories, of which an item can have several.
    Category,
    /// Embeddings of texts that have lost words: read beside the others by a model that compares both, and never by themselves.
    #[serde(rename = "text_dropped", skip_deserializing)]
    TextDropped,
}

impl Modality {
    /// Those that are numbers.
    pub const ALL: [Modality; 3] = [Modality::Text, Modality::Image, Modality::Price];

    pub fn name(self) -> &'static str {
        ["text", "image", "price", "category", "text_dropped"][self as usize]
    }

    /// The error that nothing gives the items this.
    pub fn absent(self) -> Error {
        let given = match self {
            Modality::Text => "text.safetensors next to the interactions, or data.text (`wgrec encode text` makes it)",
            Modality::Image => {
                "image.safetensors next to the interactions, or data.image (`wgrec encode image` makes it)"
            }
            Modality::Price => "a table of items with prices next to the interactions, or data.price",
            Modality::TextDropped => {
                "text_dropped.safetensors next to the interactions, or data.text_dropped (`wgrec encode text --drop-words 0.15` \
                 makes it); or model.changed_texts=0"
            }
            Modality::Category => "a table of items with genres or categories next to the interactions, or data.items",
        };
        Error::Usage(format!("the items have no {}: expected {given}", self.name()))
    }
}

/// How prices are scaled to 0 to 100.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// From the lowest to the highest.
    #[default]
    Minmax,
    /// The same of ln(1 + price).
    Log,
}

/// How many items have a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coverage {
    pub items: usize,
    pub missing: usize,
}

impl Coverage {
    /// Of items that have it or not.
    pub fn of(has: impl Iterator<Item = bool>) -> Coverage {
        let [mut items, mut missing] = [0, 0];
        has.for_each(|has| {
            items += 1;
            missing += !has as usize;
        });
        Coverage { items, missing }
    }

    pub fn present(self) -> usize {
        self.items - self.missing
    }
}

impl DataConfig {
    /// Descriptions of `data`'s items, from a table. None if there is no table, or it has none of them.
    ///
    /// # Errors
    /// A table that cannot be read or is malformed.
    pub fn descriptions(&self, data: &Dataset) -> Result<Option<Descriptions>> {
        let Some(found) = Found::new(self)? else { return Ok(None) };
        let Some(path) = found.table()? else { return Ok(None) };
        Descriptions::read(found.open(&path)?, &found.join(data)?)
    }

    /// Texts of `data`'s items. None if no table has any, as in the embedded world.
    ///
    /// # Errors
    /// A table that is malformed, has two rows for an item, or has a text of no item.
    pub fn item_texts(&self, data: &Dataset) -> Result<Option<Texts>> {
        let Some(found) = Found::new(self)? else { return Ok(None) };
        Texts::read(&found, data, self.text_columns.as_deref())
    }

    /// Image files of `data`'s items. None if there is no folder of them and no table names any, as in the embedded world.
    ///
    /// # Errors
    /// A folder that cannot be read, or has a file of no item.
    pub fn item_images(&self, data: &Dataset) -> Result<Option<Images>> {
        let Some(found) = Found::new(self)? else { return Ok(None) };
        Images::read(&found, data)
    }

    /// Prices of `data`'s items, or of those of the embedded `world`. None if nothing has any.
    ///
    /// # Errors
    /// A file that is malformed, has two rows for an item, prices in several currencies, or a price of no item.
    pub fn item_prices(&self, data: &Dataset, world: Option<&Domain>) -> Result<Option<Prices>> {
        match (world, Found::new(self)?) {
            (Some(world), _) => Ok(Some(Prices::of_world(world, data))),
            (None, Some(found)) => Prices::read(&found, data, self),
            (None, None) => Ok(None),
        }
    }

    /// Ready embeddings of `data`'s items, or those of the embedded `world`. None if there are none.
    ///
    /// # Errors
    /// A file that is cut or malformed, has numbers that are not finite, rows that do not match the ids, two rows for an item, or a
    /// row of no item.
    pub fn item_vectors(&self, modality: Modality, data: &Dataset, world: Option<&Domain>) -> Result<Option<Vectors>> {
        self.item_vectors_with(modality, data, world, Cache::usual().as_ref())
    }

    /// The same with a given cache, or none.
    pub fn item_vectors_with(
        &self,
        modality: Modality,
        data: &Dataset,
        world: Option<&Domain>,
        cache: Option<&Cache>,
    ) -> Result<Option<Vectors>> {
        if let Some(world) = world {
            return Vectors::of_world(world, modality, data);
        }
        let Some(found) = Found::new(self)? else { return Ok(None) };
        let Some(file) = found.array(modality)? else { return Ok(None) };
        Vectors::read_file(&file, modality, &found, data, cache).map(Some)
    }
}

/// The ids of all items that files of items have, as the interactions in `path` would call them; `data`'s own may be among them.
///
/// # Errors
/// If nothing has any: no table of items, no index of rows, and no embeddings with ids.
pub(super) fn ids(config: &DataConfig, path: &Path, data: &Dataset) -> Result<Vec<String>> {
    let found = Found::at(config, path);
    let join = found.join(data)?;
    let mut all: Vec<String> = vec![];
    let mut tables: Vec<PathBuf> = found.texts()?.into_iter().chain(found.table()?).collect();
    tables.dedup();
    for table in tables {
        all.extend(found.open(&table)?.ids()?.iter().filter_map(|id| join.name_of(id)));
    }
    if let Some(index) = join.index() {
        all.extend((0..index.rows()).filter_map(|row| join.name_of(index.id(row))));
    }
    for modality in [Modality::Text, Modality::Image] {
        if let Some(file) = found.array(modality)? {
            all.extend(Array::open(&file, modality, &join, found.width(modality))?.ids.iter().flatten().cloned());
        }
    }
    match all.is_empty() {
        false => Ok(all),
        true => Err(Error::Usage(
            "data.catalogue: found features; expected a table of items or embeddings with ids next to the interactions, or in \
             data.items, data.text or data.image"
                .to_string(),
        )),
    }
}

/// An item of a data set in the embedded world that it was drawn from.
fn world_item<'a>(world: &'a Domain, data: &Dataset, item: u32) -> &'a Item {
    let number: usize = data.item_name(item).parse().expect("items of the world have numbers");
    &world.items[number - 1]
}

#[cfg(test)]
mod tests;
