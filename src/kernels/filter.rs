//! A filter in the frequencies of a sequence: both transforms and the product between them in one kernel.

use super::example::{Example, Scale, UNIT};
use super::fft::{block, check_length};
use super::fourier::{self, Params, Sequence, frequencies, is_edge, times};
use super::launch::turns_of;
use super::parallel::par_rows;
use super::real::Real;
use super::sums::join;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::tensor::Spec;
use crate::twin;

/// y = irfft(W rfft(x)), a complex number of W for each frequency and channel (Zhou et al., "Filter-enhanced MLP is all you
/// need for sequential recommendation", WWW 2022, equation 6): x \[B, T, d\], W \[T / 2 + 1, 2, d\] with real parts before
/// imaginary ones, table \[T, 2\] ([`fourier::table`]); y \[B, T, d\]. The imaginary parts of the frequencies that are their own
/// mirror (0 and T / 2) have no effect.
#[derive(Debug, Clone, Copy)]
pub struct Filter {
    /// With the conjugate of W: the gradient by x.
    pub conjugate: bool,
}

/// Inputs x, dy \[B, T, d\], table; output dW = m_k sum_b conj(rfft(x)) rfft(dy), m_k = 1 for the frequencies that are their own
/// mirror, else 2, \[T / 2 + 1, 2, d\].
#[derive(Debug, Clone, Copy)]
pub struct FilterWeight;

impl Filter {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (x, weight, [t, d]) = (a.f("x"), a.f("weight"), [1, 2].map(|i| a.shape("x")[i]));
        let sign = if self.conjugate { -T::ONE } else { T::ONE };
        par_rows(a.out("y"), t * d, 16 * t * d, |b, y| {
            let z = fourier::spectra(&x[b * t * d..][..t * d], d);
            fourier::signals(y, d, T::of(1.0 / t as f64), |k, c| {
                let ([re, im], [w, v]) = (z[c * t + k], [weight[k * 2 * d + c], sign * weight[(k * 2 + 1) * d + c]]);
                [w * re - v * im, w * im + v * re]
            });
        });
    }
}

