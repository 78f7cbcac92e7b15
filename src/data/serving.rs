//! Histories for a model that was trained earlier: of users whom the training may never have seen, over the items that it knows.

use super::dataset::Dataset;
use super::filter::Filter;
use super::readers::{self, Columns, Format, Interactions, SkipBad};
use super::{DataConfig, Ids, known};
use crate::error::{Error, Result};
use crate::text::counted;
use indicatif::HumanCount;
use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A file of interactions: the whole histories of its users.
#[derive(Clone, Debug)]
pub struct HistoryFile {
    /// A file or folder, or the name of a known data set.
    pub path: PathBuf,
    /// Detected from the contents if not given.
    pub format: Option<Format>,
    /// If not given, those of the run's data where the file has them, else detected by the usual names.
    pub columns: Option<Columns>,
    pub skip_bad: SkipBad,
}

/// Histories by the numbers of a training.
#[derive(Debug)]
pub struct Histories {
    /// The users of the training by their numbers, without a history where the file has none of them, then new ones. Only
    /// the items of the training.
    pub data: Arc<Dataset>,
    /// The users of the file who have a history, in its order.
    pub users: Vec<u32>,
    /// What the file is called.
    pub name: String,
    /// The number of users whom the training did not have.
    new: usize,
    unknown: Unknown,
    /// Users of the file whose history has only unknown items.
    left_out: usize,
}

/// Events of items that the training did not have, and the number of these items.
#[derive(Clone, Copy, Debug)]
struct Unknown {
    events: usize,
    items: usize,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (events, items) = (counted(self.events, "event"), counted(self.items, "item"));
        write!(f, "{events} of {items} that the run does not know")
    }
}

impl Histories {
    /// Reads `file` as the run's data were read, by `config`: smaller values, repeated events and behaviours that were left
    /// out there are left out, but no number of events is too small. `behaviours`: whether those of the events are needed.
    ///
    /// # Errors
    /// Whatever is wrong with the file; no behaviours where they are needed; no event of an item in `ids`.
    pub fn read(file: &HistoryFile, config: &DataConfig, ids: &Ids, behaviours: bool) -> Result<Histories> {
        let path = known::resolve(&file.path)?;
        let mut log = match &file.columns {
            Some(columns) => readers::read(&readers::locate(&path, file.format, columns)?, columns, file.skip_bad)?,
            None => readers::read_like(&path, file.format, &config.columns, file.skip_bad)?,
        };
        let refused = |found: String, expected: String| {
            Err(Error::Input { path: path.clone(), line: None, column: None, found, expected })
        };
        if behaviours && log.behaviour.is_none() {
            let names = ids.behaviours.join(", ");
            let expected =
                format!("the behaviour of each event ({names}), which the run reads; see --behaviour-column");
            return refused("no behaviours".to_string(), expected);
        }
        if ids.behaviours.is_empty() {
            (log.behaviour, log.behaviours) = (None, vec![]);
        }
        let min_value = config.min_value.filter(|_| log.value.is_some());
        let filter =
            Filter { behaviours: ids.behaviours.clone(), min_value, min_user: 0, min_item: 0, ..config.filter() };
        let mut notes = std::mem::take(&mut log.notes);
        notes.extend(filter.apply(&mut log));
        if config.min_value != min_value {
            notes.push("no values: data.min_value leaves nothing out".to_string());
        }
        let (log, users, unknown) = numbered(log, ids);
        if log.is_empty() {
            let expected = "events of items that the run was trained on, by their ids there".to_string();
            return refused(unknown.to_string(), expected);
        }
        let data = Arc::new(Dataset::new(log, config.ties, notes));
        let all = users.len();
        let users: Vec<u32> = users.into_iter().filter(|&user| !data.history(user).is_empty()).collect();
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let new = users.iter().filter(|&&user| user as usize >= ids.users.len()).count();
        Ok(Histories { left_out: all - users.len(), data, users, name, new, unknown })
    }

    /// One line for people: who is there, who is new, and what is left out.
    pub fn describe(&self) -> String {
        let Histories { data, users, name, new, unknown, left_out } = self;
        let mut text = format!(
            "{name}: {} ({} of them new to the run), {}",
            counted(users.len(), "user"),
            HumanCount(*new as u64),
            counted(data.interactions(), "event")
        );
        if unknown.events > 0 {
            text += &format!("; {unknown} left out");
        }
        if *left_out > 0 {
            text += &format!("; {} without any other left out", counted(*left_out, "user"));
        }
        text
    }
}

