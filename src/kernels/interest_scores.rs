//! Scores of rows with several interests: the largest product of an item with each of them. The products \[rows, interests, items\]
//! are never stored.

use super::example::{Example, Scale, UNIT};
use super::fast::wide;
use super::launch::turns_of;
use super::matmul::dot;
use super::panel::{Product, Update};
use super::parallel::par_rows;
use super::real::Real;
use super::strided::transpose;
use super::sums::{COLUMNS, Rows};
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::tensor::{Shape, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// Inputs interests \[R, K, d\] and items, \[W, d\] for all rows or \[R, W, d\], each row's own. Output y \[R, W\]: the largest of the
/// products of a row's K interests with an item; NaN where one of them is. Its gradient goes to the first interest that gives it.
#[derive(Debug, Clone, Copy)]
pub struct InterestScores;

/// As [`InterestScores`], the number of the interest that gives each score, \[R, W\]: the first of several, and K where the score is
/// NaN.
#[derive(Debug, Clone, Copy)]
pub struct InterestChoice;

/// The gradients of [`InterestScores`] by interests and items, from the [`InterestChoice`] and dy \[R, W\]. A score that is NaN
/// gives NaN to all interests of its row.
#[derive(Debug, Clone, Copy)]
pub struct InterestScoresBackward;

struct Dims {
    rows: usize,
    interests: usize,
    items: usize,
    d: usize,
    /// Each row has items of its own.
    own: bool,
}

impl Dims {
    fn of(interests: &Shape, items: &Shape) -> Dims {
        let [rows, k, d] = [0, 1, 2].map(|axis| interests[axis]);
        Dims { rows, interests: k, items: items[items.len() - 2], d, own: items.len() == 3 }
    }

    /// The interests of a row, \[K, d\].
    fn of_row<'a, T>(&self, interests: &'a [T], row: usize) -> &'a [T] {
        let each = self.interests * self.d;
        &interests[row * each..][..each]
    }

    /// The item of a score.
    fn item<'a, T>(&self, items: &'a [T], row: usize, column: usize) -> &'a [T] {
        let number = if self.own { row * self.items + column } else { column };
        &items[number * self.d..][..self.d]
    }

    fn flops(&self) -> u64 {
        2 * (self.rows * self.interests * self.items * self.d) as u64
    }
}

fn operands() -> Operands {
    Operands::new().f32("interests", "r k d").f32("items", ".. w d")
}

fn check(x: &Inputs) -> Result<()> {
    let [rows, k, d] = ["r", "k", "d"].map(|axis| x.extent(axis));
    let items = x.shape("items");
    match items.len() {
        _ if k * d == 0 => x.fail("no interests to choose from"),
        2 => Ok(()),
        3 if items[0] == rows => Ok(()),
        _ => x.fail(format!("items must be [W, {d}], the same for all rows, or [{rows}, W, {d}]")),
    }
}

/// The largest product of the `interests` \[K, d\] with `item` \[d\], and the number of the first that gives it; NaN and K where
/// a product is NaN.
#[inline(always)]
pub(super) fn largest<T: Real>(interests: &[T], item: &[T]) -> (T, usize) {
    let each = || interests.chunks_exact(item.len());
    let mut best = (T::ZERO, 0);
    for (k, interest) in each().enumerate() {
        let score = dot(interest, item);
        if score.is_nan() {
            return (score, each().len());
        }
        if k == 0 || score > best.0 {
            best = (score, k);
        }
    }
    best
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    k: u32,
    w: u32,
    d: u32,
    begin: u32,
    end: u32,
}

/// Invocations along a side of a tile of scores, each with 4 x 4 of them: None where the scores fill no tile.
fn side(d: &Dims) -> Option<usize> {
    // Workgroups of the larger tile that keep a large GPU busy.
    const BUSY: usize = 256;
    let fills = |side: usize| !d.own && d.rows.min(d.items) >= 4 * side;
    let busy = || d.rows.div_ceil(64) * d.items.div_ceil(64) >= BUSY;
    match () {
        _ if fills(16) && busy() => Some(16),
        _ if fills(4) => Some(8),
        _ => None,
    }
}

/// A launch that adds the terms `begin .. end` of sums, where it has any.
fn launch(entry: &'static str, dims: &Dims, [begin, end]: [usize; 2]) -> Launch {
    let [rows, k, w, d] = [dims.rows, dims.interests, dims.items, dims.d].map(|n| n as u32);
    Launch::of("interest_scores", entry)
        .params(Params { rows, k, w, d, begin: begin as u32, end: end as u32 })
        .constant("OWN", dims.own as u32)
        .constant("SIDE", side(dims).unwrap_or(8) as u32)
}

/// One invocation a score.
fn each_score(entry: &'static str, d: &Dims, caps: &Caps) -> Result<Launch> {
    launch(entry, d, [0; 2]).turns(turns_of(d.interests, turns_of(d.d, 0))).threads(d.rows * d.items, caps)
}

