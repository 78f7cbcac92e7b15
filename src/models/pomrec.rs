//! PoMRec: Dong, Song, Liu, Guan, "Prompt-based multi-interest learning method for sequential recommendation".
//!
//! | equation | function |
//! |---|---|
//! | 1, prompts in front of the history; 5 and 6, centrality and dispersion of each interest | [`crate::nn::extractor`] |
//! | 7 and 8, weights of the interests | `weights` |
//! | 9, the user | `user` |
//! | 4, 10 and 11, pairwise ranking | [`super::loss`], kind `bpr` |
//!
//! Left open by the paper: d' (8, as in the released code); the start values (N(0, .01) for all parameters, prompts and
//! biases included, as released); padding (masked out of both softmaxes; padded positions are zero vectors). The dispersion
//! is taken in two passes (equation 6 has lost the square on H in print), without an epsilon in its value.
//! `Variant::Released` computes what the authors' published code does where that differs: see [`Variant`]. It is the default,
//! because it reproduces the paper's figures on Amazon Beauty and the text's arithmetic does not; K and lambda are those that the
//! paper found best on ML-1M.

use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{History, Interests, LossKind, Model, Padding, Weights};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::embedding::GatherGradDense;
use crate::kernels::matmul::Activation;
use crate::nn::extractor::{Extractor, Prompts, Side};
use crate::nn::{Init, Params};
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
    /// Prompts added to a history, N_p (equation 1); 0: none (rows Base and +Disp).
    #[schemars(range(max = 65536))]
    pub prompts: usize,
    /// Weight of an interest's dispersion, lambda (equation 6); 0: none (rows Base and +Prompt).
    #[schemars(range(min = 0))]
    pub dispersion: f64,
    /// The arithmetic of the released code, which reproduces the published figures, or that of the paper's text, which
    /// `--preset paper` sets: prompts before the history, no constant slots, no biases in the attentions, and weights of the
    /// interests by two layers without a softmax.
    pub variant: Variant,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64, attention_dim: 8, interests: 2, prompts: 4, dispersion: 4.0, variant: Variant::Released }
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
    presets: &[Preset {
        name: "paper",
        settings: &["loss.kind=bpr", "model.variant=paper", "model.interests=3", "model.dispersion=3.0"],
    }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct PomRec {
    settings: Settings,
    /// Makes the interests.
    extractor: Module,
    /// Weighs them.
    aggregator: Module,
    params: Params,
}

/// Prompts, and attention over a sequence with them in it.
#[derive(Clone, Copy)]
struct Module {
    prompts: Prompts,
    attention: Extractor,
}

/// Prompt slots of the released code.
const RELEASED_SLOTS: usize = 5;

impl Module {
    fn new(name: &'static str, heads: usize, settings: &Settings) -> Module {
        let Settings { dim, attention_dim, prompts, variant, .. } = *settings;
        let (least, side, biases) = match variant {
            Variant::Paper => (0, Side::Front, false),
            Variant::Released => (RELEASED_SLOTS, Side::Back, true),
        };
        let attention = Extractor { name, dim, attention_dim, interests: heads, biases };
        Module { prompts: Prompts { name, count: prompts, least, side }, attention }
    }

    fn declare(&self, params: &mut Params, init: Init) {
        self.prompts.declare(params, self.attention.dim, init);
        self.attention.declare(params, init);
    }

    /// The sequence with prompts, \[B, T, d\], and the attention of each head over it, \[B, T, heads\].
    fn attend<'g>(&self, params: &Params, g: &'g Graph, h: Var<'g>, history: &History<'g>) -> [Var<'g>; 2] {
        let (h, keep) = self.prompts.join(params, g, h, history.items);
        [h, self.attention.attend(params, g, h, keep)]
    }
}

impl PomRec {
    pub fn new(settings: Settings, task: &Task) -> PomRec {
        let Task { items, max_len, .. } = *task;
        let Settings { dim, attention_dim, interests, variant, .. } = settings;
        let (released, init) = (variant == Variant::Released, Init::Normal(0.01));
        let mut params = task.params();
        params.add("item_embedding", [items + 1, dim], init);
        params.add("position_embedding", [max_len + released as usize, dim], init);
        let extractor = Module::new("extractor", interests, &settings);
        let aggregator = Module::new("aggregator", 1, &settings);
        extractor.declare(&mut params, init);
        aggregator.declare(&mut params, init);
        let mut layer = |name: &str, rows: usize, columns: usize| {
            params.add(&format!("aggregator.{name}.weight"), [rows, columns], init);
            params.add(&format!("aggregator.{name}.bias"), [rows], init);
        };
        if released {
            layer("output", interests, dim);
        } else {
            layer("mlp.0", attention_dim, dim);
            layer("mlp.1", interests, attention_dim);
        }
        PomRec { settings, extractor, aggregator, params }
    }

    fn released(&self) -> bool {
        self.settings.variant == Variant::Released
    }

    /// Embedded histories with positions, zero where padded: \[B, M, d\].
    fn embed<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let [items, positions] = [self.item_table(g), self.params.var(g, "position_embedding")];
        if self.released() {
            items.gather(history.items) + positions.gather(history.recency)
        } else {
            history.embed_with(items, positions)
        }
    }

    /// Equations 5 and 6: the interests of each user, \[B, K, d\].
    fn interests<'g>(&self, g: &'g Graph, h: Var<'g>, history: &History<'g>) -> Var<'g> {
        let [h, a] = self.extractor.attend(&self.params, g, h, history);
        Extractor::interests(a, h, self.settings.dispersion)
    }

    /// Equations 7 and 8: the weight of each interest, \[B, 1, K\].
    fn weights<'g>(&self, g: &'g Graph, h: Var<'g>, history: &History<'g>) -> Var<'g> {
        let [h, a] = self.aggregator.attend(&self.params, g, h, history);
        let v = a.t_matmul(h);
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

    fn shown<'g>(&self, g: &'g Graph, history: &History<'g>) -> Option<Interests<'g>> {
        let h = self.embed(g, history);
        let weights = self.weights(g, h, history).reshape([h.shape()[0], self.settings.interests]);
        let Module { prompts, .. } = &self.extractor;
        let attended = self.extractor.attend(&self.params, g, h, history);
        let extracted = Interests::extracted(attended, prompts, history, self.settings.dispersion);
        Some(Interests { weights: Weights::Same(weights), ..extracted })
    }
}
