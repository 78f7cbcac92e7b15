//! The epochs of a training: steps, validation, early stopping, checkpoints.

use super::{FitOptions, describe_plan, per_second};
use crate::config::{Keep, Precision};
use crate::data::samples::Batch;
use crate::data::{Part, TrainBatches};
use crate::device::{Store, Timing};
use crate::error::{Error, Result};
use crate::eval::evaluator::{Evaluator, Ranked};
use crate::train::checkpoint::{self, Best, Named, State, Which, load_training, read_training};
use crate::train::folder::{Line, PhaseFiles, RunFolder};
use crate::train::hashes::{Begun, Hasher, Reading};
use crate::train::logs::{Logs, named};
use crate::train::report::{Report, speed};
use crate::train::session::Session;
use crate::train::step::TrainStep;
use crate::train::stop::{Heeded, Stop};
use indicatif::HumanCount;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Instant;

/// What a task of the training has of its own.
struct OfTask<'a> {
    session: &'a Session,
    batches: TrainBatches,
    valid: Evaluator,
}

/// A training under way.
pub(super) struct Fit<'a> {
    session: &'a Session,
    folder: &'a RunFolder,
    files: PhaseFiles,
    store: Store,
    /// The optimiser's states, by name and length.
    moments: Vec<(String, usize)>,
    step: TrainStep,
    hasher: Hasher,
    /// What hashes.jsonl is still to be told: once what the readings are made by, and the readings since the last checkpoint.
    begun: Option<Begun>,
    readings: Vec<Reading>,
    logs: Logs,
    /// As a rule one.
    tasks: Vec<OfTask<'a>>,
    state: State,
    /// When the time that is not yet in `state.seconds` began.
    clock: Instant,
    saved: Instant,
    /// Steps done at the last checkpoint, if there is one.
    saved_step: Option<u64>,
    stop: Stop,
    _heeded: Heeded,
}

/// The updates of an epoch: of one task by `each` of its batches, fewer at the end; of several by a batch of each, those of the
/// longest once.
fn steps_of(tasks: &[OfTask], each: usize) -> u64 {
    let most = tasks.iter().map(|task| task.batches.batches_per_epoch()).max();
    most.expect("a training has a task").div_ceil(each) as u64
}

/// The batches of each update that is left of an epoch, with the numbers of their tasks.
type Updates = Box<dyn Iterator<Item = Vec<(usize, Batch)>>>;

/// The updates of an epoch from number `first` on; it has `steps`, each of `each` batches. Of several tasks the shorter begin again.
fn updates(tasks: &[OfTask], epoch: u64, first: u64, (steps, each): (u64, usize)) -> Updates {
    let [task] = tasks else {
        let mut all: Vec<_> = tasks.iter().map(|task| endless(task.batches.clone(), epoch * steps + first)).collect();
        let next = move || {
            Some(all.iter_mut().enumerate().map(|(at, batches)| (at, batches.next().expect("endless"))).collect())
        };
        return Box::new(std::iter::from_fn(next));
    };
    let mut batches = task.batches.epoch(epoch, first as usize * each);
    let next = move || Some(batches.by_ref().take(each).map(|batch| (0, batch)).collect::<Vec<_>>());
    Box::new(std::iter::from_fn(next).take_while(|batches| !batches.is_empty()))
}

/// Batches from number `first` of the training on, epoch after epoch.
fn endless(batches: TrainBatches, first: u64) -> impl Iterator<Item = Batch> {
    let length = batches.batches_per_epoch() as u64;
    let begun = first / length;
    (begun..).flat_map(move |epoch| batches.epoch(epoch, if epoch == begun { first % length } else { 0 } as usize))
}

