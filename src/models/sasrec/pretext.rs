//! Pre-training of a SASRec by more than its own loss (`model.pretext.task`), on the earlier events; it is then tuned
//! whole, by its own loss, on the later ones. Where the data have no behaviours, `mask` is trained and tuned on the same
//! events. The network that is tuned is the same whatever the task, up to a row for
//! hidden items.
//!
//! | `task` | what is minimised |
//! |---|---|
//! | `next` | SASRec's own loss |
//! | `mask` | S3-Rec (Zhou et al., CIKM 2020): masked item prediction, `segment_weight` times segment prediction, and of `attributes` those in [`super::attributes`] |
//! | `contrast` | CL4SRec (Xie et al., ICDE 2022): SASRec's own loss, and `contrast_weight` times the contrast of two views |
//!
//! S3-Rec's two tasks on attributes are left out by default, as DPCPL does in its comparison ("we only compare the mask
//! item prediction (MIP) and [..] segment prediction (SP)", section 5.1.2). The encoder sees both sides there, in tuning
//! the left one alone. Scores are F W e and, of segments, context W segment, each -log sigmoid of right against wrong.
//! Each term is a mean over places or windows. The public code (`released`) takes the sigmoid of these scores first, and
//! sums: all is then divided by the number of hidden places, so that the terms weigh as there. It weighs AAP 1, MIP .2,
//! MAP 1, SP .5, which is 5, 1, 5 and 2.5 here (the preset `s3rec`).
//! Places are hidden as for BERT4Rec (`model.hidden_share`; the published code hides the last position of every window
//! too); a hidden event of a segment hides its behaviour with it. To validate, a hidden position is put after the
//! history.
//!
//! CL4SRec's views are compared by dot products over `temperature`, the two of a window against all others of the
//! batch. Its operators' shares are as implementations usually have them; the paper chooses them for each data set.
//! Alone, the contrast never asks for an item and could not be validated by one; as published it is added to the loss
//! of the next item.

use super::SasRec;
use super::attributes::Attributes;
use crate::data::Learn;
use crate::data::samples::{self, Cloze, Samples};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::bpr::Bpr;
use crate::kernels::matmul::Activation;
use crate::models::loss::{surprise, weighted_mean};
use crate::models::phase::{Phase, Take};
use crate::models::{Batch, Candidates, History, Interests, LossKind, Model, Output, Padding, Reads, Trained, Views};
use crate::nn::{Init, Params};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Terms of the phase that pre-trains.
const SEGMENTS: &str = "segments";
const CONTRAST: &str = "contrast";

/// Share of the events that are pre-trained on where data.cut is not set, as in DPCPL's comparison.
const EARLIER: f64 = 0.6;

/// Settings under `model.pretext.`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PretextConfig {
    /// What the phase `pretrain` learns. Not given: there is one phase.
    pub task: Option<PretextTask>,
    /// Weight of segment prediction in `mask`; masked items have weight 1.
    #[schemars(range(min = 0, max = 1000000))]
    pub segment_weight: f64,
    /// In `mask`, predict what `model.features` names (`category` or `text`) as attributes, instead of adding it to the items.
    pub attributes: bool,
    /// Weight of the attributes of items that are seen.
    #[schemars(range(min = 0, max = 1000000))]
    pub attribute_weight: f64,
    /// Weight of the attributes of hidden items.
    #[schemars(range(min = 0, max = 1000000))]
    pub hidden_attribute_weight: f64,
    /// Terms of `mask` as in S3-Rec's public code: sums, of sigmoids of scores.
    pub released: bool,
    /// Weight of the contrast in `contrast`, lambda.
    #[schemars(range(min = 0, max = 1000000))]
    pub contrast_weight: f64,
    /// Similarities of views are divided by it in `contrast`.
    #[schemars(range(min = 1e-4, max = 1e6))]
    pub temperature: f64,
    /// Share of the events that a crop keeps, eta.
    #[schemars(range(min = 0, max = 1))]
    pub crop: f64,
    /// Share of the events that are hidden, gamma.
    #[schemars(range(min = 0, max = 1))]
    pub mask: f64,
    /// Share of the events that are shuffled, beta.
    #[schemars(range(min = 0, max = 1))]
    pub reorder: f64,
}

