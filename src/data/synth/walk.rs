//! One user's clicks, drawn one after the other, and the exact probabilities that the next one is drawn from.

use super::config::{Noise, WorldConfig};
use super::draw::{choose, normalise};
use super::geometry::Geometry;
use super::items::Item;
use super::users::{Kind, User};
use crate::tensor::philox::Stream;

/// One click. Items count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Click {
    pub item: usize,
    /// Number of the interest it comes from; `None` for noise.
    pub interest: Option<usize>,
    /// K_u(t): interests alive at that moment.
    pub alive: usize,
}

/// The items of a domain as the kernel reads them.
#[derive(Clone, Debug)]
pub(super) struct Catalogue {
    /// \[dim\]\[items\]: coordinate by coordinate, so that the inner loop runs over items.
    coordinates: Vec<Vec<f64>>,
    /// ln pop - |v|^2 / 2 s^2 for the narrow and the wide radius, \[items\] each.
    base: [Vec<f64>; 2],
    popularity: Vec<f64>,
    /// Sums of `popularity` up to and with each item.
    cumulative: Vec<f64>,
    cold: Vec<bool>,
    cluster: Vec<usize>,
    successor: Vec<usize>,
}

impl Catalogue {
    pub fn new(config: &WorldConfig, items: &[Item]) -> Catalogue {
        let base = [config.narrow_radius, config.wide_radius].map(|s| {
            let base = |i: &Item| i.popularity.ln() - i.vector.iter().map(|x| x * x).sum::<f64>() / (2.0 * s * s);
            items.iter().map(base).collect()
        });
        Catalogue {
            coordinates: (0..config.dim).map(|d| items.iter().map(|i| i.vector[d]).collect()).collect(),
            base,
            popularity: items.iter().map(|i| i.popularity).collect(),
            cumulative: items
                .iter()
                .scan(0.0, |sum, i| {
                    *sum += i.popularity;
                    Some(*sum)
                })
                .collect(),
            cold: items.iter().map(|i| i.cold).collect(),
            cluster: items.iter().map(|i| i.cluster).collect(),
            successor: items.iter().map(|i| i.successor).collect(),
        }
    }
}

/// An interest at some moment.
#[derive(Clone, Debug)]
struct State {
    /// How far the centre has drifted from its cluster's, \[dim\].
    drift: Vec<f64>,
    /// The last item drawn from this interest.
    last: Option<usize>,
}