impl<'a> Fit<'a> {
    pub(super) fn new(
        session: &'a Session,
        folder: &'a RunFolder,
        options: &FitOptions,
        report: &mut Report,
    ) -> Result<Fit<'a>> {
        let Session { config, model, data, .. } = session;
        let optimiser = session.optimiser();
        let moments = optimiser.states(model.params());
        let mut store = session.store(Some(&optimiser))?;
        let step = TrainStep::of_tasks(&session.device, &store, &session.step_configs(options))?;
        let of_task = |session: &'a Session| {
            let batches = TrainBatches::new(session.data.clone(), session.split.clone(), session.batch_spec())?;
            let valid = session.evaluator_with(&store, Part::Valid, options.run)?;
            Ok(OfTask { session, batches, valid })
        };
        let tasks = session.tasks().map(of_task).collect::<Result<Vec<_>>>()?;
        for OfTask { batches, valid, .. } in &tasks {
            for (what, left_out) in [("training", batches.left_out()), ("valid", valid.left_out())] {
                left_out.some().iter().for_each(|left_out| report.line("", &format!("{what}: {left_out}")));
            }
        }
        let parameters = HumanCount(model.params().elements() as u64);
        let tuned = match session.tuned() {
            n if n == model.params().elements() => String::new(),
            n => format!(" ({} of them trained)", HumanCount(n as u64)),
        };
        report.line(
            "model",
            &format!("{}: {parameters} parameters{tuned}; {}", model.name(), describe_plan(step.plan())),
        );
        session.device.note().iter().for_each(|note| report.line("", note));

        let files = session.files(folder);
        let checkpoint = &files.checkpoint;
        let mut saved_step = None;
        let state = if options.resume && checkpoint.exists() {
            session.load_frozen(folder, &mut store)?;
            let kept = |name: &str| session.holds(name);
            let of = (model.params(), &kept as Which);
            let mut state = load_training(checkpoint, &session.origin(), of, &moments, &mut store)?;
            report.line("resumed", &format!("after step {} (epoch {})", HumanCount(state.step), state.epoch + 1));
            let file = &files.parameters;
            let step = file.is_file().then(|| checkpoint::best(file)).transpose()?.map(|best| best.step);
            if let Some(step) = step.filter(|step| *step > state.step) {
                // A run that was killed between the two files: the best that the checkpoint speaks of is gone.
                let about =
                    format!("{} is of step {}: the next evaluation writes it anew", file.display(), HumanCount(step));
                report.line("", &about);
                state.best = None;
            }
            saved_step = Some(state.step);
            state
        } else {
            if options.resume {
                let checkpoint = checkpoint.display();
                report.line(
                    "",
                    &format!("{checkpoint} is not there: nothing is resumed, the training starts from the beginning"),
                );
            }
            session.start(folder, &mut store)?;
            State::default()
        };
        let steps = steps_of(&tasks, config.train.accumulate);
        if state.step_in_epoch > steps || state.step_in_epoch == steps && !state.evaluates {
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
        let names = model.params().iter().map(|p| p.name.clone()).filter(|name| optimiser.trains(name));
        let begun = Begun {
            wgrec: env!("CARGO_PKG_VERSION").to_string(),
            device: session.device.describe(),
            data: session.origin().data,
            parameters: names.collect(),
        };
        let cost = step.cost(config.train.accumulate);
        let on = (&session.device, &store);
        let mut hasher = Hasher::new(on, model.params(), &begun.parameters, cost, config.log.every)?;
        let readings = if state.step == 0 { vec![hasher.read(0, None)?] } else { vec![] };
        folder.begin(&session.experiment.config, data)?;
        session.keep_taken(folder)?;
        files.rewind(state.step)?;
        let logs = Logs::open(session, folder, state.step)?;
        let (now, stop) = (Instant::now(), options.stop.clone());
        let (clock, saved, _heeded) = (now, now, stop.heed());
        Ok(Fit {
            session,
            folder,
            files,
            store,
            moments,
            step,
            hasher,
            begun: Some(begun),
            readings,
            logs,
            tasks,
            state,
            clock,
            saved,
            saved_step,
            stop,
            _heeded,
        })
    }

    /// Trains to the end of epoch `last`, if the training is not over before.
    pub(super) fn until(&mut self, last: u64, report: &mut Report) -> Result<()> {
        while !self.is_over() && self.state.epoch < last {
            self.epoch(report)?;
        }
        Ok(())
    }

    pub(super) fn run(mut self, report: &mut Report) -> Result<(State, Vec<Timing>, Store, Logs)> {
        self.until(u64::MAX, report)?;
        if self.state.best.is_none() {
            return Err(Error::Usage(format!(
                "train.max_steps: step {} is done already and was not evaluated; expected more",
                self.state.step
            )));
        }
        let timings = self.step.timings()?;
        Ok((self.state, timings, self.store, self.logs))
    }

    fn is_over(&self) -> bool {
        let train = &self.session.config.train;
        let state = &self.state;
        let age = state.best.as_ref().map_or(0, |best| state.epoch.saturating_sub(best.epoch));
        let over = state.epoch >= train.epochs
            || self.at_last_step()
            || (self.evaluated() && train.patience > 0 && age >= train.patience);
        over && !state.evaluates
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
        let steps = steps_of(&self.tasks, self.session.config.train.accumulate);
        let left = self.session.config.train.max_steps.map_or(u64::MAX, |most| most.saturating_sub(self.state.step));
        let (number, done) = (self.state.epoch + 1, self.state.step_in_epoch);
        report.begin_epoch(number, steps.min(done.saturating_add(left)), done);
        let speed_now = if self.state.evaluates { 0.0 } else { self.steps(steps, report)? };
        self.end_epoch(steps, speed_now, report)
    }

    /// Trains on the batches that are left of the epoch in hand, up to the last step; samples a second.
    fn steps(&mut self, steps: u64, report: &mut Report) -> Result<f64> {
        let config = &self.session.config;
        let train = &config.train;
        let (start, samples_before) = (Instant::now(), self.state.samples);
        let mut updates = updates(&self.tasks, self.state.epoch, self.state.step_in_epoch, (steps, train.accumulate));
        let total = train.epochs.saturating_mul(steps).min(train.max_steps.unwrap_or(u64::MAX));
        while self.state.step_in_epoch < steps {
            let step = self.state.step + 1;
            let last = self.state.step_in_epoch + 1 == steps || train.max_steps.is_some_and(|most| step >= most);
            let reads = last || step.is_multiple_of(config.log.every);
            let lr = train.lr * train.schedule.factor(self.state.step, train.warmup, total);
            let samples = self.update(&mut updates, step, lr, reads)?;
            let state = &mut self.state;
            state.step = step;
            state.step_in_epoch += 1;
            report.step(state.step_in_epoch);
            if reads {
                let loss = self.read_loss()?;
                if loss.is_finite() {
                    let (sum, count) = &mut self.state.losses;
                    (*sum, *count) = (*sum + loss, *count + 1);
                    self.read_reported(samples)?;
                    self.logs.add(step, &[("train/loss".to_string(), loss), ("train/lr".to_string(), lr)])?;
                }
                if last || self.hasher.is_due(step) {
                    self.readings.push(self.hasher.read(step, loss.is_finite().then_some(loss))?);
                }
                report.speed(self.speed_since(start, samples_before), loss);
            } else if report.awaits_speed() {
                // The first thing that a bar shows need not wait for step log.every.
                let loss = self.read_loss()?;
                report.speed(self.speed_since(start, samples_before), loss);
            }
            if last {
                break;
            }
            if self.stop.requested() {
                return Err(self.stopped(report));
            }
            if self.saved.elapsed().as_secs_f64() >= train.checkpoint_seconds {
                self.save()?;
            }
        }
        Ok(self.speed_since(start, samples_before))
    }

    /// Update number `step`, from 1, by the next batches; the samples of the last. `reads`: what is reported of the others is read.
    fn update(&mut self, updates: &mut Updates, step: u64, lr: f64, reads: bool) -> Result<usize> {
        let (now, seed) = (self.state.step, self.session.config.seed);
        let mut batches = updates.next().expect("an epoch has its batches").into_iter().peekable();
        loop {
            let (task, batch) = batches.next().expect("an update has a batch");
            self.state.samples += batch.samples as u64;
            let last = batches.peek().is_none();
            let run = match self.step.sums_up() {
                false => self.step.run(&batch, now, seed, lr),
                true => self.step.add(task, &batch, now, seed).and_then(|()| match last {
                    true => self.step.update_by_sums(now, seed, lr),
                    false => Ok(()),
                }),
            };
            run.map_err(|e| self.diverged(Some(step), e))?;
            if last {
                return Ok(batch.samples);
            }
            if reads {
                self.read_reported(batch.samples)?;
            }
        }
    }

    /// Adds what is reported of the last batch, which has `samples`, to the epoch's means.
    fn read_reported(&mut self, samples: usize) -> Result<()> {
        for (name, x) in self.step.reported()? {
            if !x.is_finite() {
                // A scaled loss may overflow in an update that is left out for it.
                if self.session.config.precision == Precision::F16 {
                    continue;
                }
                let problem = format!("step {}: {name} is not finite", HumanCount(self.state.step));
                return Err(self.diverged(None, Error::NotFinite(problem)));
            }
            let (sum, all) = self.state.reported.entry(name).or_default();
            (*sum, *all) = (*sum + x * samples as f64, *all + samples as u64);
        }
        Ok(())
    }

    /// Samples a second since `start`, from the number at that time.
    fn speed_since(&self, start: Instant, samples_before: u64) -> f64 {
        per_second((self.state.samples - samples_before) as f64, start.elapsed().as_secs_f64())
    }

    /// The last batch's loss, if all since the training began were finite. NaN where an update in f16 was left out for it.
    fn read_loss(&mut self) -> Result<f64> {
        let loss = match self.step.loss() {
            Ok(loss) => loss,
            Err(Error::NotFinite(problem)) => {
                let broken = self.step.reported()?.into_iter().filter(|(_, x)| !x.is_finite()).map(|(name, _)| name);
                let broken = broken.collect::<Vec<_>>().join(", ");
                let of_these = if broken.is_empty() { broken } else { format!(" (nor, of the last batch: {broken})") };
                return Err(self.diverged(None, Error::NotFinite(problem + &of_these)));
            }
            Err(e) => return Err(e),
        };
        self.session.optimiser().check_scale(&self.store)?;
        Ok(loss)
    }

    /// Evaluates where it is time to, writes down the epoch, and saves.
    fn end_epoch(&mut self, steps: u64, speed_now: f64, report: &mut Report) -> Result<()> {
        let config = &self.session.config;
        self.stop_clock();
        let epoch = self.state.epoch + 1;
        let mean = |(sum, count): (f64, u64)| (count > 0).then(|| sum / count as f64);
        let loss = mean(self.state.losses);
        let means = self.state.reported.iter().filter_map(|(name, sum)| Some((name.clone(), mean(*sum)?)));
        let reported: BTreeMap<String, f64> = means.collect();
        let mut text = format!("{} steps  {}", HumanCount(self.state.step), speed(speed_now, loss.unwrap_or(f64::NAN)));
        let evaluates = epoch.is_multiple_of(config.eval.every) || epoch == config.train.epochs || self.at_last_step();
        let mut valid = None;
        let mut best = false;
        let ranked = if evaluates { Some(self.validate(report)?) } else { None };
        // All that is saved is checked before the first file is touched.
        let training = self.read_training()?;
        if let Some(ranked) = ranked {
            let (value, metrics) = self.judged(&ranked);
            let last = config.train.keep == Keep::Last;
            best = last || self.state.best.as_ref().is_none_or(|best| value > best.value);
            let kept = if last { " (kept)" } else { " (best)" };
            text += &format!("  valid {} {value:.4}{}", self.session.judge(), if best { kept } else { "" });
            if best {
                let found = Best { epoch, step: self.state.step, value, valid: metrics.clone() };
                self.files.remove_metrics()?;
                let parameters = &training[..training.len() - self.moments.len()];
                checkpoint::save(&self.files.parameters, &self.session.origin(), &found, parameters)?;
                self.state.best = Some(found);
            }
            valid = Some(metrics);
        }
        reported.iter().for_each(|(name, mean)| text += &format!("  {name} {mean:.4}"));
        // The last step can fall into an epoch: it then counts as begun, not as done.
        self.state.evaluates = false;
        if self.state.step_in_epoch == steps {
            self.state.epoch = epoch;
            self.state.step_in_epoch = 0;
            self.state.losses = Default::default();
            self.state.reported.clear();
        }
        // Only now the checkpoint: a run that is killed before it does the epoch's end again, to the same result.
        let (step, seconds) = (self.state.step, self.state.seconds);
        let of_epoch = loss.map(|loss| ("loss".to_string(), loss)).into_iter().chain(reported.clone());
        let speed = ("samples_per_second".to_string(), speed_now);
        let of_epoch = of_epoch.chain([speed]).map(|(name, x)| (format!("epoch/{name}"), x));
        let of_valid = valid.iter().flat_map(|metrics| named("valid", metrics));
        self.logs.add(step, &of_epoch.chain(of_valid).collect::<Vec<_>>())?;
        self.files.append(&Line {
            epoch,
            step,
            loss,
            reported,
            valid,
            best,
            seconds,
            samples_per_second: speed_now,
        })?;
        self.clock = Instant::now();
        self.write(&training)?;
        report.end_epoch();
        report.line(&format!("epoch {epoch}"), &text);
        if self.stop.requested() && !self.is_over() {
            return Err(self.stopped(report));
        }
        Ok(())
    }

    /// The value that an epoch is picked by, and all metrics: of several tasks the mean of their values, and the metrics of each.
    fn judged(&self, ranked: &[Ranked]) -> (f64, Value) {
        let judged = self.tasks.iter().zip(ranked).map(|(task, ranked)| (task.session, task.session.judged(ranked)));
        let mut judged: Vec<(&Session, (f64, Value))> = judged.collect();
        if judged.len() == 1 {
            return judged.remove(0).1;
        }
        let mean = judged.iter().map(|(_, (value, _))| value).sum::<f64>() / judged.len() as f64;
        let of = |(session, (_, metrics)): (&Session, (f64, Value))| (session.task.shape().name, metrics);
        (mean, json!({ "mean": mean, "tasks": judged.into_iter().map(of).collect::<Map<_, _>>() }))
    }

    /// Ranks of the validation part of each task. Where it is asked to stop meanwhile, the training is saved as it is before.
    fn validate(&mut self, report: &mut Report) -> Result<Vec<Ranked>> {
        report.busy("validating");
        let (tasks, stop) = (&mut self.tasks, &self.stop);
        let ranked = tasks.iter_mut().map(|task| task.valid.run_unless(&|| stop.requested()));
        match ranked.collect() {
            Err(Error::Stopped(_)) => {
                self.clock = Instant::now();
                self.state.evaluates = true;
                Err(self.stopped(report))
            }
            ranked => ranked.map_err(|e| self.diverged(Some(self.state.step), e)),
        }
    }

    fn stop_clock(&mut self) {
        self.state.seconds += self.clock.elapsed().as_secs_f64();
        self.clock = Instant::now();
    }

    fn save(&mut self) -> Result<()> {
        self.stop_clock();
        let training = self.read_training()?;
        self.write(&training)
    }

    /// What a checkpoint holds. Not after a loss that was not finite, read or not.
    fn read_training(&mut self) -> Result<Named> {
        self.read_loss()?;
        let kept = |name: &str| self.session.holds(name);
        let read = read_training((self.session.model.params(), &kept), &self.moments, &self.store);
        read.map_err(|e| self.diverged(Some(self.state.step), e))
    }

    fn write(&mut self, training: &Named) -> Result<()> {
        self.files.append_hashes(self.begun.as_ref(), &self.readings)?;
        (self.begun, self.readings) = (None, vec![]);
        checkpoint::save(&self.files.checkpoint, &self.session.origin(), &self.state, training)?;
        (self.saved, self.saved_step) = (Instant::now(), Some(self.state.step));
        Ok(())
    }

    /// The error of a training that was asked to stop, saved; or that of saving it.
    fn stopped(&mut self, report: &mut Report) -> Error {
        report.busy("saving");
        let saved = self.save().and_then(|()| self.logs.stop());
        report.end_epoch();
        let (step, epoch, path) = (HumanCount(self.state.step), self.state.epoch + 1, self.folder.path().display());
        match saved {
            Err(e) => e,
            Ok(()) => Error::Stopped(format!("stopped after step {step} (epoch {epoch}), which is saved in {path}")),
        }
    }

    /// The error at `step`, if it is about a number that is not finite: with what is saved and what to try. Without `step`, the
    /// error names it.
    fn diverged(&self, step: Option<u64>, e: Error) -> Error {
        let Error::NotFinite(problem) = e else { return e };
        let at = step.map(|step| format!("step {}: ", HumanCount(step))).unwrap_or_default();
        let path = self.folder.path().display();
        let best = self.state.best.as_ref().map(|best| format!(", and the best parameters, of epoch {}", best.epoch));
        let stands = match self.saved_step {
            None => "Nothing of it is saved".to_string(),
            Some(saved) => format!(
                "The checkpoint of step {} stands in {path}{}; --resume takes the same way from there, and with \
                 --check-finite names the node",
                HumanCount(saved),
                best.unwrap_or_default()
            ),
        };
        Error::NotFinite(format!(
            "{at}{problem}. The training diverged: start another with a lower train.lr or with train.clip, or find the source \
             by --check-finite. {stands}"
        ))
    }
}
