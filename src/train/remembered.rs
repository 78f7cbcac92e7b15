//! What a training of tasks still knows of the earlier ones when the last has ended.

use super::checkpoint;
use super::experiment::Experiment;
use super::folder::RunFolder;
use super::report::Report;
use super::session::Session;
use crate::data::Part;
use crate::error::Result;
use crate::files::replace;
use crate::models::phase::Replaces;
use serde_json::{Value, json};
use std::fs;
use std::io::Write;
use std::sync::Arc;

/// Ranks the test part of each task that was trained before the one of `last` by what is left of its parameters, reports its metric
/// beside that of when it was trained, and keeps both in tasks.json.
///
/// # Errors
/// Files of a task that are damaged; whatever stops an evaluation.
pub(super) fn report(
    experiment: &Arc<Experiment>,
    last: &Session,
    folder: &RunFolder,
    report: &mut Report,
) -> Result<()> {
    let mut all = vec![];
    let earlier = experiment.phases.iter().take_while(|phase| phase.name != last.phase().name);
    for phase in earlier.filter(|phase| phase.task.is_some()) {
        let mut session = experiment.session(phase)?;
        let files = session.files(folder);
        if !files.parameters.is_file() {
            continue;
        }
        // The first task of another run has its metrics there.
        let was = fs::read_to_string(&files.metrics).ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let store = match last.phase().replaces {
            Replaces::All => {
                session.become_task_of(last)?;
                let mut store = session.store(None)?;
                last.load_best(folder, &mut store)?;
                store
            }
            replaces => {
                let mut store = session.store(None)?;
                session.load_best(folder, &mut store)?;
                if replaces == Replaces::Taken {
                    let replaced = |name: &str| last.phase().takes.iter().any(|take| take.has(name));
                    let (path, params) = (last.files(folder).parameters, session.model.params());
                    checkpoint::load_parameters::<Value>(&path, &last.origin(), params, &replaced, &mut store)?;
                }
                store
            }
        };
        let ranked = session.evaluator(&store, Part::Test)?.run()?;
        let metric = session.config.eval.metric;
        let (name, now) = (metric.to_string(), metric.mean(&ranked.ranks));
        let then = was.and_then(|was| was["test"][&name].as_f64());
        let shown = then.map(|then| format!("{then:.4} then, ")).unwrap_or_default();
        report.line("kept", &format!("{}: {name} {shown}{now:.4} now", phase.name));
        all.push(json!({"task": phase.name, "metric": name, "then": then, "now": now}));
    }
    if all.is_empty() {
        return Ok(());
    }
    let text = json!({"after": last.phase().name, "tasks": all}).to_string();
    replace(&folder.path().join("tasks.json"), |out| out.write_all(text.as_bytes()))
}
