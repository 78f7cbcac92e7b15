//! Batched matrix product in all four transpositions, with bias and activation in the epilogue.

use super::elementwise::Fun;
use super::example::{Example, Fill, Scale, UNIT};
use super::launch::turns_of;
use super::parallel::par_rows;
use super::real::Real;
use super::{
    Args, Caps, Cooperative, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split, cooperative,
    fast,
};
use crate::error::Result;
use crate::tensor::{DType, Shape, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};
use std::sync::Arc;

mod cpu;

/// What the epilogue applies to `a b + bias`. The derivative of each follows from its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    #[default]
    None,
    Relu,
    Tanh,
    Sigmoid,
}

impl Activation {
    fn apply<T: Real>(self, x: T) -> T {
        match self {
            Activation::None => x,
            Activation::Relu => Fun::Relu.apply(x, x),
            Activation::Tanh => Fun::Tanh.apply(x, x),
            Activation::Sigmoid => Fun::Sigmoid.apply(x, x),
        }
    }
}

/// `y = activation(op(a) op(b) + bias)`: a \[.., m, k\] (or \[.., k, m\] if `transpose_a`), b \[.., k, n\] (or \[.., n, k\] if
/// `transpose_b`) with the batch axes of a or none, bias \[n\]. y \[.., m, n\].
#[derive(Debug, Clone, Copy)]
pub struct MatMul {
    pub transpose_a: bool,
    pub transpose_b: bool,
    pub bias: bool,
    pub activation: Activation,
}

/// Extents of a product: `batch` products of \[m, k\] and \[k, n\]; `shared`: one b for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dims {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub shared: bool,
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    batch: u32,
    m: u32,
    n: u32,
    k: u32,
    b_batch: u32,
    k_part: u32,
    first: [u32; 4],
}

/// How the shader goes about a product, by its extents alone.
struct Layout {
    /// What makes tiles; None: one invocation an output.
    tile: Option<Tile>,
    /// Parts that a long sum is cut into, and the terms of each.
    parts: usize,
    k_part: usize,
}

/// A workgroup's outputs: invocations along one side, and blocks of 4 x 4 outputs of each along it.
#[derive(Clone, Copy)]
struct Tile {
    side: usize,
    blocks: usize,
}

impl Tile {
    const SMALL: Tile = Tile { side: 8, blocks: 1 };
    const MEDIUM: Tile = Tile { side: 16, blocks: 1 };
    const LARGE: Tile = Tile { side: 16, blocks: 2 };

    /// The tile, or the next smaller one where the adapter lacks the registers for it.
    fn within(self, caps: &Caps) -> Tile {
        if self.blocks > 1 && !caps.large_tiles { Tile::MEDIUM } else { self }
    }

    /// Outputs along one side.
    fn width(self) -> usize {
        4 * self.side * self.blocks
    }

    /// Turns of the shader's loops over `terms` terms: what an invocation copies, quads of each operand, and what it multiplies in a
    /// step; then the blocks that it writes.
    fn turns(self, terms: usize) -> usize {
        let depth = 16 / self.blocks;
        let copies = turns_of(16_usize.div_ceil(self.side), 0);
        turns_of(terms.div_ceil(depth), copies + turns_of(depth, 0)) + self.blocks.pow(2) * turns_of(4, turns_of(4, 0))
    }

    /// How many a product has.
    fn count(self, d: Dims) -> usize {
        d.batch * d.m.div_ceil(self.width()) * d.n.div_ceil(self.width())
    }
}

impl Layout {
    /// Terms of a part at least: below that, adding the parts costs more than the idle workgroups.
    const PART: usize = 256;
    /// Workgroups of the large tiles that keep a large GPU busy.
    const BUSY: usize = 256;
    /// And of the small ones, which have a quarter of the invocations.
    const BUSY_SMALL: usize = 4 * Layout::BUSY;

    fn of(d: Dims) -> Layout {
        let parts = (d.k / Layout::PART).min(Layout::BUSY_SMALL / Tile::SMALL.count(d).max(1));
        if d.batch == 1 && parts >= 2 {
            let k_part = d.k.div_ceil(parts).next_multiple_of(16);
            return Layout { tile: Some(Tile::SMALL), parts: d.k.div_ceil(k_part), k_part };
        }
        let fits = |tile: Tile| d.m.min(d.n) >= tile.width() && tile.count(d) >= Layout::BUSY;
        let tile = match () {
            _ if d.m < 16 || d.n < 16 => None,
            _ => Some([Tile::LARGE, Tile::MEDIUM].into_iter().find(|&tile| fits(tile)).unwrap_or(Tile::SMALL)),
        };
        Layout { tile, parts: 1, k_part: d.k }
    }
}

