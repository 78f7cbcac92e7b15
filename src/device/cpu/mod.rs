//! The CPU device: each node's twin, or its faster f32 form, in the order of the plan; strips of them tile by tile.

mod strip;

use super::inputs::Inputs;
use super::{RunOptions, Timing, Words};
use crate::error::{Error, Result};
use crate::graph::plan::{Memory, Plan, Planned, Slot};
use crate::graph::{Args, Operand, Operands};
use crate::memory;
use crate::tensor::{DType, Data, Spec, Tensor};
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use strip::Strip;

/// What the device computes in. f64 runs the twins alone: it is the oracle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Precision {
    F32,
    F64,
    /// f32, the twins alone: to judge the faster forms.
    F32Twins,
}

#[derive(Clone)]
pub struct Cpu {
    precision: Precision,
}

impl Cpu {
    pub fn new(precision: Precision) -> Cpu {
        Cpu { precision }
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub fn threads(&self) -> usize {
        rayon::current_num_threads()
    }

    fn element_bytes(&self) -> usize {
        if self.precision == Precision::F64 { 8 } else { 4 }
    }

    pub(super) fn store(&self, states: &[(String, usize)]) -> Result<Store> {
        let bytes = self.element_bytes();
        enough_memory("parameters and moments need", states.iter().map(|(_, n)| n * bytes).sum())?;
        let state = |(name, n): &(String, usize)| (name.clone(), *n, Block::zeroed(n * bytes));
        let states = states.iter().map(state).collect();
        Ok(Store { states, shared: Mutex::default(), busy: Arc::default(), wide: self.precision == Precision::F64 })
    }

    pub(super) fn compile(&self, plan: &Plan, store: &Store, options: RunOptions) -> Result<Runner> {
        let scale = self.element_bytes() / 4;
        if plan.nodes.iter().flat_map(|n| n.inputs.iter().chain(&n.outputs)).any(|s| s.spec.dtype == DType::F16) {
            return Err(Error::Device("the cpu device holds no f16; use precision f32".into()));
        }
        let mut shared = store.shared.lock().expect("no one panicked with it");
        let places = plan.share(&shared.iter().map(|(bytes, _)| *bytes).collect::<Vec<_>>());
        let at_hand: usize = plan.pool.iter().zip(&places).filter(|(_, at)| at.is_some()).map(|(bytes, _)| bytes).sum();
        enough_memory("the plan needs", (plan.peak_bytes() - plan.state_bytes() - at_hand) * scale)?;
        let block = |bytes: &usize| Block::zeroed(bytes * scale);
        let sums = (0..plan.strips.len()).map(|strip| plan.sums(strip).map(|(_, bytes)| bytes).sum::<usize>());
        let mut memory = Memories {
            pool: vec![],
            tiles: (0..plan.threads).map(|_| plan.tile.iter().map(block).collect()).collect(),
            tile: vec![],
            inputs: plan.inputs.iter().map(|(_, spec)| block(&spec.bytes())).collect(),
            states: vec![],
            constants: plan.constants.iter().map(|t| block(&t.spec().bytes())).collect(),
            sums: block(&sums.max().unwrap_or(0)),
        };
        for (i, (bytes, place)) in plan.pool.iter().zip(places).enumerate() {
            let buffer = place.map_or_else(|| block(bytes), |place| shared[place].1.clone());
            if place.is_none() && plan.may_share(i) {
                shared.push((*bytes, buffer.clone()));
            }
            memory.pool.push(buffer);
        }
        drop(shared);
        for (name, elements) in &plan.states {
            let (_, n, b) = store.find(name)?;
            if n < elements {
                return Err(Error::Usage(format!("state {name} has {n} elements, the plan reaches {elements}")));
            }
            memory.states.push(b.clone());
        }
        let leaf = |slot: &Slot| matches!(slot.memory, Memory::State(i) if matches!(memory.states[i], Block::Leaf(_)));
        if let Some(node) = plan.nodes.iter().find(|node| node.outputs.iter().any(leaf)) {
            return Err(Error::shape(&node.scope, "writes to a leaf, which is only read"));
        }
        let wide = self.precision == Precision::F64;
        for (t, b) in plan.constants.iter().zip(&memory.constants) {
            b.write(0, (&t.data).into(), wide);
        }
        let nodes = plan.nodes.iter().map(|n| {
            let operands = |slots: &[Slot]| match n.strip {
                None => slots.iter().map(|slot| operand(slot, &memory, wide)).collect(),
                Some(_) => vec![],
            };
            let (inputs, outputs) = (operands(&n.inputs), operands(&n.outputs));
            let operands = n.op.operands();
            Node { planned: n.clone(), operands, inputs, outputs, calls: 0, nanoseconds: AtomicU64::new(0) }
        });
        let nodes = nodes.collect();
        let strips = (0..plan.strips.len()).map(|number| Strip::new(number, plan, &mut memory, wide)).collect();
        Ok(Runner {
            nodes,
            strips,
            inputs: Inputs::of(plan),
            results: plan.results.clone(),
            memory,
            busy: store.busy.clone(),
            precision: self.precision,
            options,
        })
    }
}

/// Where `slot` lies: its first element, for one whose memory is a tile's.
fn operand(slot: &Slot, memory: &Memories, wide: bool) -> Operand {
    let bytes = if slot.spec.dtype == DType::U32 || !wide { 4 } else { 8 };
    Operand { spec: slot.spec.clone(), at: memory.block(slot.memory).at().wrapping_add(slot.offset * bytes) }
}

/// An error that says what to lower where `needed` bytes are more than are free.
fn enough_memory(what: &str, needed: usize) -> Result<()> {
    let gib = |bytes: usize| format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64);
    let free = match memory::available() {
        Some(free) if needed > free => format!("{} of memory are free", gib(free)),
        _ if !memory::is_granted(needed) => "the system grants this process less (ulimit -v)".to_string(),
        _ => return Ok(()),
    };
    Err(Error::Device(format!(
        "{what} {} and {free}: lower the batch (train.batch, eval.batch), data.max_len, the widths under model. or train.negatives",
        gib(needed)
    )))
}

