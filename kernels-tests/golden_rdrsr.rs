//! Reference values of RDRSR: a batch played through, by the fused roll-out and by one that is unrolled; ranking; the estimator of the
//! policy's gradient against all sequences of actions.

use crate::golden::Fixture;
use libtest_mimic::Failed;
use std::collections::BTreeMap;
use wgrec::device::{Device, RunOptions, Runner, Store};
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Step, Var};
use wgrec::models::rdrsr::allocator::{Actions, Episode, Start};
use wgrec::models::rdrsr::{Number, Played, Ranking, Rdrsr, Settings};
use wgrec::models::{Batch, Candidates, History, Inputs, Loss, LossKind, Model, Task};
use wgrec::tensor::{Spec, Tensor};

/// Of parameters, in the file and ours; whether ours is the transposed. Ours lacks the bias `bf`, which cancels in a softmax.
const NAMES: [(&str, &str, bool); 19] = [
    ("item", "item_embedding", false),
    ("user", "user_embedding", false),
    ("pos", "position_embedding", false),
    ("wq", "events.query.weight", true),
    ("wkey", "events.key.weight", true),
    ("wv", "events.value.weight", true),
    ("w1", "events.0.weight", true),
    ("b1", "events.0.bias", false),
    ("w2", "events.1.weight", true),
    ("b2", "events.1.bias", false),
    ("wf1", "discriminator.event.weight", true),
    ("wu", "discriminator.user.weight", true),
    ("wf2", "discriminator.share.weight", true),
    ("wk", "discriminator.number.weight", false),
    ("w0", "policy.state.weight", true),
    ("wp1", "policy.0.weight", true),
    ("bp1", "policy.0.bias", false),
    ("wp2", "policy.1.weight", true),
    ("bp2", "policy.1.bias", false),
];

/// A model with the file's parameters.
struct Subject<'a> {
    f: &'a Fixture,
    model: Rdrsr,
    device: &'a Device,
    store: Store,
    /// Items of a window.
    max_len: usize,
    /// \[B, M\], as the file calls it.
    ids: &'static str,
}

/// What a graph of a subject reads: histories, targets and negatives, and whose they are.
struct Given<'g> {
    batch: Batch<'g>,
    /// Gumbel noise of the number.
    number: Option<Var<'g>>,
}

