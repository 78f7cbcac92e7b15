//! `wgrec eval`

use super::read::word;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use wgrec::config::Config;
use wgrec::data::{Ask, Format, Group, ListedItems, Part};
use wgrec::device::Store;
use wgrec::eval::{Full, Lists, Metric, Protocol, Ranked};
use wgrec::files::replace;
use wgrec::text::counted;
use wgrec::train::checkpoint::Best;
use wgrec::train::{Matrix, RunFolder, Session};
use wgrec::{Error, Result};

/// Rank the held-out items of a run by its best parameters
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run
    #[arg(long, value_name = "DIR")]
    run: PathBuf,
    /// Of a run that was tuned to several behaviours, the one to predict [default: that of its config.toml]
    #[arg(long, value_name = "NAME")]
    behaviour: Option<String>,
    /// Of a run that was trained by tasks, the task [default: the last]
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Part to rank
    #[arg(long, default_value = "test", value_parser = word::<Part>())]
    split: Part,
    /// Rank instead the items that a file lists for users (columns user and item, or any format of data), each after
    /// the user's whole history
    #[arg(long, value_name = "FILE", conflicts_with_all = ["split", "targets"])]
    items: Option<PathBuf>,
    /// Format of --items [default: detected from the contents]
    #[arg(long, requires = "items", value_parser = word::<Format>())]
    format: Option<Format>,
    /// full, sampled:N or batch:N [default: the run's]
    #[arg(long)]
    protocol: Option<Protocol>,
    /// Rank only some targets: of users with at most 2 events of the target behaviour in training (cold) or more (warm), items
    /// that came in the history before (seen) or not (new)
    #[arg(long, value_name = "GROUP", value_parser = word::<Group>())]
    targets: Option<Group>,
    /// Rank by each of these protocols, with the history masked and not, and by each rule for ties, in one table [default:
    /// full,sampled:100,batch:1024]
    #[arg(
        long, value_name = "PROTOCOL,..", num_args = 0..=1, require_equals = true, value_delimiter = ',',
        default_missing_values = ["full", "sampled:100", "batch:1024"],
        conflicts_with_all = ["items", "protocol", "unmasked", "lists", "per_user"]
    )]
    matrix: Option<Vec<Protocol>>,
    /// Keep the items of the history among the candidates of a full ranking
    #[arg(long)]
    unmasked: bool,
    /// Look at the lists of the best K of all items too: how much of the catalogue they show (coverage, Gini), how far from
    /// what everybody knows (novelty), how diverse each is [default: 5,10,20]
    #[arg(
        long, value_name = "K,..", num_args = 0..=1, require_equals = true, value_delimiter = ',',
        default_missing_values = ["5", "10", "20"]
    )]
    lists: Option<Vec<usize>>,
    /// recall@K, ndcg@K, precision@K, map@K, mrr
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = Metric::REPORTED)]
    metrics: Vec<Metric>,
    /// Write rank and metrics of every user to a CSV file, a line a target where a user has several
    #[arg(long, value_name = "FILE")]
    per_user: Option<PathBuf>,
    /// Change a setting of the model that says how its parameters are used, as in --set model.ranking=largest
    #[arg(long, value_name = "model.KEY=VALUE")]
    set: Vec<String>,
    /// Data, where it is no longer at the path it was trained from
    #[arg(long, value_name = "PATH|NAME", value_parser = super::text_path)]
    data: Option<PathBuf>,
    /// auto, cpu, gpu or gpu:N [default: the run's]
    #[arg(long)]
    device: Option<String>,
}

impl Args {
    /// Changes the settings of the run to those that are asked for.
    fn change(&self, config: &mut Config) -> Result<()> {
        self.task.iter().try_for_each(|task| config.choose_task(task))?;
        self.protocol.map_or(Ok(()), |protocol| config.rank_by(protocol))?;
        config.eval.mask_history &= !self.unmasked;
        config.eval.targets = self.targets.unwrap_or(config.eval.targets);
        config.device = self.device.clone().unwrap_or_else(|| config.device.clone());
        config.data.path = self.data.clone().or_else(|| config.data.path.clone());
        *config = self.set.iter().try_fold(config.clone(), |config, setting| config.with_setting(setting))?;
        Ok(())
    }
}

