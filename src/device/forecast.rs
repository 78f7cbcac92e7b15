//! How long a plan would take on a GPU that is not there, from what its maker publishes of it. A forecast, never a measurement.
//!
//! Of each node, the longest of three times: moving its bytes, its operations by as many lanes as it launches, and the turns of its loops
//! one after the other; and for each launch what a dispatch costs after a barrier. What of these a device reaches is the same for all
//! cards, and comes from the measurements of one (docs/performance-gpu.md): it says more of which node is slow, and of what bounds it, than
//! of milliseconds.

use super::gpu::bind;
use super::gpu::shader::Shader;
use crate::error::{Error, Result, nearest};
use crate::graph::Caps;
use crate::graph::plan::Planned;
use std::fmt;

/// A GPU, as its maker describes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Card {
    pub name: &'static str,
    pub about: &'static str,
    /// Of its memory, GB/s.
    pub bandwidth: f64,
    /// Of f32 outside matrix units, TFLOP/s.
    pub peak: f64,
    /// Compute units, multiprocessors, cores: what a workgroup runs on.
    pub units: u32,
    /// GB (10^9 bytes).
    pub memory: f64,
    /// Whether an invocation has the registers for the largest tile of a product.
    pub large_tiles: bool,
}

const fn card(
    name: &'static str,
    about: &'static str,
    (bandwidth, peak): (f64, f64),
    units: u32,
    memory: f64,
    large_tiles: bool,
) -> Card {
    Card { name, about, bandwidth, peak, units, memory, large_tiles }
}

/// The cards that are known, from their makers' data sheets.
pub const CARDS: [Card; 14] = [
    card("h200", "NVIDIA H200 SXM", (4800.0, 67.0), 132, 141.0, true),
    card("h100", "NVIDIA H100 SXM", (3350.0, 67.0), 132, 80.0, true),
    card("a100", "NVIDIA A100 SXM 80 GB", (2039.0, 19.5), 108, 80.0, true),
    card("rtx5090", "NVIDIA GeForce RTX 5090", (1792.0, 104.8), 170, 32.0, true),
    card("rtx4090", "NVIDIA GeForce RTX 4090", (1008.0, 82.6), 128, 24.0, true),
    card("rtx3060", "NVIDIA GeForce RTX 3060", (360.0, 12.7), 28, 12.0, true),
    card("t4", "NVIDIA T4", (320.0, 8.1), 40, 16.0, true),
    card("mi300x", "AMD Instinct MI300X", (5300.0, 163.4), 304, 192.0, true),
    card("rx7900", "AMD Radeon RX 7900 XTX", (960.0, 61.4), 96, 24.0, true),
    card("rx6800", "AMD Radeon RX 6800", (512.0, 16.2), 60, 16.0, true),
    card("a770", "Intel Arc A770", (560.0, 19.7), 32, 16.0, false),
    card("b580", "Intel Arc B580", (456.0, 13.7), 20, 12.0, false),
    card("m1", "Apple M1", (68.3, 2.6), 8, 16.0, true),
    card("m3max", "Apple M3 Max, 40 cores", (400.0, 14.2), 40, 128.0, true),
];

/// Of the published bandwidth, what moving bytes reaches.
const MOVED: f64 = 0.8;
/// Of the published peak, what a product reaches.
const COMPUTED: f64 = 0.5;
/// Invocations of a unit by which it is busy.
const BUSY: f64 = 1024.0;
/// Seconds of a turn of a loop, where nothing else is in its way.
const TURN: f64 = 0.08e-6;
/// Seconds of a dispatch after a barrier.
const DISPATCH: f64 = 5e-6;

/// What bounds a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bound {
    Bandwidth,
    Operations,
    /// The turns of loops, one after the other.
    Latency,
    Dispatch,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Bound::Bandwidth => "bandwidth",
            Bound::Operations => "operations",
            Bound::Latency => "latency",
            Bound::Dispatch => "dispatch",
        })
    }
}

/// What a node, or a plan, would take.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forecast {
    pub dispatches: u64,
    /// Seconds of the dispatches alone.
    pub dispatching: f64,
    pub bandwidth: f64,
    pub operations: f64,
    pub latency: f64,
    /// Seconds of all.
    pub seconds: f64,
}

