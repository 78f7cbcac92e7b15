//! The losses: what a training step minimises, whatever the model. Rows \[R, d\] (a user each, or a position of a history each)
//! are scored against the items of an output table; R targets and their weights come with the batch.
//!
//! | `loss.kind` | a row's loss, with score s of its target and s_j of its n negatives |
//! |---|---|
//! | `bpr` | mean_j -log sigmoid(s - s_j) (Rendle et al., UAI 2009) |
//! | `bce` | -log sigmoid(s) + mean_j -log(1 - sigmoid(s_j)) (SASRec, ICDM 2018, with n = 1) |
//! | `gbce` | (-beta log sigmoid(s) - sum_j log(1 - sigmoid(s_j))) / (n + 1) (gSASRec, RecSys 2023), beta from `loss.t` |
//! | `softmax` | -log softmax over all items: exact, by one fused kernel |
//! | `sampled-softmax` | -log softmax over the target and the negatives, scores corrected by -log Q (Jean et al., ACL 2015) |
//! | `in-batch` | as that, the negatives being the other rows' targets (Yi et al., RecSys 2019) |
//! | `top1-max` | sum_j softmax_j (sigmoid(s_j - s) + sigmoid(s_j^2)) (GRU4Rec, CIKM 2018) |
//!
//! With many negatives for one positive, `gbce` as printed pushes all scores down together before it tells items apart, and
//! takes the encoder with them: every history gets the same row (in PyTorch too: docs/log.md). So, by `loss.prior`, a
//! constant is added to its scores, log(beta / n): where the loss is least while nothing is known of the items. A
//! constant ranks nothing. RetinaNet (ICCV 2017) starts its classifier so.

use super::scores::unit;
use super::{Batch, Candidates, Output};
use crate::graph::{Graph, Var};
use crate::kernels::bpr::Bpr;
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Settings under `loss.`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// What is minimised. Not given: the model's own.
    pub kind: Option<LossKind>,
    /// Scores are divided by it before the loss.
    #[schemars(range(min = 1e-4, max = 1e6))]
    pub temperature: f64,
    /// Calibration of `gbce`, t (gSASRec, RecSys 2023): at 0 beta is 1, as in `bce`; at 1 scores are unbiased.
    #[schemars(range(min = 0, max = 1))]
    pub t: f64,
    /// Start `gbce` at the share of positives among what is drawn instead of at a half, by the constant log(beta / n) before scores.
    pub prior: bool,
    /// Subtract the log of the probability of being sampled, log Q, from the scores of `sampled-softmax` and `in-batch`.
    pub log_q: bool,
    /// Share one list of negatives among all rows of a batch; it can then hold items of a row's user.
    pub shared: bool,
    /// Set a target against items too that do not occur in the training part, which pushes them all down. With false they are scored
    /// by their features as well as others are.
    pub cold_negatives: bool,
}

impl Default for LossConfig {
    fn default() -> LossConfig {
        LossConfig {
            kind: None,
            temperature: 1.0,
            t: 0.75,
            prior: true,
            log_q: true,
            shared: false,
            cold_negatives: true,
        }
    }
}

/// What is minimised: see the module's page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LossKind {
    /// Pairwise: -log sigmoid of the target above each negative (Rendle et al., UAI 2009).
    #[default]
    Bpr,
    /// Binary cross entropy of the target and the negatives (SASRec, ICDM 2018).
    Bce,
    /// As `bce`, calibrated by `t` (gSASRec, RecSys 2023).
    Gbce,
    /// Cross entropy over all items, exact.
    Softmax,
    /// Cross entropy over the target and the negatives (Jean et al., ACL 2015).
    SampledSoftmax,
    /// As `sampled-softmax`, with the other rows' targets as negatives (Yi et al., RecSys 2019).
    InBatch,
    /// TOP1-max over the negatives (GRU4Rec, CIKM 2018).
    Top1Max,
}

impl LossKind {
    /// Whether rows are scored against drawn negatives.
    pub fn is_sampled(self) -> bool {
        !matches!(self, LossKind::Softmax | LossKind::InBatch)
    }

    /// Whether targets are gathered from the output table one by one.
    pub fn gathers(self) -> bool {
        self != LossKind::Softmax
    }
}

impl std::fmt::Display for LossKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = serde_json::to_value(self).expect("a name");
        f.write_str(name.as_str().expect("a name"))
    }
}

