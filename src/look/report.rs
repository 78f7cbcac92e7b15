//! Runs on one page: HTML that needs no other file.

use super::COLOURS;
use super::chart::{Curve, chart};
use crate::eval::significance::{benjamini_hochberg, holm};
use crate::eval::{Comparison, Metric, Protocol, Ranked};
use crate::text::counted;
use crate::train::folder::Line;
use crate::train::{Matrix, Session, Way};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A run that came to its end, ranked.
pub struct Reported {
    pub name: String,
    /// What the run says of its data and settings.
    pub session: Session,
    /// The test part as it was tested.
    pub ranked: Ranked,
    /// metrics.json.
    pub metrics: Value,
    /// Epochs of each phase.
    pub epochs: Vec<(String, Vec<Line>)>,
    /// Names of the files of parameters, and the SHA-256 of each.
    pub files: Vec<(String, String)>,
    /// The test part in other ways.
    pub matrix: Matrix,
}

/// A cell of a table.
enum Cell {
    Text(String),
    Number(String),
    Hash(String),
}

/// Two runs, tested by one metric.
struct Test<'a> {
    names: [&'a str; 2],
    metric: Metric,
    found: Comparison,
}

/// The page about `runs`, at least one, which shows `metrics`.
pub fn page(runs: &[Reported], metrics: &[Metric]) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
    let title = format!("wgrec: {}", names.join(", "));
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>\n{}{}</style>\n</head>\n<body>\n\
         <h1>{}</h1>\n",
        escaped(&title),
        include_str!("report.css"),
        colours(),
        escaped(&counted(runs.len(), "run"))
    );
    for section in [
        about(runs),
        tested(runs, metrics),
        ways(runs, metrics),
        tests(runs, metrics),
        curves(runs),
        settings(runs),
        hashes(runs),
    ] {
        html += &section;
    }
    html + "</body>\n</html>\n"
}

/// The classes of curves.
fn colours() -> String {
    let mut css = String::new();
    for (n, colour) in COLOURS.iter().enumerate() {
        // Black is not seen on black.
        let colour = match (colour.0, colour.1, colour.2) {
            (0, 0, 0) => "currentColor".to_string(),
            (r, g, b) => format!("#{r:02x}{g:02x}{b:02x}"),
        };
        let _ = writeln!(css, ".c{n} {{ stroke: {colour}; fill: {colour}; }} .key.c{n} {{ background: {colour}; }}");
    }
    css
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn section(title: &str, about: &str, body: &str) -> String {
    let about = if about.is_empty() { String::new() } else { format!("<p>{}</p>\n", escaped(about)) };
    format!("<section>\n<h2>{}</h2>\n{about}{body}</section>\n", escaped(title))
}

/// A table; a column is aligned as the cells of its first row are.
fn table(head: &[String], rows: &[Vec<Cell>]) -> String {
    let is_number = |column: usize| rows.first().is_some_and(|row| matches!(row.get(column), Some(Cell::Number(_))));
    let mut html = "<div class=\"wide\"><table>\n<tr>".to_string();
    for (column, name) in head.iter().enumerate() {
        let class = if is_number(column) { " class=\"number\"" } else { "" };
        let _ = write!(html, "<th{class}>{}</th>", escaped(name));
    }
    html += "</tr>\n";
    for row in rows {
        html += "<tr>";
        for cell in row {
            let (class, text) = match cell {
                Cell::Text(text) => ("", text),
                Cell::Number(text) => (" class=\"number\"", text),
                Cell::Hash(text) => (" class=\"hash\"", text),
            };
            let _ = write!(html, "<td{class}>{}</td>", escaped(text));
        }
        html += "</tr>\n";
    }
    html + "</table></div>\n"
}

fn text(text: impl ToString) -> Cell {
    Cell::Text(text.to_string())
}

fn number(x: impl ToString) -> Cell {
    Cell::Number(x.to_string())
}

fn with_metrics(head: &[&str], metrics: &[Metric]) -> Vec<String> {
    head.iter().map(|name| name.to_string()).chain(metrics.iter().map(Metric::to_string)).collect()
}

fn strings(head: &[&str]) -> Vec<String> {
    head.iter().map(|name| name.to_string()).collect()
}

/// What was trained, on what and how long.
fn about(runs: &[Reported]) -> String {
    let head = ["run", "model", "loss", "seed", "parameters", "epochs", "best", "steps", "seconds", "device", "wgrec"];
    let row = |run: &Reported| {
        let of = |key: &str| match &run.metrics[key] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Number(n) if n.is_f64() => format!("{:.0}", n.as_f64().unwrap_or_default()),
            value => value.to_string(),
        };
        let loss = if run.metrics["best_epoch"] == 0 { String::new() } else { run.session.loss().kind.to_string() };
        let numbers =
            ["seed", "parameters", "epochs", "best_epoch", "steps", "train_seconds"].map(|key| number(of(key)));
        let mut cells = vec![text(&run.name), text(of("model")), text(loss)];
        cells.extend(numbers);
        cells.extend([text(of("device")), text(of("wgrec"))]);
        cells
    };
    let rows: Vec<Vec<Cell>> = runs.iter().map(row).collect();
    let mut data: Vec<String> = runs.iter().map(|run| run.session.describe_data()).collect();
    data.dedup();
    let data: String = data.iter().map(|data| format!("<p>{}</p>\n", escaped(data))).collect();
    section("Runs", "", &(data + &table(&strings(&head), &rows)))
}

