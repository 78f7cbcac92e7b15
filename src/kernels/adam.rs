//! Adam (Kingma and Ba, ICLR 2015), with decoupled (AdamW) or L2 weight decay: over one flat buffer, over a table whose
//! gradient is rows, and the lazy form that leaves rows without a gradient alone.

use super::example::{Example, Fill, Scale, UNIT};
use super::fast::wide;
use super::launch::SEARCH;
use super::parallel::{par_blocks, par_rows};
use super::real::Real;
use super::{Args, Caps, Cost, Inputs, Launch, Op, Operands, Outputs, Shapes};
use crate::error::Result;
use crate::graph::Step;
use crate::tensor::Spec;
use crate::twin;
use bytemuck::{Pod, Zeroable};

/// What stays the same over a run; the learning rate and the bias corrections come with the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    pub beta1: f32,
    pub beta2: f32,
    pub eps: f32,
    /// True: p shrinks by lr * decay (AdamW). False: decay * p is added to the gradient (L2).
    pub decoupled: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { beta1: 0.9, beta2: 0.999, eps: 1e-8, decoupled: false }
    }
}

impl Settings {
    /// Both betas as they are written.
    pub fn betas(&self) -> [f64; 2] {
        [self.beta1, self.beta2].map(exact)
    }
}

/// Moments below this are set to 0: denormal numbers make the update about thirty times slower.
pub const TINY: f64 = 1e-30;

/// A beta or eps as it is written, not as f32 rounds it: 1 - beta2 would be off in the fifth digit.
fn exact(x: f32) -> f64 {
    x.to_string().parse().expect("a float prints as one")
}

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    beta1: f32,
    beta2: f32,
    rest1: f32,
    rest2: f32,
    eps: f32,
    decay: f32,
    decoupled: u32,
    n: u32,
    cap: u32,
}

impl Params {
    fn new(s: &Settings) -> Params {
        Params {
            beta1: s.beta1,
            beta2: s.beta2,
            rest1: (1.0 - exact(s.beta1)) as f32,
            rest2: (1.0 - exact(s.beta2)) as f32,
            eps: s.eps,
            decay: 0.0,
            decoupled: s.decoupled as u32,
            n: 0,
            cap: 0,
        }
    }
}

/// The numbers of one update, in the twin's arithmetic.
#[derive(Clone, Copy)]
struct Update<T> {
    beta1: T,
    beta2: T,
    rest1: T,
    rest2: T,
    eps: T,
    decoupled: bool,
    lr: T,
    correction1: T,
    correction2: T,
    decay: T,
    scale: T,
}

impl<T: Real> Update<T> {
    fn new(s: &Settings, step: &[u32], lr_factor: T, decay: T, scale: T) -> Update<T> {
        let float = |i| T::of(Step::float(step, i));
        Update {
            beta1: T::of(exact(s.beta1)),
            beta2: T::of(exact(s.beta2)),
            rest1: T::of(1.0 - exact(s.beta1)),
            rest2: T::of(1.0 - exact(s.beta2)),
            eps: T::of(exact(s.eps)),
            decoupled: s.decoupled,
            lr: float(Step::LR) * lr_factor,
            correction1: float(Step::CORRECTION1),
            correction2: float(Step::CORRECTION2),
            decay,
            scale,
        }
    }

    /// `p`, `m` and `v` after gradient `g`; a missing one is 0. Where `scale` is 0 they stay.
    #[inline(always)]
    fn apply(&self, p: &mut [T], m: &mut [T], v: &mut [T], g: Option<&[T]>) {
        if self.scale == T::ZERO {
            return;
        }
        // Either kind of decay, without a branch in the loop: decay * p in the gradient, or a factor on p.
        let (added, kept) = match self.decoupled {
            true => (T::ZERO, T::ONE - self.lr * self.decay),
            false => (self.decay, T::ONE),
        };
        let flushed = |x: T| if x.abs() < T::of(TINY) { T::ZERO } else { x };
        let update = |p: &mut T, m: &mut T, v: &mut T, g: T| {
            let g = g * self.scale + added * *p;
            *m = flushed(self.beta1 * *m + self.rest1 * g);
            *v = flushed(self.beta2 * *v + self.rest2 * g * g);
            *p = *p * kept - self.lr * (*m * self.correction1) / ((*v * self.correction2).sqrt() + self.eps);
        };
        let states = p.iter_mut().zip(m).zip(v);
        match g {
            Some(g) => states.zip(g).for_each(|(((p, m), v), &g)| update(p, m, v, g)),
            None => states.for_each(|((p, m), v)| update(p, m, v, T::ZERO)),
        }
    }
}

