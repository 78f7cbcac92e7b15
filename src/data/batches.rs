//! Batches: windows of histories with their targets, negatives and scatter segments, made by background threads.
//!
//! What is in a batch depends on the data, the seed, the epoch and the step, never on a thread: every random stream is keyed
//! by them. So an epoch can be entered at any step, and the number of threads does not show.

use super::ask::Ask;
use super::cache::Dataset;
use super::features::Features;
use super::negatives::{Candidates, Negatives, Sampler};
use super::split::Split;
use super::views::{Event, Views};
use crate::error::{Error, Result};
use crate::tensor::philox::Stream;
use crate::tensor::segments::Segments;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Where a window that is shorter than `max_len` is filled with zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    #[default]
    Left,
    Right,
}

/// What a training sample is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Objective {
    /// A prefix of a user's training part, and the item after it.
    #[default]
    Last,
    /// A window, and at each of its places the item after it. Windows of a user lie side by side, from the end on.
    Next,
    /// A window with a share of its places hidden, and the items that stood there; one window in ten hides its last place
    /// alone, as a prediction does.
    /// [`Objective::targets`] places are hidden at most, which is all that are drawn in 99.8% of the windows.
    Cloze { share: f32 },
}

impl Objective {
    /// Targets of a row of a batch.
    pub fn targets(self, max_len: usize) -> usize {
        match self {
            Objective::Last => 1,
            Objective::Next => max_len,
            // Three standard deviations over the mean.
            Objective::Cloze { share } => {
                let (n, p) = (max_len as f64, share as f64);
                ((n * p + 3.0 * (n * p * (1.0 - p)).sqrt()).ceil() as usize).clamp(1, max_len)
            }
        }
    }

    /// The id that stands for a hidden place, with `items` items.
    pub fn hidden(items: usize) -> u32 {
        items as u32 + 1
    }

    /// Samples of a training part of `len` items, of which all but the first are targets.
    fn samples(self, len: usize, max_len: usize) -> usize {
        match self {
            Objective::Last => len.saturating_sub(1),
            Objective::Next => len.saturating_sub(1).div_ceil(max_len),
            Objective::Cloze { .. } => {
                if len < 2 {
                    0
                } else {
                    len.div_ceil(max_len)
                }
            }
        }
    }

    /// Where sample `number` of a training part of `len` items ends, behind its last target.
    fn end(self, len: usize, number: usize, max_len: usize) -> usize {
        match self {
            Objective::Last => number + 2,
            _ => len - number * max_len,
        }
    }

    /// Places of the sample that ends at `end` which can have a target.
    fn span(self, end: usize, max_len: usize) -> std::ops::Range<usize> {
        match self {
            Objective::Last => end - 1..end,
            Objective::Next => end.saturating_sub(max_len).max(1)..end,
            Objective::Cloze { .. } => end.saturating_sub(max_len)..end,
        }
    }

    /// Places of the events in the window of the sample that ends at `end`.
    fn window(self, end: usize, max_len: usize) -> std::ops::Range<usize> {
        let end = if matches!(self, Objective::Cloze { .. }) { end } else { end - 1 };
        end.saturating_sub(max_len)..end
    }
}

/// Which gathers of a step need sorted segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gathers {
    /// Histories, targets and negatives, all from one table.
    #[default]
    All,
    /// Histories from one table, targets and negatives from another.
    Apart,
    /// Histories alone: the loss is over all items.
    Histories,
}

/// Batches that a thread makes ahead.
const AHEAD: usize = 4;

/// What training batches are like.
#[derive(Clone, Debug)]
pub struct BatchSpec {
    /// Samples a batch, B.
    pub batch: usize,
    /// Items a window, M.
    pub max_len: usize,
    pub padding: Padding,
    pub objective: Objective,
    /// Views of each window that are made besides.
    pub views: Option<Views>,
    /// The table that histories are gathered from has a row for a hidden item, [`Objective::hidden`].
    pub hides: bool,
    /// Negatives a target, n; may be 0.
    pub negatives: usize,
    /// The same n negatives for a whole batch, drawn from all items.
    pub shared: bool,
    pub gathers: Gathers,
    /// Give behaviours.
    pub behaviours: bool,
    /// Features that are given.
    pub features: Option<Arc<Features>>,
    pub sampler: Sampler,
    pub seed: u64,
    /// Background threads; 0 makes each batch when it is asked for.
    pub threads: usize,
}

