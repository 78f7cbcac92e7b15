//! `wgrec devices`

use indicatif::DecimalBytes;
use std::fmt::Write;
use wgrec::device::Device;
use wgrec::device::check::{ALLOWED, check};
use wgrec::device::gpu::{self, GpuOptions};
use wgrec::{Error, Result};

pub fn run() -> Result<()> {
    let mut wrong = 0;
    let mut text = String::new();
    let (cpu, name) = Device::open("cpu")?;
    let _ = writeln!(text, "{:<8} {name}", "cpu");
    wrong += self_check(&mut text, Ok(cpu));
    let adapters = gpu::adapters();
    if adapters.is_empty() {
        let _ = writeln!(text, "{:<8} no adapter found: is a Vulkan, Metal or DX12 driver installed?", "gpu");
    }
    for (n, adapter) in adapters.iter().enumerate() {
        let _ = writeln!(
            text,
            "{:<8} {}: {}, {}, {}",
            format!("gpu:{n}"),
            adapter.name,
            adapter.kind,
            adapter.backend,
            adapter.driver
        );
        let caps = &adapter.caps;
        let _ = writeln!(
            text,
            "{:<8} limits: {} a binding, {} a workgroup, {} invocations, {} groups a dimension, {} B of immediates",
            "",
            DecimalBytes(caps.binding_bytes),
            DecimalBytes(caps.workgroup_bytes as u64),
            caps.max_invocations,
            caps.max_groups,
            adapter.immediate_bytes
        );
        let (least, most) = adapter.subgroup_size;
        let subgroups =
            if caps.subgroups { format!("subgroups of {least} to {most}") } else { "no subgroups".to_string() };
        let with = |has: bool, name: &str| if has { name.to_string() } else { format!("no {name}") };
        let (f16, timestamps) = (with(caps.f16, "f16"), with(adapter.timestamps, "timestamps"));
        let matrices = match adapter.cooperative.is_empty() {
            true => "no cooperative matrices".to_string(),
            false => format!("cooperative matrices {}", adapter.cooperative.join(", ")),
        };
        let _ = writeln!(text, "{:<8} features: {subgroups}, {f16}, {timestamps}, {matrices}", "");
        let options = GpuOptions { probe: false, ..GpuOptions::default() };
        wrong += self_check(&mut text, gpu::Gpu::open_with(Some(n), options).map(Device::Gpu));
    }
    super::print(&text)?;
    match wrong {
        0 => Ok(()),
        _ => Err(Error::Failed(format!(
            "{wrong} of these devices compute something wrong or do not run; update the driver"
        ))),
    }
}

/// Adds what a device's self-check says; 1 where it fails, else 0.
fn self_check(text: &mut String, device: Result<Device>) -> usize {
    let checked = match device.and_then(|device| Ok((check(&device)?, device.note()))) {
        Ok((checked, note)) => {
            note.iter().for_each(|note| _ = writeln!(text, "{:<8} note: {note}", ""));
            checked
        }
        Err(e) => {
            let _ = writeln!(text, "{:<8} self-check: does not run: {e}", "");
            return 1;
        }
    };
    let wrong: Vec<String> =
        checked.iter().filter(|c| !c.passed()).map(|c| format!("{} is off by {:.1e}", c.kernel, c.worst)).collect();
    if wrong.is_empty() {
        let worst = checked.iter().map(|c| c.worst).fold(0.0, f64::max);
        let _ = writeln!(text, "{:<8} self-check: {} kernels right, the worst off by {worst:.1e}", "", checked.len());
        return 0;
    }
    let _ = writeln!(text, "{:<8} self-check: WRONG (more than {ALLOWED:.0e} off): {}", "", wrong.join(", "));
    1
}
