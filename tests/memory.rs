//! What a training step over a large catalogue holds: the bytes that the plan predicts, and no gradient of a table of which
//! a step reads a few rows. What a ranking holds, of any number of interests.

mod sized;

use sized::{Sized, held, peak, sized};
use wgrec::config::Config;
use wgrec::data::Part;
use wgrec::device::Device;
use wgrec::graph::Graph;
use wgrec::graph::plan::{Options, Plan};
use wgrec::models::LossKind;
use wgrec::train::Session;
use wgrec::train::step::{Role, TrainStep};

const MIB: usize = 1 << 20;

/// The plan that a GPU compiles of this step.
fn gpu_plan(Sized { model, config, .. }: &Sized) -> Plan {
    let g = Graph::new();
    TrainStep::trace(&g, model, config, Role::Update).unwrap();
    Plan::new(&g, Options::default()).unwrap()
}

// One test: what other threads allocate would be counted too.
#[test]
fn large_catalogues_hold_what_the_plan_foretold() {
    let (device, _) = Device::open("cpu").unwrap();

    // Softmax over 200,000 items at 25,600 positions: the logits would be 20 GB.
    let before = held();
    let mut step = sized(&device, 200_000, 128, 200, LossKind::Softmax).unwrap();
    let batch = std::mem::take(&mut step.batch);
    let mut run = TrainStep::new(&device, &step.store, &step.model, &step.config).unwrap();
    run.run(&batch, 0, 1, 1e-3).unwrap();
    let (loss, held) = (run.loss().unwrap(), peak() - before);
    let foretold = run.plan().peak_bytes();
    println!("softmax, 200,000 items: {} MiB held, {} MiB foretold, loss {loss:.3}", held / MIB, foretold / MIB);
    assert!(held < 1_500_000_000, "{held} bytes");
    assert!((held as f64 / foretold as f64 - 1.0).abs() < 0.1, "{held} bytes held, {foretold} foretold");
    assert!((loss - (200_000f64).ln()).abs() < 0.5, "loss {loss}");
    let plan = gpu_plan(&step);
    let table = plan.states.iter().map(|(_, n)| n * 4).max().unwrap();
    let bindings = plan.pool.iter().copied().chain(plan.inputs.iter().map(|(_, spec)| spec.bytes()));
    let largest = bindings.max().unwrap();
    println!("on a GPU: table {} MiB, largest other buffer {} MiB", table / MIB, largest / MIB);
    assert!(largest <= 128 * MIB, "{largest} bytes");
    drop((run, step));

    // Sampled softmax over a million: 256 MB of table and twice that of moments, and nothing else of that size.
    let step = sized(&device, 1_000_000, 16, 20, LossKind::SampledSoftmax).unwrap();
    let run = TrainStep::new(&device, &step.store, &step.model, &step.config).unwrap();
    for plan in [run.plan(), &gpu_plan(&step)] {
        let largest = plan.pool.iter().copied().max().unwrap();
        assert!(largest < 16 * MIB, "a value of {largest} bytes, as large as a dense gradient");
    }
    drop((run, step));

    rankings_hold_what_was_foretold();
}

/// Full rankings of 512 users: by 1 and 4 interests, where more take no more memory but that of the users, and by a policy.
fn rankings_hold_what_was_foretold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.csv");
    let line = |event: usize| format!("{},{},{event}\n", event / 16, event * 7 % 8000);
    let events: String = (0..512 * 16).map(line).collect();
    std::fs::write(&path, format!("user,item,time\n{events}")).unwrap();
    let plans = [("comirec", 1), ("comirec", 4), ("rdrsr", 4)].map(|(model, interests)| {
        let settings = [format!("data.path={}", path.display()), format!("model.interests={interests}")];
        let config = Config::of(model).unwrap().with_setting("device=cpu");
        let config = settings.iter().fold(config, |config, setting| config?.with_setting(setting)).unwrap();
        let session = Session::open(config).unwrap();
        let before = held();
        let mut store = session.store(None).unwrap();
        session.model.params().initialise(&mut store, 1).unwrap();
        let mut evaluator = session.evaluator(&store, Part::Test).unwrap();
        evaluator.run().unwrap();
        let held = peak() - before;
        let options = Options { threads: rayon::current_num_threads(), ..Options::default() };
        let plans = session.ranking_plans(Part::Test, options).unwrap();
        let foretold = Plan::peak_of(&plans);
        println!("ranking by {interests} interests of {model}: {held} bytes held, {foretold} foretold");
        assert!((held as f64 / foretold as f64 - 1.0).abs() < 0.1, "{held} bytes held, {foretold} foretold");
        plans
    });
    let of_scores = plans.map(|plans| plans.last().unwrap().pool_bytes());
    assert_eq!(of_scores[0], of_scores[1]);
}
