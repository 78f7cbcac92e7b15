//! Settings of one phase of a training: `train.*` and `pretrain.*`.

use super::{above_zero, at_least_one, at_most, not_negative};
use crate::data::negatives::Sampler;
use crate::error::{Error, Result};
use crate::models::loss::check_temperature;
use crate::optim::{Adam, Schedule};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Patterns of the names of the parameters that are trained; `*` stands for anything. Not given: all, or where there are
    /// prompts to be tuned those alone.
    pub only: Option<Vec<String>>,
    pub epochs: u64,
    /// Ends the training after so many steps, wherever in an epoch that is.
    pub max_steps: Option<u64>,
    /// Samples that are computed at once.
    pub batch: usize,
    /// Batches a step: an update goes by the mean over the targets of all, in the memory of one and of a gradient. The loss
    /// that is shown is the last one's.
    pub accumulate: usize,
    pub lr: f64,
    /// What the learning rate does after the warm-up.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0.
    pub warmup: u64,
    pub weight_decay: f64,
    /// Patterns of the names of parameters that do not decay; `*` stands for anything.
    pub no_decay: Vec<String>,
    /// Weight decay apart from the gradient (AdamW) instead of added to it (L2).
    pub decoupled: bool,
    /// Rows of a table that a step does not touch stay as they are, moments included.
    pub lazy: bool,
    /// Largest norm of the whole gradient; a longer one is scaled down. 0: no limit.
    pub clip: f64,
    /// Ends the training when the best epoch is so many epochs old. 0: never.
    pub patience: u64,
    /// Negatives a sample.
    pub negatives: usize,
    pub sampler: Sampler,
    /// Scores are divided by it in the loss of this phase. Not given: `loss.temperature`.
    pub temperature: Option<f64>,
    /// Threads that make batches in the background; 0 makes them in between.
    pub threads: usize,
    /// Seconds between checkpoints within an epoch.
    pub checkpoint_seconds: f64,
}

impl Default for TrainConfig {
    fn default() -> TrainConfig {
        TrainConfig {
            only: None,
            epochs: 200,
            max_steps: None,
            batch: 256,
            accumulate: 1,
            lr: 1e-3,
            schedule: Schedule::Constant,
            warmup: 0,
            weight_decay: 0.0,
            no_decay: Adam::default().no_decay,
            decoupled: false,
            lazy: false,
            clip: 0.0,
            patience: 20,
            negatives: 1,
            sampler: Sampler::Uniform,
            temperature: None,
            threads: 1,
            checkpoint_seconds: 60.0,
        }
    }
}

impl TrainConfig {
    /// Checks the ranges; errors name settings under `section`.
    pub(super) fn check(&self, section: &str) -> Result<()> {
        let key = |name: &str| format!("{section}.{name}");
        at_least_one(&key("epochs"), self.epochs)?;
        if let Some(steps) = self.max_steps {
            at_least_one(&key("max_steps"), steps)?;
        }
        at_least_one(&key("accumulate"), self.accumulate as u64)?;
        for (name, value) in [("batch", self.batch), ("negatives", self.negatives)] {
            at_least_one(&key(name), value as u64)?;
            at_most(&key(name), value, 1 << 30)?;
        }
        above_zero(&key("lr"), self.lr)?;
        if self.lr < f32::MIN_POSITIVE as f64 {
            let (found, least) = (self.lr, f32::MIN_POSITIVE);
            return Err(Error::Usage(format!(
                "{section}.lr: found {found}; expected at least {least}, since it is 0 to the kernels"
            )));
        }
        if let Some(temperature) = self.temperature {
            check_temperature(&key("temperature"), temperature)?;
        }
        not_negative(&key("weight_decay"), self.weight_decay)?;
        not_negative(&key("clip"), self.clip)?;
        not_negative(&key("checkpoint_seconds"), self.checkpoint_seconds)?;
        if let Sampler::Popularity(alpha) = self.sampler {
            not_negative(&key("sampler.popularity"), alpha as f64)?;
            at_most(&key("sampler.popularity"), alpha, 8.0)?;
        }
        Ok(())
    }
}
