//! A training from start to end: its phases, the training of each, the test.

use super::checkpoint::{self, Best, State, check_origin, read_parameters, save};
use super::experiment::Experiment;
use super::folder::RunFolder;
use super::logs::Logs;
use super::options::FitOptions;
use super::remembered;
use super::report::Report;
use super::session::Session;
use crate::config::{Config, Precision};
use crate::data::dataset::Set;
use crate::data::negatives::Candidates;
use crate::data::{Group, Part};
use crate::device::{RunOptions, Store, Timing};
use crate::error::{Error, Result};
use crate::eval::copy::{self, Among};
use crate::eval::evaluator::{Evaluator, Ranked};
use crate::eval::{EvalConfig, Metric, Protocol, oracle, ranker};
use crate::graph::plan::Plan;
use crate::models::pop::Pop;
use crate::models::{Model, Phase};
use epochs::Fit;
use indicatif::{DecimalBytes, HumanCount};
use serde_json::{Value, json};

mod epochs;

/// The phases that these settings run, all checked before the first begins. `folder`: where the training will be.
///
/// # Errors
/// Those of [`Experiment::open`], [`Experiment::session`] and [`Session::check_training`]; a part without targets; parameters
/// to be taken that are missing or do not fit.
pub fn open(config: &Config, folder: Option<&RunFolder>) -> Result<Vec<Session>> {
    let experiment = Experiment::open(config.clone())?;
    let chosen = experiment.chosen();
    let session = |phase: &&Phase| {
        let session = experiment.session(phase)?;
        for task in session.tasks() {
            task.check_training()?;
            task.check_asked()?;
        }
        session.check_taken(folder)?;
        let pretrains = chosen.iter().find(|pretrains| pretrains.auxiliary && !phase.auxiliary);
        if let Some(pretrains) = pretrains
            && experiment.corpus(pretrains)?.sets().iter().any(|set| set == session.corpus.whole())
        {
            session.check_held_out(config)?;
        }
        Ok(session)
    };
    chosen.iter().map(session).collect()
}

/// Trains a model through its phases in one run folder. Returns what metrics.json says of the last phase, and the times of the
/// kernels of all.
///
/// # Errors
/// Those of [`open`] and [`Session::fit`].
pub fn train(
    config: &Config,
    folder: &RunFolder,
    options: FitOptions,
    report: &mut Report,
) -> Result<(Value, Vec<Timing>)> {
    let (mut metrics, mut timings) = (Value::Null, vec![]);
    let sessions = open(config, Some(folder))?;
    for session in &sessions {
        if let Some(phase) = session.phase_name() {
            report.line("phase", phase);
        }
        let of_phase = session.fit(folder, options.clone(), report)?;
        metrics = of_phase.0;
        timings.extend(of_phase.1);
    }
    if let Some(last) = sessions.last().filter(|last| last.phase().task.is_some() && !last.phase().untrained) {
        remembered::report(&last.experiment, last, folder, report)?;
    }
    Ok((metrics, timings))
}

