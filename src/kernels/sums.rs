//! Long sums on the CPU: in blocks, so that the rounding error grows with the logarithm of the number of terms at most. The
//! blocks depend on the sizes alone: the same bits for any number of threads.

use super::fast::sum_lanes;
use super::parallel::in_tile;
use super::real::Real;
use rayon::prelude::*;
use std::ops::Range;

/// Terms that are added one after the other, or side by side, before their sum is added to others.
const LEAF: usize = 512;

/// The sum over `0..n` of what `f` gives for each range of at most 512 indices; those sums are added in f64.
#[inline(always)]
pub fn sum_chunks<T: Real>(n: usize, f: impl Fn(Range<usize>) -> T + Sync) -> T {
    if n <= LEAF { f(0..n) } else { sum_leaves(n, f) }
}

fn sum_leaves<T: Real>(n: usize, f: impl Fn(Range<usize>) -> T + Sync) -> T {
    const CHUNK: usize = 8 * LEAF;
    let leaves = |range: Range<usize>| -> f64 {
        range.clone().step_by(LEAF).map(|start| f(start..range.end.min(start + LEAF)).f64()).sum()
    };
    let chunks = n.div_ceil(CHUNK);
    let part = |c: usize| leaves(c * CHUNK..n.min((c + 1) * CHUNK));
    let total: f64 = if chunks <= 4 || in_tile() {
        (0..chunks).map(part).sum()
    } else {
        (0..chunks).into_par_iter().map(part).collect::<Vec<f64>>().into_iter().sum()
    };
    T::of(total)
}

/// The sum of `x`, by sixteen sums side by side: of one block of a longer sum.
#[inline(always)]
pub fn add_up<T: Real>(x: &[T]) -> T {
    let mut sums = [T::ZERO; 16];
    let (blocks, rest) = x.as_chunks::<16>();
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, &x)| *sum += x);
    }
    sum_lanes(sums) + rest.iter().copied().sum()
}

/// Adds the tensors of `len` elements that lie in `parts` one after the other, pair by pair; the first becomes the sum.
pub fn join<T: Real>(parts: &mut [T], len: usize) {
    let mut count = parts.len() / len.max(1);
    while count > 1 {
        let half = count.div_ceil(2);
        let (to, from) = parts[..count * len].split_at_mut(half * len);
        to.iter_mut().zip(from).for_each(|(to, &mut from)| *to += from);
        count = half;
    }
}

/// Columns that [`Rows`] adds up at once.
pub const COLUMNS: usize = 64;

/// A sum of rows of at most [`COLUMNS`] elements: rows are added by 16, and so are the sums of 16, of 256 and so on.
pub struct Rows<T> {
    /// How many were added, and their sums by how many rows those are of.
    count: usize,
    sums: [[T; COLUMNS]; LEVELS],
}

const RADIX: usize = 16;
/// The last holds sums of 16^5 rows.
const LEVELS: usize = 6;

impl<T: Real> Default for Rows<T> {
    fn default() -> Rows<T> {
        Rows { count: 0, sums: [[T::ZERO; COLUMNS]; LEVELS] }
    }
}

impl<T: Real> Rows<T> {
    #[inline(always)]
    pub fn add(&mut self, row: &[T]) {
        self.sums[0].iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
        self.count += 1;
        let mut of = RADIX;
        for level in 1..LEVELS {
            if !self.count.is_multiple_of(of) {
                return;
            }
            let full = std::mem::replace(&mut self.sums[level - 1], [T::ZERO; COLUMNS]);
            self.sums[level].iter_mut().zip(full).for_each(|(sum, x)| *sum += x);
            of *= RADIX;
        }
    }

    /// Writes the sums of as many columns as `y` has.
    #[inline(always)]
    pub fn total(&self, y: &mut [T]) {
        let [first, others @ ..] = &self.sums;
        y.copy_from_slice(&first[..y.len()]);
        others.iter().for_each(|sums| y.iter_mut().zip(sums).for_each(|(y, &sum)| *y += sum));
    }
}

/// y \[d\] = the sum of the rows of x \[n, d\].
#[inline(always)]
pub fn add_rows<T: Real>(x: &[T], y: &mut [T]) {
    let d = y.len();
    for (block, y) in y.chunks_mut(COLUMNS).enumerate() {
        let mut sums = Rows::default();
        x.chunks_exact(d).for_each(|row| sums.add(&row[block * COLUMNS..][..y.len()]));
        sums.total(y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Off by at most this share of a sum of equal signs, whatever its length.
    const ALLOWED: f64 = 2e-6;

    fn off(got: f32, want: f64) -> f64 {
        (got as f64 - want).abs() / want
    }

    #[test]
    fn sums_of_equal_numbers_stay_exact() {
        for n in [1, 15, 16, 17, 511, 513, 4096, 16_385, 1_000_003] {
            for value in [0.1f32, 1.0 / 3.0, 0.7] {
                let (x, want) = (vec![value; n], value as f64 * n as f64);
                assert!(off(sum_chunks(n, |r| add_up(&x[r])), want) < ALLOWED, "{n} of {value}");
                let mut y = [0.0f32];
                add_rows(&x, &mut y);
                assert!(off(y[0], want) < ALLOWED, "{n} rows of {value}");
                let mut parts = x.clone();
                join(&mut parts, 1);
                assert!(off(parts[0], want) < ALLOWED, "{n} parts of {value}");
            }
        }
    }

    #[test]
    fn wide_rows_and_parts_are_added_column_by_column() {
        let (n, d) = (333, 150);
        let x: Vec<f64> = (0..n * d).map(|i| (i % 1013) as f64).collect();
        let want: Vec<f64> = (0..d).map(|c| (0..n).map(|r| x[r * d + c]).sum()).collect();
        let mut y = vec![0.0; d];
        add_rows(&x, &mut y);
        assert_eq!(y, want);
        let mut parts = x.clone();
        join(&mut parts, d);
        assert_eq!(parts[..d], want);
    }
}
