//! The cases of every kernel, a file each, named as its shader.

mod adam;
mod bpr;
mod elementwise;
mod embedding;
mod gru;
mod matmul;
mod moments;
mod random;
mod rank;
mod reduce;
mod softmax;
mod strided;

use crate::harness::{Case, checks};
use libtest_mimic::Trial;

type Cases = fn() -> Vec<Case>;

/// By the stem of the shader; elementwise chains have no file, their shaders are generated.
pub const ALL: &[(&str, Cases)] = &[
    ("adam", adam::cases),
    ("bpr", bpr::cases),
    ("elementwise", elementwise::cases),
    ("embedding", embedding::cases),
    ("gru", gru::cases),
    ("matmul", matmul::cases),
    ("moments", moments::cases),
    ("random", random::cases),
    ("rank", rank::cases),
    ("reduce", reduce::cases),
    ("softmax", softmax::cases),
    ("strided", strided::cases),
];

pub fn trials() -> Vec<Trial> {
    let of_cases = ALL.iter().flat_map(|(kernel, cases)| cases().into_iter().flat_map(|c| checks::trials(kernel, c)));
    of_cases.chain(random::trials()).collect()
}
