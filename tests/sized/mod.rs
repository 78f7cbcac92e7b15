//! A SASRec's training step over a catalogue of any size, what it holds and how often it allocates.

// Each test counts something else.
#![allow(dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use wgrec::Result;
use wgrec::data::samples::{Batch, Columns};
use wgrec::device::{Device, Store};
use wgrec::models::loss::{LossConfig, LossKind, log_chances};
use wgrec::models::sasrec::{Parts, Positions, SasRec};
use wgrec::models::{Loss, Model};
use wgrec::nn::Params;
use wgrec::nn::encoder::{Encoder, Norm};
use wgrec::optim::Adam;
use wgrec::tensor::philox::Stream;
use wgrec::train::step::{StepConfig, TrainStep};

/// The system's allocator, which counts.
pub struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all work is the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        ALLOCATED.fetch_add(layout.size(), Relaxed);
        ALLOCATIONS.fetch_add(1, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes held now; the peak starts again from here.
pub fn held() -> usize {
    let held = HELD.load(Relaxed);
    PEAK.store(held, Relaxed);
    held
}

/// The most bytes held since [`held`].
pub fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// Allocations since the start, and their bytes.
pub fn allocations() -> [usize; 2] {
    [&ALLOCATIONS, &ALLOCATED].map(|count| count.load(Relaxed))
}

pub struct Sized {
    pub model: SasRec,
    pub config: StepConfig,
    pub store: Store,
    pub batch: Batch,
}

/// SASRec of width 64 in two blocks, with a target among `items` at every position of `samples` windows of `max_len`. Sampled
/// softmax has 256 negatives that a batch shares, and Adam touches only the rows that a step reads.
pub fn sized(device: &Device, items: usize, samples: usize, max_len: usize, kind: LossKind) -> Result<Sized> {
    sized_with(device, Params::new(), [items, 64], [samples, max_len], kind)
}

/// As [`sized`], of another width; `params` may have a tower.
pub fn sized_with(
    device: &Device,
    params: Params,
    [items, dim]: [usize; 2],
    [samples, max_len]: [usize; 2],
    kind: LossKind,
) -> Result<Sized> {
    let encoder = Encoder::new(Norm::Pre, true, (dim, 2, 1), None, 0.2)?;
    let parts = Parts { items, max_len, encoder, positions: Positions::All, behaviours: 0, hides: false };
    let model = SasRec::new(parts, params);
    let sampled = kind == LossKind::SampledSoftmax;
    let (negatives, log_q) = if sampled { (256, Some(log_chances(&vec![1; items + 1], 0.0))) } else { (0, None) };
    let loss = Loss { kind, config: LossConfig { shared: sampled, ..LossConfig::default() }, log_q, ..Loss::default() };
    let optimiser = Adam { lazy: sampled, ..Adam::default() };
    let config = StepConfig { batch: samples, max_len, negatives, loss, optimiser, ..StepConfig::default() };
    let mut store = device.store(&TrainStep::states(model.params(), &config.optimiser))?;
    model.params().initialise(&mut store, 1)?;
    model.params().lend_to(device, &mut store)?;

    let mut r = Stream::new(1, "sized", 0);
    let mut draw = |n: usize| (0..n).map(|_| 1 + r.below(items as u32)).collect::<Vec<_>>();
    let spec = config.batches(&model);
    let mut columns = Columns::empty(spec.columns().into());
    for (name, n) in [("history", samples * max_len), ("positive", samples * max_len), ("negative", negatives)] {
        let drawn = draw(n);
        if columns.has(name) {
            columns.get_mut(name).u32().copy_from_slice(&drawn);
        }
    }
    let from_end = (0..samples * max_len).map(|at| (max_len - at % max_len) as u32);
    columns.get_mut("recency").u32().iter_mut().zip(from_end).for_each(|(recency, from_end)| *recency = from_end);
    columns.get_mut("weight").f32().fill(1.0);
    let batch = Batch::new(columns, samples, &spec.gathered);
    Ok(Sized { model, config, store, batch })
}
