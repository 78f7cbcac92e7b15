//! The session of a run that was trained, to rank or to recommend by.

use super::Session;
use crate::config::Config;
use crate::data::{DataConfig, Histories, HistoryFile};
use crate::device::Store;
use crate::error::{Error, Result};
use crate::train::checkpoint::{self, Best, Origin};
use crate::train::corpus::{Loaded, Trained};
use crate::train::experiment::Opening;
use crate::train::folder::RunFolder;

/// Settings of a run, and where its parameters come from.
struct Run {
    config: Config,
    origin: Origin,
}

impl Run {
    /// The settings changed by `change`. Of a run that was tuned to several behaviours, for `behaviour`.
    fn open(folder: &mut RunFolder, behaviour: Option<&str>, change: impl FnOnce(&mut Config)) -> Result<Run> {
        folder.find_behaviour(behaviour)?;
        let mut config = folder.config()?;
        change(&mut config);
        let path = folder.any_parameters(&config).ok_or_else(|| {
            let path = folder.path().display();
            Error::Usage(format!("{path}: the run has no parameters yet; let it reach its first evaluation"))
        })?;
        let origin = checkpoint::origin(&path)?;
        if let Some(trained) = folder.trained_model().filter(|trained| *trained != origin.model) {
            let (path, model) = (path.display(), origin.model);
            return Err(Error::Usage(format!(
                "{path} holds a {model}, but this is a run of {trained}: it is another run's file"
            )));
        }
        Ok(Run { config, origin })
    }
}

impl Session {
    /// The session of a run, its settings changed by `change`, and a store with its best parameters. Of a run that was tuned to
    /// several behaviours, for `behaviour`.
    ///
    /// # Errors
    /// Those of [`Session::open`]; a run that has no parameters yet, or was trained on other data.
    pub fn of_run(
        folder: &mut RunFolder,
        behaviour: Option<&str>,
        change: impl FnOnce(&mut Config),
    ) -> Result<(Session, Store, Best)> {
        let run = Run::open(folder, behaviour, change)?;
        folder.check_data(&run.config)?;
        Session::open(run.config)?.with_parameters(folder)
    }

    /// As [`Session::of_run`], to recommend by: from the histories in a file, or from the run's data where these are no longer
    /// what it was trained on. Such histories are returned too.
    ///
    /// # Errors
    /// Those of [`Session::of_run`], except for other data, and of [`Histories::read`]; a model that reads attributes of users,
    /// if the data that it was trained on are missing.
    pub fn to_recommend(
        folder: &mut RunFolder,
        behaviour: Option<&str>,
        history: Option<HistoryFile>,
        change: impl FnOnce(&mut Config),
    ) -> Result<(Session, Store, Option<Histories>)> {
        let run = Run::open(folder, behaviour, change)?;
        let opening = Opening::new(run.config.clone())?;
        if !opening.runs(|phase| !phase.auxiliary) {
            let (path, model) = (folder.path().display(), &run.origin.model);
            return Err(Error::Usage(format!(
                "{path}: the run is pre-trained on several data sets and serves none of them; adapt it to yours by `wgrec train \
                 {model} --from {path} --data PATH`"
            )));
        }
        let ids = folder.ids()?;
        let (fingerprint, users) = (run.origin.data.clone(), ids.users.len());
        let mut trained = Trained { fingerprint, users, attributes: None };
        let file = match history {
            Some(file) => {
                trained.attributes = opening.attributes_of(&trained.fingerprint)?;
                file
            }
            None => {
                folder.check_data(&run.config)?;
                let loaded = Loaded::new(&opening.config)?;
                let DataConfig { path, format, columns, skip_bad, .. } = run.config.data.clone();
                match path.filter(|_| loaded.data.fingerprint() != trained.fingerprint) {
                    Some(path) => HistoryFile { path, format, columns: Some(columns), skip_bad },
                    None => {
                        let (session, store, _) =
                            Session::last_of(&opening.experiment(Some(loaded), None)?)?.with_parameters(folder)?;
                        return Ok((session, store, None));
                    }
                }
            }
        };
        let read = opening.reads_behaviours() && !ids.behaviours.is_empty();
        let histories = Histories::read(&file, &opening.config.data, &ids, read)?;
        let loaded = Loaded { name: histories.name.clone(), data: histories.data.clone(), world: None, clicks: false };
        let (session, store, _) =
            Session::last_of(&opening.experiment(Some(loaded), Some(trained))?)?.with_parameters(folder)?;
        Ok((session, store, Some(histories)))
    }

    /// The session of a run with a store that has its best parameters.
    fn with_parameters(self, folder: &RunFolder) -> Result<(Session, Store, Best)> {
        let (path, file) = (folder.path().display(), self.files(folder).parameters);
        if !file.is_file() {
            return Err(Error::Usage(format!(
                "{path}: the phase {} has no parameters yet ({} is not there); resume it by `wgrec train {} --resume --out \
                 {path}`",
                self.phase().name,
                file.display(),
                self.model.name()
            )));
        }
        if self.origin().features.is_none() && checkpoint::origin(&file)?.features.is_some() {
            return Err(Error::Usage(format!(
                "{path}: the run reads attributes of users, and these come with the data that it was trained on: name those data \
                 by --data, and what came after by --history"
            )));
        }
        let mut store = self.store(None)?;
        let best = self.load_best(folder, &mut store)?;
        Ok((self, store, best))
    }
}
