//! The kernels: for each, a shape rule, a gradient rule, a CPU twin and its GPU launches.
//!
//! Adding one takes three files and one line: `shaders/NAME.wgsl`, `src/kernels/NAME.rs` with `impl Op`,
//! `kernels-tests/cases/NAME.rs`, and NAME in [`SHADERS`].

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

pub use crate::graph::launch;
pub use crate::graph::{
    Args, Caps, Cooperative, Cost, Grads, Grid, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split, Which,
};
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
