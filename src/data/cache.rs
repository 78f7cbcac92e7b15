//! A data set as CSR arrays in one memory-mapped image, and the folder where images are kept between starts.
//!
//! An image is a row of sections, each on a 64-byte boundary, then a footer in JSON, its length, its SHA-256 and a magic
//! number: what was cut or half written has no valid end. Numbers are in the machine's own byte order.

use super::filter::{Filter, histories};
use super::readers::{Clock, Columns, Interactions, Names, SkipBad, Source};
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
const VERSION: u32 = 4;
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
    parts: Option<Range<usize>>,
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
            parts: section("parts"),
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

    /// Length of the longest history.
    pub fn longest(&self) -> usize {
        self.offsets().windows(2).map(|ends| (ends[1] - ends[0]) as usize).max().unwrap_or(0)
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

    /// The part of the split (0 training, 1 validation, 2 test) of each of the user's items, in this order, where the data
    /// comes cut in files.
    pub fn parts(&self, user: u32) -> Option<&[u8]> {
        self.parts.as_ref().map(|parts| &self.section(parts)[self.of(user)])
    }

    /// Whether the data comes cut in files: see [`Dataset::parts`].
    pub fn has_parts(&self) -> bool {
        self.parts.is_some()
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
    if let Some(parts) = &data.parts {
        writer.section("parts", gather(&order, parts))?;
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

    /// The file for an input: a hash of its bytes, its format and columns, the rows that may be left out, and the filter.
    pub fn file(&self, source: &Source, columns: &Columns, skip: SkipBad, filter: &Filter) -> Result<PathBuf> {
        let mut hash = Sha256::new();
        hash.update(VERSION.to_ne_bytes());
        for file in &source.files {
            hash.update(hash_file(file)?);
        }
        let settings = (&source.format, &source.parts, columns, skip, filter);
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::data::filter::{Dedup, Ties};

    /// Interactions of users "0", "1", ... with items named by their numbers; each event a second after the one before.
    pub(crate) fn interactions(histories: &[Vec<u32>]) -> Interactions {
        let mut items = crate::data::readers::Interner::default();
        let pairs =
            || histories.iter().zip(0u32..).flat_map(|(history, user)| history.iter().map(move |&item| (user, item)));
        let item: Vec<u32> = pairs().map(|(_, item)| items.intern(item.to_string().as_bytes()).unwrap()).collect();
        Interactions {
            user: pairs().map(|(user, _)| user).collect(),
            time: (0..item.len() as i64).map(|i| 1_000_000_000 + i).collect(),
            item,
            value: None,
            behaviour: None,
            behaviours: vec![],
            parts: None,
            user_names: (0..histories.len()).map(|user| user.to_string()).collect(),
            item_names: items.names,
            clock: Clock::Seconds,
            unended: false,
            notes: vec![],
        }
    }

    pub(crate) fn dataset(histories: &[Vec<u32>]) -> Dataset {
        Dataset::from_interactions(&interactions(histories), Ties::File, vec![]).unwrap()
    }

    fn filter() -> Filter {
        let behaviours = vec![];
        Filter {
            behaviours,
            min_value: None,
            dedup: Dedup::Event,
            min_user: 0,
            min_item: 0,
            ties: Ties::File,
            parts: true,
        }
    }

    #[test]
    fn histories_and_names() {
        let mut data = interactions(&[vec![30, 10], vec![], vec![10, 20, 10]]);
        data.value = Some(vec![1.0, 2.0, 3.0, 4.0, 5.0]);
        data.behaviour = Some(vec![0, 1, 0, 1, 1]);
        data.behaviours = vec!["click".to_string(), "buy".to_string()];
        data.time = vec![5, 4, 3, 2, 1];
        let set = Dataset::from_interactions(&data, Ties::File, vec!["note".to_string()]).unwrap();
        assert_eq!((set.users(), set.items(), set.interactions()), (3, 3, 5));
        assert_eq!((set.history(0), set.history(1), set.history(2)), (&[2, 1][..], &[][..], &[2, 3, 2][..]));
        assert_eq!(
            (set.times(2), set.values(2), set.behaviours(2)),
            (&[1, 2, 3][..], Some(&[5.0, 4.0, 3.0][..]), Some(&[1, 1, 0][..]))
        );
        assert_eq!((set.item_name(1), set.item_name(3), set.user_name(2)), ("30", "20", "2"));
        assert_eq!((set.notes(), set.behaviour_names()), (&["note".to_string()][..], &data.behaviours[..]));
        assert_eq!(set.users_named(&["2", "0"]).unwrap(), [2, 0]);
        assert!(set.users_named(&["3"]).unwrap_err().to_string().contains("no user \"3\""));
    }

    #[test]
    fn the_fingerprint_is_that_of_the_data() {
        let data = interactions(&[vec![1, 2, 3], vec![2, 3]]);
        let print = |data: &Interactions| {
            Dataset::from_interactions(data, Ties::File, vec![]).unwrap().fingerprint().to_string()
        };
        assert_eq!(print(&data), print(&data.clone()));
        let mut other = data.clone();
        other.time[4] += 1;
        assert_ne!(print(&data), print(&other));
        let mut other = data.clone();
        other.item.swap(0, 1);
        assert_ne!(print(&data), print(&other));
        let mut other = data.clone();
        other.user_names = ["0", "x"].iter().collect();
        assert_ne!(print(&data), print(&other));
    }

    #[test]
    fn a_damaged_image_is_not_opened_and_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { folder: folder.path().join("a/b") };
        let input = folder.path().join("ratings.dat");
        fs::write(&input, "1::2::3::978300760\n1::3::3::978300761\n").unwrap();
        let config = crate::data::DataConfig::default();
        let load = || config.load_with(&input, Some(&cache)).unwrap();
        let first = load();
        let images = || fs::read_dir(&cache.folder).unwrap().map(|f| f.unwrap().path()).collect::<Vec<_>>();
        let [image] = &images()[..] else { panic!("{:?}", images()) };
        let whole = fs::read(image).unwrap();

        let set = cache.open(image).unwrap();
        assert_eq!((set.fingerprint(), set.notes()), (first.fingerprint(), first.notes()));
        drop((first, set));
        for len in [0, 1, 55, 56, whole.len() / 2, whole.len() - 1] {
            fs::write(image, &whole[..len]).unwrap();
            assert!(cache.open(image).is_none(), "cut to {len} bytes");
        }
        let mut damaged = whole.clone();
        let footer = whole.len() - TAIL - 10;
        damaged[footer] ^= 1;
        fs::write(image, &damaged).unwrap();
        assert!(cache.open(image).is_none());
        drop(load());
        assert_eq!(fs::read(image).unwrap(), whole);

        // Other contents and other settings have images of their own.
        fs::write(&input, "1::2::3::978300760\n1::4::3::978300761\n").unwrap();
        load();
        crate::data::DataConfig { ties: Ties::Item, ..config.clone() }.load_with(&input, Some(&cache)).unwrap();
        assert_eq!(images().len(), 3);
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("file");
        fs::write(&blocked, "1 2 3\n").unwrap();
        let cache = Cache { folder: blocked.clone() };
        let set = crate::data::DataConfig::default().load_with(&blocked, Some(&cache)).unwrap();
        assert_eq!(set.interactions(), 2);
        assert!(set.notes().last().unwrap().starts_with("not cached: "), "{:?}", set.notes());
        assert!(cache.store(&blocked.join("x.csr"), &interactions(&[vec![1]]), &filter(), vec![]).is_err());
    }
}
