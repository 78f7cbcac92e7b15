//! The kernels: for each, a shape rule, a gradient rule, a CPU twin and its GPU launches.
//!
//! Adding one takes three files and one line: `shaders/NAME.wgsl`, `src/kernels/NAME.rs` with `impl Op`,
//! `kernels-tests/cases/NAME.rs`, and NAME in [`SHADERS`].

use crate::error::{Error, Result};
use crate::graph::Var;
use crate::tensor::{DType, Shape, Spec};
use std::fmt::Debug;
use std::sync::Arc;

pub mod args;
pub(crate) mod fast;
pub(crate) mod lanes;
pub mod launch;
mod panel;
pub mod real;
pub mod source;
pub(crate) mod sums;

pub mod adam;
pub mod attention;
pub mod bpr;
mod broadcast;
pub mod complex_linear;
pub mod conv;
pub mod elementwise;
pub mod embedding;
pub mod fft;
pub mod filter;
pub mod fourier;
pub mod gru;
pub mod layer_norm;
pub mod logdet;
pub mod matmul;
pub mod moments;
pub mod random;
pub mod rank;
pub mod reduce;
pub mod softmax;
pub mod softmax_loss;
pub mod strided;
pub mod watch;

pub use args::Args;
pub use launch::{Caps, Cooperative, Grid, Launch, OperandRef};
pub use real::Real;

macro_rules! shaders {
    ($($name:literal),* $(,)?) => {
        /// Every shader file, by stem, with its text. `shaders/lib` holds what they import.
        pub const SHADERS: &[(&str, &str)] = &[$(($name, include_str!(concat!("../../shaders/", $name, ".wgsl")))),*];
    };
}
shaders![
    "adam",
    "attention",
    "bpr",
    "complex_linear",
    "conv",
    "cooperative",
    "embedding",
    "fft",
    "filter",
    "gru",
    "layer_norm",
    "logdet",
    "matmul",
    "moments",
    "random",
    "rank",
    "reduce",
    "softmax",
    "softmax_loss",
    "strided",
    "watch",
];

/// Text that shaders prepend with `//!import NAME`, by name.
pub const SHADER_LIBRARY: &[(&str, &str)] = &[
    ("fourier", include_str!("../../shaders/lib/fourier.wgsl")),
    ("index", include_str!("../../shaders/lib/index.wgsl")),
    ("math", include_str!("../../shaders/lib/math.wgsl")),
    ("philox", include_str!("../../shaders/lib/philox.wgsl")),
    ("product", include_str!("../../shaders/lib/product.wgsl")),
    ("reduce", include_str!("../../shaders/lib/reduce.wgsl")),
    ("step", include_str!("../../shaders/lib/step.wgsl")),
    ("sum", include_str!("../../shaders/lib/sum.wgsl")),
    ("trigonometry", include_str!("../../shaders/lib/trigonometry.wgsl")),
    ("words", include_str!("../../shaders/lib/words.wgsl")),
];

/// One operation: a node's kind. Immutable; all that varies per step comes in through inputs.
pub trait Op: Debug + Send + Sync + 'static {
    /// The kernel's name, for errors and profiles: `softmax`, `softmax backward`.
    fn name(&self) -> &'static str;

    /// Output (and scratch) shapes and types, or an error that names the shapes it got.
    fn infer(&self, x: &Inputs) -> Result<Outputs>;

    /// Adds the nodes of this op's gradient and says which go to which input. An op that has none says so by
    /// [`Grads::not_differentiable`]: reaching that in a backward pass is an error, never a silent zero.
    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>>;

    /// The twin: plain code that reads like the shader.
    fn cpu_f32(&self, a: &Args<f32>);
    fn cpu_f64(&self, a: &Args<f64>);

    /// A faster f32 form, judged against the twin in f64 by the same harness. False: there is none for these shapes.
    fn cpu_fast(&self, _a: &Args<f32>) -> bool {
        false
    }

    /// What to launch on a GPU, in order.
    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>>;

    /// Global names of inputs, outputs and scratch as the shader spells them, in order; a launch binds by name.
    fn operands(&self) -> Operands;

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
        let bytes = s.inputs.iter().chain(s.outputs).map(|x| x.bytes() as u64).sum();
        Cost { bytes, flops: s.outputs.iter().map(|x| x.shape.elements() as u64).sum() }
    }

    /// How this op falls into parts that do not need one another, if it does: see [`Split`].
    fn split(&self, _s: &Shapes) -> Option<Split> {
        None
    }

    /// On a CPU: a matrix among the inputs that this op's parts had better find transposed, and the op that takes it so.
    fn with_transposed(&self, _s: &Shapes) -> Option<(usize, Arc<dyn Op>)> {
        None
    }

    /// For passes that look inside an op (the fusing of elementwise chains).
    fn as_chain(&self) -> Option<&elementwise::Chain> {
        None
    }

    /// Outputs that lose what they are for where they are stored as f16: log-sum-exps, statistics, gradients that no loss scale
    /// has reached.
    fn exact_outputs(&self) -> &[usize] {
        &[]
    }

    /// For the one op whose gradient is rows of a table.
    fn is_gather(&self) -> bool {
        false
    }
}

