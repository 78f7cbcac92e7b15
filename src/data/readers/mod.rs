//! Readers: a format is detected from a file's contents, or named by `--format`; plain, .gz or .zst.
//!
//! A reader streams: it keeps columns of numbers and each distinct id once, never the lines. Whatever is wrong with a file
//! comes out as [`Error::Input`] with its line and the number of the field in the line.

mod atomic;
mod attributes;
mod benchmark;
mod builder;
mod cell;
mod columns;
mod delimited;
mod fields;
mod formats;
mod json;
mod locate;
mod mind;
mod names;
mod netflix;
mod objects;
#[cfg(feature = "parquet")]
mod parquet;
mod parts;
mod python;
mod role;
mod rows;
mod sequences;
pub(crate) mod text;
mod times;
mod unread;

pub use atomic::Kind;
pub use attributes::{AttributeTable, read_attributes, read_user_attributes};
use builder::Builder;
pub use builder::{Interactions, LONGEST_ID, SkipBad};
pub(crate) use cell::{Cell, Several};
pub use columns::Columns;
pub use formats::Format;
use formats::Shape;
pub use locate::{Source, locate};
pub(crate) use locate::{beside, beside_inter, unpacked_name};
pub use names::{Interner, Names, Refused};
pub(crate) use parts::by_name;
pub(crate) use python::to_json as python_to_json;
pub(crate) use role::Role;
pub(crate) use rows::Rows;
pub use times::Clock;

use crate::error::{Error, Result};
use std::path::Path;

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

/// Reads `path`, of a format that is detected if not given: by the columns of other data where the file has these, else by the
/// usual names.
pub fn read_like(path: &Path, format: Option<Format>, columns: &Columns, skip: SkipBad) -> Result<Interactions> {
    let by = |columns: &Columns| read(&locate(path, format, columns)?, columns, skip);
    match by(columns) {
        // The header has none of these columns.
        Err(e @ Error::Input { line: None | Some(1), .. }) if *columns != Columns::default() => {
            by(&Columns::default()).map_err(|_| e)
        }
        log => log,
    }
}

fn read_into(source: &Source, columns: &Columns, rows: &mut Builder) -> Result<()> {
    let format = source.layout;
    if format.shape == Shape::Benchmark {
        return benchmark::read(&source.files, rows);
    }
    for (at, path) in source.files.iter().enumerate() {
        rows.continue_in(path, source.parts[at]);
        match format.shape {
            Shape::Json(_) => json::read(path, format.columns, columns, rows)?,
            Shape::Sequences => sequences::read(path, rows)?,
            Shape::Netflix => netflix::read(path, columns, rows)?,
            Shape::Mind => mind::read(path, columns, rows)?,
            #[cfg(feature = "parquet")]
            Shape::Parquet => parquet::read(path, &source.keys[at], columns, rows)?,
            #[cfg(not(feature = "parquet"))]
            Shape::Parquet => {
                let path = path.display();
                return Err(Error::Usage(format!("{path}: this wgrec was built without the feature `parquet`")));
            }
            _ => delimited::read(path, format, columns, rows)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
