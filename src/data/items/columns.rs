//! What columns of a table of items mean, and what they are usually called.

use crate::data::readers::{Cell, Role, Several};
use crate::error::plain;

pub(super) const TITLES: [&str; 7] =
    ["title", "movie_title", "item_title", "product_title", "name", "item_name", "app_name"];
pub(super) const TEXTS: [&str; 2] = ["text", "item_text"];
pub(super) const BRANDS: [&str; 4] = ["brand", "store", "brand_name", "manufacturer"];
pub(super) const GENRES: [&str; 5] = ["class", "genre", "genres", "category", "categories"];
pub(super) const PRICES: [&str; 2] = ["price", "item_price"];
pub(super) const CURRENCIES: [&str; 2] = ["currency", "price_currency"];
pub(super) const IMAGES: [&str; 7] =
    ["image", "images", "image_path", "image_paths", "image_file", "image_files", "picture"];

/// The columns that make a text unless others are named: of each of these kinds the first.
pub(super) const OF_A_TEXT: [&[&str]; 4] = [&TITLES, &TEXTS, &BRANDS, &GENRES];

/// The first column that is called as one of `usual`.
pub(super) fn find(columns: &[String], usual: &[&str]) -> Option<usize> {
    columns.iter().position(|name| usual.contains(&name.to_lowercase().as_str()))
}

/// The column of ids: the first if its name says so, else the one that is called as items' ids usually are, else the first.
pub(super) fn id(columns: &[String]) -> usize {
    let first = columns.first().map_or(String::new(), |name| plain(name));
    let says_so = first == "id" || Role::Item.usual().contains(&first.as_str());
    if says_so { 0 } else { Role::Item.find(columns).unwrap_or(0) }
}

/// The values in a cell of a column that lists several: genres, image files.
pub(super) fn listed(cell: &Cell, several: Several) -> Vec<String> {
    let parts: Vec<&str> = match (cell, several) {
        (Cell::Missing, _) => vec![],
        (Cell::List(texts), _) => texts.iter().map(String::as_str).collect(),
        (Cell::Text(text), Several::Never) => vec![text],
        (Cell::Text(text), Several::Spaces) => text.split_whitespace().collect(),
        (Cell::Text(text), Several::Marks) => marked(text),
    };
    let named = parts.into_iter().map(str::trim).filter(|part| !part.is_empty() && *part != "(no genres listed)");
    named.map(str::to_string).collect()
}

/// `A|B` or `'A', 'B'`.
fn marked(text: &str) -> Vec<&str> {
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    let quoted = inner.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    match quoted {
        Some(quoted) => quoted.split("', '").collect(),
        None => inner.split('|').collect(),
    }
}
