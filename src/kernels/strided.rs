//! Moving elements without arithmetic: views, expansion, permutation, slices, concatenation. All but the view are one
//! strided copy; the same shader copies floats and integers, as words.

use super::example::{Example, Scale, UNIT};
use super::parallel::par_rows;
use super::real::Real;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::graph::Graph;
use crate::graph::Value;
use crate::graph::Var;
use crate::tensor::{DType, Shape, Spec};
use bytemuck::{Pod, Zeroable};

/// The same elements under another shape, in the same memory. With `cut`, no gradient flows through it.
#[derive(Debug, Clone)]
pub struct View {
    pub shape: Shape,
    pub cut: bool,
}

impl Op for View {
    fn name(&self) -> &'static str {
        if self.cut { "stop gradient" } else { "reshape" }
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if self.shape.elements() != x.shape("x").elements() {
            return x.fail(format!("cannot become {}", self.shape));
        }
        Ok(Outputs::one(Spec { shape: self.shape.clone(), dtype: x.spec("x").dtype }))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        if self.cut {
            return Ok(Grads::none());
        }
        Ok(Grads::to([(0, node.dy("y").reshape(node.input("x").shape()))]))
    }

    fn cpu_f32(&self, _a: &Args<f32>) {}

    fn cpu_f64(&self, _a: &Args<f64>) {}

    fn gpu(&self, _s: &Shapes, _caps: &Caps) -> Result<Vec<Launch>> {
        Ok(vec![])
    }

    fn operands(&self) -> Operands {
        Operands::new().any("x", "..").out("y")
    }

    fn is_view(&self) -> bool {
        true
    }
}

/// One copy: output element (i0, i1, ..) at `to + i . to_strides` is input element `from + i . from_strides`.
#[derive(Debug, Clone, PartialEq)]
pub struct Move {
    pub extents: Vec<usize>,
    pub from: usize,
    pub from_strides: Vec<usize>,
    pub to: usize,
    pub to_strides: Vec<usize>,
}

impl Move {
    /// Axes that run together on both sides are joined, axes of extent 1 left out.
    fn new(extents: &[usize], from: usize, from_strides: &[usize], to: usize, to_strides: &[usize]) -> Move {
        let mut c = Move { extents: vec![], from, from_strides: vec![], to, to_strides: vec![] };
        for ((&n, &f), &t) in extents.iter().zip(from_strides).zip(to_strides).filter(|((n, _), _)| **n != 1) {
            match (c.extents.last_mut(), c.from_strides.last_mut(), c.to_strides.last_mut()) {
                (Some(extent), Some(last_f), Some(last_t)) if *last_f == f * n && *last_t == t * n => {
                    *extent *= n;
                    (*last_f, *last_t) = (f, t);
                }
                _ => {
                    c.extents.push(n);
                    c.from_strides.push(f);
                    c.to_strides.push(t);
                }
            }
        }
        if c.extents.is_empty() {
            (c.extents, c.from_strides, c.to_strides) = (vec![1], vec![1], vec![1]);
        }
        c
    }

    /// Copies the slices of the axes from `axis` on: elements of `x` from `from` on to those of `y` from `to` on.
    fn run<V: std::marker::Copy>(&self, axis: usize, x: &[V], from: usize, y: &mut [V], to: usize) {
        let (n, f, t) = (self.extents[axis], self.from_strides[axis], self.to_strides[axis]);
        if axis + 1 < self.extents.len() {
            (0..n).for_each(|i| self.run(axis + 1, x, from + i * f, y, to + i * t));
        } else if f == 1 && t == 1 {
            y[to..to + n].copy_from_slice(&x[from..from + n]);
        } else if f == 0 && t == 1 {
            y[to..to + n].fill(x[from]);
        } else {
            for i in 0..n {
                y[to + i * t] = x[from + i * f];
            }
        }
    }

    /// On a few threads where the outermost axis is the output's outermost too.
    fn run_parallel<V: Copy + Send + Sync>(&self, x: &[V], y: &mut [V]) {
        let block = self.to_strides[0];
        if let ([_, n], [1, pitch], [_, 1]) = (&self.extents[..], &self.from_strides[..], &self.to_strides[..])
            && block == *n
            && block * self.extents[0] == y.len()
        {
            transpose(&x[self.from..], *pitch, y, *n);
        } else if self.extents.len() > 1 && block * self.extents[0] == y.len() {
            par_rows(y, block, block, |i, row| self.run(1, x, self.from + i * self.from_strides[0], row, self.to));
        } else {
            self.run(0, x, self.from, y, self.to);
        }
    }
}

