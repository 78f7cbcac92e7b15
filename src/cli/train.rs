//! `wgrec train`

use super::read::word;
use super::{Settings, profile};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use wgrec::config::{Config, LogConfig, LogTo, TaskFile};
use wgrec::device::RunOptions;
use wgrec::graph::plan::Options;
use wgrec::models::{Phase, tasks};
use wgrec::train::{FitOptions, Report, RunFolder, fit};
use wgrec::{Error, Result};

/// Train a model, test it, and keep everything in a run folder
#[derive(clap::Args)]
pub struct Args {
    /// One of `wgrec models`
    model: String,
    #[command(flatten)]
    settings: Settings,
    /// Take what earlier phases of this run have trained, and its settings where others are not given: train the phases after them
    /// in its folder, for another behaviour, or in --out
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
    /// A file of `[[task]]`, for a model that is trained by tasks: those in place of the model's, or with --continue the ones after them
    #[arg(long, value_name = "FILE")]
    task: Option<PathBuf>,
    /// Continue this run, in its folder, with the tasks of --task: nothing that was trained in it changes
    #[arg(long = "continue", value_name = "DIR", requires = "task", conflicts_with_all = ["from", "out"])]
    go_on: Option<PathBuf>,
    /// Write the loss, the metrics and the settings for other programs too, as log.to does
    #[arg(long, value_name = "PROGRAM,..", value_delimiter = ',', value_parser = word::<LogTo>())]
    log: Vec<LogTo>,
    /// Folder of the run, new or empty [default: the one after the last of runs/MODEL-1, runs/MODEL-2, ...]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Resume from the last checkpoint in --out, or in the latest run of the model; without one, start
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
    let tasks = args.task.as_deref().map(TaskFile::read).transpose()?;
    train(&args, tasks.as_ref()).map_err(|e| match &tasks {
        Some(tasks) => tasks.placed(e),
        None => e,
    })
}

fn train(args: &Args, tasks: Option<&TaskFile>) -> Result<()> {
    // The folder of the run, and the command that resumes it once it has begun.
    let begun = Arc::new(OnceLock::<(PathBuf, String)>::new());
    let known = begun.clone();
    let stop = super::stop_by_signals(move || match known.get() {
        Some((folder, resume)) if RunFolder::is_run(folder) => resume.clone(),
        _ => super::command_line(&[]),
    })?;
    let Start { folder, config, resumed_by_flags } = match (&args.go_on, &args.from, tasks) {
        (Some(run), _, Some(tasks)) => start_after(args, run, tasks)?,
        (_, Some(from), tasks) => start_from(args, from, tasks)?,
        (_, None, tasks) => start(args, tasks)?,
    };
    let log = if args.log.is_empty() { config.log } else { LogConfig { to: args.log.clone(), ..config.log } };
    let config = Config { log, ..config };
    let options = FitOptions {
        resume: args.resume || args.go_on.is_some(),
        plan: Options { no_reuse: args.no_reuse, ..Options::default() },
        run: RunOptions { profile: args.profile.is_some(), check_finite: args.check_finite },
        stop,
    };
    let out = folder.path().to_path_buf();
    let resume = match resumed_by_flags {
        true => super::command_line(&["--resume"]),
        false => format!("wgrec train {} --resume --out {}", args.model, super::quoted(&out.to_string_lossy())),
    };
    let _ = begun.set((out, resume.clone()));
    let trained = fit::train(&config, &folder, options, &mut Report::standard());
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
    /// Only the flags say which behaviour it is for, which is not config.toml's.
    resumed_by_flags: bool,
}

/// A training of its own.
fn start(args: &Args, tasks: Option<&TaskFile>) -> Result<Start> {
    let over = |was| with_tasks(args.settings.over(was)?, tasks);
    // Settings can name the tasks' phases, and another file of settings does not take their place.
    let new = || with_tasks(args.settings.resolved_over(&args.model, |config| with_tasks(config, tasks))?, tasks);
    let (folder, config) = wgrec::train::start(&args.model, args.out.as_deref(), args.resume, over, new)?;
    Ok(Start { folder, config, resumed_by_flags: false })
}

/// The settings with the tasks of a file, if there is one, in place of the model's.
fn with_tasks(config: Config, tasks: Option<&TaskFile>) -> Result<Config> {
    let Some(TaskFile { tasks, .. }) = tasks else { return Ok(config) };
    let config = config.with_tasks(tasks)?;
    config.check()?;
    Ok(config)
}

