//! Does the number of a user's interests follow the number that the embedded world planted?
//!
//! Two numbers are planted: the interests among the true clicks of the window that the model reads, and those alive at the test,
//! K_u(t). Rank correlations with both are over users. Next to them stand those with the truth in random order among users
//! whose histories are about as long, which is what the length alone tells, and those of the number of item groups in the window,
//! which needs no model.

use crate::data::synth::{Click, Domain};
use crate::eval::Correlation;
use crate::eval::correlation::ranks;
use crate::tensor::philox::Stream;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What was counted of each user: lists in one order of users.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Numbers {
    /// Interests that the model gives the user.
    pub found: Vec<usize>,
    /// Planted interests among the true clicks of the window.
    pub planted: Vec<usize>,
    /// Planted interests alive at the test, K_u(t).
    pub alive: Vec<usize>,
    /// Groups of the items of the window, noise included.
    pub groups: Vec<usize>,
    /// Events before the test.
    pub events: Vec<usize>,
}

/// Rank correlations of a number with the planted ones. None: not defined, since one of the two is the same for all users.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Follows {
    pub planted: Option<Correlation>,
    pub alive: Option<Correlation>,
}

/// What [`Numbers`] come to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Numbered {
    pub users: usize,
    /// The share of users with each number of interests.
    pub shares: BTreeMap<usize, f64>,
    /// The model's number.
    pub model: Follows,
    /// The same, with the truth in random order within each decile of the histories' lengths.
    pub shuffled: Follows,
    /// The number of groups.
    pub groups: Follows,
    /// Why a correlation is not defined.
    pub undefined: Vec<String>,
}

/// Of the orders and resamples that are drawn.
const SEED: u64 = 1;

impl Numbers {
    /// Adds a user to whom the model gives `found` interests: the clicks of the window, and `target`, the test's.
    pub(super) fn push(&mut self, world: &Domain, found: usize, window: &[Click], target: Click, events: usize) {
        let distinct = |numbers: &mut dyn Iterator<Item = usize>| numbers.collect::<BTreeSet<usize>>().len();
        self.found.push(found);
        self.planted.push(distinct(&mut window.iter().filter_map(|click| click.interest)));
        self.alive.push(target.alive);
        self.groups.push(distinct(&mut window.iter().map(|click| world.items[click.item].group)));
        self.events.push(events);
    }

    pub(super) fn extend(&mut self, other: Numbers) {
        self.found.extend(other.found);
        self.planted.extend(other.planted);
        self.alive.extend(other.alive);
        self.groups.extend(other.groups);
        self.events.extend(other.events);
    }

    /// Shares and correlations.
    pub fn compared(&self) -> Numbered {
        let users = self.found.len();
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        self.found.iter().for_each(|found| *counts.entry(*found).or_default() += 1);
        let shares = counts.into_iter().map(|(number, own)| (number, own as f64 / users as f64)).collect();
        let follows = |number: &[usize], planted: &[usize], alive: &[usize]| Follows {
            planted: Correlation::of(number, planted, SEED),
            alive: Correlation::of(number, alive, SEED),
        };
        let order = self.order_within_deciles();
        let [planted, alive] =
            [&self.planted, &self.alive].map(|truth| order.iter().map(|&user| truth[user]).collect());
        let (planted, alive): (Vec<usize>, Vec<usize>) = (planted, alive);
        Numbered {
            users,
            shares,
            model: follows(&self.found, &self.planted, &self.alive),
            shuffled: follows(&self.found, &planted, &alive),
            groups: follows(&self.groups, &self.planted, &self.alive),
            undefined: self.undefined(),
        }
    }

