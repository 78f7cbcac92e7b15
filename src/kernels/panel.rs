//! Products of matrices so small that packing them, as a general product does, would take as long as multiplying.

use super::lanes::Lanes;
use super::parallel::span;
use std::ops::Range;

/// What becomes of an element of c.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// The product.
    Write,
    /// The sum of both.
    Add,
    /// The larger one, NaN where one of both is.
    Max,
}

/// `c` is updated by `a b` on this thread: a \[m, k\], its element (i, l) at `i a_strides[0] + l a_strides[1]`; b \[k, n\] and
/// c \[m, n\] of contiguous rows, `b_row` and `c_row` elements apart.
pub struct Product<'a> {
    pub extents: [usize; 3],
    pub a: &'a [f32],
    pub a_strides: [usize; 2],
    pub b: &'a [f32],
    pub b_row: usize,
    pub c: &'a mut [f32],
    pub c_row: usize,
    pub update: Update,
}

impl Product<'_> {
    pub fn run(self) {
        pulp::Arch::new().dispatch(self);
    }
}

/// Rows of c at once: with two vectors each, and those of b, they fill the sixteen registers of AVX2.
const ROWS: usize = 6;

impl pulp::WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(mut self, simd: S) {
        let [m, n, k] = self.extents;
        if m * n == 0 {
            return;
        }
        assert!(self.c_row >= n && self.c.len() >= span([m, n], [self.c_row, 1]));
        assert!(self.a.len() >= span([m, k], self.a_strides) && self.b.len() >= span([k, n], [self.b_row, 1]));
        let lanes = S::F32_LANES;
        let mut column = 0;
        while column < n {
            let width = (n - column).min(2 * lanes);
            let rows_of = |row: usize| row..m.min(row + ROWS);
            for rows in (0..m).step_by(ROWS).map(rows_of) {
                // SAFETY: of rows below m and columns below n, whose elements the slices hold, as was checked.
                unsafe {
                    if width == 2 * lanes {
                        self.rows::<S, 2, false>(simd, rows, column, lanes);
                    } else if width >= lanes {
                        self.rows::<S, 1, false>(simd, rows, column, lanes);
                    } else {
                        self.rows::<S, 1, true>(simd, rows, column, width);
                    }
                }
            }
            column += if width == 2 * lanes { width } else { width.min(lanes) };
        }
    }
}

