//! What a user waits for: a training step with its batch, an evaluation, the way from a file to the first batch.

use super::{Report, Row, Scale, Spread};
use crate::config::Config;
use crate::data::known;
use crate::data::readers::locate;
use crate::data::samples::Ordered;
use crate::data::{Batch, BatchSpec, Cache, DataConfig, Part, Split, TrainBatches};
use crate::device::{Device, RunOptions};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::plan::Options;
use crate::tensor::Spec;
use crate::train::step::TrainStep;
use crate::train::{FitOptions, Session};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// A report of `what` about `session` that holds nothing yet but what its settings change of the defaults.
pub fn empty(what: &str, session: &Session) -> Report {
    let Session { config, data, model, device, .. } = session;
    let mut report = Report::new(&format!("{what} {}", model.name()), device);
    let changed =
        config.differences(&Config::with_model(config.model.defaults())).into_iter().map(|(key, now, _)| (key, now));
    // Where the data lies is nothing to it; what it holds is.
    report.settings = changed.filter(|(key, _)| !["device", "data.path"].contains(&key.as_str())).collect();
    report.settings.insert("data".into(), data.fingerprint().into());
    report
}

/// Training batches without end.
struct Endless {
    all: TrainBatches,
    epoch: u64,
    now: Ordered<Batch>,
}

impl Endless {
    fn new(session: &Session, spec: BatchSpec) -> Result<Endless> {
        let all = TrainBatches::new(session.data.clone(), session.split.clone(), spec)?;
        if all.samples() == 0 {
            return Err(Error::Usage("no training sample: every user's training part has fewer than two items".into()));
        }
        Ok(Endless { now: all.epoch(0, 0), epoch: 0, all })
    }

    fn next(&mut self) -> Batch {
        loop {
            if let Some(batch) = self.now.next() {
                return batch;
            }
            self.epoch += 1;
            self.now = self.all.epoch(self.epoch, 0);
        }
    }
}

/// Training steps of a session from its first parameters on: `step`, one with the batches it waits for; `batch`, making
/// those batches on one thread with nothing else to do.
///
/// # Errors
/// A model that is not trained; settings that no training takes; a device that cannot hold the plan.
pub fn step(session: &Session, scale: Scale) -> Result<Report> {
    session.check_training()?;
    let Session { config, device, model, .. } = session;
    let mut store = session.store(Some(&session.optimiser()))?;
    let mut step = TrainStep::of_tasks(device, &store, &session.step_configs(&FitOptions::default()))?;
    model.params().initialise(&mut store, config.seed)?;
    let each = config.train.accumulate;
    let cost = step.cost(each);
    let endless = |threads: Option<usize>| {
        let spec = |task: &Session| match (task.batch_spec(), threads) {
            (spec, Some(threads)) => BatchSpec { threads, ..spec },
            (spec, None) => spec,
        };
        session.tasks().map(|task| Endless::new(task, spec(task))).collect::<Result<Vec<_>>>()
    };

    let mut batches = endless(None)?;
    let (mut number, mut samples, mut waited) = (0, 0, 0.0);
    // Seconds a step of `steps` of them; the loss is read at the end of them, as a training does now and then.
    let mut round = |steps: usize| -> Result<(f64, usize, f64)> {
        (samples, waited) = (0, 0.0);
        let start = Instant::now();
        for _ in 0..steps {
            for _ in 0..each {
                for (task, batches) in batches.iter_mut().enumerate() {
                    let asked = Instant::now();
                    let batch = batches.next();
                    waited += asked.elapsed().as_secs_f64();
                    samples += batch.samples;
                    match step.sums_up() {
                        true => step.add(task, &batch, number, config.seed)?,
                        false => step.run(&batch, number, config.seed, config.train.lr)?,
                    }
                }
            }
            if step.sums_up() {
                step.update_by_sums(number, config.seed, config.train.lr)?;
            }
            number += 1;
        }
        step.loss()?;
        Ok((start.elapsed().as_secs_f64() / steps as f64, samples, waited))
    };
    round(2)?;
    let (alone, ..) = round(1)?;
    let steps = (0.05 / alone).clamp(1.0, 100.0) as usize;
    let (rounds, most) = scale.pick((40, 10.0), (5, 1.0));
    let (mut times, mut all_samples, mut all_waited) = (vec![], 0, 0.0);
    while times.len() < 3 || times.len() < rounds && times.iter().sum::<f64>() * steps as f64 <= most {
        let (seconds, samples, waited) = round(steps)?;
        times.push(seconds);
        all_samples += samples;
        all_waited += waited;
    }
    let total = times.iter().sum::<f64>() * steps as f64;
    let whole = Spread::of(times);

    let mut alone = endless(Some(0))?;
    let mut make = || {
        let start = Instant::now();
        (0..each).for_each(|_| alone.iter_mut().for_each(|task| drop(task.next())));
        Ok(start.elapsed().as_secs_f64())
    };
    make()?;
    let making = Spread::of(scale.repeat(make)?);

    let mut report = empty("step", session);
    let batch = config.train.batch * each * batches.len();
    let sizes = format!("{batch} of {} positions", config.data.max_len);
    report.rows.push(Row { bytes: cost.bytes, flops: cost.flops, ..Row::plain("step", &sizes, whole) });
    report.rows.push(Row::plain("batch", &sizes, making));
    let facts = [
        ("samples_per_second", all_samples as f64 / total),
        ("batch_maker_share", making.median / whole.median),
        ("waiting_for_batches_share", all_waited / total),
        ("peak_bytes", step.plan().peak_bytes() as f64),
    ];
    report.facts.extend(facts.map(|(name, value)| (name.to_string(), value)));
    Ok(report)
}

