//! Every model on every device: gradients by name, the first losses, one batch overfitted, cpu and gpu alike.

mod batch;
mod half;
mod list;
mod padding;

use crate::harness::devices;
use batch::batch;
use half::{half, infinite_norm, loss_scale, short_lengths, short_rows};
use libtest_mimic::{Failed, Trial};
use list::{B, ITEMS, M, Make, PRETRAIN, TUNE, differentiable, dpcpl, encoder, experts, models, tower_sasrec};
use padding::{padding_alone, padding_is_nothing};
use std::sync::Arc;
use wgrec::data::samples::hidden;
use wgrec::device::{Device, RunOptions, Store};
use wgrec::graph::Graph;
use wgrec::graph::plan::{Memory, Options, Plan, Planned, Slot};
use wgrec::kernels::elementwise::{Chain, Fun};
use wgrec::models::dpcpl::prompts::Source;
use wgrec::models::items::Listed;
use wgrec::models::loss::log_chances;
use wgrec::models::sasrec::{self, Positions};
use wgrec::models::{History, ItemSettings, Loss, LossKind, Model};
use wgrec::nn::Params;
use wgrec::nn::encoder::{Encoder, Norm};
use wgrec::optim::Adam;
use wgrec::tensor::philox::Stream;
use wgrec::tensor::{Spec, Tensor};
use wgrec::train::step::{Role, StepConfig, TrainStep};

/// A model and its loss.
struct Subject {
    make: Make,
    model: Box<dyn Model>,
    kind: LossKind,
}

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![];
    for (name, kind, make) in models() {
        let model = move || Subject { make, model: make(), kind };
        trials.push(Trial::test(format!("models::{name}::gradients"), move || {
            let make = differentiable(name, make);
            gradients(&Subject { make, model: make(), kind })
        }));
        trials.push(Trial::test(format!("models::{name}::first_ten_losses"), move || first_losses(name, &model())));
        for device in ["f64", "cpu"] {
            trials.push(Trial::test(format!("models::{name}::overfits_one_batch::{device}"), move || {
                overfits(&model(), &devices::get(device)?)
            }));
            trials.push(Trial::test(format!("models::{name}::padding_alone_costs_nothing::{device}"), move || {
                padding_alone(&model(), &devices::get(device)?)
            }));
            trials.push(Trial::test(format!("models::{name}::same_bits_twice::{device}"), move || {
                same_bits(&model(), &devices::get(device)?)
            }));
        }
        trials.push(Trial::test(format!("models::{name}::same_bits_on_any_number_of_threads"), move || {
            same_bits_threaded(&model())
        }));
        trials.push(Trial::test(format!("models::{name}::like_f64::cpu"), move || {
            alike(&model(), &devices::get("cpu")?, |_| {})
        }));
        trials.push(Trial::test(format!("models::{name}::on_the_gpu"), move || on_the_gpu(name, &model())));
    }
    trials.push(Trial::test("models::pomrec_overfits_one_batch_on_the_gpu", || {
        let (_, kind, make) = models().into_iter().find(|(name, ..)| *name == "pomrec").ok_or("no such model")?;
        overfits(&Subject { make, model: make(), kind }, &devices::get("gpu")?)
    }));
    for device in devices::all() {
        trials.push(Trial::test(format!("models::the_loss_scale_changes_nothing_but_overflow::{device}"), move || {
            loss_scale(&devices::get(device)?)
        }));
    }
    trials.push(Trial::test("models::cosines_of_short_rows_learn_in_f16", short_rows));
    trials.push(Trial::test("models::lengths_of_short_rows_are_f32_in_f16", short_lengths));
    trials.push(Trial::test("models::an_infinite_norm_is_not_clipped_to_nothing", infinite_norm));
    trials.push(Trial::test("models::one_place_is_as_among_all", one_place));
    let filtered = ["fmlp", "mb_fmlp", "dpcpl", "dpcpl_pretrain", "dpcpl_items", "dpcpl_attention", "dpcpl_attributes"];
    let routed = ["comirec", "comirec_routing", "mind", "mind_soft", "mcprn"];
    for name in filtered.into_iter().chain(routed) {
        trials.push(Trial::test(format!("models::{name}::padding_reaches_no_user"), move || padding_is_nothing(name)));
    }
    for device in devices::all() {
        let name = format!("models::a_tower_of_listed_items_is_that_of_all::{device}");
        trials.push(Trial::test(name, move || listed_items(&devices::get(device)?)));
    }
    trials.push(Trial::test("models::prompts_are_tuned_on_a_frozen_network", frozen_backbone));
    for device in devices::all() {
        trials.push(Trial::test(format!("models::several_batches_make_one_update::{device}"), move || {
            accumulated(&devices::get(device)?)
        }));
    }
    trials.push(Trial::test("models::a_planted_sign_error_is_found", || {
        let (_, kind, make) = models()[0];
        match alike(&Subject { make, model: make(), kind }, &devices::get("cpu")?, negate_moments_gradient) {
            Err(_) => Ok(()),
            Ok(()) => Err("the comparison with f64 passed in spite of a gradient of the wrong sign".into()),
        }
    }));
    trials
}