/// Over flat states p, m, v \[n\] with gradient g \[n\]. `rates` \[n / 64, 2\] holds for each block of 64 elements a factor on
/// the learning rate (0 freezes it) and the weight decay. `scale`, a scalar, multiplies the gradient (clipping, loss
/// scaling); where it is 0 nothing is updated.
#[derive(Debug, Clone, Copy)]
pub struct Adam {
    pub settings: Settings,
}

impl Adam {
    /// Elements that share a row of `rates`.
    pub const BLOCK: usize = 64;

    fn twin<T: Real>(&self, a: &Args<T>) {
        let (g, rates, step, scale) = (a.f("g"), a.f("rates"), a.u("step"), a.f("scale")[0]);
        let all = Update::new(&self.settings, step, T::ONE, T::ZERO, scale);
        // Enough blocks at once that sharing them out costs nothing.
        const SHARE: usize = 256 * Adam::BLOCK;
        par_blocks([a.out("p"), a.out("m"), a.out("v")].map(|x| (x, SHARE)), SHARE, |share, [p, m, v]| {
            let states = p.chunks_mut(Adam::BLOCK).zip(m.chunks_mut(Adam::BLOCK)).zip(v.chunks_mut(Adam::BLOCK));
            for (b, ((p, m), v)) in (share * SHARE / Adam::BLOCK..).zip(states) {
                if rates[2 * b] == T::ZERO {
                    continue;
                }
                let u = Update { lr: all.lr * rates[2 * b], decay: rates[2 * b + 1], ..all };
                wide(
                    #[inline(always)]
                    || u.apply(p, m, v, Some(&g[b * Adam::BLOCK..])),
                );
            }
        });
    }
}

impl Op for Adam {
    fn name(&self) -> &'static str {
        "adam"
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("p", "n")
            .f32("m", "n")
            .f32("v", "n")
            .f32("g", "n")
            .f32("rates", "blocks 2")
            .u32("step", "8")
            .f32("scale", "")
            .out_f32("p", "n")
            .out_f32("m", "n")
            .out_f32("v", "n")
    }

    fn infer(&self, x: &Inputs) -> Result<Outputs> {
        x.is_shape("rates", &[x.extent("n").div_ceil(Adam::BLOCK), 2])?;
        Ok(x.declared())
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let n = s.input("p").elements();
        let params = Params { n: n as u32, ..Params::new(&self.settings) };
        Ok(vec![Launch::of("adam", "flat").constant("D", 1).params(params).threads(n, caps)?])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0), (1, 1), (2, 2)]
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let n = s.input("p").elements() as u64;
        Cost { bytes: 28 * n, flops: 14 * n }
    }
}

/// Over the states p, m, v \[n, d\] of a table, with gradient rows values \[cap, d\], rows \[cap\], counts \[4\]. Not lazy: as
/// Adam with a dense gradient that is 0 in all other rows. Lazy: rows without a gradient stay as they are.
#[derive(Debug, Clone, Copy)]
pub struct AdamRows {
    pub settings: Settings,
    pub lazy: bool,
    pub decay: f32,
}

