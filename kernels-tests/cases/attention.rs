use crate::harness::Case;
use crate::harness::recipe::{Recipe, given, keep, normal};
use libtest_mimic::{Failed, Trial};
use wgrec::graph::{Graph, Step};
use wgrec::kernels::attention::{Attention, AttentionBackward};
use wgrec::kernels::random::key;
use wgrec::tensor::philox::philox;
use wgrec::tensor::{Spec, Tensor};

const SCOPE: &str = "encoder/attention";

pub fn cases() -> Vec<Case> {
    // [B, L, heads, head_dim]
    let shapes =
        [[1, 1, 1, 8], [3, 2, 2, 20], [2, 7, 2, 8], [1, 31, 3, 20], [2, 9, 1, 128], [1, 19, 1, 64], [2, 5, 3, 1]];
    let plain = Case::grid("plain", shapes, |c, s| attention(c, op(s, false, 0.0), s, keep([s[0], s[1]], 0.8)));
    let causal = Case::grid("causal", shapes, |c, s| attention(c, op(s, true, 0.0), s, keep([s[0], s[1]], 0.8)));
    // SASRec's 50 is no multiple of 4.
    let long = [[1, 257, 1, 8], [1, 65, 2, 50]];
    let long = [false, true].map(|causal| {
        let name = if causal { "long_causal" } else { "long" };
        Case::grid(name, long, |c, s| attention(c, op(s, causal, 0.0), s, keep([s[0], s[1]], 0.9)))
    });
    // The first sequences are padded on the left, the next on the right, the last is nothing but padding.
    let padded = [false, true].map(|causal| {
        let name = if causal { "padded_causal" } else { "padded" };
        Case::grid(name, [[3, 33, 2, 8], [3, 2, 1, 8]], |c, s| {
            let kept = |(b, i): (usize, usize)| (b == 0 && i >= s[1] / 2) || (b == 1 && i < s[1] / 2);
            let keep = (0..s[0]).flat_map(|b| (0..s[1]).map(move |i| kept((b, i)) as u32)).collect::<Vec<_>>();
            attention(c, op(s, causal, 0.0), s, given([s[0], s[1]], keep))
        })
    });
    // Rows of a length that is no multiple of 4 share the words of Philox.
    let dropout = [false, true].map(|causal| {
        let name = if causal { "dropout_causal" } else { "dropout" };
        Case::grid(name, [[1, 1, 1, 8], [2, 7, 2, 8], [1, 37, 1, 20], [2, 9, 1, 128]], |c, s| {
            attention(c, op(s, causal, 0.3), s, keep([s[0], s[1]], 0.9)).step(now())
        })
    });
    // Values 30 times as large as their neighbours.
    let outliers = Case::grid("outlying_values", [[2, 33, 1, 8]], |c, s| {
        let [x, mask] = [[s[0], s[1], s[2] * s[3]].to_vec(), [s[0], s[1]].to_vec()];
        let inputs =
            c.input(normal(x.clone())).input(normal(x.clone())).input(normal(x).outliers(5)).fixed(keep(mask, 0.9));
        // An exponent of 4 is off by 5e-7 in f32; times 30.
        run(inputs, op(s, true, 0.0)).tolerance(3e-5, 1e-5)
    });
    // Exponents of 300: only what subtracts the largest survives. They are off by 2e-5 in f32, so are weights and, times the
    // outliers of the values, outputs. Differences of this step are too coarse here: forward and backward pass by their ops.
    let far = Case::grid("outlying_exponents", [[2, 33, 1, 8], [1, 70, 1, 20]], |c, s| {
        both(c, op(s, true, 0.1), s, |x| normal(x).outliers(3)).tolerance(1e-3, 1e-4)
    });
    // Windows of Swin: biases of one group for all sequences, and of several.
    let bias = Case::grid("bias", [[1, 1, 1, 8], [4, 9, 2, 20], [6, 49, 3, 8], [2, 33, 1, 128]], |c, s| {
        biased(c, s, s[0].div_ceil(2))
    });
    let longest = Case::grid("longest", [[1, 2048, 1, 8]], |c, s| both(c, op(s, true, 0.0), s, normal));
    [vec![plain, causal], long.into(), padded.into(), dropout.into(), vec![outliers, far, bias, longest]]
        .concat()
        .concat()
}

fn op([_, _, heads, head_dim]: [usize; 4], causal: bool, p: f32) -> Attention {
    Attention { heads, causal, bias: false, scale: 1.0 / (head_dim as f64).sqrt(), p, key: key(SCOPE) }
}

/// A step of a large seed, far into a run.
fn now() -> Step {
    Step { micro: 1, ..Step::at(0x0FED_CBA9_8765_4321, 6_000_000_000, 1e-3, [0.9, 0.999]) }
}

fn attention(c: Case, op: Attention, [b, l, heads, head_dim]: [usize; 4], keep: Recipe) -> Case {
    let x = || normal([b, l, heads * head_dim]);
    run(c.input(x()).input(x()).input(x()).fixed(keep), op)
}

