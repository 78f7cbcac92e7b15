//! Streams of lines out of plain, gzip and zstd files, and the errors that name a place in them.

use crate::error::{Error, Result};
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A line longer than this is no line of ids and numbers.
const LONGEST_LINE: usize = 64 << 20;

/// How a file is packed; told by its first bytes, never by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    fn name(self) -> &'static str {
        match self {
            Packing::Plain => "plain",
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
        }
    }
}

/// The unpacked bytes of a file.
pub(crate) struct Unpacked {
    inner: Box<dyn Read>,
    pub packing: Packing,
    /// The last byte read so far: a file that ends without a newline may have been cut.
    last: Rc<Cell<u8>>,
}

impl Read for Unpacked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        if n > 0 {
            self.last.set(buffer[n - 1]);
        }
        Ok(n)
    }
}

/// Opens `path` for reading its unpacked bytes.
pub(crate) fn unpack(path: &Path) -> Result<Unpacked> {
    let mut file = open(path)?;
    let mut magic = [0; 4];
    let mut got = 0;
    while got < 4 {
        match file.read(&mut magic[got..]).map_err(Error::io(path, "read"))? {
            0 => break,
            n => got += n,
        }
    }
    file.rewind().map_err(Error::io(path, "read"))?;
    let packing = match magic {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] => Packing::Zstd,
        _ => Packing::Plain,
    };
    let inner: Box<dyn Read> = match packing {
        Packing::Plain => Box::new(file),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(BufReader::with_capacity(1 << 17, file))),
        Packing::Zstd => Box::new(zstd::Decoder::new(file).map_err(Error::io(path, "unpack"))?),
    };
    Ok(Unpacked { inner, packing, last: Rc::new(Cell::new(b'\n')) })
}

/// Opens a file; a missing one and a folder are input errors, not input/output errors.
pub(crate) fn open(path: &Path) -> Result<File> {
    let wrong = |found: &str| Error::Input {
        path: path.to_path_buf(),
        line: None,
        column: None,
        found: found.to_string(),
        expected: "a file of interactions".to_string(),
    };
    let file = File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => wrong("no such file"),
        _ => Error::io(path, "open")(e),
    })?;
    match file.metadata().map_err(Error::io(path, "read"))?.is_dir() {
        true => Err(wrong("a folder")),
        false => Ok(file),
    }
}

/// A text file, line by line.
pub(crate) struct Text {
    pub path: PathBuf,
    reader: BufReader<Unpacked>,
    packing: Packing,
    last: Rc<Cell<u8>>,
    /// Number of the line that was read last, from 1.
    pub line: u64,
}

impl Text {
    /// Opens `path`. An empty file and one with binary contents are errors.
    pub fn open(path: &Path) -> Result<Text> {
        let unpacked = unpack(path)?;
        let (packing, last) = (unpacked.packing, unpacked.last.clone());
        let reader = BufReader::with_capacity(1 << 17, unpacked);
        let mut text = Text { path: path.to_path_buf(), reader, packing, last, line: 0 };
        let start = text.head()?;
        let (empty, zero, len) = (start.is_empty(), start.iter().position(|&b| b == 0), start.len());
        let shown = show(&start[..len.min(32)]);
        if empty {
            return Err(text.whole("an empty file", "at least one line"));
        }
        if zero.is_some() {
            return Err(text.whole(&format!("binary data, beginning {shown}"), "lines of text"));
        }
        if text.head()?.starts_with(b"\xef\xbb\xbf") {
            text.reader.consume(3); // a byte order mark
        }
        Ok(text)
    }

    /// The bytes that come next, without taking them.
    pub fn head(&mut self) -> Result<&[u8]> {
        let (path, packing) = (&self.path, self.packing);
        self.reader.fill_buf().map_err(|e| broken(path, packing, e))
    }

