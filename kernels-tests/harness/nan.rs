//! That no kernel makes a number of a NaN. One is planted in elements of each tensor of floats that goes in: operands, states
//! and the gradients of the outputs. What depends on the element must be NaN, on every device. What depends on it is found
//! without any NaN: the twin in f64 gives something else there when the element is another number.
//!
//! What is infinite may become a number: 1 / x is 0 there. It must not where the twin in f64 gives none.

use super::run::{Compiled, Observed};
use super::{Case, checks, devices};
use libtest_mimic::Failed;
use std::collections::BTreeSet;
use wgrec::device::Device;
use wgrec::device::cpu::{Cpu, Precision};
use wgrec::graph::plan::Options;
use wgrec::tensor::philox::Stream;
use wgrec::tensor::{Data, Tensor};

/// The number of floats above which a case is left to its smaller shapes: the twin runs about ten times for each of them.
const LARGEST: usize = 4096;

/// Whether `case` is checked. What ranks and what watches a loss has its own answer to NaN.
pub fn applies(kernel: &str, case: &Case) -> bool {
    let floats: usize = case.operands.iter().map(|o| o.recipe.spec.shape.elements()).sum();
    !["rank", "watch"].contains(&kernel) && !case.hides_nan && floats <= LARGEST
}

/// One element of what goes in.
#[derive(Clone, Copy)]
struct Place {
    tensor: usize,
    element: usize,
}

/// What goes in: the operands, then the weights of the outputs.
fn given<'a>(c: &'a mut Compiled) -> Vec<(String, &'a mut Tensor)> {
    let operands = c.tensors.iter_mut().enumerate().map(|(i, t)| (format!("operand {i}"), t));
    operands.chain(c.weights.iter_mut().map(|(name, t)| (name.clone(), t))).collect()
}

/// A run with `value` at `place`.
fn with(c: &mut Compiled, place: Place, value: f64) -> wgrec::Result<Observed> {
    let set = |c: &mut Compiled, value: f64| {
        let tensor = &mut given(c).swap_remove(place.tensor).1;
        let mut all = tensor.to_f64();
        let before = std::mem::replace(&mut all[place.element], value);
        **tensor = Tensor::f64(tensor.shape.clone(), all);
        before
    };
    let before = set(c, value);
    let observed = c.run();
    set(c, before);
    observed
}

/// For each element of each result, whether it differs among `runs`: by more than rounding, and than f32 can tell from 0.
fn depends(runs: &[Observed]) -> Vec<Vec<bool>> {
    let all: Vec<Vec<Vec<f64>>> = runs.iter().map(|r| r.all().map(|(_, t)| t.to_f64()).collect()).collect();
    let apart = |a: f64, b: f64| (a - b).abs() > 1e-6 * a.abs().max(b.abs()) && a.abs().max(b.abs()) > 1e-12;
    let of = |result: usize, e: usize| all[1..].iter().any(|run| apart(run[result][e], all[0][result][e]));
    all[0].iter().enumerate().map(|(result, t)| (0..t.len()).map(|e| of(result, e)).collect()).collect()
}

/// An error that shows the first element of `got` that is `wanted` and not `passes`.
fn expect(what: &str, got: &Observed, wanted: &[Vec<bool>], passes: fn(f64) -> bool) -> Result<(), String> {
    for ((name, t), wanted) in got.all().zip(wanted) {
        let v = t.to_f64();
        if let Some(e) = (0..v.len()).find(|&e| wanted[e] && !passes(v[e])) {
            return Err(format!("{what}: {name}, element {e} of {}, which depends on it, is {:e}", t.shape, v[e]));
        }
    }
    Ok(())
}

/// Every result that depends on an element is NaN where that is, in all forms and on the GPU.
pub fn check(case: &Case) -> Result<(), Failed> {
    let backward = case.is_differentiable();
    let cpu = |precision| Device::Cpu(Cpu::new(precision));
    let compiled = |device: &Device| Compiled::new(case, device, backward, Options::default());
    let mut oracle = compiled(&cpu(Precision::F64))?;
    let mut forms = vec![
        ("twin in f32", compiled(&cpu(Precision::F32Twins))?),
        ("fast form", compiled(&cpu(Precision::F32))?),
        ("gpu", compiled(&Device::Gpu(devices::gpu(checks::GUARDED)?))?),
    ];
    let mut stream = Stream::new(4, &case.name, 0);
    let of_host = |i: usize| case.operands.get(i).is_some_and(|o| o.of_host);
    let size = |(i, (name, t)): (usize, (String, &mut Tensor))| {
        let planted = !matches!(t.data, Data::U32(_)) && !of_host(i);
        (name, if planted { t.shape.elements() } else { 0 })
    };
    let sizes: Vec<(String, usize)> = given(&mut oracle).into_iter().enumerate().map(size).collect();
    for (tensor, (name, n)) in sizes.into_iter().enumerate().filter(|(_, (_, n))| *n > 0) {
        // The last is in what vectors leave over.
        for element in BTreeSet::from([stream.below(n as u32) as usize, n - 1]) {
            let place = Place { tensor, element };
            let own = given(&mut oracle)[tensor].1.to_f64()[element];
            let others = [own, own + 1.0, 0.5 - own, 30.0, -30.0];
            let runs = others.into_iter().map(|v| with(&mut oracle, place, v)).collect::<wgrec::Result<Vec<_>>>()?;
            let dependent = depends(&runs);
            let planted = with(&mut oracle, place, f64::NAN)?;
            expect(&format!("twin in f64, NaN in {name}"), &planted, &dependent, f64::is_nan)?;
            let infinite = with(&mut oracle, place, f64::INFINITY)?;
            let results = infinite.all().map(|(_, t)| t.to_f64());
            let never: Vec<Vec<bool>> = results
                .zip(&dependent)
                .map(|(t, dependent)| t.iter().zip(dependent).map(|(v, &d)| d && !v.is_finite()).collect())
                .collect();
            for (form, compiled) in &mut forms {
                let what = |value: &str| format!("{form}, {value} in {name}, element {element}");
                expect(&what("NaN"), &with(compiled, place, f64::NAN)?, &dependent, f64::is_nan)?;
                let infinite = with(compiled, place, f64::INFINITY)?;
                expect(&what("Inf"), &infinite, &never, |v| !v.is_finite())?;
            }
        }
    }
    Ok(())
}
