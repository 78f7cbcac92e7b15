//! A device's self-check: every kernel on small operands against its twin in f64. The tests do this thoroughly; this is for
//! a driver that they have never seen.

use super::{Device, Precision, RunOptions, cpu};
use crate::error::Result;
use crate::graph::plan::{Options, Plan};
use crate::graph::{Graph, Step, Var};
use crate::kernels::adam::{Adam, AdamRows, Settings};
use crate::kernels::bpr::Bpr;
use crate::kernels::complex_linear::ComplexLinear;
use crate::kernels::embedding::GatherDot;
use crate::kernels::matmul::Activation;
use crate::kernels::moments::Moments;
use crate::kernels::random::Noise;
use crate::kernels::rank::{Pick, Rank, TopK};
use crate::kernels::reduce::SumSquares;
use crate::kernels::watch::Watch;
use crate::tensor::philox::Stream;
use crate::tensor::segments::Segments;
use crate::tensor::{Spec, Tensor};

/// How far a kernel's worst element is from f64's, as |got - want| / (1 + |want|); more than [`ALLOWED`] is wrong.
pub struct Checked {
    pub kernel: &'static str,
    pub worst: f64,
}

/// f32 arithmetic over sums of some hundred terms, and the loosest tanh and log of a driver that were met.
pub const ALLOWED: f64 = 1e-4;

impl Checked {
    pub fn passed(&self) -> bool {
        self.worst <= ALLOWED
    }
}

type Build = for<'g> fn(&'g Graph) -> Result<Vec<Var<'g>>>;

