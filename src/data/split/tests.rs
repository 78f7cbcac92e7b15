use super::*;
use crate::data::dataset::tests::{dataset, interactions};
use crate::data::filter::Ties;
use crate::data::readers::Clock;

fn cut(data: &Dataset, kind: &str) -> Split {
    Split::new(data, kind.parse::<SplitKind>().unwrap()).unwrap()
}

fn targets(split: &Split, data: &Dataset, part: Part) -> Vec<(u32, u32)> {
    split.targets(data, part).collect()
}

#[test]
fn leave_one_out() {
    let data = dataset(&[vec![1, 2, 3, 4], vec![1], vec![1, 2], vec![4, 3, 2]]);
    let split = cut(&data, "leave-one-out");
    assert_eq!(targets(&split, &data, Part::Valid), [(0, 2), (3, 1)]);
    assert_eq!(targets(&split, &data, Part::Test), [(0, 3), (3, 2)]);
    let trained: Vec<&[u32]> = (0..4).map(|u| split.train(&data, u)).collect();
    assert_eq!(trained, [&[1, 2][..], &[1], &[1, 2], &[4]]);
    assert_eq!(split.describe(&data), "leave-one-out: 2 users evaluated, 2 left out (fewer than 3 events)");
    assert_eq!(split.popularity(&data), [0, 3, 2, 0, 1]);
}

#[test]
fn ratio() {
    let data = dataset(&[(1..=10).collect(), vec![1, 2], vec![1]]);
    let split = cut(&data, "ratio:80,10,10");
    assert_eq!((split.train_len(0), split.train_len(1), split.train_len(2)), (8, 1, 1));
    assert_eq!(targets(&split, &data, Part::Valid), [(0, 8)]);
    assert_eq!(targets(&split, &data, Part::Test), [(0, 9), (1, 1)]);
    let split = cut(&data, "ratio:.5,.2,.3");
    assert_eq!(targets(&split, &data, Part::Valid), [(0, 5), (0, 6)]);
    assert_eq!(targets(&split, &data, Part::Test), [(0, 7), (0, 8), (0, 9), (1, 1)]);
}

/// All shares in whole per cents, written as per cents and as fractions, against integers.
#[test]
fn shares_are_exact() {
    let sizes = [1, 2, 3, 7, 10, 99, 100, 101, 12_345, 1_000_000, 99_999_999, 4_294_967_295];
    let mut pairs = 0;
    for train in 1..100usize {
        for valid in 1..100 - train {
            pairs += 1;
            let test = 100 - train - valid;
            let fraction = |part: usize| format!("0.{part:02}");
            for text in [
                format!("time:{train},{valid},{test}"),
                format!("time:{},{},{}", fraction(train), fraction(valid), fraction(test)),
            ] {
                let kind = text.parse::<SplitKind>().unwrap();
                let SplitKind::Time([a, b, _]) = kind else { panic!("{kind}") };
                for n in sizes {
                    assert_eq!(
                        (first(n, a), first(n, a + b)),
                        (n * train / 100, n * (train + valid) / 100),
                        "{text} of {n}"
                    );
                }
                assert_eq!(kind.to_string(), format!("time:{train},{valid},{test}"));
            }
            // data.cut
            let share: f64 = fraction(train).parse().unwrap();
            sizes.iter().for_each(|&n| assert_eq!(first(n, share), n * train / 100, "{share} of {n}"));
        }
    }
    assert_eq!(pairs, 4851);
    assert_eq!((first(3, 1.0 / 3.0), first(1000, 0.999_999_999_999), first(0, 0.5)), (1, 999, 0));
}

#[test]
fn a_time_split_cuts_where_it_says() {
    let mut data = interactions(&[(0..10).collect()]);
    data.time = (0..10).map(|t| 1_000_000_000 + t).collect();
    let set = Dataset::new(data.clone(), Ties::File, vec![]);
    let split = cut(&set, "time:0.7,0.1,0.2");
    assert_eq!(split.train_len(0), 7);
    assert_eq!(targets(&split, &set, Part::Valid), [(0, 7)]);
    assert_eq!(targets(&split, &set, Part::Test), [(0, 8), (0, 9)]);
    for by in [CutBy::Time, CutBy::User] {
        let spec = SplitSpec { cut: Some(Cut { share: 0.29, by }), learn: Learn::Later, ..SplitSpec::default() };
        let data = dataset(&[(0..100).collect()]);
        assert_eq!(Split::new(&data, spec).unwrap().first, Some(vec![29]));
    }
}

