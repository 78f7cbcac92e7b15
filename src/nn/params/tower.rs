//! The item tower: vectors of items computed from what is known of them (text, image, price), by one linear map of all features
//! side by side, or by a mixture of experts for each kind (ANT, equations 4 to 9: Gaussian routing, whitening and linear experts,
//! and the product of text and image).
//!
//! | of ANT | here |
//! |---|---|
//! | equations 4 and 5, experts (x - b_k) W_k, of prices x W_k + b_k | `mixed` |
//! | equations 6 and 7, alpha = softmax(x B + noise (softplus(x U) + floor)) | `gates`; the noise in training only |
//! | equations 8 and 9, sum of all, and product of text and image | [`Tower::table`] |
//!
//! The kernel gives sum_k alpha_k x W_k; sum_k alpha_k (-b_k W_k) is a small product. Where a kind is missing, a learned vector (or
//! zeros) stands for x, before experts and gates. All of this is linear in x but the gates, so what a missing row gives is added to
//! rows of zeros, and no matrix of filled rows exists.

use super::{Init, Params};
use crate::device::Words;
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::experts::{Experts, Packed, Read};
use crate::kernels::matmul::Activation;
use crate::kernels::random::{self, Noise};
use crate::tensor::{Shape, Spec};
use half::f16;
use std::sync::Arc;

/// One kind of what is known of items.
#[derive(Clone)]
pub struct Known {
    /// `text`, `image` or `price`.
    pub name: &'static str,
    /// A row for each item and row 0, which is padding; zeros where the kind is missing.
    pub features: Packed,
    /// The features' words; none in a plan that nothing runs.
    pub words: Option<Words>,
    /// For each row 1 where the kind is missing, else 0.
    pub missing: Option<Words>,
    /// The root mean square length of the rows that are there.
    pub length: f64,
}

impl Known {
    /// The same kind of `rows` rows, to be planned and not run where these are other rows.
    pub fn of_rows(&self, rows: usize) -> Known {
        match rows == self.features.rows {
            true => self.clone(),
            false => Known { features: Packed { rows, ..self.features }, words: None, missing: None, ..*self },
        }
    }
}

/// How vectors are computed from features.
#[derive(Clone, Debug, PartialEq)]
pub struct TowerConfig {
    /// Experts of each kind. None: one linear map of all kinds side by side.
    pub experts: Option<ExpertsConfig>,
    /// A learned vector stands where a kind is missing, else zeros.
    pub learned: bool,
    /// Share of the features that is dropped in training.
    pub dropout: f64,
    /// Each item has a vector of its own, which is added.
    pub own: bool,
    /// A training step computes the vectors of the items that its batch names, not those of all.
    pub listed: bool,
}

/// A mixture of experts.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertsConfig {
    /// K.
    pub count: usize,
    /// The noise of the gates in training has at least this standard deviation. None: no noise.
    pub noise: Option<f64>,
    /// Weight of the product of text and image, beta.
    pub product: f64,
}

impl Known {
    /// The features, row after row; none in a plan that nothing runs.
    pub fn floats(&self) -> Vec<f32> {
        let words = self.words.as_ref().map_or(&[][..], |words| (**words).as_ref());
        match self.features.half {
            true => bytemuck::cast_slice(words).iter().map(|&bits| f16::from_bits(bits).to_f32()).collect(),
            false => bytemuck::cast_slice(words).to_vec(),
        }
    }
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_struct("Known").field("name", &self.name).field("features", &self.features).finish_non_exhaustive()
    }
}

/// By kind and sizes.
impl PartialEq for Known {
    fn eq(&self, other: &Known) -> bool {
        (self.name, self.features) == (other.name, other.features)
    }
}

/// The tower of a model's items.
#[derive(Clone, Debug, PartialEq)]
pub struct Tower {
    pub config: TowerConfig,
    pub known: Arc<Vec<Known>>,
    /// Width of the vectors, d.
    dim: usize,
    /// Rows after the items', each with a vector of its own: of a hidden item.
    hidden: usize,
    join: Join,
    /// Other texts of the items.
    changed: Option<Known>,
}

/// How a model uses a tower.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Join {
    /// Items are the sum of what all kinds give, and of their own vectors.
    Sum,
    /// As that, with their own vectors by a linear map.
    MappedOwn,
    /// The model joins kinds itself, and its items are none of the tower's.
    Apart,
}

/// A tower's vectors, and those of each kind before they are joined: \[rows, d\].
pub struct Vectors<'g> {
    pub items: Var<'g>,
    pub kinds: Vec<(&'static str, Var<'g>)>,
}

