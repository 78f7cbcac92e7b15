//! Which row of a file of numbers each item has.

use super::array::Array;
use super::found::Found;
use super::index::row_of;
use super::join::Join;
use crate::error::Result;
use crate::text::counted;
use std::collections::HashSet;

/// The row of each item, from item 1 on. The ids of rows are those in the file itself; else in `X.item2index` next to the
/// interactions; else in a table of items with as many rows; else the items are numbers, and count the rows.
///
/// # Errors
/// Rows that nothing gives ids to; ids that are no items of the data; a number of rows that does not match.
pub(super) fn of_items(array: &Array, found: &Found, join: &Join) -> Result<Vec<Option<usize>>> {
    let mut of = vec![None; join.items()];
    let mut set = |row: usize, item: Option<u32>| {
        if let Some(item) = item {
            of[item as usize - 1] = Some(row);
        }
    };
    if let Some(ids) = &array.ids {
        // As the interactions or as tables call the items, whichever more of them are.
        let by = [Join::named, Join::item].map(|by| ids.iter().map(|id| by(join, id)).collect::<Vec<_>>());
        let [named, tabled] = by.each_ref().map(|items| items.iter().flatten().count());
        let items = &by[(tabled > named) as usize];
        items.iter().enumerate().for_each(|(row, &item)| set(row, item));
    } else if let Some(index) = join.index() {
        if index.rows() != array.rows {
            let (found, expected) = (counted(array.rows, "row"), counted(index.rows(), "row"));
            return Err(array.wrong(found, &format!("{expected}, as {} has", index.path.display())));
        }
        (0..index.rows()).for_each(|row| set(row, join.item(index.id(row))));
    } else if let Some(ids) = table_ids(array, found)? {
        ids.iter().enumerate().for_each(|(row, id)| set(row, join.item(id)));
    } else {
        let first = first_number(array, join).ok_or_else(|| {
            let found = format!("{} without ids, for {}", counted(array.rows, "row"), counted(join.items(), "item"));
            let expected = "the ids in the metadata of a .safetensors file or in NAME.item2index, a table of items with as many \
                            rows, or items with the numbers of the rows";
            array.wrong(found, expected)
        })?;
        (0..array.rows).for_each(|row| set(row, join.named(&(row + first).to_string())));
    }
    match of.iter().any(Option::is_some) {
        true => Ok(of),
        false => {
            let found = format!("{}, none of which is of an item of the data", counted(array.rows, "row"));
            Err(array.wrong(found, "the item ids of the interactions"))
        }
    }
}

/// The ids of a table of items that has as many rows.
///
/// # Errors
/// Two rows for one id.
fn table_ids(array: &Array, found: &Found) -> Result<Option<Vec<String>>> {
    let Some(path) = found.table()? else { return Ok(None) };
    let ids = found.open(&path)?.ids()?;
    if ids.len() != array.rows {
        return Ok(None);
    }
    let mut seen = HashSet::new();
    match ids.iter().find(|id| !seen.insert(id.as_str())) {
        Some(twice) => {
            Err(array.wrong(format!("two rows for the item {twice:?}, by {}", path.display()), "one row for each item"))
        }
        None => Ok(Some(ids)),
    }
}

/// The number of the item that row 0 is of, where all items are numbers that rows have. A file that does not say that its rows
/// are counted from 1 must have a row for each item and no other.
fn first_number(array: &Array, join: &Join) -> Option<usize> {
    let numbers: Option<Vec<usize>> = join.names().iter().map(row_of).collect();
    let (least, most) = numbers.iter().flatten().fold((usize::MAX, 0), |(a, b), &n| (a.min(n), b.max(n)));
    let from = |first: usize| numbers.is_some() && least >= first && most < array.rows + first;
    let exact = array.rows == join.items();
    match (from(1), from(0)) {
        (true, _) if array.counted || exact => Some(1),
        (_, true) if exact => Some(0),
        _ => None,
    }
}
