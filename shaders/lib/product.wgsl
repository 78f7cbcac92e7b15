// What every kernel of matrix products has: its parameters, where elements lie, and the epilogue.
//   y[s, i, j] = activation(sum_l a[s, i, l] b[s, l, j] + bias[j])   or, where ADD, that added to y
// a: [batch, m, k], or [batch, k, m] where TRANSPOSE_A; b: [batch, k, n], or [batch, n, k] where TRANSPOSE_B, `b_batch`
// elements apart (0: one b for all); bias: [n] where BIAS (else the binding is not read); y: [batch, m, n].
// Each begins at element `a_first`, .. of its buffer: other kernels multiply blocks of larger matrices.
// A long sum with few outputs (the gradient of a weight) would keep only a few workgroups busy: it is made in parts, sums over
// k_part terms each, [parts, m, n], which `join` of matmul.wgsl adds in order: the same bits every time.
//!import math
struct Params {
    batch: u32, m: u32, n: u32, k: u32, b_batch: u32, k_part: u32,
    a_first: u32, b_first: u32, bias_first: u32, y_first: u32,
}
var<immediate> p: Params;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

fn a_at(s: u32, i: u32, l: u32) -> u32 {
    return p.a_first + s * p.m * p.k + select(i * p.k + l, l * p.m + i, TRANSPOSE_A == 1u);
}

fn b_at(s: u32, l: u32, j: u32) -> u32 {
    return p.b_first + s * p.b_batch + select(l * p.n + j, j * p.k + l, TRANSPOSE_B == 1u);
}

// Writes element e of y, in column j.
fn finish(e: u32, j: u32, sum: f32) {
    var z = sum;
    if BIAS == 1u {
        z += bias[p.bias_first + j];
    }
    if ACTIVATION == 1u {
        z = relu(z);
    } else if ACTIVATION == 2u {
        z = tanh_accurate(z);
    } else if ACTIVATION == 3u {
        z = sigmoid(z);
    }
    if ADD == 1u {
        z += y[p.y_first + e];
    }
    y[p.y_first + e] = z;
}
