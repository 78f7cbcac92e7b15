// A filter in the frequencies of a sequence (Zhou et al., WWW 2022, equation 6; DPCPL, equation 2):
//   y = irfft(W rfft(x)),   one complex number W[k, c] a frequency and channel, ortho scaling
// x, y, dy: [B, T, d]; weight, dweight: [T / 2 + 1, 2, d], real parts before imaginary ones. As the imaginary parts of the
// frequencies that are their own mirror (0 and T / 2) are dropped by irfft, those of W have no effect, and gradient 0.
// The gradient by x is the same with conj W (p.sign = -1). That by W sums over the batch
//   dW[k, c] = m_k sum_b conj(X[b, k, c]) D[b, k, c],   X = rfft(x), D = rfft(dy), m_k = 1 where k is its own mirror, else 2:
// `weight_parts` over p.chunk sequences, in `partial` [chunks, T / 2 + 1, 2, d], `weight_join` in their order.
// One workgroup a sequence (or chunk) and tile of channels; both transforms and the product stay in workgroup memory, one
// read and one write of everything; memory and cost: lib/fourier.wgsl.
//!import fourier
//!import sum
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

// Sequence b of x, the pairs from channel `first` on.
fn load_x(b: u32, first: u32, local: u32) {
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
}

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
    load_x(b, first, local);
    transform(local);
    for (var e = local; e < frequencies() * p.pairs; e += WG) {
        let k = e / p.pairs;
        let c = first + e % p.pairs;
        let at = k * 2u * p.d + c;
        var w = vec4(0.0);
        if c < half {
            w.x = weight[at];
            w.y = p.sign * weight[at + p.d];
        }
        if c + half < p.d {
            w.z = weight[at + half];
            w.w = p.sign * weight[at + half + p.d];
        }
        let v = pair_at(k, e % p.pairs);
        set_pair(k, e % p.pairs, p.scale * vec4(times(v.xy, w.xy), times(v.zw, w.zw)));
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

@group(0) @binding(4) var<storage, read> dy: array<f32>;
@group(0) @binding(5) var<storage, read_write> partial: array<f32>;
@group(0) @binding(6) var<storage, read_write> dweight: array<f32>;

@compute @workgroup_size(WG)
fn weight_parts(grid: Grid, me: Invocation) {
    let g = group_index(grid);
    let part = g / tiles();
    if part * p.chunk >= p.batch {
        return;
    }
    let first = g % tiles() * p.pairs;
    let local = local_index(me, WG);
    let half = half_width();
    // The spectrum of x at an invocation's frequencies, while that of dy overwrites the shared one, and the sums.
    var seen: array<vec4<f32>, PER_INVOCATION>;
    var sums: array<vec4<f32>, PER_INVOCATION>;
    for (var b = part * p.chunk; b < min((part + 1u) * p.chunk, p.batch); b++) {
        load_x(b, first, local);
        transform(local);
        //!unroll
        for (var j = 0u; j < PER_INVOCATION; j++) {
            let e = local + j * WG;
            if e < frequencies() * p.pairs {
                seen[j] = pair_at(e / p.pairs, e % p.pairs);
            }
        }
        workgroupBarrier(); // before dy takes its place
        for (var e = local; e < p.t * p.pairs; e += WG) {
            let c = first + e % p.pairs;
            let at = (b * p.t + e / p.pairs) * p.d + c;
            var z = vec2(0.0);
            if c < half {
                z.x = dy[at];
            }
            if c + half < p.d {
                z.y = dy[at + half];
            }
            numbers[e] = z;
        }
        transform(local);
        //!unroll
        for (var j = 0u; j < PER_INVOCATION; j++) {
            let e = local + j * WG;
            if e < frequencies() * p.pairs {
                let d = pair_at(e / p.pairs, e % p.pairs);
                let conjugate = seen[j] * vec4(1.0, -1.0, 1.0, -1.0);
                sums[j] += vec4(times(conjugate.xy, d.xy), times(conjugate.zw, d.zw));
            }
        }
        workgroupBarrier(); // before the next sequence takes its place
    }
    //!unroll
    for (var j = 0u; j < PER_INVOCATION; j++) {
        let e = local + j * WG;
        let k = e / p.pairs;
        let c = first + e % p.pairs;
        if k < frequencies() {
            let v = p.scale * weight_of(k) * sums[j];
            let at = (part * frequencies() + k) * 2u * p.d + c;
            if c < half {
                partial[at] = v.x;
                partial[at + p.d] = v.y;
            }
            if c + half < p.d {
                partial[at + half] = v.z;
                partial[at + half + p.d] = v.w;
            }
        }
    }
}

@compute @workgroup_size(WG)
fn weight_join(grid: Grid, me: Invocation) {
    let e = thread_index(grid, me, WG);
    let count = frequencies() * 2u * p.d;
    if e >= count {
        return;
    }
    var sum = Sum();
    for (var part = 0u; part * p.chunk < p.batch; part++) {
        add(&sum, partial[part * count + e]);
    }
    dweight[e] = total(sum);
}
