//! Models of several interests: what no comparison with one number each shows.

use crate::harness::devices;
use libtest_mimic::{Failed, Trial};
use wgrec::data::samples::{Batch, Columns};
use wgrec::device::RunOptions;
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Var};
use wgrec::models::comirec::{self, ComiRec, Extraction};
use wgrec::models::mind::{self, Mind};
use wgrec::models::spec::Settings;
use wgrec::models::{History, Loss, LossKind, Model, ModelConfig, Task, timirec};
use wgrec::nn::params::Param;
use wgrec::nn::routing::{Votes, route};
use wgrec::tensor::philox::Stream;
use wgrec::tensor::{Shape, Spec, Tensor};
use wgrec::train::step::{StepConfig, TrainStep};

pub fn trials() -> Vec<Trial> {
    fn mapped(x: Var) -> Votes {
        Votes::Mapped { x, map: x.graph().constant(normal([5, 5], "map")) }
    }
    fn own(votes: Var) -> Votes {
        Votes::Own(votes)
    }
    vec![
        Trial::test("interests::parameters_are_as_many_as_in_print", parameters),
        Trial::test("interests::a_shared_table_has_the_gradients_of_both", shared_table),
        Trial::test("interests::weights_of_timirec_against_differences", predictor_against_differences),
        Trial::test("interests::routing_by_one_map_against_differences", || differences(&[4, 6, 5], mapped)),
        Trial::test("interests::routing_of_own_votes_against_differences", || differences(&[4, 3, 6, 5], own)),
        Trial::test("interests::first_logits_of_mind_follow_the_seed_alone", seeds),
    ]
}

/// Millions of parameters in PoMRec's Table 3, on ML-1M and on Beauty.
const PRINTED: [(&str, [&str; 2]); 6] = [
    ("gru4rec", ["0.3", "0.9"]),
    ("mind", ["0.2", "0.8"]),
    ("comirec", ["0.2", "0.8"]),
    ("miner", ["0.2", "0.8"]),
    ("timirec", ["0.5", "1.6"]),
    ("pomrec", ["0.2", "0.8"]),
];

/// Of the defaults, d 64 and M 20, in the last phase. Maps of each position and interest do not fit in what is printed of ComiRec.
fn parameters() -> Result<(), Failed> {
    for (column, items) in [3706, 12_101].into_iter().enumerate() {
        for (name, printed) in PRINTED {
            let config = ModelConfig::of(name)?;
            let phase = config.phases(false)?.pop().ok_or("a training has a phase")?;
            let model = config.build(&Task { items, max_len: 20, phase, ..Task::default() })?;
            let millions = model.params().elements() as f64 / 1e6;
            if format!("{millions:.1}") != printed[column] {
                return Err(format!("{name} has {millions} M parameters, in print {}", printed[column]).into());
            }
        }
    }
    let settings = comirec::Settings { extractor: Extraction::Routing, ..Default::default() };
    let routing = ComiRec::new(settings, &Task { items: 3706, max_len: 20, ..Task::default() });
    let maps = routing.params().iter().find(|p| p.name == "routing.maps").ok_or("a map for each interest")?;
    match maps.shape.elements() {
        327_680 => Ok(()),
        found => Err(format!("the maps of ComiRec-DR are {found} numbers").into()),
    }
}

const ITEMS: usize = 70;
const USERS: usize = 5;
const WINDOW: usize = 6;

/// A gradient by name.
type Gradients = Vec<(String, Vec<f64>)>;

