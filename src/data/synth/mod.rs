//! The embedded world: a seeded generator of users, items and events whose truth is planted and kept.
//!
//! `wgrec train` trains on it when it is given no data, and claims can be tested on it: the clusters,
//! each user's interests, the source of every event and the exact probabilities of the next item are all known.
//!
//! Users have a few interests, each a cluster of items with a centre that drifts. Clicks come from one interest after the
//! other; some are noise; some clicks are followed by a cart, a favourite or a buy. In addition to the default domain there are
//! four auxiliary ones, A to D, and a target E, with users and items of their own in one shared [`Geometry`].
//!
//! ```
//! use wgrec::data::synth::{World, WorldConfig};
//!
//! let config = WorldConfig { users: 50, ..WorldConfig::default() };
//! let world = World::generate(&config, 1)?;
//! let domain = &world.domains[0];
//! let log = domain.clicks(); // user, item, time, rating, behaviour: columns
//! let oracle = domain.oracle_scores(log.user[0], 0).unwrap(); // ln p of every item to be that user's first click
//! assert_eq!(oracle.len(), domain.items.len());
//! # Ok::<(), wgrec::Error>(())
//! ```
//!
//! Where the description leaves something open, the choice is in the comment of the function that makes it. Three matter to
//! all readers:
//! - The default task is the log of *clicks*, true ones and noise mixed, in order of time. Leave-one-out on it holds out
//!   clicks that are noise with probability `rho`, and the oracle accounts for that.
//! - Affinity decides ratings, and price fit decides what follows a click; neither decides what is clicked, unless
//!   `taste` lets affinity do so.
//! - Every entity draws from Philox streams of its own, so a world with more users holds the smaller one unchanged.

mod config;
mod dataset;
mod draw;
mod events;
mod geometry;
mod items;
mod users;
mod walk;
mod write;

pub use config::{Noise, WorldConfig};
pub use events::{Behaviour, Event};
pub use geometry::Geometry;
pub use items::Item;
pub use users::{Interest, Kind, User};
pub use walk::{Click, Walk};

use crate::error::{Error, Result};
use crate::tensor::philox::Stream;
use crate::threads;
use rayon::prelude::*;
use std::sync::Arc;
use walk::Catalogue;

/// The domains of a world. Texts of different domains differ by an offset; E's users prefer other texts.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    serde::Serialize,
    serde::Deserialize,
    schemars::JsonSchema,
)]
#[non_exhaustive]
pub enum DomainName {
    /// The one that stands alone.
    #[default]
    #[serde(rename = "default")]
    Default,
    /// The first auxiliary one.
    A,
    /// The second.
    B,
    /// The third.
    C,
    /// The fourth.
    D,
    /// The target, with cold items and other tastes.
    E,
}

impl DomainName {
    pub const ALL: [DomainName; 6] = {
        use DomainName::*;
        [Default, A, B, C, D, E]
    };

    pub fn name(self) -> &'static str {
        ["default", "A", "B", "C", "D", "E"][self as usize]
    }

    /// The domain called `name`.
    pub fn from_name(name: &str) -> Result<DomainName> {
        DomainName::ALL.into_iter().find(|d| d.name() == name).ok_or_else(|| {
            Error::Usage(format!("{name}: the world has no such domain; its domains are default, A, B, C, D and E"))
        })
    }

    fn users(self, config: &WorldConfig) -> usize {
        match self {
            DomainName::Default => config.users,
            DomainName::E => config.target_users,
            _ => config.auxiliary_users,
        }
    }

    fn items(self, config: &WorldConfig) -> usize {
        match self {
            DomainName::Default => config.items,
            DomainName::E => config.target_items,
            _ => config.auxiliary_items,
        }
    }
}

/// The Philox entity of number `index` in `domain`.
fn entity(domain: DomainName, index: usize) -> u64 {
    (domain as u64) << 32 | index as u64
}

/// What the domains of a world have in common.
#[derive(Debug)]
pub struct Shared {
    pub config: WorldConfig,
    pub seed: u64,
    pub geometry: Geometry,
}

/// A world: its settings and the domains that were asked for.
#[derive(Clone, Debug)]
pub struct World {
    pub shared: Arc<Shared>,
    pub domains: Vec<Domain>,
}

impl World {
    /// The world of `seed` with the domain that the settings name. Settings that make no world are an [`Error::Usage`].
    pub fn generate(config: &WorldConfig, seed: u64) -> Result<World> {
        World::with_domains(config, seed, &[config.domain])
    }

    /// The world of `seed` with some of its domains; each is the same whichever others are asked for.
    pub fn with_domains(config: &WorldConfig, seed: u64, domains: &[DomainName]) -> Result<World> {
        config.check()?;
        threads::start()?;
        let geometry = Geometry::draw(config, seed);
        let shared = Arc::new(Shared { config: config.clone(), seed, geometry });
        let domains = domains.iter().map(|&name| Domain::draw(&shared, name)).collect::<Result<_>>()?;
        Ok(World { shared, domains })
    }

    /// One of the domains that were asked for.
    pub fn domain(&self, name: DomainName) -> Option<&Domain> {
        self.domains.iter().find(|d| d.name == name)
    }

