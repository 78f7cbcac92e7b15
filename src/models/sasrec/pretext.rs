//! Pre-training of a SASRec by more than its own loss (`model.pretext.task`), on the earlier events; it is then tuned
//! whole, by its own loss, on the later ones. The network that is tuned is the same whatever the task, up to a row for
//! hidden items.
//!
//! | `task` | what is minimised |
//! |---|---|
//! | `next` | SASRec's own loss |
//! | `mask` | S3-Rec (Zhou et al., CIKM 2020): masked item prediction, and `segment_weight` times segment prediction |
//! | `contrast` | CL4SRec (Xie et al., ICDE 2022): SASRec's own loss, and `contrast_weight` times the contrast of two views |
//!
//! S3-Rec's two tasks on attributes are left out, as DPCPL does in its comparison ("we only compare the mask item
//! prediction (MIP) and [..] segment prediction (SP)", section 5.1.2). The encoder sees both sides there, in tuning the
//! left one alone. Scores are F W e and, of segments, context W segment, each -log sigmoid of right against wrong.
//! Places are hidden as for BERT4Rec (`model.hidden_share`; the published code hides the last position of every window
//! too); a hidden event of a segment hides its behaviour with it. To validate, a hidden position is put after the
//! history.
//!
//! CL4SRec's views are compared by dot products over `temperature`, the two of a window against all others of the
//! batch. Its operators' shares are as implementations usually have them; the paper chooses them for each data set.
//! Alone, the contrast never asks for an item and could not be validated by one; as published it is added to the loss
//! of the next item.

use super::SasRec;
use crate::data::Learn;
use crate::data::samples::{self, Cloze, Samples};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::bpr::Bpr;
use crate::kernels::matmul::Activation;
use crate::models::loss::{surprise, weighted_mean};
use crate::models::phase::{Phase, Take};
use crate::models::{Batch, History, Interests, LossKind, Model, Output, Padding, Reads, Trained, Views};
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
        Ok(())
    }

    /// With a task, pre-training on the earlier events and tuning of the whole on the later ones.
    ///
    /// # Errors
    /// A task where the data have no behaviours.
    pub fn phases(&self, behaviours: bool) -> Result<Vec<Phase>> {
        let Some(task) = self.task else { return Ok(vec![Phase::default()]) };
        if !behaviours {
            let problem =
                "model.pretext.task is set, but the data have no behaviours: there is nothing to pre-train on then";
            return Err(Error::Usage(problem.to_string()));
        }
        let pretrain = Phase::new("pretrain").learns(Learn::Earlier, EARLIER).keeps("model.safetensors");
        let pretrain = match task {
            PretextTask::Next => pretrain,
            PretextTask::Mask => pretrain.loss(LossKind::Bpr).term(SEGMENTS, self.segment_weight),
            PretextTask::Contrast => pretrain.term(CONTRAST, self.contrast_weight),
        };
        let takes = Take::from("pretrain").free("dropout");
        let tune = Phase::new("tune").learns(Learn::Later, EARLIER).takes(takes).keeps("tuned.{target}.safetensors");
        Ok(vec![pretrain, tune])
    }

    /// What is learned in a phase in addition to, or in place of, the model's own loss. `hidden_share`: of positions.
    pub fn of_phase(&self, phase: &Phase, hidden_share: f64) -> Option<Pretext> {
        let PretextConfig { temperature, crop, mask, reorder, .. } = *self;
        let mask_items = |segment_weight| Pretext::Mask { hidden_share, segment_weight };
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
    /// Share of the positions that are hidden; the weight of segments.
    Mask {
        hidden_share: f64,
        segment_weight: f64,
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
}

/// A SASRec that is pre-trained.
pub struct PreTrained {
    sasrec: SasRec,
    pretext: Pretext,
    params: Params,
}

impl PreTrained {
    /// `sasrec` has a row for hidden items, and for [`Pretext::Mask`] pads on the left and sees both sides.
    pub fn new(sasrec: SasRec, pretext: Pretext) -> PreTrained {
        // Its own first: they lie where the SASRec looks for them.
        let mut params = sasrec.params().clone();
        if let Pretext::Mask { .. } = pretext {
            let d = sasrec.dim();
            for name in ["pretext.item", "pretext.segment"] {
                params.add(&format!("{name}.weight"), [d, d], Init::Normal(0.02));
                params.add(&format!("{name}.bias"), [d], Init::Constant(0.0));
            }
        }
        PreTrained { sasrec, pretext, params }
    }

    fn is_mask(&self) -> bool {
        self.pretext.is_mask()
    }

    /// `x` by one of the linear maps of [`Pretext::Mask`].
    fn linear<'g>(&self, g: &'g Graph, x: Var<'g>, name: &str) -> Var<'g> {
        let var = |part: &str| self.params.var(g, &format!("pretext.{name}.{part}"));
        g.scope(name, || x.linear(var("weight"), Some(var("bias")), Activation::None))
    }

    /// -log sigmoid(context W segment - context W wrong), a mean over the windows of a batch.
    fn segments<'g>(&self, g: &'g Graph, views: &History<'g>) -> Var<'g> {
        let users = self.sasrec.user(g, views);
        let b = users.shape()[0] / 3;
        let [context, segment, wrong] = [0, 1, 2].map(|view| users.slice(0, view * b, b));
        let context = self.linear(g, context, "segment");
        let [right, wrong] = [segment, wrong].map(|segment| (context * segment).sum(1));
        g.push(Bpr, &[right, wrong.reshape([b, 1]), real(views).slice(0, 0, b)])
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
        self.sasrec.counted(windows, window).or(Some(widest))
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.sasrec.item_table(g)
    }

    fn table<'g>(&self, g: &'g Graph, column: &str) -> Option<Var<'g>> {
        self.sasrec.table(g, column)
    }

    fn own_table<'g>(&self, g: &'g Graph, column: &str) -> Option<Var<'g>> {
        self.sasrec.own_table(g, column)
    }

    fn second_table<'g>(&self, g: &'g Graph) -> Option<Var<'g>> {
        self.sasrec.second_table(g)
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
            Pretext::Mask { segment_weight, .. } => ("segments", self.segments(g, &views), segment_weight),
            Pretext::Contrast { weight, temperature, .. } => {
                ("contrast", self.contrast(g, &views, temperature), weight)
            }
        });
        let term = term.scale(weight);
        Trained { rows: self.scored(g, batch), terms: vec![term], reported: vec![(name.into(), term)] }
    }
}
