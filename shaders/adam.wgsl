// Adam (Kingma and Ba, ICLR 2015) with decoupled (AdamW) or L2 weight decay, over states p, m, v in place.
//   g' = scale g (+ decay p, if L2)    m = beta1 m + (1 - beta1) g'    v = beta2 v + (1 - beta2) g'^2
//   p = p (1 - lr decay, if decoupled) - lr m correction1 / (sqrt(v correction2) + eps)
// correction_i = 1 / (1 - beta_i^t) and lr come with the step; 1 - beta_i from the host, in f64: here 1 - 0.999 would be
// off in the fifth digit. Moments below 1e-30 are set to 0: denormal numbers are slow or flushed, as the device likes.
// Where scale is 0 all stays as it is: gradients overflowed (f16). One invocation an element.
//!import index
//!import math
//!import step
struct Params {
    beta1: f32,
    beta2: f32,
    rest1: f32, // 1 - beta1
    rest2: f32, // 1 - beta2
    eps: f32,
    decay: f32, // of a table; flat states have theirs in `rates`
    decoupled: u32,
    n: u32,     // elements of p, or of `values` (lazy)
    cap: u32,   // length of `rows`
}
var<immediate> settings: Params;
@group(0) @binding(0) var<storage, read_write> p: array<f32>;
@group(0) @binding(1) var<storage, read_write> m: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read> step: array<u32>;
@group(0) @binding(4) var<storage, read> scale: array<f32>;

fn flushed(x: f32) -> f32 {
    return keep_nan(x, select(x, 0.0, abs(x) < 1e-30));
}

fn update(i: u32, gradient: f32, lr_factor: f32, decay: f32) {
    if scale[0] == 0.0 {
        return;
    }
    let lr = bitcast<f32>(step[STEP_LR]) * lr_factor;
    var g = gradient * scale[0];
    var shrunk = p[i];
    if settings.decoupled == 1u {
        shrunk *= 1.0 - lr * decay;
    } else {
        g += decay * p[i];
    }
    let m_new = flushed(settings.beta1 * m[i] + settings.rest1 * g);
    let v_new = flushed(settings.beta2 * v[i] + settings.rest2 * g * g);
    m[i] = m_new;
    v[i] = v_new;
    let m_hat = m_new * bitcast<f32>(step[STEP_CORRECTION1]);
    let v_hat = v_new * bitcast<f32>(step[STEP_CORRECTION2]);
    p[i] = shrunk - lr * m_hat / (sqrt(v_hat) + settings.eps);
}

@group(0) @binding(5) var<storage, read> g: array<f32>;     // [n]
@group(0) @binding(6) var<storage, read> rates: array<f32>; // [n / 64, 2]: factor on lr (0: frozen), decay

@compute @workgroup_size(WG)
fn flat(grid: Grid, me: Invocation) {
    let i = thread_index(grid, me, WG);
    if i >= settings.n {
        return;
    }
    let block = i / 64u;
    if rates[2u * block] == 0.0 {
        return;
    }
    update(i, g[i], rates[2u * block], rates[2u * block + 1u]);
}

// p, m, v: [n / D, D]. The gradient of rows[r] is values[r], r < counts[0], rows ascending; 0 for all other rows.
@group(0) @binding(7) var<storage, read> values: array<f32>;
@group(0) @binding(8) var<storage, read> rows: array<u32>;
@group(0) @binding(9) var<storage, read> counts: array<u32>;

@compute @workgroup_size(WG)
fn table(grid: Grid, me: Invocation) {
    let i = thread_index(grid, me, WG);
    if i >= settings.n {
        return;
    }
    let row = i / D;
    let used = min(settings.cap, counts[0]);
    var low = 0u; // the first index among rows[0..used] that is not below `row`
    var high = used;
    while low < high {
        let middle = (low + high) / 2u;
        if rows[middle] < row {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    var gradient = 0.0;
    if low < used && rows[low] == row {
        gradient = values[low * D + i % D];
    }
    update(i, gradient, 1.0, settings.decay);
}

// As `table`, but rows without a gradient stay as they are. One invocation an element of `values`.
@compute @workgroup_size(WG)
fn lazy(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    let r = e / D;
    if r >= min(settings.cap, counts[0]) {
        return;
    }
    update(rows[r] * D + e % D, values[e], 1.0, settings.decay);
}
