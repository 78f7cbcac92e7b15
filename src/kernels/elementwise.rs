//! Elementwise chains: one table, a line an operation, from which shaders, twin and gradients come. A chain computes a few
//! operations on each element in registers; a lone tanh is a chain of one. Operands broadcast from the right.
//!
//! NaN in, NaN out, comparisons included: a mask that is made of NaN must not select a number.

use super::broadcast::{Broadcast, RANK};
use super::example::{Example, Fill, Scale, UNIT};
use super::lanes;
use super::parallel::par_rows;
use super::real::Real;
use super::{Args, Caps, Cost, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::{Error, Result};
use crate::graph::Var;
use crate::tensor::{DType, Shape, Spec};
use crate::twin;

mod blocks;

macro_rules! table {
    ($($fun:ident $arity:literal $wgsl:literal, |$a:ident, $b:ident| $twin:expr,
       $(@ $vector:path)? $(|$p:pat_param, $q:pat_param| $quick:expr)?,
       |$x:ident, $z:ident, $y:ident, $dy:ident| [$da:expr, $db:expr];)*) => {
        /// An elementwise operation.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Fun { $($fun),* }

        impl Fun {
            pub const ALL: &[Fun] = &[$(Fun::$fun),*];

            pub fn arity(self) -> usize {
                match self { $(Fun::$fun => $arity),* }
            }

            /// The WGSL expression, with `{a}` and `{b}` for the operands.
            pub fn wgsl(self) -> &'static str {
                match self { $(Fun::$fun => $wgsl),* }
            }

            /// The twin.
            #[inline(always)]
            pub fn apply<T: Real>(self, a: T, b: T) -> T {
                match self { $(Fun::$fun => { let ($a, $b) = (a, b); let _ = $b; $twin }),* }
            }

            /// `out[i] = f(a[i], b[i])` in f32: by vectors, or branch-free so that the compiler vectorises the line.
            #[inline(always)]
            fn block<S: pulp::Simd>(self, simd: S, a: &[f32], b: &[f32], out: &mut [f32]) {
                match self { $(Fun::$fun => {
                    $(lanes::apply(
                        simd,
                        a,
                        out,
                        #[inline(always)]
                        |x| $vector(x),
                    );)?
                    $(
                        let f = |$p: f32, $q: f32| $quick;
                        for ((o, &x), &y) in out.iter_mut().zip(a).zip(b) { *o = f(x, y); }
                    )?
                }),* }
            }

            /// Gradients by the operands `x` and `z`, given the result `y` and the gradient `dy` of it. None: no gradient
            /// by design.
            #[allow(unused_variables)]
            fn gradient<'g>(self, x: Var<'g>, z: Var<'g>, y: Var<'g>, dy: Var<'g>) -> [Option<Var<'g>>; 2] {
                match self { $(Fun::$fun => { let ($x, $z, $y, $dy) = (x, z, y, dy); [$da, $db] }),* }
            }
        }
    };
}

fn constant(v: Var, c: f64) -> Var {
    v.constant_like(c)
}

const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;
const FRAC_1_SQRT_2PI: f64 = 0.398_942_280_401_432_7;

fn gelu_tanh_inner<T: Real>(a: T) -> T {
    T::of(SQRT_2_OVER_PI) * (a + T::of(0.044715) * a * a * a)
}