impl<'a> Subject<'a> {
    fn new(
        f: &'a Fixture,
        device: &'a Device,
        ids: &'static str,
        change: impl Fn(&mut Settings),
    ) -> Result<Subject<'a>, Failed> {
        let ([items, dim], [users, _], [interests, _]) = (f.dims("p.item")?, f.dims("p.user")?, f.dims("p.wk")?);
        let ([policy_dim, _], [_, max_len]) = (f.dims("p.wp2")?, f.dims(ids)?);
        let one = |name: &str| f.get(name).map(|t| t.to_f64()[0]);
        let temperature = one("in.temp")?;
        let mut settings = Settings { dim, interests, policy_dim, temperature, ..Settings::default() };
        if f.has("in.lam_o") {
            settings.orthogonality = one("in.lam_o")?;
        }
        if f.has("in.beta") {
            settings.policy_weight = one("in.beta")?;
        }
        change(&mut settings);
        let model = Rdrsr::new(settings, &Task { users, items: items - 1, max_len, ..Task::default() })?;
        let mut store = device.store(&model.params().states())?;
        for (theirs, ours, transposed) in NAMES {
            model.params().write(
                &mut store,
                ours,
                &ours_of(theirs, &f.get(&format!("p.{theirs}"))?, transposed, max_len),
            )?;
        }
        Ok(Subject { f, model, device, store, max_len, ids })
    }

    fn column(&self, name: &str) -> Result<Tensor, Failed> {
        self.f.ids(name)
    }

    fn given<'g>(&self, g: &'g Graph) -> Result<Given<'g>, Failed> {
        let [b, m] = self.f.dims(self.ids)?;
        let ids = |name: &str, shape: &[usize]| g.input(name, Spec::u32(shape));
        let history = History {
            users: Some(ids("users", &[b])),
            training: true,
            ..History::new(ids("history", &[b, m]), ids("recency", &[b, m]))
        };
        let (n, positive) = (self.f.dims::<2>("in.cands").map_or(1, |[_, n]| n - 1), ids("positive", &[b]));
        let (negative, weight) = (Some(ids("negative", &[b, n])), g.constant(Tensor::f32([b], vec![1.0; b])));
        let batch = Batch { inputs: Inputs::default(), history, views: None, positive, weight, negative };
        let number = match self.f.has("in.u01") {
            false => None,
            true => {
                let u = self.f.get("in.u01")?;
                let noise = u.to_f64().into_iter().map(|u| -(-u.ln()).ln());
                Some(g.constant(Tensor::f64(u.shape.clone(), noise.collect())))
            }
        };
        Ok(Given { batch, number })
    }

    fn compile(&self, g: &Graph, results: &[(String, Var)]) -> Result<Runner, Failed> {
        results.iter().for_each(|(name, var)| g.result(name, *var));
        let plan = self.device.plan(g, Options::default())?;
        let mut runner = self.device.compile(&plan, &self.store, RunOptions::default())?;
        let history = self.column(self.ids)?;
        let [b, m] = self.f.dims(self.ids)?;
        let recency = history.as_u32().iter().enumerate().map(|(at, &i)| if i == 0 { 0 } else { (m - at % m) as u32 });
        // Number 0 is an unknown user here.
        let users: Vec<u32> = self.column("in.user")?.as_u32().iter().map(|user| user + 1).collect();
        let mut write = |name: &str, values: Vec<u32>| match plan.inputs.iter().any(|(input, _)| input == name) {
            true => runner.write_u32(name, &values),
            false => Ok(()),
        };
        write("history", history.as_u32().to_vec())?;
        write("recency", recency.collect())?;
        write("users", users)?;
        if self.f.has("in.cands") {
            let candidates = self.column("in.cands")?;
            let n = candidates.shape[1];
            write("positive", (0..b).map(|row| candidates.as_u32()[row * n]).collect())?;
            write("negative", candidates.as_u32().chunks(n).flat_map(|row| row[1..].to_vec()).collect())?;
        }
        Ok(runner)
    }

    /// The gradients of `loss`, as results.
    fn gradients<'g>(&self, g: &'g Graph, loss: Var<'g>) -> Result<Vec<(String, Var<'g>)>, Failed> {
        let params: Vec<Var> = NAMES.iter().map(|(_, ours, _)| self.model.params().var(g, ours)).collect();
        let all = g.gradients(loss, &params)?.into_iter().zip(&params).zip(NAMES);
        Ok(all.map(|((gradient, x), (theirs, ..))| (format!("g.{theirs}"), gradient.dense(*x))).collect())
    }

    /// A gradient as the file has it: of what it calls `theirs`.
    fn theirs(&self, theirs: &str, got: &Tensor) -> Result<Tensor, Failed> {
        let transposed = NAMES.iter().any(|(name, _, transposed)| *name == theirs && *transposed);
        let shape = self.f.get(&format!("p.{theirs}"))?.shape;
        let got = if transposed { flipped(got) } else { got.clone() };
        let values = got.to_f64();
        let (n, d) = (shape.elements(), shape.last_dim());
        Ok(Tensor::f64(
            shape,
            match theirs {
                // Without the row of unknown users, which has no gradient.
                "user" => values[d..].to_vec(),
                // Places count from the right.
                "pos" => [vec![0.0; n - values.len()], values].concat(),
                _ => values,
            },
        ))
    }
}

