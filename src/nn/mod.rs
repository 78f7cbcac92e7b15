//! Named parameters and the layers that are built from kernels.

pub mod encoder;
pub mod extractor;
pub mod filter;
pub mod gates;
pub mod miner;
pub mod orthogonal;
pub mod params;
pub mod prompt;
pub mod rate;
pub mod routing;

pub use params::tower::{self, Tower};
pub use params::{Init, Params};