/// What is read of histories besides their items; empty where nothing is.
#[derive(Clone, Debug, Default)]
pub struct Besides {
    /// The behaviour of each item of the windows, from 1 in their configured order, padded with 0: \[B, M\].
    pub behaviours: Vec<u32>,
    /// Rows of the table of features, which tell what came before the target: \[B, F\].
    pub features: Vec<u32>,
}

impl Default for BatchSpec {
    /// Prefixes padded on the left, a target and a negative each; made when asked for.
    fn default() -> BatchSpec {
        BatchSpec {
            batch: 256,
            max_len: 50,
            padding: Padding::Left,
            objective: Objective::Last,
            views: None,
            hides: false,
            negatives: 1,
            shared: false,
            gathers: Gathers::All,
            behaviours: false,
            features: None,
            sampler: Sampler::Uniform,
            seed: 1,
            threads: 0,
        }
    }
}

/// A training batch. The last one of an epoch may be short: it is filled with empty rows of weight 0.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The items that are read, oldest first, padded with 0: \[B, M\].
    pub history: Vec<u32>,
    /// Items in each window: \[B\].
    pub lengths: Vec<u32>,
    /// Targets, 0 where there is none: \[B T\], T of [`Objective::targets`].
    pub positive: Vec<u32>,
    /// The place of each target in its window, M where there is none: \[B T\]; empty where target number t is that of place t,
    /// or of the whole window.
    pub places: Vec<u32>,
    /// Items outside the user's training part: \[B T, n\], or \[n\] for all.
    pub negative: Vec<u32>,
    /// 1, or 0 where there is no target: \[B T\].
    pub weight: Vec<f32>,
    pub besides: Besides,
    pub views: Windows,
    /// Behaviours of the targets, and for each another one, where they are read: \[B T\].
    pub positive_behaviour: Vec<u32>,
    pub negative_behaviour: Vec<u32>,
    /// Of the features, where they are read.
    pub feature_segments: Option<Segments>,
    /// Users: \[B\].
    pub users: Vec<u32>,
    /// Rows that do not only fill the batch.
    pub samples: usize,
    /// Of history, views, positive and negative, concatenated in that order; or of history and views alone.
    pub segments: Segments,
    /// Of positive and negative, where they are gathered from a table of their own.
    pub output_segments: Option<Segments>,
}

/// Windows of V views of each of B samples, view v of sample b being number v B + b; empty where there are none.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    /// Oldest first, padded with 0: \[V B, M\].
    pub history: Vec<u32>,
    /// Events in each: \[V B\].
    pub lengths: Vec<u32>,
    /// As [`Besides::behaviours`], 0 of a hidden event too: \[V B, M\]; empty where they are not read.
    pub behaviours: Vec<u32>,
}

/// The training samples of a split: every event of a user's training part but the first is the target of those before it.
#[derive(Clone)]
pub struct TrainBatches(Arc<Training>);

struct Training {
    data: Arc<Dataset>,
    split: Arc<Split>,
    spec: BatchSpec,
    negatives: Option<Negatives>,
    /// Samples of all users before each user: \[users + 1\].
    starts: Vec<u64>,
    /// Where each sample ends, behind its last target, in the user's history; not kept where each event is a target.
    ends: Option<Vec<u32>>,
}

impl TrainBatches {
    /// # Errors
    /// A batch or window of length 0; a user for whom no negative exists.
    pub fn new(data: Arc<Dataset>, split: Arc<Split>, spec: BatchSpec) -> Result<TrainBatches> {
        positive("train.batch", spec.batch)?;
        positive("data.max_len", spec.max_len)?;
        let negatives =
            (spec.negatives > 0).then(|| Negatives::new(&data, &split, spec.sampler, spec.shared)).transpose()?;
        let mut starts = vec![0];
        let mut samples = 0;
        let mut ends = (!split.learns_all()).then(Vec::new);
        for user in 0..data.users() as u32 {
            let len = split.train_len(user);
            let own = spec.objective.samples(len, spec.max_len);
            match &mut ends {
                None => samples += own as u64,
                Some(ends) => {
                    let own = (0..own).map(|number| spec.objective.end(len, number, spec.max_len));
                    let learns = |place: usize| place > 0 && split.learns(&data, user, place as u32);
                    let own = own.filter(|&end| spec.objective.span(end, spec.max_len).any(learns));
                    ends.extend(own.map(|end| end as u32));
                    samples = ends.len() as u64;
                }
            }
            starts.push(samples);
        }
        Ok(TrainBatches(Arc::new(Training { data, split, spec, negatives, starts, ends })))
    }