/// A loss, ready to be traced.
#[derive(Clone, Debug, Default)]
pub struct Loss {
    pub kind: LossKind,
    pub config: LossConfig,
    /// For each id, the log of the chance that a draw gives it, where scores are to be corrected by it: \[items + 1\].
    pub log_q: Option<Tensor>,
    /// Items that no target is set against.
    pub cold: Arc<Vec<u32>>,
}

/// What rows are scored against.
pub struct Scored<'s, 'g> {
    pub score: &'s dyn Fn(Var<'g>, Candidates<'g>) -> Var<'g>,
    /// Where the scores are dot products.
    pub output: Option<&'s Output<'g>>,
    /// Items of the catalogue.
    pub items: usize,
    /// What the batch's numbers of targets and negatives number, where those are not all items: \[n\]
    /// ([`crate::nn::Tower::LISTED`]).
    pub listed: Option<Var<'g>>,
}

impl Loss {
    /// The mean over the rows of a batch, weighted; 0 where all weights are 0. `rows` \[R, ..\] are scored by `scored`.
    ///
    /// # Panics
    /// [`LossKind::Softmax`] of scores that are no dot products.
    pub fn trace<'g>(&self, rows: Var<'g>, scored: &Scored<'_, 'g>, batch: &Batch<'g>) -> Var<'g> {
        let g = rows.graph();
        let tempered = |v: Var<'g>| match self.config.temperature {
            1.0 => v,
            temperature => v.scale(1.0 / temperature),
        };
        if self.kind == LossKind::Softmax {
            let output = scored.output.expect("scores that are dot products");
            let bias = output.bias.map(|bias| tempered(bias.reshape([bias.shape().elements()])));
            // What is subtracted leaves nothing of their exponentials, and fits in an f16.
            let less = (!self.cold.is_empty()).then(|| marks(g, output.table.shape()[0], &self.cold).scale(-3e4));
            let bias = bias.into_iter().chain(less).reduce(|bias, less| bias + less);
            let classes = output.classes.clone();
            return tempered(rows).softmax_loss(output.items(), bias, batch.positive, batch.weight, classes);
        }
        let score = |candidates| tempered((scored.score)(rows, candidates));
        let r = batch.positive.shape()[0];
        let positive = score(Candidates::Each(batch.positive));
        let (negative, ids) = match batch.negative {
            // Every row's target is a negative for the others.
            None => (score(Candidates::Shared(batch.positive)), batch.positive),
            Some(ids) if ids.shape().len() == 1 => (score(Candidates::Shared(ids)), ids),
            Some(ids) => (score(Candidates::Own(ids)), ids),
        };
        let n = negative.shape()[1];
        let column = |v: Var<'g>| v.reshape([r, 1]);
        let mean = |losses: Var<'g>| weighted_mean(losses, batch.weight);
        match self.kind {
            LossKind::Softmax => unreachable!("returned above"),
            LossKind::Bpr => g.push(Bpr, &[positive, negative, batch.weight]),
            LossKind::Bce => mean((-positive).softplus() + negative.softplus().mean(1)),
            LossKind::Gbce => {
                let beta = self.beta(n, scored.items - self.cold.len());
                let prior = g.scalar(if self.config.prior { (beta / n as f64).ln() } else { 0.0 });
                let (positive, negative) = (positive + prior, negative + prior);
                mean(((-positive).softplus().scale(beta) + negative.softplus().sum(1)).scale(1.0 / (n + 1) as f64))
            }
            LossKind::SampledSoftmax | LossKind::InBatch => {
                let correct = |scores, ids| self.correct(scored.listed, scores, ids);
                let (positive, negative) = (correct(positive, batch.positive), correct(negative, ids));
                // Among negatives for all rows neither a row's own target is one, nor id 0: another row without a target.
                // What is subtracted from them leaves nothing of their exponentials, and fits in an f16.
                let negative = match ids.shape().len() {
                    1 => {
                        let ids = ids.reshape([1, n]);
                        let none = column(batch.positive).equal(ids) + ids.equal(g.scalar(0.0));
                        negative - none.scale(3e4)
                    }
                    _ => negative,
                };
                mean(surprise(positive, negative, None))
            }
            LossKind::Top1Max => {
                let above = (negative - column(positive)).sigmoid() + negative.square().sigmoid();
                mean((negative.softmax(1, None) * above).sum(1))
            }
        }
    }

    /// As [`Loss::trace`], of rows that are scored by dot products.
    pub fn of_products<'g>(&self, rows: Var<'g>, output: &Output<'g>, batch: &Batch<'g>) -> Var<'g> {
        let score = |rows, candidates| output.scores(rows, candidates);
        self.trace(
            rows,
            &Scored { score: &score, output: Some(output), items: output.classes.len(), listed: None },
            batch,
        )
    }

    /// gSASRec's exponent: alpha (t (1 - 1 / alpha) + 1 / alpha), where alpha is the share of the items that is sampled, 1
    /// at most.
    fn beta(&self, negatives: usize, items: usize) -> f64 {
        let alpha = (negatives as f64 / (items - 1).max(1) as f64).min(1.0);
        alpha * (self.config.t * (1.0 - 1.0 / alpha) + 1.0 / alpha)
    }

    /// `scores` of the items `ids`, less log Q.
    fn correct<'g>(&self, listed: Option<Var<'g>>, scores: Var<'g>, ids: Var<'g>) -> Var<'g> {
        let Some(log_q) = &self.log_q else { return scores };
        let table = scores.graph().constant(log_q.clone()).reshape([log_q.shape.elements(), 1]);
        let table = listed.map_or(table, |listed| table.gather(listed));
        scores - table.gather(ids).reshape(ids.shape())
    }
}