/// The events of known items by the numbers in `ids`, the number of each user of the log, and what is not known. New users have
/// the numbers after the known ones.
fn numbered(log: Interactions, ids: &Ids) -> (Interactions, Vec<u32>, Unknown) {
    let known_users: HashMap<&str, u32> = ids.users.iter().zip(0..).collect();
    let known_items: HashMap<&str, u32> = ids.items.iter().zip(0..).collect();
    let mut user_names = ids.users.clone();
    let user = |name| {
        known_users.get(name).copied().unwrap_or_else(|| {
            user_names.push(name);
            user_names.len() as u32 - 1
        })
    };
    let users: Vec<u32> = log.user_names.iter().map(user).collect();
    let items: Vec<Option<u32>> = log.item_names.iter().map(|name| known_items.get(name).copied()).collect();
    let kept: Vec<usize> = (0..log.len()).filter(|&at| items[log.item[at] as usize].is_some()).collect();
    fn pick<T: Copy>(column: &[T], kept: &[usize]) -> Vec<T> {
        kept.iter().map(|&at| column[at]).collect()
    }
    let unknown = Unknown { events: log.len() - kept.len(), items: items.iter().filter(|item| item.is_none()).count() };
    let numbered = Interactions {
        user: kept.iter().map(|&at| users[log.user[at] as usize]).collect(),
        item: kept.iter().filter_map(|&at| items[log.item[at] as usize]).collect(),
        time: pick(&log.time, &kept),
        value: log.value.as_ref().map(|value| pick(value, &kept)),
        behaviour: log.behaviour.as_ref().map(|behaviour| pick(behaviour, &kept)),
        parts: log.parts.as_ref().map(|parts| pick(parts, &kept)),
        user_names,
        item_names: ids.items.clone(),
        ..log
    };
    (numbered, users, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn ids(users: &[&str], items: &[&str], behaviours: &[&str]) -> Ids {
        let behaviours = behaviours.iter().map(|name| name.to_string()).collect();
        Ids { users: users.iter().collect(), items: items.iter().collect(), behaviours }
    }

    fn read(name: &str, text: &str, config: &DataConfig, ids: &Ids, behaviours: bool) -> Result<Histories> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let sequences = |format: &Format| name.ends_with(".txt") && format.name() == "sequences";
        let format = Format::all().iter().copied().find(sequences);
        let file = HistoryFile { path, format, columns: None, skip_bad: SkipBad::NONE };
        Histories::read(&file, config, ids, behaviours)
    }

    #[test]
    fn numbers_are_those_of_the_training() {
        let ids = ids(&["ann", "ben", "cem"], &["x", "y", "z"], &[]);
        let text = "user,item,rating,timestamp\nnew,z,5,1000000003\ncem,y,5,1000000002\ncem,other,5,1000000001\n\
                    cem,x,1,1000000000\nlast,other,4,1000000009\nnew,x,5,1000000001\nnew,x,5,1000000001\n";
        let config = DataConfig { min_item: 9, min_user: 9, ..DataConfig::default() };
        let got = read("events.csv", text, &config, &ids, false).unwrap();
        assert_eq!((got.data.users(), got.data.items(), &got.users[..]), (5, 3, &[3, 2][..]));
        let histories: Vec<&[u32]> = (0..5).map(|user| got.data.history(user)).collect();
        assert_eq!(histories, [&[][..], &[], &[1, 2], &[1, 3], &[]]);
        assert_eq!((got.data.user_name(2), got.data.user_name(3), got.data.item_name(3)), ("cem", "new", "z"));
        assert_eq!(
            got.describe(),
            "events.csv: 2 users (1 of them new to the run), 4 events; 2 events of 1 item that the run does not know left out; \
             1 user without any other left out"
        );
        assert!(got.data.notes().iter().any(|note| note.starts_with("duplicates")), "{:?}", got.data.notes());
        let high = DataConfig { min_value: Some(4.0), ..config.clone() };
        assert_eq!(read("events.csv", text, &high, &ids, false).unwrap().data.history(2), [2]);
        let got = read("lines.txt", "ann y x\nzoe z z other\n", &high, &ids, false).unwrap();
        assert_eq!((got.data.history(0), got.data.history(3)), (&[2, 1][..], &[3, 3][..]));
        assert!(got.data.notes().iter().any(|note| note.starts_with("no values")), "{:?}", got.data.notes());
        let error = read("lines.txt", "ann other\nben other another\n", &config, &ids, false).unwrap_err().to_string();
        assert!(error.contains("found 3 events of 2 items that the run does not know"), "{error}");
    }

    #[test]
    fn behaviours_are_those_of_the_training() {
        let ids = ids(&["ann"], &["x", "y"], &["click", "buy"]);
        let text =
            "user,item,behaviour,timestamp\nann,x,buy,1000000000\nann,y,cart,1000000001\nann,y,click,1000000002\n";
        let config = DataConfig::default();
        let got = read("events.csv", text, &config, &ids, true).unwrap();
        assert_eq!((got.data.history(0), got.data.behaviours(0)), (&[1, 2][..], Some(&[1, 0][..])));
        assert_eq!(got.data.behaviour_names(), ["click", "buy"]);
        let dropped = "behaviours other than click, buy: 1 interactions dropped";
        assert!(got.data.notes().iter().any(|note| note.starts_with(dropped)), "{:?}", got.data.notes());
        let plain = "user,item,timestamp\nann,x,1000000000\n";
        let error = read("plain.csv", plain, &config, &ids, true).unwrap_err().to_string();
        assert!(error.contains("found no behaviours; expected the behaviour of each event (click, buy)"), "{error}");
        assert!(read("plain.csv", plain, &config, &ids, false).unwrap().data.behaviours(0).is_none());
        let none = Ids { behaviours: vec![], ..ids };
        let got = read("events.csv", text, &config, &none, false).unwrap();
        assert_eq!((got.data.history(0), got.data.behaviours(0)), (&[1, 2, 2][..], None));
    }
}
