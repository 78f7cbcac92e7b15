//! A model's folder in Hugging Face's form: config.json, and its tensors as safetensors.

use super::{json, shortened, wrong};
use crate::data::cache::hash_file;
use crate::data::dataset::hex;
use crate::error::{Error, Result};
use crate::tensor::{Shape, Tensor};
use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// Bytes that a safetensors file may take for its header.
const LARGEST_HEADER: u64 = 100_000_000;

/// An open folder. Tensors are read one by one, when they are asked for.
pub struct Folder {
    pub path: PathBuf,
    config: serde_json::Map<String, Value>,
    weights: Vec<Weights>,
}

/// A safetensors file whose header was read.
struct Weights {
    path: PathBuf,
    tensors: HashMap<String, TensorInfo>,
    /// Byte that the tensors' data begin at.
    start: u64,
}

impl Folder {
    /// Reads config.json and the headers of model.safetensors, or of the files that model.safetensors.index.json lists.
    ///
    /// # Errors
    /// A file that is missing or not whole; weights only in another form than safetensors.
    pub fn open(path: &Path) -> Result<Folder> {
        if !path.is_dir() {
            let expected = format!("a folder with {CONFIG} and {WEIGHTS}");
            let found = if path.exists() { "no folder" } else { "nothing" };
            return Err(wrong(path, found, expected));
        }
        let config = path.join(CONFIG);
        let Value::Object(config) = json(&config)? else {
            return Err(wrong(&config, "a value that is no object", "the settings of a model"));
        };
        let weights = weight_files(path)?.iter().map(|path| Weights::open(path)).collect::<Result<_>>()?;
        Ok(Folder { path: path.to_path_buf(), config, weights })
    }

    /// What the folder is called.
    pub fn name(&self) -> String {
        let whole = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        whole.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// An error unless config.json says that this is a model of the type `expected`.
    pub fn expect_type(&self, expected: &str) -> Result<()> {
        let found: String = self.setting("model_type")?;
        match found == expected {
            true => Ok(()),
            false => Err(self.refuse("model_type", format!("{found:?}"), format!("{expected:?}"))),
        }
    }

    /// The value of `key` in config.json.
    ///
    /// # Errors
    /// A key that is missing; a value of another type.
    pub fn setting<T: DeserializeOwned>(&self, key: &str) -> Result<T> {
        let found = self.setting_or_none(key)?;
        found.ok_or_else(|| wrong(self.path.join(CONFIG), format!("no {key}"), format!("the model's {key}")))
    }

    /// The value of `key` in config.json; none where it is missing or null.
    ///
    /// # Errors
    /// A value of another type.
    pub fn setting_or_none<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        match self.config.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let read = serde_json::from_value(value.clone());
                read.map(Some).map_err(|e| self.refuse(key, value, format!("another value ({e})")))
            }
        }
    }

    /// The error of a value in config.json.
    pub fn refuse(&self, key: &str, found: impl ToString, expected: impl ToString) -> Error {
        wrong(self.path.join(CONFIG), format!("{key} {}", shortened(&found.to_string())), expected)
    }

    pub fn has(&self, name: &str) -> bool {
        self.weights.iter().any(|file| file.tensors.contains_key(name))
    }

    /// The file that holds tensor `name`, and where; an error unless it has this shape and holds floats.
    fn find(&self, name: &str, shape: &[usize]) -> Result<(&Weights, &TensorInfo)> {
        let found = self.weights.iter().find_map(|file| Some((file, file.tensors.get(name)?)));
        let Some((file, info)) = found else {
            return Err(wrong(self.file(), format!("no tensor {name}"), format!("one of shape {shape:?}")));
        };
        if info.shape != shape {
            let found = format!("{name} of shape {:?}", info.shape);
            return Err(wrong(&file.path, found, format!("{name} of shape {shape:?}, as {CONFIG} has it")));
        }
        match info.dtype {
            Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok((file, info)),
            other => Err(wrong(&file.path, format!("{name} as {other:?}"), "F32, F16, BF16 or F64")),
        }
    }

    /// The only file, or the list of them.
    fn file(&self) -> PathBuf {
        match &self.weights[..] {
            [one] => one.path.clone(),
            _ => self.path.join(INDEX),
        }
    }

    /// Checks that tensor `name` can be read as floats of this shape.
    ///
    /// # Errors
    /// A tensor that is missing, of another shape, or of another type.
    pub fn check(&self, name: &str, shape: &[usize]) -> Result<()> {
        self.find(name, shape).map(|_| ())
    }

    /// Tensor `name` in f32.
    ///
    /// # Errors
    /// Those of [`Folder::check`]; a number that is not finite.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let (file, info) = self.find(name, shape)?;
        let bytes = file.read(info).map_err(Error::io(&file.path, "read"))?;
        let tensor = Tensor::f32(Shape::from(shape), floats(info.dtype, &bytes));
        match tensor.not_finite() {
            None => Ok(tensor),
            Some(why) => Err(wrong(&file.path, format!("{name}, where {why}"), "finite numbers")),
        }
    }

    /// A hash, in hex, of config.json, the weights, and those of the files `others` that exist.
    pub fn hash(&self, others: &[PathBuf]) -> Result<String> {
        let mut hash = Sha256::new();
        let config = self.path.join(CONFIG);
        let weights = self.weights.iter().map(|file| &file.path);
        for path in [&config].into_iter().chain(weights).chain(others.iter().filter(|path| path.is_file())) {
            hash.update(hash_file(path)?);
        }
        Ok(hex(&hash.finalize()))
    }
}

