//! A training step by the size of the catalogue: SASRec with sampled softmax (256 shared negatives), row gradients and lazy
//! Adam, batch 128, 50 positions. `cargo bench --bench items [-- items...]`

#[path = "../tests/sized/mod.rs"]
mod sized;

use sized::sized;
use std::time::Instant;
use wgrec::device::Device;
use wgrec::models::LossKind;
use wgrec::train::step::TrainStep;

const ROUNDS: usize = 15;

fn main() -> wgrec::Result<()> {
    let given: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let catalogues = if given.is_empty() { vec![10_000, 100_000, 1_000_000] } else { given };
    let (device, name) = Device::open("cpu")?;
    println!("{name}");
    let mut steps = vec![];
    for &items in &catalogues {
        let before = sized::held();
        let step = sized(&device, items, 128, 50, LossKind::SampledSoftmax)?;
        let mut run = TrainStep::new(&device, &step.store, &step.model, &step.config)?;
        run.run(&step.batch, 0, 1, 1e-3)?;
        steps.push((items, run, step, sized::peak() - before, vec![]));
    }
    // In turn, so that other work on the machine affects all in the same way.
    for round in 1..=ROUNDS as u64 {
        for (_, run, step, _, times) in &mut steps {
            let start = Instant::now();
            run.run(&step.batch, round, 1, 1e-3)?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    println!("{:>10}  {:>9}  {:>8}  {:>10}  {:>12}", "items", "ms a step", "ratio", "held, MiB", "foretold, MiB");
    let mut last = None;
    for (items, run, _, held, mut times) in steps {
        times.sort_by(f64::total_cmp);
        let median = times[ROUNDS / 2];
        let ratio = last.map_or(String::new(), |last| format!("{:.2}", median / last));
        println!("{items:>10}  {median:>9.2}  {ratio:>8}  {:>10}  {:>12}", held >> 20, run.plan().peak_bytes() >> 20);
        last = Some(median);
    }
    Ok(())
}
