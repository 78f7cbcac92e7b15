//! What became of the words of a RecBole configuration, as a table.

use comfy_table::ColumnConstraint;
use std::fmt::Write;
use wgrec::config::Line;
use wgrec::models::ModelSpec;

/// A line a word, then what makes results differ.
pub fn table(lines: &[Line], spec: &ModelSpec) -> String {
    let mut table = super::models::table(&["RecBole", "found", "here", "note"]);
    for line in lines {
        let settings: Vec<String> = line.settings.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        table.add_row([&line.word, &line.found, &settings.join(", "), &line.note]);
    }
    for column in [0, 2] {
        table.column_mut(column).expect("four columns").set_constraint(ColumnConstraint::ContentWidth);
    }
    let mut text = format!("{}\n", table.trim_fmt());
    for line in lines.iter().filter(|line| line.differs) {
        let _ = writeln!(text, "warning  {}: {} is not done here: {}", line.word, line.found, line.note);
    }
    if spec.presets.iter().any(|preset| preset.name == "recbole") {
        let _ = writeln!(text, "What the file does not give has wgrec's defaults; --preset recbole has RecBole's.");
    }
    text + "\n"
}
