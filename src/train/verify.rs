//! A training that is repeated, compared with what a run has kept of it.

use super::checkpoint;
use super::fit;
use super::folder::{Line, PhaseFiles, RunFolder};
use super::hashes::{HashLine, Reading};
use super::options::FitOptions;
use super::report::Report;
use super::stop::Stop;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// By how much of itself a loss may differ where bits do.
pub const LOSS_TOLERANCE: f64 = 1e-3;

/// By how much a metric may differ where bits do.
pub const METRIC_TOLERANCE: f64 = 0.01;

/// A phase of a run, repeated.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// Its name, if the training has several.
    pub phase: Option<String>,
    pub epochs: u64,
    /// Steps of these epochs.
    pub steps: u64,
    /// Readings of hashes that were compared: 0 of a run that kept none.
    pub readings: usize,
    /// Files of parameters that were compared.
    pub files: Vec<&'static str>,
    /// What the run was trained by and on, and what it was repeated by and on.
    pub made: [Made; 2],
    pub outcome: Outcome,
}

/// What a training was made by and on, as far as a run says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    pub wgrec: Option<String>,
    pub device: Option<String>,
    /// Fingerprint of the data set.
    pub data: Option<String>,
}

/// What came of the repetition.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Equal,
    /// The same settings, data and start; the bits differ, as they do by another device, but the loss and the metrics by no more
    /// than the tolerances.
    Near {
        first: Difference,
        /// By how much of itself the loss differs, and a metric, at most.
        loss: f64,
        metric: f64,
    },
    Different(Difference),
}

/// Where two trainings differ first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The last step after which they were equal; None where they start from other parameters.
    pub equal_after: Option<u64>,
    /// The step after which they were not.
    pub step: u64,
    /// What differs then, the first in the model's order first.
    pub what: Vec<String>,
}

/// What a phase has kept, of the epochs that are compared.
struct Kept {
    made: Made,
    /// Hashes and losses by step, with the names of the hashes.
    readings: BTreeMap<u64, (Vec<String>, Reading)>,
    lines: Vec<Line>,
}

/// What was repeated of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeated {
    /// In the order of the phases, at least one.
    pub phases: Vec<Verified>,
    /// The phases that were not repeated, and why.
    pub left_out: Vec<(String, &'static str)>,
}

/// Trains the first `epochs` of each phase that `run` has trained, in a temporary folder, and compares. `config`: the settings of the
/// run, or others; then the training is a different one however little it differs.
///
/// # Errors
/// A run that has not finished an epoch; whatever stops a training.
pub fn verify(run: &RunFolder, config: &Config, epochs: u64, stop: &Stop, report: &mut Report) -> Result<Repeated> {
    let place = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "create a folder in"))?;
    let folder = RunFolder::new(&place.path().join("run"))?;
    let as_it_was = config.repeats(&run.config()?);
    let mut config = config.clone();
    config.log.to.clear();
    let (mut phases, mut left_out) = (vec![], vec![]);
    let mut ended = None;
    for session in fit::open(&config, Some(run))? {
        let there = session.files(run);
        let last = there.read_lines()?.last().map_or(0, |line| line.epoch);
        let counted = session.model.counts() && there.parameters.is_file();
        let why = match ended {
            Some(why) => Some(why),
            None if session.phase().untrained => Some("nothing is trained in it"),
            None if last == 0 && !counted => Some("the run has not finished an epoch of it"),
            None => None,
        };
        if let Some(why) = why {
            if !session.phase().untrained {
                // What comes after it starts from its parameters.
                ended.get_or_insert("a phase before it was not repeated");
            }
            left_out.push((session.phase().name.clone(), why));
            continue;
        }
        let epochs = epochs.min(last);
        session.link_taken(run, &folder)?;
        let options = FitOptions { stop: stop.clone(), ..FitOptions::default() };
        session.begin(&folder, epochs, &options, report).map_err(|e| match e {
            Error::Stopped(_) => Error::Stopped("stopped; the run is as it was".to_string()),
            e => e,
        })?;
        let here = session.files(&folder);
        let verified = compare(session.phase_name(), epochs, [&there, &here], as_it_was)?;
        if matches!(verified.outcome, Outcome::Different(_)) {
            ended = Some("a phase before it differs");
        }
        phases.push(verified);
    }
    if phases.is_empty() {
        let path = run.path().display();
        return Err(Error::Usage(format!("{path}: found no finished epoch; expected one at least, to be repeated")));
    }
    Ok(Repeated { phases, left_out })
}

