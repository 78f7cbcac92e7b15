//! A data set as CSR arrays in one memory-mapped image, and the folder where images are kept between starts.
//!
//! An image is a row of sections, each on a 64-byte boundary, then a footer in JSON, its length, its SHA-256 and a magic
//! number: what was cut or half written has no valid end. Numbers are in the machine's own byte order.

use super::filter::{Filter, histories};
use super::readers::{Clock, Columns, Format, Interactions, Names, Source};
use crate::error::{Error, Result};
use memmap2::{Mmap, MmapMut};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Part of every cache key: changes when an image of the same input would.
const VERSION: u32 = 1;
const MAGIC: &[u8; 16] = b"wgrec CSR image\n";
const ALIGN: u64 = 64;
/// What stands behind the footer: its length, its hash, the magic number.
const TAIL: usize = 8 + 32 + 16;

/// Interactions as histories: for every user the items in order of time.
///
/// Users count from 0; items from 1, since 0 is padding.
pub struct Dataset {
    map: Mmap,
    footer: Footer,
    offsets: Range<usize>,
    items: Range<usize>,
    times: Range<usize>,
    values: Option<Range<usize>>,
    behaviours: Option<Range<usize>>,
    user_names: [Range<usize>; 2],
    item_names: [Range<usize>; 2],
}

#[derive(Debug, Serialize, Deserialize)]
struct Footer {
    clock: Clock,
    behaviours: Vec<String>,
    /// What was read and what was left out, for people.
    notes: Vec<String>,
    /// Byte ranges.
    sections: BTreeMap<String, Range<usize>>,
    /// SHA-256 of all sections.
    fingerprint: String,
}

impl Dataset {
    /// Builds the histories of `data` in memory. `notes` says what was read, for people.
    ///
    /// # Errors
    /// If memory cannot be had.
    pub fn from_interactions(data: &Interactions, ties: super::filter::Ties, notes: Vec<String>) -> Result<Dataset> {
        let failed = |e: io::Error| Error::Failed(format!("no memory for {} interactions: {e}", data.len()));
        let mut image = vec![];
        write_image(&mut image, data, ties, notes).map_err(failed)?;
        let mut map = MmapMut::map_anon(image.len()).map_err(failed)?;
        map.copy_from_slice(&image);
        Ok(Dataset::from_image(map.make_read_only().map_err(failed)?).expect("a whole image"))
    }

    /// None if `map` is not a whole image.
    fn from_image(map: Mmap) -> Option<Dataset> {
        let (body, tail) = map.split_at_checked(map.len().checked_sub(TAIL)?)?;
        let (len, hash, magic) = (&tail[..8], &tail[8..40], &tail[40..]);
        let start = body.len().checked_sub(u64::from_ne_bytes(len.try_into().ok()?) as usize)?;
        if magic != MAGIC || Sha256::digest(&body[start..])[..] != *hash {
            return None;
        }
        let footer: Footer = serde_json::from_slice(&body[start..]).ok()?;
        let section = |name: &str| footer.sections.get(name).cloned().filter(|s| s.start <= s.end && s.end <= start);
        let dataset = Dataset {
            offsets: section("offsets")?,
            items: section("items")?,
            times: section("times")?,
            values: section("values"),
            behaviours: section("behaviours"),
            user_names: [section("user_bytes")?, section("user_ends")?],
            item_names: [section("item_bytes")?, section("item_ends")?],
            map,
            footer,
        };
        let sorted = dataset.offsets().is_sorted();
        (sorted && dataset.offsets().last().copied() == Some(dataset.all_items().len() as u64)).then_some(dataset)
    }

    fn section<T: bytemuck::Pod>(&self, range: &Range<usize>) -> &[T] {
        bytemuck::cast_slice(&self.map[range.clone()])
    }

    /// Where each user's interactions begin, and the end of the last's: \[users + 1\].
    pub fn offsets(&self) -> &[u64] {
        self.section(&self.offsets)
    }

    /// The histories of all users, one after the other: \[interactions\].
    pub fn all_items(&self) -> &[u32] {
        self.section(&self.items)
    }

    /// The times of [`Dataset::all_items`].
    pub fn all_times(&self) -> &[i64] {
        self.section(&self.times)
    }

    pub fn users(&self) -> usize {
        self.offsets().len() - 1
    }

