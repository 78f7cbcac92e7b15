//! Attribute tables: a row an item or user, its id first.

use super::atomic::{self, Kind};
use super::builder::LONGEST_ID;
use super::columns::distinct;
use super::delimited;
use super::fields::{Dialect, Quotes, Records, Separator, header};
use super::names::Names;
use super::role::Role;
use super::text::{Text, at, show};
use super::unpacked_name;
use crate::error::{Result, plain};
use std::path::Path;

/// An attribute table.
#[derive(Clone, Debug, Default)]
pub struct AttributeTable {
    /// External ids, from the first column.
    pub ids: Names,
    /// The line of the file that each id is on, from 1.
    pub lines: Vec<u64>,
    /// Name, type and cells (as they are in the file, in the order of `ids`) of every further column.
    pub columns: Vec<(String, Kind, Names)>,
}

/// Reads a RecBole table, `.user` or `.item`. Its first column must be the id.
pub fn read_attributes(path: &Path) -> Result<AttributeTable> {
    let (records, header) = atomic::open(path)?;
    collect(records, header)
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
            let header = tokens(&["user_id", "gender", "age", "occupation", "zip_code"]);
            collect(Records::new(Text::open(path)?, Dialect::COLONS), header)
        }
        "u.user" => {
            let dialect = Dialect { separator: Separator::Byte(b'|'), quotes: Quotes::None };
            let header = tokens(&["user_id", "age", "gender", "occupation", "zip_code"]);
            collect(Records::new(Text::open(path)?, dialect), header)
        }
        "users.csv" | "users.tsv" => {
            let (records, names) = open_table(path)?;
            let header = tokens(&names.iter().map(String::as_str).collect::<Vec<_>>());
            ids_first(&header)?;
            collect(records, header)
        }
        _ => {
            let (records, header) = atomic::open(path)?;
            ids_first(&header)?;
            collect(records, header)
        }
    }
}

/// A delimited file after its header, and the names there.
fn open_table(path: &Path) -> Result<(Records, Vec<String>)> {
    let mut records = delimited::open(path)?;
    let names = header(&mut records)?;
    Ok((records, names))
}

/// All records after the header.
fn collect(mut records: Records, header: Vec<(String, Kind)>) -> Result<AttributeTable> {
    distinct(header.iter().map(|(name, _)| name.as_str()), at(records.path(), 1))?;
    let columns = header[1..].iter().map(|(name, kind)| (name.clone(), *kind, Names::default())).collect();
    let mut table = AttributeTable { columns, ..AttributeTable::default() };
    while let Some(line) = records.next()? {
        let wrong = |column: usize, expected: String| {
            at(records.path(), line)(Some(column as u64 + 1), show(records.get(column)), expected)
        };
        if records.len() != header.len() {
            let names: Vec<&str> = header.iter().map(|(name, _)| name.as_str()).collect();
            let expected = format!("{} fields: {} (is the line cut?)", header.len(), names.join(", "));
            return Err(wrong(records.len().min(header.len()) - 1, expected));
        }
        for (i, cell) in records.iter().enumerate() {
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
