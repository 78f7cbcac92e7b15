use crate::harness::Case;
use crate::harness::recipe::{Recipe, fill, given, integers, normal};
use wgrec::kernels::rank::{Pick, Rank, TopK};
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    [picks(), ranks(), best()].concat()
}

/// Scores of \[users, items\] with many ties, one row of nothing else; a NaN and infinities, some of users or items alone.
fn scores(b: usize, w: usize) -> Recipe {
    let ties = normal([b, w]).map(|x| (x * 4.0).round() / 4.0);
    let equal = (0..w).collect::<Vec<_>>();
    let ties = if b > 1 { ties.plant(0.25, equal) } else { ties };
    if b * w <= 8 {
        return ties;
    }
    let ties = ties.plant(f64::NAN, [b * w - 1, b * w / 2 + 1]).plant(f64::INFINITY, [b * w - 3]);
    // One item of every other row: in some it is excluded, or no item.
    ties.plant(f64::NEG_INFINITY, (1..b / 2).map(|r| 2 * r * w + r % w).collect::<Vec<_>>())
}

/// Items of the columns: 1 to w shuffled, some of them padding.
fn ids(shape: Vec<usize>) -> Recipe {
    let w = *shape.last().expect("one axis at least");
    integers(shape, move |s, n| {
        let mut row = || {
            let mut row: Vec<u32> = (1..=w as u32).map(|id| if id % 11 == 0 { 0 } else { id }).collect();
            s.shuffle(&mut row);
            row
        };
        (0..n / w).flat_map(|_| row()).collect()
    })
}

/// A tile of the catalogue: items 1 to w, ascending; of more than five the last are fill.
fn tile(w: usize) -> Recipe {
    integers([w], move |_, n| (1..=n as u32).map(|id| if w > 5 && id as usize > w - w / 8 { 0 } else { id }).collect())
}

/// A later tile: from the middle of the items that users leave out on, with or without gaps.
fn later_tile(w: usize, step: usize) -> Recipe {
    integers([w], move |_, n| (0..n).map(|c| (w / 2 + 1 + c * step) as u32).collect())
}

/// For each user a few items that do not compete, ascending, the first of them twice: offsets \[B + 1\] and items.
fn excluded(b: usize, w: usize) -> (Vec<u32>, Vec<u32>) {
    let of = |user: usize| (1..=w as u32).filter(move |id| (id * 7 + user as u32).is_multiple_of(5 + user as u32 % 3));
    let (mut offsets, mut items) = (vec![0], vec![]);
    for user in 0..b {
        // One user in four excludes nothing.
        if user % 4 != 3 {
            items.extend(of(user).take(1).chain(of(user)));
        }
        offsets.push(items.len() as u32);
    }
    if items.is_empty() {
        items.push(0);
    }
    (offsets, items)
}

const SHAPES: [[usize; 2]; 5] = [[1, 1], [5, 13], [7, 257], [3, 1025], [66, 20]];

fn picks() -> Vec<Case> {
    Case::grid("pick", SHAPES, |c, [b, w]| {
        c.fixed(scores(b, w).map(|x| if x.is_nan() { 7.0 } else { x }))
            .fixed(ids(vec![w]))
            // The last user's target is not in the tile.
            .fixed(integers([b], move |s, n| {
                (0..n).map(|i| if i + 1 < n { 1 + s.below(w as u32) } else { w as u32 + 1 }).collect()
            }))
            .op(|g, x| g.push(Pick, x))
            .reference(|x| {
                let (b, w, s) = (x[0].shape[0], x[0].shape[1], x[0].to_f64());
                let of =
                    |b: usize| (0..w).find(|&c| x[1].as_u32()[c] == x[2].as_u32()[b]).map_or(0.0, |c| s[b * w + c]);
                vec![(0..b).map(of).collect()]
            })
    })
}

/// Scores of targets, the first as many others; of more than six, the fourth and the sixth are not finite.
fn targets(b: usize) -> Recipe {
    let targets = normal([b]).map(|x| (x * 4.0).round() / 4.0).plant(0.25, [0]);
    if b > 6 { targets.plant(f64::NAN, [3]).plant(f64::NEG_INFINITY, [5]) } else { targets }
}

/// What competes for user `b` and what is excluded, as (score, id).
fn candidates(x: &[Tensor], offsets: &Tensor, items: &Tensor, b: usize) -> [Vec<(f64, u32)>; 2] {
    let w = x[0].shape[1];
    let id = |c: usize| x[1].as_u32()[if x[1].shape.len() == 1 { c } else { b * w + c }];
    let out = &items.as_u32()[offsets.as_u32()[b] as usize..offsets.as_u32()[b + 1] as usize];
    let all = (0..w).map(|c| (x[0].to_f64()[b * w + c], id(c)));
    let (out, competing) = all.filter(|(_, id)| *id != 0).partition(|(_, id)| out.contains(id));
    [competing, out]
}

