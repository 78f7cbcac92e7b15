//! PCL: Yang et al., "PCL: Prompt-based continual learning for user modeling in recommender systems" (WWW Companion 2025).
//!
//! A SASRec is trained on the first of a list of tasks and frozen. Each later one has prompts that are added to the last items of a
//! history, and classes an adapter: nothing of an earlier task changes, so that none is forgotten.
//!
//! | of the paper | here |
//! |---|---|
//! | equation 1, position-wise prompts | `prompts.positions`, taken from the task before |
//! | equation 2, contextual prompts | `prompts.attention.*` over `prompts.tasks`, a frozen vector for each task |
//! | equation 3, both added to the last t items | [`Pcl::prompts`] |
//! | section 3.3, the adapter f_k | `adapter.*`: the output table of a task of classes |
//! | section 3.3, task-related attributes | `categories`, a vector for the category of each event |
//!
//! Within one task the contextual prompt is a constant that is added to all prompts, so that equations 1 and 3 hold no more together
//! than equation 1 alone: what differs is how they are learned. Each task's file has its own attention and the vectors that it saw, so
//! that a later task changes no earlier prompt.
//!
//! `model.method` has the paper's comparisons on the same network, without prompts: `scratch` (SASRec for each task), `fine-all` (all of
//! the first task's model is tuned), `sinmo` (one model, task after task).

use super::asks::Asks;
use super::sasrec::{Parts, Positions, SasRec};
use super::scores::Output;
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::tasks::{self, Adapter, LabelsLearned, Learning, TaskConfig, TaskPhase};
use super::{History, LossKind, Model, Padding, Phase, Reads, Samples};
use crate::data::items::vectors_of;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::models::phase::{Replaces, Take};
use crate::nn::encoder::{Encoder, Norm};
use crate::nn::{Init, Params, orthogonal};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// How a task after the first is learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Method {
    /// By prompts on the frozen model of the first task (PCL).
    #[default]
    Prompts,
    /// By a model of its own (SASRec).
    Scratch,
    /// By tuning all of the first task's model (FineAll).
    FineAll,
    /// By tuning all of the last task's model (SinMo): it forgets.
    Sinmo,
}

/// What a task's contextual prompt comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Context {
    /// Attention among all tasks that are known when it is learned.
    #[default]
    All,
    /// Attention among it and the tasks before it.
    Earlier,
    /// No contextual prompt.
    Off,
}

/// Settings of PCL.
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
    /// How a task after the first is learned.
    pub method: Method,
    /// The last items of a history that have prompts, t.
    #[schemars(range(min = 1, max = 1048576))]
    pub prompted: usize,
    /// Weight of the contextual prompt, lambda.
    pub intensity: f64,
    /// What contextual prompts come from.
    pub context: Context,
    /// Heads of the attention among tasks; a divisor of `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub context_heads: usize,
    /// Vectors of the tasks' descriptions, a row each: .safetensors or .npy. Of another width than `dim` they are projected by a fixed
    /// random orthogonal map. Not given: random ones.
    pub vectors: Option<PathBuf>,
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
            method: Method::Prompts,
            prompted: 10,
            intensity: 0.1,
            context: Context::All,
            context_heads: 2,
            vectors: None,
            adapter: Adapter::Linear,
            labels: LabelsLearned::All,
            label_window: 50,
            split_seed: 1,
            task: tasks::usual(),
        }
    }
}

/// Parameters of a task's own, which no other takes.
const OWN: [&str; 3] = ["prompts.*", "adapter.*", "category_embedding"];

/// Settings that may differ from those of the run that the first task's model is taken from.
const FREE: [&str; 12] = [
    "method",
    "prompted",
    "intensity",
    "context",
    "context_heads",
    "vectors",
    "adapter",
    "labels",
    "label_window",
    "split_seed",
    "task",
    "dropout",
];

