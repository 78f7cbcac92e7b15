//! Reference values of models on items with text, image and price: NOVA, SASRec on a linear tower (SASRec++), FDSA,
//! UniSRec's losses.

use crate::golden::{Fixture, inputs};
use crate::golden_tower::{known, number};
use libtest_mimic::Failed;
use std::collections::BTreeMap;
use wgrec::data::BatchSpec;
use wgrec::data::items::Modality;
use wgrec::device::{Device, RunOptions};
use wgrec::graph::plan::Options;
use wgrec::graph::{Graph, Var};
use wgrec::models::cosine::Cosine;
use wgrec::models::items::Missing;
use wgrec::models::loss::Scored;
use wgrec::models::loss::contrast;
use wgrec::models::sasrec::{Parts, Positions, SasRec};
use wgrec::models::{Batch, Candidates, ItemSettings, Loss, LossConfig, LossKind, Model, Output, Task, fdsa, nova};
use wgrec::nn::encoder::{Encoder, Norm};
use wgrec::nn::{Init, Params, Tower};
use wgrec::tensor::Tensor;

/// A parameter of ours, and where theirs has it: columns of a matrix \[out, columns\], the first being `at`.
pub struct Piece {
    /// The array `p.THEIRS`; or one that begins with `in.`, which is frozen.
    pub theirs: String,
    pub ours: String,
    pub at: usize,
    /// Elements of ours before those that they have.
    pub before: usize,
    /// Ours is \[in, out\].
    pub transposed: bool,
}

impl Piece {
    pub fn new(theirs: impl Into<String>, ours: impl Into<String>) -> Piece {
        Piece { theirs: theirs.into(), ours: ours.into(), at: 0, before: 0, transposed: false }
    }

    /// Where its values are.
    fn values(&self) -> String {
        if self.is_frozen() { self.theirs.clone() } else { format!("p.{}", self.theirs) }
    }

    fn is_frozen(&self) -> bool {
        self.theirs.starts_with("in.")
    }

    /// For each element of ours, but those before theirs, its place in theirs, of these shapes.
    fn places(&self, ours: &[usize], theirs: &[usize]) -> Vec<usize> {
        let [width, columns] = [ours, theirs].map(|shape| *shape.last().expect("parameters have axes"));
        let place = |e: usize| {
            let (row, column) = (e / width, e % width);
            let (out, input) = if self.transposed { (column, row) } else { (row, column) };
            out * columns + self.at + input
        };
        (0..ours.iter().product::<usize>() - self.before).map(place).collect()
    }
}

/// Linear maps and norms, theirs and ours, in front of which these names stand.
pub fn block(theirs: &str, ours: &str, norms: &[(&str, &str)]) -> Vec<Piece> {
    let parts = [("q", "attention.query"), ("k", "attention.key"), ("v", "attention.value"), ("o", "attention.output")];
    let maps = parts.into_iter().chain([("1", "feed_forward.0"), ("2", "feed_forward.1")]);
    let maps = maps.flat_map(|(short, long)| [("w", "weight"), ("b", "bias")].map(|of| (short, long, of)));
    let maps =
        maps.map(|(short, long, (t, o))| Piece::new(format!("{theirs}.{t}{short}"), format!("{ours}.{long}.{o}")));
    maps.chain(norms.iter().flat_map(|(short, long)| norm(&format!("{theirs}.{short}"), &format!("{ours}.{long}"))))
        .collect()
}

pub fn norm(theirs: &str, ours: &str) -> [Piece; 2] {
    [("g", "gain"), ("b", "bias")].map(|(t, o)| Piece::new(format!("{theirs}.{t}"), format!("{ours}.{o}")))
}

pub const POST: [(&str, &str); 2] = [("ln1", "attention_norm"), ("ln2", "feed_forward_norm")];

/// What the file knows of items, and the tower over it; `own`: items have vectors of their own.
fn tower(f: &Fixture, own: bool) -> Result<Tower, Failed> {
    let given = |kind: &Modality| f.has(&format!("in.{}", kind.name()));
    let features: Vec<Modality> = Modality::ALL.into_iter().filter(given).collect();
    let of = |kind: &Modality| Ok::<_, Failed>(known(kind.name(), &f.get(&format!("in.{}", kind.name()))?, None));
    let known = features.iter().map(of).collect::<Result<Vec<_>, _>>()?;
    let (items, missing) = (known[0].features.rows - 1, Missing::Zeros);
    let settings =
        ItemSettings { features, own_embedding: own, missing, feature_dropout: 0.0, ..ItemSettings::default() };
    Ok(settings.tower(&known, items)?.expect("features are named"))
}

