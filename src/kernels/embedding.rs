//! Embedding gather, and its gradient by sorted segments: no atomics, the same bits every time.

use super::example::{Example, Fill, Scale, UNIT};
use super::fast::wide;
use super::interest_scores::largest;
use super::launch::{SEARCH, turns_of};
use super::parallel::par_rows;
use super::real::Real;
use super::sums::{COLUMNS, Rows};
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::tensor::segments::CHUNK;
use crate::tensor::{Shape, Spec};
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
        let d = a.shape("table")[1];
        let (table, indices) = (a.f("table"), a.u("indices"));
        par_rows(a.out("y"), d, d, |i, y| match table.get(indices[i] as usize * d..(indices[i] as usize + 1) * d) {
            Some(row) => y.copy_from_slice(row),
            None => y.fill(T::ZERO),
        });
    }
}

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("table", "n d").u32("indices", "..").out_f32("y", ".. d")
    }

    /// Only for tables that are computed: those that are parameters get [`GatherGrad`] from the gradient pass.
    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let (table, indices, dy) = (node.input("table"), node.input("indices"), node.dy("y"));
        let (n, d) = (indices.shape().elements(), table.shape()[1]);
        let op = GatherGradDense { rows: table.shape()[0] };
        let dx = dy.graph().try_push(op, &[indices.reshape([n]), dy.reshape([n, d])])?[0];
        Ok(Grads::to([("table", dx)]))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (n, d) = (s.input("indices").elements(), s.input("table")[1]);
        let params = Params { rows: s.input("table")[0] as u32, n: n as u32, ..Params::default() };
        Ok(vec![launch("forward", d, params).threads(n * d, caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(*s.input("indices").first()?, ["indices"])
    }

    /// The gathered rows, at most once each from a table that is smaller than what is gathered.
    fn cost(&self, s: &Shapes) -> Cost {
        let out = s.outputs[0].bytes() as u64;
        let read = out.min(s.spec("table").bytes() as u64);
        Cost { bytes: out + read + s.spec("indices").bytes() as u64, flops: 0 }
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
        let (order, chunk_starts, row_chunks, counts) =
            (a.u("order"), a.u("chunk_starts"), a.u("row_chunks"), a.u("counts"));
        let d = a.out_shape("values")[1];
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
        par_rows(&mut a.out("values")[..used * d], d, average * d, |r, y| {
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

    fn operands(&self) -> Operands {
        Operands::new()
            .u32("order", "entries")
            .u32("chunk_starts", "chunks+1")
            .u32("row_chunks", "rows+1")
            .u32("counts", "4")
            .f32("dy0", "n0 d")
            .f32("dy1", "n1 d")
            .optional()
            .f32("dy2", "n2 d")
            .optional()
            .f32("dy3", "n3 d")
            .optional()
            .out_f32("values", "rows d")
            .scratch("chunk_sums")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let gathered: usize = (GatherGrad::FIXED..x.len()).map(|i| x.shape(i)[0]).sum();
        if x.extent("entries") != gathered {
            return x.fail(format!("the lists are for {} gathered rows, not {gathered}", x.extent("entries")));
        }
        Ok(x.declared().with_scratch(Spec::f32([x.extent("chunks"), x.extent("d")])))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [chunks, d] = [s.scratch[0].shape[0], s.output("values")[1]];
        let rows = s.output("values")[0];
        let parts = &s.inputs[GatherGrad::FIXED..];
        let part = |i: usize| parts.get(i).map_or(0, |x| x.shape[0] as u32);
        let params = Params { rows: rows as u32, n: chunks as u32, part0: part(0), part1: part(1), part2: part(2) };
        let chunk_sums = launch("sum_chunks", d, params).turns(turns_of(CHUNK, 0)).threads(chunks * d, caps)?;
        // All gathered rows may be the same one.
        let most = s.input("order")[0].div_ceil(CHUNK);
        Ok(vec![chunk_sums, launch("sum_rows", d, params).turns(turns_of(most, 0)).threads(rows * d, caps)?])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let gathered = s.inputs[GatherGrad::FIXED..].iter().map(|x| x.shape.elements() as u64).sum();
        Cost { bytes: s.bytes(), flops: gathered }
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
        let d = a.shape("dy")[1];
        let (indices, dy) = (a.u("indices"), a.f("dy"));
        par_rows(a.out("dtable"), d, indices.len() * d / 4, |r, y| {
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

    fn operands(&self) -> Operands {
        Operands::new().u32("indices", "n").f32("dy", "n d").out("dtable").scratch("partial")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if self.rows > GatherGradDense::MAX_ROWS {
            return x.fail(format!(
                "a table of {} rows (over {}) needs sorted segments from the batch: declare them with Graph::segments",
                self.rows,
                GatherGradDense::MAX_ROWS
            ));
        }
        let [n, d] = ["n", "d"].map(|axis| x.extent(axis));
        let partial = Spec::f32([GatherGradDense::chunks(n), self.rows, d]);
        Ok(Outputs::one(Spec::f32([self.rows, d])).with_scratch(partial))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [n, d] = [s.input("dy")[0], s.input("dy")[1]];
        let chunks = GatherGradDense::chunks(n);
        let params = Params { rows: self.rows as u32, n: n as u32, part0: chunks as u32, ..Params::default() };
        Ok(vec![
            launch("small_parts", d, params)
                .turns(turns_of(n.div_ceil(chunks), 0))
                .threads(chunks * self.rows * d, caps)?,
            launch("small_join", d, params).turns(turns_of(chunks, 0)).threads(self.rows * d, caps)?,
        ])
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
        let (values, table_rows, used) = (a.f("row_values"), a.u("rows"), a.u("counts")[0] as usize);
        par_rows(a.out("dense"), d, d, |r, y| match table_rows[..used].binary_search(&(r as u32)) {
            Ok(i) => y.copy_from_slice(&values[i * d..][..d]),
            Err(_) => y.fill(T::ZERO),
        });
    }
}

impl Op for RowsToDense {
    fn name(&self) -> &'static str {
        "rows to dense"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("row_values", "cap d").u32("rows", "cap").u32("counts", "4").out("dense")
    }

    fn infer(&self, _x: &Inputs) -> Result<Outputs> {
        Ok(Outputs::one(Spec::f32(self.shape.clone())))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let [rows, d] = [self.shape[0], self.shape[1]];
        let params = Params { rows: rows as u32, n: s.input("rows")[0] as u32, ..Params::default() };
        Ok(vec![launch("rows_to_dense", d, params).turns(SEARCH).threads(rows * d, caps)?])
    }
}

/// Interests of each user of [`GatherDot`].
fn interests(s: &Shapes) -> usize {
    let users = s.input("users");
    if users.len() == 3 { users[1] } else { 1 }
}

/// Scores of listed items: inputs users \[B, d\] or \[B, K, d\], with K interests each, table \[n, d\], ids \[B, C\]; output
/// \[B, C\], the products of each user with its own items, of K interests the largest one (NaN where one of them is); 0 for an id
/// of n or more. The gathered rows \[B, C, d\] never exist.
#[derive(Debug, Clone, Copy)]
pub struct GatherDot;

impl GatherDot {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (users, table, ids) = (a.f("users"), a.f("table"), a.u("ids"));
        let (d, c) = (a.shape("table")[1], a.shape("ids")[1]);
        let of_user = users.len() / a.shape("users")[0].max(1);
        par_rows(a.out("y"), c, c * of_user, |b, y| {
            let user = &users[b * of_user..][..of_user];
            wide(
                #[inline(always)]
                || {
                    for (y, &id) in y.iter_mut().zip(&ids[b * c..]) {
                        let row = table.get(id as usize * d..(id as usize + 1) * d);
                        *y = row.map_or(T::ZERO, |row| largest(user, row).0);
                    }
                },
            );
        });
    }
}

impl Op for GatherDot {
    fn name(&self) -> &'static str {
        "gather dot"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("users", "b .. d").f32("table", "n d").u32("ids", "b c").out_f32("y", "b c")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let users = x.shape("users");
        match users.len() {
            2 | 3 if users[1..].iter().all(|&n| n > 0) => Ok(x.declared()),
            _ => x.fail("users must be [B, d] or [B, K, d], and not without elements"),
        }
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (n, listed) = (s.output("y").elements(), s.output("y")[1]);
        let [rows, d] = [s.input("table")[0], s.input("table")[1]];
        let k = interests(s);
        let params =
            Params { rows: rows as u32, n: n as u32, part0: listed as u32, part1: k as u32, ..Params::default() };
        Ok(vec![launch("gather_dot", d, params).turns(turns_of(k, turns_of(d, 0))).threads(n, caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        s.rows(s.input("users")[0], ["users", "ids"])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let n = s.output("y").elements() as u64;
        let d = s.input("table")[1] as u64;
        Cost { bytes: (4 * n * d).min(s.spec("table").bytes() as u64) + 8 * n, flops: 2 * n * interests(s) as u64 * d }
    }
}

/// Rows of a table, in order and at random, and the way back: by sorted segments, and of a small table without.
pub fn examples(scale: Scale) -> Vec<Example> {
    let (n, d, table) = (scale.rows(), scale.width(), scale.pick(100_000, 61));
    let gather = |name: &str, indices| {
        Example::new(name, format!("{n}x{d}"), |_, x| Ok(vec![x[0].gather(x[1])]))
            .f32([n + 1, d], UNIT)
            .u32([n], indices)
    };
    // One row after the other, each a few times; and at random, where rows of the batch lie far apart.
    let in_order = (0..n).map(|i| 1 + (i * (table - 1) / n) as u32).collect();
    let scatter = |name: &str, indices| {
        Example::new("scatter", format!("{n}x{d} to {table}"), |_, x| Ok(vec![x[0].gather(x[1])]))
            .f32([table, d], UNIT)
            .u32([n], indices)
            .segments(0, 1)
            .backward(&[0], &["gather backward"])
            .named(name)
    };
    let small = Example::new("small gather", format!("{n}x{d} to 40"), |_, x| Ok(vec![x[0].gather(x[1])]))
        .f32([40, d], UNIT)
        .u32([n], Fill::Below(40))
        .backward(&[0], &["small gather backward"]);
    let [users, listed] = scale.pick([4096, 101], [9, 14]);
    let dot = |name: &str, shape: &[usize]| {
        let sizes =
            shape[..shape.len() - 1].iter().chain([&listed, &d]).map(usize::to_string).collect::<Vec<_>>().join("x");
        let example = Example::new(name, sizes, |g, x| Ok(vec![g.push(GatherDot, x)])).of(Spec::f32(shape), UNIT);
        example.f32([table, d], UNIT).u32([users, listed], Fill::Below(table as u32))
    };
    vec![
        gather("gather contiguous", Fill::Ascending),
        gather("gather random", Fill::Below(n as u32 + 1)),
        scatter("scatter contiguous", Fill::Given(in_order)),
        scatter("scatter random", Fill::Below(table as u32)),
        small,
        dot("gather dot", &[users, d]),
        dot("gather dot of interests", &[users, 4, d]),
    ]
}
