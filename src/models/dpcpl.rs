//! DPCPL: Wang, Han et al., "Denoising pre-training and customized prompt learning for efficient multi-behavior sequential
//! recommendation". A network is trained on the earlier events of all behaviours; on the later ones, of a target behaviour, only
//! tokens in front of the history are, which a small network makes of what is known of the user.
//!
//! | of the paper | function |
//! |---|---|
//! | equation 1, embeddings | `events`, `encode` |
//! | equations 2 and 3, filter layer in blocks; behaviour miner | [`crate::nn::filter`], [`crate::nn::miner`] |
//! | equation 4, next item and next behaviour | [`super::loss`], kind `bpr`; `next_behaviour` |
//! | equation 5, what is known of a user; 6 to 9, factors, gate, tokens | [`prompts`], [`crate::nn::prompt`] |
//! | equations 10 to 13, compactness | [`prompts::compactness`] |
//!
//! | variant | settings |
//! |---|---|
//! | w/o DS, attention instead of the miner | `model.miner = "attention"` |
//! | w/o PS, the same trained tokens for all users | `model.prompt.source = "none"` |
//! | w/o PG, prompts at the first layer only | `model.prompt.progressive = false` |
//! | w/o CT | `model.prompt.compactness = 0` |
//! | full fine-tuning, no prompts | `model.prompt.source = "off"` |
//! | as PPR, tokens from attributes in front of the input | `source = "attributes"`, `progressive = false` |
//! | as DPT, fixed tokens in front of the input | `source = "none"`, `progressive = false` |
//!
//! Left open by the paper, or unclear there:
//! - A filter is a circular convolution over the window, so that each position sees the later ones: only the last position has a
//!   target. Padded positions are set to 0 before every transform, and so are, in a behaviour's stream, the positions of the
//!   others. A behaviour without events of the user gives zeros to the mixer.
//! - The mixer is one linear map of the streams side by side, without a residual; it starts near the one that passes the
//!   whole on. Filter, feed-forward (4 d, GELU) and norms (eps 1e-12) are shared by the streams. Table 1's count of
//!   parameters holds neither this mixer nor this feed-forward.
//! - Every stream has the tokens, since all pass the same layer. A deeper layer's tokens replace those of the layer before; where
//!   only the first layer has some, what became of them stays.
//! - Both terms of equation 4 are -log sigmoid (one has the wrong sign in print). It predicts behaviours too, where there are at
//!   least two; tuning predicts only items. A training without phases is one of the first kind.
//! - q_attr and q_statis are two linear layers with GELU on embeddings of width 16 side by side; q_b are the last states of
//!   one GRU for all behaviours, fed with items and behaviours as equation 1 has them, without positions. Without behaviours
//!   the window is one.
//! - Every average of a single vector (as PPR has) is that vector: there is no gate then, the prompt is the vector, and there
//!   is no compactness.
//! - Adding lambda R, as equation 13 is printed, makes prompts alike, against the paper's own words: lambda R is subtracted
//!   (`minimise`: added). Since the rate grows with norms, rows of E and P have length 1 there (`normalise`). R is a mean
//!   over users. lambda_e is 1, which leaves lambda and lambda_p.
//! - Start values: N(0, .02), biases 0; what makes prompts N(0, 2 / (rows + columns)) (Glorot): five small maps in a row would let
//!   nothing through.
//!
//! What tuning trains is called `prompts.*`; everything else is the same, by name and shape, in both phases.

use super::{Batch, History, Model, Reads, Trained};
use crate::graph::{Graph, Var};
use crate::kernels::bpr::Bpr;
use crate::nn::encoder::{Encoder, Places};
use crate::nn::miner::{Miner, Streams};
use crate::nn::{Init, Params};
use crate::tensor::Tensor;
use prompts::{Prompter, Prompts};
use serde::{Deserialize, Serialize};

pub mod prompts;
mod settings;

pub use settings::{SPEC, Settings};

/// What a block is: the efficient behaviour miner, or attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum MinerKind {
    /// The efficient behaviour miner: filters in frequencies (equations 2 and 3).
    #[default]
    Filter,
    /// Self-attention (row w/o DS).
    Attention,
}

/// A block of the network.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Block {
    Filter(Miner),
    Attention(Encoder),
}

