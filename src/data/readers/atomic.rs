//! RecBole atomic files (<https://recbole.io/docs/user_guide/data/atomic_files.html>): tab-separated, each name in the header
//! with its type. `.inter` holds interactions, `.user` and `.item` attributes.

use super::fields::{self, Dialect, Records};
use super::text::{Text, at, show};
use crate::error::Result;
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
fn typed(field: &str) -> Option<(&str, Kind)> {
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

/// The names in a line, if all of its fields are `name:type`.
pub(crate) fn types(line: &[u8]) -> Option<Vec<&str>> {
    let fields = std::str::from_utf8(line).ok()?.split('\t');
    fields.map(|field| typed(field).map(|(name, _)| name)).collect()
}

/// A file below its header. RecBole has no quoting: a quotation mark is part of a title.
pub(crate) fn open(path: &Path) -> Result<(Records, Vec<(String, Kind)>)> {
    header(Records::new(Text::open(path)?, Dialect::TABS))
}

/// Reads the header of a file.
pub(crate) fn header(mut records: Records) -> Result<(Records, Vec<(String, Kind)>)> {
    let mut names: Vec<(String, Kind)> = vec![];
    for (field, column) in fields::header(&mut records)?.iter().zip(1..) {
        let (name, kind) = typed(field).ok_or_else(|| {
            let expected = "name:type with the type token, token_seq, float or float_seq".to_string();
            at(records.path(), 1)(Some(column), show(field.as_bytes()), expected)
        })?;
        names.push((name.to_string(), kind));
    }
    Ok((records, names))
}
