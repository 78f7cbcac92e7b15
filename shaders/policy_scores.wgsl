// Scores of items by the interest that a policy chooses for each.
//   alpha = softmax_k(products[r, k, i]) among the interests with used[r, k]
//   hidden = relu(sum_k alpha_k values[r, k] + own[i]),   logits = hidden weight + bias
//   choice[r, i] = the first largest logit among these interests;   score[r, i] = products[r, choice, i] + offset[r, choice]
// products: [rows, K, n]; values: [rows, K, w]; own: [n, w], or [rows, n, w] where OWN; weight: [w, K]; bias: [K]; offset, used:
// [rows, K]; score, choice: [rows, n]. A score is NaN where a logit is; without interests it is 0, and the choice K.
// One invocation a score, with 8 K bytes of workgroup memory that no other touches: it needs no barrier.
//!import index
//!import math
struct Params { rows: u32, n: u32, w: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> products: array<f32>;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read> own: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> offset: array<f32>;
@group(0) @binding(6) var<storage, read> used: array<f32>;
@group(0) @binding(7) var<storage, read_write> score: array<f32>;
@group(0) @binding(8) var<storage, read_write> choice: array<u32>;

// Of interest k of an invocation: element k WG + its number.
var<workgroup> alpha: array<f32, K * WG>;
var<workgroup> logits: array<f32, K * WG>;

struct Choice { interest: u32, broken: f32 }

// The interest of score e, which is that of row e / n and item e % n, and a logit that is NaN, if one is.
fn choice_of(e: u32, local: u32) -> Choice {
    let row = e / p.n;
    let item = select(e % p.n, e, OWN == 1u);
    var most = minus_infinity();
    for (var k = 0u; k < K; k++) {
        most = select(max(most, products[(row * K + k) * p.n + e % p.n]), most, used[row * K + k] == 0.0);
    }
    var total = 0.0;
    for (var k = 0u; k < K; k++) {
        var term = exp_or_nan(products[(row * K + k) * p.n + e % p.n] - most) * used[row * K + k];
        if used[row * K + k] == 0.0 {
            term = 0.0; // of an interest that the row does not have, the exponential may be infinite
        }
        alpha[k * WG + local] = term;
        logits[k * WG + local] = bias[k];
        total += term;
    }
    for (var l = 0u; l < p.w; l++) {
        var sum = 0.0;
        for (var k = 0u; k < K; k++) {
            sum += alpha[k * WG + local] * values[(row * K + k) * p.w + l];
        }
        let hidden = relu(sum / total + own[item * p.w + l]);
        for (var k = 0u; k < K; k++) {
            logits[k * WG + local] += hidden * weight[l * K + k];
        }
    }
    var best = Choice(K, 0.0);
    var largest = 0.0;
    for (var k = 0u; k < K; k++) {
        let logit = logits[k * WG + local];
        if used[row * K + k] == 0.0 {
            continue;
        }
        best.broken = keep_nan(logit, best.broken);
        if best.interest == K || logit > largest {
            best.interest = k;
            largest = logit;
        }
    }
    return best;
}

@compute @workgroup_size(WG)
fn score_items(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e >= p.rows * p.n {
        return;
    }
    let best = choice_of(e, local_index(me, WG));
    let row = e / p.n;
    var y = 0.0;
    if best.interest < K {
        y = products[(row * K + best.interest) * p.n + e % p.n] + offset[row * K + best.interest];
    }
    score[e] = keep_nan(best.broken, y);
}

@compute @workgroup_size(WG)
fn choose(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    if e < p.rows * p.n {
        choice[e] = choice_of(e, local_index(me, WG)).interest;
    }
}
