//! What all readers end in: rows checked field by field and gathered into columns.

use super::names::{Interner, Names, Refused};
use super::text::show;
use super::times::{Clock, Times};
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// The longest external id, in bytes.
pub const LONGEST_ID: usize = 1024;

/// Interactions in the order of the file, as columns of equal length.
#[derive(Clone, Debug)]
pub struct Interactions {
    /// Number of the user in `user_names`.
    pub user: Vec<u32>,
    /// Number of the item in `item_names`.
    pub item: Vec<u32>,
    /// In units of `clock`.
    pub time: Vec<i64>,
    /// Rating, weight or whatever number the file has for an interaction.
    pub value: Option<Vec<f32>>,
    /// Number of the behaviour (click, buy, ...) in `behaviours`.
    pub behaviour: Option<Vec<u8>>,
    pub behaviours: Vec<String>,
    pub user_names: Names,
    pub item_names: Names,
    pub clock: Clock,
    /// The last line of the file has no end: what it says may have been cut short.
    pub unended: bool,
}

impl Interactions {
    pub fn len(&self) -> usize {
        self.user.len()
    }

    pub fn is_empty(&self) -> bool {
        self.user.is_empty()
    }

    /// Whether `time` is a time that users share.
    pub fn has_time(&self) -> bool {
        self.clock.is_time()
    }
}

/// A field as it stands in the file: its text and its number in the line, from 1 (0 where lines have no columns).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub text: &'a [u8],
    pub column: u64,
}

/// One interaction as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub line: u64,
    pub user: Field<'a>,
    pub item: Field<'a>,
    pub value: Option<Field<'a>>,
    pub time: Option<Field<'a>>,
    pub behaviour: Option<Field<'a>>,
}

/// Gathers rows into [`Interactions`]. Every row must have the same fields as the first.
pub(crate) struct Builder {
    path: PathBuf,
    users: Interner,
    items: Interner,
    user: Vec<u32>,
    item: Vec<u32>,
    time: Times,
    value: Option<Vec<f32>>,
    behaviour: Option<Vec<u8>>,
    behaviours: Vec<String>,
    last_line: u64,
}

impl Builder {
    pub fn new(path: &Path) -> Builder {
        Builder {
            path: path.to_path_buf(),
            users: Interner::default(),
            items: Interner::default(),
            user: vec![],
            item: vec![],
            time: Times::default(),
            value: None,
            behaviour: None,
            behaviours: vec![],
            last_line: 0,
        }
    }

    /// An error at `field` of the line.
    pub fn bad(&self, line: u64, field: Field, expected: impl Into<String>) -> Error {
        Error::Input {
            path: self.path.clone(),
            line: Some(line),
            column: Some(field.column).filter(|&column| column > 0),
            found: show(field.text),
            expected: expected.into(),
        }
    }

    /// What follows comes from the file `path`.
    pub fn continue_in(&mut self, path: &Path) {
        self.path = path.to_path_buf();
    }

    /// Whether the user was seen in an earlier row.
    pub fn knows_user(&self, name: &[u8]) -> bool {
        self.users.find(name.trim_ascii()).is_some()
    }

    /// Adds a row, or nothing of it if it is wrong.
    pub fn push(&mut self, row: &Row) -> Result<()> {
        if self.user.len() == u32::MAX as usize {
            return Err(Error::Usage(format!("{}: more than 2^32 interactions", self.path.display())));
        }
        let user = self.id(row.line, row.user, "user")?;
        let item = self.id(row.line, row.item, "item")?;
        let parsed =
            |field: Field| parse_value(field.text).ok_or_else(|| self.bad(row.line, field, "a finite number as value"));
        let value = row.value.map(parsed).transpose()?;
        let behaviour = row.behaviour.map(|field| self.behaviour(row.line, field)).transpose()?;
        match row.time {
            Some(field) => self.time.push(field.text).map_err(|expected| self.bad(row.line, field, expected))?,
            None => self.time.push_position(),
        }
        self.user.push(user);
        self.item.push(item);
        value.into_iter().for_each(|value| self.value.get_or_insert_default().push(value));
        behaviour.into_iter().for_each(|number| self.behaviour.get_or_insert_default().push(number));
        self.last_line = row.line;
        Ok(())
    }

    /// All rows are in. `ends_in_newline`: whether the file does.
    pub fn finish(self, ends_in_newline: bool) -> Result<Interactions> {
        if self.user.is_empty() {
            return Err(Error::Input {
                path: self.path,
                line: None,
                column: None,
                found: "no interaction".to_string(),
                expected: "at least one interaction".to_string(),
            });
        }
        // "1::1193::5::97830" is a whole line to look at: only its neighbours show that it was "...::978300760".
        if let Some((last, others)) = self.time.shorter_last().filter(|_| !ends_in_newline) {
            return Err(Error::Input {
                path: self.path,
                line: Some(self.last_line),
                column: None,
                found: format!("{last} on a last line without an end, where all others {others}"),
                expected: "a whole last line (the file seems to be cut; if it is whole, end it with a line break)"
                    .to_string(),
            });
        }
        let (time, clock) = self.time.finish();
        Ok(Interactions {
            user: self.user,
            item: self.item,
            time,
            value: self.value,
            behaviour: self.behaviour,
            behaviours: self.behaviours,
            user_names: self.users.names,
            item_names: self.items.names,
            clock,
            unended: !ends_in_newline,
        })
    }

    fn id(&mut self, line: u64, field: Field, what: &str) -> Result<u32> {
        let name = field.text.trim_ascii();
        if name.is_empty() {
            return Err(self.bad(line, field, format!("an {what} id").replace("an user", "a user")));
        }
        if name.len() > LONGEST_ID {
            return Err(self.bad(line, field, format!("{what} ids of at most {LONGEST_ID} bytes")));
        }
        if name.contains(&b'\n') {
            let expected = format!("{what} ids on one line (a quote that is opened here is not closed)");
            return Err(self.bad(line, field, expected));
        }
        let ids = if what == "user" { &mut self.users } else { &mut self.items };
        ids.intern(name).map_err(|refused| match refused {
            Refused::NotUtf8 => self.bad(line, field, format!("{what} ids in UTF-8")),
            Refused::TooMany => self.bad(line, field, format!("fewer than 2^32 {what}s")),
        })
    }

    fn behaviour(&mut self, line: u64, field: Field) -> Result<u8> {
        let name = field.text.trim_ascii();
        if let Some(number) = self.behaviours.iter().position(|b| b.as_bytes() == name) {
            return Ok(number as u8);
        }
        let name = std::str::from_utf8(name).map_err(|_| self.bad(line, field, "a behaviour in UTF-8"))?;
        if name.is_empty() || name.len() > LONGEST_ID {
            return Err(self.bad(line, field, "the name of a behaviour"));
        }
        if self.behaviours.len() == 64 {
            return Err(self.bad(line, field, "at most 64 different behaviours (is this the right column?)"));
        }
        self.behaviours.push(name.to_string());
        Ok(self.behaviours.len() as u8 - 1)
    }
}

fn parse_value(text: &[u8]) -> Option<f32> {
    match text.trim_ascii() {
        [digit @ b'0'..=b'9'] => Some((digit - b'0') as f32),
        text => std::str::from_utf8(text).ok()?.parse().ok().filter(|v: &f32| v.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(parse_value(b" 4 "), Some(4.0));
        assert_eq!(parse_value(b"-3.5e1"), Some(-35.0));
        for bad in ["", "nan", "NaN", "inf", "-infinity", "four", "1e99"] {
            assert_eq!(parse_value(bad.as_bytes()), None, "{bad}");
        }
    }
}
