//! The column of times: numbers whose size tells their unit, or dates. Kept exactly, to the nanosecond.

use jiff::civil::{Date, DateTime, Time};
use jiff::fmt::{strtime, temporal::Pieces};
use jiff::{Timestamp, tz::Offset};
use std::fmt;

/// 1 January 2100 in Unix seconds; in milliseconds a thousand times as much.
const YEAR_2100: i64 = 4_102_444_800;

/// Numbers that all lie below this are positions in a history, not times: as Unix seconds they would all be before 1973.
const SMALLEST_CLOCK: i64 = 100_000_000;

const BILLION: i128 = 1_000_000_000;

/// What the numbers in [`Interactions::time`](super::Interactions::time) are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Clock {
    /// The file has no times: positions in the file.
    File,
    /// The file has positions, or times of an unknown day: only their order means anything.
    Order,
    /// Unix seconds.
    Seconds,
    /// Unix milliseconds.
    Milliseconds,
    /// Unix microseconds.
    Microseconds,
    /// Unix nanoseconds.
    Nanoseconds,
}

impl Clock {
    const UNITS: [Clock; 4] = [Clock::Seconds, Clock::Milliseconds, Clock::Microseconds, Clock::Nanoseconds];

    /// Units in a second. None where the numbers are no times.
    pub fn per_second(self) -> Option<i64> {
        let unit = Clock::UNITS.iter().position(|&clock| clock == self)?;
        Some(thousands(unit as u8))
    }

    /// Whether the numbers are times, which all users share.
    pub fn is_time(self) -> bool {
        self.per_second().is_some()
    }

    /// The unit, for people. Empty where the numbers are no times.
    pub fn name(self) -> &'static str {
        match self {
            Clock::File | Clock::Order => "",
            Clock::Seconds => "seconds",
            Clock::Milliseconds => "milliseconds",
            Clock::Microseconds => "microseconds",
            Clock::Nanoseconds => "nanoseconds",
        }
    }

    /// `time` in UTC, to the second: `2000-12-31 22:12:40`. The number itself where it is no time, or one of no calendar.
    pub fn show(self, time: i64) -> String {
        let utc = self.per_second().and_then(|units| Timestamp::from_second(time.div_euclid(units)).ok());
        utc.map_or_else(|| time.to_string(), |utc| utc.strftime("%Y-%m-%d %H:%M:%S").to_string())
    }
}

/// How the times of a file are written. All are written in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Number,
    Date,
    /// Date and time of a file of types.
    Timestamp,
    /// Time of a day that is not known.
    Daytime,
}

/// A time of known units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instant {
    pub form: Form,
    /// Since 1970, or since midnight.
    pub seconds: i64,
    pub nanoseconds: u32,
}

impl fmt::Display for Instant {
    /// As a date, a time or both.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(utc) = Timestamp::new(self.seconds, self.nanoseconds as i32) else {
            return write!(f, "{} s", self.seconds); // beyond the calendar
        };
        let form = match self.form {
            Form::Date => "%Y-%m-%d",
            Form::Daytime => "%H:%M:%S%.f",
            Form::Number | Form::Timestamp => "%Y-%m-%d %H:%M:%S%.f",
        };
        write!(f, "{}", utc.strftime(form))
    }
}

impl Form {
    fn name(self) -> &'static str {
        match self {
            Form::Number => "a number",
            Form::Date => "a date",
            Form::Timestamp => "a timestamp",
            Form::Daytime => "a time of day",
        }
    }
}

/// The times of a file, row by row. A unit is a number from 0 (seconds) to 3 (nanoseconds).
#[derive(Default)]
pub(crate) struct Times {
    values: Vec<i64>,
    /// None before the first time.
    form: Option<Form>,
    /// The unit of the numbers in the file. None before one that is large enough to tell.
    unit: Option<u8>,
    /// `values` are in a unit that many times 1000 finer, so that they hold the fractions of the file.
    finer: u8,
    /// Bytes of the last date and of the shortest one before it.
    length: usize,
    shortest: Option<usize>,
}

