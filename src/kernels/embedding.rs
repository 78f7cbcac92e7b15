//! Embedding gather, and its gradient by sorted segments: no atomics, the same bits every time.

use super::args::{Args, rows};
use super::fast::wide;
use super::launch::{SEARCH, turns_of};
use super::real::Real;
use super::sums::{COLUMNS, Rows};
use super::{Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::tensor::segments::CHUNK;
use crate::tensor::{DType, Shape, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};

#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Params {
    rows: u32,
    n: u32,
    part0: u32,
    part1: u32,
    part2: u32,
}

fn launch(entry: &'static str, d: usize, params: Params) -> Launch {
    Launch::of("embedding", entry).constant("D", d as u32).params(params)
}

/// Rows of `table` \[n, d\] by `indices` (u32, any shape): \[indices.., d\]. An index of n or more gives a row of zeros.
#[derive(Debug, Clone, Copy)]
pub struct Gather;

impl Gather {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let d = a.shape(0)[1];
        let (table, indices) = (a.f(0), a.u(1));
        rows(a.out(0), d, d, |i, y| match table.get(indices[i] as usize * d..(indices[i] as usize + 1) * d) {
            Some(row) => y.copy_from_slice(row),
            None => y.fill(T::ZERO),
        });
    }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(2)?;
        x.rank(0, 2)?;
        x.dtype(0, DType::F32)?;
        x.dtype(1, DType::U32)?;
        let shape: Vec<usize> = x.shape(1).iter().copied().chain([x.shape(0)[1]]).collect();
        Ok(Outputs::one(Spec::f32(shape)))
    }

    /// Only for tables that are computed: those that are parameters get [`GatherGrad`] from the gradient pass.
    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let (table, indices, dy) = (node.inputs[0], node.inputs[1], node.dy(0));
        let (n, d) = (indices.shape().elements(), table.shape()[1]);
        let op = GatherGradDense { rows: table.shape()[0] };
        let dx = dy.graph().try_push(op, &[indices.reshape([n]), dy.reshape([n, d])])?[0];
        Ok(Grads::to([(0, dx)]))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (n, d) = (s.input(1).elements(), s.input(0)[1]);
        let params = Params { rows: s.input(0)[0] as u32, n: n as u32, ..Params::default() };
        Ok(vec![launch("forward", d, params).threads(n * d, caps)?])
    }

    fn operands(&self) -> Operands {
        Operands { inputs: &["table", "indices"], outputs: &["y"], scratch: &[] }
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        Split::rows(*s.input(1).first()?, 0b10)
    }

    /// The gathered rows, at most once each from a table that is smaller than what is gathered.
    fn cost(&self, s: &Shapes) -> Cost {
        let out = s.outputs[0].bytes() as u64;
        let read = out.min(s.inputs[0].bytes() as u64);
        Cost { bytes: out + read + s.inputs[1].bytes() as u64, flops: 0 }
    }

    fn is_gather(&self) -> bool {
        true
    }
}

/// The gradient rows of all gathers from one table.
///
/// Inputs: order, chunk_starts, row_chunks, counts (see [`crate::tensor::segments`]) and up to [`GatherGrad::MAX_PARTS`]
/// gradients \[n_i, d\] of the gathered rows, whose concatenation `order` points into. Output \[cap rows, d\]: row r is the
/// sum over the entries of segment r, in order, chunk by chunk; rows from counts\[0\] on are unspecified.
#[derive(Debug, Clone, Copy)]
pub struct GatherGrad;

impl GatherGrad {
    pub const MAX_PARTS: usize = 4;
    const FIXED: usize = 4;

    fn twin<T: Real>(&self, a: &Args<T>) {
        let (order, chunk_starts, row_chunks, counts) = (a.u(0), a.u(1), a.u(2), a.u(3));
        let d = a.out_shape(0)[1];
        let parts: Vec<(&[T], usize)> = (GatherGrad::FIXED..a.len()).map(|i| (a.f(i), a.shape(i)[0])).collect();
        let entry = |mut at: usize| {
            for &(part, rows) in &parts {
                if at < rows {
                    return &part[at * d..][..d];
                }
                at -= rows;
            }
            unreachable!("order points past the gathered rows")
        };
        let used = counts[0] as usize;
        let average = order.len() / used.max(1) + 1;
        rows(&mut a.out(0)[..used * d], d, average * d, |r, y| {
            wide(
                #[inline(always)]
                || {
                    let chunk =
                        |c: u32| &order[chunk_starts[c as usize] as usize..chunk_starts[c as usize + 1] as usize];
                    for (block, y) in y.chunks_mut(COLUMNS).enumerate() {
                        let add = |sum: &mut [T], chunk: &[u32]| {
                            sum.fill(T::ZERO);
                            for &at in chunk {
                                let dy = &entry(at as usize)[block * COLUMNS..][..sum.len()];
                                sum.iter_mut().zip(dy).for_each(|(s, &g)| *s += g);
                            }
                        };
                        // Each row has a chunk, and most have no other, of one entry or two.
                        let chunks = row_chunks[r]..row_chunks[r + 1];
                        if chunks.len() == 1 {
                            add(y, chunk(chunks.start));
                            continue;
                        }
                        let mut sums = Rows::default();
                        for c in chunks {
                            add(y, chunk(c));
                            sums.add(y);
                        }
                        sums.total(y);
                    }
                },
            );
        });
    }
}

