//! A table in many files, as Spark, Hive, Dask, pyarrow and Hugging Face write it: part files, in one folder or, those of
//! Parquet, in folders that say the value of a column (`rating=5/part-0.parquet`).

use super::text::unpack;
use crate::error::{Error, Result};
use percent_encoding::percent_decode_str;
use std::cmp::Ordering;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What Hive calls a folder of rows without a value.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// Folders within one another, at most.
pub(crate) const DEEPEST: usize = 32;

/// A column that a folder says: name, and value if it has one.
pub(crate) type Key = (String, Option<String>);

/// The Parquet files of the table that `folder` is, in their order. None for a folder that is not a table: where there is no
/// folder `key=value` in it and not several Parquet files that differ only in their numbers.
pub(crate) fn of(folder: &Path) -> Result<Option<Vec<PathBuf>>> {
    let Listed { files, keys, plain } = list(folder)?;
    let parquet: Vec<&PathBuf> = files.iter().filter(|file| is_parquet(file)).collect();
    // Part of the table, whatever is in it: reading it says what is wrong.
    let is_part = |file: &&PathBuf| parquet.iter().any(|part| stem(part) == stem(file));
    let mut parts: Vec<PathBuf> = files.iter().filter(is_part).cloned().collect();
    let one_series = parts.len() > 1 && parts.iter().all(|part| stem(part) == stem(&parts[0]));
    if keys.is_empty() && !one_series {
        return Ok(None);
    }
    no_parquet_in(&plain)?;
    for folder in keys {
        collect(&folder, DEEPEST, &mut parts)?;
    }
    Ok((!parts.is_empty()).then_some(parts))
}

/// The files among `files` that are parts of one table with `first`, if its name says that it is a part: `part-00000.csv`,
/// `train-00000-of-00002.csv`. Spark leaves parts without a row empty.
pub(crate) fn with(first: &Path, files: &[PathBuf]) -> Vec<PathBuf> {
    let wanted = stem(first);
    let part = wanted.strip_prefix("part").is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
    let has_rows = |file: &Path| file.metadata().is_ok_and(|about| about.len() > 0);
    let belongs = |file: &&PathBuf| (part || wanted.contains("#of-#")) && stem(file) == wanted && has_rows(file);
    files.iter().filter(belongs).cloned().collect()
}

/// The columns that the folders of a file below `folder` say, outermost first.
pub(crate) fn keys(file: &Path, folder: &Path) -> Vec<Key> {
    let below = file.strip_prefix(folder).ok().and_then(Path::parent).unwrap_or(Path::new(""));
    below.iter().filter_map(|name| key(&name.to_string_lossy())).collect()
}

/// The folders in a folder that say nothing, by name.
pub(crate) fn plain_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(list(folder)?.plain)
}

/// A folder's name `key=value`.
fn key(name: &str) -> Option<Key> {
    let (key, value) = name.split_once('=').filter(|(key, _)| !key.is_empty())?;
    let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
    Some((decoded(key), (value != NULL).then(|| decoded(value))))
}

/// All files in a folder of a table, and in the folders in it.
fn collect(folder: &Path, depth: usize, parts: &mut Vec<PathBuf>) -> Result<()> {
    let depth = deeper(folder, depth)?;
    let Listed { files, keys, plain } = list(folder)?;
    if let Some(file) = files.iter().find(|file| !is_parquet(file)) {
        let expected = "only Parquet files in a folder KEY=VALUE of a table";
        return Err(wrong(file, "what is no Parquet file", expected));
    }
    if !keys.is_empty() {
        no_parquet_in(&plain)?;
    }
    parts.extend(files);
    keys.iter().chain(&plain).try_for_each(|folder| collect(folder, depth, parts))
}

/// An error if there are Parquet files in folders next to those of a table: they may belong to the table or not.
fn no_parquet_in(folders: &[PathBuf]) -> Result<()> {
    fn any(folder: &Path, depth: usize) -> Result<bool> {
        let depth = deeper(folder, depth)?;
        let Listed { files, keys, plain } = list(folder)?;
        if files.iter().any(|file| is_parquet(file)) {
            return Ok(true);
        }
        for folder in keys.iter().chain(&plain) {
            if any(folder, depth)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
    for folder in folders {
        if any(folder, DEEPEST)? {
            let found = "a folder of Parquet files next to the part files or the folders KEY=VALUE of a table";
            return Err(wrong(
                folder,
                found,
                "all files of a table in its folders KEY=VALUE; move those that are others",
            ));
        }
    }
    Ok(())
}

/// How many folders may be within `folder`, of which `depth` may be within one another.
fn deeper(folder: &Path, depth: usize) -> Result<usize> {
    let too_deep =
        || wrong(folder, "a folder too deep", &format!("at most {DEEPEST} folders of a table within one another"));
    depth.checked_sub(1).ok_or_else(too_deep)
}

fn wrong(path: &Path, found: &str, expected: &str) -> Error {
    let (found, expected) = (found.to_string(), expected.to_string());
    Error::Input { path: path.to_path_buf(), line: None, column: None, found, expected }
}

/// What is in a folder, by name, except hidden files and marks such as `_SUCCESS`.
struct Listed {
    files: Vec<PathBuf>,
    /// Folders `key=value`.
    keys: Vec<PathBuf>,
    /// Other folders.
    plain: Vec<PathBuf>,
}

fn list(folder: &Path) -> Result<Listed> {
    let mut listed = Listed { files: vec![], keys: vec![], plain: vec![] };
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
        let path = entry.map_err(Error::io(folder, "list"))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_key = key(&name).is_some();
        if name.starts_with('.') || name.starts_with('_') && !is_key {
            continue;
        }
        match (path.is_dir(), is_key) {
            (true, true) => listed.keys.push(path),
            (true, false) => listed.plain.push(path),
            _ if path.is_file() => listed.files.push(path),
            _ => {}
        }
    }
    let Listed { files, keys, plain } = &mut listed;
    [files, keys, plain].into_iter().for_each(|paths| paths.sort_by(|a, b| by_name(a, b)));
    Ok(listed)
}

/// The order of names, in which numbers count as such: part.2 before part.10.
pub(crate) fn by_name(a: &Path, b: &Path) -> Ordering {
    let bytes = |path: &Path| path.file_name().unwrap_or_default().as_encoded_bytes().to_vec();
    let (whole_a, whole_b) = (bytes(a), bytes(b));
    let (mut a, mut b) = (&whole_a[..], &whole_b[..]);
    while let (Some(&first_a), Some(&first_b)) = (a.first(), b.first()) {
        let order = match first_a.is_ascii_digit() && first_b.is_ascii_digit() {
            true => {
                let (a, b) = (number(&mut a), number(&mut b));
                a.len().cmp(&b.len()).then(a.cmp(b))
            }
            false => {
                (a, b) = (&a[1..], &b[1..]);
                first_a.cmp(&first_b)
            }
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len()).then(whole_a.cmp(&whole_b))
}

/// Takes the digits that a text begins with, and gives them without zeros in front.
fn number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let (digits, rest) = text.split_at(text.iter().take_while(|byte| byte.is_ascii_digit()).count());
    *text = rest;
    &digits[digits.iter().take_while(|&&byte| byte == b'0').count()..]
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
