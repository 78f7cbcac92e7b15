//! The folder where data sets are kept between starts, each an image that is hashed whole.
//!
//! An image is the arrays of a [`Dataset`], one after the other; a footer in JSON with the length and the hash of each; the
//! footer's length and hash, and a magic number. So each byte of a file is checked when it is read: what was cut, half written
//! or changed is found. It is read into memory of its own, once, and then closed: what happens to the file later, a training
//! does not notice. The hash is XXH3, which runs as fast as memory: it finds damage, not a forger, who could as well change the
//! source. Numbers are in the machine's own byte order.
//!
//! Embeddings of items are kept as rows, with such a footer too; [`super::items`] maps them.

use super::dataset::{Dataset, hex};
use super::filter::Filter;
use super::readers::{Clock, Columns, Names, SkipBad, Source};
use crate::error::{Error, Result};
use crate::files::{is_running, replace, sweep};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use twox_hash::XxHash3_64;

/// Part of every cache key: changes when an image of the same input would.
const VERSION: u32 = 6;
const MAGIC: &[u8; 16] = b"wgrec CSR image\n";
const ROWS_MAGIC: &[u8; 16] = b"wgrec item rows\n";
/// What follows the footer: its length, its hash, the magic number.
const TAIL: usize = 8 + 8 + 16;
/// Bytes that are read and hashed at once: they stay in the processor's cache.
const PIECE: usize = 1 << 18;
/// Images together: when a new one makes it more, those go that were not used for the longest time.
const LIMIT: u64 = 16 << 30;

#[derive(Debug, Serialize, Deserialize)]
struct Footer {
    /// The file that was read.
    source: PathBuf,
    clock: Clock,
    behaviours: Vec<String>,
    /// What was read and what was left out, for people.
    notes: Vec<String>,
    fingerprint: String,
    sections: Vec<Section>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Section {
    name: String,
    bytes: u64,
    hash: u64,
}

fn write_image(out: &mut impl Write, data: &Dataset, source: &Path) -> io::Result<()> {
    let mut footer = Footer {
        source: source.to_path_buf(),
        clock: data.clock,
        behaviours: data.behaviour_names.clone(),
        notes: data.notes.clone(),
        fingerprint: data.fingerprint.clone(),
        sections: vec![],
    };
    for (name, bytes) in data.sections() {
        out.write_all(bytes)?;
        let (name, hash) = (name.to_string(), XxHash3_64::oneshot(bytes));
        footer.sections.push(Section { name, bytes: bytes.len() as u64, hash });
    }
    write_footer(out, MAGIC, &footer)
}

fn write_footer(out: &mut impl Write, magic: &[u8; 16], footer: &impl Serialize) -> io::Result<()> {
    let footer = serde_json::to_vec(footer)?;
    out.write_all(&footer)?;
    out.write_all(&(footer.len() as u64).to_ne_bytes())?;
    out.write_all(&XxHash3_64::oneshot(&footer).to_ne_bytes())?;
    out.write_all(magic)
}

/// What is wrong with an image.
fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Reads the footer, and leaves `file` at its start. And the number of bytes before the footer.
fn read_footer<F: DeserializeOwned>(file: &mut File, magic: &[u8; 16]) -> io::Result<(F, u64)> {
    let start = file.metadata()?.len().checked_sub(TAIL as u64).ok_or_else(|| damaged("a file that is cut"))?;
    let mut tail = [0; TAIL];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut tail)?;
    let number = |at: usize| u64::from_ne_bytes(tail[at..at + 8].try_into().expect("8 bytes"));
    if &tail[16..] != magic {
        return Err(damaged("a file that is cut or changed at its end"));
    }
    let start = start.checked_sub(number(0)).ok_or_else(|| damaged("a changed end"))?;
    let mut footer = vec![];
    file.seek(SeekFrom::Start(start))?;
    (&*file).take(number(0)).read_to_end(&mut footer)?;
    if XxHash3_64::oneshot(&footer) != number(8) {
        return Err(damaged("a changed footer"));
    }
    file.rewind()?;
    Ok((serde_json::from_slice(&footer)?, start))
}

fn read_image_footer(file: &mut File) -> io::Result<Footer> {
    let (footer, start) = read_footer::<Footer>(file, MAGIC)?;
    match footer.sections.iter().map(|section| section.bytes).sum::<u64>() == start {
        true => Ok(footer),
        false => Err(damaged("sections of another length")),
    }
}

