//! `wgrec compare`

use super::read::word;
use serde_json::{Value, json};
use std::fmt::Write;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use wgrec::data::{Group, LeftOut, Part};
use wgrec::eval::{Comparison, EvalConfig, Metric, Protocol, Ranked};
use wgrec::files::replace;
use wgrec::train::{RunFolder, Session};
use wgrec::{Error, Result};

/// Compare runs on the same data, split and protocol: the first with each other, paired over users
#[derive(clap::Args)]
pub struct Args {
    /// Folders of runs; of several joined by commas, as seeds of one model, each user counts with the mean
    #[arg(required = true, num_args = 2.., value_name = "RUN[,RUN]")]
    runs: Vec<String>,
    /// Of runs that were tuned to several behaviours, the one to predict [default: that of each config.toml]
    #[arg(long, value_name = "NAME")]
    behaviour: Option<String>,
    /// Of runs that were trained by tasks, the task [default: the last]
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Rank all again by full, sampled:N or batch:N, with the masks, ties and candidates of the first run, instead of each as it was
    /// tested
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Rank only some targets: see `wgrec eval --help`
    #[arg(long, value_name = "GROUP", value_parser = word::<Group>())]
    targets: Option<Group>,
    /// Part to rank
    #[arg(long, default_value = "test", value_parser = word::<Part>())]
    split: Part,
    /// recall@K, ndcg@K, precision@K, map@K, mrr
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = SHOWN)]
    metrics: Vec<Metric>,
    /// Write all of it to a JSON file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Data, where it is no longer at the path it was trained from
    #[arg(long, value_name = "PATH|NAME", value_parser = super::text_path)]
    data: Option<PathBuf>,
    /// auto, cpu, gpu or gpu:N [default: each run's]
    #[arg(long)]
    device: Option<String>,
}

/// As many as fit next to a run on a line.
pub(super) const SHOWN: [Metric; 5] =
    [Metric::Recall(10), Metric::Recall(20), Metric::Ndcg(10), Metric::Ndcg(20), Metric::Mrr];

/// A run, ranked.
struct Run {
    name: String,
    session: Session,
    ranked: Ranked,
    left_out: LeftOut,
    /// Empty for a model that is not trained.
    loss: String,
}

impl Run {
    /// Checks that `other` is this model by another seed: what was set does not differ else.
    fn check_seed_of(&self, other: &Run) -> Result<()> {
        // A loss that is not given is the model's own.
        let own_loss = self.session.loss().kind == other.session.loss().kind;
        let kind = |key: &str| own_loss && (key == "loss.kind" || key.ends_with(".loss_kind"));
        let free = |key: &str| ["seed", "device", "data.path", "phases", "from"].contains(&key) || kind(key);
        let (a, b) = (&self.session, &other.session);
        let different = a.config.differences(&b.config).into_iter().find(|(key, ..)| !free(key));
        let why = match different {
            _ if super::same(Path::new(&self.name), Path::new(&other.name)) => "the same run twice".to_string(),
            _ if a.model.name() != b.model.name() => format!("models {} and {}", a.model.name(), b.model.name()),
            Some((key, was, is)) => format!("{key}: {was} and {is}"),
            None => return Ok(()),
        };
        Err(Error::Usage(format!("{} and {} do not count as seeds of one model: {why}", self.name, other.name)))
    }
}

/// What is compared: a run, or several that count as one.
struct Side {
    name: String,
    runs: Vec<Run>,
}

impl Side {
    fn mean(&self, of: impl Fn(&Ranked) -> f64) -> f64 {
        self.runs.iter().map(|run| of(&run.ranked)).sum::<f64>() / self.runs.len() as f64
    }

    /// The mean over the runs for each user; users are in the same order in all.
    fn per_user(&self, metric: Metric) -> Vec<f64> {
        let all: Vec<Vec<f64>> = self.runs.iter().map(|run| run.ranked.per_user(metric)).collect();
        (0..all[0].len()).map(|user| all.iter().map(|run| run[user]).sum::<f64>() / all.len() as f64).collect()
    }
}

pub fn run(args: Args) -> Result<()> {
    if let Some(path) = &args.json {
        super::check_output(path, args.data.as_deref())?;
    }
    let mut sides: Vec<Side> = vec![];
    for name in &args.runs {
        // A folder's own name may have a comma.
        let whole = [name.as_str()];
        let parts = if Path::new(name).is_dir() { whole.to_vec() } else { name.split(',').collect() };
        let mut side = Side { name: name.clone(), runs: vec![] };
        for name in parts {
            if name.is_empty() {
                return Err(Error::Usage(format!("{:?}: an empty name next to a comma", side.name)));
            }
            let first = sides.iter().flat_map(|side| &side.runs).chain(&side.runs).next();
            let run = ranked(&args, name, first)?;
            side.runs.iter().try_for_each(|other| other.check_seed_of(&run))?;
            if let Some(first) = first {
                first
                    .session
                    .check_comparable(&run.session)
                    .map_err(|e| Error::Usage(format!("{} and {name} cannot be compared: {e}", first.name)))?;
            }
            side.runs.push(run);
        }
        sides.push(side);
    }
    let (first, others) = sides.split_first().expect("there are two at least");
    let mut differences = vec![];
    for other in others {
        let of = |&metric: &Metric| {
            let [a, b] = [other, first].map(|side| side.per_user(metric));
            Ok((metric, Comparison::of(&a, &b)?))
        };
        differences.push((other, args.metrics.iter().map(of).collect::<Result<Vec<_>>>()?));
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&json(&args, &sides, &differences)).expect("plain data") + "\n";
        replace(path, |out| out.write_all(text.as_bytes()))?;
    }
    super::print(&table(&args, &sides, &differences))
}