impl Times {
    /// Adds a position: the row has no time.
    pub fn push_position(&mut self) {
        self.values.push(self.values.len() as i64);
    }

    /// Adds a time as it is in the file, and this number of milliseconds after it. The error says what was expected; nothing is
    /// added then, and nothing was learned of the column.
    pub fn push(&mut self, text: &[u8], milliseconds: u32) -> Result<(), String> {
        let before = (self.form, self.unit, self.length, self.shortest, self.values.len());
        self.try_push(text, milliseconds).inspect_err(|_| {
            (self.form, self.unit, self.length, self.shortest) = (before.0, before.1, before.2, before.3);
            self.values.truncate(before.4);
        })
    }

    fn try_push(&mut self, text: &[u8], milliseconds: u32) -> Result<(), String> {
        self.push_text(text)?;
        if milliseconds > 0 {
            let unit = self.unit.unwrap_or(0);
            self.refine(1u8.saturating_sub(unit))?;
            let time = self.values.last_mut().expect("one was pushed");
            *time += milliseconds as i64 * thousands(unit + self.finer - 1);
        }
        Ok(())
    }

    fn push_text(&mut self, text: &[u8]) -> Result<(), String> {
        let text = text.trim_ascii();
        let digits = digits(text);
        if let (None, Some(whole)) = (digits, integer(text)) {
            return self.push_number(whole, 0);
        }
        if let (None, Some((whole, billionths))) = (digits, decimal(text)) {
            return self.push_number(whole, billionths);
        }
        let Some((seconds, nanoseconds)) = digits.or_else(|| date(text)) else {
            return Err("a time: Unix seconds, milliseconds, microseconds or nanoseconds, a date such as \
                        2005-04-03 10:04:18, or a position"
                .to_string());
        };
        self.be(Form::Date)?;
        self.unit = Some(0);
        self.push_scaled(seconds, nanoseconds)?;
        if self.values.len() > 1 {
            self.shortest = Some(self.shortest.map_or(self.length, |shortest| shortest.min(self.length)));
        }
        self.length = text.len();
        Ok(())
    }

    /// Adds a time that needs no reading. Timestamps are milliseconds at least.
    pub fn push_instant(&mut self, time: Instant) -> Result<(), String> {
        let Instant { form, seconds, nanoseconds } = time;
        self.be(form)?;
        let (unit, whole, billionths) = match form {
            Form::Timestamp => {
                let milliseconds = (nanoseconds / 1_000_000) as i64;
                let whole = seconds.checked_mul(1000).and_then(|whole| whole.checked_add(milliseconds));
                (Some(1), whole.ok_or_else(too_far)?, nanoseconds % 1_000_000 * 1000)
            }
            Form::Daytime => (None, seconds, nanoseconds),
            Form::Number | Form::Date => (Some(0), seconds, nanoseconds),
        };
        self.unit = unit;
        self.push_scaled(whole, billionths)
    }

    fn push_number(&mut self, whole: i64, billionths: u32) -> Result<(), String> {
        self.be(Form::Number)?;
        let size = whole.unsigned_abs();
        if size >= SMALLEST_CLOCK as u64 {
            let Some(unit) = (0..4).find(|&unit| size <= YEAR_2100 as u64 * thousands(unit) as u64) else {
                return Err(
                    "a time of the years 1840 to 2099, in Unix seconds, milliseconds, microseconds or nanoseconds"
                        .to_string(),
                );
            };
            match self.unit {
                Some(before) if before != unit => {
                    let unit = Clock::UNITS[before as usize].name();
                    return Err(format!("a time of the years 1840 to 2099 in Unix {unit}, as in the lines before"));
                }
                Some(_) => {}
                None => {
                    self.unit = Some(unit);
                    while unit + self.finer > 3 {
                        self.finer -= 1;
                        self.values.iter_mut().for_each(|value| *value = value.div_euclid(1000));
                    }
                }
            }
        }
        self.push_scaled(whole, billionths)
    }

