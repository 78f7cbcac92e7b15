//! A training from start to end: epochs, validation, early stopping, checkpoints, the test.

use super::checkpoint::{
    self, Best, State, check_origin, load_parameters, load_training, save_parameters, save_training,
};
use super::config::Precision;
use super::folder::{Line, RunFolder};
use super::report::{Report, speed};
use super::session::Session;
use super::step::TrainStep;
use crate::data::split::thousands;
use crate::data::{Part, TrainBatches};
use crate::device::{RunOptions, Store, Timing};
use crate::error::{Error, Result};
use crate::eval::evaluator::{Evaluator, Ranked};
use crate::eval::{Metric, Protocol, oracle, ranker};
use crate::graph::plan::{Options, Plan};
use crate::models::{Model, Pop};
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
        if options.resume {
            for path in [folder.checkpoint_file(), folder.model_file()].iter().filter(|path| path.exists()) {
                check_origin(path, &checkpoint::origin(path)?, &self.origin())?;
            }
        }
        let (state, timings, store) = match self.count(folder, report)? {
            Some((state, store)) => (state, vec![], store),
            None => Fit::new(self, folder, options, report)?.run(report)?,
        };
        let metrics = self.test(folder, &state, store, report)?;
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
        folder.begin(&self.config, &self.data)?;
        let ranked = self.evaluator(&store, Part::Valid)?.run()?;
        let metric = self.config.eval.metric;
        let best = Best { epoch: 0, step: 0, value: metric.mean(&ranked.ranks), valid: ranked.metrics(metric) };
        save_parameters(&folder.model_file(), &self.origin(), &best, self.model.params(), &store)?;
        Ok(Some((State { best: Some(best), ..State::default() }, store)))
    }

    /// Ranks the test part by the best parameters and writes metrics.json.
    fn test(&self, folder: &RunFolder, state: &State, mut store: Store, report: &mut Report) -> Result<Value> {
        let metric = self.config.eval.metric;
        let best: Best = load_parameters(&folder.model_file(), &self.origin(), self.model.params(), &mut store)?;
        let ranked = self.evaluator(&store, Part::Test)?.run()?;
        let floor = self.popularity()?;
        let oracle = self.oracle();
        // The last one may have been cut short by train.max_steps.
        let epochs = state.epoch + (state.step_in_epoch > 0) as u64;
        let mut metrics = self.circumstances();
        let more = json!({
            "test": ranked.metrics(metric),
            "valid": best.valid,
            "pop": {"test": floor.metrics(metric)},
            "oracle": oracle.as_ref().map(|oracle| json!({"test": oracle.metrics(metric)})),
            "targets": ranked.ranks.len(),
            "epochs": epochs,
            "best_epoch": best.epoch,
            "steps": state.step,
            "train_seconds": state.seconds,
            "samples_per_second": per_second(state.samples as f64, state.seconds),
            "settings": self.config,
        });
        let (Value::Object(all), Value::Object(more)) = (&mut metrics, more) else { unreachable!("both are objects") };
        all.extend(more);
        folder.write_metrics(&metrics)?;
        let shown = [Metric::Recall(5), Metric::Recall(10), Metric::Recall(20), Metric::Ndcg(10)];
        let mut text: String = shown.map(|m| format!("{m} {:.4}  ", m.mean(&ranked.ranks))).concat();
        if epochs > 0 {
            let bound = |ranked: &Ranked| format!("{:.4}", Metric::Ndcg(10).mean(&ranked.ranks));
            let top = oracle.as_ref().map(|oracle| format!(", oracle {}", bound(oracle))).unwrap_or_default();
            text += &format!("(pop {}{top})  best epoch {} of {epochs}  ", bound(&floor), best.epoch);
        }
        report.line("test", &format!("{text}{:.0} s", state.seconds));
        report.line("saved", &folder.path().display().to_string());
        Ok(metrics)
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
        let part = (data, &**split, Part::Test);
        Evaluator::new(device, &store, &pop, part, config.data.max_len, &config.eval)?.run()
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
        let valid = session.evaluator(&store, Part::Valid)?;
        let parameters = thousands(model.params().elements() as u64);
        report.line("model", &format!("{}: {parameters} parameters; {}", model.name(), describe_plan(step.plan())));

        let checkpoint = folder.checkpoint_file();
        let state = if options.resume && checkpoint.exists() {
            let state = load_training(&checkpoint, &session.origin(), model.params(), &moments, &mut store)?;
            report.line("resumed", &format!("after step {} (epoch {})", thousands(state.step), state.epoch + 1));
            state
        } else {
            model.params().initialise(&mut store, config.seed)?;
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
        folder.begin(config, data)?;
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
                save_parameters(&path, &self.session.origin(), &found, self.session.model.params(), &self.store)?;
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
        let params = self.session.model.params();
        save_training(&path, &self.session.origin(), &self.state, params, &self.moments, &self.store)?;
        self.saved = Instant::now();
        Ok(())
    }
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
