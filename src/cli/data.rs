//! `wgrec data`: look at data, fetch data.

use super::read::{Read, word};
use super::{Layers, print};
use clap::{Args, Subcommand};
use indicatif::{DecimalBytes, HumanDuration};
use std::path::PathBuf;
use wgrec::config::TaskFile;
use wgrec::data::synth::{DomainName, World, WorldConfig};
use wgrec::data::tasks::{Sources, TaskSummary};
use wgrec::data::{Cache, DataConfig, Dedup, ItemSummary, Summary, Ties, known};
use wgrec::models::tasks::{self, Learning};
use wgrec::{Error, Result};

#[derive(Args)]
pub struct DataArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show what a reader makes of a file or folder: format, counts, lengths, times
    Inspect(Box<Inspect>),
    /// Fetch a known data set, where its licence allows; a broken download is resumed where it broke
    #[cfg(feature = "download")]
    Get(Get),
    /// List the known data sets
    List,
    /// Write the embedded world as ordinary files, with its truth
    Synth(Synth),
    /// List what is kept of data sets that were read, and of shaders that were compiled; 16 GiB of it at most
    Cache(Kept),
}

#[derive(Args)]
struct Inspect {
    /// A file or folder of interactions, or the name of a known data set that was fetched [default: data.path of the settings]
    #[arg(value_parser = super::text_path)]
    path: Option<PathBuf>,
    #[command(flatten)]
    read: Read,
    #[command(flatten)]
    layers: Layers,
    /// Drop users with fewer interactions
    #[arg(long, value_name = "N")]
    min_user: Option<u32>,
    /// Drop items with fewer interactions
    #[arg(long, value_name = "N")]
    min_item: Option<u32>,
    /// Drop interactions of a smaller value
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    min_value: Option<f32>,
    /// Which repeated interactions to drop
    #[arg(long, value_parser = word::<Dedup>())]
    dedup: Option<Dedup>,
    /// Order of a user's interactions of equal time
    #[arg(long, value_parser = word::<Ties>())]
    ties: Option<Ties>,
    /// A file of `[[task]]`: what these come to on the data, and what rules without a model reach
    #[arg(long, value_name = "FILE")]
    task: Option<PathBuf>,
}

impl Inspect {
    /// The settings, as a training with the same ones reads them.
    fn config(self) -> Result<DataConfig> {
        let config = self.layers.put_over(self.layers.base()?)?;
        config.check()?;
        let mut data = config.data;
        self.read.put_over(&mut data);
        data.path = self.path.or(data.path);
        data.min_user = self.min_user.unwrap_or(data.min_user);
        data.min_item = self.min_item.unwrap_or(data.min_item);
        data.min_value = self.min_value.or(data.min_value);
        data.dedup = self.dedup.unwrap_or(data.dedup);
        data.ties = self.ties.unwrap_or(data.ties);
        match data.path {
            Some(_) => Ok(data),
            None => {
                Err(Error::Usage("data inspect: expected a file or folder, or data.path in the settings".to_string()))
            }
        }
    }
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
struct Kept {
    /// Remove all of it
    #[arg(long)]
    clear: bool,
}

#[derive(Args)]
struct Synth {
    /// Folder to write; an older world in it is replaced, anything else stays as it is
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
        Command::Inspect(args) => inspect(*args),
        #[cfg(feature = "download")]
        Command::Get(args) => get(args),
        Command::List => list(),
        Command::Synth(args) => synth(args),
        Command::Cache(args) => cache(args),
    }
}

fn inspect(args: Inspect) -> Result<()> {
    let tasks = args.task.as_deref().map(TaskFile::read).transpose()?;
    let config = args.config()?;
    let data = config.load()?;
    let mut text = format!("{}{}", Summary::of(&data, config.split), ItemSummary::of(&config, &data)?);
    if let Some(file) = tasks {
        let summary = || {
            tasks::check(&file.tasks)?;
            let sources = Sources { categories: config.categories(&data)?, attributes: config.user_attributes(&data)? };
            let all = tasks::learned(&file.tasks, Learning::default());
            TaskSummary::of(&all, &data, &sources)
        };
        text += &summary().map_err(|e| file.placed(e))?.to_string();
    }
    print(&text)
}

#[cfg(feature = "download")]
fn get(args: Get) -> Result<()> {
    let set = known::named(&args.name)?;
    let folder = args.out.unwrap_or_else(|| known::usual_folder(&set.name));
    print(&format!("{}: {}\nlicence: {}\ncite: {}\n", set.name, set.title, set.licence, set.cite))?;
    let style = indicatif::ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}");
    let bar = indicatif::ProgressBar::no_length().with_style(style.expect("a valid template"));
    let fetched = known::get(&set, &folder, args.url.as_deref(), &mut |name, done, total| {
        bar.set_message(name.to_string());
        bar.set_position(done);
        total.into_iter().for_each(|total| bar.set_length(total));
    })?;
    bar.finish_and_clear();
    let notes = fetched.notes.iter().map(|note| format!("note: {note}\n"));
    let files = fetched.files.iter().map(|file| format!("{}\n", file.display()));
    print(&notes.chain(files).collect::<String>())
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

fn cache(args: Kept) -> Result<()> {
    let none = || Error::Usage("there is no cache: expected a folder in $WGREC_CACHE, or a home".to_string());
    let cache = Cache::usual().ok_or_else(none)?;
    let folder = cache.folder.display();
    if args.clear {
        let (files, size) = cache.clear()?;
        return print(&format!("{folder}: {files} files removed, {}\n", DecimalBytes(size)));
    }
    let mut kept = cache.kept();
    kept.sort_by_key(|kept| std::cmp::Reverse(kept.used));
    let size: u64 = kept.iter().map(|kept| kept.bytes).sum();
    let mut text = format!("{folder}: {} files, {}\n", kept.len(), DecimalBytes(size));
    for kept in &kept {
        let (size, used) =
            (DecimalBytes(kept.bytes).to_string(), HumanDuration(kept.used.elapsed().unwrap_or_default()));
        text += &format!("{size:>9}  {:<14}  {}\n", format!("{used} ago"), kept.about);
    }
    print(&text)
}