impl spec::Settings for Settings {
    fn check(&self) -> Result<()> {
        tasks::check(&self.task)?;
        for (key, heads) in [("heads", self.heads), ("context_heads", self.context_heads)] {
            if !self.dim.is_multiple_of(heads) {
                let dim = self.dim;
                return Err(Error::Usage(format!(
                    "model.{key}: found {heads}; expected a divisor of model.dim, {dim}"
                )));
            }
        }
        Ok(())
    }

    fn phases(&self, _: bool) -> Result<Vec<Phase>> {
        tasks::check(&self.task)?;
        let learning = Learning::of(self.labels, self.label_window, self.split_seed);
        let all = &self.task;
        let taken = |name: &str| {
            let take = OWN.iter().fold(Take::from(name), |take, own| take.but(*own));
            FREE.iter().fold(take, |take, free| take.free(*free))
        };
        let of = |at: usize| {
            let phase = Phase::of_task(TaskPhase::of(all, at, learning));
            match (at, self.method) {
                (0, _) | (_, Method::Scratch) => phase,
                (_, Method::FineAll) => phase.takes(taken(&all[0].name)),
                (_, Method::Sinmo) => phase.takes(taken(&all[at - 1].name)).replaces(Replaces::Taken),
                (_, Method::Prompts) => {
                    let phase = phase.takes(taken(&all[0].name));
                    let inherited = ["prompts.positions", "prompts.attention.*"];
                    let phase = match at {
                        1 => phase,
                        _ => phase.takes(Take::from(&all[at - 1].name).only(inherited)),
                    };
                    let own = ["prompts.positions", "prompts.attention.*", "adapter.*", "category_embedding"];
                    own.into_iter().fold(phase, Phase::trains)
                }
            }
        };
        Ok((0..all.len()).map(of).collect())
    }

    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        let Settings { dim, layers, heads, inner, dropout, .. } = *self;
        let of_phase = task.phase.task.as_deref().expect("a phase of PCL is a task");
        let at = of_phase.tasks.at;
        let parts = Parts {
            items: task.items,
            max_len: task.max_len,
            encoder: Encoder::new(Norm::Post, true, (dim, layers, heads), inner, dropout)?,
            positions: Positions::All,
            behaviours: 0,
            hides: false,
        };
        let prompted = at > 0 && self.method == Method::Prompts;
        if prompted && self.prompted > task.max_len {
            let (found, most) = (self.prompted, task.max_len);
            return Err(Error::Usage(format!(
                "model.prompted: found {found}; expected at most data.max_len, {most}: the last items of a window have prompts"
            )));
        }
        let seen = if self.context == Context::Earlier { at + 1 } else { of_phase.known };
        let context = (self.context != Context::Off).then(|| Described {
            task: at,
            names: of_phase.tasks.all[..seen].iter().map(|task| task.name.clone()).collect(),
            heads: self.context_heads,
            vectors: self.vectors.clone(),
            seed: task.seed,
        });
        let prompts = prompted.then_some(Prompts { last: self.prompted, intensity: self.intensity, context });
        let sasrec = SasRec::new(parts, task.params()).padded(Padding::Left);
        Ok(Box::new(Pcl::new(sasrec, prompts, Asks::new(task, self.adapter))))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "pcl",
    title: "task after task by prompts, none forgotten",
    paper: "Yang et al., \"PCL: Prompt-based continual learning for user modeling in recommender systems\" (WWW Companion 2025)",
    loss: Some(LossKind::Bce),
    presets: &[Preset { name: "paper", settings: &["train.lr=1e-3"] }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

/// What is added to the last items of a history.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompts {
    /// t.
    pub last: usize,
    /// lambda.
    pub intensity: f64,
    pub context: Option<Described>,
}

/// The tasks that a contextual prompt comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Described {
    /// The number of this task among them.
    pub task: usize,
    /// Names of all.
    pub names: Vec<String>,
    pub heads: usize,
    /// Where their vectors come from; none: they are random.
    pub vectors: Option<PathBuf>,
    /// Of the map to the model's width.
    pub seed: u64,
}

