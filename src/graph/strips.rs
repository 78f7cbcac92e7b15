//! Strips: runs of nodes that the CPU device computes tile by tile.
//!
//! Most nodes of a training step treat each user alone (see [`Split`]). Run one node after the other, each reads and writes
//! the whole batch, which no cache holds, and waits for the slowest thread. A strip is a run of such nodes; the batch is cut
//! into tiles, and a thread takes one tile through all nodes of the strip. Values that only the strip's own nodes read need
//! memory for one tile a thread, in its cache. Sums over the batch (the gradients of weights) are taken tile by tile, and
//! those sums added pair by pair. Tiles depend on the plan alone, so the number of threads changes no bit.

use super::nodes::{memory_of, split_of};
use super::{Kind, Node, NodeId, Split, Value};
use std::collections::{BTreeSet, HashMap, HashSet};

/// What a tile's values may take, so that they stay in a core's cache.
const TILE_BYTES: usize = 384 << 10;
/// Tiles at least, where there are as many parts, so that threads share them evenly.
const TILES: usize = 16;

/// One strip of a plan: `parts` parts, `tile` of them at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strip {
    pub parts: usize,
    pub tile: usize,
}

impl Strip {
    pub fn tiles(&self) -> usize {
        self.parts.div_ceil(self.tile)
    }
}

/// Whether running `n` costs anything: leaves and views do not.
fn runs(nodes: &[Node], n: NodeId) -> bool {
    matches!(&nodes[n].kind, Kind::Op(op) if !op.is_view())
}

/// Collects nodes into strips while the order of a plan is made.
pub(super) struct Builder<'a> {
    nodes: &'a [Node],
    splits: HashMap<NodeId, Split>,
    /// The nodes of each strip so far, the last one open.
    strips: Vec<Vec<NodeId>>,
    open: HashSet<NodeId>,
    parts: usize,
    /// Parts of a tile; 0: by what stays in a cache.
    tile: usize,
}

impl<'a> Builder<'a> {
    /// No node ever joins a strip unless `enabled`. Tiles have `tile` parts unless that is 0.
    pub fn new(nodes: &'a [Node], live: &[bool], enabled: bool, tile: usize) -> Builder<'a> {
        let candidates = (0..nodes.len()).filter(|&n| enabled && live[n] && runs(nodes, n));
        let splits = candidates.filter_map(|n| Some((n, split_of(nodes, n)?))).collect();
        Builder { nodes, splits, strips: vec![], open: HashSet::new(), parts: 0, tile }
    }

    /// The node to run next of those that could: what costs nothing, what fits the open strip, else the first.
    pub fn next(&mut self, ready: &BTreeSet<NodeId>) -> Option<NodeId> {
        let first = *ready.first()?;
        if let Some(&free) = ready.iter().find(|&&n| !runs(self.nodes, n)) {
            return Some(free);
        }
        // What is made of parameters alone and in one piece, before a strip is begun: in its midst it would end it.
        if self.open.is_empty()
            && let Some(&once) = ready.iter().find(|&&n| self.of_parameters(n))
        {
            return Some(once);
        }
        let fits = |&&n: &&NodeId| (n == first || !self.nodes[n].again) && self.joined_parts(n).is_some();
        let next = ready.iter().find(fits).copied();
        if next.is_none() {
            self.open.clear();
            self.parts = 0;
        }
        let next = next.unwrap_or(first);
        if let Some(parts) = self.joined_parts(next) {
            if self.open.is_empty() {
                self.strips.push(vec![]);
            }
            self.parts = parts;
            self.open.insert(next);
            self.strips.last_mut().expect("one is open").push(next);
        }
        Some(next)
    }

    fn of_parameters(&self, n: NodeId) -> bool {
        let Kind::Op(op) = &self.nodes[n].kind else { return false };
        let inputs = &self.nodes[n].inputs;
        let parameters = inputs.iter().all(|v| matches!(self.nodes[v.node].kind, Kind::State { .. }));
        parameters && !inputs.is_empty() && op.in_place().is_empty() && !self.splits.contains_key(&n)
    }

    /// Parts of the open strip, or of a new one, once `n` has joined it.
    fn joined_parts(&self, n: NodeId) -> Option<usize> {
        let split = self.splits.get(&n)?;
        // A common divisor below this would leave a strip with too few parts to share.
        let parts = gcd(self.parts, split.parts);
        if self.parts > 0 && parts < self.parts.min(TILES) {
            return None;
        }
        let cut_alike = self.nodes[n].inputs.iter().enumerate().all(|(i, &v)| {
            let from = memory_of(self.nodes, v).node;
            !self.open.contains(&from) || (split.inputs >> i & 1 == 1 && !self.splits[&from].sums)
        });
        cut_alike.then_some(parts)
    }

    /// The strip of each node, where it shares one with another.
    pub fn finish(self) -> (Vec<Strip>, HashMap<NodeId, usize>) {
        let mut strips = vec![];
        let mut of = HashMap::new();
        for nodes in self.strips.iter().filter(|nodes| nodes.len() > 1) {
            let parts = nodes.iter().fold(0, |parts, n| gcd(parts, self.splits[n].parts));
            of.extend(nodes.iter().map(|&n| (n, strips.len())));
            strips.push(Strip { parts, tile: self.tile(nodes, parts) });
        }
        (strips, of)
    }

    /// Parts of a tile, by the bytes that are alive at once in one part.
    fn tile(&self, nodes: &[NodeId], parts: usize) -> usize {
        if self.tile > 0 {
            return self.tile.min(parts);
        }
        let mut last_use: HashMap<Value, usize> = HashMap::new();
        for (time, &n) in nodes.iter().enumerate() {
            last_use.extend(self.nodes[n].inputs.iter().map(|&v| (memory_of(self.nodes, v), time)));
        }
        let bytes = |v: Value| self.nodes[v.node].outputs.values[v.output].bytes() / parts;
        let (mut alive, mut most) = (0, 1);
        for (time, &n) in nodes.iter().enumerate() {
            let outputs = if self.splits[&n].sums { 0 } else { self.nodes[n].outputs.values.len() };
            alive += (0..outputs).map(|output| bytes(Value { node: n, output })).sum::<usize>();
            most = most.max(alive);
            let over = last_use.iter().filter(|(v, last)| **last == time && nodes.contains(&v.node));
            alive -= over.map(|(&v, _)| bytes(v)).sum::<usize>().min(alive);
        }
        (TILE_BYTES / most).clamp(1, parts.div_ceil(TILES))
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
