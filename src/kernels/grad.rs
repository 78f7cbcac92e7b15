//! Reverse-mode differentiation, into the same graph.

use super::NodeView;
use super::embedding::{GatherGrad, GatherGradDense, RowsToDense};
use super::lower::is_gather;
use crate::error::{Error, Result};
use crate::graph::{Gradient, Graph, Kind, Node, NodeId, RowGradient, Value, Var};
use crate::tensor::DType;
use std::collections::{HashMap, HashSet};

impl<'g> Gradient<'g> {
    /// As a tensor of the parameter's shape; for rows that is a node that writes all of it.
    pub fn dense(self, table: Var<'g>) -> Var<'g> {
        match self {
            Gradient::Dense(v) => v,
            Gradient::Rows(r) => table.graph.push(RowsToDense { shape: table.shape() }, &[r.values, r.rows, r.counts]),
        }
    }
}

impl Graph {
    /// The gradients of the scalar `loss` by each of `parameters`: states, inputs, or values on the way. It is an error if an op on the way has no gradient
    /// rule, or if no gradient reaches a parameter.
    pub fn gradients<'g>(&'g self, loss: Var<'g>, parameters: &[Var<'g>]) -> Result<Vec<Gradient<'g>>> {
        if loss.shape().elements() != 1 {
            return Err(Error::shape("gradients", format!("the loss must be a scalar, not {}", loss.shape())));
        }
        let last = loss.value.node;
        let mut pass = Pass {
            graph: self,
            reaches: self.reaches(last, parameters),
            kept: parameters.iter().map(|p| p.value).collect(),
            grads: HashMap::new(),
            gathered: HashMap::new(),
            again: HashMap::new(),
            redone: HashSet::new(),
        };
        let one = self.scalar(1.0).expand(loss.shape());
        pass.grads.insert(loss.value, one);
        for node in (0..=last).rev() {
            if pass.reaches[node] {
                pass.node(node)?;
            }
        }
        parameters.iter().map(|&p| pass.finish(p)).collect()
    }

    /// For each node up to `last`: whether some parameter is among what it is computed from.
    fn reaches(&self, last: NodeId, parameters: &[Var]) -> Vec<bool> {
        let inner = self.inner.borrow();
        let mut reaches = vec![false; last + 1];
        for p in parameters.iter().filter(|p| p.value.node <= last) {
            reaches[p.value.node] = true;
        }
        for node in 0..=last {
            if matches!(inner.nodes[node].kind, Kind::Op(_)) {
                reaches[node] |= inner.nodes[node].inputs.iter().any(|v| reaches[v.node]);
            }
        }
        reaches
    }
}

struct Pass<'g> {
    graph: &'g Graph,
    reaches: Vec<bool>,
    /// What is asked for.
    kept: HashSet<Value>,
    grads: HashMap<Value, Var<'g>>,
    /// The gathers from each table, as (indices, gradient of the gathered rows).
    gathered: HashMap<Value, Vec<(Value, Var<'g>)>>,
    /// Values of checkpointed regions, to their recomputed counterparts.
    again: HashMap<Value, Value>,
    redone: HashSet<usize>,
}

impl<'g> Pass<'g> {
    fn node(&mut self, id: NodeId) -> Result<()> {
        let node = self.graph.inner.borrow().nodes[id].clone();
        let Kind::Op(op) = &node.kind else { return Ok(()) };
        let outputs: Vec<Value> = (0..node.outputs.values.len()).map(|output| Value { node: id, output }).collect();
        for table in &outputs {
            // All gathers from a computed table come after it.
            if let Some(gathered) = self.gathered.remove(table) {
                let table = self.graph.var(*table);
                let rows = self.rows(table, gathered)?.dense(table);
                self.add(table.value, rows)?;
            }
        }
        let grads: Vec<Option<Var>> = outputs.iter().map(|v| self.take(v)).collect();
        if grads.iter().all(Option::is_none) {
            return Ok(());
        }
        if let Some(region) = node.region {
            self.recompute(region)?;
        }
        let wanted: Vec<bool> = node.inputs.iter().map(|v| self.reaches[v.node]).collect();
        if is_gather(&**op) && self.is_table(node.inputs[0]) {
            let dy = grads[0].expect("a gather has one output");
            self.gathered.entry(node.inputs[0]).or_default().push((node.inputs[1], dy));
            return Ok(());
        }
        let seen = |v: &Value| self.graph.var(*self.again.get(v).unwrap_or(v));
        let view = NodeView {
            inputs: node.inputs.iter().map(seen).collect(),
            outputs: outputs.iter().map(seen).collect(),
            grads,
            wanted,
            operands: op.operands(),
        };
        let result = self.graph.scope(&format!("{}'", node.scope), || op.grad(&view))?;
        if result.refused {
            return Err(Error::shape(
                &node.scope,
                "has no gradient rule, and a trainable parameter is among what it is computed from",
            ));
        }
        for (input, dx) in result.to {
            let input = view.operands.input_number(input).expect("a gradient is of an input that there is");
            if view.wanted[input] {
                self.add(node.inputs[input], dx)?;
            }
        }
        Ok(())
    }

