//! Reference values of the models of several interests: what is extracted, what is trained, how items are scored, and gradients.

use crate::golden::{Fixture, inputs, parameters, run};
use libtest_mimic::Failed;
use wgrec::data::BatchSpec;
use wgrec::device::{Device, RunOptions};
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Var};
use wgrec::kernels::interest_scores::InterestChoice;
use wgrec::models::comirec::{self, ComiRec, Extraction, Variant};
use wgrec::models::interests::nearest;
use wgrec::models::mind::{self, Mind};
use wgrec::models::{self, Candidates, Loss, LossKind, Model, Task};
use wgrec::tensor::segments::Segments;
use wgrec::tensor::{Spec, Tensor};

pub fn comirec(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let (dim, task) = sizes(f)?;
    if f.has("p.maps") {
        let [_, interests, ..] = f.dims::<4>("p.maps")?;
        let (extractor, rounds) = (Extraction::Routing, rounds(f)?);
        let settings = comirec::Settings { dim, interests, extractor, rounds, ..Default::default() };
        let names = [("item", "item_embedding"), ("maps", "routing.maps")];
        return judge(f, device, &ComiRec::new(settings, &task), &names, "coupling");
    }
    let released = f.has("p.b1");
    let [interests, attention_dim] = f.dims("p.w2")?;
    let variant = if released { Variant::Released } else { Variant::Paper };
    let settings = comirec::Settings { dim, interests, attention_dim, variant, ..Default::default() };
    let names = [
        ("item", "item_embedding"),
        ("pos", "position_embedding"),
        ("w1", "extractor.attention.0.weight"),
        ("w2", "extractor.attention.1.weight"),
        ("b1", "extractor.attention.0.bias"),
        ("b2", "extractor.attention.1.bias"),
    ];
    let names = if released { &names[..] } else { &names[..4] };
    judge(f, device, &ComiRec::new(settings, &task), names, "attention")
}

pub fn mind(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let (dim, task) = sizes(f)?;
    let logits = f.get("in.logits0")?;
    let (interests, adaptive, rounds) = (logits.shape[0], number(f, "in.adaptive")? != 0.0, rounds(f)?);
    let settings = mind::Settings { dim, interests, adaptive, rounds, power: None };
    let model = Mind::with_logits(settings, &task, logits);
    judge(f, device, &model, &[("item", "item_embedding"), ("shared", "routing.map")], "coupling")
}

/// Scores alone, of items that all rows share. A user of fewer interests repeats the first one.
pub fn scores(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let names = ["interests", "items"];
    let states = parameters(f, &names)?;
    let g = Graph::new();
    let params: Vec<Var> = states.iter().map(|(n, t)| g.state(n, n, 0, Spec::f32(t.shape.clone()))).collect();
    let [interests, items] = [params[0], params[1]];
    let interests = match f.has("in.n_interests") {
        false => interests,
        true => {
            let (counts, [b, k, _]) = (f.get("in.n_interests")?.to_f64(), f.dims("p.interests")?);
            let used = (0..b * k).map(|i| if ((i % k) as f64) < counts[i / k] { 1.0 } else { 0.0 });
            let used = g.constant(Tensor::f32([b, k, 1], used.collect()));
            interests * used + interests.slice(1, 0, 1) * (g.scalar(1.0) - used)
        }
    };
    let cot = f.get("in.cot")?;
    let scores = interests.interest_scores(items);
    let loss = (scores * g.input("cot", Spec::f32(cot.shape.clone()))).sum_all();
    let results = [("scores", scores), ("scores_from", g.push(InterestChoice, &[interests, items])), ("loss", loss)];
    results.iter().for_each(|(name, var)| g.result(name, *var));
    for ((name, gradient), var) in names.iter().zip(g.gradients(loss, &params)?).zip(&params) {
        g.result(&format!("g.{name}"), gradient.dense(*var));
    }
    let got = run(&g, device, &states, &[("cot", cot)])?;
    for (name, _) in results {
        f.judge(&format!("out.{name}"), &got[name])?;
    }
    names.iter().try_for_each(|name| f.judge_gradient(&format!("g.{name}"), &got[&format!("g.{name}")]))
}

fn number(f: &Fixture, name: &str) -> Result<f64, Failed> {
    Ok(f.get(name)?.to_f64()[0])
}

fn rounds(f: &Fixture) -> Result<usize, Failed> {
    Ok(number(f, "in.rounds")? as usize)
}

/// Width of the embeddings, and what a model is built for.
fn sizes(f: &Fixture) -> Result<(usize, Task), Failed> {
    let ([rows, dim], [_, max_len]) = (f.dims("p.item")?, f.dims("in.hist")?);
    Ok((dim, Task { items: rows - 1, max_len, ..Task::default() }))
}

