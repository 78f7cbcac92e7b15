//! Lists for people who come one by one: all plans are compiled before the first one comes.

use super::Session;
use crate::data::{EvalSpec, Visit, Visits};
use crate::device::{RunOptions, Store};
use crate::error::Result;
use crate::eval::ranker::{RankSpec, Recommender};
use crate::kernels::rank::TopK;

/// What a visit may ask for, and how many are answered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Items of a list.
    pub k: usize,
    /// Events of a visit.
    pub events: usize,
    /// Items that a visit excludes, those of its history among them.
    pub excluded: usize,
    /// Visits of a batch.
    pub batch: usize,
}

/// Rows of a batch that are compiled apart, so that few visits do not wait for the rows of many.
const SIZES: [usize; 3] = [1, 8, 64];

/// Lists up to this length are compiled apart: finding the k best takes k rounds over the scores.
const SHORT: usize = 16;

/// Items with their scores, best first; or the item whose score is not finite.
pub type List = Result<Vec<(u32, f32)>, u32>;

/// A session's model, compiled to answer visits.
pub struct Answers {
    /// By ascending size.
    compiled: Vec<Compiled>,
}

/// The plans for a batch of one size.
struct Compiled {
    visits: Visits,
    short: Recommender,
    /// For lists of more than [`SHORT`].
    long: Option<Recommender>,
}

impl Session {
    /// Compiles what answers visits by the parameters in `store`.
    ///
    /// # Errors
    /// A model of classes; a device that cannot hold the plans.
    pub fn answers(&self, store: &Store, limits: &Limits) -> Result<Answers> {
        self.check_items()?;
        let Session { device, model, data, config, .. } = self;
        let max_len = model.window(config.data.max_len, limits.events);
        let most = limits.batch.min(config.eval.batch).max(1);
        let compile = |batch: usize| {
            let spec = EvalSpec {
                batch,
                max_len,
                padding: model.padding(),
                reads: model.reads(),
                features: self.features.clone(),
                ..EvalSpec::default()
            };
            let visits = Visits::new(&spec, limits.excluded)?;
            let (items, exclude_cap) = (data.items(), visits.exclude_cap());
            let spec = RankSpec { batch, max_len, items, sets: vec![], exclude_cap, run: RunOptions::default() };
            let of = |k: usize| Recommender::new(device, store, &**model, &spec, k.clamp(1, items));
            let short = of(limits.k.min(SHORT))?;
            let long = (limits.k.min(items) > SHORT).then(|| of(limits.k)).transpose()?;
            Ok(Compiled { visits, short, long })
        };
        let sizes = SIZES.into_iter().filter(|&size| size < most).chain([most]);
        Ok(Answers { compiled: sizes.map(compile).collect::<Result<_>>()? })
    }

    /// The behaviours that a visit must name its events' by; empty where none are read.
    pub fn behaviours_of_visits(&self) -> &[String] {
        let reads = self.model.reads();
        let read = reads.behaviours || reads.features > 0 || self.split.target().is_some();
        if read { self.data.behaviours_in_use() } else { &[] }
    }
}

impl Answers {
    /// The most visits that are answered at once.
    pub fn most(&self) -> usize {
        self.compiled.last().map_or(0, |largest| largest.visits.size())
    }

    /// For each visit its `k` best items with their scores, best first; fewer where fewer are left. Where a score is not finite, the
    /// item that has it.
    ///
    /// # Errors
    /// A device that fails.
    ///
    /// # Panics
    /// If there are more visits than [`Answers::most`].
    pub fn best(&mut self, visits: &[(&Visit, usize)]) -> Result<Vec<List>> {
        let fits = self.compiled.iter_mut().find(|compiled| compiled.visits.size() >= visits.len());
        let Compiled { visits: batches, short, long } = fits.expect("no more than the most");
        let batch = batches.batch(visits.iter().map(|(visit, _)| *visit));
        let longest = visits.iter().map(|(_, k)| *k).max().unwrap_or(0);
        let recommender = match long {
            Some(long) if longest > SHORT => long,
            _ => short,
        };
        let lists = recommender.best(&batch)?.into_iter().zip(visits);
        let judged = lists.map(|(mut list, (_, k))| match list.first() {
            Some((item, score)) if *score == TopK::NOT_FINITE => Err(*item),
            _ => {
                list.truncate(*k);
                Ok(list)
            }
        });
        Ok(judged.collect())
    }
}
