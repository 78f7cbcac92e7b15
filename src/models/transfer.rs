//! Pre-training on several data sets and adaptation to another one, for models whose items are computed from what is known of
//! them: nothing with a row for each item, or each user, is ever taken.
//!
//! | `model.adapt` | taken from pre-training | trained |
//! |---|---|---|
//! | `gb` | nothing (there is no pre-training) | all |
//! | `ft` | all | the item tower |
//! | `rel` | the encoder | the item tower and the positions, re-initialised |
//!
//! This is ANT's comparison (Re-learn, Fine-Tune, and none). Items' own vectors, where there are some, are always trained. In
//! ANT's released code the norm of the encoder's input is trained as well, and `ft` re-initialises the positions (`model.released`).

use super::Phase;
use super::phase::Take;
use serde::{Deserialize, Serialize};

/// What of a pre-trained model is taken, and what is trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Adapt {
    /// Nothing is pre-trained: all is trained on the data themselves.
    Gb,
    /// All is taken, and the item tower is tuned.
    Ft,
    /// The encoder is taken and frozen; the item tower and the positions are re-initialised and trained.
    #[default]
    Rel,
}

/// The name of the phase that pre-trains.
pub const PRETRAIN: &str = "pretrain";

/// What belongs to the encoder; all else is the tower's, or has a row for each item.
const ENCODER: &str = "encoder.*";
const POSITIONS: &str = "position_embedding";
const INPUT_NORM: &str = "encoder.embedding_norm.*";

/// Settings that may differ from those of the pre-training, whatever is taken.
const FREE: [&str; 12] = [
    "adapt",
    "released",
    "dropout",
    "own_embedding",
    "feature_dropout",
    "alignment",
    "aligned",
    "contrast",
    "drop",
    "changed_texts",
    "positions",
    "temperature",
];

/// The settings of a tower that is re-initialised.
const OF_TOWER: [&str; 10] = [
    "features",
    "fusion",
    "missing",
    "tower",
    "experts",
    "product",
    "gate_noise",
    "gate_floor",
    "price_width",
    "price_period",
];

/// The phases of a training: `pretrain` on data.auxiliary, as far as `adapt` needs it, and `adapted` on the data themselves.
/// `released`: as ANT's code does it.
pub fn phases(adapt: Adapt, released: bool, pretrain: Phase, adapted: Phase) -> Vec<Phase> {
    let take = FREE.into_iter().fold(Take::from(PRETRAIN).of_other_data(), Take::free);
    let norm = |phase: Phase| if released { phase.trains(INPUT_NORM) } else { phase };
    let tuned = norm(adapted.clone().trains("tower.*").trains("item_embedding"));
    let adapted = match adapt {
        Adapt::Gb => return vec![adapted],
        Adapt::Ft if released => tuned.trains(POSITIONS).takes(take.but(POSITIONS)),
        Adapt::Ft => tuned.takes(take),
        Adapt::Rel => {
            let take = OF_TOWER.into_iter().fold(take.only([ENCODER]), Take::free);
            tuned.trains(POSITIONS).takes(take)
        }
    };
    vec![pretrain, adapted]
}