pub struct Pcl {
    sasrec: SasRec,
    params: Params,
    prompts: Option<Prompts>,
    asks: Asks,
}

impl Pcl {
    /// `sasrec`: padded on the left.
    pub fn new(sasrec: SasRec, prompts: Option<Prompts>, asks: Asks) -> Pcl {
        let (mut params, d) = (sasrec.params().clone(), sasrec.dim());
        if let Some(Prompts { last, context, .. }) = &prompts {
            params.add("prompts.positions", [*last, d], Init::Normal(0.02));
            if let Some(Described { names, .. }) = context {
                params.add("prompts.tasks", [names.len(), d], Init::Normal((d as f64).sqrt().recip()));
                for part in ["query", "key", "value", "output"] {
                    params.add(&format!("prompts.attention.{part}"), [d, d], Init::Normal((d as f64).sqrt().recip()));
                }
            }
        }
        asks.declare(&mut params, d);
        Pcl { sasrec, params, prompts, asks }
    }

    /// What is added to the items of every window, \[M, d\]; none without prompts.
    pub fn prompts<'g>(&self, g: &'g Graph) -> Option<Var<'g>> {
        let Prompts { last, intensity, context } = self.prompts.as_ref()?;
        let m = self.sasrec.max_len();
        let positions = self.params.var(g, "prompts.positions");
        let added = match context {
            Some(context) => positions + self.contextual(g, context).scale(*intensity),
            None => positions,
        };
        Some(match m - last {
            0 => added,
            free => g.concat(0, &[g.constant(Tensor::zeros([free, added.shape().last_dim()])), added]),
        })
    }

    /// Equation 2: the contextual prompt of this task, \[1, d\].
    fn contextual<'g>(&self, g: &'g Graph, context: &Described) -> Var<'g> {
        let (tasks, d) = (self.params.var(g, "prompts.tasks"), self.sasrec.dim());
        let n = context.names.len();
        let map = |x: Var<'g>, part: &str| {
            x.linear(self.params.var(g, &format!("prompts.attention.{part}")), None, Activation::None)
        };
        let [q, k, v] = ["query", "key", "value"].map(|part| map(tasks, part).reshape([1, n, d]));
        let keep = g.constant(Tensor::u32([1, n], vec![1; n]));
        let heads = q.attention(k, v, keep, context.heads, false, 0.0);
        map(heads.reshape([n, d]).slice(0, context.task, 1), "output")
    }

    /// The vectors of a history's items, with what a task adds to them: \[B, M, d\].
    pub fn prompted<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let items = self.asks.items(self, g, history);
        self.prompts(g).map_or(items, |prompts| items + prompts)
    }
}

impl Model for Pcl {
    fn name(&self) -> &'static str {
        SPEC.name
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
        self.asks.samples(&self.sasrec)
    }

    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        self.sasrec.counted(batch, window)
    }

    fn given(&self) -> Result<Vec<(&'static str, Tensor)>> {
        let context = self.prompts.as_ref().and_then(|prompts| prompts.context.as_ref());
        let Some(Described { names, vectors: Some(path), seed, .. }) = context else { return Ok(vec![]) };
        let d = self.sasrec.dim();
        let (width, rows) = vectors_of(path, names)?;
        let rows = if width == d { rows.to_vec() } else { orthogonal::project(&rows, width, d, *seed) };
        Ok(vec![("prompts.tasks", Tensor::f32([names.len(), d], rows))])
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn second_table<'g>(&self, g: &'g Graph) -> Option<Var<'g>> {
        self.asks.second_table(&self.params, g)
    }

    fn output<'g>(&self, g: &'g Graph) -> Option<Output<'g>> {
        self.asks.output(&self.params, g).or_else(|| self.sasrec.output(g))
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let user = self.sasrec.user_of(g, history, g.scope("embed", || self.prompted(g, history)));
        self.asks.adapted(&self.params, g, user)
    }

    fn positions<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.sasrec.positions(g, history)
    }
}
