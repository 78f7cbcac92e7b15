//! The folder of a run.
//!
//! | file | what |
//! |---|---|
//! | config.toml | all settings, as resolved, and the format of the folder |
//! | metrics.jsonl | a line an epoch |
//! | metrics.json | the result, with its protocol |
//! | hashes.jsonl | hashes of the trained parameters, for `wgrec verify` |
//! | model.safetensors | parameters of the best epoch |
//! | users.tsv, items.tsv, behaviours.tsv | the numbers of users, items and behaviours, and their ids in the data |
//! | checkpoint/last.safetensors | parameters, optimiser and position, to resume from |
//! | tensorboard | event files, where `log.to` asks for them |
//! | data/interactions.parquet | the data, where they were given as a data frame of Python |
//! | lock | empty; held by the process that trains here |
//!
//! In a training of several phases these are the files of the last phase. The others have files of their own:
//!
//! | file | what |
//! |---|---|
//! | PHASE.jsonl, PHASE.json, PHASE.hashes.jsonl, checkpoint/PHASE.safetensors | an epoch a line, the result, the hashes and the checkpoint of a phase before the last |
//! | the file that [`Phase::keeps`] names | the best parameters of a phase, except those that it left as an earlier phase made them |
//! | config.BEHAVIOUR.toml, metrics.BEHAVIOUR.jsonl, metrics.BEHAVIOUR.json, hashes.BEHAVIOUR.jsonl | the last phase for a behaviour other than config.toml's |

use super::checkpoint;
use crate::config::{Config, FORMAT};
use crate::data::{Dataset, Ids, known};
use crate::error::{Error, Result};
use crate::files::{self, replace};
use crate::models::{Phase, spec};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

mod phase;

pub use phase::{Line, PhaseFiles};

/// The name of [`RunFolder::data_file`].
const DATA: &str = "interactions.parquet";

/// The folder of a run. Folders that were made for it and stayed empty are removed when it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    /// The behaviour that is predicted, if it is another one than config.toml's.
    target: Option<String>,
    /// Deepest first.
    made: Vec<PathBuf>,
    /// Held until the folder is dropped, and by the system no longer than the process lives.
    lock: Option<File>,
}

impl RunFolder {
    /// Whether a run writes files of the name of `path`.
    pub fn keeps(path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        ["toml", "safetensors", "jsonl", "tsv"].contains(&&*ending)
            || ending == "json" && (name.starts_with("metrics") || path.with_extension("jsonl").is_file())
            || name == "lock"
    }

    /// A folder for a new run: `path` itself, which must be new or empty. What a run left there that ended before it had a
    /// result or a checkpoint counts as nothing. No other process can train in it while it is held.
    ///
    /// # Errors
    /// A folder that holds something, that another process trains in, or that cannot be written to.
    pub fn new(path: &Path) -> Result<RunFolder> {
        let refused = |why: &str| Err(Error::Usage(format!("{} {why} --out", path.display())));
        // Again under the lock: another run may have come to its end since.
        let taken = "is not empty; go on with the run in it by --resume, or name another";
        if !is_free(path)? {
            return refused(taken);
        }
        match RunFolder::make(path)? {
            Some(_) if !is_free(path)? => refused(taken),
            Some(folder) => Ok(folder),
            None => Err(busy(path)),
        }
    }

    /// The one after the last of `parent/model-1`, `parent/model-2`, ...
    pub fn next(parent: &Path, model: &str) -> Result<RunFolder> {
        let first = RunFolder::numbers(parent, model).max().unwrap_or(0).saturating_add(1);
        for path in (first..).map(|n| parent.join(format!("{model}-{n}"))) {
            // None where a run that starts at the same time was faster.
            if let Some(folder) = RunFolder::make(&path)? {
                return Ok(folder);
            }
        }
        unreachable!("some number is free")
    }

