//! SASRec: Kang, McAuley, "Self-attentive sequential recommendation" (ICDM 2018), as published (`model.norm = "pre"`) or in the
//! arrangement of RecBole and ANT (`"post"`): see [`crate::nn::encoder`].
//!
//! | of the paper | function |
//! |---|---|
//! | equation 1, embeddings and positions | `embed` |
//! | equations 2 to 5, blocks | [`Encoder`] |
//! | equation 6, relevance | [`Model::scores`] |
//! | equation 7, cross entropy at each place | [`super::loss`], kind `bce` |
//!
//! `pre` scales item embeddings by sqrt(d), pads on the left and reads padded places as zeros that are not attended to; `post`
//! pads on the right. Behaviours of events, where they are read, are added as positions are. Training looks at every place of
//! a window at once, or (`model.positions = "last"`) at its end alone. Start values: N(0, .02).

use super::{History, LossKind, Model, Objective, Padding, Reads};
use crate::graph::{Graph, Var};
use crate::nn::encoder::{Encoder, Norm, Places};
use crate::nn::{Init, Params};
use serde::{Deserialize, Serialize};

/// Which places of a window have a target in training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    #[default]
    All,
    Last,
}

impl Positions {
    pub fn objective(self) -> Objective {
        if self == Positions::All { Objective::Next } else { Objective::Last }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub items: usize,
    /// Items of a history that are read.
    pub max_len: usize,
    pub encoder: Encoder,
    pub positions: Positions,
    /// Behaviours whose embeddings are added to those of items; 0: none.
    pub behaviours: usize,
    /// The item table has a row for a hidden item, as pre-training needs it (see [`super::pretext`]).
    pub hides: bool,
}

pub struct SasRec {
    settings: Settings,
    params: Params,
}

impl SasRec {
    pub fn new(settings: Settings) -> SasRec {
        let Settings { items, max_len, encoder, behaviours, hides, .. } = settings;
        let mut params = Params::new();
        params.add("item_embedding", [items + 1 + hides as usize, encoder.dim], Init::Normal(0.02));
        params.add("position_embedding", [max_len, encoder.dim], Init::Normal(0.02));
        if behaviours > 0 {
            params.add("behaviour_embedding", [behaviours + 1, encoder.dim], Init::Normal(0.02));
        }
        encoder.declare(&mut params, Init::Normal(0.02));
        SasRec { settings, params }
    }

    /// Width of items and places, d.
    pub fn dim(&self) -> usize {
        self.settings.encoder.dim
    }

    /// \[B, M, d\].
    fn embed<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let items = self.item_table(g).gather(history.items);
        let Encoder { norm, dim, .. } = self.settings.encoder;
        let items = if norm == Norm::Pre { items.scale((dim as f64).sqrt()) } else { items };
        history.add_behaviours(&self.params, items + self.params.var(g, "position_embedding"))
    }
}

impl Model for SasRec {
    fn name(&self) -> &'static str {
        "sasrec"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn padding(&self) -> Padding {
        if self.settings.encoder.norm == Norm::Pre { Padding::Left } else { Padding::Right }
    }

    fn reads(&self) -> Reads {
        Reads { behaviours: self.settings.behaviours > 0, ..Reads::default() }
    }

    fn objective(&self) -> Objective {
        self.settings.positions.objective()
    }

    fn hides(&self) -> bool {
        self.settings.hides
    }

    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        self.settings.encoder.counted(batch, window)
    }

    fn published_loss(&self) -> LossKind {
        LossKind::Bce
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let x = g.scope("embed", || self.embed(g, history));
        let [b, d] = [x.shape()[0], self.settings.encoder.dim];
        let pick = |x: Var<'g>| history.newest(x).reshape([b, 1, x.shape().last_dim()]);
        let newest = Places::Newest(&pick);
        let newest = self.settings.encoder.encode_at(newest, &self.params, g, x, history.items, history.training);
        // An empty history has no newest item, and is 0.
        newest.reshape([b, d]) * history.newest(history.items.nonzero().reshape([b, x.shape()[1], 1]))
    }

    fn places<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let x = g.scope("embed", || self.embed(g, history));
        let at_targets = |x: Var<'g>| history.at_targets(x);
        let places = if history.targets.is_some() { Places::Some(&at_targets) } else { Places::All };
        self.settings.encoder.encode_at(places, &self.params, g, x, history.items, history.training)
    }
}
