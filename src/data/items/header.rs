//! Headers of files of numbers. Whatever one says is checked against the length of the file before it is believed.

use super::Modality;
use super::index::Index;
use super::layout::{Layout, Number};
use crate::data::readers::python_to_json;
use crate::data::readers::text::show;
use crate::error::{Error, Result};
use crate::text::counted;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::Deserialize;
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// Headers of safetensors are not larger (its own limit), nor those of .npy.
const LARGEST: u64 = 100_000_000;
const LARGEST_NPY: usize = 1 << 16;

fn wrong(path: &Path, found: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::Input { path: path.to_path_buf(), line: None, column: None, found: found.into(), expected: expected.into() }
}

/// The next `n` bytes.
fn take(path: &Path, file: &mut File, n: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; n];
    file.read_exact(&mut bytes).map_err(Error::io(path, "read"))?;
    Ok(bytes)
}

fn length(path: &Path, file: &File) -> Result<u64> {
    Ok(file.metadata().map_err(Error::io(path, "read"))?.len())
}

/// Rows, vectors of each and their width, of a shape of 1 to 3 axes.
fn shape(path: &Path, name: &str, shape: &[usize]) -> Result<[usize; 3]> {
    let axes = match *shape {
        [rows] => [rows, 1, 1],
        [rows, width] => [rows, 1, width],
        [rows, images, width] => [rows, images, width],
        _ => [0; 3],
    };
    match axes.contains(&0) {
        false => Ok(axes),
        true => {
            let expected = "[items, width], or [items, vectors, width] of several vectors an item";
            Err(wrong(path, format!("{name} of shape {shape:?}"), expected))
        }
    }
}

/// Bytes of numbers of this shape.
fn bytes(shape: &[usize], number: usize) -> Option<u64> {
    shape.iter().try_fold(number as u64, |bytes, &axis| bytes.checked_mul(axis as u64))
}

/// The header of a safetensors file, and where its tensors begin.
fn tensors(path: &Path, file: &mut File) -> Result<(Metadata, u64)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let numbered = name.strip_suffix(".safetensors").and_then(|stem| stem.rsplit_once("-of-"));
    let is_part = numbered.is_some_and(|(_, parts)| !parts.is_empty() && parts.bytes().all(|b| b.is_ascii_digit()));
    if is_part || name.ends_with(".index.json") {
        let found = "a part of safetensors that are split over several files";
        return Err(wrong(path, found, "one .safetensors file; save the embeddings in one"));
    }
    let len = length(path, file)?;
    let sound = "a whole safetensors file";
    if len < 8 {
        return Err(wrong(path, format!("a file of {len} bytes"), sound));
    }
    let size = u64::from_le_bytes(take(path, file, 8)?.try_into().expect("8 bytes"));
    if size > LARGEST || size > len - 8 {
        return Err(wrong(path, format!("a header of {size} bytes in a file of {len}"), sound));
    }
    let text = take(path, file, size as usize)?;
    let metadata: Metadata = serde_json::from_slice(&text)
        .map_err(|e| wrong(path, format!("a header that is none of safetensors ({e})"), sound))?;
    let data = len - 8 - size;
    let end = metadata.tensors().values().map(|info| info.data_offsets.1 as u64).max().unwrap_or(0);
    if end != data {
        return Err(wrong(
            path,
            format!("{data} bytes of tensors, of which the header names {end}"),
            format!("{sound} (is it cut?)"),
        ));
    }
    Ok((metadata, 8 + size))
}

pub(super) fn has(path: &Path, file: &mut File, tensor: &str) -> Result<bool> {
    Ok(tensors(path, file)?.0.info(tensor).is_some())
}

