//! What makes loops vectorise: code for the machine's own vectors, and functions without branches.

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
        /// For one number: see [`lanes`].
        #[inline(always)]
        pub fn $function(x: f32) -> f32 {
            lanes::$function(Lanes(pulp::Scalar, x)).1
        }
    )*};
}
on_numbers!(exp_term tanh sigmoid);

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
