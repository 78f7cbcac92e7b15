//! Experts over rows of features: a mixture of linear maps that each row weighs by its own gates (ANT, equations 4 to 7), and with
//! one expert a linear map. Features are leaves: they are read as they lie, in words of two halves or one float, and have no
//! gradient. What an expert gives for a row never lies in memory.

use super::example::{Example, Fill, Scale};
use super::fast::wide;
use super::launch::turns_of;
use super::parallel::par_rows;
use super::random::{Mask, ROUNDS};
use super::real::{Real, product};
use super::sums::join;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes};
use crate::error::Result;
use crate::graph::Var;
use crate::tensor::Spec;
use crate::twin;
use bytemuck::{Pod, Zeroable};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use rayon::prelude::*;

/// Rows of features as they lie in words of 32 bits: \[rows, width\] of f32, or of f16, two a word and the first in the lower half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    pub rows: usize,
    pub width: usize,
    pub half: bool,
}

impl Packed {
    /// Words of all rows.
    pub fn words(self) -> usize {
        let elements = self.rows * self.width;
        if self.half { elements.div_ceil(2) } else { elements }
    }

    /// The root mean square length of the rows that have a number other than 0; 1 if none has.
    pub fn length(self, words: &[u32]) -> f64 {
        let mut x = vec![0.0; self.width];
        let squares = (0..self.rows).map(|row| {
            self.widen(words, row, &mut x);
            x.iter().map(|&x| (x as f64).powi(2)).sum::<f64>()
        });
        let (sum, count) =
            squares.filter(|&square| square > 0.0).fold((0.0, 0), |(sum, n), square| (sum + square, n + 1));
        if count == 0 { 1.0 } else { (sum / count as f64).sqrt() }
    }

    /// Element `e` of `words`.
    #[inline(always)]
    fn element(self, words: &[u32], e: usize) -> f32 {
        match self.half {
            true => f16::from_bits((words[e / 2] >> (16 * (e % 2))) as u16).to_f32(),
            false => f32::from_bits(words[e]),
        }
    }

    /// Row `row` of `words`, widened.
    fn widen(self, words: &[u32], row: usize, x: &mut [f32]) {
        let first = row * self.width;
        match self.half {
            true => {
                let halves: &[u16] = bytemuck::cast_slice(words);
                halves[first..][..self.width].reinterpret_cast::<f16>().convert_to_f32_slice(x);
            }
            false => x.copy_from_slice(bytemuck::cast_slice(&words[first..][..self.width])),
        }
    }
}

/// Which rows of which features experts read, and what they drop of them.
#[derive(Debug, Clone, Copy)]
pub struct Read {
    pub features: Packed,
    /// Rows by a list; else all, in order.
    pub listed: bool,
    /// Each element of a row is 0 with probability p, else divided by 1 - p: (p, key). It depends on the element's number among
    /// the features, not on the list.
    pub dropout: Option<(f32, u32)>,
}

/// y\[i\] = sum_k gates\[i, k\] (x\[i\] weight\[k\]), \[n, d\]: inputs features (words), `list` \[n\] if `listed` (a row past the last
/// is zeros), gates \[n, K\] if `gated` (else K is 1 and its gate is 1), weight \[K, a, d\], step if there is dropout.
#[derive(Debug, Clone, Copy)]
pub struct Experts {
    pub read: Read,
    pub gated: bool,
}

/// Inputs features, `list`, weight, dy \[n, d\], step; output dgates\[i, k\] = dy\[i\] . (x\[i\] weight\[k\]), \[n, K\].
#[derive(Debug, Clone, Copy)]
pub struct ExpertsGates {
    pub read: Read,
}

/// Inputs features, `list`, gates, dy, step; output dweight\[k\] = sum_i gates\[i, k\] x\[i\]^T dy\[i\], \[K, a, d\].
#[derive(Debug, Clone, Copy)]
pub struct ExpertsWeight {
    pub read: Read,
    pub gated: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    rows: u32,
    a: u32,
    d: u32,
    experts: u32,
    part: u32,
    parts: u32,
    key: u32,
    rate: f32,
    scale: f32,
}

/// Extents: n rows that are read, of width a, by K experts into d columns.
#[derive(Clone, Copy)]
struct Dims {
    n: usize,
    a: usize,
    experts: usize,
    d: usize,
}

/// Outputs along a side of a workgroup's tile, its invocations, and the terms that they take at once.
const SIDE: usize = 64;
const INVOCATIONS: usize = 256;
const DEPTH: usize = 16;
/// Rows that a CPU takes at once.
const TILE: usize = 128;
/// Parts of a weight's gradient, which is as large as all weights, at most.
const PARTS: usize = 16;

