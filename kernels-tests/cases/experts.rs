use crate::harness::Case;
use crate::harness::recipe::{Recipe, indices, normal};
use half::f16;
use wgrec::graph::Var;
use wgrec::kernels::experts::{Experts, Packed, Read};
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    [mixture(), linear(), listed(), dropped()].concat()
}

/// The words of features, and what they hold.
fn packed(features: Packed, name: &str) -> (Recipe, Vec<f64>) {
    let mut stream = wgrec::tensor::philox::Stream::new(3, name, 0);
    let values: Vec<f32> =
        (0..features.rows * features.width).map(|_| f16::from_f64(stream.normal()).to_f32()).collect();
    let mut words = vec![0; features.words()];
    for (e, &x) in values.iter().enumerate() {
        match features.half {
            true => words[e / 2] |= (f16::from_f32(x).to_bits() as u32) << (16 * (e % 2)),
            false => words[e] = x.to_bits(),
        }
    }
    (Recipe::exactly(Tensor::u32([words.len()], words)), values.into_iter().map(f64::from).collect())
}

/// sum_k gates\[i, k\] x\[i\] weight\[k\], rows of x by `row`.
fn reference(
    x: &[f64],
    row: impl Fn(usize) -> Option<usize>,
    gates: Option<&Tensor>,
    weight: &Tensor,
    n: usize,
) -> Vec<f64> {
    let [experts, a, d] = [0, 1, 2].map(|axis| weight.shape[axis]);
    let (weight, gates) = (weight.to_f64(), gates.map(|gates| gates.to_f64()));
    let of = |i: usize, j: usize| {
        let Some(row) = row(i) else { return 0.0 };
        let expert = |k: usize| {
            let gate = gates.as_ref().map_or(1.0, |gates| gates[i * experts + k]);
            gate * (0..a).map(|c| x[row * a + c] * weight[(k * a + c) * d + j]).sum::<f64>()
        };
        (0..experts).map(expert).sum()
    };
    (0..n * d).map(|e| of(e / d, e % d)).collect()
}

/// [rows, width, experts, outputs, half]: one of each; less than a tile and several; columns that two experts share a quad of;
/// several parts of the weight's gradient.
fn mixture() -> Vec<Case> {
    let shapes = [
        [1, 1, 1, 1, 0],
        [7, 5, 3, 2, 1],
        [65, 17, 2, 65, 1],
        [64, 16, 4, 64, 0],
        [130, 33, 3, 10, 1],
        [1100, 6, 2, 3, 1],
        [3, 70, 8, 130, 0],
    ];
    Case::grid("mixture", shapes, |c, [rows, width, experts, d, half]| {
        let features = Packed { rows, width, half: half == 1 };
        let (words, x) = packed(features, "mixture");
        c.fixed(words)
            .input(normal([rows, experts]))
            .parameter(normal([experts, width, d]).scale(1.0 / ((width * experts) as f64).sqrt()))
            .op(move |g, x| {
                g.push(Experts { read: Read { features, listed: false, dropout: None }, gated: true }, &x[..3])
            })
            .reference(move |t| vec![reference(&x, Some, Some(&t[1]), &t[2], rows)])
            .tolerance(2e-5, 1e-5)
    })
}

/// One map, without gates.
fn linear() -> Vec<Case> {
    Case::grid("linear", [[1, 1, 1, 0], [70, 19, 30, 1], [600, 40, 4, 0]], |c, [rows, width, d, half]| {
        let features = Packed { rows, width, half: half == 1 };
        let (words, x) = packed(features, "linear");
        c.fixed(words)
            .parameter(normal([1, width, d]).scale(1.0 / (width as f64).sqrt()))
            .op(move |g, x| {
                g.push(Experts { read: Read { features, listed: false, dropout: None }, gated: false }, &x[..2])
            })
            .reference(move |t| vec![reference(&x, Some, None, &t[1], rows)])
            .tolerance(2e-5, 1e-5)
    })
}

/// Rows by a list, in which a row comes twice and one past the last is zeros.
fn listed() -> Vec<Case> {
    Case::grid("listed", [[9, 5, 3, 2, 40], [90, 21, 2, 20, 70]], |c, [rows, width, experts, d, n]| {
        let features = Packed { rows, width, half: true };
        let (words, x) = packed(features, "listed");
        c.fixed(words)
            .fixed(indices([n], rows + 2))
            .input(normal([n, experts]))
            .parameter(normal([experts, width, d]).scale(1.0 / ((width * experts) as f64).sqrt()))
            .op(move |g, x| {
                g.push(Experts { read: Read { features, listed: true, dropout: None }, gated: true }, &x[..4])
            })
            .reference(move |t| {
                let list = t[1].as_u32();
                let row = |i: usize| Some(list[i] as usize).filter(|&row| row < rows);
                vec![reference(&x, row, Some(&t[2]), &t[3], n)]
            })
            .tolerance(2e-5, 1e-5)
    })
}

/// An element is dropped by its number among the features: a list of rows has the factors that all rows have, which are those
/// of dropout of the features as a tensor.
fn dropped() -> Vec<Case> {
    Case::grid("dropped", [[30, 10, 2, 5, 1], [50, 7, 3, 18, 0]], |c, [rows, width, experts, d, half]| {
        let features = Packed { rows, width, half: half == 1 };
        let (words, x) = packed(features, "dropped");
        let dense = Tensor::f64([rows, width], x);
        c.fixed(words)
            .fixed(indices([25], rows))
            .fixed(normal([rows, experts]))
            .parameter(normal([experts, width, d]).scale(1.0 / ((width * experts) as f64).sqrt()))
            .ops(move |g, x| {
                let key = wgrec::kernels::random::key(&g.scope_name());
                let read = |listed| Read { features, listed, dropout: Some((0.3, key)) };
                let all = g.push(Experts { read: read(false), gated: true }, &[x[0], x[2], x[3], g.step()]);
                let gates = x[2].gather(x[1]);
                let some = g.push(Experts { read: read(true), gated: true }, &[x[0], x[1], gates, x[3], g.step()]);
                let dropped = g.constant(dense.clone()).dropout(0.3);
                let each = |k: usize| -> Var {
                    let weight = x[3].slice(0, k, 1).reshape([width, d]);
                    dropped.matmul(weight) * x[2].slice(1, k, 1)
                };
                let unrolled = (1..experts).map(each).fold(each(0), |sum, y| sum + y);
                vec![all - unrolled, some - unrolled.gather(x[1])]
            })
            .reference(move |_| vec![vec![0.0; rows * d], vec![0.0; 25 * d]])
            .tolerance(2e-5, 1e-5)
    })
}
