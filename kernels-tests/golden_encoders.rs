//! Reference values of encoders: each file lies next to the folder of a model, in Hugging Face's form.

use crate::golden::{self, Fixture};
use libtest_mimic::Failed;
use std::path::PathBuf;
use wgrec::device::Device;
use wgrec::encoders::pixels::{Pixels, Preprocessor, decode};
use wgrec::encoders::{Folder, Pooling, Swin, TextEncoder, TextOptions, Tokenized};
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

/// Swin from pixels of several sizes, and from image files.
pub fn swin(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let mut swin = Swin::open(&Folder::open(&folder(f)?)?, device)?;
    for size in f.names("in.px_") {
        let pixels = f.get(&format!("in.px_{size}"))?;
        let [_, _, height, width] = f.dims(&format!("in.px_{size}"))?;
        let image = |values: &[f32]| Pixels { size: [height, width], values: values.to_vec() };
        let images: Vec<Pixels> = pixels.to_f32().chunks(3 * height * width).map(image).collect();
        f.judge(&format!("out.mean_{size}"), &tensor(&swin.encode(&images.iter().collect::<Vec<_>>())?))?;
    }
    images(f, &mut swin)
}

/// The vectors of one or more images.
fn tensor(vectors: &[Vec<f32>]) -> Tensor {
    Tensor::f32([vectors.len(), vectors[0].len()], vectors.concat())
}

/// Image files: their bytes as Pillow resizes them, one row of the pixels, and the vectors, of all at once.
fn images(f: &Fixture, swin: &mut Swin) -> Result<(), Failed> {
    let Some(names) = f.meta["images"].as_array() else { return Ok(()) };
    let folder = folder(f)?;
    let preprocessor = Preprocessor::open(&folder)?;
    let mut all = vec![];
    for name in names.iter().filter_map(|name| name.as_str()) {
        let path = folder.join(name);
        let plain = name.replace('.', "_");
        let want = decode::read(&folder.join(format!("resized_{plain}.png")))?;
        let got = preprocessor.bytes(&path)?;
        if got != want {
            let other = got.bytes.iter().zip(&want.bytes).filter(|(got, want)| got != want).count();
            return Err(format!("{name}: {other} of {} bytes are not Pillow's", want.bytes.len()).into());
        }
        let pixels = preprocessor.read(&path)?;
        let [_, width] = pixels.size;
        let middle = pixels.values.chunks(width).skip(pixels.size[0] / 2).step_by(pixels.size[0]);
        let middle: Vec<f32> = middle.flatten().copied().collect();
        f.judge(&format!("out.px_middle_{plain}"), &Tensor::f32([3, width], middle))?;
        all.push((plain, pixels));
    }
    let vectors = swin.encode(&all.iter().map(|(_, pixels)| pixels).collect::<Vec<_>>())?;
    all.iter().zip(&vectors).try_for_each(|((name, _), vector)| {
        f.judge(&format!("out.feature_{name}"), &tensor(std::slice::from_ref(vector)))
    })
}
