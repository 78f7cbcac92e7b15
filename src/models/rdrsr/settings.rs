//! Settings of RDRSR.

use crate::error::{Error, Result};
use crate::kernels::rollout::Pooling;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How many interests a user has. Written `printed`, `reinforced`, `straight-through`, `log2` or `fixed:3`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
#[non_exhaustive]
pub enum Number {
    /// Drawn by the discriminator, which learns through its Gumbel softmax in the policy's state alone.
    #[default]
    Printed,
    /// As printed; the number's own probability has a reward too, the target's share less the mean of the batch.
    Reinforced,
    /// As printed, but the policy's state holds the number that was drawn, with the gradient of the Gumbel softmax.
    StraightThrough,
    /// max(1, min(K, log2 n)) of n items, MIND's rule, without a discriminator.
    Log2,
    /// This one for all users, without a discriminator (RDRSR-F).
    Fixed(usize),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Number::Printed => f.write_str("printed"),
            Number::Reinforced => f.write_str("reinforced"),
            Number::StraightThrough => f.write_str("straight-through"),
            Number::Log2 => f.write_str("log2"),
            Number::Fixed(h) => write!(f, "fixed:{h}"),
        }
    }
}

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Number, String> {
        let fixed = |h: &str| h.parse().ok().filter(|&h| h > 0).map(Number::Fixed);
        let named = [Number::Printed, Number::Reinforced, Number::StraightThrough, Number::Log2];
        let found = named.into_iter().find(|number| number.to_string() == text);
        found.or_else(|| text.strip_prefix("fixed:").and_then(fixed)).ok_or_else(|| {
            format!(
                "found {text:?}; expected printed, reinforced, straight-through, log2, or fixed:N with N of at least 1"
            )
        })
    }
}

impl From<Number> for String {
    fn from(number: Number) -> String {
        number.to_string()
    }
}

impl TryFrom<String> for Number {
    type Error = String;

    fn try_from(text: String) -> Result<Number, String> {
        text.parse()
    }
}

/// How the discriminator weighs the events of a history (equation 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Pool {
    /// As printed: the user's part is the same for all events, so that the softmax cancels it.
    #[default]
    Linear,
    /// With a tanh before the last map, so that the user counts.
    Tanh,
}

/// What items are ranked by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Ranking {
    /// Equation 13, its logarithm: the product with the interest that the policy chooses for the item, less the log-sum-exp of that
    /// interest's products with all items.
    #[default]
    Share,
    /// The product with the interest that the policy chooses for the item.
    Product,
    /// The largest product with one of the interests.
    Largest,
}

/// Settings of RDRSR.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Width of the embeddings, d.
    #[schemars(range(min = 1, max = 65536))]
    pub dim: usize,
    /// The most interests of a user, k.
    #[schemars(range(min = 1, max = 256))]
    pub interests: usize,
    /// How many of them a user has: printed, reinforced, straight-through, log2 or fixed:N.
    #[schemars(with = "String")]
    pub number: Number,
    /// How the discriminator weighs the events of a history.
    pub pool: Pool,
    /// Put residual connections and layer norms around attention and feed-forward, as SASRec has them.
    pub residual: bool,
    /// Share of the values that is dropped there in training.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1.0))]
    pub dropout: f64,
    /// Width inside the policy, d_i.
    #[schemars(range(min = 1, max = 65536))]
    pub policy_dim: usize,
    /// What an interest becomes when it takes an event.
    pub pooling: Pooling,
    /// Temperature of the Gumbel softmax of the number.
    #[schemars(range(min = 1e-4, max = 1e6))]
    pub temperature: f64,
    /// Weight of the orthogonality of the interests in the reward, lambda_o.
    #[schemars(range(min = 0))]
    pub orthogonality: f64,
    /// Weight of the policy gradient in the loss, beta. With 0, and no weight of the entropy, policy and discriminator stay as they start.
    #[schemars(range(min = 0))]
    pub policy_weight: f64,
    /// Weight of an entropy bonus for the policy.
    #[schemars(range(min = 0))]
    pub entropy_weight: f64,
    /// Rewards are multiplied by it.
    #[schemars(range(min = 1e-6, max = 1e6))]
    pub reward_scale: f64,
    /// Subtract a running mean of the rewards (decay .99 a batch) from them.
    pub baseline: bool,
    /// What items are ranked by.
    pub ranking: Ranking,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            dim: 64,
            interests: 4,
            number: Number::Printed,
            pool: Pool::Linear,
            residual: false,
            dropout: 0.2,
            policy_dim: 64,
            pooling: Pooling::Halving,
            temperature: 10.0,
            orthogonality: 1e-3,
            policy_weight: 1.0,
            entropy_weight: 0.0,
            reward_scale: 1.0,
            baseline: false,
            ranking: Ranking::Share,
        }
    }
}

impl Settings {
    /// Whether the number of interests is drawn.
    pub fn discriminates(&self) -> bool {
        matches!(self.number, Number::Printed | Number::Reinforced | Number::StraightThrough)
    }

    /// Whether gradients reach the policy, and the discriminator through it.
    pub fn learns_policy(&self) -> bool {
        self.policy_weight > 0.0 || self.entropy_weight > 0.0
    }

    /// # Errors
    /// More fixed interests than there are at most.
    pub fn check(&self) -> Result<()> {
        match self.number {
            Number::Fixed(h) if h > self.interests => Err(Error::Usage(format!(
                "model.number: found fixed:{h}; expected at most model.interests, {}",
                self.interests
            ))),
            _ => Ok(()),
        }
    }
}