/// The columns of `wfuse` after the first `at`: a map of each kind.
fn fused(f: &Fixture, mut at: usize) -> Result<Vec<Piece>, Failed> {
    let mut pieces = vec![Piece::new("bfuse", "tower.bias")];
    for kind in Modality::ALL.map(Modality::name) {
        let ours = format!("tower.{kind}.weight");
        pieces.push(Piece { at, transposed: true, ..Piece::new("wfuse", ours) });
        at += f.dims::<2>(&format!("in.{kind}"))?[1];
    }
    Ok(pieces)
}

/// The cosine of users and items over the temperature: a model's own part is `model.0`.
fn cosines(f: &Fixture, device: &Device, model: &Cosine, table: &str, pieces: &[Piece]) -> Result<(), Failed> {
    let items = model.item_table(&Graph::new()).shape()[0] - 1;
    let temperature = number(f, "in.tau")?;
    judge(f, device, model, pieces, &|g, batch| {
        let output = model.output(g).expect("cosines are products");
        let (rows, user) = (model.user(g, &batch.history), model.0.user(g, &batch.history));
        let config = LossConfig { temperature, ..LossConfig::default() };
        let loss = Loss { kind: LossKind::Softmax, config, ..Loss::default() }.of_products(rows, &output, batch);
        let ids = g.constant(Tensor::u32([items], (1..=items as u32).collect()));
        vec![
            (table.to_string(), model.item_table(g)),
            ("hidden".into(), model.0.positions(g, &batch.history)),
            ("user".into(), user),
            ("scores".into(), model.scores(g, rows, Candidates::Shared(ids))),
            ("loss".into(), loss),
        ]
    })
}

pub fn nova(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let ([rows, dim], [_, max_len], [inner, _]) = (f.dims("p.item")?, f.dims("in.ids")?, f.dims("p.l0.w1")?);
    let [layers, heads] = [number(f, "in.L")? as usize, number(f, "in.H")? as usize];
    let (dropout, positions) = (0.0, Positions::Last);
    let settings = nova::Settings { dim, layers, heads, inner: Some(inner), dropout, positions };
    let task = Task { items: rows - 1, max_len, tower: Some(tower(f, true)?), ..Task::default() };
    let model = Cosine(Box::new(nova::Nova::new(&settings, &task)?));
    let mut pieces = fused(f, dim)?;
    pieces.extend([
        Piece::new("wfuse", "tower.own.weight"),
        Piece::new("item", Tower::ITEMS),
        Piece::new("pos", "position_embedding"),
    ]);
    let norms = [("lnk", "key_norm"), ("lnv", "value_norm"), ("lnf", "feed_forward_norm")];
    pieces.extend((0..layers).flat_map(|l| block(&format!("l{l}"), &format!("encoder.{l}"), &norms)));
    cosines(f, device, &model, "fused", &pieces)
}

pub fn sasrecpp(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let ([max_len, dim], [rows, _], [inner, _]) = (f.dims("p.pos")?, f.dims("in.text")?, f.dims("p.l0.w1")?);
    let [layers, heads] = [number(f, "in.L")? as usize, number(f, "in.H")? as usize];
    let encoder = Encoder::new(Norm::Post, true, (dim, layers, heads), Some(inner), 0.0)?;
    let encoder = Encoder { eps: number(f, "in.eps")?, ..encoder };
    let (items, positions) = (rows - 1, Positions::Last);
    let parts = Parts { items, max_len, encoder, positions, behaviours: 0, hides: false };
    let model = Cosine(Box::new(SasRec::new(parts, Params::with_tower(Some(tower(f, false)?)))));
    let mut pieces = fused(f, 0)?;
    pieces.push(Piece::new("pos", "position_embedding"));
    pieces.extend(norm("ln0", "encoder.embedding_norm"));
    pieces.extend((0..layers).flat_map(|l| block(&format!("l{l}"), &format!("encoder.{l}"), &POST)));
    cosines(f, device, &model, "item", &pieces)
}