    /// Reads the next line, without its end, into `line`. False at the end of the file.
    pub fn next(&mut self, line: &mut Vec<u8>) -> Result<bool> {
        line.clear();
        let limit = LONGEST_LINE as u64 + 1;
        let n = (&mut self.reader).take(limit).read_until(b'\n', line);
        let n = n.map_err(|e| broken(&self.path, self.packing, e))?;
        if n == 0 {
            return Ok(false);
        }
        self.line += 1;
        if n as u64 == limit {
            let found = format!("a line of over {} MiB, beginning {}", LONGEST_LINE >> 20, show(&line[..32]));
            return Err(Error::Input {
                path: self.path.clone(),
                line: Some(self.line),
                column: None,
                found,
                expected: "one interaction a line".to_string(),
            });
        }
        while line.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            line.pop();
        }
        Ok(true)
    }

    /// Whether the bytes read so far end in a newline.
    pub fn ends_in_newline(&self) -> bool {
        self.last.get() == b'\n'
    }

    /// An error about the file as a whole.
    pub fn whole(&self, found: &str, expected: &str) -> Error {
        let (found, expected) = (found.to_string(), expected.to_string());
        Error::Input { path: self.path.clone(), line: None, column: None, found, expected }
    }

    /// A CSV reader over the rest of the file.
    pub fn into_csv(self, delimiter: u8, quoting: bool) -> Csv {
        let reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(quoting)
            .has_headers(false)
            .flexible(true)
            .from_reader(self.reader);
        Csv { path: self.path, packing: self.packing, last: self.last, reader }
    }
}

/// A file of separated fields, record by record.
pub(crate) struct Csv {
    pub path: PathBuf,
    packing: Packing,
    last: Rc<Cell<u8>>,
    reader: csv::Reader<BufReader<Unpacked>>,
}

impl Csv {
    /// Reads the next record; gives the line it begins on.
    pub fn next(&mut self, record: &mut csv::ByteRecord) -> Result<Option<u64>> {
        match self.reader.read_byte_record(record) {
            Ok(true) => Ok(Some(record.position().map_or(1, |p| p.line()))),
            Ok(false) => Ok(None),
            Err(e) => match e.into_kind() {
                csv::ErrorKind::Io(e) => Err(broken(&self.path, self.packing, e)),
                other => Err(Error::io(&self.path, "read")(io::Error::other(format!("{other:?}")))),
            },
        }
    }

    pub fn ends_in_newline(&self) -> bool {
        self.last.get() == b'\n'
    }
}

/// A read that failed: for a packed file most likely the fault of the file.
pub(crate) fn broken(path: &Path, packing: Packing, e: io::Error) -> Error {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    if packing != Packing::Plain && matches!(e.kind(), UnexpectedEof | InvalidData | InvalidInput | Other) {
        let found = match e.kind() {
            UnexpectedEof => "a compressed file that ends early".to_string(),
            _ => format!("broken compression ({e})"),
        };
        let expected = format!("a whole {} file", packing.name());
        return Error::Input { path: path.to_path_buf(), line: None, column: None, found, expected };
    }
    Error::io(path, "read")(e)
}

/// Text of a file, quoted, escaped and cut to 40 characters for a message.
pub(crate) fn show(text: &[u8]) -> String {
    if text.is_empty() {
        return "nothing".to_string();
    }
    let shown: String = text.iter().take(40).flat_map(|&b| b.escape_ascii()).map(char::from).collect();
    // Whole UTF-8 reads better than its bytes.
    let shown = match std::str::from_utf8(text) {
        Ok(text) => text.chars().take(40).flat_map(|c| c.escape_debug()).collect(),
        Err(_) => shown,
    };
    match text.len() {
        0..=40 => format!("\"{shown}\""),
        n => format!("\"{shown}...\" ({n} bytes)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_text_is_short_and_printable() {
        assert_eq!(show(b""), "nothing");
        assert_eq!(show("naïve\t\"".as_bytes()), r#""naïve\t\"""#);
        assert_eq!(show(b"\xff\x00a"), r#""\xff\x00a""#);
        assert_eq!(show(&[b'x'; 10_000]), format!("\"{}...\" (10000 bytes)", "x".repeat(40)));
    }
}
