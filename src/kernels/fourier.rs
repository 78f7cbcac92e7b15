//! The discrete Fourier transform along a sequence of rows of channels: what the kernels `fft` and `filter` share. The shader's
//! half is shaders/lib/fourier.wgsl.
//!
//! Two real channels make one complex signal, z = x_c + i x_(c + h) with h = ceil(d / 2): so a row of d channels is already a
//! row of h complex numbers, its real parts before its imaginary ones, and a transform of real channels costs half. Their
//! spectra are told apart by symmetry: A\[k\] = (Z\[k\] + conj Z\[-k\]) / 2 for x_c, B\[k\] = (Z\[k\] - conj Z\[-k\]) / 2i for x_(c + h).
//! (The rounding errors of the two mix: each channel is as exact as the larger of its pair.)
//!
//! The transform is Stockham's, in any radices, natural order in and out. After stages whose radices multiply to L, with
//! M = T / L,
//!   a_L\[k M + q\] = sum_(n < L) x\[q + n M\] w_L^(n k),   w_n = e^(-2 pi i / n),
//! and a stage of radix r makes, for k < L r and q < M' = M / r,
//!   a_(L r)\[k M' + q\] = sum_(i < r) w_(L r)^(i k) a_L\[(k mod L) M + q + i M'\].
//! All its factors are entries of one table of w_T, made in f64. The inverse is the forward transform of Z\[-k\].

use super::launch::turns_of;
use super::real::Real;
use super::{Caps, Cost, Launch, Shapes};
use crate::error::Result;
use crate::tensor::{Shape, Tensor};
use bytemuck::{Pod, Zeroable};
use pulp::Simd;

/// The longest sequence: as many complex numbers as a workgroup's 16 KiB hold.
pub const LONGEST: usize = 2048;

/// w_T^k, as the real and the imaginary part: \[T, 2\]. What every transform of length `t` takes as an input.
pub fn table(t: usize) -> Tensor {
    let angle = |k: usize| std::f64::consts::TAU * k as f64 / t as f64;
    Tensor::f64([t, 2], (0..t).flat_map(|k| [angle(k).cos(), -angle(k).sin()]).collect())
}

/// Frequencies of a real sequence.
pub fn frequencies(t: usize) -> usize {
    t / 2 + 1
}

/// Whether frequency `k` is its own mirror: its imaginary part is 0, and it is counted once.
pub fn is_edge(k: usize, t: usize) -> bool {
    (2 * k).is_multiple_of(t)
}

/// `t` as a product of radices: the largest divisor first that `choices` has, then primes.
fn radices(mut t: usize, choices: &[usize]) -> Vec<usize> {
    let mut all = vec![];
    while t > 1 {
        let chosen = choices.iter().copied().find(|r| t.is_multiple_of(*r));
        let radix = chosen.unwrap_or_else(|| (2..).find(|r| t.is_multiple_of(*r)).expect("t divides itself"));
        all.push(radix);
        t /= radix;
    }
    all
}

/// Whether a CPU leaves sequences of `t` to rustfft: the direct stage of a prime costs its square, which from some 500
/// on is more than Bluestein's transform of a longer sequence, one channel at a time.
pub fn has_large_prime(t: usize) -> bool {
    const LARGEST: usize = 512;
    radices(t, &[]).last().is_some_and(|&prime| prime > LARGEST)
}

/// Every operand once, and `transforms` complex transforms for each two channels of x \[B, T, d\].
pub fn cost(s: &Shapes, x: &Shape, transforms: usize) -> Cost {
    let [t, pairs] = [x[1], x[2].div_ceil(2)];
    let bytes = s.inputs.iter().chain(s.outputs).map(|x| x.bytes() as u64).sum();
    let one = 5.0 * t as f64 * (t as f64).log2().max(1.0);
    Cost { bytes, flops: (one * (x[0] * pairs * transforms) as f64) as u64 }
}

/// `struct Params` of the shaders.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Params {
    pub batch: u32,
    pub t: u32,
    pub d: u32,
    /// Pairs of channels that a workgroup transforms.
    pub pairs: u32,
    /// Sequences that a workgroup sums over.
    pub chunk: u32,
    pub scale: f32,
    /// Weight of the frequencies that are not edges.
    pub inner: f32,
    /// Sign of the filter's imaginary part.
    pub sign: f32,
    pub radices: [u32; Params::STAGES],
}

impl Params {
    /// No length up to [`LONGEST`] takes more stages of radices up to 9.
    const STAGES: usize = 5;

