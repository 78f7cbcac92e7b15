//! Parameters and the state of a training on disk: safetensors files with a line of JSON in their header.
//!
//! Tensors and the numbers that belong to them are one file, so that they cannot come apart. It is replaced whole or not at
//! all: it is whole whenever a run is killed.

use crate::data::cache::hash_file;
use crate::data::dataset::hex;
use crate::device::Store;
use crate::error::{Error, Result};
use crate::files::replace;
use crate::nn::Params;
use crate::nn::params::Param;
use crate::tensor::{Data, Spec, Tensor};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;

/// The key of the JSON in a file's metadata.
const KEY: &str = "wgrec";

/// Where parameters come from; they make sense only there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Version of this program.
    pub wgrec: String,
    pub model: String,
    /// Fingerprint of the data set.
    pub data: String,
    /// Of the attributes of users, in a model that reads some.
    #[serde(default)]
    pub features: Option<String>,
    /// Of the features of items, in a model that reads some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<String>,
    /// Fingerprints of the data sets that the data were joined from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sets: Vec<String>,
}

/// The numbers that belong to the parameters of a training that is to be resumed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Epochs done.
    pub epoch: u64,
    /// Steps done of the next epoch. With the seed, `epoch` and this are the position of the batch maker.
    pub step_in_epoch: u64,
    /// Steps done in all. With the seed this is the state of all random numbers.
    pub step: u64,
    pub samples: u64,
    /// Seconds of training, without evaluation.
    pub seconds: f64,
    /// Sum and number of the losses that were read in this epoch.
    pub losses: (f64, u64),
    /// Sums over samples of what is reported, and the numbers of these samples.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reported: BTreeMap<String, (f64, u64)>,
    /// All steps before the next evaluation are done, and it is not.
    #[serde(default)]
    pub evaluates: bool,
    pub best: Option<Best>,
}

/// The epoch whose parameters are kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub epoch: u64,
    pub step: u64,
    /// Of the metric that decides.
    pub value: f64,
    /// All metrics on the validation part.
    pub valid: serde_json::Value,
}

/// Of the files written here: raised when a tensor or a number in them changes its meaning.
const FORMAT: u32 = 1;

/// Header of a checkpoint.
#[derive(Serialize, Deserialize)]
struct Header<T> {
    /// Files of the first versions do not say it.
    #[serde(default = "first_format")]
    format: u32,
    #[serde(flatten)]
    origin: Origin,
    about: T,
}

fn first_format() -> u32 {
    1
}

/// Of the parameters of a model, by name, those that are meant.
pub type Which<'a> = &'a dyn Fn(&str) -> bool;

/// Tensors by name, as they are saved.
pub type Named = Vec<(String, Tensor)>;

/// Reads parameters of a model, by name, to [`save`] them.
///
/// # Errors
/// The first that is not finite: [`Error::NotFinite`].
pub fn read_parameters(params: &Params, which: Which, store: &Store) -> Result<Named> {
    let read = |p: &Param| {
        let tensor = params.read(store, &p.name)?;
        finite(&format!("the parameter {}", p.name), &tensor)?;
        Ok((p.name.clone(), tensor))
    };
    params.iter().filter(|p| which(&p.name)).map(read).collect()
}

fn finite(what: &str, tensor: &Tensor) -> Result<()> {
    match tensor.not_finite() {
        None => Ok(()),
        Some(why) => Err(Error::NotFinite(format!("{what} is not finite: {why}"))),
    }
}

/// Reads parameters that [`save`] wrote into a store; returns what was said about them.
///
/// # Errors
/// A file that cannot be read or is cut short; one of another model or data set; parameters of other shapes, or that are
/// not finite.
pub fn load_parameters<T: DeserializeOwned>(
    path: &Path,
    origin: &Origin,
    params: &Params,
    which: Which,
    store: &mut Store,
) -> Result<T> {
    let (about, tensors) = load(path, origin)?;
    write_parameters(path, params, (which, ""), store, &tensors)?;
    Ok(about)
}

/// As [`load_parameters`], of parameters that are called in the file without the `prefix` of their names.
pub fn load_called(
    path: &Path,
    origin: &Origin,
    params: &Params,
    (which, prefix): (Which, &str),
    store: &mut Store,
) -> Result<()> {
    let (_, tensors) = load::<serde_json::Value>(path, origin)?;
    write_parameters(path, params, (which, prefix), store, &tensors)
}

