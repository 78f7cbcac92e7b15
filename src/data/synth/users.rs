//! The users of a domain: their interests, attributes and tastes, drawn before any event.

use super::config::{Noise, WorldConfig};
use super::draw::{choose, dirichlet, gamma, normals};
use super::geometry::dot;
use super::{DomainName, Shared, entity};
use crate::tensor::philox::Stream;

/// One interest of a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Interest {
    pub cluster: usize,
    pub wide: bool,
    /// Share among all of the user's interests, dead and unborn ones included.
    pub weight: f64,
    /// Alive from `birth` to before `death`, as parts of the user's true events; 1 is never.
    pub birth: f64,
    pub death: f64,
}

impl Interest {
    pub fn alive(&self, part: f64) -> bool {
        self.birth <= part && part < self.death
    }
}

/// What kind of click is to come. Fixed before any item is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Comes from one of the user's interests.
    True,
    /// Noise, its item drawn by popularity.
    Noise,
    /// Noise: the `place`-th click (from 0) of a run within `cluster`.
    Burst { cluster: usize, place: u32 },
}

/// One user.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    pub interests: Vec<Interest>,
    /// The group with most weight among the interests.
    pub dominant_group: usize,
    pub age: u8,
    pub gender: u8,
    pub occupation: u8,
    /// Scales cart, favourite and buy; mean 1.
    pub propensity: f64,
    /// Unit vectors, \[dim / 2\] each.
    pub text_taste: Vec<f64>,
    pub image_taste: Vec<f64>,
    /// The preferred price, on the scale of standardised log prices.
    pub price_taste: f64,
    /// True events.
    pub length: usize,
    /// The kinds of the user's clicks in order, `length` of them [`Kind::True`].
    pub kinds: Vec<Kind>,
}

/// The user with number `user` (from 0) of `domain`, which has `on_offer` items that are not cold.
pub(super) fn draw_user(shared: &Shared, domain: DomainName, on_offer: usize, user: usize) -> User {
    let Shared { config, seed, geometry } = shared;
    let stream = |purpose| Stream::new(*seed, purpose, entity(domain, user));
    let interests = draw_interests(config, &mut stream("interests"));
    let mut groups = vec![0.0; config.groups];
    interests.iter().for_each(|i| groups[i.cluster % config.groups] += i.weight);
    let dominant_group = (0..config.groups).max_by(|a, b| groups[*a].total_cmp(&groups[*b])).expect("there are groups");

    let mut s = stream("attributes");
    let mut decided = |by_group: &[u8], classes: usize| {
        let decided = s.uniform() < config.attribute_signal;
        let other = s.below(classes as u32) as u8;
        if decided { by_group[dominant_group] } else { other }
    };
    let age = decided(&geometry.age_of_group, config.ages);
    let gender = decided(&geometry.gender_of_group, config.genders);
    let occupation = stream("occupation").below(config.occupations as u32) as u8;

    let mut s = stream("taste");
    let mut taste = |shared: &[f64]| {
        let own = normals(&mut s, shared.len());
        let (a, b) = (config.shared_taste.sqrt(), (1.0 - config.shared_taste).sqrt());
        unit(shared.iter().zip(own).map(|(shared, own)| a * shared + b * own).collect())
    };
    let mut text_taste = taste(&geometry.text_taste);
    let image_taste = taste(&geometry.image_taste);
    let price_taste = s.normal();
    if domain == DomainName::E {
        turn(&mut text_taste, config.kappa * std::f64::consts::FRAC_PI_2);
    }
    let propensity = gamma(&mut s, config.propensity_shape) / config.propensity_shape;

    let mut s = stream("length");
    let length = (config.length_median.ln() + config.length_sigma * s.normal()).exp().round();
    let length = (length as usize).clamp(config.length_min, config.length_max);
    let kinds = draw_kinds(config, on_offer, length, &mut s);
    User {
        interests,
        dominant_group,
        age,
        gender,
        occupation,
        propensity,
        text_taste,
        image_taste,
        price_taste,
        length,
        kinds,
    }
}

/// Interests in distinct clusters. The first to be born is there from the start; a death that would leave none alive does
/// not happen. So at least one is alive at every moment.
fn draw_interests(config: &WorldConfig, stream: &mut Stream) -> Vec<Interest> {
    let count = 1 + choose(stream, &config.interest_counts);
    let mut clusters: Vec<usize> = (0..config.clusters).collect();
    stream.shuffle(&mut clusters);
    let weights = dirichlet(stream, count, config.interest_concentration);
    let mut interests: Vec<Interest> = clusters
        .into_iter()
        .zip(weights)
        .map(|(cluster, weight)| {
            let wide = stream.uniform() < config.wide;
            Interest { cluster, wide, weight, birth: config.birth_span * stream.uniform(), death: 1.0 }
        })
        .collect();
    interests.iter_mut().min_by(|a, b| a.birth.total_cmp(&b.birth)).expect("there is an interest").birth = 0.0;

    let mut deaths = vec![];
    for (k, interest) in interests.iter().enumerate() {
        let (dies, when) = (stream.uniform() < config.death, stream.uniform());
        if dies {
            deaths.push((interest.birth + (1.0 - interest.birth) * when, k));
        }
    }
    deaths.sort_by(|a, b| a.0.total_cmp(&b.0));
    for (when, k) in deaths {
        if interests.iter().enumerate().any(|(other, i)| other != k && i.alive(when)) {
            interests[k].death = when;
        }
    }
    interests
}

/// Noise clicks follow each true click, in a number that makes their share `rho`: uniform noise as a geometric number, so that
/// every click but the first is noise with probability `rho`, whatever came before.
///
/// Noise that would leave too few of the `on_offer` items for the true clicks is left out.
fn draw_kinds(config: &WorldConfig, on_offer: usize, length: usize, stream: &mut Stream) -> Vec<Kind> {
    let mut spare = on_offer - length;
    let mut kinds = vec![];
    for _ in 0..length {
        kinds.push(Kind::True);
        match config.noise {
            Noise::Uniform => {
                while stream.uniform() < config.rho && spare > 0 {
                    kinds.push(Kind::Noise);
                    spare -= 1;
                }
            }
            Noise::Bursty => {
                if stream.uniform() < config.burst_start() {
                    let run = config.burst_min + stream.below(config.burst_max - config.burst_min + 1);
                    let cluster = stream.below(config.clusters as u32) as usize;
                    for place in 0..run.min(spare as u32) {
                        kinds.push(Kind::Burst { cluster, place });
                        spare -= 1;
                    }
                }
            }
        }
    }
    kinds
}

fn unit(mut x: Vec<f64>) -> Vec<f64> {
    let norm = dot(&x, &x).sqrt();
    x.iter_mut().for_each(|x| *x /= norm);
    x
}

/// Turns each pair of neighbouring coordinates by `angle`; a last one without neighbour stays.
fn turn(x: &mut [f64], angle: f64) {
    let (sin, cos) = angle.sin_cos();
    for pair in x.chunks_exact_mut(2) {
        (pair[0], pair[1]) = (cos * pair[0] - sin * pair[1], sin * pair[0] + cos * pair[1]);
    }
}
