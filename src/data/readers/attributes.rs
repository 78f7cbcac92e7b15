//! Attribute tables: a row an item or user, its id first.

use super::atomic::{self, Kind};
use super::builder::LONGEST_ID;
use super::delimited::{self, at, header};
use super::movielens::split_once;
use super::names::Names;
use super::text::{Text, show};
use super::{Role, distinct, unpacked_name};
use crate::error::{Result, plain};
use csv::ByteRecord;
use std::path::Path;

/// An attribute table.
#[derive(Clone, Debug, Default)]
pub struct AttributeTable {
    /// External ids, from the first column.
    pub ids: Names,
    /// The line of the file that each id stands on, from 1.
    pub lines: Vec<u64>,
    /// Name, type and cells (as they stand in the file, in the order of `ids`) of every further column.
    pub columns: Vec<(String, Kind, Names)>,
}

/// Reads a RecBole table, `.user` or `.item`. Its first column must be the id.
pub fn read_attributes(path: &Path) -> Result<AttributeTable> {
    let (mut csv, header) = atomic::open(path)?;
    collect(path, header, |record| csv.next(record))
}

/// Reads attributes of users, in the form that the name of the file says: `users.dat` (MovieLens-1M), `u.user`
/// (MovieLens-100K), `users.csv` or `users.tsv` (with a header), `*.user` (RecBole). In the last two the first column must be
/// that of user ids: called `user_column`, or as such columns are usually called.
pub fn read_user_attributes(path: &Path, user_column: Option<&str>) -> Result<AttributeTable> {
    let tokens = |names: &[&str]| names.iter().map(|name| (name.to_string(), Kind::Token)).collect::<Vec<_>>();
    let ids_first = |names: &[(String, Kind)]| {
        let first = names.first().map_or("", |(name, _)| name);
        let usual = || plain(first) == "id" || Role::User.usual().contains(&plain(first).as_str());
        if user_column == Some(first) || usual() {
            return Ok(());
        }
        let usual = Role::User.usual().join(", ");
        let expected = format!("user ids in the first column (id, {usual}); or name it with data.columns.user");
        Err(at(path, 1)(Some(1), format!("the column {}", show(first.as_bytes())), expected))
    };
    match unpacked_name(path).as_str() {
        "users.dat" => {
            let (mut text, mut line) = (Text::open(path)?, vec![]);
            let header = tokens(&["user_id", "gender", "age", "occupation", "zip_code"]);
            collect(path, header, |record| {
                while text.next(&mut line)? {
                    if line.is_empty() {
                        continue;
                    }
                    record.clear();
                    let mut rest = Some(&line[..]);
                    while let Some(fields) = rest {
                        let (field, more) = split_once(fields, b"::");
                        record.push_field(field);
                        rest = more;
                    }
                    return Ok(Some(text.line));
                }
                Ok(None)
            })
        }
        "u.user" => {
            let mut csv = Text::open(path)?.into_csv(b'|', false);
            let header = tokens(&["user_id", "age", "gender", "occupation", "zip_code"]);
            collect(path, header, |record| csv.next(record))
        }
        "users.csv" | "users.tsv" => {
            let (mut csv, _) = delimited::open(path, None)?;
            let names = header(&mut csv)?;
            let header = tokens(&names.iter().map(String::as_str).collect::<Vec<_>>());
            ids_first(&header)?;
            collect(path, header, |record| csv.next(record))
        }
        _ => {
            let (mut csv, header) = atomic::open(path)?;
            ids_first(&header)?;
            collect(path, header, |record| csv.next(record))
        }
    }
}

/// All rows; `next` gives each with its line.
fn collect(
    path: &Path,
    header: Vec<(String, Kind)>,
    mut next: impl FnMut(&mut ByteRecord) -> Result<Option<u64>>,
) -> Result<AttributeTable> {
    distinct(header.iter().map(|(name, _)| name.as_str()), at(path, 1))?;
    let columns = header[1..].iter().map(|(name, kind)| (name.clone(), *kind, Names::default())).collect();
    let mut table = AttributeTable { columns, ..AttributeTable::default() };
    let mut record = ByteRecord::new();
    while let Some(line) = next(&mut record)? {
        let wrong = |column: usize, expected: String| {
            let found = show(record.get(column).unwrap_or_default());
            at(path, line)(Some(column as u64 + 1), found, expected)
        };
        if record.len() != header.len() {
            let names: Vec<&str> = header.iter().map(|(name, _)| name.as_str()).collect();
            let expected = format!("{} fields: {} (is the line cut?)", header.len(), names.join(", "));
            return Err(wrong(record.len().min(header.len()) - 1, expected));
        }
        for (i, cell) in record.iter().enumerate() {
            let cell = std::str::from_utf8(cell).map_err(|_| wrong(i, "text in UTF-8".to_string()))?.trim();
            match i {
                0 if cell.is_empty() || cell.len() > LONGEST_ID => {
                    return Err(wrong(0, format!("an id of 1 to {LONGEST_ID} bytes")));
                }
                0 => table.ids.push(cell),
                _ => table.columns[i - 1].2.push(cell),
            }
        }
        table.lines.push(line);
    }
    Ok(table)
}
