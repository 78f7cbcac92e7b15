//! The folder of a run.
//!
//! | file | what |
//! |---|---|
//! | config.toml | all settings, as resolved |
//! | metrics.jsonl | a line an epoch |
//! | metrics.json | the result, with its protocol |
//! | model.safetensors | parameters of the best epoch |
//! | users.tsv, items.tsv | the numbers of users and items, and their ids in the data |
//! | checkpoint/last.safetensors | parameters, optimiser and position, to go on from |

use super::checkpoint::replace;
use super::config::Config;
use crate::data::Dataset;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A line of metrics.jsonl.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// Mean of the losses that were read in the epoch.
    pub loss: f64,
    /// Metrics on the validation part; none where the epoch was not evaluated.
    pub valid: Option<Value>,
    pub best: bool,
    /// Seconds of training so far, without evaluation.
    pub seconds: f64,
    pub samples_per_second: f64,
}

/// The folder of a run. Folders that were made for it and stayed empty are removed when it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// Deepest first.
    made: Vec<PathBuf>,
}

impl RunFolder {
    /// A folder for a new run: `path` itself, which must be new or empty.
    ///
    /// # Errors
    /// A folder that holds something or cannot be written to.
    pub fn new(path: &Path) -> Result<RunFolder> {
        if path.exists() {
            let mut entries = fs::read_dir(path).map_err(Error::io(path, "use as the run's folder"))?;
            // What a run leaves that was killed before it had written its settings is no run.
            let begun = |name: &str| ["checkpoint", "users.tsv", "items.tsv"].contains(&name) || name.ends_with(".tmp");
            if !entries.all(|e| e.is_ok_and(|e| e.file_name().to_str().is_some_and(begun))) {
                let path = path.display();
                return Err(Error::Usage(format!(
                    "{path} is not empty; go on with the run in it by --resume, or name another --out"
                )));
            }
        }
        RunFolder::make(path)
    }

    /// The first free one of `parent/model-1`, `parent/model-2`, ...
    pub fn next(parent: &Path, model: &str) -> Result<RunFolder> {
        let free = (1..).map(|n| parent.join(format!("{model}-{n}"))).find(|path| !path.exists());
        RunFolder::make(&free.expect("some number is free"))
    }

    /// The last one of `parent/model-1`, `parent/model-2`, ...
    pub fn latest(parent: &Path, model: &str) -> Option<PathBuf> {
        let path = |n: u64| parent.join(format!("{model}-{n}"));
        (1..).take_while(|&n| path(n).exists()).last().map(path)
    }

    /// The folder of a run that has been started.
    ///
    /// # Errors
    /// A folder without config.toml, or one that cannot be read.
    pub fn open(path: &Path) -> Result<RunFolder> {
        let folder = RunFolder { path: path.to_path_buf(), made: vec![] };
        match folder.config_file().is_file() {
            true => Ok(folder),
            false => Err(Error::Usage(format!("{}: no run is here (there is no config.toml)", path.display()))),
        }
    }

    /// Whether a run has been started in `path`.
    pub fn is_run(path: &Path) -> bool {
        path.join("config.toml").is_file()
    }