fn ours_of(theirs: &str, t: &Tensor, transposed: bool, max_len: usize) -> Tensor {
    let (values, d) = (t.to_f64(), t.shape.last_dim());
    match theirs {
        "user" => Tensor::f64([t.shape[0] + 1, d], [vec![7.7; d], values].concat()),
        "pos" => Tensor::f64([max_len, d], values[values.len() - max_len * d..].to_vec()),
        _ if transposed => flipped(t),
        _ => t.clone(),
    }
}

fn flipped(t: &Tensor) -> Tensor {
    let (values, [m, n]) = (t.to_f64(), [t.shape[0], t.shape[1]]);
    Tensor::f64([n, m], (0..m * n).map(|i| values[i % m * n + i / m]).collect())
}

/// Noise by which the file's actions are taken, \[B, M + 1, k\]; those of a user count among as many interests as it has.
fn forced(f: &Fixture, actions: &[f64], [b, m, k]: [usize; 3]) -> Result<Tensor, Failed> {
    let (h, theirs) = (f.get(if f.has("in.h") { "in.h" } else { "out.h" })?.to_f64(), actions.len() / b);
    let value = |i: usize| {
        let (row, step, interest) = (i / ((m + 1) * k), i / k % (m + 1), i % k);
        // A wider window has padding in front.
        let action = (step + theirs).checked_sub(m + 1).map_or(0.0, |at| actions[row * theirs + at]);
        if action % h[row] == interest as f64 { 1e4 } else { 0.0 }
    };
    Ok(Tensor::f32([b, m + 1, k], (0..b * (m + 1) * k).map(value).collect()))
}

/// An episode as it is printed, in nodes of its own for each step: the interests are carried on, and nothing is folded.
fn unrolled<'g>(model: &Rdrsr, g: &'g Graph, start: &Start<'g>, target: Var<'g>, actions: Var<'g>) -> Episode<'g> {
    let var = |name: &str| model.params().var(g, &format!("policy.{name}"));
    let [b, m, d] = [0, 1, 2].map(|axis| start.events.shape()[axis]);
    let k = start.used.shape()[1];
    let used = start.used.reshape([b, k, 1]);
    let mut interests = start.user.reshape([b, 1, d]).expand([b, k, d]) * used;
    let mut log_probability = g.constant(Tensor::f32([b], vec![0.0; b]));
    let linear = |x: Var<'g>, weight: Var<'g>, bias: Option<Var<'g>>| match bias {
        Some(bias) => x.matmul_t(weight) + bias,
        None => x.matmul_t(weight),
    };
    for t in 0..=m {
        let event = if t < m { start.events.slice(1, t, 1).reshape([b, d]) } else { target };
        let real = match t < m {
            true => start.items.slice(1, t, 1).nonzero(),
            false => g.constant(Tensor::f32([b, 1], vec![1.0; b])),
        };
        let products =
            (interests * event.reshape([b, 1, d])).sum(2) - (used.constant_like(1.0) - start.used).scale(1e4);
        let shares = products.softmax(1, None);
        let sum = (interests * shares.reshape([b, k, 1])).sum(1);
        let state = linear(g.concat(1, &[sum, event, start.number]), var("state.weight"), None);
        let hidden = linear(state, var("0.weight"), Some(var("0.bias"))).relu();
        let logits =
            linear(hidden, var("1.weight"), Some(var("1.bias"))) - (used.constant_like(1.0) - start.used).scale(1e4);
        let logs = logits - logits.exp().sum(1).log().reshape([b, 1]);
        let action = actions.slice(1, t, 1).reshape([b, k]);
        log_probability = log_probability + (logs * action).sum(1) * real.reshape([b]);
        if t < m {
            let moved = (action * real).reshape([b, k, 1]);
            interests = interests + moved * (event.reshape([b, 1, d]) - interests).scale(0.5);
        }
    }
    Episode { interests, values: interests, actions, log_probability, entropy: log_probability }
}