fn config(kind: LossKind, keep_gradients: bool) -> StepConfig {
    let optimiser = Adam { clip: Some(5.0), weight_decay: 1e-6, ..Adam::default() };
    // A log Q as of a sampler by popularity, for the losses that correct by it.
    let corrected = matches!(kind, LossKind::SampledSoftmax | LossKind::InBatch);
    let log_q = corrected.then(|| log_chances(&(0..=ITEMS as u32).collect::<Vec<_>>(), 1.0));
    let loss = Loss { kind, log_q, ..Loss::default() };
    StepConfig { batch: B, max_len: M, negatives: 1, loss, optimiser, keep_gradients, ..StepConfig::default() }
}

fn store(model: &Subject, device: &Device) -> Result<Store, Failed> {
    let params = model.model.params();
    let mut store = device.store(&TrainStep::states(params, &config(model.kind, false).optimiser))?;
    params.initialise(&mut store, 3)?;
    params.lend_to(device, &mut store)?;
    Ok(store)
}

const LR: f64 = 0.01;

/// Steps `from..to`; the losses.
fn train(model: &Subject, device: &Device, store: &Store, from: u64, to: u64) -> Result<Vec<f64>, Failed> {
    let mut step = TrainStep::new(device, store, &*model.model, &config(model.kind, false))?;
    (from..to)
        .map(|n| {
            step.run(&batch(model, n), n, 3, LR)?;
            Ok(step.loss()?)
        })
        .collect()
}

fn states(store: &Store) -> Result<Vec<(String, Tensor)>, Failed> {
    let read = |(name, n): (String, usize)| Ok((name.clone(), store.read(&name, 0, &Spec::f32([n]))?));
    store.states().into_iter().map(read).collect()
}

/// What differences of the loss say of the gradient by a parameter.
#[derive(PartialEq)]
enum Judged {
    Whole,
    /// TiMiRec's interests teach by a term of which they have no gradient: it is left out of the loss.
    Teaching,
    /// An item table that teaches and is taught. `interests::a_shared_table_has_the_gradients_of_both` judges it.
    Both,
}

