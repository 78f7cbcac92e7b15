//! `wgrec models`

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use std::fmt::Write;
use wgrec::Result;
use wgrec::config::Config;
use wgrec::config::{Row, markdown};
use wgrec::models::spec::{Behaviours, ModelSpec, find};
use wgrec::models::{MODELS, ModelConfig};

/// List the models; with a name, its settings: what each does, its default and what it can be
#[derive(clap::Args)]
pub struct Args {
    /// One of the models
    model: Option<String>,
    /// Print a JSON schema of all settings of a run of the model, for editors
    #[arg(long, requires = "model")]
    schema: bool,
    /// Print docs/settings.md: every setting of every model
    #[arg(long, conflicts_with = "model")]
    markdown: bool,
}

/// Columns of a terminal that a table takes.
const WIDTH: u16 = 120;

pub fn run(args: Args) -> Result<()> {
    super::print(&match args.model {
        None if args.markdown => markdown(),
        None => all(),
        Some(name) => {
            let spec = find(&name)?;
            let config = Config::with_model(ModelConfig::default_of(spec));
            match args.schema {
                true => format!("{:#}\n", config.editor_schema()),
                false => one(spec, &config),
            }
        }
    })
}

/// A line each.
fn all() -> String {
    let mut table = table(&["model", "what it is", "paper", "behaviours", "presets"]);
    for spec in MODELS {
        let behaviours = match spec.behaviours {
            Behaviours::Ignored => "",
            Behaviours::Optional => "if asked to",
            Behaviours::Always => "yes",
        };
        let presets: Vec<&str> = spec.presets.iter().map(|preset| preset.name).collect();
        table.add_row([spec.name, spec.title, &spec.reference(), behaviours, &presets.join(", ")]);
    }
    format!("{}\n\n`wgrec models MODEL` lists the settings of one.\n", table.trim_fmt())
}

/// The settings of a model.
fn one(spec: &ModelSpec, config: &Config) -> String {
    let mut text = format!("{}: {}\n", spec.name, spec.title);
    let loss = spec.loss.map(|loss| loss.to_string());
    let lines = [("paper", spec.paper), ("loss", loss.as_deref().unwrap_or("none: it is not trained"))];
    for (name, line) in lines.into_iter().filter(|(_, line)| !line.is_empty()) {
        let _ = writeln!(text, "{name:<8} {line}");
    }
    for preset in spec.presets {
        let _ = writeln!(text, "preset   {}: {}", preset.name, preset.settings.join(", "));
    }
    let rows: Vec<Row> = config.rows("model").into_iter().filter(|row| row.key != "model.name").collect();
    if !rows.is_empty() {
        let mut table = table(&["setting", "default", "expected", "meaning"]);
        table.column_mut(0).expect("four columns").set_constraint(ColumnConstraint::ContentWidth);
        table.column_mut(2).expect("four columns").set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(28)));
        for row in rows {
            table.add_row([row.key, row.default, row.expected, row.meaning]);
        }
        let _ = writeln!(text, "\n{}", table.trim_fmt());
    }
    text + "\nThe settings that all models share are in docs/settings.md. A JSON schema of all: `wgrec models MODEL --schema`.\n"
}

/// A table without lines.
pub(super) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
    table.set_header(head);
    table
}
