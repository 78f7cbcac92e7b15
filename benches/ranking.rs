//! Full ranking against the least it must do: the users' forward pass and one product of users and items, in one run.
//! `cargo bench --bench ranking [-- users items]`, by default of ML-1M's size (6,040 users, 3,706 items).

use std::time::Instant;
use wgrec::data::batches::EvalBatch;
use wgrec::device::{Device, RunOptions};
use wgrec::eval::ranker::{self, Candidates, RankSpec, Ranker};
use wgrec::graph::Graph;
use wgrec::graph::plan::Options;
use wgrec::models::pomrec::{Settings, Variant};
use wgrec::models::{History, Model, PomRec};
use wgrec::tensor::Spec;
use wgrec::tensor::philox::Stream;

const B: usize = 256;
const M: usize = 20;
const HISTORY: u32 = 160;
const RUNS: usize = 7;

fn main() -> wgrec::Result<()> {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let (users, items) = (*numbers.first().unwrap_or(&6040), *numbers.get(1).unwrap_or(&3706));
    let model = PomRec::new(Settings {
        items,
        max_len: M,
        dim: 64,
        attention_dim: 8,
        interests: 2,
        prompts: 4,
        dispersion: 4.0,
        variant: Variant::Paper,
    });
    let (device, name) = Device::open("cpu")?;
    let mut store = device.store(&[model.params().states(), ranker::states(&model, B)].concat())?;
    model.params().initialise(&mut store, 1)?;
    let batches: Vec<EvalBatch> = (0..users.div_ceil(B)).map(|b| batch(b, users, items)).collect();
    let exclude_cap = B * (HISTORY as usize + 1);

    let spec = RankSpec { batch: B, max_len: M, items, exclude_cap };
    let mut ranker = Ranker::new(&device, &store, &model, &spec, Candidates::All)?;
    let ranking = median(|| batches.iter().try_for_each(|b| ranker.ranks(b).map(drop)))?;

    let g = Graph::new();
    let [history, recency] = ["history", "recency"].map(|name| g.input(name, Spec::u32([B, M])));
    g.result("user", model.user(&g, &History { items: history, recency, targets: None, training: false }));
    let mut forward = device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?;
    let forward = median(|| {
        batches.iter().try_for_each(|b| {
            forward.write_u32("history", &b.history);
            forward.run()
        })
    })?;

    let g = Graph::new();
    let table = model.item_table(&g);
    g.result("scores", g.input("users", Spec::f32([users, 64])).matmul_t(table));
    let mut product = device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?;
    product.write_f32("users", &vec![0.5; users * 64]);
    let product = median(|| product.run())?;

    println!("{name}; {users} users, {items} items, d 64, histories of {HISTORY} masked");
    println!("full ranking     {:8.1} ms", ranking * 1e3);
    println!("forward pass     {:8.1} ms", forward * 1e3);
    println!("users x items    {:8.1} ms", product * 1e3);
    println!("ratio            {:8.2}", ranking / (forward + product));
    Ok(())
}

/// Median seconds of a few runs, after one that does not count.
fn median(mut f: impl FnMut() -> wgrec::Result<()>) -> wgrec::Result<f64> {
    f()?;
    let mut times = (0..RUNS)
        .map(|_| {
            let start = Instant::now();
            f().map(|()| start.elapsed().as_secs_f64())
        })
        .collect::<wgrec::Result<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(times[RUNS / 2])
}

/// Users `b * B ..` with random histories.
fn batch(b: usize, users: usize, items: usize) -> EvalBatch {
    let mut batch = EvalBatch { exclude_offsets: vec![0], samples: B.min(users - b * B), ..EvalBatch::default() };
    for row in 0..B {
        let mut r = Stream::new(1, "history", (b * B + row) as u64);
        let mut item = || 1 + r.below(items as u32);
        batch.history.extend((0..M).map(|_| item()));
        batch.lengths.push(M as u32);
        batch.target.push(item());
        let mut out: Vec<u32> = (0..HISTORY).map(|_| item()).chain([batch.target[row]]).collect();
        out.sort();
        out.dedup();
        batch.exclude_items.extend(out);
        batch.exclude_offsets.push(batch.exclude_items.len() as u32);
    }
    batch.exclude_items.resize(B * (HISTORY as usize + 1), 0);
    batch
}
