//! TERACON: Kim, Lee, Kim et al., "Task relation-aware continual user representation learning" (KDD 2023), on a SASRec: what PCL is
//! compared with.
//!
//! One network learns task after task. Each task has a mask for the output of every attention and feed-forward, and what was learned
//! before is retained by imitating the network as it was.
//!
//! | of the paper | here |
//! |---|---|
//! | a task's masks, from its embedding e_t and plus and minus those of the others | [`Teracon::masks`]: sigmoid(s (w_t tanh(s [e_t; e_i; -e_i]) + b_t)); of the first task sigmoid(s e_t) |
//! | annealing of s, 1 / s_max to s_max over the batches of an epoch | s from the column `progress`; s_max in evaluation |
//! | retention: the squared distance from the former network's outputs | [`retention`], times `model.retention` |
//! | the share of users that an earlier task is retained on | 1 - the mean sigmoid(6 cos) of its former masks and the new task's, from the masks as they are |
//!
//! Embeddings of masks are cut at -6 and 6. Relations of tasks act through masks and shares alone: the published code has no loss
//! for them. An item is scored by its embedding, a class by the task's adapter; former outputs of a task of items are those of all items.
//! Vectors of categories stay as their own task has left them.

use super::asks::Asks;
use super::sasrec::{Parts, Positions, SasRec};
use super::scores::Output;
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::tasks::{self, Adapter, LabelsLearned, Learning, TaskConfig, TaskPhase};
use super::{Batch, History, LossKind, Model, Padding, Phase, Reads, Samples, TaskShape, Trained};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::random::Noise;
use crate::models::phase::{Replaces, Take};
use crate::nn::encoder::{Encoder, Norm};
use crate::nn::{Init, Params};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Settings of TERACON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Blocks.
    #[schemars(range(min = 1, max = 256))]
    pub layers: usize,
    /// Attention heads; a divisor of `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub heads: usize,
    /// Width inside a feed-forward. Not given: 4 `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub inner: Option<usize>,
    /// Share of the embeddings, the attention weights and the outputs of each half of a block that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// Weight of the retention of earlier tasks, alpha.
    #[schemars(range(max = 1e6), extend("exclusiveMinimum" = 0.0))]
    pub retention: f64,
    /// What the scale of the masks' inputs grows to over an epoch, s_max.
    #[schemars(range(min = 1, max = 1e4))]
    pub mask_scale: f64,
    /// The map to classes.
    pub adapter: Adapter,
    /// Which labels of a user are learned in the tasks after the first.
    pub labels: LabelsLearned,
    /// Labels are learned of this number of a user's last events before the cut; 0: of all.
    pub label_window: usize,
    /// Seed of the split of users in tasks of users.
    #[schemars(range(max = 9223372036854775807u64))]
    pub split_seed: u64,
    /// The tasks, in order; the first is of items. `--task FILE` reads them from a file of `[[task]]`.
    pub task: Vec<TaskConfig>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dim: 64,
            layers: 2,
            heads: 2,
            inner: None,
            dropout: 0.2,
            retention: 0.7,
            mask_scale: 50.0,
            adapter: Adapter::Linear,
            labels: LabelsLearned::All,
            label_window: 50,
            split_seed: 1,
            task: tasks::usual(),
        }
    }
}

/// What the names of the parameters of the network before the task begin with.
const FORMER: &str = "former.";

/// The elements of a mask's embedding are cut off at plus and minus this.
const LARGEST_EMBEDDING: f64 = 6.0;

impl spec::Settings for Settings {
    fn check(&self) -> Result<()> {
        tasks::check(&self.task)?;
        let (dim, heads) = (self.dim, self.heads);
        match dim.is_multiple_of(heads) {
            true => Ok(()),
            false => Err(Error::Usage(format!("model.heads: found {heads}; expected a divisor of model.dim, {dim}"))),
        }
    }

