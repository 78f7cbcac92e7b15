//! What an op is: a shape rule, a gradient rule, a CPU twin and its GPU launches.

use super::{Args, Caps, Launch, Operands, Var, Which};
use crate::error::{Error, Result};
use crate::tensor::{DType, Shape, Spec};
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

pub use super::operands::Extents;

/// One operation: a node's kind. Immutable; all that varies per step comes in through inputs.
pub trait Op: Any + Debug + Send + Sync {
    /// The kernel's name, for errors and profiles: `softmax`, `softmax backward`.
    fn name(&self) -> &'static str;

    /// Its operands: name, type and shape of each. A launch binds them to the shader's globals of the same names.
    fn operands(&self) -> Operands;

    /// Output (and scratch) shapes and types, or an error. The inputs are as [`Op::operands`] declares them. By default the outputs
    /// are too.
    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        Ok(x.declared())
    }

    /// Adds the nodes of this op's gradient and says which go to which input. By default it has none: reaching that in a
    /// backward pass is an error, never a silent zero.
    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    /// The twin: plain code that reads like the shader.
    fn cpu_f32(&self, a: &Args<f32>);
    fn cpu_f64(&self, a: &Args<f64>);

    /// A faster f32 form, judged against the twin in f64 by the same harness. False: it does not support these shapes.
    fn cpu_fast(&self, _a: &Args<f32>) -> bool {
        false
    }

    /// What to launch on a GPU, in order.
    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>>;

    /// Pairs (output, input): the output is written over the state that the input names.
    fn in_place(&self) -> &[(usize, usize)] {
        &[]
    }

    /// True where output 0 is input 0 under another shape: no launch, no copy.
    fn is_view(&self) -> bool {
        false
    }

    /// Unique bytes moved and floating-point operations. By default: every operand once, one operation an output element.
    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: s.outputs.iter().map(|x| x.shape.elements() as u64).sum() }
    }

    /// How this op falls into parts that do not need one another, if it does: see [`Split`].
    fn split(&self, _s: &Shapes) -> Option<Split> {
        None
    }

    /// On a CPU: the number of an input, a matrix, that is faster to read transposed, and the op that reads it so.
    fn with_transposed(&self, _s: &Shapes) -> Option<(usize, Arc<dyn Op>)> {
        None
    }

    /// Outputs that lose what they are for where they are stored as f16: log-sum-exps, statistics, gradients that no loss scale
    /// has reached.
    fn exact_outputs(&self) -> &[usize] {
        &[]
    }
}

/// An op that falls into parts along the leading axis of its operands: run on a range of the parts, with operands cut
/// accordingly, it gives that range of its outputs. The CPU device runs sequences of such nodes tile by tile
/// ([`super::strips`]), so that what they pass on stays in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// The leading extent of each output (unless `sums`) and of each input in `inputs` is a multiple of this.
    pub parts: usize,
    /// Bit i: input i is cut; the others are read whole.
    pub inputs: u32,
    /// The one output is not cut: it is the sum of what the op gives for each range.
    pub sums: bool,
}

impl Split {
    pub fn rows(parts: usize, inputs: u32) -> Option<Split> {
        Some(Split { parts, inputs, sums: false })
    }
}

/// Gives an `impl Op` its two CPU methods from one generic `fn twin<T: Real>(&self, a: &Args<T>)`.
#[macro_export]
macro_rules! twin {
    () => {
        fn cpu_f32(&self, a: &$crate::graph::Args<f32>) {
            self.twin(a)
        }
        fn cpu_f64(&self, a: &$crate::graph::Args<f64>) {
            self.twin(a)
        }
    };
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub bytes: u64,
    pub flops: u64,
}

/// The output shapes of `op`, called `scope` in errors, for inputs of these types and shapes.
///
/// # Errors
/// Inputs that are not as the op declares them, or that its own rule refuses.
pub fn infer(op: &dyn Op, scope: &str, specs: &[Spec]) -> Result<Outputs> {
    let operands = op.operands();
    let extents = operands.check(scope, specs)?;
    op.infer(&Inputs { op: scope, specs, operands: &operands, extents })
}