#[test]
fn time() {
    let mut data = interactions(&[vec![1, 2, 3, 4, 5], vec![1, 2, 3], vec![1, 2]]);
    data.time = [10, 20, 30, 40, 50, 15, 80, 90, 85, 95].map(|t| t * 10_000_000).to_vec();
    let set = Dataset::new(data.clone(), Ties::File, vec![]);
    let split = cut(&set, "time:0.6,0.2,0.2"); // cuts before 80 and before 90
    assert_eq!((0..3).map(|u| split.train_len(u)).collect::<Vec<_>>(), [5, 1, 0]);
    assert_eq!(targets(&split, &set, Part::Valid), [(1, 1)]); // user 2's event at 85 has nothing before it
    assert_eq!(targets(&split, &set, Part::Test), [(1, 2), (2, 1)]);
    data.clock = Clock::Order;
    let set = Dataset::new(data, Ties::File, vec![]);
    let message = Split::new(&set, "time:0.6,0.2,0.2".parse::<SplitKind>().unwrap()).unwrap_err().to_string();
    assert!(message.contains("no times, only an order"), "{message}");
}

/// Behaviours 0 click, 1 cart, 2 buy, an event a minute from 1 on; users one after the other in `order` of time.
fn with_behaviours(histories: &[(&[u32], &[u8], &[i64])]) -> Dataset {
    let items: Vec<Vec<u32>> = histories.iter().map(|(items, ..)| items.to_vec()).collect();
    let mut data = interactions(&items);
    data.behaviour = Some(histories.iter().flat_map(|(_, behaviours, _)| behaviours.iter().copied()).collect());
    data.behaviours = ["click", "cart", "buy"].map(String::from).to_vec();
    data.time = histories.iter().flat_map(|(.., times)| times.iter().map(|t| 1_000_000_000 + t)).collect();
    Dataset::new(data, Ties::File, vec![])
}

/// Ten events. Six of them come before the cut, at time 60.
fn bought() -> Dataset {
    with_behaviours(&[
        (&[1, 2, 1, 2, 2], &[1, 2, 2, 1, 2], &[10, 60, 70, 80, 90]),
        (&[4, 1, 5], &[2, 2, 2], &[20, 30, 65]),
        (&[5, 4], &[0, 1], &[40, 50]),
    ])
}

#[test]
fn the_last_two_of_a_behaviour_are_held_out() {
    let data = bought();
    let split = Split::new(&data, SplitSpec { target: Some(2), ..SplitSpec::default() }).unwrap();
    // User 1's second buy before the last is its first event; the carts of user 0 are no targets.
    assert_eq!(targets(&split, &data, Part::Valid), [(0, 2), (1, 1)]);
    assert_eq!(targets(&split, &data, Part::Test), [(0, 4), (1, 2)]);
    assert_eq!((0..3).map(|u| split.train_len(u)).collect::<Vec<_>>(), [2, 1, 2]);
    assert!(split.learns(&data, 0, 1) && !split.learns(&data, 2, 1) && !split.learns_all());
    assert_eq!(split.done(&data, 0, 4).collect::<Vec<_>>(), [2, 1]);
    let text = split.describe(&data);
    assert_eq!(
        text,
        "leave-one-out of buy: 2 users evaluated, 1 left out (fewer than 2 buy events, or nothing before them)"
    );
    let any = Split::new(&data, SplitSpec { target: Some(2), learn: Learn::Any, ..SplitSpec::default() }).unwrap();
    assert!(any.learns(&data, 2, 1) && any.learns_all());
}

#[test]
fn both_targets_come_after_the_cut() {
    let data = bought();
    let cut = Some(Cut { share: 0.5, by: CutBy::Time });
    let of = |learn| Split::new(&data, SplitSpec { target: Some(2), cut, learn, ..SplitSpec::default() }).unwrap();
    let later = of(Learn::Later);
    // User 1's validation event came before the cut: all of that user may be learned from, after the cut.
    assert_eq!(targets(&later, &data, Part::Valid), [(0, 2)]);
    assert_eq!(targets(&later, &data, Part::Test), [(0, 4)]);
    let learned = |split: &Split| -> Vec<(u32, u32)> {
        let places = |u: u32| (1..split.train_len(u) as u32).map(move |place| (u, place));
        (0..3).flat_map(places).filter(|&(u, place)| split.learns(&data, u, place)).collect()
    };
    assert_eq!(learned(&later), [(0, 1), (1, 2)]);
    let earlier = of(Learn::Earlier);
    // Users of fewer than 3 earlier events are not validated; nothing is tested.
    assert_eq!(learned(&earlier), [(1, 1), (2, 1)]);
    assert!(targets(&earlier, &data, Part::Test).is_empty());
    let by_user = Some(Cut { share: 0.3, by: CutBy::User });
    let later = SplitSpec { target: Some(2), cut: by_user, learn: Learn::Later, ..SplitSpec::default() };
    let later = Split::new(&data, later).unwrap();
    assert_eq!(targets(&later, &data, Part::Test), [(0, 4), (1, 2)]);
    assert_eq!(learned(&later), [(0, 1)]);
}

