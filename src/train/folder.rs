//! The folder of a run.
//!
//! | file | what |
//! |---|---|
//! | config.toml | all settings, as resolved |
//! | metrics.jsonl | a line an epoch |
//! | metrics.json | the result, with its protocol |
//! | model.safetensors | parameters of the best epoch |
//! | users.tsv, items.tsv, behaviours.tsv | the numbers of users, items and behaviours, and their ids in the data |
//! | checkpoint/last.safetensors | parameters, optimiser and position, to go on from |
//! | lock | empty; held by the process that trains here |
//!
//! Of a training in two phases model.safetensors is the backbone, as the first has left it, and there are besides:
//!
//! | file | what |
//! |---|---|
//! | pretrain.jsonl, pretrain.json | an epoch a line, and the result, of the first phase |
//! | prompts.BEHAVIOUR.safetensors | the best prompts for a behaviour; `tuned.` instead of `prompts.` where all is tuned |
//! | config.BEHAVIOUR.toml, metrics.BEHAVIOUR.jsonl, metrics.BEHAVIOUR.json | of a behaviour other than config.toml's |

use super::checkpoint;
use super::config::Config;
use crate::data::readers::Names;
use crate::data::{Dataset, Ids, known};
use crate::error::{Error, Result};
use crate::files::{self, replace};
use crate::models::Phase;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A line of metrics.jsonl.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// Mean of the losses that were read in the epoch; none where all updates that were read were left out (f16).
    pub loss: Option<f64>,
    /// Metrics on the validation part; none where the epoch was not evaluated.
    pub valid: Option<Value>,
    pub best: bool,
    /// Seconds of training so far, without evaluation.
    pub seconds: f64,
    pub samples_per_second: f64,
}

/// What the first of two phases came to.
const PRETRAINED: &str = "pretrain.json";

/// Which part of a run a folder's files belong to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// The only one.
    #[default]
    Whole,
    Pretrain,
    Tune {
        behaviour: String,
        /// Not the behaviour of config.toml.
        other: bool,
        /// Every parameter is tuned, not prompts alone.
        all: bool,
    },
}

