// Experts over rows of features: y[i, :] = sum_k gates[i, k] x[i, :] weight[k]   (ANT, equations 4 to 7).
// features: words that hold x, [rows, a], as f32 or as f16, two a word; with HALF they are read on any device. With LISTED,
// x[i] is row list[i], else row i. With DROPOUT an element of x is 0 where its uniform number is below `rate`, else times `scale`:
// by the number of the element among the features, whichever rows are read. Without GATED there is one expert, whose gate is 1.
// gates: [n, k]. weight: [k, a, d], which lies as [k a, d]: so the sum over experts is one product with z[i, (k, c)] = gates[i, k]
// x[i, c], made as it is read, and neither z nor an expert's own output ever lies in memory.
//   forward         y[i, j] = sum_l z[i, l] weight[l, j]                          one workgroup a tile of 64 x 64 outputs
//   weight_parts    dweight[l, j] = sum_i z[i, l] dy[i, j], i in a part of rows;  the parts are added by weight_join
//   gates_backward  dgates[i, k] = sum_j dy[i, j] sum_c x[i, c] weight[k, c, j]   one workgroup 64 rows of one expert
// Each invocation keeps 4 x 4 sums, as in matmul.wgsl. 8.5 KiB of workgroup memory.
//!import index
//!import sum
//!import words
struct Params { n: u32, rows: u32, a: u32, d: u32, experts: u32, part: u32, parts: u32, key: u32, rate: f32, scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> features: array<u32>;
@group(0) @binding(1) var<storage, read> list: array<u32>;
@group(0) @binding(2) var<storage, read> gates: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> step: array<u32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;
@group(0) @binding(7) var<storage, read_write> partial: array<f32>;

const TILE: u32 = 64u;
const DEPTH: u32 = 16u;
const SIDE: u32 = 16u;
// A row of a tile lies four elements further along than it needs to: invocations that fill a column write to different banks.
const PITCH: u32 = TILE + 4u;
var<workgroup> left: array<f32, DEPTH * PITCH>;
var<workgroup> right: array<f32, DEPTH * PITCH>;

// Element e of the features.
fn feature(e: u32) -> f32 {
    var x: f32;
    if HALF == 1u {
        let two = unpack2x16float(features[e / 2u]);
        x = select(two.x, two.y, (e & 1u) == 1u);
    } else {
        x = bitcast<f32>(features[e]);
    }
    return x;
}

// Elements e..e + 4.
fn four_features(e: u32) -> vec4<f32> {
    return vec4(feature(e), feature(e + 1u), feature(e + 2u), feature(e + 3u));
}

// 0 or `scale` for each of the elements e..e + 4.
fn factors(e: u32) -> vec4<f32> {
    let at = e & 3u;
    let first = words(e / 4u);
    var drawn = first;
    if at != 0u {
        let next = words(e / 4u + 1u);
        drawn = select(select(vec4(first.yzw, next.x), vec4(first.zw, next.xy), at == 2u), vec4(first.w, next.xyz), at == 3u);
    }
    return select(vec4(p.scale), vec4(0.0), vec4<f32>(drawn >> vec4(8u)) * ULP < vec4(p.rate));
}

// Elements l..l + 4 of row i of z, zeros past the ends. Four columns may be of two experts.
fn z_quad(i: u32, l: u32) -> vec4<f32> {
    if i >= p.n {
        return vec4(0.0);
    }
    var row = i;
    if LISTED == 1u {
        row = list[i];
    }
    if row >= p.rows {
        return vec4(0.0);
    }
    let expert = l / p.a;
    let c = l - expert * p.a;
    if c + 4u <= p.a && expert < p.experts {
        let e = row * p.a + c;
        var x = four_features(e);
        if DROPOUT == 1u {
            x *= factors(e);
        }
        if GATED == 1u {
            x *= gates[i * p.experts + expert];
        }
        return x;
    }
    return vec4(z_one(i, row, l), z_one(i, row, l + 1u), z_one(i, row, l + 2u), z_one(i, row, l + 3u));
}

fn z_one(i: u32, row: u32, l: u32) -> f32 {
    let expert = l / p.a;
    if expert >= p.experts {
        return 0.0;
    }
    let e = row * p.a + l - expert * p.a;
    var x = feature(e);
    if DROPOUT == 1u {
        x *= factors(e).x;
    }
    if GATED == 1u {
        x *= gates[i * p.experts + expert];
    }
    return x;
}

fn outer(x: vec4<f32>, z: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(x.x * z, x.y * z, x.z * z, x.w * z);
}

fn tile_quad(at: u32, is_left: bool) -> vec4<f32> {
    if is_left {
        return vec4(left[at], left[at + 1u], left[at + 2u], left[at + 3u]);
    }
    return vec4(right[at], right[at + 1u], right[at + 2u], right[at + 3u]);
}

// Adds the products of the two tiles to the 4 x 4 outputs of an invocation: column r of the sums is output row r.
fn multiply_tiles(sums: mat4x4<f32>, local: u32) -> mat4x4<f32> {
    var all = sums;
    for (var l = 0u; l < DEPTH; l++) {
        let x = tile_quad(l * PITCH + 4u * (local / SIDE), true);
        let z = tile_quad(l * PITCH + 4u * (local % SIDE), false);
        all += outer(x, z);
    }
    return all;
}

// left[l, i] = z[first + i, begin + l], 64 rows and 16 columns of z; columns from `end` on are zeros.
fn load_z_columns(first: u32, begin: u32, end: u32, local: u32) {
    let i = local / 4u;
    let l = 4u * (local % 4u);
    let quad = z_quad(first + i, begin + l);
    left[l * PITCH + i] = select(0.0, quad.x, begin + l < end);
    left[(l + 1u) * PITCH + i] = select(0.0, quad.y, begin + l + 1u < end);
    left[(l + 2u) * PITCH + i] = select(0.0, quad.z, begin + l + 2u < end);
    left[(l + 3u) * PITCH + i] = select(0.0, quad.w, begin + l + 3u < end);
}

// right[l, j] = weight[begin + l, first + j]; zeros from row `end` on.
fn load_weight(begin: u32, end: u32, first: u32, local: u32) {
    for (var e = local; e < DEPTH * TILE; e += SIDE * SIDE) {
        let l = begin + e / TILE;
        let j = first + e % TILE;
        var w = 0.0;
        if l < end && j < p.d {
            w = weight[l * p.d + j];
        }
        right[e / TILE * PITCH + e % TILE] = w;
    }
}

// The sums over l in begin..end of z[i, l] weight[l, j] of the tile whose corner is (i, j).
fn forward_sums(corner: vec2<u32>, begin: u32, end: u32, local: u32) -> mat4x4<f32> {
    var sums = mat4x4<f32>();
    for (var l = begin; l < end; l += DEPTH) {
        load_z_columns(corner.x, l, end, local);
        load_weight(l, end, corner.y, local);
        workgroupBarrier();
        sums = multiply_tiles(sums, local);
        workgroupBarrier(); // before the next tiles are written
    }
    return sums;
}

@compute @workgroup_size(WG)
fn forward(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    let across = (p.d + TILE - 1u) / TILE;
    if g / across * TILE >= p.n {
        return;
    }
    let local = local_index(me, WG);
    let corner = vec2(g / across, g % across) * TILE;
    let sums = forward_sums(corner, 0u, p.experts * p.a, local);
    let first = corner + vec2(local / SIDE, local % SIDE) * 4u;
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            if first.x + r < p.n && first.y + c < p.d {
                y[(first.x + r) * p.d + first.y + c] = sums[r][c];
            }
        }
    }
}

