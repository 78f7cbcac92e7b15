//! The copy rule: recommend the latest item that the user favourited or carted, and has not bought yet. What a model of several
//! behaviours has learned is what it gains over that.

use super::evaluator::Ranked;
use super::metrics::TieRule;
use crate::data::Dataset;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};

/// What a target is ranked among, in addition to itself. It does not matter whether the target is in a list too.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Among<'a> {
    /// Items 1 to `items` except those excluded.
    All { items: usize, excluded: &'a [u32] },
    /// Only these, each once.
    Listed(&'a [u32]),
}

/// Ranks each target, (user, events before it), by the rule: of the items that came under another behaviour than `behaviour`
/// (the one that targets are of) before the target, and not under that one, the later the last time the better; all other items
/// are equal, after these. `among` is given the number of the target in `targets`.
///
/// # Panics
/// If `data` has no behaviours.
pub fn rank<'a>(
    data: &Dataset,
    targets: &[(u32, u32)],
    behaviour: u8,
    ties: TieRule,
    among: impl Fn(usize) -> Among<'a> + Sync,
) -> Ranked {
    let count = |(at, &(user, events)): (usize, &(u32, u32))| {
        let (items, events) = (data.history(user), events as usize);
        let behaviours = &data.behaviours(user).expect("data with behaviours")[..events];
        count(&items[..events], behaviours, items[events], behaviour, among(at))
    };
    let counts: Vec<(u32, u32)> = targets.par_iter().enumerate().map(count).collect();
    let ranks = counts.iter().map(|&(greater, equal)| ties.rank(greater, equal)).collect();
    Ranked { targets: targets.to_vec(), counts, ranks, full: None }
}

/// Candidates above the target, and others of its score.
fn count(items: &[u32], behaviours: &[u8], target: u32, behaviour: u8, among: Among) -> (u32, u32) {
    // Items that can be copied, by the last position.
    let mut last: HashMap<u32, usize> = HashMap::new();
    for (at, (&item, &b)) in items.iter().zip(behaviours).enumerate() {
        if b != behaviour {
            last.insert(item, at);
        }
    }
    items.iter().zip(behaviours).filter(|(_, b)| **b == behaviour).for_each(|(item, _)| {
        last.remove(item);
    });
    // None is below all positions.
    let score = |item: u32| last.get(&item).copied();
    let above = |item: u32| item != target && score(item) > score(target);
    match among {
        Among::Listed(list) => {
            let greater = list.iter().filter(|&&item| above(item)).count();
            let equal = list.iter().filter(|&&item| item != target && score(item) == score(target)).count();
            (greater as u32, equal as u32)
        }
        Among::All { items, excluded } => {
            let excluded: HashSet<u32> = excluded.iter().copied().filter(|&item| item != target).collect();
            let greater = last.keys().filter(|&&item| above(item) && !excluded.contains(&item)).count();
            // No two items have the same last position.
            let equal = if score(target).is_some() { 0 } else { items - 1 - excluded.len() - greater };
            (greater as u32, equal as u32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::tests::interactions;
    use crate::data::filter::Ties;

    const FAVOURITE: u8 = 0;
    const CART: u8 = 1;
    const BUY: u8 = 2;

    /// Items can be copied in the order 4, 2, 3: 1 was bought before it was carted again, 5 was only bought.
    const ITEMS: [u32; 8] = [1, 2, 3, 4, 2, 1, 5, 4];
    const BEHAVIOURS: [u8; 8] = [BUY, FAVOURITE, CART, CART, CART, CART, BUY, FAVOURITE];

    fn among(target: u32, among: Among) -> (u32, u32) {
        count(&ITEMS, &BEHAVIOURS, target, BUY, among)
    }

    #[test]
    fn by_hand() {
        let all = |target| among(target, Among::All { items: 9, excluded: &[] });
        assert_eq!([4, 2, 3].map(all), [(0, 0), (1, 0), (2, 0)]);
        assert_eq!([1, 5, 6, 9].map(all), [(3, 5); 4]);
        // Bought items are masked, and so is 4; the target never is.
        let masked = |target| among(target, Among::All { items: 9, excluded: &[1, 4, 5, target] });
        assert_eq!([4, 2, 3, 6, 1].map(masked), [(0, 0), (0, 0), (1, 0), (2, 3), (2, 4)]);
        let listed = |target| among(target, Among::Listed(&[target, 3, 8, 4, 1]));
        assert_eq!([2, 3, 4, 6, 1].map(listed), [(1, 0), (1, 0), (0, 0), (2, 2), (2, 1)]);
        // Where carts are asked for, all that others leave is 5, which was bought.
        let carts = |target| count(&ITEMS, &BEHAVIOURS, target, CART, Among::All { items: 9, excluded: &[] });
        assert_eq!([5, 1, 6].map(carts), [(0, 0), (1, 7), (1, 7)]);
    }

    #[test]
    fn nothing_at_or_after_the_target_is_seen() {
        let ranked = |end: [u8; 3]| {
            let mut log = interactions(&[vec![1, 2, 1, 2, 1], vec![3, 4]]);
            log.behaviours = ["favourite", "cart", "buy"].map(String::from).to_vec();
            log.behaviour = Some([&[CART, FAVOURITE][..], &end, &[CART, BUY]].concat());
            let data = Dataset::new(log, Ties::File, vec![]);
            rank(&data, &[(0, 2), (1, 1)], BUY, TieRule::Average, |at| match at {
                0 => Among::All { items: 4, excluded: &[] },
                _ => Among::Listed(&[1, 2]),
            })
        };
        let first = ranked([BUY, BUY, BUY]);
        // Item 1 is carted, and 2 is favourited later; 4 is as good as 1 and 2 to the second user.
        assert_eq!((&first.counts[..], &first.ranks[..]), (&[(1, 0), (0, 2)][..], &[2.0, 2.0][..]));
        assert_eq!((first.targets.len(), ranked([CART, BUY, FAVOURITE]).counts), (2, first.counts));
    }
}
