// Random numbers from Philox: dropout, and uniform (KIND 0), Gaussian (1) and Gumbel (2) noise.
// Key: (seed, hash of the scope's name). Counter: (element / 4, micro-batch, step): fusing, recomputing and reordering keep
// every number, and each device draws the same words. One invocation four elements, the four words of one call.
// The upper 24 bits of a word are used: k in 0..2^24.
//   uniform k / 2^24, equal to the bit everywhere     Gaussian: Box and Muller's two from (k + 1) / 2^24 and k' / 2^24
//   Gumbel -log(-log u), u = (k + 1/2) / 2^24         dropout y = x scale, or 0 where the uniform is below `rate`
//!import index
//!import math
//!import trigonometry
//!import words
struct Params { n: u32, key: u32, rate: f32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> step: array<u32>;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// (cos, sin) of k / 2^24 turns. The nearest quarter turn is taken off exactly.
fn turned(k: u32) -> vec2<f32> {
    let quarter = (k + 0x200000u) >> 22u;
    return rotated(quarter, f32(i32(k) - i32(quarter << 22u)) * (6.2831853071795865 * ULP));
}

fn gaussian_pair(k: u32, turn: u32) -> vec2<f32> {
    return sqrt(-2.0 * log_positive(f32(k + 1u) * ULP)) * turned(turn);
}

// Near u = 1 the inner logarithm is a series in 1 - u, which f32 holds exactly there; below, f32 holds u exactly.
fn gumbel(k: u32) -> f32 {
    if k >= 8388608u {
        return -log_positive(-log1p_series(-(f32(16777216u - k) - 0.5) * ULP));
    }
    return -log_positive(-log((f32(k) + 0.5) * ULP));
}

@compute @workgroup_size(WG)
fn draw(grid: Grid, me: Invocation) {
    let quad = thread_index(grid, me, WG);
    if quad * 4u >= p.n {
        return;
    }
    let k = words(quad) >> vec4(8u);
    var drawn: vec4<f32>;
    if KIND == 0u {
        drawn = vec4<f32>(k) * ULP;
    } else if KIND == 1u {
        drawn = vec4(gaussian_pair(k.x, k.y), gaussian_pair(k.z, k.w));
    } else {
        drawn = vec4(gumbel(k.x), gumbel(k.y), gumbel(k.z), gumbel(k.w));
    }
    for (var i = 0u; i < min(4u, p.n - quad * 4u); i++) {
        y[quad * 4u + i] = drawn[i];
    }
}

@compute @workgroup_size(WG)
fn dropout(grid: Grid, me: Invocation) {
    let quad = thread_index(grid, me, WG);
    if quad * 4u >= p.n {
        return;
    }
    let uniform_number = vec4<f32>(words(quad) >> vec4(8u)) * ULP;
    for (var i = 0u; i < min(4u, p.n - quad * 4u); i++) {
        y[quad * 4u + i] = select(x[quad * 4u + i] * p.scale, 0.0, uniform_number[i] < p.rate);
    }
}