    /// Samples an epoch.
    pub fn samples(&self) -> u64 {
        self.0.starts[self.0.starts.len() - 1]
    }

    pub fn batches_per_epoch(&self) -> usize {
        self.samples().div_ceil(self.0.spec.batch as u64) as usize
    }

    /// The batches of an epoch from `first_step` on, in order.
    pub fn epoch(&self, epoch: u64, first_step: usize) -> Ordered<Batch> {
        let steps = self.batches_per_epoch();
        let (all, shuffle) = (self.clone(), Shuffle::new(self.samples(), self.0.spec.seed, epoch));
        Ordered::new(self.0.spec.threads, first_step..steps, move || {
            let (all, shuffle) = (all.clone(), shuffle.clone());
            move |step| all.make(&shuffle, epoch, step)
        })
    }

    /// The batch of one step of an epoch.
    fn make(&self, shuffle: &Shuffle, epoch: u64, step: usize) -> Batch {
        let Training { data, split, spec, negatives, ends, .. } = &*self.0;
        let first = step as u64 * spec.batch as u64;
        let samples = (self.samples() - first).min(spec.batch as u64) as usize;
        let (m, targets) = (spec.max_len, spec.objective.targets(spec.max_len));
        let mut batch = Batch {
            history: vec![0; spec.batch * m],
            lengths: vec![0; spec.batch],
            positive: vec![0; spec.batch * targets],
            places: vec![
                m as u32;
                if matches!(spec.objective, Objective::Cloze { .. }) { spec.batch * targets } else { 0 }
            ],
            negative: vec![0; if spec.shared { spec.negatives } else { spec.batch * targets * spec.negatives }],
            weight: vec![0.0; spec.batch * targets],
            besides: Besides::zeros(spec.batch, m, spec.behaviours, spec.features.as_deref()),
            views: Windows::zeros(spec.views.map_or(0, Views::count) * spec.batch, m, spec.behaviours),
            positive_behaviour: vec![0; if spec.behaviours { spec.batch * targets } else { 0 }],
            negative_behaviour: vec![0; if spec.behaviours { spec.batch * targets } else { 0 }],
            users: vec![0; spec.batch],
            samples,
            ..Batch::default()
        };
        let entity = epoch * self.batches_per_epoch() as u64 + step as u64;
        let mut stream = Stream::new(spec.seed, "negatives", entity);
        let mut hiding = Stream::new(spec.seed, "hidden places", entity);
        let mut choosing = Stream::new(spec.seed, "other behaviours", entity);
        let mut viewing = Stream::new(spec.seed, "views", entity);
        let mut places = vec![0; targets];
        for row in 0..samples {
            let sample = shuffle.at(first + row as u64);
            let (user, end) = self.sample(sample);
            let items = split.train(data, user as u32);
            let read = spec.objective.window(end, m);
            let learns = |place: usize| ends.is_none() || place > 0 && split.learns(data, user as u32, place as u32);
            let window = &mut batch.history[row * m..(row + 1) * m];
            let positive = &mut batch.positive[row * targets..(row + 1) * targets];
            batch.lengths[row] = match spec.objective {
                Objective::Last => {
                    positive[0] = items[end - 1];
                    places[0] = end - 1;
                    fill(window, &items[read.clone()], spec.padding)
                }
                Objective::Next => {
                    let span = spec.objective.span(end, m);
                    let at = if spec.padding == Padding::Left { m - span.len() } else { 0 };
                    for (t, place) in span.clone().enumerate().filter(|&(_, place)| learns(place)) {
                        (positive[at + t], places[at + t]) = (items[place], place);
                    }
                    fill(window, &items[read.clone()], spec.padding)
                }
                Objective::Cloze { share } => {
                    let span = spec.objective.span(end, m);
                    let own = &items[span.clone()];
                    let len = fill(window, own, spec.padding);
                    let start = if spec.padding == Padding::Left { m - own.len() } else { 0 };
                    let hides = Hides { share, most: targets, with: Objective::hidden(data.items()) };
                    let hidden = hides.hide(
                        &mut window[start..start + own.len()],
                        |place| learns(span.start + place),
                        &mut hiding,
                    );
                    for (t, (place, item)) in hidden.into_iter().enumerate() {
                        (positive[t], places[t]) = (item, span.start + place);
                        batch.places[row * targets + t] = (start + place) as u32;
                    }
                    len
                }
            };
            batch.users[row] = user as u32;
            if let Some(own) = data.behaviours(user as u32).filter(|_| spec.behaviours) {
                let own_window = &mut batch.besides.behaviours[row * m..(row + 1) * m];
                fill_behaviours(own_window, &own[read.clone()], spec.padding);
                let drawn = positive.iter().zip(&places).enumerate().filter(|(_, (item, _))| **item != 0);
                for (t, (_, &place)) in drawn {
                    let (is, n) = (own[place] as u32 + 1, data.behaviour_names().len() as u32);
                    let other = (is + if n > 1 { choosing.below(n - 1) } else { 0 }) % n + 1;
                    batch.positive_behaviour[row * targets + t] = is;
                    batch.negative_behaviour[row * targets + t] = other;
                }
            }
            if let Some(features) = &spec.features {
                let before = spec.objective.span(end, m).start;
                let own = data.behaviours(user as u32).map(|own| &own[..before]);
                let width = features.sizes().len();
                let row = &mut batch.besides.features[row * width..(row + 1) * width];
                features.write(user as u32, &items[..before], own.unwrap_or_default(), row);
            }
            if let Some(views) = spec.views {
                let others = self.samples() - 1;
                let other = if others > 0 { (sample + 1 + viewing.next_u64() % others) % (others + 1) } else { sample };
                let other = self.sample(other);
                let other = self.events(other.0, spec.objective.window(other.1, m));
                let hidden = (Objective::hidden(data.items()), 0);
                let views = views.make(&self.events(user, read), &other, hidden, &mut viewing);
                for (v, view) in views.iter().enumerate() {
                    batch.views.fill(v * spec.batch + row, m, view, spec.padding);
                }
            }
            for (t, _) in positive.iter().enumerate().filter(|(_, item)| **item != 0) {
                let at = row * targets + t;
                batch.weight[at] = 1.0;
                if let Some(negatives) = negatives.as_ref().filter(|_| !spec.shared) {
                    let drawn = &mut batch.negative[at * spec.negatives..(at + 1) * spec.negatives];
                    drawn.iter_mut().for_each(|item| *item = negatives.draw(user as u32, &mut stream));
                }
            }
        }
        if let Some(negatives) = negatives.as_ref().filter(|_| spec.shared) {
            batch.negative.iter_mut().for_each(|item| *item = negatives.draw_any(&mut stream));
        }
        if let Some(features) = &spec.features {
            let mut segments = Segments::default();
            segments.build(&[&batch.besides.features], features.rows());
            batch.feature_segments = Some(segments);
        }
        let rows = data.items() + 1 + spec.hides as usize;
        let Batch { history, views, positive, negative, segments, output_segments, .. } = &mut batch;
        match spec.gathers {
            Gathers::All => segments.build(&[history, &views.history, positive, negative], rows),
            Gathers::Histories => segments.build(&[history, &views.history], rows),
            Gathers::Apart => {
                segments.build(&[history, &views.history], rows);
                let mut output = Segments::default();
                output.build(&[positive, negative], data.items() + 1);
                *output_segments = Some(output);
            }
        }
        batch
    }

