//! Files that are replaced whole or not at all, and what a killed process leaves of them.
//!
//! [`replace`] writes every file of the program that others read. The bytes go to a temporary file in the same folder, of a
//! random name and newly created, so that no two writers share one and no link that waits under a known name is followed. Its
//! writer holds a lock on it: a temporary file without one is left over from a process that was killed, and the
//! next writer in the folder removes it ([`sweep`]).

use crate::error::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;
use tempfile::NamedTempFile;

/// Between these, the name of a temporary file or folder is random.
const PREFIX: &str = ".wgrec-";
const SUFFIX: &str = ".tmp";
/// In a temporary folder, the file that is locked as long as its process lives.
const LOCK: &str = "lock";

/// Where a file system has no locks, a temporary file is left over when nothing was written to it for so long.
const FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60);

/// Replaces the file `path` by what `write` writes, whole or not at all, and syncs it to the disk.
///
/// Of several writers at once, the last one wins. The new file has the permissions of any new file. Where `path` is a link,
/// the link is replaced: the file that it leads to stays as it is. Leftovers in the folder are removed.
///
/// # Errors
/// A `path` that leads to a folder or device; a file that cannot be written. What was there before stays.
pub fn replace(path: &Path, write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<()> {
    if path.exists() && !path.is_file() {
        return Err(Error::Usage(format!("{} is no ordinary file; name another", path.display())));
    }
    let folder = folder_of(path);
    sweep(folder);
    let attempt = || {
        let file = temporary(folder)?;
        let mut out = BufWriter::with_capacity(1 << 16, file.as_file());
        write(&mut out)?;
        out.flush()?;
        drop(out);
        file.as_file().sync_all()?;
        file.persist(path)?;
        // Makes the renaming last over a loss of power, where the file system can. The file is replaced either way.
        #[cfg(unix)]
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    };
    attempt().map_err(Error::io(path, "write"))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new file in `folder` that is removed when it is dropped, locked.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX).rand_bytes(12);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    loop {
        let file = builder.tempfile_in(folder)?;
        // Before the lock was taken, a sweep of another process may have found the file and removed it.
        if !matches!(try_lock(file.as_file()), Ok(false)) && file.path().exists() {
            return Ok(file);
        }
    }
}

/// Replaces the folder `path` by one that `fill` makes under the name that it is given. The folder is whole at any time; only
/// between two renames it is missing. A kill in that moment leaves the old one next to it, until the next call is done.
///
/// # Errors
/// Those of `fill`; a folder that cannot be written next to `path`. What was there before stays.
pub fn replace_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let failed = || Error::io(path, "write");
    let prefix = format!("{PREFIX}{}-", path.file_name().unwrap_or_default().to_string_lossy());
    let work = tempfile::Builder::new().prefix(&prefix).suffix(SUFFIX).tempdir_in(folder_of(path)).map_err(failed())?;
    let lock = File::create_new(work.path().join(LOCK)).map_err(failed())?;
    if matches!(try_lock(&lock), Ok(false)) {
        // Another call took the folder for one that a kill left, and removes it.
        return replace_folder(path, fill);
    }
    let [new, old] = ["new", "old"].map(|name| work.path().join(name));
    fill(&new)?;
    let replaces = path.exists();
    if replaces {
        fs::rename(path, &old).map_err(failed())?;
    }
    if let Err(e) = fs::rename(&new, path) {
        if replaces && fs::rename(&old, path).is_err() {
            let _ = work.keep();
        }
        return Err(failed()(e));
    }
    drop((lock, work));
    for entry in fs::read_dir(folder_of(path)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if is_temporary(&name.to_string_lossy()) && name.to_string_lossy().starts_with(&prefix) {
            let lock = File::options().write(true).open(entry.path().join(LOCK));
            if lock.is_ok_and(|lock| try_lock(&lock).unwrap_or_else(|_| is_forgotten(&lock))) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }
    Ok(())
}

/// Whether a name is that of a temporary file or folder.
pub fn is_temporary(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// Removes the temporary files in `folder` whose writers were killed. What cannot be removed stays.
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let ours = is_temporary(&entry.file_name().to_string_lossy());
        if ours && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let path = entry.path();
            // The lock is held until the file is gone, so that its writer, if it has only just created it, takes another.
            let Ok(file) = File::options().read(true).write(true).open(&path) else { continue };
            let left_over = try_lock(&file).unwrap_or_else(|_| is_forgotten(&file));
            if left_over {
                let _ = fs::remove_file(&path);
            }
        }
    }
}

fn is_forgotten(file: &File) -> bool {
    let modified = file.metadata().and_then(|about| about.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > FORGOTTEN))
}

/// Takes a lock that lasts until the file is closed, and no longer than the process lives. False if another holds it.
///
/// # Errors
/// A file system without locks; a lock that cannot be taken for another reason.
pub fn try_lock(file: &File) -> io::Result<bool> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
}

