//! Pictures in pixels.

use crate::error::{Error, Result};

/// Draws an SVG at this number of pixels for each of its own.
#[cfg(feature = "png")]
pub(super) fn from_svg(svg: &str) -> Result<Vec<u8>> {
    use resvg::tiny_skia::{Pixmap, Transform};
    use resvg::usvg::{Options, Tree, fontdb};
    use std::sync::Arc;

    const SCALE: f32 = 2.0;
    let failed = |e: &dyn std::fmt::Display| Error::Failed(format!("the picture cannot be drawn: {e}"));
    let mut fonts = fontdb::Database::new();
    fonts.load_system_fonts();
    let sans = fontdb::Query { families: &[fontdb::Family::SansSerif], ..fontdb::Query::default() };
    if fonts.query(&sans).is_none() {
        // The system names no usual font: one that calls itself sans, or any.
        let names = || fonts.faces().filter_map(|face| Some(&face.families.first()?.0));
        let sans = names().find(|name| name.contains("Sans") && !name.contains("Mono"));
        let Some(name) = sans.or_else(|| names().next()).cloned() else {
            return Err(Error::Usage(
                "a .png needs a font for its texts, and none is installed here; install one (such as fonts-dejavu), or \
                 write a .svg"
                    .to_string(),
            ));
        };
        fonts.set_sans_serif_family(name);
    }
    let options = Options { fontdb: Arc::new(fonts), ..Options::default() };
    let tree = Tree::from_str(svg, &options).map_err(|e| failed(&e))?;
    let size = tree.size();
    let [width, height] = [size.width(), size.height()].map(|side| (SCALE * side).ceil() as u32);
    let mut pixels = Pixmap::new(width, height).ok_or_else(|| failed(&format!("{width} x {height} pixels")))?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| failed(&e))
}

#[cfg(not(feature = "png"))]
pub(super) fn from_svg(_svg: &str) -> Result<Vec<u8>> {
    Err(Error::Usage("this wgrec was built without the feature `png`; write a .svg".to_string()))
}
