//! Reference values: every `.npz` of `golden/`, or of the folder that WGREC_GOLDEN_DIR names, on each device.
//!
//! A file holds inputs `in.*`, parameters `p.*`, outputs `out.*` and gradients `g.*` in f64. Its handler is found by the
//! file's name; a file without one is a trial that says so and is ignored, never a silent pass.

use crate::harness::devices;
use crate::{
    golden_ant, golden_encoders, golden_interests, golden_opponents, golden_pcl, golden_rdrsr, golden_s3rec,
    golden_tasks, golden_tower,
};
use libtest_mimic::{Failed, Trial};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use wgrec::data::BatchSpec;
use wgrec::data::samples::{Prefix, Samples, Window};
use wgrec::device::{Device, RunOptions};
use wgrec::eval::metrics::{Metric, TieRule};
use wgrec::graph::plan::Options;
use wgrec::graph::{Gradient, Graph, Step, Var};
use wgrec::kernels::adam::{Adam, AdamRows, Settings};
use wgrec::kernels::bpr::Bpr;
use wgrec::kernels::matmul::Activation;
use wgrec::kernels::rank::{Pick, Rank};
use wgrec::models::dpcpl::prompts::{PromptConfig, compactness};
use wgrec::models::dpcpl::{self, Dpcpl};
use wgrec::models::mcprn::CandidateGates;
use wgrec::models::pomrec::{self, PomRec};
use wgrec::models::sasrec::Positions;
use wgrec::models::sasrec::{self, SasRec};
use wgrec::models::{self, Candidates, History, Inputs, Loss, LossKind, Model, Task, Trained};
use wgrec::nn::Params;
use wgrec::nn::encoder::{Encoder, Norm};
use wgrec::nn::filter::{complex_mlp, filter_layer};
use wgrec::nn::miner::Miner;
use wgrec::nn::prompt;
use wgrec::nn::rate::coding_rate;
use wgrec::tensor::segments::Segments;
use wgrec::tensor::{Shape, Spec, Tensor};

/// The inputs of a training batch.
pub fn inputs<'g>(g: &'g Graph, spec: &BatchSpec) -> Inputs<'g> {
    Inputs::declare(g, &spec.columns())
}

/// The folder of reference values.
pub fn folder() -> PathBuf {
    std::env::var_os("WGREC_GOLDEN_DIR")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels-tests/golden"), PathBuf::from)
}

pub fn trials() -> Vec<Trial> {
    let list = |folder: &Path| -> std::io::Result<Vec<PathBuf>> {
        Ok(std::fs::read_dir(folder)?.filter_map(|e| Some(e.ok()?.path())).collect())
    };
    let mut files: Vec<PathBuf> = match list(&folder()) {
        Ok(files) => files,
        Err(e) => {
            let message = format!("{}: {e}", folder().display());
            return vec![Trial::test("golden::folder", move || Err(message.into()))];
        }
    };
    // Each next to the folder of its model.
    files.extend(list(&folder().join("encoders")).into_iter().flatten());
    files.retain(|f| f.extension().is_some_and(|e| e == "npz"));
    files.sort();
    let trial = |file: PathBuf| {
        let name = file.file_stem().expect("it has an extension").to_string_lossy().into_owned();
        match handler(&name) {
            None => vec![Trial::test(format!("golden::{name}: no handler"), || Ok(())).with_ignored_flag(true)],
            Some(judge) => devices::all()
                .into_iter()
                .map(|device| {
                    let file = file.clone();
                    let run = move || judge(&Fixture::open(&file)?, &devices::get(device)?);
                    Trial::test(format!("golden::{name}::{device}"), run)
                })
                .collect(),
        }
    };
    files.into_iter().flat_map(trial).collect()
}

type Handler = fn(&Fixture, &Device) -> Result<(), Failed>;

fn handler(name: &str) -> Option<Handler> {
    let handlers: &[(&str, Handler)] = &[
        ("pomrec_", pomrec),
        ("comirec_", golden_interests::comirec),
        ("mind", golden_interests::mind),
        ("interest_scores", golden_interests::scores),
        ("sasrec_", sasrec),
        ("losses", losses),
        ("opt_", optimiser),
        ("metrics", metrics),
        ("gru", gru),
        ("fmlp_dot_filter", filter),
        ("dpcpl_filter", efficient_filter),
        ("dpcpl_rate", rate),
        ("dpcpl_ebm", behaviour_miner),
        ("dpcpl_pfg", prompt_factor_gate),
        ("miner", golden_interests::miner),
        ("pom_miner", golden_interests::miner),
        ("timirec", golden_interests::timirec),
        ("rdrsr_enum", golden_rdrsr::enumerated),
        ("rdrsr_rank", golden_rdrsr::ranked),
        ("rdrsr_", golden_rdrsr::played),
        ("ant_irl_", golden_tower::items),
        ("ant_missing_", golden_tower::items),
        ("ant_moe", golden_tower::mixture),
        ("ant_", golden_ant::ant),
        ("nova", golden_opponents::nova),
        ("sasrecpp", golden_opponents::sasrecpp),
        ("fdsa", golden_opponents::fdsa),
        ("unisrec_losses", golden_opponents::unisrec),
        ("s3rec_", golden_s3rec::s3rec),
        ("pcl_prompt", golden_pcl::prompts),
        ("mgda_", golden_tasks::min_norm),
        ("mmoe", golden_tasks::experts),
        ("teracon_", golden_tasks::masks),
        ("mcprn_raw", |f, device| golden_interests::mcprn(f, device, CandidateGates::Whole)),
        ("bert_", golden_encoders::bert),
        ("swin", golden_encoders::swin),
        ("mcprn", |f, device| golden_interests::mcprn(f, device, CandidateGates::Cut)),
    ];
    handlers.iter().find(|(prefix, _)| name.starts_with(prefix)).map(|(_, h)| *h)
}

