//! What models are given to know of the items of a data set: embeddings where they lie, and prices in code.

use crate::config::Config;
use crate::data::dataset::hex;
use crate::data::items::{Modality, PriceScale};
use crate::data::synth::Domain;
use crate::data::{DataConfig, Dataset};
use crate::device::Words;
use crate::error::{Error, Result};
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
    /// The data set, where several are joined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set: Option<String>,
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
        if settings.features.is_empty() {
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
                Modality::Text | Modality::Image | Modality::TextDropped => {
                    vectors(feature, &config.data, data, world)?.ok_or_else(|| feature.absent())?
                }
                Modality::Price => prices(settings, &config.data, data, world)?,
                Modality::Category => categories(&config.data, data, world)?,
            };
            kinds.push(known);
            all.about.push(about);
        }
        if config.model.all_phases().iter().any(|phase| phase.changed_texts)
            && let Some((known, about)) = vectors(Modality::TextDropped, &config.data, data, world)?
        {
            if let Some(text) = kinds.iter().find(|kind| kind.name == Modality::Text.name())
                && text.features.width != about.width
            {
                let (found, expected) = (about.width, text.features.width);
                return Err(Error::Usage(format!(
                    "data.text_dropped: found embeddings {found} wide; expected {expected}, as those of the whole texts are"
                )));
            }
            kinds.push(known);
            all.about.push(about);
        }
        all.kinds = Arc::new(kinds);
        Ok(all)
    }

    /// The same of the items of data sets, by name, that are joined in this order.
    ///
    /// # Errors
    /// Embeddings of one kind that are not equally wide in all.
    pub fn joined(sets: Vec<(String, KnownItems)>) -> Result<KnownItems> {
        let mut kinds = vec![];
        for kind in sets.first().iter().flat_map(|(_, first)| first.kinds.iter()) {
            let of_kind = sets.iter().flat_map(|(name, set)| {
                let known = set.kinds.iter().find(|known| known.name == kind.name);
                known.map(|known| (name.as_str(), known))
            });
            let of_kind: Vec<(&str, &Known)> = of_kind.collect();
            // Changed texts are read where all have them.
            if of_kind.len() == sets.len() {
                kinds.push(join(&of_kind)?);
            }
        }
        let named = |(name, set): (String, KnownItems)| {
            set.about.into_iter().map(move |about| About { set: Some(name.clone()), ..about })
        };
        Ok(KnownItems { kinds: Arc::new(kinds), about: sets.into_iter().flat_map(named).collect() })
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
            let set = about.set.as_ref().map(|set| format!("{set}: ")).unwrap_or_default();
            format!("{set}{} {} wide ({items} items have it, {missing} lack it)", about.feature.name(), about.width)
        };
        self.about.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// One kind of several data sets, one after the other. Halves stay halves where all are.
fn join(sets: &[(&str, &Known)]) -> Result<Known> {
    let (first, known) = sets[0];
    let width = known.features.width;
    if known.name == Modality::Category.name() {
        let why = "each data set has categories of its own";
        return Err(Error::Usage(format!(
            "model.features: found category; expected text, image or price, since {why}"
        )));
    }
    if let Some((other, of)) = sets.iter().find(|(_, of)| of.features.width != width) {
        let (kind, wide) = (known.name, of.features.width);
        return Err(Error::Usage(format!(
            "data.auxiliary: embeddings of {kind} are {width} wide in {first} and {wide} in {other}; expected those of one encoder"
        )));
    }
    let half = sets.iter().all(|(_, of)| of.features.half);
    // Row 0 of the first is everybody's padding.
    let own = |(number, of): (usize, &Known)| (number > 0) as usize * width..of.features.rows * width;
    let sets = || sets.iter().map(|(_, of)| *of).enumerate();
    let words: Vec<u32> = match half {
        true => {
            let all: Vec<u16> = sets().flat_map(|set| halves(set.1)[own(set)].to_vec()).collect();
            let pair = |two: &[u16]| two[0] as u32 | (two.get(1).copied().unwrap_or(0) as u32) << 16;
            all.chunks(2).map(pair).collect()
        }
        false => sets().flat_map(|set| set.1.floats()[own(set)].to_vec()).map(f32::to_bits).collect(),
    };
    let missing = sets().flat_map(|(number, of)| lent(&of.missing)[(number > 0) as usize..].to_vec());
    let missing: Vec<u32> = missing.collect();
    // Of as many rows as each has, row by row.
    let (squares, rows) = sets().fold((0.0, 0.0), |(squares, rows), (_, of)| {
        let there = lent(&of.missing).iter().filter(|missing| **missing == 0).count() as f64;
        (squares + there * of.length * of.length, rows + there)
    });
    let features = Packed { rows: missing.len(), width, half };
    let (words, missing): (Words, Words) = (Arc::new(words), Arc::new(missing));
    let length = (squares / f64::max(rows, 1.0)).sqrt();
    Ok(Known { name: known.name, features, words: Some(words), missing: Some(missing), length })
}

