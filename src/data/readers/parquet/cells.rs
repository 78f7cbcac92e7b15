//! A column of a Parquet file, a block of rows at a time, and what its logical type makes of its numbers.

use super::guard::{CheckedPages, Elements, guarded};
use crate::data::readers::role::Role;
use crate::data::readers::times::{Form, Instant};
use half::f16;
use parquet::basic::{ConvertedType, LogicalType, Repetition, TimeUnit, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::{ColumnDescriptor, SchemaDescriptor};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Signed,
    Unsigned,
    /// Digits after the point.
    Decimal(usize),
    Float,
    Boolean,
    Text,
    Uuid,
    /// Units in a second: dates have none.
    Date,
    Daytime(i64),
    Timestamp(i64),
}

impl Kind {
    /// None for a type that is not read.
    pub fn of(column: &ColumnDescriptor) -> Option<Kind> {
        use ConvertedType as Converted;
        use LogicalType as Logical;
        let physical = column.physical_type();
        let decimal = |scale: i32| usize::try_from(scale).ok().filter(|&scale| scale <= 38).map(Kind::Decimal);
        let kind = match (column.logical_type_ref(), column.converted_type()) {
            (Some(Logical::Integer(integer)), _) if integer.is_signed => Kind::Signed,
            (Some(Logical::Integer(_)), _) => Kind::Unsigned,
            (Some(Logical::Decimal(of)), _) => decimal(of.scale)?,
            (Some(Logical::Date), _) => Kind::Date,
            (Some(Logical::Time(time)), _) => Kind::Daytime(per_second(&time.unit)),
            (Some(Logical::Timestamp(time)), _) => Kind::Timestamp(per_second(&time.unit)),
            (Some(Logical::String | Logical::Enum | Logical::Json), _) => Kind::Text,
            (Some(Logical::Uuid), _) => Kind::Uuid,
            (Some(Logical::Float16), _) => Kind::Float,
            (Some(_), _) => return None,
            (None, Converted::UTF8 | Converted::ENUM | Converted::JSON) => Kind::Text,
            (None, Converted::DECIMAL) => decimal(column.type_scale())?,
            (None, Converted::DATE) => Kind::Date,
            (None, Converted::TIME_MILLIS) => Kind::Daytime(1000),
            (None, Converted::TIME_MICROS) => Kind::Daytime(1_000_000),
            (None, Converted::TIMESTAMP_MILLIS) => Kind::Timestamp(1000),
            (None, Converted::TIMESTAMP_MICROS) => Kind::Timestamp(1_000_000),
            (None, Converted::INT_8 | Converted::INT_16 | Converted::INT_32 | Converted::INT_64) => Kind::Signed,
            (None, Converted::UINT_8 | Converted::UINT_16 | Converted::UINT_32 | Converted::UINT_64) => Kind::Unsigned,
            (None, Converted::NONE) => match physical {
                Type::INT32 | Type::INT64 => Kind::Signed,
                Type::FLOAT | Type::DOUBLE => Kind::Float,
                Type::BOOLEAN => Kind::Boolean,
                Type::BYTE_ARRAY => Kind::Text,
                Type::INT96 => Kind::Timestamp(1_000_000_000),
                Type::FIXED_LEN_BYTE_ARRAY => return None,
            },
            (None, _) => return None,
        };
        let length = column.type_length();
        let stored = match kind {
            Kind::Signed | Kind::Unsigned | Kind::Daytime(_) => matches!(physical, Type::INT32 | Type::INT64),
            Kind::Timestamp(_) => matches!(physical, Type::INT64 | Type::INT96),
            Kind::Decimal(_) => match physical {
                Type::FIXED_LEN_BYTE_ARRAY => length > 0,
                other => matches!(other, Type::INT32 | Type::INT64 | Type::BYTE_ARRAY),
            },
            Kind::Float => match physical {
                Type::FIXED_LEN_BYTE_ARRAY => length == 2,
                other => matches!(other, Type::FLOAT | Type::DOUBLE),
            },
            Kind::Boolean => physical == Type::BOOLEAN,
            Kind::Text => physical == Type::BYTE_ARRAY,
            Kind::Uuid => physical == Type::FIXED_LEN_BYTE_ARRAY && length == 16,
            Kind::Date => physical == Type::INT32,
        };
        stored.then_some(kind)
    }
}