/// The transposed of rows of `x`, one each `pitch` elements: `y` \[.., n\], of n rows.
pub(super) fn transpose<V: Copy + Send + Sync>(x: &[V], pitch: usize, y: &mut [V], n: usize) {
    // Elements of a cache line: each is read once.
    const LINE: usize = 16;
    par_rows(y, n * LINE, n * LINE, |i, y| {
        for j in 0..n {
            y[j..].iter_mut().step_by(n).zip(&x[j * pitch + i * LINE..]).for_each(|(y, &x)| *y = x);
        }
    });
}

fn run<T: Real>(a: &Args<T>, copies: &[(usize, Move)], zero: bool) {
    if a.out_dtype("y") == DType::U32 {
        let y = a.out_u("y");
        if zero {
            y.fill(0);
        }
        copies.iter().for_each(|(input, c)| c.run_parallel(a.u(*input), y));
    } else {
        let y = a.out("y");
        if zero {
            y.fill(T::ZERO);
        }
        copies.iter().for_each(|(input, c)| c.run_parallel(a.f(*input), y));
    }
}

/// Axes of a launch. With six, the immediates would take 80 bytes, and every WebGPU adapter holds 64.
const AXES: usize = 4;

#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Params {
    extents: [u32; AXES],
    from_strides: [u32; AXES],
    to_strides: [u32; AXES],
    from: u32,
    to: u32,
    /// The shader's struct ends at a multiple of its vectors' size.
    padding: [u32; 2],
}

impl Move {
    /// The same as copies of at most [`AXES`] axes, one for each index of the shortest of the others. In 2^32 elements, the two
    /// shortest of six axes have 40 indices each at most.
    fn pieces(&self) -> Vec<Move> {
        if self.extents.len() <= AXES {
            return vec![self.clone()];
        }
        let mut rest = self.clone();
        let axis = (0..rest.extents.len()).min_by_key(|&axis| rest.extents[axis]).expect("more than four axes");
        let n = rest.extents.remove(axis);
        let (from, to) = (rest.from_strides.remove(axis), rest.to_strides.remove(axis));
        let at = |i: usize| Move { from: self.from + i * from, to: self.to + i * to, ..rest.clone() };
        (0..n).flat_map(|i| at(i).pieces()).collect()
    }

    /// Of at most [`AXES`] axes.
    fn params(&self) -> Params {
        let all = |list: &[usize], fill: u32| {
            let mut all = [fill; AXES];
            all[AXES - list.len()..].iter_mut().zip(list).for_each(|(a, &x)| *a = x as u32);
            all
        };
        Params {
            extents: all(&self.extents, 1),
            from_strides: all(&self.from_strides, 0),
            to_strides: all(&self.to_strides, 0),
            from: self.from as u32,
            to: self.to as u32,
            padding: [0; 2],
        }
    }
}

/// The launches of `copies`, each from its input; after zeroing the output if `zero`.
fn launches(s: &Shapes, caps: &Caps, copies: &[(usize, Move)], zero: bool) -> Result<Vec<Launch>> {
    let mut list = vec![];
    if zero {
        let n = s.output("y").elements();
        let params = Params { to: n as u32, ..Params::default() };
        list.push(Launch::of("strided", "zero").params(params).threads(n, caps)?);
    }
    for (input, copy) in copies {
        for piece in copy.pieces() {
            let launch = Launch::of("strided", "copy").params(piece.params());
            list.push(launch.threads(piece.extents.iter().product(), caps)?.bind("x", *input));
        }
    }
    Ok(list)
}

/// The methods of an op that is a few copies, given its operands, whether its output starts as zeros and how it splits.
macro_rules! copying {
    ($operands:expr, $zero:expr, $split:expr) => {
        fn operands(&self) -> Operands {
            $operands
        }

        fn cpu_f32(&self, a: &Args<f32>) {
            let shapes: Vec<&Shape> = (0..a.len()).map(|i| a.shape(i)).collect();
            run(a, &self.copies(&shapes, a.out_shape("y")), $zero)
        }

        fn cpu_f64(&self, a: &Args<f64>) {
            let shapes: Vec<&Shape> = (0..a.len()).map(|i| a.shape(i)).collect();
            run(a, &self.copies(&shapes, a.out_shape("y")), $zero)
        }

        fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
            let shapes: Vec<&Shape> = s.inputs.iter().map(|x| &x.shape).collect();
            launches(s, caps, &self.copies(&shapes, s.output("y")), $zero)
        }

        fn cost(&self, s: &Shapes) -> Cost {
            // What is left out of an input is not read; what is repeated is read once.
            let shapes: Vec<&Shape> = s.inputs.iter().map(|x| &x.shape).collect();
            let read = |(i, copy): &(usize, Move)| s.inputs[*i].bytes().min(4 * copy.extents.iter().product::<usize>());
            let read: usize = self.copies(&shapes, s.output("y")).iter().map(read).sum();
            Cost { bytes: (read + s.outputs[0].bytes()) as u64, flops: 0 }
        }

        fn split(&self, s: &Shapes) -> Option<Split> {
            let split: fn(&Self, &Shapes) -> Option<Split> = $split;
            split(self, s)
        }
    };
}

