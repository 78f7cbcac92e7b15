//! The driver's compiled pipelines on disk.

use crate::files::replace;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::path::PathBuf;

/// A file in `$WGREC_CACHE`, `$XDG_CACHE_HOME/wgrec` or `~/.cache/wgrec`: a SHA-256 and the data. What cannot be read or
/// written is done without: it costs only time.
pub(super) struct Cache {
    cache: wgpu::PipelineCache,
    path: PathBuf,
}

const HASH_BYTES: usize = 32;

impl Cache {
    pub fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo) -> Option<Cache> {
        let key = wgpu::util::pipeline_cache_key(info)?;
        let driver = Sha256::digest(format!("{} {} {}", info.name, info.driver, info.driver_info));
        let driver: String = driver.iter().take(8).map(|b| format!("{b:02x}")).collect();
        let path = folder()?.join(format!("{key}_{driver}"));
        let data = std::fs::read(&path)
            .ok()
            .filter(|f| f.len() > HASH_BYTES && Sha256::digest(&f[HASH_BYTES..]).as_slice() == &f[..HASH_BYTES]);
        let wanted = wgpu::PipelineCacheDescriptor {
            label: None,
            data: data.as_deref().map(|f| &f[HASH_BYTES..]),
            fallback: true,
        };
        // SAFETY: the data came from `get_data`, by its hash; wgpu and the driver check that it is of this adapter.
        let cache = unsafe { device.create_pipeline_cache(&wanted) };
        Some(Cache { cache, path })
    }

    /// What the driver compiles with.
    pub fn driver(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    pub fn save(&self) {
        let Some(data) = self.cache.get_data() else { return };
        let mut file = Sha256::digest(&data).to_vec();
        file.extend(data);
        if self.path.parent().map_or(Ok(()), std::fs::create_dir_all).is_ok() {
            let _ = replace(&self.path, |out| out.write_all(&file));
        }
    }
}

fn folder() -> Option<PathBuf> {
    let of = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    of("WGREC_CACHE")
        .or_else(|| of("XDG_CACHE_HOME").map(|d| d.join("wgrec")))
        .or_else(|| of("HOME").map(|d| d.join(".cache/wgrec")))
}
