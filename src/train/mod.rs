//! Training: settings, the step, the loop around it, and the folder of a run.

pub mod checkpoint;
pub mod config;
pub mod experiment;
pub mod fit;
pub mod folder;
pub mod report;
pub mod session;
pub mod step;
pub mod stop;

pub use config::Config;
pub use experiment::Experiment;
pub use fit::FitOptions;
pub use folder::RunFolder;
pub use report::Report;
pub use session::Session;
pub use stop::Stop;
