//! Named parameters and the layers that are built from kernels.

pub mod encoder;
pub mod params;

pub use params::{Init, Params};
