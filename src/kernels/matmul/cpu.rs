//! Products on a CPU, by extents: each of a batch, a long sum in parts, a few columns, or tiles of rows.

use super::super::elementwise::relu;
use super::super::fast::{self, wide};
use super::super::parallel::{par_rows, span};
use super::super::real::Real;
use super::super::strided::transpose;
use super::super::{Args, panel, sums};
use super::{Activation, Dims, MatMul, dot};
use std::borrow::Cow;

/// Columns of a product that is narrow: so few that a general product spends its time on packing.
const NARROW: usize = 8;

/// A matrix with its row and column strides.
type Matrix<'a> = (&'a [f32], [usize; 2]);

/// A product of MatMul's operands. `y` is not empty, and there are terms to add.
struct Product<'a> {
    op: &'a MatMul,
    d: Dims,
    a: Matrix<'a>,
    b: Matrix<'a>,
    bias: Option<&'a [f32]>,
}

pub(super) fn run(op: &MatMul, args: &Args<f32>) {
    let d = op.dims(args.shape("a"), args.shape("b"));
    let (sa, sb) = op.strides(d);
    let (a, b, y) = (args.f("a"), args.f("b"), args.out("y"));
    let product = Product { op, d, a: (a, sa), b: (b, sb), bias: op.bias.then(|| args.f("bias")) };
    match () {
        _ if y.is_empty() => {}
        _ if d.k == 0 => {
            y.fill(0.0);
            product.finish(y);
        }
        _ if d.batch > 1 => product.each_of_batch(y),
        // A weight's gradient.
        _ if op.transpose_a && d.k >= 2048 && d.m * d.n <= 64 * 1024 => product.long_sum(y),
        _ if d.n <= NARROW && !op.transpose_a => product.narrow(y),
        _ => product.tiles(y),
    }
}

