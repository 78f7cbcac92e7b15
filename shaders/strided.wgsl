// Strided copy of words, floats or integers alike.
//   y[y_start + i . to_strides] = x[x_start + i . from_strides]   for every i = (i0, .., i3) within the extents
// Expansion (strides of 0), permutation, slice, padding and concatenation are all one of these. Axes that run together on
// both sides are joined on the host, so that four do; unused leading ones have extent 1. One invocation a word; the last axis
// is the fastest, so that neighbours write neighbours.
//!import index
struct Params { extents: vec4<u32>, from_strides: vec4<u32>, to_strides: vec4<u32>, x_start: u32, y_start: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> y: array<u32>;

@compute @workgroup_size(WG)
fn copy(grid: Grid, me: Invocation) {
    var rest = thread_index(grid, me, WG);
    let i3 = rest % p.extents.w;
    rest /= p.extents.w;
    let i2 = rest % p.extents.z;
    rest /= p.extents.z;
    let i1 = rest % p.extents.y;
    let i0 = rest / p.extents.y;
    if i0 >= p.extents.x {
        return;
    }
    let i = vec4(i0, i1, i2, i3);
    y[p.y_start + dot(i, p.to_strides)] = x[p.x_start + dot(i, p.from_strides)];
}

// y = 0 in its first p.y_start words: what padding is before the copy.
@compute @workgroup_size(WG)
fn zero(grid: Grid, me: Invocation) {
    let i = thread_index(grid, me, WG);
    if i < p.y_start {
        y[i] = 0u;
    }
}
