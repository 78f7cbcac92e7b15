//! Reference values of several tasks on one network: experts with a gate for each, and weights of their gradients.

use crate::golden::{Fixture, inputs};
use crate::golden_opponents::{POST, Piece, block, compare, norm};
use crate::golden_tower::number;
use libtest_mimic::Failed;
use std::sync::Arc;
use wgrec::data::BatchSpec;
use wgrec::device::{Device, RunOptions};
use wgrec::graph::plan::Options;
use wgrec::graph::{Gradient, Graph, Step, Var};
use wgrec::kernels::adam::Settings;
use wgrec::kernels::min_norm::MinNorm;
use wgrec::models::asks::Asks;
use wgrec::models::sasrec::{Parts, Positions};
use wgrec::models::tasks::Adapter;
use wgrec::models::teracon::{Masking, Teracon, distance, retention};
use wgrec::models::{Batch, History, Inputs, Loss, LossKind, Model, Output, Padding, Task, TaskShape};
use wgrec::nn::encoder::{Encoder, Norm};
use wgrec::nn::{Init, Params, gates};
use wgrec::optim::{Adam, Tasks, Weighing};
use wgrec::tensor::{Spec, Tensor};

/// The update of [`Adam`] is by the shortest mean of the tasks' gradients.
pub fn min_norm(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let [cases, t, n] = f.dims("in.grads")?;
    let mut params = Params::new();
    params.add("theta", [n], Init::Constant(0.0));
    let all = (0..t).map(|task| (task.to_string(), vec!["theta".to_string()])).collect();
    // The first moment is then the gradient.
    let settings = Settings { beta1: 0.0, ..Settings::default() };
    let adam = Adam { settings, tasks: Some(Tasks { all, weighing: Weighing::MinNorm }), ..Adam::default() };
    let states = [params.states(), adam.states(&params), adam.sums(&params)].concat();
    let mut store = device.store(&states)?;
    params.initialise(&mut store, 1)?;
    let mut runners = vec![];
    for task in 0..t {
        let g = Graph::new();
        let loss = (params.var(&g, "theta") * g.input("gradient", Spec::f32([n]))).sum_all();
        adam.add(loss, g.scalar(1.0), &params, task)?;
        runners.push(device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?);
    }
    let g = Graph::new();
    g.result("weights", adam.apply(&g, &params)?.weights.ok_or("no weights")?);
    let mut update = device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?;

    let (grads, gram, theirs) =
        (f.get("in.grads")?.to_f64(), f.get("in.gram")?.to_f64(), f.get("out.weights")?.to_f64());
    let norms = f.get("out.norm2")?.to_f64();
    let (mut weights, mut combined) = (vec![], vec![]);
    for case in 0..cases {
        for (task, runner) in runners.iter_mut().enumerate() {
            let gradient = grads[(case * t + task) * n..][..n].to_vec();
            runner.write("gradient", &Tensor::f64([n], gradient))?;
            runner.write(Step::NAME, &Step::at(1, 0, 0.0, adam.settings.betas()).tensor())?;
            runner.run()?;
        }
        update.write(Step::NAME, &Step::at(1, 0, 0.0, adam.settings.betas()).tensor())?;
        update.run()?;
        let (own, mean) = (update.read("weights")?.to_f64(), store.read("m.dense", 0, &Spec::f32([n]))?.to_f64());
        let diagonal = (0..t).map(|i| gram[(case * t + i) * t + i]).sum::<f64>() / t as f64;
        let (norm, want) = (mean.iter().map(|x| x * x).sum::<f64>(), norms[case]);
        if (norm - want).abs() > 1e-6 * diagonal {
            return Err(format!("case {case}: |combined|^2 is {norm}, expected {want}").into());
        }
        if own.iter().any(|a| !(0.0..=1.0 + 1e-6).contains(a)) || (own.iter().sum::<f64>() - 1.0).abs() > 1e-5 {
            return Err(format!("case {case}: {own:?} are no weights of a mean").into());
        }
        // Equal gradients have no weights of their own.
        let equal = f.meta["cases"][case] == "equal";
        weights.extend(if equal { theirs[case * t..][..t].to_vec() } else { own });
        combined.extend(mean);
    }
    f.judge("out.weights", &Tensor::f64([cases, t], weights))?;
    f.judge("out.combined", &Tensor::f64([cases, n], combined))
}

