// Convolution over time.
//   y[b, t, f] = bias[f] + sum_i sum_c x[b, t + i, c] weight[f, i, c],   t < T - h + 1, i < h
// x, dx: [B, T, d]; weight: [n, h, d]; bias: [n]; y, dy: [B, T - h + 1, n].
// One invocation an output element: neighbours read the same part of x, or neighbours of weight. No workgroup memory.
//!import index
struct Params { batch: u32, t: u32, d: u32, n: u32, h: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// Positions and channels lie in x as they do in a filter: the sum is one over h d neighbours.
@compute @workgroup_size(WG)
fn forward(grid: Grid, me: Invocation) {
    let i = thread_index(grid, me, WG);
    let places = p.t - p.h + 1u;
    if i >= p.batch * places * p.n {
        return;
    }
    let f = i % p.n;
    let place = i / p.n;
    let start = (place / places * p.t + place % places) * p.d;
    let len = p.h * p.d;
    var sum = bias[f];
    for (var j = 0u; j < len; j++) {
        sum += x[start + j] * weight[f * len + j];
    }
    y[i] = sum;
}

@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

// dx[b, s, c] = sum_i sum_f dy[b, s - i, f] weight[f, i, c], over the i for which s - i is a position of y.
@compute @workgroup_size(WG)
fn backward(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e >= p.batch * p.t * p.d {
        return;
    }
    let places = p.t - p.h + 1u;
    let c = e % p.d;
    let s = e / p.d % p.t;
    let first = e / p.d / p.t * places;
    var sum = 0.0;
    for (var i = max(s, places - 1u) - (places - 1u); i < min(p.h, s + 1u); i++) {
        let start = (first + s - i) * p.n;
        for (var f = 0u; f < p.n; f++) {
            sum += dy[start + f] * weight[(f * p.h + i) * p.d + c];
        }
    }
    dx[e] = sum;
}
