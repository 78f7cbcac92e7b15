// The logarithm of the determinant of symmetric positive definite matrices, and their inverses, by Cholesky:
//   A = L L^T,   y = 2 sum_i log l_ii,   A^-1 = X^T X,   X = L^-1
// a, inverse: [count, n, n], of a only the lower triangle is read; y: [count]. n <= 64.
// One workgroup a matrix: n^2 * 4 bytes of workgroup memory hold L, and above its diagonal X transposed, so that the invocation of a
// column of X reads what no other writes. 3 n barriers; about n^3 / 6, n^3 / 6 and n^3 / 3 multiply-adds.
//!import index
//!import math
struct Params { count: u32, n: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> inverse: array<f32>;

var<workgroup> l: array<f32, SIZE>;

// x_ki, k >= i.
fn x_at(k: u32, i: u32) -> f32 {
    let value = l[i * p.n + k];
    return select(value, 1.0 / value, k == i);
}

@compute @workgroup_size(WG)
fn forward(grid: Grid, me: Invocation) {
    let b = group_index(grid);
    if b >= p.count {
        return;
    }
    let local = local_index(me, WG);
    let n = p.n;
    let first = b * n * n;
    for (var e = local; e < n * n; e += WG) {
        l[e] = a[first + e];
    }
    workgroupBarrier();
    for (var j = 0u; j < n; j++) {
        let root = sqrt(l[j * n + j]);
        workgroupBarrier(); // before the diagonal is written
        if local == 0u {
            l[j * n + j] = root;
        }
        for (var i = j + 1u + local; i < n; i += WG) {
            l[i * n + j] /= root;
        }
        workgroupBarrier();
        // The lower triangle of what is left, (i, k) with j < k <= i.
        let rest = n - j - 1u;
        for (var e = local; e < rest * rest; e += WG) {
            let i = j + 1u + e / rest;
            let k = j + 1u + e % rest;
            if k <= i {
                l[i * n + k] -= l[i * n + j] * l[k * n + j];
            }
        }
        workgroupBarrier();
    }
    if local == 0u {
        var sum = 0.0;
        for (var j = 0u; j < n; j++) {
            sum += log_positive(l[j * n + j]);
        }
        y[b] = 2.0 * sum;
    }
    for (var j = local; j < n; j += WG) {
        for (var i = j + 1u; i < n; i++) {
            var sum = 0.0;
            for (var k = j; k < i; k++) {
                sum += l[i * n + k] * x_at(k, j);
            }
            l[j * n + i] = -sum / l[i * n + i];
        }
    }
    workgroupBarrier();
    for (var e = local; e < n * n; e += WG) {
        let i = e / n;
        let j = e % n;
        var sum = 0.0;
        for (var k = max(i, j); k < n; k++) {
            sum += x_at(k, i) * x_at(k, j);
        }
        inverse[first + e] = sum;
    }
}
