//! `wgrec analyse`

use super::models::table;
use std::io::Write;
use std::path::PathBuf;
use wgrec::Result;
use wgrec::files::replace;
use wgrec::look::{Accuracy, Transfer};
use wgrec::train::RunFolder;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Data sets of a pre-training, and how well linear classifiers tell each two of them apart by what is known of their items: as
    /// it is, and as the pre-trained item tower transforms it (ANT, figure 2). `wgrec compare` compares what the runs came to
    Transfer(OfTransfer),
}

#[derive(clap::Args)]
struct OfTransfer {
    /// Folder of a run that is pre-trained on other data
    run: PathBuf,
    /// Write all of it to a JSON file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// auto, cpu, gpu or gpu:N [default: the run's]
    #[arg(long)]
    device: Option<String>,
}

pub fn run(args: Args) -> Result<()> {
    let Command::Transfer(args) = args.command;
    if let Some(path) = &args.json {
        super::check_output(path, None)?;
    }
    let transfer = Transfer::of(&mut RunFolder::open(&args.run)?, args.device.as_deref())?;
    let mut sets = table(&["data set", "users", "items", "events", "items without"]);
    for set in &transfer.sets {
        let missing = set.missing.iter().map(|(kind, share)| format!("{kind} {:.1}%", 100.0 * share));
        let counts = [set.users, set.items, set.events].map(|n| n.to_string());
        sets.add_row([vec![set.name.clone()], counts.to_vec(), vec![missing.collect::<Vec<_>>().join(", ")]].concat());
    }
    let mut pairs = table(&["by", "told apart", "items of each", "as they are (95% interval)", "transformed"]);
    let share = |told: &Option<Accuracy>| match told {
        Some(Accuracy { value, low, high, .. }) => format!("{value:.3} ({low:.3} to {high:.3})"),
        None => "too few".to_string(),
    };
    for told in &transfer.pairs {
        let both = format!("{} and {}", told.a, told.b);
        pairs.add_row([
            told.kind.to_string(),
            both,
            told.items.to_string(),
            share(&told.raw),
            share(&told.transformed),
        ]);
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&transfer).expect("plain data");
        replace(path, |out| writeln!(out, "{text}"))?;
    }
    super::print(&format!(
        "{}\n\nShare of items that a linear classifier tells right, of 20% of as many of both\n{}\n",
        sets.trim_fmt(),
        pairs.trim_fmt()
    ))
}
