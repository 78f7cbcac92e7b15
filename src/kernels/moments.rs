//! Weighted mean and variance over a sequence, in two passes: PoMRec's centrality and dispersion (equations 5 and 6).

use super::example::{Example, Fill, Scale, UNIT};
use super::fast::wide;
use super::launch::{group_size, turns_of};
use super::parallel::par_rows2;
use super::real::Real;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// Weights a \[B, T, K\], values h \[B, T, d\]: mean \[B, K, d\] = sum_t a h and variance \[B, K, d\] = sum_t a (h - mean)^2.
/// The variance is taken in a second pass: E\[h^2\] - E\[h\]^2 would lose every digit of a small dispersion.
#[derive(Debug, Clone, Copy)]
pub struct Moments;

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    batch: u32,
    t: u32,
    k: u32,
    d: u32,
}

fn launch(entry: &'static str, s: &Shapes) -> (Params, Launch) {
    let (a, h) = (s.input("a"), s.input("h"));
    let [batch, t, k, d] = [a[0], a[1], a[2], h[2]].map(|x| x as u32);
    let params = Params { batch, t, k, d };
    (params, Launch::of("moments", entry).constant("K", k).params(params))
}

impl Moments {
    #[inline(always)]
    fn work<T: Real>(t: usize, k: usize, d: usize, a: &[T], h: &[T], mean: &mut [T], variance: &mut [T]) {
        mean.fill(T::ZERO);
        variance.fill(T::ZERO);
        for (a, h) in a.chunks_exact(k).zip(h.chunks_exact(d)).take(t) {
            for (&a, mean) in a.iter().zip(mean.chunks_exact_mut(d)) {
                mean.iter_mut().zip(h).for_each(|(m, &h)| *m += a * h);
            }
        }
        for (a, h) in a.chunks_exact(k).zip(h.chunks_exact(d)).take(t) {
            for ((&a, mean), variance) in a.iter().zip(mean.chunks_exact(d)).zip(variance.chunks_exact_mut(d)) {
                for ((v, &m), &h) in variance.iter_mut().zip(mean).zip(h) {
                    *v += a * (h - m) * (h - m);
                }
            }
        }
    }

    fn twin<T: Real>(&self, args: &Args<T>) {
        let (a, h) = (args.f("a"), args.f("h"));
        let (t, k, d) = (args.shape("a")[1], args.shape("a")[2], args.shape("h")[2]);
        par_rows2((args.out("mean"), k * d), (args.out("variance"), k * d), 2 * t * k * d, |b, mean, variance| {
            let (a, h) = (&a[b * t * k..][..t * k], &h[b * t * d..][..t * d]);
            wide(
                #[inline(always)]
                || Moments::work(t, k, d, a, h, mean, variance),
            );
        });
    }
}

