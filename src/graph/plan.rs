//! A graph, planned once: the order of its nodes, when each value dies, and which reused buffer holds it.

use super::nodes::{memory_of, split_of, version, writes};
use super::strips::{Builder, Strip};
use super::{Cost, Kind, Node, NodeId, Op, Shapes, Split, Step, Value};
use crate::error::{Error, Result};
use crate::tensor::{Spec, Tensor};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// Which buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Memory {
    /// Reused by values whose lives do not overlap.
    Pool(usize),
    /// For one tile of a strip, in the memory of the thread that runs it.
    Tile(usize),
    Input(usize),
    State(usize),
    Constant(usize),
}

/// Where a value lies: a buffer, and the first element in it (not 0 only in states).
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub memory: Memory,
    pub offset: usize,
    pub spec: Spec,
}

/// One op with all its operands placed.
#[derive(Clone, Debug)]
pub struct Planned {
    pub op: Arc<dyn Op>,
    pub scope: String,
    pub inputs: Vec<Slot>,
    pub outputs: Vec<Slot>,
    pub scratch: Vec<Slot>,
    /// The strip that it runs in, if any; its nodes follow one another.
    pub strip: Option<usize>,
}

impl Planned {
    pub fn specs(&self) -> [Vec<Spec>; 3] {
        [&self.inputs, &self.outputs, &self.scratch].map(|l| l.iter().map(|s| s.spec.clone()).collect())
    }

    /// What `f` makes of the shapes of its operands.
    pub fn with_shapes<R>(&self, f: impl FnOnce(&Shapes) -> R) -> R {
        let [inputs, outputs, scratch] = self.specs();
        f(&Shapes::new(&self.op.operands(), &inputs, &outputs, &scratch))
    }

    pub fn cost(&self) -> Cost {
        self.with_shapes(|s| self.op.cost(s))
    }

    /// How it is cut into tiles, if it runs in a strip.
    pub fn split(&self) -> Option<Split> {
        self.strip.and_then(|_| self.with_shapes(|s| self.op.split(s)))
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Each value its own buffer (`--no-reuse`).
    pub no_reuse: bool,
    /// Elementwise nodes stay one launch each.
    pub no_fuse: bool,
    /// Activations are stored as f16, for a GPU that can.
    pub half: bool,
    /// For the CPU device with this many threads: strips ([`super::strips`]) instead of scratch. 0: none.
    pub threads: usize,
    /// Parts of a strip's tile, whatever they take; 0: by what stays in a cache. A product by a large weight spends a small tile's
    /// time on packing it, and one of as many rows in any batch has the same bits in any batch.
    pub tile: usize,
}

/// What a device compiles once and runs many times.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub nodes: Vec<Planned>,
    pub inputs: Vec<(String, Spec)>,
    /// Inputs that nothing in the plan depends on.
    pub unread: Vec<(String, Spec)>,
    /// Named state buffers and the number of elements that this plan reaches into.
    pub states: Vec<(String, usize)>,
    pub constants: Vec<Tensor>,
    /// Bytes of each reused buffer (f32 and u32 at 4, f16 at 2).
    pub pool: Vec<usize>,
    pub results: Vec<(String, Slot)>,
    /// Whether buffers may be shared with other plans: see [`Plan::share`].
    pub shares: bool,
    pub strips: Vec<Strip>,
    /// Bytes of each buffer that a thread keeps for one tile.
    pub tile: Vec<usize>,
    pub threads: usize,
}

impl Plan {
    /// The order of the `live` ones of `nodes`, and where their values lie. `results` are what the host reads.
    ///
    /// # Errors
    /// A state of which a node needs both the old and the new value; two inputs of one name.
    pub(crate) fn of(nodes: &[Node], live: &[bool], results: &[(String, Value)], options: Options) -> Result<Plan> {
        let mut strips = Builder::new(nodes, live, options.threads > 0, options.tile);
        let order = order(nodes, live, &mut strips)?;
        let plan = Placing::new(nodes, options, strips.finish()).place(&order, results);
        Ok(Plan { unread: unread(nodes, &plan)?, ..plan })
    }

    /// Bytes that a GPU holds for this plan, states included, once it is compiled.
    pub fn peak_bytes(&self) -> usize {
        let inputs: usize = self.inputs.iter().map(|(_, s)| s.bytes()).sum();
        let constants: usize = self.constants.iter().map(|t| t.spec().bytes()).sum();
        inputs + constants + self.pool_bytes() + self.state_bytes()
    }

