//! Categories of items, from the attribute file next to the interactions.
//!
//! | file | categories |
//! |---|---|
//! | `movies.dat` (MovieLens-1M and larger) | third field, `A\|B` |
//! | `movies.csv` (MovieLens latest) | column `genres`, `A\|B` |
//! | `u.item` (MovieLens-100K) | the 19 flags at the end of a line |
//! | `*.item` (RecBole atomic) | the first column called class, genre(s) or categor(y, ies), `A B` |

use super::dataset::Dataset;
use super::readers::text::{Text, show};
use super::readers::{Dialect, Kind, Records, beside, beside_inter, read_attributes, unpacked_name};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Which categories each item has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Categories {
    /// Where they were read.
    pub file: PathBuf,
    /// Ascending, of item 0 (padding, none) to the last.
    of: Vec<Vec<u32>>,
}

impl Categories {
    /// The categories of `data`'s items, if a file next to `path`, a file or folder, has any.
    ///
    /// # Errors
    /// An attribute file that cannot be read or is malformed.
    pub fn beside(path: &Path, data: &Dataset) -> Result<Option<Categories>> {
        let Some(file) = beside(path, belongs)? else { return Ok(None) };
        let named = read(&file)?;
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let mut of = vec![vec![]];
        for item in 1..=data.items() as u32 {
            let mut own = vec![];
            for name in named.get(data.item_name(item)).into_iter().flatten() {
                let next = numbers.len() as u32;
                own.push(*numbers.entry(name.as_str()).or_insert(next));
            }
            own.sort();
            own.dedup();
            of.push(own);
        }
        Ok((!numbers.is_empty()).then_some(Categories { file, of }))
    }

    /// 1 less the Jaccard similarity of two items' categories; none where either has none.
    pub fn distance(&self, a: u32, b: u32) -> Option<f64> {
        let [a, b] = [a, b].map(|item| &self.of[item as usize]);
        if a.is_empty() || b.is_empty() {
            return None;
        }
        let common = a.iter().filter(|category| b.contains(category)).count();
        Some(1.0 - common as f64 / (a.len() + b.len() - common) as f64)
    }

    #[cfg(test)]
    pub fn new(of: Vec<Vec<u32>>) -> Categories {
        Categories { file: PathBuf::new(), of }
    }
}

/// The file of interactions must be the one that these items belong to.
fn belongs(name: &str, interactions: &str) -> bool {
    match name {
        "movies.dat" => interactions == "ratings.dat",
        "movies.csv" => interactions == "ratings.csv",
        "u.item" => interactions == "u.data",
        _ => beside_inter(name, ".item", interactions),
    }
}

/// Categories by external id.
fn read(path: &Path) -> Result<HashMap<String, Vec<String>>> {
    match unpacked_name(path).as_str() {
        "movies.dat" => lines(path, "id::title::A|B", |line| {
            let mut fields = line.split("::");
            let (id, genres) = (fields.next()?, fields.nth(1)?);
            Some((id.to_string(), bars(genres)))
        }),
        "u.item" => lines(path, "id|title|...| and 19 flags, 0 or 1", |line| {
            let fields: Vec<&str> = line.split('|').collect();
            let flags = fields.len().checked_sub(19).filter(|&first| first > 0)?;
            let flags = fields[flags..].iter().enumerate().filter(|(_, flag)| **flag == "1");
            Some((fields[0].to_string(), flags.map(|(genre, _)| genre.to_string()).collect()))
        }),
        "movies.csv" => table(path),
        _ => attributes(path),
    }
}

fn bars(genres: &str) -> Vec<String> {
    let named = genres.split('|').map(str::trim).filter(|genre| !genre.is_empty() && *genre != "(no genres listed)");
    named.map(str::to_string).collect()
}

/// A file of lines whose titles may be in any encoding.
fn lines(
    path: &Path,
    expected: &str,
    parse: impl Fn(&str) -> Option<(String, Vec<String>)>,
) -> Result<HashMap<String, Vec<String>>> {
    let mut text = Text::open(path)?;
    let (mut line, mut all) = (vec![], HashMap::new());
    while text.next(&mut line)? {
        if line.is_empty() {
            continue;
        }
        let (id, categories) = parse(&String::from_utf8_lossy(&line)).ok_or_else(|| Error::Input {
            path: path.to_path_buf(),
            line: Some(text.line),
            column: None,
            found: show(&line),
            expected: expected.to_string(),
        })?;
        all.insert(id, categories);
    }
    Ok(all)
}

