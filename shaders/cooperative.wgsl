// Batched matrix product of f16 by cooperative matrices (tensor cores), summed in f32: lib/product.wgsl has the formula.
// A subgroup holds a matrix of SIZE x SIZE in the registers of all its invocations, in an order that only the device knows, and
// multiplies two in one instruction. SIZE is 8 or 16, whichever the adapter has: `coop_mat_SIZE` becomes the name of the type.
// A workgroup makes a tile of TILE x TILE outputs, walking k in steps of DEPTH; each of four subgroups makes 2 x 2 matrices of
// it, so that 4 loads from workgroup memory feed 4 products. Operands lie in workgroup memory as they do in their buffers:
// a load can read by rows or by columns, so that no transposition is written out. Past the ends are zeros.
// Rows of a and b are read by four elements: the extent that is contiguous must be a multiple of 4.
// At most 14 KiB of workgroup memory. Where PARTS, y are the sums of parts. Where all subgroups have SUBGROUP invocations, src/kernels/source.rs
// makes `subgroup` the quotient by it: the built-in needs a capability with which a compiler was reported to crash.
enable f16;
enable wgpu_cooperative_matrix;
//!import index
//!import product
@group(0) @binding(0) var<storage, read> a: array<vec4<f16>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f16>>;

const TILE: u32 = 4u * SIZE;
const DEPTH: u32 = 2u * SIZE;
// Elements along a row and rows of each operand's tile. Eight more, so that neighbouring rows lie in other banks, and each
// begins at a multiple of 16 bytes, which a load needs.
const A_WIDTH: u32 = TRANSPOSE_A * TILE + (1u - TRANSPOSE_A) * DEPTH;
const B_WIDTH: u32 = TRANSPOSE_B * DEPTH + (1u - TRANSPOSE_B) * TILE;
const A_PITCH: u32 = A_WIDTH + 8u;
const B_PITCH: u32 = B_WIDTH + 8u;
var<workgroup> a_tile: array<f16, TILE * DEPTH / A_WIDTH * A_PITCH>; // [i, l], or [l, i] where TRANSPOSE_A
var<workgroup> b_tile: array<f16, TILE * DEPTH / B_WIDTH * B_PITCH>; // [l, j], or [j, l] where TRANSPOSE_B
var<workgroup> made: array<f32, 4u * SIZE * SIZE>; // a matrix of each subgroup, on its way out

alias Left = coop_mat_SIZE<f16, A>;
alias Right = coop_mat_SIZE<f16, B>;
alias Sums = coop_mat_SIZE<f32, C>;

// Copies terms begin..begin + DEPTH of the tile at `corner` = (i, j) to workgroup memory.
fn load_tiles(s: u32, corner: vec2<u32>, begin: u32, end: u32, local: u32) {
    for (var e = 4u * local; e < TILE * DEPTH; e += 4u * WG) {
        let place = vec2(e / A_WIDTH, e % A_WIDTH);
        let at = vec2(corner.x, begin) + select(place, place.yx, TRANSPOSE_A == 1u); // (i, l)
        var x = vec4<f16>();
        if at.x < p.m && at.y < end {
            x = a[a_at(s, at.x, at.y) / 4u];
        }
        let to = place.x * A_PITCH + place.y;
        a_tile[to] = x.x;
        a_tile[to + 1u] = x.y;
        a_tile[to + 2u] = x.z;
        a_tile[to + 3u] = x.w;
    }
    for (var e = 4u * local; e < TILE * DEPTH; e += 4u * WG) {
        let place = vec2(e / B_WIDTH, e % B_WIDTH);
        let at = vec2(begin, corner.y) + select(place, place.yx, TRANSPOSE_B == 1u); // (l, j)
        var x = vec4<f16>();
        if at.x < end && at.y < p.n {
            x = b[b_at(s, at.x, at.y) / 4u];
        }
        let to = place.x * B_PITCH + place.y;
        b_tile[to] = x.x;
        b_tile[to + 1u] = x.y;
        b_tile[to + 2u] = x.z;
        b_tile[to + 3u] = x.w;
    }
}

