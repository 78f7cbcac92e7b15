//! Evaluation.

pub mod ranker;
