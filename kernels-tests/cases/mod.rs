//! The cases of every kernel, a file each, named as the kernel.

use crate::harness::{Case, checks};
use libtest_mimic::Trial;
use wgrec::kernels::KERNELS;
use wgrec::kernels::example::Scale;

type Cases = fn() -> Vec<Case>;

macro_rules! cases {
    ($($name:ident)* ; $($generated:ident)*) => {
        $(pub mod $name;)*
        $(pub mod $generated;)*

        /// By the name of the kernel.
        pub const ALL: &[(&str, Cases)] =
            &[$((stringify!($name), $name::cases),)* $((stringify!($generated), $generated::cases),)*];
    };
}
wgrec::for_each_kernel!(cases);

pub fn trials() -> Vec<Trial> {
    let of_cases = ALL.iter().flat_map(|(kernel, cases)| cases().into_iter().flat_map(|c| checks::trials(kernel, c)));
    let of_examples = KERNELS.iter().flat_map(|kernel| {
        let examples = (kernel.examples)(Scale::Quick);
        examples.iter().map(Case::of_example).flat_map(|c| checks::trials(kernel.name, c)).collect::<Vec<_>>()
    });
    of_cases
        .chain(of_examples)
        .chain(attention::trials())
        .chain(fft::trials())
        .chain(layer_norm::trials())
        .chain(random::trials())
        .collect()
}
