//! Hostile text files: what a reader holds in memory, and 100,000 mutants of the cases (a command of its own, minutes long):
//!     cargo test --release --test hostile -- --ignored --nocapture

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use wgrec::Result;
use wgrec::data::readers::{locate, read};
use wgrec::data::{Columns, Format, SkipBad};
use wgrec::tensor::philox::Stream;

const MIB: usize = 1 << 20;

/// Bytes held now, and the most since [`watched`] began.
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: all memory comes from the system's allocator; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The tests of this file run one after the other: what others allocate would be counted.
static ALONE: Mutex<()> = Mutex::new(());

/// What `work` gives, the most bytes that it held, and how long it took.
fn watched<T>(work: impl FnOnce() -> T) -> (T, usize, Duration) {
    let (before, start) = (HELD.load(Relaxed), Instant::now());
    PEAK.store(before, Relaxed);
    let done = work();
    (done, PEAK.load(Relaxed).saturating_sub(before), start.elapsed())
}

/// Events of a file, however it is read.
fn events(path: &Path, format: Option<Format>, skip: SkipBad) -> Result<usize> {
    let columns = Columns::default();
    Ok(read(&locate(path, format, &columns)?, &columns, skip)?.len())
}

fn gzip(contents: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(vec![], flate2::Compression::fast());
    out.write_all(contents).unwrap();
    out.finish().unwrap()
}

/// A line, a record or a field of any length costs at most the 64 MiB at which it is refused.
#[test]
fn memory_is_bounded() {
    let _alone = ALONE.lock().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let nested = |open: &str, inner: &str, close: &str| {
        let value = open.repeat(30_000) + inner + &close.repeat(30_000);
        format!("{{\"user_id\":\"1\",\"item_id\":\"2\",\"rating\":{value},\"timestamp\":1600000000}}\n")
    };
    let header = "user_id,item_id,rating,timestamp\n";
    let much = "x".repeat(100 * MIB);
    let cases = [
        ("nested lists", nested("[", "", "]").into_bytes(), "expected a number or a text as rating"),
        ("many lists", nested("[[],", "0", "]").into_bytes(), "expected a number or a text as rating"),
        ("nested objects", nested("{\"a\":", "1", "}").into_bytes(), "expected a number or a text as rating"),
        ("a line", gzip(much.as_bytes()), "over 64 MiB without an end"),
        ("a field", gzip(format!("{header}1,2,3,{much}\n").as_bytes()), "over 64 MiB without an end"),
        (
            "a record",
            gzip(format!("{header}1,\"{}\",3,4\n", much.replace("xx", "x\n")).as_bytes()),
            "over 64 MiB without an end",
        ),
        ("fields", gzip(format!("{header}{}\n", ",".repeat(60 * MIB)).as_bytes()), "over 65536 fields"),
        (
            "a JSON text",
            gzip(format!("{{\"user\":\"1\",\"item\":\"{much}\"}}\n").as_bytes()),
            "over 64 MiB without an end",
        ),
        ("a sequence", gzip(format!("1 2\n3 {much}\n").as_bytes()), "over 64 MiB without an end"),
        (
            "an atomic file",
            gzip(format!("user_id:token\titem_id:token\n1\t{much}\n").as_bytes()),
            "over 64 MiB without an end",
        ),
    ];
    drop(much);
    for (what, contents, expected) in cases {
        let path = folder.path().join("file");
        std::fs::write(&path, contents).unwrap();
        let (read, peak, _) = watched(|| events(&path, None, SkipBad::NONE));
        let error = read.unwrap_err();
        assert!(error.exit_code() == 2 && error.to_string().contains(expected), "{what}: {error}");
        assert!(peak < 400 * MIB, "{what}: {} MiB", peak / MIB);
    }
}