/// Whether a process of this machine has the number `pid`; true where the system does not say.
pub fn is_running(pid: &str) -> bool {
    !Path::new("/proc/self").exists() || Path::new("/proc").join(pid).exists()
}

/// Opens a file of a fixed name to be locked or added to. It is created if it is missing; what it holds stays.
///
/// # Errors
/// A link, since it would lead the writing to another file; a file that cannot be opened.
pub fn open_kept(path: &Path) -> Result<File> {
    if fs::symlink_metadata(path).is_ok_and(|about| !about.is_file()) {
        return Err(Error::Usage(format!("{} is a link or no ordinary file; remove it", path.display())));
    }
    File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(Error::io(path, "write"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(path: &Path, text: &str) -> Result<()> {
        replace(path, |out| out.write_all(text.as_bytes()))
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.json");
        put(&path, "old").unwrap();
        let full = |out: &mut BufWriter<&File>| {
            out.write_all(b"half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let error = replace(&path, full).unwrap_err();
        assert!(error.to_string().contains("cannot write"), "{error}");
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), names(folder.path())), ("old", vec!["x.json".into()]));
        for place in [folder.path(), &path.join("below"), Path::new("/dev/null")] {
            assert!(put(place, "new").is_err(), "{}", place.display());
        }
    }

    /// Threads with files of their own meet as processes do: a lock belongs to the open file.
    #[test]
    fn many_write_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.csv");
        let text = |writer: usize| format!("{writer}\n").repeat(20_000 + writer);
        std::thread::scope(|scope| {
            let write = |writer| (0..5).try_for_each(|_| put(&path, &text(writer)));
            let writers: Vec<_> = (0..16).map(|writer| scope.spawn(move || write(writer))).collect();
            writers.into_iter().for_each(|writer| writer.join().unwrap().unwrap());
        });
        let found = fs::read_to_string(&path).unwrap();
        assert!((0..16).any(|writer| found == text(writer)), "lines of several writers, {} bytes", found.len());
        assert_eq!(names(folder.path()), ["list.csv"]);
    }

    #[test]
    fn what_a_kill_left_goes_and_what_is_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let (left, foreign) = (path.join(".wgrec-aBcDeFgHiJkL.tmp"), path.join("notes.tmp"));
        fs::write(&left, "half").unwrap();
        fs::write(&foreign, "mine").unwrap();
        let held = temporary(path).unwrap();
        put(&path.join("x"), "new").unwrap();
        let held_name = held.path().file_name().unwrap().to_str().unwrap().to_string();
        assert_eq!(names(path), [&held_name, "notes.tmp", "x"]);
        assert!(is_temporary(&held_name) && !is_temporary("notes.tmp"));
    }

    #[test]
    fn a_folder_is_replaced_whole() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("world");
        let fill = |text: &'static str| {
            move |new: &Path| {
                fs::create_dir(new).map_err(Error::io(new, "make"))?;
                put(&new.join("x"), text)
            }
        };
        let read = || fs::read_to_string(path.join("x")).unwrap();
        replace_folder(&path, fill("old")).unwrap();
        let left = [".wgrec-world-aBcDeF.tmp", ".wgrec-worlds-aBcDeF.tmp"].map(|name| parent.path().join(name));
        for folder in &left {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join(LOCK), "").unwrap();
        }
        let failing = |new: &Path| fill("half")(new).and(Err(Error::Failed("full".to_string())));
        assert!(replace_folder(&path, failing).is_err());
        assert_eq!((read().as_str(), left[0].exists()), ("old", true));
        replace_folder(&path, fill("new")).unwrap();
        assert_eq!(
            (read().as_str(), names(parent.path())),
            ("new", vec![".wgrec-worlds-aBcDeF.tmp".into(), "world".into()])
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_are_replaced_and_not_followed() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let [path, target, missing] = ["x", "target", "missing"].map(|name| folder.path().join(name));
        fs::write(&target, "precious").unwrap();
        for end in [&target, &missing] {
            symlink(end, &path).unwrap();
            assert!(open_kept(&path).unwrap_err().to_string().contains("is a link"));
            put(&path, "new").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "new");
            assert!(!path.is_symlink());
            fs::remove_file(&path).unwrap();
        }
        assert_eq!((fs::read_to_string(&target).unwrap().as_str(), missing.exists()), ("precious", false));
    }

    #[cfg(unix)]
    #[test]
    fn as_readable_as_other_files() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["x", "other"].map(|name| folder.path().join(name));
        put(&path, "").unwrap();
        fs::write(&other, "").unwrap();
        let [mode, usual] = [path, other].map(|path| fs::metadata(path).unwrap().permissions().mode());
        assert_eq!(mode, usual);
    }
}
