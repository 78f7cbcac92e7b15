//! That the rounding error of a sum does not grow with the number of its terms: sums of equal numbers, whose errors all have
//! one sign, by every kernel that adds up an axis, a batch or a list.
//!
//! CI adds a million numbers. `cargo test --release --test kernels -- --ignored sums` adds 100,000,000 on the CPU and
//! 20,000,000 on the GPU, more than one workgroup of 256 invocations adds in 65,535 turns: 3 GB of memory, some minutes.

use crate::harness::devices;
use libtest_mimic::{Failed, Trial};
use std::sync::Mutex;
use wgrec::device::{Device, RunOptions};
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Var};
use wgrec::kernels::layer_norm::LayerNormParameters;
use wgrec::kernels::reduce::SumSquares;
use wgrec::tensor::segments::Segments;
use wgrec::tensor::{Spec, Tensor};

/// Error allowed, as a share of the sum: 32 times the rounding of one number.
const ALLOWED: f64 = 2e-6;
const VALUE: f32 = 0.1;

/// A sum over input `x` \[n\], all [`VALUE`].
type Sum = for<'g> fn(&'g Graph, Var<'g>) -> Result<Var<'g>, Failed>;

/// What it is, by n and the value.
type Exact = fn(f64, f64) -> f64;

const SUMS: [(&str, Sum, Exact); 9] = [
    ("sum", |_, x| Ok(x.sum(0)), |n, value| n * value),
    ("mean", |_, x| Ok(x.mean(0)), |_, value| value),
    ("rows", |_, x| Ok(x.reshape([3, count(x) / 3]).sum(1).sum(0)), |n, value| n * value),
    // As the gradient of a bias.
    ("columns", |_, x| Ok(x.reshape([count(x) / 3, 3]).sum(0).sum(0)), |n, value| n * value),
    ("middle", |_, x| Ok(x.reshape([3, count(x) / 9, 3]).sum(1).sum_all()), |n, value| n * value),
    ("squares", |g, x| Ok(g.push(SumSquares, &[x])), |n, value| n * value * value),
    ("softmax", |_, x| Ok(x.softmax(0, None).slice(0, 0, 1).scale(count(x) as f64)), |_, _| 1.0),
    ("softmax_gradient", softmax_gradient, |n, _| 1.0 - 1.0 / n),
    ("norm_parameters", norm_parameters, |n, value| 2.0 * n * value),
];

fn count(x: Var) -> usize {
    x.shape()[0]
}

/// n times the first of y (dy - sum of y dy), where each of y is 1 / n and dy the value, the first one more.
fn softmax_gradient<'g>(g: &'g Graph, x: Var<'g>) -> Result<Var<'g>, Failed> {
    let n = count(x);
    let dy = g.concat(0, &[x.slice(0, 0, 1) + x.constant_like(1.0), x.slice(0, 1, n - 1)]);
    let dx = g.gradients((x.softmax(0, None) * dy.stop_gradient()).sum_all(), &[x])?[0].dense(x);
    Ok(dx.slice(0, 0, 1).scale(n as f64))
}

/// The gradients of the gains, where all inputs normalise to 1, and of the biases: each the sum of dy.
fn norm_parameters<'g>(g: &'g Graph, x: Var<'g>) -> Result<Var<'g>, Failed> {
    let rows = count(x) / 3;
    let stats = g.constant(Tensor::f32([1, 2], vec![0.0, 1.0])).expand([rows, 2]);
    let ones = g.scalar(1.0).expand([rows, 3]);
    Ok(g.push(LayerNormParameters { rms: false }, &[ones, stats, x.reshape([rows, 3])]).sum_all())
}

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![];
    // Multiples of 9.
    for (device, short, long) in [("cpu", 1_000_008, 99_999_999), ("gpu", 1_000_008, 20_000_007)] {
        for (name, sum, want) in SUMS {
            for (n, whole) in [(short, false), (long, true)] {
                let trial = move || near(device, sum, n, want(n as f64, VALUE as f64));
                trials.push(Trial::test(format!("sums::{name}_{n}::{device}"), trial).with_ignored_flag(whole));
            }
        }
        for (n, whole) in [(200_003, false), (10_000_007, true)] {
            for segmented in [false, true] {
                let name = if segmented { "segments" } else { "small_table" };
                let trial = move || gathered(device, n, segmented);
                trials.push(Trial::test(format!("sums::{name}_{n}::{device}"), trial).with_ignored_flag(whole));
            }
        }
    }
    trials
}

/// One at a time: they are large.
static ALONE: Mutex<()> = Mutex::new(());

fn near(device: &str, sum: Sum, n: usize, want: f64) -> Result<(), Failed> {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let g = Graph::new();
    g.result("y", sum(&g, g.input("x", Spec::f32([n])))?);
    judge(run(&devices::get(device)?, &g, n, &[])?, want)
}

/// The gradient of a row that is gathered n times: by sorted segments, or of a small table by comparing.
fn gathered(device: &str, n: usize, segmented: bool) -> Result<(), Failed> {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let g = Graph::new();
    let (x, table) = (g.input("x", Spec::f32([n])), g.state("table", "table", 0, Spec::f32([3, 1])));
    let list = g.input("list", Spec::u32([n]));
    if segmented {
        g.segments("segments", table, &[list]);
    }
    let loss = (table.gather(list).reshape([n]) * x).sum_all();
    g.result("y", g.gradients(loss, &[table])?[0].dense(table).sum_all());
    judge(run(&devices::get(device)?, &g, n, &vec![1; n])?, n as f64 * VALUE as f64)
}

fn run(device: &Device, g: &Graph, n: usize, list: &[u32]) -> Result<f64, Failed> {
    let plan = device.plan(g, Options::default())?;
    let store = device.store(&[("table".into(), 3)])?;
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    runner.write_f32("x", &vec![VALUE; n])?;
    if !list.is_empty() {
        runner.write_u32("list", list)?;
    }
    if plan.inputs.iter().any(|(name, _)| name == "segments.rows") {
        let mut segments = Segments::default();
        segments.build(&[list], 3);
        runner.write_segments("segments", &segments)?;
    }
    runner.run()?;
    Ok(runner.read("y")?.to_f64()[0])
}

fn judge(got: f64, want: f64) -> Result<(), Failed> {
    let off = (got - want).abs() / want;
    if off <= ALLOWED { Ok(()) } else { Err(format!("got {got}, want {want}: {off:.1e} off").into()) }
}