impl Session {
    /// Trains, keeps everything in `folder`, tests the best parameters, and returns what metrics.json says and the times of
    /// the kernels (empty unless profiling).
    ///
    /// # Errors
    /// A checkpoint that is damaged or of another model or data set; a device that cannot hold the plan; a folder that cannot be
    /// written. [`Error::NotFinite`]: a loss, a parameter or a score that is not finite; what was saved before stays.
    /// [`Error::Stopped`]: by `options.stop`, once the training is saved.
    pub fn fit(&self, folder: &RunFolder, options: FitOptions, report: &mut Report) -> Result<(Value, Vec<Timing>)> {
        self.check_training()?;
        if options.run.check_finite && self.config.precision == Precision::F16 {
            let why = "an overflow is no fault in f16, where the loss scale takes care of it; take --set precision=f32";
            return Err(Error::Usage(format!("--check-finite: {why}")));
        }
        report.line("device", &self.experiment.device_note);
        self.tasks().for_each(|task| report.line("data", &task.describe_data()));
        self.data.notes().iter().for_each(|note| report.line("", note));
        if !self.corpus.known.about.is_empty() {
            report.line("items", &self.corpus.known.describe());
        }
        if let Some(features) = &self.features {
            features.notes().iter().for_each(|note| report.line("", note));
            report.line("features", &features.names(self.data.behaviour_names()).join(", "));
        }
        self.describe_phase(report);
        if options.resume {
            let files = self.files(folder);
            for path in [files.checkpoint, files.parameters].iter().filter(|path| path.exists()) {
                check_origin(path, &checkpoint::origin(path)?, &self.origin())?;
            }
        }
        let (state, timings, mut store, mut logs) = match self.count(folder, options.run, report)? {
            Some((state, store)) => (state, vec![], store, Logs::open(self, folder, 0)?),
            None => Fit::new(self, folder, &options, report)?.run(report)?,
        };
        let best = self.load_best(folder, &mut store)?;
        let metrics = match self.is_tested() {
            true => self.test(folder, &state, best, (store, options), report)?,
            false => self.validated(folder, &state, best, report)?,
        };
        logs.end(state.step, &metrics)?;
        Ok((metrics, timings))
    }

    /// Trains the first `epochs`, tests nothing, and keeps in `folder` what [`Session::fit`] would until then.
    ///
    /// # Errors
    /// Those of [`Session::fit`].
    pub(super) fn begin(
        &self,
        folder: &RunFolder,
        epochs: u64,
        options: &FitOptions,
        report: &mut Report,
    ) -> Result<()> {
        self.check_training()?;
        match self.count(folder, options.run, report)? {
            Some(_) => Ok(()),
            None => Fit::new(self, folder, options, report)?.until(epochs, report),
        }
    }

    /// Says so where the model has more phases on data with behaviours.
    fn describe_phase(&self, report: &mut Report) {
        let phases = |behaviours| self.config.model.phases(behaviours).map_or(0, |phases| phases.len());
        if self.experiment.phases.len() < phases(true) {
            let (name, model) = (&self.corpus.name, self.model.name());
            report.line("", &format!("{name} has no behaviours: {model} is trained in one phase"));
        }
    }

    /// A model that counts has no steps, nor has a phase in which nothing is trained.
    fn count(&self, folder: &RunFolder, run: RunOptions, report: &mut Report) -> Result<Option<(State, Store)>> {
        if !self.model.counts() && !self.phase().untrained {
            return Ok(None);
        }
        if self.phase().untrained {
            let mut store = self.store(None)?;
            self.load_frozen(folder, &mut store)?;
            return self.kept(folder, run, store, self.trained_until(folder)?).map(Some);
        }
        if let keys @ [_, ..] = &self.config.without_effect()[..] {
            report.line("", &format!("{} is not trained: {} has no effect", self.model.name(), keys.join(", ")));
        }
        let mut store = self.store(None)?;
        self.model.count(&mut store, &self.split.training(&self.data))?;
        report.line(
            "model",
            &format!("{}: {} counts", self.model.name(), HumanCount(self.model.params().elements() as u64)),
        );
        self.kept(folder, run, store, (0, 0)).map(Some)
    }

    /// Keeps the parameters in `store`, which are those after `epoch` and `step`.
    fn kept(
        &self,
        folder: &RunFolder,
        run: RunOptions,
        store: Store,
        (epoch, step): (u64, u64),
    ) -> Result<(State, Store)> {
        let parameters = read_parameters(self.model.params(), &|name| self.holds(name), &store)?;
        folder.begin(&self.experiment.config, &self.data)?;
        let ranked = self.evaluator_with(&store, Part::Valid, run)?.run()?;
        let (value, valid) = self.judged(&ranked);
        let best = Best { epoch, step, value, valid };
        save(&self.files(folder).parameters, &self.origin(), &best, &parameters)?;
        Ok((State { best: Some(best), ..State::default() }, store))
    }

