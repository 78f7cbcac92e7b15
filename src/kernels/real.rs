//! The arithmetic that twins are written in: f32 on the CPU device, f64 as the oracle.

use super::parallel::span;
use rustfft::{FftPlanner, num_complex::Complex};
use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

pub trait Real:
    Copy
    + Send
    + Sync
    + Default
    + Debug
    + Display
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
    + bytemuck::Pod
    + 'static
{
    const ZERO: Self;
    const ONE: Self;
    /// The finite stand-in for minus infinity that masks use.
    const MASKED: Self;
    fn of(x: f64) -> Self;
    fn f64(self) -> f64;
    fn exp(self) -> Self;
    fn ln(self) -> Self;
    fn ln_1p(self) -> Self;
    fn tanh(self) -> Self;
    fn sqrt(self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    fn abs(self) -> Self;
    /// NaN where one of both is.
    fn max(self, other: Self) -> Self;
    /// NaN where one of both is.
    fn min(self, other: Self) -> Self;
    fn is_finite(self) -> bool;
    fn is_nan(self) -> bool;
    /// NaN where this is infinite: for what would become a number again, as 1 / x does.
    fn finite_or_nan(self) -> Self;
    fn erf(self) -> Self;
    /// The discrete Fourier transform, unscaled, of each `len` of (re, im), in place (the `rustfft` crate).
    fn dft(z: &mut [[Self; 2]], len: usize);
    /// C = alpha A B + beta C on strided matrices (the `gemm` crate), on this thread alone.
    ///
    /// # Safety
    /// Pointers and strides must describe matrices within their allocations, C not overlapping A or B.
    #[allow(clippy::too_many_arguments)]
    unsafe fn gemm(
        m: usize,
        n: usize,
        k: usize,
        c: *mut Self,
        c_strides: [isize; 2],
        accumulate: bool,
        a: *const Self,
        a_strides: [isize; 2],
        b: *const Self,
        b_strides: [isize; 2],
    );
}

macro_rules! real {
    ($t:ty, $erf:path) => {
        impl Real for $t {
            const ZERO: $t = 0.0;
            const ONE: $t = 1.0;
            const MASKED: $t = -3e38;
            #[inline(always)]
            fn of(x: f64) -> $t {
                x as $t
            }
            #[inline(always)]
            fn f64(self) -> f64 {
                self as f64
            }
            real!(@forward $t: exp, ln, ln_1p, tanh, sqrt, sin, cos, abs);
            #[inline(always)]
            fn max(self, other: $t) -> $t {
                if self > other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn min(self, other: $t) -> $t {
                if self < other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                <$t>::is_finite(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                <$t>::is_nan(self)
            }
            #[inline(always)]
            fn finite_or_nan(self) -> $t {
                if <$t>::is_finite(self) { self } else { <$t>::NAN }
            }
            fn erf(self) -> $t {
                $erf(self)
            }
            fn dft(z: &mut [[$t; 2]], len: usize) {
                let mut all: Vec<_> = z.iter().map(|&[re, im]| Complex { re, im }).collect();
                FftPlanner::new().plan_fft_forward(len).process(&mut all);
                z.iter_mut().zip(all).for_each(|(z, c)| *z = [c.re, c.im]);
            }
            unsafe fn gemm(
                m: usize, n: usize, k: usize, c: *mut $t, [c_row, c_col]: [isize; 2], accumulate: bool, a: *const $t,
                [a_row, a_col]: [isize; 2], b: *const $t, [b_row, b_col]: [isize; 2],
            ) {
                // SAFETY: passed on to the caller.
                unsafe {
                    gemm::gemm(
                        m, n, k, c, c_col, c_row, accumulate, a, a_col, a_row, b, b_col, b_row, 1.0, 1.0, false, false,
                        false, gemm::Parallelism::None,
                    )
                }
            }
        }
    };
    (@forward $t:ty: $($f:ident),*) => {$(
        #[inline(always)]
        fn $f(self) -> $t {
            <$t>::$f(self)
        }
    )*};
}
real!(f32, libm::erff);
real!(f64, libm::erf);

/// `y = a b`, or `y += a b`, of extents \[m, n, k\] with the row and column strides of a and b; y is contiguous.
pub(super) fn product(
    [m, n, k]: [usize; 3],
    y: &mut [f32],
    a: &[f32],
    sa: [usize; 2],
    b: &[f32],
    sb: [usize; 2],
    add: bool,
) {
    assert!(y.len() >= m * n && a.len() >= span([m, k], sa) && b.len() >= span([k, n], sb));
    let [sa, sb] = [sa, sb].map(|s| s.map(|x| x as isize));
    // SAFETY: the lengths were checked against the strides; y is exclusive.
    unsafe { f32::gemm(m, n, k, y.as_mut_ptr(), [n as isize, 1], add, a.as_ptr(), sa, b.as_ptr(), sb) }
}