/// The loss of a batch, equation 24.
fn loss<'g>(model: &Rdrsr, g: &'g Graph, played: &Played<'g>, batch: &Batch<'g>) -> Var<'g> {
    let score = |rows, candidates| model.scores(g, rows, candidates);
    let items = model.item_table(g).shape()[0] - 1;
    let scored = wgrec::models::loss::Scored { score: &score, output: None, items, listed: None };
    let of_targets = Loss { kind: LossKind::SampledSoftmax, ..Loss::default() }.trace(played.row, &scored, batch);
    model.terms(g, played, batch.weight).into_iter().fold(of_targets, |loss, term| loss + term)
}

/// The file's batch with its noise and its actions, padded more widely too where the file has that.
pub fn played(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let windows = if f.has("in.ids_wide") { &["in.ids", "in.ids_wide"][..] } else { &["in.ids"] };
    for &ids in windows {
        for fused in [true, false] {
            let form = if fused { "fused" } else { "unrolled" };
            play(&Subject::new(f, device, ids, |_| {})?, fused)
                .map_err(|e| format!("{ids}, {form}: {}", e.message().unwrap_or("failed")))?;
        }
    }
    reinforced(f, device)?;
    straight_through(f, device)
}

/// A model of other settings on the file's batch, with its noise and actions; what `results` asks of it.
fn other(
    f: &Fixture,
    device: &Device,
    change: impl Fn(&mut Settings),
    results: impl for<'g> Fn(&Subject, &'g Graph, &Played<'g>, &Batch<'g>) -> Result<Vec<Var<'g>>, Failed>,
) -> Result<Vec<Vec<f64>>, Failed> {
    let (subject, g) = (Subject::new(f, device, "in.ids", change)?, Graph::new());
    let Given { batch, number } = subject.given(&g)?;
    let [b, k] = f.dims("out.f")?;
    let noise = g.constant(forced(f, &f.get("in.actions")?.to_f64(), [b, subject.max_len, k])?);
    let played = subject.model.play(&g, &batch, number, Actions::By(noise));
    let results = results(&subject, &g, &played, &batch)?;
    let results: Vec<_> = results.into_iter().enumerate().map(|(i, var)| (i.to_string(), var)).collect();
    let mut runner = subject.compile(&g, &results)?;
    runner.run()?;
    results.iter().map(|(name, _)| Ok(runner.read(name)?.to_f64())).collect()
}

fn close(what: &str, got: f64, want: f64) -> Result<(), Failed> {
    let close = (got - want).abs() <= 1e-5 + 1e-4 * want.abs();
    if close { Ok(()) } else { Err(format!("{what}: got {got}, want {want}").into()) }
}

/// The number's own reward is added to equation 22, and all rewards are scaled.
fn reinforced(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let change = |settings: &mut Settings| (settings.number, settings.reward_scale) = (Number::Reinforced, 3.0);
    let got = other(f, device, change, |subject, g, played, batch| {
        Ok(vec![subject.model.terms(g, played, batch.weight)[0]])
    })?;
    let [logp, r, share, h] = ["out.logp", "out.R", "out.R_c", "out.h"].map(|name| f.get(name).map(|t| t.to_f64()));
    let ([logp, r, share, h], [b, k], probabilities) =
        ([logp?, r?, share?, h?], f.dims::<2>("out.f")?, f.get("out.f")?.to_f64());
    let mean = share.iter().sum::<f64>() / b as f64;
    let gain =
        |row: usize| logp[row] * r[row] + probabilities[row * k + h[row] as usize - 1].ln() * (share[row] - mean);
    close("the reinforced loss", got[0][0], -3.0 * (0..b).map(gain).sum::<f64>() / b as f64)
}

