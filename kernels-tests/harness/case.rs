//! A case: inputs and the nodes computed from them, with tolerances. Correctness, gradients, devices and benches all read
//! the same one.

use super::compare::Tolerance;
use super::recipe::Recipe;
use std::sync::Arc;
use wgrec::device::check::ALLOWED;
use wgrec::graph::{Graph, Step, Var};
use wgrec::kernels::example::Example;
use wgrec::tensor::philox::Stream;
use wgrec::tensor::{DType, Tensor};

/// What an input is to the graph.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Input,
    State,
}

#[derive(Clone)]
pub struct Operand {
    pub recipe: Recipe,
    pub role: Role,
    pub differentiable: bool,
    /// The host alone makes it: no NaN can be in it.
    pub of_host: bool,
}

type Build = dyn for<'g> Fn(&'g Graph, &[Var<'g>]) -> Vec<Var<'g>> + Send + Sync;
type Reference = dyn Fn(&[Tensor]) -> Vec<Vec<f64>> + Send + Sync;

#[derive(Clone)]
pub struct Case {
    pub name: String,
    pub operands: Vec<Operand>,
    /// Outputs from the operands.
    pub build: Arc<Build>,
    /// The outputs again, from the formula, in plain f64 code that shares nothing with the twin.
    pub reference: Option<Arc<Reference>>,
    /// Tolerance of the outputs; see [`Case::gradient_tolerance`].
    pub tolerance: Tolerance,
    /// The table and the index lists whose sorted segments the host makes.
    pub segments: Option<(usize, Vec<usize>)>,
    pub step: Step,
    /// What it asks, f16 has no digits for.
    pub needs_f32: bool,
    /// It makes numbers of what is not finite, as it should.
    pub hides_nan: bool,
}

impl Case {
    pub fn new(name: impl Into<String>) -> Case {
        Case {
            name: name.into(),
            operands: vec![],
            build: Arc::new(|_, _| vec![]),
            reference: None,
            tolerance: Tolerance { absolute: 1e-6, relative: 1e-5 },
            segments: None,
            step: Step::at(7, 3, 1e-2, [0.9, 0.999]),
            needs_f32: false,
            hides_nan: false,
        }
    }

    /// An example of a kernel, as the self-check and the bench run it. Values that f16 and NaN are tried with are in the cases.
    pub fn of_example(example: &Example) -> Case {
        let mut case = Case::new(format!("example_{}_{}", example.name, example.sizes).replace(' ', "_"));
        for (i, (spec, _)) in example.operands.iter().enumerate() {
            let recipe = Recipe::exactly(example.tensor(i, 0));
            let role = if spec.dtype == DType::U32 { Role::Input } else { Role::State };
            case = case.operand(recipe, role, example.by.contains(&i));
        }
        case.segments = example.segments.map(|[table, list]| (table, vec![list]));
        let build = example.build.clone();
        let case = case.ops(move |g, x| build(g, x).unwrap_or_else(|e| panic!("{e}")));
        case.tolerance(ALLOWED, ALLOWED).needs_f32().hides_nan()
    }

    /// One case a shape; `name` is followed by the shape.
    pub fn grid<const N: usize>(
        name: &str,
        shapes: impl IntoIterator<Item = [usize; N]>,
        make: impl Fn(Case, [usize; N]) -> Case,
    ) -> Vec<Case> {
        let label = |shape: [usize; N]| shape.map(|n| n.to_string()).join("x");
        shapes.into_iter().map(|s| make(Case::new(format!("{name}_{}", label(s))), s)).collect()
    }

    fn operand(mut self, recipe: Recipe, role: Role, differentiable: bool) -> Case {
        self.operands.push(Operand { recipe, role, differentiable, of_host: false });
        self
    }

    /// Floats that gradients are taken by.
    pub fn input(self, recipe: Recipe) -> Case {
        self.operand(recipe, Role::Input, true)
    }

    /// Integers, or floats that no gradient is taken by.
    pub fn fixed(self, recipe: Recipe) -> Case {
        self.operand(recipe, Role::Input, false)
    }

    /// Floats that no gradient is taken by and that only the host makes, such as rates.
    pub fn of_host(mut self, recipe: Recipe) -> Case {
        self.operands.push(Operand { recipe, role: Role::Input, differentiable: false, of_host: true });
        self
    }

    /// A state that gradients are taken by.
    pub fn parameter(self, recipe: Recipe) -> Case {
        self.operand(recipe, Role::State, true)
    }

    /// A state that an op writes.
    pub fn state(self, recipe: Recipe) -> Case {
        self.operand(recipe, Role::State, false)
    }

    /// Declares sorted segments of operand `table` for the index lists `lists`.
    pub fn segments(mut self, table: usize, lists: impl Into<Vec<usize>>) -> Case {
        self.segments = Some((table, lists.into()));
        self
    }

    pub fn step(mut self, step: Step) -> Case {
        self.step = step;
        self
    }

    pub fn op(self, f: impl for<'g> Fn(&'g Graph, &[Var<'g>]) -> Var<'g> + Send + Sync + 'static) -> Case {
        self.ops(move |g, x| vec![f(g, x)])
    }

    pub fn ops(mut self, f: impl for<'g> Fn(&'g Graph, &[Var<'g>]) -> Vec<Var<'g>> + Send + Sync + 'static) -> Case {
        self.build = Arc::new(f);
        self
    }

    pub fn reference(mut self, f: impl Fn(&[Tensor]) -> Vec<Vec<f64>> + Send + Sync + 'static) -> Case {
        self.reference = Some(Arc::new(f));
        self
    }

    pub fn tolerance(mut self, absolute: f64, relative: f64) -> Case {
        self.tolerance = Tolerance { absolute, relative };
        self
    }

    pub fn needs_f32(mut self) -> Case {
        self.needs_f32 = true;
        self
    }

    pub fn hides_nan(mut self) -> Case {
        self.hides_nan = true;
        self
    }

    /// Gradients may be off four times as far as outputs: they pass through the op and its rule.
    pub fn gradient_tolerance(&self) -> Tolerance {
        let Tolerance { absolute, relative } = self.tolerance;
        Tolerance { absolute: 4.0 * absolute, relative: 4.0 * relative }
    }

    pub fn is_differentiable(&self) -> bool {
        self.operands.iter().any(|o| o.differentiable)
    }

    /// The inputs: the same in every run.
    pub fn tensors(&self) -> Vec<Tensor> {
        let make = |(i, o): (usize, &Operand)| o.recipe.make(&mut Stream::new(1, &self.name, i as u64));
        self.operands.iter().enumerate().map(make).collect()
    }
}