    /// The user of a sample, and where it ends, behind its last target, in the user's history.
    fn sample(&self, sample: u64) -> (usize, usize) {
        let Training { data, split, spec, starts, ends, .. } = &*self.0;
        let user = starts.partition_point(|&start| start <= sample) - 1;
        let number = (sample - starts[user]) as usize;
        let end = match ends {
            Some(ends) => ends[sample as usize] as usize,
            None => spec.objective.end(split.train(data, user as u32).len(), number, spec.max_len),
        };
        (user, end)
    }

    /// The events at some places of a user's history.
    fn events(&self, user: usize, places: std::ops::Range<usize>) -> Vec<Event> {
        let Training { data, spec, .. } = &*self.0;
        let items = data.history(user as u32)[places.clone()].iter().copied();
        match data.behaviours(user as u32).filter(|_| spec.behaviours) {
            Some(own) => items.zip(own[places].iter().map(|&behaviour| behaviour as u32 + 1)).collect(),
            None => items.map(|item| (item, 0)).collect(),
        }
    }
}

/// How places are hidden.
struct Hides {
    share: f32,
    most: usize,
    /// The id that stands for a hidden item.
    with: u32,
}

impl Hides {
    /// Hides at most `most` of the places of a window that can be; returns them, with the items that stood there.
    fn hide(&self, window: &mut [u32], can: impl Fn(usize) -> bool, stream: &mut Stream) -> Vec<(usize, u32)> {
        let last = (0..window.len()).rev().find(|&i| can(i)).expect("a window has a place with a target");
        let last_alone = stream.uniform() < 0.1;
        let mut hidden = vec![];
        for (i, item) in window.iter_mut().enumerate() {
            let drawn = if last_alone { i == last } else { stream.uniform() < self.share as f64 };
            // At least one: the last, if none was drawn.
            if drawn && can(i) && hidden.len() < self.most || i == last && hidden.is_empty() {
                hidden.push((i, std::mem::replace(item, self.with)));
            }
        }
        hidden
    }
}