/// The policy sees the number that was drawn, with the gradient of the Gumbel softmax.
fn straight_through(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let of = |number: Number| {
        other(
            f,
            device,
            |settings| settings.number = number,
            |subject, g, played, _| {
                let (state, by) =
                    (played.discriminated.state, subject.model.params().var(g, "discriminator.number.weight"));
                let weighted = (0..state.shape().elements()).map(|i| (i as f32).sin()).collect();
                let loss = (state * g.constant(Tensor::f32(state.shape(), weighted))).sum_all();
                let gradient = g.gradients(loss, &[by])?.swap_remove(0).dense(by);
                Ok(vec![state, played.discriminated.number, gradient])
            },
        )
    };
    let (soft, hard) = (of(Number::Printed)?, of(Number::StraightThrough)?);
    hard[0].iter().zip(&hard[1]).try_for_each(|(&state, &number)| close("the state", state, number))?;
    soft[2].iter().zip(&hard[2]).try_for_each(|(&soft, &hard)| close("the gradient", hard, soft))?;
    if soft[0] == hard[0] { Err("the state is the soft one".into()) } else { Ok(()) }
}

fn play(subject: &Subject, fused: bool) -> Result<(), Failed> {
    let Subject { f, model, max_len: m, .. } = subject;
    let g = Graph::new();
    let Given { batch, number } = subject.given(&g)?;
    let [b, k] = f.dims("out.f")?;
    let noise = g.constant(forced(f, &f.get("in.actions")?.to_f64(), [b, *m, k])?);
    let played = match fused {
        true => model.play(&g, &batch, number, Actions::By(noise)),
        false => {
            let taken = g.constant(Tensor::f32(
                [b, m + 1, k],
                forced(f, &f.get("in.actions")?.to_f64(), [b, *m, k])?.to_f32().iter().map(|x| x / 1e4).collect(),
            ));
            let target = model.item_table(&g).gather(batch.positive);
            let (start, discriminated) = model.start(&g, &batch.history, number);
            let episode = unrolled(model, &g, &start, target, taken);
            model.judge(&g, &batch, (start, discriminated), episode, target)
        }
    };
    let loss = loss(model, &g, &played, &batch);
    let theirs = f.dims::<3>("out.F")?[1];
    let logs = played.discriminated.logs.ok_or("the number is drawn")?;
    let numbers = g.constant(Tensor::f32([1, k], (1..=k).map(|h| h as f32).collect()));
    let mut results = vec![
        ("out.F".to_string(), played.events.slice(1, m - theirs, theirs)),
        ("out.f".into(), logs.exp()),
        ("out.h".into(), (played.discriminated.number * numbers).sum(1)),
        ("out.z".into(), played.discriminated.state),
        ("out.target_interest".into(), played.row),
        ("out.logp".into(), played.episode.log_probability),
        ("out.R_c".into(), played.rewards.chosen),
        ("out.R_b".into(), played.rewards.mean),
        ("out.R_o".into(), played.rewards.orthogonal),
        ("out.R".into(), played.rewards.total),
        ("out.loss".into(), loss),
    ];
    if f.has("out.interests") {
        results.push(("out.interests".into(), played.episode.interests));
    }
    let outputs = results.len();
    results.extend(subject.gradients(&g, loss)?);
    let mut runner = subject.compile(&g, &results)?;
    runner.run()?;
    results[..outputs].iter().try_for_each(|(name, _)| f.judge(name, &runner.read(name)?))?;
    NAMES.iter().try_for_each(|(theirs, ..)| {
        let name = format!("g.{theirs}");
        f.judge_gradient(&name, &subject.theirs(theirs, &runner.read(&name)?)?)
    })
}

