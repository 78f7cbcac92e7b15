//! The Netflix Prize: `combined_data_1.txt`, `mv_0000001.txt`, ... A line `movie:` opens the movie's block, of lines
//! `customer,rating,date`.

use super::builder::{Builder, Field, Row};
use super::columns::Columns;
use super::text::Text;
use crate::error::Result;
use std::path::Path;

/// The movie that a line opens the block of.
pub(crate) fn is_movie(line: &[u8]) -> Option<&[u8]> {
    let movie = line.trim_ascii().strip_suffix(b":")?;
    (!movie.is_empty() && movie.iter().all(u8::is_ascii_digit)).then_some(movie)
}

pub(crate) fn read(path: &Path, columns: &Columns, rows: &mut Builder) -> Result<()> {
    let mut text = Text::open(path)?;
    let (mut line, mut movie) = (vec![], vec![]);
    while text.next(&mut line)? {
        if line.is_empty() {
            continue;
        }
        if let Some(opened) = is_movie(&line) {
            movie = opened.to_vec();
            continue;
        }
        let mut fields = line.split(|&b| b == b',').zip(1..).map(|(text, column)| Field { text, column });
        let (Some(user), Some(value), Some(time), None) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            let whole = Field { text: &line, column: 0 };
            rows.leave_out(rows.bad(text.line, whole, "a movie and a colon, or customer,rating,date"))?;
            continue;
        };
        let (value, time) = (Some(value).filter(|_| !columns.no_rating), Some(time).filter(|_| !columns.no_time));
        let item = Field { text: &movie, column: 0 };
        rows.push(&Row { line: text.line, user, item, value, time, offset: None, behaviour: None })?;
    }
    rows.end_file(text.ends_in_newline());
    Ok(())
}
