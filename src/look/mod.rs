//! Looking at a trained model: vectors as files, the interests of users as pictures.

mod canvas;
mod chart;
mod clouds;
mod continuations;
mod export;
mod inspection;
mod map;
mod numbers;
mod picture;
mod planted;
mod png;
mod report;
mod transfer;

pub use continuations::{Continuation, Continuations, Step, item_called};
pub use export::{Ending, Vectors};
pub use inspection::{Inspection, Item, listed};
pub use map::{Map, Pick};
pub use numbers::{Follows, Numbered, Numbers};
pub use picture::Picture;
pub use planted::{Agreement, Planted};
pub use report::{Reported, page};
pub use transfer::{Accuracy, Counted, Told, Transfer};

use plotters::style::RGBColor;

/// The colours of Okabe and Ito, which the colour-blind tell apart too.
pub const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];
