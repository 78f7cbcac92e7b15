//! What a phase learns from: a data set with what is known of its items, or several that are joined.

use super::known::KnownItems;
use crate::config::Config;
use crate::data::synth::{Domain, DomainName};
use crate::data::tasks::Sources;
use crate::data::{Attributes, DataConfig, Dataset, Split, SplitSpec};
use crate::error::{Error, Result};
use std::sync::Arc;

/// What a phase learns from.
pub struct Corpus {
    /// What the data set is called.
    pub name: String,
    pub data: Arc<Dataset>,
    /// What the data were drawn from, if it is the embedded world.
    world: Option<Domain>,
    /// The data are all clicks of the world, nothing filtered out.
    clicks: bool,
    /// What is known of the items, of what `model.features` names.
    pub known: KnownItems,
    /// Fingerprint of the data that the parameters are of: `data`, except in serving.
    pub(super) trained_on: String,
    /// The number of users of those data.
    pub(super) users: usize,
    /// The data sets that `data` are joined from; empty if it is one.
    members: Vec<(String, Arc<Dataset>)>,
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

impl Corpus {
    /// `trained`: what the parameters were trained on, if on other data than are `loaded`.
    pub(super) fn new(config: &Config, loaded: Loaded, trained: Option<Trained>) -> Result<Corpus> {
        let known = KnownItems::new(config, &loaded.data, loaded.world.as_ref())?;
        let own = || (loaded.data.fingerprint().to_string(), loaded.data.users());
        let (trained_on, users) = trained.map_or_else(own, |trained| (trained.fingerprint, trained.users));
        let Loaded { name, data, world, clicks } = loaded;
        Ok(Corpus { name, data, world, clicks, known, trained_on, users, members: vec![] })
    }

    /// The data sets that data.auxiliary names, or without data those of the embedded world, joined.
    ///
    /// # Errors
    /// None, or two of one name; whatever is wrong with one of them; items of which other things are known.
    pub(super) fn auxiliary(config: &Config) -> Result<Corpus> {
        let mut members: Vec<(String, Arc<Dataset>)> = vec![];
        let mut known: Vec<(String, KnownItems)> = vec![];
        for (name, config) in config.auxiliary()? {
            if members.iter().any(|(other, _)| *other == name) {
                let why = format!("found two data sets that are called {name:?}; expected each once");
                return Err(Error::Usage(format!("data.auxiliary: {why}")));
            }
            let loaded = Loaded::new(&config).map_err(|e| e.of(&name))?;
            let of_set = KnownItems::new(&config, &loaded.data, loaded.world.as_ref());
            known.push((name.clone(), of_set.map_err(|e| e.of(&name))?));
            members.push((name, loaded.data));
        }
        let known = KnownItems::joined(known)?;
        let data = Arc::new(Dataset::joined(&members));
        let name = members.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(" + ");
        let (trained_on, users) = (data.fingerprint().to_string(), data.users());
        Ok(Corpus { name, data, world: None, clicks: false, known, trained_on, users, members })
    }

    /// What the data were drawn from, if they are the clicks of the embedded world, nothing filtered out.
    pub fn clicks_of(&self) -> Option<&Domain> {
        self.world.as_ref().filter(|_| self.clicks)
    }

    /// What the labels of tasks are made from.
    ///
    /// # Errors
    /// A table of items, or a file of users, that is malformed.
    pub(super) fn sources(&self, config: &DataConfig) -> Result<Sources> {
        let (data, world) = (&self.data, self.world.as_ref());
        let attributes = match world {
            Some(world) => Some(Attributes::of_world(world, data, config)?),
            None => config.user_attributes(data)?,
        };
        Ok(Sources { categories: config.item_categories(data, world)?, attributes })
    }

    /// Fingerprints of the data sets that it is joined from.
    pub(super) fn sets(&self) -> Vec<String> {
        self.members.iter().map(|(_, set)| set.fingerprint().to_string()).collect()
    }

    /// Fingerprint that the data have where no item is held out of them.
    pub(super) fn whole(&self) -> &str {
        self.data.held_out().map_or(&self.trained_on, |held| &held.of)
    }

    /// The split of the data: of several data sets each has its own.
    ///
    /// # Errors
    /// Those of [`Split::new`].
    pub(super) fn split(&self, spec: SplitSpec) -> Result<Split> {
        if self.members.is_empty() { Split::new(&self.data, spec) } else { Split::joined(&self.members, spec) }
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
        let domain = match config.world.domain {
            DomainName::Default => String::new(),
            domain => format!(", domain {}", domain.name()),
        };
        let name = format!("embedded world, seed {}{domain}", config.world_seed);
        Ok(Loaded { name, data: Arc::new(data), world: Some(world), clicks })
    }

    /// Attributes of users, of the data or of the world.
    pub fn attributes(&self, config: &Config) -> Result<Option<Attributes>> {
        match &self.world {
            Some(world) => Attributes::of_world(world, &self.data, &config.data).map(Some),
            None => config.data.user_attributes(&self.data),
        }
    }
}

impl Config {
    /// The data sets to pre-train on: what each is called, and the settings to read it by.
    ///
    /// # Errors
    /// No data set is named, although `data.path` is; those of [`crate::data::Auxiliary::of`].
    fn auxiliary(&self) -> Result<Vec<(String, Config)>> {
        let of_world = [DomainName::A, DomainName::B, DomainName::C, DomainName::D];
        match (&self.data.auxiliary[..], &self.data.path) {
            ([], None) => Ok(of_world.map(|domain| (domain.name().to_string(), self.in_domain(domain))).to_vec()),
            ([], Some(_)) => Err(Error::Usage(format!(
                "data.auxiliary is not set; expected data sets to pre-train {model} on, a run that has, by --from DIR, or \
                 model.adapt=gb, which trains on the data themselves alone",
                model = self.model.name()
            ))),
            (sets, _) => {
                let of = |(name, data)| (name, Config { data, ..self.clone() });
                sets.iter().map(|set| set.of(&self.data).map(of)).collect()
            }
        }
    }

    /// These settings, of another domain of the embedded world.
    fn in_domain(&self, domain: DomainName) -> Config {
        let mut config = self.clone();
        config.world.domain = domain;
        config.data.hold_out_items = None;
        config
    }
}
