//! Scaled dot-product attention (Vaswani et al., "Attention is all you need", 2017), fused: the L x L weights never exist.

use super::example::{Example, Fill, Scale, UNIT};
use super::fast::{self, wide};
use super::launch::turns_of;
use super::matmul::dot;
use super::panel::{Product, Update};
use super::parallel::{par_blocks, par_rows2};
use super::random::{self, Mask};
use super::real::Real;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::{Error, Result};
use crate::tensor::{Shape, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// Inputs q, k, v \[B, L, H * head_dim\], heads side by side as a linear layer leaves them, keep u32 \[B, L\] (0: a padded
/// key), with `bias` the biases of all pairs, and, where `p` > 0, step. Outputs y \[B, L, H * head_dim\] and lse \[B, H, L\], the
/// log of each query's sum of exponentials, for the backward pass alone:
///
/// `y_i = sum_j f_ij exp(scale q_i . k_j + c_ji - lse_i) v_j` over the keys that are kept and, if `causal`, not after i.
///
/// Biases are \[G, H, L, L\], by key and then by query; sequence b has those of group b modulo G, and without `bias` c is 0. With
/// biases there is no gradient.
///
/// f is dropout on the weights: 0 with probability `p`, else 1 / (1 - p); its counter is the element of \[B, H, L, L\]. A
/// query with nothing to attend to gives 0.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    pub heads: usize,
    pub causal: bool,
    pub bias: bool,
    /// Usually 1 / sqrt(head_dim).
    pub scale: f64,
    pub p: f32,
    pub key: u32,
}

/// Inputs those of [`Attention`] up to keep, then y, lse, dy and, where `p` > 0, step; outputs dq, dk, dv.
#[derive(Debug, Clone, Copy)]
pub struct AttentionBackward(pub Attention);

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    batch: u32,
    heads: u32,
    len: u32,
    groups: u32,
    key: u32,
    scale: f32,
    rate: f32,
    kept_scale: f32,
}

/// Extents, and where the heads lie.
#[derive(Clone, Copy)]
struct Heads {
    batch: usize,
    len: usize,
    heads: usize,
    head_dim: usize,
}

impl Heads {
    /// Elements between a row of a head and the next.
    fn pitch(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Elements of one sequence.
    fn sequence(&self) -> usize {
        self.len * self.pitch()
    }

    /// Elements of row i of head h, within one sequence.
    fn row(&self, h: usize, i: usize) -> std::ops::Range<usize> {
        let first = i * self.pitch() + h * self.head_dim;
        first..first + self.head_dim
    }
}

/// Invocations that share a row in the shader.
const SHARERS: usize = 4;

/// Rows that a workgroup owns and rows of the tiles that it walks: the most that fit the workgroup's memory.
fn tile(head_dim: usize, caps: &Caps) -> Result<(usize, usize)> {
    let pitch = head_dim.div_ceil(4) | 1;
    let bytes = |(own, others): &(usize, usize)| {
        let [a, b, pairs] = [own * pitch * 16, others * pitch * 16, own * (others + 1) * 4];
        2 * (a + b + pairs.next_multiple_of(16))
    };
    let sizes = [(16, 32), (16, 16), (16, 8), (8, 8), (8, 4), (4, 4)];
    sizes.into_iter().find(|size| bytes(size) <= caps.workgroup_bytes as usize).ok_or_else(|| {
        let smallest = bytes(&sizes[sizes.len() - 1]);
        Error::Device(format!("attention: a head of {head_dim} takes {smallest} bytes of workgroup memory"))
    })
}

/// Turns of the shader's loops with tiles of those sizes, in any of its entry points: quads of two operands copied, of the own
/// rows once and of the others in each tile; there two products and a word of dropout a pair, and the sums of a row.
fn turns(n: Heads, own: usize, others: usize) -> usize {
    let quads = n.head_dim.div_ceil(4);
    let own_quads = quads.div_ceil(SHARERS);
    let copied = |rows: usize| turns_of((rows * quads).div_ceil(own * SHARERS), 0);
    let pairs = turns_of(others / SHARERS, 2 * turns_of(quads, 0) + random::ROUNDS);
    let sums = turns_of(others, 0) + turns_of(own_quads, 0) + turns_of(others, turns_of(own_quads, 0));
    let tiles = turns_of(n.len.div_ceil(others), copied(others) + pairs + sums);
    copied(own) + tiles + turns_of(own_quads, turns_of(4, 0))
}

impl Attention {
    pub const LARGEST_HEAD: usize = 128;