/// A product as launches, of MatMul's own operands or of blocks of another kernel's.
pub(super) struct GpuProduct {
    pub of: MatMul,
    pub dims: Dims,
    pub first: First,
    /// Add to y.
    pub add: bool,
    /// a and b are stored as f16.
    pub halves: bool,
    /// Of [`GpuProduct::scratch`] elements.
    pub partial: &'static str,
}

/// Elements of the buffers that the operands begin at.
#[derive(Clone, Copy, Default)]
pub(super) struct First {
    pub a: usize,
    pub b: usize,
    pub bias: usize,
    pub y: usize,
}

impl GpuProduct {
    /// Elements of `partial` that it takes.
    pub fn scratch(dims: Dims) -> usize {
        let parts = Layout::of(dims).parts;
        if parts > 1 { parts * dims.m * dims.n } else { 0 }
    }

    /// `bind` may give the names `a`, `b`, `bias` and `y` to other operands.
    pub fn launches(&self, caps: &Caps, bind: impl Fn(Launch) -> Launch) -> Result<Vec<Launch>> {
        let d = self.dims;
        let Layout { tile, parts, k_part } = Layout::of(d);
        let tiled = |entry, Tile { side, blocks }: Tile| {
            let l = self.launch("matmul", entry).constant("SIDE", side as u32).constant("BLOCKS", blocks as u32);
            bind(l.bind("partial", self.partial))
        };
        let Some(tile) = tile.map(|tile| tile.within(caps)) else {
            return Ok(vec![tiled("simple", Tile::SMALL).turns(turns_of(d.k, 0)).threads(d.batch * d.m * d.n, caps)?]);
        };
        let (tiles, invocations) = (tile.count(d), tile.side * tile.side);
        let outputs = [d.batch, d.m, d.n];
        let first = match (self.cooperative(caps), parts) {
            (Some(of), 1) => {
                cooperative::launch(bind(self.launch("cooperative", "product")), of, outputs, [1, k_part], caps)?
            }
            (Some(of), _) => {
                let plain = MatMul::new(self.of.transpose_a, self.of.transpose_b);
                let sums = GpuProduct { of: plain, first: First { y: 0, ..self.first }, add: false, ..*self };
                let launch = bind(sums.launch("cooperative", "product").bind("y", self.partial));
                cooperative::launch(launch, of, outputs, [parts, k_part], caps)?
            }
            (None, 1) => tiled("tiled", tile).turns(tile.turns(d.k)).groups(tiles, invocations, caps)?,
            (None, _) => tiled("parts", tile).turns(tile.turns(k_part)).groups(parts * tiles, invocations, caps)?,
        };
        let join = (parts > 1).then(|| tiled("join", tile).turns(turns_of(parts, 0)).threads(d.m * d.n, caps));
        [Ok(first)].into_iter().chain(join).collect()
    }

    fn launch(&self, file: &'static str, entry: &'static str) -> Launch {
        let GpuProduct { of, dims: d, first, add, .. } = *self;
        let params = Params {
            batch: d.batch as u32,
            m: d.m as u32,
            n: d.n as u32,
            k: d.k as u32,
            b_batch: if d.shared { 0 } else { (d.k * d.n) as u32 },
            k_part: Layout::of(d).k_part as u32,
            first: [first.a, first.b, first.bias, first.y].map(|first| first as u32),
        };
        Launch::of(file, entry)
            .params(params)
            .constant("TRANSPOSE_A", of.transpose_a as u32)
            .constant("TRANSPOSE_B", of.transpose_b as u32)
            .constant("BIAS", of.bias as u32)
            .constant("ACTIVATION", of.activation as u32)
            .constant("ADD", add as u32)
    }

    /// The matrices to take, if any: cooperative.wgsl multiplies halves alone, and reads four of a row at once.
    fn cooperative(&self, caps: &Caps) -> Option<Cooperative> {
        let (d, first) = (self.dims, self.first);
        let a_row = if self.of.transpose_a { d.m } else { d.k };
        let b_row = if self.of.transpose_b { d.k } else { d.n };
        let by_four = [a_row, b_row, first.a, first.b].iter().all(|n| n.is_multiple_of(4));
        caps.cooperative.filter(|_| self.halves && by_four)
    }
}

impl MatMul {
    pub fn new(transpose_a: bool, transpose_b: bool) -> MatMul {
        MatMul { transpose_a, transpose_b, bias: false, activation: Activation::None }
    }

    /// Extents for operands of these shapes. A batch of a that shares b is folded into m where the layout allows it.
    pub fn dims(&self, a: &Shape, b: &Shape) -> Dims {
        let (ra, rb) = (a.len(), b.len());
        let (mut m, k) = if self.transpose_a { (a[ra - 1], a[ra - 2]) } else { (a[ra - 2], a[ra - 1]) };
        let n = if self.transpose_b { b[rb - 2] } else { b[rb - 1] };
        let mut batch = a[..ra - 2].iter().product();
        let shared = rb == 2;
        if shared && !self.transpose_a {
            (m, batch) = (m * batch, 1);
        }
        Dims { batch, m, n, k, shared }
    }

