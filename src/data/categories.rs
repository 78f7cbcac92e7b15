//! Categories of items: their genres ([`super::items`]) as numbers.

use super::dataset::Dataset;
use super::items::Descriptions;
use std::collections::HashMap;
use std::path::PathBuf;

/// Which categories each item has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Categories {
    /// Where they were read; none for the embedded world.
    pub file: Option<PathBuf>,
    /// How many there are.
    pub count: usize,
    /// Ascending, of item 0 (padding, none) to the last.
    of: Vec<Vec<u32>>,
    /// The first that is listed of each item.
    first: Vec<Option<u32>>,
}

impl Categories {
    /// The categories of `data`'s items, if `descriptions` have any.
    pub fn of(descriptions: &Descriptions, data: &Dataset) -> Option<Categories> {
        let mut numbers: HashMap<&str, u32> = HashMap::new();
        let (mut of, mut first) = (vec![vec![]], vec![None]);
        for item in 1..=data.items() as u32 {
            let mut own = vec![];
            for name in &descriptions.of(item).genres {
                let next = numbers.len() as u32;
                own.push(*numbers.entry(name.as_str()).or_insert(next));
            }
            first.push(own.first().copied());
            own.sort();
            own.dedup();
            of.push(own);
        }
        let (file, count) = (descriptions.file.clone(), numbers.len());
        (count > 0).then_some(Categories { file, count, of, first })
    }

    /// The numbers of an item's categories, from 0, ascending.
    pub fn of_item(&self, item: u32) -> &[u32] {
        &self.of[item as usize]
    }

    /// The category that is listed first of an item.
    pub fn first_of(&self, item: u32) -> Option<u32> {
        self.first[item as usize]
    }

    /// 1 less the Jaccard similarity of two items' categories; none where either has none.
    pub fn distance(&self, a: u32, b: u32) -> Option<f64> {
        let [a, b] = [a, b].map(|item| &self.of[item as usize]);
        if a.is_empty() || b.is_empty() {
            return None;
        }
        let common = a.iter().filter(|category| b.contains(category)).count();
        Some(1.0 - common as f64 / (a.len() + b.len() - common) as f64)
    }

    #[cfg(test)]
    pub fn new(of: Vec<Vec<u32>>) -> Categories {
        let count = of.iter().flatten().max().map_or(0, |most| *most as usize + 1);
        let first = of.iter().map(|own| own.first().copied()).collect();
        Categories { file: None, count, of, first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_is_of_sets() {
        let categories = Categories::new(vec![vec![], vec![0, 1], vec![1, 2], vec![], vec![0, 1]]);
        assert_eq!(categories.distance(1, 2), Some(1.0 - 1.0 / 3.0));
        assert_eq!((categories.distance(1, 4), categories.distance(1, 3)), (Some(0.0), None));
    }
}
