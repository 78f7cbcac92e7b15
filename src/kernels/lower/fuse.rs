//! The fusing pass: an elementwise node whose only reader is another elementwise node of the same shape moves into it.
//! Scalar constants become literals on the way.

use super::super::elementwise::MAX_INPUTS;
use super::chain_of;
use crate::graph::{Kind, Node, NodeId, Value};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

const MAX_CODE: usize = 32;

/// Rewrites chains in `nodes`; nodes that moved into another simply lose their reader.
pub(super) fn fuse(nodes: &mut [Node], live: &[bool], kept: &HashSet<Value>) {
    let mut readers: HashMap<Value, HashSet<NodeId>> = HashMap::new();
    for (n, node) in nodes.iter().enumerate().filter(|(n, _)| live[*n]) {
        for &v in &node.inputs {
            readers.entry(v).or_default().insert(n);
        }
    }
    // A chain that runs after a state was written must not take over the reading of the state's old value.
    let mut after_write = vec![false; nodes.len()];
    for n in 0..nodes.len() {
        let wrote = matches!(&nodes[n].kind, Kind::Op(op) if !op.in_place().is_empty());
        after_write[n] = wrote || nodes[n].inputs.iter().any(|v| after_write[v.node]);
    }
    for n in 0..nodes.len() {
        let Some(mut chain) = chain_of(&nodes[n].kind).cloned().filter(|_| live[n]) else { continue };
        let mut inputs = nodes[n].inputs.clone();
        let mut at = 0;
        while at < inputs.len() {
            let v = inputs[at];
            if let Some(literal) = scalar(&nodes[v.node]) {
                chain = chain.with_literal(at, literal);
                inputs.remove(at);
                continue;
            }
            let producer = chain_of(&nodes[v.node].kind).cloned().filter(|p| {
                let added: HashSet<_> = inputs.iter().chain(&nodes[v.node].inputs).collect();
                readers[&v].len() == 1
                    && !kept.contains(&v)
                    && !after_write[n]
                    && nodes[v.node].region == nodes[n].region
                    && nodes[v.node].outputs.values[0].shape == nodes[n].outputs.values[0].shape
                    && added.len() - 1 <= MAX_INPUTS
                    && chain.code.len() + p.code.len() <= MAX_CODE
            });
            match producer {
                Some(p) => {
                    let from = nodes[v.node].inputs.clone();
                    (chain, inputs) = chain.with_producer(&inputs, at, &p, &from);
                    for moved in from {
                        let set = readers.get_mut(&moved).expect("its producer read it");
                        set.remove(&v.node);
                        set.insert(n);
                    }
                    at = 0;
                }
                None => at += 1,
            }
        }
        nodes[n].kind = Kind::Op(Arc::new(chain));
        nodes[n].inputs = inputs;
    }
}

fn scalar(node: &Node) -> Option<f64> {
    match &node.kind {
        Kind::Constant(t) if t.shape.is_empty() => Some(t.to_f64()[0]),
        _ => None,
    }
}