/// Reads the next section of an image and checks it.
fn read_section<T: bytemuck::Pod>(file: &mut File, section: &Section) -> io::Result<Vec<T>> {
    let refused = |_| io::Error::from(io::ErrorKind::OutOfMemory);
    let (mut numbers, mut hasher) = (Vec::<T>::new(), XxHash3_64::new());
    numbers.try_reserve_exact(section.bytes as usize / size_of::<T>()).map_err(refused)?;
    let mut piece = vec![0u64; PIECE / 8];
    let piece: &mut [u8] = bytemuck::cast_slice_mut(&mut piece);
    let mut left = section.bytes as usize;
    while left > 0 {
        let piece = &mut piece[..left.min(PIECE)];
        file.read_exact(piece)?;
        hasher.write(piece);
        numbers.extend_from_slice(bytemuck::try_cast_slice(piece).map_err(|_| damaged("a section of odd length"))?);
        left -= piece.len();
    }
    match hasher.finish() == section.hash {
        true => Ok(numbers),
        false => Err(damaged(&format!("changed {}", section.name))),
    }
}

fn read_image(file: &mut File) -> io::Result<Dataset> {
    let Footer { clock, behaviours: behaviour_names, notes, fingerprint, sections, .. } = read_image_footer(file)?;
    let (mut offsets, mut items, mut times) = (vec![], vec![], vec![]);
    let (mut values, mut behaviours, mut parts) = (None, None, None);
    let [mut user_bytes, mut item_bytes] = [vec![], vec![]];
    let [mut user_ends, mut item_ends] = [vec![], vec![]];
    for section in &sections {
        match section.name.as_str() {
            "offsets" => offsets = read_section(file, section)?,
            "items" => items = read_section(file, section)?,
            "times" => times = read_section(file, section)?,
            "values" => values = Some(read_section(file, section)?),
            "behaviours" => behaviours = Some(read_section(file, section)?),
            "parts" => parts = Some(read_section(file, section)?),
            "user_bytes" => user_bytes = read_section(file, section)?,
            "user_ends" => user_ends = read_section(file, section)?,
            "item_bytes" => item_bytes = read_section(file, section)?,
            "item_ends" => item_ends = read_section(file, section)?,
            name => return Err(damaged(&format!("an unknown section {name}"))),
        }
    }
    let user_names = Names::from_parts(user_bytes, user_ends);
    let item_names = Names::from_parts(item_bytes, item_ends);
    Ok(Dataset {
        offsets,
        items,
        times,
        values,
        behaviours,
        parts,
        user_names,
        item_names,
        behaviour_names,
        clock,
        notes,
        fingerprint,
        sets: vec![],
        held_out: None,
    })
}

/// What a file of rows says about them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AboutRows {
    /// What was read, for people.
    pub about: String,
    /// Numbers of a row.
    pub width: usize,
    /// Whether they are f16, rather than f32.
    pub half: bool,
    /// SHA-256, in hex, by which a run knows them.
    pub hash: String,
    /// XXH3 of all bytes before the footer.
    pub check: u64,
}

/// A folder of images, each named by the hash of what it was made from.
#[derive(Clone, Debug)]
pub struct Cache {
    pub folder: PathBuf,
}

/// A file of a [`Cache`].
#[derive(Debug)]
pub struct Kept {
    pub path: PathBuf,
    pub bytes: u64,
    pub used: SystemTime,
    /// What it is, for people.
    pub about: String,
}

impl Cache {
    /// `$WGREC_CACHE`, else `$XDG_CACHE_HOME/wgrec`, else `~/.cache/wgrec`; None where there is no home either.
    pub fn usual() -> Option<Cache> {
        let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = var("WGREC_CACHE")
            .or_else(|| var("XDG_CACHE_HOME").map(|home| home.join("wgrec")))
            .or_else(|| var("HOME").map(|home| home.join(".cache/wgrec")))
            .or_else(|| var("LOCALAPPDATA").map(|home| home.join("wgrec")))?;
        Some(Cache { folder })
    }

    /// The file for an input: a hash of its bytes, its format and columns, the rows that may be left out, and the filter.
    pub fn file(&self, source: &Source, columns: &Columns, skip: SkipBad, filter: &Filter) -> Result<PathBuf> {
        let mut hash = Sha256::new();
        hash.update(VERSION.to_ne_bytes());
        for (file, keys) in source.files.iter().zip(&source.keys) {
            hash.update(hash_file(file)?);
            // What folders say is read too.
            hash.update(serde_json::to_vec(keys).expect("names and values"));
        }
        let settings = (&source.format, &source.parts, columns, skip, filter);
        hash.update(serde_json::to_vec(&settings).expect("settings are plain data"));
        Ok(self.folder.join(format!("{}.csr", &hex(&hash.finalize())[..32])))
    }

