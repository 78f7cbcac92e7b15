//! UniSRec: Hou, Mu, Zhao, Li, Ding, Wen, "Towards universal sequence representation learning for recommender systems" (KDD 2022):
//! a SASRec on items that are computed from text alone, pre-trained on several data sets and adapted to another one.
//!
//! | of the paper | here |
//! |---|---|
//! | whitening and mixture of experts over text | [`crate::nn::tower`], `model.fusion = "experts"` |
//! | sequence and item contrast | the loss `in-batch` of pre-training, without log Q |
//! | sequence and sequence contrast | [`super::loss::contrast`], `model.contrast` |
//! | with items' own vectors, UniSRec_e | `model.own_embedding` |
//! | adaptation | [`super::transfer`]; all items, by their cosines |
//!
//! A changed sequence has lost each of its items with chance `drop`; or, of a share `changed_texts`, it is read with other embeddings of
//! the items' texts, which have lost words (`data.text_dropped`). Other rows of a row's target are left out of both contrasts; the public
//! code counts exp(0) = 1 for each of them. Blocks are those of `sasrec` with `norm = "post"`.

use super::items::Fusion;
use super::loss::contrast;
use super::sasrec::{Parts, Positions, SasRec};
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Shared, Task};
use super::transfer::{self, Adapt};
use super::{Batch, History, ItemSettings, LossKind, Model, Padding, Phase, Samples, Trained, Views};
use crate::data::items::Modality;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::nn::Params;
use crate::nn::encoder::{Encoder, Norm};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The term of pre-training, and the name of what is reported of it.
const CONTRAST: &str = "contrast";

/// Of cosines, in the loss and in the contrast, tau.
const TEMPERATURE: f64 = 0.07;

/// Settings of UniSRec.
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
    /// Which positions of a window have a target in training; `last` while sequences are compared.
    pub positions: Positions,
    /// Weight of the contrast of sequences and their changed forms in pre-training, lambda.
    #[schemars(range(min = 0, max = 1000000))]
    pub contrast: f64,
    /// Cosines are divided by it in that contrast, tau; in the loss by `loss.temperature`.
    #[schemars(range(min = 1e-4, max = 1e6))]
    pub temperature: f64,
    /// Chance of an item to be dropped from a changed sequence.
    #[schemars(range(min = 0, max = 1))]
    pub drop: f64,
    /// Share of the changed sequences that keep their items and are read with texts that have lost words, `data.text_dropped`.
    #[schemars(range(min = 0, max = 1))]
    pub changed_texts: f64,
    /// What is taken from pre-training, and what is trained.
    pub adapt: Adapt,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dim: 64,
            layers: 2,
            heads: 2,
            inner: 256,
            dropout: 0.5,
            positions: Positions::Last,
            contrast: 1e-3,
            temperature: TEMPERATURE,
            drop: 0.2,
            changed_texts: 0.0,
            adapt: Adapt::Rel,
        }
    }
}

impl spec::Settings for Settings {
    fn shared() -> Shared {
        let (features, fusion, own_embedding) = (vec![Modality::Text], Fusion::Experts, false);
        Shared { cosine: true, items: ItemSettings { features, fusion, own_embedding, ..ItemSettings::default() } }
    }

    fn temperature() -> f64 {
        TEMPERATURE
    }

    fn phases(&self, _behaviours: bool) -> Result<Vec<Phase>> {
        let pretrain = Phase::new(transfer::PRETRAIN).auxiliary().loss(LossKind::InBatch).uncorrected();
        let pretrain = pretrain.term(CONTRAST, self.contrast);
        let pretrain = if self.changed_texts > 0.0 { pretrain.reads_changed_texts() } else { pretrain };
        Ok(transfer::phases(self.adapt, false, pretrain, Phase::new("adapt").keeps("model.safetensors")))
    }

    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(UniSRec::new(self, task)?))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "unisrec",
    title: "self-attention over items computed from text, pre-trained on other data",
    paper: "Hou, Mu, Zhao, Li, Ding, Wen, \"Towards universal sequence representation learning for recommender systems\" (KDD 2022)",
    loss: Some(LossKind::Softmax),
    presets: &[Preset {
        name: "paper",
        settings: &["model.dim=300", "model.changed_texts=0.1", "train.batch=2048", "data.max_len=50"],
    }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

/// The contrast of sequences and their changed forms.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Contrast {
    weight: f64,
    temperature: f64,
    views: Views,
}