fn lent(words: &Option<Words>) -> &[u32] {
    words.as_ref().map_or(&[], |words| (**words).as_ref())
}

/// The features of a kind of halves, row after row; more may follow.
fn halves(known: &Known) -> &[u16] {
    bytemuck::cast_slice(lent(&known.words))
}

/// Whether each row has the kind.
pub fn present(known: &Known) -> Vec<bool> {
    lent(&known.missing).iter().map(|missing| *missing == 0).collect()
}

/// Items times categories: a gigabyte of numbers that are 0 or 1.
const MOST_CATEGORIES: usize = 1 << 28;

/// Row 0 is padding, of which nothing is known.
fn words_of(missing: impl Iterator<Item = bool>) -> Vec<u32> {
    missing.map(|missing| missing as u32).collect()
}

fn known(feature: Modality, features: Packed, words: Words, missing: Vec<u32>) -> Known {
    let length = features.length((*words).as_ref());
    Known { name: feature.name(), features, words: Some(words), missing: Some(Arc::new(missing)), length }
}

/// None where nothing gives the items such vectors.
fn vectors(
    feature: Modality,
    config: &DataConfig,
    data: &Dataset,
    world: Option<&Domain>,
) -> Result<Option<(Known, About)>> {
    let Some(vectors) = config.item_vectors(feature, data, world)? else { return Ok(None) };
    let coverage = vectors.coverage();
    let (rows, width, half) = (vectors.missing.len(), vectors.width, vectors.is_half());
    let about = About {
        set: None,
        feature,
        width,
        items: coverage.present(),
        missing: coverage.missing,
        scale: None,
        sha256: vectors.hash.clone(),
    };
    let missing = words_of(vectors.missing.iter().copied());
    let features = Packed { rows, width, half };
    Ok(Some((known(feature, features, Arc::new(vectors), missing), about)))
}

/// A column for each category, 1 where an item has it.
fn categories(config: &DataConfig, data: &Dataset, world: Option<&Domain>) -> Result<(Known, About)> {
    let feature = Modality::Category;
    let categories = config.item_categories(data, world)?.ok_or_else(|| feature.absent())?;
    let (rows, width) = (data.items() + 1, categories.count);
    if rows * width > MOST_CATEGORIES {
        return Err(Error::Usage(format!(
            "model.features: found category, with {width} categories of {} items; expected at most {MOST_CATEGORIES} for items \
             times categories",
            rows - 1
        )));
    }
    let mut words = vec![0u32; rows * width];
    for item in 1..rows as u32 {
        for &category in categories.of_item(item) {
            words[item as usize * width + category as usize] = 1f32.to_bits();
        }
    }
    let missing = words_of((0..rows as u32).map(|item| categories.of_item(item).is_empty()));
    let lacking = missing[1..].iter().sum::<u32>() as usize;
    let about = About {
        set: None,
        feature,
        width,
        items: rows - 1 - lacking,
        missing: lacking,
        scale: None,
        sha256: hex(&Sha256::digest(bytemuck::cast_slice::<u32, u8>(&words))),
    };
    Ok((known(feature, Packed { rows, width, half: false }, Arc::new(words), missing), about))
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
        set: None,
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
