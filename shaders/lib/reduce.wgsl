// Reductions over the WG invocations of a workgroup, WG a power of two, by a tree in WG * 4 bytes of workgroup memory. All invocations
// must call them, in uniform control flow, and all get the result. The order of the additions is fixed: the same bits
// every time. No subgroup operations: their order is the driver's, and the tree's 6 to 8 barriers cost little compared with the
// memory traffic of the rows reduced here.
//!import math

var<workgroup> shared_terms: array<f32, WG>;

fn sum_of_group(value: f32, local: u32) -> f32 {
    shared_terms[local] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if local < half {
            shared_terms[local] += shared_terms[local + half];
        }
        workgroupBarrier();
    }
    let total = shared_terms[0];
    workgroupBarrier(); // before the next reduction writes
    return total;
}

fn max_of_group(value: f32, local: u32) -> f32 {
    shared_terms[local] = value;
    workgroupBarrier();
    for (var half = WG / 2u; half > 0u; half /= 2u) {
        if local < half {
            shared_terms[local] = max_or_nan(shared_terms[local], shared_terms[local + half]);
        }
        workgroupBarrier();
    }
    let most = shared_terms[0];
    workgroupBarrier(); // before the next reduction writes
    return most;
}
