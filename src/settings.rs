//! Schemas of settings, made from their Rust types, and the check of a value against its schema.
//!
//! A setting is a field: its documentation, default, range and, where it has them, unit and equation are there and nowhere
//! else. Errors, `wgrec models`, docs/settings.md and the JSON schema for editors are made from it.

use crate::error::nearest;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

/// A JSON schema (draft 2020-12) without references.
pub type Schema = Value;

/// The schema of the settings in `T`.
pub fn schema_of<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>().to_value();
    // A type without settings is a section too.
    schema.as_object_mut().expect("a schema is an object").entry("properties").or_insert(json!({}));
    schema
}

/// Plain data as a type serialises it: what is not given is left out of TOML, which has no null.
pub struct Given<'a>(pub &'a Value);

impl Serialize for Given<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Null => serializer.serialize_none(),
            Value::Object(fields) => serializer.collect_map(fields.iter().map(|(key, value)| (key, Given(value)))),
            other => other.serialize(serializer),
        }
    }
}

/// The schema of the setting or section with a dotted `key`.
pub fn find<'a>(schema: &'a Schema, key: &str) -> Option<&'a Schema> {
    let named = |section: &'a Schema, name: &str| section.get("properties").and_then(|all| all.get(name));
    key.split('.').try_fold(schema, |section, name| named(section, name).or_else(|| any_name(section)))
}

/// As [`find`], to change it.
pub fn find_mut<'a>(schema: &'a mut Schema, key: &str) -> Option<&'a mut Schema> {
    key.split('.').try_fold(schema, |section, name| section.get_mut("properties")?.get_mut(name))
}

/// Changes a schema and every section in it.
pub fn sections_mut(schema: &mut Schema, change: &impl Fn(&mut Map<String, Value>)) {
    let Some(section) = schema.as_object_mut().filter(|section| section.contains_key("properties")) else { return };
    change(section);
    section["properties"].as_object_mut().into_iter().flatten().for_each(|(_, inner)| sections_mut(inner, change));
}

/// Whether a schema is that of a section, not of a setting.
pub fn is_section(schema: &Schema) -> bool {
    schema.get("properties").is_some() || any_name(schema).is_some()
}

/// In a section of sections by any name, the schema of each.
fn any_name(schema: &Schema) -> Option<&Schema> {
    schema.get("additionalProperties").filter(|inner| inner.is_object())
}

/// The settings of a schema, by dotted keys, in order.
pub fn leaves(schema: &Schema) -> Vec<(String, &Schema)> {
    fn walk<'a>(prefix: &str, schema: &'a Schema, out: &mut Vec<(String, &'a Schema)>) {
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            match is_section(inner) {
                true => walk(&format!("{prefix}{name}."), inner, out),
                false => out.push((format!("{prefix}{name}"), inner)),
            }
        }
    }
    let mut out = vec![];
    walk("", schema, &mut out);
    out
}

/// What is wrong with the value of a setting, as "found ..; expected ..". What a schema cannot say of a value (a metric, a
/// protocol) is left to the type that reads it.
pub fn check(schema: &Schema, value: &Value) -> Result<(), String> {
    let meant = |word: &str| nearest(word, words(schema)).map(|meant| format!("; did you mean {meant}?"));
    let wrong = || {
        let meant = value.as_str().and_then(meant).unwrap_or_default();
        Err(format!("found {}; expected {}{meant}", found(schema, value), expected(schema)))
    };
    if let Some(parts) = alternatives(schema) {
        // A table, or what has a reader of its own, is for that reader.
        let decided = parts.iter().all(|part| !words(part).is_empty() || is_type(part, "null") || is_plain(part));
        return if !decided || parts.iter().any(|part| check(part, value).is_ok()) { Ok(()) } else { wrong() };
    }
    if let Some(word) = schema.get("const") {
        return if word == value { Ok(()) } else { wrong() };
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return if words.contains(value) { Ok(()) } else { wrong() };
    }
    let typed = match value {
        Value::Null => is_type(schema, "null"),
        Value::Bool(_) => is_type(schema, "boolean"),
        Value::Number(n) => is_type(schema, "number") || is_type(schema, "integer") && !n.is_f64(),
        Value::String(_) => is_type(schema, "string"),
        Value::Array(_) => is_type(schema, "array"),
        Value::Object(_) => is_type(schema, "object"),
    };
    if schema.get("type").is_some() && !typed {
        return wrong();
    }
    let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
    let Some(x) = value.as_f64() else { return Ok(()) };
    if schema.get("format").is_some_and(|format| format == "float") && !(x as f32).is_finite() {
        return Err(format!("found {}; expected a number that fits in 32 bits", found(schema, value)));
    }
    let inside = bound("minimum").is_none_or(|least| x >= least)
        && bound("exclusiveMinimum").is_none_or(|least| x > least)
        && bound("maximum").is_none_or(|most| x <= most)
        && bound("exclusiveMaximum").is_none_or(|most| x < most);
    if inside { Ok(()) } else { wrong() }
}

fn alternatives(schema: &Schema) -> Option<&Vec<Value>> {
    schema.get("anyOf").or(schema.get("oneOf")).and_then(Value::as_array)
}

fn is_type(schema: &Schema, name: &str) -> bool {
    match schema.get("type") {
        Some(Value::String(only)) => only == name,
        Some(Value::Array(several)) => several.iter().any(|one| one == name),
        _ => false,
    }
}

/// Whether a value is a number or a truth value.
fn is_plain(schema: &Schema) -> bool {
    ["number", "integer", "boolean"].iter().any(|name| is_type(schema, name))
}

