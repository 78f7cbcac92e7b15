use super::negatives::Drawn;
use super::shuffle::Shuffle;
use super::*;
use crate::data::Ties;
use crate::data::ask::Ask;
use crate::data::dataset::Dataset;
use crate::data::dataset::tests::{dataset, interactions};
use crate::data::features::Features;
use crate::data::negatives::{LeftOut, Negatives, Pool, Sampler};
use crate::data::split::{Part, Split, SplitKind};
use crate::tensor::philox::Stream;
use crate::tensor::segments::Segments;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn world() -> (Arc<Dataset>, Arc<Split>) {
    let mut stream = Stream::new(3, "world", 0);
    let mut histories: Vec<Vec<u32>> =
        (0..60).map(|_| (0..stream.below(30)).map(|_| stream.below(100)).collect()).collect();
    histories.push((0..100).collect());
    let data = Arc::new(dataset(&histories));
    let split = Arc::new(Split::new(&data, SplitKind::LeaveOneOut).unwrap());
    (data, split)
}

fn spec(threads: usize) -> BatchSpec {
    let reads = Reads { users: 1000, ..Reads::default() };
    BatchSpec { batch: 16, max_len: 5, negatives: drawn(2), reads, seed: 7, threads, ..BatchSpec::default() }
}

fn drawn(each: usize) -> Option<Drawn> {
    Some(Drawn { each, ..Drawn::default() })
}

