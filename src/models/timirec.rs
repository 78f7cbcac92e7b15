//! TiMiRec: Wang, Wang, Li, Ma, Zhang, Ma, Liu, "Target interest distillation for multi-interest recommendation" (CIKM 2022). Interests
//! of a user are trained first, then together with what predicts the weight of each.
//!
//! | of the paper | function |
//! |---|---|
//! | interest extractor: positions, transformer, attention | `attend`, [`crate::nn::encoder`], [`crate::nn::extractor`] |
//! | first stage: the interest nearest to the target is trained, and ranks by the largest product | [`super::interests`], `trained`, `user` |
//! | interest predictor: a GRU and the weights of the interests | `logits` |
//! | the user: the weighted sum of the interests | `user` |
//! | target interest distillation | `distillation` |
//!
//! The arithmetic is that of the released code: blocks with one head, without a linear map after it, ReLU inside and eps 1e-5; biases
//! in the extractor's attention; dropout and ReLU between the linear layers after the GRU. The weights of the user are a softmax of
//! the layers' output itself, and only the distillation divides it by the temperature. Positions count from the most recent item.
//! Start values: N(0, .01), as released; of the GRU N(0, 2 / (rows + columns)) (Glorot); biases of blocks and GRU 0.
//!
//! With `model.prompts` and `model.dispersion` it is PoM-TiMiRec (PoMRec's table 5): prompts in front of what the first block reads
//! and of what the GRU reads, dispersions added to the interests. Print has one item table there: `model.tables = 1`.

use super::interests::{Choice, weighted_sum};
use super::loss::{log_softmax, weighted_mean};
use super::phase::{Phase, Take};
use super::scores::unit;
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{Batch, History, Interests, LossKind, Model, Trained, Weights};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::nn::encoder::{Encoder, Inner, Norm, Places};
use crate::nn::extractor::{Extractor, Prompts, Side};
use crate::nn::routing::centres;
use crate::nn::{Init, Params};
use serde::{Deserialize, Serialize};

/// The term of the second phase.
const DISTILLATION: &str = "distillation";

/// Settings of TiMiRec.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Transformer blocks of the extractor.
    #[schemars(range(min = 1, max = 256))]
    pub blocks: usize,
    /// Attention heads of a block; a divisor of `dim`.
    #[schemars(range(min = 1, max = 65536))]
    pub heads: usize,
    /// Width inside the attention that extracts interests, d'.
    #[schemars(range(min = 1, max = 65536))]
    pub attention_dim: usize,
    /// Interests of a user, K.
    #[schemars(range(min = 1, max = 65536))]
    pub interests: usize,
    /// Item tables: 2, one for the extractor and one for the GRU; 1: they share one.
    #[schemars(range(min = 1, max = 2))]
    pub tables: usize,
    /// Linear layers from the state of the GRU to the weights of the interests.
    #[schemars(range(min = 1, max = 256))]
    pub layers: usize,
    /// Share of the values between these layers that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// Temperature of the distillation, tau.
    #[schemars(range(min = 1e-4, max = 1e6))]
    pub temperature: f64,
    /// Prompts before a history, N_p, in the extractor and in the GRU each (PoM-TiMiRec); 0: none.
    #[schemars(range(max = 65536))]
    pub prompts: usize,
    /// Weight of an interest's dispersion, lambda (PoM-TiMiRec); 0: none.
    #[schemars(range(min = 0))]
    pub dispersion: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dim: 64,
            blocks: 1,
            heads: 1,
            attention_dim: 8,
            interests: 4,
            tables: 2,
            layers: 2,
            dropout: 0.5,
            temperature: 0.5,
            prompts: 0,
            dispersion: 0.0,
        }
    }
}

