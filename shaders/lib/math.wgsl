// Functions that WGSL lacks, and forms of exp, tanh and log that keep their digits: WGSL lets exp(x) be off by 3 + 2 |x| units in
// the last place, log by 2^-21 near 1, where it is 0 itself, and a software driver's tanh was off by 5e-5 of its value near 0.
// The plain exp stands where it is 1 at most, as in a softmax: there its error is 3 units of 1.
// NaN in, NaN out. WGSL's max, min, sign, select and comparisons may lose a NaN, since compilers may assume that floats are
// none, and so may exp and log; what is made with them here passes through keep_nan. Arithmetic and sqrt keep a NaN. A branch
// on x != y is not taken for NaN where naga wrote the shader for Vulkan, and taken elsewhere: branches are on x == y, which none
// takes.

// The finite stand-in for minus infinity that masks use.
const MASKED: f32 = -3e38;

// By exponent bits: compilers may assume that x == x.
fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

// Whether x is MASKED: by its bits, since NaN may compare either way.
fn is_masked(x: f32) -> bool {
    var masked = MASKED;
    return bitcast<u32>(x) == bitcast<u32>(masked);
}

// What a maximum starts from. As a constant it would be an error.
fn minus_infinity() -> f32 {
    var bits = 0xff800000u;
    return bitcast<f32>(bits);
}

// x where it is NaN, else value. The choice is between integers, about which nothing is assumed.
fn keep_nan(x: f32, value: f32) -> f32 {
    return bitcast<f32>(select(bitcast<u32>(value), bitcast<u32>(x), is_nan(x)));
}

// NaN where x is infinite: for what would become a number again, as 1 / x does.
fn finite_or_nan(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    return bitcast<f32>(select(bits | 0x7fc00000u, bits, is_finite(x)));
}

fn max_or_nan(a: f32, b: f32) -> f32 {
    return keep_nan(a, keep_nan(b, max(a, b)));
}

fn min_or_nan(a: f32, b: f32) -> f32 {
    return keep_nan(a, keep_nan(b, min(a, b)));
}

fn relu(x: f32) -> f32 {
    return keep_nan(x, max(x, 0.0));
}

fn sign_or_nan(x: f32) -> f32 {
    return keep_nan(x, sign(x));
}

// 1 where a > b, else 0.
fn one_if_greater(a: f32, b: f32) -> f32 {
    return keep_nan(a, keep_nan(b, select(0.0, 1.0, a > b)));
}

// 1 where a == b, else 0.
fn one_if_equal(a: f32, b: f32) -> f32 {
    return keep_nan(a, keep_nan(b, select(0.0, 1.0, a == b)));
}

// e^x, also where a device's exp makes a number of NaN, as SwiftShader's does.
fn exp_or_nan(x: f32) -> f32 {
    return keep_nan(x, exp(x));
}

// e^x within a few units in the last place: WGSL lets exp be off by 3 + 2 |x| of them. x = k log 2 + r, of which log 2 is
// subtracted in two parts, the first of so few bits that its products are exact (Cody and Waite, 1980). 2^k in two factors, none of
// which is subnormal.
fn exp_accurate(x: f32) -> f32 {
    let a = clamp(x, -105.0, 89.0);
    let k = min(floor(a * 1.4426950408889634 + 0.5), 127.0);
    let r = (a - k * 0.693145751953125) - k * 1.428606820309417e-6;
    let half = i32(k) / 2;
    let powers = bitcast<vec2<f32>>(vec2(half + 127, i32(k) - half + 127) << vec2(23u));
    return keep_nan(x, exp(r) * powers.x * powers.y);
}

// a / b for every number b. WGSL promises nothing where |b| > 2^126: a device may take 1 / b, which is subnormal there, for 0.
fn divide(a: f32, b: f32) -> f32 {
    let scale = select(1.0, 0.25, abs(b) > 8.507059e37);
    return (a * scale) / (b * scale);
}