pub fn fdsa(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let ([rows, dim], [b, max_len]) = (f.dims("p.item")?, f.dims("in.ids")?);
    let ([inner, _], [attention, _]) = (f.dims("p.i.l0.w1")?, f.dims("p.att.w1")?);
    let [layers, heads] = [number(f, "in.L")? as usize, number(f, "in.H")? as usize];
    let (inner, attention_dim, dropout, positions) = (Some(inner), Some(attention), 0.0, Positions::Last);
    let settings = fdsa::Settings { dim, layers, heads, inner, attention_dim, dropout, positions };
    let task = Task { items: rows - 1, max_len, tower: Some(tower(f, true)?), ..Task::default() };
    let model = fdsa::Fdsa::new(&settings, &task)?;
    let mut pieces = vec![
        Piece::new("item", "item_embedding"),
        Piece::new("pos", "position_embedding"),
        Piece::new("att.w1", "features.attention.0.weight"),
        Piece::new("att.b1", "features.attention.0.bias"),
        Piece::new("att.w2", "features.attention.1.weight"),
        Piece::new("cat.w", "output.weight"),
        Piece::new("cat.b", "output.bias"),
    ];
    for kind in ["text", "image"] {
        let weight = Piece::new(format!("ad_{kind}.w"), format!("tower.{kind}.weight"));
        pieces.push(Piece { transposed: true, ..weight });
        pieces.push(Piece::new(format!("ad_{kind}.b"), format!("features.{kind}.bias")));
    }
    pieces.extend(norm("ln", "norm"));
    for l in 0..layers {
        pieces.extend(block(&format!("i.l{l}"), &format!("encoder.{l}"), &POST));
        pieces.extend(block(&format!("f.l{l}"), &format!("features.encoder.{l}"), &POST));
    }
    judge(f, device, &model, &pieces, &|g, batch| {
        // The reference takes padding for an item like any other.
        let output = Output { classes: 0..rows, ..model.output(g).expect("scores are dot products") };
        let (user, history) = (model.user(g, &batch.history), batch.history.items);
        let loss = Loss { kind: LossKind::Softmax, ..Loss::default() }.of_products(user, &output, batch);
        let features = model.features(g).expect("some are given");
        let weights = features.weights.expect("there are two kinds");
        let last = model.positions(g, &batch.history);
        vec![
            ("feature".into(), features.vectors.gather(history)),
            ("weight".into(), weights.gather(history).reshape([b, max_len, 2])),
            ("user".into(), user),
            ("user".into(), batch.history.most_recent(last)),
            ("logits".into(), user.matmul_t(model.item_table(g))),
            ("loss".into(), loss),
        ]
    })
}

/// UniSRec's two contrasts, of given sequences, changed ones and items of targets.
pub fn unisrec(f: &Fixture, device: &Device) -> Result<(), Failed> {
    let [b, dim] = f.dims("p.h")?;
    let temperature = number(f, "in.tau")?;
    let mut params = Params::new();
    ["h", "h_aug", "v"].iter().for_each(|name| params.add(name, [b, dim], Init::Constant(0.0)));
    let g = Graph::new();
    let batch = Batch::of(inputs(&g, &BatchSpec { batch: b, max_len: 1, negatives: None, ..BatchSpec::default() }));
    let [h, changed, v] = ["h", "h_aug", "v"].map(|name| params.var(&g, name));
    let output = Output { table: v, bias: None, classes: 0..b, cosine: true };
    let rows = g.constant(Tensor::u32([b], (0..b as u32).collect()));
    // The item of each row's target is a row of v.
    let score = |x, candidates| match candidates {
        Candidates::Each(_) => output.scores(x, Candidates::Each(rows)),
        _ => output.scores(x, Candidates::Shared(rows)),
    };
    let scored = Scored { score: &score, output: None, items: b, listed: None };
    let config = LossConfig { temperature, ..LossConfig::default() };
    let h_unit = h / h.square().sum(1).sqrt().reshape([b, 1]);
    let items = Loss { kind: LossKind::InBatch, config, ..Loss::default() }.trace(h_unit, &scored, &batch);
    let sequences = contrast(h, changed, batch.positive, batch.weight, temperature);
    let loss = items + sequences.scale(number(f, "in.lam")?);
    let outputs = [("seq_item".into(), items), ("seq_seq".into(), sequences), ("loss".into(), loss)];
    let pieces = ["h", "h_aug", "v"].map(|name| Piece::new(name, name));
    let given = [("positive", f.ids("in.target")?), ("weight", Tensor::f32([b], vec![1.0; b]))];
    compare(f, device, &params, &pieces, &outputs, &given)
}

