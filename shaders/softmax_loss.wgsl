// Softmax cross-entropy over the whole catalogue, with its gradients.
//   l[r, j] = x[r] . table[j] + bias[j],   j in first .. first + classes
//   loss = sum_r s[r] (log sum_j exp l[r, j] - l[r, target[r]]),   s[r] = weight[r] / sum weight
//   p[r, j] = s[r] (exp(l[r, j] - lse[r]) - [j = target[r]]),   dx = p table,   dtable = p^T x,   dbias = column sums of p
// x, dx: [rows, d]; table, dtable: [items, d]; bias, dbias: [items] where there is one; targets u32 and weight: [rows]. A row
// whose target is no class weighs nothing.
// The logits [rows, items] never exist. A block of at most 16 MiB of them does: rows row .. row + height, classes column ..
// column + width, in `block` [height, width]. matmul.wgsl makes it, and multiplies it with the table and with x once it holds
// p; what lies between is here. A catalogue wider than a block is walked twice, since p needs the log-sum-exps of its rows.
// lse: [3, rows]: the maximum of a row's logits, the sum of exp(logit - maximum) and the target's logit. weight_sum: [1]: the sum of
// the weights. No atomics: every output is summed by one invocation or by a workgroup in order.
//!import index
//!import math
//!import reduce
//!import sum
struct Params { rows: u32, d: u32, items: u32, first: u32, classes: u32, row: u32, height: u32, column: u32, width: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> targets: array<u32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
@group(0) @binding(3) var<storage, read_write> dtable: array<f32>;
@group(0) @binding(4) var<storage, read_write> dbias: array<f32>;
@group(0) @binding(5) var<storage, read_write> block: array<f32>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;
@group(0) @binding(7) var<storage, read_write> weight_sum: array<f32>;

fn weight_of(r: u32) -> f32 {
    let inside = targets[r] >= p.first && targets[r] < p.first + p.classes;
    return select(0.0, weight[r], inside);
}

// One workgroup.
@compute @workgroup_size(WG)
fn weigh(grid: Grid, me: Invocation) {
    let local = local_index(me, WG);
    var weights = Sum();
    for (var r = local; r < p.rows; r += WG) {
        add(&weights, weight_of(r));
    }
    let sum = sum_of_group(total(weights), local);
    if local == 0u {
        weight_sum[0] = keep_nan(sum, select(1.0, sum, sum > 0.0));
    }
}

// A workgroup takes a row of the block into the row's maximum and sum: twice through it, but it fits the cache.
@compute @workgroup_size(WG)
fn normalise(grid: Grid, me: Invocation) {
    let i = group_index(grid);
    if i >= p.height {
        return;
    }
    let local = local_index(me, WG);
    let r = p.row + i;
    var before = MASKED;
    if p.column > p.first {
        before = lse[r];
    }
    var most = before;
    for (var j = local; j < p.width; j += WG) {
        most = max(most, block[i * p.width + j]);
    }
    most = max_of_group(most, local);
    var sum = 0.0;
    for (var j = local; j < p.width; j += WG) {
        sum += exp_or_nan(block[i * p.width + j] - most);
    }
    sum = sum_of_group(sum, local);
    if local == 0u {
        if p.column > p.first {
            sum += lse[p.rows + r] * exp_or_nan(before - most);
        }
        lse[r] = most;
        lse[p.rows + r] = sum;
        if targets[r] >= p.column && targets[r] < p.column + p.width {
            lse[2u * p.rows + r] = block[i * p.width + targets[r] - p.column];
        }
    }
}

// Logits to p, one invocation an element.
@compute @workgroup_size(WG)
fn gradient(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e >= p.height * p.width {
        return;
    }
    let r = p.row + e / p.width;
    let scale = weight_of(r) / weight_sum[0];
    let share = exp_or_nan(block[e] - lse[r]) / lse[p.rows + r];
    let value = scale * (share - select(0.0, 1.0, p.column + e % p.width == targets[r]));
    block[e] = keep_nan(scale, select(value, 0.0, scale == 0.0)); // whatever the row holds
}

// One invocation a column of the block.
@compute @workgroup_size(WG)
fn bias_gradient(grid: Grid, me: Invocation) {
    let j = thread_index(grid, me, WG);
    if j >= p.width {
        return;
    }
    var before = 0.0;
    if p.row > 0u {
        before = dbias[p.column + j];
    }
    var sum = Sum();
    for (var i = 0u; i < p.height; i++) {
        add(&sum, block[i * p.width + j]);
    }
    dbias[p.column + j] = before + total(sum);
}

// The index, among all, of element e of the items that are no class; `pitch` elements an item.
fn outside(e: u32, pitch: u32) -> u32 {
    return select(e + p.classes * pitch, e, e < p.first * pitch);
}

// Gradients of the items that are no classes, one invocation an element.
@compute @workgroup_size(WG)
fn clear_table(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e < (p.items - p.classes) * p.d {
        dtable[outside(e, p.d)] = 0.0;
    }
}

@compute @workgroup_size(WG)
fn clear_bias(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e < p.items - p.classes {
        dbias[outside(e, 1u)] = 0.0;
    }
}

// One workgroup.
@compute @workgroup_size(WG)
fn finish(grid: Grid, me: Invocation) {
    let local = local_index(me, WG);
    var losses = Sum();
    for (var r = local; r < p.rows; r += WG) {
        let w = weight_of(r);
        if w == 0.0 {
            continue;
        }
        add(&losses, w * (lse[r] + log_positive(lse[p.rows + r]) - lse[2u * p.rows + r]));
    }
    let sum = sum_of_group(total(losses), local);
    if local == 0u {
        loss[0] = sum / weight_sum[0];
    }
}