    fn heads(&self, x: &Shape) -> Heads {
        Heads { batch: x[0], len: x[1], heads: self.heads, head_dim: x[2] / self.heads }
    }

    /// Checks what the patterns of the operands do not.
    fn check(&self, x: &Inputs) -> Result<()> {
        let [batch, len, dim] = ["b", "l", "d"].map(|axis| x.extent(axis));
        if self.heads == 0 || dim % self.heads != 0 || dim / self.heads > Attention::LARGEST_HEAD || dim == 0 {
            let most = Attention::LARGEST_HEAD;
            return x.fail(format!("{dim} do not make {} heads of 1 to {most}", self.heads));
        }
        if self.bias && (x.extent("h") != self.heads || x.extent("g") == 0 || batch % x.extent("g") != 0) {
            return x.fail(format!("biases must be those of {} heads and of a divisor of {batch} groups", self.heads));
        }
        if !(0.0..1.0).contains(&self.p) {
            return x.fail(format!("a probability of {} must be at least 0 and less than 1", self.p));
        }
        if self.p > 0.0 {
            let weights = [batch, self.heads, len, len].iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
            if weights.is_none_or(|n| n.div_ceil(4) > random::GROUPS) {
                return x.fail("more weights than the counter of dropout can tell apart; use a smaller batch");
            }
        }
        Ok(())
    }

    fn mask<'a, T: Real>(&self, a: &Args<'a, T>) -> Option<Mask<'a>> {
        (self.p > 0.0).then(|| Mask { step: a.u("step"), key: self.key, p: self.p })
    }

    /// The biases of each head of sequence `b`, \[H, L, L\], if it has some. `first` is the number of the operands' first sequence.
    fn biases<'a, T: Real>(&self, a: &Args<'a, T>, first: usize, b: usize) -> Option<&'a [T]> {
        let all = self.bias.then(|| a.f("bias"))?;
        let of_group: usize = a.shape("bias")[1..].iter().product();
        Some(&all[(first + b) % (all.len() / of_group) * of_group..][..of_group])
    }

    /// Keys before this one are within reach of query `i`.
    fn reach(&self, i: usize, len: usize) -> usize {
        if self.causal { i + 1 } else { len }
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let n = self.heads(a.shape("q"));
        let (q, k, v, keep) = (a.f("q"), a.f("k"), a.f("v"), a.u("keep"));
        let mask = self.mask(a);
        let scale = T::of(self.scale);
        let first = a.first_element("lse");
        par_rows2((a.out("y"), n.sequence()), (a.out("lse"), n.heads * n.len), n.sequence() * n.len, |b, y, lse| {
            let [q, k, v] = [q, k, v].map(|x| &x[b * n.sequence()..][..n.sequence()]);
            let keep = &keep[b * n.len..][..n.len];
            let biases = self.biases(a, first / (n.heads * n.len), b);
            let mut weights = vec![T::ZERO; n.len];
            for (h, i) in (0..n.heads).flat_map(|h| (0..n.len).map(move |i| (h, i))) {
                let keys = || (0..self.reach(i, n.len)).filter(|&j| keep[j] != 0);
                let mut m = T::MASKED;
                for j in keys() {
                    weights[j] = scale * product(&q[n.row(h, i)], &k[n.row(h, j)]);
                    if let Some(biases) = biases {
                        weights[j] += biases[(h * n.len + j) * n.len + i];
                    }
                    m = m.max(weights[j]);
                }
                let mut z = T::ZERO;
                for j in keys() {
                    weights[j] = (weights[j] - m).exp();
                    z += weights[j];
                }
                let row = (b * n.heads + h) * n.len + i;
                let y = &mut y[n.row(h, i)];
                y.fill(T::ZERO);
                for j in keys() {
                    let factor = mask.map_or(T::ONE, |mask| mask.factor((first + row) * n.len + j));
                    let weight = factor * weights[j] / z;
                    y.iter_mut().zip(&v[n.row(h, j)]).for_each(|(y, &v)| *y += weight * v);
                }
                lse[h * n.len + i] = if keys().next().is_none() { T::MASKED } else { m + z.ln() };
            }
        });
    }

    /// Pairs of a query and a key within its reach, padded or not.
    fn pairs(&self, n: Heads) -> u64 {
        let pairs = if self.causal { n.len * (n.len + 1) / 2 } else { n.len * n.len };
        (n.batch * n.heads * pairs) as u64
    }

    /// A launch of a workgroup for each block of rows that `tile` allows.
    fn launch(&self, entry: &'static str, n: Heads, bias_groups: usize, caps: &Caps) -> Result<Launch> {
        let (own, others) = tile(n.head_dim, caps)?;
        let groups = n.batch * n.heads * n.len.div_ceil(own);
        self.prepare(entry, n, bias_groups, others).turns(turns(n, own, others)).groups(groups, own * SHARERS, caps)
    }

    fn prepare(&self, entry: &'static str, n: Heads, groups: usize, others: usize) -> Launch {
        let params = Params {
            batch: n.batch as u32,
            heads: n.heads as u32,
            len: n.len as u32,
            groups: groups as u32,
            key: self.key,
            scale: self.scale as f32,
            rate: self.p,
            kept_scale: (1.0 / (1.0 - self.p as f64)) as f32,
        };
        Launch::of("attention", entry)
            .params(params)
            .constant("HEAD_DIM", n.head_dim as u32)
            .constant("OTHERS", others as u32)
            .constant("OWN_QUADS", n.head_dim.div_ceil(4).div_ceil(SHARERS) as u32)
            .constant("CAUSAL", self.causal as u32)
            .constant("BIAS", self.bias as u32)
            .constant("DROPOUT", (self.p > 0.0) as u32)
    }
}

