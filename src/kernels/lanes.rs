//! exp, tanh, erf and what is made of them, without branches, on vectors of f32 of any width: on one number, as
//! [`super::fast`] has them, or in a kernel that says its vectors itself (`pulp::WithSimd`). A product and a sum are rounded
//! once on machines that have an instruction for both.

use pulp::Simd;
use std::ops::{Add, Div, Mul, Sub};

/// A vector, so that formulas read as formulas.
#[derive(Clone, Copy)]
pub struct Lanes<S: Simd>(pub S, pub S::f32s);

macro_rules! operators {
    ($($operator:ident $method:ident $simd:ident;)*) => {$(
        impl<S: Simd> $operator for Lanes<S> {
            type Output = Lanes<S>;

            #[inline(always)]
            fn $method(self, other: Lanes<S>) -> Lanes<S> {
                Lanes(self.0, self.0.$simd(self.1, other.1))
            }
        }
    )*};
}
operators! {
    Add add add_f32s;
    Sub sub sub_f32s;
    Mul mul mul_f32s;
    Div div div_f32s;
}

impl<S: Simd> Lanes<S> {
    /// `x` in each lane.
    #[inline(always)]
    pub fn splat(simd: S, x: f32) -> Lanes<S> {
        Lanes(simd, simd.splat_f32s(x))
    }

    /// As many of `x` as there are, in lanes that hold `filler` else.
    #[inline(always)]
    pub fn filled(simd: S, x: &[f32], filler: f32) -> Lanes<S> {
        let mut lanes = simd.splat_f32s(filler);
        let values: &mut [f32] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut lanes));
        values[..x.len()].copy_from_slice(x);
        Lanes(simd, lanes)
    }

    #[inline(always)]
    fn all(self, x: f32) -> Lanes<S> {
        Lanes::splat(self.0, x)
    }

    /// `self factor + term`.
    #[inline(always)]
    pub fn mul_add(self, factor: Lanes<S>, term: Lanes<S>) -> Lanes<S> {
        Lanes(self.0, self.0.mul_add_e_f32s(self.1, factor.1, term.1))
    }

    /// The larger of both in each lane, NaN where one of both is.
    #[inline(always)]
    pub fn max_or_nan(self, other: Lanes<S>) -> Lanes<S> {
        let simd = self.0;
        // A comparison with NaN is false.
        let larger = simd.select_f32s(simd.greater_than_f32s(self.1, other.1), self.1, other.1);
        Lanes(simd, simd.select_f32s(simd.equal_f32s(self.1, self.1), larger, self.1))
    }

    /// The polynomial of these coefficients, the highest power's first.
    #[inline(always)]
    fn polynomial<const N: usize>(self, coefficients: [f32; N]) -> Lanes<S> {
        let mut p = self.all(coefficients[0]);
        for &c in &coefficients[1..] {
            p = p.mul_add(self, self.all(c));
        }
        p
    }

    /// `yes` in the lanes below `limit`, `no` in the others and where this is NaN.
    #[inline(always)]
    fn below(self, limit: f32, yes: Lanes<S>, no: Lanes<S>) -> Lanes<S> {
        let mask = self.0.less_than_f32s(self.1, self.all(limit).1);
        Lanes(self.0, self.0.select_f32s(mask, yes.1, no.1))
    }

    /// As [`Lanes::below`], of the lanes above `limit`.
    #[inline(always)]
    fn above(self, limit: f32, yes: Lanes<S>, no: Lanes<S>) -> Lanes<S> {
        let mask = self.0.greater_than_f32s(self.1, self.all(limit).1);
        Lanes(self.0, self.0.select_f32s(mask, yes.1, no.1))
    }

    #[inline(always)]
    fn abs(self) -> Lanes<S> {
        Lanes(self.0, self.0.abs_f32s(self.1))
    }

    /// This, which has no sign, with the sign of `x`.
    #[inline(always)]
    fn signed_as(self, x: Lanes<S>) -> Lanes<S> {
        let simd = self.0;
        Lanes(simd, simd.or_f32s(self.1, simd.and_f32s(x.1, simd.splat_f32s(-0.0))))
    }
}

/// Adding 1.5 * 2^23 rounds to the nearest integer and leaves it in the last bits, and subtracting that gives it as a float.
const ROUND: f32 = 12_582_912.0;

