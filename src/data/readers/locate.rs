//! From a path to the files to read and their format.

use super::columns::Columns;
use super::formats::{self, Declared, Format, Head, Shape};
use super::parts::{self, Key};
use super::text::{Text, open, show, unpack};
use crate::error::{Error, Result};
use crate::files::is_temporary;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The parts that RecBole cuts data into, a file each.
const PARTS: [&str; 3] = ["train", "valid", "test"];

/// Lines, and about the number of bytes of them, that are looked at to recognise a format.
const LINES: usize = 1000;
const BYTES: usize = 1 << 16;

/// What is read: the files of one table, and their format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub format: Format,
    pub files: Vec<PathBuf>,
    /// The part of the split (0 training, 1 validation, 2 test) that each file is, where they are cut so.
    pub parts: Vec<Option<u8>>,
    /// The columns that the folders of each file say.
    pub(crate) keys: Vec<Vec<Key>>,
    pub(crate) layout: &'static Declared,
}

impl Source {
    fn of(layout: &'static Declared, files: Vec<PathBuf>) -> Source {
        let format = formats::name(layout);
        let part = |file: &PathBuf| part_of(file).map(|(part, _)| part as u8);
        let cut = layout.shape == Shape::Atomic && files.len() > 1;
        let parts = files.iter().map(|file| part(file).filter(|_| cut)).collect();
        let keys = vec![vec![]; files.len()];
        Source { format, files, parts, keys, layout }
    }
}

/// Finds the interactions under `path`, a file or a folder, and detects their format by content unless `format` is given.
///
/// In a folder the usual names are looked for first; then a single file whose contents are a known format will do, or the part
/// files of one table. In a folder with nothing but another folder it is that one that counts. `columns` that are named make a
/// table of any text.
///
/// # Errors
/// A file of no known format; a folder without a file of interactions, or with several.
pub fn locate(path: &Path, format: Option<Format>, columns: &Columns) -> Result<Source> {
    if path.is_dir() {
        return in_folder(path, format, columns, parts::DEEPEST);
    }
    let layout = recognise(path, format, columns)?;
    let files = match layout.shape {
        Shape::Benchmark | Shape::Atomic => cut_with(path),
        _ => vec![path.to_path_buf()],
    };
    Ok(Source::of(layout, files))
}

fn in_folder(folder: &Path, format: Option<Format>, columns: &Columns, depth: usize) -> Result<Source> {
    let files = files(folder)?;
    let known = |file: &&PathBuf| {
        let other_part = part_of(file).is_some_and(|(part, _)| part > 0 && cut_with(file).first() != Some(file));
        // Notes are prose, and attributes have ids too.
        let name = unpacked_name(file);
        let prose = name.starts_with("readme") || name.starts_with("licen") || name.starts_with("meta");
        !other_part && !prose && looks_like(file, format, columns).is_some()
    };
    let mut found: Vec<&PathBuf> = files.iter().filter(known).collect();
    let usual: Vec<&PathBuf> = found.iter().copied().filter(|file| usually_ratings(&unpacked_name(file))).collect();
    if !usual.is_empty() {
        found = usual;
    }
    let wanted = format.is_none_or(|format| format == Format::PARQUET);
    if let Some(table) = if wanted { parts::of(folder)? } else { None }
        && (format.is_some() || found.iter().all(|file| table.contains(file)))
    {
        let layout = formats::of(Format::PARQUET).next().expect("it is declared");
        let keys = table.iter().map(|file| parts::keys(file, folder)).collect();
        return Ok(Source { keys, ..Source::of(layout, table) });
    }
    let layouts: Vec<&Declared> = found.iter().filter_map(|file| looks_like(file, format, columns)).collect();
    let alike = layouts.windows(2).all(|pair| pair[0] == pair[1]);
    if let Some(first) =
        layouts.first().filter(|first| alike && matches!(first.shape, Shape::Header(_) | Shape::Json(_)))
    {
        let table = parts::with(found[0], &files);
        if table.len() > 1 && found.iter().all(|file| table.contains(file)) {
            return Ok(Source::of(first, table));
        }
    }
    if let [file] = found[..] {
        return locate(file, format, columns);
    }
    // The Netflix Prize comes in several files.
    if let Some(first) = layouts.first().filter(|first| alike && first.shape == Shape::Netflix) {
        return Ok(Source::of(first, found.into_iter().cloned().collect()));
    }
    let folders = if found.is_empty() { parts::plain_folders(folder)? } else { vec![] };
    if let ([only], Some(depth)) = (&folders[..], depth.checked_sub(1)) {
        return in_folder(only, format, columns, depth);
    }
    let (count, names) = match found.is_empty() {
        true => (folders.len(), listed(folders.iter())),
        false => (found.len(), listed(found.into_iter())),
    };
    let (found, itself) = match (folders.is_empty(), count) {
        (false, _) => (format!("no file that looks like interactions, and the folders {names}"), "file or folder"),
        (_, 0) => ("a folder without a file that looks like interactions".to_string(), "file"),
        (_, n) if n > 10 => (format!("a folder with {n} files that may be the interactions: {names}"), "file"),
        _ => (format!("a folder with several files that may be the interactions: {names}"), "file"),
    };
    let expected = format!(
        "one such file (ratings.*, interactions.*, events.*, u.data, *.inter, *.parquet, ...), or the parts of one table \
         alone (part-0.*, part-1.*, ...); name the {itself} itself"
    );
    Err(Error::Input { path: folder.to_path_buf(), line: None, column: None, found, expected })
}