table! {
    // name arity WGSL, |a, b| twin, f32: @ by vectors or |x, y| of numbers, |x, z, y, dy| [by x, by z];
    Tanh 1 "tanh_accurate({a})", |a, b| a.tanh(), @lanes::tanh,
        |x, z, y, dy| [Some(dy * (constant(y, 1.0) - y * y)), None];
    Sigmoid 1 "sigmoid({a})", |a, b| sigmoid(a), @lanes::sigmoid,
        |x, z, y, dy| [Some(dy * (y - y * y)), None];
    LogSigmoid 1 "-softplus(-({a}))", |a, b| -softplus(-a), @lanes::log_sigmoid,
        |x, z, y, dy| [Some(dy * (-x).sigmoid()), None];
    Softplus 1 "softplus({a})", |a, b| softplus(a), @lanes::softplus,
        |x, z, y, dy| [Some(dy * x.sigmoid()), None];
    Relu 1 "relu({a})", |a, b| relu(a), |x, _| relu(x),
        |x, z, y, dy| [Some(dy * y.greater(constant(y, 0.0))), None];
    Gelu 1 "gelu({a})", |a, b| T::of(0.5) * a * (T::ONE + (a * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf()),
        @lanes::gelu,
        |x, z, y, dy| [Some(dy * x.gelu_slope()), None];
    GeluSlope 1 "gelu_slope({a})", |a, b| T::of(0.5) * (T::ONE + (a * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf())
            + a * T::of(FRAC_1_SQRT_2PI) * (T::of(-0.5) * a * a).exp(),
        @lanes::gelu_slope,
        // d/dx (Phi(x) + x phi(x)) = (2 - x^2) phi(x), by h = exp(-x^2 / 4): no factor overflows where the product is 0.
        |x, z, y, dy| [Some({
            let h = (x * x).scale(-0.25).exp();
            dy * ((h * h).scale(2.0) - (x * h).square()).scale(FRAC_1_SQRT_2PI)
        }), None];
    GeluTanh 1 "gelu_tanh({a})", |a, b| T::of(0.5) * a * (T::ONE + gelu_tanh_inner(a).tanh()),
        @lanes::gelu_tanh,
        |x, z, y, dy| [Some({
            // Past 10 tanh is 1. The limit keeps x^2 finite: a GPU's compiler may multiply in any order, and 0 times it must be 0.
            let x = x.max(constant(x, -10.0)).min(constant(x, 10.0));
            let t = (x + (x * x * x).scale(0.044715)).scale(SQRT_2_OVER_PI).tanh();
            let one = constant(x, 1.0);
            // x times the derivative of tanh.
            let s = x * (one - t * t);
            dy * ((one + t) + (s + (s * x * x).scale(3.0 * 0.044715)).scale(SQRT_2_OVER_PI)).scale(0.5)
        }), None];
    Exp 1 "exp_accurate({a})", |a, b| a.exp(), @lanes::exp, |x, z, y, dy| [Some(dy * y), None];
    // The argument is kept away from 0: below the smallest normal number, log is that number's, -87.3, and its derivative is 0.
    Log 1 "log_positive({a})", |a, b| a.max(T::of(f32::MIN_POSITIVE as f64)).ln(),
        |x, _| Real::max(x, f32::MIN_POSITIVE).ln(),
        |x, z, y, dy| [Some({
            let least = constant(x, f32::MIN_POSITIVE as f64);
            dy * x.greater(least) * x.max(least).reciprocal()
        }), None];
    // 0 below 0, where rounding may have taken a variance. Its derivative is taken as 0 at 0, where it has none.
    Sqrt 1 "sqrt(relu({a}))", |a, b| relu(a).sqrt(), |x, _| relu(x).sqrt(),
        |x, z, y, dy| [Some(dy * y.reciprocal().scale(0.5)), None];
    Square 1 "({a}) * ({a})", |a, b| a * a, |x, _| x * x, |x, z, y, dy| [Some(dy * x.scale(2.0)), None];
    Abs 1 "abs({a})", |a, b| a.abs(), |x, _| x.abs(), |x, z, y, dy| [Some(dy * x.sign()), None];
    Sign 1 "sign_or_nan({a})", |a, b| sign(a), |x, _| sign(x), |x, z, y, dy| [None, None];
    Sin 1 "sine({a})", |a, b| a.sin(), |x, _| x.sin(), |x, z, y, dy| [Some(dy * x.cos()), None];
    Cos 1 "cosine({a})", |a, b| a.cos(), |x, _| x.cos(), |x, z, y, dy| [Some(-(dy * x.sin())), None];
    Neg 1 "-({a})", |a, b| -a, |x, _| -x, |x, z, y, dy| [Some(-dy), None];
    // 1/0 is taken as 0, so that masks and square roots at 0 stay finite.
    Reciprocal 1 "reciprocal({a})", |a, b| reciprocal(a), |x, _| reciprocal(x),
        |x, z, y, dy| [Some(-(dy * y * y)), None];
    // The one operation that makes a number of NaN: it tells whether all gradients are finite.
    FiniteOrZero 1 "select(0.0, {a}, is_finite({a}))", |a, b| if a.f64().is_finite() { a } else { T::ZERO },
        |x, _| if x.is_finite() { x } else { 0.0 }, |x, z, y, dy| [None, None];
    FiniteOrNan 1 "finite_or_nan({a})", |a, b| a.finite_or_nan(), |x, _| x.finite_or_nan(),
        |x, z, y, dy| [Some(dy), None];
    NonZero 1 "1.0 - one_if_equal({a}, 0.0)", |a, b| T::ONE - truth(a == T::ZERO, a, a),
        |x, _| 1.0 - truth(x == 0.0, x, x), |x, z, y, dy| [None, None];
    Add 2 "({a}) + ({b})", |a, b| a + b, |x, y| x + y, |x, z, y, dy| [Some(dy), Some(dy)];
    Sub 2 "({a}) - ({b})", |a, b| a - b, |x, y| x - y, |x, z, y, dy| [Some(dy), Some(-dy)];
    Mul 2 "({a}) * ({b})", |a, b| a * b, |x, y| x * y, |x, z, y, dy| [Some(dy * z), Some(dy * x)];
    Div 2 "divide({a}, {b})", |a, b| a / b, |x, y| x / y,
        |x, z, y, dy| [Some(dy / z), Some(-(dy * y / z))];
    // Where both are equal the gradient goes to the first.
    Max 2 "max_or_nan({a}, {b})", |a, b| a.max(b), |x, y| Real::max(x, y),
        |x, z, y, dy| [Some(dy * (constant(x, 1.0) - z.greater(x))), Some(dy * z.greater(x))];
    Min 2 "min_or_nan({a}, {b})", |a, b| a.min(b), |x, y| Real::min(x, y),
        |x, z, y, dy| [Some(dy * (constant(x, 1.0) - x.greater(z))), Some(dy * x.greater(z))];
    Greater 2 "one_if_greater({a}, {b})", |a, b| truth(a > b, a, b), |x, y| truth(x > y, x, y), |x, z, y, dy| [None, None];
    Equal 2 "one_if_equal({a}, {b})", |a, b| truth(a == b, a, b), |x, y| truth(x == y, x, y), |x, z, y, dy| [None, None];
}

/// In this order a machine's maximum gives NaN for NaN.
#[inline(always)]
pub(super) fn relu<T: Real>(a: T) -> T {
    if a < T::ZERO { T::ZERO } else { a }
}

/// 1 or 0; NaN where `a` or `b`, which were compared, is.
#[inline(always)]
fn truth<T: Real>(holds: bool, a: T, b: T) -> T {
    if a.is_nan() {
        a
    } else if b.is_nan() {
        b
    } else if holds {
        T::ONE
    } else {
        T::ZERO
    }
}

#[inline(always)]
fn softplus<T: Real>(a: T) -> T {
    a.max(T::ZERO) + (-a.abs()).exp().ln_1p()
}

#[inline(always)]
fn sigmoid<T: Real>(a: T) -> T {
    let e = (-a.abs()).exp();
    (if a < T::ZERO { e } else { T::ONE }) / (T::ONE + e)
}

#[inline(always)]
fn sign<T: Real>(a: T) -> T {
    if a > T::ZERO {
        T::ONE
    } else if a < T::ZERO {
        -T::ONE
    } else {
        a // 0 or NaN
    }
}

#[inline(always)]
fn reciprocal<T: Real>(a: T) -> T {
    if a == T::ZERO { T::ZERO } else { T::ONE / a }
}

/// One step of a chain; registers are numbered inputs first, then results.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Instr {
    Literal(f64),
    Apply(Fun, usize, usize),
}

/// Operations in registers on each element; the last result is the output.
#[derive(Clone, PartialEq, Debug)]
pub struct Chain {
    pub inputs: usize,
    pub code: Vec<Instr>,
}

impl Chain {
    /// Its one input, as it is.
    pub fn copy() -> Chain {
        Chain { inputs: 1, code: vec![] }
    }

    pub fn of(fun: Fun) -> Chain {
        let inputs = fun.arity();
        Chain { inputs, code: vec![Instr::Apply(fun, 0, inputs - 1)] }
    }

    /// This chain with input `at` replaced by a literal.
    pub(crate) fn with_literal(&self, at: usize, literal: f64) -> Chain {
        let n = self.inputs;
        let map = |r: usize| match r {
            r if r == at => n - 1,
            r if r < at => r,
            r if r < n => r - 1,
            r => r,
        };
        // Registers: n - 1 inputs, the literal, then results, which thus keep their numbers.
        let code = self.code.iter().map(|i| i.renumbered(map));
        Chain { inputs: n - 1, code: std::iter::once(Instr::Literal(literal)).chain(code).collect() }
    }

    /// This chain with input `at` replaced by what `producer` computes from `from`; also the list of inputs that results.
    pub(crate) fn with_producer<V: PartialEq + Copy>(
        &self,
        inputs: &[V],
        at: usize,
        producer: &Chain,
        from: &[V],
    ) -> (Chain, Vec<V>) {
        let mut list: Vec<V> = vec![];
        let mut slot = |v: V| {
            list.iter().position(|&x| x == v).unwrap_or_else(|| {
                list.push(v);
                list.len() - 1
            })
        };
        let own: Vec<usize> = (0..inputs.len()).map(|i| if i == at { usize::MAX } else { slot(inputs[i]) }).collect();
        let theirs: Vec<usize> = from.iter().map(|&v| slot(v)).collect();
        let n = list.len();
        let first = producer.code.len();
        let map_p = |r: usize| if r < producer.inputs { theirs[r] } else { n + r - producer.inputs };
        let map_c = |r: usize| match r {
            r if r == at => n + first - 1,
            r if r < self.inputs => own[r],
            r => n + first + r - self.inputs,
        };
        let code =
            producer.code.iter().map(|i| i.renumbered(map_p)).chain(self.code.iter().map(|i| i.renumbered(map_c)));
        (Chain { inputs: n, code: code.collect() }, list)
    }
}

impl Instr {
    fn renumbered(self, map: impl Fn(usize) -> usize) -> Instr {
        match self {
            Instr::Literal(x) => Instr::Literal(x),
            Instr::Apply(f, a, b) => Instr::Apply(f, map(a), map(b)),
        }
    }
}

/// Inputs of a chain at most: storage buffers of one launch are 8.
pub const MAX_INPUTS: usize = 7;

impl Chain {
    fn broadcast(&self, a: &Args<impl Real>) -> Broadcast {
        let shapes: Vec<&Shape> = (0..a.len()).map(|i| a.shape(i)).collect();
        Broadcast::new(a.out_shape("y"), &shapes)
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let b = self.broadcast(a);
        let inner = *b.extents.last().unwrap();
        par_rows(a.out("y"), inner, inner * self.code.len(), |row, out| {
            let at = b.row(row);
            let starts: Vec<usize> = (0..a.len()).map(|i| b.offset(i, &at)).collect();
            let mut r = vec![T::ZERO; self.inputs + self.code.len()];
            for (c, y) in out.iter_mut().enumerate() {
                for (i, start) in starts.iter().enumerate() {
                    let at = start + c * b.strides[i].last().unwrap();
                    r[i] = if a.dtype(i) == DType::U32 { T::of(a.u(i)[at] as f64) } else { a.f(i)[at] };
                }
                for (k, instr) in self.code.iter().enumerate() {
                    r[self.inputs + k] = match *instr {
                        Instr::Literal(x) => T::of(x),
                        Instr::Apply(f, p, q) => f.apply(r[p], r[q]),
                    };
                }
                *y = *r.last().unwrap();
            }
        });
    }
}

impl Chain {
    /// Whether an operation takes a sine or a cosine.
    fn has_angles(&self) -> bool {
        self.code.iter().any(|i| matches!(i, Instr::Apply(Fun::Sin | Fun::Cos, ..)))
    }
}

/// A literal as WGSL, exact to the bit: Rust prints the shortest decimal that reads back as the same f32.
fn literal(x: f64) -> Result<String> {
    let x = x as f32;
    if !x.is_finite() {
        return Err(Error::shape("elementwise", format!("{x} cannot be a literal of a shader")));
    }
    Ok(format!("{x:?}f"))
}

impl Chain {
    /// The WGSL of this chain on operands of these shapes, and how many invocations it takes. Extents and strides of a broadcast
    /// stand in the text, so that the compiler divides by constants; the number of invocations is a parameter. Each makes four
    /// elements where rows allow it: one division for four, and loads of 16 bytes.
    fn shader(&self, s: &Shapes) -> Result<(String, usize)> {
        let shapes: Vec<&Shape> = s.inputs.iter().map(|x| &x.shape).collect();
        let whole = Broadcast::new(s.output("y"), &shapes);
        let by_four = whole.by_four();
        let elements: &[&str] = if by_four.is_some() { &[".x", ".y", ".z", ".w"] } else { &[""] };
        let b = by_four.unwrap_or(whole);
        let is_vector = |i: usize| elements.len() == 4 && b.strides[i].last() == Some(&1);
        let array = |element: &str, vector: bool| match vector {
            true => format!("array<vec4<{element}>>"),
            false => format!("array<{element}>"),
        };
        let mut text = format!(
            "// A chain of elementwise operations, {} an invocation.\n\
             //!import index\n//!import math\n{}struct Params {{ n: u32 }}\nvar<immediate> p: Params;\n",
            if elements.len() == 4 { "four elements" } else { "one element" },
            if self.has_angles() { "//!import trigonometry\n" } else { "" }
        );
        for (i, x) in s.inputs.iter().enumerate() {
            let element = array(if x.dtype == DType::U32 { "u32" } else { "f32" }, is_vector(i));
            text += &format!("@group(0) @binding({i}) var<storage, read> x{i}: {element};\n");
        }
        let last = s.inputs.len();
        let element = array("f32", elements.len() == 4);
        text += &format!("@group(0) @binding({last}) var<storage, read_write> y: {element};\n\n");

        let join = |of: &dyn Fn(usize) -> String| (0..last).map(of).collect::<Vec<_>>().join(", ");
        text += &format!("fn chain({}) -> f32 {{\n", join(&|i| format!("r{i}: f32")));
        for (k, instr) in self.code.iter().enumerate() {
            let value = match *instr {
                Instr::Literal(x) => literal(x)?,
                Instr::Apply(f, p, q) => f.wgsl().replace("{a}", &format!("r{p}")).replace("{b}", &format!("r{q}")),
            };
            text += &format!("    let r{} = {value};\n", self.inputs + k);
        }
        text += &format!("    return r{};\n}}\n\n", self.inputs + self.code.len() - 1);

        text += "@compute @workgroup_size(WG)\nfn forward(grid: Grid, me: Invocation) {\n    \
                 let i = thread_index(grid, me, WG);\n    if i >= p.n {\n        return;\n    }\n";
        text += &b.wgsl_coordinates();
        for (i, x) in s.inputs.iter().enumerate() {
            let at = b.wgsl_index(i);
            text += &match (x.dtype, is_vector(i)) {
                (DType::U32, true) => format!("    let x{i}_here = vec4<f32>(x{i}[{at}]);\n"),
                (DType::U32, false) => format!("    let x{i}_here = f32(x{i}[{at}]);\n"),
                _ => format!("    let x{i}_here = x{i}[{at}];\n"),
            };
        }
        let of_one = |element: &&str| {
            format!("chain({})", join(&|i| format!("x{i}_here{}", if is_vector(i) { element } else { "" })))
        };
        let values: Vec<String> = elements.iter().map(of_one).collect();
        text += &match elements.len() {
            4 => format!("    y[i] = vec4({});\n}}\n", values.join(", ")),
            _ => format!("    y[i] = {};\n}}\n", values[0]),
        };
        Ok((text, s.output("y").elements() / elements.len()))
    }
}

impl Op for Chain {
    fn name(&self) -> &'static str {
        "elementwise"
    }

    fn operands(&self) -> Operands {
        const NAMES: [&str; MAX_INPUTS] = ["x0", "x1", "x2", "x3", "x4", "x5", "x6"];
        let inputs = NAMES[..self.inputs.min(MAX_INPUTS)].iter();
        inputs.fold(Operands::new(), |operands, name| operands.any(name, "*")).out("y")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if self.inputs > MAX_INPUTS || x.specs.iter().any(|s| s.shape.len() > RANK) {
            return x.fail(format!("takes at most {MAX_INPUTS} operands of {RANK} axes"));
        }
        let mut shape = Shape::default();
        for i in 0..x.len() {
            match shape.broadcast(x.shape(i)) {
                Some(s) => shape = s,
                None => return x.fail("shapes do not broadcast"),
            }
        }
        Ok(Outputs::one(Spec::f32(shape)))
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let graph = node.outputs[0].graph();
        let mut r = node.inputs.clone();
        for (k, instr) in self.code.iter().enumerate() {
            r.push(match *instr {
                _ if k + 1 == self.code.len() => node.outputs[0],
                Instr::Literal(x) => graph.scalar(x),
                Instr::Apply(f, p, q) => {
                    let inputs = [r[p], r[q]];
                    graph.push(Chain::of(f), &inputs[..f.arity()])
                }
            });
        }
        let mut dr: Vec<Option<Var>> = vec![None; r.len()];
        *dr.last_mut().unwrap() = Some(node.dy("y"));
        for (k, instr) in self.code.iter().enumerate().rev() {
            let (Instr::Apply(f, p, q), Some(dy)) = (*instr, dr[self.inputs + k]) else { continue };
            let to = f.gradient(r[p], r[q], r[self.inputs + k], dy);
            for (input, dx) in [p, q].into_iter().zip(to).take(f.arity()) {
                let wanted = input >= self.inputs || node.wanted[input];
                if let Some(dx) = dx.filter(|_| wanted) {
                    dr[input] = Some(dr[input].map_or(dx, |sum| sum + dx));
                }
            }
        }
        let inputs = node.inputs.iter().enumerate();
        Ok(Grads::to(inputs.filter_map(|(i, x)| Some((i, dr[i]?.sum_to(&x.shape())))).collect::<Vec<_>>()))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        blocks::run(self, a)
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (text, n) = self.shader(s)?;
        let launch = Launch::generated(text, "forward").params(n as u32).threads(n, caps)?;
        // SAFETY: an element's index is below n, and `Broadcast` gives each operand an index below its number of elements.
        Ok(vec![unsafe { launch.unchecked() }])
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let bytes = s.inputs.iter().chain(s.outputs).map(|x| x.bytes() as u64).sum();
        Cost { bytes, flops: (s.output("y").elements() * self.code.len()) as u64 }
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        let out = s.output("y");
        let parts = *out.first()?;
        let cut = |x: &Spec| x.shape.len() == out.len() && x.shape[0] == parts;
        let inputs = s.inputs.iter().enumerate().map(|(i, x)| (cut(x) as u32) << i).sum();
        Split::rows(parts, inputs)
    }
}

