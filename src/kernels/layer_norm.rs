//! Layer norm (Ba, Kiros and Hinton, 2016) and RMS norm (Zhang and Sennrich, 2019), fused with the residual before them.

use super::example::{Example, Scale, UNIT};
use super::fast::wide;
use super::lanes::{self, Lanes};
use super::parallel::{par_blocks, par_rows, par_rows2};
use super::random::{self, Dropout, Mask};
use super::real::Real;
use super::sums::{add_up, join, sum_chunks};
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split, launch};
use crate::error::Result;
use crate::tensor::{Shape, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// `y = gain h + bias`, `h = (s - mean) / sqrt(variance + eps)` over the last axis, `s = x + dropout(r)`. If `rms`, the mean
/// stays in: `h = s / sqrt(mean of s^2 + eps)`, and there is no bias. A row whose squares overflow gives NaN.
///
/// Inputs x \[.., d\], gain \[d\], bias \[d\] unless `rms`, r \[.., d\] if `residual`, step where `p` > 0. Outputs y \[.., d\], s
/// \[.., d\] if `residual`, and mean and 1 / sqrt(..) \[.., 2\] for the backward pass alone.
#[derive(Debug, Clone, Copy)]
pub struct LayerNorm {
    pub rms: bool,
    pub residual: bool,
    pub eps: f64,
    /// Probability with which an element of r is dropped; 0 without a residual.
    pub p: f32,
    pub key: u32,
}

/// Inputs s, gain, mean and 1 / sqrt(..), dy, the gradient of s if `sum`, step where `p` > 0. Outputs dx and, where `p` > 0,
/// dr; else that is dx.
#[derive(Debug, Clone, Copy)]
pub struct LayerNormBackward {
    pub norm: LayerNorm,
    pub sum: bool,
}

/// Inputs s, mean and 1 / sqrt(..), dy: the gradients of gain and, unless `rms`, of bias, \[1 or 2, d\].
#[derive(Debug, Clone, Copy)]
pub struct LayerNormParameters {
    pub rms: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    key: u32,
    chunks: u32,
    eps: f32,
    rate: f32,
    kept_scale: f32,
}

/// Partial sums of each column on a GPU.
fn chunks(rows: usize) -> usize {
    (rows / 64).clamp(1, 256)
}

/// Rows that a call of the faster forms takes at once.
const BLOCK: usize = 32;

/// The rows `s` normalised.
struct Normalise<'a> {
    norm: LayerNorm,
    s: &'a [f32],
    gain: &'a [f32],
    bias: &'a [f32],
    y: &'a mut [f32],
    stats: &'a mut [f32],
}

impl pulp::WithSimd for Normalise<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let Normalise { norm: LayerNorm { rms, eps, .. }, s, gain, bias, y, stats } = self;
        let d = gain.len();
        let [gains, biases] = [gain, bias].map(S::as_simd_f32s);
        for ((s, y), stats) in s.chunks_exact(d).zip(y.chunks_exact_mut(d)).zip(stats.chunks_exact_mut(2)) {
            let rough = if rms { 0.0 } else { lanes::sum(simd, s) / d as f32 };
            let [off, squares] = lanes::moments(simd, s, rough).map(|sum| sum / d as f32);
            let (mean, variance) = if rms { (0.0, squares) } else { (rough + off, squares - off * off) };
            let inverse = 1.0 / (variance + eps as f32).finite_or_nan().sqrt();
            let (x, shift, scale) = (S::as_simd_f32s(s), Lanes::splat(simd, mean), Lanes::splat(simd, inverse));
            let (y, y_rest) = S::as_mut_simd_f32s(y);
            for (((y, &x), &gain), &bias) in y.iter_mut().zip(x.0).zip(gains.0).zip(biases.0) {
                *y = ((Lanes(simd, x) - shift) * scale).mul_add(Lanes(simd, gain), Lanes(simd, bias)).1;
            }
            for (((y, x), gain), bias) in y_rest.iter_mut().zip(x.1).zip(gains.1).zip(biases.1) {
                *y = (x - mean) * inverse * gain + bias;
            }
            stats.copy_from_slice(&[mean, inverse]);
        }
    }
}

