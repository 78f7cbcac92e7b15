//! Which model, and its settings.

use super::cosine::Cosine;
use super::dpcpl::prompts::{PromptConfig, Prompter, Source};
use super::dpcpl::{self, Block, Dpcpl, MinerKind};
use super::pomrec::{PomRec, Variant};
use super::pretext::{PreTrained, Pretext, PretextConfig, PretextTask};
use super::sasrec::Positions;
use super::{Bert4Rec, Caser, Ease, Fmlp, Gru4Rec, Model, Npe, Pop, SasRec, Stamp, Views};
use super::{bert4rec, caser, fmlp, gru4rec, npe, pomrec, sasrec, stamp};
use crate::error::{Error, Result, nearest};
use crate::kernels::attention::Attention;
use crate::kernels::embedding::GatherGradDense;
use crate::kernels::fourier;
use crate::nn::encoder::{Encoder, Norm};
use crate::nn::miner::Miner;
use serde::{Deserialize, Serialize};

/// The models by name.
pub const NAMES: [&str; 11] =
    ["pomrec", "dpcpl", "sasrec", "gru4rec", "bert4rec", "fmlp", "stamp", "caser", "npe", "ease", "pop"];

/// Those that read behaviours by `model.behaviours`.
const BEHAVIOURS: [&str; 4] = ["sasrec", "gru4rec", "bert4rec", "fmlp"];

/// The largest width or count, and the most blocks: far beyond what is of use, and small enough to be multiplied.
const WIDEST: usize = 1 << 16;
const MOST_LAYERS: usize = 256;

/// Settings under `model.`: those of all models together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Width of embeddings.
    pub dim: usize,
    /// Interests of a user, K.
    pub interests: usize,
    /// Prompts before a history, N_p; 0: none.
    pub prompts: usize,
    /// Weight of an interest's dispersion, lambda; 0: none.
    pub dispersion: f64,
    /// Width inside the attention, d'.
    pub attention_dim: usize,
    pub variant: Variant,
    /// Blocks, or recurrent layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width inside a feed-forward. None: the width of embeddings (of a SASRec with `norm = "pre"`), or four times it.
    pub inner: Option<usize>,
    /// Width of a recurrent state.
    pub hidden: usize,
    pub dropout: f64,
    /// Where a SASRec has its norms.
    pub norm: Norm,
    /// Which places of a window have a target in training.
    pub positions: Positions,
    /// Share of the places that BERT4Rec, or a pre-training by `mask`, hides.
    pub hidden_share: f64,
    /// The last items of a history that Caser reads, L.
    pub window: usize,
    /// Caser's horizontal filters of each height, n_h.
    pub horizontal_filters: usize,
    /// Caser's vertical filters, n_v.
    pub vertical_filters: usize,
    /// Penalty on EASE's weights, lambda.
    pub ridge: f64,
    /// Users and items of length 1.
    pub cosine: bool,
    /// A SASRec, GRU4Rec, BERT4Rec or FMLP-Rec reads what each event's behaviour was. DPCPL always does.
    pub behaviours: bool,
    /// DPCPL's blocks.
    pub miner: MinerKind,
    /// Blocks of channels in DPCPL's filter, k.
    pub blocks: usize,
    /// DPCPL's prompts.
    pub prompt: PromptConfig,
    /// What a SASRec is pre-trained by.
    pub pretext: PretextConfig,
}

impl Default for ModelConfig {
    fn default() -> ModelConfig {
        ModelConfig {
            dim: 64,
            interests: 3,
            prompts: 4,
            dispersion: 3.0,
            attention_dim: 8,
            variant: Variant::Paper,
            layers: 2,
            heads: 1,
            inner: None,
            hidden: 128,
            dropout: 0.2,
            norm: Norm::Pre,
            positions: Positions::All,
            hidden_share: 0.2,
            window: 5,
            horizontal_filters: 16,
            vertical_filters: 4,
            ridge: 500.0,
            cosine: false,
            behaviours: false,
            miner: MinerKind::Filter,
            blocks: 4,
            prompt: PromptConfig::default(),
            pretext: PretextConfig::default(),
        }
    }
}

