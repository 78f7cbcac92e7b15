//! Which adapters there are, what they can do, and opening one.

use super::memory::Staging;
use super::pipeline::{self, Pipelines};
use super::shader::MAX_IMMEDIATE_BYTES;
use super::{Fault, Gpu, GpuOptions, LOWER, Shared, describe, driver, known, lost};
use crate::error::{Error, Result};
use crate::graph::{Caps, Cooperative};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use wgpu::{DeviceType, Features, Limits};

/// An adapter, as `wgrec devices` prints it. Its place in the list is N of `--device gpu:N`.
#[derive(Clone, Debug)]
pub struct AdapterInfo {
    pub name: String,
    /// `vulkan`, `metal` or `dx12`.
    pub backend: String,
    pub driver: String,
    /// `discrete`, `integrated`, `virtual`, `software` or `other`.
    pub kind: &'static str,
    pub caps: Caps,
    /// Least and greatest subgroup size.
    pub subgroup_size: (u32, u32),
    pub timestamps: bool,
    /// Products of matrices that a whole subgroup makes (tensor cores), as "16x16x16 of f16 to f32".
    pub cooperative: Vec<String>,
    /// Bytes of immediates; 0 where it has none.
    pub immediate_bytes: u32,
}

/// All adapters, in a fixed order. Empty where no driver is installed.
pub fn adapters() -> Vec<AdapterInfo> {
    list().iter().map(info).collect()
}

fn info(adapter: &wgpu::Adapter) -> AdapterInfo {
    let info = adapter.get_info();
    let features = adapter.features();
    AdapterInfo {
        backend: info.backend.to_string(),
        driver: driver(&info),
        kind: match info.device_type {
            DeviceType::DiscreteGpu => "discrete",
            DeviceType::IntegratedGpu => "integrated",
            DeviceType::VirtualGpu => "virtual",
            DeviceType::Cpu => "software",
            DeviceType::Other => "other",
        },
        caps: caps(adapter, &GpuOptions::default()),
        subgroup_size: (info.subgroup_min_size, info.subgroup_max_size),
        timestamps: features.contains(Features::TIMESTAMP_QUERY),
        cooperative: adapter.cooperative_matrix_properties().iter().map(in_words).collect(),
        immediate_bytes: if features.contains(Features::IMMEDIATES) { adapter.limits().max_immediate_size } else { 0 },
        name: info.name,
    }
}

fn in_words(matrices: &wgpu::CooperativeMatrixProperties) -> String {
    let [from, to] = [matrices.ab_type, matrices.cr_type].map(|scalar| format!("{scalar:?}").to_lowercase());
    format!("{}x{}x{} of {from} to {to}", matrices.m_size, matrices.n_size, matrices.k_size)
}

/// The largest square matrices of f16 that are summed in f32.
fn cooperative(adapter: &wgpu::Adapter) -> Option<Cooperative> {
    use wgpu::CooperativeScalarType::{F16, F32};
    let size = |m: &wgpu::CooperativeMatrixProperties| {
        let square = m.m_size == m.n_size && m.m_size == m.k_size;
        (square && matches!(m.m_size, 8 | 16) && m.ab_type == F16 && m.cr_type == F32).then_some(m.m_size)
    };
    let size = adapter.cooperative_matrix_properties().iter().filter_map(size).max()?;
    let needed = Features::SUBGROUP | Features::SHADER_F16 | Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    let info = adapter.get_info();
    let (subgroup, fixed) = (info.subgroup_max_size, info.subgroup_min_size == info.subgroup_max_size);
    let runs =
        adapter.features().contains(needed) && 4 * subgroup <= adapter.limits().max_compute_invocations_per_workgroup;
    runs.then_some(Cooperative { size, subgroup, fixed })
}

fn caps(adapter: &wgpu::Adapter, options: &GpuOptions) -> Caps {
    let (features, limits) = (adapter.features(), adapter.limits());
    Caps {
        max_groups: limits.max_compute_workgroups_per_dimension,
        max_invocations: limits.max_compute_invocations_per_workgroup,
        workgroup_bytes: limits.max_compute_workgroup_storage_size,
        binding_bytes: limits.max_storage_buffer_binding_size.min(limits.max_buffer_size),
        subgroups: options.subgroups && features.contains(Features::SUBGROUP),
        f16: features.contains(Features::SHADER_F16),
        // Measured when it is opened.
        max_turns: u64::MAX,
        large_tiles: !is_intel(&adapter.get_info()),
        cooperative: cooperative(adapter).filter(|_| options.cooperative),
    }
}

/// Intel's GPUs have 128 registers an invocation at most; others' compilers keep the largest tiles in registers.
fn is_intel(info: &wgpu::AdapterInfo) -> bool {
    const VENDOR: u32 = 0x8086;
    // Metal tells no vendor.
    info.vendor == VENDOR || info.name.starts_with("Intel")
}

fn list() -> Vec<wgpu::Adapter> {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    pollster::block_on(instance.enumerate_adapters(backends))
}

fn first_real(adapters: &[wgpu::Adapter]) -> Option<wgpu::Adapter> {
    let kinds = [DeviceType::DiscreteGpu, DeviceType::IntegratedGpu, DeviceType::VirtualGpu];
    let of = |kind| adapters.iter().find(|a| a.get_info().device_type == kind);
    kinds.into_iter().find_map(of).cloned()
}