/// The inputs of a node while its output shapes are worked out, with the checks that shape rules share.
pub struct Inputs<'a> {
    pub op: &'a str,
    pub specs: &'a [Spec],
    operands: &'a Operands,
    extents: Extents,
}

impl Inputs<'_> {
    /// # Panics
    /// If the op has no such input.
    pub fn spec(&self, input: impl Into<Which>) -> &Spec {
        &self.specs[self.operands.input_number(input).expect("an input that there is")]
    }

    pub fn shape(&self, input: impl Into<Which>) -> &Shape {
        &self.spec(input).shape
    }

    /// The extent of an axis that a pattern names.
    pub fn extent(&self, axis: &str) -> usize {
        self.extents.get(axis)
    }

    /// The outputs as they are declared.
    pub fn declared(&self) -> Outputs {
        Outputs::many(self.operands.outputs(&self.extents))
    }

    pub fn has(&self, input: &'static str) -> bool {
        self.operands.input_number(input).is_some_and(|n| n < self.specs.len())
    }

    pub fn len(&self) -> usize {
        self.specs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// An error that names all inputs and their shapes.
    pub fn fail<T>(&self, what: impl std::fmt::Display) -> Result<T> {
        let names = self.operands.input_names();
        let given = |(i, s): (usize, &Spec)| match names.get(i) {
            Some(name) => format!("{name} {}", s.shape),
            None => s.shape.to_string(),
        };
        let given: Vec<String> = self.specs.iter().enumerate().map(given).collect();
        Err(Error::shape(self.op, format!("{what} (inputs: {})", given.join(", "))))
    }

    pub fn dtype(&self, input: impl Into<Which>, want: DType) -> Result<()> {
        let which = input.into();
        match self.spec(which).dtype {
            found if found == want => Ok(()),
            found => self.fail(format!("{which} is of {found:?}, expected {want:?}")),
        }
    }

    pub fn is_shape(&self, input: impl Into<Which>, want: &[usize]) -> Result<()> {
        let which = input.into();
        if self.shape(which)[..] == *want { Ok(()) } else { self.fail(format!("{which} must be {want:?}")) }
    }

    pub fn axis(&self, input: impl Into<Which>, axis: usize) -> Result<()> {
        let which = input.into();
        if axis < self.shape(which).len() { Ok(()) } else { self.fail(format!("{which} has no axis {axis}")) }
    }
}

/// Shapes and types of what a node makes, and of the scratch it needs while it runs.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    pub values: Vec<Spec>,
    pub scratch: Vec<Spec>,
}

impl Outputs {
    pub fn one(spec: Spec) -> Outputs {
        Outputs { values: vec![spec], scratch: vec![] }
    }

    pub fn many(values: impl Into<Vec<Spec>>) -> Outputs {
        Outputs { values: values.into(), scratch: vec![] }
    }

    pub fn with_scratch(mut self, spec: Spec) -> Outputs {
        self.scratch.push(spec);
        self
    }
}

/// Types and shapes of a node's operands, for launches and costs.
#[derive(Clone, Copy)]
pub struct Shapes<'a> {
    pub inputs: &'a [Spec],
    pub outputs: &'a [Spec],
    pub scratch: &'a [Spec],
    operands: &'a Operands,
}

