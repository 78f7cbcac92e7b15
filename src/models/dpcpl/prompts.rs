//! DPCPL's customized prompts: what is known of a user, the factors and the gate that make tokens of it, and their compactness.

use super::super::History;
use super::super::spec::FeatureCounts;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::logdet::LogDet;
use crate::kernels::matmul::Activation;
use crate::models::loss::weighted_mean;
use crate::models::scores::unit;
use crate::nn::rate::coding_rate;
use crate::nn::{Init, Params, prompt};
use serde::{Deserialize, Serialize};

/// What prompts are made from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Source {
    /// Attributes, statistics and the events of each behaviour.
    #[default]
    All,
    /// Only attributes; if there are none, only statistics.
    Attributes,
    /// Nothing: tokens are parameters.
    None,
    /// There are no prompts.
    Off,
}

/// Settings under `model.prompt.`: of the tuning phase.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromptConfig {
    /// What prompts are made from.
    pub source: Source,
    /// Tokens of a layer, C (equation 9).
    #[schemars(range(min = 1, max = 65536))]
    pub tokens: usize,
    /// Factors of each layer and of all layers together, N (equation 6).
    #[schemars(range(min = 1, max = 65536))]
    pub factors: usize,
    /// Prompts at every layer instead of only the first.
    pub progressive: bool,
    /// Weight of the compactness in the loss, lambda (equation 13); 0: none.
    #[schemars(range(min = 0))]
    pub compactness: f64,
    /// Weight of the coding rate of the prompts, lambda_p; the coding rate of the factors has weight 1.
    #[schemars(range(min = 0))]
    pub prompt_weight: f64,
    /// Distortion epsilon^2 in the coding rate of the factors (equations 10 and 11).
    #[schemars(range(min = 1e-6))]
    pub factor_epsilon2: f64,
    /// Distortion epsilon^2 in the coding rate of the prompts (equations 10 and 11).
    #[schemars(range(min = 1e-6))]
    pub prompt_epsilon2: f64,
    /// Scale rows to length 1 before their coding rate is taken.
    pub normalise: bool,
    /// Minimise the coding rates, as equation 13 is printed, instead of maximising them.
    pub minimise: bool,
}

impl Default for PromptConfig {
    fn default() -> PromptConfig {
        PromptConfig {
            source: Source::All,
            tokens: 8,
            factors: 8,
            progressive: true,
            compactness: 1e-3,
            prompt_weight: 1.0,
            factor_epsilon2: 1.0,
            prompt_epsilon2: 1.0,
            normalise: true,
            minimise: false,
        }
    }
}

impl PromptConfig {
    /// The weight of R in what is minimised.
    pub fn weight(&self) -> f64 {
        if self.minimise { self.compactness } else { -self.compactness }
    }
}

/// What makes prompts for the layers of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompter {
    config: PromptConfig,
    /// d.
    dim: usize,
    /// Layers that have prompts.
    layers: usize,
    features: FeatureCounts,
    /// Of these the ones that are looked at.
    attributes: usize,
    statistics: usize,
    /// Sequences that the GRU reads: one a behaviour.
    sequences: usize,
}

/// Tokens of each prompted layer \[B, C, d\], and, where there is a gate, all factors E \[B, (L + 1) N, d\] and prompts P \[B, L, d\].
#[derive(Default)]
pub struct Prompts<'g> {
    pub tokens: Vec<Var<'g>>,
    pub gated: Option<[Var<'g>; 2]>,
}

impl Prompter {
    /// The table that features are gathered from, and its width.
    pub const FEATURES: &str = "prompts.feature_embedding";
    const FEATURE: usize = 16;

    /// The prompter of a network with this number of layers, of width `dim`, that reads this number of behaviours.
    pub fn new(
        config: PromptConfig,
        dim: usize,
        layers: usize,
        behaviours: usize,
        features: FeatureCounts,
    ) -> Prompter {
        let FeatureCounts { attributes, statistics, .. } = features;
        let (attributes, statistics, sequences) = match config.source {
            Source::All => (attributes, statistics, behaviours.max(1)),
            Source::Attributes if attributes > 0 => (attributes, 0, 0),
            Source::Attributes => (0, statistics, 0),
            Source::None | Source::Off => (0, 0, 0),
        };
        let layers = if config.progressive { layers } else { 1 };
        Prompter { config, dim, layers, features, attributes, statistics, sequences }
    }

