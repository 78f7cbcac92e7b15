//! Reference values of whole ANT: its own loss over all items or in the batch, and the alignment of image and text.

use crate::golden::{Fixture, encoder_names, inputs, recency};
use crate::golden_tower::{KINDS, known, names, number};
use libtest_mimic::Failed;
use wgrec::data::BatchSpec;
use wgrec::data::items::Modality;
use wgrec::device::{Device, RunOptions};
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Var};
use wgrec::models::items::{Fusion, Missing};
use wgrec::models::sasrec::Positions;
use wgrec::models::{Batch, Candidates, ItemSettings, Loss, LossConfig, LossKind, ModelConfig, Task, ant, spec};
use wgrec::nn::Tower;
use wgrec::nn::encoder::Norm;
use wgrec::nn::tower::noise_of;
use wgrec::tensor::{Spec, Tensor};

/// ant_e, ant_inbatch.
pub fn ant(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let [rows, _] = f.dims("in.text")?;
    let [experts, _, dim] = f.dims("p.W_t")?;
    let [b, m] = f.dims("in.ids")?;
    let [inner, _] = f.dims("p.l0.w1")?;
    let whole = |name: &str| Ok::<usize, Failed>(number(f, name)? as usize);
    let (layers, heads) = (whole("in.L")?, whole("in.H")?);
    let (temperature, alignment) = (number(f, "in.tau")?, number(f, "in.lam")?);
    let settings = ant::Settings {
        dim,
        layers,
        heads,
        inner,
        dropout: 0.0,
        positions: Positions::Last,
        temperature,
        alignment,
        ..ant::Settings::default()
    };
    let items = ItemSettings {
        features: Modality::ALL.to_vec(),
        fusion: Fusion::Experts,
        own_embedding: f.has("p.own"),
        missing: if f.has("p.miss_t") { Missing::Learned } else { Missing::Zeros },
        feature_dropout: 0.0,
        experts,
        product: number(f, "in.beta")?,
        gate_floor: number(f, "in.sigma_floor")?,
        ..ItemSettings::default()
    };
    let kinds = KINDS.map(|(ours, theirs, _)| {
        Ok::<_, Failed>(known(ours, &f.get(&format!("in.{theirs}"))?, f.get(&format!("in.has_{theirs}")).ok()))
    });
    let known = kinds.into_iter().collect::<Result<Vec<_>, _>>()?;
    // The first phase is the one that aligns.
    let phase = spec::Settings::phases(&settings, false)?.swap_remove(0);
    let task = Task { items: rows - 1, max_len: m, known: known.into(), phase, ..Task::default() };
    let model = ModelConfig::new(&ant::SPEC, settings).with_items(items).build(&task)?;

    let g = Graph::new();
    g.train();
    for (kind, _, letter) in KINDS {
        let noise = f.get(&format!("in.noise_{letter}"))?;
        g.offer(&noise_of(kind), g.input(&noise_of(kind), Spec::f32(noise.shape)));
    }
    let spec = BatchSpec { batch: b, max_len: m, negatives: None, ..BatchSpec::default() };
    let batch = Batch::of(inputs(&g, &spec));
    let output = model.output(&g).ok_or("scores are dot products")?;
    let trained = model.trained(&g, &batch);
    let of = |kind: LossKind| {
        let config = LossConfig { temperature, ..LossConfig::default() };
        Loss { kind, config, ..Loss::default() }.of_products(trained.rows, &output, &batch)
    };
    let (full, in_batch) = (of(LossKind::Softmax), of(LossKind::InBatch));
    let alignment = trained.reported.iter().find(|(name, _)| name == "alignment").ok_or("nothing is aligned")?.1;
    let of_targets = if number(f, "in.inbatch")? == 1.0 { in_batch } else { full };
    let loss = trained.terms.iter().fold(of_targets, |loss, term| loss + *term);
    let ids = g.constant(Tensor::u32([rows - 1], (1..rows as u32).collect()));
    let scores = model.scores(&g, trained.rows, Candidates::Shared(ids));
    let results = [
        ("item", model.item_table(&g)),
        ("scores", scores),
        ("L_full", full),
        ("L_inbatch", in_batch),
        ("R_c", alignment),
        ("loss", loss),
    ];
    results.iter().for_each(|(name, var)| g.result(&format!("out.{name}"), *var));

    let params = model.params();
    let mut names = encoder_names(Norm::Post, layers);
    names.extend(KINDS.iter().flat_map(|(ours, _, letter)| self::names(ours, letter)).map(|(a, b)| (b, a)));
    names.push(("own".into(), Tower::ITEMS.into()));
    names.retain(|(theirs, _)| f.has(&format!("p.{theirs}")));
    let vars: Vec<Var> = names.iter().map(|(_, ours)| params.stored(&g, ours)).collect();
    for ((theirs, _), (var, gradient)) in names.iter().zip(vars.iter().zip(g.gradients(loss, &vars)?)) {
        g.result(&format!("g.{theirs}"), gradient.dense(*var));
    }

    let mut store = device.store(&params.states())?;
    params.lend_to(device, &mut store)?;
    for (theirs, ours) in &names {
        let (value, shape) = (f.get(&format!("p.{theirs}"))?, params.shape(ours));
        params.write(&mut store, ours, &Tensor { shape, data: value.data })?;
    }
    assert_eq!(params.iter().count(), names.len(), "every parameter has a reference");
    let plan = device.plan(&g, Options::default())?;
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    for (kind, _, letter) in KINDS {
        runner.write(&noise_of(kind), &f.get(&format!("in.noise_{letter}"))?)?;
    }
    let ids = f.ids("in.ids")?;
    runner.write("history", &ids)?;
    runner.write_u32("recency", &recency(ids.as_u32(), m))?;
    runner.write("positive", &f.ids("in.target")?)?;
    runner.write_f32("weight", &vec![1.0; b])?;
    runner.run()?;
    for (name, _) in &results {
        f.judge(&format!("out.{name}"), &runner.read(&format!("out.{name}"))?)?;
    }
    names.iter().try_for_each(|(theirs, _)| {
        let name = format!("g.{theirs}");
        f.judge_gradient(&name, &runner.read(&name)?)
    })
}