    /// Accuracy of the best guess of each attribute by one who knows the user's dominant group, which is the most that any
    /// history can tell: p + (1 - p) / classes with p = `attribute_signal` for age and gender, 1 / classes for occupation.
    ///
    /// In a sample the ceiling of occupation is the share of its most frequent class, a little more than 1 / classes.
    pub fn bayes_accuracy(&self) -> BayesAccuracy {
        let config = &self.shared.config;
        let p = config.attribute_signal;
        let decided = |classes: usize| p + (1.0 - p) / classes as f64;
        BayesAccuracy {
            age: decided(config.ages),
            gender: decided(config.genders),
            occupation: 1.0 / config.occupations as f64,
        }
    }
}

/// See [`World::bayes_accuracy`].
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct BayesAccuracy {
    pub age: f64,
    pub gender: f64,
    pub occupation: f64,
}

/// A domain with its truth. Users and items count from 0 here and from 1 in the log.
#[derive(Clone, Debug)]
pub struct Domain {
    pub name: DomainName,
    pub items: Vec<Item>,
    pub users: Vec<User>,
    /// Sorted by time.
    pub events: Vec<Event>,
    shared: Arc<Shared>,
    catalogue: Catalogue,
}

/// A log as columns of equal length, sorted by time. User and item ids count from 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Log {
    pub user: Vec<u32>,
    pub item: Vec<u32>,
    /// Unix milliseconds, all distinct.
    pub time: Vec<i64>,
    /// 1 to 5.
    pub rating: Vec<f32>,
    /// Number of the behaviour in [`Behaviour::ALL`].
    pub behaviour: Vec<u8>,
}

impl Domain {
    fn draw(shared: &Arc<Shared>, name: DomainName) -> Result<Domain> {
        let Shared { config, seed, .. } = &**shared;
        let items = items::draw_items(shared, name);
        let on_offer = items.iter().filter(|i| !i.cold).count();
        if on_offer < config.length_max {
            let message =
                format!("length_max: found {}; domain {} has {on_offer} items", config.length_max, name.name());
            return Err(Error::Usage(message));
        }
        let users: Vec<User> = (0..name.users(config)).map(|u| users::draw_user(shared, name, on_offer, u)).collect();
        let catalogue = Catalogue::new(config, &items);
        let mut domain = Domain { name, items, users, events: vec![], shared: shared.clone(), catalogue };
        let of_user = |u: usize| {
            let clicks: Vec<Click> = domain.walk(u).collect();
            let stream = Stream::new(*seed, "events", entity(name, u));
            events::user_events(config, &domain.items, u, &domain.users[u], &clicks, stream)
        };
        let mut events: Vec<Event> = (0..domain.users.len()).into_par_iter().flat_map_iter(of_user).collect();
        events.sort_unstable_by_key(|e| e.time);
        domain.events = events;
        Ok(domain)
    }

    /// The clicks of a user (from 0), drawn again from the start: the same each time.
    pub fn walk(&self, user: usize) -> Walk<'_> {
        let Shared { config, seed, geometry } = &*self.shared;
        let stream = Stream::new(*seed, "clicks", entity(self.name, user));
        let tastes = (config.taste != 0.0).then(|| {
            let affinity = |item| config.taste * events::affinity(config, &self.users[user], item);
            self.items.iter().map(affinity).collect()
        });
        Walk::new(config, geometry, &self.catalogue, (&self.users[user], tastes), stream)
    }

    /// The oracle: ln of the exact probability that each item, \[items\] for ids 1..=n, is the click at `position` (from 0)
    /// of `user` (id from 1), given the generator's state before it. See [`Walk::probabilities`] for what that holds. Items
    /// that cannot come, above all those already clicked, have -3e38. `None` where the user has no such click.
    ///
    /// The cost is that of drawing the user's clicks up to `position`.
    pub fn oracle_scores(&self, user: u32, position: usize) -> Option<Vec<f32>> {
        let mut walk = self.walk(user as usize - 1);
        walk.by_ref().take(position).for_each(drop);
        walk.probabilities().map(log_scores)
    }

    /// Affinity of a user to an item (ids from 1): ratings are this + `rating_mean` + noise.
    pub fn affinity(&self, user: u32, item: u32) -> f64 {
        events::affinity(&self.shared.config, &self.users[user as usize - 1], &self.items[item as usize - 1])
    }

    /// The log of clicks: the default task. A user's clicks are in the order of [`walk`](Domain::walk).
    pub fn clicks(&self) -> Log {
        self.log(|e| e.behaviour == Behaviour::Click)
    }

    /// The log of all behaviours.
    pub fn all_behaviours(&self) -> Log {
        self.log(|_| true)
    }

    fn log(&self, keep: impl Fn(&Event) -> bool) -> Log {
        let mut log = Log::default();
        for e in self.events.iter().filter(|e| keep(e)) {
            log.user.push(e.user);
            log.item.push(e.item);
            log.time.push(e.time);
            log.rating.push(e.rating as f32);
            log.behaviour.push(e.behaviour as u8);
        }
        log
    }
}

/// ln p as scores to rank by; -3e38 where p is 0.
fn log_scores(probabilities: Vec<f64>) -> Vec<f32> {
    let score = |p: f64| if p > 0.0 { p.ln() as f32 } else { -3e38 };
    probabilities.into_iter().map(score).collect()
}
