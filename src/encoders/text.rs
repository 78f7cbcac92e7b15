//! Texts as vectors: the tokenizer, BERT and the pooling of one folder, on a device.

use super::{Bert, Done, DropWords, Folder, Job, Numbers, Pooling, Sentence, Tokenized, Tokens, wrong};
use crate::data::dataset::hex;
use crate::device::{Device, RunOptions, Runner, Store};
use crate::error::Result;
use crate::graph::plan::{Options, Plan};
use crate::graph::{Graph, Var};
use crate::tensor::Spec;
use crate::text::counted;
use serde_json::{Map, json};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

/// What is asked of an encoder; what is not given is taken from the folder.
#[derive(Clone, Copy, Debug, Default)]
pub struct TextOptions {
    pub pooling: Option<Pooling>,
    pub normalize: Option<bool>,
    /// Tokens of a text at most, special ones among them.
    pub max_length: Option<usize>,
    /// Texts of a batch; by default as many as have [`TextEncoder::TOKENS`] tokens.
    pub batch: Option<usize>,
    /// Words that are dropped from the texts of items.
    pub drop_words: Option<DropWords>,
}

/// An encoder whose parameters lie on a device.
pub struct TextEncoder {
    pub pooling: Pooling,
    pub normalize: bool,
    /// Tokens of a text at most.
    pub max_length: usize,
    bert: Bert,
    tokens: Tokens,
    lowercase: bool,
    batch: Option<usize>,
    drop_words: Option<DropWords>,
    name: String,
    hash: String,
    device: Device,
    store: Store,
    /// The plan in use, for batches of this many texts of this length.
    compiled: Option<([usize; 2], Runner)>,
    /// Tokens encoded so far, padding not among them, and the time that it took.
    pub encoded: (usize, Duration),
}

impl TextEncoder {
    /// Tokens of a batch by default, padding among them.
    pub const TOKENS: usize = 4096;

    /// Tokens that a CPU takes through all blocks at once. Products of more rows are cut.
    const TILE: usize = 128;

    /// Opens a folder, and loads its parameters.
    ///
    /// # Errors
    /// Those of [`Folder::open`], [`Bert::open`], [`Sentence::read`] and [`Tokens::open`]; a length that the model has not; a
    /// device that cannot hold it.
    pub fn open(path: &Path, device: Device, options: TextOptions) -> Result<TextEncoder> {
        let sentence =
            if path.is_dir() { Sentence::read(path)? } else { Sentence { model: path.into(), ..Sentence::default() } };
        let folder = Folder::open(&sentence.model)?;
        let bert = Bert::open(&folder)?;
        let max_length = match options.max_length {
            Some(given) if given > bert.positions => {
                let found = format!("{} positions", bert.positions);
                return Err(wrong(&sentence.model, found, format!("at least the {given} that are asked for")));
            }
            given => given.or(sentence.max_length).unwrap_or(bert.positions).min(bert.positions),
        };
        let tokens = Tokens::open(&sentence.model, sentence.lowercase, max_length, [bert.vocabulary, bert.types])?;
        let mut store = device.store(&bert.params.states())?;
        bert.load(&folder, &mut store)?;
        Ok(TextEncoder {
            pooling: options.pooling.or(sentence.pooling).unwrap_or(Pooling::Mean),
            normalize: options.normalize.unwrap_or(sentence.normalize),
            max_length,
            tokens,
            lowercase: sentence.lowercase,
            batch: options.batch,
            drop_words: options.drop_words,
            name: folder.name(),
            hash: folder.hash(&[sentence.model.join("tokenizer.json")])?,
            bert,
            device,
            store,
            compiled: None,
            encoded: (0, Duration::ZERO),
        })
    }

    /// The folder's name, the model, and how its hidden states become a vector, for people.
    pub fn describe(&self) -> String {
        let pooling = match self.pooling {
            Pooling::Cls => "the first token",
            Pooling::Mean => "the mean of all tokens",
        };
        let (blocks, normalized) =
            (counted(self.bert.blocks(), "block"), if self.normalize { ", normalised" } else { "" });
        let (name, width, most) = (&self.name, self.width(), self.max_length);
        format!("{name}: BERT, {blocks}, {width} wide; {pooling}{normalized}; at most {most} tokens")
    }

