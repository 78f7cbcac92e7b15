// Embedding gather, and its gradient by sorted segments: no atomics, the same bits every time.
// All tensors of floats have rows of d = D, a constant, since division by one is cheap; one invocation an element of the output,
// neighbours along d.
//!import index
//!import math
//!import sum
struct Params {
    rows: u32,      // of the table (forward, dense gradients), or of the longest list of them (sums)
    n: u32,         // indices, or chunks
    part0: u32,     // rows of dy0, dy1, dy2: where the next part begins; or items listed for each user; or chunks
    part1: u32,     // ..; or interests of each user
    part2: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> table: array<f32>;     // [rows, d]
@group(0) @binding(1) var<storage, read> indices: array<u32>;   // [n]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;   // [n, d]

// y[i] = table[indices[i]]; zeros for an index past the table.
@compute @workgroup_size(WG)
fn forward(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e >= p.n * D {
        return;
    }
    let row = indices[e / D];
    var value = 0.0;
    if row < p.rows {
        value = table[row * D + e % D];
    }
    y[e] = value;
}

// The gradient rows of all gathers from one table, in two launches over src/tensor/segments.rs:
//   chunk_sums[c] = sum of dy[order[e]], e in chunk_starts[c]..chunk_starts[c + 1], for c < counts[1]
//   values[r] = sum of chunk_sums[c], c in row_chunks[r]..row_chunks[r + 1],        for r < counts[0]
// dy is dy0, dy1, .. one after the other; a part that a node lacks is bound to something else, and `order` never reaches them. A row
// that occurs a thousand times is cut into chunks of 64 entries, so that it does not hold up the rest.
@group(0) @binding(3) var<storage, read> order: array<u32>;
@group(0) @binding(4) var<storage, read> chunk_starts: array<u32>;
@group(0) @binding(5) var<storage, read> row_chunks: array<u32>;
@group(0) @binding(6) var<storage, read> counts: array<u32>;
@group(0) @binding(7) var<storage, read> dy0: array<f32>;
@group(0) @binding(8) var<storage, read> dy1: array<f32>;
@group(0) @binding(9) var<storage, read> dy2: array<f32>;
@group(0) @binding(10) var<storage, read> dy3: array<f32>;
@group(0) @binding(11) var<storage, read_write> chunk_sums: array<f32>;
@group(0) @binding(12) var<storage, read_write> values: array<f32>;

fn gradient(entry: u32, c: u32) -> f32 {
    var row = entry;
    if row < p.part0 {
        return dy0[row * D + c];
    }
    row -= p.part0;
    if row < p.part1 {
        return dy1[row * D + c];
    }
    row -= p.part1;
    if row < p.part2 {
        return dy2[row * D + c];
    }
    return dy3[(row - p.part2) * D + c];
}

@compute @workgroup_size(WG)
fn sum_chunks(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    let chunk = e / D;
    if chunk >= min(p.n, counts[1]) {
        return;
    }
    var sum = 0.0;
    for (var i = chunk_starts[chunk]; i < chunk_starts[chunk + 1u]; i++) {
        sum += gradient(order[i], e % D);
    }
    chunk_sums[e] = sum;
}

@compute @workgroup_size(WG)
fn sum_rows(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    let row = e / D;
    if row >= min(p.rows, counts[0]) {
        return;
    }
    var sum = Sum();
    for (var chunk = row_chunks[row]; chunk < row_chunks[row + 1u]; chunk++) {
        add(&sum, chunk_sums[chunk * D + e % D]);
    }
    values[e] = total(sum);
}

// dtable[r] = sum of dy[i] over i with indices[i] = r: a table of few rows, whose indices no host has sorted. In two launches:
// `small_parts` takes the indices i = chunk, chunk + chunks, .. (`part0` chunks), `small_join` adds the chunks in order.
@group(0) @binding(13) var<storage, read> dy: array<f32>;
@group(0) @binding(14) var<storage, read_write> partial: array<f32>; // [chunks, rows, d]
@group(0) @binding(15) var<storage, read_write> dtable: array<f32>;

@compute @workgroup_size(WG)
fn small_parts(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    let row = e / D % p.rows;
    let chunk = e / D / p.rows;
    if chunk >= p.part0 {
        return;
    }
    var sum = Sum();
    for (var i = chunk; i < p.n; i += p.part0) {
        if indices[i] == row {
            add(&sum, dy[i * D + e % D]);
        }
    }
    partial[e] = total(sum);
}

@compute @workgroup_size(WG)
fn small_join(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e >= p.rows * D {
        return;
    }
    var sum = Sum();
    for (var chunk = 0u; chunk < p.part0; chunk++) {
        add(&sum, partial[chunk * p.rows * D + e]);
    }
    dtable[e] = total(sum);
}

// dense[rows[i]] = row_values[i] for i < counts[0], zeros elsewhere: each row looks itself up among the sorted `rows`.
@group(0) @binding(16) var<storage, read> rows: array<u32>;
@group(0) @binding(17) var<storage, read> row_values: array<f32>;
@group(0) @binding(18) var<storage, read_write> dense: array<f32>;

@compute @workgroup_size(WG)
fn rows_to_dense(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    let row = e / D;
    if row >= p.rows {
        return;
    }
    let used = min(p.n, counts[0]);
    let i = first_at_least(row, used);
    var value = 0.0;
    if i < used && rows[i] == row {
        value = row_values[i * D + e % D];
    }
    dense[e] = value;
}

// The first index among rows[0..used] that is not below `row`.
fn first_at_least(row: u32, used: u32) -> u32 {
    var low = 0u;
    var high = used;
    while low < high {
        let middle = (low + high) / 2u;
        if rows[middle] < row {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    return low;
}

// y[b, c] = max_k users[b, k] . table[ids[b, c]]: scores of listed items; the gathered rows never exist. One invocation a score;
// the invocations of a workgroup share their users, each reads the row of its own item. 0 for an id past the table.
@group(0) @binding(19) var<storage, read> users: array<f32>; // [n / listed, interests, d], `part1` interests each
@group(0) @binding(20) var<storage, read> ids: array<u32>;   // [n], `part0` of them for each user

@compute @workgroup_size(WG)
fn gather_dot(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e >= p.n {
        return;
    }
    var best = 0.0;
    if ids[e] < p.rows {
        let user = e / p.part0 * p.part1 * D;
        let item = ids[e] * D;
        for (var k = 0u; k < p.part1; k++) {
            var sum = 0.0;
            for (var c = 0u; c < D; c++) {
                sum += users[user + k * D + c] * table[item + c];
            }
            if k == 0u {
                best = sum;
            } else {
                best = max_or_nan(best, sum);
            }
        }
    }
    y[e] = best;
}
