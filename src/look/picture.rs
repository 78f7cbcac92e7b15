//! A picture in a file, as SVG or in pixels.

use super::png;
use crate::error::{Error, Result};
use crate::files::replace;
use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;

/// How a picture is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    Svg,
    /// Twice as fine as the SVG.
    Png,
}

impl Picture {
    /// By the ending of a file's name.
    pub fn of(path: &Path) -> Result<Picture> {
        match path.extension().and_then(OsStr::to_str) {
            Some("svg") => Ok(Picture::Svg),
            Some("png") => Ok(Picture::Png),
            _ => Err(Error::Usage(format!("{}: expected a name that ends in .svg or .png", path.display()))),
        }
    }

    /// Writes a picture that was drawn as SVG.
    ///
    /// # Errors
    /// No font for the texts of a PNG; a file that cannot be written.
    pub fn write(self, path: &Path, svg: &str) -> Result<()> {
        let bytes = match self {
            Picture::Svg => svg.as_bytes().to_vec(),
            Picture::Png => png::from_svg(svg)?,
        };
        replace(path, |out| out.write_all(&bytes))
    }
}