impl Product<'_> {
    /// Up to `ROWS` rows of c, and V vectors of their columns: one of only `width` of its lanes if `PARTIAL`.
    #[inline(always)]
    unsafe fn rows<S: pulp::Simd, const V: usize, const PARTIAL: bool>(
        &mut self,
        simd: S,
        rows: Range<usize>,
        column: usize,
        width: usize,
    ) {
        // SAFETY: passed on to the caller.
        unsafe {
            match rows.len() {
                6 => self.tile::<S, 6, V, PARTIAL>(simd, rows.start, column, width),
                5 => self.tile::<S, 5, V, PARTIAL>(simd, rows.start, column, width),
                4 => self.tile::<S, 4, V, PARTIAL>(simd, rows.start, column, width),
                3 => self.tile::<S, 3, V, PARTIAL>(simd, rows.start, column, width),
                2 => self.tile::<S, 2, V, PARTIAL>(simd, rows.start, column, width),
                _ => self.tile::<S, 1, V, PARTIAL>(simd, rows.start, column, width),
            }
        }
    }

    #[inline(always)]
    unsafe fn tile<S: pulp::Simd, const R: usize, const V: usize, const PARTIAL: bool>(
        &mut self,
        simd: S,
        row: usize,
        column: usize,
        width: usize,
    ) {
        let [_, _, k] = self.extents;
        let [a_row, a_col] = self.a_strides;
        let lanes = S::F32_LANES;
        // SAFETY: all within the slices, by the caller's promise.
        unsafe {
            let load = |at: *const f32| match PARTIAL {
                true => simd.partial_load_f32s(std::slice::from_raw_parts(at, width)),
                false => at.cast::<S::f32s>().read_unaligned(),
            };
            let a = self.a.as_ptr().wrapping_add(row * a_row);
            let b = self.b.as_ptr().wrapping_add(column);
            let c = self.c.as_mut_ptr().add(row * self.c_row + column);
            let mut sums = [[simd.splat_f32s(0.0); V]; R];
            for l in 0..k {
                let b: [S::f32s; V] = std::array::from_fn(|v| load(b.add(l * self.b_row + v * lanes)));
                for (r, sums) in sums.iter_mut().enumerate() {
                    let x = simd.splat_f32s(*a.add(r * a_row + l * a_col));
                    for v in 0..V {
                        sums[v] = simd.mul_add_e_f32s(x, b[v], sums[v]);
                    }
                }
            }
            for (r, sums) in sums.into_iter().enumerate() {
                for (v, sum) in sums.into_iter().enumerate() {
                    let at = c.add(r * self.c_row + v * lanes);
                    let sum = match self.update {
                        Update::Write => sum,
                        Update::Add => simd.add_f32s(sum, load(at)),
                        Update::Max => Lanes(simd, load(at)).max_or_nan(Lanes(simd, sum)).1,
                    };
                    match PARTIAL {
                        true => simd.partial_store_f32s(std::slice::from_raw_parts_mut(at, width), sum),
                        false => at.cast::<S::f32s>().write_unaligned(sum),
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Product, Update};

    #[test]
    fn as_plain_loops() {
        let value = |i: usize| ((i * 2_654_435_761) >> 7 & 15) as f32 - 7.0;
        for [m, n, k] in
            [[1, 1, 1], [6, 32, 5], [7, 33, 3], [13, 50, 11], [5, 17, 1], [12, 16, 0], [4, 8, 9], [0, 3, 2]]
        {
            for (turned, update) in
                [false, true].into_iter().flat_map(|t| [Update::Write, Update::Add, Update::Max].map(|u| (t, u)))
            {
                let (a_strides, b_row, c_row) = (if turned { [1, m + 1] } else { [k + 2, 1] }, n + 3, n + 1);
                let a: Vec<f32> = (0..(m + 2) * (k + 2)).map(value).collect();
                let b: Vec<f32> = (0..(k + 1) * b_row).map(|i| value(i + 99)).collect();
                let before: Vec<f32> = (0..(m + 1) * c_row).map(|i| value(i + 7)).collect();
                let mut want = before.clone();
                for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
                    let sum: f32 = (0..k).map(|l| a[i * a_strides[0] + l * a_strides[1]] * b[l * b_row + j]).sum();
                    let c = &mut want[i * c_row + j];
                    *c = match update {
                        Update::Write => sum,
                        Update::Add => *c + sum,
                        Update::Max => c.max(sum),
                    };
                }
                let mut by_machine = before.clone();
                let c = &mut by_machine;
                Product { extents: [m, n, k], a: &a, a_strides, b: &b, b_row, c, c_row, update }.run();
                let mut by_numbers = before.clone();
                let c = &mut by_numbers;
                let one = Product { extents: [m, n, k], a: &a, a_strides, b: &b, b_row, c, c_row, update };
                pulp::WithSimd::with_simd(one, pulp::Scalar);
                // Small integers: every order of the additions gives the same.
                assert!(by_machine == want && by_numbers == want, "{m} {n} {k} {turned} {update:?}");
            }
        }
    }

    #[test]
    fn the_larger_one_is_nan_where_one_of_both_is() {
        for n in [1, 7, 40] {
            for (before, product) in [(f32::NAN, 1.0), (1.0, f32::NAN), (f32::NAN, f32::NAN)] {
                let (b, mut c) = (vec![product; n], vec![before; n]);
                let (a_strides, update) = ([1, 1], Update::Max);
                Product { extents: [1, n, 1], a: &[1.0], a_strides, b: &b, b_row: n, c: &mut c, c_row: n, update }
                    .run();
                assert!(c.iter().all(|c| c.is_nan()), "{before} {product}: {c:?}");
            }
        }
    }
}
