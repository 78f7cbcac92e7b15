//! `wgrec plan`

use super::Settings;
use indicatif::{DecimalBytes, HumanCount};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Write as _;
use std::path::PathBuf;
use wgrec::Result;
use wgrec::config::Config;
use wgrec::config::Precision;
use wgrec::data::Part;
use wgrec::device::forecast::{CARDS, Card, Forecast};
use wgrec::files::replace;
use wgrec::graph::Graph;
use wgrec::graph::dot::dot;
use wgrec::graph::plan::{Options, Plan};
use wgrec::kernels::Cost;
use wgrec::train::step::{Role, TrainStep};
use wgrec::train::{FitOptions, Session};

/// Say what a training step takes, without running it: nodes, buffers, memory, bytes and operations of each kernel; and
/// what memory a ranking takes
#[derive(clap::Args)]
pub struct Args {
    /// One of `wgrec models`, but those without training
    model: String,
    #[command(flatten)]
    settings: Settings,
    /// Plan for a catalogue of this number of items, whatever the data has
    #[arg(long, value_name = "N")]
    items: Option<usize>,
    /// What a step would take on a card that is not there, a forecast: h100, rx7900, m1, a770, ..; `list` shows all
    #[arg(long, value_name = "CARD")]
    on: Option<String>,
    /// Write the plan as a Graphviz file
    #[arg(long, value_name = "FILE")]
    dot: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<()> {
    if args.on.as_deref() == Some("list") {
        return super::print(&cards());
    }
    let card = args.on.as_deref().map(Card::named).transpose()?;
    let config = args.settings.resolved(&args.model)?;
    if let Some(path) = &args.dot {
        args.settings.check_output(path, &config)?;
    }
    // No GPU is needed to plan for one: without strips, the plan is the same for all.
    let half = config.precision == Precision::F16;
    let on_gpu = half || card.is_some() || config.device.starts_with("gpu");
    let threads = if on_gpu { 0 } else { rayon::current_num_threads() };
    let config = Config { device: "cpu".to_string(), ..config };
    let mut session = Session::open_trained(config)?;
    if let Some(items) = args.items {
        session.set_items(items)?;
    }
    session.check_training()?;
    // What takes a batch, of each task, and the update of what several batches have added.
    let steps = session.step_configs(&FitOptions::default());
    let options = Options { threads, half, ..Options::default() };
    let mut graphs = vec![];
    for (at, (model, config)) in steps.iter().enumerate() {
        let graph = Graph::new();
        TrainStep::trace(&graph, *model, config, Role::of(&config.optimiser, at))?;
        graphs.push(graph);
    }
    graphs.extend(TrainStep::update(session.model.params(), &steps[0].1)?);
    let graph = &graphs[0];
    let plan = Plan::new(graph, options)?;
    let names = session.tasks().skip(1).map(|task| format!("task {}", task.task.shape().name));
    let ahead = card.map(|card| forecast(card, &graphs, options)).transpose()?.unwrap_or_default();
    let more = graphs[1..].iter().zip(names.chain(["update".to_string()])).map(|(graph, what)| {
        let (plan, apart) = (Plan::new(graph, options)?, Plan::new(graph, Options { no_reuse: true, ..options })?);
        Ok(format!("\n{what}\n{}{}", memory(&plan, apart.pool_bytes()), kernels(&plan)))
    });
    let more = more.collect::<Result<String>>()?;
    if let Some(path) = &args.dot {
        replace(path, |out| out.write_all(dot(&plan).as_bytes()))?;
    }
    let apart = Plan::new(graph, Options { no_reuse: true, ..options })?;
    let of = args.items.map(|items| format!(" for {} items", HumanCount(items as u64))).unwrap_or_default();
    super::print(&format!(
        "{:<8} {}\n{:<8} {}{of}: {}\n{}{:<8} {}\n{}{more}{ahead}",
        "data",
        session.describe_data(),
        "model",
        session.model.name(),
        parameters(&session),
        memory(&plan, apart.pool_bytes()),
        "ranking",
        ranking(&session, Options { threads, ..Options::default() }),
        kernels(&plan)
    ))
}

/// The cards that a forecast can be made for.
fn cards() -> String {
    let mut text = format!("{:<10} {:<26} {:>8} {:>8} {:>6} {:>6}\n", "card", "", "GB/s", "TFLOP/s", "units", "GB");
    for Card { name, about, bandwidth, peak, units, memory, .. } in CARDS {
        let _ = writeln!(text, "{name:<10} {about:<26} {bandwidth:>8} {peak:>8} {units:>6} {memory:>6}");
    }
    text
}

/// What the batches of a step, and its update, would take on a card: a line a kernel.
fn forecast(card: &Card, graphs: &[Graph], options: Options) -> Result<String> {
    let mut kernels: BTreeMap<&str, Forecast> = BTreeMap::new();
    let (mut all, mut peak) = (Forecast::default(), 0);
    for graph in graphs {
        let plan = Plan::new(graph, options)?;
        peak = peak.max(plan.peak_bytes());
        for node in &plan.nodes {
            let ahead = card.node(node)?;
            kernels.entry(node.op.name()).or_default().add(&ahead);
            all.add(&ahead);
        }
    }
    let mut kernels: Vec<_> = kernels.into_iter().filter(|(_, ahead)| ahead.dispatches > 0).collect();
    kernels.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
    kernels.push(("a step", all));
    let mut text =
        format!("\n{:<28} {:>10} {:>10}  {}\n", format!("forecast for {}", card.name), "dispatches", "us", "bound by");
    for (name, ahead) in kernels {
        let (dispatches, us, bound) = (ahead.dispatches, 1e6 * ahead.seconds, ahead.bound());
        let _ = writeln!(text, "{name:<28} {dispatches:>10} {us:>10.1}  {bound}");
    }
    let (about, held, memory) = (card.about, DecimalBytes(peak as u64), 1e9 * card.memory);
    let fits = if peak as f64 <= memory { "fits" } else { "does NOT fit" };
    let memory = DecimalBytes(memory as u64);
    let _ = writeln!(
        text,
        "{:<8} {about}: a step's {held} {fits} into {memory}; published figures, nothing was measured",
        ""
    );
    Ok(text)
}

/// What a ranking of the test part holds by itself.
fn ranking(session: &Session, options: Options) -> String {
    match session.ranking_plans(Part::Test, options) {
        Ok(plans) => {
            let bytes = DecimalBytes(Plan::peak_of(&plans) as u64);
            format!("{bytes}: {} users at a time, parameters counted", HumanCount(session.config.eval.batch as u64))
        }
        Err(e) => format!("none: {e}"),
    }
}

/// How many there are, and where not all are trained, the share of those that are: of all, and of all but the items' table.
fn parameters(session: &Session) -> String {
    let (all, tuned) = (session.model.params().elements(), session.tuned());
    let mut text = format!("{} parameters", HumanCount(all as u64));
    if tuned < all {
        let graph = Graph::new();
        let table = session.model.item_table(&graph).shape().elements();
        let share = |of: usize| 100.0 * tuned as f64 / of as f64;
        let _ = write!(
            text,
            ", {} of them trained: {:.2}%, {:.1}% of those outside the items' table; {} are stored for it",
            HumanCount(tuned as u64),
            share(all),
            share(all - table),
            DecimalBytes(4 * tuned as u64)
        );
    }
    text
}

/// What a step holds, in parts. `apart`: bytes of values if each had a buffer of its own.
fn memory(plan: &Plan, apart: usize) -> String {
    let [total, states, pool, apart] =
        [plan.peak_bytes(), plan.state_bytes(), plan.pool_bytes(), apart].map(|n| DecimalBytes(n as u64));
    let rest = DecimalBytes((plan.peak_bytes() - plan.state_bytes() - plan.pool_bytes()) as u64);
    let (nodes, buffers) = (plan.nodes.len(), plan.pool.len());
    format!(
        "{:<8} {nodes} nodes, {buffers} buffers\n{:<8} {total}: parameters and moments {states}, values {pool} ({apart} without \
         reuse), batch and constants {rest}\n",
        "plan", "memory"
    )
}

/// A line a kernel.
fn kernels(plan: &Plan) -> String {
    let mut text = format!("\n{:<28} {:>6} {:>10} {:>12}\n", "kernel", "nodes", "moved", "operations");
    let mut kernels: BTreeMap<&str, (usize, Cost)> = BTreeMap::new();
    for node in &plan.nodes {
        let (count, sum) = kernels.entry(node.op.name()).or_default();
        let cost = node.cost();
        *count += 1;
        *sum = Cost { bytes: sum.bytes + cost.bytes, flops: sum.flops + cost.flops };
    }
    let mut kernels: Vec<_> = kernels.into_iter().map(|(name, (count, cost))| (name, count, cost)).collect();
    kernels.sort_by_key(|(.., cost)| std::cmp::Reverse(cost.bytes));
    kernels.push(("a step", plan.nodes.len(), plan.cost()));
    for (name, count, cost) in kernels {
        let _ = writeln!(
            text,
            "{name:<28} {count:>6} {:>10} {:>12}",
            DecimalBytes(cost.bytes).to_string(),
            HumanCount(cost.flops).to_string()
        );
    }
    text
}
