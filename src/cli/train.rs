//! `wgrec train`

use super::{Settings, profile};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use wgrec::device::RunOptions;
use wgrec::graph::plan::Options;
use wgrec::models::{Phase, spec};
use wgrec::train::folder::Stage;
use wgrec::train::{Config, FitOptions, Report, RunFolder, fit};
use wgrec::{Error, Result};

/// Train a model, test it, and keep everything in a run folder
#[derive(clap::Args)]
pub struct Args {
    /// One of `wgrec models`
    model: String,
    #[command(flatten)]
    settings: Settings,
    /// Tune the backbone of this run, by its settings where others are not given: in its own folder, or in --out
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
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

pub fn run(args: Args) -> Result<()> {
    // The folder of the run, and the command that resumes it once it has begun.
    let begun = Arc::new(OnceLock::<(PathBuf, String)>::new());
    let known = begun.clone();
    let stop = super::stop_by_signals(move || match known.get() {
        Some((folder, resume)) if RunFolder::is_run(folder) => resume.clone(),
        _ => super::command_line(&[]),
    })?;
    let Start { mut folder, config, other } = match &args.from {
        Some(from) => start_from(&args, from)?,
        None => start(&args)?,
    };
    let options = FitOptions {
        resume: args.resume,
        plan: Options { no_reuse: args.no_reuse, ..Options::default() },
        run: RunOptions { profile: args.profile.is_some(), check_finite: args.check_finite },
        stop,
    };
    let out = folder.path().to_path_buf();
    let resume = match other {
        // Only the flags say which behaviour.
        true => super::command_line(&["--resume"]),
        false => format!("wgrec train {} --resume --out {}", args.model, super::quoted(&out.to_string_lossy())),
    };
    let _ = begun.set((out, resume.clone()));
    let trained = fit::train(&config, (&mut folder, other), options, &mut Report::standard());
    let (_, timings) = super::resumed_by(|| resume, trained)?;
    if let Some(by) = args.profile {
        super::print(&profile::table(&timings, by))?;
    }
    Ok(())
}

/// Where a training begins.
struct Start {
    folder: RunFolder,
    config: Config,
    /// It tunes to a behaviour other than config.toml's.
    other: bool,
}

/// A training of its own.
fn start(args: &Args) -> Result<Start> {
    let runs = Path::new("runs");
    let out = match (&args.out, args.resume) {
        (None, true) => RunFolder::latest(runs, &args.model),
        (out, _) => out.clone(),
    };
    let earlier = out.as_deref().filter(|path| args.resume && RunFolder::is_run(path));
    match earlier {
        Some(path) => {
            let folder = RunFolder::go_on(path)?;
            let was = folder.config()?;
            check_model(args, &was, path)?;
            let config = args.settings.over(was.clone())?;
            folder.check_data(&config)?;
            config.check_kept(&was, path, false)?;
            Ok(Start { folder, config, other: false })
        }
        None => {
            let config = args.settings.resolved(&args.model)?;
            let folder = match &out {
                Some(path) => RunFolder::new(path)?,
                None => RunFolder::next(runs, &args.model)?,
            };
            Ok(Start { folder, config, other: false })
        }
    }
}

/// An error unless the run in `path` is one of the model that is to be trained.
fn check_model(args: &Args, config: &Config, path: &Path) -> Result<()> {
    let (model, found) = (&args.model, config.model.name());
    spec::find(model)?;
    if model == found {
        return Ok(());
    }
    let path = path.display();
    Err(Error::Usage(format!("{path}: this is a run of {found}; expected one of {model}, or `wgrec train {found}`")))
}

/// The second phase of a training whose first lies in `from`.
fn start_from(args: &Args, from: &Path) -> Result<Start> {
    let was = RunFolder::open(from)?;
    let whole = was.config()?;
    check_model(args, &whole, from)?;
    if !whole.model.has_phases() {
        let model = &args.model;
        return Err(Error::Usage(format!("--from {}: {model} is trained in one phase", from.display())));
    }
    was.check_pretrained()?;
    let whole = Config { phase: Some(Phase::Tune), ..whole };
    let Some(out) = args.out.as_deref().filter(|out| !super::same(out, from)) else {
        let mut folder = RunFolder::go_on(from)?;
        let config = args.settings.over(Config { from: None, ..whole })?;
        folder.check_data(&config)?;
        config.check_backbone(&was.config()?, from)?;
        let behaviour = config.data.target.clone().unwrap_or_default();
        let other = folder.own_behaviour()?.as_ref() != Some(&behaviour);
        if !other {
            return Err(Error::Usage(format!(
                "--from {}: the run is itself one for {behaviour}; name another by --set data.target=BEHAVIOUR, or another --out",
                from.display()
            )));
        }
        folder.enter(Stage::Tune { behaviour: behaviour.clone(), other, all: false });
        if folder.config_file().is_file() {
            if !args.resume {
                let (from, file) = (from.display(), folder.config_file());
                let file = file.display();
                return Err(Error::Usage(format!(
                    "--from {from}: {file} is there already; go on by --resume, or name another --out"
                )));
            }
            config.check_kept(&folder.config()?, from, false)?;
        }
        return Ok(Start { folder, config, other });
    };
    let from = std::path::absolute(from).map_err(Error::io(from, "find"))?;
    if from.to_str().is_none() {
        let found = from.display();
        return Err(Error::Usage(format!(
            "--from: found {found}; expected a path in UTF-8, since config.toml keeps it"
        )));
    }
    let whole = Config { from: Some(from), ..whole };
    let (folder, config) = match args.resume && RunFolder::is_run(out) {
        true => {
            let folder = RunFolder::go_on(out)?;
            let was = folder.config()?;
            let config = args.settings.over(whole)?;
            config.check_kept(&was, out, false)?;
            (folder, config)
        }
        false => {
            let config = args.settings.over(whole)?;
            was.check_data(&config)?;
            (RunFolder::new(out)?, config)
        }
    };
    Ok(Start { folder, config, other: false })
}
