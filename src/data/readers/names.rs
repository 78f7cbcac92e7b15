//! External ids, kept as bytes in one arena: 100 million lines must not mean millions of small strings.

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

/// [`Names`] with a hash table keyed into the arena: open addressing, linear probing, at most half full.
#[derive(Debug, Default)]
pub struct Interner {
    pub names: Names,
    /// (hash, id + 1); id + 1 = 0 marks a free slot.
    slots: Vec<(u32, u32)>,
}

impl Interner {
    /// The number of `name`, if it was interned.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        self.slot(name, hash(name)).ok()
    }

    /// The number of `name`; gives it the next one if it is new. `Err` if it is new and not UTF-8, or the 2^32nd.
    pub fn intern(&mut self, name: &[u8]) -> Result<u32, Refused> {
        if self.names.len() * 2 >= self.slots.len() {
            self.grow();
        }
        let hash = hash(name);
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

/// Multiply and rotate over words of eight bytes: ids are short, and nobody gains from choosing colliding ones here.
fn hash(name: &[u8]) -> u32 {
    const K: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut h = name.len() as u64;
    for chunk in name.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        h = (h.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(K);
    }
    // The last bytes of a word have moved its high bits alone, and slots are chosen by the low ones.
    ((h ^ h >> 32).wrapping_mul(K) >> 32) as u32
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

    /// Ids are often numbers in a row: they must not crowd into few slots.
    #[test]
    fn ids_in_a_row_spread_over_the_slots() {
        for prefix in ["", "u", "user_", "B00000"] {
            let mut ids = Interner::default();
            for i in 0..100_000 {
                ids.intern(format!("{prefix}{i}").as_bytes()).unwrap();
            }
            let mask = ids.slots.len() - 1;
            let taken = ids.slots.iter().enumerate().filter(|(_, slot)| slot.1 != 0);
            let steps: usize = taken.map(|(at, slot)| at.wrapping_sub(slot.0 as usize) & mask).sum();
            assert!(steps < 60_000, "{prefix}: {steps} steps past the own slot");
        }
    }
}