impl ModelConfig {
    /// Checks the ranges; the error names the setting.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, found: String, expected: &str| {
            Err(Error::Usage(format!("model.{key}: found {found}; expected {expected}")))
        };
        let counts = [
            ("dim", self.dim),
            ("interests", self.interests),
            ("attention_dim", self.attention_dim),
            ("layers", self.layers),
            ("heads", self.heads),
            ("hidden", self.hidden),
            ("inner", self.inner.unwrap_or(1)),
            ("window", self.window),
            ("horizontal_filters", self.horizontal_filters),
            ("vertical_filters", self.vertical_filters),
            ("blocks", self.blocks),
            ("prompt.tokens", self.prompt.tokens),
            ("prompt.factors", self.prompt.factors),
        ];
        for (key, value) in counts {
            let most = if key == "layers" { MOST_LAYERS } else { WIDEST };
            if value == 0 {
                return wrong(key, value.to_string(), "at least 1");
            }
            if value > most {
                return wrong(key, value.to_string(), &format!("at most {most}"));
            }
        }
        if self.prompts > WIDEST {
            return wrong("prompts", self.prompts.to_string(), &format!("at most {WIDEST}"));
        }
        if !self.dim.is_multiple_of(self.heads) {
            return wrong("heads", self.heads.to_string(), &format!("a divisor of model.dim, {}", self.dim));
        }
        if !self.dispersion.is_finite() || self.dispersion < 0.0 {
            return wrong("dispersion", self.dispersion.to_string(), "a number of at least 0");
        }
        // As the kernels see it: what rounds to 1 leaves nothing.
        if !(0.0..1.0).contains(&(self.dropout as f32)) {
            return wrong("dropout", self.dropout.to_string(), "at least 0 and below 1");
        }
        if !(self.hidden_share > 0.0 && self.hidden_share <= 1.0) {
            return wrong("hidden_share", self.hidden_share.to_string(), "above 0 and at most 1");
        }
        if !self.ridge.is_finite() || self.ridge <= 0.0 {
            return wrong("ridge", self.ridge.to_string(), "a number above 0");
        }
        let PromptConfig { compactness, prompt_weight, factor_epsilon2, prompt_epsilon2, .. } = self.prompt;
        for (key, x) in [("prompt.compactness", compactness), ("prompt.prompt_weight", prompt_weight)] {
            if !x.is_finite() || x < 0.0 {
                return wrong(key, x.to_string(), "a number of at least 0");
            }
        }
        for (key, x) in [("prompt.factor_epsilon2", factor_epsilon2), ("prompt.prompt_epsilon2", prompt_epsilon2)] {
            if !x.is_finite() || x < 1e-6 {
                return wrong(key, x.to_string(), "a number of at least 1e-6");
            }
        }
        if self.prompt.source == Source::Attributes && self.prompt.progressive {
            let expected = "false with model.prompt.source = \"attributes\", whose prompts stand at the input only";
            return wrong("prompt.progressive", "true".into(), expected);
        }
        if self.pretext.task == Some(PretextTask::Mask) && self.norm == Norm::Post {
            // A hidden place is put behind the history, which needs the padding on the left.
            return wrong("norm", "post".into(), "pre with model.pretext.task = \"mask\"");
        }
        self.pretext.check()
    }

    fn encoder(&self, norm: Norm, causal: bool) -> Result<Encoder> {
        let ModelConfig { dim, layers, heads, dropout, .. } = *self;
        let widest = Attention::LARGEST_HEAD;
        if dim / heads > widest {
            let (head, least) = (dim / heads, dim.div_ceil(widest));
            return Err(Error::Usage(format!(
                "model.heads: found {heads} of width {head}; expected heads of at most {widest}: {least} or more of them"
            )));
        }
        let inner = self.inner.unwrap_or(if norm == Norm::Pre { dim } else { 4 * dim });
        let eps = if norm == Norm::Pre { 1e-8 } else { 1e-12 };
        Ok(Encoder { norm, dim, layers, heads, inner, dropout, causal, attend_padding: false, eps })
    }

    /// The behaviours that a model called `name` reads of a task.
    fn behaviours(&self, name: &str, task: &Task) -> Result<usize> {
        if self.behaviours && !BEHAVIOURS.contains(&name) {
            let models = BEHAVIOURS.join(", ");
            return Err(Error::Usage(format!(
                "model.behaviours: found true with {name}; expected false, or one of {models}"
            )));
        }
        if self.behaviours && task.behaviours == 0 {
            return Err(Error::Usage(
                "model.behaviours: found true; expected false: the data's events have no behaviours in use".into(),
            ));
        }
        let most = GatherGradDense::MAX_ROWS - 1;
        let read = if self.behaviours || name == "dpcpl" { task.behaviours } else { 0 };
        if read > most {
            return Err(Error::Usage(format!("{name}: found {read} behaviours in use; expected at most {most}")));
        }
        Ok(read)
    }

    /// A SASRec, or one that is pre-trained.
    fn sasrec(&self, task: &Task, behaviours: usize) -> Result<Box<dyn Model>> {
        let PretextConfig { segment_weight, contrast_weight, temperature, crop, mask, reorder, .. } = self.pretext;
        let pretext = match self.pretext.task.filter(|_| task.phase == Some(Phase::Pretrain)) {
            Some(PretextTask::Mask) => Some(Pretext::Mask { hidden_share: self.hidden_share, segment_weight }),
            Some(PretextTask::Contrast) => {
                let views = Views::Augmented { crop, mask, reorder };
                Some(Pretext::Contrast { views, weight: contrast_weight, temperature })
            }
            Some(PretextTask::Next) | None => None,
        };
        let sasrec = SasRec::new(sasrec::Settings {
            items: task.items,
            max_len: task.max_len,
            encoder: self.encoder(self.norm, !matches!(pretext, Some(Pretext::Mask { .. })))?,
            positions: self.positions,
            behaviours,
            hides: self.pretext.hides(),
        });
        Ok(match pretext {
            Some(pretext) => Box::new(PreTrained::new(sasrec, pretext)),
            None => Box::new(sasrec),
        })
    }

    fn dpcpl(&self, task: &Task, behaviours: usize) -> Result<Dpcpl> {
        let ModelConfig { dim, layers, blocks, dropout, .. } = *self;
        let Task { items, max_len, features, phase, .. } = *task;
        let tuning = phase == Some(Phase::Tune);
        let prompter = (tuning && self.prompt.source != Source::Off)
            .then(|| Prompter::new(self.prompt, dim, layers, behaviours, features));
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
                let inner = self.inner.unwrap_or(4 * dim);
                Block::Filter(Miner { dim, blocks, inner, streams: 1 + behaviours, dropout })
            }
            MinerKind::Attention => Block::Attention(self.encoder(Norm::Post, false)?),
        };
        Ok(Dpcpl::new(dpcpl::Settings { items, max_len, dim, layers, behaviours, block, dropout, tuning, prompter }))
    }
}