/// 1 for each of `ids` and 0 for the others of `rows`, \[rows\].
pub(super) fn marks<'g>(g: &'g Graph, rows: usize, ids: &[u32]) -> Var<'g> {
    let mut marks = vec![0.0; rows];
    // A catalogue that is planned for may have fewer items than the data.
    ids.iter().filter(|&&id| (id as usize) < rows).for_each(|&id| marks[id as usize] = 1.0);
    g.constant(Tensor::f32([rows], marks))
}

/// -log of the softmax's share of `positive` \[R\] among itself and `negative` \[R, n\], \[R\]: those where `keep`, of that shape,
/// is 1 and not 0; all without it.
pub(super) fn surprise<'g>(positive: Var<'g>, negative: Var<'g>, keep: Option<Var<'g>>) -> Var<'g> {
    let (g, column) = (positive.graph(), |v: Var<'g>| v.reshape([v.shape()[0], 1]));
    let kept = |v: Var<'g>| keep.map_or(v, |keep| v * keep);
    // log(e^s + sum_j e^s_j) - s, with s itself subtracted first and the maximum next. What is not kept is taken as s: it cannot
    // be the maximum alone.
    let apart = kept(negative - column(positive));
    let most = apart.max_over(1).max(g.scalar(0.0)).stop_gradient();
    let sum = kept((apart - column(most)).exp()).sum(1) + (-most).exp();
    sum.log() + most
}

/// The mean of -log softmax of each row's own counterpart among all counterparts, by cosines over `temperature`: `rows` and `others`
/// are \[R, d\]. Counterparts of equal `keys` \[R\] and those of weight 0 are not compared; rows count by their weights \[R\], 0 or 1.
pub fn contrast<'g>(rows: Var<'g>, others: Var<'g>, keys: Var<'g>, weight: Var<'g>, temperature: f64) -> Var<'g> {
    let (g, r) = (rows.graph(), keys.shape()[0]);
    let (rows, others) = (unit(rows).scale(1.0 / temperature), unit(others));
    let other = g.scalar(1.0) - keys.reshape([r, 1]).equal(keys.reshape([1, r]));
    let keep = other * weight.nonzero().reshape([1, r]);
    weighted_mean(surprise((rows * others).sum(1), rows.matmul_t(others), Some(keep)), weight)
}

