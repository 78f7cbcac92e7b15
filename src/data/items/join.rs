//! Which item of a data set an id in a file of items means, and which item a row of a file without ids is of.

use super::index::{Index, row_of};
use crate::data::dataset::Dataset;
use crate::data::readers::{Interner, Names};
use crate::error::Result;

/// The items of a data set by the ids that files of items use.
pub(super) struct Join {
    /// Number i is the data's id of item i + 1.
    names: Interner,
    /// Where interactions name items by rows: the ids of these rows, and the item of each.
    of_rows: Option<(Interner, Vec<u32>)>,
    index: Option<Index>,
}

impl Join {
    /// `index`: the ids of rows, if the folder of the data has them.
    ///
    /// # Errors
    /// An index that does not go with the data.
    pub fn new(data: &Dataset, index: Option<Index>) -> Result<Join> {
        let Join { names, .. } = Join::of_names((1..=data.items() as u32).map(|item| data.item_name(item)));
        let of_rows = match &index {
            Some(index) if index.names_rows(&names.names)? => {
                let (mut ids, mut items) = (Interner::default(), vec![]);
                for (name, item) in names.names.iter().zip(1..) {
                    if let Some(row) = row_of(name).filter(|&row| row < index.rows()) {
                        ids.intern(index.id(row).as_bytes()).expect("ids of an index are UTF-8 and fewer than 2^32");
                        items.push(item);
                    }
                }
                Some((ids, items))
            }
            _ => None,
        };
        Ok(Join { names, of_rows, index })
    }

    /// Items of these ids.
    pub fn of_names<'a>(ids: impl Iterator<Item = &'a str>) -> Join {
        let mut names = Interner::default();
        ids.for_each(|id| _ = names.intern(id.as_bytes()).expect("ids are UTF-8 and fewer than 2^32"));
        Join { names, of_rows: None, index: None }
    }

    /// Items of the data set.
    pub fn items(&self) -> usize {
        self.names.names.len()
    }

    /// The data's ids of all items.
    pub fn names(&self) -> &Names {
        &self.names.names
    }

    /// The item of an id in a table.
    pub fn item(&self, id: &str) -> Option<u32> {
        match &self.of_rows {
            Some((ids, items)) => ids.find(id.as_bytes()).map(|number| items[number as usize]),
            None => self.named(id),
        }
    }

    /// The item that the interactions call `name`.
    pub fn named(&self, name: &str) -> Option<u32> {
        self.names.find(name.as_bytes()).map(|number| number + 1)
    }

    /// What the interactions would call the item of an id in a table. None if they name items by rows, and it has none.
    pub fn name_of(&self, id: &str) -> Option<String> {
        match (&self.of_rows, &self.index) {
            (Some(_), Some(index)) => index.row(id).map(|row| row.to_string()),
            _ => Some(id.to_string()),
        }
    }

    pub fn index(&self) -> Option<&Index> {
        self.index.as_ref()
    }
}