    pub fn new([batch, t, d]: [usize; 3], scale: f64) -> Params {
        let pairs = (LONGEST / t).clamp(1, d.div_ceil(2)) as u32;
        let mut own = [1; Params::STAGES];
        own.iter_mut().zip(radices(t, &[9, 8, 7, 6, 5, 4, 3, 2])).for_each(|(own, r)| *own = r as u32);
        let [batch, t, d] = [batch, t, d].map(|n| n as u32);
        Params { batch, t, d, pairs, chunk: 1, scale: scale as f32, inner: 1.0, sign: 1.0, radices: own }
    }

    fn elements(&self) -> usize {
        (self.t * self.pairs) as usize
    }

    /// Turns of an invocation's loops that each sequence takes at most: two transforms, and four loops over an invocation's numbers.
    pub fn turns(&self, caps: &Caps) -> usize {
        let (size, invocations) = self.sizes(caps);
        let of_one = |inner: usize| turns_of(size / invocations, inner);
        let terms = |radix: usize| radix + turns_of(radix.div_ceil(16), 1);
        let stages = self.radices.iter().filter(|&&radix| radix > 1);
        let stages: usize = stages.map(|&radix| of_one(terms(radix as usize)) + of_one(0)).sum();
        2 * (turns_of(Params::STAGES, 0) + stages) + 4 * of_one(0)
    }

    /// Complex numbers that a workgroup keeps, and its invocations.
    fn sizes(&self, caps: &Caps) -> (usize, usize) {
        let size = self.elements().next_power_of_two().max(64);
        (size, size.min(1 << caps.max_invocations.min(256).ilog2()))
    }

    /// A launch with a workgroup for each of `sequences` (of the batch, or chunks of it) and each tile of channels.
    pub fn launch(self, file: &'static str, entry: &'static str, sequences: usize, caps: &Caps) -> Result<Launch> {
        let (size, invocations) = self.sizes(caps);
        let tiles = self.d.div_ceil(2).div_ceil(self.pairs) as usize;
        // And three loops before and after all of them.
        let turns = turns_of(self.chunk as usize, self.turns(caps)) + 3 * turns_of(size / invocations, 0);
        Launch::of(file, entry)
            .params(self)
            .constant("SIZE", size as u32)
            .constant("PER_INVOCATION", (size / invocations) as u32)
            .turns(turns)
            .groups(sequences * tiles, invocations, caps)
    }
}

/// The complex spectra of the channels of `x` \[T, d\] by rustfft: \[d\]\[T\] (re, im). For twins.
pub fn spectra<T: Real>(x: &[T], d: usize) -> Vec<[T; 2]> {
    let t = x.len() / d;
    let mut z: Vec<[T; 2]> = (0..d).flat_map(|c| (0..t).map(move |n| [x[n * d + c], T::ZERO])).collect();
    T::dft(&mut z, t);
    z
}

/// y \[T, d\] = scale * the real signals whose frequency k, up to T / 2, is `at(k, c)`. For twins.
pub fn signals<T: Real>(y: &mut [T], d: usize, scale: T, at: impl Fn(usize, usize) -> [T; 2]) {
    let t = y.len() / d;
    let mut z = vec![[T::ZERO; 2]; t * d];
    for (c, z) in z.chunks_exact_mut(t).enumerate() {
        for k in 0..frequencies(t) {
            let [re, im] = at(k, c);
            if is_edge(k, t) {
                z[k] = [re, T::ZERO];
            } else {
                // The inverse is the forward transform of the mirrored frequencies.
                z[k] = [re, -im];
                z[t - k] = [re, im];
            }
        }
    }
    T::dft(&mut z, t);
    for (n, y) in y.chunks_exact_mut(d).enumerate() {
        y.iter_mut().enumerate().for_each(|(c, y)| *y = scale * z[c * t + n][0]);
    }
}

/// One sequence of the fast forms: T rows of h complex numbers in planes of vectors. Everything here must be inlined into a
/// function that pulp dispatches.
pub struct Sequence<'a, S: Simd> {
    simd: S,
    t: usize,
    d: usize,
    /// Vectors of a row.
    pub width: usize,
    radices: Vec<usize>,
    table: &'a [f32],
    re: Vec<S::f32s>,
    im: Vec<S::f32s>,
    spare: [Vec<S::f32s>; 2],
}

/// A complex number, or one in each lane.
type Complex<V> = [V; 2];