/// `files`: those of the run, and those of its repetition.
fn compare(phase: Option<&str>, epochs: u64, files: [&PhaseFiles; 2], as_it_was: bool) -> Result<Verified> {
    let [there, here] = [Kept::read(files[0], epochs)?, Kept::read(files[1], epochs)?];
    let (mut compared, mut of_files) = (vec![], vec![]);
    let parts =
        [("checkpoint", files.map(|files| &files.checkpoint)), ("parameters", files.map(|files| &files.parameters))];
    for (name, paths) in parts {
        if paths.iter().all(|path| path.is_file()) {
            let [(a_step, a), (b_step, b)] = [checkpoint::contents(paths[0])?, checkpoint::contents(paths[1])?];
            if a_step == b_step {
                compared.push(name);
                let mut what: Vec<String> =
                    a.keys().filter(|name| !b.get(*name).is_some_and(|b| same(&a[*name], b))).cloned().collect();
                what.sort();
                of_files.push((a_step, what));
            }
        }
    }
    let steps = here.lines.last().map_or(0, |line| line.step);
    let by_files = of_files.into_iter().find(|(_, what)| !what.is_empty());
    let by_files = by_files.map(|(step, what)| Difference { equal_after: there.line_before(step), step, what });
    // Where several say that something differs, the first says most, and at the same step the hashes do.
    let found = [first_of_readings(&there, &here), first_of_lines(&there, &here), by_files];
    let first = found.into_iter().flatten().min_by_key(|difference| difference.step);
    let (loss, metric) = apart(&there, &here);
    let same_start = there.made.data == here.made.data && first.as_ref().is_none_or(|first| first.step > 0);
    let outcome = match first {
        None => Outcome::Equal,
        Some(first) if as_it_was && same_start && loss <= LOSS_TOLERANCE && metric <= METRIC_TOLERANCE => {
            Outcome::Near { first, loss, metric }
        }
        Some(first) => Outcome::Different(first),
    };
    let readings = there.readings.keys().filter(|step| here.readings.contains_key(step)).count();
    let phase = phase.map(str::to_string);
    Ok(Verified { phase, epochs, steps, readings, files: compared, made: [there.made, here.made], outcome })
}

/// Equal to the bit.
fn same(a: &Tensor, b: &Tensor) -> bool {
    a.shape == b.shape && checkpoint::bytes(a) == checkpoint::bytes(b)
}

/// The first reading of both that differs.
fn first_of_readings(there: &Kept, here: &Kept) -> Option<Difference> {
    let mut equal_after = None;
    for (&step, (names, a)) in &there.readings {
        let Some((other_names, b)) = here.readings.get(&step) else { continue };
        let hash = |name: &String| {
            let at = other_names.iter().position(|other| other == name)?;
            b.hashes.get(at)
        };
        let apart = names.iter().enumerate().filter(|(at, name)| a.hashes.get(*at) != hash(name));
        let mut what: Vec<String> = apart.map(|(_, name)| name.clone()).collect();
        if a.loss.map(f64::to_bits) != b.loss.map(f64::to_bits) {
            what.push("the loss".to_string());
        }
        if !what.is_empty() {
            return Some(Difference { equal_after, step, what });
        }
        equal_after = Some(step);
    }
    None
}

