//! Plans on a GPU: buffers and bind groups made once, then a few commands a step.

use super::bind::{self, Bound};
use super::memory::{Block, Store};
use super::pipeline::Pipeline;
use super::profiler::Profiler;
use super::shader::{MAX_IMMEDIATE_BYTES, Shader};
use super::{RunOptions, Shared, Timing};
use crate::device::inputs::Inputs;
use crate::error::{Error, Result};
use crate::graph::plan::{Memory, Plan, Planned, Slot};
use crate::kernels::{Caps, Cost};
use crate::tensor::{DType, Tensor};
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Steps that may wait on the device before `run` waits for the first of them.
const IN_FLIGHT: usize = 3;
/// Seconds of work, by the estimate below, that one submission takes at most: watchdogs strike after some 2 s.
const SUBMISSION_SECONDS: f64 = 0.2;
/// What a modest integrated GPU does.
const BYTES_PER_SECOND: f64 = 20e9;
const FLOPS_PER_SECOND: f64 = 200e9;

fn estimate(cost: Cost) -> f64 {
    cost.bytes as f64 / BYTES_PER_SECOND + cost.flops as f64 / FLOPS_PER_SECOND
}

/// A plan over this device's memory.
pub struct Runner {
    shared: Arc<Shared>,
    nodes: Vec<Node>,
    inputs: Inputs,
    results: Vec<(String, Slot)>,
    memory: Memories,
    /// Names of the pool's buffers, where each holds one guarded value.
    guarded: Vec<String>,
    /// Ranges of dispatches, counted over all nodes, a submission each.
    submissions: Vec<Range<usize>>,
    dispatches: Vec<Dispatch>,
    /// Where the device has no immediates.
    uniforms: Option<Uniforms>,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    check_finite: bool,
    profiler: Option<Profiler>,
}

/// What is encoded for one launch.
struct Dispatch {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    params: Vec<u8>,
    grid: [u32; 3],
}

/// The parameters of all dispatches, `stride` bytes apart.
struct Uniforms {
    group: wgpu::BindGroup,
    stride: u32,
}

impl Uniforms {
    fn new(shared: &Shared, layout: &wgpu::BindGroupLayout, dispatches: &[Dispatch]) -> Result<Uniforms> {
        let stride = shared.device.limits().min_uniform_buffer_offset_alignment.max(MAX_IMMEDIATE_BYTES) as usize;
        let mut bytes = vec![0; stride * dispatches.len().max(1)];
        bytes
            .chunks_exact_mut(stride)
            .zip(dispatches)
            .for_each(|(at, d)| at[..d.params.len()].copy_from_slice(&d.params));
        shared.count();
        let what = || "the parameters of a plan".to_string();
        shared.scoped(what, || {
            let buffer = shared.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("parameters"),
                size: bytes.len() as u64,
                usage: wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            });
            shared.queue.write_buffer(&buffer, 0, &bytes);
            let size = wgpu::BufferSize::new(MAX_IMMEDIATE_BYTES as u64);
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &buffer, offset: 0, size });
            let group = shared.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some("parameters"),
                layout,
                entries: &[wgpu::BindGroupEntry { binding: 0, resource }],
            });
            Uniforms { group, stride: stride as u32 }
        })
    }
}

struct Node {
    planned: Planned,
    /// Its range of all dispatches.
    dispatches: Range<usize>,
}

struct Memories {
    pool: Vec<Arc<Block>>,
    inputs: Vec<Block>,
    states: Vec<(String, Arc<Block>)>,
    constants: Vec<Block>,
}

impl Memories {
    fn new(shared: &Arc<Shared>, plan: &Plan, store: &Store, guarded: &[String]) -> Result<Memories> {
        let mut memory = Memories { pool: vec![], inputs: vec![], states: vec![], constants: vec![] };
        let mut pool = store.shared.lock().expect("no one panicked with it");
        let places = plan.share(&pool.iter().map(|(bytes, _)| *bytes).collect::<Vec<_>>());
        for (i, (&bytes, place)) in plan.pool.iter().zip(places).enumerate() {
            memory.pool.push(match (guarded.get(i), place) {
                (Some(name), _) => Arc::new(Block::new(shared, name, bytes, true)?),
                (None, Some(place)) => pool[place].1.clone(),
                (None, None) => {
                    let block = Arc::new(Block::new(shared, &largest_in(plan, i), bytes, false)?);
                    if plan.may_share(i) {
                        pool.push((bytes, block.clone()));
                    }
                    block
                }
            });
        }
        drop(pool);
        for (name, spec) in &plan.inputs {
            memory.inputs.push(Block::new(shared, &format!("input {name}"), spec.bytes(), false)?);
        }
        for tensor in &plan.constants {
            let block = Block::new(shared, "a constant", tensor.spec().bytes(), false)?;
            block.write(0, &tensor.data);
            memory.constants.push(block);
        }
        for (name, elements) in &plan.states {
            let state = store.find(name)?;
            if state.elements < *elements {
                let has = state.elements;
                return Err(Error::Usage(format!("state {name} has {has} elements, the plan reaches {elements}")));
            }
            memory.states.push((name.clone(), state.block.clone()));
        }
        Ok(memory)
    }

