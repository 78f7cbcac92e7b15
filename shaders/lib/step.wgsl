// Words of the `step` input: what changes from step to step. src/graph/step.rs is its twin.

const STEP_SEED: u32 = 0u;          // two words, low first
const STEP_NUMBER: u32 = 2u;        // two words, low first
const STEP_MICRO: u32 = 4u;
const STEP_LR: u32 = 5u;            // from here on floats
const STEP_CORRECTION1: u32 = 6u;
const STEP_CORRECTION2: u32 = 7u;
