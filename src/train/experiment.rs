//! What all phases of a training share, opened once: a device, the data, and the phases of the model on these data.

use super::config::Config;
use super::session::Session;
use crate::data::synth::{Behaviour, Domain};
use crate::data::{Attributes, Dataset, Features, Learn, Split, Statistics};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::models::{FeatureCounts, Phase, Task};
use std::sync::Arc;

/// A training, before it begins.
pub struct Experiment {
    /// As it is written down: for all phases.
    pub config: Config,
    /// Every phase of the model on these data, in order.
    pub phases: Vec<Phase>,
    pub device: Device,
    /// What the device is, and why it was taken.
    pub device_note: String,
    /// What the data set is called.
    pub name: String,
    pub data: Arc<Dataset>,
    /// What the data were drawn from, if they are the clicks of the embedded world, nothing filtered out.
    pub world: Option<Domain>,
    /// Features of users, if a phase reads them.
    features: Option<Arc<Features>>,
    /// Fingerprint of the data that the parameters are of: `data`, except in serving.
    pub(super) trained_on: String,
    /// The number of users of those data.
    users: usize,
    /// The data are histories to recommend from, of which nothing is held out.
    serves: bool,
}

/// Settings that were checked, and the device that they name, before any data are read.
pub(super) struct Opening {
    pub config: Config,
    /// Phases on data with behaviours.
    phases: Vec<Phase>,
    device: Device,
    device_note: String,
}

/// Data, and where they come from.
pub(super) struct Loaded {
    pub name: String,
    pub data: Arc<Dataset>,
    pub world: Option<Domain>,
    /// The data are all clicks of the world.
    pub clicks: bool,
}

/// What is known of the data that parameters were trained on, where other data are used instead.
pub(super) struct Trained {
    pub fingerprint: String,
    pub users: usize,
    /// Attributes of the users, if the model reads some.
    pub attributes: Option<Attributes>,
}

impl Experiment {
    /// Checks the settings, opens the device and reads the data.
    ///
    /// # Errors
    /// A setting that is out of range, or does not fit the model's phases or the data; a device or data that cannot be opened.
    pub fn open(config: Config) -> Result<Arc<Experiment>> {
        let opening = Opening::new(config)?;
        let loaded = Loaded::new(&opening.config)?;
        opening.experiment(loaded, None)
    }

    /// The phases that are run, in order.
    pub fn chosen(&self) -> Vec<&Phase> {
        let chosen = self.config.chosen(&self.phases);
        self.phases.iter().filter(|phase| chosen.contains(&phase.name.as_str())).collect()
    }

    /// Names of the behaviours in use.
    fn behaviours(&self) -> &[String] {
        behaviours_of(&self.data)
    }

    /// The model, split and settings of a phase.
    ///
    /// # Errors
    /// A target that is not a behaviour of the data; a split that leaves nothing; a model that cannot be built for the data.
    pub fn session(self: &Arc<Experiment>, phase: &Phase) -> Result<Session> {
        let mut config = self.config.clone();
        config.train = config.train_of(&phase.name);
        config.data.learn = phase.learns.map_or(config.data.learn, |(learn, _)| learn);
        if let Some(metric) = &phase.select {
            config.eval.metric = metric.parse().map_err(Error::Usage)?;
        }
        let behaviours = self.behaviours();
        let target = config.data.target.as_deref().map(|target| number_of(target, behaviours)).transpose()?;
        let split = match self.serves {
            false => Split::new(&self.data, config.split_spec(target))?,
            // What learns from the earlier events is done with whatever was seen.
            true => Split::whole(&self.data, target.filter(|_| config.data.learn != Learn::Earlier)),
        };
        let features = self.features.clone().filter(|_| phase.features);
        let task = Task {
            users: self.users,
            items: self.data.items(),
            max_len: config.data.max_len,
            behaviours: behaviours.len(),
            target: target.map(|target| target as u32 + 1),
            features: features.as_deref().map(counts).unwrap_or_default(),
            phase: phase.clone(),
        };
        let model = config.model.build(&task)?;
        let session = Session {
            experiment: self.clone(),
            device: self.device.clone(),
            data: self.data.clone(),
            config,
            split: Arc::new(split),
            features: features.filter(|_| model.reads().features > 0),
            task,
            model,
        };
        session.check_evaluation()?;
        Ok(session)
    }
}