    /// Number of items without padding: the largest item id.
    pub fn items(&self) -> usize {
        self.section::<u64>(&self.item_names[1]).len()
    }

    pub fn interactions(&self) -> usize {
        self.all_items().len()
    }

    fn of(&self, user: u32) -> Range<usize> {
        let offsets = self.offsets();
        offsets[user as usize] as usize..offsets[user as usize + 1] as usize
    }

    /// The user's items, oldest first.
    pub fn history(&self, user: u32) -> &[u32] {
        &self.all_items()[self.of(user)]
    }

    /// The times of the user's items, in units of [`Dataset::clock`].
    pub fn times(&self, user: u32) -> &[i64] {
        &self.all_times()[self.of(user)]
    }

    /// The values (ratings) of the user's items, if the file has them.
    pub fn values(&self, user: u32) -> Option<&[f32]> {
        self.values.as_ref().map(|values| &self.section(values)[self.of(user)])
    }

    /// The behaviours of the user's items as numbers in [`Dataset::behaviour_names`], if the file has them.
    pub fn behaviours(&self, user: u32) -> Option<&[u8]> {
        self.behaviours.as_ref().map(|behaviours| &self.section(behaviours)[self.of(user)])
    }

    pub fn behaviour_names(&self) -> &[String] {
        &self.footer.behaviours
    }

    pub fn clock(&self) -> Clock {
        self.footer.clock
    }

    /// What was read and what was left out, a line each.
    pub fn notes(&self) -> &[String] {
        &self.footer.notes
    }

    /// The id that the user has in the file.
    pub fn user_name(&self, user: u32) -> &str {
        self.name(&self.user_names, user)
    }

    /// The id that the item has in the file. `item` counts from 1.
    pub fn item_name(&self, item: u32) -> &str {
        self.name(&self.item_names, item - 1)
    }

    fn name(&self, [bytes, ends]: &[Range<usize>; 2], id: u32) -> &str {
        let (ends, id) = (self.section::<u64>(ends), id as usize);
        let start = if id == 0 { 0 } else { ends[id - 1] };
        std::str::from_utf8(&self.map[bytes.clone()][start as usize..ends[id] as usize]).unwrap_or("\u{fffd}")
    }

    /// The users of these ids, in this order.
    ///
    /// # Errors
    /// If an id does not occur.
    pub fn users_named<S: AsRef<str>>(&self, names: &[S]) -> Result<Vec<u32>> {
        let mut wanted: HashMap<&str, Option<u32>> = names.iter().map(|name| (name.as_ref(), None)).collect();
        for user in 0..self.users() as u32 {
            if let Some(found) = wanted.get_mut(self.user_name(user)) {
                *found = Some(user);
            }
        }
        names
            .iter()
            .map(|name| {
                let unknown = || Error::Usage(format!("no user {:?} in this data set", name.as_ref()));
                wanted[name.as_ref()].ok_or_else(unknown)
            })
            .collect()
    }

    /// A hash, in hex, of histories, times and ids: equal for equal data, whatever file they came from.
    pub fn fingerprint(&self) -> &str {
        &self.footer.fingerprint
    }
}

impl std::fmt::Debug for Dataset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (users, items, interactions) = (self.users(), self.items(), self.interactions());
        write!(f, "Dataset {{ {users} users, {items} items, {interactions} interactions }}")
    }
}

/// Sections on their way into an image.
struct Writer<W> {
    out: W,
    at: usize,
    hash: Sha256,
    sections: BTreeMap<String, Range<usize>>,
}

impl<W: Write> Writer<W> {
    /// Writes `parts`, one after the other, as section `name`.
    fn section<T: bytemuck::Pod>(&mut self, name: &str, parts: impl Iterator<Item = Vec<T>>) -> io::Result<()> {
        let gap = self.at.next_multiple_of(ALIGN as usize) - self.at;
        self.out.write_all(&[0; ALIGN as usize][..gap])?;
        let start = self.at + gap;
        self.at = start;
        self.hash.update(name);
        for part in parts {
            let bytes = bytemuck::cast_slice(&part);
            self.hash.update(bytes);
            self.out.write_all(bytes)?;
            self.at += bytes.len();
        }
        self.hash.update(((self.at - start) as u64).to_le_bytes());
        self.sections.insert(name.to_string(), start..self.at);
        Ok(())
    }

