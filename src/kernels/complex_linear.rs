//! Complex linear layers over blocks of channels, as real products of rows \[re, im\].

use super::elementwise::Fun;
use super::example::{Example, Fill, Scale, UNIT};
use super::launch::turns_of;
use super::parallel::par_rows;
use super::real::{self, Real};
use super::sums::join;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::graph::Var;
use crate::tensor::{Shape, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// y\[r, n\] = act(x\[r, n\] W\[n\] + bias\[n\]) for each block n of the channels (DPCPL, equation 3): x \[.., 2, k a\], real parts
/// before imaginary ones, W \[k, 2, a, b\], bias \[2, k b\] if `affine`; y \[.., 2, k b\]. If `relu`, act is ReLU on real and
/// imaginary parts apart.
#[derive(Debug, Clone, Copy)]
pub struct ComplexLinear {
    pub affine: bool,
    pub relu: bool,
}

/// Inputs dz \[.., 2, k b\], W; output dx\[r, n\] = dz\[r, n\] conj(W\[n\])^T, \[.., 2, k a\].
#[derive(Debug, Clone, Copy)]
pub struct ComplexLinearBackward;

/// Inputs x, dz; output dW\[n\] = sum_r conj(x\[r, n\])^T dz\[r, n\], \[k, 2, a, b\], for `blocks` = k.
#[derive(Debug, Clone, Copy)]
pub struct ComplexLinearWeight {
    pub blocks: usize,
}

#[derive(Debug, Clone, Copy)]
struct Dims {
    rows: usize,
    blocks: usize,
    a: usize,
    b: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    blocks: u32,
    a: u32,
    b: u32,
    chunk: u32,
}

/// Rows that the fast forms take at once, and that a part of the weight's gradient is summed over.
const TILE: usize = 128;
const CHUNK: usize = 512;

impl Dims {
    /// Extents by the shape of x or dz (or of their gradients) and of the weight.
    fn of(x: &Shape, weight: &Shape) -> Dims {
        Dims { rows: x.rows() / 2, blocks: weight[0], a: weight[2], b: weight[3] }
    }

    /// Rows of a part of the weight's gradient on a GPU.
    fn chunk(self) -> usize {
        self.rows.div_ceil(64).max(32)
    }

    fn params(self) -> Params {
        let [rows, blocks, a, b, chunk] = [self.rows, self.blocks, self.a, self.b, self.chunk()].map(|n| n as u32);
        Params { rows, blocks, a, b, chunk }
    }

    fn launch(self, entry: &'static str, [bias, relu, adjoint]: [bool; 3]) -> Launch {
        let launch = Launch::of("complex_linear", entry).params(self.params());
        [("BIAS", bias), ("RELU", relu), ("ADJOINT", adjoint)]
            .into_iter()
            .fold(launch, |launch, (name, on)| launch.constant(name, on as u32))
    }

    fn cost(self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: (8 * self.rows * self.blocks * self.a * self.b) as u64 }
    }

    /// \[\[U, V\], \[-V, U\]\] of each block, \[k, 2 a, 2 b\], of U + i V = W; \[k, 2 b, 2 a\] of conj(W)^T if `adjoint`.
    fn as_real<T: Real>(self, weight: &[T], adjoint: bool) -> Vec<T> {
        let Dims { a, b, .. } = self;
        let (m, n) = if adjoint { (b, a) } else { (a, b) };
        let mut real = vec![T::ZERO; 4 * weight.len() / 2];
        for (w, real) in weight.chunks_exact(2 * a * b).zip(real.chunks_exact_mut(4 * a * b)) {
            for i in 0..m {
                for j in 0..n {
                    let at = if adjoint { j * b + i } else { i * b + j };
                    let (u, v) = (w[at], if adjoint { -w[a * b + at] } else { w[a * b + at] });
                    (real[i * 2 * n + j], real[i * 2 * n + n + j]) = (u, v);
                    (real[(m + i) * 2 * n + j], real[(m + i) * 2 * n + n + j]) = (-v, u);
                }
            }
        }
        real
    }
}

