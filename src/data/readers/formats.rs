//! The formats that wgrec reads: one declaration for each layout, in the order in which a file is tried against them.
//!
//! docs/formats.md says the same for people; a test holds them together.

use super::atomic;
use super::fields::{Dialect, Quotes};
use super::role::Role;
use super::{json, mind, netflix};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::LazyLock;

/// The name of a format, as `--format` takes it. Several layouts can go by one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Format(&'static str);

/// A way to write interactions down.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Declared {
    pub name: &'static str,
    pub shape: Shape,
    /// Names of columns that go before the usual ones.
    pub columns: &'static [(Role, &'static str)],
    /// A column of milliseconds that are added to the time.
    pub offset: Option<&'static str>,
    pub latin1: bool,
    /// What quotation marks do where a comma, semicolon or bar separates fields.
    pub quotes: Quotes,
    /// Only `--format` says that a file has this layout: another could look the same.
    pub by_name: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Separated fields below a header that has these columns, if any are named; else a user and an item column.
    Header(&'static [&'static str]),
    /// Separated fields without a header: what the columns are called, and what is in them.
    Fields(Dialect, &'static [(&'static str, Cell)]),
    /// A JSON object or a Python literal a line, with these keys, if any are named; else with a user and an item.
    Json(&'static [&'static str]),
    /// RecBole atomic file: tabs, and a header `user_id:token item_id:token ...`.
    Atomic,
    /// RecBole benchmark files `X.train.inter`, `X.valid.inter`, `X.test.inter` with `item_id_list`.
    Benchmark,
    /// One user a line: `user item item ...`, oldest first.
    Sequences,
    /// `user item` a line, oldest first.
    Pairs,
    Netflix,
    Mind,
    Parquet,
}

/// What a field looks like in files without a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell {
    Any,
    Number,
    Digits,
    /// At least `2005-04-03`.
    Date,
    Hex(usize),
    OneOf(&'static [&'static str]),
    /// An item of Amazon: ten capitals and digits.
    Asin,
    /// A user of Amazon: capitals and digits that begin with A.
    Reviewer,
}

use Cell::{Any, Asin, Date, Digits, Hex, Number, OneOf, Reviewer};
use Shape::{Fields, Header, Json};

const COMMAS: Dialect = Dialect::of(b',');
const TABS: Dialect = Dialect::TABS;

const USUAL: Declared = Declared {
    name: "",
    shape: Header(&[]),
    columns: &[],
    offset: None,
    latin1: false,
    quotes: Quotes::Csv,
    by_name: false,
};