/// The gradients by the rows `s`.
struct Gradients<'a> {
    rms: bool,
    s: &'a [f32],
    gain: &'a [f32],
    stats: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl pulp::WithSimd for Gradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) {
        let Gradients { rms, s, gain, stats, dy, dx } = self;
        let d = gain.len();
        let (gain, gain_rest) = S::as_simd_f32s(gain);
        let all = s.chunks_exact(d).zip(stats.chunks_exact(2)).zip(dy.chunks_exact(d));
        for (((s, stats), dy), dx) in all.zip(dx.chunks_exact_mut(d)) {
            let [shift, inverse] = [stats[0], stats[1]];
            let ((s, s_rest), (dy, dy_rest), (dx, dx_rest)) =
                (S::as_simd_f32s(s), S::as_simd_f32s(dy), S::as_mut_simd_f32s(dx));
            let splat = |x| Lanes::splat(simd, x);
            let (mut sum, mut products) = (splat(0.0), splat(0.0));
            for ((&s, &dy), &gain) in s.iter().zip(dy).zip(gain) {
                let g = Lanes(simd, gain) * Lanes(simd, dy);
                sum = sum + g;
                products = g.mul_add(Lanes(simd, s) - splat(shift), products);
            }
            let (mut sum, mut products) = (simd.reduce_sum_f32s(sum.1), simd.reduce_sum_f32s(products.1));
            for ((s, dy), gain) in s_rest.iter().zip(dy_rest).zip(gain_rest) {
                sum += gain * dy;
                products += gain * dy * (s - shift);
            }
            let mean = if rms { 0.0 } else { sum / d as f32 };
            // h is (s - shift) inverse, here and, a second time, below.
            let along = products * inverse * inverse / d as f32;
            for (((dx, &s), &dy), &gain) in dx.iter_mut().zip(s).zip(dy).zip(gain) {
                let g = Lanes(simd, gain) * Lanes(simd, dy);
                let h = Lanes(simd, s) - splat(shift);
                *dx = (splat(inverse) * h.mul_add(splat(-along), g - splat(mean))).1;
            }
            for (((dx, s), dy), gain) in dx_rest.iter_mut().zip(s_rest).zip(dy_rest).zip(gain_rest) {
                *dx = inverse * (gain * dy - mean - (s - shift) * along);
            }
        }
    }
}

impl LayerNorm {
    fn mask<'a, T: Real>(&self, a: &Args<'a, T>) -> Option<Mask<'a>> {
        (self.p > 0.0).then(|| Mask { step: a.u("step"), key: self.key, p: self.p })
    }

    /// Calls `add(first element, x, r, s)`, where there is a residual, and then `normalise(s, y, stats)` for each block of
    /// `block` rows.
    fn each<T: Real>(
        &self,
        a: &Args<T>,
        block: usize,
        add: impl Fn(usize, &[T], &[T], &mut [T]) + Sync,
        normalise: impl Fn(&[T], &mut [T], &mut [T]) + Sync,
    ) {
        let x = a.f("x");
        let n = block * a.shape("x").last_dim();
        if !self.residual {
            par_rows2((a.out("y"), n), (a.out("stats"), 2 * block), 4 * n, |i, y, stats| {
                normalise(&x[i * n..][..y.len()], y, stats)
            });
            return;
        }
        let r = a.f("r");
        par_blocks([(a.out("y"), n), (a.out("s"), n), (a.out("stats"), 2 * block)], 6 * n, |i, [y, s, stats]| {
            let range = i * n..i * n + s.len();
            add(i * n, &x[range.clone()], &r[range], s);
            normalise(s, y, stats);
        });
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let d = a.shape("x").last_dim();
        let gain = a.f("gain");
        let bias = (!self.rms).then(|| a.f("bias"));
        let mask = self.mask(a);
        let first = a.first_element("y");
        let n = T::of(d as f64);
        self.each(
            a,
            1,
            |at, x, r, s| {
                for c in 0..d {
                    let factor = mask.map_or(T::ONE, |mask| mask.factor(first + at + c));
                    s[c] = x[c] + factor * r[c];
                }
            },
            |s, y, stats| {
                let sum = |term: &(dyn Fn(usize) -> T + Sync)| sum_chunks(d, |r| r.map(term).sum::<T>());
                let rough = if self.rms { T::ZERO } else { sum_chunks(d, |r| add_up(&s[r])) / n };
                let off = if self.rms { T::ZERO } else { sum(&|c| s[c] - rough) / n };
                let mean = rough + off;
                let variance = sum(&|c| (s[c] - rough) * (s[c] - rough)) / n - off * off;
                let inverse = T::ONE / (variance + T::of(self.eps)).finite_or_nan().sqrt();
                for c in 0..d {
                    y[c] = (s[c] - mean) * inverse * gain[c] + bias.map_or(T::ZERO, |bias| bias[c]);
                }
                stats.copy_from_slice(&[mean, inverse]);
            },
        );
    }

    /// A launch of `entry` over rows of `d`.
    fn launch(&self, entry: &'static str, x: &Shape, caps: &Caps) -> Result<Launch> {
        let d = x.last_dim();
        // Four elements an invocation, or as many more as a workgroup leaves.
        let size = launch::group_size(d, caps);
        let sharers = d.div_ceil(4).next_power_of_two().min(size);
        // Four times through an invocation's quads of elements, and two trees. A quad of a row that begins within one of the tensor's
        // draws the words of two.
        let quads = d.div_ceil(4 * sharers);
        let draws = if d.is_multiple_of(4) { quads } else { 2 * quads };
        let turns = 4 * launch::turns_of(4 * quads, 0) + draws * random::ROUNDS + 2 * launch::TREE;
        self.prepare(entry, x, sharers).turns(turns).groups(x.rows().div_ceil(size / sharers), size, caps)
    }

    fn prepare(&self, entry: &'static str, x: &Shape, sharers: usize) -> Launch {
        let params = Params {
            rows: x.rows() as u32,
            key: self.key,
            chunks: chunks(x.rows()) as u32,
            eps: self.eps as f32,
            rate: self.p,
            kept_scale: (1.0 / (1.0 - self.p as f64)) as f32,
        };
        Launch::of("layer_norm", entry)
            .params(params)
            .constant("D", x.last_dim() as u32)
            .constant("SHARERS", sharers as u32)
            .constant("RMS", self.rms as u32)
            .constant("DROPOUT", (self.p > 0.0) as u32)
    }
}

