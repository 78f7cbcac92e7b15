use crate::harness::Case;
use crate::harness::recipe::normal;
use wgrec::kernels::min_norm::MinNorm;
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    // [vectors, elements]
    let shapes = [[1, 3], [2, 2], [2, 40], [3, 5], [5, 9], [8, 30]];
    Case::grid("gram", shapes, |c, shape| {
        c.fixed(normal(shape))
            .op(|g, x| g.try_push(MinNorm, &[x[0].matmul_t(x[0])]).unwrap_or_else(|e| panic!("{e}"))[0])
            .reference(|x| vec![reference(&x[0])])
            .tolerance(1e-4, 1e-4)
    })
}

/// By steps that move weight between the two vectors that gain most by it.
fn reference(vectors: &Tensor) -> Vec<f64> {
    let ([t, n], x) = ([0, 1].map(|i| vectors.shape[i]), vectors.to_f64());
    let product = |i: usize, j: usize| (0..n).map(|k| x[i * n + k] * x[j * n + k]).sum::<f64>();
    let mut a = vec![1.0 / t as f64; t];
    for _ in 0..200_000 {
        let slopes: Vec<f64> = (0..t).map(|i| (0..t).map(|j| product(i, j) * a[j]).sum()).collect();
        let to = (0..t).min_by(|&i, &j| slopes[i].total_cmp(&slopes[j])).expect("a vector");
        let used = (0..t).filter(|&i| a[i] > 0.0);
        let from = used.max_by(|&i, &j| slopes[i].total_cmp(&slopes[j])).expect("weights sum to 1");
        let curvature = product(to, to) + product(from, from) - 2.0 * product(to, from);
        if slopes[from] - slopes[to] < 1e-14 || curvature <= 0.0 {
            break;
        }
        let moved = ((slopes[from] - slopes[to]) / curvature).min(a[from]);
        (a[to], a[from]) = (a[to] + moved, a[from] - moved);
    }
    a
}
