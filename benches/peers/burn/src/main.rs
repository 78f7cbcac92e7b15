//! SASRec's training step in burn next to wgrec's, on the same data, batch and cores, in turns in one run; or, with
//! `--kernels full` or `quick`, each kernel that burn has at the sizes of `wgrec bench kernels`. With `wgpu` burn's times are those
//! of the clock, from the call until the device is done, and wgrec's those of the device: small sizes flatter wgrec there.
//!
//! ```sh
//! cargo build --release
//! cargo run --release --manifest-path benches/peers/burn/Cargo.toml -- --data PATH/ml-1m [--backends flex,ndarray,wgpu]
//! cargo run --release --manifest-path benches/peers/burn/Cargo.toml -- --kernels quick [--backends flex,ndarray,wgpu]
//! ```
//!
//! The model and the data are those of steps.py: MovieLens-1M, 5-core, leave-one-out, B 128, d 64, two blocks, one head, dropout
//! 0.2, softmax over all items with a target at every position; batch making counts on both sides. Positions without a target
//! do not enter burn's loss either. `wgpu` runs on the first adapter that wgpu finds, and so does wgrec's `--device gpu` next to it.

use burn::backend::{Autodiff, Flex, NdArray, Wgpu};
use burn::module::{Module, Param};
use burn::nn::LinearConfig;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Dropout, DropoutConfig, Embedding, EmbeddingConfig, Initializer, LayerNorm, LayerNormConfig, Linear};
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Bool, Int, Tensor, TensorData, backend::Backend};
use std::collections::HashMap;
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

mod kernels;

const D: usize = 64;
const DROPOUT: f64 = 0.2;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

// ---- Data ----

/// Histories of items 1 to n, the last two of each user left out.
struct Data {
    histories: Vec<Vec<u32>>,
    items: usize,
}

fn read(folder: &Path) -> Result<Data> {
    let plain = folder.join("ratings.dat");
    let file: Box<dyn Read> = match std::fs::File::open(&plain) {
        Ok(file) => Box::new(file),
        Err(_) => Box::new(flate2::read::MultiGzDecoder::new(std::fs::File::open(folder.join("ratings.dat.gz"))?)),
    };
    let mut rows: Vec<(u32, u32, i64)> = vec![];
    for line in BufReader::new(file).lines() {
        let line = line?;
        let mut fields = line.split("::");
        let mut next = || fields.next().ok_or_else(|| format!("a line of four fields was expected, found {line:?}"));
        let (user, item) = (next()?.parse()?, next()?.parse()?);
        next()?;
        rows.push((user, item, next()?.trim().parse()?));
    }
    loop {
        let (mut users, mut items) = (HashMap::new(), HashMap::new());
        for &(user, item, _) in &rows {
            *users.entry(user).or_insert(0) += 1;
            *items.entry(item).or_insert(0) += 1;
        }
        let before = rows.len();
        rows.retain(|(user, item, _)| users[user] >= 5 && items[item] >= 5);
        if rows.len() == before {
            break;
        }
    }
    rows.sort_by_key(|&(user, _, time)| (user, time));
    let mut ids = HashMap::new();
    let mut histories: Vec<Vec<u32>> = vec![];
    let mut last = None;
    for (user, item, _) in rows {
        if last != Some(user) {
            histories.push(vec![]);
            last = Some(user);
        }
        let next = ids.len() as u32 + 1;
        histories.last_mut().expect("one was pushed").push(*ids.entry(item).or_insert(next));
    }
    histories.iter_mut().for_each(|h| h.truncate(h.len() - 2));
    Ok(Data { histories, items: ids.len() })
}

/// Endless batches: items \[B, L\], padded on the left, and the positions with a target and those targets.
struct Batches<'a> {
    data: &'a Data,
    windows: Vec<(usize, usize)>,
    at: usize,
    batch: usize,
    len: usize,
    state: u64,
}

struct Batch {
    items: Vec<i32>,
    places: Vec<i32>,
    targets: Vec<i32>,
}