/// Queries whose weights are in memory at once, side by side: `[keys, BLOCK]`, so that sums over keys go down vectors.
const BLOCK: usize = 32;

/// `c += a b` or, unless `add`, `c = a b`, for c \[m, n\], a \[m, k\], b \[k, n\], each with its strides or, of contiguous rows, its pitch.
fn multiply(
    extents: [usize; 3],
    (c, c_row): (&mut [f32], usize),
    add: bool,
    (a, a_strides): (&[f32], [usize; 2]),
    (b, b_row): (&[f32], usize),
) {
    let update = if add { Update::Add } else { Update::Write };
    Product { extents, a, a_strides, b, b_row, c, c_row, update }.run();
}

/// `scale` times the rows of `x`, one each `pitch` elements, side by side: `y` \[width, BLOCK\].
fn side_by_side(x: &[f32], pitch: usize, rows: usize, scale: f32, y: &mut [f32]) {
    let width = y.len() / BLOCK;
    for (r, x) in x.chunks(pitch).take(rows).enumerate() {
        y[r..].iter_mut().step_by(BLOCK).zip(&x[..width]).for_each(|(y, x)| *y = scale * x);
    }
}

/// A block of queries `start .. start + rows` of one head, and the keys within reach of the last of them.
struct Block {
    start: usize,
    rows: usize,
    keys: usize,
    /// Where the queries and the head begin in their sequence.
    own: usize,
    head: usize,
}

impl Attention {
    /// The blocks of head `h`.
    fn blocks(&self, n: Heads, h: usize) -> impl Iterator<Item = Block> {
        (0..n.len).step_by(BLOCK).map(move |start| {
            let rows = BLOCK.min(n.len - start);
            let keys = self.reach(start + rows - 1, n.len);
            Block { start, rows, keys, own: n.row(h, start).start, head: n.row(h, 0).start }
        })
    }

    /// The number of queries of the block that come before key `j`, and so do not see it.
    #[inline(always)]
    fn early(&self, block: &Block, j: usize) -> usize {
        if self.causal { j.saturating_sub(block.start) } else { 0 }
    }
}

/// The factors of dropout of a block whose first query is row `row` of all, \[rows, keys\].
fn factors(mask: &Mask, block: &Block, row: usize, len: usize) -> Vec<f32> {
    let mut factors = vec![1.0f32; block.rows * block.keys];
    wide(
        #[inline(always)]
        || {
            if block.keys == len {
                return mask.apply(row * len, &mut factors);
            }
            for (r, factors) in factors.chunks_exact_mut(block.keys).enumerate() {
                mask.apply((row + r) * len, factors);
            }
        },
    );
    factors
}

