//! `wgrec inspect`

use super::models::table;
use super::trained::{Opened, Trained};
use anstyle::{AnsiColor, Style};
use comfy_table::Table;
use std::fmt::Write;
use std::path::PathBuf;
use wgrec::look::{Inspection, Picture, listed};
use wgrec::text::counted;
use wgrec::train::session::shown::Weight;
use wgrec::{Error, Result};

/// Show a user's interests: the history by the interest that each event feeds, and the best items by the one that each comes from
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    trained: Trained,
    /// Id of the user
    #[arg(long, value_name = "ID")]
    user: String,
    /// Best items that are shown
    #[arg(short, default_value_t = 10)]
    k: usize,
    /// Write the same as a picture
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the picture in pixels
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
}

/// Colours that a terminal has, by interest.
const COLOURS: [AnsiColor; 6] =
    [AnsiColor::Blue, AnsiColor::Red, AnsiColor::Green, AnsiColor::Magenta, AnsiColor::Yellow, AnsiColor::Cyan];

pub fn run(args: Args) -> Result<()> {
    if args.k == 0 {
        return Err(Error::Usage("-k: found 0; expected at least 1 item".to_string()));
    }
    let opened = args.trained.open()?;
    opened.check_outputs(args.svg.iter().chain(&args.png))?;
    let Opened { session, store, about } = &opened;
    let user = session.data.users_named(&[&args.user])?[0];
    let (descriptions, titles) = opened.descriptions();
    let inspection = Inspection::new(session, store, user, args.k, descriptions.as_ref())?;
    let Inspection { user, events, history, .. } = &inspection;
    let mut text = format!("model    {about}\nuser     {user}: {}", counted(*events, "event"));
    if history.len() < *events {
        let _ = write!(text, ", the last {} of which the model reads", history.len());
    }
    let _ = writeln!(text, "\ntitles   {titles}\n");
    text += &tables(&inspection);
    if args.svg.is_some() || args.png.is_some() {
        let drawn = inspection.svg(&format!("User {user} by {about}"))?;
        text.push('\n');
        for (path, picture) in [(&args.svg, Picture::Svg), (&args.png, Picture::Png)] {
            if let Some(path) = path {
                picture.write(path, &drawn)?;
                let _ = writeln!(text, "saved    {}", path.display());
            }
        }
    }
    super::print_styled(&text)
}

/// Interests, history and best items.
fn tables(inspection: &Inspection) -> String {
    let mut interests = table(&["interest", "weight", "genres of its events, by attention"]);
    for (k, interest) in inspection.interests.iter().enumerate() {
        let weight = match &interest.weight {
            Weight::Best => "the best counts".to_string(),
            Weight::Same(weight) => format!("{weight:.4}"),
            Weight::ByItem(_) => "by the item".to_string(),
        };
        interests.add_row([(k + 1).to_string(), weight, listed(&interest.genres)]);
    }
    let mut history = table(&["event", "interest", "attention", "history, oldest first", "genres"]);
    for (at, event) in inspection.history.iter().enumerate() {
        let (number, interest) = ((at + 1).to_string(), (event.interest + 1).to_string());
        let (attention, genres) = (format!("{:.4}", event.attention), event.item.genres.join(", "));
        history.add_row([number, interest, attention, event.item.name.clone(), genres]);
    }
    let mut best = table(&["rank", "interest", "score", "of it", "best items", "genres"]);
    for (at, one) in inspection.best.iter().enumerate() {
        let (number, interest) = ((at + 1).to_string(), (one.interest + 1).to_string());
        let (score, part) = (format!("{:.4}", one.score), format!("{:.4}", one.part));
        best.add_row([number, interest, score, part, one.item.name.clone(), one.item.genres.join(", ")]);
    }
    let of_interests: Vec<usize> = (0..inspection.interests.len()).collect();
    let of_history: Vec<usize> = inspection.history.iter().map(|event| event.interest).collect();
    let of_best: Vec<usize> = inspection.best.iter().map(|one| one.interest).collect();
    let tables = [(interests, of_interests), (history, of_history), (best, of_best)];
    tables.map(|(table, interests)| coloured(&table, &interests)).join("\n")
}

/// The lines of a table, each row in the colour of its interest. A row that goes over several lines has nothing in the first
/// column of the others.
fn coloured(table: &Table, interests: &[usize]) -> String {
    let mut text = String::new();
    let mut rows = 0;
    for line in table.lines().skip(1) {
        let line = line.trim_end();
        rows += line.chars().take(3).any(|c| c != ' ') as usize;
        let colour = COLOURS[interests[rows - 1] % COLOURS.len()];
        let style = Style::new().fg_color(Some(colour.into()));
        let _ = writeln!(text, "{style}{line}{style:#}");
    }
    let head = table.lines().next().unwrap_or_default();
    format!("{}\n{text}", head.trim_end())
}
