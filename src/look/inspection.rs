//! What a model makes of one user: which interest each event feeds, and which each recommendation comes from.

use super::canvas::{Anchor, Canvas, GREY, Point, colour, cut, svg};
use crate::data::Descriptions;
use crate::device::Store;
use crate::error::Result;
use crate::train::Session;
use crate::train::session::shown::{Interest, ItemVectors, Rows, Shown, Weight};
use plotters::style::BLACK;

/// A user's interests, history and best items.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The user's id.
    pub user: String,
    /// Events of the whole history.
    pub events: usize,
    pub interests: Vec<Summary>,
    /// The events that the model reads, oldest first.
    pub history: Vec<Event>,
    /// The best items outside the history, best first.
    pub best: Vec<Best>,
}

/// An interest in a line.
#[derive(Clone, Debug)]
pub struct Summary {
    pub weight: Weight,
    /// Genres and the attention that events of each have, heaviest first; they sum to 1.
    pub genres: Vec<(String, f64)>,
}

/// An event of a history.
#[derive(Clone, Debug)]
pub struct Event {
    pub item: Item,
    /// Its strongest interest, counted from 0.
    pub interest: usize,
    /// How much it contributes to that.
    pub attention: f32,
}

/// A recommendation.
#[derive(Clone, Debug)]
pub struct Best {
    pub item: Item,
    pub score: f32,
    /// The interest that it comes from, counted from 0.
    pub interest: usize,
    /// What this interest adds to the score.
    pub part: f32,
}

/// An item, as people know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its title, or its id.
    pub name: String,
    pub genres: Vec<String>,
}

impl Item {
    pub fn new(session: &Session, item: u32, descriptions: Option<&Descriptions>) -> Item {
        let described = descriptions.map(|descriptions| descriptions.of(item).clone()).unwrap_or_default();
        let name = described.title.unwrap_or_else(|| session.data.item_name(item).to_string());
        Item { name: plain(&name), genres: described.genres.iter().map(|genre| plain(genre)).collect() }
    }
}

/// A text without control characters, which a terminal would take as commands.
pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// The genres of the items that feed interest `k`, by attention, heaviest first; they sum to 1. `items`: vectors of all items,
/// for a model without attention.
pub(super) fn genres(user: &Shown, k: usize, items: &Rows, descriptions: Option<&Descriptions>) -> Vec<(String, f64)> {
    let mut weights: Vec<(String, f64)> = vec![];
    for (at, &item) in user.items.iter().enumerate() {
        let attention = user.attention(at, k, items.of(item as usize - 1)) as f64;
        for genre in descriptions.into_iter().flat_map(|descriptions| &descriptions.of(item).genres) {
            match weights.iter_mut().find(|(name, _)| name == genre) {
                Some((_, weight)) => *weight += attention,
                None => weights.push((genre.clone(), attention)),
            }
        }
    }
    let sum: f64 = weights.iter().map(|(_, weight)| weight).sum();
    weights.iter_mut().for_each(|(_, weight)| *weight /= sum.max(f64::MIN_POSITIVE));
    weights.sort_by(|a, b| b.1.total_cmp(&a.1));
    weights
}

/// What items are compared by, and how people know them.
pub(super) struct Items<'a> {
    session: &'a Session,
    vectors: ItemVectors,
    descriptions: Option<&'a Descriptions>,
}

impl<'a> Items<'a> {
    /// # Errors
    /// A device that fails.
    pub fn new(session: &'a Session, store: &Store, descriptions: Option<&'a Descriptions>) -> Result<Items<'a>> {
        Ok(Items { session, vectors: session.item_vectors(store)?, descriptions })
    }

    pub fn described(&self, item: u32) -> Item {
        Item::new(self.session, item, self.descriptions)
    }

    /// The events of a window, by their interests.
    pub fn history(&self, shown: &Shown) -> Vec<Event> {
        let event = |(at, &item): (usize, &u32)| {
            let vector = self.vectors.of(item);
            let interest = shown.strongest(at, vector);
            Event { item: self.described(item), interest, attention: shown.attention(at, interest, vector) }
        };
        shown.items.iter().enumerate().map(event).collect()
    }

    /// Recommended items and their scores, by their interests; `asked`: the items that `shown` was asked for.
    pub fn best(&self, shown: &Shown, best: Vec<(u32, f32)>, asked: &[u32]) -> Vec<Best> {
        let one = |(item, score)| {
            let vector = self.vectors.of(item);
            let number = asked.iter().position(|asked| *asked == item).expect("it was asked for");
            let interest = shown.source(number, vector);
            Best { item: self.described(item), score, interest, part: shown.interests[interest].part(number, vector) }
        };
        best.into_iter().map(one).collect()
    }
}