    /// Bytes that a GPU holds for `plans`, states included, once they are compiled one after the other over one store.
    pub fn peak_of(plans: &[Plan]) -> usize {
        let (mut states, mut shared, mut bytes) = (HashMap::new(), vec![], 0);
        for plan in plans {
            for (name, n) in &plan.states {
                let most: &mut usize = states.entry(name).or_default();
                *most = n.max(most).to_owned();
            }
            bytes += plan.peak_bytes() - plan.state_bytes();
            for (i, place) in plan.share(&shared).into_iter().enumerate() {
                match place {
                    Some(_) => bytes -= plan.pool[i],
                    None if plan.may_share(i) => shared.push(plan.pool[i]),
                    None => {}
                }
            }
        }
        bytes + states.values().map(|n| n * 4).sum::<usize>()
    }

    /// Bytes of values: reused buffers, and in a plan with strips each thread's tile and each tile's sums.
    pub fn pool_bytes(&self) -> usize {
        let tiles = self.threads * self.tile.iter().sum::<usize>();
        let sums = (0..self.strips.len()).map(|strip| self.sums(strip).map(|(_, bytes)| bytes).sum::<usize>()).max();
        self.pool.iter().sum::<usize>() + tiles + sums.unwrap_or(0)
    }

    /// The nodes of `strip` that sum over its tiles, each with the bytes of all tiles' sums.
    pub fn sums(&self, strip: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let tiles = self.strips[strip].tiles();
        let nodes = self.nodes.iter().enumerate().filter(move |(_, n)| n.strip == Some(strip));
        nodes
            .filter(|(_, n)| n.split().is_some_and(|s| s.sums))
            .map(move |(i, n)| (i, n.outputs[0].spec.bytes() * tiles))
    }

    /// Where each reused buffer lies among `shared` ones, given by their bytes, of plans that do not run at the same time.
    /// None: in one of its own, since none is large enough, or because it holds a result, which stays until it is read.
    pub fn share(&self, shared: &[usize]) -> Vec<Option<usize>> {
        let mut free: Vec<usize> = (0..shared.len()).collect();
        free.sort_by_key(|&i| std::cmp::Reverse(shared[i]));
        let mut free = free.into_iter().peekable();
        let mut buffers: Vec<usize> = (0..self.pool.len()).filter(|&i| self.may_share(i)).collect();
        buffers.sort_by_key(|&i| std::cmp::Reverse(self.pool[i]));
        let mut of = vec![None; self.pool.len()];
        for i in buffers {
            of[i] = free.next_if(|&block| shared[block] >= self.pool[i]);
        }
        of
    }

    /// Whether reused buffer `i` means nothing between two runs.
    pub fn may_share(&self, i: usize) -> bool {
        self.shares && !self.results.iter().any(|(_, slot)| slot.memory == Memory::Pool(i))
    }

    pub fn state_bytes(&self) -> usize {
        self.states.iter().map(|(_, n)| n * 4).sum()
    }

    pub fn cost(&self) -> Cost {
        self.nodes
            .iter()
            .map(Planned::cost)
            .fold(Cost::default(), |a, b| Cost { bytes: a.bytes + b.bytes, flops: a.flops + b.flops })
    }
}

/// The inputs that `nodes` declare and `plan` does not read. Every plan is given the step.
///
/// # Errors
/// Two inputs of one name: what is written to it would reach one of them alone.
fn unread(nodes: &[Node], plan: &Plan) -> Result<Vec<(String, Spec)>> {
    let mut unread: Vec<(String, Spec)> = vec![];
    let mut known = HashSet::new();
    let step = (Step::NAME.to_string(), Spec::u32([Step::WORDS]));
    let declared = nodes.iter().filter_map(|node| match &node.kind {
        Kind::Input(name) => Some((name.clone(), node.outputs.values[0].clone())),
        _ => None,
    });
    for (name, spec) in declared {
        if !known.insert(name.clone()) {
            return Err(Error::Usage(format!("two inputs of the graph are called {name:?}; expected one")));
        }
        unread.push((name, spec));
    }
    if !known.contains(Step::NAME) {
        unread.push(step);
    }
    unread.retain(|(name, _)| plan.inputs.iter().all(|(read, _)| read != name));
    Ok(unread)
}

