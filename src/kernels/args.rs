//! What a twin gets to work on: typed slices of its operands, and loops over rows on all cores.

use super::real::Real;
use crate::tensor::{DType, Shape, Spec};
use rayon::prelude::*;
use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

/// One operand in host memory.
#[derive(Clone)]
pub struct Operand {
    pub spec: Spec,
    pub at: *mut u8,
}

impl Operand {
    /// Bytes of its elements, floats as f64 if `wide`.
    pub fn bytes(&self, wide: bool) -> usize {
        let element = if wide && self.spec.dtype == DType::F32 { 8 } else { 4 };
        self.spec.shape.elements() * element
    }
}

// SAFETY: a pointer into memory that outlives its use, by the contract of `Args::new`.
unsafe impl Send for Operand {}
unsafe impl Sync for Operand {}

/// The operands of one node. Inputs are shared; each output is handed out once.
pub struct Args<'a, T> {
    inputs: &'a [Operand],
    outputs: &'a [Operand],
    taken: AtomicU32,
    /// The part that the cut operands start with.
    first: usize,
    parts: usize,
    real: PhantomData<T>,
}

impl<'a, T: Real> Args<'a, T> {
    /// # Safety
    /// Every operand must point at memory of its spec's size (8 bytes an `F32` element where `T` is f64), valid for 'a;
    /// no output may overlap another operand, except for a state that the op writes in place.
    pub unsafe fn new(inputs: &'a [Operand], outputs: &'a [Operand]) -> Args<'a, T> {
        Args { inputs, outputs, taken: AtomicU32::new(0), first: 0, parts: 1, real: PhantomData }
    }

    /// The operands hold `parts` parts of an op that is split, from part `first` on.
    pub fn tile(self, first: usize, parts: usize) -> Args<'a, T> {
        Args { first, parts, ..self }
    }

    /// Number, in the whole output, of the first element of output `i` as it is given here.
    pub fn first_element(&self, i: usize) -> usize {
        self.outputs[i].spec.shape.elements() / self.parts * self.first
    }

    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    pub fn shape(&self, input: usize) -> &'a Shape {
        &self.inputs[input].spec.shape
    }

    pub fn out_shape(&self, output: usize) -> &'a Shape {
        &self.outputs[output].spec.shape
    }

    pub fn dtype(&self, input: usize) -> DType {
        self.inputs[input].spec.dtype
    }

    /// Input `i`, of floats.
    pub fn f(&self, i: usize) -> &'a [T] {
        let x = &self.inputs[i];
        assert_eq!(x.spec.dtype, DType::F32, "input {i} is not of floats");
        // SAFETY: by the contract of `new`.
        unsafe { std::slice::from_raw_parts(x.at as *const T, x.spec.shape.elements()) }
    }

    /// Input `i`, of integers.
    pub fn u(&self, i: usize) -> &'a [u32] {
        let x = &self.inputs[i];
        assert_eq!(x.spec.dtype, DType::U32, "input {i} is not of integers");
        // SAFETY: by the contract of `new`.
        unsafe { std::slice::from_raw_parts(x.at as *const u32, x.spec.shape.elements()) }
    }

    /// Output `i`, of floats. What it holds before is unspecified unless it is a state written in place.
    pub fn out(&self, i: usize) -> &'a mut [T] {
        let x = self.take(i, DType::F32);
        // SAFETY: by the contract of `new`; `take` hands each output out once.
        unsafe { std::slice::from_raw_parts_mut(x.at as *mut T, x.spec.shape.elements()) }
    }

    /// Output `i`, of integers.
    pub fn out_u(&self, i: usize) -> &'a mut [u32] {
        let x = self.take(i, DType::U32);
        // SAFETY: by the contract of `new`; `take` hands each output out once.
        unsafe { std::slice::from_raw_parts_mut(x.at as *mut u32, x.spec.shape.elements()) }
    }

    fn take(&self, i: usize, dtype: DType) -> &'a Operand {
        assert_eq!(self.outputs[i].spec.dtype, dtype, "output {i} has another type");
        let before = self.taken.fetch_or(1 << i, Ordering::Relaxed);
        assert_eq!(before & (1 << i), 0, "output {i} was taken before");
        &self.outputs[i]
    }

    pub fn out_dtype(&self, output: usize) -> DType {
        self.outputs[output].spec.dtype
    }
}

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
pub fn rows<T: Send>(out: &mut [T], row_len: usize, work: usize, f: impl Fn(usize, &mut [T]) + Sync) {
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

/// As [`rows`], over two outputs that have the same number of rows.
pub fn rows2<T: Send, U: Send>(
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

/// As [`rows`], over outputs that have the same number of rows, of the lengths given beside them; the last may be shorter.
pub fn blocks<T: Send, const N: usize>(
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
