// Batched matrix product with bias and activation in the epilogue.
//   y[s, i, j] = activation(sum_l a[s, i, l] b[s, l, j] + bias[j])
// a: [batch, m, k], or [batch, k, m] where TRANSPOSE_A; b: [batch, k, n], or [batch, n, k] where TRANSPOSE_B, `b_batch`
// elements apart (0: one b for all); bias: [n] where BIAS (else the binding stands for a, and is not read); y: [batch, m, n].
// `tiled`: a workgroup makes a tile of TILE x TILE outputs, TILE = 4 SIDE, walking k in steps of DEPTH; each of its SIDE^2
// lanes keeps 4 x 4 of them in registers, so that 8 reads of workgroup memory feed 16 multiply-adds. 2 DEPTH (TILE + 4) * 4
// bytes of workgroup memory. `simple`: one invocation an output, for products too small to fill a tile.
// A long sum with few outputs (the gradient of a weight) would keep only a few workgroups busy: `parts` makes sums over
// k_part terms each, in `partial` [parts, m, n], and `join` adds them in order: the same bits every time.
//!import index
//!import math
struct Params { batch: u32, m: u32, n: u32, k: u32, b_batch: u32, k_part: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;

fn a_at(s: u32, i: u32, l: u32) -> u32 {
    return s * p.m * p.k + select(i * p.k + l, l * p.m + i, TRANSPOSE_A == 1u);
}

fn b_at(s: u32, l: u32, j: u32) -> u32 {
    return s * p.b_batch + select(l * p.n + j, j * p.k + l, TRANSPOSE_B == 1u);
}

fn finish(sum: f32, j: u32) -> f32 {
    var z = sum;
    if BIAS == 1u {
        z += bias[j];
    }
    if ACTIVATION == 1u {
        return max(z, 0.0);
    } else if ACTIVATION == 2u {
        return tanh_accurate(z);
    } else if ACTIVATION == 3u {
        return sigmoid(z);
    }
    return z;
}

const TILE: u32 = 4u * SIDE;
const DEPTH: u32 = 16u;
// Rows of a tile lie 4 words further apart than TILE: lanes that fill a column of it then write to different banks, and
// groups of four stay aligned.
const PITCH: u32 = TILE + 4u;
var<workgroup> a_tile: array<f32, DEPTH * PITCH>; // [l, i]
var<workgroup> b_tile: array<f32, DEPTH * PITCH>; // [l, j]

// Where the 4 x 4 block of a lane begins in its tile.
fn block_of(lane: u32) -> vec2<u32> {
    return vec2(lane / SIDE, lane % SIDE) * 4u;
}

// Copies terms begin..begin + DEPTH of the tile at `corner` = (i, j) to workgroup memory, zeros past the ends. Neighbouring
// lanes read neighbouring elements, whichever way an operand lies.
fn load_tiles(s: u32, corner: vec2<u32>, begin: u32, end: u32, lane: u32) {
    for (var e = lane; e < TILE * DEPTH; e += SIDE * SIDE) {
        let along = vec2(e / DEPTH, e % DEPTH); // (tile, depth), depth fastest
        let across = vec2(e % TILE, e / TILE);  // (tile, depth), tile fastest
        let x = select(along, across, TRANSPOSE_A == 1u);
        let z = select(across, along, TRANSPOSE_B == 1u);
        var value = 0.0;
        if corner.x + x.x < p.m && begin + x.y < end {
            value = a[a_at(s, corner.x + x.x, begin + x.y)];
        }
        a_tile[x.y * PITCH + x.x] = value;
        value = 0.0;
        if corner.y + z.x < p.n && begin + z.y < end {
            value = b[b_at(s, begin + z.y, corner.y + z.x)];
        }
        b_tile[z.y * PITCH + z.x] = value;
    }
}

// The sums over l in begin..end of a lane's 4 x 4 outputs: column r of the matrix is output row r.
fn tile_sums(s: u32, corner: vec2<u32>, begin: u32, end: u32, lane: u32) -> mat4x4<f32> {
    let block = block_of(lane);
    var sums = mat4x4<f32>();
    for (var l0 = begin; l0 < end; l0 += DEPTH) {
        load_tiles(s, corner, l0, end, lane);
        workgroupBarrier();
        for (var l = 0u; l < DEPTH; l++) {
            let i = l * PITCH + block.x;
            let j = l * PITCH + block.y;
            let x = vec4(a_tile[i], a_tile[i + 1u], a_tile[i + 2u], a_tile[i + 3u]);
            let z = vec4(b_tile[j], b_tile[j + 1u], b_tile[j + 2u], b_tile[j + 3u]);
            sums += mat4x4(x.x * z, x.y * z, x.z * z, x.w * z);
        }
        workgroupBarrier(); // before the next tiles are written
    }
    return sums;
}

fn tiles() -> vec2<u32> {
    return (vec2(p.m, p.n) + TILE - 1u) / TILE;
}

@compute @workgroup_size(WG)
fn tiled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let g = group_index(group, groups);
    let count = tiles();
    let s = g / (count.x * count.y);
    if s >= p.batch {
        return;
    }
    let lane = lane_index(local, WG);
    let corner = vec2(g / count.y % count.x, g % count.y) * TILE;
    let sums = tile_sums(s, corner, 0u, p.k, lane);
    let first = corner + block_of(lane);
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            let i = first.x + r;
            let j = first.y + c;
            if i < p.m && j < p.n {
                y[(s * p.m + i) * p.n + j] = finish(sums[r][c], j);
            }
        }
    }
}

@compute @workgroup_size(WG)
fn parts(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let g = group_index(group, groups);
    let count = tiles();
    let part = g / (count.x * count.y);
    let begin = part * p.k_part;
    if begin >= p.k {
        return;
    }
    let lane = lane_index(local, WG);
    let corner = vec2(g / count.y % count.x, g % count.y) * TILE;
    let sums = tile_sums(0u, corner, begin, min(begin + p.k_part, p.k), lane);
    let first = corner + block_of(lane);
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            let i = first.x + r;
            let j = first.y + c;
            if i < p.m && j < p.n {
                partial[(part * p.m + i) * p.n + j] = sums[r][c];
            }
        }
    }
}

@compute @workgroup_size(WG)
fn join(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = thread_index(group, groups, local, WG);
    if e >= p.m * p.n {
        return;
    }
    var sum = 0.0;
    for (var part = 0u; part * p.k_part < p.k; part++) {
        sum += partial[part * p.m * p.n + e];
    }
    y[e] = finish(sum, e % p.n);
}

@compute @workgroup_size(WG)
fn simple(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = thread_index(group, groups, local, WG);
    if e >= p.batch * p.m * p.n {
        return;
    }
    let j = e % p.n;
    let i = e / p.n % p.m;
    let s = e / p.n / p.m;
    var sum = 0.0;
    for (var l = 0u; l < p.k; l++) {
        sum += a[a_at(s, i, l)] * b[b_at(s, l, j)];
    }
    y[e] = finish(sum, j);
}
