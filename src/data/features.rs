//! Features of a user at a target: attributes, which are always the same, and statistics of what came before the target.

use super::attributes::Attributes;
use super::dataset::hex;
use super::statistics::Statistics;
use sha2::{Digest, Sha256};

/// Attributes and statistics in one numbering: each category of each feature is a row of one table. Row 0 is padding, as in all
/// tables.
#[derive(Clone, Debug)]
pub struct Features {
    attributes: Option<Attributes>,
    statistics: Statistics,
    sizes: Vec<u32>,
    offsets: Vec<u32>,
    rows: usize,
}

impl Features {
    pub fn new(attributes: Option<Attributes>, statistics: Statistics) -> Features {
        let attributes = attributes.filter(|attributes| !attributes.names.is_empty());
        let mut sizes = attributes.as_ref().map_or(vec![], |attributes| attributes.sizes.clone());
        sizes.extend(statistics.sizes());
        let mut rows = 1;
        let offsets = sizes
            .iter()
            .map(|size| {
                rows += size;
                rows - size
            })
            .collect();
        Features { attributes, statistics, sizes, offsets, rows: rows as usize }
    }

    /// Categories of each feature, \[F\]: attributes first, then statistics.
    pub fn sizes(&self) -> &[u32] {
        &self.sizes
    }

    /// Category c of feature f is row `offsets[f] + c`: \[F\].
    pub fn offsets(&self) -> &[u32] {
        &self.offsets
    }

    /// Rows of the table, row 0 included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many of the features are attributes.
    pub fn attributes(&self) -> usize {
        self.attributes.as_ref().map_or(0, |attributes| attributes.names.len())
    }

    /// How many of the features are statistics.
    pub fn statistics(&self) -> usize {
        self.sizes.len() - self.attributes()
    }

    /// What each feature is, for people: \[F\]. `behaviours` are the names of those in use.
    pub fn names(&self, behaviours: &[String]) -> Vec<String> {
        let mut names = self.attributes.as_ref().map_or(vec![], |attributes| attributes.names.clone());
        names.extend(self.statistics.names(behaviours));
        names
    }

    /// A hash, in hex, of what the attributes of users are, where there are some.
    pub fn fingerprint(&self) -> Option<String> {
        let attributes = self.attributes.as_ref()?;
        let Attributes { names, sizes, values, .. } = attributes;
        Some(hex(&Sha256::digest(serde_json::to_vec(&(names, sizes, values)).expect("plain data"))))
    }

    /// What became of the attribute file's columns, for people.
    pub fn notes(&self) -> &[String] {
        self.attributes.as_ref().map_or(&[], |attributes| &attributes.notes)
    }

    /// Writes the row of each feature, \[F\], for `user` after the given events, all of them before the target: see
    /// [`Statistics::write`].
    pub fn write(&self, user: u32, items: &[u32], behaviours: &[u8], out: &mut [u32]) {
        let (of_user, of_events) = out.split_at_mut(self.attributes());
        if let Some(attributes) = &self.attributes {
            // Of a user who came after the training nothing is known.
            match attributes.of(user) {
                Some(own) => of_user.copy_from_slice(own),
                None => of_user.fill(0),
            }
        }
        self.statistics.write(items, behaviours, of_events);
        out.iter_mut().zip(&self.offsets).for_each(|(row, offset)| *row += offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> Attributes {
        Attributes {
            file: None,
            names: ["age", "gender"].map(String::from).to_vec(),
            sizes: vec![4, 3],
            values: vec![0, 1, 3, 2],
            notes: vec![],
        }
    }

    #[test]
    fn one_numbering() {
        let features = Features::new(Some(attributes()), Statistics::new(2));
        assert_eq!((features.attributes(), features.statistics(), features.rows()), (2, 3, 1 + 4 + 3 + 10 + 10 + 7));
        assert_eq!(features.offsets(), [1, 5, 8, 18, 28]);
        let names = features.names(&["cart", "buy"].map(String::from));
        assert_eq!(names, ["age", "gender", "events of cart", "events of buy", "cart to buy"]);
        let mut out = [99; 5];
        features.write(1, &[7, 7], &[0, 1], &mut out);
        assert_eq!(out, [1 + 3, 5 + 2, 8 + 1, 18 + 1, 28 + 6]);
        features.write(0, &[], &[], &mut out);
        assert_eq!(out, [1, 5 + 1, 8, 18, 28]);
        features.write(2, &[], &[], &mut out);
        assert_eq!(out, [1, 5, 8, 18, 28], "a user who came after the training");
    }

    #[test]
    fn statistics_alone() {
        let none = Attributes { names: vec![], sizes: vec![], values: vec![], ..attributes() };
        for attributes in [None, Some(none)] {
            let features = Features::new(attributes, Statistics::new(0));
            let mut out = [0];
            features.write(3, &[1, 2], &[], &mut out);
            assert_eq!((features.attributes(), features.rows(), out), (0, 11, [3]));
        }
    }
}