impl<'a> Batches<'a> {
    fn new(data: &'a Data, batch: usize, len: usize) -> Batches<'a> {
        let ends = |h: &Vec<u32>| (1..h.len()).rev().step_by(len).collect::<Vec<_>>();
        let of = |(user, h): (usize, &Vec<u32>)| ends(h).into_iter().map(move |end| (user, end));
        let windows = data.histories.iter().enumerate().flat_map(of).collect();
        Batches { data, windows, at: usize::MAX, batch, len, state: 1 }
    }

    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.state >> 33) as usize) % n
    }

    fn next(&mut self) -> Batch {
        if self.at.saturating_add(self.batch) > self.windows.len() {
            for i in (1..self.windows.len()).rev() {
                let j = self.below(i + 1);
                self.windows.swap(i, j);
            }
            self.at = 0;
        }
        let mut batch = Batch { items: vec![0; self.batch * self.len], places: vec![], targets: vec![] };
        for (row, &(user, end)) in self.windows[self.at..self.at + self.batch].iter().enumerate() {
            let history = &self.data.histories[user];
            let size = end.min(self.len);
            for i in 0..size {
                let place = (row + 1) * self.len - size + i;
                batch.items[place] = history[end - size + i] as i32;
                batch.places.push(place as i32);
                batch.targets.push(history[end - size + i + 1] as i32 - 1);
            }
        }
        self.at += self.batch;
        batch
    }
}

// ---- burn ----

#[derive(Module, Debug)]
struct Block<B: Backend> {
    norms: [LayerNorm<B>; 2],
    linear: [Linear<B>; 6],
    dropout: Dropout,
}

impl<B: Backend> Block<B> {
    fn new(device: &B::Device) -> Block<B> {
        Block {
            norms: [(); 2].map(|()| LayerNormConfig::new(D).with_epsilon(1e-8).init(device)),
            linear: [(); 6].map(|()| LinearConfig::new(D, D).init(device)),
            dropout: DropoutConfig::new(DROPOUT).init(),
        }
    }

    /// x \[B, L, d\], keep \[B, L, 1\], hidden \[B, L, L\]: true where a position may not be attended to.
    fn forward(&self, x: Tensor<B, 3>, keep: &Tensor<B, 3>, hidden: &Tensor<B, 3, Bool>) -> Tensor<B, 3> {
        let [q, k, v, o, up, down] = &self.linear;
        let normed = self.norms[0].forward(x.clone());
        let scores = q.forward(normed.clone()).matmul(k.forward(x.clone()).transpose()).div_scalar((D as f64).sqrt());
        let weights = self.dropout.forward(softmax(scores.mask_fill(hidden.clone(), -1e9), 2));
        let attended = o.forward(weights.matmul(v.forward(x)));
        let x = self.norms[1].forward(normed + self.dropout.forward(attended));
        let inner = self.dropout.forward(relu(up.forward(x.clone())));
        (x + self.dropout.forward(down.forward(inner))) * keep.clone()
    }
}

#[derive(Module, Debug)]
struct SasRec<B: Backend> {
    items: Embedding<B>,
    positions: Param<Tensor<B, 2>>,
    blocks: Vec<Block<B>>,
    norm: LayerNorm<B>,
    dropout: Dropout,
}

impl<B: Backend> SasRec<B> {
    fn new(items: usize, len: usize, device: &B::Device) -> SasRec<B> {
        let normal = Initializer::Normal { mean: 0.0, std: 0.02 };
        SasRec {
            items: EmbeddingConfig::new(items + 1, D).with_initializer(normal.clone()).init(device),
            positions: normal.init([len, D], device),
            blocks: (0..2).map(|_| Block::new(device)).collect(),
            norm: LayerNormConfig::new(D).with_epsilon(1e-8).init(device),
            dropout: DropoutConfig::new(DROPOUT).init(),
        }
    }

    /// Rows \[B L, d\] of the items \[B, L\].
    fn forward(&self, items: Tensor<B, 2, Int>) -> Tensor<B, 2> {
        let [batch, len] = items.dims();
        let device = items.device();
        let padding = items.clone().equal_elem(0);
        let keep = padding.clone().bool_not().float().unsqueeze_dim::<3>(2);
        let later = Tensor::<B, 2, Bool>::tril_mask([len, len], 0, &device).unsqueeze::<3>().expand([batch, len, len]);
        // A padded position attends to itself, so that no row is empty.
        let other = Tensor::<B, 2, Bool>::diag_mask([len, len], 0, &device).unsqueeze::<3>().expand([batch, len, len]);
        let padded = padding.unsqueeze_dim::<3>(1).expand([batch, len, len]);
        let hidden = later.bool_or(padded.bool_and(other));
        let x = self.items.forward(items).mul_scalar((D as f64).sqrt()) + self.positions.val().unsqueeze();
        let x = self.dropout.forward(x) * keep.clone();
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, &keep, &hidden));
        self.norm.forward(x).reshape([batch * len, D])
    }

    fn loss(&self, batch: &Batch, size: usize, device: &B::Device) -> Tensor<B, 1> {
        let ints = |x: &[i32]| Tensor::<B, 1, Int>::from_data(TensorData::new(x.to_vec(), [x.len()]), device);
        let len = batch.items.len() / size;
        let rows = self.forward(ints(&batch.items).reshape([size, len])).select(0, ints(&batch.places));
        let table = self.items.weight.val();
        let items = table.dims()[0];
        let logits = rows.matmul(table.slice([1..items, 0..D]).transpose());
        CrossEntropyLossConfig::new().init(device).forward(logits, ints(&batch.targets))
    }
}

