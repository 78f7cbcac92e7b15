//! Every model on every device: gradients by name, the first losses, one batch overfitted, cpu and gpu alike.

use crate::harness::devices;
use libtest_mimic::{Failed, Trial};
use std::sync::Arc;
use wgrec::data::samples::{Batch, Columns, Values, hidden};
use wgrec::device::{Device, RunOptions, Store};
use wgrec::graph::plan::{Memory, Options, Plan, Planned, Slot};
use wgrec::graph::{Graph, Step};
use wgrec::kernels::elementwise::{Chain, Fun};
use wgrec::models::comirec::{self, Extraction};
use wgrec::models::cosine::Cosine;
use wgrec::models::dpcpl::MinerKind;
use wgrec::models::dpcpl::prompts::{PromptConfig, Source};
use wgrec::models::loss::log_chances;
use wgrec::models::mcprn::{self, CandidateGates};
use wgrec::models::pomrec::{PomRec, Settings, Variant};
use wgrec::models::sasrec::Positions;
use wgrec::models::sasrec::pretext::PretextTask;
use wgrec::models::{FeatureCounts, Task, bert4rec, caser, dpcpl, fmlp, gru4rec, mind, npe, sasrec, spec, stamp};
use wgrec::models::{History, Loss, LossKind, Model, Views, fpmc, hgn, miner, timirec};
use wgrec::nn::encoder::{Encoder, Norm};
use wgrec::nn::{Init, Params};
use wgrec::optim::Adam;
use wgrec::tensor::philox::Stream;
use wgrec::tensor::{DType, Spec, Tensor};
use wgrec::train::step::{Role, StepConfig, TrainStep};

// Over the 64 rows up to which a table needs no segments, and batches that tiles do not divide.
const ITEMS: usize = 90;
const B: usize = 23;
// Over the 64 rows too.
const USERS: usize = 71;
const M: usize = 7;

/// Every model and ablation that is judged, by name, and the loss that it is judged with.
type Make = fn() -> Box<dyn Model>;

fn encoder(norm: Norm, causal: bool) -> Encoder {
    let inner = Some(9);
    Encoder { eps: 1e-8, ..Encoder::new(norm, causal, (12, 2, 2), inner, 0.2).expect("heads that divide the width") }
}

const BEHAVIOURS: usize = 3;
/// Over the 64 rows up to which a table needs no segments.
const FEATURES: FeatureCounts = FeatureCounts { attributes: 2, statistics: 2, rows: 70 };

fn task() -> Task {
    Task { users: USERS, items: ITEMS, max_len: M, ..Task::default() }
}

/// Phases of a training in two, by number; an only phase has the first one's.
const PRETRAIN: usize = 0;
const TUNE: usize = 1;

/// A model by its settings, for data with this number of behaviours, in one of its phases.
fn behavioural(settings: impl spec::Settings, behaviours: usize, phase: usize) -> Box<dyn Model> {
    let phase = settings.phases(behaviours > 0).unwrap_or_else(|e| panic!("{e}")).swap_remove(phase);
    let task = Task { behaviours, target: Some(2), features: FEATURES, phase, ..task() };
    settings.build(&task).unwrap_or_else(|e| panic!("{e}"))
}

/// Small DPCPL.
fn small_dpcpl() -> dpcpl::Settings {
    let prompt = PromptConfig { tokens: 2, factors: 3, compactness: 0.01, ..PromptConfig::default() };
    dpcpl::Settings { dim: 12, heads: 2, inner: Some(9), dropout: 0.1, blocks: 3, prompt, ..Default::default() }
}

/// DPCPL in one of its phases, its settings changed.
fn dpcpl(phase: usize, change: impl FnOnce(&mut dpcpl::Settings)) -> Box<dyn Model> {
    let mut settings = small_dpcpl();
    change(&mut settings);
    behavioural(settings, BEHAVIOURS, phase)
}

/// A small TiMiRec in one of its phases, its settings changed.
fn timirec(phase: usize, change: impl FnOnce(&mut timirec::Settings)) -> Box<dyn Model> {
    let mut settings =
        timirec::Settings { dim: 12, heads: 2, attention_dim: 5, interests: 3, dropout: 0.1, ..Default::default() };
    change(&mut settings);
    behavioural(settings, 0, phase)
}

