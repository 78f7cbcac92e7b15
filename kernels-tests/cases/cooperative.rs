//! Products that an adapter with cooperative matrices makes with them where the operands are stored as f16 (the trials `f16`).
//! Elsewhere these are cases of matmul.wgsl.

use super::matmul::finish;
use crate::harness::Case;
use crate::harness::recipe::{Recipe, normal};
use wgrec::kernels::matmul::{Activation, MatMul};

pub fn cases() -> Vec<Case> {
    let mut all = vec![];
    for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
        let name = |what: &str| format!("{what}_{}{}", ["n", "t"][ta as usize], ["n", "t"][tb as usize]);
        let op = MatMul::new(ta, tb);
        // Less than a tile, one, several with ends that fill none, and terms that fill no step.
        let extents = [[1, 16, 16, 16], [1, 64, 64, 64], [1, 132, 72, 100], [3, 36, 20, 44], [2, 68, 68, 8]];
        all.extend(Case::grid(&name("batched"), extents, |c, [batch, m, n, k]| {
            let (a, b) =
                (if ta { [batch, k, m] } else { [batch, m, k] }, if tb { [batch, n, k] } else { [batch, k, n] });
            finish(c.input(normal(a)).input(normal(b)), op, k)
        }));
        all.extend(Case::grid(&name("shared"), [[4, 24, 40, 32]], |c, [batch, m, n, k]| {
            let (a, b) = (if ta { [batch, k, m] } else { [batch, m, k] }, if tb { [n, k] } else { [k, n] });
            finish(c.input(normal(a)).input(normal(b)), op, k)
        }));
    }
    // Rows that are no multiple of four: the tiles of matmul.wgsl.
    all.extend(Case::grid("odd_rows", [[33, 17, 19]], |c, [m, n, k]| {
        finish(c.input(normal([m, k])).input(normal([k, n])), MatMul::new(false, false), k)
    }));
    all.extend(Case::grid("long_sum", [[2056, 20, 24], [5000, 64, 64]], |c, [k, m, n]| {
        finish(c.input(normal([k, m])).input(normal([k, n])), MatMul::new(true, false), k).tolerance(3e-4, 1e-5)
    }));
    for activation in [Activation::Relu, Activation::Tanh, Activation::Sigmoid] {
        let op = MatMul { activation, bias: true, ..MatMul::new(false, true) };
        all.extend(Case::grid(&format!("linear_{activation:?}"), [[2, 33, 36, 24]], |c, [b, m, n, k]| {
            // As in the cases of matmul: no sum is near the kink of relu.
            let coarse = |x: Recipe| x.map(|v| (v * 4.0).round() / 4.0);
            let bias = coarse(normal([n])).map(|v| v + 1.0 / 32.0);
            finish(c.input(coarse(normal([b, m, k]))).input(coarse(normal([n, k]))).input(bias), op, k)
        }));
    }
    all
}
