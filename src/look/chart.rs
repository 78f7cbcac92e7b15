//! Curves as SVG within a page: in the colours of the text around them, as wide as there is room.

use std::fmt::Write;

/// Width and height, in units of the picture.
const SIZE: (f64, f64) = (440.0, 260.0);

/// Left, top, right and bottom of what is drawn in.
const FRAME: (f64, f64, f64, f64) = (52.0, 12.0, 428.0, 222.0);

/// A curve: its name, and its points by x.
pub struct Curve {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

/// Curves over one axis of whole numbers, called `x`. Curve number n has the class `cn`. Empty without a point.
pub fn chart(x: &str, curves: &[Curve]) -> String {
    let points = || curves.iter().flat_map(|curve| &curve.points).filter(|(_, y)| y.is_finite());
    let range = |of: fn(&(f64, f64)) -> f64| {
        let ends = points().map(of).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if ends.0 < ends.1 { ends } else { (ends.0 - 0.5, ends.1 + 0.5) }
    };
    if points().next().is_none() {
        return String::new();
    }
    let (xs, ys) = (range(|point| point.0), range(|point| point.1));
    let (left, top, right, bottom) = FRAME;
    let at = |(px, py): (f64, f64)| {
        let x = left + (px - xs.0) / (xs.1 - xs.0) * (right - left);
        let y = bottom - (py - ys.0) / (ys.1 - ys.0) * (bottom - top);
        (x, y)
    };
    let mut svg = format!("<svg viewBox=\"0 0 {} {}\" role=\"img\">", SIZE.0, SIZE.1);
    for y in ticks(ys, 5, false) {
        let (_, at) = at((xs.0, y));
        let _ = write!(svg, "<path class=\"grid\" d=\"M{left} {at:.1}H{right}\"/>");
        let _ = write!(svg, "<text x=\"{}\" y=\"{:.1}\" class=\"end\">{}</text>", left - 6.0, at + 4.0, number(y));
    }
    for x in ticks(xs, 8, true) {
        let (at, _) = at((x, ys.0));
        let _ = write!(svg, "<text x=\"{at:.1}\" y=\"{}\" class=\"middle\">{}</text>", bottom + 16.0, number(x));
    }
    let middle = (left + right) / 2.0;
    let _ = write!(svg, "<text x=\"{middle}\" y=\"{}\" class=\"middle\">{x}</text>", bottom + 33.0);
    for (n, curve) in curves.iter().enumerate() {
        let places: Vec<(f64, f64)> =
            curve.points.iter().filter(|(_, y)| y.is_finite()).map(|&point| at(point)).collect();
        match places[..] {
            [] => {}
            [(x, y)] => {
                let _ = write!(svg, "<circle class=\"c{n}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
            }
            _ => {
                let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
                let _ = write!(svg, "<path class=\"line c{n}\" d=\"M{}\"/>", line.join("L"));
            }
        }
    }
    svg + "</svg>"
}

/// About `most` round numbers within a range.
fn ticks((low, high): (f64, f64), most: usize, whole: bool) -> Vec<f64> {
    let rough = (high - low) / most as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power).max(if whole { 1.0 } else { 0.0 });
    let first = (low / step).ceil() as i64;
    (first..).map(|n| n as f64 * step).take_while(|tick| *tick <= high + 1e-9 * step).collect()
}

/// A tick without the digits that rounding leaves.
fn number(x: f64) -> String {
    format!("{x:.6}").trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_range() {
        assert_eq!(ticks((1.0, 10.0), 8, true), [2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks((0.5, 1.5), 8, true), [1.0]);
        let labels: Vec<String> = ticks((0.03, 0.11), 5, false).into_iter().map(number).collect();
        assert_eq!(labels, ["0.04", "0.06", "0.08", "0.1"]);
    }

    #[test]
    fn a_point_alone_is_a_dot_and_what_is_not_finite_is_left_out() {
        let curve = |points: &[(f64, f64)]| [Curve { name: "loss".into(), points: points.to_vec() }];
        assert!(chart("epoch", &curve(&[(1.0, f64::NAN)])).is_empty());
        let one = chart("epoch", &curve(&[(1.0, 0.25), (2.0, f64::NAN)]));
        assert!(one.contains("<circle class=\"c0\" cx=\"240.0\" cy=\"117.0\""), "{one}");
        let two = chart("epoch", &curve(&[(1.0, 0.5), (3.0, 0.25)]));
        assert!(two.contains("<path class=\"line c0\" d=\"M52.0 12.0L428.0 222.0\"/>"), "{two}");
    }
}
