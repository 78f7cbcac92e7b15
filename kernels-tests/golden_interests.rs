//! Reference values of the models of several interests: what is extracted, what is trained, how items are scored, and gradients.

use crate::golden::{Fixture, inputs, parameters, run};
use libtest_mimic::Failed;
use wgrec::data::samples::{Batch, Columns};
use wgrec::device::{Device, RunOptions, Store};
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Var};
use wgrec::kernels::interest_scores::InterestChoice;
use wgrec::models::comirec::{self, ComiRec, Extraction, Variant};
use wgrec::models::interests::{nearest, repeated};
use wgrec::models::loss::LossConfig;
use wgrec::models::mcprn::{self, CandidateGates, Mcprn};
use wgrec::models::mind::{self, Mind};
use wgrec::models::miner::{self, Miner};
use wgrec::models::spec::Settings;
use wgrec::models::timirec;
use wgrec::models::{self, Candidates, Loss, LossKind, Model, Task, Weights};
use wgrec::tensor::{Spec, Tensor};
use wgrec::train::step::{StepConfig, TrainStep};

pub fn comirec(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let (dim, task) = sizes(f)?;
    if f.has("p.maps") {
        let [_, interests, ..] = f.dims::<4>("p.maps")?;
        let (extractor, rounds) = (Extraction::Routing, rounds(f)?);
        let settings = comirec::Settings { dim, interests, extractor, rounds, ..Default::default() };
        let names = [("item", "item_embedding"), ("maps", "routing.maps")];
        return judge(f, device, &ComiRec::new(settings, &task), LossKind::Softmax, &names, "coupling").map(drop);
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
    judge(f, device, &ComiRec::new(settings, &task), LossKind::Softmax, names, "attention").map(drop)
}

pub fn mind(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let (dim, task) = sizes(f)?;
    let logits = f.get("in.logits0")?;
    let (interests, adaptive, rounds) = (logits.shape[0], number(f, "in.adaptive")? != 0.0, rounds(f)?);
    let settings = mind::Settings { dim, interests, adaptive, rounds, power: None };
    let model = Mind::with_logits(settings, &task, logits);
    let names = [("item", "item_embedding"), ("shared", "routing.map")];
    judge(f, device, &model, LossKind::Softmax, &names, "coupling").map(drop)
}

/// MINER, and PoM-MINER where the file has prompts.
pub fn miner(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let (dim, task) = sizes(f)?;
    let [interests, attention_dim] = f.dims("p.w2")?;
    let names = [
        ("item", "item_embedding"),
        ("pos", "position_embedding"),
        ("w1", "extractor.attention.0.weight"),
        ("w2", "extractor.attention.1.weight"),
        ("prompt", "extractor.prompts"),
    ];
    let (names, prompts, dispersion) = match f.has("p.prompt") {
        true => (&names[..], f.dims::<2>("p.prompt")?[0], number(f, "in.lam_d")?),
        false => (&names[..4], 0, 0.0),
    };
    let disagreement = number(f, "in.lam")?;
    let settings = miner::Settings { dim, attention_dim, interests, disagreement, prompts, dispersion };
    let reported = judge(f, device, &Miner::new(settings, &task), LossKind::Bpr, names, "attention")?;
    reported.judge("cosine", f, "out.mean_cosine", 1.0)
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
            let used = g.constant(Tensor::f32([b, k], used.collect()));
            repeated(interests * used.reshape([b, k, 1]), used)
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

/// The second phase of TiMiRec.
pub fn timirec(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let (dim, task) = sizes(f)?;
    let [interests, attention_dim] = f.dims("p.w2")?;
    let temperature = number(f, "in.tau")?;
    let settings =
        timirec::Settings { dim, attention_dim, interests, layers: 1, temperature, ..timirec::Settings::default() };
    let phase = settings.phases(false)?.pop().ok_or("a training has a phase")?;
    let model = settings.build(&Task { phase, ..task })?;
    let names = [
        ("item", "item_embedding"),
        ("pos", "position_embedding"),
        ("wq", "encoder.0.attention.query.weight"),
        ("bq", "encoder.0.attention.query.bias"),
        ("wk", "encoder.0.attention.key.weight"),
        ("bk", "encoder.0.attention.key.bias"),
        ("wv", "encoder.0.attention.value.weight"),
        ("bv", "encoder.0.attention.value.bias"),
        ("ln1.g", "encoder.0.attention_norm.gain"),
        ("ln1.b", "encoder.0.attention_norm.bias"),
        ("fw1", "encoder.0.feed_forward.0.weight"),
        ("fb1", "encoder.0.feed_forward.0.bias"),
        ("fw2", "encoder.0.feed_forward.1.weight"),
        ("fb2", "encoder.0.feed_forward.1.bias"),
        ("ln2.g", "encoder.0.feed_forward_norm.gain"),
        ("ln2.b", "encoder.0.feed_forward_norm.bias"),
        ("w1", "extractor.attention.0.weight"),
        ("b1", "extractor.attention.0.bias"),
        ("w2", "extractor.attention.1.weight"),
        ("b2", "extractor.attention.1.bias"),
        ("item_gru", "predictor.item_embedding"),
        ("w_ih", "predictor.gru.input.weight"),
        ("b_ih", "predictor.gru.input.bias"),
        ("w_hh", "predictor.gru.state.weight"),
        ("b_hh", "predictor.gru.state.bias"),
        ("proj.w", "predictor.layers.0.weight"),
        ("proj.b", "predictor.layers.0.bias"),
    ];
    let reported = judge(f, device, &*model, LossKind::Bpr, &names, "attention")?;
    reported.judge("distillation", f, "out.kl", temperature * temperature)
}

/// What a training step reported.
struct Reported(Vec<(String, f64)>);

impl Reported {
    /// Judges a value by `factor` times the mean of the file's `theirs` over rows, by their weights.
    fn judge(&self, name: &str, f: &Fixture, theirs: &str, factor: f64) -> Result<(), Failed> {
        let (values, weights) = (f.get(theirs)?.to_f64(), f.get("in.weight")?.to_f64());
        let mean = values.iter().zip(&weights).map(|(v, w)| v * w).sum::<f64>() / weights.iter().sum::<f64>();
        let want = factor * mean;
        let (_, got) = self.0.iter().find(|(own, _)| own == name).ok_or_else(|| format!("{name} is not reported"))?;
        let close = (got - want).abs() <= 1e-5 + 1e-4 * want.abs();
        if close { Ok(()) } else { Err(format!("{name}: reported {got}, want {want}").into()) }
    }
}

/// A model with the file's parameters, and the file's batch.
struct Subject<'a> {
    f: &'a Fixture,
    device: &'a Device,
    model: &'a dyn Model,
    /// Of parameters, in the file and ours.
    names: &'a [(&'a str, &'a str)],
    config: StepConfig,
    store: Store,
    columns: Columns,
}

impl<'a> Subject<'a> {
    fn new(
        f: &'a Fixture,
        device: &'a Device,
        model: &'a dyn Model,
        loss: Loss,
        names: &'a [(&'a str, &'a str)],
    ) -> Result<Subject<'a>, Failed> {
        let ([batch, max_len], params, kind) = (f.dims("in.hist")?, model.params(), loss.kind);
        let ours: Vec<&str> = params.iter().map(|p| p.name.as_str()).collect();
        if let Some(name) = ours.iter().find(|ours| !names.iter().any(|(_, own)| own == *ours)) {
            return Err(format!("the file has no {name}").into());
        }
        let several = f.has("in.neg_items");
        let negatives = if several { f.dims::<2>("in.neg_items")?[1] } else { 1 };
        let config = StepConfig { batch, max_len, negatives, loss, keep_gradients: true, ..StepConfig::default() };
        let mut store = device.store(&TrainStep::states(params, &config.optimiser))?;
        for (theirs, ours) in names {
            params.write(&mut store, ours, &f.get(&format!("p.{theirs}"))?)?;
        }
        let mut columns = Columns::empty(config.batches(model).columns().into());
        let history = f.ids("in.hist")?;
        let recency = |(at, &item): (usize, &u32)| if item == 0 { 0 } else { (max_len - at % max_len) as u32 };
        let recency: Vec<u32> = history.as_u32().iter().enumerate().map(recency).collect();
        columns.get_mut("history").u32().copy_from_slice(history.as_u32());
        columns.get_mut("recency").u32().copy_from_slice(&recency);
        columns.get_mut("positive").u32().copy_from_slice(f.ids("in.pos_item")?.as_u32());
        if kind.is_sampled() {
            let theirs = f.ids(if several { "in.neg_items" } else { "in.neg_item" })?;
            columns.get_mut("negative").u32().copy_from_slice(theirs.as_u32());
        }
        columns.get_mut("weight").f32().copy_from_slice(&f.get("in.weight")?.to_f32());
        Ok(Subject { f, device, model, names, config, store, columns })
    }

    /// The batch as the model sees it, in a graph.
    fn batch<'g>(&self, g: &'g Graph) -> models::Batch<'g> {
        models::Batch::of(inputs(g, &self.config.batches(self.model)))
    }

    /// Items of the file's table, padding included.
    fn rows(&self) -> Result<usize, Failed> {
        Ok(self.f.dims::<2>("p.item")?[0])
    }

    /// What a graph with this batch, and with the rows of the table as the input `ids`, has for each result.
    fn read(&self, g: &Graph, results: &[(&str, Var)]) -> Result<Vec<Tensor>, Failed> {
        results.iter().for_each(|(name, var)| g.result(name, *var));
        let plan = self.device.plan(g, Options::default())?;
        let mut runner = self.device.compile(&plan, &self.store, RunOptions::default())?;
        self.columns.write(&mut runner)?;
        runner.write_u32("ids", &(0..self.rows()? as u32).collect::<Vec<_>>())?;
        runner.run()?;
        results.iter().map(|(name, _)| Ok(runner.read(name)?)).collect()
    }

    /// Judges the loss and the gradients of a training step, which are the file's divided by `factor`.
    fn judge_step(self, factor: f64) -> Result<Reported, Failed> {
        let Subject { f, device, model, names, config, store, columns } = self;
        let scaled = |t: Tensor| Tensor::f64(t.shape.clone(), t.to_f64().iter().map(|x| factor * x).collect());
        let mut step = TrainStep::new(device, &store, model, &config)?;
        step.run(&Batch::new(columns, config.batch, &config.batches(model).gathered), 0, 1, 0.0)?;
        f.judge("out.loss", &scaled(Tensor::f64([1], vec![step.loss()?])))?;
        for (theirs, ours) in names {
            f.judge_gradient(&format!("g.{theirs}"), &scaled(step.read(&format!("gradient.{ours}"))?))?;
        }
        Ok(Reported(step.reported()?))
    }
}

