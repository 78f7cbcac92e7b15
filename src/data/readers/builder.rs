//! What all readers end in: rows checked field by field and gathered into columns.

use super::names::{Interner, Names, Refused};
use super::role::Role;
use super::text::show;
use super::times::{Clock, Instant, Times};
use crate::error::{Error, Result, plain};
use indicatif::HumanCount;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

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
    /// The part of the split (0 training, 1 validation, 2 test), where the data comes cut in files.
    pub parts: Option<Vec<u8>>,
    pub user_names: Names,
    pub item_names: Names,
    pub clock: Clock,
    /// The last line of the file has no end: what it says may have been cut short.
    pub unended: bool,
    /// What the reader has to say about the file, for people.
    pub notes: Vec<String>,
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

/// A field as it is in the file: its text and its number in the line, from 1 (0 where lines have no columns).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    pub text: &'a [u8],
    pub column: u64,
}

/// One interaction as it is in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub line: u64,
    pub user: Field<'a>,
    pub item: Field<'a>,
    pub value: Option<Field<'a>>,
    pub time: Option<Field<'a>>,
    /// Milliseconds that are added to the time.
    pub offset: Option<Field<'a>>,
    pub behaviour: Option<Field<'a>>,
}

/// How many rows that do not parse may be left out. Written as a number or as `all`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(into = "NumberOrWord", try_from = "NumberOrWord")]
#[schemars(with = "NumberOrWord")]
pub struct SkipBad(u64);

impl SkipBad {
    /// None: the first bad row is an error.
    pub const NONE: SkipBad = SkipBad(0);
    pub const ALL: SkipBad = SkipBad(u64::MAX);

    pub fn at_most(rows: u64) -> SkipBad {
        SkipBad(rows)
    }

    /// Whether this many bad rows may be left out.
    pub fn allows(self, bad: u64) -> bool {
        bad <= self.0
    }
}

/// What stands for a [`SkipBad`] in settings.
#[derive(Serialize, Deserialize, schemars::JsonSchema)]
#[serde(untagged, expecting = "expected a number of rows, or all")]
enum NumberOrWord {
    Number(u64),
    Word(String),
}

impl From<SkipBad> for NumberOrWord {
    fn from(skip: SkipBad) -> NumberOrWord {
        match skip {
            SkipBad::ALL => NumberOrWord::Word("all".to_string()),
            SkipBad(rows) => NumberOrWord::Number(rows),
        }
    }
}

impl TryFrom<NumberOrWord> for SkipBad {
    type Error = String;

    fn try_from(setting: NumberOrWord) -> Result<SkipBad, String> {
        match setting {
            NumberOrWord::Number(rows) => Ok(SkipBad(rows)),
            NumberOrWord::Word(word) => word.parse(),
        }
    }
}

impl FromStr for SkipBad {
    type Err = String;

    fn from_str(text: &str) -> Result<SkipBad, String> {
        match text {
            "all" => Ok(SkipBad::ALL),
            _ => text.parse().map(SkipBad).map_err(|_| format!("found {text:?}; expected a number of rows, or all")),
        }
    }
}

/// What the fields of a row are called, by [`Role`]; none for those that it does not have.
type Fields = [Option<String>; 5];