/// The generator's state for one user: draws the clicks in order, and tells before each what it is drawn from.
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    config: &'a WorldConfig,
    geometry: &'a Geometry,
    catalogue: &'a Catalogue,
    user: &'a User,
    /// Where users' tastes decide too: what each item's affinity adds to the logarithm of its weight, \[items\].
    tastes: Option<Vec<f64>>,
    stream: Stream,
    /// Clicks so far, and how many of them were true.
    position: usize,
    done: usize,
    states: Vec<State>,
    /// The interest of the last true click.
    current: Option<usize>,
    clicked: Vec<bool>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        config: &'a WorldConfig,
        geometry: &'a Geometry,
        catalogue: &'a Catalogue,
        (user, tastes): (&'a User, Option<Vec<f64>>),
        stream: Stream,
    ) -> Walk<'a> {
        let state = State { drift: vec![0.0; config.dim], last: None };
        Walk {
            config,
            geometry,
            catalogue,
            user,
            tastes,
            stream,
            position: 0,
            done: 0,
            states: vec![state; user.interests.len()],
            current: None,
            clicked: vec![false; catalogue.popularity.len()],
        }
    }

    /// Probability of every item (from 0) to be the next click, given the generator's state: the user's interests, where
    /// their centres are, what they gave last, and what has been clicked. `None` after the last click.
    ///
    /// One thing is left out of the state: how many clicks are still to come, since it would tell whether the last one is
    /// noise. So every click but the first is noise with probability `rho` (in the bursty control, with that of a run to
    /// start or to go on).
    pub fn probabilities(&self) -> Option<Vec<f64>> {
        if self.position == self.user.kinds.len() {
            return None;
        }
        let (noise, mut out) = self.noise_probabilities();
        out.iter_mut().for_each(|p| *p *= noise);
        if noise < 1.0 {
            for (k, p) in self.interest_probabilities().into_iter().enumerate() {
                if p > 0.0 {
                    self.add_items_of(k, (1.0 - noise) * p, &mut out);
                }
            }
        }
        Some(out)
    }

    /// Probability that the next click is noise, and of each item if it is.
    fn noise_probabilities(&self) -> (f64, Vec<f64>) {
        let (last, config) = (self.position.checked_sub(1).map(|p| self.user.kinds[p]), self.config);
        match (last, config.noise) {
            (None, _) => (0.0, self.popular(None)),
            (Some(_), Noise::Uniform) => (config.rho, self.popular(None)),
            (Some(Kind::Burst { cluster, place }), Noise::Bursty) => {
                // All lengths from burst_min to burst_max are as likely, and this run has place + 1 clicks so far.
                let so_far = place + 1;
                let left = (config.burst_max + 1).saturating_sub(so_far.max(config.burst_min)) as f64;
                let ends = if so_far >= config.burst_min { 1.0 / left } else { 0.0 };
                (1.0 - ends, self.popular(Some(cluster)))
            }
            (Some(_), Noise::Bursty) => {
                let mut out = vec![0.0; self.clicked.len()];
                for cluster in 0..config.clusters {
                    let within = self.popular(Some(cluster));
                    out.iter_mut().zip(within).for_each(|(p, q)| *p += q / config.clusters as f64);
                }
                (config.burst_start(), out)
            }
        }
    }

    /// Items by popularity, all or those of one cluster; all when nothing of the cluster is left.
    fn popular(&self, cluster: Option<usize>) -> Vec<f64> {
        let within = |i: usize| self.on_offer(i) && cluster.is_none_or(|c| self.catalogue.cluster[i] == c);
        let share = |i: usize| if within(i) { self.catalogue.popularity[i] } else { 0.0 };
        let mut out: Vec<f64> = (0..self.clicked.len()).map(share).collect();
        if cluster.is_some() && out.iter().all(|p| *p == 0.0) {
            return self.popular(None);
        }
        normalise(&mut out);
        out
    }

    /// Probability that the next true click comes from each interest: the last one again, or by the weights of the living
    /// times the transition between groups. The first click, and one whose interest has died, go by the latter alone.
    fn interest_probabilities(&self) -> Vec<f64> {
        let interests = &self.user.interests;
        let group = |k: usize| interests[k].cluster % self.config.groups;
        let part = self.part();
        let weight = |k: usize| {
            let follows = self.current.map_or(1.0, |last| self.geometry.transition[group(last)][group(k)]);
            if interests[k].alive(part) { interests[k].weight * follows } else { 0.0 }
        };
        let mut out: Vec<f64> = (0..interests.len()).map(weight).collect();
        normalise(&mut out);
        if let Some(last) = self.current.filter(|k| interests[*k].alive(part)) {
            out.iter_mut().for_each(|p| *p *= 1.0 - self.config.sticky);
            out[last] += self.config.sticky;
        }
        out
    }

    /// Adds `p` times the probability of each item under interest `k`.
    fn add_items_of(&self, k: usize, p: f64, out: &mut [f64]) {
        let mut by_kernel = p;
        if let Some(next) = self.successor(k) {
            out[next] += p * self.config.successor;
            by_kernel -= p * self.config.successor;
        }
        let bridge = if self.user.interests[k].wide { self.config.bridge } else { 0.0 };
        for (share, over_bridge) in [(1.0 - bridge, false), (bridge, true)] {
            if share > 0.0 {
                let weights = self.kernel(k, over_bridge, f64::NEG_INFINITY);
                let scale = by_kernel * share / weights.iter().sum::<f64>();
                out.iter_mut().zip(weights).for_each(|(p, w)| *p += scale * w);
            }
        }
    }

    /// The successor of the interest's last item, if it can be clicked.
    fn successor(&self, k: usize) -> Option<usize> {
        self.states[k].last.map(|i| self.catalogue.successor[i]).filter(|&i| self.on_offer(i))
    }

    /// pop * exp(-|v - m|^2 / 2 s^2) of every item on offer, up to a factor. Over the bridge, m is as far from the bridge
    /// cluster's centre as it has drifted from its own. Weights below e^`floor` of the largest are 0.
    fn kernel(&self, k: usize, over_bridge: bool, floor: f64) -> Vec<f64> {
        let interest = &self.user.interests[k];
        let s = if interest.wide { self.config.wide_radius } else { self.config.narrow_radius };
        let cluster = if over_bridge { self.geometry.bridge[interest.cluster] } else { interest.cluster };
        let centre = self.geometry.centres[cluster].iter().zip(&self.states[k].drift).map(|(m, d)| m + d);

        // -|v - m|^2 = -|v|^2 + 2 v m - |m|^2: the first is in `base`, the last a factor.
        let mut weights = self.catalogue.base[interest.wide as usize].clone();
        for (column, m) in self.catalogue.coordinates.iter().zip(centre) {
            let m = m / (s * s);
            weights.iter_mut().zip(column).for_each(|(w, v)| *w += v * m);
        }
        if let Some(tastes) = &self.tastes {
            weights.iter_mut().zip(tastes).for_each(|(w, taste)| *w += taste);
        }
        weights.iter_mut().enumerate().filter(|(i, _)| !self.on_offer(*i)).for_each(|(_, w)| *w = f64::NEG_INFINITY);
        let top = weights.iter().fold(f64::MIN, |top, w| top.max(*w));
        weights.iter_mut().for_each(|w| *w = if *w - top > floor { (*w - top).exp() } else { 0.0 });
        weights
    }

    /// Not clicked yet; and a cold item only as the last click.
    fn on_offer(&self, item: usize) -> bool {
        let last = self.position + 1 == self.user.kinds.len();
        !self.clicked[item] && (last || !self.catalogue.cold[item])
    }

    /// How far the user's true clicks have come, in [0, 1).
    fn part(&self) -> f64 {
        self.done.min(self.user.length - 1) as f64 / self.user.length as f64
    }

    fn draw_item_of(&mut self, k: usize) -> usize {
        if let Some(next) = self.successor(k)
            && self.stream.uniform() < self.config.successor
        {
            return next;
        }
        let over_bridge = self.user.interests[k].wide && self.stream.uniform() < self.config.bridge;
        // Below e^-45 of the largest, a weight is out of reach for a uniform number of 53 bits.
        self.pick(self.kernel(k, over_bridge, -45.0))
    }

    /// Draws from `popular(None)`: by popularity among all items until one is on offer.
    fn draw_popular(&mut self) -> usize {
        loop {
            let u = self.stream.uniform();
            let item = self.catalogue.cumulative.partition_point(|sum| *sum <= u).min(self.clicked.len() - 1);
            if self.on_offer(item) {
                return item;
            }
        }
    }

    fn pick(&mut self, weights: Vec<f64>) -> usize {
        choose(&mut self.stream, &weights)
    }
}

