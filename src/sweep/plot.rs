//! What a sweep came to, as a picture: a panel for each varied setting.

use super::file::{Choice, Search, shown};
use super::table::{Point, Results, Score};
use crate::error::{Error, Result};
use crate::look::COLOURS;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;
use serde_json::Value;
use std::ops::Range;

/// Pixels of a panel.
const PANEL: (u32, u32) = (520, 380);
const PANELS_A_ROW: usize = 2;
/// More would run into each other.
const MOST_TICKS: usize = 9;

/// How values become positions on the x axis.
enum Axis {
    Linear,
    Log,
    /// Side by side, in this order: words, and a 0 next to values that need a logarithm.
    Even(Vec<Value>),
}

/// The points that one line goes through.
struct Line<'a> {
    label: String,
    points: Vec<(f64, &'a Point<'a>)>,
}

struct Panel<'a> {
    key: &'a str,
    lines: Vec<Line<'a>>,
    x: Places,
}

/// A stretch of the x axis, with its ticks.
#[derive(Clone)]
struct Places {
    range: Range<f64>,
    ticks: Vec<(f64, String)>,
}

impl Ranged for Places {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, place: &f64, (from, to): (i32, i32)) -> i32 {
        let Range { start, end } = self.range;
        from + ((place - start) / (end - start) * (to - from) as f64).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.iter().map(|tick| tick.0).collect()
    }

    fn range(&self) -> Range<f64> {
        self.range.clone()
    }
}

impl ValueFormatter<f64> for Places {
    fn format_ext(&self, place: &f64) -> String {
        self.ticks.iter().find(|tick| tick.0 == *place).map_or(String::new(), |tick| tick.1.clone())
    }
}

impl Axis {
    /// Of `values`, in order.
    fn of(choice: &Choice, values: &[Value]) -> Axis {
        let Some(numbers) = values.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>() else {
            return Axis::Even(values.to_vec());
        };
        let positive: Vec<f64> = numbers.iter().copied().skip_while(|&x| x == 0.0).collect();
        match choice {
            Choice::Range { log: true, .. } => Axis::Log,
            Choice::List(_) if are_geometric(&positive) && positive.len() == numbers.len() => Axis::Log,
            Choice::List(_) if are_geometric(&positive) => Axis::Even(values.to_vec()),
            _ => Axis::Linear,
        }
    }

    fn place(&self, value: &Value) -> f64 {
        let number = value.as_f64().unwrap_or_default();
        match self {
            Axis::Linear => number,
            Axis::Log => number.log10(),
            Axis::Even(values) => values.iter().position(|v| v == value).unwrap_or_default() as f64,
        }
    }

    /// The label at a position between values.
    fn number(&self, place: f64) -> f64 {
        let number = if matches!(self, Axis::Log) { 10f64.powf(place) } else { place };
        format!("{number:.2e}").parse().expect("a number")
    }
}

/// Whether the gaps between ascending numbers are more equal in their logarithms.
fn are_geometric(numbers: &[f64]) -> bool {
    let unevenness = |of: fn(f64) -> f64| {
        let gaps: Vec<f64> = numbers.windows(2).map(|pair| of(pair[1]) - of(pair[0])).collect();
        gaps.iter().copied().fold(0.0, f64::max) / gaps.iter().copied().fold(f64::INFINITY, f64::min)
    };
    match numbers {
        [first, ..] if *first <= 0.0 => false,
        [first, last] => last / first >= 10.0,
        [_, _, ..] => unevenness(f64::ln) < unevenness(|x| x),
        _ => false,
    }
}

