use crate::harness::Case;
use crate::harness::recipe::{distinct, given, normal};
use wgrec::kernels::reduce::{MaxBackward, Reduce, Reduction, SumSquares};
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    let mut all = vec![];
    for kind in [Reduction::Sum, Reduction::Mean, Reduction::Max] {
        let shapes = [[1, 1, 1], [7, 5, 3], [3, 257, 2], [2, 3, 256], [1, 1, 5003], [600, 1, 3], [13, 255, 1]];
        for axis in 0..3 {
            all.extend(Case::grid(&format!("{kind:?}_axis{axis}"), shapes, |c, s| reduce(c, kind, axis, s.to_vec())));
        }
        all.extend(Case::grid(&format!("{kind:?}_short_rows"), [[65_537, 2]], |c, s| reduce(c, kind, 1, s.to_vec())));
        all.extend(Case::grid(&format!("{kind:?}_long_column"), [[1025, 65]], |c, s| reduce(c, kind, 0, s.to_vec())));
    }
    // More workgroups than one dimension of a grid takes.
    all.extend(Case::grid("Sum_groups", [[65_537, 33]], |c, s| {
        c.fixed(normal(s))
            .op(|_, x| x[0].sum(1))
            .reference(|x| vec![reduced(Reduction::Sum, &x[0], 1)])
            .tolerance(1e-5, 1e-5)
    }));
    all.push(
        Case::new("max_ties")
            .fixed(normal([5, 40, 3]).map(f64::round))
            .fixed(normal([5, 3]))
            .ops(|g, x| {
                let y = x[0].max_over(1);
                vec![y, g.push(MaxBackward { axis: 1 }, &[x[0], y, x[1]])]
            })
            .reference(|x| {
                let (y, dy) = (reduced(Reduction::Max, &x[0], 1), x[1].to_f64());
                let (v, mut dx) = (x[0].to_f64(), vec![0.0; 600]);
                for o in 0..15 {
                    let place = |c: usize| (o / 3 * 40 + c) * 3 + o % 3;
                    let first = (0..40).find(|&c| v[place(c)] == y[o]).expect("the maximum is one of them");
                    dx[place(first)] = dy[o];
                }
                vec![y, dx]
            }),
    );
    all.extend(Case::grid("sum_of_squares", [[1], [257], [5003], [66_000]], |c, s| {
        c.fixed(normal(s))
            .op(|g, x| g.push(SumSquares, x))
            .reference(|x| vec![vec![x[0].to_f64().iter().map(|v| v * v).sum()]])
            .tolerance(1e-6, 1e-5)
    }));
    for used in [0, 1, 37] {
        // The rows after the count are left over from another step.
        let rest: Vec<usize> = (used * 9..37 * 9).collect();
        all.push(
            Case::new(format!("sum_of_squares_of_{used}_rows"))
                .fixed(normal([37, 9]).plant(1e30, rest))
                .fixed(given([4], [used as u32, 0, 0, 0]))
                .op(|g, x| g.push(SumSquares, x))
                .reference(move |x| vec![vec![x[0].to_f64()[..used * 9].iter().map(|v| v * v).sum()]])
                .tolerance(1e-6, 1e-5),
        );
    }
    all
}

fn reduce(c: Case, kind: Reduction, axis: usize, shape: Vec<usize>) -> Case {
    let n = shape[axis] as f64;
    let recipe = if kind == Reduction::Max { distinct(shape) } else { normal(shape) };
    c.input(recipe)
        .op(move |g, x| g.push(Reduce::new(kind, axis), x))
        .reference(move |x| vec![reduced(kind, &x[0], axis)])
        .tolerance(1e-6 * n.sqrt(), 1e-5)
}

fn reduced(kind: Reduction, x: &Tensor, axis: usize) -> Vec<f64> {
    let (outer, n, inner) = x.shape.around(axis);
    let v = x.to_f64();
    let one = |o: usize, i: usize| {
        let along = (0..n).map(|c| v[(o * n + c) * inner + i]);
        match kind {
            Reduction::Sum => along.sum(),
            Reduction::Mean => along.sum::<f64>() / n as f64,
            Reduction::Max => along.fold(f64::NEG_INFINITY, f64::max),
        }
    };
    (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i))).map(|(o, i)| one(o, i)).collect()
}
