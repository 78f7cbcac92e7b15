//! Sum, mean and maximum over one axis, and the sum of squares that gradient clipping needs.

use super::example::{Example, Scale, UNIT};
use super::fast::sum_lanes;
use super::launch::{TREE, group_size, turns_of};
use super::parallel::par_rows;
use super::real::Real;
use super::sums::{add_rows, add_up, join, sum_chunks};
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::graph::Var;
use crate::tensor::Spec;
use crate::twin;
use bytemuck::{Pod, Zeroable};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    Sum,
    Mean,
    Max,
}

/// `x` without `axis`: the sum, mean or maximum over it.
#[derive(Debug, Clone, Copy)]
pub struct Reduce {
    pub kind: Reduction,
    pub axis: usize,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    outer: u32,
    n: u32,
    inner: u32,
    chunks: u32,
}

impl Params {
    fn new(outer: usize, n: usize, inner: usize, chunks: usize) -> Params {
        Params { outer: outer as u32, n: n as u32, inner: inner as u32, chunks: chunks as u32 }
    }
}

/// What each of the launches before the one that joins them leaves.
const PARTIALS: [&str; 2] = ["first_partial", "second_partial"];

/// Terms of an output that one invocation adds at most.
const TERMS: usize = 4096;

/// Partial values of each output that a GPU makes in launches of their own, launch by launch, before the one that joins them:
/// for long axes, and where one launch would have few invocations with a long way each.
fn chunks(outer: usize, n: usize, inner: usize) -> Vec<usize> {
    let first = match () {
        _ if n > 256 * TERMS => n.div_ceil(TERMS / 4),
        _ if n >= 1024 && outer * inner <= 1024 => (n / 64).min(256),
        _ if n > TERMS && inner > 1 => n.div_ceil(TERMS),
        _ => return vec![],
    };
    if first > 256 { vec![first, first.div_ceil(256)] } else { vec![first] }
}

impl Reduce {
    pub fn new(kind: Reduction, axis: usize) -> Reduce {
        Reduce { kind, axis }
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let (outer, n, inner) = a.shape("x").around(self.axis);
        let x = a.f("x");
        let scale = if self.kind == Reduction::Mean { T::ONE / T::of(n as f64) } else { T::ONE };
        let y = a.out("y");
        if y.is_empty() {
            return;
        }
        if inner == 1 && self.kind != Reduction::Max {
            par_rows(y, 1, n, |o, y| y[0] = sum_chunks(n, |r| add_up(&x[o * n..][r])) * scale);
            return;
        }
        let fold = |x: &[T], y: &mut [T]| match self.kind {
            Reduction::Max => {
                y.fill(T::of(f32::NEG_INFINITY as f64));
                x.chunks(inner).for_each(|row| y.iter_mut().zip(row).for_each(|(y, &x)| *y = y.max(x)));
            }
            _ if n <= FEW => {
                y.fill(T::ZERO);
                x.chunks(inner).for_each(|row| y.iter_mut().zip(row).for_each(|(y, &x)| *y += x));
            }
            _ => add_rows(x, y),
        };
        if outer == 1 && n >= 512 {
            // A long column sum (bias gradients): fixed chunks of rows.
            const CHUNK: usize = 256;
            let mut parts = vec![T::ZERO; n.div_ceil(CHUNK) * inner];
            par_rows(&mut parts, inner, CHUNK * inner, |c, part| {
                fold(&x[c * CHUNK * inner..n.min((c + 1) * CHUNK) * inner], part);
            });
            match self.kind {
                Reduction::Max => fold(&parts, y),
                _ => {
                    join(&mut parts, inner);
                    y.copy_from_slice(&parts[..inner]);
                }
            }
        } else {
            par_rows(y, inner, n * inner, |o, y| fold(&x[o * n * inner..][..n * inner], y));
        }
        y.iter_mut().for_each(|v| *v *= scale);
    }
}

/// Rows whose sum needs no blocks.
const FEW: usize = 64;

