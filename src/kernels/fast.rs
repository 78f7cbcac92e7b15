//! What makes loops vectorise: code for the machine's own vectors, and exp, tanh and sigmoid in f32 without branches.

use super::lanes::{self, Lanes};
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

macro_rules! on_numbers {
    ($($function:ident)*) => {$(
        /// Of one number: see [`lanes`].
        #[inline(always)]
        pub fn $function(x: f32) -> f32 {
            lanes::$function(Lanes(pulp::Scalar, x)).1
        }
    )*};
}
on_numbers!(exp tanh erf sigmoid softplus);

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
