// Reductions over the WG lanes of a workgroup, WG a power of two, by a tree in WG * 4 bytes of workgroup memory. All lanes
// must call them, in uniform control flow, and all get the result. The order of the additions is fixed: the same bits
// every time. No subgroup operations: their order is the driver's, and the tree's 6 to 8 barriers are little beside the
// memory traffic of the rows reduced here.
//!import math

var<workgroup> reduce_lanes: array<f32, WG>;

fn sum_lanes(value: f32, lane: u32) -> f32 {
    reduce_lanes[lane] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if lane < half {
            reduce_lanes[lane] += reduce_lanes[lane + half];
        }
        workgroupBarrier();
    }
    let total = reduce_lanes[0];
    workgroupBarrier(); // before the next reduction writes
    return total;
}

fn max_lanes(value: f32, lane: u32) -> f32 {
    reduce_lanes[lane] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if lane < half {
            reduce_lanes[lane] = max_or_nan(reduce_lanes[lane], reduce_lanes[lane + half]);
        }
        workgroupBarrier();
    }
    let most = reduce_lanes[0];
    workgroupBarrier(); // before the next reduction writes
    return most;
}