/// Block `n`, `width` wide, of rows \[2, k width\] as rows \[re, im\]: into `to` \[rows, 2 width\].
fn gather<T: Copy>(x: &[T], row: usize, n: usize, width: usize, to: &mut [T]) {
    for (x, to) in x.chunks_exact(row).zip(to.chunks_exact_mut(2 * width)) {
        to[..width].copy_from_slice(&x[n * width..][..width]);
        to[width..].copy_from_slice(&x[row / 2 + n * width..][..width]);
    }
}

/// y \[rows, 2, k outputs\] = x \[rows, 2, k terms\] times the real form of each block, with `finish(row of y)` in the end.
fn product(
    x: &[f32],
    y: &mut [f32],
    real: &[f32],
    blocks: usize,
    [terms, outputs]: [usize; 2],
    finish: impl Fn(&mut [f32]) + Sync,
) {
    let (from, to) = (2 * blocks * terms, 2 * blocks * outputs);
    par_rows(y, TILE.min(y.len() / to) * to, TILE * to * terms / 2, |tile, y| {
        let count = y.len() / to;
        let x = &x[tile * TILE * from..][..count * from];
        let (mut left, mut result) = (vec![0.0f32; count * 2 * terms], vec![0.0f32; count * 2 * outputs]);
        for (n, real) in real.chunks_exact(4 * terms * outputs).enumerate() {
            gather(x, from, n, terms, &mut left);
            real::product(
                [count, 2 * outputs, 2 * terms],
                &mut result,
                &left,
                [2 * terms, 1],
                real,
                [2 * outputs, 1],
                false,
            );
            for (y, result) in y.chunks_exact_mut(to).zip(result.chunks_exact(2 * outputs)) {
                y[n * outputs..][..outputs].copy_from_slice(&result[..outputs]);
                y[to / 2 + n * outputs..][..outputs].copy_from_slice(&result[outputs..]);
            }
        }
        y.chunks_exact_mut(to).for_each(&finish);
    });
}

/// The same in plain loops, for twins.
fn twin_product<T: Real>(
    x: &[T],
    y: &mut [T],
    real: &[T],
    blocks: usize,
    [terms, outputs]: [usize; 2],
    finish: impl Fn(&mut [T]) + Sync,
) {
    let (from, to) = (2 * blocks * terms, 2 * blocks * outputs);
    par_rows(y, to, to * terms, |r, y| {
        let x = &x[r * from..][..from];
        for (n, real) in real.chunks_exact(4 * terms * outputs).enumerate() {
            for j in 0..2 * outputs {
                let (part, c) = (j / outputs, n * outputs + j % outputs);
                let term = |i: usize| x[i / terms * blocks * terms + n * terms + i % terms] * real[i * 2 * outputs + j];
                y[part * blocks * outputs + c] = (0..2 * terms).map(term).sum();
            }
        }
        finish(y);
    });
}

impl ComplexLinear {
    /// What `finish` does to a row of y.
    fn finish<'a, T: Real>(&self, bias: Option<&'a [T]>) -> impl Fn(&mut [T]) + Sync + use<'a, T> {
        let relu = self.relu;
        move |y| {
            if let Some(bias) = bias {
                y.iter_mut().zip(bias).for_each(|(y, &b)| *y += b);
            }
            if relu {
                y.iter_mut().for_each(|y| *y = Fun::Relu.apply(*y, *y));
            }
        }
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let s = Dims::of(a.shape("x"), a.shape("weight"));
        let finish = self.finish(self.affine.then(|| a.f("bias")));
        twin_product(a.f("x"), a.out("y"), &s.as_real(a.f("weight"), false), s.blocks, [s.a, s.b], finish);
    }
}

