//! Every shader in every variant, without a GPU: valid, matched to what its launch passes, translated to the languages of
//! Vulkan, Metal and DX12, and free of barriers that some invocations may miss.

use crate::harness::barriers;
use libtest_mimic::{Failed, Trial};
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::HashSet;
use wgrec::graph::Step;
use wgrec::kernels::elementwise::{Chain, Fun};
use wgrec::kernels::launch::Source;
use wgrec::kernels::matmul::{Activation, MatMul};
use wgrec::kernels::random::{Draw, Dropout, Noise};
use wgrec::kernels::reduce::{MaxBackward, Reduce, Reduction, SumSquares};
use wgrec::kernels::source::assemble;
use wgrec::kernels::{Caps, Inputs, Launch, Op, SHADERS, Shapes};
use wgrec::kernels::{adam, bpr, embedding, moments, rank, softmax, strided};
use wgrec::tensor::{Shape, Spec};

pub fn trials() -> Vec<Trial> {
    let mut list = vec![
        Trial::test("shaders::every_launch_fits_its_shader_on_every_backend", every_launch_fits),
        Trial::test("shaders::a_barrier_that_all_reach_is_accepted", good_barriers),
    ];
    for (what, body) in barriers::BAD {
        let refused = move || match judge(body) {
            Err(e) if e.contains("barrier") => Ok(()),
            other => Err(Failed::from(format!("{other:?}: {body}"))),
        };
        list.push(Trial::test(format!("shaders::a_barrier_behind_{}_is_refused", what.replace(' ', "_")), refused));
    }
    list
}

fn good_barriers() -> Result<(), Failed> {
    barriers::GOOD.iter().try_for_each(|body| judge(body).map_err(|e| Failed::from(format!("{e}: {body}"))))
}

/// What the check of barriers says of `body` as an entry point with a lane, a workgroup's number, and memory of both kinds.
fn judge(body: &str) -> Result<(), String> {
    let text = format!(
        "@group(0) @binding(0) var<storage, read> words: array<u32>;
         var<workgroup> shared_words: array<u32, 64>;
         fn same(a: u32, b: u32) -> u32 {{ var m = a; if b > 2u {{ m += b; }} return m; }}
         fn meet() {{ workgroupBarrier(); }}
         var<immediate> n: u32;
         @compute @workgroup_size(64)
         fn main(@builtin(local_invocation_index) lane: u32, @builtin(workgroup_id) group: vec3<u32>) {{ {body} }}"
    );
    barriers::check(&naga::front::wgsl::parse_str(&text).map_err(|e| e.emit_to_string(&text))?)
}

fn f<const N: usize>(shape: [usize; N]) -> Spec {
    Spec::f32(shape)
}

fn u<const N: usize>(shape: [usize; N]) -> Spec {
    Spec::u32(shape)
}

/// Launches of `op`, with what it calls its operands.
type Launched = (&'static str, HashSet<&'static str>, Vec<Launch>);

fn launches(op: impl Op, inputs: &[Spec]) -> Launched {
    let made = op.infer(&Inputs { op: op.name(), specs: inputs }).unwrap();
    let shapes = Shapes { inputs, outputs: &made.values, scratch: &made.scratch };
    let o = op.operands();
    let names = o.inputs.iter().take(inputs.len()).chain(o.outputs).chain(&o.scratch[..made.scratch.len()]);
    (op.name(), names.copied().collect(), op.gpu(&shapes, &Caps::default()).unwrap())
}