impl Op for Moments {
    fn name(&self) -> &'static str {
        "moments"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("a", "b t k").f32("h", "b t d").out_f32("mean", "b k d").out_f32("variance", "b k d")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if x.extent("k") == 0 || x.extent("d") == 0 {
            return x.fail("no weights or no values");
        }
        Ok(x.declared())
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let (a, h, mean) = (node.input("a"), node.input("h"), node.output("mean"));
        let zeros = || a.graph().scalar(0.0).expand(mean.shape());
        let dmean = node.grad("mean").unwrap_or_else(zeros);
        let dvariance = node.grad("variance").unwrap_or_else(zeros);
        let dx = a.graph().try_push(MomentsBackward, &[a, h, mean, dmean, dvariance])?;
        Ok(Grads::to([("a", dx[0]), ("h", dx[1])]))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (p, launch) = launch("forward", s);
        Ok(vec![launch.turns(2 * turns_of(p.t as usize, 0)).threads((p.batch * p.k * p.d) as usize, caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("a")[0], ["a", "h"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: (6 * s.input("h").elements() * s.input("a")[2]) as u64 }
    }
}

/// Inputs a, h, mean, dmean, dvariance; outputs da, dh:
/// with g = dmean - 2 dvariance sum_t a (h - mean), da = sum_d g h + dvariance (h - mean)^2 and
/// dh = sum_k a (g + 2 dvariance (h - mean)).
#[derive(Debug, Clone, Copy)]
pub struct MomentsBackward;

impl MomentsBackward {
    /// Calls `sequence` for each of the batch, with g.
    fn each<T: Real>(&self, args: &Args<T>, sequence: impl Fn(Sequence<T>) + Sync) {
        let (a, h, mean, dmean, dvariance) =
            (args.f("a"), args.f("h"), args.f("given_mean"), args.f("dmean"), args.f("dvariance"));
        let (t, k, d) = (args.shape("a")[1], args.shape("a")[2], args.shape("h")[2]);
        par_rows2((args.out("da"), t * k), (args.out("dh"), t * d), 4 * t * k * d, |b, da, dh| {
            let (a, h) = (&a[b * t * k..][..t * k], &h[b * t * d..][..t * d]);
            let [mean, dmean, dvariance] = [mean, dmean, dvariance].map(|x| &x[b * k * d..][..k * d]);
            let mut g = vec![T::ZERO; k * d];
            // sum_t a (h - mean) = (1 - sum_t a) mean, since mean = sum_t a h.
            for j in 0..k {
                let rest = T::ONE - a.iter().skip(j).step_by(k).copied().sum();
                for c in j * d..(j + 1) * d {
                    g[c] = dmean[c] - T::of(2.0) * dvariance[c] * mean[c] * rest;
                }
            }
            sequence(Sequence { k, d, a, h, mean, dvariance, g: &g, da, dh });
        });
    }

    fn twin<T: Real>(&self, args: &Args<T>) {
        self.each(args, |s| {
            s.dh.fill(T::ZERO);
            for (t, da) in s.da.chunks_exact_mut(s.k).enumerate() {
                for (j, da) in da.iter_mut().enumerate() {
                    *da = T::ZERO;
                    for c in 0..s.d {
                        let (g, dvariance) = (s.g[j * s.d + c], s.dvariance[j * s.d + c]);
                        let h = s.h[t * s.d + c];
                        let apart = h - s.mean[j * s.d + c];
                        *da += g * h + dvariance * apart * apart;
                        s.dh[t * s.d + c] += s.a[t * s.k + j] * (g + T::of(2.0) * dvariance * apart);
                    }
                }
            }
        });
    }
}

/// Operands of the gradient for one sequence, and `g`, which is the same for all its positions.
struct Sequence<'a, T> {
    k: usize,
    d: usize,
    a: &'a [T],
    h: &'a [T],
    mean: &'a [T],
    dvariance: &'a [T],
    g: &'a [T],
    da: &'a mut [T],
    dh: &'a mut [T],
}

impl pulp::WithSimd for Sequence<'_, f32> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let Sequence { k, d, a, h, mean, dvariance, g, da, dh } = self;
        dh.fill(0.0);
        let places = a.chunks_exact(k).zip(h.chunks_exact(d)).zip(da.chunks_exact_mut(k)).zip(dh.chunks_exact_mut(d));
        for (((a, h), da), dh) in places {
            for j in 0..k {
                let weight = simd.splat_f32s(a[j]);
                let mut sum = simd.splat_f32s(0.0);
                let mut step = |h: S::f32s, mean: S::f32s, g: S::f32s, dv: S::f32s, dh: S::f32s| {
                    let apart = simd.sub_f32s(h, mean);
                    let scaled = simd.mul_f32s(dv, apart);
                    sum = simd.mul_add_e_f32s(g, h, sum);
                    sum = simd.mul_add_e_f32s(scaled, apart, sum);
                    simd.mul_add_e_f32s(weight, simd.add_f32s(g, simd.add_f32s(scaled, scaled)), dh)
                };
                let own = j * d..(j + 1) * d;
                let ((h, h_end), (mean, mean_end)) = (S::as_simd_f32s(h), S::as_simd_f32s(&mean[own.clone()]));
                let ((g, g_end), (dv, dv_end)) = (S::as_simd_f32s(&g[own.clone()]), S::as_simd_f32s(&dvariance[own]));
                let (dh, dh_end) = S::as_mut_simd_f32s(dh);
                for ((((dh, &h), &mean), &g), &dv) in dh.iter_mut().zip(h).zip(mean).zip(g).zip(dv) {
                    *dh = step(h, mean, g, dv, *dh);
                }
                if !h_end.is_empty() {
                    let end = |x| simd.partial_load_f32s(x);
                    let last = step(end(h_end), end(mean_end), end(g_end), end(dv_end), end(dh_end));
                    simd.partial_store_f32s(dh_end, last);
                }
                da[j] = simd.reduce_sum_f32s(sum);
            }
        }
    }
}

impl Op for MomentsBackward {
    fn name(&self) -> &'static str {
        "moments backward"
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("a", "b t k")
            .f32("h", "b t d")
            .f32("given_mean", "b k d")
            .f32("dmean", "b k d")
            .f32("dvariance", "b k d")
            .out_f32("da", "b t k")
            .out_f32("dh", "b t d")
    }

    twin!();

    fn cpu_fast(&self, args: &Args<f32>) -> bool {
        self.each(args, |sequence| pulp::Arch::new().dispatch(sequence));
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (p, launch) = launch("backward", s);
        let [batch, t, k, d] = [p.batch, p.t, p.k, p.d].map(|x| x as usize);
        let size = group_size(t * d, caps);
        let of_one = |n: usize, terms: usize| turns_of(n.div_ceil(size), turns_of(terms, 0));
        let turns = of_one(k, t) + of_one(t * k, d) + of_one(t * d, k);
        Ok(vec![launch.turns(turns).groups(batch, size, caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("a")[0], ["a", "h", "given_mean", "dmean", "dvariance"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: (10 * s.input("h").elements() * s.input("a")[2]) as u64 }
    }
}

/// PoMRec's interests.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [b, t, interests, d] = scale.pick([8192, 24, 2, 64], [9, 13, 2, 50]);
    Example::new("moments", format!("{b}x{t}x{d}, {interests} interests"), |g, x| g.try_push(Moments, x))
        .f32([b, t, interests], Fill::Float(1.0 / t as f32))
        .f32([b, t, d], UNIT)
        .both(&[0, 1], &["moments backward"])
}
