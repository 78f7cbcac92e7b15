//! Reference values of encoders: each file lies next to the folder of a model, in Hugging Face's form.

use crate::golden::{self, Fixture};
use libtest_mimic::Failed;
use std::path::PathBuf;
use wgrec::device::Device;
use wgrec::encoders::{Pooling, TextEncoder, TextOptions, Tokenized};
use wgrec::tensor::Tensor;

/// The folder of a fixture's model.
fn folder(f: &Fixture) -> Result<PathBuf, Failed> {
    let name = f.meta["folder"].as_str().ok_or("meta names no folder")?;
    Ok(golden::folder().join(name))
}

/// BERT from texts and from ids with types, by each pooling, as flags or the folder's own files ask for it.
pub fn bert(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let folder = folder(f)?;
    let wanted: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("texts.json"))?)?;
    let texts: Vec<&str> =
        wanted["texts"].as_array().ok_or("no texts")?.iter().filter_map(|text| text.as_str()).collect();
    let raw = rows(f)?;
    let poolings = [("mean", Pooling::Mean, false), ("mean_norm", Pooling::Mean, true), ("cls", Pooling::Cls, false)];
    for (name, pooling, normalize) in poolings {
        let options = TextOptions { pooling: Some(pooling), normalize: Some(normalize), ..TextOptions::default() };
        let mut encoder = TextEncoder::open(&folder, device.clone(), options)?;
        let tokens = encoder.tokens(&texts)?;
        let ids: Vec<&Vec<u32>> = tokens.iter().map(|text| &text.ids).collect();
        if serde_json::json!(ids) != wanted["ids"] {
            return Err(format!("got the tokens {ids:?}").into());
        }
        f.judge(&format!("out.{name}"), &encoded(&mut encoder, &tokens)?)?;
        f.judge(&format!("out.raw_{name}"), &encoded(&mut encoder, &raw)?)?;
    }
    // sentence-transformers' files ask for the normalised mean; without them it is the mean.
    let mut encoder = TextEncoder::open(&folder, device.clone(), TextOptions::default())?;
    let name = if folder.join("modules.json").is_file() { "out.mean_norm" } else { "out.mean" };
    let tokens = encoder.tokens(&texts)?;
    f.judge(name, &encoded(&mut encoder, &tokens)?)?;
    Ok(())
}

/// The rows of ids that are given with types.
fn rows(f: &Fixture) -> Result<Vec<Tokenized>, Failed> {
    let [_, len] = f.dims("in.raw_ids")?;
    let [ids, types, mask] = [f.ids("in.raw_ids")?, f.ids("in.raw_types")?, f.ids("in.raw_mask")?];
    let rows = mask.as_u32().chunks(len).enumerate().map(|(row, mask)| {
        let kept = row * len..row * len + mask.iter().filter(|&&kept| kept != 0).count();
        Tokenized { ids: ids.as_u32()[kept.clone()].to_vec(), types: types.as_u32()[kept].to_vec() }
    });
    Ok(rows.collect())
}

/// The vectors of texts, all in one batch.
fn encoded(encoder: &mut TextEncoder, texts: &[Tokenized]) -> Result<Tensor, Failed> {
    let vectors = encoder.encode(&texts.iter().collect::<Vec<_>>())?.concat();
    Ok(Tensor::f32([texts.len(), encoder.width()], vectors))
}
