//! External ids, kept as bytes in one arena: 100 million lines must not mean millions of small strings.

use foldhash::quality::RandomState;
use std::hash::{BuildHasher, Hasher};

/// Distinct names, numbered from 0 in the order of their first appearance.
#[derive(Clone, Debug, Default)]
pub struct Names {
    bytes: Vec<u8>,
    ends: Vec<u64>,
}

impl Names {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Name number `id`.
    pub fn get(&self, id: u32) -> &str {
        std::str::from_utf8(self.bytes_of(id)).expect("only UTF-8 is pushed")
    }

    /// Those of [`Names::bytes`] and [`Names::ends`].
    pub(crate) fn from_parts(bytes: Vec<u8>, ends: Vec<u64>) -> Names {
        Names { bytes, ends }
    }

    pub fn push(&mut self, name: &str) {
        self.push_bytes(name.as_bytes());
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len() as u32).map(|id| self.get(id))
    }

    /// All names without separators.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where each name ends in [`Names::bytes`].
    pub(crate) fn ends(&self) -> &[u64] {
        &self.ends
    }

    fn bytes_of(&self, id: u32) -> &[u8] {
        let start = if id == 0 { 0 } else { self.ends[id as usize - 1] };
        &self.bytes[start as usize..self.ends[id as usize] as usize]
    }

    fn push_bytes(&mut self, name: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.ends.push(self.bytes.len() as u64);
    }
}

impl<S: AsRef<str>> FromIterator<S> for Names {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Names {
        let mut all = Names::default();
        names.into_iter().for_each(|name| all.push(name.as_ref()));
        all
    }
}

/// [`Names`] with a hash table keyed into the arena: open addressing, linear probing, at most half full. Its hash has random
/// keys, so that no file can choose ids that collide; numbers do not depend on it.
#[derive(Debug, Default)]
pub struct Interner {
    pub names: Names,
    /// (hash, id + 1); id + 1 = 0 marks a free slot.
    slots: Vec<(u32, u32)>,
    keys: RandomState,
}

impl Interner {
    /// The number of `name`, if it was interned.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        self.slot(name, self.hash(name)).ok()
    }

    /// The number of `name`; gives it the next one if it is new. `Err` if it is new and not UTF-8, or the 2^32nd.
    pub fn intern(&mut self, name: &[u8]) -> Result<u32, Refused> {
        if self.names.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = self.hash(name);
        match self.slot(name, hash) {
            Ok(id) => Ok(id),
            Err(free) => {
                std::str::from_utf8(name).map_err(|_| Refused::NotUtf8)?;
                let id =
                    u32::try_from(self.names.len()).ok().filter(|&id| id < u32::MAX - 1).ok_or(Refused::TooMany)?;
                self.names.push_bytes(name);
                self.slots[free] = (hash, id + 1);
                Ok(id)
            }
        }
    }

    fn hash(&self, name: &[u8]) -> u32 {
        let mut hasher = self.keys.build_hasher();
        hasher.write(name);
        hasher.finish() as u32
    }

    /// The id of `name`, or the free slot where it would go.
    fn slot(&self, name: &[u8], hash: u32) -> Result<u32, usize> {
        if self.slots.is_empty() {
            return Err(0);
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                (_, 0) => return Err(at),
                (h, id) if h == hash && self.names.bytes_of(id - 1) == name => return Ok(id - 1),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn grow(&mut self) {
        let mut slots = vec![(0, 0); (self.slots.len() * 2).max(1024)];
        let mask = slots.len() - 1;
        for &(hash, id) in self.slots.iter().filter(|slot| slot.1 != 0) {
            let mut at = hash as usize & mask;
            while slots[at].1 != 0 {
                at = (at + 1) & mask;
            }
            slots[at] = (hash, id);
        }
        self.slots = slots;
    }
}

/// Why a name was not interned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    NotUtf8,
    TooMany,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_first_appearance() {
        let mut ids = Interner::default();
        assert_eq!(ids.find(b"x"), None);
        for i in 0..5000 {
            assert_eq!(ids.intern(format!("user {i}").as_bytes()), Ok(i));
        }
        for i in 0..5000 {
            assert_eq!(ids.intern(format!("user {i}").as_bytes()), Ok(i));
            assert_eq!(ids.names.get(i), format!("user {i}"));
        }
        assert_eq!((ids.names.len(), ids.find(b"user 7"), ids.find(b"user")), (5000, Some(7), None));
        assert_eq!(ids.intern(b"\xff"), Err(Refused::NotUtf8));
    }

    /// Slots past the own one that the searches for all names take.
    fn steps(ids: &Interner) -> usize {
        let mask = ids.slots.len() - 1;
        let taken = ids.slots.iter().enumerate().filter(|(_, slot)| slot.1 != 0);
        taken.map(|(at, slot)| at.wrapping_sub(slot.0 as usize) & mask).sum()
    }

    /// Ids are often numbers in a row: they must not crowd into few slots.
    #[test]
    fn ids_in_a_row_spread_over_the_slots() {
        for prefix in ["", "u", "user_", "B00000"] {
            let mut ids = Interner::default();
            for i in 0..100_000 {
                ids.intern(format!("{prefix}{i}").as_bytes()).unwrap();
            }
            assert!(steps(&ids) < 60_000, "{prefix}: {} steps past the own slot", steps(&ids));
        }
    }

    /// Names that all have one hash under the function with fixed keys that was here first: two words, the second of which
    /// makes up for the first.
    fn chosen_names(count: usize) -> Vec<[u8; 16]> {
        const K: u64 = 0x9E37_79B9_7F4A_7C15;
        let second = |first: u64| (16u64.rotate_left(5) ^ first).wrapping_mul(K).rotate_left(5) ^ 0x1234_5678_9ABC_DEF0;
        let letters = |word: u64| word.to_le_bytes().iter().all(|b| b.is_ascii());
        let pair =
            |first: u64| [first.to_le_bytes(), second(first).to_le_bytes()].concat().try_into().expect("16 bytes");
        // Counted up in its seven-bit digits, the first word is ASCII.
        let first = |n: u64| (0..8).map(|digit| (n >> (7 * digit) & 0x7f) << (8 * digit)).sum();
        (0..).map(first).filter(|&first| letters(second(first))).map(pair).take(count).collect()
    }

    #[test]
    fn names_cannot_be_chosen_to_collide() {
        let names = chosen_names(20_000);
        let mut ids = Interner::default();
        for (name, number) in names.iter().zip(0..) {
            assert_eq!(ids.intern(name), Ok(number));
        }
        assert!(steps(&ids) < 20_000, "{} steps past the own slot", steps(&ids));
        // Two tables have different keys and give the same numbers.
        let mut again = Interner::default();
        let numbers = names.iter().map(|name| again.intern(name).unwrap());
        assert!(numbers.eq(0..20_000) && again.slots != ids.slots);
    }
}
