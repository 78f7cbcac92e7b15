// Batched matrix product with bias and activation in the epilogue: lib/product.wgsl has the formula.
// `tiled`: a workgroup makes a tile of TILE x TILE outputs, walking k in steps of DEPTH. Each of its SIDE^2 invocations keeps
// BLOCKS x BLOCKS blocks of 4 x 4 of them in registers, so that 2 BLOCKS reads of four elements from workgroup memory feed
// 16 BLOCKS^2 multiply-adds: what is read there, not the arithmetic, is what a GPU would wait for. 2 DEPTH (TILE + 4) * 4 bytes
// of workgroup memory: 8.5 KiB at most. `simple`: one invocation an output, for products too small to fill a tile.
// `parts` and `join`: long sums with few outputs. cooperative.wgsl has products of f16 by tensor cores.
//!import index
//!import product
//!import sum
@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;

const QUADS: u32 = SIDE * BLOCKS; // of a tile's side
const TILE: u32 = 4u * QUADS;
const DEPTH: u32 = 16u / BLOCKS;
// A row of a tile lies one quad further along than it needs to: invocations that fill a column then write to different banks.
const PITCH: u32 = QUADS + 1u;
var<workgroup> a_tile: array<vec4<f32>, DEPTH * PITCH>; // [l, i / 4]
var<workgroup> b_tile: array<vec4<f32>, DEPTH * PITCH>; // [l, j / 4]

// Elements (i..i + 4, l) of a and (l, j..j + 4) of b, zeros past the ends. Each component is written by its name: FXC, which
// unrolls loops that write them by an index, fails there.
fn a_quad(s: u32, i: u32, l: u32, end: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if l < end {
        if i < p.m {
            quad.x = a[a_at(s, i, l)];
        }
        if i + 1u < p.m {
            quad.y = a[a_at(s, i + 1u, l)];
        }
        if i + 2u < p.m {
            quad.z = a[a_at(s, i + 2u, l)];
        }
        if i + 3u < p.m {
            quad.w = a[a_at(s, i + 3u, l)];
        }
    }
    return quad;
}

fn b_quad(s: u32, l: u32, j: u32, end: u32) -> vec4<f32> {
    var quad = vec4<f32>();
    if l < end {
        if j < p.n {
            quad.x = b[b_at(s, l, j)];
        }
        if j + 1u < p.n {
            quad.y = b[b_at(s, l, j + 1u)];
        }
        if j + 2u < p.n {
            quad.z = b[b_at(s, l, j + 2u)];
        }
        if j + 3u < p.n {
            quad.w = b[b_at(s, l, j + 3u)];
        }
    }
    return quad;
}

// Copies terms begin..begin + DEPTH of the tile at `corner` = (i, j) to workgroup memory. Neighbouring invocations read
// neighbouring elements, whichever way an operand lies.
fn load_tiles(s: u32, corner: vec2<u32>, begin: u32, end: u32, local: u32) {
    for (var e = local; e < QUADS * DEPTH; e += SIDE * SIDE) {
        let along = vec2(e / DEPTH, e % DEPTH); // (quad, depth), depth fastest
        let across = vec2(e % QUADS, e / QUADS); // (quad, depth), quad fastest
        let x = select(along, across, TRANSPOSE_A == 1u);
        let z = select(across, along, TRANSPOSE_B == 1u);
        a_tile[x.y * PITCH + x.x] = a_quad(s, corner.x + 4u * x.x, begin + x.y, end);
        b_tile[z.y * PITCH + z.x] = b_quad(s, begin + z.y, corner.y + 4u * z.x, end);
    }
}

// The blocks of an invocation, 4 SIDE outputs apart along each side of the tile: column r of a matrix is output row r.
struct Blocks { top_left: mat4x4<f32>, top_right: mat4x4<f32>, bottom_left: mat4x4<f32>, bottom_right: mat4x4<f32> }

