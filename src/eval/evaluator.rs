//! What is asked for, ranked by a model.

use super::config::{EvalConfig, Protocol};
use super::metrics::{Metric, TieRule};
use super::ranker::{Candidates, RankSpec, Ranker, not_finite};
use crate::data::{Ask, Dataset, EvalBatches, EvalSpec, Features, Split};
use crate::device::{Device, RunOptions, Store};
use crate::error::{Error, Result};
use crate::kernels::rank::Rank;
use crate::models::Model;
use serde_json::{Map, Value};
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
}

impl Ranked {
    /// The metrics that are always reported, and `more`, by name.
    pub fn metrics(&self, more: Metric) -> Value {
        let list = Metric::REPORTED.into_iter().chain((!Metric::REPORTED.contains(&more)).then_some(more));
        let values = list.map(|metric| (metric.to_string(), metric.mean(&self.ranks).into()));
        Value::Object(values.collect::<Map<_, _>>())
    }

    /// Those whose target, user and number of events before it, is wanted.
    pub fn filtered(&self, wanted: impl Fn(&(u32, u32)) -> bool) -> Ranked {
        let rows = (0..self.targets.len()).filter(|&i| wanted(&self.targets[i]));
        let (mut some, all) = (Ranked::default(), self);
        rows.for_each(|i| {
            some.targets.push(all.targets[i]);
            some.counts.push(all.counts[i]);
            some.ranks.push(all.ranks[i]);
        });
        some
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
    ties: TieRule,
}

impl Evaluator {
    /// # Errors
    /// A part without targets; too few items to sample candidates from; a device that cannot hold the plan.
    pub fn new(
        (device, run): (&Device, RunOptions),
        store: &Store,
        model: &dyn Model,
        (data, split, ask): (&Arc<Dataset>, &Arc<Split>, Ask),
        features: Option<&Arc<Features>>,
        max_len: usize,
        config: &EvalConfig,
    ) -> Result<Evaluator> {
        let sampled = match config.protocol {
            Protocol::Full => None,
            Protocol::Sampled(n) => Some((n, config.seed)),
        };
        let max_len = model.window(max_len, data.longest());
        let spec = EvalSpec {
            batch: config.batch,
            max_len,
            padding: model.padding(),
            mask_history: config.mask_history,
            behaviours: model.reads().behaviours,
            features: features.cloned(),
            sampled,
            threads: 1,
        };
        let batches = EvalBatches::new(data.clone(), split.clone(), ask, spec)?;
        let (items, exclude_cap) = (data.items(), batches.exclude_cap());
        let spec = RankSpec { batch: config.batch, max_len, items, exclude_cap, run };
        let candidates = sampled.map_or(Candidates::All, |(n, _)| Candidates::Listed(1 + n));
        let ranker = Ranker::new(device, store, model, &spec, candidates)?;
        Ok(Evaluator { ranker, batches, data: data.clone(), ties: config.ties })
    }

    /// Computes the users of all targets and ranks nothing: what of [`Evaluator::run`] is the model's own.
    pub fn forward(&mut self) -> Result<()> {
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
        let mut ranked = Ranked { targets: self.batches.targets().to_vec(), ..Ranked::default() };
        for batch in self.batches.batches() {
            if stop() {
                return Err(Error::Stopped("stopped before all was ranked".to_string()));
            }
            let counts = self.ranker.ranks(&batch)?;
            if let Some(row) = counts.iter().position(|&(greater, _)| greater == Rank::NOT_FINITE) {
                let item = if counts[row].1 == 0 { batch.target[row] } else { counts[row].1 };
                return Err(not_finite(&self.data, batch.users[row], item));
            }
            ranked.counts.extend(counts);
        }
        ranked.ranks = ranked.counts.iter().map(|&(greater, equal)| self.ties.rank(greater, equal)).collect();
        Ok(ranked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_several_targets_counts_once() {
        let targets = vec![(3, 5), (3, 6), (8, 2)];
        let ranked = Ranked { targets, counts: vec![(0, 0), (3, 0), (1, 0)], ranks: vec![1.0, 4.0, 2.0] };
        assert_eq!(ranked.per_user(Metric::Mrr), [0.625, 0.5]);
    }
}