/// Experts, gates and a head for each of two tasks; each task's gradients of what they share, and their weights.
pub fn experts(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let ([e, j, d], [b, _]) = (f.dims("p.We")?, f.dims("p.u")?);
    let mut params = Params::new();
    let mut pieces =
        vec![Piece::new("u", "users"), Piece::new("We", "experts.weight"), Piece::new("be", "experts.bias")];
    for (name, shape) in [("users", vec![b, d]), ("experts.weight", vec![e * j, d]), ("experts.bias", vec![e * j])] {
        params.add(name, &shape[..], Init::Constant(0.0));
    }
    for t in 0..2 {
        let [classes, _] = f.dims(&format!("p.head{t}.w"))?;
        params.add(&format!("gate.{t}"), [e, d], Init::Constant(0.0));
        params.add(&format!("head.{t}"), [classes + 1, j], Init::Constant(0.0));
        params.add(&format!("bias.{t}"), [classes + 1], Init::Constant(0.0));
        pieces.push(Piece::new(format!("Wg{t}"), format!("gate.{t}")));
        // Class 0 is padding, which they do not have.
        pieces.push(Piece { before: j, ..Piece::new(format!("head{t}.w"), format!("head.{t}")) });
        pieces.push(Piece { before: 1, ..Piece::new(format!("head{t}.b"), format!("bias.{t}")) });
    }

    let g = Graph::new();
    let (ids, weight) = (g.input("ids", Spec::u32([b, 1])), g.input("weight", Spec::f32([b])));
    let shared = ["users", "experts.weight", "experts.bias"].map(|name| params.var(&g, name));
    let [users, all, bias] = shared;
    let outputs_of_experts = gates::experts(users, all, bias, e);
    let mut outputs = vec![("experts".to_string(), outputs_of_experts)];
    let mut losses: Vec<Var> = vec![];
    let mut flat: Vec<Var> = vec![];
    for t in 0..2 {
        let [gate, head, bias] = ["gate", "head", "bias"].map(|name| params.var(&g, &format!("{name}.{t}")));
        let [shares, mixed] = gates::mixed(users, outputs_of_experts, gate);
        let classes = head.shape()[0] - 1;
        let logits = mixed.matmul_t(head.slice(0, 1, classes)) + bias.slice(0, 1, classes).reshape([1, classes]);
        let positive = g.input(&format!("label{t}"), Spec::u32([b]));
        let batch = Batch {
            inputs: Inputs::default(),
            history: History::new(ids, ids),
            views: None,
            positive,
            weight,
            negative: None,
        };
        let output = Output { table: head, bias: Some(bias), classes: 1..classes + 1, cosine: false };
        let loss = Loss { kind: LossKind::Softmax, ..Loss::default() }.of_products(mixed, &output, &batch);
        let gradients = g.gradients(loss, &shared)?;
        let dense: Vec<Var> =
            gradients.iter().zip(shared).map(|(gradient, of): (&Gradient, Var)| gradient.dense(of)).collect();
        for (name, gradient) in ["u", "We", "be"].into_iter().zip(&dense) {
            outputs.push((format!("grad{t}.{name}"), *gradient));
        }
        let parts: Vec<Var> = dense.iter().map(|part| part.reshape([1, part.shape().elements()])).collect();
        flat.push(g.concat(1, &parts));
        let of_task = [("gate", shares), ("mixed", mixed), ("logits", logits), ("ce", loss)];
        outputs.extend(of_task.map(|(name, value)| (format!("{name}{t}"), value)));
        losses.push(loss);
    }
    let flat = g.concat(0, &flat);
    let gram = flat.matmul_t(flat);
    outputs.push(("gram".into(), gram));
    outputs.push(("mgda".into(), g.try_push(MinNorm, &[gram])?[0]));
    outputs.push(("loss".into(), losses[0] + losses[1]));

    let labels =
        |t: usize| Ok::<_, Failed>(f.ids(&format!("in.label{t}"))?.as_u32().iter().map(|label| label + 1).collect());
    let given = [
        ("weight", Tensor::f32([b], vec![1.0; b])),
        ("label0", Tensor::u32([b], labels(0)?)),
        ("label1", Tensor::u32([b], labels(1)?)),
    ];
    compare(f, device, &params, &pieces, &outputs, &given)
}