impl spec::Settings for Settings {
    /// The extractor, then all.
    fn phases(&self, _behaviours: bool) -> Result<Vec<Phase>> {
        let of_predictor = ["tables", "layers", "dropout", "temperature"];
        let pretrain = of_predictor.into_iter().fold(Phase::new("pretrain"), Phase::unread);
        let takes = of_predictor.into_iter().fold(Take::from("pretrain").but("predictor.*"), Take::free);
        let tune = Phase::new("tune").term(DISTILLATION, 1.0).takes(takes).keeps("model.safetensors");
        Ok(vec![pretrain, tune])
    }

    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        let encoder = Encoder::new(Norm::Post, false, (self.dim, self.blocks, self.heads), Some(self.dim), 0.0)?;
        let encoder = Encoder { activation: Inner::Relu, output: false, eps: 1e-5, ..encoder };
        Ok(Box::new(TiMiRec::new(self.clone(), encoder, task)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "timirec",
    title: "several interests of a user, weighted by a recurrent network that targets teach",
    paper: "Wang, Wang, Li, Ma, Zhang, Ma, Liu, \"Target interest distillation for multi-interest recommendation\" (CIKM 2022)",
    loss: Some(LossKind::Bpr),
    presets: &[Preset {
        name: "paper",
        settings: &["loss.kind=bpr", "model.blocks=2", "train.lr=1e-4", "train.weight_decay=1e-6"],
    }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct TiMiRec {
    settings: Settings,
    encoder: Encoder,
    prompts: Prompts,
    extractor: Extractor,
    /// What is trained in the first phase.
    choice: Choice,
    /// What weighs the interests, in the second phase.
    predictor: Option<Predictor>,
    params: Params,
}

/// The GRU and the layers after it.
struct Predictor {
    prompts: Prompts,
    layers: usize,
    dropout: f64,
    /// Of the distillation in the loss.
    weight: f64,
}

impl TiMiRec {
    fn new(settings: Settings, encoder: Encoder, task: &Task) -> TiMiRec {
        let Task { items, max_len, ref phase, .. } = *task;
        let Settings { dim, attention_dim, interests, tables, layers, dropout, prompts: count, .. } = settings;
        let init = Init::Normal(0.01);
        let prompts = |name| Prompts { name, count, least: 0, side: Side::Front };
        let (of_extractor, name) = (prompts("extractor"), "extractor");
        let extractor = Extractor { name, dim, attention_dim, interests, biases: true };
        let mut params = task.params();
        params.add("item_embedding", [items + 1, dim], init);
        params.add("position_embedding", [max_len, dim], init);
        of_extractor.declare(&mut params, dim, init);
        (0..encoder.layers).for_each(|l| encoder.declare_block(l, &mut params, init));
        extractor.declare(&mut params, init);
        let predictor = phase.weight(DISTILLATION).map(|weight| {
            if tables == 2 {
                params.add("predictor.item_embedding", [items + 1, dim], init);
            }
            let prompts = prompts("predictor");
            prompts.declare(&mut params, dim, init);
            for part in ["input", "state"] {
                let gates = Init::Normal((2.0 / (4 * dim) as f64).sqrt());
                params.add(&format!("predictor.gru.{part}.weight"), [3 * dim, dim], gates);
                params.add(&format!("predictor.gru.{part}.bias"), [3 * dim], Init::Constant(0.0));
            }
            for l in 0..layers {
                let out = if l + 1 == layers { interests } else { dim };
                params.add(&format!("predictor.layers.{l}.weight"), [out, dim], init);
                params.add(&format!("predictor.layers.{l}.bias"), [out], init);
            }
            Predictor { prompts, layers, dropout, weight }
        });
        let choice = Choice { power: None, cosine: task.cosine };
        TiMiRec { settings, encoder, prompts: of_extractor, extractor, choice, predictor, params }
    }

    fn var<'g>(&self, g: &'g Graph, name: &str) -> Var<'g> {
        self.params.var(g, name)
    }

    /// Prompts and history after the blocks, \[B, T, d\], and the attention of each interest over them, \[B, T, K\].
    fn attend<'g>(&self, g: &'g Graph, history: &History<'g>) -> [Var<'g>; 2] {
        let h = g.scope("embed", || history.embed_with(self.item_table(g), self.var(g, "position_embedding")));
        let (mut h, keep) = self.prompts.join(&self.params, g, h, history.items);
        for l in 0..self.encoder.layers {
            h = self.encoder.block(l, Places::All, &self.params, g, h, keep);
        }
        g.scope("extractor", || [h, self.extractor.attend(&self.params, g, h, keep)])
    }

    /// \[B, K, d\].
    fn interests<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let [h, a] = self.attend(g, history);
        g.scope("extractor", || Extractor::interests(a, h, self.settings.dispersion))
    }

