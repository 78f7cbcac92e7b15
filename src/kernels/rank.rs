//! Ranking for evaluation: how many items score above and equal to the target, and the k best. Both walk the
//! catalogue tile by tile; `ids` names the items of a tile (0: no item), `exclude` the items that do not compete.

use super::args::{Args, rows, rows2};
use super::launch::{SEARCH, TREE, lanes, turns_of};
use super::real::Real;
use super::{Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes};
use crate::error::Result;
use crate::tensor::{DType, Shape, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// Item of column `c` for row `b`, where `ids` is \[W\] for all rows or \[B, W\].
fn id_at(ids: &[u32], shape: &Shape, b: usize, c: usize) -> u32 {
    ids[if shape.len() == 1 { c } else { b * shape[1] + c }]
}

/// The items of a tile that is the same for all rows and ascends, without the fill at its end.
fn ascending<'a>(ids: &'a [u32], shape: &Shape) -> Option<&'a [u32]> {
    let filled = ids.iter().position(|&id| id == 0).unwrap_or(ids.len());
    let (tile, fill) = ids.split_at(filled);
    let ascends = shape.len() == 1 && tile.is_sorted_by(|a, b| a < b) && fill.iter().all(|&id| id == 0);
    ascends.then_some(tile)
}

fn excluded<'a>(offsets: &[u32], items: &'a [u32], b: usize) -> &'a [u32] {
    &items[offsets[b] as usize..offsets[b + 1] as usize]
}

fn check_ids(x: &Inputs, scores: usize, ids: usize) -> Result<()> {
    x.rank(scores, 2)?;
    x.dtype(ids, DType::U32)?;
    let (s, i) = (x.shape(scores), x.shape(ids));
    if i[..] == s[1..] || i == s { Ok(()) } else { x.fail("ids must be one for each column, or each score") }
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    rows: u32,
    w: u32,
    ids_row: u32,
    k: u32,
    /// Rounds of a launch, of the k that find the best.
    begin: u32,
    end: u32,
}

/// One workgroup a row of the scores. For each of `k` a round, as many in a launch as its loops may take turns.
fn launch(entry: &'static str, s: &Shapes, k: usize, caps: &Caps) -> Result<Vec<Launch>> {
    let (rows, w) = (s.input(0)[0], s.input(0)[1]);
    let ids_row = if s.input(1).len() == 1 { 0 } else { w };
    let size = lanes(w, caps);
    // A lane's columns, each with a search among the excluded, and a tree.
    let turns = 1 + turns_of((k + w).div_ceil(size), SEARCH) + TREE;
    let at_once = ((caps.max_turns - 1) / turns as u64).clamp(1, k.max(1) as u64) as usize;
    let launch = |begin: usize| {
        let end = k.min(begin + at_once);
        let launch = Launch::of("rank", entry).turns(turns * (end - begin).max(1) + 1).groups(rows, size, caps)?;
        let [rows, w, ids_row, k, begin, end] = [rows, w, ids_row, k, begin, end].map(|n| n as u32);
        Ok(launch.params(Params { rows, w, ids_row, k, begin, end }))
    };
    (0..k.max(1)).step_by(at_once).map(launch).collect()
}

/// Inputs scores \[B, W\], ids \[W\] or \[B, W\], target \[B\]: the score of the target where it is in the tile, else 0.
#[derive(Debug, Clone, Copy)]
pub struct Pick;

impl Pick {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (scores, ids, target) = (a.f(0), a.u(1), a.u(2));
        let w = a.shape(0)[1];
        rows(a.out(0), 1, w, |b, y| {
            let found = (0..w).find(|&c| id_at(ids, a.shape(1), b, c) == target[b]);
            y[0] = found.map_or(T::ZERO, |c| scores[b * w + c]);
        });
    }
}

