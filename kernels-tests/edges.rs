//! Every elementwise operation and its gradient where floats end: at zeros, subnormal numbers and the smallest normal ones, to
//! both sides of where exp overflows, where squares overflow, at the largest number, at infinities and NaN.

use crate::harness::case::Case;
use crate::harness::checks::GUARDED;
use crate::harness::devices;
use crate::harness::recipe::{Recipe, fill, given};
use crate::harness::run::Compiled;
use libtest_mimic::{Failed, Trial};
use wgrec::device::Device;
use wgrec::device::cpu::{Cpu, Precision};
use wgrec::graph::plan::Options;
use wgrec::kernels::elementwise::{Chain, Fun};
use wgrec::tensor::Tensor;

/// Taken with both signs.
const MAGNITUDES: [f32; 46] = [
    0.0,
    1e-45,
    1e-42,
    1e-40,
    2.9e-39,
    3e-39,
    f32::MIN_POSITIVE - 1e-45,
    f32::MIN_POSITIVE,
    1.2e-38,
    1e-30,
    1e-20,
    1e-19,
    1e-7,
    1e-3,
    0.3,
    0.5,
    1.0,
    2.0,
    5.0,
    9.0,
    13.3,
    15.5,
    20.0,
    40.0,
    87.0,
    87.33,
    87.34,
    88.0,
    88.37,
    88.5,
    88.72,
    88.73,
    89.0,
    100.0,
    103.0,
    103.9,
    104.1,
    150.0,
    1e4,
    1e10,
    1.8e19,
    1.9e19,
    1e30,
    3e38,
    f32::MAX,
    f32::INFINITY,
];

fn edges() -> Vec<f64> {
    let signed = MAGNITUDES.into_iter().flat_map(|x| [x as f64, -x as f64]);
    signed.chain([f64::NAN]).collect()
}

/// The operation of all edges, or of all pairs of them, and its gradients by the operands: y, dx and, of two, dz.
fn case(fun: Fun) -> (Case, Vec<Tensor>) {
    let edges = edges();
    let n = edges.len();
    let shape = if fun.arity() == 1 { vec![n] } else { vec![n, n] };
    let pick = |at: fn(usize, usize) -> usize| {
        let values = (0..shape.iter().product::<usize>()).map(|i| edges[at(i, n)]).collect();
        Tensor::f64(shape.clone(), values)
    };
    let tensors = if fun.arity() == 1 { vec![pick(|i, _| i)] } else { vec![pick(|i, n| i / n), pick(|i, n| i % n)] };
    let recipe = || -> Recipe { fill(shape.clone(), 0.0) };
    let case = (0..fun.arity()).fold(Case::new(format!("{fun:?}")), |c, _| c.fixed(recipe())).ops(move |g, x| {
        let y = g.push(Chain::of(fun), x);
        let mut outputs = vec![y];
        // Operations without a gradient leave none.
        if let Ok(gradients) = g.gradients(y.sum_all(), x) {
            outputs.extend(gradients.iter().zip(x).map(|(dx, &x)| dx.dense(x)));
        }
        outputs
    });
    (case, tensors)
}

/// What a result may be off by, in addition to 4e-6 of itself: [forward, gradient]. 1e-6 where it is a difference of numbers near 1.
fn absolute(fun: Fun) -> [f64; 2] {
    match fun {
        Fun::Tanh | Fun::Sigmoid => [0.0, 1e-6],
        Fun::Gelu | Fun::GeluSlope | Fun::GeluTanh | Fun::Sin | Fun::Cos => [1e-6; 2],
        _ => [0.0; 2],
    }
}

/// A few steps of the subnormal numbers, in which the last product or quotient is rounded.
const STEPS: f64 = 6e-45;

fn run(case: &Case, device: &Device, tensors: &[Tensor]) -> Result<Vec<Vec<f64>>, Failed> {
    let mut compiled = Compiled::new(case, device, false, Options::default())?;
    compiled.tensors = tensors.to_vec();
    Ok(compiled.run()?.outputs.iter().map(Tensor::to_f64).collect())
}

/// `got` is what f32 makes of `want`, but for `absolute` and 4e-6 of it.
fn is_near(got: f64, want: f64, absolute: f64) -> bool {
    // Past the largest number it is infinite.
    let want = if (want as f32).is_finite() { want } else { want as f32 as f64 };
    got == want || got.is_nan() && want.is_nan() || (got - want).abs() <= absolute + 4e-6 * want.abs()
}

