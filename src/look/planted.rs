//! Do a model's interests follow those that the embedded world planted?
//!
//! Each true click of a user's window has two labels: the interest that the world drew it from, and the model's interest that it
//! contributes most to. How well they agree, beyond chance, is a number for each user:
//! [`crate::eval::agreement::adjusted_mutual_information`].

use super::numbers::Numbers;
use crate::data::synth::Click;
use crate::data::{Part, Until};
use crate::device::Store;
use crate::error::{Error, Result};
use crate::eval::agreement::adjusted_mutual_information;
use crate::tensor::philox::Stream;
use crate::train::Session;
use serde::Serialize;

/// A run's interests, next to those that were planted.
#[derive(Clone, Debug, Default)]
pub struct Planted {
    pub agreement: Agreement,
    /// Of a model that gives each user a number of interests.
    pub numbers: Option<Numbers>,
}

/// The agreement of each user whose window has enough to agree on: lists in one order of users.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Agreement {
    /// With the model's parameters.
    pub trained: Vec<f64>,
    /// With the same labels in random order within the user: what chance gives.
    pub shuffled: Vec<f64>,
    /// With initial parameters, as they are before a training; those of an earlier phase are not taken.
    pub at_start: Vec<f64>,
    /// Users whose window has too few true clicks, or clicks of one planted interest alone.
    pub left_out: usize,
}

/// True clicks that a window must have.
const LEAST_CLICKS: usize = 8;

impl Planted {
    /// Of the windows before the test targets of a run on the clicks of the embedded world; `store`: its parameters.
    ///
    /// # Errors
    /// Another run; a model without interests; no user with enough to agree on, of a model that gives all users as many interests.
    pub fn of(session: &Session, store: &Store) -> Result<Planted> {
        let Session { data, split, config, .. } = session;
        let Some(world) = session.corpus.clicks_of() else {
            let name = &session.corpus.name;
            let problem = format!(
                "found {name}; expected a run on the clicks of the embedded world: only there are interests planted"
            );
            return Err(Error::Usage(problem));
        };
        let mut start = session.store(None)?;
        session.model.params().initialise(&mut start, config.seed)?;
        let targets: Vec<(u32, u32)> = split.targets(data, Part::Test).collect();
        let ends: Vec<Until> = targets.iter().copied().map(Until::from).collect();
        let (shown, at_start) = (session.shown_after(store, &ends, &[])?, session.shown_after(&start, &ends, &[])?);
        let vectors = [session.item_vectors(store)?, session.item_vectors(&start)?];
        let number = |name: &str| name.parse::<usize>().expect("ids of the world are numbers");
        let (mut agreement, mut numbers) = (Agreement::default(), None);
        for (&(user, events), both) in targets.iter().zip(shown.iter().zip(&at_start)) {
            let (events, read) = (events as usize, both.0.items.len());
            let mut clicks = world.walk(number(data.user_name(user)) - 1).skip(events - read);
            let window: Vec<Click> = clicks.by_ref().take(read).collect();
            let items = window.iter().map(|click| click.item + 1);
            assert!(
                items.eq(both.0.items.iter().map(|&item| number(data.item_name(item)))),
                "the data are the world's clicks, in their order"
            );
            if let (Some(found), Some(target)) = (both.0.number, clicks.next()) {
                numbers.get_or_insert_with(Numbers::default).push(world, found, &window, target, events);
            }
            // The planted interest of each true click, by its position.
            let label = |(at, click): (usize, &Click)| Some((at, click.interest?));
            let planted: Vec<(usize, usize)> = window.iter().enumerate().filter_map(label).collect();
            if planted.len() < LEAST_CLICKS || planted.iter().all(|(_, interest)| *interest == planted[0].1) {
                agreement.left_out += 1;
                continue;
            }
            let truth: Vec<usize> = planted.iter().map(|(_, interest)| *interest).collect();
            let [mut found, started] = [(both.0, &vectors[0]), (both.1, &vectors[1])].map(|(shown, vectors)| {
                let strongest = |&(at, _): &(usize, usize)| shown.strongest(at, vectors.of(shown.items[at]));
                planted.iter().map(strongest).collect::<Vec<usize>>()
            });
            agreement.trained.push(adjusted_mutual_information(&truth, &found));
            agreement.at_start.push(adjusted_mutual_information(&truth, &started));
            Stream::new(config.seed, "look.planted", user as u64).shuffle(&mut found);
            agreement.shuffled.push(adjusted_mutual_information(&truth, &found));
        }
        match agreement.trained.len() {
            0 | 1 if numbers.is_none() => Err(Error::Usage(format!(
                "expected users with {LEAST_CLICKS} true clicks of two planted interests in a window; found {} of {}: raise \
                 data.max_len or world.users",
                agreement.trained.len(),
                targets.len()
            ))),
            _ => Ok(Planted { agreement, numbers }),
        }
    }

    /// The users of another run in addition.
    pub fn extend(&mut self, other: Planted) {
        self.agreement.extend(other.agreement);
        if let Some(numbers) = other.numbers {
            self.numbers.get_or_insert_with(Numbers::default).extend(numbers);
        }
    }
}

impl Agreement {
    fn extend(&mut self, other: Agreement) {
        self.trained.extend(other.trained);
        self.shuffled.extend(other.shuffled);
        self.at_start.extend(other.at_start);
        self.left_out += other.left_out;
    }
}
