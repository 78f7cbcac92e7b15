//! A training from start to end: epochs, validation, early stopping, checkpoints, the test.

use super::checkpoint::{self, Best, State, Which, check_origin, load_training, save_parameters, save_training};
use super::config::{Config, Precision};
use super::folder::{Line, RunFolder};
use super::report::{Report, speed};
use super::session::{Session, phases};
use super::step::TrainStep;
use crate::data::negatives::Candidates;
use crate::data::split::thousands;
use crate::data::{Group, Part, TrainBatches};
use crate::device::{RunOptions, Store, Timing};
use crate::error::{Error, Result};
use crate::eval::copy::{self, Among};
use crate::eval::evaluator::{Evaluator, Ranked};
use crate::eval::{EvalConfig, Metric, Protocol, oracle, ranker};
use crate::graph::plan::{Options, Plan};
use crate::models::{Model, Phase, Pop};
use serde_json::{Value, json};
use std::time::Instant;

/// How a training runs, apart from its settings: none of this changes a result.
#[derive(Clone, Copy, Debug, Default)]
pub struct FitOptions {
    /// Go on from the folder's checkpoint, if it has one.
    pub resume: bool,
    pub plan: Options,
    pub run: RunOptions,
}

/// The sessions of all phases of a training, checked before the first begins. `folder`: where it will be.
///
/// # Errors
/// Those of [`Session::open`] and [`Session::check_training`]; a part without targets; a backbone that does not fit.
pub fn open(model: &str, config: &Config, folder: Option<&RunFolder>) -> Result<Vec<Session>> {
    let mut sessions = vec![];
    for phase in phases(model, config) {
        let session = Session::open_phase(model, config.clone(), phase)?;
        session.check_training()?;
        session.check_asked()?;
        let alone = session.phase.is_none();
        sessions.push(session);
        if alone {
            break;
        }
    }
    let has_own = folder.is_some_and(|folder| folder.backbone_file().is_file());
    if let (Some(from), Some(last), false) = (&config.from, sessions.last(), has_own) {
        let from = RunFolder::open(from)?;
        from.check_pretrained()?;
        check_origin(&from.backbone_file(), &checkpoint::origin(&from.backbone_file())?, &last.origin())?;
        last.written.check_backbone(&from.config()?, from.path())?;
    }
    Ok(sessions)
}

/// Trains a model through all its phases in one run folder; `other`: to a behaviour other than config.toml's. Returns what
/// metrics.json says of the last phase, and the times of the kernels of all.
///
/// # Errors
/// Those of [`Session::open`] and [`Session::fit`]; a backbone that is not there.
pub fn train(
    model: &str,
    config: &Config,
    (folder, other): (&mut RunFolder, bool),
    options: FitOptions,
    report: &mut Report,
) -> Result<(Value, Vec<Timing>)> {
    let (mut metrics, mut timings) = (Value::Null, vec![]);
    for session in open(model, config, Some(folder))? {
        folder.enter(session.stage(other));
        if let Some(phase) = session.phase {
            report.line("phase", &phase.to_string());
        }
        let of_phase = session.fit(folder, options, report)?;
        metrics = of_phase.0;
        timings.extend(of_phase.1);
    }
    Ok((metrics, timings))
}

impl Session {
    /// Trains, keeps everything in `folder`, tests the best parameters, and returns what metrics.json says and the times of
    /// the kernels (empty unless profiling).
    ///
    /// # Errors
    /// A checkpoint that is damaged or of another model or data set; a device that cannot hold the plan; a loss that is not
    /// finite; a folder that cannot be written.
    pub fn fit(&self, folder: &RunFolder, options: FitOptions, report: &mut Report) -> Result<(Value, Vec<Timing>)> {
        self.check_training()?;
        if options.run.check_finite && self.config.precision == Precision::F16 {
            let why = "an overflow is no fault in f16, where the loss scale takes care of it; take --set precision=f32";
            return Err(Error::Usage(format!("--check-finite: {why}")));
        }
        report.line("device", &self.device_note);
        report.line("data", &self.describe_data());
        self.data.notes().iter().for_each(|note| report.line("", note));
        if let Some(features) = &self.features {
            features.notes().iter().for_each(|note| report.line("", note));
            report.line("features", &features.names(self.data.behaviour_names()).join(", "));
        }
        if options.resume {
            for path in [folder.checkpoint_file(), folder.model_file()].iter().filter(|path| path.exists()) {
                check_origin(path, &checkpoint::origin(path)?, &self.origin())?;
            }
        }
        let (state, timings, mut store) = match self.count(folder, report)? {
            Some((state, store)) => (state, vec![], store),
            None => Fit::new(self, folder, options, report)?.run(report)?,
        };
        let best = self.load_best(folder, &mut store)?;
        let metrics = match self.phase {
            Some(Phase::Pretrain) => self.pretrained(folder, &state, best, report)?,
            _ => self.test(folder, &state, best, (store, options.run), report)?,
        };
        Ok((metrics, timings))
    }

