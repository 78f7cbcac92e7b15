// Scores of rows with several interests: the largest product of an item with each of them.
//   y[r, w] = max_k interests[r, k] . items[w]               NaN where one of the products is
//   choice[r, w] = the first k that gives it, and K where y[r, w] is NaN
//   dinterests[r, k] = sum_w dy[r, w] items[w]               over the w with choice[r, w] = k
//   ditems[w] = sum_r dy[r, w] interests[r, choice[r, w]]
// interests, dinterests: [rows, k, d]; items, ditems: [w, d]; y, dy, choice: [rows, w]. Where OWN, each row has items of its own:
// items[r, w] and ditems[r, w] stand for items[w] and ditems[w], of [rows, w, d], and nothing is summed over r.
// The products [rows, k, w] are never stored.
//!import index
//!import math
//!import sum
struct Params {
    rows: u32, k: u32, w: u32, d: u32,
    begin: u32, end: u32, // the terms of a sum that a launch adds
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> interests: array<f32>;
@group(0) @binding(1) var<storage, read> items: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

// `tiled`, unless OWN: a workgroup makes a tile of TILE x TILE scores. Each of its SIDE^2 invocations keeps 4 x 4 of them in
// registers, the largest so far and the sums of one interest, as matmul.wgsl does for a product. 2 DEPTH (TILE + 4) * 4 bytes
// of workgroup memory: 8.5 KiB at most.
const TILE: u32 = 4u * SIDE;
const DEPTH: u32 = 16u;
// A row of a tile lies one quad further along than it needs to: invocations that fill a column then write to different banks.
const PITCH: u32 = SIDE + 1u;
var<workgroup> interest_tile: array<vec4<f32>, DEPTH * PITCH>; // [c, r / 4]
var<workgroup> item_tile: array<vec4<f32>, DEPTH * PITCH>;     // [c, w / 4]

// Element c of interest k of four rows, and of four items, zeros past the ends; by components' names, as in matmul.wgsl.
fn interest_quad(row: u32, k: u32, c: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if c < p.d {
        if row < p.rows {
            quad.x = interests[(row * p.k + k) * p.d + c];
        }
        if row + 1u < p.rows {
            quad.y = interests[((row + 1u) * p.k + k) * p.d + c];
        }
        if row + 2u < p.rows {
            quad.z = interests[((row + 2u) * p.k + k) * p.d + c];
        }
        if row + 3u < p.rows {
            quad.w = interests[((row + 3u) * p.k + k) * p.d + c];
        }
    }
    return quad;
}

fn item_quad(item: u32, c: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if c < p.d {
        if item < p.w {
            quad.x = items[item * p.d + c];
        }
        if item + 1u < p.w {
            quad.y = items[(item + 1u) * p.d + c];
        }
        if item + 2u < p.w {
            quad.z = items[(item + 2u) * p.d + c];
        }
        if item + 3u < p.w {
            quad.w = items[(item + 3u) * p.d + c];
        }
    }
    return quad;
}

// The products of interest k of an invocation's rows with its items, in the tile at `corner` = (row, item).
fn products(corner: vec2<u32>, k: u32, local: u32) -> mat4x4<f32> {
    var sums = mat4x4<f32>();
    for (var begin = 0u; begin < p.d; begin += DEPTH) {
        for (var e = local; e < SIDE * DEPTH; e += SIDE * SIDE) {
            let quad = e / DEPTH;
            let c = e % DEPTH;
            interest_tile[c * PITCH + quad] = interest_quad(corner.x + 4u * quad, k, begin + c);
            item_tile[c * PITCH + quad] = item_quad(corner.y + 4u * quad, begin + c);
        }
        workgroupBarrier();
        for (var c = 0u; c < DEPTH; c++) {
            let x = interest_tile[c * PITCH + local / SIDE];
            let z = item_tile[c * PITCH + local % SIDE];
            sums += mat4x4(x.x * z, x.y * z, x.z * z, x.w * z);
        }
        workgroupBarrier(); // before the next tiles are written
    }
    return sums;
}

fn larger(a: vec4<f32>, b: vec4<f32>) -> vec4<f32> {
    return vec4(max_or_nan(a.x, b.x), max_or_nan(a.y, b.y), max_or_nan(a.z, b.z), max_or_nan(a.w, b.w));
}

@compute @workgroup_size(WG)
fn tiled(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    let count = (vec2(p.rows, p.w) + TILE - 1u) / TILE;
    if g >= count.x * count.y {
        return;
    }
    let local = local_index(me, WG);
    let corner = vec2(g / count.y, g % count.y) * TILE;
    let least = vec4(minus_infinity());
    var best = mat4x4(least, least, least, least);
    for (var k = 0u; k < p.k; k++) {
        let next = products(corner, k, local);
        best = mat4x4(larger(best[0], next[0]), larger(best[1], next[1]), larger(best[2], next[2]), larger(best[3], next[3]));
    }
    let first = corner + vec2(local / SIDE, local % SIDE) * 4u;
    for (var i = 0u; i < 4u; i++) {
        for (var j = 0u; j < 4u; j++) {
            if first.x + i < p.rows && first.y + j < p.w {
                y[(first.x + i) * p.w + first.y + j] = best[i][j];
            }
        }
    }
}

struct Best { score: f32, interest: u32 }

// Of score e, which is that of row e / w and item e % w.
fn best_of(e: u32) -> Best {
    let row = e / p.w * p.k * p.d;
    let item = select(e % p.w, e, OWN == 1u) * p.d;
    var best = Best();
    for (var k = 0u; k < p.k; k++) {
        var score = 0.0;
        for (var c = 0u; c < p.d; c++) {
            score += interests[row + k * p.d + c] * items[item + c];
        }
        if is_nan(score) {
            return Best(score, p.k);
        }
        if k == 0u || score > best.score {
            best = Best(score, k);
        }
    }
    return best;
}

// One invocation a score: of own items, and where there are too few scores to fill a tile.
@compute @workgroup_size(WG)
fn simple(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e < p.rows * p.w {
        y[e] = best_of(e).score;
    }
}

@group(0) @binding(3) var<storage, read_write> choice: array<u32>;

@compute @workgroup_size(WG)
fn choose(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e < p.rows * p.w {
        choice[e] = best_of(e).interest;
    }
}

// The gradients: one invocation an element. A sum of many terms is made in several launches, each of which adds those from `begin`
// to `end`.
@group(0) @binding(4) var<storage, read> given_choice: array<u32>;
@group(0) @binding(5) var<storage, read> dy: array<f32>;
@group(0) @binding(6) var<storage, read_write> dinterests: array<f32>;
@group(0) @binding(7) var<storage, read_write> ditems: array<f32>;

// dy[e], and NaN where score e is.
fn gradient(e: u32) -> f32 {
    var nan = 0x7fc00000u; // as a constant it would be an error
    return bitcast<f32>(select(bitcast<u32>(dy[e]), nan, given_choice[e] == p.k));
}

@compute @workgroup_size(WG)
fn to_interests(grid: Grid, me: Invocation) {
    let at = thread_index(grid, me, WG);
    if at >= p.rows * p.k * p.d {
        return;
    }
    let row = at / p.d / p.k;
    let k = at / p.d % p.k;
    var sum = Sum();
    for (var w = p.begin; w < p.end; w++) {
        let e = row * p.w + w;
        if given_choice[e] == k || given_choice[e] == p.k {
            add(&sum, gradient(e) * items[select(w, e, OWN == 1u) * p.d + at % p.d]);
        }
    }
    var value = total(sum);
    if p.begin > 0u {
        value += dinterests[at];
    }
    dinterests[at] = value;
}

@compute @workgroup_size(WG)
fn to_items(grid: Grid, me: Invocation) {
    let at = thread_index(grid, me, WG);
    if at >= p.w * p.d {
        return;
    }
    var sum = Sum();
    for (var row = p.begin; row < p.end; row++) {
        let e = row * p.w + at / p.d;
        let k = min(given_choice[e], p.k - 1u);
        add(&sum, gradient(e) * interests[(row * p.k + k) * p.d + at % p.d]);
    }
    var value = total(sum);
    if p.begin > 0u {
        value += ditems[at];
    }
    ditems[at] = value;
}

@compute @workgroup_size(WG)
fn to_own_items(grid: Grid, me: Invocation) {
    let at = thread_index(grid, me, WG);
    let e = at / p.d;
    if e >= p.rows * p.w {
        return;
    }
    let k = min(given_choice[e], p.k - 1u);
    ditems[at] = gradient(e) * interests[(e / p.w * p.k + k) * p.d + at % p.d];
}