impl Default for PretextConfig {
    fn default() -> PretextConfig {
        PretextConfig {
            task: None,
            segment_weight: 0.5,
            attributes: false,
            attribute_weight: 1.0,
            hidden_attribute_weight: 1.0,
            released: false,
            contrast_weight: 0.1,
            temperature: 1.0,
            crop: 0.6,
            mask: 0.3,
            reorder: 0.6,
        }
    }
}

/// See the module's page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum PretextTask {
    /// The next item, by the model's own loss.
    Next,
    /// Hidden items and segments (S3-Rec).
    Mask,
    /// The next item, and the contrast of two views of a history (CL4SRec).
    Contrast,
}

impl PretextConfig {
    /// Checks that there is a task where there are settings; the error names the setting.
    pub fn check(&self) -> Result<()> {
        if self.task.is_none() && *self != PretextConfig::default() {
            let why = "a setting of model.pretext without model.pretext.task has no effect";
            return Err(Error::Usage(format!("{why}; expected a task: next, mask or contrast")));
        }
        let PretextConfig { task, attributes, released, .. } = *self;
        let of_mask = [("attributes", attributes), ("released", released)];
        if let Some((name, _)) = of_mask.iter().find(|(_, set)| *set && task != Some(PretextTask::Mask)) {
            return Err(Error::Usage(format!(
                "model.pretext.{name}: found true; expected model.pretext.task=mask with it"
            )));
        }
        Ok(())
    }

    /// With a task, pre-training on the earlier events and tuning of the whole on the later ones; of data without behaviours
    /// both on all events.
    ///
    /// # Errors
    /// A task other than `mask` where the data have no behaviours.
    pub fn phases(&self, behaviours: bool) -> Result<Vec<Phase>> {
        let Some(task) = self.task else { return Ok(vec![Phase::default()]) };
        if !behaviours && task != PretextTask::Mask {
            let problem = "model.pretext.task is set, but the data have no behaviours: there are no earlier events to pre-train on; \
                 expected mask, which needs none";
            return Err(Error::Usage(problem.to_string()));
        }
        let takes = Take::from("pretrain").free("dropout");
        let (pretrain, tune) = (Phase::new("pretrain"), Phase::new("tune").takes(takes));
        let (pretrain, tune) = match behaviours {
            true => (
                pretrain.learns(Learn::Earlier, EARLIER).keeps("model.safetensors"),
                tune.learns(Learn::Later, EARLIER).keeps("tuned.{target}.safetensors"),
            ),
            false => (pretrain, tune.keeps("model.safetensors")),
        };
        let pretrain = match task {
            PretextTask::Next => pretrain,
            PretextTask::Mask => {
                let pretrain = pretrain.loss(LossKind::Bpr).term(SEGMENTS, self.segment_weight);
                let [seen, hidden] = Attributes::MAPS;
                match self.attributes {
                    true => pretrain.term(seen, self.attribute_weight).term(hidden, self.hidden_attribute_weight),
                    false => pretrain,
                }
            }
            PretextTask::Contrast => pretrain.term(CONTRAST, self.contrast_weight),
        };
        Ok(vec![pretrain, tune])
    }

    /// What is learned in a phase in addition to, or in place of, the model's own loss. `hidden_share`: of positions.
    pub fn of_phase(&self, phase: &Phase, hidden_share: f64) -> Option<Pretext> {
        let PretextConfig { temperature, crop, mask, reorder, released, .. } = *self;
        let mask_items = |segment_weight| Pretext::Mask { hidden_share, segment_weight, released };
        let contrast =
            |weight| Pretext::Contrast { views: Views::Augmented { crop, mask, reorder }, weight, temperature };
        phase.weight(SEGMENTS).map(mask_items).or(phase.weight(CONTRAST).map(contrast))
    }

