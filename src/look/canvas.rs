//! A few shapes and texts, drawn as SVG.

use super::COLOURS;
use crate::error::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(super) const GREY: RGBColor = RGBColor(110, 110, 110);

/// Width of a letter, as a share of the size of the text: few fonts have wider ones on average.
const LETTER: f64 = 0.65;

/// The marks that tell users apart.
pub(super) const MARKS: usize = 6;

pub(super) type Point = (f64, f64);

/// What is drawn on, in pixels from the upper left.
pub(super) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

/// Where a text begins, or has its middle.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Left,
    Middle,
}

/// Draws a picture of a size, and gives it as SVG.
pub(super) fn svg(size: (u32, u32), draw: impl FnOnce(&Canvas) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    let canvas = Canvas(SVGBackend::with_string(&mut svg, size).into_drawing_area());
    canvas.0.fill(&WHITE).map_err(failed)?;
    draw(&canvas)?;
    canvas.0.present().map_err(failed)?;
    drop(canvas);
    Ok(svg)
}

fn failed<E: std::error::Error + Send + Sync>(e: DrawingAreaErrorKind<E>) -> Error {
    Error::Failed(format!("the picture cannot be drawn: {e}"))
}

/// The colour of interest `k`, counted from 0.
pub(super) fn colour(k: usize) -> RGBColor {
    COLOURS[k % COLOURS.len()]
}

/// About the width of a text.
pub(super) fn width(text: &str, size: f64) -> f64 {
    LETTER * size * text.chars().count() as f64
}

/// The beginning of a text that is about as wide as `most`.
pub(super) fn cut(text: &str, size: f64, most: f64) -> String {
    let letters = (most / (LETTER * size)) as usize;
    match text.char_indices().nth(letters) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_string(),
    }
}

fn pixel((x, y): Point) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}

impl Canvas<'_> {
    /// A text whose middle in height is at `at`. What XML cannot hold is left out.
    pub fn text(&self, at: Point, size: f64, colour: RGBColor, anchor: Anchor, text: &str) -> Result<()> {
        let text: String = text.chars().filter(|c| !c.is_control()).collect();
        let side = match anchor {
            Anchor::Left => HPos::Left,
            Anchor::Middle => HPos::Center,
        };
        // The backend writes sizes divided by this factor.
        let style = ("sans-serif", size * 1.24).into_font().color(&colour).pos(Pos::new(side, VPos::Center));
        self.0.draw(&Text::new(text, pixel(at), style)).map_err(failed)
    }

    pub fn line(&self, from: Point, to: Point, colour: RGBColor, width: u32) -> Result<()> {
        let style = colour.stroke_width(width);
        self.0.draw(&PathElement::new(vec![pixel(from), pixel(to)], style)).map_err(failed)
    }

    /// A closed line through `points`, with a light tint inside.
    pub fn outline(&self, points: &[Point], colour: RGBColor) -> Result<()> {
        let mut points: Vec<(i32, i32)> = points.iter().copied().map(pixel).collect();
        self.0.draw(&Polygon::new(points.clone(), colour.mix(0.06))).map_err(failed)?;
        points.extend(points.first().copied());
        self.0.draw(&PathElement::new(points, colour.stroke_width(2))).map_err(failed)
    }

    /// The mark of user `user`, counted from 0, of this radius.
    pub fn mark(&self, user: usize, at: Point, radius: f64, fill: RGBAColor, edge: RGBColor) -> Result<()> {
        let corners = |n: usize, turn: f64| -> Vec<Point> {
            let angle = |i: usize| std::f64::consts::TAU * (i as f64 / n as f64 + turn);
            (0..n).map(|i| (at.0 + radius * angle(i).cos(), at.1 + radius * angle(i).sin())).collect()
        };
        let corners = match user % MARKS {
            0 => {
                let disc = |style: ShapeStyle| self.0.draw(&Circle::new(pixel(at), radius.round() as i32, style));
                return disc(fill.filled()).and_then(|()| disc(edge.into())).map_err(failed);
            }
            1 => corners(3, 0.75),
            2 => corners(4, 0.125),
            3 => corners(3, 0.25),
            4 => corners(4, 0.0),
            _ => corners(6, 0.0),
        };
        let mut pixels: Vec<(i32, i32)> = corners.into_iter().map(pixel).collect();
        self.0.draw(&Polygon::new(pixels.clone(), fill)).map_err(failed)?;
        pixels.extend(pixels.first().copied());
        self.0.draw(&PathElement::new(pixels, edge)).map_err(failed)
    }
}