/// At least one op for every entry point and variant.
fn all() -> Vec<Launched> {
    let mut list = vec![];
    for &fun in Fun::ALL {
        list.push(launches(Chain::of(fun), &vec![f([5, 7]); fun.arity()]));
        list.push(launches(Chain::of(fun), &vec![u([5, 1]), f([3, 1, 7])][..fun.arity()]));
    }
    for (axis, x) in [(1, f([4, 20, 3])), (1, f([4, 300]))] {
        for keep in [None, Some(Spec::u32(x.shape.clone())), Some(u([4, x.shape[1]]))] {
            let masked = keep.is_some();
            let inputs: Vec<Spec> = [x.clone()].into_iter().chain(keep).collect();
            list.push(launches(softmax::Softmax { axis, masked }, &inputs));
        }
        list.push(launches(softmax::SoftmaxBackward { axis }, &[x.clone(), x]));
    }
    let (a, h, m) = (f([3, 5, 2]), f([3, 5, 64]), f([3, 2, 64]));
    list.push(launches(moments::Moments, &[a.clone(), h.clone()]));
    list.push(launches(moments::MomentsBackward, &[a, h, m.clone(), m.clone(), m]));

    for activation in [Activation::None, Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
        for (transpose_a, transpose_b) in [(false, false), (false, true), (true, false), (true, true)] {
            for (m, n, k) in [(1, 2, 3), (20, 40, 30), (700, 1500, 64), (64, 33, 5000)] {
                let a = if transpose_a { f([k, m]) } else { f([m, k]) };
                let b = if transpose_b { f([n, k]) } else { f([k, n]) };
                let op = MatMul { transpose_a, transpose_b, bias: activation != Activation::None, activation };
                list.push(launches(op, &[a, b, f([n])][..2 + op.bias as usize]));
            }
        }
    }
    for kind in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
        for x in [f([3, 20, 2]), f([3, 200, 1]), f([1, 5000, 3])] {
            list.push(launches(Reduce { kind, axis: 1 }, &[x]));
        }
    }
    list.push(launches(MaxBackward { axis: 1 }, &[f([3, 20, 2]), f([3, 2]), f([3, 2])]));
    list.push(launches(SumSquares, &[f([7])]));
    list.push(launches(SumSquares, &[f([7, 3]), u([4])]));
    list.push(launches(strided::Expand { shape: Shape::from([2, 3]) }, &[f([3])]));
    list.push(launches(strided::Pad { axis: 0, start: 1, extent: 9 }, &[u([3, 2])]));
    list.push(launches(strided::Concat { axis: 1 }, &[f([3, 2]), f([3, 4])]));
    list.push(launches(embedding::Gather, &[f([10, 8]), u([3, 2])]));
    for parts in 1..=4 {
        let n = 5 * parts;
        let lists = [u([n]), u([n + 1]), u([n + 1]), u([4])];
        let inputs: Vec<Spec> = lists.into_iter().chain(vec![f([5, 8]); parts]).collect();
        list.push(launches(embedding::GatherGrad, &inputs));
    }
    list.push(launches(embedding::GatherGradDense { rows: 5 }, &[u([7]), f([7, 8])]));
    list.push(launches(embedding::RowsToDense { shape: Shape::from([10, 8]) }, &[f([3, 8]), u([3]), u([4])]));
    let settings = adam::Settings::default();
    let x = f([100]);
    let (step, scale) = (u([Step::WORDS]), f([]));
    let inputs = [x.clone(), x.clone(), x.clone(), x, f([2, 2]), step.clone(), scale.clone()];
    list.push(launches(adam::Adam { settings }, &inputs));
    for lazy in [false, true] {
        let x = f([10, 8]);
        let inputs = [x.clone(), x.clone(), x, f([3, 8]), u([3]), u([4]), step.clone(), scale.clone()];
        list.push(launches(adam::AdamRows { settings, lazy, decay: 0.0 }, &inputs));
    }
    list.push(launches(bpr::Bpr, &[f([9]), f([9, 3]), f([9])]));
    list.push(launches(bpr::BprBackward, &[f([9]), f([9, 3]), f([9]), f([])]));
    for kind in [Noise::Uniform, Noise::Gaussian, Noise::Gumbel] {
        list.push(launches(Draw { kind, key: 1, shape: Shape::from([9]) }, &[step.clone()]));
    }
    list.push(launches(Dropout { p: 0.5, key: 1 }, &[f([9]), step]));
    let (scores, ids, offsets, items) = (f([4, 100]), u([100]), u([5]), u([1]));
    list.push(launches(rank::Pick, &[scores.clone(), ids.clone(), u([4])]));
    list.push(launches(rank::Rank, &[scores.clone(), ids.clone(), f([4]), offsets.clone(), items.clone()]));
    list.push(launches(rank::TopK, &[scores, ids, offsets, items, f([4, 10]), u([4, 10])]));
    list
}

