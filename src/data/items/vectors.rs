//! Ready embeddings of items: rows in the order of a data set's items, mapped into memory.
//!
//! The rows are written once, into a file of the cache that is whole or not there, and checked by a hash whenever it is opened.
//! Only this file is mapped, never one of the user's: nothing but wgrec writes it, and wgrec replaces it instead of changing it.
//! So a mapping keeps what was checked, even when the file is removed. (Whoever truncates it by hand ends the process.)

use super::array::Array;
use super::found::Found;
use super::layout::Number;
use super::{Coverage, Modality, rows};
use crate::data::cache::{AboutRows, Cache, hash_file};
use crate::data::dataset::{Dataset, hex};
use crate::data::synth::Domain;
use crate::error::{Error, Result};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use memmap2::{Mmap, MmapMut, MmapOptions};
use sha2::{Digest, Sha256};
use std::hash::Hasher;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use twox_hash::XxHash3_64;

/// Part of every key: changes when the rows of the same files would.
const VERSION: u32 = 1;

/// An embedding of each item of a data set.
#[derive(Debug)]
pub struct Vectors {
    pub width: usize,
    /// Of item 0 (padding, missing) to the last.
    pub missing: Vec<bool>,
    /// SHA-256, in hex, of type, width, rows and mask: by it a run knows its features.
    pub hash: String,
    /// Where they were read; none for the embedded world.
    pub file: Option<PathBuf>,
    half: bool,
    /// \[items + 1, width\], zeros where missing, and more bytes after it.
    rows: Mmap,
}

/// The numbers as they lie, in words of two halves or one float; an odd half has something else beside it.
impl AsRef<[u32]> for Vectors {
    fn as_ref(&self) -> &[u32] {
        let numbers = self.missing.len() * self.width;
        let words = if self.half { numbers.div_ceil(2) } else { numbers };
        bytemuck::cast_slice(&self.rows[..4 * words])
    }
}

/// The numbers of [`Vectors`], \[items + 1, width\].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Numbers<'a> {
    F16(&'a [f16]),
    F32(&'a [f32]),
}

impl Vectors {
    /// Items, without padding.
    pub fn items(&self) -> usize {
        self.missing.len() - 1
    }

    /// All rows. Row 0 and those of missing items are zeros.
    pub fn numbers(&self) -> Numbers<'_> {
        let numbers = self.missing.len() * self.width;
        match self.half {
            true => Numbers::F16(bytemuck::cast_slice::<u8, u16>(&self.rows[..2 * numbers]).reinterpret_cast()),
            false => Numbers::F32(bytemuck::cast_slice(&self.rows[..4 * numbers])),
        }
    }

    /// Whether the numbers are halves.
    pub fn is_half(&self) -> bool {
        self.half
    }

    /// Copies the row of an item, \[width\].
    pub fn read(&self, item: u32, out: &mut [f32]) {
        let range = item as usize * self.width..(item as usize + 1) * self.width;
        match self.numbers() {
            Numbers::F16(all) => out.iter_mut().zip(&all[range]).for_each(|(out, x)| *out = x.to_f32()),
            Numbers::F32(all) => out.copy_from_slice(&all[range]),
        }
    }

    pub fn coverage(&self) -> Coverage {
        Coverage::of(self.missing[1..].iter().map(|missing| !missing))
    }

    /// Those in `file`, kept in `cache` or, without one, in memory.
    ///
    /// # Errors
    /// Whatever is wrong with the file; no item that has one. A cache that cannot be written is no error.
    pub(super) fn read_file(
        file: &Path,
        modality: Modality,
        found: &Found,
        data: &Dataset,
        cache: Option<&Cache>,
    ) -> Result<Vectors> {
        let (join, width) = (found.join(data)?, found.width(modality));
        let mut array = Array::open(file, modality, &join, width)?;
        let of = rows::of_items(&array, found, &join)?;
        let place = match cache {
            None => None,
            Some(cache) => {
                let mut key = Sha256::new();
                key.update(VERSION.to_le_bytes());
                key.update(hash_file(file)?);
                key.update(format!("{} {width:?}", modality.name()));
                of.iter().for_each(|row| key.update(row.map_or(u64::MAX, |row| row as u64).to_le_bytes()));
                Some((cache, cache.rows_file(&key.finalize())))
            }
        };
        let kept = || place.as_ref().and_then(|(cache, kept)| Vectors::open(cache, kept, data.items()).ok());
        let mut vectors = kept();
        if vectors.is_none() {
            let size = Size { items: data.items(), width: array.width, half: array.number == Number::F16 };
            let name = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
            let about =
                format!("{} embeddings, {} items x {}, of {}", modality.name(), size.items, size.width, name.display());
            let mut row = |item: usize, out: &mut [f32]| match of[item].filter(|&row| !array.is_missing(row)) {
                Some(row) => array.read(row, out),
                None => Ok(false),
            };
            let mut failed = None;
            if let Some((cache, kept)) = &place {
                let stored = cache.store_rows(kept, |out| match size.write(out, &mut row)? {
                    Ok(Some((hash, check))) => Ok(AboutRows { about, width: size.width, half: size.half, hash, check }),
                    other => {
                        failed = Some(other.err());
                        Err(io::ErrorKind::InvalidData.into())
                    }
                });
                vectors = stored.ok().and_then(|()| Vectors::open(cache, kept, data.items()).ok());
            }
            // What is wrong with the rows would be wrong in memory too; a cache that cannot be written is not.
            vectors = match (vectors, failed) {
                (None, Some(Some(e))) => return Err(e),
                (None, None) => size.in_memory(&mut row)?,
                (vectors, _) => vectors,
            };
        }
        let source = Some(file.to_path_buf());
        vectors.map(|vectors| Vectors { file: source, ..vectors }).ok_or_else(|| {
            let found = "no item of the data with a row that is not zeros".to_string();
            array.wrong(found, &format!("the {} of one item at least", modality.name()))
        })
    }

    /// Those of the embedded world, which may lack some.
    pub(super) fn of_world(world: &Domain, modality: Modality, data: &Dataset) -> Result<Option<Vectors>> {
        let of = |item: usize| {
            let item = super::world_item(world, data, item as u32 + 1);
            match modality {
                Modality::Text => item.text.as_deref(),
                Modality::Image => item.image.as_deref(),
                Modality::Price | Modality::Category | Modality::TextDropped => None,
            }
        };
        let Some(width) = (0..data.items()).find_map(|item| Some(of(item)?.len())) else { return Ok(None) };
        let mut row = |item: usize, out: &mut [f32]| {
            let row = of(item);
            row.into_iter().for_each(|row| out.copy_from_slice(row));
            Ok(row.is_some())
        };
        Size { items: data.items(), width, half: false }.in_memory(&mut row)
    }

    /// Maps what was kept.
    fn open(cache: &Cache, kept: &Path, items: usize) -> io::Result<Vectors> {
        let (file, AboutRows { width, half, hash, .. }, bytes) = cache.open_rows(kept)?;
        let size = Size { items, width, half };
        if bytes != size.bytes() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: the file is never changed after it was written, only replaced or removed, which a mapping outlives.
        let rows = unsafe { MmapOptions::new().len(bytes).map(&file)? };
        Ok(size.vectors(rows, hash))
    }
}

