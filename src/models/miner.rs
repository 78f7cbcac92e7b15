//! MINER: Li, Zhu, Bi, Cai, Shang, Dong, Jiang, Liu, "MINER: multi-interest matching network for news recommendation" (Findings of
//! ACL 2022), on histories of items.
//!
//! | of the paper | function |
//! |---|---|
//! | poly attention: an interest for each context code | `interests`, [`crate::nn::extractor`] |
//! | disagreement regularisation: interests are driven apart | `cosine`, `trained` |
//! | mean of the interests | `user` |
//!
//! Left out: the category-aware weighting, a bias of the attention by the similarity of the categories of news. Taken from PoMRec,
//! whose comparison has MINER on items: position embeddings (N(0, .01), as all start values), padded positions that are zero vectors
//! and masked, and `bpr` in place of a softmax over sampled candidates. The regularisation is the mean over K x K of the cosines of
//! different interests, added to the loss, as in the released code; in print it also has the K ones of the diagonal, a constant.
//!
//! With `model.prompts` and `model.dispersion` it is PoM-MINER (PoMRec's table 5): prompts in front of what the attention reads, and
//! dispersions added to the interests, cosines included. A mean has no input that prompts could be added to.

use super::loss::weighted_mean;
use super::scores::unit;
use super::spec::{self, Behaviours, ModelSpec, Preset, SettingsType, Task};
use super::{Batch, History, Interests, LossKind, Model, Trained, Weights};
use crate::error::Result;
use crate::graph::{Graph, Var};
use crate::nn::extractor::{Extractor, Prompts, Side};
use crate::nn::{Init, Params};
use crate::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Settings of MINER.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// Width inside the attention, d'.
    #[schemars(range(min = 1, max = 65536))]
    pub attention_dim: usize,
    /// Interests of a user, K.
    #[schemars(range(min = 1, max = 65536))]
    pub interests: usize,
    /// Weight of the disagreement in the loss: of 1/K^2 times the sum of the cosines of different interests; 0: none.
    #[schemars(range(min = 0, max = 1000000))]
    pub disagreement: f64,
    /// Prompts before a history, N_p (PoM-MINER); 0: none.
    #[schemars(range(max = 65536))]
    pub prompts: usize,
    /// Weight of an interest's dispersion, lambda (PoM-MINER); 0: none.
    #[schemars(range(min = 0))]
    pub dispersion: f64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { dim: 64, attention_dim: 8, interests: 4, disagreement: 0.8, prompts: 0, dispersion: 0.0 }
    }
}

impl spec::Settings for Settings {
    fn build(&self, task: &Task) -> Result<Box<dyn Model>> {
        Ok(Box::new(Miner::new(self.clone(), task)))
    }
}

pub static SPEC: ModelSpec = ModelSpec {
    name: "miner",
    title: "the mean of several interests that are driven apart",
    paper: "Li, Zhu, Bi, Cai, Shang, Dong, Jiang, Liu, \"MINER: multi-interest matching network for news recommendation\" (Findings of ACL 2022)",
    loss: Some(LossKind::Bpr),
    presets: &[Preset {
        name: "paper",
        settings: &["loss.kind=sampled-softmax", "train.negatives=4", "model.interests=32", "model.attention_dim=200"],
    }],
    behaviours: Behaviours::Ignored,
    settings: SettingsType::of::<Settings>(),
};

pub struct Miner {
    settings: Settings,
    prompts: Prompts,
    extractor: Extractor,
    params: Params,
}

impl Miner {
    pub fn new(settings: Settings, task: &Task) -> Miner {
        let Task { items, max_len, .. } = *task;
        let Settings { dim, attention_dim, interests, prompts, .. } = settings;
        let (name, init) = ("extractor", Init::Normal(0.01));
        let prompts = Prompts { name, count: prompts, least: 0, side: Side::Front };
        let extractor = Extractor { name, dim, attention_dim, interests, biases: false };
        let mut params = task.params();
        params.add("item_embedding", [items + 1, dim], init);
        params.add("position_embedding", [max_len, dim], init);
        prompts.declare(&mut params, dim, init);
        extractor.declare(&mut params, init);
        Miner { settings, prompts, extractor, params }
    }

    /// Prompts and history, \[B, T, d\], and the attention of each interest over them, \[B, T, K\].
    fn attend<'g>(&self, g: &'g Graph, history: &History<'g>) -> [Var<'g>; 2] {
        let positions = self.params.var(g, "position_embedding");
        let h = g.scope("embed", || history.embed_with(self.item_table(g), positions));
        g.scope("extractor", || {
            let (h, keep) = self.prompts.join(&self.params, g, h, history.items);
            [h, self.extractor.attend(&self.params, g, h, keep)]
        })
    }

    /// \[B, K, d\].
    fn interests<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let [h, a] = self.attend(g, history);
        g.scope("extractor", || Extractor::interests(a, h, self.settings.dispersion))
    }

    /// The mean cosine of different interests \[B, K, d\] of a user, a mean over users by their `weight` \[B\]. None where K is 1.
    fn cosine<'g>(&self, interests: Var<'g>, weight: Var<'g>) -> Option<Var<'g>> {
        let (g, [b, k]) = (interests.graph(), [0, 1].map(|axis| interests.shape()[axis]));
        if k == 1 {
            return None;
        }
        let pairs: Vec<f32> = (0..k * k).map(|at| (at / k != at % k) as u32 as f32).collect();
        let vectors = unit(interests);
        let cosines = vectors.matmul_t(vectors) * g.constant(Tensor::f32([k, k], pairs));
        let mean = cosines.reshape([b, k * k]).sum(1).scale(1.0 / (k * (k - 1)) as f64);
        Some(weighted_mean(mean, weight))
    }
}

impl Model for Miner {
    fn name(&self) -> &'static str {
        "miner"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.params.var(g, "item_embedding")
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.interests(g, history).mean(1)
    }

    fn trained<'g>(&self, g: &'g Graph, batch: &Batch<'g>) -> Trained<'g> {
        let Settings { disagreement, interests: k, .. } = self.settings;
        let interests = self.interests(g, &batch.history);
        let cosine = g.scope("disagreement", || self.cosine(interests, batch.weight));
        // The sum over pairs is K (K - 1) times the mean.
        let term = |cosine: Var<'g>| cosine.scale(disagreement * (k - 1) as f64 / k as f64);
        let terms = cosine.filter(|_| disagreement != 0.0).map(term).into_iter().collect();
        let reported = cosine.map(|cosine| ("cosine".into(), cosine)).into_iter().collect();
        Trained { rows: interests.mean(1), terms, reported }
    }

    fn shown<'g>(&self, g: &'g Graph, history: &History<'g>) -> Option<Interests<'g>> {
        let [b, k] = [history.items.shape()[0], self.settings.interests];
        let weights = g.scalar(1.0 / k as f64).expand([b, k]);
        let extracted = Interests::extracted(self.attend(g, history), &self.prompts, history, self.settings.dispersion);
        Some(Interests { weights: Weights::Same(weights), ..extracted })
    }
}