    /// A model that counts has no steps.
    fn count(&self, folder: &RunFolder, report: &mut Report) -> Result<Option<(State, Store)>> {
        if !self.model.counts() {
            return Ok(None);
        }
        let mut store = self.store(None)?;
        self.model.count(&mut store, &self.split.training(&self.data))?;
        report.line(
            "model",
            &format!("{}: {} counts", self.model.name(), thousands(self.model.params().elements() as u64)),
        );
        folder.begin(&self.written, &self.data)?;
        let ranked = self.evaluator(&store, Part::Valid)?.run()?;
        let metric = self.config.eval.metric;
        let best = Best { epoch: 0, step: 0, value: metric.mean(&ranked.ranks), valid: ranked.metrics(metric) };
        save_parameters(&folder.model_file(), &self.origin(), &best, self.model.params(), &|_| true, &store)?;
        Ok(Some((State { best: Some(best), ..State::default() }, store)))
    }

    /// Ranks the test part by the best parameters and writes metrics.json.
    fn test(
        &self,
        folder: &RunFolder,
        state: &State,
        best: Best,
        (store, run): (Store, RunOptions),
        report: &mut Report,
    ) -> Result<Value> {
        let metric = self.config.eval.metric;
        let ranked = self.evaluator_with(&store, Part::Test, run)?.run()?;
        let floor = self.popularity()?;
        let oracle = self.oracle();
        let copy = self.copy()?;
        let epochs = epochs(state);
        let metrics = self.write_metrics(
            folder,
            state,
            &best,
            json!({
                "test": ranked.metrics(metric),
                "groups": self.groups(&ranked),
                "pop": {"test": floor.metrics(metric)},
                "copy": copy.as_ref().map(|copy| json!({"test": copy.metrics(metric), "groups": self.groups(copy)})),
                "oracle": oracle.as_ref().map(|oracle| json!({"test": oracle.metrics(metric)})),
                "targets": ranked.ranks.len(),
            }),
        )?;
        let shown = [Metric::Recall(5), Metric::Recall(10), Metric::Recall(20), Metric::Ndcg(10)];
        let mut text: String = shown.map(|m| format!("{m} {:.4}  ", m.mean(&ranked.ranks))).concat();
        if epochs > 0 {
            let bound = |ranked: &Ranked| format!("{:.4}", Metric::Ndcg(10).mean(&ranked.ranks));
            let of = |what: &str, ranked: &Option<Ranked>| {
                ranked.as_ref().map(|ranked| format!(", {what} {}", bound(ranked))).unwrap_or_default()
            };
            let top = of("copy", &copy) + &of("oracle", &oracle);
            text += &format!("(pop {}{top})  best epoch {} of {epochs}  ", bound(&floor), best.epoch);
        }
        report.line("test", &format!("{text}{:.0} s", state.seconds));
        if Metric::Ndcg(10).mean(&ranked.ranks) == 1.0 {
            report.line("", PERFECT);
        }
        report.line("saved", &folder.path().display().to_string());
        Ok(metrics)
    }

    /// Writes metrics.json of a phase that is not tested.
    fn pretrained(&self, folder: &RunFolder, state: &State, best: Best, report: &mut Report) -> Result<Value> {
        let metrics = self.write_metrics(folder, state, &best, json!({}))?;
        let metric = self.config.eval.metric;
        let (value, epoch, epochs, seconds) = (best.value, best.epoch, epochs(state), state.seconds);
        report.line("pretrain", &format!("valid {metric} {value:.4}  best epoch {epoch} of {epochs}  {seconds:.0} s"));
        report.line("saved", &folder.model_file().display().to_string());
        Ok(metrics)
    }

