//! The shaders, as far as that needs no GPU: all have a kernel and cases, bind what their op declares, and translate to
//! what Vulkan, Metal and DX12 take.

use crate::cases;
use crate::harness::{Case, barriers, fxc, operators, run};
use crate::pipelines::{launches, translations};
use libtest_mimic::{Failed, Trial};
use naga::Statement;
use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use wgrec::device::gpu::bind;
use wgrec::device::gpu::shader::Shader;
use wgrec::graph::plan::{Options, Planned};
use wgrec::kernels::launch::Source;
use wgrec::kernels::{Caps, Cooperative, KERNELS, Kernel, Launch};

pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("shaders::every_file_has_a_kernel_and_cases", every_file),
        Trial::test("shaders::every_entry_point_is_launched_by_a_case", every_entry_point),
        Trial::test("shaders::subgroup_id_is_for_subgroups_of_varying_size_alone", subgroup_ids),
        Trial::test("shaders::a_barrier_that_all_reach_is_accepted", good_barriers),
        Trial::test("shaders::fxc_compiles_what_its_devices_get", for_fxc),
        Trial::test("shaders::what_fxc_refuses_is_found", found_for_fxc),
        Trial::test("shaders::operators_in_parentheses_are_accepted", || {
            operators::GOOD.iter().try_for_each(|text| operators::check(text).map_err(Failed::from))
        }),
    ];
    for text in operators::BAD {
        let refused = move || match operators::check(text) {
            Err(_) => Ok(()),
            Ok(()) => Err(Failed::from(format!("accepted: {text}"))),
        };
        trials.push(Trial::test(format!("shaders::mixed_operators_are_refused::{}", text.replace(' ', "")), refused));
    }
    for (what, body) in barriers::BAD {
        let refused = move || match judge(body) {
            Err(e) if e.contains("barrier") => Ok(()),
            other => Err(Failed::from(format!("{other:?}: {body}"))),
        };
        trials.push(Trial::test(format!("shaders::a_barrier_behind_{}_is_refused", what.replace(' ', "_")), refused));
    }
    trials.extend(cases::ALL.iter().map(|&(kernel, cases)| {
        Trial::test(format!("shaders::{kernel}::binds_and_translates"), move || binds_and_translates(&cases()))
    }));
    trials
}

/// shaders/*.wgsl, kernels-tests/cases/*.rs and the list of the kernels name the same ones.
fn every_file() -> Result<(), Failed> {
    let stems = |folder: &str, extension: &str| -> Result<BTreeSet<String>, Failed> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let files = std::fs::read_dir(path)?.collect::<Result<Vec<_>, _>>()?.into_iter().map(|e| e.path());
        let files = files.filter(|p| p.extension().is_some_and(|e| e == extension));
        Ok(files.map(|p| p.file_stem().expect("it has an extension").to_string_lossy().into_owned()).collect())
    };
    let equal = |what: &str, a: BTreeSet<String>, b: BTreeSet<String>| {
        let apart: Vec<_> = a.symmetric_difference(&b).collect();
        let add = "names of kernels are added in src/kernels/mod.rs";
        if apart.is_empty() { Ok(()) } else { Err(Failed::from(format!("{what}: {apart:?} is not in both ({add})"))) }
    };
    let listed = |kernels: &mut dyn Iterator<Item = &Kernel>| kernels.map(|k| k.name.to_string()).collect();
    let with_shader = listed(&mut KERNELS.iter().filter(|kernel| kernel.shader.is_some()));
    equal("shaders/ and the list of kernels", stems("shaders", "wgsl")?, with_shader)?;
    let mut cases = stems("kernels-tests/cases", "rs")?;
    cases.remove("mod");
    equal("kernels-tests/cases/ and the list of kernels", cases, listed(&mut KERNELS.iter()))
}

/// The least that an adapter has, then subgroups and large tiles, then cooperative matrices too, of either size, in subgroups of
/// varying and of one size.
fn all_caps() -> [Caps; 4] {
    let of = |more, cooperative| Caps { subgroups: more, large_tiles: more, cooperative, ..Caps::default() };
    let matrices = |size, fixed| of(true, Some(Cooperative { size, subgroup: 32, fixed }));
    [of(false, None), of(true, None), matrices(8, false), matrices(16, true)]
}

/// Every distinct shader text that the cases launch, with a node that launches it, in each precision.
fn of_cases(cases: &[Case]) -> Result<Vec<(Planned, Launch)>, Failed> {
    let mut seen = HashSet::new();
    let mut all = vec![];
    for (case, caps) in cases.iter().flat_map(|case| all_caps().map(|caps| (case, caps))) {
        for half in [false, true] {
            for (node, launch) in run::launches(case, &caps, Options { half, no_fuse: half, ..Options::default() })? {
                if seen.insert((Shader::of(&node, &launch, false).text().to_string(), launch.entry())) {
                    all.push((node, launch));
                }
            }
        }
    }
    Ok(all)
}