/// Each kernel's results from the states `a` \[7, 6, 5\] and `w` \[37, 5\], and gradients by them.
const KERNELS: [(&str, Build); 23] = [
    ("elementwise", |g| {
        let x = a(g);
        let all =
            [x.sigmoid(), x.softplus(), x.gelu(), x.gelu_tanh(), x.exp(), x.abs().sqrt(), x.sin(), x.cos(), x.relu()];
        with_gradients(all.into_iter().reduce(|s, v| s + v * x.tanh()).expect("there are some"), &[x])
    }),
    ("matmul", |g| {
        let (x, w) = (a(g), w(g));
        let y = x.linear(w, None, Activation::Tanh).matmul(w) * x.permute(&[0, 1, 2]);
        with_gradients(y + x.matmul_t(x).matmul(x), &[x, w])
    }),
    // What WGSL leaves to the driver: NaN stays NaN. Each result is 0 then, and a number near 2 where it did not.
    ("nan", |g| {
        let x = g.constant(Tensor::f32([7, 6], vec![f32::NAN; 42]));
        let one = g.scalar(1.0);
        let each = [x + one, x.scale(0.5), x.exp(), x.log(), x.sqrt(), x.sin(), x.tanh(), x.sigmoid(), x.softplus()];
        let chosen = [x.relu(), x.max(one), one.min(x), x.sign(), x.greater(one), x.equal(one), x.nonzero()];
        let rows = [x.softmax(1, None), x.max_over(1), x.sum(1), x.matmul_t(x)];
        Ok([&each[..], &chosen, &rows].concat().into_iter().map(|y| (y + g.scalar(2.0)).finite_or_zero()).collect())
    }),
    // By cooperative matrices where the device has them. Factors that f16 holds exactly, sums that f32 does.
    ("cooperative", |g| {
        let whole = |shape: [usize; 2], n: usize| {
            let values = (0..shape[0] * shape[1]).map(|i| (i * n % 17) as f32 / 8.0 - 1.0).collect();
            g.constant(Tensor::f32(shape, values)).abs()
        };
        Ok(vec![whole([40, 36], 5).matmul(whole([36, 68], 7))])
    }),
    ("softmax", |g| {
        let x = a(g);
        with_gradients(x.softmax(1, Some(ids(g, 7 * 6).reshape([7, 6]))) * x + x.softmax(2, None), &[x])
    }),
    ("reduce", |g| {
        let x = a(g);
        let mut results = with_gradients(x.sum(1) * x.mean(1) + x.max_over(1), &[x])?;
        results.push(g.push(SumSquares, &[x]));
        Ok(results)
    }),
    ("strided", |g| {
        let x = a(g);
        let y = g.concat(1, &[x.slice(1, 2, 3), x.slice(1, 0, 3)]).permute(&[2, 0, 1]);
        with_gradients(y * y.sum(0).expand([5, 7, 6]), &[x])
    }),
    ("moments", |g| {
        let x = a(g);
        let outputs = g.try_push(Moments, &[x.slice(2, 0, 2).reshape([7, 6, 2]).softmax(1, None), x])?;
        with_gradients(outputs[0] * outputs[1].sqrt(), &[x])
    }),
    ("attention", |g| {
        let x = a(g);
        let keep = ids(g, 7 * 6).reshape([7, 6]);
        let all = x.attention(x, x, keep, 1, false, 0.0);
        with_gradients(all + g.scope("causal", || x.attention(x, x, keep, 5, true, 0.2)), &[x])
    }),
    ("layer_norm", |g| {
        let (x, w) = (a(g), w(g));
        let [gain, bias] = [0, 1].map(|i| w.slice(0, i, 1).reshape([5]));
        let [y, sum] = x.add_layer_norm(x.tanh(), 0.2, gain, bias, 1e-5);
        with_gradients(y * sum + x.rms_norm(gain, 1e-5), &[x, w])
    }),
    ("softmax_loss", |g| {
        let (x, w) = (a(g).reshape([42, 5]), w(g));
        let (bias, weight) = (w.slice(1, 0, 1).reshape([37]), g.scalar(1.0).expand([42]));
        with_gradients(x.softmax_loss(w, Some(bias), ids(g, 42), weight, 1..36), &[a(g), w])
    }),
    ("conv", |g| {
        let (x, w, flat) = (a(g), w(g), w(g).reshape([185]));
        let y = x.conv(w.slice(0, 0, 12).reshape([4, 3, 5]), flat.slice(0, 120, 4));
        with_gradients(y, &[x, w])
    }),
    ("complex_linear", |g| {
        let (x, flat) = (a(g).reshape([7, 5, 2, 3]), w(g).reshape([185]));
        let (weight, bias) = (flat.slice(0, 0, 12).reshape([3, 2, 1, 2]), flat.slice(0, 12, 12).reshape([2, 6]));
        with_gradients(g.push(ComplexLinear { affine: true, relu: true }, &[x, weight, bias]), &[a(g), w(g)])
    }),
    ("fft", |g| {
        let x = a(g);
        with_gradients(x.rfft().square().irfft(6), &[x])
    }),
    ("filter", |g| {
        let (x, weight) = (a(g), w(g).slice(0, 0, 8).reshape([4, 2, 5]));
        with_gradients(x.filter(weight), &[x, w(g)])
    }),
    ("logdet", |g| {
        let x = a(g);
        let one = Tensor::f32([6, 6], (0..36).map(|i| (i % 7 == 0) as u32 as f32).collect());
        with_gradients((x.matmul_t(x) + g.constant(one)).log_det(), &[x])
    }),
    ("gru", |g| {
        let (x, w, flat) = (a(g), w(g), w(g).reshape([185]));
        let gates = x.linear(w.slice(0, 0, 12), None, Activation::None);
        let h = gates.gru(w.slice(0, 12, 12).slice(1, 0, 4), flat.slice(0, 120, 12), ids(g, 7 * 6).reshape([7, 6]));
        with_gradients(h, &[x, w])
    }),
    ("embedding", |g| {
        let (w, ids) = (w(g), ids(g, 70));
        g.segments("segments", w, &[ids]);
        let x = a(g).reshape([42, 5]).slice(0, 0, 7);
        let mut results = with_gradients(w.gather(ids).square(), &[w])?;
        results.push(g.try_push(GatherDot, &[x, w, ids.reshape([7, 10])])?[0]);
        Ok(results)
    }),
    ("bpr", |g| {
        let x = a(g).reshape([42, 5]);
        let positive = x.slice(1, 0, 1).reshape([42]);
        with_gradients(g.push(Bpr, &[positive, x.slice(1, 1, 4), g.scalar(1.0).expand([42])]), &[a(g)])
    }),
    ("random", |g| {
        let draw = |kind, name: &str| g.scope(name, || g.noise(kind, [7, 6, 5]));
        let noise = draw(Noise::Uniform, "u") + draw(Noise::Gaussian, "n") + draw(Noise::Gumbel, "g");
        with_gradients(g.scope("dropout", || (a(g) * noise).dropout(0.3)), &[a(g)])
    }),
    ("rank", |g| {
        let (scores, ids) = (w(g).reshape([5, 37]), g.constant(Tensor::u32([37], (1..=37).collect())));
        let offsets = g.constant(Tensor::u32([6], vec![0, 1, 2, 3, 4, 5]));
        let items = g.constant(Tensor::u32([5], vec![3, 1, 37, 20, 9]));
        let target = g.push(Pick, &[scores, ids, items]);
        let counts = g.push(Rank, &[scores, ids, target, offsets, items]);
        let none = g.constant(Tensor::u32([5, 4], vec![0; 20]));
        let best = g.try_push(TopK, &[scores, ids, offsets, items, g.scalar(0.0).expand([5, 4]), none])?;
        Ok(vec![target, counts, best[0], best[1]])
    }),
    ("adam", |g| {
        let state = |name: &str, n: usize| g.state(name, name, 0, Spec::f32([n]));
        let one = g.constant(Tensor::f32([], vec![1.0]));
        let rates = g.constant(Tensor::f32([4, 2], [1.0, 0.01].repeat(4)));
        let settings = Settings::default();
        let dy = a(g).reshape([210]);
        let flat = g.try_push(
            Adam { settings },
            &[state("p", 210), state("m", 210), state("v", 210), dy, rates, g.step(), one],
        )?;
        let table = |name: &str| g.state(name, name, 0, Spec::f32([42, 5]));
        let rows = g.constant(Tensor::u32([7], vec![1, 2, 5, 11, 30, 41, 0]));
        let counts = g.constant(Tensor::u32([4], vec![6, 0, 0, 0]));
        let values = w(g).slice(0, 0, 7);
        let op = AdamRows { settings, lazy: false, decay: 0.0 };
        let by_rows = g.try_push(op, &[table("tp"), table("tm"), table("tv"), values, rows, counts, g.step(), one])?;
        Ok(vec![flat[0].reshape([210]), by_rows[0].reshape([42, 5])])
    }),
    ("watch", |g| {
        let first = g.state("first", "first", 0, Spec::f32([1]));
        let [loss, part] = [0, 1].map(|i| w(g).slice(0, i, 1).slice(1, i, 1));
        g.try_push(Watch, &[loss, part, g.scalar(1.0), g.step(), first])
    }),
];