impl Besides {
    /// Room for `rows` windows of `max_len`.
    fn zeros(rows: usize, max_len: usize, behaviours: bool, features: Option<&Features>) -> Besides {
        let width = features.map_or(0, |features| features.sizes().len());
        Besides { behaviours: vec![0; if behaviours { rows * max_len } else { 0 }], features: vec![0; rows * width] }
    }
}

impl Windows {
    /// Room for `rows` windows of `max_len`.
    fn zeros(rows: usize, max_len: usize, behaviours: bool) -> Windows {
        let behaviours = vec![0; if behaviours { rows * max_len } else { 0 }];
        Windows { history: vec![0; rows * max_len], lengths: vec![0; rows], behaviours }
    }

    /// Makes window `row` that of `events`, at most `max_len`.
    fn fill(&mut self, row: usize, max_len: usize, events: &[Event], padding: Padding) {
        let (items, behaviours): (Vec<u32>, Vec<u32>) = events.iter().copied().unzip();
        let window = row * max_len..(row + 1) * max_len;
        self.lengths[row] = fill(&mut self.history[window.clone()], &items, padding);
        if !self.behaviours.is_empty() {
            fill(&mut self.behaviours[window], &behaviours, padding);
        }
    }
}

/// Copies the last behaviours into a window of zeros, as [`fill`] does items; ids count from 1.
fn fill_behaviours(window: &mut [u32], behaviours: &[u8], padding: Padding) {
    let n = behaviours.len().min(window.len());
    let start = if padding == Padding::Left { window.len() - n } else { 0 };
    let own = window[start..start + n].iter_mut().zip(&behaviours[behaviours.len() - n..]);
    own.for_each(|(id, &behaviour)| *id = behaviour as u32 + 1);
}

fn positive(name: &str, value: usize) -> Result<()> {
    match value {
        0 => Err(Error::Usage(format!("{name} is 0; expected at least 1"))),
        _ => Ok(()),
    }
}

/// Copies the last items into a window of zeros; returns how many.
fn fill(window: &mut [u32], items: &[u32], padding: Padding) -> u32 {
    let n = items.len().min(window.len());
    let start = if padding == Padding::Left { window.len() - n } else { 0 };
    window[start..start + n].copy_from_slice(&items[items.len() - n..]);
    n as u32
}

/// A random order of 0..len that is computed, not stored: a Feistel network over the next power of two, walked until it
/// falls below len (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). 100 million samples cost no memory,
/// and an epoch that is resumed starts at once.
#[derive(Clone)]
struct Shuffle {
    len: u64,
    bits: u32,
    keys: [u32; 6],
}