/// The loss of a batch by the second phase of TiMiRec, with large parameters, and its gradients. `moved`: a parameter, and how far it
/// is moved along its [`direction`].
fn timirec_step(tables: usize, moved: Option<(&str, f64)>) -> Result<(f64, Gradients), Failed> {
    let device = devices::get("f64")?;
    let settings =
        timirec::Settings { dim: 8, tables, dropout: 0.0, prompts: 2, dispersion: 2.0, ..Default::default() };
    let phase = settings.phases(false)?.pop().ok_or("a training has a phase")?;
    let model = settings.build(&Task { items: ITEMS, max_len: WINDOW, phase, ..Task::default() })?;
    let (batch, max_len, loss) = (USERS, WINDOW, Loss { kind: LossKind::Bpr, ..Loss::default() });
    let config = StepConfig { batch, max_len, negatives: 1, loss, keep_gradients: true, ..StepConfig::default() };
    let params = model.params();
    let mut store = device.store(&TrainStep::states(params, &config.optimiser))?;
    for p in params.iter() {
        // Both tables have the numbers of one name.
        let start = normal(p.shape.clone(), p.name.trim_start_matches("predictor."));
        let far = moved.filter(|(name, _)| *name == p.name).map_or(0.0, |(_, far)| far);
        let value = start.to_f64().iter().zip(direction(p)).map(|(x, d)| x + far * d).collect();
        params.write(&mut store, &p.name, &Tensor::f64(p.shape.clone(), value))?;
    }
    let spec = config.batches(&*model);
    let mut columns = Columns::empty(spec.columns().into());
    let mut r = Stream::new(5, "batch", 0);
    for (name, len) in [("history", USERS * WINDOW), ("positive", USERS), ("negative", USERS)] {
        let ids: Vec<u32> = (0..len).map(|_| 1 + r.below(ITEMS as u32)).collect();
        columns.get_mut(name).u32().copy_from_slice(&ids);
    }
    columns.get_mut("weight").f32().fill(1.0);
    let mut step = TrainStep::new(&device, &store, &*model, &config)?;
    step.run(&Batch::new(columns, USERS, &spec.gathered), 0, 1, 0.0)?;
    let gradient = |p: &Param| Ok((p.name.clone(), step.read(&format!("gradient.{}", p.name))?.to_f64()));
    let gradients = params.iter().map(gradient).collect::<Result<_, Failed>>()?;
    Ok((step.loss()?, gradients))
}

/// Random, of the parameter's shape.
fn direction(p: &Param) -> Vec<f64> {
    normal(p.shape.clone(), &format!("direction of {}", p.name)).to_f64()
}

/// TiMiRec of one item table has the loss of two equal tables, and the sum of their gradients.
fn shared_table() -> Result<(), Failed> {
    let ((one, shared), (two, both)) = (timirec_step(1, None)?, timirec_step(2, None)?);
    let of = |list: &Gradients, name: &str| {
        list.iter().find(|(own, _)| own == name).map(|(_, gradient)| gradient.clone()).ok_or(format!("no {name}"))
    };
    let [table, extractor, predictor] =
        [of(&shared, "item_embedding")?, of(&both, "item_embedding")?, of(&both, "predictor.item_embedding")?];
    let largest = |x: &mut dyn Iterator<Item = f64>| x.map(f64::abs).fold(0.0, f64::max);
    let apart = largest(&mut (0..table.len()).map(|i| table[i] - extractor[i] - predictor[i]));
    let second = largest(&mut predictor.iter().copied());
    match (one - two).abs() < 1e-12 && apart < 1e-12 && second > 1e-6 {
        true => Ok(()),
        false => Err(format!("losses {one} and {two}; gradients {apart:e} apart, the second's {second:e}").into()),
    }
}

/// What weighs TiMiRec's interests, its two layers included, against differences: the teacher does not depend on it.
fn predictor_against_differences() -> Result<(), Failed> {
    const H: f64 = 1e-5;
    let (_, gradients) = timirec_step(2, None)?;
    for (name, gradient) in gradients.iter().filter(|(name, _)| name.starts_with("predictor.")) {
        let [up, down] = [H, -H].map(|h| timirec_step(2, Some((name, h))));
        let differences = (up?.0 - down?.0) / (2.0 * H);
        let shape = Shape::from(&[gradient.len()][..]);
        let along = normal(shape, &format!("direction of {name}")).to_f64();
        let ours: f64 = gradient.iter().zip(along).map(|(g, d)| g * d).sum();
        if ours == 0.0 || (ours - differences).abs() > 1e-9 + 1e-5 * ours.abs() {
            return Err(format!("{name}: gradient {ours:e}, differences {differences:e}").into());
        }
    }
    Ok(())
}

fn normal(shape: impl Into<Shape>, name: &str) -> Tensor {
    let (shape, mut r) = (shape.into(), Stream::new(5, name, 0));
    Tensor::f64(shape.clone(), (0..shape.elements()).map(|_| r.normal()).collect())
}

