//! `wgrec encode`: what items are known by, as vectors.

mod image;
mod text;

use super::read::{Read, word};
use super::{Layers, check_output, print};
use clap::Subcommand;
use indicatif::{DecimalBytes, HumanCount, ProgressBar, ProgressStyle};
use std::fs;
use std::path::{Path, PathBuf};
use wgrec::data::{DataConfig, Dataset};
use wgrec::device::Device;
use wgrec::encoders::{Done, Numbers};
use wgrec::text::counted;
use wgrec::{Error, Result};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Text(text::Args),
    Image(image::Args),
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Text(args) => text::run(args),
        Command::Image(args) => image::run(args),
    }
}

/// The items that are encoded.
#[derive(clap::Args)]
struct Items {
    /// Interactions whose items are encoded: a file or folder, or the name of a known data set that was fetched [default:
    /// data.path of the settings]
    #[arg(long, value_name = "PATH|NAME", value_parser = super::text_path)]
    data: Option<PathBuf>,
    #[command(flatten)]
    read: Read,
    #[command(flatten)]
    layers: Layers,
}

impl Items {
    /// The settings, as a training with the same ones reads them, and the data.
    fn open(&self) -> Result<(DataConfig, Dataset)> {
        let config = self.layers.put_over(self.layers.base()?)?;
        config.check()?;
        let mut data = config.data;
        self.read.put_over(&mut data);
        data.path = self.data.clone().or(data.path);
        if data.path.is_none() {
            return Err(Error::Usage("encode: expected --data, or data.path in the settings".to_string()));
        }
        let read = data.load()?;
        Ok((data, read))
    }
}

/// Where the vectors are made, and the file that they go to.
#[derive(clap::Args)]
struct Target {
    /// The .safetensors file to write; OUTPUT.partial keeps what is done until then, and the same command resumes from it
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// How numbers are stored
    #[arg(long, value_parser = word::<Numbers>(), default_value = "f16")]
    dtype: Numbers,
    /// auto, cpu, gpu or gpu:N
    #[arg(long, default_value = "auto")]
    device: String,
}

impl Target {
    /// Opens the device, and checks the output against the files that are read.
    fn open<'a>(&self, inputs: impl IntoIterator<Item = &'a Path>) -> Result<Device> {
        if self.output.extension().is_none_or(|ending| ending != "safetensors") {
            let path = self.output.display();
            return Err(Error::Usage(format!("--output {path}: expected a name that ends in .safetensors")));
        }
        check_output(&self.output, inputs)?;
        let (device, about) = Device::open(&self.device)?;
        print(&format!("device   {about}\n"))?;
        Ok(device)
    }

    /// Says what was saved.
    fn saved(&self, done: Done, width: usize) -> Result<()> {
        if done.resumed > 0 {
            print(&format!("resumed  {} of an earlier run\n", counted(done.resumed, "vector")))?;
        }
        let bytes = fs::metadata(&self.output).map_or(0, |file| file.len());
        let (items, missing) = (counted(done.items, "item"), HumanCount(done.missing as u64));
        let (path, size) = (self.output.display(), DecimalBytes(bytes));
        print(&format!("saved    {path}: {width} numbers for each of {items}, {missing} missing; {size}\n"))
    }
}

/// A bar on the standard error, where that is a terminal.
fn bar(of: &str) -> ProgressBar {
    let style = format!("{{bar:20.cyan/dim}} {{human_pos}}/{{human_len}} {of}  {{per_sec}}  {{eta}} left");
    let style = ProgressStyle::with_template(&style).expect("a valid template").progress_chars("━━─");
    ProgressBar::no_length().with_style(style)
}

/// `more` of `all` are done.
fn advance(bar: &ProgressBar, more: usize, all: usize) {
    bar.set_length(all as u64);
    bar.inc(more as u64);
}
