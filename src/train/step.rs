//! One training step of a model, compiled once: batch in, loss, gradients and updated parameters out.

use crate::data::negatives::Sampler;
use crate::data::samples::negatives::Drawn;
use crate::data::samples::{Batch, BatchSpec, Column, Gathered, Listed};
use crate::device::{Device, RunOptions, Runner, Store, Timing};
use crate::error::{Error, Result};
use crate::graph::plan::{Options, Plan};
use crate::graph::{Graph, Step, Var};
use crate::kernels::Cost;
use crate::kernels::watch::Watch;
use crate::models::loss::Scored;
use crate::models::{self, Inputs, Loss, LossConfig, LossKind, Model, Output, Trained};
use crate::nn::{Params, Tower};
use crate::optim::{Adam, Updated};
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
#[non_exhaustive]
pub enum Role {
    /// An update of its own.
    Update,
    /// Its gradients are added up for an update to come; those of task number .0, where an update is of several.
    Add(usize),
}

impl Role {
    /// What the batches of task number `task` are for.
    pub fn of(optimiser: &Adam, task: usize) -> Role {
        if optimiser.sums_up() { Role::Add(task) } else { Role::Update }
    }
}

/// A compiled training step over a store's states.
pub struct TrainStep {
    /// What takes a batch: of several tasks one for each.
    batches: Vec<(Runner, Plan)>,
    /// The update by what several batches have added.
    update: Option<(Runner, Plan)>,
    /// The number of batches that were added since the last update.
    added: u32,
    /// The task of the last batch, and whether an update came after it.
    task: usize,
    updated: bool,
    /// Number of the last update.
    last: u64,
    betas: [f64; 2],
}

/// Tables whose rows a step gathers by columns of its batch.
struct Gathers<'g>(Vec<(Var<'g>, Vec<&'static str>)>);

impl<'g> Gathers<'g> {
    fn of(g: &'g Graph, model: &dyn Model, loss: LossKind, columns: &[Column]) -> Gathers<'g> {
        let mut tables: Vec<(Var, Vec<&str>)> = vec![];
        for column in columns {
            // All items at once are a product, no gather; the model's own gathers are.
            let own = model.own_table(g, column.name).is_some();
            let whole = !loss.gathers() && !own && ["positive", "negative"].contains(&column.name);
            let Some(table) = model.table(g, column.name).filter(|_| !whole) else { continue };
            match tables.iter_mut().find(|(own, _)| own.is(table)) {
                Some((_, columns)) => columns.push(column.name),
                None => tables.push((table, vec![column.name])),
            }
        }
        tables.extend(model.target_table(g).map(|table| (table, vec!["positive"])));
        Gathers(tables)
    }

    /// Tables, the names of the inputs that carry their segments, and the columns that they are gathered by.
    fn named(self) -> impl Iterator<Item = (Var<'g>, String, Vec<&'static str>)> {
        let tables = self.0.into_iter().enumerate();
        tables.map(|(number, (table, columns))| (table, format!("{}.segments.{number}", columns[0]), columns))
    }
}

impl StepConfig {
    /// The batches that a step of `model` takes; the data's and the seed's part of them is left to be given.
    pub fn batches(&self, model: &dyn Model) -> BatchSpec {
        let StepConfig { batch, max_len, negatives, loss, .. } = self;
        let (samples, reads, views, padding) = (model.samples(), model.reads(), model.views(), model.padding());
        let LossConfig { shared, cold_negatives: cold, .. } = loss.config;
        let drawn = Drawn { each: *negatives, shared, sampler: Sampler::Uniform, cold };
        let negatives = loss.kind.is_sampled().then_some(drawn);
        let (batch, max_len) = (*batch, *max_len);
        let mut spec = BatchSpec { batch, max_len, padding, samples, reads, views, negatives, ..BatchSpec::default() };
        let g = Graph::new();
        let columns = spec.columns();
        let tower = model.params().tower().filter(|tower| tower.config.listed);
        let (tables, mut list) = (Gathers::of(&g, model, loss.kind, &columns).named(), None);
        let targets = model.target_table(&g);
        let gathered = |(table, name, names): (Var, String, Vec<&'static str>)| {
            let rows = table.shape()[0];
            let listed = tower.filter(|_| table.is(model.item_table(&g))).map(|tower| {
                let of_column = |column: &&Column| names.contains(&column.name);
                let named: usize = columns.iter().filter(of_column).map(|column| column.spec.shape.elements()).sum();
                let segments = tower.config.own.then(|| OWN_SEGMENTS.to_string());
                let len = 1 + named.min(rows - 1);
                list = Some(len);
                Listed { name: Tower::LISTED, len, segments }
            });
            // It has the rows of the list then; the items come first.
            let rows = list.filter(|_| targets.is_some_and(|targets| targets.is(table))).unwrap_or(rows);
            Gathered { name, rows, columns: names, listed }
        };
        spec.gathered = tables.map(gathered).collect();
        spec
    }