impl Dims {
    /// Rows of a part of the weight's gradient.
    fn part(self) -> usize {
        self.n.div_ceil(PARTS).max(4 * TILE).next_multiple_of(TILE)
    }

    fn parts(self) -> usize {
        self.n.div_ceil(self.part()).max(1)
    }

    fn weight(self) -> usize {
        self.experts * self.a * self.d
    }

    fn cost(self, read: &Read, others: u64) -> Cost {
        let (n, a) = (self.n as u64, self.a as u64);
        let features = n * a * if read.features.half { 2 } else { 4 };
        Cost { bytes: features + others, flops: 2 * n * a * (self.experts * self.d) as u64 }
    }
}

impl Read {
    /// Operands before the op's own, and after them.
    fn operands(&self, own: impl FnOnce(Operands) -> Operands) -> Operands {
        let first = Operands::new().u32("features", "words").u32("list", "n").when(self.listed);
        own(first).u32("step", "8").when(self.dropout.is_some())
    }

    /// The rows that are read, once the inputs are checked.
    fn rows(&self, x: &Inputs) -> Result<usize> {
        let Packed { rows, width, .. } = self.features;
        if x.extent("words") != self.features.words() {
            return x.fail(format!("{rows} rows of {width} features take {} words", self.features.words()));
        }
        if u32::try_from(rows * width).is_err() {
            return x.fail(format!("{rows} rows of {width} features are more than 2^32 - 1 numbers"));
        }
        if let Some((p, _)) = self.dropout.filter(|(p, _)| !(0.0..1.0).contains(p)) {
            return x.fail(format!("a probability of {p} must be at least 0 and less than 1"));
        }
        Ok(if self.listed { x.extent("n") } else { rows })
    }

    /// The number of the features' row that is read as row i; none past the last.
    fn row<T>(&self, a: &Args<T>, i: usize) -> Option<usize> {
        let row = if self.listed { a.u("list")[i] as usize } else { i };
        (row < self.features.rows).then_some(row)
    }

    fn mask<'a, T>(&self, a: &Args<'a, T>) -> Option<Mask<'a>> {
        self.dropout.map(|(p, key)| Mask { step: a.u("step"), key, p })
    }

    /// Element c of row i, as it is read.
    fn element<T: Real>(&self, a: &Args<T>, i: usize, c: usize) -> T {
        let Some(row) = self.row(a, i) else { return T::ZERO };
        let e = row * self.features.width + c;
        let x = T::of(self.features.element(a.u("features"), e) as f64);
        self.mask(a).map_or(x, |mask| x * mask.factor(e))
    }

    /// Rows from `first` on, as many as `x` holds.
    fn tile(&self, a: &Args<f32>, first: usize, x: &mut [f32]) {
        let (words, width, mask) = (a.u("features"), self.features.width, self.mask(a));
        for (i, x) in x.chunks_exact_mut(width).enumerate() {
            let Some(row) = self.row(a, first + i) else {
                x.fill(0.0);
                continue;
            };
            self.features.widen(words, row, x);
            if let Some(mask) = mask {
                wide(
                    #[inline(always)]
                    || mask.apply(row * width, x),
                );
            }
        }
    }

    fn launch(&self, entry: &'static str, d: Dims, gated: bool) -> Launch {
        let (rate, key) = self.dropout.unwrap_or_default();
        let params = Params {
            n: d.n as u32,
            rows: self.features.rows as u32,
            a: d.a as u32,
            d: d.d as u32,
            experts: d.experts as u32,
            part: d.part() as u32,
            parts: d.parts() as u32,
            key,
            rate,
            scale: (1.0 / (1.0 - rate as f64)) as f32,
        };
        let on = [
            ("HALF", self.features.half),
            ("LISTED", self.listed),
            ("GATED", gated),
            ("DROPOUT", self.dropout.is_some()),
        ];
        on.into_iter().fold(Launch::of("experts", entry).params(params), |l, (name, on)| l.constant(name, on as u32))
    }

    /// Turns of an invocation's loops over tiles of `terms` terms.
    fn turns(&self, terms: usize) -> usize {
        let drawn = if self.dropout.is_some() { 5 * 2 * ROUNDS } else { 0 };
        turns_of(terms.div_ceil(DEPTH), drawn + 2 * turns_of(DEPTH, 0))
    }
}