    fn phases(&self, _: bool) -> Result<Vec<Phase>> {
        tasks::check(&self.task)?;
        let learning = Learning::of(self.labels, self.label_window, self.split_seed);
        let task = |at: usize| TaskPhase::of(&self.task, at, learning);
        let name = |at: usize| &self.task[at].name;
        let of = |at: usize| {
            if at == 0 {
                return Phase::of_task(task(at));
            }
            let former = Take::from(name(at - 1)).but("category_embedding.*");
            // The weights of the masks are of other tasks now: they are re-initialised.
            let new = [format!("masks.*.embedding.{}", name(at)), format!("adapter.{}.*", name(at))];
            let own = former.clone().but("masks.*.weight.*").but("masks.*.bias.*");
            let own = new.into_iter().fold(own, Take::but);
            let categories =
                (0..at).map(|at| Take::from(name(at)).only([&*format!("category_embedding.{}", name(at))]));
            let trains = ["item_embedding", "position_embedding", "encoder.*", "masks.*", "adapter.*"];
            let phase = Phase::of_task(task(at)).knows((0..at).map(task).collect());
            let phase = phase.takes(own.but(format!("{FORMER}*"))).takes(former.called(FORMER));
            let phase = categories.fold(phase, Phase::takes).replaces(Replaces::All);
            trains.into_iter().fold(phase, Phase::trains).trains(format!("category_embedding.{}", name(at)))
        };
        Ok((0..self.task.len()).map(of).collect())
    }

    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        let Settings { dim, layers, heads, inner, dropout, adapter, retention, mask_scale, .. } = *self;
        let parts = Parts {
            items: task.items,
            max_len: task.max_len,
            encoder: Encoder::new(Norm::Post, true, (dim, layers, heads), inner, dropout)?,
            positions: Positions::All,
            behaviours: 0,
            hides: false,
        };
        let asks = Asks::new(task, adapter).named();
        let learned = match &task.together[..] {
            [] => vec![task.shape()],
            learned => learned.to_vec(),
        };
        if task.tower.is_some() && learned.len() > 1 {
            let why = "expected none: the network before a task is kept with items' own vectors";
            return Err(Error::Usage(format!("model.features: found some in task {}; {why}", asks.task())));
        }
        Ok(Box::new(Teracon::new(
            parts,
            Padding::Left,
            task.params(),
            asks,
            &learned,
            Masking { retention, mask_scale },
        )))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "teracon",
    title: "task after task by masks, retained by imitation",
    paper: "Kim, Lee, Kim et al., \"Task relation-aware continual user representation learning\" (KDD 2023)",
    loss: Some(LossKind::Bce),
    presets: &[Preset { name: "paper", settings: &["train.lr=1e-3"] }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

/// How tasks are masked and retained: see [`Settings`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Masking {
    pub retention: f64,
    pub mask_scale: f64,
}

/// A network: as it is, or as it was before the task.
struct Network {
    sasrec: SasRec,
    /// Of the tasks that were learned by then.
    asks: Vec<Asks>,
    prefix: &'static str,
}

pub struct Teracon {
    params: Params,
    now: Network,
    /// None in the first task.
    former: Option<Network>,
    /// The number of the task among those learned.
    at: usize,
    masking: Masking,
}

/// What a task after the first retains of an earlier one.
pub struct Retained<'g> {
    /// Masks of the former network, of this one, and outputs of both, \[B, n\]: of all items, or of the classes.
    pub masks: [Vec<Var<'g>>; 2],
    pub outputs: [Var<'g>; 2],
    /// The share of users that it is retained on, a number; without a gradient.
    pub share: Var<'g>,
}

impl Network {
    fn declare(parts: &Parts, padding: Padding, params: &mut Params, asks: Vec<Asks>, prefix: &'static str) -> Network {
        let Encoder { layers, dim, .. } = parts.encoder;
        let name = if prefix.is_empty() { parts.encoder.name } else { "former.encoder" };
        let parts = Parts { encoder: Encoder { name, ..parts.encoder }, ..parts.clone() };
        let sasrec = SasRec::called(prefix, parts, params.clone()).padded(padding);
        *params = sasrec.params().clone();
        let network = Network { sasrec, asks, prefix };
        let width = 2 * network.asks.len() - 1;
        for (at, asks) in network.asks.iter().enumerate() {
            for half in 0..2 * layers {
                params.add(&network.mask(half, "embedding", at), [dim], Init::Normal(1.0));
                if width > 1 {
                    let std = (3.0 * width as f64).sqrt().recip();
                    params.add(&network.mask(half, "weight", at), [width], Init::Normal(std));
                    params.add(&network.mask(half, "bias", at), [1], Init::Constant(0.0));
                }
            }
            // Vectors of categories are the same before and after.
            match prefix.is_empty() {
                true => asks.declare(params, dim),
                false => {
                    asks.of(&TaskShape { categories: Arc::default(), ..asks.shape().clone() }).declare(params, dim)
                }
            }
        }
        network
    }

    /// The name of a parameter of a task's mask: of the attention or the feed-forward of a block.
    fn mask(&self, half: usize, what: &str, task: usize) -> String {
        let of = ["attention", "feed_forward"][half % 2];
        format!("{}masks.{}.{of}.{what}.{}", self.prefix, half / 2, self.asks[task].task())
    }
}

impl Teracon {
    /// `asks`: of the task that the model is for, one of those `learned`.
    ///
    /// # Panics
    /// If it is none of them.
    pub fn new(
        parts: Parts,
        padding: Padding,
        mut params: Params,
        asks: Asks,
        learned: &[TaskShape],
        masking: Masking,
    ) -> Teracon {
        let at = learned.iter().position(|shape| shape.name == asks.task()).expect("the task is among those learned");
        let of = |shape: &TaskShape| asks.of(shape);
        let now = Network::declare(&parts, padding, &mut params, learned.iter().map(of).collect(), "");
        let before = &learned[..learned.len() - 1];
        let former = (!before.is_empty()).then(|| {
            let asks = before.iter().map(|shape| asks.of(shape).called(FORMER)).collect();
            Network::declare(&parts, padding, &mut params, asks, FORMER)
        });
        Teracon { params, now, former, at, masking }
    }

    /// The scale s of a batch's masks, a number: [`Masking::mask_scale`] in evaluation.
    pub fn scale<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let (most, least) = (self.masking.mask_scale, self.masking.mask_scale.recip());
        match history.progress {
            Some(progress) => progress.scale(most - least) + g.scalar(least),
            None => g.constant(crate::tensor::Tensor::f32([1], vec![most as f32])),
        }
    }

    /// A task's masks at scale `s`, \[d\] each: of the attention and the feed-forward of each block, as this network has them, or the
    /// former.
    pub fn masks<'g>(&self, g: &'g Graph, former: bool, task: usize, s: Var<'g>) -> Vec<Var<'g>> {
        let network = self.network(former);
        let halves = 2 * network.sasrec.layers();
        let var = |half, what: &str, task| self.params.var(g, &network.mask(half, what, task));
        let embedding = |half, task| {
            let limit = g.scalar(LARGEST_EMBEDDING);
            var(half, "embedding", task).min(limit).max(-limit)
        };
        let of = |half: usize| {
            if network.asks.len() == 1 {
                return (embedding(half, task) * s).sigmoid();
            }
            let (weight, bias) = (var(half, "weight", task), var(half, "bias", task));
            let weight = |at: usize| weight.slice(0, at, 1);
            let squashed = |task| (embedding(half, task) * s).tanh();
            let others = (0..network.asks.len()).filter(|&other| other != task).enumerate();
            // w+ tanh(s e) + w- tanh(-s e).
            let terms = others.map(|(at, other)| (weight(1 + 2 * at) - weight(2 + 2 * at)) * squashed(other));
            let sum = terms.fold(weight(0) * squashed(task), |sum, term| sum + term);
            ((sum + bias) * s).sigmoid()
        };
        g.scope("masks", || (0..halves).map(of).collect())
    }

    /// Users \[B, d\] as a task reads them.
    pub fn user_by<'g>(
        &self,
        g: &'g Graph,
        history: &History<'g>,
        former: bool,
        task: usize,
        masks: &[Var<'g>],
    ) -> Var<'g> {
        let network = self.network(former);
        // What is imitated has no dropout.
        let history = &History { training: history.training && !former, ..*history };
        let items = network.sasrec.item_table(g).gather(history.items);
        // The former network reads the vectors of categories of this one.
        let items = match self.now.asks[task].second_table(&self.params, g) {
            Some(of_categories) if task == self.at => items + of_categories.gather(history.items),
            Some(of_categories) => items + of_categories.stop_gradient().gather(history.items),
            None => items,
        };
        let user = network.sasrec.user_masked(g, history, items, masks);
        network.asks[task].adapted(&self.params, g, user)
    }