impl<'a, S: Simd> Sequence<'a, S> {
    #[inline(always)]
    pub fn new(simd: S, t: usize, d: usize, table: &'a [f32]) -> Sequence<'a, S> {
        let width = d.div_ceil(2).div_ceil(S::F32_LANES);
        let plane = || vec![simd.splat_f32s(0.0); t * width];
        let radices = radices(t, &[4, 5, 3, 2]);
        Sequence { simd, t, d, width, radices, table, re: plane(), im: plane(), spare: [plane(), plane()] }
    }

    /// x \[T, d\].
    #[inline(always)]
    pub fn load(&mut self, x: &[f32]) {
        let h = self.d.div_ceil(2);
        let rows =
            x.chunks_exact(self.d).zip(self.re.chunks_exact_mut(self.width)).zip(self.im.chunks_exact_mut(self.width));
        for ((x, re), im) in rows {
            let (re, im): (&mut [f32], &mut [f32]) = (bytemuck::cast_slice_mut(re), bytemuck::cast_slice_mut(im));
            re[..h].copy_from_slice(&x[..h]);
            im[..self.d - h].copy_from_slice(&x[h..]);
            // The partner that the last of an odd number of channels lacks: what a transform left there is rounding.
            im[self.d - h..h].fill(0.0);
        }
    }

    /// y \[T, d\].
    #[inline(always)]
    pub fn store(&self, y: &mut [f32]) {
        let h = self.d.div_ceil(2);
        for ((y, re), im) in
            y.chunks_exact_mut(self.d).zip(self.re.chunks_exact(self.width)).zip(self.im.chunks_exact(self.width))
        {
            let (re, im): (&[f32], &[f32]) = (bytemuck::cast_slice(re), bytemuck::cast_slice(im));
            y[..h].copy_from_slice(&re[..h]);
            y[h..].copy_from_slice(&im[..self.d - h]);
        }
    }

    /// Frequency k of vector `j` of the channels' first half, and of their second.
    #[inline(always)]
    pub fn pair(&self, k: usize, j: usize) -> [Complex<S::f32s>; 2] {
        let s = self.simd;
        let (at, mirrored) = (k * self.width + j, (self.t - k) % self.t * self.width + j);
        let half = s.splat_f32s(0.5);
        let (zr, zi) = (s.mul_f32s(half, self.re[at]), s.mul_f32s(half, self.im[at]));
        let (mr, mi) = (s.mul_f32s(half, self.re[mirrored]), s.mul_f32s(half, self.im[mirrored]));
        [[s.add_f32s(zr, mr), s.sub_f32s(zi, mi)], [s.add_f32s(zi, mi), s.sub_f32s(mr, zr)]]
    }

    /// Sets what [`Sequence::pair`] reads, mirrored, so that the transform is the inverse.
    #[inline(always)]
    pub fn set_pair(&mut self, k: usize, j: usize, [a, b]: [Complex<S::f32s>; 2]) {
        let s = self.simd;
        let (at, mirrored) = (k * self.width + j, (self.t - k) % self.t * self.width + j);
        if at == mirrored {
            (self.re[at], self.im[at]) = (a[0], b[0]);
        } else {
            (self.re[at], self.im[at]) = (s.add_f32s(a[0], b[1]), s.sub_f32s(b[0], a[1]));
            (self.re[mirrored], self.im[mirrored]) = (s.sub_f32s(a[0], b[1]), s.add_f32s(a[1], b[0]));
        }
    }

    /// The lanes of vector `j` of each half of `row` \[d\], zeros past their ends.
    #[inline(always)]
    pub fn halves(&self, row: &[f32], j: usize) -> [S::f32s; 2] {
        let h = self.d.div_ceil(2);
        [&row[..h], &row[h..]].map(|half| {
            let mut v = self.simd.splat_f32s(0.0);
            let lanes: &mut [f32] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut v));
            let from = &half[(j * S::F32_LANES).min(half.len())..];
            if from.len() >= S::F32_LANES {
                lanes.copy_from_slice(&from[..S::F32_LANES]);
            } else {
                lanes[..from.len()].copy_from_slice(from);
            }
            v
        })
    }

    /// The way back: vectors `j` of both halves into `row` \[d\].
    #[inline(always)]
    pub fn put(&self, row: &mut [f32], j: usize, values: [S::f32s; 2]) {
        let (first, second) = row.split_at_mut(self.d.div_ceil(2));
        for (half, v) in [first, second].into_iter().zip(&values) {
            let lanes: &[f32] = bytemuck::cast_slice(std::slice::from_ref(v));
            let start = (j * S::F32_LANES).min(half.len());
            let to = &mut half[start..];
            if to.len() >= S::F32_LANES {
                to[..S::F32_LANES].copy_from_slice(lanes);
            } else {
                to.copy_from_slice(&lanes[..to.len()]);
            }
        }
    }

    /// The forward transform, unscaled. A function of its own for each kind of vectors: inlined everywhere it would take minutes
    /// to compile.
    #[inline(always)]
    pub fn transform(&mut self) {
        struct Stages<'b, 'a, S: Simd>(&'b mut Sequence<'a, S>);
        impl<S: Simd> pulp::WithSimd for Stages<'_, '_, S> {
            type Output = ();

            #[inline(always)]
            fn with_simd<Same: Simd>(self, _: Same) {
                self.0.stages();
            }
        }
        self.simd.vectorize(Stages(self));
    }

    #[inline(always)]
    fn stages(&mut self) {
        let mut done = 1;
        for s in 0..self.radices.len() {
            let radix = self.radices[s];
            match radix {
                2 => self.stage::<2>(done),
                3 => self.stage::<3>(done),
                4 => self.stage::<4>(done),
                5 => self.stage::<5>(done),
                7 => self.stage::<7>(done),
                _ => self.long_stage(done, radix),
            }
            done *= radix;
            let [re, im] = &mut self.spare;
            std::mem::swap(&mut self.re, re);
            std::mem::swap(&mut self.im, im);
        }
    }

    #[inline(always)]
    fn factor(&self, at: usize) -> Complex<S::f32s> {
        [self.table[2 * at], self.table[2 * at + 1]].map(|w| self.simd.splat_f32s(w))
    }

    /// A stage of radix R, after stages whose radices multiply to `done`.
    #[inline(always)]
    fn stage<const R: usize>(&mut self, done: usize) {
        let s = self.simd;
        let left = self.t / (done * R);
        // Each of the R inputs and outputs of a k is `n` vectors side by side.
        let n = left * self.width;
        let roots: [_; R] = std::array::from_fn(|i| self.factor(i * (self.t / R)));
        for k in 0..done {
            let w: [_; R] = std::array::from_fn(|i| self.factor(i * k * left));
            let from = [&self.re, &self.im].map(|plane| -> [&[S::f32s]; R] {
                let block = &plane[k * R * n..][..R * n];
                std::array::from_fn(|i| &block[i * n..][..n])
            });
            let [to_re, to_im] = self.spare.each_mut().map(|plane| -> [&mut [S::f32s]; R] {
                let mut parts = plane.chunks_exact_mut(done * n);
                std::array::from_fn(|_| &mut parts.next().expect("R parts")[k * n..][..n])
            });
            for j in 0..n {
                let mut x: [_; R] = std::array::from_fn(|i| [from[0][i][j], from[1][i][j]]);
                if k > 0 {
                    x.iter_mut().zip(&w).skip(1).for_each(|(x, &w)| *x = times(s, *x, w));
                }
                let y = if R.is_multiple_of(2) { even(s, x) } else { odd(s, x, &roots) };
                for (i, y) in y.into_iter().enumerate() {
                    (to_re[i][j], to_im[i][j]) = (y[0], y[1]);
                }
            }
        }
    }

    /// A stage whose radix is a large prime: a direct transform, in sums of blocks of terms so that errors stay small.
    #[inline(always)]
    fn long_stage(&mut self, done: usize, radix: usize) {
        const BLOCK: usize = 16;
        let s = self.simd;
        let (left, pairs) = (self.t / (done * radix), radix / 2);
        let n = left * self.width;
        let zero = [s.splat_f32s(0.0); 2];
        let (re, im, table, t) = (&self.re, &self.im, self.table, self.t);
        let [to_re, to_im] = &mut self.spare;
        let factor = |at: usize| [table[2 * at], table[2 * at + 1]].map(|w| s.splat_f32s(w));
        // x_i + x_(r - i) and x_i - x_(r - i).
        let (mut sums, mut differences) = (vec![zero; pairs], vec![zero; pairs]);
        for k in 0..done {
            for j in 0..n {
                let x = |i: usize| {
                    let at = (k * radix + i) * n + j;
                    times(s, [re[at], im[at]], factor(i * k * left))
                };
                let first = x(0);
                let mut total = first;
                for i in 1..=pairs {
                    let (a, b) = (x(i), x(radix - i));
                    (sums[i - 1], differences[i - 1]) = (plus(s, a, b), minus(s, a, b));
                }
                for block in sums.chunks(BLOCK) {
                    let part = block.iter().fold(zero, |part, &a| plus(s, part, a));
                    total = plus(s, total, part);
                }
                let to = |i: usize| (i * done + k) * n + j;
                (to_re[to(0)], to_im[to(0)]) = (total[0], total[1]);
                for i in 1..=pairs {
                    let (mut cosines, mut sines) = (first, zero);
                    let mut at = 0;
                    for (a, b) in sums.chunks(BLOCK).zip(differences.chunks(BLOCK)) {
                        let (mut c, mut d) = (zero, zero);
                        for (a, b) in a.iter().zip(b) {
                            at += i;
                            at -= if at >= radix { radix } else { 0 };
                            let w = factor(at * (t / radix));
                            c = [0, 1].map(|p| s.mul_add_e_f32s(w[0], a[p], c[p]));
                            d = [0, 1].map(|p| s.mul_add_e_f32s(w[1], b[p], d[p]));
                        }
                        (cosines, sines) = (plus(s, cosines, c), plus(s, sines, d));
                    }
                    let [y, mirrored] = turn(s, cosines, sines);
                    (to_re[to(i)], to_im[to(i)]) = (y[0], y[1]);
                    (to_re[to(radix - i)], to_im[to(radix - i)]) = (mirrored[0], mirrored[1]);
                }
            }
        }
    }
}

