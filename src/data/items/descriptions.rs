//! Titles and genres of items, from a table of items or from the embedded world.

use super::columns::{GENRES, TITLES, listed};
use super::join::Join;
use super::table::Table;
use crate::data::dataset::Dataset;
use crate::data::readers::Cell;
use crate::data::synth::Domain;
use crate::error::Result;
use std::path::PathBuf;

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
    /// The descriptions in a table, if it has any of the items.
    ///
    /// # Errors
    /// A table that is malformed, or describes items by other columns than any that are known.
    pub(super) fn read(table: Table, join: &Join) -> Result<Option<Descriptions>> {
        let (title, genres) = (table.find(&TITLES), table.find(&GENRES));
        let wanted: Vec<usize> = title.iter().chain(&genres).copied().collect();
        if wanted.is_empty() {
            return if table.describes_otherwise() { Ok(None) } else { Err(table.lacks(expected())) };
        }
        let file = Some(table.path().to_path_buf());
        let several = genres.map(|column| table.several(column));
        let mut of = vec![Description::default(); join.items() + 1];
        table.each(join, &wanted, |_, item, cells| {
            let Some(item) = item else { return Ok(()) };
            let titled = title.and(cells.first());
            of[item as usize] = Description {
                title: titled.and_then(given),
                genres: several.map_or(vec![], |several| listed(&cells[title.is_some() as usize], several)),
            };
            Ok(())
        })?;
        let some = of.iter().any(|described| *described != Description::default());
        Ok(some.then_some(Descriptions { file, of }))
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

/// What a table of items has at least one of.
pub(super) fn expected() -> String {
    format!("a header with a column of titles ({}) or genres ({})", TITLES.join(", "), GENRES.join(", "))
}

fn given(title: &Cell) -> Option<String> {
    let title = match title {
        Cell::Missing => return None,
        Cell::Text(title) => title.trim().to_string(),
        Cell::List(parts) => parts.join(", "),
    };
    Some(title).filter(|title| !title.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::DataConfig;
    use crate::data::dataset::tests::dataset;
    use crate::data::synth::WorldConfig;

    /// The descriptions of the items "7" and "8" in a file called `name`, next to the interactions that it goes with.
    fn of(name: &str, contents: &[u8]) -> Result<Option<Descriptions>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, contents).unwrap();
        let data = dataset(&[vec![7, 8]]);
        let config = DataConfig { path: Some(folder.path().to_path_buf()), ..DataConfig::default() };
        assert_eq!(config.descriptions(&data).unwrap(), None, "{name} goes with no interactions");
        let interactions = match name {
            "u.item" => "u.data",
            "x.item" => "x.inter",
            _ => &name.replace("movies", "ratings").replace("items", "events"),
        };
        std::fs::write(folder.path().join(interactions), b"").unwrap();
        config.descriptions(&data)
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
            let all = of(name, &contents).unwrap().unwrap();
            assert_eq!(all.of(1).title.as_deref(), Some(title), "{name}");
            assert_eq!(all.of(1).genres, genres, "{name}");
            assert_eq!(all.of(2), &Description::default(), "{name}");
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
        let described = |name: &str, data: &Dataset| {
            DataConfig { path: Some(folder.path().join(name)), ..DataConfig::default() }.descriptions(data).unwrap()
        };
        write("log.csv", "");
        let data = dataset(&[vec![1, 2], vec![2]]);
        assert_eq!(described("log.csv", &data), None);
        write("items.csv", &format!("id,title\nother,X\n{},Y\n", data.item_name(2)));
        let some = described("log.csv", &data).unwrap();
        assert_eq!([1, 2].map(|item| some.of(item).title.as_deref()), [None, Some("Y")]);
        assert_eq!(described("items.csv", &data), None);
        write("items.csv", "id,title\nother,X\n");
        assert_eq!(described("log.csv", &data), None);
    }
}
