//! The training step and the evaluation that a phase's settings describe.

use super::Session;
use crate::config::Precision;
use crate::data::negatives::Sampler;
use crate::data::samples::negatives::Drawn;
use crate::data::{Ask, BatchSpec};
use crate::device::{RunOptions, Store};
use crate::error::Result;
use crate::eval::evaluator::{self, Evaluator};
use crate::eval::ranker::{self, Candidates};
use crate::graph::plan::{Options, Plan};
use crate::models::loss::log_chances;
use crate::models::phase::Together;
use crate::models::{Loss, LossKind, Model};
use crate::optim::{Adam, Tasks};
use crate::train::options::FitOptions;
use crate::train::step::{StepConfig, TrainStep};

impl Session {
    /// What is trained as one, if it is several tasks.
    fn phase_together(&self) -> Option<&Together> {
        let phases = &self.experiment.phases;
        let own = phases.iter().find(|phase| phase.name == self.phase().name);
        own.and_then(|phase| phase.together.as_ref()).filter(|_| !self.beside.is_empty())
    }

    /// Adam as the settings want it.
    pub fn optimiser(&self) -> Adam {
        let train = &self.config.train;
        let (weight_decay, no_decay) = (train.weight_decay, train.no_decay.clone());
        let mut adam =
            Adam { weight_decay, no_decay, lazy: train.lazy, accumulate: train.accumulate, ..Adam::default() };
        adam.scaled = self.config.precision == Precision::F16;
        let of_tasks = || self.tasks().flat_map(|task| task.phase().trains.clone());
        match &train.only {
            _ if self.phase().untrained => adam.only = vec![],
            Some(only) => adam.only = only.clone(),
            None if self.phase().trains.is_empty() => {}
            None => adam.only = of_tasks().collect(),
        }
        adam.tasks = self.phase_together().map(|together| Tasks {
            all: self.tasks().map(|task| (task.task.shape().name, task.phase().trains.clone())).collect(),
            weighing: together.weighing,
        });
        adam.settings.decoupled = train.decoupled;
        adam.clip = (train.clip > 0.0).then_some(train.clip);
        adam
    }

    /// The loss that the settings, or else the model, name.
    pub fn loss(&self) -> Loss {
        let mut config = self.config.loss.clone();
        config.temperature = self.config.train.temperature.unwrap_or(config.temperature);
        let published = self.config.model.spec().loss.unwrap_or_default();
        let of_task = self.phase().task.as_ref().and_then(|task| task.config.loss);
        let asked = of_task.or(self.config.train.loss_kind).or(config.kind).or(self.phase().loss).unwrap_or(published);
        // Classes are few: there is one loss of all.
        let kind = if self.split.has_classes() { LossKind::Softmax } else { asked };
        let corrects = config.log_q && self.phase().corrects;
        let corrected = corrects && matches!(kind, LossKind::SampledSoftmax | LossKind::InBatch);
        let alpha = match (kind, self.config.train.sampler) {
            // Other rows' targets come as often as they are chosen.
            (LossKind::InBatch, _) => 1.0,
            (_, Sampler::Popularity(alpha)) => alpha as f64,
            // Chances that are all the same cancel.
            (_, Sampler::Uniform) => 0.0,
        };
        let log_q = (corrected && alpha != 0.0).then(|| log_chances(&self.split.popularity(&self.data), alpha));
        Loss { kind, config, log_q, cold: self.task.cold.clone() }
    }

    /// What training batches are like.
    pub fn batch_spec(&self) -> BatchSpec {
        let (Session { config, model, .. }, step) = (self, self.step_config(&FitOptions::default()));
        let spec = step.batches(&**model);
        BatchSpec {
            negatives: spec.negatives.map(|drawn| Drawn { sampler: config.train.sampler, ..drawn }),
            features: self.features.clone(),
            order: config.train.order,
            seed: config.seed,
            threads: config.train.threads,
            ..spec
        }
    }

    /// The training step that the settings describe.
    pub fn step_config(&self, options: &FitOptions) -> StepConfig {
        let loss = self.loss();
        StepConfig {
            batch: self.config.train.batch,
            max_len: self.config.data.max_len,
            negatives: self.config.train.negatives,
            loss,
            optimiser: self.optimiser(),
            plan: Options { half: self.config.precision == Precision::F16, ..options.plan },
            run: options.run,
            keep_gradients: false,
        }
    }

    /// The training steps of the tasks that are trained as one, each of its model, by one optimiser.
    pub fn step_configs(&self, options: &FitOptions) -> Vec<(&dyn Model, StepConfig)> {
        let optimiser = self.optimiser();
        let of = |task: &Session| StepConfig { optimiser: optimiser.clone(), ..task.step_config(options) };
        self.tasks().map(|task| (&*task.model, of(task))).collect()
    }

    /// A store for the parameters, for evaluation, and for the `optimiser` where there is one. All zero.
    pub fn store(&self, optimiser: Option<&Adam>) -> Result<Store> {
        let params = self.model.params();
        let mut states = optimiser.map_or_else(|| params.states(), |adam| TrainStep::states(params, adam));
        for task in self.tasks() {
            let max_len = task.model.window(task.config.data.max_len, task.data.longest());
            let candidates = Candidates::of(&task.config.eval);
            for (name, len) in ranker::states(&*task.model, task.config.eval.batch, max_len, candidates) {
                match states.iter_mut().find(|(own, _)| *own == name) {
                    Some((_, own)) => *own = len.max(*own),
                    None => states.push((name, len)),
                }
            }
        }
        let mut store = self.device.store(&states)?;
        params.lend_to(&self.device, &mut store)?;
        Ok(store)
    }

    /// What ranks the targets of a part, or listed items, by the parameters in `store`.
    pub fn evaluator<'a>(&self, store: &Store, ask: impl Into<Ask<'a>>) -> Result<Evaluator> {
        self.evaluator_with(store, ask, RunOptions::default())
    }

    /// As [`Session::evaluator`]; `run.check_finite`: by values that are all finite.
    pub fn evaluator_with<'a>(&self, store: &Store, ask: impl Into<Ask<'a>>, run: RunOptions) -> Result<Evaluator> {
        let Session { device, model, data, split, config, .. } = self;
        let (asked, features, max_len) = ((data, split, ask.into()), self.features.as_ref(), config.data.max_len);
        let run = RunOptions { profile: false, ..run };
        Evaluator::new((device, run), store, &**model, asked, features, max_len, &config.eval)
    }

    /// What ranks the targets of a part, planned and not compiled.
    ///
    /// # Errors
    /// A part without targets, or without one that can be ranked.
    pub fn ranking_plans<'a>(&self, ask: impl Into<Ask<'a>>, options: Options) -> Result<Vec<Plan>> {
        let Session { model, data, split, config, task, .. } = self;
        let (asked, features, max_len) = ((data, split, ask.into()), self.features.as_ref(), config.data.max_len);
        evaluator::plans(&**model, asked, features, max_len, &config.eval, (task.items, options))
    }

    /// Parameters that are trained in the phase.
    pub fn tuned(&self) -> usize {
        let adam = self.optimiser();
        self.model.params().iter().filter(|p| adam.trains(&p.name)).map(|p| p.shape.elements()).sum()
    }
}
