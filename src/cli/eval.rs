//! `wgrec eval`

use std::fmt::Write;
use std::fs::File;
use std::path::{Path, PathBuf};
use wgrec::data::Part;
use wgrec::eval::{Comparison, Metric, Ranked};
use wgrec::train::checkpoint::replace;
use wgrec::train::config::Protocol;
use wgrec::train::{RunFolder, Session};
use wgrec::{Error, Result};

/// Rank the held-out items of a run by its best parameters
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// Part to rank
    #[arg(long, value_enum, default_value = "test")]
    split: Part,
    /// full or sampled:N [default: the run's]
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Write every target's rank to a CSV file
    #[arg(long, value_name = "FILE")]
    ranks: Option<PathBuf>,
    /// Folder of another run on the same data: compare with it, paired over the targets
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// Data, where it is no longer at the place it was trained from
    #[arg(long, value_name = "PATH|NAME")]
    data: Option<PathBuf>,
    /// auto, cpu, gpu or gpu:N [default: the run's]
    #[arg(long)]
    device: Option<String>,
}

pub fn run(args: Args) -> Result<()> {
    let protocol = args.protocol;
    let (session, ranked, mut text) = rank(&args.run, &args, protocol)?;
    if let Some(path) = &args.ranks {
        write_ranks(path, &session, &ranked)?;
    }
    text += &match &args.against {
        None => metrics(&args, &ranked),
        Some(other) => {
            // Ranks are compared under one protocol: that of --run.
            let (than, against, _) = rank(other, &args, Some(session.config.eval.protocol))?;
            if than.data.fingerprint() != session.data.fingerprint() {
                return Err(Error::Usage(format!(
                    "{} and {} were trained on different data: their ranks cannot be paired",
                    args.run.display(),
                    other.display()
                )));
            }
            compare(&args, other, &ranked, &against)?
        }
    };
    super::print(&text)
}

fn rank(run: &Path, args: &Args, protocol: Option<Protocol>) -> Result<(Session, Ranked, String)> {
    let (session, store, best) = Session::of_run(&RunFolder::open(run)?, |config| {
        config.eval.protocol = protocol.unwrap_or(config.eval.protocol);
        config.device = args.device.clone().unwrap_or_else(|| config.device.clone());
        config.data.path = args.data.clone().or_else(|| config.data.path.clone());
    })?;
    let text = format!(
        "{:<8} {}\n{:<8} {}\n{:<8} {} of {}, epoch {}\n",
        "device",
        session.device_note,
        "data",
        session.describe_data(),
        "model",
        session.model.name(),
        run.display(),
        best.epoch
    );
    let ranked = session.evaluator(&store, args.split)?.run()?;
    Ok((session, ranked, text))
}

fn part(args: &Args) -> &'static str {
    match args.split {
        Part::Valid => "valid",
        Part::Test => "test",
    }
}

fn metrics(args: &Args, ranked: &Ranked) -> String {
    let mut text = format!("{:<8} {} targets\n", part(args), ranked.ranks.len());
    for metric in Metric::REPORTED {
        let _ = writeln!(text, "{:<8} {:<10} {:.4}", "", metric.to_string(), metric.mean(&ranked.ranks));
    }
    text
}

/// A line a metric: both values, the difference with its 95% interval, and p of two paired tests.
fn compare(args: &Args, other: &Path, ranked: &Ranked, against: &Ranked) -> Result<String> {
    if ranked.targets != against.targets {
        return Err(Error::Usage(format!(
            "{} and {} were asked for different targets: compare runs of one data set and split",
            args.run.display(),
            other.display()
        )));
    }
    let mut text = format!("{:<8} {} targets, against {}\n", part(args), ranked.ranks.len(), other.display());
    let _ = writeln!(
        text,
        "{:<8} {:<10} {:>7} {:>8} {:>11}  {:<20} {:>9} {:>12}",
        "", "", "this", "against", "difference", "95% interval", "p (t)", "p (Wilcoxon)"
    );
    for metric in Metric::REPORTED {
        let [a, b] = [against, ranked].map(|r| r.ranks.iter().map(|&rank| metric.of(rank)).collect::<Vec<_>>());
        let c = Comparison::of(&a, &b)?;
        let (this, that) = (metric.mean(&ranked.ranks), metric.mean(&against.ranks));
        let interval = format!("[{:+.4}, {:+.4}]", c.low, c.high);
        let _ = writeln!(
            text,
            "{:<8} {:<10} {this:>7.4} {that:>8.4} {:>+11.4}  {interval:<20} {:>9.2e} {:>12.2e}",
            "",
            metric.to_string(),
            c.mean,
            c.p_t,
            c.p_wilcoxon
        );
    }
    Ok(text)
}

/// `user,item,events,greater,equal,rank`, a target a line, with external ids; `events` counts those before the target.
fn write_ranks(path: &Path, session: &Session, ranked: &Ranked) -> Result<()> {
    replace(path, |temporary| {
        let mut out = csv::Writer::from_writer(File::create(temporary)?);
        out.write_record(["user", "item", "events", "greater", "equal", "rank"])?;
        let rows = ranked.targets.iter().zip(&ranked.counts).zip(&ranked.ranks);
        for ((&(user, events), (greater, equal)), rank) in rows {
            let item = session.data.history(user)[events as usize];
            let (user, item) = (session.data.user_name(user), session.data.item_name(item));
            let numbers = [events.to_string(), greater.to_string(), equal.to_string(), rank.to_string()];
            out.write_record([user, item].into_iter().chain(numbers.iter().map(String::as_str)))?;
        }
        out.flush()
    })
}
