//! From a path to the files to read and their format.

use super::text::{Text, open, show, unpack};
use super::{Format, Role, plain};
use crate::error::{Error, Result};
use std::io::Read;
use std::path::{Path, PathBuf};

/// What is read: one file, or for [`Format::Benchmark`] the training, validation and test files, as far as they exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub format: Format,
    pub files: Vec<PathBuf>,
}

/// Finds the ratings under `path`, a file or a folder, and tells their format by content unless `format` is given.
///
/// In a folder the usual names are looked for first; then a single file whose contents are a known format will do.
pub fn locate(path: &Path, format: Option<Format>) -> Result<Source> {
    let file = match path.is_dir() {
        true => in_folder(path, format)?,
        false => path.to_path_buf(),
    };
    let format = match format {
        Some(format) => {
            open(&file)?;
            format
        }
        None => sniff(&file)?,
    };
    let files = match format {
        Format::Benchmark => benchmark_files(&file),
        _ => vec![file],
    };
    Ok(Source { format, files })
}

fn in_folder(folder: &Path, format: Option<Format>) -> Result<PathBuf> {
    let files = files(folder)?;
    let mut named: Vec<&PathBuf> = files.iter().filter(|file| usually_ratings(&unpacked_name(file))).collect();
    if named.is_empty() {
        // Notes are prose; everything else is looked into.
        named = files.iter().filter(|file| !unpacked_name(file).starts_with("readme") && sniff(file).is_ok()).collect();
    }
    if let Some(format) = format
        && named.len() > 1
    {
        named.retain(|file| sniff(file).is_ok_and(|f| f == format));
    }
    match named[..] {
        [file] => Ok(file.clone()),
        ref several => {
            let names: Vec<_> = several.iter().filter_map(|f| f.file_name()).map(|f| f.to_string_lossy()).collect();
            let found = match names.is_empty() {
                true => "a folder without a file that looks like interactions".to_string(),
                false => format!("a folder with several files that may be the interactions: {}", names.join(", ")),
            };
            let expected =
                "one such file (ratings.dat, ratings.csv, u.data, *.inter, interactions.*, events.*, *.parquet, \
                            ...); name the file itself"
                    .to_string();
            Err(Error::Input { path: folder.to_path_buf(), line: None, column: None, found, expected })
        }
    }
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
        let path = entry.map_err(Error::io(folder, "list"))?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The file that lies beside `path`, a file of interactions or its folder, and belongs to what is there: `belongs` is given its
/// name and that of another file. Of several there is no telling which it is: none.
pub(crate) fn beside(path: &Path, belongs: impl Fn(&str, &str) -> bool) -> Result<Option<PathBuf>> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new(".")) };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let files: Vec<(String, PathBuf)> = files(folder)?.into_iter().map(|path| (unpacked_name(&path), path)).collect();
    let mut found = files.iter().filter(|(name, _)| files.iter().any(|(other, _)| belongs(name, other)));
    let first = found.next().map(|(_, path)| path.clone());
    Ok(first.filter(|_| found.next().is_none()))
}

/// Whether `name` and `other` are one stem with the endings `ending` and `.inter`.
pub(crate) fn beside_inter(name: &str, ending: &str, other: &str) -> bool {
    name.strip_suffix(ending).is_some_and(|stem| other.strip_suffix(".inter") == Some(stem))
}

/// A file's name in lower case, without .gz and .zst.
pub(crate) fn unpacked_name(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    name.trim_end_matches(".gz").trim_end_matches(".zst").to_string()
}

fn usually_ratings(name: &str) -> bool {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
    let part_of_benchmark = stem.ends_with(".valid") || stem.ends_with(".test");
    match ending {
        "inter" => !part_of_benchmark,
        "parquet" => true,
        "dat" => stem == "ratings",
        "data" => stem == "u",
        "csv" | "tsv" | "txt" => ["ratings", "interactions", "events", "reviews"].contains(&stem),
        "json" | "jsonl" => !stem.starts_with("meta"),
        _ => false,
    }
}

/// `X.train.inter` and its neighbours; any of the three may be named.
fn benchmark_files(file: &Path) -> Vec<PathBuf> {
    let name = file.file_name().unwrap_or_default().to_string_lossy().to_string();
    let Some(part) = ["train", "valid", "test"].into_iter().find(|part| name.contains(&format!(".{part}.inter")))
    else {
        return vec![file.to_path_buf()];
    };
    let sibling = |other| file.with_file_name(name.replace(&format!(".{part}.inter"), &format!(".{other}.inter")));
    ["train", "valid", "test"].into_iter().map(sibling).filter(|f| f.is_file()).collect()
}

/// The format of a file, by its first bytes.
fn sniff(path: &Path) -> Result<Format> {
    let mut magic = vec![];
    if unpack(path)?.take(4).read_to_end(&mut magic).is_ok() && magic == b"PAR1" {
        return Ok(Format::Parquet);
    }
    let mut text = Text::open(path)?;
    let head = text.head()?;
    let line = head.split(|&b| b == b'\n').next().unwrap_or_default().trim_ascii();
    sniff_line(line).ok_or_else(|| Error::Input {
        path: path.to_path_buf(),
        line: Some(1),
        column: None,
        found: show(line),
        expected:
            "the first line of a known format (a header with a user and an item column, user::item::rating::time, \
                   user item item ..., a JSON review); or name the format with --format"
                .to_string(),
    })
}

fn sniff_line(line: &[u8]) -> Option<Format> {
    let line = std::str::from_utf8(line).unwrap_or_else(|e| {
        // The head may end within a character; what is before it decides.
        std::str::from_utf8(&line[..e.valid_up_to()]).unwrap_or_default()
    });
    if line.starts_with('{') {
        return Some(Format::Amazon);
    }
    if line.split("::").count() == 4 && line.split("::").nth(3)?.parse::<f64>().is_ok() {
        return Some(Format::MovieLens);
    }
    let fields: Vec<&str> = line.split('\t').collect();
    if fields.iter().all(|field| super::atomic::typed(field).is_some()) {
        let listed = fields.iter().any(|field| field.starts_with("item_id_list:"));
        return Some(if listed { Format::Benchmark } else { Format::Atomic });
    }
    if fields.len() == 4 && fields.iter().all(|field| field.parse::<f64>().is_ok()) {
        return Some(Format::MovieLens);
    }
    if line == "userId,movieId,rating,timestamp" {
        return Some(Format::MovieLens);
    }
    if super::delimited::delimiter_of(line).is_some_and(|delimiter| {
        let names: Vec<String> = line.split(delimiter).map(|name| plain(name.trim_matches('"'))).collect();
        [Role::User, Role::Item].iter().all(|role| names.iter().any(|name| role.usual().contains(&name.as_str())))
    }) {
        return Some(Format::Delimited);
    }
    let words = line.split(' ').filter(|word| !word.is_empty()).count();
    let numeric = line.bytes().all(|b| b.is_ascii_digit() || b == b' ');
    (words >= 2 && numeric).then_some(Format::Sequences)
}
