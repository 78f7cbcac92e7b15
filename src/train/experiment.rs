//! What all phases of a training share, opened once: a device, the data, and the phases of the model on these data.

use super::known::KnownItems;
use crate::config::Config;
use crate::data::synth::{Behaviour, Domain};
use crate::data::{Attributes, Dataset, Features, Learn, Statistics};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::models::Phase;
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
    pub(super) features: Option<Arc<Features>>,
    /// What is known of the items, of what `model.features` names.
    pub known: KnownItems,
    /// Fingerprint of the data that the parameters are of: `data`, except in serving.
    pub(super) trained_on: String,
    /// The number of users of those data.
    pub(super) users: usize,
    /// The data are histories to recommend from, of which nothing is held out.
    pub(super) serves: bool,
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
    pub(super) fn behaviours(&self) -> &[String] {
        behaviours_of(&self.data)
    }
}

impl Opening {
    pub fn new(mut config: Config) -> Result<Opening> {
        config.check()?;
        let phases = config.model.phases(true)?;
        let model = config.model.name();
        match (config.data.learn, learn_apart(&phases)) {
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
        let of_behaviours = learn_apart(&phases) || config.data.target.is_some();
        if of_behaviours && config.data.path.is_none() && config.data.behaviours.is_empty() {
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
        learn_apart(&self.phases) || data.target.is_some() || model.reads_behaviours()
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
        let known = KnownItems::new(&config, &loaded.data, loaded.world.as_ref())?;
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
            known,
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

/// Whether phases learn from other events than each other, by their behaviours and a cut in time.
fn learn_apart(phases: &[Phase]) -> bool {
    phases.iter().any(|phase| phase.learns.is_some())
}

fn behaviours_of(data: &Dataset) -> &[String] {
    if data.behaviours(0).is_some() { data.behaviour_names() } else { &[] }
}
