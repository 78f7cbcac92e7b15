//! `wgrec recommend`

use super::read::Read;
use super::trained::Trained;
use indicatif::HumanCount;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use wgrec::data::ask::listed_users;
use wgrec::data::{Columns, HistoryFile, SkipBad};
use wgrec::files::replace;
use wgrec::text::counted;
use wgrec::train::{RunFolder, Session};
use wgrec::{Error, Result};

/// Write the best items of each user, those of the history left out
///
/// Where the run's data have changed since the training, new events count, new users have lists too, and events of new items
/// are left out.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    trained: Trained,
    /// Ids of users, one a line; one that comes again is left out [default: all users]
    #[arg(long, value_name = "FILE")]
    users: Option<PathBuf>,
    /// Items a user
    #[arg(short, default_value_t = 10)]
    k: usize,
    /// Recommend to the users of this file, whether the training knew them or not: their whole histories by the ids of the
    /// run's data, in any format of data. Events of items that the run does not know are left out
    #[arg(long, value_name = "FILE", value_parser = super::text_path)]
    history: Option<PathBuf>,
    /// How --history is read
    #[command(flatten)]
    read: Read,
    /// Recommend items of the history too
    #[arg(long)]
    unmasked: bool,
    /// A .csv or .parquet file with the columns user, item, rank, score
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

/// User, item, rank from 1, score.
type Row<'a> = (&'a str, &'a str, u32, f32);

pub fn run(args: Args) -> Result<()> {
    let write = match args.output.extension().and_then(OsStr::to_str) {
        Some("csv") => csv,
        #[cfg(feature = "parquet")]
        Some("parquet") => parquet,
        _ => {
            let path = args.output.display();
            return Err(Error::Usage(format!("--output {path}: expected a name that ends in .csv or .parquet")));
        }
    };
    let Read { format, columns, skip_bad } = &args.read;
    let columns = Some(columns.columns()).filter(|columns| *columns != Columns::default());
    if args.history.is_none() && (columns.is_some() || format.is_some() || skip_bad.is_some()) {
        let why = "say how --history is read, which is not given; the run knows how to read its data";
        return Err(Error::Usage(format!("--format, --skip-bad and names of columns {why}")));
    }
    let (format, skip_bad) = (*format, skip_bad.unwrap_or(SkipBad::NONE));
    let history = args.history.clone().map(|path| HistoryFile { path, format, columns, skip_bad });
    let names = args.users.as_deref().map(listed_users).transpose()?;
    let mut folder = RunFolder::open(&args.trained.run)?;
    let (session, store, histories) = args.trained.to_recommend(&mut folder, history)?;
    let inputs = [&args.users, &args.history, &session.config.data.path].into_iter().flatten();
    super::check_output(&args.output, inputs.map(PathBuf::as_path))?;
    let users = session.served(histories.as_ref(), names.as_deref())?;
    let asked = names.as_ref().map_or(users.len(), Vec::len);
    let best = session.recommend(&store, &users, args.k, !args.unmasked)?;
    let rows = rows(&session, &users, &best);
    if rows.is_empty() {
        return Err(Error::Failed("no item is left to recommend: every user's history has all items".to_string()));
    }
    write(&args.output, &rows)?;
    let mut text = String::new();
    if let Some(histories) = &histories {
        let heading = if args.history.is_some() { "history" } else { "data" };
        let since = if args.history.is_some() { "" } else { "; no longer what the run was trained on" };
        text += &format!("{heading:<8} {}{since}\n", histories.describe());
        histories.data.notes().iter().for_each(|note| text += &format!("{:<8} {note}\n", ""));
    }
    if asked > users.len() {
        text += &format!(
            "{:<8} {} of the users asked for left out: no event of an item that the run knows\n",
            "",
            asked - users.len()
        );
    }
    let k = args.k.min(session.data.items());
    let fewer = match best.iter().filter(|list| list.len() < k).count() {
        0 => String::new(),
        1 => " (1 has fewer left)".to_string(),
        n => format!(" ({} have fewer left)", HumanCount(n as u64)),
    };
    let (items, users) = (counted(k, "item"), counted(users.len(), "user"));
    text += &format!("saved    {items} for {users}{fewer}: {}\n", args.output.display());
    super::print(&text)
}

fn rows<'a>(session: &'a Session, users: &[u32], best: &[Vec<(u32, f32)>]) -> Vec<Row<'a>> {
    let of_user = |(&user, items): (&u32, &Vec<(u32, f32)>)| {
        let row = |(i, &(item, score)): (usize, &(u32, f32))| {
            (session.data.user_name(user), session.data.item_name(item), i as u32 + 1, score)
        };
        items.iter().enumerate().map(row).collect::<Vec<_>>()
    };
    users.iter().zip(best).flat_map(of_user).collect()
}

fn csv(path: &Path, rows: &[Row]) -> Result<()> {
    replace(path, |out| {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(["user", "item", "rank", "score"])?;
        for (user, item, rank, score) in rows {
            out.write_record([*user, *item, &rank.to_string(), &score.to_string()])?;
        }
        out.flush()
    })
}

#[cfg(feature = "parquet")]
fn parquet(path: &Path, rows: &[Row]) -> Result<()> {
    use parquet::basic::Compression;
    use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int32Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;
    use std::fs::File;
    use std::io::{self, BufWriter};
    use std::sync::Arc;

    /// Rows that are gathered into columns at once.
    const GROUP: usize = 1 << 20;

    let schema = "message recommendations { REQUIRED BYTE_ARRAY user (UTF8); REQUIRED BYTE_ARRAY item (UTF8); \
                  REQUIRED INT32 rank; REQUIRED FLOAT score; }";
    let schema = Arc::new(parse_message_type(schema).expect("a valid schema"));
    let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
    let write = |out: &mut BufWriter<&File>| -> parquet::errors::Result<()> {
        let mut out = SerializedFileWriter::new(out, schema, properties)?;
        for rows in rows.chunks(GROUP) {
            let mut group = out.next_row_group()?;
            macro_rules! column {
                ($kind:ty, $values:expr) => {{
                    let mut column = group.next_column()?.expect("the schema has four columns");
                    column.typed::<$kind>().write_batch(&$values.collect::<Vec<_>>(), None, None)?;
                    column.close()?;
                }};
            }
            column!(ByteArrayType, rows.iter().map(|row| ByteArray::from(row.0)));
            column!(ByteArrayType, rows.iter().map(|row| ByteArray::from(row.1)));
            column!(Int32Type, rows.iter().map(|row| row.2 as i32));
            column!(FloatType, rows.iter().map(|row| row.3));
            group.close()?;
        }
        out.close()?;
        Ok(())
    };
    replace(path, |out| write(out).map_err(io::Error::other))
}