/// The arrays of one file.
pub struct Fixture {
    arrays: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    pub meta: serde_json::Value,
}

impl Fixture {
    fn open(path: &Path) -> Result<Fixture, Failed> {
        let mut archive = npyz::npz::NpzArchive::open(path)?;
        let names: Vec<String> = archive.array_names().map(str::to_string).collect();
        let mut arrays = BTreeMap::new();
        let mut meta = serde_json::Value::Null;
        for name in names {
            let array = archive.by_name(&name)?.ok_or("an array vanished")?;
            let shape: Vec<usize> = array.shape().iter().map(|&n| n as usize).collect();
            let kind = array.dtype().descr();
            let columns_first = array.order() == npyz::Order::Fortran;
            if name == "meta" {
                meta = serde_json::from_slice(&array.into_vec::<u8>()?)?;
                continue;
            }
            let values = match kind.trim_matches(|c| c == '\'' || c == '"') {
                "<f8" => array.into_vec::<f64>()?,
                "<i8" => array.into_vec::<i64>()?.into_iter().map(|x| x as f64).collect(),
                "|b1" => array.into_vec::<bool>()?.into_iter().map(|x| x as u8 as f64).collect(),
                other => return Err(format!("{name} is of type {other}").into()),
            };
            let values = if columns_first { last_axis_first(&shape, &values) } else { values };
            arrays.insert(name, (shape, values));
        }
        Ok(Fixture { arrays, meta })
    }

    /// What follows `prefix` in the names of the arrays that begin with it.
    pub fn names<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.arrays.keys().filter_map(move |name| name.strip_prefix(prefix))
    }

    pub fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    /// An array; `NAME[i]` is number i of those that lie along its first axis.
    pub fn get(&self, name: &str) -> Result<Tensor, Failed> {
        let missing = || format!("the file has no {name}");
        let (whole, part) = match name.strip_suffix(']').and_then(|name| name.split_once('[')) {
            Some((whole, part)) => (whole, Some(part.parse::<usize>()?)),
            None => (name, None),
        };
        let (shape, values) = self.arrays.get(whole).ok_or_else(missing)?;
        let Some(part) = part else { return Ok(Tensor::f64(Shape::from(&shape[..]), values.clone())) };
        let part = values.chunks(values.len() / shape[0]).nth(part).ok_or_else(missing)?;
        Ok(Tensor::f64(Shape::from(&shape[1..]), part.to_vec()))
    }

    pub fn ids(&self, name: &str) -> Result<Tensor, Failed> {
        let t = self.get(name)?;
        Ok(Tensor::u32(t.shape.clone(), t.to_f64().iter().map(|&x| x as u32).collect()))
    }

    pub fn dims<const N: usize>(&self, name: &str) -> Result<[usize; N], Failed> {
        let shape = self.get(name)?.shape;
        <[usize; N]>::try_from(&shape[..]).map_err(|_| format!("{name} is {shape}").into())
    }

    /// |got - want| <= 1e-5 + 1e-4 |want|, each element.
    pub fn judge(&self, name: &str, got: &Tensor) -> Result<(), Failed> {
        let want = self.get(name)?;
        if got.shape.elements() != want.shape.elements() {
            return Err(format!("{name}: got {}, want {}", got.shape, want.shape).into());
        }
        for (i, (g, w)) in got.to_f64().into_iter().zip(want.to_f64()).enumerate() {
            let close = (g - w).abs() <= 1e-5 + 1e-4 * w.abs();
            if !close {
                return Err(format!("{name}[{i}]: got {g}, want {w}").into());
            }
        }
        Ok(())
    }

    /// 1e-3 relative in the L2 norm, after an absolute 1e-7 a element for gradients that are 0.
    pub fn judge_gradient(&self, name: &str, got: &Tensor) -> Result<(), Failed> {
        let (got, want) = (got.to_f64(), self.get(name)?.to_f64());
        if got.len() != want.len() {
            return Err(format!("{name}: got {} elements, want {}", got.len(), want.len()).into());
        }
        let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|v| v * v).sum::<f64>().sqrt();
        let apart = norm(&mut got.iter().zip(&want).map(|(g, w)| g - w));
        let size = norm(&mut want.iter().copied());
        let allowed = 1e-3 * size + 1e-7 * (want.len() as f64).sqrt();
        // Written so that a NaN fails.
        if apart <= allowed { Ok(()) } else { Err(format!("{name}: off by {apart:e} of {size:e}").into()) }
    }
}

/// The elements of an array in which the first axis is the fastest, in our order: the last one is.
fn last_axis_first(shape: &[usize], values: &[f64]) -> Vec<f64> {
    let place = |mut i: usize| {
        let mut index = vec![0; shape.len()];
        for axis in (0..shape.len()).rev() {
            (index[axis], i) = (i % shape[axis], i / shape[axis]);
        }
        index.iter().zip(shape).rev().fold(0, |at, (i, n)| at * n + i)
    };
    (0..values.len()).map(|i| values[place(i)]).collect()
}

/// A graph's results, from inputs by name and states by name, on a device.
pub fn run(
    g: &Graph,
    device: &Device,
    states: &[(String, Tensor)],
    inputs: &[(&str, Tensor)],
) -> Result<BTreeMap<String, Tensor>, Failed> {
    let sizes: Vec<(String, usize)> = states.iter().map(|(n, t)| (n.clone(), t.shape.elements())).collect();
    let mut store = device.store(&sizes)?;
    for (name, tensor) in states {
        store.write(name, 0, tensor)?;
    }
    let plan = device.plan(g, Options::default())?;
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    for (name, tensor) in inputs {
        runner.write(name, tensor)?;
    }
    runner.run()?;
    let mut results = BTreeMap::new();
    for (name, _) in &plan.results {
        results.insert(name.clone(), runner.read(name)?);
    }
    for (name, tensor) in states {
        results.insert(format!("state {name}"), store.read(name, 0, &Spec::f32(tensor.shape.clone()))?);
    }
    Ok(results)
}

