//! Titles and genres of items, from the file next to the interactions or from the embedded world.
//!
//! | file | title | genres |
//! |---|---|---|
//! | `movies.dat` (MovieLens-1M and larger) | second field | third field, `A\|B` |
//! | `u.item` (MovieLens-100K) | second field | the 19 flags at the end of a line |
//! | `movies.csv` (MovieLens latest) | column `title` | column `genres`, `A\|B` |
//! | `*.item` (RecBole atomic) | column of titles | column of genres, `A B` |
//! | `items.csv`, `items.tsv` | column of titles | column of genres, `A\|B` or `'A', 'B'` |
//!
//! Ids are in the first column. A column of titles is called title, movie_title, item_title, product_title, name, item_name or
//! app_name, a column of genres class, genre(s) or categor(y, ies); the first of either counts. Text that is not UTF-8 is read
//! as Latin-1.

use super::dataset::Dataset;
use super::readers::text::{Text, show};
use super::readers::{Kind, Records, beside, beside_inter, open_table, read_attributes, unpacked_name};
use super::synth::Domain;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const TITLES: [&str; 7] = ["title", "movie_title", "item_title", "product_title", "name", "item_name", "app_name"];
const GENRES: [&str; 5] = ["class", "genre", "genres", "category", "categories"];

/// MovieLens-100K's flags, in order.
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

/// What people know an item by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub title: Option<String>,
    /// In the order of the file.
    pub genres: Vec<String>,
}

/// The description of each item.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Descriptions {
    /// Where they were read; none for the embedded world.
    pub file: Option<PathBuf>,
    /// Of item 0 (padding, empty) to the last.
    of: Vec<Description>,
}

impl Descriptions {
    /// The descriptions of `data`'s items, if one file next to `path`, a file or folder, describes any.
    ///
    /// # Errors
    /// A file that cannot be read or is malformed.
    pub fn beside(path: &Path, data: &Dataset) -> Result<Option<Descriptions>> {
        // The interactions may be called items.csv themselves.
        let own = if path.is_file() { unpacked_name(path) } else { String::new() };
        let Some(file) = beside(path, |name, other| name != own && belongs(name, other))? else { return Ok(None) };
        let mut named = read(&file)?;
        let mut of = vec![Description::default()];
        of.extend((1..=data.items() as u32).map(|item| named.remove(data.item_name(item)).unwrap_or_default()));
        let some = of.iter().any(|described| *described != Description::default());
        Ok(some.then_some(Descriptions { file: Some(file), of }))
    }

    /// The genres of the embedded world's items, which have no titles.
    pub fn of_world(world: &Domain, data: &Dataset) -> Descriptions {
        let of_item = |item: u32| {
            let number: usize = data.item_name(item).parse().expect("items of the world have numbers");
            Description { title: None, genres: vec![format!("genre {}", world.items[number - 1].group + 1)] }
        };
        let of = std::iter::once(Description::default()).chain((1..=data.items() as u32).map(of_item));
        Descriptions { file: None, of: of.collect() }
    }

    pub fn of(&self, item: u32) -> &Description {
        &self.of[item as usize]
    }
}

/// The file of interactions must be the one that these items belong to; `items.csv` has no such name.
fn belongs(name: &str, interactions: &str) -> bool {
    match name {
        "movies.dat" => interactions == "ratings.dat",
        "movies.csv" => interactions == "ratings.csv",
        "u.item" => interactions == "u.data",
        "items.csv" | "items.tsv" => interactions != name,
        _ => beside_inter(name, ".item", interactions),
    }
}

/// Descriptions by external id.
fn read(path: &Path) -> Result<HashMap<String, Description>> {
    match unpacked_name(path).as_str() {
        "movies.dat" => lines(path, "id::title::A|B", |line| {
            let (id, rest) = line.split_once("::")?;
            let (title, genres) = rest.rsplit_once("::")?;
            Some((id.to_string(), Description { title: given(title), genres: listed(genres) }))
        }),
        "u.item" => lines(path, "id|title|...| and 19 flags, 0 or 1", |line| {
            let fields: Vec<&str> = line.split('|').collect();
            let first = fields.len().checked_sub(FLAGS.len()).filter(|&first| first > 1)?;
            let on = fields[first..].iter().zip(FLAGS).filter(|(flag, _)| **flag == "1");
            let genres = on.map(|(_, genre)| genre.to_string()).collect();
            Some((fields[0].to_string(), Description { title: given(fields[1]), genres }))
        }),
        "movies.csv" | "items.csv" | "items.tsv" => table(path),
        _ => attributes(path),
    }
}