impl<'a> Panel<'a> {
    /// The panel of the varied setting `k`; None while there is no point for it.
    fn new(results: &'a Results, points: &'a [Point<'a>], k: usize) -> Option<Panel<'a>> {
        let others = |values: &[Value]| {
            let mut values = values.to_vec();
            values.remove(k);
            values
        };
        let curves = results.search == Search::Curves;
        let of_the_curve = |p: &&Point| !curves || others(p.values) == others(&results.centre);
        let points: Vec<&Point> = points.iter().filter(of_the_curve).collect();
        if points.is_empty() {
            return None;
        }
        let mut values: Vec<Value> = vec![];
        for point in &points {
            if !values.contains(&point.values[k]) {
                values.push(point.values[k].clone());
            }
        }
        // Words stay in the order of the file.
        values.sort_by(|a, b| match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => std::cmp::Ordering::Equal,
        });
        let varied = &results.varied[k];
        let axis = Axis::of(&varied.choice, &values);

        let mut lines: Vec<(Vec<Value>, Line)> = vec![];
        for point in points {
            let place = axis.place(&point.values[k]);
            let apart = if results.search == Search::Grid { others(point.values) } else { vec![] };
            match lines.iter_mut().find(|(values, _)| *values == apart) {
                Some((_, line)) => line.points.push((place, point)),
                None => {
                    let keys = results.varied.iter().enumerate().filter(|(i, _)| *i != k).map(|(_, v)| &v.key);
                    let names: Vec<String> = keys.zip(&apart).map(|(key, v)| format!("{key}={}", shown(v))).collect();
                    lines.push((apart, Line { label: names.join(" "), points: vec![(place, point)] }));
                }
            }
        }
        let mut lines: Vec<Line> = lines.into_iter().map(|(_, line)| line).collect();
        lines.iter_mut().for_each(|line| line.points.sort_by(|a, b| a.0.total_cmp(&b.0)));

        let places = values.iter().map(|value| axis.place(value));
        let (low, high) =
            (places.clone().fold(f64::INFINITY, f64::min), places.clone().fold(f64::NEG_INFINITY, f64::max));
        let ticks: Vec<(f64, String)> = match varied.choice {
            Choice::List(_) | Choice::Range { whole: true, .. } => places.zip(values.iter().map(shown)).collect(),
            Choice::Range { .. } => {
                (0..5).map(|i| low + (high - low) * i as f64 / 4.0).map(|x| (x, axis.number(x).to_string())).collect()
            }
        };
        let ticks = ticks.iter().step_by(ticks.len().div_ceil(MOST_TICKS)).cloned().collect();
        Some(Panel { key: &varied.key, lines, x: Places { range: widened(low, high), ticks } })
    }

    fn draw(&self, area: &Area, y: Range<f64>, metric: &str, joined: bool) -> Drawn {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(self.x.clone(), y)?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .y_label_formatter(&|y| format!("{y:.4}"))
            .x_desc(self.key)
            .y_desc(metric)
            .draw()?;
        // With more lines than colours there is no legend.
        let told_apart = (2..=COLOURS.len()).contains(&self.lines.len());
        for (i, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let mean = |of: fn(&Score) -> f64| line.points.iter().map(move |(x, point)| (*x, point.mean(of)));
            let [valid, test]: [fn(&Score) -> f64; 2] = [|s| s.valid, |s| s.test];
            for of in [valid, test] {
                let spread = line.points.iter().map(|(x, point)| {
                    let (low, high) = extremes(point.scores.iter().map(|score| of(score)));
                    PathElement::new(vec![(*x, low), (*x, high)], colour.mix(0.5))
                });
                chart.draw_series(spread)?;
            }
            if joined {
                chart.draw_series(DashedLineSeries::new(mean(test), 4, 4, colour.into()))?;
                chart.draw_series(LineSeries::new(mean(valid), colour))?;
            }
            chart.draw_series(mean(test).map(|at| Circle::new(at, 3, WHITE.filled())))?;
            chart.draw_series(mean(test).map(|at| Circle::new(at, 3, colour)))?;
            let dots = chart.draw_series(mean(valid).map(|at| Circle::new(at, 3, colour.filled())))?;
            if told_apart {
                dots.label(&line.label).legend(move |at| Circle::new(at, 3, colour.filled()));
            }
        }
        if told_apart {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::LowerRight)
                .background_style(WHITE.mix(0.8))
                .border_style(BLACK.mix(0.3))
                .draw()?;
        }
        Ok(())
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// The least and the greatest.
fn extremes(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    numbers.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)))
}

/// With room on both sides.
fn widened(low: f64, high: f64) -> Range<f64> {
    let room = if high > low { 0.07 * (high - low) } else { 0.1 * low.abs().max(0.01) };
    low - room..high + room
}

impl Results {
    /// A picture as SVG, with a panel for each varied setting: the mean over seeds, and bars from the lowest to the highest.
    /// Trials that agree in all other varied settings are joined. None while nothing is done.
    pub fn plot(&self) -> Result<Option<String>> {
        let mut points = self.points();
        points.retain(|point| !point.scores.is_empty());
        let panels: Vec<Panel> = (0..self.varied.len()).filter_map(|k| Panel::new(self, &points, k)).collect();
        if panels.is_empty() {
            return Ok(None);
        }
        let scores = || points.iter().flat_map(|point| &point.scores);
        let (low, high) = extremes(scores().flat_map(|score| [score.valid, score.test]));
        let columns = panels.len().min(PANELS_A_ROW);
        let rows = panels.len().div_ceil(columns);
        let mut svg = String::new();
        let draw = |svg: &mut String| -> Drawn {
            let size = (PANEL.0 * columns as u32, PANEL.1 * rows as u32 + 30);
            let area = SVGBackend::with_string(svg, size).into_drawing_area();
            area.fill(&WHITE)?;
            let title = format!(
                "{}: {} of validation (filled) and test (open); bars from the lowest to the highest seed",
                self.model, self.metric
            );
            let area = area.titled(&title, ("sans-serif", 15))?;
            for (panel, area) in panels.iter().zip(area.split_evenly((rows, columns))) {
                panel.draw(&area, widened(low, high), &self.metric.to_string(), self.search.is_joined())?;
            }
            area.present()
        };
        draw(&mut svg).map_err(|e| Error::Failed(format!("sweep.svg: cannot draw it: {e}")))?;
        Ok(Some(svg))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_go_by_the_values() {
        let listed = |text: &str| {
            let table: toml::Table = text.parse().unwrap();
            let list = table["v"].as_array().unwrap().clone();
            let values: Vec<Value> = list.iter().map(|v| serde_json::to_value(v).unwrap()).collect();
            match Axis::of(&Choice::List(list), &values) {
                Axis::Linear => "linear",
                Axis::Log => "log",
                Axis::Even(_) => "even",
            }
        };
        for (values, axis) in [
            ("[1, 2, 3, 4]", "linear"),
            ("[0, 1, 2, 3]", "linear"),
            ("[0.0, 0.2, 0.4, 0.6]", "linear"),
            ("[16, 32]", "linear"),
            ("[7]", "linear"),
            ("[16, 32, 64]", "log"),
            ("[1e-4, 1e-2]", "log"),
            ("[1e-4, 3e-4, 1e-3]", "log"),
            ("[0, 1e-4, 1e-3, 1e-2]", "even"),
            ("['bpr', 'softmax']", "even"),
            ("[true, false]", "even"),
        ] {
            assert_eq!(listed(&format!("v = {values}")), axis, "{values}");
        }
        assert_eq!(Axis::Log.place(&Value::from(0.01)), -2.0);
        assert_eq!(Axis::Log.number(-2.0), 0.01);
    }
}
