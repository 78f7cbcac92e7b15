//! Loops over rows on all cores.

use rayon::prelude::*;
use std::cell::Cell;

/// Elements below which a loop stays on one thread: handing work to another costs some 5 us.
pub const SERIAL: usize = 1 << 14;

thread_local! {
    /// Set while this thread runs a tile: what its nodes do then stays on it.
    static IN_TILE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`, whose loops over rows stay on this thread.
pub fn on_one_thread<R>(f: impl FnOnce() -> R) -> R {
    let before = IN_TILE.replace(true);
    let result = f();
    IN_TILE.set(before);
    result
}

/// Whether this thread runs a tile.
pub fn in_tile() -> bool {
    IN_TILE.get()
}

/// Whether `work` elements are too few to share.
fn serial(work: usize) -> bool {
    work < SERIAL || in_tile()
}

/// `f(row number, row)` for each row of `out`, on all cores; `work` is the cost of a row in elements touched.
pub fn par_rows<T: Send>(out: &mut [T], row_len: usize, work: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    if row_len == 0 || out.is_empty() {
        return;
    }
    if serial(out.len() / row_len * work) {
        out.chunks_mut(row_len).enumerate().for_each(|(i, row)| f(i, row));
    } else {
        let at_once = (SERIAL / 4 / work.max(1)).max(1);
        out.par_chunks_mut(row_len).with_min_len(at_once).enumerate().for_each(|(i, row)| f(i, row));
    }
}

/// As [`par_rows`], over two outputs that have the same number of rows.
pub fn par_rows2<T: Send, U: Send>(
    (a, a_len): (&mut [T], usize),
    (b, b_len): (&mut [U], usize),
    work: usize,
    f: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    if a_len == 0 || b_len == 0 || a.is_empty() {
        return;
    }
    if serial(a.len() / a_len * work) {
        a.chunks_mut(a_len).zip(b.chunks_mut(b_len)).enumerate().for_each(|(i, (x, y))| f(i, x, y));
    } else {
        let at_once = (SERIAL / 4 / work.max(1)).max(1);
        let (x, y) = (a.par_chunks_mut(a_len), b.par_chunks_mut(b_len));
        x.zip(y).with_min_len(at_once).enumerate().for_each(|(i, (x, y))| f(i, x, y));
    }
}

/// As [`par_rows`], over outputs that have the same number of rows, each with the length of its rows; the last may be shorter.
pub fn par_blocks<T: Send, const N: usize>(
    outputs: [(&mut [T], usize); N],
    work: usize,
    f: impl Fn(usize, [&mut [T]; N]) + Sync,
) {
    if outputs.iter().any(|(y, len)| y.is_empty() || *len == 0) {
        return;
    }
    let count = outputs[0].0.len().div_ceil(outputs[0].1);
    let mut chunks = outputs.map(|(y, len)| y.chunks_mut(len));
    let next = |_| chunks.each_mut().map(|c| c.next().expect("as many rows of each output"));
    let all: Vec<[&mut [T]; N]> = (0..count).map(next).collect();
    if serial(count * work) {
        all.into_iter().enumerate().for_each(|(i, rows)| f(i, rows));
    } else {
        all.into_par_iter().with_max_len(1).enumerate().for_each(|(i, rows)| f(i, rows));
    }
}

/// Elements from the first to the last of a matrix with these extents and strides, that one counted: 0 of an empty matrix.
pub fn span([rows, columns]: [usize; 2], [row, column]: [usize; 2]) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * row + (columns - 1) * column + 1 }
}
