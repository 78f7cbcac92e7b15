//! Vectors as files, with the ids that they belong to.

use crate::device::Store;
use crate::error::{Error, Result};
use crate::files::replace;
use crate::train::Session;
use crate::train::session::shown::Rows;
use safetensors::tensor::{Dtype, TensorView};
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Rows of vectors, and whose they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Vectors {
    /// Name and cells of each column: ids, and numbers of which each row has one.
    columns: Vec<(&'static str, Cells)>,
    /// Name and rows of each kind of vector; the first is the one that scores are made of.
    vectors: Vec<(&'static str, Rows)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Cells {
    Ids(Vec<String>),
    Numbers(Vec<u32>),
    Reals(Vec<f32>),
}

/// A format of vectors, by the ending of a file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A column for each kind of id and a list for each kind of vector.
    #[cfg(feature = "parquet")]
    Parquet,
    /// A tensor \[rows, width\] for each kind of vector; ids in a file next to it.
    Safetensors,
    /// The vectors that scores are made of, \[rows, width\]; ids in a file next to it.
    Npy,
}

impl Ending {
    pub fn of(path: &Path) -> Result<Ending> {
        match path.extension().and_then(OsStr::to_str) {
            #[cfg(feature = "parquet")]
            Some("parquet") => Ok(Ending::Parquet),
            Some("safetensors") => Ok(Ending::Safetensors),
            Some("npy") => Ok(Ending::Npy),
            _ => {
                let expected = if cfg!(feature = "parquet") { ".parquet, .safetensors" } else { ".safetensors" };
                Err(Error::Usage(format!(
                    "--output {}: expected a name that ends in {expected} or .npy",
                    path.display()
                )))
            }
        }
    }

    /// The file next to `path` that has the ids, if the format has no place for them.
    pub fn ids(self, path: &Path) -> Option<PathBuf> {
        match self {
            #[cfg(feature = "parquet")]
            Ending::Parquet => None,
            _ => Some(path.with_extension("ids.tsv")),
        }
    }
}

impl Vectors {
    /// The representation of each user after the whole history.
    ///
    /// # Errors
    /// A device that fails.
    pub fn users(session: &Session, store: &Store) -> Result<Vectors> {
        let users = with_history(session);
        let ids = users.iter().map(|&user| session.data.user_name(user).to_string()).collect();
        let vectors = session.user_vectors(store, &users)?;
        Ok(Vectors { columns: vec![("user", Cells::Ids(ids))], vectors: vec![("vector", vectors)] })
    }

    /// Each item as users are compared with it, and its bias where it has one.
    ///
    /// # Errors
    /// A device that fails.
    pub fn items(session: &Session, store: &Store) -> Result<Vectors> {
        let items = session.item_vectors(store)?;
        let ids = (1..=session.data.items() as u32).map(|item| session.data.item_name(item).to_string()).collect();
        let bias = items.bias.map(|bias| ("bias", Cells::Reals(bias)));
        let columns = [("item", Cells::Ids(ids))].into_iter().chain(bias).collect();
        Ok(Vectors { columns, vectors: vec![("vector", items.vectors)] })
    }

    /// The interests of each user after the whole history, a row each: what items are compared with, centre and dispersion,
    /// and where the model has the same ones for all items the weights.
    ///
    /// # Errors
    /// A model without interests; a device that fails.
    pub fn interests(session: &Session, store: &Store) -> Result<Vectors> {
        let shown = session.shown(store, &with_history(session))?;
        let each =
            || shown.iter().flat_map(|user| user.interests.iter().enumerate().map(move |(k, one)| (user, k, one)));
        let ids = each().map(|(user, ..)| session.data.user_name(user.user).to_string()).collect();
        let numbers = each().map(|(_, k, _)| k as u32 + 1).collect();
        let weights: Vec<f32> = each().filter_map(|(.., one)| one.weight.same()).collect();
        let weights = (!weights.is_empty()).then_some(("weight", Cells::Reals(weights)));
        let columns = [("user", Cells::Ids(ids)), ("interest", Cells::Numbers(numbers))].into_iter().chain(weights);
        let width = each().next().map_or(0, |(.., one)| one.vector.len());
        let rows = |values: Vec<&[f32]>| Rows { width, values: values.concat() };
        let mut vectors = vec![
            ("vector", rows(each().map(|(.., one)| &one.vector[..]).collect())),
            ("centre", rows(each().map(|(.., one)| &one.centre[..]).collect())),
        ];
        let dispersions: Vec<&[f32]> = each().filter_map(|(.., one)| one.dispersion.as_deref()).collect();
        if !dispersions.is_empty() {
            vectors.push(("dispersion", rows(dispersions)));
        }
        Ok(Vectors { columns: columns.collect(), vectors })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        match &self.columns[0].1 {
            Cells::Ids(ids) => ids.len(),
            Cells::Numbers(numbers) => numbers.len(),
            Cells::Reals(reals) => reals.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The width of the vectors that scores are made of.
    pub fn width(&self) -> usize {
        self.vectors[0].1.width
    }

    /// Writes the vectors and, where the format has no place for them, the ids next to them.
    pub fn write(&self, path: &Path, ending: Ending) -> Result<()> {
        if let Some(ids) = ending.ids(path) {
            self.write_ids(&ids)?;
        }
        match ending {
            #[cfg(feature = "parquet")]
            Ending::Parquet => self.write_parquet(path),
            Ending::Safetensors => self.write_safetensors(path),
            Ending::Npy => self.write_npy(path),
        }
    }

    /// A header, and a line a row.
    fn write_ids(&self, path: &Path) -> Result<()> {
        replace(path, |out| {
            let mut out = csv::WriterBuilder::new().delimiter(b'\t').from_writer(out);
            out.write_record(self.columns.iter().map(|(name, _)| name))?;
            for row in 0..self.len() {
                out.write_record(self.columns.iter().map(|(_, cells)| match cells {
                    Cells::Ids(ids) => ids[row].clone(),
                    Cells::Numbers(numbers) => numbers[row].to_string(),
                    Cells::Reals(reals) => reals[row].to_string(),
                }))?;
            }
            out.flush()
        })
    }

    fn write_safetensors(&self, path: &Path) -> Result<()> {
        let bytes: Vec<Vec<u8>> = self.vectors.iter().map(|(_, rows)| little_endian(&rows.values)).collect();
        let views = self.vectors.iter().zip(&bytes).map(|((name, rows), bytes)| {
            let shape = vec![self.len(), rows.width];
            (*name, TensorView::new(Dtype::F32, shape, bytes).expect("the shape fits the values"))
        });
        let file = safetensors::serialize(views, None).expect("the tensors can be laid out");
        replace(path, |out| out.write_all(&file))
    }

    /// NumPy's format, version 1.0: a header of text, padded to 64 bytes, and the values.
    fn write_npy(&self, path: &Path) -> Result<()> {
        let (rows, width) = (self.len(), self.width());
        let about = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
        let padded = (10 + about.len() + 1).next_multiple_of(64) - 11;
        replace(path, |out| {
            out.write_all(b"\x93NUMPY\x01\x00")?;
            out.write_all(&(padded as u16 + 1).to_le_bytes())?;
            writeln!(out, "{about:padded$}")?;
            out.write_all(&little_endian(&self.vectors[0].1.values))
        })
    }

    #[cfg(feature = "parquet")]
    fn write_parquet(&self, path: &Path) -> Result<()> {
        use parquet::basic::Compression;
        use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int32Type};
        use parquet::file::properties::WriterProperties;
        use parquet::file::writer::SerializedFileWriter;
        use parquet::schema::parser::parse_message_type;
        use std::sync::Arc;

        /// Rows that are gathered into columns at once.
        const GROUP: usize = 1 << 16;

        let columns = self.columns.iter().map(|(name, cells)| match cells {
            Cells::Ids(_) => format!("REQUIRED BYTE_ARRAY {name} (UTF8);"),
            Cells::Numbers(_) => format!("REQUIRED INT32 {name};"),
            Cells::Reals(_) => format!("REQUIRED FLOAT {name};"),
        });
        let list =
            |name| format!("REQUIRED group {name} (LIST) {{ REPEATED group list {{ REQUIRED FLOAT element; }} }}");
        let fields: String = columns.chain(self.vectors.iter().map(|(name, _)| list(name))).collect();
        let schema = Arc::new(parse_message_type(&format!("message vectors {{ {fields} }}")).expect("a valid schema"));
        let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
        let write = |out: &mut std::io::BufWriter<&std::fs::File>| -> parquet::errors::Result<()> {
            let mut out = SerializedFileWriter::new(out, schema, properties)?;
            for first in (0..self.len()).step_by(GROUP) {
                let rows = first..self.len().min(first + GROUP);
                let mut group = out.next_row_group()?;
                macro_rules! column {
                    ($kind:ty, $values:expr, $levels:expr, $repeats:expr) => {{
                        let mut column = group.next_column()?.expect("a column of the schema");
                        column.typed::<$kind>().write_batch($values, $levels, $repeats)?;
                        column.close()?;
                    }};
                }
                for (_, cells) in &self.columns {
                    match cells {
                        Cells::Ids(ids) => {
                            let ids: Vec<ByteArray> =
                                ids[rows.clone()].iter().map(|id| ByteArray::from(&id[..])).collect();
                            column!(ByteArrayType, &ids, None, None);
                        }
                        Cells::Numbers(numbers) => {
                            let numbers: Vec<i32> = numbers[rows.clone()].iter().map(|&n| n as i32).collect();
                            column!(Int32Type, &numbers, None, None);
                        }
                        Cells::Reals(reals) => column!(FloatType, &reals[rows.clone()], None, None),
                    }
                }
                for (_, Rows { width, values }) in &self.vectors {
                    let values = &values[rows.start * width..rows.end * width];
                    // All lists have elements; each begins where the level of repetition is 0.
                    let levels = vec![1; values.len()];
                    let repeats: Vec<i16> = (0..values.len()).map(|i| (i % width != 0) as i16).collect();
                    column!(FloatType, values, Some(&levels), Some(&repeats));
                }
                group.close()?;
            }
            out.close()?;
            Ok(())
        };
        replace(path, |out| write(out).map_err(std::io::Error::other))
    }
}

fn with_history(session: &Session) -> Vec<u32> {
    (0..session.data.users() as u32).filter(|&user| !session.data.history(user).is_empty()).collect()
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
