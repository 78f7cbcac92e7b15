//! `cargo test --test kernels [FILTER]`: every kernel on every device, the graph, the shaders, the models, the reference
//! values.

mod cases;
mod empty;
mod finds;
mod golden;
mod graph;
mod harness;
mod models;
mod shaders;
mod sums;

fn main() {
    let arguments = libtest_mimic::Arguments::from_args();
    let all = [
        cases::trials(),
        empty::trials(),
        sums::trials(),
        graph::trials(),
        shaders::trials(),
        finds::trials(),
        golden::trials(),
        models::trials(),
    ];
    let trials = all.into_iter().flatten().collect();
    libtest_mimic::run(&arguments, trials).exit();
}
