//! Time of each node: by timestamps of the device where it has them, else by the clock with a wait after each node.

use super::Shared;
use super::memory;
use crate::error::Result;
use std::time::Instant;
use wgpu::BufferUsages;

pub(super) struct Profiler {
    queries: Option<Queries>,
    pub calls: u64,
    /// Seconds of all calls, by node.
    pub seconds: Vec<f64>,
}

struct Queries {
    set: wgpu::QuerySet,
    resolved: wgpu::Buffer,
}

/// Nodes whose two timestamps fit into one query set.
const AT_ONCE: usize = wgpu::QUERY_SET_MAX_QUERIES as usize / 2;

impl Profiler {
    pub fn new(shared: &Shared, nodes: usize) -> Result<Profiler> {
        let queries = if shared.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) && nodes > 0 {
            let count = 2 * nodes.min(AT_ONCE) as u32;
            let usage = BufferUsages::QUERY_RESOLVE | BufferUsages::COPY_SRC;
            let wanted = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count };
            let set = shared.scoped(|| "the profiler".into(), || shared.device.create_query_set(&wanted))?;
            Some(Queries { set, resolved: memory::create(shared, "timestamps", count as u64 * 8, usage)? })
        } else {
            None
        };
        Ok(Profiler { queries, calls: 0, seconds: vec![0.0; nodes] })
    }

    /// Runs all nodes, a pass each, and adds up their times. `encode` adds the launches of a node to its pass.
    pub fn run(&mut self, shared: &Shared, encode: impl Fn(&mut wgpu::ComputePass, usize)) -> Result<()> {
        let nodes = self.seconds.len();
        self.calls += 1;
        for first in (0..nodes).step_by(AT_ONCE) {
            let last = nodes.min(first + AT_ONCE);
            match &self.queries {
                Some(queries) => {
                    let times = queries.run(shared, first..last, &encode)?;
                    self.seconds[first..last].iter_mut().zip(times).for_each(|(sum, time)| *sum += time);
                }
                None => {
                    for node in first..last {
                        let mut encoder = shared.device.create_command_encoder(&Default::default());
                        encode(&mut encoder.begin_compute_pass(&Default::default()), node);
                        let start = Instant::now();
                        let submitted = shared.queue.submit([encoder.finish()]);
                        shared.wait(Some(submitted))?;
                        self.seconds[node] += start.elapsed().as_secs_f64();
                    }
                }
            }
        }
        Ok(())
    }
}

impl Queries {
    /// Seconds of each of `nodes`.
    fn run(
        &self,
        shared: &Shared,
        nodes: std::ops::Range<usize>,
        encode: impl Fn(&mut wgpu::ComputePass, usize),
    ) -> Result<Vec<f64>> {
        let count = 2 * nodes.len() as u32;
        let mut encoder = shared.device.create_command_encoder(&Default::default());
        for (i, node) in nodes.enumerate() {
            let writes = wgpu::ComputePassTimestampWrites {
                query_set: &self.set,
                beginning_of_pass_write_index: Some(2 * i as u32),
                end_of_pass_write_index: Some(2 * i as u32 + 1),
            };
            let wanted = wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(writes) };
            encode(&mut encoder.begin_compute_pass(&wanted), node);
        }
        encoder.resolve_query_set(&self.set, 0..count, &self.resolved, 0);
        shared.queue.submit([encoder.finish()]);
        let raw = memory::download(shared, &self.resolved, 0, count as usize * 8)?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&raw);
        let seconds = shared.queue.get_timestamp_period() as f64 * 1e-9;
        Ok(ticks.chunks_exact(2).map(|t| t[1].saturating_sub(t[0]) as f64 * seconds).collect())
    }
}
