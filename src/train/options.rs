//! How a training runs, apart from its settings.

use super::stop::Stop;
use crate::device::RunOptions;
use crate::graph::plan::Options;

/// How a training runs, apart from its settings: none of this changes a result.
#[derive(Clone, Debug, Default)]
pub struct FitOptions {
    /// Resume from the folder's checkpoint, if it has one.
    pub resume: bool,
    pub plan: Options,
    pub run: RunOptions,
    /// Ends the training early where it is asked to: nobody asks unless the caller does.
    pub stop: Stop,
}
