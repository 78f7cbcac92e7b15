// The roll-out of an allocator: event after event, a policy says which interest takes it.
// An interest is a mean of sources: source 0, the user, at the start, and source s once step s - 1 has given it that event.
//   mean_j(x) = user[j] x[0] + sum over the s that j has taken of weight[s] x[s]
//   alpha_j = softmax_j(mean_j(products[t])),   context = sum_j alpha_j mean_j(values)
//   action = the first largest of relu(context + own[t]) weights + noise[t];   event t, source t + 1, goes to it
// products: [B, T, S], of each step's event with the sources; values: [B, S, W]; own: [B, T, W]; weight: [K, W]; noise, allowed,
// attention: [B, T, K]; taken, actions: [B, T], K = no interest. S is T + 1 at most.
// One workgroup a row. All workgroup memory: 4 (3 S + 4 K + W) bytes.
//!import index
//!import math
struct Params { batch: u32, t: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> products: array<f32>;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> allowed: array<f32>;
@group(0) @binding(3) var<storage, read> own: array<f32>;
@group(0) @binding(4) var<storage, read> weight: array<f32>;
@group(0) @binding(5) var<storage, read> noise: array<f32>;
@group(0) @binding(6) var<storage, read_write> actions: array<u32>;

// Weights of source 0 in each interest, and of each later source in the interest that took it; sources of each interest.
var<workgroup> user_weight: array<f32, K>;
var<workgroup> event_weight: array<f32, S>;
var<workgroup> taken_by: array<u32, S>;
var<workgroup> count: array<u32, K>;
// For the current step.
var<workgroup> of_interest: array<f32, K>;
var<workgroup> alpha_of: array<f32, K>;
var<workgroup> hidden: array<f32, W>;
var<workgroup> of_source: array<f32, S>;

fn start(local: u32) {
    for (var j = local; j < K; j += WG) {
        user_weight[j] = 1.0;
        count[j] = 1u;
    }
    for (var s = local; s < S; s += WG) {
        event_weight[s] = 0.0;
        taken_by[s] = K;
    }
}

// Interest `action` takes the event of step t, between two barriers.
fn take(t: u32, action: u32, local: u32) {
    let moves = action < K && t + 1u < S;
    let interest = min(action, K - 1u);
    var part = 0.5;
    if RUNNING == 1u {
        part = 1.0 / f32(count[interest] + 1u);
    }
    if moves {
        for (var s = local; s < S; s += WG) {
            if s == t + 1u {
                event_weight[s] = part;
                taken_by[s] = action;
            } else if taken_by[s] == action {
                event_weight[s] *= 1.0 - part;
            }
        }
    }
    workgroupBarrier(); // all have read `count`
    if moves && local == 0u {
        user_weight[interest] *= 1.0 - part;
        count[interest] += 1u;
    }
}

// The mean of products[row ..] in interest j at step t.
fn mean_of_products(j: u32, t: u32, row: u32) -> f32 {
    var mean = user_weight[j] * products[row];
    for (var s = 1u; s < min(t + 1u, S); s++) {
        mean += select(0.0, event_weight[s] * products[row + s], taken_by[s] == j);
    }
    return mean;
}

// The term of interest j in the softmax of step `at`: 0 where it is not allowed, NaN where that is not known.
fn share(at: u32, j: u32, most: f32) -> f32 {
    let factor = allowed[at * K + j];
    if factor == 0.0 {
        return 0.0;
    }
    return exp_or_nan(of_interest[j] - most) * factor;
}

// alpha_of = the softmax of the interests' means of products at step t, number `at` of all; zeros where none is allowed. All
// invocations have it.
fn attend(at: u32, t: u32, local: u32) {
    for (var j = local; j < K; j += WG) {
        of_interest[j] = mean_of_products(j, t, at * S);
    }
    workgroupBarrier();
    for (var j = local; j < K; j += WG) {
        var most = minus_infinity();
        for (var i = 0u; i < K; i++) {
            most = select(max(most, of_interest[i]), most, allowed[at * K + i] == 0.0);
        }
        var total = 0.0;
        for (var i = 0u; i < K; i++) {
            total += share(at, i, most);
        }
        alpha_of[j] = 0.0;
        if total == 0.0 {
            continue;
        }
        alpha_of[j] = share(at, j, most) / total;
    }
    workgroupBarrier();
}

// The weight of source 0 in the context.
fn share_of_user() -> f32 {
    var share = 0.0;
    for (var j = 0u; j < K; j++) {
        share += alpha_of[j] * user_weight[j];
    }
    return share;
}

// Column l of the context of row b at step t.
fn context_at(b: u32, t: u32, l: u32) -> f32 {
    let first = b * S * W + l;
    var sum = share_of_user() * values[first];
    for (var s = 1u; s < min(t + 1u, S); s++) {
        if taken_by[s] < K {
            sum += alpha_of[taken_by[s]] * event_weight[s] * values[first + s * W];
        }
    }
    return sum;
}

@compute @workgroup_size(WG)
fn choose(grid: Grid, me: Invocation) {
    let b = group_index(grid);
    if b >= p.batch {
        return;
    }
    let local = local_index(me, WG);
    start(local);
    workgroupBarrier();
    for (var t = 0u; t < p.t; t++) {
        let at = b * p.t + t;
        attend(at, t, local);
        for (var l = local; l < W; l += WG) {
            hidden[l] = relu(context_at(b, t, l) + own[at * W + l]);
        }
        workgroupBarrier();
        for (var j = local; j < K; j += WG) {
            var logit = noise[at * K + j];
            for (var l = 0u; l < W; l++) {
                logit += hidden[l] * weight[j * W + l];
            }
            of_interest[j] = logit;
        }
        workgroupBarrier();
        var best = K;
        for (var j = 0u; j < K; j++) {
            if allowed[at * K + j] == 0.0 {
                continue;
            }
            if best == K || of_interest[j] > of_interest[min(best, K - 1u)] {
                best = j;
            }
        }
        if local == 0u {
            actions[at] = best;
        }
        take(t, best, local);
        workgroupBarrier();
    }
}

@group(0) @binding(7) var<storage, read> taken: array<u32>;
@group(0) @binding(8) var<storage, read_write> context: array<f32>;
@group(0) @binding(9) var<storage, read_write> attention: array<f32>;
@group(0) @binding(10) var<storage, read_write> mix: array<f32>;

@compute @workgroup_size(WG)
fn context_of(grid: Grid, me: Invocation) {
    let b = group_index(grid);
    if b >= p.batch {
        return;
    }
    let local = local_index(me, WG);
    start(local);
    workgroupBarrier();
    for (var t = 0u; t < p.t; t++) {
        let at = b * p.t + t;
        attend(at, t, local);
        for (var j = local; j < K; j += WG) {
            attention[at * K + j] = alpha_of[j];
        }
        for (var l = local; l < W; l += WG) {
            context[at * W + l] = context_at(b, t, l);
        }
        workgroupBarrier();
        take(t, taken[at], local);
        workgroupBarrier();
    }
    for (var s = local; s < S; s += WG) {
        for (var j = 0u; j < K; j++) {
            var part = select(0.0, event_weight[s], taken_by[s] == j);
            if s == 0u {
                part = user_weight[j];
            }
            mix[(b * K + j) * S + s] = part;
        }
    }
}

@group(0) @binding(11) var<storage, read> alpha: array<f32>;
@group(0) @binding(12) var<storage, read> dcontext: array<f32>;
@group(0) @binding(13) var<storage, read_write> dproducts: array<f32>;
@group(0) @binding(14) var<storage, read_write> dvalues: array<f32>;

// With d = dcontext[t]:
//   dvalues[s] += (weight of s in the context) d
//   dalpha_j = mean_j(values . d),   dmean_j = alpha_j (dalpha_j - sum_i alpha_i dalpha_i),   dproducts[t, s] = weight[s] dmean_j
@compute @workgroup_size(WG)
fn backward(grid: Grid, me: Invocation) {
    let b = group_index(grid);
    if b >= p.batch {
        return;
    }
    let local = local_index(me, WG);
    start(local);
    for (var l = local; l < W; l += WG) {
        for (var s = 0u; s < S; s++) {
            dvalues[(b * S + s) * W + l] = 0.0;
        }
    }
    workgroupBarrier();
    for (var t = 0u; t < p.t; t++) {
        let at = b * p.t + t;
        let reached = min(t + 1u, S);
        for (var j = local; j < K; j += WG) {
            alpha_of[j] = alpha[at * K + j];
        }
        for (var s = local; s < reached; s += WG) {
            var sum = 0.0;
            for (var l = 0u; l < W; l++) {
                sum += values[(b * S + s) * W + l] * dcontext[at * W + l];
            }
            of_source[s] = sum;
        }
        workgroupBarrier();
        for (var l = local; l < W; l += WG) {
            let d = dcontext[at * W + l];
            let first = b * S * W + l;
            dvalues[first] += share_of_user() * d;
            for (var s = 1u; s < reached; s++) {
                if taken_by[s] < K {
                    dvalues[first + s * W] += alpha_of[taken_by[s]] * event_weight[s] * d;
                }
            }
        }
        for (var j = local; j < K; j += WG) {
            var sum = user_weight[j] * of_source[0];
            for (var s = 1u; s < reached; s++) {
                sum += select(0.0, event_weight[s] * of_source[s], taken_by[s] == j);
            }
            of_interest[j] = sum;
        }
        workgroupBarrier();
        var mean = 0.0;
        for (var j = 0u; j < K; j++) {
            mean += alpha_of[j] * of_interest[j];
        }
        for (var s = local; s < S; s += WG) {
            var d = 0.0;
            if s == 0u {
                for (var j = 0u; j < K; j++) {
                    d += user_weight[j] * alpha_of[j] * (of_interest[j] - mean);
                }
            } else if s < reached && taken_by[s] < K {
                let j = taken_by[s];
                d = event_weight[s] * alpha_of[j] * (of_interest[j] - mean);
            }
            dproducts[at * S + s] = d;
        }
        workgroupBarrier();
        take(t, taken[at], local);
        workgroupBarrier();
    }
}
