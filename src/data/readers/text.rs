//! Streams of lines out of plain, gzip and zstd files, and the errors that name a position in them.

use crate::error::{Error, Result};
use flate2::bufread::GzDecoder;
use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// A line, or a record of several, that is longer than this does not hold ids and numbers.
const LONGEST_RECORD: usize = 64 << 20;

/// How a file is packed; detected from its first bytes, never from its name.
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
    /// Fills the whole buffer but at the end of the file, so that the first buffer holds the first line, however small the
    /// pieces are that the file was packed in.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut n = 0;
        while n < buffer.len() {
            match self.inner.read(&mut buffer[n..]) {
                Ok(0) => break,
                Ok(more) => n += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        if n > 0 {
            self.last.set(buffer[n - 1]);
        }
        Ok(n)
    }
}

/// Opens `path` for reading its unpacked bytes.
pub(crate) fn unpack(path: &Path) -> Result<Unpacked> {
    let mut file = open(path)?;
    let mut magic = vec![];
    file.by_ref().take(4).read_to_end(&mut magic).and_then(|_| file.rewind()).map_err(Error::io(path, "read"))?;
    let packing = match magic[..] {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        // A frame of data, or one to be skipped.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Packing::Zstd,
        _ => Packing::Plain,
    };
    let inner: Box<dyn Read> = match packing {
        Packing::Plain => Box::new(file),
        Packing::Gzip => Box::new(Members(Some(GzDecoder::new(BufReader::with_capacity(1 << 17, file))))),
        Packing::Zstd => Box::new(zstd::Decoder::new(file).map_err(Error::io(path, "unpack"))?),
    };
    Ok(Unpacked { inner, packing, last: Rc::new(Cell::new(b'\n')) })
}

/// The unpacked members of a gzip file, one after the other. Zeros after a member are padding, as gzip itself takes them.
struct Members(Option<GzDecoder<BufReader<File>>>);

impl Read for Members {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let n = member.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                return Ok(n);
            }
            let packed = member.get_mut();
            let ends = loop {
                let next = packed.fill_buf()?;
                let zeros = next.iter().take_while(|&&b| b == 0).count();
                if zeros < next.len() || next.is_empty() {
                    let ends = next.is_empty();
                    packed.consume(zeros);
                    break ends;
                }
                packed.consume(zeros);
            };
            let packed = self.0.take().map(GzDecoder::into_inner);
            self.0 = packed.filter(|_| !ends).map(GzDecoder::new);
        }
        Ok(0)
    }
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

/// The error for a file that is not there and should be what is `expected`: [`open`] says of any that it should be one of
/// interactions.
pub(crate) fn check_there(path: &Path, expected: &str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let (path, found, expected) = (path.to_path_buf(), "no such file".to_string(), expected.to_string());
    Err(Error::Input { path, line: None, column: None, found, expected })
}

/// A text file, line by line.
pub(crate) struct Text {
    pub path: PathBuf,
    reader: BufReader<Unpacked>,
    packing: Packing,
    last: Rc<Cell<u8>>,
    latin1: bool,
    /// Number of the line that was read last, from 1.
    pub line: u64,
}

