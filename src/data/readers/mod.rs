//! Readers: one file a format, told by its contents or by `--format`; plain, .gz or .zst alike.
//!
//! A reader streams: it keeps columns of numbers and each distinct id once, never the lines. Whatever is wrong with a file
//! comes out as [`Error::Input`] with its line and the number of the field in the line.

mod amazon;
mod atomic;
mod attributes;
mod benchmark;
mod builder;
mod delimited;
mod locate;
mod movielens;
mod names;
#[cfg(feature = "parquet")]
mod parquet;
mod sequences;
pub(crate) mod text;
mod times;

pub use atomic::Kind;
pub use attributes::{AttributeTable, read_attributes, read_user_attributes};
use builder::Builder;
pub use builder::{Interactions, LONGEST_ID, SkipBad};
pub use locate::{Source, locate};
pub(crate) use locate::{beside, beside_inter, unpacked_name};
pub use names::{Interner, Names, Refused};
pub use times::Clock;

use crate::error::{Error, Result, nearest, plain};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// The formats that wgrec reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Format {
    /// MovieLens: `ratings.dat` (`user::item::rating::time`), `u.data` (the same by tabs), `ratings.csv`.
    MovieLens,
    /// RecBole atomic file: tab-separated, header `user_id:token item_id:token ...`.
    Atomic,
    /// CSV or TSV with a header.
    Delimited,
    /// Parquet.
    Parquet,
    /// One user a line: `user item item ...`, oldest first.
    Sequences,
    /// Amazon reviews, a JSON object a line.
    Amazon,
    /// RecBole benchmark files `X.train.inter`, `X.valid.inter`, `X.test.inter` with `item_id_list`.
    Benchmark,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::MovieLens => "movielens",
            Format::Atomic => "atomic",
            Format::Delimited => "delimited",
            Format::Parquet => "parquet",
            Format::Sequences => "sequences",
            Format::Amazon => "amazon",
            Format::Benchmark => "benchmark",
        })
    }
}

/// Which columns of a CSV, TSV, atomic or Parquet file mean what. What is not given is told by its name in the header.
///
/// If every column given is a number ("1", "2", ...), a CSV or TSV file is taken to have no header.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields, default)]
pub struct Columns {
    /// Column of user ids
    #[arg(long = "user-column", value_name = "NAME")]
    pub user: Option<String>,
    /// Column of item ids
    #[arg(long = "item-column", value_name = "NAME")]
    pub item: Option<String>,
    /// Column of ratings or other values
    #[arg(long = "value-column", value_name = "NAME")]
    pub value: Option<String>,
    /// Column of times: Unix seconds to nanoseconds, dates, or positions
    #[arg(long = "time-column", value_name = "NAME")]
    pub time: Option<String>,
    /// Column of behaviours (click, buy, ...)
    #[arg(long = "behaviour-column", value_name = "NAME")]
    pub behaviour: Option<String>,
    /// What separates the columns [default: told from the header]
    #[arg(long, value_name = "CHAR")]
    pub delimiter: Option<char>,
}

/// Reads all interactions of `source`; leaves out as many rows that do not parse as `skip` says.
///
/// Where a user is null and there is a column of sessions, sessions are the users of the whole file.
///
/// # Errors
/// [`Error::Input`] for whatever is wrong with the files.
pub fn read(source: &Source, columns: &Columns, skip: SkipBad) -> Result<Interactions> {
    let mut rows = Builder::new(&source.files[0], skip);
    let done = read_into(source, columns, &mut rows);
    let Some(session) = rows.needs_session() else { return done.and_then(|()| rows.finish()) };
    let mut rows = Builder::new(&source.files[0], skip);
    rows.note(format!("users are null in this file: the sessions ({session}) are the users"));
    read_into(source, &Columns { user: Some(session), ..columns.clone() }, &mut rows)?;
    rows.finish()
}

