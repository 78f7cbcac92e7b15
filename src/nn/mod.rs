//! Named parameters and the layers that are built from kernels.

pub mod encoder;
pub mod filter;
pub mod params;
pub mod rate;

pub use params::{Init, Params};
