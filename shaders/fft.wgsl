// Fourier transform of real channels along a sequence, and its inverse, scaled by 1 / sqrt(T) both (`ortho`).
//   forward:  Y[b, k, c] = g_k / sqrt(T) sum_n x[b, n, c] e^(-2 pi i k n / T),   k <= T / 2
//   inverse:  y[b, n, c] = 1 / sqrt(T) sum_k m_k Re(g_k X[b, k, c] e^(2 pi i k n / T)),   m_k = 1 where 2 k mod T = 0, else 2
// g_k = 1 there, else p.inner: 1; 2 in the gradient of the inverse; 1/2 in that of the forward transform.
// x, y: [B, T, d]; spectrum: [B, T / 2 + 1, 2, d], of each frequency all real parts before all imaginary ones.
// One workgroup a sequence and tile of channels, one read and one write of everything; memory and cost: lib/fourier.wgsl.
//!import fourier
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(WG)
fn forward(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    let b = g / tiles();
    if b >= p.batch {
        return;
    }
    let first = g % tiles() * p.pairs;
    let local = local_index(me, WG);
    let half = half_width();
    for (var e = local; e < p.t * p.pairs; e += WG) {
        let c = first + e % p.pairs;
        let at = (b * p.t + e / p.pairs) * p.d + c;
        var z = vec2(0.0);
        if c < half {
            z.x = x[at];
        }
        if c + half < p.d {
            z.y = x[at + half];
        }
        numbers[e] = z;
    }
    transform(local);
    for (var e = local; e < frequencies() * p.pairs; e += WG) {
        let k = e / p.pairs;
        let c = first + e % p.pairs;
        let v = p.scale * weight_of(k) * pair_at(k, e % p.pairs);
        let at = (b * frequencies() + k) * 2u * p.d + c;
        if c < half {
            y[at] = v.x;
            y[at + p.d] = v.y;
        }
        if c + half < p.d {
            y[at + half] = v.z;
            y[at + half + p.d] = v.w;
        }
    }
}

@compute @workgroup_size(WG)
fn inverse(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    let b = g / tiles();
    if b >= p.batch {
        return;
    }
    let first = g % tiles() * p.pairs;
    let local = local_index(me, WG);
    let half = half_width();
    for (var e = local; e < frequencies() * p.pairs; e += WG) {
        let k = e / p.pairs;
        let c = first + e % p.pairs;
        let at = (b * frequencies() + k) * 2u * p.d + c;
        var v = vec4(0.0);
        if c < half {
            v.x = x[at];
            v.y = x[at + p.d];
        }
        if c + half < p.d {
            v.z = x[at + half];
            v.w = x[at + half + p.d];
        }
        set_pair(k, e % p.pairs, p.scale * weight_of(k) * v);
    }
    transform(local);
    for (var e = local; e < p.t * p.pairs; e += WG) {
        let c = first + e % p.pairs;
        let at = (b * p.t + e / p.pairs) * p.d + c;
        if c < half {
            y[at] = numbers[e].x;
        }
        if c + half < p.d {
            y[at + half] = numbers[e].y;
        }
    }
}
