//! A few examples of each kernel, in its own file: what the self-check (`wgrec devices`), `wgrec bench kernels` and the tests run.

use crate::error::Result;
use crate::graph::plan::{Options, Plan};
use crate::graph::{Cost, Gradient, Graph, Var};
use crate::tensor::{DType, Spec, Tensor};
use rayon::prelude::*;
use std::sync::Arc;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scale {
    /// As `Full`, with larger sizes where that matters: a product of 4096 x 4096 x 4096, a softmax loss over a million items.
    Large,
    /// Sizes that no cache holds, and enough runs for a spread.
    Full,
    /// Small and odd sizes: for the self-check, for tests and for software drivers. Shares of a device's best mean little there.
    Quick,
}

impl Scale {
    pub fn pick<T>(self, full: T, quick: T) -> T {
        if self == Scale::Quick { quick } else { full }
    }

    /// Rows of a tensor that no cache holds, 1,048,576 of 64: 256 MiB.
    pub fn rows(self) -> usize {
        self.pick(1 << 20, 257)
    }

    /// Width of a row of features.
    pub fn width(self) -> usize {
        self.pick(64, 50)
    }
}

/// What most float operands hold.
pub const UNIT: Fill = Fill::Float(1.0);

/// What an operand holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fill {
    /// Uniform in \[-1, 1\], times this.
    Float(f32),
    /// Uniform in \[0, 1\].
    Positive,
    /// Eighths in \[-1, 1\]: sums of their products are exact, so that ranks are.
    Eighths,
    /// Uniform in 1..n.
    Below(u32),
    /// 1, 2, 3, ...
    Ascending,
    Ones,
    /// 0 or 1, three in four of them 1.
    Keep,
    Given(Vec<u32>),
}

type Build = dyn for<'g> Fn(&'g Graph, &[Var<'g>]) -> Result<Vec<Var<'g>>> + Send + Sync;

/// The extents \[m, n, k\] of a matrix product, and whether its factors lie transposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Product {
    pub extents: [usize; 3],
    pub transposed: [bool; 2],
}

/// Operands of given sizes, what they hold, and the nodes computed from them.
#[derive(Clone)]
pub struct Example {
    pub name: String,
    /// As they are read: `1048576x64`.
    pub sizes: String,
    pub operands: Vec<(Spec, Fill)>,
    /// The table and the list of indices into it whose sorted segments the plan is given.
    pub segments: Option<[usize; 2]>,
    pub build: Arc<Build>,
    /// Operands whose gradients are computed; none: the values themselves are.
    pub by: Vec<usize>,
    /// Nodes that count; none: all.
    timed: &'static [&'static str],
    /// Operands are stored as f16, for GPUs that can.
    pub half: bool,
    pub product: Option<Product>,
}

impl Example {
    pub fn new(
        name: impl Into<String>,
        sizes: impl Into<String>,
        build: impl for<'g> Fn(&'g Graph, &[Var<'g>]) -> Result<Vec<Var<'g>>> + Send + Sync + 'static,
    ) -> Example {
        Example {
            name: name.into(),
            sizes: sizes.into(),
            operands: vec![],
            segments: None,
            build: Arc::new(build),
            by: vec![],
            timed: &[],
            half: false,
            product: None,
        }
    }

    pub fn named(self, name: &str) -> Example {
        Example { name: name.into(), ..self }
    }

    pub fn of(mut self, spec: Spec, fill: Fill) -> Example {
        self.operands.push((spec, fill));
        self
    }

    pub fn f32<const N: usize>(self, shape: [usize; N], fill: Fill) -> Example {
        self.of(Spec::f32(shape), fill)
    }

    pub fn u32<const N: usize>(self, shape: [usize; N], fill: Fill) -> Example {
        self.of(Spec::u32(shape), fill)
    }

    pub fn segments(mut self, table: usize, list: usize) -> Example {
        self.segments = Some([table, list]);
        self
    }

    /// Judged by the gemm crate at the same extents.
    pub fn product(mut self, extents: [usize; 3], transposed: [bool; 2]) -> Example {
        self.product = Some(Product { extents, transposed });
        self
    }

    /// The nodes called `timed`, of operands stored as f16: what rounds them is not counted.
    pub fn halves(self, timed: &'static [&'static str]) -> Example {
        Example { half: true, timed, ..self }
    }

