//! Transformer blocks over a sequence, in the two arrangements that sequential recommenders use.
//!
//! `pre` is SASRec as published (Kang and McAuley, ICDM 2018): q = norm(x), x = norm(q + attention(q, x, x)), x + feed-forward
//! with ReLU, padded positions set to 0, a norm after the last block. `post` is that of BERT4Rec, RecBole and ANT: a norm of the
//! embeddings, then x = norm(x + attention(x, x, x)), x = norm(x + feed-forward), with GELU.

use super::{Init, Params};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::kernels::attention::Attention;
use crate::kernels::matmul::Activation;

/// Where the norms of a block are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "train", derive(serde::Serialize, serde::Deserialize, schemars::JsonSchema))]
#[cfg_attr(feature = "train", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Norm {
    /// Before attention; ReLU in the feed-forward (SASRec as published).
    #[default]
    Pre,
    /// After attention and after the feed-forward, with GELU in it (BERT4Rec, RecBole).
    Post,
}

/// The activation inside a feed-forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inner {
    Relu,
    Gelu,
    /// GELU with tanh in place of erf.
    GeluTanh,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoder {
    /// What the names of its parameters begin with.
    pub name: &'static str,
    pub norm: Norm,
    pub dim: usize,
    pub layers: usize,
    pub heads: usize,
    /// Width inside the feed-forward.
    pub inner: usize,
    /// Of embeddings, attention weights and the outputs of each half of a block.
    pub dropout: f64,
    /// No position sees a later one.
    pub causal: bool,
    /// Padded positions are attended to as well, as one published implementation has it.
    pub attend_padding: bool,
    /// Inside the feed-forward.
    pub activation: Inner,
    /// Whether a linear map follows the heads of an attention.
    pub output: bool,
    pub eps: f64,
}

impl Encoder {
    /// An encoder with the widths of its publication where `inner` is not given: \[dim\] inside for `pre`, 4 dim for `post`.
    ///
    /// # Errors
    /// Heads that do not divide `dim`, or are wider than attention takes.
    pub fn new(
        norm: Norm,
        causal: bool,
        (dim, layers, heads): (usize, usize, usize),
        inner: Option<usize>,
        dropout: f64,
    ) -> Result<Encoder> {
        let widest = Attention::LARGEST_HEAD;
        if !dim.is_multiple_of(heads) {
            return Err(Error::Usage(format!("model.heads: found {heads}; expected a divisor of model.dim, {dim}")));
        }
        if dim / heads > widest {
            let (head, least) = (dim / heads, dim.div_ceil(widest));
            return Err(Error::Usage(format!(
                "model.heads: found {heads} of width {head}; expected heads of at most {widest}: {least} or more of them"
            )));
        }
        let (usual, activation, eps) = match norm {
            Norm::Pre => (dim, Inner::Relu, 1e-8),
            Norm::Post => (4 * dim, Inner::Gelu, 1e-12),
        };
        let (name, inner, attend_padding, output) = ("encoder", inner.unwrap_or(usual), false, true);
        Ok(Encoder { name, norm, dim, layers, heads, inner, dropout, causal, attend_padding, activation, output, eps })
    }

    /// Declares the parameters, `NAME.*`.
    pub fn declare(&self, params: &mut Params, init: Init) {
        let norm = if self.norm == Norm::Pre { "norm" } else { "embedding_norm" };
        declare_norm(params, &format!("{}.{norm}", self.name), self.dim);
        (0..self.layers).for_each(|l| self.declare_block(l, params, init));
    }

    /// Declares only the parameters of block `l`.
    pub fn declare_block(&self, l: usize, params: &mut Params, init: Init) {
        let (d, name) = (self.dim, self.name);
        let parts = if self.output { &["query", "key", "value", "output"][..] } else { &["query", "key", "value"] };
        let attention = parts.iter().map(|part| (format!("attention.{part}"), d, d));
        let inner = [("feed_forward.0".to_string(), self.inner, d), ("feed_forward.1".to_string(), d, self.inner)];
        for (part, out, width) in attention.chain(inner) {
            params.add(&format!("{name}.{l}.{part}.weight"), [out, width], init);
            params.add(&format!("{name}.{l}.{part}.bias"), [out], Init::Constant(0.0));
        }
        for part in ["attention_norm", "feed_forward_norm"] {
            declare_norm(params, &format!("{name}.{l}.{part}"), d);
        }
    }

    /// Attention weights of a batch, which dropout numbers: the settings that they are the product of, and its factors.
    pub fn counted(&self, batch: usize, window: usize) -> Option<(&'static str, Vec<usize>)> {
        let what = "train.batch x model.heads x data.max_len squared (attention weights)";
        (self.dropout > 0.0).then(|| (what, vec![batch, self.heads, window, window]))
    }

    /// Encoded positions \[B, M, d\] of embedded histories `x` \[B, M, d\], of which `items` \[B, M\] are not 0 where there is one.
    pub fn encode<'g>(&self, params: &Params, x: Var<'g>, items: Var<'g>, training: bool) -> Var<'g> {
        self.encode_at(Places::All, params, x, items, training)
    }

