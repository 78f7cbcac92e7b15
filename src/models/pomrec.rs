//! PoMRec: Dong, Song, Liu, Guan, "Prompt-based multi-interest learning method for sequential recommendation".
//!
//! | equation | function |
//! |---|---|
//! | 1, prompts in front of the history | `with_prompts` |
//! | 5 and 6, centrality and dispersion of each interest | `interests` |
//! | 7 and 8, weights of the interests | `weights` |
//! | 9, the user | `user` |
//! | 4, 10 and 11, pairwise ranking | [`super::loss`], kind `bpr` |
//!
//! Left open by the paper: d' (8, as in the released code); the start values (N(0, .01) for all parameters, prompts and
//! biases included, as released); padding (masked out of both softmaxes; padded positions are zero vectors). The dispersion
//! is taken in two passes (equation 6 has lost the square on H in print), without an epsilon in its value.
//! `Variant::Released` computes what the authors' published code does where that differs: see [`Variant`].

use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{History, LossKind, Model, Padding};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::embedding::GatherGradDense;
use crate::kernels::matmul::Activation;
use crate::kernels::moments::Moments;
use crate::nn::{Init, Params};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// The paper's text, or the arithmetic of its released code: prompts after the items, always 5 slots of which the unused
/// are constant ones (in both attentions, unmasked); right padding and positions counted from the most recent item; biases in
/// both attentions; weights of the interests by one linear layer and a softmax.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Variant {
    /// The text of the paper.
    Paper,
    /// The published code.
    Released,
}

