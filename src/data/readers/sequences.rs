//! One user a line, `user item item ...`, oldest first.

use super::builder::{Builder, Field, Row};
use super::text::Text;
use crate::error::Result;
use std::path::Path;

pub(crate) fn read(path: &Path, rows: &mut Builder) -> Result<()> {
    let mut text = Text::open(path)?;
    let mut line = vec![];
    while text.next(&mut line)? {
        let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).zip(1..);
        let Some((name, column)) = words.next() else { continue };
        let user = Field { text: name, column };
        if rows.knows_user(name) {
            let expected = "each user on one line only (a user and an item a line are --format pairs)";
            rows.leave_out(rows.bad(text.line, user, expected))?;
            continue;
        }
        let mut items = words.peekable();
        if items.peek().is_none() {
            let nothing = Field { text: b"", column: 2 };
            rows.leave_out(rows.bad(text.line, nothing, "at least one item after the user"))?;
            continue;
        }
        for (name, column) in items {
            let item = Field { text: name, column };
            rows.push(&Row { line: text.line, user, item, value: None, time: None, offset: None, behaviour: None })?;
        }
    }
    rows.end_file(text.ends_in_newline());
    Ok(())
}
