//! A run that was trained.

use crate::errors::raised;
use crate::frame::{self, Frame};
use crate::thread::detached;
use crate::train::taken;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyCapsule};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use wgrec::config::Config;
use wgrec::data::{Histories, HistoryFile, Part, SkipBad, known};
use wgrec::device::Store;
use wgrec::eval::{Comparison, Metric, Ranked};
use wgrec::models::Phase;
use wgrec::train::folder::PhaseFiles;
use wgrec::train::session::shown::Rows;
use wgrec::train::{RunFolder, Session, Stop};
use wgrec::{Error, Result};

/// A run folder, and where its data and device are if not where its settings say.
#[pyclass(frozen, module = "wgrec._wgrec")]
pub struct Run {
    place: Arc<Place>,
    /// Opened by the first call that needs the model.
    opened: Arc<Mutex<Option<Arc<Opened>>>>,
}

struct Place {
    path: PathBuf,
    data: Option<PathBuf>,
    device: Option<String>,
}

/// A run whose data are read and whose best parameters are on a device.
struct Opened {
    session: Session,
    store: Store,
    histories: Option<Histories>,
}

/// The lists of some users, one after the other: ids of the users, the length of each list, ids of items, scores as f32.
type Lists<'py> = (Vec<String>, Vec<usize>, Vec<String>, Bound<'py, PyByteArray>);

#[pymethods]
impl Run {
    #[new]
    fn new(path: PathBuf, data: Option<PathBuf>, device: Option<String>) -> PyResult<Run> {
        let folder = RunFolder::open(&path).map_err(raised)?;
        folder.config().map_err(raised)?;
        Ok(Run { place: Arc::new(Place { path, data, device }), opened: Arc::default() })
    }

    /// The settings, in JSON.
    fn settings(&self) -> PyResult<String> {
        self.place.config().map(|config| json!(config).to_string()).map_err(raised)
    }

    /// The result of the last phase that has one, in JSON; None while there is none.
    fn metrics(&self) -> PyResult<Option<String>> {
        let read = || {
            let files = self.place.phases()?.into_iter().rev().map(|(_, files)| files.metrics);
            let Some(file) = files.into_iter().find(|file| file.is_file()) else { return Ok(None) };
            std::fs::read_to_string(&file).map(Some).map_err(Error::io(&file, "read"))
        };
        read().map_err(raised)
    }

    /// The lines of all phases in JSON, an epoch each.
    fn history(&self) -> PyResult<String> {
        let read = || {
            let phases = self.place.phases()?;
            let several = phases.len() > 1;
            let mut all = vec![];
            for (phase, files) in &phases {
                for line in files.read_lines()? {
                    let named = several.then(|| ("phase".to_string(), json!(phase.name)));
                    let Value::Object(line) = json!(line) else { unreachable!("a line is an object") };
                    all.push(Value::Object(named.into_iter().chain(line).collect::<Map<_, _>>()));
                }
            }
            Ok(Value::Array(all).to_string())
        };
        read().map_err(raised)
    }

    /// Whether users and items have integers as ids in the data.
    fn integer_ids(&self) -> PyResult<[bool; 2]> {
        let read = || {
            let config = self.place.config()?;
            let Some(path) = &config.data.path else { return Ok([false; 2]) };
            Ok(frame::integer_ids(&known::resolve(path)?, &config.data.columns))
        };
        read().map_err(raised)
    }

