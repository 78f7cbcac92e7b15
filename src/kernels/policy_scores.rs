//! Scores of items by the interest that a policy chooses for each: RDRSR's prediction, after its roll-out (equations 9, 11, 12, 25).

use super::example::{Example, Fill, Scale, UNIT};
use super::fast::{self, wide};
use super::launch::{WORKGROUP, turns_of};
use super::parallel::par_rows;
use super::real::Real;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes};
use crate::error::{Error, Result};
use crate::tensor::{Shape, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// Inputs: products of a row's interests with items \[R, K, N\]; values \[R, K, W\], what each interest gives to the policy; own, what an
/// item gives to it, \[N, W\] for all rows or \[R, N, W\]; weight \[W, K\] and bias \[K\]; offset \[R, K\]; used \[R, K\], 1 where a row has
/// the interest and 0 where not: a factor of its share.
///
/// With alpha = softmax_k(products) among the interests that a row has, an item's interest is the first largest of
/// ReLU(sum_k alpha_k values_k + own) weight + bias among these.
/// Output: score \[R, N\], the product of that interest plus its offset; NaN where the policy has no
/// numbers to choose by, 0 where a row has no interests. No gradient.
#[derive(Debug, Clone, Copy)]
pub struct PolicyScores;

/// As [`PolicyScores`], the number of the interest of each item, \[R, N\]; K where a row has none.
#[derive(Debug, Clone, Copy)]
pub struct PolicyChoice;

#[derive(Clone, Copy)]
struct Dims {
    rows: usize,
    interests: usize,
    items: usize,
    width: usize,
    /// Each row has items of its own.
    own: bool,
}

impl Dims {
    fn of(products: &Shape, values: &Shape, own: &Shape) -> Dims {
        let [rows, interests, items] = [0, 1, 2].map(|axis| products[axis]);
        Dims { rows, interests, items, width: values[2], own: own.len() == 3 }
    }

    fn flops(&self) -> u64 {
        (self.rows * self.items * (self.width * (4 * self.interests + 2) + 5 * self.interests)) as u64
    }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    n: u32,
    w: u32,
}

fn operands() -> Operands {
    let operands =
        Operands::new().f32("products", "r k n").f32("values", "r k w").f32("own", ".. n w").f32("weight", "w k");
    operands.f32("bias", "k").f32("offset", "r k").f32("used", "r k")
}

fn check(x: &Inputs) -> Result<()> {
    let [r, k, n, w] = ["r", "k", "n", "w"].map(|axis| x.extent(axis));
    let own = x.shape("own");
    match own.len() {
        _ if k * w == 0 => x.fail("no interests to choose from"),
        2 => Ok(()),
        3 if own[0] == r => Ok(()),
        _ => x.fail(format!("own must be [{n}, {w}], the same for all rows, or [{r}, {n}, {w}]")),
    }
}

/// The interest of item `i` of row `r`, and its score.
fn best<T: Real>(a: &Args<T>, d: &Dims, r: usize, i: usize) -> (usize, T) {
    let [products, values, own] = ["products", "values", "own"].map(|name| a.f(name));
    let [weight, bias, offset, used] = ["weight", "bias", "offset", "used"].map(|name| a.f(name));
    let Dims { interests: k, items: n, width: w, .. } = *d;
    let product = |j: usize| products[(r * k + j) * n + i];
    let has: Vec<usize> = (0..k).filter(|&j| used[r * k + j] != T::ZERO).collect();
    let mut most = T::of(f64::NEG_INFINITY);
    has.iter().for_each(|&j| most = most.max(product(j)));
    let shares: Vec<T> = has.iter().map(|&j| (product(j) - most).exp() * used[r * k + j]).collect();
    let total: T = shares.iter().copied().sum();
    let hidden = |l: usize| {
        let mut y = own[((if d.own { r * n } else { 0 }) + i) * w + l];
        for (&j, &share) in has.iter().zip(&shares) {
            y += share / total * values[(r * k + j) * w + l];
        }
        if y < T::ZERO { T::ZERO } else { y }
    };
    let hidden: Vec<T> = (0..w).map(hidden).collect();
    let mut best: Option<(usize, T)> = None;
    let mut known = true;
    for &j in &has {
        let logit: T = bias[j] + (0..w).map(|l| hidden[l] * weight[l * k + j]).sum();
        known &= !logit.is_nan();
        if best.is_none_or(|(_, other)| logit > other) {
            best = Some((j, logit));
        }
    }
    match best {
        None => (k, T::ZERO),
        Some((j, _)) => (j, if known { product(j) + offset[r * k + j] } else { T::of(f64::NAN) }),
    }
}

impl PolicyScores {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let d = Dims::of(a.shape("products"), a.shape("values"), a.shape("own"));
        par_rows(a.out("score"), d.items, d.flops() as usize / d.rows.max(1), |r, score| {
            score.iter_mut().enumerate().for_each(|(i, score)| *score = best(a, &d, r, i).1);
        });
    }
}