/// The parts of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    pub items: usize,
    /// M, the events of a history that are read.
    pub max_len: usize,
    pub dim: usize,
    pub layers: usize,
    /// Behaviours in use; 0: only items.
    pub behaviours: usize,
    /// Its `streams` are 1, or one more than there are behaviours.
    pub block: Block,
    /// Of the embeddings.
    pub dropout: f64,
    /// Weight of the next behaviour relative to the next item; 0: not predicted.
    pub next_behaviour: f64,
    /// Weight of the prompts' compactness, below 0 as a rule; 0: none.
    pub compactness: f64,
    /// What makes prompts; None: there are none.
    pub prompter: Option<Prompter>,
}

pub struct Dpcpl {
    parts: Parts,
    params: Params,
}

impl Dpcpl {
    /// `params`: as [`super::Task::params`] gives them.
    pub fn new(parts: Parts, mut params: Params) -> Dpcpl {
        let Parts { items, max_len, dim, layers, behaviours, block, .. } = parts;
        let init = Init::Normal(0.02);
        params.add("item_embedding", [items + 1, dim], init);
        params.add("position_embedding", [max_len, dim], init);
        if behaviours > 0 {
            params.add("behaviour_embedding", [behaviours + 1, dim], init);
        }
        for l in 0..layers {
            match block {
                Block::Filter(miner) => miner.declare(l, &mut params, init),
                Block::Attention(encoder) => encoder.declare_block(l, &mut params, init),
            }
        }
        if let Some(prompter) = &parts.prompter {
            prompter.declare(&mut params, init);
        }
        Dpcpl { parts, params }
    }

    fn var<'g>(&self, g: &'g Graph, name: &str) -> Var<'g> {
        self.params.var(g, name)
    }

    /// Items and their behaviours, \[B, M, d\].
    fn events<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        history.add_behaviours(&self.params, self.item_table(g).gather(history.items))
    }

    /// 1 at the events of each behaviour, else 0: \[B, behaviours, M\]. Without behaviours of all: \[B, 1, M\].
    fn own<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        let [b, m] = [history.items.shape()[0], self.parts.max_len];
        let Some(behaviours) = history.behaviours else { return history.items.nonzero().reshape([b, 1, m]) };
        let n = self.parts.behaviours;
        let ids = g.constant(Tensor::u32([1, n, 1], (1..=n as u32).collect()));
        behaviours.reshape([b, 1, m]).equal(ids)
    }

    /// The last `positions` of each history, encoded, of `events` and what is put in front of them: \[B, positions, d\].
    fn encode<'g>(
        &self,
        g: &'g Graph,
        history: &History<'g>,
        events: Var<'g>,
        prompts: &Prompts<'g>,
        positions: usize,
    ) -> Var<'g> {
        let Parts { max_len: m, layers, dropout, .. } = self.parts;
        let mut x = g.scope("embed", || {
            let x = events + self.var(g, "position_embedding");
            if history.training { x.dropout(dropout) } else { x }
        });
        for l in 0..layers {
            if let Some(&tokens) = prompts.tokens.get(l) {
                x = g.concat(1, &[tokens, x]);
            }
            let positions = match l + 1 {
                next if next == layers => positions,
                next if next < prompts.tokens.len() => m,
                _ => x.shape()[1],
            };
            x = g.scope(&format!("encoder.{l}"), || self.block(g, l, x, history, positions));
        }
        x
    }

    /// Block `l` over tokens and events x \[B, T, d\], of the last `positions` of T.
    fn block<'g>(&self, g: &'g Graph, l: usize, x: Var<'g>, history: &History<'g>, positions: usize) -> Var<'g> {
        let [b, t, m] = [x.shape()[0], x.shape()[1], self.parts.max_len];
        let dropout = |p: f64| if history.training { p } else { 0.0 };
        match self.parts.block {
            Block::Filter(miner) => {
                let s = miner.streams;
                let whole = history.items.nonzero().reshape([b, 1, m]);
                let member = if s > 1 { g.concat(1, &[whole, self.own(g, history)]) } else { whole };
                let used = member.max_over(2).reshape([b, s, 1, 1]);
                let member = match t - m {
                    0 => member,
                    tokens => g.concat(2, &[g.scalar(1.0).expand([b, s, tokens]), member]),
                };
                let streams = Streams { member: member.reshape([b, s, t, 1]), used };
                let miner = Miner { dropout: dropout(miner.dropout), ..miner };
                miner.mine(l, &self.params, g, x, streams, positions)
            }
            Block::Attention(encoder) => {
                let keep = match t - m {
                    0 => history.items,
                    n => g.concat(1, &[g.constant(Tensor::u32([b, n], vec![1; b * n])), history.items]),
                };
                let last = |x: Var<'g>| if positions == t { x } else { x.slice(1, t - positions, positions) };
                let encoder = Encoder { dropout: dropout(encoder.dropout), ..encoder };
                if positions == 1 {
                    return encoder.block(l, Places::Last(&last), &self.params, g, x, keep);
                }
                last(encoder.block(l, Places::All, &self.params, g, x, keep))
            }
        }
    }

    /// Each user's prompts and representation \[B, d\]. An empty history is 0.
    fn users<'g>(&self, g: &'g Graph, history: &History<'g>) -> (Prompts<'g>, Var<'g>) {
        let Parts { max_len, dim, prompter, .. } = &self.parts;
        let events = g.scope("embed", || self.events(g, history));
        let prompts = prompter.as_ref().map_or_else(Prompts::default, |prompter| {
            g.scope("prompts", || prompter.prompts(&self.params, g, history, events, self.own(g, history)))
        });
        let last = self.encode(g, history, events, &prompts, 1);
        let real = history.items.slice(1, max_len - 1, 1).nonzero();
        (prompts, last.reshape([last.shape()[0], *dim]) * real)
    }

    /// The second term of equation 4, a mean over the rows of a batch, where there are behaviours to tell apart.
    fn next_behaviour<'g>(&self, g: &'g Graph, users: Var<'g>, batch: &Batch<'g>) -> Option<Var<'g>> {
        if self.parts.behaviours < 2 {
            return None;
        }
        let table = self.var(g, "behaviour_embedding");
        let score = |column: &str| (users * table.gather(batch.inputs.get(column))).sum(1);
        let [right, other] = ["positive_behaviour", "negative_behaviour"].map(score);
        Some(g.push(Bpr, &[right, other.reshape([other.shape().elements(), 1]), batch.weight]))
    }

    /// Each position of histories, encoded without prompts: \[B, M, d\].
    pub fn hidden<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.encode(g, history, self.events(g, history), &Prompts::default(), self.parts.max_len)
    }
}

