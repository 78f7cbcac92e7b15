//! Settings of the phases of a training: `train.*`, and `phase.NAME.*` of a single one.

use crate::data::negatives::Sampler;
use crate::data::samples::Order;
use crate::error::{Error, Result};
use crate::models::LossKind;
use crate::optim::{Adam, Schedule};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Patterns of the names of the parameters that are trained; `*` matches anything. Not given: all, or those
    /// that the phase trains.
    pub only: Option<Vec<String>>,
    /// Passes over the training part, at most.
    #[schemars(range(min = 1))]
    pub epochs: u64,
    /// Steps after which the training ends, wherever in an epoch that is. Not given: no limit.
    #[schemars(range(min = 1))]
    pub max_steps: Option<u64>,
    /// Samples of a batch.
    #[schemars(range(min = 1, max = 1073741824))]
    pub batch: usize,
    /// Batches of a step. An update takes the mean over the targets of all, with the memory of one batch and one gradient; the
    /// loss that is shown is that of the last.
    #[schemars(range(min = 1))]
    pub accumulate: usize,
    /// Learning rate of Adam, after the warm-up (Kingma and Ba, ICLR 2015).
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub lr: f64,
    /// What the learning rate does after the warm-up.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0.
    pub warmup: u64,
    /// Weight decay.
    #[schemars(range(min = 0))]
    pub weight_decay: f64,
    /// Patterns of the names of parameters that do not decay; `*` matches anything.
    pub no_decay: Vec<String>,
    /// Apply the weight decay to the parameters (AdamW: Loshchilov and Hutter, ICLR 2019) instead of adding it to the gradient (L2).
    pub decoupled: bool,
    /// Leave rows of a table that a step does not gather as they are, their moments included.
    pub lazy: bool,
    /// Largest Euclidean norm of the whole gradient; a longer one is scaled down, and the norms before that are reported as
    /// `gradient_norm` in metrics.jsonl. 0: no limit.
    #[schemars(range(min = 0))]
    pub clip: f64,
    /// Epochs without a better validation after which the training ends. 0: never.
    pub patience: u64,
    /// Which epoch's parameters are kept.
    pub keep: Keep,
    /// The order of an epoch's samples: all in random order, or user by user.
    pub order: Order,
    /// Negatives of each sample, of a loss that draws some.
    #[schemars(range(min = 1, max = 1073741824))]
    pub negatives: usize,
    /// How negatives are drawn, outside the user's training items.
    pub sampler: Sampler,
    /// The loss of the targets in this phase. Not given: `loss.kind`, or else the phase's own or the model's.
    pub loss_kind: Option<LossKind>,
    /// Scores are divided by it in the loss of this phase. Not given: `loss.temperature`.
    #[schemars(range(min = 1e-4, max = 1e6))]
    pub temperature: Option<f64>,
    /// Threads that make batches in the background; 0: batches are made between steps.
    pub threads: usize,
    /// Seconds between checkpoints within an epoch.
    #[schemars(range(min = 0))]
    pub checkpoint_seconds: f64,
}

/// Which of the epochs that are validated is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Keep {
    /// The one that validates best.
    #[default]
    Best,
    /// The last one; `train.patience` then ends nothing.
    Last,
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
            keep: Keep::Best,
            order: Order::Samples,
            negatives: 1,
            sampler: Sampler::Uniform,
            loss_kind: None,
            temperature: None,
            threads: 1,
            checkpoint_seconds: 60.0,
        }
    }
}

impl TrainConfig {
    /// Checks what is more than the range of a single setting; errors name settings under `section`.
    pub(super) fn check(&self, section: &str) -> Result<()> {
        if self.lr < f32::MIN_POSITIVE as f64 {
            let (found, least) = (self.lr, f32::MIN_POSITIVE);
            return Err(Error::Usage(format!(
                "{section}.lr: found {found}; expected at least {least}, since it is 0 to the kernels"
            )));
        }
        if let Sampler::Popularity(alpha) = self.sampler
            && !(0.0..=8.0).contains(&alpha)
        {
            return Err(Error::Usage(format!("{section}.sampler.popularity: found {alpha}; expected 0 to 8")));
        }
        Ok(())
    }
}
