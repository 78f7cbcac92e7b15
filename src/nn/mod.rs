//! Named parameters and the layers that are built from kernels.

pub mod encoder;
pub mod extractor;
pub mod filter;
pub mod miner;
pub mod params;
pub mod prompt;
pub mod rate;
pub mod routing;
pub mod tower;

pub use params::{Init, Params};
pub use tower::Tower;
