//! `cargo test --test kernels [FILTER]`.

mod golden;
mod harness {
    pub mod devices;
}

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = golden::trials();
    libtest_mimic::run(&arguments, trials).exit();
}
