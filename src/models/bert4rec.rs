//! BERT4Rec: Sun et al., "BERT4Rec: sequential recommendation with bidirectional encoder representations from Transformer"
//! (CIKM 2019). Places of a window are hidden at random (`model.hidden_share`) and found from both sides; to predict, a hidden
//! place is put behind the history. Post-norm blocks, and before the output a linear layer with GELU and a norm; items are
//! scored by the table they are read from and a bias each. Where behaviours are read, a place that is hidden in training keeps its
//! event's. Start values: N(0, .02).

use super::{History, LossKind, Model, Objective, Output, Padding, Reads};
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::nn::encoder::{Encoder, Places};
use crate::nn::{Init, Params};

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub items: usize,
    pub max_len: usize,
    pub encoder: Encoder,
    /// Share of the places that are hidden in training.
    pub hidden_share: f64,
    /// Behaviours whose embeddings are added to those of items; 0: none.
    pub behaviours: usize,
    /// That of a hidden place behind a history; None: the newest event's.
    pub target: Option<u32>,
}

pub struct Bert4Rec {
    settings: Settings,
    params: Params,
}

impl Bert4Rec {
    pub fn new(settings: Settings) -> Bert4Rec {
        let Settings { items, max_len, encoder, behaviours, .. } = settings;
        let d = encoder.dim;
        let mut params = Params::new();
        // Row items + 1 stands for a hidden place.
        params.add("item_embedding", [items + 2, d], Init::Normal(0.02));
        params.add("item_bias", [items + 2, 1], Init::Constant(0.0));
        params.add("position_embedding", [max_len, d], Init::Normal(0.02));
        if behaviours > 0 {
            params.add("behaviour_embedding", [behaviours + 1, d], Init::Normal(0.02));
        }
        encoder.declare(&mut params, Init::Normal(0.02));
        params.add("output.weight", [d, d], Init::Normal(0.02));
        params.add("output.bias", [d], Init::Constant(0.0));
        params.add("output_norm.gain", [d], Init::Constant(1.0));
        params.add("output_norm.bias", [d], Init::Constant(0.0));
        Bert4Rec { settings, params }
    }
}

impl Model for Bert4Rec {
    fn name(&self) -> &'static str {
        "bert4rec"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn padding(&self) -> Padding {
        Padding::Left
    }

    fn reads(&self) -> Reads {
        Reads { behaviours: self.settings.behaviours > 0, ..Reads::default() }
    }

    fn hides(&self) -> bool {
        true
    }

    fn objective(&self) -> Objective {
        Objective::Cloze { share: self.settings.hidden_share as f32 }
    }

    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        self.settings.encoder.counted(batch, window)
    }

    fn published_loss(&self) -> LossKind {
        LossKind::Softmax
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn output<'g>(&self, g: &'g Graph) -> Output<'g> {
        let bias = Some(self.params.var(g, "item_bias"));
        Output { table: self.item_table(g), bias, classes: 1..self.settings.items + 1, cosine: false }
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let [b, m] = [history.items.shape()[0], history.items.shape()[1]];
        let history = history.with_hidden(Objective::hidden(self.settings.items), self.settings.target);
        let x = self.embed(g, &history);
        let pick = |x: Var<'g>| x.slice(1, m - 1, 1);
        let last = Places::Newest(&pick);
        let last = self.settings.encoder.encode_at(last, &self.params, g, x, history.items, history.training);
        self.transformed(g, last).reshape([b, self.settings.encoder.dim])
    }

    fn places<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let x = self.embed(g, history);
        let at_targets = |x: Var<'g>| history.at_targets(x);
        let places = if history.targets.is_some() { Places::Some(&at_targets) } else { Places::All };
        let encoder = &self.settings.encoder;
        self.transformed(g, encoder.encode_at(places, &self.params, g, x, history.items, history.training))
    }
}

impl Bert4Rec {
    fn embed<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        g.scope("embed", || {
            let x = self.item_table(g).gather(history.items) + self.params.var(g, "position_embedding");
            history.add_behaviours(&self.params, x)
        })
    }

    /// The layer between the encoder and the scores.
    fn transformed<'g>(&self, g: &'g Graph, x: Var<'g>) -> Var<'g> {
        let var = |name: &str| self.params.var(g, name);
        g.scope("output", || {
            let y = x.linear(var("output.weight"), Some(var("output.bias")), Activation::None).gelu();
            y.layer_norm(var("output_norm.gain"), var("output_norm.bias"), self.settings.encoder.eps)
        })
    }
}