    /// Whether events are hidden, for which the item table has a row in both phases.
    pub fn hides(&self) -> bool {
        matches!(self.task, Some(PretextTask::Mask | PretextTask::Contrast))
    }
}

/// What is learned in addition to a SASRec's own loss, or in place of it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Pretext {
    Mask {
        /// Share of the positions that are hidden.
        hidden_share: f64,
        segment_weight: f64,
        /// As in the public code.
        released: bool,
    },
    Contrast {
        views: Views,
        weight: f64,
        temperature: f64,
    },
}

impl Pretext {
    pub fn is_mask(&self) -> bool {
        matches!(self, Pretext::Mask { .. })
    }

    /// The weights of attributes of seen items and of hidden ones, if the phase has them.
    pub fn attribute_weights(&self, phase: &Phase) -> Option<[f64; 2]> {
        let [seen, hidden] = Attributes::MAPS.map(|name| phase.weight(name));
        Some([seen?, hidden?])
    }
}

/// A SASRec that is pre-trained.
pub struct PreTrained {
    sasrec: SasRec,
    pretext: Pretext,
    attributes: Option<Attributes>,
    params: Params,
}

impl PreTrained {
    /// `sasrec` has a row for hidden items, and for [`Pretext::Mask`] pads on the left and sees both sides. `attributes` are of
    /// [`Pretext::Mask`].
    pub fn new(sasrec: SasRec, pretext: Pretext, attributes: Option<Attributes>) -> PreTrained {
        // Its own first: they lie where the SASRec looks for them.
        let mut params = sasrec.params().clone();
        if let Pretext::Mask { .. } = pretext {
            let (d, init) = (sasrec.dim(), Init::Normal(0.02));
            let of_attributes = if attributes.is_some() { &Attributes::MAPS[..] } else { &[] };
            for name in ["item", "segment"].iter().chain(of_attributes) {
                params.add(&format!("pretext.{name}.weight"), [d, d], init);
                params.add(&format!("pretext.{name}.bias"), [d], Init::Constant(0.0));
            }
            if let Some(attributes) = &attributes {
                attributes.declare(&mut params, init);
            }
        }
        PreTrained { sasrec, pretext, attributes, params }
    }

    fn is_mask(&self) -> bool {
        self.pretext.is_mask()
    }

    fn is_released(&self) -> bool {
        matches!(self.pretext, Pretext::Mask { released: true, .. })
    }

    /// `x` by one of the linear maps of [`Pretext::Mask`].
    fn linear<'g>(&self, g: &'g Graph, x: Var<'g>, name: &str) -> Var<'g> {
        let var = |part: &str| self.params.var(g, &format!("pretext.{name}.{part}"));
        g.scope(name, || x.linear(var("weight"), Some(var("bias")), Activation::None))
    }

