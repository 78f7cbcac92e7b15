//! Evaluation: ranks on the device, metrics from them.

pub mod metrics;
pub mod ranker;