fn pomrec(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let released = f.has("p.w1");
    let [rows, dim] = f.dims("p.item")?;
    let [b, max_len] = f.dims("in.hist")?;
    let [interests, attention_dim] = f.dims(if released { "p.w2" } else { "p.wf2" })?;
    let [prompts, _] = f.dims("p.prompt_f")?;
    let settings = pomrec::Settings {
        dim,
        attention_dim,
        interests,
        prompts,
        dispersion: f.get("in.lam")?.to_f64()[0],
        variant: if released { pomrec::Variant::Released } else { pomrec::Variant::Paper },
    };
    let model = PomRec::new(settings, &Task { items: rows - 1, max_len, ..Task::default() });
    let common = [
        ("item", "item_embedding"),
        ("pos", "position_embedding"),
        ("prompt_f", "extractor.prompts"),
        ("prompt_g", "aggregator.prompts"),
    ];
    let of_paper = [
        ("wf1", "extractor.attention.0.weight"),
        ("wf2", "extractor.attention.1.weight"),
        ("wg1", "aggregator.attention.0.weight"),
        ("wg2", "aggregator.attention.1.weight"),
        ("wm1", "aggregator.mlp.0.weight"),
        ("bm1", "aggregator.mlp.0.bias"),
        ("wm2", "aggregator.mlp.1.weight"),
        ("bm2", "aggregator.mlp.1.bias"),
    ];
    let of_code = [
        ("w1", "extractor.attention.0.weight"),
        ("b1", "extractor.attention.0.bias"),
        ("w2", "extractor.attention.1.weight"),
        ("b2", "extractor.attention.1.bias"),
        ("w3", "aggregator.attention.0.weight"),
        ("b3", "aggregator.attention.0.bias"),
        ("w4", "aggregator.attention.1.weight"),
        ("b4", "aggregator.attention.1.bias"),
        ("wp", "aggregator.output.weight"),
        ("bp", "aggregator.output.bias"),
    ];
    let own: &[(&str, &str)] = if released { &of_code } else { &of_paper };
    let names: Vec<(&str, &str)> = common.into_iter().chain(own.iter().copied()).collect();

    let g = Graph::new();
    let params = model.params();
    let inputs = inputs(&g, &BatchSpec { batch: b, max_len, ..BatchSpec::default() });
    let lists = ["history", "positive", "negative"].map(|name| inputs.get(name));
    g.segments("segments", model.item_table(&g), &lists);
    let batch = models::Batch { history: History::of(&inputs, false), ..models::Batch::of(inputs) };
    let user = model.user(&g, &batch.history);
    let output = model.output(&g).ok_or("scores are dot products")?;
    let loss = Loss::default().of_products(user, &output, &batch);
    g.result("loss", loss);
    g.result("user", user);
    g.result("scores_all", model.scores(&g, user, Candidates::Shared(g.input("ids", Spec::u32([rows])))));
    let vars: Vec<Var> = names.iter().map(|(_, ours)| params.var(&g, ours)).collect();
    for ((theirs, _), (var, gradient)) in names.iter().zip(vars.iter().zip(g.gradients(loss, &vars)?)) {
        g.result(&format!("g.{theirs}"), gradient.dense(*var));
    }

    let mut store = device.store(&params.states())?;
    for (theirs, ours) in &names {
        params.write(&mut store, ours, &f.get(&format!("p.{theirs}"))?)?;
    }
    let plan = device.plan(&g, Options::default())?;
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    let (history, lengths) = (f.ids("in.hist")?, f.ids("in.lengths")?);
    let (positive, negative) = (f.ids("in.pos_item")?, f.ids("in.neg_item")?);
    let recency: Vec<u32> = (0..b * max_len)
        .map(|at| {
            let (len, i) = (lengths.as_u32()[at / max_len] as usize, at % max_len);
            let start = if released { 0 } else { max_len - len };
            if (start..start + len).contains(&i) { (start + len - i) as u32 } else { 0 }
        })
        .collect();
    let mut s = Segments::default();
    s.build(&[history.as_u32(), positive.as_u32(), negative.as_u32()], rows);
    runner.write("history", &history)?;
    runner.write_u32("recency", &recency)?;
    runner.write("positive", &positive)?;
    runner.write_u32("negative", negative.as_u32())?;
    runner.write_f32("weight", &vec![1.0; b])?;
    runner.write_u32("ids", &(0..rows as u32).collect::<Vec<_>>())?;
    runner.write_segments("segments", &s)?;
    runner.run()?;
    for name in ["loss", "user", "scores_all"] {
        f.judge(&format!("out.{name}"), &runner.read(name)?)?;
    }
    for (theirs, _) in &names {
        f.judge_gradient(&format!("g.{theirs}"), &runner.read(&format!("g.{theirs}"))?)?;
    }
    Ok(())
}