/// The weights \[K, a, d\] side by side, \[a, K d\]: one product gives what all experts make of a row.
fn side_by_side(weight: &[f32], Dims { a, experts, d, .. }: Dims) -> Vec<f32> {
    let mut all = vec![0.0; weight.len()];
    for (row, to) in all.chunks_exact_mut(experts * d).enumerate() {
        for (k, to) in to.chunks_exact_mut(d).enumerate() {
            to.copy_from_slice(&weight[(k * a + row) * d..][..d]);
        }
    }
    all
}

/// For each tile of rows of `out` \[n, width\], what each expert makes of them, \[rows, K d\]: `finish(first row, that, rows of out)`.
fn of_experts(
    (a, read, d): (&Args<f32>, &Read, Dims),
    (out, width): (&mut [f32], usize),
    finish: impl Fn(usize, &[f32], &mut [f32]) + Sync,
) {
    let (weight, across) = (side_by_side(a.f("weight"), d), d.experts * d.d);
    par_rows(out, TILE.min(d.n) * width, TILE * d.a * across / 8, |tile, out| {
        let count = out.len() / width;
        let (mut x, mut made) = (vec![0.0; count * d.a], vec![0.0; count * across]);
        read.tile(a, tile * TILE, &mut x);
        product([count, across, d.a], &mut made, &x, [d.a, 1], &weight, [across, 1], false);
        wide(
            #[inline(always)]
            || finish(tile * TILE, &made, out),
        );
    });
}

impl Experts {
    fn dims(weight: &[usize], n: usize) -> Dims {
        Dims { n, a: weight[1], experts: weight[0], d: weight[2] }
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let d = Experts::dims(a.shape("weight"), a.out_shape("y")[0]);
        let weight = a.f("weight");
        par_rows(a.out("y"), d.d, d.experts * d.a * d.d, |i, y| {
            y.fill(T::ZERO);
            for k in 0..d.experts {
                let gate = if self.gated { a.f("gates")[i * d.experts + k] } else { T::ONE };
                for c in 0..d.a {
                    let z = gate * self.read.element(a, i, c);
                    let row = &weight[(k * d.a + c) * d.d..][..d.d];
                    y.iter_mut().zip(row).for_each(|(y, &w)| *y += z * w);
                }
            }
        });
    }
}