impl Op for GatherGrad {
    fn name(&self) -> &'static str {
        "gather backward"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if !(GatherGrad::FIXED + 1..=GatherGrad::FIXED + GatherGrad::MAX_PARTS).contains(&x.len()) {
            return x.fail("takes the four segment lists and 1 to 4 gradients");
        }
        (0..GatherGrad::FIXED).try_for_each(|i| x.dtype(i, DType::U32))?;
        let d = x.shape(GatherGrad::FIXED).last_dim();
        let mut n = 0;
        for i in GatherGrad::FIXED..x.len() {
            x.rank(i, 2)?;
            if x.shape(i)[1] != d {
                return x.fail("widths differ");
            }
            n += x.shape(i)[0];
        }
        if x.shape(0)[0] != n {
            return x.fail(format!("the lists are for {} gathered rows, not {n}", x.shape(0)[0]));
        }
        let ends = |i: usize| x.shape(i)[0].checked_sub(1);
        let (Some(caps_rows), Some(caps_chunks)) = (ends(2), ends(1)) else {
            return x.fail("the segment lists have no end");
        };
        Ok(Outputs::one(Spec::f32([caps_rows, d])).with_scratch(Spec::f32([caps_chunks, d])))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        const NAMES: [&str; GatherGrad::MAX_PARTS] = ["dy0", "dy1", "dy2", "dy3"];
        let [chunks, d] = [s.scratch[0].shape[0], s.output(0)[1]];
        let rows = s.output(0)[0];
        let parts = &s.inputs[GatherGrad::FIXED..];
        let part = |i: usize| parts.get(i).map_or(0, |x| x.shape[0] as u32);
        let params = Params { rows: rows as u32, n: chunks as u32, part0: part(0), part1: part(1), part2: part(2) };
        let mut chunk_sums = launch("sum_chunks", d, params).turns(turns_of(CHUNK, 0)).threads(chunks * d, caps)?;
        for name in &NAMES[parts.len()..] {
            chunk_sums = chunk_sums.bind(name, GatherGrad::FIXED);
        }
        // All gathered rows may be the same one.
        let most = s.input(0)[0].div_ceil(CHUNK);
        Ok(vec![chunk_sums, launch("sum_rows", d, params).turns(turns_of(most, 0)).threads(rows * d, caps)?])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let bytes = s.inputs.iter().chain(s.outputs).map(|x| x.bytes() as u64).sum();
        let gathered = s.inputs[GatherGrad::FIXED..].iter().map(|x| x.shape.elements() as u64).sum();
        Cost { bytes, flops: gathered }
    }

    fn operands(&self) -> Operands {
        Operands {
            inputs: &["order", "chunk_starts", "row_chunks", "counts", "dy0", "dy1", "dy2", "dy3"],
            outputs: &["values"],
            scratch: &["chunk_sums"],
        }
    }
}

/// The dense gradient of a small table, for indices that no host has sorted: inputs indices \[n\], dy \[n, d\].
#[derive(Debug, Clone, Copy)]
pub struct GatherGradDense {
    pub rows: usize,
}

impl GatherGradDense {
    /// More rows than this would compare each index too often.
    pub const MAX_ROWS: usize = 64;

    /// Parts of the sum on a GPU.
    fn chunks(n: usize) -> usize {
        (n / 64).clamp(1, 256)
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let d = a.shape(1)[1];
        let (indices, dy) = (a.u(0), a.f(1));
        rows(a.out(0), d, indices.len() * d / 4, |r, y| {
            for (block, y) in y.chunks_mut(COLUMNS).enumerate() {
                let mut sums = Rows::default();
                for (i, _) in indices.iter().enumerate().filter(|&(_, &row)| row as usize == r) {
                    sums.add(&dy[i * d + block * COLUMNS..][..y.len()]);
                }
                sums.total(y);
            }
        });
    }
}

