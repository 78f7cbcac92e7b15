//! Parquet files: plain columns of all logical types, and lists, one row a user.

mod cells;
mod guard;
pub(crate) mod rows;
mod thrift;

use super::builder::{Builder, Field, Row};
use super::columns::{Columns, Layout};
use super::parts::Key;
use super::role::{Role, mean_the_same};
use super::text::{Packing, at, broken, open, unpack};
use crate::error::{Error, Result};
use cells::{Cell, Cells};
use guard::{DELTA_BLOCK, Elements};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::RowGroupMetaData;
use parquet::schema::types::SchemaDescriptor;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Rows decoded at once, and rows of lists.
const BLOCK: usize = 4096;
const LIST_BLOCK: usize = 16;

/// Reads a file, and `keys` in the names of its folders (`rating=5/part-0.parquet`) as columns after its own. One that means the
/// same as a column of the file's own is not read, unless it is named.
pub(crate) fn read(path: &Path, keys: &[Key], columns: &Columns, rows: &mut Builder) -> Result<()> {
    let file = Arc::new(seekable(path)?);
    let metadata = guard::metadata(&file).map_err(|e| damaged(path, e))?;
    let schema = metadata.file_metadata().schema_descr();
    let mut header: Vec<String> = (0..schema.num_columns()).map(|leaf| cells::name(schema, leaf)).collect();
    let goes_before =
        |own: &String, key: &str| own == key || mean_the_same(own, key) && columns.named().all(|n| n != key);
    let keys: Vec<Key> =
        keys.iter().filter(|(key, _)| !header.iter().any(|own| goes_before(own, key))).cloned().collect();
    header.extend(keys.iter().map(|(name, _)| name.clone()));
    let nowhere =
        |_, found, expected| Error::Input { path: path.to_path_buf(), line: None, column: None, found, expected };
    let layout = Layout::of(&header, columns, &[], rows, nowhere)?;
    rows.note_columns(layout.describe(&header));
    let table = Table { path, file, schema, header, keys, layout };
    let mut line = 0;
    for group in metadata.row_groups() {
        table.read(group, &mut line, rows)?;
    }
    rows.end_file(true);
    Ok(())
}

fn damaged(path: &Path, e: ParquetError) -> Error {
    let problem = match e {
        ParquetError::General(problem) | ParquetError::EOF(problem) => problem,
        other => other.to_string(),
    };
    Error::Input {
        path: path.to_path_buf(),
        line: None,
        column: None,
        found: format!("what is no whole Parquet file ({problem})"),
        expected: "a Parquet file".to_string(),
    }
}

/// The file itself, or its unpacked bytes in a temporary file without a name: Parquet is read from its end.
fn seekable(path: &Path) -> Result<File> {
    let mut unpacked = unpack(path)?;
    if unpacked.packing == Packing::Plain {
        return open(path);
    }
    let packing = unpacked.packing;
    let mut file = tempfile::tempfile().map_err(Error::io(std::env::temp_dir(), "write to"))?;
    std::io::copy(&mut unpacked, &mut file).map_err(|e| broken(path, packing, e))?;
    Ok(file)
}

/// A file whose columns are known.
struct Table<'a> {
    path: &'a Path,
    file: Arc<File>,
    schema: &'a SchemaDescriptor,
    header: Vec<String>,
    /// Columns after those of the file, of one value each.
    keys: Vec<Key>,
    layout: Layout,
}

/// What the cells of a column come from.
enum Column<'a> {
    File(Box<Cells>),
    Key(Option<&'a str>),
}

