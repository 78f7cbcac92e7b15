//! `wgrec export`

use super::trained::Trained;
use clap::ValueEnum;
use std::path::PathBuf;
use wgrec::Result;
use wgrec::look::{Ending, Vectors};
use wgrec::text::counted;

/// Write the vectors of users, items or interests, with their ids
///
/// Of users and interests after the whole history. A score is the product of a user's and an item's vector, plus the item's bias
/// where there is one; of a model of several interests the weighted sum of those of the interests, or without weights the largest.
#[derive(clap::Args)]
pub struct Args {
    #[arg(value_enum)]
    what: What,
    #[command(flatten)]
    trained: Trained,
    /// A .parquet file with a column of ids and a list a vector; or .safetensors or .npy, with the ids in NAME.ids.tsv next to it
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum What {
    /// The representation of each user
    Users,
    /// Each item as it is scored, and its bias
    Items,
    /// Each interest of each user: vector, centre, and where the model has them dispersion and weight
    Interests,
}

pub fn run(args: Args) -> Result<()> {
    let ending = Ending::of(&args.output)?;
    let opened = args.trained.open()?;
    let ids = ending.ids(&args.output);
    opened.check_outputs([&args.output].into_iter().chain(&ids))?;
    let (session, store) = (&opened.session, &opened.store);
    let (vectors, of) = match args.what {
        What::Users => (Vectors::users(session, store)?, "user"),
        What::Items => (Vectors::items(session, store)?, "item"),
        What::Interests => (Vectors::interests(session, store)?, "interest"),
    };
    vectors.write(&args.output, ending)?;
    let ids = ids.map(|ids| format!("; their ids: {}", ids.display())).unwrap_or_default();
    super::print(&format!(
        "model    {}\nsaved    {}, {} wide: {}{ids}\n",
        opened.about,
        counted(vectors.len(), of),
        vectors.width(),
        args.output.display()
    ))
}
