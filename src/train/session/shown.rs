//! What a session's model computes of users and items, as numbers to look at.

use super::Session;
use crate::data::samples::{EvalBatch, Part, Sizes, history};
use crate::data::{EvalBatches, EvalSpec, Until};
use crate::device::{RunOptions, Store};
use crate::error::{Error, Result};
use crate::graph::plan::Options;
use crate::graph::{Graph, Var};
use crate::models::{History, Inputs, Interests, Weights};
use crate::tensor::Tensor;
use std::cell::Cell;
use std::collections::HashMap;

/// The interests of a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    pub user: u32,
    /// The items of the window that the model reads, oldest first.
    pub items: Vec<u32>,
    /// In the model's order, those that the user has.
    pub interests: Vec<Interest>,
    /// The number of these, where the model gives each user a number of their own.
    pub number: Option<usize>,
}

/// One of a user's interests: a row of each tensor of [`Interests`].
#[derive(Clone, Debug, PartialEq)]
pub struct Interest {
    /// What items are compared with, \[d\].
    pub vector: Vec<f32>,
    pub weight: Weight,
    /// \[d\].
    pub centre: Vec<f32>,
    /// Standard deviations around the centre, \[d\].
    pub dispersion: Option<Vec<f32>>,
    /// How much each of the items contributes.
    pub attention: Option<Vec<f32>>,
}

/// How an interest counts in a score: a user's row of [`Weights`].
#[derive(Clone, Debug, PartialEq)]
pub enum Weight {
    /// The best interest alone counts.
    Best,
    /// The same for all items.
    Same(f32),
    /// Its own for each item: those for the items that were asked for.
    ByItem(Vec<f32>),
}

impl Weight {
    /// The weight for all items, where it is one.
    pub fn same(&self) -> Option<f32> {
        if let Weight::Same(weight) = self { Some(*weight) } else { None }
    }
}

impl Interest {
    /// What the interest adds to the score of item `number` of those that were asked for, given as its vector.
    pub fn part(&self, number: usize, item: &[f32]) -> f32 {
        let weight = match &self.weight {
            Weight::Best => 1.0,
            Weight::Same(weight) => *weight,
            Weight::ByItem(weights) => weights[number],
        };
        weight * dot(&self.vector, item)
    }
}

impl Shown {
    /// The interest, counted from 0, that the score of item `number` of those that were asked for comes from, given as its vector:
    /// the one that adds most to it, or the best. An interest that has no weight in the score of the item is not its source.
    pub fn source(&self, number: usize, item: &[f32]) -> usize {
        let without =
            |interest: &Interest| matches!(&interest.weight, Weight::ByItem(weights) if weights[number] == 0.0);
        let part = |interest| if without(interest) { f32::NEG_INFINITY } else { interest.part(number, item) };
        strongest(self.interests.iter().map(part))
    }

    /// The interest, counted from 0, that item `at` of the window contributes most to; of a model without attention the one
    /// that the item, given as its vector, is nearest to.
    pub fn strongest(&self, at: usize, item: &[f32]) -> usize {
        strongest(self.interests.iter().map(|interest| match &interest.attention {
            Some(attention) => attention[at],
            None => dot(&interest.vector, item),
        }))
    }

    /// How much item `at` of the window contributes to interest `k`; of a model without attention, 1 to its strongest.
    pub fn attention(&self, at: usize, k: usize, item: &[f32]) -> f32 {
        match &self.interests[k].attention {
            Some(attention) => attention[at],
            None => (self.strongest(at, item) == k) as u8 as f32,
        }
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The first of the largest.
fn strongest(values: impl Iterator<Item = f32>) -> usize {
    let best = values.enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map_or(0, |(k, _)| k)
}

/// Rows of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    pub width: usize,
    /// \[rows, width\].
    pub values: Vec<f32>,
}

impl Rows {
    pub fn of(&self, row: usize) -> &[f32] {
        &self.values[row * self.width..(row + 1) * self.width]
    }
}

/// The items as users are compared with them.
#[derive(Clone, Debug, PartialEq)]
pub struct ItemVectors {
    /// Row i is item i + 1.
    pub vectors: Rows,
    /// What is added to the score of each item.
    pub bias: Option<Vec<f32>>,
}

impl ItemVectors {
    /// The vector of an item, from 1.
    pub fn of(&self, item: u32) -> &[f32] {
        self.vectors.of(item as usize - 1)
    }
}

/// Names of a plan's results.
const PARTS: [&str; 7] = ["vectors", "weights", "weights by item", "centres", "dispersions", "attention", "used"];

impl Session {
    /// The interests of each of `users` after the user's whole history.
    ///
    /// # Errors
    /// A model that represents a user by one vector; a user without an event; a device that fails.
    pub fn shown(&self, store: &Store, users: &[u32]) -> Result<Vec<Shown>> {
        self.shown_after(store, &self.whole(users), &[])
    }

