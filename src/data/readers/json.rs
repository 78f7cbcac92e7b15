//! JSON lines: an object a line, of an interaction, or of a user with a list of them. Python literals are read as JSON.
//!
//! Only the fields that are asked for are built: a text, a list, or a number of any size next to them costs no memory.

use super::builder::{Builder, Field, Row};
use super::columns::{Columns, Layout};
use super::fields::MOST_FIELDS;
use super::python;
use super::role::Role;
use super::text::{Text, at, show};
use crate::error::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// Objects from the beginning of a file whose keys are looked at.
const FIRST: usize = 1000;

/// The keys of the first object.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Keys {
    own: Vec<String>,
    /// A key with a list of objects, and their keys.
    list: Option<(String, Vec<String>)>,
    /// The line is a Python literal.
    python: bool,
}

impl Keys {
    /// None for what is no object.
    pub fn of(line: &[u8]) -> Option<Keys> {
        if !line.trim_ascii_start().starts_with(b"{") {
            return None;
        }
        Keys::of_json(line).or_else(|| {
            let mut json = vec![];
            python::to_json(line, &mut json).ok()?;
            Some(Keys { python: true, ..Keys::of_json(&json)? })
        })
    }

    fn of_json(json: &[u8]) -> Option<Keys> {
        let mut list = None;
        let own = names(json, |name, value| {
            if list.is_some() || !value.get().starts_with('[') {
                return;
            }
            let mut first = None;
            let _ = each(value, |element| {
                first.get_or_insert_with(|| names(element.get().as_bytes(), |_, _| {}));
            });
            let inner = first.flatten().filter(|inner| Role::Item.find(inner).is_some());
            list = inner.map(|inner| (name.to_string(), inner));
        })?;
        Some(Keys { own, list, python: false })
    }

    /// These keys and those of other objects from the beginning of the file: a rating or a time that the first object lacks is
    /// still one of the file.
    fn with_others(mut self, path: &Path) -> Result<Keys> {
        let (mut text, mut line) = (Text::open(path)?, vec![]);
        for _ in 0..FIRST {
            if !text.next(&mut line)? {
                break;
            }
            let Some(other) = Keys::of(&line) else { continue };
            let add = |all: &mut Vec<String>, more: Vec<String>| {
                let new: Vec<String> = more.into_iter().filter(|key| !all.contains(key)).collect();
                all.extend(new);
            };
            add(&mut self.own, other.own);
            match (&mut self.list, other.list) {
                (Some((name, inner)), Some((other, more))) if *name == other => add(inner, more),
                _ => {}
            }
        }
        Ok(self)
    }

    /// Whether there are all of `keys`, or, where those are none, those of a user and an item.
    pub fn have(&self, keys: &[&str]) -> bool {
        let inner = self.list.as_ref().map_or(&[][..], |(_, inner)| inner);
        match keys {
            [] => {
                let item = Role::Item.find(&self.own).or(Role::Item.find(inner));
                Role::User.find(&self.own).is_some() && item.is_some()
            }
            keys => keys.iter().all(|key| self.own.iter().any(|own| own == key)),
        }
    }
}

pub(crate) fn read(path: &Path, declared: &[(Role, &str)], columns: &Columns, rows: &mut Builder) -> Result<()> {
    let mut text = Text::open(path)?;
    let (mut line, mut json) = (vec![], vec![]);
    let mut plan: Option<Plan> = None;
    while text.next(&mut line)? {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let plan = match &plan {
            Some(plan) => plan,
            None => plan.insert(Plan::of(&line, path, declared, columns, rows, at(path, text.line))?),
        };
        if !plan.python {
            plan.push(&line, text.line, rows)?;
            continue;
        }
        match python::to_json(&line, &mut json) {
            Ok(()) => plan.push(&json, text.line, rows)?,
            Err(column) => {
                let wrong = Field { text: &line, column: column as u64 + 1 };
                rows.leave_out(rows.bad(text.line, wrong, "a Python literal"))?;
            }
        }
    }
    // JSON that was cut is no JSON.
    rows.end_file(true);
    Ok(())
}

/// Keys by [`Role`].
type Wanted = [Option<String>; 5];

/// Which keys are read: of each object, and of the objects in a list of it, if there is one.
struct Plan {
    own: Wanted,
    list: Option<(String, Wanted)>,
    python: bool,
}

