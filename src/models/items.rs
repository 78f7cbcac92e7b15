//! What models know of items in addition to their numbers: settings of the item tower ([`crate::nn::tower`]), which every model
//! that is trained can have.

use crate::data::items::Modality;
use crate::error::{Error, Result};
use crate::nn::Tower;
use crate::nn::tower::{ExpertsConfig, Known, TowerConfig};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How features become the vector of an item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Fusion {
    /// One linear map of all features side by side.
    #[default]
    Linear,
    /// A mixture of experts for each kind, and the product of text and image (ANT, equations 4 to 9).
    Experts,
}

/// What stands where a kind is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Missing {
    /// A vector that is learned.
    #[default]
    Learned,
    /// Zeros.
    Zeros,
}

/// Whose vectors a training step computes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Listed {
    /// Those of all items.
    #[default]
    All,
    /// Those of the items that the batch names; for losses that draw negatives.
    Batch,
}

/// Settings of the item tower, under `model.`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default)]
pub struct ItemSettings {
    /// What is known of items and read, of `text`, `image`, `price` and `category`; none: an item is its own vector alone.
    pub features: Vec<Modality>,
    /// How features become the vector of an item.
    pub fusion: Fusion,
    /// Whether each item's own vector is added to what its features give.
    pub own_embedding: bool,
    /// What stands where a kind is missing.
    pub missing: Missing,
    /// Whose vectors a training step computes.
    pub tower: Listed,
    /// Share of the features that is dropped in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub feature_dropout: f64,
    /// Experts of each kind, K.
    #[schemars(range(min = 1, max = 256))]
    pub experts: usize,
    /// Weight of the product of text and image, beta.
    #[schemars(range(min = 0, max = 1000))]
    pub product: f64,
    /// Whether the gates of experts have noise in training, whose standard deviation is learned.
    pub gate_noise: bool,
    /// The least standard deviation of that noise.
    #[schemars(range(min = 0, max = 1000))]
    pub gate_floor: f64,
    /// Width of the code of a price, an even number.
    #[schemars(range(min = 2, max = 65536))]
    pub price_width: usize,
    /// The longest wave of that code, omega, of prices from 0 to 100 (equation 3).
    #[schemars(range(min = 1, max = 1e9))]
    pub price_period: f64,
}

impl Default for ItemSettings {
    fn default() -> ItemSettings {
        ItemSettings {
            features: vec![],
            fusion: Fusion::Linear,
            own_embedding: true,
            missing: Missing::Learned,
            tower: Listed::All,
            feature_dropout: 0.2,
            experts: 8,
            product: 0.1,
            gate_noise: true,
            gate_floor: 0.01,
            price_width: 64,
            price_period: 50_000.0,
        }
    }
}

impl ItemSettings {
    /// # Errors
    /// A kind that is named twice; a width that is odd.
    pub fn check(&self) -> Result<()> {
        for (i, feature) in self.features.iter().enumerate() {
            if self.features[..i].contains(feature) {
                let name = feature.name();
                return Err(Error::Usage(format!("model.features: found {name:?} twice; expected each kind once")));
            }
        }
        if !self.price_width.is_multiple_of(2) {
            let found = self.price_width;
            return Err(Error::Usage(format!(
                "model.price_width: found {found}; expected an even number: sines and cosines"
            )));
        }
        Ok(())
    }

    /// The tower over what is `known` of `items` items; none where no feature is named.
    ///
    /// # Errors
    /// A kind that is not known.
    pub fn tower(&self, known: &[Known], items: usize) -> Result<Option<Tower>> {
        if self.features.is_empty() {
            return Ok(None);
        }
        let of = |feature: &Modality| {
            let name = feature.name();
            let found = known.iter().find(|known| known.name == name).map(|known| known.of_rows(items + 1));
            found.ok_or_else(|| feature.absent())
        };
        let known = self.features.iter().map(of).collect::<Result<Vec<_>>>()?;
        let experts = ExpertsConfig {
            count: self.experts,
            noise: self.gate_noise.then_some(self.gate_floor),
            product: self.product,
        };
        let config = TowerConfig {
            experts: (self.fusion == Fusion::Experts).then_some(experts),
            learned: self.missing == Missing::Learned,
            dropout: self.feature_dropout,
            own: self.own_embedding,
            listed: self.tower == Listed::Batch,
        };
        Ok(Some(Tower::new(config, Arc::new(known))))
    }

    /// The code of a price from 0 to 100 (equation 3): sin(w_j p), cos(w_j p) for w_j = omega^(-2 j / width).
    pub fn code_price(&self, price: f64, code: &mut [f32]) {
        let width = self.price_width as f64;
        for (j, two) in code.chunks_exact_mut(2).enumerate() {
            let angle = price * self.price_period.powf(-2.0 * j as f64 / width);
            two.copy_from_slice(&[angle.sin() as f32, angle.cos() as f32]);
        }
    }
}
