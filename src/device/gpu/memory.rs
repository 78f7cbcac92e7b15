//! Buffers on the device, what states lie in, and moving data to and fro.

use super::{LOWER, Shared};
use crate::error::{Error, Result};
use crate::tensor::{DType, Data, Spec, Tensor};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use wgpu::BufferUsages;

/// A NaN that no kernel makes: what guarded values hold before a run.
const POISON: u32 = 0x7fc0_dead;
/// Bytes after a guarded value, within its binding.
pub(super) const GUARD_BYTES: usize = 1024;

/// A storage buffer, counted while it lives.
pub(super) struct Block {
    pub buffer: wgpu::Buffer,
    /// Bytes of the value; a guard may follow.
    pub bytes: usize,
    /// Seed of its guard.
    seed: u32,
    shared: Arc<Shared>,
}

impl Block {
    /// `bytes` zeroes (and a guard, if `guard`). `what` is named in errors: `item_embedding`, `input order`.
    pub fn new(shared: &Arc<Shared>, what: &str, bytes: usize, guard: bool) -> Result<Block> {
        let size = bytes.max(4).next_multiple_of(if guard { 4 } else { 16 }) + if guard { GUARD_BYTES } else { 0 };
        let allowed = shared.caps.binding_bytes;
        if size as u64 > allowed {
            return Err(Error::Device(format!(
                "{what} needs {} MiB in one binding and {} allows {} MiB; {LOWER}",
                size.div_ceil(1 << 20),
                super::describe(&shared.info),
                allowed >> 20
            )));
        }
        let usage = BufferUsages::STORAGE | BufferUsages::COPY_DST | BufferUsages::COPY_SRC;
        let size = size as u64;
        let buffer = create(shared, what, size, usage)?;
        shared.held.fetch_add(size, Ordering::Relaxed);
        let seed = shared.created.load(Ordering::Relaxed) as u32;
        Ok(Block { buffer, bytes, seed, shared: shared.clone() })
    }

    /// Fills the value with [`POISON`].
    pub fn poison(&self) {
        let words = vec![POISON; self.guard_start() / 4];
        self.shared.queue.write_buffer(&self.buffer, 0, bytemuck::cast_slice(&words));
    }

    /// Writes the guard.
    pub fn guard(&self) {
        let at = self.guard_start();
        let words: Vec<u32> = (0..(self.buffer.size() as usize - at) / 4).map(|i| self.guard_word(i)).collect();
        self.shared.queue.write_buffer(&self.buffer, at as u64, bytemuck::cast_slice(&words));
    }

    /// A NaN for this buffer and position: what a kernel copies from after another value is not mistaken for it.
    fn guard_word(&self, i: usize) -> u32 {
        let mixed = (self.seed ^ (i as u32).wrapping_mul(0x85eb_ca6b)).wrapping_mul(0x9e37_79b9);
        0x7fc0_0000 | mixed >> 10
    }

    /// The first guard word that was written to: (bytes after the value, what it holds).
    pub fn broken_guard(&self) -> Result<Option<(usize, u32)>> {
        let from = self.guard_start();
        let bytes = download(&self.shared, &self.buffer, from, self.buffer.size() as usize - from)?;
        let words: &[u32] = bytemuck::cast_slice(&bytes);
        let broken = (0..words.len()).find(|&i| words[i] != self.guard_word(i));
        Ok(broken.map(|i| (from + 4 * i - self.bytes, words[i])))
    }

    fn guard_start(&self) -> usize {
        self.bytes.max(4).next_multiple_of(4)
    }

    /// Writes `data` from element `offset` on, f64 as f32.
    pub fn write(&self, offset: usize, data: &Data) {
        let at = (offset * 4) as u64;
        let queue = &self.shared.queue;
        match data {
            Data::U32(v) => queue.write_buffer(&self.buffer, at, bytemuck::cast_slice(v)),
            Data::F32(v) => queue.write_buffer(&self.buffer, at, bytemuck::cast_slice(v)),
            Data::F64(v) => {
                let v: Vec<f32> = v.iter().map(|&x| x as f32).collect();
                queue.write_buffer(&self.buffer, at, bytemuck::cast_slice(&v));
            }
        }
    }

    /// Reads `spec` from element `offset` on; f16 comes as f32.
    pub fn read(&self, offset: usize, spec: &Spec) -> Result<Tensor> {
        let bytes = spec.bytes();
        let raw = download(&self.shared, &self.buffer, offset * spec.dtype.bytes(), bytes.next_multiple_of(4))?;
        let raw = &raw[..bytes];
        Ok(match spec.dtype {
            DType::U32 => Tensor::u32(spec.shape.clone(), bytemuck::pod_collect_to_vec(raw)),
            DType::F32 => Tensor::f32(spec.shape.clone(), bytemuck::pod_collect_to_vec(raw)),
            DType::F16 => {
                let half = |b: &[u8]| half::f16::from_le_bytes([b[0], b[1]]).to_f32();
                Tensor::f32(spec.shape.clone(), raw.chunks_exact(2).map(half).collect())
            }
        })
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.shared.held.fetch_sub(self.buffer.size(), Ordering::Relaxed);
    }
}

