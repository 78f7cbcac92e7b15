//! What changes per step, in one small input tensor: `shaders/lib/step.wgsl` is its twin.

use crate::tensor::Tensor;

/// The words of the `step` input. Everything else that a launch is given is fixed by the plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// Seed of the run's random numbers.
    pub seed: u64,
    /// Number of the step in the run, from 0: with the micro-batch, the counter of the random numbers.
    pub step: u64,
    pub micro: u32,
    pub lr: f32,
    /// 1 / (1 - beta1^t) and 1 / (1 - beta2^t) at update t, worked out by the host in f64.
    pub correction1: f32,
    pub correction2: f32,
}

impl Step {
    pub const NAME: &'static str = "step";
    pub const WORDS: usize = 8;
    pub const SEED: usize = 0;
    pub const STEP: usize = 2;
    pub const MICRO: usize = 4;
    pub const LR: usize = 5;
    pub const CORRECTION1: usize = 6;
    pub const CORRECTION2: usize = 7;

    /// Step `step` (from 0) of a run: Adam's bias corrections are those of update `step + 1`.
    pub fn at(seed: u64, step: u64, lr: f64, betas: [f64; 2]) -> Step {
        let correction = |b: f64| (1.0 / (1.0 - b.powf((step + 1) as f64))) as f32;
        Step {
            seed,
            step,
            micro: 0,
            lr: lr as f32,
            correction1: correction(betas[0]),
            correction2: correction(betas[1]),
        }
    }

    pub fn words(&self) -> [u32; Step::WORDS] {
        let mut w = [0; Step::WORDS];
        w[Step::SEED] = self.seed as u32;
        w[Step::SEED + 1] = (self.seed >> 32) as u32;
        w[Step::STEP] = self.step as u32;
        w[Step::STEP + 1] = (self.step >> 32) as u32;
        w[Step::MICRO] = self.micro;
        w[Step::LR] = self.lr.to_bits();
        w[Step::CORRECTION1] = self.correction1.to_bits();
        w[Step::CORRECTION2] = self.correction2.to_bits();
        w
    }

    pub fn tensor(&self) -> Tensor {
        Tensor::u32([Step::WORDS], self.words().to_vec())
    }

    /// Word `i` of the tensor, as the float it holds.
    pub fn float(words: &[u32], i: usize) -> f64 {
        f32::from_bits(words[i]) as f64
    }
}
