// Numbers of workgroups and invocations, folded to one dimension (Grid::linear on the Rust side).
// Every shader takes them from here: with the prepended REVERSE = true, workgroups and lanes are numbered backwards. A
// result that changes then was made without a barrier that it needs.

fn group_index(group: vec3<u32>, groups: vec3<u32>) -> u32 {
    let i = group.x + groups.x * (group.y + groups.y * group.z);
    return select(i, groups.x * groups.y * groups.z - 1u - i, REVERSE);
}

// Lane `lane` (local_invocation_index) of a workgroup of `size`.
fn lane_index(lane: u32, size: u32) -> u32 {
    return select(lane, size - 1u - lane, REVERSE);
}

// Number of an invocation in the whole launch. The last workgroups run past the end: callers compare it to their count.
fn thread_index(group: vec3<u32>, groups: vec3<u32>, lane: u32, size: u32) -> u32 {
    return group_index(group, groups) * size + lane_index(lane, size);
}