/// Masks \[d\] one below the other.
fn stacked<'g>(masks: &[Var<'g>]) -> Var<'g> {
    let rows: Vec<Var> = masks.iter().map(|mask| mask.reshape([1, mask.shape()[0]])).collect();
    masks[0].graph().concat(0, &rows)
}

/// TERACON's newest of T tasks: masks, its loss, and what it retains of the others, all of them of classes.
pub fn masks(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let ([b, m], [rows, dim], [tasks, _]) = (f.dims("in.ids")?, f.dims("p.item")?, f.dims("p.te0a")?);
    let ([inner, _], count) =
        (f.dims("p.l0.w1")?, |name: &str| Ok::<_, Failed>(number(f, &format!("in.{name}"))? as usize));
    let layers = count("L")?;
    let encoder = Encoder::new(Norm::Post, true, (dim, layers, count("H")?), Some(inner), 0.0)?;
    let parts = Parts { items: rows - 1, max_len: m, encoder, positions: Positions::All, behaviours: 0, hides: false };
    let shape = |task: usize| {
        let [classes, _] = f.dims(&format!("p.head{task}.w"))?;
        Ok::<_, Failed>(TaskShape { name: task.to_string(), classes, categories: Arc::default() })
    };
    let learned = (0..tasks).map(shape).collect::<Result<Vec<_>, _>>()?;
    let newest = tasks - 1;
    let asks = Asks::new(&Task { items: rows - 1, ..Task::default() }, Adapter::Linear).named().of(&learned[newest]);
    let masking = Masking { retention: number(f, "in.alpha")?, mask_scale: number(f, "in.smax")? };
    let model = Teracon::new(parts, Padding::Right, Params::new(), asks, &learned, masking);

    let mut pieces = vec![];
    for (theirs, ours, known) in [("", "", tasks), ("in.old.", "former.", newest)] {
        pieces.push(Piece::new(format!("{theirs}item"), format!("{ours}item_embedding")));
        pieces.push(Piece::new(format!("{theirs}pos"), format!("{ours}position_embedding")));
        pieces.extend(norm(&format!("{theirs}ln0"), &format!("{ours}encoder.embedding_norm")));
        for l in 0..layers {
            pieces.extend(block(&format!("{theirs}l{l}"), &format!("{ours}encoder.{l}"), &POST));
        }
        for (l, half) in (0..layers).flat_map(|l| [(l, ("a", "attention")), (l, ("f", "feed_forward"))]) {
            let ((short, long), width) = (half, 2 * known - 1);
            for task in 0..known {
                let piece = |theirs_of: String, what: &str, at: usize| {
                    let ours = format!("{ours}masks.{l}.{long}.{what}.{task}");
                    Piece { at, ..Piece::new(format!("{theirs}{theirs_of}"), ours) }
                };
                pieces.push(piece(format!("te{l}{short}"), "embedding", task * dim));
                if known > 1 {
                    pieces.push(piece(format!("mlp{l}{short}.w"), "weight", task * width));
                    pieces.push(piece(format!("mlp{l}{short}.b"), "bias", task));
                }
            }
        }
        for task in 0..known {
            // Class 0 is padding, which they do not have.
            let adapter = |part: &str| format!("{ours}adapter.{task}.{part}");
            pieces.push(Piece { before: dim, ..Piece::new(format!("{theirs}head{task}.w"), adapter("weight")) });
            let bias =
                Piece { before: 1, transposed: true, ..Piece::new(format!("{theirs}head{task}.b"), adapter("bias")) };
            pieces.push(bias);
        }
    }

    let g = Graph::new();
    let batch = Batch::of(inputs(
        &g,
        &BatchSpec { batch: b, max_len: m, negatives: None, padding: Padding::Right, ..BatchSpec::default() },
    ));
    let s = g.input("s", Spec::f32([1]));
    let own = model.masks(&g, false, newest, s);
    let users = model.user_by(&g, &batch.history, false, newest, &own);
    let output = model.output(&g).expect("classes are scored by products");
    let ce = Loss { kind: LossKind::Softmax, ..Loss::default() }.of_products(users, &output, &batch);
    let retained = model.retained(&g, &batch.history, s, &own);
    let progress = g.input("progress", Spec::f32([1]));
    let annealed = model.scale(&g, &History { progress: Some(progress), ..batch.history });
    let at_end = model.masks(&g, false, newest, model.scale(&g, &batch.history));
    let mut outputs = vec![
        ("masks_new".to_string(), stacked(&own)),
        ("masks_new_smax".into(), stacked(&at_end)),
        ("user".into(), users),
        ("logits".into(), model.outputs(&g, users, false, newest)),
        ("ce".into(), ce),
        ("s_annealed".into(), annealed.reshape([])),
    ];
    let mut distances = vec![];
    for (task, of) in retained.iter().enumerate() {
        let kept = f.ids(&format!("in.keep{task}"))?;
        let mut marks = vec![0.0; b];
        kept.as_u32().iter().for_each(|&user| marks[user as usize] = 1.0);
        distances.push(distance(of, g.constant(Tensor::f32([b], marks))).reshape([1]));
        // The rows of those that are kept.
        let n = kept.as_u32().len();
        let chosen = (0..n * b).map(|e| (kept.as_u32()[e / b] as usize == e % b) as u32 as f32).collect();
        let chosen = g.constant(Tensor::f32([n, b], chosen));
        for (name, masks) in ["old", "cur"].into_iter().zip(&of.masks) {
            outputs.push((format!("masks_{name}{task}"), stacked(masks)));
        }
        for (name, scores) in ["pseudo", "student"].into_iter().zip(of.outputs) {
            outputs.push((format!("{name}{task}"), chosen.matmul(scores)));
        }
    }
    let shares: Vec<Var> = retained.iter().map(|of| of.share.reshape([1])).collect();
    // They are given here: what was drawn before.
    let given = f.get("in.share")?.to_f64();
    let fixed: Vec<Var> = given.iter().map(|share| g.scalar(*share)).collect();
    let term = retention(&fixed, &distances).reshape([]);
    outputs.push(("mse".into(), g.concat(0, &distances)));
    outputs.push(("next_share".into(), g.concat(0, &shares)));
    outputs.push(("retention".into(), term));
    outputs.push(("loss".into(), ce + term.scale(masking.retention)));

    let lengths = f.ids("in.lengths")?;
    let recency = (0..b * m).map(|at| lengths.as_u32()[at / m].saturating_sub((at % m) as u32)).collect();
    let labels = f.ids("in.label")?.as_u32().iter().map(|label| label + 1).collect();
    let inputs = [
        ("history", f.ids("in.ids")?),
        ("recency", Tensor::u32([b, m], recency)),
        ("positive", Tensor::u32([b], labels)),
        ("weight", Tensor::f32([b], vec![1.0; b])),
        ("s", Tensor::f64([1], vec![number(f, "in.s")?])),
        ("progress", Tensor::f64([1], vec![number(f, "in.batch")? / number(f, "in.batches")?])),
    ];
    compare(f, device, model.params(), &pieces, &outputs, &inputs)
}