    /// As [`Encoder::encode`], of some positions of each history: \[B, K, d\]. The last block computes as few others as it can.
    pub fn encode_at<'g>(
        &self,
        positions: Places<'_, 'g>,
        params: &Params,
        x: Var<'g>,
        items: Var<'g>,
        training: bool,
    ) -> Var<'g> {
        self.encode_masked(&[], positions, params, x, items, training)
    }

    /// As [`Encoder::encode_at`], of [`Norm::Post`], the outputs of each block's attention and feed-forward times `masks`, \[d\] each, in
    /// their order, unless there are none.
    pub fn encode_masked<'g>(
        &self,
        masks: &[Var<'g>],
        positions: Places<'_, 'g>,
        params: &Params,
        x: Var<'g>,
        items: Var<'g>,
        training: bool,
    ) -> Var<'g> {
        let dropout = if training { self.dropout } else { 0.0 };
        Traced { encoder: self, params, g: x.graph(), dropout, positions, masks }.run(x, items)
    }

    /// Only block `l` of [`Norm::Post`], of x \[B, T, d\] where `keep` \[B, T\] (u32) is not 0; its dropout is on.
    pub fn block<'g>(
        &self,
        l: usize,
        positions: Places<'_, 'g>,
        params: &Params,
        g: &'g Graph,
        x: Var<'g>,
        keep: Var<'g>,
    ) -> Var<'g> {
        let traced = Traced { encoder: self, params, g, dropout: self.dropout, positions, masks: &[] };
        g.scope(self.name, || traced.post_block(l, x, keep))
    }
}

/// Gain and bias of a norm.
pub(crate) fn declare_norm(params: &mut Params, name: &str, d: usize) {
    params.add(&format!("{name}.gain"), [d], Init::Constant(1.0));
    params.add(&format!("{name}.bias"), [d], Init::Constant(0.0));
}

/// Which positions of a history are encoded: those that a function takes out of \[B, M, ..\].
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Places<'e, 'g> {
    All,
    /// One, which sees all items of its history.
    Last(&'e dyn Fn(Var<'g>) -> Var<'g>),
    Some(&'e dyn Fn(Var<'g>) -> Var<'g>),
}

struct Traced<'e, 'g> {
    encoder: &'e Encoder,
    params: &'e Params,
    g: &'g Graph,
    dropout: f64,
    positions: Places<'e, 'g>,
    masks: &'e [Var<'g>],
}