    /// # Errors
    /// A tower of the items that a batch names, for a model or a loss that asks for others too.
    fn check_tower(&self, model: &dyn Model) -> Result<()> {
        if !model.params().tower().is_some_and(|tower| tower.config.listed) {
            return Ok(());
        }
        let g = &Graph::new();
        let own_bias = |output: Output| output.bias.is_some() && output.table.is(model.item_table(g));
        let why = match () {
            _ if !self.loss.kind.gathers() => format!("loss.kind={} is over all items", self.loss.kind),
            _ if model.hides() => format!("{} hides items", model.name()),
            _ if model.second_table(g).is_some() => format!("{} has a second table of items", model.name()),
            _ if model.output(g).is_some_and(own_bias) => format!("{} has a bias for each item", model.name()),
            _ => return Ok(()),
        };
        Err(Error::Usage(format!("model.tower: found batch; expected all, since {why}")))
    }
}

/// The name of the inputs that carry the segments of items' own vectors, gathered by a list.
const OWN_SEGMENTS: &str = "tower.items.segments";

/// The result that [`Watch`] gives the host.
const WATCHED: &str = "watched";

/// What the names of the results begin with that are reported.
const REPORTED: &str = "reported.";

/// The norm of the gradient among what is reported.
const GRADIENT_NORM: &str = "gradient_norm";

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
        TrainStep::of_tasks(device, store, &[(model, config.clone())])
    }

    /// As [`TrainStep::new`], of tasks whose models have the same parameters, by one optimiser.
    ///
    /// # Panics
    /// Without a task; if parameters differ.
    pub fn of_tasks(device: &Device, store: &Store, tasks: &[(&dyn Model, StepConfig)]) -> Result<TrainStep> {
        let (first, config) = &tasks[0];
        let traced = |(at, (model, config)): (usize, &(&dyn Model, StepConfig))| {
            let same = model
                .params()
                .iter()
                .map(|p| (&p.name, &p.shape))
                .eq(first.params().iter().map(|p| (&p.name, &p.shape)));
            assert!(same, "tasks that are trained together have the same parameters");
            let g = Graph::new();
            TrainStep::trace(&g, *model, config, Role::of(&config.optimiser, at))?;
            device.plan(&g, config.plan)
        };
        let plans = tasks.iter().enumerate().map(traced).collect::<Result<Vec<Plan>>>()?;
        TrainStep::with_plans(device, store, *first, config, plans)
    }

    /// As [`TrainStep::new`], from the plan of a traced update.
    pub fn with_plan(
        device: &Device,
        store: &Store,
        model: &dyn Model,
        config: &StepConfig,
        plan: Plan,
    ) -> Result<TrainStep> {
        TrainStep::with_plans(device, store, model, config, vec![plan])
    }

    fn with_plans(
        device: &Device,
        store: &Store,
        model: &dyn Model,
        config: &StepConfig,
        plans: Vec<Plan>,
    ) -> Result<TrainStep> {
        let compiled = |plan: Plan| Ok((device.compile(&plan, store, config.run)?, plan));
        let update = TrainStep::update(model.params(), config)?.map(|g| device.plan(&g, config.plan)).transpose()?;
        Ok(TrainStep {
            batches: plans.into_iter().map(compiled).collect::<Result<_>>()?,
            update: update.map(compiled).transpose()?,
            added: 0,
            task: 0,
            updated: false,
            last: 0,
            betas: config.optimiser.settings.betas(),
        })
    }

    /// The graph of the update by what several batches have added, where one is of several.
    ///
    /// # Errors
    /// Those of [`Adam::apply`].
    pub fn update(params: &Params, config: &StepConfig) -> Result<Option<Graph>> {
        let adam = &config.optimiser;
        if !adam.sums_up() {
            return Ok(None);
        }
        let g = Graph::new();
        g.train();
        let Updated { scale, norm, weights, .. } = adam.apply(&g, params)?;
        if let Some(norm) = norm {
            g.result(&format!("{REPORTED}{GRADIENT_NORM}"), norm);
        }
        for (at, (name, _)) in adam.tasks.iter().flat_map(|tasks| tasks.all.iter().enumerate()) {
            if let Some(weights) = weights {
                g.result(&format!("{REPORTED}weight of {name}"), weights.slice(0, at, 1));
            }
        }
        // Where the update is left out, a loss that was not finite is no fault.
        let none = g.scalar(0.0);
        let first = g.state(Watch::FIRST, Watch::FIRST, 0, Spec::f32([1]));
        g.result(WATCHED, g.try_push(Watch, &[none, none, scale, g.step(), first])?[1]);
        Ok(Some(g))
    }

    /// Adds the whole step to `g`: inputs, result `loss`, gradients, updates or sums, and the watch over the loss.
    ///
    /// # Errors
    /// A model that is not trained; one with a parameter that no gradient reaches.
    pub fn trace(g: &Graph, model: &dyn Model, config: &StepConfig, role: Role) -> Result<()> {
        if model.counts() {
            let name = model.name();
            return Err(Error::Usage(format!("{name} is not trained: it has no training step")));
        }
        g.train();
        config.check_tower(model)?;
        let loss = &config.loss;
        let batches = config.batches(model);
        let columns = batches.columns();
        let inputs = Inputs::declare(g, &columns);
        let listed = batches.gathered.iter().find_map(|of| Some((of, of.listed.as_ref()?)));
        let list = listed.map(|(_, listed)| g.input(listed.name, Spec::u32([listed.len])));
        if let (Some((_, Listed { name, segments, .. })), Some(list)) = (listed, list) {
            g.offer(name, list);
            if let Some(segments) = segments {
                g.segments(segments, model.params().stored(g, Tower::ITEMS), &[list]);
            }
        }
        for (table, name, columns) in Gathers::of(g, model, loss.kind, &columns).named() {
            let lists: Vec<Var> = columns.iter().map(|column| inputs.get(column)).collect();
            g.segments(&name, table, &lists);
        }
        let (batch, output) = (models::Batch::of(inputs), model.output(g));
        if let (Some(Output { table, bias: Some(bias), .. }), true) = (&output, loss.kind.gathers()) {
            g.segments_as(*table, *bias);
        }
        if let Some(second) = model.second_table(g) {
            g.segments_as(model.item_table(g), second);
        }
        let Trained { rows, terms, reported } = model.trained(g, &batch);
        let rows_of_items = model.params().tower().map_or(model.item_table(g).shape()[0], |tower| tower.rows());
        let items = rows_of_items - 1 - model.hides() as usize;
        let score = |rows, candidates| model.scores(g, rows, candidates);
        let of_targets_listed = listed.is_some_and(|(of, _)| of.columns.contains(&"positive"));
        let scored =
            Scored { score: &score, output: output.as_ref(), items, listed: list.filter(|_| of_targets_listed) };
        let of_targets = g.scope("loss", || loss.trace(rows, &scored, &batch));
        let loss = terms.into_iter().fold(of_targets, |loss, term| loss + term);
        g.result("loss", loss);
        for (name, value) in reported {
            g.result(&format!("{REPORTED}{name}"), value);
        }
        let weight = batch.weight.sum_all();
        let scale = match role {
            Role::Add(task) => {
                config.optimiser.add(loss, weight, model.params(), task)?;
                g.scalar(1.0)
            }
            Role::Update => {
                let updated = config.optimiser.update(loss, model.params())?;
                for (name, gradient) in updated.gradients.iter().filter(|_| config.keep_gradients) {
                    g.result(&format!("gradient.{name}"), gradient.dense(model.params().stored(g, name)));
                }
                if let Some(norm) = updated.norm {
                    g.result(&format!("{REPORTED}{GRADIENT_NORM}"), norm);
                }
                updated.scale
            }
        };
        let first = g.state(Watch::FIRST, Watch::FIRST, 0, Spec::f32([1]));
        g.result(WATCHED, g.try_push(Watch, &[loss, of_targets, scale, g.step(), first])?[1]);
        Ok(())
    }

    /// Adds the gradients of `batch`, of task number `task`, to those that update number `step` will take.
    ///
    /// # Panics
    /// If each batch is an update of its own.
    pub fn add(&mut self, task: usize, batch: &Batch, step: u64, seed: u64) -> Result<()> {
        assert!(self.update.is_some(), "each batch is an update of its own");
        self.take(task, batch, Step { micro: self.added, ..Step::at(seed, step, 0.0, self.betas) })?;
        self.added += 1;
        Ok(())
    }

    /// Update number `step` (from 0) by what was added, with learning rate `lr`.
    ///
    /// # Panics
    /// If each batch is an update of its own.
    pub fn update_by_sums(&mut self, step: u64, seed: u64, lr: f64) -> Result<()> {
        let (runner, _) = self.update.as_mut().expect("an update of several batches");
        runner.write(Step::NAME, &Step::at(seed, step, lr, self.betas).tensor())?;
        runner.run()?;
        (self.added, self.last, self.updated) = (0, step, true);
        Ok(())
    }

    /// Update number `step` (from 0) by `batch`, and by those that were added before, with learning rate `lr`. Of one task.
    pub fn run(&mut self, batch: &Batch, step: u64, seed: u64, lr: f64) -> Result<()> {
        if self.update.is_some() {
            self.add(0, batch, step, seed)?;
            return self.update_by_sums(step, seed, lr);
        }
        self.take(0, batch, Step::at(seed, step, lr, self.betas))?;
        (self.last, self.updated) = (step, true);
        Ok(())
    }

    fn take(&mut self, task: usize, batch: &Batch, step: Step) -> Result<()> {
        (self.task, self.updated) = (task, false);
        let (r, _) = &mut self.batches[task];
        batch.columns.write(r)?;
        batch.segments.iter().try_for_each(|(name, segments)| r.write_segments(name, segments))?;
        batch.lists.iter().try_for_each(|(name, list)| r.write_u32(name, list))?;
        r.write(Step::NAME, &step.tensor())?;
        r.run()
    }

    /// The mean loss of the last batch of the last update, of several tasks the sum of theirs. It is not finite only where the loss is scaled, and the update was left out for it.
    ///
    /// # Errors
    /// [`Error::NotFinite`], with the number of the first update (from 1) that a loss went into which was not finite: of all
    /// batches, read or not. A loss of the targets below 0.
    pub fn loss(&mut self) -> Result<f64> {
        let (mut loss, mut of_targets, mut mark) = (0.0, 0.0f64, 0.0);
        for (runner, _) in &mut self.batches {
            let seen = runner.read(WATCHED)?.to_f64();
            let [of_task, its_targets, latest] = seen[..] else { unreachable!("the watch sees three numbers") };
            (loss, of_targets, mark) = (loss + of_task, of_targets.min(its_targets), latest);
        }
        if let Some((runner, _)) = &mut self.update {
            mark = runner.read(WATCHED)?.to_f64()[2];
        }
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

    /// What the model reports of the last batch ([`models::Trained::reported`]), by name; after an update the gradient's norm
    /// too, where one is taken, and the weights of tasks ([`crate::optim::Updated`]).
    pub fn reported(&mut self) -> Result<Vec<(String, f64)>> {
        let last = self.update.as_mut().filter(|_| self.updated);
        let mut all = vec![];
        for (runner, plan) in [&mut self.batches[self.task]].into_iter().chain(last) {
            for (result, _) in &plan.results {
                if let Some(name) = result.strip_prefix(REPORTED) {
                    all.push((name.to_string(), runner.read(result)?.to_f64()[0]));
                }
            }
        }
        Ok(all)
    }

    /// Any named result of the last batch.
    pub fn read(&mut self, name: &str) -> Result<Tensor> {
        self.batches[self.task].0.read(name)
    }

    /// Of a batch: of several tasks, of the first.
    pub fn plan(&self) -> &Plan {
        &self.batches[0].1
    }

    /// What an update moves and computes that takes `each` batches of each task.
    pub fn cost(&self, each: usize) -> Cost {
        let batches = self.batches.iter().map(|(_, plan)| (each as u64, plan.cost()));
        let all = batches.chain(self.update.iter().map(|(_, plan)| (1, plan.cost())));
        all.fold(Cost::default(), |sum, (n, cost)| Cost {
            bytes: sum.bytes + n * cost.bytes,
            flops: sum.flops + n * cost.flops,
        })
    }

    /// Whether an update is of several batches.
    pub fn sums_up(&self) -> bool {
        self.update.is_some()
    }

    pub fn timings(&mut self) -> Result<Vec<Timing>> {
        let mut all = vec![];
        for (runner, _) in self.batches.iter_mut().chain(&mut self.update) {
            all.extend(runner.timings()?);
        }
        Ok(all)
    }
}