fn has_immediates(adapter: &wgpu::Adapter) -> bool {
    adapter.features().contains(Features::IMMEDIATES) && adapter.limits().max_immediate_size >= MAX_IMMEDIATE_BYTES
}

pub(super) fn hardware() -> Result<Option<wgpu::Adapter>> {
    Ok(first_real(&list()))
}

pub(super) fn find(number: Option<usize>) -> Result<wgpu::Adapter> {
    let adapters = list();
    if adapters.is_empty() {
        return Err(Error::Device(
            "no GPU driver was found: install one (for a software driver on Debian or Ubuntu: apt-get install \
             mesa-vulkan-drivers libvulkan1), or pass --device cpu"
                .into(),
        ));
    }
    match number {
        None => Ok(first_real(&adapters).unwrap_or_else(|| adapters[0].clone())),
        Some(n) => adapters.get(n).cloned().ok_or_else(|| {
            let known = adapters.iter().enumerate().map(|(i, a)| format!("gpu:{i} is {}", describe(&a.get_info())));
            Error::Device(format!("there is no gpu:{n}: {}", known.collect::<Vec<_>>().join(", ")))
        }),
    }
}

pub(super) fn open(adapter: wgpu::Adapter, options: GpuOptions) -> Result<Gpu> {
    let info = adapter.get_info();
    let immediates = options.immediates && has_immediates(&adapter);
    let optional = [Features::SUBGROUP, Features::SHADER_F16, Features::TIMESTAMP_QUERY, Features::PIPELINE_CACHE];
    let mut features = optional.into_iter().fold(Features::empty(), |all, f| all | (f & adapter.features()));
    features.set(Features::IMMEDIATES, immediates);
    let caps = caps(&adapter, &options);
    if caps.cooperative.is_some() {
        features |= Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
    }
    let has = adapter.limits();
    let limits = Limits {
        max_buffer_size: has.max_buffer_size,
        max_storage_buffer_binding_size: has.max_storage_buffer_binding_size,
        max_compute_workgroup_storage_size: has.max_compute_workgroup_storage_size,
        max_compute_invocations_per_workgroup: has.max_compute_invocations_per_workgroup,
        max_compute_workgroup_size_x: has.max_compute_workgroup_size_x,
        max_compute_workgroup_size_y: has.max_compute_workgroup_size_y,
        max_compute_workgroups_per_dimension: has.max_compute_workgroups_per_dimension,
        max_immediate_size: if immediates { MAX_IMMEDIATE_BYTES } else { 0 },
        ..Limits::defaults()
    };
    let wanted = wgpu::DeviceDescriptor {
        label: Some("wgrec"),
        required_features: features,
        experimental_features: match caps.cooperative {
            // SAFETY: cooperative.wgsl is all that uses them; tests run it, and `wgrec devices` checks it.
            Some(_) => unsafe { wgpu::ExperimentalFeatures::enabled() },
            None => wgpu::ExperimentalFeatures::disabled(),
        },
        required_limits: limits.clone(),
        // Plans know their buffers: large blocks in advance would only be held in vain.
        memory_hints: wgpu::MemoryHints::MemoryUsage,
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&wanted))
        .map_err(|e| Error::Device(format!("{} cannot be opened: {e}", describe(&info))))?;

    let fault = Arc::new(Fault::default());
    let seen = fault.clone();
    device.on_uncaptured_error(Arc::new(move |e| match e {
        wgpu::Error::OutOfMemory { .. } => seen.set(format!("the device ran out of memory: {LOWER}")),
        e => seen.set(format!("the device refused a command: {e}")),
    }));
    let seen = fault.clone();
    device.set_device_lost_callback(move |reason, message| {
        if reason != wgpu::DeviceLostReason::Destroyed {
            seen.set(lost(&message));
        }
    });
    let mut shared = Arc::new(Shared {
        pipelines: Pipelines::new(&device, &info),
        parameters: (!immediates).then(|| pipeline::parameters(&device)),
        caps,
        device,
        queue,
        info,
        options,
        fault,
        staging: Mutex::new(Staging::default()),
        held: AtomicU64::new(0),
        created: AtomicU64::new(0),
        multiplies: OnceLock::new(),
    });
    if options.probe {
        let turns = known::turns(&shared)?;
        Arc::get_mut(&mut shared).expect("what was run is dropped").caps.max_turns = turns;
    }
    Ok(Gpu { shared })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::{AdapterInfo, Backend};

    #[test]
    fn intel_is_known_by_vendor_and_on_metal_by_name() {
        let of = |vendor, name: &str, backend| {
            let info = AdapterInfo::new(DeviceType::IntegratedGpu, backend);
            is_intel(&AdapterInfo { vendor, name: name.into(), ..info })
        };
        assert!(of(0x8086, "Intel(R) Iris(R) Xe Graphics (TGL GT2)", Backend::Vulkan));
        assert!(of(0, "Intel(R) Iris(TM) Plus Graphics", Backend::Metal));
        assert!(!of(0x1002, "AMD Radeon RX 7900 XT (RADV NAVI31)", Backend::Vulkan));
        assert!(!of(0, "Apple M1", Backend::Metal));
    }
}