    /// Ranks the test part by the best parameters and writes metrics.json.
    fn test(
        &self,
        folder: &RunFolder,
        state: &State,
        best: Best,
        (store, options): (Store, FitOptions),
        report: &mut Report,
    ) -> Result<Value> {
        let EvalConfig { metric, ties, .. } = self.config.eval;
        let FitOptions { run, stop, .. } = options;
        let _heeded = stop.heed();
        let mut evaluator = self.evaluator_with(&store, Part::Test, run)?;
        let ranked = evaluator.run_unless(&|| stop.requested()).map_err(|e| match e {
            Error::Stopped(_) => {
                let path = folder.path().display();
                Error::Stopped(format!(
                    "stopped while the test part was ranked; the training is done and saved: `wgrec eval --run {path}` ranks it"
                ))
            }
            e => e,
        })?;
        let left_out = evaluator.left_out();
        let floor = self.popularity()?;
        let oracle = self.oracle(&ranked.targets);
        let copy = self.copy(&ranked.targets);
        let epochs = epochs(state);
        let mut found = json!({
            "test": self.metrics(&ranked),
            "groups": self.groups(&ranked),
            "items": self.by_items(&ranked),
            "pop": {"test": floor.metrics(metric)},
            "copy": copy.as_ref().map(|copy| json!({"test": copy.metrics(metric), "groups": self.groups(copy)})),
            "oracle": oracle.as_ref().map(|oracle| json!({"test": oracle.metrics(metric)})),
            "targets": ranked.ranks.len(),
            "targets_left_out": left_out.targets,
        });
        let full = ranked.full.as_ref();
        found.as_object_mut().expect("it is one").extend(full.into_iter().flat_map(|full| full.metrics(ties, metric)));
        let metrics = self.write_metrics(folder, state, &best, found)?;
        let classes = self.split.has_classes();
        let mut shown = match classes {
            true => vec![],
            false => vec![Metric::Recall(5), Metric::Recall(10), Metric::Recall(20), Metric::Ndcg(10)],
        };
        if !shown.contains(&metric) {
            shown.push(metric);
        }
        let mut text: String = shown.iter().map(|m| format!("{m} {:.4}  ", m.mean(&ranked.ranks))).collect();
        let other = full.map(|full| match self.config.eval.mask_history {
            true => ("unmasked", &full.unmasked),
            false => ("masked", &full.masked),
        });
        if let Some((other, counts)) = other.filter(|(_, counts)| !counts.is_empty() && !classes) {
            text += &format!("({other} {:.4})  ", Metric::Ndcg(10).mean(&ties.ranks(counts)));
        }
        if epochs > 0 || self.phase().untrained {
            let of_bound = if classes { metric } else { Metric::Ndcg(10) };
            let bound = |ranked: &Ranked| format!("{:.4}", of_bound.mean(&ranked.ranks));
            let of = |what: &str, ranked: &Option<Ranked>| {
                ranked.as_ref().map(|ranked| format!(", {what} {}", bound(ranked))).unwrap_or_default()
            };
            let top = of("copy", &copy) + &of("oracle", &oracle);
            text += &format!("(pop {}{top})  ", bound(&floor));
        }
        if epochs > 0 {
            text += &format!("best epoch {} of {epochs}  ", best.epoch);
        }
        report.line("test", &format!("{text}{:.0} s", state.seconds));
        left_out.some().iter().for_each(|left_out| report.line("", &left_out.to_string()));
        if Metric::Ndcg(10).mean(&ranked.ranks) == 1.0 {
            report.line("", PERFECT);
        }
        report.line("saved", &folder.path().display().to_string());
        Ok(metrics)
    }

    /// Writes metrics.json of a phase that is not tested.
    fn validated(&self, folder: &RunFolder, state: &State, best: Best, report: &mut Report) -> Result<Value> {
        let metrics = self.write_metrics(folder, state, &best, json!({}))?;
        let metric = self.judge();
        let (value, epoch, epochs, seconds) = (best.value, best.epoch, epochs(state), state.seconds);
        report.line(
            &self.phase().name,
            &format!("valid {metric} {value:.4}  best epoch {epoch} of {epochs}  {seconds:.0} s"),
        );
        report.line("saved", &self.files(folder).parameters.display().to_string());
        Ok(metrics)
    }