#[test]
fn pre_training_holds_out_an_earlier_event() {
    let data = with_behaviours(&[(&[1, 2, 3, 4, 5, 1, 2], &[0, 0, 1, 0, 2, 2, 2], &[1, 2, 3, 4, 5, 6, 7])]);
    let cut = Some(Cut { share: 0.58, by: CutBy::Time });
    let spec = SplitSpec { target: Some(2), cut, learn: Learn::Earlier, ..SplitSpec::default() };
    let split = Split::new(&data, spec).unwrap();
    assert_eq!((split.train_len(0), split.target()), (3, None));
    assert_eq!(targets(&split, &data, Part::Valid), [(0, 3)]);
}

#[test]
fn groups_of_targets() {
    let data = bought();
    let of = |only| {
        let spec = SplitSpec { target: Some(2), only, ..SplitSpec::default() };
        targets(&Split::new(&data, spec).unwrap(), &data, Part::Test)
    };
    assert_eq!((of(Group::Cold), of(Group::Warm)), (vec![(0, 4), (1, 2)], vec![]));
    assert_eq!((of(Group::Seen), of(Group::New)), (vec![(0, 4)], vec![(1, 2)]));
    // What is said of users without a target of the group is not what is said of users without any.
    let said = |kind: &str, target, only| {
        let spec = SplitSpec { kind: kind.parse().unwrap(), target, only, ..SplitSpec::default() };
        Split::new(&data, spec).unwrap().describe(&data)
    };
    let buys = "1 left out (fewer than 2 buy events, or nothing before them)";
    for (only, users) in [
        (Group::Cold, format!("cold alone: 2 users evaluated, {buys}, 0 without a cold target")),
        (Group::Warm, format!("warm alone: 0 users evaluated, {buys}, 2 without a warm target")),
        // Of user 1 the validation target is new as well; of user 0 it was seen.
        (Group::New, format!("new alone: 1 users evaluated, {buys}, 1 without a new target")),
    ] {
        assert_eq!(said("leave-one-out", Some(2), only), format!("leave-one-out of buy, {users}"));
    }
    assert_eq!(
        said("ratio:50,25,25", Some(2), Group::All),
        "ratio:50,25,25 of buy: 2 users evaluated, 1 left out (no buy event in the last 50%, or nothing before it)"
    );
    assert_eq!(said("ratio:50,25,25", None, Group::All), "ratio:50,25,25: 3 users evaluated, 0 left out");
    // What was bought before is not seen under another behaviour.
    let twice = with_behaviours(&[(&[1, 2, 2, 2], &[0, 2, 2, 2], &[1, 2, 3, 4])]);
    let spec = SplitSpec { target: Some(2), only: Group::New, ..SplitSpec::default() };
    assert_eq!(targets(&Split::new(&twice, spec).unwrap(), &twice, Part::Test), [(0, 3)]);
}

#[test]
fn nothing_to_learn_from() {
    let data = dataset(&[vec![1], vec![2], vec![1, 2, 3]]);
    let message = Split::new(&data, SplitKind::LeaveOneOut).unwrap_err().to_string();
    assert!(message.contains("no user has two events in the training part (3 users, 5 events in all)"), "{message}");
}

#[test]
fn written_and_read() {
    for text in ["leave-one-out", "ratio:80,10,10", "time:60,20,20"] {
        assert_eq!(text.parse::<SplitKind>().unwrap().to_string(), text);
    }
    assert_eq!("time:0.8,0.1,0.1".parse::<SplitKind>().unwrap().to_string(), "time:80,10,10");
    for wrong in
        ["", "loo", "ratio:80,10", "ratio:80,10,20", "ratio:0,50,50", "ratio:nan,1,1", "time:1,1,1", "week:80,10,10"]
    {
        let message = wrong.parse::<SplitKind>().unwrap_err();
        assert!(message.starts_with(&format!("split {wrong:?}: expected ")), "{message}");
    }
}

#[test]
fn some_users_are_evaluated_alone() {
    let data = dataset(&[vec![1, 2, 3, 4], vec![5, 1, 2, 3], vec![6, 1, 2, 3]]);
    let split = Split::new(&data, SplitSpec { users: Some(1), ..SplitSpec::default() }).unwrap();
    assert!(split.learns(&data, 0, 1) && !split.learns(&data, 1, 1) && !split.learns_all());
    assert_eq!(split.targets(&data, Part::Test).count(), 3);
    assert_eq!(split.popularity(&data).iter().sum::<u32>(), 2);
    assert!(split.describe(&data).ends_with("learned from the first 1 alone"), "{}", split.describe(&data));
    assert!(
        Split::new(&dataset(&[vec![1], vec![1, 2, 3, 4]]), SplitSpec { users: Some(1), ..SplitSpec::default() })
            .is_err()
    );
}

#[test]
fn grouped_digits() {}
