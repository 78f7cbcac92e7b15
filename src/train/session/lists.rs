//! The best items of users by a session's model.

use super::Session;
use crate::data::{Ask, EvalBatches, EvalSpec, Histories, Until};
use crate::device::{RunOptions, Store};
use crate::error::{Error, Result};
use crate::eval::ranker::{RankSpec, Recommender, not_finite};
use crate::kernels::rank::TopK;

impl Session {
    /// The `k` best items of each of `users`, best first, with their scores; without those of the history if `mask`. Fewer where
    /// fewer are left.
    ///
    /// # Errors
    /// A `k` of 0; a score that is not finite: [`Error::NotFinite`], with the user and the item.
    pub fn recommend(&self, store: &Store, users: &[u32], k: usize, mask: bool) -> Result<Vec<Vec<(u32, f32)>>> {
        self.recommend_after(store, &self.whole(users), k, mask)
    }

    /// The users to recommend to: those of the `names` that were asked for, else of the `histories`, else all. None has an empty
    /// history.
    ///
    /// # Errors
    /// A name that no user has; names of users without a history alone.
    pub fn served(&self, histories: Option<&Histories>, names: Option<&[String]>) -> Result<Vec<u32>> {
        let Some(names) = names else {
            return Ok(match histories {
                Some(histories) => histories.users.clone(),
                None => (0..self.data.users() as u32).collect(),
            });
        };
        let mut users = self.data.users_named(names)?;
        users.retain(|&user| !self.data.history(user).is_empty());
        match users.is_empty() {
            true => {
                Err(Error::Usage("none of the users asked for has an event of an item that the run knows".to_string()))
            }
            false => Ok(users),
        }
    }

    /// What each user that is asked about is shown at the user's last target: the `k` best of all items, best first.
    /// The items before the target are left out where they are in ranking.
    ///
    /// # Errors
    /// As [`Session::recommend`].
    pub fn lists<'a>(&self, store: &Store, ask: impl Into<Ask<'a>>, k: usize) -> Result<Vec<Vec<u32>>> {
        let mut last: Vec<Until> = vec![];
        for target in ask.into().targets(&self.data, &self.split) {
            last.pop_if(|before| before.user == target.0);
            last.push(target.into());
        }
        let best = self.recommend_after(store, &last, k, self.config.eval.mask_history)?;
        Ok(best.into_iter().map(|list| list.into_iter().map(|(item, _)| item).collect()).collect())
    }

    /// As [`Session::recommend`], after the ends of histories.
    pub fn recommend_after(
        &self,
        store: &Store,
        histories: &[Until],
        k: usize,
        mask: bool,
    ) -> Result<Vec<Vec<(u32, f32)>>> {
        self.check_items()?;
        let Session { device, model, data, split, config, .. } = self;
        if k == 0 {
            return Err(Error::Usage("found 0 items a user; expected at least 1".to_string()));
        }
        let k = k.min(data.items());
        let (batch, max_len) = (config.eval.batch, model.window(config.data.max_len, data.longest()));
        let spec = EvalSpec {
            batch,
            max_len,
            padding: model.padding(),
            mask_history: mask,
            reads: model.reads(),
            features: self.features.clone(),
            sampled: None,
            grouped: None,
            keep_all: false,
            threads: 1,
        };
        let batches = EvalBatches::recommend(data.clone(), split.clone(), histories.iter().copied(), spec)?;
        let (items, exclude_cap) = (data.items(), batches.exclude_cap());
        let spec = RankSpec { batch, max_len, items, sets: vec![], exclude_cap, run: RunOptions::default() };
        let mut recommender = Recommender::new(device, store, &**model, &spec, k)?;
        let mut all = vec![];
        for batch in batches.batches() {
            let best = recommender.best(&batch)?;
            let mut firsts = best.iter().zip(&batch.users).filter_map(|(list, &user)| Some((user, list.first()?)));
            if let Some((user, (item, _))) = firsts.find(|(_, (_, score))| *score == TopK::NOT_FINITE) {
                return Err(not_finite(data, user, *item));
            }
            all.extend(best);
        }
        Ok(all)
    }
}
