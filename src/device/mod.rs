//! Two devices: `gpu` runs the WGSL kernels through wgpu, `cpu` runs each kernel's twin on all cores.
//!
//! A [`Store`] holds the named states (parameters, moments) of a run; several plans compiled against it share them. A
//! [`Runner`] is a compiled plan: write the inputs, run, read results.

use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::graph::plan::{Options, Plan};
use crate::kernels::Cost;
use crate::tensor::segments::Segments;
use crate::tensor::{Spec, Tensor};
use crate::threads;
use std::sync::Arc;

pub mod check;
pub mod cpu;
pub mod forecast;
pub mod gpu;
mod inputs;

pub use cpu::Precision;

/// Where plans run.
#[derive(Clone)]
pub enum Device {
    Cpu(cpu::Cpu),
    Gpu(gpu::Gpu),
}

/// How a runner runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunOptions {
    /// Time every node (on a GPU: one pass a launch, which serialises).
    pub profile: bool,
    /// Fail with the name of the first node whose output has an Inf or NaN.
    pub check_finite: bool,
}

/// Time of one node over all runs, in seconds.
#[derive(Clone, Debug)]
pub struct Timing {
    pub scope: String,
    pub kernel: &'static str,
    pub calls: u64,
    pub seconds: f64,
    /// The cost of one call.
    pub cost: Cost,
}

impl Device {
    /// `cpu`, `gpu`, `gpu:N`, or `auto`: a real GPU if there is one, else the CPU. A software Vulkan driver is taken only
    /// by its number or by `gpu` where there is nothing else. The second value says what was taken and why.
    ///
    /// # Errors
    /// A device that does not exist or cannot be opened; a thread that the system does not grant.
    pub fn open(name: &str) -> Result<(Device, String)> {
        threads::start()?;
        match name {
            "cpu" => {
                let cpu = cpu::Cpu::new(Precision::F32);
                let why = format!("cpu ({} threads)", cpu.threads());
                Ok((Device::Cpu(cpu), why))
            }
            "auto" => match gpu::Gpu::hardware()? {
                Some(gpu) => {
                    let why =
                        format!("{}: the first real GPU; `wgrec devices` lists what was looked at", gpu.describe());
                    Ok((Device::Gpu(gpu), why))
                }
                None => {
                    let (device, why) = Device::open("cpu")?;
                    Ok((device, format!("{why}: no GPU found; `wgrec devices` lists what was looked at")))
                }
            },
            _ => {
                let number = match name.strip_prefix("gpu") {
                    Some("") => None,
                    Some(rest) => Some(rest.strip_prefix(':').and_then(|n| n.parse().ok()).ok_or_else(unknown(name))?),
                    None => return Err(unknown(name)()),
                };
                let gpu = gpu::Gpu::open(number)?;
                let why = gpu.describe();
                Ok((Device::Gpu(gpu), why))
            }
        }
    }

    /// One line: `cpu (2 threads)`, or the adapter's name, driver and backend.
    pub fn describe(&self) -> String {
        match self {
            Device::Cpu(d) => format!("cpu ({} threads)", d.threads()),
            Device::Gpu(d) => d.describe(),
        }
    }

    /// What was switched off since it does not work on this device, and why, once a plan wanted it.
    pub fn note(&self) -> Option<String> {
        match self {
            Device::Cpu(_) => None,
            Device::Gpu(d) => d.note(),
        }
    }

    /// `graph`, planned for this device.
    pub fn plan(&self, graph: &Graph, options: Options) -> Result<Plan> {
        if options.half {
            self.check_half()?;
        }
        let threads = match self {
            // The oracle runs node after node: what is cut into tiles is judged by it.
            Device::Cpu(d) if d.precision() == Precision::F64 => 0,
            Device::Cpu(d) => d.threads(),
            Device::Gpu(_) => 0,
        };
        Plan::new(graph, Options { threads, ..options })
    }

