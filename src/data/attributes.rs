//! Attributes of users as categories, from the file next to the interactions.
//!
//! | file | columns |
//! |---|---|
//! | `users.dat` (MovieLens-1M) | gender, age, occupation, zip_code |
//! | `u.user` (MovieLens-100K) | age, gender, occupation, zip_code |
//! | `*.user` (RecBole atomic) | those of its header after the user id |
//! | `users.csv`, `users.tsv` | those of its header after the user id |
//!
//! A column whose values are all numbers, more than 32 different ones, is a quantity and is cut into quantiles; with fewer they
//! are codes (MovieLens-1M's ages and occupations). Only the values of the data set's users count.

use super::DataConfig;
use super::dataset::Dataset;
use super::readers::{AttributeTable, Kind, Names, beside, beside_inter, read_user_attributes};
use super::synth::{Domain, User};
use crate::error::{Error, Result, nearest};
use indicatif::HumanCount;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The largest number of different numbers that may still be codes.
const MOST_CODES: usize = 32;

/// A column of more categories is taken only where it is named.
const MOST_CATEGORIES: usize = 64;

/// The category of each user under each attribute. Category 0 is what is not known.
#[derive(Clone, Debug, PartialEq)]
pub struct Attributes {
    /// Where they were read; none for the embedded world.
    pub file: Option<PathBuf>,
    /// \[n\], the names of the columns.
    pub names: Vec<String>,
    /// \[n\], categories of each, 0 included.
    pub sizes: Vec<u32>,
    /// \[users, n\].
    pub values: Vec<u32>,
    /// What the columns became and what was left out, for people.
    pub notes: Vec<String>,
}

impl Attributes {
    /// The attributes of `data`'s users that `config` asks for, if one file next to `path`, a file or folder, has any. Users
    /// that the file does not have, and empty cells, have category 0.
    ///
    /// # Errors
    /// A file that cannot be read or is malformed: a line with other columns than the first, a user twice, a `float` that is
    /// no number, none of the data set's users. A name in `data.attributes` that no column has, or one of several values a
    /// user; names where there is no file.
    pub fn beside(path: &Path, data: &Dataset, config: &DataConfig) -> Result<Option<Attributes>> {
        if config.attributes.as_ref().is_some_and(Vec::is_empty) {
            return Ok(None);
        }
        let Some(file) = beside(path, belongs)? else {
            return match &config.attributes {
                None => Ok(None),
                Some(names) => Err(Error::Usage(format!(
                    "data.attributes: found {names:?}; expected one file of user attributes next to {}: users.dat, u.user, \
                     users.csv, users.tsv, or NAME.user with NAME.inter",
                    path.display()
                ))),
            };
        };
        let table = read_user_attributes(&file, config.columns.user.as_deref())?;
        check_users(&file, &table, data)?;
        check_numbers(&file, &table)?;
        Attributes::new(Some(file), &table, data, config).map(Some)
    }

    /// Those of the embedded world; all its users have all of them.
    ///
    /// # Errors
    /// A name in `data.attributes` that is not one of them.
    pub fn of_world(world: &Domain, data: &Dataset, config: &DataConfig) -> Result<Attributes> {
        let column = |name: &str, of: fn(&User) -> u8| {
            let cells = world.users.iter().map(|user| of(user).to_string()).collect();
            (name.to_string(), Kind::Token, cells)
        };
        let table = AttributeTable {
            ids: (1..=world.users.len()).map(|id| id.to_string()).collect(),
            lines: vec![],
            columns: vec![
                column("age", |user| user.age),
                column("gender", |user| user.gender),
                column("occupation", |user| user.occupation),
            ],
        };
        Attributes::new(None, &table, data, config)
    }

    /// The user's category under each attribute, \[n\]. None for a user who came after the training.
    pub fn of(&self, user: u32) -> Option<&[u32]> {
        let n = self.names.len();
        self.values.get(user as usize * n..)?.get(..n)
    }

