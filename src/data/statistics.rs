//! Statistics of what a user did before a target, as categories: how often each behaviour came, and how often one followed
//! another on the same item. DPCPL makes prompts of them (section 4.3.1, which names both and leaves the bins open).
//!
//! | feature | categories |
//! |---|---|
//! | events of a behaviour | 0, 1, 2, 3-4, 5-8, 9-16, ..., 65-128, more |
//! | of the distinct items under a, the share that later came under b, a before b in the order of behaviours | none under a; 0; (0, 1/5\]; (1/5, 2/5\]; ...; (4/5, 1\] |

use std::cell::RefCell;

/// As many as the readers tell apart.
const MOST_BEHAVIOURS: usize = 64;
const COUNT_BINS: u32 = 10;
/// Bins of a share above 0.
const SHARES: u32 = 5;

thread_local! {
    /// Events sorted by item, then position: item << 32 | position.
    static SORTED: RefCell<Vec<u64>> = const { RefCell::new(vec![]) };
}

/// What is counted of the events before a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    behaviours: usize,
}

impl Statistics {
    /// For data with this number of behaviours in use, numbered from 0 in their order, at most 64. Data without any count as 1.
    pub fn new(behaviours: usize) -> Statistics {
        assert!(behaviours <= MOST_BEHAVIOURS, "{behaviours} behaviours");
        Statistics { behaviours: behaviours.max(1) }
    }

    /// Pairs of behaviours, in the order of the features.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let n = self.behaviours;
        (0..n).flat_map(move |a| (a + 1..n).map(move |b| (a, b)))
    }

    /// Categories of each feature: the counts, then the shares.
    pub fn sizes(&self) -> Vec<u32> {
        let counts = std::iter::repeat_n(COUNT_BINS, self.behaviours);
        counts.chain(self.pairs().map(|_| 2 + SHARES)).collect()
    }

    /// What each feature is, for people. `behaviours` are the names of those in use; none of data without any.
    pub fn names(&self, behaviours: &[String]) -> Vec<String> {
        if self.behaviours == 1 {
            return vec!["events".to_string()];
        }
        let counts = behaviours.iter().map(|name| format!("events of {name}"));
        counts.chain(self.pairs().map(|(a, b)| format!("{} to {}", behaviours[a], behaviours[b]))).collect()
    }

    /// Writes the category of each feature, \[[`sizes`](Self::sizes)`.len()`\], for events in their order, all of them before
    /// the target. `behaviours` says for each item which it came under; with a single behaviour it is not read.
    pub fn write(&self, items: &[u32], behaviours: &[u8], out: &mut [u32]) {
        let n = self.behaviours;
        let (counts, shares) = out.split_at_mut(n);
        assert_eq!(shares.len(), n * (n - 1) / 2, "a feature for each pair of {n} behaviours");
        if n == 1 {
            counts[0] = count_bin(items.len() as u32);
            return;
        }
        assert_eq!(items.len(), behaviours.len());
        counts.fill(0);
        shares.fill(0);
        // Distinct items under each behaviour. Shares are counts of items until the end.
        let mut under = [0u32; MOST_BEHAVIOURS];
        SORTED.with_borrow_mut(|sorted| {
            sorted.clear();
            sorted.extend(items.iter().zip(0u64..).map(|(&item, at)| (item as u64) << 32 | at));
            sorted.sort_unstable();
            // Of the item in hand: the behaviours so far, and for each b those that it has followed. Bits.
            let (mut item, mut seen, mut followed) = (None, 0u64, [0u64; MOST_BEHAVIOURS]);
            for &event in sorted.iter() {
                if item != Some(event >> 32) {
                    (item, seen) = (Some(event >> 32), 0);
                    followed[..n].fill(0);
                }
                let b = behaviours[event as u32 as usize] as usize;
                counts[b] += 1;
                let mut new = seen & ((1 << b) - 1) & !followed[b];
                followed[b] |= new;
                while new != 0 {
                    let a = new.trailing_zeros() as usize;
                    // Pairs (a, ..) come after those of all before a: n - 1, n - 2, ... of them.
                    shares[a * (2 * n - a - 1) / 2 + b - a - 1] += 1;
                    new &= new - 1;
                }
                under[b] += (seen >> b & 1 == 0) as u32;
                seen |= 1 << b;
            }
        });
        counts.iter_mut().for_each(|count| *count = count_bin(*count));
        for ((a, _), share) in self.pairs().zip(shares) {
            *share = share_bin(*share, under[a]);
        }
    }
}

/// 0, 1, 2, 3-4, 5-8, ...
fn count_bin(n: u32) -> u32 {
    let bin = if n == 0 { 0 } else { 1 + (n - 1).checked_ilog2().map_or(0, |log| log + 1) };
    bin.min(COUNT_BINS - 1)
}

