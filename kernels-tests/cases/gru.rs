use crate::harness::Case;
use crate::harness::recipe::{Recipe, given, keep, normal};
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
    [full, left, right, between, nothing, far].concat()
}

fn states([b, t, h]: [usize; 3]) -> Recipe {
    normal([b, t, 3 * h])
}

fn gru(c: Case, [_, _, h]: [usize; 3], x: Recipe, keep: Recipe) -> Case {
    c.input(x)
        .input(normal([3 * h, h]).scale(1.0 / (h as f64).sqrt()))
        .input(normal([3 * h]).scale(0.5))
        .fixed(keep)
        .op(|_, x| x[0].gru(x[1], x[2], x[3]))
        .reference(|x| vec![reference(&x[0], &x[1], &x[2], &x[3])])
        .tolerance(5e-6, 1e-5)
}

fn reference(x: &Tensor, weight: &Tensor, bias: &Tensor, keep: &Tensor) -> Vec<f64> {
    let (t, h) = (x.shape[1], weight.shape[1]);
    let (x, weight, bias, keep) = (x.to_f64(), weight.to_f64(), bias.to_f64(), keep.as_u32());
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
                (1.0 - z) * n + z * state[j]
            };
            if keep[place] != 0 {
                state = (0..h).map(unit).collect();
            }
            all.extend_from_slice(&state);
        }
    }
    all
}
