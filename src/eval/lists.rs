//! What all users together are shown: how much of the catalogue, how evenly, how far from what everybody knows.

use crate::data::Categories;
use serde::Serialize;

/// Of the first k items of every user's list.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Lists {
    pub k: usize,
    /// The share of all items that are in some list.
    pub coverage: f64,
    /// Gini coefficient of how many lists each item of the catalogue is in: 0 where all are in equally many, 1 - 1/n where
    /// they hold the same one of n items.
    pub gini: f64,
    /// Mean over users of the mean self-information of the items shown, in bits: -log2 of an item's share of the training
    /// events (Zhou et al., PNAS 2010, there by users). An item without any counts as seen once.
    pub novelty: f64,
    /// Intra-list diversity (Ziegler et al., WWW 2005): mean over users of the mean distance of two items shown, 1 less the
    /// Jaccard similarity of their categories. Items without categories are passed over. None where there are no pairs.
    pub diversity: Option<f64>,
}

impl Lists {
    /// `popularity[i]`: training events of item i, \[items + 1\], 0 for padding. Lists are best first; empty ones are left out
    /// of the novelty.
    pub fn of(lists: &[Vec<u32>], k: usize, popularity: &[u32], categories: Option<&Categories>) -> Lists {
        let shown = || lists.iter().map(|list| &list[..k.min(list.len())]).filter(|list| !list.is_empty());
        let events: f64 = popularity.iter().map(|&n| n as f64).sum();
        let information = |&item: &u32| (events.max(1.0) / popularity[item as usize].max(1) as f64).log2();
        let mean = |list: &[u32]| list.iter().map(information).sum::<f64>() / list.len() as f64;
        let distances = shown().filter_map(|list| {
            let pairs = list.iter().enumerate().flat_map(|(i, &a)| list[..i].iter().map(move |&b| (a, b)));
            average(pairs.filter_map(|(a, b)| categories?.distance(a, b)))
        });
        let mut counts = vec![0u32; popularity.len()];
        shown().flatten().for_each(|&item| counts[item as usize] += 1);
        let mut counts = counts.split_off(1);
        let items = counts.len().max(1) as f64;
        Lists {
            k,
            coverage: counts.iter().filter(|&&n| n > 0).count() as f64 / items,
            gini: gini(&mut counts),
            novelty: average(shown().map(mean)).unwrap_or(0.0),
            diversity: average(distances),
        }
    }
}

/// None of none.
fn average(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, n) = values.fold((0.0, 0), |(sum, n), x| (sum + x, n + 1));
    (n > 0).then(|| sum / n as f64)
}

/// sum_i (2 i - n - 1) x_i / (n sum x) over ascending x; 0 where all are 0.
fn gini(x: &mut [u32]) -> f64 {
    x.sort_unstable();
    let (n, sum) = (x.len() as f64, x.iter().map(|&x| x as f64).sum::<f64>());
    let weighted: f64 = x.iter().enumerate().map(|(i, &x)| (2.0 * i as f64 + 1.0 - n) * x as f64).sum();
    if sum > 0.0 { weighted / (n * sum) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let popularity = [0, 4, 2, 1, 1];
        let lists = [vec![1, 2, 4], vec![1, 3, 2], vec![]];
        // Items 1 and 2 share one of two categories, 4 has none.
        let categories = Categories::new(vec![vec![], vec![0], vec![0, 1], vec![2], vec![]]);
        let two = Lists::of(&lists, 2, &popularity, Some(&categories));
        // Items 1 to 4 are shown 2, 1, 1 and 0 times; of the 8 events they have 1/2, 1/4, 1/8, 1/8.
        assert_eq!(
            two,
            Lists {
                k: 2,
                coverage: 0.75,
                gini: 6.0 / 16.0,
                novelty: (1.5 + 2.0) / 2.0,
                diversity: Some((0.5 + 1.0) / 2.0)
            }
        );
        let three = Lists::of(&lists, 3, &popularity, Some(&categories));
        assert_eq!((three.coverage, three.novelty), (1.0, 2.0));
        assert_eq!(three.diversity, Some((0.5 + (1.0 + 0.5 + 1.0) / 3.0) / 2.0));
        assert_eq!(Lists::of(&lists, 9, &popularity, Some(&categories)), Lists { k: 9, ..three });
    }

    /// NumPy, with Gini's coefficient as the mean distance of two items over twice the mean.
    #[test]
    fn figures_are_those_of_numpy() {
        let mut state = 5u32;
        let mut draw = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % n
        };
        let mut popularity: Vec<u32> = std::iter::once(0).chain((0..50).map(|_| 1 + draw(30))).collect();
        popularity[8] = 0;
        let mut list = || {
            let mut list = vec![];
            while list.len() < 10 {
                let item = 1 + draw(50).min(draw(50));
                if !list.contains(&item) {
                    list.push(item);
                }
            }
            list
        };
        let lists: Vec<Vec<u32>> = (0..200).map(|_| list()).collect();
        for (k, coverage, gini, novelty) in [(5, 0.96, 0.3386, 6.172845970051977), (10, 1.0, 0.3146, 6.18062276288098)]
        {
            let got = Lists::of(&lists, k, &popularity, None);
            for (got, want) in [(got.coverage, coverage), (got.gini, gini), (got.novelty, novelty)] {
                assert!((got - want).abs() < 1e-12, "{k}: {got} is not {want}");
            }
        }
    }

    #[test]
    fn bounds() {
        let even = Lists::of(&[vec![1, 2], vec![3, 4]], 2, &[0, 1, 1, 1, 1], None);
        assert_eq!((even.coverage, even.gini, even.novelty), (1.0, 0.0, 2.0));
        let same = Lists::of(&[vec![3], vec![3]], 1, &[0, 1, 1, 0, 6], None);
        assert_eq!((same.coverage, same.gini, same.novelty), (0.25, 0.75, 3.0));
        let nothing = Lists::of(&[], 5, &[0, 1], None);
        assert_eq!((nothing.coverage, nothing.gini, nothing.novelty, nothing.diversity), (0.0, 0.0, 0.0, None));
    }
}
