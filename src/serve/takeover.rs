//! Taking over another run, or other parameters, that appear in the folder being served.

use super::counts::Counts;
use super::served::Served;
use crate::error::Result;
use std::fs;
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

/// Looks at the folder again and again. When its contents have changed, and no longer do, the run is opened by `start`; when it is ready
/// it is `now` the one that answers. One that cannot be opened is told of, and the one that answers goes on.
pub async fn watch(
    (folder, mut seen): (PathBuf, Contents),
    poll: Duration,
    start: impl Fn() -> Result<Served> + Send + Sync + 'static,
    now: Arc<RwLock<Arc<Served>>>,
    counts: Counts,
) {
    let start = Arc::new(start);
    let mut last = seen.clone();
    loop {
        tokio::time::sleep(poll).await;
        let found = contents(&folder);
        let settled = found == last;
        last = found.clone();
        if found == seen || !settled {
            continue;
        }
        seen = found;
        let start = start.clone();
        match tokio::task::spawn_blocking(move || start()).await {
            Ok(Ok(served)) => {
                eprintln!("serving  {} from now on", served.about);
                counts.items(served.items());
                counts.taken("taken");
                *now.write().expect("nothing panics while it writes") = Arc::new(served);
            }
            Ok(Err(e)) => {
                eprintln!("{}: cannot take it over, and go on as before: {e}", folder.display());
                counts.taken("refused");
            }
            Err(e) => {
                eprintln!("{}: cannot take it over, and go on as before: {e}", folder.display());
                counts.taken("refused");
            }
        }
    }
}
