//! Activations that are stored as f16, and the scale of the loss.

use super::list::{Make, models, task};
use super::{LR, Subject, batch, config, norm, states};
use crate::harness::devices;
use libtest_mimic::Failed;
use wgrec::device::{Device, RunOptions, Store};
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Step};
use wgrec::models::cosine::Cosine;
use wgrec::models::pomrec::{PomRec, Settings, Variant};
use wgrec::models::{LossKind, stamp};
use wgrec::nn::{Init, Params};
use wgrec::optim::Adam;
use wgrec::tensor::{DType, Spec, Tensor};
use wgrec::train::step::{StepConfig, TrainStep};

/// Losses of a training whose activations are stored as f16: near those in f32, and not the same.
pub fn half(model: &Subject) -> Result<(), Failed> {
    let device = devices::get("gpu")?;
    let losses = |half: bool| -> Result<Vec<f64>, Failed> {
        let mut store = scaled_store(model, &device)?;
        // From 2^15 on, some gradients overflow at first, and the updates that are left out for it would show.
        store.write("loss_scale", 0, &Tensor::f32([1], vec![-9.0]))?;
        let mut config = scaled(model.kind, half);
        config.plan.half = half;
        let mut step = TrainStep::new(&device, &store, &*model.model, &config)?;
        let halves = step.plan().nodes.iter().flat_map(|n| &n.outputs).filter(|s| s.spec.dtype == DType::F16).count();
        if (halves > 0) != half {
            return Err(format!("{halves} values are stored as f16").into());
        }
        let losses = (0..30).map(|n| {
            step.run(&batch(model, n), n, 3, LR)?;
            Ok(step.loss()?)
        });
        losses.collect()
    };
    let (wide, half) = (losses(false)?, losses(true)?);
    match wide.iter().zip(&half).find(|(w, h)| (*w - *h).is_nan() || (*w - *h).abs() > 0.02 * w.abs()) {
        Some((w, h)) => Err(format!("a loss of {w} is {h} with activations of f16").into()),
        None if wide == half => Err("not one loss differs: nothing was stored as f16".into()),
        None => Ok(()),
    }
}

/// A user of STAMP is a product of three short rows, and what made it a unit row multiplies its gradients by a million: the
/// scale gets so small that updates are made.
pub fn short_rows() -> Result<(), Failed> {
    let make: Make = || Box::new(Cosine(Box::new(stamp::Stamp::new(stamp::Settings { dim: 12 }, &task()))));
    let subject = Subject { make, model: make(), kind: LossKind::Bce };
    let device = devices::get("gpu")?;
    let store = scaled_store(&subject, &device)?;
    let mut config = scaled(subject.kind, true);
    config.plan.half = true;
    let mut step = TrainStep::new(&device, &store, &*subject.model, &config)?;
    for n in 0..40 {
        step.run(&batch(&subject, n), n, 3, LR)?;
    }
    let good = store.read("good_updates", 0, &Spec::f32([1]))?.to_f64()[0];
    if good > 0.0 { Ok(()) } else { Err("the last of 40 updates was left out".into()) }
}

/// Squares of small items' elements are less than an f16 holds; their sums are those of f32 all the same.
pub fn short_lengths() -> Result<(), Failed> {
    let make: Make = || {
        let (dim, attention_dim, interests) = (12, 5, 3);
        let (prompts, dispersion, variant) = (4, 3.0, Variant::Paper);
        let settings = Settings { dim, attention_dim, interests, prompts, dispersion, variant };
        Box::new(Cosine(Box::new(PomRec::new(settings, &task()))))
    };
    let subject = Subject { make, model: make(), kind: LossKind::SampledSoftmax };
    let device = devices::get("gpu")?;
    let first = |half: bool| -> Result<f64, Failed> {
        let (mut store, params) = (scaled_store(&subject, &device)?, subject.model.params());
        let items = params.read(&store, "item_embedding")?;
        let small = items.to_f64().iter().map(|x| x * 0.01).collect();
        params.write(&mut store, "item_embedding", &Tensor::f64(items.shape.clone(), small))?;
        let mut config = scaled(subject.kind, half);
        config.plan.half = half;
        let mut step = TrainStep::new(&device, &store, &*subject.model, &config)?;
        step.run(&batch(&subject, 0), 0, 3, LR)?;
        Ok(step.loss()?)
    };
    let (wide, half) = (first(false)?, first(true)?);
    if (wide - half).abs() < 0.02 * wide { Ok(()) } else { Err(format!("a loss of {wide} is {half}").into()) }
}