    /// Scores of `users` \[B, d\] in a task, \[B, n\]: of all items, or of the classes.
    pub fn outputs<'g>(&self, g: &'g Graph, users: Var<'g>, former: bool, task: usize) -> Var<'g> {
        let network = self.network(former);
        let output = network.asks[task].output(&self.params, g).or_else(|| network.sasrec.output(g));
        let Output { table, bias, classes, .. } = output.expect("a SASRec scores by products");
        let n = classes.len();
        let scores = users.matmul_t(table.slice(0, classes.start, n));
        bias.map_or(scores, |bias| scores + bias.slice(0, classes.start, n).reshape([1, n]))
    }

    /// What the task, with `masks`, retains of each earlier one.
    pub fn retained<'g>(
        &self,
        g: &'g Graph,
        history: &History<'g>,
        s: Var<'g>,
        masks: &[Var<'g>],
    ) -> Vec<Retained<'g>> {
        let earlier = self.former.as_ref().map_or(0, |former| former.asks.len());
        let of = |task: usize| {
            let [was, is] = [true, false].map(|former| self.masks(g, former, task, s));
            let outputs = [(true, &was), (false, &is)]
                .map(|(former, masks)| self.outputs(g, self.user_by(g, history, former, task, masks), former, task));
            let alike = |(a, b): (&Var<'g>, &Var<'g>)| {
                let cosine = (*a * *b).sum(0) / ((*a * *a).sum(0) * (*b * *b).sum(0)).sqrt();
                cosine.scale(6.0).sigmoid().scale(1.0 / was.len() as f64)
            };
            let alike = was.iter().zip(masks).map(alike).reduce(|a, b| a + b).expect("a network has blocks");
            let share = (g.scalar(1.0) - alike).stop_gradient();
            Retained { masks: [was, is], outputs: [outputs[0].stop_gradient(), outputs[1]], share }
        };
        (0..earlier).map(|task| g.scope(&format!("retained.{task}"), || of(task))).collect()
    }

    fn network(&self, former: bool) -> &Network {
        if former { self.former.as_ref().expect("a task after the first") } else { &self.now }
    }
}

