//! Optimisers: from a loss to the nodes that update the parameters.
//!
//! A complete training loop, here for a linear regression:
//! ```
//! use wgrec::device::{Device, RunOptions};
//! use wgrec::graph::plan::Options;
//! use wgrec::graph::{Graph, Step};
//! use wgrec::nn::Params;
//! use wgrec::nn::params::Init;
//! use wgrec::optim::Adam;
//! use wgrec::tensor::Spec;
//!
//! # fn main() -> wgrec::Result<()> {
//! let (rows, width) = (64, 4);
//! let mut params = Params::new();
//! params.add("weight", [width], Init::Normal(0.1));
//! params.add("bias", [1], Init::Constant(0.0));
//!
//! // The step is traced once: the loss, its gradients and the updates.
//! let g = Graph::new();
//! let (x, y) = (g.input("x", Spec::f32([rows, width])), g.input("y", Spec::f32([rows])));
//! let predicted = (x * params.var(&g, "weight")).sum(1) + params.var(&g, "bias");
//! let loss = (predicted - y).square().mean_all();
//! let adam = Adam::default();
//! adam.update(loss, g.scalar(rows as f64), &params)?;
//! g.result("loss", loss);
//!
//! // Parameters and moments are the states of a store.
//! let (device, _) = Device::open("cpu")?;
//! let states: Vec<_> = params.states().into_iter().chain(adam.states(&params)).collect();
//! let mut store = device.store(&states)?;
//! params.initialise(&mut store, 1)?;
//! let plan = device.plan(&g, Options::default())?;
//! let mut runner = device.compile(&plan, &store, RunOptions::default())?;
//!
//! let mut losses = vec![];
//! for step in 0..400 {
//!     let batch: Vec<f32> = (0..rows * width).map(|i| ((31 * step as usize + 17 * i) % 29) as f32 / 29.0).collect();
//!     let targets: Vec<f32> = batch.chunks(width).map(|x| 2.0 * x[0] - x[3] + 0.5).collect();
//!     runner.write_f32("x", &batch)?;
//!     runner.write_f32("y", &targets)?;
//!     // Seed, number and learning rate of the step.
//!     runner.write(Step::NAME, &Step::at(1, step, 0.03, adam.settings.betas()).tensor())?;
//!     runner.run()?;
//!     losses.push(runner.read("loss")?.to_f32()[0]);
//! }
//! assert!(losses[399] < 0.1 * losses[0], "{} to {}", losses[0], losses[399]);
//! println!("{:?}", params.read(&store, "weight")?.to_f32());
//! # Ok(())
//! # }
//! ```

use crate::device::Store;
use crate::error::{Error, Result};
use crate::graph::{Gradient, Graph, Var};
use crate::kernels::adam::{Adam as FlatAdam, AdamRows, Settings};
use crate::kernels::reduce::SumSquares;
use crate::kernels::strided::Pack;
use crate::nn::Params;
use crate::nn::params::Param;
use crate::tensor::{Spec, Tensor};
use wildmatch::WildMatch;

mod schedule;

pub use schedule::Schedule;

/// Adam over all parameters of a model: one launch for the small ones, one for each table.
#[derive(Clone, Debug)]
pub struct Adam {
    pub settings: Settings,
    /// Patterns of the parameters that are trained (see [`matches()`]); the others stay as they are and have no moments.
    pub only: Vec<String>,
    pub weight_decay: f64,
    /// Patterns of the parameters that do not decay: see [`matches()`].
    pub no_decay: Vec<String>,
    /// Rows of a table that a step does not touch stay as they are, moments included.
    pub lazy: bool,
    /// The largest norm of all gradients together; larger ones are scaled down.
    pub clip: Option<f64>,
    /// The loss is scaled up before its gradients are taken, so that those stored as f16 do not underflow: by `LossScale`.
    pub scaled: bool,
    /// Batches of one update: all but the last go through [`Adam::add`].
    pub accumulate: usize,
}

