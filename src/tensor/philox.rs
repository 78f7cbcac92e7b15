//! Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//!
//! A counter-based generator: the same (key, counter) gives the same four words on every device, in any order, so that
//! fusing, recomputing and reordering keep every mask. `shaders/lib/philox.wgsl` is its twin.

const M0: u32 = 0xD251_1F53;
const M1: u32 = 0xCD9E_8D57;
const W0: u32 = 0x9E37_79B9;
const W1: u32 = 0xBB67_AE85;

/// Four random words for `counter` under `key`.
#[inline]
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let [mut k0, mut k1] = key;
    let [mut a, mut b, mut c, mut d] = counter;
    for _ in 0..10 {
        let p0 = M0 as u64 * a as u64;
        let p1 = M1 as u64 * c as u64;
        (a, b, c, d) = ((p1 >> 32) as u32 ^ b ^ k0, p1 as u32, (p0 >> 32) as u32 ^ d ^ k1, p0 as u32);
        k0 = k0.wrapping_add(W0);
        k1 = k1.wrapping_add(W1);
    }
    [a, b, c, d]
}

/// [`philox`] at `N` counters whose first words follow one another: word w of counter i at `[w][i]`.
#[inline(always)]
pub fn philox_side_by_side<const N: usize>(key: [u32; 2], [first, b, c, d]: [u32; 4]) -> [[u32; N]; 4] {
    let [mut k0, mut k1] = key;
    let (mut a, mut b, mut c, mut d) = ([0; N], [b; N], [c; N], [d; N]);
    a.iter_mut().enumerate().for_each(|(i, a)| *a = first.wrapping_add(i as u32));
    for _ in 0..10 {
        for i in 0..N {
            let p0 = M0 as u64 * a[i] as u64;
            let p1 = M1 as u64 * c[i] as u64;
            a[i] = (p1 >> 32) as u32 ^ b[i] ^ k0;
            b[i] = p1 as u32;
            c[i] = (p0 >> 32) as u32 ^ d[i] ^ k1;
            d[i] = p0 as u32;
        }
        k0 = k0.wrapping_add(W0);
        k1 = k1.wrapping_add(W1);
    }
    [a, b, c, d]
}

/// A stream of random numbers for one entity: key (seed, stream), counter counting up. Host side only: data, negatives, init.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    counter: [u32; 4],
    words: [u32; 4],
    left: usize,
}

impl Stream {
    /// The stream of (`seed`, `purpose`, `entity`): distinct purposes and entities never share words.
    pub fn new(seed: u64, purpose: &str, entity: u64) -> Stream {
        let key = [seed as u32 ^ fnv(purpose), (seed >> 32) as u32 ^ fnv(purpose).rotate_left(16)];
        Stream { key, counter: [0, 0, entity as u32, (entity >> 32) as u32], words: [0; 4], left: 0 }
    }

    pub fn next_u32(&mut self) -> u32 {
        if self.left == 0 {
            self.words = philox(self.key, self.counter);
            self.left = 4;
            self.counter[0] = self.counter[0].wrapping_add(1);
            if self.counter[0] == 0 {
                self.counter[1] += 1;
            }
        }
        self.left -= 1;
        self.words[3 - self.left]
    }

    pub fn next_u64(&mut self) -> u64 {
        (self.next_u32() as u64) << 32 | self.next_u32() as u64
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in 0..n, without bias (Lemire's method). `n` must not be 0.
    pub fn below(&mut self, n: u32) -> u32 {
        loop {
            let m = self.next_u32() as u64 * n as u64;
            if m as u32 >= n.wrapping_neg() % n {
                return (m >> 32) as u32;
            }
        }
    }

    /// Standard normal (Box-Muller, one value a call so that the stream stays easy to reason about).
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

/// FNV-1a, 32 bits: a name's fixed number.
pub fn fnv(name: &str) -> u32 {
    name.bytes().fold(0x811C_9DC5, |h, b| (h ^ b as u32).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of Random123's kat_vectors.
    #[test]
    fn known_answers() {
        assert_eq!(philox([0; 2], [0; 4]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox([u32::MAX; 2], [u32::MAX; 4]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            philox([0xa4093822, 0x299f31d0], [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344]),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn side_by_side_is_one_by_one() {
        let (key, counter) = ([0xa4093822, 0x299f31d0], [u32::MAX - 2, 0x85a308d3, 0x13198a2e, 0x03707344]);
        let all = philox_side_by_side::<5>(key, counter);
        for i in 0..5 {
            let one = philox(key, [counter[0].wrapping_add(i as u32), counter[1], counter[2], counter[3]]);
            assert_eq!(one, all.map(|words| words[i]));
        }
    }
}
