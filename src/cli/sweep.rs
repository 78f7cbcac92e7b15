//! `wgrec sweep`

use super::{Layers, Read, Settings};
use std::path::{Path, PathBuf};
use wgrec::sweep::Sweep;
use wgrec::train::Report;
use wgrec::{Error, Result};

/// Train a model with many settings, a grid, curves or random draws from one TOML file, and write a table and a plot
#[derive(clap::Args)]
pub struct Args {
    /// model, [settings], and what is varied in one of [grid], [curves] and [random]
    #[arg(value_name = "FILE.toml")]
    file: PathBuf,
    /// Interactions: a file or folder, or the name of a known data set [default: the embedded world]
    #[arg(long, value_name = "PATH|NAME", value_parser = super::text_path)]
    data: Option<PathBuf>,
    /// Folder of the runs, of sweep.csv and sweep.svg; what is done in it is not done again [default: runs/FILE]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// A set of settings over the model's defaults, as `wgrec models MODEL` lists them
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Change one setting of all trials, as in --set train.epochs=5
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// auto, cpu, gpu or gpu:N
    #[arg(long)]
    device: Option<String>,
}

pub fn run(args: Args) -> Result<()> {
    let stop = super::stop_by_signals(|| super::command_line(&[]))?;
    let sweep = Sweep::read(&args.file)?;
    let key = |set: &str| set.split('=').next().unwrap_or_default().trim().to_string();
    if let Some(set) = args.set.iter().find(|set| sweep.decides(&key(set))) {
        let (key, file) = (key(set), args.file.display());
        return Err(Error::Usage(format!("--set {set}: {key} is varied in {file}; change it there")));
    }
    let Args { file, data, out, preset, set, device } = args;
    let layers = Layers { preset: None, config: None, set };
    let settings = Settings { data, read: Read::default(), layers, device, seed: None };
    let base = settings.with_defaults(&sweep.model, preset.as_deref(), |config| sweep.over(config))?;
    let stem = file.file_stem().unwrap_or(file.as_os_str());
    let out = out.unwrap_or_else(|| Path::new("runs").join(stem));
    let trained = sweep.run(&base, &out, &stop, &mut Report::standard());
    let results = super::resumed_by(|| super::command_line(&[]), trained)?;
    super::print(&format!("\n{}saved    {}\n", results.table(), out.join("sweep.csv").display()))?;
    match results.failed() {
        0 => Ok(()),
        n => Err(Error::Failed(format!("{n} of {} trials failed: the table says why", results.trials.len()))),
    }
}
