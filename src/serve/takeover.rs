//! Taking over another run, or other parameters, that appear in the folder being served.

use super::counts::Counts;
use super::served::Served;
use crate::error::Result;
use std::fs;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

/// What tells one state of a run's folder from another: where the folder leads to, and the files by which a run answers.
pub type Contents = (Option<PathBuf>, Vec<(PathBuf, Option<SystemTime>, u64)>);

/// See [`Contents`].
pub fn contents(folder: &Path) -> Contents {
    let read = |path: PathBuf| {
        let about = fs::metadata(&path).ok()?;
        Some((path, about.modified().ok(), about.len()))
    };
    let answers_by = |path: &PathBuf| {
        let ending = path.extension().and_then(|ending| ending.to_str());
        matches!(ending, Some("safetensors" | "toml" | "tsv"))
    };
    let files = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut files: Vec<_> = files.filter(answers_by).filter_map(read).collect();
    files.sort();
    (folder.canonicalize().ok(), files)
}

/// The longest pause between two tries to open a run that could not be opened.
const LONGEST: Duration = Duration::from_secs(300);

/// Looks at the folder again and again. When its contents have changed, and no longer do, the run is opened by `start`, and when it is
/// ready, `now` is that run. One that cannot be opened is reported and tried again, with growing pauses; the one before continues.
pub async fn watch(
    (folder, mut seen): (PathBuf, Contents),
    poll: Duration,
    start: impl Fn() -> Result<Served> + Send + Sync + 'static,
    now: Arc<RwLock<Arc<Served>>>,
    counts: Counts,
) {
    let start = Arc::new(start);
    let (mut last, mut pause) = (seen.clone(), poll);
    loop {
        tokio::time::sleep(pause).await;
        let found = contents(&folder);
        if found != last {
            // It may still be written to.
            (last, pause) = (found, poll);
            continue;
        }
        if found == seen {
            continue;
        }
        let start = start.clone();
        let opened = tokio::task::spawn_blocking(move || start()).await;
        let why = match opened {
            Ok(Ok(served)) => {
                eprintln!("serving  {} from now on", served.about);
                counts.items(served.items());
                counts.taken("taken");
                let before = mem::replace(&mut *now.write().expect("nothing panics while it writes"), Arc::new(served));
                // Not while the lock is held.
                drop(before);
                (seen, pause) = (found, poll);
                continue;
            }
            Ok(Err(e)) => e.to_string(),
            Err(e) => e.to_string(),
        };
        pause = (pause * 2).min(LONGEST);
        eprintln!("{}: cannot be served, and the run before continues: {why}", folder.display());
        counts.taken("refused");
    }
}
