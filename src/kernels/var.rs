//! Arithmetic on `Var`: each line adds one node. The field's names; shapes broadcast from the right.

use super::attention::Attention;
use super::conv::Conv;
use super::elementwise::{Chain, Fun};
use super::embedding::Gather;
use super::fft::{Irfft, Rfft};
use super::filter::Filter;
use super::fourier;
use super::gru::Gru;
use super::interest_scores::InterestScores;
use super::layer_norm::LayerNorm;
use super::logdet::LogDet;
use super::matmul::{Activation, MatMul};
use super::random;
use super::reduce::{Reduce, Reduction};
use super::softmax::Softmax;
use super::softmax_loss::SoftmaxLoss;
use super::strided::{Assign, Concat, Expand, Permute, Slice, View};
use crate::graph::{Graph, Kind, Var};
use crate::tensor::{Data, Shape, Tensor};
use std::ops::{Add, Div, Mul, Neg, Range, Sub};

macro_rules! unary {
    ($($name:ident $fun:ident),* $(,)?) => {$(
        pub fn $name(self) -> Var<'g> {
            self.graph.push(Chain::of(Fun::$fun), &[self])
        }
    )*};
}

impl<'g> Var<'g> {
    unary!(
        tanh Tanh, sigmoid Sigmoid, log_sigmoid LogSigmoid, softplus Softplus, relu Relu, gelu Gelu, gelu_tanh GeluTanh,
        gelu_slope GeluSlope, exp Exp, log Log, sqrt Sqrt, square Square, abs Abs, sin Sin, cos Cos, reciprocal Reciprocal, sign Sign,
    );

    fn with(self, fun: Fun, other: Var<'g>) -> Var<'g> {
        self.graph.push(Chain::of(fun), &[self, other])
    }

    pub fn max(self, other: Var<'g>) -> Var<'g> {
        self.with(Fun::Max, other)
    }

    pub fn min(self, other: Var<'g>) -> Var<'g> {
        self.with(Fun::Min, other)
    }

    /// 1 where `self > other`, else 0; NaN where either is; no gradient.
    pub fn greater(self, other: Var<'g>) -> Var<'g> {
        self.with(Fun::Greater, other)
    }

    /// 1 where `self == other`, else 0; NaN where either is; no gradient.
    pub fn equal(self, other: Var<'g>) -> Var<'g> {
        self.with(Fun::Equal, other)
    }

    /// 1 where `self` is not 0, else 0; NaN where it is NaN; no gradient. Takes integers too: ids to a mask.
    pub fn nonzero(self) -> Var<'g> {
        self.graph.push(Chain::of(Fun::NonZero), &[self])
    }

    /// The elements, and 0 in place of what is infinite or no number. Has no gradient.
    pub fn finite_or_zero(self) -> Var<'g> {
        self.graph.push(Chain::of(Fun::FiniteOrZero), &[self])
    }

    /// The elements, and NaN in place of what is infinite: before what would make a number of it again.
    pub fn finite_or_nan(self) -> Var<'g> {
        self.graph.push(Chain::of(Fun::FiniteOrNan), &[self])
    }

    /// A scalar constant of this graph.
    pub fn constant_like(self, value: f64) -> Var<'g> {
        self.graph.scalar(value)
    }

    /// Whether both are the same value of one graph.
    pub fn is(&self, other: Var<'g>) -> bool {
        self.value == other.value
    }

    /// Whether this is the constant 1, as the gradient of a loss by itself is.
    pub(crate) fn is_one(&self) -> bool {
        match &self.graph.inner.borrow().nodes[self.value.node].kind {
            Kind::Constant(t) => t.shape.is_empty() && t.to_f64()[0] == 1.0,
            _ => false,
        }
    }

    /// `self * factor`.
    pub fn scale(self, factor: f64) -> Var<'g> {
        self * self.constant_like(factor)
    }

