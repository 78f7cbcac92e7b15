//! ANT (Peng, Parthasarathy, Ning, "Multi-modality meets re-learning"): a SASRec on items that are computed from text, image and
//! price, pre-trained on several data sets and adapted to another one.
//!
//! | of the paper | here |
//! |---|---|
//! | equation 3, prices | [`super::ItemSettings::code_price`] |
//! | equations 4 to 9, items | [`crate::nn::tower`], `model.fusion = "experts"` |
//! | equations 10 to 12, encoder | [`super::sasrec`], `norm = "post"` |
//! | equations 13, 16 and 17, cosines over tau | `model.cosine`, `loss.temperature` |
//! | equation 14, alignment of image and text | `alignment` |
//! | equation 15, the sum of both in pre-training | the phase's term |
//! | equations 18 and 19, ANT_e | `model.own_embedding` |
//! | re-learning, fine-tuning | [`super::transfer`] |
//!
//! A window has a target at each position here (`model.positions`); the paper makes a sample of each prefix. With a target at each
//! position the alignment compares those at some positions of a window, the same in every epoch ([`Aligned::Batch`]). Both terms are
//! means; a batch without an item that has both text and image adds 0. The norms' epsilon is 1e-8, as in the released code, which has
//! dropout .5 too.

use super::items::{Fusion, Listed};
use super::loss::{contrast, marks};
use super::sasrec::{Parts, Positions, SasRec};
use super::scores::unit;
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Shared, Task};
use super::transfer::{self, Adapt};
use super::{Batch, History, ItemSettings, LossKind, Model, Padding, Phase, Samples, Trained};
use crate::data::items::Modality;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::nn::Params;
use crate::nn::encoder::{Encoder, Norm};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The term of pre-training, and the name of what is reported of it.
const ALIGNMENT: &str = "alignment";

/// The default of both temperatures.
const TEMPERATURE: f64 = 0.07;

/// Which items' texts an image is told apart from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Aligned {
    /// Those of the batch's targets: of up to 512 of them, or of one of each window. With a target at each position these are at the
    /// same positions of a window in every epoch, and items that are never a target there are not aligned.
    #[default]
    Batch,
    /// Those of all items.
    All,
}

/// Settings of ANT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of items and positions, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Blocks.
    #[schemars(range(min = 1, max = 256))]
    pub layers: usize,
    /// Attention heads; a divisor of `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub heads: usize,
    /// Width inside a feed-forward.
    #[schemars(range(min = 1, max = 65536))]
    pub inner: usize,
    /// Share of the embeddings, the attention weights and the outputs of each half of a block that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// Which positions of a window have a target in training.
    pub positions: Positions,
    /// Cosines are divided by it in the alignment, tau; in the loss by `loss.temperature`.
    #[schemars(range(min = 1e-4, max = 1e6))]
    pub temperature: f64,
    /// Weight of the alignment of image and text in pre-training, lambda.
    #[schemars(range(min = 0, max = 1000000))]
    pub alignment: f64,
    /// Which items' texts an image is told apart from.
    pub aligned: Aligned,
    /// What is taken from pre-training, and what is trained.
    pub adapt: Adapt,
    /// Train the norm of the encoder's input too in adaptation, and re-initialise positions in `ft`, as the released code does.
    pub released: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dim: 64,
            layers: 2,
            heads: 2,
            inner: 256,
            dropout: 0.5,
            positions: Positions::All,
            temperature: TEMPERATURE,
            alignment: 1e-3,
            aligned: Aligned::Batch,
            adapt: Adapt::Rel,
            released: false,
        }
    }
}

impl spec::Settings for Settings {
    fn shared() -> Shared {
        let features = vec![Modality::Text, Modality::Image, Modality::Price];
        let items = ItemSettings { features, fusion: Fusion::Experts, own_embedding: false, ..ItemSettings::default() };
        Shared { cosine: true, items }
    }

    fn temperature() -> f64 {
        TEMPERATURE
    }