pub(super) fn create(shared: &Shared, what: &str, size: u64, usage: BufferUsages) -> Result<wgpu::Buffer> {
    shared.count();
    shared.scoped(
        || format!("{what} ({} MiB)", size.div_ceil(1 << 20)),
        || {
            let wanted = wgpu::BufferDescriptor { label: Some(what), size, usage, mapped_at_creation: false };
            shared.device.create_buffer(&wanted)
        },
    )
}

/// The buffer through which all is read back.
#[derive(Default)]
pub(super) struct Staging {
    buffer: Option<wgpu::Buffer>,
}

/// Larger values are read in pieces.
const STAGING_BYTES: usize = 32 << 20;

impl Staging {
    /// Makes room for reads of `bytes` at once.
    pub fn reserve(&mut self, shared: &Shared, bytes: usize) -> Result<&wgpu::Buffer> {
        let bytes = bytes.clamp(1024, STAGING_BYTES).next_power_of_two() as u64;
        if self.buffer.as_ref().is_none_or(|b| b.size() < bytes) {
            let usage = BufferUsages::MAP_READ | BufferUsages::COPY_DST;
            self.buffer = Some(create(shared, "the staging buffer", bytes, usage)?);
        }
        Ok(self.buffer.as_ref().expect("made above"))
    }
}

/// `bytes` of `buffer` from byte `offset` on, once all that was submitted is done. Both are multiples of 4.
pub(super) fn download(shared: &Shared, buffer: &wgpu::Buffer, offset: usize, bytes: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes);
    let mut staging = shared.staging();
    let staging = staging.reserve(shared, bytes)?;
    while out.len() < bytes {
        let part = (bytes - out.len()).min(staging.size() as usize);
        let mut encoder = shared.device.create_command_encoder(&Default::default());
        encoder.copy_buffer_to_buffer(buffer, (offset + out.len()) as u64, staging, 0, part as u64);
        shared.queue.submit([encoder.finish()]);
        let slice = staging.slice(..part as u64);
        slice.map_async(wgpu::MapMode::Read, |_| ());
        shared.wait(None)?;
        let view = slice.get_mapped_range().map_err(|e| Error::Failed(format!("reading from the device: {e}")))?;
        out.extend_from_slice(&view);
        drop(view);
        staging.unmap();
    }
    Ok(out)
}

/// The states of a run, a buffer each, in device memory, and the buffers that the plans compiled over them share.
pub struct Store {
    states: Vec<State>,
    /// With the bytes of the plan's buffer.
    pub(super) shared: Mutex<Vec<(usize, Arc<Block>)>>,
}

pub(super) struct State {
    pub name: String,
    pub elements: usize,
    pub block: Arc<Block>,
    /// It is only read.
    pub leaf: bool,
}

impl Store {
    pub(super) fn new(shared: &Arc<Shared>, states: &[(String, usize)]) -> Result<Store> {
        let state = |(name, elements): &(String, usize)| {
            let block = Block::new(shared, name, elements * 4, shared.options.guard)?;
            if shared.options.guard {
                block.guard();
            }
            Ok(State { name: name.clone(), elements: *elements, block: Arc::new(block), leaf: false })
        };
        Ok(Store { states: states.iter().map(state).collect::<Result<_>>()?, shared: Mutex::default() })
    }

    pub(super) fn find(&self, name: &str) -> Result<&State> {
        let found = self.states.iter().find(|s| s.name == name);
        found.ok_or_else(|| Error::unknown("state", name, self.states.iter().map(|s| s.name.as_str())))
    }

    /// State `name`, if `len` elements from `offset` on lie within it.
    fn range(&self, name: &str, offset: usize, len: usize) -> Result<&State> {
        let state = self.find(name)?;
        crate::device::within(name, state.elements, offset, len)?;
        Ok(state)
    }

    pub(in crate::device) fn write(&mut self, name: &str, offset: usize, tensor: &Tensor) -> Result<()> {
        self.range(name, offset, tensor.shape.elements())?.block.write(offset, &tensor.data);
        Ok(())
    }

    pub(in crate::device) fn read(&self, name: &str, offset: usize, spec: &Spec) -> Result<Tensor> {
        self.range(name, offset, spec.shape.elements())?.block.read(offset, spec)
    }

    pub(super) fn lend(&mut self, shared: &Arc<Shared>, name: &str, words: &[u32]) -> Result<()> {
        // The queue keeps a copy of what is written until it is on the device.
        const PART: usize = 4 << 20;
        let block = Block::new(shared, name, words.len() * 4, shared.options.guard)?;
        for (i, part) in words.chunks(PART).enumerate() {
            shared.queue.write_buffer(&block.buffer, (i * PART * 4) as u64, bytemuck::cast_slice(part));
            shared.queue.submit([]);
        }
        if shared.options.guard {
            block.guard();
        }
        self.states.push(State { name: name.to_string(), elements: words.len(), block: Arc::new(block), leaf: true });
        Ok(())
    }

    pub(in crate::device) fn shared_bytes(&self) -> usize {
        self.shared.lock().expect("no one panicked with it").iter().map(|(bytes, _)| bytes).sum()
    }

    pub(in crate::device) fn states(&self) -> Vec<(String, usize)> {
        self.states.iter().filter(|s| !s.leaf).map(|s| (s.name.clone(), s.elements)).collect()
    }
}