/// Reads a training that continues, to [`save`] it with its [`State`]: parameters, then the `optimiser`'s states.
///
/// # Errors
/// The first of them that is not finite: [`Error::NotFinite`].
pub fn read_training((params, which): (&Params, Which), optimiser: &[(String, usize)], store: &Store) -> Result<Named> {
    let mut tensors = read_parameters(params, which, store)?;
    for (name, len) in optimiser {
        let tensor = store.read(name, 0, &Spec::f32([*len]))?;
        finite(&format!("the optimiser's state {name}"), &tensor)?;
        tensors.push((optimiser_name(name), tensor));
    }
    Ok(tensors)
}

/// Reads into a store what [`read_training`] read and [`save`] wrote; the errors are those of [`load_parameters`].
pub fn load_training(
    path: &Path,
    origin: &Origin,
    (params, which): (&Params, Which),
    optimiser: &[(String, usize)],
    store: &mut Store,
) -> Result<State> {
    let (state, tensors) = load(path, origin)?;
    write_parameters(path, params, (which, ""), store, &tensors)?;
    for (name, len) in optimiser {
        store.write(name, 0, find(path, &tensors, &optimiser_name(name), &[*len])?)?;
    }
    Ok(state)
}

fn optimiser_name(state: &str) -> String {
    format!("optimiser.{state}")
}

fn write_parameters(
    path: &Path,
    params: &Params,
    (which, prefix): (Which, &str),
    store: &mut Store,
    tensors: &HashMap<String, Tensor>,
) -> Result<()> {
    for p in params.iter().filter(|p| which(&p.name)) {
        let name = p.name.strip_prefix(prefix).unwrap_or(&p.name);
        params.write(store, &p.name, find(path, tensors, name, &p.shape)?)?;
    }
    Ok(())
}

fn find<'a>(path: &Path, tensors: &'a HashMap<String, Tensor>, name: &str, shape: &[usize]) -> Result<&'a Tensor> {
    let found = match tensors.get(name) {
        Some(Tensor { data: Data::U32(_), .. }) => {
            return Err(not(path, format!("{name} as whole numbers (U32)"), format!("{name} as F32")));
        }
        Some(tensor) if tensor.shape[..] == *shape => return finite_in(path, name, tensor),
        Some(tensor) => format!("{name} of shape {}", tensor.shape),
        None => format!("no tensor {name}"),
    };
    Err(not(path, found, format!("{name} of shape {shape:?}; the run's model has other settings")))
}

/// `tensor`, if all of it is finite as the device holds it, in f32.
fn finite_in<'a>(path: &Path, name: &str, tensor: &'a Tensor) -> Result<&'a Tensor> {
    let why = match &tensor.data {
        Data::F64(_) => Tensor::f32(tensor.shape.clone(), tensor.to_f32()).not_finite(),
        _ => tensor.not_finite(),
    };
    let expected = "finite numbers: the training that wrote them had diverged; train again with a lower train.lr";
    why.map_or(Ok(tensor), |why| Err(not(path, format!("{name}, where {why}"), expected.to_string())))
}

fn not(path: &Path, found: String, expected: String) -> Error {
    Error::Input { path: path.to_path_buf(), line: None, column: None, found, expected }
}

/// The numbers of a tensor as a file has them.
pub(super) fn bytes(tensor: &Tensor) -> (Dtype, &[u8]) {
    match &tensor.data {
        Data::F32(v) => (Dtype::F32, bytemuck::cast_slice(v)),
        Data::F64(v) => (Dtype::F64, bytemuck::cast_slice(v)),
        Data::U32(v) => (Dtype::U32, bytemuck::cast_slice(v)),
    }
}

