// Numbers of workgroups and invocations, folded to one dimension (Grid::linear on the Rust side).
// Every shader takes them from here: with the prepended REVERSE = true, workgroups and invocations are numbered backwards. A
// result that changes then was made without a barrier that it needs.

// What an entry point takes.
struct Invocation {
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
}

fn group_index(me: Invocation) -> u32 {
    let i = me.group.x + me.groups.x * (me.group.y + me.groups.y * me.group.z);
    return select(i, me.groups.x * me.groups.y * me.groups.z - 1u - i, REVERSE);
}

// Number of an invocation in its workgroup of `size`.
fn local_index(me: Invocation, size: u32) -> u32 {
    return select(me.local, size - 1u - me.local, REVERSE);
}

// Number of an invocation in the whole launch. The last workgroups run past the end: callers compare it to their count.
fn thread_index(me: Invocation, size: u32) -> u32 {
    return group_index(me) * size + local_index(me, size);
}