#[inline(always)]
fn plus<S: Simd>(s: S, a: Complex<S::f32s>, b: Complex<S::f32s>) -> Complex<S::f32s> {
    [s.add_f32s(a[0], b[0]), s.add_f32s(a[1], b[1])]
}

#[inline(always)]
fn minus<S: Simd>(s: S, a: Complex<S::f32s>, b: Complex<S::f32s>) -> Complex<S::f32s> {
    [s.sub_f32s(a[0], b[0]), s.sub_f32s(a[1], b[1])]
}

/// a b.
#[inline(always)]
pub fn times<S: Simd>(s: S, a: Complex<S::f32s>, b: Complex<S::f32s>) -> Complex<S::f32s> {
    let re = s.mul_add_e_f32s(s.neg_f32s(a[1]), b[1], s.mul_f32s(a[0], b[0]));
    [re, s.mul_add_e_f32s(a[1], b[0], s.mul_f32s(a[0], b[1]))]
}

/// c + i s and c - i s.
#[inline(always)]
fn turn<S: Simd>(s: S, c: Complex<S::f32s>, d: Complex<S::f32s>) -> [Complex<S::f32s>; 2] {
    [[s.sub_f32s(c[0], d[1]), s.add_f32s(c[1], d[0])], [s.add_f32s(c[0], d[1]), s.sub_f32s(c[1], d[0])]]
}

