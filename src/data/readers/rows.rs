//! Tables of any form, row by row: an id and some cells of each. They describe items.

use super::atomic::{self, Kind};
use super::builder::LONGEST_ID;
use super::cell::{Cell, Several};
use super::columns::distinct;
use super::fields::{Records, header};
use super::locate::unpacked_name;
use super::text::{Text, at, show, unpack};
use super::{delimited, objects};
use crate::error::Result;
use std::io::Read;
use std::path::{Path, PathBuf};

/// MovieLens-100K's genres, in the order of their flags.
const FLAGS: [&str; 19] = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
];

/// A table whose columns are known and whose rows are still to be read.
pub(crate) struct Rows {
    pub path: PathBuf,
    pub columns: Vec<String>,
    /// Of each column.
    pub several: Vec<Several>,
    form: Form,
}

enum Form {
    /// Lines of MovieLens, which have no header: what was expected, and the cells of a line.
    Lines(Text, &'static str, Cells),
    Fields(Records),
    Objects,
    #[cfg(feature = "parquet")]
    Parquet,
}

/// Id, title and genres of a line without a header.
type Cells = fn(&str) -> Option<[Cell; 3]>;

impl Rows {
    /// Opens a table: `movies.dat` and `u.item` of MovieLens by these names, RecBole's by its name or header; CSV, TSV, JSON lines
    /// and Parquet by their contents.
    ///
    /// # Errors
    /// A file that cannot be read or is no table; a header that has a column twice.
    pub fn open(path: &Path) -> Result<Rows> {
        let of = |columns: Vec<String>, several: Vec<Several>, form| {
            distinct(columns.iter().map(String::as_str), at(path, 1))?;
            Ok(Rows { path: path.to_path_buf(), columns, several, form })
        };
        let all = |several: Several, columns: &[String]| vec![several; columns.len()];
        let name = unpacked_name(path);
        let lines: Option<(&str, Cells)> = match name.as_str() {
            "movies.dat" => Some(("id::title::A|B", movie)),
            "u.item" => Some(("id|title|...| and 19 flags, 0 or 1", flagged)),
            _ => None,
        };
        if let Some((expected, cells)) = lines {
            let columns = ["id", "title", "genres"].map(String::from).to_vec();
            let several = vec![Several::Never, Several::Never, Several::Marks];
            return of(columns, several, Form::Lines(Text::open(path)?, expected, cells));
        }
        let mut magic = vec![];
        if unpack(path)?.take(4).read_to_end(&mut magic).is_ok() && magic == b"PAR1" {
            return Rows::of_parquet(path);
        }
        let (mut text, mut first) = (Text::open(path)?, vec![]);
        text.next(&mut first)?;
        if first.trim_ascii_start().starts_with(b"{") {
            let columns = objects::keys(path)?;
            let several = all(Several::Never, &columns);
            return of(columns, several, Form::Objects);
        }
        if name.ends_with(".item") || atomic::types(&first).is_some() {
            let (records, header) = atomic::open(path)?;
            let several = |kind: &Kind| if *kind == Kind::TokenSeq { Several::Spaces } else { Several::Never };
            let several = header.iter().map(|(_, kind)| several(kind)).collect();
            return of(header.into_iter().map(|(name, _)| name).collect(), several, Form::Fields(records));
        }
        let mut records = delimited::open(path)?;
        let columns = header(&mut records)?;
        let several = all(Several::Marks, &columns);
        of(columns, several, Form::Fields(records))
    }

    #[cfg(feature = "parquet")]
    fn of_parquet(path: &Path) -> Result<Rows> {
        let columns = super::parquet::rows::columns(path)?;
        let several = vec![Several::Never; columns.len()];
        Ok(Rows { path: path.to_path_buf(), columns, several, form: Form::Parquet })
    }

    #[cfg(not(feature = "parquet"))]
    fn of_parquet(path: &Path) -> Result<Rows> {
        let path = path.display();
        Err(crate::error::Error::Usage(format!("{path}: this wgrec was built without the feature `parquet`")))
    }

    /// Calls `take` with each row: its line (in Parquet its number, from 1), the id in column `id`, and the cells of the columns
    /// `wanted`.
    ///
    /// # Errors
    /// Whatever is wrong with a row; an id that is missing or too long; those of `take`.
    pub fn each(
        self,
        id: usize,
        wanted: &[usize],
        mut take: impl FnMut(u64, &str, &[Cell]) -> Result<()>,
    ) -> Result<()> {
        let Rows { path, columns, form, .. } = self;
        let read: Vec<usize> = [id].iter().chain(wanted).copied().collect();
        let mut row = |line: u64, cells: &[Cell]| {
            let name = match &cells[0] {
                Cell::Text(name) => name.trim(),
                _ => "",
            };
            if name.is_empty() || name.len() > LONGEST_ID {
                let expected = format!("an item id of 1 to {LONGEST_ID} bytes as {}", columns[id]);
                return Err(at(&path, line)(Some(id as u64 + 1), show(name.as_bytes()), expected));
            }
            take(line, name, &cells[1..])
        };
        match form {
            Form::Lines(mut text, expected, cells) => {
                let mut line = vec![];
                while text.next(&mut line)? {
                    if !line.is_empty() {
                        let of_line = cells(&decoded(&line));
                        let mut of_line = of_line.ok_or_else(|| text.wrong(show(&line), expected.to_string()))?;
                        row(text.line, &read.iter().map(|&at| std::mem::take(&mut of_line[at])).collect::<Vec<_>>())?;
                    }
                }
                Ok(())
            }
            Form::Fields(mut records) => {
                while let Some(line) = records.next()? {
                    if records.len() != columns.len() {
                        let found = format!("{} fields, beginning {}", records.len(), show(records.get(0)));
                        let expected =
                            format!("as many fields as the header has, {} (is the line cut?)", columns.len());
                        return Err(at(&path, line)(None, found, expected));
                    }
                    let cell = |&column: &usize| Cell::Text(decoded(records.get(column)));
                    row(line, &read.iter().map(cell).collect::<Vec<_>>())?;
                }
                Ok(())
            }
            Form::Objects => {
                let keys: Vec<&str> = read.iter().map(|&column| columns[column].as_str()).collect();
                objects::each(&path, &keys, row)
            }
            #[cfg(feature = "parquet")]
            Form::Parquet => super::parquet::rows::each(&path, &read, row),
        }
    }
}

/// The cells of a line of `movies.dat`. A title may hold `::`.
fn movie(line: &str) -> Option<[Cell; 3]> {
    let (id, rest) = line.split_once("::")?;
    let (title, genres) = rest.rsplit_once("::")?;
    Some([id, title, genres].map(|cell| Cell::Text(cell.to_string())))
}

/// The cells of a line of `u.item`.
fn flagged(line: &str) -> Option<[Cell; 3]> {
    let fields: Vec<&str> = line.split('|').collect();
    let first = fields.len().checked_sub(FLAGS.len()).filter(|&first| first > 1)?;
    let on = fields[first..].iter().zip(FLAGS).filter(|(flag, _)| **flag == "1");
    let [id, title] = [0, 1].map(|at| Cell::Text(fields[at].to_string()));
    Some([id, title, Cell::List(on.map(|(_, genre)| genre.to_string()).collect())])
}

/// Text in UTF-8 or Latin-1.
fn decoded(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => bytes.iter().map(|&byte| byte as char).collect(),
    }
}
