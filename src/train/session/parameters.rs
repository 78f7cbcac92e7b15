//! Where a phase's parameters come from, and which of them it keeps.

use super::Session;
use crate::config::Config;
use crate::device::Store;
use crate::error::{Error, Result};
use crate::models::phase::Take;
use crate::models::tasks;
use crate::train::checkpoint::{self, Best, Origin, check_origin};
use crate::train::folder::{PhaseFiles, RunFolder};
use std::path::PathBuf;

impl Session {
    /// The phase's files in a run folder.
    pub fn files(&self, folder: &RunFolder) -> PhaseFiles {
        folder.files(self.phase(), self.is_last(), self.config.data.target.as_deref())
    }

    /// Whose parameters these are.
    pub fn origin(&self) -> Origin {
        Origin {
            wgrec: env!("CARGO_PKG_VERSION").to_string(),
            model: self.model.name().to_string(),
            data: self.corpus.trained_on.clone(),
            features: self.features.as_ref().and_then(|features| features.fingerprint()),
            items: self.corpus.known.fingerprint(),
            sets: self.corpus.sets(),
        }
    }

    /// Whether the phase's own file holds the parameter: not what it leaves as an earlier phase has made it.
    pub fn holds(&self, name: &str) -> bool {
        self.phase().holds(name, self.optimiser().trains(name))
    }

    /// Reads the best parameters of the run into `store`: those in the phase's own file, and those that it left as they were.
    pub fn load_best(&self, folder: &RunFolder, store: &mut Store) -> Result<Best> {
        self.load_frozen(folder, store)?;
        let (path, params) = (self.files(folder).parameters, self.model.params());
        checkpoint::load_parameters(&path, &self.origin(), params, &|name| self.holds(name), store)
    }

    /// Reads what the phase's own file does not hold into `store`.
    pub fn load_frozen(&self, folder: &RunFolder, store: &mut Store) -> Result<()> {
        for take in &self.phase().takes {
            self.take(take, folder, &|name| !self.holds(name), store)?;
        }
        Ok(())
    }

    /// What the parameters of the phase start from: initial values, and what it takes from earlier phases.
    pub fn start(&self, folder: &RunFolder, store: &mut Store) -> Result<()> {
        self.model.params().initialise(store, self.config.seed)?;
        let given = self.model.given()?;
        given.iter().try_for_each(|(name, value)| self.model.params().write(store, name, value))?;
        self.phase().takes.iter().try_for_each(|take| self.take(take, folder, &|_| true, store))
    }

    /// Reads those of the parameters that are `wanted` and taken into `store`.
    fn take(&self, take: &Take, folder: &RunFolder, wanted: &dyn Fn(&str) -> bool, store: &mut Store) -> Result<()> {
        let (params, mut origin) = (self.model.params(), self.origin());
        if !params.iter().any(|p| wanted(&p.name) && take.has(&p.name)) {
            return Ok(());
        }
        let path = self.source(take, folder)?;
        let there = checkpoint::origin(&path)?;
        let mut rows = vec![];
        if take.other_data && there.data != origin.data {
            (origin.data, origin.items, rows) = (there.data, there.items, self.rows_of_data()?);
        }
        let taken = |name: &str| wanted(name) && take.has(name) && rows.iter().all(|row| row != name);
        checkpoint::load_called(&path, &origin, params, (&taken, take.prefix), store)
    }

    /// Names of the parameters with a row for each item or user: their shapes change with the numbers of these.
    fn rows_of_data(&self) -> Result<Vec<String>> {
        let mut task = self.task.clone();
        (task.items, task.users) = (task.items + 1, task.users + 1);
        let more = self.config.model.build(&task)?;
        let shapes = self.model.params().iter().zip(more.params().iter());
        Ok(shapes.filter(|(a, b)| a.shape != b.shape).map(|(a, _)| a.name.clone()).collect())
    }

    /// The file that is taken from: the folder's own, or until there is one that of the run which the settings name.
    fn source(&self, take: &Take, folder: &RunFolder) -> Result<PathBuf> {
        let own = self.files_of(take, folder).parameters;
        match &self.experiment.config.from {
            _ if own.is_file() => Ok(own),
            Some(from) => Ok(self.files_of(take, &RunFolder::open(from)?).parameters),
            None => Err(Error::Usage(format!(
                "phase {}: {} is not there; take it from another run by --from DIR, or run the phase {} too",
                self.phase().name,
                own.display(),
                take.phase
            ))),
        }
    }