/// The first epoch that differs in its metrics.
fn first_of_lines(there: &Kept, here: &Kept) -> Option<Difference> {
    let (mut equal_after, means) = (Some(0), there.has_means_of(here));
    for (a, b) in there.lines.iter().zip(&here.lines) {
        let differ = [
            ("the number of steps", a.step != b.step),
            ("the mean loss", means && a.loss != b.loss),
            ("what is reported of the epoch", means && a.reported != b.reported),
            ("the metrics of the validation part", a.valid != b.valid),
        ];
        let what: Vec<String> =
            differ.into_iter().filter(|(_, differs)| *differs).map(|(what, _)| what.to_string()).collect();
        if !what.is_empty() {
            return Some(Difference { equal_after, step: a.step, what });
        }
        equal_after = Some(a.step);
    }
    None
}

/// By how much of itself the loss differs, and a metric of the validation part, at most; infinite where one lacks a number.
fn apart(there: &Kept, here: &Kept) -> (f64, f64) {
    let relative = |a: Option<f64>, b: Option<f64>| match (a, b) {
        (None, None) => 0.0,
        (Some(a), Some(b)) if a == b => 0.0,
        (Some(a), Some(b)) => (a - b).abs() / a.abs().max(b.abs()),
        _ => f64::INFINITY,
    };
    let (mut loss, mut metric) = (0f64, 0f64);
    for (step, (_, a)) in &there.readings {
        if let Some((_, b)) = here.readings.get(step) {
            loss = loss.max(relative(a.loss, b.loss));
        }
    }
    for (a, b) in there.lines.iter().zip(&here.lines) {
        if there.has_means_of(here) {
            loss = loss.max(relative(a.loss, b.loss));
        }
        metric = metric.max(match (&a.valid, &b.valid) {
            (Some(a), Some(b)) => largest(a, b),
            (None, None) => 0.0,
            _ => f64::INFINITY,
        });
    }
    (loss, metric)
}

/// The largest difference of the numbers in two values of one form.
fn largest(a: &Value, b: &Value) -> f64 {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().map(|(name, a)| largest(a, b.get(name).unwrap_or(&Value::Null))).fold(0.0, f64::max)
        }
        (Value::Number(a), Value::Number(b)) => (a.as_f64().unwrap_or(f64::NAN) - b.as_f64().unwrap_or(f64::NAN)).abs(),
        (a, b) if a == b => 0.0,
        _ => f64::INFINITY,
    }
}

impl Kept {
    fn read(files: &PhaseFiles, epochs: u64) -> Result<Kept> {
        let lines: Vec<Line> = files.read_lines()?.into_iter().filter(|line| line.epoch <= epochs).collect();
        let end = lines.last().map_or(0, |line| line.step);
        let (mut begun, mut names, mut readings) = (None, vec![], BTreeMap::new());
        for line in files.read_hashes()? {
            match line {
                HashLine::Begun(of) => {
                    names = of.parameters.clone();
                    begun.get_or_insert(of);
                }
                HashLine::Reading(reading) if reading.step <= end => {
                    readings.insert(reading.step, (names.clone(), reading));
                }
                HashLine::Reading(_) => {}
            }
        }
        let made = match begun {
            Some(begun) => Made { wgrec: Some(begun.wgrec), device: Some(begun.device), data: Some(begun.data) },
            None => made(files)?,
        };
        Ok(Kept { made, readings, lines })
    }

    /// Whether the means of an epoch are over the same readings: log.every may be another one.
    fn has_means_of(&self, here: &Kept) -> bool {
        self.readings.is_empty() || self.readings.keys().eq(here.readings.keys())
    }

    /// The last step of the epoch before the one that ends with `step`.
    fn line_before(&self, step: u64) -> Option<u64> {
        Some(self.lines.iter().rev().map(|line| line.step).find(|end| *end < step).unwrap_or(0))
    }
}

/// What a run without hashes was made by, from its files of parameters and metrics.
fn made(files: &PhaseFiles) -> Result<Made> {
    let metrics = fs::read_to_string(&files.metrics).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let device = metrics.and_then(|metrics| metrics["device"].as_str().map(str::to_string));
    let file = [&files.checkpoint, &files.parameters].into_iter().find(|path| path.is_file());
    let origin = file.map(|path| checkpoint::origin(path)).transpose()?;
    let (wgrec, data) = origin.map(|origin| (origin.wgrec, origin.data)).unzip();
    Ok(Made { wgrec, device, data })
}