/// e^r and n + `ROUND`, for x = r + n ln 2 of at most 2^22 ln 2, |r| <= ln 2 / 2, n an integer.
#[inline(always)]
fn exp_parts<S: Simd>(x: Lanes<S>) -> [Lanes<S>; 2] {
    let rounded = x.mul_add(x.all(std::f32::consts::LOG2_E), x.all(ROUND));
    let n = rounded - x.all(ROUND);
    let r = n.mul_add(x.all(2.121_944_4e-4), n.mul_add(x.all(-0.693_359_4), x));
    // Cephes' expf: e^r = 1 + r + r^2 P(r) on [-ln 2 / 2, ln 2 / 2].
    let p = r.polynomial([1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.000_000_3e-1]);
    [(p * r).mul_add(r, r) + x.all(1.0), rounded]
}

/// 2^(a - b) for integers a and b given with the same number added, the power a normal number.
#[inline(always)]
fn power_of_two<S: Simd>(simd: S, a: S::u32s, b: S::u32s) -> Lanes<S> {
    let exponent = simd.add_u32s(simd.sub_u32s(a, b), simd.splat_u32s(127));
    Lanes(simd, simd.transmute_f32s_u32s(simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23))))
}

/// e^x within 2 ulp: infinite from 88.73 on, subnormal below -87.34, 0 below -103.98.
#[inline(always)]
pub fn exp<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    let simd = x.0;
    let c = x.above(89.0, x.all(89.0), x);
    let c = c.below(-104.0, c.all(-104.0), c);
    let [e, rounded] = exp_parts(c);
    // 2^n as two factors: itself it may be no normal number.
    let half = (rounded - x.all(ROUND)).mul_add(x.all(0.5), x.all(ROUND));
    let [n, half] = [rounded, half].map(|v| simd.transmute_u32s_f32s(v.1));
    e * power_of_two(simd, half, simd.splat_u32s(ROUND.to_bits())) * power_of_two(simd, n, half)
}

/// e^x within 2 ulp between -87.3 and 88.3, 0 below and finite above: for terms of a sum that is at least 1, where smaller ones
/// are lost and subnormal numbers would only be slow.
#[inline(always)]
pub fn exp_term<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    let simd = x.0;
    let [e, rounded] = exp_parts(x.above(88.37, x.all(88.37), x));
    let n = simd.transmute_u32s_f32s(rounded.1);
    x.below(-87.33, x.all(0.0), e * power_of_two(simd, n, simd.splat_u32s(ROUND.to_bits())))
}

/// Within 3 ulp.
#[inline(always)]
pub fn tanh<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    let a = x.abs();
    // Cephes' tanhf below .625, and 1 - 2 / (e^2x + 1) above.
    let z = x * x;
    let p = z.polynomial([-5.704_988_7e-3, 2.063_909e-2, -5.373_972_2e-2, 1.333_144_2e-1, -3.333_328e-1]);
    let small = (p * z).mul_add(x, x);
    let one = x.all(1.0);
    let large = one - x.all(2.0) / (exp_term(a + a) + one);
    a.below(0.625, small, large.signed_as(x))
}

/// Within 4e-7 relative.
#[inline(always)]
pub fn erf<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    let t = x.abs();
    let t = t.above(10.0, x.all(10.0), t);
    // Juffa's minimax polynomials: of erf below 0.928, of log(1 - erf) above.
    let p = (t * t).polynomial([
        -5.967_617e-4,
        4.991_194_2e-3,
        -2.676_813_5e-2,
        1.128_199_25e-1,
        -3.761_253_4e-1,
        1.283_791_7e-1,
    ]);
    let small = p.mul_add(t, t);
    let q = t.polynomial([
        -1.728_534_7e-5,
        3.831_971_3e-4,
        -3.883_964_4e-3,
        2.425_462_2e-2,
        -1.067_778_8e-1,
        -6.348_467e-1,
        -1.287_175_1e-1,
    ]);
    let large = x.all(1.0) - exp_term(q.mul_add(t, x.all(0.0) - t));
    t.below(0.927_734_4, small, large).signed_as(x)
}

#[inline(always)]
pub fn sigmoid<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    let (one, e) = (x.all(1.0), exp(x.all(0.0) - x.abs()));
    x.below(0.0, e, one) / (one + e)
}