/// A small SASRec that reads behaviours.
fn mb_sasrec() -> sasrec::Settings {
    let (inner, dropout, hidden_share, behaviours) = (Some(9), 0.1, 0.4, true);
    sasrec::Settings { dim: 12, heads: 2, inner, dropout, hidden_share, behaviours, ..Default::default() }
}

/// A SASRec of several behaviours while it is pre-trained.
fn pretrained(task: PretextTask) -> Box<dyn Model> {
    let mut settings = mb_sasrec();
    settings.pretext.task = Some(task);
    behavioural(settings, BEHAVIOURS, PRETRAIN)
}

/// A small ComiRec, its settings changed.
fn comirec(change: impl FnOnce(&mut comirec::Settings)) -> Box<dyn Model> {
    let mut settings = comirec::Settings { dim: 12, interests: 3, attention_dim: 5, ..Default::default() };
    change(&mut settings);
    Box::new(comirec::ComiRec::new(settings, &task()))
}

/// A small MIND, its settings changed.
fn mind(change: impl FnOnce(&mut mind::Settings)) -> Box<dyn Model> {
    let mut settings = mind::Settings { dim: 12, interests: 3, ..Default::default() };
    change(&mut settings);
    Box::new(mind::Mind::new(settings, &task()))
}

/// The model itself, or one whose loss has the gradient that differences of it have: routing holds all rounds but the last
/// constant, so with one round. (kernels-tests/interests.rs has more rounds, golden_interests.rs whole models of them.)
fn differentiable(name: &str, make: Make) -> Make {
    match name {
        "comirec_routing" => || comirec(|c| (c.extractor, c.rounds) = (Extraction::Routing, 1)),
        "mind" => || mind(|c| c.rounds = 1),
        "mind_soft" => || mind(|c| (c.rounds, c.adaptive, c.interests, c.power) = (1, false, 9, Some(2.0))),
        _ => make,
    }
}

