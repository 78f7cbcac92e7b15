//! The graph: a model is a plain function that adds nodes to it; `gradients` adds the reverse-mode nodes to the same
//! graph, an optimiser adds its own, and [`plan::Plan`] makes of it what a device runs step after step.
//!
//! Here is what a graph, an op and a plan are. Which ops there are, the arithmetic on [`Var`], the gradients and the rewriting of
//! nodes before they are planned is the business of the kernels, which stand above.

use crate::error::{Error, Result};
use crate::tensor::{DType, Shape, Spec, Tensor};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

mod args;
pub mod dot;
mod gradient;
pub mod launch;
pub(crate) mod nodes;
pub mod op;
pub mod operands;
pub mod plan;
pub mod step;
pub mod strips;

pub use args::{Args, Operand};
pub use gradient::{Gradient, RowGradient};
pub use launch::{Caps, Cooperative, Grid, Launch};
pub use op::{Cost, Grads, Inputs, NodeView, Op, Outputs, Shapes, Split};
pub use operands::{Operands, Place, Which};
pub use step::Step;

/// Number of a node in its graph.
pub type NodeId = usize;

/// One output of one node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Value {
    pub node: NodeId,
    pub output: usize,
}

/// A value of a graph under construction; all arithmetic on it adds nodes.
#[derive(Clone, Copy)]
pub struct Var<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// Written by the host before a step.
    Input(String),
    /// A range of a named buffer that outlives the step: parameters, moments, accumulators.
    State {
        buffer: String,
        offset: usize,
    },
    /// Fixed at planning.
    Constant(Tensor),
    Op(Arc<dyn Op>),
}

#[derive(Clone, Debug)]
pub struct Node {
    pub kind: Kind,
    pub inputs: Vec<Value>,
    pub outputs: Outputs,
    /// Where in the model it was made: `extractor/softmax`.
    pub scope: String,
    /// The region to recompute in the backward pass, if any.
    pub region: Option<usize>,
    /// Computed for the second time: it must not be moved ahead, or the first value might as well have been kept.
    pub again: bool,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub nodes: Vec<Node>,
    pub results: Vec<(String, Value)>,
    pub segments: HashMap<Value, Segmented>,
    /// Values that stay f32 whatever the precision.
    pub exact: HashSet<Value>,
    scope: Vec<String>,
    region: Option<usize>,
    regions: usize,
    pub again: bool,
    /// Values that depend on parameters alone, by name.
    prepared: HashMap<String, Value>,
    /// The ones that another plan has computed, which are states here.
    kept: HashMap<String, Spec>,
    /// Values that whoever runs the graph gives to whoever traces it.
    offered: HashMap<String, Value>,
    training: bool,
}

/// The index lists of one table, concatenated in this order, and the sorted segments that the batch builder made of them.
#[derive(Clone)]
pub(crate) struct Segmented {
    pub lists: Vec<Value>,
    pub rows: Value,
    pub order: Value,
    pub chunk_starts: Value,
    pub row_chunks: Value,
    pub counts: Value,
}

/// See the module's page. Interior mutability lets `Var` be a plain copyable handle.
#[derive(Default)]
pub struct Graph {
    pub(crate) inner: RefCell<Inner>,
}

impl Graph {
    pub fn new() -> Graph {
        Graph::default()
    }

