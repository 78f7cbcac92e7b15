//! The devices that tests run on, opened once.

use libtest_mimic::Failed;
use std::sync::OnceLock;
use wgrec::device::cpu::{Cpu, Precision};
use wgrec::device::{Device, gpu::Gpu};

/// The oracle, the CPU device as users run it, and the GPU device: a missing adapter fails the tests, never skips them.
pub fn all() -> [&'static str; 3] {
    ["f64", "cpu", "gpu"]
}

pub fn get(name: &str) -> Result<Device, Failed> {
    static GPU: OnceLock<Result<Gpu, String>> = OnceLock::new();
    match name {
        "f64" => Ok(Device::Cpu(Cpu::new(Precision::F64))),
        "cpu" => Ok(Device::Cpu(Cpu::new(Precision::F32))),
        _ => match GPU.get_or_init(|| Gpu::open(None).map_err(|e| e.to_string())) {
            Ok(gpu) => Ok(Device::Gpu(gpu.clone())),
            Err(e) => Err(e.into()),
        },
    }
}
