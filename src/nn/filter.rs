//! The efficient filter layer of DPCPL (papers/dpcpl, equations 2 and 3): a two-layer complex perceptron over the channels of each
//! frequency, the channels in k blocks, shared by all frequencies.
//!   X = rfft(x),   Y^n = W_2^n relu(W_1^n X^n + b_1^n) + b_2^n for each block n,   y = irfft(Y)
//! ReLU acts on real and imaginary parts apart, as in adaptive Fourier neural operators.
//!
//! It is made of existing kernels: a complex product is a real one of rows \[re, im\],
//!   \[re, im\] \[\[Re W, Im W\], \[-Im W, Re W\]\] = \[Re (re + i im) W, Im (re + i im) W\],
//! and the blocks are the batch of a batched product.

use super::{Init, Params};
use crate::graph::{Graph, Var};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilterLayer {
    pub dim: usize,
    /// k, a divisor of `dim`.
    pub blocks: usize,
}

impl FilterLayer {
    /// Declares the parameters, `NAME.0.*` and `NAME.1.*`: weights \[k, 2, d / k, d / k\] (real part and imaginary part, in, out)
    /// and biases \[k, 2, d / k\].
    pub fn declare(&self, params: &mut Params, name: &str, init: Init) {
        let (k, width) = (self.blocks, self.dim / self.blocks);
        for layer in 0..2 {
            params.add(&format!("{name}.{layer}.weight"), [k, 2, width, width], init);
            params.add(&format!("{name}.{layer}.bias"), [k, 2, width], Init::Constant(0.0));
        }
    }

    /// x \[B, T, d\] filtered, by the parameters that [`FilterLayer::declare`] declared under `name`.
    pub fn filter<'g>(&self, params: &Params, g: &'g Graph, name: &str, x: Var<'g>) -> Var<'g> {
        let layer = |layer: usize| ["weight", "bias"].map(|part| params.var(g, &format!("{name}.{layer}.{part}")));
        g.scope(name, || complex_mlp(x.rfft(), layer(0), layer(1)).irfft(x.shape()[1]))
    }
}

/// Equation 3 on spectra x \[B, F, 2, d\]; of each layer the weight \[k, 2, d / k, d / k\] and the bias \[k, 2, d / k\].
pub fn complex_mlp<'g>(x: Var<'g>, first: [Var<'g>; 2], second: [Var<'g>; 2]) -> Var<'g> {
    let shape = x.shape();
    let (rows, k, width) = (shape[0] * shape[1], first[0].shape()[0], first[0].shape()[2]);
    // [k, B F, 2 d / k]: of each block and frequency one row [re, im].
    let blocks = x.reshape([rows, 2, k, width]).permute(&[2, 0, 1, 3]).reshape([k, rows, 2 * width]);
    let layer = |x: Var<'g>, [weight, bias]: [Var<'g>; 2]| x.matmul(as_real(weight)) + bias.reshape([k, 1, 2 * width]);
    let y = layer(layer(blocks, first).relu(), second);
    y.reshape([k, rows, 2, width]).permute(&[1, 2, 0, 3]).reshape(shape)
}

/// \[\[Re W, Im W\], \[-Im W, Re W\]\], \[k, 2 in, 2 out\], of W \[k, 2, in, out\].
fn as_real(weight: Var) -> Var {
    let [k, inputs, outputs] = [0, 2, 3].map(|i| weight.shape()[i]);
    let [re, im] = [0, 1].map(|part| weight.slice(1, part, 1).reshape([k, inputs, outputs]));
    let g = weight.graph();
    g.concat(1, &[g.concat(2, &[re, im]), g.concat(2, &[-im, re])])
}