/// Gathers rows into [`Interactions`]. Every row must have the same fields as the first, whatever file it is in.
pub(crate) struct Builder {
    path: PathBuf,
    skip: SkipBad,
    left_out: u64,
    /// What is wrong with the first row that was left out.
    first_left_out: Option<String>,
    /// The column that stands in for users where they are null.
    session: Option<String>,
    /// A user was null, and there is such a column.
    null_user: bool,
    ends_in_newline: bool,
    notes: Vec<String>,
    /// A note says which columns are read.
    columns_noted: bool,
    /// The columns of the file, where they have names.
    columns: Fields,
    /// The file of the first row, and the fields of that row.
    first: Option<(PathBuf, Fields)>,
    /// Whether the rows of this file have a value, a time and a behaviour. None before its first row.
    has: Option<[bool; 3]>,
    part: Option<u8>,
    parts: Option<Vec<u8>>,
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
    pub fn new(path: &Path, skip: SkipBad) -> Builder {
        Builder {
            path: path.to_path_buf(),
            skip,
            left_out: 0,
            first_left_out: None,
            session: None,
            null_user: false,
            ends_in_newline: true,
            notes: vec![],
            columns_noted: false,
            columns: Default::default(),
            first: None,
            has: None,
            part: None,
            parts: None,
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

    /// What follows comes from the file `path`. All its rows are in one part of a split, if it is in any.
    pub fn continue_in(&mut self, path: &Path, part: Option<u8>) {
        self.path = path.to_path_buf();
        self.part = part;
        self.columns = Default::default();
        self.has = None;
    }

    /// Names the columns of the file that are read, by [`Role`].
    pub fn name_columns(&mut self, columns: Fields) {
        self.columns = columns;
    }

    /// The line about the columns that are read: those of the first file are those of all.
    pub fn note_columns(&mut self, note: String) {
        if !std::mem::replace(&mut self.columns_noted, true) {
            self.note(note);
        }
    }

    /// A line about the file, for people.
    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// A file was read to its end.
    pub fn end_file(&mut self, ends_in_newline: bool) {
        self.ends_in_newline &= ends_in_newline;
    }

    /// Names the column that stands in for users where they are null.
    pub fn or_session(&mut self, column: String) {
        self.session = Some(column);
    }

    /// The column of [`Builder::or_session`], if a user was null.
    pub fn needs_session(&mut self) -> Option<String> {
        self.session.take().filter(|_| self.null_user)
    }

    /// Whether the user was seen in an earlier row.
    pub fn knows_user(&self, name: &[u8]) -> bool {
        self.users.find(name.trim_ascii()).is_some()
    }

    /// Leaves out a row because of `error`, and counts it.
    ///
    /// # Errors
    /// `error` itself, if no more rows may be left out.
    pub fn leave_out(&mut self, error: Error) -> Result<()> {
        if self.left_out == self.skip.0 || self.null_user || !matches!(error, Error::Input { .. }) {
            return Err(error);
        }
        self.left_out += 1;
        self.first_left_out.get_or_insert_with(|| error.to_string());
        Ok(())
    }

    /// Adds a row. One that does not parse is left out where it may be.
    pub fn push(&mut self, row: &Row) -> Result<()> {
        self.push_or_leave_out(row, None)
    }

    /// The same for a row whose time has a type: it is `time`, not text.
    pub fn push_at(&mut self, row: &Row, time: Instant) -> Result<()> {
        self.push_or_leave_out(row, Some(time))
    }

    fn push_or_leave_out(&mut self, row: &Row, time: Option<Instant>) -> Result<()> {
        self.check_fields(row, time.is_some())?;
        let behaviours = self.behaviours.len();
        self.push_whole(row, time).or_else(|error| {
            self.behaviours.truncate(behaviours);
            self.leave_out(error)
        })
    }

    /// Every row has the fields of the first one. It is no use to leave out rows that have others: their whole file has.
    fn check_fields(&mut self, row: &Row, has_instant: bool) -> Result<()> {
        let has = [row.value.is_some(), has_instant || row.time.is_some(), row.behaviour.is_some()];
        if self.has == Some(has) {
            return Ok(());
        }
        let [value, time, behaviour] = has;
        let fields = Role::ALL.map(|role| {
            let name = self.columns[role as usize].clone().unwrap_or_else(|| role.name().to_string());
            [true, true, value, time, behaviour][role as usize].then_some(name)
        });
        let (file, first) = self.first.get_or_insert_with(|| (self.path.clone(), fields.clone()));
        let file = file.display();
        for (role, (first, own)) in Role::ALL.into_iter().zip(first.iter().zip(&fields)) {
            let what = role.name();
            let found = match (first, own) {
                (Some(first), None) => format!("no column of {what}s, where {file} has {first:?}"),
                (None, Some(own)) => format!("the column {own:?} of {what}s, where {file} has none"),
                (Some(first), Some(own)) if plain(first) != plain(own) => {
                    format!("the column {own:?} of {what}s, where that of {file} is {first:?}")
                }
                _ => continue,
            };
            let without = match role {
                Role::Value => " (--no-rating reads no values)",
                Role::Time => " (--no-time reads no times)",
                _ => "",
            };
            return Err(Error::Input {
                path: self.path.clone(),
                line: Some(row.line),
                column: None,
                found,
                expected: format!("the same columns in all files of a table{without}"),
            });
        }
        self.has = Some(has);
        Ok(())
    }

    /// What was expected of a time. "The lines before" may be those of another file.
    fn expected_time(&self, expected: String) -> String {
        match &self.first {
            Some((first, _)) if *first != self.path && expected.contains("the lines before") => {
                format!("{expected} (the first file is {})", first.display())
            }
            _ => expected,
        }
    }

    /// Adds a row, or nothing of it if it is wrong: what can be wrong comes first. An id that is refused only now ends the
    /// reading, whatever may be left out.
    fn push_whole(&mut self, row: &Row, time: Option<Instant>) -> Result<()> {
        if self.user.len() == u32::MAX as usize {
            return Err(Error::Usage(format!("{}: more than 2^32 interactions", self.path.display())));
        }
        let user = self.id(row.line, row.user, "user")?;
        let item = self.id(row.line, row.item, "item")?;
        let parsed = |field: Field| {
            let expected = "a finite number as value (--no-rating reads none)";
            parse_value(field.text).ok_or_else(|| self.bad(row.line, field, expected))
        };
        let value = row.value.map(parsed).transpose()?;
        let milliseconds = |field: Field| {
            let number = std::str::from_utf8(field.text).ok().and_then(|text| text.trim().parse::<u32>().ok());
            number.ok_or_else(|| self.bad(row.line, field, "a number of milliseconds (--no-time reads no times)"))
        };
        let offset = row.offset.map(milliseconds).transpose()?;
        let behaviour = row.behaviour.map(|field| self.behaviour(row.line, field)).transpose()?;
        match (time, row.time) {
            (Some(instant), _) => {
                let shown = instant.to_string();
                let field = Field { text: shown.as_bytes(), column: 0 };
                let pushed = self.time.push_instant(instant);
                pushed.map_err(|expected| self.bad(row.line, field, self.expected_time(expected)))?;
            }
            (None, Some(field)) => {
                let pushed = self.time.push(field.text, offset.unwrap_or(0));
                pushed.map_err(|expected| {
                    let expected = self.expected_time(expected + " (--no-time reads none)");
                    self.bad(row.line, field, expected)
                })?;
            }
            (None, None) => self.time.push_position(),
        }
        let user = self.users.intern(user).map_err(|refused| self.refused(row.line, row.user, "user", refused))?;
        let item = self.items.intern(item).map_err(|refused| self.refused(row.line, row.item, "item", refused))?;
        self.user.push(user);
        self.item.push(item);
        value.into_iter().for_each(|value| self.value.get_or_insert_default().push(value));
        behaviour.into_iter().for_each(|number| self.behaviour.get_or_insert_default().push(number));
        self.part.into_iter().for_each(|part| self.parts.get_or_insert_default().push(part));
        self.last_line = row.line;
        Ok(())
    }

    /// All rows are in.
    pub fn finish(mut self) -> Result<Interactions> {
        let left_out = self
            .first_left_out
            .take()
            .map(|first| format!("{} rows that do not parse left out, the first: {first}", HumanCount(self.left_out)));
        if self.user.is_empty() {
            return Err(Error::Input {
                path: self.path,
                line: None,
                column: None,
                found: left_out.map_or("no interaction".to_string(), |rows| format!("no interaction ({rows})")),
                expected: "at least one interaction".to_string(),
            });
        }
        self.notes.extend(left_out);
        // "1::1193::5::97830" is a whole line to look at: only its neighbours show that it was "...::978300760".
        if let Some((last, others)) = self.time.shorter_last().filter(|_| !self.ends_in_newline) {
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
            parts: self.parts,
            user_names: self.users.names,
            item_names: self.items.names,
            clock,
            unended: !self.ends_in_newline,
            notes: self.notes,
        })
    }

    /// The text of an id.
    fn id<'a>(&mut self, line: u64, field: Field<'a>, what: &str) -> Result<&'a [u8]> {
        let name = field.text.trim_ascii();
        if is_null(name) {
            self.null_user |= what == "user" && self.session.is_some();
            return Err(self.bad(line, field, format!("an {what} id").replace("an user", "a user")));
        }
        if name.len() > LONGEST_ID {
            return Err(self.bad(line, field, format!("{what} ids of at most {LONGEST_ID} bytes")));
        }
        if name.contains(&b'\n') {
            let expected = format!("{what} ids on one line (a quote that is opened here is not closed)");
            return Err(self.bad(line, field, expected));
        }
        // Interning a new id checks it too, but by then the other id of a row that is left out may be interned.
        if self.skip != SkipBad::NONE && std::str::from_utf8(name).is_err() {
            return Err(self.refused(line, field, what, Refused::NotUtf8));
        }
        Ok(name)
    }

    fn refused(&self, line: u64, field: Field, what: &str, refused: Refused) -> Error {
        match refused {
            Refused::NotUtf8 => self.bad(line, field, format!("{what} ids in UTF-8")),
            Refused::TooMany => Error::Usage(format!("{}: more than 2^32 {what}s", self.path.display())),
        }
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

/// Whether a field holds a marker of a missing value.
fn is_null(text: &[u8]) -> bool {
    matches!(text, b"" | b"NA" | b"N/A" | b"null" | b"NULL" | b"None" | b"NaN" | b"nan" | b"\\N")
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
