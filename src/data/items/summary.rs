//! What is known of a data set's items, in a few lines: `wgrec data inspect`.

use super::{Coverage, Images, MOST_IMAGES, Modality, Numbers, Prices, Texts, Vectors};
use crate::data::{DataConfig, Dataset};
use crate::error::Result;
use indicatif::HumanCount;
use std::fmt;
use std::path::Path;

/// Letters of the example of a text.
const LETTERS: usize = 100;

/// All that the files of items have. Its `Display` is a line for each kind of it.
#[derive(Debug)]
pub struct ItemSummary {
    pub texts: Option<Texts>,
    pub text: Option<Vectors>,
    pub images: Option<Images>,
    pub image: Option<Vectors>,
    pub prices: Option<Prices>,
}

impl ItemSummary {
    /// # Errors
    /// Whatever is wrong with a file of items.
    pub fn of(config: &DataConfig, data: &Dataset) -> Result<ItemSummary> {
        Ok(ItemSummary {
            texts: config.item_texts(data)?,
            text: config.item_vectors(Modality::Text, data, None)?,
            images: config.item_images(data)?,
            image: config.item_vectors(Modality::Image, data, None)?,
            prices: config.item_prices(data, None)?,
        })
    }
}

impl fmt::Display for ItemSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(texts) = &self.texts {
            let coverage = Coverage::of(texts.of.iter().map(Option::is_some));
            let columns = texts.columns.join(", ");
            line(f, "texts", coverage, &format!("the columns {columns}"), Some(&texts.file))?;
            if let Some(text) = texts.of.iter().flatten().next() {
                let more = if text.chars().count() > LETTERS { "..." } else { "" };
                writeln!(f, "{:<14}\"{}{more}\"", "", text.chars().take(LETTERS).collect::<String>())?;
            }
        }
        if let Some(images) = &self.images {
            let coverage = Coverage::of(images.of.iter().map(|files| !files.is_empty()));
            let files: usize = images.of.iter().map(Vec::len).sum();
            let what = format!("{} files, at most {MOST_IMAGES} an item", HumanCount(files as u64));
            line(f, "image files", coverage, &what, Some(&images.place))?;
        }
        for (name, vectors) in [("text", &self.text), ("image", &self.image)] {
            if let Some(vectors) = vectors {
                let number = if matches!(vectors.numbers(), Numbers::F16(_)) { "f16" } else { "f32" };
                let what = format!("embeddings of width {} in {number}", vectors.width);
                line(f, name, vectors.coverage(), &what, vectors.file.as_deref())?;
            }
        }
        if let Some(prices) = &self.prices {
            let coverage = Coverage::of(prices.of.iter().map(Option::is_some));
            let (low, high) = prices.of.iter().flatten().fold((f64::MAX, 0f64), |(a, b), &x| (a.min(x), b.max(x)));
            let currency = prices.currency.as_deref().unwrap_or("no currency named");
            line(f, "prices", coverage, &format!("{low} to {high}, {currency}"), prices.file.as_deref())?;
        }
        Ok(())
    }
}

/// Items that have it and that lack it, what it is, and where it was read.
fn line(f: &mut fmt::Formatter, name: &str, coverage: Coverage, what: &str, file: Option<&Path>) -> fmt::Result {
    let [present, missing] = [coverage.present(), coverage.missing].map(|n| HumanCount(n as u64));
    let file = file.and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    writeln!(f, "{name:<14}{present} items, {missing} missing: {what} ({file})")
}
