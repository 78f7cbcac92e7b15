//! Looks at the columns that are not read where there are no times: they may show that the most recent event of the file is its first.

use super::times::Times;
use std::collections::HashMap;

/// Rows that are looked at.
const ROWS: usize = 1000;

/// The first rows of a file, and the columns that hold times in all of them.
pub(crate) struct Unread {
    users: Vec<Vec<u8>>,
    columns: Vec<(usize, Times)>,
}

impl Unread {
    /// `columns`: numbers of those that are not read, from 0.
    pub fn new(columns: impl Iterator<Item = usize>) -> Unread {
        Unread { users: vec![], columns: columns.map(|column| (column, Times::default())).collect() }
    }

    /// Looks at the next row.
    pub fn see<'a>(&mut self, user: &[u8], field: impl Fn(usize) -> &'a [u8]) {
        if self.users.len() < ROWS && !self.columns.is_empty() {
            self.users.push(user.to_vec());
            self.columns.retain_mut(|(column, times)| times.push(field(*column), 0).is_ok());
        }
    }

    /// A warning, where the times of almost all users' events fall from row to row.
    pub fn warning(self) -> Option<String> {
        let Unread { users, columns } = self;
        let newest_first = |(column, times): (usize, Times)| {
            let (times, clock) = times.finish();
            let mut last: HashMap<&[u8], i64> = HashMap::new();
            let (mut rises, mut falls) = (0, 0);
            for (user, &time) in users.iter().zip(&times) {
                if let Some(before) = last.insert(user, time) {
                    rises += (before < time) as usize;
                    falls += (before > time) as usize;
                }
            }
            (clock.is_time() && falls > 1 && rises <= falls / 20).then_some(column + 1)
        };
        let column = columns.into_iter().find_map(newest_first)?;
        Some(format!(
            "warning: no times are read and the file looks newest first, so that histories run backwards: column {column} \
             seems to hold times (--time-column {column})"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(rows: &[(&str, &str)]) -> Option<String> {
        let mut unread = Unread::new(2..3);
        rows.iter().for_each(|(user, time)| unread.see(user.as_bytes(), |_| time.as_bytes()));
        unread.warning()
    }

    #[test]
    fn newest_first() {
        let dates = [("a", "2015-01-09"), ("b", "2015-01-08"), ("a", "2015-01-07"), ("b", "2015-01-06")];
        let told = warning(&dates).unwrap();
        assert!(told.contains("looks newest first") && told.ends_with("(--time-column 3)"), "{told}");
        let oldest_first: Vec<(&str, &str)> = dates.into_iter().rev().collect();
        assert_eq!(warning(&oldest_first), None);
        // Positions, and words.
        assert_eq!(warning(&[("a", "3"), ("a", "2"), ("a", "1")]), None);
        assert_eq!(warning(&[("a", "x"), ("a", "2015-01-08"), ("a", "2015-01-07"), ("a", "2015-01-06")]), None);
    }
}
