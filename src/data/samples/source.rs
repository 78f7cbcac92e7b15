//! The samples of a split, by number.

use super::Samples;
use crate::data::dataset::Dataset;
use crate::data::negatives::{LeftOut, Negatives, Pool};
use crate::data::split::Split;
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Data, and the samples that it has: every event of a user's training part but the first can be a target.
pub struct Source {
    pub data: Arc<Dataset>,
    pub split: Arc<Split>,
    pub samples: Arc<dyn Samples>,
    /// Events of a window.
    pub max_len: usize,
    /// Samples of all users before each user: \[users + 1\].
    starts: Vec<u64>,
    /// Where each sample ends, after its last target, in the user's history; not kept where each event is a target.
    ends: Option<Vec<u32>>,
    pub(super) left_out: LeftOut,
    /// What draws negatives: made once, for whoever asks first.
    negatives: Mutex<Option<(Pool, Arc<Negatives>)>>,
}

impl Source {
    /// `own_negatives`: drawn of these for each user; users who have every item are left out, since there are none for them.
    pub fn new(
        data: Arc<Dataset>,
        split: Arc<Split>,
        samples: Arc<dyn Samples>,
        max_len: usize,
        own_negatives: Option<Pool>,
    ) -> Source {
        let left_out = LeftOut { needed: 1, ..LeftOut::default() };
        let (starts, negatives) = (vec![0], Mutex::new(None));
        let mut source = Source { data, split, samples, max_len, starts, ends: None, left_out, negatives };
        let own = own_negatives.map(|pool| source.negatives(pool));
        source.number(own.as_deref());
        source
    }

    fn number(&mut self, negatives: Option<&Negatives>) {
        let Source { data, split, samples, max_len, starts, ends, left_out, .. } = self;
        let mut all = 0;
        *ends = (!split.learns_all()).then(Vec::new);
        for user in 0..data.users() as u32 {
            let mut len = split.train_len(user);
            if negatives.is_some_and(|negatives| !negatives.exist(user)) {
                left_out.add((1..len).filter(|&position| split.learns(data, user, position as u32)).count());
                len = 0;
            }
            let own = samples.count(len, *max_len);
            match ends {
                None => all += own as u64,
                Some(ends) => {
                    let own = (0..own).map(|number| samples.end(len, number, *max_len));
                    let learns = |position: usize| position > 0 && split.learns(data, user, position as u32);
                    let own = own.filter(|&end| samples.span(end, *max_len).any(learns));
                    ends.extend(own.map(|end| end as u32));
                    all = ends.len() as u64;
                }
            }
            starts.push(all);
        }
    }

    /// The number of samples.
    pub fn len(&self) -> u64 {
        self.starts[self.starts.len() - 1]
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The user of a sample, and where it ends, after its last target, in the user's history.
    pub fn sample(&self, number: u64) -> (u32, usize) {
        let user = self.starts.partition_point(|&start| start <= number) - 1;
        let own = (number - self.starts[user]) as usize;
        let end = match &self.ends {
            Some(ends) => ends[number as usize] as usize,
            None => self.samples.end(self.split.train_len(user as u32), own, self.max_len),
        };
        (user as u32, end)
    }

    /// The numbers of a user's samples.
    pub fn of_user(&self, user: u32) -> Range<u64> {
        self.starts[user as usize]..self.starts[user as usize + 1]
    }

    /// Whether the event at a position of a user's training part is a target of training.
    pub fn learns(&self, user: u32, position: usize) -> bool {
        self.ends.is_none() || position > 0 && self.split.learns(&self.data, user, position as u32)
    }

    /// What draws negatives.
    pub fn negatives(&self, pool: Pool) -> Arc<Negatives> {
        let mut kept = self.negatives.lock().expect("nobody panics with it");
        match &*kept {
            Some((of, negatives)) if *of == pool => negatives.clone(),
            _ => {
                let negatives = Arc::new(Negatives::new(&self.data, &self.split, pool));
                *kept = Some((pool, negatives.clone()));
                negatives
            }
        }
    }
}
