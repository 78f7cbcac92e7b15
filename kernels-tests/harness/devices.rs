//! The devices that tests run on, opened once a thread.

use libtest_mimic::Failed;
use std::cell::RefCell;
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

/// The GPU device under these switches: each thread of trials has its own, since a software driver compiles shaders in the one
/// thread that a device's queue has.
pub fn gpu(options: GpuOptions) -> Result<Gpu, Failed> {
    thread_local! {
        static OPEN: RefCell<Vec<(GpuOptions, Gpu)>> = const { RefCell::new(vec![]) };
    }
    let found = OPEN.with_borrow(|open| open.iter().find(|(o, _)| *o == options).map(|(_, gpu)| gpu.clone()));
    if let Some(gpu) = found {
        return Ok(gpu);
    }
    let gpu = Gpu::open_with(None, options)?;
    OPEN.with_borrow_mut(|open| open.push((options, gpu.clone())));
    Ok(gpu)
}