/// Dynamic loss scaling (Micikevicius et al., "Mixed precision training", ICLR 2018), worked out on the device, which no host
/// waits for. Gradients are taken of S times the loss and divided by S. Where one is not finite, the update is left out and S
/// halved; after [`LossScale::INTERVAL`] good updates in a row S doubles. States: log2(S / 2^15), and the good updates.
struct LossScale<'g> {
    power: Var<'g>,
    good: Var<'g>,
}

impl<'g> LossScale<'g> {
    const POWER: &'static str = "loss_scale";
    const GOOD: &'static str = "good_updates";
    /// As PyTorch's GradScaler has it.
    const INTERVAL: f64 = 2000.0;
    /// log2(S / 2^15) goes from S = 2^-24, since gradients by short rows that are made unit rows overflow at 1 too, to 2^24.
    const POWERS: [f64; 2] = [-39.0, 9.0];

    fn of(g: &'g Graph) -> LossScale<'g> {
        let state = |name: &str| g.state(name, name, 0, Spec::f32([1]));
        LossScale { power: state(LossScale::POWER), good: state(LossScale::GOOD) }
    }

    /// S, a scalar.
    fn scale(&self) -> Var<'g> {
        self.power.scale(std::f64::consts::LN_2).exp().scale(32768.0).reshape([])
    }

    /// `finite`, 1 or 0: whether all gradients of this update are.
    fn update(&self, finite: Var<'g>) {
        let g = finite.graph();
        let (one, ok) = (g.scalar(1.0), finite.reshape([1]));
        let good = self.good + one;
        let grows = good.greater(g.scalar(LossScale::INTERVAL - 0.5)) * ok;
        let power = self.power + grows - (one - ok);
        let [least, most] = LossScale::POWERS.map(|power| g.scalar(power));
        g.assign(self.power, power.max(least).min(most));
        g.assign(self.good, good * ok * (one - grows));
    }
}

/// State buffers in which gradients are summed, weighted, and that of the weights.
const SUM: &str = "sum.";
const WEIGHTS: &str = "sum_of_weights";

/// An update, as it is in the graph.
pub struct Updated<'g> {
    /// By the name of the parameter.
    pub gradients: Vec<(String, Gradient<'g>)>,
    /// What gradients are multiplied with; 0 where the update is left out, since they overflowed.
    pub scale: Var<'g>,
    /// The Euclidean norm of the whole gradient before it is clipped, where something takes it: a limit or a loss scale. NaN
    /// where it overflowed.
    pub norm: Option<Var<'g>>,
}

/// The gradients as the updates take them.
struct Parts<'g, 'p> {
    /// Of the small parameters, laid out as they are.
    dense: Option<Var<'g>>,
    tables: Vec<(&'p Param, Gradient<'g>)>,
}

impl<'g> Parts<'g, '_> {
    /// `f` of each buffer's name and flat gradient, in place of that gradient.
    fn map(&mut self, g: &'g Graph, f: impl Fn(&str, Var<'g>) -> Var<'g>) {
        self.dense = self.dense.map(|dy| f(Params::DENSE, dy));
        for (p, gradient) in &mut self.tables {
            let name = &p.buffer;
            let dense = gradient.dense(g.state(name, name, 0, Spec::f32(p.shape.clone())));
            *gradient = Gradient::Dense(f(name, dense.reshape([p.shape.elements()])).reshape(p.shape.clone()));
        }
    }
}

impl Default for Adam {
    fn default() -> Adam {
        let no_decay = vec!["*bias".to_string()];
        Adam {
            settings: Settings::default(),
            only: vec!["*".to_string()],
            weight_decay: 0.0,
            no_decay,
            lazy: false,
            clip: None,
            scaled: false,
            accumulate: 1,
        }
    }
}

