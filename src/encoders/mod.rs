//! Encoders of texts and images: models in Hugging Face's folders, run forward only, and the files of vectors that they make.
//!
//! [`Folder`] reads a model's settings and tensors. [`TextEncoder`] runs BERT on texts, [`ImageEncoder`] a Swin
//! Transformer on images. [`Job`] is the part that encoders share: the file of vectors by item, made
//! in batches and resumed after a kill.

mod bert;
mod folder;
mod image;
mod job;
pub mod pixels;
mod sentence;
mod swin;
mod text;
mod tokens;
mod words;

pub use bert::Bert;
pub use folder::Folder;
pub use image::ImageEncoder;
pub use job::{Done, Job, Numbers};
pub use sentence::{Pooling, Sentence};
pub use swin::Swin;
pub use text::{TextEncoder, TextOptions};
pub use tokens::{Tokenized, Tokens};
pub use words::DropWords;

use crate::error::{Error, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The error of a file or folder: what was found there, and what is expected.
fn wrong(path: impl AsRef<Path>, found: impl ToString, expected: impl ToString) -> Error {
    let path = path.as_ref().to_path_buf();
    Error::Input { path, line: None, column: None, found: found.to_string(), expected: expected.to_string() }
}

/// A file of JSON.
fn json(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).map_err(Error::io(path, "read"))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::Input {
        path: path.to_path_buf(),
        line: Some(e.line() as u64),
        column: Some(e.column() as u64),
        found: format!("no JSON ({e})"),
        expected: "a file of JSON".to_string(),
    })
}

/// The beginning of a value that was found, for a message.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        None => text.to_string(),
        Some((at, _)) => format!("{}...", &text[..at]),
    }
}