impl Plan {
    /// Chooses the keys by the first objects; `line` is the first of them.
    fn of(
        line: &[u8],
        path: &Path,
        declared: &[(Role, &str)],
        columns: &Columns,
        rows: &mut Builder,
        wrong: impl Fn(Option<u64>, String, String) -> Error,
    ) -> Result<Plan> {
        let Some(keys) = Keys::of(line) else {
            let (column, expected) = match serde_json::from_slice::<IgnoredAny>(line) {
                Err(e) if e.is_eof() => (Some(e.column() as u64), "a whole JSON object (is the line cut?)"),
                _ => (None, "a JSON object or a Python literal a line"),
            };
            return Err(wrong(column, show(line), expected.to_string()));
        };
        let Keys { own, list, python } = keys.with_others(path)?;
        let list = list.filter(|_| Role::Item.find(&own).is_none());
        let (list, inner) = list.unzip();
        let inner = inner.unwrap_or_default();
        // A key that both have is the event's.
        let all: Vec<String> = own.into_iter().filter(|key| !inner.contains(key)).chain(inner.clone()).collect();
        let layout = Layout::of(&all, columns, declared, rows, wrong)?;
        rows.note_columns(layout.describe(&all));
        let key = |role| layout.index(role).map(|index| all[index].clone());
        let inner_keys = Role::ALL.map(|role| key(role).filter(|key| inner.contains(key)));
        let own = Role::ALL.map(|role| key(role).filter(|key| !inner.contains(key)));
        Ok(Plan { own, list: list.map(|list| (list, inner_keys)), python })
    }

    /// Adds the rows of an object.
    fn push(&self, object: &[u8], line: u64, rows: &mut Builder) -> Result<()> {
        let [user, item, value, time, behaviour] = self.own.each_ref().map(|key| key.as_deref());
        let list = self.list.as_ref().map(|(key, _)| key.as_str());
        let [user, item, value, time, behaviour, events] =
            match pick(object, [user, item, value, time, behaviour, list]) {
                Ok(values) => values,
                Err(e) => return rows.leave_out(rows.bad(line, place(object, &e), syntax(&e))),
            };
        let own = match texts(&self.own, [user, item, value, time, behaviour]) {
            Ok(own) => own,
            Err(expected) => return rows.leave_out(rows.bad(line, Field { text: object, column: 0 }, expected)),
        };
        let Some((list, inner)) = &self.list else { return rows.push(&row(line, &own, &Texts::default())) };
        let Some(events) = events else {
            let whole = Field { text: object, column: 0 };
            return rows.leave_out(rows.bad(line, whole, format!("an object with the list {list}")));
        };
        let mut done = Ok(());
        let read = each(events, |event| {
            if done.is_err() {
                return;
            }
            let bytes = event.get().as_bytes();
            let picked = pick(bytes, inner.each_ref().map(|key| key.as_deref()));
            let texts = picked.map_err(|e| syntax(&e)).and_then(|values| texts(inner, values));
            done = match texts {
                Ok(texts) => rows.push(&row(line, &own, &texts)),
                Err(expected) => rows.leave_out(rows.bad(line, Field { text: bytes, column: 0 }, expected)),
            };
        });
        done?;
        match read {
            Ok(()) => Ok(()),
            Err(_) => {
                let found = Field { text: events.get().as_bytes(), column: 0 };
                rows.leave_out(rows.bad(line, found, format!("a list of objects as {list}")))
            }
        }
    }
}

/// Where an object is no JSON.
pub(super) fn place<'a>(object: &'a [u8], e: &serde_json::Error) -> Field<'a> {
    Field { text: object, column: e.column().max(1) as u64 }
}

/// What was expected instead.
pub(super) fn syntax(e: &serde_json::Error) -> String {
    match e.is_eof() {
        true => "a whole JSON object (is the line cut?)".to_string(),
        false => format!("a JSON object ({e})"),
    }
}

/// Values as texts, by [`Role`].
type Texts<'a> = [Option<Cow<'a, str>>; 5];

/// The texts of the values of `keys`. The error says what was expected.
fn texts<'a>(keys: &Wanted, values: [Option<&'a RawValue>; 5]) -> Result<Texts<'a>, String> {
    let mut texts = Texts::default();
    for (((key, value), text), role) in keys.iter().zip(values).zip(&mut texts).zip(Role::ALL) {
        let Some(key) = key else { continue };
        let without = match role {
            Role::Value => " (--no-rating reads none)",
            Role::Time => " (--no-time reads none)",
            _ => "",
        };
        let raw = value.ok_or_else(|| format!("an object with the field {key}{without}"))?.get();
        *text = Some(match raw.as_bytes()[0] {
            b'"' if !raw.contains('\\') => Cow::Borrowed(&raw[1..raw.len() - 1]),
            b'"' => Cow::Owned(serde_json::from_str(raw).map_err(|e| format!("a text as {key} ({e})"))?),
            b'-' | b'0'..=b'9' | b'n' => Cow::Borrowed(raw),
            _ => return Err(format!("a number or a text as {key}")),
        });
    }
    Ok(texts)
}