impl<'g> Traced<'_, 'g> {
    fn run(&self, x: Var<'g>, items: Var<'g>) -> Var<'g> {
        self.g.scope(self.encoder.name, || match self.encoder.norm {
            Norm::Pre => self.pre(x, items),
            Norm::Post => self.post(x, items),
        })
    }

    /// The positions whose queries block `l` computes.
    fn asked(&self, l: usize, x: Var<'g>) -> Var<'g> {
        match self.positions {
            Places::Last(pick) if l + 1 == self.encoder.layers => pick(x),
            _ => x,
        }
    }

    /// Those of the positions in [`Traced::asked`] that block `l` needs after its attention.
    fn wanted(&self, l: usize, x: Var<'g>) -> Var<'g> {
        match self.positions {
            Places::Some(pick) if l + 1 == self.encoder.layers => pick(x),
            _ => x,
        }
    }

    fn param(&self, name: &str) -> Var<'g> {
        self.params.var(self.g, &format!("{}.{name}", self.encoder.name))
    }

    fn linear(&self, x: Var<'g>, name: &str, activation: Activation) -> Var<'g> {
        x.linear(self.param(&format!("{name}.weight")), Some(self.param(&format!("{name}.bias"))), activation)
    }

    /// The hidden layer of block `l`'s feed-forward.
    fn hidden(&self, l: usize, x: Var<'g>) -> Var<'g> {
        let linear = |activation| self.linear(x, &format!("{l}.feed_forward.0"), activation);
        match self.encoder.activation {
            Inner::Relu => linear(Activation::Relu),
            Inner::Gelu => linear(Activation::None).gelu(),
            Inner::GeluTanh => linear(Activation::None).gelu_tanh(),
        }
    }

    fn norm(&self, x: Var<'g>, name: &str) -> Var<'g> {
        let (gain, bias) = (self.param(&format!("{name}.gain")), self.param(&format!("{name}.bias")));
        self.g.scope(name, || x.layer_norm(gain, bias, self.encoder.eps))
    }

    /// The norm of `x + dropout(residual)`.
    fn add_norm(&self, x: Var<'g>, residual: Var<'g>, name: &str) -> Var<'g> {
        let (gain, bias) = (self.param(&format!("{name}.gain")), self.param(&format!("{name}.bias")));
        self.g.scope(name, || x.add_layer_norm(residual, self.dropout, gain, bias, self.encoder.eps)[0])
    }

    fn drop(&self, x: Var<'g>, name: &str) -> Var<'g> {
        if self.dropout == 0.0 { x } else { self.g.scope(name, || x.dropout(self.dropout)) }
    }

    fn attention(&self, l: usize, from: Var<'g>, to: Var<'g>, keep: Var<'g>) -> Var<'g> {
        let linear = |x, part: &str| self.linear(x, &format!("{l}.attention.{part}"), Activation::None);
        let Encoder { heads, causal, .. } = *self.encoder;
        let scope = format!("{l}.attention");
        let q = linear(from, "query");
        let y = if q.shape()[1] == to.shape()[1] {
            let (k, v) = (linear(to, "key"), linear(to, "value"));
            self.g.scope(&scope, || q.attention(k, v, keep, heads, causal, self.dropout))
        } else {
            self.g.scope(&scope, || self.one_query(l, q, to, keep))
        };
        let y = self.wanted(l, y);
        if self.encoder.output { linear(y, "output") } else { y }
    }

    /// Attention of one query q \[B, 1, d\] a history x \[B, M, d\], whose kept positions it sees. No keys and values are
    /// made: q (W x + b) = (q W) x + q b, and the mean of W x + b is W times the mean of x: 2 H M d multiplications for 2 M d^2.
    fn one_query(&self, l: usize, q: Var<'g>, x: Var<'g>, keep: Var<'g>) -> Var<'g> {
        let ([b, m, d], heads) = ([0, 1, 2].map(|i| x.shape()[i]), self.encoder.heads);
        let width = d / heads;
        let param = |name: &str| self.param(&format!("{l}.attention.{name}"));
        let [key, value] = ["key.weight", "value.weight"].map(|name| param(name).reshape([heads, width, d]));
        let [key_bias, value_bias] = ["key.bias", "value.bias"].map(|name| param(name).reshape([1, heads, width]));
        // [B, H, ..] times the matrix of each head.
        let by_head = |x: Var<'g>, product: &dyn Fn(Var<'g>) -> Var<'g>| {
            let of_heads = x.permute(&[1, 0, 2]);
            product(of_heads).permute(&[1, 0, 2])
        };
        let q = q.reshape([b, heads, width]);
        let scores = by_head(q, &|q| q.matmul(key)).matmul_t(x) + (q * key_bias).sum(2).reshape([b, heads, 1]);
        let keep = keep.reshape([b, 1, m]).expand([b, heads, m]);
        let weights = scores.scale(1.0 / (width as f64).sqrt()).softmax(2, Some(keep));
        let weights = if self.dropout == 0.0 { weights } else { weights.dropout(self.dropout) };
        // Dropout leaves weights that do not add up to 1.
        let total = weights.sum(2).reshape([b, heads, 1]);
        let y = by_head(weights.matmul(x), &|x| x.matmul_t(value)) + total * value_bias;
        y.reshape([b, 1, d])
    }

    fn pre(&self, x: Var<'g>, items: Var<'g>) -> Var<'g> {
        let [b, m] = [x.shape()[0], x.shape()[1]];
        let real = items.nonzero().reshape([b, m, 1]);
        let keep = if self.encoder.attend_padding { self.ones(b, m) } else { items };
        let mut x = self.drop(x * real, "embedding");
        for l in 0..self.encoder.layers {
            let real = self.wanted(l, self.asked(l, real));
            let q = self.norm(self.asked(l, x), &format!("{l}.attention_norm"));
            x = self.add_norm(self.wanted(l, q), self.attention(l, q, x, keep), &format!("{l}.feed_forward_norm"));
            let inner = self.drop(self.hidden(l, x), &format!("{l}.feed_forward.inner"));
            let y = self.linear(inner, &format!("{l}.feed_forward.1"), Activation::None);
            x = (x + self.drop(y, &format!("{l}.feed_forward"))) * real;
        }
        self.norm(x, "norm")
    }

    fn post(&self, x: Var<'g>, items: Var<'g>) -> Var<'g> {
        let mut x = self.drop(self.norm(x, "embedding_norm"), "embedding");
        for l in 0..self.encoder.layers {
            x = self.post_block(l, x, items);
        }
        x
    }

    fn post_block(&self, l: usize, x: Var<'g>, keep: Var<'g>) -> Var<'g> {
        let q = self.asked(l, x);
        let y = self.masked(2 * l, self.attention(l, q, x, keep));
        let x = self.add_norm(self.wanted(l, q), y, &format!("{l}.attention_norm"));
        let y = self.linear(self.hidden(l, x), &format!("{l}.feed_forward.1"), Activation::None);
        self.add_norm(x, self.masked(2 * l + 1, y), &format!("{l}.feed_forward_norm"))
    }

    fn masked(&self, half: usize, y: Var<'g>) -> Var<'g> {
        self.masks.get(half).map_or(y, |mask| y * *mask)
    }

    fn ones(&self, b: usize, m: usize) -> Var<'g> {
        self.g.constant(crate::tensor::Tensor::u32([b, m], vec![1; b * m]))
    }
}
