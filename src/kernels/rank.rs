//! Ranking for evaluation: how many items score above and equal to the target, and the k best. Both walk the
//! catalogue tile by tile; `ids` names the items of a tile (0: no item), `exclude` the items that do not compete.

use super::example::{Example, Fill, Scale};
use super::launch::{SEARCH, TREE, group_size, turns_of};
use super::parallel::{par_rows, par_rows2};
use super::real::Real;
use super::{Args, Caps, Cost, Inputs, Launch, Op, Operands, Outputs, Shapes};
use crate::error::Result;
use crate::tensor::Shape;
use crate::tensor::Tensor;
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

fn check_ids(x: &Inputs) -> Result<()> {
    let (s, i) = (x.shape("scores"), x.shape("ids"));
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
    let (rows, w) = (s.input("scores")[0], s.input("scores")[1]);
    let ids_row = if s.input("ids").len() == 1 { 0 } else { w };
    let size = group_size(w, caps);
    // An invocation's columns, each with a search among the excluded, and a tree.
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
        let (scores, ids, target) = (a.f("scores"), a.u("ids"), a.u("wanted"));
        let (w, of_ids) = (a.shape("scores")[1], a.shape("ids"));
        par_rows(a.out("y"), 1, w, |b, y| {
            let found = (0..w).find(|&c| id_at(ids, of_ids, b, c) == target[b]);
            y[0] = found.map_or(T::ZERO, |c| scores[b * w + c]);
        });
    }
}

impl Op for Pick {
    fn name(&self) -> &'static str {
        "pick"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("scores", "b w").u32("ids", "*").u32("wanted", "b").out_f32("y", "b")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        check_ids(x)?;
        Ok(x.declared())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        launch("pick", s, 0, caps)
    }

    /// One score a row is read.
    fn cost(&self, s: &Shapes) -> Cost {
        let ids = s.spec("ids").bytes() + s.spec("wanted").bytes();
        Cost { bytes: (ids + 2 * s.outputs[0].bytes()) as u64, flops: 0 }
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
        let (scores, ids, target, offsets, items) =
            (a.f("scores"), a.u("ids"), a.f("target_score"), a.u("exclude_offsets"), a.u("exclude_items"));
        let (w, of_ids) = (a.shape("scores")[1], a.shape("ids"));
        let tile = ascending(ids, of_ids);
        par_rows(a.out_u("counts"), Rank::COUNTS, w, |b, counts| {
            let (row, bar, out) = (&scores[b * w..][..w], target[b], excluded(offsets, items, b));
            let id = |c: usize| id_at(ids, of_ids, b, c);
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
    // Where items are consecutive numbers, as they mostly are, the column of each is known; else it is searched for.
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

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("scores", "b w")
            .u32("ids", "*")
            .f32("target_score", "b")
            .u32("exclude_offsets", "b+1")
            .u32("exclude_items", "n")
            .out_u32("counts", "b 4")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        check_ids(x)?;
        Ok(x.declared())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        launch("rank", s, 0, caps)
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.spec("scores").bytes() as u64, flops: s.input("scores").elements() as u64 }
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
        let (scores, ids, offsets, items) = (a.f("scores"), a.u("ids"), a.u("exclude_offsets"), a.u("exclude_items"));
        let (w, k, of_ids) = (a.shape("scores")[1], a.shape("best_scores")[1], a.shape("ids"));
        let (before_scores, before_ids) = (a.f("best_scores"), a.u("best_ids"));
        par_rows2((a.out("new_scores"), k), (a.out_u("new_ids"), k), w * 2, |b, best, best_ids| {
            best.copy_from_slice(&before_scores[b * k..][..k]);
            best_ids.copy_from_slice(&before_ids[b * k..][..k]);
            let out = excluded(offsets, items, b);
            for c in 0..w {
                let (s, id) = (scores[b * w + c], id_at(ids, of_ids, b, c));
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

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("scores", "b w")
            .u32("ids", "*")
            .u32("exclude_offsets", "b+1")
            .u32("exclude_items", "n")
            .f32("best_scores", "b k")
            .u32("best_ids", "b k")
            .out_f32("new_scores", "b k")
            .out_u32("new_ids", "b k")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        check_ids(x)?;
        if !(1..=TopK::MAX_K).contains(&x.extent("k")) {
            return x.fail(format!("k must be 1 to {}", TopK::MAX_K));
        }
        Ok(x.declared())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        launch("top_k", s, s.input("best_scores")[1], caps)
    }
}

/// Scores of a catalogue for a batch of users: the rank of one item each, and the best ten.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [users, items, d] = scale.pick([256, 8192, 64], [32, 500, 50]);
    let excluded = 20;
    let offsets: Vec<u32> = (0..=users as u32).map(|user| user * excluded).collect();
    let lists: Vec<u32> =
        (0..users as u32).flat_map(|user| (0..excluded).map(move |i| 1 + user % 7 + 11 * i)).collect();
    let sizes = format!("{users}x{d}x{items}");
    // Sums that are exact, so that ranks are.
    let scored = |example: Example| {
        example.f32([users, d], Fill::Eighths).f32([items, d], Fill::Eighths).u32([items], Fill::Ascending)
    };
    let with_lists = |example: Example| {
        let of = [users + 1, users * excluded as usize];
        example.u32([of[0]], Fill::Given(offsets.clone())).u32([of[1]], Fill::Given(lists.clone()))
    };
    let rank = Example::new("full ranking", &sizes, |g, x| {
        let scores = x[0].matmul_t(x[1]);
        let target = g.push(Pick, &[scores, x[2], x[3]]);
        g.try_push(Rank, &[scores, x[2], target, x[4], x[5]])
    });
    let best = Example::new("best ten", &sizes, move |g, x| {
        let (scores, none) = (x[0].matmul_t(x[1]), g.constant(Tensor::u32([users, 10], vec![0; 10 * users])));
        g.try_push(TopK, &[scores, x[2], x[3], x[4], g.scalar(0.0).expand([users, 10]), none])
    });
    vec![with_lists(scored(rank).u32([users], Fill::Below(items as u32 + 1))), with_lists(scored(best))]
}
