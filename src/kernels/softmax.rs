//! Softmax over any axis, with a mask.

use super::example::{Example, Fill, Scale};
use super::fast::wide;
use super::lanes::{self, Lanes};
use super::matmul::dot;
use super::parallel::par_rows;
use super::real::Real;
use super::sums::sum_chunks;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split, fast, launch};
use crate::error::Result;
use crate::tensor::Shape;
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// Softmax of `x` over `axis`, where the optional second input `keep` (u32) is not 0. `keep` has the shape of `x`, or
/// that without the axes after `axis`. Slices with nothing kept give zeros.
#[derive(Debug, Clone, Copy)]
pub struct Softmax {
    pub axis: usize,
    pub masked: bool,
}

/// `dx = y (dy - sum(y dy))` over `axis`; inputs y, dy.
#[derive(Debug, Clone, Copy)]
pub struct SoftmaxBackward {
    pub axis: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    slices: u32,
    n: u32,
    inner: u32,
}

/// Elements of a slice that are too many for one invocation.
const LONG: usize = 4096;

/// One invocation a slice, or one workgroup: where a slice is long and either contiguous, so that neighbours would read far
/// apart, or one of few, or very long.
fn launch([columns, slices]: [&'static str; 2], x: &Shape, axis: usize, caps: &Caps) -> Result<Launch> {
    let (outer, n, inner) = x.around(axis);
    let params = Params { slices: (outer * inner) as u32, n: n as u32, inner: inner as u32 };
    // Three times through a slice.
    if n >= 32 && (inner == 1 || n >= 8 * outer * inner || n > LONG) {
        let size = launch::group_size(n, caps);
        let launch = Launch::of("softmax", slices).turns(3 * launch::turns_of(n.div_ceil(size), 0) + 2 * launch::TREE);
        launch.params(params).groups(outer * inner, size, caps)
    } else {
        Launch::of("softmax", columns).turns(3 * launch::turns_of(n, 0)).params(params).threads(outer * inner, caps)
    }
}

impl Softmax {
    /// Whether `keep` has an entry for each element, not only for each position along the axis.
    fn full_mask(&self, x: &Shape, keep: &Shape) -> bool {
        keep.len() == x.len() && x.around(self.axis).2 > 1
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let (_, n, inner) = a.shape("x").around(self.axis);
        let x = a.f("x");
        let keep = self.masked.then(|| (a.u("keep"), self.full_mask(a.shape("x"), a.shape("keep"))));
        // One outer slice at a time: [n, inner], softmax down each column.
        par_rows(a.out("y"), n * inner, n * inner * 4, |o, y| {
            for i in 0..inner {
                let at = |c: usize| (o * n + c) * inner + i;
                let kept = |c: usize| match keep {
                    Some((k, true)) => k[at(c)] != 0,
                    Some((k, false)) => k[o * n + c] != 0,
                    None => true,
                };
                let mut m = T::of(f64::NEG_INFINITY);
                for c in (0..n).filter(|&c| kept(c)) {
                    m = m.max(x[at(c)]);
                }
                for c in 0..n {
                    y[c * inner + i] = if kept(c) { (x[at(c)] - m).exp() } else { T::ZERO };
                }
                let z: T = sum_chunks(n, |r| r.map(|c| y[c * inner + i]).sum());
                let scale = if z == T::ZERO { T::ZERO } else { T::ONE / z }; // 0: nothing is kept
                for c in 0..n {
                    y[c * inner + i] *= scale;
                }
            }
        });
    }
}

/// Elements that a call of the vectorised form takes at once.
const BLOCK: usize = 4096;

/// A slice with nothing kept has maximum `MASKED`; subtracting a larger floor makes its exponentials 0.
const FLOOR: f32 = -1e38;

/// The factor on a slice's exponentials, whose sum is `z`. All 0, they are of masked logits, or of minus infinity: then 1 / 0
/// makes them NaN.
#[inline(always)]
fn scale(z: f32, nothing_kept: impl FnOnce() -> bool) -> f32 {
    if z == 0.0 && nothing_kept() { 0.0 } else { 1.0 / z }
}

#[inline(always)]
fn keep_or_mask(y: &mut [f32], x: &[f32], keep: &[u32]) {
    y.iter_mut().zip(x).zip(keep).for_each(|((y, &x), &k)| *y = if k != 0 { x } else { f32::MASKED });
}

/// `y` = softmax of each `n` elements of `x` that lie side by side.
struct Slices<'a> {
    x: &'a [f32],
    keep: Option<&'a [u32]>,
    y: &'a mut [f32],
    n: usize,
}

