//! Reference values of PCL: prompts on a frozen SASRec, an adapter to classes, the loss of items.

use crate::golden::{Fixture, inputs};
use crate::golden_opponents::{POST, Piece, block, compare, norm};
use crate::golden_tower::number;
use libtest_mimic::Failed;
use wgrec::data::BatchSpec;
use wgrec::device::Device;
use wgrec::graph::Graph;
use wgrec::models::asks::Asks;
use wgrec::models::pcl::{Described, Pcl, Prompts};
use wgrec::models::sasrec::{Parts, Positions, SasRec};
use wgrec::models::tasks::Adapter;
use wgrec::models::{Batch, Loss, LossKind, Model, Output, Padding, Task};
use wgrec::nn::Params;
use wgrec::nn::encoder::{Encoder, Norm};
use wgrec::tensor::{Spec, Tensor};

pub fn prompts(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let ([b, m], [rows, dim]) = (f.dims("in.ids")?, f.dims("in.bb.item")?);
    let ([inner, _], [classes, _], [tasks, _]) = (f.dims("in.bb.l0.w1")?, f.dims("p.head.w")?, f.dims("in.task_emb")?);
    let count = |name: &str| Ok::<_, Failed>(number(f, &format!("in.{name}"))? as usize);
    let (layers, last) = (count("L")?, count("t")?);
    let encoder = Encoder::new(Norm::Post, true, (dim, layers, count("Hb")?), Some(inner), 0.0)?;
    let positions = Positions::All;
    let parts = Parts { items: rows - 1, max_len: m, encoder, positions, behaviours: 0, hides: false };
    let names = (0..tasks).map(|task| task.to_string()).collect();
    let context = Described { task: count("task")?, names, heads: count("H")?, vectors: None, seed: 1 };
    let prompts = Prompts { last, intensity: number(f, "in.lam")?, context: Some(context) };
    let asks = Asks::new(&Task { items: rows - 1, classes, ..Task::default() }, Adapter::Linear);
    let model = Pcl::new(SasRec::new(parts, Params::new()).padded(Padding::Left), Some(prompts), asks);

    let frozen = |theirs: &str, ours: &str| Piece::new(format!("in.bb.{theirs}"), ours);
    let mut pieces = vec![frozen("item", "item_embedding"), frozen("pos", "position_embedding")];
    pieces.extend(norm("in.bb.ln0", "encoder.embedding_norm"));
    pieces.extend((0..layers).flat_map(|l| block(&format!("in.bb.l{l}"), &format!("encoder.{l}"), &POST)));
    pieces.push(Piece::new("in.task_emb", "prompts.tasks"));
    pieces.push(Piece { at: (m - last) * dim, ..Piece::new("prompt", "prompts.positions") });
    for (theirs, ours) in [("wq", "query"), ("wk", "key"), ("wv", "value"), ("wo", "output")] {
        pieces.push(Piece { transposed: true, ..Piece::new(theirs, format!("prompts.attention.{ours}")) });
    }
    // Class 0 is padding, which they do not have.
    pieces.push(Piece { before: dim, ..Piece::new("head.w", "adapter.weight") });
    pieces.push(Piece { before: 1, transposed: true, ..Piece::new("head.b", "adapter.bias") });

    let g = Graph::new();
    let batch = Batch::of(inputs(&g, &BatchSpec { batch: b, max_len: m, negatives: None, ..BatchSpec::default() }));
    let [item, other] = ["item", "other"].map(|name| g.input(name, Spec::u32([b])));
    let output = model.output(&g).expect("classes are scored by products");
    let user = model.user(&g, &batch.history);
    let loss = |kind| Loss { kind, ..Loss::default() };
    let ce = loss(LossKind::Softmax).of_products(user, &output, &batch);
    let items = Output { table: model.item_table(&g), bias: None, classes: 1..rows, cosine: false };
    let of_items = Batch { positive: item, negative: Some(other.reshape([b, 1])), ..batch.clone() };
    let bce = loss(LossKind::Bce).of_products(user, &items, &of_items);
    let logits = user.matmul_t(output.table.slice(0, 1, classes));
    let bias = output.bias.expect("an adapter has one").slice(0, 1, classes).reshape([1, classes]);
    let outputs = [
        ("prompted".to_string(), model.prompted(&g, &batch.history)),
        ("user".into(), user),
        ("logits".into(), logits + bias),
        ("ce".into(), ce),
        ("bce".into(), bce),
        ("loss".into(), ce + bce),
    ];
    let ids = f.ids("in.ids")?;
    // Padded on the left.
    let recency = ids.as_u32().iter().enumerate().map(|(at, &id)| if id == 0 { 0 } else { (m - at % m) as u32 });
    let recency = Tensor::u32([b, m], recency.collect());
    let labels = f.ids("in.label")?.as_u32().iter().map(|label| label + 1).collect();
    let given = [
        ("history", ids),
        ("recency", recency),
        ("positive", Tensor::u32([b], labels)),
        ("weight", Tensor::f32([b], vec![1.0; b])),
        ("item", f.ids("in.pos_item")?),
        ("other", f.ids("in.neg_item")?),
    ];
    compare(f, device, model.params(), &pieces, &outputs, &given)
}