/// Splits an op that works along `axis`, which must not be the leading one.
fn along(axis: usize, s: &Shapes) -> Option<Split> {
    if axis == 0 { None } else { Split::rows(s.output("y")[0], u32::MAX) }
}

/// `x` repeated along axes of extent 1, and along new axes in front, to `shape`.
#[derive(Debug, Clone)]
pub struct Expand {
    pub shape: Shape,
}

impl Expand {
    fn copies(&self, x: &[&Shape], y: &Shape) -> Vec<(usize, Move)> {
        let new = y.len() - x[0].len();
        let own = x[0].strides();
        let from: Vec<usize> =
            (0..y.len()).map(|i| if i < new || x[0][i - new] == 1 { 0 } else { own[i - new] }).collect();
        vec![(0, Move::new(y, 0, &from, 0, &y.strides()))]
    }
}

impl Op for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if x.shape("x").broadcast(&self.shape).as_ref() != Some(&self.shape) {
            return x.fail(format!("cannot expand to {}", self.shape));
        }
        Ok(Outputs::one(Spec { shape: self.shape.clone(), dtype: x.spec("x").dtype }))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::to([(0, node.dy("y").sum_to(&node.input("x").shape()))]))
    }

    copying!(Operands::new().any("x", "..").out("y"), false, |_, s| {
        let same = s.input("x").len() == s.output("y").len() && s.input("x")[..1] == s.output("y")[..1];
        Split::rows(*s.output("y").first()?, same as u32)
    });
}

/// Axes in another order: axis i of the output is axis `order[i]` of the input.
#[derive(Debug, Clone)]
pub struct Permute {
    pub order: Vec<usize>,
}

impl Permute {
    fn copies(&self, x: &[&Shape], y: &Shape) -> Vec<(usize, Move)> {
        let own = x[0].strides();
        let from: Vec<usize> = self.order.iter().map(|&i| own[i]).collect();
        vec![(0, Move::new(y, 0, &from, 0, &y.strides()))]
    }
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        let mut sorted = self.order.clone();
        sorted.sort();
        if sorted != (0..x.shape("x").len()).collect::<Vec<_>>() {
            return x.fail(format!("{:?} is no order of its axes", self.order));
        }
        let shape: Vec<usize> = self.order.iter().map(|&i| x.shape("x")[i]).collect();
        Ok(Outputs::one(Spec { shape: shape.into(), dtype: x.spec("x").dtype }))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let mut inverse = vec![0; self.order.len()];
        self.order.iter().enumerate().for_each(|(i, &o)| inverse[o] = i);
        Ok(Grads::to([(0, node.dy("y").permute(&inverse))]))
    }

    copying!(Operands::new().any("x", "..").out("y"), false, |op, s| if op.order.first() == Some(&0) {
        s.rows(s.input("x")[0], ["x"])
    } else {
        None
    });
}

/// `len` entries of `axis` from `start` on.
#[derive(Debug, Clone, Copy)]
pub struct Slice {
    pub axis: usize,
    pub start: usize,
    pub len: usize,
}

impl Slice {
    fn copies(&self, x: &[&Shape], y: &Shape) -> Vec<(usize, Move)> {
        let own = x[0].strides();
        vec![(0, Move::new(y, self.start * own[self.axis], &own, 0, &y.strides()))]
    }
}

impl Op for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.axis("x", self.axis)?;
        if self.start + self.len > x.shape("x")[self.axis] || self.len == 0 {
            return x.fail(format!("axis {} has no range {}..{}", self.axis, self.start, self.start + self.len));
        }
        Ok(Outputs::one(Spec { shape: x.shape("x").with(self.axis, self.len), dtype: x.spec("x").dtype }))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let extent = node.input("x").shape()[self.axis];
        let dy = node.dy("y");
        Ok(Grads::to([(0, dy.graph().push(Pad { axis: self.axis, start: self.start, extent }, &[dy]))]))
    }

    copying!(Operands::new().any("x", "..").out("y"), false, |op, s| along(op.axis, s));
}

/// The input at `start..` of `axis` of zeros of `extent`: the adjoint of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Pad {
    pub axis: usize,
    pub start: usize,
    pub extent: usize,
}

