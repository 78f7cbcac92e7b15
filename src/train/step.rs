//! One training step of a model, compiled once: batch in, loss, gradients and updated parameters out.

use crate::data::batches::{Batch, Gathers, Objective, Padding};
use crate::device::{Device, RunOptions, Runner, Store, Timing};
use crate::error::{Error, Result};
use crate::graph::plan::{Options, Plan};
use crate::graph::{Graph, Step, Var};
use crate::models::history::write_history;
use crate::models::{self, History, Loss, LossKind, Model};
use crate::optim::Adam;
use crate::tensor::{Spec, Tensor};

/// Shapes of a step, and how it is updated and run.
#[derive(Clone, Debug, Default)]
pub struct StepConfig {
    /// B, M and n: samples, items of a window, negatives a target.
    pub batch: usize,
    pub max_len: usize,
    pub negatives: usize,
    pub loss: Loss,
    pub optimiser: Adam,
    /// Keep each gradient as a result, `gradient.NAME`, dense.
    pub keep_gradients: bool,
    pub plan: Options,
    pub run: RunOptions,
}

/// A compiled training step over a store's states.
pub struct TrainStep {
    runner: Runner,
    plan: Plan,
    betas: [f64; 2],
    padding: Padding,
    recency: Vec<u32>,
    max_len: usize,
}

/// Which gathers need segments, of a model trained with a loss.
pub fn gathers(model: &dyn Model, loss: LossKind) -> Gathers {
    let g = Graph::new();
    match (loss.gathers(), model.item_table(&g).is(model.output(&g).table)) {
        (false, _) => Gathers::Histories,
        (true, true) => Gathers::All,
        (true, false) => Gathers::Apart,
    }
}

impl TrainStep {
    /// Traces `model`'s loss, its gradients and their update, and compiles them. Reads the parameters' and moments' states
    /// of `store`: those of `Params::states` and `Adam::states`.
    pub fn new(device: &Device, store: &Store, model: &dyn Model, config: &StepConfig) -> Result<TrainStep> {
        let g = Graph::new();
        TrainStep::trace(&g, model, config)?;
        TrainStep::with_plan(device, store, model, config, device.plan(&g, config.plan)?)
    }

    /// As [`TrainStep::new`], from the plan of a traced step.
    pub fn with_plan(
        device: &Device,
        store: &Store,
        model: &dyn Model,
        config: &StepConfig,
        plan: Plan,
    ) -> Result<TrainStep> {
        let runner = device.compile(&plan, store, config.run)?;
        Ok(TrainStep {
            runner,
            plan,
            betas: config.optimiser.settings.betas(),
            padding: model.padding(),
            recency: vec![],
            max_len: config.max_len,
        })
    }

    /// Adds the whole step to `g`: inputs, result `loss`, gradients and updates.
    ///
    /// # Errors
    /// A model that counts instead of learning; one with a parameter that no gradient reaches.
    pub fn trace<'g>(g: &'g Graph, model: &dyn Model, config: &StepConfig) -> Result<()> {
        if model.counts() {
            let name = model.name();
            return Err(Error::Usage(format!("{name} counts instead of learning: it has no training step")));
        }
        let StepConfig { batch: b, max_len, negatives: n, loss, .. } = config;
        let objective = model.objective();
        let rows = b * objective.targets(*max_len);
        let batch = models::Batch {
            history: History::inputs(g, *b, *max_len, true),
            positive: g.input("positive", Spec::u32([rows])),
            negative: g.input("negative", if loss.config.shared { Spec::u32([*n]) } else { Spec::u32([rows, *n]) }),
            weight: g.input("weight", Spec::f32([rows])),
        };
        let output = model.output(g);
        let targets: &[Var] =
            if loss.kind.is_sampled() { &[batch.positive, batch.negative] } else { &[batch.positive] };
        let lists = |first: &[Var<'g>]| [first, targets].concat();
        match gathers(model, loss.kind) {
            Gathers::All => g.segments("segments", model.item_table(g), &lists(&[batch.history.items])),
            Gathers::Histories => g.segments("segments", model.item_table(g), &[batch.history.items]),
            Gathers::Apart => {
                g.segments("segments", model.item_table(g), &[batch.history.items]);
                g.segments("output_segments", output.table, &lists(&[]));
            }
        }
        let users = match objective {
            Objective::Last => model.user(g, &batch.history),
            _ => {
                let places = model.places(g, &batch.history);
                places.reshape([rows, places.shape().last_dim()])
            }
        };
        let loss = g.scope("loss", || loss.trace(users, &output, &batch));
        g.result("loss", loss);
        let gradients = config.optimiser.update(loss, model.params(), |_| true)?;
        if config.keep_gradients {
            for (name, gradient) in gradients {
                g.result(&format!("gradient.{name}"), gradient.dense(model.params().var(g, &name)));
            }
        }
        Ok(())
    }

    /// Runs step number `step` (from 0) on `batch` with learning rate `lr`.
    pub fn run(&mut self, batch: &Batch, step: u64, seed: u64, lr: f64) -> Result<()> {
        let r = &mut self.runner;
        write_history(r, &batch.history, &batch.lengths, self.max_len, self.padding, &mut self.recency);
        r.write_u32("positive", &batch.positive);
        r.write_u32("negative", &batch.negative);
        r.write_f32("weight", &batch.weight);
        r.write_segments("segments", &batch.segments);
        if let Some(s) = &batch.output_segments {
            r.write_segments("output_segments", s);
        }
        r.write(Step::NAME, &Step::at(seed, step, lr, self.betas).tensor());
        r.run()
    }

    /// The mean loss of the last batch.
    pub fn loss(&mut self) -> Result<f64> {
        Ok(self.runner.read("loss")?.to_f64()[0])
    }

    /// Any named result of the last step.
    pub fn read(&mut self, name: &str) -> Result<Tensor> {
        self.runner.read(name)
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn timings(&mut self) -> Result<Vec<Timing>> {
        self.runner.timings()
    }
}