/// The transform of 2 or of 4.
#[inline(always)]
fn even<S: Simd, const R: usize>(s: S, x: [Complex<S::f32s>; R]) -> [Complex<S::f32s>; R] {
    let mut y = x;
    if R == 2 {
        (y[0], y[1]) = (plus(s, x[0], x[1]), minus(s, x[0], x[1]));
    } else {
        let (a, b) = (plus(s, x[0], x[2]), minus(s, x[0], x[2]));
        let (c, d) = (plus(s, x[1], x[3]), minus(s, x[1], x[3]));
        (y[0], y[2]) = (plus(s, a, c), minus(s, a, c));
        [y[3], y[1]] = turn(s, b, d);
    }
    y
}

/// The transform of an odd number, by the symmetry of its roots of unity.
#[inline(always)]
fn odd<S: Simd, const R: usize>(
    s: S,
    x: [Complex<S::f32s>; R],
    roots: &[Complex<S::f32s>; R],
) -> [Complex<S::f32s>; R] {
    let mut y = x;
    let sums: [_; R] = std::array::from_fn(|i| if i == 0 { x[0] } else { plus(s, x[i], x[R - i]) });
    let differences: [_; R] = std::array::from_fn(|i| if i == 0 { x[0] } else { minus(s, x[i], x[R - i]) });
    for i in 1..=R / 2 {
        y[0] = plus(s, y[0], sums[i]);
        let (mut c, mut d) = (x[0], [s.splat_f32s(0.0); 2]);
        for j in 1..=R / 2 {
            let w = roots[i * j % R];
            c = [0, 1].map(|p| s.mul_add_e_f32s(w[0], sums[j][p], c[p]));
            d = [0, 1].map(|p| s.mul_add_e_f32s(w[1], differences[j][p], d[p]));
        }
        [y[i], y[R - i]] = turn(s, c, d);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_its_stages() {
        for t in 1..=LONGEST {
            let all = radices(t, &[9, 8, 7, 6, 5, 4, 3, 2]);
            assert!(all.len() <= Params::STAGES, "{t}: {all:?}");
            assert_eq!(all.iter().product::<usize>(), t);
        }
    }
}
