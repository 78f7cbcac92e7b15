//! `wgrec data`: look at data, fetch data.

use super::print;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use wgrec::data::synth::{DomainName, World, WorldConfig};
use wgrec::data::{Columns, DataConfig, Dedup, Format, Summary, Ties, known};
use wgrec::{Error, Result};

#[derive(Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what a reader makes of a file or folder: format, counts, lengths, times
    Inspect(Inspect),
    /// Fetch a known data set, where its licence allows; a broken download is taken up where it broke
    #[cfg(feature = "download")]
    Get(Get),
    /// List the known data sets
    List,
    /// Write the embedded world as ordinary files, with its truth
    Synth(Synth),
}

#[derive(Args)]
struct Inspect {
    /// A file or folder of interactions, or the name of a known data set that was fetched
    path: PathBuf,
    /// Format [default: told from the contents]
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    columns: Columns,
    /// Drop users with fewer interactions
    #[arg(long, default_value_t = 0, value_name = "N")]
    min_user: u32,
    /// Drop items with fewer interactions
    #[arg(long, default_value_t = 0, value_name = "N")]
    min_item: u32,
    /// Drop interactions of a smaller value
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    min_value: Option<f32>,
    /// Which repeated interactions to drop
    #[arg(long, value_enum, default_value_t)]
    dedup: Dedup,
    /// Order of a user's interactions of equal time
    #[arg(long, value_enum, default_value_t)]
    ties: Ties,
}

#[derive(Args)]
struct Get {
    /// Name of the data set; `wgrec data list` has them all
    name: String,
    /// Folder to put it in [default: data/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder of a mirror to fetch the files from
    #[arg(long)]
    url: Option<String>,
}

#[derive(Args)]
struct Synth {
    /// Folder to write; an older world in it is replaced, anything else is left alone
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A setting of the world, such as rho=0.6; docs/embedded-world.md lists all
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Domains to write: default, A to D, E [default: all]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    domain: Vec<String>,
}

pub fn run(args: DataArgs) -> Result<()> {
    match args.command {
        Command::Inspect(args) => inspect(args),
        #[cfg(feature = "download")]
        Command::Get(args) => get(args),
        Command::List => list(),
        Command::Synth(args) => synth(args),
    }
}

fn inspect(args: Inspect) -> Result<()> {
    let Inspect { path, format, columns, min_user, min_item, min_value, dedup, ties } = args;
    let path = Some(path);
    let config =
        DataConfig { path, format, columns, min_user, min_item, min_value, dedup, ties, ..DataConfig::default() };
    print(&Summary::of(&config.load()?).to_string())
}

#[cfg(feature = "download")]
fn get(args: Get) -> Result<()> {
    let set = known::named(&args.name)?;
    let folder = args.out.unwrap_or_else(|| known::usual_folder(&set.name));
    print(&format!("{}: {}\nlicence: {}\ncite: {}\n", set.name, set.title, set.licence, set.cite))?;
    let style = indicatif::ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = indicatif::ProgressBar::no_length().with_style(style.expect("a valid template"));
    let files = known::get(&set, &folder, args.url.as_deref(), &mut |name, done, total| {
        bar.set_message(name.to_string());
        bar.set_position(done);
        total.into_iter().for_each(|total| bar.set_length(total));
    })?;
    bar.finish_and_clear();
    let files: String = files.iter().map(|file| format!("{}\n", file.display())).collect();
    print(&files)
}

fn list() -> Result<()> {
    let lines = known::all().into_iter().map(|set| {
        let fetched = if set.refusal.is_none() { "wgrec data get" } else { "by hand" };
        format!("{:<18}{:<16}{:<56}{}\n", set.name, fetched, set.title, set.homepage)
    });
    print(&lines.collect::<String>())
}

fn synth(args: Synth) -> Result<()> {
    let mut config = WorldConfig::default();
    for setting in &args.set {
        let (key, value) =
            setting.split_once('=').ok_or_else(|| Error::Usage(format!("--set {setting}: expected KEY=VALUE")))?;
        config.set(key, value)?;
    }
    let mut domains = args.domain.iter().map(|name| DomainName::from_name(name)).collect::<Result<Vec<_>>>()?;
    if domains.is_empty() {
        domains = DomainName::ALL.to_vec();
    }
    domains.sort();
    domains.dedup();
    let world = World::with_domains(&config, args.seed, &domains)?;
    world.write(&args.out)?;
    let lines = world.domains.iter().map(|d| {
        let folder = args.out.join(d.name.name());
        let (users, items, events) = (d.users.len(), d.items.len(), d.events.len());
        format!(
            "{}: {users} users, {items} items, {} clicks, {events} events\n",
            folder.display(),
            d.clicks().user.len()
        )
    });
    print(&lines.collect::<String>())
}
