//! RDRSR's roll-out, forward and backward: a batch of windows of ten events and their targets, by the fused kernels.
//! `cargo bench --bench rollout [-- batch [device [runs]]]`, by default 512, cpu, 30. benches/peers/rdrsr.py times PyTorch's next to it.

use std::time::Instant;
use wgrec::device::{Device, RunOptions};
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Step};
use wgrec::models::Task;
use wgrec::models::rdrsr::allocator::{Actions, Start};
use wgrec::models::rdrsr::{Rdrsr, Settings};
use wgrec::models::{Model, rdrsr::Number};
use wgrec::tensor::philox::Stream;
use wgrec::tensor::{Spec, Tensor};

const EVENTS: usize = 10;

fn main() -> wgrec::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |at: usize, default| args.get(at).map_or(default, |arg| arg.parse().expect("[batch [device [runs]]]"));
    let (b, runs) = (number(0, 512), number(2, 30).max(1));
    let (device, name) = Device::open(args.get(1).map_or("cpu", String::as_str))?;
    let settings = Settings { number: Number::Fixed(4), ..Settings::default() };
    let Settings { dim: d, interests: k, .. } = settings;
    let model = Rdrsr::new(settings, &Task { users: 1, items: 1, max_len: EVENTS, ..Task::default() })?;

    let g = Graph::new();
    let input = |name: &str, shape: &[usize]| g.input(name, Spec::f32(shape));
    let (user, events, target) = (input("user", &[b, d]), input("events", &[b, EVENTS, d]), input("target", &[b, d]));
    let number = input("number", &[b, k]);
    let items = g.constant(Tensor::u32([b, EVENTS], vec![1; b * EVENTS]));
    let used = g.constant(Tensor::f32([b, k], vec![1.0; b * k]));
    let start = Start { user, events, items, used, number };
    let episode = model.allocator().episode(&start, Some(target), Actions::Drawn);
    let loss = (episode.interests * input("d_interests", &[b, k, d])).sum_all()
        + (episode.log_probability * input("reward", &[b])).sum_all();
    let policy = model.params().iter().map(|p| p.name.clone()).filter(|name| name.starts_with("policy."));
    let by: Vec<_> = policy.map(|name| model.params().var(&g, &name)).chain([user, events, target, number]).collect();
    for (i, (gradient, &v)) in g.gradients(loss, &by)?.into_iter().zip(&by).enumerate() {
        g.result(&i.to_string(), gradient.dense(v));
    }
    let plan = device.plan(&g, Options::default())?;
    let mut store = device.store(&model.params().states())?;
    model.params().initialise(&mut store, 1)?;
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    for (name, spec) in plan.inputs.iter().filter(|(name, _)| name != Step::NAME) {
        let mut r = Stream::new(1, name, 0);
        let values = (0..spec.shape.elements()).map(|_| r.normal() as f32).collect();
        runner.write(name, &Tensor::f32(spec.shape.clone(), values))?;
    }
    let mut times = vec![];
    for run in 0..runs + 3 {
        runner.write(Step::NAME, &Step::at(1, run as u64, 0.0, [0.9, 0.999]).tensor())?;
        let begin = Instant::now();
        runner.run()?;
        runner.read("0")?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let times = &mut times[3..];
    times.sort_by(f64::total_cmp);
    println!(
        "{name}; {b} windows of {EVENTS} events and a target, d {d}, {k} interests; forward and backward, median of {runs}"
    );
    println!("rollout ms {:.3}", times[runs / 2]);
    Ok(())
}
