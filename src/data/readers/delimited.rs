//! Separated fields, with a header and without: CSV, TSV, MovieLens, RecBole atomic files and the like.

use super::atomic;
use super::builder::{Builder, Field, Row};
use super::columns::{Columns, Layout};
use super::fields::{Dialect, Quotes, Records, Separator, header};
use super::formats::{Declared, Shape};
use super::role::Role;
use super::text::{Text, at, show};
use super::unread::Unread;
use crate::error::{Error, Result};
use std::path::Path;

pub(crate) fn read(path: &Path, format: &Declared, columns: &Columns, rows: &mut Builder) -> Result<()> {
    let mut text = Text::open(path)?;
    if format.latin1 {
        text = text.latin1();
    }
    match format.shape {
        Shape::Fields(dialect, cells) => {
            let names: Vec<&str> = cells.iter().map(|(name, _)| *name).collect();
            without_header(Records::new(text, dialect), &names, format, columns, rows)
        }
        Shape::Pairs => without_header(Records::new(text, Dialect::SPACES), &["user", "item"], format, columns, rows),
        Shape::Atomic => {
            let (records, header) = atomic::header(Records::new(text, Dialect::TABS))?;
            let names: Vec<String> = header.into_iter().map(|(name, _)| name).collect();
            below_header(records, &names, format, columns, rows)
        }
        _ => {
            let mut records = split(text, columns.delimiter, format.quotes)?;
            let header = header(&mut records)?;
            let named = [Role::User, Role::Item].into_iter().all(|role| role.find(&header).is_some());
            if named || !columns.are_numbers() {
                return below_header(records, &header, format, columns, rows);
            }
            let numbers: Vec<String> = (1..=header.len()).map(|n| n.to_string()).collect();
            let layout = Layout::of(&numbers, columns, &[], rows, at(path, 1))?;
            Table { records, layout, fields: numbers.len(), offset: None }.read(rows)
        }
    }
}

fn without_header(
    mut records: Records,
    names: &[&str],
    format: &Declared,
    columns: &Columns,
    rows: &mut Builder,
) -> Result<()> {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let layout = Layout::of(&names, columns, format.columns, rows, at(records.path(), 1))?;
    records.next()?;
    Table { records, layout, fields: names.len(), offset: None }.read(rows)
}

fn below_header(
    mut records: Records,
    header: &[String],
    format: &Declared,
    columns: &Columns,
    rows: &mut Builder,
) -> Result<()> {
    let layout = Layout::of(header, columns, format.columns, rows, at(records.path(), 1))?;
    rows.note_columns(layout.describe(header));
    let offset = format.offset.and_then(|wanted| header.iter().position(|name| name == wanted));
    let offset = offset.filter(|_| layout.index(Role::Time).is_some());
    offset
        .into_iter()
        .for_each(|index| rows.note(format!("times are as many milliseconds later as {} says", header[index])));
    records.next()?;
    Table { records, layout, fields: header.len(), offset }.read(rows)
}

/// A table of CSV or TSV from its first line on. Without a `delimiter` that line tells it.
pub(crate) fn open(path: &Path) -> Result<Records> {
    split(Text::open(path)?, None, Quotes::Csv)
}

fn split(mut text: Text, delimiter: Option<char>, quotes: Quotes) -> Result<Records> {
    let head = text.head()?;
    let first = head.split(|&b| b == b'\n').next().unwrap_or_default();
    let dialect = match delimiter {
        Some(c) => {
            let byte = u8::try_from(c).ok().filter(u8::is_ascii);
            Dialect::of(byte.ok_or_else(|| Error::Usage(format!("delimiter {c:?}: expected one ASCII character")))?)
        }
        None => match Dialect::of_header(first) {
            Some(dialect) => dialect,
            None => {
                let found = show(first.trim_ascii_end());
                let expected =
                    "columns separated by a comma, tab, semicolon or bar; or name the delimiter with --delimiter";
                return Err(at(&text.path, 1)(None, found, expected.to_string()));
            }
        },
    };
    let quotes = if dialect.separator == Separator::Byte(b'\t') { dialect.quotes } else { quotes };
    Ok(Records::new(text, Dialect { quotes, ..dialect }))
}

/// Records of interactions.
struct Table {
    records: Records,
    layout: Layout,
    /// Fields of each record.
    fields: usize,
    /// The column of milliseconds that are added to the time.
    offset: Option<usize>,
}

impl Table {
    /// All records from the one in hand on.
    fn read(self, rows: &mut Builder) -> Result<()> {
        let Table { mut records, layout, fields, offset } = self;
        let (Some(user), Some(item)) = (layout.index(Role::User), layout.index(Role::Item)) else {
            unreachable!("a layout has a user and an item column")
        };
        let [value, time, behaviour] = [Role::Value, Role::Time, Role::Behaviour].map(|role| layout.index(role));
        let read = Role::ALL.map(|role| layout.index(role));
        let mut unread =
            time.is_none().then(|| Unread::new((0..fields).filter(|&column| !read.contains(&Some(column)))));
        while let Some(line) = records.line() {
            if records.len() == fields {
                if let Some(unread) = &mut unread {
                    unread.see(records.get(user), |column| records.get(column));
                }
                let field = |index: usize| Field { text: records.get(index), column: index as u64 + 1 };
                let [value, time, behaviour, offset] = [value, time, behaviour, offset].map(|index| index.map(field));
                rows.push(&Row { line, user: field(user), item: field(item), value, time, offset, behaviour })?;
            } else {
                let found = format!("{} fields, beginning {}", records.len(), show(records.get(0)));
                let expected = format!("{fields} fields, as in the first line (is the line cut?)");
                let column = Some(records.len().min(fields) as u64).filter(|&column| column > 0);
                rows.leave_out(at(records.path(), line)(column, found, expected))?;
            }
            records.next()?;
        }
        unread.and_then(Unread::warning).into_iter().for_each(|warning| rows.note(warning));
        records.note().into_iter().for_each(|note| rows.note(note));
        rows.end_file(records.ends_in_newline());
        Ok(())
    }
}