impl Tower {
    /// The input of a training step that lists the items whose vectors are computed, instead of all.
    pub const LISTED: &'static str = "tower.items";

    /// The name of the parameter that a tower stands for, and of the vectors that items have of their own.
    pub const ITEMS: &'static str = "item_embedding";

    /// A tower over what is known of items, once its vectors are asked for.
    pub fn new(config: TowerConfig, known: Arc<Vec<Known>>) -> Tower {
        Tower { config, known, dim: 0, hidden: 0, join: Join::Sum, changed: None }
    }

    /// With other texts of the items, which the maps of their texts read too: [`Tower::changed`].
    pub fn with_changed(self, texts: Known) -> Tower {
        Tower { changed: Some(texts), ..self }
    }

    /// Adds items' own vectors by a linear map, as one kind more. They are themselves [`Params::stored`].
    pub fn mapping_own(self) -> Tower {
        Tower { join: Join::MappedOwn, ..self }
    }

    /// Of vectors \[items + 1, dim\] of each kind, [`Tower::kinds`], for a model that joins them itself and whose items are vectors of
    /// their own.
    ///
    /// # Errors
    /// Settings of a tower that computes the items.
    pub fn apart(self, dim: usize) -> Result<Tower> {
        let why = "the model reads features beside items' own vectors";
        if !self.config.own {
            return Err(Error::Usage(format!("model.own_embedding: found false; expected true, since {why}")));
        }
        if self.config.listed {
            return Err(Error::Usage(format!("model.tower: found batch; expected all, since {why}")));
        }
        Ok(Tower { join: Join::Apart, dim, ..self })
    }

    /// Whether it computes the items, or at least a part of their vectors.
    pub fn computes_items(&self) -> bool {
        self.join != Join::Apart
    }

    /// For vectors of this shape: \[items + 1 + hidden, d\].
    pub(super) fn of(&self, shape: &Shape) -> Tower {
        let hidden = shape[0].checked_sub(self.known[0].features.rows).expect("a row for each item");
        Tower { dim: shape[1], hidden, ..self.clone() }
    }

    /// Width of the vectors, d.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Rows of the table: padding, items and what is hidden.
    pub fn rows(&self) -> usize {
        self.known[0].features.rows + self.hidden
    }

    /// Adds the parameters. `init`: how vectors start; maps start so that what they make of the features has that spread.
    pub fn declare(&self, params: &mut Params, init: Init) {
        let d = self.dim;
        let spread = if let Init::Normal(std) = init { std } else { 1.0 } / (self.known.len() as f64).sqrt();
        for known in self.known.iter() {
            let (name, a) = (known.name, known.features.width);
            let param = |name: &str| format!("tower.{}.{name}", known.name);
            let start = |maps: usize| Init::Normal(spread * (maps as f64).sqrt() / known.length);
            match &self.config.experts {
                None => params.add(&param("weight"), [1, a, d], start(1)),
                // Gates that are all alike take the mean of K maps.
                Some(ExpertsConfig { count, noise, .. }) => {
                    params.add(&param("weight"), [*count, a, d], start(*count));
                    params.add(&param("bias"), [*count, if whitens(name) { a } else { d }], Init::Constant(0.0));
                    params.add(&param("gate"), [a, *count], Init::Constant(0.0));
                    if noise.is_some() {
                        params.add(&param("spread"), [a, *count], Init::Constant(0.0));
                    }
                }
            }
            if self.config.learned {
                params.add(&param("missing"), [1, a], Init::Constant(0.0));
            }
        }
        if self.join != Join::Apart {
            self.declare_sum(params, init);
        }
        for known in self.known.iter().chain(&self.changed) {
            params.lend(&leaf(known.name), known.features.words(), known.words.clone());
            params.lend(&missing_leaf(known.name), known.features.rows, known.missing.clone());
        }
    }

    /// Adds the parameters of the sum of kinds and own vectors.
    fn declare_sum(&self, params: &mut Params, init: Init) {
        let d = self.dim;
        if self.config.experts.is_none() {
            params.add("tower.bias", [d], Init::Constant(0.0));
        }
        match (self.config.own, self.hidden) {
            (true, _) => params.add(Tower::ITEMS, [self.rows(), d], init),
            (false, 0) => {}
            (false, hidden) => params.add("tower.hidden", [hidden, d], init),
        }
        if self.join == Join::MappedOwn {
            params.add("tower.own.weight", [d, d], Init::Normal((1.0 / d as f64).sqrt()));
        }
    }