    /// The epoch and the step after which what the phase takes, and does not train, was kept.
    ///
    /// # Errors
    /// A file of parameters that cannot be read.
    pub fn trained_until(&self, folder: &RunFolder) -> Result<(u64, u64)> {
        let of = |take: &Take| checkpoint::best(&self.source(take, folder)?).map(|best| (best.epoch, best.step));
        self.phase().takes.iter().map(of).try_fold((0, 0), |latest, of| of.map(|of| latest.max(of)))
    }

    /// The files in `folder` of the phase that is taken from.
    fn files_of(&self, take: &Take, folder: &RunFolder) -> PhaseFiles {
        let phases = &self.experiment.phases;
        let phase = phases.iter().find(|phase| phase.name == take.phase).expect("a phase takes from one before it");
        folder.files(phase, false, self.config.data.target.as_deref())
    }

    /// Makes what the phase takes from the run that `from` names, and does not train, the folder's own.
    pub fn keep_taken(&self, folder: &RunFolder) -> Result<()> {
        let Some(from) = &self.experiment.config.from else { return Ok(()) };
        let missing = |take: &&Take| !take.other_data && !self.files_of(take, folder).parameters.is_file();
        for take in self.phase().takes.iter().filter(missing) {
            let there = self.files_of(take, &RunFolder::open(from)?);
            self.files_of(take, folder).link_parameters(&there)?;
        }
        Ok(())
    }

    /// Makes what the phase takes, as far as `from` has it, `folder`'s own.
    pub(in crate::train) fn link_taken(&self, from: &RunFolder, folder: &RunFolder) -> Result<()> {
        for take in &self.phase().takes {
            let there = self.files_of(take, from);
            if there.parameters.is_file() {
                self.files_of(take, folder).link_parameters(&there)?;
            }
        }
        Ok(())
    }

    /// Checks that the run which `from` names has what the phase takes, and that it fits.
    ///
    /// # Errors
    /// A phase that has not come to its end there; parameters of another model or data; settings that should be the same.
    pub fn check_taken(&self, folder: Option<&RunFolder>) -> Result<()> {
        let Some(path) = &self.experiment.config.from else { return Ok(()) };
        let trained_here = self.experiment.chosen();
        for take in &self.phase().takes {
            let of_this_run = trained_here.iter().any(|phase| phase.name == take.phase);
            if of_this_run || folder.is_some_and(|folder| self.files_of(take, folder).parameters.is_file()) {
                continue;
            }
            let from = RunFolder::open(path)?;
            let files = self.files_of(take, &from);
            files.check_finished(&take.phase, &from)?;
            let (origin, mut expected) = (checkpoint::origin(&files.parameters)?, self.origin());
            let other_data = take.other_data && origin.data != expected.data;
            if other_data {
                (expected.data, expected.items) = (origin.data.clone(), origin.items.clone());
            }
            check_origin(&files.parameters, &origin, &expected)?;
            let was = from.config()?;
            self.experiment.config.check_taken(&was, path, take, other_data)?;
            if let (Some(was), Some(is)) = (was.tasks(), self.experiment.config.tasks()) {
                tasks::check_taken(&was, &is)?;
            }
            if origin.sets.iter().any(|set| set == self.corpus.whole()) {
                self.check_held_out(&was)?;
            }
        }
        Ok(())
    }

    /// Checks that nothing that is tested on was learned from before, by a pre-training with the settings `was` on these data too.
    ///
    /// # Errors
    /// Another split; users that are evaluated alone; items that are held out.
    pub(in crate::train) fn check_held_out(&self, was: &Config) -> Result<()> {
        let (was, is) = (&was.data, &self.config.data);
        let problem = match () {
            _ if is.learn_users.is_some() => "data.learn_users is set",
            _ if is.hold_out_items.is_some() => "data.hold_out_items is set",
            _ if (was.split, was.cut, was.cut_by) != (is.split, is.cut, is.cut_by) => {
                "data.split or data.cut is another"
            }
            _ => return Ok(()),
        };
        Err(Error::Usage(format!(
            "{problem}, but the backbone was pre-trained on these data too: events that are tested on would have been learned from"
        )))
    }
}
