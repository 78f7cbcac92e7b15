//! One training step of a model, compiled once: batch in, loss, gradients and updated parameters out.

use crate::data::batches::{Batch, Gathers, Objective, Padding};
use crate::device::{Device, RunOptions, Runner, Store, Timing};
use crate::error::{Error, Result};
use crate::graph::plan::{Options, Plan};
use crate::graph::{Graph, Step, Var};
use crate::kernels::watch::Watch;
use crate::models::history::{write_besides, write_history, write_views};
use crate::models::{self, History, Loss, LossKind, Model};
use crate::nn::Params;
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

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An update, together with what was added before it.
    Update,
    /// Its gradients are added up for an update to come.
    Add,
}

/// A compiled training step over a store's states.
pub struct TrainStep {
    runner: Runner,
    /// Of [`Role::Add`], where an update takes several batches, and how many were added.
    adds: Option<Runner>,
    added: u32,
    /// Number of the last update.
    last: u64,
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

/// The result that [`Watch`] gives the host.
const WATCHED: &str = "watched";

/// How far below 0 rounding takes a loss that is a mean of -log of probabilities.
const ROUNDING: f64 = 1e-3;

impl TrainStep {
    /// The states that a store needs for training steps.
    pub fn states(params: &Params, optimiser: &Adam) -> Vec<(String, usize)> {
        let watch = vec![(Watch::FIRST.to_string(), 1)];
        [params.states(), optimiser.states(params), optimiser.sums(params), watch].concat()
    }

    /// Traces `model`'s loss, its gradients and their update, and compiles them. Reads the states of `store` that
    /// [`TrainStep::states`] names.
    pub fn new(device: &Device, store: &Store, model: &dyn Model, config: &StepConfig) -> Result<TrainStep> {
        let g = Graph::new();
        TrainStep::trace(&g, model, config, Role::Update)?;
        TrainStep::with_plan(device, store, model, config, device.plan(&g, config.plan)?)
    }

    /// As [`TrainStep::new`], from the plan of a traced update.
    pub fn with_plan(
        device: &Device,
        store: &Store,
        model: &dyn Model,
        config: &StepConfig,
        plan: Plan,
    ) -> Result<TrainStep> {
        let runner = device.compile(&plan, store, config.run)?;
        let adds = (config.optimiser.accumulate > 1).then(|| {
            let g = Graph::new();
            TrainStep::trace(&g, model, config, Role::Add)?;
            device.compile(&device.plan(&g, config.plan)?, store, config.run)
        });
        Ok(TrainStep {
            runner,
            adds: adds.transpose()?,
            added: 0,
            last: 0,
            plan,
            betas: config.optimiser.settings.betas(),
            padding: model.padding(),
            recency: vec![],
            max_len: config.max_len,
        })
    }

    /// Adds the whole step to `g`: inputs, result `loss`, gradients, updates or sums, and the watch over the loss.
    ///
    /// # Errors
    /// A model that counts instead of learning; one with a parameter that no gradient reaches.
    pub fn trace(g: &Graph, model: &dyn Model, config: &StepConfig, role: Role) -> Result<()> {
        if model.counts() {
            let name = model.name();
            return Err(Error::Usage(format!("{name} counts instead of learning: it has no training step")));
        }
        let StepConfig { batch: b, max_len, negatives: n, loss, .. } = config;
        let (objective, reads) = (model.objective(), model.reads());
        let rows = b * objective.targets(*max_len);
        let targets = matches!(objective, Objective::Cloze { .. })
            .then(|| g.input("places", Spec::u32([*b, objective.targets(*max_len)])));
        let batch = models::Batch {
            history: History { targets, ..History::inputs(g, *b, *max_len, reads, true) },
            views: model.views().map(|views| History::views(g, views.count() * b, *max_len, reads)),
            positive: g.input("positive", Spec::u32([rows])),
            negative: g.input("negative", if loss.config.shared { Spec::u32([*n]) } else { Spec::u32([rows, *n]) }),
            weight: g.input("weight", Spec::f32([rows])),
            behaviours: reads
                .behaviours
                .then(|| ["positive_behaviour", "negative_behaviour"].map(|name| g.input(name, Spec::u32([rows])))),
        };
        if let Some(features) = batch.history.features {
            g.segments("feature_segments", model.feature_table(g), &[features]);
        }
        let output = model.output(g);
        let targets: &[Var] =
            if loss.kind.is_sampled() { &[batch.positive, batch.negative] } else { &[batch.positive] };
        let histories: Vec<Var> = [Some(batch.history), batch.views].into_iter().flatten().map(|h| h.items).collect();
        match gathers(model, loss.kind) {
            Gathers::All => g.segments("segments", model.item_table(g), &[&histories[..], targets].concat()),
            Gathers::Histories => g.segments("segments", model.item_table(g), &histories),
            Gathers::Apart => {
                g.segments("segments", model.item_table(g), &histories);
                g.segments("output_segments", output.table, targets);
            }
        }
        if let (Some(bias), true) = (output.bias, loss.kind.gathers()) {
            g.segments_as(output.table, bias);
        }
        let (users, besides) = model.trained(g, &batch);
        let of_targets = g.scope("loss", || loss.trace(users, &output, &batch));
        let loss = besides.map_or(of_targets, |besides| of_targets + besides);
        g.result("loss", loss);
        let weight = batch.weight.sum_all();
        let scale = match role {
            Role::Add => {
                config.optimiser.add(loss, weight, model.params())?;
                g.scalar(1.0)
            }
            Role::Update => {
                let updated = config.optimiser.update(loss, weight, model.params())?;
                for (name, gradient) in updated.gradients.iter().filter(|_| config.keep_gradients) {
                    g.result(&format!("gradient.{name}"), gradient.dense(model.params().var(g, name)));
                }
                updated.scale
            }
        };
        let first = g.state(Watch::FIRST, Watch::FIRST, 0, Spec::f32([1]));
        g.result(WATCHED, g.try_push(Watch, &[loss, of_targets, scale, g.step(), first])?[1]);
        Ok(())
    }

