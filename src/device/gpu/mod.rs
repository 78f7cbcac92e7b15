//! The GPU device: WGSL kernels through wgpu.

use super::{RunOptions, Timing};
use crate::error::Result;
use crate::graph::plan::Plan;
use crate::tensor::{Spec, Tensor};

#[derive(Clone)]
pub struct Gpu {}
impl Gpu {
    pub fn hardware() -> Result<Option<Gpu>> {
        Ok(None)
    }
    pub fn open(_number: Option<usize>) -> Result<Gpu> {
        unimplemented!()
    }
    pub fn describe(&self) -> String {
        unimplemented!()
    }
    pub(super) fn store(&self, _states: &[(String, usize)]) -> Result<Store> {
        unimplemented!()
    }
    pub(super) fn compile(&self, _plan: &Plan, _store: &Store, _options: RunOptions) -> Result<Runner> {
        unimplemented!()
    }
}
pub struct Store {}
impl Store {
    pub(super) fn write(&mut self, _name: &str, _offset: usize, _tensor: &Tensor) -> Result<()> {
        unimplemented!()
    }
    pub(super) fn read(&self, _name: &str, _offset: usize, _spec: &Spec) -> Result<Tensor> {
        unimplemented!()
    }
    pub(super) fn states(&self) -> Vec<(String, usize)> {
        unimplemented!()
    }
}
pub struct Runner {}
impl Runner {
    pub(super) fn write_u32(&mut self, _name: &str, _values: &[u32]) -> bool {
        unimplemented!()
    }
    pub(super) fn write_f32(&mut self, _name: &str, _values: &[f32]) -> bool {
        unimplemented!()
    }
    pub(super) fn run(&mut self) -> Result<()> {
        unimplemented!()
    }
    pub(super) fn read(&mut self, _name: &str) -> Result<Tensor> {
        unimplemented!()
    }
    pub(super) fn timings(&mut self) -> Result<Vec<Timing>> {
        unimplemented!()
    }
}