/// Of `of` items.
fn share_bin(n: u32, of: u32) -> u32 {
    if of == 0 { 0 } else { 1 + (SHARES * n).div_ceil(of) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::philox::Stream;
    use std::collections::BTreeSet;

    const FAVOURITE: u8 = 0;
    const CART: u8 = 1;
    const BUY: u8 = 2;

    fn of(statistics: Statistics, events: &[(u32, u8)]) -> Vec<u32> {
        let (items, behaviours): (Vec<u32>, Vec<u8>) = events.iter().copied().unzip();
        let mut out = vec![99; statistics.sizes().len()];
        statistics.write(&items, &behaviours, &mut out);
        out
    }

    #[test]
    fn by_hand() {
        let three = Statistics::new(3);
        assert_eq!(three.sizes(), [10, 10, 10, 7, 7, 7]);
        let names = ["favourite", "cart", "buy"].map(String::from);
        let want = ["events of favourite", "events of cart", "events of buy"];
        assert_eq!(three.names(&names)[..3], want);
        assert_eq!(three.names(&names)[3..], ["favourite to cart", "favourite to buy", "cart to buy"]);
        assert_eq!(of(three, &[]), [0, 0, 0, 0, 0, 0]);
        // A buy follows the cart of item 7 twice, which is one item; item 8 was bought before it was carted; 9 was not bought.
        let events = [(7, CART), (8, BUY), (7, BUY), (8, CART), (7, BUY), (9, CART)];
        assert_eq!(of(three, &events), [0, 3, 3, 0, 0, 1 + 2]); // 1 of 3 items: (1/5, 2/5]
        // A favourite of 8 turns into a cart only where the cart is later.
        let events = [(8, CART), (8, FAVOURITE), (9, FAVOURITE), (8, FAVOURITE)];
        assert_eq!(of(three, &events), [3, 1, 0, 1, 1, 1]);
        assert_eq!(of(three, &[&events[..], &[(8, CART), (9, BUY)]].concat()), [3, 2, 1, 4, 4, 1]);
        assert_eq!(of(three, &[(5, FAVOURITE), (5, CART), (5, BUY)]), [1, 1, 1, 6, 6, 6]);
    }

    #[test]
    fn bins() {
        let ends = [0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 64, 65, 128, 129, 1 << 20];
        assert_eq!(ends.map(count_bin), [0, 1, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 8, 9, 9]);
        assert_eq!(
            [(0, 0), (0, 9), (1, 9), (1, 5), (2, 9), (4, 5), (5, 6), (9, 9)].map(|(n, of)| share_bin(n, of)),
            [0, 1, 2, 2, 3, 5, 6, 6]
        );
    }

    #[test]
    fn without_behaviours_there_is_one_count() {
        for statistics in [Statistics::new(0), Statistics::new(1)] {
            let mut out = [9];
            statistics.write(&[4, 4, 5], &[], &mut out);
            assert_eq!((out, statistics.sizes(), statistics.names(&[])), ([3], vec![10], vec!["events".to_string()]));
        }
    }

    /// Word for word what the features are.
    fn plainly(n: usize, events: &[(u32, u8)]) -> Vec<u32> {
        let places = |b: usize| events.iter().enumerate().filter(move |(_, event)| event.1 as usize == b);
        let counts = (0..n).map(|b| count_bin(places(b).count() as u32));
        let shares = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b))).map(|(a, b)| {
            let under: BTreeSet<u32> = places(a).map(|(_, event)| event.0).collect();
            let later = |item: u32| places(a).any(|(i, x)| x.0 == item && places(b).any(|(j, y)| y.0 == item && i < j));
            share_bin(under.iter().filter(|&&item| later(item)).count() as u32, under.len() as u32)
        });
        counts.chain(shares).collect()
    }

    #[test]
    fn a_prefix_knows_nothing_of_what_comes_after() {
        let mut stream = Stream::new(1, "statistics", 0);
        for n in [2, 3, 5, 64] {
            let statistics = Statistics::new(n);
            let mut out = vec![0; statistics.sizes().len()];
            for round in 0..40 {
                let mut event = || (1 + stream.below(6), stream.below(n as u32) as u8);
                let prefix: Vec<_> = (0..round).map(|_| event()).collect();
                let want = plainly(n, &prefix);
                assert_eq!(of(statistics, &prefix), want);
                for _ in 0..2 {
                    // The whole history, with one end and with another, leaves no trace here or in `out`.
                    let whole: Vec<_> = prefix.iter().copied().chain((0..10).map(|_| event())).collect();
                    let (items, behaviours): (Vec<u32>, Vec<u8>) = whole.into_iter().unzip();
                    statistics.write(&items, &behaviours, &mut out);
                    statistics.write(&items[..round], &behaviours[..round], &mut out);
                    assert_eq!(out, want);
                }
            }
        }
    }
}
