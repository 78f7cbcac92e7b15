//! Data frames as Parquet files, batch by batch: what is held in memory is one row group.

use crate::arrow::{Batch, Field, Kind, Stream, Value};
use parquet::basic::{Compression, ConvertedType, LogicalType, Repetition, TimeUnit, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use wgrec::data::Columns;
use wgrec::files::replace;
use wgrec::train::Stop;
use wgrec::{Error, Result};

/// Rows of a row group, at the least.
const GROUP: usize = 1 << 20;
/// Rows that are converted at once.
const PIECE: usize = 1 << 16;

/// A data frame, and which of its columns are read.
pub struct Frame {
    stream: Stream,
    /// Those that are read, and their numbers in the frame.
    columns: Vec<(usize, Column)>,
}

struct Column {
    name: String,
    kind: Kind,
    /// Values of a piece; of none but those that are there.
    values: Values,
    /// 1 for each value of a piece that is there, 0 for null.
    levels: Vec<i16>,
}

enum Values {
    Bools(Vec<bool>),
    Days(Vec<i32>),
    Integers(Vec<i64>),
    Singles(Vec<f32>),
    Doubles(Vec<f64>),
    Bytes(Vec<ByteArray>),
}

impl Frame {
    /// Takes the columns of `stream` that can be read: those that `columns` names, all of them if `strict`, and those that have usual
    /// names.
    ///
    /// # Errors
    /// A stream that fails; a column that is missing or has a type that is not read.
    pub fn new(mut stream: Stream, columns: &Columns, strict: bool) -> Result<Frame> {
        let fields = stream.fields()?;
        let named = |name: &str| fields.iter().any(|field| field.name == name);
        if let Some(missing) = columns.named().find(|wanted| strict && !named(wanted)) {
            let there: Vec<&str> = fields.iter().map(|field| field.name.as_str()).take(30).collect();
            return Err(Error::Usage(format!("data: found the columns {there:?}; expected a column {missing:?}")));
        }
        let read = fields.into_iter().enumerate().filter(|(_, field)| columns.may_read(&field.name));
        let columns = read.map(|(at, Field { name, kind })| match kind {
            Ok(kind) => Ok((at, Column { values: Values::of(&kind), name, kind, levels: vec![] })),
            Err(format) => Err(Error::Usage(format!(
                "data: the column {name:?} has Arrow's format {format:?}; expected integers, floats, strings, timestamps, dates \
                 or categories of them"
            ))),
        });
        Ok(Frame { stream, columns: columns.collect::<Result<_>>()? })
    }

    /// The names of the columns in the file.
    pub fn header(&self) -> Vec<String> {
        self.columns.iter().map(|(_, column)| column.name.clone()).collect()
    }

    /// Writes a Parquet file of these columns, in a folder that is made for it.
    ///
    /// # Errors
    /// A stream that fails; a file that cannot be written; [`Error::Stopped`] where `stop` is requested.
    pub fn write(mut self, path: &Path, stop: &Stop) -> Result<()> {
        let folder = path.parent().expect("a file is in a folder");
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        // An error that is not of the file is kept until the file is given up.
        let mut failed = None;
        let done = replace(path, |out| {
            self.write_to(out, stop).map_err(|e| {
                let about = io::Error::other(e.to_string());
                failed = Some(e);
                about
            })
        });
        match failed {
            Some(e) => Err(e),
            None => done,
        }
    }

    fn write_to(&mut self, out: impl Write + Send, stop: &Stop) -> Result<()> {
        let fields = self.columns.iter().map(|(_, column)| column.of_parquet().map(Arc::new));
        let fields = fields.collect::<Result<Vec<_>, _>>().map_err(broken)?;
        let schema = Type::group_type_builder("interactions").with_fields(fields).build().map_err(broken)?;
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let mut out = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties)).map_err(broken)?;
        let (mut waiting, mut rows) = (vec![], 0);
        while let Some(batch) = self.stream.next()? {
            rows += batch.rows();
            waiting.push(batch);
            if rows >= GROUP {
                self.write_groups(&mut out, &waiting, stop)?;
                (waiting, rows) = (vec![], 0);
            }
        }
        self.write_groups(&mut out, &waiting, stop)?;
        out.close().map(drop).map_err(broken)
    }

    /// Writes `batches`, in one row group or, where these are large, in several.
    fn write_groups<W: Write + Send>(
        &mut self,
        out: &mut SerializedFileWriter<W>,
        batches: &[Batch],
        stop: &Stop,
    ) -> Result<()> {
        let pieces = |batch| pieces_of(batch).into_iter().map(move |rows| (batch, rows));
        let pieces: Vec<(&Batch, Range<usize>)> = batches.iter().flat_map(pieces).collect();
        let mut rest = &pieces[..];
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = |(_, piece): &&(&Batch, Range<usize>)| {
                let fits = rows < GROUP;
                rows += piece.len();
                fits
            };
            let (group, later) = rest.split_at(rest.iter().take_while(fits).count());
            rest = later;
            let mut writer = out.next_row_group().map_err(broken)?;
            for (at, column) in &mut self.columns {
                let mut cells = writer.next_column().map_err(broken)?.expect("the schema has the column");
                for (batch, rows) in group {
                    if stop.requested() {
                        let problem = "stopped while the data frame was read: nothing of the training is kept";
                        return Err(Error::Stopped(problem.to_string()));
                    }
                    column.fill(batch, *at, rows.clone())?;
                    column.write(cells.untyped()).map_err(broken)?;
                }
                cells.close().map_err(broken)?;
            }
            writer.close().map_err(broken)?;
        }
        Ok(())
    }
}

