//! A random order that takes no memory.

use crate::tensor::philox::Stream;

/// A random order of 0..len that is computed, not stored: a Feistel network over the next power of two, walked until it
/// falls below len (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). 100 million samples cost no memory,
/// and an epoch that is resumed starts at once.
#[derive(Clone)]
pub(super) struct Shuffle {
    len: u64,
    bits: u32,
    keys: [u32; 6],
}

impl Shuffle {
    pub(super) fn new(len: u64, seed: u64, epoch: u64) -> Shuffle {
        let bits = (u64::BITS - len.saturating_sub(1).leading_zeros()).max(2);
        let mut stream = Stream::new(seed, "shuffle", epoch);
        Shuffle { len, bits, keys: std::array::from_fn(|_| stream.next_u32()) }
    }

    /// The element at position `i`, below `len`.
    pub(super) fn at(&self, mut i: u64) -> u64 {
        let (low, high) = (self.bits / 2, self.bits - self.bits / 2);
        loop {
            let (mut left, mut right) = ((i >> low) as u32, (i & ((1 << low) - 1)) as u32);
            for pair in self.keys.chunks_exact(2) {
                left ^= (mix(right ^ pair[0]) as u64 & ((1 << high) - 1)) as u32;
                right ^= (mix(left ^ pair[1]) as u64 & ((1 << low) - 1)) as u32;
            }
            i = (left as u64) << low | right as u64;
            if i < self.len {
                return i;
            }
        }
    }
}

/// The finaliser of MurmurHash3.
fn mix(mut h: u32) -> u32 {
    h = (h ^ h >> 16).wrapping_mul(0x85EB_CA6B);
    h = (h ^ h >> 13).wrapping_mul(0xC2B2_AE35);
    h ^ h >> 16
}
