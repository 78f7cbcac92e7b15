//! The efficient behaviour miner of DPCPL (papers/dpcpl, section 4.2): a filter layer and a feed-forward, each with a residual and a
//! norm, over the whole sequence and over each behaviour's own events by the same weights, and a linear map that mixes these streams.
//!   h = norm(s + filter(s)),   y = norm(h + W_2 gelu(W_1 h + b_1) + b_2) of each stream s;   out = W \[y_whole, y_1, ..\] + b

use super::encoder::declare_norm;
use super::filter::filter_layer;
use super::{Init, Params};
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Miner {
    pub dim: usize,
    /// Blocks of channels in the filter, k: a divisor of `dim`.
    pub blocks: usize,
    /// Width inside the feed-forward.
    pub inner: usize,
    /// The whole sequence and one stream for each behaviour; 1: the whole alone, which nothing mixes.
    pub streams: usize,
    /// Of the outputs of filter and feed-forward.
    pub dropout: f64,
}

/// Which positions belong to which of S streams.
#[derive(Clone, Copy)]
pub struct Streams<'g> {
    /// \[B, S, T, 1\]: 0 where a position is padded or of another stream.
    pub member: Var<'g>,
    /// \[B, S, 1, 1\]: 0 where a user has nothing in a stream.
    pub used: Var<'g>,
}

impl Miner {
    const EPS: f64 = 1e-12;

    /// Declares the parameters of block `l`, `encoder.l.*`.
    pub fn declare(&self, l: usize, params: &mut Params, init: Init) {
        let Miner { dim, blocks, inner, streams, .. } = *self;
        let name = |part: &str| format!("encoder.{l}.{part}");
        for i in 0..2 {
            params.add(&name(&format!("filter.{i}.weight")), [blocks, 2, dim / blocks, dim / blocks], init);
            params.add(&name(&format!("filter.{i}.bias")), [2, dim], Init::Constant(0.0));
        }
        // It passes the whole sequence on at first: only small numbers would let nothing of the most recent event through.
        let Init::Normal(std) = init else { unreachable!("weights start as N(0, std)") };
        let mixer = (streams > 1).then_some(("mixer", dim, streams * dim, Init::NearIdentity(std)));
        let inner = [("feed_forward.0", inner, dim, init), ("feed_forward.1", dim, inner, init)];
        for (part, out, width, init) in inner.into_iter().chain(mixer) {
            params.add(&name(&format!("{part}.weight")), [out, width], init);
            params.add(&name(&format!("{part}.bias")), [out], Init::Constant(0.0));
        }
        for part in ["filter_norm", "feed_forward_norm"] {
            declare_norm(params, &name(part), dim);
        }
    }

    /// Block `l` over x \[B, T, d\], of the last `positions` of T: \[B, positions, d\]. What stands in x where nothing is a member
    /// changes nothing.
    pub fn mine<'g>(
        &self,
        l: usize,
        params: &Params,
        g: &'g Graph,
        x: Var<'g>,
        streams: Streams<'g>,
        positions: usize,
    ) -> Var<'g> {
        let ([b, t], d, s) = ([x.shape()[0], x.shape()[1]], self.dim, self.streams);
        let var = |name: &str| params.var(g, &format!("encoder.{l}.{name}"));
        let pair = |part: &str| ["weight", "bias"].map(|name| var(&format!("{part}.{name}")));
        let linear = |x: Var<'g>, part: &str| {
            let [weight, bias] = pair(part);
            x.linear(weight, Some(bias), Activation::None)
        };
        let add_norm = |x: Var<'g>, y: Var<'g>, part: &str| {
            let (gain, bias) = (var(&format!("{part}.gain")), var(&format!("{part}.bias")));
            g.scope(part, || x.add_layer_norm(y, self.dropout, gain, bias, Miner::EPS)[0])
        };
        let last = |x: Var<'g>| if positions == t { x } else { x.slice(1, t - positions, positions) };
        let x = (x.reshape([b, 1, t, d]) * streams.member).reshape([b * s, t, d]);
        let filtered = filter_layer(x, pair("filter.0"), pair("filter.1"));
        // At a stream's empty positions it is all there is, next to nothing, and the norm makes a unit row of it.
        g.keep_exact(filtered);
        let x = add_norm(last(x), last(filtered), "filter_norm");
        let y = linear(linear(x, "feed_forward.0").gelu(), "feed_forward.1");
        let x = add_norm(x, y, "feed_forward_norm");
        if s == 1 {
            return x;
        }
        // A stream without events is next to nothing that its norm would make a unit row of, with gradients of 1 / sqrt(eps).
        let x = x.reshape([b, s, positions, d]) * streams.used;
        linear(x.permute(&[0, 2, 1, 3]).reshape([b, positions, s * d]), "mixer")
    }
}