impl Forecast {
    /// What takes longest.
    pub fn bound(&self) -> Bound {
        let Forecast { dispatching, bandwidth, operations, latency, .. } = *self;
        let times = [
            (dispatching, Bound::Dispatch),
            (bandwidth, Bound::Bandwidth),
            (operations, Bound::Operations),
            (latency, Bound::Latency),
        ];
        times.into_iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("four times").1
    }

    pub fn add(&mut self, other: &Forecast) {
        self.dispatches += other.dispatches;
        self.dispatching += other.dispatching;
        self.bandwidth += other.bandwidth;
        self.operations += other.operations;
        self.latency += other.latency;
        self.seconds += other.seconds;
    }
}

impl Card {
    /// # Errors
    /// A name that is not among [`CARDS`], with the nearest.
    pub fn named(name: &str) -> Result<&'static Card> {
        CARDS.iter().find(|card| card.name == name).ok_or_else(|| {
            let names = CARDS.map(|card| card.name);
            let meant = nearest(name, names).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            Error::Usage(format!("found the card {name:?}{meant}; known are {}", names.join(", ")))
        })
    }

    /// What it lets launches choose from; matrix units are left aside.
    fn caps(&self) -> Caps {
        Caps {
            subgroups: true,
            f16: true,
            workgroup_bytes: 32 << 10,
            binding_bytes: 2 << 30,
            max_turns: u64::MAX,
            large_tiles: self.large_tiles,
            ..Caps::default()
        }
    }

    /// What a node of a plan without strips would take.
    ///
    /// # Errors
    /// A node that cannot be launched.
    pub fn node(&self, node: &Planned) -> Result<Forecast> {
        let launches = bind::launches(node, &self.caps())?;
        if launches.is_empty() {
            return Ok(Forecast::default());
        }
        let cost = node.cost();
        let mut lanes = 0f64;
        for launch in &launches {
            let [size, groups] = [Shader::of(node, launch, false).reflect()?.workgroup_size, launch.grid.0]
                .map(|counts| counts.iter().map(|&n| n as f64).product::<f64>());
            lanes = lanes.max(size * groups);
        }
        let busy = (lanes / (BUSY * self.units as f64)).min(1.0);
        let bandwidth = cost.bytes as f64 / (MOVED * 1e9 * self.bandwidth);
        let operations = cost.flops as f64 / (COMPUTED * 1e12 * self.peak * busy.max(1e-9));
        let latency = TURN * launches.iter().map(|launch| launch.most_turns() as f64).sum::<f64>();
        let dispatches = launches.len() as u64;
        let dispatching = DISPATCH * dispatches as f64;
        let seconds = dispatching + bandwidth.max(operations).max(latency);
        Ok(Forecast { dispatches, dispatching, bandwidth, operations, latency, seconds })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Graph;
    use crate::graph::plan::{Options, Plan};
    use crate::tensor::Spec;

    /// The only node of a product of [m, 256] and [256, n].
    fn product(m: usize, n: usize) -> Planned {
        let g = Graph::new();
        let (a, b) = (g.input("a", Spec::f32([m, 256])), g.input("b", Spec::f32([256, n])));
        g.result("y", a.matmul(b));
        Plan::new(&g, Options::default()).unwrap().nodes.remove(0)
    }

    #[test]
    fn large_products_are_bound_by_operations_and_small_ones_by_their_dispatch() {
        let card = Card::named("h100").unwrap();
        let large = card.node(&product(8192, 8192)).unwrap();
        let least = 2.0 * 8192.0 * 8192.0 * 256.0 / 67e12;
        assert_eq!(large.bound(), Bound::Operations);
        assert!(large.seconds > least && large.seconds < 4.0 * least, "{large:?}");
        let small = card.node(&product(4, 4)).unwrap();
        assert!(small.dispatches >= 1 && small.seconds >= DISPATCH && small.seconds < large.seconds, "{small:?}");
        // A card of more bandwidth and more operations a second is never slower.
        let (fast, slow) = (Card::named("h200").unwrap(), Card::named("m1").unwrap());
        for (m, n) in [(4, 4), (100, 64), (4096, 4096)] {
            assert!(fast.node(&product(m, n)).unwrap().seconds <= slow.node(&product(m, n)).unwrap().seconds);
        }
    }

    #[test]
    fn cards_are_known_by_their_names() {
        let error = Card::named("h10").unwrap_err().to_string();
        assert!(error.contains("did you mean h100?") && error.contains("rx7900"), "{error}");
        let mut names = CARDS.map(|card| card.name);
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }
}
