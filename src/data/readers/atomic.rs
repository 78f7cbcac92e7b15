//! RecBole atomic files (<https://recbole.io/docs/user_guide/data/atomic_files.html>): tab-separated, each name in the header
//! with its type. `.inter` holds interactions, `.user` and `.item` attributes.

use super::builder::{Interactions, LONGEST_ID};
use super::delimited::{at, header, rows};
use super::names::Names;
use super::text::{Csv, Text, show};
use super::{Columns, Layout};
use crate::error::Result;
use csv::ByteRecord;
use std::path::Path;

/// The type of a column of an atomic file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Token,
    TokenSeq,
    Float,
    FloatSeq,
}

/// Splits `name:type`.
pub(crate) fn typed(field: &str) -> Option<(&str, Kind)> {
    let (name, kind) = field.trim().rsplit_once(':')?;
    let kind = match kind {
        "token" => Kind::Token,
        "token_seq" => Kind::TokenSeq,
        "float" => Kind::Float,
        "float_seq" => Kind::FloatSeq,
        _ => return None,
    };
    Some((name, kind))
}

pub(crate) fn read(path: &Path, columns: &Columns) -> Result<Interactions> {
    let (csv, header) = open(path)?;
    let names: Vec<String> = header.into_iter().map(|(name, _)| name).collect();
    let layout = Layout::of(&names, columns, at(path, 1))?;
    rows(csv, &layout, names.len())
}

/// A file behind its header. RecBole has no quoting: a quotation mark is part of a title.
pub(crate) fn open(path: &Path) -> Result<(Csv, Vec<(String, Kind)>)> {
    let mut csv = Text::open(path)?.into_csv(b'\t', false);
    let mut names: Vec<(String, Kind)> = vec![];
    for (field, column) in header(&mut csv)?.iter().zip(1..) {
        let (name, kind) = typed(field).ok_or_else(|| {
            let expected = "name:type with the type token, token_seq, float or float_seq".to_string();
            at(path, 1)(Some(column), show(field.as_bytes()), expected)
        })?;
        names.push((name.to_string(), kind));
    }
    Ok((csv, names))
}

/// An attribute table: `.user` or `.item`.
#[derive(Clone, Debug)]
pub struct Attributes {
    /// External ids, from the first column.
    pub ids: Names,
    /// Name, type and cells (as they stand in the file, in the order of `ids`) of every further column.
    pub columns: Vec<(String, Kind, Names)>,
}

/// Reads an attribute table. Its first column must be the id.
pub fn read_attributes(path: &Path) -> Result<Attributes> {
    let (mut csv, header) = open(path)?;
    let mut ids = Names::default();
    let mut columns: Vec<_> = header[1..].iter().map(|(name, kind)| (name.clone(), *kind, Names::default())).collect();
    let mut record = ByteRecord::new();
    while let Some(line) = csv.next(&mut record)? {
        let wrong = |column: usize, expected: String| {
            let found = show(record.get(column).unwrap_or_default());
            at(path, line)(Some(column as u64 + 1), found, expected)
        };
        if record.len() != header.len() {
            let expected = format!("{} fields, as in the first line (is the line cut?)", header.len());
            return Err(wrong(record.len().min(header.len()) - 1, expected));
        }
        let cells = record
            .iter()
            .enumerate()
            .map(|(i, cell)| std::str::from_utf8(cell).map_err(|_| wrong(i, "text in UTF-8".to_string())));
        for (i, cell) in cells.enumerate() {
            match i {
                0 => {
                    let id = cell?.trim();
                    if id.is_empty() || id.len() > LONGEST_ID {
                        return Err(wrong(0, format!("an id of 1 to {LONGEST_ID} bytes")));
                    }
                    ids.push(id);
                }
                _ => columns[i - 1].2.push(cell?.trim()),
            }
        }
    }
    Ok(Attributes { ids, columns })
}