fn a(g: &Graph) -> Var<'_> {
    g.state("a", "a", 0, Spec::f32([7, 6, 5]))
}

fn w(g: &Graph) -> Var<'_> {
    g.state("w", "w", 0, Spec::f32([37, 5]))
}

fn ids(g: &Graph, n: usize) -> Var<'_> {
    g.input("ids", Spec::u32([n]))
}

/// `y` and the gradients of a weighted sum of it.
fn with_gradients<'g>(y: Var<'g>, by: &[Var<'g>]) -> Result<Vec<Var<'g>>> {
    let g = y.graph();
    let mut r = Stream::new(2, "weights", 0);
    let weights = (0..y.shape().elements()).map(|_| r.normal() as f32).collect();
    let loss = (y * g.constant(Tensor::f32(y.shape(), weights))).sum_all();
    let gradients = g.gradients(loss, by)?;
    Ok([y].into_iter().chain(gradients.iter().zip(by).map(|(d, &x)| d.dense(x))).collect())
}

/// Checks every kernel on `device`.
///
/// # Errors
/// Those of compiling and running; a kernel that computes something wrong is in the list instead.
pub fn check(device: &Device) -> Result<Vec<Checked>> {
    let oracle = Device::Cpu(cpu::Cpu::new(Precision::F64));
    let pairs = plans(device)?.into_iter().zip(plans(&oracle)?);
    KERNELS
        .iter()
        .zip(pairs)
        .map(|(&(kernel, _), (plan, exact))| {
            let (got, want) = (run(device, &plan)?, run(&oracle, &exact)?);
            let apart = |g: f64, w: f64| if g.is_finite() { (g - w).abs() / (1.0 + w.abs()) } else { f64::INFINITY };
            let each = got.iter().zip(&want).flat_map(|(g, w)| g.iter().zip(w).map(|(&g, &w)| apart(g, w)));
            Ok(Checked { kernel, worst: each.fold(0.0, f64::max) })
        })
        .collect()
}

/// What [`check`] runs on `device`, a plan a kernel.
pub fn plans(device: &Device) -> Result<Vec<Plan>> {
    let has_matrices = matches!(device, Device::Gpu(gpu) if gpu.caps().cooperative.is_some());
    let plan = |&(kernel, build): &(&str, Build)| {
        let g = Graph::new();
        build(&g)?.into_iter().enumerate().for_each(|(i, v)| g.result(&i.to_string(), v));
        device.plan(&g, Options { half: kernel == "cooperative" && has_matrices, ..Options::default() })
    };
    KERNELS.iter().map(plan).collect()
}

fn run(device: &Device, plan: &Plan) -> Result<Vec<Vec<f64>>> {
    let mut store = device.store(&plan.states)?;
    for (name, n) in &plan.states {
        let mut r = Stream::new(1, name, 0);
        // The second moments must not be negative.
        let value = |x: f64| if name.ends_with('v') { x.abs() } else { x };
        let values = (0..*n).map(|_| value(r.normal()) as f32).collect();
        store.write(name, 0, &Tensor::f32([*n], values))?;
    }
    let mut runner = device.compile(plan, &store, RunOptions::default())?;
    if let Some((_, spec)) = plan.inputs.iter().find(|(name, _)| name == "ids") {
        let mut r = Stream::new(1, "ids", 0);
        let ids: Vec<u32> = (0..spec.shape.elements()).map(|_| r.below(37)).collect();
        runner.write_u32("ids", &ids)?;
        if plan.inputs.iter().any(|(name, _)| name == "segments.rows") {
            let mut s = Segments::default();
            s.build(&[&ids], 37);
            runner.write_segments("segments", &s)?;
        }
    }
    runner.write(Step::NAME, &Step::at(7, 3, 1e-2, [0.9, 0.999]).tensor())?;
    runner.run()?;
    (0..plan.results.len()).map(|i| Ok(runner.read(&i.to_string())?.to_f64())).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_cpu_passes_and_every_kernel_is_checked() {
        let (device, _) = super::Device::open("cpu").unwrap();
        let checked = super::check(&device).unwrap();
        for c in &checked {
            assert!(c.passed(), "{}: {:e}", c.kernel, c.worst);
        }
        for (shader, _) in crate::kernels::SHADERS {
            assert!(checked.iter().any(|c| c.kernel == *shader), "{shader} has no check");
        }
    }
}
