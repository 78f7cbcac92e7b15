//! Training.

pub mod step;