    /// The vector of each row, or of the rows that [`Tower::LISTED`] lists.
    pub fn table<'g>(&self, params: &Params, g: &'g Graph) -> Vectors<'g> {
        self.table_of(|known| known, params, g)
    }

    /// As [`Tower::table`], of the changed texts where there are some.
    pub fn changed<'g>(&self, params: &Params, g: &'g Graph) -> Option<Var<'g>> {
        let texts = self.changed.as_ref()?;
        let of = |known: &Known| known.name == "text";
        let of = |known| if of(known) { texts } else { known };
        Some(g.prepared("items.changed", || self.table_of(of, params, g).items))
    }

    /// The vectors of what `of` says is known in the place of each kind.
    fn table_of<'a, 'g>(
        &'a self,
        of: impl Fn(&'a Known) -> &'a Known,
        params: &'a Params,
        g: &'g Graph,
    ) -> Vectors<'g> {
        g.scope("tower", || {
            let kinds = self.known.iter().map(|known| (known.name, self.kind(of(known), params, g).once()));
            let kinds: Vec<(&str, Var)> = kinds.collect();
            let sum = kinds.iter().map(|(_, z)| *z).reduce(|a, b| a + b).expect("a tower reads something");
            let of = |name: &str| kinds.iter().find(|(kind, _)| *kind == name).map(|(_, z)| *z);
            let joined = match (&self.config.experts, of("text"), of("image")) {
                (None, ..) => sum + params.var(g, "tower.bias"),
                (Some(experts), Some(text), Some(image)) if experts.product != 0.0 => {
                    sum + (text * image).scale(experts.product)
                }
                _ => sum,
            };
            Vectors { items: self.with_own(joined, params, g, g.offered(Tower::LISTED)), kinds }
        })
    }

    fn kind<'a, 'g>(&'a self, known: &'a Known, params: &'a Params, g: &'g Graph) -> Kind<'a, 'g> {
        Kind { tower: self, known, params, g, listed: g.offered(Tower::LISTED) }
    }

    /// What one kind gives to the rows of [`Tower::table`] in training, \[rows, d\], and where it is missing, 1, else 0: \[rows, 1\].
    /// None where the tower does not read it.
    pub fn of_kind<'g>(&self, name: &str, params: &Params, g: &'g Graph) -> Option<(Var<'g>, Var<'g>)> {
        let known = self.known.iter().find(|known| known.name == name)?;
        let kind = self.kind(known, params, g);
        Some((g.scope("tower", || kind.once()), kind.missing()))
    }

    /// The vectors of items, with their own added, and those of hidden ones after them.
    fn with_own<'g>(&self, items: Var<'g>, params: &Params, g: &'g Graph, listed: Option<Var<'g>>) -> Var<'g> {
        if !self.config.own {
            return match self.hidden {
                0 => items,
                _ => g.concat(0, &[items, params.var(g, "tower.hidden")]),
            };
        }
        let own = params.stored(g, Tower::ITEMS);
        let own = match self.join {
            Join::MappedOwn => own.linear(params.var(g, "tower.own.weight"), None, Activation::None),
            _ => own,
        };
        match listed {
            Some(list) => items + own.gather(list),
            None if self.hidden == 0 => items + own,
            None => {
                let n = items.shape()[0];
                g.concat(0, &[items + own.slice(0, 0, n), own.slice(0, n, self.hidden)])
            }
        }
    }
}

/// The kinds of a tower that is [`Tower::apart`].
impl Tower {
    /// What each kind gives to each row, \[rows, d\].
    pub fn kinds<'g>(&self, params: &Params, g: &'g Graph) -> Vec<Var<'g>> {
        let kind = |known| Kind { tower: self, known, params, g, listed: None };
        g.scope("tower", || self.known.iter().map(|known| g.scope(known.name, || kind(known).vectors())).collect())
    }
}

/// Whether what is subtracted stands before the map (equation 4), not after it (equation 5).
fn whitens(kind: &str) -> bool {
    kind != "price"
}

fn leaf(kind: &str) -> String {
    format!("features.{kind}")
}

fn missing_leaf(kind: &str) -> String {
    format!("features.{kind}.missing")
}

/// The name of a kind's noise, \[rows, K\], where it is offered ([`Graph::offer`]) and not drawn.
pub fn noise_of(kind: &str) -> String {
    format!("tower.{kind}.noise")
}

/// One kind, in a graph.
struct Kind<'a, 'g> {
    tower: &'a Tower,
    known: &'a Known,
    params: &'a Params,
    g: &'g Graph,
    listed: Option<Var<'g>>,
}

