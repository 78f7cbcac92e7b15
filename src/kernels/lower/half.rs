//! Half precision: which values of a plan a GPU stores as f16. Its sums stay in f32: a shader widens what it reads and
//! rounds what it writes (`kernels::source`), or multiplies halves by cooperative matrices. Halves are activations and their gradients, and copies of the tables that a
//! product reads. In f32 stay the states (parameters, moments), what a plan is asked for, everything that is no row of
//! features (losses, sums, norms), what an op says needs it ([`Op::exact_outputs`](crate::graph::Op::exact_outputs)), and
//! the gradients that an optimiser takes.

use super::super::elementwise::Chain;
use super::{chain_of, is_gather};
use crate::graph::nodes::memory_of;
use crate::graph::{Kind, Node, NodeId, Outputs, Value};
use crate::tensor::{DType, Spec};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Width from which the rows of a value are rows of features.
const WIDTH: usize = 8;
/// Elements from which a copy of a table pays: the weight of a layer 64 wide, as cooperative matrices multiply halves alone.
/// (Without them such a copy is a small launch a step for half the reads.)
const TABLE: usize = 1 << 12;

/// Makes halves of what may be. Neither `exact` values and what they are sums of may, nor `results`.
pub(super) fn halve(nodes: &mut Vec<Node>, live: &mut Vec<bool>, exact: &HashSet<Value>, results: &HashSet<Value>) {
    copy_tables(nodes, live);
    let mut exact = exact.clone();
    for n in (0..nodes.len()).rev().filter(|&n| live[n]) {
        let Kind::Op(op) = &nodes[n].kind else { continue };
        if exact.contains(&Value { node: n, output: 0 }) && (op.is_view() || chain_of(&nodes[n].kind).is_some()) {
            exact.extend(&nodes[n].inputs);
        }
    }
    let exact: HashSet<Value> = exact.iter().chain(results).map(|&v| memory_of(nodes, v)).collect();
    for n in (0..nodes.len()).filter(|&n| live[n]) {
        for output in 0..nodes[n].outputs.values.len() {
            let v = Value { node: n, output };
            let base = memory_of(nodes, v);
            let half = if base == v {
                may_be_half(&nodes[n], output) && !exact.contains(&v)
            } else {
                spec(nodes, base).dtype == DType::F16
            };
            if half {
                nodes[n].outputs.values[output].dtype = DType::F16;
            }
        }
    }
}

fn spec(nodes: &[Node], v: Value) -> &Spec {
    &nodes[v.node].outputs.values[v.output]
}

fn may_be_half(node: &Node, output: usize) -> bool {
    let Kind::Op(op) = &node.kind else { return false };
    let Spec { shape, dtype } = &node.outputs.values[output];
    *dtype == DType::F32 && shape.len() >= 2 && shape.last_dim() >= WIDTH && !op.exact_outputs().contains(&output)
}

/// A half of each large parameter, for all that reads the whole of it. What gathers rows reads the parameter itself.
fn copy_tables(nodes: &mut Vec<Node>, live: &mut Vec<bool>) {
    let mut copies: HashMap<NodeId, NodeId> = HashMap::new();
    for n in (0..nodes.len()).filter(|&n| live[n]).collect::<Vec<_>>() {
        let Kind::Op(op) = &nodes[n].kind else { continue };
        if is_gather(&**op) || op.is_view() || chain_of(&nodes[n].kind).is_some() || !op.in_place().is_empty() {
            continue;
        }
        for i in 0..nodes[n].inputs.len() {
            let table = nodes[n].inputs[i];
            let Spec { shape, .. } = spec(nodes, table).clone();
            let state = matches!(nodes[table.node].kind, Kind::State { .. });
            if !state || shape.len() != 2 || shape.elements() < TABLE || shape.last_dim() < WIDTH {
                continue;
            }
            let copy = *copies.entry(table.node).or_insert_with(|| {
                let scope = format!("{}/half", nodes[table.node].scope);
                let kind = Kind::Op(Arc::new(Chain::copy()));
                let outputs = Outputs::one(Spec::f32(shape));
                nodes.push(Node { kind, inputs: vec![table], outputs, scope, region: None, again: false });
                live.push(true);
                nodes.len() - 1
            });
            nodes[n].inputs[i] = Value { node: copy, output: 0 };
        }
    }
}