    /// An error unless activations can be stored as f16.
    fn check_half(&self) -> Result<()> {
        let why = match self {
            Device::Cpu(_) => "computes in f32".to_string(),
            Device::Gpu(d) if d.caps().f16 => return Ok(()),
            Device::Gpu(_) => "has no f16 in shaders".to_string(),
        };
        Err(Error::Usage(format!(
            "precision: found \"f16\", but {} {why}; take --set precision=f32, or a GPU that has f16 (see `wgrec devices`)",
            self.describe()
        )))
    }

    /// New states of the given numbers of f32 elements, all zero.
    pub fn store(&self, states: &[(String, usize)]) -> Result<Store> {
        Ok(match self {
            Device::Cpu(d) => Store::Cpu(d.store(states)?),
            Device::Gpu(d) => Store::Gpu(d.store(states)?),
        })
    }

    /// Makes `plan` ready to run on `store`'s states. It is an error if the device cannot hold it.
    pub fn compile(&self, plan: &Plan, store: &Store, options: RunOptions) -> Result<Runner> {
        match (self, store) {
            (Device::Cpu(d), Store::Cpu(s)) => Ok(Runner::Cpu(d.compile(plan, s, options)?)),
            (Device::Gpu(_), _) if !plan.strips.is_empty() => Err(Error::Usage(
                "the plan is cut into tiles for the cpu device: plan for this one by Device::plan".into(),
            )),
            (Device::Gpu(d), Store::Gpu(s)) => Ok(Runner::Gpu(d.compile(plan, s, options)?)),
            _ => Err(Error::Usage("the states lie on another device than the plan is compiled for".into())),
        }
    }
}

fn unknown(name: &str) -> impl Fn() -> Error {
    let name = name.to_string();
    move || Error::Usage(format!("no device is called {name:?}: use auto, cpu, gpu or gpu:N (see `wgrec devices`)"))
}

/// Words that a device reads and never writes, such as the features of items: in a file that is mapped, or in memory.
pub type Words = Arc<dyn AsRef<[u32]> + Send + Sync>;

/// Named states on a device.
pub enum Store {
    Cpu(cpu::Store),
    Gpu(gpu::Store),
}

impl Store {
    /// Writes into state `name` from element `offset` on.
    pub fn write(&mut self, name: &str, offset: usize, tensor: &Tensor) -> Result<()> {
        match self {
            Store::Cpu(s) => s.write(name, offset, tensor),
            Store::Gpu(s) => s.write(name, offset, tensor),
        }
    }

    /// Adds a state that is only read: a CPU reads the words where they lie, a GPU a copy of them.
    ///
    /// # Errors
    /// More bytes than the GPU binds at once, or has.
    pub fn lend(&mut self, device: &Device, name: &str, words: &Words) -> Result<()> {
        match (self, device) {
            (Store::Cpu(s), _) => s.lend(name, words.clone()),
            (Store::Gpu(s), Device::Gpu(d)) => d.lend(s, name, (**words).as_ref())?,
            (Store::Gpu(_), Device::Cpu(_)) => panic!("the states lie on another device"),
        }
        Ok(())
    }

    /// Reads `spec` from element `offset` of state `name`: f64 where the device runs in f64.
    pub fn read(&self, name: &str, offset: usize, spec: &Spec) -> Result<Tensor> {
        match self {
            Store::Cpu(s) => s.read(name, offset, spec),
            Store::Gpu(s) => s.read(name, offset, spec),
        }
    }

    /// Bytes of the buffers that the plans compiled over it share.
    pub fn shared_bytes(&self) -> usize {
        match self {
            Store::Cpu(s) => s.shared_bytes(),
            Store::Gpu(s) => s.shared_bytes(),
        }
    }

    /// Name and number of elements of each state that can be written.
    pub fn states(&self) -> Vec<(String, usize)> {
        match self {
            Store::Cpu(s) => s.states(),
            Store::Gpu(s) => s.states(),
        }
    }
}

