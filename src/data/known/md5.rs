//! MD5 (RFC 1321). Broken as a signature, but it is what GroupLens publishes beside its files, and it finds a damaged one.

/// The running hash of a stream.
pub(super) struct Md5 {
    state: [u32; 4],
    /// Bytes so far that do not fill a block.
    rest: Vec<u8>,
    len: u64,
}

const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

impl Md5 {
    pub fn new() -> Md5 {
        Md5 { state: [0x6745_2301, 0xEFCD_AB89, 0x98BA_DCFE, 0x1032_5476], rest: vec![], len: 0 }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        let (blocks, left) = rest.as_chunks::<64>();
        blocks.iter().for_each(|block| self.block(block));
        self.rest = left.to_vec();
    }

    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.len.wrapping_mul(8).to_le_bytes();
        let zeros = (55 - self.len as i64).rem_euclid(64) as usize;
        self.update(&[0x80]);
        self.update(&vec![0; zeros]);
        self.update(&bits);
        let mut digest = [0; 16];
        digest.as_chunks_mut::<4>().0.iter_mut().zip(self.state).for_each(|(out, word)| *out = word.to_le_bytes());
        digest
    }

    fn block(&mut self, block: &[u8; 64]) {
        let words: [u32; 16] = std::array::from_fn(|i| u32::from_le_bytes(std::array::from_fn(|b| block[4 * i + b])));
        let [mut a, mut b, mut c, mut d] = self.state;
        for i in 0..64 {
            let (mix, word) = match i / 16 {
                0 => (b & c | !b & d, i),
                1 => (d & b | !d & c, 5 * i + 1),
                2 => (b ^ c ^ d, 3 * i + 5),
                _ => (c ^ (b | !d), 7 * i),
            };
            let constant = ((i as f64 + 1.0).sin().abs() * (1u64 << 32) as f64) as u32;
            let sum = a.wrapping_add(mix).wrapping_add(constant).wrapping_add(words[word % 16]);
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
        }
        for (state, add) in self.state.iter_mut().zip([a, b, c, d]) {
            *state = state.wrapping_add(add);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::dataset::hex;

    /// The test suite of RFC 1321, whole and byte by byte.
    #[test]
    fn known_answers() {
        let digits = "1234567890".repeat(8);
        for (text, expected) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"),
            (&digits, "57edf4a22be3c955ac49da2e2107b67a"),
        ] {
            let (mut whole, mut bytes) = (Md5::new(), Md5::new());
            whole.update(text.as_bytes());
            text.bytes().for_each(|b| bytes.update(&[b]));
            assert_eq!((hex(&whole.finish()), hex(&bytes.finish())), (expected.to_string(), expected.to_string()));
        }
    }
}
