//! Members of a zip archive.

use crate::error::{Error, Result};
use crate::files::replace;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use zip::ZipArchive;
use zip::result::ZipError;

/// Writes `members` of the archive into `folder`, under their names without folders; each only if its length and checksum
/// are right.
pub(super) fn unpack(archive: &Path, members: &[String], folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |e: ZipError| Error::io(archive, "read as a zip archive")(e.into());
    let file = File::open(archive).map_err(Error::io(archive, "open"))?;
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(unreadable)?;
    let mut written = vec![];
    for member in members {
        let count = zip.len();
        let mut packed = zip.by_name(member).map_err(|e| match e {
            ZipError::FileNotFound => Error::Input {
                path: archive.to_path_buf(),
                line: None,
                column: None,
                found: format!("an archive of {count} members"),
                expected: format!("the member {member:?}"),
            },
            e => unreadable(e),
        })?;
        let place = folder.join(member.rsplit('/').next().unwrap_or(member));
        let len = packed.size();
        replace(&place, |out| {
            // One byte more than there should be, so that a longer one is found and a bomb is not unpacked.
            match io::copy(&mut packed.by_ref().take(len + 1), out)? {
                n if n == len => Ok(()),
                n => Err(io::Error::new(io::ErrorKind::InvalidData, format!("a member has {n} bytes, not {len}"))),
            }
        })?;
        written.push(place);
    }
    Ok(written)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::io::{Cursor, Write};
    use zip::CompressionMethod;
    use zip::write::{SimpleFileOptions, ZipWriter};

    /// An archive of (name, contents, deflated).
    pub fn archive(members: &[(&str, &[u8], bool)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(vec![]));
        for (name, contents, deflated) in members {
            let method = if *deflated { CompressionMethod::Deflated } else { CompressionMethod::Stored };
            zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            zip.write_all(contents).unwrap();
        }
        zip.finish().unwrap().into_inner()
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