/// Their names of a SASRec's positions and encoder, and ours.
pub fn encoder_names(norm: Norm, layers: usize) -> Vec<(String, String)> {
    let of = |theirs: String, ours: String| {
        [(format!("{theirs}.g"), format!("{ours}.gain")), (format!("{theirs}.b"), format!("{ours}.bias"))]
    };
    let mut names = vec![("pos".into(), "position_embedding".into())];
    names.extend(match norm {
        Norm::Post => of("ln0".into(), "encoder.embedding_norm".into()),
        _ => of("lnf".into(), "encoder.norm".into()),
    });
    for l in 0..layers {
        let parts =
            [("q", "attention.query"), ("k", "attention.key"), ("v", "attention.value"), ("o", "attention.output")];
        let inner = [("1", "feed_forward.0"), ("2", "feed_forward.1")];
        for (short, long) in parts.into_iter().chain(inner) {
            names.push((format!("l{l}.w{short}"), format!("encoder.{l}.{long}.weight")));
            names.push((format!("l{l}.b{short}"), format!("encoder.{l}.{long}.bias")));
        }
        names.extend(of(format!("l{l}.ln1"), format!("encoder.{l}.attention_norm")));
        names.extend(of(format!("l{l}.ln2"), format!("encoder.{l}.feed_forward_norm")));
    }
    names
}

/// The column `recency` of histories of `m` positions.
pub fn recency(ids: &[u32], m: usize) -> Vec<u32> {
    let newest_first = |row: &[u32]| {
        let last = row.iter().rposition(|&id| id != 0).map_or(0, |at| at + 1);
        row.iter().enumerate().map(|(i, &id)| if id == 0 { 0 } else { (last - i) as u32 }).collect::<Vec<_>>()
    };
    ids.chunks(m).flat_map(newest_first).collect()
}

/// SASRec as first published, with binary cross-entropy at each position, or post-norm with a softmax at the last item.
fn sasrec(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let pre = f.has("p.lnf.g");
    let [rows, dim] = f.dims("p.item")?;
    let [b, m] = f.dims("in.ids")?;
    let [inner, _] = f.dims("p.l0.w1")?;
    let number = |name: &str| Ok::<f64, Failed>(f.get(name)?.to_f64()[0]);
    let (layers, heads, eps) = (number("in.L")? as usize, number("in.H")? as usize, number("in.eps")?);
    let norm = if pre { Norm::Pre } else { Norm::Post };
    // The reference of the published form masks later positions, not padded ones.
    let encoder = Encoder::new(norm, true, (dim, layers, heads), Some(inner), 0.0)?;
    let encoder = Encoder { attend_padding: pre, eps, ..encoder };
    let positions = if pre { Positions::All } else { Positions::Last };
    let model = SasRec::new(
        sasrec::Parts { items: rows - 1, max_len: m, encoder, positions, behaviours: 0, hides: false },
        Params::new(),
    );
    let mut names = encoder_names(norm, layers);
    names.push(("item".into(), "item_embedding".into()));

    let ids = f.ids("in.ids")?;
    let (positive, negative) = match pre {
        true => (f.ids("in.pos_items")?, f.ids("in.neg_items")?),
        false => (f.ids("in.target")?, Tensor::u32([b], vec![0; b])),
    };
    let n = positive.shape.elements();
    let g = Graph::new();
    let samples: Arc<dyn Samples> = if n == b { Arc::new(Prefix) } else { Arc::new(Window) };
    let inputs = inputs(&g, &BatchSpec { batch: b, max_len: m, samples, ..BatchSpec::default() });
    let table = model.item_table(&g);
    let lists = ["history", "positive", "negative"].map(|name| inputs.get(name));
    let batch = models::Batch::of(inputs);
    let lists = if pre { &lists[..] } else { &lists[..1] };
    g.segments("segments", table, lists);
    let hidden = model.positions(&g, &batch.history);
    let last = batch.history.most_recent(hidden);
    // The reference takes padding for an item like any other.
    let output = models::Output { classes: 0..rows, ..model.output(&g).ok_or("scores are dot products")? };
    let kind = if pre { LossKind::Bce } else { LossKind::Softmax };
    let users = if pre { hidden.reshape([n, dim]) } else { last };
    let loss = Loss { kind, ..Loss::default() }.of_products(users, &output, &batch);
    g.result("hidden", hidden);
    g.result("loss", loss);
    if pre {
        g.result("pos_logits", (users * table.gather(batch.positive)).sum(1));
    } else {
        g.result("seq_out", last);
        g.result("logits", last.matmul_t(table));
    }
    let params = model.params();
    let vars: Vec<Var> = names.iter().map(|(_, ours)| params.var(&g, ours)).collect();
    for ((theirs, _), (var, gradient)) in names.iter().zip(vars.iter().zip(g.gradients(loss, &vars)?)) {
        g.result(&format!("g.{theirs}"), gradient.dense(*var));
    }

    let mut store = device.store(&params.states())?;
    for (theirs, ours) in &names {
        params.write(&mut store, ours, &f.get(&format!("p.{theirs}"))?)?;
    }
    let plan = device.plan(&g, Options::default())?;
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    runner.write("history", &ids)?;
    runner.write_u32("recency", &recency(ids.as_u32(), m))?;
    runner.write_u32("positive", positive.as_u32())?;
    runner.write_u32("negative", negative.as_u32())?;
    runner.write_f32(
        "weight",
        &positive.as_u32().iter().map(|&id| if id == 0 { 0.0 } else { 1.0 }).collect::<Vec<_>>(),
    )?;
    let mut s = Segments::default();
    let lists = [ids.as_u32(), positive.as_u32(), negative.as_u32()];
    s.build(if pre { &lists[..] } else { &lists[..1] }, rows);
    runner.write_segments("segments", &s)?;
    runner.run()?;
    let results: &[&str] =
        if pre { &["hidden", "pos_logits", "loss"] } else { &["hidden", "seq_out", "logits", "loss"] };
    for name in results {
        f.judge(&format!("out.{name}"), &runner.read(name)?)?;
    }
    names.iter().try_for_each(|(theirs, _)| {
        let name = format!("g.{theirs}");
        f.judge_gradient(&name, &runner.read(&name)?)
    })
}

