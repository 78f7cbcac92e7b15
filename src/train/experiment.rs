//! What all phases of a training share, opened once: a device, data, and the phases of the model on them.

use super::corpus::{Corpus, Loaded, Trained};
use crate::config::Config;
use crate::data::synth::Behaviour;
use crate::data::{Attributes, Features, Learn, Statistics};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::models::Phase;
use std::sync::{Arc, OnceLock};

/// A training, before it begins.
pub struct Experiment {
    /// As it is written down: for all phases.
    pub config: Config,
    /// Every phase of the model on these data, in order.
    pub phases: Vec<Phase>,
    pub device: Device,
    /// What the device is, and why it was taken.
    pub device_note: String,
    /// The data themselves, if a phase that is run learns from them.
    own: Option<Arc<Corpus>>,
    /// What data.auxiliary names, once it is asked for.
    auxiliary: OnceLock<Arc<Corpus>>,
    /// Features of users, if a phase reads them.
    pub(super) features: Option<Arc<Features>>,
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

impl Experiment {
    /// Checks the settings, opens the device and reads the data.
    ///
    /// # Errors
    /// A setting that is out of range, or does not fit the model's phases or the data; a device or data that cannot be opened.
    pub fn open(config: Config) -> Result<Arc<Experiment>> {
        let opening = Opening::new(config)?;
        let own = opening.runs(|phase| !phase.auxiliary).then(|| Loaded::new(&opening.config)).transpose()?;
        opening.experiment(own, None)
    }

    /// The phases that are run, in order.
    pub fn chosen(&self) -> Vec<&Phase> {
        let chosen = self.config.chosen(&self.phases);
        self.phases.iter().filter(|phase| chosen.contains(&phase.name.as_str())).collect()
    }

    /// What a phase that is run learns from.
    ///
    /// # Errors
    /// When data.auxiliary is first asked for: whatever is wrong with one of its data sets.
    pub fn corpus(&self, phase: &Phase) -> Result<Arc<Corpus>> {
        if !phase.auxiliary {
            return Ok(self.own.clone().expect("a phase that is run learns from the data"));
        }
        match self.auxiliary.get() {
            Some(corpus) => Ok(corpus.clone()),
            None => {
                let corpus = Arc::new(Corpus::auxiliary(&self.config)?);
                Ok(self.auxiliary.get_or_init(|| corpus).clone())
            }
        }
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
        if !config.data.auxiliary.is_empty() {
            let of_own = |phase: &Phase| !phase.auxiliary && config.chosen(&phases).contains(&phase.name.as_str());
            let why = match phases.iter().any(|phase| phase.auxiliary) {
                false => format!("but {model} is trained on the data themselves alone here"),
                true if config.data.path.is_none() && phases.iter().any(of_own) => {
                    "but no data to adapt to; name them by --data, or pre-train only: phases = [\"pretrain\"]"
                        .to_string()
                }
                true => String::new(),
            };
            if !why.is_empty() {
                return Err(Error::Usage(format!("data.auxiliary is set, {why}")));
            }
        }
        let (device, device_note) = Device::open(&config.device)?;
        let of_behaviours = learn_apart(&phases) || config.data.target.is_some();
        if of_behaviours && config.data.path.is_none() && config.data.behaviours.is_empty() {
            config.data.behaviours = Behaviour::ALL.iter().map(|b| b.name().to_string()).collect();
        }
        Ok(Opening { config, phases, device, device_note })
    }

    /// Whether a phase of this kind is run.
    pub fn runs(&self, kind: impl Fn(&Phase) -> bool) -> bool {
        let chosen = self.config.chosen(&self.phases);
        self.phases.iter().any(|phase| kind(phase) && chosen.contains(&phase.name.as_str()))
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

    /// `own`: the data themselves, if a phase that is run learns from them. `trained`: what the parameters were trained on, if on
    /// other data than these.
    pub fn experiment(self, own: Option<Loaded>, trained: Option<Trained>) -> Result<Arc<Experiment>> {
        let reads_features = self.reads_features();
        let Opening { mut config, phases: of_behaviours, device, device_note } = self;
        let behaviours = own.as_ref().map_or(&[][..], |own| own.data.behaviours_in_use());
        let phases = match behaviours {
            [] => config.model.phases(false)?,
            _ => of_behaviours,
        };
        if let Some(own) = &own {
            config.check_phases_on(&phases, &own.name)?;
        }
        let cut = phases.iter().find_map(|phase| phase.learns);
        if let (Some((_, cut)), Some(gravest)) = (cut, behaviours.last()) {
            config.data.target.get_or_insert(gravest.clone());
            config.data.cut.get_or_insert(cut);
        }
        let attributes = match (behaviours.is_empty() || !reads_features, &trained) {
            (true, _) => None,
            (false, None) => own.as_ref().map(|own| own.attributes(&config)).transpose()?.flatten(),
            (false, Some(trained)) => trained.attributes.clone(),
        };
        let features = reads_features.then(|| Arc::new(Features::new(attributes, Statistics::new(behaviours.len()))));
        let (serves, auxiliary) = (trained.is_some(), OnceLock::new());
        let own = own.map(|own| Corpus::new(&config, own, trained)).transpose()?.map(Arc::new);
        Ok(Arc::new(Experiment { config, phases, device, device_note, own, auxiliary, features, serves }))
    }
}

/// Whether phases learn from other events than each other, by their behaviours and a cut in time.
fn learn_apart(phases: &[Phase]) -> bool {
    phases.iter().any(|phase| phase.learns.is_some())
}
