//! The table that `--profile` prints.

use std::collections::BTreeMap;
use wgrec::device::Timing;

/// What a line of the table is for.
#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub enum By {
    Kernel,
    Node,
}

/// Kernels or nodes by time: calls, time, throughput by unique bytes and by operations, share.
pub fn table(timings: &[Timing], by: By) -> String {
    #[derive(Default)]
    struct Row {
        calls: u64,
        seconds: f64,
        bytes: f64,
        flops: f64,
    }
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for t in timings {
        let row = rows.entry(if by == By::Kernel { t.kernel } else { &t.scope }).or_default();
        row.calls += t.calls;
        row.seconds += t.seconds;
        row.bytes += t.calls as f64 * t.cost.bytes as f64;
        row.flops += t.calls as f64 * t.cost.flops as f64;
    }
    let total: f64 = rows.values().map(|row| row.seconds).sum();
    let mut rows: Vec<_> = rows.into_iter().collect();
    rows.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
    let mut text = format!(
        "\n{:<28} {:>10} {:>10} {:>8} {:>9} {:>6}\n",
        if by == By::Kernel { "kernel" } else { "node" },
        "calls",
        "ms",
        "GB/s",
        "GFLOP/s",
        "share"
    );
    for (kernel, row) in rows {
        let Row { calls, seconds, bytes, flops } = row;
        let per_ns = |n: f64| if seconds > 0.0 { n / seconds / 1e9 } else { 0.0 };
        let share = if total > 0.0 { 100.0 * seconds / total } else { 0.0 };
        let (ms, gb, gflop) = (seconds * 1e3, per_ns(bytes), per_ns(flops));
        text += &format!("{kernel:<28} {calls:>10} {ms:>10.1} {gb:>8.2} {gflop:>9.2} {share:>5.1}%\n");
    }
    text
}