/// BPR by its kernel; the weighted, sampled-softmax and cross-entropy forms from elementwise nodes, sums and a softmax.
fn losses(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let [rows, n] = f.dims("p.s")?;
    let g = Graph::new();
    let s = g.state("s", "s", 0, Spec::f32([rows, n]));
    let (positive, negative) = (s.slice(1, 0, 1), s.slice(1, 1, n - 1));
    let weight = g.scalar(1.0).expand([rows]);
    let bpr = g.push(Bpr, &[positive.reshape([rows]), s.slice(1, 1, 1), weight]);
    let chance = ((positive - negative).sigmoid() * negative.softmax(1, None)).sum(1);
    let softmax_bpr = -chance.log().mean(0);
    let sampled_ce = -s.softmax(1, None).slice(1, 0, 1).log().mean_all();
    let bce = ((-positive).softplus().reshape([rows]) + negative.softplus().mean(1)).mean(0);
    let loss = bpr + softmax_bpr.scale(2.0) + sampled_ce.scale(3.0) + bce.scale(5.0);
    for (name, var) in
        [("bpr", bpr), ("softmax_bpr", softmax_bpr), ("sampled_ce", sampled_ce), ("bce", bce), ("loss", loss)]
    {
        g.result(name, var);
    }
    let Gradient::Dense(ds) = g.gradients(loss, &[s])?[0] else { return Err("a dense gradient was expected".into()) };
    g.result("ds", ds);
    let results = run(&g, device, &[("s".into(), f.get("p.s")?)], &[])?;
    for name in ["bpr", "softmax_bpr", "sampled_ce", "bce", "loss"] {
        f.judge(&format!("out.{name}"), &results[name])?;
    }
    f.judge_gradient("g.s", &results["ds"])
}

/// Five updates: over a flat buffer, and over the rows of a table.
fn optimiser(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let [states, rows, d] = f.dims("w")?;
    let n = rows * d;
    let meta = |key: &str| &f.meta[key];
    let number = |key: &str| meta(key).as_f64().ok_or(format!("meta has no {key}"));
    let betas = [0, 1].map(|i| meta("betas")[i].as_f64().unwrap_or(f64::NAN));
    let settings = Settings {
        beta1: betas[0] as f32,
        beta2: betas[1] as f32,
        eps: number("eps")? as f32,
        decoupled: meta("decoupled").as_bool().unwrap_or(false),
    };
    let decay = number("weight_decay")? as f32;
    let (w, gradients) = (f.get("w")?.to_f64(), f.get("g")?.to_f64());
    for by_rows in [false, true] {
        let shape: Shape = if by_rows { [rows, d].into() } else { [n].into() };
        let g = Graph::new();
        let state = |name: &str| g.state(name, name, 0, Spec::f32(shape.clone()));
        let scale = g.constant(Tensor::f32([], vec![1.0]));
        let (p, m, v, dy) = (state("p"), state("m"), state("v"), g.input("g", Spec::f32(shape.clone())));
        if by_rows {
            let op = AdamRows { settings, lazy: false, decay };
            let (list, counts) = (g.input("rows", Spec::u32([rows])), g.input("counts", Spec::u32([4])));
            g.try_push(op, &[p, m, v, dy, list, counts, g.step(), scale])?;
        } else {
            let rates =
                g.constant(Tensor::f32([n.div_ceil(Adam::BLOCK), 2], [1.0, decay].repeat(n.div_ceil(Adam::BLOCK))));
            g.try_push(Adam { settings }, &[p, m, v, dy, rates, g.step(), scale])?;
        }
        let sizes: Vec<(String, usize)> = ["p", "m", "v"].map(|s| (s.to_string(), n)).into();
        let mut store = device.store(&sizes)?;
        store.write("p", 0, &Tensor::f64(shape.clone(), w[..n].to_vec()))?;
        let mut runner = device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?;
        if by_rows {
            runner.write_u32("rows", &(0..rows as u32).collect::<Vec<_>>())?;
            runner.write_u32("counts", &[rows as u32, 0, 0, 0])?;
        }
        for step in 0..states - 1 {
            runner.write("g", &Tensor::f64(shape.clone(), gradients[step * n..][..n].to_vec()))?;
            runner.write(Step::NAME, &Step::at(0, step as u64, number("lr")?, betas).tensor())?;
            runner.run()?;
            let got = store.read("p", 0, &Spec::f32(shape.clone()))?.to_f64();
            for (i, (g, w)) in got.iter().zip(&w[(step + 1) * n..][..n]).enumerate() {
                let close = (g - w).abs() <= 1e-6 + 1e-5 * w.abs();
                if !close {
                    return Err(format!("update {step}, by rows {by_rows}, element {i}: got {g}, want {w}").into());
                }
            }
        }
    }
    Ok(())
}

/// The product with the inputs is a node of its own.
fn gru(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let [b, t, _] = f.dims("in.x")?;
    let g = Graph::new();
    let names = ["w_ih", "w_hh", "b_ih", "b_hh"];
    let states = names.iter().map(|name| Ok((name.to_string(), f.get(&format!("p.{name}"))?)));
    let states: Vec<(String, Tensor)> = states.collect::<Result<_, Failed>>()?;
    let params: Vec<Var> = states.iter().map(|(n, t)| g.state(n, n, 0, Spec::f32(t.shape.clone()))).collect();
    let (x, cot) = (f.get("in.x")?, f.get("in.cot")?);
    let keep = g.constant(Tensor::u32([b, t], vec![1; b * t]));
    let gates = g.input("x", Spec::f32(x.shape.clone())).linear(params[0], Some(params[2]), Activation::None);
    let h = gates.gru(params[1], params[3], keep);
    let loss = (h * g.input("cot", Spec::f32(cot.shape.clone()))).sum_all();
    g.result("h", h);
    g.result("last", h.slice(1, t - 1, 1));
    g.result("loss", loss);
    for ((name, gradient), var) in names.iter().zip(g.gradients(loss, &params)?).zip(&params) {
        g.result(&format!("g.{name}"), gradient.dense(*var));
    }
    let results = run(&g, device, &states, &[("x", x), ("cot", cot)])?;
    for name in ["h", "last", "loss"] {
        f.judge(&format!("out.{name}"), &results[name])?;
    }
    names.iter().try_for_each(|name| f.judge_gradient(&format!("g.{name}"), &results[&format!("g.{name}")]))
}

