//! A training is a list of phases, and a phase is data: nothing in the trainer asks which model it trains.
//!
//! ```
//! use wgrec::data::Learn;
//! use wgrec::models::phase::{Phase, Take};
//!
//! let phases = [
//!     Phase::new("pretrain").learns(Learn::Earlier, 0.6).term("next_behaviour", 1.0).keeps("model.safetensors"),
//!     Phase::new("tune")
//!         .learns(Learn::Later, 0.6)
//!         .takes(Take::from("pretrain").but("prompts.*"))
//!         .trains("prompts.*")
//!         .keeps("prompts.{target}.safetensors"),
//! ];
//! assert!(phases[1].holds("prompts.0.tokens", false) && !phases[1].holds("item_embedding", false));
//! ```

use super::LossKind;
use super::tasks::TaskPhase;
use crate::data::Learn;
use crate::optim::{Weighing, matches};

/// One phase of a training.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Names the phase's settings (`[phase.NAME]`) and its files.
    pub name: String,
    /// The events that are learned from, and the share of all events before the cut where `data.cut` is not set. None: the
    /// events that `data.learn` names.
    pub learns: Option<(Learn, f64)>,
    /// The task that a user wrote down, if the phase is one: it decides what is learned and asked for.
    pub task: Option<Box<TaskPhase>>,
    /// The tasks that are trained as one, each update taking a batch of each, if it is several: each a phase of this one's name.
    pub together: Option<Together>,
    /// Tasks that were trained before, of which the model needs the shape.
    pub earlier: Vec<TaskPhase>,
    /// Whether nothing is trained: what is taken is evaluated.
    pub untrained: bool,
    /// Whether the phase learns from the data sets that `data.auxiliary` names instead of the data themselves.
    pub auxiliary: bool,
    /// Whether the model reads features of users.
    pub features: bool,
    /// The loss of the targets where no setting names one. None: the model's.
    pub loss: Option<LossKind>,
    /// Whether `loss.log_q` is followed: scores are corrected by the chance of a negative.
    pub corrects: bool,
    /// Whether the model reads changed texts of items, `data.text_dropped`.
    pub changed_texts: bool,
    /// What is added to the loss of the targets, by name, with its weight.
    pub terms: Vec<(String, f64)>,
    /// Patterns of the parameters that are trained where `train.only` is not set. Empty: all.
    pub trains: Vec<String>,
    /// What the phase starts from, in addition to initial values.
    pub takes: Vec<Take>,
    /// What of the earlier phases' parameters is served by this phase's from now on.
    pub replaces: Replaces,
    /// The metric that picks the epoch. None: `eval.metric`.
    pub select: Option<String>,
    /// The file of the best parameters; `{target}` stands for the behaviour that is predicted.
    pub keeps: String,
    /// Patterns of the model's settings that the phase does not read.
    pub unread: Vec<String>,
}

/// What of the earlier phases' parameters is served by a later phase's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replaces {
    #[default]
    Nothing,
    /// What the phase takes.
    Taken,
    /// All: its model has the parameters of every earlier task.
    All,
}

/// Tasks that are trained as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Together {
    pub tasks: Vec<Phase>,
    pub weighing: Weighing,
}

/// Parameters that a phase starts from, as an earlier phase has left them: of the same run, or of the run that `from` names.
#[derive(Clone, Debug, PartialEq)]
pub struct Take {
    /// The name of the earlier phase.
    pub phase: String,
    /// Patterns of the parameters that are taken.
    pub patterns: Vec<String>,
    /// Patterns of parameters that are not taken, whatever `patterns` say.
    pub but: Vec<String>,
    /// Patterns of the model's settings that may differ from those of the earlier phase.
    pub free: Vec<String>,
    /// What stands before the name of a parameter that is taken, in this phase alone.
    pub prefix: &'static str,
    /// Whether the run that `from` names may be one on other data. Nothing with a row for each
    /// item or user is taken from such a run.
    pub other_data: bool,
}

impl Default for Phase {
    /// The only phase of a training.
    fn default() -> Phase {
        Phase::new("train").keeps("model.safetensors")
    }
}

impl Phase {
    /// A phase that learns from the events that `data.learn` names, trains all parameters and keeps them in NAME.safetensors.
    pub fn new(name: impl Into<String>) -> Phase {
        let name = name.into();
        Phase {
            keeps: format!("{name}.safetensors"),
            name,
            learns: None,
            task: None,
            together: None,
            earlier: vec![],
            untrained: false,
            auxiliary: false,
            features: false,
            loss: None,
            corrects: true,
            changed_texts: false,
            terms: vec![],
            trains: vec![],
            takes: vec![],
            replaces: Replaces::Nothing,
            select: None,
            unread: vec![],
        }
    }

    /// Learns from the earlier or the later events; `cut`: the share that is earlier, where `data.cut` is not set.
    pub fn learns(self, events: Learn, cut: f64) -> Phase {
        Phase { learns: Some((events, cut)), ..self }
    }