/// A model with the file's parameters, by their names there and ours: what it computes, and by the training step its loss and
/// gradients. `attention`: what the file calls the part of each position that goes into each interest.
fn judge(
    f: &Fixture,
    device: &Device,
    model: &dyn Model,
    kind: LossKind,
    names: &[(&str, &str)],
    attention: &str,
) -> Result<Reported, Failed> {
    let subject = Subject::new(f, device, model, Loss { kind, ..Loss::default() }, names)?;
    let ([b, max_len], [rows, dim]) = (f.dims("in.hist")?, f.dims("p.item")?);
    let g = Graph::new();
    let batch = subject.batch(&g);
    let shown = model.shown(&g, &batch.history).ok_or("a model of several interests shows them")?;
    let k = shown.vectors.shape()[1];
    // The reference has zeros where a user has fewer interests than K.
    let interests = shown.used.map_or(shown.vectors, |used| shown.vectors * used.reshape([b, k, 1]));
    let target = model.item_table(&g).gather(batch.positive).reshape([b, 1, dim]);
    let numbers = g.constant(Tensor::f32([1, k], (0..k).map(|k| k as f32).collect()));
    let scores = Candidates::Shared(g.input("ids", Spec::u32([rows])));
    let mut results = vec![
        ("interests", interests),
        ("user", model.trained(&g, &batch).rows),
        ("scores", model.scores(&g, model.user(&g, &batch.history), scores)),
    ];
    // Where the file counts prompts as positions, what is shown has fewer.
    if f.get(&format!("out.{attention}"))?.shape[1] == max_len {
        results.push((attention, shown.attention.ok_or("each interest is of positions")?));
    }
    if f.has("out.choice") {
        results.push(("choice", (nearest((shown.vectors * target).sum(2)) * numbers).sum(1)));
    }
    if f.has("out.n_interests") {
        results.push(("n_interests", shown.used.ok_or("users have different numbers of interests")?.sum(1)));
    }
    if f.has("out.z") {
        let Weights::Same(weights) = shown.weights else { return Err("interests have weights".into()) };
        results.push(("z", weights));
    }
    for ((name, _), got) in results.iter().zip(subject.read(&g, &results)?) {
        if *name == "choice" { judge_choice(f, &got) } else { f.judge(&format!("out.{name}"), &got) }?;
    }
    subject.judge_step(1.0)
}