    fn be(&mut self, form: Form) -> Result<(), String> {
        match *self.form.get_or_insert(form) {
            before if before == form => Ok(()),
            before => Err(format!("{}, as in the lines before", before.name())),
        }
    }

    /// Adds a number of units and a fraction, which is cut off below a nanosecond.
    fn push_scaled(&mut self, whole: i64, billionths: u32) -> Result<(), String> {
        if billionths > 0 {
            let needed = (0..3).find(|&finer| billionths as i64 % thousands(3 - finer) == 0).unwrap_or(3);
            self.refine(needed.min(3 - self.unit.unwrap_or(0)))?;
        }
        let fraction = billionths as i64 / thousands(3 - self.finer);
        let scaled = whole.checked_mul(thousands(self.finer)).and_then(|value| value.checked_add(fraction));
        self.values.push(scaled.ok_or_else(too_far)?);
        Ok(())
    }

    /// Makes room for fractions of a 1000^`finer`th of a unit.
    fn refine(&mut self, finer: u8) -> Result<(), String> {
        if finer <= self.finer {
            return Ok(());
        }
        let factor = thousands(finer - self.finer);
        if self.values.iter().any(|value| value.checked_mul(factor).is_none()) {
            return Err(too_far());
        }
        self.values.iter_mut().for_each(|value| *value *= factor);
        self.finer = finer;
        Ok(())
    }

    /// The last time, if it is shorter than all others, and what those are: a sign that the file was cut within it. Positions
    /// show nothing, since they are of all lengths.
    pub fn shorter_last(&self) -> Option<(String, String)> {
        let (&last, before) = self.values.split_last()?;
        let &smallest = before.iter().min()?;
        match self.form? {
            Form::Number => {
                let one = thousands(self.finer);
                let shorter = smallest / one >= SMALLEST_CLOCK && last.max(1).ilog10() < smallest.ilog10();
                shorter.then(|| (format!("the time {}", last / one), format!("are {} or more", smallest / one)))
            }
            _ => {
                let shortest = self.shortest.filter(|&shortest| self.length < shortest)?;
                Some((format!("a time of {} letters", self.length), format!("have {shortest} or more")))
            }
        }
    }

    /// All rows are in.
    pub fn finish(self) -> (Vec<i64>, Clock) {
        let clock = match (self.form, self.unit) {
            (None, _) => Clock::File,
            (Some(_), None) => Clock::Order,
            (Some(_), Some(unit)) => Clock::UNITS[(unit + self.finer) as usize],
        };
        (self.values, clock)
    }
}

/// 1000 to the power of `power`, at most 3.
fn thousands(power: u8) -> i64 {
    1000i64.pow(power as u32)
}

fn too_far() -> String {
    "times from 1678 to 2261, since some are given to the nanosecond".to_string()
}

/// A plain number without a sign.
fn integer(text: &[u8]) -> Option<i64> {
    if text.is_empty() || text.len() > 18 {
        return None;
    }
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + (byte - b'0') as i64))
}

/// A decimal number, rounded down, as a whole and billionths. What an i64 cannot hold is its largest or smallest.
fn decimal(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let negative = number.starts_with('-');
    let number = number.strip_prefix(['-', '+']).unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = [whole, fraction].concat().into_bytes();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // The number is 0.DIGITS times 10^point; nine more digits are the billionths.
    let point = whole.len() as i64 + exponent as i64;
    let kept = (point + 9).clamp(0, digits.len() as i64) as usize;
    let appended = (point + 9 - kept as i64).max(0) as u32;
    let (kept, dropped) = digits.split_at(kept);
    let read = kept.iter().fold(0i128, |n, digit| n.saturating_mul(10).saturating_add((digit - b'0') as i128));
    let size = if read == 0 { 0 } else { read.saturating_mul(10i128.saturating_pow(appended)) };
    let below = dropped.iter().any(|&digit| digit != b'0');
    let total = if negative { -size - below as i128 } else { size };
    let whole = i64::try_from(total.div_euclid(BILLION)).unwrap_or(if negative { i64::MIN } else { i64::MAX });
    Some((whole, total.rem_euclid(BILLION) as u32))
}

