//! `cargo test --test kernels [FILTER]`: every kernel on every device, the graph, the shaders, the models, the reference
//! values. With `--pipelines` or `--shaders` no tests: see [`pipelines`].

mod cases;
mod edges;
mod empty;
mod finds;
mod golden;
mod golden_ant;
mod golden_encoders;
mod golden_interests;
mod golden_opponents;
mod golden_pcl;
mod golden_rdrsr;
mod golden_s3rec;
mod golden_tasks;
mod golden_tower;
mod graph;
mod harness;
mod interests;
mod losses;
mod models;
mod pipelines;
mod shaders;
mod sums;

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("--pipelines") => return pipelines::main(std::env::args().skip(2)),
        Some("--shaders") => {
            return pipelines::translations::main(std::env::args().nth(2).unwrap_or_default().as_ref());
        }
        _ => {}
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let all = [
        cases::trials(),
        edges::trials(),
        empty::trials(),
        sums::trials(),
        graph::trials(),
        shaders::trials(),
        finds::trials(),
        losses::trials(),
        golden::trials(),
        models::trials(),
        interests::trials(),
        pipelines::trials(),
    ];
    let trials: Vec<_> = all.into_iter().flatten().collect();
    let filter = arguments.filter.clone();
    let conclusion = libtest_mimic::run(&arguments, trials);
    // Without one, the name of a kernel that is not registered would pass.
    if let Some(filter) = filter.filter(|_| !arguments.list && conclusion.num_filtered_out > 0) {
        let run = conclusion.num_passed + conclusion.num_failed + conclusion.num_ignored + conclusion.num_measured;
        if run == 0 {
            eprintln!("error: no test has {filter:?} in its name; --list shows all");
            return ExitCode::from(2);
        }
    }
    conclusion.exit_code()
}
