use crate::harness::Case;
use crate::harness::recipe::{Recipe, fill, normal};
use libtest_mimic::{Failed, Trial};
use wgrec::graph::{Graph, Step};
use wgrec::kernels::layer_norm::{LayerNorm, LayerNormBackward, LayerNormParameters};
use wgrec::kernels::random::key;
use wgrec::tensor::philox::philox;
use wgrec::tensor::{Spec, Tensor};

const SCOPE: &str = "encoder/norm";
const EPS: f64 = 1e-5;

pub fn cases() -> Vec<Case> {
    let both = |name: &str| [(format!("layer_{name}"), false), (format!("rms_{name}"), true)];
    let mut all = vec![];
    let shapes = [[1, 1], [1, 7], [257, 3], [5, 64], [3, 257], [4, 255], [2, 256], [2, 1031]];
    for (name, rms) in both("norm") {
        // With few columns some rows have almost no variance, where differences are too coarse: eps keeps the gradient small.
        let eps = |d: usize| if d < 64 { 0.1 } else { EPS };
        all.extend(Case::grid(&name, shapes, |c, s| plain(c, rms, s, normal(s), eps(s[1]))));
        // 65,537 terms of either sign in the gradients of gain and bias.
        let many = Case::grid(&format!("{name}_many_rows"), [[65_537, 2]], |c, s| plain(c, rms, s, normal(s), 0.1));
        all.extend(many.into_iter().map(|c| c.tolerance(2e-5, 1e-5)));
    }
    for (name, rms) in both("outliers") {
        all.extend(Case::grid(&name, [[5, 64], [3, 257]], |c, s| plain(c, rms, s, normal(s).outliers(3), EPS)));
    }
    // A small spread around a large mean, which f32 holds to 3e-5 of the spread: E[x^2] - E[x]^2 would have no digit left.
    all.extend(Case::grid("far_from_zero", [[3, 67]], |c, s| {
        plain(c, false, s, normal(s).map(|x| 1000.0 + x), EPS).tolerance(1e-4, 1e-5)
    }));
    // No variance at all: once with an eps that differences can follow, once as it is.
    for (name, rms) in both("constant_rows") {
        all.extend(Case::grid(&name, [[3, 7], [2, 64]], |c, s| plain(c, rms, s, fill(s, 0.1), 1.0)));
    }
    // 1 / sqrt(eps) is 316: all of the rounding of a mean would be seen.
    all.extend(
        Case::grid("constant_rows_as_they_are", [[3, 7], [2, 64], [1, 257]], |c, s| {
            let norm = LayerNorm { rms: false, residual: false, eps: EPS, p: 0.0, key: 0 };
            c.fixed(fill(s, 0.1)).fixed(normal([s[1]])).fixed(normal([s[1]])).fixed(normal(s)).ops(move |g, x| {
                let y = g.try_push(norm, &x[..3]).expect("the shapes fit");
                let dx = g.push(LayerNormBackward { norm, sum: false }, &[x[0], x[1], y[1], x[3]]);
                vec![y[0], dx, g.push(LayerNormParameters { rms: false }, &[x[0], y[1], x[3]])]
            })
        })
        .into_iter()
        .map(|c| c.tolerance(1e-5, 1e-4)),
    );
    let shapes = [[1, 1, 1], [3, 5, 20], [2, 3, 64], [1, 2, 257], [5, 9, 7]];
    for (name, rms) in both("residual") {
        for (part, p) in [("", 0.0), ("_dropout", 0.3)] {
            let eps = |d: usize| if d < 64 { 0.1 } else { EPS };
            let residual = |used: Used| move |c: Case, s: [usize; 3]| add(c, rms, s, p, eps(s[2]), used);
            all.extend(Case::grid(&format!("{name}{part}"), shapes, residual(Used::Both)));
            all.extend(Case::grid(&format!("{name}{part}_norm_alone"), [[3, 5, 20]], residual(Used::Norm)));
            all.extend(Case::grid(&format!("{name}{part}_sum_alone"), [[3, 5, 20]], residual(Used::Sum)));
        }
    }
    all
}

fn plain(c: Case, rms: bool, [rows, d]: [usize; 2], x: Recipe, eps: f64) -> Case {
    let c = c.input(x.clone()).input(normal([d]));
    let c = if rms { c } else { c.input(normal([d])) };
    assert_eq!(x.spec.shape[..], [rows, d]);
    c.op(move |_, x| if rms { x[0].rms_norm(x[1], eps) } else { x[0].layer_norm(x[1], x[2], eps) })
        .reference(move |x| vec![norm(&x[0].to_f64(), &x[1], x.get(2), eps)])
        .tolerance(2e-6, 1e-5)
}

