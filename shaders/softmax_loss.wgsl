// Softmax cross-entropy over the whole catalogue, with its gradients; the logits [rows, items] never exist.
//   l[r, j] = x[r] . table[j] + bias[j],   j in first .. first + classes
//   loss = sum_r s[r] (log sum_j exp l[r, j] - l[r, target[r]]),   s[r] = weight[r] / sum weight
//   p[r, j] = s[r] (exp(l[r, j] - lse[r]) - [j = target[r]]),   dx = p table,   dtable = p^T x,   dbias = column sums of p
// x, dx: [rows, d]; table, dtable: [items, d]; bias, dbias: [items] where BIAS; targets u32 and weight: [rows]. A row whose
// target is no class weighs nothing. lse: [3, rows]: maximum, sum and the target's logit of each row while `normalise` walks
// the items, then log-sum-exp, weight and target's logit. total: [1]: the sum of the weights.
// A workgroup of 64 lanes makes 32 x 32 logits at a time, each lane 4 x 4 of them: `normalise` keeps a running maximum and
// sum for 32 rows over all items; the gradients make the logits once more and multiply p with 32 x 64 of the table or of x.
// 15 KiB of workgroup memory. No atomics: every output is summed by one lane, in order. A launch walks begin .. end of the
// items (or rows) and adds to what the last one left: long loops trip watchdogs, and llvmpipe ends a shader's loops after
// 65,535 turns in all, without a word.
//!import index
//!import math
//!import reduce
struct Params { rows: u32, d: u32, items: u32, first: u32, classes: u32, begin: u32, end: u32, start: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> table: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> loss: array<f32>;
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;
@group(0) @binding(7) var<storage, read_write> dtable: array<f32>;
@group(0) @binding(8) var<storage, read_write> dbias: array<f32>;
@group(0) @binding(9) var<storage, read_write> lse: array<f32>;
@group(0) @binding(10) var<storage, read_write> total: array<f32>;

const TILE: u32 = 32u;
const DEPTH: u32 = 8u;
const COLUMNS: u32 = 64u; // of a gradient, a workgroup
const PITCH: u32 = TILE + 4u; // lanes that fill a column of a tile write to different banks
var<workgroup> x_tile: array<f32, DEPTH * PITCH>;     // [depth, row]
var<workgroup> table_tile: array<f32, DEPTH * PITCH>; // [depth, item]
var<workgroup> p_tile: array<f32, TILE * (TILE + 1u)>; // [row, item]
var<workgroup> factor: array<f32, TILE * COLUMNS>;    // [row or item, column]

// The logits of rows row.. and items item.., to p_tile; MASKED where there is no such row or class.
fn logits(row: u32, item: u32, lane: u32) {
    let block = vec2(lane / 8u, lane % 8u) * 4u;
    var sums = mat4x4<f32>(); // column i: row block.x + i
    for (var begin = 0u; begin < p.d; begin += DEPTH) {
        for (var e = lane; e < TILE * DEPTH; e += 64u) {
            let i = e / DEPTH;
            let l = e % DEPTH;
            let inside = begin + l < p.d;
            var a = 0.0;
            if inside && row + i < p.rows {
                a = x[(row + i) * p.d + begin + l];
            }
            x_tile[l * PITCH + i] = a;
            var b = 0.0;
            if inside && item + i < p.items {
                b = table[(item + i) * p.d + begin + l];
            }
            table_tile[l * PITCH + i] = b;
        }
        workgroupBarrier();
        for (var l = 0u; l < DEPTH; l++) {
            let at = l * PITCH + block.y;
            let b = vec4(table_tile[at], table_tile[at + 1u], table_tile[at + 2u], table_tile[at + 3u]);
            let a = l * PITCH + block.x;
            sums[0] += x_tile[a] * b;
            sums[1] += x_tile[a + 1u] * b;
            sums[2] += x_tile[a + 2u] * b;
            sums[3] += x_tile[a + 3u] * b;
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            let r = row + block.x + i;
            let c = item + block.y + j;
            var value = MASKED;
            if r < p.rows && c >= p.first && c < p.first + p.classes {
                value = sums[i][j];
                if BIAS == 1u {
                    value += bias[c];
                }
            }
            p_tile[(block.x + i) * (TILE + 1u) + block.y + j] = value;
        }
    }
    workgroupBarrier();
}

// One workgroup 32 rows. Lanes 0 to 31 keep the running maximum and sum of a row each.
@compute @workgroup_size(64)
fn normalise(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group_index(group, groups) * TILE;
    let mine = lane < TILE && row + lane < p.rows;
    let r = row + lane;
    var most = MASKED;
    var sum = 0.0;
    var wanted = MASKED;
    var target_item = 0u;
    if mine {
        target_item = targets[r];
        if p.begin != p.start {
            most = lse[r];
            sum = lse[p.rows + r];
            wanted = lse[2u * p.rows + r];
        }
    }
    for (var item = p.begin; item < p.end; item += TILE) {
        logits(row, item, lane);
        if mine {
            let at = lane * (TILE + 1u);
            var here = most;
            for (var j = 0u; j < TILE; j++) {
                here = max(here, p_tile[at + j]);
            }
            sum *= exp(most - here);
            most = here;
            for (var j = 0u; j < TILE; j++) {
                sum += select(exp(p_tile[at + j] - most), 0.0, p_tile[at + j] <= MASKED);
            }
            if target_item >= item && target_item < item + TILE {
                wanted = p_tile[at + target_item - item];
            }
        }
        workgroupBarrier();
    }
    if mine {
        lse[r] = most;
        lse[p.rows + r] = sum;
        lse[2u * p.rows + r] = wanted;
    }
}

// One workgroup: log-sum-exp and weight of each row, the loss, and the sum of the weights.
@compute @workgroup_size(WG)
fn finish(@builtin(local_invocation_index) lane: u32) {
    var losses = 0.0;
    var weights = 0.0;
    for (var r = lane; r < p.rows; r += WG) {
        let wanted = lse[2u * p.rows + r];
        let log_sum = lse[r] + log(max(lse[p.rows + r], 1e-30));
        let w = select(weight[r], 0.0, wanted <= MASKED);
        lse[r] = log_sum;
        lse[p.rows + r] = w;
        losses += select(w * (log_sum - wanted), 0.0, w == 0.0);
        weights += w;
    }
    let sum = sum_lanes(weights, lane);
    let all = sum_lanes(losses, lane);
    if lane == 0u {
        let divisor = select(1.0, sum, sum > 0.0);
        loss[0] = all / divisor;
        total[0] = divisor;
    }
}

// p of rows row.. and items item.., to p_tile.
fn probabilities(row: u32, item: u32, lane: u32) {
    logits(row, item, lane);
    for (var e = lane; e < TILE * TILE; e += 64u) {
        let r = row + e / TILE;
        let at = e / TILE * (TILE + 1u) + e % TILE;
        let l = p_tile[at];
        var value = 0.0;
        if l > MASKED {
            value = lse[p.rows + r] / total[0] * (exp(l - lse[r]) - select(0.0, 1.0, item + e % TILE == targets[r]));
        }
        p_tile[at] = value;
    }
    workgroupBarrier();
}

// A lane's 4 rows (or items) by 8 columns of a gradient: column c of them is sums[c].
var<private> sums: array<vec4<f32>, 8>;

fn multiply(four: vec4<f32>, at: u32) {
    sums[0] += four * factor[at];
    sums[1] += four * factor[at + 1u];
    sums[2] += four * factor[at + 2u];
    sums[3] += four * factor[at + 3u];
    sums[4] += four * factor[at + 4u];
    sums[5] += four * factor[at + 5u];
    sums[6] += four * factor[at + 6u];
    sums[7] += four * factor[at + 7u];
}

// Columns of dx for 32 rows: a lane has 4 rows and 8 columns.
@compute @workgroup_size(64)
fn row_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let chunks = (p.d + COLUMNS - 1u) / COLUMNS;
    let number = group_index(group, groups);
    let row = number / chunks * TILE;
    let column = number % chunks * COLUMNS;
    let block = vec2(lane / 8u * 4u, lane % 8u * 8u);
    for (var item = p.begin; item < p.end; item += TILE) {
        probabilities(row, item, lane);
        for (var e = lane; e < TILE * COLUMNS; e += 64u) {
            let j = item + e / COLUMNS;
            let c = column + e % COLUMNS;
            var value = 0.0;
            if j < p.items && c < p.d {
                value = table[j * p.d + c];
            }
            factor[e] = value;
        }
        workgroupBarrier();
        for (var j = 0u; j < TILE; j++) {
            let at = block.x * (TILE + 1u) + j;
            multiply(vec4(p_tile[at], p_tile[at + 33u], p_tile[at + 66u], p_tile[at + 99u]), j * COLUMNS + block.y);
        }
        workgroupBarrier();
    }
    for (var e = 0u; e < 32u; e++) {
        let r = row + block.x + e % 4u;
        let c = column + block.y + e / 4u;
        if r < p.rows && c < p.d {
            let before = select(dx[r * p.d + c], 0.0, p.begin == p.start);
            dx[r * p.d + c] = before + sums[e / 4u][e % 4u];
        }
    }
}

