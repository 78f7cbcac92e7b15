//! Training: the step, the loop around it, and the folder of a run.

pub mod checkpoint;
pub mod corpus;
pub mod experiment;
pub mod fit;
pub mod folder;
pub mod hashes;
pub mod known;
mod logs;
pub mod matrix;
pub mod options;
mod remembered;
pub mod report;
pub mod session;
mod start;
pub mod step;
pub mod stop;
pub mod verify;

pub use corpus::Corpus;
pub use experiment::Experiment;
pub use folder::RunFolder;
pub use matrix::{Matrix, Way};
pub use options::FitOptions;
pub use report::Report;
pub use session::Session;
pub use start::start;
pub use stop::Stop;
pub use verify::{Outcome, Repeated, Verified};