    /// Whether the gradient of what is gathered from `value` is taken for all gathers at once: it is a parameter, or its sorted
    /// segments are declared.
    fn is_table(&self, value: Value) -> bool {
        let inner = self.graph.inner.borrow();
        matches!(inner.nodes[value.node].kind, Kind::State { .. }) || inner.segments.contains_key(&value)
    }

    /// The whole gradient of a value, of no more use unless it is asked for.
    fn take(&mut self, value: &Value) -> Option<Var<'g>> {
        if self.kept.contains(value) { self.grads.get(value).copied() } else { self.grads.remove(value) }
    }

    fn add(&mut self, value: Value, dx: Var<'g>) -> Result<()> {
        let want = self.graph.var(value).shape();
        if dx.shape() != want {
            let scope = self.graph.inner.borrow().nodes[dx.value.node].scope.clone();
            return Err(Error::shape(
                scope,
                format!("gradient is {}, the value {want}: a bug of its rule", dx.shape()),
            ));
        }
        let sum = match self.grads.get(&value) {
            Some(&before) => before + dx,
            None => dx,
        };
        self.grads.insert(value, sum);
        Ok(())
    }

    /// Adds the nodes of a checkpointed region once more, reading recomputed values where the first ones are in it too.
    fn recompute(&mut self, region: usize) -> Result<()> {
        if !self.redone.insert(region) {
            return Ok(());
        }
        let nodes: Vec<(NodeId, Node)> = {
            let inner = self.graph.inner.borrow();
            let of_region = inner.nodes.iter().enumerate().filter(|(_, n)| n.region == Some(region));
            of_region.map(|(i, n)| (i, n.clone())).collect()
        };
        self.graph.inner.borrow_mut().again = true;
        for (id, node) in nodes {
            let Kind::Op(op) = node.kind else { continue };
            let inputs: Vec<Value> = node.inputs.iter().map(|v| *self.again.get(v).unwrap_or(v)).collect();
            for (output, var) in self.graph.push_arc(op, &inputs)?.into_iter().enumerate() {
                self.again.insert(Value { node: id, output }, var.value);
            }
        }
        self.graph.inner.borrow_mut().again = false;
        Ok(())
    }

    fn finish(&mut self, parameter: Var<'g>) -> Result<Gradient<'g>> {
        let dense = self.grads.get(&parameter.value).copied();
        let gathered = self.gathered.remove(&parameter.value).unwrap_or_default();
        match (dense, gathered.is_empty()) {
            (None, true) => {
                let name = self.graph.inner.borrow().nodes[parameter.value.node].scope.clone();
                Err(Error::shape(name, "is to be trained but no gradient reaches it; freeze it or use it"))
            }
            (Some(dense), true) => Ok(Gradient::Dense(dense)),
            (None, false) => self.rows(parameter, gathered),
            (Some(dense), false) => Ok(Gradient::Dense(self.rows(parameter, gathered)?.dense(parameter) + dense)),
        }
    }

    /// The gradient of a table by what was gathered from it.
    fn rows(&self, table: Var<'g>, gathered: Vec<(Value, Var<'g>)>) -> Result<Gradient<'g>> {
        let segmented = self.graph.inner.borrow().segments.get(&table.value).cloned();
        let shape = table.shape();
        let d = shape[1];
        let Some(s) = segmented else {
            let mut sum: Option<Var> = None;
            for (indices, dy) in gathered {
                let n = dy.shape().elements() / d;
                let part = self.graph.try_push(
                    GatherGradDense { rows: shape[0] },
                    &[self.graph.var(indices).reshape([n]), dy.reshape([n, d])],
                )?[0];
                sum = Some(sum.map_or(part, |s| s + part));
            }
            return Ok(Gradient::Dense(sum.expect("called with at least one gather")));
        };
        if let Some((indices, _)) = gathered.iter().find(|(i, _)| !s.lists.contains(i)) {
            let scope = &self.graph.inner.borrow().nodes[indices.node].scope;
            return Err(Error::shape(scope, "gathers from a table whose declared segments do not hold these indices"));
        }
        let parts = s.lists.iter().map(|&list| {
            let n = self.graph.var(list).shape().elements();
            let same = gathered.iter().filter(|(i, _)| *i == list).map(|(_, dy)| *dy);
            same.reduce(|a, b| a + b).unwrap_or_else(|| self.graph.scalar(0.0).expand([n, d])).reshape([n, d])
        });
        let mut parts: Vec<Var> = parts.collect();
        if parts.len() > GatherGrad::MAX_PARTS {
            parts = vec![self.graph.concat(0, &parts)];
        }
        let v = |value| self.graph.var(value);
        let fixed = [v(s.order), v(s.chunk_starts), v(s.row_chunks), v(s.counts)];
        let inputs: Vec<Var> = fixed.into_iter().chain(parts).collect();
        let values = self.graph.try_push(GatherGrad, &inputs)?[0];
        debug_assert_eq!(values.dtype(), DType::F32);
        Ok(Gradient::Rows(RowGradient { rows: v(s.rows), counts: v(s.counts), values }))
    }
}
