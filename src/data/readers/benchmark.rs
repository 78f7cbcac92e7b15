//! RecBole benchmark files: the same histories cut by others, `user_id item_id_list item_id` in a training, a validation and a
//! test file. A user's longest row, list and target, is the history; leave-one-out then finds the same targets again.

use super::builder::{Builder, Field, Row};
use super::text::{at, show};
use super::{atomic, names::Interner};
use crate::error::Result;
use std::path::PathBuf;

/// A user's longest row so far.
#[derive(Default)]
struct Longest {
    file: usize,
    line: u64,
    items: usize,
    /// The list and the target, separated by spaces.
    row: Vec<u8>,
}

pub(crate) fn read(files: &[PathBuf], rows: &mut Builder) -> Result<()> {
    let mut users = Interner::default();
    let mut longest: Vec<Longest> = vec![];
    for (file, path) in files.iter().enumerate() {
        let (mut records, header) = atomic::open(path)?;
        let find = |wanted: &str| header.iter().position(|(name, _)| name == wanted);
        let (Some(user), Some(list), Some(target)) = (find("user_id"), find("item_id_list"), find("item_id")) else {
            let names: Vec<&String> = header.iter().map(|(name, _)| name).collect();
            let expected = "the columns user_id, item_id_list and item_id".to_string();
            return Err(at(path, 1)(None, format!("the columns {names:?}"), expected));
        };
        while let Some(line) = records.next()? {
            let cell = |i: usize| records.get(i).trim_ascii();
            let wrong =
                |i: usize, expected: &str| at(path, line)(Some(i as u64 + 1), show(cell(i)), expected.to_string());
            if records.len() != header.len() || cell(target).is_empty() {
                let expected = format!("{} fields, as in the first line (is the line cut?)", header.len());
                rows.leave_out(wrong(target, &expected))?;
                continue;
            }
            let Ok(number) = users.intern(cell(user)) else {
                rows.leave_out(wrong(user, "a user id in UTF-8"))?;
                continue;
            };
            let number = number as usize;
            if number == longest.len() {
                longest.push(Longest::default());
            }
            let items = cell(list).split(|&b| b == b' ').filter(|item| !item.is_empty()).count() + 1;
            if items > longest[number].items {
                let row = [cell(list), cell(target)].join(&b' ');
                longest[number] = Longest { file, line, items, row };
            }
        }
        rows.end_file(records.ends_in_newline());
    }
    for (number, Longest { file, line, row, .. }) in longest.iter().enumerate() {
        rows.continue_in(&files[*file], None);
        let user = Field { text: users.names.get(number as u32).as_bytes(), column: 1 };
        for name in row.split(|&b| b == b' ').filter(|name| !name.is_empty()) {
            let item = Field { text: name, column: 2 };
            rows.push(&Row { line: *line, user, item, value: None, time: None, offset: None, behaviour: None })?;
        }
    }
    Ok(())
}
