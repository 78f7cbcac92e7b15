//! Which events fit a task: those of a behaviour, or of a rating.

use crate::data::dataset::Dataset;
use crate::error::nearest;
use serde::{Deserialize, Serialize};

/// Which events fit. Written as nothing (all), as a behaviour (`buy`), or as a comparison of an event's value (`rating >= 4`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Condition {
    #[default]
    All,
    Behaviour(String),
    Value(Relation, f32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
}

/// What the value of an event is called.
const VALUES: [&str; 2] = ["rating", "value"];

impl Relation {
    /// Longer ones first.
    const ALL: [(&'static str, Relation); 7] = [
        (">=", Relation::AtLeast),
        ("<=", Relation::AtMost),
        ("!=", Relation::NotEqual),
        ("==", Relation::Equal),
        ("=", Relation::Equal),
        (">", Relation::More),
        ("<", Relation::Less),
    ];

    fn holds(self, a: f32, b: f32) -> bool {
        match self {
            Relation::Equal => a == b,
            Relation::NotEqual => a != b,
            Relation::Less => a < b,
            Relation::AtMost => a <= b,
            Relation::More => a > b,
            Relation::AtLeast => a >= b,
        }
    }
}

impl TryFrom<String> for Condition {
    type Error = String;

    fn try_from(text: String) -> Result<Condition, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Condition::All);
        }
        let found = Relation::ALL.iter().find_map(|&(sign, relation)| Some((relation, text.split_once(sign)?)));
        let Some((relation, (column, number))) = found else { return Ok(Condition::Behaviour(text.to_string())) };
        let (column, number) = (column.trim(), number.trim());
        if !VALUES.contains(&column) {
            let meant = nearest(column, VALUES).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            return Err(format!("found the column {column:?} in {text:?}; expected rating{meant}"));
        }
        match number.parse::<f32>() {
            Ok(number) if number.is_finite() => Ok(Condition::Value(relation, number)),
            _ => Err(format!("found {number:?} in {text:?}; expected a number, as in rating >= 4")),
        }
    }
}

impl From<Condition> for String {
    fn from(condition: Condition) -> String {
        match condition {
            Condition::All => String::new(),
            Condition::Behaviour(name) => name,
            Condition::Value(relation, number) => {
                let sign = Relation::ALL.iter().rev().find(|(_, of)| *of == relation).expect("all are listed").0;
                format!("rating {sign} {number}")
            }
        }
    }
}

/// A condition on the events of a data set.
pub(super) struct Test<'a> {
    data: &'a Dataset,
    of: Of,
}

enum Of {
    All,
    Behaviour(u8),
    Value(Relation, f32),
}

impl Condition {
    /// # Errors
    /// A behaviour that the data do not have, with the nearest; a value where the events have none.
    pub(super) fn test<'a>(&self, data: &'a Dataset) -> Result<Test<'a>, String> {
        let of = match self {
            Condition::All => Of::All,
            Condition::Behaviour(name) => {
                let names = data.behaviour_names();
                let found = names.iter().position(|own| own == name);
                Of::Behaviour(found.ok_or_else(|| {
                    let there = match names {
                        [] => "a comparison, as in rating >= 4: the events have no behaviours in use".to_string(),
                        _ => format!("one of {}", names.join(", ")),
                    };
                    let meant = nearest(name, names.iter().map(String::as_str)).map(|n| format!("; did you mean {n}?"));
                    format!("found {name:?}; expected {there}{}", meant.unwrap_or_default())
                })? as u8)
            }
            &Condition::Value(relation, number) => {
                if data.users() > 0 && data.values(0).is_none() {
                    return Err(format!(
                        "found {:?}, but the events of the data have no rating",
                        String::from(self.clone())
                    ));
                }
                Of::Value(relation, number)
            }
        };
        Ok(Test { data, of })
    }
}

impl Test<'_> {
    pub fn fits(&self, user: u32, position: usize) -> bool {
        match self.of {
            Of::All => true,
            Of::Behaviour(behaviour) => self.data.behaviours(user).is_some_and(|own| own[position] == behaviour),
            Of::Value(relation, number) => {
                self.data.values(user).is_some_and(|own| relation.holds(own[position], number))
            }
        }
    }
}