fn per_second(unit: &TimeUnit) -> i64 {
    match unit {
        TimeUnit::MILLIS => 1000,
        TimeUnit::MICROS => 1_000_000,
        TimeUnit::NANOS => 1_000_000_000,
    }
}

/// What a column is called: a list goes by the name of the whole field, a part of a record by its path.
pub fn name(schema: &SchemaDescriptor, leaf: usize) -> String {
    let column = schema.column(leaf);
    match is_list(schema, leaf) {
        true => column.path().parts()[0].clone(),
        false => column.path().string(),
    }
}

/// The type of a column, for people.
pub fn type_name(column: &ColumnDescriptor) -> String {
    let logical = column.logical_type_ref().map(|logical| format!(" ({logical:?})"));
    let converted = Some(column.converted_type()).filter(|&converted| converted != ConvertedType::NONE);
    let logical = logical.or_else(|| converted.map(|converted| format!(" ({converted})"))).unwrap_or_default();
    let repeated = if column.max_rep_level() > 0 { " within repeated fields" } else { "" };
    format!("{}{logical}{repeated}", column.physical_type())
}

/// Whether the column is a list of plain values: repeated, and the only one of its field.
fn is_list(schema: &SchemaDescriptor, leaf: usize) -> bool {
    let column = schema.column(leaf);
    let root = schema.get_column_root_idx(leaf);
    let alone = (0..schema.num_columns()).filter(|&other| schema.get_column_root_idx(other) == root).count() == 1;
    // field, or field.bag.element, or field.element as older writers have it
    column.max_rep_level() == 1 && column.path().parts().len() <= 3 && alone
}

/// A value of a cell.
pub enum Cell<'a> {
    Null,
    Text(&'a [u8]),
    Time(Instant),
    /// A value that cannot be what the column is read as: its text, and what was expected.
    Refused(&'a [u8], &'static str),
}

/// A block of cells of one column. One place decides for all formats what their text means; only times are more than text.
pub struct Cells {
    reader: ColumnReader,
    kind: Kind,
    role: Role,
    /// The definition level of a value.
    full: i16,
    /// The definition level of an element of a list, which may be null. None: a cell in each row.
    element: Option<i16>,
    definition: Vec<i16>,
    repetition: Vec<i16>,
    /// The value of each cell; none for null.
    cells: Vec<Option<u32>>,
    /// Where the elements of each row begin in `cells`, and where the last row's end.
    rows: Vec<usize>,
    values: Values,
}

