//! What is asked for, ranked by a model.

use super::config::{EvalConfig, Protocol};
use super::metrics::{Metric, TieRule};
use super::ranker::{self, Candidates, RankSpec, Ranker, Standing, not_finite};
use crate::data::{Ask, Dataset, EvalBatches, EvalSpec, Features, LeftOut, Split};
use crate::device::{Device, RunOptions, Store};
use crate::error::{Error, Result};
use crate::graph::plan::{Options, Plan};
use crate::models::Model;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Ranks of all that was asked for, by user: of a part in the order of their histories.
#[derive(Clone, Debug, Default)]
pub struct Ranked {
    /// User, and the number of events before the target.
    pub targets: Vec<(u32, u32)>,
    /// Candidates above each target, and others of its score.
    pub counts: Vec<(u32, u32)>,
    /// From 1, by the tie rule.
    pub ranks: Vec<f64>,
    /// If all items are ranked: the counts with the history masked and without. `counts` are one of the two.
    pub full: Option<Full>,
}

/// Candidates above each target among all items, and others of its score.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Full {
    /// Without the items of the history; without targets against which none is left then.
    pub masked: Vec<(u32, u32)>,
    /// With them.
    pub unmasked: Vec<(u32, u32)>,
}

impl Full {
    /// The metrics of both on the test part, and `more`, by name. None where no target can be ranked.
    pub fn metrics(&self, ties: TieRule, more: Metric) -> impl Iterator<Item = (String, Value)> {
        let both = [("masked", &self.masked), ("unmasked", &self.unmasked)].into_iter();
        let some = both.filter(|(_, counts)| !counts.is_empty());
        some.map(move |(name, counts)| (name.to_string(), json!({"test": metrics(&ties.ranks(counts), more)})))
    }
}

/// The metrics that are always reported, and `more`, by name.
fn metrics(ranks: &[f64], more: Metric) -> Value {
    let list = Metric::REPORTED.into_iter().chain((!Metric::REPORTED.contains(&more)).then_some(more));
    let values = list.map(|metric| (metric.to_string(), metric.mean(ranks).into()));
    Value::Object(values.collect::<Map<_, _>>())
}

impl Ranked {
    /// The metrics that are always reported, and `more`, by name.
    pub fn metrics(&self, more: Metric) -> Value {
        metrics(&self.ranks, more)
    }

    /// Those whose target, user and number of events before it, is wanted; without `full`.
    pub fn filtered(&self, wanted: impl Fn(&(u32, u32)) -> bool) -> Ranked {
        let rows: Vec<usize> = (0..self.targets.len()).filter(|&i| wanted(&self.targets[i])).collect();
        fn pick<T: Copy>(all: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|&i| all[i]).collect()
        }
        Ranked {
            targets: pick(&self.targets, &rows),
            counts: pick(&self.counts, &rows),
            ranks: pick(&self.ranks, &rows),
            full: None,
        }
    }

    pub fn mean_of_users(&self, metric: Metric) -> f64 {
        let gains = self.per_user(metric);
        gains.iter().sum::<f64>() / gains.len() as f64
    }

    /// Each user's mean gain, by user: targets of one user are no independent samples.
    pub fn per_user(&self, metric: Metric) -> Vec<f64> {
        let gains: Vec<(u32, f64)> =
            self.targets.iter().zip(&self.ranks).map(|(&(user, _), &rank)| (user, metric.of(rank))).collect();
        let mean = |of_user: &[(u32, f64)]| of_user.iter().map(|(_, gain)| gain).sum::<f64>() / of_user.len() as f64;
        gains.chunk_by(|a, b| a.0 == b.0).map(mean).collect()
    }
}

/// Everything that ranking takes, compiled once; the parameters are those that the store holds when it runs.
pub struct Evaluator {
    ranker: Ranker,
    batches: EvalBatches,
    data: Arc<Dataset>,
    protocol: Protocol,
    masked: bool,
    ties: TieRule,
}

/// What is asked for, its data and its split.
pub type Asked<'a> = (&'a Arc<Dataset>, &'a Arc<Split>, Ask<'a>);

/// The batches of what is asked for, and the shapes in which they are ranked.
fn batches(
    model: &dyn Model,
    (data, split, ask): Asked,
    features: Option<&Arc<Features>>,
    max_len: usize,
    config: &EvalConfig,
    run: RunOptions,
) -> Result<(EvalBatches, RankSpec)> {
    let max_len = model.window(max_len, data.longest());
    let spec = EvalSpec {
        batch: config.batch,
        max_len,
        padding: model.padding(),
        // Excluded items are counted apart: one pass ranks with and without them.
        mask_history: true,
        reads: model.reads(),
        features: features.cloned(),
        sampled: config.sampled(),
        grouped: config.grouped(),
        keep_all: config.ranks_all(),
        threads: 1,
    };
    let batches = EvalBatches::new(data.clone(), split.clone(), ask, spec)?;
    let (items, sets, exclude_cap) = (split.classes(data), data.sets().to_vec(), batches.exclude_cap());
    Ok((batches, RankSpec { batch: config.batch, max_len, items, sets, exclude_cap, run }))
}

