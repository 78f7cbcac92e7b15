//! Image files of items: in a folder, by their names, or in a column of a table.

use super::columns::{self, IMAGES};
use super::found::Found;
use crate::data::dataset::Dataset;
use crate::data::readers::by_name;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

/// Images of an item that count.
pub const MOST_IMAGES: usize = 4;

/// Endings of files that are images.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"];

/// The image files of each item of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Images {
    /// Of item 1 to the last: at most [`MOST_IMAGES`], in order; empty where they are missing.
    pub of: Vec<Vec<PathBuf>>,
    /// The folder they are in, or the table that names them.
    pub place: PathBuf,
}

impl Images {
    /// The error that nothing gives the items image files.
    pub fn absent() -> Error {
        let expected = "the folder images (ID.jpg, ID_2.jpg or ID/1.jpg) next to the interactions, or data.images";
        Error::Usage(format!("the items have no image files: expected {expected}"))
    }

    /// Those in the folder of images, else those that the table of items names.
    pub(super) fn read(found: &Found, data: &Dataset) -> Result<Option<Images>> {
        let join = found.join(data)?;
        let (folder, named) = found.images();
        let mut of = vec![vec![]; data.items()];
        let place = if named || folder.is_dir() {
            for (id, path) in in_folder(&folder)? {
                // `ID.jpg`, or else `ID_2.jpg`, `ID-2.jpg`.
                let of_several =
                    || id.rsplit_once(['_', '-']).filter(|(_, n)| n.parse::<u32>().is_ok()).map(|(id, _)| id);
                let either = |id: &str| join.item(id).or_else(|| join.named(id));
                if let Some(item) = either(&id).or_else(|| either(of_several()?)) {
                    of[item as usize - 1].push(path);
                }
            }
            folder
        } else {
            let Some(file) = found.table()? else { return Ok(None) };
            let table = found.open(&file)?;
            let Some(column) = table.find(&IMAGES) else { return Ok(None) };
            let (several, folder) = (table.several(column), file.parent().unwrap_or(Path::new("")).to_path_buf());
            let mut addresses = true;
            table.each(&join, &[column], |_, item, cells| {
                if let Some(item) = item {
                    let names = columns::listed(&cells[0], several);
                    addresses &= names.iter().all(|name| name.contains("://"));
                    let files = names.iter().map(|name| folder.join(name)).filter(|path| path.is_file());
                    of[item as usize - 1] = files.collect();
                }
                Ok(())
            })?;
            // Addresses of images on the web name no files.
            if addresses {
                return Ok(None);
            }
            file
        };
        of.iter_mut().for_each(|files| files.truncate(MOST_IMAGES));
        if of.iter().all(Vec::is_empty) {
            let found = "no image file of an item of the data".to_string();
            let expected =
                "files called as the items' ids (ID.jpg, ID_2.jpg), or in folders called so (ID/1.jpg)".to_string();
            return Err(Error::Input { path: place, line: None, column: None, found, expected });
        }
        Ok(Some(Images { of, place }))
    }
}

/// The image files in a folder by what they are called, and those in the folders in it by what these are called, in order.
fn in_folder(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut all = vec![];
    for path in listed(folder)? {
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            all.extend(listed(&path)?.into_iter().filter(|path| is_image(path)).map(|path| (name.clone(), path)));
        } else if is_image(&path) {
            all.push((path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path));
        }
    }
    Ok(all)
}

fn is_image(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    path.is_file() && ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io(folder, "list"))?;
    let mut paths =
        entries.map(|entry| Ok(entry.map_err(Error::io(folder, "list"))?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort_by(|a, b| by_name(a, b));
    Ok(paths)
}