impl AdamRows {
    fn twin<T: Real>(&self, a: &Args<T>) {
        let d = a.shape("p")[1];
        let (values, table_rows, counts, step, scale) =
            (a.f("values"), a.u("rows"), a.u("counts"), a.u("step"), a.f("scale")[0]);
        let u = Update::new(&self.settings, step, T::ONE, T::of(self.decay as f64), scale);
        let used = counts[0] as usize;
        let (p, m, v) = (a.out("p"), a.out("m"), a.out("v"));
        // Blocks of the table's rows, each with the gradient rows that fall into it.
        const BLOCK: usize = 64;
        let mut blocks: Vec<_> =
            p.chunks_mut(BLOCK * d).zip(m.chunks_mut(BLOCK * d)).zip(v.chunks_mut(BLOCK * d)).collect();
        par_rows(&mut blocks, 1, BLOCK * d, |b, block| {
            let ((p, m), v) = &mut block[0];
            let mut next = table_rows[..used].partition_point(|&r| (r as usize) < b * BLOCK);
            wide(
                #[inline(always)]
                || {
                    for i in 0..p.len() / d {
                        let mine = next < used && table_rows[next] as usize == b * BLOCK + i;
                        let g = mine.then(|| &values[next * d..][..d]);
                        next += mine as usize;
                        if mine || !self.lazy {
                            u.apply(&mut p[i * d..][..d], &mut m[i * d..][..d], &mut v[i * d..][..d], g);
                        }
                    }
                },
            );
        });
    }
}

impl Op for AdamRows {
    fn name(&self) -> &'static str {
        if self.lazy { "lazy adam" } else { "adam over rows" }
    }

    fn operands(&self) -> Operands {
        Operands::new()
            .f32("p", "n d")
            .f32("m", "n d")
            .f32("v", "n d")
            .f32("values", "cap d")
            .u32("rows", "cap")
            .u32("counts", "4")
            .u32("step", "8")
            .f32("scale", "")
            .out_f32("p", "n d")
            .out_f32("m", "n d")
            .out_f32("v", "n d")
    }

    twin!();

    fn gpu(&self, s: &Shapes, caps: &Caps) -> Result<Vec<Launch>> {
        let (entry, n, turns) =
            if self.lazy { ("lazy", s.input("values"), 0) } else { ("table", s.input("p"), SEARCH) };
        let params = Params {
            decay: self.decay,
            n: n.elements() as u32,
            cap: s.input("rows")[0] as u32,
            ..Params::new(&self.settings)
        };
        let l = Launch::of("adam", entry).constant("D", s.input("p")[1] as u32).params(params).turns(turns);
        Ok(vec![l.threads(n.elements(), caps)?])
    }

    fn in_place(&self) -> &[(usize, usize)] {
        &[(0, 0), (1, 1), (2, 2)]
    }

    fn cost(&self, s: &Shapes) -> Cost {
        let touched = if self.lazy { s.input("values").elements() } else { s.input("p").elements() } as u64;
        Cost { bytes: 24 * touched + s.spec("values").bytes() as u64, flops: 14 * touched }
    }
}

/// The flat buffer, and rows of a table.
pub fn examples(scale: Scale) -> Vec<Example> {
    let ([table, d], used) = ([scale.rows(), scale.width()], scale.pick(25_600, 40));
    let settings = Settings::default();
    let states = |example: Example, n: &[usize]| {
        let example = example.of(Spec::f32(n), UNIT).of(Spec::f32(n), Fill::Float(0.01));
        example.of(Spec::f32(n), Fill::Positive)
    };
    let n = table * d;
    let flat = Example::new("adam", n.to_string(), move |g, x| {
        g.try_push(Adam { settings }, &[x[0], x[1], x[2], x[3], x[4], g.step(), x[5]])
    });
    let flat = states(flat, &[n]).f32([n], UNIT).f32([n.div_ceil(Adam::BLOCK), 2], Fill::Positive).f32([], Fill::Ones);
    let over = |name: &str, lazy: bool| {
        let example = Example::new(name, format!("{used} rows of {table}x{d}"), move |g, x| {
            let op = AdamRows { settings, lazy, decay: 0.0 };
            g.try_push(op, &[x[0], x[1], x[2], x[3], x[4], x[5], g.step(), x[6]])
        });
        let rows = (0..used).map(|i| 1 + (i * (table - 1) / used) as u32).collect();
        states(example, &[table, d])
            .f32([used, d], UNIT)
            .u32([used], Fill::Given(rows))
            .u32([4], Fill::Given(vec![used as u32, used as u32, used as u32, 0]))
            .f32([], Fill::Ones)
    };
    vec![flat, over("adam over rows", false), over("lazy adam", true)]
}
