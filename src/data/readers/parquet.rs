//! Parquet files of plain columns.

use super::Columns;
use super::builder::Interactions;
use crate::error::{Error, Result};
use std::path::Path;

pub(crate) fn read(path: &Path, _columns: &Columns) -> Result<Interactions> {
    Err(Error::Usage(format!("{}: not yet", path.display())))
}