/// A date as Unix seconds and nanoseconds; UTC where it names no zone.
fn date(text: &[u8]) -> Option<(i64, u32)> {
    const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
    let text = std::str::from_utf8(text).ok()?;
    let text = text.strip_suffix(" UTC").unwrap_or(text);
    let other = || DATES.iter().find_map(|form| formed(form, text));
    let (date, time, offset) = iso(text).or_else(other)?;
    let local = date.to_datetime(time.unwrap_or(Time::midnight())).duration_since(EPOCH).as_nanos();
    // A leap second was read as the second before it.
    let leap = if text.contains(":60") { BILLION } else { 0 };
    let utc = local + leap - offset.unwrap_or(Offset::UTC).seconds() as i128 * BILLION;
    Some((utc.div_euclid(BILLION) as i64, utc.rem_euclid(BILLION) as u32))
}

/// `20050403100418`, or without the seconds. As microseconds or milliseconds these would be in August 1970 or in 1976.
fn digits(text: &[u8]) -> Option<(i64, u32)> {
    let form = match text.len() {
        14 => "%Y%m%d%H%M%S",
        12 => "%Y%m%d%H%M",
        _ => return None,
    };
    if !text.starts_with(b"19") && !text.starts_with(b"20") {
        return None;
    }
    let parsed = strtime::parse(form, text).ok()?;
    let seconds = Offset::UTC.to_timestamp(parsed.to_datetime().ok()?).ok()?.as_second();
    Some((seconds, 0))
}

/// ISO 8601: a date, with or without a time, its fraction and its zone.
fn iso(text: &str) -> Option<(Date, Option<Time>, Option<Offset>)> {
    let pieces = Pieces::parse(text).ok()?;
    let offset = pieces.to_numeric_offset();
    // "[Europe/Berlin]" by itself: no zones are known here.
    (offset.is_some() || pieces.time_zone_annotation().is_none()).then(|| (pieces.date(), pieces.time(), offset))
}

/// Other dates, for strtime: of Twitter; ISO 8601 with a zone after a space; with slashes; in words; of MIND; of e-mail.
const DATES: [&str; 8] = [
    "%a %b %d %H:%M:%S %z %Y",
    "%Y-%m-%d %H:%M:%S%.f %z",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d",
    "%B %d, %Y",
    "%m/%d/%Y %I:%M:%S %p",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S GMT",
];

