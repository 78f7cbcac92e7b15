//! Gradients, as an optimiser takes them.

use super::Var;

/// The gradient of a scalar by one parameter.
#[derive(Clone, Copy)]
pub enum Gradient<'g> {
    /// A tensor of the parameter's own shape.
    Dense(Var<'g>),
    /// Only some rows of a table; all others are 0.
    Rows(RowGradient<'g>),
}

/// `values[i]` is the gradient of row `rows[i]`, for i below `counts[0]`; rows ascend and are unique.
#[derive(Clone, Copy)]
pub struct RowGradient<'g> {
    pub rows: Var<'g>,
    pub counts: Var<'g>,
    pub values: Var<'g>,
}
