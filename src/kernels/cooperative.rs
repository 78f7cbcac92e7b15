//! Products of halves by cooperative matrices (tensor cores), where an adapter has them: what [`super::matmul`] launches then.

use super::example::{Example, Fill, Scale};
use super::launch::turns_of;
use super::{Caps, Cooperative, Launch};
use crate::error::Result;

/// A workgroup of cooperative.wgsl for each tile of products \[batch, m, n\], or of each of the `parts` of their sums, of `terms`
/// terms.
pub(super) fn launch(
    launch: Launch,
    of: Cooperative,
    [batch, m, n]: [usize; 3],
    [parts, terms]: [usize; 2],
    caps: &Caps,
) -> Result<Launch> {
    let width = 4 * of.size as usize;
    let tiles = batch * m.div_ceil(width) * n.div_ceil(width);
    // What an invocation copies of each operand's tile, and of each of its four matrices in the end.
    let (size, invocations) = (of.size as usize, 4 * of.subgroup as usize);
    let [copies, writes] = [2 * size * size, 4 * size * size].map(|n| n.div_ceil(invocations));
    let steps = terms.div_ceil(2 * size);
    let turns = turns_of(steps, 2 * turns_of(copies, 0) + turns_of(2, 0)) + 4 * turns_of(writes, 0);
    let l = launch.turns(turns).constant("SIZE", of.size).constant("PARTS", (parts > 1) as u32);
    let l = if of.fixed { l.constant("SUBGROUP", of.subgroup) } else { l };
    l.groups(parts * tiles, invocations, caps)
}

/// Factors that f16 holds exactly, sums that f32 does. Compared with the f32 product as a ceiling, tensor cores go beyond 100%.
pub fn examples(scale: Scale) -> Vec<Example> {
    let square = if scale == Scale::Large { 4096 } else { scale.pick(1024, 64) };
    let shapes = scale.pick(
        [[12_800, 64, 64], [25_600, 64, 3416], [256, 64, 3416]],
        [[128, 36, 132], [130, 36, 116], [116, 36, 132]],
    );
    let of = |[m, k, n]: [usize; 3]| {
        Example::new("matmul f16", format!("{m}x{k}x{n}"), |_, x| Ok(vec![x[0].matmul(x[1])]))
            .f32([m, k], Fill::Eighths)
            .f32([k, n], Fill::Eighths)
            .product([m, n, k], [false, false])
            .halves(&["matmul"])
    };
    shapes.into_iter().chain([[square; 3]]).map(of).collect()
}
