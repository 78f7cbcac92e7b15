// The discrete Fourier transform of T rows of complex numbers in workgroup memory: src/kernels/fourier.rs has the formula.
// A workgroup takes p.pairs pairs of channels (c, c + h), h = ceil(d / 2), of one sequence, each pair one complex signal:
// T p.pairs <= SIZE complex numbers, 8 SIZE <= 16 KiB. In a stage each of the WG invocations sums r terms for each of its
// SIZE / WG numbers, which wait in registers while the others read: two barriers a stage, up to 5 stages. The sums of a radix r
// cost r T: lengths of small factors cost 12 (T = 50) to 28 (T = 2048) terms a number, a prime T up to T of them.
// The factors come from `table`, w_T^k made in f64: a device's sin and cos need be within 2^-11 only.
//!import index
struct Params {
    batch: u32, t: u32, d: u32, pairs: u32, chunk: u32, scale: f32, inner: f32, sign: f32,
    radix0: u32, radix1: u32, radix2: u32, radix3: u32, radix4: u32,
}
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> table: array<vec2<f32>>;

var<workgroup> numbers: array<vec2<f32>, SIZE>; // [T, p.pairs]

// Terms that are summed before they are added to the sum, so that the error of a long one stays small.
const BLOCK: u32 = 16u;

fn half_width() -> u32 {
    return (p.d + 1u) / 2u;
}

fn frequencies() -> u32 {
    return p.t / 2u + 1u;
}

// Tiles of a sequence's pairs of channels.
fn tiles() -> u32 {
    return (half_width() + p.pairs - 1u) / p.pairs;
}

fn times(a: vec2<f32>, b: vec2<f32>) -> vec2<f32> {
    return vec2(a.x * b.x - a.y * b.y, a.x * b.y + a.y * b.x);
}

// A stage of radix `radix`, after stages whose radices multiply to `done`.
fn stage(radix: u32, done: u32, local: u32) {
    var sums: array<vec2<f32>, PER_INVOCATION>;
    let left = p.t / (done * radix);
    //!unroll
    for (var j = 0u; j < PER_INVOCATION; j++) {
        let e = local + j * WG;
        if e < p.t * p.pairs {
            let place = e / p.pairs;
            let k = place / left;
            var source = ((k % done) * left * radix + place % left) * p.pairs + e % p.pairs;
            var at = 0u;
            var sum = vec2(0.0);
            for (var begin = 0u; begin < radix; begin += BLOCK) {
                var part = vec2(0.0);
                for (var i = begin; i < min(begin + BLOCK, radix); i++) {
                    part += times(numbers[source], table[at]);
                    source += left * p.pairs;
                    at += k * left;
                    at -= select(0u, p.t, at >= p.t);
                }
                sum += part;
            }
            sums[j] = sum;
        }
    }
    workgroupBarrier();
    //!unroll
    for (var j = 0u; j < PER_INVOCATION; j++) {
        let e = local + j * WG;
        if e < p.t * p.pairs {
            numbers[e] = sums[j];
        }
    }
    workgroupBarrier();
}

// The radix of stage s: an array of them, indexed by a variable, would lie in memory.
fn radix_of(s: u32) -> u32 {
    switch s {
        case 0u: { return p.radix0; }
        case 1u: { return p.radix1; }
        case 2u: { return p.radix2; }
        case 3u: { return p.radix3; }
        default: { return p.radix4; }
    }
}

// Transforms `numbers`, which all invocations have written: waits for them first, and all may read after it.
fn transform(local: u32) {
    workgroupBarrier();
    var done = 1u;
    for (var s = 0u; s < 5u; s++) {
        let radix = radix_of(s);
        if radix > 1u {
            stage(radix, done, local);
        }
        done *= radix;
    }
}

// Frequency k of both channels of a pair, (re, im, re, im).
fn pair_at(k: u32, pair: u32) -> vec4<f32> {
    let z = 0.5 * numbers[k * p.pairs + pair];
    let m = 0.5 * numbers[(p.t - k) % p.t * p.pairs + pair];
    return vec4(z.x + m.x, z.y - m.y, z.y + m.y, m.x - z.x);
}

// Sets what pair_at reads, mirrored, so that the transform is the inverse. Both elements belong to the invocation that has k.
fn set_pair(k: u32, pair: u32, v: vec4<f32>) {
    let mirrored = (p.t - k) % p.t;
    if k == mirrored {
        numbers[k * p.pairs + pair] = v.xz;
    } else {
        numbers[k * p.pairs + pair] = vec2(v.x + v.w, v.z - v.y);
        numbers[mirrored * p.pairs + pair] = vec2(v.x - v.w, v.y + v.z);
    }
}

// Weight of frequency k: 1 for those that are their own mirror, `inner` for the others.
fn weight_of(k: u32) -> f32 {
    return select(p.inner, 1.0, 2u * k % p.t == 0u);
}
