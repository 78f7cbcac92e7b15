//! A user's history as it is and with one more event, side by side: what that event does to the user's interests and to what is
//! recommended.

use super::canvas::{Anchor, GREY, cut, svg};
use super::inspection::{Best, Event, Item, Items, LINE, SIZE, plain, row};
use crate::data::dataset::{Dataset, nearest_id};
use crate::data::{Descriptions, Until};
use crate::device::Store;
use crate::error::{Error, Result};
use crate::text::counted;
use crate::train::Session;
use plotters::style::{BLACK, RGBColor};

/// The continuations of a user's history: as it is, then with one more event of each item that was asked for, in their order.
#[derive(Clone, Debug)]
pub struct Continuations {
    /// Events of the history as it is.
    pub events: usize,
    pub all: Vec<Continuation>,
}

/// A history that ends in one way.
#[derive(Clone, Debug)]
pub struct Continuation {
    /// `as it is`, or `then 1`, `then 2` and so on.
    pub name: String,
    /// The item of the event that follows the history. None: the history as it is.
    pub then: Option<Item>,
    /// The events that the model reads, oldest first. The window that ends in the added event begins one event later where it
    /// was full.
    pub history: Vec<Event>,
    /// The number of the user's interests after each of these events, the history cut there. None: the model gives all users as
    /// many.
    pub numbers: Option<Vec<usize>>,
    /// The best items outside the history, best first.
    pub best: Vec<Best>,
}

/// The item with the id `name`, or with this title, as it is shown, if one item has it.
///
/// # Errors
/// An item that does not exist, with the nearest one; a title of several.
pub fn item_called(data: &Dataset, descriptions: Option<&Descriptions>, name: &str) -> Result<u32> {
    let items = 1..=data.items() as u32;
    if let Some(item) = items.clone().find(|&item| data.item_name(item) == name) {
        return Ok(item);
    }
    let title = |item: u32| descriptions.and_then(|descriptions| descriptions.of(item).title.as_deref());
    let titled: Vec<u32> =
        items.clone().filter(|&item| title(item).is_some_and(|title| plain(title) == name)).collect();
    match titled[..] {
        [item] => Ok(item),
        [] => {
            let ids = items.clone().map(|item| data.item_name(item));
            let near = nearest_id(name, ids.chain(items.filter_map(title)));
            let meant = near.map(|near| format!("; the nearest is {near:?}")).unwrap_or_default();
            Err(Error::Usage(format!("no item {name:?} in this data set{meant}")))
        }
        _ => {
            let ids: Vec<&str> = titled.iter().map(|&item| data.item_name(item)).collect();
            let (count, ids) = (counted(ids.len(), "item"), ids.join(", "));
            Err(Error::Usage(format!("{name:?} is the title of {count}; expected an id: one of {ids}")))
        }
    }
}

impl Continuations {
    /// Of a user's history by `then`, each with its `k` best items.
    ///
    /// # Errors
    /// As of [`super::Inspection::new`].
    pub fn new(
        session: &Session,
        store: &Store,
        (user, then): (u32, &[u32]),
        k: usize,
        descriptions: Option<&Descriptions>,
    ) -> Result<Continuations> {
        let Session { data, config, model, .. } = session;
        let events = data.history(user).len() as u32;
        let as_it_is = Until::from((user, events));
        let then = then.iter().map(|&item| Until { then: Some(item), ..as_it_is });
        let ends: Vec<Until> = [as_it_is].into_iter().chain(then).collect();
        let best = session.recommend_after(store, &ends, k, true)?;
        let mut asked: Vec<u32> = best.iter().flatten().map(|(item, _)| *item).collect();
        asked.sort_unstable();
        asked.dedup();
        // The history cut after each event of the window but the last, and its ends.
        let read = (model.window(config.data.max_len, data.longest()) as u32).min(events);
        let cuts = (events - read + 1..events).map(|events| Until::from((user, events)));
        let mut shown = session.shown_after(store, &cuts.chain(ends.iter().copied()).collect::<Vec<_>>(), &asked)?;
        let ends_shown = shown.split_off(shown.len() - ends.len());
        shown.push(ends_shown[0].clone());
        let after_each: Option<Vec<usize>> = shown.iter().map(|shown| shown.number).collect();
        let items = Items::new(session, store, descriptions)?;
        let mut all = vec![];
        for (column, ((end, shown), best)) in ends.iter().zip(&ends_shown).zip(best).enumerate() {
            let name = if column == 0 { "as it is".to_string() } else { format!("then {column}") };
            let history = items.history(shown);
            let numbers = after_each.clone().zip(shown.number).map(|(mut numbers, number)| {
                numbers.extend(end.then.map(|_| number));
                numbers.split_off(numbers.len() - history.len())
            });
            let then = end.then.map(|item| items.described(item));
            all.push(Continuation { name, then, history, numbers, best: items.best(shown, best, &asked) });
        }
        Ok(Continuations { events: events as usize, all })
    }