impl Op for Reduce {
    fn name(&self) -> &'static str {
        match self.kind {
            Reduction::Sum => "sum",
            Reduction::Mean => "mean",
            Reduction::Max => "max",
        }
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "..").out("y").scratch(PARTIALS[0]).scratch(PARTIALS[1])
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.axis("x", self.axis)?;
        if x.shape("x")[self.axis] == 0 {
            return x.fail("nothing to reduce over");
        }
        let y = Outputs::one(Spec::f32(x.shape("x").without(self.axis)));
        let (outer, n, inner) = x.shape("x").around(self.axis);
        let scratch = chunks(outer, n, inner).into_iter().map(|chunks| Spec::f32([outer, chunks, inner]));
        Ok(scratch.fold(y, Outputs::with_scratch))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let (x, y, dy) = (node.input("x"), node.output("y"), node.dy("y"));
        let shape = x.shape();
        let kept = shape.with(self.axis, 1);
        let dx = match self.kind {
            Reduction::Sum => dy.reshape(kept).expand(shape),
            Reduction::Mean => dy.reshape(kept).scale(1.0 / shape[self.axis] as f64).expand(shape),
            Reduction::Max => dy.graph().push(MaxBackward { axis: self.axis }, &[x, y, dy]),
        };
        Ok(Grads::to([("x", dx)]))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (outer, n, inner) = s.input("x").around(self.axis);
        let chunks = chunks(outer, n, inner);
        let launch = |entry, n, chunks, turns| {
            Launch::of("reduce", entry)
                .params(Params::new(outer, n, inner, chunks))
                .constant("KIND", self.kind as u32)
                .constant("COUNTED", 0)
                .turns(turns)
        };
        let Some(&last) = chunks.last() else {
            let size = group_size(n, caps);
            return Ok(vec![match inner == 1 && n >= 32 {
                true => launch("slices", n, 1, turns_of(n.div_ceil(size), 0) + TREE).groups(outer, size, caps)?,
                false => launch("columns", n, 1, turns_of(n, 0)).threads(outer * inner, caps)?,
            }]);
        };
        // Each launch reduces what the one before it left.
        let terms = std::iter::once(n).chain(chunks.iter().copied());
        let mut launches = vec![];
        for (i, (n, &chunks)) in terms.zip(&chunks).enumerate() {
            let launch = launch("parts", n, chunks, turns_of(n.div_ceil(chunks), 0)).bind("partial", PARTIALS[i]);
            let launch = if i == 0 { launch } else { launch.bind("x", PARTIALS[i - 1]) };
            launches.push(launch.threads(outer * chunks * inner, caps)?);
        }
        let join = launch("join", n, last, turns_of(last, 0)).bind("partial", PARTIALS[chunks.len() - 1]);
        launches.push(join.threads(outer * inner, caps)?);
        Ok(launches)
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        match (self.axis, self.kind) {
            (0, Reduction::Sum) => s.sum(s.input("x")[0], ["x"]),
            (0, _) => None,
            _ => s.rows(s.input("x")[0], ["x"]),
        }
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: s.input("x").elements() as u64 }
    }
}

/// Inputs x, y = max over `axis`, dy: the gradient goes to the first element that equals the maximum; it is NaN where that is.
#[derive(Debug, Clone, Copy)]
pub struct MaxBackward {
    pub axis: usize,
}

impl MaxBackward {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (_, n, inner) = a.shape("x").around(self.axis);
        let (x, y, dy) = (a.f("x"), a.f("largest"), a.f("dy"));
        par_rows(a.out("dx"), n * inner, n * inner, |o, dx| {
            let x = &x[o * n * inner..];
            dx.fill(T::ZERO);
            for i in 0..inner {
                let max = y[o * inner + i];
                if max.is_nan() {
                    (0..n).for_each(|c| dx[c * inner + i] = max);
                }
                if let Some(c) = (0..n).find(|&c| x[c * inner + i] == max) {
                    dx[c * inner + i] = dy[o * inner + i];
                }
            }
        });
    }
}