impl Shuffle {
    fn new(len: u64, seed: u64, epoch: u64) -> Shuffle {
        let bits = (u64::BITS - len.saturating_sub(1).leading_zeros()).max(2);
        let mut stream = Stream::new(seed, "shuffle", epoch);
        Shuffle { len, bits, keys: std::array::from_fn(|_| stream.next_u32()) }
    }

    /// What stands at place `i`, below `len`.
    fn at(&self, mut i: u64) -> u64 {
        let (low, high) = (self.bits / 2, self.bits - self.bits / 2);
        loop {
            let (mut left, mut right) = ((i >> low) as u32, (i & ((1 << low) - 1)) as u32);
            for pair in self.keys.chunks_exact(2) {
                left ^= (mix(right ^ pair[0]) as u64 & ((1 << high) - 1)) as u32;
                right ^= (mix(left ^ pair[1]) as u64 & ((1 << low) - 1)) as u32;
            }
            i = (left as u64) << low | right as u64;
            if i < self.len {
                return i;
            }
        }
    }
}

/// The finaliser of MurmurHash3.
fn mix(mut h: u32) -> u32 {
    h = (h ^ h >> 16).wrapping_mul(0x85EB_CA6B);
    h = (h ^ h >> 13).wrapping_mul(0xC2B2_AE35);
    h ^ h >> 16
}

/// What evaluation batches are like.
#[derive(Clone, Debug)]
pub struct EvalSpec {
    /// Rows a batch, B.
    pub batch: usize,
    /// Items a window, M.
    pub max_len: usize,
    pub padding: Padding,
    /// Leave the items of the history that are done with ([`Split::done`]) out of the ranking.
    pub mask_history: bool,
    /// Give behaviours.
    pub behaviours: bool,
    /// Features that are given.
    pub features: Option<Arc<Features>>,
    /// Rank the target among so many sampled negatives, drawn from this seed, instead of all items.
    pub sampled: Option<(usize, u64)>,
    /// Background threads; 0 makes each batch when it is asked for.
    pub threads: usize,
}

impl Default for EvalSpec {
    /// Windows padded on the left, ranked among all items outside the history; made when asked for.
    fn default() -> EvalSpec {
        EvalSpec {
            batch: 256,
            max_len: 50,
            padding: Padding::Left,
            mask_history: true,
            behaviours: false,
            features: None,
            sampled: None,
            threads: 0,
        }
    }
}

/// An evaluation batch; the last one is filled with empty rows of weight 0.
#[derive(Clone, Debug, Default)]
pub struct EvalBatch {
    /// Number of each row in the list of targets: \[B\].
    pub targets: Vec<u32>,
    /// Users: \[B\].
    pub users: Vec<u32>,
    /// The last items before the target, oldest first, padded with 0: \[B, M\].
    pub history: Vec<u32>,
    /// Items in each window: \[B\].
    pub lengths: Vec<u32>,
    pub besides: Besides,
    /// The item to find: \[B\]; 0 when recommending.
    pub target: Vec<u32>,
    /// Row r excludes `exclude_items[exclude_offsets[r]..exclude_offsets[r + 1]]`: \[B + 1\].
    pub exclude_offsets: Vec<u32>,
    /// Per row, ascending and distinct: the target and, if masked, the items before it; then zeros: \[exclude_cap\].
    pub exclude_items: Vec<u32>,
    /// The target, then the negatives: \[B, 1 + N\]; none when all items are ranked.
    pub candidates: Option<Vec<u32>>,
    /// 1, or 0 in rows that only fill the batch: \[B\].
    pub weight: Vec<f32>,
    /// Rows of weight 1.
    pub samples: usize,
}

/// What is asked for, or users to recommend to, in batches.
#[derive(Clone)]
pub struct EvalBatches(Arc<Evaluation>);

struct Evaluation {
    data: Arc<Dataset>,
    split: Arc<Split>,
    spec: EvalSpec,
    /// User, and length of the history.
    targets: Vec<(u32, u32)>,
    /// What is to be found after each, by user; None when recommending.
    items: Option<Vec<u32>>,
    exclude_cap: usize,
}

