//! A training step on an item tower by the size of the catalogue: text of 768 and images of 1,024 in f16, prices in a code of 64, eight
//! experts for each; SASRec with sampled softmax (256 shared negatives), batch 128, 50 positions. Over all items (`all`) and over those
//! that the batch names (`batch`). `cargo bench --bench tower [-- all|batch dim items...]`; memory is that of the features, the parameters
//! and their moments, and a step.

#[path = "../tests/sized/mod.rs"]
mod sized;

use half::f16;
use sized::sized_with;
use std::sync::Arc;
use std::time::Instant;
use wgrec::data::items::Modality;
use wgrec::device::Device;
use wgrec::kernels::experts::Packed;
use wgrec::models::items::{Fusion, Listed};
use wgrec::models::{ItemSettings, LossKind, Task};
use wgrec::nn::tower::Known;
use wgrec::tensor::philox::Stream;
use wgrec::train::step::TrainStep;

const ROUNDS: usize = 5;

fn known(name: &'static str, rows: usize, width: usize, half: bool) -> Known {
    let features = Packed { rows, width, half };
    let mut r = Stream::new(1, name, 0);
    // The same numbers again and again: drawing all would take longer than the steps.
    let drawn: Vec<u32> = (0..65_521).map(|_| half_words(r.normal(), r.normal(), half)).collect();
    let words: Vec<u32> = drawn.iter().copied().cycle().take(features.words()).collect();
    let missing: Vec<u32> = (0..rows as u32).map(|row| (row % 10 == 0) as u32).collect();
    let length = (width as f64).sqrt();
    Known { name, features, words: Some(Arc::new(words)), missing: Some(Arc::new(missing)), length }
}

fn half_words(a: f64, b: f64, half: bool) -> u32 {
    match half {
        true => f16::from_f64(a).to_bits() as u32 | (f16::from_f64(b).to_bits() as u32) << 16,
        false => (a as f32).to_bits(),
    }
}

fn main() -> wgrec::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let towers = match args.first().map(String::as_str) {
        Some("all") => vec![(Listed::All, "all")],
        Some("batch") => vec![(Listed::Batch, "batch")],
        _ => vec![(Listed::All, "all"), (Listed::Batch, "batch")],
    };
    let dim = args.get(1).map_or(64, |arg| arg.parse().expect("a width"));
    let given: Vec<usize> = args.iter().skip(2).filter_map(|a| a.parse().ok()).collect();
    let catalogues = if given.is_empty() { vec![1_000, 10_000, 100_000, 370_000] } else { given };
    let (device, name) = Device::open("cpu")?;
    println!("{name}, d {dim}");
    println!("{:>6}  {:>10}  {:>10}  {:>10}  {:>12}", "tower", "items", "ms a step", "held, MiB", "foretold, MiB");
    for (tower, name) in towers {
        for &items in &catalogues {
            let before = sized::held();
            let rows = items + 1;
            let all =
                [known("text", rows, 768, true), known("image", rows, 1024, true), known("price", rows, 64, false)];
            let features = vec![Modality::Text, Modality::Image, Modality::Price];
            let own_embedding = false;
            let settings =
                ItemSettings { features, fusion: Fusion::Experts, own_embedding, tower, ..ItemSettings::default() };
            let params = Task { tower: settings.tower(&all, items)?, ..Task::default() }.params();
            drop(all);
            let step = sized_with(&device, params, [items, dim], [128, 50], LossKind::SampledSoftmax)?;
            let mut run = TrainStep::new(&device, &step.store, &step.model, &step.config)?;
            let rounds = if tower == Listed::All && items > 50_000 { 1 } else { ROUNDS };
            run.run(&step.batch, 0, 1, 1e-3)?;
            let mut times = vec![];
            for round in 1..=rounds as u64 {
                let start = Instant::now();
                run.run(&step.batch, round, 1, 1e-3)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            let (median, held) = (times[rounds / 2], sized::peak() - before);
            let foretold = run.plan().peak_bytes();
            println!("{name:>6}  {items:>10}  {median:>10.1}  {:>10}  {:>12}", held >> 20, foretold >> 20);
        }
    }
    Ok(())
}