    /// Adds the gradients of `batch` to those that update number `step` will take.
    ///
    /// # Panics
    /// If the optimiser's `accumulate` is 1.
    pub fn add(&mut self, batch: &Batch, step: u64, seed: u64) -> Result<()> {
        self.go(Role::Add, batch, Step { micro: self.added, ..Step::at(seed, step, 0.0, self.betas) })?;
        self.added += 1;
        Ok(())
    }

    /// Update number `step` (from 0) by `batch`, and by those that were added before, with learning rate `lr`.
    pub fn run(&mut self, batch: &Batch, step: u64, seed: u64, lr: f64) -> Result<()> {
        self.go(Role::Update, batch, Step { micro: self.added, ..Step::at(seed, step, lr, self.betas) })?;
        (self.added, self.last) = (0, step);
        Ok(())
    }

    fn go(&mut self, role: Role, batch: &Batch, step: Step) -> Result<()> {
        let r = match role {
            Role::Update => &mut self.runner,
            Role::Add => self.adds.as_mut().expect("an optimiser that accumulates"),
        };
        write_history(r, &batch.history, &batch.lengths, self.max_len, self.padding, &mut self.recency)?;
        write_besides(r, &batch.besides)?;
        write_views(r, &batch.views, self.max_len, self.padding, &mut self.recency)?;
        if !batch.positive_behaviour.is_empty() {
            r.write_u32("positive_behaviour", &batch.positive_behaviour)?;
            r.write_u32("negative_behaviour", &batch.negative_behaviour)?;
        }
        if let Some(s) = &batch.feature_segments {
            r.write_segments("feature_segments", s)?;
        }
        r.write_u32("positive", &batch.positive)?;
        if !batch.places.is_empty() {
            r.write_u32("places", &batch.places)?;
        }
        r.write_u32("negative", &batch.negative)?;
        r.write_f32("weight", &batch.weight)?;
        r.write_segments("segments", &batch.segments)?;
        if let Some(s) = &batch.output_segments {
            r.write_segments("output_segments", s)?;
        }
        r.write(Step::NAME, &step.tensor())?;
        r.run()
    }

    /// The mean loss of the last batch. It is not finite only where the loss is scaled, and the update was left out for it.
    ///
    /// # Errors
    /// [`Error::NotFinite`], with the number of the first update (from 1) that a loss went into which was not finite: of all
    /// batches, read or not. A loss of the targets below 0.
    pub fn loss(&mut self) -> Result<f64> {
        let seen = self.runner.read(WATCHED)?.to_f64();
        let [loss, of_targets, mark] = seen[..] else { unreachable!("the watch sees three numbers") };
        if let Some(step) = Watch::step(mark, self.last) {
            return Err(Error::NotFinite(format!("step {}: the loss is not finite", step + 1)));
        }
        if of_targets < -ROUNDING {
            return Err(Error::Failed(format!(
                "step {}: the loss of the targets is {of_targets}, and no loss here can be below 0: a bug of wgrec, or of the \
                 device's driver (`wgrec devices` checks it)",
                self.last + 1
            )));
        }
        Ok(loss)
    }

    /// Any named result of the last step.
    pub fn read(&mut self, name: &str) -> Result<Tensor> {
        self.runner.read(name)
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn timings(&mut self) -> Result<Vec<Timing>> {
        let mut all = self.runner.timings()?;
        if let Some(adds) = &mut self.adds {
            all.extend(adds.timings()?);
        }
        Ok(all)
    }
}
