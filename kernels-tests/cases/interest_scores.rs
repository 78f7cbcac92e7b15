use crate::harness::Case;
use crate::harness::recipe::{Recipe, indices, normal};
use wgrec::kernels::interest_scores::{InterestChoice, InterestScoresBackward};
use wgrec::models::{Candidates, Output};
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    [scores(), gradients(), ties(), candidates()].concat()
}

/// [rows, interests, items, width]: few scores, tiles of either size that are not full, and panels.
fn scores() -> Vec<Case> {
    let shapes = [
        [1, 1, 1, 1],
        [5, 3, 37, 10],
        [16, 2, 16, 3],
        [17, 4, 33, 5],
        [70, 4, 130, 65],
        [49, 3, 65, 64],
        [257, 1, 70, 20],
        [3, 2, 300, 7],
        [130, 2, 5500, 3],
        [2, 2, 65_537, 1],
    ];
    let shared = Case::grid("shared", shapes, |c, s| random(c, s, false));
    let own =
        Case::grid("own", [[1, 1, 1, 1], [5, 3, 7, 10], [3, 2, 130, 65], [66, 4, 3, 16]], |c, s| random(c, s, true));
    [shared, own].concat()
}

fn items(own: bool, [rows, _, items, d]: [usize; 4]) -> Vec<usize> {
    if own { vec![rows, items, d] } else { vec![items, d] }
}

fn random(c: Case, shape: [usize; 4], own: bool) -> Case {
    let [rows, k, _, d] = shape;
    c.fixed(normal([rows, k, d]))
        .fixed(normal(items(own, shape)))
        .op(|_, x| x[0].interest_scores(x[1]))
        .reference(|x| vec![best(&x[0], &x[1]).into_iter().map(|(score, _)| score).collect()])
        .tolerance(2e-5, 1e-5)
}

/// Interests that point along an axis each, and items along one of these: no differences cross over to another interest.
fn gradients() -> Vec<Case> {
    let along = |shape: Vec<usize>, axes: usize, length: f64| {
        let d = shape[shape.len() - 1];
        let values = Tensor::f64(shape.clone(), vec![0.0; shape.iter().product()]);
        let axis = move |i: usize| i / d * 5 % axes == i % d;
        let noise = |i: usize| (i as f64 * 12.9898).sin() / (2.0 * (d as f64).sqrt());
        let value = (0..values.shape.elements()).map(|i| noise(i) + if axis(i) { length } else { 0.0 });
        Recipe::exactly(Tensor::f64(shape, value.collect()))
    };
    let of = |c: Case, shape: [usize; 4], own: bool| {
        let [rows, k, _, d] = shape;
        c.input(along(vec![rows, k, d], k, 6.0))
            .input(along(items(own, shape), k, 3.0))
            .op(|_, x| x[0].interest_scores(x[1]))
            .reference(|x| vec![best(&x[0], &x[1]).into_iter().map(|(score, _)| score).collect()])
            .tolerance(2e-5, 1e-5)
    };
    let shapes = [[1, 1, 1, 1], [5, 3, 7, 4], [19, 4, 33, 66], [130, 2, 70, 3]];
    let shared = Case::grid("gradient", shapes, |c, s| of(c, s, false));
    let own = Case::grid("gradient_of_own", [[1, 1, 1, 1], [5, 3, 7, 4], [4, 2, 130, 65]], |c, s| of(c, s, true));
    [shared, own].concat()
}

/// Small integers, so that many interests are equally good: the first takes all. Sums of more terms than a launch adds, too.
fn ties() -> Vec<Case> {
    let of = |c: Case, shape: [usize; 4], own: bool| {
        let [rows, k, w, d] = shape;
        let few = |shape: Vec<usize>| normal(shape).map(f64::round);
        c.fixed(few(vec![rows, k, d]))
            .fixed(few(items(own, shape)))
            .fixed(few(vec![rows, w]))
            .ops(|g, x| {
                let choice = g.push(InterestChoice, &x[..2]);
                let dx = g.try_push(InterestScoresBackward, &[x[0], x[1], choice, x[2]]).expect("shapes that fit");
                [&[choice], &dx[..]].concat()
            })
            .reference(|x| {
                let choice = best(&x[0], &x[1]).into_iter().map(|(_, k)| k as f64).collect();
                let [dinterests, ditems] = backward(&x[0], &x[1], &x[2]);
                vec![choice, dinterests, ditems]
            })
            // The number of an interest cannot be NaN.
            .hides_nan()
    };
    let shapes = [[1, 1, 1, 1], [7, 4, 9, 3], [40, 3, 30, 70], [2, 2, 8200, 3], [8200, 2, 2, 1]];
    let shared = Case::grid("ties", shapes, |c, s| of(c, s, false));
    let own = Case::grid("ties_of_own", [[7, 4, 9, 3], [3, 2, 130, 66]], |c, s| of(c, s, true));
    [shared, own].concat()
}