/// Writes tensors of a model. `about` says more, for people and for who reads them back.
pub fn save<T: Serialize>(path: &Path, origin: &Origin, about: &T, tensors: &[(String, Tensor)]) -> Result<()> {
    let header = Header { format: FORMAT, origin: origin.clone(), about };
    let header = serde_json::to_string(&header).expect("a header is plain data");
    let mut end = 0;
    let infos = tensors.iter().map(|(name, tensor)| {
        let (dtype, data) = bytes(tensor);
        let start = end;
        end += data.len();
        (name.clone(), TensorInfo { dtype, shape: tensor.shape.to_vec(), data_offsets: (start, end) })
    });
    let metadata = Metadata::new(Some(HashMap::from([(KEY.to_string(), header)])), infos.collect());
    let mut head = serde_json::to_vec(&metadata.expect("the tensors lie one after the other")).expect("plain data");
    head.resize(head.len().next_multiple_of(8), b' ');
    // Tensor by tensor: safetensors' own writers make a second copy of all, or create a file of their own.
    replace(path, |out| {
        out.write_all(&(head.len() as u64).to_le_bytes())?;
        out.write_all(&head)?;
        tensors.iter().try_for_each(|(_, tensor)| out.write_all(bytes(tensor).1))
    })
}

/// The SHA-256 of a file, in hexadecimal digits.
pub fn sha256(path: &Path) -> Result<String> {
    Ok(hex(&hash_file(path)?))
}

/// Where the parameters in a file come from.
pub fn origin(path: &Path) -> Result<Origin> {
    Ok(header(path, &fs::read(path).map_err(Error::io(path, "read"))?)?.origin)
}

/// The epoch that the parameters in a file are of.
pub fn best(path: &Path) -> Result<Best> {
    let about = header(path, &fs::read(path).map_err(Error::io(path, "read"))?)?.about;
    serde_json::from_value(about).map_err(|e| broken(path, e))
}

fn broken(path: &Path, found: impl ToString) -> Error {
    not(path, found.to_string(), "a whole checkpoint of wgrec".to_string())
}

fn header(path: &Path, bytes: &[u8]) -> Result<Header<serde_json::Value>> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| broken(path, e))?;
    let header = metadata.metadata().as_ref().and_then(|m| m.get(KEY));
    let header = header.ok_or_else(|| broken(path, "no header of wgrec"))?;
    let header: Header<serde_json::Value> = serde_json::from_str(header).map_err(|e| broken(path, e))?;
    let (own, written_by) = (env!("CARGO_PKG_VERSION"), &header.origin.wgrec);
    if header.format > FORMAT || release(written_by) > release(own) {
        let found = format!("a checkpoint in format {}, written by wgrec {written_by}", header.format);
        let expected = format!("format {FORMAT} or earlier, of wgrec {own} or earlier; read it with that newer wgrec");
        return Err(not(path, found, expected));
    }
    Ok(header)
}

/// Major and minor of `1.2.3`. A release that changes only the last number reads and writes the same files.
fn release(version: &str) -> Option<(u64, u64)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    numbers.next().flatten().zip(numbers.next().flatten())
}

/// An error if the parameters in a file come from another model or data set.
pub fn check_origin(path: &Path, found: &Origin, expected: &Origin) -> Result<()> {
    if found.model != expected.model {
        let found = format!("parameters of the model {}", found.model);
        return Err(not(path, found, format!("those of {}", expected.model)));
    }
    let apart = |a: &Option<String>, b: &Option<String>| a.is_some() && b.is_some() && a != b;
    if apart(&found.features, &expected.features) {
        let found = "parameters trained with other attributes of users".to_string();
        return Err(not(
            path,
            found,
            "those of the data given: is the file of users next to it another one now?".to_string(),
        ));
    }
    if apart(&found.items, &expected.items) {
        return Err(not(
            path,
            "parameters trained with other features of items".to_string(),
            "those of the files given: have texts, images, prices or their settings changed since?".to_string(),
        ));
    }
    if found.data != expected.data {
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        let found = format!("parameters trained on another data set (fingerprint {}...)", short(&found.data));
        return Err(not(path, found, format!("those of the data given (fingerprint {}...)", short(&expected.data))));
    }
    Ok(())
}

fn load<T: DeserializeOwned>(path: &Path, origin: &Origin) -> Result<(T, HashMap<String, Tensor>)> {
    let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
    let was = header(path, &bytes)?;
    check_origin(path, &was.origin, origin)?;
    let about = serde_json::from_value(was.about).map_err(|e| broken(path, e))?;
    Ok((about, tensors(path, &bytes)?))
}

