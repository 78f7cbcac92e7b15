//! Operands without elements: an empty result or an error that says what is missing, on every device, and no panic.

use crate::harness::devices;
use libtest_mimic::{Failed, Trial};
use wgrec::Result;
use wgrec::device::RunOptions;
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Step, Var};
use wgrec::kernels::bpr::Bpr;
use wgrec::kernels::conv::Conv;
use wgrec::kernels::interest_scores::{InterestChoice, InterestScores, InterestScoresBackward};
use wgrec::kernels::matmul::{Activation, MatMul};
use wgrec::kernels::moments::Moments;
use wgrec::kernels::reduce::{Reduce, Reduction, SumSquares};
use wgrec::kernels::softmax::Softmax;
use wgrec::tensor::{Shape, Spec};

type Build = for<'g> fn(&'g Graph, [usize; 3]) -> Result<Vec<Var<'g>>>;

/// Each op over extents of which some are 0.
const OPS: [(&str, Build); 13] = [
    ("matmul", |g, [m, n, k]| {
        let (a, b, bias) = (x(g, "a", [m, k]), x(g, "b", [k, n]), x(g, "c", [n]));
        let biased = MatMul { bias: true, activation: Activation::Relu, ..MatMul::new(false, false) };
        Ok([
            g.try_push(biased, &[a, b, bias])?,
            g.try_push(MatMul::new(true, true), &[x(g, "d", [k, m]), x(g, "e", [n, k])])?,
        ]
        .concat())
    }),
    ("batched", |g, [m, n, k]| {
        let (a, b) = (x(g, "a", [m, 3, k]), x(g, "b", [m, n, k]));
        g.try_push(MatMul::new(false, true), &[a, b])
    }),
    ("reduce", |g, extents| {
        let a = x(g, "a", extents);
        let kinds = [Reduction::Sum, Reduction::Mean, Reduction::Max];
        let each = kinds.into_iter().flat_map(|kind| (0..3).map(move |axis| Reduce::new(kind, axis)));
        each.map(|op| Ok(g.try_push(op, &[a])?[0])).collect()
    }),
    ("long_reduce", |g, [_, n, k]| g.try_push(Reduce::new(Reduction::Sum, 0), &[x(g, "a", [600, n, k])])),
    ("squares", |g, extents| g.try_push(SumSquares, &[x(g, "a", extents)])),
    ("softmax", |g, extents| {
        let a = x(g, "a", extents);
        (0..3).map(|axis| Ok(g.try_push(Softmax { axis, masked: false }, &[a])?[0])).collect()
    }),
    ("elementwise", |g, [m, n, k]| Ok(vec![x(g, "a", [m, n, k]).tanh() + x(g, "b", [n, 1]), x(g, "c", [k]).sin()])),
    ("strided", |g, extents| {
        let a = x(g, "a", extents);
        Ok(vec![a.permute(&[2, 0, 1]).scale(1.0), g.concat(1, &[a, a])])
    }),
    ("moments", |g, [m, n, k]| g.try_push(Moments, &[x(g, "a", [2, m, n]), x(g, "h", [2, m, k])])),
    ("conv", |g, [m, n, k]| g.try_push(Conv, &[x(g, "a", [m, 3, k]), x(g, "w", [n, 2, k]), x(g, "b", [n])])),
    ("bpr", |g, [m, n, _]| g.try_push(Bpr, &[x(g, "p", [m]), x(g, "n", [m, n]), x(g, "w", [m])])),
    ("interest_scores", |g, [m, n, k]| {
        let of = [x(g, "v", [m, 2, k]), x(g, "e", [n, k])];
        let (scores, choice) = (g.try_push(InterestScores, &of)?[0], g.try_push(InterestChoice, &of)?[0]);
        let gradients = g.try_push(InterestScoresBackward, &[of[0], of[1], choice, x(g, "dy", [m, n])])?;
        Ok([&[scores, choice], &gradients[..]].concat())
    }),
    ("attention", |g, [m, n, _]| {
        let (q, keep) = (x(g, "q", [m, n, 8]), g.input("keep", Spec::u32([m, n])));
        Ok(vec![q.attention(q, q, keep, 2, true, 0.0), q.rms_norm(x(g, "gain", [8]), 1e-5)])
    }),
];

fn x<'g>(g: &'g Graph, name: &str, shape: impl Into<Shape>) -> Var<'g> {
    g.input(name, Spec::f32(shape))
}

pub fn trials() -> Vec<Trial> {
    let each = OPS.into_iter().flat_map(|(name, build)| devices::all().map(|device| (name, build, device)));
    each.map(|(name, build, device)| {
        Trial::test(format!("empty::{name}::{device}"), move || {
            let some = [[0, 3, 5], [3, 0, 5], [3, 5, 0], [0, 0, 0], [300, 0, 5], [0, 300, 70]];
            some.into_iter().try_for_each(|extents| {
                runs(build, extents, device).map_err(|e| Failed::from(format!("{extents:?}: {e}")))
            })
        })
    })
    .collect()
}

/// Results are finite, and of the shapes that the ops said; an op may also refuse.
fn runs(build: Build, extents: [usize; 3], device: &str) -> Result<(), String> {
    let g = Graph::new();
    let Ok(results) = build(&g, extents) else { return Ok(()) };
    results.iter().enumerate().for_each(|(i, y)| g.result(&i.to_string(), *y));
    let device = devices::get(device).map_err(|e| format!("{e:?}"))?;
    let all = || -> Result<Vec<_>> {
        let plan = device.plan(&g, Options::default())?;
        let store = device.store(&[])?;
        let mut runner = device.compile(&plan, &store, RunOptions::default())?;
        for (name, spec) in plan.inputs.iter().filter(|(name, _)| name != Step::NAME) {
            match spec.dtype {
                wgrec::tensor::DType::U32 => runner.write_u32(name, &vec![1; spec.shape.elements()])?,
                _ => runner.write_f32(name, &vec![0.5; spec.shape.elements()])?,
            }
        }
        runner.run()?;
        (0..results.len()).map(|i| runner.read(&i.to_string())).collect()
    };
    for (got, y) in all().map_err(|e| e.to_string())?.iter().zip(&results) {
        if got.shape != y.shape() || got.to_f64().iter().any(|v| !v.is_finite()) {
            return Err(format!("{}: {:?}", got.shape, got.to_f64()));
        }
    }
    Ok(())
}