/// What a model is built for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    pub items: usize,
    /// Items of a window.
    pub max_len: usize,
    /// Behaviours in use: their ids are 1 to this; 0 where there are none.
    pub behaviours: usize,
    /// The id of the behaviour that is predicted, where it is one.
    pub target: Option<u32>,
    /// Features of a user: attributes first, then statistics.
    pub features: FeatureCounts,
    /// Of a training in phases.
    pub phase: Option<Phase>,
}

/// Features of a user, by their numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureCounts {
    pub attributes: usize,
    pub statistics: usize,
    /// Rows of the table that all of them are gathered from.
    pub rows: usize,
}

/// A phase of a training in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// On the earlier events, of all behaviours.
    Pretrain,
    /// On the later ones, of the target behaviour.
    Tune,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Phase::Pretrain => "pretrain",
            Phase::Tune => "tune",
        })
    }
}

/// Whether the model called `name` is trained in two phases, where its data have behaviours.
pub fn has_phases(name: &str, config: &ModelConfig) -> bool {
    name == "dpcpl" || config.pretext.task.is_some()
}

/// An error that names the nearest unless a model is called `name`.
pub fn check_name(name: &str) -> Result<()> {
    if NAMES.contains(&name) {
        return Ok(());
    }
    let nearest = nearest(name, NAMES).map(|n| format!("; did you mean {n}?")).unwrap_or_default();
    Err(Error::Usage(format!("no model is called {name:?}; expected one of {}{nearest}", NAMES.join(", "))))
}

/// The model called `name` for a task.
///
/// # Errors
/// An unknown name; settings out of range; more items than the model can hold in memory.
pub fn build(name: &str, config: &ModelConfig, task: &Task) -> Result<Box<dyn Model>> {
    check_name(name)?;
    config.check()?;
    let Task { items, max_len, target, .. } = *task;
    let behaviours = config.behaviours(name, task)?;
    if name != "sasrec" && config.pretext.task.is_some() {
        return Err(Error::Usage(format!("model.pretext.task is set with {name}; expected it with sasrec alone")));
    }
    let ModelConfig { dim, interests, prompts, dispersion, attention_dim, variant, .. } = *config;
    let ModelConfig { layers, hidden, dropout, positions, hidden_share, .. } = *config;
    let model: Box<dyn Model> = match name {
        "pomrec" => Box::new(PomRec::new(pomrec::Settings {
            items,
            max_len,
            dim,
            attention_dim,
            interests,
            prompts,
            dispersion,
            variant,
        })),
        "dpcpl" => Box::new(config.dpcpl(task, behaviours)?),
        "sasrec" => config.sasrec(task, behaviours)?,
        "gru4rec" => {
            let settings = gru4rec::Settings { items, dim, hidden, layers, dropout, positions, behaviours };
            Box::new(Gru4Rec::new(settings))
        }
        "bert4rec" => {
            let encoder = config.encoder(Norm::Post, false)?;
            let settings = bert4rec::Settings { items, max_len, encoder, hidden_share, behaviours, target };
            Box::new(Bert4Rec::new(settings))
        }
        "fmlp" => {
            if max_len > fourier::LONGEST {
                let most = fourier::LONGEST;
                return Err(Error::Usage(format!("data.max_len: found {max_len}; expected at most {most} with fmlp")));
            }
            let inner = config.inner.unwrap_or(4 * dim);
            Box::new(Fmlp::new(fmlp::Settings { items, max_len, dim, layers, inner, dropout, behaviours }))
        }
        "stamp" => Box::new(Stamp::new(stamp::Settings { items, dim })),
        "caser" => Box::new(Caser::new(caser::Settings {
            items,
            dim,
            window: config.window.min(max_len),
            horizontal: config.horizontal_filters,
            vertical: config.vertical_filters,
            dropout,
        })),
        "npe" => Box::new(Npe::new(npe::Settings { items, dim, dropout })),
        "ease" => Box::new(Ease::new(items, config.ridge)?),
        "pop" => Box::new(Pop::new(items)),
        _ => unreachable!("the names were checked"),
    };
    Ok(if config.cosine && !model.counts() { Box::new(Cosine(model)) } else { model })
}
