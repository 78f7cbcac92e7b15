//! What the host does before and next to a device: readers, batches, plans. `cargo bench --bench host [-- FILTER]`

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use std::fmt::Write;
use std::sync::Arc;
use wgrec::config::Config;
use wgrec::data::samples::{Cloze, Gathered, Prefix, Samples, Window};
use wgrec::data::{BatchSpec, DataConfig, Dataset, Format, Split, SplitKind, Statistics, TrainBatches};
use wgrec::graph::Graph;
use wgrec::graph::plan::{Options, Plan};
use wgrec::tensor::philox::Stream;
use wgrec::train::step::{Role, TrainStep};
use wgrec::train::{FitOptions, Session};

fn main() {
    divan::main();
}

const USERS: u32 = 2000;
const ITEMS: u32 = 3000;
const EVENTS: u32 = 100;

/// 200,000 interactions, a line each, with `separator`.
fn interactions(head: &str, separator: &str) -> String {
    let mut r = Stream::new(1, "host", 0);
    let mut text = head.to_string();
    for user in 1..=USERS {
        for event in 0..EVENTS {
            let item = 1 + r.below(ITEMS);
            let fields = [user, item, 1 + r.below(5), 978_000_000 + event * 60].map(|n| n.to_string());
            let _ = writeln!(text, "{}", fields.join(separator));
        }
    }
    text
}

fn config(folder: &tempfile::TempDir, format: Format) -> DataConfig {
    let (name, text) = match format {
        Format::MOVIELENS => ("ratings.dat", interactions("", "::")),
        _ => ("ratings.csv", interactions("user,item,rating,timestamp\n", ",")),
    };
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    DataConfig { path: Some(path), format: Some(format), ..DataConfig::default() }
}

fn dataset() -> Arc<Dataset> {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, Format::DELIMITED);
    Arc::new(config.load_with(config.path.as_ref().unwrap(), None).unwrap())
}

#[divan::bench(args = [Format::DELIMITED, Format::MOVIELENS], sample_count = 10)]
fn read(bencher: Bencher, format: Format) {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder, format);
    let path = config.path.as_ref().unwrap();
    bencher.counter(ItemsCount::new(USERS * EVENTS)).bench(|| config.load_with(path, None).unwrap());
}

/// What is counted of a history of three behaviours, by its length.
#[divan::bench(args = [10, 20, 200])]
fn statistics(bencher: Bencher, events: usize) {
    let mut r = Stream::new(1, "statistics", 0);
    let statistics = Statistics::new(3);
    let mut out = vec![0; statistics.sizes().len()];
    let items: Vec<u32> = (0..events).map(|_| r.below(events as u32)).collect();
    let behaviours: Vec<u8> = (0..events).map(|_| r.below(3) as u8).collect();
    bencher.bench_local(|| statistics.write(black_box(&items), black_box(&behaviours), &mut out));
}

/// 256 windows of 50 positions, one negative a target, sorted segments.
#[divan::bench(args = ["prefix", "window", "cloze"])]
fn batch(bencher: Bencher, samples: &str) {
    let data = dataset();
    let split = Arc::new(Split::new(&data, SplitKind::LeaveOneOut).unwrap());
    let samples: Arc<dyn Samples> = match samples {
        "prefix" => Arc::new(Prefix),
        "window" => Arc::new(Window),
        _ => Arc::new(Cloze { share: 0.2 }),
    };
    let (name, rows) = ("items".to_string(), data.items() + 2);
    let gathered = vec![Gathered { name, rows, columns: vec!["history", "positive", "negative"], listed: None }];
    let spec = BatchSpec { samples, gathered, ..BatchSpec::default() };
    let batches = TrainBatches::new(data, split, spec).unwrap();
    let step = std::cell::Cell::new(0);
    bencher.counter(ItemsCount::new(256u32)).bench_local(|| {
        step.set((step.get() + 1) % batches.batches_per_epoch());
        batches.epoch(0, step.get()).next()
    });
}

/// From a model to the plan of its training step.
#[divan::bench(args = ["pomrec", "sasrec", "gru4rec", "caser"], sample_count = 20)]
fn plan(bencher: Bencher, model: &str) {
    let config = Config::of(model).unwrap().embedded().with_setting("device=cpu").unwrap();
    let session = Session::open(config).unwrap();
    let step = session.step_config(&FitOptions::default());
    bencher.bench_local(|| {
        let g = Graph::new();
        TrainStep::trace(&g, &*session.model, &step, Role::Update).unwrap();
        Plan::new(black_box(&g), Options { threads: 2, ..Options::default() }).unwrap()
    });
}