    /// Writes metrics.json: what every training says, and `more`.
    fn write_metrics(&self, folder: &RunFolder, state: &State, best: &Best, more: Value) -> Result<Value> {
        let mut metrics = self.circumstances();
        let always = json!({
            "valid": best.valid,
            "epochs": epochs(state),
            "best_epoch": best.epoch,
            "steps": state.step,
            "train_seconds": state.seconds,
            "best_seconds": folder.seconds_until(best.epoch),
            "samples_per_second": per_second(state.samples as f64, state.seconds),
            "settings": self.config,
        });
        for part in [more, always] {
            let (Value::Object(all), Value::Object(part)) = (&mut metrics, part) else {
                unreachable!("all are objects")
            };
            all.extend(part);
        }
        folder.write_metrics(&metrics)?;
        Ok(metrics)
    }

    /// Metrics of groups of targets, where a behaviour is predicted.
    fn groups(&self, ranked: &Ranked) -> Option<Value> {
        self.split.target()?;
        let groups = [Group::Cold, Group::Warm, Group::Seen, Group::New].map(|group| {
            let inside = |&(user, place): &(u32, u32)| self.split.is_in(&self.data, group, user, place);
            let some = ranked.filtered(inside);
            let mut metrics = some.metrics(self.config.eval.metric);
            metrics["targets"] = some.ranks.len().into();
            (group.to_string(), metrics)
        });
        Some(Value::Object(groups.into_iter().collect()))
    }

    /// Ranks of the test part by the copy rule, where a behaviour is predicted from others: what any table is to be seen beside.
    fn copy(&self) -> Result<Option<Ranked>> {
        let Session { data, split, config, .. } = self;
        let Some(behaviour) = split.target() else { return Ok(None) };
        let targets: Vec<(u32, u32)> = split.targets(data, Part::Test).collect();
        let EvalConfig { protocol, seed, mask_history, ties, .. } = config.eval;
        let lists: Vec<Vec<u32>> = match protocol {
            Protocol::Full if !mask_history => vec![vec![]; targets.len()],
            Protocol::Full => targets.iter().map(|&(user, n)| split.done(data, user, n as usize).collect()).collect(),
            Protocol::Sampled(n) => {
                // What is asked for is in their histories.
                let users = targets.iter().map(|&(user, _)| (user, &[][..]));
                let mut candidates = Candidates::new(data, split, n, seed, users.clone())?;
                let list = |user| {
                    let mut list = vec![];
                    candidates.draw(data, split, user, &mut list);
                    list
                };
                users.map(list).collect()
            }
        };
        Ok(Some(copy::rank(data, &targets, behaviour, ties, |at| match protocol {
            Protocol::Full => Among::All { items: data.items(), excluded: &lists[at] },
            Protocol::Sampled(_) => Among::Listed(&lists[at]),
        })))
    }

    /// Ranks of the test part by the truth, where it is known: nothing can do better.
    fn oracle(&self) -> Option<Ranked> {
        let Session { world, data, split, config, .. } = self;
        let world = world.as_ref().filter(|_| config.eval.protocol == Protocol::Full)?;
        Some(oracle::rank(world, data, split, Part::Test, config.eval.ties))
    }

    /// Ranks of the test part by popularity: the floor that every model must clear.
    fn popularity(&self) -> Result<Ranked> {
        let Session { config, device, data, split, .. } = self;
        let pop = Pop::new(data.items());
        let mut states = pop.params().states();
        states.extend(ranker::states(&pop, config.eval.batch));
        let mut store = device.store(&states)?;
        pop.count(&mut store, &split.training(data))?;
        let part = (data, split, Part::Test.into());
        Evaluator::new((device, RunOptions::default()), &store, &pop, part, None, config.data.max_len, &config.eval)?
            .run()
    }
}

/// A training under way.
struct Fit<'a> {
    session: &'a Session,
    folder: &'a RunFolder,
    store: Store,
    /// The optimiser's states, by name and length.
    moments: Vec<(String, usize)>,
    step: TrainStep,
    valid: Evaluator,
    batches: TrainBatches,
    state: State,
    /// When the time that is not yet in `state.seconds` began.
    clock: Instant,
    saved: Instant,
}

