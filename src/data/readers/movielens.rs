//! MovieLens: `ratings.dat`, `u.data` and `ratings.csv` (<https://grouplens.org/datasets/movielens/>).

use super::builder::{Builder, Field, Row};
use super::text::Text;
use super::{Columns, delimited};
use crate::error::Result;
use std::path::Path;

pub(crate) fn read(path: &Path, rows: &mut Builder) -> Result<()> {
    let mut text = Text::open(path)?;
    let first = text.head()?.split(|&b| b == b'\n').next().unwrap_or_default();
    let separator: &[u8] = match () {
        _ if first.windows(2).any(|pair| pair == b"::") => b"::",
        _ if first.contains(&b'\t') => b"\t",
        _ => return delimited::read(path, &Columns::default(), rows),
    };
    let mut line = vec![];
    while text.next(&mut line)? {
        if line.is_empty() {
            continue;
        }
        let mut fields = [Field { text: b"", column: 0 }; 4];
        let mut rest = Some(&line[..]);
        for (i, field) in fields.iter_mut().enumerate() {
            let column = i as u64 + 1;
            let Some(at) = rest else {
                let whole = Field { text: &line, column };
                return Err(rows.bad(text.line, whole, "user, item, rating and time (is the line cut?)"));
            };
            let (head, tail) = split_once(at, separator);
            *field = Field { text: head, column };
            rest = tail;
        }
        if let Some(extra) = rest {
            return Err(rows.bad(
                text.line,
                Field { text: extra, column: 5 },
                "four fields: user, item, rating and time",
            ));
        }
        let [user, item, value, time] = fields;
        rows.push(&Row { line: text.line, user, item, value: Some(value), time: Some(time), behaviour: None })?;
    }
    rows.end_file(text.ends_in_newline());
    Ok(())
}

pub(super) fn split_once<'a>(line: &'a [u8], separator: &[u8]) -> (&'a [u8], Option<&'a [u8]>) {
    match line.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (&line[..at], Some(&line[at + separator.len()..])),
        None => (line, None),
    }
}
