//! What a sweep came to, as a table.

use super::file::{Search, Sweep, Trial, Varied, shown};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::eval::Metric;
use serde_json::Value;
use std::fmt::Write;
use std::path::Path;

/// The figures of a trial that is done.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// Of the best epoch, on the validation part.
    pub valid: f64,
    /// Of the same epoch, on the test part.
    pub test: f64,
    pub epochs: u64,
    /// Of training.
    pub seconds: f64,
}

impl Score {
    /// The figures in a run's `metrics`, which are in `file`.
    pub(super) fn of(metrics: &Value, metric: Metric, file: &Path) -> Result<Score> {
        let number = |keys: &[&str]| {
            let value = keys.iter().fold(metrics, |value, key| &value[*key]);
            value.as_f64().ok_or_else(|| Error::Input {
                path: file.to_path_buf(),
                line: None,
                column: None,
                found: value.to_string(),
                expected: format!("a number as {}", keys.join(" ")),
            })
        };
        let metric = metric.to_string();
        Ok(Score {
            valid: number(&["valid", &metric])?,
            test: number(&["test", &metric])?,
            epochs: number(&["epochs"])? as u64,
            seconds: number(&["train_seconds"])?,
        })
    }
}

/// The trials of a sweep, and what they came to.
pub struct Results {
    pub model: String,
    pub metric: Metric,
    pub trials: Vec<Trial>,
    /// By trial: None while it is not over; the message of one that failed.
    pub over: Vec<Option<Result<Score, String>>>,
    pub(super) search: Search,
    pub(super) varied: Vec<Varied>,
    /// Values of the varied settings that the trials start from.
    pub(super) centre: Vec<Value>,
}

/// The trials that differ only in their seeds.
pub(super) struct Point<'a> {
    pub values: &'a [Value],
    /// Of those that are done.
    pub scores: Vec<&'a Score>,
    /// The indices of all of them.
    pub trials: Vec<usize>,
}

impl Point<'_> {
    pub fn mean(&self, of: fn(&Score) -> f64) -> f64 {
        self.scores.iter().map(|score| of(score)).sum::<f64>() / self.scores.len() as f64
    }

    /// Whether no seed is missing: means over different seeds are not compared.
    fn is_whole(&self) -> bool {
        self.scores.len() == self.trials.len()
    }
}

impl Results {
    pub(super) fn new(sweep: &Sweep, base: &Config, trials: Vec<Trial>) -> Results {
        Results {
            model: sweep.model.clone(),
            metric: sweep.metric(base),
            over: vec![None; trials.len()],
            trials,
            search: sweep.search,
            varied: sweep.varied.clone(),
            centre: sweep.varied.iter().map(|v| base.value(&v.key).unwrap_or_default()).collect(),
        }
    }

    /// The number of trials that failed.
    pub fn failed(&self) -> usize {
        self.over.iter().flatten().filter(|over| over.is_err()).count()
    }

    /// In the order of the trials.
    pub(super) fn points(&self) -> Vec<Point<'_>> {
        let mut points: Vec<Point> = vec![];
        for (i, trial) in self.trials.iter().enumerate() {
            // The seeds of a point follow one another.
            if points.last().is_none_or(|last| last.values != trial.values) {
                points.push(Point { values: &trial.values, scores: vec![], trials: vec![] });
            }
            let last = points.last_mut().expect("there is one");
            last.trials.push(i);
            last.scores.extend(self.over[i].iter().flatten());
        }
        points
    }

    /// `valid ndcg@10 0.1429, test 0.1474, 6 epochs, 12 s`
    pub(super) fn describe(&self, score: &Score) -> String {
        let Score { valid, test, epochs, seconds } = score;
        format!("valid {} {valid:.4}, test {test:.4}, {epochs} epochs, {seconds:.0} s", self.metric)
    }

    fn head(&self) -> Vec<String> {
        let keys = self.varied.iter().map(|v| v.key.clone());
        let metrics = ["valid", "test"].map(|part| format!("{part} {}", self.metric));
        let rest = ["epochs", "seconds", "folder", "error"].map(str::to_string);
        keys.chain(["seed".to_string()]).chain(metrics).chain(rest).collect()
    }

    /// The line of a trial that is over.
    fn line(&self, i: usize) -> Option<Vec<String>> {
        let (trial, over) = (&self.trials[i], self.over[i].as_ref()?);
        let (figures, error) = match over {
            Ok(Score { valid, test, epochs, seconds }) => {
                ([format!("{valid:.6}"), format!("{test:.6}"), epochs.to_string(), format!("{seconds:.1}")], "")
            }
            Err(problem) => (Default::default(), problem.as_str()),
        };
        let settings = trial.values.iter().map(shown).chain([trial.config.seed.to_string()]);
        Some(settings.chain(figures).chain([trial.name.clone(), error.to_string()]).collect())
    }

    /// A line for each trial that is over, in the order of the trials; figures of one that failed are empty.
    pub fn csv(&self) -> Vec<u8> {
        let mut csv = csv::Writer::from_writer(vec![]);
        for row in [self.head()].into_iter().chain((0..self.trials.len()).filter_map(|i| self.line(i))) {
            csv.write_record(row).expect("rows of one length, in memory");
        }
        csv.into_inner().expect("it is in memory")
    }

    /// The same for people: best settings first by the mean over seeds on the validation part, and then the best in words.
    pub fn table(&self) -> String {
        let mut points = self.points();
        // Those that have nothing come last.
        let rank = |p: &Point| if p.scores.is_empty() { f64::NEG_INFINITY } else { p.mean(|s| s.valid) };
        points.sort_by(|a, b| b.is_whole().cmp(&a.is_whole()).then(rank(b).total_cmp(&rank(a))));
        let lines = points.iter().flat_map(|p| p.trials.iter().filter_map(|&i| self.line(i)));
        let rows: Vec<Vec<String>> = [self.head()].into_iter().chain(lines).collect();
        // Where nothing failed there is nothing to say of it.
        let shown = rows[0].len() - (self.failed() == 0) as usize;
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..shown).map(width).collect();
        let mut text = String::new();
        for row in &rows {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}")).collect();
            let _ = writeln!(text, "{}", cells.join("  ").trim_end());
        }
        if let Some(best) = points.first().filter(|best| best.is_whole()) {
            let settings =
                self.varied.iter().zip(best.values).map(|(v, value)| format!("{}={}", v.key, self::shown(value)));
            let seeds = match best.trials.len() {
                1 => String::new(),
                n => format!(", means of {n} seeds"),
            };
            let (metric, valid, test) = (self.metric, best.mean(|s| s.valid), best.mean(|s| s.test));
            let settings = settings.collect::<Vec<_>>().join(" ");
            let _ = writeln!(text, "best     {settings}: valid {metric} {valid:.4}, test {test:.4}{seeds}");
        }
        text
    }
}
