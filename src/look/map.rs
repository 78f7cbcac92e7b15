//! Interests of several users in one map: the items of their histories and the centres of their interests, by t-SNE.

use super::canvas::{Anchor, Canvas, GREY, MARKS, Point, colour, svg};
use super::clouds::cloud;
use super::inspection::genres;
use crate::data::Descriptions;
use crate::device::Store;
use crate::error::{Error, Result};
use crate::train::Session;
use crate::train::session::shown::Shown;
use plotters::style::{BLACK, Color, WHITE};
use std::collections::BTreeMap;
use std::f64::consts::TAU;
use tsne::{embed, trustworthiness};

mod tsne;

/// Neighbours that the trustworthiness of a map is taken at.
const NEIGHBOURS: usize = 10;

/// Users chosen by a rule, and the mean distance of the centres of each, in pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    /// Users among whom was chosen.
    pub among: usize,
    /// How each was chosen, who it is, and the distance.
    pub users: [(&'static str, u32, f64); 3],
}

impl Pick {
    /// Of the users with at least `least` events: the one whose centres lie farthest apart, the median, and the one whose
    /// centres are nearest.
    ///
    /// # Errors
    /// A model without interests; fewer than three users of at least two interests; a device that fails.
    pub fn new(session: &Session, store: &Store, least: usize) -> Result<Pick> {
        let long = |user: &u32| session.data.history(*user).len() >= least.max(1);
        let users: Vec<u32> = (0..session.data.users() as u32).filter(long).collect();
        // Also where no user is long enough: a model without interests is the first thing to say.
        let shown = session.shown(store, if users.is_empty() { &[0] } else { &users })?;
        let several = shown.iter().filter(|user| users.contains(&user.user) && user.interests.len() > 1);
        let mut spread: Vec<(f64, u32)> = several.map(|user| (distance_of_centres(user), user.user)).collect();
        if spread.len() < 3 {
            return Err(Error::Usage(format!(
                "{} users have at least {least} events and two interests; expected 3 to choose among: lower --min-events, or \
                 name users by --users",
                spread.len()
            )));
        }
        spread.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let of = |how, at: usize| (how, spread[at].1, spread[at].0);
        let (among, last) = (spread.len(), spread.len() - 1);
        Ok(Pick { among, users: [of("farthest", 0), of("median", last / 2), of("nearest", last)] })
    }
}

/// The mean over pairs of interests.
fn distance_of_centres(user: &Shown) -> f64 {
    let n = user.interests.len();
    let pairs = (0..n).flat_map(|a| (0..a).map(move |b| (a, b)));
    let distances = pairs.map(|(a, b)| distance(&user.interests[a].centre, &user.interests[b].centre));
    distances.sum::<f64>() / (n * (n - 1) / 2) as f64
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum::<f64>().sqrt()
}

/// The map.
#[derive(Clone, Debug)]
pub struct Map {
    users: Vec<User>,
    /// Where each item of the histories lies.
    items: BTreeMap<u32, Point>,
    /// How far the neighbours of points in the map are their neighbours indeed, from 0 to 1. None for a few points.
    pub trustworthiness: Option<f64>,
}

#[derive(Clone, Debug)]
struct User {
    name: String,
    /// Items of the window, and the strongest interest of each.
    items: Vec<(u32, usize)>,
    interests: Vec<Placed>,
}

/// An interest in the map.
#[derive(Clone, Debug)]
struct Placed {
    centre: Point,
    /// How much each item of the window contributes.
    attention: Vec<f64>,
    weight: Option<f32>,
    genres: Vec<(String, f64)>,
}

impl Map {
    /// The most users that marks tell apart.
    pub const MOST: usize = MARKS;

    /// Of some users, by their whole histories.
    ///
    /// # Errors
    /// A model without interests; a user without history; a device that fails.
    pub fn new(session: &Session, store: &Store, users: &[u32], descriptions: Option<&Descriptions>) -> Result<Map> {
        let shown = session.shown(store, users)?;
        let vectors = session.item_embeddings(store)?;
        let of = |item: u32| vectors.of(item as usize - 1);
        let mut items: Vec<u32> = shown.iter().flat_map(|user| user.items.iter().copied()).collect();
        items.sort_unstable();
        items.dedup();
        let centres = shown.iter().flat_map(|user| user.interests.iter().map(|interest| &interest.centre[..]));
        let points: Vec<&[f32]> = items.iter().map(|&item| of(item)).chain(centres).collect();
        let places = embed(&points)?;
        let mut centres = places[items.len()..].iter();
        let user = |shown: &Shown| User {
            name: session.data.user_name(shown.user).to_string(),
            items: shown.items.iter().enumerate().map(|(at, &item)| (item, shown.strongest(at, of(item)))).collect(),
            interests: (0..shown.interests.len())
                .zip(centres.by_ref())
                .map(|(k, &centre)| Placed {
                    centre,
                    attention: (0..shown.items.len())
                        .map(|at| shown.attention(at, k, of(shown.items[at])) as f64)
                        .collect(),
                    weight: shown.interests[k].weight.same(),
                    genres: genres(shown, k, &vectors, descriptions),
                })
                .collect(),
        };
        Ok(Map {
            users: shown.iter().map(user).collect(),
            items: items.iter().copied().zip(places.iter().copied()).collect(),
            trustworthiness: trustworthiness(&points, &places, NEIGHBOURS),
        })
    }

    /// The numbers of different items and of centres.
    pub fn counts(&self) -> (usize, usize) {
        (self.items.len(), self.users.iter().map(|user| user.interests.len()).sum())
    }

    /// All points: the user of a centre, its interest (from 1), the item, and the place.
    pub fn points(&self) -> impl Iterator<Item = (Option<(&str, usize)>, Option<u32>, Point)> {
        let items = self.items.iter().map(|(&item, &place)| (None, Some(item), place));
        let centres = self.users.iter().flat_map(|user| {
            let placed = user.interests.iter().enumerate();
            placed.map(move |(k, placed)| (Some((&user.name[..], k + 1)), None, placed.centre))
        });
        items.chain(centres)
    }

    /// The picture, as SVG. `title` stands above it.
    ///
    /// # Errors
    /// A picture that cannot be drawn.
    pub fn svg(&self, title: &str) -> Result<String> {
        const SIDE: f64 = 780.0;
        const CELL: f64 = 240.0;
        let columns = self.users.iter().map(|user| user.interests.len()).max().unwrap_or(0);
        let cell = (CELL, (SIDE / self.users.len() as f64).min(CELL));
        let width = 40.0 + SIDE + 20.0 + CELL * columns as f64;
        svg((width as u32, SIDE as u32 + 130), |canvas| {
            canvas.text((20.0, 28.0), 18.0, BLACK, Anchor::Left, title)?;
            self.draw_map(canvas, (20.0, 50.0), SIDE)?;
            for (row, user) in self.users.iter().enumerate() {
                for (k, placed) in user.interests.iter().enumerate() {
                    let corner = (60.0 + SIDE + cell.0 * k as f64, 50.0 + cell.1 * row as f64);
                    placed.draw_cloud(canvas, corner, cell, (row, &user.name), k)?;
                }
            }
            let close =
                self.trustworthiness.map(|trust| format!(" Trustworthiness at {NEIGHBOURS} neighbours: {trust:.3}."));
            let caption = [
                format!(
                    "t-SNE of the items of the histories (small, coloured by the user's strongest interest, larger with its \
                     attention) and of the interests' centres (numbered).{}",
                    close.unwrap_or_default()
                ),
                "Ellipses: one standard deviation of the user's items in the map, weighted by the interest's attention, since \
                 t-SNE cannot map a dispersion. Words: genres, by attention."
                    .to_string(),
            ];
            for (line, text) in caption.iter().enumerate() {
                canvas.text((20.0, SIDE + 78.0 + 20.0 * line as f64), 12.5, GREY, Anchor::Left, text)?;
            }
            Ok(())
        })
    }

    fn draw_map(&self, canvas: &Canvas, (left, top): Point, side: f64) -> Result<()> {
        let ellipses: Vec<Vec<Option<Vec<Point>>>> =
            self.users.iter().map(|user| user.interests.iter().map(|one| self.ellipse(user, one)).collect()).collect();
        let outlines = ellipses.iter().flatten().flatten().flatten().copied();
        let all: Vec<Point> = self.points().map(|(.., place)| place).chain(outlines).collect();
        let extent = |of: fn(&Point) -> f64| {
            let bounds =
                all.iter().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
            ((bounds.0 + bounds.1) / 2.0, bounds.1 - bounds.0)
        };
        let ((x, wide), (y, high)) = (extent(|at| at.0), extent(|at| at.1));
        let scale = (side - 70.0) / wide.max(high).max(f64::MIN_POSITIVE);
        let to = |at: Point| (left + side / 2.0 + scale * (at.0 - x), top + side / 2.0 - scale * (at.1 - y));
        let corners =
            [(0.0, 0.0), (side, 0.0), (side, side), (0.0, side), (0.0, 0.0)].map(|(x, y)| (left + x, top + y));
        corners.windows(2).try_for_each(|pair| canvas.line(pair[0], pair[1], GREY, 1))?;
        for (k, ellipse) in ellipses.iter().flat_map(|of_user| of_user.iter().enumerate()) {
            if let Some(ellipse) = ellipse {
                canvas.outline(&ellipse.iter().copied().map(to).collect::<Vec<_>>(), colour(k))?;
            }
        }
        for (number, user) in self.users.iter().enumerate() {
            let most = user.interests.iter().flat_map(|one| &one.attention).copied().fold(f64::MIN_POSITIVE, f64::max);
            for (at, &(item, k)) in user.items.iter().enumerate() {
                let radius = 3.0 + 5.0 * (user.interests[k].attention[at] / most).sqrt();
                canvas.mark(number, to(self.items[&item]), radius, colour(k).mix(0.55), colour(k))?;
            }
        }
        for (number, user) in self.users.iter().enumerate() {
            for (k, placed) in user.interests.iter().enumerate() {
                let at = to(placed.centre);
                canvas.mark(number, at, 13.0, colour(k).to_rgba(), BLACK)?;
                canvas.text(at, 13.0, WHITE, Anchor::Middle, &(k + 1).to_string())?;
            }
        }
        Ok(())
    }

    /// One standard deviation around the mean of a user's items, weighted by an interest's attention. None where they lie on
    /// a line.
    fn ellipse(&self, user: &User, interest: &Placed) -> Option<Vec<Point>> {
        let weighted = || user.items.iter().zip(&interest.attention).map(|((item, _), a)| (self.items[item], *a));
        let mean = |of: &dyn Fn(Point) -> f64| {
            let sums = weighted().fold((0.0, 0.0), |sums, (at, a)| (sums.0 + a * of(at), sums.1 + a));
            sums.0 / sums.1
        };
        let (x, y) = (mean(&|at| at.0), mean(&|at| at.1));
        let (xx, yy) = (mean(&|at| (at.0 - x).powi(2)), mean(&|at| (at.1 - y).powi(2)));
        let xy = mean(&|at| (at.0 - x) * (at.1 - y));
        // The Cholesky factor of the covariance takes the unit circle to the ellipse.
        let (a, b) = (xx.sqrt(), xy / xx.sqrt());
        let c = (yy - b * b).sqrt();
        let circle = (0..72).map(|i| (TAU * i as f64 / 72.0).sin_cos());
        (a > 0.0 && c > 0.0).then(|| circle.map(|(s, t)| (x + a * t, y + b * t + c * s)).collect())
    }
}

impl Placed {
    /// The genres of interest `k`, under a heading with the user's mark and name.
    fn draw_cloud(
        &self,
        canvas: &Canvas,
        (left, top): Point,
        (wide, high): Point,
        (user, name): (usize, &str),
        k: usize,
    ) -> Result<()> {
        let own = colour(k);
        canvas.mark(user, (left + 14.0, top + 14.0), 8.0, own.to_rgba(), BLACK)?;
        let weight = self.weight.map(|weight| format!(", weight {weight:.2}")).unwrap_or_default();
        canvas.text((left + 30.0, top + 14.0), 13.0, own, Anchor::Left, &format!("{name}: {}{weight}", k + 1))?;
        let middle = (left + wide / 2.0, top + 28.0 + (high - 40.0) / 2.0);
        if self.genres.is_empty() {
            return canvas.text(middle, 12.0, GREY, Anchor::Middle, "no genres");
        }
        cloud(&self.genres, (wide - 16.0, high - 40.0)).iter().try_for_each(|word| {
            let at = (middle.0 + word.at.0, middle.1 + word.at.1);
            canvas.text(at, word.size, own, Anchor::Middle, &word.text)
        })
    }
}