/// Every entry point of every file is launched, and every launch passes `check`.
fn every_launch_fits() -> Result<(), Failed> {
    let mut seen = HashSet::new();
    for (op, operands, launches) in all() {
        for launch in launches {
            if let Source::File(stem) = launch.source {
                seen.insert((stem, launch.entry.to_string()));
            }
            check(&operands, &launch).map_err(|e| format!("{op}, {}: {e}", launch.entry))?;
        }
    }
    for (stem, text) in SHADERS {
        let entries = text.split("@compute").skip(1);
        for name in entries.map(|t| t.split("fn ").nth(1).unwrap().split('(').next().unwrap()) {
            if !seen.contains(&(*stem, name.to_string())) {
                return Err(format!("no launch of {name} in {stem}.wgsl was tried").into());
            }
        }
    }
    Ok(())
}

/// The shader of `launch` is valid, uses only `operands`, has as many bytes of parameters as are passed, holds its barriers
/// to the rule, and becomes SPIR-V, MSL and HLSL.
fn check(operands: &HashSet<&str>, launch: &Launch) -> Result<(), String> {
    let all = assemble(&launch.source, &launch.constants, false);
    let text = &all.text;
    let module = naga::front::wgsl::parse_str(text).map_err(|e| {
        let line = e.location(text).map_or(1, |l| l.line_number as usize);
        format!("{}: {}", all.locate(line), e.emit_to_string(text))
    })?;
    let mut validator = Validator::new(ValidationFlags::all(), Capabilities::IMMEDIATES);
    let info = validator.validate(&module).map_err(|e| e.emit_to_string(text))?;
    barriers::check(&module)?;

    let at = module.entry_points.iter().position(|e| e.name == launch.entry).ok_or("there is no such entry point")?;
    let entry = info.get_entry_point(at);
    let (mut bindings, mut immediates) = (0, 0);
    for (_, var) in module.global_variables.iter().filter(|(h, _)| !entry[*h].is_empty()) {
        let name = var.name.as_deref().unwrap_or("");
        match var.space {
            naga::AddressSpace::Immediate => immediates = module.types[var.ty].inner.size(module.to_ctx()) as usize,
            naga::AddressSpace::Storage { .. } => {
                bindings += 1;
                let renamed = launch.rename.iter().any(|(n, _)| *n == name);
                if !renamed && !operands.contains(name) {
                    return Err(format!("there is nothing to bind to {name}"));
                }
            }
            _ => {}
        }
    }
    if bindings > 8 {
        return Err(format!("{bindings} storage buffers"));
    }
    if launch.params.len() != immediates || immediates > 128 {
        return Err(format!("{} bytes of parameters for {immediates}", launch.params.len()));
    }

    spv::write_vec(&module, &info, &spv::Options::default(), None).map_err(|e| format!("SPIR-V: {e}"))?;
    let options = msl::Options { fake_missing_bindings: true, lang_version: (2, 4), ..Default::default() };
    msl::write_string(&module, &info, &options, &Default::default()).map_err(|e| format!("MSL: {e}"))?;
    let options = hlsl::Options {
        immediates_target: Some(hlsl::BindTarget::default()),
        special_constants_binding: Some(hlsl::BindTarget::default()),
        ..Default::default()
    };
    let (mut hlsl, pipeline) = (String::new(), hlsl::PipelineOptions::default());
    let written = hlsl::Writer::new(&mut hlsl, &options, &pipeline).write(&module, &info, None);
    written.map_err(|e| format!("HLSL: {e}"))?;
    Ok(())
}