/// The metrics of metrics.json: as each run was tested, with the history masked and not, and the bounds of the data.
fn tested(runs: &[Reported], metrics: &[Metric]) -> String {
    let figures = |of: &Value| -> Vec<Cell> {
        let value = |metric: &Metric| of[metric.to_string()].as_f64().map(|x| format!("{x:.4}"));
        metrics.iter().map(|metric| number(value(metric).unwrap_or_default())).collect()
    };
    let mut rows: Vec<Vec<Cell>> = vec![];
    for run in runs {
        let Value::String(protocol) = &run.metrics["protocol"] else { continue };
        let as_tested = match run.metrics["history_masked"].as_bool() {
            Some(true) => "masked",
            Some(false) => "unmasked",
            None => "",
        };
        let mut add = |of: &Value, history: &str| {
            let ties = run.session.config.eval.ties;
            let before = [text(&run.name), text(protocol), text(history), text(ties), number(&run.metrics["targets"])];
            rows.push(before.into_iter().chain(figures(of)).collect());
        };
        add(&run.metrics["test"], as_tested);
        for other in ["masked", "unmasked"].into_iter().filter(|other| *other != as_tested && !as_tested.is_empty()) {
            if run.metrics[other].is_object() {
                add(&run.metrics[other]["test"], other);
            }
        }
    }
    // They are of the data, and the same for runs that are tested alike.
    for (bound, name) in [("pop", "popularity"), ("copy", "copy rule"), ("oracle", "oracle")] {
        if runs[0].metrics[bound]["test"].is_object() {
            let before = [text(format!("{name} (as {})", runs[0].name)), text(""), text(""), text(""), number("")];
            rows.push(before.into_iter().chain(figures(&runs[0].metrics[bound]["test"])).collect());
        }
    }
    let head = with_metrics(&["run", "protocol", "history", "ties", "targets"], metrics);
    section("Test", "Means over the targets of the test part, as metrics.json has them.", &table(&head, &rows))
}

