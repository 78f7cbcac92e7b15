//! What a model of tasks has around its network.

use super::tasks::{Adapter, TaskShape};
use super::{History, Model, Output, Samples, Task};
use crate::data::samples::Prefix;
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::nn::Params;
use crate::nn::params::Init;
use crate::tensor::Tensor;
use std::sync::Arc;

/// What a task puts around a SASRec: the vectors of its classes, and those of the categories of items.
#[derive(Clone, Debug)]
pub struct Asks {
    /// It is the first: each position of a window has a target.
    first: bool,
    shape: TaskShape,
    items: usize,
    adapter: Adapter,
    /// Whether its parameters are called by the task too, since several tasks have some.
    named: bool,
    /// What the names of its parameters begin with.
    prefix: &'static str,
}

impl Asks {
    pub fn new(task: &Task, adapter: Adapter) -> Asks {
        let first = task.phase.task.as_ref().is_some_and(|task| task.tasks.at == 0);
        Asks { first, shape: task.shape(), items: task.items, adapter, named: false, prefix: "" }
    }

    /// With parameters that are called by the task.
    pub fn named(self) -> Asks {
        Asks { named: true, ..self }
    }

    /// With parameters whose names begin with `prefix`.
    pub fn called(self, prefix: &'static str) -> Asks {
        Asks { prefix, ..self }
    }

    /// The same of another task of the model.
    pub fn of(&self, shape: &TaskShape) -> Asks {
        Asks { shape: shape.clone(), ..self.clone() }
    }

    /// What the task is called.
    pub fn task(&self) -> &str {
        &self.shape.name
    }

    pub fn shape(&self) -> &TaskShape {
        &self.shape
    }

    /// The name of a parameter, of its `part` where it has several.
    fn name(&self, what: &str, part: &str) -> String {
        let of_task = if self.named { format!(".{}", self.shape.name) } else { String::new() };
        format!("{}{what}{of_task}{part}", self.prefix)
    }

    /// Adds the task's parameters, of width `d`.
    pub fn declare(&self, params: &mut Params, d: usize) {
        let (TaskShape { classes, categories, .. }, init) = (&self.shape, Init::Normal(0.02));
        if *classes > 0 {
            if self.adapter == Adapter::Mlp {
                params.add(&self.name("adapter", ".hidden.weight"), [d, d], init);
                params.add(&self.name("adapter", ".hidden.bias"), [d], Init::Constant(0.0));
            }
            params.add(&self.name("adapter", ".weight"), [classes + 1, d], init);
            params.add(&self.name("adapter", ".bias"), [classes + 1, 1], Init::Constant(0.0));
        }
        if let Some(most) = categories.iter().max() {
            params.add(&self.name("category_embedding", ""), [*most as usize + 1, d], init);
        }
    }

    /// What a training sample of the task is.
    pub fn samples(&self, sasrec: &dyn Model) -> Arc<dyn Samples> {
        if self.first { sasrec.samples() } else { Arc::new(Prefix) }
    }

    /// The vector of each item's category, where they are read.
    pub fn second_table<'g>(&self, params: &Params, g: &'g Graph) -> Option<Var<'g>> {
        let categories = Some(&self.shape.categories).filter(|categories| !categories.is_empty())?;
        let of = (0..=self.items).map(|item| categories.get(item).copied().unwrap_or(0));
        let table = params.var(g, &self.name("category_embedding", ""));
        let of_items = || table.gather(g.constant(Tensor::u32([self.items + 1], of.collect())));
        Some(g.prepared(&format!("categories_of_items{}", self.name("", "")), of_items))
    }

    /// The vectors of a history's items, \[B, M, d\], with those of their categories where they are read.
    pub fn items<'g>(&self, model: &dyn Model, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let items = model.item_table(g).gather(history.items);
        match model.second_table(g) {
            Some(of_categories) => items + of_categories.gather(history.items),
            None => items,
        }
    }

    /// What rows are scored against, of a task of classes.
    pub fn output<'g>(&self, params: &Params, g: &'g Graph) -> Option<Output<'g>> {
        let [table, bias] = [".weight", ".bias"].map(|part| self.name("adapter", part));
        (self.shape.classes > 0).then(|| Output {
            table: params.var(g, &table),
            bias: Some(params.var(g, &bias)),
            classes: 1..self.shape.classes + 1,
            cosine: false,
        })
    }

    /// Users \[B, d\] as they are scored: behind the adapter's hidden layer, if it has one.
    pub fn adapted<'g>(&self, params: &Params, g: &'g Graph, users: Var<'g>) -> Var<'g> {
        if self.shape.classes == 0 || self.adapter == Adapter::Linear {
            return users;
        }
        let [weight, bias] = [".hidden.weight", ".hidden.bias"].map(|part| params.var(g, &self.name("adapter", part)));
        g.scope("adapter", || users.linear(weight, Some(bias), Activation::Relu))
    }
}
