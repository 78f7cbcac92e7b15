//! A table of items: its columns by their names, and its rows by the items of a data set.

use super::columns;
use super::join::Join;
use crate::data::readers::text::{at, check_there};
use crate::data::readers::{Cell, Rows, Several};
use crate::error::{Error, Result, nearest};
use std::path::{Path, PathBuf};

/// A table of items that is open; its rows are still to be read.
pub(super) struct Table {
    rows: Rows,
    id: usize,
}

impl Table {
    /// Opens `path`. The ids are in its column `id` (`data.item_id`), else in the usual one.
    ///
    /// # Errors
    /// A file that is no table, or has no column `id`.
    pub fn open(path: &Path, id: Option<&str>) -> Result<Table> {
        check_there(path, "a table of items")?;
        let mut table = Table { rows: Rows::open(path)?, id: 0 };
        table.id = match id {
            Some(name) => table.named(name, "data.item_id")?,
            None => columns::id(&table.rows.columns),
        };
        Ok(table)
    }

    pub fn path(&self) -> &Path {
        &self.rows.path
    }

    /// The first column that is called as one of `usual`.
    pub fn find(&self, usual: &[&str]) -> Option<usize> {
        columns::find(&self.rows.columns, usual)
    }

    /// The column called `name`, which `setting` asks for.
    pub fn named(&self, name: &str, setting: &str) -> Result<usize> {
        let there = &self.rows.columns;
        there.iter().position(|column| column == name).ok_or_else(|| {
            let nearest = nearest(name, there.iter().map(String::as_str));
            let nearest = nearest.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
            let (file, shown) = (self.path().display(), &there[..there.len().min(30)]);
            Error::Usage(format!("{setting}: found {name:?}; expected a column of {file}: {shown:?}{nearest}"))
        })
    }

    pub fn name(&self, column: usize) -> &str {
        &self.rows.columns[column]
    }

    /// How the cells of a column list several values.
    pub fn several(&self, column: usize) -> Several {
        self.rows.several[column]
    }

    /// Whether it has texts, brands, prices or images, whatever else it lacks.
    pub fn describes_otherwise(&self) -> bool {
        [&columns::TEXTS[..], &columns::BRANDS, &columns::PRICES, &columns::IMAGES]
            .iter()
            .any(|usual| self.find(usual).is_some())
    }

    /// The error that none of the columns is one of those `expected`.
    pub fn lacks(&self, expected: String) -> Error {
        let shown = &self.rows.columns[..self.rows.columns.len().min(30)];
        at(self.path(), 1)(None, format!("the columns {shown:?}"), expected)
    }

    /// The error that no row is of an item of the data.
    pub fn strange(path: &Path, id: &str) -> Error {
        let found = format!("no row of an item of the data, by the ids in the column {id}");
        let expected = "the item ids of the interactions; name their column with data.item_id".to_string();
        Error::Input { path: path.to_path_buf(), line: None, column: None, found, expected }
    }

    pub fn id_column(&self) -> String {
        self.name(self.id).to_string()
    }

    /// The ids of all rows, in their order.
    pub fn ids(self) -> Result<Vec<String>> {
        let (id, mut all) = (self.id, vec![]);
        self.rows.each(id, &[], |_, id, _| {
            all.push(id.to_string());
            Ok(())
        })?;
        Ok(all)
    }

    /// Calls `take` with each row: its line, its item if the data set has it, and the cells of the columns `wanted`. Returns
    /// the number of rows that are of an item.
    ///
    /// # Errors
    /// Whatever is wrong with a row; a second row for an item.
    pub fn each(
        self,
        join: &Join,
        wanted: &[usize],
        mut take: impl FnMut(u64, Option<u32>, &[Cell]) -> Result<()>,
    ) -> Result<usize> {
        let path: PathBuf = self.path().to_path_buf();
        let mut lines = vec![0u64; join.items() + 1];
        let mut joined = 0;
        self.rows.each(self.id, wanted, |line, id, cells| {
            let item = join.item(id);
            if let Some(item) = item {
                let before = std::mem::replace(&mut lines[item as usize], line);
                if before > 0 {
                    let found = format!("a second row for the item {id:?}, whose first is in line {before}");
                    return Err(at(&path, line)(None, found, "one row for each item".to_string()));
                }
                joined += 1;
            }
            take(line, item, cells)
        })?;
        Ok(joined)
    }
}
