//! A file of vectors by item, made batch by batch: it is written whole, and what is done outlives a kill.
//!
//! Vectors go to `OUTPUT.partial` as they are made, a record a batch: for each input whether it has a vector, the vectors in f32,
//! and a hash of both. The same job finds them there, drops a record that is cut, and continues. So the file is the same
//! to the byte, however often the job was killed.

use super::wrong;
use crate::data::dataset::hex;
use crate::error::{Error, Result};
use crate::files::{open_kept, replace, try_lock};
use half::f16;
use safetensors::Dtype;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use twox_hash::XxHash3_64;

/// The first bytes of a partial file; a hash of the job follows.
const MAGIC: &[u8; 8] = b"wgrec-e1";

/// How the numbers of vectors are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Numbers {
    /// Half the size; three digits of precision
    F16,
    /// As they were computed
    F32,
}

impl Numbers {
    fn dtype(self) -> Dtype {
        match self {
            Numbers::F16 => Dtype::F16,
            Numbers::F32 => Dtype::F32,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Numbers::F16 => 2,
            Numbers::F32 => 4,
        }
    }

    /// Appends `values` to `out`.
    fn put(self, values: &[f32], out: &mut Vec<u8>) {
        match self {
            Numbers::F16 => out.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
            Numbers::F32 => out.extend(values.iter().flat_map(|x| x.to_le_bytes())),
        }
    }
}

/// Vectors to be made, and the file to write: safetensors `NAME` \[items, width\] and `NAME_missing` \[items\] (u8, 1: the item has
/// none, and its row is 0). The metadata has `ids`, the items' ids as a JSON list, and `wgrec`, the version and `about` as JSON.
pub struct Job<'a> {
    pub output: &'a Path,
    /// What is encoded, `text` or `image`: the tensor's name.
    pub name: &'static str,
    pub numbers: Numbers,
    pub width: usize,
    /// All that the vectors depend on: hashes of the encoder and of the inputs, settings, the device.
    pub about: Map<String, Value>,
    /// The items' ids, by row.
    pub ids: &'a [String],
    /// For each item the numbers of its inputs, whose vectors are averaged. One without inputs is missing.
    pub inputs: &'a [Vec<u32>],
    /// The numbers of all distinct inputs, in the order in which they are encoded.
    pub batches: &'a [Vec<u32>],
}

/// What a job did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    pub items: usize,
    /// Items without a vector.
    pub missing: usize,
    /// Distinct inputs.
    pub inputs: usize,
    /// Those without a vector.
    pub skipped: usize,
    /// Those that an earlier run had encoded.
    pub resumed: usize,
}

/// A vector for each input of a batch, or none for one that is left out.
pub type Encoded = Vec<Option<Vec<f32>>>;

