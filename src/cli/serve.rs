//! `wgrec serve`

use super::trained::Trained;
use std::net::SocketAddr;
use std::time::Duration;
use wgrec::Result;
use wgrec::serve::{Opened, Options, serve};
use wgrec::train::{RunFolder, checkpoint};

/// Answer requests for recommendations over HTTP, and show a page to try it
///
/// POST /recommend {"history": [..], "k": 10} or {"user": ".."}; /openapi.json describes all addresses. Where the folder of the run, or
/// where its link leads to, changes, the new parameters are taken over without losing a request. Ctrl-C or SIGTERM ends it when all
/// that was asked is answered, a second one at once.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    trained: Trained,
    /// Address and port; port 0 takes a free one. Whoever can reach it can ask: nothing else is checked
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The most items of a list
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_k: usize,
    /// The most items of a history, and the most that a request excludes
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_items: usize,
    /// The most requests that come as one
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_requests: usize,
    /// The most bytes of a body
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    max_body: usize,
    /// Recommendations that may wait for the device; more are turned away with status 503
    #[arg(long, value_name = "N", default_value_t = 1024)]
    queue: usize,
    /// Recommendations that the device computes at once, at most the run's eval.batch
    #[arg(long, value_name = "N", default_value_t = 64)]
    batch: usize,
    /// Until a request is answered; then it is given up with status 504
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    timeout: f64,
    /// How often to look whether the run has changed
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    poll: f64,
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let fits = |seconds: &f64| (0.01..=86_400.0).contains(seconds);
    text.parse().ok().filter(fits).ok_or_else(|| format!("found {text}; expected seconds, from 0.01 to 86400"))
}

pub fn run(args: Args) -> Result<()> {
    let Args { listen, max_k, max_items, max_requests, max_body, queue, batch, timeout, poll, .. } = args;
    let options = Options {
        listen,
        max_k,
        max_items,
        max_requests,
        max_body,
        queue,
        batch,
        timeout: Duration::from_secs_f64(timeout),
        poll: Duration::from_secs_f64(poll),
    };
    let folder = args.trained.run.clone();
    let ready =
        |address: SocketAddr, about: &str| super::print(&format!("serving  {about}\nat       http://{address}/\n"));
    serve(&options, folder, move || open(&args), ready)
}

fn open(args: &Args) -> Result<Opened> {
    // A link leads to one folder for as long as the run is read.
    let path = args.trained.run.canonicalize().unwrap_or_else(|_| args.trained.run.clone());
    let mut folder = RunFolder::open(&path)?;
    let (session, store, histories) = args.trained.to_recommend(&mut folder, None)?;
    let (descriptions, _) = session.descriptions();
    let best = checkpoint::best(&session.files(&folder).parameters)?;
    let grown = if histories.is_some() { ", on data that have changed since the training" } else { "" };
    let about = format!("{} of {}, epoch {}{grown}", session.model.name(), path.display(), best.epoch);
    Ok(Opened { session, store, descriptions, about })
}
