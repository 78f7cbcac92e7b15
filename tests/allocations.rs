//! What a training step allocates once it runs. It is not nothing: kernels take scratch for their blocks. The numbers are the
//! same for any number of threads; they may not grow by much unseen.

mod sized;

use sized::{allocations, sized};
use wgrec::device::Device;
use wgrec::models::LossKind;
use wgrec::train::step::TrainStep;

const STEPS: usize = 20;

// One test: what other threads allocate would be counted too.
#[test]
fn a_step_on_the_cpu_allocates_no_more_than_it_did() {
    let (device, _) = Device::open("cpu").unwrap();
    // Measured: 6,754 of 16.3 MB, and 9,231 of 12.8 MB.
    for (kind, most) in [(LossKind::Softmax, 8000), (LossKind::SampledSoftmax, 11_000)] {
        let step = sized(&device, 2000, 32, 50, kind).unwrap();
        let mut run = TrainStep::new(&device, &step.store, &step.model, &step.config).unwrap();
        let mut steps = |first: usize| {
            for number in first..first + STEPS {
                run.run(&step.batch, number as u64, 1, 1e-3).unwrap();
            }
        };
        // Threads get their scratch when they first work.
        steps(0);
        let before = allocations();
        steps(STEPS);
        let [count, bytes] = [0, 1].map(|i| (allocations()[i] - before[i]) / STEPS);
        println!("{kind}: {count} allocations of {bytes} bytes a step");
        assert!(count <= most, "{kind}: {count} allocations a step");
        assert!(bytes <= 20_000_000, "{kind}: {bytes} bytes a step");
    }
}
