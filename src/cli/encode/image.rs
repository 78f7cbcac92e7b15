//! `wgrec encode image`

use super::{Items, Target, advance, bar};
use crate::cli::print;
use std::path::{Path, PathBuf};
use wgrec::Result;
use wgrec::data::items::Images;
use wgrec::encoders::ImageEncoder;
use wgrec::text::counted;

/// Write a vector of each item's images, by a Swin Transformer in Hugging Face's form
///
/// The image files are those that `wgrec data inspect` shows: in a folder `images` next to the interactions, in that of --images or
/// data.images, or named by a table of items. The vectors of an item's first four are averaged. An item without one has no
/// vector, and is marked as missing. Killed, the same command continues where it was, to the same bytes.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the model: config.json, model.safetensors and preprocessor_config.json
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    items: Items,
    /// Folder of images that are called as the items' ids [default: data.images of the settings, or `images` next to the
    /// interactions]
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
    /// Images that are decoded and encoded at once, at least 8; vectors do not depend on it
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(8..=4096))]
    batch: u32,
}

pub fn run(args: Args) -> Result<()> {
    let (mut config, data) = args.items.open()?;
    config.images = args.images.or(config.images);
    let images = config.item_images(&data)?.ok_or_else(Images::absent)?;
    let read = [Some(&images.place), config.path.as_ref()];
    let device = args.target.open(read.into_iter().flatten().map(PathBuf::as_path).chain([args.model.as_path()]))?;
    let mut encoder = ImageEncoder::open(&args.model, &device)?;
    print(&format!("encoder  {}\n", encoder.describe()))?;
    let ids: Vec<String> = (1..=data.items() as u32).map(|item| data.item_name(item).to_string()).collect();
    let bar = bar("images");
    let (output, numbers): (&Path, _) = (&args.target.output, args.target.dtype);
    let how = (args.batch as usize, config.skip_bad);
    let done = encoder.write(&ids, &images.of, how, (output, numbers), &mut |more, all| advance(&bar, more, all))?;
    bar.finish_and_clear();
    let skipped = match done.skipped {
        0 => String::new(),
        skipped => format!(", {skipped} of them left out since they cannot be read"),
    };
    print(&format!("images   {} of {}{skipped}\n", counted(done.inputs, "distinct image"), images.place.display()))?;
    args.target.saved(done, encoder.width())
}
