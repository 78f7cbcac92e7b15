//! Numbers of items in a file, a row each: safetensors, .npy, and raw floats without a header.
//!
//! A file is never mapped or read as a whole: its header is checked against its length, and rows are read one by one. So no
//! header makes wgrec take more memory than a row, and a file that changes meanwhile gives other numbers or an error.

use super::join::Join;
use super::layout::Layout;
use super::{Modality, header};
use crate::data::readers::text::{check_there, open};
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// More numbers are no embedding.
const LONGEST_ROW: usize = 1 << 20;

/// A file of rows that is open.
#[derive(Debug)]
pub(super) struct Array {
    pub path: PathBuf,
    layout: Layout,
    file: BufReader<File>,
    /// Where `file` is.
    at: u64,
    /// A row, and its numbers.
    bytes: Vec<u8>,
    numbers: Vec<f64>,
}

impl std::ops::Deref for Array {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.layout
    }
}

/// Whether a safetensors file has a tensor of this name.
pub(super) fn has(path: &Path, tensor: &str) -> Result<bool> {
    header::has(path, &mut open(path)?, tensor)
}

impl Array {
    /// Opens the rows of `modality` in `path`. `width`: that of a vector, where a raw file may have several an item.
    ///
    /// # Errors
    /// A file that is cut, whose header is not sound, or whose size does not fit the index of its rows.
    pub fn open(path: &Path, modality: Modality, join: &Join, width: Option<usize>) -> Result<Array> {
        check_there(path, "embeddings of items: a .safetensors or .npy file, or raw floats with an .item2index")?;
        let mut file = open(path)?;
        let mut first = vec![];
        file.by_ref().take(9).read_to_end(&mut first).and_then(|_| file.rewind()).map_err(Error::io(path, "read"))?;
        let named = path.extension().is_some_and(|ending| ending == "safetensors" || ending == "json");
        let layout = if first.starts_with(b"\x93NUMPY") {
            header::npy(path, &mut file)?
        } else if named || first.get(8) == Some(&b'{') {
            header::safetensors(path, &mut file, modality)?
        } else {
            header::raw(path, &mut file, join.index(), width)?
        };
        let numbers = layout.images.saturating_mul(layout.width);
        if numbers > LONGEST_ROW {
            let (found, expected) = (format!("{numbers} numbers a row"), format!("at most {LONGEST_ROW}"));
            return Err(Error::Input { path: path.to_path_buf(), line: None, column: None, found, expected });
        }
        let (bytes, numbers) = (vec![0; numbers * layout.number.bytes()], vec![0.0; numbers]);
        let file = BufReader::with_capacity(1 << 18, file);
        Ok(Array { path: path.to_path_buf(), layout, file, at: u64::MAX, bytes, numbers })
    }

    pub fn wrong(&self, found: String, expected: &str) -> Error {
        let expected = expected.to_string();
        Error::Input { path: self.path.clone(), line: None, column: None, found, expected }
    }

    /// Whether the file says that a row is missing.
    pub fn is_missing(&self, row: usize) -> bool {
        self.missing.as_ref().is_some_and(|missing| missing[row])
    }

    /// Reads a row into `out`, \[width\]: the mean of its vectors that are not zeros. Whether there is any.
    ///
    /// # Errors
    /// A number that is not finite, or too large for an f32; a file that has become shorter.
    pub fn read(&mut self, row: usize, out: &mut [f32]) -> Result<bool> {
        let Layout { number, start, images, width, .. } = self.layout;
        let from = start + row as u64 * self.bytes.len() as u64;
        // Rows that follow one another are read through the buffer.
        let seek = match self.at == from {
            true => Ok(()),
            false => self.file.seek(SeekFrom::Start(from)).map(drop),
        };
        self.at = u64::MAX;
        seek.and_then(|()| self.file.read_exact(&mut self.bytes)).map_err(Error::io(&self.path, "read"))?;
        self.at = from + self.bytes.len() as u64;
        number.read(&self.bytes, &mut self.numbers);
        if let Some(at) = self.numbers.iter().position(|&x| !(x as f32).is_finite()) {
            let (image, column) = (at / width, at % width);
            let within = if images > 1 { format!(" of vector {image}") } else { String::new() };
            let found = format!("{:?} in row {row}, column {column}{within} (from 0)", self.numbers[at]);
            return Err(self.wrong(found, "finite numbers of an f32"));
        }
        let (sum, others) = self.numbers.split_at_mut(width);
        let is_some = |vector: &[f64]| vector.iter().any(|&x| x != 0.0);
        let mut some = is_some(sum) as usize;
        for vector in others.chunks_exact(width).filter(|vector| is_some(vector)) {
            some += 1;
            sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
        }
        let count = some.max(1) as f64;
        out.iter_mut().zip(sum).for_each(|(out, sum)| *out = (*sum / count) as f32);
        Ok(some > 0)
    }
}
