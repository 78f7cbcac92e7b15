//! The learnable filter and the efficient filter layer against attention of the same width (one head, not causal, no
//! projections): time and memory of forward and backward. `cargo bench --bench filter [-- d [device [runs]]]`, by default 64, cpu, 15;
//! 12,800 positions a batch. benches/peers/filter.py times the filter in PyTorch next to it.

use std::time::Instant;
use wgrec::device::{Device, RunOptions};
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Var};
use wgrec::kernels::fourier::frequencies;
use wgrec::nn::filter::filter_layer;
use wgrec::tensor::philox::Stream;
use wgrec::tensor::{Shape, Spec, Tensor};

const PLACES: usize = 12_800;
const BLOCKS: usize = 4;

fn main() -> wgrec::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |at: usize, default| args.get(at).map_or(default, |arg| arg.parse().expect("[d [device [runs]]]"));
    let (d, runs) = (number(0, 64), number(2, 15).max(1));
    let (device, name) = Device::open(args.get(1).map_or("cpu", String::as_str))?;
    println!(
        "{name}; d {d}, {PLACES} positions, {BLOCKS} blocks; forward and backward: ms, median of {runs}, and MB of all buffers"
    );
    let columns = ["filter", "layer", "attention"];
    let [ms, mb] =
        ["ms", "MB"].map(|unit| columns.map(|column| format!("{:>13}", format!("{column} {unit}"))).concat());
    println!("{:>6} {:>6}{ms}{mb}", "L", "B");
    for t in [50, 200, 1000, 2000] {
        let filter = measure(&device, t, d, runs, |_, x, weights| x.filter(weights(&[frequencies(t), 2, d])))?;
        let layer = measure(&device, t, d, runs, |_, x, weights| {
            let width = d / BLOCKS;
            let mut layer = || [weights(&[BLOCKS, 2, width, width]), weights(&[2, d])];
            let (first, second) = (layer(), layer());
            filter_layer(x, first, second)
        })?;
        let attention = measure(&device, t, d, runs, |g, x, _| {
            let keep = g.constant(Tensor::u32([PLACES / t, t], vec![1; PLACES / t * t]));
            x.attention(x, x, keep, 1, false, 0.0)
        })?;
        let all = [filter, layer, attention];
        let [ms, mb] =
            [all.map(|(ms, _)| ms), all.map(|(_, mb)| mb)].map(|row| row.map(|x| format!("{x:>13.2}")).concat());
        println!("{t:>6} {:>6}{ms}{mb}", PLACES / t);
    }
    Ok(())
}

/// Median milliseconds, and megabytes, of `layer` \[B, t, d\] of x \[B, t, d\] and of the gradients by x and by all its weights.
fn measure(
    device: &Device,
    t: usize,
    d: usize,
    runs: usize,
    layer: impl for<'g> Fn(&'g Graph, Var<'g>, &mut dyn FnMut(&[usize]) -> Var<'g>) -> Var<'g>,
) -> wgrec::Result<(f64, f64)> {
    let g = Graph::new();
    let spec = Spec::f32([PLACES / t, t, d]);
    let x = g.input("x", spec.clone());
    let mut by = vec![x];
    let mut weights = |shape: &[usize]| {
        let name = format!("w{}", by.len());
        by.push(g.state(&name, &name, 0, Spec::f32(Shape::from(shape))));
        by[by.len() - 1]
    };
    let y = layer(&g, x, &mut weights);
    let loss = (y * g.input("dy", spec.clone())).sum_all();
    for (i, (gradient, &v)) in g.gradients(loss, &by)?.into_iter().zip(&by).enumerate() {
        g.result(&i.to_string(), gradient.dense(v));
    }
    let plan = device.plan(&g, Options::default())?;
    let mut store = device.store(&plan.states)?;
    let draw = |name: &str, n: usize| -> Vec<f32> {
        let mut r = Stream::new(1, name, 0);
        (0..n).map(|_| r.normal() as f32).collect()
    };
    for (name, n) in &plan.states {
        store.write(name, 0, &Tensor::f32([*n], draw(name, *n)))?;
    }
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    for name in ["x", "dy"] {
        runner.write_f32(name, &draw(name, spec.shape.elements()))?;
    }
    runner.run()?;
    runner.wait()?;
    let mut times = vec![];
    for _ in 0..runs {
        let start = Instant::now();
        runner.run()?;
        runner.wait()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok((times[runs / 2], plan.peak_bytes() as f64 / 1e6))
}