    /// The events of all windows, oldest first: the number of an event in the history, from 1, its item, the number of interests
    /// after it, and for each continuation the event's interest there, counted from 0, if it is read there.
    pub fn steps(&self) -> Vec<Step<'_>> {
        let mut steps: Vec<Step> = vec![];
        for (column, one) in self.all.iter().enumerate() {
            let end = self.end(one);
            for (at, event) in one.history.iter().enumerate() {
                let number = end - one.history.len() + at + 1;
                let then = one.then.as_ref().filter(|_| number == end).map(|_| column);
                let same = |step: &&mut Step| step.event == number && step.then == then;
                let step = match steps.iter_mut().find(same) {
                    Some(step) => step,
                    None => {
                        let after = one.numbers.as_ref().map(|numbers| numbers[at]);
                        let interests = vec![None; self.all.len()];
                        steps.push(Step { event: number, then, item: &event.item, number: after, interests });
                        steps.last_mut().expect("it was just pushed")
                    }
                };
                step.interests[column] = Some(event.interest);
            }
        }
        steps
    }

    /// Events of the history that ends in one way.
    fn end(&self, one: &Continuation) -> usize {
        self.events + one.then.is_some() as usize
    }

    /// The picture, as SVG: a column for each continuation, in which the same events stand in the same lines. `title` stands
    /// above them.
    ///
    /// # Errors
    /// A picture that cannot be drawn.
    pub fn svg(&self, title: &str) -> Result<String> {
        let unread = self.all.iter().map(|one| self.end(one) - one.history.len()).min().unwrap_or(0);
        let best = self.all.iter().map(|one| one.best.len()).max().unwrap_or(0);
        let below = self.events + 1 - unread + 3;
        let size = (20.0 + COLUMN * self.all.len() as f64, 70.0 + LINE * ((below + 1 + best) as f64 + 0.5));
        svg((size.0 as u32, size.1 as u32), |canvas| {
            canvas.text((20.0, 28.0), 18.0, BLACK, Anchor::Left, &cut(title, 18.0, size.0 - 40.0))?;
            for (column, one) in self.all.iter().enumerate() {
                let at = |line: usize| (20.0 + COLUMN * column as f64, 62.0 + LINE * line as f64);
                let text = |line: usize, colour: RGBColor, text: &str| {
                    canvas.text(at(line), SIZE, colour, Anchor::Left, &cut(text, SIZE, WIDE))
                };
                let then = one.then.as_ref().map(|item| format!(": {}", item.name)).unwrap_or_default();
                text(0, BLACK, &format!("{}{then}", one.name))?;
                let after = if one.numbers.is_some() { ", number of interests after it" } else { "" };
                text(1, GREY, &format!("interest{after}"))?;
                let first = self.end(one) - one.history.len() - unread + 2;
                for (place, event) in one.history.iter().enumerate() {
                    let number = one.numbers.as_ref().map(|numbers| numbers[place].to_string()).unwrap_or_default();
                    row(canvas, at(first + place), event.interest, &number, &event.item.name, WIDE - 70.0)?;
                }
                if one.then.is_some() {
                    let (x, y) = at(self.events - unread + 2);
                    canvas.line((x, y - LINE / 2.0), (x + WIDE, y - LINE / 2.0), GREY, 1)?;
                }
                text(below, GREY, "best items, by the interest that each comes from")?;
                for (rank, best) in one.best.iter().enumerate() {
                    let score = format!("{:.2}", best.score);
                    row(canvas, at(below + 1 + rank), best.interest, &score, &best.item.name, WIDE - 70.0)?;
                }
            }
            Ok(())
        })
    }
}

/// An event, in the windows of all continuations.
#[derive(Clone, Debug, PartialEq)]
pub struct Step<'a> {
    pub event: usize,
    /// The continuation that it belongs to alone, where it is the added one.
    pub then: Option<usize>,
    pub item: &'a Item,
    pub number: Option<usize>,
    pub interests: Vec<Option<usize>>,
}

/// Width of a continuation and of what is written in it, in pixels.
const COLUMN: f64 = 480.0;
const WIDE: f64 = COLUMN - 30.0;