/// Multiplies the weights `[keys, BLOCK]` of a block by `factors`.
fn drop(factors: &[f32], weights: &mut [f32], block: &Block) {
    for (r, factors) in factors.chunks_exact(block.keys).enumerate() {
        weights[r..].iter_mut().step_by(BLOCK).zip(factors).for_each(|(w, f)| *w *= f);
    }
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("q", "b l d")
            .f32("k", "b l d")
            .f32("v", "b l d")
            .u32("keep", "b l")
            .f32("bias", "g h l l")
            .when(self.bias)
            .u32("step", "8")
            .when(self.p > 0.0)
            .out_f32("y", "b l d")
            .out("lse")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        self.check(x)?;
        let lse = Spec::f32([x.extent("b"), self.heads, x.extent("l")]);
        Ok(Outputs::many([x.spec("q").clone(), lse]))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        // lse is for the backward pass; no rule is written for a use of it.
        let (Some(dy), None, false) = (node.grad("y"), node.grad("lse"), self.bias) else {
            return Ok(Grads::not_differentiable());
        };
        let given = ["q", "k", "v", "keep"].map(|name| node.input(name));
        let inputs: Vec<_> = given.iter().chain(&node.outputs).chain(&[dy]).copied().chain(node.get("step")).collect();
        let dx = dy.graph().try_push(AttentionBackward(*self), &inputs)?;
        Ok(Grads::to([("q", dx[0]), ("k", dx[1]), ("v", dx[2])]))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let n = self.heads(a.shape("q"));
        let (q, k, v, keep) = (a.f("q"), a.f("k"), a.f("v"), a.u("keep"));
        let mask = self.mask(a);
        let (scale, pitch) = (self.scale as f32, n.pitch());
        let first = a.first_element("lse");
        par_rows2((a.out("y"), n.sequence()), (a.out("lse"), n.heads * n.len), n.sequence() * n.len, |b, y, lse| {
            let [q, k, v] = [q, k, v].map(|x| &x[b * n.sequence()..][..n.sequence()]);
            let keep = &keep[b * n.len..][..n.len];
            let biases = self.biases(a, first / (n.heads * n.len), b);
            let mut weights = vec![0.0f32; n.len * BLOCK];
            let mut queries = vec![0.0f32; n.head_dim * BLOCK];
            for (h, block) in (0..n.heads).flat_map(|h| self.blocks(n, h).map(move |block| (h, block))) {
                let Block { start, rows, keys, own, head } = block;
                let [q, k, v] = [&q[own..], &k[head..], &v[head..]];
                side_by_side(q, pitch, rows, scale, &mut queries);
                let shape = [keys, rows, n.head_dim];
                multiply(shape, (&mut weights, BLOCK), false, (k, [pitch, 1]), (&queries, BLOCK));
                let (mut m, mut z) = ([-1e38f32; BLOCK], [0.0f32; BLOCK]);
                wide(
                    #[inline(always)]
                    || {
                        let weights = &mut weights.as_chunks_mut::<BLOCK>().0[..keys];
                        if let Some(biases) = biases {
                            for (s, c) in weights.iter_mut().zip(biases[h * n.len * n.len..].chunks_exact(n.len)) {
                                s.iter_mut().zip(&c[start..start + rows]).for_each(|(s, c)| *s += c);
                            }
                        }
                        for (j, s) in weights.iter_mut().enumerate().filter(|(j, _)| keep[*j] != 0) {
                            s[..self.early(&block, j)].fill(f32::MASKED);
                            m.iter_mut().zip(&*s).for_each(|(m, &s)| *m = if s > *m { s } else { *m });
                        }
                        for (w, &keep) in weights.iter_mut().zip(keep) {
                            if keep == 0 {
                                w.fill(0.0);
                                continue;
                            }
                            // What is MASKED lies so far below -1e38 that this gives 0.
                            w.iter_mut().zip(&m).for_each(|(w, m)| *w = fast::exp_term(*w - m));
                            z.iter_mut().zip(&*w).for_each(|(z, w)| *z += w);
                        }
                    },
                );
                if let Some(mask) = &mask {
                    let row = first + (b * n.heads + h) * n.len + start;
                    drop(&factors(mask, &block, row, n.len), &mut weights, &block);
                }
                let shape = [rows, n.head_dim, keys];
                multiply(shape, (&mut y[own..], pitch), false, (&weights, [1, BLOCK]), (v, pitch));
                for r in 0..rows {
                    // Exponentials that are all 0 have no key, or exponents of minus infinity: then 1 / 0 makes y NaN.
                    let no_key = || keep[..self.reach(start + r, n.len)].iter().all(|&k| k == 0);
                    let (scale, lse_of_r) =
                        if z[r] == 0.0 && no_key() { (0.0, f32::MASKED) } else { (1.0 / z[r], m[r] + z[r].ln()) };
                    y[n.row(h, start + r)].iter_mut().for_each(|y| *y *= scale);
                    lse[h * n.len + start + r] = lse_of_r;
                }
            }
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let groups = s.get("bias").map_or(0, |bias| bias.shape[0]);
        Ok(vec![self.launch("forward", self.heads(s.input("q")), groups, caps)?])
    }

    // The log-sum-exp.
    fn exact_outputs(&self) -> &[usize] {
        &[1]
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("q")[0], ["q", "k", "v", "keep"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let n = self.heads(s.input("q"));
        Cost { bytes: s.bytes(), flops: 4 * n.head_dim as u64 * self.pairs(n) }
    }
}

fn product<T: Real>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).map(|(&a, &b)| a * b).sum()
}

