//! Items that are held out of what is learned: to a model they are as new as what a shop gets tomorrow (zero-shot).

use super::dataset::{Dataset, HeldOut};
use super::split::SplitKind;
use super::{DataConfig, Part};
use crate::error::{Error, Result};
use crate::tensor::philox::Stream;
use crate::text::counted;
use indicatif::HumanCount;

impl HeldOut {
    /// A share of the items that occur in `data`, rounded to whole ones.
    fn draw(data: &Dataset, share: f64, seed: u64) -> Result<HeldOut> {
        let mut occurs = vec![false; data.items() + 1];
        data.all_items().iter().for_each(|&item| occurs[item as usize] = true);
        let mut items: Vec<u32> = (1..=data.items() as u32).filter(|&item| occurs[item as usize]).collect();
        let (all, count) = (items.len(), (share * items.len() as f64).round() as usize);
        if count == 0 || count == all {
            let why = format!("expected a share that is at least one of the {all} items, and not all");
            return Err(Error::Usage(format!("data.hold_out_items: found {share}; {why}")));
        }
        Stream::new(seed, "items that are held out", 0).shuffle(&mut items);
        items.truncate(count);
        items.sort_unstable();
        Ok(HeldOut { items, of: data.fingerprint().to_string() })
    }

    /// Whether the user's last event is asked for in the test part once the events of such items before it are gone.
    fn is_tested(&self, data: &Dataset, user: u32) -> bool {
        match data.parts(user) {
            Some(parts) => parts.last() == Some(&TEST),
            // Leave-one-out asks for nothing of two events.
            None => data.history(user).iter().filter(|&&item| !self.has(item)).count() >= 2,
        }
    }
}

/// The number of the part in data that come cut in files.
const TEST: u8 = 2;

impl DataConfig {
    /// `data` without the events of the items that `hold_out_items` holds out. One stays where it is the last of its history and is a
    /// test target. Users and items keep their numbers.
    ///
    /// # Errors
    /// Another split than leave-one-out of every event, by which the last event might not be the target; a share of no item, or all.
    pub(super) fn hold_out(&self, data: Dataset) -> Result<Dataset> {
        let Some(share) = self.hold_out_items else { return Ok(data) };
        let other = match () {
            _ if self.split != SplitKind::LeaveOneOut => format!("data.split is {}", self.split),
            _ if self.target.is_some() => "data.target is set".to_string(),
            _ if self.cut.is_some() => "data.cut is set".to_string(),
            _ => {
                let held = HeldOut::draw(&data, share, self.hold_out_seed)?;
                return Ok(data.without(held, self.hold_out_seed));
            }
        };
        let expected = "expected leave-one-out without data.target and data.cut, whose test target is the last event";
        Err(Error::Usage(format!("data.hold_out_items is set, but {other}; {expected}")))
    }
}

