// Complex linear layer over blocks of channels (DPCPL, equation 3; adaptive Fourier neural operators):
//   forward:  y[r, n] = act(x[r, n] W[n] + bias[n]),  act = ReLU on real and imaginary parts apart where RELU
//   ADJOINT:  y[r, n] = x[r, n] conj(W[n])^T, the gradient by x
//   weight:   dW[n] = sum_r conj(x[r, n])^T dz[r, n]
// x: [rows, 2, blocks a], y, dz: [rows, 2, blocks b] (the other way round where ADJOINT), real parts before imaginary ones;
// weight, dweight: [blocks, 2, a, b]; bias: [2, blocks b] where BIAS (else the binding stands for x, and is not read).
// One invocation a complex output: neighbours read the same x and neighbouring weights. The gradient of the weight is summed
// over p.chunk rows by `weight_parts`, in `partial` [chunks, blocks, 2, a, b], and by `weight_join` in their order.
//!import index
//!import math
//!import sum
struct Params { rows: u32, blocks: u32, a: u32, b: u32, chunk: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn forward(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    let terms = select(p.a, p.b, ADJOINT == 1u);
    let outputs = select(p.b, p.a, ADJOINT == 1u);
    let width = p.blocks * outputs;
    if e >= p.rows * width {
        return;
    }
    let c = e % width;
    let n = c / outputs;
    let first = e / width * 2u * p.blocks * terms + n * terms;
    var at = n * 2u * p.a * p.b + select(c % outputs, c % outputs * p.b, ADJOINT == 1u);
    let step = select(p.b, 1u, ADJOINT == 1u);
    let sign = select(1.0, -1.0, ADJOINT == 1u);
    var sum = vec2(0.0);
    for (var i = 0u; i < terms; i++) {
        let re = x[first + i];
        let im = x[first + p.blocks * terms + i];
        let w = weight[at];
        let v = sign * weight[at + p.a * p.b];
        sum += vec2(re * w - im * v, im * w + re * v);
        at += step;
    }
    if BIAS == 1u {
        sum += vec2(bias[c], bias[width + c]);
    }
    if RELU == 1u {
        sum = vec2(relu(sum.x), relu(sum.y));
    }
    let to = e / width * 2u * width + c;
    y[to] = sum.x;
    y[to + width] = sum.y;
}

@group(0) @binding(4) var<storage, read> dz: array<f32>;
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;
@group(0) @binding(6) var<storage, read_write> dweight: array<f32>;

@compute @workgroup_size(WG)
fn weight_parts(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    let count = p.a * p.b;
    let part = e / (p.blocks * count);
    if part * p.chunk >= p.rows {
        return;
    }
    let n = e / count % p.blocks;
    let i = n * p.a + e / p.b % p.a;
    let j = n * p.b + e % p.b;
    var re_sum = Sum();
    var im_sum = Sum();
    for (var r = part * p.chunk; r < min((part + 1u) * p.chunk, p.rows); r++) {
        let from_x = r * 2u * p.blocks * p.a + i;
        let from_z = r * 2u * p.blocks * p.b + j;
        let re = x[from_x];
        let im = x[from_x + p.blocks * p.a];
        let z = vec2(dz[from_z], dz[from_z + p.blocks * p.b]);
        add(&re_sum, re * z.x + im * z.y);
        add(&im_sum, re * z.y - im * z.x);
    }
    let to = (part * p.blocks + n) * 2u * count + e % count;
    partial[to] = total(re_sum);
    partial[to + count] = total(im_sum);
}

@compute @workgroup_size(WG)
fn weight_join(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    let count = p.blocks * 2u * p.a * p.b;
    if e >= count {
        return;
    }
    var sum = Sum();
    for (var part = 0u; part * p.chunk < p.rows; part++) {
        add(&sum, partial[part * count + e]);
    }
    dweight[e] = total(sum);
}
