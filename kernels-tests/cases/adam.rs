use crate::harness::Case;
use crate::harness::recipe::{Recipe, given, normal, uniform};
use wgrec::graph::Step;
use wgrec::kernels::adam::{Adam, AdamRows, Settings};
use wgrec::tensor::Tensor;

pub fn cases() -> Vec<Case> {
    let (l2, decoupled) = (Settings::default(), Settings { decoupled: true, ..Settings::default() });
    let sizes = [[1], [64], [257], [1000]];
    let mut all = Case::grid("l2", sizes, |c, [n]| flat(c, l2, n, 3));
    all.extend(Case::grid("decoupled", sizes, |c, [n]| flat(c, decoupled, n, 3)));
    // The first update, where the corrections are largest, and one long after, where they are 1.
    all.push(flat(Case::new("first_update"), l2, 130, 0));
    all.push(flat(Case::new("update_100000"), l2, 130, 99_999));
    // What overflowed leaves everything as it was.
    let overflow = |c: Case, [n]: [usize; 1]| {
        let state = || normal([n]);
        c.state(state())
            .state(moment([n], false))
            .state(moment([n], true))
            .fixed(state().plant(f64::INFINITY, [0]))
            .of_host(uniform([n.div_ceil(Adam::BLOCK), 2], 0.1, 0.5))
            .fixed(uniform([], 0.0, 0.0))
            .ops(move |g, x| {
                g.try_push(Adam { settings: l2 }, &[x[0], x[1], x[2], x[3], x[4], g.step(), x[5]])
                    .expect("the shapes fit")
            })
            .reference(|x| x[..3].iter().map(Tensor::to_f64).collect())
    };
    all.extend(Case::grid("overflow", [[1], [257]], overflow));
    for (name, settings) in [("l2", l2), ("decoupled", decoupled)] {
        for lazy in [false, true] {
            let name = format!("{}_rows_{name}", if lazy { "lazy" } else { "all" });
            // [rows of the table, width, gradient rows, of which in use]
            let shapes = [[1, 1, 1, 1], [7, 5, 4, 3], [257, 64, 40, 33], [300, 3, 300, 300], [70, 65, 9, 0]];
            all.extend(Case::grid(&name, shapes, |c, s| rows(c, settings, lazy, s)));
        }
    }
    all
}

/// Moments: some of them denormal, which the update sets to 0 where the gradient does not lift them.
fn moment(shape: impl Into<wgrec::tensor::Shape>, positive: bool) -> Recipe {
    let recipe = normal(shape).scale(0.01).plant(1e-36, [0]);
    if positive { recipe.map(|v| v * v) } else { recipe }
}

fn at_step(c: Case, step: u64) -> Case {
    c.step(Step::at(7, step, 1e-2, [0.9, 0.999])).tolerance(1e-7, 3e-6)
}

fn flat(c: Case, settings: Settings, n: usize, step: u64) -> Case {
    let blocks = n.div_ceil(Adam::BLOCK);
    // One block in three is frozen; the others learn at their own rates, with their own decay.
    let rates = |i: usize| if i % 6 < 2 { [0.0, 0.3][i % 2] } else { 0.1 * i as f64 };
    let rates: Vec<f64> = if blocks == 1 { vec![0.7, 0.3] } else { (0..2 * blocks).map(rates).collect() };
    let rates = rates.into_iter().enumerate().fold(uniform([blocks, 2], 0.0, 1.0), |r, (i, v)| r.plant(v, [i]));
    let case = c
        .state(normal([n]))
        .state(moment([n], false))
        .state(moment([n], true))
        .fixed(normal([n]).plant(0.0, [0]))
        .of_host(rates)
        .fixed(uniform([], 0.5, 1.0))
        .ops(move |g, x| {
            g.try_push(Adam { settings }, &[x[0], x[1], x[2], x[3], x[4], g.step(), x[5]]).expect("the shapes fit")
        });
    let now = Step::at(7, step, 1e-2, [0.9, 0.999]);
    at_step(case, step).reference(move |x| {
        let [mut p, mut m, mut v, g, rates, scale] = [0, 1, 2, 3, 4, 5].map(|i| x[i].to_f64());
        for i in 0..n {
            let [factor, decay] = [0, 1].map(|k| rates[i / 64 * 2 + k]);
            if factor != 0.0 {
                update(settings, now, factor, decay, g[i] * scale[0], (&mut p[i], &mut m[i], &mut v[i]));
            }
        }
        vec![p, m, v]
    })
}

fn rows(c: Case, settings: Settings, lazy: bool, [n, d, cap, used]: [usize; 4]) -> Case {
    let decay = 0.05f32;
    // Every (n / used)-th row, ascending; after the count, what another step left.
    let mut list: Vec<u32> = (0..used).map(|i| (i * n / used) as u32).collect();
    list.resize(cap, 0);
    let left_over: Vec<usize> = (used * d..cap * d).collect();
    let case = c
        .state(normal([n, d]))
        .state(moment([n, d], false))
        .state(moment([n, d], true))
        .fixed(normal([cap, d]).plant(1e20, left_over))
        .fixed(given([cap], list.clone()))
        .fixed(given([4], [used as u32, 0, 0, 0]))
        .fixed(uniform([], 0.5, 1.0))
        .ops(move |g, x| {
            let op = AdamRows { settings, lazy, decay };
            g.try_push(op, &[x[0], x[1], x[2], x[3], x[4], x[5], g.step(), x[6]]).expect("the shapes fit")
        });
    let now = Step::at(7, 3, 1e-2, [0.9, 0.999]);
    at_step(case, 3).reference(move |x: &[Tensor]| {
        let [mut p, mut m, mut v, values, scale] = [0, 1, 2, 3, 6].map(|i| x[i].to_f64());
        for i in 0..n * d {
            let mine = list[..used].iter().position(|&r| r as usize == i / d);
            let g = mine.map_or(0.0, |at| values[at * d + i % d]);
            if mine.is_some() || !lazy {
                update(settings, now, 1.0, decay as f64, g * scale[0], (&mut p[i], &mut m[i], &mut v[i]));
            }
        }
        vec![p, m, v]
    })
}

/// Algorithm 1 of Kingma and Ba; decay as in Algorithm 2 of Loshchilov and Hutter (L2 or decoupled).
fn update(s: Settings, now: Step, factor: f64, decay: f64, g: f64, (p, m, v): (&mut f64, &mut f64, &mut f64)) {
    let (beta1, beta2, eps) = (0.9, 0.999, 1e-8);
    assert_eq!((s.beta1, s.beta2, s.eps), (0.9, 0.999, 1e-8));
    let lr = now.lr as f64 * factor;
    let g = if s.decoupled { g } else { g + decay * *p };
    let flushed = |x: f64| if x.abs() < 1e-30 { 0.0 } else { x };
    *m = flushed(beta1 * *m + (1.0 - beta1) * g);
    *v = flushed(beta2 * *v + (1.0 - beta2) * g * g);
    let (m_hat, v_hat) = (*m * now.correction1 as f64, *v * now.correction2 as f64);
    if s.decoupled {
        *p -= lr * decay * *p;
    }
    *p -= lr * m_hat / (v_hat.sqrt() + eps);
}
