//! Prices of items, in one currency, and their scale.

use super::array::Array;
use super::columns::{CURRENCIES, PRICES};
use super::found::Found;
use super::price::price;
use super::table::Table;
use super::{Modality, rows};
use crate::data::dataset::Dataset;
use crate::data::readers::Cell;
use crate::data::readers::text::at;
use crate::data::synth::Domain;
use crate::data::{DataConfig, Scaling};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The price of each item of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Prices {
    /// Of item 1 to the last; none where it is missing.
    pub of: Vec<Option<f64>>,
    /// The ISO code of their currency, where the file says it.
    pub currency: Option<String>,
    /// Where they were read; none for the embedded world.
    pub file: Option<PathBuf>,
}

impl Prices {
    pub(super) fn read(found: &Found, data: &Dataset, config: &DataConfig) -> Result<Option<Prices>> {
        let Some(prices) = Prices::any(found, data, config)? else { return Ok(None) };
        match prices.of.iter().any(Option::is_some) {
            true => Ok(Some(prices)),
            false => Err(Error::Input {
                path: prices.file.unwrap_or_default(),
                line: None,
                column: None,
                found: "no item with a price".to_string(),
                expected: "a price of one item at least".to_string(),
            }),
        }
    }

    /// Those of the file that is named, else of the table of items, else of a file of numbers.
    fn any(found: &Found, data: &Dataset, config: &DataConfig) -> Result<Option<Prices>> {
        let table = match &config.price {
            Some(file) if is_array(file) => return of_array(file, found, data).map(Some),
            Some(file) => Some(file.clone()),
            None => found.table()?,
        };
        if let Some(file) = table {
            let table = found.open(&file)?;
            match column(&table, config)? {
                Some(column) => return of_table(table, column, found, data, config).map(Some),
                None if config.price.is_some() => return Err(table.lacks(expected())),
                None => {}
            }
        }
        found.array(Modality::Price)?.map(|file| of_array(&file, found, data)).transpose()
    }

    pub(super) fn of_world(world: &Domain, data: &Dataset) -> Prices {
        let price = |item: u32| super::world_item(world, data, item).price.map(f64::from);
        Prices { of: (1..=data.items() as u32).map(price).collect(), currency: None, file: None }
    }

    /// How these prices are scaled by `config`.
    pub fn scale(&self, config: &DataConfig) -> PriceScale {
        let mut known: Vec<f64> = self.of.iter().flatten().copied().collect();
        known.sort_by(f64::total_cmp);
        let at = |share: f64| known[(share * (known.len() - 1) as f64).round() as usize];
        let [low, high] = match known.is_empty() {
            true => [0.0, 0.0],
            false => [at(0.0), at(config.price_clip)],
        };
        PriceScale { scaling: config.price_scale, low, high, currency: self.currency.clone() }
    }
}

/// How prices become numbers from 0 to 100. It stays with a run, so that a price means the same to it later.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceScale {
    pub scaling: Scaling,
    /// The price that becomes 0, and the one that becomes 100. Others are taken as the nearer of the two.
    pub low: f64,
    pub high: f64,
    pub currency: Option<String>,
}

impl PriceScale {
    /// A price from 0 to 100; 0 where all prices are equal.
    pub fn scaled(&self, price: f64) -> f64 {
        let curve = |price: f64| match self.scaling {
            Scaling::Minmax => price,
            Scaling::Log => price.ln_1p(),
        };
        let [low, price, high] = [self.low, price.clamp(self.low, self.high), self.high].map(curve);
        if high > low { 100.0 * ((price - low) / (high - low)) } else { 0.0 }
    }
}

fn expected() -> String {
    format!("a column of prices ({}); or name it with data.price_column", PRICES.join(", "))
}

fn is_array(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending == "safetensors" || ending == "npy")
}

/// The column of prices: the one that is named, else the usual one.
fn column(table: &Table, config: &DataConfig) -> Result<Option<usize>> {
    let named = config.price_column.as_deref().map(|name| table.named(name, "data.price_column"));
    Ok(named.transpose()?.or_else(|| table.find(&PRICES)))
}

fn of_table(table: Table, column: usize, found: &Found, data: &Dataset, config: &DataConfig) -> Result<Prices> {
    let wanted: Vec<usize> = [column].into_iter().chain(table.find(&CURRENCIES)).collect();
    let (file, id, join) = (table.path().to_path_buf(), table.id_column(), found.join(data)?);
    let mut of = vec![None; data.items()];
    // The currency, and the line that has it first.
    let mut currency: Option<(String, u64)> = None;
    let joined = table.each(&join, &wanted, |line, item, cells| {
        let Some(read) = text(&cells[0]).and_then(|text| price(&text)) else { return Ok(()) };
        let own = read.currency.or_else(|| cells.get(1).and_then(text).filter(|code| !code.trim().is_empty()));
        let other = own.as_ref().is_some_and(|own| config.currency.as_ref().is_some_and(|named| named != own));
        if other {
            return Ok(());
        }
        match (&currency, own) {
            (Some((first, before)), Some(own)) if *first != own => {
                let found = format!("a price in {own}, after one in {first} in line {before}");
                let expected = "prices in one currency; name the one that counts with data.currency".to_string();
                return Err(at(&file, line)(None, found, expected));
            }
            (None, Some(own)) => currency = Some((own, line)),
            _ => {}
        }
        if let Some(item) = item {
            of[item as usize - 1] = Some(read.value);
        }
        Ok(())
    })?;
    if joined == 0 {
        return Err(Table::strange(&file, &id));
    }
    Ok(Prices { of, currency: currency.map(|(code, _)| code).or_else(|| config.currency.clone()), file: Some(file) })
}

fn text(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(text.clone()),
        Cell::List(values) if values.len() == 1 => values.first().cloned(),
        _ => None,
    }
}

fn of_array(file: &Path, found: &Found, data: &Dataset) -> Result<Prices> {
    let join = found.join(data)?;
    let mut array = Array::open(file, Modality::Price, &join, None)?;
    if array.width != 1 || array.images != 1 {
        return Err(array.wrong(format!("{} numbers an item", array.width * array.images), "one price an item"));
    }
    let (mut of, mut row) = (vec![None; data.items()], vec![0.0]);
    for (price, at) in of.iter_mut().zip(rows::of_items(&array, found, &join)?) {
        let Some(at) = at.filter(|&at| !array.is_missing(at)) else { continue };
        array.read(at, &mut row)?;
        if row[0] < 0.0 {
            return Err(array.wrong(format!("the price {} in row {at}", row[0]), "prices of at least 0"));
        }
        *price = Some(row[0] as f64);
    }
    Ok(Prices { of, currency: None, file: Some(file.to_path_buf()) })
}
