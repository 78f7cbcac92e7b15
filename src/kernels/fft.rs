//! Fourier transform of real channels along a sequence, and its inverse.

use super::example::{Example, Scale, UNIT};
use super::fourier::{self, LONGEST, Params, Sequence, frequencies, is_edge};
use super::parallel::par_rows;
use super::real::Real;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::tensor::Spec;
use crate::twin;

/// Y\[b, k, c\] = g_k / sqrt(T) sum_n x\[b, n, c\] e^(-2 pi i k n / T) for k <= T / 2: x \[B, T, d\], table \[T, 2\]
/// ([`fourier::table`]); Y \[B, T / 2 + 1, 2, d\], of each frequency all real parts before all imaginary ones, so that
/// channels are neighbours and the two parts are one row of a matrix. g_k is 1 or, if `doubled`, 2 for all frequencies but those
/// that are their own mirror (0 and T / 2).
///
/// Gradients. For dY = (R, I) of a loss, Re Y being a sum of x cos and Im Y one of -x sin, dx\[n\] = 1 / sqrt(T) sum_(k <= T / 2)
/// g_k (R_k cos(2 pi k n / T) - I_k sin(2 pi k n / T)) = 1 / sqrt(T) sum_k g_k Re(dY_k e^(2 pi i k n / T)): the inverse but for
/// m_k, the 2 by which that counts frequencies that have a mirror. So it is [`Irfft`] `halved`, and if g_k is that 2 already,
/// [`Irfft`] as it is. The same the other way round.
#[derive(Debug, Clone, Copy)]
pub struct Rfft {
    pub doubled: bool,
}

/// y\[b, n, c\] = 1 / sqrt(T) sum_k m_k Re(g_k X\[b, k, c\] e^(2 pi i k n / T)) for k <= T / 2, m_k = 1 for the frequencies that
/// are their own mirror, whose imaginary parts it drops, and 2 for the others: X \[B, T / 2 + 1, 2, d\], table \[T, 2\]; y
/// \[B, T, d\]. g_k is 1 or, if `halved`, 1 / m_k. Its gradient by X is [`Rfft`], `doubled` where this is not `halved`.
#[derive(Debug, Clone, Copy)]
pub struct Irfft {
    pub halved: bool,
}

/// Sequences of `t` that the fast forms take with one set of buffers: few, so that all threads have some.
pub(super) fn block(t: usize) -> usize {
    (1024 / t).clamp(1, 8)
}

/// Batch, length and channels of sequences that can be transformed, or an error.
pub(super) fn check_length(x: &Inputs) -> Result<[usize; 3]> {
    let [batch, t, d] = ["b", "t", "d"].map(|axis| x.extent(axis));
    match () {
        _ if d == 0 => x.fail("no channels"),
        _ if !(1..=LONGEST).contains(&t) => x.fail(format!("sequences of {t}, not of 1 to {LONGEST}")),
        _ => Ok([batch, t, d]),
    }
}

fn ortho(t: usize) -> f64 {
    1.0 / (t as f64).sqrt()
}

/// `inner` for frequencies that have a mirror, 1 for those that are it.
fn weight(k: usize, t: usize, inner: f64) -> f64 {
    if is_edge(k, t) { 1.0 } else { inner }
}

impl Rfft {
    fn inner(&self) -> f64 {
        if self.doubled { 2.0 } else { 1.0 }
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let (x, [t, d]) = (a.f("x"), [1, 2].map(|i| a.shape("x")[i]));
        par_rows(a.out("y"), frequencies(t) * 2 * d, 8 * t * d, |b, y| {
            let z = fourier::spectra(&x[b * t * d..][..t * d], d);
            for (k, y) in y.chunks_exact_mut(2 * d).enumerate() {
                let g = T::of(ortho(t) * weight(k, t, self.inner()));
                (0..d).for_each(|c| [y[c], y[d + c]] = z[c * t + k].map(|z| g * z));
            }
        });
    }
}

impl Irfft {
    fn inner(&self) -> f64 {
        if self.halved { 0.5 } else { 1.0 }
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let (x, [t, d]) = (a.f("x"), [1, 2].map(|i| a.out_shape("y")[i]));
        let len = frequencies(t) * 2 * d;
        par_rows(a.out("y"), t * d, 8 * t * d, |b, y| {
            let x = &x[b * len..][..len];
            fourier::signals(y, d, T::of(ortho(t)), |k, c| {
                let g = T::of(weight(k, t, self.inner()));
                [x[k * 2 * d + c], x[(k * 2 + 1) * d + c]].map(|x| g * x)
            });
        });
    }
}