/// The logarithm of the softmax over the columns of `x` \[R, n\].
pub(super) fn log_softmax(x: Var<'_>) -> Var<'_> {
    let r = x.shape()[0];
    let most = x.max_over(1).reshape([r, 1]).stop_gradient();
    let apart = x - most;
    apart - apart.exp().sum(1).log().reshape([r, 1])
}

/// sum w l / sum w; 0 where all weights are 0.
pub(super) fn weighted_mean<'g>(losses: Var<'g>, weight: Var<'g>) -> Var<'g> {
    (losses * weight).sum(0) / weight.sum(0).max(losses.graph().scalar(1e-9))
}

/// The draws of a sampler as log chances, \[items + 1\]: uniform, or in proportion to `counts^alpha`.
pub fn log_chances(counts: &[u32], alpha: f64) -> Tensor {
    // An item that is never drawn is never corrected: its chance is taken as that of one event.
    let weights: Vec<f64> = counts.iter().map(|&n| (n.max(1) as f64).powf(alpha)).collect();
    let total: f64 = weights[1..].iter().sum();
    let log = weights.iter().enumerate().map(|(i, w)| if i == 0 { 0.0 } else { (w / total).ln() as f32 });
    Tensor::f32([counts.len()], log.collect::<Vec<f32>>())
}

#[cfg(test)]
mod tests {
    use super::super::{History, Inputs};
    use super::*;
    use crate::device::{Device, RunOptions};
    use crate::graph::plan::Options;

    /// The loss by `of`, and its gradient by the table that `keep` leaves of one of 4 rows.
    fn loss_of(loss: &Loss, targets: &[u32], negatives: Option<&[u32]>, keep: usize) -> (f64, Vec<f32>) {
        let (g, n) = (Graph::new(), targets.len());
        let given = |shape: [usize; 2], x: fn(usize) -> f32| {
            g.constant(Tensor::f32(shape, (0..shape[0] * shape[1]).map(x).collect::<Vec<_>>()))
        };
        let table = given([keep, 2], |i| 1.0 + (i as f32).sin());
        let ids = g.constant(Tensor::u32([n], targets.to_vec()));
        let weight = targets.iter().map(|&t| if t == 0 { 0.0 } else { 1.0 }).collect::<Vec<f32>>();
        let weight = g.constant(Tensor::f32([n], weight));
        let negative = negatives.map(|ids| g.constant(Tensor::u32([n, ids.len() / n], ids.to_vec())));
        let history = History::new(ids, ids);
        let batch = Batch { inputs: Inputs::default(), history, views: None, positive: ids, weight, negative };
        let output = Output { table, bias: None, classes: 1..keep, cosine: false };
        let traced = loss.of_products(given([n, 2], |i| (i as f32).cos()), &output, &batch);
        g.result("loss", traced);
        if loss.kind == LossKind::Softmax {
            let gradient = g.gradients(traced, &[table]).unwrap().remove(0);
            g.result("gradient", gradient.dense(table));
        }
        let (device, _) = Device::open("cpu").unwrap();
        let plan = device.plan(&g, Options::default()).unwrap();
        let store = device.store(&[]).unwrap();
        let mut runner = device.compile(&plan, &store, RunOptions::default()).unwrap();
        runner.run().unwrap();
        let gradient = runner.read("gradient").map(|gradient| gradient.to_f32()).unwrap_or_default();
        (runner.read("loss").unwrap().to_f64()[0], gradient)
    }

    #[test]
    fn rows_without_a_target_are_no_negatives() {
        let loss = Loss { kind: LossKind::InBatch, ..Loss::default() };
        let of = |targets: &[u32]| loss_of(&loss, targets, None, 4).0;
        let (alone, padded) = (of(&[2, 3, 1]), of(&[2, 3, 1, 0, 0]));
        assert!(alone > 0.1 && (alone - padded).abs() < 1e-6, "{alone} {padded}");
    }

    /// Cold items are as if they were not there, and get no gradient.
    #[test]
    fn no_target_is_set_against_cold_items() {
        let of = |kind, cold: &[u32], rows| {
            let loss = Loss { kind, cold: Arc::new(cold.to_vec()), ..Loss::default() };
            loss_of(&loss, &[2, 1, 2], (kind == LossKind::Gbce).then_some(&[1, 2, 1]), rows)
        };
        for kind in [LossKind::Softmax, LossKind::Gbce] {
            let [(without, few), (cold, gradient), (all, _)] =
                [of(kind, &[], 3), of(kind, &[3, 4], 5), of(kind, &[], 5)];
            assert!((without - cold).abs() < 1e-6 && (all - cold).abs() > 1e-3, "{kind}: {without} {cold} {all}");
            if kind == LossKind::Softmax {
                let near = few.iter().zip(&gradient).all(|(a, b)| (a - b).abs() < 1e-6);
                assert!(near && gradient.len() == 10 && gradient[6..] == [0.0; 4], "{few:?} {gradient:?}");
            }
        }
    }
}
