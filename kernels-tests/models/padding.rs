//! Padding: a batch of nothing else, and what stands at padded positions.

use super::list::{B, BEHAVIOURS, M, models};
use super::{LR, Subject, batch, config, store, train};
use crate::harness::devices;
use libtest_mimic::Failed;
use wgrec::data::samples::{Batch, Values};
use wgrec::device::{Device, RunOptions};
use wgrec::graph::Graph;
use wgrec::graph::plan::Options;
use wgrec::models::{History, LossKind};
use wgrec::nn::Params;
use wgrec::tensor::{Spec, Tensor};
use wgrec::train::step::TrainStep;

/// A batch of nothing but padding, with every loss that the model can be trained with: loss 0, gradients finite.
pub fn padding_alone(model: &Subject, device: &Device) -> Result<(), Failed> {
    use LossKind::*;
    for kind in [Bpr, Bce, Gbce, Softmax, SampledSoftmax, InBatch, Top1Max] {
        let subject = Subject { make: model.make, model: (model.make)(), kind };
        if kind == Softmax && subject.model.output(&Graph::new()).is_none() {
            continue;
        }
        let mut b = batch(&subject, 0);
        for column in config(kind, true).batches(&*subject.model).columns() {
            match b.columns.get_mut(column.name) {
                Values::U32(values) => values.fill(column.empty),
                Values::F32(values) => values.fill(0.0),
            }
        }
        let b = Batch::new(b.columns, B, &config(kind, true).batches(&*subject.model).gathered);
        let store = store(&subject, device)?;
        let mut step = TrainStep::new(device, &store, &*subject.model, &config(kind, true))?;
        step.run(&b, 0, 3, LR)?;
        if step.loss()? != 0.0 {
            return Err(format!("{kind}: the loss is {}", step.loss()?).into());
        }
        for param in subject.model.params().iter() {
            let gradient = step.read(&format!("gradient.{}", param.name))?.to_f64();
            if let Some(x) = gradient.iter().find(|x| !x.is_finite()) {
                return Err(format!("{kind}: gradient of {}: {x}", param.name).into());
            }
        }
    }
    Ok(())
}

/// What a history reads at padded positions, the rows of padding and what padded positions have of their own, changes no bit of a
/// user.
pub fn padding_is_nothing(name: &str) -> Result<(), Failed> {
    let (_, kind, make) = models().into_iter().find(|(n, ..)| *n == name).ok_or("there is no such model")?;
    let subject = Subject { make, model: make(), kind };
    let device = devices::get("cpu")?;
    let mut store = store(&subject, &device)?;
    train(&subject, &device, &store, 0, 30)?;
    let g = Graph::new();
    let reads = subject.model.reads();
    let input = |name: &str, width| g.input(name, Spec::u32([B, width]));
    let history = History {
        behaviours: reads.behaviours.then(|| input("behaviours", M)),
        features: (reads.features > 0).then(|| input("features", reads.features)),
        ..History::new(input("history", M), input("recency", M))
    };
    g.result("user", subject.model.user(&g, &history));
    let mut runner = device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?;
    // Row r holds r mod 4 items, after at least M - 3 padded positions.
    let history: Vec<u32> =
        (0..B * M).map(|at| if at % M + (at / M) % 4 >= M { at as u32 % 50 + 1 } else { 0 }).collect();
    runner.write_u32("history", &history)?;
    runner.write_u32("recency", &history.iter().map(|&item| (item != 0) as u32).collect::<Vec<_>>())?;
    if reads.behaviours {
        let of = |&item: &u32| if item == 0 { 0 } else { 1 + item % BEHAVIOURS as u32 };
        runner.write_u32("behaviours", &history.iter().map(of).collect::<Vec<_>>())?;
    }
    if reads.features > 0 {
        runner.write_u32("features", batch(&subject, 0).columns.u32("features"))?;
    }
    let mut users = vec![];
    let params = subject.model.params();
    let of_positions: Vec<&str> =
        ["position_embedding", "routing.maps"].into_iter().filter(|own| has(params, own)).collect();
    let spoilt = [("item_embedding", 0), ("item_embedding", 1)].into_iter();
    let spoilt = spoilt.chain(of_positions.iter().map(|&name| (name, M - 3)));
    for (name, rows) in spoilt.chain(reads.behaviours.then_some(("behaviour_embedding", 1))) {
        let before = params.read(&store, name)?;
        let mut values = before.to_f64();
        let row = values.len() / before.shape[0];
        values[..rows * row].iter_mut().for_each(|x| *x += 1.5);
        params.write(&mut store, name, &Tensor::f64(before.shape.clone(), values))?;
        runner.run()?;
        users.push(runner.read("user")?.to_f64());
    }
    if users[0].iter().all(|&x| x == 0.0) {
        return Err("all users are 0".into());
    }
    if users[0].iter().enumerate().any(|(i, &x)| (i * B / users[0].len()).is_multiple_of(4) && x != 0.0) {
        return Err("an empty history is not 0".into());
    }
    if users[1..].iter().any(|user| *user != users[0]) {
        return Err("what stands at padded positions changes users".into());
    }
    // And what is read must change them.
    for name in of_positions {
        let positions = params.read(&store, name)?;
        let moved = positions.to_f64().iter().map(|x| x + 1.0).rev().collect();
        params.write(&mut store, name, &Tensor::f64(positions.shape.clone(), moved))?;
        runner.run()?;
        if runner.read("user")?.to_f64() == users[0] {
            return Err("positions change nothing".into());
        }
    }
    Ok(())
}

fn has(params: &Params, name: &str) -> bool {
    params.iter().any(|p| p.name == name)
}