impl EvalBatches {
    /// The targets of a part, or items that are listed.
    ///
    /// # Errors
    /// A batch or window of length 0; nothing to evaluate; too few items to sample negatives from.
    pub fn new<'a>(
        data: Arc<Dataset>,
        split: Arc<Split>,
        ask: impl Into<Ask<'a>>,
        spec: EvalSpec,
    ) -> Result<EvalBatches> {
        let ask = ask.into();
        let targets = ask.targets(&data, &split);
        if targets.is_empty() {
            return Err(Error::Usage(format!("nothing to evaluate: {}", split.describe(&data))));
        }
        let items = ask.items(&data, &targets);
        if let Some((negatives, seed)) = spec.sampled {
            let users = targets.chunk_by(|a, b| a.0 == b.0).map(|own| own[0].0);
            let asked = users.map(|user| (user, asked_of(user, &targets, &items)));
            Candidates::new(&data, &split, negatives, seed, asked)?;
        }
        EvalBatches::build(data, split, targets, Some(items), spec)
    }

    /// Windows of the first events of users' histories, `histories` giving user and number of events, of which those that are
    /// done with ([`Split::done`]) are excluded (if `spec.mask_history`); no targets.
    ///
    /// # Errors
    /// A batch or window of length 0.
    pub fn recommend(
        data: Arc<Dataset>,
        split: Arc<Split>,
        histories: Vec<(u32, u32)>,
        spec: EvalSpec,
    ) -> Result<EvalBatches> {
        EvalBatches::build(data, split, histories, None, EvalSpec { sampled: None, ..spec })
    }

    fn build(
        data: Arc<Dataset>,
        split: Arc<Split>,
        targets: Vec<(u32, u32)>,
        items: Option<Vec<u32>>,
        spec: EvalSpec,
    ) -> Result<EvalBatches> {
        positive("eval.batch", spec.batch)?;
        positive("data.max_len", spec.max_len)?;
        let most = |rows: &[(u32, u32)]| {
            rows.iter().map(|&(_, len)| if spec.mask_history { len as usize + 1 } else { 1 }).sum::<usize>()
        };
        let exclude_cap = targets.chunks(spec.batch).map(most).max().unwrap_or(0).max(1);
        Ok(EvalBatches(Arc::new(Evaluation { data, split, spec, targets, items, exclude_cap })))
    }

    /// User and length of the history of every target.
    pub fn targets(&self) -> &[(u32, u32)] {
        &self.0.targets
    }

    pub fn steps(&self) -> usize {
        self.0.targets.len().div_ceil(self.0.spec.batch)
    }

    /// Length of `exclude_items` in every batch.
    pub fn exclude_cap(&self) -> usize {
        self.0.exclude_cap
    }

    /// All batches, in order.
    pub fn batches(&self) -> Ordered<EvalBatch> {
        let all = self.clone();
        Ordered::new(self.0.spec.threads, 0..self.steps(), move || {
            let all = all.clone();
            let mut candidates = all.0.spec.sampled.map(|(negatives, seed)| {
                Candidates::new(&all.0.data, &all.0.split, negatives, seed, std::iter::empty())
                    .expect("no user to fail on")
            });
            move |step| all.make(step, candidates.as_mut())
        })
    }

    fn make(&self, step: usize, mut candidates: Option<&mut Candidates>) -> EvalBatch {
        let Evaluation { data, split, spec, targets, items, exclude_cap } = &*self.0;
        let first = step * spec.batch;
        let rows = &targets[first..targets.len().min(first + spec.batch)];
        let mut batch = EvalBatch {
            targets: (first as u32..).take(rows.len()).collect(),
            history: vec![0; spec.batch * spec.max_len],
            exclude_offsets: vec![0],
            besides: Besides::zeros(spec.batch, spec.max_len, spec.behaviours, spec.features.as_deref()),
            candidates: candidates.is_some().then(Vec::new),
            weight: vec![1.0; rows.len()],
            samples: rows.len(),
            ..EvalBatch::default()
        };
        let mut excluded = vec![];
        for (row, &(user, len)) in rows.iter().enumerate() {
            let history = &data.history(user)[..len as usize];
            let target = items.as_ref().map_or(0, |items| items[first + row]);
            let window = &mut batch.history[row * spec.max_len..(row + 1) * spec.max_len];
            batch.lengths.push(fill(window, history, spec.padding));
            let behaviours = data.behaviours(user).map(|own| &own[..len as usize]).unwrap_or_default();
            if spec.behaviours {
                let window = &mut batch.besides.behaviours[row * spec.max_len..(row + 1) * spec.max_len];
                fill_behaviours(window, behaviours, spec.padding);
            }
            if let Some(features) = &spec.features {
                let width = features.sizes().len();
                let row = &mut batch.besides.features[row * width..(row + 1) * width];
                features.write(user, history, behaviours, row);
            }
            batch.users.push(user);
            batch.target.push(target);
            excluded.clear();
            excluded.extend(Some(target).filter(|&target| target != 0));
            if spec.mask_history {
                excluded.extend(split.done(data, user, len as usize));
            }
            excluded.sort_unstable();
            excluded.dedup();
            batch.exclude_items.extend_from_slice(&excluded);
            batch.exclude_offsets.push(batch.exclude_items.len() as u32);
            if let (Some(out), Some(candidates), Some(items)) =
                (&mut batch.candidates, candidates.as_deref_mut(), items)
            {
                out.push(target);
                candidates.draw(data, split, (user, asked_of(user, targets, items)), out);
            }
        }
        let used = batch.exclude_items.len() as u32;
        batch.exclude_offsets.resize(spec.batch + 1, used);
        batch.exclude_items.resize(*exclude_cap, 0);
        batch.weight.resize(spec.batch, 0.0);
        for list in [&mut batch.targets, &mut batch.users, &mut batch.lengths, &mut batch.target] {
            list.resize(spec.batch, 0);
        }
        if let (Some(out), Some((negatives, _))) = (&mut batch.candidates, spec.sampled) {
            out.resize(spec.batch * (1 + negatives), 0);
        }
        batch
    }
}