/// The folder of a run. Folders that were made for it and stayed empty are removed when it is dropped.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    stage: Stage,
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
            || ending == "json" && ["metrics", "pretrain"].iter().any(|kept| name.starts_with(kept))
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
        let folder = RunFolder { path: path.to_path_buf(), stage: Stage::Whole, made: vec![], lock: None };
        match folder.config_file().is_file() {
            true => Ok(folder),
            false => Err(Error::Usage(format!("{}: no run is here (there is no config.toml)", path.display()))),
        }
    }

    /// The folder of a run that has been started, to go on with. No other process can train in it while it is held.
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
        let mut folder = RunFolder { path: path.to_path_buf(), stage: Stage::Whole, made, lock: None };
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

    /// From now on files are those of `stage`.
    pub fn enter(&mut self, stage: Stage) {
        self.stage = stage;
    }

    /// `NAME.EXTENSION`, or that of a behaviour other than config.toml's.
    fn of_behaviour(&self, name: &str, extension: &str) -> PathBuf {
        self.path.join(match &self.stage {
            Stage::Tune { behaviour, other: true, .. } => format!("{name}.{}.{extension}", file_name(behaviour)),
            _ => format!("{name}.{extension}"),
        })
    }

    pub fn config_file(&self) -> PathBuf {
        self.of_behaviour("config", "toml")
    }

    /// Where the first phase, or the only one, keeps its best parameters.
    pub fn backbone_file(&self) -> PathBuf {
        self.path.join("model.safetensors")
    }

    /// An error unless a pre-training has come to its end here, or a backbone was taken from where one has.
    pub fn check_pretrained(&self) -> Result<()> {
        let (path, own) = (self.path.display(), self.backbone_file());
        let whole = || self.path.join(PRETRAINED).is_file() || self.config().is_ok_and(|config| config.from.is_some());
        if own.is_file() && whole() {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "{path}: no pre-training has come to its end here (there is no {PRETRAINED}); go on with it by `wgrec train MODEL \
             --resume --out {path}`, or name another --from"
        )))
    }

    /// Makes the backbone of another run this one's: one file under two names, or a copy where that cannot be.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn take_backbone(&self, from: &RunFolder) -> Result<()> {
        let (source, own) = (from.backbone_file(), self.backbone_file());
        if fs::hard_link(&source, &own).is_ok() {
            return Ok(());
        }
        replace(&own, |out| io::copy(&mut File::open(&source)?, out).map(drop))
    }

    /// Where the stage keeps its best parameters.
    pub fn model_file(&self) -> PathBuf {
        match &self.stage {
            Stage::Tune { behaviour, all, .. } => {
                let what = if *all { "tuned" } else { "prompts" };
                self.path.join(format!("{what}.{}.safetensors", file_name(behaviour)))
            }
            _ => self.backbone_file(),
        }
    }

    pub fn metrics_file(&self) -> PathBuf {
        match self.stage {
            Stage::Pretrain => self.path.join(PRETRAINED),
            _ => self.of_behaviour("metrics", "json"),
        }
    }

    pub fn checkpoint_file(&self) -> PathBuf {
        let folder = self.path.join("checkpoint");
        folder.join(match &self.stage {
            Stage::Pretrain => "pretrain.safetensors".to_string(),
            Stage::Tune { behaviour, other: true, .. } => format!("last.{}.safetensors", file_name(behaviour)),
            _ => "last.safetensors".to_string(),
        })
    }

    fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    /// The model that the finished run's metrics name; None while there are none.
    pub fn trained_model(&self) -> Option<String> {
        let text = fs::read_to_string(self.metrics_file()).ok()?;
        let metrics: Value = serde_json::from_str(&text).ok()?;
        metrics["model"].as_str().map(str::to_string)
    }

    fn lines_file(&self) -> PathBuf {
        match self.stage {
            Stage::Pretrain => self.path.join("pretrain.jsonl"),
            _ => self.of_behaviour("metrics", "jsonl"),
        }
    }

    /// Writes what is known at the start of a run.
    pub fn begin(&self, config: &Config, data: &Dataset) -> Result<()> {
        let checkpoints = self.path.join("checkpoint");
        fs::create_dir_all(&checkpoints).map_err(Error::io(&checkpoints, "create"))?;
        ids(&self.path.join("users.tsv"), (0..data.users() as u32).map(|user| (user, data.user_name(user))))?;
        ids(&self.path.join("items.tsv"), (1..=data.items() as u32).map(|item| (item, data.item_name(item))))?;
        if !data.behaviour_names().is_empty() {
            let names = data.behaviour_names().iter().map(String::as_str);
            ids(&self.path.join("behaviours.tsv"), (0..).zip(names))?;
        }
        // Last, since it is what makes the folder a run's.
        replace(&self.config_file(), |out| out.write_all(config.to_toml().as_bytes()))
    }

    /// What [`RunFolder::begin`] gave numbers to. A run of an earlier version knows behaviours by its settings alone.
    ///
    /// # Errors
    /// A list that cannot be read, or whose numbers do not follow one another.
    pub fn ids(&self) -> Result<Ids> {
        let list = |name: &str, first| read_ids(&self.path.join(name), first);
        let behaviours = match self.path.join("behaviours.tsv").is_file() {
            true => list("behaviours.tsv", 0)?.iter().map(str::to_string).collect(),
            false => self.config()?.data.behaviours,
        };
        Ok(Ids { users: list("users.tsv", 0)?, items: list("items.tsv", 1)?, behaviours })
    }

    /// The behaviour of config.toml, where that is for a second phase too.
    pub fn own_behaviour(&self) -> Result<Option<String>> {
        let config = self.config()?;
        Ok(config.data.target.filter(|_| config.phase != Some(Phase::Pretrain)))
    }

    /// Makes the files those of the run's second phase for `behaviour`, where it was tuned to several; tells whether it is
    /// another one than config.toml's.
    ///
    /// # Errors
    /// A behaviour that the run was not tuned to.
    pub fn find_behaviour(&mut self, behaviour: Option<&str>) -> Result<bool> {
        let own = self.own_behaviour()?;
        let Some(behaviour) = behaviour.filter(|behaviour| own.as_deref() != Some(behaviour)) else { return Ok(false) };
        self.enter(Stage::Tune { behaviour: behaviour.to_string(), other: true, all: false });
        if self.config_file().is_file() {
            return Ok(true);
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
        let kept = || self.trained_model().or_else(|| Some(checkpoint::origin(&self.backbone_file()).ok()?.model));
        Config::of_run(&self.config_file(), kept)
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

    /// Adds a line to metrics.jsonl. A training that train.max_steps ended within this epoch has left a line of it, which goes.
    pub fn append(&self, line: &Line) -> Result<()> {
        self.rewrite_lines(|earlier| earlier.epoch != line.epoch, Some(line))
    }

    /// Drops the lines of metrics.jsonl that are past `step`: a training that is gone on with writes them again.
    pub fn rewind(&self, step: u64) -> Result<()> {
        self.rewrite_lines(|line| line.step <= step, None)
    }

    /// Seconds of training until the end of an epoch, by metrics.jsonl.
    pub fn seconds_until(&self, epoch: u64) -> Option<f64> {
        let text = fs::read_to_string(self.lines_file()).ok()?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        lines.rev().find(|line| line.epoch == epoch).map(|line| line.seconds)
    }

    /// Writes the lines that are `kept`, and a `new` one.
    fn rewrite_lines(&self, kept: impl Fn(&Line) -> bool, new: Option<&Line>) -> Result<()> {
        let path = self.lines_file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io(&path, "read")(e)),
        };
        // A line that was cut short, by a version that added to the file, does not parse and is past the checkpoint.
        let kept = |line: &&str| serde_json::from_str::<Line>(line).is_ok_and(|line| kept(&line));
        let mut lines: String = text.lines().filter(kept).flat_map(|line| [line, "\n"]).collect();
        if let Some(line) = new {
            lines += &serde_json::to_string(line).expect("a line is plain data");
            lines.push('\n');
        }
        if lines == text { Ok(()) } else { replace(&path, |out| out.write_all(lines.as_bytes())) }
    }

    /// Takes away what an earlier end of this run has left, when its parameters are about to be others.
    pub fn remove_metrics(&self) -> Result<()> {
        match fs::remove_file(self.metrics_file()) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(&self.metrics_file(), "remove")(e)),
            _ => Ok(()),
        }
    }

    /// Writes metrics.json.
    pub fn write_metrics(&self, metrics: &Value) -> Result<()> {
        let text = serde_json::to_string_pretty(metrics).expect("metrics are plain data") + "\n";
        replace(&self.metrics_file(), |out| out.write_all(text.as_bytes()))
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
    // Settings alone may be anyone's; a run writes them after the ids.
    let begun = path.join("items.tsv").is_file();
    let of_a_start = |name: &str| match name {
        "checkpoint" | "users.tsv" | "items.tsv" | "behaviours.tsv" | "lock" => true,
        "config.toml" => begun,
        name => partial(name),
    };
    let checkpoints = path.join("checkpoint");
    Ok(holds_only(path, &of_a_start)? && (!checkpoints.exists() || holds_only(&checkpoints, &partial)?))
}