impl AttentionBackward {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let n = self.0.heads(a.shape("q"));
        let (q, k, v, keep, y, lse, dy) =
            (a.f("q"), a.f("k"), a.f("v"), a.u("keep"), a.f("given_y"), a.f("given_lse"), a.f("dy"));
        let mask = self.0.mask(a);
        let scale = T::of(self.0.scale);
        let (all, work) = (n.sequence(), n.sequence() * n.len);
        let first = a.first_element("dq") / n.head_dim;
        par_blocks([(a.out("dq"), all), (a.out("dk"), all), (a.out("dv"), all)], work, |b, [dq, dk, dv]| {
            let [q, k, v, y, dy] = [q, k, v, y, dy].map(|x| &x[b * all..][..all]);
            [&mut *dq, dk, dv].into_iter().for_each(|x| x.fill(T::ZERO));
            for (h, i) in (0..n.heads).flat_map(|h| (0..n.len).map(move |i| (h, i))) {
                let row = (b * n.heads + h) * n.len + i;
                let own = n.row(h, i);
                let delta = product(&dy[own.clone()], &y[own.clone()]);
                for j in (0..self.0.reach(i, n.len)).filter(|&j| keep[b * n.len + j] != 0) {
                    let other = n.row(h, j);
                    let probability = (scale * product(&q[own.clone()], &k[other.clone()]) - lse[row]).exp();
                    let factor = mask.map_or(T::ONE, |mask| mask.factor((first + row) * n.len + j));
                    let slope = factor * product(&dy[own.clone()], &v[other.clone()]) - delta;
                    let (weight, ds) = (factor * probability, scale * probability * slope);
                    for (i, j) in own.clone().zip(other) {
                        dq[i] += ds * k[j];
                        dk[j] += ds * q[i];
                        dv[j] += weight * dy[i];
                    }
                }
            }
        });
    }
}