impl Op for LayerNorm {
    fn name(&self) -> &'static str {
        if self.rms { "rms norm" } else { "layer norm" }
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("x", ".. d")
            .f32("gain", "d")
            .f32("bias", "d")
            .when(!self.rms)
            .f32("r", ".. d")
            .when(self.residual)
            .u32("step", "8")
            .when(self.p > 0.0)
            .out_f32("y", ".. d")
            .out_f32_when(self.residual, "s", ".. d")
            .out_f32("stats", ".. 2")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if x.extent("d") == 0 {
            return x.fail("nothing to normalise");
        }
        if !(0.0..1.0).contains(&self.p) || (self.p > 0.0 && !self.residual) {
            return x.fail(format!(
                "a probability of {} must be at least 0 and less than 1, and needs a residual to drop from",
                self.p
            ));
        }
        Ok(x.declared())
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        if node.grad("stats").is_some() {
            return Ok(Grads::not_differentiable());
        }
        let (x, gain, stats) = (node.input("x"), node.input("gain"), node.output("stats"));
        let (g, s) = (x.graph(), if self.residual { node.output("s") } else { x });
        let sum = if self.residual { node.grad("s") } else { None };
        let step = node.get("step");
        let mut to = vec![];
        match (node.grad("y"), sum) {
            (Some(dy), sum) => {
                let op = LayerNormBackward { norm: *self, sum: sum.is_some() };
                if node.wants("x") || node.wants("r") {
                    let inputs: Vec<_> = [s, gain, stats, dy].into_iter().chain(sum).chain(step).collect();
                    let dx = g.try_push(op, &inputs)?;
                    to.push(("x", dx[0]));
                    to.extend(self.residual.then(|| ("r", dx[dx.len() - 1])));
                }
                if node.wants("gain") || node.wants("bias") {
                    let both = g.push(LayerNormParameters { rms: self.rms }, &[s, stats, dy]);
                    let names = ["gain", "bias"].into_iter().take(2 - self.rms as usize).enumerate();
                    to.extend(names.map(|(i, name)| (name, both.slice(0, i, 1).reshape(gain.shape()))));
                }
            }
            // Only the sum was used.
            (None, Some(dsum)) => {
                let dr = step.map_or(dsum, |step| g.push(Dropout { p: self.p, key: self.key }, &[dsum, step]));
                to.extend([("x", dsum), ("r", dr)]);
            }
            (None, None) => {}
        }
        Ok(Grads::to(to))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let arch = pulp::Arch::new();
        let gain = a.f("gain");
        let zeros = vec![0.0; if self.rms { gain.len() } else { 0 }];
        let bias = if self.rms { &zeros } else { a.f("bias") };
        let mask = self.mask(a);
        let first = a.first_element("y");
        self.each(
            a,
            BLOCK,
            |at, x, r, s| {
                wide(
                    #[inline(always)]
                    || {
                        s.copy_from_slice(r);
                        if let Some(mask) = mask {
                            mask.apply(first + at, s);
                        }
                        s.iter_mut().zip(x).for_each(|(s, x)| *s += x);
                    },
                )
            },
            |s, y, stats| arch.dispatch(Normalise { norm: *self, s, gain, bias, y, stats }),
        );
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let entry = if self.residual { "forward_residual" } else { "forward" };
        Ok(vec![self.launch(entry, s.input("x"), caps)?.constant("DSUM", 0)])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        if s.input("x").len() > 1 { s.rows(s.input("x")[0], ["x", "r"]) } else { None }
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: 8 * s.input("x").elements() as u64 }
    }
}