    /// As [`Session::shown`], after the ends of histories. Interests that are weighted by the item get their weights for `items`.
    pub fn shown_after(&self, store: &Store, histories: &[Until], items: &[u32]) -> Result<Vec<Shown>> {
        let by_item = Cell::new(false);
        let declare = |g: &Graph, history: &History| {
            let Some(shown) = self.model.shown(g, history) else {
                return Err(Error::Usage(format!(
                    "model.name: found {}, which represents a user by one vector; expected a model of several interests, such \
                     as pomrec",
                    self.model.name()
                )));
            };
            let Interests { vectors, weights, centres, dispersions, attention, used } = shown;
            by_item.set(matches!(weights, Weights::ByItem));
            let same = if let Weights::Same(weights) = weights { Some(weights) } else { None };
            let asked = (by_item.get() && !items.is_empty()).then(|| {
                let items = g.constant(Tensor::u32([items.len()], items.to_vec()));
                self.model.interest_weights(g, self.model.user(g, history), items)
            });
            let parts = [Some(vectors), same, asked, Some(centres), dispersions, attention, used];
            let given = PARTS.into_iter().zip(parts).filter_map(|(name, part)| Some((name, part?)));
            given.for_each(|(name, part)| g.result(name, part));
            Ok(())
        };
        let mut all = vec![];
        self.over_histories(store, histories, declare, |batch, results| {
            let history = batch.columns.u32("history");
            let m = history.len() / batch.users.len();
            let [_, k, d] = [0, 1, 2].map(|axis| results["vectors"].spec().shape[axis]);
            let parts = PARTS.map(|name| results.get(name).map(Tensor::to_f32));
            let [vectors, same, asked, centres, dispersions, attention, used] = parts.each_ref().map(Option::as_deref);
            for (row, &user) in batch.users.iter().enumerate().take(batch.samples) {
                let window = &history[row * m..(row + 1) * m];
                let positions: Vec<usize> = (0..m).filter(|&at| window[at] != 0).collect();
                let weight = |at: usize| match same {
                    Some(weights) => Weight::Same(weights[row * k + at]),
                    None if by_item.get() => {
                        let weight = |item| asked.expect("it is declared")[(row * items.len() + item) * k + at];
                        Weight::ByItem((0..items.len()).map(weight).collect())
                    }
                    None => Weight::Best,
                };
                let interest = |at: usize| {
                    let of = |rows: &[f32]| rows[(row * k + at) * d..][..d].to_vec();
                    let attended =
                        |all: &[f32]| positions.iter().map(|&position| all[(row * m + position) * k + at]).collect();
                    Interest {
                        vector: of(vectors.expect("it is declared")),
                        weight: weight(at),
                        centre: of(centres.expect("it is declared")),
                        dispersion: dispersions.map(of),
                        attention: attention.map(attended),
                    }
                };
                let has = |at: &usize| used.is_none_or(|used| used[row * k + at] != 0.0);
                let read = positions.iter().map(|&at| window[at]).collect();
                let interests: Vec<Interest> = (0..k).filter(has).map(interest).collect();
                let number = used.map(|_| interests.len());
                all.push(Shown { user, items: read, interests, number });
            }
        })?;
        Ok(all)
    }

