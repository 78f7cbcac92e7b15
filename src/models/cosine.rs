//! Any model with users and items of length 1: a score is the cosine of the angle between them (`model.cosine`), plus the
//! item's bias where the model has one. It wants a `loss.temperature` well below 1.

use super::loss::unit;
use super::{Batch, History, LossKind, Model, Objective, Output, Padding, Reads, Views};
use crate::graph::{Graph, Var};
use crate::nn::Params;

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

    fn objective(&self) -> Objective {
        self.0.objective()
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

    fn own_loss(&self) -> Option<LossKind> {
        self.0.own_loss()
    }

    fn item_table<'g>(&self, graph: &'g Graph) -> Var<'g> {
        self.0.item_table(graph)
    }

    fn output<'g>(&self, graph: &'g Graph) -> Output<'g> {
        Output { cosine: true, ..self.0.output(graph) }
    }

    fn feature_table<'g>(&self, graph: &'g Graph) -> Var<'g> {
        self.0.feature_table(graph)
    }

    fn trained<'g>(&self, graph: &'g Graph, batch: &Batch<'g>) -> (Var<'g>, Option<Var<'g>>) {
        let (rows, besides) = self.0.trained(graph, batch);
        (unit(rows), besides)
    }

    fn user<'g>(&self, graph: &'g Graph, history: &History<'g>) -> Var<'g> {
        unit(self.0.user(graph, history))
    }

    fn places<'g>(&self, graph: &'g Graph, history: &History<'g>) -> Var<'g> {
        unit(self.0.places(graph, history))
    }
}