// The matrices at (i, l) of a's tile and at (l, j) of b's.
fn left(i: u32, l: u32) -> Left {
    if TRANSPOSE_A == 1u {
        return coopLoad<Left>(&a_tile[l * A_PITCH + i], A_PITCH);
    }
    return coopLoadT<Left>(&a_tile[i * A_PITCH + l], A_PITCH);
}

fn right(l: u32, j: u32) -> Right {
    if TRANSPOSE_B == 1u {
        return coopLoad<Right>(&b_tile[j * B_PITCH + l], B_PITCH);
    }
    return coopLoadT<Right>(&b_tile[l * B_PITCH + j], B_PITCH);
}

// Writes one matrix of each subgroup, which lies `shift` from the first of its four.
fn put(number: u32, corner: vec2<u32>, shift: vec2<u32>, local: u32) {
    for (var e = local; e < 4u * SIZE * SIZE; e += WG) {
        let maker = e / (SIZE * SIZE);
        let place = vec2(e / SIZE % SIZE, e % SIZE);
        let at = corner + 2u * SIZE * vec2(maker / 2u, maker % 2u) + shift + place;
        if at.x < p.m && at.y < p.n {
            finish((number * p.m + at.x) * p.n + at.y, at.y, made[e]);
        }
    }
}

@compute @workgroup_size(WG)
fn product(grid: Grid, me: Invocation, @builtin(subgroup_id) subgroup: u32) {
    let g = group_index(grid);
    let count = (vec2(p.m, p.n) + TILE - 1u) / TILE;
    // The number of a product of the batch, or of a part of a long sum.
    let number = g / (count.x * count.y);
    let s = number * (1u - PARTS);
    let begin = number * PARTS * p.k_part;
    let end = min(begin + p.k_part, p.k);
    // Groups past the last one work past the ends, where nothing is read or written: naga takes a product after a
    // return for one that some invocations may not reach.
    let corner = select(vec2(p.m, p.n), vec2(g / count.y % count.x, g % count.y) * TILE, s < p.batch && begin < p.k);
    let local = local_index(me, WG);
    // There are more than four subgroups where they are smaller than the adapter's greatest: those make the same again, and
    // store equal values.
    let own = subgroup % 4u;
    let row = 2u * SIZE * (own / 2u);
    let column = 2u * SIZE * (own % 2u);
    var top_left = Sums();
    var top_right = Sums();
    var bottom_left = Sums();
    var bottom_right = Sums();
    for (var l0 = begin; l0 < end; l0 += DEPTH) {
        load_tiles(s, corner, l0, end, local);
        workgroupBarrier();
        for (var l = 0u; l < DEPTH; l += SIZE) {
            let top = left(row, l);
            let bottom = left(row + SIZE, l);
            let first = right(l, column);
            let second = right(l, column + SIZE);
            top_left = coopMultiplyAdd(top, first, top_left);
            top_right = coopMultiplyAdd(top, second, top_right);
            bottom_left = coopMultiplyAdd(bottom, first, bottom_left);
            bottom_right = coopMultiplyAdd(bottom, second, bottom_right);
        }
        workgroupBarrier(); // before the next tiles are written
    }
    let to = own * SIZE * SIZE;
    coopStoreT(top_left, &made[to], SIZE);
    workgroupBarrier();
    put(number, corner, vec2(0u, 0u), local);
    workgroupBarrier();
    coopStoreT(top_right, &made[to], SIZE);
    workgroupBarrier();
    put(number, corner, vec2(0u, SIZE), local);
    workgroupBarrier();
    coopStoreT(bottom_left, &made[to], SIZE);
    workgroupBarrier();
    put(number, corner, vec2(SIZE, 0u), local);
    workgroupBarrier();
    coopStoreT(bottom_right, &made[to], SIZE);
    workgroupBarrier();
    put(number, corner, vec2(SIZE, SIZE), local);
}
