//! What training, evaluation and recommending start from: a device, a data set with its split, and a model.

use super::checkpoint::{self, Best, Origin};
use super::config::{Config, Precision, TrainConfig};
use super::fit::FitOptions;
use super::folder::{RunFolder, Stage};
use super::step::{StepConfig, TrainStep};
use crate::data::negatives::Sampler;
use crate::data::samples::negatives::Drawn;
use crate::data::synth::{Behaviour, Domain};
use crate::data::{
    Ask, Attributes, BatchSpec, Cut, DataConfig, Dataset, EvalBatches, EvalSpec, Features, Learn, Part, Split,
    SplitSpec, Statistics,
};
use crate::device::{Device, RunOptions, Store};
use crate::error::{Error, Result};
use crate::eval::evaluator::Evaluator;
use crate::eval::ranker::{self, Candidates};
use crate::graph::plan::Options;
use crate::models::FeatureCounts;
use crate::models::loss::log_chances;
use crate::models::{Loss, LossKind, Model, Phase, Task};
use crate::optim::{Adam, matches};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

mod describe;
mod lists;
mod run;
mod world;

pub struct Session {
    /// As it holds in the phase.
    pub config: Config,
    /// As it is written down: for all phases.
    pub written: Config,
    /// Of a training in two.
    pub phase: Option<Phase>,
    pub device: Device,
    /// What the device is, and why it was taken.
    pub device_note: String,
    /// What the data set is called.
    pub name: String,
    pub data: Arc<Dataset>,
    /// Fingerprint of the data that the parameters are of: `data`, but in serving.
    trained_on: String,
    /// What the data was drawn from, where that is the clicks of the embedded world, nothing filtered out.
    pub world: Option<Domain>,
    pub split: Arc<Split>,
    /// Of a model that reads them.
    pub features: Option<Arc<Features>>,
    /// What the model was built for.
    pub task: Task,
    pub model: Box<dyn Model>,
}

/// The phases that a training goes through.
pub fn phases(config: &Config) -> Vec<Option<Phase>> {
    let phase = if config.from.is_some() { Some(Phase::Tune) } else { config.phase };
    match (config.model.has_phases(), phase) {
        (false, _) => vec![None],
        (true, Some(phase)) => vec![Some(phase)],
        (true, None) => vec![Some(Phase::Pretrain), Some(Phase::Tune)],
    }
}

impl Session {
    /// Checks the settings, opens the device, reads the data and builds the model, as it is in the last of its phases.
    pub fn open(config: Config) -> Result<Session> {
        let phase = phases(&config).pop().flatten();
        Session::open_phase(config, phase)
    }

    /// As [`Session::open`], as it is in one of [`phases`]; without phases where the data has no behaviours.
    pub fn open_phase(config: Config, phase: Option<Phase>) -> Result<Session> {
        let opening = Opening::new(config, phase)?;
        let loaded = Loaded::new(&opening.config)?;
        opening.session(loaded, None)
    }

    /// The same model for a catalogue of `items`, to be planned: the data's batches do not fit it.
    ///
    /// # Errors
    /// No item; more than the model can hold.
    pub fn set_items(&mut self, items: usize) -> Result<()> {
        let most = u32::MAX as usize - 2;
        if !(1..=most).contains(&items) {
            return Err(Error::Usage(format!("--items: found {items}; expected 1 to {most}")));
        }
        self.task.items = items;
        self.model = self.config.model.build(&self.task)?;
        Ok(())
    }

    /// An error unless there is something to validate by that can be ranked, and, but in pre-training, to test by.
    pub fn check_asked(&self) -> Result<()> {
        let parts = if self.phase == Some(Phase::Pretrain) { &[Part::Valid][..] } else { &[Part::Valid, Part::Test] };
        let Session { config, data, split, .. } = self;
        if let Some(part) = parts.iter().find(|part| split.targets(data, **part).next().is_none()) {
            return Err(Error::Usage(format!("nothing to evaluate in the {part} part: {}", split.describe(data))));
        }
        let (sampled, keep_all) = (config.eval.sampled(), config.eval.ranks_all());
        let spec = EvalSpec { sampled, keep_all, ..EvalSpec::default() };
        parts.iter().try_for_each(|part| EvalBatches::check(data, split, *part, &spec))
    }