#[rustfmt::skip]
static DECLARED: [Declared; 38] = [
    Declared { name: "parquet", shape: Shape::Parquet, ..USUAL },
    Declared { name: "benchmark", shape: Shape::Benchmark, ..USUAL },
    Declared { name: "atomic", shape: Shape::Atomic, ..USUAL },

    Declared { name: "amazon", shape: Json(&["reviewerID", "asin"]), ..USUAL },
    Declared { name: "amazon", shape: Json(&["user_id", "parent_asin"]), ..USUAL },
    Declared { name: "yelp", shape: Json(&["business_id", "user_id"]), ..USUAL },
    Declared { name: "steam", shape: Json(&["username", "product_id"]), columns: &[(Role::User, "username")], ..USUAL },
    Declared { name: "steam", shape: Json(&["user_id", "user_url", "reviews"]), ..USUAL },
    Declared { name: "steam", shape: Json(&["user_id", "user_url", "items"]), ..USUAL },
    Declared { name: "otto", shape: Json(&["session", "events"]), columns: &[(Role::Behaviour, "type")], ..USUAL },
    Declared { name: "json", shape: Json(&[]), ..USUAL },

    Declared { name: "movielens", shape: Header(&["userId", "movieId", "rating", "timestamp"]), ..USUAL },
    Declared { name: "otto", shape: Header(&["session", "aid", "ts", "type"]), columns: &[(Role::Behaviour, "type")], ..USUAL },
    Declared { name: "bookcrossing", shape: Header(&["User-ID", "ISBN", "Book-Rating"]), latin1: true, quotes: Quotes::Escaped, ..USUAL },
    Declared { name: "diginetica", shape: Header(&["sessionId", "itemId", "timeframe", "eventdate"]), offset: Some("timeframe"), ..USUAL },
    Declared { name: "amazon", shape: Header(&["user_id", "parent_asin"]), ..USUAL },
    Declared { name: "retailrocket", shape: Header(&["timestamp", "visitorid", "event", "itemid"]), ..USUAL },
    Declared { name: "tianchi", shape: Header(&["user_id", "item_id", "behavior_type", "user_geohash", "time"]), ..USUAL },
    Declared { name: "kuairec", shape: Header(&["user_id", "video_id", "timestamp", "watch_ratio"]), ..USUAL },
    Declared { name: "delimited", shape: Header(&[]), ..USUAL },

    Declared { name: "movielens", shape: Fields(Dialect::COLONS, &[("user", Any), ("item", Any), ("rating", Any), ("timestamp", Number)]), ..USUAL },
    Declared { name: "movielens", shape: Fields(TABS, &[("user", Number), ("item", Number), ("rating", Number), ("timestamp", Number)]), ..USUAL },
    Declared { name: "amazon", shape: Fields(COMMAS, &[("user", Reviewer), ("item", Asin), ("rating", Number), ("timestamp", Number)]), ..USUAL },
    Declared { name: "amazon", shape: Fields(COMMAS, &[("item", Asin), ("user", Reviewer), ("rating", Number), ("timestamp", Number)]), ..USUAL },
    Declared { name: "taobao", shape: Fields(COMMAS, &[("user", Digits), ("item", Digits), ("category", Digits), ("behaviour", OneOf(&["pv", "fav", "cart", "buy"])), ("timestamp", Number)]), ..USUAL },
    Declared { name: "yoochoose", shape: Fields(COMMAS, &[("session", Digits), ("timestamp", Date), ("item", Digits), ("category", Any)]), ..USUAL },
    Declared { name: "yoochoose", shape: Fields(COMMAS, &[("session", Digits), ("timestamp", Date), ("item", Digits), ("price", Number), ("quantity", Number)]), ..USUAL },
    Declared { name: "gowalla", shape: Fields(TABS, &[("user", Digits), ("time", Date), ("latitude", Number), ("longitude", Number), ("item", Any)]), ..USUAL },
    Declared { name: "foursquare", shape: Fields(TABS, &[("user", Digits), ("item", Hex(24)), ("category", Any), ("category name", Any), ("latitude", Number), ("longitude", Number), ("zone", Number), ("time", Any)]), latin1: true, ..USUAL },
    Declared { name: "foursquare", shape: Fields(TABS, &[("user", Digits), ("item", Hex(24)), ("time", Any), ("zone", Number)]), ..USUAL },
    Declared { name: "lastfm1k", shape: Fields(TABS, &[("user", Any), ("time", Date), ("item", Any), ("artist", Any), ("track id", Any), ("track", Any)]), ..USUAL },
    Declared { name: "lastfm360k", shape: Fields(TABS, &[("user", Hex(40)), ("item", Any), ("artist", Any), ("plays", Number)]), ..USUAL },
    Declared { name: "steam200k", shape: Fields(COMMAS, &[("user", Digits), ("item", Any), ("behaviour", OneOf(&["purchase", "play"])), ("hours", Number), ("zero", Number)]), ..USUAL },
    Declared { name: "twitch", shape: Fields(COMMAS, &[("user", Digits), ("stream", Digits), ("item", Any), ("time", Digits), ("stop", Digits)]), by_name: true, ..USUAL },

    Declared { name: "netflix", shape: Shape::Netflix, ..USUAL },
    Declared { name: "mind", shape: Shape::Mind, ..USUAL },
    Declared { name: "pairs", shape: Shape::Pairs, ..USUAL },
    Declared { name: "sequences", shape: Shape::Sequences, ..USUAL },
];

static FORMATS: LazyLock<Vec<Format>> = LazyLock::new(|| {
    let mut seen = HashSet::new();
    DECLARED.iter().map(|declared| Format(declared.name)).filter(|format| seen.insert(*format)).collect()
});

impl Format {
    pub const DELIMITED: Format = Format("delimited");
    pub const JSON: Format = Format("json");
    pub const MOVIELENS: Format = Format("movielens");
    pub const PARQUET: Format = Format("parquet");

    /// All formats.
    pub fn all() -> &'static [Format] {
        &FORMATS
    }

    pub fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Format, D::Error> {
        let name = String::deserialize(deserializer)?;
        Format::all().iter().copied().find(|format| format.0 == name).ok_or_else(|| {
            let all: Vec<&str> = Format::all().iter().map(|format| format.0).collect();
            serde::de::Error::custom(format!("found {name:?}; expected one of {}", all.join(", ")))
        })
    }
}

impl schemars::JsonSchema for Format {
    fn schema_name() -> Cow<'static, str> {
        "Format".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let names: Vec<&str> = Format::all().iter().map(|format| format.0).collect();
        schemars::json_schema!({ "type": "string", "enum": names })
    }
}

/// The first lines of a text file.
pub(crate) struct Head {
    pub first: Vec<u8>,
    pub others: Vec<Vec<u8>>,
}

/// The format that a layout goes by.
pub(crate) fn name(declared: &Declared) -> Format {
    Format(declared.name)
}

