//! As much of Thrift's compact protocol as tells the sizes in a Parquet file before the library believes them.
//!
//! Everything is None where the bytes are no Thrift.

const I32: u8 = 5;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Nesting beyond this is no table.
const DEEPEST: usize = 64;

/// A reader over bytes that may end anywhere.
struct Compact<'a>(&'a [u8]);

impl Compact<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= ((byte & 0x7f) as u64) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn zigzag(&mut self) -> Option<i64> {
        let number = self.varint()?;
        Some((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// Number and type of the next field of a struct, after field `last`. Type 0 ends the struct.
    fn field(&mut self, last: i64) -> Option<(i64, u8)> {
        let byte = self.byte()?;
        let kind = byte & 0x0f;
        let number = match byte >> 4 {
            0 if kind != 0 => self.zigzag()?,
            delta => last.checked_add(delta as i64)?,
        };
        Some((number, kind))
    }

    /// Length of a list, and the type of its elements.
    fn list(&mut self) -> Option<(u64, u8)> {
        let byte = self.byte()?;
        let len = if byte >> 4 == 15 { self.varint()? } else { (byte >> 4) as u64 };
        Some((len, byte & 0x0f))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            1 | 2 => {} // a boolean field, whose type is its value
            3 => _ = self.byte()?,
            4..=6 => _ = self.varint()?,
            7 => self.0 = self.0.get(8..)?,
            8 => {
                let len = usize::try_from(self.varint()?).ok()?;
                self.0 = self.0.get(len..)?;
            }
            9 | 10 => {
                let (len, kind) = self.list()?;
                for _ in 0..len {
                    // In a list a boolean is a byte.
                    self.skip(if kind <= 2 { 3 } else { kind }, depth)?;
                }
            }
            STRUCT => {
                let mut last = 0;
                loop {
                    let (number, kind) = self.field(last)?;
                    if kind == 0 {
                        break;
                    }
                    self.skip(kind, depth)?;
                    last = number;
                }
            }
            _ => return None,
        }
        Some(())
    }
}

/// Uncompressed size that the header of a page claims, which `bytes` begin with.
pub fn page_size(bytes: &[u8]) -> Option<u64> {
    let mut header = Compact(bytes);
    let (1, I32) = header.field(0)? else { return None };
    header.zigzag()?;
    let (2, I32) = header.field(1)? else { return None };
    header.zigzag()?.try_into().ok()
}

/// Whether the schema in a footer is a tree of moderate depth, all of whose nodes are there.
pub fn schema_is_sound(footer: &[u8]) -> bool {
    schema(footer).is_some()
}

fn schema(footer: &[u8]) -> Option<()> {
    let mut footer = Compact(footer);
    let (1, I32) = footer.field(0)? else { return None };
    footer.zigzag()?;
    let (2, LIST) = footer.field(1)? else { return None };
    let (len, STRUCT) = footer.list()? else { return None };
    // Children that are still to come, of each node on the way from the root.
    let mut open: Vec<i64> = vec![];
    for at in 0..len {
        let children = children(&mut footer)?;
        if children < 0 || children as u64 >= len - at {
            return None;
        }
        if let Some(siblings) = open.last_mut() {
            *siblings -= 1;
        }
        if children > 0 {
            open.push(children);
        }
        while open.last() == Some(&0) {
            open.pop();
        }
        if open.len() > DEEPEST {
            return None;
        }
    }
    open.is_empty().then_some(())
}

/// `num_children` of the SchemaElement that comes next; 0 where it is not given.
fn children(footer: &mut Compact) -> Option<i64> {
    let (mut last, mut children) = (0, 0);
    loop {
        match footer.field(last)? {
            (_, 0) => return Some(children),
            (5, I32) => (last, children) = (5, footer.zigzag()?),
            (number, kind) => {
                footer.skip(kind, DEEPEST)?;
                last = number;
            }
        }
    }
}

/// How many values a DELTA_BINARY_PACKED sequence says that it has.
pub fn delta_count(data: &[u8]) -> Option<u64> {
    let mut data = Compact(data);
    data.varint()?;
    data.varint()?;
    data.varint()
}

/// What comes after a DELTA_BINARY_PACKED sequence.
pub fn after_delta(data: &[u8]) -> Option<&[u8]> {
    let mut data = Compact(data);
    let (block, miniblocks, count) = (data.varint()?, data.varint()?, data.varint()?);
    let of_miniblock = block.checked_div(miniblocks).filter(|&values| values > 0)?;
    data.zigzag()?; // the first value
    let mut left = count.saturating_sub(1);
    while left > 0 {
        data.zigzag()?; // the least delta
        let widths = data.0.get(..usize::try_from(miniblocks).ok()?)?;
        data.0 = &data.0[widths.len()..];
        for &width in widths {
            if left > 0 {
                let bytes = (width as u64).checked_mul(of_miniblock)? / 8;
                data.0 = data.0.get(usize::try_from(bytes).ok()?..)?;
                left = left.saturating_sub(of_miniblock);
            }
        }
    }
    Some(data.0)
}