    /// The last run of `parent/model-1`, `parent/model-2`, ...
    pub fn latest(parent: &Path, model: &str) -> Option<PathBuf> {
        let path = |n: u64| parent.join(format!("{model}-{n}"));
        RunFolder::numbers(parent, model).filter(|&n| RunFolder::is_run(&path(n))).max().map(path)
    }

    /// The numbers that are taken.
    fn numbers(parent: &Path, model: &str) -> impl Iterator<Item = u64> {
        let number = move |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            let text = name.strip_prefix(model)?.strip_prefix('-')?;
            text.parse::<u64>().ok().filter(|n| n.to_string() == text)
        };
        fs::read_dir(parent).into_iter().flatten().filter_map(move |entry| number(entry.ok()?))
    }

    /// The folder of a run that has been started, to look at.
    ///
    /// # Errors
    /// A folder without config.toml, or one that cannot be read.
    pub fn open(path: &Path) -> Result<RunFolder> {
        let folder = RunFolder { path: path.to_path_buf(), target: None, made: vec![], lock: None };
        match folder.config_file().is_file() {
            true => Ok(folder),
            false => Err(Error::Usage(format!("{}: no run is here (there is no config.toml)", path.display()))),
        }
    }

    /// The folder of a run that has been started, to be resumed. No other process can train in it while it is held.
    ///
    /// # Errors
    /// Those of [`RunFolder::open`]; a folder that another process trains in, or that cannot be written to.
    pub fn go_on(path: &Path) -> Result<RunFolder> {
        let mut folder = RunFolder::open(path)?;
        if !folder.lock()? {
            return Err(busy(path));
        }
        folder.prepare()?;
        Ok(folder)
    }

    /// Whether a run has been started in `path`.
    pub fn is_run(path: &Path) -> bool {
        path.join("config.toml").is_file()
    }

    /// None where another process holds the lock.
    fn make(path: &Path) -> Result<Option<RunFolder>> {
        let missing = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists());
        let made = missing.map(Path::to_path_buf).collect();
        let mut folder = RunFolder { path: path.to_path_buf(), target: None, made, lock: None };
        fs::create_dir_all(path).map_err(Error::io(path, "create"))?;
        if !folder.lock()? {
            return Ok(None);
        }
        folder.prepare()?;
        Ok(Some(folder))
    }

    /// Takes the lock; false where another process has it.
    fn lock(&mut self) -> Result<bool> {
        let file = files::open_kept(&self.lock_file())?;
        match files::try_lock(&file) {
            Ok(false) => return Ok(false),
            // Some file systems have no locks; a run there is as good as it was without.
            Err(e) if e.kind() != io::ErrorKind::Unsupported => return Err(Error::io(self.lock_file(), "lock")(e)),
            _ => self.lock = Some(file),
        }
        Ok(true)
    }

    /// Removes what killed trainings have left, which none can be writing to while the lock is held.
    ///
    /// # Errors
    /// A folder that cannot be written to: found out before the work, not after it.
    fn prepare(&self) -> Result<()> {
        for folder in [&self.path, &self.path.join("checkpoint")] {
            files::sweep(folder);
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let left = entries.filter(|entry| is_earlier_temporary(&entry.file_name().to_string_lossy()));
            left.for_each(|entry| fs::remove_file(entry.path()).unwrap_or_default());
        }
        let probe = || tempfile::tempfile_in(&self.path)?.write_all(b"wgrec");
        probe().map_err(Error::io(&self.path, "write to"))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `NAME.EXTENSION`, or that of a behaviour other than config.toml's.
    fn of_target(&self, name: &str, extension: &str) -> PathBuf {
        self.path.join(match &self.target {
            Some(target) => format!("{name}.{}.{extension}", file_name(target)),
            None => format!("{name}.{extension}"),
        })
    }

    /// The file for data that are in no other. In a folder of its own, since files of items and users next to data describe them.
    pub fn data_file(&self) -> PathBuf {
        self.path.join("data").join(DATA)
    }

    pub fn config_file(&self) -> PathBuf {
        self.of_target("config", "toml")
    }

    /// The files of a phase that predicts `target`. Those of the `last` phase, or of the only one, have no phase in their names.
    pub fn files(&self, phase: &Phase, last: bool, target: Option<&str>) -> PhaseFiles {
        let checkpoints = self.path.join("checkpoint");
        let target = file_name(target.unwrap_or_default());
        let mut parameters = self.path.join(phase.keeps.replace("{target}", &target));
        if last && !parameters.is_file() {
            // Before format 2, a tuning's file was named by whether all parameters were trained.
            let earlier = ["prompts", "tuned"].map(|name| self.path.join(format!("{name}.{target}.safetensors")));
            parameters = earlier.into_iter().find(|path| path.is_file()).unwrap_or(parameters);
        }
        let name = &phase.name;
        match last {
            true => PhaseFiles {
                parameters,
                checkpoint: checkpoints.join(self.of_target("last", "safetensors").file_name().unwrap_or_default()),
                lines: self.of_target("metrics", "jsonl"),
                metrics: self.result_file(),
                hashes: self.of_target("hashes", "jsonl"),
            },
            false => PhaseFiles {
                parameters,
                checkpoint: checkpoints.join(format!("{name}.safetensors")),
                lines: self.path.join(format!("{name}.jsonl")),
                metrics: self.path.join(format!("{name}.json")),
                hashes: self.path.join(format!("{name}.hashes.jsonl")),
            },
        }
    }

    /// A file of parameters that a run with these settings has, of whichever phase; the last phase's if there is one.
    pub fn any_parameters(&self, config: &Config) -> Option<PathBuf> {
        let target = config.data.target.as_deref();
        let last = config.model.phases(target.is_some()).ok()?;
        let all = last.into_iter().rev().chain(config.model.all_phases());
        all.map(|phase| self.files(&phase, false, target).parameters).find(|path| path.is_file())
    }

    /// metrics.json, of the last phase.
    pub fn result_file(&self) -> PathBuf {
        self.of_target("metrics", "json")
    }

    fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// The model that the finished run's metrics name; None while there are none.
    pub fn trained_model(&self) -> Option<String> {
        let text = fs::read_to_string(self.result_file()).ok()?;
        let metrics: Value = serde_json::from_str(&text).ok()?;
        metrics["model"].as_str().map(str::to_string)
    }

    /// Writes what is known at the start of a run.
    pub fn begin(&self, config: &Config, data: &Dataset) -> Result<()> {
        let checkpoints = self.path.join("checkpoint");
        fs::create_dir_all(&checkpoints).map_err(Error::io(&checkpoints, "create"))?;
        Ids::write(&self.path, data)?;
        // Last, since it is what makes the folder a run's.
        let text = format!("format = {FORMAT}\n{}", config.to_toml());
        replace(&self.config_file(), |out| out.write_all(text.as_bytes()))
    }

    /// What [`RunFolder::begin`] gave numbers to. A run of an earlier version knows behaviours only by its settings.
    ///
    /// # Errors
    /// Those of [`Ids::read`].
    pub fn ids(&self) -> Result<Ids> {
        let ids = Ids::read(&self.path)?;
        match ids.behaviours.is_empty() {
            true => Ok(Ids { behaviours: self.config()?.data.behaviours, ..ids }),
            false => Ok(ids),
        }
    }

    /// The behaviour of config.toml, if the run has the last phase for it.
    pub fn own_target(&self) -> Result<Option<String>> {
        let config = self.config()?;
        let phases = config.model.phases(true)?;
        let last = phases.last().is_some_and(|last| config.chosen(&phases).contains(&last.name.as_str()));
        Ok(config.data.target.filter(|_| last))
    }

    /// Makes the files those of `target`, where it is another behaviour than config.toml's; tells whether it is.
    pub fn enter(&mut self, target: &str) -> Result<bool> {
        let other = self.own_target()?.as_deref() != Some(target);
        self.target = other.then(|| target.to_string());
        Ok(other)
    }

    /// Makes the files those of the run's last phase for `behaviour`, where it has several.
    ///
    /// # Errors
    /// A behaviour that the run does not predict.
    pub fn find_behaviour(&mut self, behaviour: Option<&str>) -> Result<()> {
        let own = self.own_target()?;
        let Some(behaviour) = behaviour else { return Ok(()) };
        if !self.enter(behaviour)? || self.config_file().is_file() {
            return Ok(());
        }
        let path = self.path.display();
        let own = own.map(|own| format!(" (config.toml is for {own})")).unwrap_or_default();
        Err(Error::Usage(format!(
            "{path}: the run was not tuned to {behaviour:?}{own}; tune it by `wgrec train MODEL --from {path} --set \
             data.target={behaviour}`"
        )))
    }

    /// The settings of the run.
    pub fn config(&self) -> Result<Config> {
        let model_file = self.path.join("model.safetensors");
        let kept = || self.trained_model().or_else(|| Some(checkpoint::origin(&model_file).ok()?.model));
        Config::of_run(&self.config_file(), kept)
    }

    /// The settings of the run.
    ///
    /// # Errors
    /// A run of another model than the one called `model`.
    pub fn config_of(&self, model: &str) -> Result<Config> {
        let config = self.config()?;
        let (found, path) = (config.model.name(), self.path.display());
        spec::find(model)?;
        if model == found {
            return Ok(config);
        }
        Err(Error::Usage(format!(
            "{path}: this is a run of {found}; expected one of {model}, or `wgrec train {found}`"
        )))
    }

    /// Checks that data are where `config` says, if that is where the run's own settings say so.
    ///
    /// # Errors
    /// Nothing is there, or not as seen from the working folder.
    pub fn check_data(&self, config: &Config) -> Result<()> {
        let own = self.config()?.data.path;
        let Some(path) = own.as_ref().filter(|own| config.data.path.as_ref() == Some(own)) else { return Ok(()) };
        if known::resolve(path)?.exists() {
            return Ok(());
        }
        let why = match std::env::current_dir() {
            Ok(here) if path.is_relative() => format!("which is relative and leads nowhere from {}", here.display()),
            _ => "and nothing is there".to_string(),
        };
        let (file, path) = (self.config_file(), path.display());
        Err(Error::Usage(format!("{}: data.path is {path}, {why}; say where the data are by --data", file.display())))
    }
}