    /// Matrix product over the last two axes, batched over the others: `[.., m, k] x [.., k, n]`, or `[k, n]` shared by
    /// all of the batch.
    pub fn matmul(self, other: Var<'g>) -> Var<'g> {
        self.graph.push(MatMul::new(false, false), &[self, other])
    }

    /// `self x other^T`: `[.., m, k] x [.., n, k]`.
    pub fn matmul_t(self, other: Var<'g>) -> Var<'g> {
        self.graph.push(MatMul::new(false, true), &[self, other])
    }

    /// `self^T x other`: `[.., k, m] x [.., k, n]`.
    pub fn t_matmul(self, other: Var<'g>) -> Var<'g> {
        self.graph.push(MatMul::new(true, false), &[self, other])
    }

    /// `activation(self x weight^T + bias)` with weight `[out, in]`, bias and activation in the product's epilogue.
    pub fn linear(self, weight: Var<'g>, bias: Option<Var<'g>>, activation: Activation) -> Var<'g> {
        let op = MatMul { activation, bias: bias.is_some(), ..MatMul::new(false, true) };
        self.graph.push(op, &[self, weight].into_iter().chain(bias).collect::<Vec<_>>())
    }

    /// The mean over rows `self` \[R, d\], weighted, of the softmax cross-entropy of `targets` \[R\] among the rows
    /// `classes` of `table`: see [`SoftmaxLoss`].
    pub fn softmax_loss(
        self,
        table: Var<'g>,
        bias: Option<Var<'g>>,
        targets: Var<'g>,
        weight: Var<'g>,
        classes: Range<usize>,
    ) -> Var<'g> {
        let op = SoftmaxLoss { first: classes.start, classes: classes.len(), bias: bias.is_some() };
        let inputs: Vec<Var> = [self, table, targets, weight].into_iter().chain(bias).collect();
        match self.graph.try_push(op, &inputs) {
            Ok(outputs) => outputs[0],
            Err(e) => panic!("{e}"),
        }
    }

    /// The largest of the products of the interests of each row, `self` \[R, K, d\], with each of `items`, \[W, d\] for all rows
    /// or \[R, W, d\], each row's own: \[R, W\]. The gradient goes to the first interest that gives it.
    pub fn interest_scores(self, items: Var<'g>) -> Var<'g> {
        self.graph.push(InterestScores, &[self, items])
    }

    /// The sum over `axis`, which goes.
    pub fn sum(self, axis: usize) -> Var<'g> {
        self.graph.push(Reduce::new(Reduction::Sum, axis), &[self])
    }

    /// The mean over `axis`, which goes.
    pub fn mean(self, axis: usize) -> Var<'g> {
        self.graph.push(Reduce::new(Reduction::Mean, axis), &[self])
    }

