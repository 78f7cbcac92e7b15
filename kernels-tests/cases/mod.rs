//! The cases of every kernel, a file each, named as its shader.

mod adam;
mod attention;
mod bpr;
mod complex_linear;
mod conv;
mod cooperative;
mod elementwise;
mod embedding;
mod fft;
mod filter;
mod gru;
mod layer_norm;
mod logdet;
mod matmul;
mod moments;
mod random;
mod rank;
mod reduce;
mod softmax;
mod softmax_loss;
mod strided;
mod watch;

use crate::harness::{Case, checks};
use libtest_mimic::Trial;

pub use cooperative::cases as cooperative;

type Cases = fn() -> Vec<Case>;

/// By the stem of the shader; elementwise chains have no file, their shaders are generated.
pub const ALL: &[(&str, Cases)] = &[
    ("adam", adam::cases),
    ("attention", attention::cases),
    ("bpr", bpr::cases),
    ("complex_linear", complex_linear::cases),
    ("conv", conv::cases),
    ("cooperative", cooperative::cases),
    ("elementwise", elementwise::cases),
    ("embedding", embedding::cases),
    ("fft", fft::cases),
    ("filter", filter::cases),
    ("gru", gru::cases),
    ("layer_norm", layer_norm::cases),
    ("logdet", logdet::cases),
    ("matmul", matmul::cases),
    ("moments", moments::cases),
    ("random", random::cases),
    ("rank", rank::cases),
    ("reduce", reduce::cases),
    ("softmax", softmax::cases),
    ("softmax_loss", softmax_loss::cases),
    ("strided", strided::cases),
    ("watch", watch::cases),
];

pub fn trials() -> Vec<Trial> {
    let of_cases = ALL.iter().flat_map(|(kernel, cases)| cases().into_iter().flat_map(|c| checks::trials(kernel, c)));
    of_cases
        .chain(attention::trials())
        .chain(fft::trials())
        .chain(layer_norm::trials())
        .chain(random::trials())
        .collect()
}
