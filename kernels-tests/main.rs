//! `cargo test --test kernels [FILTER]`.

mod golden;
mod models;
mod shaders;
mod harness {
    pub mod barriers;
    pub mod devices;
}

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let trials = [golden::trials(), models::trials(), shaders::trials()].into_iter().flatten().collect();
    libtest_mimic::run(&arguments, trials).exit();
}
