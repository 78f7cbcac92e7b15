//! Any model with users and items of length 1: a score is the cosine of the angle between them (`model.cosine`), plus the
//! item's bias where the model has one. It wants a `loss.temperature` well below 1.

use super::interests::weighted_sum;
use super::scores::{lengths, unit};
use super::{Batch, History, Interests, Model, Output, Padding, Reads, Samples, Trained, Views, Weights};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::Params;
use crate::tensor::Tensor;
use std::sync::Arc;

pub struct Cosine(pub Box<dyn Model>);

impl Model for Cosine {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn params(&self) -> &Params {
        self.0.params()
    }

    fn padding(&self) -> Padding {
        self.0.padding()
    }

    fn reads(&self) -> Reads {
        self.0.reads()
    }

    fn samples(&self) -> Arc<dyn Samples> {
        self.0.samples()
    }

    fn hides(&self) -> bool {
        self.0.hides()
    }

    fn views(&self) -> Option<Views> {
        self.0.views()
    }

    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        self.0.counted(batch, window)
    }

    fn widest(&self) -> usize {
        self.0.widest()
    }

    fn given(&self) -> Result<Vec<(&'static str, Tensor)>> {
        self.0.given()
    }

    fn item_table<'g>(&self, graph: &'g Graph) -> Var<'g> {
        self.0.item_table(graph)
    }

    fn second_table<'g>(&self, graph: &'g Graph) -> Option<Var<'g>> {
        self.0.second_table(graph)
    }

    fn table<'g>(&self, graph: &'g Graph, column: &str) -> Option<Var<'g>> {
        self.0.table(graph, column)
    }

    fn own_table<'g>(&self, graph: &'g Graph, column: &str) -> Option<Var<'g>> {
        self.0.own_table(graph, column)
    }

    fn target_table<'g>(&self, graph: &'g Graph) -> Option<Var<'g>> {
        self.0.target_table(graph)
    }

    fn output<'g>(&self, graph: &'g Graph) -> Option<Output<'g>> {
        self.0.output(graph).map(|output| Output { cosine: true, ..output })
    }

    fn scored<'g>(&self, graph: &'g Graph, batch: &Batch<'g>) -> Var<'g> {
        unit(self.0.scored(graph, batch))
    }

    fn trained<'g>(&self, graph: &'g Graph, batch: &Batch<'g>) -> Trained<'g> {
        let trained = self.0.trained(graph, batch);
        Trained { rows: unit(trained.rows), ..trained }
    }

    fn user<'g>(&self, graph: &'g Graph, history: &History<'g>) -> Var<'g> {
        unit(self.0.user(graph, history))
    }

    fn shown<'g>(&self, graph: &'g Graph, history: &History<'g>) -> Option<Interests<'g>> {
        let shown = self.0.shown(graph, history)?;
        let vectors = shown.vectors;
        let vectors = match shown.weights {
            Weights::Best | Weights::ByItem => unit(vectors),
            // The sum of the weighted interests has length 1.
            Weights::Same(weights) => {
                let user = weighted_sum(vectors, weights);
                vectors / lengths(user).reshape([user.shape()[0], 1, 1])
            }
        };
        Some(Interests { vectors, ..shown })
    }

    fn interest_weights<'g>(&self, graph: &'g Graph, users: Var<'g>, items: Var<'g>) -> Var<'g> {
        self.0.interest_weights(graph, users, items)
    }

    fn positions<'g>(&self, graph: &'g Graph, history: &History<'g>) -> Var<'g> {
        unit(self.0.positions(graph, history))
    }
}