fn ranks() -> Vec<Case> {
    let of = |items_of: fn(usize, usize) -> Recipe| {
        move |c: Case, [b, w]: [usize; 2]| {
            let (offsets, items) = excluded(b, w);
            c.fixed(scores(b, w))
                .fixed(items_of(b, w))
                .fixed(targets(b))
                .fixed(given([b + 1], offsets))
                .fixed(given([items.len()], items))
                .op(|g, x| g.push(Rank, x))
                .reference(|x| {
                    let of = |(b, &target): (usize, &f64)| {
                        let [competing, out] = candidates(x, &x[3], &x[4], b);
                        let broken =
                            competing.iter().chain(&out).filter(|(s, _)| !s.is_finite()).map(|(_, id)| *id).min();
                        if let Some(item) = if target.is_finite() { broken } else { Some(0) } {
                            return [Rank::NOT_FINITE as f64, item as f64, 0.0, 0.0];
                        }
                        let count = |those: &[(f64, u32)], f: &dyn Fn(f64) -> bool| {
                            those.iter().filter(|(score, _)| f(*score)).count() as f64
                        };
                        let [c, o] = [&competing, &out];
                        [
                            count(c, &|s| s > target),
                            count(c, &|s| s == target),
                            count(o, &|s| s > target),
                            count(o, &|s| s == target),
                        ]
                    };
                    vec![x[2].to_f64().iter().enumerate().flat_map(of).collect()]
                })
        }
    };
    [
        Case::grid("rank", SHAPES, of(|_, w| ids(vec![w]))),
        Case::grid("rank_tile", SHAPES, of(|_, w| tile(w))),
        Case::grid("rank_later_tile", SHAPES, of(|_, w| later_tile(w, 1))),
        Case::grid("rank_tile_with_gaps", SHAPES, of(|_, w| later_tile(w, 3))),
        Case::grid("rank_own_candidates", SHAPES, of(|b, w| ids(vec![b, w]))),
    ]
    .concat()
}

fn best() -> Vec<Case> {
    // [users, items of the tile, k, items of the tile before]
    let shapes = [[1, 1, 1, 0], [5, 13, 3, 2], [3, 257, 10, 10], [2, 1025, 20, 20], [4, 6, 10, 3], [2, 300, 256, 5]];
    Case::grid("top_k", shapes, |c, [b, w, k, before]| {
        let (offsets, items) = excluded(b, w);
        let earlier: Vec<u32> = (0..b * k).map(|i| if i % k < before { (w + 1 + i % k) as u32 } else { 0 }).collect();
        // Descending, as the tile before left them: 2, 1.75, 1.75, 1.5, 1.5, ...
        let earlier_scores =
            (0..b * k).fold(fill([b, k], 0.0), |r, i| r.plant(2.0 - 0.25 * (i % k).div_ceil(2) as f64, [i]));
        c.needs_f32()
            .fixed(scores(b, w))
            .fixed(ids(vec![w]))
            .fixed(given([b + 1], offsets))
            .fixed(given([items.len()], items))
            .fixed(earlier_scores)
            .fixed(given([b, k], earlier))
            .ops(|g, x| {
                let y = g.try_push(TopK, x).expect("the shapes fit");
                // The score of an entry that nothing took means nothing.
                vec![y[0] * y[1].nonzero(), y[1]]
            })
            .reference(move |x| {
                let (mut best, mut best_ids) = (vec![], vec![]);
                for b in 0..b {
                    let old = (0..k).map(|i| (x[4].to_f64()[b * k + i], x[5].as_u32()[b * k + i]));
                    let [mut all, _] = candidates(x, &x[2], &x[3], b);
                    all.extend(old.filter(|(_, id)| *id != 0));
                    let not_finite = TopK::NOT_FINITE as f64;
                    all.iter_mut().filter(|(score, _)| !score.is_finite()).for_each(|c| c.0 = not_finite);
                    all.sort_by(|a, b| b.0.partial_cmp(&a.0).expect("no NaN is left").then(a.1.cmp(&b.1)));
                    let row = (0..k).map(|i| all.get(i).copied().unwrap_or((0.0, 0)));
                    row.for_each(|(s, id)| {
                        best.push(s);
                        best_ids.push(id as f64);
                    });
                }
                vec![best, best_ids]
            })
    })
}