/// What each model must do on the GPU too; as its updates are those in f64, it learns there as it does in f64. One trial, so that what is compiled for one check serves the next: each thread of trials
/// has a device of its own.
fn on_the_gpu(name: &str, model: &Subject) -> Result<(), Failed> {
    let gpu = devices::get("gpu")?;
    let mut wrong = vec![];
    let mut judge = |check: &str, judged: Result<(), Failed>| {
        if let Err(e) = judged {
            wrong.push(format!("{check}: {}", e.message().unwrap_or_default()));
        }
    };
    judge("like f64", alike(model, &gpu, |_| {}));
    judge("same bits twice", same_bits(model, &gpu));
    judge("padding alone costs nothing", padding_alone(model, &gpu));
    // Rounding to f16 turns some of the actions that RDRSR draws, and a row's loss with each.
    if name != "rdrsr_reinforced" {
        judge("f16 is near f32", half(model));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ").into()) }
}

/// The gradient's norm among what a step reports.
fn norm(reported: &[(String, f64)]) -> Result<f64, Failed> {
    let norm = reported.iter().find(|(name, _)| name == "gradient_norm");
    norm.map(|(_, norm)| *norm).ok_or_else(|| "no norm of the gradient is reported".into())
}

fn judged(model: &dyn Model, parameter: &str) -> Judged {
    let predicts = model.params().iter().any(|p| p.name.starts_with("predictor."));
    let shares = model.second_table(&Graph::new()).is_none();
    match parameter {
        _ if !predicts || parameter.starts_with("predictor.") => Judged::Whole,
        "item_embedding" if shares => Judged::Both,
        _ => Judged::Teaching,
    }
}

/// Each parameter's gradient against finite differences of the loss along a random direction, in f64.
fn gradients(model: &Subject) -> Result<(), Failed> {
    let device = devices::get("f64")?;
    let mut store = store(model, &device)?;
    train(model, &device, &store, 0, 20)?;
    let params = model.model.params();
    let batch = batch(model, 100);
    let before = states(&store)?;
    let mut at = |name: Option<(&str, &Tensor)>| -> Result<(f64, Vec<(String, Tensor)>), Failed> {
        for (state, tensor) in &before {
            store.write(state, 0, tensor)?;
        }
        if let Some((name, tensor)) = name {
            params.write(&mut store, name, tensor)?;
        }
        let mut step = TrainStep::new(&device, &store, &*model.model, &config(model.kind, true))?;
        step.run(&batch, 20, 3, 0.0)?;
        let gradient = |p: &wgrec::nn::params::Param| Ok((p.name.clone(), step.read(&format!("gradient.{}", p.name))?));
        let gradients = params.iter().map(gradient).collect::<Result<Vec<_>, Failed>>()?;
        let taught = name.is_some_and(|(name, _)| judged(&*model.model, name) == Judged::Teaching);
        let reported = step.reported()?;
        let squares = gradients.iter().flat_map(|(_, dy)| dy.to_f64()).map(|x| x * x);
        let (norm, told_norm) = (squares.sum::<f64>().sqrt(), norm(&reported)?);
        if (norm - told_norm).abs() > 1e-6 * norm {
            return Err(format!("a gradient of norm {norm} is reported as one of {told_norm}").into());
        }
        let term =
            reported.iter().find(|(own, _)| own == "distillation").filter(|_| taught).map_or(0.0, |(_, term)| *term);
        Ok((step.loss()? - term, gradients))
    };
    let (_, gradients) = at(None)?;
    let values: Vec<(String, Tensor)> = {
        let mut fresh = device.store(&params.states())?;
        for (state, tensor) in before.iter().filter(|(n, _)| params.states().iter().any(|(s, _)| s == n)) {
            fresh.write(state, 0, tensor)?;
        }
        params.iter().map(|p| Ok((p.name.clone(), params.read(&fresh, &p.name)?))).collect::<Result<_, Failed>>()?
    };
    let told = |((name, _), _): &(&(String, Tensor), _)| judged(&*model.model, name) != Judged::Both;
    for ((name, value), (_, gradient)) in values.iter().zip(&gradients).filter(told) {
        let mut r = Stream::new(9, name, 0);
        let direction: Vec<f64> = (0..value.shape.elements()).map(|_| r.normal()).collect();
        let moved = |h: f64| {
            let x = value.to_f64().iter().zip(&direction).map(|(x, d)| x + h * d).collect();
            Tensor::f64(value.shape.clone(), x)
        };
        let ours: f64 = gradient.to_f64().iter().zip(&direction).map(|(g, d)| g * d).sum();
        let mut differences = |h: f64| -> Result<f64, Failed> {
            let mut loss = |k: f64| at(Some((name, &moved(k * h)))).map(|(loss, _)| loss);
            Ok((8.0 * (loss(1.0)? - loss(-1.0)?) - (loss(2.0)? - loss(-2.0)?)) / (12.0 * h))
        };
        // So short that few ReLUs turn within it; where one does, shorter, at which the loss's own rounding is felt (1e-8 or so).
        let (long, short) = (differences(2e-6)?, differences(2e-7)?);
        let close = |numeric: f64, rtol: f64| (numeric - ours).abs() <= 1e-9 + rtol * numeric.abs();
        if !(close(long, 1e-6) || close(short, 1e-5)) {
            return Err(format!("{name}: gradient {ours:e}, finite differences {long:e} and {short:e}").into());
        }
        if ours == 0.0 {
            return Err(format!("{name}: its gradient is 0").into());
        }
    }
    Ok(())
}

/// The first ten losses of the f64 device, as they were when the model was checked: a change of its arithmetic shows here.
fn first_losses(name: &str, model: &Subject) -> Result<(), Failed> {
    let device = devices::get("f64")?;
    let got = train(model, &device, &store(model, &device)?, 0, 10)?;
    let table = include_str!("../first_losses.txt");
    let line = table.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
    let want: Vec<f64> = line.unwrap_or("").split_whitespace().map(|x| x.parse().unwrap_or(f64::NAN)).collect();
    let close = want.len() == 10 && got.iter().zip(&want).all(|(g, w)| (g - w).abs() <= 1e-10);
    if close {
        Ok(())
    } else {
        Err(format!("got {name}: {}", got.iter().map(|x| format!("{x:.12} ")).collect::<String>()).into())
    }
}

fn overfits(model: &Subject, device: &Device) -> Result<(), Failed> {
    let store = store(model, device)?;
    let mut step = TrainStep::new(device, &store, &*model.model, &config(model.kind, false))?;
    let batch = batch(model, 0);
    let mut first = None;
    for n in 0..300 {
        step.run(&batch, n, 3, LR)?;
        if first.is_none() {
            first = Some(step.loss()?);
        }
    }
    let (first, last) = (first.unwrap_or(f64::NAN), step.loss()?);
    if last < 0.1 * first { Ok(()) } else { Err(format!("the loss went from {first} to {last}").into()) }
}

/// What an encoder computes for the last position alone is what it computes there among all positions.
fn one_place() -> Result<(), Failed> {
    let device = devices::get("f64")?;
    fn of(norm: Norm, heads: usize, layers: usize, attend_padding: bool) -> Box<dyn Model> {
        let encoder = Encoder { heads, layers, attend_padding, ..encoder(norm, true) };
        Box::new(sasrec::SasRec::new(
            sasrec::Parts { items: ITEMS, max_len: M, encoder, positions: Positions::All, behaviours: 0, hides: false },
            Params::new(),
        ))
    }
    let mut all = models();
    all.retain(|(name, ..)| name.contains("sasrec") || name.contains("bert4rec"));
    all.push(("one head, one block", LossKind::Bce, || of(Norm::Pre, 1, 1, false)));
    all.push(("one head, padding attended to", LossKind::Bce, || of(Norm::Pre, 1, 2, true)));
    all.push(("one head, norm after", LossKind::Bce, || of(Norm::Post, 1, 2, false)));
    for (name, kind, make) in all {
        let subject = Subject { make, model: make(), kind };
        let store = store(&subject, &device)?;
        train(&subject, &device, &store, 0, 30)?;
        let mut columns = batch(&subject, 100).columns;
        let behavioural = subject.model.reads().behaviours;
        for name in ["history", "recency", "behaviours"] {
            if columns.has(name) {
                columns.get_mut(name).u32()[..M].fill(0);
            }
        }
        let g = Graph::new();
        let input = |name: String| g.input(&name, Spec::u32([B, M]));
        let read = |name: &str| History {
            behaviours: behavioural.then(|| input(format!("{name}.behaviours"))),
            ..History::new(input(name.into()), input(format!("{name}.recency")))
        };
        let (history, whole) = (read("history"), read("whole"));
        let all = subject.model.positions(&g, &whole);
        let cloze = name.contains("bert4rec");
        g.result("among", if cloze { all.slice(1, M - 1, 1).reshape([B, 12]) } else { whole.most_recent(all) });
        g.result("alone", subject.model.user(&g, &history));
        let mut runner = device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?;
        // BERT4Rec drops the oldest item and reads a hidden one after the most recent.
        let moved = |values: &[u32], last: u32| -> Vec<u32> {
            let moved = |window: &[u32]| [&window[1..], &[last]].concat();
            if cloze { values.chunks(M).flat_map(moved).collect() } else { values.to_vec() }
        };
        let items = moved(columns.u32("history"), hidden(ITEMS));
        if behavioural {
            runner.write_u32("history.behaviours", columns.u32("behaviours"))?;
            runner.write_u32("whole.behaviours", &moved(columns.u32("behaviours"), 2))?;
        }
        for (name, values) in [("history", columns.u32("history")), ("whole", &items)] {
            runner.write_u32(name, values)?;
            runner.write_u32(&format!("{name}.recency"), columns.u32("recency"))?;
        }
        runner.run()?;
        let [among, alone] = [runner.read("among")?.to_f64(), runner.read("alone")?.to_f64()];
        if let Some(i) = (0..among.len()).find(|&i| (among[i] - alone[i]).abs() > 1e-12) {
            return Err(format!("{name}: element {i} is {} among all, {} alone", among[i], alone[i]).into());
        }
    }
    Ok(())
}

/// A step that computes the vectors of the batch's items alone has the loss and the gradients of one that computes all, after updates
/// of either kind, under every loss that draws negatives.
fn listed_items(device: &Device) -> Result<(), Failed> {
    // Noise of gates is drawn for a row of what is computed. A decay of rows without a gradient differs too.
    let quiet = |tower| ItemSettings { gate_noise: false, ..experts(tower) };
    for kind in [LossKind::Bce, LossKind::SampledSoftmax, LossKind::InBatch] {
        let run = |tower| -> Result<(f64, Vec<(String, Tensor)>), Failed> {
            let make: Make = || tower_sasrec(experts(Listed::All));
            let subject = Subject { make, model: tower_sasrec(quiet(tower)), kind };
            let mut config = config(kind, true);
            config.optimiser.weight_decay = 0.0;
            let store = store(&subject, device)?;
            let mut step = TrainStep::new(device, &store, &*subject.model, &config)?;
            (0..6).try_for_each(|n| step.run(&batch(&subject, n), n, 3, LR))?;
            let names = subject.model.params().iter().map(|p| p.name.clone());
            let read = |name: String| Ok((name.clone(), step.read(&format!("gradient.{name}"))?));
            let gradients = names.map(read).collect::<Result<Vec<_>, Failed>>()?;
            Ok((step.loss()?, gradients))
        };
        let ((want, wanted), (got, gotten)) = (run(Listed::All)?, run(Listed::Batch)?);
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let all = norm(&mut wanted.iter().flat_map(|(_, dy)| dy.to_f64()));
        if (want - got).abs().is_nan() || (want - got).abs() > 1e-5 {
            return Err(format!("{kind}: the loss is {want} over all items, {got} over those of the batch").into());
        }
        for ((name, want), (_, got)) in wanted.iter().zip(&gotten) {
            let apart = norm(&mut want.to_f64().iter().zip(got.to_f64()).map(|(a, b)| a - b));
            if apart.is_nan() || apart > 1e-3 * all {
                return Err(format!("{kind}: the gradients of {name} are {apart:e} apart").into());
            }
        }
    }
    Ok(())
}

/// The network of DPCPL has the same parameters in every phase; tuning `prompts.*` alone changes all of these and no other.
fn frozen_backbone() -> Result<(), Failed> {
    let shapes = |model: &dyn Model, own: bool| -> Vec<(String, Vec<usize>)> {
        let params = model.params().iter().filter(|p| own || !p.name.starts_with("prompts."));
        params.map(|p| (p.name.clone(), p.shape.to_vec())).collect()
    };
    let backbone = shapes(&*dpcpl(PRETRAIN, |_| {}), true);
    let whole = dpcpl(TUNE, |c| c.prompt.source = Source::Off);
    if shapes(&*whole, true) != backbone || whole.reads().features != 0 {
        return Err("full tuning is not of the pre-trained network".into());
    }
    let make: Make = || dpcpl(TUNE, |_| {});
    let subject = Subject { make, model: make(), kind: LossKind::Bpr };
    if shapes(&*subject.model, false) != backbone {
        return Err("the network below prompts is not the pre-trained one".into());
    }
    let device = devices::get("cpu")?;
    let store = store(&subject, &device)?;
    let params = subject.model.params();
    let values = || params.iter().map(|p| Ok((p.name.clone(), params.read(&store, &p.name)?)));
    let before = values().collect::<Result<Vec<_>, Failed>>()?;
    let mut config = config(subject.kind, false);
    config.optimiser.only = vec!["prompts.*".to_string()];
    TrainStep::new(&device, &store, &*subject.model, &config)?.run(&batch(&subject, 0), 0, 3, LR)?;
    for ((name, was), (_, is)) in before.iter().zip(values().collect::<Result<Vec<_>, Failed>>()?) {
        match (name.starts_with("prompts."), *was == is) {
            (true, true) => return Err(format!("{name} is tuned, but it has not changed").into()),
            (false, false) => return Err(format!("{name} is frozen, but it has changed").into()),
            _ => {}
        }
    }
    Ok(())
}

/// Updates by three batches of unequal weight are those by all their rows at once, with clipping and decay on the way.
fn accumulated(device: &Device) -> Result<(), Failed> {
    let make: Make = || {
        let encoder = Encoder { dropout: 0.0, ..encoder(Norm::Pre, true) };
        Box::new(sasrec::SasRec::new(
            sasrec::Parts { items: ITEMS, max_len: M, encoder, positions: Positions::All, behaviours: 0, hides: false },
            Params::new(),
        ))
    };
    let subject = Subject { make, model: make(), kind: LossKind::Bce };
    let mut after = vec![];
    let mut norms = vec![];
    for accumulate in [1, 3] {
        let mut config = config(subject.kind, false);
        // Adam forgets a gradient's scale; a decay and a limit that act do not.
        config.optimiser = Adam { accumulate, weight_decay: 0.1, clip: Some(0.05), ..config.optimiser };
        let params = subject.model.params();
        let mut store = device.store(&TrainStep::states(params, &config.optimiser))?;
        params.initialise(&mut store, 3)?;
        let mut step = TrainStep::new(device, &store, &*subject.model, &config)?;
        for n in 0..5 {
            let whole = batch(&subject, n);
            if accumulate == 1 {
                step.run(&whole, n, 3, LR)?;
                norms.push(norm(&step.reported()?)?);
                continue;
            }
            let part = |rows: std::ops::Range<usize>| {
                let mut part = whole.clone();
                for (place, weight) in part.columns.get_mut("weight").f32().iter_mut().enumerate() {
                    *weight *= rows.contains(&(place / M)) as u32 as f32;
                }
                part
            };
            step.add(0, &part(0..2), n, 3)?;
            step.add(0, &part(2..9), n, 3)?;
            step.run(&part(9..B), n, 3, LR)?;
            let (want, got) = (norms[n as usize], norm(&step.reported()?)?);
            if (want - got).abs() > 1e-3 * want {
                return Err(format!("the norm {want} of a batch is {got} in parts").into());
            }
        }
        let values = params.iter().map(|p| Ok((p.name.clone(), params.read(&store, &p.name)?.to_f64())));
        after.push(values.collect::<Result<Vec<_>, Failed>>()?);
    }
    for ((name, at_once), (_, added)) in after[0].iter().zip(&after[1]) {
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
        let apart = norm(&mut at_once.iter().zip(added).map(|(a, b)| a - b));
        // Biases of keys have gradients that are 0 by nature: what they move by is rounding.
        if apart > 1e-6 + 1e-3 * norm(&mut at_once.iter().copied()) {
            return Err(format!("{name}: {apart:e} apart").into());
        }
    }
    Ok(())
}

fn same_bits(model: &Subject, device: &Device) -> Result<(), Failed> {
    let run = || {
        let store = store(model, device)?;
        train(model, device, &store, 0, 30)?;
        states(&store)
    };
    if run()? == run()? { Ok(()) } else { Err("two runs differ".into()) }
}

/// What is shared among threads is cut the same way for any number of them.
fn same_bits_threaded(model: &Subject) -> Result<(), Failed> {
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        pool.install(|| {
            let device = devices::get("cpu")?;
            let store = store(model, &device)?;
            train(model, &device, &store, 0, 5)?;
            states(&store)
        })
    };
    if run(1)? == run(3)? { Ok(()) } else { Err("one thread and three differ".into()) }
}