    /// Checks what only a training asks of the settings.
    ///
    /// # Errors
    /// A batch that is larger than what kernels count in 32 bits; more items than a loss can tell apart; names of parameters
    /// of which there is none.
    pub fn check_training(&self) -> Result<()> {
        let Session { config, data, model, .. } = self;
        if model.counts() {
            return Ok(());
        }
        let (batch, window, negatives) = (config.train.batch, config.data.max_len, config.train.negatives);
        let loss = self.loss();
        check_size("train.batch x data.max_len x the model's largest width", &[batch, window, model.widest()])?;
        if loss.kind.is_sampled() && !loss.config.shared {
            let targets = model.samples().targets(window);
            let dim = model.params().iter().map(|p| p.shape.last_dim()).next().unwrap_or(1);
            check_size("train.batch x targets x train.negatives x model.dim", &[batch, targets, negatives, dim])?;
        }
        if let Some((what, factors)) = model.counted(batch, window) {
            check_size(what, &factors)?;
        }
        // Ids are compared as f32 there.
        let compared = loss.kind == LossKind::InBatch || loss.kind == LossKind::SampledSoftmax && loss.config.shared;
        if compared && data.items() >= 1 << 24 {
            let (items, most) = (data.items(), 1 << 24);
            return Err(Error::Usage(format!(
                "loss.kind={} with negatives for all rows: found {items} items; expected fewer than {most}",
                loss.kind
            )));
        }
        if !model.params().iter().any(|p| self.optimiser().trains(&p.name)) {
            let (only, names) = (&config.train.only, names(&**model));
            return Err(Error::Usage(format!(
                "train.only: {} are like no parameter's name; the names are {names}",
                only.iter().flatten().map(|pattern| format!("{pattern:?}")).collect::<Vec<_>>().join(", ")
            )));
        }
        let patterns = &config.train.no_decay;
        let given = *patterns != TrainConfig::default().no_decay && !patterns.is_empty();
        if given && !model.params().iter().any(|p| patterns.iter().any(|pattern| matches(pattern, &p.name))) {
            let names = names(&**model);
            return Err(Error::Usage(format!(
                "train.no_decay: {patterns:?} are like no parameter's name; the names are {names}"
            )));
        }
        Ok(())
    }

    /// The files of a run that are those of the session's phase.
    pub fn stage(&self, other: bool) -> Stage {
        match self.phase {
            None => Stage::Whole,
            Some(Phase::Pretrain) => Stage::Pretrain,
            Some(Phase::Tune) => {
                let all = self.model.params().iter().all(|p| self.keeps(&p.name));
                Stage::Tune { behaviour: self.config.data.target.clone().unwrap_or_default(), other, all }
            }
        }
    }

    /// Reads the best parameters of the run into `store`: those that the phase trained, and the backbone that it left as it was.
    pub fn load_best(&self, folder: &RunFolder, store: &mut Store) -> Result<Best> {
        self.load_frozen(folder, store)?;
        let (origin, params) = (self.origin(), self.model.params());
        checkpoint::load_parameters(&folder.model_file(), &origin, params, &|name| self.keeps(name), store)
    }

    /// Whether the phase's own files hold the parameter: not what a second phase leaves as the first has made it.
    pub fn keeps(&self, name: &str) -> bool {
        self.phase != Some(Phase::Tune) || name.starts_with(PROMPTS) || self.optimiser().trains(name)
    }

    /// Reads what the phase's own files do not hold into `store`: the first phase's best.
    pub fn load_frozen(&self, folder: &RunFolder, store: &mut Store) -> Result<()> {
        let params = self.model.params();
        if params.iter().any(|p| !self.keeps(&p.name)) {
            let (path, origin) = (self.backbone_file(folder)?, self.origin());
            checkpoint::load_parameters::<Value>(&path, &origin, params, &|name| !self.keeps(name), store)?;
        }
        Ok(())
    }

