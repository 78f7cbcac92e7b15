// A gated recurrent unit over a sequence (Cho et al., EMNLP 2014, in PyTorch's form), from a state of zeros:
//   [r, z, n'] = x[b, t] + [h, 0] W + bias,   m = h W_n + bias_n
//   r, z = sigmoid(r'), sigmoid(z');   n = tanh(x_n + r m);   h <- (1 - z) n + z h
// x: [B, T, 3H], the inputs' part of the gates, made outside; h, y, dy, before: [B, T, H]; saved: [B, T, 4H], r, z, n, m.
// weight: [H, 3H] in `forward`, transposed in `backward`: neighbouring invocations read neighbouring elements in both.
// keep: [B, T], 0 = a position that keeps the state unchanged, and nothing flows into its gates.
// WEIGHTED 1: keep weighs each position, and z is the share of the new value: h <- h + keep z (n - h).
// One workgroup a sequence, its invocations take the H units of a step; 8 H bytes of workgroup memory forward, 16 H backward.
//!import index
//!import math
struct Params { batch: u32, t: u32 }
var<immediate> p: Params;
@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read> keep: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;
@group(0) @binding(5) var<storage, read_write> saved: array<f32>;

// The state before a step and the one after it, in turn: a step needs one barrier.
var<workgroup> states: array<f32, 2u * H>;

@compute @workgroup_size(WG)
fn forward(grid: Grid, me: Invocation) {
    let b = group_index(grid);
    if b >= p.batch {
        return;
    }
    let local = local_index(me, WG);
    for (var j = local; j < H; j += WG) {
        states[j] = 0.0;
    }
    workgroupBarrier();
    for (var t = 0u; t < p.t; t++) {
        let place = b * p.t + t;
        let old = t % 2u * H;
        for (var j = local; j < H; j += WG) {
            var sums = vec3(bias[j], bias[H + j], bias[2u * H + j]);
            for (var k = 0u; k < H; k++) {
                let w = k * 3u * H + j;
                sums += states[old + k] * vec3(weight[w], weight[w + H], weight[w + 2u * H]);
            }
            let own = place * 3u * H + j;
            let r = sigmoid(x[own] + sums.x);
            let z = sigmoid(x[own + H] + sums.y);
            let n = tanh_accurate(x[own + 2u * H] + r * sums.z);
            let h = states[old + j];
            var next = select(h, n + z * (h - n), keep[place] != 0.0);
            if WEIGHTED == 1u {
                next = h + keep[place] * z * (n - h);
            }
            states[H - old + j] = next;
            y[place * H + j] = next;
            let s = place * 4u * H + j;
            saved[s] = r;
            saved[s + H] = z;
            saved[s + 2u * H] = n;
            saved[s + 3u * H] = sums.z;
        }
        workgroupBarrier();
    }
}

@group(0) @binding(6) var<storage, read> gates: array<f32>;
@group(0) @binding(7) var<storage, read> h: array<f32>;
@group(0) @binding(8) var<storage, read> dy: array<f32>;
@group(0) @binding(9) var<storage, read_write> dx: array<f32>;
@group(0) @binding(10) var<storage, read_write> dsums: array<f32>;
@group(0) @binding(11) var<storage, read_write> third: array<f32>;

// The gradient that later steps send to the state; each element belongs to one invocation.
var<workgroup> carried: array<f32, H>;
// The gradients of this step.
var<workgroup> step_dsums: array<f32, 3u * H>;

// With dh = dy + carried:
//   dn' = dh (1 - z) (1 - n^2),   dz' = dh (h - n) z (1 - z),   dr' = dn' m r (1 - r)
//   dx = [dr', dz', dn'],   dsums = [dr', dz', dn' r],   carried = dh z + dsums W
// and in `third` the state before each step, so that the weight's gradient is one product, before^T dsums, outside.
// WEIGHTED 1, with c = keep z:
//   dn' = dh c (1 - n^2),   dz' = dh keep (n - h) z (1 - z),   carried = dh (1 - c) + dsums W
// and in `third` dh z (n - h), whose sum over units is the gradient of keep.
@compute @workgroup_size(WG)
fn backward(grid: Grid, me: Invocation) {
    let b = group_index(grid);
    if b >= p.batch {
        return;
    }
    let local = local_index(me, WG);
    for (var j = local; j < H; j += WG) {
        carried[j] = 0.0;
    }
    for (var t = p.t; t > 0u; t--) {
        let place = b * p.t + t - 1u;
        let share = keep[place];
        let kept = WEIGHTED == 1u || share != 0.0;
        for (var j = local; j < H; j += WG) {
            // Without a branch on the step: FXC refuses the barriers then (X3663).
            let before = bitcast<u32>(h[(max(place, 1u) - 1u) * H + j]);
            let state = bitcast<f32>(select(0u, before, t > 1u));
            let s = place * 4u * H + j;
            let r = gates[s];
            let z = gates[s + H];
            let n = gates[s + 2u * H];
            let dh = dy[place * H + j] + carried[j];
            // The shares of the new value and of the old one, and the gradient by z.
            var new_share = 1.0 - z;
            var old_share = z;
            var by_z = state - n;
            if WEIGHTED == 1u {
                new_share = share * z;
                old_share = 1.0 - new_share;
                by_z = share * (n - state);
                third[place * H + j] = dh * z * (n - state);
            } else {
                third[place * H + j] = state;
            }
            let dn = dh * new_share * (1.0 - n * n);
            let dz = dh * by_z * z * (1.0 - z);
            let dr = dn * gates[s + 3u * H] * r * (1.0 - r);
            let d = select(vec3(0.0), vec3(dr, dz, dn), kept);
            let own = place * 3u * H + j;
            for (var gate = 0u; gate < 3u; gate++) {
                let sum = select(d[gate], d[gate] * r, kept && gate == 2u);
                dx[own + gate * H] = d[gate];
                dsums[own + gate * H] = sum;
                step_dsums[gate * H + j] = sum;
            }
            carried[j] = select(dh, dh * old_share, kept);
        }
        workgroupBarrier();
        for (var j = local; j < H; j += WG) {
            var sum = 0.0;
            for (var i = 0u; i < 3u * H; i++) {
                sum += step_dsums[i] * weight[i * H + j];
            }
            carried[j] += sum;
        }
        workgroupBarrier(); // before the next step writes
    }
}