@compute @workgroup_size(WG)
fn weight_parts(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    let outputs = p.experts * p.a;
    let across = (p.d + TILE - 1u) / TILE;
    let tiles = (outputs + TILE - 1u) / TILE * across;
    let part = g / tiles;
    if part >= p.parts {
        return;
    }
    let local = local_index(me, WG);
    let corner = vec2(g % tiles / across, g % across) * TILE;
    let end = min((part + 1u) * p.part, p.n);
    var sums = mat4x4<f32>();
    for (var first = part * p.part; first < end; first += DEPTH) {
        let i = first + local / SIDE;
        let at = local / SIDE * PITCH + 4u * (local % SIDE);
        let quad = z_quad(select(p.n, i, i < end), corner.x + 4u * (local % SIDE));
        left[at] = quad.x;
        left[at + 1u] = quad.y;
        left[at + 2u] = quad.z;
        left[at + 3u] = quad.w;
        for (var c = 0u; c < 4u; c++) {
            let j = corner.y + 4u * (local % SIDE) + c;
            var gradient = 0.0;
            if i < end && j < p.d {
                gradient = dy[i * p.d + j];
            }
            right[at + c] = gradient;
        }
        workgroupBarrier();
        sums = multiply_tiles(sums, local);
        workgroupBarrier(); // before the next tiles are written
    }
    let output = corner + vec2(local / SIDE, local % SIDE) * 4u;
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            if output.x + r < outputs && output.y + c < p.d {
                partial[(part * outputs + output.x + r) * p.d + output.y + c] = sums[r][c];
            }
        }
    }
}

@compute @workgroup_size(WG)
fn weight_join(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    let count = p.experts * p.a * p.d;
    if e >= count {
        return;
    }
    var sum = Sum();
    for (var part = 0u; part < p.parts; part++) {
        add(&sum, partial[part * count + e]);
    }
    y[e] = total(sum);
}

// sum_c sums[c] dy[i, j + c], within the ends.
fn dot_dy(sums: vec4<f32>, i: u32, j: u32) -> f32 {
    var sum = 0.0;
    for (var c = 0u; c < 4u; c++) {
        if i < p.n && j + c < p.d {
            sum += sums[c] * dy[i * p.d + j + c];
        }
    }
    return sum;
}

// Launched without GATED: the sums are those of one expert after the other.
@compute @workgroup_size(WG)
fn gates_backward(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    let first = g / p.experts * TILE;
    if first >= p.n {
        return;
    }
    let expert = g % p.experts;
    let local = local_index(me, WG);
    var dots = vec4(0.0); // of an invocation's four rows, over its columns
    for (var across = 0u; across < p.d; across += TILE) {
        let sums = forward_sums(vec2(first, across), expert * p.a, (expert + 1u) * p.a, local);
        let i = first + 4u * (local / SIDE);
        let j = across + 4u * (local % SIDE);
        dots += vec4(dot_dy(sums[0], i, j), dot_dy(sums[1], i + 1u, j), dot_dy(sums[2], i + 2u, j), dot_dy(sums[3], i + 3u, j));
    }
    // left[row, column]: 64 x 16.
    let row = 4u * (local / SIDE);
    let column = local % SIDE;
    left[row * SIDE + column] = dots.x;
    left[(row + 1u) * SIDE + column] = dots.y;
    left[(row + 2u) * SIDE + column] = dots.z;
    left[(row + 3u) * SIDE + column] = dots.w;
    workgroupBarrier();
    if local < TILE && first + local < p.n {
        var sum = 0.0;
        for (var c = 0u; c < SIDE; c++) {
            sum += left[local * SIDE + c];
        }
        y[(first + local) * p.experts + expert] = sum;
    }
}