impl pulp::WithSimd for Slices<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let n = self.n;
        let mut kept = vec![0.0; if self.keep.is_some() { n } else { 0 }];
        for (i, (x, y)) in self.x.chunks_exact(n).zip(self.y.chunks_exact_mut(n)).enumerate() {
            let x = match self.keep {
                None => x,
                Some(keep) => {
                    keep_or_mask(&mut kept, x, &keep[i * n..][..n]);
                    &kept
                }
            };
            let ((x, x_rest), (y, y_rest)) = (S::as_simd_f32s(x), S::as_mut_simd_f32s(y));
            let last = Lanes::filled(simd, x_rest, f32::MASKED);
            // Whether a NaN is passed over is up to the machine: it is its own exponential, and so in the sum, either way.
            let greatest = x.iter().fold(simd.splat_f32s(FLOOR), |m, &x| simd.max_f32s(x, m));
            let greatest = simd.max_f32s(last.1, greatest);
            let m = Lanes::splat(simd, simd.reduce_max_f32s(greatest));
            let mut z = Lanes::splat(simd, 0.0);
            for (y, &x) in y.iter_mut().zip(x) {
                let e = lanes::exp_term(Lanes(simd, x) - m);
                z = z + e;
                *y = e.1;
            }
            let last = lanes::exp_term(last - m);
            let z = match n <= BLOCK {
                true => simd.reduce_sum_f32s((z + last).1),
                // A sum of that many terms is made in blocks.
                false => lanes::sum(simd, bytemuck::cast_slice(&*y)) + simd.reduce_sum_f32s(last.1),
            };
            let scale =
                simd.splat_f32s(scale(z, || self.keep.is_some_and(|k| k[i * n..][..n].iter().all(|&k| k == 0))));
            y.iter_mut().for_each(|y| *y = simd.mul_f32s(*y, scale));
            simd.partial_store_f32s(y_rest, simd.mul_f32s(last.1, scale));
        }
    }
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "..").u32("keep", "*").when(self.masked).out_f32("y", "..")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.axis("x", self.axis)?;
        if self.masked {
            let (full, short) = (&x.shape("x")[..], &x.shape("x")[..=self.axis]);
            if x.shape("keep")[..] != *full && x.shape("keep")[..] != *short {
                return x.fail(format!("keep must be {full:?} or {short:?}"));
            }
        }
        Ok(x.declared())
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let y = node.output("y");
        Ok(Grads::to([("x", y.graph().push(SoftmaxBackward { axis: self.axis }, &[y, node.dy("y")]))]))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let (_, n, inner) = a.shape("x").around(self.axis);
        let x = a.f("x");
        let keep = self.masked.then(|| a.u("keep"));
        if inner == 1 {
            let arch = pulp::Arch::new();
            // Enough slices that the call, and what it sets up, costs little.
            let slices = (BLOCK / n.max(1)).max(1);
            par_rows(a.out("y"), n * slices, n * slices * 4, |i, y| {
                let range = i * n * slices..i * n * slices + y.len();
                arch.dispatch(Slices { x: &x[range.clone()], keep: keep.map(|k| &k[range]), y, n });
            });
            return true;
        }
        let full = self.masked && self.full_mask(a.shape("x"), a.shape("keep"));
        par_rows(a.out("y"), n * inner, n * inner * 4, |o, y| {
            let x = &x[o * n * inner..][..n * inner];
            wide(
                #[inline(always)]
                || {
                    match keep {
                        None => y.copy_from_slice(x),
                        Some(k) if full => keep_or_mask(y, x, &k[o * n * inner..][..n * inner]),
                        Some(k) => {
                            for (c, (y, x)) in y.chunks_mut(inner).zip(x.chunks(inner)).enumerate() {
                                if k[o * n + c] != 0 { y.copy_from_slice(x) } else { y.fill(f32::MASKED) }
                            }
                        }
                    }
                    for i in 0..inner {
                        let m = y.iter().skip(i).step_by(inner).fold(FLOOR, |m, &v| if v > m { v } else { m });
                        y.iter_mut().skip(i).step_by(inner).for_each(|v| *v -= m);
                    }
                    y.iter_mut().for_each(|v| *v = fast::exp_term(*v));
                    for i in 0..inner {
                        let z: f32 = sum_chunks(n, |r| r.map(|c| y[c * inner + i]).sum());
                        let nothing_kept = || match keep {
                            None => false,
                            Some(k) if full => (0..n).all(|c| k[(o * n + c) * inner + i] == 0),
                            Some(k) => k[o * n..][..n].iter().all(|&k| k == 0),
                        };
                        let scale = scale(z, nothing_kept);
                        y.iter_mut().skip(i).step_by(inner).for_each(|v| *v *= scale);
                    }
                },
            )
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let mask = match s.get("keep") {
            None => 0,
            Some(keep) => 1 + self.full_mask(s.input("x"), &keep.shape) as u32,
        };
        let launch =
            launch(["forward_columns", "forward_slices"], s.input("x"), self.axis, caps)?.constant("MASK", mask);
        Ok(vec![launch])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        if self.axis == 0 { None } else { s.rows(s.input("x")[0], ["x", "keep"]) }
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let n = s.input("x").elements() as u64;
        let mask = s.get("keep").map_or(0, |k| k.bytes() as u64);
        Cost { bytes: 8 * n + mask, flops: 5 * n }
    }
}

