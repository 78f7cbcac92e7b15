//! A Parquet file as rows of cells.

use super::cells::{self, Cell as Read, Cells};
use super::guard::{self, DELTA_BLOCK, Elements};
use super::{BLOCK, LIST_BLOCK, damaged, seekable};
use crate::data::readers::cell::Cell;
use crate::data::readers::role::Role;
use crate::data::readers::text::at;
use crate::error::Result;
use std::path::Path;
use std::sync::Arc;

/// The names of the columns.
pub(crate) fn columns(path: &Path) -> Result<Vec<String>> {
    let metadata = guard::metadata(&seekable(path)?).map_err(|e| damaged(path, e))?;
    let schema = metadata.file_metadata().schema_descr();
    Ok((0..schema.num_columns()).map(|leaf| cells::name(schema, leaf)).collect())
}

/// Calls `take` with the number of each row, from 1, and the cells of the columns `wanted`, the first of which is that of ids.
pub(crate) fn each(path: &Path, wanted: &[usize], mut take: impl FnMut(u64, &[Cell]) -> Result<()>) -> Result<()> {
    let file = Arc::new(seekable(path)?);
    let metadata = guard::metadata(&file).map_err(|e| damaged(path, e))?;
    let schema = metadata.file_metadata().schema_descr();
    let mut line = 0;
    for group in metadata.row_groups() {
        let elements = Elements::default();
        let (mut columns, mut block) = (vec![], BLOCK);
        for (nth, &index) in wanted.iter().enumerate() {
            let chunk = &group.columns()[index];
            let role = if nth == 0 { Role::Item } else { Role::Value };
            let (column, most) = (schema.column(index), chunk.column_descr().max_rep_level());
            block = block.min(match guard::declares_delta(chunk) {
                _ if most > 0 => LIST_BLOCK,
                true => DELTA_BLOCK,
                false => BLOCK,
            });
            let cells = Cells::new(&file, (schema, index), chunk, role, &elements).map_err(|e| damaged(path, e))?;
            columns.push(cells.ok_or_else(|| {
                let name = cells::name(schema, index);
                let found = format!("the column {name:?} of type {}", cells::type_name(&column));
                let expected = "texts or numbers, or lists of them".to_string();
                crate::error::Error::Input { path: path.to_path_buf(), line: None, column: None, found, expected }
            })?);
        }
        let mut left = group.num_rows() as usize;
        while left > 0 {
            let rows = left.min(block);
            elements.reset();
            columns.iter_mut().try_for_each(|cells| cells.fill(rows)).map_err(|e| damaged(path, e))?;
            for row in 0..rows {
                line += 1;
                let cells: Vec<Cell> = columns.iter().map(|cells| cell(cells, row)).collect();
                if let Read::Refused(text, expected) = columns[0].get(row, 0) {
                    let found = String::from_utf8_lossy(text).into_owned();
                    return Err(at(path, line)(Some(wanted[0] as u64 + 1), found, expected.to_string()));
                }
                take(line, &cells)?;
            }
            left -= rows;
        }
    }
    Ok(())
}

/// The cell of a row, or the list of its elements.
fn cell(cells: &Cells, row: usize) -> Cell {
    let text = |element: usize| match cells.get(row, element) {
        Read::Text(text) | Read::Refused(text, _) => Some(String::from_utf8_lossy(text).into_owned()),
        Read::Time(instant) => Some(instant.to_string()),
        Read::Null => None,
    };
    match cells.elements(row) {
        Some(elements) => Cell::List((0..elements).filter_map(text).collect()),
        None => text(0).map_or(Cell::Missing, Cell::Text),
    }
}
