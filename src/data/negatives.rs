//! Items that a user did not choose: one at a time for training, a fixed set for sampled evaluation.

use super::dataset::Dataset;
use super::split::Split;
use crate::tensor::philox::Stream;
use crate::text::counted;
use indicatif::HumanCount;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How training negatives are drawn, always outside the user's training items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase", try_from = "Written")]
#[schemars(with = "Written")]
#[non_exhaustive]
pub enum Sampler {
    /// All items with the same chance.
    #[default]
    Uniform,
    /// In proportion to (count in the training part)^alpha.
    Popularity(f32),
}

/// Which items are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pool {
    pub sampler: Sampler,
    /// Whether items are drawn that do not occur in the training part.
    pub cold: bool,
}

/// How a [`Sampler`] is written in settings.
#[derive(Deserialize, schemars::JsonSchema)]
#[serde(untagged, expecting = "expected uniform, popularity, or {popularity = ALPHA}")]
enum Written {
    Word(String),
    /// In proportion to (count in the training part)^popularity; the word alone: 1.
    Power {
        popularity: f32,
    },
}

impl TryFrom<Written> for Sampler {
    type Error = String;

    fn try_from(written: Written) -> Result<Sampler, String> {
        match written {
            Written::Power { popularity } => Ok(Sampler::Popularity(popularity)),
            Written::Word(word) => match word.as_str() {
                "uniform" => Ok(Sampler::Uniform),
                "popularity" => Ok(Sampler::Popularity(1.0)),
                _ => Err(format!("found {word:?}; expected uniform, popularity, or {{popularity = ALPHA}}")),
            },
        }
    }
}

/// Rejected draws after which an item is drawn uniformly from those that are left, so that a user of nearly all items does
/// not stall the training.
const TRIES: usize = 64;

/// Targets that are not learned or not ranked, since too few items are left to set against them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    pub users: usize,
    pub targets: usize,
    /// Items that a target needs.
    pub needed: usize,
}

impl LeftOut {
    /// None where nothing is left out.
    pub fn some(self) -> Option<LeftOut> {
        Some(self).filter(|left_out| left_out.targets > 0)
    }

    pub(super) fn add(&mut self, targets: usize) {
        self.users += (targets > 0) as usize;
        self.targets += targets;
    }
}

impl fmt::Display for LeftOut {
    /// `27 targets of 1 user left out: no item outside the history is left to set against them`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LeftOut { users, targets, needed } = *self;
        write!(f, "{} of {} left out: ", counted(targets, "target"), counted(users, "user"))?;
        match needed {
            1 => f.write_str("no item outside the history is left to set against them"),
            n => write!(f, "fewer than {} items are outside the history", HumanCount(n as u64)),
        }
    }
}

/// Draws training negatives.
#[derive(Debug)]
pub struct Negatives {
    items: u32,
    /// The items that are drawn, ascending. None: all.
    drawn: Option<Vec<u32>>,
    /// Each user's training items, sorted and distinct, one user after the other.
    seen: Vec<u32>,
    offsets: Vec<u64>,
    alias: Option<Alias>,
}

impl Negatives {
    pub fn new(data: &Dataset, split: &Split, Pool { sampler, cold }: Pool) -> Negatives {
        let mut seen = Vec::with_capacity(data.interactions());
        let mut offsets = vec![0];
        let mut own = vec![];
        for user in 0..data.users() as u32 {
            own.clear();
            own.extend_from_slice(split.train(data, user));
            own.sort_unstable();
            own.dedup();
            seen.extend_from_slice(&own);
            offsets.push(seen.len() as u64);
        }
        let alias = match sampler {
            Sampler::Uniform => None,
            Sampler::Popularity(alpha) => Some(Alias::new(
                split.popularity(data)[1..].iter().map(|&n| if n == 0 { 0.0 } else { (n as f64).powf(alpha as f64) }),
            )),
        };
        let warm = || (1..=data.items() as u32).filter(|&item| !split.is_cold(data, item)).collect();
        Negatives { items: data.items() as u32, drawn: (!cold).then(warm), seen, offsets, alias }
    }

    /// The user's training items, sorted and distinct.
    fn seen(&self, user: u32) -> &[u32] {
        &self.seen[self.offsets[user as usize] as usize..self.offsets[user as usize + 1] as usize]
    }

    /// Whether there is an item to draw outside the user's training items.
    pub fn exist(&self, user: u32) -> bool {
        self.seen(user).len() < self.drawn.as_ref().map_or(self.items as usize, Vec::len)
    }

    /// One item, whoever has chosen it.
    pub fn draw_any(&self, stream: &mut Stream) -> u32 {
        match (&self.alias, &self.drawn) {
            (None, None) => stream.below(self.items) + 1,
            (None, Some(drawn)) => drawn[stream.below(drawn.len() as u32) as usize],
            (Some(alias), _) => alias.draw(stream) + 1,
        }
    }

    /// One item outside the user's training items, of which there must be one.
    pub fn draw(&self, user: u32, stream: &mut Stream) -> u32 {
        let seen = self.seen(user);
        for _ in 0..TRIES {
            let item = self.draw_any(stream);
            if seen.binary_search(&item).is_err() {
                return item;
            }
        }
        match &self.drawn {
            None => nth_outside(seen, stream.below(self.items - seen.len() as u32)),
            // What the user has in training is drawn for others.
            Some(drawn) => {
                let n = stream.below((drawn.len() - seen.len()) as u32) as usize;
                let mut left = drawn.iter().filter(|item| seen.binary_search(item).is_err());
                *left.nth(n).expect("an item is left")
            }
        }
    }
}