/// The text files of the cases, and the contents of those that are packed.
fn cases() -> Vec<(PathBuf, Vec<u8>)> {
    fn files(folder: &Path, all: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files(&path, all) } else { all.push(path) }
        }
    }
    let mut all = vec![];
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"), &mut all);
    all.sort();
    let mut cases = vec![];
    for path in all.into_iter().filter(|path| path.extension().is_none_or(|ending| ending != "parquet")) {
        let contents = std::fs::read(&path).unwrap();
        if contents.starts_with(&[0x1f, 0x8b]) {
            let mut unpacked = vec![];
            std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&contents[..]), &mut unpacked).unwrap();
            cases.push((path.clone(), unpacked));
        }
        cases.push((path, contents));
    }
    cases
}

/// Some changes of a file: bits, bytes, pieces that go or come again, tokens that mean something.
fn mutate(contents: &mut Vec<u8>, stream: &mut Stream) {
    const TOKENS: [&[u8]; 24] = [
        b"\"",
        b"\n",
        b"\r",
        b"\t",
        b",",
        b";",
        b"::",
        b"{",
        b"}",
        b"[",
        b"]",
        b"'",
        b"\\",
        b"\\u",
        b"\0",
        b"\xff",
        b"-",
        b"1e999",
        b"99999999999999999999",
        b"NaN",
        b"NA",
        b"u'",
        b"\xef\xbb\xbf",
        b"2015-01-08T19:53:07+99:99",
    ];
    for _ in 0..1 + stream.below(4) {
        let len = contents.len() as u32;
        let at = stream.below(len + 1) as usize;
        let end = (at + stream.below(1 + len / 8) as usize).min(contents.len());
        match stream.below(6) {
            0 if at < contents.len() => contents[at] ^= 1 << stream.below(8),
            1 if at < contents.len() => contents[at] = stream.below(256) as u8,
            2 => drop(contents.drain(at..end)),
            3 => contents.extend_from_within(at..end),
            4 => contents.truncate(end),
            _ => {
                let token = TOKENS[stream.below(TOKENS.len() as u32) as usize];
                let times = if stream.below(50) == 0 { 20_000 } else { 1 };
                contents.splice(at..at, token.repeat(times));
            }
        }
        if contents.is_empty() {
            contents.push(b'\n');
        }
    }
}

/// Mutants are read as what they look like, and every eighth as each format too; none panics, takes 1 GB or 10 s.
fn mutants(count: u64) {
    let _alone = ALONE.lock().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let cases = cases();
    let (mut read, mut refused, mut most, mut longest) = (0u64, 0u64, 0, Duration::ZERO);
    for number in 0..count {
        let mut stream = Stream::new(1, "mutants", number);
        let (origin, contents) = &cases[number as usize % cases.len()];
        let mut contents = contents.clone();
        mutate(&mut contents, &mut stream);
        let path = folder.path().join("mutant");
        std::fs::write(&path, &contents).unwrap();
        let every = if number % 8 == 0 { Format::all() } else { &[] };
        for format in std::iter::once(None).chain(every.iter().copied().map(Some)) {
            let skip = if stream.below(2) == 0 { SkipBad::NONE } else { SkipBad::ALL };
            let (done, peak, took) = watched(|| catch_unwind(|| events(&path, format, skip)));
            let about = || format!("mutant {number} of {} as {format:?}", origin.display());
            match done {
                Ok(Ok(_)) => read += 1,
                Ok(Err(error)) if error.exit_code() == 2 => refused += 1,
                Ok(Err(error)) => panic!("{}: {error}", about()),
                Err(_) => panic!("{}: a panic", about()),
            }
            assert!(peak < 1_000_000_000 && took < Duration::from_secs(10), "{}: {peak} bytes, {took:?}", about());
            (most, longest) = (most.max(peak), longest.max(took));
        }
    }
    println!("{count} mutants: {read} read, {refused} refused, at most {} MiB and {longest:?}", most / MIB);
}

#[test]
fn some_mutants() {
    mutants(1000);
}

#[test]
#[ignore = "minutes long"]
fn a_hundred_thousand_mutants() {
    mutants(100_000);
}