/// Greedy ranking of all items: by each of its scores, of a tile and of listed items.
pub fn ranked(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let rankings =
        [(Ranking::Share, "score_eq13"), (Ranking::Product, "score_raw"), (Ranking::Largest, "score_largest")];
    for (ranking, score) in rankings {
        let subject = Subject::new(f, device, "in.ids", |settings| settings.ranking = ranking)?;
        let (model, g) = (&subject.model, Graph::new());
        let Given { batch, .. } = subject.given(&g)?;
        let ([b, m], [n, _]) = (f.dims::<2>("in.ids")?, f.dims::<2>("p.item")?);
        let history = History { training: false, ..batch.history };
        let (users, all) = (model.user(&g, &history), (0..n as u32).collect::<Vec<_>>());
        let (shared, listed) =
            (g.constant(Tensor::u32([n], all.clone())), g.constant(Tensor::u32([b, n], all.repeat(b))));
        let shown = model.shown(&g, &history).ok_or("interests are shown")?;
        let k = shown.vectors.shape()[1];
        let numbers = g.constant(Tensor::f32([1, 1, k], (0..k).map(|k| k as f32).collect()));
        let actions = shown.attention.ok_or("interests take events")?;
        // Padding has -1 there.
        let actions = (actions * (numbers + g.scalar(1.0))).sum(2) - g.scalar(1.0);
        let mut results = vec![
            ("interests", shown.vectors),
            ("h", shown.used.ok_or("users differ")?.sum(1)),
            ("actions", actions.reshape([b, m])),
        ];
        if ranking != Ranking::Largest {
            results.push(("candidate_actions", (model.interest_weights(&g, users, shared) * numbers).sum(2)));
        }
        // Row 0 is no candidate.
        let scores = |candidates| model.scores(&g, users, candidates);
        results.extend([("score", scores(Candidates::Shared(shared))), ("listed", scores(Candidates::Listed(listed)))]);
        let results: Vec<_> = results.into_iter().map(|(name, var)| (format!("out.{name}"), var)).collect();
        let mut runner = subject.compile(&g, &results)?;
        runner.run()?;
        for (name, _) in &results {
            let name = if ["out.score", "out.listed"].contains(&&name[..]) {
                (name, format!("out.{score}"))
            } else {
                (name, name.clone())
            };
            f.judge(&name.1, &runner.read(name.0)?)
                .map_err(|e| format!("{score}, {}: {}", name.0, e.message().unwrap_or("failed")))?;
        }
    }
    Ok(())
}

/// The gradient of the expected reward: summed over all sequences of actions it is the file's; of sequences that the model draws, it is
/// that on average, with the file's squared error over the number of draws.
pub fn enumerated(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let subject = Subject::new(f, device, "in.ids", |_| {})?;
    let [b, sequences, steps] = f.dims("in.actions")?;
    let ([_, k], m, actions) = (f.dims::<2>("out.f")?, steps - 1, f.get("in.actions")?.to_f64());

    // -sum over rows of what each counts, times R log P, over the number of rows.
    let g = Graph::new();
    let Given { batch, number } = subject.given(&g)?;
    let played = held(&subject, &g, &batch, number, Actions::By(g.input("actions", Spec::f32([b, steps, k]))))?;
    let counted = g.input("counted", Spec::f32([b]));
    let terms = played.episode.log_probability * played.rewards.total * counted;
    let mut results = subject.gradients(&g, terms.sum(0).scale(-1.0 / b as f64))?;
    let gradients = results.len();
    results.extend([("logp".to_string(), played.episode.log_probability), ("R".into(), played.rewards.total)]);
    let mut runner = subject.compile(&g, &results)?;
    let mut sums: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let probabilities = f.get("out.prob")?.to_f64();
    for s in 0..sequences {
        let of: Vec<f64> = (0..b).flat_map(|row| actions[(row * sequences + s) * steps..][..steps].to_vec()).collect();
        runner.write("actions", &forced(f, &of, [b, m, k])?)?;
        let counted: Vec<f32> = (0..b).map(|row| probabilities[row * sequences + s] as f32).collect();
        runner.write("counted", &Tensor::f32([b], counted.clone()))?;
        runner.run()?;
        for (name, _) in &results[..gradients] {
            let got = runner.read(name)?.to_f64();
            let sum = sums.entry(name.clone()).or_insert_with(|| vec![0.0; got.len()]);
            sum.iter_mut().zip(got).for_each(|(sum, got)| *sum += got);
        }
        // Of sequences that there are, which have a probability.
        for (name, theirs) in [("logp", f.get("out.logp")?.to_f64()), ("R", f.get("in.hold.R")?.to_f64())] {
            for (row, got) in runner.read(name)?.to_f64().into_iter().enumerate().filter(|(row, _)| counted[*row] > 0.0)
            {
                let want = theirs[row * sequences + s];
                let close = (got - want).abs() <= 1e-5 + 1e-4 * want.abs();
                if !close {
                    return Err(format!("{name} of row {row}, sequence {s}: got {got}, want {want}").into());
                }
            }
        }
    }
    let shaped = |name: &str, values: &[f64]| {
        let (_, ours, _) = NAMES.iter().find(|(theirs, ..)| name == format!("g.{theirs}")).expect("one of them");
        let shape = subject.model.params().iter().find(|p| p.name == *ours).expect("one of them").shape.clone();
        subject.theirs(name.trim_start_matches("g."), &Tensor::f64(shape, values.to_vec()))
    };
    sums.iter().try_for_each(|(name, sum)| f.judge_gradient(name, &shaped(name, sum)?))?;
    estimated(&subject, f)
}

