//! Sequential recommenders on any GPU, or on the CPU: a tensor engine on WGSL compute shaders, and the models trained with it.
//!
//! This program computes a loss and its gradient. `auto` in place of `cpu` takes a GPU if there is one:
//!
//! ```
//! use wgrec::device::{Device, RunOptions};
//! use wgrec::graph::{Graph, plan::Options};
//! use wgrec::tensor::{Spec, Tensor};
//!
//! # fn main() -> wgrec::Result<()> {
//! let g = Graph::new();
//! let w = g.state("w", "w", 0, Spec::f32([3]));           // a parameter
//! let x = g.input("x", Spec::f32([2, 3]));
//! let loss = (x * w).sum(1).tanh().mean_all();
//! g.result("gradient", g.gradients(loss, &[w])?[0].dense(w));
//!
//! let (device, _) = Device::open("cpu")?;
//! let mut store = device.store(&[("w".into(), 3)])?;
//! store.write("w", 0, &Tensor::f32([3], vec![0.1, -0.2, 0.3]))?;
//! let mut runner = device.compile(&device.plan(&g, Options::default())?, &store, RunOptions::default())?;
//! runner.write_f32("x", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! runner.run()?;
//! assert_eq!(runner.read("gradient")?.to_f32().len(), 3);
//! # Ok(())
//! # }
//! ```
//!
//! | to | start at |
//! |---|---|
//! | train, evaluate or recommend as the command line does | `train::Experiment`, `config::Config`, `train::RunFolder` |
//! | read data of any of the formats | `data::DataConfig`, `data::Dataset` |
//! | encode texts and images of items | `encoders::Folder`, `encoders::Job` |
//! | add a model | `models::Model`, `models::ModelSpec` |
//! | trace a computation and its gradients | [`graph::Graph`], [`graph::Var`], [`nn::Params`], [`optim::Adam`] |
//! | run it | [`device::Device`], [`device::Store`], [`device::Runner`] |
//! | add a kernel | [`kernels::Op`] |
//!
//! The pages `docs/library.md`, `docs/adding-a-model.md` and `docs/kernels.md` of the repository have whole programs.
//!
//! Layers, from the ground up: [`tensor`] < [`graph`] < [`kernels`], [`device`] < [`nn`], [`optim`] < `models` < `eval` < `config` < `train` <
//! `look` < `bench`, `sweep`, `serve` < the program. Nothing imports upwards. Without the feature `train` (a default) the crate is the engine only:
//! `tensor`, `graph`, `kernels`, `device`, `nn` and `optim`.

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
pub mod config;
#[cfg(feature = "train")]
pub mod data;
#[cfg(feature = "encode")]
pub mod encoders;
#[cfg(feature = "train")]
pub mod eval;
#[cfg(feature = "train")]
pub mod look;
#[cfg(feature = "train")]
pub mod models;
#[cfg(feature = "serve")]
pub mod serve;
#[cfg(feature = "train")]
pub mod settings;
#[cfg(feature = "train")]
pub mod sweep;
#[cfg(feature = "train")]
pub mod text;
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
    #[doc = include_str!("../docs/adding-a-model.md")]
    struct AddingAModel;
}
