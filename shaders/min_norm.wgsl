// The weights of vectors whose weighted mean is the shortest, from their products:
//   a = argmin a^T G a,   a >= 0,   sum_i a_i = 1
// gram: [T, T]; weights: [T]. T <= N = 8.
// Of every set S of vectors the point of its affine hull that is nearest to 0 is a = z / sum z with G_S z = 1, here by
// G_S = L D L^T. The shortest of those with a >= 0 is the answer: 255 sets at most, about T^3 / 3 multiply-adds each.
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

fn inside(set: u32, i: u32) -> bool {
    return ((set >> i) & 1u) == 1u;
}

// Fills `lower` with L and D of a set of several vectors. False where these depend on each other.
fn decompose(set: u32, local: u32) -> bool {
    for (var j = 0u; j < p.t; j++) {
        for (var i = 0u; i < p.t; i++) {
            var left = 0.0;
            if i >= j && inside(set, i) && inside(set, j) {
                left = gram[i * p.t + j];
                for (var k = 0u; k < j; k++) {
                    left -= lower[(i * N + k) * WG + local] * lower[(j * N + k) * WG + local] * lower[(k * N + k) * WG + local];
                }
                if i > j {
                    left /= lower[(j * N + j) * WG + local];
                }
            }
            lower[(i * N + j) * WG + local] = left;
        }
        if inside(set, j) && !(lower[(j * N + j) * WG + local] > LEAST_PIVOT * gram[j * p.t + j]) {
            return false;
        }
    }
    return true;
}

// Solves L D L^T z = 1 into `point`.
fn solve(set: u32, local: u32) {
    for (var i = 0u; i < p.t; i++) {
        var z = select(0.0, 1.0, inside(set, i));
        for (var k = 0u; k < i; k++) {
            z -= lower[(i * N + k) * WG + local] * point[k * WG + local];
        }
        point[i * WG + local] = z;
    }
    for (var i = 0u; i < p.t; i++) {
        if inside(set, i) {
            point[i * WG + local] /= lower[(i * N + i) * WG + local];
        }
    }
    for (var from_end = 1u; from_end <= p.t; from_end++) {
        let i = p.t - from_end;
        var z = point[i * WG + local];
        for (var k = i + 1u; k < p.t; k++) {
            z -= lower[(k * N + i) * WG + local] * point[k * WG + local];
        }
        point[i * WG + local] = z;
    }
}

@compute @workgroup_size(WG)
fn forward(me: Invocation) {
    let local = local_index(me, WG);
    norms[local] = 0.0;
    sets[local] = 0u;
    for (var set = 1u + local; set < (1u << p.t); set += WG) {
        if countOneBits(set) == 1u {
            for (var i = 0u; i < p.t; i++) {
                point[i * WG + local] = select(0.0, 1.0, inside(set, i));
            }
        } else {
            if !decompose(set, local) {
                continue;
            }
            solve(set, local);
        }
        var sum = 0.0;
        for (var i = 0u; i < p.t; i++) {
            sum += point[i * WG + local];
        }
        var least = 0.0;
        for (var i = 0u; i < p.t; i++) {
            let a = point[i * WG + local] / sum;
            point[i * WG + local] = a;
            least = min(least, a);
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
        sets[local] = set;
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
    if local < p.t {
        weights[local] = 1.0 / f32(p.t);
        if shortest < WG {
            weights[local] = best[local * WG + shortest];
        }
    }
}
