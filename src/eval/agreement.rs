//! Do two ways of grouping the same things agree, beyond chance? Adjusted mutual information (Vinh, Epps and Bailey, JMLR 2010):
//!   (I - E) / ((H + H') / 2 - E)
//! with the mutual information I of two groupings, their entropies H and H', and E, the mean of I over all groupings with groups
//! of the same sizes. 1: equal; about 0: as by chance.

use std::collections::HashMap;

/// The adjusted mutual information of two groupings, given as a label of each thing. 1 where both make one group of all, or
/// each thing a group of its own: they are equal.
///
/// # Panics
/// If they are not of the same things.
pub fn adjusted_mutual_information(a: &[usize], b: &[usize]) -> f64 {
    assert_eq!(a.len(), b.len(), "two labels of each thing");
    let n = a.len();
    let (sizes_a, sizes_b) = (counts(a.iter().copied()), counts(b.iter().copied()));
    let trivial = |sizes: &HashMap<usize, usize>| sizes.len() <= 1 || sizes.len() == n;
    if trivial(&sizes_a) && trivial(&sizes_b) && sizes_a.len() == sizes_b.len() {
        return 1.0;
    }
    // In order, so that sums are the same from run to run.
    let sorted = |sizes: HashMap<usize, usize>| {
        let mut sizes: Vec<(usize, usize)> = sizes.into_iter().collect();
        sizes.sort_unstable();
        sizes
    };
    let (sizes_a, sizes_b) = (sorted(sizes_a), sorted(sizes_b));
    let both = counts(a.iter().zip(b));
    let mut information = 0.0;
    for &(label_a, size_a) in &sizes_a {
        for &(label_b, size_b) in &sizes_b {
            let shared = both.get(&(&label_a, &label_b)).copied().unwrap_or(0);
            information += term(shared, size_a, size_b, n);
        }
    }
    let expected = expected(&sizes_a, &sizes_b, n);
    let entropy = (entropy(&sizes_a, n) + entropy(&sizes_b, n)) / 2.0;
    (information - expected) / (entropy - expected)
}

fn counts<T: std::hash::Hash + Eq>(labels: impl Iterator<Item = T>) -> HashMap<T, usize> {
    let mut counts = HashMap::new();
    labels.for_each(|label| *counts.entry(label).or_insert(0) += 1);
    counts
}

/// What `shared` things of a group of `a` and one of `b` add to the mutual information over `n`.
fn term(shared: usize, a: usize, b: usize, n: usize) -> f64 {
    if shared == 0 {
        return 0.0;
    }
    let [shared, a, b, n] = [shared, a, b, n].map(|count| count as f64);
    shared / n * (n * shared / (a * b)).ln()
}

fn entropy(sizes: &[(usize, usize)], n: usize) -> f64 {
    sizes.iter().map(|(_, size)| *size as f64 / n as f64).map(|share| -share * share.ln()).sum()
}

/// The mean of the mutual information where what two groups share is as a draw without replacement makes it
/// (hypergeometric).
fn expected(a: &[(usize, usize)], b: &[(usize, usize)], n: usize) -> f64 {
    let mut ln_factorial = vec![0.0f64; n + 1];
    for i in 1..=n {
        ln_factorial[i] = ln_factorial[i - 1] + (i as f64).ln();
    }
    let f = |i: usize| ln_factorial[i];
    let mut sum = 0.0;
    for &(_, a) in a {
        for &(_, b) in b {
            for shared in (a + b).saturating_sub(n).max(1)..=a.min(b) {
                let ways = f(a) + f(b) + f(n - a) + f(n - b)
                    - (f(n) + f(shared) + f(a - shared) + f(b - shared) + f(n + shared - a - b));
                sum += term(shared, a, b, n) * ways.exp();
            }
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `sklearn.metrics.adjusted_mutual_info_score` (scikit-learn 1.9.1).
    #[test]
    fn as_scikit_learn_has_it() {
        let cases: [(&[usize], &[usize], f64); 11] = [
            (&[0, 0, 1, 1], &[1, 1, 0, 0], 1.0),
            (&[0, 0, 1, 1], &[0, 1, 0, 1], -0.49999999999999944),
            (&[0, 0, 0, 0], &[0, 1, 2, 3], 0.0),
            (&[0, 1, 2, 3], &[0, 1, 2, 3], 1.0),
            (&[5], &[2], 1.0),
            (&[0, 0, 0], &[1, 1, 1], 1.0),
            (&[], &[], 1.0),
            (&[0, 2, 2, 0, 1, 2, 1, 2, 2], &[0, 2, 2, 2, 2, 2, 1, 0, 2], -0.029545549659792298),
            (
                &[1, 0, 0, 0, 0, 1, 0, 1, 1, 1, 1, 1, 1, 0, 1, 0, 0, 0, 1, 0],
                &[3, 0, 0, 3, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 0, 0, 0, 2, 0],
                0.3550271320214479,
            ),
            (
                &[3, 3, 0, 2, 0, 3, 1, 0, 2, 3, 3, 0, 0, 4, 4, 0, 3, 4, 2, 4],
                &[0, 0, 0, 2, 0, 2, 0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 2, 1, 2, 2],
                0.2523474611475014,
            ),
            (
                &[2, 2, 0, 1, 1, 1, 2, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 2, 2, 0, 0, 2, 2, 1, 1, 1, 2, 1, 2, 2, 1],
                &[2, 0, 0, 1, 1, 2, 1, 1, 2, 1, 0, 1, 2, 2, 1, 0, 2, 2, 2, 1, 0, 0, 2, 1, 1, 0, 2, 0, 2, 1, 2],
                0.13177604843645152,
            ),
        ];
        for (a, b, value) in cases {
            let found = adjusted_mutual_information(a, b);
            assert!((found - value).abs() < 1e-12, "{a:?} {b:?}: {found}, not {value}");
            assert!((adjusted_mutual_information(b, a) - value).abs() < 1e-12);
        }
    }

    /// By its definition: the mean over all ways to give the labels to the things is 0.
    #[test]
    fn the_mean_over_all_orders_is_0() {
        let (a, b) = ([0, 0, 0, 1, 1, 2], [0, 1, 1, 2, 2, 2]);
        let (mut sum, mut orders) = (0.0, 0);
        let mut order: Vec<usize> = (0..6).collect();
        permute(&mut order, 0, &mut |order| {
            sum += adjusted_mutual_information(&a, &order.iter().map(|&i| b[i]).collect::<Vec<_>>());
            orders += 1;
        });
        assert!(orders == 720 && (sum / 720.0f64).abs() < 1e-12, "{sum} over {orders}");
    }

    fn permute(order: &mut Vec<usize>, from: usize, visit: &mut impl FnMut(&[usize])) {
        if from == order.len() {
            return visit(order);
        }
        for i in from..order.len() {
            order.swap(from, i);
            permute(order, from + 1, visit);
            order.swap(from, i);
        }
    }
}
