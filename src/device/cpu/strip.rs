//! A strip of nodes, run tile by tile: see [`crate::graph::strips`].

use super::{Memories, Node, Precision, RunOptions, operand};
use crate::error::Result;
use crate::graph::Operand;
use crate::graph::plan::{Memory, Plan, Slot};
use crate::graph::strips;
use crate::kernels::parallel::{SERIAL, on_one_thread};
use crate::kernels::{Real, sums};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::Mutex;

pub(super) struct Strip {
    shape: strips::Strip,
    pub nodes: Range<usize>,
    /// One a thread.
    workers: Vec<Mutex<Worker>>,
    sums: Vec<Sum>,
    /// Too little work to share.
    serial: bool,
}

/// What one thread runs tiles with.
struct Worker {
    nodes: Vec<Tiled>,
}

/// A node's operands for one tile: `full`, or shorter for the `last`. Each operand starts at its base plus a step a tile,
/// which is 0 for what is read whole and for the thread's own buffers.
struct Tiled {
    full: [Vec<Operand>; 2],
    last: [Vec<Operand>; 2],
    places: [Vec<(*mut u8, usize)>; 2],
}

// SAFETY: pointers into memory that the runner keeps alive; a worker is used by the thread that holds its lock.
unsafe impl Send for Tiled {}

/// An output that is the sum of what the tiles left at `tiles`, one after the other.
struct Sum {
    output: Operand,
    tiles: *mut u8,
}

// SAFETY: as above; read and written between the tiles of one run and the next.
unsafe impl Send for Sum {}
unsafe impl Sync for Sum {}

impl Strip {
    pub fn new(number: usize, plan: &Plan, memory: &mut Memories, wide: bool) -> Strip {
        let shape = plan.strips[number];
        let at = |n: &crate::graph::plan::Planned| n.strip == Some(number);
        let first = plan.nodes.iter().position(at).expect("a strip has nodes");
        let nodes = first..first + plan.nodes.iter().filter(|n| at(n)).count();
        let scale = if wide { 2 } else { 1 };
        let mut sums: Vec<(usize, Sum)> = vec![];
        let mut used = 0;
        for (n, bytes) in plan.sums(number) {
            let tiles = memory.sums.at().wrapping_add(used * scale);
            sums.push((n, Sum { output: operand(&plan.nodes[n].outputs[0], memory, wide), tiles }));
            used += bytes;
        }
        let worker = |thread: usize| {
            memory.tile = memory.tiles[thread].clone();
            let tiled = |n: usize| {
                let node = &plan.nodes[n];
                let split = node.split().expect("nodes of a strip split");
                let sum = sums.iter().find(|(node, _)| *node == n).map(|(_, sum)| sum.tiles);
                let (outputs, memory) = (0..node.outputs.len(), &memory);
                let inputs = node.inputs.iter().enumerate();
                let inputs: Vec<_> =
                    inputs.map(|(i, slot)| Cut::of(slot, split.inputs >> i & 1 == 1, shape, memory, wide)).collect();
                let outputs = outputs.map(|i| match sum {
                    None => Cut::of(&node.outputs[i], true, shape, memory, wide),
                    Some(tiles) => Cut::sum(&node.outputs[i], tiles, memory, wide),
                });
                Tiled::new([inputs, outputs.collect()])
            };
            let nodes = nodes.clone().map(tiled).collect();
            Mutex::new(Worker { nodes })
        };
        let workers = (0..plan.threads).map(worker).collect();
        let bytes: u64 = plan.nodes[nodes.clone()].iter().map(|n| n.cost().bytes).sum();
        let serial = bytes / 4 < SERIAL as u64;
        Strip { shape, nodes, workers, sums: sums.into_iter().map(|(_, s)| s).collect(), serial }
    }

    /// Threads that work on it at once.
    pub fn threads(&self) -> usize {
        if self.serial { 1 } else { self.workers.len().min(self.shape.tiles()) }
    }

