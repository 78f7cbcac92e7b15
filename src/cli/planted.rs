//! `wgrec planted`

use super::models::table;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};
use wgrec::config::Config;
use wgrec::eval::{Comparison, Correlation};
use wgrec::files::replace;
use wgrec::look::{Agreement, Follows, Numbered, Planted};
use wgrec::train::{RunFolder, Session};
use wgrec::{Error, Result};

/// How well the interests of runs on the embedded world agree with those that it planted: adjusted mutual information for each user
/// between a true click's strongest interest and the planted one, in the window before the test; 1: equal, 0: chance. Of a model
/// that gives each user a number of interests, also how the number follows the planted one: rank correlations over users
#[derive(clap::Args)]
pub struct Args {
    /// Folders of runs of one model, as of several worlds (`--set world_seed=N`): their users count together
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Write the values of all users to a JSON file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// auto, cpu, gpu or gpu:N [default: each run's]
    #[arg(long)]
    device: Option<String>,
}

/// An error unless the run in `path` is one of the model of those `seen`, on another world than theirs.
fn check_with(path: &Path, config: &Config, seen: &[(PathBuf, Config)]) -> Result<()> {
    let refuse = |problem: String| Err(Error::Usage(format!("{}: {problem}", path.display())));
    if let Some((first, other)) = seen.first() {
        let (name, expected) = (config.model.name(), other.model.name());
        if name != expected {
            return refuse(format!("found a run of {name}; expected runs of {expected}, as the first one"));
        }
        let free = ["seed", "world_seed", "device"];
        if let Some((key, was, is)) = other.differences(config).into_iter().find(|(key, ..)| !free.contains(&&**key)) {
            return refuse(format!("{key}: found {is}; expected {was}, as in {}", first.display()));
        }
    }
    match seen.iter().find(|(_, other)| other.world_seed == config.world_seed) {
        Some((other, _)) => {
            let (seed, other) = (config.world_seed, other.display());
            refuse(format!(
                "world_seed: found {seed}, as in {other}, whose users would count twice; expected another world"
            ))
        }
        None => Ok(()),
    }
}

/// How many users have each number of interests, and what that follows.
fn of_numbers(numbered: &Numbered) -> String {
    let Numbered { users, shares, model, shuffled, groups, undefined } = numbered;
    let shares = shares.iter().map(|(number, share)| format!("{number} for {:.1}%", 100.0 * share)).collect::<Vec<_>>();
    let mut rows =
        table(&["rank correlation (95% interval over users) of", "planted in the window", "alive at the test"]);
    let cell = |correlation: &Option<Correlation>| match correlation {
        Some(Correlation { value, low, high }) => format!("{value:+.4} ({low:+.4} to {high:+.4})"),
        None => "not defined".to_string(),
    };
    for (name, Follows { planted, alive }) in [
        ("the model's number of interests", model),
        ("the same, shuffled within deciles of history length", shuffled),
        ("the number of item groups in the window", groups),
    ] {
        rows.add_row([name.to_string(), cell(planted), cell(alive)]);
    }
    let undefined: String = undefined.iter().map(|why| format!("{why}\n")).collect();
    format!("interests of {users} users: {}\n{undefined}\n{}\n\n", shares.join(", "), rows.trim_fmt())
}

pub fn run(args: Args) -> Result<()> {
    if let Some(path) = &args.json {
        super::check_output(path, None)?;
    }
    let mut planted = Planted::default();
    let mut seen: Vec<(PathBuf, Config)> = vec![];
    for path in &args.runs {
        let (session, store, _) = Session::of_run(&mut RunFolder::open(path)?, None, |config| {
            config.device = args.device.clone().unwrap_or_else(|| config.device.clone());
        })?;
        check_with(path, &session.config, &seen)?;
        seen.push((path.clone(), session.config.clone()));
        planted.extend(Planted::of(&session, &store).map_err(|e| match e {
            Error::Usage(problem) => Error::Usage(format!("{}: {problem}", path.display())),
            e => e,
        })?);
    }
    let Planted { agreement: all, numbers } = planted;
    let numbered = numbers.as_ref().map(|numbers| numbers.compared());
    let agreed = if all.trained.len() < 2 { None } else { Some(of_agreement(&all)?) };
    let numbers_text = numbered.as_ref().map(of_numbers).unwrap_or_default();
    let (users, left_out) = (all.trained.len(), all.left_out);
    let text = format!(
        "{numbers_text}{users} users; {left_out} with fewer than two planted interests or 8 true clicks in their window are left out\n{}",
        agreed.as_ref().map_or("", |(text, _)| text)
    );
    if let Some(path) = &args.json {
        let runs: Vec<String> = args.runs.iter().map(|run| run.display().to_string()).collect();
        let model = seen.first().map(|(_, config)| config.model.name());
        let against = agreed.as_ref().map(|(_, against)| against);
        let mut all = json!({"runs": runs, "model": model, "agreement": all, "against_start": against});
        if let (Some(numbers), Some(numbered)) = (&numbers, &numbered) {
            (all["numbers"], all["number"]) = (json!(numbers), json!(numbered));
        }
        replace(path, |out| writeln!(out, "{all:#}"))?;
    }
    super::print(&text)
}

/// The agreement of users, two at least, for people; and the comparison of the model with its start values.
fn of_agreement(all: &Agreement) -> Result<(String, Comparison)> {
    let mut rows = table(&["interests of", "agreement", "95% interval over users"]);
    let parts = [
        ("the model", &all.trained),
        ("the same, shuffled within users", &all.shuffled),
        ("its start values", &all.at_start),
    ];
    for (name, values) in parts {
        let mean = Comparison::of(&vec![0.0; values.len()], values)?;
        rows.add_row([name.to_string(), format!("{:.4}", mean.mean), format!("{:.4} to {:.4}", mean.low, mean.high)]);
    }
    let against = Comparison::of(&all.at_start, &all.trained)?;
    let text = format!(
        "\n{}\n\nthe model less its start values: {:+.4} ({:+.4} to {:+.4}), p = {:.2e}\n",
        rows.trim_fmt(),
        against.mean,
        against.low,
        against.high,
        against.p_t
    );
    Ok((text, against))
}
