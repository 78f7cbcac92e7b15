// Bayesian personalised ranking (Rendle et al., UAI 2009), weighted over the batch and averaged over the negatives.
//   loss = sum_b w[b] mean_j softplus(negative[b, j] - positive[b]) / W,   W = sum_b w[b], or 1 where that is 0
//   dnegative[b, j] = dloss w[b] sigmoid(negative[b, j] - positive[b]) / (W n),   dpositive[b] = -sum_j dnegative[b, j]
// positive, weight, dpositive: [B]; negative, dnegative: [B, n]; loss, dloss: one number.
// softplus = -log sigmoid of the opposite, without overflow. WG * 4 bytes of workgroup memory.
//!import index
//!import reduce
//!import math
//!import sum
struct Params { batch: u32, n: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> positive: array<f32>;
@group(0) @binding(1) var<storage, read> negative: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> loss: array<f32>;

fn total_weight(local: u32) -> f32 {
    var weights = Sum();
    for (var b = local; b < p.batch; b += WG) {
        add(&weights, weight[b]);
    }
    let sum = sum_of_group(total(weights), local);
    return keep_nan(sum, select(1.0, sum, sum > 0.0));
}

// One workgroup walks the whole batch: it is small, and the order of the sum stays fixed.
@compute @workgroup_size(WG)
fn forward(grid: Grid, me: Invocation) {
    let local = local_index(me, WG);
    var all = Sum();
    for (var b = local; b < p.batch; b += WG) {
        var losses = Sum();
        for (var j = b * p.n; j < (b + 1u) * p.n; j++) {
            add(&losses, softplus(negative[j] - positive[b]));
        }
        add(&all, weight[b] * total(losses) / f32(p.n));
    }
    let sum = sum_of_group(total(all), local);
    let weights = total_weight(local);
    if local == 0u {
        loss[0] = sum / weights;
    }
}

@group(0) @binding(4) var<storage, read> dloss: array<f32>;
@group(0) @binding(5) var<storage, read_write> dpositive: array<f32>;
@group(0) @binding(6) var<storage, read_write> dnegative: array<f32>;

// One invocation a row of the batch; each workgroup adds up all weights once more, which is cheaper than another launch.
@compute @workgroup_size(WG)
fn backward(grid: Grid, me: Invocation) {
    let local = local_index(me, WG);
    let scale = dloss[0] / (total_weight(local) * f32(p.n));
    let b = thread_index(grid, me, WG);
    if b >= p.batch {
        return;
    }
    var sum = Sum();
    for (var j = b * p.n; j < (b + 1u) * p.n; j++) {
        let gradient = weight[b] * scale * sigmoid(negative[j] - positive[b]);
        dnegative[j] = gradient;
        add(&sum, gradient);
    }
    dpositive[b] = -total(sum);
}
