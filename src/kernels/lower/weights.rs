//! Weights that the CPU device's products take transposed are transposed once a step, for all tiles: the product of each tile
//! would do it for itself, at up to a third of its time.

use super::super::strided::Permute;
use crate::graph::nodes::with_shapes;
use crate::graph::{Kind, Node, NodeId, Outputs, Value};
use crate::tensor::Spec;
use std::collections::HashMap;
use std::sync::Arc;

/// Adds the transposed of each such state to `nodes`.
pub(super) fn transpose_once(nodes: &mut Vec<Node>, live: &mut Vec<bool>) {
    let mut copies: HashMap<NodeId, NodeId> = HashMap::new();
    for n in (0..nodes.len()).filter(|&n| live[n]).collect::<Vec<_>>() {
        let Some((input, op)) = with_shapes(nodes, n, |op, s| op.with_transposed(s)) else { continue };
        let weight = nodes[n].inputs[input];
        if !matches!(nodes[weight.node].kind, Kind::State { .. }) {
            continue;
        }
        let copy = *copies.entry(weight.node).or_insert_with(|| {
            let shape = &nodes[weight.node].outputs.values[0].shape;
            let [rows, columns] = [shape[0], shape[1]];
            let kind = Kind::Op(Arc::new(Permute { order: vec![1, 0] }));
            let scope = format!("{}/transposed", nodes[n].scope);
            let outputs = Outputs::one(Spec::f32([columns, rows]));
            nodes.push(Node { kind, inputs: vec![weight], outputs, scope, region: None, again: false });
            live.push(true);
            nodes.len() - 1
        });
        nodes[n].kind = Kind::Op(op);
        nodes[n].inputs[input] = Value { node: copy, output: 0 };
    }
}