impl Job<'_> {
    /// Makes the vectors that are not made yet, and writes the file. `encode` gives a vector for each input of a batch, or none for one that
    /// is left out. `progress` is told each batch that is done, those of an earlier run too.
    ///
    /// # Errors
    /// Those of `encode`. A partial file of another job; one that another process writes. [`Error::NotFinite`]: a vector that
    /// is not finite. No item with a vector, or a number that f16 cannot hold.
    pub fn run(
        &self,
        encode: &mut dyn FnMut(&[u32]) -> Result<Encoded>,
        progress: &mut dyn FnMut(&[u32]),
    ) -> Result<Done> {
        let (mut partial, resumed) = Partial::open(self)?;
        self.batches[..resumed].iter().for_each(|batch| progress(batch));
        for batch in &self.batches[resumed..] {
            let vectors = encode(batch)?;
            for (input, vector) in batch.iter().zip(&vectors) {
                self.check(*input, vector.as_deref())?;
            }
            partial.append(self, &vectors)?;
            progress(batch);
        }
        let missing = self.missing(&partial);
        let done = Done {
            items: self.ids.len(),
            missing: missing.iter().filter(|missing| **missing).count(),
            skipped: partial.places.values().filter(|place| place.is_none()).count(),
            inputs: partial.places.len(),
            resumed: self.batches[..resumed].iter().map(Vec::len).sum(),
        };
        if done.missing == done.items {
            partial.remove();
            let why = if done.skipped > 0 { "that could be encoded" } else { "to encode" };
            return Err(Error::Usage(format!("no item has {} {why}: nothing is written", with_article(self.name))));
        }
        self.write(&mut partial, &missing)?;
        partial.remove();
        Ok(done)
    }

    /// Checks the vector of an input.
    fn check(&self, input: u32, vector: Option<&[f32]>) -> Result<()> {
        let vector = vector.unwrap_or_default();
        let broken = vector.iter().find(|x| !x.is_finite());
        let large = || vector.iter().find(|x| self.numbers == Numbers::F16 && !f16::from_f32(**x).is_finite());
        let of = || {
            let item = self.inputs.iter().position(|inputs| inputs.contains(&input)).map(|item| &self.ids[item]);
            format!("the {} of item {}", self.name, item.map_or("?", |id| id))
        };
        match (broken, large()) {
            (Some(x), _) => Err(Error::NotFinite(format!("{}: its vector is not finite, but has {x}", of()))),
            (_, Some(x)) => {
                let why = "which f16 cannot hold; take --dtype f32";
                Err(Error::Usage(format!("{}: its vector has {x}, {why}", of())))
            }
            _ => Ok(()),
        }
    }

    /// Whether each item has no vector.
    fn missing(&self, partial: &Partial) -> Vec<bool> {
        let has = |input: &u32| partial.places.get(input).is_some_and(Option::is_some);
        self.inputs.iter().map(|inputs| !inputs.iter().any(has)).collect()
    }

    fn write(&self, partial: &mut Partial, missing: &[bool]) -> Result<()> {
        let (items, rows) = (self.ids.len(), self.ids.len() * self.width * self.numbers.bytes());
        let mut about = Map::from_iter([("version".to_string(), env!("CARGO_PKG_VERSION").into())]);
        about.extend(self.about.clone());
        // Not by safetensors' own types: they write metadata in any order.
        let header = json!({
            "__metadata__": {"wgrec": Value::Object(about).to_string(), "ids": json!(self.ids).to_string()},
            self.name: {"dtype": self.numbers.dtype(), "shape": [items, self.width], "data_offsets": [0, rows]},
            format!("{}_missing", self.name): {"dtype": Dtype::U8, "shape": [items], "data_offsets": [rows, rows + items]},
        });
        let mut header = header.to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut row = vec![];
        replace(self.output, |out| {
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(&header)?;
            for inputs in self.inputs {
                row.clear();
                self.numbers.put(&partial.mean(inputs, self.width)?, &mut row);
                out.write_all(&row)?;
            }
            out.write_all(&missing.iter().map(|&missing| missing as u8).collect::<Vec<_>>())
        })
    }

    /// A hash of all that the records of a partial file depend on.
    fn hash(&self) -> [u8; 32] {
        let all =
            json!([env!("CARGO_PKG_VERSION"), self.name, self.width, self.about, self.ids, self.inputs, self.batches]);
        Sha256::digest(all.to_string()).into()
    }
}

fn with_article(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {name}")
}

/// The file of vectors that are made, open and locked.
struct Partial {
    path: PathBuf,
    file: File,
    /// Bytes of whole records.
    end: u64,
    batches: usize,
    /// Of each input that is done, the byte that its vector begins at; none for one that has no vector.
    places: HashMap<u32, Option<u64>>,
}

impl Partial {
    /// Opens the partial file of a job, or creates it. The second value is the number of batches that it holds.
    fn open(job: &Job) -> Result<(Partial, usize)> {
        let mut path = job.output.as_os_str().to_owned();
        path.push(".partial");
        let path = PathBuf::from(path);
        let file = open_kept(&path)?;
        if matches!(try_lock(&file), Ok(false)) {
            return Err(Error::Usage(format!("{}: another process is writing it; wait for its end", path.display())));
        }
        let mut partial = Partial { path, file, end: 0, batches: 0, places: HashMap::new() };
        partial.read(job)?;
        let batches = partial.batches;
        Ok((partial, batches))
    }

    /// Reads the whole records of the job, and cuts off what follows them.
    fn read(&mut self, job: &Job) -> Result<()> {
        let header = [&MAGIC[..], &job.hash()].concat();
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        let mut found = vec![];
        let failed = || Error::io(&self.path, "read");
        reader.by_ref().take(header.len() as u64).read_to_end(&mut found).map_err(failed())?;
        if found.len() == header.len() && found != header {
            let hash = hex(&found[MAGIC.len()..][..6]);
            let found = match found.starts_with(MAGIC) {
                true => format!("vectors of another encoder, other settings or other items ({hash}...)"),
                false => "no vectors of wgrec".to_string(),
            };
            let expected = "what an earlier run of this very command left; remove it, or name another --output";
            return Err(wrong(&self.path, found, expected));
        }
        let mut records = vec![];
        if found == header {
            self.end = header.len() as u64;
            for (at, batch) in job.batches.iter().enumerate() {
                let mut record = vec![0; batch.len() * (1 + 4 * job.width) + 8];
                match reader.read_exact(&mut record) {
                    Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => break,
                    read => read.map_err(failed())?,
                }
                if !is_whole(at, &record) {
                    break;
                }
                records.push(record[..batch.len()].to_vec());
            }
        }
        drop(reader);
        for has in &records {
            self.done(job, has);
        }
        let mut cut = || -> io::Result<()> {
            self.file.set_len(self.end)?;
            self.file.seek(SeekFrom::Start(self.end))?;
            if self.end == 0 {
                self.file.write_all(&header)?;
                self.end = header.len() as u64;
            }
            Ok(())
        };
        cut().map_err(Error::io(&self.path, "write"))
    }

