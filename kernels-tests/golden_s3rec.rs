//! Reference values of S3-Rec's four pre-training losses, in the form of its public code.

use crate::golden::{Fixture, inputs};
use crate::golden_opponents::{POST, Piece, block, compare, norm};
use crate::golden_tower::{known, number};
use libtest_mimic::Failed;
use wgrec::data::BatchSpec;
use wgrec::data::items::Modality;
use wgrec::device::Device;
use wgrec::graph::Graph;
use wgrec::models::loss::Scored;
use wgrec::models::sasrec::attributes::Attributes;
use wgrec::models::sasrec::pretext::{PreTrained, Pretext};
use wgrec::models::sasrec::{Parts, Positions, SasRec};
use wgrec::models::{Batch, History, ItemSettings, Loss, LossKind, Model, Padding};
use wgrec::nn::encoder::{Encoder, Norm};
use wgrec::nn::tower::Known;
use wgrec::nn::{Params, Tower};
use wgrec::tensor::Tensor;

/// The attributes of items: their texts, or what stands at the places where they are.
fn attributes(f: &Fixture, items: usize) -> Result<(Modality, Known), Failed> {
    if f.has("in.text") {
        return Ok((Modality::Text, known("text", &f.get("in.text")?, None)));
    }
    let (places, of_places) = (f.ids("in.pos")?, f.get("in.attributes")?.to_f64());
    let count = of_places.len() / places.shape.elements();
    let mut of_items = vec![0.0; (items + 1) * count];
    for (&item, own) in places.as_u32().iter().zip(of_places.chunks(count)) {
        of_items[item as usize * count..][..count].copy_from_slice(own);
    }
    Ok((Modality::Category, known("category", &Tensor::f64([items + 1, count], of_items), None)))
}

fn tower(f: &Fixture, items: usize) -> Result<Tower, Failed> {
    let (kind, known) = attributes(f, items)?;
    let settings = ItemSettings { features: vec![kind], ..ItemSettings::default() };
    Ok(settings.tower(&[known], items)?.expect("a feature is named"))
}

/// Of windows that are padded on the left.
fn recency(ids: &[u32], m: usize) -> Vec<u32> {
    ids.iter().enumerate().map(|(at, &id)| if id == 0 { 0 } else { (m - at % m) as u32 }).collect()
}

/// s3rec_attr, s3rec_text.
pub fn s3rec(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let ([rows, dim], [b, m], [inner, _]) = (f.dims("p.item")?, f.dims("in.masked")?, f.dims("p.l0.w1")?);
    let (items, [layers, heads]) = (rows - 2, [number(f, "in.L")? as usize, number(f, "in.H")? as usize]);
    let encoder = Encoder::new(Norm::Post, false, (dim, layers, heads), Some(inner), 0.0)?;
    let encoder = Encoder { eps: number(f, "in.eps")?, ..encoder };
    let parts = Parts { items, max_len: m, encoder, positions: Positions::All, behaviours: 0, hides: true };
    let sasrec = || SasRec::new(parts.clone(), Params::new()).padded(Padding::Left);
    let weights = f.get("in.weights")?.to_f64();
    let [aap, mip, map, sp] = weights[..] else { return Err("four weights".into()) };
    let attributes = Attributes::new(Some(&tower(f, items)?), dim, [aap / mip, map / mip], true)?;
    let pretext = Pretext::Mask { hidden_share: 0.4, segment_weight: sp / mip, released: true };
    let model = PreTrained::new(sasrec(), pretext, Some(attributes));

    let spec = BatchSpec {
        batch: b,
        max_len: m,
        padding: Padding::Left,
        samples: model.samples(),
        views: model.views(),
        ..BatchSpec::default()
    };
    let (masked, right, wrong) = (f.ids("in.masked")?, f.ids("in.pos")?, f.ids("in.neg")?);
    let (token, targets) = (number(f, "in.mask_token")? as u32, spec.sizes().targets);
    let mut positions = vec![m as u32; b * targets];
    let [mut positive, mut negative] = [0, 0].map(|id| vec![id; b * targets]);
    for row in 0..b {
        let hidden = (0..m).filter(|i| masked.as_u32()[row * m + i] == token);
        for (slot, i) in hidden.enumerate() {
            let (to, from) = (row * targets + slot, row * m + i);
            (positions[to], positive[to], negative[to]) = (i as u32, right.as_u32()[from], wrong.as_u32()[from]);
        }
    }
    let weight: Vec<f32> = positive.iter().map(|&item| if item == 0 { 0.0 } else { 1.0 }).collect();
    let places: f64 = weight.iter().map(|&weight| weight as f64).sum();
    let views = ["seg_masked", "seg_pos", "seg_neg"].map(|name| f.ids(&format!("in.{name}")));
    let views = views.into_iter().collect::<Result<Vec<_>, _>>()?;
    let views: Vec<u32> = views.iter().flat_map(|view| view.as_u32().to_vec()).collect();

    let g = Graph::new();
    g.train();
    let batch = Batch::of(inputs(&g, &spec));
    let trained = model.trained(&g, &batch);
    let score = |rows, candidates| model.scores(&g, rows, candidates);
    let scored = Scored { score: &score, output: None, items, listed: None };
    let of_items = Loss { kind: LossKind::Bpr, ..Loss::default() }.trace(trained.rows, &scored, &batch);
    let loss = trained.terms.iter().fold(of_items, |loss, term| loss + *term);
    let mut outputs = vec![
        ("hidden".to_string(), sasrec().positions(&g, &History { targets: None, ..batch.history })),
        ("mip".to_string(), of_items.scale(places)),
    ];
    let reported = [("segments", "sp", sp), ("attribute", "aap", aap), ("hidden_attribute", "map", map)];
    for (ours, theirs, weight) in reported {
        let (_, term) = trained.reported.iter().find(|(name, _)| name == ours).ok_or("a term is missing")?;
        outputs.push((theirs.to_string(), term.scale(places * mip / weight)));
    }
    outputs.push(("loss".to_string(), loss.scale(places * mip)));

    let mut pieces = vec![Piece::new("item", "item_embedding"), Piece::new("pos", "position_embedding")];
    pieces.extend(norm("ln0", "encoder.embedding_norm"));
    pieces.extend((0..layers).flat_map(|l| block(&format!("l{l}"), &format!("encoder.{l}"), &POST)));
    for (theirs, ours) in [("aap", "attribute"), ("mip", "item"), ("map", "hidden_attribute"), ("sp", "segment")] {
        let maps = [("w", "weight"), ("b", "bias")];
        pieces.extend(maps.map(|(t, o)| Piece::new(format!("{theirs}.{t}"), format!("pretext.{ours}.{o}"))));
    }
    match f.has("in.text") {
        true => pieces.extend([
            Piece { transposed: true, ..Piece::new("ad.w", "tower.text.weight") },
            Piece::new("ad.b", "features.text.bias"),
        ]),
        false => pieces.push(Piece::new("attr", "tower.category.weight")),
    }
    let of_rows = |values: Vec<u32>| Tensor::u32([values.len()], values);
    let inputs = [
        ("recency", of_rows(recency(masked.as_u32(), m))),
        ("history", masked),
        ("positions", of_rows(positions)),
        ("positive", of_rows(positive)),
        ("negative", of_rows(negative)),
        ("weight", Tensor::f32([weight.len()], weight)),
        ("views.recency", of_rows(recency(&views, m))),
        ("views.history", of_rows(views)),
    ];
    compare(f, device, model.params(), &pieces, &outputs, &inputs)
}