impl Op for AttentionBackward {
    fn name(&self) -> &'static str {
        "attention backward"
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("q", "b l d")
            .f32("k", "b l d")
            .f32("v", "b l d")
            .u32("keep", "b l")
            .f32("given_y", "b l d")
            .f32("given_lse", "b h l")
            .f32("dy", "b l d")
            .u32("step", "8")
            .when(self.0.p > 0.0)
            .out_f32("dq", "b l d")
            .out_f32("dk", "b l d")
            .out_f32("dv", "b l d")
            .scratch("terms")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        self.0.check(x)?;
        let terms = [x.extent("b"), self.0.heads, x.extent("l")];
        x.is_shape("given_lse", &terms)?;
        Ok(x.declared().with_scratch(Spec::f32([terms[0], terms[1], terms[2], 3])))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let n = self.0.heads(a.shape("q"));
        let (q, k, v, keep, y, lse, dy) =
            (a.f("q"), a.f("k"), a.f("v"), a.u("keep"), a.f("given_y"), a.f("given_lse"), a.f("dy"));
        let mask = self.0.mask(a);
        let (scale, pitch) = (self.0.scale as f32, n.pitch());
        let (all, work) = (n.sequence(), n.sequence() * n.len);
        let first = a.first_element("dq") / n.head_dim;
        par_blocks([(a.out("dq"), all), (a.out("dk"), all), (a.out("dv"), all)], work, |b, [dq, dk, dv]| {
            let [q, k, v, y, dy] = [q, k, v, y, dy].map(|x| &x[b * all..][..all]);
            let keep = &keep[b * n.len..][..n.len];
            let mut weights = vec![0.0f32; n.len * BLOCK];
            let mut slopes = weights.clone();
            let mut turned = vec![0.0f32; n.head_dim * BLOCK];
            dk.fill(0.0);
            dv.fill(0.0);
            for (h, block) in (0..n.heads).flat_map(|h| self.0.blocks(n, h).map(move |block| (h, block))) {
                let Block { start, rows, keys, own, head } = block;
                let [q, dy_rows, k, v] = [&q[own..], &dy[own..], &k[head..], &v[head..]];
                let shape = [keys, rows, n.head_dim];
                side_by_side(q, pitch, rows, scale, &mut turned);
                multiply(shape, (&mut weights, BLOCK), false, (k, [pitch, 1]), (&turned, BLOCK));
                side_by_side(dy_rows, pitch, rows, 1.0, &mut turned);
                multiply(shape, (&mut slopes, BLOCK), false, (v, [pitch, 1]), (&turned, BLOCK));
                let row = (b * n.heads + h) * n.len + start;
                let factors = mask.as_ref().map(|mask| factors(mask, &block, first + row, n.len));
                if let Some(factors) = &factors {
                    drop(factors, &mut slopes, &block);
                }
                let (mut shift, mut delta) = ([0.0f32; BLOCK], [0.0f32; BLOCK]);
                shift[..rows].copy_from_slice(&lse[row..][..rows]);
                wide(
                    #[inline(always)]
                    || {
                        for (r, delta) in delta.iter_mut().take(rows).enumerate() {
                            *delta = dot(&dy[n.row(h, start + r)], &y[n.row(h, start + r)]);
                        }
                        let weights = weights.as_chunks_mut::<BLOCK>().0;
                        let slopes = slopes.as_chunks_mut::<BLOCK>().0;
                        for (j, (w, ds)) in weights.iter_mut().zip(slopes).enumerate().take(keys) {
                            if keep[j] == 0 {
                                w.fill(0.0);
                                ds.fill(0.0);
                                continue;
                            }
                            w.iter_mut().zip(&shift).for_each(|(w, shift)| *w = fast::exp_term(*w - shift));
                            w[..self.0.early(&block, j)].fill(0.0);
                            for ((ds, w), delta) in ds.iter_mut().zip(&*w).zip(&delta) {
                                *ds = scale * w * (*ds - delta);
                            }
                        }
                    },
                );
                if let Some(factors) = &factors {
                    drop(factors, &mut weights, &block);
                }
                let (by_query, by_key) = ([rows, n.head_dim, keys], [keys, n.head_dim, rows]);
                multiply(by_query, (&mut dq[own..], pitch), false, (&slopes, [1, BLOCK]), (k, pitch));
                multiply(by_key, (&mut dk[head..], pitch), true, (&slopes, [BLOCK, 1]), (q, pitch));
                multiply(by_key, (&mut dv[head..], pitch), true, (&weights, [BLOCK, 1]), (dy_rows, pitch));
            }
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let n = self.0.heads(s.input("q"));
        Ok(vec![
            self.0
                .prepare("row_terms", n, 0, SHARERS)
                .turns(turns_of(n.head_dim, 0))
                .threads(n.batch * n.heads * n.len, caps)?,
            self.0.launch("backward_queries", n, 0, caps)?,
            self.0.launch("backward_keys", n, 0, caps)?,
        ])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("q")[0], ["q", "k", "v", "keep", "given_y", "given_lse", "dy"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let n = self.0.heads(s.input("q"));
        Cost { bytes: s.bytes(), flops: 10 * n.head_dim as u64 * self.0.pairs(n) }
    }
}

/// Causal, as SASRec has it; with dropout; and with biases within windows, as Swin has them.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [b, l, heads, d] = scale.pick([128, 200, 2, 64], [3, 37, 2, 20]);
    let of = |name: &str, causal: bool, dropout: f64| {
        let words = if causal { ", causal" } else { "" };
        Example::new(name, format!("{b}x{l}x{d}, {heads} heads{words}"), move |_, x| {
            Ok(vec![x[0].attention(x[1], x[2], x[3], heads, causal, dropout)])
        })
        .f32([b, l, d], UNIT)
        .f32([b, l, d], UNIT)
        .f32([b, l, d], UNIT)
        .u32([b, l], if causal { Fill::Ones } else { Fill::Keep })
        .both(&[0, 1, 2], &["attention backward"])
    };
    let [windows, positions] = scale.pick([512, 49], [6, 9]);
    let sizes = format!("{windows}x{positions}x{d}, {heads} heads");
    let windows =
        Example::new("attention bias", sizes, move |_, x| Ok(vec![x[0].biased_attention(x[1], x[2], x[3], heads)]))
            .f32([windows, positions, d], UNIT)
            .f32([windows, positions, d], UNIT)
            .f32([windows, positions, d], UNIT)
            .f32([windows / 2, heads, positions, positions], UNIT);
    [of("attention", true, 0.0), of("attention dropout", false, 0.2), vec![windows]].concat()
}