/// Segments of one table that all of `columns` are gathered from.
fn gathered(rows: usize, columns: &[&'static str]) -> Vec<Gathered> {
    vec![Gathered { name: "items".to_string(), rows, columns: columns.to_vec(), listed: None }]
}

/// The user of a row of a training batch.
fn user_of(batch: &Batch, row: usize) -> u32 {
    batch.columns.u32("users")[row] - 1
}

/// Events in window `row` of 5, by the column of their recency.
fn length(columns: &Columns, name: &str, row: usize) -> usize {
    columns.u32(name)[row * 5..][..5].iter().filter(|&&recency| recency != 0).count()
}

fn eval(threads: usize) -> EvalSpec {
    EvalSpec { batch: 8, max_len: 5, padding: Padding::Right, threads, ..EvalSpec::default() }
}

#[test]
fn an_epoch_has_every_sample_once() {
    let (data, split) = world();
    let gathered = gathered(data.items() + 1, &["history", "positive", "negative"]);
    let batches = TrainBatches::new(data.clone(), split.clone(), BatchSpec { gathered, ..spec(1) }).unwrap();
    let mut expected = BTreeMap::<(u32, Vec<u32>, u32), u32>::new();
    for user in 0..data.users() as u32 {
        let items = split.train(&data, user);
        for t in 1..items.len() {
            let mut window = vec![0; 5];
            let n = t.min(5);
            window[5 - n..].copy_from_slice(&items[t - n..t]);
            *expected.entry((user, window, items[t])).or_default() += 1;
        }
    }
    let mut got = BTreeMap::new();
    let mut samples = 0;
    for batch in batches.epoch(2, 0) {
        assert_eq!(
            (
                batch.columns.u32("history").len(),
                batch.columns.u32("negative").len(),
                batch.columns.f32("weight").len()
            ),
            (80, 32, 16)
        );
        for row in 0..batch.samples {
            let window = batch.columns.u32("history")[row * 5..][..5].to_vec();
            assert_eq!(length(&batch.columns, "recency", row), window.iter().filter(|&&item| item != 0).count());
            *got.entry((user_of(&batch, row), window, batch.columns.u32("positive")[row])).or_default() += 1;
            for negative in &batch.columns.u32("negative")[row * 2..][..2] {
                assert!((1..=data.items() as u32).contains(negative));
                assert!(!split.train(&data, user_of(&batch, row)).contains(negative));
            }
        }
        for row in batch.samples..16 {
            assert_eq!(
                (
                    batch.columns.f32("weight")[row],
                    batch.columns.u32("positive")[row],
                    length(&batch.columns, "recency", row)
                ),
                (0.0, 0, 0)
            );
            assert_eq!(
                (&batch.columns.u32("history")[row * 5..][..5], &batch.columns.u32("negative")[row * 2..][..2]),
                (&[0; 5][..], &[0; 2][..])
            );
        }
        let mut segments = Segments::default();
        segments.build(
            &[batch.columns.u32("history"), batch.columns.u32("positive"), batch.columns.u32("negative")],
            data.items() + 1,
        );
        assert_eq!((&segments.order, segments.counts), (&batch.segments[0].1.order, batch.segments[0].1.counts));
        samples += batch.samples as u64;
    }
    assert_eq!(got, expected);
    assert_eq!(samples, batches.samples());
}

fn fields(batch: &Batch) -> (&Columns, usize) {
    (&batch.columns, batch.samples)
}

#[test]
fn threads_and_a_late_entry_change_nothing() {
    let (data, split) = world();
    let views = Some(Views::Augmented { crop: 0.6, mask: 0.3, reorder: 0.6 });
    let of = |threads| {
        let spec = BatchSpec { views, ..spec(threads) };
        TrainBatches::new(data.clone(), split.clone(), spec).unwrap()
    };
    let inline: Vec<Batch> = of(0).epoch(1, 0).collect();
    assert!(inline.len() > 20 && inline.len() == of(0).batches_per_epoch());
    for threads in [1, 2, 3, 64] {
        for first in [0, 1, 5, inline.len(), inline.len() + 1] {
            let late: Vec<Batch> = of(threads).epoch(1, first).collect();
            assert!(late.iter().map(fields).eq(inline.iter().skip(first).map(fields)));
        }
    }
    let mut next = of(0).epoch(2, 0);
    assert_ne!(fields(&next.next().unwrap()), fields(&inline[0]));
    drop(of(3).epoch(0, 0)); // threads that nobody listens to end
}

#[test]
fn samples_of_a_user_can_stay_together() {
    let (data, split) = world();
    let spec = BatchSpec { order: Order::Users, ..spec(0) };
    let batches = TrainBatches::new(data, split, spec).unwrap();
    let epoch = |epoch| -> Vec<(u32, usize)> {
        let rows = |batch: Batch| {
            (0..batch.samples).map(move |row| (user_of(&batch, row), length(&batch.columns, "recency", row)))
        };
        batches.epoch(epoch, 0).flat_map(rows).collect()
    };
    let (first, second) = (epoch(0), epoch(1));
    let users: Vec<u32> = first.chunk_by(|a, b| a.0 == b.0).map(|own| own[0].0).collect();
    assert_eq!(users.len(), users.iter().collect::<BTreeSet<_>>().len(), "a user comes once");
    assert!(first.chunk_by(|a, b| a.0 == b.0).all(|own| own.is_sorted()), "oldest first");
    assert_eq!(first.len() as u64, batches.samples());
    assert_ne!(first, second);
    let sorted = |mut all: Vec<(u32, usize)>| {
        all.sort_unstable();
        all
    };
    assert_eq!(sorted(first), sorted(second));
}

#[test]
fn a_window_is_padded_on_one_side() {
    assert_eq!((Padding::Left.place(2, 4), Padding::Left.place(4, 4)), (2..4, 0..4));
    assert_eq!((Padding::Right.place(2, 4), Padding::Right.place(0, 4)), (0..2, 0..0));
}

#[test]
fn the_shuffle_is_a_permutation_and_mixes() {
    for len in [1, 2, 3, 4, 5, 100, 1023, 1024, 1025] {
        let shuffle = Shuffle::new(len, 1, 2);
        let places: BTreeSet<u64> = (0..len).map(|i| shuffle.at(i)).collect();
        assert!(places.len() as u64 == len && places.last() == Some(&(len - 1)));
    }
    // Mean distance of neighbours is a third of the length when nothing is left of the old order.
    let shuffle = Shuffle::new(10_000, 1, 2);
    let distance: u64 = (1..10_000).map(|i| shuffle.at(i).abs_diff(shuffle.at(i - 1))).sum();
    assert!((3200..3467).contains(&(distance / 9999)), "{}", distance / 9999);
    assert!((0..10_000).filter(|&i| shuffle.at(i) == Shuffle::new(10_000, 1, 3).at(i)).count() < 10);
}

#[test]
fn popular_items_are_drawn_more_often() {
    let histories: Vec<Vec<u32>> = (0..200).map(|u| vec![0, 1 + u % 40, 41 + u, 300, 301]).collect();
    let data = Arc::new(dataset(&histories));
    let split = Arc::new(Split::new(&data, SplitKind::LeaveOneOut).unwrap());
    let spec = BatchSpec {
        negatives: Some(Drawn { each: 20, sampler: Sampler::Popularity(1.0), ..Drawn::default() }),
        ..spec(0)
    };
    let drawn: Vec<u32> = TrainBatches::new(data.clone(), split, spec)
        .unwrap()
        .epoch(0, 0)
        .flat_map(|b| b.columns.u32("negative").to_vec())
        .collect();
    let share = drawn.iter().filter(|&&i| i != 0 && data.item_name(i).parse::<u32>().unwrap() <= 40).count() as f64
        / drawn.iter().filter(|&&i| i != 0).count() as f64;
    // Item 0, of 200 of 600 training events, is everybody's own; the 40 items of 5 events each share half of the rest.
    assert!((0.45..0.53).contains(&share), "{share}");
    assert!(drawn.iter().all(|&i| i == 0 || !["300", "301"].contains(&data.item_name(i))));
}

#[test]
fn a_user_of_everything_is_left_out_where_negatives_are_drawn() {
    let histories = [vec![1, 2, 3, 1, 2], vec![1, 2, 3], vec![3, 2, 1, 1]];
    let new = |users: usize, spec| {
        let data = Arc::new(dataset(&histories[..users]));
        TrainBatches::new(data.clone(), Arc::new(Split::new(&data, SplitKind::LeaveOneOut).unwrap()), spec)
    };
    let some = new(3, BatchSpec { negatives: drawn(1), ..spec(0) }).unwrap();
    assert_eq!((some.samples(), some.left_out()), (1, LeftOut { users: 1, targets: 2, needed: 1 }));
    assert_eq!(
        some.left_out().to_string(),
        "2 targets of 1 user left out: no item outside the history is left to set against them"
    );
    let batch = some.epoch(0, 0).next().unwrap();
    assert_eq!((user_of(&batch, 0), batch.columns.u32("positive")[0], batch.columns.u32("negative")[0]), (2, 2, 1));
    // Nothing is drawn, or the same for all users.
    for negatives in [None, Some(Drawn { shared: true, ..Drawn::default() })] {
        let all = new(3, BatchSpec { negatives, ..spec(0) }).unwrap();
        assert_eq!((all.samples(), all.left_out().some()), (3, None));
    }
    let message = new(2, BatchSpec { negatives: drawn(1), ..spec(0) }).err().unwrap().to_string();
    assert!(message.starts_with("no negative is left for any user") && message.contains("loss.kind"), "{message}");
    let (data, split) = world();
    let zero = TrainBatches::new(data, split, BatchSpec { max_len: 0, ..spec(0) });
    assert_eq!(zero.err().unwrap().to_string(), "data.max_len is 0; expected at least 1");
}

#[test]
fn evaluation_batches() {
    let (data, split) = world();
    for (part, back) in [(Part::Valid, 2), (Part::Test, 1)] {
        for mask_history in [true, false] {
            let batches =
                EvalBatches::new(data.clone(), split.clone(), part, EvalSpec { mask_history, ..eval(2) }).unwrap();
            // The last user has every item once: at the last one nothing is left to rank against.
            let ranked = data.users() as u32 - (part == Part::Test) as u32;
            let expected: Vec<u32> = (0..ranked).filter(|&u| data.history(u).len() >= 3).collect();
            let left_out = Some(LeftOut { users: 1, targets: 1, needed: 1 }).filter(|_| part == Part::Test);
            assert_eq!(batches.left_out().some(), left_out);
            let mut seen = vec![];
            for batch in batches.batches() {
                assert_eq!((batch.exclude_offsets.len(), batch.exclude_items.len()), (9, batches.exclude_cap()));
                assert!(batch.candidates.is_none());
                for row in 0..8 {
                    let range = batch.exclude_offsets[row] as usize..batch.exclude_offsets[row + 1] as usize;
                    let excluded = &batch.exclude_items[range];
                    if row >= batch.samples {
                        assert!(excluded.is_empty() && batch.target[row] == 0);
                        continue;
                    }
                    let user = batch.users[row];
                    let history = data.history(user);
                    let (before, target) = (&history[..history.len() - back], history[history.len() - back]);
                    let mut known: BTreeSet<u32> =
                        if mask_history { before.iter().copied().collect() } else { [].into() };
                    known.insert(target);
                    assert_eq!(excluded, known.into_iter().collect::<Vec<_>>());
                    assert_eq!(batch.target[row], target);
                    let n = before.len().min(5);
                    assert_eq!(batch.columns.u32("history")[row * 5..][..n], before[before.len() - n..]);
                    assert_eq!(batch.columns.u32("history")[row * 5..][n..5], vec![0; 5 - n]);
                    assert_eq!(batches.targets()[batch.targets[row] as usize].0, user);
                    seen.push(user);
                }
            }
            assert_eq!(seen, expected);
        }
    }
}

#[test]
fn sampled_candidates() {
    let (data, _) = world();
    let short: Vec<Vec<u32>> = (0..data.users() as u32 - 1).map(|u| data.history(u).to_vec()).collect();
    let data = Arc::new(dataset(&short));
    let split = Arc::new(Split::new(&data, SplitKind::LeaveOneOut).unwrap());
    let of = |negatives, threads| {
        EvalBatches::new(
            data.clone(),
            split.clone(),
            Part::Test,
            EvalSpec { sampled: Some((negatives, 5)), ..eval(threads) },
        )
    };
    for negatives in [10, 60] {
        let all: Vec<EvalBatch> = of(negatives, 0).unwrap().batches().collect();
        for batch in &all {
            let candidates = batch.candidates.as_ref().unwrap();
            assert_eq!(candidates.len(), 8 * (negatives + 1));
            for row in 0..batch.samples {
                let own = &candidates[row * (negatives + 1)..][..negatives + 1];
                assert_eq!(own[0], batch.target[row]);
                let distinct: BTreeSet<u32> = own.iter().copied().collect();
                assert!(distinct.len() == negatives + 1 && !distinct.contains(&0));
                assert!(own[1..].iter().all(|item| !data.history(batch.users[row]).contains(item)));
            }
        }
        let again = of(negatives, 3).unwrap();
        assert!(again.batches().map(|b| b.candidates).eq(all.iter().map(|b| b.candidates.clone())));
    }
    // Users who leave fewer items are not ranked.
    let some = of(88, 0).unwrap();
    let outside = |user: u32| 100 - data.history(user).iter().collect::<BTreeSet<_>>().len();
    let ranked: Vec<u32> = some.targets().iter().map(|target| target.0).collect();
    let asked = (0..data.users() as u32).filter(|&user| data.history(user).len() >= 3);
    let (enough, others): (Vec<u32>, Vec<u32>) = asked.partition(|&user| outside(user) >= 88);
    assert_eq!((ranked, some.left_out().targets), (enough, others.len()));
    assert!(!others.is_empty() && some.left_out().to_string().ends_with("fewer than 88 items are outside the history"));
    assert!(some.batches().all(|batch| batch.candidates.unwrap().len() == 8 * 89));
    let message = of(data.items(), 0).err().unwrap().to_string();
    assert!(
        message.starts_with(&format!("sampled:{0} needs {0} items outside each user's history", data.items())),
        "{message}"
    );
}

#[test]
fn recommendation_takes_the_events_it_is_told() {
    let data = Arc::new(dataset(&[vec![5, 6, 5], vec![6]]));
    let split = Arc::new(Split::new(&data, "ratio:80,10,10".parse::<SplitKind>().unwrap()).unwrap());
    let batches = EvalBatches::recommend(data.clone(), split.clone(), vec![(1, 1), (0, 3)], eval(0)).unwrap();
    let batch = batches.batches().next().unwrap();
    assert_eq!((batch.samples, &batch.users[..2], &batch.target[..2]), (2, &[1, 0][..], &[0, 0][..]));
    assert_eq!(&batch.columns.u32("history")[..10], [2, 0, 0, 0, 0, 1, 2, 1, 0, 0]);
    assert_eq!((&batch.exclude_offsets[..3], &batch.exclude_items[..3]), (&[0, 1, 3][..], &[2, 1, 2][..]));
    let batch = EvalBatches::recommend(data, split, vec![(0, 1)], eval(0)).unwrap().batches().next().unwrap();
    assert_eq!((&batch.columns.u32("history")[..5], &batch.exclude_items[..1]), (&[1, 0, 0, 0, 0][..], &[1][..]));
}

#[test]
fn an_event_can_follow_a_history() {
    let mut log = interactions(&[vec![5, 6, 5], vec![6]]);
    (log.behaviour, log.behaviours) = (Some(vec![0, 0, 1, 0]), ["click", "buy"].map(String::from).to_vec());
    let data = Arc::new(Dataset::new(log, Ties::File, vec![]));
    let split = Arc::new(Split::new(&data, "ratio:80,10,10".parse::<SplitKind>().unwrap()).unwrap());
    let reads = Reads { behaviours: true, ..Reads::default() };
    let ends =
        [(0, 3), (0, 2), (1, 1)].map(|end| Until { then: Some(2), ..end.into() }).into_iter().chain([(1, 1).into()]);
    let spec = EvalSpec { max_len: 3, reads, ..eval(0) };
    let batch = EvalBatches::recommend(data, split, ends, spec).unwrap().batches().next().unwrap();
    let column = |name: &str| batch.columns.u32(name)[..12].to_vec();
    assert_eq!(column("history"), [2, 1, 2, 1, 2, 2, 2, 2, 0, 2, 0, 0]);
    assert_eq!(column("recency"), [3, 2, 1, 3, 2, 1, 2, 1, 0, 1, 0, 0]);
    assert_eq!(column("behaviours"), [1, 2, 2, 1, 1, 1, 1, 1, 0, 1, 0, 0]);
    assert_eq!([0, 1, 2, 3].map(|row| batch.excluded(row).to_vec()), [vec![1, 2], vec![1, 2], vec![2], vec![2]]);
}

#[test]
fn hidden_places_are_what_stood_there() {
    let (data, split) = world();
    for (share, padding) in [(0.2, Padding::Left), (0.2, Padding::Right), (1.0, Padding::Left)] {
        let samples = Arc::new(Cloze { share });
        let t = samples.targets(5);
        let plain = BatchSpec { samples, padding, negatives: None, ..spec(0) };
        let hidden = hidden(data.items());
        let (mut places, mut all) = (0, 0);
        for batch in TrainBatches::new(data.clone(), split.clone(), plain).unwrap().epoch(1, 0) {
            for row in 0..batch.samples {
                let mut window = batch.columns.u32("history")[row * 5..][..5].to_vec();
                let mut count = 0;
                for at in row * t..(row + 1) * t {
                    let (place, item, weight) = (
                        batch.columns.u32("positions")[at],
                        batch.columns.u32("positive")[at],
                        batch.columns.f32("weight")[at],
                    );
                    assert_eq!((place == 5, weight), (item == 0, if item == 0 { 0.0 } else { 1.0 }));
                    if item != 0 {
                        assert_eq!(std::mem::replace(&mut window[place as usize], item), hidden);
                        count += 1;
                    }
                }
                assert!(count > 0 && !window.contains(&hidden), "every hidden position is a target, and there is one");
                let items = split.train(&data, user_of(&batch, row));
                window.retain(|&item| item != 0);
                assert!(items.windows(window.len()).any(|w| w == window), "{window:?} of {items:?}");
                (places, all) = (places + count, all + window.len());
            }
        }
        let share_got = places as f64 / all as f64;
        // One window in ten hides only its last position, and every window hides at least one.
        let range = if share == 1.0 { 0.85..0.97 } else { 0.2..0.4 };
        assert!(range.contains(&share_got), "{share_got}");
    }
}

#[test]
fn listed_items_are_asked_for_after_whole_histories() {
    let (data, split) = world();
    let last = data.users() as u32 - 1;
    let list = [(2, 7), (2, 9), (3, 5)];
    let spec = EvalSpec { sampled: Some((40, 3)), mask_history: true, ..eval(0) };
    let batches = EvalBatches::new(data.clone(), split.clone(), Ask::Items(&list), spec.clone()).unwrap();
    let batch = batches.batches().next().unwrap();
    assert_eq!((batch.samples, &batch.target[..3]), (3, &[7, 9, 5][..]));
    for (row, &(user, item)) in list.iter().enumerate() {
        let history = data.history(user);
        assert_eq!(batches.targets()[row], (user, history.len() as u32));
        let mut excluded: Vec<u32> = history.iter().copied().chain([item]).collect();
        excluded.sort_unstable();
        excluded.dedup();
        let range = batch.exclude_offsets[row] as usize..batch.exclude_offsets[row + 1] as usize;
        assert_eq!(batch.exclude_items[range], excluded);
        let drawn = &batch.candidates.as_ref().unwrap()[row * 41..][..41];
        let asked = list.iter().filter(|(of, _)| *of == user).map(|(_, item)| item);
        assert!(drawn[0] == item && !drawn[1..].iter().any(|item| history.contains(item)));
        assert!(asked.into_iter().all(|asked| !drawn[1..].contains(asked)), "{drawn:?}");
    }
    // The last user has every item.
    let refused = EvalBatches::new(data, split, Ask::Items(&[(last, 1)]), spec).err().unwrap().to_string();
    assert!(refused.contains("the users that are asked about have each of the 100 items"), "{refused}");
}

/// Views hold what the window does, or another one's in the third of segments, and no target after it.
#[test]
fn views_are_of_the_window() {
    let (data, split) = world();
    let hidden = hidden(data.items());
    let augmented = Views::Augmented { crop: 0.5, mask: 0.5, reorder: 0.5 };
    let cases: [(Views, Arc<dyn Samples>, Padding); 5] = [
        (Views::Dropped { drop: 0.5, texts: 0.0 }, Arc::new(Prefix), Padding::Left),
        (Views::Dropped { drop: 0.5, texts: 0.3 }, Arc::new(Prefix), Padding::Right),
        (augmented, Arc::new(Window), Padding::Left),
        (augmented, Arc::new(Prefix), Padding::Right),
        (Views::Segments, Arc::new(Cloze { share: 0.4 }), Padding::Left),
    ];
    for (views, samples, padding) in cases {
        let gathered = gathered(data.items() + 2, &["history", "views.history", "positive", "negative"]);
        let spec = BatchSpec { samples: samples.clone(), padding, views: Some(views), gathered, ..spec(0) };
        let (t, mut changed, mut strange, mut texts) = (samples.targets(5), 0, 0, 0);
        for batch in TrainBatches::new(data.clone(), split.clone(), spec).unwrap().epoch(1, 0) {
            let lists = [
                batch.columns.u32("history"),
                batch.columns.u32("views.history"),
                batch.columns.u32("positive"),
                batch.columns.u32("negative"),
            ];
            let mut segments = Segments::default();
            segments.build(&lists, data.items() + 2);
            assert_eq!((&segments.order, segments.counts), (&batch.segments[0].1.order, batch.segments[0].1.counts));
            assert_eq!(batch.columns.u32("views.history").len(), views.count() * 16 * 5);
            for (number, view) in batch.columns.u32("views.history").chunks(5).enumerate() {
                let (v, row) = (number / 16, number % 16);
                let mut window = batch.columns.u32("history")[row * 5..][..5].to_vec();
                for at in (row * t..(row + 1) * t).filter(|_| samples.hides()) {
                    if batch.columns.u32("positive")[at] != 0 {
                        window[batch.columns.u32("positions")[at] as usize] = batch.columns.u32("positive")[at];
                    }
                }
                let len = length(&batch.columns, "views.recency", number);
                let start = if padding == Padding::Left { 5 - len } else { 0 };
                assert!((0..5).all(|i| (view[i] != 0) == (start..start + len).contains(&i)), "{view:?}");
                assert_eq!(len == 0, row >= batch.samples);
                let known = |item: &u32| [0, hidden].contains(item) || window.contains(item);
                match (views, v) {
                    (Views::Segments, 2) => strange += view.iter().filter(|item| !known(item)).count(),
                    _ => assert!(view.iter().all(known), "{view:?} of {window:?}"),
                }
                changed += (view != window) as usize;
                if batch.columns.has("views.changed_texts") {
                    let is_changed = batch.columns.u32("views.changed_texts")[number] == 1;
                    assert!(!is_changed || view == window, "{view:?} of {window:?}");
                    texts += is_changed as usize;
                }
            }
        }
        assert!(changed > 50 && (strange > 50) == (views == Views::Segments), "{changed} {strange}");
        assert_eq!(texts > 10, views.changed_texts() > 0.0, "{texts}");
    }
}

#[test]
fn behaviours_and_features_stand_beside_their_items() {
    use crate::data::dataset::tests::interactions;
    use crate::data::{Cut, CutBy, Learn, SplitSpec, Statistics};
    let mut stream = Stream::new(5, "world", 0);
    let histories: Vec<Vec<u32>> =
        (0..40).map(|_| (0..4 + stream.below(20)).map(|_| stream.below(50)).collect()).collect();
    let mut log = interactions(&histories);
    log.behaviours = ["click", "cart", "buy"].map(String::from).to_vec();
    log.behaviour = Some((0..log.item.len()).map(|_| stream.below(3) as u8).collect());
    let data = Arc::new(Dataset::new(log, Ties::File, vec![]));
    let cut = Some(Cut { share: 0.3, by: CutBy::User });
    let split = SplitSpec { target: Some(2), cut, learn: Learn::Later, ..SplitSpec::default() };
    let split = Arc::new(Split::new(&data, split).unwrap());
    let features = Arc::new(Features::new(None, Statistics::new(3)));
    let learned: BTreeSet<(u32, u32)> = (0..40)
        .flat_map(|user| (1..split.train_len(user) as u32).map(move |place| (user, place)))
        .filter(|&(user, place)| split.learns(&data, user, place))
        .collect();
    assert!(learned.len() > 20 && !split.learns_all());
    let cases: [(Arc<dyn Samples>, Padding); 4] = [
        (Arc::new(Prefix), Padding::Left),
        (Arc::new(Window), Padding::Left),
        (Arc::new(Window), Padding::Right),
        (Arc::new(Cloze { share: 0.4 }), Padding::Left),
    ];
    for (samples, padding) in cases {
        let features = (!samples.per_position()).then(|| features.clone());
        let width = features.as_ref().map_or(0, |features| features.sizes().len());
        let reads = Reads { behaviours: true, users: 1000, features: width, progress: false };
        let spec = BatchSpec { samples: samples.clone(), padding, reads, features, ..spec(0) };
        let (m, n) = (spec.max_len, samples.targets(spec.max_len));
        let batches = TrainBatches::new(data.clone(), split.clone(), spec.clone()).unwrap();
        let mut targets = BTreeSet::new();
        for batch in batches.epoch(1, 0) {
            for row in 0..batch.samples {
                let user = user_of(&batch, row);
                let (items, behaviours) = (data.history(user), data.behaviours(user).unwrap());
                let window = &batch.columns.u32("history")[row * m..][..m];
                let own = &batch.columns.u32("behaviours")[row * m..][..m];
                assert!(window.iter().zip(own).all(|(item, behaviour)| (*item == 0) == (*behaviour == 0)));
                let len = length(&batch.columns, "recency", row);
                let from = if padding == Padding::Left { m - len } else { 0 };
                // Where the window lies in the history, found by its behaviours and by the items that are not hidden.
                let fits = |start: &usize| {
                    (0..len).all(|i| {
                        let item = window[from + i];
                        let hidden = item == hidden(data.items());
                        (hidden || item == items[start + i]) && own[from + i] == behaviours[start + i] as u32 + 1
                    })
                };
                let starts: Vec<usize> = (0..=items.len() - len).filter(fits).collect();
                for t in (0..n).filter(|t| batch.columns.f32("weight")[row * n + t] > 0.0) {
                    let at = row * n + t;
                    let place = |start: usize| match (samples.per_position(), samples.hides()) {
                        (false, _) => start + len,
                        (true, false) => start + t + 1 - from,
                        (true, true) => start + batch.columns.u32("positions")[at] as usize - from,
                    };
                    let is = |place: &usize| {
                        *place < split.train_len(user)
                            && items[*place] == batch.columns.u32("positive")[at]
                            && behaviours[*place] as u32 + 1 == batch.columns.u32("positive_behaviour")[at]
                            && learned.contains(&(user, *place as u32))
                    };
                    let place = starts.iter().map(|&start| place(start)).find(is).expect("a target that is learned");
                    targets.insert((user, place as u32));
                    assert_eq!(batch.columns.u32("positive_behaviour")[at], 3);
                    assert!([1, 2].contains(&batch.columns.u32("negative_behaviour")[at]));
                    if let Some(features) = &spec.features {
                        let mut own = vec![0; features.sizes().len()];
                        features.write(user, &items[..place], &behaviours[..place], &mut own);
                        assert_eq!(batch.columns.u32("features")[row * own.len()..][..own.len()], own);
                    }
                }
            }
        }
        assert!(if samples.hides() { targets.is_subset(&learned) } else { targets == learned }, "{samples:?}");
    }
}

/// With items that none of the training parts has: neither drawn for a user of nearly all others, nor for a batch.
#[test]
fn cold_items_are_not_drawn() {
    let histories = vec![(1..=90).collect(), vec![91, 1, 2], vec![92, 3, 4], (5..60).collect(), vec![3, 93, 94]];
    let data = Arc::new(dataset(&histories));
    let split = Arc::new(Split::new(&data, SplitKind::LeaveOneOut).unwrap());
    let cold = split.cold_items(&data);
    assert_eq!((cold.len(), data.items()), (4, 94));
    let drawn = |shared, sampler| {
        let negatives = Some(Drawn { each: 20, shared, sampler, cold: false });
        let batches = TrainBatches::new(data.clone(), split.clone(), BatchSpec { negatives, ..spec(0) }).unwrap();
        let of_batch = |batch: Batch| {
            let rows = if shared { 1 } else { batch.samples };
            batch.columns.u32("negative")[..rows * 20].to_vec()
        };
        batches.epoch(0, 0).flat_map(of_batch).collect::<BTreeSet<u32>>()
    };
    for sampler in [Sampler::Uniform, Sampler::Popularity(1.0)] {
        for shared in [false, true] {
            let drawn = drawn(shared, sampler);
            assert!(
                !drawn.is_empty() && cold.iter().all(|item| !drawn.contains(item)),
                "{sampler:?} {shared}: {drawn:?}"
            );
        }
    }
    // The first user has all but two of those that are drawn.
    let negatives = Negatives::new(&data, &split, Pool { sampler: Sampler::Uniform, cold: false });
    let mut stream = Stream::new(1, "test", 0);
    let of_first: BTreeSet<u32> = (0..50).map(|_| negatives.draw(0, &mut stream)).collect();
    assert_eq!(of_first.len(), 2, "{of_first:?}");
}
