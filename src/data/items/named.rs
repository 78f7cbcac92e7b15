//! Rows of a file by names that are no items of a data set, such as those of tasks.

use super::Modality;
use super::array::Array;
use super::join::Join;
use crate::error::Result;
use std::path::Path;

/// The row of each of `names` in a .safetensors or .npy file, one after the other, and their width. Rows are found by the ids that the
/// file has, else they are in the order of the names.
///
/// # Errors
/// Whatever is wrong with the file; a name without a row, or with one of zeros; fewer rows than names.
pub fn vectors_of<S: AsRef<str>>(path: &Path, names: &[S]) -> Result<(usize, Vec<f32>)> {
    let join = Join::of_names(names.iter().map(AsRef::as_ref));
    let mut array = Array::open(path, Modality::Text, &join, None)?;
    let width = array.width;
    let mut all = vec![0.0; names.len() * width];
    if array.ids.is_none() && array.rows < names.len() {
        return Err(array
            .wrong(format!("{} rows without ids", array.rows), &format!("a row for each of {} names", names.len())));
    }
    for (number, (name, out)) in names.iter().map(AsRef::as_ref).zip(all.chunks_exact_mut(width)).enumerate() {
        let row = match &array.ids {
            Some(ids) => ids.iter().position(|id| id == name),
            None => Some(number),
        };
        let Some(row) = row else { return Err(array.wrong(format!("no row called {name:?}"), "a row for each name")) };
        if array.is_missing(row) || !array.read(row, out)? {
            return Err(array.wrong(format!("nothing but zeros for {name:?}"), "a vector for each name"));
        }
    }
    Ok((width, all))
}
