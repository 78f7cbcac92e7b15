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
//! adam.update(loss, &params)?;
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
use crate::kernels::min_norm::MinNorm;
use crate::kernels::reduce::SumSquares;
use crate::kernels::strided::Pack;
use crate::nn::Params;
use crate::nn::params::Param;
use crate::tensor::{Shape, Spec, Tensor};
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
    /// Batches of one update; more than one go through [`Adam::add`] and [`Adam::apply`].
    pub accumulate: usize,
    /// The tasks of which an update takes a batch each, if there are several.
    pub tasks: Option<Tasks>,
}

/// Tasks that share parameters and have a loss each.
#[derive(Clone, Debug, PartialEq)]
pub struct Tasks {
    /// What each is called, and patterns of the parameters that its loss reaches.
    pub all: Vec<(String, Vec<String>)>,
    pub weighing: Weighing,
}

/// How the gradients of several tasks make one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "train", derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema))]
#[cfg_attr(feature = "train", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Weighing {
    /// Their sum.
    #[default]
    Equal,
    /// Of the parameters that several tasks share, the shortest vector among all weighted means (MGDA: Sener and Koltun, NeurIPS 2018).
    MinNorm,
}

impl Tasks {
    /// Whether task number `at` reaches the parameter `name`.
    fn reaches(&self, at: usize, name: &str) -> bool {
        self.all[at].1.iter().any(|pattern| matches(pattern, name))
    }

    /// Whether several tasks reach the parameter `name`.
    fn share(&self, name: &str) -> bool {
        (0..self.all.len()).filter(|&at| self.reaches(at, name)).count() > 1
    }
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
    /// Weights of the tasks' gradients, \[tasks\], where they are sought ([`Weighing::MinNorm`]).
    pub weights: Option<Var<'g>>,
}

/// The gradients as the updates take them.
struct Parts<'g, 'p> {
    /// Of the small parameters, laid out as they are.
    dense: Option<Var<'g>>,
    tables: Vec<(&'p Param, Gradient<'g>)>,
}

