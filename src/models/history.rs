//! Histories: the one input that all models share, in training and in evaluation.

use crate::data::batches::{Besides, Padding, Windows};
use crate::device::Runner;
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::models::Reads;
use crate::nn::Params;
use crate::tensor::{Spec, Tensor};

/// Histories, as a model sees them.
#[derive(Clone, Copy)]
pub struct History<'g> {
    /// \[B, M\] u32, 0 = padding.
    pub items: Var<'g>,
    /// \[B, M\] u32: distance from the end of the history, the newest item 1; 0 = padding.
    pub recency: Var<'g>,
    /// \[B, K\] u32: the places that have a target, M for none; where that is not every place.
    pub targets: Option<Var<'g>>,
    /// \[B, M\] u32: the behaviour of each event, from 1 in their configured order; 0 = padding. Of a model that reads them.
    pub behaviours: Option<Var<'g>>,
    /// \[B, F\] u32: for each feature of the user its row in a table of all of them. Of a model that reads them.
    pub features: Option<Var<'g>>,
    /// Whether dropout is on.
    pub training: bool,
}

impl<'g> History<'g> {
    /// Histories of items alone, as in evaluation.
    pub fn new(items: Var<'g>, recency: Var<'g>) -> History<'g> {
        History { items, recency, targets: None, behaviours: None, features: None, training: false }
    }

    /// The inputs that carry `batch` histories, which [`write_history`] writes.
    pub(crate) fn inputs(g: &'g Graph, batch: usize, max_len: usize, reads: Reads, training: bool) -> History<'g> {
        let input = |name: &str, width: usize| g.input(name, Spec::u32([batch, width]));
        History {
            behaviours: reads.behaviours.then(|| input("behaviours", max_len)),
            features: (reads.features > 0).then(|| input("features", reads.features)),
            training,
            ..History::new(input("history", max_len), input("recency", max_len))
        }
    }

    /// The inputs that carry so many windows of views, which [`write_views`] writes.
    pub(crate) fn views(g: &'g Graph, windows: usize, max_len: usize, reads: Reads) -> History<'g> {
        let input = |name: &str| g.input(name, Spec::u32([windows, max_len]));
        History {
            behaviours: reads.behaviours.then(|| input("views.behaviours")),
            training: true,
            ..History::new(input("views"), input("views.recency"))
        }
    }

    /// Histories, padded on the left, with one more event behind them, the oldest gone where there is no room: a
    /// `hidden` item, to be found. Of behaviour `target`, or the newest event's.
    pub fn with_hidden(&self, hidden: u32, target: Option<u32>) -> History<'g> {
        let (g, b, m) = (self.items.graph(), self.items.shape()[0], self.items.shape()[1]);
        let moved = |x: Var<'g>, last| if m > 1 { g.concat(1, &[x.slice(1, 1, m - 1), last]) } else { last };
        let same = |id: u32| g.constant(Tensor::u32([b, 1], vec![id; b]));
        let behaviours = self.behaviours.map(|behaviours| {
            let last = target.map_or_else(|| behaviours.slice(1, m - 1, 1), same);
            moved(behaviours, last)
        });
        History { items: moved(self.items, same(hidden)), behaviours, ..*self }
    }

    /// What stands at the places that have a target, \[B, K, d\], of `places` \[B, M, d\]; zeros for none.
    ///
    /// # Panics
    /// If `targets` is not given.
    pub fn at_targets(&self, places: Var<'g>) -> Var<'g> {
        let (targets, m) = (self.targets.expect("a history with targets at some places"), places.shape()[1]);
        let [b, k] = [targets.shape()[0], targets.shape()[1]];
        let all = places.graph().constant(Tensor::u32([1, 1, m], (0..m as u32).collect()));
        targets.reshape([b, k, 1]).equal(all).matmul(places)
    }

    /// The rows of `table` at each place, zeros where padded: \[B, M, d\].
    pub fn embed(&self, table: Var<'g>) -> Var<'g> {
        let [b, m] = [self.items.shape()[0], self.items.shape()[1]];
        table.gather(self.items) * self.items.nonzero().reshape([b, m, 1])
    }

    /// `x` \[B, M, d\] with the row of `behaviour_embedding` of each event added, if behaviours are given.
    pub fn add_behaviours(&self, params: &Params, x: Var<'g>) -> Var<'g> {
        let Some(behaviours) = self.behaviours else { return x };
        x + params.var(x.graph(), "behaviour_embedding").gather(behaviours)
    }

    /// What stands at the newest item of each history, \[B, d\], of `places` \[B, M, d\].
    pub fn newest(&self, places: Var<'g>) -> Var<'g> {
        let [b, m, d] = [places.shape()[0], places.shape()[1], places.shape()[2]];
        let one = places.constant_like(1.0);
        self.recency.equal(one).reshape([b, 1, m]).matmul(places).reshape([b, d])
    }
}

/// Writes histories and their recency (newest 1, padding 0) to a runner.
pub(crate) fn write_history(
    runner: &mut Runner,
    history: &[u32],
    lengths: &[u32],
    max_len: usize,
    padding: Padding,
    recency: &mut Vec<u32>,
) -> Result<()> {
    runner.write_u32("history", history)?;
    write_recency(runner, "recency", lengths, max_len, padding, recency)
}

/// Writes views of windows to a runner.
pub(crate) fn write_views(
    runner: &mut Runner,
    views: &Windows,
    max_len: usize,
    padding: Padding,
    recency: &mut Vec<u32>,
) -> Result<()> {
    if views.lengths.is_empty() {
        return Ok(());
    }
    runner.write_u32("views", &views.history)?;
    write_recency(runner, "views.recency", &views.lengths, max_len, padding, recency)?;
    match views.behaviours.is_empty() {
        true => Ok(()),
        false => runner.write_u32("views.behaviours", &views.behaviours),
    }
}

fn write_recency(
    runner: &mut Runner,
    name: &str,
    lengths: &[u32],
    max_len: usize,
    padding: Padding,
    recency: &mut Vec<u32>,
) -> Result<()> {
    recency.clear();
    for &len in lengths {
        let len = len as usize;
        let start = if padding == Padding::Left { max_len - len } else { 0 };
        recency
            .extend((0..max_len).map(|i| if (start..start + len).contains(&i) { (start + len - i) as u32 } else { 0 }));
    }
    runner.write_u32(name, recency)
}

/// Writes what else a model reads of histories to a runner.
pub(crate) fn write_besides(runner: &mut Runner, besides: &Besides) -> Result<()> {
    let all = [("behaviours", &besides.behaviours), ("features", &besides.features)];
    all.into_iter()
        .filter(|(_, values)| !values.is_empty())
        .try_for_each(|(name, values)| runner.write_u32(name, values))
}