pub fn run(args: Args) -> Result<()> {
    if let Some(setting) = args.set.iter().find(|setting| !setting.starts_with("model.")) {
        return Err(Error::Usage(format!(
            "--set: found {setting:?}; expected a setting of the model, model.KEY=VALUE"
        )));
    }
    if let Some(protocols) = &args.matrix {
        return super::print(&matrix(&args, protocols)?);
    }
    let (session, store, best) = open(&args, |_| Ok(()))?;
    let eval = &session.config.eval;
    let items = session.data.items();
    if let Some(k) = args.lists.iter().flatten().find(|k| **k > items) {
        return Err(Error::Usage(format!("--lists: found {k}; expected at most {items}, the number of items")));
    }
    if args.unmasked && eval.protocol != Protocol::Full {
        return Err(Error::Usage(format!(
            "--unmasked: the candidates of {} are drawn outside the history; rank all items by --protocol full",
            eval.protocol
        )));
    }
    if let Some(path) = &args.per_user {
        let inputs = [&args.items, &session.config.data.path].into_iter().flatten();
        super::check_output(path, inputs.map(PathBuf::as_path))?;
    }
    let mut text = format!("{:<8} {}\n", "device", session.experiment.device_note);
    if args.items.is_some() {
        session.check_items()?;
    }
    let listed = args
        .items
        .as_deref()
        .map(|path| ListedItems::read(path, args.format, &session.config.data.columns, &session.data))
        .transpose()?;
    let (ask, asked, about) = match &listed {
        Some(listed) => (Ask::Items(&listed.targets), "items".to_string(), session.describe_asked(&listed.describe())),
        None => (Ask::Part(args.split), args.split.to_string(), session.describe_data()),
    };
    // In a full ranking what else is asked of the same user competes.
    let apart = match eval.protocol {
        Protocol::Sampled(_) if listed.is_some() => ", none of them asked of the same user",
        _ => "",
    };
    let _ = writeln!(text, "{:<8} {about}{apart}", "data");
    let with: String = args.set.iter().map(|setting| format!(", {setting}")).collect();
    let (name, run, epoch) = (session.model.name(), args.run.display(), best.epoch);
    let _ = writeln!(text, "{:<8} {name} of {run}, epoch {epoch}{with}", "model");
    let mut evaluator = session.evaluator(&store, ask)?;
    let ranked = evaluator.run()?;
    if let Some(path) = &args.per_user {
        write_per_user(path, &session, ask, &ranked, &args.metrics)?;
    }
    let ranks = |counts: &[(u32, u32)]| eval.ties.ranks(counts);
    let mut columns = match (&ranked.full, eval.mask_history) {
        (None, _) => vec![("", ranked.ranks.clone())],
        (Some(Full { masked, unmasked }), true) => vec![("masked", ranks(masked)), ("unmasked", ranks(unmasked))],
        (Some(Full { masked, unmasked }), false) => vec![("unmasked", ranks(unmasked)), ("masked", ranks(masked))],
    };
    columns.retain(|(_, ranks)| !ranks.is_empty());
    let heads: String = columns.iter().map(|(name, _)| format!(" {name:<8}")).collect();
    let _ = writeln!(text, "{}", format!("{asked:<8} {:<12}{heads}", counted(ranked.ranks.len(), "target")).trim_end());
    if let Some(left_out) = evaluator.left_out().some() {
        let _ = writeln!(text, "{:<8} {left_out}", "");
    }
    let accuracy = session.split.has_classes() && !args.metrics.contains(&Metric::Recall(1));
    for metric in accuracy.then_some(&Metric::Recall(1)).into_iter().chain(&args.metrics) {
        let values: String = columns.iter().map(|(_, ranks)| format!(" {:<8.4}", metric.mean(ranks))).collect();
        let _ = writeln!(text, "{}", format!("{:<8} {:<12}{values}", "", metric.to_string()).trim_end());
    }
    if let Some(lengths) = &args.lists {
        text += &lists(&session, &store, ask, lengths)?;
    }
    super::print(&text)
}

/// The session of the run, its settings changed as the flags say and by `also`, with its best parameters.
fn open(args: &Args, also: impl Fn(&mut Config) -> Result<()>) -> Result<(Session, Store, Best)> {
    let mut folder = RunFolder::open(&args.run)?;
    let mut changed = Ok(());
    let opened = Session::of_run(&mut folder, args.behaviour.as_deref(), |config| {
        changed = args.change(config).and_then(|()| also(config));
    })?;
    changed.map(|()| opened)
}

