//! What a step costs the host on a GPU: encoding and submitting 500 dispatches, without what the device does with them.
//! `cargo bench --bench encode`

use std::time::Instant;
use wgrec::device::{Device, RunOptions, Runner};
use wgrec::graph::Graph;
use wgrec::graph::plan::{Options, Plan};
use wgrec::tensor::Spec;

const DISPATCHES: usize = 500;
const STEPS: usize = 50;

fn main() -> wgrec::Result<()> {
    let graph = Graph::new();
    let mut x = graph.input("x", Spec::f32([64]));
    for _ in 0..DISPATCHES {
        x = x.tanh();
    }
    graph.result("y", x);
    let plan = Plan::new(&graph, Options { no_fuse: true, ..Options::default() })?;
    let (device, name) = Device::open("gpu")?;
    let store = device.store(&[])?;
    let Runner::Gpu(mut runner) = device.compile(&plan, &store, RunOptions::default())? else { unreachable!() };
    assert_eq!(runner.dispatches(), DISPATCHES);
    let mut step = || -> wgrec::Result<f64> {
        let start = Instant::now();
        runner.run()?;
        let seconds = start.elapsed().as_secs_f64();
        runner.wait()?;
        Ok(seconds)
    };
    (0..5).try_for_each(|_| step().map(drop))?;
    let mut times = (0..STEPS).map(|_| step()).collect::<wgrec::Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    let each = |seconds: f64| seconds / DISPATCHES as f64 * 1e6;
    println!("{name}");
    println!(
        "encode and submit a dispatch: median {:.2} us, least {:.2} us, greatest {:.2} us ({STEPS} steps of {DISPATCHES})",
        each(times[STEPS / 2]),
        each(times[0]),
        each(times[STEPS - 1])
    );
    Ok(())
}