/// Numbers of the host, where they lie.
#[derive(Clone, Copy)]
enum Values<'a> {
    U32(&'a [u32]),
    F32(&'a [f32]),
    F64(&'a [f64]),
}

impl<'a> From<&'a Data> for Values<'a> {
    fn from(data: &'a Data) -> Values<'a> {
        match data {
            Data::U32(v) => Values::U32(v),
            Data::F32(v) => Values::F32(v),
            Data::F64(v) => Values::F64(v),
        }
    }
}

/// A piece of memory, aligned for any element, that nodes reach by pointer. One runner at a time writes to it: those that
/// share a store refuse to run at the same time.
#[derive(Clone)]
enum Block {
    Own(Arc<[UnsafeCell<u64>]>),
    /// Only read: no op writes to what is no state that it assigns.
    Leaf(Words),
}

// SAFETY: see above; no two threads run plans over one store at once, and within a run each output is written by one node.
unsafe impl Send for Block {}
unsafe impl Sync for Block {}

impl Block {
    fn zeroed(bytes: usize) -> Block {
        Block::Own((0..bytes.div_ceil(8)).map(|_| UnsafeCell::new(0)).collect())
    }

    fn at(&self) -> *mut u8 {
        match self {
            Block::Own(own) => own.as_ptr() as *mut u8,
            Block::Leaf(words) => (**words).as_ref().as_ptr() as *mut u8,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Block::Own(own) => own.len() * 8,
            Block::Leaf(words) => (**words).as_ref().len() * 4,
        }
    }

    /// Writes `data` from element `offset` on, floats as f64 if `wide`.
    fn write(&self, offset: usize, data: Values, wide: bool) {
        let (n, bytes) = match data {
            Values::U32(v) => (v.len(), 4),
            Values::F32(v) => (v.len(), if wide { 8 } else { 4 }),
            Values::F64(v) => (v.len(), if wide { 8 } else { 4 }),
        };
        assert!(matches!(self, Block::Own(_)), "a leaf is only read");
        assert!((offset + n) * bytes <= self.bytes(), "write past the end of a buffer");
        let at = self.at().wrapping_add(offset * bytes);
        // SAFETY: the range lies within the block, which is aligned to 8 bytes and holds plain numbers.
        unsafe {
            match (data, wide) {
                (Values::U32(v), _) => std::slice::from_raw_parts_mut(at as *mut u32, n).copy_from_slice(v),
                (Values::F32(v), false) => std::slice::from_raw_parts_mut(at as *mut f32, n).copy_from_slice(v),
                (Values::F64(v), true) => std::slice::from_raw_parts_mut(at as *mut f64, n).copy_from_slice(v),
                (Values::F32(v), true) => std::slice::from_raw_parts_mut(at as *mut f64, n)
                    .iter_mut()
                    .zip(v)
                    .for_each(|(y, &x)| *y = x as f64),
                (Values::F64(v), false) => std::slice::from_raw_parts_mut(at as *mut f32, n)
                    .iter_mut()
                    .zip(v)
                    .for_each(|(y, &x)| *y = x as f32),
            }
        }
    }

    fn read(&self, offset: usize, spec: &Spec, wide: bool) -> Tensor {
        let n = spec.shape.elements();
        let bytes = if spec.dtype != DType::U32 && wide { 8 } else { 4 };
        assert!((offset + n) * bytes <= self.bytes(), "read past the end of a buffer");
        // SAFETY: as in `write`.
        unsafe { tensor(self.at().wrapping_add(offset * bytes), spec, wide) }
    }
}

/// # Safety
/// A tensor of `spec`, floats as f64 if `wide`, lies at `at`, and nothing writes to it.
unsafe fn tensor(at: *const u8, spec: &Spec, wide: bool) -> Tensor {
    let (n, shape) = (spec.shape.elements(), spec.shape.clone());
    // SAFETY: by the contract.
    unsafe {
        match (spec.dtype, wide) {
            (DType::U32, _) => Tensor::u32(shape, std::slice::from_raw_parts(at as *const u32, n).to_vec()),
            (_, true) => Tensor::f64(shape, std::slice::from_raw_parts(at as *const f64, n).to_vec()),
            (_, false) => Tensor::f32(shape, std::slice::from_raw_parts(at as *const f32, n).to_vec()),
        }
    }
}

/// The states of a run, in host memory, and the buffers that the plans compiled over them share.
pub struct Store {
    states: Vec<(String, usize, Block)>,
    /// With the bytes of the plan's buffer.
    shared: Mutex<Vec<(usize, Block)>>,
    /// Whether a runner is at work in them.
    busy: Arc<AtomicBool>,
    wide: bool,
}

impl Store {
    fn find(&self, name: &str) -> Result<&(String, usize, Block)> {
        self.states
            .iter()
            .find(|(n, _, _)| n == name)
            .ok_or_else(|| Error::unknown("state", name, self.states.iter().map(|(n, _, _)| n.as_str())))
    }

    /// The memory of state `name`, if `len` elements from `offset` on lie within it.
    fn range(&self, name: &str, offset: usize, len: usize) -> Result<&Block> {
        let (_, elements, block) = self.find(name)?;
        super::within(name, *elements, offset, len)?;
        Ok(block)
    }

    pub(super) fn write(&mut self, name: &str, offset: usize, tensor: &Tensor) -> Result<()> {
        let _at_work = AtWork::begin(&self.busy);
        let block = self.range(name, offset, tensor.shape.elements())?;
        block.write(offset, (&tensor.data).into(), self.wide);
        Ok(())
    }

    pub(super) fn read(&self, name: &str, offset: usize, spec: &Spec) -> Result<Tensor> {
        let _at_work = AtWork::begin(&self.busy);
        Ok(self.range(name, offset, spec.shape.elements())?.read(offset, spec, self.wide))
    }

    pub(super) fn lend(&mut self, name: &str, words: Words) {
        self.states.push((name.to_string(), (*words).as_ref().len(), Block::Leaf(words)));
    }

    pub(super) fn shared_bytes(&self) -> usize {
        self.shared.lock().expect("no one panicked with it").iter().map(|(bytes, _)| bytes).sum()
    }

    pub(super) fn states(&self) -> Vec<(String, usize)> {
        let own = self.states.iter().filter(|(_, _, block)| matches!(block, Block::Own(_)));
        own.map(|(name, n, _)| (name.clone(), *n)).collect()
    }
}

struct Memories {
    pool: Vec<Block>,
    /// For each thread, the buffers of the tile that it works on; strips share them, since they run one after the other.
    tiles: Vec<Vec<Block>>,
    /// The buffers of the thread whose operands are being placed.
    tile: Vec<Block>,
    /// What the tiles of the strip that is running sum up.
    sums: Block,
    inputs: Vec<Block>,
    states: Vec<Block>,
    constants: Vec<Block>,
}

impl Memories {
    fn block(&self, memory: Memory) -> &Block {
        match memory {
            Memory::Pool(i) => &self.pool[i],
            Memory::Tile(i) => &self.tile[i],
            Memory::Input(i) => &self.inputs[i],
            Memory::State(i) => &self.states[i],
            Memory::Constant(i) => &self.constants[i],
        }
    }
}

struct Node {
    planned: Planned,
    operands: Operands,
    /// Empty for nodes of a strip, whose threads have their own.
    inputs: Vec<Operand>,
    outputs: Vec<Operand>,
    calls: u64,
    /// Summed over all threads of a strip.
    nanoseconds: AtomicU64,
}

impl Node {
    /// Runs the op on operands that hold the parts from `tile.0` on, `tile.1` of them.
    ///
    /// # Safety
    /// The operands must be as [`Args::new`] demands.
    unsafe fn run(
        &self,
        inputs: &[Operand],
        outputs: &[Operand],
        (first, parts): (usize, usize),
        precision: Precision,
        options: RunOptions,
    ) -> Result<()> {
        if outputs.iter().all(|y| y.spec.shape.elements() == 0) {
            return Ok(());
        }
        let start = options.profile.then(Instant::now);
        let op = &self.planned.op;
        // SAFETY: by the contract.
        let f32 = || unsafe { Args::new(&self.operands, inputs, outputs).tile(first, parts) };
        match precision {
            // SAFETY: by the contract.
            Precision::F64 => unsafe { op.cpu_f64(&Args::new(&self.operands, inputs, outputs).tile(first, parts)) },
            Precision::F32 if op.cpu_fast(&f32()) => {}
            Precision::F32 | Precision::F32Twins => op.cpu_f32(&f32()),
        }
        if let Some(start) = start {
            self.nanoseconds.fetch_add(start.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        if options.check_finite {
            let wide = precision == Precision::F64;
            // SAFETY: by the contract; the op is done.
            outputs
                .iter()
                .try_for_each(|y| super::finite(&self.planned.scope, &unsafe { tensor(y.at, &y.spec, wide) }))?;
        }
        Ok(())
    }
}

/// A plan over this device's memory.
pub struct Runner {
    nodes: Vec<Node>,
    strips: Vec<Strip>,
    inputs: Inputs,
    results: Vec<(String, Slot)>,
    memory: Memories,
    busy: Arc<AtomicBool>,
    precision: Precision,
    options: RunOptions,
}

/// A store at work, until it is dropped.
struct AtWork<'a>(&'a AtomicBool);

impl AtWork<'_> {
    /// # Panics
    /// If another thread is at work in that store.
    fn begin(busy: &AtomicBool) -> AtWork<'_> {
        assert!(!busy.swap(true, Ordering::Acquire), "two runners of one store at the same time");
        AtWork(busy)
    }
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Runner {
    fn write_data(&mut self, name: &str, data: Values) -> Result<()> {
        let (dtype, len) = match data {
            Values::U32(v) => (DType::U32, v.len()),
            Values::F32(v) => (DType::F32, v.len()),
            Values::F64(v) => (DType::F32, v.len()),
        };
        if let Some(i) = self.inputs.place(name, dtype, len)? {
            self.memory.inputs[i].write(0, data, self.precision == Precision::F64);
        }
        Ok(())
    }

    pub(super) fn write_u32(&mut self, name: &str, values: &[u32]) -> Result<()> {
        self.write_data(name, Values::U32(values))
    }

    pub(super) fn write_f32(&mut self, name: &str, values: &[f32]) -> Result<()> {
        self.write_data(name, Values::F32(values))
    }

    pub(super) fn write_f64(&mut self, name: &str, values: &[f64]) -> Result<()> {
        self.write_data(name, Values::F64(values))
    }

    pub(super) fn run(&mut self) -> Result<()> {
        let _at_work = AtWork::begin(&self.busy);
        let mut next = 0;
        while next < self.nodes.len() {
            let node = &self.nodes[next];
            match node.planned.strip {
                Some(strip) => {
                    let strip = &self.strips[strip];
                    strip.run(&self.nodes[strip.nodes.clone()], self.precision, self.options)?;
                    next = strip.nodes.end;
                }
                None => {
                    // SAFETY: operands point into blocks that `self.memory` keeps alive, sized by the plan, which never
                    // gives overlapping memory to two operands of a node except for a state written in place.
                    unsafe { node.run(&node.inputs, &node.outputs, (0, 1), self.precision, self.options)? };
                    next += 1;
                }
            }
        }
        if self.options.profile {
            self.nodes.iter_mut().for_each(|n| n.calls += 1);
        }
        Ok(())
    }

    pub(super) fn read(&mut self, name: &str) -> Result<Tensor> {
        let _at_work = AtWork::begin(&self.busy);
        let slot = super::result(&self.results, name)?;
        Ok(self.memory.block(slot.memory).read(slot.offset, &slot.spec, self.precision == Precision::F64))
    }

    pub(super) fn timings(&mut self) -> Result<Vec<Timing>> {
        if !self.options.profile {
            return Ok(vec![]);
        }
        let timing = |n: &Node| Timing {
            scope: n.planned.scope.clone(),
            kernel: n.planned.op.name(),
            calls: n.calls,
            seconds: n.nanoseconds.load(Ordering::Relaxed) as f64
                / 1e9
                / n.planned.strip.map_or(1, |strip| self.strips[strip].threads()) as f64,
            cost: n.planned.cost(),
        };
        Ok(self.nodes.iter().map(timing).collect())
    }
}
