//! Downloads that survive a broken connection: the bytes so far stay in `NAME.part`, and the next attempt asks for the rest.

use super::{Known, Remote, zip};
use crate::data::dataset::hex;
use crate::error::{Error, Result};
use crate::files::{open_kept, try_lock};
use md5::Md5;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::header;

/// Attempts in a row that may bring nothing before we give up; what has come stays for the next start.
const FRUITLESS: u32 = 3;
/// Attempts in all.
const ATTEMPTS: u32 = 100;
/// No file of `datasets/` comes near it: a server that sends more is not sending the file.
const LARGEST: u64 = 1 << 30;

/// What [`get`] did.
#[derive(Debug, Default)]
pub struct Fetched {
    pub files: Vec<PathBuf>,
    /// What could not be checked, for people.
    pub notes: Vec<String>,
}

/// Fetches the files of a data set into `folder`. A file that exists already is left as it is.
///
/// `mirror` replaces the folder part of each address. `progress` gets the number of bytes that have come and, where known, how many
/// there will be.
///
/// # Errors
/// If the data set may not be fetched; if the server does not answer, sends more than 1 GiB, or what it sends has
/// another hash than is known; if another process fetches the same file.
pub fn get(
    known: &Known,
    folder: &Path,
    mirror: Option<&str>,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<Fetched> {
    if let Some(why) = &known.refusal {
        let Known { name, licence, homepage, .. } = known;
        return Err(Error::Usage(format!("{name} is not fetched: {why}\nhome page: {homepage}\nlicence: {licence}")));
    }
    fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let mut fetched = Fetched::default();
    for remote in &known.download {
        let name = remote.url.rsplit('/').next().unwrap_or_default();
        let base = |member: &String| folder.join(member.rsplit('/').next().unwrap_or(member));
        let wanted: Vec<PathBuf> = match remote.unpack.is_empty() {
            true => vec![folder.join(name)],
            false => remote.unpack.iter().map(base).collect(),
        };
        if !wanted.iter().all(|file| file.is_file()) {
            let url = match mirror {
                Some(mirror) => format!("{}/{name}", mirror.trim_end_matches('/')),
                None => remote.url.clone(),
            };
            let file = folder.join(name);
            let sha256 = fetch(&url, remote, &file, &mut |done, total| progress(name, done, total))?;
            if remote.md5.is_none() && remote.sha256.is_none() {
                fetched
                    .notes
                    .push(format!("{name}: no hash of it is published to check it by; its SHA-256 is {sha256}"));
            }
            if !remote.unpack.is_empty() {
                zip::unpack(&file, &remote.unpack, folder)?;
                fs::remove_file(&file).map_err(Error::io(&file, "remove"))?;
            }
        }
        fetched.files.extend(wanted);
    }
    Ok(fetched)
}

/// Fetches one file to `place`, by way of `place`.part, and returns its SHA-256.
fn fetch(url: &str, remote: &Remote, place: &Path, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<String> {
    let path = place.with_file_name(format!("{}.part", place.file_name().unwrap_or_default().to_string_lossy()));
    let mut part = open_kept(&path)?;
    if matches!(try_lock(&part), Ok(false)) {
        return Err(Error::Usage(format!("{}: another process is fetching it; wait for that", path.display())));
    }
    let done = whole(url, &mut part, progress).map_err(|e| match e {
        Stop::Refused(e) => e,
        Stop::Disk(e) => Error::io(&path, "write")(e),
        Stop::Broken(why) => {
            let bytes = part.metadata().map_or(0, |about| about.len());
            Error::Failed(format!("{url}: {why}; {bytes} bytes are in {}, start again to continue", path.display()))
        }
    });
    let sha256 = done.and_then(|()| check(url, remote, &path));
    if sha256.is_err() && part.metadata().is_ok_and(|about| about.len() == 0) {
        let _ = fs::remove_file(&path);
    }
    let sha256 = sha256?;
    fs::rename(&path, place).map_err(Error::io(place, "write"))?;
    Ok(sha256)
}

/// Why a file did not come.
enum Stop {
    /// Another attempt may bring more.
    Broken(String),
    /// What has come cannot be kept.
    Disk(io::Error),
    Refused(Error),
}

/// Fetches what `part` lacks, in as many attempts as bring something.
fn whole(url: &str, part: &mut File, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<(), Stop> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .http_status_as_error(false)
        .accept_encoding("identity") // ranges count the bytes of the file, not of a packed form of it
        .build()
        .into();
    let mut fruitless = 0;
    for attempt in 1.. {
        let before = part.metadata().map_err(Stop::Disk)?.len();
        let ended = rest(&agent, url, part, before, progress);
        part.sync_all().map_err(Stop::Disk)?;
        let Err(Stop::Broken(why)) = ended else { return ended };
        let after = part.metadata().map_err(Stop::Disk)?.len();
        fruitless = if after > before { 0 } else { fruitless + 1 };
        if fruitless == FRUITLESS || attempt == ATTEMPTS {
            return Err(Stop::Broken(why));
        }
    }
    unreachable!("attempts are limited")
}

/// Fetches what is missing after `have` bytes, in one attempt.
fn rest(
    agent: &ureq::Agent,
    url: &str,
    part: &mut File,
    have: u64,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<(), Stop> {
    let refused = |why: String| Err(Stop::Refused(Error::Usage(format!("{url}: {why}"))));
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header(header::RANGE, format!("bytes={have}-"));
    }
    let response = match request.call() {
        Ok(response) => response,
        Err(e @ (ureq::Error::BadUri(_) | ureq::Error::HostNotFound)) => return refused(e.to_string()),
        Err(e) => return Err(Stop::Broken(e.to_string())),
    };
    let field = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(String::from);
    // "bytes 500-999/1000", or "bytes */1000" if nothing lies after what we have.
    let range = field(header::CONTENT_RANGE).unwrap_or_default();
    let (span, total) = range.trim_start_matches("bytes ").split_once('/').unwrap_or_default();
    let total: Option<u64> = total.parse().ok();
    let status = response.status();
    let (start, total) = match status.as_u16() {
        206 if span.split('-').next().and_then(|start| start.parse().ok()) == Some(have) => (have, total),
        416 if have > 0 && total == Some(have) => return Ok(()),
        // A server that does not know ranges sends everything from the start.
        200 => (0, field(header::CONTENT_LENGTH).and_then(|len| len.parse().ok())),
        206 | 416 if have == 0 => {
            return refused(format!(
                "the server answered {status}, as if a part had been asked for and not the whole file"
            ));
        }
        206 | 416 => {
            part.set_len(0).map_err(Stop::Disk)?;
            return Err(Stop::Broken(format!("the server answered {status} to a request for the rest")));
        }
        500.. => return Err(Stop::Broken(format!("the server answered {status}"))),
        _ => return refused(format!("the server answered {status}")),
    };
    part.set_len(start).and_then(|()| part.seek(SeekFrom::Start(start))).map_err(Stop::Disk)?;
    let mut body = response.into_body().into_reader();
    let (mut done, mut buffer) = (start, vec![0; 1 << 16]);
    loop {
        progress(done, total);
        if done.max(total.unwrap_or(0)) > LARGEST {
            part.set_len(0).map_err(Stop::Disk)?;
            let gigabytes = LARGEST >> 30;
            return refused(format!("the server sends more than {gigabytes} GiB, which is not the file that is known"));
        }
        match body.read(&mut buffer) {
            Ok(0) if total.is_some_and(|total| done < total) => {
                return Err(Stop::Broken("the connection was closed early".to_string()));
            }
            Ok(0) => return Ok(()),
            Ok(n) => {
                part.write_all(&buffer[..n]).map_err(Stop::Disk)?;
                done += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Stop::Broken(e.to_string())),
        }
    }
}

/// Compares the file with the hashes that are known and returns its SHA-256; a wrong one is removed, since no rest would
/// mend it.
fn check(url: &str, remote: &Remote, part: &Path) -> Result<String> {
    let (mut md5, mut sha256) = (Md5::new(), Sha256::new());
    let mut file = BufReader::with_capacity(1 << 16, File::open(part).map_err(Error::io(part, "read"))?);
    io::copy(&mut file, &mut Hashes(&mut md5, &mut sha256)).map_err(Error::io(part, "read"))?;
    let sha256 = hex(&sha256.finalize());
    let pairs = [("MD5", &remote.md5, &hex(&md5.finalize())), ("SHA-256", &remote.sha256, &sha256)];
    for (name, expected, got) in pairs {
        if let Some(expected) = expected
            && expected != got
        {
            fs::remove_file(part).map_err(Error::io(part, "remove"))?;
            return Err(Error::Input {
                path: PathBuf::from(url),
                line: None,
                column: None,
                found: format!("a file of {name} {got}"),
                expected: format!("{expected}; it was removed"),
            });
        }
    }
    Ok(sha256)
}

/// Hashes what is written to it.
struct Hashes<'a>(&'a mut Md5, &'a mut Sha256);

impl Write for Hashes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        self.1.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead;
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    /// How the server treats one connection.
    #[derive(Clone, Copy)]
    enum Deal {
        /// Breaks off after this number of bytes.
        Break(usize),
        /// Answers as asked.
        Serve,
        /// Sends everything whatever range is asked for.
        Whole,
        Status(&'static str),
        /// Claims this number of bytes.
        Claim(u64),
    }

    /// A server on loopback that treats one connection after the other as `deals` say. Returns its address and the ranges asked for.
    fn server(contents: Vec<u8>, deals: Vec<Deal>) -> (String, Arc<Mutex<Vec<Option<usize>>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/folder", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(vec![]));
        let log = asked.clone();
        std::thread::spawn(move || {
            for deal in deals {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(|line| line.ok());
                let range = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
                    line.to_lowercase().strip_prefix("range: bytes=")?.trim_end_matches('-').parse::<usize>().ok()
                });
                let start: Option<usize> = range.last();
                log.lock().unwrap().push(start);
                let (all, start) = (contents.len(), start.filter(|_| !matches!(deal, Deal::Whole)));
                let head = match (deal, start) {
                    (Deal::Status(status), _) => {
                        format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    }
                    (Deal::Claim(bytes), _) => {
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\nConnection: close\r\n\r\n")
                    }
                    (_, Some(start)) if start >= all => {
                        format!(
                            "HTTP/1.1 416 No\r\nContent-Range: bytes */{all}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        )
                    }
                    (_, Some(start)) => format!(
                        "HTTP/1.1 206 Partial\r\nContent-Range: bytes {start}-{}/{all}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                        all - 1,
                        all - start
                    ),
                    (_, None) => format!("HTTP/1.1 200 OK\r\nContent-Length: {all}\r\nConnection: close\r\n\r\n"),
                };
                let rest = &contents[start.unwrap_or(0).min(all)..];
                let body = match deal {
                    Deal::Break(n) => &rest[..n.min(rest.len())],
                    Deal::Status(_) => &[],
                    _ => rest,
                };
                stream.write_all(head.as_bytes()).unwrap();
                let _ = stream.write_all(body);
            }
        });
        (address, asked)
    }

    fn contents() -> Vec<u8> {
        (0..300_000u32).map(|i| ((i * i) >> 7) as u8).collect()
    }

    fn known(remote: Remote) -> Known {
        Known {
            name: "test".to_string(),
            refusal: None,
            download: vec![remote],
            ..super::super::named("ml-1m").unwrap()
        }
    }

    fn remote(contents: &[u8]) -> Remote {
        let sha256 = Some(hex(&Sha256::digest(contents)));
        Remote {
            url: "https://nowhere.example/file.bin".into(),
            md5: Some(hex(&Md5::digest(contents))),
            sha256,
            unpack: vec![],
        }
    }

    fn fetched(deals: Vec<Deal>, before: &[u8]) -> (Result<Vec<u8>>, Vec<Option<usize>>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        if !before.is_empty() {
            fs::write(folder.path().join("file.bin.part"), before).unwrap();
        }
        let (address, asked) = server(contents(), deals);
        let files = get(&known(remote(&contents())), folder.path(), Some(&address), &mut |_, _, _| ());
        let left = fs::read_dir(folder.path()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap());
        let asked = asked.lock().unwrap().clone();
        (files.map(|fetched| fs::read(&fetched.files[0]).unwrap()), asked, left.collect())
    }

    #[test]
    fn a_broken_connection_is_taken_up_where_it_broke() {
        let (got, asked, left) = fetched(vec![Deal::Break(100_000), Deal::Break(50_000), Deal::Serve], b"");
        assert!(got.unwrap() == contents());
        assert_eq!(asked, [None, Some(100_000), Some(150_000)]);
        assert_eq!(left, ["file.bin"]);
    }

    #[test]
    fn the_part_of_an_earlier_start_is_used() {
        let (got, asked, _) = fetched(vec![Deal::Serve], &contents()[..123]);
        assert!(got.unwrap() == contents());
        assert_eq!(asked, [Some(123)]);
        let (got, _, _) = fetched(vec![Deal::Serve], &contents()); // all was there but the renaming
        assert!(got.unwrap() == contents());
    }

    #[test]
    fn a_server_without_ranges_starts_again() {
        let (got, asked, _) = fetched(vec![Deal::Break(1000), Deal::Whole], b"");
        assert!(got.unwrap() == contents());
        assert_eq!(asked, [None, Some(1000)]);
    }

    #[test]
    fn a_part_longer_than_the_file_is_dropped() {
        let (got, asked, _) = fetched(vec![Deal::Serve, Deal::Serve], &vec![0; 400_000]);
        assert!(got.unwrap() == contents());
        assert_eq!(asked, [Some(400_000), None]);
    }

    #[test]
    fn failures() {
        let (got, _, left) = fetched(vec![Deal::Serve], b"wrong bytes");
        let message = got.unwrap_err().to_string();
        assert!(message.contains("/folder/file.bin: found a file of MD5 ") && left.is_empty(), "{message} {left:?}");
        let (got, _, _) = fetched(vec![Deal::Status("404 Not Found")], b"");
        assert!(got.unwrap_err().to_string().ends_with("the server answered 404 Not Found"));
        let (got, asked, left) =
            fetched(vec![Deal::Break(10), Deal::Break(0), Deal::Status("503 Busy"), Deal::Break(0)], b"");
        let error = got.unwrap_err();
        assert!(error.to_string().contains("10 bytes are in ") && error.exit_code() == 1, "{error}");
        assert_eq!((asked.len(), left), (4, vec!["file.bin.part".to_string()]));
        for status in ["206 Partial Content", "416 Range Not Satisfiable"] {
            let (got, _, left) = fetched(vec![Deal::Status(status)], b"");
            let message = got.unwrap_err().to_string();
            assert!(message.contains(&format!("answered {status}, as if a part had been asked for")), "{message}");
            assert!(left.is_empty(), "{left:?}");
        }
        let (got, asked, left) = fetched(vec![Deal::Claim(LARGEST + 1)], b"");
        let message = got.unwrap_err().to_string();
        assert!(message.contains("sends more than 1 GiB") && asked.len() == 1 && left.is_empty(), "{message}");
        // A byte an attempt is something each time, but not for ever.
        let (got, asked, _) = fetched(vec![Deal::Break(1); ATTEMPTS as usize + 1], b"");
        assert!(got.unwrap_err().to_string().contains("100 bytes are in "));
        assert_eq!(asked.len(), ATTEMPTS as usize);
        let taobao = super::super::named("taobao").unwrap();
        let refused = get(&taobao, Path::new("/nowhere"), None, &mut |_, _, _| ()).unwrap_err();
        assert!(refused.to_string().starts_with("taobao is not fetched: Tianchi asks"), "{refused}");
    }

    #[test]
    fn what_has_no_known_hash_is_noted_with_its_own() {
        let (address, _) = server(contents(), vec![Deal::Serve]);
        let remote = Remote { md5: None, sha256: None, ..remote(&contents()) };
        let folder = tempfile::tempdir().unwrap();
        let fetched = get(&known(remote), folder.path(), Some(&address), &mut |_, _, _| ()).unwrap();
        let sha256 = hex(&Sha256::digest(contents()));
        assert_eq!(
            fetched.notes,
            [format!("file.bin: no hash of it is published to check it by; its SHA-256 is {sha256}")]
        );
    }

    #[test]
    fn two_do_not_fetch_into_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let held = open_kept(&folder.path().join("file.bin.part")).unwrap();
        assert!(try_lock(&held).unwrap());
        let error = get(&known(remote(&contents())), folder.path(), Some("http://127.0.0.1:9"), &mut |_, _, _| ());
        assert!(error.unwrap_err().to_string().contains("another process is fetching it"));
    }

    #[test]
    fn archives_are_unpacked_and_not_fetched_twice() {
        let archive = zip::tests::archive(&[("x/ratings.dat", b"1::2::3::4\n", true), ("x/other", b"", false)]);
        let (address, asked) = server(archive.clone(), vec![Deal::Serve]);
        let remote = Remote { unpack: vec!["x/ratings.dat".into()], ..remote(&archive) };
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let fetched = get(&known(remote.clone()), folder.path(), Some(&address), &mut |_, _, _| ()).unwrap();
            assert_eq!(fetched.files, [folder.path().join("ratings.dat")]);
            assert!(fetched.notes.is_empty());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(asked.lock().unwrap().len(), 1);
    }
}