/// A training of further tasks in the folder of the `run` that has trained others.
fn start_after(args: &Args, run: &Path, file: &TaskFile) -> Result<Start> {
    let folder = RunFolder::go_on(run)?;
    let was = folder.config_of(&args.model)?;
    let old = was.tasks().unwrap_or_default();
    let phases = was.model.phases(false)?;
    if phases.iter().any(|phase| phase.together.is_some()) {
        let (run, model) = (run.display(), &args.model);
        return Err(Error::Usage(format!(
            "--continue {run}: {model} is trained on all tasks at once; train it on the old and the new ones by --task in a new folder"
        )));
    }
    let is_over = |name: &str| {
        phases.iter().any(|phase| phase.name == name && folder.files(phase, false, None).metrics.is_file())
    };
    let begun: Vec<&str> = was.chosen(&phases).into_iter().filter(|name| !is_over(name)).collect();
    let (all, more) = tasks::extended(&old, &file.tasks)?;
    let there = run.display();
    if begun.is_empty() && more == 0 {
        let names = old.iter().map(|task| task.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(Error::Usage(format!(
            "--continue {there}: found no task that the run does not have; expected others than {names}"
        )));
    }
    // A training that was stopped has its tasks in its settings already, and goes on with the same ones.
    if !begun.is_empty() && (more > 0 || begun.iter().any(|name| file.tasks.iter().all(|task| task.name != *name))) {
        let (begun, model) = (begun.join(", "), &args.model);
        return Err(Error::Usage(format!(
            "--continue {there}: it was stopped in {begun}; first resume it by `wgrec train {model} --resume --out {there}`"
        )));
    }
    let new = all
        .iter()
        .map(|task| &task.name)
        .filter(|name| begun.contains(&name.as_str()) || !phases.iter().any(|phase| phase.name == **name));
    let names = new.cloned().collect();
    let base = Config { phases: Some(names), ..was }.with_tasks(&all)?;
    let config = args.settings.over(base.clone())?;
    folder.check_data(&config)?;
    // How tasks are trained can be another thing for each, until one is begun.
    let Config { train, phase, .. } = if begun.is_empty() { config.clone() } else { base.clone() };
    let base = if begun.is_empty() { base.with_vectors_of(&config)? } else { base };
    config.check_kept(&Config { train, phase, ..base }, run, false)?;
    Ok(Start { folder, config, resumed_by_flags: false })
}

/// A training that takes parameters of earlier phases from the run in `from`.
fn start_from(args: &Args, from: &Path, file: Option<&TaskFile>) -> Result<Start> {
    let was = RunFolder::open(from)?;
    let whole = was.config_of(&args.model)?;
    let whole = match file {
        Some(_) => with_tasks(Config { phases: None, from: None, ..whole }, file)?,
        None => whole,
    };
    let phases = whole.model.phases(true)?;
    if phases.len() == 1 {
        let model = &args.model;
        return Err(Error::Usage(format!("--from {}: {model} is trained in one phase", from.display())));
    }
    // Which phases take something can depend on the settings that are given now.
    let asked = args.settings.over(Config { phases: None, from: None, ..whole.clone() })?.model.phases(true)?;
    let takes = |phase: &&Phase| !phase.takes.is_empty();
    let of = if asked.iter().any(|phase| takes(&phase)) { &asked } else { &phases };
    let taking = of.iter().filter(takes).map(|phase| phase.name.clone());
    let whole = Config { phases: Some(taking.collect()), ..whole };
    let Some(out) = args.out.as_deref().filter(|out| !super::same(out, from)) else {
        // Only what is named after its behaviour can stand in one folder with others.
        if !phases.iter().any(|phase| !phase.takes.is_empty() && phase.keeps.contains("{target}")) {
            let (from, model) = (from.display(), &args.model);
            return Err(Error::Usage(format!(
                "--from {from}: {model} would be trained in the folder of the run that it starts from; expected another --out"
            )));
        }
        let mut folder = RunFolder::go_on(from)?;
        let config = args.settings.over(Config { from: None, ..whole })?;
        folder.check_data(&config)?;
        let behaviour = config.data.target.clone().unwrap_or_default();
        if !folder.enter(&behaviour)? {
            return Err(Error::Usage(format!(
                "--from {}: the run is itself one for {behaviour}; name another by --set data.target=BEHAVIOUR, or another --out",
                from.display()
            )));
        }
        for phase in &phases {
            for take in &phase.takes {
                config.check_taken(&was.config()?, from, take, false)?;
                let earlier = phases.iter().find(|phase| phase.name == take.phase);
                let files = earlier.map(|earlier| folder.files(earlier, false, None));
                files.map_or(Ok(()), |files| files.check_finished(&take.phase, &was))?;
            }
        }
        if folder.config_file().is_file() {
            if !args.resume {
                let (from, file) = (from.display(), folder.config_file());
                let file = file.display();
                return Err(Error::Usage(format!(
                    "--from {from}: {file} is there already; resume it by --resume, or name another --out"
                )));
            }
            config.check_kept(&folder.config()?, from, false)?;
        }
        return Ok(Start { folder, config, resumed_by_flags: true });
    };
    let from = std::path::absolute(from).map_err(Error::io(from, "find"))?;
    if from.to_str().is_none() {
        let found = from.display();
        return Err(Error::Usage(format!(
            "--from: found {found}; expected a path in UTF-8, since config.toml keeps it"
        )));
    }
    let config = args.settings.over(Config { from: Some(from), ..whole })?;
    let folder = match args.resume && RunFolder::is_run(out) {
        true => {
            let folder = RunFolder::go_on(out)?;
            config.check_kept(&folder.config()?, out, false)?;
            folder
        }
        false => {
            was.check_data(&config)?;
            RunFolder::new(out)?
        }
    };
    Ok(Start { folder, config, resumed_by_flags: false })
}