/// Live nodes in the order they were made in, except that all readers of a state's value come before its next writer, and
/// that nodes of a strip follow one another.
fn order(nodes: &[Node], live: &[bool], strips: &mut Builder) -> Result<Vec<NodeId>> {
    let mut after: Vec<Vec<NodeId>> = vec![vec![]; nodes.len()];
    let mut waits = vec![0usize; nodes.len()];
    let mut edge = |from: NodeId, to: NodeId| {
        after[from].push(to);
        waits[to] += 1;
    };
    let mut writers: HashMap<&str, Vec<(NodeId, usize, usize)>> = HashMap::new();
    let range = |state: Value| match &nodes[state.node].kind {
        Kind::State { buffer, offset } => {
            let len = nodes[state.node].outputs.values[0].shape.elements();
            Some((buffer.as_str(), *offset, offset + len))
        }
        _ => None,
    };
    for n in (0..nodes.len()).filter(|&n| live[n]) {
        for (_, state) in writes(&nodes[n]) {
            let (buffer, from, to) = range(state).expect("checked when the node was added");
            writers.entry(buffer).or_default().push((n, from, to));
        }
    }
    for n in (0..nodes.len()).filter(|&n| live[n]) {
        for &input in &nodes[n].inputs {
            edge(input.node, n);
            let Some((buffer, from, to)) = range(memory_of(nodes, input)) else { continue };
            let seen = version(nodes, input);
            for &(writer, w_from, w_to) in writers.get(buffer).into_iter().flatten() {
                let overlaps = w_from < to && from < w_to;
                if overlaps && writer != n && seen.is_none_or(|s| writer > s) {
                    edge(n, writer);
                }
            }
        }
    }
    let mut ready: BTreeSet<NodeId> = (0..nodes.len()).filter(|&n| live[n] && waits[n] == 0).collect();
    let mut order = vec![];
    while let Some(n) = strips.next(&ready) {
        ready.remove(&n);
        order.push(n);
        for &next in &after[n] {
            waits[next] -= 1;
            if waits[next] == 0 {
                ready.insert(next);
            }
        }
    }
    match (0..nodes.len()).find(|&n| live[n] && waits[n] > 0) {
        None => Ok(order),
        Some(n) => Err(Error::shape(&nodes[n].scope, "needs both the old and the new value of a state")),
    }
}

struct Placing<'a> {
    nodes: &'a [Node],
    options: Options,
    plan: Plan,
    slots: HashMap<Value, (Memory, usize)>,
    /// Buffers that hold nothing now.
    free: Vec<Memory>,
    strip_of: HashMap<NodeId, usize>,
    /// The strip that is being placed, and the buffers that hold nothing once it is over: its tiles reach each node at
    /// different times.
    current: Option<usize>,
    after_strip: Vec<Memory>,
}