impl SoftmaxBackward {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (_, n, inner) = a.shape("probabilities").around(self.axis);
        let (y, dy) = (a.f("probabilities"), a.f("dy"));
        par_rows(a.out("dx"), n * inner, n * inner * 2, |o, dx| {
            let (y, dy) = (&y[o * n * inner..], &dy[o * n * inner..]);
            for i in 0..inner {
                let dot: T = sum_chunks(n, |r| r.map(|c| y[c * inner + i] * dy[c * inner + i]).sum());
                for c in 0..n {
                    dx[c * inner + i] = y[c * inner + i] * (dy[c * inner + i] - dot);
                }
            }
        });
    }
}

impl Op for SoftmaxBackward {
    fn name(&self) -> &'static str {
        "softmax backward"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("probabilities", "..").f32("dy", "..").out_f32("dx", "..")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.axis("probabilities", self.axis)?;
        Ok(x.declared())
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let (_, n, inner) = a.shape("probabilities").around(self.axis);
        if inner != 1 {
            return false;
        }
        let (y, dy) = (a.f("probabilities"), a.f("dy"));
        par_rows(a.out("dx"), n, n * 2, |o, dx| {
            let (y, dy) = (&y[o * n..][..n], &dy[o * n..][..n]);
            wide(
                #[inline(always)]
                || {
                    let mean = sum_chunks(n, |r| dot(&y[r.clone()], &dy[r]));
                    dx.iter_mut().zip(y).zip(dy).for_each(|((dx, &y), &dy)| *dx = y * (dy - mean));
                },
            )
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let launch = launch(["backward_columns", "backward_slices"], s.input("probabilities"), self.axis, caps)?;
        Ok(vec![launch.constant("MASK", 0)])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        if self.axis == 0 { None } else { s.rows(s.input("probabilities")[0], ["probabilities", "dy"]) }
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let n = s.input("probabilities").elements() as u64;
        Cost { bytes: 12 * n, flops: 4 * n }
    }
}

/// Many short rows, a few long ones, and rows with a mask.
pub fn examples(scale: Scale) -> Vec<Example> {
    let (n, d) = (scale.rows(), scale.width());
    let of = |[n, d]: [usize; 2]| {
        Example::new("softmax", format!("{n}x{d}"), |_, x| Ok(vec![x[0].softmax(1, None)]))
            .f32([n, d], Fill::Float(4.0))
    };
    let masked = Example::new("softmax masked", format!("{n}x{d}"), |_, x| Ok(vec![x[0].softmax(1, Some(x[1]))]));
    let masked = masked.f32([n, d], Fill::Float(4.0)).u32([n, d], Fill::Keep);
    let all = [of([n, d]), of(scale.pick([1 << 14, 4096], [3, 4099])), masked];
    all.into_iter().flat_map(|example| example.both(&[0], &["softmax backward"])).collect()
}