impl Iterator for Walk<'_> {
    type Item = Click;

    fn next(&mut self) -> Option<Click> {
        let kind = *self.user.kinds.get(self.position)?;
        let part = self.part();
        let alive = self.user.interests.iter().filter(|i| i.alive(part)).count();
        let (item, interest) = match kind {
            Kind::True => {
                let k = self.pick(self.interest_probabilities());
                (self.draw_item_of(k), Some(k))
            }
            Kind::Noise => (self.draw_popular(), None),
            Kind::Burst { cluster, .. } => (self.pick(self.popular(Some(cluster))), None),
        };
        self.position += 1;
        self.clicked[item] = true;
        if let Some(k) = interest {
            self.done += 1;
            self.current = Some(k);
            self.states[k].last = Some(item);
            // A step: the centre of every living interest drifts.
            for (state, _) in self.states.iter_mut().zip(&self.user.interests).filter(|(_, i)| i.alive(part)) {
                state.drift.iter_mut().for_each(|x| *x += self.config.drift * self.stream.normal());
            }
        }
        Some(Click { item, interest, alive })
    }
}

#[cfg(test)]
mod tests {
    use crate::data::synth::{World, WorldConfig};
    use crate::tensor::philox::Stream;

    /// Draws the next true click of one state again and again: Pearson's chi-squared over the items that can be counted.
    #[test]
    fn what_is_drawn_has_the_probabilities_that_are_told() {
        let config = WorldConfig { users: 20, rho: 0.0, ..WorldConfig::default() };
        let world = World::generate(&config, 3).unwrap();
        for user in 0..20 {
            let mut walk = world.domains[0].walk(user);
            walk.by_ref().take(5 + user % 9).for_each(drop);
            let expected = walk.probabilities().unwrap();
            let draws = 4000;
            let mut counts = vec![0.0; expected.len()];
            for draw in 0..draws {
                let mut again = walk.clone();
                again.stream = Stream::new(draw, "test", user as u64);
                counts[again.next().unwrap().item] += 1.0;
            }
            let (mut chi, mut cells, mut rest) = (0.0, 0.0, (0.0, 0.0));
            for (count, p) in counts.iter().zip(&expected) {
                let mean = p * draws as f64;
                if mean >= 5.0 {
                    chi += (count - mean) * (count - mean) / mean;
                    cells += 1.0;
                } else {
                    rest = (rest.0 + count, rest.1 + mean);
                }
            }
            let freedom: f64 = f64::max(cells - 1.0, 1.0);
            assert!((chi - freedom) / (2.0 * freedom).sqrt() < 5.0, "user {user}: {chi} with {cells} cells");
            assert!((rest.0 - rest.1).abs() < 5.0 * rest.1.sqrt() + 5.0, "user {user}: {rest:?}");
        }
    }
}
