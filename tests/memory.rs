//! What a training step over a large catalogue holds: the bytes that the plan predicts, and no gradient of a table of which
//! a step reads a few rows.

mod sized;

use sized::{Sized, held, peak, sized};
use wgrec::device::Device;
use wgrec::graph::Graph;
use wgrec::graph::plan::{Options, Plan};
use wgrec::models::LossKind;
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
}