fn every_entry_point() -> Result<(), Failed> {
    let mut launched: BTreeMap<&str, HashSet<&str>> = BTreeMap::new();
    let mut declared: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (_, cases) in cases::ALL {
        for (node, launch) in of_cases(&cases())? {
            let Source::File(stem) = *launch.source() else { continue };
            launched.entry(stem).or_default().insert(launch.entry());
            let module = Shader::of(&node, &launch, false).parse()?.0;
            declared.entry(stem).or_default().extend(module.entry_points.into_iter().map(|e| e.name));
        }
    }
    let never = |kernel: &&Kernel| kernel.shader.is_some() && !launched.contains_key(kernel.name);
    if let Some(Kernel { name: stem, .. }) = KERNELS.iter().find(never) {
        return Err(format!("no case launches shaders/{stem}.wgsl").into());
    }
    for (stem, entries) in declared {
        if let Some(entry) = entries.iter().find(|e| !launched[stem].contains(e.as_str())) {
            return Err(format!("no case launches {entry} of shaders/{stem}.wgsl").into());
        }
    }
    Ok(())
}

/// Whether `block`, or a function that it calls, has a loop.
fn has_loop(module: &naga::Module, block: &naga::Block) -> bool {
    block.iter().any(|statement| match statement {
        Statement::Loop { .. } => true,
        Statement::Block(block) => has_loop(module, block),
        Statement::If { accept, reject, .. } => has_loop(module, accept) || has_loop(module, reject),
        Statement::Switch { cases, .. } => cases.iter().any(|case| has_loop(module, &case.body)),
        Statement::Call { function, .. } => has_loop(module, &module.functions[*function].body),
        _ => false,
    })
}

/// A device of Direct3D without dxcompiler.dll gets nothing that FXC refuses: no f16, no subgroups, no cooperative matrices, and
/// none of what [`fxc::check`] knows. tools/portability hands the same shaders to FXC.
fn for_fxc() -> Result<(), Failed> {
    // Reading two f16 out of a word is part of WGSL.
    let allowed = Capabilities::IMMEDIATES | Capabilities::SHADER_FLOAT16_IN_FLOAT32;
    let mut seen = HashSet::new();
    for caps in [false, true].map(translations::fxc) {
        for (node, launch) in launches::all(&caps)? {
            let shader = Shader::of(&node, &launch, false);
            if !seen.insert((shader.text().to_string(), shader.entry)) {
                continue;
            }
            let fail = |e: String| Failed::from(format!("{}, {}: {e}", shader.file, shader.entry));
            let (module, _) = shader.parse()?;
            let info = Validator::new(ValidationFlags::all(), allowed).validate(&module);
            let info = info.map_err(|e| fail(e.emit_to_string(shader.text())))?;
            fxc::check(&module, &info).map_err(fail)?;
            let text = translations::high_level(&module, &info, shader.entry, hlsl::ShaderModel::V5_1);
            text.map_err(|e| fail(e.to_string()))?;
        }
    }
    Ok(())
}

