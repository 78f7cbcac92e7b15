// The weights of vectors whose weighted mean is the shortest, from their products:
//   a = argmin a^T G a,   a >= 0,   sum_i a_i = 1
// gram: [T, T]; weights: [T]. T <= N = 8.
// Of every set of vectors the point of its affine hull that is nearest to 0 is found: with b the shortest of them,
//   D a' = r,   D_ij = (v_i - v_b) (v_j - v_b),   r_i = -(v_i - v_b) v_b,   a_b = 1 - sum_i a'_i,   by D = L E L^T
// The shortest of those with a >= 0 is the answer: 255 sets at most, about T^3 / 3 multiply-adds each.
// One workgroup; invocation i takes the sets 1 + i, 1 + i + WG, .. and touches no other's part of the workgroup memory before the
// barrier: (N^2 + 2 N) WG * 4 bytes.
//!import index
//!import math
struct Params { t: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> gram: array<f32>;
@group(0) @binding(1) var<storage, read_write> weights: array<f32>;

const LEAST_PIVOT = 1e-6;

// Of an invocation: element e WG + its number.
var<workgroup> lower: array<f32, N * N * WG>;
var<workgroup> point: array<f32, N * WG>;
var<workgroup> best: array<f32, N * WG>;
var<workgroup> norms: array<f32, WG>;
var<workgroup> sets: array<u32, WG>;

fn inside(members: u32, i: u32) -> bool {
    return ((members >> i) & 1u) == 1u;
}

fn product(i: u32, j: u32) -> f32 {
    return gram[i * p.t + j];
}

// The shortest of a set of vectors.
fn shortest_of(members: u32) -> u32 {
    var shortest = firstTrailingBit(members);
    for (var i = shortest + 1u; i < p.t; i++) {
        if inside(members, i) && product(i, i) < product(shortest, shortest) {
            shortest = i;
        }
    }
    return shortest;
}

// Fills `lower` with L and E of the vectors `others` from vector `base` on. False where these depend on each other.
fn decompose(others: u32, base: u32, local: u32) -> bool {
    for (var j = 0u; j < p.t; j++) {
        for (var i = 0u; i < p.t; i++) {
            var left = 0.0;
            if i >= j && inside(others, i) && inside(others, j) {
                left = product(i, j) - product(i, base) - (product(j, base) - product(base, base));
                for (var k = 0u; k < j; k++) {
                    left -= lower[(i * N + k) * WG + local] * lower[(j * N + k) * WG + local] * lower[(k * N + k) * WG + local];
                }
                if i > j {
                    left /= lower[(j * N + j) * WG + local];
                }
            }
            lower[(i * N + j) * WG + local] = left;
        }
        if inside(others, j) && !(lower[(j * N + j) * WG + local] > LEAST_PIVOT * product(j, j)) {
            return false;
        }
    }
    return true;
}

// Solves for the weights of `others`, and that of `base`, into `point`.
fn solve(others: u32, base: u32, local: u32) {
    for (var i = 0u; i < p.t; i++) {
        var z = 0.0;
        if inside(others, i) {
            z = product(base, base) - product(i, base);
        }
        for (var k = 0u; k < i; k++) {
            z -= lower[(i * N + k) * WG + local] * point[k * WG + local];
        }
        point[i * WG + local] = z;
    }
    for (var i = 0u; i < p.t; i++) {
        if inside(others, i) {
            point[i * WG + local] /= lower[(i * N + i) * WG + local];
        }
    }
    var rest = 1.0;
    for (var from_end = 1u; from_end <= p.t; from_end++) {
        let i = p.t - from_end;
        var z = point[i * WG + local];
        for (var k = i + 1u; k < p.t; k++) {
            z -= lower[(k * N + i) * WG + local] * point[k * WG + local];
        }
        point[i * WG + local] = z;
        rest -= z;
    }
    point[base * WG + local] = rest;
}

@compute @workgroup_size(WG)
fn forward(me: Invocation) {
    let local = local_index(me, WG);
    norms[local] = 0.0;
    sets[local] = 0u;
    for (var members = 1u + local; members < (1u << p.t); members += WG) {
        let base = shortest_of(members);
        let others = members & ~(1u << base);
        if !decompose(others, base, local) {
            continue;
        }
        solve(others, base, local);
        var least = 0.0;
        for (var i = 0u; i < p.t; i++) {
            least = min(least, point[i * WG + local]);
        }
        var norm = 0.0;
        for (var i = 0u; i < p.t; i++) {
            var row = 0.0;
            for (var j = 0u; j < p.t; j++) {
                row += point[j * WG + local] * gram[i * p.t + j];
            }
            norm += point[i * WG + local] * row;
        }
        if least < 0.0 || !is_finite(norm) || (sets[local] != 0u && norm >= norms[local]) {
            continue;
        }
        norms[local] = norm;
        sets[local] = members;
        for (var i = 0u; i < p.t; i++) {
            best[i * WG + local] = point[i * WG + local];
        }
    }
    workgroupBarrier();
    var shortest = WG;
    for (var i = 0u; i < WG; i++) {
        if sets[i] == 0u {
            continue;
        }
        if shortest == WG {
            shortest = i;
        } else if norms[i] < norms[shortest] || (norms[i] == norms[shortest] && sets[i] < sets[shortest]) {
            shortest = i;
        }
    }
    var broken = 0.0;
    for (var e = 0u; e < p.t * p.t; e++) {
        if !is_finite(gram[e]) {
            broken = finite_or_nan(gram[e]);
        }
    }
    if local < p.t {
        // Some set is of one vector, and finite.
        weights[local] = broken;
        if is_finite(broken) {
            weights[local] = best[local * WG + shortest];
        }
    }
}
