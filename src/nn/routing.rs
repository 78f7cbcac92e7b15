//! Dynamic routing (Sabour, Frosst, Hinton, "Dynamic routing between capsules", NIPS 2017), by which MIND and ComiRec-DR group the
//! items of a history into interests. Each position t has a vote u_kt for each interest k. In each round
//!   c_kt = softmax over k of b_kt,   v_k = squash(sum_t c_kt u_kt),   b_kt := b_kt + u_kt . v_k
//! from given logits b on; the interests are those of the last round. The rounds before it see constants: the gradient passes
//! through its sum alone, as released.

use crate::graph::Var;
use crate::kernels::matmul::Activation;

/// What [`route`] makes of a batch of sequences.
#[derive(Clone, Copy)]
pub struct Routed<'g> {
    /// v, \[B, K, d\]: rows of lengths below 1.
    pub interests: Var<'g>,
    /// c of the last round, \[B, K, T\]: the share of each position that goes to each interest.
    pub couplings: Var<'g>,
}

impl<'g> Routed<'g> {
    /// The share of each position where `keep` \[B, T\] is not 0 that goes to each interest, \[B, T, K\]; 0 elsewhere.
    pub fn shares(&self, keep: Var<'g>) -> Var<'g> {
        let [b, t] = [keep.shape()[0], keep.shape()[1]];
        self.couplings.transpose() * keep.nonzero().reshape([b, t, 1])
    }
}

/// The means of the rows of `x` \[B, T, d\] by `shares` \[B, T, K\]: \[B, K, d\]; 0 of no shares.
pub fn centres<'g>(shares: Var<'g>, x: Var<'g>) -> Var<'g> {
    let [b, k] = [shares.shape()[0], shares.shape()[2]];
    let total = shares.sum(1).reshape([b, k, 1]);
    shares.t_matmul(x) / total.max(total.constant_like(1e-9))
}

/// What positions vote for: u_kt.
#[derive(Clone, Copy)]
pub enum Votes<'g> {
    /// For each interest its own, \[B, K, T, d\].
    Own(Var<'g>),
    /// The same for all interests: the rows `x` \[B, T, d\] by a `map` S \[d, d\], u_t = S x_t. It is applied to sums over t, which
    /// are fewer.
    Mapped { x: Var<'g>, map: Var<'g> },
}

impl<'g> Votes<'g> {
    fn constant(self) -> Votes<'g> {
        match self {
            Votes::Own(votes) => Votes::Own(votes.stop_gradient()),
            Votes::Mapped { x, map } => Votes::Mapped { x: x.stop_gradient(), map: map.stop_gradient() },
        }
    }

    /// sum_t c_kt u_kt, \[B, K, d\].
    fn sum(self, couplings: Var<'g>) -> Var<'g> {
        let [b, k, t] = [0, 1, 2].map(|axis| couplings.shape()[axis]);
        match self {
            Votes::Own(votes) => {
                couplings.reshape([b, k, 1, t]).matmul(votes).reshape([b, k, votes.shape().last_dim()])
            }
            Votes::Mapped { x, map } => couplings.matmul(x).linear(map, None, Activation::None),
        }
    }

    /// u_kt . v_k, \[B, K, T\].
    fn agreement(self, interests: Var<'g>) -> Var<'g> {
        let [b, k, d] = [0, 1, 2].map(|axis| interests.shape()[axis]);
        match self {
            Votes::Own(votes) => interests.reshape([b, k, 1, d]).matmul_t(votes).reshape([b, k, votes.shape()[2]]),
            Votes::Mapped { x, map } => interests.matmul(map).matmul_t(x),
        }
    }
}

/// Routes `votes` to K interests in this number of rounds, the first one by `logits` \[B, K, T\]. A position whose votes are 0 takes
/// no part.
pub fn route<'g>(votes: Votes<'g>, logits: Var<'g>, rounds: usize) -> Routed<'g> {
    let (constant, mut logits) = (votes.constant(), logits);
    for _ in 1..rounds {
        let interests = squash(constant.sum(logits.softmax(1, None)));
        logits = logits + constant.agreement(interests);
    }
    let couplings = logits.softmax(1, None).stop_gradient();
    Routed { interests: squash(votes.sum(couplings)), couplings }
}

/// |s|^2 / (1 + |s|^2) s / |s| of the rows of `s` \[B, K, d\], with [`EPS`] under the root: 0 of 0.
fn squash<'g>(s: Var<'g>) -> Var<'g> {
    let (g, [b, k, d]) = (s.graph(), [0, 1, 2].map(|axis| s.shape()[axis]));
    let squares = s.square().reshape([b * k, d]);
    // Those of short rows are less than an f16 holds.
    g.keep_exact(squares);
    let squares = squares.sum(1).reshape([b, k, 1]);
    s * (squares / ((squares + g.scalar(1.0)) * (squares + g.scalar(EPS)).sqrt()))
}

/// As the authors of ComiRec released it.
const EPS: f64 = 1e-9;