    /// A task that a user wrote down, with its label's loss and metric.
    pub fn of_task(task: TaskPhase) -> Phase {
        let (config, classes) = (&task.config, task.config.has_classes());
        let usual = if classes { "recall@1" } else { "recall@10" };
        let phase = Phase::new(&config.name).select(config.metric.as_deref().unwrap_or(usual));
        let loss = config.loss.or(classes.then_some(LossKind::Softmax));
        Phase { loss, task: Some(Box::new(task)), ..phase }
    }

    /// Tasks that are trained as one, with patterns of the parameters that the loss of each reaches.
    pub fn together(name: &str, tasks: Vec<(TaskPhase, Vec<String>)>, weighing: Weighing) -> Phase {
        let (phase, keeps) = (Phase::new(name), Phase::new(name).keeps);
        let of =
            |(task, trains)| Phase { name: name.to_string(), keeps: keeps.clone(), trains, ..Phase::of_task(task) };
        Phase { together: Some(Together { tasks: tasks.into_iter().map(of).collect(), weighing }), ..phase }
    }

    /// Trains nothing.
    pub fn untrained(self) -> Phase {
        Phase { untrained: true, ..self }
    }

    /// Learns from the data sets that `data.auxiliary` names.
    pub fn auxiliary(self) -> Phase {
        Phase { auxiliary: true, ..self }
    }

    pub fn reads_features(self) -> Phase {
        Phase { features: true, ..self }
    }

    pub fn loss(self, kind: LossKind) -> Phase {
        Phase { loss: Some(kind), ..self }
    }

    /// Without the correction by log Q, whatever `loss.log_q` says.
    pub fn uncorrected(self) -> Phase {
        Phase { corrects: false, ..self }
    }

    pub fn reads_changed_texts(self) -> Phase {
        Phase { changed_texts: true, ..self }
    }

    /// Adds `weight` times a term of the model to the loss of the targets.
    pub fn term(mut self, name: impl Into<String>, weight: f64) -> Phase {
        self.terms.push((name.into(), weight));
        self
    }

    pub fn trains(mut self, pattern: impl Into<String>) -> Phase {
        self.trains.push(pattern.into());
        self
    }

    pub fn takes(mut self, take: Take) -> Phase {
        self.takes.push(take);
        self
    }

    pub fn replaces(self, replaces: Replaces) -> Phase {
        Phase { replaces, ..self }
    }

    /// Knows the shape of these tasks, which were trained before.
    pub fn knows(self, earlier: Vec<TaskPhase>) -> Phase {
        Phase { earlier, ..self }
    }

    pub fn select(self, metric: impl Into<String>) -> Phase {
        Phase { select: Some(metric.into()), ..self }
    }

    pub fn keeps(self, file: impl Into<String>) -> Phase {
        Phase { keeps: file.into(), ..self }
    }

    /// Leaves the settings of the model that are like `pattern` unread.
    pub fn unread(mut self, pattern: impl Into<String>) -> Phase {
        self.unread.push(pattern.into());
        self
    }

    /// The weight of a term; None if the phase does not have it.
    pub fn weight(&self, term: &str) -> Option<f64> {
        self.terms.iter().find(|(name, _)| name == term).map(|(_, weight)| *weight)
    }

    /// Whether the phase's own file holds the parameter `name`: not if it is as another phase has left it.
    pub fn holds(&self, name: &str, trained: bool) -> bool {
        trained || !self.takes.iter().any(|take| !take.other_data && take.has(name))
    }
}

impl Take {
    /// All parameters of the phase called `phase`.
    pub fn from(phase: impl Into<String>) -> Take {
        Take {
            phase: phase.into(),
            patterns: vec!["*".into()],
            but: vec![],
            free: vec![],
            prefix: "",
            other_data: false,
        }
    }

    /// Takes only the parameters that are like one of `patterns`.
    pub fn only<const N: usize>(self, patterns: [&str; N]) -> Take {
        Take { patterns: patterns.map(String::from).to_vec(), ..self }
    }

    /// Leaves out the parameters that are like `pattern`.
    pub fn but(mut self, pattern: impl Into<String>) -> Take {
        self.but.push(pattern.into());
        self
    }

    /// Lets the settings of the model that are like `pattern` differ.
    pub fn free(mut self, pattern: impl Into<String>) -> Take {
        self.free.push(pattern.into());
        self
    }

    /// Calls what is taken by `prefix` and its name.
    pub fn called(self, prefix: &'static str) -> Take {
        Take { prefix, ..self }
    }

    /// From a run on other data too.
    pub fn of_other_data(self) -> Take {
        Take { other_data: true, ..self }
    }

    /// Whether the parameter `name` is taken.
    pub fn has(&self, name: &str) -> bool {
        let Some(name) = name.strip_prefix(self.prefix) else { return false };
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, name));
        any(&self.patterns) && !any(&self.but)
    }
}