    /// Row and column strides of a and of b.
    fn strides(&self, d: Dims) -> ([usize; 2], [usize; 2]) {
        let a = if self.transpose_a { [1, d.m] } else { [d.k, 1] };
        let b = if self.transpose_b { [1, d.k] } else { [d.n, 1] };
        (a, b)
    }

    fn twin<T: Real>(&self, args: &Args<T>) {
        let d = self.dims(args.shape("a"), args.shape("b"));
        let ([a_row, a_col], [b_row, b_col]) = self.strides(d);
        let (a, b) = (args.f("a"), args.f("b"));
        let bias = self.bias.then(|| args.f("bias"));
        par_rows(args.out("y"), d.n, d.n * d.k, |i, y| {
            let (batch, i) = (i / d.m, i % d.m);
            let a = &a[batch * d.m * d.k..];
            let b = &b[if d.shared { 0 } else { batch * d.k * d.n }..];
            for (j, y) in y.iter_mut().enumerate() {
                let mut sum = T::ZERO;
                for l in 0..d.k {
                    sum += a[i * a_row + l * a_col] * b[l * b_row + j * b_col];
                }
                *y = self.activation.apply(sum + bias.map_or(T::ZERO, |b| b[j]));
            }
        });
    }
}

/// Sums side by side, so that the additions do not wait for one another.
#[inline(always)]
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::ZERO; 16];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let rest: T = a_rest.iter().zip(b_rest).map(|(&x, &y)| x * y).sum();
    for (x, y) in a.iter().zip(b) {
        for i in 0..16 {
            sums[i] += x[i] * y[i];
        }
    }
    fast::sum_lanes(sums) + rest
}

impl Op for MatMul {
    fn name(&self) -> &'static str {
        "matmul"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("a", "*").f32("b", "*").f32("bias", "*").when(self.bias).out("y").scratch("partial")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let (a, b) = (x.shape("a"), x.shape("b"));
        let (ra, rb) = (a.len(), b.len());
        if ra < 2 || rb < 2 {
            return x.fail("both operands need at least two axes");
        }
        if rb > 2 && a[..ra - 2] != b[..rb - 2] {
            return x.fail("batch axes differ");
        }
        let (m, k) = if self.transpose_a { (a[ra - 1], a[ra - 2]) } else { (a[ra - 2], a[ra - 1]) };
        let (n, k_b) = if self.transpose_b { (b[rb - 2], b[rb - 1]) } else { (b[rb - 1], b[rb - 2]) };
        if k != k_b {
            return x.fail(format!("sums over {k} on the left and {k_b} on the right"));
        }
        if self.bias {
            x.is_shape("bias", &[n])?;
        }
        let y = Outputs::one(Spec::f32(a.with(ra - 2, m).with(ra - 1, n)));
        let d = self.dims(a, b);
        let parts = Layout::of(d).parts;
        Ok(if parts > 1 { y.with_scratch(Spec::f32([parts, d.m, d.n])) } else { y })
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let (a, b, y) = (node.input("a"), node.input("b"), node.output("y"));
        let one = || y.constant_like(1.0);
        let dz = match self.activation {
            Activation::None => node.dy("y"),
            Activation::Relu => node.dy("y") * y.greater(y.constant_like(0.0)),
            Activation::Tanh => node.dy("y") * (one() - y * y),
            Activation::Sigmoid => node.dy("y") * y * (one() - y),
        };
        let g = y.graph();
        let mut to = vec![];
        if node.wants("a") {
            let da = match (self.transpose_a, self.transpose_b) {
                (false, tb) => g.push(MatMul::new(false, !tb), &[dz, b]),
                (true, tb) if b.shape().len() == a.shape().len() => g.push(MatMul::new(tb, true), &[b, dz]),
                // b is shared: (dz b^T)^T for each of the batch.
                (true, tb) => g.push(MatMul::new(false, !tb), &[dz, b]).transpose(),
            };
            to.push(("a", da));
        }
        if node.wants("b") {
            let shared = b.shape().len() == 2;
            let flat = |v: crate::graph::Var<'g>| v.reshape([v.shape().rows(), v.shape().last_dim()]);
            let (a, dz) = if shared && !self.transpose_a { (flat(a), flat(dz)) } else { (a, dz) };
            let db = match (self.transpose_a, self.transpose_b) {
                (ta, false) => g.push(MatMul::new(!ta, false), &[a, dz]),
                (ta, true) => g.push(MatMul::new(true, ta), &[dz, a]),
            };
            to.push(("b", db.sum_to(&b.shape())));
        }
        if self.bias && node.wants("bias") {
            let n = dz.shape().last_dim();
            to.push(("bias", dz.reshape([dz.shape().rows(), n]).sum(0)));
        }
        Ok(Grads::to(to))
    }

    twin!();

    fn cpu_fast(&self, args: &Args<f32>) -> bool {
        cpu::run(self, args);
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let dims = self.dims(s.input("a"), s.input("b"));
        let halves = ["a", "b"].iter().all(|name| s.spec(*name).dtype == DType::F16);
        let product = GpuProduct { of: *self, dims, first: First::default(), add: false, halves, partial: "partial" };
        product.launches(caps, |launch| launch)
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        let (a, b) = (s.input("a"), s.input("b"));
        match (a.len() > 2, b.len() > 2) {
            (_, true) => s.rows(a[0], ["a", "b"]),
            (true, false) => s.rows(a[0], ["a"]),
            (false, false) if !self.transpose_a => s.rows(a[0], ["a"]),
            // A weight's gradient: a sum over the rows of both.
            _ if !self.transpose_b && !self.bias && self.activation == Activation::None => s.sum(a[0], ["a", "b"]),
            _ => None,
        }
    }

    fn with_transposed(&self, s: &Shapes) -> Option<(usize, Arc<dyn Op>)> {
        let small = s.input("b").len() == 2 && s.input("b").elements() <= 64 * 1024;
        let taken = self.transpose_b && !self.transpose_a && small && s.input("a").rows() >= 512;
        taken.then(|| (1, Arc::new(MatMul { transpose_b: false, ..*self }) as Arc<dyn Op>))
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let d = self.dims(s.input("a"), s.input("b"));
        Cost { bytes: s.bytes(), flops: (2 * d.batch * d.m * d.n * d.k) as u64 }
    }
}