/// What the figures owe to how targets are ranked, evaluated again for this page.
fn ways(runs: &[Reported], metrics: &[Metric]) -> String {
    if runs.iter().all(|run| run.matrix.ways.is_empty() && run.matrix.refused.is_empty()) {
        return String::new();
    }
    let mut html = String::new();
    let mut kinds: Vec<(Protocol, Option<bool>)> = vec![];
    for way in runs.iter().flat_map(|run| &run.matrix.ways) {
        if !kinds.contains(&(way.protocol, way.masked)) {
            kinds.push((way.protocol, way.masked));
        }
    }
    let head = with_metrics(&["run", "ties", "targets"], metrics);
    for (protocol, masked) in kinds {
        let of_run = |run: &'_ Reported| -> Vec<Vec<Cell>> {
            let ways = run.matrix.ways.iter().filter(|way| (way.protocol, way.masked) == (protocol, masked));
            let row = |way: &Way| {
                let before = [text(&run.name), text(way.ties), number(way.ranks.len())];
                let figures = metrics.iter().map(|metric| number(format!("{:.4}", way.mean(*metric))));
                before.into_iter().chain(figures).collect()
            };
            ways.map(row).collect()
        };
        let rows: Vec<Vec<Cell>> = runs.iter().flat_map(of_run).collect();
        let history = match masked {
            Some(true) => ", history masked",
            Some(false) => ", history not masked",
            None => "",
        };
        let _ = write!(html, "<h3>{}</h3>\n{}", escaped(&format!("{protocol}{history}")), table(&head, &rows));
    }
    for run in runs {
        for (protocol, why) in &run.matrix.refused {
            let _ =
                writeln!(html, "<p>{}</p>", escaped(&format!("{}: nothing is ranked by {protocol}: {why}", run.name)));
        }
    }
    let about = "The best parameters of each run, ranked again in all of these ways. Figures of one table can be compared; those of \
                 two tables cannot.";
    section("Ways to rank", about, &html)
}

/// All pairs of runs by all metrics, with corrections for their number.
fn tests(runs: &[Reported], metrics: &[Metric]) -> String {
    if runs.len() < 2 {
        return String::new();
    }
    let (mut all, mut apart) = (vec![], vec![]);
    for (n, a) in runs.iter().enumerate() {
        for b in &runs[n + 1..] {
            let of = |&metric: &Metric| {
                let found = Comparison::of(&b.ranked.per_user(metric), &a.ranked.per_user(metric))?;
                Ok(Test { names: [&a.name, &b.name], metric, found })
            };
            let found = a
                .session
                .check_comparable(&b.session)
                .and_then(|()| metrics.iter().map(of).collect::<crate::Result<Vec<_>>>());
            match found {
                Ok(found) => all.extend(found),
                Err(why) => apart.push(format!("{} and {} cannot be paired: {why}", a.name, b.name)),
            }
        }
    }
    let by_t: Vec<f64> = all.iter().map(|test| test.found.p_t).collect();
    let by_ranks: Vec<f64> = all.iter().map(|test| test.found.p_wilcoxon).collect();
    let corrected = [holm(&by_t), benjamini_hochberg(&by_t), holm(&by_ranks), benjamini_hochberg(&by_ranks)];
    let row = |(n, test): (usize, &Test)| {
        let Comparison { mean, low, high, p_t, p_wilcoxon, .. } = test.found;
        let p = |p: f64| number(format!("{p:.2e}"));
        let difference = number(format!("{mean:+.4}"));
        let interval = text(format!("[{low:+.4}, {high:+.4}]"));
        let [holm_t, bh_t, holm_w, bh_w] = [0, 1, 2, 3].map(|way| p(corrected[way][n]));
        let of = text(format!("{} − {}", test.names[0], test.names[1]));
        vec![of, text(test.metric), difference, interval, p(p_t), holm_t, bh_t, p(p_wilcoxon), holm_w, bh_w]
    };
    let rows: Vec<Vec<Cell>> = all.iter().enumerate().map(row).collect();
    let head = ["difference", "metric", "mean", "95% interval", "p (t)", "Holm", "B-H", "p (Wilcoxon)", "Holm", "B-H"];
    let mut html = if rows.is_empty() { String::new() } else { table(&strings(&head), &rows) };
    for why in apart {
        let _ = writeln!(html, "<p>{}</p>", escaped(&why));
    }
    let about = match all.len() {
        0 => String::new(),
        n => format!(
            "Paired over users, each with the mean of their targets. Holm: the chance of one false finding among all {} of a \
             column. B-H (Benjamini and Hochberg): the expected share of false ones among those found.",
            counted(n, "test")
        ),
    };
    section("Differences", &about, &html)
}

