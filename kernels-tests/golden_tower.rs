//! Reference values of the item tower: ANT's item representations, with and without what is missing.

use crate::golden::Fixture;
use libtest_mimic::Failed;
use std::sync::Arc;
use wgrec::device::{Device, RunOptions};
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Var};
use wgrec::kernels::experts::Packed;
use wgrec::models::ItemSettings;
use wgrec::nn::tower::{ExpertsConfig, Known, TowerConfig, noise_of};
use wgrec::nn::{Init, Params, Tower};
use wgrec::tensor::{Spec, Tensor};

/// Our names of kinds; theirs of features, and the letter that their parameters and outputs end in.
pub const KINDS: [(&str, &str, &str); 3] = [("text", "text", "t"), ("image", "image", "m"), ("price", "price", "p")];

pub fn number(f: &Fixture, name: &str) -> Result<f64, Failed> {
    Ok(f.get(name)?.to_f64()[0])
}

/// Vectors \[n, width\] as a leaf, with zeros where `has` is 0.
pub fn known(name: &'static str, vectors: &Tensor, has: Option<Tensor>) -> Known {
    let [rows, width] = [vectors.shape[0], vectors.shape[1]];
    let missing: Vec<u32> = match has {
        Some(has) => has.to_f64().iter().map(|&has| (has == 0.0) as u32).collect(),
        None => vec![0; rows],
    };
    let values = vectors.to_f32();
    let words = values.iter().enumerate().map(|(e, x)| if missing[e / width] == 1 { 0 } else { x.to_bits() });
    let words: Vec<u32> = words.collect();
    let features = Packed { rows, width, half: false };
    Known { name, features, words: Some(Arc::new(words)), missing: Some(Arc::new(missing)), length: 1.0 }
}

/// The parameters of kind `ours`, as theirs are called.
pub fn names(ours: &str, theirs: &str) -> Vec<(String, String)> {
    let of = [("weight", "W"), ("bias", "b"), ("gate", "B"), ("spread", "U"), ("missing", "miss")];
    let theirs = |name: &str| if theirs.is_empty() { name.to_string() } else { format!("{name}_{theirs}") };
    of.into_iter().map(|(our, their)| (format!("tower.{ours}.{our}"), theirs(their))).collect()
}

/// ant_irl_*, ant_missing_*: all three kinds. The price's code is as equation 3 gives it.
pub fn items(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let price = if f.has("in.price_emb") { "price_emb" } else { "price" };
    let features = |name: &str| f.get(&format!("in.{}", if name == "price" { price } else { name }));
    let has = |name: &str| f.get(&format!("in.has_{name}")).ok();
    let kinds = KINDS.map(|(ours, theirs, _)| Ok::<_, Failed>(known(ours, &features(theirs)?, has(theirs))));
    let kinds = kinds.into_iter().collect::<Result<Vec<_>, _>>()?;
    if f.has("in.price_emb") {
        let (prices, codes) = (f.get("in.price")?.to_f64(), f.get("in.price_emb")?);
        let settings = ItemSettings {
            price_width: codes.shape[1],
            price_period: number(f, "in.omega")?,
            ..ItemSettings::default()
        };
        let mut code = vec![0.0; codes.shape[1]];
        let all = prices.iter().flat_map(|&price| {
            settings.code_price(price, &mut code);
            code.clone()
        });
        f.judge("in.price_emb", &Tensor::f32(codes.shape.clone(), all.collect()))?;
    }
    let names = KINDS.iter().flat_map(|(ours, _, letter)| names(ours, letter)).collect::<Vec<_>>();
    judge(
        f,
        device,
        kinds,
        &names,
        &KINDS.map(|(ours, _, letter)| (ours, format!("z_{letter}"), format!("noise_{letter}"))),
    )
}

/// ant_moe: one kind.
pub fn mixture(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let kinds = vec![known("text", &f.get("in.x")?, None)];
    judge(f, device, kinds, &names("text", ""), &[("text", "z".to_string(), "noise".to_string())])
}

