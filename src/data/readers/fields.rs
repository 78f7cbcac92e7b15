//! Records of separated fields: CSV and TSV in their dialects, line by line.

use super::text::{Text, at, show};
use crate::error::{Error, Result};
use indicatif::HumanCount;
use memchr::{memchr, memchr_iter, memchr2_iter, memmem};
use std::ops::Range;
use std::path::Path;

/// A record of more fields is not an interaction.
pub(super) const MOST_FIELDS: usize = 1 << 16;

/// What separates fields, and what quotation marks do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub separator: Separator,
    pub quotes: Quotes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Separator {
    Byte(u8),
    /// `::`, as in MovieLens.
    Colons,
    /// Any number of spaces or tabs; no field is empty.
    Spaces,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quotes {
    /// A quotation mark is a character of a field.
    None,
    /// TSV: a field that both opens and closes with a quotation mark, on one line, is quoted.
    Closed,
    /// CSV: a field that opens with a quotation mark continues to the closing one, on whatever line that is.
    Csv,
    /// The same, and a backslash takes the character after it as it is.
    Escaped,
}

impl Dialect {
    /// The usual quoting for fields that `separator` separates.
    pub const fn of(separator: u8) -> Dialect {
        let quotes = if separator == b'\t' { Quotes::Closed } else { Quotes::Csv };
        Dialect { separator: Separator::Byte(separator), quotes }
    }

    /// Tabs without any quoting.
    pub const TABS: Dialect = Dialect { separator: Separator::Byte(b'\t'), quotes: Quotes::None };
    pub const COLONS: Dialect = Dialect { separator: Separator::Colons, quotes: Quotes::None };
    pub const SPACES: Dialect = Dialect { separator: Separator::Spaces, quotes: Quotes::None };

    /// The dialect of a header: the first of tab, comma, semicolon and bar that occurs in it.
    pub fn of_header(header: &[u8]) -> Option<Dialect> {
        [b'\t', b',', b';', b'|'].into_iter().find(|&separator| memchr(separator, header).is_some()).map(Dialect::of)
    }

    /// The fields of a single line; as text, whatever its encoding.
    pub fn fields_of(self, line: &[u8]) -> Vec<String> {
        let mut record = Record { text: line.to_vec(), fields: vec![] };
        if !matches!(record.split(self, 0, None), Ok(Quote::Closed)) {
            record = Record { text: line.to_vec(), fields: vec![] };
            record.split_plain(self.separator);
        }
        (0..record.fields.len()).map(|i| String::from_utf8_lossy(record.get(i)).trim().to_string()).collect()
    }
}

/// One record: its text, quotes undone, and where the fields are in it.
#[derive(Default)]
struct Record {
    text: Vec<u8>,
    fields: Vec<Range<usize>>,
}

impl Record {
    fn get(&self, field: usize) -> &[u8] {
        &self.text[self.fields[field].clone()]
    }

    /// Splits the text, the line that `source` gave last, and takes further lines from there where a quoted field needs them.
    /// `expected` fields settle what a quotation mark in TSV is, where their number is known (not 0).
    fn split(&mut self, dialect: Dialect, expected: usize, source: Option<&mut Text>) -> Result<Quote> {
        match (dialect.separator, dialect.quotes) {
            (separator, Quotes::None) => self.split_plain(separator),
            (Separator::Byte(separator), quotes) => {
                // Most lines have no quotation mark, and one search finds that out and where the fields end.
                let mut start = 0;
                for at in memchr2_iter(separator, b'"', &self.text).take(MOST_FIELDS) {
                    if self.text[at] == b'"' {
                        self.fields.clear();
                        return match quotes {
                            Quotes::Closed => self.split_closed(separator, expected),
                            _ => self.split_quoted(separator, quotes == Quotes::Escaped, source),
                        };
                    }
                    self.fields.push(start..at);
                    start = at + 1;
                }
                self.fields.push(start..self.text.len());
            }
            (separator, _) => self.split_plain(separator),
        }
        Ok(Quote::Closed)
    }

    fn split_plain(&mut self, separator: Separator) {
        let Record { text, fields } = self;
        let mut start = 0;
        match separator {
            Separator::Byte(separator) => {
                for at in memchr_iter(separator, text).take(MOST_FIELDS) {
                    fields.push(start..at);
                    start = at + 1;
                }
                fields.push(start..text.len());
            }
            Separator::Colons => {
                for at in memmem::find_iter(text, b"::").take(MOST_FIELDS) {
                    fields.push(start..at);
                    start = at + 2;
                }
                fields.push(start..text.len());
            }
            Separator::Spaces => {
                for word in text.split(u8::is_ascii_whitespace).take(MOST_FIELDS) {
                    if !word.is_empty() {
                        fields.push(start..start + word.len());
                    }
                    start += word.len() + 1;
                }
            }
        }
    }

    /// TSV: quotes count where a field opens and closes with one, and a tab within quotes only where the number of fields
    /// would be wrong otherwise.
    fn split_closed(&mut self, separator: u8, expected: usize) -> Result<Quote> {
        self.split_plain(Separator::Byte(separator));
        if self.fields.len() > expected && expected > 0 {
            let mut quoted = Record { text: self.text.clone(), fields: vec![] };
            let quote = quoted.split_quoted(separator, false, None)?;
            if quote == Quote::Closed && quoted.fields.len() == expected {
                *self = quoted;
                return Ok(quote);
            }
        }
        for field in &mut self.fields {
            let [b'"', inner @ .., b'"'] = &self.text[field.clone()] else { continue };
            let doubled = memmem::find(inner, b"\"\"").is_some();
            *field = field.start + 1..field.end - 1;
            if doubled {
                field.end = field.start + halve_quotes(&mut self.text[field.clone()]);
            }
        }
        Ok(Quote::Closed)
    }

    /// CSV with quotes, which are undone in place.
    fn split_quoted(&mut self, separator: u8, escapes: bool, mut source: Option<&mut Text>) -> Result<Quote> {
        let Record { text, fields } = self;
        let (mut read, mut write) = (0, 0);
        loop {
            let start = write;
            let mut put = |text: &mut Vec<u8>, byte| {
                text[write] = byte;
                write += 1;
            };
            if text.get(read) == Some(&b'"') {
                let line = source.as_ref().map_or(0, |source| source.line);
                read += 1;
                loop {
                    match text.get(read..) {
                        None | Some([]) => {
                            text.push(b'\n');
                            if !source.as_mut().map_or(Ok(false), |source| source.append(text))? {
                                return Ok(Quote::Open { line, column: fields.len() as u64 + 1, text: (start, write) });
                            }
                        }
                        Some([b'"', b'"', ..]) => {
                            put(text, b'"');
                            read += 2;
                        }
                        Some([b'"', ..]) => {
                            read += 1;
                            break;
                        }
                        Some(&[b'\\', byte, ..]) if escapes => {
                            put(text, byte);
                            read += 2;
                        }
                        Some(&[byte, ..]) => {
                            put(text, byte);
                            read += 1;
                        }
                    }
                }
            }
            while let Some(&byte) = text.get(read).filter(|&&byte| byte != separator) {
                put(text, byte);
                read += 1;
            }
            fields.push(start..write);
            if read == text.len() || fields.len() > MOST_FIELDS {
                return Ok(Quote::Closed);
            }
            read += 1;
        }
    }
}

/// Makes one quotation mark of each two; returns the bytes that are left.
fn halve_quotes(text: &mut [u8]) -> usize {
    let (mut read, mut write) = (0, 0);
    while read < text.len() {
        text[write] = text[read];
        read += if text[read..].starts_with(b"\"\"") { 2 } else { 1 };
        write += 1;
    }
    write
}

/// How the quotation marks of a record ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    Closed,
    /// The file ended within a field that began with one: the line and field it is in, and where in the text it is.
    Open {
        line: u64,
        column: u64,
        text: (usize, usize),
    },
}