/// The run in folder `name`, ranked as the `first` one is where --protocol asks for it.
fn ranked(args: &Args, name: &str, first: Option<&Run>) -> Result<Run> {
    let mut folder = RunFolder::open(Path::new(name))?;
    let mut chosen = Ok(());
    let (session, store, best) = Session::of_run(&mut folder, args.behaviour.as_deref(), |config| {
        chosen = args.task.iter().try_for_each(|task| config.choose_task(task));
        if let (Some(protocol), Ok(())) = (args.protocol, &chosen) {
            let like = first.map_or(&config.eval, |first| &first.session.config.eval);
            let EvalConfig { seed, mask_history, ties, .. } = *like;
            config.eval = EvalConfig { seed, mask_history, ties, ..config.eval.clone() };
            chosen = config.rank_by(protocol);
        }
        config.eval.targets = args.targets.unwrap_or(config.eval.targets);
        config.device = args.device.clone().unwrap_or_else(|| config.device.clone());
        config.data.path = args.data.clone().or_else(|| config.data.path.clone());
    })?;
    chosen?;
    let mut evaluator = session.evaluator(&store, args.split)?;
    let (ranked, left_out) = (evaluator.run()?, evaluator.left_out());
    let loss = if best.epoch == 0 { String::new() } else { session.loss().kind.to_string() };
    Ok(Run { name: name.into(), session, ranked, left_out, loss })
}

type Differences<'a> = [(&'a Side, Vec<(Metric, Comparison)>)];

/// The runs, a line each, and a line for the mean of several; then for each side but the first, a line a metric.
fn table(args: &Args, sides: &[Side], differences: &Differences) -> String {
    let runs = || sides.iter().flat_map(|side| &side.runs);
    let first = &sides[0].runs[0];
    let mut text = format!("{:<8} {}\n", "data", first.session.describe_data());
    let users = first.ranked.per_user(Metric::Mrr).len();
    let _ = writeln!(text, "{:<8} {} targets, means over {users} users", args.split, first.ranked.ranks.len());
    if let Some(left_out) = first.left_out.some() {
        let _ = writeln!(text, "{:<8} {left_out}", "");
    }
    let width = runs().map(|run| run.name.chars().count()).max().unwrap_or(0).max(3);
    let _ = write!(text, "\n{:<width$}  {:<8} {:<12} {:>6}", "run", "model", "loss", "seed");
    for metric in &args.metrics {
        let _ = write!(text, " {:>12}", metric.to_string());
    }
    for side in sides {
        for Run { name, session, ranked, loss, .. } in &side.runs {
            let _ = write!(text, "\n{name:<width$}  {:<8} {loss:<12} {:>6}", session.model.name(), session.config.seed);
            for metric in &args.metrics {
                let _ = write!(text, " {:>12.4}", ranked.mean_of_users(*metric));
            }
        }
        if side.runs.len() > 1 {
            let _ = write!(text, "\n{:<width$}  {:<8} {:<12} {:>6}", "", "mean", "", "");
            for metric in &args.metrics {
                let _ = write!(text, " {:>12.4}", side.mean(|ranked| ranked.mean_of_users(*metric)));
            }
        }
    }
    for (other, list) in differences {
        let _ = writeln!(text, "\n\n{} - {}", sides[0].name, other.name);
        let _ = write!(
            text,
            "{:<12} {:>11}  {:<20} {:>9} {:>12}",
            "", "difference", "95% interval", "p (t)", "p (Wilcoxon)"
        );
        for (metric, c) in list {
            let (metric, interval) = (metric.to_string(), format!("[{:+.4}, {:+.4}]", c.low, c.high));
            let _ = write!(
                text,
                "\n{metric:<12} {:>+11.4}  {interval:<20} {:>9.2e} {:>12.2e}",
                c.mean, c.p_t, c.p_wilcoxon
            );
        }
    }
    text + "\n"
}

fn json(args: &Args, sides: &[Side], differences: &Differences) -> Value {
    let part = args.split.to_string();
    let run = |run: &Run| {
        let mut all = json!({"run": run.name, "loss": run.loss});
        let values = args.metrics.iter().map(|m| (m.to_string(), run.ranked.mean_of_users(*m).into()));
        all[&part] = Value::Object(values.collect());
        let mut circumstances = run.session.circumstances();
        let more = circumstances.as_object_mut().expect("it is one");
        all.as_object_mut().expect("it is one").append(more);
        all
    };
    let difference = |(other, list): &(&Side, Vec<(Metric, Comparison)>)| {
        let values = list.iter().map(|(metric, c)| (metric.to_string(), json!(c)));
        json!({"of": sides[0].name, "to": other.name, "metrics": Value::Object(values.collect())})
    };
    let side = |side: &Side| {
        let means = args.metrics.iter().map(|m| (m.to_string(), side.mean(|ranked| ranked.mean_of_users(*m)).into()));
        let runs: Vec<&String> = side.runs.iter().map(|run| &run.name).collect();
        let mut all = json!({"name": side.name, "runs": runs});
        all[&part] = Value::Object(means.collect());
        all
    };
    json!({
        "part": part,
        "sides": sides.iter().map(side).collect::<Vec<_>>(),
        "runs": sides.iter().flat_map(|side| &side.runs).map(run).collect::<Vec<_>>(),
        "differences": differences.iter().map(difference).collect::<Vec<_>>(),
    })
}
