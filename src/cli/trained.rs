//! The flags of commands that look at a trained run, or recommend by it.

use std::path::{Path, PathBuf};
use wgrec::Result;
use wgrec::config::Config;
use wgrec::data::{Histories, HistoryFile};
use wgrec::device::Store;
use wgrec::train::{RunFolder, Session};

/// A run, and where it runs.
#[derive(clap::Args)]
pub struct Trained {
    /// Folder of the run
    #[arg(long, value_name = "DIR")]
    pub run: PathBuf,
    /// Of a run that was tuned to several behaviours, the one to take [default: that of its config.toml]
    #[arg(long, value_name = "NAME")]
    behaviour: Option<String>,
    /// Of a run that was trained by tasks, the task [default: the last]
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Data, where it is no longer at the path it was trained from, or, to recommend by, has grown
    #[arg(long, value_name = "PATH|NAME", value_parser = super::text_path)]
    data: Option<PathBuf>,
    /// auto, cpu, gpu or gpu:N [default: the run's]
    #[arg(long)]
    device: Option<String>,
}

/// A run that was opened: its session, its best parameters, and what it is called.
pub struct Opened {
    pub session: Session,
    pub store: Store,
    /// `pomrec of runs/pomrec-1, epoch 12`.
    pub about: String,
}

impl Trained {
    fn change(&self, config: &mut Config) -> Result<()> {
        config.device = self.device.clone().unwrap_or_else(|| config.device.clone());
        config.data.path = self.data.clone().or_else(|| config.data.path.clone());
        self.task.iter().try_for_each(|task| config.choose_task(task))
    }

    /// The session of the run in `folder`, to recommend by: see [`Session::to_recommend`].
    ///
    /// # Errors
    /// Those of [`Session::to_recommend`].
    pub fn to_recommend(
        &self,
        folder: &mut RunFolder,
        history: Option<HistoryFile>,
    ) -> Result<(Session, Store, Option<Histories>)> {
        let mut changed = Ok(());
        let opened =
            Session::to_recommend(folder, self.behaviour.as_deref(), history, |config| changed = self.change(config))?;
        changed.map(|()| opened)
    }

    /// # Errors
    /// Those of [`Session::of_run`]: among them data that are gone, or are no longer what the run was trained on.
    pub fn open(&self) -> Result<Opened> {
        let mut folder = RunFolder::open(&self.run)?;
        let mut changed = Ok(());
        let (session, store, best) =
            Session::of_run(&mut folder, self.behaviour.as_deref(), |config| changed = self.change(config))?;
        changed?;
        let about = format!("{} of {}, epoch {}", session.model.name(), self.run.display(), best.epoch);
        Ok(Opened { session, store, about })
    }
}

impl Opened {
    /// Checks that the files to write are different ones, and none is one that is read or kept.
    pub fn check_outputs<'a>(&self, outputs: impl IntoIterator<Item = &'a PathBuf>) -> Result<()> {
        let outputs: Vec<&Path> = outputs.into_iter().map(PathBuf::as_path).collect();
        super::check_apart(&outputs)?;
        let described = self.session.descriptions().0.and_then(|descriptions| descriptions.file);
        let read = || self.session.config.data.path.iter().chain(&described).map(PathBuf::as_path);
        outputs.into_iter().try_for_each(|output| super::check_output(output, read()))
    }
}