/// Writes the row of an item (from 0) to a slice; false if it is missing, whatever was written.
type Row<'a> = &'a mut dyn FnMut(usize, &mut [f32]) -> Result<bool>;

/// The size of rows, and how they lie: those of item 0 to the last, then a byte each, 1 where missing.
#[derive(Clone, Copy)]
struct Size {
    items: usize,
    width: usize,
    half: bool,
}

impl Size {
    fn bytes(self) -> usize {
        (self.items + 1) * (self.width * if self.half { 2 } else { 4 } + 1)
    }

    fn vectors(self, rows: Mmap, hash: String) -> Vectors {
        let Size { items, width, half } = self;
        let missing = rows[self.bytes() - items - 1..self.bytes()].iter().map(|&byte| byte != 0).collect();
        Vectors { width, missing, hash, file: None, half, rows }
    }

    /// Writes the rows and their mask to `out`; gives the hash by which runs know them, and that of the bytes. None if all are
    /// missing. The inner error is that of a row.
    fn write(self, out: &mut dyn Write, row: Row) -> io::Result<Result<Option<(String, u64)>>> {
        let (mut hash, mut check) = (Sha256::new(), XxHash3_64::new());
        hash.update(format!("{} {} ", self.half, self.width));
        let mut put = |bytes: &[u8]| {
            hash.update(bytes);
            check.write(bytes);
            out.write_all(bytes)
        };
        let (mut numbers, mut halves) = (vec![0f32; self.width], vec![f16::ZERO; self.width]);
        let mut missing = vec![1u8];
        put(&vec![0; if self.half { 2 } else { 4 } * self.width])?;
        for item in 0..self.items {
            let some = match row(item, &mut numbers) {
                Ok(some) => some,
                Err(e) => return Ok(Err(e)),
            };
            if !some {
                numbers.fill(0.0);
            }
            missing.push(!some as u8);
            if self.half {
                halves.iter_mut().zip(&numbers).for_each(|(half, &x)| *half = f16::from_f32(x));
                put(bytemuck::cast_slice(halves.reinterpret_cast()))?;
            } else {
                put(bytemuck::cast_slice(&numbers))?;
            }
        }
        put(&missing)?;
        let some = missing.contains(&0);
        Ok(Ok(some.then(|| (hex(&hash.finalize()), check.finish()))))
    }

    fn in_memory(self, row: Row) -> Result<Option<Vectors>> {
        let refused = |e: io::Error| Error::Failed(format!("{} bytes of embeddings: {e}", self.bytes()));
        let mut map = MmapMut::map_anon(self.bytes()).map_err(refused)?;
        let Some((hash, _)) = self.write(&mut &mut map[..], row).map_err(refused)?? else { return Ok(None) };
        Ok(Some(self.vectors(map.make_read_only().map_err(refused)?, hash)))
    }
}
