//! The ids of the rows of files that have none: a file `.item2index`.

use crate::data::readers::text::{Text, show};
use crate::data::readers::{Interner, Names};
use crate::error::{Error, Result};
use crate::text::counted;
use std::cmp::Ordering;
use std::path::{Path, PathBuf};

/// The id of each row.
pub(super) struct Index {
    pub path: PathBuf,
    ids: Interner,
    /// The number in `ids` of each row's id, and the row of each number.
    id: Vec<u32>,
    row: Vec<u32>,
}

impl Index {
    /// Reads lines of an id, a tab and a row, which counts from 0.
    ///
    /// # Errors
    /// A line of another form; an id or a row that comes twice; a row that is left out.
    pub fn read(path: &Path) -> Result<Index> {
        let mut text = Text::open(path)?;
        let (mut line, mut ids, mut row) = (vec![], Interner::default(), vec![]);
        while text.next(&mut line)? {
            if line.is_empty() {
                continue;
            }
            let wrong = |expected: &str| text.wrong(show(&line), expected.to_string());
            let parsed = std::str::from_utf8(&line).ok().and_then(|line| line.rsplit_once('\t'));
            let parsed = parsed.and_then(|(id, row)| Some((id.trim(), row.trim().parse::<u32>().ok()?)));
            let form = "an item id, a tab and the number of its row, from 0";
            let (id, number) = parsed.filter(|(id, _)| !id.is_empty()).ok_or_else(|| wrong(form))?;
            if ids.intern(id.as_bytes()).ok() != Some(row.len() as u32) {
                return Err(wrong("each item id once"));
            }
            row.push(number);
        }
        let mut id = vec![u32::MAX; row.len()];
        for (&row, number) in row.iter().zip(0..) {
            match id.get_mut(row as usize) {
                Some(free @ &mut u32::MAX) => *free = number,
                Some(_) => return Err(text.whole(&format!("the row {row} twice"), "each row once")),
                None => {
                    let found = format!("the row {row} of {}", counted(id.len(), "item id"));
                    return Err(text.whole(&found, "the rows 0, 1, 2, ..., one for each id"));
                }
            }
        }
        Ok(Index { path: path.to_path_buf(), ids, id, row })
    }

    pub fn rows(&self) -> usize {
        self.id.len()
    }

    pub fn id(&self, row: usize) -> &str {
        self.ids.names.get(self.id[row])
    }

    pub fn row(&self, id: &str) -> Option<u32> {
        self.ids.find(id.as_bytes()).map(|number| self.row[number as usize])
    }

    /// Whether these `names` of items are rows, rather than ids.
    ///
    /// # Errors
    /// If they may be either, or are neither.
    pub fn names_rows(&self, names: &Names) -> Result<bool> {
        let row = |name: &str| row_of(name).filter(|&row| row < self.rows());
        let rows = names.iter().filter(|name| row(name).is_some()).count();
        let ids = names.iter().filter(|name| self.row(name).is_some()).count();
        let same = |name: &str| row(name).is_none_or(|row| self.id(row) == name);
        let found = match rows.cmp(&ids) {
            Ordering::Greater => return Ok(true),
            Ordering::Less => return Ok(false),
            _ if rows > 0 && names.iter().all(same) => return Ok(false),
            _ if rows == 0 => "neither the id nor the row of any item of the data".to_string(),
            _ => format!("{} of the data that may be ids or rows", counted(rows, "item")),
        };
        let expected =
            "the item ids of the interactions, or their rows where the interactions name items by rows".to_string();
        Err(Error::Input { path: self.path.clone(), line: None, column: None, found, expected })
    }
}

/// A whole number without a sign or zeros in front.
pub(super) fn row_of(name: &str) -> Option<usize> {
    name.parse().ok().filter(|row: &usize| row.to_string() == name)
}