impl Pad {
    fn copies(&self, x: &[&Shape], y: &Shape) -> Vec<(usize, Move)> {
        let to = y.strides();
        vec![(0, Move::new(x[0], 0, &x[0].strides(), self.start * to[self.axis], &to))]
    }
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.axis("x", self.axis)?;
        if self.start + x.shape("x")[self.axis] > self.extent {
            return x.fail(format!("does not fit into {} from {}", self.extent, self.start));
        }
        Ok(Outputs::one(Spec { shape: x.shape("x").with(self.axis, self.extent), dtype: x.spec("x").dtype }))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let len = node.input("x").shape()[self.axis];
        Ok(Grads::to([(0, node.dy("y").slice(self.axis, self.start, len))]))
    }

    copying!(Operands::new().any("x", "..").out("y"), true, |op, s| along(op.axis, s));
}

/// The inputs one after the other along `axis`.
#[derive(Debug, Clone, Copy)]
pub struct Concat {
    pub axis: usize,
}

impl Concat {
    fn copies(&self, x: &[&Shape], y: &Shape) -> Vec<(usize, Move)> {
        let to = y.strides();
        let mut start = 0;
        let copy = |(i, x): (usize, &&Shape)| {
            let c = Move::new(x, 0, &x.strides(), start * to[self.axis], &to);
            start += x[self.axis];
            (i, c)
        };
        x.iter().enumerate().map(copy).collect()
    }
}

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if x.is_empty() {
            return x.fail("nothing to join");
        }
        x.axis(0, self.axis)?;
        let mut extent = 0;
        for i in 0..x.len() {
            x.dtype(i, x.specs[0].dtype)?;
            if x.shape(i).len() != x.shape(0).len() || x.shape(i).without(self.axis) != x.shape(0).without(self.axis) {
                return x.fail(format!("extents other than that of axis {} differ", self.axis));
            }
            extent += x.shape(i)[self.axis];
        }
        Ok(Outputs::one(Spec { shape: x.shape(0).with(self.axis, extent), dtype: x.specs[0].dtype }))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let mut start = 0;
        let mut to = vec![];
        for (i, x) in node.inputs.iter().enumerate() {
            let len = x.shape()[self.axis];
            if node.wanted[i] {
                to.push((i, node.dy("y").slice(self.axis, start, len)));
            }
            start += len;
        }
        Ok(Grads::to(to))
    }

    copying!(Operands::new().many().out("y"), false, |op, s| along(op.axis, s));
}

/// The inputs, flattened, each at its offset in a vector of `len` elements; zeros between.
#[derive(Debug, Clone)]
pub struct Pack {
    pub offsets: Vec<usize>,
    pub len: usize,
}

impl Pack {
    fn copies(&self, x: &[&Shape], _y: &Shape) -> Vec<(usize, Move)> {
        let flat = |(i, x): (usize, &&Shape)| (i, Move::new(&[x.elements()], 0, &[1], self.offsets[i], &[1]));
        x.iter().enumerate().map(flat).collect()
    }
}

impl Op for Pack {
    fn name(&self) -> &'static str {
        "pack"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if x.len() != self.offsets.len() {
            return x.fail(format!("{} offsets for {} inputs", self.offsets.len(), x.len()));
        }
        for (i, &offset) in self.offsets.iter().enumerate() {
            x.dtype(i, DType::F32)?;
            if offset + x.shape(i).elements() > self.len {
                return x.fail(format!("input {i} does not fit into {} from {offset}", self.len));
            }
        }
        Ok(Outputs::one(Spec::f32([self.len])))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    copying!(Operands::new().many().out("y"), true, |_, _| None);
}

/// Writes the second input over the state that the first one names.
#[derive(Debug, Clone, Copy)]
pub struct Assign;

impl Assign {
    fn copies(&self, x: &[&Shape], _y: &Shape) -> Vec<(usize, Move)> {
        vec![(1, Move::new(&[x[1].elements()], 0, &[1], 0, &[1]))]
    }
}

impl Op for Assign {
    fn name(&self) -> &'static str {
        "assign"
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.dtype("x", x.spec("y").dtype)?;
        Ok(Outputs::one(x.spec("y").clone()))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::not_differentiable())
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0)]
    }

    copying!(Operands::new().any("y", "..").any("x", "..").out("y"), false, |_, _| None);
}

/// Each way of moving elements.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [b, t, d] = scale.pick([4096, 50, 64], [7, 6, 5]);
    let of = |name: &str, build: fn(&Graph, Var) -> Value| {
        Example::new(name, format!("{b}x{t}x{d}"), move |g, x| Ok(vec![g.var(build(g, x[0]))])).f32([b, t, d], UNIT)
    };
    let all = [
        of("permute", |_, x| x.permute(&[2, 0, 1]).value),
        of("slice", |_, x| x.slice(1, 1, 3).value),
        of("concat", |g, x| g.concat(1, &[x, x]).value),
        of("expand", |_, x| x.slice(1, 0, 1).expand(x.shape()).value),
    ];
    all.into_iter().flat_map(|example| example.both(&[0], &[])).collect()
}
