//! Prices as people write them, and the currency that they are in.

/// A price that was read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Price {
    pub value: f64,
    /// Its ISO code, where the text says it.
    pub currency: Option<String>,
}

/// A longer text is no price.
const LONGEST: usize = 64;

/// Signs and abbreviations, longer ones first, with the ISO code of each.
const SIGNS: [(&str, &str); 24] = [
    ("US$", "USD"),
    ("CA$", "CAD"),
    ("AU$", "AUD"),
    ("CDN$", "CAD"),
    ("MX$", "MXN"),
    ("NZ$", "NZD"),
    ("HK$", "HKD"),
    ("C$", "CAD"),
    ("A$", "AUD"),
    ("S$", "SGD"),
    ("R$", "BRL"),
    ("CN¥", "CNY"),
    ("Rs.", "INR"),
    ("Rs", "INR"),
    ("zł", "PLN"),
    ("元", "CNY"),
    ("$", "USD"),
    ("€", "EUR"),
    ("£", "GBP"),
    ("¥", "JPY"),
    ("₹", "INR"),
    ("₩", "KRW"),
    ("₽", "RUB"),
    ("₺", "TRY"),
];

/// A price, or the middle of a range of prices; with a currency before or after the number. None for anything else.
pub(super) fn price(text: &str) -> Option<Price> {
    if text.len() > LONGEST {
        return None;
    }
    let text = text.trim();
    if let Some(value) = text.parse::<f64>().ok().filter(|_| text.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
    {
        return value.is_finite().then_some(Price { value: value + 0.0, currency: None });
    }
    let mut parts = text.split(['-', '\u{2013}', '\u{2014}']).map(single);
    let (first, second) = (parts.next()??, parts.next());
    if parts.next().is_some() {
        return None;
    }
    let Some(second) = second else { return Some(first) };
    let second = second?;
    let currency = match (&first.currency, &second.currency) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => a.as_ref().or(b.as_ref()).cloned(),
    };
    Some(Price { value: 0.5 * first.value + 0.5 * second.value, currency })
}

fn single(text: &str) -> Option<Price> {
    let text = text.trim();
    let (before, rest) = currency_at_start(text);
    let (after, number) = currency_at_end(rest);
    let currency = match (before, after) {
        (Some(a), Some(b)) if a != b => return None,
        (a, b) => a.or(b),
    };
    let value = number_of(number.trim(), currency.as_deref())?;
    Some(Price { value, currency })
}

fn currency_at_start(text: &str) -> (Option<String>, &str) {
    if let Some((code, rest)) = text.split_at_checked(3).filter(|(code, _)| is_code(code)) {
        return (Some(code.to_string()), rest);
    }
    let sign = SIGNS.iter().find_map(|(sign, code)| Some((code, text.strip_prefix(sign)?)));
    sign.map_or((None, text), |(code, rest)| (Some(code.to_string()), rest))
}

fn currency_at_end(text: &str) -> (Option<String>, &str) {
    let start = text.len().checked_sub(3);
    if let Some((rest, code)) = start.and_then(|at| text.split_at_checked(at)).filter(|(_, code)| is_code(code)) {
        return (Some(code.to_string()), rest);
    }
    let sign = SIGNS.iter().find_map(|(sign, code)| Some((code, text.strip_suffix(sign)?)));
    sign.map_or((None, text), |(code, rest)| (Some(code.to_string()), rest))
}

fn is_code(text: &str) -> bool {
    text.len() == 3 && text.bytes().all(|b| b.is_ascii_uppercase())
}