    fn new(file: Option<PathBuf>, table: &AttributeTable, data: &Dataset, config: &DataConfig) -> Result<Attributes> {
        let rows: HashMap<&str, u32> = table.ids.iter().zip(0..).collect();
        let rows: Vec<Option<u32>> =
            (0..data.users() as u32).map(|user| rows.get(data.user_name(user)).copied()).collect();
        let mut notes = vec![];
        let absent = rows.iter().filter(|row| row.is_none()).count() as u64;
        if absent > 0 {
            notes.push(format!("{} of {} users have none", HumanCount(absent), HumanCount(data.users() as u64)));
        }
        let columns = match &config.attributes {
            Some(names) => named(names, table, file.as_deref())?,
            None => (0..table.columns.len()).collect(),
        };
        let asked = config.attributes.is_some();
        let mut taken: Vec<(&str, Coding, &Names)> = vec![];
        for at in columns {
            let (name, kind, cells) = &table.columns[at];
            let several = matches!(kind, Kind::TokenSeq | Kind::FloatSeq);
            let coding = Coding::of(rows.iter().flatten().map(|&row| cells.get(row)), config.bins);
            let categories = coding.size() as usize - 1;
            if several && asked {
                return Err(Error::Usage(format!(
                    "data.attributes: found {name:?}, which has several values a user; expected columns of one"
                )));
            } else if several {
                notes.push(format!("{name} left out: it has several values a user"));
            } else if categories > MOST_CATEGORIES && !asked {
                let n = HumanCount(categories as u64);
                notes.push(format!("{name} left out: it has {n} categories; name it in data.attributes to take it"));
            } else {
                notes.extend(coding.note(name));
                taken.push((name, coding, cells));
            }
        }
        let values = rows.iter().flat_map(|row| {
            taken.iter().map(|(_, coding, cells)| row.map_or(0, |row| coding.category(cells.get(row))))
        });
        Ok(Attributes {
            values: values.collect(),
            file,
            names: taken.iter().map(|(name, ..)| name.to_string()).collect(),
            sizes: taken.iter().map(|(_, coding, _)| coding.size()).collect(),
            notes,
        })
    }
}

/// The file of interactions must be the one that these users belong to; `users.csv` has no such name.
fn belongs(name: &str, interactions: &str) -> bool {
    match name {
        "users.dat" => interactions == "ratings.dat",
        "u.user" => interactions == "u.data",
        "users.csv" | "users.tsv" => interactions != name,
        _ => beside_inter(name, ".user", interactions),
    }
}

/// Columns of a table, by their names.
fn named(names: &[String], table: &AttributeTable, file: Option<&Path>) -> Result<Vec<usize>> {
    let there = || table.columns.iter().map(|(name, ..)| name.as_str());
    let mut columns = vec![];
    for name in names {
        let at = there().position(|column| column == name).ok_or_else(|| {
            let file = file.map_or("the embedded world".to_string(), |file| file.display().to_string());
            let nearest = nearest(name, there()).map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
            let there: Vec<&str> = there().collect();
            Error::Usage(format!("data.attributes: found {name:?}; expected columns of {file}: {there:?}{nearest}"))
        })?;
        if columns.contains(&at) {
            return Err(Error::Usage(format!("data.attributes: found {name:?} twice; expected each column once")));
        }
        columns.push(at);
    }
    Ok(columns)
}

/// An error where an id comes twice, or no id is that of a user.
fn check_users(file: &Path, table: &AttributeTable, data: &Dataset) -> Result<()> {
    let wrong = |line, column, found, expected: &str| {
        let (path, expected) = (file.to_path_buf(), expected.to_string());
        Error::Input { path, line, column, found, expected }
    };
    let mut first: HashMap<&str, u64> = HashMap::new();
    for (id, &line) in table.ids.iter().zip(&table.lines) {
        if let Some(before) = first.insert(id, line) {
            let found = format!("the user {id:?} of line {before} a second time");
            return Err(wrong(Some(line), Some(1), found, "each user once"));
        }
    }
    if (0..data.users() as u32).any(|user| first.contains_key(data.user_name(user))) {
        return Ok(());
    }
    let found = format!("{} users, none of whom has an interaction", HumanCount(table.ids.len() as u64));
    Err(wrong(None, None, found, "the user ids of the interactions; or take no attributes by data.attributes=[]"))
}

/// An error for a `float` that is not a number.
fn check_numbers(file: &Path, table: &AttributeTable) -> Result<()> {
    for ((name, kind, cells), column) in table.columns.iter().zip(2..) {
        if *kind != Kind::Float {
            continue;
        }
        for (cell, &line) in cells.iter().zip(&table.lines) {
            if !cell.is_empty() && number(cell).is_none() {
                return Err(Error::Input {
                    path: file.to_path_buf(),
                    line: Some(line),
                    column: Some(column),
                    found: format!("{cell:?}"),
                    expected: format!("a number or nothing, since {name} is a float"),
                });
            }
        }
    }
    Ok(())
}

fn number(cell: &str) -> Option<f64> {
    cell.parse().ok().filter(|x: &f64| x.is_finite())
}