/// Sums of `terms` terms for each of `n` elements, in launches of a bounded number of turns.
fn sums(entry: &'static str, d: &Dims, terms: usize, n: usize, caps: &Caps) -> Result<Vec<Launch>> {
    const AT_ONCE: usize = 8192;
    let bounds = (0..terms.max(1)).step_by(AT_ONCE).map(|begin| [begin, terms.min(begin + AT_ONCE)]);
    bounds.map(|of| launch(entry, d, of).turns(turns_of(of[1] - of[0], 0)).threads(n, caps)).collect()
}

impl InterestScores {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (interests, items) = (a.f("interests"), a.f("items"));
        let d = Dims::of(a.shape("interests"), a.shape("items"));
        par_rows(a.out("y"), d.items, d.flops() as usize / d.rows.max(1), |row, y| {
            wide(
                #[inline(always)]
                || {
                    for (column, y) in y.iter_mut().enumerate() {
                        *y = largest(d.of_row(interests, row), d.item(items, row, column)).0;
                    }
                },
            );
        });
    }
}

impl Op for InterestScores {
    fn name(&self) -> &'static str {
        "interest scores"
    }

    fn operands(&self) -> Operands {
        operands().out_f32("y", "r w")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        check(x)?;
        Ok(x.declared())
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let (interests, items) = (node.input("interests"), node.input("items"));
        let g = interests.graph();
        let choice = g.push(InterestChoice, &[interests, items]);
        let dx = g.try_push(InterestScoresBackward, &[interests, items, choice, node.dy("y")])?;
        Ok(Grads::to([("interests", dx[0]), ("items", dx[1])]))
    }

    twin!();

    /// Items that all rows share, in panels that a cache holds: each is multiplied by one interest of a block of rows after the
    /// other, and the largest products so far stay in the cache too.
    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        const ROWS: usize = 48;
        const ITEMS: usize = 64;
        const PACKED: usize = 16 * ITEMS;
        let Dims { interests: k, items: w, d, own, .. } = Dims::of(a.shape("interests"), a.shape("items"));
        if own {
            return false;
        }
        let (interests, items, y) = (a.f("interests"), a.f("items"), a.out("y"));
        let mut panels = vec![0.0; PACKED.min(w) * d]; // [d, ITEMS] each
        for (first, items) in items.chunks(PACKED * d).enumerate().map(|(i, items)| (i * PACKED, items)) {
            let panels = &mut panels[..items.len()];
            par_rows(panels, ITEMS * d, ITEMS * d, |i, panel| {
                transpose(&items[i * ITEMS * d..], d, panel, panel.len() / d);
            });
            par_rows(y, ROWS * w, ROWS * items.len() * k / 8, |block, y| {
                let mut best = [0.0; ROWS * ITEMS];
                for (i, panel) in panels.chunks(ITEMS * d).enumerate() {
                    let (m, n) = (y.len() / w, panel.len() / d);
                    for of in 0..k {
                        let update = if of == 0 { Update::Write } else { Update::Max };
                        let a = &interests[(block * ROWS * k + of) * d..];
                        let (a_strides, c) = ([k * d, 1], &mut best);
                        Product { extents: [m, n, d], a, a_strides, b: panel, b_row: n, c, c_row: ITEMS, update }.run();
                    }
                    for (y, best) in y.chunks_mut(w).zip(best.chunks(ITEMS)) {
                        y[first + i * ITEMS..][..n].copy_from_slice(&best[..n]);
                    }
                }
            });
        }
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let d = Dims::of(s.input("interests"), s.input("items"));
        let Some(side) = side(&d) else { return Ok(vec![each_score("simple", &d, caps)?]) };
        // In a step of 16 elements the copies of an invocation, quads of interests and items, and its products.
        let copies = turns_of(16_usize.div_ceil(side), 0);
        let turns = turns_of(d.d.div_ceil(16), copies + turns_of(16, 0));
        let tiles = d.rows.div_ceil(4 * side) * d.items.div_ceil(4 * side);
        let tiled = launch("tiled", &d, [0; 2]).turns(turns_of(d.interests, turns) + turns_of(4, turns_of(4, 0)));
        Ok(vec![tiled.groups(tiles, side * side, caps)?])
    }

    /// Into rows with items of their own: those that all rows share are packed once for all of them.
    fn split(&self, s: &Shapes) -> Option<Split> {
        let own = s.input("items").len() == 3;
        own.then(|| s.rows(s.input("interests")[0], ["interests", "items"])).flatten()
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: Dims::of(s.input("interests"), s.input("items")).flops() }
    }
}

impl InterestChoice {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (interests, items) = (a.f("interests"), a.f("items"));
        let d = Dims::of(a.shape("interests"), a.shape("items"));
        par_rows(a.out_u("choice"), d.items, d.flops() as usize / d.rows.max(1), |row, choice| {
            wide(
                #[inline(always)]
                || {
                    for (column, choice) in choice.iter_mut().enumerate() {
                        *choice = largest(d.of_row(interests, row), d.item(items, row, column)).1 as u32;
                    }
                },
            );
        });
    }
}

impl Op for InterestChoice {
    fn name(&self) -> &'static str {
        "interest choice"
    }

    fn operands(&self) -> Operands {
        operands().out_u32("choice", "r w")
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
        Ok(vec![each_score("choose", &Dims::of(s.input("interests"), s.input("items")), caps)?])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: Dims::of(s.input("interests"), s.input("items")).flops() }
    }
}