impl<'g> Parts<'g, '_> {
    /// Each buffer's name and flat gradient.
    fn flat(&self, g: &'g Graph) -> Vec<(String, Var<'g>)> {
        let of_table = |(p, gradient): &(&Param, Gradient<'g>)| {
            let dense = gradient.dense(g.state(&p.buffer, &p.buffer, 0, Spec::f32(p.shape.clone())));
            (p.buffer.clone(), dense.reshape([p.shape.elements()]))
        };
        let dense = self.dense.map(|dy| (Params::DENSE.to_string(), dy));
        dense.into_iter().chain(self.tables.iter().map(of_table)).collect()
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
            tasks: None,
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

    /// Whether an update is of sums over several batches.
    pub fn sums_up(&self) -> bool {
        self.accumulate > 1 || self.tasks.is_some()
    }

    /// The state buffers that the gradients of several batches are summed in; all 0 after an update.
    pub fn sums(&self, params: &Params) -> Vec<(String, usize)> {
        let of = |(name, n): (String, usize)| (format!("{SUM}{name}"), self.rows_of_sums(params, &name) * n);
        let weights = self.tasks.is_none().then(|| (WEIGHTS.to_string(), 1));
        if self.sums_up() { self.buffers(params).map(of).chain(weights).collect() } else { vec![] }
    }

    /// How many sums of a buffer's gradients there are: one for each task, where these are weighed.
    fn rows_of_sums(&self, params: &Params, buffer: &str) -> usize {
        let weighed = self.tasks.as_ref().filter(|tasks| tasks.weighing == Weighing::MinNorm);
        let shared = |tasks: &&Tasks| params.iter().any(|p| p.buffer == buffer && tasks.share(&p.name));
        weighed.filter(shared).map_or(1, |tasks| tasks.all.len())
    }

    /// Adds the gradients of `loss` by the parameters that are trained, and their updates.
    ///
    /// # Errors
    /// As of [`Graph::gradients`].
    pub fn update<'g>(&self, loss: Var<'g>, params: &Params) -> Result<Updated<'g>> {
        let g = loss.graph();
        let (list, gradients) = self.gradients(loss, params, |_| true)?;
        let parts = self.parts(g, params, &list, &gradients);
        let gradients = list.iter().map(|p| p.name.clone()).zip(gradients).collect();
        Ok(Updated { gradients, ..self.apply_parts(g, params, &list, parts)? })
    }

    /// Adds the gradients of `loss` to what [`Adam::apply`] will take. `loss` is a mean over rows whose weights sum to `weight`; an update
    /// goes by the mean over the rows of all batches. Of several tasks it goes by their sum, whatever the weights; this is number `task`.
    ///
    /// # Errors
    /// As of [`Graph::gradients`]; lazy updates.
    pub fn add<'g>(&self, loss: Var<'g>, weight: Var<'g>, params: &Params, task: usize) -> Result<()> {
        if self.lazy {
            let several =
                if self.tasks.is_some() { "a model of several tasks has" } else { "train.accumulate > 1 has" };
            let problem =
                format!("train.lazy updates the rows that one batch reads, but {several} several batches an update");
            return Err(Error::Usage(problem));
        }
        let g = loss.graph();
        let reached = |name: &str| self.tasks.as_ref().is_none_or(|tasks| tasks.reaches(task, name));
        let (list, gradients) = self.gradients(loss, params, reached)?;
        for (buffer, dy) in self.parts(g, params, &list, &gradients).flat(g) {
            let (name, n) = (format!("{SUM}{buffer}"), dy.shape().elements());
            let row = if self.rows_of_sums(params, &buffer) > 1 { task } else { 0 };
            let sum = g.state(&name, &name, row * n, Spec::f32([n]));
            g.assign(sum, sum + if self.tasks.is_some() { dy } else { dy * weight });
        }
        if self.tasks.is_none() {
            let sum = sum_state(g, WEIGHTS, [1]);
            g.assign(sum, sum + weight.reshape([1]));
        }
        Ok(())
    }

    /// Adds the update by the gradients that were added, and begins new sums.
    ///
    /// # Errors
    /// No parameter to train; more tasks to weigh than [`MinNorm::MOST`].
    pub fn apply<'g>(&self, g: &'g Graph, params: &Params) -> Result<Updated<'g>> {
        let list = self.trained(params, |_| true)?;
        let sums = self.buffers(params).map(|(buffer, n)| {
            let rows = self.rows_of_sums(params, &buffer);
            let shape = if rows > 1 { Shape::from([rows, n]) } else { Shape::from([n]) };
            let sum = sum_state(g, &format!("{SUM}{buffer}"), shape);
            (buffer, sum)
        });
        let sums: Vec<(String, Var)> = sums.collect();
        let (gradients, weights) = match &self.tasks {
            None => {
                // Batches of nothing but padding have gradients of 0, and 0 is their mean.
                let total = sum_state(g, WEIGHTS, [1]);
                let least = total.max(g.scalar(1e-30));
                let means = sums.iter().map(|(_, sum)| *sum / least).collect();
                g.assign(total, g.scalar(0.0).expand([1]));
                (means, None)
            }
            Some(tasks) if tasks.weighing == Weighing::MinNorm => {
                g.scope("weigh", || weigh(g, tasks, params, &sums))?
            }
            Some(_) => (sums.iter().map(|(_, sum)| *sum).collect(), None),
        };
        let mut parts = Parts { dense: None, tables: vec![] };
        for ((buffer, sum), gradient) in sums.iter().zip(gradients) {
            match list.iter().find(|p| p.buffer == *buffer && buffer != Params::DENSE) {
                Some(p) => parts.tables.push((p, Gradient::Dense(gradient.reshape(p.shape.clone())))),
                None => parts.dense = Some(gradient),
            }
            g.assign(*sum, g.scalar(0.0).expand(sum.shape()));
        }
        Ok(Updated { weights, ..self.apply_parts(g, params, &list, parts)? })
    }

    /// The updates by gradients.
    fn apply_parts<'g>(
        &self,
        g: &'g Graph,
        params: &Params,
        list: &[&Param],
        parts: Parts<'g, '_>,
    ) -> Result<Updated<'g>> {
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
            Ok(Updated { gradients: vec![], scale, norm, weights: None })
        })
    }

    /// The parameters that are trained, of those that are `wanted`.
    fn trained<'p>(&self, params: &'p Params, wanted: impl Fn(&str) -> bool) -> Result<Vec<&'p Param>> {
        let list: Vec<&Param> = params.iter().filter(|p| self.trains(&p.name) && wanted(&p.name)).collect();
        if list.is_empty() { Err(Error::Usage("no parameter is left to train".into())) } else { Ok(list) }
    }

    /// The parameters that are trained, of those that are `wanted`, and the gradients of `loss` by them.
    fn gradients<'g, 'p>(
        &self,
        loss: Var<'g>,
        params: &'p Params,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<(Vec<&'p Param>, Vec<Gradient<'g>>)> {
        let list = self.trained(params, wanted)?;
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

fn sum_state<'g>(g: &'g Graph, name: &str, shape: impl Into<Shape>) -> Var<'g> {
    g.state(name, name, 0, Spec::f32(shape))
}