impl Op for Pick {
    fn name(&self) -> &'static str {
        "pick"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(3)?;
        check_ids(x, 0, 1)?;
        x.is_shape(2, &[x.shape(0)[0]])?;
        Ok(Outputs::one(Spec::f32([x.shape(0)[0]])))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        launch("pick", s, 0, caps)
    }

    /// Of the scores, one a row.
    fn cost(&self, s: &Shapes) -> Cost {
        let ids = s.inputs[1].bytes() + s.inputs[2].bytes();
        Cost { bytes: (ids + 2 * s.outputs[0].bytes()) as u64, flops: 0 }
    }

    fn operands(&self) -> Operands {
        Operands { inputs: &["scores", "ids", "wanted"], outputs: &["y"], scratch: &[] }
    }
}

/// Inputs scores \[B, W\], ids \[W\] or \[B, W\], target_score \[B\], exclude_offsets \[B + 1\], exclude_items (ascending in each
/// row). Output counts \[B, 4\]: how many items of the tile that compete score above the target, and how many as much as it;
/// then the same of the excluded items, so that one pass ranks with and without them. Padding is never counted. The target
/// itself must be among the excluded, where it is level with itself. Where a score is not finite, the target's or an item's,
/// there is no rank but [`Rank::NOT_FINITE`], the lowest such item (0 for the target), 0 and 0.
#[derive(Debug, Clone, Copy)]
pub struct Rank;

impl Rank {
    /// Columns of the counts.
    pub const COUNTS: usize = 4;
    /// More items than any catalogue has.
    pub const NOT_FINITE: u32 = u32::MAX;

    fn twin<T: Real>(&self, a: &Args<T>) {
        let (scores, ids, target, offsets, items) = (a.f(0), a.u(1), a.f(2), a.u(3), a.u(4));
        let w = a.shape(0)[1];
        let tile = ascending(ids, a.shape(1));
        rows(a.out_u(0), Rank::COUNTS, w, |b, counts| {
            let (row, bar, out) = (&scores[b * w..][..w], target[b], excluded(offsets, items, b));
            let id = |c: usize| id_at(ids, a.shape(1), b, c);
            let (found, broken) = match tile {
                Some(tile) => in_tile(&row[..tile.len()], bar, tile, out),
                None => one_by_one(row, bar, id, out),
            };
            let lowest = || (0..w).filter(|&c| id(c) != 0 && !row[c].is_finite()).map(id).min();
            let item = if bar.is_finite() { broken.then(lowest).flatten() } else { Some(0) };
            counts.copy_from_slice(&item.map_or(found, |item| [Rank::NOT_FINITE, item, 0, 0]));
        });
    }
}

/// [`Rank`]'s counts of a row whose items ascend, and whether a score is not finite: all are counted without a branch, and the
/// excluded ones, far fewer, taken out after.
fn in_tile<T: Real>(row: &[T], bar: T, tile: &[u32], out: &[u32]) -> ([u32; Rank::COUNTS], bool) {
    let (mut below, mut level, mut broken) = (0, 0, 0);
    for &s in row {
        below += u32::from(s < bar);
        level += u32::from(s == bar);
        broken += u32::from(!s.is_finite());
    }
    // Of items one after the other, as they mostly are, each one's column is known; else it is looked for.
    let first = tile.first().copied().unwrap_or(0);
    let gapless = tile.last().is_some_and(|last| (last - first) as usize + 1 == tile.len());
    let (mut out_above, mut out_level) = (0, 0);
    let mut from = 0;
    for (i, id) in out.iter().enumerate() {
        if i > 0 && out[i - 1] == *id {
            continue;
        }
        from = match gapless {
            true => id.wrapping_sub(first) as usize,
            false => from + tile[from..].partition_point(|x| x < id),
        };
        if tile.get(from) == Some(id) {
            out_above += u32::from(row[from] > bar);
            out_level += u32::from(row[from] == bar);
        }
    }
    let above = tile.len() as u32 - below - level;
    ([above - out_above, level - out_level, out_above, out_level], broken > 0)
}

/// As [`in_tile`], of items in any order: each that scores high enough is looked up among the excluded.
fn one_by_one<T: Real>(row: &[T], bar: T, id: impl Fn(usize) -> u32, out: &[u32]) -> ([u32; Rank::COUNTS], bool) {
    let (mut counts, mut broken) = ([0; Rank::COUNTS], false);
    for (c, &s) in row.iter().enumerate() {
        let finite = s.is_finite();
        if finite && s < bar || id(c) == 0 {
            continue;
        }
        broken |= !finite;
        counts[usize::from(s == bar) + 2 * usize::from(out.binary_search(&id(c)).is_ok())] += 1;
    }
    (counts, broken)
}