    /// Only the nodes called `timed` count.
    pub fn timed(self, timed: &'static [&'static str]) -> Example {
        Example { timed, ..self }
    }

    /// The nodes called `timed` of the gradients by operands `by`. They run after the forward pass in one plan, as they do in a
    /// training step.
    pub fn backward(&self, by: &[usize], timed: &'static [&'static str]) -> Example {
        let name = format!("{} backward", self.name);
        Example { name, by: by.to_vec(), timed, product: None, ..self.clone() }
    }

    /// The case, and its backward.
    pub fn both(self, by: &[usize], timed: &'static [&'static str]) -> Vec<Example> {
        let backward = self.backward(by, timed);
        vec![self, backward]
    }

    /// `dense`: gradients of rows are spread over the table, so that no row is undefined.
    pub fn graph(&self, dense: bool) -> Result<Graph> {
        let g = Graph::new();
        self.trace(&g, dense)?;
        Ok(g)
    }

    fn trace(&self, g: &Graph, dense: bool) -> Result<()> {
        let operand = |(i, (spec, _)): (usize, &(Spec, Fill))| {
            let name = format!("x{i}");
            if spec.dtype == DType::U32 { g.input(&name, spec.clone()) } else { g.state(&name, &name, 0, spec.clone()) }
        };
        let vars: Vec<Var> = self.operands.iter().enumerate().map(operand).collect();
        if let Some([table, list]) = self.segments {
            g.segments("segments", vars[table], &[vars[list]]);
        }
        let outputs = (self.build)(g, &vars)?;
        if self.by.is_empty() {
            outputs.iter().enumerate().for_each(|(i, y)| g.result(&format!("y{i}"), *y));
            return Ok(());
        }
        let weighted = outputs.iter().enumerate().map(|(i, y)| {
            let name = format!("dy{i}");
            (*y * g.state(&name, &name, 0, Spec::f32(y.shape()))).sum_all()
        });
        let loss = weighted.reduce(|a, b| a + b).expect("a case has outputs");
        let wanted: Vec<Var> = self.by.iter().map(|&i| vars[i]).collect();
        for (i, (gradient, x)) in g.gradients(loss, &wanted)?.into_iter().zip(wanted).enumerate() {
            let gradient = match gradient {
                Gradient::Rows(rows) if !dense => rows.values,
                gradient => gradient.dense(x),
            };
            g.result(&format!("dx{i}"), gradient);
        }
        Ok(())
    }

    /// Node after node, each on all threads: what is measured is a kernel alone.
    pub fn plan(&self, dense: bool, half: bool) -> Result<Plan> {
        Plan::new(&self.graph(dense)?, Options { half, ..Options::default() })
    }

    pub fn counts(&self, kernel: &str) -> bool {
        self.timed.is_empty() || self.timed.contains(&kernel)
    }

    /// The cost of what is timed.
    pub fn cost(&self) -> Result<Cost> {
        let plan = self.plan(false, self.half)?;
        let nodes = plan.nodes.iter().filter(|n| self.counts(n.op.name())).map(|n| n.cost());
        Ok(nodes.fold(Cost::default(), |a, b| Cost { bytes: a.bytes + b.bytes, flops: a.flops + b.flops }))
    }

    /// What operand `number` holds in input set `set`.
    pub fn tensor(&self, number: usize, set: u32) -> Tensor {
        let (spec, fill) = &self.operands[number];
        let seed = set * 100 + number as u32;
        match spec.dtype {
            DType::U32 => Tensor::u32(spec.shape.clone(), integers(spec, fill, seed)),
            _ => floats(spec, fill, seed),
        }
    }
}

/// A well-mixed word for each `i`: the finaliser of MurmurHash3.
fn word(seed: u32, i: usize) -> u32 {
    let mut h = (i as u32).wrapping_add((seed + 1).wrapping_mul(0x9E37_79B9));
    h = (h ^ h >> 16).wrapping_mul(0x85EB_CA6B);
    h = (h ^ h >> 13).wrapping_mul(0xC2B2_AE35);
    h ^ h >> 16
}

pub fn floats(spec: &Spec, fill: &Fill, seed: u32) -> Tensor {
    let unit = |i| (word(seed, i) >> 8) as f32 / (1 << 24) as f32;
    let value = |i| match fill {
        Fill::Float(scale) => (2.0 * unit(i) - 1.0) * scale,
        Fill::Positive => unit(i),
        Fill::Eighths => (word(seed, i) % 17) as f32 / 8.0 - 1.0,
        Fill::Ones => 1.0,
        fill => unreachable!("{fill:?} is for integers"),
    };
    Tensor::f32(spec.shape.clone(), (0..spec.shape.elements()).into_par_iter().map(value).collect())
}

fn integers(spec: &Spec, fill: &Fill, seed: u32) -> Vec<u32> {
    let n = spec.shape.elements();
    match fill {
        Fill::Below(end) => (0..n).into_par_iter().map(|i| 1 + word(seed, i) % (end - 1)).collect(),
        Fill::Ascending => (1..=n as u32).collect(),
        Fill::Ones => vec![1; n],
        Fill::Keep => (0..n).map(|i| !word(seed, i).is_multiple_of(4) as u32).collect(),
        Fill::Given(values) => values.clone(),
        fill => unreachable!("{fill:?} is for floats"),
    }
}
