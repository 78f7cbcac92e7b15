//! Where a training begins.

use super::folder::RunFolder;
use crate::config::Config;
use crate::error::Result;
use std::path::Path;

/// Runs that are given no folder have one here.
const RUNS: &str = "runs";

/// The folder of a training and its settings. With `resume` these are the ones of the run in `out`, or without one of the latest
/// run of the model in `runs`, changed by `over`, if there is such a run; else `new` settings, and `out` or a new folder in `runs`.
///
/// # Errors
/// Those of `over` and `new`, [`RunFolder::new`] and [`RunFolder::go_on`]; settings that a run cannot be resumed with.
pub fn start(
    model: &str,
    out: Option<&Path>,
    resume: bool,
    over: impl FnOnce(Config) -> Result<Config>,
    new: impl FnOnce() -> Result<Config>,
) -> Result<(RunFolder, Config)> {
    let runs = Path::new(RUNS);
    let out = match (out, resume) {
        (None, true) => RunFolder::latest(runs, model),
        (out, _) => out.map(Path::to_path_buf),
    };
    match out.as_deref().filter(|path| resume && RunFolder::is_run(path)) {
        Some(path) => {
            let folder = RunFolder::go_on(path)?;
            let was = folder.config_of(model)?;
            let config = over(was.clone())?;
            folder.check_data(&config)?;
            config.check_kept(&was, path, false)?;
            Ok((folder, config))
        }
        None => {
            let config = new()?;
            let folder = match &out {
                Some(path) => RunFolder::new(path)?,
                None => RunFolder::next(runs, model)?,
            };
            Ok((folder, config))
        }
    }
}
