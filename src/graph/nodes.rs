//! Questions about the nodes of a graph that planning and the rewriting before it ask.

use super::{Kind, Node, NodeId, Op, Shapes, Split, Value};
use crate::tensor::Spec;

/// The states that a node writes in place: (output, state's value).
pub(crate) fn writes(node: &Node) -> impl Iterator<Item = (usize, Value)> + '_ {
    let pairs = match &node.kind {
        Kind::Op(op) => op.in_place(),
        _ => &[],
    };
    pairs.iter().map(|&(output, input)| (output, node.inputs[input]))
}

/// Whether each node is one of `roots`, or something that they are computed from.
pub(crate) fn live(nodes: &[Node], roots: &[NodeId]) -> Vec<bool> {
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
pub(crate) fn memory_of(nodes: &[Node], mut v: Value) -> Value {
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
pub(super) fn version(nodes: &[Node], mut v: Value) -> Option<NodeId> {
    loop {
        let node = &nodes[v.node];
        let Kind::Op(op) = &node.kind else { return None };
        if !op.is_view() {
            return writes(node).any(|(output, _)| output == v.output).then_some(v.node);
        }
        v = node.inputs[0];
    }
}

/// What `f` makes of the shapes of node `n`'s operands.
pub(crate) fn with_shapes<R>(nodes: &[Node], n: NodeId, f: impl FnOnce(&dyn Op, &Shapes) -> Option<R>) -> Option<R> {
    let Kind::Op(op) = &nodes[n].kind else { return None };
    let inputs: Vec<Spec> = nodes[n].inputs.iter().map(|v| nodes[v.node].outputs.values[v.output].clone()).collect();
    let outputs = &nodes[n].outputs;
    f(&**op, &Shapes::new(&op.operands(), &inputs, &outputs.values, &outputs.scratch))
}

/// How node `n` falls into parts, if it may be run so.
pub(super) fn split_of(nodes: &[Node], n: NodeId) -> Option<Split> {
    let split = with_shapes(nodes, n, |op, s| op.split(s).filter(|_| op.in_place().is_empty()))?;
    (split.parts > 1).then_some(split)
}
