//! FMLP-Rec: Zhou, Yu, Zhao, Wen, "Filter-enhanced MLP is all you need for sequential recommendation" (WWW 2022).
//!
//! | of the paper | function |
//! |---|---|
//! | equations 2 and 3, embeddings, positions, norm, dropout | `embed` |
//! | equations 4 to 8, filter layer: transform, learnable filter, inverse, residual, norm | `block`, [`Var::filter`] |
//! | equations 9 and 10, feed-forward, residual, norm | `block` |
//! | equation 11, relevance by the last position | [`Model::user`] |
//! | equation 12, pairwise loss | [`super::loss`], kind `bpr` |
//!
//! A filter is a circular convolution over the whole window, so each position sees the later ones, and only the last position has a
//! target. Values at padded positions would reach it as well: they are set to 0 before every transform, where the published code
//! lets positions and the norm's bias in. GELU, inner width 4 d and eps 1e-12 as published; start values: N(0, .02).

use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{History, LossKind, Model, Reads};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::fourier::{self, frequencies};
use crate::kernels::matmul::Activation;
use crate::nn::{Init, Params};
use serde::{Deserialize, Serialize};

/// Settings of FMLP-Rec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Blocks.
    #[schemars(range(min = 1, max = 256))]
    pub layers: usize,
    /// Width inside a feed-forward. Not given: 4 `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub inner: Option<usize>,
    /// Share of the embeddings and of the outputs of each half of a block that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// Read the behaviour of each event.
    pub behaviours: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64, layers: 2, inner: None, dropout: 0.2, behaviours: false }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        let (max_len, most) = (task.max_len, fourier::LONGEST);
        if max_len > most {
            return Err(Error::Usage(format!("data.max_len: found {max_len}; expected at most {most} with fmlp")));
        }
        let behaviours = task.behaviours_if(self.behaviours)?;
        Ok(Box::new(Fmlp::new(self.clone(), &Task { behaviours, ..task.clone() })))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "fmlp",
    title: "filters in the frequencies of a history",
    paper: "Zhou, Yu, Zhao, Wen, \"Filter-enhanced MLP is all you need for sequential recommendation\" (WWW 2022)",
    loss: Some(LossKind::Bpr),
    presets: &[Preset { name: "paper", settings: &["loss.kind=bpr", "model.dropout=0.5"] }],
    behaviours: Behaviours::Optional,
    settings: SettingsType::of::<Settings>(),
};

pub struct Fmlp {
    settings: Settings,
    max_len: usize,
    /// Behaviours whose embeddings are added to those of items; 0: none.
    behaviours: usize,
    params: Params,
}

impl Fmlp {
    const EPS: f64 = 1e-12;

    /// Reads all behaviours of `task`, whatever the settings say; its windows are at most [`fourier::LONGEST`] long.
    pub fn new(settings: Settings, task: &Task) -> Fmlp {
        let Settings { dim, layers, .. } = settings;
        let inner = settings.inner.unwrap_or(4 * dim);
        let Task { items, max_len, behaviours, .. } = *task;
        let mut params = task.params();
        let init = Init::Normal(0.02);
        let norm = |params: &mut Params, name: &str| {
            params.add(&format!("{name}.gain"), [dim], Init::Constant(1.0));
            params.add(&format!("{name}.bias"), [dim], Init::Constant(0.0));
        };
        params.add("item_embedding", [items + 1, dim], init);
        params.add("position_embedding", [max_len, dim], init);
        if behaviours > 0 {
            params.add("behaviour_embedding", [behaviours + 1, dim], init);
        }
        norm(&mut params, "embedding_norm");
        for l in 0..layers {
            params.add(&format!("encoder.{l}.filter.weight"), [frequencies(max_len), 2, dim], init);
            norm(&mut params, &format!("encoder.{l}.filter_norm"));
            for (part, out, width) in [("feed_forward.0", inner, dim), ("feed_forward.1", dim, inner)] {
                params.add(&format!("encoder.{l}.{part}.weight"), [out, width], init);
                params.add(&format!("encoder.{l}.{part}.bias"), [out], Init::Constant(0.0));
            }
            norm(&mut params, &format!("encoder.{l}.feed_forward_norm"));
        }
        Fmlp { settings, max_len, behaviours, params }
    }

    fn dropout(&self, history: &History) -> f64 {
        if history.training { self.settings.dropout } else { 0.0 }
    }

    /// \[B, M, d\].
    fn embed<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let var = |name: &str| self.params.var(g, name);
        let x = self.item_table(g).gather(history.items) + var("position_embedding");
        let x = history.add_behaviours(&self.params, x);
        let x = x.layer_norm(var("embedding_norm.gain"), var("embedding_norm.bias"), Fmlp::EPS);
        x.dropout(self.dropout(history))
    }

    /// Block `l` over positions x \[B, M, d\], 0 where padded; after the filter, of the last `positions` of them.
    fn block<'g>(&self, g: &'g Graph, l: usize, x: Var<'g>, positions: usize, dropout: f64) -> Var<'g> {
        let var = |name: &str| self.params.var(g, &format!("encoder.{l}.{name}"));
        let linear = |x: Var<'g>, name: &str| {
            x.linear(var(&format!("{name}.weight")), Some(var(&format!("{name}.bias"))), Activation::None)
        };
        let add_norm = |x: Var<'g>, y: Var<'g>, name: &str| {
            let (gain, bias) = (var(&format!("{name}.gain")), var(&format!("{name}.bias")));
            g.scope(name, || x.add_layer_norm(y, dropout, gain, bias, Fmlp::EPS)[0])
        };
        let last = |x: Var<'g>| match x.shape()[1] - positions {
            0 => x,
            start => x.slice(1, start, positions),
        };
        let x = add_norm(last(x), last(x.filter(var("filter.weight"))), "filter_norm");
        let y = linear(linear(x, "feed_forward.0").gelu(), "feed_forward.1");
        add_norm(x, y, "feed_forward_norm")
    }
}

impl Model for Fmlp {
    fn name(&self) -> &'static str {
        "fmlp"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn reads(&self) -> Reads {
        Reads { behaviours: self.behaviours > 0, ..Reads::default() }
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let (max_len, &Settings { dim, layers, .. }) = (self.max_len, &self.settings);
        let real = history.items.nonzero().reshape([history.items.shape()[0], max_len, 1]);
        let mut x = g.scope("embed", || self.embed(g, history));
        for l in 0..layers {
            let positions = if l + 1 == layers { 1 } else { max_len };
            x = g.scope(&format!("encoder.{l}"), || self.block(g, l, x * real, positions, self.dropout(history)));
        }
        // The most recent item is the last position; an empty history has none, and is 0.
        (x * real.slice(1, max_len - 1, 1)).reshape([x.shape()[0], dim])
    }
}