/// A number of digits with separators. The last of points and commas is that of the decimals, unless it can only be one of
/// thousands: it comes twice, or it is a comma (a point in euros) before exactly three digits.
fn number_of(text: &str, currency: Option<&str>) -> Option<f64> {
    let is_space = |c: char| matches!(c, ' ' | '\'' | '\u{2019}' | '\u{a0}' | '\u{202f}' | '\u{2009}');
    let last = text.rfind(['.', ',']);
    let decimal = last.filter(|&at| {
        let mark = &text[at..=at];
        let (before, after) = (&text[..at], &text[at + 1..]);
        let other_before = before.contains(['.', ',']) && !before.contains(mark);
        let of_thousands = (mark == "," || currency == Some("EUR"))
            && after.len() == 3
            && !before.starts_with('0')
            && !before.is_empty();
        other_before || !(before.contains(mark) || of_thousands)
    });
    let (whole, decimals) = decimal.map_or((text, ""), |at| (&text[..at], &text[at + 1..]));
    let is_digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let is_mark = |c: char| c == '.' || c == ',' || is_space(c);
    let mark = whole.chars().find(|&c| is_mark(c));
    let groups: Vec<&str> = match mark {
        Some(mark) => whole.split(mark).collect(),
        None => vec![whole],
    };
    let grouped =
        groups.len() == 1 || (1..=3).contains(&groups[0].len()) && groups[1..].iter().all(|group| group.len() == 3);
    let good = grouped && groups.iter().all(|group| is_digits(group)) && is_digits(decimals);
    if !good || whole.is_empty() && decimals.is_empty() {
        return None;
    }
    format!("{}.{decimals}0", groups.concat()).parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_as_people_write_them() {
        for (text, value, currency) in [
            ("$12.99", 12.99, "USD"),
            ("1,299.00", 1299.0, ""),
            ("1.299,00 EUR", 1299.0, "EUR"),
            ("$9 - $19", 14.0, "USD"),
            ("$9.50 – 10.50", 10.0, "USD"),
            ("0", 0.0, ""),
            ("$0.00", 0.0, "USD"),
            ("12", 12.0, ""),
            (".99", 0.99, ""),
            ("$.99", 0.99, "USD"),
            ("5.", 5.0, ""),
            ("12,5", 12.5, ""),
            ("1,299", 1299.0, ""),
            ("1,299,000", 1_299_000.0, ""),
            ("1.299.000", 1_299_000.0, ""),
            ("1.299 €", 1299.0, "EUR"),
            ("0,999 €", 0.999, "EUR"),
            ("1.299", 1.299, ""),
            ("$1.299", 1.299, "USD"),
            ("1 299,50 €", 1299.5, "EUR"),
            ("1\u{a0}299 kr".trim_end_matches(" kr"), 1299.0, ""),
            ("CHF 1'299.50", 1299.5, "CHF"),
            ("£3", 3.0, "GBP"),
            ("CA$3", 3.0, "CAD"),
            ("US$ 3", 3.0, "USD"),
            ("3 zł", 3.0, "PLN"),
            ("1e2", 100.0, ""),
            ("12.0", 12.0, ""),
            ("  $4 ", 4.0, "USD"),
        ] {
            let read = price(text).unwrap_or_else(|| panic!("{text} is no price"));
            assert!((read.value - value).abs() < 1e-9, "{text}: {}", read.value);
            assert_eq!(read.currency.unwrap_or_default(), currency, "{text}");
        }
    }

    #[test]
    fn what_is_no_price_is_missing() {
        let long = format!("$1{}", "0".repeat(LONGEST));
        for text in [
            "",
            " ",
            "\n\t",
            "—",
            "-",
            "None",
            "nan",
            "inf",
            "-5",
            "$-5",
            "free",
            "from $9",
            "$9 - €10",
            "$9 -",
            "9-10-11",
            "1,29,900",
            "12.34.5",
            "1,2345,678",
            "$",
            "EUR",
            "12 pounds",
            ".a-box{width:10px}",
            "1e999",
            "$ 12 $ 13",
            "0x10",
            "1 29",
            "١٢",
            &long,
        ] {
            assert_eq!(price(text), None, "{text:?}");
        }
    }
}
