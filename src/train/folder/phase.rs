//! The files of one phase of a run: parameters, checkpoint, a line an epoch, the result.

use super::RunFolder;
use crate::error::{Error, Result};
use crate::files::replace;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

/// A line of metrics.jsonl.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    pub epoch: u64,
    /// Steps done.
    pub step: u64,
    /// Mean of the losses that were read in the epoch; none where all updates that were read were left out (f16).
    pub loss: Option<f64>,
    /// Means, by samples, of what is reported of the batches of the updates whose losses were read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reported: BTreeMap<String, f64>,
    /// Metrics on the validation part; none where the epoch was not evaluated.
    pub valid: Option<Value>,
    pub best: bool,
    /// Seconds of training so far, without evaluation.
    pub seconds: f64,
    pub samples_per_second: f64,
}

/// Where a phase keeps what it makes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PhaseFiles {
    /// Parameters of the best epoch.
    pub parameters: PathBuf,
    pub checkpoint: PathBuf,
    /// A [`Line`] an epoch.
    pub lines: PathBuf,
    /// The result, written when the phase is over.
    pub metrics: PathBuf,
}

impl PhaseFiles {
    /// An error unless the phase called `name` has come to its end in `folder`, or its parameters were taken from where it has.
    pub fn check_finished(&self, name: &str, folder: &RunFolder) -> Result<()> {
        let over = || self.metrics.is_file() || folder.config().is_ok_and(|config| config.from.is_some());
        if self.parameters.is_file() && over() {
            return Ok(());
        }
        let (path, metrics) = (folder.path().display(), self.metrics.file_name().unwrap_or_default().display());
        Err(Error::Usage(format!(
            "{path}: the phase {name} has not come to its end here (there is no {metrics}); resume it by `wgrec train MODEL \
             --resume --out {path}`, or name another --from"
        )))
    }

    /// Makes the parameters in `from` this phase's: one file under two names, or a copy where that cannot be.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn link_parameters(&self, from: &PhaseFiles) -> Result<()> {
        let (source, own) = (&from.parameters, &self.parameters);
        if fs::hard_link(source, own).is_ok() {
            return Ok(());
        }
        replace(own, |out| io::copy(&mut File::open(source)?, out).map(drop))
    }

    /// Adds a line to metrics.jsonl. A line of the same epoch goes: train.max_steps ended a training within it.
    pub fn append(&self, line: &Line) -> Result<()> {
        self.rewrite_lines(|earlier| earlier.epoch != line.epoch, Some(line))
    }

    /// Drops the lines of metrics.jsonl that are past `step`: a training that is resumed writes them again.
    pub fn rewind(&self, step: u64) -> Result<()> {
        self.rewrite_lines(|line| line.step <= step, None)
    }

    /// Seconds of training until the end of an epoch, by metrics.jsonl.
    pub fn seconds_until(&self, epoch: u64) -> Option<f64> {
        let text = fs::read_to_string(&self.lines).ok()?;
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        lines.rev().find(|line| line.epoch == epoch).map(|line| line.seconds)
    }

    /// Writes the lines that are `kept`, and a `new` one.
    fn rewrite_lines(&self, kept: impl Fn(&Line) -> bool, new: Option<&Line>) -> Result<()> {
        let path = &self.lines;
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io(path, "read")(e)),
        };
        // A line that was cut short, by a version that added to the file, does not parse and is past the checkpoint.
        let kept = |line: &&str| serde_json::from_str::<Line>(line).is_ok_and(|line| kept(&line));
        let mut lines: String = text.lines().filter(kept).flat_map(|line| [line, "\n"]).collect();
        if let Some(line) = new {
            lines += &serde_json::to_string(line).expect("a line is plain data");
            lines.push('\n');
        }
        if lines == text { Ok(()) } else { replace(path, |out| out.write_all(lines.as_bytes())) }
    }

    /// Takes away what an earlier end of this run has left, when its parameters are about to be others.
    pub fn remove_metrics(&self) -> Result<()> {
        match fs::remove_file(&self.metrics) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(&self.metrics, "remove")(e)),
            _ => Ok(()),
        }
    }

    /// Writes metrics.json.
    pub fn write_metrics(&self, metrics: &Value) -> Result<()> {
        let text = serde_json::to_string_pretty(metrics).expect("metrics are plain data") + "\n";
        replace(&self.metrics, |out| out.write_all(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(epoch: u64) -> Line {
        Line {
            epoch,
            step: epoch * 10,
            loss: Some(0.5),
            reported: BTreeMap::new(),
            valid: None,
            best: false,
            seconds: 1.0,
            samples_per_second: 2.0,
        }
    }

    #[test]
    fn lines_past_the_checkpoint_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let run = PhaseFiles { lines: path.clone(), ..PhaseFiles::default() };
        run.append(&Line { step: 7, ..line(1) }).unwrap();
        (1..=3).for_each(|epoch| run.append(&line(epoch)).unwrap());
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, whole.clone() + "{\"epoch\": 4, \"st").unwrap();
        run.rewind(30).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        run.rewind(20).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    }
}