fn formed(form: &str, text: &str) -> Option<(Date, Option<Time>, Option<Offset>)> {
    let parsed = strtime::parse(form, text).ok()?;
    Some((parsed.to_date().ok()?, parsed.to_time().ok(), parsed.offset()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a column of these texts holds, and in which unit.
    fn column(texts: &[&str]) -> Result<(Vec<i64>, Clock), String> {
        let mut times = Times::default();
        texts.iter().try_for_each(|text| times.push(text.as_bytes(), 0))?;
        Ok(times.finish())
    }

    #[test]
    fn decimals_are_exact() {
        for (text, want) in [
            ("881250949", (881_250_949, 0)),
            ("8.8125e8", (881_250_000, 0)),
            ("+8.8e8", (880_000_000, 0)),
            ("1112486027.25", (1_112_486_027, 250_000_000)),
            ("1600000000.123456789999", (1_600_000_000, 123_456_789)),
            (".5", (0, 500_000_000)),
            ("5.", (5, 0)),
            ("-1", (-1, 0)),
            ("-0.25", (-1, 750_000_000)),
            ("-1e-99", (-1, 999_999_999)),
            ("1e-99", (0, 0)),
            ("0e99", (0, 0)),
            ("1e300", (i64::MAX, 0)),
            ("-1e300", (i64::MIN, 0)),
            ("9223372036854775807", (i64::MAX, 0)),
            ("99999999999999999999", (i64::MAX, 0)),
        ] {
            let (whole, billionths) = decimal(text.as_bytes()).unwrap();
            let beyond = matches!(whole, i64::MIN | i64::MAX);
            assert_eq!((whole, if beyond { 0 } else { billionths }), want, "{text}");
        }
        for bad in ["", "-", ".", "e5", "1e", "nan", "inf", "1_0", "0x5", "1.2.3", "--1", "1e1e1", "\u{663}"] {
            assert_eq!(decimal(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(
            (integer(b"999999999999999999"), integer(b"-1"), integer(b"")),
            (Some(999_999_999_999_999_999), None, None)
        );
    }

    #[test]
    fn dates() {
        let second = 1_112_522_658; // 2005-04-03 10:04:18 UTC
        for (text, want) in [
            ("2005-04-03 10:04:18", (second, 0)),
            ("2005-04-03T10:04:18", (second, 0)),
            ("2005-04-03T10:04:18Z", (second, 0)),
            ("2005-04-03 10:04:18 UTC", (second, 0)),
            ("2005-04-03T12:04:18+02:00", (second, 0)),
            ("2005-04-03T12:04:18+0200", (second, 0)),
            ("2005-04-03 07:04:18-03", (second, 0)),
            ("2005-04-03T10:04:18.25Z", (second, 250_000_000)),
            ("2005-04-03 10:04:18.123456789", (second, 123_456_789)),
            ("2005-04-03 10:04", (second - 18, 0)),
            ("2005-04-03 10", (second - 258, 0)),
            ("2005-04-03", (second - 36_258, 0)),
            ("2005/04/03", (second - 36_258, 0)),
            ("2005/04/03 10:04:18", (second, 0)),
            ("April 3, 2005", (second - 36_258, 0)),
            ("4/3/2005 10:04:18 AM", (second, 0)),
            ("Sun Apr 03 12:04:18 +0200 2005", (second, 0)),
            ("2005-04-03 12:04:18 +0200", (second, 0)),
            ("2005-04-03 12:04:18.5 +0200", (second, 500_000_000)),
            ("2005-04-03 10:04:18 +0000 UTC", (second, 0)),
            ("Sun, 03 Apr 2005 10:04:18 GMT", (second, 0)),
            ("Sun, 03 Apr 2005 12:04:18 +0200", (second, 0)),
            ("2016-12-31T23:59:60Z", (1_483_228_800, 0)),
            ("2016-12-31 23:59:60.5", (1_483_228_800, 500_000_000)),
            ("Tue Apr 03 18:00:06 +0000 2012", (1_333_476_006, 0)),
            ("1969-12-31T23:59:59.5", (-1, 500_000_000)),
            ("2014-12-06 02", (1_417_831_200, 0)),
            ("2000-02-29", (951_782_400, 0)),
        ] {
            assert_eq!(date(text.as_bytes()), Some(want), "{text}");
        }
        for bad in [
            "2001-02-29",
            "2005-13-01",
            "2005-04-03 24:30:00",
            "2005-04-03T10:04:18[Europe/Berlin]",
            "03.04.2005",
            "04/03/2005",
            "yesterday",
            "",
        ] {
            assert_eq!(date(bad.as_bytes()), None, "{bad}");
        }
    }

    /// A row that is left out does not decide what the column holds.
    #[test]
    fn what_is_refused_leaves_no_trace() {
        let mut times = Times::default();
        for bad in ["99999999999999999999", "then", "1e300", ""] {
            assert!(times.push(bad.as_bytes(), 0).is_err(), "{bad}");
        }
        times.push(b"2005-04-03", 0).unwrap();
        assert!(times.push(b"5", 0).is_err());
        times.push(b"2005-04-04", 0).unwrap();
        assert_eq!(times.finish(), (vec![1_112_486_400, 1_112_572_800], Clock::Seconds));
    }

    /// Dates without separators are no microseconds or milliseconds.
    #[test]
    fn dates_in_digits() {
        assert_eq!(
            column(&["20050403100418", "20050403100419"]),
            Ok((vec![1_112_522_658, 1_112_522_659], Clock::Seconds))
        );
        assert_eq!(column(&["200504031004"]), Ok((vec![1_112_522_640], Clock::Seconds)));
        assert_eq!(column(&["1112522658000"]).unwrap().1, Clock::Milliseconds);
        assert_eq!(column(&["20051399100418"]).unwrap().1, Clock::Microseconds);
    }

    #[test]
    fn the_column_tells_the_unit() {
        let s = 1_600_000_000;
        for (texts, want, clock) in [
            (vec!["3", "0", "-7"], vec![3, 0, -7], Clock::Order),
            (vec!["0", "1600000000"], vec![0, s], Clock::Seconds),
            (vec!["-1", "1600000000000"], vec![-1, s * 1000], Clock::Milliseconds),
            (vec!["5", "1600000000000000"], vec![5, s * 1_000_000], Clock::Microseconds),
            (vec!["1600000000000000001", "0"], vec![s * 1_000_000_000 + 1, 0], Clock::Nanoseconds),
            (vec!["-2134949234", "1600000000"], vec![-2_134_949_234, s], Clock::Seconds),
            // Fractions make the unit finer, as far as they need.
            (vec!["1600000000", "1600000001.5"], vec![s * 1000, s * 1000 + 1500], Clock::Milliseconds),
            (vec!["1600000000.0", "1.6e9"], vec![s, s], Clock::Seconds),
            (vec!["1600000000.000001", "0"], vec![s * 1_000_000 + 1, 0], Clock::Microseconds),
            (vec!["1600000000000.5"], vec![s * 1_000_000 + 500], Clock::Microseconds),
            (vec!["0.000000001", "1600000000000.0000019"], vec![0, s * 1_000_000_000 + 1], Clock::Nanoseconds),
            (vec!["0.5", "0.25"], vec![500, 250], Clock::Order),
            (vec!["1970-01-01", "1969-12-31 23:59:59.999"], vec![0, -1], Clock::Milliseconds),
            (vec!["0001-01-01", "9999-12-31"], vec![-62_135_596_800, 253_402_214_400], Clock::Seconds),
        ] {
            assert_eq!(column(&texts), Ok((want, clock)), "{texts:?}");
        }
        for (texts, want) in [
            (
                vec!["1600000000", "1600000000000"],
                "a time of the years 1840 to 2099 in Unix seconds, as in the lines before",
            ),
            (vec!["1600000000000", "0", "1600000000"], "to 2099 in Unix milliseconds, as in the lines before"),
            (vec!["1600000000", "2020-01-01"], "a number, as in the lines before"),
            (vec!["2020-01-01", "1600000000"], "a date, as in the lines before"),
            (vec!["5000000000000000000"], "a time of the years 1840 to 2099, in Unix seconds, milli"),
            (vec!["1e300"], "a time of the years 1840 to 2099, in Unix seconds, milli"),
            (vec!["0001-01-01", "2020-01-01 00:00:00.123456789"], "times from 1678 to 2261"),
            (vec!["2020-01-01 00:00:00.123456789", "9999-12-31"], "times from 1678 to 2261"),
            (vec!["soon"], "a time: Unix seconds, milliseconds, microseconds or nanoseconds, a date such as 2005"),
        ] {
            let problem = column(&texts).unwrap_err();
            assert!(problem.contains(want), "{texts:?}: {problem}");
        }
        assert_eq!(Times::default().finish(), (vec![], Clock::File));
    }

    #[test]
    fn shown_in_utc() {
        assert_eq!(Clock::Seconds.show(0), "1970-01-01 00:00:00");
        assert_eq!(Clock::Seconds.show(978_300_760), "2000-12-31 22:12:40");
        assert_eq!(Clock::Milliseconds.show(951_782_400_999), "2000-02-29 00:00:00");
        assert_eq!(Clock::Nanoseconds.show(-1), "1969-12-31 23:59:59");
        assert_eq!((Clock::Order.show(7), Clock::Seconds.show(i64::MAX)), ("7".to_string(), i64::MAX.to_string()));
    }
}
