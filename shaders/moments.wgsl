// Weighted mean and variance over a sequence (PoMRec, equations 5 and 6: centrality and dispersion of an interest).
//   mean[b, k, c] = sum_t a[b, t, k] h[b, t, c]
//   variance[b, k, c] = sum_t a[b, t, k] (h[b, t, c] - mean[b, k, c])^2
// a: [B, T, K], h: [B, T, d]; mean, variance and their gradients: [B, K, d].
// The variance takes a second pass: E[h^2] - E[h]^2 would lose every digit of a small dispersion.
//!import index
struct Params { batch: u32, t: u32, k: u32, d: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> h: array<f32>;
@group(0) @binding(2) var<storage, read_write> mean: array<f32>;
@group(0) @binding(3) var<storage, read_write> variance: array<f32>;

// One invocation an element (b, k, c); neighbours share a and read neighbours of h.
@compute @workgroup_size(WG)
fn forward(grid: Grid, me: Invocation) {
    let i = thread_index(grid, me, WG);
    if i >= p.batch * p.k * p.d {
        return;
    }
    let c = i % p.d;
    let k = i / p.d % p.k;
    let first = i / p.d / p.k * p.t;
    var m = 0.0;
    for (var t = first; t < first + p.t; t++) {
        m += a[t * p.k + k] * h[t * p.d + c];
    }
    var v = 0.0;
    for (var t = first; t < first + p.t; t++) {
        let apart = h[t * p.d + c] - m;
        v += a[t * p.k + k] * apart * apart;
    }
    mean[i] = m;
    variance[i] = v;
}

@group(0) @binding(4) var<storage, read> given_mean: array<f32>;
@group(0) @binding(5) var<storage, read> dmean: array<f32>;
@group(0) @binding(6) var<storage, read> dvariance: array<f32>;
@group(0) @binding(7) var<storage, read_write> da: array<f32>;
@group(0) @binding(8) var<storage, read_write> dh: array<f32>;

// 1 - sum_t a[t, k]: with it, sum_t a (h - mean) = rest * mean, since mean = sum_t a h. K * 4 bytes.
var<workgroup> rest: array<f32, K>;

// The gradient that reaches the mean at (k, c), j = (b, k, c): directly, and through the variance.
fn mean_gradient(j: u32, k: u32) -> f32 {
    return dmean[j] - 2.0 * dvariance[j] * given_mean[j] * rest[k];
}

// With g = mean_gradient and e = h - mean:
//   da = sum_c g h + dvariance e^2        dh = sum_k a (g + 2 dvariance e)
// One workgroup a sequence b: its invocations take the elements (t, k) of da, then those (t, c) of dh.
@compute @workgroup_size(WG)
fn backward(grid: Grid, me: Invocation) {
    let b = group_index(grid);
    if b >= p.batch {
        return;
    }
    let local = local_index(me, WG);
    let first = b * p.t;
    for (var k = local; k < p.k; k += WG) {
        var sum = 0.0;
        for (var t = first; t < first + p.t; t++) {
            sum += a[t * p.k + k];
        }
        rest[k] = 1.0 - sum;
    }
    workgroupBarrier();
    for (var e = local; e < p.t * p.k; e += WG) {
        let k = e % p.k;
        let t = first + e / p.k;
        var sum = 0.0;
        for (var c = 0u; c < p.d; c++) {
            let j = (b * p.k + k) * p.d + c;
            let apart = h[t * p.d + c] - given_mean[j];
            sum += mean_gradient(j, k) * h[t * p.d + c] + dvariance[j] * apart * apart;
        }
        da[t * p.k + k] = sum;
    }
    for (var e = local; e < p.t * p.d; e += WG) {
        let c = e % p.d;
        let t = first + e / p.d;
        var sum = 0.0;
        for (var k = 0u; k < p.k; k++) {
            let j = (b * p.k + k) * p.d + c;
            let apart = h[t * p.d + c] - given_mean[j];
            sum += a[t * p.k + k] * (mean_gradient(j, k) + 2.0 * dvariance[j] * apart);
        }
        dh[t * p.d + c] = sum;
    }
}
