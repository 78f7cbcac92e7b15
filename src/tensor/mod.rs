//! Host tensors, shapes, element types, and the random numbers that every device draws alike.

pub mod philox;
pub mod segments;
