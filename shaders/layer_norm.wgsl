// Layer norm over the last axis (Ba, Kiros and Hinton, 2016) and, where RMS, RMS norm (Zhang and Sennrich, 2019); before it,
// where a residual r is given, the sum with r after dropout.
//   s = x + f r,   h = (s - mean) / std,   y = gain h + bias,   std = sqrt(mean of (s - mean)^2 + eps)
//   ds = (g - mean of g - h mean of (g h)) / std + dsum, g = gain dy,   dr = f ds,   dgain = sum of dy h,   dbias = sum of dy
// RMS: mean and mean of g are 0, and there is no bias. f: the factors of dropout where DROPOUT, else 1.
// x, r, s, y and their gradients: [rows, D]. gain, bias: [D]. stats: [rows, 2], mean and 1 / std.
// SHARERS invocations share a row, WG / SHARERS rows a workgroup; each invocation keeps its EACH elements in registers, so that every operand
// is read once. The variance is taken in a second pass over them, which also finds what rounding took from the mean (Chan,
// Golub and LeVeque, 1983): E[s^2] - E[s]^2 would lose every digit of a small variance, and 1 / std would show the rest.
// WG * 8 bytes of workgroup memory.
//!import index
//!import math
//!import sum
//!import words
struct Params { rows: u32, key: u32, chunks: u32, eps: f32, rate: f32, kept_scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> gain: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> r: array<f32>;
@group(0) @binding(4) var<storage, read> step: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> s: array<f32>;
@group(0) @binding(7) var<storage, read_write> stats: array<f32>;

const ROWS: u32 = WG / SHARERS;
const EACH: u32 = 4u * ((D + 4u * SHARERS - 1u) / (4u * SHARERS));

// An invocation's elements of its row: s and, going back, h; g; 0 past the row's end.
var<private> own: array<f32, EACH>;
var<private> own_slope: array<f32, EACH>;

// Column of the n-th of them: four neighbours at a time, which share the words of dropout.
fn column(n: u32, part: u32) -> u32 {
    return (n / 4u * SHARERS + part) * 4u + n % 4u;
}

var<workgroup> row_terms: array<vec2<f32>, WG>;

// Two sums over the invocations that share a row, by a tree, so in a fixed order. All invocations of the workgroup must call it.
fn sum_row(values: vec2<f32>, local: u32) -> vec2<f32> {
    row_terms[local] = values;
    workgroupBarrier();
    for (var half = SHARERS / 2u; half > 0u; half /= 2u) {
        if local % SHARERS < half {
            row_terms[local] += row_terms[local + half];
        }
        workgroupBarrier();
    }
    let totals = row_terms[local - local % SHARERS];
    workgroupBarrier(); // before the next sums are written
    return totals;
}

var<private> drawn_quad: u32 = 0xffffffffu; // no quad of any tensor
var<private> drawn: vec4<u32>;

fn factor(element: u32) -> f32 {
    if DROPOUT == 0u {
        return 1.0;
    }
    if element / 4u != drawn_quad {
        drawn_quad = element / 4u;
        drawn = words(drawn_quad);
    }
    return select(p.kept_scale, 0.0, f32(drawn[element % 4u] >> 8u) * ULP < p.rate);
}

// y and stats of a row from `own`, which becomes its distance from the mean. Rows past the end take part in the sums, and write nothing.
fn normalise(row: u32, local: u32) {
    let part = local % SHARERS;
    var mean = 0.0;
    if RMS == 0u {
        var sum = 0.0;
        for (var n = 0u; n < EACH; n++) {
            sum += own[n];
        }
        mean = sum_row(vec2(sum, 0.0), local).x / f32(D);
    }
    var sums = vec2<f32>();
    for (var n = 0u; n < EACH; n++) {
        let apart = select(0.0, own[n] - mean, column(n, part) < D);
        own[n] = apart;
        sums += vec2(apart, apart * apart);
    }
    sums = sum_row(sums, local) / f32(D);
    // What rounding took from the mean is taken from the differences: added to a large mean it would be rounded away.
    var shift = 0.0;
    var variance = sums.y;
    if RMS == 0u {
        shift = sums.x;
        mean += shift;
        variance -= shift * shift;
    }
    let inverse = 1.0 / sqrt(finite_or_nan(variance + p.eps)); // else a row that overflows gives bias
    if row >= p.rows {
        return;
    }
    if part == 0u {
        stats[row * 2u] = mean;
        stats[row * 2u + 1u] = inverse;
    }
    for (var n = 0u; n < EACH; n++) {
        let c = column(n, part);
        if c < D {
            var value = (own[n] - shift) * inverse * gain[c];
            if RMS == 0u {
                value += bias[c];
            }
            y[row * D + c] = value;
        }
    }
}

@compute @workgroup_size(WG)
fn forward(grid: Grid, me: Invocation) {
    let first = group_index(grid) * ROWS;
    if first >= p.rows {
        return;
    }
    let local = local_index(me, WG);
    let row = first + local / SHARERS;
    for (var n = 0u; n < EACH; n++) {
        let c = column(n, local % SHARERS);
        if row < p.rows && c < D {
            own[n] = x[row * D + c];
        }
    }
    normalise(row, local);
}

@compute @workgroup_size(WG)
fn forward_residual(grid: Grid, me: Invocation) {
    let first = group_index(grid) * ROWS;
    if first >= p.rows {
        return;
    }
    let local = local_index(me, WG);
    let row = first + local / SHARERS;
    for (var n = 0u; n < EACH; n++) {
        let c = column(n, local % SHARERS);
        if row < p.rows && c < D {
            let e = row * D + c;
            own[n] = x[e] + factor(e) * r[e];
            s[e] = own[n];
        }
    }
    normalise(row, local);
}

@group(0) @binding(8) var<storage, read> given_s: array<f32>;
@group(0) @binding(9) var<storage, read> given_stats: array<f32>;
@group(0) @binding(10) var<storage, read> dy: array<f32>;
@group(0) @binding(11) var<storage, read> dsum: array<f32>;
@group(0) @binding(12) var<storage, read_write> dx: array<f32>;
@group(0) @binding(13) var<storage, read_write> dr: array<f32>;

// Leaves ds, with the gradient that reached the sum itself where DSUM, in `own`.
fn slopes(row: u32, local: u32) {
    let part = local % SHARERS;
    let live = row < p.rows;
    var inverse = 0.0;
    if live {
        inverse = given_stats[row * 2u + 1u];
    }
    var sums = vec2<f32>();
    for (var n = 0u; n < EACH; n++) {
        let c = column(n, part);
        if live && c < D {
            own[n] = (given_s[row * D + c] - given_stats[row * 2u]) * inverse;
            own_slope[n] = gain[c] * dy[row * D + c];
            sums += own_slope[n] * vec2(1.0, own[n]);
        }
    }
    sums = sum_row(sums, local) / f32(D);
    let mean = select(sums.x, 0.0, RMS == 1u);
    for (var n = 0u; n < EACH; n++) {
        let c = column(n, part);
        var ds = inverse * (own_slope[n] - mean - own[n] * sums.y);
        if DSUM == 1u && live && c < D {
            ds += dsum[row * D + c];
        }
        own[n] = ds;
    }
}

@compute @workgroup_size(WG)
fn backward(grid: Grid, me: Invocation) {
    let first = group_index(grid) * ROWS;
    if first >= p.rows {
        return;
    }
    let local = local_index(me, WG);
    let row = first + local / SHARERS;
    slopes(row, local);
    for (var n = 0u; n < EACH; n++) {
        let c = column(n, local % SHARERS);
        if row < p.rows && c < D {
            dx[row * D + c] = own[n];
        }
    }
}

@compute @workgroup_size(WG)
fn backward_dropout(grid: Grid, me: Invocation) {
    let first = group_index(grid) * ROWS;
    if first >= p.rows {
        return;
    }
    let local = local_index(me, WG);
    let row = first + local / SHARERS;
    slopes(row, local);
    for (var n = 0u; n < EACH; n++) {
        let c = column(n, local % SHARERS);
        if row < p.rows && c < D {
            let e = row * D + c;
            dx[e] = own[n];
            dr[e] = factor(e) * own[n];
        }
    }
}

@group(0) @binding(14) var<storage, read_write> partial: array<f32>;   // [chunks, SUMS, D]
@group(0) @binding(15) var<storage, read_write> dparameters: array<f32>; // [SUMS, D]: dgain and, unless RMS, dbias
const SUMS: u32 = 2u - RMS;

// Column sums of the rows chunk, chunk + chunks, ...: one invocation a column of a chunk.
@compute @workgroup_size(WG)
fn parameter_parts(grid: Grid, me: Invocation) {
    let i = thread_index(grid, me, WG);
    if i >= p.chunks * D {
        return;
    }
    let chunk = i / D;
    let c = i % D;
    var dgain = Sum();
    var dbias = Sum();
    for (var row = chunk; row < p.rows; row += p.chunks) {
        let slope = dy[row * D + c];
        add(&dgain, slope * (given_s[row * D + c] - given_stats[row * 2u]) * given_stats[row * 2u + 1u]);
        add(&dbias, slope);
    }
    partial[chunk * SUMS * D + c] = total(dgain);
    if RMS == 0u {
        partial[(chunk * SUMS + 1u) * D + c] = total(dbias);
    }
}

@compute @workgroup_size(WG)
fn parameter_join(grid: Grid, me: Invocation) {
    let i = thread_index(grid, me, WG);
    if i >= SUMS * D {
        return;
    }
    var sum = Sum();
    for (var chunk = 0u; chunk < p.chunks; chunk++) {
        add(&sum, partial[chunk * SUMS * D + i]);
    }
    dparameters[i] = total(sum);
}
