//! From clicks to the log of a user: carts, favourites and buys, times and ratings.

use super::config::WorldConfig;
use super::draw::exponential;
use super::geometry::dot;
use super::items::Item;
use super::users::User;
use super::walk::Click;
use crate::tensor::philox::Stream;
use serde::{Deserialize, Serialize};

/// What a user did with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Behaviour {
    Click,
    Cart,
    Favourite,
    Buy,
}

impl Behaviour {
    pub const ALL: [Behaviour; 4] = [Behaviour::Click, Behaviour::Cart, Behaviour::Favourite, Behaviour::Buy];

    pub fn name(self) -> &'static str {
        ["click", "cart", "favourite", "buy"][self as usize]
    }
}

/// One line of the log, with its truth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// From 1.
    pub user: u32,
    /// From 1.
    pub item: u32,
    pub behaviour: Behaviour,
    /// Unix milliseconds; no two events of a domain share one.
    pub time: i64,
    /// 1 to 5, one for each user and item: what follows a click repeats the click's.
    pub rating: u8,
    /// Truth: the interest (from 0) that it comes from; `None` for noise.
    pub interest: Option<u8>,
    /// Truth: K_u(t), interests alive at the moment of the click.
    pub alive: u8,
}

impl Event {
    pub fn noise(&self) -> bool {
        self.interest.is_none()
    }
}

/// How well the item's price fits the user, on the scale of standardised log prices: mean 1 over users and items.
fn price_fit(config: &WorldConfig, user: &User, item: &Item) -> f64 {
    let distance = item.vector[0] / config.spread() - user.price_taste;
    3f64.sqrt() * (-0.5 * distance * distance).exp()
}

/// Text part + image part + price fit + text x image product, each of variance `affinity_spread`^2 / 4 over random users and
/// items.
pub(super) fn affinity(config: &WorldConfig, user: &User, item: &Item) -> f64 {
    let (text, image) = item.vector.split_at(config.dim / 2);
    let text = dot(&user.text_taste, text) / config.spread();
    let image = dot(&user.image_taste, image) / config.spread();
    // Variance of sqrt(3) exp(-d^2 / 2) for d ~ N(0, 2): 3 / sqrt(5) - 1.
    let price = (price_fit(config, user, item) - 1.0) / (3.0 / 5f64.sqrt() - 1.0).sqrt();
    0.5 * config.affinity_spread * (text + image + price + text * image)
}

/// What follows a true click.
struct Follow {
    cart: bool,
    favourite: bool,
    /// A buy without an earlier cart or favourite: those come after it, if at all.
    direct: bool,
    /// A buy after a cart or favourite.
    assisted: bool,
}

impl Follow {
    /// Cart, favourite and buy have exactly the probabilities given, and a share `direct_buys` of the buys is direct.
    ///
    /// An assisted buy forces a cart or favourite where none was drawn. What that adds to both is taken off beforehand by
    /// the factor s that solves s + a (1 - s c) (1 - s f) / (c + f) = 1, a being the probability of an assisted buy.
    fn draw(stream: &mut Stream, [cart, favourite, buy]: [f64; 3], config: &WorldConfig) -> Follow {
        let either = cart + favourite;
        let bought = stream.uniform() < buy;
        let direct = bought && (stream.uniform() < config.direct_buys || either == 0.0);
        let assisted = bought && !direct;

        let a = if either > 0.0 { buy * (1.0 - config.direct_buys) } else { 0.0 };
        let forced = (a / either.max(1e-12)).min(1.0);
        let root = ((1.0 - a).powi(2) + 4.0 * forced * cart * favourite * (1.0 - forced)).sqrt();
        let scale = 2.0 * (1.0 - forced) / (1.0 - a + root).max(1e-12);
        let mut happens = [cart, favourite].map(|p| stream.uniform() < scale * p);
        if assisted && happens == [false; 2] {
            happens[(stream.uniform() * either >= cart) as usize] = true;
        }
        Follow { cart: happens[0], favourite: happens[1], direct, assisted }
    }
}

/// The events of user `number` (from 0), sorted by time. Each has a tick of its own on the user's clock, and the clock's
/// rest is the user's number. What would come after the last day is not in the log.
pub(super) fn user_events(
    config: &WorldConfig,
    items: &[Item],
    number: usize,
    user: &User,
    clicks: &[Click],
    mut stream: Stream,
) -> Vec<Event> {
    // Clicks are uniform in time. They keep the first part of the ticks that leaves room to tell all events apart.
    let room = config.ticks() - 4 * clicks.len() as i64;
    let mut ticks: Vec<i64> = (0..clicks.len()).map(|_| (stream.uniform() * room as f64) as i64).collect();
    ticks.sort_unstable();

    let ticks_a_day = config.ticks() as f64 / config.days;
    let mut events = vec![];
    for (click, tick) in clicks.iter().zip(ticks) {
        let item = &items[click.item];
        let affinity = affinity(config, user, item);
        let rating = (config.rating_mean + affinity + config.rating_noise * stream.normal()).round().clamp(1.0, 5.0);
        let mut add = |behaviour, tick| {
            events.push((
                tick,
                Event {
                    user: number as u32 + 1,
                    item: click.item as u32 + 1,
                    behaviour,
                    time: 0,
                    rating: rating as u8,
                    interest: click.interest.map(|k| k as u8),
                    alive: click.alive as u8,
                },
            ))
        };
        add(Behaviour::Click, tick);
        if click.interest.is_none() {
            continue;
        }
        let scale = user.propensity * price_fit(config, user, item);
        let follow = Follow::draw(
            &mut stream,
            [config.cart, config.favourite, config.buy].map(|p| (p * scale).min(1.0)),
            config,
        );
        let [cart, favourite, buy] = [config.cart_delay, config.favourite_delay, config.buy_delay]
            .map(|mean| (mean * exponential(&mut stream) * ticks_a_day) as i64);
        // Events are added in the order in which they happen, which is what decides within a tick.
        let from = if follow.direct { tick + buy } else { tick };
        if follow.direct {
            add(Behaviour::Buy, from);
        }
        let mut last = from;
        for (happens, behaviour, delay) in
            [(follow.cart, Behaviour::Cart, cart), (follow.favourite, Behaviour::Favourite, favourite)]
        {
            if happens {
                add(behaviour, from + delay);
                last = last.max(from + delay);
            }
        }
        if follow.assisted {
            add(Behaviour::Buy, last + buy);
        }
    }

    // Stable, so that what follows a click within a tick stays after it.
    events.sort_by_key(|(tick, _)| *tick);
    let mut next = 0;
    let mut log = vec![];
    for (tick, event) in events {
        let tick = tick.max(next);
        next = tick + 1;
        if tick < config.ticks() {
            log.push(Event { time: config.start * 1000 + tick * config.tick() + number as i64, ..event });
        }
    }
    log
}
