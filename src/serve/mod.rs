//! Recommendations of a trained run over HTTP.
//!
//! A request becomes a visit: numbers of items in place of ids. Visits wait in one queue; the thread that has the device takes all that
//! wait, up to a batch, and answers them at once. Where the folder of the run changes, the run is opened again while the one before
//! answers, and takes its place when it is ready.

mod counts;
mod openapi;
mod request;
mod routes;
mod served;
mod takeover;

pub use served::Opened;

use crate::error::{Error, Result};
use counts::Counts;
use request::Bounds;
use routes::State;
use served::Served;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;

/// No limit is larger: what it bounds is kept in memory.
const LARGEST: usize = 1 << 24;

/// How a run is served.
#[derive(Clone, Debug)]
pub struct Options {
    pub listen: SocketAddr,
    /// The most items of a list.
    pub max_k: usize,
    /// The most items of a history, and the most that a request excludes.
    pub max_items: usize,
    /// The most requests of a batch.
    pub max_requests: usize,
    /// The most bytes of a body.
    pub max_body: usize,
    /// Visits that may wait.
    pub queue: usize,
    /// Visits that the device answers at once.
    pub batch: usize,
    /// From the head of a request to its answer.
    pub timeout: Duration,
    /// How often the folder of the run is looked at.
    pub poll: Duration,
}

impl Options {
    /// # Errors
    /// A limit of 0.
    fn check(&self) -> Result<()> {
        let Options { max_k, max_items, max_requests, max_body, queue, batch, .. } = *self;
        let limits = [
            ("--max-k", max_k),
            ("--max-items", max_items),
            ("--max-requests", max_requests),
            ("--max-body", max_body),
            ("--queue", queue),
            ("--batch", batch),
        ];
        if let Some((name, limit)) = limits.iter().find(|(_, limit)| !(1..=LARGEST).contains(limit)) {
            return Err(Error::Usage(format!("{name}: found {limit}; expected 1 to {LARGEST}")));
        }
        if max_requests > queue {
            let problem = format!("--max-requests: found {max_requests}; expected at most --queue, which is {queue}");
            return Err(Error::Usage(problem));
        }
        Ok(())
    }
}

/// Serves the run that `open` opens, until a signal to end comes; what was asked before is answered first. `folder` is looked at for
/// another run in its place. `ready` is told the address and the run.
///
/// # Errors
/// A run that cannot be opened; an address that is taken.
pub fn serve(
    options: &Options,
    folder: PathBuf,
    open: impl Fn() -> Result<Opened> + Send + Sync + 'static,
    ready: impl FnOnce(SocketAddr, &str) -> Result<()>,
) -> Result<()> {
    options.check()?;
    crate::threads::start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(crate::threads::refused)?;
    let cannot = |e: std::io::Error| Error::Usage(format!("--listen {}: cannot listen there: {e}", options.listen));
    let listener = runtime.block_on(TcpListener::bind(options.listen)).map_err(cannot)?;
    let address = listener.local_addr().map_err(cannot)?;
    let (counts, registry) = Counts::new();
    let bounds = Bounds { k: options.max_k, items: options.max_items };
    let (sizes, watched) = ((options.batch, options.queue), counts.clone());
    let start = move || Served::start(open()?, bounds, sizes, watched.clone());
    let seen = takeover::contents(&folder);
    let served = start()?;
    counts.items(served.items());
    ready(address, &served.about)?;
    let now = Arc::new(RwLock::new(Arc::new(served)));
    let state = State::new(now.clone(), (counts.clone(), registry), bounds, options);
    let timeout = options.timeout;
    let poll = options.poll;
    let done = runtime.block_on(async move {
        let taking = tokio::spawn(takeover::watch((folder, seen), poll, start, now, counts));
        let (ending, mut ended) = tokio::sync::watch::channel(false);
        let mut began = ended.clone();
        let signal = async move {
            end().await;
            let _ = ending.send(true);
        };
        let serving = axum::serve(listener, routes::all(state)).with_graceful_shutdown(signal);
        // Who holds a connection open and asks nothing is not waited for.
        let late = async {
            let _ = ended.wait_for(|ended| *ended).await;
            tokio::time::sleep(timeout + Duration::from_secs(1)).await;
        };
        let again = async {
            let _ = began.wait_for(|ended| *ended).await;
            end().await;
        };
        let done = tokio::select! {
            done = serving.into_future() => done,
            () = late => Ok(()),
            () = again => Ok(()),
        };
        taking.abort();
        done
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
    done.map_err(|e| Error::Failed(format!("serving at {address} failed: {e}")))
}

/// Waits for Ctrl-C, or for the signal by which services are ended.
async fn end() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}