    /// Reads an image. None if it is missing.
    ///
    /// # Errors
    /// An image that is not whole, or has changed since it was written.
    pub fn open(&self, file: &Path) -> Result<Option<Dataset>> {
        let read = || -> io::Result<Dataset> {
            let mut open = File::open(file)?;
            let data = read_image(&mut open)?;
            // When it was used last; a system that does not keep it costs nothing but the order in which images go.
            let _ = open.set_modified(SystemTime::now());
            Ok(data)
        };
        match read() {
            Ok(data) => Ok(Some(data)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(Error::Input {
                path: file.to_path_buf(),
                line: None,
                column: None,
                found: e.to_string(),
                expected: "the data as it was kept".to_string(),
            }),
        }
    }

    /// Writes the image of `data`, which was read from `source`, to `file`, whole or not at all; and removes images while
    /// they take more than 16 GiB.
    pub fn store(&self, file: &Path, data: &Dataset, source: &Path) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder, "create"))?;
        let source = std::path::absolute(source).unwrap_or_else(|_| source.to_path_buf());
        replace(file, |out| write_image(out, data, &source))?;
        self.keep_below(LIMIT, file);
        Ok(())
    }

    /// The file of rows that are made of what `key` is a hash of.
    pub(super) fn rows_file(&self, key: &[u8]) -> PathBuf {
        self.folder.join(format!("{}.rows", &hex(key)[..32]))
    }

    /// Writes a file of rows, whole or not at all: `write` writes the bytes before the footer.
    pub(super) fn store_rows(
        &self,
        file: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<AboutRows>,
    ) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder, "create"))?;
        replace(file, |out| {
            let about = write(out)?;
            write_footer(out, ROWS_MAGIC, &about)
        })?;
        self.keep_below(LIMIT, file);
        Ok(())
    }

    /// Opens a file of rows, and checks each of its bytes. And the number of bytes before its footer.
    pub(super) fn open_rows(&self, file: &Path) -> io::Result<(File, AboutRows, usize)> {
        let mut file = File::open(file)?;
        let (about, bytes) = read_footer::<AboutRows>(&mut file, ROWS_MAGIC)?;
        let (mut hasher, mut piece, mut left) = (XxHash3_64::new(), vec![0; PIECE], bytes as usize);
        while left > 0 {
            let piece = &mut piece[..left.min(PIECE)];
            file.read_exact(piece)?;
            hasher.write(piece);
            left -= piece.len();
        }
        let _ = file.set_modified(SystemTime::now());
        match hasher.finish() == about.check {
            true => Ok((file, about, bytes as usize)),
            false => Err(damaged("changed rows")),
        }
    }

    /// Removes the files that were not used for the longest time, but never `new`, while all take more than `limit` bytes.
    fn keep_below(&self, limit: u64, new: &Path) {
        let mut kept = self.kept();
        kept.sort_by_key(|kept| kept.used);
        let mut bytes: u64 = kept.iter().map(|kept| kept.bytes).sum();
        for old in kept.iter().filter(|kept| kept.path != new) {
            if bytes > limit && fs::remove_file(&old.path).is_ok() {
                bytes -= old.bytes;
            }
        }
    }

    /// The files of the cache: images, and the pipelines that drivers have compiled. Other files in its folder do not count.
    pub fn kept(&self) -> Vec<Kept> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let kept = |entry: fs::DirEntry| {
            let (path, name, about) = (entry.path(), entry.file_name(), entry.metadata().ok()?);
            let is_file = about.is_file();
            let about_it = match name.to_str()? {
                name if is_named(name, ".csr") && is_file => describe(&path),
                name if is_named(name, ".rows") && is_file => describe_rows(&path),
                name if name.starts_with(PIPELINES) && !name.contains('.') && is_file => "compiled shaders".to_string(),
                _ => return None,
            };
            Some(Kept { path, bytes: about.len(), used: about.modified().ok()?, about: about_it })
        };
        entries.filter_map(kept).collect()
    }

    /// Removes what killed processes have left in the folder.
    pub fn sweep(&self) {
        sweep(&self.folder);
        // As earlier versions named what they were writing: by image or pipelines, and process.
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let of_image = name.strip_suffix(".tmp").and_then(|rest| rest.split_once('.'));
            let of_pipelines = name.strip_suffix(".new").and_then(|rest| rest.rsplit_once('.'));
            let pid = match (of_image, of_pipelines) {
                (Some((image, pid)), _) if is_named(&format!("{image}.csr"), ".csr") => pid,
                (_, Some((pipelines, pid))) if pipelines.starts_with(PIPELINES) => pid,
                _ => continue,
            };
            if pid.parse::<u32>().is_ok() && !is_running(pid) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes all files of the cache; returns their number and bytes.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn clear(&self) -> Result<(usize, u64)> {
        self.sweep();
        let kept = self.kept();
        for kept in &kept {
            fs::remove_file(&kept.path).map_err(Error::io(&kept.path, "remove"))?;
        }
        Ok((kept.len(), kept.iter().map(|kept| kept.bytes).sum()))
    }
}