    /// Vectors that tell of a user, m.
    pub fn vectors(&self) -> usize {
        (self.attributes > 0) as usize + (self.statistics > 0) as usize + self.sequences
    }

    /// Factors of a user, (L + 1) N.
    fn factors(&self) -> usize {
        (self.layers + 1) * self.config.factors
    }

    /// Tokens of a layer, C.
    pub fn tokens(&self) -> usize {
        self.config.tokens
    }

    /// What cannot be: prompts of nothing, and rates of more vectors than there are kernels for.
    pub fn check(&self) -> Result<()> {
        let PromptConfig { source, compactness, .. } = self.config;
        if source == Source::Attributes && self.vectors() == 0 {
            return Err(Error::Usage(
                "model.prompt.source: found attributes; expected all or none: the data has neither attributes nor statistics"
                    .into(),
            ));
        }
        let (largest, most) = (self.factors().max(self.layers).min(self.dim), LogDet::LARGEST);
        if self.vectors() > 1 && compactness > 0.0 && largest > most {
            return Err(Error::Usage(format!(
                "model.prompt.factors: found {}, {} with {} prompted layers and the shared ones; expected at most {most} of \
                 these, model.dim of at most {most}, or model.prompt.compactness = 0",
                self.config.factors,
                self.factors(),
                self.layers
            )));
        }
        Ok(())
    }

    /// Features of the user that histories must come with.
    pub fn features(&self) -> usize {
        let FeatureCounts { attributes, statistics, .. } = self.features;
        if self.attributes + self.statistics > 0 { attributes + statistics } else { 0 }
    }

    /// Declares the parameters, `prompts.*`; tokens that are themselves parameters start as `init`, like what else a block reads.
    pub fn declare(&self, params: &mut Params, init: Init) {
        let (d, m, PromptConfig { tokens, factors: n, .. }) = (self.dim, self.vectors(), self.config);
        let glorot = |rows: usize, columns: usize| Init::Normal((2.0 / (rows + columns) as f64).sqrt());
        let mut linear = |name: &str, out: usize, width: usize| {
            params.add(&format!("prompts.{name}.weight"), [out, width], glorot(out, width));
            params.add(&format!("prompts.{name}.bias"), [out], Init::Constant(0.0));
        };
        for (kind, count) in [("attributes", self.attributes), ("statistics", self.statistics)] {
            if count > 0 {
                linear(&format!("{kind}.0"), d, count * Prompter::FEATURE);
                linear(&format!("{kind}.1"), d, d);
            }
        }
        if self.sequences > 0 {
            linear("gru.input", 3 * d, d);
            linear("gru.state", 3 * d, d);
        }
        if self.features() > 0 {
            // Rows of about length 1.
            let init = Init::Normal((Prompter::FEATURE as f64).sqrt().recip());
            params.add(Prompter::FEATURES, [self.features.rows, Prompter::FEATURE], init);
        }
        if m > 1 {
            params.add("prompts.factors.weight", [self.factors() * m, m * d], glorot(m, m * d));
        }
        for l in 0..self.layers {
            if m > 1 {
                params.add(&format!("prompts.{l}.gate.weight"), [2 * n, 2 * n * d], glorot(2 * n, 2 * n * d));
            }
            match m {
                0 => params.add(&format!("prompts.{l}.tokens"), [tokens, d], init),
                _ => params.add(&format!("prompts.{l}.tokens.weight"), [tokens * d, d], glorot(d, d)),
            }
        }
    }

