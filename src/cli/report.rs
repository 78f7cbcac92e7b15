//! `wgrec report`

use super::compare::SHOWN;
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use wgrec::config::Config;
use wgrec::data::Part;
use wgrec::eval::{Metric, Protocol};
use wgrec::files::replace;
use wgrec::look::{Reported, page};
use wgrec::train::{Matrix, RunFolder, Session, checkpoint};
use wgrec::{Error, Result};

/// Write a page about runs: metrics by protocol, paired tests with corrections, curves, settings that differ, hashes
///
/// One HTML file that needs no other and no network. The test part is ranked again for it, by the best parameters of each run.
#[derive(clap::Args)]
pub struct Args {
    /// Folders of finished runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page
    #[arg(long, value_name = "FILE.html")]
    out: PathBuf,
    /// Rank by each of these protocols too, with the history masked and not, and by each rule for ties [default:
    /// full,sampled:100,batch:1024]
    #[arg(
        long, value_name = "PROTOCOL,..", num_args = 0..=1, require_equals = true, value_delimiter = ',',
        default_missing_values = ["full", "sampled:100", "batch:1024"]
    )]
    matrix: Option<Vec<Protocol>>,
    /// Of runs that were tuned to several behaviours, the one to predict [default: that of each config.toml]
    #[arg(long, value_name = "NAME")]
    behaviour: Option<String>,
    /// Of runs that were trained by tasks, the task [default: the last]
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// recall@K, ndcg@K, precision@K, map@K, mrr
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = SHOWN)]
    metrics: Vec<Metric>,
    /// Data, where it is no longer at the path it was trained from
    #[arg(long, value_name = "PATH|NAME", value_parser = super::text_path)]
    data: Option<PathBuf>,
    /// auto, cpu, gpu or gpu:N [default: each run's]
    #[arg(long)]
    device: Option<String>,
}

impl Args {
    fn change(&self, config: &mut Config) -> Result<()> {
        self.task.iter().try_for_each(|task| config.choose_task(task))?;
        config.device = self.device.clone().unwrap_or_else(|| config.device.clone());
        config.data.path = self.data.clone().or_else(|| config.data.path.clone());
        Ok(())
    }

    /// The session of a run, its settings changed as the flags say and by `also`, with its best parameters.
    fn open(
        &self,
        folder: &mut RunFolder,
        also: impl Fn(&mut Config) -> Result<()>,
    ) -> Result<(Session, wgrec::device::Store)> {
        let mut changed = Ok(());
        let (session, store, _) = Session::of_run(folder, self.behaviour.as_deref(), |config| {
            changed = self.change(config).and_then(|()| also(config));
        })?;
        changed.map(|()| (session, store))
    }

    /// What the page says of the run in `path`.
    fn reported(&self, path: &Path) -> Result<Reported> {
        let mut folder = RunFolder::open(path)?;
        let (session, store) = self.open(&mut folder, |_| Ok(()))?;
        let own = session.files(&folder);
        let unfinished = |found: String| Error::Input {
            path: own.metrics.clone(),
            line: None,
            column: None,
            found,
            expected: "the result of a run that was tested; let it come to its end by `wgrec train MODEL --resume`"
                .into(),
        };
        let text = fs::read_to_string(&own.metrics).map_err(|e| unfinished(e.to_string()))?;
        let metrics: Value = serde_json::from_str(&text).map_err(|e| unfinished(e.to_string()))?;
        if !metrics["test"].is_object() {
            return Err(unfinished("no metrics of a test".to_string()));
        }
        let ranked = session.evaluator(&store, Part::Test)?.run()?;
        let target = session.config.data.target.as_deref();
        let (mut epochs, mut files) = (vec![], vec![]);
        for phase in &session.experiment.phases {
            let is_own = phase.name == session.phase().name;
            let of_phase = if is_own { own.clone() } else { folder.files(phase, false, target) };
            epochs.push((phase.name.clone(), of_phase.read_lines()?));
            if of_phase.parameters.is_file() {
                let name = of_phase.parameters.file_name().unwrap_or_default().display().to_string();
                files.push((name, checkpoint::sha256(&of_phase.parameters)?));
            }
        }
        epochs.retain(|(_, lines)| !lines.is_empty());
        let matrix = match &self.matrix {
            Some(protocols) => Matrix::new(protocols, Part::Test, |protocol| {
                self.open(&mut RunFolder::open(path)?, |config| config.rank_unmasked_by(protocol))
            })?,
            None => Matrix::default(),
        };
        let name = path.display().to_string();
        Ok(Reported { name, session, ranked, metrics, epochs, files, matrix })
    }
}

pub fn run(args: Args) -> Result<()> {
    if args.out.extension().is_none_or(|ending| ending != "html") {
        return Err(Error::Usage(format!("--out: found {}; expected a file that ends in .html", args.out.display())));
    }
    super::check_output(&args.out, args.data.as_deref())?;
    for (n, path) in args.runs.iter().enumerate() {
        if args.runs[..n].iter().any(|other| super::same(other, path)) {
            return Err(Error::Usage(format!("{}: the same run twice; expected each once", path.display())));
        }
    }
    let runs: Vec<Reported> = args.runs.iter().map(|path| args.reported(path)).collect::<Result<_>>()?;
    let metrics = super::with_own(&args.metrics, runs.iter().map(|run| &run.session));
    let html = page(&runs, &metrics);
    replace(&args.out, |out| out.write_all(html.as_bytes()))?;
    super::print(&format!("{:<8} {}\n", "saved", args.out.display()))
}