    fn phases(&self, _behaviours: bool) -> Result<Vec<Phase>> {
        let pretrain = Phase::new(transfer::PRETRAIN).auxiliary().term(ALIGNMENT, self.alignment);
        Ok(transfer::phases(self.adapt, self.released, pretrain, Phase::new("adapt").keeps("model.safetensors")))
    }

    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        let Settings { dim, layers, heads, inner, dropout, positions, temperature, aligned, .. } = *self;
        let mut encoder = Encoder::new(Norm::Post, true, (dim, layers, heads), Some(inner), dropout)?;
        encoder.eps = 1e-8;
        let parts = Parts { items: task.items, max_len: task.max_len, encoder, positions, behaviours: 0, hides: false };
        let sasrec = SasRec::new(parts, task.params());
        let weight = task.phase.weight(ALIGNMENT).filter(|weight| *weight > 0.0);
        let alignment = weight.map(|weight| Alignment { weight, temperature, over: aligned });
        if let Some(alignment) = &alignment {
            alignment.check(task)?;
        }
        Ok(Box::new(Ant { sasrec, alignment, cold: task.cold.clone() }))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "ant",
    title: "self-attention over items computed from text, image and price, pre-trained on other data",
    paper: "Peng, Parthasarathy, Ning, \"Multi-modality meets re-learning: mitigating negative transfer in sequential recommendation\"",
    loss: Some(LossKind::Softmax),
    presets: &[Preset {
        name: "paper",
        settings: &["model.dim=256", "model.positions=last", "train.batch=2048", "data.max_len=50"],
    }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

/// Equation 14: the text of each item is told apart from those of others by its image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alignment {
    pub weight: f64,
    pub temperature: f64,
    pub over: Aligned,
}

impl Alignment {
    /// With more items, those of all would be compared for hours: at 657,018 a step has 660 TFLOP.
    const MOST_ITEMS: usize = 20_000;

    /// Targets of a batch that are compared, at most, if one of each window may be.
    const MOST_TARGETS: usize = 512;

    fn check(&self, task: &Task) -> Result<()> {
        let (items, most) = (task.items, Alignment::MOST_ITEMS);
        if self.over == Aligned::All && items > most {
            let why = format!("found all, with {items} items; expected batch with more than {most}");
            return Err(Error::Usage(format!("model.aligned: {why}")));
        }
        if self.over == Aligned::All && task.tower.as_ref().is_some_and(|tower| tower.config.listed) {
            let why = format!("found all; expected batch with model.tower={:?}", Listed::Batch).to_lowercase();
            return Err(Error::Usage(format!("model.aligned: {why}")));
        }
        Ok(())
    }

    /// Whether each of the rows has both, \[rows, 1\], and both side by side, \[rows, 2 d\]. None where the tower does not read both.
    fn both<'g>(params: &Params, g: &'g Graph) -> Option<(Var<'g>, Var<'g>)> {
        let tower = params.tower()?;
        let [text, image] = ["text", "image"].map(|name| tower.of_kind(name, params, g));
        let ((text, no_text), (image, no_image)) = (text?, image?);
        let there = |missing: Var<'g>| g.scalar(1.0) - missing;
        let both = || there(no_text) * there(no_image);
        Some((both(), g.prepared("items.aligned", || g.concat(1, &[text, image]))))
    }

    /// The distance, in positions, of two targets of a window that are compared: the least that divides `targets` and leaves at most
    /// [`Alignment::MOST_TARGETS`] of all `windows`; `targets` if none does.
    fn stride(windows: usize, targets: usize) -> usize {
        let fits =
            |stride: &usize| targets.is_multiple_of(*stride) && windows * targets / stride <= Alignment::MOST_TARGETS;
        (1..targets).find(fits).unwrap_or(targets)
    }

