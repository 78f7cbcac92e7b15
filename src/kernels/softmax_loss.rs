//! Softmax cross-entropy over the whole catalogue, with its gradients: the logits of [rows x items] never exist.

use super::example::{Example, Fill, Scale, UNIT};
use super::fast::{self, wide};
use super::launch::{TREE, group_size, turns_of};
use super::matmul::{Dims, First, GpuProduct, MatMul};
use super::parallel::par_rows;
use super::real::{Real, product};
use super::sums::{COLUMNS, Rows, add_up, sum_chunks};
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes};
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::tensor::{DType, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

/// Inputs x \[R, d\], table \[n, d\], targets u32 \[R\], weight \[R\] and, if `bias`, bias \[n\]. The classes are the rows
/// `first .. first + classes` of the table. Outputs: the loss, a scalar: the mean of -log softmax(x table^T + bias) at the
/// target, weighted; and its gradients by x, table and bias, which are made on the way, since the logits are at hand then.
/// A row whose target is no class weighs nothing; where all weights are 0, so are the loss and the gradients.
#[derive(Debug, Clone, Copy)]
pub struct SoftmaxLoss {
    pub first: usize,
    pub classes: usize,
    pub bias: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    d: u32,
    items: u32,
    first: u32,
    classes: u32,
    row: u32,
    height: u32,
    column: u32,
    width: u32,
}

/// Rows and classes of the logits that the CPU device holds at once, 8 MiB of them.
const BLOCK: [usize; 2] = [512, 4096];

/// Logits that a GPU holds at once, 16 MiB of them: products of a block keep a large one busy. Classes of a block at most.
const LOGITS: usize = 4 << 20;
const WIDTH: usize = 4096;

/// Rows and classes of a GPU's block.
fn block(rows: usize, classes: usize) -> [usize; 2] {
    let width = classes.min(WIDTH);
    // Whole tiles of a product; an invocation adds up a column.
    let height = (LOGITS / width).min(16_384) / 128 * 128;
    [height.min(rows), width]
}

/// The logits of a block.
const HELD: &str = "block";

fn dims([m, n, k]: [usize; 3]) -> Dims {
    Dims { batch: 1, m, n, k, shared: true }
}

/// The parts that a range of `n` is cut into.
fn parts(n: usize, part: usize) -> impl Iterator<Item = Range<usize>> + Clone {
    (0..n).step_by(part.max(1)).map(move |start| start..n.min(start + part))
}

impl SoftmaxLoss {
    /// Weight of each row in the loss, and their sum (1 where that is 0).
    fn weights<T: Real>(&self, targets: &[u32], weight: &[T]) -> (Vec<T>, T) {
        let classes = self.first..self.first + self.classes;
        let own = |(&t, &w): (&u32, &T)| if classes.contains(&(t as usize)) { w } else { T::ZERO };
        let weights: Vec<T> = targets.iter().zip(weight).map(own).collect();
        let total = sum_chunks(weights.len(), |r| add_up(&weights[r]));
        (weights, if total <= T::ZERO { T::ONE } else { total })
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let (x, table, targets) = (a.f("x"), a.f("table"), a.u("targets"));
        let d = a.shape("x")[1];
        let bias = self.bias.then(|| a.f("bias"));
        let classes = self.first..self.first + self.classes;
        let (weights, total) = self.weights(targets, a.f("weight"));
        let logit = |r: usize, j: usize| {
            let dot: T = (0..d).map(|c| x[r * d + c] * table[j * d + c]).sum();
            dot + bias.map_or(T::ZERO, |b| b[j])
        };
        let mut lse = vec![T::ZERO; targets.len()];
        par_rows(&mut lse, 1, self.classes * d, |r, lse| {
            let l: Vec<T> = classes.clone().map(|j| logit(r, j)).collect();
            let m = l.iter().copied().fold(T::MASKED, T::max);
            lse[0] = m + sum_chunks(l.len(), |r| l[r].iter().map(|&l| (l - m).exp()).sum::<T>()).ln();
        });
        let losses = (0..targets.len()).filter(|&r| weights[r] != T::ZERO);
        let sum: T = losses.map(|r| weights[r] * (lse[r] - logit(r, targets[r] as usize))).sum();
        a.out("loss")[0] = sum / total;
        let p = |r: usize, j: usize| {
            let at_target = if targets[r] as usize == j { T::ONE } else { T::ZERO };
            weights[r] / total * ((logit(r, j) - lse[r]).exp() - at_target)
        };
        par_rows(a.out("dx"), d, self.classes * d, |r, dx| {
            dx.fill(T::ZERO);
            for j in classes.clone().filter(|_| weights[r] != T::ZERO) {
                let p = p(r, j);
                (0..d).for_each(|c| dx[c] += p * table[j * d + c]);
            }
        });
        par_rows(a.out("dtable"), d, targets.len() * d, |j, dt| {
            dt.fill(T::ZERO);
            for r in (0..targets.len()).filter(|&r| classes.contains(&j) && weights[r] != T::ZERO) {
                let p = p(r, j);
                (0..d).for_each(|c| dt[c] += p * x[r * d + c]);
            }
        });
        if self.bias {
            let of_rows = |j: usize| (0..targets.len()).filter(|&r| weights[r] != T::ZERO).map(|r| p(r, j)).sum();
            let db = a.out("dbias");
            db.fill(T::ZERO);
            par_rows(&mut db[classes.clone()], 1, targets.len() * d, |i, db| db[0] = of_rows(self.first + i));
        }
    }
}

/// Log-sum-exp of the logits seen so far of one row: the greatest, and the sum of exp(logit - greatest).
#[derive(Clone, Copy)]
struct Lse(f32, f32);

impl Lse {
    const NONE: Lse = Lse(f32::MASKED, 0.0);

    /// Takes in `logits`, each of which becomes exp(logit - the greatest so far).
    #[inline(always)]
    fn add(&mut self, logits: &mut [f32]) {
        let mut most = [self.0; 16];
        let (blocks, rest) = logits.as_chunks::<16>();
        for block in blocks {
            most.iter_mut().zip(block).for_each(|(m, &l)| *m = if l > *m { l } else { *m });
        }
        let m = most.iter().chain(rest).fold(f32::MASKED, |m, &l| if l > m { l } else { m });
        let mut sums = [0.0f32; 16];
        let (blocks, rest) = logits.as_chunks_mut::<16>();
        for block in blocks {
            for (s, l) in sums.iter_mut().zip(block) {
                *l = fast::exp_term(*l - m);
                *s += *l;
            }
        }
        rest.iter_mut().for_each(|l| *l = fast::exp_term(*l - m));
        let sum = fast::sum_lanes(sums) + rest.iter().sum::<f32>();
        *self = Lse(m, self.1 * (self.0 - m).exp() + sum);
    }

    fn value(self) -> f32 {
        self.0 + self.1.ln()
    }

    /// `logits`, each exp(logit - the greatest of all), to weighted probabilities, minus the weight at the target.
    #[inline(always)]
    fn scale(self, exps: &mut [f32], target: usize, weight: f32) {
        let scale = weight / self.1;
        exps.iter_mut().for_each(|l| *l *= scale);
        if let Some(p) = exps.get_mut(target) {
            *p -= weight;
        }
    }

    /// As `scale`, of logits.
    #[inline(always)]
    fn gradient(self, logits: &mut [f32], target: usize, weight: f32) {
        logits.iter_mut().for_each(|l| *l = fast::exp_term(*l - self.0));
        self.scale(logits, target, weight);
    }
}

/// What is done with a span of the logits. A catalogue of several spans is walked twice: the log-sum-exps of its rows must
/// be known before the gradients begin.
#[derive(Clone, Copy, PartialEq)]
enum Walk {
    Normalise,
    Gradients,
    Both,
}

impl Op for SoftmaxLoss {
    fn name(&self) -> &'static str {
        "softmax loss"
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("x", "rows d")
            .f32("table", "items d")
            .u32("targets", "rows")
            .f32("weight", "rows")
            .f32("bias", "items")
            .when(self.bias)
            .out_f32("loss", "")
            .out_f32("dx", "rows d")
            .out_f32("dtable", "items d")
            .out_f32_when(self.bias, "dbias", "items")
            .scratch(HELD)
            .scratch("partial")
            .scratch("lse")
            .scratch("weight_sum")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let [rows, d, items] = ["rows", "d", "items"].map(|axis| x.extent(axis));
        if d == 0 {
            return x.fail("rows without elements");
        }
        if self.classes == 0 || self.first + self.classes > items {
            return x.fail(format!("{} classes from {} on are not within {items} rows", self.classes, self.first));
        }
        let [height, width] = block(rows, self.classes);
        let sizes = parts(rows, height)
            .flat_map(|rows| parts(self.classes, width).map(move |classes| [rows.len(), classes.len()]));
        // The products of a block: of logits, of dx, of dtable.
        let products = sizes.flat_map(|[m, k]| [[m, k, d], [m, d, k], [k, d, m]]);
        let partial = products.map(|extents| GpuProduct::scratch(dims(extents))).max().unwrap_or(0).max(1);
        let scratch = [vec![height, width], vec![partial], vec![3, rows], vec![1]];
        Ok(scratch.into_iter().fold(x.declared(), |outputs, s| outputs.with_scratch(Spec::f32(s))))
    }

    /// The gradients are outputs already; only the factor by which the loss enters is missing, mostly 1.
    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        if node.grads[1..].iter().any(Option::is_some) {
            return Ok(Grads::not_differentiable());
        }
        let dy = node.dy("loss");
        let of = |output: &'static str, input: &'static str| {
            let y: Var = node.output(output);
            (input, if dy.is_one() { y } else { y * dy })
        };
        let all = [of("dx", "x"), of("dtable", "table")].into_iter().chain(self.bias.then(|| of("dbias", "bias")));
        Ok(Grads::to(all.filter(|(input, _)| node.wants(*input))))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let (x, table, targets) = (a.f("x"), a.f("table"), a.u("targets"));
        let d = a.shape("x")[1];
        let table = &table[self.first * d..][..self.classes * d];
        let bias = self.bias.then(|| &a.f("bias")[self.first..][..self.classes]);
        let (weights, total) = self.weights(targets, a.f("weight"));
        // Rows that weigh nothing (padding) cost nothing.
        let active: Vec<usize> = (0..targets.len()).filter(|&r| weights[r] != 0.0).collect();
        let (dx, dtable) = (a.out("dx"), a.out("dtable"));
        dx.fill(0.0);
        dtable.fill(0.0);
        let mut no_bias = vec![];
        let dbias = if self.bias { &mut a.out("dbias")[..] } else { &mut no_bias };
        dbias.fill(0.0);
        // Rows and classes that a thread takes at once: enough to keep the product busy.
        const ROWS: usize = 32;
        const CLASSES: usize = 128;
        let [block, span] = [BLOCK[0].min(active.len().max(1)), BLOCK[1].min(self.classes)];
        let mut p = vec![0.0f32; block * span];
        let mut packed = vec![0.0f32; block * d];
        let mut gradient = vec![0.0f32; block * d];
        let mut lse = vec![Lse::NONE; block];
        let mut wanted = vec![0.0f32; block];
        let mut loss = 0.0f64;
        for active in active.chunks(block) {
            let m = active.len();
            active.iter().zip(packed.chunks_mut(d)).for_each(|(&r, to)| to.copy_from_slice(&x[r * d..][..d]));
            lse.fill(Lse::NONE);
            let walks: &[Walk] = if self.classes > span { &[Walk::Normalise, Walk::Gradients] } else { &[Walk::Both] };
            let spans = || parts(self.classes, span);
            for (&walk, span) in walks.iter().flat_map(|walk| spans().map(move |span| (walk, span))) {
                let k = span.len();
                let table = &table[span.start * d..][..k * d];
                let bias = bias.map(|bias| &bias[span.clone()]);
                let of_rows = p[..m * k].chunks_mut(ROWS * k).zip(gradient.chunks_mut(ROWS * d));
                let of_rows = of_rows.zip(lse.chunks_mut(ROWS)).zip(wanted.chunks_mut(ROWS));
                let mut of_rows: Vec<_> = of_rows.collect();
                par_rows(&mut of_rows, 1, ROWS * k * d, |t, one| {
                    let (((p, dx), lse), wanted) = &mut one[0];
                    let x = &packed[t * ROWS * d..];
                    let m = p.len() / k;
                    product([m, k, d], p, &x[..m * d], [d, 1], table, [1, d], false);
                    wide(
                        #[inline(always)]
                        || {
                            for (i, logits) in p.chunks_exact_mut(k).enumerate() {
                                let r = active[t * ROWS + i];
                                if let Some(bias) = bias {
                                    logits.iter_mut().zip(bias).for_each(|(l, b)| *l += b);
                                }
                                let target = (targets[r] as usize - self.first).wrapping_sub(span.start);
                                wanted[i] = logits.get(target).copied().unwrap_or(wanted[i]);
                                let weight = weights[r] / total;
                                match walk {
                                    Walk::Normalise => lse[i].add(logits),
                                    Walk::Gradients => lse[i].gradient(logits, target, weight),
                                    Walk::Both => {
                                        lse[i].add(logits);
                                        lse[i].scale(logits, target, weight);
                                    }
                                }
                            }
                        },
                    );
                    if walk != Walk::Normalise {
                        product([m, d, k], &mut dx[..m * d], p, [k, 1], table, [d, 1], span.start > 0);
                    }
                });
                drop(of_rows);
                if walk == Walk::Normalise {
                    continue;
                }
                // The table's gradient by classes, so that each is summed by one thread.
                let (p, packed) = (&p[..m * k], &packed[..m * d]);
                let dtable = &mut dtable[(self.first + span.start) * d..][..k * d];
                par_rows(dtable, CLASSES * d, CLASSES * m * d, |t, dt| {
                    product([dt.len() / d, d, m], dt, &p[t * CLASSES..], [1, k], packed, [d, 1], true);
                });
                if self.bias {
                    par_rows(&mut dbias[self.first + span.start..][..k], COLUMNS, COLUMNS * m, |t, db| {
                        let mut sums = Rows::default();
                        p.chunks_exact(k).for_each(|p| sums.add(&p[t * COLUMNS..][..db.len()]));
                        let mut of_block = [0.0; COLUMNS];
                        sums.total(&mut of_block[..db.len()]);
                        db.iter_mut().zip(&of_block).for_each(|(b, &sum)| *b += sum);
                    });
                }
            }
            for ((&r, lse), wanted) in active.iter().zip(&lse).zip(&wanted) {
                loss += (weights[r] * (lse.value() - wanted)) as f64;
            }
            active.iter().zip(gradient.chunks(d)).for_each(|(&r, from)| dx[r * d..][..d].copy_from_slice(from));
        }
        a.out("loss")[0] = (loss / total as f64) as f32;
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let ([all_rows, d], items) = ([s.input("x")[0], s.input("x")[1]], s.input("table")[0]);
        if items as u64 * d as u64 > u32::MAX as u64 || all_rows as u64 * d as u64 > u32::MAX as u64 {
            return Err(Error::shape("softmax loss", format!("{items} items by {d} are more than an index holds")));
        }
        let [height, width] = block(all_rows, self.classes);
        let launch = |entry, own: &Range<usize>, of: &Range<usize>| {
            let [rows, d, items, first, classes] = [all_rows, d, items, self.first, self.classes].map(|v| v as u32);
            let [row, height, width] = [own.start, own.len(), of.len()].map(|v| v as u32);
            let column = (self.first + of.start) as u32;
            let params = Params { rows, d, items, first, classes, row, height, column, width };
            Launch::of("softmax_loss", entry).params(params)
        };
        let product = |of: MatMul, mnk, first, add, [a, b, y]: [&'static str; 3]| {
            // What the launches themselves hold is f32.
            let is_half = |operand: &'static str| operand != HELD && s.spec(operand).dtype == DType::F16;
            let halves = is_half(a) && is_half(b);
            let product = GpuProduct { of, dims: dims(mnk), first, add, halves, partial: "partial" };
            product.launches(caps, |l| l.bind("a", a).bind("b", b).bind("y", y))
        };
        let (rows, classes) = (0..all_rows, 0..self.classes);
        let size = group_size(all_rows, caps);
        // Once through the rows, or a row, and a tree.
        let of_rows = turns_of(all_rows.div_ceil(size), 0) + TREE;
        let mut launches = vec![launch("weigh", &rows, &classes).turns(of_rows).groups(1, size, caps)?];
        let others = items - self.classes;
        if others > 0 {
            launches.push(launch("clear_table", &rows, &classes).threads(others * d, caps)?);
            if self.bias {
                launches.push(launch("clear_bias", &rows, &classes).threads(others, caps)?);
            }
        }
        let once = self.classes <= width;
        for rows in parts(all_rows, height) {
            let row = rows.start * d;
            let item = |classes: &Range<usize>| (self.first + classes.start) * d;
            let logits = |classes: &Range<usize>| {
                let of = MatMul { bias: self.bias, ..MatMul::new(false, true) };
                let first = First { a: row, b: item(classes), bias: self.first + classes.start, y: 0 };
                product(of, [rows.len(), classes.len(), d], first, false, ["x", "table", HELD])
            };
            for classes in parts(self.classes, width) {
                launches.extend(logits(&classes)?);
                let size = group_size(classes.len(), caps);
                let turns = 2 * (turns_of(classes.len().div_ceil(size), 0) + TREE);
                launches.push(launch("normalise", &rows, &classes).turns(turns).groups(rows.len(), size, caps)?);
            }
            for classes in parts(self.classes, width) {
                if !once {
                    launches.extend(logits(&classes)?);
                }
                let [m, k] = [rows.len(), classes.len()];
                launches.push(launch("gradient", &rows, &classes).threads(m * k, caps)?);
                let first = First { b: item(&classes), y: row, ..First::default() };
                let of = MatMul::new(false, false);
                launches.extend(product(of, [m, d, k], first, classes.start > 0, [HELD, "table", "dx"])?);
                let first = First { b: row, y: item(&classes), ..First::default() };
                let of = MatMul::new(true, false);
                launches.extend(product(of, [k, d, m], first, rows.start > 0, [HELD, "x", "dtable"])?);
                if self.bias {
                    launches.push(launch("bias_gradient", &rows, &classes).turns(turns_of(m, 0)).threads(k, caps)?);
                }
            }
        }
        launches.push(launch("finish", &rows, &classes).turns(of_rows).groups(1, size, caps)?);
        Ok(launches)
    }

    // The gradients are made before any loss scale reaches them.
    fn exact_outputs(&self) -> &[usize] {
        &[0, 1, 2, 3]
    }

    /// Three products of rows, classes and width.
    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: 6 * (s.input("x").elements() * self.classes) as u64 }
    }
}

/// The loss, with the gradients of rows and table, which one kernel makes.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [n, items] = if scale == Scale::Large { [4096, 1_000_000] } else { scale.pick([25_600, 3416], [42, 61]) };
    let (d, op) = (scale.width(), SoftmaxLoss { first: 1, classes: items, bias: false });
    vec![
        Example::new("softmax loss", format!("{n}x{d}x{items}"), move |g, x| g.try_push(op, x))
            .f32([n, d], UNIT)
            .f32([items + 1, d], UNIT)
            .u32([n], Fill::Below(items as u32 + 1))
            .f32([n], Fill::Ones),
    ]
}
