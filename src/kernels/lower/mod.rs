//! From a graph to its plan: nodes are rewritten first, by what is known of some kernels. Chains of elementwise nodes are fused,
//! activations made halves, weights transposed once.

mod fuse;
mod half;
mod weights;

use super::elementwise::Chain;
use super::embedding::Gather;
use crate::error::Result;
use crate::graph::nodes::{live, writes};
use crate::graph::plan::{Options, Plan};
use crate::graph::{Graph, Kind, NodeId, Op};
use std::any::Any;
use std::collections::HashSet;

impl Plan {
    /// # Errors
    /// A state of which a node needs both the old and the new value; two inputs of one name.
    pub fn new(graph: &Graph, options: Options) -> Result<Plan> {
        let inner = graph.inner.borrow();
        let mut nodes = inner.nodes.clone();
        let results = || inner.results.iter().map(|(_, v)| *v);
        let mut roots: Vec<NodeId> = results().map(|v| v.node).collect();
        roots.extend((0..nodes.len()).filter(|&n| writes(&nodes[n]).next().is_some()));
        if !options.no_fuse {
            let live = live(&nodes, &roots);
            fuse::fuse(&mut nodes, &live, &results().collect());
        }
        let mut live = live(&nodes, &roots);
        if options.half {
            let results: HashSet<_> = results().collect();
            half::halve(&mut nodes, &mut live, &inner.exact, &results);
        }
        if options.threads > 0 {
            weights::transpose_once(&mut nodes, &mut live);
        }
        Plan::of(&nodes, &live, &inner.results, options)
    }
}

fn chain_of(kind: &Kind) -> Option<&Chain> {
    let Kind::Op(op) = kind else { return None };
    (&**op as &dyn Any).downcast_ref()
}

/// The one op whose gradient is rows of a table.
pub(super) fn is_gather(op: &dyn Op) -> bool {
    (op as &dyn Any).is::<Gather>()
}