fn models() -> Vec<(&'static str, LossKind, Make)> {
    fn pomrec(prompts: usize, dispersion: f64, variant: Variant) -> Box<dyn Model> {
        let (dim, attention_dim, interests) = (12, 5, 3);
        Box::new(PomRec::new(Settings { dim, attention_dim, interests, prompts, dispersion, variant }, &task()))
    }
    fn miner(disagreement: f64, prompts: usize, dispersion: f64) -> Box<dyn Model> {
        let (dim, attention_dim, interests) = (12, 5, 3);
        let settings = miner::Settings { dim, attention_dim, interests, disagreement, prompts, dispersion };
        Box::new(miner::Miner::new(settings, &task()))
    }
    fn sasrec(norm: Norm, positions: Positions) -> Box<dyn Model> {
        let (items, max_len, encoder) = (ITEMS, M, encoder(norm, true));
        Box::new(sasrec::SasRec::new(sasrec::Parts { items, max_len, encoder, positions, behaviours: 0, hides: false }))
    }
    fn mcprn(candidates: CandidateGates) -> Box<dyn Model> {
        let settings = mcprn::Settings { dim: 12, channels: 3, candidates, ..Default::default() };
        Box::new(mcprn::Mcprn::new(settings, &task()))
    }
    fn caser() -> Box<dyn Model> {
        let (dim, window, horizontal_filters, vertical_filters, dropout) = (12, 4, 5, 2, 0.1);
        let settings = caser::Settings { dim, window, horizontal_filters, vertical_filters, dropout };
        Box::new(caser::Caser::new(settings, &task()))
    }
    fn fmlp() -> Box<dyn Model> {
        let (dim, layers, inner, dropout) = (12, 2, Some(9), 0.1);
        Box::new(fmlp::Fmlp::new(fmlp::Settings { dim, layers, inner, dropout, behaviours: false }, &task()))
    }
    fn gru4rec(layers: usize, positions: Positions) -> Box<dyn Model> {
        let (dim, hidden, dropout, behaviours) = (12, 10, 0.1, false);
        Box::new(gru4rec::Gru4Rec::new(
            gru4rec::Settings { dim, hidden, layers, dropout, positions, behaviours },
            &task(),
        ))
    }
    vec![
        ("pomrec", LossKind::Bpr, || pomrec(4, 3.0, Variant::Paper)),
        ("pomrec_released", LossKind::Bpr, || pomrec(4, 3.0, Variant::Released)),
        ("pomrec_base", LossKind::Bpr, || pomrec(0, 0.0, Variant::Paper)),
        ("pomrec_prompt", LossKind::Bpr, || pomrec(2, 0.0, Variant::Paper)),
        ("pomrec_dispersion", LossKind::Bpr, || pomrec(0, 3.0, Variant::Paper)),
        ("comirec", LossKind::Softmax, || comirec(|_| {})),
        ("comirec_routing", LossKind::Softmax, || comirec(|c| c.extractor = Extraction::Routing)),
        ("mind", LossKind::Softmax, || mind(|_| {})),
        // More interests than positions.
        ("mind_soft", LossKind::Softmax, || mind(|c| (c.adaptive, c.interests, c.power) = (false, 9, Some(2.0)))),
        // A small weight: 300 updates by one batch leave the interests alike, so that the term alone would be above the limit.
        ("miner", LossKind::Bpr, || miner(0.05, 0, 0.0)),
        ("pom_miner", LossKind::Bce, || miner(0.8, 2, 3.0)),
        ("timirec_pretrain", LossKind::Bpr, || timirec(PRETRAIN, |_| {})),
        // Without a first phase its interests are alike, and gradients of what weighs them are rounding; prompts and dispersion
        // tell them apart. 20 updates kill the ReLUs of a second layer that is so narrow.
        ("pom_timirec", LossKind::Softmax, || {
            timirec(TUNE, |c| (c.prompts, c.dispersion, c.blocks, c.layers) = (2, 3.0, 2, 1))
        }),
        ("pom_timirec_shared", LossKind::Softmax, || {
            timirec(TUNE, |c| (c.prompts, c.dispersion, c.tables, c.layers) = (2, 3.0, 1, 1))
        }),
        ("mcprn", LossKind::Gbce, || mcprn(CandidateGates::Cut)),
        ("mcprn_whole", LossKind::InBatch, || mcprn(CandidateGates::Whole)),
        ("sasrec_pre", LossKind::Bce, || sasrec(Norm::Pre, Positions::All)),
        ("sasrec_post", LossKind::Softmax, || sasrec(Norm::Post, Positions::All)),
        ("sasrec_last", LossKind::SampledSoftmax, || sasrec(Norm::Post, Positions::Last)),
        ("gru4rec", LossKind::Gbce, || gru4rec(2, Positions::All)),
        ("gru4rec_in_batch", LossKind::InBatch, || gru4rec(1, Positions::Last)),
        ("bert4rec", LossKind::Softmax, || {
            let encoder = Encoder { dropout: 0.0, ..encoder(Norm::Post, false) };
            let (items, max_len, hidden_share) = (ITEMS, M, 0.4);
            let (behaviours, target) = (0, None);
            Box::new(bert4rec::Bert4Rec::new(bert4rec::Parts {
                items,
                max_len,
                encoder,
                hidden_share,
                behaviours,
                target,
            }))
        }),
        ("fmlp", LossKind::Bpr, fmlp),
        ("stamp", LossKind::Softmax, || Box::new(stamp::Stamp::new(stamp::Settings { dim: 12 }, &task()))),
        ("caser", LossKind::Bce, caser),
        ("caser_in_batch", LossKind::InBatch, caser),
        ("caser_softmax", LossKind::Softmax, caser),
        ("fpmc", LossKind::Bpr, || Box::new(fpmc::Fpmc::new(fpmc::Settings { dim: 12 }, &task()))),
        ("hgn", LossKind::Bpr, || {
            Box::new(hgn::Hgn::new(hgn::Settings { dim: 12, pooling: hgn::Pooling::Average }, &task()))
        }),
        ("hgn_max", LossKind::Softmax, || {
            Box::new(hgn::Hgn::new(hgn::Settings { dim: 12, pooling: hgn::Pooling::Max }, &task()))
        }),
        ("npe", LossKind::Bce, || Box::new(npe::Npe::new(npe::Settings { dim: 12, dropout: 0.1 }, &task()))),
        ("dpcpl", LossKind::Bpr, || dpcpl(TUNE, |_| {})),
        ("dpcpl_pretrain", LossKind::Bpr, || dpcpl(PRETRAIN, |_| {})),
        ("dpcpl_items", LossKind::Softmax, || behavioural(small_dpcpl(), 0, 0)),
        ("dpcpl_attention", LossKind::Bpr, || dpcpl(TUNE, |c| c.miner = MinerKind::Attention)),
        ("dpcpl_fixed", LossKind::Bpr, || dpcpl(TUNE, |c| c.prompt.source = Source::None)),
        ("dpcpl_attributes", LossKind::Bpr, || {
            dpcpl(TUNE, |c| (c.prompt.source, c.prompt.progressive) = (Source::Attributes, false))
        }),
        ("mb_sasrec", LossKind::Bce, || behavioural(mb_sasrec(), BEHAVIOURS, 0)),
        ("s3rec", LossKind::Bpr, || pretrained(PretextTask::Mask)),
        ("cl4srec", LossKind::Bce, || pretrained(PretextTask::Contrast)),
        ("mb_gru4rec", LossKind::Bce, || {
            let settings = gru4rec::Settings {
                dim: 12,
                hidden: 10,
                layers: 2,
                dropout: 0.1,
                behaviours: true,
                ..Default::default()
            };
            behavioural(settings, BEHAVIOURS, 0)
        }),
        // One block: by two, whose behaviours are drawn at random here, rounding grows to 1.09% in 50 updates (gpu against f64).
        ("mb_bert4rec", LossKind::Softmax, || {
            let (dim, layers, heads, inner, dropout, hidden_share, behaviours) = (12, 1, 2, Some(9), 0.0, 0.4, true);
            let settings = bert4rec::Settings { dim, layers, heads, inner, dropout, hidden_share, behaviours };
            behavioural(settings, BEHAVIOURS, 0)
        }),
        ("mb_fmlp", LossKind::Bpr, || {
            let settings = fmlp::Settings { dim: 12, layers: 2, inner: Some(9), dropout: 0.1, behaviours: true };
            behavioural(settings, BEHAVIOURS, 0)
        }),
    ]
}

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
        for device in devices::all() {
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
        trials.push(Trial::test(format!("models::{name}::f16_is_near_f32"), move || half(&model())));
        for device in ["cpu", "gpu"] {
            trials.push(Trial::test(format!("models::{name}::like_f64::{device}"), move || {
                alike(&model(), &devices::get(device)?, |_| {})
            }));
        }
    }
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

