// Watch over a training's loss, so that the host need not read the loss of each step.
//   mark = 1 + step mod 2^24, which f32 holds exactly
//   first' = first where it is not 0 and not the mark of an update that is left out, one of scale = 0; else mark where the loss
//   is not finite and scale is not 0; else 0
//   seen = (loss, part, first')
// loss, part, scale, first: one number each; seen: [3]. One invocation.
//!import index
//!import math
//!import step
@group(0) @binding(0) var<storage, read> loss: array<f32>;
@group(0) @binding(1) var<storage, read> part: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read> step: array<u32>;
@group(0) @binding(4) var<storage, read_write> first: array<f32>;
@group(0) @binding(5) var<storage, read_write> seen: array<f32>;

@compute @workgroup_size(WG)
fn watch(grid: Grid, me: Invocation) {
    if thread_index(grid, me, WG) != 0u {
        return;
    }
    let mark = f32((step[STEP_NUMBER] & 0xffffffu) + 1u);
    var kept = first[0];
    if scale[0] == 0.0 {
        kept = select(kept, 0.0, kept == mark);
    } else if kept == 0.0 && !is_finite(loss[0]) {
        kept = mark;
    }
    first[0] = kept;
    seen[0] = loss[0];
    seen[1] = part[0];
    seen[2] = kept;
}