/// y \[d\] = the sum of rows \[d\], each times a factor.
#[inline(always)]
fn weighted_sum<'a, T: Real>(y: &mut [T], terms: impl Iterator<Item = (T, &'a [T])> + Clone) {
    for (block, y) in y.chunks_mut(COLUMNS).enumerate() {
        let mut sums = Rows::default();
        let mut term = [T::ZERO; COLUMNS];
        for (factor, row) in terms.clone() {
            let row = &row[block * COLUMNS..][..y.len()];
            term.iter_mut().zip(row).for_each(|(term, &x)| *term = factor * x);
            sums.add(&term[..y.len()]);
        }
        sums.total(y);
    }
}

impl InterestScoresBackward {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (interests, items, choice, dy) = (a.f("interests"), a.f("items"), a.u("given_choice"), a.f("dy"));
        let d = Dims::of(a.shape("interests"), a.shape("items"));
        let is_nan = |e: usize| choice[e] as usize == d.interests;
        let gradient = |e: usize| if is_nan(e) { T::of(f64::NAN) } else { dy[e] };
        // The interest that score e came from.
        let chosen = |row: usize, e: usize| {
            let k = (choice[e] as usize).min(d.interests - 1);
            &d.of_row(interests, row)[k * d.d..][..d.d]
        };
        par_rows(a.out("dinterests"), d.d, d.items * (1 + d.d / d.interests), |at, dx| {
            let (row, k) = (at / d.interests, at % d.interests);
            wide(
                #[inline(always)]
                || {
                    let scores = (0..d.items).map(|column| (column, row * d.items + column));
                    let own = scores.filter(|&(_, e)| choice[e] as usize == k || is_nan(e));
                    weighted_sum(dx, own.map(|(column, e)| (gradient(e), d.item(items, row, column))));
                },
            );
        });
        par_rows(a.out("ditems"), d.d, d.d * if d.own { 1 } else { d.rows }, |at, dx| {
            let (rows, column) = if d.own { (at / d.items..at / d.items + 1, at % d.items) } else { (0..d.rows, at) };
            wide(
                #[inline(always)]
                || {
                    let scores = rows.clone().map(|row| (row, row * d.items + column));
                    weighted_sum(dx, scores.map(|(row, e)| (gradient(e), chosen(row, e))));
                },
            );
        });
    }
}

impl Op for InterestScoresBackward {
    fn name(&self) -> &'static str {
        "interest scores backward"
    }

    fn operands(&self) -> Operands {
        let inputs = operands().u32("given_choice", "r w").f32("dy", "r w");
        inputs.out_f32("dinterests", "r k d").out_f32("ditems", ".. w d")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        check(x)?;
        Ok(x.declared())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let d = Dims::of(s.input("interests"), s.input("items"));
        let to_interests = sums("to_interests", &d, d.items, d.rows * d.interests * d.d, caps)?;
        let to_items = match d.own {
            true => vec![launch("to_own_items", &d, [0; 2]).threads(d.rows * d.items * d.d, caps)?],
            false => sums("to_items", &d, d.rows, d.items * d.d, caps)?,
        };
        Ok([to_interests, to_items].concat())
    }

    /// A product and a sum for each element of either gradient.
    fn cost(&self, s: &Shapes) -> Cost {
        let d = Dims::of(s.input("interests"), s.input("items"));
        Cost { bytes: s.bytes(), flops: 4 * (d.rows * d.items * d.d) as u64 }
    }
}

/// A batch of users and the items of a tile: of one interest, which is a plain product, and of four; each user's own items; and the
/// gradients of both.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [users, items, listed, d] = scale.pick([256, 3706, 101, 64], [19, 70, 14, 50]);
    let (all, own) = (vec![items, d], vec![users, listed, d]);
    let sizes = |k: usize, shape: &[usize]| format!("{users}x{k}x{d}x{}", shape[shape.len() - 2]);
    let with =
        |example: Example, k: usize, shape: &[usize]| example.f32([users, k, d], UNIT).of(Spec::f32(shape), UNIT);
    let scores = |name: &str, k: usize, shape: &[usize]| {
        with(Example::new(name, sizes(k, shape), |_, x| Ok(vec![x[0].interest_scores(x[1])])), k, shape)
    };
    // Not as the gradient of a node: it has no value where two interests are equally good.
    let backward = |name: &str, shape: &[usize]| {
        let gradients = Example::new(format!("{name} backward"), sizes(4, shape), |g, x| {
            let choice = g.push(InterestChoice, &x[..2]);
            g.try_push(InterestScoresBackward, &[x[0], x[1], choice, x[2]])
        });
        with(gradients, 4, shape).f32([users, shape[shape.len() - 2]], UNIT)
    };
    let (name, of_own) = ("interest scores", "interest scores of own items");
    vec![
        scores(name, 1, &all),
        scores(name, 4, &all),
        backward(name, &all),
        scores(of_own, 4, &own),
        backward(of_own, &own),
    ]
}