// Columns of dtable for 32 items: a lane has 4 items and 8 columns.
@compute @workgroup_size(64)
fn table_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let chunks = (p.d + COLUMNS - 1u) / COLUMNS;
    let number = group_index(group, groups);
    let item = number / chunks * TILE;
    let column = number % chunks * COLUMNS;
    let block = vec2(lane / 8u * 4u, lane % 8u * 8u);
    for (var row = p.begin; row < p.end; row += TILE) {
        probabilities(row, item, lane);
        for (var e = lane; e < TILE * COLUMNS; e += 64u) {
            let r = row + e / COLUMNS;
            let c = column + e % COLUMNS;
            var value = 0.0;
            if r < p.rows && c < p.d {
                value = x[r * p.d + c];
            }
            factor[e] = value;
        }
        workgroupBarrier();
        for (var i = 0u; i < TILE; i++) {
            let at = i * (TILE + 1u) + block.x;
            multiply(vec4(p_tile[at], p_tile[at + 1u], p_tile[at + 2u], p_tile[at + 3u]), i * COLUMNS + block.y);
        }
        workgroupBarrier();
    }
    for (var e = 0u; e < 32u; e++) {
        let j = item + block.x + e % 4u;
        let c = column + block.y + e / 4u;
        if j < p.items && c < p.d {
            let before = select(dtable[j * p.d + c], 0.0, p.begin == p.start);
            dtable[j * p.d + c] = before + sums[e / 4u][e % 4u];
        }
    }
}

// dbias for 32 items, a lane each.
@compute @workgroup_size(64)
fn bias_gradient(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let item = group_index(group, groups) * TILE;
    var sum = 0.0;
    for (var row = p.begin; row < p.end; row += TILE) {
        probabilities(row, item, lane);
        for (var i = 0u; i < TILE; i++) {
            sum += p_tile[i * (TILE + 1u) + lane % TILE];
        }
        workgroupBarrier();
    }
    if lane < TILE && item + lane < p.items {
        dbias[item + lane] = sum + select(dbias[item + lane], 0.0, p.begin == p.start);
    }
}