/// From 300 steps into a training (at the start every loss is ln 2): each named gradient within 1e-4 of f64's in the L2
/// norm, each parameter's update by 50 more steps within 1e-2. `spoil` may break the plan that `device` runs.
fn alike(model: &Subject, device: &Device, spoil: fn(&mut Plan)) -> Result<(), Failed> {
    // What is left of rounding after some steps turns an action that RDRSR draws, and all that comes after it.
    let updates = if model.model.name() == "rdrsr" { 10 } else { 50 };
    let oracle = devices::get("f64")?;
    let start = store(model, &oracle)?;
    train(model, &oracle, &start, 0, 300)?;
    let start = states(&start)?;
    let params = model.model.params();
    let after = |device: &Device, spoil: fn(&mut Plan)| -> Result<[Vec<(String, Tensor)>; 2], Failed> {
        let mut store = store(model, device)?;
        for (name, tensor) in &start {
            store.write(name, 0, tensor)?;
        }
        let g = Graph::new();
        TrainStep::trace(&g, &*model.model, &config(model.kind, true), Role::Update)?;
        let mut plan = device.plan(&g, Options::default())?;
        spoil(&mut plan);
        let mut step = TrainStep::with_plan(device, &store, &*model.model, &config(model.kind, true), plan)?;
        step.run(&batch(model, 300), 300, 3, LR)?;
        let gradient = |p: &wgrec::nn::params::Param| Ok((p.name.clone(), step.read(&format!("gradient.{}", p.name))?));
        let gradients = params.iter().map(gradient).collect::<Result<Vec<_>, Failed>>()?;
        for n in 301..300 + updates {
            step.run(&batch(model, n), n, 3, LR)?;
        }
        let value = |p: &wgrec::nn::params::Param| Ok((p.name.clone(), params.read(&store, &p.name)?));
        Ok([gradients, params.iter().map(value).collect::<Result<Vec<_>, Failed>>()?])
    };
    let [want_gradients, want] = after(&oracle, |_| {})?;
    let [got_gradients, got] = after(device, spoil)?;
    let norm = |x: &[f64]| x.iter().map(|v| v * v).sum::<f64>().sqrt();
    let apart =
        |a: &Tensor, b: &Tensor| -> Vec<f64> { a.to_f64().iter().zip(b.to_f64()).map(|(x, y)| x - y).collect() };
    // A bias before a softmax has gradient 0 by nature: what is computed is rounding noise, which Adam makes into steps.
    // So it is with single elements, such as an impulse that a filter adds at a position that nobody reads.
    // Other gradients are what is left of larger terms that cancel; those below a hundredth of all are judged as that.
    let all = want_gradients.iter().map(|(_, w)| norm(&w.to_f64()).powi(2)).sum::<f64>().sqrt();
    let nothing = |w: &Tensor| norm(&w.to_f64()) < 1e-12 * all;
    for ((name, g), (_, w)) in got_gradients.iter().zip(&want_gradients) {
        let relative = norm(&apart(g, w)) / norm(&w.to_f64()).max(1e-2 * all);
        // Written so that a NaN fails, as below.
        if relative.is_nan() || relative > 1e-4 {
            return Err(format!("the gradient of {name} is off by {relative:e}").into());
        }
    }
    let mut before = oracle.store(&params.states())?;
    for (name, tensor) in start.iter().filter(|(n, _)| params.states().iter().any(|(s, _)| s == n)) {
        before.write(name, 0, tensor)?;
    }
    let gradients = want_gradients.iter().zip(&got_gradients);
    let trained = got.iter().zip(&want).zip(gradients).filter(|(_, ((_, gradient), _))| !nothing(gradient));
    for (((name, g), (_, w)), ((_, gradient), (_, got_gradient))) in trained {
        let old = params.read(&before, name)?;
        let mut off = apart(g, w);
        // Rows that this batch does not read have exactly 0 on both, and are judged.
        let noise = |want: f64, got: f64| want.abs() < 1e-10 * all && (want != 0.0 || got != 0.0);
        let both = gradient.to_f64().into_iter().zip(got_gradient.to_f64());
        off.iter_mut().zip(both).filter(|(_, (want, got))| noise(*want, *got)).for_each(|(off, _)| *off = 0.0);
        let relative = norm(&off) / norm(&apart(w, &old)).max(1e-8);
        if relative.is_nan() || relative > 1e-2 {
            return Err(format!("{updates} updates of {name} are off by {relative:e}").into());
        }
    }
    Ok(())
}

/// Turns the sign of the gradient by the histories that the moments' backward leaves.
fn negate_moments_gradient(plan: &mut Plan) {
    let at = plan.nodes.iter().position(|n| n.op.name() == "moments backward").expect("the model takes moments");
    let right = plan.nodes[at].outputs[1].clone();
    let wrong = Slot { memory: Memory::Pool(plan.pool.len()), ..right.clone() };
    plan.pool.push(right.spec.bytes());
    plan.nodes[at].outputs[1] = wrong.clone();
    let negation = Planned {
        op: Arc::new(Chain::of(Fun::Neg)),
        scope: "planted".into(),
        inputs: vec![wrong],
        outputs: vec![right],
        scratch: vec![],
        strip: plan.nodes[at].strip,
    };
    plan.nodes.insert(at + 1, negation);
}