    /// Another user for each one, in random order, of the same decile by the events before the test.
    fn order_within_deciles(&self) -> Vec<usize> {
        let (users, ranks) = (self.events.len(), ranks(self.events.iter().map(|&events| (events, 1))));
        let mut deciles = vec![vec![]; 10];
        for (user, events) in self.events.iter().enumerate() {
            deciles[(10.0 * (ranks[events] - 0.5) / users as f64) as usize].push(user);
        }
        let mut order = vec![0; users];
        for (number, decile) in deciles.iter().enumerate() {
            let mut drawn = decile.clone();
            Stream::new(SEED, "look.numbers", number as u64).shuffle(&mut drawn);
            decile.iter().zip(drawn).for_each(|(&user, other)| order[user] = other);
        }
        order
    }

    /// A sentence for each list that is constant.
    fn undefined(&self) -> Vec<String> {
        let lists = [
            (&self.found, "every user has", ""),
            (&self.planted, "every window has true clicks of", " planted interests"),
            (&self.alive, "at the test every user has", " planted interests"),
            (&self.groups, "every window has items of", " groups"),
        ];
        let constant = |(list, before, after): (&Vec<usize>, &str, &str)| {
            let all = *list.first().filter(|first| list.iter().all(|number| number == *first))?;
            Some(format!("{before} {all}{after}: no correlation is defined"))
        };
        lists.into_iter().filter_map(constant).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1,000 users whose planted number is even or odd as the length of their history is, and a model that finds `found` of both.
    fn numbers(found: impl Fn(usize, usize) -> usize) -> Numbers {
        let mut stream = Stream::new(3, "test", 0);
        let mut numbers = Numbers::default();
        for _ in 0..1000 {
            let (planted, events) = (1 + stream.below(5) as usize, 20 + stream.below(80) as usize);
            numbers.found.push(found(planted, events));
            numbers.planted.push(planted);
            numbers.alive.push(2);
            numbers.groups.push(1 + stream.below(6) as usize);
            numbers.events.push(events);
        }
        numbers
    }

    fn near_0(c: Option<Correlation>) -> bool {
        c.is_some_and(|c| c.low < 0.0 && c.high > 0.0 && c.value.abs() < 0.1)
    }

    #[test]
    fn a_number_that_follows_is_told_from_one_that_does_not() {
        let follows = numbers(|planted, _| 2 * planted).compared();
        let model = follows.model.planted.unwrap();
        assert!((model.value - 1.0).abs() < 1e-12 && model.low > 1.0 - 1e-9, "{model:?}");
        assert!(near_0(follows.shuffled.planted) && near_0(follows.groups.planted), "{follows:?}");
        assert_eq!((follows.model.alive, follows.groups.alive), (None, None));
        assert_eq!(follows.undefined, ["at the test every user has 2 planted interests: no correlation is defined"]);
        assert_eq!(follows.shares.keys().copied().collect::<Vec<_>>(), [2, 4, 6, 8, 10]);
        assert!((follows.shares.values().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(near_0(numbers(|_, events| events / 7).compared().model.planted));
    }

    /// Where both rise with the length of the history, what the length tells stays when the truth is shuffled.
    #[test]
    fn what_the_length_tells_survives_the_shuffling() {
        let mut numbers = numbers(|_, events| events / 7);
        numbers.planted = numbers.events.clone();
        let Numbered { model, shuffled, .. } = numbers.compared();
        let (model, shuffled) = (model.planted.unwrap().value, shuffled.planted.unwrap().value);
        assert!(model > 0.98 && (0.9..model).contains(&shuffled), "{model} {shuffled}");
        let order = numbers.order_within_deciles();
        assert_eq!(order.iter().copied().collect::<BTreeSet<usize>>().len(), 1000);
        assert!(
            order.iter().enumerate().all(|(user, &other)| numbers.events[user].abs_diff(numbers.events[other]) < 12)
        );
    }

    #[test]
    fn one_number_for_all_is_said_in_words() {
        let numbered = numbers(|_, _| 3).compared();
        assert_eq!((numbered.model.planted, numbered.shuffled.planted), (None, None));
        assert_eq!(numbered.undefined[0], "every user has 3: no correlation is defined");
        assert!(numbered.groups.planted.is_some() && numbered.shares[&3] > 0.999);
    }
}
