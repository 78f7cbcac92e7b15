// Scaled dot-product attention (Vaswani et al., 2017), fused: the L x L weights never exist in memory.
//   s[i, j] = scale q_i . k_j + c[j, i],   w[i, j] = f[i, j] exp(s[i, j] - lse_i),   lse_i = log sum_j exp(s[i, j]),   y_i = sum_j w[i, j] v_j
// over the keys j with keep[b, j] != 0 and, where CAUSAL, j <= i. f: the factors of dropout where DROPOUT, else 1; their
// counter is the element of [B, H, L, L]. A query with no key gives y = 0 and lse = MASKED.
// c: where BIAS, bias[b % groups, h, j, i], else 0; the gradients are those without one.
//   delta_i = dy_i . y_i,   ds[i, j] = scale exp(s[i, j] - lse_i) (f[i, j] dy_i . v_j - delta_i)
//   dq_i = sum_j ds[i, j] k_j,   dk_j = sum_i ds[i, j] q_i,   dv_j = sum_i w[i, j] dy_i
// q, k, v, y and their gradients: [B, L, H * HEAD_DIM], heads side by side. keep: [B, L]. lse: [B, H, L].
// A workgroup owns ROWS queries (keys, for dk and dv) of one head and walks the others in tiles of OTHERS: its invocations take the
// pairs of a tile, a few each, then SHARERS invocations share a row and add what the pairs give to sums in registers. Largest
// exponent and sum of a row are kept up to date as the tiles pass (Milakov and Gimelshein, 2018). A NaN that the largest
// exponent loses is in the sum.
// (2 ROWS + 2 OTHERS) PITCH * 16 + 2 ROWS (OTHERS + 1) * 4 bytes of workgroup memory.
//!import index
//!import math
//!import words
struct Params { batch: u32, heads: u32, len: u32, groups: u32, key: u32, scale: f32, rate: f32, kept_scale: f32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> q: array<f32>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> keep: array<u32>;
@group(0) @binding(4) var<storage, read> step: array<u32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;
@group(0) @binding(6) var<storage, read_write> lse: array<f32>;
@group(0) @binding(7) var<storage, read> bias: array<f32>;

const SHARERS: u32 = 4u;
const ROWS: u32 = WG / SHARERS;
// Pairs of a tile that each invocation takes.
const PAIRS: u32 = OTHERS / SHARERS;
// A row of a head as vectors of four, of which an invocation sums up every SHARERS-th, OWN_QUADS in all.
const QUADS: u32 = (HEAD_DIM + 3u) / 4u;
// Odd, so that the same quad of neighbouring rows lies in different banks.
const PITCH: u32 = QUADS | 1u;

var<workgroup> own_a: array<vec4<f32>, ROWS * PITCH>;
var<workgroup> own_b: array<vec4<f32>, ROWS * PITCH>;
var<workgroup> tile_a: array<vec4<f32>, OTHERS * PITCH>;
var<workgroup> tile_b: array<vec4<f32>, OTHERS * PITCH>;
const PAIR_PITCH: u32 = OTHERS + 1u;
var<workgroup> pairs_a: array<f32, ROWS * PAIR_PITCH>;
var<workgroup> pairs_b: array<f32, ROWS * PAIR_PITCH>;

// One head of one sequence, and the first row that the workgroup owns.
struct Place { b: u32, h: u32, first: u32 }

fn row_tiles() -> u32 {
    return (p.len + ROWS - 1u) / ROWS;
}

fn place_of(g: u32) -> Place {
    let head = g / row_tiles();
    return Place(head / p.heads, head % p.heads, g % row_tiles() * ROWS);
}

// First element of row i of the head.
fn row_at(at: Place, i: u32) -> u32 {
    return ((at.b * p.len + i) * p.heads + at.h) * HEAD_DIM;
}

// How many elements of row i quad c has: fewer than 4 at the head's end, and 0 past the last row.
fn quad_width(i: u32, c: u32) -> u32 {
    return select(0u, select(min(4u, HEAD_DIM - 4u * c), 4u, HEAD_DIM % 4u == 0u), i < p.len);
}

// The four elements of row i that quad c begins, 0 where there is none. Each component is written by its name: FXC, which
// unrolls loops that write them by an index, fails there.

fn q_quad(at: Place, i: u32, c: u32) -> vec4<f32> {
    let first = row_at(at, i) + 4u * c;
    let width = quad_width(i, c);
    var x = vec4<f32>();
    if width == 4u {
        x = vec4(q[first], q[first + 1u], q[first + 2u], q[first + 3u]);
    } else if width > 0u {
        x.x = q[first];
        if width > 1u {
            x.y = q[first + 1u];
        }
        if width > 2u {
            x.z = q[first + 2u];
        }
    }
    return x;
}

fn k_quad(at: Place, i: u32, c: u32) -> vec4<f32> {
    let first = row_at(at, i) + 4u * c;
    let width = quad_width(i, c);
    var x = vec4<f32>();
    if width == 4u {
        x = vec4(k[first], k[first + 1u], k[first + 2u], k[first + 3u]);
    } else if width > 0u {
        x.x = k[first];
        if width > 1u {
            x.y = k[first + 1u];
        }
        if width > 2u {
            x.z = k[first + 2u];
        }
    }
    return x;
}

fn v_quad(at: Place, i: u32, c: u32) -> vec4<f32> {
    let first = row_at(at, i) + 4u * c;
    let width = quad_width(i, c);
    var x = vec4<f32>();
    if width == 4u {
        x = vec4(v[first], v[first + 1u], v[first + 2u], v[first + 3u]);
    } else if width > 0u {
        x.x = v[first];
        if width > 1u {
            x.y = v[first + 1u];
        }
        if width > 2u {
            x.z = v[first + 2u];
        }
    }
    return x;
}

fn reaches(i: u32, j: u32) -> bool {
    return i < p.len && j < p.len && (CAUSAL == 0u || j <= i);
}

var<private> drawn_quad: u32 = 0xffffffffu; // no quad of any tensor
var<private> drawn: vec4<u32>;

// The factor of dropout of pair (i, j). Neighbouring keys share their words. With row = 4 a + c of the [B * H * L] rows,
// element row L + j lies in quad a L + (c L + j) / 4, which fits 32 bits where the element does not.
fn factor(at: Place, i: u32, j: u32) -> f32 {
    if DROPOUT == 0u {
        return 1.0;
    }
    let row = (at.b * p.heads + at.h) * p.len + i;
    let rest = (row & 3u) * p.len + j;
    let quad = (row >> 2u) * p.len + (rest >> 2u);
    if quad != drawn_quad {
        drawn_quad = quad;
        drawn = words(quad);
    }
    return select(p.kept_scale, 0.0, f32(drawn[rest & 3u] >> 8u) * ULP < p.rate);
}

// The dot product of row r of own_a and row c of tile_a.
fn product_a(r: u32, c: u32) -> f32 {
    var sum = vec4<f32>();
    for (var e = 0u; e < QUADS; e++) {
        sum += own_a[r * PITCH + e] * tile_a[c * PITCH + e];
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

fn product_b(r: u32, c: u32) -> f32 {
    var sum = vec4<f32>();
    for (var e = 0u; e < QUADS; e++) {
        sum += own_b[r * PITCH + e] * tile_b[c * PITCH + e];
    }
    return (sum.x + sum.y) + (sum.z + sum.w);
}

@compute @workgroup_size(WG)
fn forward(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    if g >= p.batch * p.heads * row_tiles() {
        return;
    }
    let at = place_of(g);
    let local = local_index(me, WG);
    for (var e = local; e < ROWS * QUADS; e += WG) {
        own_a[e / QUADS * PITCH + e % QUADS] = q_quad(at, at.first + e / QUADS, e % QUADS);
    }
    let own = local / SHARERS;
    let part = local % SHARERS;
    var sums = array<vec4<f32>, OWN_QUADS>();
    var m = MASKED;
    var z = 0.0;
    var found = false; // a key
    let end = select(p.len, min(p.len, at.first + ROWS), CAUSAL == 1u);
    for (var start = 0u; start < end; start += OTHERS) {
        for (var e = local; e < OTHERS * QUADS; e += WG) {
            tile_a[e / QUADS * PITCH + e % QUADS] = k_quad(at, start + e / QUADS, e % QUADS);
            tile_b[e / QUADS * PITCH + e % QUADS] = v_quad(at, start + e / QUADS, e % QUADS);
        }
        workgroupBarrier();
        for (var n = 0u; n < PAIRS; n++) {
            let r = (local * PAIRS + n) / OTHERS;
            let c = (local * PAIRS + n) % OTHERS;
            let i = at.first + r;
            let j = start + c;
            var s = MASKED;
            var f = 0.0;
            if reaches(i, j) && keep[at.b * p.len + j] != 0u {
                s = p.scale * product_a(r, c);
                if BIAS == 1u {
                    s += bias[((at.b % p.groups * p.heads + at.h) * p.len + j) * p.len + i];
                }
                f = factor(at, i, j);
            }
            pairs_a[r * PAIR_PITCH + c] = s;
            pairs_b[r * PAIR_PITCH + c] = f;
        }
        workgroupBarrier();
        var largest = m;
        for (var c = 0u; c < OTHERS; c++) {
            largest = max(largest, pairs_a[own * PAIR_PITCH + c]);
        }
        let shrink = exp(m - largest);
        m = largest;
        z *= shrink;
        //!unroll
        for (var n = 0u; n < OWN_QUADS; n++) {
            sums[n] *= shrink;
        }
        for (var c = 0u; c < OTHERS; c++) {
            let s = pairs_a[own * PAIR_PITCH + c];
            if !is_masked(s) {
                found = true;
                let weight = exp_or_nan(s - m);
                z += weight;
                let kept = weight * pairs_b[own * PAIR_PITCH + c];
                //!unroll
                for (var n = 0u; n < OWN_QUADS; n++) {
                    sums[n] += kept * tile_b[c * PITCH + min(part + n * SHARERS, QUADS - 1u)];
                }
            }
        }
        workgroupBarrier(); // before the next tiles are written
    }
    let i = at.first + own;
    if i >= p.len {
        return;
    }
    // Where all its exponents are minus infinity, z is 0 and y NaN.
    let scale = select(0.0, 1.0 / z, found);
    if part == 0u {
        lse[(at.b * p.heads + at.h) * p.len + i] = keep_nan(z * scale, select(MASKED, m + log_positive(z), found));
    }
    //!unroll
    for (var n = 0u; n < OWN_QUADS; n++) {
        let c = part + n * SHARERS;
        if c < QUADS {
            for (var e = 0u; e < quad_width(i, c); e++) {
                y[row_at(at, i) + 4u * c + e] = sums[n][e] * scale;
            }
        }
    }
}

@group(0) @binding(8) var<storage, read> given_y: array<f32>;
@group(0) @binding(9) var<storage, read> given_lse: array<f32>;
@group(0) @binding(10) var<storage, read> dy: array<f32>;
// [B, H, L, 3]: lse and delta of a query, and 1 for a key that is kept: one binding, of the eight there are, for three.
@group(0) @binding(11) var<storage, read_write> terms: array<f32>;

// One invocation a row of a head.
@compute @workgroup_size(WG)
fn row_terms(grid: Grid, me: Invocation) {
    let row = thread_index(grid, me, WG);
    if row >= p.batch * p.heads * p.len {
        return;
    }
    let i = row % p.len;
    let head = row / p.len;
    let first = row_at(Place(head / p.heads, head % p.heads, 0u), i);
    var delta = 0.0;
    for (var e = first; e < first + HEAD_DIM; e++) {
        delta += dy[e] * given_y[e];
    }
    terms[row * 3u] = given_lse[row];
    terms[row * 3u + 1u] = delta;
    terms[row * 3u + 2u] = select(0.0, 1.0, keep[head / p.heads * p.len + i] != 0u);
}

@group(0) @binding(12) var<storage, read_write> dq: array<f32>;
@group(0) @binding(13) var<storage, read_write> dk: array<f32>;
@group(0) @binding(14) var<storage, read_write> dv: array<f32>;

fn dy_quad(at: Place, i: u32, c: u32) -> vec4<f32> {
    let first = row_at(at, i) + 4u * c;
    let width = quad_width(i, c);
    var x = vec4<f32>();
    if width == 4u {
        x = vec4(dy[first], dy[first + 1u], dy[first + 2u], dy[first + 3u]);
    } else if width > 0u {
        x.x = dy[first];
        if width > 1u {
            x.y = dy[first + 1u];
        }
        if width > 2u {
            x.z = dy[first + 2u];
        }
    }
    return x;
}

// (w, ds) of query i and key j, which are rows r of own_* and c of tile_*: q and k in *_a, dy and v in *_b, either way round.
fn pair(at: Place, i: u32, j: u32, r: u32, c: u32) -> vec2<f32> {
    let head = (at.b * p.heads + at.h) * p.len;
    if !reaches(i, j) || terms[(head + j) * 3u + 2u] == 0.0 {
        return vec2(0.0);
    }
    let probability = exp_or_nan(p.scale * product_a(r, c) - terms[(head + i) * 3u]);
    let f = factor(at, i, j);
    let slope = f * product_b(r, c) - terms[(head + i) * 3u + 1u];
    return vec2(f * probability, p.scale * probability * slope);
}

@compute @workgroup_size(WG)
fn backward_queries(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    if g >= p.batch * p.heads * row_tiles() {
        return;
    }
    let at = place_of(g);
    let local = local_index(me, WG);
    for (var e = local; e < ROWS * QUADS; e += WG) {
        own_a[e / QUADS * PITCH + e % QUADS] = q_quad(at, at.first + e / QUADS, e % QUADS);
        own_b[e / QUADS * PITCH + e % QUADS] = dy_quad(at, at.first + e / QUADS, e % QUADS);
    }
    let own = local / SHARERS;
    let part = local % SHARERS;
    var sums = array<vec4<f32>, OWN_QUADS>();
    let end = select(p.len, min(p.len, at.first + ROWS), CAUSAL == 1u);
    for (var start = 0u; start < end; start += OTHERS) {
        for (var e = local; e < OTHERS * QUADS; e += WG) {
            tile_a[e / QUADS * PITCH + e % QUADS] = k_quad(at, start + e / QUADS, e % QUADS);
            tile_b[e / QUADS * PITCH + e % QUADS] = v_quad(at, start + e / QUADS, e % QUADS);
        }
        workgroupBarrier();
        for (var n = 0u; n < PAIRS; n++) {
            let r = (local * PAIRS + n) / OTHERS;
            let c = (local * PAIRS + n) % OTHERS;
            pairs_b[r * PAIR_PITCH + c] = pair(at, at.first + r, start + c, r, c).y;
        }
        workgroupBarrier();
        for (var c = 0u; c < OTHERS; c++) {
            //!unroll
            for (var n = 0u; n < OWN_QUADS; n++) {
                let x = tile_a[c * PITCH + min(part + n * SHARERS, QUADS - 1u)];
                sums[n] += pairs_b[own * PAIR_PITCH + c] * x;
            }
        }
        workgroupBarrier(); // before the next tiles are written
    }
    let i = at.first + own;
    //!unroll
    for (var n = 0u; n < OWN_QUADS; n++) {
        let c = part + n * SHARERS;
        if c < QUADS {
            for (var e = 0u; e < quad_width(i, c); e++) {
                dq[row_at(at, i) + 4u * c + e] = sums[n][e];
            }
        }
    }
}

@compute @workgroup_size(WG)
fn backward_keys(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    if g >= p.batch * p.heads * row_tiles() {
        return;
    }
    let at = place_of(g);
    let local = local_index(me, WG);
    for (var e = local; e < ROWS * QUADS; e += WG) {
        own_a[e / QUADS * PITCH + e % QUADS] = k_quad(at, at.first + e / QUADS, e % QUADS);
        own_b[e / QUADS * PITCH + e % QUADS] = v_quad(at, at.first + e / QUADS, e % QUADS);
    }
    let own = local / SHARERS;
    let part = local % SHARERS;
    var k_sums = array<vec4<f32>, OWN_QUADS>();
    var v_sums = array<vec4<f32>, OWN_QUADS>();
    for (var start = select(0u, at.first, CAUSAL == 1u); start < p.len; start += OTHERS) {
        for (var e = local; e < OTHERS * QUADS; e += WG) {
            tile_a[e / QUADS * PITCH + e % QUADS] = q_quad(at, start + e / QUADS, e % QUADS);
            tile_b[e / QUADS * PITCH + e % QUADS] = dy_quad(at, start + e / QUADS, e % QUADS);
        }
        workgroupBarrier();
        // Here the pairs of an invocation are neighbours in keys, which share the words of dropout.
        for (var n = 0u; n < PAIRS; n++) {
            let r = (local * PAIRS + n) % ROWS;
            let c = (local * PAIRS + n) / ROWS;
            let both = pair(at, start + c, at.first + r, r, c);
            pairs_a[r * PAIR_PITCH + c] = both.x;
            pairs_b[r * PAIR_PITCH + c] = both.y;
        }
        workgroupBarrier();
        for (var c = 0u; c < OTHERS; c++) {
            //!unroll
            for (var n = 0u; n < OWN_QUADS; n++) {
                let e = c * PITCH + min(part + n * SHARERS, QUADS - 1u);
                k_sums[n] += pairs_b[own * PAIR_PITCH + c] * tile_a[e];
                v_sums[n] += pairs_a[own * PAIR_PITCH + c] * tile_b[e];
            }
        }
        workgroupBarrier(); // before the next tiles are written
    }
    let j = at.first + own;
    //!unroll
    for (var n = 0u; n < OWN_QUADS; n++) {
        let c = part + n * SHARERS;
        if c < QUADS {
            for (var e = 0u; e < quad_width(j, c); e++) {
                dk[row_at(at, j) + 4u * c + e] = k_sums[n][e];
                dv[row_at(at, j) + 4u * c + e] = v_sums[n][e];
            }
        }
    }
}
