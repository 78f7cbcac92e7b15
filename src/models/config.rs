//! Which model, and its settings.

use super::pomrec::{PomRec, Settings, Variant};
use super::{Model, Pop};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The models by name.
pub const NAMES: [&str; 2] = ["pomrec", "pop"];

/// Settings under `model.`: those of all models together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelConfig {
    /// Width of embeddings.
    pub dim: usize,
    /// Interests of a user, K.
    pub interests: usize,
    /// Prompts before a history, N_p; 0: none.
    pub prompts: usize,
    /// Weight of an interest's dispersion, lambda; 0: none.
    pub dispersion: f64,
    /// Width inside the attention, d'.
    pub attention_dim: usize,
    pub variant: Variant,
}

impl Default for ModelConfig {
    fn default() -> ModelConfig {
        ModelConfig { dim: 64, interests: 3, prompts: 4, dispersion: 3.0, attention_dim: 8, variant: Variant::Paper }
    }
}

impl ModelConfig {
    /// Checks the ranges; the error names the setting.
    pub fn check(&self) -> Result<()> {
        let wrong = |key: &str, found: String, expected: &str| {
            Err(Error::Usage(format!("model.{key}: found {found}; expected {expected}")))
        };
        for (key, value) in [("dim", self.dim), ("interests", self.interests), ("attention_dim", self.attention_dim)] {
            if value == 0 {
                return wrong(key, value.to_string(), "at least 1");
            }
        }
        if !self.dispersion.is_finite() || self.dispersion < 0.0 {
            return wrong("dispersion", self.dispersion.to_string(), "a number of at least 0");
        }
        Ok(())
    }
}

/// Settings under `loss.`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    pub kind: LossKind,
}

/// What is minimised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossKind {
    /// Pairwise ranking against sampled negatives.
    #[default]
    Bpr,
}

/// The model called `name` for `items` items and windows of `max_len`.
///
/// # Errors
/// An unknown name.
pub fn build(name: &str, config: &ModelConfig, items: usize, max_len: usize) -> Result<Box<dyn Model>> {
    config.check()?;
    let ModelConfig { dim, interests, prompts, dispersion, attention_dim, variant } = *config;
    match name {
        "pomrec" => Ok(Box::new(PomRec::new(Settings {
            items,
            max_len,
            dim,
            attention_dim,
            interests,
            prompts,
            dispersion,
            variant,
        }))),
        "pop" => Ok(Box::new(Pop::new(items))),
        _ => Err(Error::Usage(format!("no model is called {name:?}; expected one of {}", NAMES.join(", ")))),
    }
}
