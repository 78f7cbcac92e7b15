use crate::harness::Case;
use crate::harness::recipe::{Recipe, given, indices, integers, normal};
use wgrec::kernels::embedding::{Gather, GatherDot, GatherGrad};
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    [computed_tables(), parameters(), segments(), chunks(), dot()].concat()
}

/// Indices from 1 on: row 0 of a segmented table is padding, which differences know nothing of.
fn real(n: usize, rows: usize) -> Recipe {
    integers([n], move |s, n| (0..n).map(|_| 1 + (s.uniform() * s.uniform() * (rows - 1) as f64) as u32).collect())
}

/// Tables that are made on the way, as prompts are: the dense gradient.
fn computed_tables() -> Vec<Case> {
    // [rows, d, indices]
    let mut all =
        Case::grid("computed_table", [[1, 1, 1], [64, 3, 257], [5, 65, 40], [7, 257, 3]], |c, [rows, d, n]| {
            c.input(normal([rows, d]))
                .fixed(indices([n], rows))
                .op(|_, x| x[0].tanh().gather(x[1]))
                .reference(|x| vec![gathered(&x[0], &x[1]).into_iter().map(f64::tanh).collect()])
                .tolerance(1e-5, 1e-5)
        });
    all.push(
        Case::new("past_the_table")
            .input(normal([4, 3]))
            .fixed(given([2, 3], [0, 4, 3, 900, 2, 4_000_000_000u32]))
            .op(|g, x| g.push(Gather, x))
            .reference(|x| vec![gathered(&x[0], &x[1])]),
    );
    all
}

/// Parameters without declared segments.
fn parameters() -> Vec<Case> {
    Case::grid("parameter", [[30, 16, 100], [64, 1, 7]], |c, [rows, d, n]| {
        c.parameter(normal([rows, d]))
            .fixed(indices([n], rows))
            .fixed(indices([3, 5], rows))
            .ops(|_, x| vec![x[0].gather(x[1]).sigmoid(), x[0].gather(x[2])])
            .tolerance(1e-5, 1e-5)
    })
}

/// Row gradients by sorted segments: one list, many lists (more than one launch binds), a list that is gathered twice, one
/// that is not gathered, runs longer than a chunk, more rows than 16 bits count.
fn segments() -> Vec<Case> {
    let one = Case::grid("segments", [[2, 1, 1], [3, 5, 300], [500, 64, 257], [70_001, 3, 999]], |c, [rows, d, n]| {
        c.parameter(normal([rows, d]))
            .fixed(real(n, rows))
            .segments(0, [1])
            .op(|_, x| x[0].gather(x[1]).square())
            .tolerance(1e-4, 1e-5)
    });
    let many = [2, 4, 5, 9].into_iter().map(|lists| {
        let case = Case::new(format!("segments_of_{lists}_lists")).parameter(normal([90, 17]));
        (1..=lists)
            .fold(case, |c, i| c.fixed(real(31 * i, 90)))
            .segments(0, (1..=lists).collect::<Vec<_>>())
            .ops(|_, x| x[1..].iter().map(|&list| x[0].gather(list).tanh()).collect())
            .tolerance(1e-4, 1e-5)
    });
    let uneven = Case::new("segments_uneven_use")
        .parameter(normal([40, 8]))
        .fixed(real(21, 40))
        .fixed(real(33, 40))
        .fixed(real(5, 40))
        .segments(0, [1, 2, 3])
        .ops(|_, x| vec![x[0].gather(x[1]), x[0].gather(x[1]).square(), x[0].gather(x[3]).sin()])
        .tolerance(1e-5, 1e-5);
    // A tied table: the scores of all items use it as a matrix too.
    let tied = Case::new("segments_and_dense_use")
        .parameter(normal([70, 6]))
        .fixed(real(50, 70))
        .segments(0, [1])
        .op(|_, x| x[0].gather(x[1]).matmul_t(x[0]))
        .tolerance(1e-4, 1e-5);
    let one_row = Case::new("segments_of_one_row")
        .parameter(normal([9, 130]))
        .fixed(given([1000], vec![7; 1000]))
        .segments(0, [1])
        .op(|_, x| x[0].gather(x[1]))
        .tolerance(1e-4, 1e-5);
    one.into_iter().chain(many).chain([uneven, tied, one_row]).collect()
}

/// The sums themselves, from lists written by hand: chunks of one row are added in order, the rows after the count are
/// nobody's (here: read as far as the count goes).
fn chunks() -> Vec<Case> {
    let case = Case::new("segment_sums_by_hand")
        .fixed(given([6], [4, 0, 2, 5, 1, 3]))
        .fixed(given([5], [0, 2, 3, 6, 6]))
        .fixed(given([4], [0, 2, 3, 3]))
        .fixed(given([4], [2, 3, 6, 0]))
        .fixed(normal([4, 70]))
        .fixed(normal([2, 70]))
        .op(|g, x| g.push(GatherGrad, x).slice(0, 0, 2))
        .reference(|x| {
            let dy = [x[4].to_f64(), x[5].to_f64()].concat();
            let sum = |at: &[usize]| (0..70).map(|c| at.iter().map(|i| dy[i * 70 + c]).sum()).collect::<Vec<f64>>();
            vec![[sum(&[4, 0, 2]), sum(&[5, 1, 3])].concat()]
        });
    vec![case]
}

fn dot() -> Vec<Case> {
    // [users, items, d, candidates]
    let one =
        Case::grid("dot", [[1, 1, 1, 1], [5, 40, 64, 13], [3, 300, 65, 257], [257, 9, 3, 2]], |c, [b, n, d, w]| {
            dot_of(c.fixed(normal([b, d])), [n, d, w])
        });
    // [users, interests, items, d, candidates]
    let several = [[1, 1, 1, 1, 1], [5, 3, 40, 64, 13], [3, 4, 300, 65, 257], [257, 2, 9, 3, 2]];
    let several =
        Case::grid("dot_of_interests", several, |c, [b, k, n, d, w]| dot_of(c.fixed(normal([b, k, d])), [n, d, w]));
    [one, several].concat()
}

/// Of the users in `c`, each with w of n items.
fn dot_of(c: Case, [n, d, w]: [usize; 3]) -> Case {
    let b = c.operands[0].recipe.spec.shape[0];
    c.fixed(normal([n, d]))
        .fixed(indices([b, w], n))
        .op(|g, x| g.push(GatherDot, x))
        .reference(move |x| {
            let (users, rows) = (x[0].to_f64(), gathered(&x[1], &x[2]));
            let of_user = users.len() / b;
            let product = |user: &[f64], i: usize| (0..d).map(|c| user[c] * rows[i * d + c]).sum::<f64>();
            let score = |i: usize| {
                let interests = users[i / w * of_user..][..of_user].chunks(d);
                interests.map(|interest| product(interest, i)).fold(f64::NEG_INFINITY, f64::max)
            };
            vec![(0..b * w).map(score).collect()]
        })
        .tolerance(2e-5, 1e-5)
}

/// Rows by index; zeros where there is no such row.
fn gathered(table: &Tensor, indices: &Tensor) -> Vec<f64> {
    let (d, t) = (table.shape[1], table.to_f64());
    let row = |&i: &u32| if (i as usize) < table.shape[0] { t[i as usize * d..][..d].to_vec() } else { vec![0.0; d] };
    indices.as_u32().iter().flat_map(row).collect()
}