    /// A tensor that the host writes before each step.
    pub fn input(&self, name: &str, spec: Spec) -> Var<'_> {
        self.leaf(Kind::Input(name.into()), spec, name)
    }

    /// A range of the state buffer `buffer`, from element `offset` on; the same node each time. The value is the state before this step's writes.
    pub fn state(&self, name: &str, buffer: &str, offset: usize, spec: Spec) -> Var<'_> {
        let same = |n: &Node| {
            matches!(&n.kind, Kind::State { buffer: b, offset: o } if b == buffer && *o == offset)
                && n.outputs.values[0] == spec
        };
        let found = self.inner.borrow().nodes.iter().position(same);
        match found {
            Some(node) => Var { graph: self, value: Value { node, output: 0 } },
            None => self.leaf(Kind::State { buffer: buffer.into(), offset }, spec, name),
        }
    }

    /// A tensor that never changes.
    pub fn constant(&self, tensor: Tensor) -> Var<'_> {
        let spec = tensor.spec();
        self.leaf(Kind::Constant(tensor), spec, "constant")
    }

    /// What varies from step to step: see [`Step`].
    pub fn step(&self) -> Var<'_> {
        let found = self.inner.borrow().nodes.iter().position(|n| matches!(&n.kind, Kind::Input(s) if s == Step::NAME));
        match found {
            Some(node) => Var { graph: self, value: Value { node, output: 0 } },
            None => self.input(Step::NAME, Spec::u32([Step::WORDS])),
        }
    }

    fn leaf(&self, kind: Kind, spec: Spec, scope: &str) -> Var<'_> {
        let mut inner = self.inner.borrow_mut();
        let node = inner.nodes.len();
        inner.nodes.push(Node {
            kind,
            inputs: vec![],
            outputs: Outputs::one(spec),
            scope: scope.into(),
            region: None,
            again: false,
        });
        Var { graph: self, value: Value { node, output: 0 } }
    }

    /// Adds a node; its outputs are found by [`Node`] number through `outputs`. Errors are those of the op's shape rule.
    pub fn try_push<'g>(&'g self, op: impl Op, inputs: &[Var<'g>]) -> Result<Vec<Var<'g>>> {
        self.push_arc(Arc::new(op), &inputs.iter().map(|v| v.value).collect::<Vec<_>>())
    }

    /// As [`Graph::try_push`] for an op with one output, whose inputs were checked before: panics with the op's message.
    #[track_caller]
    pub fn push<'g>(&'g self, op: impl Op, inputs: &[Var<'g>]) -> Var<'g> {
        match self.try_push(op, inputs) {
            Ok(outputs) => outputs[0],
            Err(e) => panic!("{e}"),
        }
    }

    pub(crate) fn push_arc(&self, op: Arc<dyn Op>, inputs: &[Value]) -> Result<Vec<Var<'_>>> {
        let mut inner = self.inner.borrow_mut();
        let specs: Vec<Spec> = inputs.iter().map(|v| inner.spec(*v).clone()).collect();
        let scope = inner.scope.iter().map(String::as_str).chain([op.name()]).collect::<Vec<_>>().join("/");
        let outputs = op::infer(&*op, &scope, &specs)?;
        for &(_, input) in op.in_place() {
            if !matches!(inner.nodes[inputs[input].node].kind, Kind::State { .. }) {
                return Err(Error::shape(scope, format!("input {input} is written in place but is no state")));
            }
        }
        let node = inner.nodes.len();
        let count = outputs.values.len();
        let (region, again) = (inner.region, inner.again);
        inner.nodes.push(Node { kind: Kind::Op(op), inputs: inputs.to_vec(), outputs, scope, region, again });
        Ok((0..count).map(|output| Var { graph: self, value: Value { node, output } }).collect())
    }

    /// A value that depends on parameters alone, such as a table of items that is computed from their features. It is traced
    /// once a graph, whoever asks for it; in evaluation a plan of its own computes it once, and it is a state of the others
    /// ([`Graph::with_prepared`]).
    pub fn prepared<'g>(&'g self, name: &str, f: impl FnOnce() -> Var<'g>) -> Var<'g> {
        let known = self.inner.borrow().prepared.get(name).copied();
        if let Some(value) = known {
            return self.var(value);
        }
        let kept = self.inner.borrow().kept.get(name).cloned();
        let var = match kept {
            Some(spec) => self.prepared_state(name, spec),
            None => f(),
        };
        self.inner.borrow_mut().prepared.insert(name.into(), var.value);
        var
    }

    /// A graph in which the prepared values of these names are states, which [`Graph::keep_prepared`] of another graph writes.
    pub fn with_prepared(specs: &[(String, Spec)]) -> Graph {
        let graph = Graph::new();
        graph.inner.borrow_mut().kept = specs.iter().cloned().collect();
        graph
    }

    /// Writes the prepared values that were traced so far to states; their names and shapes, by name.
    pub fn keep_prepared(&self) -> Vec<(String, Spec)> {
        let mut prepared: Vec<(String, Value)> =
            self.inner.borrow().prepared.iter().map(|(name, value)| (name.clone(), *value)).collect();
        prepared.sort_by(|a, b| a.0.cmp(&b.0));
        let keep = |(name, value): (String, Value)| {
            let spec = self.inner.borrow().spec(value).clone();
            self.assign(self.prepared_state(&name, spec.clone()), self.var(value));
            (name, spec)
        };
        prepared.into_iter().map(keep).collect()
    }

    fn prepared_state(&self, name: &str, spec: Spec) -> Var<'_> {
        let state = Graph::prepared_name(name);
        self.state(&state, &state, 0, spec)
    }

    /// The name of the state that keeps a prepared value.
    pub fn prepared_name(name: &str) -> String {
        format!("prepared.{name}")
    }

    /// Marks the graph as that of a training step: what is drawn in training alone is drawn.
    pub fn train(&self) {
        self.inner.borrow_mut().training = true;
    }

    /// Whether the graph is that of a training step.
    pub fn is_training(&self) -> bool {
        self.inner.borrow().training
    }

    /// Makes a value known by name to what is traced from now on.
    pub fn offer(&self, name: &str, var: Var) {
        self.inner.borrow_mut().offered.insert(name.into(), var.value);
    }

    /// The value that was offered by this name.
    pub fn offered(&self, name: &str) -> Option<Var<'_>> {
        let value = self.inner.borrow().offered.get(name).copied();
        value.map(|value| self.var(value))
    }

    /// Names the nodes that `f` adds.
    pub fn scope<R>(&self, name: &str, f: impl FnOnce() -> R) -> R {
        self.inner.borrow_mut().scope.push(name.into());
        let result = f();
        self.inner.borrow_mut().scope.pop();
        result
    }

    /// The scope in force, for keys of random numbers: two ops in one scope must add a name of their own.
    pub fn scope_name(&self) -> String {
        self.inner.borrow().scope.join("/")
    }

    /// Nodes that `f` adds are computed again in the backward pass instead of kept: memory for time.
    pub fn checkpoint<R>(&self, f: impl FnOnce() -> R) -> R {
        let outer = {
            let mut inner = self.inner.borrow_mut();
            let region = inner.regions;
            inner.regions += 1;
            inner.region.replace(region)
        };
        let result = f();
        self.inner.borrow_mut().region = outer;
        result
    }

    /// Keeps `var`, and what it is a sum of, in f32 where a plan stores activations as halves.
    pub fn keep_exact(&self, var: Var) {
        self.inner.borrow_mut().exact.insert(var.value);
    }

    /// A value that the host reads after a step, by name.
    pub fn result(&self, name: &str, var: Var) {
        self.inner.borrow_mut().results.push((name.into(), var.value));
    }

    /// Declares that all gathers from `table` take their indices from `lists`, in this order, and adds the inputs that
    /// carry the sorted segments of their concatenation ([`crate::tensor::segments`]): `NAME.rows`, `NAME.order`,
    /// `NAME.chunk_starts`, `NAME.row_chunks`, `NAME.counts`. The table's gradient is then rows, never a dense tensor.
    pub fn segments<'g>(&'g self, name: &str, table: Var<'g>, lists: &[Var<'g>]) {
        use crate::tensor::segments::Caps;
        let len = lists.iter().map(|l| l.shape().elements()).sum();
        let caps = Caps::of(len, table.shape()[0]);
        let input = |part: &str, n: usize| self.input(&format!("{name}.{part}"), Spec::u32([n])).value;
        let segmented = Segmented {
            lists: lists.iter().map(|l| l.value).collect(),
            rows: input("rows", caps.rows),
            order: input("order", caps.order),
            chunk_starts: input("chunk_starts", caps.chunks + 1),
            row_chunks: input("row_chunks", caps.rows + 1),
            counts: input("counts", 4),
        };
        self.inner.borrow_mut().segments.insert(table.value, segmented);
    }

    /// Declares that `other`, of as many rows as `table`, is gathered from by lists that `table`'s segments hold. Its row
    /// gradient has the rows of all lists, those that only `table` is gathered from with zeros.
    pub fn segments_as<'g>(&'g self, table: Var<'g>, other: Var<'g>) {
        assert_eq!(table.shape()[0], other.shape()[0], "tables of one list of indices");
        let mut inner = self.inner.borrow_mut();
        let segmented = inner.segments.get(&table.value).expect("segments of the table are declared").clone();
        inner.segments.insert(other.value, segmented);
    }

    pub fn nodes(&self) -> usize {
        self.inner.borrow().nodes.len()
    }

    pub(crate) fn var(&self, value: Value) -> Var<'_> {
        Var { graph: self, value }
    }
}

impl Inner {
    pub fn spec(&self, v: Value) -> &Spec {
        &self.nodes[v.node].outputs.values[v.output]
    }
}

impl<'g> Var<'g> {
    pub fn shape(&self) -> Shape {
        self.graph.inner.borrow().spec(self.value).shape.clone()
    }

    pub fn dtype(&self) -> DType {
        self.graph.inner.borrow().spec(self.value).dtype
    }

    pub fn graph(&self) -> &'g Graph {
        self.graph
    }
}