// log(1 + x) for -1/2 <= x <= 1 as 2 atanh(s), s = x / (2 + x), |s| <= 1/3: the series in s^2 after seven terms. 2 s is divided
// as a whole: for the smallest normal x, s is subnormal, which a device may take for 0.
fn log1p_series(x: f32) -> f32 {
    let twice = 2.0 * x / (2.0 + x);
    let z = 0.25 * twice * twice;
    var q = 1.0 / 15.0;
    q = q * z + 1.0 / 13.0;
    q = q * z + 1.0 / 11.0;
    q = q * z + 1.0 / 9.0;
    q = q * z + 1.0 / 7.0;
    q = q * z + 1.0 / 5.0;
    q = q * z + 1.0 / 3.0;
    return twice + twice * z * q;
}

// log(1 + x), accurate near 0.
fn log1p(x: f32) -> f32 {
    if x >= -0.5 && x <= 1.0 {
        return log1p_series(x);
    }
    return log(1.0 + x);
}

// log(x), accurate near 1, where x - 1 is exact. Below the smallest normal number it is log of that, -87.3.
fn log_positive(x: f32) -> f32 {
    if x >= 0.5 && x <= 2.0 {
        return log1p_series(x - 1.0);
    }
    return keep_nan(x, log(max(x, 1.17549435e-38)));
}

fn sigmoid(x: f32) -> f32 {
    let e = exp_or_nan(-abs(x));
    return select(1.0, e, x < 0.0) / (1.0 + e);
}

// log(1 + e^x) without overflow.
fn softplus(x: f32) -> f32 {
    return max(x, 0.0) + log1p_series(exp_or_nan(-abs(x)));
}

// Cephes' tanhf below 0.625, and 1 - 2 / (e^2x + 1) above; past 15 it is 1.
fn tanh_accurate(x: f32) -> f32 {
    let z = x * x;
    var q = -5.70498872745e-3;
    q = q * z + 2.06390887954e-2;
    q = q * z - 5.37397155531e-2;
    q = q * z + 1.33314422036e-1;
    q = q * z - 3.33332819422e-1;
    let small = q * z * x + x;
    let a = min(abs(x), 15.0);
    let large = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    return keep_nan(x, select(sign(x) * large, small, a < 0.625));
}

// Within 1e-7: a polynomial in x^2 below 0.93, and 1 - e^(polynomial in |x|) above (after N. Juffa).
fn erf(x: f32) -> f32 {
    let t = abs(x);
    let s = x * x;
    if t < 0.927734375 {
        var q = -5.96761703e-4;
        q = q * s + 4.99119423e-3;
        q = q * s - 2.67681349e-2;
        q = q * s + 1.12819925e-1;
        q = q * s - 3.76125336e-1;
        q = q * s + 1.28379166e-1;
        return q * x + x;
    }
    // Past 4 it is 1 to the last bit.
    let u = min(t, 4.0);
    var q = -1.72853470e-5;
    q = q * u + 3.83197126e-4;
    q = q * u - 3.88396438e-3;
    q = q * u + 2.42546219e-2;
    q = q * u - 1.06777877e-1;
    q = q * u - 6.34846687e-1;
    q = q * u - 1.28717512e-1;
    return keep_nan(x, sign(x) * (1.0 - exp(q * u - u)));
}

const SQRT_1_2: f32 = 0.70710678118654752;
const SQRT_2_OVER_PI: f32 = 0.79788456080286536;
const FRAC_1_SQRT_2PI: f32 = 0.39894228040143268;

// x Phi(x), Phi the distribution function of the standard normal.
fn gelu(x: f32) -> f32 {
    return 0.5 * x * (1.0 + erf(x * SQRT_1_2));
}

// d/dx x Phi(x) = Phi(x) + x phi(x).
fn gelu_slope(x: f32) -> f32 {
    return 0.5 * (1.0 + erf(x * SQRT_1_2)) + x * FRAC_1_SQRT_2PI * exp(-0.5 * x * x);
}

fn gelu_tanh(x: f32) -> f32 {
    return 0.5 * x * (1.0 + tanh_accurate(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)));
}

// 1 / x, and 0 for 0, so that masks and square roots at 0 stay finite.
fn reciprocal(x: f32) -> f32 {
    return keep_nan(x, select(1.0 / x, 0.0, x == 0.0));
}