    fn block(&self, memory: Memory) -> &Block {
        match memory {
            Memory::Pool(i) => &self.pool[i],
            Memory::Tile(_) => unreachable!("only plans for the cpu device have tiles"),
            Memory::Input(i) => &self.inputs[i],
            Memory::State(i) => &self.states[i].1,
            Memory::Constant(i) => &self.constants[i],
        }
    }

    /// The whole buffer, except for one of several states in it.
    fn binding(&self, slot: &Slot) -> wgpu::BufferBinding<'_> {
        let block = self.block(slot.memory);
        if slot.offset == 0 && slot.spec.bytes() == block.bytes || !matches!(slot.memory, Memory::State(_)) {
            return block.buffer.as_entire_buffer_binding();
        }
        // To the end of the last vector of four, so that a shader may read a parameter by vectors.
        let offset = (slot.offset * 4) as u64;
        let size = (slot.spec.bytes().next_multiple_of(16) as u64).min(block.buffer.size() - offset);
        wgpu::BufferBinding { buffer: &block.buffer, offset, size: wgpu::BufferSize::new(size) }
    }
}

/// The scope whose value makes pool buffer `i` as large as it is.
fn largest_in(plan: &Plan, i: usize) -> String {
    let here = |n: &Planned| {
        let slots = n.outputs.iter().chain(&n.scratch).filter(|s| s.memory == Memory::Pool(i));
        slots.map(|s| s.spec.bytes()).max()
    };
    let largest = plan.nodes.iter().filter_map(|n| Some((here(n)?, &n.scope))).max_by_key(|(bytes, _)| *bytes);
    largest.map_or("a buffer".into(), |(_, scope)| scope.clone())
}

/// `plan` with a pool buffer for each value, of its very size, and what each holds.
fn unshared(plan: &Plan) -> (Plan, Vec<String>) {
    let mut plan = plan.clone();
    let mut now: HashMap<Memory, Memory> = HashMap::new();
    let mut names = vec![];
    let mut sizes = vec![];
    for node in &mut plan.nodes {
        node.inputs.iter_mut().for_each(|slot| slot.memory = *now.get(&slot.memory).unwrap_or(&slot.memory));
        let outputs = node.outputs.iter_mut().map(|s| ("output", s));
        let scratch = node.scratch.iter_mut().map(|s| ("scratch", s));
        for (i, (kind, slot)) in outputs.chain(scratch).enumerate() {
            if let Memory::Pool(_) = slot.memory {
                now.insert(slot.memory, Memory::Pool(names.len()));
                slot.memory = Memory::Pool(names.len());
                names.push(format!("{} ({}), {kind} {i}", node.scope, node.op.name()));
                sizes.push(slot.spec.bytes());
            }
        }
    }
    plan.results.iter_mut().for_each(|(_, slot)| slot.memory = *now.get(&slot.memory).unwrap_or(&slot.memory));
    plan.pool = sizes;
    (plan, names)
}