impl Op for Filter {
    fn name(&self) -> &'static str {
        "filter"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "b t d").f32("weight", "f 2 d").f32("table", "t 2").out_f32("y", "b t d")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let [_, t, d] = check_length(x)?;
        x.is_shape("weight", &[frequencies(t), 2, d])?;
        Ok(x.declared())
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let ([x, weight, table], dy) = (["x", "weight", "table"].map(|name| node.input(name)), node.dy("y"));
        let g = dy.graph();
        let mut to = vec![];
        if node.wants("x") {
            to.push(("x", g.push(Filter { conjugate: !self.conjugate }, &[dy, weight, table])));
        }
        if node.wants("weight") {
            // In the conjugate filter the two are exchanged: conj(W) D = conj(W conj(D)).
            let (x, dy) = if self.conjugate { (dy, x) } else { (x, dy) };
            to.push(("weight", g.push(FilterWeight, &[x, dy, table])));
        }
        Ok(Grads::to(to))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        struct Job<'a> {
            x: &'a [f32],
            weight: &'a [f32],
            y: &'a mut [f32],
            table: &'a [f32],
            d: usize,
            sign: f32,
        }
        impl pulp::WithSimd for Job<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: pulp::Simd>(self, simd: S) {
                let Job { x, weight, y, table, d, sign } = self;
                let t = table.len() / 2;
                let mut z = Sequence::new(simd, t, d, table);
                // As vectors, and with the scale of both transforms.
                let scale = [1.0, sign].map(|sign| simd.splat_f32s(sign / t as f32));
                let mut w = Vec::with_capacity(frequencies(t) * z.width);
                for weight in weight.chunks_exact(2 * d) {
                    let (re, im) = weight.split_at(d);
                    for j in 0..z.width {
                        let ([ar, br], [ai, bi]) = (z.halves(re, j), z.halves(im, j));
                        let a = [simd.mul_f32s(scale[0], ar), simd.mul_f32s(scale[1], ai)];
                        w.push([a, [simd.mul_f32s(scale[0], br), simd.mul_f32s(scale[1], bi)]]);
                    }
                }
                for (x, y) in x.chunks_exact(t * d).zip(y.chunks_exact_mut(t * d)) {
                    z.load(x);
                    z.transform();
                    for (k, w) in w.chunks_exact(z.width).enumerate() {
                        for (j, w) in w.iter().enumerate() {
                            let [a, b] = z.pair(k, j);
                            z.set_pair(k, j, [times(simd, a, w[0]), times(simd, b, w[1])]);
                        }
                    }
                    z.transform();
                    z.store(y);
                }
            }
        }
        let (x, weight, table) = (a.f("x"), a.f("weight"), a.f("table"));
        let [batch, t, d] = [0, 1, 2].map(|i| a.shape("x")[i]);
        if fourier::has_large_prime(t) {
            return false;
        }
        let arch = pulp::Arch::new();
        let sign = if self.conjugate { -1.0 } else { 1.0 };
        let block = block(t).min(batch);
        par_rows(a.out("y"), block * t * d, block * 16 * t * d, |i, y| {
            let x = &x[i * block * t * d..][..y.len()];
            arch.dispatch(Job { x, weight, y, table, d, sign });
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let extents = [0, 1, 2].map(|i| s.input("x")[i]);
        let sign = if self.conjugate { -1.0 } else { 1.0 };
        let params = Params { sign, ..Params::new(extents, 1.0 / extents[1] as f64) };
        Ok(vec![params.launch("filter", "forward", extents[0], caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("x")[0], ["x"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        fourier::cost(s, s.input("x"), 2)
    }
}

/// Sequences that a part of the sum is over, on a GPU: some 64 parts, of so few that a driver which ends loops after 65,535
/// turns (llvmpipe) does not.
fn chunk(batch: usize, params: &Params) -> usize {
    const TURNS: usize = 60_000;
    batch.div_ceil(64).clamp(1, (TURNS / params.turns(&Caps::default())).max(1))
}

impl FilterWeight {
    fn params([batch, t, d]: [usize; 3]) -> Params {
        let params = Params { inner: 2.0, ..Params::new([batch, t, d], 1.0 / t as f64) };
        Params { chunk: chunk(batch, &params) as u32, ..params }
    }

    fn weight<T: Real>(k: usize, t: usize) -> T {
        T::of(if is_edge(k, t) { 1.0 } else { 2.0 } / t as f64)
    }

    /// The sum over fixed blocks of sequences, added pair by pair, of what `add(x, dy, sum)` makes.
    fn sum<T: Real>(a: &Args<T>, add: impl Fn(&[T], &[T], &mut [T]) + Sync) {
        let (x, dy, [batch, t, d]) = (a.f("x"), a.f("dy"), [0, 1, 2].map(|i| a.shape("x")[i]));
        let out = a.out("dweight");
        // At most 16 parts: each takes as much memory as a sequence.
        let block = block(t).max(batch.div_ceil(16));
        let mut parts = vec![T::ZERO; batch.div_ceil(block).max(1) * out.len()];
        par_rows(&mut parts, out.len(), block * 16 * t * d, |i, part| {
            let range = i * block * t * d..x.len().min((i + 1) * block * t * d);
            add(&x[range.clone()], &dy[range], part);
        });
        join(&mut parts, out.len());
        out.copy_from_slice(&parts[..out.len()]);
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let [t, d] = [1, 2].map(|i| a.shape("x")[i]);
        FilterWeight::sum(a, |x, dy, sum| {
            for (x, dy) in x.chunks_exact(t * d).zip(dy.chunks_exact(t * d)) {
                let [x, dy] = [x, dy].map(|x| fourier::spectra(x, d));
                for (k, sum) in sum.chunks_exact_mut(2 * d).enumerate() {
                    let g = FilterWeight::weight::<T>(k, t);
                    for c in 0..d {
                        let ([xr, xi], [dr, di]) = (x[c * t + k], dy[c * t + k]);
                        sum[c] += g * (xr * dr + xi * di);
                        // Both are 0 where a frequency is its own mirror, but for rounding.
                        sum[d + c] += if is_edge(k, t) { T::ZERO } else { g * (xr * di - xi * dr) };
                    }
                }
            }
        });
    }
}

impl Op for FilterWeight {
    fn name(&self) -> &'static str {
        "filter weight"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "b t d").f32("dy", "b t d").f32("table", "t 2").out("dweight").scratch("partial")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let extents @ [batch, t, d] = check_length(x)?;
        let chunks = batch.div_ceil(FilterWeight::params(extents).chunk as usize);
        let y = Outputs::one(Spec::f32([frequencies(t), 2, d]));
        Ok(y.with_scratch(Spec::f32([chunks, frequencies(t), 2, d])))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        struct Job<'a> {
            x: &'a [f32],
            dy: &'a [f32],
            sum: &'a mut [f32],
            table: &'a [f32],
            d: usize,
        }
        impl pulp::WithSimd for Job<'_> {
            type Output = ();

            #[inline(always)]
            fn with_simd<S: pulp::Simd>(self, simd: S) {
                let Job { x, dy, sum, table, d } = self;
                let t = table.len() / 2;
                let (mut zx, mut zd) = (Sequence::new(simd, t, d, table), Sequence::new(simd, t, d, table));
                let width = zx.width;
                let mut sums = vec![[[simd.splat_f32s(0.0); 2]; 2]; frequencies(t) * width];
                for (x, dy) in x.chunks_exact(t * d).zip(dy.chunks_exact(t * d)) {
                    zx.load(x);
                    zx.transform();
                    zd.load(dy);
                    zd.transform();
                    for (k, sums) in sums.chunks_exact_mut(width).enumerate() {
                        for (j, sums) in sums.iter_mut().enumerate() {
                            for ((x, y), sum) in zx.pair(k, j).into_iter().zip(zd.pair(k, j)).zip(sums) {
                                let product = times(simd, [x[0], simd.neg_f32s(x[1])], y);
                                *sum = [simd.add_f32s(sum[0], product[0]), simd.add_f32s(sum[1], product[1])];
                            }
                        }
                    }
                }
                for (k, (sum, sums)) in sum.chunks_exact_mut(2 * d).zip(sums.chunks_exact(width)).enumerate() {
                    let g = simd.splat_f32s(FilterWeight::weight(k, t));
                    let (re, im) = sum.split_at_mut(d);
                    for (j, [a, b]) in sums.iter().enumerate() {
                        zx.put(re, j, [simd.mul_f32s(g, a[0]), simd.mul_f32s(g, b[0])]);
                        zx.put(im, j, [simd.mul_f32s(g, a[1]), simd.mul_f32s(g, b[1])]);
                    }
                }
            }
        }
        let (table, [t, d]) = (a.f("table"), [1, 2].map(|i| a.shape("x")[i]));
        if fourier::has_large_prime(t) {
            return false;
        }
        let arch = pulp::Arch::new();
        FilterWeight::sum(a, |x, dy, sum| arch.dispatch(Job { x, dy, sum, table, d }));
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let extents = [0, 1, 2].map(|i| s.input("x")[i]);
        let params = FilterWeight::params(extents);
        let parts = extents[0].div_ceil(params.chunk as usize);
        let join = Launch::of("filter", "weight_join")
            .params(params)
            .constant("SIZE", 64)
            .constant("PER_INVOCATION", 1)
            .turns(turns_of(parts, 0));
        Ok(vec![
            params.launch("filter", "weight_parts", parts, caps)?,
            join.threads(s.output("dweight").elements(), caps)?,
        ])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.sum(s.input("x")[0], ["x", "dy"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        fourier::cost(s, s.input("x"), 2)
    }
}

/// FMLP-Rec's, both transforms in it. By x its gradient is a filter again.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [b, t, d] = scale.pick([256, 50, 64], [5, 12, 7]);
    Example::new("filter", format!("{b}x{t}x{d}"), |_, x| Ok(vec![x[0].filter(x[1])]))
        .f32([b, t, d], UNIT)
        .f32([frequencies(t), 2, d], UNIT)
        .both(&[0, 1], &["filter weight"])
}