impl Weights {
    /// Reads the header, which must describe the rest of the file to the byte.
    fn open(path: &Path) -> Result<Weights> {
        let broken = |found: String| wrong(path, found, "a whole safetensors file");
        let mut file = File::open(path).map_err(Error::io(path, "read"))?;
        let len = file.metadata().map_err(Error::io(path, "read"))?.len();
        let mut size = [0; 8];
        if len < 8 {
            return Err(broken(format!("{len} bytes")));
        }
        file.read_exact(&mut size).map_err(Error::io(path, "read"))?;
        let size = u64::from_le_bytes(size);
        if size > LARGEST_HEADER.min(len - 8) {
            return Err(broken(format!("a header of {size} bytes in a file of {len}")));
        }
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header).map_err(Error::io(path, "read"))?;
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|e| broken(format!("a broken header ({e})")))?;
        let (start, data) = (8 + size, metadata.data_len() as u64);
        if start.checked_add(data) != Some(len) {
            let found = len - start;
            return Err(broken(format!("{found} bytes of tensors where the header lists {data}")));
        }
        let tensors = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
        Ok(Weights { path: path.to_path_buf(), tensors, start })
    }

    fn read(&self, info: &TensorInfo) -> io::Result<Vec<u8>> {
        let (from, to) = info.data_offsets;
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.start + from as u64))?;
        let mut bytes = vec![0; to - from];
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// The safetensors files of a folder: the one, or those that the list names.
fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    if folder.join(WEIGHTS).is_file() {
        return Ok(vec![folder.join(WEIGHTS)]);
    }
    let index = folder.join(INDEX);
    if index.is_file() {
        let map: BTreeMap<String, String> = serde_json::from_value(json(&index)?["weight_map"].take())
            .map_err(|e| wrong(&index, format!("no list of files ({e})"), "weight_map, from tensors to files"))?;
        let names: BTreeSet<String> = map.into_values().collect();
        if let Some(name) = names.iter().find(|name| Path::new(name).file_name() != Some(name.as_ref())) {
            return Err(wrong(&index, format!("the file {name:?}"), "names of files in this folder"));
        }
        return match names.is_empty() {
            true => Err(wrong(&index, "no files", "weight_map, from tensors to files")),
            false => Ok(names.into_iter().map(|name| folder.join(name)).collect()),
        };
    }
    let others =
        ["pytorch_model.bin", "pytorch_model.bin.index.json", "tf_model.h5", "flax_model.msgpack", "model.onnx"];
    let found = match others.iter().find(|name| folder.join(name).is_file()) {
        Some(name) => format!("only {name}"),
        None => format!("no {WEIGHTS}"),
    };
    let how = "save the model again in Python by model.save_pretrained(DIR, safe_serialization=True)";
    Err(wrong(folder, found, format!("weights as {WEIGHTS}: {how}")))
}

/// Little-endian floats of any width as f32.
fn floats(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
    match dtype {
        Dtype::F64 => bytes.as_chunks().0.iter().map(|x| f64::from_le_bytes(*x) as f32).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|x| f16::from_le_bytes(*x).to_f32()).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|x| bf16::from_le_bytes(*x).to_f32()).collect(),
        _ => bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect(),
    }
}
