//! Items that a user did not choose: one at a time for training, a fixed set for sampled evaluation.

use super::cache::Dataset;
use super::split::Split;
use crate::error::{Error, Result};
use crate::tensor::philox::Stream;
use serde::{Deserialize, Serialize};

/// How training negatives are drawn, always outside the user's training items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampler {
    #[default]
    Uniform,
    /// In proportion to (count in the training part)^alpha.
    Popularity(f32),
}

/// After so many rejected draws an item is drawn uniformly from those that are left, so that a user of nearly everything
/// does not stall the training.
const TRIES: usize = 64;

/// Draws training negatives.
#[derive(Debug)]
pub struct Negatives {
    items: u32,
    /// Each user's training items, sorted and distinct, one user after the other.
    seen: Vec<u32>,
    offsets: Vec<u64>,
    alias: Option<Alias>,
}

impl Negatives {
    /// `any`: only [`Negatives::draw_any`] will be asked for.
    ///
    /// # Errors
    /// Unless `any`, if a user with training samples has every item in the training part.
    pub fn new(data: &Dataset, split: &Split, sampler: Sampler, any: bool) -> Result<Negatives> {
        let mut seen = Vec::with_capacity(data.interactions());
        let mut offsets = vec![0];
        let mut own = vec![];
        for user in 0..data.users() as u32 {
            own.clear();
            own.extend_from_slice(split.train(data, user));
            own.sort_unstable();
            own.dedup();
            if !any && own.len() == data.items() && split.train_len(user) > 1 {
                return Err(Error::Usage(format!(
                    "user {:?} has each of the {} items in the training part: no negative is left to draw; use a loss over all \
                     items, or raise data.min_user or lower the number of this user's events",
                    data.user_name(user),
                    data.items()
                )));
            }
            seen.extend_from_slice(&own);
            offsets.push(seen.len() as u64);
        }
        let alias = match sampler {
            Sampler::Uniform => None,
            Sampler::Popularity(alpha) => Some(Alias::new(
                split.popularity(data)[1..].iter().map(|&n| if n == 0 { 0.0 } else { (n as f64).powf(alpha as f64) }),
            )),
        };
        Ok(Negatives { items: data.items() as u32, seen, offsets, alias })
    }

    /// The user's training items, sorted and distinct.
    fn seen(&self, user: u32) -> &[u32] {
        &self.seen[self.offsets[user as usize] as usize..self.offsets[user as usize + 1] as usize]
    }

    /// One item, whoever has chosen it.
    pub fn draw_any(&self, stream: &mut Stream) -> u32 {
        match &self.alias {
            None => stream.below(self.items) + 1,
            Some(alias) => alias.draw(stream) + 1,
        }
    }

    /// One item outside the user's training items.
    pub fn draw(&self, user: u32, stream: &mut Stream) -> u32 {
        let seen = self.seen(user);
        for _ in 0..TRIES {
            let item = self.draw_any(stream);
            if seen.binary_search(&item).is_err() {
                return item;
            }
        }
        nth_outside(seen, stream.below(self.items - seen.len() as u32))
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
        // What is left over has chance 1 but for rounding, and is its own alias.
        Alias { stay: chance.iter().map(|c| (c * (1u64 << 32) as f64) as u32).collect(), other }
    }

    fn draw(&self, stream: &mut Stream) -> u32 {
        let at = stream.below(self.stay.len() as u32);
        if stream.next_u32() < self.stay[at as usize] { at } else { self.other[at as usize] }
    }
}

/// Candidates of the protocol `sampled:N`: N items outside a user's whole history (of the target behaviour, where one
/// is) and what is asked for, without replacement, the same in every evaluation since they depend on the seed and the
/// user alone.
#[derive(Debug)]
pub struct Candidates {
    pub negatives: usize,
    pub seed: u64,
    items: usize,
    /// Per item the round in which it was last marked as taken.
    marks: Vec<u32>,
    round: u32,
}

impl Candidates {
    /// `users`: with what is asked for of each.
    ///
    /// # Errors
    /// If the history of one of `users` leaves fewer than `negatives` items.
    pub fn new<'a>(
        data: &Dataset,
        split: &Split,
        negatives: usize,
        seed: u64,
        users: impl Iterator<Item = (u32, &'a [u32])>,
    ) -> Result<Candidates> {
        let mut all = Candidates { negatives, seed, items: data.items(), marks: vec![0; data.items() + 1], round: 0 };
        for (user, asked) in users {
            let left = all.mark(split.done(data, user, split.known(data, user)).chain(asked.iter().copied()));
            if left < negatives {
                return Err(Error::Usage(format!(
                    "sampled:{negatives} needs {negatives} items outside each user's history, but user {:?} leaves {left} of {}: \
                     use full, or sampled:{left} or less",
                    data.user_name(user),
                    data.items()
                )));
            }
        }
        Ok(all)
    }

    /// Marks the items of a history as taken; returns how many are left.
    fn mark(&mut self, history: impl Iterator<Item = u32>) -> usize {
        self.round += 1;
        let mut left = self.items;
        for item in history {
            left -= (std::mem::replace(&mut self.marks[item as usize], self.round) != self.round) as usize;
        }
        left
    }

    /// Appends the user's negatives to `out`; `asked`: what is asked for of the user.
    pub fn draw(&mut self, data: &Dataset, split: &Split, (user, asked): (u32, &[u32]), out: &mut Vec<u32>) {
        let mut stream = Stream::new(self.seed, "candidates", user as u64);
        let left = self.mark(split.done(data, user, split.known(data, user)).chain(asked.iter().copied()));
        // Rejection is quick while at least half of what is left stays free; else the free items are listed and shuffled.
        if 2 * self.negatives <= left && 2 * left >= self.items {
            for _ in 0..self.negatives {
                let item = loop {
                    let item = stream.below(self.items as u32) + 1;
                    if self.marks[item as usize] != self.round {
                        break item;
                    }
                };
                self.marks[item as usize] = self.round;
                out.push(item);
            }
        } else {
            let mut free: Vec<u32> =
                (1..=self.items as u32).filter(|&i| self.marks[i as usize] != self.round).collect();
            for i in 0..self.negatives {
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