impl<'a> Fit<'a> {
    fn new(session: &'a Session, folder: &'a RunFolder, options: FitOptions, report: &mut Report) -> Result<Fit<'a>> {
        let Session { config, model, data, split, .. } = session;
        let batches = TrainBatches::new(data.clone(), split.clone(), session.batch_spec())?;
        let optimiser = session.optimiser();
        let moments = optimiser.states(model.params());
        let mut store = session.store(Some(&optimiser))?;
        let step = TrainStep::new(&session.device, &store, &**model, &session.step_config(options))?;
        let valid = session.evaluator_with(&store, Part::Valid, options.run)?;
        let parameters = thousands(model.params().elements() as u64);
        let tuned = match session.tuned() {
            n if n == model.params().elements() => String::new(),
            n => format!(" ({} of them trained)", thousands(n as u64)),
        };
        report.line(
            "model",
            &format!("{}: {parameters} parameters{tuned}; {}", model.name(), describe_plan(step.plan())),
        );
        session.device.note().iter().for_each(|note| report.line("", note));

        let checkpoint = folder.checkpoint_file();
        let state = if options.resume && checkpoint.exists() {
            session.load_frozen(folder, &mut store)?;
            let kept = |name: &str| session.keeps(name);
            let of = (model.params(), &kept as Which);
            let state = load_training(&checkpoint, &session.origin(), of, &moments, &mut store)?;
            report.line("resumed", &format!("after step {} (epoch {})", thousands(state.step), state.epoch + 1));
            state
        } else {
            session.start(folder, &mut store)?;
            State::default()
        };
        let steps = batches.batches_per_epoch().div_ceil(config.train.accumulate) as u64;
        if state.step_in_epoch >= steps {
            return Err(Error::Usage(format!(
                "{}: step {} of an epoch that has {steps} now: config.toml was changed since; undo that",
                checkpoint.display(),
                state.step_in_epoch
            )));
        }
        let whole = config.train.epochs.saturating_mul(steps);
        if config.train.warmup > whole {
            let warmup = config.train.warmup;
            return Err(Error::Usage(format!("train.warmup: found {warmup}; the whole training has {whole} steps")));
        }
        folder.begin(&session.written, data)?;
        if let Some(from) = &session.written.from
            && !folder.backbone_file().is_file()
        {
            folder.take_backbone(&RunFolder::open(from)?)?;
        }
        folder.rewind(state.step)?;
        let now = Instant::now();
        Ok(Fit { session, folder, store, moments, step, valid, batches, state, clock: now, saved: now })
    }

    fn run(mut self, report: &mut Report) -> Result<(State, Vec<Timing>, Store)> {
        while !self.is_over() {
            self.epoch(report)?;
        }
        if self.state.best.is_none() {
            return Err(Error::Usage(format!(
                "train.max_steps: step {} is done already and was not evaluated; expected more",
                self.state.step
            )));
        }
        let timings = self.step.timings()?;
        Ok((self.state, timings, self.store))
    }

    fn is_over(&self) -> bool {
        let train = &self.session.config.train;
        let state = &self.state;
        let age = state.best.as_ref().map_or(0, |best| state.epoch.saturating_sub(best.epoch));
        state.epoch >= train.epochs
            || self.at_last_step()
            || (self.evaluated() && train.patience > 0 && age >= train.patience)
    }

    /// Whether the last whole epoch was one that is evaluated: only then has a better one had its chance.
    fn evaluated(&self) -> bool {
        self.state.epoch.is_multiple_of(self.session.config.eval.every)
    }

    fn at_last_step(&self) -> bool {
        self.session.config.train.max_steps.is_some_and(|most| self.state.step >= most)
    }

    /// Trains to the end of the epoch in hand, or to the last step, and evaluates.
    fn epoch(&mut self, report: &mut Report) -> Result<()> {
        let config = &self.session.config;
        let batches = self.batches.batches_per_epoch() as u64;
        let each = config.train.accumulate as u64;
        let steps = batches.div_ceil(each);
        report.begin_epoch(self.state.epoch + 1, steps, self.state.step_in_epoch);
        let (start, samples_before) = (Instant::now(), self.state.samples);
        let mut speed_now = 0.0;
        let first = self.state.step_in_epoch * each;
        for (number, batch) in (first + 1..).zip(self.batches.epoch(self.state.epoch, first as usize)) {
            self.state.samples += batch.samples as u64;
            if !number.is_multiple_of(each) && number < batches {
                self.step.add(&batch, self.state.step, config.seed)?;
                continue;
            }
            let train = &config.train;
            let total = train.epochs.saturating_mul(steps).min(train.max_steps.unwrap_or(u64::MAX));
            let lr = train.lr * train.schedule.factor(self.state.step, train.warmup, total);
            self.step.run(&batch, self.state.step, config.seed, lr)?;
            let state = &mut self.state;
            state.step += 1;
            state.step_in_epoch += 1;
            report.step(state.step_in_epoch);
            let last = state.step_in_epoch == steps || self.at_last_step();
            if last || self.state.step.is_multiple_of(config.log.every) {
                let loss = self.read_loss()?;
                speed_now = per_second((self.state.samples - samples_before) as f64, start.elapsed().as_secs_f64());
                report.speed(speed_now, loss);
            }
            if last {
                break;
            }
            if self.saved.elapsed().as_secs_f64() >= config.train.checkpoint_seconds {
                self.save()?;
            }
        }
        self.end_epoch(steps, speed_now, report)
    }

    fn read_loss(&mut self) -> Result<f64> {
        let loss = self.step.loss()?;
        if !loss.is_finite() {
            return Err(Error::Failed(format!(
                "step {}: the loss is {loss}; try a smaller train.lr or a train.clip, or find its source by --check-finite",
                self.state.step
            )));
        }
        self.session.optimiser().check_scale(&self.store)?;
        let (sum, count) = &mut self.state.losses;
        (*sum, *count) = (*sum + loss, *count + 1);
        Ok(loss)
    }

    /// Evaluates where it is time to, writes down the epoch, and saves.
    fn end_epoch(&mut self, steps: u64, speed_now: f64, report: &mut Report) -> Result<()> {
        let config = &self.session.config;
        self.stop_clock();
        let (sum, count) = self.state.losses;
        let loss = sum / count as f64;
        // The last step can fall into an epoch: it then counts as begun, not as done.
        let epoch = self.state.epoch + 1;
        if self.state.step_in_epoch == steps {
            self.state.epoch = epoch;
            self.state.step_in_epoch = 0;
            self.state.losses = Default::default();
        }
        let mut valid = None;
        let mut best = false;
        let mut text = format!("{} steps  {}", thousands(self.state.step), speed(speed_now, loss));
        if epoch.is_multiple_of(config.eval.every) || epoch == config.train.epochs || self.at_last_step() {
            report.busy("validating");
            let ranked = self.valid.run()?;
            let metric = config.eval.metric;
            let value = metric.mean(&ranked.ranks);
            best = self.state.best.as_ref().is_none_or(|best| value > best.value);
            text += &format!("  valid {metric} {value:.4}{}", if best { " (best)" } else { "" });
            let metrics = ranked.metrics(metric);
            if best {
                let found = Best { epoch, step: self.state.step, value, valid: metrics.clone() };
                let path = self.folder.model_file();
                self.folder.remove_metrics()?;
                let session = self.session;
                let kept = |name: &str| session.keeps(name);
                save_parameters(&path, &session.origin(), &found, session.model.params(), &kept, &self.store)?;
                self.state.best = Some(found);
            }
            valid = Some(metrics);
        }
        // Only now the checkpoint: a run that is killed before it does the epoch's end again, to the same result.
        let (step, seconds) = (self.state.step, self.state.seconds);
        self.folder.append(&Line { epoch, step, loss, valid, best, seconds, samples_per_second: speed_now })?;
        self.clock = Instant::now();
        self.save()?;
        report.end_epoch();
        report.line(&format!("epoch {epoch}"), &text);
        Ok(())
    }

    fn stop_clock(&mut self) {
        self.state.seconds += self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
    }

    fn save(&mut self) -> Result<()> {
        self.stop_clock();
        let path = self.folder.checkpoint_file();
        let kept = |name: &str| self.session.keeps(name);
        let of = (self.session.model.params(), &kept as Which);
        save_training(&path, &self.session.origin(), &self.state, of, &self.moments, &self.store)?;
        self.saved = Instant::now();
        Ok(())
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
    format!("plan: {} nodes, {} buffers, {}", plan.nodes.len(), plan.pool.len(), bytes(plan.peak_bytes() as f64))
}

/// `9.4 MB`: in powers of 1000, three digits.
pub fn bytes(n: f64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let power = (1..units.len()).rev().find(|&p| n >= 1000f64.powi(p as i32)).unwrap_or(0);
    let value = n / 1000f64.powi(power as i32);
    let digits = if power == 0 || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {}", units[power])
}