impl Product<'_> {
    /// Each of the batch by one thread.
    fn each_of_batch(&self, y: &mut [f32]) {
        let (d, (a, sa), (b, sb)) = (self.d, self.a, self.b);
        let little = d.m * d.n * d.k <= 16 * 1024;
        par_rows(y, d.m * d.n, d.m * d.n * d.k / 4, |i, y| {
            let a = &a[i * d.m * d.k..][..d.m * d.k];
            let b = if d.shared { b } else { &b[i * d.k * d.n..][..d.k * d.n] };
            match (little, self.op.transpose_b) {
                (true, false) => self.in_panels(d.m, y, a, b),
                (true, true) => wide(
                    #[inline(always)]
                    || small_t(y, d.n, d.k, a, sa, b),
                ),
                _ => self.multiply([d.m, d.k], y, a, (b, sb)),
            }
            wide(
                #[inline(always)]
                || self.finish(y),
            );
        });
    }

    /// Fixed chunks of the sum, on all cores, added pair by pair.
    fn long_sum(&self, y: &mut [f32]) {
        const CHUNK: usize = 1024;
        let (d, (a, sa), (b, sb)) = (self.d, self.a, self.b);
        let mut parts = vec![0.0; d.k.div_ceil(CHUNK) * d.m * d.n];
        par_rows(&mut parts, d.m * d.n, CHUNK * d.m * d.n, |c, part| {
            let k = CHUNK.min(d.k - c * CHUNK);
            self.multiply([d.m, k], part, &a[c * CHUNK * sa[1]..], (&b[c * CHUNK * sb[0]..], sb));
        });
        sums::join(&mut parts, d.m * d.n);
        y.copy_from_slice(&parts[..d.m * d.n]);
        self.finish(y);
    }

    /// A few columns, for tiles of rows, without packing.
    fn narrow(&self, y: &mut [f32]) {
        const TILE: usize = 256;
        let (d, (a, _), (b, _)) = (self.d, self.a, self.b);
        let b = if self.op.transpose_b { Cow::Owned(self.transposed()) } else { Cow::Borrowed(b) };
        par_rows(y, TILE.min(d.m) * d.n, TILE * d.n * d.k / 4, |i, y| {
            self.in_panels(y.len() / d.n, y, &a[i * TILE * d.k..], &b);
            wide(
                #[inline(always)]
                || self.finish(y),
            );
        });
    }

    /// Tiles of rows.
    fn tiles(&self, y: &mut [f32]) {
        const TILE: usize = 128;
        let (d, (a, sa)) = (self.d, self.a);
        // Once for many tiles: else each product does it for itself.
        let once = (self.op.transpose_b && d.m > 4 * TILE).then(|| self.transposed());
        let b = once.as_deref().map_or(self.b, |b| (b, [d.n, 1]));
        par_rows(y, TILE.min(d.m) * d.n, TILE * d.n * d.k / 8, |i, y| {
            self.multiply([y.len() / d.n, d.k], y, &a[i * TILE * sa[0]..], b);
            wide(
                #[inline(always)]
                || self.finish(y),
            );
        });
    }

    /// The transposed of b, \[k, n\].
    fn transposed(&self) -> Vec<f32> {
        let mut to = vec![0.0; self.d.n * self.d.k];
        transpose(self.b.0, self.d.k, &mut to, self.d.n);
        to
    }

    /// `y = a b` of m rows, for b \[k, n\] contiguous, by panels that are not packed.
    fn in_panels(&self, m: usize, y: &mut [f32], a: &[f32], b: &[f32]) {
        let (n, k) = (self.d.n, self.d.k);
        let (a_strides, update) = (self.a.1, panel::Update::Write);
        panel::Product { extents: [m, n, k], a, a_strides, b, b_row: n, c: y, c_row: n, update }.run();
    }

    /// `y = a b` of m rows and k terms, by gemm.
    fn multiply(&self, [m, k]: [usize; 2], y: &mut [f32], a: &[f32], (b, sb): Matrix) {
        let (n, sa) = (self.d.n, self.a.1);
        assert!(y.len() == m * n && a.len() >= span([m, k], sa) && b.len() >= span([k, n], sb));
        let [sa, sb] = [sa, sb].map(|s| s.map(|x| x as isize));
        // SAFETY: the lengths were checked against the strides; y is exclusive.
        unsafe { f32::gemm(m, n, k, y.as_mut_ptr(), [n as isize, 1], false, a.as_ptr(), sa, b.as_ptr(), sb) }
    }

    /// Bias and activation, on rows of y.
    #[inline(always)]
    fn finish(&self, y: &mut [f32]) {
        let (n, activation) = (self.d.n, self.op.activation);
        if let Some(bias) = self.bias {
            if activation == Activation::Relu {
                y.chunks_mut(n).for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y = relu(*y + b)));
                return;
            }
            y.chunks_mut(n).for_each(|row| row.iter_mut().zip(bias).for_each(|(y, b)| *y += b));
        }
        match activation {
            Activation::None => {}
            Activation::Relu => y.iter_mut().for_each(|y| *y = relu(*y)),
            Activation::Tanh => y.iter_mut().for_each(|y| *y = fast::tanh(*y)),
            Activation::Sigmoid => y.iter_mut().for_each(|y| *y = fast::sigmoid(*y)),
        }
    }
}

/// `y = a b^T` of one small product: dot products of rows.
#[inline(always)]
fn small_t(y: &mut [f32], n: usize, k: usize, a: &[f32], [a_row, a_col]: [usize; 2], b: &[f32]) {
    for (i, y) in y.chunks_mut(n).enumerate() {
        for (j, y) in y.iter_mut().enumerate() {
            let b = &b[j * k..][..k];
            *y = if a_col == 1 {
                dot(&a[i * a_row..][..k], b)
            } else {
                (0..k).map(|l| a[i * a_row + l * a_col] * b[l]).sum()
            };
        }
    }
}
