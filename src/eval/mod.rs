//! How good is a model? Ranks of held-out items, metrics over them, and whether two models differ.

pub mod agreement;
pub mod config;
pub mod copy;
pub mod correlation;
pub mod evaluator;
pub mod lists;
pub mod metrics;
pub mod oracle;
pub mod ranker;
pub mod significance;

pub use config::{EvalConfig, Protocol};
pub use correlation::Correlation;
pub use evaluator::{Evaluator, Full, Ranked};
pub use lists::Lists;
pub use metrics::{Metric, TieRule};
pub use significance::Comparison;
