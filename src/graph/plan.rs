//! A graph, planned once: the order of its nodes, when each value dies, and which reused buffer holds it.

use super::fuse::fuse;
use super::{Graph, Kind, Node, NodeId, Value};
use crate::error::{Error, Result};
use crate::kernels::{Cost, Op, Shapes};
use crate::tensor::{Spec, Tensor};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::sync::Arc;

/// Which buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Memory {
    /// Reused by values whose lives do not overlap.
    Pool(usize),
    Input(usize),
    State(usize),
    Constant(usize),
}

/// Where a value lies: a buffer, and the first element in it (not 0 only in states).
#[derive(Clone, Debug)]
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
}

impl Planned {
    pub fn specs(&self) -> [Vec<Spec>; 3] {
        [&self.inputs, &self.outputs, &self.scratch].map(|l| l.iter().map(|s| s.spec.clone()).collect())
    }

    pub fn cost(&self) -> Cost {
        let [inputs, outputs, scratch] = self.specs();
        self.op.cost(&Shapes { inputs: &inputs, outputs: &outputs, scratch: &scratch })
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Each value its own buffer (`--no-reuse`).
    pub no_reuse: bool,
    /// Elementwise nodes stay one launch each.
    pub no_fuse: bool,
}

/// What a device compiles once and runs many times.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub nodes: Vec<Planned>,
    pub inputs: Vec<(String, Spec)>,
    /// Named state buffers and the number of elements that this plan reaches into.
    pub states: Vec<(String, usize)>,
    pub constants: Vec<Tensor>,
    /// Bytes of each reused buffer (f32 and u32 at 4, f16 at 2).
    pub pool: Vec<usize>,
    pub results: Vec<(String, Slot)>,
}

impl Plan {
    pub fn new(graph: &Graph, options: Options) -> Result<Plan> {
        let inner = graph.inner.borrow();
        let mut nodes = inner.nodes.clone();
        let results = inner.results.clone();
        let mut roots: Vec<NodeId> = results.iter().map(|(_, v)| v.node).collect();
        roots.extend((0..nodes.len()).filter(|&n| writes(&nodes[n]).next().is_some()));
        if !options.no_fuse {
            let kept: HashSet<Value> = results.iter().map(|(_, v)| *v).collect();
            let live = live(&nodes, &roots);
            fuse(&mut nodes, &live, &kept);
        }
        let live = live(&nodes, &roots);
        let order = order(&nodes, &live)?;
        Ok(Placing::new(&nodes, options).place(&order, &results))
    }

    /// Bytes that a GPU holds for this plan, states included, once it is compiled.
    pub fn peak_bytes(&self) -> usize {
        let inputs: usize = self.inputs.iter().map(|(_, s)| s.bytes()).sum();
        let constants: usize = self.constants.iter().map(|t| t.spec().bytes()).sum();
        inputs + constants + self.pool_bytes() + self.state_bytes()
    }

    pub fn pool_bytes(&self) -> usize {
        self.pool.iter().sum()
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

/// The states that a node writes in place: (output, state's value).
fn writes(node: &Node) -> impl Iterator<Item = (usize, Value)> + '_ {
    let pairs = match &node.kind {
        Kind::Op(op) => op.in_place(),
        _ => &[],
    };
    pairs.iter().map(|&(output, input)| (output, node.inputs[input]))
}

fn live(nodes: &[Node], roots: &[NodeId]) -> Vec<bool> {
    let mut live = vec![false; nodes.len()];
    let mut todo = roots.to_vec();
    while let Some(n) = todo.pop() {
        if !std::mem::replace(&mut live[n], true) {
            todo.extend(nodes[n].inputs.iter().map(|v| v.node));
        }
    }
    live
}

/// The value whose memory `v` shares: through views, and through outputs written over a state.
fn memory_of(nodes: &[Node], mut v: Value) -> Value {
    loop {
        let node = &nodes[v.node];
        let Kind::Op(op) = &node.kind else { return v };
        if op.is_view() {
            v = node.inputs[0];
        } else if let Some((_, state)) = writes(node).find(|(output, _)| *output == v.output) {
            v = state;
        } else {
            return v;
        }
    }
}

/// The last node before or at `v` that wrote the state that `v` shows; None while it is the state from before the step.
fn version(nodes: &[Node], mut v: Value) -> Option<NodeId> {
    loop {
        let node = &nodes[v.node];
        let Kind::Op(op) = &node.kind else { return None };
        if !op.is_view() {
            return writes(node).any(|(output, _)| output == v.output).then_some(v.node);
        }
        v = node.inputs[0];
    }
}

/// Live nodes in the order they were made in, except that all readers of a state's value come before its next writer.
fn order(nodes: &[Node], live: &[bool]) -> Result<Vec<NodeId>> {
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
    let mut ready: BinaryHeap<Reverse<NodeId>> =
        (0..nodes.len()).filter(|&n| live[n] && waits[n] == 0).map(Reverse).collect();
    let mut order = vec![];
    while let Some(Reverse(n)) = ready.pop() {
        order.push(n);
        for &next in &after[n] {
            waits[next] -= 1;
            if waits[next] == 0 {
                ready.push(Reverse(next));
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
    /// Pool buffers that hold nothing now.
    free: Vec<usize>,
}

impl<'a> Placing<'a> {
    fn new(nodes: &'a [Node], options: Options) -> Placing<'a> {
        Placing { nodes, options, plan: Plan::default(), slots: HashMap::new(), free: vec![] }
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
        for (time, &n) in order.iter().enumerate() {
            self.node(n, time, &last_use);
        }
        for (name, v) in results {
            let slot = self.slot(*v);
            self.plan.results.push((name.clone(), slot));
        }
        self.plan
    }

    fn node(&mut self, n: NodeId, time: usize, last_use: &HashMap<Value, usize>) {
        let node = &self.nodes[n];
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
                        let memory = self.take(spec.bytes());
                        self.slots.insert(v, (memory, 0));
                        if !last_use.contains_key(&v) {
                            dead.push(v);
                        }
                    }
                }
                for spec in &node.outputs.scratch {
                    scratch.push(Slot { memory: self.take(spec.bytes()), offset: 0, spec: spec.clone() });
                }
                self.plan.nodes.push(Planned {
                    op: op.clone(),
                    scope: node.scope.clone(),
                    inputs: node.inputs.iter().map(|&v| self.slot(v)).collect(),
                    outputs: (0..node.outputs.values.len())
                        .map(|output| self.slot(Value { node: n, output }))
                        .collect(),
                    scratch: scratch.clone(),
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

    /// A pool buffer of at least `bytes`: the tightest free one, else the largest free one grown, else a new one.
    fn take(&mut self, bytes: usize) -> Memory {
        let bytes = bytes.max(4).next_multiple_of(16);
        let pool = &mut self.plan.pool;
        let fits = self.free.iter().filter(|&&b| pool[b] >= bytes).min_by_key(|&&b| (pool[b], b));
        let pick = fits.or_else(|| self.free.iter().max_by_key(|&&b| (pool[b], b))).copied();
        let buffer = match pick {
            Some(b) if !self.options.no_reuse => {
                self.free.retain(|&x| x != b);
                b
            }
            _ => {
                pool.push(0);
                pool.len() - 1
            }
        };
        pool[buffer] = pool[buffer].max(bytes);
        Memory::Pool(buffer)
    }

    fn give(&mut self, memory: Memory) {
        if let Memory::Pool(b) = memory {
            self.free.push(b);
        }
    }
}
