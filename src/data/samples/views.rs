//! Views of a training sample's window, which pre-training compares: augmented sequences, segments, and windows of which something
//! was dropped. Columns `views.history`, `views.recency`, `views.behaviours`, and of the last `views.changed_texts`: 1 where a window
//! is to be read with the texts of items changed instead.

use super::history::write_recency;
use super::{Column, Fill, Part, Sample, Sizes, Source, Values, hidden, training_part};
use crate::error::Result;
use crate::tensor::philox::Stream;
use std::ops::Range;
use std::sync::Arc;

/// Which views of a window are made.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Views {
    /// Two, each by one of three operators, which is drawn for it (CL4SRec: Xie et al., ICDE 2022): a stretch of a
    /// share `crop` of the events; a share `mask` of the events hidden; a stretch of a share `reorder` of them
    /// shuffled. Shares are of 0 to 1, counts rounded down; at least one event is left of a crop.
    Augmented { crop: f64, mask: f64, reorder: f64 },
    /// Three (S3-Rec's segment prediction: Zhou et al., CIKM 2020): the events with a stretch of at most half of them
    /// hidden; only that stretch, the others hidden; and a stretch of another sample's events in its positions.
    Segments,
    /// One (UniSRec: Hou et al., KDD 2022): the events, each of which is dropped with chance `drop`, while one is left; or, for a
    /// share `texts` of the windows, all of them, and the texts of items are changed.
    Dropped { drop: f64, texts: f64 },
}

/// Item, and behaviour from 1 (0 where none is read).
type Event = (u32, u32);

impl Views {
    /// Views of a window.
    pub fn count(self) -> usize {
        match self {
            Views::Augmented { .. } => 2,
            Views::Segments => 3,
            Views::Dropped { .. } => 1,
        }
    }

    /// The share of the windows that are read with changed texts.
    pub fn changed_texts(self) -> f64 {
        if let Views::Dropped { texts, .. } = self { texts } else { 0.0 }
    }

    /// The views of the events `own`; `other` are another sample's. Both have at least one event. A hidden event is `hidden`.
    fn make(self, own: &[Event], other: &[Event], hidden: Event, stream: &mut Stream) -> Vec<Vec<Event>> {
        let n = own.len();
        let start = |of: usize, len: usize, stream: &mut Stream| stream.below((of - len + 1) as u32) as usize;
        match self {
            Views::Augmented { crop, mask, reorder } => {
                let count = |share: f64| (n as f64 * share + 1e-9) as usize;
                let mut augmented = |_| {
                    let mut view = own.to_vec();
                    match stream.below(3) {
                        0 => {
                            let len = count(crop).max(1);
                            let start = start(n, len, stream);
                            view = own[start..start + len].to_vec();
                        }
                        1 => {
                            let mut places: Vec<usize> = (0..n).collect();
                            stream.shuffle(&mut places);
                            places[..count(mask)].iter().for_each(|&place| view[place] = hidden);
                        }
                        _ => {
                            let len = count(reorder);
                            let start = start(n, len, stream);
                            stream.shuffle(&mut view[start..start + len]);
                        }
                    }
                    view
                };
                (0..self.count()).map(&mut augmented).collect()
            }
            Views::Segments => {
                let len = 1 + stream.below((n / 2).max(1) as u32) as usize;
                let at = start(n, len, stream);
                let (mut context, mut segment, mut wrong) = (own.to_vec(), vec![hidden; n], vec![hidden; n]);
                context[at..at + len].fill(hidden);
                segment[at..at + len].copy_from_slice(&own[at..at + len]);
                // Shorter where the other has fewer.
                let len = len.min(other.len());
                let from = start(other.len(), len, stream);
                wrong[at..at + len].copy_from_slice(&other[from..from + len]);
                vec![context, segment, wrong]
            }
            Views::Dropped { drop, .. } => {
                let left: Vec<Event> = own.iter().filter(|_| stream.uniform() >= drop).copied().collect();
                vec![if left.is_empty() { vec![own[stream.below(n as u32) as usize]] } else { left }]
            }
        }
    }
}

/// Windows of V views of each of B samples, \[V B, M\]: view v of sample b is number v B + b.
#[derive(Clone, Copy, Debug)]
pub struct Viewed {
    pub views: Views,
    /// Give the behaviour of each event, 0 of a hidden one.
    pub behaviours: bool,
}

impl Part for Viewed {
    fn columns(&self, &Sizes { batch, max_len, .. }: &Sizes) -> Vec<Column> {
        let column = |name| Column::u32(name, [self.views.count() * batch, max_len]);
        let mut columns = vec![column("views.history"), column("views.recency")];
        columns.extend(self.behaviours.then(|| column("views.behaviours")));
        let of_windows = || Column::u32("views.changed_texts", [self.views.count() * batch]);
        columns.extend((self.views.changed_texts() > 0.0).then(of_windows));
        columns
    }

    fn open(&self, sizes: &Sizes, source: &Arc<Source>) -> Result<Box<dyn Fill>> {
        Ok(Box::new(Filler { of: *self, sizes: *sizes, source: source.clone() }))
    }
}

struct Filler {
    of: Viewed,
    sizes: Sizes,
    source: Arc<Source>,
}

impl Filler {
    /// The events at some positions of a training part.
    fn events(&self, items: &[u32], behaviours: &[u8], at: Range<usize>) -> Vec<Event> {
        let items = items[at.clone()].iter().copied();
        match behaviours.get(at).filter(|_| self.of.behaviours) {
            Some(own) => items.zip(own.iter().map(|&behaviour| behaviour as u32 + 1)).collect(),
            None => items.map(|item| (item, 0)).collect(),
        }
    }
}

