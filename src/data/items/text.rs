//! Texts of items: columns of a table, joined.

use super::columns::{self, OF_A_TEXT};
use super::found::Found;
use super::table::Table;
use crate::data::Dataset;
use crate::data::readers::{Cell, Several};
use crate::error::{Error, Result};
use std::path::PathBuf;

/// The text of each item of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Texts {
    /// Of item 1 to the last; none where it is missing.
    pub of: Vec<Option<String>>,
    /// Where they were read.
    pub file: PathBuf,
    /// The columns that were joined.
    pub columns: Vec<String>,
}

impl Texts {
    /// The error that nothing gives the items texts.
    pub fn absent() -> Error {
        let expected = "a table of items (items.csv, X.item, meta_X.json, ...) next to the interactions, or data.items";
        Error::Usage(format!("the items have no texts: expected {expected}"))
    }

    pub(super) fn read(found: &Found, data: &Dataset, named: Option<&[String]>) -> Result<Option<Texts>> {
        let Some(file) = found.texts()? else { return Ok(None) };
        let table = found.open(&file)?;
        let columns: Vec<usize> = match named {
            Some(names) => names.iter().map(|name| table.named(name, "data.text_columns")).collect::<Result<_>>()?,
            None => OF_A_TEXT.iter().filter_map(|usual| table.find(usual)).collect(),
        };
        if columns.is_empty() {
            return Ok(None);
        }
        let several: Vec<Several> = columns.iter().map(|&column| several(&table, column)).collect();
        let names = columns.iter().map(|&column| table.name(column).to_string()).collect();
        let (join, id) = (found.join(data)?, table.id_column());
        let mut of = vec![None; data.items()];
        let joined = table.each(&join, &columns, |_, item, cells| {
            if let Some(item) = item {
                of[item as usize - 1] = text(cells, &several);
            }
            Ok(())
        })?;
        if joined == 0 {
            return Err(Table::strange(&file, &id));
        }
        if of.iter().all(Option::is_none) {
            return Err(Error::Input {
                path: file,
                line: None,
                column: None,
                found: "no item with a text".to_string(),
                expected: "a text of one item at least".to_string(),
            });
        }
        Ok(Some(Texts { of, file, columns: names }))
    }
}

/// Only columns of genres are lists where their text says so.
fn several(table: &Table, column: usize) -> Several {
    let genres = columns::GENRES.contains(&table.name(column).to_lowercase().as_str());
    match table.several(column) {
        Several::Marks if genres => Several::Marks,
        _ => Several::Never,
    }
}

/// The cells as one text, each cleaned, joined by ". "; the values of a list by ", ". None if nothing is left.
fn text(cells: &[Cell], several: &[Several]) -> Option<String> {
    let cell = |(cell, several): (&Cell, &Several)| {
        let values: Vec<String> = columns::listed(cell, *several).iter().map(|value| clean(value)).collect();
        values.into_iter().filter(|value| !value.is_empty()).collect::<Vec<_>>().join(", ")
    };
    let parts: Vec<String> = cells.iter().zip(several).map(cell).filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join(". "))
}

/// A text with its HTML entities as characters, and one space for each run of white space and line breaks.
pub(super) fn clean(text: &str) -> String {
    htmlize::unescape(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_become_one_text() {
        let cells = [
            Cell::Text(" Salt &amp;\r\n Pepper&#39;s &quot;mill&quot; ".to_string()),
            Cell::Missing,
            Cell::List(vec!["Kitchen".to_string(), " ".to_string(), "Mills\n".to_string()]),
            Cell::Text("'Beauty', 'Make-up'".to_string()),
            Cell::Text("a|b".to_string()),
        ];
        let several = [Several::Never, Several::Never, Several::Never, Several::Marks, Several::Never];
        let expected = "Salt & Pepper's \"mill\". Kitchen, Mills. Beauty, Make-up. a|b";
        assert_eq!(text(&cells, &several).as_deref(), Some(expected));
        for empty in ["", " \n", "&nbsp;", "&#13;&#10;"] {
            assert_eq!(text(&[Cell::Text(empty.to_string()), Cell::Missing], &several[..2]), None, "{empty:?}");
        }
        assert_eq!(clean("don&#146;t &copy 2014 &unknown;"), "don\u{2019}t \u{a9} 2014 &unknown;");
    }
}