/// `names` of the file's parameters, as states.
pub fn parameters(f: &Fixture, names: &[&str]) -> Result<Vec<(String, Tensor)>, Failed> {
    names.iter().map(|name| Ok((name.to_string(), f.get(&format!("p.{name}"))?))).collect()
}

/// A layer of what it is given and of the parameters.
type Layer = for<'g> fn(Var<'g>, &[Var<'g>]) -> Var<'g>;

/// The sequences `in.S`, filtered by `filter` of the spectra and `names` of the file's parameters to new spectra: both spectra, what
/// `layer` makes of the sequences (the same), the loss, and gradients by the parameters.
fn filtered(f: &Fixture, device: &Device, names: &[&str], filter: Layer, layer: Layer) -> Result<(), Failed> {
    let states = parameters(f, names)?;
    let g = Graph::new();
    let params: Vec<Var> = states.iter().map(|(n, t)| g.state(n, n, 0, Spec::f32(t.shape.clone()))).collect();
    let (s, cot) = (f.get("in.S")?, f.get("in.cot")?);
    let x = g.input("S", Spec::f32(s.shape.clone()));
    let spectrum = x.rfft();
    let changed = filter(spectrum, &params);
    let y = layer(x, &params);
    let loss = (y * g.input("cot", Spec::f32(cot.shape.clone()))).sum_all();
    for (name, spectrum) in [("X", spectrum), ("Y", changed)] {
        g.result(&format!("{name}.re"), spectrum.slice(2, 0, 1));
        g.result(&format!("{name}.im"), spectrum.slice(2, 1, 1));
    }
    g.result("filtered", y);
    g.result("loss", loss);
    for ((name, gradient), var) in names.iter().zip(g.gradients(loss, &params)?).zip(&params) {
        g.result(&format!("g.{name}"), gradient.dense(*var));
    }
    let results = run(&g, device, &states, &[("S", s), ("cot", cot)])?;
    for name in ["X.re", "X.im", "Y.re", "Y.im", "filtered", "loss"] {
        f.judge(&format!("out.{name}"), &results[name])?;
    }
    names.iter().try_for_each(|name| f.judge_gradient(&format!("g.{name}"), &results[&format!("g.{name}")]))
}

/// Real and imaginary parts [n, ..] as [n, 2, ..].
fn parts<'g>(re: Var<'g>, im: Var<'g>) -> Var<'g> {
    let apart = [&[re.shape()[0], 1], &re.shape()[1..]].concat();
    re.graph().concat(1, &[re, im].map(|v| v.reshape(Shape::from(&apart[..]))))
}

/// The fused kernel; the product alone from elementwise nodes.
fn filter(f: &Fixture, device: &Device) -> Result<(), Failed> {
    fn product<'g>(x: Var<'g>, w: &[Var<'g>]) -> Var<'g> {
        let [re, im] = [0, 1].map(|part| x.slice(2, part, 1));
        let [wr, wi] = [0, 1].map(|part| w[part].reshape([w[part].shape()[0], 1, w[part].shape()[1]]));
        x.graph().concat(2, &[re * wr - im * wi, re * wi + im * wr])
    }
    fn fused<'g>(x: Var<'g>, w: &[Var<'g>]) -> Var<'g> {
        x.filter(parts(w[0], w[1]))
    }
    filtered(f, device, &["wr", "wi"], product, fused)
}

fn efficient_filter(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let names = ["w1r", "w1i", "b1r", "b1i", "w2r", "w2i", "b2r", "b2i"];
    fn weights<'g>(p: &[Var<'g>]) -> [[Var<'g>; 2]; 2] {
        // Biases [k, d / k] are rows of all channels.
        let bias = |re: Var<'g>, im: Var<'g>| {
            let d = re.shape().elements();
            re.graph().concat(0, &[re.reshape([1, d]), im.reshape([1, d])])
        };
        [[parts(p[0], p[1]), bias(p[2], p[3])], [parts(p[4], p[5]), bias(p[6], p[7])]]
    }
    fn mlp<'g>(x: Var<'g>, p: &[Var<'g>]) -> Var<'g> {
        let [first, second] = weights(p);
        complex_mlp(x, first, second)
    }
    fn layer<'g>(x: Var<'g>, p: &[Var<'g>]) -> Var<'g> {
        let [first, second] = weights(p);
        filter_layer(x, first, second)
    }
    filtered(f, device, &names, mlp, layer)
}

fn rate(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let number = |name: &str| Ok::<f64, Failed>(f.get(name)?.to_f64()[0]);
    let states = parameters(f, &["E"])?;
    let g = Graph::new();
    let e = g.state("E", "E", 0, Spec::f32(states[0].1.shape.clone()));
    let rate = coding_rate(e, number("in.n_div")?, number("in.eps2")?);
    let loss = rate.sum_all();
    g.result("R", rate);
    g.result("loss", loss);
    g.result("g.E", g.gradients(loss, &[e])?[0].dense(e));
    let results = run(&g, device, &states, &[])?;
    f.judge("out.R", &results["R"])?;
    f.judge("out.loss", &results["loss"])?;
    f.judge_gradient("g.E", &results["g.E"])
}

/// DPCPL of one block, as it is pre-trained. The reference numbers behaviours from 0 and keeps real and imaginary parts apart.
fn behaviour_miner(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let [rows, dim] = f.dims("p.item")?;
    let [b, m] = f.dims("in.ids")?;
    let ([behaviours, _], [inner, _], [blocks, _, _]) = (f.dims("p.beh")?, f.dims("p.fw1")?, f.dims("p.w1r")?);
    let model = Dpcpl::new(
        dpcpl::Parts {
            items: rows - 1,
            max_len: m,
            dim,
            layers: 1,
            behaviours,
            block: dpcpl::Block::Filter(Miner { dim, blocks, inner, streams: 1 + behaviours, dropout: 0.0 }),
            dropout: 0.0,
            next_behaviour: 1.0,
            compactness: 0.0,
            prompter: None,
        },
        Params::new(),
    );
    let same = [
        ("item", "item_embedding"),
        ("pos", "position_embedding"),
        ("fw1", "encoder.0.feed_forward.0.weight"),
        ("fb1", "encoder.0.feed_forward.0.bias"),
        ("fw2", "encoder.0.feed_forward.1.weight"),
        ("fb2", "encoder.0.feed_forward.1.bias"),
        ("ln1.g", "encoder.0.filter_norm.gain"),
        ("ln1.b", "encoder.0.filter_norm.bias"),
        ("ln2.g", "encoder.0.feed_forward_norm.gain"),
        ("ln2.b", "encoder.0.feed_forward_norm.bias"),
        ("mix.w", "encoder.0.mixer.weight"),
        ("mix.b", "encoder.0.mixer.bias"),
    ];
    // Both have the part on axis `at`, where the reference has two arrays.
    let halves = [
        ("w1", "encoder.0.filter.0.weight", 1),
        ("b1", "encoder.0.filter.0.bias", 0),
        ("w2", "encoder.0.filter.1.weight", 1),
        ("b2", "encoder.0.filter.1.bias", 0),
    ];
    let params = model.params();
    let g = Graph::new();
    let reads = model.reads();
    let batch = models::Batch::of(inputs(&g, &BatchSpec { batch: b, max_len: m, reads, ..BatchSpec::default() }));
    let Trained { rows: user, terms, .. } = model.trained(&g, &batch);
    let output = model.output(&g).ok_or("scores are dot products")?;
    let items = Loss::default().of_products(user, &output, &batch);
    let loss = items + *terms.first().ok_or("pre-training predicts behaviours")?;
    let column = |name: &str| batch.inputs.get(name);
    g.result("hidden", model.hidden(&g, &batch.history));
    g.result("user", user);
    g.result("loss", loss);
    let margins = [
        ("item_margin", model.item_table(&g), ["positive", "negative"].map(column)),
        ("beh_margin", params.var(&g, "behaviour_embedding"), ["positive_behaviour", "negative_behaviour"].map(column)),
    ];
    for (name, table, [right, other]) in margins {
        g.result(name, (user * (table.gather(right) - table.gather(other.reshape([b])))).sum(1));
    }
    let wanted =
        [&["behaviour_embedding"], &same.map(|(_, ours)| ours)[..], &halves.map(|(_, ours, _)| ours)[..]].concat();
    let vars: Vec<Var> = wanted.iter().map(|ours| params.var(&g, ours)).collect();
    let gradients = g.gradients(loss, &vars)?;
    let gradients: Vec<Var> = gradients.into_iter().zip(&vars).map(|(gradient, var)| gradient.dense(*var)).collect();
    g.result("g.beh", gradients[0].slice(0, 1, behaviours));
    for ((theirs, _), gradient) in same.iter().zip(&gradients[1..]) {
        g.result(&format!("g.{theirs}"), *gradient);
    }
    for ((theirs, _, at), gradient) in halves.iter().zip(&gradients[1 + same.len()..]) {
        g.result(&format!("g.{theirs}r"), gradient.slice(*at, 0, 1));
        g.result(&format!("g.{theirs}i"), gradient.slice(*at, 1, 1));
    }

    let mut store = device.store(&params.states())?;
    let table = [vec![0.0; dim], f.get("p.beh")?.to_f64()].concat();
    params.write(&mut store, "behaviour_embedding", &Tensor::f64([behaviours + 1, dim], table))?;
    for (theirs, ours) in same {
        params.write(&mut store, ours, &f.get(&format!("p.{theirs}"))?)?;
    }
    for (theirs, ours, at) in halves {
        let [re, im] = [f.get(&format!("p.{theirs}r"))?.to_f64(), f.get(&format!("p.{theirs}i"))?.to_f64()];
        let shape = params.read(&store, ours)?.shape;
        let run = shape[at + 1..].iter().product::<usize>();
        let joined = re.chunks(run).zip(im.chunks(run)).flat_map(|(re, im)| [re, im].concat()).collect();
        params.write(&mut store, ours, &Tensor::f64(shape, joined))?;
    }
    let plan = device.plan(&g, Options::default())?;
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    let from_one =
        |name: &str| -> Result<Vec<u32>, Failed> { Ok(f.ids(name)?.as_u32().iter().map(|x| x + 1).collect()) };
    runner.write("history", &f.ids("in.ids")?)?;
    runner.write_u32("behaviours", &from_one("in.behs")?)?;
    runner.write_u32("recency", &(0..b * m).map(|at| (m - at % m) as u32).collect::<Vec<_>>())?;
    runner.write("positive", &f.ids("in.pos_item")?)?;
    runner.write_u32("negative", f.ids("in.neg_item")?.as_u32())?;
    runner.write_u32("positive_behaviour", &from_one("in.pos_beh")?)?;
    runner.write_u32("negative_behaviour", &from_one("in.neg_beh")?)?;
    runner.write_f32("weight", &vec![1.0; b])?;
    runner.run()?;
    for name in ["hidden", "user", "item_margin", "beh_margin", "loss"] {
        f.judge(&format!("out.{name}"), &runner.read(name)?)?;
    }
    let parts = halves.iter().flat_map(|(theirs, ..)| ["r", "i"].map(|part| format!("{theirs}{part}")));
    for name in same.iter().map(|(theirs, _)| theirs.to_string()).chain(parts).chain(["beh".to_string()]) {
        let name = format!("g.{name}");
        f.judge_gradient(&name, &runner.read(&name)?)?;
    }
    Ok(())
}

/// The compactness as it is printed: added, of rows as they are, summed over users.
fn prompt_factor_gate(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let number = |name: &str| Ok::<f64, Failed>(f.get(name)?.to_f64()[0]);
    let [b, m, d] = f.dims("in.Q")?;
    let [layers, tokens, ..] = f.dims::<4>("p.Wlc")?;
    let n = number("in.N")? as usize;
    let names = ["W", "Wl", "Wlc"];
    let states = parameters(f, &names)?;
    let g = Graph::new();
    let params: Vec<Var> = states.iter().map(|(n, t)| g.state(n, n, 0, Spec::f32(t.shape.clone()))).collect();
    let [shares, e] =
        prompt::factors(g.input("Q", Spec::f32([b, m, d])), params[0].reshape([(layers + 1) * n * m, m * d]));
    let shared = e.slice(1, layers * n, n);
    let (mut betas, mut prompts, mut all_tokens) = (vec![], vec![], vec![]);
    for l in 0..layers {
        let phi = g.concat(1, &[e.slice(1, l * n, n), shared]);
        let [beta, p] = prompt::gate(phi, params[1].slice(0, l, 1).reshape([2 * n, 2 * n * d]));
        let of_layer = prompt::tokens(p, params[2].slice(0, l, 1).reshape([tokens * d, d]));
        betas.push(beta.reshape([b, 1, 2 * n]));
        prompts.push(p.reshape([b, 1, d]));
        all_tokens.push(of_layer.reshape([b, 1, tokens, d]));
    }
    let [beta, p, tokens] = [betas, prompts, all_tokens].map(|parts| g.concat(1, &parts));
    let (lambda_e, lambda_p) = (number("in.lam_e")?, number("in.lam_p")?);
    let config = PromptConfig {
        factors: n,
        compactness: lambda_e,
        prompt_weight: lambda_p / lambda_e,
        factor_epsilon2: number("in.eps2_e")?,
        prompt_epsilon2: number("in.eps2_p")?,
        normalise: false,
        minimise: true,
        ..PromptConfig::default()
    };
    let compact = compactness(&config, e, p).scale(config.weight()).sum_all();
    let cot = f.get("in.cot")?;
    let loss = compact + (tokens * g.input("cot", Spec::f32(cot.shape.clone()))).sum_all();
    let rates =
        [coding_rate(e, n as f64, config.factor_epsilon2), coding_rate(p, layers as f64, config.prompt_epsilon2)];
    let results = [("A", shares), ("E", e), ("beta", beta), ("P", p), ("prompts", tokens), ("compactness", compact)];
    let results = [&results[..], &[("R_e", rates[0]), ("R_p", rates[1]), ("loss", loss)]].concat();
    results.iter().for_each(|(name, var)| g.result(name, *var));
    for ((name, gradient), var) in names.iter().zip(g.gradients(loss, &params)?).zip(&params) {
        g.result(&format!("g.{name}"), gradient.dense(*var));
    }
    let got = run(&g, device, &states, &[("Q", f.get("in.Q")?), ("cot", cot)])?;
    for (name, _) in results {
        f.judge(&format!("out.{name}"), &got[name])?;
    }
    names.iter().try_for_each(|name| f.judge_gradient(&format!("g.{name}"), &got[&format!("g.{name}")]))
}

fn metrics(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let [b, w] = f.dims("scores")?;
    let g = Graph::new();
    let scores = g.input("scores", Spec::f32([b, w]));
    let ids = g.input("ids", Spec::u32([w]));
    let target = g.push(Pick, &[scores, ids, g.input("target", Spec::u32([b]))]);
    let (offsets, items) = (g.input("offsets", Spec::u32([b + 1])), g.input("items", Spec::u32([b])));
    g.result("counts", g.push(Rank, &[scores, ids, target, offsets, items]));
    let u = |values: Vec<u32>| Tensor::u32([values.len()], values);
    let inputs = [
        ("scores", f.get("scores")?),
        ("ids", u((1..=w as u32).collect())),
        ("target", u(vec![1; b])),
        ("offsets", u((0..=b as u32).collect())),
        ("items", u(vec![1; b])),
    ];
    let results = run(&g, device, &[], &inputs)?;
    let counts = results["counts"].as_u32().chunks(Rank::COUNTS);
    for (name, rule) in
        [("mean", TieRule::Average), ("optimistic", TieRule::Optimistic), ("pessimistic", TieRule::Pessimistic)]
    {
        let ranks: Vec<f64> = counts.clone().map(|c| rule.rank(c[0], c[1])).collect();
        f.judge(&format!("rank_{name}"), &Tensor::f64([b], ranks.clone()))?;
        for metric in Metric::REPORTED {
            let name = format!("{metric}_{name}");
            if f.has(&name) {
                f.judge(&name, &Tensor::f64([1], vec![metric.mean(&ranks)]))?;
            }
        }
    }
    Ok(())
}