impl<'a> Shapes<'a> {
    /// `operands` are those of the op that all this is of.
    pub fn new(operands: &'a Operands, inputs: &'a [Spec], outputs: &'a [Spec], scratch: &'a [Spec]) -> Shapes<'a> {
        Shapes { inputs, outputs, scratch, operands }
    }

    /// The type and shape of an input; None where the op has none.
    pub fn get(&self, input: impl Into<Which>) -> Option<&'a Spec> {
        self.inputs.get(self.operands.input_number(input)?)
    }

    /// # Panics
    /// If the op has no such input.
    pub fn spec(&self, input: impl Into<Which>) -> &'a Spec {
        self.get(input).expect("an input that there is")
    }

    /// The shape of an input.
    pub fn input(&self, input: impl Into<Which>) -> &'a Shape {
        &self.spec(input).shape
    }

    /// The shape of an output.
    pub fn output(&self, output: impl Into<Which>) -> &'a Shape {
        &self.outputs[self.operands.output_number(output)].shape
    }

    /// Bytes of all inputs and outputs.
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().chain(self.outputs).map(|x| x.bytes() as u64).sum()
    }

    fn mask<const N: usize>(&self, cut: [&'static str; N]) -> u32 {
        let numbers = cut.into_iter().filter_map(|name| self.operands.input_number(name));
        numbers.filter(|&n| n < self.inputs.len()).map(|n| 1 << n).sum()
    }

    /// A [`Split`] into `parts` of the outputs and of the inputs `cut`.
    pub fn rows<const N: usize>(&self, parts: usize, cut: [&'static str; N]) -> Option<Split> {
        Split::rows(parts, self.mask(cut))
    }

    /// A [`Split`] into `parts` of the inputs `cut`, whose outputs are summed. Only for outputs so small that a copy for each tile
    /// costs nothing.
    pub fn sum<const N: usize>(&self, parts: usize, cut: [&'static str; N]) -> Option<Split> {
        let split = Split { parts, inputs: self.mask(cut), sums: true };
        (self.outputs[0].shape.elements() <= 1 << 16).then_some(split)
    }
}

/// A node seen from its gradient rule.
pub struct NodeView<'g> {
    pub inputs: Vec<Var<'g>>,
    pub outputs: Vec<Var<'g>>,
    /// The gradient that reached each output, if any did; at least one did.
    pub grads: Vec<Option<Var<'g>>>,
    /// Whether a gradient is wanted for each input: rules may skip the rest.
    pub wanted: Vec<bool>,
    pub operands: Operands,
}

impl<'g> NodeView<'g> {
    /// An input; None where the op has none.
    pub fn get(&self, input: impl Into<Which>) -> Option<Var<'g>> {
        self.inputs.get(self.operands.input_number(input)?).copied()
    }

    /// # Panics
    /// If the op has no such input.
    pub fn input(&self, input: impl Into<Which>) -> Var<'g> {
        self.get(input).expect("an input that there is")
    }

    pub fn output(&self, output: impl Into<Which>) -> Var<'g> {
        self.outputs[self.operands.output_number(output)]
    }

    /// Whether a gradient is wanted for an input; false where the op has none.
    pub fn wants(&self, input: impl Into<Which>) -> bool {
        self.operands.input_number(input).is_some_and(|n| self.wanted[n])
    }

    /// The gradient that reached an output, if any did.
    pub fn grad(&self, output: impl Into<Which>) -> Option<Var<'g>> {
        self.grads[self.operands.output_number(output)]
    }

    /// The gradient of an output, for ops with a single output or where others carry none.
    pub fn dy(&self, output: impl Into<Which>) -> Var<'g> {
        self.grad(output).expect("the gradient pass calls a rule only with a gradient")
    }
}

/// What a gradient rule returns: a gradient for some inputs.
pub struct Grads<'g> {
    pub to: Vec<(Which, Var<'g>)>,
    pub(crate) refused: bool,
}

impl<'g> Grads<'g> {
    /// By name or number of the input. What no gradient is wanted for is dropped.
    pub fn to<W: Into<Which>>(list: impl IntoIterator<Item = (W, Var<'g>)>) -> Grads<'g> {
        Grads { to: list.into_iter().map(|(input, dx)| (input.into(), dx)).collect(), refused: false }
    }

    /// No gradient flows on, by design (`stop_gradient`, integer outputs).
    pub fn none() -> Grads<'g> {
        Grads { to: vec![], refused: false }
    }

    /// There is no gradient rule: the backward pass fails with the op's name.
    pub fn not_differentiable() -> Grads<'g> {
        Grads { to: vec![], refused: true }
    }
}