/// Candidates of every kind have the same scores: items of all rows, the same listed for each row, and one for each row. So has
/// a row of one interest as it has without the axis.
fn candidates() -> Vec<Case> {
    // [interests, whether they are unit vectors]
    Case::grid("candidates", [[1, 0], [3, 0], [3, 1]], |c, [k, cosine]| {
        let ([rows, n, w, d], cosine) = ([21, 40, 18, 10], cosine == 1);
        c.fixed(normal([n, d]))
            .fixed(normal([n, 1]))
            .fixed(normal([rows, k, d]))
            .fixed(indices([w], n))
            .ops(move |g, x| {
                let output = Output { table: x[0], bias: Some(x[1]), classes: 1..n, cosine };
                let listed = g.concat(0, &vec![x[3].reshape([1, w]); rows]);
                let firsts = listed.slice(1, 0, 1).reshape([rows]);
                let all = |users| {
                    [
                        Candidates::Shared(x[3]),
                        Candidates::Own(listed),
                        Candidates::Listed(listed),
                        Candidates::Each(firsts),
                    ]
                    .map(|candidates| output.scores(users, candidates))
                };
                let several = all(x[2]);
                if k > 1 { several.to_vec() } else { [several, all(x[2].reshape([rows, d]))].concat() }
            })
            .reference(move |x| {
                let (table, bias, ids) = (x[0].to_f64(), x[1].to_f64(), x[3].as_u32());
                let unit = |row: &[f64]| {
                    let length = row.iter().map(|x| x * x).sum::<f64>().sqrt();
                    row.iter().map(|x| x / if cosine { length } else { 1.0 }).collect::<Vec<f64>>()
                };
                let tile = ids.iter().flat_map(|&id| unit(&table[id as usize * d..][..d])).collect();
                let scores = best(&x[2], &Tensor::f64([w, d], tile)).into_iter().enumerate();
                let scores: Vec<f64> = scores.map(|(i, (score, _))| score + bias[ids[i % w] as usize]).collect();
                let each = scores.iter().copied().step_by(w).collect();
                let all = vec![scores.clone(), scores.clone(), scores, each];
                if k > 1 { all } else { [all.clone(), all].concat() }
            })
            .tolerance(2e-5, 1e-5)
    })
}

fn product(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The largest product for each row and item, and the first interest that gives it.
fn best(interests: &Tensor, items: &Tensor) -> Vec<(f64, usize)> {
    let (v, e) = (interests.to_f64(), items.to_f64());
    let ([rows, k, d], w) = ([0, 1, 2].map(|axis| interests.shape[axis]), items.shape[items.shape.len() - 2]);
    let of = |row: usize, item: usize| {
        let mut best = (f64::NEG_INFINITY, 0);
        for of in 0..k {
            let score = product(&v[(row * k + of) * d..][..d], &e[item * d..][..d]);
            best = if score > best.0 { (score, of) } else { best };
        }
        best
    };
    let own = items.shape.len() == 3;
    (0..rows * w).map(|i| of(i / w, if own { i } else { i % w })).collect()
}

/// What `dy` of each score gives to interests and items.
fn backward(interests: &Tensor, items: &Tensor, dy: &Tensor) -> [Vec<f64>; 2] {
    let (v, e, dy) = (interests.to_f64(), items.to_f64(), dy.to_f64());
    let ([_, k, d], w) = ([0, 1, 2].map(|axis| interests.shape[axis]), items.shape[items.shape.len() - 2]);
    let own = items.shape.len() == 3;
    let (mut dv, mut de) = (vec![0.0; v.len()], vec![0.0; e.len()]);
    for (i, (_, chosen)) in best(interests, items).into_iter().enumerate() {
        let (interest, item) = ((i / w * k + chosen) * d, if own { i } else { i % w } * d);
        for c in 0..d {
            dv[interest + c] += dy[i] * e[item + c];
            de[item + c] += dy[i] * v[interest + c];
        }
    }
    [dv, de]
}
