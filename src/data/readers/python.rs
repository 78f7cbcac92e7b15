//! Python literals as JSON: what `print` makes of a dict, as in the Steam data sets.

/// Rewrites a literal of dicts, lists, tuples, strings, numbers, `True`, `False` and `None` as JSON in `out`. The error is the
/// position of what is something else. The reader of the JSON checks brackets and commas.
pub(crate) fn to_json(literal: &[u8], out: &mut Vec<u8>) -> Result<(), usize> {
    out.clear();
    let mut at = 0;
    while let Some(&byte) = literal.get(at) {
        match byte {
            b'\'' | b'"' => at = string(literal, at, out)?,
            b'u' | b'b' if matches!(literal.get(at + 1), Some(b'\'' | b'"')) => at = string(literal, at + 1, out)?,
            b'(' | b')' => {
                out.push(if byte == b'(' { b'[' } else { b']' });
                at += 1;
            }
            b'A'..=b'Z' | b'a'..=b'z' => {
                let rest = &literal[at..];
                let words = [("True", "true"), ("False", "false"), ("None", "null"), ("nan", "null"), ("inf", "null")];
                let (word, json) = words.iter().find(|(word, _)| rest.starts_with(word.as_bytes())).ok_or(at)?;
                out.extend_from_slice(json.as_bytes());
                at += word.len();
            }
            b'0'..=b'9' | b'-' | b'+' | b'.' => {
                let number =
                    literal[at..].iter().take_while(|b| b.is_ascii_alphanumeric() || b"-+.".contains(b)).count();
                // Python 2 writes long integers as 7L.
                let digits = literal[at..at + number].strip_suffix(b"L").unwrap_or(&literal[at..at + number]);
                out.extend_from_slice(digits);
                at += number;
            }
            b'{' | b'}' | b'[' | b']' | b':' | b',' | b' ' | b'\t' => {
                out.push(byte);
                at += 1;
            }
            _ => return Err(at),
        }
    }
    Ok(())
}

/// The string that opens at `start`; returns where it ends.
fn string(literal: &[u8], start: usize, out: &mut Vec<u8>) -> Result<usize, usize> {
    let quote = literal[start];
    let mut at = start + 1;
    out.push(b'"');
    loop {
        let byte = *literal.get(at).ok_or(start)?;
        at += 1;
        match byte {
            _ if byte == quote => {
                out.push(b'"');
                return Ok(at);
            }
            b'\\' => at = escape(literal, at, out)?,
            b'"' => out.extend_from_slice(b"\\\""),
            0..0x20 => return Err(at - 1),
            _ => out.push(byte),
        }
    }
}

/// What follows a backslash, from `at` on; returns where it ends.
fn escape(literal: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, usize> {
    let number = |from: usize, digits: usize, radix: u32| {
        let digits = std::str::from_utf8(literal.get(from..from + digits)?).ok()?;
        u32::from_str_radix(digits, radix).ok()
    };
    let escaped = *literal.get(at).ok_or(at)?;
    let next = at + 1;
    let (number, length) = match escaped {
        b'n' | b't' | b'r' | b'b' | b'f' | b'\\' | b'"' => {
            out.extend_from_slice(&[b'\\', escaped]);
            return Ok(next);
        }
        b'\'' => {
            out.push(b'\'');
            return Ok(next);
        }
        b'a' => (Some(7), 0),
        b'v' => (Some(11), 0),
        b'x' => (number(next, 2, 16), 2),
        b'u' => (number(next, 4, 16), 4),
        b'U' => (number(next, 8, 16), 8),
        b'0'..=b'7' => {
            let digits = literal[at..].iter().take(3).take_while(|b| matches!(b, b'0'..=b'7')).count();
            (number(at, digits, 8), digits - 1)
        }
        // Python leaves what is no escape as it is.
        _ => {
            out.extend_from_slice(b"\\\\");
            return Ok(at);
        }
    };
    unicode(number.ok_or(at)?, out).ok_or(at)?;
    Ok(next + length)
}

/// A character by its number, as JSON escapes it.
fn unicode(number: u32, out: &mut Vec<u8>) -> Option<()> {
    let units: Vec<u16> = match u16::try_from(number) {
        // Halves of a pair stand in escapes of their own.
        Ok(unit) => vec![unit],
        Err(_) => char::from_u32(number)?.encode_utf16(&mut [0; 2]).to_vec(),
    };
    units.iter().for_each(|unit| out.extend_from_slice(format!("\\u{unit:04x}").as_bytes()));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals() {
        for (python, json) in [
            (
                r#"{u'a': u"it's", 'b': 'say "x"', "c": (1, -2.5e3)}"#,
                r#"{"a": "it's", "b": "say \"x\"", "c": [1, -2.5e3]}"#,
            ),
            (r"{'t': True, 'f': False, 'n': None, 'l': 7L}", r#"{"t": true, "f": false, "n": null, "l": 7}"#),
            (r"'\x41\u00e9\U0001F600\101\n\'\\\d'", r#""\u0041\u00e9\ud83d\ude00\u0041\n'\\\\d""#),
        ] {
            let mut out = vec![];
            to_json(python.as_bytes(), &mut out).unwrap();
            assert_eq!(String::from_utf8(out.clone()).unwrap(), json);
            serde_json::from_slice::<serde::de::IgnoredAny>(&out).unwrap();
        }
        for (wrong, at) in [
            ("{'a", 1),
            ("{a: 1}", 1),
            (r"'\x4g'", 2),
            ("lambda", 0),
            ("[1; 2]", 2),
            ("'tab\there'", 4),
            (r"'\", 3 - 1),
        ] {
            assert_eq!(to_json(wrong.as_bytes(), &mut vec![]), Err(at), "{wrong}");
        }
    }
}