impl PolicyChoice {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let d = Dims::of(a.shape("products"), a.shape("values"), a.shape("own"));
        par_rows(a.out_u("choice"), d.items, d.flops() as usize / d.rows.max(1), |r, choice| {
            choice.iter_mut().enumerate().for_each(|(i, choice)| *choice = best(a, &d, r, i).0 as u32);
        });
    }
}

/// One invocation a score.
fn launch(entry: &'static str, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
    let d = Dims::of(s.input("products"), s.input("values"), s.input("own"));
    let bytes = 8 * WORKGROUP * d.interests;
    if bytes > caps.workgroup_bytes as usize {
        return Err(Error::Device(format!(
            "policy scores: {} interests take {bytes} bytes of workgroup memory and this adapter has {}; lower model.interests \
             or use --device cpu",
            d.interests, caps.workgroup_bytes
        )));
    }
    let [rows, n, w] = [d.rows, d.items, d.width].map(|n| n as u32);
    let launch = Launch::of("policy_scores", entry).params(Params { rows, n, w });
    let launch = launch.constant("K", d.interests as u32).constant("OWN", d.own as u32);
    let by_interest = turns_of(d.interests, 0);
    let launch = launch.turns(5 * by_interest + turns_of(d.width, 2 * by_interest));
    Ok(vec![launch.threads(d.rows * d.items, caps)?])
}

/// Items that the fast form takes side by side.
const LANES: usize = 16;

/// What [`PolicyScores`] reads of one row, and of the parameters.
struct Row<'a> {
    /// \[K, N\].
    products: &'a [f32],
    /// \[K, W\].
    values: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    offset: &'a [f32],
    used: &'a [f32],
}

impl Row<'_> {
    /// Scores of the items `first ..`, [`LANES`] at most; `panel` \[W, `LANES`\] is what they give to the policy.
    #[inline(always)]
    fn score(&self, first: usize, panel: &[f32], score: &mut [f32], work: &mut Work) {
        let (k, n) = (self.bias.len(), self.products.len() / self.bias.len());
        let mut most = [f32::MASKED; LANES];
        for j in 0..k {
            let product = &mut work.products[j];
            // Lanes past the end hold the last item's.
            product.iter_mut().enumerate().for_each(|(i, x)| *x = self.products[j * n + (first + i).min(n - 1)]);
            if self.used[j] != 0.0 {
                most.iter_mut().zip(&*product).for_each(|(m, &x)| *m = if x > *m { x } else { *m });
            }
        }
        let mut total = [0.0; LANES];
        for ((share, product), &used) in work.shares.iter_mut().zip(&work.products).zip(self.used) {
            for (((share, x), most), total) in share.iter_mut().zip(product).zip(&most).zip(&mut total) {
                *share = if used != 0.0 { fast::exp_term(x - most) * used } else { 0.0 };
                *total += *share;
            }
        }
        for share in &mut work.shares {
            share.iter_mut().zip(&total).for_each(|(share, total)| *share /= total);
        }
        work.logits.iter_mut().zip(self.bias).for_each(|(logits, &bias)| *logits = [bias; LANES]);
        let w = panel.len() / LANES;
        for (l, own) in panel.chunks_exact(LANES).enumerate() {
            let mut y: [f32; LANES] = own.try_into().expect("as many lanes");
            for (j, share) in work.shares.iter().enumerate() {
                let value = self.values[j * w + l];
                y.iter_mut().zip(share).for_each(|(y, share)| *y += value * share);
            }
            y.iter_mut().for_each(|y| *y = if *y < 0.0 { 0.0 } else { *y });
            for (logits, &weight) in work.logits.iter_mut().zip(&self.weight[l * k..]) {
                logits.iter_mut().zip(&y).for_each(|(logit, y)| *logit += y * weight);
            }
        }
        for (i, score) in score.iter_mut().enumerate() {
            let mut best = k;
            let mut known = true;
            for j in (0..k).filter(|&j| self.used[j] != 0.0) {
                let logit = work.logits[j][i];
                known &= !logit.is_nan();
                if best == k || logit > work.logits[best][i] {
                    best = j;
                }
            }
            *score = match best {
                best if best == k => 0.0,
                best if known => work.products[best][i] + self.offset[best],
                _ => f32::NAN,
            };
        }
    }
}