impl Text {
    /// Opens `path`. An empty file and one with binary contents are errors.
    pub fn open(path: &Path) -> Result<Text> {
        let unpacked = unpack(path)?;
        let (packing, last) = (unpacked.packing, unpacked.last.clone());
        let reader = BufReader::with_capacity(1 << 17, unpacked);
        let mut text = Text { path: path.to_path_buf(), reader, packing, last, latin1: false, line: 0 };
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

    /// What follows is Latin-1, and is read as UTF-8.
    pub fn latin1(mut self) -> Text {
        self.latin1 = true;
        self
    }

    /// Reads the next line, without its end, into `line`. False at the end of the file.
    pub fn next(&mut self, line: &mut Vec<u8>) -> Result<bool> {
        line.clear();
        self.append(line)
    }

    /// Reads the next line, without its end, after what `record` holds. False at the end of the file.
    ///
    /// # Errors
    /// A record of over 64 MiB.
    pub fn append(&mut self, record: &mut Vec<u8>) -> Result<bool> {
        let start = record.len();
        let limit = (LONGEST_RECORD + 1).saturating_sub(start) as u64;
        let n = (&mut self.reader).take(limit).read_until(b'\n', record);
        let n = n.map_err(|e| broken(&self.path, self.packing, e))?;
        if limit > 0 && n == 0 {
            return Ok(false);
        }
        self.line += 1;
        if n as u64 == limit {
            let found = format!("over {} MiB without an end, beginning {}", LONGEST_RECORD >> 20, show(&record[..32]));
            return Err(self.wrong(found, "one interaction a line".to_string()));
        }
        while record.len() > start && matches!(record.last(), Some(b'\n' | b'\r')) {
            record.pop();
        }
        if self.latin1 && !record[start..].is_ascii() {
            let text: String = record.drain(start..).map(char::from).collect();
            record.extend_from_slice(text.as_bytes());
        }
        Ok(true)
    }

    /// An error about the line that was read last.
    pub fn wrong(&self, found: String, expected: String) -> Error {
        Error::Input { path: self.path.clone(), line: Some(self.line), column: None, found, expected }
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

/// For errors about a line: from column, what was found and what was expected.
pub(crate) fn at(path: &Path, line: u64) -> impl Fn(Option<u64>, String, String) -> Error + use<> {
    let path = path.to_path_buf();
    move |column, found, expected| Error::Input { path: path.clone(), line: Some(line), column, found, expected }
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

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
        io::Write::write_all(&mut packed, bytes).unwrap();
        packed.finish().unwrap()
    }

    /// What a file of these bytes unpacks to, and the part of it that is seen first.
    fn unpacked(bytes: &[u8]) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), bytes)?;
        let mut reader = BufReader::with_capacity(1 << 17, unpack(file.path()).unwrap());
        let head = reader.fill_buf()?.to_vec();
        let mut all = vec![];
        reader.read_to_end(&mut all)?;
        Ok((all, head))
    }

    #[test]
    fn all_members_and_frames_are_read() {
        let text = b"user_id,item_id,timestamp\nu1,i1,978300760\n".repeat(10);
        // A member a byte: a header in pieces, and an empty member among them.
        let mut members: Vec<Vec<u8>> = text.chunks(1).map(gzip).collect();
        members.insert(7, gzip(b""));
        let members = members.concat();
        let zeros = |n: usize| [&members[..], &vec![0; n]].concat();
        let skipped = [&[0x53, 0x2a, 0x4d, 0x18, 5, 0, 0, 0][..], b"12345"].concat();
        let frame = |text: &[u8]| zstd::encode_all(text, 1).unwrap();
        let frames = [&skipped[..], &frame(&text[..3]), &skipped, &frame(&text[3..])].concat();
        for packed in [members.clone(), zeros(1), zeros(511), zeros(300_000), frames, [zeros(9), gzip(b"")].concat()] {
            assert!(unpacked(&packed).unwrap() == (text.clone(), text.clone()), "{} bytes", packed.len());
        }
        for damaged in [[&members[..], b"\0\0x"].concat(), members[..members.len() - 3].to_vec()] {
            assert!(unpacked(&damaged).is_err());
        }
    }

    #[test]
    fn an_interrupted_read_is_tried_again() {
        struct Interrupted(usize, &'static [u8]);
        impl Read for Interrupted {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 += 1;
                if self.0 % 2 == 1 {
                    Err(io::ErrorKind::Interrupted.into())
                } else {
                    (&mut self.1).take(1).read(buffer)
                }
            }
        }
        let inner = Box::new(Interrupted(0, b"1 2 3\n"));
        let mut file = Unpacked { inner, packing: Packing::Plain, last: Rc::new(Cell::new(b' ')) };
        let mut buffer = [0; 16];
        assert_eq!((file.read(&mut buffer).unwrap(), &buffer[..6], file.last.get()), (6, &b"1 2 3\n"[..], b'\n'));
    }
}