/// The gradient through three rounds of routing is that of a last round whose couplings are given.
fn differences(shape: &[usize], votes: for<'g> fn(Var<'g>) -> Votes<'g>) -> Result<(), Failed> {
    const K: usize = 3;
    let device = devices::get("f64")?;
    let (logits, shape) = ([shape[0], K, shape[shape.len() - 2]], Shape::from(shape));
    let (x, direction) = (normal(shape.clone(), "x"), normal(shape.clone(), "direction").to_f64());
    let mut store = device.store(&[("x".to_string(), shape.elements())])?;
    fn loss<'g>(interests: Var<'g>) -> Var<'g> {
        let cotangent = normal(interests.shape(), "cotangent");
        (interests * interests.graph().constant(cotangent)).sum_all()
    }
    let state = Spec::f32(shape.clone());

    let g = Graph::new();
    let rows = g.state("x", "x", 0, state.clone());
    let routed = route(votes(rows), g.constant(normal(logits, "logits")), 3);
    let whole = loss(routed.interests);
    g.result("couplings", routed.couplings);
    g.result("loss", whole);
    g.result("gradient", g.gradients(whole, &[rows])?[0].dense(rows));
    store.write("x", 0, &x)?;
    let mut runner = device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?;
    runner.run()?;
    let [couplings, whole, gradient] = [runner.read("couplings")?, runner.read("loss")?, runner.read("gradient")?];

    // A round from the logarithms of the couplings has these couplings.
    let g = Graph::new();
    let last = route(votes(g.state("x", "x", 0, state)), g.constant(couplings).log(), 1);
    g.result("loss", loss(last.interests));
    let plan = device.plan(&g, Options::default())?;
    let mut at = |h: f64| -> Result<f64, Failed> {
        let moved = x.to_f64().iter().zip(&direction).map(|(x, d)| x + h * d).collect();
        store.write("x", 0, &Tensor::f64(shape.clone(), moved))?;
        let mut runner = device.compile(&plan, &store, RunOptions::default())?;
        runner.run()?;
        Ok(runner.read("loss")?.to_f64()[0])
    };
    let ours: f64 = gradient.to_f64().iter().zip(&direction).map(|(g, d)| g * d).sum();
    let (h, whole) = (1e-5, whole.to_f64()[0]);
    let numeric = (at(h)? - at(-h)?) / (2.0 * h);
    if (at(0.0)? - whole).abs() > 1e-12 {
        return Err(format!("the loss is {whole} by three rounds and {} by the last", at(0.0)?).into());
    }
    if (numeric - ours).abs() <= 1e-7 * numeric.abs() && ours != 0.0 {
        Ok(())
    } else {
        Err(format!("gradient {ours:e}, finite differences {numeric:e}").into())
    }
}

/// The interests of two users by a model of this seed with a window of `max_len` items, its parameters always the same.
fn interests(seed: u64, max_len: usize) -> Result<Vec<f64>, Failed> {
    let task = Task { items: 30, max_len, seed, ..Task::default() };
    let model = Mind::new(mind::Settings { dim: 8, interests: 3, adaptive: false, ..Default::default() }, &task);
    let (device, params) = (devices::get("f64")?, model.params());
    let mut store = device.store(&params.states())?;
    params.initialise(&mut store, 4)?;
    params.write(&mut store, "item_embedding", &normal([31, 8], "items"))?;
    let g = Graph::new();
    let input = |name: &str| g.input(name, Spec::u32([2, max_len]));
    g.result("interests", model.user(&g, &History::new(input("history"), input("recency"))));
    let mut runner = device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?;
    let padded = |items: &[u32]| [&vec![0; max_len - items.len()], items].concat();
    runner.write_u32("history", &[padded(&[3, 9, 27, 1]), padded(&[5, 5, 8, 2, 14])].concat())?;
    runner.run()?;
    Ok(runner.read("interests")?.to_f64())
}

/// They are drawn for each seed, interest and distance from the most recent item: neither another training nor a wider window
/// changes them.
fn seeds() -> Result<(), Failed> {
    let (one, again, wider, other) = (interests(1, 5)?, interests(1, 5)?, interests(1, 9)?, interests(2, 5)?);
    let apart = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    if one != again {
        return Err("two models of one seed differ".into());
    }
    if apart(&one, &wider) > 1e-12 {
        return Err(format!("a wider window moves interests by {}", apart(&one, &wider)).into());
    }
    if apart(&one, &other) < 1e-3 {
        return Err("another seed changes nothing".into());
    }
    Ok(())
}
