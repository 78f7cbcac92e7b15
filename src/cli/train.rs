//! `wgrec train`

use super::{Settings, profile};
use std::path::{Path, PathBuf};
use wgrec::device::RunOptions;
use wgrec::graph::plan::Options;
use wgrec::optim::Schedule;
use wgrec::train::{Config, FitOptions, Report, RunFolder, Session};
use wgrec::{Error, Result};

/// Train a model, test it, and keep everything in a run folder
#[derive(clap::Args)]
pub struct Args {
    /// pomrec, dpcpl, sasrec, gru4rec, bert4rec, fmlp, stamp, caser, npe, ease or pop
    model: String,
    #[command(flatten)]
    settings: Settings,
    /// Folder of the run, new or empty [default: the one after the last of runs/MODEL-1, runs/MODEL-2, ...]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on from the last checkpoint in --out, or in the latest run of the model; start where there is none
    #[arg(long)]
    resume: bool,
    /// Time every kernel, or every node of the plan, and print a table at the end
    #[arg(long, value_name = "BY", num_args = 0..=1, require_equals = true, default_missing_value = "kernel")]
    profile: Option<profile::By>,
    /// Stop at the first Inf or NaN and name the node that made it; not with precision=f16, where the loss scale takes care of them
    #[arg(long)]
    check_finite: bool,
    /// Give each value of the plan a buffer of its own
    #[arg(long)]
    no_reuse: bool,
}

/// Settings that a run which is gone on with may change: none of them changes what was done so far.
const MAY_CHANGE: [&str; 8] = [
    "device",
    "train.epochs",
    "train.max_steps",
    "train.patience",
    "train.threads",
    "train.checkpoint_seconds",
    "log.every",
    "data.path",
];

pub fn run(args: Args) -> Result<()> {
    let runs = Path::new("runs");
    let out = match (&args.out, args.resume) {
        (None, true) => RunFolder::latest(runs, &args.model),
        (out, _) => out.clone(),
    };
    let earlier = out.as_deref().filter(|path| args.resume && RunFolder::is_run(path));
    let (folder, config) = match earlier {
        Some(path) => {
            let folder = RunFolder::go_on(path)?;
            let was = folder.config()?;
            let config = args.settings.over(was.clone())?;
            check_unchanged(path, &was, &config)?;
            (folder, config)
        }
        None => {
            let config = args.settings.resolved()?;
            let folder = match &out {
                Some(path) => RunFolder::new(path)?,
                None => RunFolder::next(runs, &args.model)?,
            };
            (folder, config)
        }
    };
    let options = FitOptions {
        resume: args.resume,
        plan: Options { no_reuse: args.no_reuse, ..Options::default() },
        run: RunOptions { profile: args.profile.is_some(), check_finite: args.check_finite },
    };
    let session = Session::open(&args.model, config)?;
    let (_, timings) = session.fit(&folder, options, &mut Report::standard())?;
    if let Some(by) = args.profile {
        super::print(&profile::table(&timings, by))?;
    }
    Ok(())
}

/// A run keeps the settings that it was started with.
fn check_unchanged(path: &Path, was: &Config, is: &Config) -> Result<()> {
    let scheduled = was.train.schedule != Schedule::Constant;
    // A schedule goes by the length of the whole training.
    let fixed =
        |key: &str| !MAY_CHANGE.contains(&key) || scheduled && ["train.epochs", "train.max_steps"].contains(&key);
    let changed = was.differences(is).into_iter().find(|(key, ..)| fixed(key));
    match changed {
        None => Ok(()),
        Some((key, was, is)) => Err(Error::Usage(format!(
            "{key} is {was} in the run in {}, not {is}: a run that is resumed keeps its settings; give the new ones a new --out",
            path.display()
        ))),
    }
}
