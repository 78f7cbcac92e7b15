//! RecBole atomic files (<https://recbole.io/docs/user_guide/data/atomic_files.html>): tab-separated, each name in the header
//! with its type. `.inter` holds interactions, `.user` and `.item` attributes.

use super::builder::Builder;
use super::delimited::{at, header, rows};
use super::text::{Csv, Text, show};
use super::{Columns, Layout};
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

pub(crate) fn read(path: &Path, columns: &Columns, into: &mut Builder) -> Result<()> {
    let (csv, header) = open(path)?;
    let names: Vec<String> = header.into_iter().map(|(name, _)| name).collect();
    let layout = Layout::of(&names, columns, into, at(path, 1))?;
    rows(csv, &layout, names.len(), into)
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