    /// Among the batch's targets: the mean over those that have both; other rows of the same item are no negatives. `targets`: of
    /// each window, of which some are compared.
    fn of_targets<'g>(&self, params: &Params, g: &'g Graph, batch: &Batch<'g>, targets: usize) -> Option<Var<'g>> {
        let (both, wide) = Alignment::both(params, g)?;
        let rows = batch.positive.shape()[0];
        let stride = Alignment::stride(rows / targets, targets);
        let r = rows / stride;
        let some = |of_all: Var<'g>| {
            let width = of_all.shape().elements() / rows;
            of_all.reshape([r, stride, width]).slice(1, 0, 1).reshape([r, width])
        };
        let ids = some(batch.positive).reshape([r]);
        let weight = some(both.gather(batch.positive)).reshape([r]) * some(batch.weight).reshape([r]).nonzero();
        let [text, image] = halves(some(wide.gather(batch.positive)));
        Some(contrast(image, text, ids, weight, self.temperature))
    }

    /// Among all items that have both, without `cold` ones.
    fn of_all<'g>(&self, params: &Params, g: &'g Graph, cold: &[u32]) -> Option<Var<'g>> {
        let (both, wide) = Alignment::both(params, g)?;
        let (rows, [text, image]) = (wide.shape()[0], halves(wide).map(unit));
        let both = both.reshape([rows]);
        let both = if cold.is_empty() { both } else { both * (g.scalar(1.0) - marks(g, rows, cold)) };
        // What is subtracted from the others leaves nothing of their exponentials.
        let bias = (both - g.scalar(1.0)).scale(3e4);
        let number = g.constant(Tensor::u32([rows], (0..rows as u32).collect()));
        let weight = both * g.constant(Tensor::f32([rows], (0..rows).map(|row| (row > 0) as u32 as f32).collect()));
        let image = image.scale(1.0 / self.temperature);
        Some(image.softmax_loss(text, Some(bias), number, weight, 1..rows))
    }
}

/// The two halves of rows \[R, 2 d\].
fn halves(wide: Var<'_>) -> [Var<'_>; 2] {
    let d = wide.shape()[1] / 2;
    [0, d].map(|at| wide.slice(1, at, d))
}

pub struct Ant {
    sasrec: SasRec,
    alignment: Option<Alignment>,
    /// Items that are not aligned.
    cold: Arc<Vec<u32>>,
}

impl Model for Ant {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn params(&self) -> &Params {
        self.sasrec.params()
    }

    fn padding(&self) -> Padding {
        self.sasrec.padding()
    }

    fn samples(&self) -> Arc<dyn Samples> {
        self.sasrec.samples()
    }

    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        let aligned = self.alignment.is_some_and(|alignment| alignment.over == Aligned::Batch);
        let of_batch = ("train.batch, squared (the targets that are aligned)", vec![batch, batch]);
        Some(of_batch).filter(|_| aligned && batch > 1 << 16).or(self.sasrec.counted(batch, window))
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.sasrec.item_table(g)
    }

    fn target_table<'g>(&self, g: &'g Graph) -> Option<Var<'g>> {
        self.alignment.filter(|alignment| alignment.over == Aligned::Batch)?;
        Alignment::both(self.params(), g).map(|(_, wide)| wide)
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.sasrec.user(g, history)
    }

    fn positions<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.sasrec.positions(g, history)
    }

    fn trained<'g>(&self, g: &'g Graph, batch: &Batch<'g>) -> Trained<'g> {
        let mut trained = Trained::rows(self.scored(g, batch));
        let term = self.alignment.and_then(|alignment| {
            let term = g.scope(ALIGNMENT, || match alignment.over {
                Aligned::Batch => alignment.of_targets(self.params(), g, batch, batch.targets()),
                Aligned::All => alignment.of_all(self.params(), g, &self.cold),
            });
            Some((term?, alignment.weight))
        });
        if let Some((term, weight)) = term {
            trained.terms.push(term.scale(weight));
            trained.reported.push((ALIGNMENT.into(), term));
        }
        trained
    }
}
