use crate::harness::Case;
use crate::harness::recipe::{Recipe, given, keep, normal, uniform};
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    // [B, T, H]
    let shapes = [[1, 1, 1], [3, 2, 7], [2, 20, 64], [2, 3, 100], [2, 2, 257], [1, 257, 3], [70, 3, 5]];
    let full = Case::grid("full", shapes, |c, s| gru(c, s, states(s), keep([s[0], s[1]], 1.0)));
    // Lengths 0 to T, at the left end or the right.
    let padded = |right: bool| {
        move |c: Case, [b, t, h]: [usize; 3]| {
            let kept = move |i: usize| if right { i % t < i / t % (t + 1) } else { t - i % t <= i / t % (t + 1) };
            let mask: Vec<u32> = (0..b * t).map(|i| kept(i) as u32).collect();
            gru(c, [b, t, h], states([b, t, h]), given([b, t], mask))
        }
    };
    let left = Case::grid("padding_left", [[4, 3, 7], [35, 20, 4]], padded(false));
    let right = Case::grid("padding_right", [[4, 3, 7], [35, 20, 4]], padded(true));
    let between = Case::grid("padding_in_between", [[5, 20, 7], [3, 6, 65]], |c, s| {
        gru(c, s, states(s), keep([s[0], s[1]], 0.6))
    });
    let nothing = Case::grid("nothing_kept", [[3, 5, 7]], |c, s| gru(c, s, states(s), keep([s[0], s[1]], 0.0)));
    // Gates that are shut or open for good.
    let far = Case::grid("outliers", [[3, 20, 16]], |c, s| gru(c, s, states(s).outliers(40), keep([s[0], s[1]], 0.8)));
    let weighted = Case::grid("weighted", shapes, |c, s| weighted(c, s, states(s)));
    let far_weighted =
        Case::grid("weighted_outliers", [[3, 20, 16]], |c, s| self::weighted(c, s, states(s).outliers(40)));
    [full, left, right, between, nothing, far, weighted, far_weighted].concat()
}

fn states([b, t, h]: [usize; 3]) -> Recipe {
    normal([b, t, 3 * h])
}

/// Sequences, and what the states have of their own.
fn sequences(c: Case, h: usize, x: Recipe) -> Case {
    c.input(x).input(normal([3 * h, h]).scale(1.0 / (h as f64).sqrt())).input(normal([3 * h]).scale(0.5))
}

fn gru(c: Case, [_, _, h]: [usize; 3], x: Recipe, keep: Recipe) -> Case {
    let new_state = |keep: f64, z: f64, n: f64, h: f64| if keep == 0.0 { h } else { (1.0 - z) * n + z * h };
    sequences(c, h, x)
        .fixed(keep)
        .op(|_, x| x[0].gru(x[1], x[2], x[3]))
        .reference(move |x| vec![reference(&x[0], &x[1], &x[2], &x[3], new_state)])
        .tolerance(5e-6, 1e-5)
}

/// Weights from 0 to 1, of which a third are 0.
fn weighted(c: Case, [b, t, h]: [usize; 3], x: Recipe) -> Case {
    let new_state = |keep: f64, z: f64, n: f64, h: f64| (1.0 - keep * z) * h + keep * z * n;
    sequences(c, h, x)
        .input(uniform([b, t], -0.5, 1.0).map(|weight| weight.max(0.0)))
        .op(|_, x| x[0].weighted_gru(x[1], x[2], x[3]))
        .reference(move |x| vec![reference(&x[0], &x[1], &x[2], &x[3], new_state)])
        .tolerance(5e-6, 1e-5)
}

/// `new_state` of keep, z, n and the old state.
fn reference(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    keep: &Tensor,
    new_state: fn(f64, f64, f64, f64) -> f64,
) -> Vec<f64> {
    let (t, h) = (x.shape[1], weight.shape[1]);
    let (x, weight, bias, keep) = (x.to_f64(), weight.to_f64(), bias.to_f64(), keep.to_f64());
    let sigmoid = |v: f64| 1.0 / (1.0 + (-v).exp());
    let mut all = vec![];
    for sequence in 0..keep.len() / t {
        let mut state = vec![0.0; h];
        for place in sequence * t..(sequence + 1) * t {
            let of_state = |row: usize| bias[row] + (0..h).map(|k| weight[row * h + k] * state[k]).sum::<f64>();
            let of_input = |row: usize| x[place * 3 * h + row];
            let unit = |j: usize| {
                let r = sigmoid(of_input(j) + of_state(j));
                let z = sigmoid(of_input(h + j) + of_state(h + j));
                let n = (of_input(2 * h + j) + r * of_state(2 * h + j)).tanh();
                new_state(keep[place], z, n, state[j])
            };
            state = (0..h).map(unit).collect();
            all.extend_from_slice(&state);
        }
    }
    all
}