/// A line for each protocol, mask and rule for ties.
fn matrix(args: &Args, protocols: &[Protocol]) -> Result<String> {
    let (session, _, best) = open(args, |_| Ok(()))?;
    let all = Matrix::new(protocols, args.split, |protocol| {
        let (session, store, _) = open(args, |config| config.rank_unmasked_by(protocol))?;
        Ok((session, store))
    })?;
    let asked = session.split.describe(&session.data);
    let mut text =
        format!("{:<8} {}\n{:<8} {}: {asked}\n", "device", session.experiment.device_note, "data", session.corpus.name);
    let (name, run, epoch) = (session.model.name(), args.run.display(), best.epoch);
    let _ = writeln!(text, "{:<8} {name} of {run}, epoch {epoch}", "model");
    let _ = write!(text, "{:<8} {:<14} {:<9} {:<12} {:>8}", args.split, "protocol", "history", "ties", "targets");
    let metrics = super::with_own(&args.metrics, [&session]);
    for metric in &metrics {
        let _ = write!(text, " {:>12}", metric.to_string());
    }
    for way in &all.ways {
        let (protocol, ties) = (way.protocol.to_string(), way.ties.to_string());
        let _ = write!(text, "\n{:<8} {protocol:<14} {:<9} {ties:<12} {:>8}", "", way.history(), way.ranks.len());
        for metric in &metrics {
            let _ = write!(text, " {:>12.4}", way.mean(*metric));
        }
    }
    for (protocol, why) in &all.refused {
        let _ = write!(text, "\n{:<8} {protocol}: {why}", "");
    }
    Ok(text + "\n")
}

/// What users' lists of the given lengths show of the catalogue, for people.
fn lists(session: &Session, store: &Store, ask: Ask, lengths: &[usize]) -> Result<String> {
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let lists = session.lists(store, ask, longest)?;
    let popularity = session.split.popularity(&session.data);
    let masked = if session.config.eval.mask_history { "masked" } else { "not masked" };
    let mut text = format!(
        "{:<8} {}, the best of all items, history {masked}: share of the items, Gini, bits, distance of categories\n",
        "lists",
        counted(lists.len(), "user")
    );
    let categories = session.config.data.categories(&session.data);
    if let Err(e) = &categories {
        let _ = writeln!(text, "{:<8} no distances: {e}", "");
    }
    let categories = categories.ok().flatten();
    if let Some(file) = categories.as_ref().and_then(|categories| categories.file.as_ref()) {
        let _ = writeln!(text, "{:<8} categories of {}", "", file.display());
    }
    for &k in lengths {
        let Lists { coverage, gini, novelty, diversity, .. } = Lists::of(&lists, k, &popularity, categories.as_ref());
        let always = [("coverage", coverage), ("gini", gini), ("novelty", novelty)];
        for (name, value) in always.into_iter().chain(diversity.map(|value| ("diversity", value))) {
            let _ = writeln!(text, "{:<8} {:<12} {value:.4}", "", format!("{name}@{k}"));
        }
    }
    Ok(text)
}

/// `user,item,events,greater,equal,rank` and the metrics, a target a line, with external ids; `events` counts those before
/// the target, `greater` and `equal` the candidates above it and of its score.
fn write_per_user(path: &Path, session: &Session, ask: Ask, ranked: &Ranked, metrics: &[Metric]) -> Result<()> {
    let items = ask.items(&session.data, &session.split, &ranked.targets);
    replace(path, |out| {
        let mut out = csv::Writer::from_writer(out);
        let head = ["user", "item", "events", "greater", "equal", "rank"].map(str::to_string);
        out.write_record(head.into_iter().chain(metrics.iter().map(Metric::to_string)))?;
        let rows = ranked.targets.iter().zip(&items).zip(&ranked.counts).zip(&ranked.ranks);
        for (((&(user, events), &item), (greater, equal)), rank) in rows {
            let item = match session.split.has_classes() {
                true => format!("class {item}"),
                false => session.data.item_name(item).to_string(),
            };
            let ids = [session.data.user_name(user).to_string(), item];
            let counts = [events, *greater, *equal].map(|n| n.to_string());
            let values = std::iter::once(*rank).chain(metrics.iter().map(|metric| metric.of(*rank)));
            out.write_record(ids.into_iter().chain(counts).chain(values.map(|x| x.to_string())))?;
        }
        out.flush()
    })
}
