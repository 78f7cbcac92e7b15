// Sum (KIND 0), mean (1) or maximum (2) over an axis of n, and the sum of squares that gradient clipping needs.
//   y[o, i] = reduce_c x[o, c, i]
// x: [outer, n, inner], y: [outer, inner]. The maximum is NaN where an element is, and so is its gradient.
// `columns`: one invocation an output; neighbours read neighbours where inner > 1. `slices`: one workgroup an output, for
// inner = 1; WG * 4 bytes of workgroup memory. Few outputs of a long axis (a bias gradient, a loss): `parts` reduces each
// to `chunks` partial values, chunk q taking c = q, q + chunks, ..., so that neighbours read neighbours even for inner = 1;
// once more where those are many; `join` reduces the last in order: the same bits every time.
//!import index
//!import reduce
//!import math
//!import sum
struct Params { outer: u32, n: u32, inner: u32, chunks: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>; // [outer, chunks, inner]

// What an invocation has reduced so far; a maximum is kept in of_1, from an element on that is folded again.
fn start(first: f32) -> Sum {
    return Sum(0u, select(0.0, first, KIND == 2u), 0.0, 0.0, 0.0);
}

fn fold(so_far: ptr<function, Sum>, value: f32) {
    if KIND == 2u {
        (*so_far).of_1 = max_or_nan((*so_far).of_1, value);
    } else {
        add(so_far, value);
    }
}

fn reduced(so_far: Sum) -> f32 {
    if KIND == 2u {
        return so_far.of_1;
    }
    return total(so_far);
}

fn finish(value: f32) -> f32 {
    return select(value, value / f32(p.n), KIND == 1u);
}

@compute @workgroup_size(WG)
fn columns(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e >= p.outer * p.inner {
        return;
    }
    let first = e / p.inner * p.n * p.inner + e % p.inner;
    var so_far = start(x[first]);
    for (var c = 0u; c < p.n; c++) {
        fold(&so_far, x[first + c * p.inner]);
    }
    y[e] = finish(reduced(so_far));
}

@compute @workgroup_size(WG)
fn slices(grid: Grid, me: Invocation) {
    let o = group_index(grid);
    if o >= p.outer {
        return;
    }
    let local = local_index(me, WG);
    var so_far = start(x[o * p.n]);
    for (var c = local; c < p.n; c += WG) {
        fold(&so_far, x[o * p.n + c]);
    }
    var value = reduced(so_far);
    if KIND == 2u {
        value = max_of_group(value, local);
    } else {
        value = sum_of_group(value, local);
    }
    if local == 0u {
        y[o] = finish(value);
    }
}

@compute @workgroup_size(WG)
fn parts(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e >= p.outer * p.chunks * p.inner {
        return;
    }
    let i = e % p.inner;
    let chunk = e / p.inner % p.chunks;
    let o = e / p.inner / p.chunks;
    var so_far = start(x[(o * p.n + chunk) * p.inner + i]);
    for (var c = chunk; c < p.n; c += p.chunks) {
        fold(&so_far, x[(o * p.n + c) * p.inner + i]);
    }
    partial[e] = reduced(so_far);
}

@compute @workgroup_size(WG)
fn join(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e >= p.outer * p.inner {
        return;
    }
    let first = e / p.inner * p.chunks * p.inner + e % p.inner;
    var so_far = start(partial[first]);
    for (var q = 0u; q < p.chunks; q++) {
        fold(&so_far, partial[first + q * p.inner]);
    }
    y[e] = finish(reduced(so_far));
}

@group(0) @binding(3) var<storage, read> largest: array<f32>; // [outer, inner]: the maximum
@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

// dx = dy at the first element that equals the maximum, 0 elsewhere; NaN where that is. One invocation a column.
@compute @workgroup_size(WG)
fn max_backward(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e >= p.outer * p.inner {
        return;
    }
    let first = e / p.inner * p.n * p.inner + e % p.inner;
    var found = false;
    for (var c = 0u; c < p.n; c++) {
        let here = !found && x[first + c * p.inner] == largest[e];
        dx[first + c * p.inner] = keep_nan(largest[e], select(0.0, dy[e], here));
        found = found || here;
    }
}

@group(0) @binding(6) var<storage, read> counts: array<u32>;
@group(0) @binding(7) var<storage, read_write> sum_of_squares: array<f32>;

// sum_of_squares = sum x^2 over the n elements of x or, where COUNTED (else `counts` stands for x, and is not read), over its first
// counts[0] rows of `inner`. `squares` leaves a sum for each of `chunks` workgroups, `total_squares` adds them.
@compute @workgroup_size(WG)
fn squares(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    if g >= p.chunks {
        return;
    }
    let local = local_index(me, WG);
    var n = p.n;
    if COUNTED == 1u {
        n = counts[0] * p.inner;
    }
    var squared = Sum();
    for (var i = g * WG + local; i < n; i += p.chunks * WG) {
        add(&squared, x[i] * x[i]);
    }
    let sum = sum_of_group(total(squared), local);
    if local == 0u {
        partial[g] = sum;
    }
}

@compute @workgroup_size(WG)
fn total_squares(grid: Grid, me: Invocation) {
    let local = local_index(me, WG);
    var sum = 0.0;
    for (var q = local; q < p.chunks; q += WG) {
        sum += partial[q];
    }
    sum = sum_of_group(sum, local);
    if local == 0u {
        sum_of_squares[0] = sum;
    }
}
