//! The devices that tests run on, opened once.

use libtest_mimic::Failed;
use std::sync::Mutex;
use wgrec::device::Device;
use wgrec::device::cpu::{Cpu, Precision};
use wgrec::device::gpu::{Gpu, GpuOptions};

/// The oracle, the CPU device as users run it, and the GPU device: a missing adapter fails the tests, never skips them.
pub fn all() -> [&'static str; 3] {
    ["f64", "cpu", "gpu"]
}

pub fn get(name: &str) -> Result<Device, Failed> {
    match name {
        "f64" => Ok(Device::Cpu(Cpu::new(Precision::F64))),
        "cpu" => Ok(Device::Cpu(Cpu::new(Precision::F32))),
        _ => Ok(Device::Gpu(gpu(GpuOptions::default())?)),
    }
}

/// The GPU device under these switches.
pub fn gpu(options: GpuOptions) -> Result<Gpu, Failed> {
    static OPEN: Mutex<Vec<(GpuOptions, Gpu)>> = Mutex::new(vec![]);
    let mut open = OPEN.lock().map_err(|_| "another test panicked while it opened a device")?;
    if let Some((_, gpu)) = open.iter().find(|(o, _)| *o == options) {
        return Ok(gpu.clone());
    }
    let gpu = Gpu::open_with(None, options)?;
    open.push((options, gpu.clone()));
    Ok(gpu)
}
