// Sine and cosine within a few units in the last place, for every number: WGSL lets a device be off by 2^-11, and by
// anything past pi. The angle is taken as a number of quarter turns and a rest of at most pi / 4.
//!import math
//!import philox

// (cos, sin) of `quarters` quarter turns and the angle a, |a| <= pi / 4: Cephes' polynomials.
fn rotated(quarters: u32, a: f32) -> vec2<f32> {
    let z = a * a;
    let sine = a + a * z * (-1.6666654611e-1 + z * (8.3321608736e-3 + z * -1.9515295891e-4));
    let cosine = 1.0 - 0.5 * z + z * z * (4.166664568298827e-2 + z * (-1.388731625493765e-3 + z * 2.443315711809948e-5));
    switch quarters & 3u {
        case 0u: { return vec2(cosine, sine); }
        case 1u: { return vec2(-sine, cosine); }
        case 2u: { return vec2(-cosine, -sine); }
        default: { return vec2(sine, -cosine); }
    }
}

// Word i of 2 / pi in binary, before which stands a word of zeros: the integer part.
fn two_over_pi(i: u32) -> u32 {
    switch i {
        case 0u: { return 0u; }
        case 1u: { return 0xa2f9836eu; }
        case 2u: { return 0x4e441529u; }
        case 3u: { return 0xfc2757d1u; }
        case 4u: { return 0xf534ddc0u; }
        case 5u: { return 0xdb629599u; }
        case 6u: { return 0x3c439041u; }
        default: { return 0xfe5163abu; }
    }
}

// 32 bits of it from bit `start` on.
fn two_over_pi_from(start: u32) -> u32 {
    let shift = start % 32u;
    let next = two_over_pi(start / 32u + 1u) >> 1u;
    return (two_over_pi(start / 32u) << shift) | (next >> (31u - shift));
}

// (cos, sin) of x >= 8192 (Payne and Hanek, 1983). x = m 2^e with a whole m of 24 bits. Of m 2^e 2 / pi the last two bits
// before the point count, which say the quarter, and those after it: m times 96 bits of 2 / pi has them. 70 of those after
// the point are right, and no f32 is nearer to a multiple of a quarter turn than some 2^-30 of it.
fn rotated_far(x: f32) -> vec2<f32> {
    let bits = bitcast<u32>(x);
    let m = (bits & 0x7fffffu) | 0x800000u;
    let start = (bits >> 23u) - 120u; // of the bit whose product with the last one of m is 2
    let low = multiply_wide(m, two_over_pi_from(start + 64u));
    let middle = multiply_wide(m, two_over_pi_from(start + 32u));
    let second = low.y + middle.x;
    let first = m * two_over_pi_from(start) + middle.y + select(0u, 1u, second < middle.x);
    // The part of a quarter as a fraction of 2^64; past one half it is taken from the quarter that follows.
    var fraction = vec2((first << 2u) | (second >> 30u), (second << 2u) | (low.x >> 30u));
    let past = fraction.x >= 0x80000000u;
    if past {
        fraction = vec2(~fraction.x, ~fraction.y);
    }
    let zeros = countLeadingZeros(fraction.x);
    let digits = (fraction.x << zeros) | (fraction.y >> (32u - zeros));
    let a = f32(digits) * 2.3283064365386963e-10 * bitcast<f32>((127u - zeros) << 23u) * 1.5707963267948966;
    return rotated((first >> 30u) + select(0u, 1u, past), select(a, -a, past));
}

// (cos, sin) of x >= 0. Below 8192 the multiple of pi / 2 is subtracted in three parts, the first two of so few bits that
// their products are exact (Cody and Waite, 1980). Not of a NaN or an infinity.
fn rotated_by(x: f32) -> vec2<f32> {
    if x >= 8192.0 {
        return rotated_far(x);
    }
    let quarters = floor(x * 0.63661977236758134 + 0.5);
    let a = ((x - quarters * 1.5703125) - quarters * 4.837512969970703125e-4) - quarters * 7.54978995489188216e-8;
    return rotated(u32(quarters), a);
}

fn sine(x: f32) -> f32 {
    if !is_finite(x) {
        return finite_or_nan(x);
    }
    let y = rotated_by(abs(x)).y;
    return select(y, -y, x < 0.0);
}

fn cosine(x: f32) -> f32 {
    if !is_finite(x) {
        return finite_or_nan(x);
    }
    return rotated_by(abs(x)).x;
}
