//! Downloads that survive a broken connection: the bytes so far stay in `NAME.part`, and the next attempt asks for the rest.

use super::md5::Md5;
use super::{Known, Remote, zip};
use crate::data::cache::hex;
use crate::error::{Error, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use ureq::http::header;

/// Attempts in a row that may bring nothing before we give up; what has come stays for the next start.
const FRUITLESS: u32 = 3;

/// Fetches the files of a data set into `folder` and returns their paths. A file that is there already is left alone.
///
/// `mirror` replaces the folder part of each address. `progress` is told the bytes that have come and, where known, how many
/// there will be.
///
/// # Errors
/// If the data set may not be fetched; if the server does not answer, or what it sends has another hash than is known.
pub fn get(
    known: &Known,
    folder: &Path,
    mirror: Option<&str>,
    progress: &mut dyn FnMut(&str, u64, Option<u64>),
) -> Result<Vec<PathBuf>> {
    if let Some(why) = &known.refusal {
        let Known { name, licence, homepage, .. } = known;
        return Err(Error::Usage(format!("{name} is not fetched: {why}\nhome page: {homepage}\nlicence: {licence}")));
    }
    fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
    let mut files = vec![];
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
            let file = fetch(&url, remote, &folder.join(name), &mut |done, total| progress(name, done, total))?;
            if !remote.unpack.is_empty() {
                zip::unpack(&file, &remote.unpack, folder)?;
                fs::remove_file(&file).map_err(Error::io(&file, "remove"))?;
            }
        }
        files.extend(wanted);
    }
    Ok(files)
}

/// Fetches one file to `place`, by way of `place`.part.
fn fetch(url: &str, remote: &Remote, place: &Path, progress: &mut dyn FnMut(u64, Option<u64>)) -> Result<PathBuf> {
    let part = place.with_file_name(format!("{}.part", place.file_name().unwrap_or_default().to_string_lossy()));
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(30)))
        .timeout_per_read(Some(Duration::from_secs(60)))
        .http_status_as_error(false)
        .accept_encoding("identity") // ranges count the bytes of the file, not of a packed form of it
        .build()
        .into();
    let mut fruitless = 0;
    loop {
        let before = fs::metadata(&part).map_or(0, |meta| meta.len());
        let broken = match attempt(&agent, url, &part, before, progress)? {
            None => break,
            Some(broken) => broken,
        };
        let after = fs::metadata(&part).map_or(0, |meta| meta.len());
        fruitless = if after > before { 0 } else { fruitless + 1 };
        if fruitless == FRUITLESS {
            return Err(Error::Failed(format!(
                "{url}: {broken}; {after} bytes are in {}, start again to go on",
                part.display()
            )));
        }
    }
    check(url, remote, &part)?;
    fs::rename(&part, place).map_err(Error::io(place, "write"))?;
    Ok(place.to_path_buf())
}

/// Fetches what is missing after `have` bytes. `Some` says what broke it off: worth another attempt.
fn attempt(
    agent: &ureq::Agent,
    url: &str,
    part: &Path,
    have: u64,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Option<String>> {
    let mut request = agent.get(url);
    if have > 0 {
        request = request.header(header::RANGE, format!("bytes={have}-"));
    }
    let response = match request.call() {
        Ok(response) => response,
        Err(e @ (ureq::Error::BadUri(_) | ureq::Error::HostNotFound)) => {
            return Err(Error::Usage(format!("{url}: {e}")));
        }
        Err(e) => return Ok(Some(e.to_string())),
    };
    let field = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(String::from);
    // "bytes 500-999/1000", or "bytes */1000" if nothing lies after what we have.
    let range = field(header::CONTENT_RANGE).unwrap_or_default();
    let (span, total) = range.trim_start_matches("bytes ").split_once('/').unwrap_or_default();
    let total: Option<u64> = total.parse().ok();
    let (start, total) = match response.status().as_u16() {
        206 if span.split('-').next().and_then(|start| start.parse().ok()) == Some(have) => (have, total),
        416 if total == Some(have) => return Ok(None),
        // A server that does not know ranges sends everything from the start.
        200 => (0, field(header::CONTENT_LENGTH).and_then(|len| len.parse().ok())),
        206 | 416 => {
            fs::remove_file(part).map_err(Error::io(part, "remove"))?;
            return Ok(Some(format!("the server answered {} to a request for the rest", response.status())));
        }
        500.. => return Ok(Some(format!("the server answered {}", response.status()))),
        _ => return Err(Error::Usage(format!("{url}: the server answered {}", response.status()))),
    };
    let opened = OpenOptions::new().create(true).write(true).append(start > 0).truncate(start == 0).open(part);
    let mut file = opened.map_err(Error::io(part, "write"))?;
    let mut body = response.into_body().into_reader();
    let (mut done, mut buffer) = (start, vec![0; 1 << 16]);
    let broken = loop {
        progress(done, total);
        match body.read(&mut buffer) {
            Ok(0) if total.is_some_and(|total| done < total) => {
                break Some("the connection was closed early".to_string());
            }
            Ok(0) => break None,
            Ok(n) => {
                file.write_all(&buffer[..n]).map_err(Error::io(part, "write"))?;
                done += n as u64;
            }
            Err(e) => break Some(e.to_string()),
        }
    };
    file.sync_all().map_err(Error::io(part, "write"))?;
    Ok(broken)
}

/// Compares the file with the hashes that are known; a wrong one is removed, since no rest would mend it.
fn check(url: &str, remote: &Remote, part: &Path) -> Result<()> {
    let (mut md5, mut sha256) = (Md5::new(), Sha256::new());
    let mut file = File::open(part).map_err(Error::io(part, "read"))?;
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(Error::io(part, "read"))? {
            0 => break,
            n => {
                md5.update(&buffer[..n]);
                sha256.update(&buffer[..n]);
            }
        }
    }
    let pairs = [("MD5", &remote.md5, hex(&md5.finish())), ("SHA-256", &remote.sha256, hex(&sha256.finalize()))];
    for (name, expected, got) in pairs {
        if let Some(expected) = expected
            && *expected != got
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    /// How the server treats one connection.
    #[derive(Clone, Copy)]
    enum Deal {
        /// Breaks off after so many bytes.
        Break(usize),
        /// Answers as asked.
        Serve,
        /// Sends everything whatever range is asked for.
        Whole,
        Status(&'static str),
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
        let mut md5 = Md5::new();
        md5.update(contents);
        let sha256 = Some(hex(&Sha256::digest(contents)));
        Remote { url: "https://nowhere.example/file.bin".into(), md5: Some(hex(&md5.finish())), sha256, unpack: vec![] }
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
        (files.map(|files| fs::read(&files[0]).unwrap()), asked, left.collect())
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
        let taobao = super::super::named("taobao").unwrap();
        let refused = get(&taobao, Path::new("/nowhere"), None, &mut |_, _, _| ()).unwrap_err();
        assert!(refused.to_string().starts_with("taobao is not fetched: Tianchi asks"), "{refused}");
    }

    #[test]
    fn archives_are_unpacked_and_not_fetched_twice() {
        let archive = zip::tests::archive(&[("x/ratings.dat", b"1::2::3::4\n", true), ("x/other", b"", false)]);
        let (address, asked) = server(archive.clone(), vec![Deal::Serve]);
        let remote = Remote { unpack: vec!["x/ratings.dat".into()], ..remote(&archive) };
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let files = get(&known(remote.clone()), folder.path(), Some(&address), &mut |_, _, _| ()).unwrap();
            assert_eq!(files, [folder.path().join("ratings.dat")]);
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(asked.lock().unwrap().len(), 1);
    }
}