impl Op for Rank {
    fn name(&self) -> &'static str {
        "rank"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(5)?;
        check_ids(x, 0, 1)?;
        let b = x.shape(0)[0];
        x.is_shape(2, &[b])?;
        x.is_shape(3, &[b + 1])?;
        x.dtype(3, DType::U32)?;
        x.dtype(4, DType::U32)?;
        Ok(Outputs::one(Spec::u32([b, Rank::COUNTS])))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        launch("rank", s, 0, caps)
    }

    fn operands(&self) -> Operands {
        Operands {
            inputs: &["scores", "ids", "target_score", "exclude_offsets", "exclude_items"],
            outputs: &["counts"],
            scratch: &[],
        }
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.inputs[0].bytes() as u64, flops: s.input(0).elements() as u64 }
    }
}

/// Inputs scores \[B, W\], ids \[W\] or \[B, W\], exclude_offsets \[B + 1\], exclude_items, and the best so far: best_scores
/// \[B, k\] descending, best_ids \[B, k\] (0: none yet). Outputs: the best of those and this tile, equal scores by lower id.
/// A score that is not finite is taken as [`TopK::NOT_FINITE`], above all others: it comes first and is seen.
#[derive(Debug, Clone, Copy)]
pub struct TopK;

impl TopK {
    /// A round over the tile is made for each of k: longer lists are better sorted from the scores.
    pub const MAX_K: usize = 256;
    /// No score of a model that works, and a number that shaders can compare.
    pub const NOT_FINITE: f32 = f32::MAX;

    fn twin<T: Real>(&self, a: &Args<T>) {
        let (scores, ids, offsets, items) = (a.f(0), a.u(1), a.u(2), a.u(3));
        let (w, k) = (a.shape(0)[1], a.shape(4)[1]);
        let (before_scores, before_ids) = (a.f(4), a.u(5));
        rows2((a.out(0), k), (a.out_u(1), k), w * 2, |b, best, best_ids| {
            best.copy_from_slice(&before_scores[b * k..][..k]);
            best_ids.copy_from_slice(&before_ids[b * k..][..k]);
            let out = excluded(offsets, items, b);
            for c in 0..w {
                let (s, id) = (scores[b * w + c], id_at(ids, a.shape(1), b, c));
                let s = if s.is_finite() { s } else { T::of(TopK::NOT_FINITE as f64) };
                let beats = |i: usize| best_ids[i] == 0 || s > best[i] || (s == best[i] && id < best_ids[i]);
                if id == 0 || !beats(k - 1) || out.binary_search(&id).is_ok() {
                    continue;
                }
                let at = (0..k).find(|&i| beats(i)).expect("it beats the last");
                best.copy_within(at..k - 1, at + 1);
                best_ids.copy_within(at..k - 1, at + 1);
                (best[at], best_ids[at]) = (s, id);
            }
        });
    }
}

impl Op for TopK {
    fn name(&self) -> &'static str {
        "top k"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(6)?;
        check_ids(x, 0, 1)?;
        let b = x.shape(0)[0];
        x.is_shape(2, &[b + 1])?;
        x.rank(4, 2)?;
        x.is_shape(5, x.shape(4))?;
        let k = x.shape(4)[1];
        if k == 0 || k > TopK::MAX_K || x.shape(4)[0] != b {
            return x.fail(format!("k must be 1 to {}", TopK::MAX_K));
        }
        Ok(Outputs::many([x.specs[4].clone(), x.specs[5].clone()]))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        launch("top_k", s, s.input(4)[1], caps)
    }

    fn operands(&self) -> Operands {
        Operands {
            inputs: &["scores", "ids", "exclude_offsets", "exclude_items", "best_scores", "best_ids"],
            outputs: &["new_scores", "new_ids"],
            scratch: &[],
        }
    }
}