impl Op for GatherGradDense {
    fn name(&self) -> &'static str {
        "small gather backward"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(2)?;
        x.rank(1, 2)?;
        x.is_shape(0, &[x.shape(1)[0]])?;
        if self.rows > GatherGradDense::MAX_ROWS {
            return x.fail(format!(
                "a table of {} rows (over {}) needs sorted segments from the batch: declare them with Graph::segments",
                self.rows,
                GatherGradDense::MAX_ROWS
            ));
        }
        let [n, d] = [x.shape(1)[0], x.shape(1)[1]];
        let partial = Spec::f32([GatherGradDense::chunks(n), self.rows, d]);
        Ok(Outputs::one(Spec::f32([self.rows, d])).with_scratch(partial))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [n, d] = [s.input(1)[0], s.input(1)[1]];
        let chunks = GatherGradDense::chunks(n);
        let params = Params { rows: self.rows as u32, n: n as u32, part0: chunks as u32, ..Params::default() };
        Ok(vec![
            launch("small_parts", d, params)
                .turns(turns_of(n.div_ceil(chunks), 0))
                .threads(chunks * self.rows * d, caps)?,
            launch("small_join", d, params).turns(turns_of(chunks, 0)).threads(self.rows * d, caps)?,
        ])
    }

    fn operands(&self) -> Operands {
        Operands { inputs: &["indices", "dy"], outputs: &["dtable"], scratch: &["partial"] }
    }
}

/// A dense tensor of `shape` from values \[cap, d\], rows \[cap\], counts: the values at their rows, zeros elsewhere.
#[derive(Debug, Clone)]
pub struct RowsToDense {
    pub shape: Shape,
}

impl RowsToDense {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let d = self.shape[1];
        let (values, table_rows, used) = (a.f(0), a.u(1), a.u(2)[0] as usize);
        rows(a.out(0), d, d, |r, y| match table_rows[..used].binary_search(&(r as u32)) {
            Ok(i) => y.copy_from_slice(&values[i * d..][..d]),
            Err(_) => y.fill(T::ZERO),
        });
    }
}

impl Op for RowsToDense {
    fn name(&self) -> &'static str {
        "rows to dense"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(3)?;
        x.is_shape(1, &[x.shape(0)[0]])?;
        x.dtype(1, DType::U32)?;
        x.dtype(2, DType::U32)?;
        Ok(Outputs::one(Spec::f32(self.shape.clone())))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [rows, d] = [self.shape[0], self.shape[1]];
        let params = Params { rows: rows as u32, n: s.input(1)[0] as u32, ..Params::default() };
        Ok(vec![launch("rows_to_dense", d, params).turns(SEARCH).threads(rows * d, caps)?])
    }

    fn operands(&self) -> Operands {
        Operands { inputs: &["row_values", "rows", "counts"], outputs: &["dense"], scratch: &[] }
    }
}

/// Scores of listed items: inputs users \[B, d\], table \[n, d\], ids \[B, C\]; output \[B, C\], the dot products of each user
/// with its own items; 0 for an id of n or more. The gathered rows \[B, C, d\] never exist.
#[derive(Debug, Clone, Copy)]
pub struct GatherDot;

impl GatherDot {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (users, table, ids) = (a.f(0), a.f(1), a.u(2));
        let (d, c) = (a.shape(0)[1], a.shape(2)[1]);
        rows(a.out(0), c, c * d, |b, y| {
            let user = &users[b * d..][..d];
            for (y, &id) in y.iter_mut().zip(&ids[b * c..]) {
                let row = table.get(id as usize * d..(id as usize + 1) * d).unwrap_or_default();
                *y = user.iter().zip(row).map(|(&u, &x)| u * x).sum();
            }
        });
    }
}

impl Op for GatherDot {
    fn name(&self) -> &'static str {
        "gather dot"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.count(3)?;
        (0..3).try_for_each(|i| x.rank(i, 2))?;
        x.dtype(2, DType::U32)?;
        if x.shape(0)[1] != x.shape(1)[1] || x.shape(0)[0] != x.shape(2)[0] {
            return x.fail("users, table and ids do not fit");
        }
        Ok(Outputs::one(Spec::f32(x.shape(2).clone())))
    }

    /// Ranking needs none.
    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let (users, table, ids) = (a.f(0), a.f(1), a.u(2));
        let (d, c) = (a.shape(0)[1], a.shape(2)[1]);
        rows(a.out(0), c, c * d, |b, y| {
            let user = &users[b * d..][..d];
            wide(
                #[inline(always)]
                || {
                    for (y, &id) in y.iter_mut().zip(&ids[b * c..]) {
                        let row = table.get(id as usize * d..(id as usize + 1) * d);
                        *y = row.map_or(0.0, |row| super::matmul::dot(user, row));
                    }
                },
            );
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (n, listed) = (s.output(0).elements(), s.output(0)[1]);
        let [rows, d] = [s.input(1)[0], s.input(1)[1]];
        let params = Params { rows: rows as u32, n: n as u32, part0: listed as u32, ..Params::default() };
        Ok(vec![launch("gather_dot", d, params).turns(turns_of(d, 0)).threads(n, caps)?])
    }

    fn operands(&self) -> Operands {
        Operands { inputs: &["users", "table", "ids"], outputs: &["y"], scratch: &[] }
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        Split::rows(s.input(0)[0], 0b101)
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let n = s.output(0).elements() as u64;
        let d = s.input(0)[1] as u64;
        Cost { bytes: (4 * n * d).min(s.inputs[1].bytes() as u64) + 8 * n, flops: 2 * n * d }
    }
}