/// A plan, ready to run.
pub enum Runner {
    Cpu(cpu::Runner),
    Gpu(gpu::Runner),
}

macro_rules! each {
    ($self:ident, $r:ident => $e:expr) => {
        match $self {
            Runner::Cpu($r) => $e,
            Runner::Gpu($r) => $e,
        }
    };
}

impl Runner {
    /// Writes input `name`, as many values as it has. An input of the graph that nothing depends on may be written too.
    ///
    /// # Errors
    /// A name that no input has, with those that there are; another number of values; floats for integers.
    pub fn write_u32(&mut self, name: &str, values: &[u32]) -> Result<()> {
        each!(self, r => r.write_u32(name, values))
    }

    /// As [`Runner::write_u32`], for floats.
    pub fn write_f32(&mut self, name: &str, values: &[f32]) -> Result<()> {
        each!(self, r => r.write_f32(name, values))
    }

    /// Writes the five inputs of the segments called `name` (see `Graph::segments`); as [`Runner::write_u32`].
    pub fn write_segments(&mut self, name: &str, s: &Segments) -> Result<()> {
        let Segments { rows, order, chunk_starts, row_chunks, counts, .. } = s;
        let parts = [
            ("rows", &rows[..]),
            ("order", order),
            ("chunk_starts", chunk_starts),
            ("row_chunks", row_chunks),
            ("counts", counts),
        ];
        parts.into_iter().try_for_each(|(part, values)| self.write_u32(&format!("{name}.{part}"), values))
    }

    /// Runs the plan once. On a GPU this returns when the work is submitted.
    pub fn run(&mut self) -> Result<()> {
        each!(self, r => r.run())
    }

    /// Waits until all runs are done.
    pub fn wait(&mut self) -> Result<()> {
        match self {
            Runner::Cpu(_) => Ok(()),
            Runner::Gpu(r) => r.wait(),
        }
    }

    /// Result `name` of the last run.
    pub fn read(&mut self, name: &str) -> Result<Tensor> {
        each!(self, r => r.read(name))
    }

    /// Times of the nodes so far; empty unless profiling.
    pub fn timings(&mut self) -> Result<Vec<Timing>> {
        each!(self, r => r.timings())
    }

    /// Writes whatever tensor to input `name`; as [`Runner::write_u32`].
    pub fn write(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        match &tensor.data {
            crate::tensor::Data::U32(v) => self.write_u32(name, v),
            crate::tensor::Data::F32(v) => self.write_f32(name, v),
            crate::tensor::Data::F64(v) => match self {
                Runner::Cpu(r) => r.write_f64(name, v),
                Runner::Gpu(r) => r.write_f32(name, &tensor.to_f32()),
            },
        }
    }
}

use crate::graph::plan::Slot;

fn result<'a>(results: &'a [(String, Slot)], name: &str) -> Result<&'a Slot> {
    let found = results.iter().find(|(n, _)| n == name).map(|(_, slot)| slot);
    found.ok_or_else(|| Error::unknown("result", name, results.iter().map(|(n, _)| n.as_str())))
}

/// An error unless `len` elements from `offset` on lie within state `name` of `elements` elements.
fn within(name: &str, elements: usize, offset: usize, len: usize) -> Result<()> {
    match offset.checked_add(len).is_some_and(|end| end <= elements) {
        true => Ok(()),
        false => Err(Error::Usage(format!(
            "state {name} has {elements} elements: {len} from element {offset} on do not lie in it"
        ))),
    }
}

/// An error that names `scope` if `tensor`, its output, has an Inf or NaN.
fn finite(scope: &str, tensor: &Tensor) -> Result<()> {
    match tensor.not_finite() {
        None => Ok(()),
        Some(what) => Err(Error::NotFinite(format!("{scope}: its output is not finite: {what}"))),
    }
}