    /// The best items of users: of those that `names` has, of those in other histories (a file, a data frame, or users with an item
    /// each), or of all.
    #[pyo3(signature = (names, path, stream, pairs, k, unmasked))]
    #[expect(clippy::too_many_arguments)]
    fn recommend<'py>(
        &self,
        py: Python<'py>,
        names: Option<Vec<String>>,
        path: Option<PathBuf>,
        stream: Option<Bound<'py, PyCapsule>>,
        pairs: Option<(Vec<String>, Vec<String>)>,
        k: usize,
        unmasked: bool,
    ) -> PyResult<Lists<'py>> {
        let stream = stream.map(|stream| taken(&stream)).transpose()?;
        let (place, opened) = (self.place.clone(), self.opened.clone());
        let (users, lengths, items, scores) = detached(py, move || {
            let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
            let written = folder.path().join("histories.parquet");
            let path = match (path, stream, pairs) {
                (path @ Some(_), ..) => path,
                (_, Some(stream), _) => {
                    let columns = place.config()?.data.columns;
                    Frame::new(stream, &columns, false)?.write(&written, &Stop::default())?;
                    Some(written.clone())
                }
                (_, _, Some((users, items))) => {
                    frame::write_pairs(&written, &users, &items)?;
                    Some(written.clone())
                }
                _ => None,
            };
            let opened = match path {
                Some(path) => {
                    let file = HistoryFile { path, format: None, columns: None, skip_bad: SkipBad::NONE };
                    Arc::new(place.open(Some(file)).map_err(|e| of_histories(e, &written))?)
                }
                None => open(&place, &opened)?,
            };
            let Opened { session, store, histories } = &*opened;
            let users = session.served(histories.as_ref(), names.as_deref())?;
            let best = session.recommend(store, &users, k, !unmasked)?;
            let names = users.iter().map(|&user| session.data.user_name(user).to_string()).collect::<Vec<_>>();
            let all = || best.iter().flatten();
            let items = all().map(|&(item, _)| session.data.item_name(item).to_string()).collect::<Vec<_>>();
            let scores: Vec<f32> = all().map(|&(_, score)| score).collect();
            Ok((names, best.iter().map(Vec::len).collect::<Vec<_>>(), items, bytes(&scores)))
        })?;
        Ok((users, lengths, items, PyByteArray::new(py, &scores)))
    }

    /// Ids and vectors (f32, and their width) of the items, and where the model has them biases.
    #[expect(clippy::type_complexity)]
    fn items<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Vec<String>, Bound<'py, PyByteArray>, usize, Option<Bound<'py, PyByteArray>>)> {
        let (place, opened) = (self.place.clone(), self.opened.clone());
        let (ids, vectors, width, bias) = detached(py, move || {
            let opened = open(&place, &opened)?;
            let Opened { session, store, .. } = &*opened;
            let items = session.item_vectors(store)?;
            let ids = (1..=session.data.items() as u32).map(|item| session.data.item_name(item).to_string());
            let Rows { width, values } = &items.vectors;
            Ok((ids.collect::<Vec<_>>(), bytes(values), *width, items.bias.as_deref().map(bytes)))
        })?;
        Ok((ids, PyByteArray::new(py, &vectors), width, bias.map(|bias| PyByteArray::new(py, &bias))))
    }

    /// Ids and vectors (f32, and their width) of the users who have a history, after it.
    fn users<'py>(&self, py: Python<'py>) -> PyResult<(Vec<String>, Bound<'py, PyByteArray>, usize)> {
        let (place, opened) = (self.place.clone(), self.opened.clone());
        let (ids, vectors, width) = detached(py, move || {
            let opened = open(&place, &opened)?;
            let Opened { session, store, .. } = &*opened;
            let all = 0..session.data.users() as u32;
            let users: Vec<u32> = all.filter(|&user| !session.data.history(user).is_empty()).collect();
            let ids = users.iter().map(|&user| session.data.user_name(user).to_string()).collect::<Vec<_>>();
            let Rows { width, values } = session.user_vectors(store, &users)?;
            Ok((ids, bytes(&values), width))
        })?;
        Ok((ids, PyByteArray::new(py, &vectors), width))
    }

    /// This run minus `other` on the test part, by each of `metrics`, in JSON.
    fn compare(&self, py: Python, other: &Run, metrics: Vec<String>) -> PyResult<String> {
        let places = [self.place.clone(), other.place.clone()];
        detached(py, move || {
            let parse = |name: &String| name.parse::<Metric>().map_err(|e| Error::Usage(format!("metrics: {e}")));
            let metrics = metrics.iter().map(parse).collect::<Result<Vec<_>>>()?;
            let [(a, own), (b, its)] = [places[0].ranked()?, places[1].ranked()?];
            a.check_comparable(&b).map_err(|e| {
                let [a, b] = places.each_ref().map(|place| place.path.display());
                Error::Usage(format!("{a} and {b} cannot be compared: {e}"))
            })?;
            let row = |metric: &Metric| {
                let c = Comparison::of(&its.per_user(*metric), &own.per_user(*metric))?;
                let row = json!({
                    "this": own.mean_of_users(*metric),
                    "other": its.mean_of_users(*metric),
                    "difference": c.mean,
                    "low": c.low,
                    "high": c.high,
                    "p_t": c.p_t,
                    "p_wilcoxon": c.p_wilcoxon,
                    "users": c.pairs,
                });
                Ok((metric.to_string(), row))
            };
            Ok(Value::Object(metrics.iter().map(row).collect::<Result<_>>()?).to_string())
        })
    }
}