/// Batch number `n` of a small world in which the next item follows from the last one, so that there is something to learn.
fn batch(subject: &Subject, n: u64) -> Batch {
    let spec = config(subject.kind, false).batches(&*subject.model);
    let mut columns = Columns::empty(spec.columns().into());
    let (mut r, targets) = (Stream::new(7, "batch", n), spec.sizes().targets);
    let (mut history, mut recency) = (vec![0; B * M], vec![0; B * M]);
    let (mut positive, mut positions, mut negative) = (vec![0; B * targets], vec![M as u32; B * targets], vec![]);
    for row in 0..B {
        let window = spec.padding.place(1 + r.below(M as u32) as usize, M);
        let (mut item, mut found) = (1 + r.below(ITEMS as u32), 0);
        for i in window.clone() {
            history[row * M + i] = item;
            recency[row * M + i] = (window.end - i) as u32;
            let this = item;
            item = 1 + (item * 7 + r.below(2)) % ITEMS as u32;
            if !spec.samples.hides() {
                positive[row * targets + i % targets] = item;
            } else if found < targets && (i % 2 == 1 || window.len() == 1) {
                positive[row * targets + found] = this;
                positions[row * targets + found] = i as u32;
                history[row * M + i] = hidden(ITEMS);
                found += 1;
            }
        }
        (0..targets).for_each(|_| negative.push(1 + r.below(ITEMS as u32)));
    }
    let mut weight: Vec<f32> = positive.iter().map(|&item| if item == 0 { 0.0 } else { 1.0 }).collect();
    // The last batch of an epoch is short.
    if n % 5 == 4 {
        weight[(B - 3) * targets..].fill(0.0);
    }
    let mut write = |name: &str, values: Vec<u32>| {
        if columns.has(name) {
            columns.get_mut(name).u32().copy_from_slice(&values);
        }
    };
    let mut r = Stream::new(7, "besides", n);
    let (mut behaviours, known) = (vec![0; B * M], BEHAVIOURS as u32);
    if subject.model.reads().behaviours {
        behaviours = history.iter().map(|&item| (item != 0) as u32 * (1 + r.below(known))).collect();
        let own: Vec<u32> = positive.iter().map(|_| 1 + r.below(known)).collect();
        write("negative_behaviour", own.iter().map(|&own| 1 + (own + r.below(known - 1)) % known).collect());
        write("positive_behaviour", own);
        write("behaviours", behaviours.clone());
    }
    // Features are told apart by the ranges of their rows; row 0 is padding, which has no gradient.
    let features = subject.model.reads().features;
    if let Some(each) = (FEATURES.rows - 1).checked_div(features) {
        let each = each as u32;
        write("features", (0..B * features).map(|i| 1 + (i % features) as u32 * each + r.below(each)).collect());
    }
    write("users", (0..B).map(|_| 1 + r.below(USERS as u32)).collect());
    views(subject, n, [&history, &recency, &behaviours], &weight, &mut write);
    write("history", history);
    write("recency", recency);
    write("positive", positive);
    write("positions", positions);
    write("negative", negative);
    columns.get_mut("weight").f32().copy_from_slice(&weight);
    Batch::new(columns, B, &spec.gathered)
}