/// Whether `name` is like `pattern`, in which `*` matches anything and `?` one character.
pub fn matches(pattern: &str, name: &str) -> bool {
    WildMatch::new(pattern).matches(name)
}

impl Adam {
    /// Whether the parameter `name` is trained.
    pub fn trains(&self, name: &str) -> bool {
        self.only.iter().any(|pattern| matches(pattern, name))
    }

    /// The buffers of the parameters that are trained, and their lengths.
    fn buffers(&self, params: &Params) -> impl Iterator<Item = (String, usize)> {
        let trained = |buffer: &String| params.iter().any(|p| p.buffer == *buffer && self.trains(&p.name));
        params.states().into_iter().filter(move |(buffer, _)| trained(buffer))
    }

    /// The state buffers of the moments: `m.NAME` and `v.NAME` for each buffer of the parameters; and those of the loss scale.
    pub fn states(&self, params: &Params) -> Vec<(String, usize)> {
        let of = |(name, n): (String, usize)| ["m", "v"].map(|moment| (format!("{moment}.{name}"), n));
        let scale = [LossScale::POWER, LossScale::GOOD].map(|name| (name.to_string(), 1));
        self.buffers(params).flat_map(of).chain(scale.into_iter().filter(|_| self.scaled)).collect()
    }

    /// An error where updates are left out for good: the loss scale is as small as it gets, and gradients overflow still.
    pub fn check_scale(&self, store: &Store) -> Result<()> {
        if !self.scaled {
            return Ok(());
        }
        let read = |name| Ok::<f64, Error>(store.read(name, 0, &Spec::f32([1]))?.to_f64()[0]);
        if read(LossScale::POWER)? > LossScale::POWERS[0] || read(LossScale::GOOD)? > 0.0 {
            return Ok(());
        }
        Err(Error::Failed(
            "gradients are not finite in f16 however small the loss is scaled, so that no update is made; take \
             --set precision=f32, where --check-finite names the source"
                .into(),
        ))
    }

    /// The state buffers that the gradients of several batches are summed in; all 0 after an update.
    pub fn sums(&self, params: &Params) -> Vec<(String, usize)> {
        let of = |(name, n): (String, usize)| (format!("{SUM}{name}"), n);
        let all = self.buffers(params).map(of).chain([(WEIGHTS.to_string(), 1)]);
        if self.accumulate > 1 { all.collect() } else { vec![] }
    }

    /// Adds the gradients of `loss` by the parameters that are trained, and their updates. `loss` is a mean over rows whose weights sum to `weight`; where several batches make one update, it goes by the
    /// mean over the rows of all.
    ///
    /// # Errors
    /// As of [`Graph::gradients`]; lazy updates from several batches.
    pub fn update<'g>(&self, loss: Var<'g>, weight: Var<'g>, params: &Params) -> Result<Updated<'g>> {
        let g = loss.graph();
        let (list, gradients) = self.gradients(loss, params)?;
        let mut parts = self.parts(g, params, &list, &gradients);
        if self.accumulate > 1 {
            let sum = sum_state(g, WEIGHTS, 1);
            // Batches of nothing but padding have gradients of 0, and 0 is their mean.
            let total = (sum + weight.reshape([1])).max(g.scalar(1e-30));
            parts.map(g, |name, dy| {
                let sum = sum_state(g, &format!("{SUM}{name}"), dy.shape().elements());
                let mean = (sum + dy * weight) / total;
                g.assign(sum, g.scalar(0.0).expand(sum.shape()));
                mean
            });
            g.assign(sum, g.scalar(0.0).expand([1]));
        }
        let Parts { dense, tables } = parts;
        let (scale, norm) = self.scale(g, dense, &tables);
        g.scope("adam", || {
            if let Some(dy) = dense {
                let of_dense = |offset| list.iter().find(|p| p.buffer == Params::DENSE && p.offset == offset).copied();
                self.flat(g, Params::DENSE, dy, scale, |block| {
                    let before = |p: &&Param| p.offset <= block * FlatAdam::BLOCK;
                    let owner = params.iter().filter(|p| p.buffer == Params::DENSE).filter(before).last();
                    owner.and_then(|p| of_dense(p.offset))
                })?;
            }
            for (p, gradient) in &tables {
                match gradient {
                    Gradient::Dense(dy) => {
                        let n = p.shape.elements();
                        self.flat(g, &p.buffer, dy.reshape([n]), scale, |_| Some(*p))?;
                    }
                    Gradient::Rows(rows) => {
                        let state = |prefix: &str| {
                            let name = format!("{prefix}{}", p.buffer);
                            g.state(&name, &name, 0, Spec::f32(p.shape.clone()))
                        };
                        let op = AdamRows { settings: self.settings, lazy: self.lazy, decay: self.decay(p) };
                        let inputs =
                            [state(""), state("m."), state("v."), rows.values, rows.rows, rows.counts, g.step(), scale];
                        g.try_push(op, &inputs)?;
                    }
                }
            }
            let gradients = list.iter().map(|p| p.name.clone()).zip(gradients).collect();
            Ok(Updated { gradients, scale, norm })
        })
    }