    /// -log sigmoid(context W segment - context W wrong), a mean over the windows of a batch; as released, of the sigmoids of both,
    /// for each hidden place of the `batch`.
    fn segments<'g>(&self, g: &'g Graph, views: &History<'g>, batch: &Batch<'g>) -> Var<'g> {
        let users = self.sasrec.user(g, views);
        let b = users.shape()[0] / 3;
        let [context, segment, wrong] = [0, 1, 2].map(|view| users.slice(0, view * b, b));
        let context = self.linear(g, context, "segment");
        let [right, wrong] = [segment, wrong].map(|segment| (context * segment).sum(1));
        let real = real(views).slice(0, 0, b);
        match self.is_released() {
            true => ((wrong.sigmoid() - right.sigmoid()).softplus() * real).sum(0) / hidden_places(batch),
            false => g.push(Bpr, &[right, wrong.reshape([b, 1]), real]),
        }
    }

    /// The losses of the attributes of seen and of hidden items, of the encoded positions \[B, M, d\]: means over such places; as
    /// released, both for each hidden place.
    fn of_attributes<'g>(
        &self,
        attributes: &Attributes,
        g: &'g Graph,
        encoded: Var<'g>,
        batch: &Batch<'g>,
    ) -> [Var<'g>; 2] {
        let items = batch.history.items;
        let hidden = samples::hidden(self.item_table(g).shape()[0] - 2);
        let n = items.shape().elements();
        let seen = (items.nonzero() * (g.scalar(1.0) - items.equal(g.scalar(hidden as f64)))).reshape([n]);
        let vectors = attributes.vectors(&self.params, g);
        let losses = |x: Var<'g>, name: &str, items: Var<'g>| vectors.losses(self.linear(g, x, name), items);
        let [of_seen, of_hidden] = Attributes::MAPS;
        let of_seen = losses(encoded, of_seen, items);
        let of_hidden = losses(batch.history.at_targets(encoded), of_hidden, batch.positive);
        let of_seen = match self.is_released() {
            true => (of_seen * seen).sum(0) / hidden_places(batch),
            false => weighted_mean(of_seen, seen),
        };
        [of_seen, weighted_mean(of_hidden, batch.weight)]
    }

    /// -log softmax of the other view of the same window among the views of all other windows and itself, a mean over
    /// views.
    fn contrast<'g>(&self, g: &'g Graph, views: &History<'g>, temperature: f64) -> Var<'g> {
        let users = self.sasrec.user(g, views);
        let (n, b) = (users.shape()[0], users.shape()[0] / 2);
        let other = g.concat(0, &[users.slice(0, b, b), users.slice(0, 0, b)]);
        let positive = (users * other).sum(1).scale(1.0 / temperature);
        let negative = users.matmul_t(users).scale(1.0 / temperature);
        // Views of the same window are no negatives, nor are windows that only fill the batch.
        let window = |shape: [usize; 2]| g.constant(Tensor::u32(shape, (0..n).map(|i| (i % b) as u32).collect()));
        let real = real(views);
        let keep = (g.scalar(1.0) - window([n, 1]).equal(window([1, n]))) * real.reshape([1, n]);
        weighted_mean(surprise(positive, negative, Some(keep)), real)
    }
}

/// 1 of each window that has an event, else 0: \[windows\].
fn real<'g>(views: &History<'g>) -> Var<'g> {
    let [n, m] = [views.items.shape()[0], views.items.shape()[1]];
    views.most_recent(views.items.nonzero().reshape([n, m, 1])).reshape([n])
}

/// The number of hidden places, at least 1.
fn hidden_places<'g>(batch: &Batch<'g>) -> Var<'g> {
    batch.weight.sum(0).max(batch.weight.graph().scalar(1.0))
}

impl Model for PreTrained {
    fn name(&self) -> &'static str {
        self.sasrec.name()
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn padding(&self) -> Padding {
        self.sasrec.padding()
    }

    fn reads(&self) -> Reads {
        self.sasrec.reads()
    }

    fn samples(&self) -> Arc<dyn Samples> {
        match self.pretext {
            Pretext::Mask { hidden_share, .. } => Arc::new(Cloze { share: hidden_share as f32 }),
            Pretext::Contrast { .. } => self.sasrec.samples(),
        }
    }

    fn hides(&self) -> bool {
        self.sasrec.hides()
    }

