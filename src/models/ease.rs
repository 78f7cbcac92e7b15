//! EASE: Steck, "Embarrassingly shallow autoencoders for sparse data" (WWW 2019), in closed form. The score of an item j is the
//! sum of the weights B_ij from the items i of the history, each counted once. B has a diagonal of zeros and brings the training
//! part nearest to itself in squares, with a penalty of lambda (`model.ridge`) on the weights:
//! B_ij = -P_ij / P_jj with P = (X^T X + lambda I)^-1 and X the binary matrix of users and items.
//!
//! There is no order in it: histories are read whole, whatever `data.max_len`. It takes memory for the square of the items.

use super::spec::{self, Behaviours, ModelSpec, SettingsType, Task};
use super::{History, Model};
use crate::device::Store;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::memory;
use crate::nn::{Init, Params};
use crate::tensor::Tensor;
use faer::linalg::solvers::DenseSolveCore;
use faer::{Mat, Side};
use serde::{Deserialize, Serialize};

/// Settings of EASE.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Penalty on the weights, lambda.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub ridge: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { ridge: 500.0 }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Ease::new(task.items, self.ridge)?))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "ease",
    title: "a linear model of whole histories in closed form; no training",
    paper: "Steck, \"Embarrassingly shallow autoencoders for sparse data\" (WWW 2019)",
    loss: None,
    presets: &[],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Ease {
    params: Params,
    items: usize,
    /// lambda.
    ridge: f64,
}

impl Ease {
    /// Row j holds the weights to item j, so that a user is the history as ones among zeros.
    const WEIGHTS: &str = "weights";
    /// Bytes for each pair of items at the height of it: the factor and the inverse in f64, the weights on both sides in f32.
    const BYTES: u64 = 24;

    /// # Errors
    /// More items than free memory can hold the square of.
    pub fn new(items: usize, ridge: f64) -> Result<Ease> {
        // Where the system does not say: 8 GiB.
        check_memory(items, memory::available().map_or(8 << 30, |bytes| bytes as u64))?;
        let mut params = Params::new();
        params.add(Ease::WEIGHTS, [items + 1, items + 1], Init::Constant(0.0));
        Ok(Ease { params, items, ridge })
    }

    /// X^T X + lambda I, its lower half.
    fn gram(&self, training: &[&[u32]]) -> Mat<f64> {
        let mut gram = Mat::zeros(self.items, self.items);
        for history in training {
            let mut items = history.to_vec();
            items.sort_unstable();
            items.dedup();
            for (first, &j) in items.iter().enumerate() {
                let column = gram.col_as_slice_mut(j as usize - 1);
                items[first..].iter().for_each(|&i| column[i as usize - 1] += 1.0);
            }
        }
        (0..self.items).for_each(|i| gram[(i, i)] += self.ridge);
        gram
    }
}

fn check_memory(items: usize, free: u64) -> Result<()> {
    match square(items) <= free {
        true => Ok(()),
        false => Err(too_many(items, &format!("{:.1} GB are free", free as f64 / 1e9))),
    }
}

/// Bytes at the height of it.
fn square(items: usize) -> u64 {
    (items as u64).pow(2) * Ease::BYTES
}

fn too_many(items: usize, free: &str) -> Error {
    Error::Usage(format!(
        "ease takes memory for the square of the items: {:.1} GB for {items} items, and {free}; leave out rare items \
         (data.min_item) or take another model",
        square(items) as f64 / 1e9
    ))
}