/// The loss and the metric of the validation part, by epoch.
fn curves(runs: &[Reported]) -> String {
    let (mut losses, mut valid) = (vec![], vec![]);
    for run in runs {
        let several = run.epochs.len() > 1;
        for (phase, lines) in &run.epochs {
            let name = if several { format!("{}, {phase}", run.name) } else { run.name.clone() };
            let own = run.session.experiment.phases.iter().find(|own| own.name == *phase);
            let select = own.and_then(|own| own.select.clone());
            let metric = select.unwrap_or_else(|| run.session.experiment.config.eval.metric.to_string());
            let of = |value: fn(&Line, &str) -> Option<f64>| -> Vec<(f64, f64)> {
                lines.iter().filter_map(|line| Some((line.epoch as f64, value(line, &metric)?))).collect()
            };
            losses.push(Curve { name: name.clone(), points: of(|line, _| line.loss) });
            let points = of(|line, metric| line.valid.as_ref()?[metric].as_f64());
            valid.push(Curve { name: format!("{name}: {metric}"), points });
        }
    }
    let mut html = String::new();
    for (title, curves) in [("Loss", losses), ("Validation", valid)] {
        // More cannot be told apart.
        let groups = curves.chunks(COLOURS.len()).map(|curves| (curves, chart("epoch", curves)));
        for (curves, drawn) in groups.filter(|(_, drawn)| !drawn.is_empty()) {
            let _ = write!(html, "<div><h3>{title}</h3>\n<p>");
            for (n, curve) in curves.iter().enumerate().filter(|(_, curve)| !curve.points.is_empty()) {
                let _ = write!(html, "<span class=\"key c{n}\"></span>{}", escaped(&curve.name));
            }
            let _ = write!(html, "</p>\n{drawn}</div>\n");
        }
    }
    if html.is_empty() { html } else { section("Curves", "", &format!("<div class=\"charts\">\n{html}</div>\n")) }
}

/// The settings in which not all runs that have them agree.
fn settings(runs: &[Reported]) -> String {
    if runs.len() < 2 {
        return String::new();
    }
    let of_runs: Vec<BTreeMap<String, Value>> =
        runs.iter().map(|run| run.session.experiment.config.in_use().into_iter().collect()).collect();
    let keys: BTreeSet<&String> = of_runs.iter().flat_map(BTreeMap::keys).collect();
    let differs = |key: &&String| {
        let mut values = of_runs.iter().filter_map(|all| all.get(*key));
        let first = values.next();
        values.any(|value| Some(value) != first)
    };
    let shown = |value: Option<&Value>| match value {
        None | Some(Value::Null) => text(""),
        Some(Value::String(string)) => text(string),
        Some(value) => text(value),
    };
    let row = |key: &String| [text(key)].into_iter().chain(of_runs.iter().map(|all| shown(all.get(key)))).collect();
    let rows: Vec<Vec<Cell>> = keys.into_iter().filter(differs).map(row).collect();
    if rows.is_empty() {
        return section("Settings", "All runs have the same settings.", "");
    }
    let head = ["setting".to_string()].into_iter().chain(runs.iter().map(|run| run.name.clone()));
    section("Settings that differ", "", &table(&head.collect::<Vec<_>>(), &rows))
}

/// By what data and parameters can be told to be the same.
fn hashes(runs: &[Reported]) -> String {
    let mut rows = vec![];
    for run in runs {
        let data = run.metrics["data"]["fingerprint"].as_str().unwrap_or_default();
        rows.push(vec![text(&run.name), text("data"), Cell::Hash(data.to_string())]);
        let files = run.files.iter().map(|(name, hash)| vec![text(&run.name), text(name), Cell::Hash(hash.clone())]);
        rows.extend(files);
    }
    section(
        "Hashes",
        "SHA-256 of the data set as it was read, and of the files of parameters.",
        &table(&strings(&["run", "of", "hash"]), &rows),
    )
}