    fn make(path: &Path) -> Result<RunFolder> {
        let missing = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists());
        let folder = RunFolder { path: path.to_path_buf(), made: missing.map(Path::to_path_buf).collect() };
        fs::create_dir_all(path).map_err(Error::io(path, "create"))?;
        folder.check_writable()?;
        Ok(folder)
    }

    /// An error if nothing can be written: found out before the work, not after it.
    pub fn check_writable(&self) -> Result<()> {
        let probe = self.path.join("probe.tmp");
        fs::write(&probe, b"wgrec").and_then(|()| fs::remove_file(&probe)).map_err(Error::io(&self.path, "write to"))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn config_file(&self) -> PathBuf {
        self.path.join("config.toml")
    }

    pub fn model_file(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    pub fn metrics_file(&self) -> PathBuf {
        self.path.join("metrics.json")
    }

    pub fn checkpoint_file(&self) -> PathBuf {
        self.path.join("checkpoint").join("last.safetensors")
    }

    /// The model that the finished run's metrics name; None while there are none.
    pub fn trained_model(&self) -> Option<String> {
        let text = fs::read_to_string(self.metrics_file()).ok()?;
        let metrics: Value = serde_json::from_str(&text).ok()?;
        metrics["model"].as_str().map(str::to_string)
    }

    fn lines_file(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Writes what is known at the start of a run.
    pub fn begin(&self, config: &Config, data: &Dataset) -> Result<()> {
        let checkpoints = self.path.join("checkpoint");
        fs::create_dir_all(&checkpoints).map_err(Error::io(&checkpoints, "create"))?;
        ids(&self.path.join("users.tsv"), (0..data.users() as u32).map(|user| (user, data.user_name(user))))?;
        ids(&self.path.join("items.tsv"), (1..=data.items() as u32).map(|item| (item, data.item_name(item))))?;
        // Last, since it is what makes the folder a run's.
        replace(&self.config_file(), |p| fs::write(p, config.to_toml()))
    }

    /// The settings of the run.
    pub fn config(&self) -> Result<Config> {
        Config::default().with_file(&self.config_file())
    }

    /// Appends a line to metrics.jsonl.
    pub fn append(&self, line: &Line) -> Result<()> {
        let path = self.lines_file();
        let write = || {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(&path)?;
            let line = serde_json::to_string(line)? + "\n";
            file.write_all(line.as_bytes())?;
            file.sync_all()
        };
        write().map_err(Error::io(&path, "write"))
    }

    /// Drops the lines of metrics.jsonl that are past `step`: a training that is gone on with writes them again.
    pub fn rewind(&self, step: u64) -> Result<()> {
        let path = self.lines_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io(&path, "read")(e)),
        };
        // A line that was cut short does not parse and is past the checkpoint too.
        let done = |line: &&str| serde_json::from_str::<Line>(line).is_ok_and(|line| line.step <= step);
        let kept: String = text.lines().filter(done).flat_map(|line| [line, "\n"]).collect();
        if kept == text { Ok(()) } else { replace(&path, |p| fs::write(p, kept)) }
    }

    /// Writes metrics.json.
    pub fn write_metrics(&self, metrics: &Value) -> Result<()> {
        let text = serde_json::to_string_pretty(metrics).expect("metrics are plain data") + "\n";
        replace(&self.metrics_file(), |p| fs::write(p, text))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        for folder in &self.made {
            // Fails, as it should, where something was written.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// A line each: number, tab, id; a tab, line break or backslash in an id is escaped.
fn ids<'a>(path: &Path, names: impl Iterator<Item = (u32, &'a str)>) -> Result<()> {
    replace(path, |p| {
        let mut out = BufWriter::new(fs::File::create(p)?);
        for (id, name) in names {
            let escaped;
            let name = if name.contains(['\t', '\n', '\r', '\\']) {
                escaped = name.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
                &escaped
            } else {
                name
            };
            writeln!(out, "{id}\t{name}")?;
        }
        out.flush()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(epoch: u64) -> Line {
        Line { epoch, step: epoch * 10, loss: 0.5, valid: None, best: false, seconds: 1.0, samples_per_second: 2.0 }
    }

    #[test]
    fn folders_that_stay_empty_go() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        drop(RunFolder::next(&runs, "pomrec").unwrap());
        assert!(!runs.exists());
        let first = RunFolder::next(&runs, "pomrec").unwrap();
        first.append(&line(1)).unwrap();
        drop(first);
        let second = RunFolder::next(&runs, "pomrec").unwrap();
        assert_eq!(second.path(), runs.join("pomrec-2"));
        assert_eq!(RunFolder::latest(&runs, "pomrec"), Some(runs.join("pomrec-2")));
        let taken = RunFolder::new(&runs.join("pomrec-1")).unwrap_err().to_string();
        assert!(taken.contains("is not empty"), "{taken}");
    }

    #[test]
    fn a_file_is_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(RunFolder::new(&file).is_err());
        assert!(RunFolder::new(&file.join("below")).is_err());
        assert!(RunFolder::open(folder.path()).unwrap_err().to_string().contains("no run is here"));
    }

    #[test]
    fn lines_past_the_checkpoint_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path()).unwrap();
        (1..=3).for_each(|epoch| run.append(&line(epoch)).unwrap());
        let path = run.lines_file();
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, whole.clone() + "{\"epoch\": 4, \"st").unwrap();
        run.rewind(30).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        run.rewind(20).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}