impl Runner {
    /// With what `caps` has.
    pub(super) fn new(
        caps: &Caps,
        shared: &Arc<Shared>,
        plan: &Plan,
        store: &Store,
        options: RunOptions,
    ) -> Result<Runner> {
        let (plan, guarded) = if shared.options.guard { unshared(plan) } else { (plan.clone(), vec![]) };
        let mut launches = vec![];
        let mut shaders = vec![];
        for node in &plan.nodes {
            let of_node = bind::launches(node, caps)?;
            shaders.extend(of_node.iter().map(|launch| {
                let shader = Shader::of(node, launch, shared.options.reverse);
                let shader = if shared.options.limited { shader.end_loops_after(launch.turns) } else { shader };
                if shared.options.inexact { shader.make_inexact() } else { shader }
            }));
            launches.push(of_node);
        }
        let memory = Memories::new(shared, &plan, store, &guarded)?;
        let mut pipelines = shared.pipelines.get(shared, &shaders)?.into_iter();
        let mut nodes = vec![];
        let mut dispatches: Vec<Dispatch> = vec![];
        for (planned, launches) in plan.nodes.iter().zip(launches) {
            let first = dispatches.len();
            // What launches of a node bind alike is one group: a loss over a catalogue has thousands of them.
            let mut groups: Vec<(Arc<Pipeline>, Vec<Bound>, wgpu::BindGroup)> = vec![];
            for (launch, pipeline) in launches.into_iter().zip(&mut pipelines) {
                let bound = bind::bind(planned, &launch, &pipeline.reflection)?;
                let alike = groups.iter().find(|(of, b, _)| Arc::ptr_eq(of, &pipeline) && *b == bound);
                let group = match alike {
                    Some((_, _, group)) => group.clone(),
                    None => {
                        let new = group(shared, planned, &memory, &pipeline, &bound)?;
                        groups.push((pipeline.clone(), bound, new.clone()));
                        new
                    }
                };
                dispatches.push(Dispatch { pipeline, group, params: launch.params, grid: launch.grid.0 });
            }
            nodes.push(Node { planned: planned.clone(), dispatches: first..dispatches.len() });
        }
        // Room to read what may be read, so that no step makes a buffer.
        let read = if options.check_finite {
            plan.nodes.iter().flat_map(|n| &n.outputs).map(|s| s.spec.bytes()).max()
        } else {
            plan.results.iter().map(|(_, s)| s.spec.bytes()).max()
        };
        shared.staging().reserve(shared, read.unwrap_or(0))?;
        Ok(Runner {
            submissions: submissions(&nodes),
            uniforms: shared.parameters.as_ref().map(|l| Uniforms::new(shared, l, &dispatches)).transpose()?,
            dispatches,
            inputs: Inputs::of(&plan),
            results: plan.results,
            memory,
            guarded,
            in_flight: VecDeque::new(),
            check_finite: options.check_finite,
            profiler: if options.profile { Some(Profiler::new(shared, nodes.len())?) } else { None },
            nodes,
            shared: shared.clone(),
        })
    }

    fn write_data<T: bytemuck::Pod>(&mut self, name: &str, dtype: DType, values: &[T]) -> Result<()> {
        if let Some(i) = self.inputs.place(name, dtype, values.len())? {
            self.shared.queue.write_buffer(&self.memory.inputs[i].buffer, 0, bytemuck::cast_slice(values));
        }
        Ok(())
    }

    pub(in crate::device) fn write_u32(&mut self, name: &str, values: &[u32]) -> Result<()> {
        self.write_data(name, DType::U32, values)
    }

    pub(in crate::device) fn write_f32(&mut self, name: &str, values: &[f32]) -> Result<()> {
        self.write_data(name, DType::F32, values)
    }

    /// Runs the plan once; returns when the work is submitted, and with at most three steps waiting.
    pub fn run(&mut self) -> Result<()> {
        self.shared.fault.check()?;
        if !self.guarded.is_empty() {
            self.memory.pool.iter().for_each(|block| {
                block.poison();
                block.guard();
            });
        }
        if self.check_finite {
            return self.run_checked();
        }
        if let Some(mut profiler) = self.profiler.take() {
            let timed = profiler.run(&self.shared, |pass, node| self.encode(pass, self.nodes[node].dispatches.clone()));
            self.profiler = Some(profiler);
            return timed;
        }
        for dispatches in self.submissions.clone() {
            let submitted = self.submit(dispatches);
            self.in_flight.push_back(submitted);
        }
        while self.in_flight.len() > IN_FLIGHT * self.submissions.len() {
            let oldest = self.in_flight.pop_front();
            self.shared.wait(oldest)?;
        }
        self.shared.fault.check()
    }

    fn submit(&self, dispatches: Range<usize>) -> wgpu::SubmissionIndex {
        let mut encoder = self.shared.device.create_command_encoder(&Default::default());
        self.encode(&mut encoder.begin_compute_pass(&Default::default()), dispatches);
        self.shared.queue.submit([encoder.finish()])
    }

