//! The GPU device: WGSL kernels through wgpu, which is named nowhere else.
//!
//! `adapter` finds and opens a device; `known` makes sure that it computes; `shader` puts texts together and reads
//! them with naga; `bind` matches their names to operands; `pipeline` compiles, and `cache` keeps what came of it; `memory` holds buffers and moves data;
//! `executor` runs plans; `profiler` times them.

use super::{RunOptions, Timing};
use crate::error::{Error, Result};
use crate::graph::Caps;
use crate::graph::launch::Source;
use crate::graph::plan::Plan;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::sync::{Mutex, MutexGuard};

mod adapter;
pub mod bind;
#[cfg(not(target_family = "wasm"))]
mod cache;
mod executor;
mod known;
mod memory;
mod pipeline;
mod profiler;
mod reflection;
pub mod shader;

pub use adapter::{AdapterInfo, adapters};
pub use executor::Runner;
pub use memory::Store;
pub use reflection::{Binding, Reflection};

/// A browser keeps what it compiles itself.
#[cfg(target_family = "wasm")]
mod cache {
    pub enum Cache {}

    impl Cache {
        pub fn open(_: &wgpu::Device, _: &wgpu::AdapterInfo) -> Option<Cache> {
            None
        }

        pub fn driver(&self) -> &wgpu::PipelineCache {
            match *self {}
        }

        pub fn save(&self) {
            match *self {}
        }
    }
}

/// Switches of a device, for tests and for release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GpuOptions {
    /// Order of groups and invocations reversed, to find missing barriers on drivers that run them in order.
    pub reverse: bool,
    /// Bounds checks and bounded loops in all shaders, where the driver has none of its own; else only in those that are not
    /// wgrec's.
    pub checked: bool,
    /// Every value gets a buffer of its own, filled with NaN before each run and with guard words after the value: see
    /// [`Runner::check_guards`]. Slow.
    pub guard: bool,
    /// Take immediates for parameters where the adapter has them; else a uniform buffer.
    pub immediates: bool,
    /// Take subgroup variants where the adapter has them.
    pub subgroups: bool,
    /// Take cooperative matrices for products of f16 where the adapter has them.
    pub cooperative: bool,
    /// End loops after as many turns as their launches say that they take, to find those that say too few.
    pub limited: bool,
    /// exp, log and sqrt as inexact as WGSL lets them be, to find what assumes more of them.
    pub inexact: bool,
    /// Make sure when the device is opened that it computes: an error if it does not. Off for what checks every kernel itself.
    pub probe: bool,
}

impl Default for GpuOptions {
    fn default() -> GpuOptions {
        GpuOptions {
            reverse: false,
            checked: cfg!(debug_assertions),
            guard: false,
            immediates: true,
            subgroups: true,
            cooperative: true,
            limited: false,
            inexact: false,
            probe: true,
        }
    }
}

/// An opened device. Clones share it.
#[derive(Clone)]
pub struct Gpu {
    shared: Arc<Shared>,
}

/// What stores, runners and pipelines of one device share.
struct Shared {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    caps: Caps,
    options: GpuOptions,
    /// Where the device has no immediates: the layout of the uniform buffer that parameters are in.
    parameters: Option<wgpu::BindGroupLayout>,
    fault: Arc<Fault>,
    pipelines: pipeline::Pipelines,
    staging: Mutex<memory::Staging>,
    /// Bytes in buffers that kernels reach.
    held: AtomicU64,
    /// Buffers, bind groups and pipelines made so far.
    created: AtomicU64,
    /// Whether products by cooperative matrices came out right; tried before the first plan that has any.
    multiplies: OnceLock<Result<(), String>>,
}

impl Gpu {
    /// The first real GPU: discrete before integrated before virtual. Never a software driver.
    pub fn hardware() -> Result<Option<Gpu>> {
        adapter::hardware()?.map(|a| adapter::open(a, GpuOptions::default())).transpose()
    }

    /// Adapter `number` of [`adapters`]; without a number the first real GPU, else a software driver.
    pub fn open(number: Option<usize>) -> Result<Gpu> {
        Gpu::open_with(number, GpuOptions::default())
    }

    pub fn open_with(number: Option<usize>, options: GpuOptions) -> Result<Gpu> {
        adapter::open(adapter::find(number)?, options)
    }

    /// One line: the adapter's name, driver and backend.
    pub fn describe(&self) -> String {
        describe(&self.shared.info)
    }

    /// The adapter's name alone.
    pub fn name(&self) -> String {
        self.shared.info.name.clone()
    }

    /// The backend, and the driver with its version.
    pub fn driver(&self) -> String {
        format!("{}, {}", self.shared.info.backend, driver(&self.shared.info))
    }