impl LayerNormBackward {
    /// Calls `gradients(s, stats, dy, dsum, dx)` for each block of `block` rows and, with dropout, `drop(first element, dr)` on
    /// a copy of dx.
    fn each<T: Real>(
        &self,
        a: &Args<T>,
        block: usize,
        gradients: impl Fn(&[T], &[T], &[T], Option<&[T]>, &mut [T]) + Sync,
        drop: impl Fn(usize, &mut [T]) + Sync,
    ) {
        let n = block * a.shape("given_s").last_dim();
        let (s, stats, dy) = (a.f("given_s"), a.f("given_stats"), a.f("dy"));
        let dsum = self.sum.then(|| a.f("dsum"));
        let one = |i: usize, dx: &mut [T]| {
            let range = i * n..i * n + dx.len();
            let stats = &stats[i * 2 * block..];
            gradients(&s[range.clone()], stats, &dy[range.clone()], dsum.map(|dsum| &dsum[range]), dx);
        };
        if self.norm.p == 0.0 {
            par_rows(a.out("dx"), n, 6 * n, one);
            return;
        }
        par_rows2((a.out("dx"), n), (a.out("dr"), n), 8 * n, |i, dx, dr| {
            one(i, dx);
            dr.copy_from_slice(dx);
            drop(i * n, dr);
        });
    }

    fn mask<'a, T: Real>(&self, a: &Args<'a, T>) -> Option<Mask<'a>> {
        self.norm.mask(a)
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let d = a.shape("given_s").last_dim();
        let gain = a.f("gain");
        let (mask, first) = (self.mask(a), a.first_element("dx"));
        let n = T::of(d as f64);
        self.each(
            a,
            1,
            |s, stats, dy, dsum, dx| {
                let h = |c: usize| (s[c] - stats[0]) * stats[1];
                let g = |c: usize| gain[c] * dy[c];
                let mean = if self.norm.rms { T::ZERO } else { sum_chunks(d, |r| r.map(g).sum::<T>()) / n };
                let along = sum_chunks(d, |r| r.map(|c| g(c) * h(c)).sum::<T>()) / n;
                for c in 0..d {
                    dx[c] = stats[1] * (g(c) - mean - h(c) * along) + dsum.map_or(T::ZERO, |dsum| dsum[c]);
                }
            },
            |at, dr| {
                let Some(mask) = mask else { return };
                dr.iter_mut().enumerate().for_each(|(c, dr)| *dr *= mask.factor(first + at + c));
            },
        );
    }
}

impl Op for LayerNormBackward {
    fn name(&self) -> &'static str {
        if self.norm.rms { "rms norm backward" } else { "layer norm backward" }
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("given_s", ".. d")
            .f32("gain", "d")
            .f32("given_stats", ".. 2")
            .f32("dy", ".. d")
            .f32("dsum", ".. d")
            .when(self.sum)
            .u32("step", "8")
            .when(self.norm.p > 0.0)
            .out_f32("dx", ".. d")
            .out_f32_when(self.norm.p > 0.0, "dr", ".. d")
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let arch = pulp::Arch::new();
        let gain = a.f("gain");
        let (mask, first) = (self.mask(a), a.first_element("dx"));
        self.each(
            a,
            BLOCK,
            |s, stats, dy, dsum, dx| {
                arch.dispatch(Gradients { rms: self.norm.rms, s, gain, stats, dy, dx: &mut *dx });
                if let Some(dsum) = dsum {
                    wide(
                        #[inline(always)]
                        || dx.iter_mut().zip(dsum).for_each(|(dx, dsum)| *dx += dsum),
                    );
                }
            },
            |at, dr| {
                let Some(mask) = mask else { return };
                wide(
                    #[inline(always)]
                    || mask.apply(first + at, dr),
                )
            },
        );
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let entry = if self.norm.p > 0.0 { "backward_dropout" } else { "backward" };
        Ok(vec![self.norm.launch(entry, s.input("given_s"), caps)?.constant("DSUM", self.sum as u32)])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        let cut = ["given_s", "given_stats", "dy", "dsum"];
        if s.input("given_s").len() > 1 { s.rows(s.input("given_s")[0], cut) } else { None }
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: 10 * s.input("given_s").elements() as u64 }
    }
}

