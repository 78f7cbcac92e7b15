//! What clients ask and are told, as JSON.

use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::marker::PhantomData;

/// The id of a user or an item: a text, or a whole number in place of its digits
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Id {
    Text(String),
    Number(i128),
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Id, D::Error> {
        struct OfId;
        impl Visitor<'_> for OfId {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a whole number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                Ok(Id::Text(text.to_string()))
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Id, E> {
                Ok(Id::Number(number.into()))
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Id, E> {
                Ok(Id::Number(number.into()))
            }
        }
        from.deserialize_any(OfId)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Id::Text(text) => f.write_str(text),
            Id::Number(number) => write!(f, "{number}"),
        }
    }
}

/// What comes as an object, and not as the list of its values, which serde takes too.
#[derive(Clone, Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object<T>, D::Error> {
        struct OfObject<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OfObject<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        from.deserialize_map(OfObject(PhantomData))
    }
}

/// Whom to recommend to, and how many items
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// A user of the run's data, whose whole history is read
    #[serde(default)]
    pub user: Option<Id>,
    /// Items, oldest first: the whole history of someone who need not be known, or what a known user did since
    #[serde(default)]
    pub history: Vec<Id>,
    /// The behaviour of each item of the history, where the model reads them
    #[serde(default)]
    pub behaviours: Vec<String>,
    /// Items to recommend
    #[serde(default = "ten")]
    pub k: usize,
    /// Items that are not recommended
    #[serde(default)]
    pub exclude: Vec<Id>,
    /// Recommend items of the history too
    #[serde(default)]
    pub unmasked: bool,
}

fn ten() -> usize {
    10
}

/// Several requests, which are answered together
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Requests {
    #[schemars(with = "Vec<Request>")]
    pub requests: Vec<Object<Request>>,
}

/// Recommended items
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Answer {
    /// Best first; fewer than asked for where fewer are left
    pub items: Vec<Recommended>,
    /// Items of the history that the run does not know, which are left out of it
    pub unknown: Vec<String>,
}

/// A recommended item
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Recommended {
    pub item: String,
    pub score: f32,
    /// Where the data describe their items
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

/// The answers to several requests, in their order
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Answers {
    pub answers: Vec<Answer>,
}

/// Why a request is not answered
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Refused {
    /// What was found, and what is expected
    pub error: String,
}

/// A refusal and its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub StatusCode, pub String);

impl Refusal {
    pub fn wrong(why: impl Into<String>) -> Refusal {
        Refusal(StatusCode::UNPROCESSABLE_ENTITY, why.into())
    }

    /// The same about request number `at` of several.
    pub fn of(self, at: usize) -> Refusal {
        Refusal(self.0, format!("requests[{at}]: {}", self.1))
    }
}

/// How much a request may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub k: usize,
    /// Items of a history, and items that are excluded.
    pub items: usize,
}