    /// Adds the gradients of `loss` to what the update of a later batch will take; as [`Adam::update`] otherwise.
    pub fn add<'g>(&self, loss: Var<'g>, weight: Var<'g>, params: &Params) -> Result<()> {
        let g = loss.graph();
        let (list, gradients) = self.gradients(loss, params)?;
        self.parts(g, params, &list, &gradients).map(g, |name, dy| {
            let sum = sum_state(g, &format!("{SUM}{name}"), dy.shape().elements());
            g.assign(sum, sum + dy * weight)
        });
        let sum = sum_state(g, WEIGHTS, 1);
        g.assign(sum, sum + weight.reshape([1]));
        Ok(())
    }

    /// The parameters that are trained, and the gradients of `loss` by them.
    fn gradients<'g, 'p>(&self, loss: Var<'g>, params: &'p Params) -> Result<(Vec<&'p Param>, Vec<Gradient<'g>>)> {
        if self.lazy && self.accumulate > 1 {
            let problem = "train.lazy updates the rows that one batch reads; it needs train.accumulate = 1";
            return Err(Error::Usage(problem.into()));
        }
        let list: Vec<&Param> = params.iter().filter(|p| self.trains(&p.name)).collect();
        if list.is_empty() {
            return Err(Error::Usage("no parameter is left to train".into()));
        }
        let g = loss.graph();
        let vars: Vec<Var> = list.iter().map(|p| params.stored(g, &p.name)).collect();
        let loss = if self.scaled { loss * LossScale::of(g).scale() } else { loss };
        let gradients = g.gradients(loss, &vars)?;
        for gradient in &gradients {
            g.keep_exact(match gradient {
                Gradient::Dense(dy) => *dy,
                Gradient::Rows(rows) => rows.values,
            });
        }
        Ok((list, gradients))
    }

    fn parts<'g, 'p>(
        &self,
        g: &'g Graph,
        params: &Params,
        list: &[&'p Param],
        gradients: &[Gradient<'g>],
    ) -> Parts<'g, 'p> {
        let tables = list.iter().copied().zip(gradients.iter().copied()).filter(|(p, _)| p.buffer != Params::DENSE);
        Parts { dense: self.pack(g, params, list, gradients), tables: tables.collect() }
    }

    fn decay(&self, p: &Param) -> f32 {
        if self.no_decay.iter().any(|pattern| matches(pattern, &p.name)) { 0.0 } else { self.weight_decay as f32 }
    }

    /// The gradients of the small parameters, laid out as the parameters are.
    fn pack<'g>(&self, g: &'g Graph, params: &Params, list: &[&Param], gradients: &[Gradient<'g>]) -> Option<Var<'g>> {
        let len = params.states().iter().find(|(name, _)| name == Params::DENSE)?.1;
        let small = list.iter().zip(gradients).filter(|(p, _)| p.buffer == Params::DENSE);
        let (offsets, parts): (Vec<usize>, Vec<Var>) =
            small.map(|(p, d)| (p.offset, d.dense(params.stored(g, &p.name)))).unzip();
        (!parts.is_empty()).then(|| g.push(Pack { offsets, len }, &parts))
    }

    /// What gradients are multiplied with: 1, or less where their norm exceeds the limit, by 1 / S where the loss was scaled;
    /// 0 where they overflowed. And their norm, as of [`Updated::norm`].
    fn scale<'g>(
        &self,
        g: &'g Graph,
        dense: Option<Var<'g>>,
        tables: &[(&Param, Gradient<'g>)],
    ) -> (Var<'g>, Option<Var<'g>>) {
        if self.clip.is_none() && !self.scaled {
            return (g.constant(Tensor::f32([], vec![1.0])), None);
        }
        g.scope("clip", || {
            let squares = tables.iter().map(|(_, gradient)| match gradient {
                Gradient::Dense(dy) => g.push(SumSquares, &[*dy]),
                Gradient::Rows(r) => g.push(SumSquares, &[r.values, r.counts]),
            });
            let all = dense.map(|dy| g.push(SumSquares, &[dy])).into_iter().chain(squares);
            let squares = all.reduce(|a, b| a + b).expect("something is trained");
            let clipped = |norm: Var<'g>| match self.clip {
                Some(limit) => g.scalar(limit) / norm.max(g.scalar(limit)),
                None => norm.constant_like(1.0),
            };
            if !self.scaled {
                // An infinite norm would scale to 0, which would leave the update out and hide the overflow.
                let norm = squares.finite_or_nan().sqrt();
                return (clipped(norm).reshape([]), Some(norm));
            }
            let scale = LossScale::of(g);
            let finite = (squares + g.scalar(1.0)).finite_or_zero().nonzero();
            scale.update(finite);
            let norm = squares.finite_or_zero().sqrt() / scale.scale();
            let reported = squares.finite_or_nan().sqrt() / scale.scale();
            ((finite * clipped(norm) / scale.scale()).reshape([]), Some(reported))
        })
    }

    /// One launch over a whole buffer; `owner` says to which trained parameter a block of 64 elements belongs.
    fn flat<'g, 'p>(
        &self,
        g: &'g Graph,
        buffer: &str,
        dy: Var<'g>,
        scale: Var<'g>,
        owner: impl Fn(usize) -> Option<&'p Param>,
    ) -> Result<()> {
        let n = dy.shape().elements();
        let blocks = n.div_ceil(FlatAdam::BLOCK);
        let rates = (0..blocks).flat_map(|b| owner(b).map_or([0.0, 0.0], |p| [1.0, self.decay(p)])).collect();
        let rates = g.constant(Tensor::f32([blocks, 2], rates));
        let state = |prefix: &str| {
            let name = format!("{prefix}{buffer}");
            g.state(&name, &name, 0, Spec::f32([n]))
        };
        let inputs = [state(""), state("m."), state("v."), dy, rates, g.step(), scale];
        g.try_push(FlatAdam { settings: self.settings }, &inputs)?;
        Ok(())
    }
}

fn sum_state<'g>(g: &'g Graph, name: &str, n: usize) -> Var<'g> {
    g.state(name, name, 0, Spec::f32([n]))
}

#[cfg(test)]
mod tests {
    #[test]
    fn patterns() {
        let cases =
            [("*bias", "a.bias", true), ("*bias", "a.bias.b", false), ("a.*.b", "a.x.y.b", true), ("a", "ab", false)];
        for (pattern, name, want) in cases.into_iter().chain([("*", "", true), ("prompts.*", "prompts.1", true)]) {
            assert_eq!(super::matches(pattern, name), want, "{pattern} {name}");
        }
    }
}
