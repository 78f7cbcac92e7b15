//! `wgrec inspect`

use super::models::table;
use super::trained::{Opened, Trained};
use anstyle::{AnsiColor, Style};
use comfy_table::Table;
use std::fmt::Write;
use std::path::PathBuf;
use wgrec::look::{Continuations, Inspection, Picture, Step, item_called, listed};
use wgrec::text::counted;
use wgrec::train::session::shown::Weight;
use wgrec::{Error, Result};

/// Show a user's interests: the history by the interest that each event feeds, and the best items by the one that each comes from;
/// with --then, what one more event would change
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    trained: Trained,
    /// Id of the user
    #[arg(long, value_name = "ID")]
    user: String,
    /// Show the history as it is and, next to it, with one more event of this item: an id, or a title that one item has. Several
    /// --then are shown in their order
    #[arg(long, value_name = "ITEM")]
    then: Vec<String>,
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
    let (descriptions, titles) = opened.session.descriptions();
    let descriptions = descriptions.as_ref();
    let draws = args.svg.is_some() || args.png.is_some();
    let title = format!("User {} by {about}", args.user);
    let (events, read, tables, drawn) = if args.then.is_empty() {
        let inspection = Inspection::new(session, store, user, args.k, descriptions)?;
        let drawn = draws.then(|| inspection.svg(&title)).transpose()?;
        (inspection.events, inspection.history.len(), tables(&inspection), drawn)
    } else {
        let called = |name: &String| item_called(&session.data, descriptions, name);
        let then: Vec<u32> = args.then.iter().map(called).collect::<Result<_>>()?;
        let all = Continuations::new(session, store, (user, &then), args.k, descriptions)?;
        let drawn = draws.then(|| all.svg(&title)).transpose()?;
        (all.events, all.all[0].history.len(), of_continuations(&all), drawn)
    };
    let mut text = format!("model    {about}\nuser     {}: {}", args.user, counted(events, "event"));
    if read < events {
        let _ = write!(text, ", the last {read} of which the model reads");
    }
    let _ = writeln!(text, "\ntitles   {titles}");
    text += &tables;
    if let Some(drawn) = drawn {
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

/// Letters of a title that are shown where several stand side by side.
const LETTERS: usize = 30;

/// What is shown side by side, in which order; the events, each by its interest in every continuation; the best items of each.
fn of_continuations(all: &Continuations) -> String {
    let mut text = String::new();
    for (one, heading) in all.all.iter().zip(["shown"].into_iter().chain(std::iter::repeat(""))) {
        let what = one.then.as_ref().map(|item| format!("with one more event, of {}", item.name));
        let _ = writeln!(text, "{heading:<8} {}: {}", one.name, what.unwrap_or_else(|| "the history".to_string()));
    }
    text.push('\n');

    let steps = all.steps();
    let numbered = steps.iter().any(|step| step.number.is_some());
    let head = ["event", "interests after it", "history, oldest first"];
    let head: Vec<&str> = head.into_iter().filter(|column| numbered || *column != head[1]).collect();
    let mut events = table(&head);
    for Step { event, then, item, number, .. } in &steps {
        let then = then.map(|column| format!("{}: ", all.all[column].name)).unwrap_or_default();
        let number = number.map(|number| number.to_string());
        let item = Some(format!("{then}{}", shortened(&item.name)));
        events.add_row([Some(event.to_string()), number, item].into_iter().flatten());
    }
    let mut blocks = vec![(events, vec![None; steps.len()])];
    for (column, one) in all.all.iter().enumerate() {
        let interests: Vec<Option<usize>> = steps.iter().map(|step| step.interests[column]).collect();
        let mut cells = table(&[&one.name]);
        cells.add_rows(interests.iter().map(|k| [k.map(|k| (k + 1).to_string()).unwrap_or_default()]));
        blocks.push((cells, interests));
    }
    text += &side_by_side(&blocks);
    text.push('\n');

    let most = all.all.iter().map(|one| one.best.len()).max().unwrap_or(0);
    let mut ranks = table(&["rank"]);
    ranks.add_rows((1..=most).map(|rank| [rank.to_string()]));
    let mut blocks = vec![(ranks, vec![None; most])];
    for one in &all.all {
        let mut cells = table(&["interest", &format!("best items {}", one.name)]);
        for rank in 0..most {
            let best = one.best.get(rank).map(|best| [(best.interest + 1).to_string(), shortened(&best.item.name)]);
            cells.add_row(best.unwrap_or_default());
        }
        blocks.push((cells, (0..most).map(|rank| Some(one.best.get(rank)?.interest)).collect()));
    }
    text + &side_by_side(&blocks)
}

fn shortened(title: &str) -> String {
    match title.char_indices().nth(LETTERS) {
        Some((end, _)) => format!("{}…", title[..end].trim_end()),
        None => title.to_string(),
    }
}

/// Tables of as many lines, each row in the colour of its interest if it has one.
fn side_by_side(blocks: &[(Table, Vec<Option<usize>>)]) -> String {
    let lines: Vec<Vec<String>> = blocks.iter().map(|(table, _)| table.lines().collect()).collect();
    let mut text = String::new();
    for row in 0..lines[0].len() {
        for (column, (own, (_, interests))) in lines.iter().zip(blocks).enumerate() {
            // The first line is the header.
            let style = row.checked_sub(1).and_then(|row| interests[row]).map(style).unwrap_or_default();
            let line = if column + 1 == blocks.len() { own[row].trim_end() } else { &own[row] };
            let _ = write!(text, "{style}{line}{style:#}");
        }
        text.push('\n');
    }
    text
}

/// The colour of an interest, counted from 0.
fn style(interest: usize) -> Style {
    Style::new().fg_color(Some(COLOURS[interest % COLOURS.len()].into()))
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
    format!("\n{}", tables.map(|(table, interests)| coloured(&table, &interests)).join("\n"))
}

/// The lines of a table, each row in the colour of its interest. A row that goes over several lines has nothing in the first
/// column of the others.
fn coloured(table: &Table, interests: &[usize]) -> String {
    let mut text = String::new();
    let mut rows = 0;
    for line in table.lines().skip(1) {
        let line = line.trim_end();
        rows += line.chars().take(3).any(|c| c != ' ') as usize;
        let style = style(interests[rows - 1]);
        let _ = writeln!(text, "{style}{line}{style:#}");
    }
    let head = table.lines().next().unwrap_or_default();
    format!("{}\n{text}", head.trim_end())
}