    /// The representation of each of `users` after the user's whole history, a row each.
    ///
    /// # Errors
    /// A user without an event; a device that fails.
    pub fn user_vectors(&self, store: &Store, users: &[u32]) -> Result<Rows> {
        let mut rows = Rows { width: 0, values: vec![] };
        let declare = |g: &Graph, history: &History| {
            g.result("user", self.model.user(g, history));
            Ok(())
        };
        self.over_histories(store, &self.whole(users), declare, |batch, results| {
            let values = results["user"].to_f32();
            rows.width = values.len() / batch.users.len();
            rows.values.extend_from_slice(&values[..batch.samples * rows.width]);
        })?;
        Ok(rows)
    }

    /// The vector, and where the model has one the bias, of each item.
    ///
    /// # Errors
    /// A device that fails.
    pub fn item_vectors(&self, store: &Store) -> Result<ItemVectors> {
        self.check_items()?;
        let g = Graph::new();
        let Some(output) = self.model.output(&g) else {
            return Ok(ItemVectors { vectors: self.item_embeddings(store)?, bias: None });
        };
        let first = output.classes.start;
        let vectors = self.rows_of_items(store, "vectors", first, output.items())?;
        let bias = output.bias.map(|bias| self.rows_of_items(store, "bias", first, bias)).transpose()?;
        Ok(ItemVectors { vectors, bias: bias.map(|bias| bias.values) })
    }

    /// The row of each item in the table that histories are gathered from.
    ///
    /// # Errors
    /// A device that fails.
    pub fn item_embeddings(&self, store: &Store) -> Result<Rows> {
        let g = Graph::new();
        self.rows_of_items(store, "embeddings", 1, self.model.item_table(&g))
    }

    /// The rows of `table` that are items, of which the first is row `first`; the result is called `name` in the table's graph.
    fn rows_of_items(&self, store: &Store, name: &str, first: usize, table: Var) -> Result<Rows> {
        let g = table.graph();
        g.result(name, table.slice(0, first, self.data.items()));
        let mut runner =
            self.device.compile(&self.device.plan(g, Options::default())?, store, RunOptions::default())?;
        runner.run()?;
        Ok(Rows { width: table.shape().last_dim(), values: runner.read(name)?.to_f32() })
    }

    /// The whole history of each of `users`.
    pub(super) fn whole(&self, users: &[u32]) -> Vec<Until> {
        users.iter().map(|&user| (user, self.data.history(user).len() as u32).into()).collect()
    }

    /// Runs what `declare` makes results of, over the ends of `histories`, and gives each batch's results to `read`.
    fn over_histories(
        &self,
        store: &Store,
        histories: &[Until],
        declare: impl for<'g> Fn(&'g Graph, &History<'g>) -> Result<()>,
        mut read: impl FnMut(&EvalBatch, &HashMap<&str, Tensor>),
    ) -> Result<()> {
        let Session { device, model, data, config, .. } = self;
        if let Some(&Until { user, .. }) = histories.iter().find(|history| history.events == 0) {
            let name = data.user_name(user);
            return Err(Error::Usage(format!("user {name:?} has no history: no event of an item that the run knows")));
        }
        let (batch, max_len) =
            (config.eval.batch.min(histories.len()), model.window(config.data.max_len, data.longest()));
        let (padding, reads) = (model.padding(), model.reads());
        let g = Graph::new();
        let sizes = Sizes { batch, max_len, targets: 0, padding };
        let columns = history::History { reads, features: None }.columns(&sizes);
        declare(&g, &History::of(&Inputs::declare(&g, &columns), false))?;
        let plan = device.plan(&g, Options::default())?;
        let mut runner = device.compile(&plan, store, RunOptions::default())?;
        let spec = EvalSpec { batch, max_len, padding, reads, features: self.features.clone(), ..EvalSpec::default() };
        let histories = histories.iter().copied();
        for batch in EvalBatches::recommend(data.clone(), self.split.clone(), histories, spec)?.batches() {
            batch.columns.write(&mut runner)?;
            runner.run()?;
            let results = plan.results.iter().map(|(name, _)| Ok((name.as_str(), runner.read(name)?)));
            read(&batch, &results.collect::<Result<_>>()?);
        }
        Ok(())
    }
}
