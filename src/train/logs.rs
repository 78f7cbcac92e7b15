//! What a training writes for programs that people watch trainings with.
//!
//! | `log.to` | where |
//! |---|---|
//! | tensorboard | an event file in the run folder's `tensorboard`, in a folder of its own for each phase of several |
//! | mlflow | a run in `mlruns` next to the run folder, for each phase |

mod mlflow;
mod tensorboard;

use super::folder::RunFolder;
use super::session::Session;
use crate::config::LogTo;
use crate::error::Result;
use mlflow::MlflowRun;
use serde_json::Value;
use std::time::{SystemTime, UNIX_EPOCH};
use tensorboard::EventFile;

/// The logs of one phase of a training.
#[derive(Default)]
pub(super) struct Logs {
    events: Option<EventFile>,
    mlflow: Option<MlflowRun>,
}

impl Logs {
    /// Opens what the settings ask for, for a training that begins or is resumed after `step`: what was logged of later steps goes.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn open(session: &Session, folder: &RunFolder, step: u64) -> Result<Logs> {
        let text = |(key, value): (String, Value)| match value {
            Value::Null => None,
            Value::String(text) => Some((key, text)),
            value => Some((key, value.to_string())),
        };
        let settings: Vec<_> = session.experiment.config.in_use().into_iter().filter_map(text).collect();
        // A run can be tuned to several behaviours, one after the other.
        let metrics = session.files(folder).metrics;
        let stem = metrics.file_stem().unwrap_or_default().to_string_lossy();
        let named = [session.phase_name(), stem.strip_prefix("metrics.")];
        let named: Vec<&str> = named.into_iter().flatten().collect();
        let mut logs = Logs::default();
        for to in &session.config.log.to {
            match to {
                LogTo::Tensorboard => {
                    let place = folder.path().join("tensorboard").join(named.join("."));
                    logs.events = Some(EventFile::open(&place, step, &settings)?);
                }
                LogTo::Mlflow => {
                    let phase: String = named.iter().map(|name| format!(" {name}")).collect();
                    logs.mlflow = Some(MlflowRun::open(folder.path(), &phase, step, &settings)?);
                }
            }
        }
        Ok(logs)
    }

    /// Adds numbers by name. They are in the files when this returns.
    pub fn add(&mut self, step: u64, scalars: &[(String, f64)]) -> Result<()> {
        if let Some(events) = &mut self.events {
            events.add(step, scalars)?;
        }
        match &mut self.mlflow {
            Some(run) => run.add(step, scalars),
            None => Ok(()),
        }
    }

    /// Says that the training was asked to stop, and can be resumed.
    pub fn stop(&mut self) -> Result<()> {
        self.mlflow.as_mut().map_or(Ok(()), MlflowRun::stop)
    }

    /// Adds the metrics of the test, and says that the training is over.
    pub fn end(&mut self, step: u64, metrics: &Value) -> Result<()> {
        self.add(step, &named("test", &metrics["test"]))?;
        self.mlflow.as_mut().map_or(Ok(()), MlflowRun::end)
    }
}

/// The numbers of an object of metrics, as `PREFIX/NAME`; of objects in it, as those of several tasks, `PREFIX/NAME/NAME`.
pub(super) fn named(prefix: &str, metrics: &Value) -> Vec<(String, f64)> {
    let of = |(name, value): (&String, &Value)| {
        let name = format!("{prefix}/{name}");
        match value.as_f64() {
            Some(number) => vec![(name, number)],
            None => named(&name, value),
        }
    };
    metrics.as_object().into_iter().flatten().flat_map(of).collect()
}

/// Since 1970.
fn now() -> std::time::Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
