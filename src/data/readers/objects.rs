//! JSON lines (and Python literals) as rows of cells.

use super::cell::Cell;
use super::json::{names, pick_into, place, syntax};
use super::python;
use super::text::{Text, at, show};
use crate::error::Result;
use serde_json::Value;
use std::path::Path;

/// Longer lists describe no item.
const LONGEST_LIST: usize = 1 << 20;

/// Objects from the beginning of a file whose keys count.
const FIRST: usize = 1000;

/// The keys of the first objects, in the order of their first appearance.
pub(crate) fn keys(path: &Path) -> Result<Vec<String>> {
    let (mut text, mut line, mut json) = (Text::open(path)?, vec![], vec![]);
    let mut keys: Vec<String> = vec![];
    for _ in 0..FIRST {
        if !text.next(&mut line)? {
            break;
        }
        let object = names(as_json(&line, &mut json).unwrap_or(&line), |_, _| {}).unwrap_or_default();
        let new: Vec<String> = object.into_iter().filter(|key| !keys.contains(key)).collect();
        keys.extend(new);
    }
    match keys.is_empty() {
        true => Err(text.wrong(show(&line), "a JSON object a line, with keys".to_string())),
        false => Ok(keys),
    }
}

/// Calls `take` with the line of each object and the values of `keys` as cells.
pub(crate) fn each(path: &Path, keys: &[&str], mut take: impl FnMut(u64, &[Cell]) -> Result<()>) -> Result<()> {
    let (mut text, mut line, mut json) = (Text::open(path)?, vec![], vec![]);
    let wanted: Vec<Option<&str>> = keys.iter().map(|key| Some(*key)).collect();
    while text.next(&mut line)? {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let object = as_json(&line, &mut json).unwrap_or(&line);
        let wrong = |e: serde_json::Error| {
            let field = place(object, &e);
            at(path, text.line)(Some(field.column), show(field.text), syntax(&e))
        };
        let mut values = vec![None; keys.len()];
        pick_into(object, &wanted, &mut values).map_err(wrong)?;
        let cells = values.into_iter().zip(keys).map(|(value, key)| {
            let wrong =
                |found: String| at(path, text.line)(None, found, format!("a text, a number or a short list as {key}"));
            match value.map(|value| value.get()) {
                None => Ok(Cell::Missing),
                Some(list) if list.starts_with('[') && list.len() > LONGEST_LIST => Err(wrong(show(list.as_bytes()))),
                Some(json) => cell(json).map_err(|e| wrong(e.to_string())),
            }
        });
        take(text.line, &cells.collect::<Result<Vec<_>>>()?)?;
    }
    Ok(())
}

/// A line that is no JSON, if it is a Python literal.
fn as_json<'a>(line: &[u8], json: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok();
    let is_python = !is_json() && python::to_json(line, json).is_ok();
    is_python.then_some(json)
}

fn cell(json: &str) -> serde_json::Result<Cell> {
    Ok(match json.as_bytes()[0] {
        b'"' => Cell::Text(serde_json::from_str(json)?),
        b'-' | b'0'..=b'9' | b't' | b'f' => Cell::Text(json.to_string()),
        b'[' => {
            let mut texts = vec![];
            flatten(serde_json::from_str(json)?, &mut texts);
            Cell::List(texts)
        }
        _ => Cell::Missing,
    })
}

/// The texts and numbers in a list and the lists in it.
fn flatten(value: Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text),
        Value::Number(number) => texts.push(number.to_string()),
        Value::Array(values) => values.into_iter().for_each(|value| flatten(value, texts)),
        _ => {}
    }
}
