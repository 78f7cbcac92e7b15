//! The files of one phase of a run: parameters, checkpoint, a line an epoch, the result.

use super::RunFolder;
use crate::error::{Error, Result};
use crate::files::replace;
use crate::train::hashes::{Begun, HashLine, Reading};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
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
    /// A [`HashLine`] a reading.
    pub hashes: PathBuf,
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

    /// Drops the lines of metrics.jsonl and hashes.jsonl that are past `step`: a training that is resumed writes them again.
    pub fn rewind(&self, step: u64) -> Result<()> {
        self.rewrite_lines(|line| line.step <= step, None)?;
        let kept = |line: &str| match serde_json::from_str(line) {
            Ok(HashLine::Begun(_)) => step > 0,
            // What the training starts from is hashed at each start.
            Ok(HashLine::Reading(reading)) => step > 0 && reading.step <= step,
            Err(_) => false,
        };
        rewrite(&self.hashes, |text| text.lines().filter(|line| kept(line)).flat_map(|line| [line, "\n"]).collect())
    }

    /// The lines of metrics.jsonl; empty where there is none yet.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read_lines(&self) -> Result<Vec<Line>> {
        let text = read_or_empty(&self.lines)?;
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Adds readings to hashes.jsonl, the first of a process after what it is `begun` with.
    pub fn append_hashes(&self, begun: Option<&Begun>, readings: &[Reading]) -> Result<()> {
        let begun = begun.map(|begun| serde_json::to_string(begun).expect("plain data"));
        let readings = readings.iter().map(|reading| serde_json::to_string(reading).expect("plain data"));
        let lines: String = begun.into_iter().chain(readings).map(|line| line + "\n").collect();
        let append = || File::options().append(true).create(true).open(&self.hashes)?.write_all(lines.as_bytes());
        append().map_err(Error::io(&self.hashes, "write"))
    }

    /// The lines of hashes.jsonl; none of a run that did not write any, and of a model that counts.
    ///
    /// # Errors
    /// A file that cannot be read, or has another line; the last may be cut short, as a kill leaves it.
    pub fn read_hashes(&self) -> Result<Vec<HashLine>> {
        let text = read_or_empty(&self.hashes)?;
        let mut all = vec![];
        for (line, number) in text.split_inclusive('\n').zip(1..) {
            match serde_json::from_str(line) {
                Ok(read) => all.push(read),
                Err(_) if !line.ends_with('\n') => {}
                Err(e) => {
                    return Err(Error::Input {
                        path: self.hashes.clone(),
                        line: Some(number),
                        column: None,
                        found: e.to_string(),
                        expected: "a line of hashes, as a training writes it".to_string(),
                    });
                }
            }
        }
        Ok(all)
    }

    /// Seconds of training until the end of an epoch, by metrics.jsonl.
    pub fn seconds_until(&self, epoch: u64) -> Option<f64> {
        let lines = self.read_lines().ok()?;
        lines.iter().rev().find(|line| line.epoch == epoch).map(|line| line.seconds)
    }

    /// Writes the lines that are `kept`, and a `new` one.
    fn rewrite_lines(&self, kept: impl Fn(&Line) -> bool, new: Option<&Line>) -> Result<()> {
        // A line that was cut short, by a version that added to the file, does not parse and is past the checkpoint.
        let kept = |line: &&str| serde_json::from_str::<Line>(line).is_ok_and(|line| kept(&line));
        rewrite(&self.lines, |text| {
            let mut lines: String = text.lines().filter(kept).flat_map(|line| [line, "\n"]).collect();
            if let Some(line) = new {
                lines += &serde_json::to_string(line).expect("a line is plain data");
                lines.push('\n');
            }
            lines
        })
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

/// The text of a file, empty where there is none.
fn read_or_empty(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        text => text.map_err(Error::io(path, "read")),
    }
}

/// Makes the text of a file what `change` makes of it.
fn rewrite(path: &Path, change: impl FnOnce(&str) -> String) -> Result<()> {
    let text = read_or_empty(path)?;
    let changed = change(&text);
    if changed == text { Ok(()) } else { replace(path, |out| out.write_all(changed.as_bytes())) }
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