impl Table<'_> {
    /// Reads a row group; `line` counts the rows of the file.
    fn read(&self, group: &RowGroupMetaData, line: &mut u64, rows: &mut Builder) -> Result<()> {
        let elements = Elements::default();
        let mut columns: [Option<Column>; 5] = Default::default();
        let mut block = BLOCK;
        for role in Role::ALL {
            if let Some(index) = self.layout.index(role) {
                let (column, most) = self.column(group, role, index, &elements)?;
                columns[role as usize] = Some(column);
                block = block.min(most);
            }
        }
        let mut left = group.num_rows() as usize;
        while left > 0 {
            let block = left.min(block);
            elements.reset();
            for column in columns.iter_mut().flatten() {
                if let Column::File(cells) = column {
                    cells.fill(block).map_err(|e| damaged(self.path, e))?;
                }
            }
            for row in 0..block {
                *line += 1;
                self.push(&columns, row, *line, rows)?;
            }
            left -= block;
        }
        Ok(())
    }

    /// A column as `role`, and how many rows of it may be decoded at once.
    fn column(
        &self,
        group: &RowGroupMetaData,
        role: Role,
        index: usize,
        elements: &Elements,
    ) -> Result<(Column<'_>, usize)> {
        let Some(chunk) = group.columns().get(index) else {
            return Ok((Column::Key(self.keys[index - group.columns().len()].1.as_deref()), BLOCK));
        };
        let wrong =
            |found, expected| Error::Input { path: self.path.to_path_buf(), line: None, column: None, found, expected };
        let name = &self.header[index];
        if let Compression::LZO = chunk.compression() {
            let expected = "no compression, Snappy, gzip, Brotli, LZ4 or Zstandard".to_string();
            return Err(wrong(format!("the column {name:?} compressed by LZO"), expected));
        }
        let cells = Cells::new(&self.file, (self.schema, index), chunk, role, elements);
        let Some(cells) = cells.map_err(|e| damaged(self.path, e))? else {
            let found = format!("the column {name:?} of type {}", cells::type_name(&self.schema.column(index)));
            let expected = format!("{}s that are numbers, texts, dates or times, or lists of them", role.name());
            return Err(wrong(found, expected));
        };
        let block = match (chunk.column_descr().max_rep_level(), guard::declares_delta(chunk)) {
            (1.., _) => LIST_BLOCK,
            (_, true) => DELTA_BLOCK,
            _ => BLOCK,
        };
        Ok((Column::File(Box::new(cells)), block))
    }

    /// Adds a row of the block, or where it has lists a row for each of their elements.
    fn push(&self, columns: &[Option<Column>; 5], row: usize, line: u64, rows: &mut Builder) -> Result<()> {
        let mut lists = Role::ALL.into_iter().filter_map(|role| match &columns[role as usize] {
            Some(Column::File(cells)) => Some((self.layout.index(role)?, cells.elements(row)?)),
            _ => None,
        });
        let (first, elements) = lists.next().unwrap_or((0, 1));
        if let Some((other, len)) = lists.find(|&(_, len)| len != elements) {
            let found =
                format!("{elements} elements of {:?} and {len} of {:?}", self.header[first], self.header[other]);
            let expected = "lists of one length in a row".to_string();
            return rows.leave_out(at(self.path, line)(Some(other as u64 + 1), found, expected));
        }
        (0..elements).try_for_each(|element| self.push_element(columns, (row, element), line, rows))
    }

    fn push_element(
        &self,
        columns: &[Option<Column>; 5],
        (row, element): (usize, usize),
        line: u64,
        rows: &mut Builder,
    ) -> Result<()> {
        let mut time = None;
        let mut refused = None;
        let mut field = |role: Role| {
            let column = self.layout.index(role)? as u64 + 1;
            let cell = match columns[role as usize].as_ref()? {
                Column::File(cells) => cells.get(row, element),
                Column::Key(key) => key.map_or(Cell::Null, |key| Cell::Text(key.as_bytes())),
            };
            let text = match cell {
                Cell::Text(text) => text,
                // The marker of what is missing; a behaviour could be called so.
                Cell::Null if role == Role::Behaviour => b"",
                Cell::Null => b"null",
                Cell::Time(instant) => {
                    time = Some(Field { text: b"", column }).zip(Some(instant));
                    return None;
                }
                Cell::Refused(text, expected) => {
                    refused = Some((Field { text, column }, expected));
                    text
                }
            };
            Some(Field { text, column })
        };
        let [user, item, value, time_text, behaviour] = Role::ALL.map(&mut field);
        let (Some(user), Some(item)) = (user, item) else { unreachable!("a layout has a user and an item column") };
        if let Some((field, expected)) = refused {
            let error = rows.bad(line, field, expected);
            return rows.leave_out(error);
        }
        let row = Row { line, user, item, value, time: time_text, offset: None, behaviour };
        match time {
            Some((_, instant)) => rows.push_at(&row, instant),
            None => rows.push(&row),
        }
    }
}

#[cfg(test)]
mod tests;