/// Values of a block that are not null.
enum Values {
    Strings(Vec<ByteArray>),
    Times(Vec<Instant>),
    /// Texts, one after the other, where each ends, and what is expected where one is refused.
    Texts(Vec<u8>, Vec<(usize, Option<&'static str>)>),
}

impl Cells {
    /// A column that is read as `role`. None for one of a type or nesting that is not read.
    pub fn new(
        file: &Arc<File>,
        (schema, leaf): (&SchemaDescriptor, usize),
        chunk: &ColumnChunkMetaData,
        role: Role,
        elements: &Elements,
    ) -> Result<Option<Cells>> {
        let column = schema.column(leaf);
        let (Some(kind), true) = (Kind::of(&column), column.max_rep_level() == 0 || is_list(schema, leaf)) else {
            return Ok(None);
        };
        let full = column.max_def_level();
        let optional = column.self_type().get_basic_info().repetition() == Repetition::OPTIONAL;
        let element = (column.max_rep_level() > 0).then_some(full - optional as i16);
        let times = matches!(kind, Kind::Date | Kind::Daytime(_) | Kind::Timestamp(_)) && role == Role::Time;
        let values = match kind {
            Kind::Text => Values::Strings(vec![]),
            _ if times => Values::Times(vec![]),
            _ => Values::Texts(vec![], vec![]),
        };
        let pages = guarded(|| CheckedPages::new(file, chunk, elements.clone()))?;
        Ok(Some(Cells {
            reader: get_column_reader(column, Box::new(pages)),
            kind,
            role,
            full,
            element,
            definition: vec![],
            repetition: vec![],
            cells: vec![],
            rows: vec![],
            values,
        }))
    }

    /// Number of elements in a row of the block; None where each row has one cell.
    pub fn elements(&self, row: usize) -> Option<usize> {
        self.element.map(|_| self.rows[row + 1] - self.rows[row])
    }

    /// The cell in a row of the block, or the element of the list that is there.
    pub fn get(&self, row: usize, element: usize) -> Cell<'_> {
        let cell = if self.element.is_some() { self.rows[row] + element } else { row };
        let Some(at) = self.cells[cell] else { return Cell::Null };
        let at = at as usize;
        match &self.values {
            Values::Strings(strings) => Cell::Text(strings[at].data()),
            Values::Times(times) => Cell::Time(times[at]),
            Values::Texts(bytes, ends) => {
                let start = if at == 0 { 0 } else { ends[at - 1].0 };
                let (end, refused) = ends[at];
                match refused {
                    None => Cell::Text(&bytes[start..end]),
                    Some(expected) => Cell::Refused(&bytes[start..end], expected),
                }
            }
        }
    }

    /// Decodes the next `rows` rows.
    ///
    /// # Errors
    /// Whatever is wrong with the file; fewer rows.
    pub fn fill(&mut self, rows: usize) -> Result<()> {
        let mut values = std::mem::replace(&mut self.values, Values::Times(vec![]));
        values.clear();
        let read = self.decode(rows, &mut values)?;
        self.values = values;
        let mut numbers = 0..read as u32;
        let mut value = |level: i16| if level == self.full { numbers.next() } else { None };
        self.cells.clear();
        self.rows.clear();
        let complete = match self.element {
            None => {
                match self.full {
                    0 => self.cells.extend((0..rows).map(|_| value(0))),
                    _ => self.cells.extend(self.definition.iter().map(|&level| value(level))),
                }
                self.cells.len() == rows
            }
            Some(element) => {
                for (&definition, &repetition) in self.definition.iter().zip(&self.repetition) {
                    if repetition == 0 {
                        self.rows.push(self.cells.len());
                    }
                    if definition >= element {
                        self.cells.push(value(definition));
                    }
                }
                self.rows.push(self.cells.len());
                self.rows.len() == rows + 1
            }
        };
        match complete && numbers.is_empty() {
            true => Ok(()),
            false => Err(ParquetError::General("values that do not fit their rows".to_string())),
        }
    }

    /// Reads levels and values of `rows` rows; returns the number of values.
    fn decode(&mut self, rows: usize, values: &mut Values) -> Result<usize> {
        let Cells { reader, kind, role, definition, repetition, .. } = self;
        let (kind, role, levels) = (*kind, *role, (definition, repetition));
        match reader {
            ColumnReader::BoolColumnReader(reader) => read(reader, rows, levels, |v| {
                let [no, yes] = if role == Role::Value { ["0", "1"] } else { ["false", "true"] };
                values.text(format_args!("{}", if v { yes } else { no }), None)
            }),
            ColumnReader::Int32ColumnReader(reader) => {
                read(reader, rows, levels, |v| values.integer(kind, v as i64, v as u32 as u64))
            }
            ColumnReader::Int64ColumnReader(reader) => {
                read(reader, rows, levels, |v| values.integer(kind, v, v as u64))
            }
            ColumnReader::Int96ColumnReader(reader) => read(reader, rows, levels, |v| {
                // Nanoseconds of the day, and the day of the Julian calendar.
                let [low, high, day] = v.data() else { unreachable!("three words") };
                let nanoseconds = *low as u64 | (*high as u64) << 32;
                let seconds = (*day as i64 - JULIAN_EPOCH) * DAY + (nanoseconds / BILLION as u64) as i64;
                values.time(Instant {
                    form: Form::Timestamp,
                    seconds,
                    nanoseconds: (nanoseconds % BILLION as u64) as u32,
                })
            }),
            ColumnReader::FloatColumnReader(reader) => {
                read(reader, rows, levels, |v| values.float(role, v + 0.0, v as f64, f32::MANTISSA_DIGITS))
            }
            ColumnReader::DoubleColumnReader(reader) => {
                read(reader, rows, levels, |v| values.float(role, v + 0.0, v, f64::MANTISSA_DIGITS))
            }
            ColumnReader::ByteArrayColumnReader(reader) => read(reader, rows, levels, |v| match (kind, &mut *values) {
                (Kind::Decimal(scale), values) => values.wide_decimal(v.data(), scale),
                (_, Values::Strings(strings)) => strings.push(v),
                _ => unreachable!("strings are kept as such"),
            }),
            ColumnReader::FixedLenByteArrayColumnReader(reader) => read(reader, rows, levels, |v| match kind {
                Kind::Decimal(scale) => values.wide_decimal(v.data(), scale),
                Kind::Uuid => {
                    let hex = |range| hex(&v.data()[range]);
                    let [a, b, c, d, e] = [0..4, 4..6, 6..8, 8..10, 10..16].map(hex);
                    values.text(format_args!("{a}-{b}-{c}-{d}-{e}"), None)
                }
                _ => {
                    let v = f16::from_le_bytes([v.data()[0], v.data()[1]]).to_f32();
                    values.float(role, v + 0.0, v as f64, f16::MANTISSA_DIGITS)
                }
            }),
        }
    }
}

const BILLION: i64 = 1_000_000_000;
/// Seconds in a day.
const DAY: i64 = 86_400;
/// The Julian day of 1 January 1970.
const JULIAN_EPOCH: i64 = 2_440_588;

fn read<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    rows: usize,
    (definition, repetition): (&mut Vec<i16>, &mut Vec<i16>),
    take: impl FnMut(T::T),
) -> Result<usize> {
    definition.clear();
    repetition.clear();
    let mut values = Vec::with_capacity(rows);
    let (got, ..) = guarded(|| reader.read_records(rows, Some(definition), Some(repetition), &mut values))?;
    if got != rows {
        return Err(ParquetError::EOF(format!("{got} of {rows} rows")));
    }
    let read = values.len();
    values.into_iter().for_each(take);
    Ok(read)
}