impl Dataset {
    fn without(mut self, held: HeldOut, seed: u64) -> Dataset {
        let mut keep: Vec<bool> = Vec::with_capacity(self.interactions());
        let (mut offsets, mut kept, mut tested) = (vec![0], 0, 0);
        for user in 0..self.users() as u32 {
            let (history, is_tested) = (self.history(user), held.is_tested(&self, user));
            for (at, &item) in history.iter().enumerate() {
                let target = held.has(item) && at + 1 == history.len() && is_tested;
                tested += target as usize;
                keep.push(target || !held.has(item));
                kept += *keep.last().expect("it was pushed") as u64;
            }
            offsets.push(kept);
        }
        fn column<T>(column: &mut Vec<T>, keep: &[bool]) {
            let mut keep = keep.iter();
            column.retain(|_| *keep.next().expect("one mark for each event"));
        }
        let gone = keep.len() - kept as usize;
        let [items, all] = [held.items.len(), self.items()].map(|n| HumanCount(n as u64));
        self.note(format!(
            "held out (seed {seed}): {items} of {all} items, of which {} are gone and {} are left, each the last of its history and \
             asked for in the {} part",
            counted(gone, "event"),
            HumanCount(tested as u64),
            Part::Test
        ));
        column(&mut self.items, &keep);
        column(&mut self.times, &keep);
        self.values.iter_mut().for_each(|values| column(values, &keep));
        self.behaviours.iter_mut().for_each(|behaviours| column(behaviours, &keep));
        self.parts.iter_mut().for_each(|parts| column(parts, &keep));
        (self.offsets, self.held_out) = (offsets, Some(held));
        self.fingerprint = self.hash();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::Split;
    use super::*;
    use crate::data::dataset::tests::{dataset, interactions};
    use crate::data::filter::Ties;

    fn held_out(data: Dataset, items: &[u32]) -> Dataset {
        let held = HeldOut { items: items.to_vec(), of: data.fingerprint().to_string() };
        data.without(held, 1)
    }

    fn histories(data: &Dataset) -> Vec<&[u32]> {
        (0..data.users() as u32).map(|user| data.history(user)).collect()
    }

    #[test]
    fn held_out_items_are_test_targets_alone() {
        // Ids are those of first occurrence: 1 to 5.
        let data = dataset(&[vec![1, 2, 3, 4, 5], vec![5, 1, 2, 5], vec![5, 5, 1, 5], vec![5, 3, 1, 2], vec![5, 5]]);
        let of = data.fingerprint().to_string();
        let data = held_out(data, &[5]);
        assert_eq!(histories(&data), [&[1, 2, 3, 4, 5][..], &[1, 2, 5], &[1], &[3, 1, 2], &[]]);
        assert_eq!((data.items(), data.users(), data.held_out().unwrap().of == of), (5, 5, true));
        assert_ne!(data.fingerprint(), of);
        let split = Split::new(&data, SplitKind::LeaveOneOut).unwrap();
        assert_eq!(split.targets(&data, Part::Test).collect::<Vec<_>>(), [(0, 4), (1, 2), (3, 2)]);
        assert!(split.cold_items(&data).contains(&5) && !split.training(&data).concat().contains(&5));
        let note = data.notes().last().unwrap();
        assert!(note.contains("1 of 5 items, of which 7 events are gone and 2 are left"), "{note}");
    }

    #[test]
    fn what_comes_cut_in_files_stays_cut() {
        let mut log = interactions(&[vec![1, 2, 3, 4], vec![4, 1, 4], vec![4, 4]]);
        log.parts = Some(vec![0, 0, 1, 2, 0, 0, 1, 0, 2]);
        let data = held_out(Dataset::new(log, Ties::File, vec![]), &[4]);
        // The second user's last event is a validation target; the third is left with nothing to know the user by.
        assert_eq!(histories(&data), [&[1, 2, 3, 4][..], &[1], &[4]]);
        let split = Split::new(&data, SplitKind::LeaveOneOut).unwrap();
        assert_eq!(split.targets(&data, Part::Test).collect::<Vec<_>>(), [(0, 3)]);
        assert!(!split.training(&data).concat().contains(&4));
    }

    /// Whatever else users did with these items, what is left is the same.
    #[test]
    fn planted_events_change_nothing() {
        let share = |seed| DataConfig { hold_out_items: Some(0.3), hold_out_seed: seed, ..DataConfig::default() };
        let plain: Vec<Vec<u32>> =
            (0..20).map(|user| (0..10).map(|at| 1 + (user * 3 + at * at) % 20).collect()).collect();
        for seed in 1..5 {
            let without = share(seed).hold_out(dataset(&plain)).unwrap();
            let held = without.held_out().unwrap().items.clone();
            let name = |&item: &u32| without.item_name(item).trim_start_matches('i').parse::<u32>().unwrap();
            let mut planted = plain.clone();
            for history in &mut planted[10..] {
                held.iter().for_each(|item| history.insert(3, name(item)));
            }
            let data = dataset(&planted);
            assert_eq!(data.interactions(), 200 + 10 * held.len());
            let data = share(seed).hold_out(data).unwrap();
            assert_eq!((histories(&data), held.len()), (histories(&without), 6));
            assert_eq!(data.held_out().unwrap().items, held);
        }
        assert_ne!(
            share(1).hold_out(dataset(&plain)).unwrap().held_out,
            share(2).hold_out(dataset(&plain)).unwrap().held_out
        );
    }

    #[test]
    fn other_splits_and_shares_are_refused() {
        let refused = |config: DataConfig| config.hold_out(dataset(&[vec![1, 2, 3, 4]])).unwrap_err().to_string();
        let some = DataConfig { hold_out_items: Some(0.25), ..DataConfig::default() };
        let ratio = DataConfig { split: "ratio:80,10,10".parse().unwrap(), ..some.clone() };
        assert!(refused(ratio).contains("but data.split is ratio:80,10,10; expected leave-one-out"));
        assert!(refused(DataConfig { cut: Some(0.5), ..some.clone() }).contains("but data.cut is set"));
        let none = refused(DataConfig { hold_out_items: Some(0.1), ..some });
        assert!(none.contains("found 0.1; expected a share that is at least one of the 4 items"), "{none}");
    }
}
