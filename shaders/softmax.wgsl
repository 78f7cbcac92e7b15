// Softmax over an axis of n, with `inner` elements after it; a slice (o, i) is one softmax.
//   y[o, c, i] = exp(x[o, c, i] - m) / sum_k exp(x[o, k, i] - m),   m = max_k x[o, k, i], over the kept k
//   dx = y (dy - sum_k y dy)
// x, y, dy, dx: [outer, n, inner]. keep, 0 = masked: MASK 1: [outer, n], MASK 2: [outer, n, inner], MASK 0: none (the
// binding stands for x, and is not read). A slice with nothing kept gives zeros.
// *_columns: one invocation a slice; neighbours read neighbours where inner > 1. *_slices: one workgroup a slice, for few
// or contiguous long ones; WG * 4 bytes of workgroup memory. 3 reads and 1 write of x: exp is cheaper than a store and a
// load. The subtracted maximum keeps every exponential at most 1 and their sum at least 1. A NaN that the maximum loses is in
// the sum, and so in every y of its slice; where all that is kept is minus infinity, y is NaN too.
//!import index
//!import reduce
//!import math
//!import sum
struct Params { slices: u32, n: u32, inner: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> keep: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// Element c of slice s.
fn at(s: u32, c: u32) -> u32 {
    return (s / p.inner * p.n + c) * p.inner + s % p.inner;
}

fn kept(s: u32, c: u32) -> bool {
    if MASK == 1u {
        return keep[s / p.inner * p.n + c] != 0u;
    }
    return MASK == 0u || keep[at(s, c)] != 0u;
}

fn exponential(s: u32, c: u32, m: f32) -> f32 {
    if kept(s, c) {
        return exp_or_nan(x[at(s, c)] - m);
    }
    return 0.0;
}

@compute @workgroup_size(WG)
fn forward_columns(grid: Grid, me: Invocation) {
    let s = thread_index(grid, me, WG);
    if s >= p.slices {
        return;
    }
    var m = minus_infinity();
    for (var c = 0u; c < p.n; c++) {
        if kept(s, c) {
            m = max(m, x[at(s, c)]);
        }
    }
    var z = Sum();
    for (var c = 0u; c < p.n; c++) {
        add(&z, exponential(s, c, m));
    }
    let scale = reciprocal(total(z));
    for (var c = 0u; c < p.n; c++) {
        y[at(s, c)] = exponential(s, c, m) * scale;
    }
}

@compute @workgroup_size(WG)
fn forward_slices(grid: Grid, me: Invocation) {
    let s = group_index(grid);
    if s >= p.slices {
        return;
    }
    let local = local_index(me, WG);
    var m = minus_infinity();
    for (var c = local; c < p.n; c += WG) {
        if kept(s, c) {
            m = max(m, x[at(s, c)]);
        }
    }
    m = max_of_group(m, local);
    var z = Sum();
    for (var c = local; c < p.n; c += WG) {
        add(&z, exponential(s, c, m));
    }
    let scale = reciprocal(sum_of_group(total(z), local));
    for (var c = local; c < p.n; c += WG) {
        y[at(s, c)] = exponential(s, c, m) * scale;
    }
}

@group(0) @binding(3) var<storage, read> probabilities: array<f32>;
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

@compute @workgroup_size(WG)
fn backward_columns(grid: Grid, me: Invocation) {
    let s = thread_index(grid, me, WG);
    if s >= p.slices {
        return;
    }
    var products = Sum();
    for (var c = 0u; c < p.n; c++) {
        add(&products, probabilities[at(s, c)] * dy[at(s, c)]);
    }
    let dot = total(products);
    for (var c = 0u; c < p.n; c++) {
        dx[at(s, c)] = probabilities[at(s, c)] * (dy[at(s, c)] - dot);
    }
}

@compute @workgroup_size(WG)
fn backward_slices(grid: Grid, me: Invocation) {
    let s = group_index(grid);
    if s >= p.slices {
        return;
    }
    let local = local_index(me, WG);
    var products = Sum();
    for (var c = local; c < p.n; c += WG) {
        add(&products, probabilities[at(s, c)] * dy[at(s, c)]);
    }
    let dot = sum_of_group(total(products), local);
    for (var c = local; c < p.n; c += WG) {
        dx[at(s, c)] = probabilities[at(s, c)] * (dy[at(s, c)] - dot);
    }
}
