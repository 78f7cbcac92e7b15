//! CSV and TSV with a header.

use super::builder::{Builder, Field, Row};
use super::text::{Csv, Text, show};
use super::{Columns, Layout, Role};
use crate::error::{Error, Result};
use csv::ByteRecord;
use std::path::Path;

pub(crate) fn read(path: &Path, columns: &Columns, into: &mut Builder) -> Result<()> {
    let (mut csv, fields) = open(path, columns.delimiter)?;
    let given: Vec<&String> = Role::ALL.iter().filter_map(|role| role.given(columns)).collect();
    if !given.is_empty() && given.iter().all(|name| name.parse::<usize>().is_ok_and(|n| n > 0)) {
        let header: Vec<String> = (1..=fields).map(|n| n.to_string()).collect();
        let layout = Layout::of(&header, columns, into, at(path, 1))?;
        return rows(csv, &layout, fields, into);
    }
    let header = header(&mut csv)?;
    let layout = Layout::of(&header, columns, into, at(path, 1))?;
    rows(csv, &layout, header.len(), into)
}

/// A file from its first line on, and how many fields that has. Without a `delimiter` the line tells it.
pub(crate) fn open(path: &Path, delimiter: Option<char>) -> Result<(Csv, usize)> {
    let mut text = Text::open(path)?;
    let head = text.head()?;
    let first = String::from_utf8_lossy(head.split(|&b| b == b'\n').next().unwrap_or_default()).to_string();
    let delimiter = match delimiter {
        Some(c) => {
            u8::try_from(c).map_err(|_| Error::Usage(format!("delimiter {c:?}: expected one ASCII character")))?
        }
        None => delimiter_of(&first).ok_or_else(|| Error::Input {
            path: path.to_path_buf(),
            line: Some(1),
            column: None,
            found: show(first.trim_end().as_bytes()),
            expected: "columns separated by a comma, tab, semicolon or bar; or name the delimiter with --delimiter"
                .into(),
        })? as u8,
    };
    let fields = first.split(delimiter as char).count();
    Ok((text.into_csv(delimiter, true), fields))
}

/// The delimiter of a header: the first of tab, comma, semicolon and bar that occurs in it.
pub(crate) fn delimiter_of(header: &str) -> Option<char> {
    ['\t', ',', ';', '|'].into_iter().find(|&c| header.contains(c))
}

/// Names of the columns. The file is known not to be empty, but may hold blank lines only.
pub(crate) fn header(csv: &mut Csv) -> Result<Vec<String>> {
    let mut record = ByteRecord::new();
    csv.next(&mut record)?;
    record
        .iter()
        .zip(1..)
        .map(|(name, column)| {
            std::str::from_utf8(name)
                .map(|name| name.trim().to_string())
                .map_err(|_| at(&csv.path, 1)(Some(column), show(name), "a header in UTF-8".to_string()))
        })
        .collect()
}

/// For errors about a line: from column, what was found and what was expected.
pub(crate) fn at(path: &Path, line: u64) -> impl Fn(Option<u64>, String, String) -> Error {
    let path = path.to_path_buf();
    move |column, found, expected| Error::Input { path: path.clone(), line: Some(line), column, found, expected }
}

/// All records after the header, each of `fields` fields.
pub(crate) fn rows(mut csv: Csv, layout: &Layout, fields: usize, rows: &mut Builder) -> Result<()> {
    let mut record = ByteRecord::new();
    while let Some(line) = csv.next(&mut record)? {
        if record.len() != fields {
            let found = format!("{} fields, beginning {}", record.len(), show(record.get(0).unwrap_or_default()));
            let expected = format!("{fields} fields, as in the first line (is the line cut?)");
            rows.leave_out(at(&csv.path, line)(Some(record.len().min(fields) as u64), found, expected))?;
            continue;
        }
        let field = |role| layout.index(role).map(|i| Field { text: &record[i], column: i as u64 + 1 });
        let (Some(user), Some(item)) = (field(Role::User), field(Role::Item)) else {
            unreachable!("a layout has a user and an item column")
        };
        let (value, time, behaviour) = (field(Role::Value), field(Role::Time), field(Role::Behaviour));
        rows.push(&Row { line, user, item, value, time, behaviour })?;
    }
    rows.end_file(csv.ends_in_newline());
    Ok(())
}