impl Op for ComplexLinear {
    fn name(&self) -> &'static str {
        "complex linear"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "r .. 2 i").f32("weight", "k 2 a b").f32("bias", "2 j").when(self.affine).out("y")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let [blocks, a, b] = ["k", "a", "b"].map(|axis| x.extent(axis));
        if x.extent("i") != blocks * a {
            return x.fail("x is not [.., 2, k a] for a weight [k, 2, a, b]");
        }
        if x.shape("weight").elements() == 0 {
            return x.fail("a weight without elements");
        }
        if self.affine {
            x.is_shape("bias", &[2, blocks * b])?;
        }
        let shape = x.shape("x");
        Ok(Outputs::one(Spec::f32(shape.with(shape.len() - 1, blocks * b))))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let (x, weight, y) = (node.input("x"), node.input("weight"), node.output("y"));
        let dz = if self.relu { node.dy("y") * y.greater(y.constant_like(0.0)) } else { node.dy("y") };
        let g = y.graph();
        let mut to: Vec<(&str, Var)> = vec![];
        if node.wants("x") {
            to.push(("x", g.push(ComplexLinearBackward, &[dz, weight])));
        }
        if node.wants("weight") {
            to.push(("weight", g.push(ComplexLinearWeight { blocks: weight.shape()[0] }, &[x, dz])));
        }
        if self.affine && node.wants("bias") {
            let width = dz.shape().last_dim();
            to.push(("bias", dz.reshape([dz.shape().rows() / 2, 2 * width]).sum(0).reshape([2, width])));
        }
        Ok(Grads::to(to))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let s = Dims::of(a.shape("x"), a.shape("weight"));
        let finish = self.finish(self.affine.then(|| a.f("bias")));
        product(a.f("x"), a.out("y"), &s.as_real(a.f("weight"), false), s.blocks, [s.a, s.b], finish);
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let d = Dims::of(s.input("x"), s.input("weight"));
        let launch = d.launch("forward", [self.affine, self.relu, false]);
        Ok(vec![launch.turns(turns_of(d.a, 0)).threads(d.rows * d.blocks * d.b, caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("x")[0], ["x"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Dims::of(s.input("x"), s.input("weight")).cost(s)
    }
}

impl ComplexLinearBackward {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let s = Dims::of(a.shape("x"), a.shape("weight"));
        twin_product(a.f("x"), a.out("y"), &s.as_real(a.f("weight"), true), s.blocks, [s.b, s.a], |_| {});
    }
}

impl Op for ComplexLinearBackward {
    fn name(&self) -> &'static str {
        "complex linear backward"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "r .. 2 j").f32("weight", "k 2 a b").f32("bias", "*").when(false).out("y")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let (dz, width) = (x.shape("x"), x.extent("k") * x.extent("a"));
        Ok(Outputs::one(Spec::f32(dz.with(dz.len() - 1, width))))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let s = Dims::of(a.shape("x"), a.shape("weight"));
        product(a.f("x"), a.out("y"), &s.as_real(a.f("weight"), true), s.blocks, [s.b, s.a], |_| {});
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let d = Dims::of(s.input("x"), s.input("weight"));
        let launch = d.launch("forward", [false, false, true]);
        Ok(vec![launch.turns(turns_of(d.b, 0)).threads(d.rows * d.blocks * d.a, caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("x")[0], ["x"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Dims::of(s.input("x"), s.input("weight")).cost(s)
    }
}

impl ComplexLinearWeight {
    /// The sum over fixed chunks of rows, added pair by pair, of the products P \[k, 2 a, 2 b\] of rows \[re, im\] that
    /// `add(x, dz, P)` makes, put together: Re dW = P\[re, re\] + P\[im, im\], Im dW = P\[re, im\] - P\[im, re\].
    fn sum<T: Real>(a: &Args<T>, add: impl Fn(Dims, &[T], &[T], &mut [T]) + Sync) {
        let (x, dz, s) = (a.f("x"), a.f("dz"), Dims::of(a.shape("x"), a.out_shape("dweight")));
        let [wx, wz] = [2 * s.blocks * s.a, 2 * s.blocks * s.b];
        let len = 4 * s.blocks * s.a * s.b;
        let mut parts = vec![T::ZERO; s.rows.div_ceil(CHUNK).max(1) * len];
        par_rows(&mut parts, len, CHUNK * len / 4, |c, part| {
            let range = |w: usize| c * CHUNK * w..((c + 1) * CHUNK).min(s.rows) * w;
            add(s, &x[range(wx)], &dz[range(wz)], part);
        });
        join(&mut parts, len);
        for (out, sum) in a.out("dweight").chunks_exact_mut(2 * s.a * s.b).zip(parts.chunks_exact(4 * s.a * s.b)) {
            let (re, im) = out.split_at_mut(s.a * s.b);
            let at = |i: usize, j: usize| sum[i * 2 * s.b + j];
            for i in 0..s.a {
                for j in 0..s.b {
                    re[i * s.b + j] = at(i, j) + at(s.a + i, s.b + j);
                    im[i * s.b + j] = at(i, s.b + j) - at(s.a + i, j);
                }
            }
        }
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        ComplexLinearWeight::sum(a, |s, x, dz, part| {
            let [wx, wz] = [s.blocks * s.a, s.blocks * s.b];
            for (x, dz) in x.chunks_exact(2 * wx).zip(dz.chunks_exact(2 * wz)) {
                for (n, part) in part.chunks_exact_mut(4 * s.a * s.b).enumerate() {
                    for (i, part) in part.chunks_exact_mut(2 * s.b).enumerate() {
                        let x = x[i / s.a * wx + n * s.a + i % s.a];
                        for (j, part) in part.iter_mut().enumerate() {
                            *part += x * dz[j / s.b * wz + n * s.b + j % s.b];
                        }
                    }
                }
            }
        });
    }
}

impl Op for ComplexLinearWeight {
    fn name(&self) -> &'static str {
        "complex linear weight"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "r .. 2 i").f32("dz", "r .. 2 j").out("dweight").scratch("partial")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let [a, b] = ["i", "j"].map(|axis| x.extent(axis) / self.blocks);
        let shape = [self.blocks, 2, a, b];
        let s = Dims::of(x.shape("x"), &Shape::from(&shape[..]));
        let partial = [s.rows.div_ceil(s.chunk()), self.blocks * 2, a, b];
        Ok(Outputs::one(Spec::f32(shape)).with_scratch(Spec::f32(partial)))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        ComplexLinearWeight::sum(a, |s, x, dz, part| {
            let [wx, wz] = [2 * s.blocks * s.a, 2 * s.blocks * s.b];
            let count = x.len() / wx;
            let (mut left, mut right) = (vec![0.0; count * 2 * s.a], vec![0.0; count * 2 * s.b]);
            for (n, part) in part.chunks_exact_mut(4 * s.a * s.b).enumerate() {
                gather(x, wx, n, s.a, &mut left);
                gather(dz, wz, n, s.b, &mut right);
                real::product([2 * s.a, 2 * s.b, count], part, &left, [1, 2 * s.a], &right, [2 * s.b, 1], false);
            }
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let d = Dims::of(s.input("x"), s.output("dweight"));
        let launch = |entry| d.launch(entry, [false; 3]);
        let parts = d.rows.div_ceil(d.chunk());
        Ok(vec![
            launch("weight_parts").turns(turns_of(d.chunk(), 0)).threads(parts * d.blocks * d.a * d.b, caps)?,
            launch("weight_join").turns(turns_of(parts, 0)).threads(s.output("dweight").elements(), caps)?,
        ])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.sum(s.input("x")[0], ["x", "dz"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Dims::of(s.input("x"), s.output("dweight")).cost(s)
    }
}

/// The frequencies of a batch, in blocks of channels.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [b, f, blocks, i, j] = scale.pick([256, 26, 4, 16, 16], [7, 3, 3, 4, 2]);
    let op = ComplexLinear { affine: true, relu: false };
    let sizes = format!("{b}x{f}x2x{} in {blocks} blocks", blocks * i);
    Example::new("complex linear", sizes, move |g, x| Ok(vec![g.push(op, x)]))
        .f32([b, f, 2, blocks * i], UNIT)
        .f32([blocks, 2, i, j], Fill::Float(0.3))
        .f32([2, blocks * j], UNIT)
        .both(&[0, 1, 2], &["complex linear backward", "complex linear weight", "sum"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::infer;

    #[test]
    fn wrong_shapes_are_refused_with_all_of_them() {
        let infer = |x: &[usize], weight: [usize; 4]| {
            let specs = [Spec::f32(Shape::from(x)), Spec::f32(weight), Spec::f32([2, 12])];
            let op = ComplexLinear { affine: true, relu: true };
            infer(&op, "complex linear", &specs).map(|y| y.values[0].shape.clone())
        };
        assert_eq!(infer(&[5, 3, 2, 8], [4, 2, 2, 3]).unwrap()[..], [5, 3, 2, 12]);
        let message = infer(&[5, 3, 2, 8], [3, 2, 2, 3]).unwrap_err().to_string();
        assert!(message.contains("[.., 2, k a]") && message.contains("[5, 3, 2, 8]"), "{message}");
        assert!(infer(&[5, 3, 2, 8], [4, 2, 2, 5]).unwrap_err().to_string().contains("bias must be [2, 20]"));
    }
}