    /// Writes metrics.json: what every training says, and `more`.
    fn write_metrics(&self, folder: &RunFolder, state: &State, best: &Best, more: Value) -> Result<Value> {
        let files = self.files(folder);
        let mut metrics = self.circumstances();
        let always = json!({
            "valid": best.valid,
            "epochs": epochs(state),
            "best_epoch": best.epoch,
            "steps": state.step,
            "train_seconds": state.seconds,
            "best_seconds": files.seconds_until(best.epoch),
            "samples_per_second": per_second(state.samples as f64, state.seconds),
            "settings": self.config,
        });
        for part in [more, always] {
            let (Value::Object(all), Value::Object(part)) = (&mut metrics, part) else {
                unreachable!("all are objects")
            };
            all.extend(part);
        }
        files.write_metrics(&metrics)?;
        Ok(metrics)
    }

    /// Metrics of groups of targets, where a behaviour is predicted.
    fn groups(&self, ranked: &Ranked) -> Option<Value> {
        self.split.target()?;
        let groups = [Group::Cold, Group::Warm, Group::Seen, Group::New].map(|group| {
            let inside = |&(user, place): &(u32, u32)| self.split.is_in(&self.data, group, user, place);
            (group.to_string(), self.counted(&ranked.filtered(inside)))
        });
        Some(Value::Object(groups.into_iter().collect()))
    }

    /// Metrics of the targets that training never saw and of the others, if there are both; and of the items that are held out.
    fn by_items(&self, ranked: &Ranked) -> Option<Value> {
        if self.split.has_classes() {
            return None;
        }
        let Session { data, split, .. } = self;
        let of =
            |wanted: &dyn Fn(u32) -> bool| ranked.filtered(|&(user, place)| wanted(data.history(user)[place as usize]));
        let (cold, warm) = (of(&|item| split.is_cold(data, item)), of(&|item| !split.is_cold(data, item)));
        let both = !cold.ranks.is_empty() && !warm.ranks.is_empty();
        let mut all = both.then(|| json!({ "cold": self.counted(&cold), "warm": self.counted(&warm) }))?;
        if let Some(held) = data.held_out() {
            all["held_out"] = self.counted(&of(&|item| held.has(item)));
        }
        Some(all)
    }

    /// Metrics by name, and the number of targets.
    fn counted(&self, ranked: &Ranked) -> Value {
        let mut metrics = ranked.metrics(self.config.eval.metric);
        metrics["targets"] = ranked.ranks.len().into();
        metrics
    }

    /// What an epoch is picked by, in words.
    fn judge(&self) -> String {
        if self.beside.is_empty() { self.config.eval.metric.to_string() } else { "mean of tasks".to_string() }
    }

    /// The value of `eval.metric`, by which an epoch is picked, and all metrics ([`Session::metrics`]).
    fn judged(&self, ranked: &Ranked) -> (f64, Value) {
        let metrics = self.metrics(ranked);
        let value = metrics[self.config.eval.metric.to_string()].as_f64();
        (value.expect("the metric is among those reported"), metrics)
    }

    /// Metrics by name; of several data sets the means of theirs, and those of each under `sets`.
    fn metrics(&self, ranked: &Ranked) -> Value {
        let metric = self.config.eval.metric;
        let sets: Vec<(String, Value)> =
            self.by_set(ranked).map(|(name, of_set)| (name.to_string(), of_set.metrics(metric))).collect();
        let mut all = ranked.metrics(metric);
        if sets.is_empty() {
            return all;
        }
        for (name, value) in all.as_object_mut().into_iter().flatten() {
            let of_sets = sets.iter().filter_map(|(_, metrics)| metrics[name].as_f64());
            *value = (of_sets.sum::<f64>() / sets.len() as f64).into();
        }
        all["sets"] = Value::Object(sets.into_iter().collect());
        all
    }