/// The step that a file is of, and its tensors, whatever they come from.
pub(super) fn contents(path: &Path) -> Result<(u64, HashMap<String, Tensor>)> {
    /// A [`State`] or a [`Best`].
    #[derive(Deserialize)]
    struct Of {
        step: u64,
    }
    let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
    let of: Of = serde_json::from_value(header(path, &bytes)?.about).map_err(|e| broken(path, e))?;
    Ok((of.step, tensors(path, &bytes)?))
}

fn tensors(path: &Path, bytes: &[u8]) -> Result<HashMap<String, Tensor>> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| broken(path, e))?;
    let tensor = |view: safetensors::tensor::TensorView| {
        let shape = view.shape().to_vec();
        match view.dtype() {
            Dtype::F32 => Ok(Tensor::f32(shape, bytemuck::pod_collect_to_vec(view.data()))),
            Dtype::F64 => Ok(Tensor::f64(shape, bytemuck::pod_collect_to_vec(view.data()))),
            Dtype::U32 => Ok(Tensor::u32(shape, bytemuck::pod_collect_to_vec(view.data()))),
            other => Err(broken(path, format!("a tensor of {other:?}"))),
        }
    };
    file.tensors().into_iter().map(|(name, view)| Ok((name, tensor(view)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::nn::Init;

    fn params() -> Params {
        let mut params = Params::new();
        params.add("a", [3, 2], Init::Normal(1.0));
        params.add("table", [200, 100], Init::Normal(1.0));
        params
    }

    fn origin() -> Origin {
        Origin {
            wgrec: "1".into(),
            model: "m".into(),
            data: "0123456789abcdef".into(),
            features: None,
            items: None,
            sets: vec![],
        }
    }

    fn store(seed: u64) -> Store {
        let optimiser = [("m.dense".to_string(), 64)];
        let mut store =
            Device::open("cpu").unwrap().0.store(&[params().states(), optimiser.to_vec()].concat()).unwrap();
        params().initialise(&mut store, seed).unwrap();
        store
            .write("m.dense", 0, &Tensor::f32([64], (0..64).map(|i| (i as f32 + seed as f32).sqrt()).collect()))
            .unwrap();
        store
    }

    #[test]
    fn comes_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let optimiser = [("m.dense".to_string(), 64)];
        let state = State { epoch: 3, step: 17, seconds: 0.1 + 0.2, losses: (1.0 / 3.0, 5), ..State::default() };
        let (one, mut other) = (store(1), store(2));
        save(&path, &origin(), &state, &read_training((&params(), &|_| true), &optimiser, &one).unwrap()).unwrap();
        let back = load_training(&path, &origin(), (&params(), &|_| true), &optimiser, &mut other).unwrap();
        assert_eq!(back, state);
        for (name, len) in one.states() {
            let spec = Spec::f32([len]);
            assert_eq!(one.read(&name, 0, &spec).unwrap(), other.read(&name, 0, &spec).unwrap(), "{name}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file is left");
    }

    #[test]
    fn what_is_cut_or_foreign_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut to = store(2);
        save(&path, &origin(), &7, &read_parameters(&params(), &|_| true, &to).unwrap()).unwrap();
        let mut load = |origin: &Origin, params: &Params| {
            load_parameters::<u32>(&path, origin, params, &|_| true, &mut to).map_err(|e| e.to_string())
        };
        assert_eq!(load(&origin(), &params()), Ok(7));
        let other = load(&Origin { model: "n".into(), ..origin() }, &params()).unwrap_err();
        assert!(other.contains("found parameters of the model m; expected those of n"), "{other}");
        let other = load(&Origin { data: "f".into(), ..origin() }, &params()).unwrap_err();
        assert!(other.contains("another data set (fingerprint 0123456789ab...)"), "{other}");
        let mut wider = Params::new();
        wider.add("a", [3, 3], Init::Constant(0.0));
        let other = load(&origin(), &wider).unwrap_err();
        assert!(other.contains("found a of shape [3, 2]; expected a of shape [3, 3]"), "{other}");
        wider.add("b", [1], Init::Constant(0.0));

        let whole = fs::read(&path).unwrap();
        for len in [0, 4, 100, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..len]).unwrap();
            let cut = load(&origin(), &params()).unwrap_err();
            assert!(cut.contains("expected a whole checkpoint of wgrec"), "{len}: {cut}");
        }
    }

    /// A whole file of `tensor`, called "a", under `header`.
    fn foreign(path: &Path, header: serde_json::Value, tensor: &Tensor) {
        let (dtype, data) = bytes(tensor);
        let view = safetensors::tensor::TensorView::new(dtype, tensor.shape.to_vec(), data).unwrap();
        let about = HashMap::from([(KEY.to_string(), header.to_string())]);
        fs::write(path, safetensors::serialize([("a", view)], Some(about)).unwrap()).unwrap();
    }

    #[test]
    fn what_is_not_finite_is_neither_saved_nor_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let optimiser = [("m.dense".to_string(), 64)];
        let (params, mut to) = (params(), store(1));
        let all: Which = &|_| true;
        let broken = |e: Error| {
            assert!(matches!(e, Error::NotFinite(_)) && e.exit_code() == 1, "{e}");
            e.to_string()
        };
        to.write("m.dense", 9, &Tensor::f32([1], vec![f32::NEG_INFINITY])).unwrap();
        let error = broken(read_training((&params, all), &optimiser, &to).unwrap_err());
        assert_eq!(error, "the optimiser's state m.dense is not finite: element [9] of [64] is -inf");
        let good = read_parameters(&params, all, &to).unwrap();
        params.write(&mut to, "a", &Tensor::f32([3, 2], vec![0.0, 1.0, 2.0, f32::NAN, 4.0, 5.0])).unwrap();
        let error = broken(read_parameters(&params, all, &to).unwrap_err());
        assert_eq!(error, "the parameter a is not finite: element [1, 1] of [3, 2] is NaN");
        read_parameters(&params, &|name| name != "a", &to).unwrap();

        // For a file that something else wrote, also in f64, which has numbers that f32 cannot hold.
        let huge = Tensor::f64([3, 2], vec![0.0, 0.0, 0.0, 0.0, 1e39, 0.0]);
        for (a, why) in [(params.read(&to, "a").unwrap(), "[1, 1] of [3, 2] is NaN"), (huge, "[2, 0] of [3, 2] is inf")]
        {
            save(&path, &origin(), &7, &[vec![("a".to_string(), a)], good[1..].to_vec()].concat()).unwrap();
            let before = to.read("table", 0, &Spec::f32([1])).unwrap();
            let error = load_parameters::<u32>(&path, &origin(), &params, all, &mut to).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(&format!("found a, where element {why}")), "{error}");
            assert_eq!(before, to.read("table", 0, &Spec::f32([1])).unwrap());
        }
    }

    #[test]
    fn other_types_and_newer_formats_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut params = Params::new();
        params.add("a", [2], Init::Constant(0.0));
        let mut to = Device::open("cpu").unwrap().0.store(&params.states()).unwrap();
        let mut load = |header: serde_json::Value, tensor: &Tensor| {
            foreign(&path, header, tensor);
            load_parameters::<u32>(&path, &origin(), &params, &|_| true, &mut to).map_err(|e| e.to_string())
        };
        let header = |more: serde_json::Value| {
            let mut header =
                serde_json::json!({"wgrec": "0.1.0", "model": "m", "data": "0123456789abcdef", "about": 7});
            header.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            header
        };
        let floats = Tensor::f32([2], vec![1.0, 2.0]);
        // The first versions did not write a format.
        assert_eq!(load(header(serde_json::json!({})), &floats), Ok(7));
        assert_eq!(load(header(serde_json::json!({"format": 1})), &floats), Ok(7));
        assert_eq!(load(header(serde_json::json!({"wgrec": "0.1.99"})), &floats), Ok(7));
        let error = load(header(serde_json::json!({})), &Tensor::u32([2], vec![1, 2])).unwrap_err();
        assert!(error.contains("found a as whole numbers (U32); expected a as F32"), "{error}");
        for newer in [serde_json::json!({"format": 99}), serde_json::json!({"wgrec": "99.0.0"})] {
            let error = load(header(newer), &floats).unwrap_err();
            assert!(error.contains("found a checkpoint in format ") && error.contains("newer wgrec"), "{error}");
        }
    }
}