/// On q, k, v, keep.
fn run(c: Case, op: Attention) -> Case {
    c.op(move |g, x| g.scope(SCOPE, || x[0].attention(x[1], x[2], x[3], op.heads, op.causal, op.p as f64)))
        .reference(move |x| vec![reference(op, x, now()).0])
        .tolerance(2e-6, 1e-5)
}

/// Both passes on given operands, without differences: y, lse, dq, dk, dv.
fn both(c: Case, op: Attention, [b, l, heads, head_dim]: [usize; 4], x: impl Fn([usize; 3]) -> Recipe) -> Case {
    let x = || x([b, l, heads * head_dim]);
    c.fixed(x())
        .fixed(x())
        .fixed(x())
        .fixed(keep([b, l], 0.9))
        .fixed(normal([b, l, heads * head_dim]))
        .ops(move |g, x| {
            let step = (op.p > 0.0).then(|| g.step());
            let forward = [&x[..4], step.as_slice()].concat();
            let y = g.try_push(op, &forward).expect("the shapes fit");
            let backward = [&x[..4], &y, &x[4..], step.as_slice()].concat();
            [y, g.try_push(AttentionBackward(op), &backward).expect("the shapes fit")].concat()
        })
        .reference(move |x| {
            let (y, lse) = reference(op, x, now());
            [vec![y, lse], gradient(op, x, now())].concat()
        })
        .tolerance(2e-6, 1e-5)
        .step(now())
}

/// y and lse of sequences with the biases of `groups`.
fn biased(c: Case, [b, l, heads, head_dim]: [usize; 4], groups: usize) -> Case {
    let op = Attention { bias: true, ..op([b, l, heads, head_dim], false, 0.0) };
    let x = || normal([b, l, heads * head_dim]);
    c.fixed(x())
        .fixed(x())
        .fixed(x())
        .fixed(keep([b, l], 0.9))
        .fixed(normal([groups, heads, l, l]))
        .ops(move |g, x| g.try_push(op, x).expect("the shapes fit"))
        .reference(move |x| {
            let (y, lse) = reference(op, x, now());
            vec![y, lse]
        })
        .tolerance(2e-6, 1e-5)
}

pub fn trials() -> Vec<Trial> {
    vec![
        Trial::test("attention::refuses_what_it_cannot_do", refuses),
        Trial::test("attention::has_no_gradient_by_lse", no_gradient_by_lse),
    ]
}

fn refuses() -> Result<(), Failed> {
    let with = |heads: usize, p: f32| Attention { heads, causal: false, bias: false, scale: 1.0, p, key: key(SCOPE) };
    let cases = [
        ([2, 5, 12], [2, 5], with(5, 0.0), "12 do not make 5 heads"),
        ([2, 5, 258], [2, 5], with(2, 0.0), "258 do not make 2 heads of 1 to 128"),
        ([2, 5, 12], [2, 6], with(2, 0.0), "keep is [2, 6], expected [b, l] = [2, 5]"),
        ([2, 5, 12], [2, 5], with(2, 1.0), "a probability of 1"),
        // 2^34 weights are 2^32 groups of four; one head less fits.
        ([1024, 2048, 8], [1024, 2048], with(4, 0.1), "more weights than the counter"),
    ];
    for (x, keep, op, text) in cases {
        let g = Graph::new();
        let x = g.input("x", Spec::f32(x));
        let step = (op.p > 0.0).then(|| g.step());
        let inputs: Vec<_> = [x, x, x, g.input("keep", Spec::u32(keep))].into_iter().chain(step).collect();
        match g.try_push(op, &inputs) {
            Err(e) if e.to_string().contains(text) => {}
            Err(e) => return Err(format!("the error does not say {text:?}: {e}").into()),
            Ok(_) => return Err(format!("no error that says {text:?}").into()),
        }
    }
    let g = Graph::new();
    let (x, keep) = (g.input("x", Spec::f32([4, 5, 12])), g.input("keep", Spec::u32([4, 5])));
    for shape in [[3, 2, 5, 5], [2, 3, 5, 5]] {
        let op = Attention { bias: true, ..with(2, 0.0) };
        match g.try_push(op, &[x, x, x, keep, g.input("bias", Spec::f32(shape))]) {
            Err(e) if e.to_string().contains("biases must be those of 2 heads and of a divisor of 4 groups") => {}
            other => return Err(format!("no error, or another: {:?}", other.err().map(|e| e.to_string())).into()),
        }
    }
    let g = Graph::new();
    let x = g.input("x", Spec::f32([1024, 2048, 6]));
    g.try_push(with(3, 0.1), &[x, x, x, g.input("keep", Spec::u32([1024, 2048])), g.step()])?;
    Ok(())
}