impl LayerNormParameters {
    #[inline(always)]
    fn add<T: Real>(d: usize, sums: &mut [T], s: &[T], stats: &[T], dy: &[T]) {
        let (dgain, dbias) = sums.split_at_mut(d);
        for ((s, stats), dy) in s.chunks_exact(d).zip(stats.chunks_exact(2)).zip(dy.chunks_exact(d)) {
            let (mean, inverse) = (stats[0], stats[1]);
            dgain.iter_mut().zip(s).zip(dy).for_each(|((dgain, &s), &dy)| *dgain += dy * ((s - mean) * inverse));
            dbias.iter_mut().zip(dy).for_each(|(dbias, &dy)| *dbias += dy);
        }
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let d = a.shape("given_s").last_dim();
        let (s, stats, dy) = (a.f("given_s"), a.f("given_stats"), a.f("dy"));
        let out = a.out("dparameters");
        // Fixed chunks of rows, added pair by pair.
        const CHUNK: usize = 64;
        let mut parts = vec![T::ZERO; a.shape("given_s").rows().div_ceil(CHUNK).max(1) * out.len()];
        par_rows(&mut parts, out.len(), CHUNK * 2 * d, |chunk, part| {
            let from = |x: &'_ [T], width: usize| {
                let first = chunk * CHUNK * width;
                first..x.len().min(first + CHUNK * width)
            };
            let (s, stats, dy) = (&s[from(s, d)], &stats[from(stats, 2)], &dy[from(dy, d)]);
            wide(
                #[inline(always)]
                || LayerNormParameters::add(d, part, s, stats, dy),
            );
        });
        join(&mut parts, out.len());
        out.copy_from_slice(&parts[..out.len()]);
    }
}

impl Op for LayerNormParameters {
    fn name(&self) -> &'static str {
        if self.rms { "rms norm parameters" } else { "layer norm parameters" }
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("given_s", ".. d")
            .f32("given_stats", ".. 2")
            .f32("dy", ".. d")
            .out("dparameters")
            .scratch("partial")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let sums = [2 - self.rms as usize, x.extent("d")];
        let partial = Spec::f32([chunks(x.shape("given_s").rows()), sums[0], sums[1]]);
        Ok(Outputs::one(Spec::f32(sums)).with_scratch(partial))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let norm = LayerNorm { rms: self.rms, residual: false, eps: 0.0, p: 0.0, key: 0 };
        let launch = |entry| norm.prepare(entry, s.input("given_s"), 1).constant("DSUM", 0);
        let rows = s.input("given_s").rows();
        let columns = chunks(rows) * s.input("given_s").last_dim();
        Ok(vec![
            launch("parameter_parts").turns(launch::turns_of(rows.div_ceil(chunks(rows)), 0)).threads(columns, caps)?,
            launch("parameter_join")
                .turns(launch::turns_of(chunks(rows), 0))
                .threads(s.output("dparameters").elements(), caps)?,
        ])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        if s.input("given_s").len() > 1 { s.sum(s.input("given_s")[0], ["given_s", "given_stats", "dy"]) } else { None }
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: 5 * s.input("given_s").elements() as u64 }
    }
}

/// The norm alone, and with the residual before it.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [n, d] = [scale.rows(), scale.width()];
    let timed = &["layer norm backward", "layer norm parameters"];
    let plain = Example::new("layer norm", format!("{n}x{d}"), |_, x| Ok(vec![x[0].layer_norm(x[1], x[2], 1e-5)]))
        .f32([n, d], UNIT)
        .f32([d], UNIT)
        .f32([d], UNIT);
    let residual = Example::new("layer norm residual", format!("{n}x{d}"), |_, x| {
        Ok(x[0].add_layer_norm(x[3], 0.2, x[1], x[2], 1e-5).to_vec())
    });
    let residual = residual.f32([n, d], UNIT).f32([d], UNIT).f32([d], UNIT).f32([n, d], UNIT);
    [plain.both(&[0, 1, 2], timed), residual.both(&[0, 1, 2, 3], timed)].concat()
}
