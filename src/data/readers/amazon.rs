//! Amazon reviews, one JSON object a line: reviewerID, asin, overall, unixReviewTime; or, since 2023, user_id, parent_asin
//! (else asin), rating, timestamp (<https://amazon-reviews-2023.github.io/>).

use super::builder::{Builder, Field, Row};
use super::text::Text;
use crate::error::Result;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// The fields that are read; the texts of a review are skipped without being unpacked.
#[derive(Deserialize)]
struct Review {
    #[serde(alias = "reviewerID")]
    user_id: Option<String>,
    parent_asin: Option<String>,
    asin: Option<String>,
    #[serde(alias = "overall")]
    rating: Option<Value>,
    #[serde(alias = "unixReviewTime")]
    timestamp: Option<Value>,
}

pub(crate) fn read(path: &Path, rows: &mut Builder) -> Result<()> {
    let mut text = Text::open(path)?;
    let mut line = vec![];
    while text.next(&mut line)? {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let whole = Field { text: &line, column: 0 };
        let review: Review = serde_json::from_slice(&line).map_err(|e| {
            let place = Field { text: &line, column: e.column().max(1) as u64 };
            let expected = match e.is_eof() {
                true => "a whole JSON object (is the line cut?)".to_string(),
                false => format!("a JSON review ({e})"),
            };
            rows.bad(text.line, place, expected)
        })?;
        let missing = |name: &str| rows.bad(text.line, whole, format!("a review with the field {name}"));
        let user = review.user_id.ok_or_else(|| missing("reviewerID or user_id"))?;
        let item = review.parent_asin.or(review.asin).ok_or_else(|| missing("asin or parent_asin"))?;
        let value = review.rating.ok_or_else(|| missing("overall or rating"))?;
        let time = review.timestamp.ok_or_else(|| missing("unixReviewTime or timestamp"))?;
        let (value, time) = (value.to_string(), time.to_string());
        let field = |text| Field { text, column: 0 };
        rows.push(&Row {
            line: text.line,
            user: field(user.as_bytes()),
            item: field(item.as_bytes()),
            value: Some(field(value.as_bytes())),
            time: Some(field(time.as_bytes())),
            behaviour: None,
        })?;
    }
    // JSON that was cut is no JSON.
    rows.end_file(true);
    Ok(())
}