impl Op for Rfft {
    fn name(&self) -> &'static str {
        "rfft"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "b t d").f32("table", "t 2").out("y")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let [batch, t, d] = check_length(x)?;
        Ok(Outputs::one(Spec::f32([batch, frequencies(t), 2, d])))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let dy = node.dy("y");
        Ok(Grads::to([("x", dy.graph().push(Irfft { halved: !self.doubled }, &[dy, node.input("table")]))]))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        struct Job<'a> {
            x: &'a [f32],
            y: &'a mut [f32],
            table: &'a [f32],
            d: usize,
            inner: f64,
        }
        impl pulp::WithSimd for Job<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: pulp::Simd>(self, simd: S) {
                let Job { x, y, table, d, inner } = self;
                let t = table.len() / 2;
                let mut z = Sequence::new(simd, t, d, table);
                for (x, y) in x.chunks_exact(t * d).zip(y.chunks_exact_mut(frequencies(t) * 2 * d)) {
                    z.load(x);
                    z.transform();
                    for (k, y) in y.chunks_exact_mut(2 * d).enumerate() {
                        let g = simd.splat_f32s((ortho(t) * weight(k, t, inner)) as f32);
                        let (re, im) = y.split_at_mut(d);
                        for j in 0..z.width {
                            let [a, b] = z.pair(k, j);
                            z.put(re, j, [simd.mul_f32s(g, a[0]), simd.mul_f32s(g, b[0])]);
                            z.put(im, j, [simd.mul_f32s(g, a[1]), simd.mul_f32s(g, b[1])]);
                        }
                    }
                }
            }
        }
        let (x, table, [batch, t, d]) = (a.f("x"), a.f("table"), [0, 1, 2].map(|i| a.shape("x")[i]));
        if fourier::has_large_prime(t) {
            return false;
        }
        let arch = pulp::Arch::new();
        let len = frequencies(t) * 2 * d;
        let block = block(t).min(batch);
        par_rows(a.out("y"), block * len, block * 8 * t * d, |i, y| {
            let x = &x[i * block * t * d..][..y.len() / len * t * d];
            arch.dispatch(Job { x, y, table, d, inner: self.inner() });
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let extents = [0, 1, 2].map(|i| s.input("x")[i]);
        let params = Params { inner: self.inner() as f32, ..Params::new(extents, ortho(extents[1])) };
        Ok(vec![params.launch("fft", "forward", extents[0], caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("x")[0], ["x"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        fourier::cost(s, s.input("x"), 1)
    }
}

impl Op for Irfft {
    fn name(&self) -> &'static str {
        "irfft"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "b f 2 d").f32("table", "t 2").out("y")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let [batch, t, d] = check_length(x)?;
        x.is_shape("x", &[batch, frequencies(t), 2, d])?;
        Ok(Outputs::one(Spec::f32([batch, t, d])))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let dy = node.dy("y");
        Ok(Grads::to([("x", dy.graph().push(Rfft { doubled: !self.halved }, &[dy, node.input("table")]))]))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        struct Job<'a> {
            x: &'a [f32],
            y: &'a mut [f32],
            table: &'a [f32],
            d: usize,
            inner: f64,
        }
        impl pulp::WithSimd for Job<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: pulp::Simd>(self, simd: S) {
                let Job { x, y, table, d, inner } = self;
                let t = table.len() / 2;
                let mut z = Sequence::new(simd, t, d, table);
                for (x, y) in x.chunks_exact(frequencies(t) * 2 * d).zip(y.chunks_exact_mut(t * d)) {
                    for (k, x) in x.chunks_exact(2 * d).enumerate() {
                        let g = simd.splat_f32s((ortho(t) * weight(k, t, inner)) as f32);
                        let (re, im) = x.split_at(d);
                        for j in 0..z.width {
                            let ([ar, br], [ai, bi]) = (z.halves(re, j), z.halves(im, j));
                            let a = [simd.mul_f32s(g, ar), simd.mul_f32s(g, ai)];
                            z.set_pair(k, j, [a, [simd.mul_f32s(g, br), simd.mul_f32s(g, bi)]]);
                        }
                    }
                    z.transform();
                    z.store(y);
                }
            }
        }
        let (x, table, [batch, t, d]) = (a.f("x"), a.f("table"), [0, 1, 2].map(|i| a.out_shape("y")[i]));
        if fourier::has_large_prime(t) {
            return false;
        }
        let arch = pulp::Arch::new();
        let len = frequencies(t) * 2 * d;
        let block = block(t).min(batch);
        par_rows(a.out("y"), block * t * d, block * 8 * t * d, |i, y| {
            let x = &x[i * block * len..][..y.len() / (t * d) * len];
            arch.dispatch(Job { x, y, table, d, inner: self.inner() });
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let extents = [0, 1, 2].map(|i| s.output("y")[i]);
        let params = Params { inner: self.inner() as f32, ..Params::new(extents, ortho(extents[1])) };
        Ok(vec![params.launch("fft", "inverse", extents[0], caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("x")[0], ["x"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        fourier::cost(s, s.output("y"), 1)
    }
}

/// There and back.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [b, t, d] = scale.pick([256, 50, 64], [5, 12, 7]);
    Example::new("fft", format!("{b}x{t}x{d}"), move |_, x| Ok(vec![x[0].rfft().square().irfft(t)]))
        .f32([b, t, d], UNIT)
        .timed(&["rfft", "irfft"])
        .both(&[0], &["rfft", "irfft"])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::infer;

    #[test]
    fn wrong_shapes_are_refused_with_all_of_them() {
        let refused = |op: &dyn Op, specs: &[Spec]| infer(op, op.name(), specs).unwrap_err().to_string();
        let rfft = Rfft { doubled: false };
        let y = infer(&rfft, "rfft", &[Spec::f32([2, 7, 3]), Spec::f32([7, 2])]).unwrap();
        assert_eq!(y.values[0].shape[..], [2, 4, 2, 3]);
        let message = refused(&rfft, &[Spec::f32([2, 8, 3]), Spec::f32([7, 2])]);
        assert!(message.contains("table is [7, 2], expected [t, 2] = [8, 2]"), "{message}");
        let message = refused(&rfft, &[Spec::f32([2, 2049, 3]), Spec::f32([2049, 2])]);
        assert!(message.contains("sequences of 2049, not of 1 to 2048"), "{message}");
        let message = refused(&Irfft { halved: false }, &[Spec::f32([2, 5, 2, 3]), Spec::f32([7, 2])]);
        assert!(message.contains("x must be [2, 4, 2, 3]"), "{message}");
    }
}