fn read_into(source: &Source, columns: &Columns, rows: &mut Builder) -> Result<()> {
    let path = &source.files[0];
    match source.format {
        Format::MovieLens => movielens::read(path, rows),
        Format::Atomic => atomic::read(path, columns, rows),
        Format::Delimited => delimited::read(path, columns, rows),
        Format::Sequences => sequences::read(path, rows),
        Format::Amazon => amazon::read(path, rows),
        Format::Benchmark => benchmark::read(&source.files, rows),
        #[cfg(feature = "parquet")]
        Format::Parquet => parquet::read(path, columns, rows),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => {
            Err(Error::Usage(format!("{}: this wgrec was built without the feature `parquet`", path.display())))
        }
    }
}

/// What a column means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    User,
    Item,
    Value,
    Time,
    Behaviour,
}

impl Role {
    const ALL: [Role; 5] = [Role::User, Role::Item, Role::Value, Role::Time, Role::Behaviour];

    fn name(self) -> &'static str {
        ["user", "item", "value", "time", "behaviour"][self as usize]
    }

    /// Usual names in headers: lower case, without `_`, `-` and spaces.
    fn usual(self) -> &'static [&'static str] {
        match self {
            Role::User => &["user", "userid", "uid", "reviewerid", "visitorid", "customerid", "sessionid"],
            Role::Item => {
                &["item", "itemid", "iid", "movieid", "asin", "parentasin", "productid", "artistid", "bookid"]
            }
            Role::Value => &["rating", "value", "score", "overall", "stars", "weight"],
            Role::Time => &["timestamp", "time", "ts", "unixreviewtime", "unixtime"],
            Role::Behaviour => {
                &["behaviour", "behavior", "behaviortype", "behaviourtype", "event", "eventtype", "action"]
            }
        }
    }

    fn given(self, columns: &Columns) -> Option<&String> {
        match self {
            Role::User => columns.user.as_ref(),
            Role::Item => columns.item.as_ref(),
            Role::Value => columns.value.as_ref(),
            Role::Time => columns.time.as_ref(),
            Role::Behaviour => columns.behaviour.as_ref(),
        }
    }
}

/// Where the columns of each [`Role`] are in a header, from 0. User and item are always there.
struct Layout([Option<usize>; 5]);

impl Layout {
    fn index(&self, role: Role) -> Option<usize> {
        self.0[role as usize]
    }

    /// Finds the columns of the rows that `rows` is to get. The errors name the header's columns and the nearest one to what
    /// was asked for.
    fn of(
        header: &[String],
        columns: &Columns,
        rows: &mut Builder,
        at: impl Fn(Option<u64>, String, String) -> Error,
    ) -> Result<Layout> {
        distinct(header.iter().map(String::as_str), &at)?;
        let mut layout = Layout([None; 5]);
        for role in Role::ALL {
            layout.0[role as usize] = match role.given(columns) {
                Some(wanted) => Some(header.iter().position(|name| name == wanted).ok_or_else(|| {
                    let nearest = nearest(wanted, header.iter().map(String::as_str));
                    let nearest = nearest.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
                    at(None, format!("the columns {header:?}"), format!("a column {wanted:?}{nearest}"))
                })?),
                None => role.usual().iter().find_map(|usual| header.iter().position(|name| plain(name) == *usual)),
            };
            if layout.index(role).is_none() && matches!(role, Role::User | Role::Item) {
                let name = role.name();
                let expected =
                    format!("a column of {name}s ({}, ...); name it with --{name}-column", role.usual().join(", "));
                return Err(at(None, format!("the columns {header:?}"), expected));
            }
        }
        let session = header.iter().position(|name| plain(name) == "sessionid");
        if let Some(session) =
            session.filter(|_| columns.user.is_none()).filter(|&at| layout.index(Role::User) != Some(at))
        {
            rows.or_session(header[session].clone());
        }
        Ok(layout)
    }
}

/// An error where a name of a header comes twice.
fn distinct<'a>(
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
mod tests;