fn no_gradient_by_lse() -> Result<(), Failed> {
    let g = Graph::new();
    let x = g.input("x", Spec::f32([1, 3, 8]));
    let y = g.try_push(op([1, 3, 1, 8], false, 0.0), &[x, x, x, g.input("keep", Spec::u32([1, 3]))])?;
    match g.gradients(y[1].sum_all(), &[x]) {
        Err(e) if e.to_string().contains("has no gradient rule") => Ok(()),
        other => Err(format!("no error, or another: {:?}", other.err().map(|e| e.to_string())).into()),
    }
}

/// exp(s - lse) and the factor of dropout for every pair \[B, H, L, L\], and lse: as the formulas have it.
fn weights(op: Attention, x: &[Tensor], step: Step) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let [b, l, dim] = [0, 1, 2].map(|i| x[0].shape[i]);
    let (q, k, keep) = (x[0].to_f64(), x[1].to_f64(), x[3].as_u32());
    let biases = if op.bias { x[4].to_f64() } else { vec![] };
    let head_dim = dim / op.heads;
    let (mut weights, mut factors, mut all_lse) = (vec![], vec![], vec![]);
    for row in 0..b * op.heads * l {
        let (b, h, i) = (row / l / op.heads, row / l % op.heads, row % l);
        let at = |i: usize| (b * l + i) * dim + h * head_dim;
        let allowed = |j: usize| keep[b * l + j] != 0 && (!op.causal || j <= i);
        let bias = |j: usize| match op.bias {
            false => 0.0,
            true => biases[((b % x[4].shape[0] * op.heads + h) * l + j) * l + i],
        };
        let exponent = |j: usize| op.scale * (0..head_dim).map(|c| q[at(i) + c] * k[at(j) + c]).sum::<f64>() + bias(j);
        let exponents: Vec<f64> = (0..l).map(|j| if allowed(j) { exponent(j) } else { f64::NEG_INFINITY }).collect();
        let largest = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let lse = if largest > f64::NEG_INFINITY {
            largest + exponents.iter().map(|s| (s - largest).exp()).sum::<f64>().ln()
        } else {
            -3e38
        };
        weights.extend(exponents.iter().map(|s| (s - lse).exp()));
        factors.extend((0..l).map(|j| if op.p > 0.0 { factor(op, (row * l + j) as u64, step) } else { 1.0 }));
        all_lse.push(lse);
    }
    (weights, factors, all_lse)
}

fn factor(op: Attention, element: u64, step: Step) -> f64 {
    let key = [step.seed as u32 ^ ((step.seed >> 32) as u32).rotate_left(16), op.key];
    let counter = [(element / 4) as u32, step.micro, step.step as u32, (step.step >> 32) as u32];
    let uniform = (philox(key, counter)[element as usize % 4] >> 8) as f64 / 2f64.powi(24);
    if uniform < op.p as f64 { 0.0 } else { 1.0 / (1.0 - op.p as f64) }
}

/// y and lse.
fn reference(op: Attention, x: &[Tensor], step: Step) -> (Vec<f64>, Vec<f64>) {
    let [l, dim] = [1, 2].map(|i| x[0].shape[i]);
    let v = x[2].to_f64();
    let (weights, factors, lse) = weights(op, x, step);
    let y = (0..v.len()).map(|e| {
        let (b, i, h, c) = (e / dim / l, e / dim % l, e % dim / (dim / op.heads), e % dim);
        let row = (b * op.heads + h) * l + i;
        (0..l).map(|j| weights[row * l + j] * factors[row * l + j] * v[(b * l + j) * dim + c]).sum()
    });
    (y.collect(), lse)
}

/// dq, dk and dv: by the chain rule through the weights and their softmax, written out.
fn gradient(op: Attention, x: &[Tensor], step: Step) -> Vec<Vec<f64>> {
    let [l, dim] = [1, 2].map(|i| x[0].shape[i]);
    let [q, k, v, dy] = [0, 1, 2, 4].map(|i| x[i].to_f64());
    let (weights, factors, _) = weights(op, x, step);
    let head_dim = dim / op.heads;
    let mut dx = vec![vec![0.0; q.len()]; 3];
    for (row, (weights, factors)) in weights.chunks(l).zip(factors.chunks(l)).enumerate() {
        let (b, h, i) = (row / l / op.heads, row / l % op.heads, row % l);
        let at = |i: usize| (b * l + i) * dim + h * head_dim;
        let dweight = |j: usize| factors[j] * (0..head_dim).map(|c| dy[at(i) + c] * v[at(j) + c]).sum::<f64>();
        let dweights: Vec<f64> = (0..l).map(dweight).collect();
        let mean: f64 = weights.iter().zip(&dweights).map(|(w, d)| w * d).sum();
        for (j, c) in (0..l).flat_map(|j| (0..head_dim).map(move |c| (j, c))) {
            let ds = op.scale * weights[j] * (dweights[j] - mean);
            dx[0][at(i) + c] += ds * k[at(j) + c];
            dx[1][at(j) + c] += ds * q[at(i) + c];
            dx[2][at(j) + c] += weights[j] * factors[j] * dy[at(i) + c];
        }
    }
    dx
}