    fn encode(&self, pass: &mut wgpu::ComputePass, dispatches: Range<usize>) {
        for i in dispatches {
            let d = &self.dispatches[i];
            pass.set_pipeline(&d.pipeline.pipeline);
            pass.set_bind_group(0, &d.group, &[]);
            match &self.uniforms {
                Some(uniforms) => pass.set_bind_group(1, &uniforms.group, &[i as u32 * uniforms.stride]),
                None if d.params.is_empty() => {}
                None => pass.set_immediates(0, &d.params),
            }
            pass.dispatch_workgroups(d.grid[0], d.grid[1], d.grid[2]);
        }
    }

    /// A node at a time, with a look at what it made: a later node may reuse the memory.
    fn run_checked(&mut self) -> Result<()> {
        for node in 0..self.nodes.len() {
            self.submit(self.nodes[node].dispatches.clone());
            let planned = &self.nodes[node].planned;
            for slot in &planned.outputs {
                let tensor = self.memory.block(slot.memory).read(slot.offset, &slot.spec)?;
                crate::device::finite(&planned.scope, &tensor)?;
            }
        }
        Ok(())
    }

    pub(in crate::device) fn read(&mut self, name: &str) -> Result<Tensor> {
        let slot = crate::device::result(&self.results, name)?;
        self.memory.block(slot.memory).read(slot.offset, &slot.spec)
    }

    pub(in crate::device) fn timings(&mut self) -> Result<Vec<Timing>> {
        let Some(profiler) = &self.profiler else { return Ok(vec![]) };
        let timing = |(node, seconds): (&Node, &f64)| Timing {
            scope: node.planned.scope.clone(),
            kernel: node.planned.op.name(),
            calls: profiler.calls,
            seconds: *seconds,
            cost: node.planned.cost(),
        };
        Ok(self.nodes.iter().zip(&profiler.seconds).map(timing).collect())
    }

    /// Buffers, bind groups and pipelines that the device has made so far: `run` adds none.
    pub fn created(&self) -> u64 {
        self.shared.created.load(Ordering::Relaxed)
    }

    /// Number of dispatches in a step.
    pub fn dispatches(&self) -> usize {
        self.dispatches.len()
    }

    /// Waits until all steps are done.
    pub fn wait(&mut self) -> Result<()> {
        self.in_flight.clear();
        self.shared.wait(None)
    }

    /// An error that names the first value past whose end the last run wrote, on a device opened with
    /// [`GpuOptions::guard`](super::GpuOptions::guard).
    pub fn check_guards(&self) -> Result<()> {
        let values = self.guarded.iter().map(String::as_str).zip(&self.memory.pool);
        let states = self.memory.states.iter().map(|(name, block)| (name.as_str(), block));
        for (name, block) in values.chain(states.filter(|_| self.shared.options.guard)) {
            if let Some((bytes, word)) = block.broken_guard()? {
                return Err(Error::Failed(format!(
                    "{name}: something wrote {bytes} bytes past the end of it (0x{word:08x}, {})",
                    f32::from_bits(word)
                )));
            }
        }
        Ok(())
    }
}

fn group(
    shared: &Shared,
    node: &Planned,
    memory: &Memories,
    pipeline: &Pipeline,
    bound: &[Bound],
) -> Result<wgpu::BindGroup> {
    let entry = |b: &Bound| wgpu::BindGroupEntry {
        binding: b.number,
        resource: wgpu::BindingResource::Buffer(memory.binding(&b.slot)),
    };
    let entries: Vec<_> = bound.iter().map(entry).collect();
    shared.count();
    shared.scoped(
        || format!("{} ({})", node.scope, node.op.name()),
        || {
            shared.device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: Some(&node.scope),
                layout: &pipeline.layout,
                entries: &entries,
            })
        },
    )
}

/// The dispatches of each submission: cut where the estimate exceeds what one may take. All dispatches of a node count alike.
fn submissions(nodes: &[Node]) -> Vec<Range<usize>> {
    let mut ranges = vec![];
    let (mut start, mut seconds) = (0, 0.0);
    for node in nodes {
        let more = estimate(node.planned.cost()) / node.dispatches.len().max(1) as f64;
        for i in node.dispatches.clone() {
            if i > start && seconds + more > SUBMISSION_SECONDS {
                ranges.push(start..i);
                (start, seconds) = (i, 0.0);
            }
            seconds += more;
        }
    }
    ranges.push(start..nodes.last().map_or(0, |node| node.dispatches.end));
    ranges
}
