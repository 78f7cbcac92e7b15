//! Several tasks at once, on one SASRec: Caruana, "Multitask learning" (Machine Learning, 1997), and by experts Ma et al., "Modeling
//! task relationships in multi-task learning with multi-gate mixture-of-experts" (KDD 2018): what PCL is compared with.
//!
//! An update takes a batch of each task. `model.weighing` says how their gradients make one: by their sum, or by MGDA (Sener and Koltun,
//! "Multi-task learning as multi-objective optimization", NeurIPS 2018), in PCL's tables MTL+ and MMOE+. An epoch is one of the task
//! with the most batches; the others begin again meanwhile. The epoch with the best mean of the tasks' metrics is kept, and then each
//! task is tested.
//!
//! With `model.shared_experts` E > 0 the user's vector u goes through E layers relu(W_e u + b_e), and each task takes their mean by its own
//! gate softmax(G u).

use super::asks::Asks;
use super::sasrec::{Parts, Positions, SasRec};
use super::scores::Output;
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::tasks::{self, Adapter, LabelsLearned, Learning, TaskConfig, TaskPhase};
use super::{History, LossKind, Model, Padding, Phase, Reads, Samples, TaskShape};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::min_norm::MinNorm;
use crate::models::phase::Take;
use crate::nn::encoder::{Encoder, Norm};
use crate::nn::{Init, Params, gates};
use crate::optim::Weighing;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Settings of several tasks at once.
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
    /// Experts that the tasks share (MMOE); 0: none.
    #[schemars(range(max = 1024))]
    pub shared_experts: usize,
    /// How the tasks' gradients make one.
    pub weighing: Weighing,
    /// The map to classes.
    pub adapter: Adapter,
    /// Which labels of a user are learned in the tasks after the first.
    pub labels: LabelsLearned,
    /// Labels are learned of this number of a user's last events before the cut; 0: of all.
    pub label_window: usize,
    /// Seed of the split of users in tasks of users.
    #[schemars(range(max = 9223372036854775807u64))]
    pub split_seed: u64,
    /// The tasks; the first is of items. `--task FILE` reads them from a file of `[[task]]`.
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
            shared_experts: 0,
            weighing: Weighing::Equal,
            adapter: Adapter::Linear,
            labels: LabelsLearned::All,
            label_window: 50,
            split_seed: 1,
            task: tasks::usual(),
        }
    }
}

/// The phase in which all tasks are trained.
const JOINT: &str = "joint";

/// What the loss of every task reaches; a task's own parameters end in its name, or have it before the last part.
const SHARED: [&str; 5] = ["item_embedding", "tower.*", "position_embedding", "encoder.*", "experts.*"];

impl spec::Settings for Settings {
    fn check(&self) -> Result<()> {
        tasks::check(&self.task)?;
        let (dim, heads, tasks) = (self.dim, self.heads, self.task.len());
        if self.task.iter().any(|task| task.name.eq_ignore_ascii_case(JOINT)) {
            return Err(Error::Usage(format!(
                "task {JOINT}: name: it is that of the training of all tasks; expected another"
            )));
        }
        if !dim.is_multiple_of(heads) {
            return Err(Error::Usage(format!("model.heads: found {heads}; expected a divisor of model.dim, {dim}")));
        }
        if self.weighing == Weighing::MinNorm && tasks > MinNorm::MOST {
            let most = MinNorm::MOST;
            return Err(Error::Usage(format!("model.weighing: min-norm is of {most} tasks at most; found {tasks}")));
        }
        Ok(())
    }