/// What is made of the two outputs.
#[derive(Clone, Copy, PartialEq)]
enum Used {
    Both,
    Norm,
    Sum,
}

fn add(c: Case, rms: bool, s: [usize; 3], p: f64, eps: f64, used: Used) -> Case {
    let c = c.input(normal(s)).input(normal(s));
    // No gradient reaches the parameters where only the sum is used.
    let parameter = |c: Case| if used == Used::Sum { c.fixed(normal([s[2]])) } else { c.input(normal([s[2]])) };
    let c = parameter(c);
    let c = if rms { c } else { parameter(c) };
    let pick = move |both: [Vec<f64>; 2]| {
        let [y, sum] = both;
        match used {
            Used::Both => vec![y, sum],
            Used::Norm => vec![y],
            Used::Sum => vec![sum],
        }
    };
    c.ops(move |g, x| {
        let [y, sum] = g.scope(SCOPE, || match rms {
            true => x[0].add_rms_norm(x[1], p, x[2], eps),
            false => x[0].add_layer_norm(x[1], p, x[2], x[3], eps),
        });
        match used {
            Used::Both => vec![y, sum],
            Used::Norm => vec![y],
            Used::Sum => vec![sum],
        }
    })
    .reference(move |x| {
        let (left, right) = (x[0].to_f64(), x[1].to_f64());
        let sum: Vec<f64> = (0..left.len()).map(|e| left[e] + factor(p as f32, e) * right[e]).collect();
        pick([norm(&sum, &x[2], x.get(3), eps), sum])
    })
    .tolerance(2e-6, 1e-5)
    .step(now())
}

/// A step of a large seed, far into a run.
fn now() -> Step {
    Step { micro: 2, ..Step::at(0x8765_4321_0FED_CBA9, 7_000_000_000, 1e-3, [0.9, 0.999]) }
}

fn factor(p: f32, element: usize) -> f64 {
    let step = now();
    let seed = step.seed as u32 ^ ((step.seed >> 32) as u32).rotate_left(16);
    let counter = [(element / 4) as u32, step.micro, step.step as u32, (step.step >> 32) as u32];
    let uniform = (philox([seed, key(SCOPE)], counter)[element % 4] >> 8) as f64 / 2f64.powi(24);
    if uniform < p as f64 { 0.0 } else { 1.0 / (1.0 - p as f64) }
}

/// Layer norm of rows of x or, without a bias, RMS norm.
fn norm(x: &[f64], gain: &Tensor, bias: Option<&Tensor>, eps: f64) -> Vec<f64> {
    let gain = gain.to_f64();
    let n = gain.len() as f64;
    let rows = x.chunks(gain.len()).flat_map(|x| {
        let mean = if bias.is_some() { x.iter().sum::<f64>() / n } else { 0.0 };
        let std = (x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n + eps).sqrt();
        let y = x.iter().zip(&gain).map(move |(x, gain)| (x - mean) / std * gain);
        match bias {
            Some(bias) => y.zip(bias.to_f64()).map(|(y, bias)| y + bias).collect::<Vec<_>>(),
            None => y.collect(),
        }
    });
    rows.collect()
}

pub fn trials() -> Vec<Trial> {
    vec![Trial::test("layer_norm::refuses_what_it_cannot_do", refuses)]
}

fn refuses() -> Result<(), Failed> {
    let with = |rms: bool, residual: bool, p: f32| LayerNorm { rms, residual, eps: EPS, p, key: 0 };
    let cases: [(&[&[usize]], LayerNorm, &str); 5] = [
        (&[&[3, 5], &[5]], with(false, false, 0.0), "takes x, gain, bias: found 2 inputs, expected 3"),
        (&[&[3, 5], &[3]], with(true, false, 0.0), "gain is [3], expected [d] = [5]"),
        (&[&[3, 5], &[5], &[5, 3]], with(true, true, 0.0), "r is [5, 3], expected [.., d] = [3, 5]"),
        (&[&[3, 5], &[5], &[Step::WORDS]], with(true, false, 0.1), "needs a residual to drop from"),
        (&[&[], &[1]], with(true, false, 0.0), "x is [], expected [.., d]"),
    ];
    for (shapes, op, text) in cases {
        let g = Graph::new();
        let input = |(i, &shape): (usize, &&[usize])| {
            let spec = if shape == [Step::WORDS] { Spec::u32(shape) } else { Spec::f32(shape) };
            g.input(&format!("x{i}"), spec)
        };
        match g.try_push(op, &shapes.iter().enumerate().map(input).collect::<Vec<_>>()) {
            Err(e) if e.to_string().contains(text) => {}
            Err(e) => return Err(format!("the error does not say {text:?}: {e}").into()),
            Ok(_) => return Err(format!("no error that says {text:?}").into()),
        }
    }
    Ok(())
}
