//! Values that background threads make, given out in order.

use std::io;
use std::ops::Range;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

/// Batches that a thread makes ahead.
const AHEAD: usize = 4;

/// Values made for the steps of a range, by background threads, given out in order. Thread t of T makes every T-th value and
/// waits when it is a few ahead. Without threads the caller makes them. Dropping it ends the threads.
pub struct Ordered<T> {
    steps: Range<usize>,
    inline: Option<Box<dyn FnMut(usize) -> T + Send>>,
    makers: Vec<(Receiver<T>, JoinHandle<()>)>,
    next: usize,
}

impl<T: Send + 'static> Ordered<T> {
    /// `maker` gives each thread its function from step to value.
    pub(super) fn new<F>(threads: usize, steps: Range<usize>, maker: impl Fn() -> F) -> Ordered<T>
    where
        F: FnMut(usize) -> T + Send + 'static,
    {
        let threads = threads.min(steps.len().max(1));
        let makers = (0..threads).map(|thread| {
            let (send, receive) = sync_channel(AHEAD);
            let (own, mut make) = (steps.clone().skip(thread).step_by(threads), maker());
            let work = move || {
                for step in own {
                    if send.send(make(step)).is_err() {
                        return;
                    }
                }
            };
            let name = format!("batches {thread}");
            Ok((receive, std::thread::Builder::new().name(name).spawn(work)?))
        });
        // Values are the same whoever makes them: where the system has no thread left, the caller does.
        let makers: Vec<_> = makers.collect::<io::Result<_>>().unwrap_or_default();
        let inline: Option<Box<dyn FnMut(usize) -> T + Send>> =
            if makers.is_empty() { Some(Box::new(maker())) } else { None };
        Ordered { makers, steps, inline, next: 0 }
    }
}

impl<T> Iterator for Ordered<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let step = self.steps.next()?;
        if let Some(make) = &mut self.inline {
            return Some(make(step));
        }
        let maker = self.next % self.makers.len();
        self.next += 1;
        Some(self.makers[maker].0.recv().expect("a batch thread panicked"))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.steps.size_hint()
    }
}

impl<T> ExactSizeIterator for Ordered<T> {}

impl<T> Drop for Ordered<T> {
    fn drop(&mut self) {
        for (receive, thread) in self.makers.drain(..) {
            drop(receive);
            let _ = thread.join();
        }
    }
}