    /// The numbers of a vector.
    pub fn width(&self) -> usize {
        self.bert.width
    }

    /// The tokens of texts, cut off at the longest length.
    ///
    /// # Errors
    /// Those of [`Tokens::of`].
    pub fn tokens(&self, texts: &[&str]) -> Result<Vec<Tokenized>> {
        self.tokens.of(texts)
    }

    /// The length that a text of `length` tokens is padded to. It depends on nothing else, so that a vector does not depend on
    /// what else is encoded.
    fn padded(&self, length: usize) -> usize {
        const STEP: usize = 8;
        length.next_multiple_of(STEP).min(self.max_length)
    }

    /// Texts of this padded length that a CPU takes at once. Plans have a multiple of it, so that each product has as many rows in
    /// any batch, and the same bits.
    fn tile(length: usize) -> usize {
        (TextEncoder::TILE / length).max(1)
    }

    /// All texts in batches of one padded length, longest first: the first plan is the largest, and the others lie in its
    /// memory.
    pub fn batches(&self, texts: &[Tokenized]) -> Vec<Vec<u32>> {
        let length = |text: &u32| self.padded(texts[*text as usize].ids.len());
        let mut order: Vec<u32> = (0..texts.len() as u32).collect();
        order.sort_by_key(|text| std::cmp::Reverse(length(text)));
        let of_length = order.chunk_by(|a, b| length(a) == length(b));
        let batches = of_length.flat_map(|texts| {
            let batch = self.batch.unwrap_or(TextEncoder::TOKENS / length(&texts[0]));
            texts.chunks(batch.max(1)).map(<[u32]>::to_vec)
        });
        batches.collect()
    }

    /// The vectors of a batch of texts.
    ///
    /// # Errors
    /// A device that cannot hold the plan, or fails.
    pub fn encode(&mut self, batch: &[&Tokenized]) -> Result<Vec<Vec<f32>>> {
        let start = Instant::now();
        let length = batch.iter().map(|text| self.padded(text.ids.len())).max().unwrap_or(0);
        let shape @ [rows, _] = [batch.len().next_multiple_of(TextEncoder::tile(length.max(1))), length];
        let mut runner = match self.compiled.take() {
            Some((compiled, runner)) if compiled == shape => runner,
            _ => self.device.compile(&self.plan(shape)?, &self.store, RunOptions::default())?,
        };
        let [mut ids, mut types, mut mask] = [(); 3].map(|()| vec![0; rows * length]);
        for (row, text) in batch.iter().enumerate() {
            let at = row * length..row * length + text.ids.len();
            ids[at.clone()].copy_from_slice(&text.ids);
            types[at.clone()].copy_from_slice(&text.types);
            mask[at].fill(1);
        }
        // What no text fills has one token: a mean over none would be no number.
        (batch.len()..rows).for_each(|row| mask[row * length] = 1);
        for (name, values) in [("ids", &ids), ("types", &types), ("mask", &mask)] {
            runner.write_u32(name, values)?;
        }
        runner.run()?;
        let vectors = runner.read("vectors")?.to_f32();
        self.compiled = Some((shape, runner));
        self.encoded.0 += batch.iter().map(|text| text.ids.len()).sum::<usize>();
        self.encoded.1 += start.elapsed();
        Ok(vectors.chunks(self.width()).take(batch.len()).map(<[f32]>::to_vec).collect())
    }

    /// The plan for batches of `rows` texts of `length` tokens.
    ///
    /// # Errors
    /// Those of [`Device::plan`].
    pub fn plan(&self, [rows, length]: [usize; 2]) -> Result<Plan> {
        let g = Graph::new();
        let [ids, types, mask] = ["ids", "types", "mask"].map(|name| g.input(name, Spec::u32([rows, length])));
        let vectors = match self.pooling {
            Pooling::Cls => self.bert.first(&g, ids, types, mask),
            Pooling::Mean => mean(self.bert.hidden(&g, ids, types, mask), mask),
        };
        g.result("vectors", if self.normalize { normalized(vectors) } else { vectors });
        self.device.plan(&g, Options { tile: TextEncoder::tile(length), ..Options::default() })
    }

