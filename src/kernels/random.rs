//! Random numbers drawn on the device from Philox: dropout, and uniform, Gaussian and Gumbel noise.
//!
//! Key: (seed, hash of the scope's name). Counter: (element / 4, micro-batch, step), so that fusing, recomputing and
//! reordering keep every number, and each device draws the same words.

use super::example::{Example, Scale, UNIT};
use super::fast::wide;
use super::launch::turns_of;
use super::parallel::par_rows;
use super::real::Real;
use super::{Args, Caps, Grads, Inputs, Launch, NodeView, Op, Operands, Outputs, Shapes, Split};
use crate::error::Result;
use crate::graph::Step;
use crate::tensor::philox::{fnv, philox, philox_side_by_side};
use crate::tensor::{Shape, Spec};
use crate::twin;
use bytemuck::{Pod, Zeroable};

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
    key: u32,
    rate: f32,
    scale: f32,
}

/// Parts that start at a whole group of four elements, which share their words.
fn split<const N: usize>(s: &Shapes, cut: [&'static str; N]) -> Option<Split> {
    let parts = *s.output("y").first()?;
    if (s.output("y").elements() / parts).is_multiple_of(4) { s.rows(parts, cut) } else { None }
}

/// The key of a scope's random numbers.
pub fn key(scope: &str) -> u32 {
    fnv(scope)
}

/// Groups of four elements that the counter can tell apart.
pub(super) const GROUPS: usize = u32::MAX as usize;

/// Words of elements `4 * group ..` of the node with `key`.
fn words(step: &[u32], key: u32, group: usize) -> [u32; 4] {
    let seed = step[Step::SEED] ^ step[Step::SEED + 1].rotate_left(16);
    philox([seed, key], [group as u32, step[Step::MICRO], step[Step::STEP], step[Step::STEP + 1]])
}

/// 24 bits to [0, 1).
#[inline(always)]
fn unit(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Factors of dropout for ops that draw them as they go: 0 with probability `p`, else 1 / (1 - p).
#[derive(Clone, Copy)]
pub(super) struct Mask<'a> {
    pub step: &'a [u32],
    pub key: u32,
    pub p: f32,
}

impl Mask<'_> {
    /// The factor of one element of the whole tensor.
    pub fn factor<T: Real>(&self, element: usize) -> T {
        let dropped = unit(words(self.step, self.key, element / 4)[element % 4]) < self.p;
        if dropped { T::ZERO } else { T::ONE / (T::ONE - T::of(self.p as f64)) }
    }

    /// Multiplies `x` by the factors of elements `first ..`.
    #[inline(always)]
    pub fn apply(&self, first: usize, x: &mut [f32]) {
        let Mask { step, key, p } = *self;
        let seed = step[Step::SEED] ^ step[Step::SEED + 1].rotate_left(16);
        let scale = 1.0 / (1.0 - p);
        // k / 2^24 < p as integers: the product is exact.
        let below = (p * 16_777_216.0).ceil() as u32;
        // Sixteen counters side by side fill the vectors of every machine.
        const SIDE: usize = 16;
        let mut factors = [[0.0f32; 4]; SIDE];
        let mut at = first / 4 * 4;
        while at < first + x.len() {
            let counter = [(at / 4) as u32, step[Step::MICRO], step[Step::STEP], step[Step::STEP + 1]];
            let drawn = philox_side_by_side::<SIDE>([seed, key], counter);
            for (lane, four) in factors.iter_mut().enumerate() {
                *four = std::array::from_fn(|w| if drawn[w][lane] >> 8 < below { 0.0 } else { scale });
            }
            let factors = factors.as_flattened();
            let (from, to) = (at.max(first), (at + 4 * SIDE).min(first + x.len()));
            x[from - first..to - first].iter_mut().zip(&factors[from - at..]).for_each(|(x, f)| *x *= f);
            at += 4 * SIDE;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Noise {
    /// In [0, 1), equal to the bit on every device.
    Uniform,
    /// Standard normal, by Box and Muller.
    Gaussian,
    /// -log(-log u): adding it to logits and taking the largest draws from their softmax.
    Gumbel,
}

/// A tensor of noise; input: step.
#[derive(Debug, Clone)]
pub struct Draw {
    pub kind: Noise,
    pub key: u32,
    pub shape: Shape,
}

impl Draw {
    fn of<T: Real>(kind: Noise, w: [u32; 4]) -> [T; 4] {
        // In (0, 1]: never log 0.
        let open = |w: u32| T::of(((w >> 8) as f64 + 1.0) / 16_777_216.0);
        match kind {
            Noise::Uniform => w.map(|w| T::of(unit(w) as f64)),
            Noise::Gaussian => {
                let pair = |w: u32, v: u32| {
                    let (r, angle) =
                        ((T::of(-2.0) * open(w).ln()).sqrt(), T::of(std::f64::consts::TAU * unit(v) as f64));
                    (r * angle.cos(), r * angle.sin())
                };
                let ((a, b), (c, d)) = (pair(w[0], w[1]), pair(w[2], w[3]));
                [a, b, c, d]
            }
            // u = (n + 1/2) / 2^24. Above 1/2 f32 does not hold u but 1 - u, and the inner log is a series in that.
            Noise::Gumbel => w.map(|w| {
                let n = (w >> 8) as f64;
                let inner = if n < 8_388_608.0 {
                    T::of((n + 0.5) / 16_777_216.0).ln()
                } else {
                    (-T::of((16_777_216.0 - n - 0.5) / 16_777_216.0)).ln_1p()
                };
                -(-inner).ln()
            }),
        }
    }

    fn twin<T: Real>(&self, a: &Args<T>) {
        let step = a.u("step");
        let first = a.first_element("y") / 4;
        par_rows(a.out("y"), 4, 64, |group, y| {
            let drawn = Draw::of::<T>(self.kind, words(step, self.key, first + group));
            y.iter_mut().zip(drawn).for_each(|(y, x)| *y = x);
        });
    }
}

impl Op for Draw {
    fn name(&self) -> &'static str {
        match self.kind {
            Noise::Uniform => "uniform noise",
            Noise::Gaussian => "gaussian noise",
            Noise::Gumbel => "gumbel noise",
        }
    }

    fn operands(&self) -> Operands {
        Operands::new().u32("step", "8").out("y")
    }

    fn infer(&self, _x: &Inputs) -> Result<Outputs> {
        Ok(Outputs::one(Spec::f32(self.shape.clone())))
    }

    fn grad<'g>(&self, _node: &NodeView<'g>) -> Result<Grads<'g>> {
        Ok(Grads::none())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let n = s.output("y").elements();
        let params = Params { n: n as u32, key: self.key, rate: 0.0, scale: 1.0 };
        let launch = Launch::of("random", "draw").params(params).constant("KIND", self.kind as u32);
        Ok(vec![launch.turns(ROUNDS + turns_of(4, 0)).threads(n.div_ceil(4), caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        split(s, [])
    }
}

/// Turns of a shader that draws four words.
pub const ROUNDS: usize = 10 + 1;

/// Inputs x, step: elements set to 0 with probability `p`, the others divided by 1 - p. Its gradient is itself on dy.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    pub p: f32,
    pub key: u32,
}

impl Dropout {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let (x, step) = (a.f("x"), a.u("step"));
        let scale = T::ONE / (T::ONE - T::of(self.p as f64));
        let first = a.first_element("y") / 4;
        par_rows(a.out("y"), 4, 64, |group, y| {
            let w = words(step, self.key, first + group);
            for (i, y) in y.iter_mut().enumerate() {
                *y = if unit(w[i]) < self.p { T::ZERO } else { x[group * 4 + i] * scale };
            }
        });
    }
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }

    fn operands(&self) -> Operands {
        Operands::new().f32("x", "..").u32("step", "8").out_f32("y", "..")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        if !(0.0..1.0).contains(&self.p) {
            return x.fail(format!("a probability of {} must be at least 0 and less than 1", self.p));
        }
        Ok(x.declared())
    }

    fn grad<'g>(&self, node: &NodeView<'g>) -> Result<Grads<'g>> {
        let step = node.input("step");
        Ok(Grads::to([("x", step.graph().push(*self, &[node.dy("y"), step]))]))
    }

    twin!();

    fn cpu_fast(&self, a: &Args<f32>) -> bool {
        const CHUNK: usize = 4096;
        let (x, first) = (a.f("x"), a.first_element("y"));
        let mask = Mask { step: a.u("step"), key: self.key, p: self.p };
        par_rows(a.out("y"), CHUNK.min(x.len()), 4 * CHUNK, |i, y| {
            y.copy_from_slice(&x[i * CHUNK..][..y.len()]);
            wide(
                #[inline(always)]
                || mask.apply(first + i * CHUNK, y),
            );
        });
        true
    }

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let n = s.output("y").elements();
        let scale = (1.0 / (1.0 - self.p as f64)) as f32;
        let params = Params { n: n as u32, key: self.key, rate: self.p, scale };
        let launch = Launch::of("random", "dropout").params(params).constant("KIND", 0);
        Ok(vec![launch.turns(ROUNDS + turns_of(4, 0)).threads(n.div_ceil(4), caps)?])
    }

    fn split(&self, s: &Shapes) -> Option<Split> {
        split(s, ["x"])
    }
}

/// Dropout, and each kind of noise.
pub fn examples(scale: Scale) -> Vec<Example> {
    let [n, d] = [scale.rows(), scale.width()];
    let dropout = Example::new("dropout", format!("{n}x{d}"), |_, x| Ok(vec![x[0].dropout(0.3)])).f32([n, d], UNIT);
    let noise =
        |kind: Noise, name: &str| Example::new(name, format!("{n}x{d}"), move |g, _| Ok(vec![g.noise(kind, [n, d])]));
    let noises = [
        noise(Noise::Uniform, "uniform noise"),
        noise(Noise::Gaussian, "gaussian noise"),
        noise(Noise::Gumbel, "gumbel noise"),
    ];
    dropout.both(&[0], &["dropout"]).into_iter().chain(noises).collect()
}