/// Each form gives what the twin gives in f64. A GPU may take subnormal numbers for 0, as operands and as results.
fn check(fun: Fun) -> Result<(), Failed> {
    let (case, tensors) = case(fun);
    let cpu = |precision| Device::Cpu(Cpu::new(precision));
    let want = run(&case, &cpu(Precision::F64), &tensors)?;
    let is_subnormal = |x: f64| x != 0.0 && x.abs() < f32::MIN_POSITIVE as f64;
    let flush = |t: &Tensor| {
        Tensor::f64(
            t.shape.clone(),
            t.to_f64().into_iter().map(|x| if is_subnormal(x) { 0.0 * x } else { x }).collect(),
        )
    };
    let flushed = run(&case, &cpu(Precision::F64), &tensors.iter().map(flush).collect::<Vec<_>>())?;
    let operands: Vec<Vec<f64>> = tensors.iter().map(Tensor::to_f64).collect();
    let gpu = Device::Gpu(devices::gpu(GUARDED)?);
    let forms = [("twin in f32", cpu(Precision::F32Twins)), ("fast form", cpu(Precision::F32)), ("gpu", gpu)];
    let mut wrong = vec![];
    for (form, device) in forms {
        for (output, got) in run(&case, &device, &tensors)?.into_iter().enumerate() {
            let absolute = absolute(fun)[output.min(1)];
            for (i, got) in got.into_iter().enumerate() {
                let (want, flushed) = (want[output][i], flushed[output][i]);
                let right = match &device {
                    Device::Cpu(_) => is_near(got, want, absolute + STEPS),
                    _ => [want, flushed].iter().any(|&want| is_near(got, want, absolute + f32::MIN_POSITIVE as f64)),
                };
                if !right {
                    let x: Vec<String> = operands.iter().map(|x| format!("{:e}", x[i])).collect();
                    let name = ["y", "dx", "dz"][output];
                    wrong.push(format!("{form}: {name} of {fun:?}({}) is {got:e}, not {want:e}", x.join(", ")));
                }
            }
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{} wrong:\n{}", wrong.len(), wrong[..wrong.len().min(40)].join("\n")).into())
    }
}

const INF: f64 = f64::INFINITY;

/// Kernels of infinities and of what overflows within them, and what comes out.
fn overflows() -> Vec<(Case, Vec<f64>)> {
    let values = |shape: &[usize], of: &[f64]| {
        of.iter().enumerate().fold(fill(shape.to_vec(), 0.0), |r, (i, &x)| r.plant(x, [i]))
    };
    // Softmax: over rows, and over columns of the same.
    let rows = [-INF, -INF, -INF, 0.0, INF, 0.0];
    let columns = [-INF, -INF, INF, -INF, 0.0, 0.0];
    let nan = f64::NAN;
    let softmax = [
        (values(&[3, 2], &rows), vec![nan, nan, 0.0, 1.0, nan, nan]),
        (values(&[1, 2, 3], &columns), vec![nan, 0.0, nan, nan, 1.0, nan]),
    ];
    let softmax = softmax.into_iter().enumerate().map(|(i, (x, want))| {
        let name = ["softmax_rows", "softmax_columns"][i];
        (Case::new(name).fixed(x).op(|_, x| x[0].softmax(1, None)), want)
    });
    // Nothing is kept of the first row, minus infinity alone of the second.
    let masked = Case::new("softmax_masked")
        .fixed(values(&[2, 2], &[-INF, -INF, -INF, 0.0]))
        .fixed(given([2, 2], [0, 0, 1, 0]))
        .op(|_, x| x[0].softmax(1, Some(x[1])));
    // A query without a key, and one whose keys' scores are all minus infinity.
    let attention = Case::new("attention")
        .fixed(fill([2, 2, 1], 1.0))
        .fixed(fill([2, 2, 1], -INF))
        .fixed(fill([2, 2, 1], 2.0))
        .fixed(given([2, 2], [0, 0, 1, 1]))
        .op(|_, x| x[0].attention(x[1], x[2], x[3], 1, false, 0.0));
    let maximum = Case::new("maximum").fixed(fill([2, 40], -INF)).op(|_, x| x[0].max_over(1));
    // Squares that overflow: the row's variance is no number, and 1 / sqrt of it would be 0.
    let long = || values(&[2, 4], &[1e30, -1e30, 0.0, 5.0, 1.0, 1.0, -1.0, -1.0]);
    let layer_norm = Case::new("layer_norm")
        .fixed(long())
        .fixed(fill([4], 1.0))
        .fixed(fill([4], 0.0))
        .op(|_, x| x[0].layer_norm(x[1], x[2], 0.0));
    let rms_norm = Case::new("rms_norm").fixed(long()).fixed(fill([4], 1.0)).op(|_, x| x[0].rms_norm(x[1], 0.0));
    let normed = || vec![nan, nan, nan, nan, 1.0, 1.0, -1.0, -1.0];
    softmax
        .chain([
            (masked, vec![0.0, 0.0, nan, nan]),
            (attention, vec![0.0, 0.0, nan, nan]),
            (maximum, vec![-INF; 2]),
            (layer_norm, normed()),
            (rms_norm, normed()),
        ])
        .collect()
}

/// `want` on the CPU in both forms and on the GPU.
fn is(case: &Case, want: &[f64]) -> Result<(), Failed> {
    let cpu = |precision| Device::Cpu(Cpu::new(precision));
    let gpu = Device::Gpu(devices::gpu(GUARDED)?);
    let forms = [("twin in f32", cpu(Precision::F32Twins)), ("fast form", cpu(Precision::F32)), ("gpu", gpu)];
    for (form, device) in forms {
        let got = &run(case, &device, &case.tensors())?[0];
        if got.len() != want.len() || !got.iter().zip(want).all(|(&got, &want)| is_near(got, want, 1e-6)) {
            return Err(format!("{form}: {got:?}, not {want:?}").into());
        }
    }
    Ok(())
}

pub fn trials() -> Vec<Trial> {
    let elementwise = Fun::ALL.iter().map(|&fun| Trial::test(format!("edges::{fun:?}"), move || check(fun)));
    let overflow = |(case, want): (Case, Vec<f64>)| {
        Trial::test(format!("edges::overflow::{}", case.name), move || is(&case, &want))
    };
    elementwise.chain(overflows().into_iter().map(overflow)).collect()
}
