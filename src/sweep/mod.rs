//! Many trainings of one model from one file: a grid, one curve a setting, or random draws.
//!
//! ```toml
//! model = "sasrec"
//! metric = "ndcg@10"     # of table and plot; eval.metric where it is left out
//! seeds = [1, 2, 3]      # each trial once with each; the settings' seed where they are left out
//!
//! [settings]             # as in a run's TOML, over the same defaults
//! train.epochs = 20
//!
//! [grid]                 # all combinations
//! model.dim = [32, 64]
//! model.layers = [1, 2]
//! ```
//!
//! Instead of `[grid]`, `[curves]` varies one setting at a time, the others as in `[settings]`; `[random]` draws
//! `trials` combinations with its own `seed`, from lists and from ranges:
//!
//! ```toml
//! [random]
//! trials = 20
//! seed = 1
//! model.layers = { min = 1, max = 4 }
//! train.lr = { min = 1e-4, max = 1e-2, log = true }
//! loss.kind = ["softmax", "gbce"]
//! ```
//!
//! Each trial is the folder of an ordinary run. One that is done is not run again, one that was stopped is resumed. Of a model
//! with several phases, trials that differ only in what a later phase reads share the earlier ones, which the first trains.

mod file;
mod plot;
mod table;

pub use file::{Sweep, Trial};
pub use table::{Results, Score};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::eval::Metric;
use crate::files::replace;
use crate::train::{FitOptions, Report, RunFolder, Stop, fit};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::Path;

impl Sweep {
    /// Trains what is not trained yet of the trials over `base`, each in its folder in `out`. After each, sweep.csv and
    /// sweep.svg in `out` are rewritten. A trial that fails is in the results; the others continue.
    ///
    /// # Errors
    /// Before anything is trained: those of [`Sweep::trials`]; a trial whose settings are refused; one whose folder holds a run
    /// of other settings or of another model. Later: a table or plot that cannot be written; [`Error::Stopped`], once `stop` is
    /// requested and the trial in hand saved.
    pub fn run(&self, base: &Config, out: &Path, stop: &Stop, report: &mut Report) -> Result<Results> {
        let mut results = Results::new(self, base, self.trials(base)?);
        let mut described = false;
        for (trial, result) in results.trials.iter().zip(&mut results.over) {
            *result = self.finished(trial, &results.trials, out, results.metric)?.map(Ok);
            if result.is_some() {
                continue;
            }
            let opened = fit::open(&trial.config, None).map_err(|e| trial.named(e))?;
            let session = opened.last().expect("a training has a phase");
            if session.phase().task.is_some() {
                let problem = "tasks have a metric each, and a sweep compares trials by one; train them one by one";
                return Err(Error::Usage(format!("{}: {problem}", session.model.name())));
            }
            if !session.is_last() {
                let problem = "the phases that are named have no test to compare trials by; leave phases out";
                return Err(Error::Usage(problem.to_string()));
            }
            if !described {
                report.line("device", &session.experiment.device_note);
                report.line("data", &session.describe_data());
                described = true;
            }
        }
        fs::create_dir_all(out).map_err(Error::io(out, "create"))?;
        let (count, done) = (results.trials.len(), results.over.iter().flatten().count());
        report.line("sweep", &format!("{}: {count} trials, {done} of them done before", self.model));
        results.write(out)?;
        for i in 0..count {
            if results.over[i].is_some() {
                continue;
            }
            let trained = match self.train(&results.trials[i], &results.trials, out, results.metric, stop) {
                Err(e @ Error::Stopped(_)) => return Err(results.trials[i].named(e)),
                trained => trained.map_err(|e| e.to_string()),
            };
            let about = match &trained {
                Ok(score) => results.describe(score),
                Err(problem) => format!("failed: {problem}"),
            };
            report.line("trial", &format!("{} of {count}  {}  {about}", i + 1, results.trials[i].name));
            results.over[i] = Some(trained);
            results.write(out)?;
        }
        Ok(results)
    }

    /// What a trial, one of `all`, came to that is done.
    fn finished(&self, trial: &Trial, all: &[Trial], out: &Path, metric: Metric) -> Result<Option<Score>> {
        let path = out.join(&trial.name);
        if !RunFolder::is_run(&path) {
            return Ok(None);
        }
        let folder = RunFolder::open(&path)?;
        let file = folder.result_file();
        trial.kept(&folder, all)?;
        if !file.is_file() {
            return Ok(None);
        }
        let text = fs::read_to_string(&file).map_err(Error::io(&file, "read"))?;
        let metrics: Value = serde_json::from_str(&text).unwrap_or_default();
        Score::of(&metrics, metric, &file).map(Some)
    }

    /// Trains a trial, one of `all`.
    fn train(&self, trial: &Trial, all: &[Trial], out: &Path, metric: Metric, stop: &Stop) -> Result<Score> {
        let path = out.join(&trial.name);
        let (folder, config) = if RunFolder::is_run(&path) {
            let folder = RunFolder::go_on(&path)?;
            let config = trial.kept(&folder, all)?;
            (folder, config)
        } else {
            (RunFolder::new(&path)?, self.with_shared(trial, all, out)?)
        };
        let options = FitOptions { resume: true, stop: stop.clone(), ..FitOptions::default() };
        let (metrics, _) = fit::train(&config, &folder, options, &mut Report::bar())?;
        Score::of(&metrics, metric, &folder.result_file())
    }

    /// The settings of a trial: where another of `all` in `out` has been through its first phases, those of the phases after.
    fn with_shared(&self, trial: &Trial, all: &[Trial], out: &Path) -> Result<Config> {
        let config = trial.config.clone();
        let phases = config.model.phases(true)?;
        if phases.len() < 2 || config.phases.is_some() || config.from.is_some() {
            return Ok(config);
        }
        // The number of phases that the trial shares with another one, which has come to their end.
        let shared = |other: &Trial| {
            let target = other.config.data.target.as_deref();
            let over = |folder: &RunFolder| {
                let over = |phase| folder.files(phase, false, target).check_finished(&phase.name, folder).is_ok();
                phases[..other.shares(trial)].iter().take_while(|phase| over(phase)).count()
            };
            let folder = RunFolder::open(&out.join(&other.name)).ok().filter(|folder| other.kept(folder, all).is_ok());
            folder.map_or(0, |folder| over(&folder))
        };
        let alike = all.iter().filter(|other| other.shares(trial) > 0);
        let Some((other, count)) = alike.map(|other| (other, shared(other))).find(|(_, count)| *count > 0) else {
            return Ok(config);
        };
        let from = std::path::absolute(out.join(&other.name)).map_err(Error::io(out, "find"))?;
        // Settings are written as text.
        if from.to_str().is_none() {
            return Ok(config);
        }
        let after = phases[count..].iter().map(|phase| phase.name.clone()).collect();
        Ok(Config { phases: Some(after), from: Some(from), ..config })
    }
}

impl Results {
    /// Writes sweep.csv and, once there is something to plot, sweep.svg.
    fn write(&self, out: &Path) -> Result<()> {
        let csv = self.csv();
        replace(&out.join("sweep.csv"), |out| out.write_all(&csv))?;
        match self.plot()? {
            Some(svg) => replace(&out.join("sweep.svg"), |out| out.write_all(svg.as_bytes())),
            None => Ok(()),
        }
    }
}