/// A model with the file's parameters, by their names there and ours. `attention`: what the file calls the part of each
/// position that goes into each interest.
fn judge(
    f: &Fixture,
    device: &Device,
    model: &dyn Model,
    names: &[(&str, &str)],
    attention: &str,
) -> Result<(), Failed> {
    let ([b, max_len], [rows, dim]) = (f.dims("in.hist")?, f.dims("p.item")?);
    let g = Graph::new();
    let params = model.params();
    let inputs = inputs(&g, &BatchSpec { batch: b, max_len, ..BatchSpec::default() });
    g.segments("segments", model.item_table(&g), &[inputs.get("history")]);
    let batch = models::Batch::of(inputs);
    let shown = model.shown(&g, &batch.history).ok_or("a model of several interests shows them")?;
    let k = shown.vectors.shape()[1];
    // The reference has zeros where a user has fewer interests than K.
    let interests = shown.used.map_or(shown.vectors, |used| shown.vectors * used.reshape([b, k, 1]));
    let target = model.item_table(&g).gather(batch.positive).reshape([b, 1, dim]);
    let numbers = g.constant(Tensor::f32([1, k], (0..k).map(|k| k as f32).collect()));
    let user = model.scored(&g, &batch);
    let output = model.output(&g).ok_or("scores are dot products")?;
    let loss = Loss { kind: LossKind::Softmax, ..Loss::default() }.of_products(user, &output, &batch);
    let scores = Candidates::Shared(g.input("ids", Spec::u32([rows])));
    let mut results = vec![
        ("interests", interests),
        (attention, shown.attention.ok_or("each interest is of positions")?),
        ("choice", (nearest((shown.vectors * target).sum(2)) * numbers).sum(1)),
        ("user", user),
        ("loss", loss),
        ("scores", model.scores(&g, model.user(&g, &batch.history), scores)),
    ];
    if f.has("out.n_interests") {
        results.push(("n_interests", shown.used.ok_or("users have different numbers of interests")?.sum(1)));
    }
    results.iter().for_each(|(name, var)| g.result(name, *var));
    let vars: Vec<Var> = names.iter().map(|(_, ours)| params.var(&g, ours)).collect();
    for ((theirs, _), (var, gradient)) in names.iter().zip(vars.iter().zip(g.gradients(loss, &vars)?)) {
        g.result(&format!("g.{theirs}"), gradient.dense(*var));
    }

    let mut store = device.store(&params.states())?;
    for (theirs, ours) in names {
        params.write(&mut store, ours, &f.get(&format!("p.{theirs}"))?)?;
    }
    let mut runner = device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?;
    let history = f.ids("in.hist")?;
    let mut s = Segments::default();
    s.build(&[history.as_u32()], rows);
    runner.write("history", &history)?;
    runner.write("positive", &f.ids("in.pos_item")?)?;
    runner.write("weight", &f.get("in.weight")?)?;
    runner.write_u32("ids", &(0..rows as u32).collect::<Vec<_>>())?;
    runner.write_segments("segments", &s)?;
    runner.run()?;
    for (name, _) in results.iter().filter(|(name, _)| *name != "choice") {
        f.judge(&format!("out.{name}"), &runner.read(name)?)?;
    }
    judge_choice(f, &runner.read("choice")?)?;
    names.iter().try_for_each(|(theirs, _)| {
        let name = format!("g.{theirs}");
        f.judge_gradient(&name, &runner.read(&name)?)
    })
}

/// The choice is the file's, or an interest whose product with the target is the same but for rounding: a history of one item,
/// however often, has the same interest K times.
fn judge_choice(f: &Fixture, got: &Tensor) -> Result<(), Failed> {
    let ([_, k, dim], targets) = (f.dims("out.interests")?, f.ids("in.pos_item")?);
    let (interests, items) = (f.get("out.interests")?.to_f64(), f.get("p.item")?.to_f64());
    let product = |row: usize, k: usize| -> f64 {
        let (interest, item) = (&interests[k * dim..][..dim], &items[targets.as_u32()[row] as usize * dim..][..dim]);
        interest.iter().zip(item).map(|(v, e)| v * e).sum()
    };
    for (row, (got, want)) in got.to_f64().into_iter().zip(f.get("out.choice")?.to_f64()).enumerate() {
        let [ours, theirs] = [got, want].map(|choice| product(row, row * k + choice as usize));
        if got != want && (ours - theirs).abs() > 1e-12 {
            return Err(format!("out.choice[{row}]: got {got}, want {want}").into());
        }
    }
    Ok(())
}
