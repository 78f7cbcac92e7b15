//! A request to end a training early: from another thread, or from a signal handler that the caller installs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Clones share the request.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    requested: AtomicBool,
    /// A training is under way, and looks.
    heeded: AtomicBool,
}

impl Stop {
    /// Asks the training to end after the step in hand, saved. False where there is nothing to wait for: no training is under
    /// way, or it was asked before.
    pub fn request(&self) -> bool {
        !self.0.requested.swap(true, SeqCst) && self.0.heeded.load(SeqCst)
    }

    pub fn requested(&self) -> bool {
        self.0.requested.load(SeqCst)
    }

    /// Requests are heeded until what this returns is dropped.
    pub(super) fn heed(&self) -> Heeded {
        self.0.heeded.store(true, SeqCst);
        Heeded(self.clone())
    }
}

/// See [`Stop::heed`].
pub(super) struct Heeded(Stop);

impl Drop for Heeded {
    fn drop(&mut self) {
        self.0.0.heeded.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::Stop;

    #[test]
    fn only_the_first_request_of_a_training_is_waited_for() {
        let stop = Stop::default();
        let heeded = stop.heed();
        assert!(!stop.requested());
        assert!(stop.clone().request() && stop.requested() && !stop.request());
        drop(heeded);
        assert!(!Stop::default().request());
    }
}