pub struct UniSRec {
    sasrec: SasRec,
    contrast: Option<Contrast>,
}

impl UniSRec {
    /// # Errors
    /// Heads that do not divide the width; sequences to compare that have a target at each position, or whose changed texts are not known.
    pub fn new(settings: &Settings, task: &Task) -> Result<UniSRec> {
        let Settings { dim, layers, heads, inner, dropout, positions, temperature, drop, changed_texts, .. } =
            *settings;
        let weight = task.phase.weight(CONTRAST).filter(|weight| *weight > 0.0);
        let views = Views::Dropped { drop, texts: changed_texts };
        let contrast = weight.map(|weight| Contrast { weight, temperature, views });
        if contrast.is_some() && positions == Positions::All {
            let why = "found all; expected last where pre-training compares sequences (model.contrast above 0)";
            return Err(Error::Usage(format!("model.positions: {why}")));
        }
        let mut tower = task.tower.clone();
        if contrast.is_some() && changed_texts > 0.0 {
            let changed = task.known.iter().find(|known| known.name == Modality::TextDropped.name());
            let known = changed.ok_or_else(|| Modality::TextDropped.absent())?.of_rows(task.items + 1);
            tower = tower.map(|tower| tower.with_changed(known));
        }
        let encoder = Encoder::new(Norm::Post, true, (dim, layers, heads), Some(inner), dropout)?;
        let parts = Parts { items: task.items, max_len: task.max_len, encoder, positions, behaviours: 0, hides: false };
        Ok(UniSRec { sasrec: SasRec::new(parts, Params::with_tower(tower)), contrast })
    }

    /// Sequences as the views have them, \[B, d\].
    fn changed<'g>(&self, g: &'g Graph, batch: &Batch<'g>) -> Var<'g> {
        let views = batch.views.expect("a batch with the model's views");
        let b = views.items.shape()[0];
        let items = self.item_table(g).gather(views.items);
        let items = match self.second_table(g) {
            None => items,
            Some(texts) => {
                let changed = batch.inputs.get("views.changed_texts").nonzero().reshape([b, 1, 1]);
                items + changed * (texts.gather(views.items) - items)
            }
        };
        self.sasrec.user_of(g, &views, items)
    }
}

impl Model for UniSRec {
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

    fn views(&self) -> Option<Views> {
        self.contrast.map(|contrast| contrast.views)
    }

    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        self.sasrec.counted(batch, window)
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.sasrec.item_table(g)
    }

    /// Items of changed texts, where some are read.
    fn second_table<'g>(&self, g: &'g Graph) -> Option<Var<'g>> {
        self.params().tower().and_then(|tower| tower.changed(self.params(), g))
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.sasrec.user(g, history)
    }

    fn positions<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.sasrec.positions(g, history)
    }

    fn trained<'g>(&self, g: &'g Graph, batch: &Batch<'g>) -> Trained<'g> {
        let mut trained = Trained::rows(self.scored(g, batch));
        if let Some(Contrast { weight, temperature, .. }) = self.contrast {
            let changed = g.scope("views", || self.changed(g, batch));
            let term = g.scope(CONTRAST, || contrast(trained.rows, changed, batch.positive, batch.weight, temperature));
            trained.terms.push(term.scale(weight));
            trained.reported.push((CONTRAST.into(), term));
        }
        trained
    }
}