/// Names for a message.
fn listed<'a>(paths: impl ExactSizeIterator<Item = &'a PathBuf>) -> String {
    let more = if paths.len() > 10 { ", ..." } else { "" };
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    paths.take(10).map(name).collect::<Vec<_>>().join(", ") + more
}

/// The files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, "list"))? {
        let path = entry.map_err(Error::io(folder, "list"))?.path();
        if path.is_file() && !is_temporary(&unpacked_name(&path)) {
            files.push(path);
        }
    }
    files.sort_by(|a, b| parts::by_name(a, b));
    Ok(files)
}

/// The file next to `path`, a file of interactions or its folder, that belongs to what is there: `belongs` is given its name
/// and the name of another file. None if several files belong, since nothing decides between them.
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
    match ending {
        "inter" => true,
        "dat" => stem == "ratings",
        "data" => stem == "u",
        "csv" | "tsv" | "txt" | "json" | "jsonl" | "parquet" => {
            ["ratings", "rating", "interactions", "events", "reviews"].contains(&stem)
        }
        _ => false,
    }
}

/// Which part `X.train.inter`, `X.valid.inter` or `X.test.inter` is, and the whole name.
fn part_of(file: &Path) -> Option<(usize, String)> {
    let name = file.file_name()?.to_str()?.to_string();
    let part = PARTS.iter().position(|part| name.contains(&format!(".{part}.inter")))?;
    Some((part, name))
}

/// A part of a split and its neighbours, as far as they exist; any of the three may be named. Any other file by itself.
fn cut_with(file: &Path) -> Vec<PathBuf> {
    let Some((own, name)) = part_of(file) else { return vec![file.to_path_buf()] };
    let ending = |part: &str| format!(".{part}.inter");
    let of = |part: &str| file.with_file_name(name.replace(&ending(PARTS[own]), &ending(part)));
    PARTS.iter().map(|part| of(part)).filter(|file| file.is_file()).collect()
}

/// The layout of a file, by its first bytes, and by `format` and `columns` where they are given.
fn recognise(path: &Path, format: Option<Format>, columns: &Columns) -> Result<&'static Declared> {
    let mut asked = format.into_iter().flat_map(formats::of);
    if let (Some(only), None) = (asked.next(), asked.next()) {
        open(path)?;
        return Ok(only);
    }
    if format.is_none() && is_parquet(path)? {
        return Ok(formats::of(Format::PARQUET).next().expect("it is declared"));
    }
    let head = head(path)?;
    // The reader says what it misses in an object, or in the columns that are named.
    let object = head.first.trim_ascii_start().starts_with(b"{");
    let otherwise = if object { Some(Format::JSON) } else { columns.name_a_table().then_some(Format::DELIMITED) };
    let named = format.or(otherwise);
    let found = formats::recognise(&head, format);
    found.or_else(|| formats::of(named?).last()).ok_or_else(|| Error::Input {
        path: path.to_path_buf(),
        line: Some(1),
        column: None,
        found: show(head.first.trim_ascii()),
        expected: "the first line of a known format (a header with a user and an item column, user::item::rating::time, \
                   user item item ..., a JSON object); or name the format with --format, or columns with --user-column and \
                   --item-column"
            .to_string(),
    })
}

/// The layout of a file of a folder, by its contents whatever `format` says; none if it is no interactions.
fn looks_like(path: &Path, format: Option<Format>, columns: &Columns) -> Option<&'static Declared> {
    if is_parquet(path).ok()? {
        let parquet = formats::of(Format::PARQUET).next();
        return parquet.filter(|_| format.is_none_or(|format| format == Format::PARQUET));
    }
    let found = formats::recognise(&head(path).ok()?, format);
    let named = columns.name_a_table() && format.is_none_or(|format| format == Format::DELIMITED);
    found.or_else(|| formats::of(Format::DELIMITED).next().filter(|_| named))
}

fn is_parquet(path: &Path) -> Result<bool> {
    let mut magic = vec![];
    Ok(unpack(path)?.take(4).read_to_end(&mut magic).is_ok() && magic == b"PAR1")
}

fn head(path: &Path) -> Result<Head> {
    let mut text = Text::open(path)?;
    let (mut first, mut others) = (vec![], vec![]);
    text.next(&mut first)?;
    let (mut line, mut bytes) = (vec![], 0);
    while others.len() < LINES && bytes < BYTES && text.next(&mut line)? {
        bytes += line.len();
        others.push(line.clone());
    }
    Ok(Head { first, others })
}