    /// Writes the vectors of items' texts to `output`, in the form of [`Job`]; an item without a text, or with one of blanks, is missing.
    /// Equal texts are encoded once. `progress` is told the tokens of each batch that is done, and how many there are.
    ///
    /// # Errors
    /// Those of [`TextEncoder::tokens`], [`TextEncoder::encode`] and [`Job::run`].
    pub fn write(
        &mut self,
        ids: &[String],
        texts: &[Option<String>],
        (output, numbers): (&Path, Numbers),
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Done> {
        let given = ids.iter().zip(texts).filter_map(|(id, text)| Some((id, text.as_deref()?)));
        let given = given.filter(|(_, text)| !text.trim().is_empty()).map(|(id, text)| match self.drop_words {
            Some(words) => Cow::from(words.of(id, text)),
            None => Cow::from(text),
        });
        let given: Vec<Cow<str>> = given.collect();
        let mut tokens = self.tokens(&given.iter().map(|text| &**text).collect::<Vec<_>>())?.into_iter();
        let (mut distinct, mut known) = (vec![], HashMap::new());
        let inputs = texts.iter().map(|text| match text {
            Some(text) if !text.trim().is_empty() => {
                let tokens = tokens.next().expect("tokens of each text");
                let next = distinct.len() as u32;
                let input = *known.entry(tokens.clone()).or_insert(next);
                if input == next {
                    distinct.push(tokens);
                }
                vec![input]
            }
            _ => vec![],
        });
        let inputs: Vec<Vec<u32>> = inputs.collect();
        let batches = self.batches(&distinct);
        let hash = hex(&Sha256::digest(serde_json::to_vec(&distinct).expect("plain data")));
        let device = match &self.device {
            // Its number of threads changes no bit.
            Device::Cpu(_) => "cpu".to_string(),
            gpu => gpu.describe(),
        };
        let mut about = Map::from_iter([
            ("encoder".to_string(), json!({"name": self.name, "sha256": self.hash})),
            ("pooling".to_string(), json!(self.pooling)),
            ("normalize".to_string(), self.normalize.into()),
            ("max_length".to_string(), self.max_length.into()),
            ("lowercase".to_string(), self.lowercase.into()),
            ("device".to_string(), device.into()),
            ("texts".to_string(), json!({"distinct": distinct.len(), "sha256": hash})),
        ]);
        if let Some(DropWords { share, seed }) = self.drop_words {
            about.insert("drop_words".to_string(), json!({"share": share, "seed": seed}));
        }
        let (name, width) = ("text", self.width());
        let job = Job { output, name, numbers, width, about, ids, inputs: &inputs, batches: &batches };
        let mut encode = |batch: &[u32]| {
            let texts: Vec<&Tokenized> = batch.iter().map(|&text| &distinct[text as usize]).collect();
            Ok(self.encode(&texts)?.into_iter().map(Some).collect())
        };
        let tokens = |batch: &[u32]| batch.iter().map(|&text| distinct[text as usize].ids.len()).sum::<usize>();
        let all = batches.iter().map(|batch| tokens(batch)).sum();
        job.run(&mut encode, &mut |batch| progress(tokens(batch), all))
    }
}

/// The mean of x \[B, T, d\] over the positions where `mask` \[B, T\] is not 0.
fn mean<'g>(x: Var<'g>, mask: Var<'g>) -> Var<'g> {
    let [b, t] = [mask.shape()[0], mask.shape()[1]];
    let mask = mask.nonzero().reshape([b, t, 1]);
    (x * mask).sum(1) / mask.sum(1)
}

/// The rows of x \[B, d\], each divided by its length.
fn normalized(x: Var) -> Var {
    let length = x.square().sum(1).sqrt().reshape([x.shape()[0], 1]);
    x / length.max(length.constant_like(1e-12))
}