impl<'a> Placing<'a> {
    fn new(
        nodes: &'a [Node],
        options: Options,
        (strips, strip_of): (Vec<Strip>, HashMap<NodeId, usize>),
    ) -> Placing<'a> {
        Placing {
            nodes,
            options,
            plan: Plan { strips, threads: options.threads, shares: !options.no_reuse, ..Plan::default() },
            slots: HashMap::new(),
            free: vec![],
            strip_of,
            current: None,
            after_strip: vec![],
        }
    }

    fn place(mut self, order: &[NodeId], results: &[(String, Value)]) -> Plan {
        let mut last_use: HashMap<Value, usize> = HashMap::new();
        for (time, &n) in order.iter().enumerate() {
            for &input in &self.nodes[n].inputs {
                last_use.insert(memory_of(self.nodes, input), time);
            }
        }
        for (_, v) in results {
            last_use.insert(memory_of(self.nodes, *v), usize::MAX);
        }
        let mut strip_ends = vec![0; self.plan.strips.len()];
        for (time, n) in order.iter().enumerate() {
            if let Some(&strip) = self.strip_of.get(n) {
                strip_ends[strip] = time;
            }
        }
        for (time, &n) in order.iter().enumerate() {
            self.node(n, time, &last_use, &strip_ends);
        }
        for (name, v) in results {
            let slot = self.slot(*v);
            self.plan.results.push((name.clone(), slot));
        }
        self.plan
    }

    fn node(&mut self, n: NodeId, time: usize, last_use: &HashMap<Value, usize>, strip_ends: &[usize]) {
        let node = &self.nodes[n];
        let strip = self.strip_of.get(&n).copied();
        if matches!(&node.kind, Kind::Op(op) if !op.is_view()) && strip != self.current {
            self.current = strip;
            let over = std::mem::take(&mut self.after_strip);
            self.free.extend(over);
        }
        let value = Value { node: n, output: 0 };
        let spec = &node.outputs.values[0];
        match &node.kind {
            Kind::Input(name) => {
                self.slots.insert(value, (Memory::Input(self.plan.inputs.len()), 0));
                self.plan.inputs.push((name.clone(), spec.clone()));
            }
            Kind::Constant(tensor) => {
                self.slots.insert(value, (Memory::Constant(self.plan.constants.len()), 0));
                self.plan.constants.push(tensor.clone());
            }
            Kind::State { buffer, offset } => {
                let end = offset + spec.shape.elements();
                let known = self.plan.states.iter().position(|(name, _)| name == buffer);
                let i = known.unwrap_or(self.plan.states.len());
                if known.is_none() {
                    self.plan.states.push((buffer.clone(), 0));
                }
                self.plan.states[i].1 = self.plan.states[i].1.max(end);
                self.slots.insert(value, (Memory::State(i), *offset));
            }
            Kind::Op(op) if op.is_view() => {}
            Kind::Op(op) => {
                let mut scratch = vec![];
                let mut dead = vec![];
                for (output, spec) in node.outputs.values.iter().enumerate() {
                    let v = Value { node: n, output };
                    if memory_of(self.nodes, v) == v {
                        let last = last_use.get(&v).copied().unwrap_or(time);
                        let within = strip.filter(|&s| last <= strip_ends[s] && !self.sums(n));
                        let memory = self.take(spec.bytes(), within);
                        self.slots.insert(v, (memory, 0));
                        if !last_use.contains_key(&v) {
                            dead.push(v);
                        }
                    }
                }
                let needed = if self.options.threads == 0 { &node.outputs.scratch[..] } else { &[] };
                for spec in needed {
                    scratch.push(Slot { memory: self.take(spec.bytes(), None), offset: 0, spec: spec.clone() });
                }
                self.plan.nodes.push(Planned {
                    op: op.clone(),
                    scope: node.scope.clone(),
                    inputs: node.inputs.iter().map(|&v| self.slot(v)).collect(),
                    outputs: (0..node.outputs.values.len())
                        .map(|output| self.slot(Value { node: n, output }))
                        .collect(),
                    scratch: scratch.clone(),
                    strip,
                });
                for s in scratch {
                    self.give(s.memory);
                }
                for v in dead {
                    self.give(self.slots[&v].0);
                }
            }
        }
        let mut over: Vec<Value> = node.inputs.iter().map(|&v| memory_of(self.nodes, v)).collect();
        over.sort();
        over.dedup();
        for v in over {
            if last_use[&v] == time {
                self.give(self.slots[&v].0);
            }
        }
    }

    fn slot(&self, v: Value) -> Slot {
        let (memory, offset) = self.slots[&memory_of(self.nodes, v)];
        Slot { memory, offset, spec: self.nodes[v.node].outputs.values[v.output].clone() }
    }

    fn sums(&self, n: NodeId) -> bool {
        split_of(self.nodes, n).is_some_and(|s| s.sums)
    }

    /// A buffer of at least `bytes`, or for a tile of them if the value lives `within` a strip: the tightest free one, else
    /// the largest free one grown, else a new one.
    fn take(&mut self, bytes: usize, within: Option<usize>) -> Memory {
        let strip = within.map(|s| self.plan.strips[s]);
        let bytes = strip.map_or(bytes, |s| bytes / s.parts * s.tile).max(4).next_multiple_of(16);
        let sizes = if strip.is_some() { &mut self.plan.tile } else { &mut self.plan.pool };
        let index = |memory: &Memory| match (*memory, strip) {
            (Memory::Pool(b), None) | (Memory::Tile(b), Some(_)) => Some(b),
            _ => None,
        };
        let free = || self.free.iter().filter_map(index);
        let fits = free().filter(|&b| sizes[b] >= bytes).min_by_key(|&b| (sizes[b], b));
        let pick = fits.or_else(|| free().max_by_key(|&b| (sizes[b], b)));
        let buffer = match pick {
            Some(b) if !self.options.no_reuse => b,
            _ => {
                sizes.push(0);
                sizes.len() - 1
            }
        };
        sizes[buffer] = sizes[buffer].max(bytes);
        let memory = if strip.is_some() { Memory::Tile(buffer) } else { Memory::Pool(buffer) };
        self.free.retain(|&x| x != memory);
        memory
    }

    fn give(&mut self, memory: Memory) {
        match memory {
            Memory::Tile(_) => self.free.push(memory),
            Memory::Pool(_) if self.current.is_some() => self.after_strip.push(memory),
            Memory::Pool(_) => self.free.push(memory),
            _ => {}
        }
    }
}