fn found_for_fxc() -> Result<(), Failed> {
    let check = |text: &str| {
        let module = naga::front::wgsl::parse_str(text).map_err(|e| e.emit_to_string(text))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module);
        fxc::check(&module, &info.map_err(|e| e.emit_to_string(text))?)
    };
    check(fxc::GOOD)?;
    match check(fxc::BAD) {
        Err(e) if e.starts_with("f writes a component") => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

/// The built-in takes a capability that no launch should need without cause.
fn subgroup_ids() -> Result<(), Failed> {
    let mut seen = HashSet::new();
    for (node, launch) in of_cases(&cases::cooperative::cases())? {
        let text = Shader::of(&node, &launch, false).text().to_string();
        let cooperative = *launch.source() == Source::File("cooperative");
        let fixed = launch.constants().iter().any(|(name, _)| *name == "SUBGROUP");
        if text.contains("(subgroup_id)") != (cooperative && !fixed) {
            return Err(format!("{}, {:?}", launch.entry(), launch.constants()).into());
        }
        seen.insert((cooperative, fixed));
    }
    if seen.len() == 3 { Ok(()) } else { Err(format!("only {seen:?}").into()) }
}

/// In each direction of invocations: names and parameters fit, limits that every adapter has suffice, barriers are reached
/// by all, operators do not mix, launches with loops say their turns, and SPIR-V, MSL and HLSL come out.
fn binds_and_translates(cases: &[Case]) -> Result<(), Failed> {
    for (node, launch) in of_cases(cases)? {
        for reverse in [false, true] {
            let shader = Shader::of(&node, &launch, reverse);
            let found = shader.reflect()?;
            operators::check(shader.text()).map_err(|e| Failed::from(format!("{}: {e}", shader.file)))?;
            bind::bind(&node, &launch, &found)?;
            shader.fits(&found, &Caps::default())?;
            let (module, _) = shader.parse()?;
            let fail = |e: String| Failed::from(format!("{}, {}: {e}", shader.file, launch.entry()));
            // A driver that ends long loops is only found out where launches say how long theirs are.
            let entry = module.entry_points.iter().find(|e| e.name == launch.entry()).ok_or("no such entry point")?;
            if launch.most_turns() == 0 && has_loop(&module, &entry.function.body) {
                return Err(fail("has a loop, and its launch says no turns".into()));
            }
            let cooperative = shader.file == "shaders/cooperative.wgsl";
            let mut allowed = Capabilities::IMMEDIATES | Capabilities::SUBGROUP | Capabilities::SHADER_FLOAT16;
            // What WebGPU itself has: reading two halves of a word.
            allowed |= Capabilities::SHADER_FLOAT16_IN_FLOAT32;
            allowed.set(Capabilities::COOPERATIVE_MATRIX, cooperative);
            let info = Validator::new(ValidationFlags::all(), allowed).validate(&module);
            let info = info.map_err(|e| fail(e.emit_to_string(shader.text())))?;
            barriers::check(&module).map_err(&fail)?;
            translate(&module, &info, launch.entry(), cooperative).map_err(&fail)?;
        }
    }
    Ok(())
}

/// `cooperative`: the shader multiplies cooperative matrices, which HLSL lacks; wgpu never offers them there.
fn translate(
    module: &naga::Module,
    info: &naga::valid::ModuleInfo,
    entry: &str,
    cooperative: bool,
) -> Result<(), String> {
    let stage = naga::ShaderStage::Compute;
    let options = spv::Options { lang_version: (1, 3), ..Default::default() };
    let pipeline = spv::PipelineOptions { shader_stage: stage, entry_point: entry.into() };
    spv::write_vec(module, info, &options, Some(&pipeline)).map_err(|e| format!("SPIR-V: {e}"))?;

    let options = msl::Options { lang_version: (2, 4), ..Default::default() };
    let pipeline = msl::PipelineOptions { entry_point: Some((stage, entry.into())), ..Default::default() };
    let (text, _) = msl::write_string(module, info, &options, &pipeline).map_err(|e| format!("MSL: {e}"))?;
    if !text.contains("kernel void") {
        return Err("MSL: no kernel came out".into());
    }
    if cooperative {
        return Ok(());
    }

    let options = hlsl::Options {
        shader_model: hlsl::ShaderModel::V6_2,
        immediates_target: Some(hlsl::BindTarget::default()),
        ..Default::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((stage, entry.into())) };
    let mut text = String::new();
    hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None).map_err(|e| format!("HLSL: {e}"))?;
    if !text.contains("numthreads") {
        return Err("HLSL: no kernel came out".into());
    }
    Ok(())
}

/// The barrier rule accepts what is uniform.
fn good_barriers() -> Result<(), Failed> {
    barriers::GOOD.iter().try_for_each(|body| judge(body).map_err(|e| Failed::from(format!("{e}: {body}"))))
}

/// What the check of barriers says of `body` as an entry point with an invocation's and a workgroup's number, and memory of both kinds.
fn judge(body: &str) -> Result<(), String> {
    let text = format!(
        "@group(0) @binding(0) var<storage, read> words: array<u32>;
         var<workgroup> shared_words: array<u32, 64>;
         fn same(a: u32, b: u32) -> u32 {{ var m = a; if b > 2u {{ m += b; }} return m; }}
         fn meet() {{ workgroupBarrier(); }}
         var<immediate> n: u32;
         struct Me {{ @builtin(local_invocation_index) local: u32 }}
         struct Grid {{ @builtin(workgroup_id) group: vec3<u32> }}
         struct Mixed {{ @builtin(local_invocation_id) id: vec3<u32>, @builtin(num_workgroups) group: vec3<u32> }}
         @compute @workgroup_size(64)
         fn main(me: Me, grid: Grid, mixed: Mixed) {{ let lane = me.local; let group = grid.group; {body} }}"
    );
    barriers::check(&naga::front::wgsl::parse_str(&text).map_err(|e| e.emit_to_string(&text))?)
}
