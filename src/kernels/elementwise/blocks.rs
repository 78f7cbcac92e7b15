//! A chain on the CPU by blocks of its output, an operation on a whole block at a time, by vectors.

use super::super::Args;
use super::super::broadcast::{Broadcast, RANK};
use super::super::parallel::par_rows;
use super::{Chain, Instr, MAX_INPUTS};
use crate::tensor::DType;
use std::cell::Cell;

/// Elements of a block: registers of a chain stay in the first-level cache.
const BLOCK: usize = 256;
/// Registers of the longest chain that the fusing pass makes: 7 inputs and 32 results.
const REGISTERS: usize = 40;

/// Runs `chain`; false: it has more registers than there are, and nothing was done.
pub fn run(chain: &Chain, a: &Args<f32>) -> bool {
    let b = chain.broadcast(a);
    let registers = chain.inputs + chain.code.len();
    if registers > REGISTERS {
        return false;
    }
    // Blocks of whole rows where several fit: of a single one if a row that is repeated would have to be copied else.
    let inner = b.inner();
    let in_place = |i: usize| {
        let source = Source::new(a, &b, i);
        source.plain || source.inner == 0 || source.stacked(&b)
    };
    let block = match inner {
        n if n >= BLOCK => BLOCK,
        n if n >= BLOCK / 4 && !(0..a.len()).all(in_place) => n,
        n => BLOCK - BLOCK % n,
    };
    let task = 32 * block;
    let arch = pulp::Arch::new();
    par_rows(a.out("y"), task, task * chain.code.len(), |i, out| {
        let mut registers = REGISTER_FILE.take();
        registers.resize(REGISTERS * BLOCK, 0.0);
        let registers_of = &mut registers;
        arch.dispatch(Blocks { chain, a, b: &b, first: i * task, block, registers: registers_of, out });
        REGISTER_FILE.set(registers);
    });
    true
}

/// Where a block of the output begins: the inner row at these coordinates, and the element of it.
#[derive(Clone, Copy)]
struct Place {
    row: [usize; RANK],
    column: usize,
    /// All elements of the output.
    at: usize,
}

/// An input as blocks are loaded from it.
#[derive(Clone, Copy)]
struct Source<'a> {
    /// One of the two, by type.
    floats: &'a [f32],
    integers: &'a [u32],
    plain: bool,
    outer: [usize; RANK],
    inner: usize,
}

impl<'a> Source<'a> {
    const NONE: Source<'static> = Source { floats: &[], integers: &[], plain: false, outer: [0; RANK], inner: 0 };