    /// The prompts of each user, from `events` \[B, M, d\] and `own` \[B, sequences, M\], which is not 0 at the events of each sequence.
    pub fn prompts<'g>(
        &self,
        params: &Params,
        g: &'g Graph,
        history: &History<'g>,
        events: Var<'g>,
        own: Var<'g>,
    ) -> Prompts<'g> {
        let (b, d, PromptConfig { tokens, factors: n, .. }) = (events.shape()[0], self.dim, self.config);
        let var = |l: usize, name: &str| params.var(g, &format!("prompts.{l}.{name}"));
        if self.vectors() == 0 {
            let fixed = |l| var(l, "tokens").reshape([1, tokens, d]).expand([b, tokens, d]);
            return Prompts { tokens: (0..self.layers).map(fixed).collect(), gated: None };
        }
        let q = g.scope("known", || self.known(params, g, history, events, own));
        let tokens = |l: usize, p: Var<'g>| prompt::tokens(p, var(l, "tokens.weight"));
        if self.vectors() == 1 {
            let q = q.reshape([b, d]);
            return Prompts { tokens: (0..self.layers).map(|l| tokens(l, q)).collect(), gated: None };
        }
        let [_, e] = prompt::factors(q, params.var(g, "prompts.factors.weight"));
        let shared = e.slice(1, self.layers * n, n);
        let phi = |l: usize| g.concat(1, &[e.slice(1, l * n, n), shared]);
        let p: Vec<Var> = (0..self.layers).map(|l| prompt::gate(phi(l), var(l, "gate.weight"))[1]).collect();
        let tokens = p.iter().enumerate().map(|(l, &p)| tokens(l, p)).collect();
        let p: Vec<Var> = p.iter().map(|p| p.reshape([b, 1, d])).collect();
        Prompts { tokens, gated: Some([e, g.concat(1, &p)]) }
    }

    /// Equation 5, before its vectors are put side by side: \[B, m, d\].
    fn known<'g>(
        &self,
        params: &Params,
        g: &'g Graph,
        history: &History<'g>,
        events: Var<'g>,
        own: Var<'g>,
    ) -> Var<'g> {
        let [b, t, d] = [0, 1, 2].map(|i| events.shape()[i]);
        let pair = |name: &str| ["weight", "bias"].map(|part| params.var(g, &format!("prompts.{name}.{part}")));
        let linear = |x: Var<'g>, name: &str| {
            let [weight, bias] = pair(name);
            x.linear(weight, Some(bias), Activation::None)
        };
        let mut known = vec![];
        let statistics = self.features.attributes;
        for (kind, first, count) in [("attributes", 0, self.attributes), ("statistics", statistics, self.statistics)] {
            if count > 0 {
                let rows = history.features.expect("a history with features of its user");
                let x = params.var(g, Prompter::FEATURES).gather(rows).slice(1, first, count);
                let x = linear(x.reshape([b, count * Prompter::FEATURE]), &format!("{kind}.0")).gelu();
                known.push(linear(x, &format!("{kind}.1")).reshape([b, 1, d]));
            }
        }
        if self.sequences > 0 {
            let n = self.sequences;
            let gates = linear(events, "gru.input").reshape([b, 1, t, 3 * d]);
            let gates = gates.expand([b, n, t, 3 * d]).reshape([b * n, t, 3 * d]);
            let [weight, bias] = pair("gru.state");
            // Events of other behaviours carry the state on, as padding does: the last position holds the last state.
            let states = gates.gru(weight, bias, own.reshape([b * n, t]));
            known.push(states.slice(1, t - 1, 1).reshape([b, n, d]));
        }
        g.concat(1, &known)
    }

    /// `lambda` times the compactness of the prompts of a batch, a mean over its rows by their `weight`; None where `lambda` is 0
    /// or there is no gate.
    pub fn compactness<'g>(&self, prompts: &Prompts<'g>, weight: Var<'g>, lambda: f64) -> Option<Var<'g>> {
        let [e, p] = prompts.gated.filter(|_| lambda != 0.0)?;
        Some(weighted_mean(compactness(&self.config, e, p).scale(lambda), weight))
    }
}

/// Equations 10 to 13, of all factors e \[B, K, d\] and the prompts p of L layers \[B, L, d\]: R, \[B\].
pub fn compactness<'g>(config: &PromptConfig, e: Var<'g>, p: Var<'g>) -> Var<'g> {
    let rows = |v: Var<'g>| if config.normalise { unit(v) } else { v };
    let of_factors = coding_rate(rows(e), config.factors as f64, config.factor_epsilon2);
    let of_prompts = coding_rate(rows(p), p.shape()[1] as f64, config.prompt_epsilon2);
    of_factors + of_prompts.scale(config.prompt_weight)
}