/// Whether `path` is a folder without a run that is worth something, and without anything of somebody else's.
fn is_free(path: &Path) -> Result<bool> {
    if !path.exists() {
        return Ok(true);
    }
    let holds_only = |folder: &Path, known: &dyn Fn(&str) -> bool| -> Result<bool> {
        let mut entries = fs::read_dir(folder).map_err(Error::io(path, "use as the run's folder"))?;
        Ok(entries.all(|e| e.is_ok_and(|e| e.file_name().to_str().is_some_and(known))))
    };
    let partial = |name: &str| files::is_temporary(name) || is_earlier_temporary(name);
    // A folder with only settings may be anyone's; a run writes them after the ids.
    let begun = path.join("items.tsv").is_file();
    // Nor does anyone else keep data next to a lock.
    let locked = path.join("lock").is_file();
    let kept_data = |name: &str| name == DATA || files::is_temporary(name);
    let of_a_start = |name: &str| match name {
        "data" => locked && holds_only(&path.join(name), &kept_data).unwrap_or(false),
        "checkpoint" | "tensorboard" | "users.tsv" | "items.tsv" | "behaviours.tsv" | "lock" => true,
        "config.toml" => begun,
        name => partial(name),
    };
    let checkpoints = path.join("checkpoint");
    Ok(holds_only(path, &of_a_start)? && (!checkpoints.exists() || holds_only(&checkpoints, &partial)?))
}