/// What an [`Evaluator`] compiles for a catalogue of `items`, one plan after the other.
///
/// # Errors
/// A part without targets, or without one that can be ranked.
pub fn plans(
    model: &dyn Model,
    asked: Asked,
    features: Option<&Arc<Features>>,
    max_len: usize,
    config: &EvalConfig,
    (items, options): (usize, Options),
) -> Result<Vec<Plan>> {
    let (_, mut spec) = batches(model, asked, features, max_len, config, RunOptions::default())?;
    if items != spec.items {
        (spec.items, spec.sets) = (items, vec![]);
    }
    ranker::plans(model, &spec, Candidates::of(config), options)
}

impl Evaluator {
    /// # Errors
    /// A part without targets, or without one that can be ranked; a device that cannot hold the plan.
    pub fn new(
        (device, run): (&Device, RunOptions),
        store: &Store,
        model: &dyn Model,
        asked: Asked,
        features: Option<&Arc<Features>>,
        max_len: usize,
        config: &EvalConfig,
    ) -> Result<Evaluator> {
        let data = asked.0.clone();
        let (batches, spec) = batches(model, asked, features, max_len, config, run)?;
        let ranker = Ranker::new(device, store, model, &spec, Candidates::of(config))?;
        let EvalConfig { protocol, mask_history: masked, ties, .. } = *config;
        Ok(Evaluator { ranker, batches, data, protocol, masked, ties })
    }

    /// What is asked for and not ranked.
    pub fn left_out(&self) -> LeftOut {
        self.batches.left_out()
    }

    /// Computes the users of all targets and ranks nothing: what of [`Evaluator::run`] is the model's own.
    pub fn forward(&mut self) -> Result<()> {
        self.ranker.prepare()?;
        self.batches.batches().try_for_each(|batch| self.ranker.forward(&batch))?;
        self.ranker.wait()
    }

    /// # Errors
    /// As [`Evaluator::run_unless`].
    pub fn run(&mut self) -> Result<Ranked> {
        self.run_unless(&|| false)
    }

    /// Ranks all that was asked for, unless it is to `stop`.
    ///
    /// # Errors
    /// [`Error::Stopped`]. A score that is not finite, of a target or of what it is ranked among: [`Error::NotFinite`], with
    /// the user and the item; a device that fails.
    pub fn run_unless(&mut self, stop: &dyn Fn() -> bool) -> Result<Ranked> {
        let targets = self.batches.targets().to_vec();
        let (mut standings, mut opposed) = (vec![], vec![]);
        self.ranker.prepare()?;
        for batch in self.batches.batches() {
            if stop() {
                return Err(Error::Stopped("stopped before all was ranked".to_string()));
            }
            for (row, standing) in self.ranker.ranks(&batch)?.into_iter().enumerate() {
                let item = |item| if item == 0 { batch.target[row] } else { item };
                standings.push(standing.map_err(|broken| not_finite(&self.data, batch.users[row], item(broken)))?);
                opposed.push(batch.excluded(row).len() < self.batches.competing(batch.users[row]));
            }
        }
        let masked: Vec<(u32, u32)> = standings.iter().map(|standing| standing.competing).collect();
        if self.protocol != Protocol::Full {
            return Ok(Ranked { targets, ranks: self.ties.ranks(&masked), counts: masked, full: None });
        }
        let unmasked: Vec<(u32, u32)> = standings.into_iter().map(Standing::all).collect();
        let some: Vec<(u32, u32)> = masked.iter().zip(opposed).filter(|(_, some)| *some).map(|(n, _)| *n).collect();
        let counts = if self.masked { masked } else { unmasked.clone() };
        let full = Some(Full { masked: some, unmasked });
        Ok(Ranked { targets, ranks: self.ties.ranks(&counts), counts, full })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_several_targets_counts_once() {
        let targets = vec![(3, 5), (3, 6), (8, 2)];
        let ranked = Ranked { targets, counts: vec![(0, 0), (3, 0), (1, 0)], ranks: vec![1.0, 4.0, 2.0], full: None };
        assert_eq!(ranked.per_user(Metric::Mrr), [0.625, 0.5]);
    }
}