/// The mean squared distance of a task's outputs \[B, n\] from the former ones, of users with `kept` \[B\] 1 and not 0; 0 of none.
pub fn distance<'g>(of: &Retained<'g>, kept: Var<'g>) -> Var<'g> {
    let n = of.outputs[0].shape()[1] as f64;
    let each = (of.outputs[1] - of.outputs[0]).square().sum(1).scale(1.0 / n);
    (each * kept).sum(0) / kept.sum(0).max(kept.graph().scalar(1.0))
}

/// The mean of the earlier tasks' distances by their shares.
pub fn retention<'g>(shares: &[Var<'g>], distances: &[Var<'g>]) -> Var<'g> {
    let total = shares.iter().copied().reduce(|a, b| a + b).expect("an earlier task");
    let terms = shares.iter().zip(distances).map(|(share, distance)| *share / total * *distance);
    terms.reduce(|a, b| a + b).expect("an earlier task")
}

impl Model for Teracon {
    fn name(&self) -> &'static str {
        SPEC.name
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn padding(&self) -> Padding {
        self.now.sasrec.padding()
    }

    fn reads(&self) -> Reads {
        Reads { progress: true, ..self.now.sasrec.reads() }
    }

    fn samples(&self) -> Arc<dyn Samples> {
        self.now.asks[self.at].samples(&self.now.sasrec)
    }

    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        self.now.sasrec.counted(batch, window)
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.now.sasrec.item_table(g)
    }

    fn second_table<'g>(&self, g: &'g Graph) -> Option<Var<'g>> {
        self.now.asks[self.at].second_table(&self.params, g)
    }

    fn output<'g>(&self, g: &'g Graph) -> Option<Output<'g>> {
        self.now.asks[self.at].output(&self.params, g).or_else(|| self.now.sasrec.output(g))
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let masks = self.masks(g, false, self.at, self.scale(g, history));
        self.user_by(g, history, false, self.at, &masks)
    }

    fn positions<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let masks = self.masks(g, false, self.at, self.scale(g, history));
        self.now.sasrec.positions_masked(g, history, &masks)
    }

    fn trained<'g>(&self, g: &'g Graph, batch: &Batch<'g>) -> Trained<'g> {
        let trained = Trained::rows(self.scored(g, batch));
        let Masking { retention: weight, .. } = self.masking;
        if self.former.is_none() {
            return trained;
        }
        let s = self.scale(g, &batch.history);
        let retained = self.retained(g, &batch.history, s, &self.masks(g, false, self.at, s));
        let users = batch.weight.nonzero();
        let distances: Vec<Var> = retained
            .iter()
            .enumerate()
            .map(|(task, of)| {
                let drawn = g.scope(&format!("kept.{task}"), || g.noise(Noise::Uniform, batch.weight.shape()));
                distance(of, of.share.greater(drawn) * users)
            })
            .collect();
        let shares: Vec<Var> = retained.iter().map(|of| of.share).collect();
        let term = retention(&shares, &distances).reshape([]);
        Trained { reported: vec![("retention".to_string(), term)], terms: vec![term.scale(weight)], ..trained }
    }
}
