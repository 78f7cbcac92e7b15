//! One phase of a training: its settings, split and model on the data and the device that all phases share.

use super::config::Config;
use super::experiment::Experiment;
use crate::data::{Cut, DataConfig, Dataset, Features, Split, SplitSpec};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::models::{Model, Phase, Task};
use std::sync::Arc;

mod check;
mod describe;
mod lists;
mod parameters;
mod run;
mod step;

pub struct Session {
    /// What all phases share.
    pub experiment: Arc<Experiment>,
    /// The experiment's.
    pub device: Device,
    /// The experiment's.
    pub data: Arc<Dataset>,
    /// The settings in effect in the phase.
    pub config: Config,
    pub split: Arc<Split>,
    /// Features of users, if the model reads some.
    pub features: Option<Arc<Features>>,
    /// What the model was built for, the phase included.
    pub task: Task,
    pub model: Box<dyn Model>,
}

impl Session {
    /// The last of the phases that these settings run, its data read and its device opened.
    ///
    /// # Errors
    /// Those of [`Experiment::open`] and [`Experiment::session`].
    pub fn open(config: Config) -> Result<Session> {
        Session::last_of(&Experiment::open(config)?)
    }

    /// The last of the phases that an experiment runs.
    ///
    /// # Errors
    /// Those of [`Experiment::session`].
    pub fn last_of(experiment: &Arc<Experiment>) -> Result<Session> {
        experiment.session(experiment.chosen().last().expect("a training has a phase"))
    }

    pub fn phase(&self) -> &Phase {
        &self.task.phase
    }

    /// Whether the phase is the last of the model's, by which it is tested.
    pub fn is_last(&self) -> bool {
        self.experiment.phases.last().is_some_and(|last| last.name == self.phase().name)
    }

    /// The phase's name, if a training of the model has several.
    pub fn phase_name(&self) -> Option<&str> {
        (self.experiment.phases.len() > 1).then_some(&self.phase().name)
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
}

impl Config {
    /// `target`: number of data.target.
    pub(super) fn split_spec(&self, target: Option<u8>) -> SplitSpec {
        let DataConfig { split, cut, cut_by, learn, .. } = self.data;
        let cut = cut.map(|share| Cut { share, by: cut_by });
        SplitSpec { kind: split, target, cut, learn, only: self.eval.targets }
    }
}
