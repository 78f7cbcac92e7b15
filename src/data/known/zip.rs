//! Members of a zip archive, as far as MovieLens needs it: stored or deflated, no encryption, no zip64.

use crate::error::{Error, Result};
use crate::files::replace;
use flate2::read::DeflateDecoder;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const END: [u8; 4] = *b"PK\x05\x06";
const ENTRY: [u8; 4] = *b"PK\x01\x02";
const LOCAL: [u8; 4] = *b"PK\x03\x04";

/// Writes `members` of the archive into `folder`, under their names without folders; each only if its length and checksum
/// are right.
pub(super) fn unpack(archive: &Path, members: &[String], folder: &Path) -> Result<Vec<PathBuf>> {
    let mut file = File::open(archive).map_err(Error::io(archive, "open"))?;
    let entries = entries(&mut file).map_err(Error::io(archive, "read as a zip archive"))?;
    let mut written = vec![];
    for member in members {
        let entry = entries.iter().find(|entry| entry.name == *member).ok_or_else(|| Error::Input {
            path: archive.to_path_buf(),
            line: None,
            column: None,
            found: format!("an archive of {} members", entries.len()),
            expected: format!("the member {member:?}"),
        })?;
        let place = folder.join(member.rsplit('/').next().unwrap_or(member));
        replace(&place, |out| entry.copy(&mut file, out))?;
        written.push(place);
    }
    Ok(written)
}

struct Entry {
    name: String,
    deflated: bool,
    checksum: u32,
    packed: u64,
    len: u64,
    header: u64,
}

/// The central directory.
fn entries(file: &mut File) -> io::Result<Vec<Entry>> {
    let len = file.metadata()?.len();
    let mut tail = vec![];
    file.seek(SeekFrom::Start(len.saturating_sub(22 + 65_535)))?;
    file.read_to_end(&mut tail)?;
    let end = tail.windows(4).rposition(|window| window == END).ok_or_else(|| damaged("it has no end record"))?;
    let end = tail.get(end..end + 22).ok_or_else(|| damaged("its end is cut"))?;
    let (count, start) = (u16_at(end, 10), u32_at(end, 16));
    file.seek(SeekFrom::Start(start as u64))?;
    let mut file = io::BufReader::new(file);
    let mut entries = vec![];
    for _ in 0..count {
        let mut head = [0; 46];
        file.read_exact(&mut head)?;
        if head[..4] != ENTRY {
            return Err(damaged("its directory is damaged"));
        }
        let mut rest = vec![0; u16_at(&head, 28) + u16_at(&head, 30) + u16_at(&head, 32)];
        file.read_exact(&mut rest)?;
        let method = u16_at(&head, 10);
        if method != 0 && method != 8 {
            continue; // a method that no member we ask for uses
        }
        entries.push(Entry {
            name: String::from_utf8_lossy(&rest[..u16_at(&head, 28)]).to_string(),
            deflated: method == 8,
            checksum: u32_at(&head, 16),
            packed: u32_at(&head, 20) as u64,
            len: u32_at(&head, 24) as u64,
            header: u32_at(&head, 42) as u64,
        });
    }
    Ok(entries)
}

impl Entry {
    fn copy(&self, file: &mut File, out: impl io::Write) -> io::Result<()> {
        file.seek(SeekFrom::Start(self.header))?;
        let mut head = [0; 30];
        file.read_exact(&mut head)?;
        if head[..4] != LOCAL {
            return Err(damaged("a member is not where the directory says"));
        }
        file.seek(SeekFrom::Current((u16_at(&head, 26) + u16_at(&head, 28)) as i64))?;
        let packed = io::BufReader::new(file).take(self.packed);
        let mut unpacked: Box<dyn Read> =
            if self.deflated { Box::new(DeflateDecoder::new(packed)) } else { Box::new(packed) };
        let mut out = Checked { out, crc: flate2::Crc::new(), len: 0 };
        // One byte more than there should be, so that a longer one is found and a bomb is not unpacked.
        io::copy(&mut unpacked.by_ref().take(self.len + 1), &mut out)?;
        if out.len != self.len || out.crc.sum() != self.checksum {
            return Err(damaged("a member's length or checksum is wrong"));
        }
        Ok(())
    }
}

struct Checked<W> {
    out: W,
    crc: flate2::Crc,
    len: u64,
}

impl<W: io::Write> io::Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.crc.update(&bytes[..n]);
        self.len += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    u16::from_le_bytes([bytes[at], bytes[at + 1]]) as usize
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::Write;

    /// An archive of (name, contents, deflated).
    pub fn archive(members: &[(&str, &[u8], bool)]) -> Vec<u8> {
        let (mut out, mut directory) = (vec![], vec![]);
        for (name, contents, deflated) in members {
            let mut crc = flate2::Crc::new();
            crc.update(contents);
            let packed = match deflated {
                true => {
                    let mut encoder = flate2::write::DeflateEncoder::new(vec![], flate2::Compression::fast());
                    encoder.write_all(contents).unwrap();
                    encoder.finish().unwrap()
                }
                false => contents.to_vec(),
            };
            let mut common = vec![20, 0, 0, 0, if *deflated { 8 } else { 0 }, 0, 0, 0, 0, 0];
            for field in [crc.sum(), packed.len() as u32, contents.len() as u32, name.len() as u32] {
                common.extend(field.to_le_bytes()); // the last is the name's length and that of an empty extra field
            }
            let header = out.len() as u32;
            directory
                .extend([&ENTRY[..], &[20, 0], &common, &[0; 10], &header.to_le_bytes(), name.as_bytes()].concat());
            out.extend([&LOCAL[..], &common, name.as_bytes(), &packed].concat());
        }
        let (start, len, count) = (out.len() as u32, directory.len() as u32, members.len() as u16);
        out.extend(directory);
        out.extend(
            [
                &END[..],
                &[0; 4],
                &count.to_le_bytes(),
                &count.to_le_bytes(),
                &len.to_le_bytes(),
                &start.to_le_bytes(),
                &[0; 2],
            ]
            .concat(),
        );
        out
    }

    #[test]
    fn stored_and_deflated_members() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.zip");
        let long = b"1::2::3::978300760\n".repeat(5000);
        let whole =
            archive(&[("x/README", b"hello", false), ("x/ratings.dat", &long, true), ("../evil", b"no", false)]);
        std::fs::write(&path, &whole).unwrap();
        let members = ["x/ratings.dat", "x/README"].map(String::from);
        let written = unpack(&path, &members, folder.path()).unwrap();
        assert_eq!(written, ["ratings.dat", "README"].map(|name| folder.path().join(name)));
        assert!(std::fs::read(&written[0]).unwrap() == long && std::fs::read(&written[1]).unwrap() == b"hello");
        let message = unpack(&path, &["x/users.dat".to_string()], folder.path()).unwrap_err().to_string();
        assert!(message.ends_with("found an archive of 3 members; expected the member \"x/users.dat\""), "{message}");
    }

    #[test]
    fn damage_is_found_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.zip");
        let whole = archive(&[("a", &b"some text, some text".repeat(50), true)]);
        for at in (0..whole.len()).step_by(3) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x55;
            std::fs::write(&path, &damaged).unwrap();
            if unpack(&path, &["a".to_string()], folder.path()).is_err() {
                let left: Vec<_> =
                    std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
                assert_eq!(left, ["x.zip"], "byte {at}");
            }
            let _ = std::fs::remove_file(folder.path().join("a"));
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(unpack(&path, &["a".to_string()], folder.path()).is_err());
        }
    }
}
