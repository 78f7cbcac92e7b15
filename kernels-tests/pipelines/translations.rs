//! `kernels --shaders DIR`: every shader as the compilers of other systems read it, for tools/portability. Needs no GPU.
//! DIR/wgsl and DIR/spv have those of all devices (those with cooperative matrices as SPIR-V alone), DIR/hlsl what a Direct3D
//! device gets by DXC, DIR/fxc what it gets by FXC; DIR/names.tsv says what each file is.

use super::{launches, name};
use naga::back::{hlsl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use wgrec::device::gpu::shader::Shader;
use wgrec::kernels::launch::Source;
use wgrec::kernels::{Caps, Cooperative};
use wgrec::{Error, Result};

/// A device of Direct3D 12 with the compiler that Windows has: shader model 5.1, so no f16, no subgroups and no matrices.
pub fn fxc(large_tiles: bool) -> Caps {
    Caps { large_tiles, ..direct3d() }
}

fn direct3d() -> Caps {
    Caps {
        max_invocations: 1024,
        workgroup_bytes: 32 << 10,
        max_turns: u64::MAX,
        binding_bytes: 1 << 31,
        ..Caps::default()
    }
}

fn dxc(large_tiles: bool) -> Caps {
    Caps { large_tiles, f16: true, subgroups: true, ..direct3d() }
}

/// The least and the most that devices have.
fn others() -> [Caps; 4] {
    let least = Caps { f16: true, max_turns: u64::MAX, binding_bytes: 1 << 31, ..Caps::default() };
    let most = Caps { workgroup_bytes: 64 << 10, ..dxc(true) };
    let matrices = |size, fixed| Some(Cooperative { size, subgroup: 32, fixed });
    [
        least,
        most.clone(),
        Caps { cooperative: matrices(8, false), ..most.clone() },
        Caps { cooperative: matrices(16, true), ..most },
    ]
}

/// Status 2: they could not be written.
pub fn main(folder: &Path) -> ExitCode {
    match write(folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(2)
        }
    }
}

fn write(folder: &Path) -> Result<()> {
    let mut names = BTreeMap::new();
    let groups: [(Vec<Caps>, &[&str]); 3] = [
        (others().to_vec(), &["wgsl", "spv"]),
        ([false, true].map(dxc).to_vec(), &["wgsl", "spv", "hlsl"]),
        ([false, true].map(fxc).to_vec(), &["wgsl", "spv", "hlsl", "fxc"]),
    ];
    for (caps, targets) in groups {
        for target in targets {
            let path = folder.join(target);
            std::fs::create_dir_all(&path).map_err(Error::io(&path, "make"))?;
        }
        for (node, launch) in caps.iter().map(launches::all).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            let shader = Shader::of(&node, &launch, false);
            let stem = match launch.source() {
                Source::File(stem) => stem,
                Source::Generated(_) => "elementwise",
            };
            let file = format!("{stem}.{}.{}", launch.entry(), super::hash(shader.text()));
            let name = name(&node, &launch, &shader);
            names.entry(file.clone()).or_insert(name);
            // WGSL has no cooperative matrices: naga's are its own.
            for target in targets.iter().filter(|target| **target != "wgsl" || stem != "cooperative") {
                let path =
                    folder.join(target).join(format!("{file}.{}", if *target == "fxc" { "hlsl" } else { *target }));
                if !path.exists() {
                    let bytes = translated(&shader, target)?;
                    std::fs::write(&path, bytes).map_err(Error::io(&path, "write"))?;
                }
            }
        }
    }
    let table: String = names.iter().map(|(file, name)| format!("{file}\t{name}\n")).collect();
    let path = folder.join("names.tsv");
    std::fs::write(&path, table).map_err(Error::io(&path, "write"))
}

/// `shader` as wgpu hands it to the driver or its compiler.
fn translated(shader: &Shader, target: &str) -> Result<Vec<u8>> {
    if target == "wgsl" {
        return Ok(shader.text().as_bytes().to_vec());
    }
    let (module, _) = shader.parse()?;
    let fail =
        |e: &dyn std::fmt::Display| Error::Failed(format!("{}, {}, as {target}: {e}", shader.file, shader.entry));
    let info = Validator::new(ValidationFlags::all(), Capabilities::all()).validate(&module).map_err(|e| fail(&e))?;
    match target {
        "spv" => Ok(bytemuck::cast_slice(&spirv(&module, &info, shader.entry).map_err(|e| fail(&e))?).to_vec()),
        "hlsl" => high_level(&module, &info, shader.entry, hlsl::ShaderModel::V6_2).map_err(|e| fail(&e)),
        _ => high_level(&module, &info, shader.entry, hlsl::ShaderModel::V5_1).map_err(|e| fail(&e)),
    }
}

fn spirv(module: &naga::Module, info: &ModuleInfo, entry: &str) -> Result<Vec<u32>, spv::Error> {
    let none = BoundsCheckPolicy::Unchecked;
    let options = spv::Options {
        lang_version: (1, 6),
        flags: spv::WriterFlags::empty(),
        bounds_check_policies: BoundsCheckPolicies { index: none, buffer: none, image_load: none, binding_array: none },
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        force_loop_bounding: false,
        emit_int_div_checks: false,
        use_storage_input_output_16: true,
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: entry.into() };
    spv::write_vec(module, info, &options, Some(&pipeline))
}

/// HLSL, with the name that it gives the entry point in a comment on its first line.
pub fn high_level(
    module: &naga::Module,
    info: &ModuleInfo,
    entry: &str,
    shader_model: hlsl::ShaderModel,
) -> Result<Vec<u8>, hlsl::Error> {
    let options = hlsl::Options {
        shader_model,
        immediates_target: Some(hlsl::BindTarget { space: 2, ..Default::default() }),
        special_constants_binding: Some(hlsl::BindTarget { space: 3, ..Default::default() }),
        zero_initialize_workgroup_memory: false,
        restrict_indexing: false,
        force_loop_bounding: false,
        ..Default::default()
    };
    let pipeline = hlsl::PipelineOptions { entry_point: Some((naga::ShaderStage::Compute, entry.into())) };
    let mut text = String::new();
    let written = hlsl::Writer::new(&mut text, &options, &pipeline).write(module, info, None)?;
    let names: Vec<&str> = written.entry_point_names.iter().flatten().map(String::as_str).collect();
    Ok(format!("// {}\n{text}", names.join(" ")).into_bytes())
}
