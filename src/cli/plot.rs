//! `wgrec plot`

use super::trained::{Opened, Trained};
use clap::Subcommand;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use wgrec::files::replace;
use wgrec::look::{Map, Pick, Picture};
use wgrec::text::counted;
use wgrec::{Error, Result};

/// Draw what a run has learned
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Interests(Interests),
}

/// Draw the interests of users in one map with the items of their histories (t-SNE), and the genres of each as words
#[derive(clap::Args)]
struct Interests {
    #[command(flatten)]
    trained: Trained,
    /// Ids of users, at most 6 [default: of all with --min-events, those whose centres lie farthest apart, at the median and
    /// nearest]
    #[arg(long, value_name = "ID,..", value_delimiter = ',')]
    users: Vec<String>,
    /// Events that a user has at least to be chosen
    #[arg(long, value_name = "N", default_value_t = 50, conflicts_with = "users")]
    min_events: usize,
    /// A .svg or .png file
    #[arg(long, value_name = "FILE", default_value = "interests.svg")]
    output: PathBuf,
    /// Write the places in the map too: a CSV file with the columns user, interest, item, x, y
    #[arg(long, value_name = "FILE")]
    points: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<()> {
    let What::Interests(args) = args.what;
    let picture = Picture::of(&args.output)?;
    let opened = args.trained.open()?;
    opened.check_outputs([&args.output].into_iter().chain(&args.points))?;
    let Opened { session, store, about } = &opened;
    let (descriptions, titles) = opened.session.descriptions();
    let mut text = format!("model    {about}\ntitles   {titles}\n");
    let users = match args.users.is_empty() {
        true => {
            let pick = Pick::new(session, store, args.min_events)?;
            let (among, least) = (counted(pick.among, "user"), args.min_events);
            let _ = writeln!(
                text,
                "users    of {among} with at least {least} events, by the mean distance of the centres:"
            );
            for (how, user, distance) in &pick.users {
                let _ = writeln!(text, "         {how:<9} {} ({distance:.3})", session.data.user_name(*user));
            }
            pick.users.iter().map(|(_, user, _)| *user).collect()
        }
        false => named(&opened, &args.users)?,
    };
    let map = Map::new(session, store, &users, descriptions.as_ref())?;
    picture.write(&args.output, &map.svg(&format!("Interests by {about}"))?)?;
    let (items, centres) = map.counts();
    let _ = writeln!(text, "map      {} and {}", counted(items, "item"), counted(centres, "centre"));
    if let Some(trustworthiness) = map.trustworthiness {
        let _ = writeln!(text, "         trustworthiness at 10 neighbours {trustworthiness:.4}");
    }
    if let Some(path) = &args.points {
        write_points(path, &map, |item| session.data.item_name(item))?;
        let _ = writeln!(text, "saved    {}", path.display());
    }
    let _ = writeln!(text, "saved    {}", args.output.display());
    super::print(&text)
}

/// The users of these names, each once.
fn named(opened: &Opened, names: &[String]) -> Result<Vec<u32>> {
    let mut users: Vec<u32> = vec![];
    for user in opened.session.data.users_named(names)? {
        if !users.contains(&user) {
            users.push(user);
        }
    }
    match users.len() {
        n if n > Map::MOST => Err(Error::Usage(format!(
            "--users: found {n} users; expected at most {}: one map tells no more apart",
            Map::MOST
        ))),
        _ => Ok(users),
    }
}

/// A line a point; what a point has not is empty.
fn write_points<'a>(path: &Path, map: &Map, item_name: impl Fn(u32) -> &'a str) -> Result<()> {
    replace(path, |out| {
        let mut out = csv::Writer::from_writer(out);
        out.write_record(["user", "interest", "item", "x", "y"])?;
        for (centre, item, (x, y)) in map.points() {
            let (user, interest) = centre.map_or(("", String::new()), |(user, k)| (user, k.to_string()));
            let item = item.map_or("", &item_name);
            out.write_record([user, &interest, item, &x.to_string(), &y.to_string()])?;
        }
        out.flush()
    })
}