    /// Notes that the next batch is in the file; `has` is not 0 for inputs that have a vector.
    fn done(&mut self, job: &Job, has: &[u8]) {
        let batch = &job.batches[self.batches];
        let first = self.end + batch.len() as u64;
        let row = 4 * job.width as u64;
        let place = |(at, &input): (usize, &u32)| (input, (has[at] != 0).then(|| first + at as u64 * row));
        self.places.extend(batch.iter().enumerate().map(place));
        self.end = first + batch.len() as u64 * row + 8;
        self.batches += 1;
    }

    fn append(&mut self, job: &Job, vectors: &[Option<Vec<f32>>]) -> Result<()> {
        let has: Vec<u8> = vectors.iter().map(|vector| vector.is_some() as u8).collect();
        let zeros = vec![0.0; job.width];
        let mut record = has.clone();
        for vector in vectors {
            Numbers::F32.put(vector.as_deref().unwrap_or(&zeros), &mut record);
        }
        assert_eq!(record.len(), job.batches[self.batches].len() * (1 + 4 * job.width), "a vector for each input");
        let check = checksum(self.batches, &record);
        record.extend(check);
        self.file.write_all(&record).map_err(Error::io(&self.path, "write"))?;
        self.done(job, &has);
        Ok(())
    }

    /// The mean of the vectors of `inputs`; zeros where none has one.
    fn mean(&mut self, inputs: &[u32], width: usize) -> io::Result<Vec<f32>> {
        let mut sum = vec![0.0f32; width];
        let places: Vec<u64> = inputs.iter().filter_map(|input| self.places[input]).collect();
        let mut bytes = vec![0; 4 * width];
        for place in &places {
            self.file.seek(SeekFrom::Start(*place))?;
            self.file.read_exact(&mut bytes)?;
            let vector = bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x));
            sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
        }
        if places.len() > 1 {
            sum.iter_mut().for_each(|x| *x /= places.len() as f32);
        }
        Ok(sum)
    }

    /// Removes the file. It stays where it cannot be removed.
    fn remove(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A hash of the record of a batch, which follows it.
fn checksum(batch: usize, record: &[u8]) -> [u8; 8] {
    XxHash3_64::oneshot_with_seed(batch as u64, record).to_le_bytes()
}

fn is_whole(batch: usize, record: &[u8]) -> bool {
    record.split_last_chunk().is_some_and(|(record, hash)| *hash == checksum(batch, record))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::SafeTensors;

    /// Five items: of one input, of two, of none, of an input that has no vector, and of one that another item has too.
    struct Items {
        folder: tempfile::TempDir,
        ids: Vec<String>,
        inputs: Vec<Vec<u32>>,
        batches: Vec<Vec<u32>>,
    }

    impl Items {
        fn new() -> Items {
            Items {
                folder: tempfile::tempdir().unwrap(),
                ids: ["a", "b", "\"c\n", "d", "e"].map(String::from).to_vec(),
                inputs: vec![vec![0], vec![1, 2], vec![], vec![3], vec![2]],
                batches: vec![vec![2, 0], vec![1], vec![3]],
            }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("vectors.safetensors")
        }

        fn partial(&self) -> PathBuf {
            self.folder.path().join("vectors.safetensors.partial")
        }

        /// Runs the job until `batches` are made.
        fn run(&self, numbers: Numbers, batches: usize) -> Result<(Done, Vec<Vec<u32>>)> {
            self.run_with(numbers, batches, |input| (input != 3).then(|| vec![input as f32, 0.1]))
        }

        fn run_with(
            &self,
            numbers: Numbers,
            batches: usize,
            vector: impl Fn(u32) -> Option<Vec<f32>>,
        ) -> Result<(Done, Vec<Vec<u32>>)> {
            let Items { ids, inputs, batches: all, .. } = self;
            let about = Map::from_iter([("device".to_string(), "none".into())]);
            let output = &self.path();
            let job = Job { output, name: "text", numbers, width: 2, about, ids, inputs, batches: all };
            let mut made = vec![];
            let mut encode = |batch: &[u32]| {
                if made.len() == batches {
                    return Err(Error::Failed("killed".to_string()));
                }
                made.push(batch.to_vec());
                Ok(batch.iter().map(|&input| vector(input)).collect())
            };
            let done = job.run(&mut encode, &mut |_| {})?;
            Ok((done, made))
        }
    }

    #[test]
    fn vectors_by_item() {
        let items = Items::new();
        let done = items.run(Numbers::F32, 9).unwrap().0;
        assert_eq!(done, Done { items: 5, missing: 2, inputs: 4, skipped: 1, resumed: 0 });
        let bytes = fs::read(items.path()).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let text: Vec<f32> = bytemuck::pod_collect_to_vec(file.tensor("text").unwrap().data());
        assert_eq!(text, [0.0, 0.1, 1.5, 0.1, 0.0, 0.0, 0.0, 0.0, 2.0, 0.1]);
        assert_eq!(file.tensor("text").unwrap().shape(), [5, 2]);
        assert_eq!(file.tensor("text_missing").unwrap().data(), [0, 0, 1, 1, 0]);
        let about = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
        assert_eq!(serde_json::from_str::<Vec<String>>(&about["ids"]).unwrap(), items.ids);
        assert!(about["wgrec"].contains(r#""device":"none""#), "{about:?}");
        assert_eq!(fs::read_dir(items.folder.path()).unwrap().count(), 1, "a partial file is left");

        items.run(Numbers::F16, 9).unwrap();
        let bytes = fs::read(items.path()).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let halves: Vec<u8> = text.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect();
        assert_eq!(file.tensor("text").unwrap().data(), halves);
    }

    /// Whatever a kill left, down to single bytes, the file comes out the same, and whole batches are not made twice.
    #[test]
    fn resumes_to_the_same_bytes() {
        let items = Items::new();
        items.run(Numbers::F32, 9).unwrap();
        let whole = fs::read(items.path()).unwrap();
        fs::remove_file(items.path()).unwrap();
        assert!(items.run(Numbers::F32, 2).is_err());
        assert!(!items.path().exists());
        let partial = fs::read(items.partial()).unwrap();
        let (first, second) = (MAGIC.len() + 32 + 2 * 9 + 8, partial.len());
        for len in [0, 5, MAGIC.len() + 32, first - 1, first, first + 3, second - 1, second] {
            fs::write(items.partial(), &partial[..len]).unwrap();
            let (done, made) = items.run(Numbers::F32, 9).unwrap();
            let kept = (len >= first) as usize + (len >= second) as usize;
            assert_eq!((done.resumed, &made[..]), ([0, 2, 3][kept], &items.batches[kept..]), "{len} bytes");
            assert_eq!(fs::read(items.path()).unwrap(), whole, "{len} bytes");
        }
        let mut damaged = partial.clone();
        damaged[first - 12] ^= 1;
        fs::write(items.partial(), damaged).unwrap();
        assert_eq!(items.run(Numbers::F32, 9).unwrap().0.resumed, 0);
        assert_eq!(fs::read(items.path()).unwrap(), whole);
    }

    #[test]
    fn what_is_foreign_or_no_number_is_refused() {
        let mut items = Items::new();
        assert!(items.run(Numbers::F32, 1).is_err());
        items.ids[0] = "other".to_string();
        let error = items.run(Numbers::F32, 9).unwrap_err();
        assert!(
            error.to_string().contains("found vectors of another encoder, other settings or other items"),
            "{error}"
        );
        fs::write(items.partial(), [7; 100]).unwrap();
        let error = items.run(Numbers::F32, 9).unwrap_err();
        assert!(error.to_string().contains("found no vectors of wgrec; expected what an earlier run"), "{error}");
        assert_eq!((fs::read(items.partial()).unwrap(), items.path().exists()), (vec![7; 100], false));
        fs::remove_file(items.partial()).unwrap();

        let vector = |x: f32| move |input: u32| Some(if input == 1 { vec![0.0, x] } else { vec![1.0, 1.0] });
        let error = items.run_with(Numbers::F32, 9, vector(f32::NAN)).unwrap_err();
        assert_eq!(
            (error.to_string().as_str(), error.exit_code()),
            ("the text of item b: its vector is not finite, but has NaN", 1)
        );
        let error = items.run_with(Numbers::F16, 9, vector(7e4)).unwrap_err();
        let expected = "the text of item b: its vector has 70000, which f16 cannot hold; take --dtype f32";
        assert_eq!((error.to_string().as_str(), error.exit_code()), (expected, 2));
        items.run_with(Numbers::F32, 9, vector(7e4)).unwrap();
        let error = items.run_with(Numbers::F32, 9, |_| None).unwrap_err();
        assert_eq!(error.to_string(), "no item has a text that could be encoded: nothing is written");
        assert!(!items.partial().exists());
    }
}
