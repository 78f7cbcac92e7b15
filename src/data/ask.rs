//! What an evaluation asks for: the targets of a part of the split, or items that a file lists for users.

use super::dataset::Dataset;
use super::readers::text::{Text, check_there, show};
use super::readers::{self, Columns, Format, SkipBad};
use super::split::{Part, Split};
use crate::error::{Error, Result};
use crate::text::counted;
use indicatif::HumanCount;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Ask<'a> {
    /// The targets of a part.
    Part(Part),
    /// User and item, by user. What is known is the user's whole history.
    Items(&'a [(u32, u32)]),
}

impl From<Part> for Ask<'_> {
    fn from(part: Part) -> Self {
        Ask::Part(part)
    }
}

impl Ask<'_> {
    /// User and number of the events before it, of each target, by user.
    pub fn targets(self, data: &Dataset, split: &Split) -> Vec<(u32, u32)> {
        match self {
            Ask::Part(part) => split.targets(data, part).collect(),
            Ask::Items(list) => list.iter().map(|&(user, _)| (user, data.history(user).len() as u32)).collect(),
        }
    }

    /// The item, or class, of each of [`Ask::targets`].
    pub fn items(self, data: &Dataset, split: &Split, targets: &[(u32, u32)]) -> Vec<u32> {
        match self {
            Ask::Part(_) => targets.iter().map(|&(user, events)| split.label(data, user, events)).collect(),
            Ask::Items(list) => list.iter().map(|&(_, item)| item).collect(),
        }
    }
}

/// Items that a file lists for users, to be found after all that the data has of them.
#[derive(Clone, Debug)]
pub struct ListedItems {
    /// What the file is called.
    name: String,
    /// User and item, by user, each pair once.
    pub targets: Vec<(u32, u32)>,
    /// Of the targets, those whose item is in the user's history.
    seen: usize,
    /// Pairs of the file that are not targets, and the users and items in it that the data do not have.
    left_out: usize,
    unknown: [usize; 2],
}

impl ListedItems {
    /// Reads a file of interactions: a user and an item each. Its format is detected from its contents if not given.
    /// `columns` name those of the data; a file with other columns is read by the usual names. Everything else in it must be
    /// well-formed, and is not used.
    ///
    /// # Errors
    /// Whatever is wrong with the file; one without a user of the data and an item of it in one line.
    pub fn read(path: &Path, format: Option<Format>, columns: &Columns, data: &Dataset) -> Result<ListedItems> {
        check_there(path, "a file of users and items")?;
        let named = Columns { value: None, time: None, behaviour: None, ..columns.clone() };
        let listed = readers::read_like(path, format, &named, SkipBad::NONE)?;
        let users: HashMap<&str, u32> = (0..data.users() as u32).map(|user| (data.user_name(user), user)).collect();
        let items: HashMap<&str, u32> = (1..=data.items() as u32).map(|item| (data.item_name(item), item)).collect();
        let known_users: Vec<Option<u32>> = listed.user_names.iter().map(|name| users.get(name).copied()).collect();
        let known_items: Vec<Option<u32>> = listed.item_names.iter().map(|name| items.get(name).copied()).collect();
        let pairs: BTreeSet<(u32, u32)> = listed.user.iter().copied().zip(listed.item.iter().copied()).collect();
        let known = |&(user, item): &(u32, u32)| Some((known_users[user as usize]?, known_items[item as usize]?));
        let mut targets: Vec<(u32, u32)> = pairs.iter().filter_map(known).collect();
        targets.sort_unstable();
        if targets.is_empty() {
            return Err(Error::Input {
                path: path.to_path_buf(),
                line: None,
                column: None,
                found: format!(
                    "{} pairs of a user and an item, none of them both in the data",
                    HumanCount(pairs.len() as u64)
                ),
                expected: "users and items by the ids that they have in the data".to_string(),
            });
        }
        let seen = targets.iter().filter(|&&(user, item)| data.history(user).contains(&item)).count();
        let unknown = [&known_users, &known_items].map(|known| known.iter().filter(|id| id.is_none()).count());
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Ok(ListedItems { name, seen, left_out: pairs.len() - targets.len(), unknown, targets })
    }

    /// One line for people: what is asked for, and what is not and why.
    pub fn describe(&self) -> String {
        let count = |n: usize| HumanCount(n as u64);
        let users: HashSet<u32> = self.targets.iter().map(|&(user, _)| user).collect();
        let [unknown_users, unknown_items] = self.unknown;
        let (unknown_users, unknown_items) = (counted(unknown_users, "user"), counted(unknown_items, "item"));
        let left_out = match self.left_out {
            0 => String::new(),
            n => format!("; {} left out ({unknown_users}, {unknown_items} not in the data)", count(n)),
        };
        format!(
            "{}: {} of {}, asked for after whole histories ({} are in them){left_out}",
            self.name,
            counted(self.targets.len(), "item"),
            counted(users.len(), "user"),
            count(self.seen)
        )
    }
}

/// The ids of users that a file lists, one a line, in its order and each once. A byte order mark and spaces around an id are no
/// part of it.
///
/// # Errors
/// A file that cannot be read; a line that is not in UTF-8; a file without an id.
pub fn listed_users(path: &Path) -> Result<Vec<String>> {
    let wrong = |line, found: String| {
        let expected = "ids of users, one a line".to_string();
        Error::Input { path: path.to_path_buf(), line, column: None, found, expected }
    };
    check_there(path, "ids of users, one a line")?;
    let mut text = Text::open(path)?;
    let (mut line, mut names, mut seen) = (vec![], vec![], HashSet::new());
    while text.next(&mut line)? {
        let name = std::str::from_utf8(&line).map_err(|_| wrong(Some(text.line), show(&line)))?.trim();
        if !name.is_empty() && seen.insert(name.to_string()) {
            names.push(name.to_string());
        }
    }
    if names.is_empty() { Err(wrong(None, "no user".to_string())) } else { Ok(names) }
}