impl Op for Experts {
    fn name(&self) -> &'static str {
        "experts"
    }

    fn operands(&self) -> Operands {
        let own = |all: Operands| all.f32("gates", "n k").when(self.gated).f32("weight", "k a d");
        self.read.operands(own).out("y")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let n = self.read.rows(x)?;
        let [experts, a, d] = ["k", "a", "d"].map(|axis| x.extent(axis));
        if a != self.read.features.width || d == 0 {
            return x.fail(format!("weight is not [K, {}, d] for features of that width", self.read.features.width));
        }
        if !self.gated && experts != 1 {
            return x.fail(format!("{experts} experts without gates"));
        }
        if self.gated && x.extent("n") != n {
            return x.fail(format!("gates of {} rows, where {n} are read", x.extent("n")));
        }
        Ok(Outputs::one(Spec::f32([n, d])))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let (read, dy, g) = (self.read, node.dy("y"), node.dy("y").graph());
        let list = read.listed.then(|| node.input("list"));
        let gates = self.gated.then(|| node.input("gates"));
        let step = read.dropout.map(|_| node.input("step"));
        let inputs = |own: &[Option<Var<'g>>]| -> Vec<Var<'g>> {
            [Some(node.input("features")), list]
                .iter()
                .chain(own)
                .chain([&Some(dy), &step])
                .flatten()
                .copied()
                .collect()
        };
        let mut to: Vec<(&str, Var)> = vec![];
        if self.gated && node.wants("gates") {
            to.push(("gates", g.push(ExpertsGates { read }, &inputs(&[Some(node.input("weight"))]))));
        }
        if node.wants("weight") {
            to.push(("weight", g.push(ExpertsWeight { read, gated: self.gated }, &inputs(&[gates]))));
        }
        Ok(Grads::to(to))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let d = Experts::dims(a.shape("weight"), a.out_shape("y")[0]);
        let gates = self.gated.then(|| a.f("gates"));
        of_experts((a, &self.read, d), (a.out("y"), d.d), |first, made, y| {
            let Some(gates) = gates else { return y.copy_from_slice(made) };
            let rows = made.chunks_exact(d.experts * d.d).zip(gates[first * d.experts..].chunks_exact(d.experts));
            for (y, (made, gates)) in y.chunks_exact_mut(d.d).zip(rows) {
                y.fill(0.0);
                for (made, &gate) in made.chunks_exact(d.d).zip(gates) {
                    y.iter_mut().zip(made).for_each(|(y, &x)| *y += gate * x);
                }
            }
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let d = Experts::dims(s.input("weight"), s.output("y")[0]);
        let groups = d.n.div_ceil(SIDE) * d.d.div_ceil(SIDE);
        let turns = self.read.turns(d.experts * d.a) + turns_of(4, turns_of(4, 0));
        Ok(vec![self.read.launch("forward", d, self.gated).turns(turns).groups(groups, INVOCATIONS, caps)?])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let d = Experts::dims(s.input("weight"), s.output("y")[0]);
        d.cost(&self.read, 4 * (d.weight() + d.n * (d.d + d.experts)) as u64)
    }
}

impl ExpertsGates {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let d = Experts::dims(a.shape("weight"), a.shape("dy")[0]);
        let (weight, dy) = (a.f("weight"), a.f("dy"));
        par_rows(a.out("y"), d.experts, d.experts * d.a * d.d, |i, y| {
            let dy = &dy[i * d.d..][..d.d];
            for (k, y) in y.iter_mut().enumerate() {
                let row = |c: usize| &weight[(k * d.a + c) * d.d..][..d.d];
                let term = |c: usize| {
                    let of_column: T = row(c).iter().zip(dy).map(|(&w, &dy)| w * dy).sum();
                    self.read.element(a, i, c) * of_column
                };
                *y = (0..d.a).map(term).sum();
            }
        });
    }
}

impl Op for ExpertsGates {
    fn name(&self) -> &'static str {
        "experts gates"
    }

    fn operands(&self) -> Operands {
        let own = |all: Operands| all.f32("gates", "n k").when(false).f32("weight", "k a d").f32("dy", "n d");
        self.read.operands(own).out_f32("y", "n k")
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let d = Experts::dims(a.shape("weight"), a.shape("dy")[0]);
        let dy = a.f("dy");
        of_experts((a, &self.read, d), (a.out("y"), d.experts), |first, made, y| {
            let rows = made.chunks_exact(d.experts * d.d).zip(dy[first * d.d..].chunks_exact(d.d));
            for (y, (made, dy)) in y.chunks_exact_mut(d.experts).zip(rows) {
                for (y, made) in y.iter_mut().zip(made.chunks_exact(d.d)) {
                    *y = super::matmul::dot(made, dy);
                }
            }
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let d = Experts::dims(s.input("weight"), s.input("dy")[0]);
        let turns = turns_of(d.d.div_ceil(SIDE), self.read.turns(d.a) + 4 * turns_of(4, 0)) + turns_of(16, 0);
        let groups = d.n.div_ceil(SIDE) * d.experts;
        Ok(vec![self.read.launch("gates_backward", d, false).turns(turns).groups(groups, INVOCATIONS, caps)?])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let d = Experts::dims(s.input("weight"), s.input("dy")[0]);
        d.cost(&self.read, 4 * (d.weight() + d.n * (d.d + d.experts)) as u64)
    }
}

impl ExpertsWeight {
    fn dims<T>(&self, a: &Args<T>) -> Dims {
        Experts::dims(a.out_shape("y"), a.shape("dy")[0])
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let d = self.dims(a);
        let dy = a.f("dy");
        par_rows(a.out("y"), d.d, d.n * d.d, |row, y| {
            let (k, c) = (row / d.a, row % d.a);
            y.fill(T::ZERO);
            for i in 0..d.n {
                let gate = if self.gated { a.f("gates")[i * d.experts + k] } else { T::ONE };
                let z = gate * self.read.element(a, i, c);
                y.iter_mut().zip(&dy[i * d.d..]).for_each(|(y, &dy)| *y += z * dy);
            }
        });
    }

    /// The sums over one part of rows, \[a, K d\].
    fn part(&self, a: &Args<f32>, d: Dims, rows: std::ops::Range<usize>, sums: &mut [f32]) {
        let (dy, gates, across) = (a.f("dy"), self.gated.then(|| a.f("gates")), d.experts * d.d);
        let (mut x, mut scaled) = (vec![0.0; 2 * TILE * d.a], vec![0.0; 2 * TILE * across]);
        for first in rows.clone().step_by(2 * TILE) {
            let count = (rows.end - first).min(2 * TILE);
            let (x, scaled) = (&mut x[..count * d.a], &mut scaled[..count * across]);
            self.read.tile(a, first, x);
            for (i, scaled) in scaled.chunks_exact_mut(across).enumerate() {
                let dy = &dy[(first + i) * d.d..][..d.d];
                for (k, scaled) in scaled.chunks_exact_mut(d.d).enumerate() {
                    let gate = gates.map_or(1.0, |gates| gates[(first + i) * d.experts + k]);
                    scaled.iter_mut().zip(dy).for_each(|(s, &dy)| *s = gate * dy);
                }
            }
            product([d.a, across, count], sums, x, [1, d.a], scaled, [across, 1], first > rows.start);
        }
    }
}

impl Op for ExpertsWeight {
    fn name(&self) -> &'static str {
        "experts weight"
    }

    fn operands(&self) -> Operands {
        let own = |all: Operands| all.f32("gates", "n k").when(self.gated).f32("dy", "n d");
        self.read.operands(own).out("y").scratch("partial")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let (a, d) = (self.read.features.width, x.extent("d"));
        let experts = if self.gated { x.extent("k") } else { 1 };
        let dims = Dims { n: x.extent("n"), a, experts, d };
        let partial = Spec::f32([dims.parts(), experts, a, d]);
        Ok(Outputs::one(Spec::f32([experts, a, d])).with_scratch(partial))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        let d = self.dims(a);
        let y = a.out("y");
        if d.n == 0 {
            y.fill(0.0);
            return true;
        }
        let mut parts = vec![0.0; d.parts() * d.weight()];
        let rows = |part: usize| part * d.part()..d.n.min((part + 1) * d.part());
        let sum = |(part, sums): (usize, &mut [f32])| self.part(a, d, rows(part), sums);
        parts.par_chunks_mut(d.weight()).enumerate().for_each(sum);
        join(&mut parts, d.weight());
        for (k, y) in y.chunks_exact_mut(d.a * d.d).enumerate() {
            let columns = parts.chunks_exact(d.experts * d.d).map(|row| &row[k * d.d..][..d.d]);
            y.chunks_exact_mut(d.d).zip(columns).for_each(|(y, row)| y.copy_from_slice(row));
        }
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let d = Experts::dims(s.output("y"), s.input("dy")[0]);
        let tiles = (d.experts * d.a).div_ceil(SIDE) * d.d.div_ceil(SIDE);
        let turns = self.read.turns(d.part()) + turns_of(d.part().div_ceil(DEPTH), 5) + turns_of(4, turns_of(4, 0));
        let launch = |entry| self.read.launch(entry, d, self.gated);
        Ok(vec![
            launch("weight_parts").turns(turns).groups(d.parts() * tiles, INVOCATIONS, caps)?,
            launch("weight_join").turns(turns_of(d.parts(), 0)).threads(d.weight(), caps)?,
        ])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let d = Experts::dims(s.output("y"), s.input("dy")[0]);
        d.cost(&self.read, 4 * (d.weight() + d.n * (d.d + d.experts)) as u64)
    }
}

/// Eight experts over the features of a catalogue, in halves, and a listed part of it.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [rows, width, experts, d] = scale.pick([16_384, 768, 8, 64], [150, 21, 3, 18]);
    let features = Packed { rows, width, half: true };
    let sizes = format!("{rows}x{width}, {experts} to {d}");
    let of = |name: &str, listed: bool, dropout| {
        let n = if listed { rows / 4 } else { rows };
        let op = Experts { read: Read { features, listed, dropout }, gated: true };
        let example = Example::new(name, sizes.clone(), move |g, x| {
            let step = dropout.map(|_| g.step());
            let inputs: Vec<Var> = x.iter().copied().chain(step).collect();
            Ok(vec![g.push(op, &inputs)])
        });
        // Halves of a few: 1, -1 and 1/2 in either half of a word.
        let words = [0x3c00_bc00u32, 0x3800_3c00, 0xbc00_3800];
        let example =
            example.u32([features.words()], Fill::Given(words.into_iter().cycle().take(features.words()).collect()));
        let example = if listed { example.u32([n], Fill::Below(rows as u32)) } else { example };
        let first = 1 + listed as usize;
        let example = example.f32([n, experts], Fill::Positive).f32([experts, width, d], Fill::Float(0.1));
        (example, [first, first + 1])
    };
    let (all, by) = of("experts", false, None);
    let (listed, by_listed) = of("experts of a list", true, Some((0.2, 7)));
    let timed = &["experts gates", "experts weight"];
    [all.both(&by, timed), listed.both(&by_listed, timed)].concat()
}
