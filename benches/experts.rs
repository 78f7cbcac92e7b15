//! A mixture of experts over features, with its gates, forward and backward: the item tower's work for one kind.
//! `cargo bench --bench experts [-- rows [width [device [runs]]]]`, by default 4096, 768, cpu, 20: eight experts to 64, dropout .2, noise of
//! gates. benches/peers/experts.py times PyTorch's next to it.

use std::sync::Arc;
use std::time::Instant;
use wgrec::device::{Device, RunOptions};
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Step};
use wgrec::kernels::experts::Packed;
use wgrec::nn::tower::{ExpertsConfig, Known, TowerConfig};
use wgrec::nn::{Init, Params, Tower};
use wgrec::tensor::philox::Stream;
use wgrec::tensor::{Spec, Tensor};

const DIM: usize = 64;

/// The most memory that this process has held, in MB.
fn most() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.map_or(f64::NAN, |kilobytes| kilobytes / 1e3)
}

fn main() -> wgrec::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number =
        |at: usize, default| args.get(at).map_or(default, |arg| arg.parse().expect("[rows [width [device [runs]]]]"));
    let (rows, width, runs) = (number(0, 4096), number(1, 768), number(3, 20).max(1));
    let (device, name) = Device::open(args.get(2).map_or("cpu", String::as_str))?;
    let mut r = Stream::new(1, "features", 0);
    let features = Packed { rows, width, half: false };
    let words: Vec<u32> = (0..features.words()).map(|_| (r.normal() as f32).to_bits()).collect();
    let (words, missing) = (Arc::new(words), Arc::new(vec![0u32; rows]));
    let known = Known { name: "text", features, words: Some(words), missing: Some(missing), length: 1.0 };
    let experts = ExpertsConfig { count: 8, noise: Some(0.01), product: 0.0 };
    let config = TowerConfig { experts: Some(experts), learned: false, dropout: 0.2, own: false, listed: false };
    let mut params = Params::with_tower(Some(Tower::new(config, Arc::new(vec![known]))));
    params.add(Tower::ITEMS, [rows, DIM], Init::Normal(0.02));

    let g = Graph::new();
    g.train();
    let loss = (params.var(&g, Tower::ITEMS) * g.input("dy", Spec::f32([rows, DIM]))).sum_all();
    let by: Vec<_> = params.iter().map(|p| params.stored(&g, &p.name)).collect();
    for (i, (gradient, &v)) in g.gradients(loss, &by)?.into_iter().zip(&by).enumerate() {
        g.result(&i.to_string(), gradient.dense(v));
    }
    let plan = device.plan(&g, Options::default())?;
    let mut store = device.store(&params.states())?;
    params.initialise(&mut store, 1)?;
    params.lend_to(&device, &mut store)?;
    let before = most();
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    let dy = (0..rows * DIM).map(|_| r.normal() as f32).collect();
    runner.write("dy", &Tensor::f32([rows, DIM], dy))?;
    let mut times = vec![];
    for run in 0..runs + 2 {
        runner.write(Step::NAME, &Step::at(1, run as u64, 0.0, [0.9, 0.999]).tensor())?;
        let begin = Instant::now();
        runner.run()?;
        runner.read("0")?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let times = &mut times[2..];
    times.sort_by(f64::total_cmp);
    println!("{name}; {rows} rows of {width} features, 8 experts to {DIM}; forward and backward, median of {runs}");
    println!("experts MB {:.1}", most() - before);
    println!("experts ms {:.3}", times[runs / 2]);
    Ok(())
}
