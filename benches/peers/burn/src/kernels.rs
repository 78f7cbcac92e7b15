//! burn's kernels at the sizes of `wgrec bench kernels`: each case that has a counterpart, forward.

use crate::Result;
use burn::backend::Autodiff;
use burn::module::{Module, Param};
use burn::nn::LayerNormConfig;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams, Optimizer};
use burn::tensor::activation::{relu, softmax};
use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Distribution, IndexingUpdateOp, Int, Tensor, TensorData, backend::Backend};
use std::any::Any;
use std::time::Instant;

/// The same in burn: what is called again and again, and returns what it made, since fused kernels leave out what nobody keeps.
/// None where burn has none: its FFT is for powers of two and has no gradient.
fn case<B: Backend>(name: &str, sizes: &str, device: &B::Device) -> Option<Box<dyn FnMut() -> Box<dyn Any>>> {
    let device = device.clone();
    let n: Vec<usize> =
        sizes.split(|c: char| !c.is_ascii_digit()).filter(|s| !s.is_empty()).map(|s| s.parse().unwrap()).collect();
    let normal = |shape: [usize; 2]| Tensor::<B, 2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
    let vector = |n: usize| Tensor::<B, 1>::random([n], Distribution::Normal(0.0, 1.0), &device);
    let ints = |values: Vec<i32>| {
        let n = values.len();
        Tensor::<B, 1, Int>::from_data(TensorData::new(values, [n]), &device)
    };
    // The finaliser of MurmurHash3, as the cases of wgrec have it.
    let below = |n: usize, limit: usize| {
        let word = |i: usize| {
            let mut h = (i as u32).wrapping_mul(0x9E37_79B9);
            h = (h ^ h >> 16).wrapping_mul(0x85EB_CA6B);
            h = (h ^ h >> 13).wrapping_mul(0xC2B2_AE35);
            (h ^ h >> 16) as usize % limit
        };
        (0..n).map(|i| word(i) as i32).collect::<Vec<_>>()
    };
    Some(match name.split(' ').collect::<Vec<_>>()[..] {
        ["gather", order] => {
            let rows = if order == "contiguous" { (1..=n[0] as i32).collect() } else { below(n[0], n[0] + 1) };
            let (table, rows) = (normal([n[0] + 1, n[1]]), ints(rows));
            Box::new(move || Box::new(table.clone().select(0, rows.clone())))
        }
        ["scatter", order] => {
            let ordered = || (0..n[0]).map(|i| 1 + (i * (n[2] - 1) / n[0]) as i32).collect();
            let rows = ints(if order == "contiguous" { ordered() } else { below(n[0], n[2]) });
            let (dy, shape) = (normal([n[0], n[1]]), [n[2], n[1]]);
            Box::new(move || {
                let table = Tensor::<B, 2>::zeros(shape, &device);
                Box::new(table.select_assign(0, rows.clone(), dy.clone(), IndexingUpdateOp::Add))
            })
        }
        ["matmul", "backward", "x"] => {
            let (dy, w) = (normal([n[0], n[2]]), normal([n[2], n[1]]));
            Box::new(move || Box::new(dy.clone().matmul(w.clone())))
        }
        ["matmul", "backward", "w"] => {
            let (dy, x) = (normal([n[0], n[2]]), normal([n[0], n[1]]));
            Box::new(move || Box::new(dy.clone().transpose().matmul(x.clone())))
        }
        ["matmul", ref kind @ ..] if kind != ["f16"] => {
            let (x, w, bias) = (normal([n[0], n[1]]), normal([n[2], n[1]]), vector(n[2]));
            let (bias, act) = ((!kind.is_empty()).then_some(bias), kind.contains(&"relu"));
            Box::new(move || {
                let y = x.clone().matmul(w.clone().transpose());
                let y = bias.clone().map_or(y.clone(), |bias| y + bias.unsqueeze());
                Box::new(if act { relu(y) } else { y })
            })
        }
        ["softmax"] => {
            let x = normal([n[0], n[1]]);
            Box::new(move || Box::new(softmax(x.clone(), 1)))
        }
        ["layer", "norm"] => {
            let (x, norm) = (normal([n[0], n[1]]), LayerNormConfig::new(n[1]).init::<B>(&device));
            Box::new(move || Box::new(norm.forward(x.clone())))
        }
        ["attention"] => {
            let of = |_| {
                let x =
                    Tensor::<B, 4>::random([n[0], n[1], n[3], n[2] / n[3]], Distribution::Normal(0.0, 1.0), &device);
                x.swap_dims(1, 2)
            };
            let [q, k, v] = [0, 1, 2].map(of);
            let options = AttentionModuleOptions { is_causal: true, ..Default::default() };
            Box::new(move || Box::new(attention(q.clone(), k.clone(), v.clone(), None, None, options)))
        }
        ["elementwise"] => {
            let (x, y) = (vector(n[0]), vector(n[0]));
            Box::new(move || {
                let (x, y) = (x.clone(), y.clone());
                let left = (x.clone() * y.clone() + x).tanh();
                Box::new(left * burn::tensor::activation::sigmoid(y))
            })
        }
        ["softmax", "loss"] => {
            let of =
                |shape: [usize; 2]| Tensor::<Autodiff<B>, 2>::random(shape, Distribution::Normal(0.0, 1.0), &device);
            let (x, table) = (of([n[0], n[1]]), of([n[2], n[1]]));
            let targets = Tensor::<Autodiff<B>, 1, Int>::from_inner(ints(below(n[0], n[2])));
            let loss = CrossEntropyLossConfig::new().init(&device);
            Box::new(move || {
                let (x, table) = (x.clone().require_grad(), table.clone().require_grad());
                let loss = loss.forward(x.clone().matmul(table.clone().transpose()), targets.clone());
                let mut gradients = loss.backward();
                Box::new((loss, x.grad_remove(&mut gradients), table.grad_remove(&mut gradients)))
            })
        }
        ["adam"] => {
            let x = Tensor::<Autodiff<B>, 1>::random([n[0]], Distribution::Normal(0.0, 1.0), &device);
            let mut table = Some(Table::<Autodiff<B>> { x: Param::from_tensor(x) });
            let (id, gradient, mut adam) = (table.as_ref()?.x.id, vector(n[0]), AdamConfig::new().init());
            Box::new(move || {
                let mut gradients = GradientsParams::new();
                gradients.register::<B, 1>(id, gradient.clone());
                table = table.take().map(|table| adam.step(1e-3, table, gradients));
                Box::new(())
            })
        }
        ["full", "ranking"] => {
            let (x, table) = (normal([n[0], n[1]]), normal([n[2], n[1]]));
            let targets = ints(below(n[0], n[2])).unsqueeze_dim::<2>(1);
            let seen: Vec<i32> = (0..n[0]).flat_map(|user| (0..20).map(move |i| (user % 7 + 11 * i) as i32)).collect();
            let seen = ints(seen).reshape([n[0], 20]);
            let low = Tensor::<B, 2>::full([n[0], 20], -1e30, &device);
            Box::new(move || {
                let scores = x.clone().matmul(table.clone().transpose());
                let wanted = scores.clone().gather(1, targets.clone());
                let scores = scores.scatter(1, seen.clone(), low.clone(), IndexingUpdateOp::Add);
                Box::new(scores.greater(wanted).int().sum_dim(1))
            })
        }
        _ => return None,
    })
}

#[derive(Module, Debug)]
struct Table<B: Backend> {
    x: Param<Tensor<B, 1>>,
}

/// Milliseconds, the median of `runs`, of the cases named on stdin, a line each: name, tab, sizes. `none`: there is no counterpart.
pub fn peer<B: Backend>(runs: usize) -> Result<()> {
    let device = B::Device::default();
    let sync = || B::sync(&device).map_err(|e| format!("{e:?}"));
    // Drives the caches out between two runs.
    let mut flush = vec![1u64; 64 << 20];
    for line in std::io::stdin().lines() {
        let line = line?;
        let (name, sizes) = line.split_once('\t').ok_or("name, tab, sizes")?;
        let Some(mut run) = case::<B>(name, sizes, &device) else {
            println!("none");
            continue;
        };
        let mut times = vec![];
        for i in 0..runs + 3 {
            flush.iter_mut().for_each(|x| *x = x.wrapping_add(1));
            sync()?;
            let start = Instant::now();
            let made = run();
            sync()?;
            if i >= 3 {
                times.push(1e3 * start.elapsed().as_secs_f64());
            }
            drop(made);
        }
        times.sort_by(f64::total_cmp);
        println!("{}", times[times.len() / 2]);
    }
    Ok(())
}