/// How the names begin under which drivers' pipelines are kept, in `wgpu::util::pipeline_cache_key`.
const PIPELINES: &str = "wgpu_pipeline_cache_";

fn is_named(name: &str, ending: &str) -> bool {
    name.strip_suffix(ending).is_some_and(|hash| hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// What an image holds, from its footer only.
fn describe(image: &Path) -> String {
    let Ok(footer) = File::open(image).and_then(|mut file| read_image_footer(&mut file)) else {
        return "damaged, or of another version".to_string();
    };
    let count = |name: &str, size: u64| {
        footer.sections.iter().find(|section| section.name == name).map_or(0, |section| section.bytes / size)
    };
    let (events, users, items) = (count("items", 4), count("user_ends", 8), count("item_ends", 8));
    format!("{events} events, {users} users, {items} items of {}", footer.source.display())
}

fn describe_rows(file: &Path) -> String {
    let about = File::open(file).and_then(|mut file| read_footer::<AboutRows>(&mut file, ROWS_MAGIC));
    about.map_or_else(|_| "damaged, or of another version".to_string(), |(about, _)| about.about)
}

/// The SHA-256 of a file's bytes.
pub(crate) fn hash_file(path: &Path) -> Result<[u8; 32]> {
    let mut file = super::readers::text::open(path)?;
    let mut hash = Hashing(Sha256::new());
    io::copy(&mut io::BufReader::with_capacity(1 << 20, &mut file), &mut hash).map_err(Error::io(path, "read"))?;
    Ok(hash.0.finalize().into())
}

/// Hashes what is written to it.
struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataConfig;
    use crate::data::dataset::tests::{dataset, interactions};
    use crate::data::filter::Ties;
    use crate::tensor::philox::Stream;

    /// A data set with every section, and its image.
    fn image(folder: &Path) -> (Cache, PathBuf, Dataset) {
        let mut data = interactions(&[vec![30, 10], vec![], vec![10, 20, 10, 40]]);
        data.value = Some((0..6).map(|v| v as f32).collect());
        data.behaviour = Some(vec![0, 1, 0, 1, 1, 0]);
        data.behaviours = vec!["click".to_string(), "buy".to_string()];
        data.parts = Some(vec![0, 1, 0, 0, 1, 2]);
        let data = Dataset::new(data, Ties::File, vec!["note".to_string()]);
        let (cache, file) = (Cache { folder: folder.to_path_buf() }, folder.join(format!("{}.csr", "0a".repeat(16))));
        cache.store(&file, &data, Path::new("x.csv")).unwrap();
        (cache, file, data)
    }

    #[test]
    fn an_image_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, file, data) = image(folder.path());
        let again = cache.open(&file).unwrap().unwrap();
        assert!(again.sections().eq(data.sections()));
        assert_eq!(data.sections().count(), 10);
        assert_eq!(
            (again.notes(), again.clock(), again.behaviour_names()),
            (data.notes(), data.clock(), data.behaviour_names())
        );
        assert_eq!((again.fingerprint(), again.user_name(2), again.item_name(4)), (data.fingerprint(), "2", "40"));
        assert!(cache.open(&folder.path().join("missing.csr")).unwrap().is_none());
    }

    /// Every bit of every byte, and every length.
    #[test]
    fn whatever_changes_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, file, _) = image(folder.path());
        let whole = fs::read(&file).unwrap();
        let put = |bytes: &[u8]| fs::write(&file, bytes).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1 << (at % 8);
            put(&damaged);
            let error = cache.open(&file).unwrap_err().to_string();
            assert!(error.ends_with("expected the data as it was kept"), "byte {at}: {error}");
            put(&whole[..at]);
            assert!(cache.open(&file).is_err(), "cut to {at} bytes");
        }
        put(&[&whole[..], b"x"].concat());
        assert!(cache.open(&file).is_err());
        put(&whole);
        assert!(cache.open(&file).unwrap().is_some());
    }

    /// Sections of several pieces, and flips in any of them.
    #[test]
    fn long_sections_are_checked_to_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, file) = (Cache { folder: folder.path().to_path_buf() }, folder.path().join("long.csr"));
        let data = dataset(&(0..100).map(|user| (user..user + 2000).collect()).collect::<Vec<_>>());
        assert!(data.all_times().len() * 8 > 4 * PIECE);
        cache.store(&file, &data, Path::new("x")).unwrap();
        assert!(cache.open(&file).unwrap().unwrap().sections().eq(data.sections()));
        let whole = fs::read(&file).unwrap();
        let mut stream = Stream::new(7, "flips", 0);
        for _ in 0..100 {
            let mut damaged = whole.clone();
            let at = stream.below(damaged.len() as u32) as usize;
            damaged[at] ^= 1 << stream.below(8);
            fs::write(&file, &damaged).unwrap();
            assert!(cache.open(&file).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_damaged_image_is_made_again_and_noted() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: folder.path().join("a/b") };
        let input = folder.path().join("ratings.dat");
        fs::write(&input, "1::2::3::978300760\n1::3::3::978300761\n").unwrap();
        let config = DataConfig::default();
        let load = || config.load_with(&input, Some(&cache)).unwrap();
        let first = load();
        let images = || cache.kept().into_iter().map(|kept| kept.path).collect::<Vec<_>>();
        let [image] = &images()[..] else { panic!("{:?}", images()) };
        let whole = fs::read(image).unwrap();
        let mut damaged = whole.clone();
        damaged[9] ^= 4;
        fs::write(image, &damaged).unwrap();
        let again = load();
        assert!(again.sections().eq(first.sections()));
        let note = again.notes().last().unwrap();
        assert!(
            note.contains("found changed offsets; expected the data as it was kept; read from the source again"),
            "{note}"
        );
        assert!(fs::read(image).unwrap() == whole);
        assert_eq!(load().notes(), first.notes());

        // A training continues with what it has read, whatever happens to the file.
        fs::write(image, "").unwrap();
        assert!(again.sections().eq(first.sections()));

        // Other contents and other settings have images of their own.
        fs::write(&input, "1::2::3::978300760\n1::4::3::978300761\n").unwrap();
        load();
        DataConfig { ties: Ties::Item, ..config.clone() }.load_with(&input, Some(&cache)).unwrap();
        assert_eq!(images().len(), 3);
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("file");
        fs::write(&blocked, "1 2 3\n").unwrap();
        let cache = Cache { folder: blocked.clone() };
        let set = DataConfig::default().load_with(&blocked, Some(&cache)).unwrap();
        assert_eq!(set.interactions(), 2);
        assert!(set.notes().last().unwrap().starts_with("not cached: "), "{:?}", set.notes());
        assert!(cache.store(&blocked.join("x.csr"), &dataset(&[vec![1]]), Path::new("x")).is_err());
    }

    #[test]
    fn what_was_not_used_for_long_goes_first_and_what_is_foreign_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, first, data) = image(folder.path());
        let file = |n: u32| folder.path().join(format!("{n:032x}.csr"));
        let bytes = fs::metadata(&first).unwrap().len();
        for n in 1..=3 {
            cache.store(&file(n), &data, Path::new("x.csv")).unwrap();
        }
        let used = |path: &Path, seconds: u64| {
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
            File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
        };
        for (path, seconds) in [(&first, 30), (&file(1), 10), (&file(2), 20), (&file(3), 5)] {
            used(path, seconds);
        }
        // Read now, and so the last to go.
        cache.open(&file(1)).unwrap();
        cache.keep_below(2 * bytes, &file(3));
        assert_eq!([first.exists(), file(1).exists(), file(2).exists(), file(3).exists()], [false, true, false, true]);

        let foreign = ["notes.csr", "00.csr.bak", "mine.tmp"].map(|name| folder.path().join(name));
        let left = [".wgrec-aBcDeFgHiJkL.tmp".to_string(), format!("{}.4294967295.tmp", "0a".repeat(16))];
        let left = left.map(|name| folder.path().join(name));
        foreign.iter().chain(&left).for_each(|path| fs::write(path, "").unwrap());
        assert!(cache.kept().iter().all(|kept| kept.about.starts_with("6 events, 3 users, 4 items of ")));
        assert_eq!(cache.clear().unwrap(), (2, 2 * bytes));
        assert!(foreign.iter().all(|path| path.exists()) && !left.iter().any(|path| path.exists()));
    }
}
