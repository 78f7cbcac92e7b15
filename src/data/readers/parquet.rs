//! Parquet files of plain columns: integers, floats and strings, required or optional without nulls.

use super::builder::{Builder, Field, Row};
use super::text::{Packing, broken, open, unpack};
use super::{Columns, Layout, Role};
use crate::error::{Error, Result};
use parquet::basic::{LogicalType, TimeUnit, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::ColumnDescriptor;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Rows decoded at once.
const BLOCK: usize = 4096;

pub(crate) fn read(path: &Path, columns: &Columns, rows: &mut Builder) -> Result<()> {
    let wrong = |e: ParquetError| Error::Input {
        path: path.to_path_buf(),
        line: None,
        column: None,
        found: format!("what is no whole Parquet file ({e})"),
        expected: "a Parquet file".to_string(),
    };
    let file = SerializedFileReader::new(seekable(path)?).map_err(wrong)?;
    let schema = file.metadata().file_metadata().schema_descr_ptr();
    let header: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
    let nowhere =
        |_, found, expected| Error::Input { path: path.to_path_buf(), line: None, column: None, found, expected };
    let layout = Layout::of(&header, columns, &[], rows, nowhere)?;
    rows.note(layout.describe(&header));

    let mut line = 0;
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group).map_err(wrong)?;
        let mut cells: Vec<(Role, Cells)> = vec![];
        for role in Role::ALL {
            if let Some(index) = layout.index(role) {
                let cell = Cells::new(&*group, index, schema.column(index).as_ref()).map_err(wrong)?;
                cells.push((
                    role,
                    cell.ok_or_else(|| {
                        let found =
                            format!("the column {:?} of type {}", header[index], schema.column(index).physical_type());
                        nowhere(
                            None,
                            found,
                            format!("a plain column of integers, floats or strings as {}", role.name()),
                        )
                    })?,
                ));
            }
        }
        let mut left = group.metadata().num_rows() as usize;
        while left > 0 {
            let block = left.min(BLOCK);
            for (_, cells) in &mut cells {
                let got = cells.fill(block).map_err(wrong)?;
                if got != block {
                    return Err(wrong(ParquetError::EOF(format!("{got} of {block} rows"))));
                }
            }
            for row in 0..block {
                line += 1;
                let cell = |role| cells.iter().find(|(r, _)| *r == role).map(|(_, cells)| cells);
                let field = |role| {
                    let cells = cell(role)?;
                    Some(Field { text: cells.get(row).unwrap_or(b"null"), column: cells.index as u64 + 1 })
                };
                let (Some(user), Some(item)) = (field(Role::User), field(Role::Item)) else {
                    unreachable!("a layout has a user and an item column")
                };
                let (value, time, behaviour) = (field(Role::Value), field(Role::Time), field(Role::Behaviour));
                rows.push(&Row { line, user, item, value, time, offset: None, behaviour })?;
            }
            left -= block;
        }
    }
    rows.end_file(true);
    Ok(())
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

/// A block of cells of one column, as text: what a number means is judged in one place for all formats.
struct Cells {
    reader: ColumnReader,
    index: usize,
    /// The definition level of a cell that is not null.
    full: i16,
    /// Units of a timestamp column in a millisecond.
    per_millisecond: Option<i64>,
    levels: Vec<i16>,
    bytes: Vec<u8>,
    /// Where each cell of the block ends in `bytes`; none for a null.
    ends: Vec<Option<usize>>,
}

impl Cells {
    /// None for a column that is no plain one.
    fn new(group: &dyn RowGroupReader, index: usize, column: &ColumnDescriptor) -> Result<Option<Cells>, ParquetError> {
        let plain =
            matches!(column.physical_type(), Type::INT32 | Type::INT64 | Type::FLOAT | Type::DOUBLE | Type::BYTE_ARRAY);
        if !plain || column.max_rep_level() > 0 {
            return Ok(None);
        }
        let per_millisecond = match column.logical_type_ref() {
            Some(LogicalType::Timestamp(timestamp)) => Some(match timestamp.unit {
                TimeUnit::MILLIS => 1,
                TimeUnit::MICROS => 1000,
                TimeUnit::NANOS => 1_000_000,
            }),
            _ => None,
        };
        Ok(Some(Cells {
            reader: group.get_column_reader(index)?,
            index,
            full: column.max_def_level(),
            per_millisecond,
            levels: vec![],
            bytes: vec![],
            ends: vec![],
        }))
    }

    /// Cell `row` of the block; none for null.
    fn get(&self, row: usize) -> Option<&[u8]> {
        let end = self.ends[row]?;
        let start = self.ends[..row].iter().rev().find_map(|end| *end).unwrap_or(0);
        Some(&self.bytes[start..end])
    }

    /// Decodes the next `block` cells; returns how many there were.
    fn fill(&mut self, block: usize) -> Result<usize, ParquetError> {
        self.bytes.clear();
        self.ends.clear();
        self.levels.clear();
        let Cells { reader, full, per_millisecond, levels, bytes, ends, .. } = self;
        let mut cells = Block { count: block, full: *full, levels, bytes, ends };
        match reader {
            ColumnReader::Int32ColumnReader(r) => cells.decode::<Int32Type>(r, |v, out| write!(out, "{v}")),
            ColumnReader::Int64ColumnReader(r) => cells.decode::<Int64Type>(r, |v, out| {
                write!(out, "{}", per_millisecond.map_or(*v, |units| v.div_euclid(units)))
            }),
            ColumnReader::FloatColumnReader(r) => cells.decode::<FloatType>(r, |v, out| write!(out, "{v}")),
            ColumnReader::DoubleColumnReader(r) => cells.decode::<DoubleType>(r, |v, out| write!(out, "{v}")),
            ColumnReader::ByteArrayColumnReader(r) => {
                cells.decode::<ByteArrayType>(r, |v, out| out.write_all(v.data()))
            }
            _ => unreachable!("other types were refused"),
        }
    }
}

struct Block<'a> {
    count: usize,
    full: i16,
    levels: &'a mut Vec<i16>,
    bytes: &'a mut Vec<u8>,
    ends: &'a mut Vec<Option<usize>>,
}

impl Block<'_> {
    fn decode<T: DataType>(
        &mut self,
        reader: &mut ColumnReaderImpl<T>,
        write: impl Fn(&T::T, &mut Vec<u8>) -> std::io::Result<()>,
    ) -> Result<usize, ParquetError> {
        let mut values: Vec<T::T> = Vec::with_capacity(self.count);
        let (records, _, _) = reader.read_records(self.count, Some(self.levels), None, &mut values)?;
        let mut values = values.iter();
        for row in 0..records {
            let null = self.full > 0 && self.levels.get(row) != Some(&self.full);
            let end = match if null { None } else { values.next() } {
                Some(value) => {
                    write(value, self.bytes)?;
                    Some(self.bytes.len())
                }
                None => None,
            };
            self.ends.push(end);
        }
        Ok(records)
    }
}