impl<'g> Kind<'_, 'g> {
    fn param(&self, name: &str) -> Var<'g> {
        // Maps of texts read changed ones too.
        let kind = self.known.name.trim_end_matches("_dropped");
        self.params.var(self.g, &format!("tower.{kind}.{name}"))
    }

    /// \[rows, 1\]: 1 where the kind is missing.
    fn missing(&self) -> Var<'g> {
        let (g, rows, name) = (self.g, self.known.features.rows, missing_leaf(self.known.name));
        let all = g.state(&name, &name, 0, Spec::u32([rows])).nonzero().reshape([rows, 1]);
        self.listed.map_or(all, |list| all.gather(list))
    }

    /// sum_k gates\[i, k\] (x\[i\] weight\[k\]), with x\[i\] zeros where the kind is missing.
    fn mapped(&self, gates: Option<Var<'g>>, weight: Var<'g>, dropout: f64) -> Var<'g> {
        let (g, features) = (self.g, self.known.features);
        let name = leaf(self.known.name);
        let words = g.state(&name, &name, 0, Spec::u32([features.words()]));
        let dropout = (dropout > 0.0).then(|| (dropout as f32, random::key(&g.scope_name())));
        let read = Read { features, listed: self.listed.is_some(), dropout };
        let step = dropout.map(|_| g.step());
        let inputs = [Some(words), self.listed, gates, Some(weight), step];
        g.push(Experts { read, gated: gates.is_some() }, &inputs.into_iter().flatten().collect::<Vec<_>>())
    }

    fn dropout(&self) -> f64 {
        if self.g.is_training() { self.tower.config.dropout } else { 0.0 }
    }

    /// x weight of the vector that stands where the kind is missing, by each of K maps \[K, a, b\]: \[K, b\]; none for zeros.
    fn stands(&self, weight: Var<'g>) -> Option<Var<'g>> {
        let [k, a, b] = [0, 1, 2].map(|axis| weight.shape()[axis]);
        let vector = self.tower.config.learned.then(|| self.param("missing"))?;
        Some(vector.reshape([1, 1, a]).expand([k, 1, a]).matmul(weight).reshape([k, b]))
    }

    /// As [`Kind::vectors`], traced once in a training step.
    fn once(&self) -> Var<'g> {
        let vectors = || self.g.scope(self.known.name, || self.vectors());
        // What an evaluation prepares it keeps, and it needs the sum alone.
        match self.g.is_training() {
            true => self.g.prepared(&format!("items.{}", self.known.name), vectors),
            false => vectors(),
        }
    }

    /// What the kind gives to each row, \[rows, d\].
    fn vectors(&self) -> Var<'g> {
        let weight = self.param("weight");
        if let Some(experts) = &self.tower.config.experts {
            return self.mixed(experts, weight);
        }
        let z = self.mapped(None, weight, self.dropout());
        self.stands(weight).map_or(z, |vector| z + self.missing() * vector)
    }

    fn mixed(&self, experts: &ExpertsConfig, weight: Var<'g>) -> Var<'g> {
        let [k, a, d] = [0, 1, 2].map(|axis| weight.shape()[axis]);
        let gates = self.g.scope("gates", || self.gates(experts, k));
        let bias = self.param("bias");
        let constant = match whitens(self.known.name) {
            true => -bias.reshape([k, 1, a]).matmul(weight).reshape([k, d]),
            false => bias,
        };
        let z = self.mapped(Some(gates), weight, self.dropout()) + gates.matmul(constant);
        self.stands(weight).map_or(z, |vectors| z + (gates * self.missing()).matmul(vectors))
    }

    /// alpha, \[rows, K\].
    fn gates(&self, experts: &ExpertsConfig, k: usize) -> Var<'g> {
        let gate = self.param("gate");
        let noise = experts.noise.filter(|_| self.g.is_training());
        let maps = noise.map_or(gate, |_| self.g.concat(1, &[gate, self.param("spread")]));
        let [a, width] = [maps.shape()[0], maps.shape()[1]];
        let maps = maps.reshape([1, a, width]);
        let logits = self.mapped(None, maps, 0.0);
        let logits = self.stands(maps).map_or(logits, |vector| logits + self.missing() * vector);
        let Some(floor) = noise else { return logits.softmax(1, None) };
        let rows = logits.shape()[0];
        let spread = logits.slice(1, k, k).softplus() + self.g.scalar(floor);
        let drawn = self.g.offered(&noise_of(self.known.name));
        let drawn = drawn.unwrap_or_else(|| self.g.noise(Noise::Gaussian, [rows, k]));
        (logits.slice(1, 0, k) + drawn * spread).softmax(1, None)
    }
}