    fn new(a: &Args<'a, f32>, b: &Broadcast, i: usize) -> Source<'a> {
        let float = a.dtype(i) == DType::F32;
        let (&inner, strides) = b.strides[i].split_last().expect("at least one axis");
        let mut outer = [0; RANK];
        outer[..strides.len()].copy_from_slice(strides);
        let (floats, integers) = if float { (a.f(i), &[][..]) } else { (&[][..], a.u(i)) };
        Source { floats, integers, plain: float && b.plain[i], outer, inner }
    }

    /// Whether its rows lie side by side as those of the output do.
    #[inline(always)]
    fn stacked(&self, b: &Broadcast) -> bool {
        let last = b.extents.len() - 1;
        self.inner == 1 && last > 0 && self.outer[last - 1] == b.inner()
    }

    /// Whether that goes for `rows` rows from `row` on: those of one table, not of its next copy.
    #[inline(always)]
    fn runs_on(&self, b: &Broadcast, row: &[usize; RANK], rows: usize) -> bool {
        self.stacked(b) && row[b.extents.len() - 2] + rows <= b.extents[b.extents.len() - 2]
    }

    #[inline(always)]
    fn offset(&self, row: &[usize; RANK]) -> usize {
        self.outer.iter().zip(row).map(|(stride, c)| stride * c).sum()
    }

    /// The elements for the block of the output that starts at element `place`: where they lie, if they do so side by side, else
    /// copied into `block`.
    #[inline(always)]
    fn load(&self, b: &Broadcast, place: &Place, block: &'a mut [f32]) -> &'a [f32] {
        let (inner, float) = (b.inner(), self.integers.is_empty());
        let Place { mut row, mut column, at } = *place;
        if self.plain {
            return &self.floats[at..][..block.len()];
        }
        if float
            && self.inner == 1
            && (column + block.len() <= inner || self.runs_on(b, &row, (column + block.len()).div_ceil(inner)))
        {
            return &self.floats[self.offset(&row) + column..][..block.len()];
        }
        let mut done = 0;
        while done < block.len() {
            let n = (inner - column).min(block.len() - done);
            let start = self.offset(&row) + column * self.inner;
            let to = &mut block[done..done + n];
            match (float, self.inner) {
                (true, 0) => to.fill(self.floats[start]),
                (true, 1) => to.copy_from_slice(&self.floats[start..][..n]),
                (true, step) => to.iter_mut().zip(self.floats[start..].iter().step_by(step)).for_each(|(t, &x)| *t = x),
                (false, 0) => to.fill(self.integers[start] as f32),
                (false, step) => {
                    let from = self.integers[start..].iter().step_by(step);
                    to.iter_mut().zip(from).for_each(|(t, &x)| *t = x as f32);
                }
            }
            done += n;
            column = 0;
            b.advance(&mut row);
        }
        block
    }
}

thread_local! {
    /// Registers of the chain that a thread is at.
    static REGISTER_FILE: Cell<Vec<f32>> = const { Cell::new(vec![]) };
}

impl Chain {
    /// The chain on the elements of one block, from element `at` of the output on.
    #[inline(always)]
    fn block<S: pulp::Simd>(
        &self,
        simd: S,
        sources: &[Source],
        b: &Broadcast,
        place: &Place,
        registers: &mut [f32],
        out: &mut [f32],
    ) {
        let len = out.len();
        let (loaded, results) = registers.split_at_mut(self.inputs * BLOCK);
        let mut inputs: [&[f32]; MAX_INPUTS] = [&[]; MAX_INPUTS];
        for ((input, source), block) in inputs.iter_mut().zip(sources).zip(loaded.chunks_exact_mut(BLOCK)) {
            *input = source.load(b, place, &mut block[..len]);
        }
        for (k, instr) in self.code.iter().enumerate() {
            let (before, rest) = results.split_at_mut(k * BLOCK);
            let to = if k + 1 == self.code.len() { &mut *out } else { &mut rest[..len] };
            let register = |r: usize| match r.checked_sub(self.inputs) {
                None => inputs[r],
                Some(k) => &before[k * BLOCK..][..len],
            };
            match *instr {
                Instr::Literal(x) => to.fill(x as f32),
                Instr::Apply(f, p, q) => f.block(simd, register(p), register(q), to),
            }
        }
    }
}

/// A chain on `out`, the output from element `first` on, in blocks of `block`.
struct Blocks<'a> {
    chain: &'a Chain,
    a: &'a Args<'a, f32>,
    b: &'a Broadcast,
    first: usize,
    block: usize,
    registers: &'a mut [f32],
    out: &'a mut [f32],
}

impl pulp::WithSimd for Blocks<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let Blocks { chain, a, b, first, block, registers, out } = self;
        let mut sources = [Source::NONE; MAX_INPUTS];
        sources.iter_mut().enumerate().take(chain.inputs).for_each(|(i, source)| *source = Source::new(a, b, i));
        let sources = &sources[..chain.inputs];
        let mut place = Place { row: b.row(first / b.inner()), column: first % b.inner(), at: first };
        for out in out.chunks_mut(block) {
            chain.block(simd, sources, b, &place, registers, out);
            place.at += out.len();
            place.column += out.len();
            while place.column >= b.inner() {
                place.column -= b.inner();
                b.advance(&mut place.row);
            }
        }
    }
}
