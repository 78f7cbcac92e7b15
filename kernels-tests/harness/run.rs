//! A case on a device: planned, compiled, and run as often as a check wants.

use super::case::{Case, Role};
use std::collections::BTreeMap;
use wgrec::device::gpu::bind;
use wgrec::device::{Device, RunOptions, Runner, Store};
use wgrec::graph::plan::{Options, Plan, Planned};
use wgrec::graph::{Graph, Step, Var};
use wgrec::kernels::{Caps, Launch};
use wgrec::tensor::philox::Stream;
use wgrec::tensor::segments::Segments;
use wgrec::tensor::{DType, Spec, Tensor};
use wgrec::{Error, Result};

/// The results of a run.
pub struct Observed {
    pub outputs: Vec<Tensor>,
    /// By the differentiable operands, in order: gradients of a fixed random weighting of the outputs.
    pub gradients: Vec<Tensor>,
    /// After the run.
    pub states: Vec<Tensor>,
}

impl Observed {
    /// Every tensor with a name.
    pub fn all(&self) -> impl Iterator<Item = (String, &Tensor)> {
        let named = |name: &'static str| move |(i, t)| (format!("{name} {i}"), t);
        let outputs = self.outputs.iter().enumerate().map(named("output"));
        let gradients = self.gradients.iter().enumerate().map(named("gradient"));
        outputs.chain(gradients).chain(self.states.iter().enumerate().map(named("state")))
    }
}

/// The weight of each output in the loss that gradients are taken of. Never all 1: the plain sum of a softmax, for one,
/// has gradient 0 whatever its rule says.
pub fn weights(case: &Case, output: usize, spec: &Spec) -> Tensor {
    let mut stream = Stream::new(2, &case.name, output as u64);
    let values = (0..spec.shape.elements()).map(|_| stream.normal() as f32 as f64).collect();
    Tensor::f64(spec.shape.clone(), values)
}

/// The graph of a case, with gradients if `backward`. If `half`, the case reads and writes values of the plan, which may be
/// stored as f16, where else it has the host's own.
pub fn graph(case: &Case, backward: bool, half: bool) -> Result<Graph> {
    let g = Graph::new();
    let vars: Vec<Var> = case
        .operands
        .iter()
        .enumerate()
        .map(|(i, o)| match o.role {
            Role::Input => g.input(&format!("x{i}"), o.recipe.spec.clone()),
            Role::State => g.state(&format!("x{i}"), &format!("x{i}"), 0, o.recipe.spec.clone()),
        })
        .collect();
    let within = |v: Var<'_>| half && v.dtype() == DType::F32;
    let read: Vec<Var> = vars
        .iter()
        .zip(&case.operands)
        .map(|(&v, o)| if within(v) && o.role == Role::Input { v.scale(1.0) } else { v })
        .collect();
    if let Some((table, lists)) = &case.segments {
        g.segments("segments", vars[*table], &lists.iter().map(|&l| vars[l]).collect::<Vec<_>>());
    }
    let outputs = (case.build)(&g, &read);
    let outputs: Vec<Var> = outputs.into_iter().map(|y| if within(y) { y.scale(1.0) } else { y }).collect();
    for (i, y) in outputs.iter().enumerate() {
        g.result(&format!("output {i}"), *y);
    }
    if backward {
        let weighted = outputs.iter().enumerate().filter(|(_, y)| y.dtype() == DType::F32);
        let parts = weighted.map(|(i, y)| (*y * g.input(&format!("weight {i}"), Spec::f32(y.shape()))).sum_all());
        let loss = parts.reduce(|a, b| a + b).ok_or_else(|| Error::shape(&case.name, "has no float output"))?;
        let wanted: Vec<Var> =
            case.operands.iter().zip(&vars).filter(|(o, _)| o.differentiable).map(|(_, v)| *v).collect();
        for (i, (gradient, x)) in g.gradients(loss, &wanted)?.into_iter().zip(&wanted).enumerate() {
            g.result(&format!("gradient {i}"), gradient.dense(*x));
        }
    }
    Ok(g)
}

