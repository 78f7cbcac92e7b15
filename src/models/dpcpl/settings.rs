//! DPCPL's settings, and its network for a task.

use super::prompts::{PromptConfig, Prompter, Source};
use super::{Block, Dpcpl, MinerKind, Parts};
use crate::data::Learn;
use crate::error::{Error, Result};
use crate::kernels::fourier;
use crate::models::phase::{Phase, Take};
use crate::models::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use crate::models::{LossKind, Model};
use crate::nn::encoder::{Encoder, Norm};
use crate::nn::miner::Miner;
use serde::{Deserialize, Serialize};

/// Terms of the phases: the second of equation 4, and that of equation 13.
const NEXT_BEHAVIOUR: &str = "next_behaviour";
const COMPACTNESS: &str = "compactness";

/// The parameters that tuning adds.
const PROMPTS: &str = "prompts.*";

/// Share of the events that are earlier ones where data.cut is not set (section 5.1.1).
const EARLIER: f64 = 0.6;

/// Settings of DPCPL.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Blocks.
    #[schemars(range(min = 1, max = 256))]
    pub layers: usize,
    /// Attention heads with `miner = "attention"`; a divisor of `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub heads: usize,
    /// Width inside a feed-forward. Not given: 4 `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub inner: Option<usize>,
    /// Share of the embeddings and of the outputs of each half of a block that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// What a block of the network is made of.
    pub miner: MinerKind,
    /// Blocks of channels in a filter, k (equation 3); a divisor of `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub blocks: usize,
    /// Prompts, in the second phase.
    pub prompt: PromptConfig,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dim: 64,
            layers: 2,
            heads: 1,
            inner: None,
            dropout: 0.2,
            miner: MinerKind::Filter,
            blocks: 4,
            prompt: PromptConfig::default(),
        }
    }
}

impl spec::Settings for Settings {
    fn check(&self) -> Result<()> {
        if self.prompt.source == Source::Attributes && self.prompt.progressive {
            let why = "with model.prompt.source = \"attributes\", whose prompts stand at the input only";
            return Err(Error::Usage(format!("model.prompt.progressive: found true; expected false {why}")));
        }
        Ok(())
    }

    /// Pre-training on the earlier events of all behaviours, then tuning on the later ones of the target, as a rule of the
    /// prompts alone. One phase, without prompts, where the data have no behaviours.
    fn phases(&self, behaviours: bool) -> Result<Vec<Phase>> {
        if !behaviours {
            return Ok(vec![Phase::default()]);
        }
        let pretrain = Phase::new("pretrain")
            .learns(Learn::Earlier, EARLIER)
            .term(NEXT_BEHAVIOUR, 1.0)
            .keeps("model.safetensors")
            .unread("prompt.*");
        let takes = Take::from("pretrain").but(PROMPTS).free("prompt.*").free("dropout");
        let tune = Phase::new("tune").learns(Learn::Later, EARLIER).takes(takes);
        let tune = match self.prompt.source {
            Source::Off => tune.keeps("tuned.{target}.safetensors"),
            _ => tune
                .reads_features()
                .term(COMPACTNESS, self.prompt.weight())
                .trains(PROMPTS)
                .keeps("prompts.{target}.safetensors"),
        };
        Ok(vec![pretrain, tune])
    }

    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        let Settings { dim, layers, heads, inner, dropout, blocks, .. } = *self;
        let Task { items, max_len, features, ref phase, .. } = *task;
        let behaviours = task.behaviours_if(task.behaviours > 0)?;
        let compactness = phase.weight(COMPACTNESS);
        let prompter = compactness.map(|_| Prompter::new(self.prompt, dim, layers, behaviours, features));
        if let Some(prompter) = &prompter {
            prompter.check()?;
        }
        let block = match self.miner {
            MinerKind::Filter => {
                if !dim.is_multiple_of(blocks) {
                    let message = format!("model.blocks: found {blocks}; expected a divisor of model.dim, {dim}");
                    return Err(Error::Usage(message));
                }
                let tokens = prompter.as_ref().map_or(0, Prompter::tokens);
                if max_len + tokens > fourier::LONGEST {
                    return Err(Error::Usage(format!(
                        "data.max_len: found {max_len}, and {tokens} tokens of prompts; expected at most {} of both with the \
                         filters of dpcpl",
                        fourier::LONGEST
                    )));
                }
                Block::Filter(Miner { dim, blocks, inner: inner.unwrap_or(4 * dim), streams: 1 + behaviours, dropout })
            }
            MinerKind::Attention => {
                Block::Attention(Encoder::new(Norm::Post, false, (dim, layers, heads), inner, dropout)?)
            }
        };
        let next_behaviour = phase.weight(NEXT_BEHAVIOUR).unwrap_or(0.0);
        let compactness = compactness.unwrap_or(0.0);
        let parts =
            Parts { items, max_len, dim, layers, behaviours, block, dropout, next_behaviour, compactness, prompter };
        Ok(Box::new(Dpcpl::new(parts, task.params())))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "dpcpl",
    title: "denoising filters, pre-trained on all behaviours, then prompts for one",
    paper: "Wang, Han et al., \"Denoising pre-training and customized prompt learning for efficient multi-behavior sequential \
            recommendation\"",
    loss: Some(LossKind::Bpr),
    presets: &[Preset { name: "paper", settings: &["loss.kind=bpr", "model.dim=256", "model.layers=4"] }],
    behaviours: Behaviours::Always,
    settings: SettingsType::of::<Settings>(),
};
