use crate::harness::Case;
use crate::harness::recipe::{Recipe, given, normal};
use wgrec::kernels::rollout::{Pooling, Rollout, RolloutContext};
use wgrec::tensor::Tensor;

/// [B, T, S, K, W]: one event; a target after the events, more sources than a step has seen, more steps than sources; interests and
/// widths of a workgroup and one more.
const SHAPES: [[usize; 5]; 7] = [
    [1, 1, 1, 1, 1],
    [3, 4, 4, 3, 7],
    [5, 6, 7, 2, 10],
    [2, 9, 3, 4, 65],
    [2, 11, 11, 7, 64],
    [1, 110, 110, 2, 65],
    [9, 2, 2, 65, 3],
];

pub fn cases() -> Vec<Case> {
    let nobody = |c, s: [usize; 5], pooling| {
        let [b, t, _, k, _] = s;
        choose(c, s, pooling, Recipe::exactly(Tensor::f64([b, t, k], vec![0.0; b * t * k])))
    };
    let of = |pooling| {
        let named = |what: &str| format!("{what}_{pooling:?}").to_lowercase();
        [
            Case::grid(&named("actions"), SHAPES, move |c, s| choose(c, s, pooling, allowed(s))),
            Case::grid(&named("context"), SHAPES, move |c, s| context(c, s, pooling, true)),
            Case::grid(&named("weights"), SHAPES, move |c, s| context(c, s, pooling, false)),
            Case::grid(&named("nobody_allowed"), [[3, 4, 4, 3, 7]], move |c, s| nobody(c, s, pooling)),
        ]
        .concat()
    };
    [of(Pooling::Halving), of(Pooling::Running)].concat()
}

/// Row b has its first 1 + b mod K interests, and its first b mod T steps are padding.
fn allowed([b, t, _, k, _]: [usize; 5]) -> Recipe {
    let value = |i: usize| {
        let (row, step, interest) = (i / (t * k), i / k % t, i % k);
        (step >= row % t && interest <= row % k) as u32 as f64
    };
    Recipe::exactly(Tensor::f64([b, t, k], (0..b * t * k).map(value).collect()))
}

fn choose(c: Case, [b, t, s, k, w]: [usize; 5], pooling: Pooling, allowed: Recipe) -> Case {
    // Noise that decides, so that no two logits are nearly equal.
    let noise = |i: usize| ((i * 7919 + 13) % 101) as f64;
    let noise = Recipe::exactly(Tensor::f64([b, t, k], (0..b * t * k).map(noise).collect()));
    c.fixed(normal([b, t, s]))
        .fixed(normal([b, s, w]))
        .fixed(normal([b, t, w]))
        .fixed(normal([k, w]).scale(1.0 / (w as f64).sqrt()))
        .fixed(noise)
        .fixed(allowed)
        .op(move |g, x| g.push(Rollout { pooling }, x))
        .hides_nan()
        .reference(move |x| {
            let f: Vec<Vec<f64>> = x.iter().map(Tensor::to_f64).collect();
            let policy = |at: usize, context: &[f64]| {
                let hidden: Vec<f64> = (0..w).map(|l| (context[l] + f[2][at * w + l]).max(0.0)).collect();
                (0..k).map(|j| f[4][at * k + j] + (0..w).map(|l| hidden[l] * f[3][j * w + l]).sum::<f64>()).collect()
            };
            let rows = (0..b).flat_map(|row| {
                let mut taken = vec![];
                carried(pooling, [t, s, k, w], row, [&f[0], &f[1], &f[5]], |at, context| {
                    let logits: Vec<f64> = policy(at, context);
                    let allowed = |j: &usize| f[5][at * k + j] != 0.0;
                    let best = (0..k).filter(allowed).reduce(|a, b| if logits[b] > logits[a] { b } else { a });
                    taken.push(best.unwrap_or(k) as f64);
                    best.unwrap_or(k)
                });
                taken
            });
            vec![rows.collect()]
        })
}

/// The context with its gradients, or else the attention and the weights of sources.
fn context(c: Case, s: [usize; 5], pooling: Pooling, of_context: bool) -> Case {
    let [b, t, sources, k, w] = s;
    // Some are no interest, and some an interest that the row does not have.
    let taken: Vec<u32> = (0..b * t).map(|i| ((i * 31 + 7) % (k + 2)) as u32).collect();
    let c = match of_context {
        true => c.input(normal([b, t, sources])).input(normal([b, sources, w])),
        false => c.fixed(normal([b, t, sources])).fixed(normal([b, sources, w])),
    };
    c.fixed(allowed(s))
        .fixed(given([b, t], taken.clone()))
        .ops(move |g, x| {
            let outputs = g.try_push(RolloutContext { pooling }, x).expect("shapes that fit");
            if of_context { vec![outputs[0]] } else { outputs[1..].to_vec() }
        })
        .reference(move |x| {
            let f: Vec<Vec<f64>> = x[..3].iter().map(Tensor::to_f64).collect();
            let [mut contexts, mut attention, mut mix] = [vec![], vec![], vec![]];
            for row in 0..b {
                let mut actions = taken[row * t..][..t].iter();
                let last = carried(pooling, [t, sources, k, w], row, [&f[0], &f[1], &f[2]], |_, context| {
                    contexts.extend_from_slice(context);
                    actions.next().map_or(k, |&action| action as usize)
                });
                attention.extend(last.0);
                mix.extend(last.1);
            }
            if of_context { vec![contexts] } else { vec![attention, mix] }
        })
        .tolerance(2e-6, 1e-5)
}

/// Interests as they are printed, each carried on from step to step: what it gives to the products of later events, to the policy, and
/// of each source. `act` says which interest takes the event of a step, from its number and its context. The attention of each step
/// and the sources of the interests at the end.
fn carried(
    pooling: Pooling,
    [t, s, k, w]: [usize; 4],
    row: usize,
    [products, values, allowed]: [&[f64]; 3],
    mut act: impl FnMut(usize, &[f64]) -> usize,
) -> (Vec<f64>, Vec<f64>) {
    let value = |source: usize| values[(row * s + source) * w..][..w].to_vec();
    let unit = |source: usize| (0..s).map(|i| (i == source) as u32 as f64).collect::<Vec<f64>>();
    let mut given = vec![value(0); k];
    let mut sources = vec![unit(0); k];
    let mut count = vec![1.0; k];
    let mut attention = vec![];
    for step in 0..t {
        let at = row * t + step;
        let has = |j: usize| allowed[at * k + j] != 0.0;
        let product = |j: usize| sources[j].iter().zip(&products[at * s..][..s]).map(|(a, b)| a * b).sum::<f64>();
        let exps: Vec<f64> = (0..k).map(|j| if has(j) { product(j).exp() } else { 0.0 }).collect();
        let total = exps.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        let alpha: Vec<f64> = exps.iter().map(|e| e / total).collect();
        let context: Vec<f64> = (0..w).map(|l| (0..k).map(|j| alpha[j] * given[j][l]).sum()).collect();
        attention.extend(alpha);
        let j = act(at, &context);
        if j >= k || step + 1 >= s {
            continue;
        }
        let part = if pooling == Pooling::Halving { 0.5 } else { 1.0 / (count[j] + 1.0) };
        let moved = |old: &[f64], new: &[f64]| old.iter().zip(new).map(|(o, n)| o * (1.0 - part) + n * part).collect();
        given[j] = moved(&given[j], &value(step + 1));
        sources[j] = moved(&sources[j], &unit(step + 1));
        count[j] += 1.0;
    }
    (attention, sources.concat())
}