impl Values {
    fn clear(&mut self) {
        match self {
            Values::Strings(strings) => strings.clear(),
            Values::Times(times) => times.clear(),
            Values::Texts(bytes, ends) => {
                bytes.clear();
                ends.clear();
            }
        }
    }

    fn text(&mut self, text: std::fmt::Arguments, refused: Option<&'static str>) {
        let Values::Texts(bytes, ends) = self else { unreachable!("times and strings are kept as such") };
        bytes.write_fmt(text).expect("a Vec takes all");
        ends.push((bytes.len(), refused));
    }

    fn integer(&mut self, kind: Kind, signed: i64, unsigned: u64) {
        let instant = |form, per_second: i64| {
            let nanoseconds = (signed.rem_euclid(per_second) * (BILLION / per_second)) as u32;
            Instant { form, seconds: signed.div_euclid(per_second), nanoseconds }
        };
        match kind {
            Kind::Date => self.time(Instant { form: Form::Date, seconds: signed * DAY, nanoseconds: 0 }),
            Kind::Daytime(per_second) => self.time(instant(Form::Daytime, per_second)),
            Kind::Timestamp(per_second) => self.time(instant(Form::Timestamp, per_second)),
            Kind::Decimal(scale) => self.decimal(signed as i128, scale),
            Kind::Unsigned => self.text(format_args!("{unsigned}"), None),
            _ => self.text(format_args!("{signed}"), None),
        }
    }

    fn time(&mut self, time: Instant) {
        match self {
            Values::Times(times) => times.push(time),
            values => values.text(format_args!("{time}"), None),
        }
    }

    /// A float of `digits` binary digits. Ids that it may have rounded are refused: different ones would be one.
    fn float(&mut self, role: Role, shown: impl std::fmt::Display, value: f64, digits: u32) {
        let rounded = matches!(role, Role::User | Role::Item) && value.abs() >= 2f64.powi(digits as i32);
        let refused = rounded.then_some("ids that a float holds exactly (store them as integers or strings)");
        self.text(format_args!("{shown}"), refused);
    }

    fn decimal(&mut self, unscaled: i128, scale: usize) {
        let sign = if unscaled < 0 { "-" } else { "" };
        let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let point = if scale > 0 { "." } else { "" };
        self.text(format_args!("{sign}{whole}{point}{fraction}"), None);
    }

    /// A decimal in two's complement, the highest byte first.
    fn wide_decimal(&mut self, bytes: &[u8], scale: usize) {
        let sign = if bytes.first().is_some_and(|&byte| byte >= 0x80) { 0xff } else { 0 };
        let (high, low) = bytes.split_at(bytes.len().saturating_sub(16));
        if high.iter().any(|&byte| byte != sign) || !high.is_empty() && (low[0] ^ sign) >= 0x80 || bytes.is_empty() {
            self.text(format_args!("{}", hex(bytes)), Some("a decimal of at most 38 digits"));
            return;
        }
        let mut number = [sign; 16];
        number[16 - low.len()..].copy_from_slice(low);
        self.decimal(i128::from_be_bytes(number), scale);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(40).map(|byte| format!("{byte:02x}")).collect()
}