/// log(1 + e^x), within 4e-7 relative.
#[inline(always)]
pub fn softplus<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    let u = exp(x.all(0.0) - x.abs());
    // log(1 + u) = 2 artanh(z), whose series at z of at most 1/3 is done after seven terms.
    let z = u / (x.all(2.0) + u);
    let s = z * z;
    let p = s.polynomial([1.0 / 13.0, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 1.0 / 5.0, 1.0 / 3.0]);
    let log = x.all(2.0) * (z * s).mul_add(p, z);
    x.above(0.0, x + log, log)
}

/// log(1 / (1 + e^-x)).
#[inline(always)]
pub fn log_sigmoid<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    x.all(0.0) - softplus(x.all(0.0) - x)
}

/// The share of a normal distribution below `x`.
#[inline(always)]
fn normal_below<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    let half = x.all(0.5);
    erf(x * x.all(std::f32::consts::FRAC_1_SQRT_2)).mul_add(half, half)
}

/// `x` times the share of a normal distribution below it.
#[inline(always)]
pub fn gelu<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    x * normal_below(x)
}

/// The derivative of [`gelu`].
#[inline(always)]
pub fn gelu_slope<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    const FRAC_1_SQRT_2PI: f32 = 0.398_942_3;
    (x * x.all(FRAC_1_SQRT_2PI)).mul_add(exp_term(x * x * x.all(-0.5)), normal_below(x))
}

/// [`gelu`] with tanh in place of erf.
#[inline(always)]
pub fn gelu_tanh<S: Simd>(x: Lanes<S>) -> Lanes<S> {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let inner = (x * x * x).mul_add(x.all(0.044715), x) * x.all(SQRT_2_OVER_PI);
    let half = x.all(0.5) * x;
    tanh(inner).mul_add(half, half)
}

/// `y = f(x)`, element by element. `f` must be a closure marked `#[inline(always)]`: else it is compiled for the oldest machine.
#[inline(always)]
pub fn apply<S: Simd>(simd: S, x: &[f32], y: &mut [f32], f: impl Fn(Lanes<S>) -> Lanes<S>) {
    let ((x, x_rest), (y, y_rest)) = (S::as_simd_f32s(x), S::as_mut_simd_f32s(y));
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(Lanes(simd, x)).1;
    }
    if !x_rest.is_empty() {
        simd.partial_store_f32s(y_rest, f(Lanes(simd, simd.partial_load_f32s(x_rest))).1);
    }
}

/// Numbers whose sum is taken in f32; such sums are added in f64.
const BLOCK: usize = 2048;

/// The sum of `x`.
#[inline(always)]
pub fn sum<S: Simd>(simd: S, x: &[f32]) -> f32 {
    let mut total = 0.0f64;
    for x in x.chunks(BLOCK) {
        let (vectors, rest) = S::as_simd_f32s(x);
        let lanes = vectors.iter().fold(simd.splat_f32s(0.0), |sums, &x| simd.add_f32s(sums, x));
        total += (simd.reduce_sum_f32s(lanes) + rest.iter().sum::<f32>()) as f64;
    }
    total as f32
}

/// The sums of `x - shift` and of its squares.
#[inline(always)]
pub fn moments<S: Simd>(simd: S, x: &[f32], shift: f32) -> [f32; 2] {
    let from = simd.splat_f32s(shift);
    let mut totals = [0.0f64; 2];
    for x in x.chunks(BLOCK) {
        let (vectors, rest) = S::as_simd_f32s(x);
        let mut sums = [simd.splat_f32s(0.0); 2];
        for &x in vectors {
            let apart = simd.sub_f32s(x, from);
            sums = [simd.add_f32s(sums[0], apart), simd.mul_add_e_f32s(apart, apart, sums[1])];
        }
        let rest = rest.iter().fold([0.0; 2], |[a, b], x| [a + (x - shift), b + (x - shift) * (x - shift)]);
        totals[0] += (simd.reduce_sum_f32s(sums[0]) + rest[0]) as f64;
        totals[1] += (simd.reduce_sum_f32s(sums[1]) + rest[1]) as f64;
    }
    totals.map(|total| total as f32)
}