/// A row of an event's texts, and those of the object that it is listed in.
fn row<'a>(line: u64, own: &'a Texts, event: &'a Texts) -> Row<'a> {
    let field = |role: Role| {
        let text = event[role as usize].as_ref().or(own[role as usize].as_ref())?;
        Some(Field { text: text.as_bytes(), column: 0 })
    };
    let (Some(user), Some(item)) = (field(Role::User), field(Role::Item)) else {
        unreachable!("a layout has a user and an item column")
    };
    let [value, time, behaviour] = [Role::Value, Role::Time, Role::Behaviour].map(field);
    Row { line, user, item, value, time, offset: None, behaviour }
}

/// The keys of an object; `see` is shown each with its value.
pub(super) fn names<'a>(json: &'a [u8], see: impl FnMut(&str, &'a RawValue)) -> Option<Vec<String>> {
    struct Names<F>(F);
    impl<'de, F: FnMut(&str, &'de RawValue)> Visitor<'de> for Names<F> {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Vec<String>, A::Error> {
            let mut names: Vec<String> = vec![];
            while let Some((name, value)) = map.next_entry()? {
                if names.len() == MOST_FIELDS {
                    return Err(A::Error::custom(format!("over {MOST_FIELDS} keys")));
                }
                names.push(name);
                (self.0)(names.last().expect("one was pushed"), value);
            }
            Ok(names)
        }
    }
    let mut json = serde_json::Deserializer::from_slice(json);
    let names = json.deserialize_map(Names(see)).ok()?;
    json.end().ok()?;
    Some(names)
}

/// The values of `keys` in an object, as they are written.
fn pick<'a, const N: usize>(
    json: &'a [u8],
    keys: [Option<&str>; N],
) -> Result<[Option<&'a RawValue>; N], serde_json::Error> {
    let mut values = [None; N];
    pick_into(json, &keys, &mut values)?;
    Ok(values)
}

/// The same for any number of keys; `values` are none before.
pub(super) fn pick_into<'a>(
    json: &'a [u8],
    keys: &[Option<&str>],
    values: &mut [Option<&'a RawValue>],
) -> Result<(), serde_json::Error> {
    let mut json = serde_json::Deserializer::from_slice(json);
    json.deserialize_map(Pick(keys, values))?;
    json.end()
}

struct Pick<'k, 'v, 'de>(&'k [Option<&'k str>], &'v mut [Option<&'de RawValue>]);

impl<'de> Visitor<'de> for Pick<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Pick(keys, values) = self;
        while let Some(key) = map.next_key_seed(Key(keys))? {
            match key {
                None => drop(map.next_value::<IgnoredAny>()?),
                Some(at) if values[at].is_some() => {
                    return Err(A::Error::custom(format!("the key {:?} twice", keys[at].unwrap_or_default())));
                }
                Some(at) => values[at] = Some(map.next_value()?),
            }
        }
        Ok(())
    }
}

/// Which of the keys a key is.
struct Key<'k>(&'k [Option<&'k str>]);

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.0.iter().position(|wanted| *wanted == Some(key)))
    }
}

/// Calls `see` with each element of a list, one after the other: none is kept.
fn each<'a>(list: &'a RawValue, see: impl FnMut(&'a RawValue)) -> Result<(), serde_json::Error> {
    struct Each<F>(F);
    impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for Each<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
            while let Some(element) = list.next_element()? {
                (self.0)(element);
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_str(list.get()).deserialize_seq(Each(see))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_first_object() {
        let own = |keys: &[&str]| keys.iter().map(|key| key.to_string()).collect::<Vec<_>>();
        let flat = Keys::of(br#"{"user": 1, "item": [1, {"item": 2}], "x": {"y": [[]]}}"#).unwrap();
        assert_eq!(flat, Keys { own: own(&["user", "item", "x"]), ..Keys::default() });
        let nested = Keys::of(br#"{"session": 1, "events": [{"aid": 2, "ts": 3}]}"#).unwrap();
        assert_eq!(nested.list, Some(("events".to_string(), own(&["aid", "ts"]))));
        assert!(nested.have(&[]) && nested.have(&["events"]) && !nested.have(&["aid"]));
        assert!(Keys::of(b"{'a': u'b'}").unwrap().python);
        for none in [&b"[1]"[..], b"{", b"{\"a\": }", b"{'a'", b"7"] {
            assert_eq!(Keys::of(none), None, "{none:?}");
        }
    }
}
