//! One phase of a training: its settings, split and model on the data and the device that all phases share.

use super::corpus::Corpus;
use super::experiment::Experiment;
use crate::config::Config;
use crate::data::tasks::{ABOUT, Sources};
use crate::data::{Cut, DataConfig, Dataset, Features, Group, Learn, Split, SplitKind, SplitSpec};
use crate::device::Device;
use crate::error::{Error, Result};
use crate::eval::Protocol;
use crate::models::tasks::TaskPhase;
use crate::models::{FeatureCounts, Model, Phase, Task};
use std::sync::Arc;

pub mod answers;
mod check;
mod describe;
mod lists;
mod parameters;
mod run;
pub mod shown;
mod step;

pub struct Session {
    /// What all phases share.
    pub experiment: Arc<Experiment>,
    /// The experiment's.
    pub device: Device,
    /// What the phase learns from.
    pub corpus: Arc<Corpus>,
    /// The corpus's.
    pub data: Arc<Dataset>,
    /// The settings in effect in the phase.
    pub config: Config,
    pub split: Arc<Split>,
    /// Features of users, if the model reads some.
    pub features: Option<Arc<Features>>,
    /// What the model was built for, the phase included.
    pub task: Task,
    pub model: Box<dyn Model>,
    /// The other tasks that are trained as one with this, which is the first of them.
    pub beside: Vec<Session>,
}

impl Session {
    /// The last of the phases that these settings run, its data read and its device opened.
    ///
    /// # Errors
    /// Those of [`Experiment::open`] and [`Experiment::session`].
    pub fn open(config: Config) -> Result<Session> {
        Session::last_of(&Experiment::open(config)?)
    }