fn pieces_of(batch: &Batch) -> Vec<Range<usize>> {
    let rows = batch.rows();
    (0..rows).step_by(PIECE).map(|first| first..rows.min(first + PIECE)).collect()
}

fn broken(e: ParquetError) -> Error {
    Error::Failed(format!("data: the frame cannot be written to a file: {e}"))
}

impl Values {
    fn of(kind: &Kind) -> Values {
        match kind {
            Kind::Bool => Values::Bools(vec![]),
            Kind::Date | Kind::DateMillis => Values::Days(vec![]),
            Kind::Signed(_) | Kind::Unsigned(_) | Kind::Timestamp(..) => Values::Integers(vec![]),
            Kind::Float(4) => Values::Singles(vec![]),
            Kind::Float(_) => Values::Doubles(vec![]),
            Kind::Null | Kind::Text(_) | Kind::TextView | Kind::Decimal { .. } => Values::Bytes(vec![]),
            Kind::Dictionary(_, values) => Values::of(values),
        }
    }

    fn clear(&mut self) {
        match self {
            Values::Bools(values) => values.clear(),
            Values::Days(values) => values.clear(),
            Values::Integers(values) => values.clear(),
            Values::Singles(values) => values.clear(),
            Values::Doubles(values) => values.clear(),
            Values::Bytes(values) => values.clear(),
        }
    }
}

impl Column {
    /// The column of the file: its type says what the reader makes of its values.
    fn of_parquet(&self) -> Result<Type, ParquetError> {
        let plain = match &self.kind {
            Kind::Dictionary(_, values) => values,
            kind => kind,
        };
        let physical = match &self.values {
            Values::Bools(_) => Physical::BOOLEAN,
            Values::Days(_) => Physical::INT32,
            Values::Integers(_) => Physical::INT64,
            Values::Singles(_) => Physical::FLOAT,
            Values::Doubles(_) => Physical::DOUBLE,
            Values::Bytes(_) => Physical::BYTE_ARRAY,
        };
        let column = Type::primitive_type_builder(&self.name, physical).with_repetition(Repetition::OPTIONAL);
        match plain {
            Kind::Unsigned(8) => column.with_logical_type(Some(LogicalType::integer(64, false))),
            Kind::Text(_) | Kind::TextView | Kind::Null => column.with_logical_type(Some(LogicalType::String)),
            Kind::Date | Kind::DateMillis => column.with_logical_type(Some(LogicalType::Date)),
            Kind::Decimal { precision, scale } => column
                .with_logical_type(Some(LogicalType::decimal(*scale, *precision)))
                .with_precision(*precision)
                .with_scale(*scale),
            Kind::Timestamp(unit, zone) => {
                let unit = match unit {
                    b's' | b'm' => TimeUnit::MILLIS,
                    b'u' => TimeUnit::MICROS,
                    _ => TimeUnit::NANOS,
                };
                column.with_logical_type(Some(LogicalType::timestamp(*zone, unit)))
            }
            _ => column,
        }
        .build()
    }

