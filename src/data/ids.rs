//! The numbers of users, items and behaviours, and their ids in the data, as files: users.tsv, items.tsv and behaviours.tsv.

use super::Dataset;
use super::readers::Names;
use crate::error::{Error, Result};
use crate::files::replace;
use std::borrow::Cow;
use std::fs;
use std::io::Write;
use std::path::Path;

/// What a training gave numbers to, in their order: users from 0, items from 1, behaviours from 0.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    pub users: Names,
    pub items: Names,
    /// Empty if the folder has no list of them.
    pub behaviours: Vec<String>,
}

impl Ids {
    /// Writes the ids of `data` into a folder.
    pub fn write(folder: &Path, data: &Dataset) -> Result<()> {
        write(&folder.join("users.tsv"), (0..data.users() as u32).map(|user| (user, data.user_name(user))))?;
        write(&folder.join("items.tsv"), (1..=data.items() as u32).map(|item| (item, data.item_name(item))))?;
        if data.behaviour_names().is_empty() {
            return Ok(());
        }
        write(&folder.join("behaviours.tsv"), (0..).zip(data.behaviour_names().iter().map(String::as_str)))
    }

    /// Reads what [`Ids::write`] wrote.
    ///
    /// # Errors
    /// A list that cannot be read, or whose numbers do not follow one another.
    pub fn read(folder: &Path) -> Result<Ids> {
        let list = |name: &str, first| read(&folder.join(name), first);
        let behaviours = match folder.join("behaviours.tsv").is_file() {
            true => list("behaviours.tsv", 0)?.iter().map(str::to_string).collect(),
            false => vec![],
        };
        Ok(Ids { users: list("users.tsv", 0)?, items: list("items.tsv", 1)?, behaviours })
    }
}

/// A line each: number, tab, id; a tab, line break or backslash in an id is escaped.
fn write<'a>(path: &Path, names: impl Iterator<Item = (u32, &'a str)>) -> Result<()> {
    replace(path, |out| {
        for (id, name) in names {
            let escaped;
            let name = if name.contains(['\t', '\n', '\r', '\\']) {
                escaped = name.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r");
                &escaped
            } else {
                name
            };
            writeln!(out, "{id}\t{name}")?;
        }
        Ok(())
    })
}

/// Reads what [`write`] wrote: the ids; the first has the number `first`.
fn read(path: &Path, first: u32) -> Result<Names> {
    let text = fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    let mut names = Names::default();
    for (line, number) in text.lines().zip(first..) {
        let name = line.strip_prefix(&number.to_string()).and_then(|rest| rest.strip_prefix('\t'));
        let name = name.and_then(unescaped).ok_or_else(|| Error::Input {
            path: path.to_path_buf(),
            line: Some(names.len() as u64 + 1),
            column: None,
            found: format!("{line:?}"),
            expected: format!("the number {number}, a tab and an id"),
        })?;
        names.push(&name);
    }
    Ok(names)
}

/// None where a backslash means nothing.
fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('\\') {
        return Some(text.into());
    }
    let (mut whole, mut rest) = (String::new(), text.chars());
    while let Some(c) = rest.next() {
        whole.push(match c {
            '\\' => match rest.next()? {
                '\\' => '\\',
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                _ => return None,
            },
            c => c,
        });
    }
    Some(whole.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("items.tsv");
        let names = ["plain", "a\tb", "line\nbreak\r", "back\\slash\\t", " ", "\u{fc}"];
        write(&path, (1..).zip(names)).unwrap();
        assert!(read(&path, 1).unwrap().iter().eq(names));
        for (text, line) in [("1\ta\n3\tb\n", 2), ("0\ta\n", 1), ("1\ta\n2 b\n", 2), ("1\ta\\x\n", 1)] {
            fs::write(&path, text).unwrap();
            let error = read(&path, 1).unwrap_err().to_string();
            assert!(error.contains(&format!("items.tsv:{line}: found")), "{error}");
        }
    }
}