/// The words that a setting can be, each with its schema.
pub fn described(schema: &Schema) -> Vec<(&str, &Schema)> {
    let own = schema.get("const").and_then(Value::as_str).map(|word| (word, schema));
    own.into_iter().chain(alternatives(schema).into_iter().flatten().flat_map(described)).collect()
}

/// The words that a setting can be; none where it is something else.
pub fn words(schema: &Schema) -> Vec<&str> {
    described_words(schema).into_iter().map(|(word, _)| word).collect()
}

/// The same, each with its meaning where it has one.
pub fn described_words(schema: &Schema) -> Vec<(&str, Option<&str>)> {
    let meaning = schema.get("description").and_then(Value::as_str);
    let own = schema.get("const").and_then(Value::as_str).map(|word| (word, meaning));
    let listed = schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let inner = alternatives(schema).into_iter().flatten().flat_map(described_words);
    own.into_iter().chain(listed.map(|word| (word, None))).chain(inner).collect()
}

fn found(schema: &Schema, value: &Value) -> String {
    match value {
        // What is too large for a number of TOML was read as a word.
        Value::String(digits) if is_type(schema, "integer") && is_long_number(digits) => digits.clone(),
        Value::Number(n) if n.is_f64() => format!("{:?}", n.as_f64().unwrap_or_default()),
        other => other.to_string(),
    }
}

fn is_long_number(text: &str) -> bool {
    text.len() >= 19 && text.bytes().all(|b| b.is_ascii_digit())
}

/// What a setting can be, in words.
pub fn expected(schema: &Schema) -> String {
    let words = words(schema);
    if let [first @ .., last] = &words[..] {
        let optional = if first.is_empty() { String::new() } else { format!("{} or ", first.join(", ")) };
        return format!("{optional}{last}");
    }
    if let Some(part) = alternatives(schema).and_then(|parts| parts.iter().find(|part| !is_type(part, "null"))) {
        return expected(part);
    }
    let name = match schema {
        _ if is_type(schema, "boolean") => return "true or false".to_string(),
        _ if is_type(schema, "integer") => "a whole number",
        _ if is_type(schema, "number") => "a number",
        _ if is_type(schema, "array") => return "a list".to_string(),
        _ if is_type(schema, "object") => return "a table of settings".to_string(),
        _ => return "text".to_string(),
    };
    let bound = |name: &str| schema.get(name).map(number);
    let least =
        bound("minimum").map(|n| format!("at least {n}")).or(bound("exclusiveMinimum").map(|n| format!("above {n}")));
    let most =
        bound("maximum").map(|n| format!("at most {n}")).or(bound("exclusiveMaximum").map(|n| format!("below {n}")));
    let bounds: Vec<String> = [least, most].into_iter().flatten().collect();
    if bounds.is_empty() { name.to_string() } else { format!("{name} {}", join_bounds(&bounds)) }
}

fn join_bounds(bounds: &[String]) -> String {
    let text = bounds.join(" and ");
    if text.starts_with("above") || text.starts_with("below") { text } else { format!("of {text}") }
}

/// A bound as people write it: 0 and not 0.0.
fn number(bound: &Value) -> String {
    match bound.as_f64().filter(|_| !bound.is_u64()) {
        Some(x) if x.fract() == 0.0 && x.abs() < 1e15 => format!("{x:.0}"),
        Some(x) => x.to_string(),
        None => bound.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Settings of every kind.
    #[derive(serde::Serialize, schemars::JsonSchema)]
    #[allow(dead_code)]
    struct Example {
        /// A width.
        #[schemars(range(min = 1, max = 8))]
        dim: usize,
        /// A share.
        #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
        share: f64,
        limit: Option<u64>,
        kind: Kind,
        maybe: Option<Kind>,
        on: bool,
        names: Vec<String>,
    }

    #[derive(serde::Serialize, schemars::JsonSchema)]
    #[serde(rename_all = "lowercase")]
    #[allow(dead_code)]
    enum Kind {
        /// One.
        One,
        /// Two.
        Two,
    }

    #[test]
    fn a_wrong_value_is_told_what_is_expected() {
        let schema = schema_of::<Example>();
        for (key, value, problem) in [
            ("dim", json!(0), "found 0; expected a whole number of at least 1 and at most 8"),
            ("dim", json!(9), "found 9; expected a whole number of at least 1 and at most 8"),
            ("dim", json!(1.5), "found 1.5; expected a whole number"),
            ("dim", json!("many"), "found \"many\"; expected a whole number"),
            ("share", json!(1.0), "found 1.0; expected a number of at least 0 and below 1"),
            ("share", json!(true), "found true; expected a number"),
            ("limit", json!(-1), "found -1; expected a whole number of at least 0"),
            ("limit", json!("9223372036854775808"), "found 9223372036854775808; expected a whole number"),
            ("kind", json!("three"), "found \"three\"; expected one or two"),
            ("maybe", json!("three"), "found \"three\"; expected one or two"),
            ("maybe", json!(3), "found 3; expected one or two"),
            ("on", json!(1), "found 1; expected true or false"),
            ("names", json!("a"), "found \"a\"; expected a list"),
        ] {
            let error = check(find(&schema, key).unwrap(), &value).expect_err(key);
            assert!(error.contains(problem), "{key}: {error}");
        }
        for (key, value) in [
            ("dim", json!(8)),
            ("share", json!(0)),
            ("limit", json!(null)),
            ("kind", json!("two")),
            ("maybe", json!(null)),
            ("maybe", json!("one")),
            ("names", json!(["a"])),
        ] {
            assert_eq!(check(find(&schema, key).unwrap(), &value), Ok(()), "{key}");
        }
        assert_eq!(find(&schema, "dims"), None);
        assert_eq!(leaves(&schema).len(), 7);
    }
}