/// Full rankings of the test part by a session's first, untrained parameters: `ranking`; of that, `forward`, the users'
/// representations only; and `product`, the least that scoring can cost: one product of users and items.
///
/// # Errors
/// A part without targets; a device that cannot hold the plan.
pub fn eval(session: &Session, scale: Scale) -> Result<Report> {
    let Session { config, device, model, data, split, .. } = session;
    let mut store = session.store(None)?;
    model.params().initialise(&mut store, config.seed)?;
    let mut evaluator = session.evaluator(&store, Part::Test)?;
    let targets = split.targets(data, Part::Test).count();

    let timed = |run: &mut dyn FnMut() -> Result<()>| -> Result<Spread> {
        run()?;
        let once = || {
            let start = Instant::now();
            run()?;
            Ok(start.elapsed().as_secs_f64())
        };
        Ok(Spread::of(scale.repeat(once)?))
    };
    let ranking = timed(&mut || evaluator.run().map(drop))?;
    let forward = timed(&mut || evaluator.forward())?;

    let g = Graph::new();
    let table = model.output(&g).map_or_else(|| model.item_table(&g), |output| output.table);
    let rows = config.eval.batch.min(targets);
    g.result("scores", g.input("users", Spec::f32([rows, table.shape()[1]])).matmul_t(table));
    let plan = device.plan(&g, Options::default())?;
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    let batches = targets.div_ceil(rows);
    let product = timed(&mut || {
        (0..batches).try_for_each(|_| runner.run())?;
        runner.wait()
    })?;
    let cost = plan.cost();

    let mut report = empty("eval", session);
    let sizes = format!("{targets} targets, {} items", data.items());
    report.rows.push(Row::plain("ranking", &sizes, ranking));
    report.rows.push(Row::plain("forward", &sizes, forward));
    let (bytes, flops) = (cost.bytes * batches as u64, cost.flops * batches as u64);
    report.rows.push(Row { bytes, flops, ..Row::plain("product", &sizes, product) });
    let facts = [
        ("users_per_second", targets as f64 / ranking.median),
        ("forward_share", forward.median / ranking.median),
        ("ranking_to_forward_and_product", ranking.median / (forward.median + product.median)),
    ];
    report.facts.extend(facts.map(|(name, value)| (name.to_string(), value)));
    Ok(report)
}

