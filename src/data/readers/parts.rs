//! A table in many Parquet files, as Spark, Hive, Dask and pyarrow write it: part files, in one folder or in folders that say
//! the value of a column (`rating=5/part-0.parquet`).

use super::text::unpack;
use crate::error::{Error, Result};
use percent_encoding::percent_decode_str;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What Hive calls a folder of rows without a value.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Folders `key=value` within one another, at most.
const DEEPEST: usize = 32;

/// The part files of the table that `folder` is, in the order of their paths. None where it is none: where there is no folder
/// `key=value` in it and not several Parquet files that differ in their numbers alone.
pub(crate) fn of(folder: &Path) -> Result<Option<Vec<PathBuf>>> {
    let (files, folders) = list(folder)?;
    let mut parts: Vec<PathBuf> = files.into_iter().filter(|file| is_parquet(file)).collect();
    let series = |a: &PathBuf, b: &PathBuf| stem(a) == stem(b);
    if folders.is_empty() && (parts.len() < 2 || !parts.windows(2).all(|pair| series(&pair[0], &pair[1]))) {
        return Ok(None);
    }
    for folder in folders {
        collect(&folder, DEEPEST, &mut parts)?;
    }
    Ok((!parts.is_empty()).then_some(parts))
}

/// The columns that the folders of a file say, outermost first: name, and value if it has one.
pub(crate) fn keys(file: &Path) -> Vec<(String, Option<String>)> {
    let folders = file.ancestors().skip(1).map_while(|folder| key(&folder.file_name()?.to_string_lossy()));
    let mut keys: Vec<_> = folders.collect();
    keys.reverse();
    keys
}

/// A folder's name `key=value`.
fn key(name: &str) -> Option<(String, Option<String>)> {
    let (key, value) = name.split_once('=').filter(|(key, _)| !key.is_empty())?;
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((decoded(key), (value != NULL).then(|| decoded(value))))
}

fn collect(folder: &Path, depth: usize, parts: &mut Vec<PathBuf>) -> Result<()> {
    let (files, folders) = list(folder)?;
    if let Some(file) = files.iter().find(|file| !is_parquet(file)) {
        return Err(Error::Input {
            path: file.clone(),
            line: None,
            column: None,
            found: "what is no Parquet file".to_string(),
            expected: "Parquet files alone in a folder KEY=VALUE of a table".to_string(),
        });
    }
    parts.extend(files);
    for folder in folders.iter().filter(|_| depth > 1) {
        collect(folder, depth - 1, parts)?;
    }
    Ok(())
}

/// The files of a folder and its folders `key=value`, by name, but for hidden ones and marks such as `_SUCCESS`.
fn list(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let (mut files, mut folders) = (vec![], vec![]);
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
        let path = entry.map_err(Error::io(folder, "list"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_key = key(&name).is_some();
        if name.starts_with('.') || name.starts_with('_') && !is_key {
            continue;
        }
        if path.is_file() {
            files.push(path);
        } else if is_key && path.is_dir() {
            folders.push(path);
        }
    }
    files.sort();
    folders.sort();
    Ok((files, folders))
}

fn is_parquet(file: &Path) -> bool {
    let mut magic = vec![];
    unpack(file).is_ok_and(|unpacked| unpacked.take(4).read_to_end(&mut magic).is_ok()) && magic == b"PAR1"
}

/// A file's name without what tells parts of a table apart: numbers, and the digits and letters of a UUID or a hash.
fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let words = name.split_inclusive(|c: char| !c.is_alphanumeric());
    let word = |word: &str| {
        let hexadecimal = |c: char| c.is_ascii_hexdigit() || !c.is_alphanumeric();
        let numbered = word.contains(|c: char| c.is_ascii_digit());
        match numbered && word.chars().all(hexadecimal) {
            true => "#".to_string(),
            false => word.chars().filter(|c| !c.is_ascii_digit()).collect(),
        }
    };
    words.map(word).collect()
}