/// Layers at the models' shapes, their gradients, and a product of each of a batch. Extents are rows x width x columns.
pub fn examples(scale: Scale) -> Vec<Example> {
    let square = if scale == Scale::Large { 4096 } else { scale.pick(1024, 40) };
    let d = scale.width();
    let shapes =
        scale.pick([[12_800, d, d], [25_600, d, 3416], [256, d, 3416]], [[2100, d, 33], [67, d, 61], [5, d, 130]]);
    let [b, m, k] = scale.pick([256, 50, 64], [5, 12, 7]);
    let batched = Example::new("matmul batched", format!("{b}x{m}x{k}x{m}"), |_, x| Ok(vec![x[0].matmul_t(x[1])]))
        .f32([b, m, k], UNIT)
        .f32([b, m, k], Fill::Float(1.0 / (k as f32).sqrt()))
        .both(&[0, 1], &["matmul"]);
    shapes.into_iter().chain([[square; 3]]).flat_map(products).chain(batched).collect()
}

fn products([m, k, n]: [usize; 3]) -> Vec<Example> {
    let sizes = format!("{m}x{k}x{n}");
    let scaled = |n: usize| Fill::Float(1.0 / (n as f32).sqrt());
    let layer = |name: &str, bias: bool, activation: Activation| {
        Example::new(name, &sizes, move |_, x| Ok(vec![x[0].linear(x[1], bias.then_some(x[2]), activation)]))
            .f32([m, k], UNIT)
            .f32([n, k], scaled(k))
            .f32([n], UNIT)
            .product([m, n, k], [false, true])
    };
    let dx = Example::new("matmul backward x", &sizes, |_, x| Ok(vec![x[0].matmul(x[1])]))
        .f32([m, n], UNIT)
        .f32([n, k], scaled(n))
        .product([m, k, n], [false, false]);
    let dw = Example::new("matmul backward w", &sizes, |_, x| Ok(vec![x[0].t_matmul(x[1])]))
        .f32([m, n], UNIT)
        .f32([m, k], scaled(m))
        .product([n, k, m], [true, false]);
    let layers = [
        layer("matmul", false, Activation::None),
        layer("matmul bias", true, Activation::None),
        layer("matmul bias relu", true, Activation::Relu),
    ];
    layers.into_iter().chain([dx, dw]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adapters_without_the_registers_get_no_large_tile() {
        let dims = Dims { batch: 1, m: 4096, n: 4096, k: 64, shared: true };
        for (large_tiles, width) in [(false, 64), (true, 128)] {
            let caps = Caps { large_tiles, ..Caps::default() };
            let (of, partial) = (MatMul::new(false, false), "partial");
            let product = GpuProduct { of, dims, first: First::default(), add: false, halves: false, partial };
            let launches = product.launches(&caps, |launch| launch).unwrap();
            let constant = |name| launches[0].constants.iter().find(|(known, _)| *known == name).unwrap().1;
            assert_eq!(4 * constant("SIDE") * constant("BLOCKS"), width);
            assert_eq!(launches[0].grid.0[..2], [(4096 / width) * (4096 / width), 1]);
        }
    }
}