impl Head {
    /// What is looked at of the first line of a table.
    fn start(&self) -> &[u8] {
        &self.first[..self.first.len().min(1 << 16)]
    }
}

/// The declarations of `format`.
pub(crate) fn of(format: Format) -> impl Iterator<Item = &'static Declared> {
    DECLARED.iter().filter(move |declared| declared.name == format.0)
}

/// The first declaration of `format`, or of any, that a file with this head keeps to.
pub(crate) fn recognise(head: &Head, format: Option<Format>) -> Option<&'static Declared> {
    let json = json::Keys::of(&head.first);
    let asked = |declared: &&Declared| match format {
        Some(format) => declared.name == format.0,
        None => !declared.by_name,
    };
    DECLARED.iter().filter(asked).find(|declared| declared.is_kept_to_by(head, json.as_ref()))
}

impl Declared {
    fn is_kept_to_by(&self, head: &Head, json: Option<&json::Keys>) -> bool {
        let start = head.start();
        match self.shape {
            Json(keys) => json.is_some_and(|found| found.have(keys)),
            _ if json.is_some() => false,
            Header(columns) => {
                let header = Dialect::of_header(start).map(|dialect| dialect.fields_of(start));
                header.is_some_and(|header| match columns {
                    [] => Role::User.find(&header).is_some() && Role::Item.find(&header).is_some(),
                    columns => columns.iter().all(|column| header.iter().any(|name| name == column)),
                })
            }
            Fields(dialect, cells) => {
                let fields = dialect.fields_of(start);
                fields.len() == cells.len() && fields.iter().zip(cells).all(|(field, (_, cell))| cell.fits(field))
            }
            Shape::Atomic => atomic::types(start).is_some(),
            Shape::Benchmark => atomic::types(start).is_some_and(|names| names.contains(&"item_id_list")),
            Shape::Sequences => words(start).is_some_and(|words| words.len() >= 2),
            Shape::Pairs => are_pairs(head),
            Shape::Netflix => netflix::is_movie(start).is_some(),
            Shape::Mind => mind::is_impression(start),
            Shape::Parquet => false,
        }
    }
}

impl Cell {
    fn fits(self, field: &str) -> bool {
        let capitals = || field.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
        match self {
            Any => true,
            Number => field.parse::<f64>().is_ok(),
            Digits => !field.is_empty() && field.bytes().all(|b| b.is_ascii_digit()),
            Date => {
                let shape = |(at, b): (usize, u8)| if matches!(at, 4 | 7) { b == b'-' } else { b.is_ascii_digit() };
                field.len() >= 10 && field.bytes().enumerate().take(10).all(shape)
            }
            Hex(digits) => field.len() == digits && field.bytes().all(|b| b.is_ascii_hexdigit()),
            OneOf(words) => words.contains(&field),
            Asin => field.len() == 10 && capitals(),
            Reviewer => field.len() >= 8 && field.starts_with('A') && capitals(),
        }
    }
}

/// The words of a line of numbers.
fn words(line: &[u8]) -> Option<Vec<&[u8]>> {
    let numeric = line.iter().all(|b| b.is_ascii_digit() || matches!(b, b' ' | b'\t'));
    numeric.then(|| line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect())
}

/// Whether each line is a user and an item, and a user comes twice: on lines of sequences each comes once.
fn are_pairs(head: &Head) -> bool {
    let mut users = HashSet::new();
    let mut twice = false;
    for line in std::iter::once(&head.first).chain(&head.others).filter(|line| !line.is_empty()) {
        match words(line).as_deref() {
            Some(&[user, _]) => twice |= !users.insert(user),
            _ => return false,
        }
    }
    twice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_for_people_has_every_format_and_every_name_of_a_column() {
        let page = include_str!("../../../docs/formats.md");
        for format in Format::all() {
            let row = if DECLARED.iter().any(|declared| declared.name == format.0 && !declared.by_name) {
                page.contains(&format!("\n| `{format}` |"))
            } else {
                page.contains(&format!("--format {format}`"))
            };
            assert!(row, "{format} is not in docs/formats.md");
        }
        for role in Role::ALL {
            let names = role.usual().join(", ");
            assert!(page.contains(&format!("| {} | {names}", role.name())), "{}: {names}", role.name());
        }
    }

    #[test]
    fn names() {
        assert_eq!(serde_json::to_string(&Format::PARQUET).unwrap(), "\"parquet\"");
        assert_eq!(serde_json::from_str::<Format>("\"yelp\"").unwrap().name(), "yelp");
        assert!(serde_json::from_str::<Format>("\"yalp\"").unwrap_err().to_string().contains("found \"yalp\""));
    }
}
