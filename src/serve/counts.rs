//! What is counted while serving, in the text format of Prometheus.

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    route: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Taken {
    result: &'static str,
}

/// Clones count together.
#[derive(Clone)]
pub struct Counts {
    requests: Family<Asked, Counter>,
    seconds: Histogram,
    batches: Histogram,
    device_seconds: Histogram,
    late: Counter,
    takeovers: Family<Taken, Counter>,
    items: Gauge,
}

impl Counts {
    pub fn new() -> (Counts, Registry) {
        // From 0.1 ms to 13 s.
        let seconds = || Histogram::new((0..18).map(|power| 1e-4 * f64::from(1u32 << power)));
        let counts = Counts {
            requests: Family::default(),
            seconds: seconds(),
            batches: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),
            device_seconds: seconds(),
            late: Counter::default(),
            takeovers: Family::default(),
            items: Gauge::default(),
        };
        let mut registry = Registry::with_prefix("wgrec");
        let Counts { requests, seconds, batches, device_seconds, late, takeovers, items } = counts.clone();
        registry.register("requests", "Requests by route and status", requests);
        registry.register("request_seconds", "Time from a request to its answer", seconds);
        registry.register("batch_visits", "Recommendations that the device computes at once", batches);
        registry.register("device_seconds", "Time of the device for a batch", device_seconds);
        registry.register("late", "Recommendations that nobody waited for any more", late);
        registry.register("takeovers", "Runs that were taken over, or could not be", takeovers);
        registry.register("items", "Items of the run", items);
        (counts, registry)
    }

    pub fn asked(&self, route: &'static str, status: u16, seconds: f64) {
        self.requests.get_or_create(&Asked { route, status }).inc();
        self.seconds.observe(seconds);
    }

    pub fn taken(&self, result: &'static str) {
        self.takeovers.get_or_create(&Taken { result }).inc();
    }

    pub fn items(&self, items: usize) {
        self.items.set(items as i64);
    }

    /// A batch of `visits` was answered.
    pub fn batch(&self, visits: usize, seconds: f64) {
        self.batches.observe(visits as f64);
        self.device_seconds.observe(seconds);
    }

    /// Nobody waited for `visits` any more.
    pub fn late(&self, visits: usize) {
        self.late.inc_by(visits as u64);
    }
}

/// The page that Prometheus reads.
pub fn page(registry: &Registry) -> String {
    let mut page = String::new();
    text::encode(&mut page, registry).expect("a string takes everything");
    page
}
