//! Image files as vectors: the preprocessing and the Swin Transformer of one folder, on a device.

use super::pixels::{Pixels, Preprocessor};
use super::{Done, Folder, Job, Numbers, Swin, wrong};
use crate::data::SkipBad;
use crate::data::cache::hash_file;
use crate::data::dataset::hex;
use crate::device::Device;
use crate::error::Result;
use rayon::prelude::*;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// An encoder whose parameters lie on a device.
pub struct ImageEncoder {
    swin: Swin,
    preprocessor: Preprocessor,
    name: String,
    hash: String,
    device: String,
}

impl ImageEncoder {
    /// Opens a folder, and loads its parameters.
    ///
    /// # Errors
    /// Those of [`Folder::open`], [`Preprocessor::open`] and [`Swin::open`].
    pub fn open(path: &Path, device: &Device) -> Result<ImageEncoder> {
        let folder = Folder::open(path)?;
        let swin = Swin::open(&folder, device)?;
        let preprocessor = Preprocessor::open(path)?;
        let device = match device {
            // Its number of threads changes no bit.
            Device::Cpu(_) => "cpu".to_string(),
            gpu => gpu.describe(),
        };
        let hash = folder.hash(&[Preprocessor::file(path)])?;
        Ok(ImageEncoder { swin, preprocessor, name: folder.name(), hash, device })
    }

    /// The numbers of a vector.
    pub fn width(&self) -> usize {
        self.swin.width()
    }

    /// The folder's name and what it holds.
    pub fn describe(&self) -> String {
        format!("{}: Swin Transformer, vectors of {}", self.name, self.width())
    }

    /// What the model is given of a file.
    fn read(&self, path: &Path) -> Result<Pixels> {
        let pixels = self.preprocessor.read(path)?;
        match self.swin.too_small(pixels.size) {
            None => Ok(pixels),
            Some([found, expected]) => Err(wrong(path, found, expected)),
        }
    }

    /// Writes the vectors of items' image files to `output`, in the form of [`Job`]: the mean over an item's. Files of equal contents
    /// are encoded once, `batch` of them at a time. Up to `skip_bad` of those that are no images that can be read are left out in one run. `progress` is told the
    /// images of each batch that is done, and how many there are.
    ///
    /// # Errors
    /// Those of [`Preprocessor::read`], [`Swin::encode`] and [`Job::run`]; an image that is too small.
    pub fn write(
        &mut self,
        ids: &[String],
        files: &[Vec<PathBuf>],
        (batch, skip_bad): (usize, SkipBad),
        (output, numbers): (&Path, Numbers),
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Done> {
        let all: Vec<&Path> = files.iter().flatten().map(PathBuf::as_path).collect();
        let hash = |path: &&Path| match hash_file(path) {
            // Left out when it is decoded.
            Err(_) if skip_bad.allows(1) => Ok([0; 32]),
            hash => hash,
        };
        let mut hashes = all.par_iter().map(hash).collect::<Result<Vec<_>>>()?.into_iter();
        let (mut distinct, mut known) = (vec![], HashMap::new());
        let mut number = |path: &PathBuf| {
            let hash = hashes.next().expect("a hash of each file");
            *known.entry(hash).or_insert_with(|| {
                distinct.push((path.clone(), hex(&hash)));
                distinct.len() as u32 - 1
            })
        };
        let inputs: Vec<Vec<u32>> = files.iter().map(|files| files.iter().map(&mut number).collect()).collect();
        let numbers_of_all: Vec<u32> = (0..distinct.len() as u32).collect();
        let batches: Vec<Vec<u32>> = numbers_of_all.chunks(batch).map(<[u32]>::to_vec).collect();
        let contents: Vec<&str> = distinct.iter().map(|(_, hash)| hash.as_str()).collect();
        let contents = hex(&Sha256::digest(contents.concat()));
        let about = Map::from_iter([
            ("encoder".to_string(), json!({"name": self.name, "sha256": self.hash})),
            ("skip_bad".to_string(), json!(skip_bad)),
            ("device".to_string(), self.device.clone().into()),
            ("images".to_string(), json!({"distinct": distinct.len(), "sha256": contents})),
        ]);
        let (name, width) = ("image", self.width());
        let job = Job { output, name, numbers, width, about, ids, inputs: &inputs, batches: &batches };
        let mut bad = 0;
        let mut encode = |batch: &[u32]| {
            let read: Vec<Result<Pixels>> =
                batch.par_iter().map(|&input| self.read(&distinct[input as usize].0)).collect();
            let or_left_out = |pixels: Result<Pixels>| {
                bad += u64::from(pixels.is_err());
                if skip_bad.allows(bad) { Ok(pixels.ok()) } else { pixels.map(Some) }
            };
            let pixels = read.into_iter().map(or_left_out).collect::<Result<Vec<Option<Pixels>>>>()?;
            let vectors = self.swin.encode(&pixels.iter().flatten().collect::<Vec<_>>())?;
            let mut vectors = vectors.into_iter();
            Ok(pixels.iter().map(|pixels| pixels.as_ref().and_then(|_| vectors.next())).collect())
        };
        job.run(&mut encode, &mut |batch| progress(batch.len(), distinct.len()))
    }
}