#[cfg(test)]
mod tests {
    /// `f(x)` by the machine's own vectors and, since not all machines have the same, number by number.
    macro_rules! both {
        ($f:ident, $x:expr) => {{
            struct Run<'a>(&'a [f32], &'a mut [f32]);
            impl pulp::WithSimd for Run<'_> {
                type Output = ();

                #[inline(always)]
                fn with_simd<S: pulp::Simd>(self, simd: S) {
                    super::apply(
                        simd,
                        self.0,
                        self.1,
                        #[inline(always)]
                        |x| super::$f(x),
                    )
                }
            }
            let x: &[f32] = $x;
            let [mut vectors, mut numbers] = [vec![9.0; x.len()], vec![9.0; x.len()]];
            pulp::Arch::new().dispatch(Run(x, &mut vectors));
            pulp::WithSimd::with_simd(Run(x, &mut numbers), pulp::Scalar);
            [vectors, numbers]
        }};
    }

    #[test]
    fn close_to_f64_over_the_whole_range() {
        // A length that is no multiple of any vector's.
        let x: Vec<f32> = (0..153_847).map(|i| -100.0 + 1.3e-3 * i as f32).collect();
        let close = |name: &str, all: [Vec<f32>; 2], within: f64, want: &dyn Fn(f64) -> Option<f64>| {
            for (got, &x) in all.iter().flat_map(|got| got.iter().zip(&x)) {
                let Some(want) = want(x as f64) else { continue };
                let off = (*got as f64 - want).abs();
                // Two steps of the subnormal numbers.
                assert!(off <= within * want.abs() + 2.9e-45, "{name}({x}) is {got}, not {want}");
            }
        };
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        let softplus = |x: f64| x.max(0.0) + (-x.abs()).exp().ln_1p();
        close("exp", both!(exp, &x), 3e-7, &|x| (x < 88.7).then(|| x.exp()));
        close("exp_term", both!(exp_term, &x), 3e-7, &|x| (-87.0..88.3).contains(&x).then(|| x.exp()));
        close("tanh", both!(tanh, &x), 4e-7, &|x| Some(x.tanh()));
        close("erf", both!(erf, &x), 4e-7, &|x| Some(libm::erf(x)));
        close("sigmoid", both!(sigmoid, &x), 4e-7, &|x| Some(sigmoid(x)));
        close("softplus", both!(softplus, &x), 4e-7, &|x| Some(softplus(x)));
        close("log_sigmoid", both!(log_sigmoid, &x), 4e-7, &|x| Some(-softplus(-x)));
    }

    /// Every float from 88.25 to 89, where exp leaves the finite numbers, and every 64th from -87 to -105, where it goes
    /// through the subnormal numbers to 0.
    #[test]
    fn exp_where_it_overflows_and_where_it_ends() {
        let floats = |from: f32, to: f32, step: usize| (from.to_bits()..to.to_bits()).step_by(step).map(f32::from_bits);
        let x: Vec<f32> = floats(88.25, 89.0, 1).chain(floats(87.0, 105.0, 64).map(|x| -x)).collect();
        let mut infinite = 0;
        for (got, &x) in both!(exp, &x).iter().flat_map(|got| got.iter().zip(&x)) {
            let want = (x as f64).exp();
            // What f32 rounds to infinity.
            let right = if want as f32 == f32::INFINITY {
                infinite += 1;
                *got == f32::INFINITY
            } else {
                (*got as f64 - want).abs() <= 3e-7 * want + 1.5e-45
            };
            assert!(right, "exp({x}) is {got}, not {want}");
        }
        assert!(infinite > 30_000, "{infinite}");
    }

    #[test]
    fn at_the_ends() {
        for y in both!(exp, &[-3e38, 3e38, f32::NAN, 0.0]) {
            assert!(y[0] == 0.0 && y[1] == f32::INFINITY && y[2].is_nan() && y[3] == 1.0, "{y:?}");
        }
        for y in both!(exp_term, &[-3e38, 3e38, f32::NAN, 0.0]) {
            assert!(y[0] == 0.0 && y[1].is_finite() && y[2].is_nan() && y[3] == 1.0, "{y:?}");
        }
        for y in both!(erf, &[0.0, 1e-30, -3e38]) {
            let small = y[1] as f64 / (1e-30 * std::f64::consts::FRAC_2_SQRT_PI);
            assert!(y[0] == 0.0 && (small - 1.0).abs() < 4e-7 && y[2] == -1.0, "{y:?}");
        }
        for y in both!(tanh, &[0.0, 1e-30, -3e38, 3e38]) {
            assert_eq!(y, [0.0, 1e-30, -1.0, 1.0]);
        }
    }
}
