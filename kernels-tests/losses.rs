//! A model that has diverged shows in its loss, whichever it trains with: a NaN in a row, in the output table, in a bias or in a
//! weight is in the loss and in every gradient that depends on it.

use crate::harness::recipe::{Recipe, given, normal, uniform};
use crate::harness::{Case, nan};
use libtest_mimic::Trial;
use wgrec::models::{Batch, History, Inputs, Loss, LossConfig, LossKind, Output};

const ITEMS: usize = 20;
const ROWS: usize = 6;

/// `negatives` for each row, or for all rows where `shared`.
fn case(kind: LossKind, shared: bool, cosine: bool) -> Case {
    let ids = |n: usize, first: usize| (0..n).map(|i| 1 + ((first + 7 * i) % ITEMS) as u32).collect::<Vec<_>>();
    let negatives: Recipe = if shared { given([9], ids(9, 3)) } else { given([ROWS, 3], ids(3 * ROWS, 3)) };
    let loss = Loss { kind, config: LossConfig { shared, ..LossConfig::default() }, ..Loss::default() };
    Case::new(format!("{kind}{}{}", if shared { "_shared" } else { "" }, if cosine { "_cosine" } else { "" }))
        .input(normal([ROWS, 5]))
        .input(normal([ITEMS + 1, 5]))
        .input(normal([ITEMS + 1, 1]))
        .fixed(uniform([ROWS], 0.5, 1.5))
        .fixed(given([ROWS], ids(ROWS, 0)))
        .fixed(negatives)
        .op(move |_, x| {
            let &[rows, table, bias, weight, positive, negative] = x else { unreachable!("six operands") };
            let history = History::new(positive, positive);
            let negative = kind.is_sampled().then_some(negative);
            let batch = Batch { inputs: Inputs::default(), history, views: None, positive, negative, weight };
            let output = Output { table, bias: Some(bias), classes: 1..ITEMS + 1, cosine };
            loss.of_products(rows, &output, &batch)
        })
}

pub fn trials() -> Vec<Trial> {
    let kinds = [
        LossKind::Bpr,
        LossKind::Bce,
        LossKind::Gbce,
        LossKind::Softmax,
        LossKind::SampledSoftmax,
        LossKind::InBatch,
        LossKind::Top1Max,
    ];
    let plain = kinds.into_iter().map(|kind| case(kind, false, false));
    let others = [LossKind::SampledSoftmax, LossKind::Bpr].into_iter().map(|kind| case(kind, true, false));
    let cosine = [LossKind::InBatch, LossKind::Softmax].into_iter().map(|kind| case(kind, false, true));
    let trial = |case: Case| Trial::test(format!("losses::{}::nan", case.name), move || nan::check(&case));
    plain.chain(others).chain(cosine).map(trial).collect()
}
