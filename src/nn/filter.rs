//! The efficient filter layer of DPCPL (papers/dpcpl, equations 2 and 3): a two-layer complex perceptron over the channels of each
//! frequency, the channels in k blocks, shared by all frequencies.
//!   X = rfft(x),   Y^n = W_2^n relu(W_1^n X^n + b_1^n) + b_2^n for each block n,   y = irfft(Y)
//! ReLU acts on real and imaginary parts apart, as in adaptive Fourier neural operators.

use super::{Init, Params};
use crate::graph::{Graph, Var};
use crate::kernels::complex_linear::ComplexLinear;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilterLayer {
    pub dim: usize,
    /// k, a divisor of `dim`.
    pub blocks: usize,
}

impl FilterLayer {
    /// Declares the parameters, `NAME.0.*` and `NAME.1.*`: weights \[k, 2, d / k, d / k\] (real part and imaginary part, in, out)
    /// and biases \[2, d\].
    pub fn declare(&self, params: &mut Params, name: &str, init: Init) {
        let (k, width) = (self.blocks, self.dim / self.blocks);
        for layer in 0..2 {
            params.add(&format!("{name}.{layer}.weight"), [k, 2, width, width], init);
            params.add(&format!("{name}.{layer}.bias"), [2, self.dim], Init::Constant(0.0));
        }
    }

    /// x \[B, T, d\] filtered, by the parameters that [`FilterLayer::declare`] declared under `name`.
    pub fn filter<'g>(&self, params: &Params, g: &'g Graph, name: &str, x: Var<'g>) -> Var<'g> {
        let layer = |layer: usize| ["weight", "bias"].map(|part| params.var(g, &format!("{name}.{layer}.{part}")));
        g.scope(name, || complex_mlp(x.rfft(), layer(0), layer(1)).irfft(x.shape()[1]))
    }
}

/// Equation 3 on spectra x \[B, F, 2, d\]; of each layer the weight \[k, 2, d / k, d / k\] and the bias \[2, d\].
pub fn complex_mlp<'g>(x: Var<'g>, first: [Var<'g>; 2], second: [Var<'g>; 2]) -> Var<'g> {
    let layer = |x: Var<'g>, [weight, bias]: [Var<'g>; 2], relu| {
        x.graph().push(ComplexLinear { affine: true, relu }, &[x, weight, bias])
    };
    layer(layer(x, first, true), second, false)
}
