//! The kernels: for each, a shape rule, a gradient rule, a CPU twin and its GPU launches.
//!
//! Adding one takes three files and one line: `shaders/NAME.wgsl`, `src/kernels/NAME.rs` with `impl Op` and `examples`,
//! `kernels-tests/cases/NAME.rs`, and NAME in the list below. CONTRIBUTING.md goes through it.

pub(crate) mod fast;
mod grad;
pub(crate) mod lanes;
mod lower;
mod panel;
pub(crate) mod parallel;
pub mod real;
pub mod source;
pub(crate) mod sums;
mod var;

mod broadcast;
pub mod example;
pub mod fourier;

pub use crate::graph::launch;
pub use crate::graph::{
    Args, Caps, Cooperative, Cost, Grads, Grid, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split, Which,
};
use example::{Example, Scale};
pub use real::Real;

/// Calls the macro `each` with the name of every kernel, here in the one list of them that there is: first those with a shader in
/// `shaders/`, then those whose shaders are generated.
#[doc(hidden)]
#[macro_export]
macro_rules! for_each_kernel {
    ($each:ident) => {
        $each! {
            adam
            attention
            bpr
            complex_linear
            conv
            cooperative
            embedding
            experts
            fft
            filter
            gru
            hash
            interest_scores
            layer_norm
            logdet
            matmul
            min_norm
            moments
            policy_scores
            random
            rank
            reduce
            rollout
            softmax
            softmax_loss
            strided
            watch
            ;
            elementwise
        }
    };
}

/// A kernel, by the name of its files.
pub struct Kernel {
    pub name: &'static str,
    /// None: it is generated.
    pub shader: Option<&'static str>,
    pub examples: fn(Scale) -> Vec<Example>,
}

macro_rules! kernels {
    ($($name:ident)* ; $($generated:ident)*) => {
        $(pub mod $name;)*
        $(pub mod $generated;)*

        /// Every kernel. `shaders/lib` holds what the shaders import.
        pub const KERNELS: &[Kernel] = &[
            $(Kernel {
                name: stringify!($name),
                shader: Some(include_str!(concat!("../../shaders/", stringify!($name), ".wgsl"))),
                examples: $name::examples,
            },)*
            $(Kernel { name: stringify!($generated), shader: None, examples: $generated::examples },)*
        ];
    };
}
for_each_kernel!(kernels);

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