    /// Converts `rows` of column `at` of the batch.
    ///
    /// # Errors
    /// A time that is out of range.
    fn fill(&mut self, batch: &Batch, at: usize, rows: Range<usize>) -> Result<()> {
        let Column { name, kind, values, levels } = self;
        let plain = match &*kind {
            Kind::Dictionary(_, values) => values,
            kind => kind,
        };
        let cells = batch.column(at);
        values.clear();
        levels.clear();
        for row in rows {
            // SAFETY: the row is one of the batch's, and the kind that of the column in the stream's schema.
            let value = unsafe { cells.get(kind, row) };
            levels.push((value != Value::Null) as i16);
            match (&mut *values, value) {
                (_, Value::Null) => {}
                (Values::Bools(values), Value::Bool(value)) => values.push(value),
                (Values::Days(values), Value::Integer(days)) => {
                    let days = if *plain == Kind::DateMillis { days.div_euclid(86_400_000) } else { days };
                    values.push(days as i32);
                }
                (Values::Integers(values), Value::Integer(value)) => {
                    let factor = if matches!(plain, Kind::Timestamp(b's', _)) { 1000 } else { 1 };
                    values.push(value.checked_mul(factor).ok_or_else(|| {
                        let expected = "a time that milliseconds since 1970 can say";
                        Error::Usage(format!("data: the column {name:?}: found {value} s; expected {expected}"))
                    })?);
                }
                // Its type says that the bits are those of an unsigned number.
                (Values::Integers(values), Value::Unsigned(value)) => values.push(value as i64),
                (Values::Singles(values), Value::Single(value)) => values.push(value),
                (Values::Doubles(values), Value::Double(value)) => values.push(value),
                (Values::Bytes(values), Value::Text(text)) => values.push(ByteArray::from(text.to_vec())),
                (Values::Bytes(values), Value::Decimal(value)) => {
                    values.push(ByteArray::from(value.to_be_bytes().to_vec()))
                }
                _ => unreachable!("the values are of the column's kind"),
            }
        }
        Ok(())
    }

    fn write(&self, out: &mut ColumnWriter) -> Result<(), ParquetError> {
        let levels = Some(&self.levels[..]);
        match (out, &self.values) {
            (ColumnWriter::BoolColumnWriter(out), Values::Bools(values)) => out.write_batch(values, levels, None),
            (ColumnWriter::Int32ColumnWriter(out), Values::Days(values)) => out.write_batch(values, levels, None),
            (ColumnWriter::Int64ColumnWriter(out), Values::Integers(values)) => out.write_batch(values, levels, None),
            (ColumnWriter::FloatColumnWriter(out), Values::Singles(values)) => out.write_batch(values, levels, None),
            (ColumnWriter::DoubleColumnWriter(out), Values::Doubles(values)) => out.write_batch(values, levels, None),
            (ColumnWriter::ByteArrayColumnWriter(out), Values::Bytes(values)) => out.write_batch(values, levels, None),
            _ => unreachable!("the column has the type that its values are written as"),
        }
        .map(drop)
    }
}

/// Writes a Parquet file of two columns of texts, users and items.
pub fn write_pairs(path: &Path, users: &[String], items: &[String]) -> Result<()> {
    let column = |name: &str, ids: &[String]| Column {
        name: name.to_string(),
        kind: Kind::Text(4),
        values: Values::Bytes(ids.iter().map(|id| ByteArray::from(id.as_bytes().to_vec())).collect()),
        levels: vec![1; ids.len()],
    };
    let columns = [column("user", users), column("item", items)];
    let write = || -> Result<(), ParquetError> {
        let fields = columns.iter().map(|column| column.of_parquet().map(Arc::new)).collect::<Result<_, _>>()?;
        let schema = Arc::new(Type::group_type_builder("histories").with_fields(fields).build()?);
        let mut out = SerializedFileWriter::new(File::create(path)?, schema, Arc::default())?;
        let mut group = out.next_row_group()?;
        for column in &columns {
            let mut cells = group.next_column()?.expect("the schema has the column");
            column.write(cells.untyped())?;
            cells.close()?;
        }
        group.close()?;
        out.close().map(drop)
    };
    write().map_err(broken)
}

/// Whether users and items have integers as ids, in a Parquet file; not in any other.
pub fn integer_ids(path: &Path, columns: &Columns) -> [bool; 2] {
    let Some(reader) = File::open(path).ok().and_then(|file| SerializedFileReader::new(file).ok()) else {
        return [false; 2];
    };
    let schema = reader.metadata().file_metadata().schema_descr();
    let header: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
    columns.of_ids(&header).map(|at| {
        at.is_some_and(|at| {
            let column = schema.column(at);
            let integer = matches!(column.physical_type(), Physical::INT32 | Physical::INT64);
            let plain = match column.logical_type_ref() {
                Some(logical) => matches!(logical, LogicalType::Integer(_)),
                None => matches!(column.converted_type(), ConvertedType::NONE),
            };
            integer && plain && column.max_rep_level() == 0
        })
    })
}
