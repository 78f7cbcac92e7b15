//! What makes loops vectorise: code for the machine's own vectors, and exp, tanh and sigmoid in f32 without branches.

use super::real::Real;

/// Runs `f` compiled for the widest vectors of this machine, chosen at run time. Only what is inlined into it is:
/// `wide(#[inline(always)] || ..)`, and the functions that it calls marked alike.
#[inline(always)]
pub fn wide<R>(f: impl FnMut() -> R) -> R {
    struct Run<F>(F);
    impl<R, F: FnMut() -> R> pulp::NullaryFnOnce for Run<F> {
        type Output = R;

        #[inline(always)]
        fn call(mut self) -> R {
            // As `FnOnce` the call would go through a shim that is not inlined.
            (self.0)()
        }
    }
    pulp::Arch::new().dispatch(Run(f))
}

/// The sum, in 16 lanes that are added at the end: one chain of additions would wait for each.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    let (blocks, rest) = x.as_chunks::<16>();
    let mut lanes = [0.0f32; 16];
    blocks.iter().for_each(|block| lanes.iter_mut().zip(block).for_each(|(s, &x)| *s += x));
    sum_lanes(lanes) + rest.iter().sum::<f32>()
}

/// The greatest of `x` that is above `floor`, or `floor`; a NaN is passed over. In lanes, as [`sum`].
#[inline(always)]
pub fn greatest(floor: f32, x: &[f32]) -> f32 {
    let greater = |m: f32, x: f32| if x > m { x } else { m };
    let (blocks, rest) = x.as_chunks::<16>();
    let mut lanes = [floor; 16];
    blocks.iter().for_each(|block| lanes.iter_mut().zip(block).for_each(|(m, &x)| *m = greater(*m, x)));
    lanes.iter().chain(rest).fold(floor, |m, &x| greater(m, x))
}

/// e^x within 2 ulp; 0 below -87.3 and finite above 88.7.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let c = if x > 88.37 { 88.37 } else { x };
    let c = if c < -87.33 { -87.33 } else { c };
    // Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the last bits, and subtracting that gives it as a float.
    // (`as i32` would stop at the largest integer, for which there are no vector instructions.)
    const ROUND: f32 = 12_582_912.0;
    let rounded = c * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = c - n * 0.693_359_4 - n * -2.121_944_4e-4;
    // Cephes' expf: e^r = 1 + r + r^2 P(r) on [-ln 2 / 2, ln 2 / 2].
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 5.000_000_3e-1;
    let e = p * r * r + r + 1.0;
    let power = f32::from_bits(rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    if x < -87.33 { 0.0 } else { e * power }
}

/// Within 3 ulp.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let a = x.abs();
    // Cephes' tanhf below .625, and 1 - 2 / (e^2x + 1) above.
    let z = x * x;
    let p = -5.704_988_7e-3;
    let p = p * z + 2.063_909e-2;
    let p = p * z - 5.373_972_2e-2;
    let p = p * z + 1.333_144_2e-1;
    let p = p * z - 3.333_328e-1;
    let small = p * z * x + x;
    let large = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    if a < 0.625 { small } else { large.copysign(x) }
}

/// Within 4e-7 relative.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let t = x.abs();
    let t = if t > 10.0 { 10.0 } else { t };
    let s = t * t;
    // Juffa's minimax polynomials: of erf below 0.928, of log(1 - erf) above.
    let p = -5.967_617e-4;
    let p = p * s + 4.991_194_2e-3;
    let p = p * s - 2.676_813_5e-2;
    let p = p * s + 1.128_199_25e-1;
    let p = p * s - 3.761_253_4e-1;
    let p = p * s + 1.283_791_7e-1;
    let small = p * t + t;
    let q = (-1.728_534_7e-5 * t + 3.831_971_3e-4) * s + (-3.883_964_4e-3 * t + 2.425_462_2e-2);
    let q = q * t - 1.067_778_8e-1;
    let q = q * t - 6.348_467e-1;
    let q = q * t - 1.287_175_1e-1;
    let large = 1.0 - exp(q * t - t);
    (if t < 0.927_734_4 { small } else { large }).copysign(x)
}

#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// log(1 + e^x), within 4e-7 relative.
#[inline(always)]
pub fn softplus(x: f32) -> f32 {
    let u = exp(-x.abs());
    // log(1 + u) = 2 artanh(z), whose series at z of at most 1/3 is done after seven terms.
    let z = u / (2.0 + u);
    let s = z * z;
    let p = s / 13.0 + 1.0 / 11.0;
    let p = p * s + 1.0 / 9.0;
    let p = p * s + 1.0 / 7.0;
    let p = p * s + 1.0 / 5.0;
    let p = p * s + 1.0 / 3.0;
    let log = 2.0 * (z + z * s * p);
    if x > 0.0 { x + log } else { log }
}

/// The sum of sums that were kept side by side, by halves: one after the other would wait for each addition.
#[inline(always)]
pub fn sum_lanes<T: Real, const N: usize>(mut lanes: [T; N]) -> T {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            let other = lanes[i + half];
            lanes[i] += other;
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    #[test]
    fn close_to_f64_over_the_whole_range() {
        let mut x = -100.0f32;
        while x < 100.0 {
            let w = x as f64;
            let relative = |got: f32, want: f64| (got as f64 - want).abs() / want.abs();
            if (-87.0..88.0).contains(&x) {
                assert!(relative(super::exp(x), w.exp()) < 3e-7, "exp({x})");
            }
            assert!(relative(super::erf(x), libm::erf(w)) < 4e-7 || x == 0.0, "erf({x})");
            assert!(relative(super::tanh(x), w.tanh()) < 4e-7 || x == 0.0, "tanh({x})");
            if x > -87.0 {
                assert!(relative(super::softplus(x), w.max(0.0) + (-w.abs()).exp().ln_1p()) < 4e-7, "softplus({x})");
                assert!(relative(super::sigmoid(x), 1.0 / (1.0 + (-w).exp())) < 4e-7, "sigmoid({x})");
            }
            x += 1.3e-3;
        }
        assert_eq!(super::exp(-3e38), 0.0);
        assert!(super::exp(3e38).is_finite());
        assert_eq!([0.0, 1e-30, -3e38].map(super::erf), [0.0, 1e-30 * std::f32::consts::FRAC_2_SQRT_PI, -1.0]);
        assert_eq!(super::tanh(0.0), 0.0);
        assert_eq!(super::tanh(1e-30), 1e-30);
    }
}