    fn names(&mut self, kind: &str, names: &Names) -> io::Result<()> {
        self.section(&format!("{kind}_bytes"), names.bytes().chunks(1 << 20).map(<[u8]>::to_vec))?;
        self.section(&format!("{kind}_ends"), names.ends().chunks(1 << 17).map(<[u64]>::to_vec))
    }
}

/// Gathers a column in the given order, a part at a time: a second copy of it never exists.
fn gather<'a, T: Copy>(order: &'a [u32], column: &'a [T]) -> impl Iterator<Item = Vec<T>> + 'a {
    order.chunks(1 << 16).map(|part| part.iter().map(|&at| column[at as usize]).collect())
}

fn write_image(out: impl Write, data: &Interactions, ties: super::filter::Ties, notes: Vec<String>) -> io::Result<()> {
    let (order, offsets) = histories(data, ties);
    let mut writer = Writer { out, at: 0, hash: Sha256::new(), sections: BTreeMap::new() };
    writer.section("offsets", std::iter::once(offsets))?;
    let from_one = |mut part: Vec<u32>| {
        part.iter_mut().for_each(|item| *item += 1);
        part
    };
    writer.section("items", gather(&order, &data.item).map(from_one))?;
    writer.section("times", gather(&order, &data.time))?;
    if let Some(values) = &data.value {
        writer.section("values", gather(&order, values))?;
    }
    if let Some(behaviours) = &data.behaviour {
        writer.section("behaviours", gather(&order, behaviours))?;
    }
    writer.names("user", &data.user_names)?;
    writer.names("item", &data.item_names)?;
    let Writer { mut out, mut hash, sections, .. } = writer;
    hash.update(data.behaviours.join("\n"));
    let fingerprint = hex(&hash.finalize());
    let footer = Footer { clock: data.clock, behaviours: data.behaviours.clone(), notes, sections, fingerprint };
    let footer = serde_json::to_vec(&footer)?;
    out.write_all(&footer)?;
    out.write_all(&(footer.len() as u64).to_ne_bytes())?;
    out.write_all(&Sha256::digest(&footer))?;
    out.write_all(MAGIC)?;
    out.flush()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A folder of images, each named by the hash of what it was made from.
#[derive(Clone, Debug)]
pub struct Cache {
    pub folder: PathBuf,
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

    /// The file for an input: a hash of its bytes, its format and columns, and the filter.
    pub fn file(&self, source: &Source, columns: &Columns, filter: &Filter) -> Result<PathBuf> {
        let mut hash = Sha256::new();
        hash.update(VERSION.to_ne_bytes());
        for file in &source.files {
            hash.update(hash_file(file)?);
        }
        let settings: (&Format, &Columns, &Filter) = (&source.format, columns, filter);
        hash.update(serde_json::to_vec(&settings).expect("settings are plain data"));
        Ok(self.folder.join(format!("{}.csr", &hex(&hash.finalize())[..32])))
    }

    /// Opens an image. None if there is none, or none that is whole.
    pub fn open(&self, file: &Path) -> Option<Dataset> {
        let open = File::open(file).ok()?;
        // SAFETY: images are written under another name and renamed when whole; nobody changes one in place.
        let map = unsafe { Mmap::map(&open) }.ok()?;
        Dataset::from_image(map)
    }

    /// Writes the image of `data` beside `file`, syncs it and renames it to `file`, so that no other start ever sees half of it.
    pub fn store(&self, file: &Path, data: &Interactions, filter: &Filter, notes: Vec<String>) -> Result<Dataset> {
        fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder, "create"))?;
        let temporary = file.with_extension(format!("{}.tmp", std::process::id()));
        let write = || -> io::Result<()> {
            let mut out = BufWriter::with_capacity(1 << 20, File::create(&temporary)?);
            write_image(&mut out, data, filter.ties, notes)?;
            out.into_inner().map_err(|e| e.into_error())?.sync_all()?;
            fs::rename(&temporary, file)
        };
        write().map_err(|e| {
            let _ = fs::remove_file(&temporary);
            Error::io(file, "write")(e)
        })?;
        self.open(file).ok_or_else(|| Error::io(file, "read back")(io::ErrorKind::InvalidData.into()))
    }
}

fn hash_file(path: &Path) -> Result<[u8; 32]> {
    let mut file = super::readers::text::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(Error::io(path, "read"))? {
            0 => return Ok(hash.finalize().into()),
            n => hash.update(&buffer[..n]),
        }
    }
}