/// The layout of the tensor `embeddings`, or the one that is called as `modality`, or the only one of floats; what its mask says
/// is missing; and the ids in the metadata.
pub(super) fn safetensors(path: &Path, file: &mut File, modality: Modality) -> Result<Layout> {
    let (metadata, start) = tensors(path, file)?;
    let all = metadata.tensors();
    let number = |info: &TensorInfo| match info.dtype {
        Dtype::F16 => Some(Number::F16),
        Dtype::BF16 => Some(Number::Bf16),
        Dtype::F32 => Some(Number::F32),
        Dtype::F64 => Some(Number::F64),
        _ => None,
    };
    let named = ["embeddings", modality.name()].into_iter().find(|name| all.contains_key(*name));
    let mut floats: Vec<&str> =
        all.iter().filter(|(_, info)| number(info).is_some()).map(|(name, _)| name.as_str()).collect();
    floats.sort_unstable();
    let name = match (named, &floats[..]) {
        (Some(name), _) => name,
        (None, [only]) => only,
        _ => {
            let found = format!("the tensors {floats:?} of floats");
            return Err(wrong(path, found, format!("one of them called embeddings or {}", modality.name())));
        }
    };
    // The header was only taken for one where offsets fit shapes and types.
    let place = |info: &TensorInfo| start + info.data_offsets.0 as u64;
    let info = all[name];
    let number =
        number(info).ok_or_else(|| wrong(path, format!("{name} of {:?}", info.dtype), "f16, bf16, f32 or f64"))?;
    let [rows, images, width] = shape(path, name, &info.shape)?;
    let begin = place(info);
    let mask = |mask: &str, is_missing: fn(u8) -> bool| -> Result<Option<Vec<bool>>> {
        let Some(info) = all.get(mask) else { return Ok(None) };
        if !matches!(info.dtype, Dtype::U8 | Dtype::BOOL) || info.shape != [rows] {
            let found = format!("{mask} of {:?} and shape {:?}", info.dtype, info.shape);
            return Err(wrong(path, found, format!("a byte for each of the {rows} rows of {name}")));
        }
        let mut file = &*file;
        file.seek(SeekFrom::Start(place(info))).map_err(Error::io(path, "read"))?;
        let mut bytes = vec![0; rows];
        file.read_exact(&mut bytes).map_err(Error::io(path, "read"))?;
        Ok(Some(bytes.into_iter().map(is_missing).collect()))
    };
    let missing = match mask(&format!("{name}_missing"), |byte| byte != 0)? {
        Some(missing) => Some(missing),
        None => mask("mask", |byte| byte == 0)?,
    };
    let ids = metadata
        .metadata()
        .as_ref()
        .and_then(|metadata| metadata.get("ids"))
        .map(|ids| ids_of(path, ids, rows))
        .transpose()?;
    Ok(Layout { number, start: begin, rows, images, width, missing, ids, counted: true })
}

/// The ids in a header: a list in JSON.
fn ids_of(path: &Path, ids: &str, rows: usize) -> Result<Vec<String>> {
    let parsed: Vec<String> = serde_json::from_str(ids).map_err(|e| {
        wrong(path, format!("ids in the metadata that are no list of texts in JSON ({e})"), "the id of each row")
    })?;
    if parsed.len() != rows {
        return Err(wrong(
            path,
            format!("{} of {}", counted(parsed.len(), "id"), counted(rows, "row")),
            "an id for each row",
        ));
    }
    let mut seen = HashSet::new();
    match parsed.iter().find(|id| !seen.insert(id.as_str())) {
        Some(twice) => Err(wrong(path, format!("two rows for the item {twice:?}"), "one row for each item")),
        None => Ok(parsed),
    }
}

/// The header of a .npy file, a Python literal.
#[derive(Deserialize)]
struct Npy {
    descr: serde_json::Value,
    fortran_order: bool,
    shape: Vec<usize>,
}

