//! How candidates are scored by what a model computes from a history.

use crate::graph::Var;
use crate::kernels::embedding::GatherDot;
use std::ops::Range;

/// Items that R rows are scored against.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Candidates<'g> {
    /// \[W\], the same for all rows. Scores \[R, W\].
    Shared(Var<'g>),
    /// \[R\], one for each row. Scores \[R\].
    Each(Var<'g>),
    /// \[R, C\], each row's own. Scores \[R, C\].
    Own(Var<'g>),
    /// As [`Candidates::Own`], to rank by: no gradient is asked for.
    Listed(Var<'g>),
}

impl<'g> Candidates<'g> {
    pub fn ids(self) -> Var<'g> {
        let (Candidates::Shared(ids) | Candidates::Each(ids) | Candidates::Own(ids) | Candidates::Listed(ids)) = self;
        ids
    }
}

/// What rows are scored against by dot products: the items of a table.
#[derive(Clone)]
pub struct Output<'g> {
    /// \[rows, d\].
    pub table: Var<'g>,
    /// \[rows, 1\], a parameter.
    pub bias: Option<Var<'g>>,
    /// The rows of the table that are items.
    pub classes: Range<usize>,
    /// Rows of the table are taken with length 1.
    pub cosine: bool,
}

impl<'g> Output<'g> {
    /// The whole table as it is scored.
    pub fn items(&self) -> Var<'g> {
        if self.cosine { unit(self.table) } else { self.table }
    }

    /// The rows of `ids`, \[ids.., d\].
    fn gather(&self, ids: Var<'g>) -> Var<'g> {
        let rows = self.table.gather(ids);
        if self.cosine { unit(rows) } else { rows }
    }

    /// Scores of `candidates` for `rows`: \[R, d\], or \[R, K, d\] with K interests each, of which the largest product is the
    /// score. A row of fewer interests repeats one of them.
    pub fn scores(&self, rows: Var<'g>, candidates: Candidates<'g>) -> Var<'g> {
        let (g, ids) = (rows.graph(), candidates.ids());
        let of_interests = rows.shape().len() == 3;
        let scores = match candidates {
            Candidates::Shared(ids) | Candidates::Own(ids) if of_interests => rows.interest_scores(self.gather(ids)),
            Candidates::Each(ids) if of_interests => {
                let [r, d] = [ids.shape()[0], rows.shape().last_dim()];
                rows.interest_scores(self.gather(ids).reshape([r, 1, d])).reshape([r])
            }
            Candidates::Shared(ids) => rows.matmul_t(self.gather(ids)),
            Candidates::Each(ids) => (rows * self.gather(ids)).sum(1),
            Candidates::Own(ids) => {
                let ([r, n], d) = ([ids.shape()[0], ids.shape()[1]], rows.shape().last_dim());
                match n {
                    1 => (rows * self.gather(ids).reshape([r, d])).sum(1).reshape([r, 1]),
                    _ => (rows.reshape([r, 1, d]) * self.gather(ids)).sum(2),
                }
            }
            Candidates::Listed(ids) => {
                let items = if self.cosine { g.prepared("unit_items", || self.items()) } else { self.table };
                g.push(GatherDot, &[rows, items, ids])
            }
        };
        let Some(bias) = self.bias else { return scores };
        scores + bias.gather(ids).reshape(ids.shape())
    }
}

/// Rows of `v` with length 1; NaN where a length overflows.
pub(super) fn unit<'g>(v: Var<'g>) -> Var<'g> {
    let d = v.shape().last_dim();
    let flat = v.reshape([v.shape().elements() / d, d]);
    (flat / lengths(flat)).reshape(v.shape())
}

/// The lengths of rows \[R, d\], \[R, 1\]; NaN where one overflows.
pub(super) fn lengths<'g>(rows: Var<'g>) -> Var<'g> {
    let squares = rows.square();
    // Those of short rows are less than an f16 holds.
    rows.graph().keep_exact(squares);
    let lengths = squares.sum(1).max(rows.graph().scalar(1e-12)).finite_or_nan().sqrt();
    lengths.reshape([rows.shape()[0], 1])
}
