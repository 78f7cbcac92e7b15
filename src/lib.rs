//! Sequential recommenders on any GPU: a tensor engine on WGSL compute shaders, and the models trained with it.
//!
//! Floors, from the ground up: [`tensor`] < [`kernels`] < [`graph`], [`device`] < [`nn`], [`optim`] < [`models`] <
//! [`eval`] < [`train`] < [`mod@bench`], [`sweep`] < the program. Nothing imports upwards.

pub mod device;
pub mod error;
#[cfg(not(target_family = "wasm"))]
pub mod files;
pub mod graph;
pub mod kernels;
pub mod memory;
pub mod nn;
pub mod optim;
pub mod tensor;
pub mod threads;

#[cfg(feature = "train")]
pub mod bench;
#[cfg(feature = "train")]
pub mod data;
#[cfg(feature = "train")]
pub mod eval;
#[cfg(feature = "train")]
pub mod models;
#[cfg(feature = "train")]
pub mod settings;
#[cfg(feature = "train")]
pub mod sweep;
#[cfg(feature = "train")]
pub mod train;

pub use error::{Error, Result};

/// The programs of these pages, compiled and run.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/library.md")]
    struct Library;
    #[doc = include_str!("../docs/kernels.md")]
    struct Kernels;
}