    /// `nodes` are those of this strip.
    pub fn run(&self, nodes: &[Node], precision: Precision, options: RunOptions) -> Result<()> {
        let tile = |t: usize| {
            let worker = &self.workers[rayon::current_thread_index().unwrap_or(0) % self.workers.len()];
            let mut worker = worker.lock().expect("a thread that panicked took the run with it");
            on_one_thread(|| self.tile(t, &mut worker, nodes, precision, options))
        };
        if self.serial {
            (0..self.shape.tiles()).try_for_each(tile)?;
        } else {
            (0..self.shape.tiles()).into_par_iter().with_max_len(1).try_for_each(tile)?;
        }
        for sum in &self.sums {
            // SAFETY: the tiles' sums lie one after the other, and no node runs now.
            match precision {
                Precision::F64 => unsafe { sum.add::<f64>(self.shape.tiles()) },
                _ => unsafe { sum.add::<f32>(self.shape.tiles()) },
            }
        }
        Ok(())
    }

    fn tile(&self, t: usize, worker: &mut Worker, nodes: &[Node], precision: Precision, o: RunOptions) -> Result<()> {
        let first = t * self.shape.tile;
        let parts = self.shape.tile.min(self.shape.parts - first);
        for (tiled, node) in worker.nodes.iter_mut().zip(nodes) {
            let operands = if parts == self.shape.tile { &mut tiled.full } else { &mut tiled.last };
            for (operands, places) in operands.iter_mut().zip(&tiled.places) {
                for (operand, &(base, step)) in operands.iter_mut().zip(places) {
                    operand.at = base.wrapping_add(t * step);
                }
            }
            // SAFETY: tiles of cut operands do not overlap, uncut ones are only read, and the rest is this thread's own.
            unsafe { node.run(&operands[0], &operands[1], (first, parts), precision, o)? };
        }
        Ok(())
    }
}

/// How an operand lies before a strip and its tiles.
struct Cut {
    base: *mut u8,
    step: usize,
    full: Operand,
    last: Operand,
}

impl Cut {
    /// `slot`, whole or `cut`.
    fn of(slot: &Slot, cut: bool, shape: strips::Strip, memory: &Memories, wide: bool) -> Cut {
        let whole = operand(slot, memory, wide);
        if !cut {
            return Cut { base: whole.at, step: 0, full: whole.clone(), last: whole };
        }
        let part = |parts: usize| {
            let mut part = whole.clone();
            part.spec.shape = whole.spec.shape.with(0, whole.spec.shape[0] / shape.parts * parts);
            part
        };
        let own = matches!(slot.memory, Memory::Tile(_));
        let full = part(shape.tile);
        let step = if own { 0 } else { full.bytes(wide) };
        let rest = shape.parts % shape.tile;
        let last = part(if rest == 0 { shape.tile } else { rest });
        Cut { base: whole.at, step, full, last }
    }

    fn sum(slot: &Slot, tiles: *mut u8, memory: &Memories, wide: bool) -> Cut {
        let whole = operand(slot, memory, wide);
        Cut { base: tiles, step: whole.bytes(wide), full: whole.clone(), last: whole }
    }
}

impl Tiled {
    fn new(cuts: [Vec<Cut>; 2]) -> Tiled {
        Tiled {
            places: [0, 1].map(|i| cuts[i].iter().map(|c| (c.base, c.step)).collect()),
            full: [0, 1].map(|i| cuts[i].iter().map(|c| c.full.clone()).collect()),
            last: [0, 1].map(|i| cuts[i].iter().map(|c| c.last.clone()).collect()),
        }
    }
}

impl Sum {
    /// # Safety
    /// `tiles` tensors like the output lie at `self.tiles`, and nothing else uses them or the output.
    unsafe fn add<T: Real>(&self, tiles: usize) {
        let n = self.output.spec.shape.elements();
        // SAFETY: by the contract.
        let (y, parts) = unsafe {
            (
                std::slice::from_raw_parts_mut(self.output.at as *mut T, n),
                std::slice::from_raw_parts_mut(self.tiles as *mut T, n * tiles),
            )
        };
        sums::join(parts, n);
        y.copy_from_slice(&parts[..n]);
    }
}