/// The gradients of all buffers from the `sums` of each task's, and the tasks' weights: those of the shortest weighted mean of what
/// several tasks share. What one task reaches alone has weight 1.
fn weigh<'g>(
    g: &'g Graph,
    tasks: &Tasks,
    params: &Params,
    sums: &[(String, Var<'g>)],
) -> Result<(Vec<Var<'g>>, Option<Var<'g>>)> {
    let n = tasks.all.len();
    // 1 where an element of a buffer is shared; nothing where all of them are.
    let shared = |buffer: &str, len: usize| {
        let own = |p: &&Param| p.buffer == buffer && !tasks.share(&p.name);
        let all: Vec<&Param> = params.iter().filter(own).collect();
        (!all.is_empty()).then(|| {
            let mut marks = vec![1.0; len];
            all.iter().for_each(|p| marks[p.offset..][..p.shape.elements()].fill(0.0));
            g.constant(Tensor::f32([1, len], marks))
        })
    };
    let weighed: Vec<(Var, Option<Var>)> = sums
        .iter()
        .filter(|(_, sum)| sum.shape().len() == 2)
        .map(|(buffer, sum)| (*sum, shared(buffer, sum.shape()[1])))
        .collect();
    let gram = weighed.iter().map(|(sum, shared)| gram(shared.map_or(*sum, |shared| *sum * shared)));
    let Some(gram) = gram.reduce(|a, b| a + b) else {
        let problem = "min-norm weighs the gradients of what several tasks share, and nothing of that is trained";
        return Err(Error::Usage(format!("model.weighing: {problem}; expected equal, or another train.only")));
    };
    let weights = g.try_push(MinNorm, &[gram])?[0];
    let column = weights.reshape([n, 1]);
    let mut weighed = weighed.into_iter();
    let gradient = |(_, sum): &(String, Var<'g>)| match sum.shape().len() {
        2 => match weighed.next().expect("it is one of them") {
            (sum, None) => (sum * column).sum(0),
            (sum, Some(shared)) => (sum * (column * shared + (shared.constant_like(1.0) - shared))).sum(0),
        },
        _ => *sum,
    };
    Ok((sums.iter().map(gradient).collect(), Some(weights)))
}

/// The products of the rows of x \[T, n\] with each other, \[T, T\]: of many short pieces, which are summed.
fn gram(x: Var<'_>) -> Var<'_> {
    let [t, n] = [0, 1].map(|axis| x.shape()[axis]);
    let piece = (1..=n.min(1024)).rev().find(|piece| n.is_multiple_of(*piece)).expect("1 divides all");
    let pieces = x.reshape([t, n / piece, piece]).permute(&[1, 0, 2]);
    pieces.matmul_t(pieces).sum(0)
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