fn table(path: &Path) -> Result<HashMap<String, Vec<String>>> {
    let mut records = Records::new(Text::open(path)?, Dialect::of(b','));
    let (mut all, mut columns) = (HashMap::new(), None);
    while let Some(line) = records.next()? {
        let cell = |i: usize| records.iter().nth(i).map(|cell| String::from_utf8_lossy(cell).trim().to_string());
        let wrong = |expected: &str| {
            let (found, expected) = (show(records.get(0)), expected.to_string());
            Error::Input { path: path.to_path_buf(), line: Some(line), column: None, found, expected }
        };
        let Some((id, genres)) = columns else {
            let find = |name: &str| records.iter().position(|cell| cell.eq_ignore_ascii_case(name.as_bytes()));
            columns = find("movieId").zip(find("genres"));
            if columns.is_none() {
                return Err(wrong("a header with movieId and genres"));
            }
            continue;
        };
        let (id, genres) = cell(id).zip(cell(genres)).ok_or_else(|| wrong("as many fields as the header has"))?;
        all.insert(id, bars(&genres));
    }
    Ok(all)
}

fn attributes(path: &Path) -> Result<HashMap<String, Vec<String>>> {
    const NAMES: [&str; 5] = ["class", "genre", "genres", "category", "categories"];
    let table = read_attributes(path)?;
    let column = table.columns.iter().find(|(name, kind, _)| {
        NAMES.contains(&name.to_lowercase().as_str()) && matches!(kind, Kind::Token | Kind::TokenSeq)
    });
    let Some((_, kind, cells)) = column else { return Ok(HashMap::new()) };
    let split = |cell: &str| match kind {
        Kind::Token => vec![cell.to_string()],
        _ => cell.split_whitespace().map(str::to_string).collect(),
    };
    Ok(table.ids.iter().map(str::to_string).zip(cells.iter().map(split)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, contents: &[u8]) -> Result<HashMap<String, Vec<String>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        assert_eq!(beside(folder.path(), belongs).unwrap(), None);
        let interactions = match name {
            "u.item" => "u.data",
            "x.item" => "x.inter",
            _ => &name.replace("movies", "ratings"),
        };
        std::fs::write(folder.path().join(interactions), b"").unwrap();
        assert_eq!(beside(folder.path(), belongs).unwrap(), Some(path.clone()));
        read(&path)
    }

    #[test]
    fn every_kind_of_file() {
        let flags = |on: usize| (0..19).map(|i| if i == on { "|1" } else { "|0" }).collect::<String>();
        let files = [
            ("movies.dat", b"7::L\xe9on::Crime|Drama\n8::X::\n".to_vec(), ["Crime", "Drama"].as_slice()),
            (
                "movies.csv",
                b"movieId,title,genres\n7,\"A, B\",Crime|Drama\n8,X,(no genres listed)\n".to_vec(),
                &["Crime", "Drama"],
            ),
            ("u.item", format!("7|L|1995||u{}\n8|X|1995||u{}\n", flags(3), flags(99)).into_bytes(), &["3"]),
            ("x.item", b"item_id:token\tclass:token_seq\n7\tCrime Drama\n8\t\n".to_vec(), &["Crime", "Drama"]),
        ];
        for (name, contents, want) in files {
            let all = of(name, &contents).unwrap();
            assert_eq!(
                (&all["7"][..], all["8"].is_empty()),
                (&want.iter().map(|s| s.to_string()).collect::<Vec<_>>()[..], true),
                "{name}"
            );
        }
        assert!(
            of("movies.dat", b"7::A::B\n8\n")
                .unwrap_err()
                .to_string()
                .contains("movies.dat:2: found \"8\"; expected id::")
        );
        let short = of("movies.csv", b"movieId,title,genres\n7,A,B\n8,X\n").unwrap_err().to_string();
        assert!(short.contains("movies.csv:3") && short.contains("as many fields as the header has"), "{short}");
        let blank = of("x.item", b"\n \n\n").unwrap_err().to_string();
        assert!(blank.contains("x.item:1:1: found nothing; expected name:type"), "{blank}");
        let blank = of("x.item", b"\n\n\n").unwrap_err().to_string();
        assert!(blank.contains("x.item:1: found blank lines alone; expected a header"), "{blank}");
        assert!(of("movies.csv", b"a,b\n").unwrap_err().to_string().contains("a header with movieId and genres"));
    }

    #[test]
    fn distance_is_of_sets() {
        let categories = Categories::new(vec![vec![], vec![0, 1], vec![1, 2], vec![], vec![0, 1]]);
        assert_eq!(categories.distance(1, 2), Some(1.0 - 1.0 / 3.0));
        assert_eq!((categories.distance(1, 4), categories.distance(1, 3)), (Some(0.0), None));
    }
}