    /// As [`Session::open`], of the phases in which something is trained.
    ///
    /// # Errors
    /// Those of [`Session::open`].
    pub fn open_trained(config: Config) -> Result<Session> {
        let experiment = Experiment::open(config)?;
        let chosen = experiment.chosen();
        let trained = chosen.iter().rfind(|phase| !phase.untrained).or(chosen.last());
        experiment.session(trained.expect("a training has a phase"))
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

    /// Whether the phase is the last of the model's. No task is: others can come after it.
    pub fn is_last(&self) -> bool {
        self.phase().task.is_none() && self.experiment.phases.last().is_some_and(|last| last.name == self.phase().name)
    }

    /// Whether the phase is tested, and not only validated.
    pub fn is_tested(&self) -> bool {
        self.is_last() || self.phase().task.is_some() && self.beside.is_empty()
    }

    /// The tasks that are trained as one, this one first; as a rule it alone.
    pub fn tasks(&self) -> impl Iterator<Item = &Session> {
        std::iter::once(self).chain(&self.beside)
    }

    /// The phase's name, if a training of the model has several.
    pub fn phase_name(&self) -> Option<&str> {
        (self.experiment.phases.len() > 1).then_some(&self.phase().name)
    }

    /// # Errors
    /// A task whose classes stand where items are asked for.
    pub fn check_items(&self) -> Result<()> {
        match self.split.has_classes() {
            true => Err(Error::Usage(format!(
                "task {} is of classes; expected one of items: name it by --task",
                self.phase().name
            ))),
            false => Ok(()),
        }
    }

    /// Makes the model that of the task as it is after `last` was trained, which has the parameters of all tasks.
    ///
    /// # Errors
    /// Those of building a model.
    pub fn become_task_of(&mut self, last: &Session) -> Result<()> {
        self.task.together = last.task.together.clone();
        self.model = self.config.model.build(&self.task)?;
        Ok(())
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

/// What a phase asks for.
struct Asked {
    config: Config,
    corpus: Arc<Corpus>,
    split: Split,
    features: Option<Arc<Features>>,
    task: Task,
}

impl Experiment {
    /// The model, split and settings of a phase.
    ///
    /// # Errors
    /// A target that is not a behaviour of the data; a split that leaves nothing; a model that cannot be built for the data.
    pub fn session(self: &Arc<Experiment>, phase: &Phase) -> Result<Session> {
        let Some(together) = &phase.together else { return self.session_of(self.asked(phase)?) };
        let mut all = together.tasks.iter().map(|task| self.asked(task)).collect::<Result<Vec<_>>>()?;
        let shapes = Arc::new(all.iter().map(|asked| asked.task.shape()).collect::<Vec<_>>());
        all.iter_mut().for_each(|asked| asked.task.together = shapes.clone());
        let mut sessions = all.into_iter().map(|asked| self.session_of(asked)).collect::<Result<Vec<_>>>()?.into_iter();
        let first = sessions.next().expect("a phase of tasks has one");
        Ok(Session { beside: sessions.collect(), ..first })
    }

    /// What a phase asks for, before its model is built.
    fn asked(&self, phase: &Phase) -> Result<Asked> {
        let mut config = self.config.clone();
        config.train = config.train_of(&phase.name);
        config.data.learn = phase.learns.map_or(config.data.learn, |(learn, _)| learn);
        if phase.auxiliary {
            config.data.learn_users = None;
        }
        if let Some(metric) = &phase.select {
            let about = |e| match &phase.task {
                Some(task) => format!("{}{}: metric: {e}", ABOUT, task.config.name),
                None => e,
            };
            config.eval.metric = metric.parse().map_err(|e| Error::Usage(about(e)))?;
        }
        let corpus = self.corpus(phase)?;
        let data = &corpus.data;
        let behaviours = data.behaviours_in_use();
        let target = config.data.target.as_deref().map(|target| number_of(target, behaviours)).transpose()?;
        let of_task = phase.task.as_deref().map(|task| config.of_task(task, &corpus)).transpose()?;
        let split = match (self.serves, &phase.task, &of_task) {
            (false, Some(task), Some(sources)) => task.split(data, sources)?,
            (false, ..) => corpus.split(config.split_spec(target))?,
            (true, Some(task), _) if task.config.has_classes() => {
                let name = &task.config.name;
                return Err(Error::Usage(format!(
                    "task {name} is of classes; expected one of items to recommend by: name it by --task"
                )));
            }
            // What learns from the earlier events is done with whatever was seen.
            (true, ..) => Split::whole(data, target.filter(|_| config.data.learn != Learn::Earlier)),
        };
        let categories = phase.task.as_deref().zip(of_task.as_ref());
        let categories = categories.map(|(task, sources)| task.categories(data, sources)).transpose()?;
        if !data.sets().is_empty() && config.eval.protocol != Protocol::Full {
            let protocol = config.eval.protocol;
            let why =
                format!("found {protocol}; expected full: each of several data sets is ranked among its own items");
            return Err(Error::Usage(format!("eval.protocol: {why}")));
        }
        let features = self.features.clone().filter(|_| phase.features);
        let task = Task {
            users: corpus.users,
            items: data.items(),
            max_len: config.data.max_len,
            behaviours: behaviours.len(),
            target: target.map(|target| target as u32 + 1),
            classes: if split.has_classes() { split.classes(data) } else { 0 },
            categories: Arc::new(categories.unwrap_or_default()),
            features: features.as_deref().map(counts).unwrap_or_default(),
            seed: config.seed,
            known: corpus.known.kinds.clone(),
            cold: Arc::new(if config.loss.cold_negatives { vec![] } else { split.cold_items(data) }),
            phase: phase.clone(),
            ..Task::default()
        };
        let together = match (&phase.earlier[..], &of_task) {
            ([], _) | (_, None) => vec![],
            (earlier, Some(sources)) => {
                let shapes = earlier.iter().map(|task| task.shape(data, sources));
                shapes.chain([Ok(task.shape())]).collect::<Result<_>>()?
            }
        };
        let task = Task { together: Arc::new(together), ..task };
        Ok(Asked { config, corpus, split, features, task })
    }

    fn session_of(self: &Arc<Experiment>, asked: Asked) -> Result<Session> {
        let Asked { config, corpus, split, features, task } = asked;
        let model = config.model.build(&task)?;
        let session = Session {
            experiment: self.clone(),
            device: self.device.clone(),
            data: corpus.data.clone(),
            corpus,
            config,
            split: Arc::new(split),
            features: features.filter(|_| model.reads().features > 0),
            task,
            model,
            beside: vec![],
        };
        session.check_evaluation()?;
        Ok(session)
    }
}

impl Config {
    /// What the labels of a task are made from. Sets how its targets are ranked.
    ///
    /// # Errors
    /// Settings of another split, which tasks decide; a file of labels that is malformed.
    fn of_task(&mut self, task: &TaskPhase, corpus: &Corpus) -> Result<Sources> {
        let DataConfig { split, target, cut, learn, learn_users, hold_out_items, .. } = &self.data;
        let set = [
            ("data.split", *split != SplitKind::LeaveOneOut),
            ("data.target", target.is_some()),
            ("data.cut", cut.is_some()),
            ("data.learn", *learn != Learn::default()),
            ("data.learn_users", learn_users.is_some()),
            ("data.hold_out_items", hold_out_items.is_some()),
            ("eval.targets", self.eval.targets != Group::All),
        ];
        if let Some((key, _)) = set.iter().find(|(_, set)| *set) {
            return Err(Error::Usage(format!(
                "{key} is set, but tasks decide what is learned and asked for; leave it out"
            )));
        }
        if let Some(protocol) = &task.config.protocol {
            let wrong = |e: String| Error::Usage(format!("{}{}: protocol: {e}", ABOUT, task.config.name));
            self.eval.protocol = protocol.parse().map_err(wrong)?;
        }
        if task.config.has_classes() {
            self.eval.protocol = Protocol::Full;
        }
        corpus.sources(&self.data)
    }

    /// `target`: number of data.target.
    pub(super) fn split_spec(&self, target: Option<u8>) -> SplitSpec {
        let DataConfig { split, cut, cut_by, learn, learn_users: users, .. } = self.data;
        let cut = cut.map(|share| Cut { share, by: cut_by });
        SplitSpec { kind: split, target, cut, learn, users, only: self.eval.targets }
    }
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