    /// The targets of each of the data sets that the data are joined from, by its name: of those that have some.
    fn by_set<'a>(&'a self, ranked: &'a Ranked) -> impl Iterator<Item = (&'a str, Ranked)> {
        let of_set = |set: &'a Set| (set.name.as_str(), ranked.filtered(|(user, _)| set.users.contains(user)));
        self.data.sets().iter().map(of_set).filter(|(_, of_set)| !of_set.ranks.is_empty())
    }

    /// Ranks of targets of the test part by the copy rule, if a behaviour is predicted from others: a baseline for every table.
    fn copy(&self, targets: &[(u32, u32)]) -> Option<Ranked> {
        let Session { data, split, config, .. } = self;
        let behaviour = split.target()?;
        let EvalConfig { protocol, seed, mask_history, ties, .. } = config.eval;
        let lists: Vec<Vec<u32>> = match protocol {
            Protocol::Full if !mask_history => vec![vec![]; targets.len()],
            // Groups are drawn where targets are ranked.
            Protocol::Batch(_) => return None,
            Protocol::Full => targets.iter().map(|&(user, n)| split.done(data, user, n as usize).collect()).collect(),
            Protocol::Sampled(n) => {
                // What is asked for is in their histories.
                let mut candidates = Candidates::new(data.items(), n, seed);
                let list = |&(user, _): &(u32, u32)| {
                    let mut list = vec![];
                    candidates.draw(data, split, (user, &[]), &mut list);
                    list
                };
                targets.iter().map(list).collect()
            }
        };
        Some(copy::rank(data, targets, behaviour, ties, |at| match protocol {
            Protocol::Sampled(_) => Among::Listed(&lists[at]),
            _ => Among::All { items: data.items(), excluded: &lists[at] },
        }))
    }

    /// Ranks of targets of the test part by the truth, where it is known: nothing can do better.
    fn oracle(&self, targets: &[(u32, u32)]) -> Option<Ranked> {
        let Session { data, config, .. } = self;
        let full = config.eval.protocol == Protocol::Full && !self.split.has_classes();
        let world = self.corpus.clicks_of().filter(|_| full)?;
        Some(oracle::rank(world, data, targets, config.eval.ties))
    }

    /// Ranks of the test part by popularity: the floor that every model must clear.
    fn popularity(&self) -> Result<Ranked> {
        let Session { config, device, data, split, .. } = self;
        let pop = Pop::new(split.classes(data));
        let mut states = pop.params().states();
        states.extend(ranker::states(
            &pop,
            config.eval.batch,
            config.data.max_len,
            ranker::Candidates::of(&config.eval),
        ));
        let mut store = device.store(&states)?;
        let labels = split.has_classes().then(|| split.learned_labels(data));
        let training = match &labels {
            Some(labels) => labels.iter().map(Vec::as_slice).collect(),
            None => split.training(data),
        };
        pop.count(&mut store, &training)?;
        let part = (data, split, Part::Test.into());
        Evaluator::new((device, RunOptions::default()), &store, &pop, part, None, config.data.max_len, &config.eval)?
            .run()
    }
}

/// What is said of targets that all came first.
const PERFECT: &str = "WARNING: every target is ranked first, which no model does on real data: do the targets stand in the \
                       histories (a copy of the label), has each user one candidate, does the device compute (`wgrec devices`)?";

/// Epochs that were begun: the last one may have been cut short by train.max_steps.
fn epochs(state: &State) -> u64 {
    state.epoch + (state.step_in_epoch > 0) as u64
}

fn per_second(count: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { count / seconds } else { 0.0 }
}

/// `plan: 143 nodes, 21 buffers, 9.4 MB`
pub fn describe_plan(plan: &Plan) -> String {
    format!("plan: {} nodes, {} buffers, {}", plan.nodes.len(), plan.pool.len(), DecimalBytes(plan.peak_bytes() as u64))
}