impl Inspection {
    /// Of a user, with the `k` best items.
    ///
    /// # Errors
    /// A model without interests; a user without history; a score that is not finite; a device that fails.
    pub fn new(
        session: &Session,
        store: &Store,
        user: u32,
        k: usize,
        descriptions: Option<&Descriptions>,
    ) -> Result<Inspection> {
        let events = session.data.history(user).len();
        let end = [(user, events as u32).into()];
        let best = session.recommend_after(store, &end, k, true)?.remove(0);
        let recommended: Vec<u32> = best.iter().map(|(item, _)| *item).collect();
        let shown = session.shown_after(store, &end, &recommended)?.remove(0);
        let items = Items::new(session, store, descriptions)?;
        let summary = |(k, interest): (usize, &Interest)| Summary {
            weight: interest.weight.clone(),
            genres: genres(&shown, k, &items.vectors.vectors, descriptions),
        };
        Ok(Inspection {
            user: session.data.user_name(user).to_string(),
            events,
            interests: shown.interests.iter().enumerate().map(summary).collect(),
            history: items.history(&shown),
            best: items.best(&shown, best, &recommended),
        })
    }

    /// The picture, as SVG. `title` stands above it.
    ///
    /// # Errors
    /// A picture that cannot be drawn.
    pub fn svg(&self, title: &str) -> Result<String> {
        const COLUMN: f64 = 740.0;
        let right = self.interests.len() + 2 + self.best.len() + 1;
        let height = 70.0 + LINE * (right.max(self.history.len() + 1) as f64 + 0.5);
        svg((2 * COLUMN as u32 + 20, height as u32), |canvas| {
            canvas.text((20.0, 28.0), 18.0, BLACK, Anchor::Left, title)?;
            let at = |column: f64, line: usize| (20.0 + column, 62.0 + LINE * line as f64);
            let heading =
                |column: f64, line: usize, text: &str| canvas.text(at(column, line), SIZE, GREY, Anchor::Left, text);
            heading(0.0, 0, "history, oldest first, by the strongest interest")?;
            for (line, event) in self.history.iter().enumerate() {
                described(canvas, at(0.0, line + 1), event.interest, &format!("{:.2}", event.attention), &event.item)?;
            }
            heading(COLUMN, 0, "interests and their genres")?;
            for (k, interest) in self.interests.iter().enumerate() {
                let weight = interest.weight.same().map(|weight| format!("{weight:.2}")).unwrap_or_default();
                row(canvas, at(COLUMN, k + 1), k, &weight, &listed(&interest.genres), 650.0)?;
            }
            let below = self.interests.len() + 2;
            heading(COLUMN, below, "best items, by the interest that each comes from")?;
            for (line, best) in self.best.iter().enumerate() {
                let (at, score) = (at(COLUMN, below + line + 1), format!("{:.2}", best.score));
                described(canvas, at, best.interest, &score, &best.item)?;
            }
            Ok(())
        })
    }
}

/// Genres with their shares, as far as these show in a percentage.
pub fn listed(genres: &[(String, f64)]) -> String {
    let some = genres.iter().map(|(genre, share)| (genre, (100.0 * share).round())).filter(|(_, share)| *share > 0.0);
    some.map(|(genre, share)| format!("{genre} {share}%")).collect::<Vec<_>>().join(", ")
}

/// Size of the texts of a picture, and height of a line, in pixels.
pub(super) const SIZE: f64 = 14.0;
pub(super) const LINE: f64 = 21.0;

/// A line of a picture: interest, number, and a name that is at most `wide`.
pub(super) fn row(canvas: &Canvas, (x, y): Point, interest: usize, number: &str, name: &str, wide: f64) -> Result<()> {
    let own = colour(interest);
    canvas.text((x, y), SIZE, own, Anchor::Left, &(interest + 1).to_string())?;
    canvas.text((x + 22.0, y), SIZE, own, Anchor::Left, number)?;
    canvas.text((x + 70.0, y), SIZE, own, Anchor::Left, &cut(name, SIZE, wide))
}

/// A line of a picture: interest, number, item and genres.
fn described(canvas: &Canvas, at: Point, interest: usize, number: &str, item: &Item) -> Result<()> {
    let genres = item.genres.join(", ");
    let wide = if genres.is_empty() { 650.0 } else { 325.0 };
    row(canvas, at, interest, number, &item.name, wide)?;
    canvas.text((at.0 + 400.0, at.1), SIZE, colour(interest), Anchor::Left, &cut(&genres, SIZE, 330.0))
}