/// The run, opened once.
fn open(place: &Place, opened: &Mutex<Option<Arc<Opened>>>) -> Result<Arc<Opened>> {
    // A call that failed has put nothing there.
    let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
    if opened.is_none() {
        *opened = Some(Arc::new(place.open(None)?));
    }
    Ok(opened.clone().expect("it was just put there"))
}

impl Place {
    /// The settings, with the data and the device where they are now.
    fn config(&self) -> Result<Config> {
        let mut config = RunFolder::open(&self.path)?.config()?;
        self.change(&mut config);
        Ok(config)
    }

    fn change(&self, config: &mut Config) {
        // A run that was moved has taken its own data along.
        let own = RunFolder::open(&self.path).map(|folder| folder.data_file()).ok().filter(|file| file.is_file());
        let is_own =
            |path: &&PathBuf| path.file_name() == own.as_ref().and_then(|own| own.file_name()) && !path.exists();
        let moved = config.data.path.as_ref().filter(is_own).and(own.clone());
        config.data.path = self.data.clone().or(moved).or(config.data.path.take());
        config.device = self.device.clone().unwrap_or_else(|| config.device.clone());
    }

    fn open(&self, histories: Option<HistoryFile>) -> Result<Opened> {
        let mut folder = RunFolder::open(&self.path)?;
        let (session, store, histories) =
            Session::to_recommend(&mut folder, None, histories, |config| self.change(config))?;
        Ok(Opened { session, store, histories })
    }

    /// The session of the run, and its test part ranked.
    fn ranked(&self) -> Result<(Session, Ranked)> {
        let mut folder = RunFolder::open(&self.path)?;
        let (session, store, _) = Session::of_run(&mut folder, None, |config| self.change(config))?;
        let ranked = session.evaluator(&store, Part::Test)?.run()?;
        Ok((session, ranked))
    }

    /// The phases of the run and their files.
    fn phases(&self) -> Result<Vec<(Phase, PhaseFiles)>> {
        let folder = RunFolder::open(&self.path)?;
        let config = folder.config()?;
        let target = config.data.target.as_deref();
        let phases = config.model.phases(target.is_some())?;
        let last = phases.len() - 1;
        let files = |(at, phase): (usize, Phase)| {
            // No task is the last: others can come after it.
            let files = folder.files(&phase, at == last && phase.task.is_none(), target);
            (phase, files)
        };
        Ok(phases.into_iter().enumerate().map(files).collect())
    }
}

/// An error about histories that were `written` to a file for the reader.
fn of_histories(e: Error, written: &Path) -> Error {
    match e {
        Error::Input { path, line, found, expected, .. } if path == written => {
            let row = line.map(|line| format!(", row {} (from 0)", line - 1)).unwrap_or_default();
            Error::Usage(format!("histories{row}: found {found}; expected {expected}"))
        }
        e => e,
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}
