//! How numbers of items lie in a file.

use half::{bf16, f16};

/// How a number is stored, the lowest byte first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    F16,
    Bf16,
    F32,
    F64,
}

impl Number {
    pub fn bytes(self) -> usize {
        match self {
            Number::F16 | Number::Bf16 => 2,
            Number::F32 => 4,
            Number::F64 => 8,
        }
    }

    /// Reads all numbers in `bytes`.
    pub fn read(self, bytes: &[u8], out: &mut [f64]) {
        fn all<const N: usize>(bytes: &[u8], out: &mut [f64], number: impl Fn([u8; N]) -> f64) {
            let numbers = bytes.chunks_exact(N).map(|bytes| number(bytes.try_into().expect("N bytes")));
            out.iter_mut().zip(numbers).for_each(|(out, x)| *out = x);
        }
        match self {
            Number::F16 => all(bytes, out, |bytes| f16::from_le_bytes(bytes).to_f64()),
            Number::Bf16 => all(bytes, out, |bytes| bf16::from_le_bytes(bytes).to_f64()),
            Number::F32 => all(bytes, out, |bytes| f32::from_le_bytes(bytes) as f64),
            Number::F64 => all(bytes, out, f64::from_le_bytes),
        }
    }
}

/// \[rows, images, width\] numbers in a file, and what is known of the rows.
#[derive(Debug)]
pub(super) struct Layout {
    pub number: Number,
    /// Where the first number is in the file.
    pub start: u64,
    pub rows: usize,
    /// Vectors of a row, which is their mean.
    pub images: usize,
    pub width: usize,
    /// Of each row, where the file says it.
    pub missing: Option<Vec<bool>>,
    /// The id of each row, where the file says it.
    pub ids: Option<Vec<String>>,
    /// Rows are of the items 1, 2, 3, ... where nothing else says of which they are.
    pub counted: bool,
}