    /// The maximum over `axis`, which goes; the gradient goes to the first largest element.
    pub fn max_over(self, axis: usize) -> Var<'g> {
        self.graph.push(Reduce::new(Reduction::Max, axis), &[self])
    }

    /// The sum of all elements, a scalar.
    pub fn sum_all(self) -> Var<'g> {
        let n = self.shape().elements();
        self.reshape([n]).sum(0)
    }

    /// The mean of all elements, a scalar.
    pub fn mean_all(self) -> Var<'g> {
        let n = self.shape().elements();
        self.reshape([n]).mean(0)
    }

    /// Sums axes away until the shape is `shape`: the adjoint of broadcasting.
    pub fn sum_to(self, shape: &Shape) -> Var<'g> {
        let mut v = self;
        while v.shape().len() > shape.len() {
            v = v.sum(0);
        }
        for axis in 0..shape.len() {
            if shape[axis] == 1 && v.shape()[axis] != 1 {
                let keep = v.shape().with(axis, 1);
                v = v.sum(axis).reshape(keep);
            }
        }
        v
    }

    /// Softmax over `axis`, of what `keep` (0 = masked) leaves. `keep` has the shape of `self`, or that without the axes
    /// after `axis`. Rows with nothing kept give zeros.
    pub fn softmax(self, axis: usize, keep: Option<Var<'g>>) -> Var<'g> {
        let op = Softmax { axis, masked: keep.is_some() };
        self.graph.push(op, &[self].into_iter().chain(keep).collect::<Vec<_>>())
    }

    /// The states \[B, T, H\] of a GRU whose inputs give `self` \[B, T, 3H\] to its gates r, z, n, which is
    /// `x.linear(weight_ih, Some(bias_ih), Activation::None)`; weight \[3H, H\] and bias \[3H\] are the state's own, all as
    /// PyTorch has them. A position where `keep` \[B, T\] is 0 keeps the state, so that the last position holds the last state
    /// whichever end the padding is at.
    pub fn gru(self, weight: Var<'g>, bias: Var<'g>, keep: Var<'g>) -> Var<'g> {
        let outputs = self.graph.try_push(Gru { weighted: false }, &[self, weight.transpose(), bias, keep.nonzero()]);
        outputs.unwrap_or_else(|e| panic!("{e}"))[0]
    }

    /// As [`Var::gru`], where each position updates the state by its weight in `keep` \[B, T\], from 0 to 1, which has a gradient:
    /// h <- h + keep z (n - h). Here z is the share of the new value, in PyTorch that of the old one.
    pub fn weighted_gru(self, weight: Var<'g>, bias: Var<'g>, keep: Var<'g>) -> Var<'g> {
        let outputs = self.graph.try_push(Gru { weighted: true }, &[self, weight.transpose(), bias, keep]);
        outputs.unwrap_or_else(|e| panic!("{e}"))[0]
    }

    /// The convolution over time of `self` \[B, T, d\] by `weight` \[n, h, d\] and `bias` \[n\]: \[B, T - h + 1, n\].
    pub fn conv(self, weight: Var<'g>, bias: Var<'g>) -> Var<'g> {
        self.graph.push(Conv, &[self, weight, bias])
    }

    /// The spectrum of each channel of `self` \[B, T, d\] along T, up to frequency T / 2: \[B, T / 2 + 1, 2, d\], real parts before
    /// imaginary ones, scaled by 1 / sqrt(T). T is at most [`fourier::LONGEST`].
    pub fn rfft(self) -> Var<'g> {
        let table = self.graph.constant(fourier::table(self.shape()[1]));
        self.graph.push(Rfft { doubled: false }, &[self, table])
    }

    /// The sequences \[B, `len`, d\] of spectra \[B, `len` / 2 + 1, 2, d\], scaled as [`Var::rfft`] is.
    pub fn irfft(self, len: usize) -> Var<'g> {
        let table = self.graph.constant(fourier::table(len));
        self.graph.push(Irfft { halved: false }, &[self, table])
    }

    /// `self` \[B, T, d\] with each frequency of each channel multiplied by `weight` \[T / 2 + 1, 2, d\], real parts before
    /// imaginary ones.
    pub fn filter(self, weight: Var<'g>) -> Var<'g> {
        let table = self.graph.constant(fourier::table(self.shape()[1]));
        self.graph.push(Filter { conjugate: false }, &[self, weight, table])
    }

    /// The logarithm of the determinant of each symmetric positive definite matrix of `self` \[.., n, n\]: \[..\].
    pub fn log_det(self) -> Var<'g> {
        // A determinant has no digits to spare.
        self.graph.keep_exact(self);
        let outputs = self.graph.try_push(LogDet, &[self]);
        outputs.unwrap_or_else(|e| panic!("{e}"))[0]
    }

    /// Scaled dot-product attention of these queries over `keys` and `values`, all `[B, L, heads * head_dim]` with heads side
    /// by side, where `keep` `[B, L]` is not 0 and, if `causal`, the key is not after its query. Queries with nothing to attend
    /// to give zeros. `dropout` zeroes weights with that probability; the mask is drawn from (seed, scope, step).
    pub fn attention(
        self,
        keys: Var<'g>,
        values: Var<'g>,
        keep: Var<'g>,
        heads: usize,
        causal: bool,
        dropout: f64,
    ) -> Var<'g> {
        let scale = 1.0 / (self.shape().last_dim() as f64 / heads as f64).sqrt();
        let key = random::key(&self.graph.scope_name());
        let step = (dropout > 0.0).then(|| self.graph.step());
        let inputs: Vec<_> = [self, keys, values, keep].into_iter().chain(step).collect();
        self.graph.push(Attention { heads, causal, bias: false, scale, p: dropout as f32, key }, &inputs)
    }

    /// As [`Var::attention`] of all positions of short sequences, with `bias` \[G, heads, L, L\] added to the exponents: at \[.., j, i\]
    /// that of key j for query i. Sequence b has the biases of group b modulo G. Has no gradient.
    pub fn biased_attention(self, keys: Var<'g>, values: Var<'g>, bias: Var<'g>, heads: usize) -> Var<'g> {
        let [batch, len, dim] = [0, 1, 2].map(|axis| self.shape()[axis]);
        let keep = self.graph.constant(Tensor::u32([batch, len], vec![1; batch * len]));
        let scale = 1.0 / (dim as f64 / heads as f64).sqrt();
        let op = Attention { heads, causal: false, bias: true, scale, p: 0.0, key: 0 };
        self.graph.push(op, &[self, keys, values, keep, bias])
    }

    /// `gain (self - mean) / sqrt(variance + eps) + bias` over the last axis, \[d\] wide as gain and bias are.
    pub fn layer_norm(self, gain: Var<'g>, bias: Var<'g>, eps: f64) -> Var<'g> {
        self.norm(None, 0.0, &[gain, bias], eps)[0]
    }

    /// `gain self / sqrt(mean of squares + eps)` over the last axis.
    pub fn rms_norm(self, gain: Var<'g>, eps: f64) -> Var<'g> {
        self.norm(None, 0.0, &[gain], eps)[0]
    }

    /// The layer norm of `self + dropout(residual)`, and that sum; the mask is drawn from (seed, scope, step).
    pub fn add_layer_norm(
        self,
        residual: Var<'g>,
        dropout: f64,
        gain: Var<'g>,
        bias: Var<'g>,
        eps: f64,
    ) -> [Var<'g>; 2] {
        self.norm(Some(residual), dropout, &[gain, bias], eps)
    }

    /// The RMS norm of `self + dropout(residual)`, and that sum.
    pub fn add_rms_norm(self, residual: Var<'g>, dropout: f64, gain: Var<'g>, eps: f64) -> [Var<'g>; 2] {
        self.norm(Some(residual), dropout, &[gain], eps)
    }

    /// The norm and, with a residual, the sum (else what follows the norm).
    #[track_caller]
    fn norm(self, residual: Option<Var<'g>>, dropout: f64, parameters: &[Var<'g>], eps: f64) -> [Var<'g>; 2] {
        let key = random::key(&self.graph.scope_name());
        let op = LayerNorm { rms: parameters.len() == 1, residual: residual.is_some(), eps, p: dropout as f32, key };
        let step = (dropout > 0.0).then(|| self.graph.step());
        let inputs: Vec<_> = [self].iter().chain(parameters).chain(&residual).chain(&step).copied().collect();
        match self.graph.try_push(op, &inputs) {
            Ok(outputs) => [outputs[0], outputs[1]],
            Err(e) => panic!("{e}"),
        }
    }

    /// The rows of this table `[n, d]` that `indices` names: `[indices.., d]`. Indices must be below n.
    pub fn gather(self, indices: Var<'g>) -> Var<'g> {
        self.graph.push(Gather, &[self, indices])
    }

    /// The same elements under another shape; no copy.
    pub fn reshape(self, shape: impl Into<Shape>) -> Var<'g> {
        let shape = shape.into();
        if shape == self.shape() { self } else { self.graph.push(View { shape, cut: false }, &[self]) }
    }

    /// The same values, through which no gradient flows.
    pub fn stop_gradient(self) -> Var<'g> {
        self.graph.push(View { shape: self.shape(), cut: true }, &[self])
    }

    /// Repeated along axes of extent 1 (and new axes in front) to `shape`.
    pub fn expand(self, shape: impl Into<Shape>) -> Var<'g> {
        let shape = shape.into();
        if shape == self.shape() { self } else { self.graph.push(Expand { shape }, &[self]) }
    }

    /// Axes in another order: axis i of the result is axis `order[i]` of `self`.
    pub fn permute(self, order: &[usize]) -> Var<'g> {
        self.graph.push(Permute { order: order.to_vec() }, &[self])
    }

    /// The last two axes exchanged.
    pub fn transpose(self) -> Var<'g> {
        let rank = self.shape().len();
        let mut order: Vec<usize> = (0..rank).collect();
        order.swap(rank - 2, rank - 1);
        self.permute(&order)
    }

    /// `len` entries of `axis` from `start` on.
    pub fn slice(self, axis: usize, start: usize, len: usize) -> Var<'g> {
        self.graph.push(Slice { axis, start, len }, &[self])
    }

    /// Zeroes with probability `p`, the rest scaled by 1 / (1 - p); the mask is drawn from (seed, scope, step).
    pub fn dropout(self, p: f64) -> Var<'g> {
        if p == 0.0 {
            return self;
        }
        let key = random::key(&self.graph.scope_name());
        self.graph.push(random::Dropout { p: p as f32, key }, &[self, self.graph.step()])
    }
}