/// A file of separated fields, record by record. Empty lines are none.
pub(crate) struct Records {
    text: Text,
    dialect: Dialect,
    record: Record,
    /// The line that the record begins on; none at the end of the file.
    line: Option<u64>,
    /// Fields of the first record.
    expected: usize,
    long: Long,
}

/// Records of several lines.
#[derive(Default)]
struct Long {
    records: u64,
    lines: u64,
    /// The line on which the first begins.
    first: u64,
}

impl Records {
    pub fn new(text: Text, dialect: Dialect) -> Records {
        Records { text, dialect, record: Record::default(), line: None, expected: 0, long: Long::default() }
    }

    pub fn path(&self) -> &Path {
        &self.text.path
    }

    /// Reads the next record; gives the line it begins on.
    ///
    /// # Errors
    /// A quotation mark that is not closed, with the line it is on; a record of over 64 MiB or 65,536 fields.
    pub fn next(&mut self) -> Result<Option<u64>> {
        let Records { text, record, .. } = self;
        record.fields.clear();
        self.line = None;
        loop {
            if !text.next(&mut record.text)? {
                return Ok(None);
            }
            if !record.text.is_empty() {
                break;
            }
        }
        let line = text.line;
        if let Quote::Open { line, column, text: (start, end) } =
            record.split(self.dialect, self.expected, Some(text))?
        {
            return Err(Error::Input {
                path: text.path.clone(),
                line: Some(line),
                column: Some(column),
                found: format!("a quotation mark that is never closed, before {}", show(&record.text[start..end])),
                expected: "a closing quotation mark before the end of the file".to_string(),
            });
        }
        if record.fields.len() > MOST_FIELDS {
            return Err(text.wrong(format!("over {MOST_FIELDS} fields"), "one interaction a line".to_string()));
        }
        if self.expected == 0 {
            self.expected = record.fields.len();
        }
        if text.line > line {
            let Long { records, lines, first } = &mut self.long;
            *first = if *records == 0 { line } else { *first };
            *records += 1;
            *lines += text.line - line + 1;
        }
        self.line = Some(line);
        Ok(self.line)
    }

    /// The line that the record in hand begins on; none at the end of the file.
    pub fn line(&self) -> Option<u64> {
        self.line
    }