/// `outputs`: our kind, their name of its vectors, and of its noise.
fn judge(
    f: &Fixture,
    device: &Device,
    kinds: Vec<Known>,
    names: &[(String, String)],
    outputs: &[(&'static str, String, String)],
) -> Result<(), Failed> {
    let learned = f.has("p.miss_t");
    let weight = f.get(&format!("p.{}", names[0].1))?;
    let [count, dim] = [weight.shape[0], weight.shape[2]];
    let experts = ExpertsConfig {
        count,
        noise: Some(number(f, "in.sigma_floor")?),
        product: if f.has("in.beta") { number(f, "in.beta")? } else { 0.0 },
    };
    let config = TowerConfig { experts: Some(experts), learned, dropout: 0.0, own: false, listed: false };
    let rows = kinds[0].features.rows;
    let mut params = Params::with_tower(Some(Tower::new(config, Arc::new(kinds))));
    params.add(Tower::ITEMS, [rows, dim], Init::Constant(0.0));

    let g = Graph::new();
    g.train();
    for (kind, _, noise) in outputs {
        let noise = f.get(&format!("in.{noise}"))?;
        g.offer(&noise_of(kind), g.input(&noise_of(kind), Spec::f32(noise.shape)));
    }
    let vectors = params.tower().expect("it was given").table(&params, &g);
    let mut results: Vec<(String, Var)> = vec![];
    for (kind, theirs, _) in outputs {
        let (_, z) = vectors.kinds.iter().find(|(name, _)| name == kind).expect("a kind of the tower");
        results.push((format!("out.{theirs}"), *z));
    }
    if f.has("out.item") {
        results.push(("out.item".to_string(), vectors.items));
    }
    let constant = |name: &str| Ok::<_, Failed>(g.constant(f.get(name)?));
    let loss = match f.has("in.cot") {
        true => (vectors.items * constant("in.cot")?).sum_all(),
        false => contrasts(f, &g, vectors.items, &vectors.kinds)?,
    };
    results.push(("out.loss".to_string(), loss));
    let trained: Vec<&(String, String)> = names.iter().filter(|(_, theirs)| f.has(&format!("p.{theirs}"))).collect();
    let vars: Vec<Var> = trained.iter().map(|(ours, _)| params.stored(&g, ours)).collect();
    for ((_, theirs), (gradient, var)) in trained.iter().zip(g.gradients(loss, &vars)?.into_iter().zip(&vars)) {
        results.push((format!("g.{theirs}"), gradient.dense(*var)));
    }
    results.iter().for_each(|(name, var)| g.result(name, *var));

    let mut store = device.store(&params.states())?;
    params.lend_to(device, &mut store)?;
    for (ours, theirs) in &trained {
        let (value, shape) = (f.get(&format!("p.{theirs}"))?, params.shape(ours));
        params.write(&mut store, ours, &Tensor { shape, data: value.data })?;
    }
    let plan = device.plan(&g, Options::default())?;
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    for (kind, _, noise) in outputs {
        runner.write(&noise_of(kind), &f.get(&format!("in.{noise}"))?)?;
    }
    runner.run()?;
    for (name, _) in &results {
        match name.starts_with("g.") {
            true => f.judge_gradient(name, &runner.read(name)?)?,
            false => f.judge(name, &runner.read(name)?)?,
        }
    }
    Ok(())
}

/// Equations 13 to 15: the target among all items, and the text of each item among all by its image.
fn contrasts<'g>(
    f: &Fixture,
    g: &'g Graph,
    items: Var<'g>,
    kinds: &[(&'static str, Var<'g>)],
) -> Result<Var<'g>, Failed> {
    let unit = |v: Var<'g>| v / v.square().sum(1).sqrt().reshape([v.shape()[0], 1]);
    let tau = number(f, "in.tau")?;
    let of = |rows: Var<'g>, classes: Var<'g>, targets: Tensor| {
        let (n, b) = (classes.shape()[0], rows.shape()[0]);
        let weight = g.constant(Tensor::f32([b], vec![1.0; b]));
        unit(rows).scale(1.0 / tau).softmax_loss(unit(classes), None, g.constant(targets), weight, 0..n)
    };
    let kind = |name: &str| kinds.iter().find(|(kind, _)| *kind == name).expect("a kind of the tower").1;
    let (text, image) = (kind("text"), kind("image"));
    let n = text.shape()[0];
    let ranked = of(g.constant(f.get("p.h")?), items, f.ids("in.target")?);
    let aligned = of(image, text, Tensor::u32([n], (0..n as u32).collect()));
    Ok(ranked + aligned.scale(number(f, "in.lam")?))
}