impl Graph {
    pub fn scalar(&self, value: f64) -> Var<'_> {
        self.constant(Tensor { shape: Shape::default(), data: Data::F64(vec![value]) })
    }

    /// Writes `value` over `state` when the step has read all it needs of the old value.
    pub fn assign<'g>(&'g self, state: Var<'g>, value: Var<'g>) -> Var<'g> {
        self.push(Assign, &[state, value])
    }

    /// Joins along `axis`; all other extents must agree.
    pub fn concat<'g>(&'g self, axis: usize, parts: &[Var<'g>]) -> Var<'g> {
        if parts.len() == 1 { parts[0] } else { self.push(Concat { axis }, parts) }
    }

    /// Random numbers of `shape` from (seed, scope, step).
    pub fn noise(&self, kind: random::Noise, shape: impl Into<Shape>) -> Var<'_> {
        let key = random::key(&self.scope_name());
        self.push(random::Draw { kind, key, shape: shape.into() }, &[self.step()])
    }
}

macro_rules! binary {
    ($($trait:ident $method:ident $fun:ident),*) => {$(
        impl<'g> $trait for Var<'g> {
            type Output = Var<'g>;
            fn $method(self, other: Var<'g>) -> Var<'g> {
                self.with(Fun::$fun, other)
            }
        }
    )*};
}
binary!(Add add Add, Sub sub Sub, Mul mul Mul, Div div Div);

impl<'g> Neg for Var<'g> {
    type Output = Var<'g>;
    fn neg(self) -> Var<'g> {
        self.graph.push(Chain::of(Fun::Neg), &[self])
    }
}
