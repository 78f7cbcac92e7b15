//! What models are given to know of the items of a data set: embeddings where they lie, and prices in code.

use crate::config::Config;
use crate::data::dataset::hex;
use crate::data::items::{Modality, PriceScale};
use crate::data::synth::Domain;
use crate::data::{DataConfig, Dataset};
use crate::device::Words;
use crate::error::Result;
use crate::kernels::experts::Packed;
use crate::models::ItemSettings;
use crate::nn::tower::Known;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// What is known of items, and what is said of it.
#[derive(Default)]
pub struct KnownItems {
    pub kinds: Arc<Vec<Known>>,
    pub about: Vec<About>,
}

/// A kind, as metrics.json has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct About {
    pub feature: Modality,
    pub width: usize,
    /// Items that have it, and that lack it.
    pub items: usize,
    pub missing: usize,
    /// Of prices: how they became numbers from 0 to 100.
    pub scale: Option<PriceScale>,
    /// SHA-256, in hex, of all that a model is given.
    pub sha256: String,
}

impl KnownItems {
    /// The kinds that `model.features` names, of the items of `data`, which may be of the embedded `world`.
    ///
    /// # Errors
    /// A kind that nothing gives the items; whatever is wrong with a file of items.
    pub fn new(config: &Config, data: &Dataset, world: Option<&Domain>) -> Result<KnownItems> {
        let settings = config.model.items();
        let mut all = KnownItems::default();
        if settings.features.is_empty() || config.model.spec().loss.is_none() {
            return Ok(all);
        }
        // Histories of the world, read from a file, are of its items too.
        let again = match (world, &config.data.path) {
            (None, None) => Some(config.data.load_world(&config.world, config.world_seed)?.1),
            _ => None,
        };
        let world = world.or(again.as_ref());
        let mut kinds = vec![];
        for &feature in &settings.features {
            let (known, about) = match feature {
                Modality::Text | Modality::Image => vectors(feature, &config.data, data, world)?,
                Modality::Price => prices(settings, &config.data, data, world)?,
            };
            kinds.push(known);
            all.about.push(about);
        }
        all.kinds = Arc::new(kinds);
        Ok(all)
    }

    /// A hash of all kinds; none where there are none.
    pub fn fingerprint(&self) -> Option<String> {
        let all: Vec<&str> = self.about.iter().map(|about| about.sha256.as_str()).collect();
        (!all.is_empty()).then(|| hex(&Sha256::digest(all.join(" "))))
    }

    /// `text 512 (1,585 items, 0 missing), price 64 (..)`.
    pub fn describe(&self) -> String {
        let one = |about: &About| {
            let [items, missing] = [about.items, about.missing].map(|n| indicatif::HumanCount(n as u64));
            format!("{} {} wide ({items} items have it, {missing} lack it)", about.feature.name(), about.width)
        };
        self.about.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// Row 0 is padding, of which nothing is known.
fn words_of(missing: impl Iterator<Item = bool>) -> Vec<u32> {
    missing.map(|missing| missing as u32).collect()
}

fn known(feature: Modality, features: Packed, words: Words, missing: Vec<u32>) -> Known {
    let length = features.length((*words).as_ref());
    Known { name: feature.name(), features, words: Some(words), missing: Some(Arc::new(missing)), length }
}

fn vectors(feature: Modality, config: &DataConfig, data: &Dataset, world: Option<&Domain>) -> Result<(Known, About)> {
    let vectors = config.item_vectors(feature, data, world)?.ok_or_else(|| feature.absent())?;
    let coverage = vectors.coverage();
    let (rows, width, half) = (vectors.missing.len(), vectors.width, vectors.is_half());
    let about = About {
        feature,
        width,
        items: coverage.present(),
        missing: coverage.missing,
        scale: None,
        sha256: vectors.hash.clone(),
    };
    let missing = words_of(vectors.missing.iter().copied());
    let features = Packed { rows, width, half };
    Ok((known(feature, features, Arc::new(vectors), missing), about))
}

fn prices(
    settings: &ItemSettings,
    config: &DataConfig,
    data: &Dataset,
    world: Option<&Domain>,
) -> Result<(Known, About)> {
    let feature = Modality::Price;
    let prices = config.item_prices(data, world)?.ok_or_else(|| feature.absent())?;
    let (scale, width) = (prices.scale(config), settings.price_width);
    let mut codes = vec![0f32; (prices.of.len() + 1) * width];
    for (price, code) in prices.of.iter().zip(codes[width..].chunks_exact_mut(width)) {
        if let Some(price) = price {
            settings.code_price(scale.scaled(*price), code);
        }
    }
    let words: Vec<u32> = codes.iter().map(|x| x.to_bits()).collect();
    let missing = words_of(std::iter::once(true).chain(prices.of.iter().map(Option::is_none)));
    let [of_words, of_missing] = [&words, &missing].map(|words| bytemuck::cast_slice::<u32, u8>(words));
    let lacking = prices.of.iter().filter(|price| price.is_none()).count();
    let about = About {
        feature,
        width,
        items: prices.of.len() - lacking,
        missing: lacking,
        scale: Some(scale),
        sha256: hex(&Sha256::new().chain_update(of_words).chain_update(of_missing).finalize()),
    };
    let features = Packed { rows: missing.len(), width, half: false };
    Ok((known(feature, features, Arc::new(words), missing), about))
}