    /// Whether the device times its own work; else nodes are timed by the clock, with a wait after each.
    pub fn timestamps(&self) -> bool {
        self.shared.device.features().contains(wgpu::Features::TIMESTAMP_QUERY)
    }

    pub fn caps(&self) -> &Caps {
        &self.shared.caps
    }

    /// What was switched off since it does not work here, and why, once a plan wanted it.
    pub fn note(&self) -> Option<String> {
        let why = self.shared.multiplies.get()?.as_ref().err()?;
        Some(format!("cooperative matrices are switched off: {why}; products of f16 take longer. Update the driver"))
    }

    /// Bytes in the buffers of all stores and runners of this device; what [`Plan::peak_bytes`] predicts. The staging
    /// buffer for reading back is not among them, nor is that of parameters.
    pub fn held_bytes(&self) -> u64 {
        self.shared.held.load(Ordering::Relaxed)
    }

    /// Compiles `shaders` as a plan that launches them would.
    pub fn prepare(&self, shaders: &[shader::Shader]) -> Result<()> {
        self.shared.pipelines.get(&self.shared, shaders).map(drop)
    }

    pub(super) fn store(&self, states: &[(String, usize)]) -> Result<Store> {
        Store::new(&self.shared, states)
    }

    pub(super) fn lend(&self, store: &mut Store, name: &str, words: &[u32]) -> Result<()> {
        store.lend(&self.shared, name, words)
    }

    pub(super) fn compile(&self, plan: &Plan, store: &Store, options: RunOptions) -> Result<Runner> {
        let mut caps = self.shared.caps.clone();
        if caps.cooperative.is_some() {
            let launches = plan.nodes.iter().map(|node| bind::launches(node, &caps)).collect::<Result<Vec<_>>>()?;
            let wanted = launches.iter().flatten().any(|l| l.source == Source::File("cooperative"));
            // Where they do not work the plan does without.
            caps.cooperative = caps.cooperative.filter(|_| !wanted || known::multiplies(&self.shared));
        }
        Runner::new(&caps, &self.shared, plan, store, options)
    }
}

impl Shared {
    /// Runs `f`; an error that wgpu finds meanwhile becomes ours, about `what`.
    fn scoped<R>(&self, what: impl Fn() -> String, f: impl FnOnce() -> R) -> Result<R> {
        let filters = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::OutOfMemory];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        let result = f();
        let errors: Vec<_> = scopes.into_iter().rev().filter_map(|scope| pollster::block_on(scope.pop())).collect();
        match errors.first() {
            None => Ok(result),
            Some(wgpu::Error::OutOfMemory { .. }) => Err(Error::Device(format!(
                "{}: the device does not have enough memory (wgrec holds {} MiB there); {LOWER}",
                what(),
                self.held.load(Ordering::Relaxed) >> 20
            ))),
            Some(e) => Err(Error::Device(format!("{}: {e}", what()))),
        }
    }

    fn count(&self) {
        self.created.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for `submission`, or for all.
    fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        self.fault.check()?;
        let wait = wgpu::PollType::Wait { submission_index: submission, timeout: None };
        // wgpu panics here, and only here, when the device is lost between the check and the wait.
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.device.poll(wait)));
        self.fault.check()?;
        match polled {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(e)) => Err(Error::Failed(format!("waiting for the device: {e}"))),
            Err(_) => Err(Error::Failed(lost("it no longer answers"))),
        }
    }

    fn staging(&self) -> MutexGuard<'_, memory::Staging> {
        // A panic elsewhere leaves at worst a mapped buffer, which the next use reports.
        self.staging.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The driver with its version.
fn driver(info: &wgpu::AdapterInfo) -> String {
    format!("{} {}", info.driver, info.driver_info).trim().to_string()
}

/// One line: the adapter's name, backend and driver.
fn describe(info: &wgpu::AdapterInfo) -> String {
    format!("{} ({}, {})", info.name, info.backend, driver(info))
}

const LOWER: &str = "lower --set train.batch, data.max_len or model.dim, or choose another device";

fn lost(why: &str) -> String {
    format!(
        "the device was lost ({why}): the driver was reset, or a launch took longer than its watchdog allows; lower \
         --set train.batch, then continue from the last checkpoint with --resume"
    )
}

/// The first thing that went wrong outside an error scope: wgpu tells of it by callbacks.
#[derive(Default)]
struct Fault(Mutex<Option<String>>);

impl Fault {
    fn set(&self, message: String) {
        if let Ok(mut first) = self.0.lock() {
            first.get_or_insert(message);
        }
    }

    fn check(&self) -> Result<()> {
        match self.0.lock() {
            Ok(first) if first.is_none() => Ok(()),
            Ok(first) => Err(Error::Failed(first.clone().unwrap_or_default())),
            Err(_) => Err(Error::Failed(lost("an error could not be recorded"))),
        }
    }
}
