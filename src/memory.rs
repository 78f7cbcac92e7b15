//! The memory of the host: what is free, and what the system grants.

/// Bytes that can be taken without swapping, or less where a container is limited to less; None where the system does not
/// say.
#[cfg(not(target_family = "wasm"))]
pub fn available() -> Option<usize> {
    use sysinfo::{MemoryRefreshKind, RefreshKind, System};
    let ram = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
    let system = System::new_with_specifics(ram);
    if system.total_memory() == 0 {
        return None;
    }
    // What a container's files take in caches is given up when it is needed.
    let granted = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory.saturating_sub(limits.rss));
    usize::try_from(system.available_memory().min(granted)).ok()
}

#[cfg(target_family = "wasm")]
pub fn available() -> Option<usize> {
    None
}

/// Whether the system grants this process `bytes` of memory now: it may limit it below what is free. Most allocations of Rust
/// end the process where it does not.
pub fn is_granted(bytes: usize) -> bool {
    let mut memory = Vec::<u8>::new();
    let granted = memory.try_reserve_exact(bytes).is_ok();
    // Otherwise the compiler leaves out an allocation that is not used.
    std::hint::black_box(&memory);
    granted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_granted_and_what_no_machine_has_is_not() {
        let free = available().expect("this system says");
        // 1 MiB for a container, 1 PiB for the largest host.
        assert!((1 << 20..1 << 50).contains(&free), "{free} bytes");
        assert!(is_granted(1 << 20) && !is_granted(isize::MAX as usize));
    }
}