/// Views of each window: what stands there with some events hidden, others each time; the third is of the next window.
/// Windows that only fill the batch have none.
fn views(
    subject: &Subject,
    n: u64,
    [history, recency, behaviours]: [&[u32]; 3],
    weight: &[f32],
    write: &mut dyn FnMut(&str, Vec<u32>),
) {
    let (count, mut r) = (subject.model.views().map_or(0, Views::count), Stream::new(7, "views", n));
    let targets = weight.len() / B;
    let mut views = [vec![], vec![], vec![]];
    for (row, of) in (0..count * B).map(|view| (view % B, (view % B + view / (2 * B)) % B)) {
        let real = weight[row * targets..(row + 1) * targets].iter().any(|&weight| weight > 0.0);
        for at in of * M..(of + 1) * M {
            let hides = history[at] != 0 && r.below(3) == 0;
            let (item, behaviour) = if hides { (hidden(ITEMS), 0) } else { (history[at], behaviours[at]) };
            for (view, value) in views.iter_mut().zip([item, recency[at], behaviour]) {
                view.push(if real { value } else { 0 });
            }
        }
    }
    if count > 0 {
        for (name, view) in ["views.history", "views.recency", "views.behaviours"].into_iter().zip(views) {
            write(name, view);
        }
    }
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
    let table = include_str!("first_losses.txt");
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

/// Losses of a training whose activations are stored as f16: near those in f32, and not the same.
fn half(model: &Subject) -> Result<(), Failed> {
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
fn short_rows() -> Result<(), Failed> {
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
fn short_lengths() -> Result<(), Failed> {
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
fn infinite_norm() -> Result<(), Failed> {
    let device = devices::get("cpu")?;
    let mut params = Params::new();
    params.add("w", [3], Init::Constant(1.0));
    let optimiser = Adam { clip: Some(1.0), ..Adam::default() };
    let mut store = device.store(&[params.states(), optimiser.states(&params)].concat())?;
    params.initialise(&mut store, 1)?;
    let g = Graph::new();
    let loss = (params.var(&g, "w") * g.input("x", Spec::f32([3]))).sum_all();
    optimiser.update(loss, g.scalar(1.0), &params)?;
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
    Ok(store)
}

/// Updates are those without a scale; a gradient that is not finite halves it and changes nothing else; 2,000 good ones in a
/// row double it.
fn loss_scale(device: &Device) -> Result<(), Failed> {
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

/// A batch of nothing but padding, with every loss that the model can be trained with: loss 0, gradients finite.
fn padding_alone(model: &Subject, device: &Device) -> Result<(), Failed> {
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

/// What an encoder computes for the last position alone is what it computes there among all positions.
fn one_place() -> Result<(), Failed> {
    let device = devices::get("f64")?;
    fn of(norm: Norm, heads: usize, layers: usize, attend_padding: bool) -> Box<dyn Model> {
        let encoder = Encoder { heads, layers, attend_padding, ..encoder(norm, true) };
        Box::new(sasrec::SasRec::new(sasrec::Parts {
            items: ITEMS,
            max_len: M,
            encoder,
            positions: Positions::All,
            behaviours: 0,
            hides: false,
        }))
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

/// What a history reads at padded positions, the rows of padding and what padded positions have of their own, changes no bit of a
/// user.
fn padding_is_nothing(name: &str) -> Result<(), Failed> {
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
        Box::new(sasrec::SasRec::new(sasrec::Parts {
            items: ITEMS,
            max_len: M,
            encoder,
            positions: Positions::All,
            behaviours: 0,
            hides: false,
        }))
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
            step.add(&part(0..2), n, 3)?;
            step.add(&part(2..9), n, 3)?;
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
        for n in 301..350 {
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
            return Err(format!("50 updates of {name} are off by {relative:e}").into());
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