    /// The first phase's best: the folder's own, or until it has one that of the run which the settings name.
    fn backbone_file(&self, folder: &RunFolder) -> Result<PathBuf> {
        match (folder.backbone_file(), &self.written.from) {
            (own, None) if !own.is_file() => Err(Error::Usage(format!(
                "phase=tune: {} is not there; tune the backbone of a run by --from DIR, or run both phases",
                own.display()
            ))),
            (own, Some(from)) if !own.is_file() => Ok(RunFolder::open(from)?.backbone_file()),
            (own, _) => Ok(own),
        }
    }

    /// What the parameters of a training start from: drawn, and in the second phase those that the first has left.
    pub fn start(&self, folder: &RunFolder, store: &mut Store) -> Result<()> {
        let params = self.model.params();
        params.initialise(store, self.config.seed)?;
        if self.phase == Some(Phase::Tune) {
            let path = self.backbone_file(folder)?;
            let backbone = |name: &str| !name.starts_with(PROMPTS);
            checkpoint::load_parameters::<Value>(&path, &self.origin(), params, &backbone, store)?;
        }
        Ok(())
    }

    /// Whose parameters these are.
    pub fn origin(&self) -> Origin {
        Origin {
            wgrec: env!("CARGO_PKG_VERSION").to_string(),
            model: self.model.name().to_string(),
            data: self.trained_on.clone(),
            features: self.features.as_ref().and_then(|features| features.fingerprint()),
        }
    }

    /// Adam as the settings want it.
    pub fn optimiser(&self) -> Adam {
        let train = &self.config.train;
        let (weight_decay, no_decay) = (train.weight_decay, train.no_decay.clone());
        let mut adam =
            Adam { weight_decay, no_decay, lazy: train.lazy, accumulate: train.accumulate, ..Adam::default() };
        adam.scaled = self.config.precision == Precision::F16;
        let prompts =
            self.phase == Some(Phase::Tune) && self.model.params().iter().any(|p| p.name.starts_with(PROMPTS));
        match &train.only {
            Some(only) => adam.only = only.clone(),
            None if prompts => adam.only = vec![format!("{PROMPTS}*")],
            None => {}
        }
        adam.settings.decoupled = train.decoupled;
        adam.clip = (train.clip > 0.0).then_some(train.clip);
        adam
    }

    /// The loss that the settings, or else the model, name.
    pub fn loss(&self) -> Loss {
        let mut config = self.config.loss.clone();
        config.temperature = self.config.train.temperature.unwrap_or(config.temperature);
        let published = self.config.model.spec().loss.unwrap_or_default();
        let kind = config.kind.or(self.model.own_loss()).unwrap_or(published);
        let corrected = config.log_q && matches!(kind, LossKind::SampledSoftmax | LossKind::InBatch);
        let alpha = match (kind, self.config.train.sampler) {
            // Other rows' targets come as often as they are chosen.
            (LossKind::InBatch, _) => 1.0,
            (_, Sampler::Popularity(alpha)) => alpha as f64,
            // Chances that are all the same cancel.
            (_, Sampler::Uniform) => 0.0,
        };
        let log_q = (corrected && alpha != 0.0).then(|| log_chances(&self.split.popularity(&self.data), alpha));
        Loss { kind, config, log_q }
    }