impl Opening {
    pub fn new(mut config: Config) -> Result<Opening> {
        config.check()?;
        let phases = config.model.phases(true)?;
        let model = config.model.name();
        match (config.data.learn, phases.iter().any(|phase| phase.learns.is_some())) {
            (Learn::Earlier, false) => {
                let why = "of which nothing is tested; expected targets, any or later";
                return Err(Error::Usage(format!("data.learn: found earlier, {why}")));
            }
            (learn, true) if learn != Learn::default() => {
                let why = format!("but the phases of {model} decide what is learned");
                return Err(Error::Usage(format!("data.learn is set, {why}")));
            }
            _ => {}
        }
        let (device, device_note) = Device::open(&config.device)?;
        let several = phases.len() > 1 || config.data.target.is_some();
        if several && config.data.path.is_none() && config.data.behaviours.is_empty() {
            config.data.behaviours = Behaviour::ALL.iter().map(|b| b.name().to_string()).collect();
        }
        Ok(Opening { config, phases, device, device_note })
    }

    /// Whether a phase reads features of users.
    fn reads_features(&self) -> bool {
        self.phases.iter().any(|phase| phase.features)
    }

    /// Whether the behaviours of events are read.
    pub fn reads_behaviours(&self) -> bool {
        let Config { data, model, .. } = &self.config;
        self.phases.len() > 1 || data.target.is_some() || model.reads_behaviours()
    }

    /// Attributes of the users of the data with this `fingerprint`, if it is these that the settings name.
    pub fn attributes_of(&self, fingerprint: &str) -> Result<Option<Attributes>> {
        match self.reads_features().then(|| Loaded::new(&self.config)) {
            Some(Ok(loaded)) if loaded.data.fingerprint() == fingerprint => loaded.attributes(&self.config),
            _ => Ok(None),
        }
    }

    /// `trained`: what the parameters were trained on, if on other data than are `loaded`.
    pub fn experiment(self, loaded: Loaded, trained: Option<Trained>) -> Result<Arc<Experiment>> {
        let reads_features = self.reads_features();
        let Opening { mut config, phases: of_behaviours, device, device_note } = self;
        let behaviours = behaviours_of(&loaded.data);
        let phases = match behaviours {
            [] => config.model.phases(false)?,
            _ => of_behaviours,
        };
        config.check_phases_on(&phases, &loaded.name)?;
        let cut = phases.iter().find_map(|phase| phase.learns);
        if let (Some((_, cut)), Some(gravest)) = (cut, behaviours.last()) {
            config.data.target.get_or_insert(gravest.clone());
            config.data.cut.get_or_insert(cut);
        }
        let attributes = match (behaviours.is_empty() || !reads_features, &trained) {
            (true, _) => None,
            (false, None) => loaded.attributes(&config)?,
            (false, Some(trained)) => trained.attributes.clone(),
        };
        let features = reads_features.then(|| Arc::new(Features::new(attributes, Statistics::new(behaviours.len()))));
        let serves = trained.is_some();
        let own = || (loaded.data.fingerprint().to_string(), loaded.data.users());
        let (trained_on, users) = trained.map_or_else(own, |trained| (trained.fingerprint, trained.users));
        let Loaded { name, data, world, clicks } = loaded;
        let world = world.filter(|_| clicks);
        Ok(Arc::new(Experiment {
            config,
            phases,
            device,
            device_note,
            name,
            data,
            world,
            features,
            trained_on,
            users,
            serves,
        }))
    }
}

impl Loaded {
    pub fn new(config: &Config) -> Result<Loaded> {
        if let Some(path) = &config.data.path {
            let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
            let data = Arc::new(config.data.load()?);
            return Ok(Loaded { name, data, world: None, clicks: false });
        }
        let (data, world, whole) = config.data.load_world(&config.world, config.world_seed)?;
        let clicks = whole && config.data.behaviours.is_empty();
        let name = format!("embedded world, seed {}", config.world_seed);
        Ok(Loaded { name, data: Arc::new(data), world: Some(world), clicks })
    }

    /// Attributes of users, of the data or of the world.
    fn attributes(&self, config: &Config) -> Result<Option<Attributes>> {
        match &self.world {
            Some(world) => Attributes::of_world(world, &self.data, &config.data).map(Some),
            None => config.data.user_attributes(&self.data),
        }
    }
}

fn behaviours_of(data: &Dataset) -> &[String] {
    if data.behaviours(0).is_some() { data.behaviour_names() } else { &[] }
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

/// The numbers of features.
fn counts(features: &Features) -> FeatureCounts {
    let (attributes, statistics, rows) = (features.attributes(), features.statistics(), features.rows());
    FeatureCounts { attributes, statistics, rows }
}