/// Whether a name is one that earlier versions gave the temporary files of a run: that of the file and `.tmp`, and safetensors'
/// own `.tmpXXXXXX`.
fn is_earlier_temporary(name: &str) -> bool {
    let of_run = |whole: &str| whole == "probe" || RunFolder::keeps(Path::new(whole));
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
        // A lock file stays beside whatever was written, since one that goes could be held and made anew at once.
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

/// A line each: number, tab, id; a tab, line break or backslash in an id is escaped.
fn ids<'a>(path: &Path, names: impl Iterator<Item = (u32, &'a str)>) -> Result<()> {
    replace(path, |out| {
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
        Ok(())
    })
}

/// Reads what [`ids`] wrote: the ids, of which the first has the number `first`.
fn read_ids(path: &Path, first: u32) -> Result<Names> {
    let text = fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    let mut names = Names::default();
    for (line, number) in text.lines().zip(first..) {
        let name = line.strip_prefix(&number.to_string()).and_then(|rest| rest.strip_prefix('\t'));
        let name = name.and_then(unescaped).ok_or_else(|| Error::Input {
            path: path.to_path_buf(),
            line: Some(names.len() as u64 + 1),
            column: None,
            found: format!("{line:?}"),
            expected: format!("the number {number}, a tab and an id"),
        })?;
        names.push(&name);
    }
    Ok(names)
}

/// None where a backslash stands for nothing.
fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(text.into());
    }
    let (mut whole, mut rest) = (String::new(), text.chars());
    while let Some(c) = rest.next() {
        whole.push(match c {
            '\\' => match rest.next()? {
                '\\' => '\\',
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            c => c,
        });
    }
    Some(whole.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(epoch: u64) -> Line {
        Line {
            epoch,
            step: epoch * 10,
            loss: Some(0.5),
            valid: None,
            best: false,
            seconds: 1.0,
            samples_per_second: 2.0,
        }
    }

    #[test]
    fn ids_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("items.tsv");
        let names = ["plain", "a\tb", "line\nbreak\r", "back\\slash\\t", " ", "\u{fc}"];
        ids(&path, (1..).zip(names)).unwrap();
        assert!(read_ids(&path, 1).unwrap().iter().eq(names));
        for (text, line) in [("1\ta\n3\tb\n", 2), ("0\ta\n", 1), ("1\ta\n2 b\n", 2), ("1\ta\\x\n", 1)] {
            fs::write(&path, text).unwrap();
            let error = read_ids(&path, 1).unwrap_err().to_string();
            assert!(error.contains(&format!("items.tsv:{line}: found")), "{error}");
        }
    }

    #[test]
    fn folders_that_stay_empty_go() {
        let folder = tempfile::tempdir().unwrap();
        let runs = folder.path().join("runs");
        drop(RunFolder::next(&runs, "pomrec").unwrap());
        assert!(!runs.exists());
        let first = RunFolder::next(&runs, "pomrec").unwrap();
        first.append(&line(1)).unwrap();
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

    #[test]
    fn lines_past_the_checkpoint_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::new(folder.path()).unwrap();
        run.append(&Line { step: 7, ..line(1) }).unwrap();
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
