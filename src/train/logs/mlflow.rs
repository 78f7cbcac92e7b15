//! MLflow's file store: folders and small files, as its `FileStore` reads them.

use super::now;
use crate::data::dataset::hex;
use crate::error::{Error, Result};
use crate::files::replace;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The experiment that all runs are of, and its number.
const EXPERIMENT: (&str, &str) = ("wgrec", "1");

/// MLflow's numbers of the states of a run.
#[derive(Clone, Copy)]
enum Status {
    Running = 1,
    Finished = 3,
    Failed = 4,
    /// It was asked to stop.
    Killed = 5,
}

/// A run in the file store.
pub(super) struct MlflowRun {
    folder: PathBuf,
    id: String,
    name: String,
    /// Milliseconds since 1970.
    started: u128,
    ended: bool,
}

impl Drop for MlflowRun {
    fn drop(&mut self) {
        if !self.ended {
            // The error that ended the training is reported by whoever gets it.
            let _ = self.describe(Status::Failed);
        }
    }
}

impl MlflowRun {
    /// The run of `run`, the folder of a training, and of `phase`, in `mlruns` next to it. Metrics after `step` are dropped; of a
    /// training that begins, all that was there.
    pub fn open(run: &Path, phase: &str, step: u64, settings: &[(String, String)]) -> Result<MlflowRun> {
        let run = std::path::absolute(run).map_err(Error::io(run, "find"))?;
        let store = run.parent().unwrap_or(&run).join("mlruns");
        let experiment = store.join(EXPERIMENT.1);
        let name = format!("{}{phase}", run.file_name().unwrap_or_default().display());
        // The same for a training that is resumed.
        let id = hex(&Sha256::digest(name.as_bytes()))[..32].to_string();
        let folder = experiment.join(&id);
        if step == 0 && folder.is_dir() {
            fs::remove_dir_all(&folder).map_err(Error::io(&folder, "replace"))?;
        }
        for part in ["metrics", "params", "tags", "artifacts"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).map_err(Error::io(&part, "create"))?;
        }
        let started = now().as_millis();
        let about = experiment.join("meta.yaml");
        if !about.is_file() {
            let artifacts = file_uri(&experiment);
            let (name, id) = EXPERIMENT;
            write(
                &about,
                &format!(
                    "artifact_location: {artifacts}\ncreation_time: {started}\nexperiment_id: '{id}'\nlast_update_time: \
                     {started}\nlifecycle_stage: active\nname: {name}\n"
                ),
            )?;
        }
        let run = MlflowRun { folder, id, name, started, ended: false };
        run.rewind(step)?;
        let names = ("tags/mlflow.runName".to_string(), run.name.clone());
        let params = settings.iter().map(|(key, value)| (format!("params/{}", allowed(key)), value.clone()));
        for (file, text) in std::iter::once(names).chain(params) {
            let path = run.folder.join(file);
            fs::write(&path, text).map_err(Error::io(&path, "write"))?;
        }
        run.describe(Status::Running)?;
        Ok(run)
    }

    /// Adds a line `time value step` to the file of each metric.
    pub fn add(&self, step: u64, scalars: &[(String, f64)]) -> Result<()> {
        let time = now().as_millis();
        for (name, value) in scalars {
            let path = self.folder.join("metrics").join(allowed(name));
            let folder = path.parent().unwrap_or(&self.folder);
            fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
            let append = || {
                File::options()
                    .append(true)
                    .create(true)
                    .open(&path)?
                    .write_all(format!("{time} {value} {step}\n").as_bytes())
            };
            append().map_err(Error::io(&path, "write"))?;
        }
        Ok(())
    }

    pub fn end(&mut self) -> Result<()> {
        self.describe(Status::Finished)?;
        self.ended = true;
        Ok(())
    }

    /// The training was asked to stop, and can be resumed.
    pub fn stop(&mut self) -> Result<()> {
        self.describe(Status::Killed)?;
        self.ended = true;
        Ok(())
    }

    /// Writes meta.yaml.
    fn describe(&self, status: Status) -> Result<()> {
        let MlflowRun { folder, id, name, started, .. } = self;
        let end = match status {
            Status::Running => "null".to_string(),
            _ => now().as_millis().to_string(),
        };
        let (artifacts, quoted) = (file_uri(&folder.join("artifacts")), serde_json::Value::from(name.as_str()));
        write(
            &folder.join("meta.yaml"),
            &format!(
                "artifact_uri: {artifacts}\nend_time: {end}\nentry_point_name: ''\nexperiment_id: '{}'\nlifecycle_stage: \
                 active\nrun_id: {id}\nrun_name: {quoted}\nsource_name: ''\nsource_type: 4\nsource_version: ''\nstart_time: \
                 {started}\nstatus: {}\ntags: []\nuser_id: unknown\n",
                EXPERIMENT.1, status as u32
            ),
        )
    }

    /// Drops the lines of metrics after `step`.
    fn rewind(&self, step: u64) -> Result<()> {
        let kept =
            |line: &&str| line.rsplit(' ').next().and_then(|at| at.parse::<u64>().ok()).is_some_and(|at| at <= step);
        let mut folders = vec![self.folder.join("metrics")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(Error::io(&folder, "read"))? {
                let path = entry.map_err(Error::io(&folder, "read"))?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = fs::read_to_string(&path).map_err(Error::io(&path, "read"))?;
                let lines: String = text.lines().filter(kept).flat_map(|line| [line, "\n"]).collect();
                if lines != text {
                    write(&path, &lines)?;
                }
            }
        }
        Ok(())
    }
}

/// A name as MLflow takes it: letters, digits and `_-. :/`.
fn allowed(name: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-. :/".contains(c);
    name.replace('@', "_at_").chars().map(|c| if plain(c) { c } else { '_' }).collect()
}

fn file_uri(path: &Path) -> String {
    const SPECIAL: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'?');
    format!("file://{}", utf8_percent_encode(&path.to_string_lossy(), SPECIAL))
}

fn write(path: &Path, text: &str) -> Result<()> {
    replace(path, |out| out.write_all(text.as_bytes()))
}
