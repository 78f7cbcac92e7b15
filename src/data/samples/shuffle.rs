//! The random order of an epoch's samples.

use super::Source;
use crate::tensor::philox::Stream;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How the samples of an epoch are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// All in random order.
    #[default]
    Samples,
    /// Users in random order, the samples of each together, oldest first.
    Users,
}

/// The order of one epoch.
#[derive(Clone)]
pub(super) struct Walk {
    shuffle: Shuffle,
    /// Where the samples of each user end in the order, and the first of them, of [`Order::Users`].
    users: Option<Arc<Vec<(u64, u64)>>>,
}

impl Walk {
    pub(super) fn new(order: Order, source: &Source, seed: u64, epoch: u64) -> Walk {
        if order == Order::Samples {
            return Walk { shuffle: Shuffle::new(source.len(), seed, epoch), users: None };
        }
        let shuffle = Shuffle::new(source.data.users() as u64, seed, epoch);
        let mut end = 0;
        let user = |i| {
            let own = source.of_user(shuffle.at(i) as u32);
            end += own.end - own.start;
            (end, own.start)
        };
        let users = (0..source.data.users() as u64).map(user).collect();
        Walk { users: Some(Arc::new(users)), shuffle }
    }

    /// The number of the sample at position `i`.
    pub(super) fn at(&self, i: u64) -> u64 {
        let Some(users) = &self.users else { return self.shuffle.at(i) };
        let user = users.partition_point(|(end, _)| *end <= i);
        let before = if user == 0 { 0 } else { users[user - 1].0 };
        users[user].1 + i - before
    }
}

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