/// Settings of PoMRec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Width inside the attention, d' (equations 5 to 8).
    #[schemars(range(min = 1, max = 65536))]
    pub attention_dim: usize,
    /// Interests of a user, K (equation 5).
    #[schemars(range(min = 1, max = 65536))]
    pub interests: usize,
    /// Prompts before a history, N_p (equation 1); 0: none (rows Base and +Disp).
    #[schemars(range(max = 65536))]
    pub prompts: usize,
    /// Weight of an interest's dispersion, lambda (equation 6); 0: none (rows Base and +Prompt).
    #[schemars(range(min = 0))]
    pub dispersion: f64,
    /// The paper's text, or what its released code computes.
    pub variant: Variant,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64, attention_dim: 8, interests: 3, prompts: 4, dispersion: 3.0, variant: Variant::Paper }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(PomRec::new(self.clone(), task)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "pomrec",
    title: "several interests of a user, by prompts",
    paper: "Dong, Song, Liu, Guan, \"Prompt-based multi-interest learning method for sequential recommendation\"",
    loss: Some(LossKind::Bpr),
    presets: &[Preset { name: "paper", settings: &["loss.kind=bpr", "model.variant=paper"] }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct PomRec {
    settings: Settings,
    params: Params,
}

/// Prompt slots of the released code.
const RELEASED_SLOTS: usize = 5;

impl PomRec {
    pub fn new(settings: Settings, task: &Task) -> PomRec {
        let Task { items, max_len, .. } = *task;
        let Settings { dim, attention_dim, interests, prompts, variant, .. } = settings;
        let released = variant == Variant::Released;
        let mut params = Params::new();
        let mut add = |name: &str, shape: &[usize]| params.add(name, shape, Init::Normal(0.01));
        add("item_embedding", &[items + 1, dim]);
        add("position_embedding", &[max_len + released as usize, dim]);
        for (part, heads) in [("extractor", interests), ("aggregator", 1)] {
            if prompts > 0 {
                add(&format!("{part}.prompts"), &[prompts, dim]);
            }
            add(&format!("{part}.attention.0.weight"), &[attention_dim, dim]);
            add(&format!("{part}.attention.1.weight"), &[heads, attention_dim]);
            if released {
                add(&format!("{part}.attention.0.bias"), &[attention_dim]);
                add(&format!("{part}.attention.1.bias"), &[heads]);
            }
        }
        if released {
            add("aggregator.output.weight", &[interests, dim]);
            add("aggregator.output.bias", &[interests]);
        } else {
            add("aggregator.mlp.0.weight", &[attention_dim, dim]);
            add("aggregator.mlp.0.bias", &[attention_dim]);
            add("aggregator.mlp.1.weight", &[interests, attention_dim]);
            add("aggregator.mlp.1.bias", &[interests]);
        }
        PomRec { settings, params }
    }

    fn released(&self) -> bool {
        self.settings.variant == Variant::Released
    }

    /// Embedded histories with positions, zero where padded: \[B, M, d\].
    fn embed<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let [b, m] = [history.items.shape()[0], history.items.shape()[1]];
        let items = self.item_table(g).gather(history.items);
        let table = self.params.var(g, "position_embedding");
        if self.released() {
            items + table.gather(history.recency)
        } else {
            (items + table) * history.items.nonzero().reshape([b, m, 1])
        }
    }

    /// Equation 1: prompts and history, \[B, T, d\], and which of the T positions count, \[B, T\] u32.
    fn with_prompts<'g>(&self, g: &'g Graph, part: &str, h: Var<'g>, history: &History<'g>) -> (Var<'g>, Var<'g>) {
        let (b, d, prompts) = (h.shape()[0], self.settings.dim, self.settings.prompts);
        if prompts == 0 {
            return (h, history.items);
        }
        let mut rows = self.params.var(g, &format!("{part}.prompts"));
        let slots = if self.released() { RELEASED_SLOTS.max(prompts) } else { prompts };
        if slots > prompts {
            let unused = slots - prompts;
            rows = g.concat(0, &[g.constant(Tensor::f32([unused, d], vec![1.0; unused * d])), rows]);
        }
        let rows = rows.reshape([1, slots, d]).expand([b, slots, d]);
        let ones = g.constant(Tensor::u32([1, slots], vec![1; slots])).expand([b, slots]);
        if self.released() {
            (g.concat(1, &[h, rows]), g.concat(1, &[history.items, ones]))
        } else {
            (g.concat(1, &[rows, h]), g.concat(1, &[ones, history.items]))
        }
    }

    /// Attention over the positions of `h` \[B, T, d\], for each head: softmax over T of W2 tanh(W1 h), \[B, T, heads\].
    fn attend<'g>(&self, g: &'g Graph, part: &str, h: Var<'g>, keep: Var<'g>) -> Var<'g> {
        let weight = |i: usize| self.params.var(g, &format!("{part}.attention.{i}.weight"));
        let bias = |i: usize| self.released().then(|| self.params.var(g, &format!("{part}.attention.{i}.bias")));
        let hidden = h.linear(weight(0), bias(0), Activation::Tanh);
        hidden.linear(weight(1), bias(1), Activation::None).softmax(1, Some(keep))
    }

    /// Equations 5 and 6: the interests of each user, \[B, K, d\].
    fn interests<'g>(&self, g: &'g Graph, h: Var<'g>, history: &History<'g>) -> Var<'g> {
        let (h, keep) = self.with_prompts(g, "extractor", h, history);
        let a = self.attend(g, "extractor", h, keep);
        if self.settings.dispersion == 0.0 {
            return a.t_matmul(h);
        }
        let [mean, variance] = g.try_push(Moments, &[a, h]).expect("shapes fit")[..] else { unreachable!() };
        mean + variance.sqrt().scale(self.settings.dispersion)
    }

    /// Equations 7 and 8: the weight of each interest, \[B, 1, K\].
    fn weights<'g>(&self, g: &'g Graph, h: Var<'g>, history: &History<'g>) -> Var<'g> {
        let (h, keep) = self.with_prompts(g, "aggregator", h, history);
        let v = self.attend(g, "aggregator", h, keep).t_matmul(h);
        let layer = |name: &str, x: Var<'g>, activation| {
            let weight = self.params.var(g, &format!("aggregator.{name}.weight"));
            x.linear(weight, Some(self.params.var(g, &format!("aggregator.{name}.bias"))), activation)
        };
        if self.released() {
            layer("output", v, Activation::None).softmax(2, None)
        } else {
            layer("mlp.1", layer("mlp.0", v, Activation::Tanh), Activation::None)
        }
    }
}

impl Model for PomRec {
    fn name(&self) -> &'static str {
        "pomrec"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn padding(&self) -> Padding {
        if self.released() { Padding::Right } else { Padding::Left }
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn own_table<'g>(&self, g: &'g Graph, column: &str) -> Option<Var<'g>> {
        let table = (column == "recency" && self.released()).then(|| self.params.var(g, "position_embedding"))?;
        Some(table).filter(|table| table.shape()[0] > GatherGradDense::MAX_ROWS)
    }

    /// Equation 9.
    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let h = g.scope("embed", || self.embed(g, history));
        let interests = g.scope("extractor", || self.interests(g, h, history));
        let weights = g.scope("aggregator", || self.weights(g, h, history));
        let b = h.shape()[0];
        weights.matmul(interests).reshape([b, self.settings.dim])
    }
}