/// Item number `n`, from 0, of those outside the sorted, distinct `seen`.
fn nth_outside(seen: &[u32], n: u32) -> u32 {
    // Before seen[i] lie seen[i] - 1 - i items that were not seen.
    let (mut low, mut high) = (0, seen.len());
    while low < high {
        let middle = (low + high) / 2;
        match seen[middle] - 1 - middle as u32 <= n {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    n + 1 + low as u32
}

/// Draws from a fixed distribution in constant time (Walker 1977, built as in Vose 1991).
#[derive(Debug)]
struct Alias {
    /// Chance, of 2^32, to stay.
    stay: Vec<u32>,
    other: Vec<u32>,
}

impl Alias {
    fn new(weights: impl Iterator<Item = f64>) -> Alias {
        let mut chance: Vec<f64> = weights.collect();
        let mean = chance.iter().sum::<f64>() / chance.len() as f64;
        chance.iter_mut().for_each(|c| *c /= mean);
        let mut other: Vec<u32> = (0..chance.len() as u32).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) = other.iter().partition(|&&i| chance[i as usize] < 1.0);
        while let (Some(&a), Some(&b)) = (small.last(), large.last()) {
            small.pop();
            other[a as usize] = b;
            chance[b as usize] -= 1.0 - chance[a as usize];
            if chance[b as usize] < 1.0 {
                large.pop();
                small.push(b);
            }
        }
        // What is left over has chance 1 except for rounding, and is its own alias.
        Alias { stay: chance.iter().map(|c| (c * (1u64 << 32) as f64) as u32).collect(), other }
    }

    fn draw(&self, stream: &mut Stream) -> u32 {
        let at = stream.below(self.stay.len() as u32);
        if stream.next_u32() < self.stay[at as usize] { at } else { self.other[at as usize] }
    }
}

/// Which items are taken, set again for each user.
#[derive(Debug)]
pub struct Marks {
    /// Per item the round in which it was last marked.
    rounds: Vec<u32>,
    round: u32,
}

impl Marks {
    /// Of items 1 to `items`.
    pub fn new(items: usize) -> Marks {
        Marks { rounds: vec![0; items + 1], round: 0 }
    }

    /// Marks the items `taken` and no others; returns how many are left.
    pub fn set(&mut self, taken: impl Iterator<Item = u32>) -> usize {
        self.round += 1;
        let mut left = self.rounds.len() - 1;
        for item in taken {
            left -= (std::mem::replace(&mut self.rounds[item as usize], self.round) != self.round) as usize;
        }
        left
    }

    fn is_set(&self, item: u32) -> bool {
        self.rounds[item as usize] == self.round
    }
}

/// The items that are no candidates of the protocol `sampled:N` for a user: the whole history (of the target behaviour,
/// where one is) and what is asked for.
pub fn taken<'a>(
    data: &'a Dataset,
    split: &'a Split,
    (user, asked): (u32, &'a [u32]),
) -> impl Iterator<Item = u32> + 'a {
    split.done(data, user, split.known(data, user)).chain(asked.iter().copied())
}

/// Candidates of the protocol `sampled:N`: N items that are not [`taken`], without replacement, the same in every
/// evaluation since they depend only on the seed and the user.
#[derive(Debug)]
pub struct Candidates {
    pub negatives: usize,
    pub seed: u64,
    items: usize,
    marks: Marks,
}

impl Candidates {
    pub fn new(items: usize, negatives: usize, seed: u64) -> Candidates {
        Candidates { negatives, seed, items, marks: Marks::new(items) }
    }

    /// Appends the user's negatives to `out`; `asked`: what is asked for of the user. The user must leave as many items.
    pub fn draw(&mut self, data: &Dataset, split: &Split, (user, asked): (u32, &[u32]), out: &mut Vec<u32>) {
        let Candidates { negatives, items, marks, .. } = self;
        let mut stream = Stream::new(self.seed, "candidates", user as u64);
        let left = marks.set(taken(data, split, (user, asked)));
        // Rejection is quick while at least half of what is left stays free; else the free items are listed and shuffled.
        if 2 * *negatives <= left && 2 * left >= *items {
            for _ in 0..*negatives {
                let item = loop {
                    let item = stream.below(*items as u32) + 1;
                    if !marks.is_set(item) {
                        break item;
                    }
                };
                marks.rounds[item as usize] = marks.round;
                out.push(item);
            }
        } else {
            let mut free: Vec<u32> = (1..=*items as u32).filter(|&item| !marks.is_set(item)).collect();
            for i in 0..*negatives {
                let at = i + stream.below((free.len() - i) as u32) as usize;
                free.swap(i, at);
                out.push(free[i]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_item_outside() {
        let seen = [1, 2, 5, 9];
        let outside: Vec<u32> = (0..6).map(|n| nth_outside(&seen, n)).collect();
        assert_eq!(outside, [3, 4, 6, 7, 8, 10]);
        assert_eq!(nth_outside(&[], 3), 4);
    }

    #[test]
    fn alias_follows_the_weights() {
        let weights = [0.0, 1.0, 5.0, 2.0, 0.0, 2.0];
        let alias = Alias::new(weights.into_iter());
        let mut stream = Stream::new(1, "alias", 0);
        let mut counts = [0.0; 6];
        (0..100_000).for_each(|_| counts[alias.draw(&mut stream) as usize] += 1e-4);
        for (count, weight) in counts.iter().zip(weights) {
            assert!((count - weight).abs() < 0.1, "{counts:?}");
            assert_eq!(*count == 0.0, weight == 0.0);
        }
    }
}