fn given(title: &str) -> Option<String> {
    Some(title.trim().to_string()).filter(|title| !title.is_empty())
}

/// `A|B` or `'A', 'B'`.
fn listed(genres: &str) -> Vec<String> {
    let genres = genres.trim().trim_start_matches('[').trim_end_matches(']');
    let quoted = genres.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    let parts: Vec<&str> = match quoted {
        Some(quoted) => quoted.split("', '").collect(),
        None => genres.split('|').collect(),
    };
    let named = parts.into_iter().map(str::trim).filter(|genre| !genre.is_empty() && *genre != "(no genres listed)");
    named.map(str::to_string).collect()
}

/// Text in UTF-8 or Latin-1.
fn decoded(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_string(),
        Err(_) => bytes.iter().map(|&byte| byte as char).collect(),
    }
}

/// A file of lines without a header.
fn lines(
    path: &Path,
    expected: &str,
    parse: impl Fn(&str) -> Option<(String, Description)>,
) -> Result<HashMap<String, Description>> {
    let mut text = Text::open(path)?;
    let (mut line, mut all) = (vec![], HashMap::new());
    while text.next(&mut line)? {
        if line.is_empty() {
            continue;
        }
        let (id, described) = parse(&decoded(&line)).ok_or_else(|| Error::Input {
            path: path.to_path_buf(),
            line: Some(text.line),
            column: None,
            found: show(&line),
            expected: expected.to_string(),
        })?;
        all.insert(id, described);
    }
    Ok(all)
}

/// Of the columns with these names, the first that is called as one of `usual`.
fn column<'a>(mut names: impl Iterator<Item = &'a str>, usual: &[&str]) -> Option<usize> {
    names.position(|name| usual.contains(&name.to_lowercase().as_str()))
}

/// A file with a header.
fn table(path: &Path) -> Result<HashMap<String, Description>> {
    let (mut records, header): (Records, Vec<String>) = open_table(path)?;
    let wrong = |records: &Records, line, expected: String| Error::Input {
        path: path.to_path_buf(),
        line: Some(line),
        column: None,
        found: show(records.get(0)),
        expected,
    };
    let find = |usual: &[&str]| column(header.iter().map(String::as_str), usual);
    let (title, genres) = (find(&TITLES), find(&GENRES));
    if title.is_none() && genres.is_none() {
        let expected =
            format!("a header with a column of titles ({}) or genres ({})", TITLES.join(", "), GENRES.join(", "));
        return Err(wrong(&records, 1, expected));
    }
    let mut all = HashMap::new();
    while let Some(line) = records.next()? {
        if records.len() != header.len() {
            return Err(wrong(&records, line, "as many fields as the header has".to_string()));
        }
        let cell = |column: Option<usize>| column.map(|i| decoded(records.get(i))).unwrap_or_default();
        all.insert(
            cell(Some(0)).trim().to_string(),
            Description { title: given(&cell(title)), genres: listed(&cell(genres)) },
        );
    }
    Ok(all)
}