    /// What the weights of the interests are a softmax of, \[B, K\].
    fn logits<'g>(&self, predictor: &Predictor, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let linear = |x: Var<'g>, part: &str, activation| {
            let [weight, bias] = ["weight", "bias"].map(|name| self.var(g, &format!("predictor.{part}.{name}")));
            x.linear(weight, Some(bias), activation)
        };
        let table = self.second_table(g).unwrap_or_else(|| self.item_table(g));
        let events = table.gather(history.items);
        let (events, keep) = predictor.prompts.join(&self.params, g, events, history.items);
        let [weight, bias] = ["weight", "bias"].map(|name| self.var(g, &format!("predictor.gru.state.{name}")));
        let states = linear(events, "gru.input", Activation::None).gru(weight, bias, keep);
        let [b, t, d] = [0, 1, 2].map(|axis| states.shape()[axis]);
        // Padding carries the state on, so that the last position holds the last state.
        let mut x = states.slice(1, t - 1, 1).reshape([b, d]);
        for l in 0..predictor.layers - 1 {
            x = g.scope(&format!("layers.{l}"), || {
                let x = linear(x, &format!("layers.{l}"), Activation::Relu);
                if history.training { x.dropout(predictor.dropout) } else { x }
            });
        }
        linear(x, &format!("layers.{}", predictor.layers - 1), Activation::None)
    }

    /// tau^2 KL(softmax(cos(v_k, target) / tau) || softmax(logits / tau)), a mean over the rows of a batch: interests \[B, K, d\]
    /// teach logits \[B, K\], and learn nothing by it.
    fn distillation<'g>(&self, interests: Var<'g>, logits: Var<'g>, target: Var<'g>, weight: Var<'g>) -> Var<'g> {
        let (tau, [b, d]) = (self.settings.temperature, [target.shape()[0], target.shape()[1]]);
        let cosines = (unit(interests) * unit(target).reshape([b, 1, d])).sum(2).stop_gradient();
        let [teacher, student] = [cosines, logits].map(|x| log_softmax(x.scale(1.0 / tau)));
        weighted_mean((teacher.exp() * (teacher - student)).sum(1), weight).scale(tau * tau)
    }
}

impl Model for TiMiRec {
    fn name(&self) -> &'static str {
        "timirec"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.var(g, "item_embedding")
    }

    fn second_table<'g>(&self, g: &'g Graph) -> Option<Var<'g>> {
        (self.predictor.is_some() && self.settings.tables == 2).then(|| self.var(g, "predictor.item_embedding"))
    }

    /// Interests \[B, K, d\] in the first phase, their weighted sum \[B, d\] in the second.
    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let interests = self.interests(g, history);
        match &self.predictor {
            None => interests,
            Some(predictor) => {
                weighted_sum(interests, g.scope("predictor", || self.logits(predictor, g, history)).softmax(1, None))
            }
        }
    }

    fn trained<'g>(&self, g: &'g Graph, batch: &Batch<'g>) -> Trained<'g> {
        let interests = self.interests(g, &batch.history);
        // No gradient passes through the choice of an interest, or through the teacher.
        let target = self.item_table(g).gather(batch.positive).stop_gradient();
        let Some(predictor) = &self.predictor else {
            return Trained::rows(self.choice.row(interests, target, None));
        };
        let logits = g.scope("predictor", || self.logits(predictor, g, &batch.history));
        let term = g.scope(DISTILLATION, || self.distillation(interests, logits, target, batch.weight));
        let rows = weighted_sum(interests, logits.softmax(1, None));
        let weighted = if predictor.weight == 1.0 { term } else { term.scale(predictor.weight) };
        Trained { rows, terms: vec![weighted], reported: vec![(DISTILLATION.into(), term)] }
    }

    fn shown<'g>(&self, g: &'g Graph, history: &History<'g>) -> Option<Interests<'g>> {
        let extracted = Interests::extracted(self.attend(g, history), &self.prompts, history, self.settings.dispersion);
        let weights = match &self.predictor {
            None => Weights::Best,
            Some(predictor) => Weights::Same(self.logits(predictor, g, history).softmax(1, None)),
        };
        // Blocks end in a layer norm: among the embedded events lie means of these.
        let events = history.embed_with(self.item_table(g), self.var(g, "position_embedding"));
        let centres = extracted.attention.map_or(extracted.centres, |attention| centres(attention, events));
        Some(Interests { weights, centres, ..extracted })
    }
}