fn outer(x: vec4<f32>, z: vec4<f32>) -> mat4x4<f32> {
    return mat4x4(x.x * z, x.y * z, x.z * z, x.w * z);
}

// The sums over l in begin..end of an invocation's outputs; with BLOCKS = 1 those of its top left block alone.
fn tile_sums(s: u32, corner: vec2<u32>, begin: u32, end: u32, local: u32) -> Blocks {
    let row = local / SIDE;
    let column = local % SIDE;
    var sums = Blocks();
    for (var l0 = begin; l0 < end; l0 += DEPTH) {
        load_tiles(s, corner, l0, end, local);
        workgroupBarrier();
        for (var l = 0u; l < DEPTH; l++) {
            let x = a_tile[l * PITCH + row];
            let z = b_tile[l * PITCH + column];
            sums.top_left += outer(x, z);
            if BLOCKS == 2u {
                let below = a_tile[l * PITCH + row + SIDE];
                let right = b_tile[l * PITCH + column + SIDE];
                sums.top_right += outer(x, right);
                sums.bottom_left += outer(below, z);
                sums.bottom_right += outer(below, right);
            }
        }
        workgroupBarrier(); // before the next tiles are written
    }
    return sums;
}

// Writes the block whose first output is at `first` = (i, j).
fn put(s: u32, first: vec2<u32>, sums: mat4x4<f32>) {
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            let i = first.x + r;
            let j = first.y + c;
            if i < p.m && j < p.n {
                finish((s * p.m + i) * p.n + j, j, sums[r][c]);
            }
        }
    }
}

fn tiles() -> vec2<u32> {
    return (vec2(p.m, p.n) + TILE - 1u) / TILE;
}

@compute @workgroup_size(WG)
fn tiled(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    let count = tiles();
    let s = g / (count.x * count.y);
    if s >= p.batch {
        return;
    }
    let local = local_index(me, WG);
    let corner = vec2(g / count.y % count.x, g % count.y) * TILE;
    let sums = tile_sums(s, corner, 0u, p.k, local);
    let first = corner + vec2(local / SIDE, local % SIDE) * 4u;
    put(s, first, sums.top_left);
    if BLOCKS == 2u {
        let across = 4u * SIDE;
        put(s, first + vec2(0u, across), sums.top_right);
        put(s, first + vec2(across, 0u), sums.bottom_left);
        put(s, first + across, sums.bottom_right);
    }
}

// With BLOCKS = 1.
@compute @workgroup_size(WG)
fn parts(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    let count = tiles();
    let part = g / (count.x * count.y);
    let begin = part * p.k_part;
    if begin >= p.k {
        return;
    }
    let local = local_index(me, WG);
    let corner = vec2(g / count.y % count.x, g % count.y) * TILE;
    let sums = tile_sums(0u, corner, begin, min(begin + p.k_part, p.k), local).top_left;
    let first = corner + vec2(local / SIDE, local % SIDE) * 4u;
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            let i = first.x + r;
            let j = first.y + c;
            if i < p.m && j < p.n {
                partial[(part * p.m + i) * p.n + j] = sums[r][c];
            }
        }
    }
}

@compute @workgroup_size(WG)
fn join(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e >= p.m * p.n {
        return;
    }
    var sum = Sum();
    for (var part = 0u; part * p.k_part < p.k; part++) {
        add(&sum, partial[part * p.m * p.n + e]);
    }
    finish(e, e % p.n, total(sum));
}

@compute @workgroup_size(WG)
fn simple(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e >= p.batch * p.m * p.n {
        return;
    }
    let j = e % p.n;
    let i = e / p.n % p.m;
    let s = e / p.n / p.m;
    var sum = 0.0;
    for (var l = 0u; l < p.k; l++) {
        sum += a[a_at(s, i, l)] * b[b_at(s, l, j)];
    }
    finish(e, j, sum);
}
