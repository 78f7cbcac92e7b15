//! MIND (<https://msnews.github.io/>): `behaviors.tsv`, an impression a line: number, user, time, history, and the news
//! that were shown, with `-1` where they were clicked. A click is an event. The history, which has no times, is not read.

use super::builder::{Builder, Field, Row};
use super::columns::Columns;
use super::fields::{Dialect, Records};
use super::text::Text;
use crate::error::Result;
use std::path::Path;

const FIELDS: usize = 5;

/// Whether a line is an impression.
pub(crate) fn is_impression(line: &[u8]) -> bool {
    let fields = Dialect::TABS.fields_of(line);
    let labelled = |shown: &str| shown.ends_with("-0") || shown.ends_with("-1");
    fields.len() == FIELDS && !fields[4].is_empty() && fields[4].split(' ').all(labelled)
}

pub(crate) fn read(path: &Path, columns: &Columns, rows: &mut Builder) -> Result<()> {
    let mut records = Records::new(Text::open(path)?, Dialect::TABS);
    while let Some(line) = records.next()? {
        let field = |index: usize| Field { text: records.get(index), column: index as u64 + 1 };
        if records.len() != FIELDS {
            let expected = "5 fields: impression, user, time, history and the news shown (is the line cut?)";
            rows.leave_out(rows.bad(line, field(0), expected))?;
            continue;
        }
        for shown in records.get(4).split(u8::is_ascii_whitespace).filter(|shown| !shown.is_empty()) {
            match shown {
                [news @ .., b'-', b'1'] => {
                    let (item, time) = (Field { text: news, column: 5 }, Some(field(2)).filter(|_| !columns.no_time));
                    rows.push(&Row { line, user: field(1), item, value: None, time, offset: None, behaviour: None })?;
                }
                [.., b'-', b'0'] => {}
                _ => {
                    let shown = Field { text: shown, column: 5 };
                    rows.leave_out(rows.bad(line, shown, "news that end in -1 where they were clicked, else in -0"))?;
                }
            }
        }
    }
    rows.end_file(records.ends_in_newline());
    Ok(())
}