/// A norm of gradients that is infinite shows in the parameters; it does not leave every update out in silence.
pub fn infinite_norm() -> Result<(), Failed> {
    let device = devices::get("cpu")?;
    let mut params = Params::new();
    params.add("w", [3], Init::Constant(1.0));
    let optimiser = Adam { clip: Some(1.0), ..Adam::default() };
    let mut store = device.store(&[params.states(), optimiser.states(&params)].concat())?;
    params.initialise(&mut store, 1)?;
    let g = Graph::new();
    let loss = (params.var(&g, "w") * g.input("x", Spec::f32([3]))).sum_all();
    optimiser.update(loss, &params)?;
    let mut runner = device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?;
    runner.write_f32("x", &[f32::INFINITY, 1.0, 1.0])?;
    runner.write(Step::NAME, &Step::at(1, 0, LR, [0.9, 0.999]).tensor())?;
    runner.run()?;
    let w = params.read(&store, "w")?.to_f64();
    if w[0].is_nan() { Ok(()) } else { Err(format!("an infinite gradient made {w:?} of ones").into()) }
}

/// A configuration with the loss scaled, if `yes`.
fn scaled(kind: LossKind, yes: bool) -> StepConfig {
    let config = config(kind, false);
    StepConfig { optimiser: Adam { scaled: yes, ..config.optimiser }, ..config }
}

fn scaled_store(model: &Subject, device: &Device) -> Result<Store, Failed> {
    let params = model.model.params();
    let optimiser = scaled(model.kind, true).optimiser;
    let mut store = device.store(&TrainStep::states(params, &optimiser))?;
    params.initialise(&mut store, 3)?;
    params.lend_to(device, &mut store)?;
    Ok(store)
}

/// Updates are those without a scale; a gradient that is not finite halves it and changes nothing else; 2,000 good ones in a
/// row double it.
pub fn loss_scale(device: &Device) -> Result<(), Failed> {
    let (_, kind, make) = models().into_iter().find(|(name, ..)| *name == "sasrec_post").expect("it is listed");
    let model = Subject { make, model: make(), kind };
    let run = |store: &Store, yes: bool, n: u64| -> Result<f64, Failed> {
        let mut step = TrainStep::new(device, store, &*model.model, &scaled(kind, yes))?;
        step.run(&batch(&model, n), n, 3, LR)?;
        norm(&step.reported()?)
    };
    let scale = |store: &Store| -> Result<[f64; 2], Failed> {
        let one = |name: &str| Ok::<f64, Failed>(store.read(name, 0, &Spec::f32([1]))?.to_f64()[0]);
        Ok([one("loss_scale")?, one("good_updates")?])
    };
    let (plain, mut store) = (scaled_store(&model, device)?, scaled_store(&model, device)?);
    for n in 0..3 {
        let (want, got) = (run(&plain, false, n)?, run(&store, true, n)?);
        if (want - got).abs() > 1e-3 * want {
            return Err(format!("the norm {want} is {got} once the loss is scaled").into());
        }
    }
    let params = model.model.params();
    for p in params.iter() {
        let (want, got) = (params.read(&plain, &p.name)?.to_f64(), params.read(&store, &p.name)?.to_f64());
        // Keys' biases have no gradient but what is rounded.
        let far = |(w, g): (&f64, &f64)| (w - g).abs() > 1e-4 && !p.name.ends_with("key.bias");
        if want.iter().zip(&got).any(far) {
            return Err(format!("{} differs once the loss is scaled", p.name).into());
        }
    }
    let after = |what: &str, got: [f64; 2], want: [f64; 2]| match got == want {
        true => Ok(()),
        false => Err(Failed::from(format!("{what}: log2 of the scale and good updates are {got:?}, not {want:?}"))),
    };
    after("three updates", scale(&store)?, [0.0, 3.0])?;
    store.write("good_updates", 0, &Tensor::f32([1], vec![1999.0]))?;
    run(&store, true, 3)?;
    after("2,000 updates", scale(&store)?, [1.0, 0.0])?;

    params.write(&mut store, "encoder.0.attention.value.weight", &Tensor::f32([12, 12], vec![f32::INFINITY; 144]))?;
    let before = states(&store)?;
    if !run(&store, true, 4)?.is_nan() {
        return Err("a gradient that is not finite has a norm".into());
    }
    after("an overflow", scale(&store)?, [0.0, 0.0])?;
    let adam = scaled(kind, true).optimiser;
    adam.check_scale(&store)?;
    for ((name, was), (_, is)) in before.iter().zip(&states(&store)?) {
        if *name != "loss_scale" && was != is {
            return Err(format!("{name} changed by a gradient that is not finite").into());
        }
    }
    store.write("loss_scale", 0, &Tensor::f32([1], vec![-38.0]))?;
    run(&store, true, 4)?;
    if adam.check_scale(&store).is_ok() {
        return Err("an overflow at the least scale goes unseen".into());
    }
    Ok(())
}
