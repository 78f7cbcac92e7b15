//! `wgrec encode text`

use super::{Items, Target, advance, bar};
use crate::cli::print;
use crate::cli::read::word;
use indicatif::HumanCount;
use std::path::{Path, PathBuf};
use wgrec::Result;
use wgrec::config::TaskFile;
use wgrec::data::Texts;
use wgrec::encoders::{DropWords, Pooling, TextEncoder, TextOptions};
use wgrec::text::counted;

/// Write a vector of each item's text, by a BERT in Hugging Face's form
///
/// The texts are those that `wgrec data inspect` shows: of a table of items next to the interactions, or of data.items. An item
/// without a text has no vector, and is marked as missing. Killed, the same command continues where it was, to the same bytes.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the model: config.json, model.safetensors and tokenizer.json
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    items: Items,
    /// A file of `[[task]]`, whose descriptions are encoded in place of items
    #[arg(long, value_name = "FILE", conflicts_with_all = ["data", "drop_words"])]
    task: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
    /// How tokens become one vector [default: as sentence-transformers' files in the folder say, else mean]
    #[arg(long, value_parser = word::<Pooling>())]
    pooling: Option<Pooling>,
    /// Divide each vector by its length, or with =false do not [default: as the folder says]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    normalize: Option<bool>,
    /// Tokens of a text at most, special ones among them; the rest is cut off [default: the folder's]
    #[arg(long, value_name = "N")]
    max_length: Option<usize>,
    /// Texts that are encoded at once [default: as many as have 4,096 tokens]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Drop each word of a text with this chance, one at least is left: the texts that UniSRec's pre-training compares with whole
    /// ones (data.text_dropped)
    #[arg(long, value_name = "SHARE", value_parser = chance)]
    drop_words: Option<f64>,
    /// Which words are dropped
    #[arg(long, value_name = "N", default_value_t = 1, requires = "drop_words")]
    seed: u64,
}

/// From 0 to below 1.
fn chance(word: &str) -> std::result::Result<f64, String> {
    let chance = word.parse().ok().filter(|chance| (0.0..1.0).contains(chance));
    chance.ok_or_else(|| "expected a number of at least 0 and below 1".to_string())
}

/// What is encoded.
struct Given {
    ids: Vec<String>,
    texts: Vec<Option<String>>,
    /// Files that are read; the texts are in the first.
    read: Vec<PathBuf>,
}

impl Given {
    fn items(items: &Items) -> Result<Given> {
        let (config, data) = items.open()?;
        let texts = config.item_texts(&data)?.ok_or_else(Texts::absent)?;
        let ids = (1..=data.items() as u32).map(|item| data.item_name(item).to_string()).collect();
        Ok(Given { ids, texts: texts.of, read: [texts.file].into_iter().chain(config.path).collect() })
    }

    fn tasks(file: &Path) -> Result<Given> {
        let tasks = TaskFile::read(file)?.tasks;
        let ids = tasks.iter().map(|task| task.name.clone()).collect();
        let texts = tasks.iter().map(|task| Some(task.described())).collect();
        Ok(Given { ids, texts, read: vec![file.to_path_buf()] })
    }
}

pub fn run(args: Args) -> Result<()> {
    let Given { ids, texts, read } = match &args.task {
        Some(file) => Given::tasks(file)?,
        None => Given::items(&args.items)?,
    };
    let device = args.target.open(read.iter().map(PathBuf::as_path).chain([args.model.as_path()]))?;
    let options = TextOptions {
        pooling: args.pooling,
        normalize: args.normalize,
        max_length: args.max_length,
        batch: args.batch.map(|batch| batch as usize),
        drop_words: args.drop_words.map(|share| DropWords { share, seed: args.seed }),
    };
    let mut encoder = TextEncoder::open(&args.model, device, options)?;
    print(&format!("encoder  {}\n", encoder.describe()))?;
    if let Some(DropWords { share, seed }) = options.drop_words {
        print(&format!("words    each is dropped with chance {share}, seed {seed}\n"))?;
    }
    let bar = bar("tokens");
    let (output, numbers): (&Path, _) = (&args.target.output, args.target.dtype);
    let done = encoder.write(&ids, &texts, (output, numbers), &mut |more, all| advance(&bar, more, all))?;
    bar.finish_and_clear();
    let (tokens, time) = encoder.encoded;
    let speed = HumanCount((tokens as f64 / time.as_secs_f64().max(1e-9)) as u64);
    let [given, tokens] = [counted(done.items - done.missing, "text"), counted(tokens, "token")];
    let (distinct, file) = (HumanCount(done.inputs as u64), read[0].display());
    print(&format!("texts    {given} of {file}, {distinct} distinct; {tokens} encoded, {speed} tokens/s\n"))?;
    args.target.saved(done, encoder.width())
}
