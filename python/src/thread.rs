//! Work on a thread of its own, while Python's thread waits for it without the interpreter's lock and looks for signals.

use crate::errors::{RunError, raised};
use pyo3::{PyResult, Python};
use std::any::Any;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::Duration;
use wgrec::{Result, threads};

/// How long a signal waits at most.
const TICK: Duration = Duration::from_millis(50);

/// What a main thread usually has, in bytes.
const STACK: usize = 8 << 20;

/// What the thread says while it works.
pub enum Said {
    /// A line of the report.
    Line(String),
    /// The bar of the epoch in hand; empty when it is over.
    Bar(String),
}

enum Event<T> {
    Said(Said),
    Done(std::thread::Result<Result<T>>),
}

/// What a thread says goes here.
pub type Say = Box<dyn Fn(Said) + Send>;

/// A thread at work.
pub struct Work<T>(Receiver<Event<T>>);

/// Starts `work` on a thread.
pub fn start<T: Send + 'static>(work: impl FnOnce(Say) -> Result<T> + Send + 'static) -> PyResult<Work<T>> {
    let (send, receive) = channel();
    let run = move |send: Sender<Event<T>>| {
        let said = send.clone();
        // Where nobody waits any more, nobody needs to hear.
        let say: Say = Box::new(move |what| said.send(Event::Said(what)).unwrap_or_default());
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(say)));
        let _ = send.send(Event::Done(done));
    };
    let named = Builder::new().name("wgrec".to_string());
    named.stack_size(STACK).spawn(move || run(send)).map_err(|e| raised(threads::refused(e)))?;
    Ok(Work(receive))
}

impl<T: Send> Work<T> {
    /// Waits for the end. `said` is given what the thread says; at each signal that raises, and where `said` raises,
    /// `interrupted` decides with the exception whether to wait on.
    pub fn wait(
        mut self,
        py: Python,
        mut said: impl FnMut(Said) -> PyResult<()>,
        mut interrupted: impl FnMut(pyo3::PyErr) -> PyResult<()>,
    ) -> PyResult<Result<T>> {
        loop {
            let receive = &mut self.0;
            match py.detach(move || receive.recv_timeout(TICK)) {
                Ok(Event::Done(Ok(done))) => return Ok(done),
                Ok(Event::Done(Err(panic))) => return Err(bug(&*panic)),
                Ok(Event::Said(what)) => said(what).or_else(&mut interrupted)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("the thread says how it ends"),
            }
            py.check_signals().or_else(&mut interrupted)?;
        }
    }
}

/// The result of `work`, for which nothing is shown. A signal that raises leaves it to end by itself.
pub fn detached<T: Send + 'static>(py: Python, work: impl FnOnce() -> Result<T> + Send + 'static) -> PyResult<T> {
    start(|_| work())?.wait(py, |_| Ok(()), Err)?.map_err(raised)
}

fn bug(panic: &(dyn Any + Send)) -> pyo3::PyErr {
    let why = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    RunError::new_err(format!("a bug of wgrec: {}", why.unwrap_or("it does not say")))
}