/// A RecBole table.
fn attributes(path: &Path) -> Result<HashMap<String, Description>> {
    let table = read_attributes(path)?;
    let texts = || table.columns.iter().filter(|(_, kind, _)| matches!(kind, Kind::Token | Kind::TokenSeq));
    let find = |usual: &[&str]| {
        let at = column(texts().map(|(name, ..)| name.as_str()), usual);
        at.and_then(|at| texts().nth(at))
    };
    let (titles, genres) = (find(&TITLES), find(&GENRES));
    let described = |row: u32| {
        let title = titles.and_then(|(_, _, cells)| given(cells.get(row)));
        let genres = genres.map_or(vec![], |(_, kind, cells)| match kind {
            Kind::Token => given(cells.get(row)).into_iter().collect(),
            _ => cells.get(row).split_whitespace().map(str::to_string).collect(),
        });
        Description { title, genres }
    };
    Ok(table.ids.iter().zip(0..).map(|(id, row)| (id.to_string(), described(row))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataConfig;
    use crate::data::dataset::tests::dataset;
    use crate::data::synth::WorldConfig;

    fn of(name: &str, contents: &[u8]) -> Result<HashMap<String, Description>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        assert_eq!(beside(folder.path(), belongs).unwrap(), None);
        let interactions = match name {
            "u.item" => "u.data",
            "x.item" => "x.inter",
            _ => &name.replace("movies", "ratings").replace("items", "events"),
        };
        std::fs::write(folder.path().join(interactions), b"").unwrap();
        assert_eq!(beside(folder.path(), belongs).unwrap(), Some(path.clone()));
        read(&path)
    }

    #[test]
    fn every_kind_of_file() {
        let flags = |on: usize| (0..19).map(|i| if i == on { "|1" } else { "|0" }).collect::<String>();
        let (both, one) = (["Crime", "Film Noir"].as_slice(), ["Animation"].as_slice());
        let files = [
            ("movies.dat", b"7::L\xe9on: A::B::Crime|Film Noir\n8::::\n".to_vec(), "L\u{e9}on: A::B", both),
            (
                "movies.csv",
                "movieId,title,genres\n7,\"A, \u{e9}\",Crime|Film Noir\n8,,(no genres listed)\n".as_bytes().to_vec(),
                "A, \u{e9}",
                both,
            ),
            ("u.item", format!("7|L|1995||u{}\n8||1995||u{}\n", flags(3), flags(99)).into_bytes(), "L", one),
            (
                "x.item",
                b"item_id:token\tmovie_title:token_seq\tclass:token_seq\n7\tToy \"Story\tCrime Noir\n8\t\t\n".to_vec(),
                "Toy \"Story",
                &["Crime", "Noir"],
            ),
            (
                "items.tsv",
                b"key\tother\ttitle\tcategories\n7\t8\tL\t'Crime', 'Film Noir'\n8\t7\t\t\n".to_vec(),
                "L",
                both,
            ),
            ("items.csv", b"key,genre,name\n7,Animation,L\n8,,\n".to_vec(), "L", one),
        ];
        for (name, contents, title, genres) in files {
            let all = of(name, &contents).unwrap();
            assert_eq!(all["7"].title.as_deref(), Some(title), "{name}");
            assert_eq!(all["7"].genres, genres, "{name}");
            assert_eq!((all.len(), &all["8"]), (2, &Description::default()), "{name}");
        }
    }

    #[test]
    fn malformed_files() {
        let wrong = |name: &str, contents: &[u8]| of(name, contents).unwrap_err().to_string();
        assert!(wrong("movies.dat", b"7::A::B\n8\n").contains("movies.dat:2: found \"8\"; expected id::"));
        let short = wrong("movies.csv", b"movieId,title,genres\n7,A,B\n8,X\n");
        assert!(short.contains("movies.csv:3") && short.contains("as many fields as the header has"), "{short}");
        let blank = wrong("x.item", b"\n \n\n");
        assert!(blank.contains("x.item:1:1: found nothing; expected name:type"), "{blank}");
        let blank = wrong("x.item", b"\n\n\n");
        assert!(blank.contains("x.item:1: found blank lines alone; expected a header"), "{blank}");
        for name in ["movies.csv", "items.csv"] {
            assert!(wrong(name, b"a,b\n").contains("a header with a column of titles (title, "), "{name}");
        }
    }

    #[test]
    fn the_world_has_genres() {
        let config = WorldConfig { users: 30, ..WorldConfig::default() };
        let (data, world, _) = DataConfig::default().load_world(&config, 5).unwrap();
        let described = Descriptions::of_world(&world, &data);
        for item in 1..=data.items() as u32 {
            let number: usize = data.item_name(item).parse().unwrap();
            let genre = format!("genre {}", 1 + world.items[number - 1].cluster % config.groups);
            assert_eq!(described.of(item), &Description { title: None, genres: vec![genre] });
        }
    }

    #[test]
    fn only_the_items_of_the_data_count() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let log = folder.path().join("log.csv");
        write("log.csv", "");
        let data = dataset(&[vec![1, 2], vec![2]]);
        assert_eq!(Descriptions::beside(&log, &data).unwrap(), None);
        write("items.csv", &format!("id,title\nother,X\n{},Y\n", data.item_name(2)));
        let described = Descriptions::beside(&log, &data).unwrap().unwrap();
        assert_eq!([1, 2].map(|item| described.of(item).title.as_deref()), [None, Some("Y")]);
        assert_eq!(Descriptions::beside(&folder.path().join("items.csv"), &data).unwrap(), None);
        write("items.csv", "id,title\nother,X\n");
        assert_eq!(Descriptions::beside(&log, &data).unwrap(), None);
    }
}
