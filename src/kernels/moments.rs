//! Weighted mean and variance over a sequence, in two passes: PoMRec's centrality and dispersion (equations 5 and 6).

use super::args::{Args, rows2};
use super::launch::lanes;
use super::real::Real;
use super::{Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::tensor::Spec;
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
    let [batch, t, k, d] = [s.input(0)[0], s.input(0)[1], s.input(0)[2], s.input(1)[2]].map(|x| x as u32);
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
        let (a, h) = (args.f(0), args.f(1));
        let (t, k, d) = (args.shape(0)[1], args.shape(0)[2], args.shape(1)[2]);
        let arch = pulp::Arch::new();
        rows2((args.out(0), k * d), (args.out(1), k * d), 2 * t * k * d, |b, mean, variance| {
            let (a, h) = (&a[b * t * k..][..t * k], &h[b * t * d..][..t * d]);
            arch.dispatch(|| Moments::work(t, k, d, a, h, mean, variance));
        });
    }
}

impl Op for Moments {
    fn name(&self) -> &'static str {
        "moments"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(2)?;
        x.rank(0, 3)?;
        x.rank(1, 3)?;
        if x.shape(0)[..2] != x.shape(1)[..2] {
            return x.fail("weights and values are for different sequences");
        }
        let spec = Spec::f32([x.shape(0)[0], x.shape(0)[2], x.shape(1)[2]]);
        Ok(Outputs::many([spec.clone(), spec]))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let (a, h, mean) = (node.inputs[0], node.inputs[1], node.outputs[0]);
        let zeros = || a.graph().scalar(0.0).expand(mean.shape());
        let dmean = node.grads[0].unwrap_or_else(zeros);
        let dvariance = node.grads[1].unwrap_or_else(zeros);
        let dx = a.graph().try_push(MomentsBackward, &[a, h, mean, dmean, dvariance])?;
        Ok(Grads::to([(0, dx[0]), (1, dx[1])]))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (p, launch) = launch("forward", s);
        Ok(vec![launch.threads((p.batch * p.k * p.d) as usize, caps)?])
    }

    fn operands(&self) -> Operands {
        Operands { inputs: &["a", "h"], outputs: &["mean", "variance"], scratch: &[] }
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        Split::rows(s.input(0)[0], 0b11)
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let bytes = s.inputs.iter().chain(s.outputs).map(|x| x.bytes() as u64).sum();
        Cost { bytes, flops: (6 * s.input(1).elements() * s.input(0)[2]) as u64 }
    }
}

/// Inputs a, h, mean, dmean, dvariance; outputs da, dh:
/// with g = dmean - 2 dvariance sum_t a (h - mean), da = sum_d g h + dvariance (h - mean)^2 and
/// dh = sum_k a (g + 2 dvariance (h - mean)).
#[derive(Debug, Clone, Copy)]
pub struct MomentsBackward;

impl MomentsBackward {
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn work<T: Real>(
        k: usize,
        d: usize,
        a: &[T],
        h: &[T],
        mean: &[T],
        dmean: &[T],
        dvariance: &[T],
        g: &mut [T],
        da: &mut [T],
        dh: &mut [T],
    ) {
        let two = T::of(2.0);
        // sum_t a (h - mean) = (1 - sum_t a) mean, since mean = sum_t a h.
        for j in 0..k {
            let rest = T::ONE - a.iter().skip(j).step_by(k).copied().sum();
            for c in j * d..(j + 1) * d {
                g[c] = dmean[c] - two * dvariance[c] * mean[c] * rest;
            }
        }
        for (((a, h), da), dh) in
            a.chunks_exact(k).zip(h.chunks_exact(d)).zip(da.chunks_exact_mut(k)).zip(dh.chunks_exact_mut(d))
        {
            dh.fill(T::ZERO);
            for j in 0..k {
                let (mean, g, dv) = (&mean[j * d..][..d], &g[j * d..][..d], &dvariance[j * d..][..d]);
                // Sixteen sums side by side, so that the additions do not wait for one another.
                let mut sums = [T::ZERO; 16];
                let weight = a[j];
                for c in (0..d).step_by(16) {
                    let n = (d - c).min(16);
                    let (h, mean, g, dv, dh) =
                        (&h[c..][..n], &mean[c..][..n], &g[c..][..n], &dv[c..][..n], &mut dh[c..][..n]);
                    for i in 0..n {
                        let apart = h[i] - mean[i];
                        sums[i] += g[i] * h[i] + dv[i] * apart * apart;
                        dh[i] += weight * (g[i] + two * dv[i] * apart);
                    }
                }
                da[j] = sums.iter().copied().sum();
            }
        }
    }

    fn twin<T: Real>(&self, args: &Args<T>) {
        let (a, h, mean, dmean, dvariance) = (args.f(0), args.f(1), args.f(2), args.f(3), args.f(4));
        let (t, k, d) = (args.shape(0)[1], args.shape(0)[2], args.shape(1)[2]);
        let arch = pulp::Arch::new();
        rows2((args.out(0), t * k), (args.out(1), t * d), 4 * t * k * d, |b, da, dh| {
            let (a, h) = (&a[b * t * k..][..t * k], &h[b * t * d..][..t * d]);
            let [mean, dmean, dvariance] = [mean, dmean, dvariance].map(|x| &x[b * k * d..][..k * d]);
            let mut g = vec![T::ZERO; k * d];
            arch.dispatch(|| MomentsBackward::work(k, d, a, h, mean, dmean, dvariance, &mut g, da, dh));
        });
    }
}

impl Op for MomentsBackward {
    fn name(&self) -> &'static str {
        "moments backward"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(5)?;
        let means = [x.shape(0)[0], x.shape(0)[2], x.shape(1)[2]];
        (2..5).try_for_each(|i| x.is_shape(i, &means))?;
        Ok(Outputs::many([x.specs[0].clone(), x.specs[1].clone()]))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (p, launch) = launch("backward", s);
        Ok(vec![launch.groups(p.batch as usize, lanes((p.t * p.d) as usize, caps), caps)?])
    }

    fn operands(&self) -> Operands {
        Operands { inputs: &["a", "h", "given_mean", "dmean", "dvariance"], outputs: &["da", "dh"], scratch: &[] }
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        Split::rows(s.input(0)[0], 0b1_1111)
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let bytes = s.inputs.iter().chain(s.outputs).map(|x| x.bytes() as u64).sum();
        Cost { bytes, flops: (10 * s.input(1).elements() * s.input(0)[2]) as u64 }
    }
}