/// What is judged of a batch, by the names of the file's outputs: the last one is the loss.
type Judged<'a> = &'a dyn for<'g> Fn(&'g Graph, &Batch<'g>) -> Vec<(String, Var<'g>)>;

fn judge(f: &Fixture, device: &Device, model: &dyn Model, pieces: &[Piece], of: Judged) -> Result<(), Failed> {
    let [b, m] = f.dims("in.ids")?;
    let g = Graph::new();
    let batch = BatchSpec { batch: b, max_len: m, negatives: None, ..BatchSpec::default() };
    let outputs = of(&g, &Batch::of(inputs(&g, &batch)));
    let lengths = f.ids("in.lengths")?;
    let recency = (0..b * m).map(|at| (lengths.as_u32()[at / m] as usize).saturating_sub(at % m) as u32);
    let inputs = [
        ("history", f.ids("in.ids")?),
        ("recency", Tensor::u32([b, m], recency.collect())),
        ("positive", f.ids("in.target")?),
        ("weight", Tensor::f32([b], vec![1.0; b])),
    ];
    compare(f, device, model.params(), pieces, &outputs, &inputs)
}

/// Values of a graph against the outputs of these names, the last of which is the loss, and its gradients.
pub fn compare(
    f: &Fixture,
    device: &Device,
    params: &Params,
    pieces: &[Piece],
    outputs: &[(String, Var)],
    inputs: &[(&str, Tensor)],
) -> Result<(), Failed> {
    let (_, loss) = outputs.last().expect("a loss");
    let g = loss.graph();
    outputs.iter().enumerate().for_each(|(i, (_, var))| g.result(&format!("out.{i}"), *var));
    let trained = || pieces.iter().filter(|piece| !piece.is_frozen());
    let vars: Vec<Var> = trained().map(|piece| params.stored(g, &piece.ours)).collect();
    for (piece, (var, gradient)) in trained().zip(vars.iter().zip(g.gradients(*loss, &vars)?)) {
        g.result(&format!("g.{}", piece.ours), gradient.dense(*var));
    }
    assert_eq!(params.iter().count(), pieces.len(), "every parameter has a reference");

    let mut store = device.store(&params.states())?;
    params.lend_to(device, &mut store)?;
    for piece in pieces {
        let (value, shape) = (f.get(&piece.values())?, params.shape(&piece.ours));
        let theirs = value.to_f64();
        let places = piece.places(&shape, &value.shape).into_iter();
        let ours = vec![0.0; piece.before].into_iter().chain(places.map(|at| theirs[at])).collect();
        params.write(&mut store, &piece.ours, &Tensor::f64(shape, ours))?;
    }
    let plan = device.plan(g, Options::default())?;
    let mut runner = device.compile(&plan, &store, RunOptions::default())?;
    inputs.iter().try_for_each(|(name, value)| runner.write(name, value))?;
    runner.run()?;
    for (i, (name, _)) in outputs.iter().enumerate() {
        f.judge(&format!("out.{name}"), &runner.read(&format!("out.{i}"))?)?;
    }
    let mut gradients: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for piece in trained() {
        let theirs = f.get(&format!("g.{}", piece.theirs))?;
        let own = runner.read(&format!("g.{}", piece.ours))?.to_f64();
        // What no parameter of ours stands for has no gradient.
        let none = |x: &f64| if *x == 0.0 { 0.0 } else { f64::NAN };
        let whole = gradients.entry(&piece.theirs).or_insert_with(|| theirs.to_f64().iter().map(none).collect());
        let places = piece.places(&params.shape(&piece.ours), &theirs.shape);
        let (before, own) = own.split_at(piece.before);
        assert!(before.iter().all(|x| x.abs() < 1e-6), "{}: a gradient where they have nothing", piece.ours);
        places.into_iter().zip(own).for_each(|(at, x)| whole[at] = *x);
    }
    gradients.into_iter().try_for_each(|(theirs, whole)| {
        let name = format!("g.{theirs}");
        f.judge_gradient(&name, &Tensor::f64([whole.len()], whole))
    })
}