    /// What training batches are like.
    pub fn batch_spec(&self) -> BatchSpec {
        let (Session { config, model, .. }, step) = (self, self.step_config(&FitOptions::default()));
        let spec = step.batches(&**model);
        BatchSpec {
            negatives: spec.negatives.map(|drawn| Drawn { sampler: config.train.sampler, ..drawn }),
            features: self.features.clone(),
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

    /// A store for the parameters, for evaluation, and for the `optimiser` where there is one. All zero.
    pub fn store(&self, optimiser: Option<&Adam>) -> Result<Store> {
        let params = self.model.params();
        let mut states = optimiser.map_or_else(|| params.states(), |adam| TrainStep::states(params, adam));
        let max_len = self.model.window(self.config.data.max_len, self.data.longest());
        let candidates = Candidates::of(&self.config.eval);
        states.extend(ranker::states(&*self.model, self.config.eval.batch, max_len, candidates));
        self.device.store(&states)
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

    /// Parameters that are trained in the phase.
    pub fn tuned(&self) -> usize {
        let adam = self.optimiser();
        self.model.params().iter().filter(|p| adam.trains(&p.name)).map(|p| p.shape.elements()).sum()
    }
}

/// Settings that were checked, and the device that they name, before any data are read.
struct Opening {
    config: Config,
    phase: Option<Phase>,
    device: Device,
    device_note: String,
}

impl Opening {
    fn new(mut config: Config, phase: Option<Phase>) -> Result<Opening> {
        config.check()?;
        let model = config.model.name();
        if !config.model.has_phases() {
            let set = [("phase", config.phase.is_some()), ("from", config.from.is_some())];
            if let Some((key, _)) = set.iter().find(|(_, set)| *set) {
                return Err(Error::Usage(format!("{key} is set, but {model} is trained in one phase")));
            }
            if config.data.learn == Learn::Earlier {
                let why =
                    "is what the first of two phases does, of a model that has them; expected targets, any or later";
                return Err(Error::Usage(format!("data.learn: found earlier, which {why}")));
            }
        } else if config.data.learn != Learn::default() {
            return Err(Error::Usage(format!("data.learn is set, but the phases of {model} decide what is learned")));
        }
        if config.from.is_some() && config.phase == Some(Phase::Pretrain) {
            return Err(Error::Usage("from is set, and phase=pretrain; expected one of them".to_string()));
        }
        let (device, device_note) = Device::open(&config.device)?;
        let several = phase.is_some() || config.data.target.is_some();
        if several && config.data.path.is_none() && config.data.behaviours.is_empty() {
            config.data.behaviours = Behaviour::ALL.iter().map(|b| b.name().to_string()).collect();
        }
        Ok(Opening { config, phase, device, device_note })
    }

    /// Attributes of the users of the data with this `fingerprint`, if it is these that the settings name.
    fn attributes_of(&self, fingerprint: &str) -> Result<Option<Attributes>> {
        match self.phase.map(|_| Loaded::new(&self.config)) {
            Some(Ok(Loaded { data, world, .. })) if data.fingerprint() == fingerprint => {
                attributes(&self.config, &data, world.as_ref())
            }
            _ => Ok(None),
        }
    }

    /// `trained`: of parameters that were trained on other data than are `loaded`.
    fn session(self, loaded: Loaded, trained: Option<Trained>) -> Result<Session> {
        let Opening { mut config, phase, device, device_note } = self;
        let Loaded { name, data, world, clicks } = loaded;
        let behaviours = if data.behaviours(0).is_some() { data.behaviour_names() } else { &[] };
        let phase = phase.filter(|_| !behaviours.is_empty());
        let set = [("phase", config.phase.is_some()), ("model.pretext.task", config.model.is_given("pretext.task"))];
        if let (None, Some((key, _))) = (phase, set.iter().find(|(_, set)| *set)) {
            let model = config.model.name();
            return Err(Error::Usage(format!(
                "{key} is set, but {name} has no behaviours: {model} has one phase then"
            )));
        }
        if let (Some(_), Some(gravest)) = (phase, behaviours.last()) {
            config.data.target.get_or_insert(gravest.clone());
            config.data.cut.get_or_insert(EARLIER);
        }
        let written = config.clone();
        match phase {
            Some(Phase::Pretrain) => {
                config.train = config.pretrain.clone();
                config.data.learn = Learn::Earlier;
            }
            Some(Phase::Tune) => config.data.learn = Learn::Later,
            None => {}
        }
        let target = config.data.target.as_deref().map(|target| number_of(target, behaviours)).transpose()?;
        // Pre-training is done with whatever was seen.
        let done = target.filter(|_| phase != Some(Phase::Pretrain));
        let split = match trained {
            None => Split::new(&data, config.split_spec(target))?,
            Some(_) => Split::whole(&data, done),
        };
        let split = Arc::new(split);
        let trained_on = trained.as_ref().map_or(data.fingerprint(), |trained| &trained.fingerprint).to_string();
        let users = trained.as_ref().map_or(data.users(), |trained| trained.users);
        let attributes = match (phase, trained) {
            (None, _) => None,
            (Some(_), None) => attributes(&config, &data, world.as_ref())?,
            (Some(_), Some(trained)) => trained.attributes,
        };
        let features = phase.map(|_| Arc::new(Features::new(attributes, Statistics::new(behaviours.len()))));
        let task = Task {
            users,
            items: data.items(),
            max_len: config.data.max_len,
            behaviours: behaviours.len(),
            target: target.map(|target| target as u32 + 1),
            features: features.as_deref().map(counts).unwrap_or_default(),
            phase,
        };
        let model = config.model.build(&task)?;
        let features = features.filter(|_| model.reads().features > 0);
        let world = world.filter(|_| clicks);
        let session = Session {
            config,
            written,
            phase,
            device,
            device_note,
            name,
            data,
            trained_on,
            world,
            split,
            features,
            task,
            model,
        };
        let read = session.model.window(session.config.data.max_len, session.data.longest());
        check_size("eval.batch x data.max_len", &[session.config.eval.batch, read])?;
        Ok(session)
    }
}

/// Data, and where they come from.
struct Loaded {
    name: String,
    data: Arc<Dataset>,
    world: Option<Domain>,
    /// The data are all clicks of the world.
    clicks: bool,
}

impl Loaded {
    fn new(config: &Config) -> Result<Loaded> {
        if let Some(path) = &config.data.path {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            let data = Arc::new(config.data.load()?);
            return Ok(Loaded { name, data, world: None, clicks: false });
        }
        let (data, world, whole) = world::world(config)?;
        let clicks = whole && config.data.behaviours.is_empty();
        let name = format!("embedded world, seed {}", config.world_seed);
        Ok(Loaded { name, data: Arc::new(data), world: Some(world), clicks })
    }
}

/// What is known of the data that parameters were trained on, where others take their place.
struct Trained {
    fingerprint: String,
    users: usize,
    /// Of the users, where the model reads some.
    attributes: Option<Attributes>,
}

/// Share of the events that are earlier ones, where there are phases and data.cut is not set (section 5.1.1 of DPCPL).
const EARLIER: f64 = 0.6;

/// What the names of parameters begin with that a second phase adds to a backbone.
const PROMPTS: &str = "prompts.";

impl Config {
    /// `target`: number of data.target.
    fn split_spec(&self, target: Option<u8>) -> SplitSpec {
        let DataConfig { split, cut, cut_by, learn, .. } = self.data;
        let cut = cut.map(|share| Cut { share, by: cut_by });
        SplitSpec { kind: split, target, cut, learn, only: self.eval.targets }
    }
}

/// The names of a model's parameters.
fn names(model: &dyn Model) -> String {
    model.params().iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The number of data.target.
fn number_of(target: &str, behaviours: &[String]) -> Result<u8> {
    let found = behaviours.iter().position(|name| name == target);
    found.map(|number| number as u8).ok_or_else(|| {
        let there = match behaviours.is_empty() {
            true => "the data has no behaviours".to_string(),
            false => format!("expected one of {}", behaviours.join(", ")),
        };
        Error::Usage(format!("data.target: found {target:?}; {there}"))
    })
}

/// Attributes of users, of the data or of the world.
fn attributes(config: &Config, data: &Dataset, world: Option<&Domain>) -> Result<Option<Attributes>> {
    match world {
        Some(world) => Attributes::of_world(world, data, &config.data).map(Some),
        None => config.data.user_attributes(data),
    }
}

/// The numbers of features.
fn counts(features: &Features) -> FeatureCounts {
    let (attributes, statistics, rows) = (features.attributes(), features.statistics(), features.rows());
    FeatureCounts { attributes, statistics, rows }
}

/// An error where a product of counts is more than what kernels count in 32 bits.
fn check_size(what: &str, counts: &[usize]) -> Result<()> {
    let (size, most) = (counts.iter().map(|&n| n as f64).product::<f64>(), u32::MAX as f64);
    if size <= most {
        return Ok(());
    }
    Err(Error::Usage(format!("{what}: found {size:.3e}; expected at most {most:.3e}: lower one of them")))
}
