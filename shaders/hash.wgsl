// A hash of the bits of a tensor, which tells whether two tensors are equal without reading them back.
//   a[i] = mix(bits(x[i]) + G (i + 1)),   b[i] = s15((a[i] ^ H (i + 1)) K)
//   hash = (sum_i a[i], sum_i b[i]) mod 2^32
//   mix(h) = s16(s13(s16(h) 0x85ebca6b) 0xc2b2ae35), the finaliser of MurmurHash3;   sN(h) = h ^ (h >> N)
// x: [n] f32; hash: two words for each tensor. The sums are exact, so that their order does not matter.
// A workgroup takes CHUNK elements, WG * 8 bytes of workgroup memory; its sums are the hash where it is the only one.
//!import index
struct Params { n: u32, groups: u32, to: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> partial: array<u32>;
@group(0) @binding(2) var<storage, read_write> hash: array<u32>;

var<workgroup> sums: array<vec2<u32>, WG>;

// Words `to` and `to` + 1 = the sum of what the invocations of a workgroup have.
fn write_sum(sum: vec2<u32>, local: u32, to: u32) {
    sums[local] = sum;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if local < half {
            sums[local] += sums[local + half];
        }
        workgroupBarrier();
    }
    if local == 0u {
        hash[to] = sums[0].x;
        hash[to + 1u] = sums[0].y;
    }
}

@compute @workgroup_size(WG)
fn forward(grid: Grid, me: Invocation) {
    let group = group_index(grid);
    if group >= p.groups {
        return;
    }
    let local = local_index(me, WG);
    let end = min(p.n, (group + 1u) * CHUNK);
    var sum = vec2<u32>(0u, 0u);
    for (var i = group * CHUNK + local; i < end; i += WG) {
        var a = bitcast<u32>(x[i]) + (i + 1u) * 0x9e3779b9u;
        a = (a ^ (a >> 16u)) * 0x85ebca6bu;
        a = (a ^ (a >> 13u)) * 0xc2b2ae35u;
        a ^= a >> 16u;
        let b = (a ^ ((i + 1u) * 0x27d4eb2fu)) * 0x9e3779b1u;
        sum += vec2<u32>(a, b ^ (b >> 15u));
    }
    write_sum(sum, local, p.to + 2u * group);
}

// The sum of what the workgroups left, in one workgroup.
@compute @workgroup_size(WG)
fn total(me: Invocation) {
    let local = local_index(me, WG);
    var sum = vec2<u32>(0u, 0u);
    for (var group = local; group < p.groups; group += WG) {
        sum += vec2<u32>(partial[2u * group], partial[2u * group + 1u]);
    }
    write_sum(sum, local, p.to);
}