    /// Fields of the record.
    pub fn len(&self) -> usize {
        self.record.fields.len()
    }

    /// Field `field` of the record, from 0; empty if there are fewer.
    pub fn get(&self, field: usize) -> &[u8] {
        if field < self.len() { self.record.get(field) } else { b"" }
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|field| self.record.get(field))
    }

    pub fn ends_in_newline(&self) -> bool {
        self.text.ends_in_newline()
    }

    /// A line for people where records are of several lines: an opening quotation mark that is meant as a character may have
    /// taken lines along.
    pub fn note(&self) -> Option<String> {
        let Long { records, lines, first } = self.long;
        (records > 0).then(|| {
            format!(
                "{} rows hold line breaks in quoted fields and take {} lines, the first of them line {first}",
                HumanCount(records),
                HumanCount(lines)
            )
        })
    }
}

/// Names of the columns, one at least.
pub(crate) fn header(records: &mut Records) -> Result<Vec<String>> {
    if records.next()?.is_none() {
        return Err(at(records.path(), 1)(None, "blank lines alone".to_string(), "a header".to_string()));
    }
    let name = |(name, column)| {
        let text = std::str::from_utf8(name).map(|name| name.trim().to_string());
        text.map_err(|_| at(records.path(), 1)(Some(column), show(name), "a header in UTF-8".to_string()))
    };
    records.iter().zip(1..).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records of `contents`, fields joined by bars, or the error after the file's name; and the note.
    fn records(contents: &str, dialect: Dialect) -> (Vec<String>, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, contents).unwrap();
        let mut records = Records::new(Text::open(&path).unwrap(), dialect);
        let mut all = vec![];
        loop {
            match records.next() {
                Ok(None) => break,
                Ok(Some(line)) => {
                    let fields: Vec<_> = records.iter().map(String::from_utf8_lossy).collect();
                    all.push(format!("{line}: {}", fields.join("|")));
                }
                Err(e) => {
                    all.push(e.to_string().rsplit_once("/f").unwrap().1.to_string());
                    break;
                }
            }
        }
        (all, records.note())
    }

    #[test]
    fn quotes_of_csv() {
        let csv = Dialect::of(b',');
        let (all, note) = records("a,\"b, \"\"c\"\"\",\r\n\n\"d\",e\"f\",\"g\"h\n\"i\nj\",\"\",k\n", csv);
        assert_eq!(all, ["1: a|b, \"c\"|", "3: d|e\"f\"|gh", "4: i\nj||k"]);
        assert_eq!(
            note.unwrap(),
            "1 rows hold line breaks in quoted fields and take 2 lines, the first of them line 4"
        );
        let (all, note) = records("a,b\n\"c\nd\",\"e\nf,\"\"g\n", csv);
        let open = ":3:2: found a quotation mark that is never closed, before \"e\\nf,\\\"g\"; expected a closing";
        assert!(all[1].starts_with(open) && note.is_none(), "{all:?}");
        let escaped = Dialect { quotes: Quotes::Escaped, ..csv };
        assert_eq!(records("\"a\\\",b\",c\n", escaped).0, ["1: a\",b|c"]);
    }

    #[test]
    fn quotes_of_tsv() {
        let contents = "u\tt\n1\t\"Heroes\n2\t\"Heroes\"\n3\tc\"\n4\t\"a\tb\"\n\"5\t6\"\n7\t\"\"\"Heroes\"\" Live\"\n";
        let want =
            ["1: u|t", "2: 1|\"Heroes", "3: 2|Heroes", "4: 3|c\"", "5: 4|a\tb", "6: \"5|6\"", "7: 7|\"Heroes\" Live"];
        assert_eq!(records(contents, Dialect::of(b'\t')), (want.map(String::from).to_vec(), None));
        assert_eq!(records("\"a\"\t\"b\n", Dialect::TABS).0, ["1: \"a\"|\"b"]);
    }

    #[test]
    fn separators() {
        assert_eq!(records("a::b:c::\n", Dialect::COLONS).0, ["1: a|b:c|"]);
        assert_eq!(records(" a  b\tc \n", Dialect::SPACES).0, ["1: a|b|c"]);
        assert_eq!(Dialect::of_header(b"a;b,c\td").unwrap(), Dialect::of(b'\t'));
        assert_eq!(Dialect::of(b',').fields_of(b"1,\"a, b\",10"), ["1", "a, b", "10"]);
        assert_eq!(Dialect::of(b',').fields_of(b"1,\"a, b,10"), ["1", "\"a", "b", "10"]);
    }

    #[test]
    fn a_record_is_bounded() {
        let (all, _) = records(&",".repeat(MOST_FIELDS), Dialect::of(b','));
        assert_eq!(all, [":1: found over 65536 fields; expected one interaction a line"]);
        for contents in ["x".repeat((64 << 20) + 1), format!("\"{}", "x\n".repeat(33 << 20))] {
            let (all, _) = records(&contents, Dialect::of(b','));
            assert!(all[0].contains("found over 64 MiB without an end"), "{all:?}");
        }
    }
}
