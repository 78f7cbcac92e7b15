use crate::harness::Case;
use crate::harness::recipe::normal;
use wgrec::graph::{Graph, Var};
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    // [count, n, terms]: I + E E^T of E [count, n, terms] (which alone has less than full rank for some).
    let shapes = [[1, 1, 1], [3, 2, 5], [2, 7, 3], [17, 12, 12], [2, 33, 8], [2, 64, 80], [300, 3, 4]];
    Case::grid("gram", shapes, |c, [count, n, terms]| {
        c.input(normal([count, n, terms]))
            .op(|g, x| matrices(g, x[0]).log_det())
            .reference(|x| vec![reference(&x[0])])
            .tolerance(1e-5, 1e-5)
    })
}

fn matrices<'g>(g: &'g Graph, e: Var<'g>) -> Var<'g> {
    let n = e.shape()[1];
    let one = (0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }).collect();
    e.matmul_t(e) + g.constant(Tensor::f32([n, n], one))
}

/// By Gaussian elimination with row exchanges.
fn reference(e: &Tensor) -> Vec<f64> {
    let ([count, n, terms], e) = ([0, 1, 2].map(|i| e.shape[i]), e.to_f64());
    let one = |b: usize| {
        let row = |i: usize| &e[(b * n + i) * terms..][..terms];
        let entry = |i: usize, j: usize| {
            row(i).iter().zip(row(j)).map(|(x, y)| x * y).sum::<f64>() + if i == j { 1.0 } else { 0.0 }
        };
        let mut a: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect();
        let mut sum = 0.0;
        for j in 0..n {
            let pivot = (j..n).max_by(|&i, &k| a[i][j].abs().total_cmp(&a[k][j].abs())).expect("a row is left");
            a.swap(j, pivot);
            sum += a[j][j].abs().ln();
            for i in j + 1..n {
                let factor = a[i][j] / a[j][j];
                (j..n).for_each(|k| a[i][k] -= factor * a[j][k]);
            }
        }
        sum
    };
    (0..count).map(one).collect()
}
