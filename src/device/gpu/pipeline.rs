//! Compute pipelines: each (text, entry point) compiled once a device, in parallel, with the driver's cache on disk.

use super::Shared;
use super::cache::Cache;
use super::reflection::Reflection;
use super::shader::Shader;
use crate::error::Result;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

pub(super) struct Pipeline {
    pub pipeline: wgpu::ComputePipeline,
    pub layout: wgpu::BindGroupLayout,
    pub reflection: Reflection,
}

/// A shader's text, the entry point in it, and whether it is checked.
type Key = (String, &'static str, bool);

pub(super) struct Pipelines {
    compiled: Mutex<HashMap<Key, Arc<Pipeline>>>,
    cache: Option<Cache>,
}

impl Pipelines {
    pub fn new(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Pipelines {
        let has = device.features().contains(wgpu::Features::PIPELINE_CACHE);
        Pipelines { compiled: Mutex::default(), cache: if has { Cache::open(device, info) } else { None } }
    }

    /// Pipelines for `shaders`, compiling what is new.
    pub fn get(&self, shared: &Shared, shaders: &[Shader]) -> Result<Vec<Arc<Pipeline>>> {
        let mut compiled = self.compiled.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let keys: Vec<Key> = shaders.iter().map(|s| (s.text().to_string(), s.entry, s.checked)).collect();
        let mut seen = HashSet::new();
        let both = keys.iter().zip(shaders);
        let missing: Vec<_> = both.filter(|&(key, _)| !compiled.contains_key(key) && seen.insert(key)).collect();
        let cache = self.cache.as_ref().map(Cache::driver);
        let make = |(key, shader): (&Key, &Shader)| Ok((key.clone(), Arc::new(compile(shared, shader, cache)?)));
        let made: Vec<Result<_>> = missing.into_par_iter().map(make).collect();
        let made: Vec<_> = made.into_iter().collect::<Result<_>>()?;
        if let Some(cache) = self.cache.as_ref().filter(|_| !made.is_empty()) {
            cache.save();
        }
        compiled.extend(made);
        Ok(keys.iter().map(|k| compiled[k].clone()).collect())
    }
}

fn compile(shared: &Shared, shader: &Shader, cache: Option<&wgpu::PipelineCache>) -> Result<Pipeline> {
    let reflection = shader.reflect()?;
    shader.fits(&reflection, &shared.caps)?;
    shared.count();
    let checked = shader.checked || shared.options.checked;
    let label = shader.file.as_str();
    shared.scoped(
        || format!("{label}, {}", shader.entry),
        || {
            let device = &shared.device;
            let text = match shared.parameters {
                None => shader.text().into(),
                Some(_) => shader.with_uniforms().into(),
            };
            let source = wgpu::ShaderModuleDescriptor { label: Some(label), source: wgpu::ShaderSource::Wgsl(text) };
            let checks =
                if checked { wgpu::ShaderRuntimeChecks::checked() } else { wgpu::ShaderRuntimeChecks::unchecked() };
            // SAFETY: what is not checked is ours, or its author answers for it (`Launch::unchecked`); tests run all of ours with
            // checks on, guarded buffers and poisoned memory.
            let module = unsafe { device.create_shader_module_trusted(source, checks) };
            let entries: Vec<_> = reflection.bindings.iter().map(|b| storage(b.number, !b.writes)).collect();
            let layout = device
                .create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(label), entries: &entries });
            let groups = [Some(&layout), shared.parameters.as_ref()];
            let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                label: Some(label),
                bind_group_layouts: if shared.parameters.is_some() { &groups } else { &groups[..1] },
                immediate_size: if shared.parameters.is_some() { 0 } else { reflection.immediate_bytes },
            });
            let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
                label: Some(label),
                layout: Some(&pipeline_layout),
                module: &module,
                entry_point: Some(shader.entry),
                compilation_options: wgpu::PipelineCompilationOptions {
                    // Never, so that no kernel passes a test because of it and fails where it is off for speed.
                    zero_initialize_workgroup_memory: false,
                    ..Default::default()
                },
                cache,
            });
            Pipeline { pipeline, layout, reflection: reflection.clone() }
        },
    )
}

/// The layout of [`Shared::parameters`].
pub(super) fn parameters(device: &wgpu::Device) -> wgpu::BindGroupLayout {
    device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: Some("parameters"),
        entries: &[wgpu::BindGroupLayoutEntry {
            binding: 0,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty: wgpu::BindingType::Buffer {
                ty: wgpu::BufferBindingType::Uniform,
                has_dynamic_offset: true,
                min_binding_size: None,
            },
            count: None,
        }],
    })
}

fn storage(binding: u32, read_only: bool) -> wgpu::BindGroupLayoutEntry {
    wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: wgpu::BufferBindingType::Storage { read_only },
            has_dynamic_offset: false,
            min_binding_size: None,
        },
        count: None,
    }
}
