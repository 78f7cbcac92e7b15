//! The efficient filter layer of DPCPL (papers/dpcpl, equations 2 and 3): a two-layer complex perceptron over the channels of each
//! frequency, the channels in k blocks, shared by all frequencies.
//!   X = rfft(x),   Y^n = W_2^n relu(W_1^n X^n + b_1^n) + b_2^n for each block n,   y = irfft(Y)
//! ReLU acts on real and imaginary parts apart, as in adaptive Fourier neural operators.

use crate::graph::Var;
use crate::kernels::complex_linear::ComplexLinear;

/// x \[B, T, d\], filtered: \[B, T, d\]; of each layer the weight and the bias as [`complex_mlp`] takes them. What stands at padded
/// positions reaches all others: the caller sets it to 0 before.
pub fn filter_layer<'g>(x: Var<'g>, first: [Var<'g>; 2], second: [Var<'g>; 2]) -> Var<'g> {
    complex_mlp(x.rfft(), first, second).irfft(x.shape()[1])
}

/// Equation 3 on spectra x \[B, F, 2, d\]; of each layer the weight \[k, 2, d / k, d / k\] (real part and imaginary part, in, out)
/// and the bias \[2, d\].
pub fn complex_mlp<'g>(x: Var<'g>, first: [Var<'g>; 2], second: [Var<'g>; 2]) -> Var<'g> {
    let layer = |x: Var<'g>, [weight, bias]: [Var<'g>; 2], relu| {
        x.graph().push(ComplexLinear { affine: true, relu }, &[x, weight, bias])
    };
    layer(layer(x, first, true), second, false)
}