impl Fill for Filler {
    fn stream(&self) -> &'static str {
        "views"
    }

    fn fill(&self, sample: &Sample, row: usize, columns: &mut [Values], stream: &mut Stream) {
        let Source { data, split, samples, max_len, .. } = &*self.source;
        let (number, others) = (sample.number, self.source.len() - 1);
        let other = if others > 0 { (number + 1 + stream.next_u64() % others) % (others + 1) } else { number };
        let (user, end) = self.source.sample(other);
        let (items, behaviours) = training_part(data, split, user);
        let other = self.events(items, behaviours, samples.read(end, *max_len));
        let own = self.events(sample.items, sample.behaviours, sample.read.clone());
        let texts = self.of.views.changed_texts();
        let changes_texts = texts > 0.0 && stream.uniform() < texts;
        let views = match changes_texts {
            true => vec![own.clone()],
            false => self.of.views.make(&own, &other, (hidden(data.items()), 0), stream),
        };
        if changes_texts {
            columns.last_mut().expect("a declared column").u32()[row] = 1;
        }
        let Sizes { batch, max_len, padding, .. } = self.sizes;
        for (v, view) in views.iter().enumerate() {
            let place = padding.place(view.len(), max_len);
            let first = (v * batch + row) * max_len;
            let at = first + place.start..first + place.end;
            let (items, behaviours): (Vec<u32>, Vec<u32>) = view.iter().copied().unzip();
            columns[0].u32()[at.clone()].copy_from_slice(&items);
            write_recency(&mut columns[1].u32()[at.clone()]);
            if self.of.behaviours {
                columns[2].u32()[at].copy_from_slice(&behaviours);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const HIDDEN: Event = (99, 0);

    fn events(items: std::ops::Range<u32>) -> Vec<Event> {
        items.map(|item| (item, item % 3 + 1)).collect()
    }

    #[test]
    fn augmented() {
        let (own, mut stream) = (events(1..11), Stream::new(1, "views", 0));
        let views = Views::Augmented { crop: 0.6, mask: 0.3, reorder: 0.6 };
        let mut seen = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
        for _ in 0..300 {
            for view in views.make(&own, &own, HIDDEN, &mut stream) {
                let hidden = view.iter().filter(|&&event| event == HIDDEN).count();
                let moved: Vec<usize> = (0..view.len()).filter(|&i| view[i] != own[i]).collect();
                let operator = match (view.len(), hidden) {
                    (6, 0) => {
                        assert!(own.windows(6).any(|stretch| stretch == view));
                        0
                    }
                    (10, 3) => {
                        assert_eq!(moved.len(), 3);
                        1
                    }
                    (10, 0) => {
                        assert!(moved.is_empty() || moved[moved.len() - 1] - moved[0] < 6);
                        assert_eq!(view.iter().collect::<BTreeSet<_>>(), own.iter().collect());
                        2
                    }
                    other => panic!("{other:?}: {view:?}"),
                };
                seen[operator].insert(view);
            }
        }
        assert_eq!(seen[0].len(), 5, "every stretch of 6 of 10");
        assert!(seen[1].len() > 60 && seen[2].len() > 60);
        // Of one event nothing but itself is left.
        let one = Views::Augmented { crop: 0.1, mask: 0.9, reorder: 1.0 }.make(&own[..1], &own, HIDDEN, &mut stream);
        assert_eq!(one, [&own[..1], &own[..1]]);
    }

    #[test]
    fn dropped() {
        let (own, mut stream) = (events(1..101), Stream::new(1, "views", 0));
        let views = Views::Dropped { drop: 0.2, texts: 0.0 };
        let lengths: Vec<usize> = (0..100)
            .map(|_| {
                let [view] = &views.make(&own, &own, HIDDEN, &mut stream)[..] else { panic!("one view") };
                assert!(view.windows(2).all(|two| two[0].0 < two[1].0) && view.iter().all(|event| own.contains(event)));
                view.len()
            })
            .collect();
        let mean = lengths.iter().sum::<usize>() as f64 / 100.0;
        assert!((mean - 80.0).abs() < 2.0 && lengths.iter().any(|&len| len != lengths[0]), "{mean}");
        let most = Views::Dropped { drop: 1.0, texts: 0.0 };
        let left: BTreeSet<_> = (0..200).map(|_| most.make(&own[..3], &own, HIDDEN, &mut stream).remove(0)).collect();
        assert_eq!(left, own[..3].iter().map(|event| vec![*event]).collect());
    }

    #[test]
    fn segments() {
        let (own, other, mut stream) = (events(1..10), events(20..22), Stream::new(1, "views", 0));
        let mut lengths = BTreeSet::new();
        for _ in 0..100 {
            let [context, segment, wrong] = &Views::Segments.make(&own, &other, HIDDEN, &mut stream)[..] else {
                panic!("three views")
            };
            let places: Vec<usize> = (0..9).filter(|&i| context[i] == HIDDEN).collect();
            let (first, len) = (places[0], places.len());
            assert_eq!(places, (first..first + len).collect::<Vec<_>>());
            for i in 0..9 {
                let inside = (first..first + len).contains(&i);
                assert_eq!((context[i], segment[i]), if inside { (HIDDEN, own[i]) } else { (own[i], HIDDEN) });
                let from_other = other.contains(&wrong[i]);
                assert_eq!(from_other, (first..first + len.min(2)).contains(&i));
                assert!(from_other || wrong[i] == HIDDEN);
            }
            lengths.insert(len);
        }
        assert_eq!(lengths, BTreeSet::from([1, 2, 3, 4]));
        let one = Views::Segments.make(&own[..1], &other[..1], HIDDEN, &mut stream);
        assert_eq!(one, [[HIDDEN], [own[0]], [other[0]]]);
    }
}