/// What a case launches on an adapter of `caps`, gradients included.
pub fn launches(case: &Case, caps: &Caps, options: Options) -> Result<Vec<(Planned, Launch)>> {
    let plan = Plan::new(&graph(case, case.is_differentiable(), options.half)?, options)?;
    let mut all = vec![];
    for node in plan.nodes {
        all.extend(bind::launches(&node, caps)?.into_iter().map(|launch| (node.clone(), launch)));
    }
    Ok(all)
}

/// A case, compiled.
pub struct Compiled<'a> {
    case: &'a Case,
    pub tensors: Vec<Tensor>,
    /// The weights of the outputs in the loss, by their input's name, where there are gradients.
    pub weights: BTreeMap<String, Tensor>,
    store: Store,
    runner: Runner,
    results: Vec<String>,
}

impl<'a> Compiled<'a> {
    pub fn new(case: &'a Case, device: &Device, backward: bool, options: Options) -> Result<Compiled<'a>> {
        let plan = device.plan(&graph(case, backward, options.half)?, options)?;
        let states = case.operands.iter().enumerate().filter(|(_, o)| o.role == Role::State);
        let states: Vec<_> = states.map(|(i, o)| (format!("x{i}"), o.recipe.spec.shape.elements())).collect();
        let store = device.store(&states)?;
        let runner = device.compile(&plan, &store, RunOptions::default())?;
        let of_output = |(name, spec): &(String, Spec)| {
            let i = name.strip_prefix("weight ")?;
            Some((name.clone(), weights(case, i.parse().expect("named above"), spec)))
        };
        let weights = plan.inputs.iter().filter_map(of_output).collect();
        let results = plan.results.iter().map(|(name, _)| name.clone()).collect();
        Ok(Compiled { case, tensors: case.tensors(), weights, store, runner, results })
    }

    /// Writes `self.tensors` and `self.weights`, runs once, and reads everything.
    pub fn run(&mut self) -> Result<Observed> {
        for (i, o) in self.case.operands.iter().enumerate() {
            match o.role {
                Role::Input => self.runner.write(&format!("x{i}"), &self.tensors[i])?,
                Role::State => self.store.write(&format!("x{i}"), 0, &self.tensors[i])?,
            }
        }
        for (name, weights) in &self.weights {
            self.runner.write(name, weights)?;
        }
        self.runner.write(Step::NAME, &self.case.step.tensor())?;
        self.write_segments()?;
        self.runner.run()?;
        let mut read = |kind: &str| -> Result<Vec<Tensor>> {
            self.results.iter().filter(|n| n.starts_with(kind)).map(|n| self.runner.read(n)).collect()
        };
        let (outputs, gradients) = (read("output")?, read("gradient")?);
        let states = self.case.operands.iter().enumerate().filter(|(_, o)| o.role == Role::State);
        let states =
            states.map(|(i, o)| self.store.read(&format!("x{i}"), 0, &o.recipe.spec)).collect::<Result<_>>()?;
        Ok(Observed { outputs, gradients, states })
    }

    /// An error where the last run wrote past the end of a value; only a GPU opened with guards knows.
    pub fn check_guards(&self) -> Result<()> {
        match &self.runner {
            Runner::Gpu(r) => r.check_guards(),
            Runner::Cpu(_) => Ok(()),
        }
    }

    fn write_segments(&mut self) -> Result<()> {
        let Some((table, lists)) = &self.case.segments else { return Ok(()) };
        let lists: Vec<&[u32]> = lists.iter().map(|&l| self.tensors[l].as_u32()).collect();
        let mut s = Segments::default();
        s.build(&lists, self.case.operands[*table].recipe.spec.shape[0]);
        self.runner.write_segments("segments", &s)
    }
}

/// One run of `case` on `device`, with gradients where it has any.
pub fn run(case: &Case, device: &Device) -> Result<Observed> {
    Compiled::new(case, device, case.is_differentiable(), Options::default())?.run()
}