impl Model for Ease {
    fn name(&self) -> &'static str {
        "ease"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn reads_whole(&self) -> bool {
        true
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, Ease::WEIGHTS)
    }

    /// 1 at the items of the history, else 0: \[B, items + 1\]. Every item is a pair of digits to a base near the root of the
    /// items, so that the ones are a product of two narrow one-hot matrices; \[B, M, items\] would not fit.
    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let (rows, batch) = (self.items + 1, history.items.shape()[0]);
        let base = (rows as f64).sqrt().ceil() as usize;
        let one_hot = |digit: fn(usize, usize) -> usize| {
            let mut table = vec![0.0; rows * base];
            (1..rows).for_each(|item| table[item * base + digit(item, base)] = 1.0);
            g.constant(Tensor::f32([rows, base], table)).gather(history.items)
        };
        let counts = one_hot(|item, base| item / base).t_matmul(one_hot(|item, base| item % base));
        counts.reshape([batch, base * base]).slice(1, 0, rows).min(g.scalar(1.0))
    }

    fn counts(&self) -> bool {
        true
    }

    fn count(&self, store: &mut Store, training: &[&[u32]]) -> Result<()> {
        // The process ends where faer is refused memory. Half as much again is asked for: faer reserves a third matrix for the
        // inverse that it does not fill, and the allocator an arena for each thread.
        if !memory::is_granted(square(self.items) as usize / 2 * 3) {
            return Err(too_many(self.items, "the system grants this process less (ulimit -v)"));
        }
        let gram = self.gram(training);
        let factor = gram.llt(Side::Lower);
        drop(gram);
        let factor = factor.map_err(|e| Error::Failed(format!("ease: {e:?}; a larger model.ridge helps")))?;
        let p = factor.inverse();
        drop(factor);
        let rows = self.items + 1;
        let mut weights = vec![0.0; rows * rows];
        for j in 0..self.items {
            let column = p.col_as_slice(j);
            let row = &mut weights[(j + 1) * rows + 1..][..self.items];
            row.iter_mut().zip(column).for_each(|(weight, &p)| *weight = (-p / column[j]) as f32);
            row[j] = 0.0;
            if let Some(weight) = row.iter().find(|weight| !weight.is_finite()) {
                return Err(Error::NotFinite(format!(
                    "ease: a weight to item number {} is {weight}; a larger model.ridge than {} helps",
                    j + 1,
                    self.ridge
                )));
            }
        }
        drop(p);
        self.params.write(store, Ease::WEIGHTS, &Tensor::f32([rows, rows], weights))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Candidates;
    use super::*;
    use crate::device::{Device, RunOptions};
    use crate::graph::plan::Options;
    use crate::tensor::Spec;

    /// The inverse by elimination.
    fn inverse(mut a: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        let n = a.len();
        (0..n).for_each(|i| a[i].extend((0..n).map(|j| (i == j) as u8 as f64)));
        for i in 0..n {
            let pivot = a[i][i];
            a[i].iter_mut().for_each(|x| *x /= pivot);
            let row = a[i].clone();
            for (_, other) in a.iter_mut().enumerate().filter(|(k, _)| *k != i) {
                let factor = other[i];
                other.iter_mut().zip(&row).for_each(|(x, y)| *x -= factor * y);
            }
        }
        a.into_iter().map(|row| row[n..].to_vec()).collect()
    }

    #[test]
    fn scores_are_those_of_the_closed_form() {
        let training: [&[u32]; 5] = [&[1, 2, 3], &[3, 2, 3, 5], &[5], &[], &[4, 1, 2]];
        let (items, ridge) = (5, 2.0);
        let both = |i: usize, j: usize| {
            let chose = |history: &&[u32]| [i, j].iter().all(|&item| history.contains(&(item as u32 + 1)));
            training.iter().filter(|history| chose(history)).count() as f64
        };
        let mut gram: Vec<Vec<f64>> = (0..items).map(|i| (0..items).map(|j| both(i, j)).collect()).collect();
        (0..items).for_each(|i| gram[i][i] += ridge);
        let p = inverse(gram);
        let weight = |i: usize, j: usize| if i == j { 0.0 } else { -p[i][j] / p[j][j] };

        let model = Ease::new(items, ridge).unwrap();
        let (device, _) = Device::open("cpu").unwrap();
        let mut store = device.store(&model.params().states()).unwrap();
        model.count(&mut store, &training).unwrap();
        let g = Graph::new();
        let input = |name: &str, spec| g.input(name, spec);
        let [items_in, recency] = ["history", "recency"].map(|name| input(name, Spec::u32([2, 4])));
        let history = History::new(items_in, recency);
        g.result(
            "scores",
            model.scores(&g, model.user(&g, &history), Candidates::Shared(input("ids", Spec::u32([5])))),
        );
        let mut runner =
            device.compile(&device.plan(&g, Options::default()).unwrap(), &store, RunOptions::default()).unwrap();
        runner.write_u32("history", &[0, 2, 5, 2, 0, 0, 0, 4]).unwrap();
        runner.write_u32("ids", &[1, 2, 3, 4, 5]).unwrap();
        runner.run().unwrap();
        let scores = runner.read("scores").unwrap().to_f64();
        for j in 0..items {
            assert!((scores[j] - weight(1, j) - weight(4, j)).abs() < 1e-6, "{scores:?}");
            assert!((scores[items + j] - weight(3, j)).abs() < 1e-6, "{scores:?}");
        }
    }

    #[test]
    fn more_items_than_memory_has_room_for_are_refused() {
        let error = check_memory(100_000, 8 << 30).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("240.0 GB for 100000 items, and 8.6 GB are free"), "{error}");
        check_memory(10_000, 8 << 30).unwrap();
    }
}