/// From a file to the first training batch: `from file`, with an empty cache, which is hashed, read, filtered, sorted by user
/// and kept; `from cache`, once it is there. The system's own cache of files is not emptied.
///
/// # Errors
/// No `path`; whatever is wrong with the file.
pub fn data(config: &DataConfig, batch: usize, device: &Device, scale: Scale) -> Result<Report> {
    let Some(path) = &config.path else {
        return Err(Error::Usage(
            "bench data reads a file: pass --data PATH|NAME (`wgrec data synth --out DIR` writes one)".into(),
        ));
    };
    let path = known::resolve(path)?;
    let files = locate(&path, config.format, &config.columns)?.files;
    let file_bytes: u64 = files.iter().filter_map(|file| fs::metadata(file).ok()).map(|about| about.len()).sum();

    let folder = tempfile::tempdir().map_err(Error::io(std::env::temp_dir(), "write to"))?;
    let cache = Cache { folder: folder.path().join("cache") };
    let mut size = (0, 0, 0);
    let mut first = || -> Result<f64> {
        let start = Instant::now();
        let data = Arc::new(config.load_with(&path, Some(&cache))?);
        let split = Arc::new(Split::new(&data, config.split)?);
        // Items and times, and values and behaviours where there are any.
        let event = 12 + data.values(0).map_or(0, |_| 4) + data.behaviours(0).map_or(0, |_| 1);
        size = (data.users(), data.interactions(), event);
        let spec = BatchSpec { batch, max_len: config.max_len, ..BatchSpec::default() };
        let batches = TrainBatches::new(data, split, spec)?;
        batches.epoch(0, 0).next();
        Ok(start.elapsed().as_secs_f64())
    };
    let peak = Peak::begin();
    let mut cold = vec![first()?];
    let peak = peak.and_then(|peak| peak.end());
    for _ in 1..scale.pick(5, 2) {
        fs::remove_dir_all(&cache.folder).map_err(Error::io(&cache.folder, "remove"))?;
        cold.push(first()?);
    }
    let cold = Spread::of(cold);
    let warm = Spread::of(scale.repeat(first)?);
    let image = fs::read_dir(&cache.folder).map_err(Error::io(&cache.folder, "read"))?;
    let image: u64 = image.flatten().filter_map(|file| file.metadata().ok()).map(|about| about.len()).sum();

    let (users, interactions, event) = size;
    let mut report = Report::new("data", device);
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let sizes = format!("{name}, {interactions} events");
    report.rows.push(Row { bytes: file_bytes, ..Row::plain("from file", &sizes, cold) });
    report.rows.push(Row { bytes: image, ..Row::plain("from cache", &sizes, warm) });
    let csr = 8 * (users + 1) + event * interactions;
    let facts = [
        ("interactions_per_second", interactions as f64 / cold.median),
        ("interactions_per_second_cached", interactions as f64 / warm.median),
        ("file_bytes", file_bytes as f64),
        ("cache_bytes", image as f64),
        ("csr_bytes", csr as f64),
    ];
    report.facts.extend(facts.map(|(name, value)| (name.to_string(), value)));
    if let Some(peak) = peak {
        report.facts.insert("peak_bytes".into(), peak as f64);
        report.facts.insert("peak_to_csr".into(), peak as f64 / csr as f64);
    }
    Ok(report)
}

/// The most memory that the process holds from its beginning on, where the system counts it (Linux).
struct Peak {
    before: usize,
}

impl Peak {
    fn begin() -> Option<Peak> {
        // 5: the peak is what is held now.
        fs::write("/proc/self/clear_refs", "5").ok()?;
        Some(Peak { before: status("VmRSS:")? })
    }

    /// Bytes beyond those held at the beginning.
    fn end(self) -> Option<usize> {
        Some(status("VmHWM:")?.saturating_sub(self.before))
    }
}

fn status(field: &str) -> Option<usize> {
    let text = fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok().map(|kib| kib << 10)
}
