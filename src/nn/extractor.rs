//! Several interests of a user by self-attention with a head for each (Lin et al., ICLR 2017), as ComiRec-SA, MINER, TiMiRec and
//! PoMRec extract them, and the prompts that PoMRec adds to a sequence.
//!   A = softmax over T of W2 tanh(W1 h + b1) + b2,   centre = A^T h,   interest = centre + lambda sqrt(A^T (h - centre)^2)

use super::{Init, Params};
use crate::graph::{Graph, Var};
use crate::kernels::matmul::Activation;
use crate::kernels::moments::Moments;
use crate::tensor::Tensor;

/// The attention of each interest over a sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Extractor {
    /// What the names of its parameters begin with.
    pub name: &'static str,
    /// Width of the sequence, d.
    pub dim: usize,
    /// Width inside the attention, d'.
    pub attention_dim: usize,
    /// K.
    pub interests: usize,
    /// Whether W1 and W2 have biases.
    pub biases: bool,
}

/// Trained vectors that a module reads as part of a sequence (PoMRec, equation 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prompts {
    /// What the name of their parameter begins with.
    pub name: &'static str,
    /// N_p; 0: the sequence stays as it is.
    pub count: usize,
    /// Constant vectors of ones go before the prompts where they are fewer than this.
    pub least: usize,
    pub side: Side,
}

/// Where prompts stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Side {
    /// Before the sequence.
    Front,
    /// After the sequence.
    Back,
}

impl Extractor {
    /// Declares the parameters, `NAME.attention.*`.
    pub fn declare(&self, params: &mut Params, init: Init) {
        let Extractor { name, dim, attention_dim, interests, biases } = *self;
        params.add(&format!("{name}.attention.0.weight"), [attention_dim, dim], init);
        params.add(&format!("{name}.attention.1.weight"), [interests, attention_dim], init);
        if biases {
            params.add(&format!("{name}.attention.0.bias"), [attention_dim], init);
            params.add(&format!("{name}.attention.1.bias"), [interests], init);
        }
    }

    /// How much each interest attends to each position of `h` \[B, T, d\] where `keep` \[B, T\] is not 0: \[B, T, K\].
    pub fn attend<'g>(&self, params: &Params, g: &'g Graph, h: Var<'g>, keep: Var<'g>) -> Var<'g> {
        let var = |i: usize, part: &str| params.var(g, &format!("{}.attention.{i}.{part}", self.name));
        let bias = |i: usize| self.biases.then(|| var(i, "bias"));
        let hidden = h.linear(var(0, "weight"), bias(0), Activation::Tanh);
        hidden.linear(var(1, "weight"), bias(1), Activation::None).softmax(1, Some(keep))
    }

    /// The interests of `h` \[B, T, d\] by the attention `a` \[B, T, K\]: their centres plus `dispersion`, lambda, times the
    /// standard deviations about them, \[B, K, d\].
    pub fn interests<'g>(a: Var<'g>, h: Var<'g>, dispersion: f64) -> Var<'g> {
        if dispersion == 0.0 {
            return a.t_matmul(h);
        }
        let [centres, deviations] = Extractor::moments(a, h);
        centres + deviations.scale(dispersion)
    }

    /// The centres of the interests of `h` \[B, T, d\] by the attention `a` \[B, T, K\], and the standard deviations about them,
    /// \[B, K, d\] each.
    pub fn moments<'g>(a: Var<'g>, h: Var<'g>) -> [Var<'g>; 2] {
        let [mean, variance] = a.graph().try_push(Moments, &[a, h]).expect("shapes fit")[..] else { unreachable!() };
        [mean, variance.sqrt()]
    }
}

impl Prompts {
    /// Declares the parameter, `NAME.prompts`, \[N_p, d\], where there are some.
    pub fn declare(&self, params: &mut Params, dim: usize, init: Init) {
        if self.count > 0 {
            params.add(&format!("{}.prompts", self.name), [self.count, dim], init);
        }
    }

    /// The prompts and `h` \[B, M, d\] in one sequence, \[B, T, d\], and which of its positions are read, \[B, T\] u32: all
    /// prompts, and the positions of `h` where `keep` \[B, M\] u32 is not 0.
    pub fn join<'g>(&self, params: &Params, g: &'g Graph, h: Var<'g>, keep: Var<'g>) -> (Var<'g>, Var<'g>) {
        if self.count == 0 {
            return (h, keep);
        }
        let [b, d] = [h.shape()[0], h.shape()[2]];
        let mut rows = params.var(g, &format!("{}.prompts", self.name));
        let slots = self.count.max(self.least);
        if slots > self.count {
            let unused = slots - self.count;
            rows = g.concat(0, &[g.constant(Tensor::f32([unused, d], vec![1.0; unused * d])), rows]);
        }
        let rows = rows.reshape([1, slots, d]).expand([b, slots, d]);
        let ones = g.constant(Tensor::u32([1, slots], vec![1; slots])).expand([b, slots]);
        let join = |prompts, sequence| match self.side {
            Side::Front => g.concat(1, &[prompts, sequence]),
            Side::Back => g.concat(1, &[sequence, prompts]),
        };
        (join(rows, h), join(ones, keep))
    }

    /// Of `x` \[B, T, ..\], which has the positions of [`Prompts::join`], those of the sequence of `m`: \[B, M, ..\].
    pub fn without<'g>(&self, x: Var<'g>, m: usize) -> Var<'g> {
        let first = match self.side {
            Side::Front => x.shape()[1] - m,
            Side::Back => 0,
        };
        x.slice(1, first, m)
    }
}