pub(super) fn npy(path: &Path, file: &mut File) -> Result<Layout> {
    let len = length(path, file)?;
    let sound = "a whole .npy file";
    let cut = || wrong(path, format!("a file of {len} bytes"), sound);
    let first = if len < 12 { return Err(cut()) } else { take(path, file, 8)? };
    let size = match first[6] {
        1 => u16::from_le_bytes(take(path, file, 2)?.try_into().expect("2 bytes")) as usize,
        2 | 3 => u32::from_le_bytes(take(path, file, 4)?.try_into().expect("4 bytes")) as usize,
        version => return Err(wrong(path, format!("version {version} of .npy"), "version 1, 2 or 3")),
    };
    let begin = file.stream_position().map_err(Error::io(path, "read"))? + size as u64;
    if size > LARGEST_NPY || begin > len {
        return Err(wrong(path, format!("a header of {size} bytes in a file of {len}"), sound));
    }
    let text = take(path, file, size)?;
    let parsed = json(&text).and_then(|json| serde_json::from_slice::<Npy>(&json).ok());
    let Npy { descr, fortran_order, shape: axes } = parsed.ok_or_else(|| {
        wrong(path, format!("the header {}", show(text.trim_ascii())), "descr, fortran_order and shape")
    })?;
    let number = match descr.as_str() {
        Some("<f2") => Number::F16,
        Some("<f4") => Number::F32,
        Some("<f8") => Number::F64,
        _ => return Err(wrong(path, format!("numbers of type {descr}"), "little-endian floats: <f2, <f4 or <f8")),
    };
    if fortran_order && axes.iter().filter(|&&axis| axis > 1).count() > 1 {
        return Err(wrong(path, "numbers in Fortran's order", "C's order; save numpy.ascontiguousarray(x)"));
    }
    let [rows, images, width] = shape(path, "an array", &axes)?;
    if bytes(&axes, number.bytes()) != Some(len - begin) {
        let found = format!("{} bytes for the shape {axes:?} of {descr}", len - begin);
        return Err(wrong(path, found, format!("{sound} (is it cut?)")));
    }
    Ok(Layout { number, start: begin, rows, images, width, missing: None, ids: None, counted: false })
}

/// A Python literal as JSON: without the commas that Python allows at the end of a tuple or dict.
fn json(literal: &[u8]) -> Option<Vec<u8>> {
    let mut json = vec![];
    python_to_json(literal.trim_ascii(), &mut json).ok()?;
    let mut out: Vec<u8> = vec![];
    for byte in json {
        if matches!(byte, b']' | b'}') {
            out.truncate(out.trim_ascii_end().len());
            if out.last() == Some(&b',') {
                out.pop();
            }
        }
        out.push(byte);
    }
    Some(out)
}

/// Raw floats: as many rows as the index has, of f32 or f64.
pub(super) fn raw(path: &Path, file: &mut File, index: Option<&Index>, width: Option<usize>) -> Result<Layout> {
    let len = length(path, file)?;
    let Some(index) = index else {
        let expected = "a .safetensors or .npy file, or raw floats with the ids of their rows in NAME.item2index next to the interactions";
        return Err(wrong(path, format!("{len} bytes without a header"), expected));
    };
    let rows = index.rows();
    let number = if is_f64(path, file, len)? { Number::F64 } else { Number::F32 };
    let row = number.bytes() * width.unwrap_or(1);
    if len == 0 || len % (rows * row) as u64 != 0 {
        let what = match width {
            Some(width) => format!("vectors of {width} f{}", 8 * number.bytes()),
            None => format!("f{}", 8 * number.bytes()),
        };
        let found = format!("{len} bytes");
        let expected = format!("the same number of {what} for each of the {rows} rows of {}", index.path.display());
        return Err(wrong(path, found, expected));
    }
    let all = (len / (rows * number.bytes()) as u64) as usize;
    let width = width.unwrap_or(all);
    Ok(Layout { number, start: 0, rows, images: all / width, width, missing: None, ids: None, counted: false })
}

/// Whether raw floats are f64, by the first of them that are not zeros. As f32, their lower halves would be numbers of any size, or,
/// where they were f32 once, have 29 bits of zeros.
fn is_f64(path: &Path, file: &mut File, len: u64) -> Result<bool> {
    let mut left = if len.is_multiple_of(8) { len } else { 0 };
    while left > 0 {
        let piece = take(path, file, left.min(1 << 20) as usize)?;
        left -= piece.len() as u64;
        let words: Vec<u32> =
            piece.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("4 bytes"))).collect();
        let lower: Vec<u32> = words.iter().step_by(2).copied().filter(|bits| bits << 1 != 0).collect();
        if words.iter().all(|bits| bits << 1 == 0) {
            continue;
        }
        let usual = lower.iter().filter(|&&bits| (1e-12..1e12).contains(&f32::from_bits(bits).abs())).count();
        return Ok(lower.iter().all(|bits| bits & 0x1fff_ffff == 0) || 4 * usual < 3 * lower.len());
    }
    Ok(false)
}