/// Whether a name is one that earlier versions gave the temporary files of a run: that of the file and `.tmp`, and safetensors'
/// own `.tmpXXXXXX`.
fn is_earlier_temporary(name: &str) -> bool {
    let of_run = |whole: &str| ["probe", "pretrain.json"].contains(&whole) || RunFolder::keeps(Path::new(whole));
    let random = |rest: &str| rest.len() == 6 && rest.bytes().all(|b| b.is_ascii_alphanumeric());
    name.strip_suffix(".tmp").is_some_and(of_run) || name.strip_prefix(".tmp").is_some_and(random)
}

/// A behaviour's name as part of a file's: letters, digits, `-` and `_` as they are, other bytes as `%` and two hex digits.
fn file_name(behaviour: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    behaviour.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02x}") }).collect()
}

fn busy(path: &Path) -> Error {
    Error::Usage(format!(
        "{}: another process is training in this folder; wait for it, or name another --out",
        path.display()
    ))
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // A lock file stays next to whatever was written, since one that is removed could be held and created again at once.
        let only_lock = || fs::read_dir(&self.path).is_ok_and(|entries| entries.count() == 1);
        if self.lock.is_some() && !self.made.is_empty() && only_lock() {
            let _ = fs::remove_file(self.lock_file());
        }
        for folder in &self.made {
            // Fails, as it should, where something was written.
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_that_stay_empty_go() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        drop(RunFolder::next(&runs, "pomrec").unwrap());
        assert!(!runs.exists());
        let first = RunFolder::next(&runs, "pomrec").unwrap();
        fs::write(first.path().join("metrics.jsonl"), "").unwrap();
        fs::write(first.config_file(), "").unwrap();
        drop(first);
        fs::create_dir_all(runs.join("pomrec-07")).unwrap();
        let second = RunFolder::next(&runs, "pomrec").unwrap();
        assert_eq!(second.path(), runs.join("pomrec-2"));
        // Only the first has been started.
        assert_eq!(RunFolder::latest(&runs, "pomrec"), Some(runs.join("pomrec-1")));
        let taken = RunFolder::new(&runs.join("pomrec-1")).unwrap_err().to_string();
        assert!(taken.contains("is not empty"), "{taken}");
    }

    #[test]
    fn a_start_that_came_to_nothing_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let free = || RunFolder::new(path).is_ok();
        fs::write(path.join("config.toml"), "").unwrap();
        assert!(!free(), "settings alone may be anyone's");
        for name in ["users.tsv", "items.tsv", "config.toml.tmp"] {
            fs::write(path.join(name), "").unwrap();
        }
        fs::create_dir(path.join("checkpoint")).unwrap();
        let left = [".wgrec-aBcDeFgHiJkL.tmp", "last.safetensors.tmp", ".tmpa1B2c3"]
            .map(|name| path.join("checkpoint").join(name));
        left.iter().for_each(|left| fs::write(left, "half").unwrap());
        assert!(free());
        assert!(!left.iter().any(|left| left.exists()), "what kills have left goes");
        for worth in ["checkpoint/last.safetensors", "metrics.jsonl", "model.safetensors", "metrics.json", "notes.txt"]
        {
            fs::write(path.join(worth), "").unwrap();
            assert!(!free(), "{worth}");
            fs::remove_file(path.join(worth)).unwrap();
        }
    }

    #[test]
    fn data_that_a_start_left_are_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join(DATA), "").unwrap();
        assert!(RunFolder::new(folder.path()).is_err(), "without a lock they are somebody's");
        fs::write(folder.path().join("lock"), "").unwrap();
        assert!(RunFolder::new(folder.path()).is_ok());
        fs::write(data.join("notes.txt"), "").unwrap();
        assert!(RunFolder::new(folder.path()).is_err());
    }

    #[test]
    fn two_do_not_train_in_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let run = RunFolder::new(&path).unwrap();
        let error = RunFolder::new(&path).unwrap_err();
        assert!(error.to_string().contains("another process is training in this folder"), "{error}");
        fs::write(run.config_file(), "").unwrap();
        assert!(RunFolder::go_on(&path).unwrap_err().to_string().contains("another process"));
        RunFolder::open(&path).unwrap();
        drop(run);
        RunFolder::go_on(&path).unwrap();
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
}