/// What is asked for of a user, of targets and their items, which are by user.
fn asked_of<'a>(user: u32, targets: &[(u32, u32)], items: &'a [u32]) -> &'a [u32] {
    &items[targets.partition_point(|t| t.0 < user)..targets.partition_point(|t| t.0 <= user)]
}

/// Values made for the steps of a range, by background threads, given out in order. Thread t of T makes every T-th value and
/// waits when it is a few ahead. Dropping it ends the threads.
pub struct Ordered<T> {
    steps: std::ops::Range<usize>,
    inline: Option<Box<dyn FnMut(usize) -> T + Send>>,
    lanes: Vec<(Receiver<T>, JoinHandle<()>)>,
    next: usize,
}

impl<T: Send + 'static> Ordered<T> {
    /// `maker` gives each thread its function from step to value.
    fn new<F>(threads: usize, steps: std::ops::Range<usize>, maker: impl Fn() -> F) -> Ordered<T>
    where
        F: FnMut(usize) -> T + Send + 'static,
    {
        if threads == 0 {
            return Ordered { steps, inline: Some(Box::new(maker())), lanes: vec![], next: 0 };
        }
        let threads = threads.min(steps.len().max(1));
        let lanes = (0..threads).map(|thread| {
            let (send, receive) = sync_channel(AHEAD);
            let (own, mut make) = (steps.clone().skip(thread).step_by(threads), maker());
            let work = move || {
                for step in own {
                    if send.send(make(step)).is_err() {
                        return;
                    }
                }
            };
            let name = format!("batches {thread}");
            (receive, std::thread::Builder::new().name(name).spawn(work).expect("a thread can be started"))
        });
        Ordered { lanes: lanes.collect(), steps, inline: None, next: 0 }
    }
}

impl<T> Iterator for Ordered<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let step = self.steps.next()?;
        if let Some(make) = &mut self.inline {
            return Some(make(step));
        }
        let lane = self.next % self.lanes.len();
        self.next += 1;
        Some(self.lanes[lane].0.recv().expect("a batch thread panicked"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.steps.size_hint()
    }
}

impl<T> ExactSizeIterator for Ordered<T> {}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        for (receive, thread) in self.lanes.drain(..) {
            drop(receive);
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