/// How the cells of a column become categories.
enum Coding<'a> {
    /// By value, from 1 in this order.
    Values(HashMap<&'a str, u32>),
    /// Category 1 is below the first of these ascending numbers, 2 from there to below the second, ...
    Bins(Vec<f64>),
}

impl<'a> Coding<'a> {
    /// Categories are in order of their numbers, or else of their text.
    fn of(cells: impl Iterator<Item = &'a str> + Clone, bins: usize) -> Coding<'a> {
        let distinct: BTreeSet<&str> = cells.clone().filter(|cell| !cell.is_empty()).collect();
        let numbers: Option<Vec<(f64, &str)>> = distinct.iter().map(|&cell| Some((number(cell)?, cell))).collect();
        match numbers {
            Some(numbers) if numbers.len() > MOST_CODES => Coding::Bins(quantiles(cells.filter_map(number), bins)),
            Some(mut numbers) => {
                numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
                Coding::Values(numbers.into_iter().map(|(_, cell)| cell).zip(1..).collect())
            }
            None => Coding::Values(distinct.into_iter().zip(1..).collect()),
        }
    }

    /// Categories, 0 included.
    fn size(&self) -> u32 {
        match self {
            Coding::Values(values) => 1 + values.len() as u32,
            Coding::Bins(edges) => 2 + edges.len() as u32,
        }
    }

    fn category(&self, cell: &str) -> u32 {
        match self {
            Coding::Values(values) => values.get(cell).copied().unwrap_or(0),
            Coding::Bins(edges) => number(cell).map_or(0, |x| 1 + edges.partition_point(|&edge| edge <= x) as u32),
        }
    }

    fn note(&self, name: &str) -> Option<String> {
        let Coding::Bins(edges) = self else { return None };
        let edges: Vec<String> = edges.iter().map(f64::to_string).collect();
        Some(format!("{name}: {} bins, cut at {}", edges.len() + 1, edges.join(", ")))
    }
}

/// Where `numbers` are cut into `bins` of about as many each; fewer where equal numbers would have to part.
fn quantiles(numbers: impl Iterator<Item = f64>, bins: usize) -> Vec<f64> {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let mut edges: Vec<f64> = (1..bins).map(|bin| numbers[bin * numbers.len() / bins]).collect();
    edges.dedup();
    edges.retain(|&edge| edge > numbers[0]);
    edges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::tests::dataset;
    use crate::data::synth::{World, WorldConfig};

    /// Attributes for users "0" to "3" from a file called `name`, next to a file of interactions.
    fn read(name: &str, contents: impl AsRef<[u8]>, attributes: Option<&[&str]>) -> Result<Option<Attributes>> {
        let folder = tempfile::tempdir().unwrap();
        let interactions = match name {
            "users.dat" => "ratings.dat",
            "u.user" => "u.data",
            "x.user" => "x.inter",
            _ => "log.csv",
        };
        for (name, contents) in [(interactions, b"".as_slice()), (name, contents.as_ref())] {
            std::fs::write(folder.path().join(name), contents).unwrap();
        }
        let attributes = attributes.map(|names| names.iter().map(|name| name.to_string()).collect());
        let config = DataConfig { attributes, ..DataConfig::default() };
        let data = dataset(&[vec![1], vec![2], vec![1], vec![2]]);
        Attributes::beside(&folder.path().join(interactions), &data, &config)
    }

    fn taken(name: &str, contents: &str, attributes: Option<&[&str]>) -> Attributes {
        read(name, contents, attributes).unwrap().unwrap()
    }

    /// The message after the file's folder.
    fn complaint(name: &str, contents: impl AsRef<[u8]>) -> String {
        let error = read(name, contents, None).unwrap_err();
        assert!(matches!(error, Error::Input { .. }), "{error:?}");
        error.to_string().rsplit_once(&format!("/{name}")).unwrap().1.to_string()
    }

    #[test]
    fn every_kind_of_file() {
        // User 3 is absent, user 2 has no gender, and user 9 has no interactions; 18 < 3x < 100 by value.
        let files = [
            ("users.dat", "0::F::100::7::1\n\n2::::18::20::2\n9::X::50::1::3\n1::M::18::7::1\n"),
            ("u.user", "0|100|F|7|1\n2|18||20|2\n9|50|X|1|3\n1|18|M|7|1\n"),
            (
                "x.user",
                "user_id:token\tage:float\tgender:token\toccupation:token\tzip_code:token\tlikes:token_seq\n\
                 0\t100\tF\t7\t1\ta b\n2\t18\t\t20\t2\t\n9\t50\tX\t1\t3\ta\n1\t18\tM\t7\t1\tb\n",
            ),
            (
                "users.csv",
                "userId,age,gender,occupation,zip_code\n0,100,F,7,1\n2,18,,20,2\n9,50,X,1,3\n1,18,\"M\",7,1\n",
            ),
            ("users.tsv", "id\tage\tgender\toccupation\tzip_code\n0\t100\tF\t7\t1\n2\t18\t\t20\t2\n1\t18\tM\t7\t1\n"),
        ];
        for (name, contents) in files {
            let some = taken(name, contents, Some(&["age", "occupation", "gender"]));
            assert_eq!(
                (&some.names[..], &some.sizes[..]),
                (&["age", "occupation", "gender"].map(String::from)[..], &[3, 3, 3][..])
            );
            let users: Vec<&[u32]> = (0..4).map(|user| some.of(user).unwrap()).collect();
            assert_eq!(users, [[2, 1, 1], [1, 1, 2], [1, 2, 0], [0, 0, 0]], "{name}");
            assert_eq!(some.notes, ["1 of 4 users have none"]);
            let all = taken(name, contents, None);
            assert_eq!((all.names.len(), all.file.unwrap().file_name().unwrap().to_str()), (4, Some(name)));
            assert_eq!(read(name, contents, Some(&[])).unwrap(), None);
        }
        let several = &taken(files[2].0, files[2].1, None).notes[1];
        assert_eq!(several, "likes left out: it has several values a user");
    }

    #[test]
    fn codes_quantities_and_too_many_categories() {
        // 80 users in the file of whom 4 interact: only their values are used.
        let table = |cell: fn(usize) -> String| {
            let rows = (0..80).map(|user| format!("{user},{}\n", cell(user)));
            format!("user,x\n{}", rows.collect::<String>())
        };
        assert_eq!(taken("users.csv", &table(|user| format!("a{user}")), None).sizes, [5]);

        let data = dataset(&vec![vec![1]; 80]);
        let of = |cell: fn(usize) -> String, named: bool, bins| {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("users.csv"), table(cell)).unwrap();
            std::fs::write(folder.path().join("log.csv"), "").unwrap();
            let attributes = named.then(|| vec!["x".to_string()]);
            let config = DataConfig { attributes, bins, ..DataConfig::default() };
            Attributes::beside(folder.path(), &data, &config).unwrap().unwrap()
        };
        let codes = of(|user| (user % 32).to_string(), false, 8);
        assert_eq!((&codes.sizes[..], &codes.values[30..34]), (&[33][..], &[31, 32, 1, 2][..]));
        // 33 numbers are a quantity: 0 to 32, each twice or three times.
        let quantity = of(|user| format!("{}.5", user % 33), false, 4);
        assert_eq!(quantity.notes, ["x: 4 bins, cut at 6.5, 13.5, 23.5"]);
        assert_eq!((&quantity.sizes[..], &quantity.values[..8]), (&[5][..], &[1, 1, 1, 1, 1, 1, 2, 2][..]));
        assert_eq!(quantity.values[23..34], [4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 1]);
        // Half of all users have the least value: their bin replaces four.
        let skewed = of(|user| if user < 40 { "-1".to_string() } else { user.to_string() }, false, 8);
        assert_eq!(skewed.notes, ["x: 5 bins, cut at 40, 50, 60, 70"]);
        assert_eq!((skewed.values[0], skewed.values[40], skewed.values[79]), (1, 2, 5));

        let many: fn(usize) -> String = |user| format!("a{user}");
        let left_out = of(many, false, 8);
        assert_eq!(left_out.notes, ["x left out: it has 80 categories; name it in data.attributes to take it"]);
        assert_eq!((left_out.sizes.len(), left_out.of(79).map(<[u32]>::len)), (0, Some(0)));
        assert_eq!(of(many, true, 8).sizes, [81]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (name, contents, expected) in [
            (
                "users.dat",
                "0::F::1\n",
                ":1:3: found \"1\"; expected 5 fields: user_id, gender, age, occupation, zip_code",
            ),
            ("users.dat", "0::F::1::2::3\n1::F::1::2::3::4\n", ":2:5: found \"3\"; expected 5 fields"),
            ("u.user", "0|24|M|x|1\n|24|M|x|1\n", ":2:1: found nothing; expected an id of 1 to 1024 bytes"),
            ("u.user", "0|24|M|x|1\n1|24|M|x|1\n0|24|M|x|1\n", ":3:1: found the user \"0\" of line 1 a second time"),
            ("x.user", "age:token\n0\n", ":1:1: found the column \"age\"; expected user ids in the first column"),
            ("x.user", "user_id:token\tage\n0\t1\n", ":1:2: found \"age\"; expected name:type"),
            ("x.user", "user_id:token\tage:float\n0\t\n1\told\n", ":3:2: found \"old\"; expected a number or nothing"),
            ("x.user", "user_id:token\ta:token\ta:token\n", ":1:3: found the column \"a\" a second time"),
            (
                "users.csv",
                "1,24,M\n2,53,F\n",
                ":1:1: found the column \"1\"; expected user ids in the first column (id, ",
            ),
            ("users.csv", "user,a\n0\n", ":2:1: found \"0\"; expected 2 fields: user, a (is the line cut?)"),
            ("users.csv", "user\n0\n", ":1: found \"user\"; expected columns separated by"),
            (
                "users.csv",
                "user,a\n7,b\n8,b\n",
                ": found 2 users, none of whom has an interaction; expected the user ids",
            ),
            ("users.csv", "", ": found an empty file; expected at least one line"),
            ("users.csv", "\n\n", ":1: found nothing; expected columns separated by"),
            ("x.user", "\n\n", ":1: found blank lines alone; expected a header"),
        ] {
            let message = complaint(name, contents);
            assert!(message.starts_with(expected), "{message}");
        }
        let message = complaint("users.csv", b"user,a\n0,b\n1,L\xe9on\n");
        assert!(message.starts_with(r#":3:2: found "L\xe9on"; expected text in UTF-8"#), "{message}");
    }

    #[test]
    fn names_that_cannot_be_had() {
        let csv = "user,age,gender\n0,1,M\n";
        let refused = |name: &str, contents: &str, names: &[&str]| {
            let error = read(name, contents, Some(names)).unwrap_err();
            assert!(matches!(error, Error::Usage(_)), "{error:?}");
            error.to_string()
        };
        let message = refused("users.csv", csv, &["age", "gendre"]);
        assert!(message.ends_with("users.csv: [\"age\", \"gender\"]; did you mean \"gender\"?"), "{message}");
        assert!(refused("users.csv", csv, &["age", "age"]).contains("found \"age\" twice"));
        let several = refused("x.user", "user_id:token\tlikes:token_seq\n0\ta b\n", &["likes"]);
        assert!(several.contains("found \"likes\", which has several values a user"), "{several}");
        // No file of attributes, or one of other interactions.
        assert!(refused("other.user", csv, &["age"]).contains("expected one file of user attributes next to"));
        assert_eq!(read("other.user", csv, None).unwrap(), None);
    }

    #[test]
    fn of_the_embedded_world_and_as_it_is_written() {
        let world = World::generate(&WorldConfig { users: 40, ..WorldConfig::default() }, 3).unwrap();
        let domain = &world.domains[0];
        // Users in another order than the world's, and not all of them.
        let config = DataConfig::default();
        let folder = tempfile::tempdir().unwrap();
        world.write(&folder.path().join("world")).unwrap();
        let path = folder.path().join("world/default/clicks.inter");
        let data = DataConfig { min_user: 40, ..config.clone() }.load_with(&path, None).unwrap();
        let first = data.user_name(0).to_string();
        assert!((5..40).contains(&data.users()) && first != "1", "{} users, first {first}", data.users());
        let drawn = Attributes::of_world(domain, &data, &config).unwrap();
        assert_eq!(drawn.names, ["age", "gender", "occupation"]);
        let distinct: BTreeSet<u8> = (0..data.users() as u32).map(|u| user(domain, &data, u).occupation).collect();
        for u in 0..data.users() as u32 {
            let wanted = distinct.iter().position(|&occupation| occupation == user(domain, &data, u).occupation);
            assert_eq!(drawn.of(u).unwrap()[2] as usize, 1 + wanted.unwrap());
        }
        let read = Attributes::beside(&path, &data, &config).unwrap().unwrap();
        assert_eq!(Attributes { file: None, ..read }, drawn);
        let one = DataConfig { attributes: Some(vec!["gender".to_string()]), ..config };
        assert_eq!(Attributes::of_world(domain, &data, &one).unwrap().sizes, drawn.sizes[1..2]);
    }

    fn user<'a>(domain: &'a Domain, data: &Dataset, user: u32) -> &'a User {
        &domain.users[data.user_name(user).parse::<usize>().unwrap() - 1]
    }
}