/// An op that falls into parts along the leading axis of its operands: run on a range of the parts, with operands cut
/// accordingly, it gives that range of its outputs. The CPU device runs runs of such nodes tile by tile
/// ([`crate::graph::strips`]), so that what they hand to one another stays in the cache.
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

    /// Only for outputs so small that a copy for each tile costs nothing.
    pub fn sum(parts: usize, inputs: u32, output: &Shape) -> Option<Split> {
        (output.elements() <= 1 << 16).then_some(Split { parts, inputs, sums: true })
    }
}

/// Gives an `impl Op` its two CPU methods from one generic `fn twin<T: Real>(&self, a: &Args<T>)`.
#[macro_export]
macro_rules! twin {
    () => {
        fn cpu_f32(&self, a: &$crate::kernels::Args<f32>) {
            self.twin(a)
        }
        fn cpu_f64(&self, a: &$crate::kernels::Args<f64>) {
            self.twin(a)
        }
    };
}

/// What a shader calls the operands of an op.
#[derive(Clone, Copy, Debug, Default)]
pub struct Operands {
    pub inputs: &'static [&'static str],
    pub outputs: &'static [&'static str],
    pub scratch: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub bytes: u64,
    pub flops: u64,
}

/// The inputs of a node while its output shapes are worked out, with the checks that shape rules share.
pub struct Inputs<'a> {
    pub op: &'a str,
    pub specs: &'a [Spec],
}

impl Inputs<'_> {
    pub fn shape(&self, i: usize) -> &Shape {
        &self.specs[i].shape
    }

    pub fn len(&self) -> usize {
        self.specs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// An error that names all input shapes.
    pub fn fail<T>(&self, what: impl std::fmt::Display) -> Result<T> {
        let shapes: Vec<String> = self.specs.iter().map(|s| s.shape.to_string()).collect();
        Err(Error::shape(self.op, format!("{what} (inputs: {})", shapes.join(", "))))
    }

    pub fn count(&self, n: usize) -> Result<()> {
        if self.len() == n { Ok(()) } else { self.fail(format!("takes {n} inputs, not {}", self.len())) }
    }

    pub fn dtype(&self, i: usize, want: DType) -> Result<()> {
        if self.specs[i].dtype == want {
            Ok(())
        } else {
            self.fail(format!("input {i} is {:?}, not {want:?}", self.specs[i].dtype))
        }
    }

    pub fn rank(&self, i: usize, want: usize) -> Result<()> {
        if self.shape(i).len() == want { Ok(()) } else { self.fail(format!("input {i} must have {want} axes")) }
    }

    pub fn is_shape(&self, i: usize, want: &[usize]) -> Result<()> {
        if self.shape(i)[..] == *want { Ok(()) } else { self.fail(format!("input {i} must be {want:?}")) }
    }

    pub fn axis(&self, i: usize, axis: usize) -> Result<()> {
        if axis < self.shape(i).len() { Ok(()) } else { self.fail(format!("input {i} has no axis {axis}")) }
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

/// Shapes of a node's operands, for launches and costs.
#[derive(Clone, Copy)]
pub struct Shapes<'a> {
    pub inputs: &'a [Spec],
    pub outputs: &'a [Spec],
    pub scratch: &'a [Spec],
}

impl Shapes<'_> {
    pub fn input(&self, i: usize) -> &Shape {
        &self.inputs[i].shape
    }

    pub fn output(&self, i: usize) -> &Shape {
        &self.outputs[i].shape
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
}

impl<'g> NodeView<'g> {
    /// The gradient of output `i`, for ops with a single output or where others carry none.
    pub fn dy(&self, i: usize) -> Var<'g> {
        self.grads[i].expect("the gradient pass calls a rule only with a gradient")
    }
}

/// What a gradient rule returns: a gradient for some inputs.
pub struct Grads<'g> {
    pub to: Vec<(usize, Var<'g>)>,
    pub(crate) refused: bool,
}

impl<'g> Grads<'g> {
    pub fn to(list: impl Into<Vec<(usize, Var<'g>)>>) -> Grads<'g> {
        Grads { to: list.into(), refused: false }
    }

    /// No gradient flows on, by design (`stop_gradient`, integer outputs).
    pub fn none() -> Grads<'g> {
        Grads::to([])
    }

    /// There is no gradient rule: the backward pass fails with the op's name.
    pub fn not_differentiable() -> Grads<'g> {
        Grads { to: vec![], refused: true }
    }
}
