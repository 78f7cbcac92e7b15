// Numbers of workgroups and invocations, folded to one dimension (Grid::linear on the Rust side).
// Every shader takes them from here: with the prepended REVERSE = true, workgroups and invocations are numbered backwards. A
// result that changes then was made without a barrier that it needs.

// What an entry point takes: what all invocations of a workgroup have alike, and what is an invocation's own. Two structs, since
// for Tint all of a struct differs where one member does, and then barriers may not depend on it.
struct Grid {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
}

struct Invocation {
    @builtin(local_invocation_index) local: u32,
}

fn group_index(grid: Grid) -> u32 {
    let i = grid.group.x + grid.groups.x * (grid.group.y + grid.groups.y * grid.group.z);
    return select(i, grid.groups.x * grid.groups.y * grid.groups.z - 1u - i, REVERSE);
}

// Number of an invocation in its workgroup of `size`.
fn local_index(me: Invocation, size: u32) -> u32 {
    return select(me.local, size - 1u - me.local, REVERSE);
}

// Number of an invocation in the whole launch. The last workgroups run past the end: callers compare it to their count.
fn thread_index(grid: Grid, me: Invocation, size: u32) -> u32 {
    return group_index(grid) * size + local_index(me, size);
}
