//! Which columns of a file mean what: named by the caller, by the format, or by their usual names.

use super::builder::Builder;
use super::role::{Role, SESSIONS};
use crate::error::{Error, Result, nearest, plain};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Which columns of a file mean what, as names in its header or as numbers from 1. What is not given is recognised by its name.
///
/// A CSV or TSV file without a recognised header has none if every column given is a number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// Column of user ids.
    pub user: Option<String>,
    /// Column of item ids.
    pub item: Option<String>,
    /// Column of ratings or other values.
    pub value: Option<String>,
    /// Column of times.
    pub time: Option<String>,
    /// Column of behaviours (click, buy, ...).
    pub behaviour: Option<String>,
    /// What separates the columns; detected from the first line if not given.
    pub delimiter: Option<char>,
    /// Read no ratings, even where a column of them is recognised.
    pub no_rating: bool,
    /// Read no times: the order of the file is that of each history.
    pub no_time: bool,
}

impl Columns {
    /// These columns, and those of `lower` where these say nothing.
    pub fn over(self, lower: Columns) -> Columns {
        Columns {
            // A column that is named, and one that is turned off, undo what the lower layer says of it.
            no_rating: self.no_rating || lower.no_rating && self.value.is_none(),
            no_time: self.no_time || lower.no_time && self.time.is_none(),
            value: self.value.or(lower.value.filter(|_| !self.no_rating)),
            time: self.time.or(lower.time.filter(|_| !self.no_time)),
            user: self.user.or(lower.user),
            item: self.item.or(lower.item),
            behaviour: self.behaviour.or(lower.behaviour),
            delimiter: self.delimiter.or(lower.delimiter),
        }
    }

    /// Whether a column of this name can be one that is read: it is named, or is called as such columns usually are.
    pub fn may_read(&self, name: &str) -> bool {
        self.named().any(|named| named == name) || Role::ALL.into_iter().any(|role| role.may_be(name))
    }

    /// Where the columns of users and of items are in a header, from 0.
    pub fn of_ids(&self, header: &[String]) -> [Option<usize>; 2] {
        [Role::User, Role::Item].map(|role| match self.of(role) {
            Some(wanted) => position(header, wanted),
            None => role.find(header),
        })
    }

    /// The columns that are named.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        Role::ALL.into_iter().filter_map(|role| self.of(role))
    }

    /// Whether these say that a text is a table, whatever it looks like.
    pub(crate) fn name_a_table(&self) -> bool {
        self.delimiter.is_some() || self.named().next().is_some()
    }

    /// Whether columns are named, and all of them by their numbers.
    pub(crate) fn are_numbers(&self) -> bool {
        self.named().next().is_some() && self.named().all(|name| number(name).is_some())
    }

    fn of(&self, role: Role) -> Option<&str> {
        let Columns { user, item, value, time, behaviour, .. } = self;
        [user, item, value, time, behaviour][role as usize].as_deref()
    }

    fn turns_off(&self, role: Role) -> bool {
        self.no_rating && role == Role::Value || self.no_time && role == Role::Time
    }
}

/// The index of a column that is named by its number from 1.
fn number(name: &str) -> Option<usize> {
    name.parse::<usize>().ok()?.checked_sub(1)
}

/// Where the columns of each [`Role`] are in a header, from 0. User and item are always there.
pub(crate) struct Layout([Option<usize>; 5]);

impl Layout {
    pub fn index(&self, role: Role) -> Option<usize> {
        self.0[role as usize]
    }

    /// Finds the columns of the rows that `rows` is to get: those that `columns` names, else those that the format `declared`,
    /// else the usual ones. The errors name the header's columns and the nearest one to what was asked for.
    pub fn of(
        header: &[String],
        columns: &Columns,
        declared: &[(Role, &str)],
        rows: &mut Builder,
        at: impl Fn(Option<u64>, String, String) -> Error,
    ) -> Result<Layout> {
        distinct(header.iter().map(String::as_str), &at)?;
        let mut layout = Layout([None; 5]);
        for role in Role::ALL {
            let of_format = || declared.iter().find(|(of, _)| *of == role).map(|(_, name)| *name);
            layout.0[role as usize] = match columns.of(role).or_else(of_format) {
                Some(wanted) => Some(position(header, wanted).ok_or_else(|| {
                    let nearest = nearest(wanted, header.iter().map(String::as_str));
                    let nearest = nearest.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
                    at(None, listed(header), format!("a column {wanted:?}{nearest}"))
                })?),
                None if columns.turns_off(role) => None,
                None => role.find(header),
            };
        }
        // A column that is named and missing was reported before.
        if let Some(missing) = [Role::User, Role::Item].into_iter().find(|role| layout.index(*role).is_none()) {
            let (name, usual) = (missing.name(), missing.usual()[..6].join(", "));
            let expected = format!("a column of {name}s ({usual}, ...); name it with --{name}-column");
            return Err(at(None, listed(header), expected));
        }
        if columns.user.is_none() {
            let session = SESSIONS.iter().find_map(|usual| header.iter().position(|name| plain(name) == *usual));
            if let Some(session) = session.filter(|&at| layout.index(Role::User) != Some(at)) {
                rows.or_session(header[session].clone());
            }
        }
        rows.name_columns(layout.0.map(|index| index.map(|index| header[index].clone())));
        Ok(layout)
    }

    /// For people: which column is what, and which others it could have been.
    pub fn describe(&self, header: &[String]) -> String {
        let role = |role: Role| {
            let chosen = self.index(role);
            let others = header.iter().enumerate().filter(|&(at, name)| Some(at) != chosen && role.may_be(name));
            let others: Vec<&str> = others.map(|(_, name)| name.as_str()).collect();
            let not = if others.is_empty() { String::new() } else { format!(" (not {})", others.join(", ")) };
            match chosen {
                Some(at) => Some(format!("{} {}{not}", role.name(), header[at])),
                None => (!others.is_empty()).then(|| format!("no {}{not}", role.name())),
            }
        };
        format!("columns: {}", Role::ALL.into_iter().filter_map(role).collect::<Vec<_>>().join(", "))
    }
}

/// A header for a message.
fn listed(header: &[String]) -> String {
    let shown = &header[..header.len().min(30)];
    let more =
        if shown.len() < header.len() { format!(" and {} more", header.len() - shown.len()) } else { String::new() };
    format!("the columns {shown:?}{more}")
}

/// The column called `wanted`, or else of that number.
fn position(header: &[String], wanted: &str) -> Option<usize> {
    let named = header.iter().position(|name| name == wanted);
    named.or_else(|| number(wanted).filter(|&at| at < header.len()))
}

/// An error where a name of a header comes twice.
pub(super) fn distinct<'a>(
    header: impl Iterator<Item = &'a str>,
    at: impl Fn(Option<u64>, String, String) -> Error,
) -> Result<()> {
    let mut seen = HashSet::new();
    for (name, column) in header.zip(1..) {
        if !seen.insert(name) {
            let found = format!("the column {name:?} a second time");
            return Err(at(Some(column), found, "a header without duplicates".to_string()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_over_settings() {
        let of = |json: &str| serde_json::from_str::<Columns>(json).unwrap();
        let lower = of(r#"{"user": "u", "value": "v", "no_time": true}"#);
        assert_eq!(Columns::default().over(lower.clone()), lower);
        let flags = of(r#"{"time": "t", "no_rating": true}"#);
        assert_eq!(flags.over(lower), of(r#"{"user": "u", "time": "t", "no_rating": true}"#));
    }
}
