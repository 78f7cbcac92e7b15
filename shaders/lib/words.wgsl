// Random words of a launch, for shaders that declare `step` and whose parameters hold `key`.
// Key: (seed, hash of the scope's name). Counter: (element / 4, micro-batch, step). src/kernels/random.rs is its twin.
//!import philox
//!import step

// The upper 24 bits of a word make a number in [0, 1).
const ULP: f32 = 1.0 / 16777216.0;

// The words of elements 4 quad, 4 quad + 1, ...
fn words(quad: u32) -> vec4<u32> {
    let high = step[STEP_SEED + 1u];
    let seed = step[STEP_SEED] ^ ((high << 16u) | (high >> 16u));
    return philox(vec2(seed, p.key), vec4(quad, step[STEP_MICRO], step[STEP_NUMBER], step[STEP_NUMBER + 1u]));
}