pub fn mcprn(f: &Fixture, device: &Device, candidates: CandidateGates) -> Result<(), Failed> {
    let (dim, task) = sizes(f)?;
    let [channels, _] = f.dims("p.w")?;
    let settings =
        mcprn::Settings { dim, channels, temperature: number(f, "in.tau")?, cut: number(f, "in.cut")?, candidates };
    let model = Mcprn::new(settings, &task);
    let parts = [("w_ih", "input.weight"), ("w_hh", "state.weight"), ("b_ih", "input.bias"), ("b_hh", "state.bias")];
    let of_channels = (0..channels)
        .flat_map(|k| parts.map(|(theirs, ours)| (format!("{theirs}[{k}]"), format!("channel.{k}.{ours}"))));
    let of_channels: Vec<(String, String)> = of_channels.collect();
    let mut names = vec![("item", "item_embedding"), ("w", "router.weight")];
    names.extend(of_channels.iter().map(|(theirs, ours)| (&theirs[..], &ours[..])));
    let config = LossConfig { t: 0.0, prior: false, ..LossConfig::default() };
    let subject = Subject::new(f, device, &model, Loss { kind: LossKind::Gbce, config, ..Loss::default() }, &names)?;

    let g = Graph::new();
    let (batch, rows) = (subject.batch(&g), subject.rows()?);
    let negative = batch.negative.ok_or("the loss has negatives")?;
    let (ids, users) = (g.input("ids", Spec::u32([rows])), model.user(&g, &batch.history));
    let shown = model.shown(&g, &batch.history).ok_or("channels are shown")?;
    // The file has zeros for padding, which is no candidate.
    let (real, gates) = (ids.nonzero(), model.interest_weights(&g, users, ids).slice(0, 0, 1));
    let score = |candidates| model.scores(&g, users, candidates);
    let results = [
        ("channels", shown.vectors),
        ("gates", shown.attention.ok_or("channels are of positions")?),
        ("candidate_gates", gates.reshape([rows, channels]) * real.reshape([rows, 1])),
        ("scores", score(Candidates::Shared(ids)) * real),
        ("y_pos", score(Candidates::Each(batch.positive))),
        ("y_neg", score(Candidates::Own(negative))),
        ("listed", score(Candidates::Listed(negative))),
    ];
    for ((name, _), got) in results.iter().zip(subject.read(&g, &results)?) {
        f.judge(&format!("out.{}", if *name == "listed" { "y_neg" } else { name }), &got)?;
    }
    let negatives = subject.config.negatives;
    subject.judge_step((negatives + 1) as f64).map(drop)
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