impl Op for MaxBackward {
    fn name(&self) -> &'static str {
        "max backward"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "..").f32("largest", "*").f32("dy", "*").out_f32("dx", "..")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.axis("x", self.axis)?;
        ["largest", "dy"].into_iter().try_for_each(|name| x.is_shape(name, &x.shape("x").without(self.axis)))?;
        Ok(x.declared())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (outer, n, inner) = s.input("x").around(self.axis);
        let launch = Launch::of("reduce", "max_backward").params(Params::new(outer, n, inner, 1)).turns(turns_of(n, 0));
        Ok(vec![launch.constant("KIND", Reduction::Max as u32).constant("COUNTED", 0).threads(outer * inner, caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        if self.axis == 0 { None } else { s.rows(s.input("x")[0], ["x", "largest", "dy"]) }
    }
}

/// The sum of squares of `x`, a scalar; with a second input `counts`, only of the first `counts[0]` rows of `x`.
#[derive(Debug, Clone, Copy)]
pub struct SumSquares;

/// The sum of the squares of `x`, by sixteen sums side by side.
fn squares<T: Real>(x: &[T]) -> T {
    let mut sums = [T::ZERO; 16];
    let (blocks, rest) = x.as_chunks::<16>();
    for block in blocks {
        sums.iter_mut().zip(block).for_each(|(sum, &x)| *sum += x * x);
    }
    sum_lanes(sums) + rest.iter().map(|&x| x * x).sum()
}

impl SumSquares {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let x = a.f("x");
        let n = if a.has("counts") { a.u("counts")[0] as usize * a.shape("x").last_dim() } else { x.len() };
        a.out("sum_of_squares")[0] = sum_chunks(n, |r| squares(&x[r]));
    }
}

impl Op for SumSquares {
    fn name(&self) -> &'static str {
        "sum of squares"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "*").u32("counts", "4").optional().out_f32("sum_of_squares", "").scratch("partial")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if x.has("counts") && x.shape("x").len() != 2 {
            return x.fail("counts are of the rows of a table");
        }
        Ok(x.declared().with_scratch(Spec::f32([SumSquares::GROUPS])))
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let counted = s.get("counts").is_some();
        let size = group_size(usize::MAX, caps);
        let terms = s.input("x").elements().div_ceil(SumSquares::GROUPS * size).max(SumSquares::GROUPS.div_ceil(size));
        let turns = turns_of(terms, 0) + TREE;
        let launch = |entry| {
            Launch::of("reduce", entry)
                .turns(turns)
                .params(Params::new(1, s.input("x").elements(), s.input("x").last_dim(), SumSquares::GROUPS))
                .constant("KIND", Reduction::Sum as u32)
                .constant("COUNTED", counted as u32)
        };
        let squares = launch("squares").groups(SumSquares::GROUPS, size, caps)?;
        Ok(vec![squares, launch("total_squares").groups(1, size, caps)?])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        Cost { bytes: s.bytes(), flops: 2 * s.input("x").elements() as u64 }
    }
}

impl SumSquares {
    /// Workgroups of the first launch, each leaving one partial sum.
    pub const GROUPS: usize = 256;
}

/// Over rows, over columns, and over everything.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [n, d] = [scale.rows(), scale.width()];
    let of = |name: &str, build: for<'g> fn(Var<'g>) -> Var<'g>| {
        Example::new(name, format!("{n}x{d}"), move |_, x| Ok(vec![build(x[0])])).f32([n, d], UNIT)
    };
    let squares = Example::new("sum of squares", format!("{n}x{d}"), |g, x| Ok(vec![g.push(SumSquares, x)]));
    let sums =
        [of("reduce rows", |x| x.mean(1)), of("reduce columns", |x| x.mean(0)), of("reduce all", |x| x.mean_all())];
    let alone = [of("reduce max", |x| x.max_over(1)), squares.f32([n, d], UNIT)];
    sums.into_iter().flat_map(|sum| sum.both(&[0], &[])).chain(alone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::op::infer;
    use crate::tensor::Shape;

    #[test]
    fn no_axis_is_too_long_for_a_driver_that_ends_loops() {
        let extents = (0..31).flat_map(|power| [1usize << power, (1 << power) + 1]);
        for n in extents {
            for (axis, shape) in [(0, [n, 1]), (0, [n, 3]), (0, [n, 2000]), (1, [1, n]), (1, [5000, n])] {
                let op = Reduce::new(Reduction::Sum, axis);
                let specs = [Spec::f32(Shape::from(shape))];
                if specs[0].shape.elements() > 1 << 31 {
                    continue;
                }
                let made = infer(&op, "sum", &specs).unwrap();
                let operands = op.operands();
                let s = Shapes::new(&operands, &specs, &made.values, &made.scratch);
                let launches = op.gpu(&s, &Caps::default()).unwrap();
                assert!(launches.len() <= 3 && launches.iter().all(|l| l.turns <= 32_768), "{shape:?}");
            }
        }
    }
}
