//! From files to batches, one direction: readers -> filter, split -> cache (CSR, memory-mapped) -> batches.

pub mod batches;
pub mod cache;
pub mod filter;
pub mod known;
pub mod negatives;
pub mod readers;
pub mod split;
pub mod synth;
