//! Training batches: samples in a random order, with negatives and scatter segments.

use super::{Besides, Gathers, Objective, Ordered, Padding, Windows, fill, fill_behaviours, positive};
use crate::data::dataset::Dataset;
use crate::data::features::Features;
use crate::data::negatives::{LeftOut, Negatives, Sampler};
use crate::data::split::Split;
use crate::data::views::{Event, Views};
use crate::error::{Error, Result};
use crate::tensor::philox::Stream;
use crate::tensor::segments::Segments;
use std::sync::Arc;

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
    left_out: LeftOut,
}

impl TrainBatches {
    /// Users who have every item are left out where negatives are drawn for each: there are none.
    ///
    /// # Errors
    /// A batch or window of length 0; no negative for any user.
    pub fn new(data: Arc<Dataset>, split: Arc<Split>, spec: BatchSpec) -> Result<TrainBatches> {
        positive("train.batch", spec.batch)?;
        positive("data.max_len", spec.max_len)?;
        let negatives = (spec.negatives > 0).then(|| Negatives::new(&data, &split, spec.sampler));
        let own = negatives.as_ref().filter(|_| !spec.shared);
        let mut left_out = LeftOut { needed: 1, ..LeftOut::default() };
        let mut starts = vec![0];
        let mut samples = 0;
        let mut ends = (!split.learns_all()).then(Vec::new);
        for user in 0..data.users() as u32 {
            let mut len = split.train_len(user);
            if own.is_some_and(|negatives| !negatives.exist(user)) {
                left_out.add((1..len).filter(|&place| split.learns(&data, user, place as u32)).count());
                len = 0;
            }
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
        if samples == 0 && left_out.targets > 0 {
            return Err(Error::Usage(format!(
                "no negative is left for any user: all that have something to learn have each of the {} items; take a loss over \
                 all items (loss.kind=softmax)",
                data.items()
            )));
        }
        Ok(TrainBatches(Arc::new(Training { data, split, spec, negatives, starts, ends, left_out })))
    }

    /// Targets that would be learned, but for which no negative exists.
    pub fn left_out(&self) -> LeftOut {
        self.0.left_out
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

/// A random order of 0..len that is computed, not stored: a Feistel network over the next power of two, walked until it
/// falls below len (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). 100 million samples cost no memory,
/// and an epoch that is resumed starts at once.
#[derive(Clone)]
pub(super) struct Shuffle {
    len: u64,
    bits: u32,
    keys: [u32; 6],
}

impl Shuffle {
    pub(super) fn new(len: u64, seed: u64, epoch: u64) -> Shuffle {
        let bits = (u64::BITS - len.saturating_sub(1).leading_zeros()).max(2);
        let mut stream = Stream::new(seed, "shuffle", epoch);
        Shuffle { len, bits, keys: std::array::from_fn(|_| stream.next_u32()) }
    }

    /// What stands at place `i`, below `len`.
    pub(super) fn at(&self, mut i: u64) -> u64 {
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