/// A chain that is one kernel, with its gradients; and all functions.
pub fn examples(scale: Scale) -> Vec<Example> {
    let n = scale.rows() * scale.width();
    let chain =
        Example::new("elementwise", n.to_string(), |_, x| Ok(vec![(x[0] * x[1] + x[0]).tanh() * x[1].sigmoid()]));
    let smooth = Example::new("elementwise functions", n.to_string(), |_, x| {
        let x = x[0];
        let all = [x.sigmoid(), x.softplus(), x.gelu(), x.gelu_tanh(), x.exp(), x.sin(), x.cos(), x.square()];
        Ok(vec![all.into_iter().reduce(|sum, y| sum + y * x.tanh()).expect("there are some")])
    });
    let kinked = Example::new("elementwise kinks", n.to_string(), |_, x| {
        let (x, z) = (x[0], x[1]);
        Ok(vec![x.relu() + x.abs().sqrt() * x.sign() + x.max(z) * x.min(z) + x.greater(z) + x.nonzero().log()])
    });
    let pair = |example: Example| example.f32([n], UNIT).f32([n], UNIT);
    let functions = smooth.f32([n], Fill::Float(4.0)).both(&[0], &["elementwise"]);
    [pair(chain).both(&[0, 1], &["elementwise"]), functions, vec![pair(kinked)]].concat()
}