/// A batch played through by the file's numbers of interests, whatever the noise says.
fn held<'g>(
    subject: &Subject,
    g: &'g Graph,
    batch: &Batch<'g>,
    number: Option<Var<'g>>,
    actions: Actions<'g>,
) -> Result<Played<'g>, Failed> {
    let (model, [b, k]) = (&subject.model, subject.f.dims("out.f")?);
    let h = subject.f.get("in.h")?.to_f64();
    let (start, discriminated) = model.start(g, &batch.history, number);
    let used = (0..b * k).map(|i| if ((i % k) as f64) < h[i / k] { 1.0 } else { 0.0 });
    let start = Start { used: g.constant(Tensor::f32([b, k], used.collect())), ..start };
    let target = model.item_table(g).gather(batch.positive);
    let episode = model.allocator().episode(&start, Some(target), actions);
    Ok(model.judge(g, batch, (start, discriminated), episode, target))
}

/// The mean squared error of means over N drawn sequences is the variance over N.
fn estimated(subject: &Subject, f: &Fixture) -> Result<(), Failed> {
    const MEANS: u64 = 24;
    let g = Graph::new();
    let Given { batch, number } = subject.given(&g)?;
    let played = held(subject, &g, &batch, number, Actions::Drawn)?;
    let terms = subject.model.terms(&g, &played, batch.weight);
    let results = subject.gradients(&g, terms[0])?;
    let mut runner = subject.compile(&g, &results)?;
    let variance = f.get("out.est_var")?.to_f64()[0];
    let mut step = 0;
    for draws in [8, 64] {
        let mut squared = 0.0;
        for _ in 0..MEANS {
            let mut sums: Vec<Vec<f64>> = vec![vec![]; results.len()];
            for _ in 0..draws {
                runner.write(Step::NAME, &Step::at(1, step, 0.0, [0.9, 0.999]).tensor())?;
                runner.run()?;
                step += 1;
                for ((name, _), sum) in results.iter().zip(&mut sums) {
                    let got = subject.theirs(&name[2..], &runner.read(name)?)?.to_f64();
                    sum.resize(got.len(), 0.0);
                    sum.iter_mut().zip(got).for_each(|(sum, got)| *sum += got / draws as f64);
                }
            }
            for ((name, _), mean) in results.iter().zip(&sums) {
                let exact = f.get(name)?.to_f64();
                squared += mean.iter().zip(exact).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / MEANS as f64;
            }
        }
        let ratio = squared * draws as f64 / variance;
        if !(0.5..2.0).contains(&ratio) {
            return Err(
                format!("means of {draws} draws: their squared error is {ratio} of the variance over {draws}").into()
            );
        }
    }
    Ok(())
}