/// What [`Row::score`] makes on its way, for each interest.
struct Work {
    products: Vec<[f32; LANES]>,
    shares: Vec<[f32; LANES]>,
    logits: Vec<[f32; LANES]>,
}

impl Op for PolicyScores {
    fn name(&self) -> &'static str {
        "policy scores"
    }

    fn operands(&self) -> Operands {
        operands().out_f32("score", "r n")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        check(x)?;
        Ok(x.declared())
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::none())
    }

    twin!();

    /// Sixteen items side by side, of which what they give to the policy is turned once for all rows that share them.
    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let [products, values, own] = ["products", "values", "own"].map(|name| a.f(name));
        let [weight, bias, offset, used] = ["weight", "bias", "offset", "used"].map(|name| a.f(name));
        let d = Dims::of(a.shape("products"), a.shape("values"), a.shape("own"));
        let Dims { interests: k, items: n, width: w, .. } = d;
        if n == 0 {
            return true;
        }
        // [W, LANES] of each sixteen items, zeros past the end.
        let panels_of = |items: &[f32]| {
            let mut panels = vec![0.0; n.div_ceil(LANES) * w * LANES];
            for (items, panel) in items.chunks(LANES * w).zip(panels.chunks_exact_mut(LANES * w)) {
                for (i, item) in items.chunks_exact(w).enumerate() {
                    panel[i..].iter_mut().step_by(LANES).zip(item).for_each(|(y, x)| *y = *x);
                }
            }
            panels
        };
        let shared = if d.own { vec![] } else { panels_of(own) };
        par_rows(a.out("score"), n, d.flops() as usize / d.rows.max(1), |r, score| {
            let listed = if d.own { panels_of(&own[r * n * w..][..n * w]) } else { vec![] };
            let panels = if d.own { &listed } else { &shared };
            let row = Row {
                products: &products[r * k * n..][..k * n],
                values: &values[r * k * w..][..k * w],
                weight,
                bias,
                offset: &offset[r * k..][..k],
                used: &used[r * k..][..k],
            };
            let none = || vec![[0.0; LANES]; k];
            let mut work = Work { products: none(), shares: none(), logits: none() };
            wide(
                #[inline(always)]
                || {
                    for (i, score) in score.chunks_mut(LANES).enumerate() {
                        row.score(i * LANES, &panels[i * LANES * w..][..LANES * w], score, &mut work);
                    }
                },
            );
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        launch("score_items", s, caps)
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: Dims::of(s.input("products"), s.input("values"), s.input("own")).flops() }
    }
}

impl Op for PolicyChoice {
    fn name(&self) -> &'static str {
        "policy choice"
    }

    fn operands(&self) -> Operands {
        operands().out_u32("choice", "r n")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        check(x)?;
        Ok(x.declared())
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::none())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        launch("choose", s, caps)
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: Dims::of(s.input("products"), s.input("values"), s.input("own")).flops() }
    }
}

/// A batch of users of four interests and the items of a tile, and each user's own items.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [r, n, w, listed] = scale.pick([256, 3706, 64, 101], [13, 70, 50, 9]);
    let k = scale.pick(4, 3);
    let of = |name: &str, own: Vec<usize>| {
        let n = own[own.len() - 2];
        let scores = Example::new(name, format!("{r}x{k}x{w}x{n}"), |g, x| Ok(vec![g.push(PolicyScores, x)]));
        let scores = scores.f32([r, k, n], UNIT).f32([r, k, w], UNIT).of(Spec::f32(own), UNIT).f32([w, k], UNIT);
        scores.f32([k], UNIT).f32([r, k], UNIT).f32([r, k], Fill::Ones)
    };
    vec![of("policy scores", vec![n, w]), of("policy scores of own items", vec![r, listed, w])]
}