/// Trains; samples per second of each round, and the last loss, as lines of JSON, one for each number of steps on stdin.
fn peer<B: AutodiffBackend>(data: &Data, batch: usize, len: usize) -> Result<()> {
    let device = B::Device::default();
    let mut model = SasRec::<B>::new(data.items, len, &device);
    let mut adam = AdamConfig::new().with_epsilon(1e-8).init();
    let mut batches = Batches::new(data, batch, len);
    for line in std::io::stdin().lines() {
        let steps: usize = line?.trim().parse()?;
        let (start, mut last) = (Instant::now(), 0.0);
        for _ in 0..steps {
            let loss = model.loss(&batches.next(), batch, &device);
            let gradients = GradientsParams::from_grads(loss.backward(), &model);
            model = adam.step(1e-3, model, gradients);
            last = loss.into_data().convert::<f32>().to_vec::<f32>().map_err(|e| format!("{e:?}"))?[0];
        }
        println!(
            "{}",
            serde_json::json!({ "rate": (steps * batch) as f64 / start.elapsed().as_secs_f64(), "loss": last })
        );
    }
    Ok(())
}

// ---- Both ----

struct Options {
    data: PathBuf,
    backends: Vec<String>,
    batch: usize,
    len: usize,
    steps: usize,
    rounds: usize,
    threads: usize,
    wgrec: PathBuf,
    /// `full` or `quick`; empty: the step.
    kernels: String,
}

fn options() -> Result<(Options, Option<String>)> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.."));
    let mut o = Options {
        data: PathBuf::new(),
        backends: ["flex", "ndarray", "wgpu"].map(String::from).to_vec(),
        batch: 128,
        len: 50,
        steps: 10,
        rounds: 3,
        threads: 2,
        wgrec: root.join("target/release/wgrec"),
        kernels: String::new(),
    };
    let mut role = None;
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--data" => o.data = value.into(),
            "--backends" => o.backends = value.split(',').map(String::from).collect(),
            "--batch" => o.batch = value.parse()?,
            "--len" => o.len = value.parse()?,
            "--steps" => o.steps = value.parse()?,
            "--rounds" => o.rounds = value.parse()?,
            "--threads" => o.threads = value.parse()?,
            "--wgrec" => o.wgrec = value.into(),
            "--kernels" if value == "full" || value == "quick" => o.kernels = value,
            "--peer" => role = Some(value),
            _ => return Err(format!("unknown option {name}; see the head of src/main.rs").into()),
        }
    }
    if o.data.as_os_str().is_empty() && o.kernels.is_empty() {
        return Err("--data FOLDER is missing: a folder with ratings.dat or ratings.dat.gz".into());
    }
    Ok((o, role))
}

/// Samples per second of wgrec, warm as burn is.
fn wgrec(o: &Options, device: &str) -> Result<f64> {
    let file = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(&o.wgrec);
    command.args(["bench", "step", "sasrec", "--device", device, "--data"]).arg(&o.data);
    command.arg("--json").arg(file.path());
    let shape = format!("train.batch={} data.max_len={}", o.batch, o.len);
    let model =
        "data.min_user=5 data.min_item=5 loss.kind=softmax model.positions=all model.layers=2 model.dropout=0.2";
    shape.split(' ').chain(model.split(' ')).for_each(|setting| {
        command.args(["--set", setting]);
    });
    let done = command.env("RAYON_NUM_THREADS", o.threads.to_string()).stdout(Stdio::null()).status()?;
    if !done.success() {
        return Err(format!("{} failed", o.wgrec.display()).into());
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(file.path())?)?;
    report["facts"]["samples_per_second"].as_f64().ok_or_else(|| "no samples_per_second".into())
}