    fn views(&self) -> Option<Views> {
        Some(match self.pretext {
            Pretext::Mask { .. } => Views::Segments,
            Pretext::Contrast { views, .. } => views,
        })
    }

    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        // All views are encoded at once, and compared with each other.
        let windows = batch * self.views().map_or(1, Views::count);
        let row = window * self.sasrec.dim();
        let widest = match self.is_mask() || row > windows {
            true => ("batch x views x data.max_len x model.dim", vec![windows, row]),
            false => ("batch x views, squared", vec![windows, windows]),
        };
        let of_places = self.sasrec.counted(windows, window).unwrap_or(widest);
        let Some(attributes) = &self.attributes else { return Some(of_places) };
        // Scores, their exponentials and the gradients of both.
        let scores = vec![batch, window, attributes.count(), 4 * size_of::<f32>()];
        let what = "train.batch x data.max_len x attributes (model.pretext.attributes) x 16 bytes";
        let size = |factors: &[usize]| factors.iter().map(|&n| n as f64).product::<f64>();
        Some(if size(&scores) > size(&of_places.1) { (what, scores) } else { of_places })
    }

    fn given(&self) -> Result<Vec<(&'static str, Tensor)>> {
        self.sasrec.given()
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.sasrec.item_table(g)
    }

    fn table<'g>(&self, g: &'g Graph, column: &str) -> Option<Var<'g>> {
        self.sasrec.table(g, column)
    }

    /// Attributes of targets are gathered under any loss.
    fn own_table<'g>(&self, g: &'g Graph, column: &str) -> Option<Var<'g>> {
        let gathers = self.attributes.is_some() && column == "positive";
        if gathers { Some(self.item_table(g)) } else { self.sasrec.own_table(g, column) }
    }

    fn second_table<'g>(&self, g: &'g Graph) -> Option<Var<'g>> {
        let attributes = self.attributes.as_ref().map(|attributes| attributes.vectors(&self.params, g).of_items);
        attributes.or_else(|| self.sasrec.second_table(g))
    }

    fn target_table<'g>(&self, g: &'g Graph) -> Option<Var<'g>> {
        self.sasrec.target_table(g)
    }

    fn output<'g>(&self, g: &'g Graph) -> Option<Output<'g>> {
        self.sasrec.output(g)
    }

    fn shown<'g>(&self, g: &'g Graph, history: &History<'g>) -> Option<Interests<'g>> {
        self.sasrec.shown(g, history)
    }

    fn interest_weights<'g>(&self, g: &'g Graph, users: Var<'g>, items: Var<'g>) -> Var<'g> {
        self.sasrec.interest_weights(g, users, items)
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        if !self.is_mask() {
            return self.sasrec.user(g, history);
        }
        let items = self.item_table(g).shape()[0] - 2;
        self.linear(g, self.sasrec.user(g, &history.with_hidden(samples::hidden(items), None)), "item")
    }

    fn positions<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let positions = self.sasrec.positions(g, history);
        if self.is_mask() { self.linear(g, positions, "item") } else { positions }
    }

    fn trained<'g>(&self, g: &'g Graph, batch: &Batch<'g>) -> Trained<'g> {
        let views = batch.views.expect("a batch with the model's views");
        let (name, term, weight) = g.scope("views", || match self.pretext {
            Pretext::Mask { segment_weight, .. } => (SEGMENTS, self.segments(g, &views, batch), segment_weight),
            Pretext::Contrast { weight, temperature, .. } => (CONTRAST, self.contrast(g, &views, temperature), weight),
        });
        let mut all = vec![(name, term.scale(weight))];
        let rows = match &self.attributes {
            None => self.scored(g, batch),
            Some(attributes) => {
                let encoded = self.sasrec.positions(g, &History { targets: None, ..batch.history });
                let of_attributes = g.scope("attributes", || self.of_attributes(attributes, g, encoded, batch));
                let weighted =
                    of_attributes.into_iter().zip(attributes.weights()).map(|(term, weight)| term.scale(weight));
                all.extend(Attributes::MAPS.into_iter().zip(weighted));
                let rows = self.linear(g, batch.history.at_targets(encoded), "item");
                rows.reshape([batch.weight.shape()[0], self.sasrec.dim()])
            }
        };
        let terms = all.iter().map(|(_, term)| *term).collect();
        Trained { rows, terms, reported: all.into_iter().map(|(name, term)| (name.to_string(), term)).collect() }
    }

    fn scores<'g>(&self, g: &'g Graph, rows: Var<'g>, candidates: Candidates<'g>) -> Var<'g> {
        let scores = self.sasrec.scores(g, rows, candidates);
        // A sigmoid ranks as its argument does, as far as its digits go.
        if self.is_released() && g.is_training() { scores.sigmoid() } else { scores }
    }
}