    fn phases(&self, _: bool) -> Result<Vec<Phase>> {
        tasks::check(&self.task)?;
        let learning = Learning::of(self.labels, self.label_window, self.split_seed);
        let all = || (0..self.task.len()).map(|at| TaskPhase::of(&self.task, at, learning));
        let reached = |task: TaskPhase| {
            let name = &task.config.name;
            let own = [format!("gate.{name}"), format!("adapter.{name}.*"), format!("category_embedding.{name}")];
            let trains = SHARED.map(String::from).into_iter().chain(own).collect();
            (task, trains)
        };
        let joint = Phase::together(JOINT, all().map(reached).collect(), self.weighing);
        let tested = all().map(|task| Phase::of_task(task).takes(Take::from(JOINT)).untrained());
        Ok([joint].into_iter().chain(tested).collect())
    }

    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        let Settings { dim, layers, heads, inner, dropout, shared_experts: experts, adapter, .. } = *self;
        let parts = Parts {
            items: task.items,
            max_len: task.max_len,
            encoder: Encoder::new(Norm::Post, true, (dim, layers, heads), inner, dropout)?,
            positions: Positions::All,
            behaviours: 0,
            hides: false,
        };
        let sasrec = SasRec::new(parts, task.params()).padded(Padding::Left);
        Ok(Box::new(Mtl::new(sasrec, Asks::new(task, adapter), &task.together, experts)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "mtl",
    title: "several tasks at once, by experts or without",
    paper: "Ma, Zhao, Yi et al., \"Modeling task relationships in multi-task learning with multi-gate mixture-of-experts\" (KDD 2018)",
    loss: Some(LossKind::Bce),
    presets: &[
        Preset { name: "paper", settings: &["train.lr=1e-3"] },
        Preset { name: "mtl+", settings: &["model.weighing=min-norm"] },
        Preset { name: "mmoe", settings: &["model.shared_experts=4"] },
        Preset { name: "mmoe+", settings: &["model.shared_experts=4", "model.weighing=min-norm"] },
    ],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Mtl {
    sasrec: SasRec,
    params: Params,
    asks: Asks,
    /// The name of the gate, where there are experts.
    gate: Option<String>,
}

impl Mtl {
    /// `sasrec`: padded on the left; `asks`: of the task that the model is for, with the parameters of `together`, all that are trained
    /// as one, or with none its own.
    pub fn new(sasrec: SasRec, asks: Asks, together: &[TaskShape], experts: usize) -> Mtl {
        let (mut params, d, init) = (sasrec.params().clone(), sasrec.dim(), Init::Normal(0.02));
        let asks = asks.named();
        if experts > 0 {
            params.add("experts.weight", [experts * d, d], init);
            params.add("experts.bias", [experts * d], Init::Constant(0.0));
        }
        let gate = |of: &Asks| format!("gate.{}", of.task());
        let of_all: Vec<Asks> = match together {
            [] => vec![asks.clone()],
            all => all.iter().map(|shape| asks.of(shape)).collect(),
        };
        for of_task in &of_all {
            if experts > 0 {
                params.add(&gate(of_task), [experts, d], init);
            }
            of_task.declare(&mut params, d);
        }
        let gate = (experts > 0).then(|| gate(&asks));
        Mtl { sasrec, params, asks, gate }
    }

    /// Rows \[R, d\] as the task reads them: the mean of the experts by its gate, \[R, d\].
    pub fn mixed<'g>(&self, g: &'g Graph, rows: Var<'g>) -> Var<'g> {
        let Some(gate) = &self.gate else { return rows };
        let [weight, bias, gate] = ["experts.weight", "experts.bias", gate].map(|name| self.params.var(g, name));
        g.scope("experts", || gates::mixed(rows, gates::experts(rows, weight, bias, gate.shape()[0]), gate)[1])
    }
}

impl Model for Mtl {
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
        let items = g.scope("embed", || self.asks.items(self, g, history));
        let user = self.mixed(g, self.sasrec.user_of(g, history, items));
        self.asks.adapted(&self.params, g, user)
    }

    fn positions<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let positions = self.sasrec.positions(g, history);
        let shape = positions.shape();
        self.mixed(g, positions.reshape([shape.rows(), shape.last_dim()])).reshape(shape)
    }
}