/// This program as burn's side, which answers a line by a line.
struct Peer {
    process: std::process::Child,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Peer {
    fn start(o: &Options, backend: &str) -> Result<Peer> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(std::env::args().skip(1))
            .args(["--peer", backend])
            .env("RAYON_NUM_THREADS", o.threads.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Ok(Peer { process, answers })
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        writeln!(self.process.stdin.as_mut().expect("it is piped"), "{line}")?;
        Ok(self.answers.next().ok_or("burn's process ended")??)
    }
}

impl Drop for Peer {
    /// It ends with its input.
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// Milliseconds of each kernel, forward.
fn compare_kernels(o: &Options, backend: &str) -> Result<()> {
    let device = if backend == "wgpu" { "gpu" } else { "cpu" };
    let file = tempfile::NamedTempFile::new()?;
    let mut command = Command::new(&o.wgrec);
    command.args(["bench", "kernels", "--device", device, "--json"]).arg(file.path());
    if o.kernels == "quick" {
        command.arg("--quick");
    }
    let done = command.env("RAYON_NUM_THREADS", o.threads.to_string()).stdout(Stdio::null()).status()?;
    if !done.success() {
        return Err(format!("{} failed", o.wgrec.display()).into());
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(file.path())?)?;
    println!("{backend} beside wgrec on {}, {} threads, milliseconds", report["adapter"], o.threads);
    println!("{:<22}{:<30}{:>10}{:>10}{:>8}", "case", "sizes", "wgrec", "burn", "ratio");
    let mut peer = Peer::start(o, backend)?;
    for row in report["rows"].as_array().ok_or("no rows")? {
        let text = |key: &str| row[key].as_str().ok_or("a row without it");
        let (name, sizes) = (text("name")?, text("sizes")?);
        let ours = 1e3 * row["seconds"]["median"].as_f64().ok_or("no median")?;
        if let Ok(theirs) = peer.ask(&format!("{name}\t{sizes}"))?.parse::<f64>() {
            println!("{name:<22}{sizes:<30}{ours:>10.3}{theirs:>10.3}{:>7.2}x", theirs / ours);
        }
    }
    Ok(())
}

fn main() -> Result<()> {
    let (o, role) = options()?;
    if let (Some(backend), false) = (&role, o.kernels.is_empty()) {
        return match backend.as_str() {
            "flex" => kernels::peer::<Flex>(o.steps),
            "ndarray" => kernels::peer::<NdArray>(o.steps),
            "wgpu" => kernels::peer::<Wgpu>(o.steps),
            other => Err(format!("unknown backend {other}: flex, ndarray or wgpu").into()),
        };
    }
    if !o.kernels.is_empty() {
        return o.backends.iter().try_for_each(|backend| compare_kernels(&o, backend));
    }
    if let Some(backend) = role {
        let data = read(&o.data)?;
        return match backend.as_str() {
            "flex" => peer::<Autodiff<Flex>>(&data, o.batch, o.len),
            "ndarray" => peer::<Autodiff<NdArray>>(&data, o.batch, o.len),
            "wgpu" => peer::<Autodiff<Wgpu>>(&data, o.batch, o.len),
            other => Err(format!("unknown backend {other}: flex, ndarray or wgpu").into()),
        };
    }
    println!(
        "SASRec's step, B {}, L {}, d {D}, softmax over all items, {} threads, {} rounds of {} steps in turns",
        o.batch, o.len, o.threads, o.rounds, o.steps
    );
    println!("{:<24}{:>12}{:>12}{:>8}", "", "burn", "wgrec", "ratio");
    for backend in &o.backends {
        let mut peer = Peer::start(&o, backend)?;
        let mut ask = |steps: usize| -> Result<f64> {
            let answer: serde_json::Value = serde_json::from_str(&peer.ask(&steps.to_string())?)?;
            answer["rate"].as_f64().ok_or_else(|| "no rate".into())
        };
        // Kernels are compiled and chosen in the first steps.
        ask(2)?;
        let device = if backend == "wgpu" { "gpu" } else { "cpu" };
        let (mut theirs, mut ours) = (0.0, 0.0);
        for _ in 0..o.rounds {
            theirs += 1.0 / ask(o.steps)?;
            ours += 1.0 / wgrec(&o, device)?;
        }
        let (theirs, ours) = (o.rounds as f64 / theirs, o.rounds as f64 / ours);
        println!("{:<24}{theirs:>12.1}{ours:>12.1}{:>7.2}x", format!("{backend}, samples/s"), ours / theirs);
    }
    Ok(())
}