impl Model for Dpcpl {
    fn name(&self) -> &'static str {
        "dpcpl"
    }

    fn params(&self) -> &Params {
        &self.params
    }

    fn reads(&self) -> Reads {
        let features = self.parts.prompter.as_ref().map_or(0, Prompter::features);
        Reads { behaviours: self.parts.behaviours > 0, features, ..Reads::default() }
    }

    fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        let t = window + self.parts.prompter.as_ref().map_or(0, Prompter::tokens);
        match self.parts.block {
            Block::Attention(encoder) => encoder.counted(batch, t),
            Block::Filter(Miner { streams, inner, .. }) => {
                let what = "train.batch x streams (1, and 1 a behaviour) x (data.max_len + tokens) x model.inner";
                Some((what, vec![batch, streams, t, inner]))
            }
        }
    }

    fn item_table<'g>(&self, g: &'g Graph) -> Var<'g> {
        self.var(g, "item_embedding")
    }

    fn own_table<'g>(&self, g: &'g Graph, column: &str) -> Option<Var<'g>> {
        (column == "features").then(|| self.var(g, Prompter::FEATURES))
    }

    fn user<'g>(&self, g: &'g Graph, history: &History<'g>) -> Var<'g> {
        self.users(g, history).1
    }

    fn trained<'g>(&self, g: &'g Graph, batch: &Batch<'g>) -> Trained<'g> {
        let (prompts, users) = self.users(g, &batch.history);
        let Parts { next_behaviour, compactness, prompter, .. } = &self.parts;
        let (name, term) = match prompter {
            None if *next_behaviour != 0.0 => {
                let term = || {
                    let term = self.next_behaviour(g, users, batch)?;
                    Some(if *next_behaviour == 1.0 { term } else { term.scale(*next_behaviour) })
                };
                ("next_behaviour", g.scope("next_behaviour", term))
            }
            Some(prompter) => {
                let term = || prompter.compactness(&prompts, batch.weight, *compactness);
                ("compactness", g.scope("compactness", term))
            }
            None => ("", None),
        };
        let (terms, reported) =
            (term.into_iter().collect(), term.map(|term| (name.into(), term)).into_iter().collect());
        Trained { rows: users, terms, reported }
    }
}
